//! What the active checks say of one backend: a state machine over their results, without socket or clock.

use std::{
    mem,
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use super::health::Transition;

/// One active check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckResult {
    /// When the check ended.
    pub at: Instant,
    /// Why it failed, in a few words; `None` = it passed.
    pub failure: Option<String>,
}

/// What the file says of an upstream's active checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// What a check asks of the backend.
    pub kind: CheckKind,
    /// The `Host` of the check's request; `None` = the backend's address.
    pub host: Option<String>,
    /// The time from the end of a check to the start of the next one, more than 0.
    pub interval: Duration,
    /// A random time up to this is added to `interval`, so that the checks of many backends and proxies do not come at
    /// the same moment.
    pub jitter: Duration,
    /// The time that a whole check may take, more than 0.
    pub timeout: Duration,
    /// How many checks in a row must pass before a backend that is out is back (HAProxy: `rise`); 0 counts as 1.
    pub rise: u32,
    /// How many checks in a row must fail before a backend that is up is out (HAProxy: `fall`); 0 counts as 1.
    pub fall: u32,
    /// What happens to the sessions of a backend that went out.
    pub on_down: OnDown,
}

/// The condition under which a check passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckKind {
    /// The backend accepts a connection.
    Tcp,
    /// The backend answers a GET with one of these statuses.
    Http {
        /// Path and query.
        path: String,
        /// The ranges of statuses that pass.
        statuses: Vec<RangeInclusive<u16>>,
    },
    /// The backend completes a handshake and answers a Ping.
    WebSocket {
        /// Path and query.
        path: String,
    },
}

/// What happens to the sessions of a backend whose checks fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDown {
    /// The sessions stay as long as they live.
    Keep,
    /// Both ends of the sessions are asked to close, so that the clients come back at another backend.
    Drain,
}

/// The checks of one backend. A backend that was never checked passes: only its requests tell whether it is up. If its first
/// check is awaited, it does not pass before that check, and the check alone decides.
#[derive(Debug, Default)]
pub(super) struct ActiveHealth {
    is_awaiting: bool,
    is_failing: bool,
    /// How many results in a row were the opposite of `is_failing`.
    against: u32,
    last: Option<CheckResult>,
}

impl ActiveHealth {
    /// The checks of a backend that does not pass before its first check.
    pub(super) fn awaiting() -> Self {
        Self { is_awaiting: true, ..Self::default() }
    }

    /// Whether the first check is awaited.
    pub(super) fn is_awaiting(&self) -> bool {
        self.is_awaiting
    }

    /// Whether the checks keep the backend out.
    pub(super) fn is_failing(&self) -> bool {
        self.is_failing || self.is_awaiting
    }

    pub(super) fn last(&self) -> Option<&CheckResult> {
        self.last.as_ref()
    }

    /// One more check ended.
    pub(super) fn observe(&mut self, check: CheckResult, rise: u32, fall: u32) -> Option<Transition> {
        let failed = check.failure.is_some();
        self.last = Some(check);
        if mem::take(&mut self.is_awaiting) {
            self.is_failing = failed;
            return Some(if failed { Transition::Out } else { Transition::Back });
        }
        if failed == self.is_failing {
            self.against = 0;
            return None;
        }
        self.against = self.against.saturating_add(1);
        let (needed, transition) = match failed {
            true => (fall, Transition::Out),
            false => (rise, Transition::Back),
        };
        if self.against < needed {
            return None;
        }
        self.is_failing = failed;
        self.against = 0;
        Some(transition)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// The transitions after these results of checks: `p` passes, `f` fails.
    fn transitions(results: &str) -> Vec<Option<Transition>> {
        let at = Instant::now();
        let mut checks = ActiveHealth::default();
        let check = |result| CheckResult { at, failure: (result == 'f').then(|| "refused".to_owned()) };
        results.chars().map(|result| checks.observe(check(result), 2, 3)).collect()
    }

    #[test]
    fn fall_failures_in_a_row_take_it_out_and_rise_passes_in_a_row_bring_it_back() {
        let (out, back) = (Some(Transition::Out), Some(Transition::Back));
        assert_eq!(transitions("fff"), [None, None, out]);
        assert_eq!(transitions("fffpp"), [None, None, out, None, back]);
        assert_eq!(transitions("fffpfpp"), [None, None, out, None, None, None, back]);
    }

    #[test]
    fn one_pass_between_begins_the_count_of_failures_anew() {
        assert_eq!(transitions("ffpffpff"), [None; 8]);
    }

    #[test]
    fn a_first_check_that_is_awaited_decides_alone() {
        let at = Instant::now();
        let check = |failure: Option<&str>| CheckResult { at, failure: failure.map(str::to_owned) };
        let mut passes = ActiveHealth::awaiting();
        assert!(passes.is_failing() && passes.is_awaiting());
        assert_eq!(passes.observe(check(None), 2, 3), Some(Transition::Back));
        assert!(!passes.is_failing() && !passes.is_awaiting());
        assert_eq!(passes.observe(check(Some("refused")), 2, 3), None);
        let mut fails = ActiveHealth::awaiting();
        assert_eq!(fails.observe(check(Some("refused")), 2, 3), Some(Transition::Out));
        assert!(fails.is_failing() && !fails.is_awaiting());
        assert_eq!(fails.observe(check(None), 2, 3), None);
        assert_eq!(fails.observe(check(None), 2, 3), Some(Transition::Back));
    }

    #[test]
    fn a_backend_that_was_never_checked_is_up_and_its_first_pass_is_no_transition() {
        assert!(!ActiveHealth::default().is_failing());
        assert_eq!(transitions("ppp"), [None; 3]);
    }

    proptest! {
        /// The transitions out and back alternate. Each comes after exactly its number of equal results.
        #[test]
        fn transitions_follow_their_number_of_equal_results(
            results in vec(any::<bool>(), 0..60), rise in 0..5_u32, fall in 0..5_u32,
        ) {
            let at = Instant::now();
            let mut checks = ActiveHealth::default();
            let mut expected = Transition::Out;
            let mut since = 0;
            for (index, passed) in results.iter().enumerate() {
                let check = CheckResult { at, failure: (!passed).then(String::new) };
                let before = checks.is_failing();
                let Some(transition) = checks.observe(check, rise, fall) else {
                    prop_assert_eq!(checks.is_failing(), before);
                    continue;
                };
                prop_assert_eq!(transition, expected);
                let (needed, passes) = match transition {
                    Transition::Out => (fall, false),
                    Transition::Back => (rise, true),
                };
                let row = &results[(index + 1).saturating_sub(needed as usize).max(since)..=index];
                prop_assert!(row.len() >= needed as usize && row.iter().all(|result| *result == passes));
                prop_assert_eq!(checks.is_failing(), transition == Transition::Out);
                expected = if passes { Transition::Out } else { Transition::Back };
                since = index + 1;
            }
        }
    }
}
