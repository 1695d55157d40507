//! What a session needs to get another backend. [`crate::net::request`] knows how to ask one; the loop only tells when.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::task::AbortHandle;

use super::dismissal::Dismissal;
use crate::{
    balance::{Backend, Seat},
    metrics::Metrics,
    net::{
        counts::live::HoldGuard,
        stream::{calls::SessionKey, plain_or_tls::Stream},
    },
    ws::{
        Side,
        session::{HoldCause, ResumeFailure},
    },
};

/// Begins a call in a task of its own. What comes of it arrives at the loop ([`super::held::Arrival::Redialled`]).
type RedialFn = dyn Fn(SessionKey, RedialOrder) -> RedialCall + Send + Sync;

/// Whether a backend other than this one takes sessions.
type OtherFn = dyn Fn(&Arc<Backend>) -> bool + Send + Sync;

/// How a session gets another backend.
pub(in crate::net) struct Redial {
    pub(in crate::net) calls: Box<RedialFn>,
    pub(in crate::net) looks: Box<OtherFn>,
}

impl fmt::Debug for Redial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redial")
    }
}

/// Why another backend is asked.
#[derive(Debug, Clone)]
pub(in crate::net) struct RedialOrder {
    pub(in crate::net) cause: HoldCause,
    /// The backend that a session moves away from, which is not asked; `None` = the session does not move.
    pub(in crate::net) leaves: Option<Arc<Backend>>,
    /// How many backends the session had before.
    pub(in crate::net) number: u32,
    /// How many attempts went before, in a hold that goes on because the backend that it found did not stay.
    pub(in crate::net) attempts: u32,
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
    /// How long the backend may take to close, if the session does not want it any more.
    pub(in crate::net) patience: Duration,
}

impl Successor {
    /// The session does not want the backend any more.
    pub(super) fn dismiss(self) -> Dismissal {
        Dismissal::of_unwanted_backend(self.stream, self.patience)
    }
}

/// What came of a call.
#[derive(Debug)]
pub(in crate::net) enum Redialled {
    /// After so many attempts.
    Taken(Successor, u32),
    /// Nothing yet. It is tried again.
    Failed(ResumeFailure),
    /// Nothing, and it is not tried again. Sessions that give up at the same time end over this time at most.
    GaveUp(ResumeFailure, Duration),
}

/// A session that may outlive its backend: how it gets another one, and the call that is under way.
#[derive(Debug)]
pub(super) struct Outliving {
    pub(super) redial: Redial,
    pub(super) call: Option<RedialCall>,
    /// How many attempts it took to get the present backend.
    pub(super) attempts: u32,
}

/// A call that is under way. Each ends as resumed or as given up, once. When this is dropped, nobody is asked any more.
#[derive(Debug)]
pub(in crate::net) struct RedialCall {
    task: AbortHandle,
    metrics: Arc<Metrics>,
    counted: HoldGuard,
    /// Why no backend was found; `None` = that is not known yet.
    failure: Option<ResumeFailure>,
    is_over: bool,
}

impl RedialCall {
    /// The call that this task makes.
    pub(in crate::net) fn begin(
        task: AbortHandle,
        cause: HoldCause,
        metrics: &Arc<Metrics>,
        counted: HoldGuard,
    ) -> Self {
        metrics.held(cause);
        Self { task, metrics: Arc::clone(metrics), counted, failure: None, is_over: false }
    }

    /// Another backend has the session, after this time without one.
    pub(super) fn succeed(mut self, gap: Duration) {
        self.is_over = true;
        self.metrics.resumed(Side::Backend, gap);
    }

    /// The task has given up. Returns how many calls of the process have given up whose sessions are still to end.
    pub(super) fn fail(&mut self, why: ResumeFailure) -> usize {
        self.failure = Some(why);
        self.counted.give_up()
    }
}

impl Drop for RedialCall {
    fn drop(&mut self) {
        self.task.abort();
        if !self.is_over {
            self.metrics.gave_up(self.failure);
        }
    }
}
