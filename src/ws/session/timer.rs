//! Everything that a session waits for, by name.
//!
//! No instant is stored: each follows from the state of the session, so an idle session keeps no timers. One list
//! answers when to come back and says what to do then, so no timer can be missing from either.

use std::time::Instant;

use super::Session;
use crate::ws::{
    Side::{self, Backend, Client},
    close::CloseCode,
    termination::Cause,
    tick::Tick,
};

/// Something that a session waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timer {
    /// A side is dead, because it takes no byte or sends none.
    Death(Side),
    /// Neither side has sent a byte for `timeouts.idle`.
    Idle,
    /// A notice from outside is due, or the longest life is over.
    Notice,
    /// The session has waited too long for a backend, or for what goes before that.
    Hold,
    /// The session has waited too long for its client, or for the last bytes of a connection that takes nothing.
    Absence,
    /// The client is to get a control text.
    News,
    /// A side is to get a Ping of ours.
    Ping(Side),
    /// It is time to ask a side's stream how much the side has taken.
    Look(Side),
    /// Half of the time for the end is over.
    Hurry,
    /// The time for the end is over.
    Cut,
}

impl Timer {
    /// All timers. If several are due at once, they go off in this order: a dead side says more about an end than idle
    /// time does, and no side is pinged in a session that ends.
    pub(super) const ALL: [Self; 13] = [
        Self::Death(Client),
        Self::Death(Backend),
        Self::Idle,
        Self::Notice,
        Self::Hold,
        Self::Absence,
        Self::News,
        Self::Ping(Client),
        Self::Ping(Backend),
        Self::Look(Client),
        Self::Look(Backend),
        Self::Hurry,
        Self::Cut,
    ];
    /// Those of a session that has only what every session has.
    const PLAIN: [Self; 7] = [
        Self::Death(Client),
        Self::Death(Backend),
        Self::Idle,
        Self::Ping(Client),
        Self::Ping(Backend),
        Self::Look(Client),
        Self::Look(Backend),
    ];
    /// Those of a session whose end has begun.
    const ENDING: [Self; 4] = [Self::Look(Client), Self::Look(Backend), Self::Hurry, Self::Cut];
}

impl Session {
    /// When to call [`Self::handle_timeout`]; an instant in the past means now.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let timers: &[Timer] = match &self.fate {
            None => &Timer::PLAIN,
            Some(fate) if fate.ending.is_some() => &Timer::ENDING,
            Some(_) => &Timer::ALL,
        };
        let first = timers.iter().filter_map(|timer| self.due(*timer)).min();
        first.map(|tick| tick.instant(self.common.epoch))
    }

    /// Time has passed. A Ping may fall due, a side may be dead, the session may be idle or have a notice, or its end
    /// may have to hurry.
    pub fn handle_timeout(&mut self, now: Instant) {
        let tick = self.common.tick(now);
        for timer in Timer::ALL {
            if self.is_due(timer, tick) {
                self.go_off(timer, now);
            }
        }
    }

    /// Whether silence is about to end the session. Feed every byte that has come before it does.
    ///
    /// It may be the silence of one side, which then counts as dead; the silence of both sides; or an end whose time is
    /// up.
    #[must_use]
    pub fn judges_silence(&self, now: Instant) -> bool {
        let tick = self.common.tick(now);
        let judges =
            [Timer::Death(Client), Timer::Death(Backend), Timer::Idle, Timer::Hold, Timer::Absence, Timer::Cut];
        judges.into_iter().any(|timer| self.is_due(timer, tick))
    }

    pub(super) fn is_due(&self, timer: Timer, now: Tick) -> bool {
        self.due(timer).is_some_and(|at| at <= now)
    }

    /// When a timer goes off; `None` = the session does not wait for it.
    fn due(&self, timer: Timer) -> Option<Tick> {
        let settings = &self.common.settings;
        if let Some(ending) = self.ending() {
            return match timer {
                Timer::Look(side) => Some(ending.poll_look(side, settings.close_timeout)),
                Timer::Hurry => ending.poll_hurry(settings.close_timeout),
                Timer::Cut => Some(ending.deadline),
                Timer::Death(_)
                | Timer::Idle
                | Timer::Notice
                | Timer::Hold
                | Timer::Absence
                | Timer::News
                | Timer::Ping(_) => None,
            };
        }
        if self.fate.is_some() && self.is_without_side_of(timer) {
            return None;
        }
        match timer {
            Timer::Death(side) => {
                self.half(side).keepalive.poll_death(self.common.terms(self.nonce, side), self.reads(side))
            }
            Timer::Idle => Some(self.last_byte() + settings.idle?),
            Timer::Notice => self.fate.as_ref()?.notices.poll(),
            Timer::Hold => self.fate.as_ref()?.hold.as_ref()?.poll(),
            Timer::Absence => self.poll_client_stage(),
            Timer::News => self.poll_news(),
            Timer::Ping(side) => {
                self.half(side).keepalive.poll_ping(self.common.terms(self.nonce, side), self.reads(side))
            }
            Timer::Look(side) => self.half(side).keepalive.poll_look(self.common.terms(self.nonce, side)),
            Timer::Hurry | Timer::Cut => None,
        }
    }

    /// Whether there is no side that could be pinged or judged.
    #[inline(never)]
    fn is_without_side_of(&self, timer: Timer) -> bool {
        match timer {
            Timer::Death(Backend) | Timer::Ping(Backend) | Timer::Look(Backend) => {
                self.is_without_backend() || self.keeps_their_close()
            }
            Timer::Death(Client) | Timer::Ping(Client) | Timer::Look(Client) => self.is_without_client(),
            _ => false,
        }
    }

    /// Does what a timer that is due asks for.
    fn go_off(&mut self, timer: Timer, now: Instant) {
        match timer {
            Timer::Death(side) => self.bury(side, now),
            Timer::Idle => self.close_both(CloseCode::GOING_AWAY, Cause::Idle, now),
            Timer::Notice => self.heed(now),
            Timer::Hold => self.end_stage(now),
            Timer::Absence => self.end_client_stage(now),
            Timer::News => self.owe_news(),
            Timer::Ping(side) => self.half_mut(side).keepalive.owe_ping(),
            Timer::Hurry => self.hurry(),
            // The driver has looked already, and drops a session that is over.
            Timer::Look(_) | Timer::Cut => {}
        }
    }
}
