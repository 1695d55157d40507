//! What can be done to a running proxy: reload its configuration, drain it or a part of it.
//!
//! Each thing that changes while the proxy runs has a value of its own, with its own door:
//!
//! | what changes | value | lock |
//! |---|---|---|
//! | routes, upstreams, settings | `plans` | none: a pointer is replaced, in one step with the orders |
//! | listening sockets, certificates | `listeners` | of the list, for no file and no wait |
//! | with whom the limits are shared, and by which server | `fleet`, beside this room | of the target, for no file and no wait |
//! | which addresses are backends | `discovery`, beside this room | of the list, for no file and no wait |
//! | which backends are checked | `checkers` | of the list |
//! | which sessions are to leave, the duty of backends | `dispatch` | of the book |
//! | which of the oldest sessions leave to even out loads | `rebalancing` | of the order, while workers are asked |
//! | which intervals of pings are learned | `learning` | of the book of lessons |
//!
//! `reload` calls them in order. Another change calls only those that it needs.

mod changes;
mod checkers;
mod dispatch;
mod edits;
mod expiries;
mod finding;
mod learning;
mod leaving;
mod listeners;
mod plans;
mod rebalancing;
mod reload;
mod reloader;
mod survey;
mod tidy;
mod watch;

use std::sync::{Arc, Mutex, OnceLock};

use tokio::{runtime::Handle, sync};

use self::{
    checkers::Checkers, dispatch::Dispatch, expiries::expiries, listeners::Listeners, plans::Plans,
    rebalancing::Rebalancing, reloader::Reloader, survey::Survey,
};
use super::{
    desk::Desk,
    discovery::Seekers,
    explainer::Explainer,
    fleet::{FleetDriver, FleetTarget},
    history::History,
};
use crate::{
    access_log::AccessLog,
    balance::Duty,
    config::{AdminBind, Config, ListenAddress},
    explain::Pattern,
    lines::Lines,
    metrics::Metrics,
    net::{
        backend::checker::CheckTools,
        counts::{fleet::FleetStanding, live::Live},
        front::{
            bind::StartError,
            listener::{Bound, Crew},
            tickets::Tickets,
        },
        session::reclaim::Reclaims,
        thread::vital::{Fault, Vitals},
        worker::{
            plan::{Plan, Planner},
            shared::Shared,
        },
    },
    traces::Traces,
};

pub(in crate::net) use self::rebalancing::{HowMany, Rebalance, RebalanceError, RebalanceOrder};
pub use self::{
    changes::Reloaded,
    dispatch::Told,
    reload::{ReloadAnswer, ReloadAsker, ReloadError},
};
pub use crate::net::{orders::book::Leaving, worker::plan::Unknown};

/// A running proxy, for callers that change it. Keeping this does not keep the proxy running.
#[derive(Debug)]
pub struct Control {
    shared: Arc<Shared>,
    plans: Plans,
    listeners: Listeners,
    discovery: Seekers,
    checks: Checkers,
    fleet: FleetDriver,
    orders: Arc<Dispatch>,
    survey: Survey,
    rebalancing: Rebalancing,
    reloader: Reloader,
    /// The thread for what is no worker's.
    background: Handle,
    /// The turn of a reload. Reloads come one after another.
    turn: Mutex<()>,
    /// `None` = there is no admin interface.
    desk: Option<Desk>,
    /// `None` = there is no admin interface.
    history: Option<History>,
    explainer: Explainer,
    /// The messages of the log. Set if the process has a log.
    messages: OnceLock<Lines>,
    /// A lock that is held from the count to the text, so that no scrape shows less than an earlier one.
    scrape: sync::Mutex<()>,
}

impl Control {
    /// Starts to accept connections and to check backends.
    pub(in crate::net) fn start(
        shared: Arc<Shared>,
        crew: Crew,
        background: Handle,
        planner: Planner,
        (tickets, fleet): (Arc<Tickets>, Option<Arc<FleetTarget>>),
        bound: Vec<Bound>,
        admin: Option<(Desk, History)>,
    ) -> Result<Arc<Self>, StartError> {
        let orders = Arc::new(Dispatch::new(Arc::clone(&shared)));
        let ordering = Arc::clone(&orders);
        let checks = Checkers::new(CheckTools {
            runtime: background.clone(),
            own: Arc::clone(&shared.own),
            on_transition: Arc::new(move |upstream, backend, transition| {
                ordering.follow_check(upstream, backend, transition);
            }),
        });
        let (own, vitals) = (Arc::clone(&shared.own), Arc::clone(&shared.vitals));
        let (driver, first) = FleetDriver::start(Arc::clone(&shared.fleet), (own, vitals), &background);
        let is_shared = fleet.is_some();
        driver.follow(fleet);
        if is_shared {
            first.wait();
        }
        let survey = Survey::new(crew.sessions.clone());
        let reloader = Reloader::start().map_err(StartError::Thread)?;
        let explainer = Explainer::start(Arc::clone(&planner.endings)).map_err(StartError::Thread)?;
        let discovery = Seekers::new(background.clone(), Arc::clone(&planner.findings));
        let plans = Plans::new(planner, Arc::clone(&shared));
        // A client may come as soon as the listeners run. So backends that can be found before are found before.
        discovery.prepare(&plans.running().config);
        plans.settle(&plans.running());
        let listeners = Listeners::start(crew, tickets, Arc::clone(&shared.own), bound)?;
        let (desk, history) = admin.unzip();
        let (turn, messages, scrape) = (Mutex::default(), OnceLock::new(), sync::Mutex::default());
        let control = Arc::new(Self {
            shared,
            plans,
            listeners,
            discovery,
            checks,
            fleet: driver,
            orders,
            survey,
            rebalancing: Rebalancing::default(),
            reloader,
            background,
            turn,
            desk,
            history,
            explainer,
            messages,
            scrape,
        });
        let plan = control.plan();
        finding::warn_of_all_empty(&plan);
        control.discovery.follow(&plan.config);
        control.checks.follow(&control.plans);
        control.metrics().set_config(plan.hash);
        control.metrics().set_expiries(expiries(&plan.config));
        control.plans.show_backend_tls(&plan);
        control.follow_file(&plan);
        let background = &control.background;
        background.spawn(tidy::tidy(Arc::downgrade(&control)));
        background.spawn(finding::follow_findings(Arc::downgrade(&control), control.discovery.news()));
        background.spawn(learning::follow_patterns(Arc::downgrade(&control), control.explainer.news()));
        Ok(control)
    }

    /// The addresses in the order of `Config::listeners`, with the ports that were really bound.
    #[must_use]
    pub fn addresses(&self) -> Vec<ListenAddress> {
        self.listeners.addresses()
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

    /// Whether load balancers should send clients here: not after a drain was announced, nor after something vital has failed,
    /// nor while no upstream has a backend.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.is_willing() && self.plan().upstreams.iter().any(|upstream| !upstream.is_empty())
    }

    /// Whether load balancers should send the clients of an upstream here: as [`Self::is_ready`], and the upstream has a
    /// backend.
    ///
    /// # Errors
    /// No upstream has this name.
    pub fn readiness_of(&self, upstream: &str) -> Result<bool, Unknown> {
        Ok(self.is_willing() && !self.plan().upstream(upstream)?.is_empty())
    }

    /// Whether clients would be served if there were backends.
    pub(in crate::net) fn is_willing(&self) -> bool {
        self.orders.book().is_ready() && !self.has_failed()
    }

    /// Ready when something has failed that the proxy cannot do without. The proxy is then to be drained, and its process ended.
    pub async fn failed(&self) {
        self.shared.vitals.failed().await;
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
        self.plan().config.clone()
    }

    /// Counts the lost messages of the process's log in the metrics, together with the lost records.
    pub fn count_lost_messages(&self, messages: Lines) {
        // A second call would count the same log.
        let _ = self.messages.set(messages);
    }

    /// Tells all sessions to leave and refuses every request, or takes that back.
    ///
    /// # Errors
    /// The process is about to end, and nothing is taken back.
    pub fn drain_all(&self, drains: bool) -> Result<Told, Leaving> {
        if drains {
            self.rebalancing.stop();
        }
        self.orders.drain_all(drains)
    }

    /// Tells the sessions of a route to leave and refuses every request on it, or takes that back.
    ///
    /// # Errors
    /// No route has this name (host and path, as in the log).
    pub fn drain_route(&self, route: &str, drains: bool) -> Result<Told, Unknown> {
        self.orders.drain_route(route, drains)
    }

    /// Sets what the operator wants of a backend. `Drain` also tells its sessions to leave.
    ///
    /// # Errors
    /// No upstream has this name, or none of its backends has this address.
    pub fn set_duty(&self, upstream: &str, address: &str, duty: Duty) -> Result<Told, Unknown> {
        self.orders.set_duty(upstream, address, duty)
    }

    pub(in crate::net) fn orders(&self) -> &Dispatch {
        &self.orders
    }

    pub(in crate::net) const fn survey(&self) -> &Survey {
        &self.survey
    }

    /// The plan that runs.
    pub(in crate::net) fn plan(&self) -> Arc<Plan> {
        self.plans.running()
    }

    pub(in crate::net) fn live(&self) -> &Arc<Live> {
        &self.shared.live
    }

    /// Probes that end here now.
    pub(in crate::net) fn probes(&self) -> usize {
        self.shared.admission.probes()
    }

    /// The sessions to which clients may come back.
    pub(super) fn reclaims(&self) -> &Reclaims {
        &self.shared.reclaims
    }

    /// Bytes of clients that wait for the next backends of their sessions.
    pub(super) fn queued_bytes(&self) -> usize {
        self.shared.admission.queued.bytes()
    }

    /// The proxies that count sessions together, and what this one knows of them.
    pub(super) fn fleet_standing(&self) -> FleetStanding {
        self.shared.fleet.standing()
    }

    pub(in crate::net) fn traces(&self) -> &Traces {
        &self.shared.traces
    }

    pub(in crate::net) fn vitals(&self) -> &Vitals {
        &self.shared.vitals
    }

    pub(in crate::net) fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Where the records of the process go.
    pub(in crate::net) const fn access_log(&self) -> &AccessLog {
        self.plans.access_log()
    }

    /// The last endings and the last hour. `None` = there is no admin interface.
    pub(in crate::net) const fn history(&self) -> Option<&History> {
        self.history.as_ref()
    }

    /// What the ends of the last hour have in common, most harmful first.
    pub(in crate::net) fn patterns(&self) -> Arc<[Pattern]> {
        self.explainer.patterns()
    }

    /// Looks now for what the ends of the last hour have in common, for tests.
    #[doc(hidden)]
    pub async fn explain_now(&self) {
        self.explainer.look().await;
    }

    pub(in crate::net) const fn discovery(&self) -> &Seekers {
        &self.discovery
    }

    pub(super) const fn desk(&self) -> Option<&Desk> {
        self.desk.as_ref()
    }

    /// Lines of the log, records and messages, that were lost.
    pub(super) fn lost_lines(&self) -> usize {
        self.access_log().lines().lost() + self.messages.get().map_or(0, Lines::lost)
    }

    /// Waits for this caller's turn to show the metrics.
    pub(super) async fn scrape(&self) -> sync::MutexGuard<'_, ()> {
        self.scrape.lock().await
    }
}
