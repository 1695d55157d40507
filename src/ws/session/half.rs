//! One side of a session: what still comes from it, what still goes to it.

use super::Counts;
use crate::ws::{keepalive::Keepalive, tick::Tick, tracker::Tracker};

/// One side: the frames that come from it and what goes to it.
#[derive(Debug)]
pub(super) struct Half {
    pub(super) tracker: Tracker,
    pub(super) counts: Counts,
    pub(super) from: Incoming,
    pub(super) to: Outgoing,
    pub(super) keepalive: Keepalive,
    /// Its Close has come, whether it passed or answered one of ours.
    pub(super) closed: bool,
    /// A Close of our own goes to it: a Close that comes back answers it.
    pub(super) told: bool,
    /// Writing to it failed.
    pub(super) broken: bool,
    /// It ended without a Close, or is dead: nothing is expected of it any more.
    pub(super) lost: bool,
    /// Pings of the other end that have passed to it, less the Pongs that have come since. It may answer the latest only, and then owes
    /// nothing though some are left here.
    pub(super) pongs_owed: u8,
}

/// What still comes from a side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Incoming {
    /// Frames.
    Open,
    /// A FIN: its Close has come, and nothing behind it.
    Closed,
    /// Nothing that counts: bytes have come behind its Close, it broke the protocol, or it is dead.
    Done,
    /// Nothing: its FIN has come.
    Eof,
}

/// What still goes to a side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outgoing {
    /// Frames.
    Open,
    /// Frames, until the place for a Close of ours has come (which one: [`super::ending::Ending`] knows).
    Farewell,
    /// A Close of ours, here and now; then a FIN.
    Due,
    /// A FIN, after what waits has been written.
    Fin,
    /// The other end's Close has passed: a FIN follows when that end's FIN or this side's Close has come.
    Closed,
    /// Nothing: writing failed, or the FIN has gone.
    Shut,
}

impl Half {
    pub(super) fn new(now: Tick) -> Self {
        Self {
            tracker: Tracker::default(),
            counts: Counts { bytes: 0, frames: 0, messages: 0 },
            from: Incoming::Open,
            to: Outgoing::Open,
            keepalive: Keepalive::new(now),
            closed: false,
            told: false,
            broken: false,
            lost: false,
            pongs_owed: 0,
        }
    }

    /// The other end's Close has passed to it and nothing more will come of that end, or of this side: our FIN follows.
    pub(super) fn follow_close(&mut self) {
        if self.to == Outgoing::Closed {
            self.to = Outgoing::Fin;
        }
    }

    /// Nothing comes any more and nothing goes.
    pub(super) fn is_over(&self) -> bool {
        self.to == Outgoing::Shut && (self.lost || self.from == Incoming::Eof)
    }
}
