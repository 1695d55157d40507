//! One backend as the whole process shares it: its counts, its passive health, its checks and the operator's duty.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    checks::{ActiveHealth, CheckResult, HealthCheck},
    health::{Health, OutageLimits, PassiveHealth, Stretch, Ticket, Transition},
};

/// One server of an upstream: its counts and what is known of it. Its weight and limits belong to the upstream, so a
/// backend may outlive a change of the file.
#[derive(Debug)]
pub struct Backend {
    address: Arc<str>,
    active: AtomicUsize,
    /// The part of `active` that is sessions.
    sessions: AtomicUsize,
    /// Handshakes in flight, if their number is limited.
    handshakes: AtomicUsize,
    picks: AtomicU64,
    /// Counts turns: the next one decides which address of its name comes first.
    turns: AtomicUsize,
    failures: AtomicU64,
    duty: AtomicU8,
    /// [`PassiveHealth::stretch`], written under the lock of `health`. With it, a pick of a backend that is up takes no
    /// lock of the backend.
    stretch: AtomicU64,
    /// A lock, because the window, the end and the trial of an outage change together. It is taken for a failure, and
    /// while the backend is out.
    health: Mutex<PassiveHealth>,
    /// [`ActiveHealth::is_failing`], written under the lock of `checks`.
    is_failing: AtomicBool,
    /// A lock, because the count of equal results and the last check change together. It is taken once per check.
    checks: Mutex<ActiveHealth>,
    born: Instant,
    /// When it last came back, after `born`.
    risen_nanos: AtomicU64,
}

/// What the operator wants of a backend, beside the file. It lasts as long as the file has the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Duty {
    /// The backend takes its share of the requests.
    #[default]
    Up,
    /// The backend is never picked, and its sessions are asked to leave.
    Drain,
    /// The backend is never picked.
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
    /// A backend that is up and idle.
    pub fn new(address: String, now: Instant) -> Self {
        let health = PassiveHealth::new();
        Self {
            address: address.into(),
            active: AtomicUsize::new(0),
            sessions: AtomicUsize::new(0),
            handshakes: AtomicUsize::new(0),
            picks: AtomicU64::new(0),
            turns: AtomicUsize::new(0),
            failures: AtomicU64::new(0),
            duty: AtomicU8::new(Duty::Up as u8),
            stretch: AtomicU64::new(health.stretch().0),
            health: Mutex::new(health),
            is_failing: AtomicBool::new(false),
            checks: Mutex::default(),
            born: now,
            risen_nanos: AtomicU64::new(0),
        }
    }

    /// `host:port` or `unix:…`, as the file has it; the identity of the backend.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The same, for whoever keeps it.
    pub fn shared_address(&self) -> Arc<str> {
        Arc::clone(&self.address)
    }

    /// Sessions and requests in flight.
    pub fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    /// Open sessions.
    pub fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    /// WebSocket handshakes in flight. They are counted only if `max_handshakes` limits them; otherwise this is 0.
    pub fn handshakes(&self) -> usize {
        self.handshakes.load(Ordering::Relaxed)
    }

    /// How many attempts of requests went to this backend since it was created.
    pub fn picks(&self) -> u64 {
        self.picks.load(Ordering::Relaxed)
    }

    /// How many of the attempts in [`Self::picks`] failed.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// The backend's health. [`Health::Failing`] and [`Health::Unchecked`] hide what its requests say: the backend is up only
    /// if both say so.
    pub fn health(&self, now: Instant) -> Health {
        match self.is_failing() {
            true if lock(&self.checks).is_awaiting() => Health::Unchecked,
            true => Health::Failing,
            false => lock(&self.health).at(now),
        }
    }

    /// The last active check; `None` = no check has ended yet.
    pub fn last_check(&self) -> Option<CheckResult> {
        lock(&self.checks).last().cloned()
    }

    /// What the operator wants of the backend.
    pub fn duty(&self) -> Duty {
        match self.duty.load(Ordering::Relaxed) {
            duty if duty == Duty::Drain as u8 => Duty::Drain,
            duty if duty == Duty::Down as u8 => Duty::Down,
            _ => Duty::Up,
        }
    }

    /// Sets what the operator wants; it holds for every pick from now on. A backend that is put back on duty starts
    /// slowly, like one that came back.
    pub(super) fn set_duty(&self, duty: Duty, now: Instant) {
        let before = self.duty.swap(duty as u8, Ordering::Relaxed);
        if duty == Duty::Up && before != Duty::Up as u8 {
            self.rise(now);
        }
    }

    /// Whether a request may go here without force: its checks do not fail, and it is up or due for a trial.
    pub(super) fn is_ready(&self, now: Instant) -> bool {
        !self.is_failing() && (self.stretch().is_up() || lock(&self.health).is_ready(now))
    }

    /// How long ago the backend came back, or was created.
    pub(super) fn age(&self, now: Instant) -> Duration {
        let risen = Duration::from_nanos(self.risen_nanos.load(Ordering::Relaxed));
        now.saturating_duration_since(self.born).saturating_sub(risen)
    }

    /// Counts one more request in flight.
    pub(super) fn enter(&self) {
        // Relaxed, because the upstream's lock orders the picks. A decrement that is seen late only makes a pick more
        // careful.
        self.active.fetch_add(1, Ordering::Relaxed);
        self.picks.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes back what [`Self::enter`] counted.
    pub(super) fn leave(&self) {
        self.active.fetch_sub(1, Ordering::Relaxed);
    }

    /// Returns a number that grows by one with each call. It orders the addresses of the backend's name.
    pub(super) fn next_turn(&self) -> usize {
        self.turns.fetch_add(1, Ordering::Relaxed)
    }

    /// Counts one more handshake, unless `most` are in flight; returns whether it did. The limit is exact even while an
    /// old and a new file are both in use.
    pub(super) fn try_begin_handshake(&self, most: usize) -> bool {
        let room = |handshakes| (handshakes < most).then_some(handshakes + 1);
        self.handshakes.fetch_update(Ordering::AcqRel, Ordering::Relaxed, room).is_ok()
    }

    /// Takes back what [`Self::try_begin_handshake`] counted.
    pub(super) fn end_handshake(&self) {
        self.handshakes.fetch_sub(1, Ordering::AcqRel);
    }

    pub(super) fn begin(&self, now: Instant) -> Ticket {
        match self.stretch() {
            stretch if stretch.is_up() => Ticket { stretch, is_trial: false },
            _ => lock(&self.health).begin(now),
        }
    }

    pub(super) fn succeeded(&self, ticket: &Ticket, now: Instant) -> Option<Transition> {
        if ticket.stretch.is_up() {
            return None;
        }
        self.observe(now, |health| health.succeeded(ticket))
    }

    pub(super) fn failed(&self, ticket: &Ticket, limits: OutageLimits, now: Instant) -> Option<Transition> {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.observe(now, |health| health.failed(ticket, limits, now))
    }

    pub(super) fn abandoned(&self, ticket: &Ticket) {
        lock(&self.health).abandoned(ticket);
    }

    /// One active check ended.
    pub(super) fn checked(&self, check: CheckResult, settings: &HealthCheck) -> Option<Transition> {
        let now = check.at;
        let mut checks = lock(&self.checks);
        let transition = checks.observe(check, settings.rise, settings.fall)?;
        self.is_failing.store(checks.is_failing(), Ordering::Relaxed);
        if transition == Transition::Back {
            self.rise(now);
        }
        Some(transition)
    }

    /// The file has the backend again, and some of its sessions from before are still open.
    ///
    /// Its counts continue. The operator's duty and the results of the checks are from before, so they are forgotten.
    /// `waits`: it is out until its first check.
    pub(super) fn begin_anew(&self, waits: bool, now: Instant) {
        self.duty.store(Duty::Up as u8, Ordering::Relaxed);
        match waits {
            true => self.hold_for_first_check(),
            false => self.forget_checks(),
        }
        self.rise(now);
    }

    pub(super) fn begin_session(&self) {
        self.sessions.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end_session(&self) {
        self.sessions.fetch_sub(1, Ordering::Relaxed);
    }

    /// Forgets the checks, as if there had been none.
    pub(super) fn forget_checks(&self) {
        self.set_checks(ActiveHealth::default());
    }

    /// Keeps the backend out until its first check, which alone then decides.
    pub(super) fn hold_for_first_check(&self) {
        self.set_checks(ActiveHealth::awaiting());
    }

    fn set_checks(&self, set: ActiveHealth) {
        let mut checks = lock(&self.checks);
        self.is_failing.store(set.is_failing(), Ordering::Relaxed);
        *checks = set;
    }

    pub(super) fn is_failing(&self) -> bool {
        self.is_failing.load(Ordering::Relaxed)
    }

    fn stretch(&self) -> Stretch {
        Stretch(self.stretch.load(Ordering::Acquire))
    }

    fn observe(
        &self,
        now: Instant,
        outcome: impl FnOnce(&mut PassiveHealth) -> Option<Transition>,
    ) -> Option<Transition> {
        let mut health = lock(&self.health);
        let transition = outcome(&mut health);
        self.stretch.store(health.stretch().0, Ordering::Release);
        if transition == Some(Transition::Back) {
            self.rise(now);
        }
        transition
    }

    /// The backend came back: its age counts from now.
    fn rise(&self, now: Instant) {
        let risen = now.saturating_duration_since(self.born).as_nanos();
        // Nanoseconds overflow after 584 years.
        self.risen_nanos.store(u64::try_from(risen).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// Locks. A panic in another holder of the lock leaves only numbers behind, no broken pointers, so the poison is
/// ignored.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
