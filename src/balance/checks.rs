//! What active checks say of one backend: a state machine over their results, without socket or clock.

use std::{
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use super::health::Transition;

/// One active check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// When it came to its end.
    pub at: Instant,
    /// Why it failed, in a few words; `None` = it passed.
    pub failure: Option<String>,
}

/// What the file says of an upstream's active checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked of the backend.
    pub kind: CheckKind,
    /// The `Host` it is asked with; `None` = its address.
    pub host: Option<String>,
    /// From the end of a check to the next, more than 0.
    pub interval: Duration,
    /// Up to so much more, at random, so that the checks of many backends and proxies do not come together.
    pub jitter: Duration,
    /// For the whole of a check, more than 0.
    pub timeout: Duration,
    /// Checks in a row that pass, until a backend that is out is back (HAProxy: `rise`); 0 counts as 1.
    pub rise: u32,
    /// Checks in a row that fail, until a backend that is up is out (HAProxy: `fall`); 0 counts as 1.
    pub fall: u32,
    /// What becomes of the sessions of a backend that went out.
    pub on_down: OnDown,
}

/// What a check asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckKind {
    /// That it takes a connection.
    Tcp,
    /// That it answers a GET with one of these statuses.
    Http {
        /// Path and query.
        path: String,
        /// Any of these.
        statuses: Vec<RangeInclusive<u16>>,
    },
    /// That it completes a handshake and answers a Ping.
    WebSocket {
        /// Path and query.
        path: String,
    },
}

/// What becomes of the sessions of a backend whose checks fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDown {
    /// They stay as long as they live.
    Keep,
    /// They are told to come back elsewhere.
    Drain,
}

/// The checks of one backend. A backend that was never checked is up: until the checks know better, its requests tell.
#[derive(Debug, Default)]
pub(super) struct Checks {
    is_failing: bool,
    /// How many in a row spoke against how it stands.
    against: u32,
    last: Option<Check>,
}

impl Checks {
    pub(super) fn is_failing(&self) -> bool {
        self.is_failing
    }

    pub(super) fn last(&self) -> Option<&Check> {
        self.last.as_ref()
    }

    /// One more check came to its end.
    pub(super) fn observe(&mut self, check: Check, rise: u32, fall: u32) -> Option<Transition> {
        let failed = check.failure.is_some();
        self.last = Some(check);
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

    /// What becomes of a backend's checks: `p` passes, `f` fails.
    fn transitions(results: &str) -> Vec<Option<Transition>> {
        let at = Instant::now();
        let mut checks = Checks::default();
        let check = |result| Check { at, failure: (result == 'f').then(|| "refused".to_owned()) };
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
    fn a_backend_that_was_never_checked_is_up_and_its_first_pass_is_no_transition() {
        assert!(!Checks::default().is_failing());
        assert_eq!(transitions("ppp"), [None; 3]);
    }

    proptest! {
        /// Out and back take turns, and each comes with exactly its number of equal results before it.
        #[test]
        fn transitions_follow_their_number_of_equal_results(
            results in vec(any::<bool>(), 0..60), rise in 0..5_u32, fall in 0..5_u32,
        ) {
            let at = Instant::now();
            let mut checks = Checks::default();
            let mut expected = Transition::Out;
            let mut since = 0;
            for (index, passed) in results.iter().enumerate() {
                let check = Check { at, failure: (!passed).then(String::new) };
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
