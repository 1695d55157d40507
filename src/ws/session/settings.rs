//! What sessions share.

use std::time::{Duration, Instant};

use crate::{
    metrics::RoundTripTimes,
    ws::{
        Side,
        keepalive::{Secret, Settings, Terms},
        meter::MessageLimits,
        tick::Tick,
    },
};

/// What many sessions share: those of a route whose 101 agreed on an extension, and likewise those whose 101 did not. Made
/// once, so that none of it costs a session more than a pointer.
#[derive(Debug)]
pub struct Common {
    /// What the file and the 101 say.
    pub settings: SessionSettings,
    /// What no peer must guess is derived from it and from the session's nonce.
    pub secret: Secret,
    /// Any instant before the first of these sessions began; they count their time from it.
    pub epoch: Instant,
    /// Told of each round trip that is measured: a session keeps only the last one and their sum.
    pub round_trips: RoundTripTimes,
}

/// What a session is made of, beside its two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionSettings {
    /// Pings and deadness.
    pub keepalive: Settings,
    /// No byte from either side for this long ends the session; `None` = never.
    pub idle: Option<Duration>,
    /// A session that has lived for this long, less a tenth at most, is ended; `None` = never.
    pub max_lifetime: Option<Duration>,
    /// From the beginning of an end to the end.
    pub close_timeout: Duration,
    /// Sizes and rates of what may pass.
    pub limits: MessageLimits,
    /// The 101 agreed on an extension: RSV bits are legal.
    pub extensions: bool,
}

impl Common {
    pub(super) const fn terms(&self, nonce: u64, side: Side) -> Terms<'_> {
        Terms { settings: &self.settings.keepalive, secret: &self.secret, nonce, side }
    }

    pub(super) fn tick(&self, now: Instant) -> Tick {
        Tick::new(self.epoch, now)
    }
}
