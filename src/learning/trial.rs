//! Sessions that try the interval of the file once more: which of them live, and which are cut.

use std::{
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use crate::ws::{
    Side,
    session::Session,
    termination::{Cause, HowEnded, Loss, Silence},
};

/// What a session on trial uses toward a side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrialTerms {
    /// The interval of the file.
    pub interval: Duration,
    /// The limit that was seen; `None` = none was seen.
    pub limit: Option<Duration>,
}

/// How a session on trial ended, for one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrialEnd {
    /// How the side was dropped; `None` = it was not.
    pub dropped: Option<HowEnded>,
    /// How long nothing came from the side or nothing went to it, whichever is longer.
    pub silence: Duration,
    /// Frames that passed between the two ends.
    pub frames: u64,
    /// Pings of ours that the side has answered.
    pub answered: u32,
}

/// How many sessions on trial have lived and how many were cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrialCount {
    /// They were silent for as long as the interval of the file lets them be, and lived on.
    pub lived: u32,
    /// They ended as if the path had cut them.
    pub cut: u32,
}

/// Counts the sessions of a route that are on trial for a side.
#[derive(Debug)]
pub struct TrialWatch {
    side: Side,
    terms: TrialTerms,
    lived: AtomicU32,
    cut: AtomicU32,
}

impl TrialTerms {
    /// What the end of a session adds to the count.
    ///
    /// 1. Each Ping that was answered ended a silence of nearly the interval, in at least one direction. If more were answered than
    ///    frames passed, then nothing but our Ping ended one of these silences, and the session lived through it.
    /// 2. A session was cut if its connection ended after such a silence, or after nearly the limit that was seen. If nobody heard
    ///    of the end, the client may sleep. That counts as cut only if the session lived through no silence before.
    #[must_use]
    pub fn judge(&self, end: TrialEnd) -> TrialCount {
        let lived = u64::from(end.answered) > end.frames;
        let least = self.limit.map_or(self.interval, |limit| limit.min(self.interval)) / 10 * 9;
        let cut = end.silence >= least
            && match end.dropped {
                None => false,
                Some(HowEnded::Lost(Loss::Fin | Loss::Reset)) => true,
                Some(_) => !lived,
            };
        TrialCount { lived: u32::from(lived && !cut), cut: u32::from(cut) }
    }
}

impl TrialWatch {
    /// None yet.
    #[must_use]
    pub const fn new(side: Side, terms: TrialTerms) -> Self {
        Self { side, terms, lived: AtomicU32::new(0), cut: AtomicU32::new(0) }
    }

    /// Counts a session that has ended like this, after this silence.
    pub fn note(&self, session: &Session, (cause, how): (Cause, HowEnded), silence: Silence) {
        let Silence { from_client, to_client, from_backend, to_backend } = silence;
        let (drops, silence) = match self.side {
            Side::Client => ([Cause::ClientLost, Cause::ClientDead], from_client.max(to_client)),
            Side::Backend => ([Cause::BackendLost, Cause::BackendDead], from_backend.max(to_backend)),
        };
        let TrialCount { lived, cut } = self.terms.judge(TrialEnd {
            dropped: drops.contains(&cause).then_some(how),
            silence: Duration::from_millis(silence.into()),
            frames: session.counts(Side::Client).frames.saturating_add(session.counts(Side::Backend).frames),
            answered: session.round_trips(self.side).measured,
        });
        self.lived.fetch_add(lived, Relaxed);
        self.cut.fetch_add(cut, Relaxed);
    }

    /// How many there are until now.
    #[must_use]
    pub fn count(&self) -> TrialCount {
        TrialCount { lived: self.lived.load(Relaxed), cut: self.cut.load(Relaxed) }
    }
}
