//! Guards that count a request as in flight to a backend, and tell the backend its outcome.

use std::{sync::Arc, time::Instant};

use super::{
    backend::Backend,
    health::{OutageLimits, Ticket, Transition},
    line::Line,
    members::Member,
};

/// A backend picked for one attempt. It is in flight, and its outcome is still to be told.
#[derive(Debug)]
#[must_use = "dropped at once, it counts for nothing"]
pub struct Pick {
    /// A struct drops its fields in order, so the outcome is settled before the count is given back.
    untold: Untold,
    /// The name that led to the backend's address, with the port; `None` = the address stands in the file, or in a list.
    name: Option<Arc<str>>,
    /// Counted until the outcome is told; `None` = handshakes are not limited, or the attempt is no handshake.
    handshake: Option<Handshake>,
    in_flight: InFlight,
}

/// A request or session in flight to a backend. It is counted from the pick until this is dropped.
#[derive(Debug)]
#[must_use = "dropped at once, it counts for nothing"]
struct InFlight(Arc<Backend>);

/// A session at a backend. It is counted as in flight and as a session until this is dropped.
#[derive(Debug)]
#[must_use = "dropped at once, it counts for nothing"]
pub struct Seat(InFlight);

/// A handshake in flight to a backend. It is counted from the pick until this is dropped, which wakes the next handshake in
/// the line of the upstream.
#[derive(Debug)]
pub(super) struct Handshake(Arc<Backend>, Arc<Line>);

/// The outcome of a pick. A trial that is dropped without an outcome gives its slot back.
#[derive(Debug)]
struct Untold {
    backend: Arc<Backend>,
    limits: OutageLimits,
    /// `Some` until the outcome is told.
    ticket: Option<Ticket>,
}

impl Pick {
    /// Counts one more request in flight. The caller holds the upstream's lock, so the limits it has checked still
    /// hold.
    pub(super) fn new(member: &Member, limits: OutageLimits, handshake: Option<Handshake>, now: Instant) -> Self {
        let (backend, name) = (Arc::clone(&member.backend), member.settings.found_name().cloned());
        let in_flight = InFlight::begin(Arc::clone(&backend));
        let ticket = Some(backend.begin(now));
        Self { untold: Untold { backend, limits, ticket }, name, handshake, in_flight }
    }

    /// `host:port` or `unix:…` to connect to.
    pub fn address(&self) -> &str {
        self.in_flight.address()
    }

    /// The name that led to the backend's address, with the port. A connection that was made for one name is not used for
    /// another.
    pub const fn name(&self) -> Option<&Arc<str>> {
        self.name.as_ref()
    }

    /// The backend picked.
    pub fn backend(&self) -> &Arc<Backend> {
        self.in_flight.backend()
    }

    /// The backend answered: a 101, or the head of a plain answer. The pick stays counted.
    ///
    /// Only the first outcome counts. Returns [`Transition::Back`] if this success ends an outage.
    pub fn succeeded(&mut self, now: Instant) -> Option<Transition> {
        self.handshake = None;
        let ticket = self.untold.ticket.take()?;
        self.backend().succeeded(&ticket, now)
    }

    /// The backend refused, timed out, broke off or sent nonsense before a complete head.
    ///
    /// Only the first outcome counts. Returns [`Transition::Out`] if this was one failure too many.
    pub fn failed(&mut self, now: Instant) -> Option<Transition> {
        self.handshake = None;
        let ticket = self.untold.ticket.take()?;
        let limits = self.untold.limits;
        self.backend().failed(&ticket, limits, now)
    }

    /// Keeps only the count, for a session, which lives long after the handshake. No outcome can be told afterwards.
    pub fn into_seat(self) -> Seat {
        self.in_flight.backend().begin_session();
        Seat(self.in_flight)
    }
}

impl Seat {
    /// The backend at which this counts.
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

    /// The address of the backend, as the file has it.
    fn address(&self) -> &str {
        self.0.address()
    }

    /// The backend at which this counts.
    fn backend(&self) -> &Arc<Backend> {
        &self.0
    }
}

impl Handshake {
    /// `None` if `most` handshakes are in flight already.
    pub(super) fn begin(backend: &Arc<Backend>, line: &Arc<Line>, most: usize) -> Option<Self> {
        backend.try_begin_handshake(most).then(|| Self(Arc::clone(backend), Arc::clone(line)))
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.0.end_handshake();
        self.1.wake_first(&self.0);
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
