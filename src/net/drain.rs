//! What sessions are told from outside. Who is to leave and when: all sessions, those of a route, those of a backend; and
//! each one's moment within that. And whose frames are to be shown.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{
    control::Leaving,
    observed::{Choices, Chosen, TooMany},
};
use crate::{
    balance::Backend,
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

/// Every order that stands. It may be read at any time, and who holds sessions is woken when it changes.
#[derive(Debug)]
pub(super) struct Orders(watch::Sender<Arc<Book>>);

/// The orders at one time.
#[derive(Debug, Clone, Default)]
pub(super) struct Book {
    /// The process ends: load balancers are to look away, and nothing else yet.
    is_announced: bool,
    /// The process ends: nothing is accepted any more.
    is_closing: bool,
    all: Option<Order>,
    routes: Vec<(String, Order)>,
    backends: Vec<(Arc<Backend>, Order)>,
    /// Whose frames are to be shown.
    choices: Choices,
}

impl Orders {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(Arc::default()))
    }

    /// Every order, and a wake-up at each change.
    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<Book>> {
        self.0.subscribe()
    }

    pub(super) fn book(&self) -> Arc<Book> {
        Arc::clone(&self.0.borrow())
    }

    /// Whether the process is about to end: a connection had better carry no further request.
    pub(super) fn is_announced(&self) -> bool {
        self.0.borrow().is_announced
    }

    /// Whether a request on this route is to be refused.
    pub(super) fn refuses(&self, route: &str) -> bool {
        let book = self.0.borrow();
        book.all.is_some() || book.routes.iter().any(|(name, _)| name == route)
    }

    /// Ready when the process closes; never if it ends without.
    pub(super) async fn closing(&self) {
        if self.subscribe().wait_for(|book| book.is_closing).await.is_err() {
            std::future::pending().await
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
        self.0.send_modify(|book| change(Arc::make_mut(book)));
    }
}

impl Book {
    /// The sessions of a route are to leave for this cause, and nothing on it is served; `None`: no longer for this one.
    pub(super) fn drain_route(&mut self, route: &str, cause: Cause, order: Option<Order>) {
        self.routes.retain(|(name, order)| name != route || order.cause != cause);
        self.routes.extend(order.map(|order| (route.to_owned(), order)));
    }

    /// The sessions of a backend are to leave for this cause; `None`: no longer for this one.
    pub(super) fn drain_backend(&mut self, backend: &Arc<Backend>, cause: Cause, order: Option<Order>) {
        self.backends.retain(|(other, order)| !Arc::ptr_eq(other, backend) || order.cause != cause);
        self.backends.extend(order.map(|order| (Arc::clone(backend), order)));
    }

    /// What a reload has brought back is removed no more; and a removed backend that nobody is left at is forgotten, or each
    /// reload of a list that changes all the time would leave some behind.
    pub(super) fn restore(&mut self, has_route: impl Fn(&str) -> bool, has_backend: impl Fn(&Arc<Backend>) -> bool) {
        self.routes.retain(|(route, order)| order.cause != Cause::Removed || !has_route(route));
        self.backends.retain(|(backend, order)| {
            order.cause != Cause::Removed || (!has_backend(backend) && backend.active() > 0)
        });
    }

    /// What a session is told: the order that reaches it first.
    pub(super) fn notice(&self, route: &str, backend: &Arc<Backend>, position: f64) -> Option<Notice> {
        let of_route = self.routes.iter().filter(|(name, _)| name == route).map(|(_, order)| order);
        let of_backend = self.backends.iter().filter(|(other, _)| Arc::ptr_eq(other, backend)).map(|(_, order)| order);
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn order(cause: Cause) -> Option<Order> {
        Some(Order { began: Instant::now(), spread: Duration::ZERO, cause, code: CloseCode::SERVICE_RESTART })
    }

    #[test]
    fn a_route_that_an_operator_drains_stays_drained_when_a_reload_takes_it_away_and_brings_it_back() {
        let orders = Orders::new();
        orders.change(|book| book.drain_route("*/ws", Cause::Drain, order(Cause::Drain)));
        orders.change(|book| book.drain_route("*/ws", Cause::Removed, order(Cause::Removed)));
        assert_eq!(orders.book().routes().count(), 2);
        orders.change(|book| book.restore(|_| true, |_| true));
        assert!(orders.refuses("*/ws"));
        orders.change(|book| book.drain_route("*/ws", Cause::Drain, None));
        assert!(!orders.refuses("*/ws") && orders.book().is_empty());
    }
}
