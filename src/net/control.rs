//! What can be done to a running proxy: reload its configuration, drain it or a part of it.

mod changes;
mod reload;

use std::{
    cell::LazyCell,
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::{Duration, Instant},
};

use tokio::{
    runtime::Handle,
    sync::{self, oneshot},
    time::{sleep, timeout},
};

use super::{
    Shared,
    admin::{self, Desk, History},
    drain::{Book, Order, spread},
    expiry,
    handover::Sockets,
    inquiry::{Found, Kill, Question, Search},
    listener::{Bound, Crew, Listening},
    live::Live,
    observed::{Chosen, TooMany},
    plan::{Plan, Planner},
    prober::{self, Checks},
    server::StartError,
    session::Arrival,
    tally::Tally,
    tickets::Tickets,
    vital::{Fault, Vitals},
};
use crate::{
    access_log::AccessLog,
    balance::{Duty, OnDown, Transition, Upstream},
    config::{AdminBind, Config, Listener},
    lines::Lines,
    metrics::Metrics,
    traces::Traces,
    ws::termination::Cause,
};

pub(super) use self::reload::bind;
pub use self::reload::{ReloadError, Reloaded};

/// How long a worker may take to do what was asked.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long something is remembered at most that the configuration does not have any more and nobody uses. Nobody looks while
/// there is no such thing to come.
const TIDY: Duration = Duration::from_secs(1);

/// A running proxy, for whoever may change it. It does not keep the proxy running.
#[derive(Debug)]
pub struct Control {
    shared: Arc<Shared>,
    crew: Crew,
    planner: Planner,
    /// What the process began with.
    started: Config,
    /// Where everything runs that is no worker's.
    background: Handle,
    /// A lock, held for the whole of a reload: they come one after another.
    listeners: Mutex<Vec<Listening>>,
    /// Those of the plan that runs.
    checks: Mutex<Checks>,
    /// `None` = there is no admin interface.
    desk: Option<Desk>,
    /// Likewise.
    history: Option<History>,
    /// The messages of the log; set where the process has a log.
    messages: OnceLock<Lines>,
    /// A lock, held from the count to the text, so that no scrape shows less than one before it.
    scrape: sync::Mutex<()>,
}

/// Who is told to leave by an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Sessions that are open when it is given; 0 where none is told.
    pub sessions: usize,
    /// Over which time they are told, one by one.
    pub over: Duration,
}

/// What was asked for is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// What it is: `route`, `upstream`, `backend`, `choice`.
    pub what: &'static str,
    /// How it was called.
    pub name: String,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no {} is called {:?}", self.what, self.name)
    }
}

impl std::error::Error for Unknown {}

/// The process is about to end: what was asked for would change nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaving;

impl fmt::Display for Leaving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this process is about to end, and that is not taken back; what is new is for its successor")
    }
}

impl std::error::Error for Leaving {}

impl Control {
    /// Begins to accept.
    pub(super) fn start(
        shared: Arc<Shared>,
        crew: Crew,
        background: Handle,
        planner: Planner,
        bound: Vec<Bound>,
        admin: Option<(admin::Bound, History)>,
    ) -> Result<Arc<Self>, StartError> {
        let listeners = bound
            .into_iter()
            .map(|bound| {
                let bind = bound.bind;
                crew.accept(bound).map_err(|error| StartError::Bind(bind, error))
            })
            .collect::<Result<_, _>>()?;
        let (admin, history) = admin.unzip();
        let (desk, unserved) = admin.map(admin::Bound::split).unzip();
        let (listeners, checks) = (Mutex::new(listeners), Mutex::default());
        let scrape = sync::Mutex::default();
        let messages = OnceLock::new();
        let started = shared.plan().config.clone();
        let control = Arc::new(Self {
            shared,
            started,
            crew,
            background,
            planner,
            listeners,
            checks,
            desk,
            history,
            messages,
            scrape,
        });
        control.note_own();
        control.check_backends();
        control.note_certificates();
        control.background.spawn(tidy(Arc::downgrade(&control)));
        if let Some(unserved) = unserved {
            unserved.serve(&control.background, Arc::clone(&control));
            History::watch(&control.background, Arc::downgrade(&control));
        }
        Ok(control)
    }

    /// The addresses in the order of `Config::listeners`, with the ports that were really bound.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners().iter().map(|listening| listening.place.address).collect()
    }

    /// Backends are not to be found at the addresses that are accepted on.
    fn note_own(&self) {
        self.shared.own.set(self.listeners().iter().map(|listening| listening.place).collect());
    }

    /// Where the admin interface is, with the port that was really bound; `None` = nowhere, or not yet.
    #[must_use]
    pub fn admin_address(&self) -> Option<AdminBind> {
        self.desk.as_ref()?.address()
    }

    /// Sessions open now.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.live().sessions()
    }

    /// Whether load balancers should send clients here: not once a drain has been announced or something vital has failed.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.shared.orders.book().is_ready() && !self.has_failed()
    }

    /// Ready when something has failed without which the proxy cannot go on: it is to be drained and its process ended.
    pub async fn failed(&self) {
        self.shared.vitals.failed().await;
    }

    /// Whether another process keeps the listening sockets, so that newcomers wait for a successor when this one ends.
    #[must_use]
    pub fn has_kept_sockets(&self) -> bool {
        self.listeners().iter().any(Listening::is_shared)
    }

    /// Whether [`Self::failed`] is ready.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.shared.vitals.have_failed()
    }

    /// Has the code panic somewhere, for tests; in release builds it does nothing.
    #[doc(hidden)]
    pub fn inject(&self, fault: Fault) {
        self.shared.vitals.inject(fault);
        // Every worker looks.
        self.shared.orders.change(|_| {});
    }

    /// What runs.
    #[must_use]
    pub fn config(&self) -> Config {
        self.shared.plan().config.clone()
    }

    /// Shows what is lost of the messages of the process's log among the metrics, beside what is lost of its records.
    pub fn count_lost_messages(&self, messages: Lines) {
        // Who comes second counts the same log.
        let _ = self.messages.set(messages);
    }

    /// Lines of the log that nobody will read.
    pub(super) fn lost_lines(&self) -> usize {
        self.access_log().lines().lost() + self.messages.get().map_or(0, Lines::lost)
    }

    /// Where the records of the process go.
    pub(super) const fn access_log(&self) -> &AccessLog {
        &self.planner.access_log
    }

    /// All sessions are told to leave and every request is refused, until that is taken back.
    ///
    /// # Errors
    /// It cannot be taken back, as the process is about to end.
    pub fn drain_all(&self, drains: bool) -> Result<Told, Leaving> {
        let sessions = self.sessions();
        let order = drains.then(|| self.shared.order(Cause::Drain, sessions));
        self.shared.orders.drain_all(order)?;
        Ok(Told::by(order, sessions))
    }

    /// The sessions of a route are told to leave and every request on it is refused, until that is taken back.
    ///
    /// # Errors
    /// No route has this name (host and path, as in the log).
    pub fn drain_route(&self, route: &str, drains: bool) -> Result<Told, Unknown> {
        let sessions = self.metrics().sessions_by_route().get(route).copied().unwrap_or_default();
        let order = drains.then(|| self.shared.order(Cause::Drain, sessions));
        self.order(|plan, book| {
            if !plan.has_route(route) {
                return Err(Unknown { what: "route", name: route.to_owned() });
            }
            book.drain_route(route, Cause::Drain, order);
            Ok(Told::by(order, sessions))
        })
    }

    /// What the operator wants of a backend. `Drain`: its sessions are told to leave, too.
    ///
    /// # Errors
    /// No upstream, or none of its backends, is called so.
    pub fn set_duty(&self, upstream: &str, address: &str, duty: Duty) -> Result<Told, Unknown> {
        let told = self.order(|plan, book| {
            let backend = plan.backend(upstream, address)?;
            backend.set_duty(duty, Instant::now());
            let sessions = backend.sessions();
            let order = (duty == Duty::Drain).then(|| self.shared.order(Cause::Drain, sessions));
            book.drain_backend(backend, Cause::Drain, order);
            Ok(Told::by(order, sessions))
        })?;
        tracing::info!(upstream, backend = address, ?duty, sessions = told.sessions, over = ?told.over, "duty of a backend");
        Ok(told)
    }

    /// Gives an order about something of the plan that runs. A reload changes plan and book in one step too, so that no order is
    /// given about what has just gone.
    fn order(&self, give: impl FnOnce(&Plan, &mut Book) -> Result<Told, Unknown>) -> Result<Told, Unknown> {
        let mut given = Ok(Told::by(None, 0));
        self.shared.orders.change(|book| given = give(&self.shared.plan(), book));
        given
    }

    /// The frames of these sessions are shown for so long from now on.
    pub(super) fn observe(&self, chosen: Chosen, time: Duration) -> Result<(), TooMany> {
        let now = Instant::now();
        self.shared.orders.observe(chosen, now + time, now)
    }

    /// The frames of those called so are shown no more.
    pub(super) fn look_away(&self, name: &str) -> Result<(), Unknown> {
        match self.shared.orders.look_away(name, Instant::now()) {
            true => Ok(()),
            false => Err(Unknown { what: "choice", name: name.to_owned() }),
        }
    }

    /// Checks the backends of the plan that runs; no other checks must run.
    fn check_backends(&self) {
        let _background = self.background.enter();
        let shared = Arc::clone(&self.shared);
        *self.checks() =
            prober::watch(&shared.plan().upstreams, &self.shared.own, move |upstream, index, transition| {
                let Some(backend) = upstream.backends().get(index).filter(|_| drains_on_down(upstream)) else { return };
                let order =
                    (transition == Transition::Out).then(|| shared.order(Cause::BackendDown, backend.sessions()));
                shared.orders.change(|book| book.drain_backend(backend, Cause::BackendDown, order));
            });
    }

    /// Every session is told to leave over `longest` at most, and the listeners close. Ready when nothing is accepted any more.
    pub(super) async fn close(&self, longest: Duration) {
        let order = self.shared.order(Cause::Drain, self.sessions());
        self.shared.orders.close(Order { spread: order.spread.min(longest), ..order });
        self.end_listeners().await;
    }

    /// The listening sockets, for a successor: from now on it may accept what waits there.
    pub(super) fn lend_sockets(&self) -> io::Result<Sockets> {
        let mut sockets = Sockets::default();
        for listening in &*self.listeners() {
            sockets.tcp.push(listening.lend()?);
        }
        self.desk.as_ref().map_or(Ok(()), |desk| desk.lend(&mut sockets))?;
        Ok(sockets)
    }

    /// The keys of TLS tickets, for a successor.
    pub(super) fn tickets(&self) -> &Tickets {
        &self.planner.tickets
    }

    /// The successor did not take over.
    pub(super) fn own_sockets(&self) {
        self.listeners().iter().for_each(Listening::own);
        if let Some(desk) = &self.desk {
            desk.own();
        }
    }

    /// A successor accepts from our sockets: what waits there is its own. Ready when we accept no more.
    pub(super) async fn leave_listeners(&self) {
        self.announce();
        if let Some(desk) = &self.desk {
            desk.leave();
        }
        self.end_listeners().await;
    }

    async fn end_listeners(&self) {
        let loops: Vec<_> = self.listeners().drain(..).map(Listening::end).collect();
        let ends = async {
            for accepting in loops {
                // An error says that its worker has stopped.
                let _ = accepting.await;
            }
        };
        if timeout(PATIENCE, ends).await.is_err() {
            tracing::warn!("a listener was still accepting when it should have closed");
        }
    }

    /// Whether nothing is accepted here any more.
    pub(super) fn has_left(&self) -> bool {
        self.listeners().is_empty()
    }

    /// Whether the process is about to end: no order brings it back.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.shared.orders.is_announced()
    }

    /// Load balancers are told to look away.
    pub(super) fn announce(&self) {
        self.shared.orders.announce();
    }

    pub(super) fn live(&self) -> &Arc<Live> {
        &self.shared.live
    }

    pub(super) fn traces(&self) -> &Traces {
        &self.shared.traces
    }

    /// What runs, with what its requests and sessions share.
    pub(super) fn plan(&self) -> Arc<Plan> {
        self.shared.plan()
    }

    pub(super) fn vitals(&self) -> &Vitals {
        &self.shared.vitals
    }

    /// Every order that stands.
    pub(super) fn book(&self) -> Arc<Book> {
        self.shared.orders.book()
    }

    /// What has been; `None` = there is no admin interface.
    pub(super) const fn history(&self) -> Option<&History> {
        self.history.as_ref()
    }

    pub(super) const fn desk(&self) -> Option<&Desk> {
        self.desk.as_ref()
    }

    /// Asks all sessions, and ends those found if so wanted. `None`: a worker did not answer in time.
    pub(super) async fn ask(&self, search: Search, kill: Option<Kill>) -> Option<Found> {
        let (search, kill, asked) = (Arc::new(search), kill.map(Arc::new), Instant::now());
        let question = |answer| {
            let (search, kill) = (Arc::clone(&search), kill.clone());
            Arrival::Question(Box::new(Question { search, asked, kill, answer }))
        };
        let mut all = Found::default();
        for Found { matched, sights } in self.answers(question).await? {
            all.matched += matched;
            all.sights.extend(sights);
        }
        search.settle(&mut all.sights);
        Some(all)
    }

    /// What all sessions have passed, by worker. `None`: one did not answer in time.
    pub(super) async fn count(&self) -> Option<Vec<Tally>> {
        self.answers(Arrival::Count).await
    }

    /// Asks every worker at once; its answer stands at its place. `None`: one did not answer in time.
    async fn answers<T>(&self, question: impl Fn(oneshot::Sender<T>) -> Arrival) -> Option<Vec<T>> {
        let answers = async {
            let mut awaited = Vec::with_capacity(self.crew.sessions.len());
            for worker in &self.crew.sessions {
                let (answer, answered) = oneshot::channel();
                worker.send(question(answer)).await.ok()?;
                awaited.push(answered);
            }
            let mut answers = Vec::with_capacity(awaited.len());
            for answered in awaited {
                answers.push(answered.await.ok()?);
            }
            Some(answers)
        };
        timeout(PATIENCE, answers).await.ok()?
    }

    /// Whoever shows the metrics takes turns.
    pub(super) async fn scrape(&self) -> sync::MutexGuard<'_, ()> {
        self.scrape.lock().await
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// When the certificates end that listeners have from now on.
    fn note_certificates(&self) {
        let plan = self.shared.plan();
        let of = |listener: &Listener| {
            let bind = listener.bind.to_string();
            let files = listener.tls.iter().flat_map(|tls| &tls.certificates);
            let ends =
                files.filter_map(|files| Some((files.cert.display().to_string(), expiry::of_file(&files.cert)?)));
            ends.map(|(cert, at)| (bind.clone(), cert, at.as_second())).collect::<Vec<_>>()
        };
        self.metrics().set_certificates(plan.config.listeners.iter().flat_map(of));
    }

    /// Forgets what the configuration does not have any more and nobody uses: in every table that has a row for each.
    pub(super) fn forget_gone(&self) {
        let (metrics, plan) = (self.metrics(), self.plan());
        self.planner.forget_gone();
        metrics.forget_gone(plan.backends().map(|(upstream, backend)| (upstream, backend.address())));
        // Asked for at most once, and not before the orders stand still.
        let names = LazyCell::new(|| metrics.route_names());
        self.shared.orders.forget_gone(|route| names.contains(route), Instant::now());
    }

    /// Forgets what is gone, if something is. Whether something is still to go, by itself: what a reload has removed and
    /// somebody still uses, or a choice whose time is not up.
    fn tidy(&self) -> bool {
        if self.planner.has_gone() || self.book().choices().has_ended(Instant::now()) {
            self.forget_gone();
        }
        self.planner.has_more_than(&self.plan()) || !self.book().choices().is_empty()
    }

    fn checks(&self) -> MutexGuard<'_, Checks> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<Listening>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The last session of something that is gone may end at any time. Where nothing is gone only a change of the orders can bring
/// something, as a reload is one: a process whose file stays as it is does nothing here.
async fn tidy(control: Weak<Control>) {
    let Some(mut orders) = control.upgrade().map(|control| control.shared.orders.subscribe()) else { return };
    loop {
        let is_more_to_go = {
            let Some(control) = control.upgrade() else { return };
            let _vital = control.vitals().guard("the background thread");
            control.vitals().strike(Fault::Background);
            control.tidy()
        };
        if is_more_to_go {
            sleep(TIDY).await;
        } else if orders.changed().await.is_err() {
            return;
        }
    }
}

impl Told {
    const fn by(order: Option<Order>, sessions: usize) -> Self {
        match order {
            Some(order) => Self { sessions, over: order.spread },
            None => Self { sessions: 0, over: Duration::ZERO },
        }
    }
}

impl Shared {
    /// What so many sessions are told that leave from now on.
    fn order(&self, cause: Cause, sessions: usize) -> Order {
        let drain = self.plan().config.drain;
        Order { began: Instant::now(), spread: spread(drain.spread, sessions), cause, code: drain.close_code }
    }
}

/// Whether the sessions of a backend that its checks find down are told to leave.
fn drains_on_down(upstream: &Upstream) -> bool {
    upstream.health_check().is_some_and(|check| check.on_down == OnDown::Drain)
}
