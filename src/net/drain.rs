//! The word that the process drains, and each one's moment within it.

use std::time::{Duration, Instant};

use tokio::sync::watch;

/// What every connection and session listens to. The order is never marked as seen, but by who waits for it.
#[derive(Debug, Clone)]
pub(super) struct Drain {
    order: watch::Receiver<Option<Order>>,
}

/// The drain has begun.
#[derive(Debug, Clone, Copy)]
pub(super) struct Order {
    began: Instant,
    spread: Duration,
}

impl Order {
    pub(super) const fn new(began: Instant, spread: Duration) -> Self {
        Self { began, spread }
    }

    /// A session's own moment: `position` (0 to 1) within the spread, so that clients do not come back all at once.
    pub(super) fn moment(&self, position: f64) -> Instant {
        self.began + self.spread.mul_f64(position.clamp(0.0, 1.0))
    }
}

impl Drain {
    pub(super) const fn new(order: watch::Receiver<Option<Order>>) -> Self {
        Self { order }
    }

    /// Cheap: asked at each turn of a session.
    pub(super) fn has_begun(&self) -> bool {
        // Nothing else is ever sent; an error says that who could send it has gone.
        self.order.has_changed().unwrap_or(true)
    }

    /// Ready when the drain begins; never if the process ends without one.
    pub(super) async fn began(&mut self) -> Order {
        match self.order.wait_for(Option::is_some).await.map(|order| *order) {
            Ok(Some(order)) => order,
            _ => std::future::pending().await,
        }
    }
}
