//! The search for the limit of silence: which silences are tried next, and what is known of the limit.
//!
//! A path that ends silent connections itself (FIN, RST, Close) tells its limit exactly. Of one that only forgets them, each
//! socket says whether the limit is longer or shorter than its silence; sockets beside each other then divide what lies between.
//! The decisive silence is tried three times. A death that none of the three meets is doubted, and the search goes on with the
//! next one that nothing speaks against.

use std::time::Duration;

use super::{
    ALIKE, AgeLimit, JITTER, OddDeaths, ProbeTimes, REPEATS, SilenceLimit, TrialFate,
    ages::{Ages, ONE_MOMENT, is_wider},
    beyond,
    limit::{SilenceDeath, TriedSilence, lived_below, margin},
    times,
};

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

/// The search.
#[derive(Debug)]
pub(in crate::tools::probe) struct PathSearch {
    trials: Vec<Trial>,
    wait: Duration,
    total: Duration,
    ages: Ages,
}

#[derive(Debug, Clone, Copy)]
struct Trial {
    silence: Duration,
    reason: Why,
    state: TrialState,
    /// When its fate was told, since the start.
    told: Duration,
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
    /// It died, and others that repeated its silence lived.
    Doubted(TrialFate),
    /// It died together with a socket that is never silent, and others that repeated its silence lived.
    Forgotten,
}

/// What the search does next.
#[derive(Debug, PartialEq)]
enum SearchStep {
    /// Wait for sockets that are silent.
    Wait,
    /// Try these silences too.
    Try(Why, Vec<Duration>),
    /// The shortest silence that died is no limit of all connections: repeated, it killed none.
    Doubt,
    /// Nothing more can be learnt, or there is no time.
    Rest,
}

impl PathSearch {
    /// A search that begins with the series.
    #[must_use]
    pub(in crate::tools::probe) fn new(times: &ProbeTimes) -> Self {
        let ProbeTimes { series, wait, total, .. } = times;
        // The longest silence takes longest, so its socket is opened first.
        let trials = series.iter().rev().map(|silence| Trial::planned(*silence, Why::Series)).collect();
        Self { trials, wait: *wait, total: *total, ages: Ages::default() }
    }

    /// The sockets to open now, in this order. `now`: since the start.
    pub(in crate::tools::probe) fn begin(&mut self, now: Duration) -> Vec<TrialStart> {
        loop {
            match self.step(now) {
                SearchStep::Wait | SearchStep::Rest => break,
                SearchStep::Doubt => self.doubt(now),
                SearchStep::Try(reason, silences) => {
                    self.trials.extend(silences.into_iter().map(|silence| Trial::planned(silence, reason)));
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

    /// Notes what became of a socket. `now`: since the start.
    pub(in crate::tools::probe) fn handle_fate(&mut self, id: usize, fate: TrialFate, now: Duration) {
        let Some(trial) = self.trials.get_mut(id) else { return };
        (trial.state, trial.told) = (TrialState::Done(fate), now);
        match fate {
            // Who was silent for so long was as old.
            TrialFate::Lived { silence } => self.ages.handle_older(silence),
            TrialFate::Aged { age, death, .. } => {
                self.ages.handle_other(AgeLimit { low: age, high: age, death }, now);
            }
            TrialFate::Died { .. } | TrialFate::Unopened => {}
        }
    }

    /// Notes that a socket that is never silent lives at this age.
    pub(in crate::tools::probe) fn handle_busy(&mut self, age: Duration) {
        self.ages.handle_alive(age);
    }

    /// Notes that a socket that is never silent died between these ages.
    pub(in crate::tools::probe) const fn handle_busy_death(&mut self, age: AgeLimit, now: Duration) {
        self.ages.handle_death(age, now);
    }

    /// Notes that there is no socket that is never silent.
    pub(in crate::tools::probe) const fn handle_no_busy(&mut self) {
        self.ages.handle_none();
    }

    /// Whether another socket that is never silent is needed, because the one before died of something that happened once.
    #[must_use]
    pub(in crate::tools::probe) const fn lacks_busy(&self) -> bool {
        self.ages.lacks_busy()
    }

    /// Whether nothing more is to be learnt about silence.
    #[must_use]
    pub(in crate::tools::probe) fn is_over(&self, now: Duration) -> bool {
        if self.step(now) != SearchStep::Rest {
            return false;
        }
        // Only a socket that is never silent tells a limit of silence from one of age.
        self.limit().is_none_or(|limit| self.ages.tells(&limit) || now >= self.total)
    }

    /// The limit, as far as it is known; `None` = nothing has died, but for what died of something else.
    #[must_use]
    pub(in crate::tools::probe) fn limit(&self) -> Option<SilenceLimit> {
        SilenceLimit::of(&self.tried())
    }

    /// The deaths that are no part of the limit.
    #[must_use]
    pub(in crate::tools::probe) fn odd_deaths(&self) -> Option<OddDeaths> {
        let tried = self.tried();
        OddDeaths::beside(&tried, SilenceLimit::of(&tried).as_ref())
    }

    /// Whether this is a limit of age: a socket that was never silent died at it too.
    #[must_use]
    pub(in crate::tools::probe) fn is_of_age(&self, limit: &SilenceLimit) -> bool {
        self.ages.is_of_age(limit)
    }

    /// The ages between which a socket died that was not silent.
    #[must_use]
    pub(in crate::tools::probe) fn life(&self) -> Option<AgeLimit> {
        self.ages.life()
    }

    /// Whether two sockets died at one age, and not at one moment.
    #[must_use]
    pub(in crate::tools::probe) fn is_life_confirmed(&self) -> bool {
        let silent = self.trials.iter().filter_map(|trial| match trial.state {
            TrialState::Done(TrialFate::Died { silence, .. }) => Some((silence, trial.told)),
            _ => None,
        });
        self.ages.is_confirmed(&silent.collect::<Vec<_>>())
    }

    /// Whether the other end sends by itself, so that sockets were not silent as long as they were to be.
    #[must_use]
    pub(in crate::tools::probe) fn was_disturbed(&self) -> bool {
        self.tried().iter().any(|one| match one.fate {
            TrialFate::Lived { silence } => beyond(silence) < one.wanted,
            TrialFate::Aged { .. } => true,
            TrialFate::Died { .. } | TrialFate::Unopened => false,
        })
    }

    /// The longest silence after which a socket lived.
    #[must_use]
    pub(in crate::tools::probe) fn longest_lived(&self) -> Duration {
        lived_below(&self.tried(), Duration::MAX)
    }

    /// How many sockets are silent now, or wait to be.
    #[must_use]
    pub(in crate::tools::probe) fn running(&self) -> usize {
        self.trials.iter().filter(|trial| trial.state == TrialState::Running).count()
    }

    fn step(&self, now: Duration) -> SearchStep {
        let mut pending = self.trials.iter().filter(|trial| trial.is_unfinished());
        let tried = self.tried();
        let Some(first) = SilenceDeath::first(&tried) else {
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
            let unfinished = self.trials.iter().filter(|trial| trial.is_unfinished()).count();
            let room = MOST_SILENT.saturating_sub(unfinished).clamp(1, MOST_CLOSER);
            let mut closer = closer(lived_below(&tried, first.silence), first.silence, room);
            closer.retain(fits);
            if !closer.is_empty() {
                return SearchStep::Try(Why::Closer, closer);
            }
        }
        let repeats: Vec<_> = tried.iter().filter(|one| one.is_repeat_of(first)).map(|one| one.fate).collect();
        let missing = REPEATS.saturating_sub(repeats.len());
        if missing == 0 {
            let died = repeats.iter().any(|fate| matches!(fate, TrialFate::Died { .. }));
            let lived =
                repeats.iter().any(|fate| matches!(fate, TrialFate::Lived { silence } | TrialFate::Aged { silence, .. } if *silence >= first.silence));
            return if lived && !died { SearchStep::Doubt } else { SearchStep::Rest };
        }
        let again = decisive(first);
        match fits(&again) {
            true => SearchStep::Try(Why::Again, vec![again; missing]),
            false if self.is_of_one_moment(first) => SearchStep::Doubt,
            false => SearchStep::Rest,
        }
    }

    /// Whether this death, others, and that of the socket that is never silent came at one moment, though not after one silence.
    fn is_of_one_moment(&self, first: SilenceDeath) -> bool {
        let ends = || {
            self.trials.iter().filter_map(|trial| match trial.state {
                TrialState::Done(TrialFate::Died { silence, is_exact: true, .. }) => Some((silence, trial.told)),
                _ => None,
            })
        };
        let Some((_, moment)) = ends().find(|(silence, _)| *silence == first.silence) else { return false };
        let together = || ends().filter(|(_, told)| told.abs_diff(moment) <= ONE_MOMENT);
        let spread = |times: &mut dyn Iterator<Item = Duration>| {
            let (low, high) =
                times.fold((Duration::MAX, Duration::ZERO), |(low, high), at| (low.min(at), high.max(at)));
            high.saturating_sub(low)
        };
        let of_silences = spread(&mut together().map(|(silence, _)| silence));
        let of_moments = spread(&mut together().map(|(_, told)| told));
        self.ages.died_at(moment, ONE_MOMENT) && is_wider(of_silences, of_moments)
    }

    /// Doubts the shortest silence that died, and all others that are no longer than one that lived. Tries longer ones of the
    /// first silences anew where there is time.
    fn doubt(&mut self, now: Duration) {
        let lived = self.longest_lived();
        let doubtful = SilenceDeath::first(&self.tried()).map_or(lived, |first| first.silence.max(lived));
        let (mut anew, mut was_accident) = (Vec::new(), false);
        for trial in &mut self.trials {
            let TrialState::Done(fate @ TrialFate::Died { silence, death, .. }) = trial.state else { continue };
            let moment = if death.is_silent() { self.wait.max(ONE_MOMENT) } else { ONE_MOMENT };
            if self.ages.died_at(trial.told, moment) {
                (trial.state, was_accident) = (TrialState::Forgotten, true);
            } else if silence <= doubtful {
                trial.state = TrialState::Doubted(fate);
            } else {
                continue;
            }
            if trial.reason == Why::Series && trial.silence > lived && now + trial.silence + self.wait <= self.total {
                anew.push(Trial::planned(trial.silence, Why::Series));
            }
        }
        self.trials.extend(anew);
        if was_accident {
            self.ages.begin_anew();
        }
    }

    /// What was tried, without what died of something that happened once.
    fn tried(&self) -> Vec<TriedSilence> {
        let tried = |trial: &Trial| {
            let (TrialState::Done(fate) | TrialState::Doubted(fate)) = trial.state else { return None };
            let is_doubted = matches!(trial.state, TrialState::Doubted(_));
            Some(TriedSilence { wanted: trial.silence, fate, repeats: trial.reason == Why::Again, is_doubted })
        };
        self.trials.iter().filter_map(tried).collect()
    }
}

impl Trial {
    const fn planned(silence: Duration, reason: Why) -> Self {
        Self { silence, reason, state: TrialState::Planned, told: Duration::ZERO }
    }

    const fn is_unfinished(&self) -> bool {
        matches!(self.state, TrialState::Planned | TrialState::Running)
    }
}

/// The silence that shows the limit once more.
fn decisive(first: SilenceDeath) -> Duration {
    if first.is_exact { beyond(first.silence) } else { first.silence + margin(first.silence) }
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
