//! A reload: everything that can fail comes first, then the plans, the checks, the orders and the listeners change.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use super::{Control, Leaving, Reloaded, expiries::expiries, finding, listeners::Moved};
use crate::{
    config::{self, Config, Diagnostics, Loaded},
    metrics::ReloadOutcome,
    net::{
        front::bind::StartError,
        operate::{desk::access::Access, fleet::FleetTarget},
        worker::probe_place::ProbePlace,
    },
};

/// What comes of a reload. An error: the reload panicked.
pub type ReloadAnswer = oneshot::Receiver<Result<Reloaded, ReloadError>>;

/// Who asks for a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReloadAsker {
    /// SIGHUP.
    Signal,
    /// The admin interface, or a caller of this library.
    Operator,
    /// `run --watch`: the files have changed.
    Watch,
}

impl ReloadAsker {
    /// The word in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Signal => "SIGHUP",
            Self::Operator => "operator",
            Self::Watch => "watch",
        }
    }
}

/// Why a reload did not happen. Nothing has changed.
#[derive(Debug)]
pub enum ReloadError {
    /// The file is wrong.
    Config(Diagnostics),
    /// An address or a certificate that the file asks for cannot be had.
    Start(StartError),
    /// The process is about to end.
    Leaving(Leaving),
}

impl fmt::Display for ReloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(diagnostics) => f.write_str(diagnostics.render(false).trim_end()),
            Self::Start(error) => error.fmt(f),
            Self::Leaving(leaving) => leaving.fmt(f),
        }
    }
}

impl std::error::Error for ReloadError {}

impl From<StartError> for ReloadError {
    fn from(error: StartError) -> Self {
        Self::Start(error)
    }
}

impl From<Leaving> for ReloadError {
    fn from(leaving: Leaving) -> Self {
        Self::Leaving(leaving)
    }
}

impl Control {
    /// Has the thread of reloads do what [`Self::reload_from`] does. The reload happens even if nobody waits for its outcome.
    ///
    /// `None` = another reload goes on, and one waits already: that one will read the newest files.
    pub fn ask_for_reload(self: &Arc<Self>, file: PathBuf, by: ReloadAsker) -> Option<ReloadAnswer> {
        self.reloader.ask(Arc::clone(self), file, by)
    }

    /// Reads the file again and runs it. The log tells the outcome. Blocks while files are read, and while other reloads
    /// go on that came before.
    ///
    /// # Errors
    /// Whatever is wrong with the file. Nothing has changed then.
    pub fn reload_from(&self, file: &Path) -> Result<Reloaded, ReloadError> {
        self.reload_for(ReloadAsker::Operator, file)
    }

    /// [`Self::reload_from`]. The log also tells who asked.
    pub(super) fn reload_for(&self, by: ReloadAsker, file: &Path) -> Result<Reloaded, ReloadError> {
        let by = by.as_str();
        let _turn = self.turn();
        let loaded = config::load(file).map_err(|diagnostics| {
            self.metrics().reloaded(ReloadOutcome::WrongConfig);
            ReloadError::Config(diagnostics)
        });
        let reloaded = loaded.and_then(|Loaded { config, warnings }| {
            if !warnings.is_empty() {
                tracing::warn!(file = %file.display(), "the new configuration: {}", warnings.render(false));
            }
            self.count(self.change(config))
        });
        match &reloaded {
            Ok(changes) => {
                for key in &changes.needs_restart {
                    tracing::warn!(key, "a change of this key needs a restart: it stays as it was");
                }
                self.tell_derived(changes);
                let changes = if changes.is_empty() { "nothing".to_owned() } else { changes.summary() };
                tracing::info!(file = %file.display(), by, changes, "reloaded");
            }
            Err(error) => {
                tracing::error!(file = %file.display(), by, %error, "not reloaded: the configuration stays as it was")
            }
        }
        reloaded
    }

    /// Runs another configuration from now on. Sessions and requests that have begun keep what they began with. The
    /// counts, health and load of a backend go on, by upstream and address. Blocks as [`Self::reload_from`] does.
    ///
    /// # Errors
    /// An address that cannot be bound, a certificate that cannot be read, or a process that is about to end. Nothing
    /// has changed then.
    pub fn reload(&self, config: Config) -> Result<Reloaded, ReloadError> {
        let _turn = self.turn();
        self.count(self.change(config))
    }

    /// Waits for this reload's turn. Whoever has the turn reads the files, so the last of several reloads runs the newest
    /// ones. Only reloads wait here: this is the one lock that is held while files are read.
    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs what follows from the path of each route that is new or has changed.
    fn tell_derived(&self, changes: &Reloaded) {
        let plan = self.plan();
        let changed = [&changes.routes_added, &changes.routes_changed];
        for route in plan.config.routes.routes() {
            if changed.iter().any(|names| names.contains(&route.name)) {
                for sentence in config::derived(route) {
                    tracing::info!(route = route.name, "{sentence}");
                }
            }
        }
    }

    /// Counts the outcome in the metrics.
    fn count(&self, reloaded: Result<Reloaded, ReloadError>) -> Result<Reloaded, ReloadError> {
        self.metrics().reloaded(if reloaded.is_ok() { ReloadOutcome::Applied } else { ReloadOutcome::NotStarted });
        reloaded
    }

    /// The reload itself. The caller has the turn.
    fn change(&self, config: Config) -> Result<Reloaded, ReloadError> {
        if self.is_leaving() {
            return Err(Leaving.into());
        }
        let expiries = expiries(&config);
        let access = self.next_access(&config)?;
        // A client may connect to an address as soon as it is bound. So what can be read before is read before.
        let ways = self.plans.prepare(&config).map_err(StartError::Tls)?;
        let sticky_key = self.plans.sticky_key(&config).map_err(StartError::StickyKey)?;
        let probe = ProbePlace::read(&config).map_err(StartError::Probe)?;
        let fleet =
            FleetTarget::load(config.fleet.as_ref(), self.fleet.running().as_deref()).map_err(StartError::Tls)?;
        self.discovery.prepare(&config);
        // What was begun for this configuration ends with it.
        let give_up = || self.discovery.follow(&self.plan().config);
        let wanted = self.listeners.prepare(&config).inspect_err(|_| give_up())?;
        let after = self.plans.make(config, (ways, &sticky_key, probe));
        // The last step that can fail. Whoever closes the listeners has announced it before.
        let before = self.orders.replace_plan(&self.plans, &after).inspect_err(|_| give_up())?;
        self.discovery.follow(&after.config);
        self.fleet.follow(fleet);
        if before.config.fleet.is_none() && after.config.fleet.is_some() {
            self.count_open_sessions();
        }
        self.follow_file(&after);
        finding::warn_of_all_empty(&after);
        self.checks.follow(&self.plans);
        self.orders.spare_unchecked(&after);
        let mut reloaded = self.plans.changes(&before, &after);
        self.change_access(access, &after.config, &mut reloaded);
        let Moved { added, removed } = self.listeners.change(wanted, &after.config.tcp);
        (reloaded.listeners_added, reloaded.listeners_removed) = (added, removed);
        self.metrics().set_config(after.hash);
        self.metrics().set_expiries(expiries);
        self.plans.show_backend_tls(&after);
        drop(before);
        self.forget_gone(&after);
        Ok(reloaded)
    }

    /// Has the sessions that are open counted in the fleet, which has just begun.
    fn count_open_sessions(&self) {
        let survey = self.survey.clone();
        self.background.spawn(async move { survey.join_fleet().await });
    }

    /// The rules of the admin interface in a new file. `None` if the file wants it elsewhere or nowhere.
    fn next_access(&self, config: &Config) -> Result<Option<Access>, StartError> {
        let Some(desk) = &self.desk else { return Ok(None) };
        desk.read(config.admin.as_ref()).map_err(|error| StartError::Admin(desk.bind().clone(), error))
    }

    /// Uses the new rules of the admin interface, or notes that its change needs a restart.
    fn change_access(&self, access: Option<Access>, config: &Config, reloaded: &mut Reloaded) {
        match (access, &self.desk) {
            (Some(access), Some(desk)) => desk.change(access),
            (None, None) if config.admin.is_none() => {}
            _ => {
                reloaded.needs_restart.push("admin");
                reloaded.settings_changed.retain(|key| !key.starts_with("admin"));
            }
        }
    }
}
