//! What one question to the DNS has brought, and when to ask it again.
//!
//! | answer | what serves | asked again |
//! |---|---|---|
//! | records | these | after their TTL, within `min_ttl` and `max_ttl` |
//! | none, or no such name | the records of before; none once all answers of `empty_after` have said so | after [`SOON`], or `min_ttl` if that is longer |
//! | none, while the other family of the name has some, and nothing is left to lose | none | when the other family is |
//! | a failure | the records of before, for ever | after [`SOON`], doubled with each failure, to [`LATEST`]; to [`LATEST_AT_FIRST`] before the first success |

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use super::LookupSettings;

/// From a failure, or an answer without records, to the next question.
const SOON: Duration = Duration::from_secs(1);

/// The longest time from a failure to the next question.
const LATEST: Duration = Duration::from_secs(30);

/// The same before the first success, when nothing can serve yet.
const LATEST_AT_FIRST: Duration = Duration::from_secs(5);

/// The part of a wait that chance may take away, so that the processes of a fleet do not ask together.
const JITTER: f64 = 0.1;

/// What came of one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnsAnswer<R> {
    /// Records, never none, and how long they hold.
    Records {
        /// The records, in whatever order they came.
        records: BTreeSet<R>,
        /// The shortest TTL among them.
        ttl: Duration,
    },
    /// There is no such name, or it has no such records.
    Empty,
    /// The question got no answer that says anything.
    Failed(String),
}

/// The records of one name and one type.
#[derive(Debug, Clone)]
pub(super) struct RecordList<R> {
    /// The records that serve; `None` = no answer has come yet that says which.
    records: Option<BTreeSet<R>>,
    /// Since when every answer has been without records.
    empty_since: Option<Instant>,
    /// Failures in a row.
    failures: u32,
    failure: Option<String>,
    /// Whether a first answer, or a first failure, has come.
    is_settled: bool,
    /// When an answer last said something, or when the question came up.
    since: Instant,
    /// From the last answer to the next question.
    wait: Duration,
    /// `None` = the question is asked now.
    ask_at: Option<Instant>,
}

impl<R: Ord + Clone> RecordList<R> {
    /// A question that is to be asked at once.
    pub(super) const fn new(now: Instant) -> Self {
        let (failures, failure, is_settled, wait) = (0, None, false, Duration::ZERO);
        Self { records: None, empty_since: None, failures, failure, is_settled, since: now, wait, ask_at: Some(now) }
    }

    /// Begins with what was known before the first question: records that serve until an answer says others, and a failure that
    /// lasts since this time. No records: nothing was known.
    pub(super) fn remember(&mut self, records: BTreeSet<R>, failure: Option<&(String, Instant)>) {
        self.records = (!records.is_empty()).then_some(records);
        if let Some((failure, since)) = failure {
            self.failure = Some(failure.clone());
            self.since = *since;
        }
    }

    /// The records that serve; `None` = nothing is known yet.
    pub(super) const fn records(&self) -> Option<&BTreeSet<R>> {
        self.records.as_ref()
    }

    /// Why the last question failed; `None` = it did not.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// When an answer last said something; `None` = the last answer did.
    pub(super) fn stale_since(&self) -> Option<Instant> {
        (self.records.is_none() || self.failure.is_some()).then_some(self.since)
    }

    /// Whether a first answer, or a first failure, has come.
    pub(super) const fn is_settled(&self) -> bool {
        self.is_settled
    }

    /// When the question is to be asked; `None` = it is asked now.
    pub(super) const fn ask_at(&self) -> Option<Instant> {
        self.ask_at
    }

    /// The question is being asked if it is due. Questions never overlap.
    pub(super) fn begin_if_due(&mut self, now: Instant) -> bool {
        let is_due = self.ask_at.is_some_and(|at| at <= now);
        if is_due {
            self.ask_at = None;
        }
        is_due
    }

    /// Notes what came of the question. `chance`: from 0 to 1.
    pub(super) fn note(&mut self, answer: DnsAnswer<R>, settings: &LookupSettings, now: Instant, chance: f64) {
        self.is_settled = true;
        let wait = match answer {
            DnsAnswer::Records { records, ttl } if !records.is_empty() => {
                self.succeed(now);
                self.empty_since = None;
                self.records = Some(records);
                sooner(ttl.min(settings.max_ttl), chance).max(settings.min_ttl)
            }
            DnsAnswer::Records { .. } | DnsAnswer::Empty => {
                self.succeed(now);
                let since = *self.empty_since.get_or_insert(now);
                if now.saturating_duration_since(since) >= settings.empty_after {
                    self.records = Some(BTreeSet::new());
                }
                SOON.max(settings.min_ttl)
            }
            DnsAnswer::Failed(failure) => {
                self.failures = self.failures.saturating_add(1);
                self.failure = Some(failure);
                let latest = if self.records.is_some() { LATEST } else { LATEST_AT_FIRST };
                let doubled = SOON.saturating_mul(2_u32.saturating_pow(self.failures.saturating_sub(1).min(10)));
                sooner(doubled.min(latest), chance)
            }
        };
        self.wait = wait;
        self.ask_at = Some(now + wait);
    }

    /// Sets the pace beside the other family of the same name, after an answer to this question. A family that has no records
    /// to lose is asked for as seldom as the one that has some, and again soon when that one has none any more.
    pub(super) fn keep_pace(&mut self, other: &mut Self, now: Instant) {
        if self.empty_since.is_none() || self.failure.is_some() {
            return;
        }
        match (self.has_records(), other.has_records()) {
            (false, true) => self.ask_at = Some(now + self.wait.max(other.wait)),
            (_, false) if other.failure.is_none() => other.ask_at = other.ask_at.map(|at| at.min(now + self.wait)),
            // Failures have a pace of their own.
            (_, false) | (true, true) => {}
        }
    }

    fn has_records(&self) -> bool {
        self.records.as_ref().is_some_and(|records| !records.is_empty())
    }

    fn succeed(&mut self, now: Instant) {
        self.failures = 0;
        self.failure = None;
        self.since = now;
    }
}

/// A little less than this time.
fn sooner(time: Duration, chance: f64) -> Duration {
    time.mul_f64(1.0 - JITTER * chance.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn settings() -> LookupSettings {
        LookupSettings {
            min_ttl: Duration::from_secs(1),
            max_ttl: Duration::from_secs(300),
            empty_after: Duration::from_secs(30),
            ..LookupSettings::default()
        }
    }

    fn records(numbers: &[u8], ttl: u64) -> DnsAnswer<u8> {
        DnsAnswer::Records { records: numbers.iter().copied().collect(), ttl: Duration::from_secs(ttl) }
    }

    fn failed() -> DnsAnswer<u8> {
        DnsAnswer::Failed("SERVFAIL".into())
    }

    /// A list under virtual time. Answers come at once, and chance takes nothing away.
    struct Asked {
        list: RecordList<u8>,
        settings: LookupSettings,
        start: Instant,
        now: Instant,
    }

    impl Asked {
        fn new() -> Self {
            let now = Instant::now();
            Self { list: RecordList::new(now), settings: settings(), start: now, now }
        }

        /// Waits until the question is due, and answers it. Returns the seconds until the next question.
        fn answer(&mut self, answer: DnsAnswer<u8>) -> f64 {
            self.now = self.list.ask_at().unwrap_or(self.now);
            assert!(self.list.begin_if_due(self.now) && !self.list.begin_if_due(self.now));
            self.list.note(answer, &self.settings, self.now, 0.0);
            self.list.ask_at().map_or(0.0, |at| (at - self.now).as_secs_f64())
        }

        fn serves(&self) -> Option<Vec<u8>> {
            self.list.records().map(|records| records.iter().copied().collect())
        }

        fn second(&self) -> u64 {
            (self.now - self.start).as_secs()
        }
    }

    #[test]
    fn the_ttl_paces_the_questions_within_its_bounds() {
        let mut asked = Asked::new();
        for (ttl, expected) in [(60, 60.0), (0, 1.0), (1, 1.0), (100_000, 300.0)] {
            assert_eq!(asked.answer(records(&[1], ttl)), expected, "{ttl}");
        }
    }

    #[test]
    fn chance_makes_a_wait_shorter_by_a_tenth_at_most() {
        for (chance, expected) in [(0.0, 60.0), (0.5, 57.0), (1.0, 54.0), (7.0, 54.0)] {
            let now = Instant::now();
            let mut list = RecordList::new(now);
            list.note(records(&[1], 60), &settings(), now, chance);
            assert_eq!(list.ask_at().map(|at| (at - now).as_secs_f64()), Some(expected));
        }
        let now = Instant::now();
        let mut list = RecordList::new(now);
        list.note(records(&[1], 100_000), &settings(), now, 1.0);
        assert_eq!(list.ask_at().map(|at| (at - now).as_secs_f64()), Some(270.0), "a long TTL too");
    }

    #[test]
    fn failures_double_the_wait_and_keep_the_records_for_ever() {
        let mut asked = Asked::new();
        let at_first: Vec<_> = (0..5).map(|_| asked.answer(failed())).collect();
        assert_eq!(at_first, [1.0, 2.0, 4.0, 5.0, 5.0]);
        assert!(asked.list.is_settled() && asked.serves().is_none());
        asked.answer(records(&[1, 2], 60));
        let later: Vec<_> = (0..8).map(|_| asked.answer(failed())).collect();
        assert_eq!(later, [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]);
        for _ in 0..10_000 {
            asked.answer(failed());
        }
        assert_eq!((asked.serves(), asked.list.failure()), (Some(vec![1, 2]), Some("SERVFAIL")));
        assert!(asked.list.stale_since().is_some());
        assert_eq!(asked.answer(records(&[3], 60)), 60.0);
        assert_eq!((asked.serves(), asked.list.failure(), asked.list.stale_since()), (Some(vec![3]), None, None));
    }

    #[test]
    fn answers_without_records_count_only_after_a_while() {
        let mut asked = Asked::new();
        asked.answer(records(&[1], 60));
        let began = 60;
        while asked.serves() == Some(vec![1]) {
            assert_eq!(asked.answer(DnsAnswer::Empty), 1.0);
        }
        assert_eq!((asked.second(), asked.serves()), (began + 30, Some(vec![])));
        asked.answer(records(&[2], 60));
        // Another stretch begins anew.
        asked.answer(DnsAnswer::Empty);
        assert_eq!(asked.serves(), Some(vec![2]));
    }

    #[test]
    fn a_failure_does_not_say_that_there_are_no_records() {
        let mut asked = Asked::new();
        asked.answer(records(&[1], 60));
        asked.answer(DnsAnswer::Empty);
        while asked.second() < 600 {
            asked.answer(failed());
        }
        assert_eq!(asked.serves(), Some(vec![1]));
        asked.answer(DnsAnswer::Empty);
        assert_eq!(asked.serves(), Some(vec![]));
    }

    #[test]
    fn a_long_min_ttl_paces_the_questions_for_what_is_empty_too() {
        let mut asked = Asked::new();
        asked.settings.min_ttl = Duration::from_secs(7);
        assert_eq!(asked.answer(DnsAnswer::Empty), 7.0);
        asked.settings.empty_after = Duration::ZERO;
        asked.answer(DnsAnswer::Empty);
        assert_eq!(asked.serves(), Some(vec![]));
    }

    proptest! {
        /// Whatever comes: the next question has its time within the bounds, and only records or emptiness change what serves.
        #[test]
        fn waits_are_bounded_and_only_answers_change_what_serves(
            answers in vec((0..3_u8, vec(0..4_u8, 1..4), 0..1000_u64, 0.0..1.0_f64), 0..60)
        ) {
            let mut asked = Asked::new();
            for (kind, numbers, ttl, chance) in answers {
                let before = asked.serves();
                asked.now = asked.list.ask_at().unwrap_or(asked.now);
                asked.list.begin_if_due(asked.now);
                let answer = match kind {
                    0 => records(&numbers, ttl),
                    1 => DnsAnswer::Empty,
                    _ => failed(),
                };
                asked.list.note(answer, &asked.settings, asked.now, chance);
                let wait = asked.list.ask_at().map(|at| at - asked.now).unwrap_or_default();
                prop_assert!(wait >= Duration::from_millis(900) && wait <= Duration::from_secs(300), "{wait:?}");
                match kind {
                    0 => {
                        let expected: BTreeSet<_> = numbers.iter().copied().collect();
                        prop_assert_eq!(asked.serves(), Some(expected.into_iter().collect()));
                    }
                    1 => prop_assert!(asked.serves() == before || asked.serves() == Some(vec![])),
                    _ => prop_assert_eq!(asked.serves(), before),
                }
            }
        }
    }
}
