//! The orders to sessions: which of them are to leave and when, and whose frames are to be shown. An order to leave is
//! for all sessions, for those of a route, or for those of a backend.

use std::{
    collections::HashSet,
    fmt,
    num::NonZeroU32,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use tokio::sync::{Notify, watch};

use super::observed::{Choices, Chosen, TooMany};
use crate::{
    balance::Backend,
    error::Kind,
    ws::{
        close::CloseCode,
        session::{Departure, Notice},
        termination::Cause,
    },
};

/// The process is about to end, so that the order would change nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaving;

impl fmt::Display for Leaving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this process is about to end, and that is not taken back; what is new is for its successor")
    }
}

impl std::error::Error for Leaving {}

/// An order that sessions leave, one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::net) struct Order {
    pub(in crate::net) began: Instant,
    /// The time over which the sessions are told, so that their clients do not all come back at once.
    pub(in crate::net) spread: Duration,
    /// From when on, and over which time, those sessions are told that move to another backend.
    pub(in crate::net) moves: (Instant, Duration),
    pub(in crate::net) cause: Cause,
    pub(in crate::net) code: CloseCode,
}

impl Order {
    /// The notice for a session. `position`: its place among all sessions, from 0 to 1.
    fn notice(&self, departure: Departure, position: f64) -> Notice {
        let (from, over) = match departure {
            Departure::Move => self.moves,
            Departure::End | Departure::EndAtBackend => (self.began, self.spread),
        };
        Notice { at: from + over.mul_f64(position.clamp(0.0, 1.0)), cause: self.cause, code: self.code, departure }
    }

    /// The order for a backend whose `sessions` sessions may move, but only so many in a second, and not before `from`.
    pub(in crate::net) fn paced(self, sessions: usize, per_second: NonZeroU32, from: Option<Instant>) -> Self {
        let from = from.map_or(self.began, |from| from.max(self.began));
        Self { moves: (from, self.spread.max(time_to_move(sessions, per_second))), ..self }
    }

    /// When its last session is told to move.
    pub(in crate::net) fn moves_until(&self) -> Instant {
        self.moves.0 + self.moves.1
    }
}

/// At least so many sessions are told in a second, whatever the spread: for a few sessions a minute would be too long.
const SESSIONS_PER_SECOND: u32 = 20;

/// The time over which `sessions` sessions are told, `most` at most.
pub(in crate::net) fn spread(most: Duration, sessions: usize) -> Duration {
    let sessions = u32::try_from(sessions).unwrap_or(u32::MAX);
    most.min(Duration::from_secs(1).saturating_mul(sessions) / SESSIONS_PER_SECOND)
}

/// Moves take so many of ten turns of their upstream. The rest is for handshakes that fail, and for sessions that lose their backend
/// meanwhile.
const TURNS_OF_TEN: u32 = 8;

/// The time that `sessions` sessions need to move, if the upstream takes `per_second` of them in a second.
fn time_to_move(sessions: usize, per_second: NonZeroU32) -> Duration {
    let sessions = u32::try_from(sessions).unwrap_or(u32::MAX);
    Duration::from_secs(10).saturating_mul(sessions) / per_second.get().saturating_mul(TURNS_OF_TEN)
}

/// All orders that stand. They may be read at any time, and a change wakes the loops of the sessions.
#[derive(Debug)]
pub(in crate::net) struct Orders {
    book: watch::Sender<Arc<Book>>,
    /// Notified once, when the process closes. Connections without a session wait for nothing else.
    closes: Notify,
}

/// All orders that stand at one time.
#[derive(Debug, Clone, Default)]
pub(in crate::net) struct Book {
    /// The process is about to end: load balancers are told so, and clients are still served.
    is_announced: bool,
    /// The process closes: nothing is accepted any more.
    is_closing: bool,
    all: Option<Order>,
    routes: Vec<(String, Order)>,
    /// An order keeps no backend alive. It ends with its backend.
    backends: Vec<(Weak<Backend>, Order)>,
    /// Whose frames are to be shown.
    choices: Choices,
}

impl Orders {
    pub(in crate::net) fn new() -> Self {
        Self { book: watch::Sender::new(Arc::default()), closes: Notify::new() }
    }

    /// All orders that stand, and a wake-up at each change.
    pub(in crate::net) fn subscribe(&self) -> watch::Receiver<Arc<Book>> {
        self.book.subscribe()
    }

    pub(in crate::net) fn book(&self) -> Arc<Book> {
        Arc::clone(&self.book.borrow())
    }

    /// Whether the process is about to end. A connection had better carry no further request then.
    pub(in crate::net) fn is_announced(&self) -> bool {
        self.book.borrow().is_announced
    }

    /// Why a request on this route is to be refused, if it is.
    pub(in crate::net) fn refusal(&self, route: &str) -> Option<Kind> {
        let book = self.book.borrow();
        let of_route = || book.routes.iter().any(|(name, _)| name == route).then_some(Kind::RouteDraining);
        if book.all.is_some() { Some(Kind::Draining) } else { of_route() }
    }

    /// Whether the process closes.
    pub(in crate::net) fn is_closing(&self) -> bool {
        self.book.borrow().is_closing
    }

    /// Ready when the process closes, never otherwise. This wakes its caller for the close only, so that whoever has
    /// seen [`Self::is_closing`] say no need not look again.
    pub(in crate::net) async fn closing(&self) {
        // The waiter is made before the look, so that a notice in between is not missed.
        let closes = self.closes.notified();
        if !self.is_closing() {
            closes.await;
        }
    }

    /// Notes that the process is about to end.
    pub(in crate::net) fn announce(&self) {
        self.change(|book| book.is_announced = true);
    }

    /// Closes the process: `order` goes to all sessions.
    pub(in crate::net) fn close(&self, order: Order) {
        self.change(|book| {
            book.is_announced = true;
            book.is_closing = true;
            book.all = Some(order);
        });
        self.closes.notify_waiters();
    }

    /// Tells all sessions to leave and refuses all requests, or takes that back (`None`). It can be taken back for as
    /// long as the process is not about to end.
    pub(in crate::net) fn drain_all(&self, order: Option<Order>) -> Result<(), Leaving> {
        let mut outcome = Ok(());
        self.change(|book| match order {
            None if book.is_announced => outcome = Err(Leaving),
            // All sessions have been told already.
            Some(_) if book.is_closing => {}
            order => book.all = order,
        });
        outcome
    }

    /// Shows the frames of these sessions until `until`.
    pub(in crate::net) fn observe(&self, chosen: Chosen, until: Instant, now: Instant) -> Result<(), TooMany> {
        let mut outcome = Ok(());
        self.change(|book| outcome = book.choices.choose(chosen, until, now));
        outcome
    }

    /// Ends the choice of this name. Returns whether there was one.
    pub(in crate::net) fn stop_observing(&self, name: &str, now: Instant) -> bool {
        let mut found = false;
        self.change(|book| found = book.choices.remove(name, now));
        found
    }

    /// Changes several orders with one wake-up.
    pub(in crate::net) fn change(&self, change: impl FnOnce(&mut Book)) {
        self.book.send_modify(|book| change(Arc::make_mut(book)));
    }

    /// Forgets orders about what is gone. If there is none, nobody is woken. `has_route`: whether a route of this name
    /// is configured, or has sessions or requests left.
    pub(in crate::net) fn forget_gone(&self, has_route: impl Fn(&str) -> bool, now: Instant) {
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
    /// Tells the sessions of a route to leave for this cause, and refuses its requests. `None`: takes back what was
    /// ordered for this cause.
    pub(in crate::net) fn drain_route(&mut self, route: &str, cause: Cause, order: Option<Order>) {
        self.drain_routes(&[(route, order)], cause);
    }

    /// [`Self::drain_route`] for many routes, with one look at the orders that stand: workers wait meanwhile.
    pub(in crate::net) fn drain_routes(&mut self, routes: &[(&str, Option<Order>)], cause: Cause) {
        let named: HashSet<_> = routes.iter().map(|(name, _)| *name).collect();
        self.routes.retain(|(name, order)| order.cause != cause || !named.contains(&**name));
        self.routes.extend(routes.iter().filter_map(|(name, order)| Some(((*name).to_owned(), (*order)?))));
    }

    /// Tells the sessions of a backend to leave for this cause. `None`: takes back what was ordered for this cause.
    pub(in crate::net) fn drain_backend(&mut self, backend: &Arc<Backend>, cause: Cause, order: Option<Order>) {
        self.drain_backends(&[(backend, order)], cause);
    }

    /// [`Self::drain_backend`] for many backends, with one look at the orders that stand.
    pub(in crate::net) fn drain_backends(&mut self, backends: &[(&Arc<Backend>, Option<Order>)], cause: Cause) {
        let named: HashSet<_> = backends.iter().map(|(backend, _)| Arc::as_ptr(backend)).collect();
        self.backends.retain(|(other, order)| order.cause != cause || !named.contains(&Weak::as_ptr(other)));
        self.backends.extend(backends.iter().filter_map(|(backend, order)| Some((Arc::downgrade(backend), (*order)?))));
    }

    /// Drops every order about routes that a reload has brought back.
    pub(in crate::net) fn restore_routes(&mut self, routes: &HashSet<&str>) {
        self.routes.retain(|(name, _)| !routes.contains(&**name));
    }

    /// Drops every order about backends that a reload has brought back.
    pub(in crate::net) fn restore_backends(&mut self, backends: &HashSet<*const Backend>) {
        self.backends.retain(|(other, _)| !backends.contains(&Weak::as_ptr(other)));
    }

    /// Whether an order is about something that is gone, or a choice has ended.
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

    /// The notice for a session: that of the order which reaches the session first. An order that moves the session counts only if
    /// no other one ends it.
    ///
    /// `is_leaving`: the session leaves this backend already, or has lost it. Then no order about the backend ends it. `may_move`:
    /// the session may have another backend. Otherwise each order about its backend ends it.
    pub(in crate::net) fn notice(
        &self,
        route: &str,
        backend: &Arc<Backend>,
        (is_leaving, may_move): (bool, bool),
        position: f64,
    ) -> Option<Notice> {
        let of_route = self.routes.iter().filter(|(name, _)| name == route).map(|(_, order)| order);
        let of_backend = self.backends.iter().filter(|(other, _)| is_about(other, backend)).map(|(_, order)| order);
        let others = self.all.iter().chain(of_route).map(|order| order.notice(Departure::End, position));
        // A backend that is to be gone for good is not in the file any more, and its upstream may be gone too.
        let of_backend = of_backend.map(|order| {
            let moves = is_leaving || may_move && matches!(order.cause, Cause::Drain | Cause::BackendDown);
            order.notice(if moves { Departure::Move } else { Departure::EndAtBackend }, position)
        });
        others.chain(of_backend).min_by_key(|notice| (notice.departure == Departure::Move, notice.at))
    }

    /// Whether sessions are to leave this backend.
    pub(in crate::net) fn is_to_be_left(&self, backend: &Arc<Backend>) -> bool {
        self.backends.iter().any(|(other, _)| is_about(other, backend))
    }

    /// When the last session is told to move that leaves one of these backends; `None` = none leaves them.
    pub(in crate::net) fn moves_until<'b>(&self, backends: impl Iterator<Item = &'b Arc<Backend>>) -> Option<Instant> {
        let wanted: HashSet<_> = backends.map(Arc::as_ptr).collect();
        let about = self.backends.iter().filter(|(backend, _)| wanted.contains(&Weak::as_ptr(backend)));
        about.map(|(_, order)| order.moves_until()).max()
    }

    /// The notice for what is no session of a route, if everything is to leave.
    pub(in crate::net) fn notice_to_all(&self, position: f64) -> Option<Notice> {
        self.all.map(|order| order.notice(Departure::End, position))
    }

    /// Whether a load balancer should send clients here.
    pub(in crate::net) const fn is_ready(&self) -> bool {
        !self.is_announced && self.all.is_none()
    }

    /// Whether the process is about to end.
    pub(in crate::net) const fn is_announced(&self) -> bool {
        self.is_announced
    }

    /// Whether all sessions are to leave.
    pub(in crate::net) const fn drains_all(&self) -> bool {
        self.all.is_some()
    }

    /// Whether no order and no choice stands.
    pub(in crate::net) fn is_empty(&self) -> bool {
        self.all.is_none() && self.routes.is_empty() && self.backends.is_empty() && self.choices.is_empty()
    }

    /// Whose frames are to be shown.
    pub(in crate::net) const fn choices(&self) -> &Choices {
        &self.choices
    }

    /// The routes that are drained.
    pub(in crate::net) fn routes(&self) -> impl Iterator<Item = &str> {
        self.routes.iter().map(|(route, _)| route.as_str())
    }
}

/// Whether an order is about this backend. The order's weak pointer keeps the place in memory, so that no other backend
/// can have it.
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
        let began = Instant::now();
        let moves = (began, Duration::ZERO);
        Some(Order { began, spread: Duration::ZERO, moves, cause, code: CloseCode::SERVICE_RESTART })
    }

    fn backend() -> Arc<Backend> {
        let file = "listeners: [ { bind: \"127.0.0.1:0\" } ]\nupstreams: { chat: { backends: [ { address: \"192.0.2.1:80\" } ] } }\n\
                    routes: [ { upstream: chat } ]\n";
        let mut config = config::parse(file, "proxy.yaml", Path::new(".")).unwrap().config;
        Arc::clone(&Registry::new(0).upstream(config.upstreams.remove(0), Instant::now()).members()[0].backend)
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
    fn sessions_move_no_faster_than_their_upstream_takes_them_and_after_those_that_move_already() {
        let per_second = |number| NonZeroU32::new(number).unwrap();
        for (sessions, number, expected) in [(0, 1, 0), (1000, 200, 6250), (40, 5, 10_000)] {
            assert_eq!(time_to_move(sessions, per_second(number)), Duration::from_millis(expected), "{sessions}");
        }
        assert!(Instant::now().checked_add(time_to_move(usize::MAX, per_second(1))).is_some());

        let (orders, first, second) = (Orders::new(), backend(), backend());
        let plain = order(Cause::Drain).unwrap();
        let paced = plain.paced(40, per_second(5), None);
        assert_eq!(paced.moves, (plain.began, Duration::from_secs(10)));
        let slow = Order { spread: Duration::from_secs(60), ..plain };
        assert_eq!(slow.paced(40, per_second(5), Some(plain.began)).moves, (plain.began, slow.spread));
        orders.change(|book| book.drain_backend(&first, Cause::Drain, Some(paced)));
        let at = |may_move| orders.book().notice("*/ws", &first, (false, may_move), 0.5).unwrap().at;
        assert_eq!([at(true), at(false)], [plain.began + Duration::from_secs(5), plain.began], "an end needs no turn");

        let until = orders.book().moves_until([&first, &second].into_iter());
        assert_eq!(until, Some(plain.began + Duration::from_secs(10)));
        assert_eq!(plain.paced(40, per_second(5), until).moves, (until.unwrap(), Duration::from_secs(10)));
        assert_eq!(orders.book().moves_until([&second].into_iter()), None);
    }

    #[test]
    fn an_order_that_ends_a_session_comes_before_one_that_moves_it() {
        use Departure::{End, EndAtBackend, Move};
        let (orders, backend, other) = (Orders::new(), backend(), backend());
        let notice = |view| {
            let notice = orders.book().notice("*/ws", &backend, view, 0.5);
            notice.map(|notice| (notice.cause, notice.departure))
        };
        let (moves, stays, leaves) = ((false, true), (false, false), (true, true));
        let later = |cause| order(cause).map(|order| Order { spread: Duration::from_secs(60), ..order });
        orders.change(|book| book.drain_backend(&backend, Cause::BackendDown, order(Cause::BackendDown)));
        assert_eq!(notice(moves), Some((Cause::BackendDown, Move)));
        assert_eq!(notice(stays), Some((Cause::BackendDown, EndAtBackend)));
        orders.change(|book| book.drain_backend(&backend, Cause::Removed, later(Cause::Removed)));
        assert_eq!(notice(moves), Some((Cause::Removed, EndAtBackend)));
        assert_eq!(notice(leaves).unwrap().1, Move, "the backend that a session leaves does not end it");
        orders.drain_all(later(Cause::Drain)).unwrap();
        orders.change(|book| book.drain_backend(&backend, Cause::Removed, None));
        assert_eq!((notice(moves), notice(leaves)), (Some((Cause::Drain, End)), Some((Cause::Drain, End))));
        // A session that can only end hears the order that comes first, as ever.
        assert_eq!(notice(stays), Some((Cause::BackendDown, EndAtBackend)));
        assert!(orders.book().is_to_be_left(&backend) && !orders.book().is_to_be_left(&other));
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
