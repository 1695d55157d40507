//! Orders to the sessions, and the change of the plan, which is one step with the orders that follow from it.

use std::{
    cell::LazyCell,
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use super::plans::Plans;
use crate::{
    balance::{Backend, Duty, OnDown, Transition, Upstream},
    net::{
        orders::{
            book::{Book, Leaving, Order, spread},
            observed::{Chosen, TooMany},
        },
        worker::{
            plan::{Plan, Unknown},
            shared::Shared,
        },
    },
    ws::termination::Cause,
};

/// Who gives the orders of the process. They stand in the book ([`crate::net::orders::book`]).
#[derive(Debug)]
pub(in crate::net) struct Dispatch {
    shared: Arc<Shared>,
}

/// The sessions that an order tells to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Sessions that were open when the order was given. 0 if none is told.
    pub sessions: usize,
    /// The time over which they are told, one by one.
    pub over: Duration,
}

impl Dispatch {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Tells all sessions to leave and refuses every request, or takes that back.
    pub(super) fn drain_all(&self, drains: bool) -> Result<Told, Leaving> {
        let sessions = self.shared.live.sessions();
        let order = drains.then(|| order(&self.shared.plan(), Cause::Drain, sessions));
        self.shared.orders.drain_all(order)?;
        Ok(Told::by(order, sessions))
    }

    /// Tells the sessions of a route to leave and refuses every request on it, or takes that back.
    pub(super) fn drain_route(&self, route: &str, drains: bool) -> Result<Told, Unknown> {
        let sessions = self.shared.metrics.sessions_by_route().get(route).copied().unwrap_or_default();
        self.give(|plan, book| {
            if !plan.has_route(route) {
                return Err(Unknown { what: "route", name: route.to_owned() });
            }
            let order = drains.then(|| order(plan, Cause::Drain, sessions));
            book.drain_route(route, Cause::Drain, order);
            Ok(Told::by(order, sessions))
        })
    }

    /// Sets what the operator wants of a backend. `Drain` also tells its sessions to leave.
    pub(super) fn set_duty(&self, upstream: &str, address: &str, duty: Duty) -> Result<Told, Unknown> {
        let told = self.give(|plan, book| {
            let (upstream, backend) = plan.backend(upstream, address)?;
            upstream.set_duty(&backend, duty, Instant::now());
            let sessions = backend.sessions();
            let order = (duty == Duty::Drain).then(|| order_to_move(plan, book, (upstream, &backend), Cause::Drain));
            book.drain_backend(&backend, Cause::Drain, order);
            Ok(Told::by(order, sessions))
        })?;
        tracing::info!(upstream, backend = address, ?duty, sessions = told.sessions, over = ?told.over, "duty of a backend");
        Ok(told)
    }

    /// Gives an order about something in the plan that runs. Plan and orders change in one step
    /// ([`Self::replace_plan`]), so no order is given about something that has just gone.
    fn give(&self, give: impl FnOnce(&Plan, &mut Book) -> Result<Told, Unknown>) -> Result<Told, Unknown> {
        let mut given = Ok(Told::by(None, 0));
        self.shared.orders.change(|book| given = give(&self.shared.plan(), book));
        given
    }

    /// The checks of a backend found that it goes out or comes back. If the file says so, its sessions are told to leave,
    /// or that is taken back.
    pub(super) fn follow_check(&self, upstream: &Upstream, backend: &Arc<Backend>, transition: Transition) {
        if !drains_on_down(upstream) {
            return;
        }
        let plan = self.shared.plan();
        self.shared.orders.change(|book| {
            let order = (transition == Transition::Out)
                .then(|| order_to_move(&plan, book, (upstream, backend), Cause::BackendDown));
            book.drain_backend(backend, Cause::BackendDown, order);
        });
    }

    /// Puts a plan in the place of the one that runs, and returns that one. The sessions whose backend or route was removed
    /// get their orders. A backend or a route that has come back is under no order that was given before it went.
    ///
    /// # Errors
    /// The process is about to end. Nothing has changed then.
    pub(super) fn replace_plan(&self, plans: &Plans, plan: &Arc<Plan>) -> Result<Arc<Plan>, Leaving> {
        let mut replaced = Err(Leaving);
        self.shared.orders.change(|book| {
            if book.is_announced() {
                return;
            }
            let before = plans.running();
            // Asked first: an upstream that goes on has other members from here on, in the plan of before too.
            let had: Vec<_> = before.backends().collect();
            plans.settle(plan);
            let has: Vec<_> = plan.backends().collect();
            let come = without(&has, &had).into_iter().map(Arc::as_ptr).collect();
            plan.upstreams.iter().for_each(|upstream| upstream.begin_members_anew(&come, Instant::now()));
            book.restore_backends(&come);
            book.restore_routes(&(&plan.route_names() - &before.route_names()));
            plans.replace(plan);
            self.release(book, &before, plan, &without(&had, &has));
            replaced = Ok(before);
        });
        replaced
    }

    /// Gives the upstreams of the plan that runs the members that are known now. The sessions of a backend that is no member
    /// any more get their order, as if a reload had removed it. A backend that has come back is under no order.
    pub(super) fn change_members(&self, plans: &Plans) {
        self.shared.orders.change(|book| {
            let plan = plans.running();
            let had: Vec<_> = plan.backends().collect();
            plans.settle(&plan);
            let has: Vec<_> = plan.backends().collect();
            book.restore_backends(&without(&has, &had).into_iter().map(Arc::as_ptr).collect());
            release_backends(book, &plan, &without(&had, &has));
        });
    }

    /// Tells the sessions of routes and backends that are gone to leave.
    fn release(&self, book: &mut Book, before: &Plan, after: &Plan, gone: &[&Arc<Backend>]) {
        let closes = after.config.drain.closes_removed;
        let order = |sessions| closes.then(|| order(after, Cause::Removed, sessions));
        let (has, sessions) = (after.route_names(), self.shared.metrics.sessions_by_route());
        let left = before.config.routes.routes().filter(|route| !has.contains(&*route.name));
        let routes: Vec<_> =
            left.map(|route| (&*route.name, order(sessions.get(&*route.name).copied().unwrap_or_default()))).collect();
        book.drain_routes(&routes, Cause::Removed);
        release_backends(book, after, gone);
    }

    /// Takes back what checks ordered about the backends of a plan that are not checked any more, or whose sessions are to
    /// stay. The checks of before say nothing any more.
    pub(super) fn spare_unchecked(&self, plan: &Plan) {
        let unchecked = plan.upstreams.iter().flat_map(|upstream| {
            let drains = drains_on_down(upstream);
            let members = upstream.members();
            let unchecked = members.iter().filter(|member| !(drains && upstream.is_checked(member)));
            unchecked.map(|member| Arc::clone(&member.backend)).collect::<Vec<_>>()
        });
        let unchecked: Vec<_> = unchecked.collect();
        let backends: Vec<_> = unchecked.iter().map(|backend| (backend, None)).collect();
        self.shared.orders.change(|book| book.drain_backends(&backends, Cause::BackendDown));
    }

    /// Shows the frames of these sessions for `time` from now on.
    pub(in crate::net) fn observe(&self, chosen: Chosen, time: Duration) -> Result<(), TooMany> {
        let now = Instant::now();
        self.shared.orders.observe(chosen, now + time, now)
    }

    /// Ends the choice of this name.
    pub(in crate::net) fn stop_observing(&self, name: &str) -> Result<(), Unknown> {
        match self.shared.orders.stop_observing(name, Instant::now()) {
            true => Ok(()),
            false => Err(Unknown { what: "choice", name: name.to_owned() }),
        }
    }

    /// All orders that stand.
    pub(in crate::net) fn book(&self) -> Arc<Book> {
        self.shared.orders.book()
    }

    /// Tells load balancers to look away.
    pub(super) fn announce(&self) {
        self.shared.orders.announce();
    }

    /// Tells every session to leave, over `longest` at most. Whoever accepts connections is woken.
    pub(super) fn close(&self, longest: Duration) {
        let order = order(&self.shared.plan(), Cause::Drain, self.shared.live.sessions());
        self.shared.orders.close(Order { spread: order.spread.min(longest), ..order });
    }

    /// Forgets the orders about what is gone.
    pub(super) fn forget_gone(&self) {
        // Asked for at most once, and only when the orders are locked.
        let names = LazyCell::new(|| self.shared.metrics.route_names());
        self.shared.orders.forget_gone(|route| names.contains(route), Instant::now());
    }
}

impl Told {
    fn by(order: Option<Order>, sessions: usize) -> Self {
        match order {
            Some(order) => {
                let moves = order.moves_until().saturating_duration_since(order.began);
                Self { sessions, over: order.spread.max(moves) }
            }
            None => Self { sessions: 0, over: Duration::ZERO },
        }
    }
}

/// The order to leave for `sessions` sessions, from now on.
fn order(plan: &Plan, cause: Cause, sessions: usize) -> Order {
    let drain = &plan.config.drain;
    let (began, spread) = (Instant::now(), spread(drain.spread, sessions));
    Order { began, spread, moves: (began, spread), cause, code: drain.close_code }
}

/// The order to leave for the sessions of a backend, which may move to another one. Were they to move faster than the upstream takes
/// held sessions, the last ones would wait too long for their turns.
fn order_to_move(plan: &Plan, book: &Book, (upstream, backend): (&Upstream, &Arc<Backend>), cause: Cause) -> Order {
    let sessions = backend.sessions();
    let order = order(plan, cause, sessions);
    let Some(per_second) = plan.resumes_per_second(upstream) else { return order };
    let members = upstream.members();
    let others = members.iter().map(|member| &member.backend).filter(|other| !Arc::ptr_eq(other, backend));
    order.paced(sessions, per_second, book.moves_until(others))
}

/// Tells the sessions of backends that are gone to leave, if the file says so.
fn release_backends(book: &mut Book, plan: &Plan, gone: &[&Arc<Backend>]) {
    let closes = plan.config.drain.closes_removed;
    let order = |sessions| closes.then(|| order(plan, Cause::Removed, sessions));
    let backends: Vec<_> = gone.iter().map(|backend| (*backend, order(backend.sessions()))).collect();
    book.drain_backends(&backends, Cause::Removed);
}

/// The backends that are not among the others.
fn without<'b>(backends: &'b [Arc<Backend>], others: &[Arc<Backend>]) -> Vec<&'b Arc<Backend>> {
    let others: HashSet<_> = others.iter().map(Arc::as_ptr).collect();
    backends.iter().filter(|backend| !others.contains(&Arc::as_ptr(backend))).collect()
}

/// Whether the sessions of a backend are told to leave when its checks find it down.
fn drains_on_down(upstream: &Upstream) -> bool {
    upstream.health_check().is_some_and(|check| check.on_down == OnDown::Drain)
}
