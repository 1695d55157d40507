//! A reload: everything that can fail comes first, then a new plan replaces the old one.

use std::{collections::HashSet, fmt, mem, path::Path, sync::Arc, time::Instant};

use tokio_rustls::rustls;

use super::{Control, Leaving, Reloaded, changes, drains_on_down};
use crate::{
    config::{self, Config, Diagnostics, Loaded, Tcp},
    metrics::ReloadOutcome,
    net::{
        backend::prober::Checks,
        front::{
            bind::{StartError, bind, load_tls},
            inherited::Inherited,
            listener::{Bound, Listening},
            tickets::Tickets,
        },
        operate::desk::access::Access,
        orders::book::Book,
        stream::options,
        worker::plan::Plan,
    },
    ws::termination::Cause,
};

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

/// A listener of the new file.
enum Next {
    /// The listener goes on. The number is its place among those that listen.
    Goes(usize, Option<Arc<rustls::ServerConfig>>),
    New(Bound),
}

impl Control {
    /// Runs another configuration from now on. Sessions and requests that have begun keep what they began with. The
    /// counts, health and load of a backend go on, by upstream and address.
    ///
    /// # Errors
    /// An address that cannot be bound, a certificate that cannot be read, or a process that is about to end. Nothing
    /// has changed then.
    pub fn reload(&self, config: Config) -> Result<Reloaded, ReloadError> {
        let reloaded = self.change(config);
        self.metrics().reloaded(if reloaded.is_ok() { ReloadOutcome::Applied } else { ReloadOutcome::NotStarted });
        reloaded
    }

    fn change(&self, config: Config) -> Result<Reloaded, ReloadError> {
        let mut listeners = self.listeners();
        // The look comes under the lock. Whoever closes the listeners announces it first, and takes the lock after that.
        if self.is_leaving() {
            return Err(ReloadError::Leaving(Leaving));
        }
        let next = next_listeners(&listeners, &config, &self.tickets)?;
        let access = self.next_access(&config)?;
        let before = self.shared.plan();
        *self.checks() = Checks::default();
        let plan = self.planner.plan(config, Instant::now());
        let mut reloaded = changes::between(&self.started, &before.config, &plan.config);
        // From here on only the duplication of a descriptor can fail, which loses one new listener.
        self.change_plan(plan);
        self.check_backends();
        match (access, &self.desk) {
            (Some(access), Some(desk)) => desk.change(access),
            (None, None) if self.shared.plan().config.admin.is_none() => {}
            _ => {
                reloaded.needs_restart.push("admin");
                reloaded.settings_changed.retain(|key| !key.starts_with("admin"));
            }
        }
        let after = self.shared.plan();
        self.change_listeners(&mut listeners, next, &after.config.tcp, &mut reloaded);
        self.shared.own.set(listeners.iter().map(|listening| listening.place).collect());
        self.note_certificates();
        drop(before);
        self.forget_gone();
        Ok(reloaded)
    }

    /// Reads the file again and runs it. The log tells the outcome.
    ///
    /// # Errors
    /// Whatever is wrong with the file. Nothing has changed then.
    pub fn reload_from(&self, file: &Path) -> Result<Reloaded, ReloadError> {
        let loaded = config::load(file).map_err(|diagnostics| {
            self.metrics().reloaded(ReloadOutcome::WrongConfig);
            ReloadError::Config(diagnostics)
        });
        let reloaded = loaded.and_then(|Loaded { config, warnings }| {
            if !warnings.is_empty() {
                tracing::warn!(file = %file.display(), "the new configuration: {}", warnings.render(false));
            }
            self.reload(config)
        });
        match &reloaded {
            Ok(changes) => {
                for key in &changes.needs_restart {
                    tracing::warn!(key, "a change of this key needs a restart: it stays as it was");
                }
                let changes = if changes.is_empty() { "nothing".to_owned() } else { changes.summary() };
                tracing::info!(file = %file.display(), changes, "reloaded");
            }
            Err(error) => {
                tracing::error!(file = %file.display(), %error, "not reloaded: the configuration stays as it was")
            }
        }
        reloaded
    }

    /// The rules of the admin interface in a new file. `None` if the file wants it elsewhere or nowhere.
    fn next_access(&self, config: &Config) -> Result<Option<Access>, StartError> {
        let Some(desk) = &self.desk else { return Ok(None) };
        desk.read(config.admin.as_ref()).map_err(|error| StartError::Admin(desk.bind().clone(), error))
    }

    fn change_listeners(&self, listeners: &mut Vec<Listening>, next: Vec<Next>, tcp: &Tcp, reloaded: &mut Reloaded) {
        let mut before: Vec<_> = mem::take(listeners).into_iter().map(Some).collect();
        for next in next {
            match next {
                Next::Goes(place, tls) => {
                    let Some(listening) = before[place].take() else { continue };
                    listening.face.change_tls(tls);
                    if let Err(error) = options::set_options(&listening.socket, tcp) {
                        tracing::warn!(address = %listening.place.address, %error, "the options of a listener cannot be set");
                    }
                    listeners.push(listening);
                }
                Next::New(bound) => match self.crew.accept(bound) {
                    Ok(listening) => {
                        reloaded.listeners_added.push(listening.place.address);
                        listeners.push(listening);
                    }
                    Err(error) => tracing::error!(%error, "a new listener was lost"),
                },
            }
        }
        for gone in before.into_iter().flatten() {
            reloaded.listeners_removed.push(gone.place.address);
            // The loop goes on accepting the clients that wait. Nobody waits for its end here.
            drop(gone.end());
        }
    }

    /// Puts a plan in the place of the one that runs, and gives orders to the sessions whose backend or route was
    /// removed. A backend or a route that has come back is under no order that was given before it went.
    fn change_plan(&self, plan: Plan) {
        self.shared.orders.change(|book| {
            let before = self.shared.plan();
            let had: HashSet<_> = before.backends().map(|backend| Arc::as_ptr(&backend)).collect();
            let mut come_back = HashSet::new();
            for backend in plan.backends().filter(|backend| !had.contains(&Arc::as_ptr(backend))) {
                backend.begin_anew(Instant::now());
                come_back.insert(Arc::as_ptr(&backend));
            }
            book.restore_backends(&come_back);
            book.restore_routes(&(&plan.route_names() - &before.route_names()));
            self.shared.change_plan(plan);
            self.release(book, &before, &self.shared.plan());
        });
    }

    /// Tells the sessions of routes and backends that are gone to leave. Takes back the orders of checks for backends
    /// that are not checked any more.
    fn release(&self, book: &mut Book, before: &Plan, after: &Plan) {
        let closes = after.config.drain.closes_removed;
        let order = |sessions| closes.then(|| self.shared.order(Cause::Removed, sessions));
        let (has, sessions) = (after.route_names(), self.metrics().sessions_by_route());
        let gone = before.config.routes.routes().filter(|route| !has.contains(&*route.name));
        let routes: Vec<_> =
            gone.map(|route| (&*route.name, order(sessions.get(&*route.name).copied().unwrap_or_default()))).collect();
        book.drain_routes(&routes, Cause::Removed);
        let has: HashSet<_> = after.backends().map(|backend| Arc::as_ptr(&backend)).collect();
        let gone: Vec<_> = before.backends().filter(|backend| !has.contains(&Arc::as_ptr(backend))).collect();
        let backends: Vec<_> = gone.iter().map(|backend| (backend, order(backend.sessions()))).collect();
        book.drain_backends(&backends, Cause::Removed);
        let unchecked = after.upstreams.iter().flat_map(|upstream| {
            let drains = drains_on_down(upstream);
            let members = upstream.members();
            let unchecked = members.iter().filter(|member| !(drains && upstream.is_checked(member)));
            unchecked.map(|member| Arc::clone(&member.backend)).collect::<Vec<_>>()
        });
        let unchecked: Vec<_> = unchecked.collect();
        let backends: Vec<_> = unchecked.iter().map(|backend| (backend, None)).collect();
        book.drain_backends(&backends, Cause::BackendDown);
    }
}

/// Everything about the new listeners that can fail: reads certificates, and binds addresses that are not bound yet.
fn next_listeners(listeners: &[Listening], config: &Config, tickets: &Arc<Tickets>) -> Result<Vec<Next>, StartError> {
    let mut free: Vec<_> = listeners.iter().map(|listening| Some(listening.bind)).collect();
    let mut next = Vec::with_capacity(config.listeners.len());
    for listener in &config.listeners {
        // The same address can stand here twice only if its port is 0. Such listeners are matched in their order.
        match free.iter().position(|bind| *bind == Some(listener.bind)) {
            Some(place) => {
                free[place] = None;
                next.push(Next::Goes(place, load_tls(listener, tickets)?));
            }
            None => next.push(Next::New(bind(listener, &config.tcp, tickets, &mut Inherited::default())?)),
        }
    }
    Ok(next)
}
