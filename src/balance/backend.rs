//! One backend as the whole process shares it, and the guards that count a request as in flight to it.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use super::health::{Health, Limits, PassiveHealth, Spell, Ticket, Transition};

/// One server of an upstream: what is counted and known of it. Its weight and limits are the upstream's, so that this
/// may outlive a change of the file.
#[derive(Debug)]
pub struct Backend {
    address: String,
    active: AtomicUsize,
    /// [`PassiveHealth::spell`], written under its lock: a pick locks nothing of a backend that is up.
    spell: AtomicU64,
    /// A lock, because an outage's window, end and trial change together; taken for a failure and while out.
    health: Mutex<PassiveHealth>,
}

impl Backend {
    /// One that is up and idle.
    pub(super) fn new(address: String) -> Self {
        let health = PassiveHealth::new();
        Self {
            address,
            active: AtomicUsize::new(0),
            spell: AtomicU64::new(health.spell().0),
            health: Mutex::new(health),
        }
    }

    /// `host:port` as the file says it; its identity.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Sessions and requests in flight.
    pub fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    /// How it stands.
    pub fn health(&self, now: Instant) -> Health {
        lock(&self.health).at(now)
    }

    /// Whether a request may go here by right: up, or due for a trial.
    pub(super) fn is_ready(&self, now: Instant) -> bool {
        self.spell().is_up() || lock(&self.health).is_ready(now)
    }

    fn begin(&self, now: Instant) -> Ticket {
        match self.spell() {
            spell if spell.is_up() => Ticket { spell, is_trial: false },
            _ => lock(&self.health).begin(now),
        }
    }

    fn spell(&self) -> Spell {
        Spell(self.spell.load(Ordering::Acquire))
    }

    fn observe(&self, outcome: impl FnOnce(&mut PassiveHealth) -> Option<Transition>) -> Option<Transition> {
        let mut health = lock(&self.health);
        let transition = outcome(&mut health);
        self.spell.store(health.spell().0, Ordering::Release);
        transition
    }
}

/// A backend picked for one attempt: in flight, and with an outcome to be told.
#[derive(Debug)]
#[must_use = "dropped at once, it counts for nothing"]
pub struct Pick {
    /// Dropped before the count is given back.
    untold: Untold,
    in_flight: InFlight,
}

/// A request or session in flight to a backend: counted from the pick until this is dropped.
#[derive(Debug)]
#[must_use = "dropped at once, it counts for nothing"]
pub struct InFlight(Arc<Backend>);

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
    pub(super) fn new(backend: Arc<Backend>, limits: Limits, now: Instant) -> Self {
        let in_flight = InFlight::begin(Arc::clone(&backend));
        let ticket = Some(backend.begin(now));
        Self { untold: Untold { backend, limits, ticket }, in_flight }
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
    pub fn succeeded(&mut self, _now: Instant) -> Option<Transition> {
        let ticket = self.untold.ticket.take()?;
        if ticket.spell.is_up() {
            return None;
        }
        self.backend().observe(|health| health.succeeded(&ticket))
    }

    /// The backend refused, timed out, broke off or answered nonsense before a complete head. Only the first outcome
    /// told counts. [`Transition::Out`] where this was one failure too many.
    pub fn failed(&mut self, now: Instant) -> Option<Transition> {
        let ticket = self.untold.ticket.take()?;
        let limits = self.untold.limits;
        self.backend().observe(|health| health.failed(&ticket, limits, now))
    }

    /// Keeps the count alone, for what goes on long after its outcome: a session. An outcome not told until now never is.
    pub fn settle(self) -> InFlight {
        self.in_flight
    }
}

impl InFlight {
    fn begin(backend: Arc<Backend>) -> Self {
        // Relaxed: the upstream's lock orders the picks, and a decrement seen late only errs on the safe side.
        backend.active.fetch_add(1, Ordering::Relaxed);
        Self(backend)
    }

    /// `host:port` of the backend.
    pub fn address(&self) -> &str {
        self.0.address()
    }

    /// The backend that it counts for.
    pub fn backend(&self) -> &Arc<Backend> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Untold {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take_if(|ticket| ticket.is_trial) {
            lock(&self.backend.health).abandoned(&ticket);
        }
    }
}

/// Locks; a panic elsewhere while it was held leaves numbers, not broken pointers, so the poison is ignored.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
