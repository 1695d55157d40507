//! The sessions of this process as its fleet counts them: questions about the limits that all instances share, and permits that count.
//!
//! Workers ask and give back here, under one lock. The driver (`net/operate/fleet`), a task of the background thread, has the connection:
//! it takes from here what is to be sent, and brings the answers.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, oneshot},
    time::timeout,
};

use crate::{
    error::Kind,
    fleet::{FleetAnswer, FleetFailure, FleetInstance, FleetLimits, FleetTerms, Membership, Reply},
    net::thread::{
        alarm::{Alarm, before},
        door::answering,
    },
    sender::Octets,
};

/// How long the end of the process waits until the server knows of it. Without that, the counts go with their lease.
const FAREWELL: Duration = Duration::from_secs(1);

/// What this process shares with its fleet. While the file wants none, nobody comes here.
#[derive(Debug)]
pub(in crate::net) struct Fleet {
    is_on: AtomicBool,
    living: AtomicUsize,
    /// Behind a lock, because a session changes several counts at once. It is taken for a question and its answer, at the begin and the
    /// end of a session, and never across an await.
    state: Mutex<FleetState>,
    /// Tells the driver that there is something to send.
    work: Notify,
    /// Told when the end of this instance is known to the server.
    left: Notify,
}

#[derive(Debug)]
struct FleetState {
    membership: Membership<oneshot::Sender<FleetVerdict>>,
    timeout: Duration,
    instance: String,
    server: Option<String>,
    loss: Option<String>,
}

/// What a fleet says of one more session.
#[derive(Debug)]
pub(in crate::net) enum FleetVerdict {
    Granted(FleetPermit),
    /// A limit has no room: [`Kind::Sessions`] or [`Kind::SessionsPerClient`].
    Full(Kind),
    /// There is no answer. The file says who decides (`on_loss`).
    Away,
}

/// Counts a session for the fleet, until it is dropped.
#[derive(Debug)]
pub(in crate::net) struct FleetPermit {
    fleet: Arc<Fleet>,
    network: Option<Octets>,
}

/// What is known of the fleet, for an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::net) struct FleetStanding {
    /// Whether the file wants limits to be shared.
    pub(in crate::net) is_on: bool,
    /// Whether questions are answered now.
    pub(in crate::net) connected: bool,
    /// The server, while there is a connection with it: `host:port` or `unix:…`.
    pub(in crate::net) server: Option<String>,
    /// The name of this instance.
    pub(in crate::net) instance: String,
    /// Instances that share the limits, those that leave not.
    pub(in crate::net) living: usize,
    /// The instances at the last renewal, by name; this one with its count of now.
    pub(in crate::net) instances: Vec<FleetInstance>,
    /// Why no question is answered; `None` = one is.
    pub(in crate::net) loss: Option<String>,
}

impl Fleet {
    pub(in crate::net) fn new(now: Instant) -> Arc<Self> {
        let state = FleetState {
            membership: Membership::new(now),
            timeout: Duration::ZERO,
            instance: String::new(),
            server: None,
            loss: None,
        };
        Arc::new(Self {
            is_on: AtomicBool::new(false),
            living: AtomicUsize::new(1),
            state: Mutex::new(state),
            work: Notify::new(),
            left: Notify::new(),
        })
    }

    /// Whether limits are shared.
    pub(in crate::net) fn is_on(&self) -> bool {
        self.is_on.load(Relaxed)
    }

    /// Asks for one more session of what counts as one client; `None` = only all sessions are limited. Waits no longer than the file
    /// says. Does not wait if no answer is to be expected, nor if nothing is limited. `alarm`: that of the caller's connection.
    pub(in crate::net) async fn take(
        self: &Arc<Self>,
        network: Option<Octets>,
        limits: FleetLimits,
        alarm: &Mutex<Alarm>,
    ) -> FleetVerdict {
        if limits == FleetLimits::default() {
            return FleetVerdict::Granted(self.admitted_locally(network));
        }
        let Some((answer, deadline)) = self.ask(network, limits, Instant::now()) else { return FleetVerdict::Away };
        // The driver is on another thread. An answer that comes later finds nobody, and its permit is dropped.
        let answered = before(alarm, deadline, answering(answer)).await;
        answered.and_then(Result::ok).unwrap_or(FleetVerdict::Away)
    }

    fn ask(
        &self,
        network: Option<Octets>,
        limits: FleetLimits,
        now: Instant,
    ) -> Option<(oneshot::Receiver<FleetVerdict>, Instant)> {
        let (asker, answer) = oneshot::channel();
        let mut state = self.lock();
        let deadline = now + state.timeout;
        state.membership.ask(asker, network, limits, now).ok()?;
        drop(state);
        self.work.notify_one();
        Some((answer, deadline))
    }

    /// Counts a session that is let in without an answer.
    pub(in crate::net) fn admitted_locally(self: &Arc<Self>, network: Option<Octets>) -> FleetPermit {
        self.change(|membership| membership.add(network));
        FleetPermit { fleet: Arc::clone(self), network }
    }

    fn change(&self, change: impl FnOnce(&mut Membership<oneshot::Sender<FleetVerdict>>)) {
        let mut state = self.lock();
        change(&mut state.membership);
        // While there is no connection, the driver has other things to wait for.
        let is_live = state.membership.is_live();
        drop(state);
        if is_live {
            self.work.notify_one();
        }
    }

    /// Instances that share the limits now, those that leave not; as last known. Never zero.
    pub(in crate::net) fn living(&self) -> usize {
        self.living.load(Relaxed)
    }

    pub(in crate::net) fn standing(&self) -> FleetStanding {
        let state = self.lock();
        let membership = &state.membership;
        let young =
            membership.is_young().then(|| "the server had lost all counts, and not all instances are back".to_owned());
        FleetStanding {
            is_on: self.is_on(),
            connected: membership.is_live() && young.is_none(),
            server: state.server.clone(),
            instance: state.instance.clone(),
            living: membership.living(),
            instances: membership.instances(),
            loss: state.loss.clone().or(young),
        }
    }

    /// This instance takes no sessions any more. Others need not leave a share to it.
    pub(in crate::net) fn begin_leaving(&self) {
        self.lock().membership.begin_leaving(Instant::now());
        self.work.notify_one();
    }

    /// The end of the process. Ready when the server knows of it, or after [`FAREWELL`].
    pub(in crate::net) async fn leave(&self) {
        let mut left = std::pin::pin!(self.left.notified());
        // Before the order: it may be done before anybody waits.
        left.as_mut().enable();
        let has_left = {
            let mut state = self.lock();
            state.membership.end();
            state.membership.has_left()
        };
        self.work.notify_one();
        if !has_left && timeout(FAREWELL, left).await.is_err() {
            tracing::debug!("the server of the fleet was not told that this instance ends");
        }
    }

    fn lock(&self) -> MutexGuard<'_, FleetState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the driver does.
impl Fleet {
    /// Limits are shared from now on, by this instance and its keys. `member`: `NAME/RANDOM`.
    pub(in crate::net) fn join(&self, prefix: &str, (instance, member): (&str, &str), terms: FleetTerms) {
        let mut state = self.lock();
        state.membership.join(prefix, member, terms);
        (state.timeout, state.instance) = (terms.timeout, instance.to_owned());
        (state.server, state.loss) = (None, Some("no connection yet".to_owned()));
        self.living.store(state.membership.living(), Relaxed);
        self.is_on.store(true, Relaxed);
    }

    /// Other terms hold from now on.
    pub(in crate::net) fn set_terms(&self, terms: FleetTerms) {
        let mut state = self.lock();
        state.membership.set_terms(terms);
        state.timeout = terms.timeout;
    }

    /// Limits are not shared any more.
    pub(in crate::net) fn part(&self) {
        let mut state = self.lock();
        state.membership.part();
        (state.server, state.loss) = (None, None);
        state.instance.clear();
        self.living.store(1, Relaxed);
        self.is_on.store(false, Relaxed);
    }

    /// Tells the server that this instance goes, because it goes elsewhere.
    pub(in crate::net) fn end(&self) {
        self.lock().membership.end();
    }

    /// A connection has come about, which begins with this.
    pub(in crate::net) fn connected(&self, server: &str, greeting: (Vec<u8>, usize)) {
        let mut state = self.lock();
        state.membership.handle_connected(greeting, Instant::now());
        state.server = Some(server.to_owned());
    }

    /// There is no connection.
    pub(in crate::net) fn lost(&self, why: String) {
        let mut state = self.lock();
        state.membership.handle_lost();
        (state.server, state.loss) = (None, Some(why));
        let has_left = state.membership.has_left();
        drop(state);
        if has_left {
            self.left.notify_waiters();
        }
    }

    /// Appends what is to be sent now, until there are `most` bytes or more. Returns when to ask again if nothing happens.
    ///
    /// # Errors
    /// The server takes too long for an answer.
    pub(in crate::net) fn transmit(&self, into: &mut Vec<u8>, most: usize) -> Result<Option<Instant>, FleetFailure> {
        let now = Instant::now();
        let mut state = self.lock();
        if state.membership.is_hung(now) {
            return Err(FleetFailure::NotNow("no answer in time".to_owned()));
        }
        while into.len() < most && state.membership.poll_transmit(into, now) {}
        Ok(state.membership.poll_timeout())
    }

    /// Takes a reply of the server, and tells who asked.
    ///
    /// # Errors
    /// The connection is of no use any more.
    pub(in crate::net) fn reply(self: &Arc<Self>, reply: Reply) -> Result<(), FleetFailure> {
        let mut state = self.lock();
        let answer = state.membership.handle_reply(reply, Instant::now())?;
        if state.membership.is_live() {
            state.loss = None;
        }
        self.living.store(state.membership.living(), Relaxed);
        let has_left = state.membership.has_left();
        // A permit that nobody takes is dropped here, and that takes the lock.
        drop(state);
        let unheard = match answer {
            Some(FleetAnswer::Granted(asker, network)) => {
                asker.send(FleetVerdict::Granted(FleetPermit { fleet: Arc::clone(self), network }))
            }
            Some(FleetAnswer::FullOfClient(asker)) => asker.send(FleetVerdict::Full(Kind::SessionsPerClient)),
            Some(FleetAnswer::FullOfAll(asker)) => asker.send(FleetVerdict::Full(Kind::Sessions)),
            None => Ok(()),
        };
        drop(unheard);
        if has_left {
            self.left.notify_waiters();
        }
        Ok(())
    }

    /// Whether questions are answered now.
    pub(in crate::net) fn is_live(&self) -> bool {
        self.lock().membership.is_live()
    }

    /// Whether the server is told that this instance ends.
    pub(in crate::net) fn is_ending(&self) -> bool {
        self.lock().membership.is_ending()
    }

    /// Whether the server knows that this instance has ended.
    pub(in crate::net) fn has_left(&self) -> bool {
        self.lock().membership.has_left()
    }

    /// Ready when there may be something to send.
    pub(in crate::net) async fn work(&self) {
        self.work.notified().await;
    }
}

impl Drop for FleetPermit {
    fn drop(&mut self) {
        self.fleet.change(|membership| membership.remove(self.network));
    }
}
