//! A notice from outside that a session has to end: a drain, a changed file, the longest life of a session.

use std::time::{Duration, Instant};

use super::{Session, hold_terms::HoldState};
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
    /// Whether only the backend is to be left. A session that may have another one then does not end, but moves.
    pub moves: bool,
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
    /// The end by order, which may be taken back, and whether the session may move instead.
    order: Option<(Tick, Cause, CloseCode, bool)>,
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
    fn first(&self) -> Option<(Tick, Cause, CloseCode, bool)> {
        let lifetime = self.lifetime.map(|at| (at, Cause::Lifetime, CloseCode::SERVICE_RESTART, false));
        let expiry = self.expiry.map(|at| (at, Cause::Expired, CloseCode::POLICY_VIOLATION, false));
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
        let order = notice.map(|Notice { at, cause, code, moves }| (self.common.tick(at), cause, code, moves));
        if order.is_some() || self.fate.is_some() {
            self.fate.get_or_insert_default().notices.order = order;
        }
        if !notice.is_some_and(|notice| notice.moves) {
            self.stay();
        }
        self.heed(now);
    }

    /// Ends or moves the session if a notice is due.
    pub(super) fn heed(&mut self, now: Instant) {
        let due = self.fate.as_ref().and_then(|fate| fate.notices.first());
        let Some((_, cause, code, moves)) = due.filter(|(at, ..)| *at <= self.common.tick(now)) else { return };
        // A session that has no backend, or leaves it already, has nothing to leave.
        if moves && (self.hold_state() != HoldState::Open || self.begin_move(now)) {
            if let Some(fate) = &mut self.fate {
                fate.notices.order = None;
            }
            return;
        }
        self.close_both(code, cause, now);
    }
}
