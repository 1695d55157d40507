//! The past that the live page shows: the last endings, and samples of the last hour.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::access_log::endings::{CauseCounts, EndingCause, Endings};

/// The time between two samples.
pub(super) const STEP: Duration = Duration::from_secs(10);
/// The most samples: those of an hour.
const SAMPLES: usize = 360;

/// The last hour of a process.
#[derive(Debug, Default)]
pub(in crate::net) struct History {
    pub(in crate::net) endings: Arc<Endings>,
    samples: Mutex<Samples>,
}

#[derive(Debug, Default)]
struct Samples {
    last: VecDeque<Sample>,
    /// The counts at the last sample.
    counts: CauseCounts<EndingCause>,
}

/// One moment, and what has ended since the sample before it.
#[derive(Debug, Clone)]
struct Sample {
    at: Instant,
    sessions: usize,
    ended: BTreeMap<&'static str, u64>,
}

/// The samples, as the answer shows them.
#[derive(Debug, Serialize)]
pub(super) struct HistoryView {
    step_ms: u64,
    samples: Vec<SampleView>,
}

#[derive(Debug, Serialize)]
struct SampleView {
    ago_ms: u64,
    sessions: usize,
    /// How many sessions ended since the sample before, by cause.
    ended: BTreeMap<&'static str, u64>,
}

impl History {
    /// The samples, the oldest first. The last one is of this moment.
    pub(super) fn show(&self, sessions: usize, now: Instant) -> HistoryView {
        let samples = self.samples();
        let last = samples.sample(sessions, &self.endings.sessions.counts(), now);
        let shown = samples.last.iter().chain([&last]).map(|sample| SampleView {
            ago_ms: u64::try_from(now.saturating_duration_since(sample.at).as_millis()).unwrap_or(u64::MAX),
            sessions: sample.sessions,
            ended: sample.ended.clone(),
        });
        HistoryView { step_ms: STEP.as_secs() * 1000, samples: shown.collect() }
    }

    /// Takes a sample of this moment.
    pub(super) fn take(&self, sessions: usize, now: Instant) {
        let counts = self.endings.sessions.counts();
        let mut samples = self.samples();
        let sample = samples.sample(sessions, &counts, now);
        if samples.last.len() == SAMPLES {
            samples.last.pop_front();
        }
        samples.last.push_back(sample);
        samples.counts = counts;
    }

    /// A lock between the task that samples and the few that look. No session takes it.
    fn samples(&self) -> MutexGuard<'_, Samples> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Samples {
    fn sample(&self, sessions: usize, counts: &CauseCounts<EndingCause>, at: Instant) -> Sample {
        let before = |cause| self.counts.get(cause).map_or(0, |(_, count)| *count);
        let ended = counts.iter().map(|(cause, (_, count))| (*cause, count.saturating_sub(before(cause))));
        Sample { at, sessions, ended: ended.filter(|(_, count)| *count > 0).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_kept_and_now_is_the_last_of_it() {
        let (history, began) = (History::default(), Instant::now());
        for number in 0..SAMPLES + 5 {
            history.take(number, began);
        }
        let shown = history.show(7, began + STEP);
        assert_eq!(shown.samples.len(), SAMPLES + 1);
        let [first, .., before, last] = &shown.samples[..] else { panic!("{shown:?}") };
        assert_eq!((first.sessions, before.sessions, last.sessions), (5, SAMPLES + 4, 7));
        assert_eq!((before.ago_ms, last.ago_ms), (10_000, 0));
    }
}
