//! One backend as the whole process shares it: what is counted and known of it, by passive health, checks and the operator.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    checks::{Check, Checks, HealthCheck},
    health::{Health, Limits, PassiveHealth, Spell, Ticket, Transition},
    line::Line,
};

/// One server of an upstream: what is counted and known of it. Its weight and limits are the upstream's, so that this
/// may outlive a change of the file.
#[derive(Debug)]
pub struct Backend {
    address: String,
    active: AtomicUsize,
    /// Those of them that are sessions.
    sessions: AtomicUsize,
    /// Handshakes in flight, where their number is limited.
    handshakes: AtomicUsize,
    /// Its upstream's.
    line: Arc<Line>,
    picks: AtomicU64,
    /// Which of the addresses that its name has is next.
    turns: AtomicUsize,
    failures: AtomicU64,
    duty: AtomicU8,
    /// [`PassiveHealth::spell`], written under its lock: a pick locks nothing of a backend that is up.
    spell: AtomicU64,
    /// A lock, because an outage's window, end and trial change together; taken for a failure and while out.
    health: Mutex<PassiveHealth>,
    /// [`Checks::is_failing`], written under their lock.
    is_failing: AtomicBool,
    /// A lock, because the streak and the last check change together; taken once a check.
    checks: Mutex<Checks>,
    born: Instant,
    /// Nanoseconds after `born` at which it last came back.
    risen: AtomicU64,
}

/// What the operator wants of a backend, beside what the file says. It lasts as long as the file has the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Duty {
    /// It takes its share.
    #[default]
    Up,
    /// Never picked; its sessions are asked to leave.
    Drain,
    /// Never picked.
    Down,
}

impl Duty {
    /// The word for the log and the admin interface.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Drain => "drain",
            Self::Down => "down",
        }
    }
}

impl Backend {
    /// One that is up and idle.
    pub(super) fn new(address: String, line: Arc<Line>, now: Instant) -> Self {
        let health = PassiveHealth::new();
        Self {
            address,
            active: AtomicUsize::new(0),
            sessions: AtomicUsize::new(0),
            handshakes: AtomicUsize::new(0),
            line,
            picks: AtomicU64::new(0),
            turns: AtomicUsize::new(0),
            failures: AtomicU64::new(0),
            duty: AtomicU8::new(Duty::Up as u8),
            spell: AtomicU64::new(health.spell().0),
            health: Mutex::new(health),
            is_failing: AtomicBool::new(false),
            checks: Mutex::default(),
            born: now,
            risen: AtomicU64::new(0),
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

    /// Sessions open.
    pub fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    /// WebSocket handshakes in flight, where `max_handshakes` limits them; else 0.
    pub fn handshakes(&self) -> usize {
        self.handshakes.load(Ordering::Relaxed)
    }

    /// Attempts that went here since it was first named.
    pub fn picks(&self) -> u64 {
        self.picks.load(Ordering::Relaxed)
    }

    /// Those of them that failed.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// How it stands. [`Health::Failing`] hides what the requests say, since both must say yes.
    pub fn health(&self, now: Instant) -> Health {
        match self.is_failing() {
            true => Health::Failing,
            false => lock(&self.health).at(now),
        }
    }

    /// The last active check; `None` = there was none.
    pub fn last_check(&self) -> Option<Check> {
        lock(&self.checks).last().cloned()
    }

    /// What the operator wants of it.
    pub fn duty(&self) -> Duty {
        match self.duty.load(Ordering::Relaxed) {
            duty if duty == Duty::Drain as u8 => Duty::Drain,
            duty if duty == Duty::Down as u8 => Duty::Down,
            _ => Duty::Up,
        }
    }

    /// The operator's word, for every pick from now on. Put back to duty, it starts as slowly as one that came back.
    pub fn set_duty(&self, duty: Duty, now: Instant) {
        let before = self.duty.swap(duty as u8, Ordering::Relaxed);
        if duty == Duty::Up && before != Duty::Up as u8 {
            self.rise(now);
        }
    }

    /// Whether a request may go here by right: no check fails, and it is up or due for a trial.
    pub(super) fn is_ready(&self, now: Instant) -> bool {
        !self.is_failing() && (self.spell().is_up() || lock(&self.health).is_ready(now))
    }

    /// How long it has been back, or has been there.
    pub(super) fn age(&self, now: Instant) -> Duration {
        let risen = Duration::from_nanos(self.risen.load(Ordering::Relaxed));
        now.saturating_duration_since(self.born).saturating_sub(risen)
    }

    /// Counts one more in flight.
    pub(super) fn enter(&self) {
        // Relaxed: the upstream's lock orders the picks, and a decrement seen late only errs on the safe side.
        self.active.fetch_add(1, Ordering::Relaxed);
        self.picks.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes back what [`Self::enter`] counted.
    pub(super) fn leave(&self) {
        self.active.fetch_sub(1, Ordering::Relaxed);
    }

    /// A number that grows by one with each call, for the addresses that its name has.
    pub(super) fn next_turn(&self) -> usize {
        self.turns.fetch_add(1, Ordering::Relaxed)
    }

    /// Counts one more handshake; whether there was room for it. Exact also while two files are in use.
    pub(super) fn begin_handshake(&self, most: usize) -> bool {
        let room = |handshakes| (handshakes < most).then_some(handshakes + 1);
        self.handshakes.fetch_update(Ordering::AcqRel, Ordering::Relaxed, room).is_ok()
    }

    /// Takes back what [`Self::begin_handshake`] counted, and lets the next one have it.
    pub(super) fn end_handshake(self: &Arc<Self>) {
        self.handshakes.fetch_sub(1, Ordering::AcqRel);
        self.line.wake_first(self);
    }

    pub(super) fn begin(&self, now: Instant) -> Ticket {
        match self.spell() {
            spell if spell.is_up() => Ticket { spell, is_trial: false },
            _ => lock(&self.health).begin(now),
        }
    }

    pub(super) fn succeeded(&self, ticket: &Ticket, now: Instant) -> Option<Transition> {
        if ticket.spell.is_up() {
            return None;
        }
        self.observe(now, |health| health.succeeded(ticket))
    }

    pub(super) fn failed(&self, ticket: &Ticket, limits: Limits, now: Instant) -> Option<Transition> {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.observe(now, |health| health.failed(ticket, limits, now))
    }

    pub(super) fn abandoned(&self, ticket: &Ticket) {
        lock(&self.health).abandoned(ticket);
    }

    /// One active check came to its end.
    pub(super) fn checked(&self, check: Check, settings: &HealthCheck) -> Option<Transition> {
        let now = check.at;
        let mut checks = lock(&self.checks);
        let transition = checks.observe(check, settings.rise, settings.fall)?;
        self.is_failing.store(checks.is_failing(), Ordering::Relaxed);
        if transition == Transition::Back {
            self.rise(now);
        }
        Some(transition)
    }

    /// It was out of the file and comes back while some of its sessions live: their count goes on. What the operator wanted of
    /// it, and what its checks said, was said before it went.
    pub fn begin_anew(&self, now: Instant) {
        self.duty.store(Duty::Up as u8, Ordering::Relaxed);
        self.forget_checks();
        self.rise(now);
    }

    pub(super) fn begin_session(&self) {
        self.sessions.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end_session(&self) {
        self.sessions.fetch_sub(1, Ordering::Relaxed);
    }

    /// As if it had never been checked.
    pub(super) fn forget_checks(&self) {
        let mut checks = lock(&self.checks);
        *checks = Checks::default();
        self.is_failing.store(false, Ordering::Relaxed);
    }

    fn is_failing(&self) -> bool {
        self.is_failing.load(Ordering::Relaxed)
    }

    fn spell(&self) -> Spell {
        Spell(self.spell.load(Ordering::Acquire))
    }

    fn observe(
        &self,
        now: Instant,
        outcome: impl FnOnce(&mut PassiveHealth) -> Option<Transition>,
    ) -> Option<Transition> {
        let mut health = lock(&self.health);
        let transition = outcome(&mut health);
        self.spell.store(health.spell().0, Ordering::Release);
        if transition == Some(Transition::Back) {
            self.rise(now);
        }
        transition
    }

    /// It came back: its age counts from now.
    fn rise(&self, now: Instant) {
        let risen = now.saturating_duration_since(self.born).as_nanos();
        // Nanoseconds overflow after 584 years.
        self.risen.store(u64::try_from(risen).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// Locks; a panic elsewhere while it was held leaves numbers, not broken pointers, so the poison is ignored.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
