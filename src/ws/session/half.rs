//! One side of a session: what still comes from it, and what still goes to it.

use std::mem;

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
    /// Whether its Close has come: it passed, or it answered one of ours.
    pub(super) closed: bool,
    /// Whether a Close of our own goes to it. A Close that comes back then answers ours.
    pub(super) told: bool,
    /// Whether writing to it failed.
    pub(super) broken: bool,
    /// Whether it ended without a Close, or is dead. Nothing more is expected of it.
    pub(super) lost: bool,
    /// How many Pings of the other end have passed to it, minus the Pongs that have come since. It may answer only the
    /// latest Ping. Then it owes nothing, although this is not 0.
    pub(super) pongs_owed: u8,
}

/// What still comes from a side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Incoming {
    /// Frames.
    Open,
    /// Only a FIN: its Close has come, and no byte behind it.
    Closed,
    /// Nothing that counts: bytes came behind its Close, it broke the protocol or a limit, or it is dead.
    Done,
    /// Nothing: its FIN has come.
    Eof,
}

/// What still goes to a side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outgoing {
    /// Frames.
    Open,
    /// Frames, until the place for a Close of our own has come. [`super::ending::Ending`] knows the place.
    Farewell,
    /// A Close of our own, now; then a FIN, if the session ends.
    Due,
    /// A FIN, after all bytes that wait have been written.
    Fin,
    /// Nothing for now: the other end's Close has passed, or ours has gone in a move. A FIN follows after that end's FIN or
    /// this side's Close.
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

    /// A new connection is this side from now on. What has passed stays counted.
    pub(super) fn begin_anew(&mut self, now: Tick) {
        let Self { counts, keepalive, .. } = mem::replace(self, Self::new(now));
        (self.counts, self.keepalive) = (counts, keepalive.begun_anew(now));
    }

    /// If the other end's Close has passed to this side, our FIN follows now. Call this when nothing more will come
    /// from that end, or from this side.
    pub(super) fn follow_close(&mut self) {
        if self.to == Outgoing::Closed {
            self.to = Outgoing::Fin;
        }
    }

    /// Whether nothing comes from it and nothing goes to it any more.
    pub(super) fn is_over(&self) -> bool {
        self.to == Outgoing::Shut && (self.lost || self.from == Incoming::Eof)
    }
}
