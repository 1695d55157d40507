//! What a session needs to get another backend. [`crate::net::request`] knows how to ask one; the loop only tells when.

use std::{fmt, time::Instant};

use bytes::Bytes;
use tokio::task::AbortHandle;

use crate::{
    balance::Seat,
    net::stream::{calls::SessionKey, plain_or_tls::Stream},
    ws::session::{HoldCause, ResumeFailure},
};

/// Asks backends to take a session that has lost its own, in a task of its own. What came of it arrives at the loop
/// ([`super::held::Arrival::Successor`]).
pub(in crate::net) struct Redial(pub(in crate::net) Box<dyn Fn(SessionKey, RedialOrder) -> AbortHandle + Send + Sync>);

impl fmt::Debug for Redial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redial")
    }
}

/// Why another backend is asked.
#[derive(Debug, Clone, Copy)]
pub(in crate::net) struct RedialOrder {
    pub(in crate::net) cause: HoldCause,
    /// How many backends the session had before.
    pub(in crate::net) number: u32,
    /// The session waits no longer.
    pub(in crate::net) until: Instant,
}

/// Another backend that takes a session. Its 101 has just come.
#[derive(Debug)]
pub(in crate::net) struct Successor {
    pub(in crate::net) stream: Stream,
    /// What was read behind its 101.
    pub(in crate::net) early: Bytes,
    pub(in crate::net) seat: Seat,
    /// When the session has to end, if a service says so now.
    pub(in crate::net) expires: Option<Instant>,
}

/// What came of a call.
pub(in crate::net) type Redialled = Result<Successor, ResumeFailure>;

/// A session that may outlive its backend: how it gets another one, and the call that is under way.
pub(super) struct Outliving {
    pub(super) redial: Redial,
    pub(super) under_way: Option<AbortHandle>,
}

impl Drop for Outliving {
    fn drop(&mut self) {
        if let Some(task) = &self.under_way {
            task.abort();
        }
    }
}
