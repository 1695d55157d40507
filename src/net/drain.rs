//! What sessions are told from outside. Who is to leave and when: all sessions, those of a route, those of a backend; and
//! each one's moment within that. And whose frames are to be shown.

use std::{
    collections::HashSet,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use tokio::sync::{Notify, watch};

use super::{
    control::Leaving,
    observed::{Choices, Chosen, TooMany},
};
use crate::{
    balance::Backend,
    error::Kind,
    ws::{close::CloseCode, session::Notice, termination::Cause},
};

/// Sessions are to leave, one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) began: Instant,
    /// Over which time, so that clients do not come back all at once.
    pub(super) spread: Duration,
    pub(super) cause: Cause,
    pub(super) code: CloseCode,
}

impl Order {
    /// What a session is told whose place among all is `position` (0 to 1).
    fn notice(&self, position: f64) -> Notice {
        let at = self.began + self.spread.mul_f64(position.clamp(0.0, 1.0));
        Notice { at, cause: self.cause, code: self.code }
    }
}

/// So many sessions may be told in a second at least, whatever the spread: a few of them need no minute to come back.
const SESSIONS_PER_SECOND: u32 = 20;

/// Over which time so many sessions are told.
pub(super) fn spread(most: Duration, sessions: usize) -> Duration {
    let sessions = u32::try_from(sessions).unwrap_or(u32::MAX);
    most.min(Duration::from_secs(1).saturating_mul(sessions) / SESSIONS_PER_SECOND)
}

/// Every order that stands. It may be read at any time, and who holds sessions is woken when it changes.
#[derive(Debug)]
pub(super) struct Orders {
    book: watch::Sender<Arc<Book>>,
    /// Told once, when the process closes: connections that carry no session wait for nothing else.
    closes: Notify,
}

/// The orders at one time.
#[derive(Debug, Clone, Default)]
pub(super) struct Book {
    /// The process ends: load balancers are to look away, and nothing else yet.
    is_announced: bool,
    /// The process ends: nothing is accepted any more.
    is_closing: bool,
    all: Option<Order>,
    routes: Vec<(String, Order)>,
    /// An order keeps no backend alive: it ends with what it is about.
    backends: Vec<(Weak<Backend>, Order)>,
    /// Whose frames are to be shown.
    choices: Choices,
}

impl Orders {
    pub(super) fn new() -> Self {
        Self { book: watch::Sender::new(Arc::default()), closes: Notify::new() }
    }

    /// Every order, and a wake-up at each change.
    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<Book>> {
        self.book.subscribe()
    }

    pub(super) fn book(&self) -> Arc<Book> {
        Arc::clone(&self.book.borrow())
    }

    /// Whether the process is about to end: a connection had better carry no further request.
    pub(super) fn is_announced(&self) -> bool {
        self.book.borrow().is_announced
    }

    /// Why a request on this route is to be refused, if it is.
    pub(super) fn refusal(&self, route: &str) -> Option<Kind> {
        let book = self.book.borrow();
        let of_route = || book.routes.iter().any(|(name, _)| name == route).then_some(Kind::RouteDraining);
        if book.all.is_some() { Some(Kind::Draining) } else { of_route() }
    }

    /// Whether the process closes.
    pub(super) fn is_closing(&self) -> bool {
        self.book.borrow().is_closing
    }

    /// Ready when the process closes; never if it ends without. Nothing wakes who waits before: as long as
    /// [`Self::is_closing`] says no, there is no need to ask a second time.
    pub(super) async fn closing(&self) {
        // Before the question: what is told in between counts.
        let closes = self.closes.notified();
        if !self.is_closing() {
            closes.await;
        }
    }

    /// The process is about to end.
    pub(super) fn announce(&self) {
        self.change(|book| book.is_announced = true);
    }

    /// The process ends.
    pub(super) fn close(&self, order: Order) {
        self.change(|book| {
            book.is_announced = true;
            book.is_closing = true;
            book.all = Some(order);
        });
        self.closes.notify_waiters();
    }

    /// All sessions are to leave and no request is served, or no longer. As long as the process goes on, this can be taken
    /// back.
    pub(super) fn drain_all(&self, order: Option<Order>) -> Result<(), Leaving> {
        let mut outcome = Ok(());
        self.change(|book| match order {
            None if book.is_announced => outcome = Err(Leaving),
            // They have been told already.
            Some(_) if book.is_closing => {}
            order => book.all = order,
        });
        outcome
    }

    /// The frames of these sessions are to be shown until then.
    pub(super) fn observe(&self, chosen: Chosen, until: Instant, now: Instant) -> Result<(), TooMany> {
        let mut outcome = Ok(());
        self.change(|book| outcome = book.choices.choose(chosen, until, now));
        outcome
    }

    /// The frames of those called so are to be shown no more. Whether there were any.
    pub(super) fn look_away(&self, name: &str, now: Instant) -> bool {
        let mut found = false;
        self.change(|book| found = book.choices.take_back(name, now));
        found
    }

    /// Changes several orders with one wake-up.
    pub(super) fn change(&self, change: impl FnOnce(&mut Book)) {
        self.book.send_modify(|book| change(Arc::make_mut(book)));
    }

    /// Forgets the orders on what is gone. Nobody is woken where there are none. `has_route`: whether a route of this name is
    /// configured, or has sessions or requests left.
    pub(super) fn forget_gone(&self, has_route: impl Fn(&str) -> bool, now: Instant) {
        self.book.send_if_modified(|book| {
            let is_stale = book.is_stale(&has_route, now);
            if is_stale {
                Arc::make_mut(book).forget_gone(&has_route, now);
            }
            is_stale
        });
    }
}

impl Book {
    /// The sessions of a route are to leave for this cause, and nothing on it is served; `None`: no longer for this one.
    pub(super) fn drain_route(&mut self, route: &str, cause: Cause, order: Option<Order>) {
        self.drain_routes(&[(route, order)], cause);
    }

    /// Likewise for many, by one look at what stands: workers wait for it.
    pub(super) fn drain_routes(&mut self, routes: &[(&str, Option<Order>)], cause: Cause) {
        let named: HashSet<_> = routes.iter().map(|(name, _)| *name).collect();
        self.routes.retain(|(name, order)| order.cause != cause || !named.contains(&**name));
        self.routes.extend(routes.iter().filter_map(|(name, order)| Some(((*name).to_owned(), (*order)?))));
    }

    /// The sessions of a backend are to leave for this cause; `None`: no longer for this one.
    pub(super) fn drain_backend(&mut self, backend: &Arc<Backend>, cause: Cause, order: Option<Order>) {
        self.drain_backends(&[(backend, order)], cause);
    }

    /// Likewise for many, by one look at what stands.
    pub(super) fn drain_backends(&mut self, backends: &[(&Arc<Backend>, Option<Order>)], cause: Cause) {
        let named: HashSet<_> = backends.iter().map(|(backend, _)| Arc::as_ptr(backend)).collect();
        self.backends.retain(|(other, order)| order.cause != cause || !named.contains(&Weak::as_ptr(other)));
        self.backends.extend(backends.iter().filter_map(|(backend, order)| Some((Arc::downgrade(backend), (*order)?))));
    }

    /// A reload has brought these routes back: whatever was ordered before they went is over.
    pub(super) fn restore_routes(&mut self, routes: &HashSet<&str>) {
        self.routes.retain(|(name, _)| !routes.contains(&**name));
    }

    /// Likewise for backends.
    pub(super) fn restore_backends(&mut self, backends: &HashSet<*const Backend>) {
        self.backends.retain(|(other, _)| !backends.contains(&Weak::as_ptr(other)));
    }

    /// Whether something stands in it that is about nothing any more.
    fn is_stale(&self, has_route: impl Fn(&str) -> bool, now: Instant) -> bool {
        self.routes.iter().any(|(name, _)| !has_route(name))
            || self.backends.iter().any(|(backend, _)| backend.strong_count() == 0)
            || self.choices.has_ended(now)
    }

    fn forget_gone(&mut self, has_route: impl Fn(&str) -> bool, now: Instant) {
        self.routes.retain(|(name, _)| has_route(name));
        self.backends.retain(|(backend, _)| backend.strong_count() > 0);
        self.choices.forget_ended(now);
    }

    /// What a session is told: the order that reaches it first.
    pub(super) fn notice(&self, route: &str, backend: &Arc<Backend>, position: f64) -> Option<Notice> {
        let of_route = self.routes.iter().filter(|(name, _)| name == route).map(|(_, order)| order);
        let of_backend = self.backends.iter().filter(|(other, _)| is_about(other, backend)).map(|(_, order)| order);
        let orders = self.all.iter().chain(of_route).chain(of_backend);
        orders.map(|order| order.notice(position)).min_by_key(|notice| notice.at)
    }

    /// Whether a load balancer should send clients here.
    pub(super) const fn is_ready(&self) -> bool {
        !self.is_announced && self.all.is_none()
    }

    /// Whether all sessions are to leave.
    pub(super) const fn drains_all(&self) -> bool {
        self.all.is_some()
    }

    /// Whether nothing stands in it.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_none() && self.routes.is_empty() && self.backends.is_empty() && self.choices.is_empty()
    }

    /// Whose frames are to be shown.
    pub(super) const fn choices(&self) -> &Choices {
        &self.choices
    }

    /// The routes that are drained.
    pub(super) fn routes(&self) -> impl Iterator<Item = &str> {
        self.routes.iter().map(|(route, _)| route.as_str())
    }
}

/// Whether an order is about this backend. No other can have its place: the order keeps that, though not the backend.
fn is_about(ordered: &Weak<Backend>, backend: &Arc<Backend>) -> bool {
    Weak::as_ptr(ordered) == Arc::as_ptr(backend)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{balance::Registry, config};

    fn order(cause: Cause) -> Option<Order> {
        Some(Order { began: Instant::now(), spread: Duration::ZERO, cause, code: CloseCode::SERVICE_RESTART })
    }

    fn backend() -> Arc<Backend> {
        let file = "listeners: [ { bind: \"127.0.0.1:0\" } ]\nupstreams: { chat: { backends: [ { address: \"192.0.2.1:80\" } ] } }\n\
                    routes: [ { upstream: chat } ]\n";
        let mut config = config::parse(file, "proxy.yaml", Path::new(".")).unwrap().config;
        Arc::clone(&Registry::new(0).upstream(config.upstreams.remove(0), Instant::now()).backends()[0])
    }

    #[test]
    fn few_sessions_are_told_sooner_and_many_over_the_whole_spread() {
        let most = Duration::from_secs(15);
        for (sessions, expected) in
            [(0, 0), (1, 50), (6, 300), (20, 1000), (299, 14_950), (300, 15_000), (usize::MAX, 15_000)]
        {
            assert_eq!(spread(most, sessions), Duration::from_millis(expected), "{sessions}");
        }
        assert_eq!(spread(Duration::ZERO, 1000), Duration::ZERO);
    }

    #[test]
    fn an_order_on_a_backend_ends_with_the_backend() {
        let (orders, now) = (Orders::new(), Instant::now());
        let backend = backend();
        for cause in [Cause::Drain, Cause::BackendDown, Cause::Removed] {
            orders.change(|book| book.drain_backend(&backend, cause, order(cause)));
        }
        orders.forget_gone(|_| true, now);
        assert!(!orders.book().is_empty(), "its sessions are still to hear it");
        drop(backend);
        orders.forget_gone(|_| true, now);
        assert!(orders.book().is_empty());
    }

    #[test]
    fn an_order_on_a_route_ends_with_the_last_of_its_sessions_or_when_the_route_comes_back() {
        let (orders, now) = (Orders::new(), Instant::now());
        let drain = |orders: &Orders| {
            orders.change(|book| book.drain_route("*/ws", Cause::Drain, order(Cause::Drain)));
            orders.change(|book| book.drain_route("*/ws", Cause::Removed, order(Cause::Removed)));
        };
        drain(&orders);
        orders.forget_gone(|_| true, now);
        assert_eq!(orders.refusal("*/ws"), Some(Kind::RouteDraining));
        orders.forget_gone(|_| false, now);
        assert!(orders.book().is_empty());
        drain(&orders);
        orders.change(|book| book.restore_routes(&HashSet::from(["*/ws"])));
        assert!(orders.refusal("*/ws").is_none() && orders.book().is_empty());
    }

    #[test]
    fn a_choice_whose_time_is_up_is_forgotten_too() {
        let (orders, now) = (Orders::new(), Instant::now());
        orders.observe(Chosen::Session("one".into()), now + Duration::from_secs(1), now).unwrap();
        orders.forget_gone(|_| true, now);
        assert!(!orders.book().is_empty());
        orders.forget_gone(|_| true, now + Duration::from_secs(1));
        assert!(orders.book().is_empty());
    }

    #[test]
    fn nobody_is_woken_where_nothing_is_gone() {
        let orders = Orders::new();
        orders.change(|book| book.drain_route("*/ws", Cause::Drain, order(Cause::Drain)));
        let listener = orders.subscribe();
        orders.forget_gone(|_| true, Instant::now());
        assert!(!listener.has_changed().unwrap());
        orders.forget_gone(|_| false, Instant::now());
        assert!(listener.has_changed().unwrap());
    }
}
