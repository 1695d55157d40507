//! The search for the limit of silence: which silences are tried next, and what is known of the limit.
//!
//! A path that ends silent connections itself (FIN, RST, Close) tells its limit exactly. Of one that only forgets them, each
//! socket says whether the limit is longer or shorter than its silence; sockets beside each other then divide what lies between.
//! The decisive silence is tried three times.

use std::time::Duration;

use super::{ALIKE, Death, JITTER, ProbeTimes, REPEATS, TrialFate, below, beyond, times};

/// How many times as long as the one before each of the silences is that divide what lies between two. It leaves room for sockets
/// that are asked a little late.
const NARROW: f64 = 1.04;
/// By which share of it a silence that died is longer than one that lived, once the search has come close.
const CLOSE: f64 = 0.044;
/// The most sockets that divide what lies between two silences at once.
const MOST_CLOSER: usize = 24;
/// The most sockets that are silent at once. A run has a few others.
const MOST_SILENT: usize = 58;
/// How much shorter than a silence that killed a limit is looked for at once.
const DEEPEST: u32 = 64;
/// The most silences that one search tries, however the path behaves.
const MOST_TRIALS: usize = 400;

/// One socket to open, and to be silent for so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tools::probe) struct TrialStart {
    pub(in crate::tools::probe) id: usize,
    pub(in crate::tools::probe) silence: Duration,
}

/// What is known of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tools::probe) struct SilenceLimit {
    /// The limit is not shorter than this.
    pub(in crate::tools::probe) low: Duration,
    /// The limit is not longer than this.
    pub(in crate::tools::probe) high: Duration,
    pub(in crate::tools::probe) death: Death,
    /// How often a silence beyond the limit was tried.
    pub(in crate::tools::probe) tries: usize,
    /// How often it died as `death` says, at this limit.
    pub(in crate::tools::probe) agree: usize,
}

impl SilenceLimit {
    /// The limit, as one time.
    #[must_use]
    pub(in crate::tools::probe) fn middle(&self) -> Duration {
        (self.low + self.high) / 2
    }

    /// Whether the two ends lie close together.
    #[must_use]
    pub(in crate::tools::probe) fn is_narrow(&self) -> bool {
        self.high <= self.low.mul_f64(1.0 + ALIKE) + JITTER
    }
}

/// The search.
#[derive(Debug)]
pub(in crate::tools::probe) struct PathSearch {
    trials: Vec<Trial>,
    wait: Duration,
    total: Duration,
    busy: Busy,
}

#[derive(Debug, Clone, Copy)]
struct Trial {
    silence: Duration,
    reason: Why,
    state: TrialState,
}

/// Why a silence is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// It is one of the first.
    Series,
    /// It lies between a silence that lived and one that died.
    Closer,
    /// It is the decisive one, once more.
    Again,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TrialState {
    Planned,
    Running,
    Done(TrialFate),
    /// It died of something that happened once.
    Forgotten,
}

/// What is known of the sockets that are never silent.
#[derive(Debug, Clone, Copy, Default)]
struct Busy {
    /// Whether there is one.
    is_there: bool,
    /// The age at which one was last seen to live.
    proved: Duration,
    /// The ages between which it died.
    died: Option<(Duration, Duration, Death)>,
}

/// The death after the shortest silence.
#[derive(Debug, Clone, Copy)]
struct First {
    silence: Duration,
    death: Death,
    is_exact: bool,
}

/// What the search does next.
#[derive(Debug, PartialEq)]
enum SearchStep {
    /// Wait for sockets that are silent.
    Wait,
    /// Try these silences too.
    Try(Why, Vec<Duration>),
    /// What died has died of something that happened once.
    Forget,
    /// Nothing more can be learnt, or there is no time.
    Rest,
}

impl PathSearch {
    /// A search that begins with the series.
    #[must_use]
    pub(in crate::tools::probe) fn new(times: &ProbeTimes) -> Self {
        let ProbeTimes { series, wait, total, .. } = times;
        let planned = |silence: &Duration| Trial { silence: *silence, reason: Why::Series, state: TrialState::Planned };
        // The longest silence takes longest, so its socket is opened first.
        let trials = series.iter().rev().map(planned).collect();
        Self { trials, wait: *wait, total: *total, busy: Busy::default() }
    }

    /// The sockets to open now, in this order. `now`: since the start.
    pub(in crate::tools::probe) fn begin(&mut self, now: Duration) -> Vec<TrialStart> {
        loop {
            match self.step(now) {
                SearchStep::Wait | SearchStep::Rest => break,
                SearchStep::Forget => self.forget(now),
                SearchStep::Try(reason, silences) => {
                    let planned =
                        silences.into_iter().map(|silence| Trial { silence, reason, state: TrialState::Planned });
                    self.trials.extend(planned);
                }
            }
        }
        let planned = self.trials.iter_mut().enumerate().filter(|(_, trial)| trial.state == TrialState::Planned);
        planned
            .map(|(id, trial)| {
                trial.state = TrialState::Running;
                TrialStart { id, silence: trial.silence }
            })
            .collect()
    }

    /// Notes what became of a socket.
    pub(in crate::tools::probe) fn handle_fate(&mut self, id: usize, fate: TrialFate) {
        if let Some(trial) = self.trials.get_mut(id) {
            trial.state = TrialState::Done(fate);
        }
    }

    /// Notes that a socket that is never silent lives at this age.
    pub(in crate::tools::probe) fn handle_busy(&mut self, age: Duration) {
        self.busy.is_there = true;
        self.busy.proved = self.busy.proved.max(age);
    }

    /// Notes that a socket that is never silent died between these ages.
    pub(in crate::tools::probe) const fn handle_busy_death(&mut self, low: Duration, high: Duration, death: Death) {
        self.busy.died = Some((low, high, death));
    }

    /// Notes that there is no socket that is never silent.
    pub(in crate::tools::probe) const fn handle_no_busy(&mut self) {
        self.busy.is_there = false;
    }

    /// Whether another socket that is never silent is needed, because the one before died of something that happened once.
    #[must_use]
    pub(in crate::tools::probe) const fn lacks_busy(&self) -> bool {
        self.busy.proved.is_zero() && self.busy.died.is_none()
    }

    /// Whether nothing more is to be learnt about silence.
    #[must_use]
    pub(in crate::tools::probe) fn is_over(&self, now: Duration) -> bool {
        if self.step(now) != SearchStep::Rest {
            return false;
        }
        // Only a socket that is never silent tells a limit of silence from one of age.
        match self.limit() {
            Some(limit) => {
                let Busy { is_there, proved, died } = self.busy;
                !is_there || died.is_some() || proved > beyond(limit.high) || now >= self.total
            }
            None => true,
        }
    }

    /// The limit, as far as it is known; `None` = nothing has died.
    #[must_use]
    pub(in crate::tools::probe) fn limit(&self) -> Option<SilenceLimit> {
        let first = self.first()?;
        let again = self.fates().filter(|(trial, _)| is_repeat(trial, first)).map(|(_, fate)| fate);
        let shows = |trial: &Trial, fate: TrialFate| {
            trial.silence >= first.silence || agrees(fate, first) == Some(first.silence)
        };
        let mut others: Vec<_> = self
            .fates()
            .filter(|(trial, fate)| shows(trial, *fate) && !is_repeat(trial, first) && *fate != TrialFate::Unopened)
            .collect();
        others.sort_by_key(|(trial, _)| trial.silence);
        let others = others.into_iter().map(|(_, fate)| fate);
        let tried: Vec<_> = again.filter(|fate| *fate != TrialFate::Unopened).chain(others).take(REPEATS).collect();
        let agreeing: Vec<_> = tried.iter().filter_map(|fate| agrees(*fate, first)).collect();
        let lived = self.lived_below(first.silence);
        let (low, high) = if first.is_exact {
            let last = agreeing.iter().copied().max().unwrap_or(first.silence);
            (first.silence.saturating_sub(margin(first.silence)).max(lived), last + margin(last))
        } else {
            // What is asked meets the path a little later.
            (lived, first.silence + margin(first.silence))
        };
        Some(SilenceLimit { low, high, death: first.death, tries: tried.len(), agree: agreeing.len() })
    }

    /// Whether this is a limit of age: a socket that was never silent died at it too.
    #[must_use]
    pub(in crate::tools::probe) fn is_of_age(&self, limit: &SilenceLimit) -> bool {
        let overlaps = |(low, high, _)| low <= beyond(limit.high) && high >= below(limit.low);
        self.busy.died.is_some_and(overlaps) && self.busy.proved <= beyond(limit.high)
    }

    /// The ages between which a socket died that was never silent, and how.
    #[must_use]
    pub(in crate::tools::probe) fn life(&self) -> Option<(Duration, Duration, Death)> {
        let (low, high, death) = self.busy.died?;
        Some((low.saturating_sub(margin(low)), high + margin(high), death))
    }

    /// The longest silence after which a socket lived.
    #[must_use]
    pub(in crate::tools::probe) fn longest_lived(&self) -> Duration {
        self.lived_below(Duration::MAX)
    }

    /// How many sockets are silent now, or wait to be.
    #[must_use]
    pub(in crate::tools::probe) fn running(&self) -> usize {
        self.trials.iter().filter(|trial| trial.state == TrialState::Running).count()
    }

    fn step(&self, now: Duration) -> SearchStep {
        let pending = |trial: &&Trial| matches!(trial.state, TrialState::Planned | TrialState::Running);
        let mut pending = self.trials.iter().filter(pending);
        let Some(first) = self.first() else {
            return if pending.next().is_some() { SearchStep::Wait } else { SearchStep::Rest };
        };
        // A shorter silence that is still tried may turn out to be the limit.
        if pending.any(|trial| trial.reason != Why::Series || trial.silence < first.silence) {
            return SearchStep::Wait;
        }
        if self.trials.len() >= MOST_TRIALS {
            return SearchStep::Rest;
        }
        let fits = |silence: &Duration| now + *silence + self.wait <= self.total;
        if !first.is_exact {
            let room = MOST_SILENT.saturating_sub(self.running()).clamp(1, MOST_CLOSER);
            let mut closer = closer(self.lived_below(first.silence), first.silence, room);
            closer.retain(fits);
            if !closer.is_empty() {
                return SearchStep::Try(Why::Closer, closer);
            }
        }
        let repeats: Vec<_> = self.fates().filter(|(trial, _)| is_repeat(trial, first)).collect();
        let missing = REPEATS.saturating_sub(repeats.len());
        if missing == 0 {
            let died = repeats.iter().any(|(_, fate)| matches!(fate, TrialFate::Died { .. }));
            let lived = repeats.iter().any(|(_, fate)| matches!(fate, TrialFate::Lived { .. }));
            return if lived && !died { SearchStep::Forget } else { SearchStep::Rest };
        }
        let again = decisive(first);
        if fits(&again) { SearchStep::Try(Why::Again, vec![again; missing]) } else { SearchStep::Rest }
    }

    /// Leaves out what died so far, and tries the first silences anew where there is time.
    fn forget(&mut self, now: Duration) {
        let mut anew = Vec::new();
        for trial in &mut self.trials {
            if let TrialState::Done(TrialFate::Died { .. }) = trial.state {
                trial.state = TrialState::Forgotten;
                if trial.reason == Why::Series && now + trial.silence + self.wait <= self.total {
                    anew.push(Trial { state: TrialState::Planned, ..*trial });
                }
            }
        }
        self.trials.extend(anew);
        self.busy = Busy { is_there: self.busy.is_there, ..Busy::default() };
    }

    fn fates(&self) -> impl Iterator<Item = (&Trial, TrialFate)> + Clone {
        self.trials.iter().filter_map(|trial| match trial.state {
            TrialState::Done(fate) => Some((trial, fate)),
            TrialState::Planned | TrialState::Running | TrialState::Forgotten => None,
        })
    }

    fn first(&self) -> Option<First> {
        let deaths = self.fates().filter_map(|(_, fate)| match fate {
            TrialFate::Died { silence, death, is_exact } => Some(First { silence, death, is_exact }),
            TrialFate::Lived { .. } | TrialFate::Unopened => None,
        });
        let first = deaths.clone().min_by_key(|first| first.silence)?;
        // Of two deaths at the same silence, the one that came by itself says more than the one that came at a question.
        let same = deaths.filter(|other| other.is_exact && other.silence <= first.silence + margin(first.silence));
        Some(same.min_by_key(|other| other.silence).unwrap_or(first))
    }

    /// The longest silence after which a socket lived, of those shorter than `limit`.
    fn lived_below(&self, limit: Duration) -> Duration {
        let lived = self.fates().filter_map(|(_, fate)| match fate {
            TrialFate::Lived { silence } if silence < limit => Some(silence),
            _ => None,
        });
        lived.max().unwrap_or_default()
    }
}

/// How much the path and this machine may have added to a limit that was met, or taken from it.
fn margin(limit: Duration) -> Duration {
    (limit / 200).max(JITTER / 2)
}

/// The silence that shows the limit once more.
fn decisive(first: First) -> Duration {
    if first.is_exact { beyond(first.silence) } else { first.silence + margin(first.silence) }
}

/// Whether a silence was tried to see this death once more.
fn is_repeat(trial: &Trial, first: First) -> bool {
    trial.reason == Why::Again
        && trial.silence >= first.silence
        && trial.silence <= beyond(beyond(beyond(first.silence)))
}

/// The silence of a fate that says the same as the first death.
fn agrees(fate: TrialFate, first: First) -> Option<Duration> {
    match fate {
        TrialFate::Died { silence, death, is_exact } if death == first.death && is_exact == first.is_exact => {
            (!is_exact || silence <= beyond(first.silence)).then_some(silence)
        }
        _ => None,
    }
}

/// How much longer than the silence that lived the one that died may be. With the margin of the latter, the two ends of a limit
/// are then within a twentieth of it, or within a tenth of a second.
fn close(lived: Duration, died: Duration) -> Duration {
    let whole = lived.mul_f64(ALIKE).max(JITTER * 2);
    lived.mul_f64(CLOSE).min(whole.saturating_sub(margin(died))).max(JITTER / 5)
}

/// At most so many silences, which divide what lies between one that lived and one that died; empty = these are close already.
fn closer(lived: Duration, died: Duration, most: usize) -> Vec<Duration> {
    if died <= lived + close(lived, died) {
        return Vec::new();
    }
    let low = lived.max(died / DEEPEST);
    let ratio = died.as_secs_f64() / low.as_secs_f64();
    let narrow = NARROW.min(1.0 + 0.9 * close(low, died).as_secs_f64() / low.as_secs_f64());
    let step = narrow.max(ratio.powf(1.0 / most as f64));
    let mut silences = times::between(low, died, step);
    if lived.is_zero() {
        silences.push(low);
    }
    silences
}

#[cfg(test)]
mod tests;
