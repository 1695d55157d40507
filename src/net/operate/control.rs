//! What can be done to a running proxy: reload its configuration, drain it or a part of it.

mod changes;
mod reload;

use std::{
    cell::LazyCell,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::{Duration, Instant},
};

use tokio::{
    runtime::Handle,
    sync::{self, oneshot},
    time::{sleep, timeout},
};

use super::{desk::Desk, history::History};
use crate::{
    access_log::AccessLog,
    balance::{Duty, OnDown, Transition, Upstream},
    config::{AdminBind, Config, Listener, expiry},
    lines::Lines,
    metrics::Metrics,
    net::{
        backend::prober::{self, Checks},
        counts::live::Live,
        front::{
            bind::StartError,
            listener::{Bound, Crew, Listening},
            parcel::Sockets,
            tickets::Tickets,
        },
        orders::{
            book::{Book, Order, spread},
            inquiry::{Found, Kill, Question, Search},
            observed::{Chosen, TooMany},
            tally::Tally,
        },
        session::held::Arrival,
        thread::vital::{Fault, Vitals},
        worker::{
            plan::{Plan, Planner},
            shared::Shared,
        },
    },
    traces::Traces,
    ws::termination::Cause,
};

pub use self::{changes::Reloaded, reload::ReloadError};
pub use crate::net::{orders::book::Leaving, worker::plan::Unknown};

/// How long a worker may take to answer, and listeners to close.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often to look for things that the configuration does not have any more and that nobody uses. Nobody looks while
/// there is nothing to come.
const TIDY: Duration = Duration::from_secs(1);

/// A running proxy, for callers that change it. Keeping this does not keep the proxy running.
#[derive(Debug)]
pub struct Control {
    shared: Arc<Shared>,
    crew: Crew,
    planner: Planner,
    /// The keys of TLS tickets, for all listeners.
    tickets: Arc<Tickets>,
    /// The configuration that the process began with.
    started: Config,
    /// The runtime of everything that is no worker's.
    background: Handle,
    /// Behind a lock, which is held for the whole of a reload: reloads come one after another.
    listeners: Mutex<Vec<Listening>>,
    /// The checks of the plan that runs.
    checks: Mutex<Checks>,
    /// `None` = there is no admin interface.
    desk: Option<Desk>,
    /// `None` = there is no admin interface.
    history: Option<History>,
    /// The messages of the log. Set if the process has a log.
    messages: OnceLock<Lines>,
    /// A lock that is held from the count to the text, so that no scrape shows less than an earlier one.
    scrape: sync::Mutex<()>,
}

/// The sessions that an order tells to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Sessions that were open when the order was given. 0 if none is told.
    pub sessions: usize,
    /// The time over which they are told, one by one.
    pub over: Duration,
}

impl Control {
    /// Starts to accept connections and to check backends.
    pub(in crate::net) fn start(
        shared: Arc<Shared>,
        crew: Crew,
        background: Handle,
        planner: Planner,
        tickets: Arc<Tickets>,
        bound: Vec<Bound>,
        admin: Option<(Desk, History)>,
    ) -> Result<Arc<Self>, StartError> {
        let listeners = bound
            .into_iter()
            .map(|bound| {
                let bind = bound.bind;
                crew.accept(bound).map_err(|error| StartError::Bind(bind, error))
            })
            .collect::<Result<_, _>>()?;
        let (desk, history) = admin.unzip();
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
            tickets,
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
        Ok(control)
    }

    /// The addresses in the order of `Config::listeners`, with the ports that were really bound.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners().iter().map(|listening| listening.place.address).collect()
    }

    /// Notes the addresses on which this process accepts: no backend may be there.
    fn note_own(&self) {
        self.shared.own.set(self.listeners().iter().map(|listening| listening.place).collect());
    }

    /// The address of the admin interface, with the port that was really bound. `None` = there is none, or not yet.
    #[must_use]
    pub fn admin_address(&self) -> Option<AdminBind> {
        self.desk.as_ref()?.address()
    }

    /// Sessions open now.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.live().sessions()
    }

    /// Whether load balancers should send clients here: not after a drain was announced, nor after something vital has failed.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.shared.orders.book().is_ready() && !self.has_failed()
    }

    /// Ready when something has failed that the proxy cannot do without. The proxy is then to be drained, and its process ended.
    pub async fn failed(&self) {
        self.shared.vitals.failed().await;
    }

    /// Whether another process keeps the listening sockets. New clients then wait for a successor when this process ends.
    #[must_use]
    pub fn has_kept_sockets(&self) -> bool {
        self.listeners().iter().any(Listening::is_shared)
    }

    /// Whether [`Self::failed`] is ready.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.shared.vitals.have_failed()
    }

    /// Makes the code panic at a place, for tests. Does nothing in release builds.
    #[doc(hidden)]
    pub fn inject(&self, fault: Fault) {
        self.shared.vitals.inject(fault);
        // This wakes every worker, which then looks for its fault.
        self.shared.orders.change(|_| {});
    }

    /// The configuration that runs.
    #[must_use]
    pub fn config(&self) -> Config {
        self.shared.plan().config.clone()
    }

    /// Counts the lost messages of the process's log in the metrics, together with the lost records.
    pub fn count_lost_messages(&self, messages: Lines) {
        // A second call would count the same log.
        let _ = self.messages.set(messages);
    }

    /// Lines of the log, records and messages, that were lost.
    pub(super) fn lost_lines(&self) -> usize {
        self.access_log().lines().lost() + self.messages.get().map_or(0, Lines::lost)
    }

    /// Where the records of the process go.
    pub(in crate::net) const fn access_log(&self) -> &AccessLog {
        &self.planner.access_log
    }

    /// Tells all sessions to leave and refuses every request, or takes that back.
    ///
    /// # Errors
    /// The process is about to end, and nothing is taken back.
    pub fn drain_all(&self, drains: bool) -> Result<Told, Leaving> {
        let sessions = self.sessions();
        let order = drains.then(|| self.shared.order(Cause::Drain, sessions));
        self.shared.orders.drain_all(order)?;
        Ok(Told::by(order, sessions))
    }

    /// Tells the sessions of a route to leave and refuses every request on it, or takes that back.
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

    /// Sets what the operator wants of a backend. `Drain` also tells its sessions to leave.
    ///
    /// # Errors
    /// No upstream has this name, or none of its backends has this address.
    pub fn set_duty(&self, upstream: &str, address: &str, duty: Duty) -> Result<Told, Unknown> {
        let told = self.order(|plan, book| {
            let (upstream, backend) = plan.backend(upstream, address)?;
            upstream.set_duty(&backend, duty, Instant::now());
            let sessions = backend.sessions();
            let order = (duty == Duty::Drain).then(|| self.shared.order(Cause::Drain, sessions));
            book.drain_backend(&backend, Cause::Drain, order);
            Ok(Told::by(order, sessions))
        })?;
        tracing::info!(upstream, backend = address, ?duty, sessions = told.sessions, over = ?told.over, "duty of a backend");
        Ok(told)
    }

    /// Gives an order about something in the plan that runs. A reload, too, changes plan and orders in one step, so
    /// that no order is given about something that has just gone.
    fn order(&self, give: impl FnOnce(&Plan, &mut Book) -> Result<Told, Unknown>) -> Result<Told, Unknown> {
        let mut given = Ok(Told::by(None, 0));
        self.shared.orders.change(|book| given = give(&self.shared.plan(), book));
        given
    }

    /// Shows the frames of these sessions for `time` from now on.
    pub(in crate::net) fn observe(&self, chosen: Chosen, time: Duration) -> Result<(), TooMany> {
        let now = Instant::now();
        self.shared.orders.observe(chosen, now + time, now)
    }

    /// Ends the choice of this name.
    pub(in crate::net) fn look_away(&self, name: &str) -> Result<(), Unknown> {
        match self.shared.orders.look_away(name, Instant::now()) {
            true => Ok(()),
            false => Err(Unknown { what: "choice", name: name.to_owned() }),
        }
    }

    /// Checks the backends of the plan that runs. No other checks may run.
    fn check_backends(&self) {
        let _background = self.background.enter();
        let shared = Arc::clone(&self.shared);
        *self.checks() =
            prober::watch(&shared.plan().upstreams, &self.shared.own, move |upstream, backend, transition| {
                if !drains_on_down(upstream) {
                    return;
                }
                let order =
                    (transition == Transition::Out).then(|| shared.order(Cause::BackendDown, backend.sessions()));
                shared.orders.change(|book| book.drain_backend(backend, Cause::BackendDown, order));
            });
    }

    /// Tells every session to leave, over `longest` at most, and closes the listeners. Ready when nothing is accepted any more.
    pub(in crate::net) async fn close(&self, longest: Duration) {
        let order = self.shared.order(Cause::Drain, self.sessions());
        self.shared.orders.close(Order { spread: order.spread.min(longest), ..order });
        self.end_listeners().await;
    }

    /// The listening sockets, for a successor. From now on it may accept the clients that wait there.
    pub(super) fn lend_sockets(&self) -> io::Result<Sockets> {
        let mut sockets = Sockets::default();
        for listening in &*self.listeners() {
            sockets.tcp.push((listening.lend()?, listening.origin()));
        }
        self.desk.as_ref().map_or(Ok(()), |desk| desk.lend(&mut sockets))?;
        Ok(sockets)
    }

    /// The keys of TLS tickets, for a successor.
    pub(in crate::net) fn tickets(&self) -> &Tickets {
        &self.tickets
    }

    /// Takes the sockets back, because the successor did not take over.
    pub(super) fn own_sockets(&self) {
        self.listeners().iter().for_each(Listening::own);
        if let Some(desk) = &self.desk {
            desk.own();
        }
    }

    /// Leaves the sockets to a successor, which accepts from them: the clients that wait there are its own. Ready when
    /// we accept no more.
    pub(super) async fn leave_listeners(&self) {
        self.announce();
        if let Some(desk) = &self.desk {
            desk.leave_to_successor();
        }
        self.end_listeners().await;
    }

    async fn end_listeners(&self) {
        let loops: Vec<_> = self.listeners().drain(..).map(Listening::end).collect();
        let ends = async {
            for accepting in loops {
                // An error says that the loop's worker has stopped.
                let _ = accepting.await;
            }
        };
        if timeout(PATIENCE, ends).await.is_err() {
            tracing::warn!("a listener was still accepting when it should have closed");
        }
    }

    /// Whether nothing is accepted here any more.
    pub(in crate::net) fn has_left(&self) -> bool {
        self.listeners().is_empty()
    }

    /// Whether the process is about to end. No order takes that back.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.shared.orders.is_announced()
    }

    /// Tells load balancers to look away.
    pub(in crate::net) fn announce(&self) {
        self.shared.orders.announce();
    }

    pub(in crate::net) fn live(&self) -> &Arc<Live> {
        &self.shared.live
    }

    pub(in crate::net) fn traces(&self) -> &Traces {
        &self.shared.traces
    }

    /// The plan that runs.
    pub(in crate::net) fn plan(&self) -> Arc<Plan> {
        self.shared.plan()
    }

    pub(in crate::net) fn vitals(&self) -> &Vitals {
        &self.shared.vitals
    }

    /// All orders that stand.
    pub(in crate::net) fn book(&self) -> Arc<Book> {
        self.shared.orders.book()
    }

    /// The last endings and the last hour. `None` = there is no admin interface.
    pub(in crate::net) const fn history(&self) -> Option<&History> {
        self.history.as_ref()
    }

    pub(super) const fn desk(&self) -> Option<&Desk> {
        self.desk.as_ref()
    }

    /// Searches all sessions, and ends those found if `kill` is given. `None`: a worker did not answer in time.
    pub(in crate::net) async fn ask(&self, search: Search, kill: Option<Kill>) -> Option<Found> {
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
        search.sort_and_cut(&mut all.sights);
        Some(all)
    }

    /// What all sessions have passed, by worker. `None`: a worker did not answer in time.
    pub(in crate::net) async fn count(&self) -> Option<Vec<Tally>> {
        self.answers(Arrival::Count).await
    }

    /// Asks every worker at once. The answers stand in the order of the workers. `None`: a worker did not answer in time.
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

    /// Waits for this caller's turn to show the metrics.
    pub(super) async fn scrape(&self) -> sync::MutexGuard<'_, ()> {
        self.scrape.lock().await
    }

    pub(in crate::net) fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Notes when the certificates end that the listeners use from now on.
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

    /// Forgets what the configuration does not have any more and nobody uses, in every table that has a row for each such thing.
    pub(in crate::net) fn forget_gone(&self) {
        let (metrics, plan) = (self.metrics(), self.plan());
        self.planner.forget_gone();
        let members: Vec<_> = plan.members().collect();
        metrics.forget_gone(members.iter().map(|(upstream, member)| (*upstream, member.backend.address())));
        // Asked for at most once, and only when the orders are locked.
        let names = LazyCell::new(|| metrics.route_names());
        self.shared.orders.forget_gone(|route| names.contains(route), Instant::now());
    }

    /// Forgets what is gone, if something is. Returns whether something will go by itself later: what a reload has
    /// removed and somebody still uses, or a choice that has not ended.
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

/// Looks for what is gone, as the last session of something removed may end at any time. If nothing is left to go, only
/// a change of the orders can bring something, and a reload is such a change. A process whose file stays as it is does
/// nothing here.
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
            #[expect(clippy::disallowed_methods, reason = "nothing says when the last user of a row is gone")]
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
    /// The order to leave for `sessions` sessions, from now on.
    fn order(&self, cause: Cause, sessions: usize) -> Order {
        let drain = self.plan().config.drain;
        Order { began: Instant::now(), spread: spread(drain.spread, sessions), cause, code: drain.close_code }
    }
}

/// Whether the sessions of a backend are told to leave when its checks find it down.
fn drains_on_down(upstream: &Upstream) -> bool {
    upstream.health_check().is_some_and(|check| check.on_down == OnDown::Drain)
}
