//! The values that many sessions share.

use std::time::{Duration, Instant};

use super::{hold_terms::HoldTerms, resume_terms::ResumeTerms};
use crate::ws::{
    Side,
    keepalive::{PingTerms, Secret, Settings},
    meter::MessageLimits,
    round_trips::RoundTripTimes,
    tick::Tick,
};

/// The values that many sessions share.
///
/// Each route has one for its sessions whose 101 agreed on an extension, and one for its other sessions. So these
/// values cost a session only a pointer.
#[derive(Debug)]
pub struct Common {
    /// The settings from the file and from the 101.
    pub settings: SessionSettings,
    /// On what terms the sessions outlive their backends; `None` = they do not. Where the 101 agreed on an extension that keeps
    /// state from one message to the next, they cannot.
    pub hold: Option<HoldTerms>,
    /// On what terms the sessions outlive the connections of their clients; `None` = they do not. Those whose 101 agreed on an
    /// extension cannot.
    pub resume: Option<ResumeTerms>,
    /// Values that a peer must not guess are derived from this secret and from the session's nonce.
    pub secret: Secret,
    /// Any instant before the first of these sessions began. The sessions count their time from it.
    pub epoch: Instant,
    /// Told of each round trip that is measured. A session keeps only the last round trip and the mean.
    pub round_trips: RoundTripTimes,
}

/// The settings of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionSettings {
    /// When a side is pinged, and when it is dead.
    pub keepalive: Settings,
    /// How long neither side may send a byte before the session ends; `None` = no bound.
    pub idle: Option<Duration>,
    /// A session that has lived this long, minus a tenth at most, is ended; `None` = never.
    pub max_lifetime: Option<Duration>,
    /// The time from the first cause of an end to the end. A side that takes its last bytes slowly may get more.
    pub close_timeout: Duration,
    /// The limits on sizes and rates.
    pub limits: MessageLimits,
    /// Whether the 101 agreed on an extension. Then RSV bits are legal.
    pub extensions: bool,
}

impl Common {
    pub(super) const fn terms(&self, nonce: u64, side: Side) -> PingTerms<'_> {
        PingTerms { settings: &self.settings.keepalive, secret: &self.secret, nonce, side }
    }

    pub(super) fn tick(&self, now: Instant) -> Tick {
        Tick::new(self.epoch, now)
    }
}
