//! A notice from outside that a session has to end: a drain, a changed file, the longest life of a session.

use std::time::{Duration, Instant};

use super::Session;
use crate::ws::{close::CloseCode, termination::Cause, tick::Tick};

/// A session has to end, for a reason outside its two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notice {
    /// The session ends from this instant on, in each direction at the end of a message.
    pub at: Instant,
    /// The cause in the record.
    pub cause: Cause,
    /// The code that both sides read. Its reason is the word of the cause.
    pub code: CloseCode,
}

/// The part of the longest life that is random. So sessions that began together do not end together.
const LOT: f64 = 0.1;

/// When a session has to end although it has no fault.
#[derive(Debug, Default)]
pub(super) struct Notices {
    /// The end because of its age.
    lifetime: Option<Tick>,
    /// The end that was set when the session was let in.
    expiry: Option<Tick>,
    /// The end by order, which may be taken back.
    order: Option<(Tick, Cause, CloseCode)>,
}

impl Notices {
    /// The end of a longest life. `lot`, from 0 to 1, decides how much of the random part is taken off.
    pub(super) fn of_lifetime(longest: Duration, lot: f64, now: Tick) -> Self {
        let life = longest.mul_f64(1.0 - LOT * lot.clamp(0.0, 1.0));
        Self { lifetime: Some(now + life), ..Self::default() }
    }

    /// When the next end is due.
    pub(super) fn poll(&self) -> Option<Tick> {
        self.first().map(|(at, ..)| at)
    }

    /// The earliest of these ends.
    fn first(&self) -> Option<(Tick, Cause, CloseCode)> {
        let lifetime = self.lifetime.map(|at| (at, Cause::Lifetime, CloseCode::SERVICE_RESTART));
        let expiry = self.expiry.map(|at| (at, Cause::Expired, CloseCode::POLICY_VIOLATION));
        lifetime.into_iter().chain(expiry).chain(self.order).min_by_key(|(at, ..)| *at)
    }
}

impl Session {
    /// Ends the session at this instant, because whoever let it in said so.
    pub fn expire_at(&mut self, at: Instant) {
        let at = self.common.tick(at);
        self.fate.get_or_insert_default().notices.expiry = Some(at);
    }

    /// Gives the session a notice from outside; `None` takes back the notice before. Changes nothing if an end has
    /// begun.
    pub fn handle_notice(&mut self, notice: Option<Notice>, now: Instant) {
        let order = notice.map(|Notice { at, cause, code }| (self.common.tick(at), cause, code));
        if order.is_some() || self.fate.is_some() {
            self.fate.get_or_insert_default().notices.order = order;
        }
        self.heed(now);
    }

    /// Ends the session if a notice is due.
    pub(super) fn heed(&mut self, now: Instant) {
        let due = self.fate.as_ref().and_then(|fate| fate.notices.first());
        if let Some((at, cause, code)) = due
            && at <= self.common.tick(now)
        {
            self.close_both(code, cause, now);
        }
    }
}
