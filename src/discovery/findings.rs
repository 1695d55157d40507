//! What was found at each place, and how old that is.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{BackendEntry, FindingPlace, merge};
use crate::balance::BackendSettings;

/// What is known of each place.
#[derive(Debug, Default)]
pub struct Findings {
    /// A lock, held for no file and no wait.
    known: Mutex<HashMap<FindingPlace, Finding>>,
}

/// What is known of one place.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The backends that serve; `None` = nothing was found there yet.
    pub backends: Option<Vec<BackendSettings>>,
    /// Why the place could not be looked into the last time; `None` = it could.
    pub failure: Option<String>,
    /// When the place was last looked into with success, or when its name first came up.
    since: Instant,
}

/// What a look into a place has brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// What was known before.
    Nothing,
    /// Other backends.
    Changed,
    /// The backends of before, after looks that failed.
    Mended,
    /// A look that failed otherwise than the one before. The backends stay.
    Failed,
}

impl Findings {
    /// Remembers a place from now on. Nothing is found there yet, unless the place is known.
    pub fn remember(&self, place: &FindingPlace, now: Instant) {
        let new = || Finding { backends: None, failure: None, since: now };
        self.known().entry(place.clone()).or_insert_with(new);
    }

    /// Whether a place is remembered.
    pub fn has(&self, place: &FindingPlace) -> bool {
        self.known().contains_key(place)
    }

    /// Forgets all places but those that `stays` names.
    pub fn forget_gone(&self, stays: impl Fn(&FindingPlace) -> bool) {
        self.known().retain(|place, _| stays(place));
    }

    /// Notes what a look into a place has brought. A failure changes no backends. A place that was forgotten meanwhile stays
    /// forgotten.
    pub fn note(&self, place: &FindingPlace, looked: Result<Vec<BackendSettings>, String>, now: Instant) -> News {
        let mut known = self.known();
        let Some(finding) = known.get_mut(place) else { return News::Nothing };
        match looked {
            Ok(backends) => {
                finding.since = now;
                let had_failed = finding.failure.take().is_some();
                if finding.backends.as_ref() != Some(&backends) {
                    finding.backends = Some(backends);
                    News::Changed
                } else if had_failed {
                    News::Mended
                } else {
                    News::Nothing
                }
            }
            Err(failure) if finding.failure.as_ref() == Some(&failure) => News::Nothing,
            Err(failure) => {
                finding.failure = Some(failure);
                News::Failed
            }
        }
    }

    /// The backends of all entries of an upstream.
    pub fn backends(&self, entries: &[BackendEntry]) -> Vec<BackendSettings> {
        let known = self.known();
        merge(entries, |place| known.get(place).and_then(|finding| finding.backends.clone()).unwrap_or_default())
    }

    /// The kind and name of each place, and how old what is known of it is.
    pub fn staleness(&self, now: Instant) -> Vec<(&'static str, String, Duration)> {
        let known = self.known();
        known.iter().map(|(place, finding)| (place.kind(), place.name(), finding.staleness(now))).collect()
    }

    /// What is known of a place.
    pub fn of(&self, place: &FindingPlace) -> Option<Finding> {
        self.known().get(place).cloned()
    }

    fn known(&self) -> MutexGuard<'_, HashMap<FindingPlace, Finding>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Finding {
    /// How old the backends are, or how long nothing has been found; zero if the last look was a success.
    #[must_use]
    pub fn staleness(&self, now: Instant) -> Duration {
        match (&self.backends, &self.failure) {
            (Some(_), None) => Duration::ZERO,
            _ => now.saturating_duration_since(self.since),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::{super::tests::backend, *};

    fn place() -> FindingPlace {
        FindingPlace::File("backends.yaml".into())
    }

    #[test]
    fn a_failure_keeps_the_backends_and_tells_itself_once() {
        let (findings, now) = (Findings::default(), Instant::now());
        let list = || vec![backend("10.0.0.1:80", 1)];
        let later = |seconds| now + Duration::from_secs(seconds);
        findings.remember(&place(), now);
        let news = [
            findings.note(&place(), Err("gone".into()), later(1)),
            findings.note(&place(), Ok(list()), later(2)),
            findings.note(&place(), Ok(list()), later(3)),
            findings.note(&place(), Err("gone".into()), later(4)),
            findings.note(&place(), Err("gone".into()), later(5)),
            findings.note(&place(), Err("wrong".into()), later(6)),
        ];
        assert_eq!(news, [News::Failed, News::Changed, News::Nothing, News::Failed, News::Nothing, News::Failed]);
        assert_eq!(findings.backends(&[BackendEntry::Found(place())]), list());
        assert_eq!(findings.of(&place()).map(|finding| finding.staleness(later(63))), Some(Duration::from_secs(60)));
        assert_eq!(findings.note(&place(), Ok(list()), later(64)), News::Mended);
        assert_eq!(findings.of(&place()).map(|finding| finding.staleness(later(99))), Some(Duration::ZERO));
        assert_eq!(findings.note(&place(), Ok(Vec::new()), later(100)), News::Changed);
        assert_eq!(findings.backends(&[BackendEntry::Found(place())]), []);
    }

    #[test]
    fn what_was_never_found_is_as_old_as_its_name() {
        let (findings, now) = (Findings::default(), Instant::now());
        findings.remember(&place(), now);
        let age = |later| findings.of(&place()).map(|finding| finding.staleness(now + later));
        assert_eq!(age(Duration::from_secs(7)), Some(Duration::from_secs(7)));
    }

    #[test]
    fn a_place_keeps_what_is_known_until_it_is_forgotten() {
        let (findings, now) = (Findings::default(), Instant::now());
        findings.remember(&place(), now);
        findings.note(&place(), Ok(vec![backend("10.0.0.1:80", 1)]), now);
        findings.remember(&place(), now);
        findings.forget_gone(|kept| *kept == place());
        assert_eq!(findings.backends(&[BackendEntry::Found(place())]).len(), 1);
        findings.forget_gone(|_| false);
        assert_eq!(findings.note(&place(), Ok(Vec::new()), now), News::Nothing);
        assert!(!findings.has(&place()));
    }

    proptest! {
        /// Whatever comes, the backends are those of the last success.
        #[test]
        fn the_last_success_counts(looks in vec(prop::option::of(vec(0..4_u8, 0..3)), 0..20)) {
            let (findings, now) = (Findings::default(), Instant::now());
            findings.remember(&place(), now);
            let list = |lasts: &[u8]| -> Vec<_> {
                lasts.iter().map(|last| backend(&format!("10.0.0.{last}:80"), 1)).collect()
            };
            let mut expected = None;
            for look in looks {
                let before = expected.clone();
                let news = match &look {
                    Some(lasts) => {
                        expected = Some(list(lasts));
                        findings.note(&place(), Ok(list(lasts)), now)
                    }
                    None => findings.note(&place(), Err("gone".into()), now),
                };
                prop_assert_eq!(news == News::Changed, expected != before);
                prop_assert_eq!(findings.of(&place()).and_then(|finding| finding.backends), expected.clone());
            }
        }
    }
}
