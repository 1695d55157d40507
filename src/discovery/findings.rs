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
    pub(super) since: Instant,
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
    /// Remembers a place from now on. Nothing is found there yet, unless the place is known. What is known of a name that is
    /// looked up in another way from now on holds until it has been looked up; `stays` says which places are named further on.
    pub fn remember(&self, place: &FindingPlace, stays: impl Fn(&FindingPlace) -> bool, now: Instant) {
        let mut known = self.known();
        if !known.contains_key(place) {
            let before = known.iter().find(|(other, _)| other.names_the_same(place) && !stays(other));
            let before = before.map(|(_, finding)| Finding {
                backends: finding.backends.as_ref().map(|backends| place.allowed(backends)),
                ..finding.clone()
            });
            let new = Finding { backends: None, failure: None, since: now };
            known.insert(place.clone(), before.unwrap_or(new));
        }
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

    /// Notes what the answers about the names of a place say together. `backends` of `None`: nothing yet. `failure`: why the
    /// last question failed, and since when nothing has been heard of what it asks.
    pub fn note_names(
        &self,
        place: &FindingPlace,
        backends: Option<Vec<BackendSettings>>,
        failure: Option<(String, Instant)>,
        now: Instant,
    ) -> News {
        let mut known = self.known();
        let Some(finding) = known.get_mut(place) else { return News::Nothing };
        let (failure, since) = failure.unzip();
        if backends.is_some() {
            finding.since = since.unwrap_or(now);
        }
        let had = std::mem::replace(&mut finding.failure, failure);
        let is_other = backends.is_some() && finding.backends != backends;
        if is_other {
            finding.backends = backends;
        }
        match (is_other, had, &finding.failure) {
            (true, _, _) => News::Changed,
            (false, None, Some(_)) => News::Failed,
            (false, Some(_), None) => News::Mended,
            _ => News::Nothing,
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

    use super::{
        super::{Family, LookupSettings, NameKind, NamePlace, tests::backend},
        *,
    };

    fn place() -> FindingPlace {
        FindingPlace::File("backends.yaml".into())
    }

    fn entry() -> BackendEntry {
        BackendEntry::Found { place: place(), terms: None }
    }

    #[test]
    fn a_failure_keeps_the_backends_and_tells_itself_once() {
        let (findings, now) = (Findings::default(), Instant::now());
        let list = || vec![backend("10.0.0.1:80", 1)];
        let later = |seconds| now + Duration::from_secs(seconds);
        findings.remember(&place(), |_| false, now);
        let news = [
            findings.note(&place(), Err("gone".into()), later(1)),
            findings.note(&place(), Ok(list()), later(2)),
            findings.note(&place(), Ok(list()), later(3)),
            findings.note(&place(), Err("gone".into()), later(4)),
            findings.note(&place(), Err("gone".into()), later(5)),
            findings.note(&place(), Err("wrong".into()), later(6)),
        ];
        assert_eq!(news, [News::Failed, News::Changed, News::Nothing, News::Failed, News::Nothing, News::Failed]);
        assert_eq!(findings.backends(&[entry()]), list());
        assert_eq!(findings.of(&place()).map(|finding| finding.staleness(later(63))), Some(Duration::from_secs(60)));
        assert_eq!(findings.note(&place(), Ok(list()), later(64)), News::Mended);
        assert_eq!(findings.of(&place()).map(|finding| finding.staleness(later(99))), Some(Duration::ZERO));
        assert_eq!(findings.note(&place(), Ok(Vec::new()), later(100)), News::Changed);
        assert_eq!(findings.backends(&[entry()]), []);
    }

    #[test]
    fn what_was_never_found_is_as_old_as_its_name() {
        let (findings, now) = (Findings::default(), Instant::now());
        findings.remember(&place(), |_| false, now);
        let age = |later| findings.of(&place()).map(|finding| finding.staleness(now + later));
        assert_eq!(age(Duration::from_secs(7)), Some(Duration::from_secs(7)));
    }

    #[test]
    fn a_place_keeps_what_is_known_until_it_is_forgotten() {
        let (findings, now) = (Findings::default(), Instant::now());
        findings.remember(&place(), |_| false, now);
        findings.note(&place(), Ok(vec![backend("10.0.0.1:80", 1)]), now);
        findings.remember(&place(), |_| false, now);
        findings.forget_gone(|kept| *kept == place());
        assert_eq!(findings.backends(&[entry()]).len(), 1);
        findings.forget_gone(|_| false);
        assert_eq!(findings.note(&place(), Ok(Vec::new()), now), News::Nothing);
        assert!(findings.of(&place()).is_none());
    }

    #[test]
    fn a_name_that_is_looked_up_in_another_way_keeps_what_is_known_until_it_answers() {
        let looked_up = |most, host: &str| {
            let kind = NameKind::Host { host: host.into(), port: 80 };
            FindingPlace::Names(NamePlace {
                kind,
                settings: LookupSettings { most, family: Family::Ipv4, ..LookupSettings::default() },
            })
        };
        let (findings, now) = (Findings::default(), Instant::now());
        let list = || Some(vec![backend("10.0.0.1:80", 1)]);
        findings.remember(&looked_up(1, "chat"), |_| false, now);
        let both = Some(vec![backend("10.0.0.1:80", 1), backend("[2001:db8::1]:80", 1)]);
        findings.note_names(&looked_up(1, "chat"), both, None, now);
        for (place, expected) in
            [(looked_up(2, "chat"), list()), (looked_up(2, "Chat"), list()), (looked_up(2, "other"), None)]
        {
            findings.remember(&place, |_| false, now);
            assert_eq!(findings.of(&place).and_then(|finding| finding.backends), expected, "{place}");
        }
        // Another upstream has the same name, and looks it up in its own way.
        findings.remember(&looked_up(3, "chat"), |_| true, now);
        assert_eq!(findings.of(&looked_up(3, "chat")).and_then(|finding| finding.backends), None);
        let other = Some(vec![backend("10.0.0.2:80", 1)]);
        assert_eq!(findings.note_names(&looked_up(2, "chat"), other, None, now), News::Changed);
    }

    proptest! {
        /// Whatever comes, the backends are those of the last success.
        #[test]
        fn the_last_success_counts(looks in vec(prop::option::of(vec(0..4_u8, 0..3)), 0..20)) {
            let (findings, now) = (Findings::default(), Instant::now());
            findings.remember(&place(), |_| false, now);
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
