//! A notice from outside that a session has to end: a drain, a changed file, the longest life of a session.

use std::time::{Duration, Instant};

use super::{Fate, Session, hold_terms::HoldState};
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
    /// What the session is to do.
    pub departure: Departure,
}

/// What a session with a notice is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departure {
    /// To end.
    End,
    /// To end because its backend is to be left. If it leaves that backend already, or has lost it, there is nothing to do.
    EndAtBackend,
    /// To move to another backend if it may have one, or else to end.
    Move,
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
    order: Option<(Tick, Cause, CloseCode, Departure)>,
    /// When the session leaves in a rebalance, which may be taken back too. The orders that stand say nothing of it.
    rebalance: Option<(Tick, Departure)>,
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
    fn first(&self) -> Option<(Tick, Cause, CloseCode, Departure)> {
        let lifetime = self.lifetime.map(|at| (at, Cause::Lifetime, CloseCode::SERVICE_RESTART, Departure::End));
        let expiry = self.expiry.map(|at| (at, Cause::Expired, CloseCode::POLICY_VIOLATION, Departure::End));
        let rebalance = self.rebalance.map(|(at, departure)| of_rebalance(at, departure));
        lifetime.into_iter().chain(expiry).chain(self.order).chain(rebalance).min_by_key(|(at, ..)| *at)
    }

    /// What was to make the session leave its backend has done so, or cannot.
    fn take_back(&mut self, cause: Cause) {
        match cause {
            Cause::Rebalanced => self.rebalance = None,
            _ => self.order = None,
        }
    }

    /// The session has another backend. What was to move it away from the one before is over.
    pub(super) fn forget_move(&mut self) {
        self.rebalance.take_if(|(_, departure)| *departure != Departure::End);
    }
}

const fn of_rebalance(at: Tick, departure: Departure) -> (Tick, Cause, CloseCode, Departure) {
    (at, Cause::Rebalanced, CloseCode::SERVICE_RESTART, departure)
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
        let order = notice.map(|Notice { at, cause, code, departure }| (self.common.tick(at), cause, code, departure));
        if order.is_some() || self.fate.is_some() {
            self.fate.get_or_insert_default().notices.order = order;
        }
        if !notice.is_some_and(|notice| notice.departure == Departure::Move) && !self.is_rebalanced() {
            self.stay();
        }
        self.heed(now);
    }

    /// Lets the session leave at a moment, so that loads even out, or takes that back. Changes nothing if an end has begun.
    pub fn handle_rebalance(&mut self, leaves: Option<(Instant, Departure)>, now: Instant) {
        let rebalance = leaves.map(|(at, departure)| (self.common.tick(at), departure));
        if rebalance.is_some() || self.fate.is_some() {
            self.fate.get_or_insert_default().notices.rebalance = rebalance;
        }
        if rebalance.is_none() && self.is_rebalanced() {
            self.stay();
        }
        self.heed(now);
        self.forget_idle_fate();
    }

    /// Whether the session is still to leave in a rebalance, and stays if that is taken back.
    #[must_use]
    pub fn is_to_be_rebalanced(&self) -> bool {
        let is_told = |fate: &Fate| fate.ending.is_none() && fate.notices.rebalance.is_some();
        self.fate.as_deref().is_some_and(is_told) || (self.is_rebalanced() && self.halts())
    }

    /// Whether the session leaves now in a rebalance: it ends, or is on its way to another backend.
    #[must_use]
    pub fn leaves_in_rebalance(&self) -> bool {
        match self.ending() {
            Some(ending) => ending.termination.cause == Cause::Rebalanced,
            None => self.is_rebalanced(),
        }
    }

    /// Whether a notice moves the session now. The driver asks whether another backend takes sessions, and if not, calls
    /// [`Self::forbid_move`] before anything else.
    #[must_use]
    pub fn is_about_to_move(&self, now: Instant) -> bool {
        let due = self.fate.as_ref().and_then(|fate| fate.notices.first());
        due.is_some_and(|(at, .., departure)| departure == Departure::Move && at <= self.common.tick(now))
            && self.may_leave()
    }

    /// No other backend takes sessions: the order that would move the session ends it, and a rebalance leaves it where it is.
    pub fn forbid_move(&mut self) {
        let Some(fate) = &mut self.fate else { return };
        fate.notices.rebalance.take_if(|(_, departure)| *departure == Departure::Move);
        if let Some((.., departure)) = &mut fate.notices.order {
            *departure = Departure::EndAtBackend;
        }
    }

    /// Ends or moves the session if a notice is due.
    pub(super) fn heed(&mut self, now: Instant) {
        let due = self.fate.as_ref().and_then(|fate| fate.notices.first());
        let Some((_, cause, code, departure)) = due.filter(|(at, ..)| *at <= self.common.tick(now)) else { return };
        // A session that has no backend, or leaves it already, has nothing to leave.
        let has_left = self.hold_state() != HoldState::Open;
        let is_heeded = match departure {
            Departure::End => false,
            Departure::EndAtBackend => has_left,
            Departure::Move => has_left || self.begin_move(cause, now),
        };
        if is_heeded {
            if let Some(fate) = &mut self.fate {
                fate.notices.take_back(cause);
            }
            return;
        }
        self.close_both(code, cause, now);
    }
}
