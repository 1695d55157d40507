//! The guards that count a request as in flight to a backend, and carry its outcome there.

use std::{sync::Arc, time::Instant};

use super::{
    backend::Backend,
    health::{Limits, Ticket, Transition},
};

/// A backend picked for one attempt: in flight, and with an outcome to be told.
#[derive(Debug)]
#[must_use = "dropped at once, it counts for nothing"]
pub struct Pick {
    /// Dropped before the count is given back.
    untold: Untold,
    /// Until the outcome is told; `None` where handshakes are not limited, or it is none.
    handshake: Option<Handshake>,
    in_flight: InFlight,
}

/// A request or session in flight to a backend: counted from the pick until this is dropped.
#[derive(Debug)]
#[must_use = "dropped at once, it counts for nothing"]
struct InFlight(Arc<Backend>);

/// A session at a backend: in flight, and counted among its sessions, until this is dropped.
#[derive(Debug)]
#[must_use = "dropped at once, it counts for nothing"]
pub struct Seat(InFlight);

/// A handshake in flight to a backend: counted from the pick until this is dropped.
#[derive(Debug)]
pub(super) struct Handshake(Arc<Backend>);

/// A pick's outcome. Dropped without one, a trial gives its slot back.
#[derive(Debug)]
struct Untold {
    backend: Arc<Backend>,
    limits: Limits,
    /// Until the outcome is told; there is one.
    ticket: Option<Ticket>,
}

impl Pick {
    /// Counts one more. The caller holds the upstream's lock, so that the limit it looked at still holds.
    pub(super) fn new(backend: Arc<Backend>, limits: Limits, handshake: Option<Handshake>, now: Instant) -> Self {
        let in_flight = InFlight::begin(Arc::clone(&backend));
        let ticket = Some(backend.begin(now));
        Self { untold: Untold { backend, limits, ticket }, handshake, in_flight }
    }

    /// `host:port` to connect to.
    pub fn address(&self) -> &str {
        self.in_flight.address()
    }

    /// The backend picked.
    pub fn backend(&self) -> &Arc<Backend> {
        self.in_flight.backend()
    }

    /// The backend answered: a 101, or the head of a plain answer. It stays counted. Only the first outcome told counts.
    /// [`Transition::Back`] where this ends an outage.
    pub fn succeeded(&mut self, now: Instant) -> Option<Transition> {
        self.handshake = None;
        let ticket = self.untold.ticket.take()?;
        self.backend().succeeded(&ticket, now)
    }

    /// The backend refused, timed out, broke off or answered nonsense before a complete head. Only the first outcome
    /// told counts. [`Transition::Out`] where this was one failure too many.
    pub fn failed(&mut self, now: Instant) -> Option<Transition> {
        self.handshake = None;
        let ticket = self.untold.ticket.take()?;
        let limits = self.untold.limits;
        self.backend().failed(&ticket, limits, now)
    }

    /// Keeps the count alone, for what goes on long after its outcome: a session. An outcome not told until now never is.
    pub fn settle(self) -> Seat {
        self.in_flight.backend().begin_session();
        Seat(self.in_flight)
    }
}

impl Seat {
    /// The backend that it counts for.
    pub fn backend(&self) -> &Arc<Backend> {
        self.0.backend()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.backend().end_session();
    }
}

impl InFlight {
    fn begin(backend: Arc<Backend>) -> Self {
        backend.enter();
        Self(backend)
    }

    /// `host:port` of the backend.
    fn address(&self) -> &str {
        self.0.address()
    }

    /// The backend that it counts for.
    fn backend(&self) -> &Arc<Backend> {
        &self.0
    }
}

impl Handshake {
    /// `None` where `most` are in flight.
    pub(super) fn begin(backend: &Arc<Backend>, most: usize) -> Option<Self> {
        backend.begin_handshake(most).then(|| Self(Arc::clone(backend)))
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.0.end_handshake();
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Drop for Untold {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take_if(|ticket| ticket.is_trial) {
            self.backend.abandoned(&ticket);
        }
    }
}
