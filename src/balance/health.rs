//! The passive health of one backend: a state machine over the outcomes of its requests, without lock or clock.

use std::time::{Duration, Instant};

/// The largest `max_fails`: each failure is remembered until it leaves the window.
pub const MAX_FAILS: u32 = 1000;

/// The longest `fail_timeout`, one year. With it no sum of an instant and a timeout overflows.
pub const MAX_FAIL_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The health of a backend at some instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// The backend takes its share of the requests.
    Up,
    /// The backend had too many failures: it is picked only while no other backend is up or due for a trial.
    Out {
        /// When the next trial is due.
        until: Instant,
    },
    /// The backend's active checks fail: it is picked only while no other backend is up or due for a trial.
    Failing,
    /// The backend's first active check is awaited: it is picked only while no other backend is up or due for a trial.
    Unchecked,
    /// The time of being out is over. One request at a time decides whether the backend is back; no such request may
    /// have come yet.
    Trial,
}

/// A change worth a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// The backend's requests, or its checks, now say that it is out. A trial that fails is no transition, because the
    /// backend stays out.
    Out,
    /// The backend's requests, or its checks, said that it was out, and now say that it is up again.
    Back,
}

impl Transition {
    /// The word for the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::Back => "back",
        }
    }
}

/// The bounds that decide when a backend goes out, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct OutageLimits {
    max_fails: u32,
    fail_timeout: Duration,
}

impl OutageLimits {
    /// Bounds both values by [`MAX_FAILS`] and [`MAX_FAIL_TIMEOUT`]; `max_fails` 0 = the backend never goes out.
    pub(super) fn new(max_fails: u32, fail_timeout: Duration) -> Self {
        Self { max_fails: max_fails.min(MAX_FAILS), fail_timeout: fail_timeout.min(MAX_FAIL_TIMEOUT) }
    }
}

/// A stretch of time in which a backend is up or out. Stretches are counted from 0: up in the even ones, out in the odd
/// ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch(pub(super) u64);

impl Stretch {
    pub(super) fn is_up(self) -> bool {
        self.0.is_multiple_of(2)
    }

    fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

/// What a pick remembers of the health at its start. Its outcome consumes the ticket.
#[derive(Debug)]
pub(super) struct Ticket {
    /// The outcome counts only in this stretch.
    pub(super) stretch: Stretch,
    /// Whether the pick holds the one trial slot.
    pub(super) is_trial: bool,
}

/// The passive health of one backend.
#[derive(Debug)]
pub(super) struct PassiveHealth {
    stretch: Stretch,
    state: PassiveState,
}

#[derive(Debug)]
enum PassiveState {
    Up {
        /// The instants of the failures within `fail_timeout` before the last one; fewer than the `max_fails` of that
        /// time.
        failures: Vec<Instant>,
    },
    Out {
        until: Instant,
        /// Whether a trial is under way.
        is_on_trial: bool,
    },
}

impl PassiveHealth {
    pub(super) fn new() -> Self {
        Self { stretch: Stretch(0), state: PassiveState::up() }
    }

    pub(super) fn stretch(&self) -> Stretch {
        self.stretch
    }

    pub(super) fn at(&self, now: Instant) -> Health {
        match self.state {
            PassiveState::Up { .. } => Health::Up,
            PassiveState::Out { until, .. } if now < until => Health::Out { until },
            PassiveState::Out { .. } => Health::Trial,
        }
    }

    /// Whether a request may go here without force: the backend is up, or due for a trial that nobody has begun.
    pub(super) fn is_ready(&self, now: Instant) -> bool {
        match self.state {
            PassiveState::Up { .. } => true,
            PassiveState::Out { until, is_on_trial } => now >= until && !is_on_trial,
        }
    }

    /// A request goes here. If a trial is due, the request is the trial. If the backend is out and no trial is due, the
    /// request is forced, because no other backend was left.
    pub(super) fn begin(&mut self, now: Instant) -> Ticket {
        let is_trial = !self.stretch.is_up() && self.is_ready(now);
        if let PassiveState::Out { is_on_trial, .. } = &mut self.state
            && is_trial
        {
            *is_on_trial = true;
        }
        Ticket { stretch: self.stretch, is_trial }
    }

    /// The backend answered the request. If the request was a trial or forced, its outage ends.
    pub(super) fn succeeded(&mut self, ticket: &Ticket) -> Option<Transition> {
        if ticket.stretch != self.stretch || self.stretch.is_up() {
            return None;
        }
        self.change_state(PassiveState::up());
        Some(Transition::Back)
    }

    /// The request failed.
    ///
    /// 1. While the backend is up, the failure joins the window.
    /// 2. If the request was the trial, the backend stays out for another `fail_timeout`.
    /// 3. If the request was forced, nothing changes: such failures must not delay the next trial.
    pub(super) fn failed(&mut self, ticket: &Ticket, limits: OutageLimits, now: Instant) -> Option<Transition> {
        if ticket.stretch != self.stretch {
            return None;
        }
        match &mut self.state {
            PassiveState::Up { failures } => {
                if !is_too_many(failures, limits, now) {
                    return None;
                }
                self.change_state(PassiveState::out(limits, now));
                Some(Transition::Out)
            }
            PassiveState::Out { .. } => {
                if ticket.is_trial {
                    self.state = PassiveState::out(limits, now);
                }
                None
            }
        }
    }

    /// The request ended without an outcome. A trial gives its slot back, and the next request is the trial.
    pub(super) fn abandoned(&mut self, ticket: &Ticket) {
        if let PassiveState::Out { is_on_trial, .. } = &mut self.state
            && ticket.is_trial
            && ticket.stretch == self.stretch
        {
            *is_on_trial = false;
        }
    }

    /// Moves between up and out. No other place does, so an even stretch always means up.
    fn change_state(&mut self, state: PassiveState) {
        self.stretch = self.stretch.next();
        self.state = state;
    }
}

impl PassiveState {
    fn up() -> Self {
        Self::Up { failures: Vec::new() }
    }

    fn out(limits: OutageLimits, now: Instant) -> Self {
        Self::Out { until: now + limits.fail_timeout, is_on_trial: false }
    }
}

/// Adds a failure to the window; returns whether the window now has `max_fails`.
fn is_too_many(failures: &mut Vec<Instant>, limits: OutageLimits, now: Instant) -> bool {
    if limits.max_fails == 0 {
        return false;
    }
    failures.retain(|at| now.saturating_duration_since(*at) <= limits.fail_timeout);
    failures.push(now);
    failures.len() >= limits.max_fails as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    fn limits() -> OutageLimits {
        OutageLimits::new(3, TIMEOUT)
    }

    /// One more request that fails at once.
    fn fail(health: &mut PassiveHealth, limits: OutageLimits, now: Instant) -> Option<Transition> {
        let ticket = health.begin(now);
        health.failed(&ticket, limits, now)
    }

    /// A backend that went out at `now`.
    fn out(now: Instant) -> PassiveHealth {
        let mut health = PassiveHealth::new();
        for expected in [None, None, Some(Transition::Out)] {
            assert_eq!(fail(&mut health, limits(), now), expected);
        }
        health
    }

    #[test]
    fn max_fails_within_the_window_take_it_out_for_fail_timeout() {
        let start = Instant::now();
        let health = out(start);
        let until = start + TIMEOUT;
        assert_eq!(health.at(start), Health::Out { until });
        let just_before = until - Duration::from_nanos(1);
        assert_eq!(health.at(just_before), Health::Out { until });
        assert!(!health.is_ready(just_before));
        assert_eq!(health.at(until), Health::Trial);
        assert!(health.is_ready(until));
    }

    #[test]
    fn the_window_slides_whatever_succeeds_between() {
        let start = Instant::now();
        let mut health = PassiveHealth::new();
        let mut fail_at = |seconds| {
            let now = start + Duration::from_secs(seconds);
            let fine = health.begin(now);
            assert_eq!(health.succeeded(&fine), None);
            fail(&mut health, limits(), now)
        };
        assert_eq!(fail_at(0), None);
        assert_eq!(fail_at(20), None);
        // The failure at 0 is 31 s old, so two failures are left.
        assert_eq!(fail_at(31), None);
        // The failures at 20 (exactly 30 s old), 31 and 50 make three.
        assert_eq!(fail_at(50), Some(Transition::Out));
    }

    #[test]
    fn max_fails_of_zero_never_takes_it_out_and_remembers_nothing() {
        let now = Instant::now();
        let mut health = PassiveHealth::new();
        for _ in 0..10_000 {
            assert_eq!(fail(&mut health, OutageLimits::new(0, TIMEOUT), now), None);
        }
        let PassiveState::Up { failures } = &health.state else { panic!("out") };
        assert!(failures.is_empty());
    }

    #[test]
    fn absurd_limits_are_bounded_and_do_not_panic() {
        let now = Instant::now();
        let mut health = PassiveHealth::new();
        let limits = OutageLimits::new(u32::MAX, Duration::MAX);
        for _ in 1..MAX_FAILS {
            assert_eq!(fail(&mut health, limits, now), None);
        }
        assert_eq!(fail(&mut health, limits, now), Some(Transition::Out));
    }

    #[test]
    fn one_trial_at_a_time_and_its_success_brings_it_back() {
        let start = Instant::now();
        let mut health = out(start);
        let now = start + TIMEOUT;
        let trial = health.begin(now);
        assert!(trial.is_trial);
        assert_eq!(health.at(now), Health::Trial);
        assert!(!health.is_ready(now));
        assert!(!health.begin(now).is_trial);
        assert_eq!(health.succeeded(&trial), Some(Transition::Back));
        assert_eq!(health.at(now), Health::Up);
    }

    #[test]
    fn what_failed_before_an_outage_does_not_count_after_it() {
        let start = Instant::now();
        let mut health = out(start);
        let now = start + TIMEOUT;
        let trial = health.begin(now);
        health.succeeded(&trial);
        assert_eq!(fail(&mut health, limits(), now), None);
        assert_eq!(health.at(now), Health::Up);
    }

    #[test]
    fn failed_trial_starts_another_fail_timeout_from_the_failure() {
        let start = Instant::now();
        let mut health = out(start);
        let trial = health.begin(start + TIMEOUT);
        let failed = start + TIMEOUT + Duration::from_secs(5);
        assert_eq!(health.failed(&trial, limits(), failed), None);
        let until = failed + TIMEOUT;
        assert_eq!(health.at(failed), Health::Out { until });
        assert!(health.begin(until).is_trial);
    }

    #[test]
    fn abandoned_trial_frees_the_slot_and_changes_nothing_else() {
        let start = Instant::now();
        let mut health = out(start);
        let now = start + TIMEOUT;
        let trial = health.begin(now);
        let forced = health.begin(now);
        health.abandoned(&forced);
        assert!(!health.is_ready(now));
        health.abandoned(&trial);
        assert_eq!(health.at(now), Health::Trial);
        assert!(health.is_ready(now));
        assert!(health.begin(now).is_trial);
    }

    #[test]
    fn success_of_a_request_begun_before_the_outage_clears_nothing() {
        let now = Instant::now();
        let mut health = PassiveHealth::new();
        let early = health.begin(now);
        for _ in 0..3 {
            fail(&mut health, limits(), now);
        }
        assert_eq!(health.succeeded(&early), None);
        let until = now + TIMEOUT;
        assert_eq!(health.at(now), Health::Out { until });
    }

    #[test]
    fn outcomes_of_an_earlier_outage_or_uptime_say_nothing_of_this_one() {
        let start = Instant::now();
        let mut health = PassiveHealth::new();
        let strict = OutageLimits::new(1, TIMEOUT);
        let (first, second) = (health.begin(start), health.begin(start));
        assert_eq!(health.failed(&first, strict, start), Some(Transition::Out));
        let (forced, late) = (health.begin(start), health.begin(start));
        assert_eq!(health.succeeded(&forced), Some(Transition::Back));
        // This request began before the backend went out, and fails after it came back.
        assert_eq!(health.failed(&second, strict, start), None);
        assert_eq!(health.at(start), Health::Up);
        assert_eq!(fail(&mut health, strict, start), Some(Transition::Out));
        // This request began in the outage before this one.
        assert_eq!(health.succeeded(&late), None);
        assert_ne!(health.at(start), Health::Up);
    }

    #[test]
    fn forced_success_brings_it_back_and_forced_failure_does_not_put_off_the_trial() {
        let start = Instant::now();
        let mut health = out(start);
        let (bad, good) = (health.begin(start), health.begin(start));
        assert!(!bad.is_trial);
        let later = start + Duration::from_secs(9);
        assert_eq!(health.failed(&bad, limits(), later), None);
        assert!(health.is_ready(start + TIMEOUT));
        assert_eq!(health.succeeded(&good), Some(Transition::Back));
    }

    #[test]
    fn forced_success_overtakes_a_running_trial_whose_late_outcome_is_void() {
        let start = Instant::now();
        let mut health = out(start);
        let now = start + TIMEOUT;
        let (trial, forced) = (health.begin(now), health.begin(now));
        assert_eq!(health.succeeded(&forced), Some(Transition::Back));
        assert_eq!(health.failed(&trial, OutageLimits::new(1, TIMEOUT), now), None);
        assert_eq!(health.at(now), Health::Up);
    }
}
