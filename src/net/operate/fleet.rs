//! The connection with the server of the fleet (Valkey or Redis): a task of the background thread keeps one, and carries what
//! [`Fleet`] has to say.
//!
//! There is one connection, and all calls go over it in order. When it is lost, the next one is tried after a pause that is random, at
//! the next server of the file.

mod link;
mod places;
#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::watch,
    time::{Instant, timeout, timeout_at},
};

use self::{link::FleetLink, places::Places};
use crate::{
    config::{FleetSettings, certificates::TlsError},
    fleet::{FleetFailure, FleetTerms, pause},
    net::{
        backend::{chance, own::Own, tls::ClientTls},
        counts::fleet::Fleet,
        thread::vital::Vitals,
    },
};

/// The longest wait for a server that this instance leaves for another one, by a reload.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long a start waits for the first connection. The clients that come before it are decided about by `on_loss`.
const FIRST_CONNECTION: Duration = Duration::from_secs(1);
/// The longest name of an instance, in bytes.
const LONGEST_NAME: usize = 64;

/// Keeps the connection, as long as the process runs.
#[derive(Debug)]
pub(in crate::net) struct FleetDriver {
    target: watch::Sender<Option<Arc<FleetTarget>>>,
}

/// What a configuration wants, with what its files hold.
#[derive(Debug)]
pub(in crate::net) struct FleetTarget {
    settings: FleetSettings,
    /// The name of this instance.
    instance: String,
    /// `None` = all servers are spoken to in the clear.
    tls: Option<Arc<ClientTls>>,
}

impl FleetTarget {
    /// Reads the files that TLS needs.
    ///
    /// # Errors
    /// The first file that is wrong.
    pub(in crate::net) fn load(
        settings: Option<&FleetSettings>,
        running: Option<&Self>,
    ) -> Result<Option<Arc<Self>>, TlsError> {
        let Some(settings) = settings else { return Ok(None) };
        let running = running.and_then(|running| running.tls.as_ref());
        let speaks_tls = settings.servers.iter().any(|server| server.is_tls);
        let tls = speaks_tls.then(|| ClientTls::load_for_other(&settings.tls, running)).transpose()?;
        let instance = settings.instance.clone().unwrap_or_else(host_name);
        Ok(Some(Arc::new(Self { settings: settings.clone(), instance, tls })))
    }

    const fn terms(&self) -> FleetTerms {
        FleetTerms { lease: self.settings.lease, timeout: self.settings.timeout }
    }

    /// Whether the count of this instance is at the same place for both, under the same name.
    fn is_same_place(&self, other: &Self) -> bool {
        let places = |target: &Self| -> Vec<_> {
            target.settings.servers.iter().map(|server| (server.address.clone(), server.database)).collect()
        };
        self.settings.prefix == other.settings.prefix
            && self.instance == other.instance
            && places(self) == places(other)
    }

    /// Whether a connection that came about for one is one for the other.
    fn is_same_way(&self, other: &Self) -> bool {
        let is_same_tls = match (&self.tls, &other.tls) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        };
        self.settings.servers == other.settings.servers && is_same_tls
    }
}

impl FleetDriver {
    /// `runtime`: that of the background thread.
    pub(in crate::net) fn start(
        fleet: Arc<Fleet>,
        (own, vitals): (Arc<Own>, Arc<Vitals>),
        runtime: &Handle,
    ) -> (Self, FirstOutcome) {
        let (target, targets) = watch::channel(None);
        let (told, outcome) = mpsc::channel();
        runtime.spawn(async move {
            let _vital = vitals.guard("the background thread");
            let suffix = format!("{:016x}", chance::number());
            Driving { fleet, own, targets, suffix, first: Some(told) }.drive().await;
        });
        (Self { target }, FirstOutcome(outcome))
    }

    /// Does what a configuration wants from now on.
    pub(in crate::net) fn follow(&self, target: Option<Arc<FleetTarget>>) {
        self.target.send_if_modified(|running| {
            let is_same = match (&*running, &target) {
                (Some(one), Some(other)) => one.settings == other.settings && one.is_same_way(other),
                (None, None) => true,
                _ => false,
            };
            *running = target;
            !is_same
        });
    }

    /// What is wanted now.
    pub(in crate::net) fn running(&self) -> Option<Arc<FleetTarget>> {
        self.target.borrow().clone()
    }
}

/// What comes of the first connection.
pub(in crate::net) struct FirstOutcome(mpsc::Receiver<()>);

impl FirstOutcome {
    /// Blocks until the first connection has come about or has failed, [`FIRST_CONNECTION`] at most.
    pub(in crate::net) fn wait(&self) {
        // The other end is dropped to tell it.
        let _ = self.0.recv_timeout(FIRST_CONNECTION);
    }
}

/// The task.
struct Driving {
    fleet: Arc<Fleet>,
    own: Arc<Own>,
    targets: watch::Receiver<Option<Arc<FleetTarget>>>,
    /// Tells this process from others with its name.
    suffix: String,
    /// Dropped when the first connection has come about, or has failed.
    first: Option<mpsc::Sender<()>>,
}

impl Driving {
    /// Ends with the process.
    async fn drive(mut self) {
        loop {
            let target = self.targets.borrow_and_update().clone();
            match target {
                Some(target) => {
                    let member = format!("{}/{}", target.instance, self.suffix);
                    self.fleet.join(&target.settings.prefix, (&target.instance, &member), target.terms());
                    if self.keep_connected(target).await.is_none() {
                        return;
                    }
                }
                None => {
                    self.fleet.part();
                    if self.targets.changed().await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Keeps a connection until the file wants another place for our count. `None` = the process ends.
    async fn keep_connected(&mut self, mut target: Arc<FleetTarget>) -> Option<()> {
        let mut places = Places::new(&target.settings.servers);
        let (mut failures, mut told) = (0_u32, None);
        loop {
            let server = places.server(&target.settings.servers);
            let failure = match link::connect(&server, target.tls.as_ref(), &self.own).await {
                Err(failure) => failure,
                Ok(mut link) => {
                    self.fleet.connected(&server.address, link::greeting(&server));
                    match self.converse(&mut link, &mut target, (&mut failures, &mut told), &server.address).await {
                        LinkEnd::Failed(failure) => failure,
                        LinkEnd::Left => return None,
                        LinkEnd::Changed(Course::Elsewhere) => return Some(()),
                        LinkEnd::Changed(_) => {
                            self.fleet.lost("the file wants another connection".to_owned());
                            places = Places::new(&target.settings.servers);
                            continue;
                        }
                    }
                }
            };
            failures = failures.saturating_add(1);
            self.first = None;
            self.fleet.lost(failure.to_string());
            if self.fleet.has_left() {
                return None;
            }
            tell_loss(&server.address, &failure, &mut told);
            if places.follow(&failure) {
                continue;
            }
            let is_refused = matches!(failure, FleetFailure::Refused(_));
            let random = chance::time(Duration::from_secs(1)).as_secs_f64();
            if let Ok(changed) = timeout(pause(failures, is_refused, random), self.targets.changed()).await {
                changed.ok()?;
                if self.follow_change(&mut target) == Course::Elsewhere {
                    return Some(());
                }
                places = Places::new(&target.settings.servers);
            }
        }
    }

    /// Speaks with the server until the connection is of no use.
    async fn converse(
        &mut self,
        link: &mut FleetLink,
        target: &mut Arc<FleetTarget>,
        (failures, told): (&mut u32, &mut Option<ToldLoss>),
        server: &str,
    ) -> LinkEnd {
        let (mut was_live, mut losses) = (false, 0_u32);
        loop {
            let turn = tokio::select! {
                turn = link.turn(&self.fleet) => Some(turn),
                changed = self.targets.changed() => match changed {
                    Ok(()) => None,
                    Err(_) => return LinkEnd::Left,
                },
            };
            match turn {
                Some(Ok(())) => {}
                Some(Err(failure)) => return LinkEnd::Failed(failure),
                None => match self.follow_change(target) {
                    Course::On => {}
                    Course::Anew => return LinkEnd::Changed(Course::Anew),
                    Course::Elsewhere => {
                        self.fleet.end();
                        self.say_goodbye(link).await;
                        return LinkEnd::Changed(Course::Elsewhere);
                    }
                },
            }
            if self.fleet.has_left() {
                return LinkEnd::Left;
            }
            let is_live = self.fleet.is_live();
            match (was_live, is_live) {
                (false, true) => {
                    *failures = 0;
                    self.first = None;
                    tell_return(&self.fleet, server, told);
                }
                // At its end an instance is not live either.
                (true, false) if !self.fleet.is_ending() => {
                    losses = losses.saturating_add(1);
                    tell_lost_counts(server, losses);
                }
                _ => {}
            }
            was_live = is_live;
        }
    }

    /// Takes the next target.
    fn follow_change(&mut self, target: &mut Arc<FleetTarget>) -> Course {
        let next = self.targets.borrow_and_update().clone();
        let Some(next) = next.filter(|next| next.is_same_place(target)) else { return Course::Elsewhere };
        self.fleet.set_terms(next.terms());
        let goes_on = next.is_same_way(target);
        *target = next;
        if goes_on { Course::On } else { Course::Anew }
    }

    async fn say_goodbye(&self, link: &mut FleetLink) {
        let deadline = Instant::now() + FAREWELL;
        while !self.fleet.has_left() {
            match timeout_at(deadline, link.turn(&self.fleet)).await {
                Ok(Ok(())) => {}
                _ => return,
            }
        }
    }
}

/// What becomes of a connection when the file has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    On,
    /// Another password, say: the same counts by another connection.
    Anew,
    /// The counts are to be at another place, or nowhere.
    Elsewhere,
}

/// Why a connection is not used any more.
#[derive(Debug)]
enum LinkEnd {
    Failed(FleetFailure),
    /// The process ends.
    Left,
    /// The file wants another one.
    Changed(Course),
}

/// What the log was told of a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ToldLoss {
    NotNow,
    Refused,
}

/// Tells a loss once, and once more if it is one that only an operator ends.
fn tell_loss(server: &str, failure: &FleetFailure, told: &mut Option<ToldLoss>) {
    match (failure, *told) {
        (FleetFailure::Moved(_), _) => {}
        (FleetFailure::Refused(_), None | Some(ToldLoss::NotNow)) => {
            *told = Some(ToldLoss::Refused);
            tracing::error!(server, why = %failure, "the server of the fleet does not let us in: `on_loss` decides");
        }
        (FleetFailure::NotNow(_) | FleetFailure::Broken(_), None) => {
            *told = Some(ToldLoss::NotNow);
            tracing::warn!(server, why = %failure, "the server of the fleet is away: `on_loss` decides");
        }
        _ => tracing::debug!(server, why = %failure, "the server of the fleet is still away"),
    }
}

/// Tells that the server does not have our counts any more. One that loses them again and again is told once for each connection.
fn tell_lost_counts(server: &str, losses: u32) {
    match losses {
        1 => tracing::warn!(server, "the server of the fleet has lost our counts: they are told again"),
        _ => tracing::debug!(server, losses, "the server of the fleet has lost our counts again"),
    }
}

fn tell_return(fleet: &Fleet, server: &str, told: &mut Option<ToldLoss>) {
    let living = fleet.living();
    match told.take() {
        None => tracing::info!(server, instances = living, "this instance shares its limits with its fleet"),
        Some(_) => tracing::info!(server, instances = living, "the server of the fleet is back"),
    }
}

/// The name of the host, as the name of an instance.
fn host_name() -> String {
    #[expect(
        clippy::disallowed_methods,
        reason = "the kernel answers at once, and neither a start nor a reload is a worker's"
    )]
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let fits = |letter: &char| letter.is_ascii_graphic() && *letter != '/';
    let name: String = name.chars().filter(fits).take(LONGEST_NAME).collect();
    if name.is_empty() { "longwire".to_owned() } else { name }
}
