//! On what terms a session outlives its backend, and what becomes of that.

use std::{num::NonZeroU32, time::Duration};

use crate::ws::close::CloseCode;

/// On what terms the sessions of a route outlive their backends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldTerms {
    /// The longest time without a backend.
    pub longest: Duration,
    /// The most bytes of the client that wait for the next backend.
    pub queue: usize,
    /// Which ends of a backend a session outlives.
    pub on: HoldTriggers,
    /// How many backends may follow the first one; `None` = any number.
    pub times: Option<NonZeroU32>,
    /// A text message for the client, before the first frame of each further backend.
    pub notify: Option<Box<str>>,
    /// The code for the client if no backend takes a session that was drained, or that its backend has sent away.
    pub drain_code: CloseCode,
}

/// Which ends of a backend a session outlives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldTriggers {
    /// Whether a FIN, a reset and a silence for too long are among them.
    pub lost: bool,
    /// The codes of Closes. [`Self::NO_CODE`] stands for a Close without a code.
    pub codes: Box<[CloseCode]>,
}

/// Why the next backend is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldCause {
    /// The backend before was lost.
    Lost,
    /// It sent a Close with this code; `None` = without a code.
    Close(Option<CloseCode>),
    /// The session moves away from it.
    Move,
}

/// What came of an attempt to find another backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResumeFailure {
    /// A backend has refused the session for good.
    Refused,
    /// A backend took the session, but agreed on another subprotocol or other extensions than the first one.
    Unlike,
    /// Too many sessions want a backend at once.
    NoTurn,
    /// No backend gave an answer that counts.
    Failed,
}

/// Where a session stands between two backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldState {
    /// A backend is there.
    Open,
    /// No backend is there, or it takes nothing any more.
    Held,
    /// The session leaves its backend.
    Moving,
}

/// What a session has been through with its backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HoldTally {
    /// How many backends have followed the first one.
    pub resumes: u32,
    /// The time in which no backend took the client's frames.
    pub gap: Duration,
    /// The bytes for backends of which the driver cannot say that they arrived.
    pub maybe_lost: u64,
}

impl HoldTriggers {
    /// A Close without a code. No Close can have this one (RFC 6455 §7.4.1).
    pub const NO_CODE: CloseCode = CloseCode(1005);

    pub(super) fn has(&self, cause: HoldCause) -> bool {
        match cause {
            HoldCause::Lost => self.lost,
            HoldCause::Close(code) => self.codes.contains(&code.unwrap_or(Self::NO_CODE)),
            HoldCause::Move => true,
        }
    }
}
