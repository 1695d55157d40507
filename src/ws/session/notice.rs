//! The word from outside that a session is to end: a drain, a changed file, the longest life it may have.

use std::time::{Duration, Instant};

use super::Session;
use crate::ws::{close::CloseCode, termination::Cause, tick::Tick};

/// A session is to end, for a reason that is neither of its ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notice {
    /// From then on, at the end of a message in each direction.
    pub at: Instant,
    /// What the record says.
    pub cause: Cause,
    /// What both sides read, with the cause as its reason.
    pub code: CloseCode,
}

/// The share of the longest life that is drawn by lot, so that sessions that began together do not end together.
const LOT: f64 = 0.1;

/// When a session has to end though nothing is wrong with it.
#[derive(Debug, Default)]
pub(super) struct Notices {
    /// By its age.
    lifetime: Option<Tick>,
    /// By order, which may be taken back.
    order: Option<(Tick, Cause, CloseCode)>,
}

impl Notices {
    /// The longest life of a session, less what the lot (0 to 1) takes off.
    pub(super) fn of_lifetime(longest: Duration, lot: f64, now: Tick) -> Self {
        let life = longest.mul_f64(1.0 - LOT * lot.clamp(0.0, 1.0));
        Self { lifetime: Some(now + life), order: None }
    }

    /// The first of them.
    fn first(&self) -> Option<(Tick, Cause, CloseCode)> {
        let lifetime = self.lifetime.map(|at| (at, Cause::Lifetime, CloseCode::SERVICE_RESTART));
        lifetime.into_iter().chain(self.order).min_by_key(|(at, ..)| *at)
    }
}

impl Session {
    /// What the session is told to do from outside; `None` takes back what it was told before. An end that has begun goes on.
    pub fn handle_notice(&mut self, notice: Option<Notice>, now: Instant) {
        let order = notice.map(|Notice { at, cause, code }| (self.common.tick(at), cause, code));
        if order.is_some() || self.fate.is_some() {
            self.fate.get_or_insert_default().notices.order = order;
        }
        self.heed(now);
    }

    /// When a notice is to be heeded.
    pub(super) fn poll_notice(&self) -> Option<Tick> {
        self.fate.as_ref()?.notices.first().map(|(at, ..)| at)
    }

    /// Ends the session if a notice says so.
    pub(super) fn heed(&mut self, now: Instant) {
        let due = self.fate.as_ref().and_then(|fate| fate.notices.first());
        if let Some((at, cause, code)) = due
            && at <= self.common.tick(now)
        {
            self.close_both(code, cause, now);
        }
    }
}
