//! What the fates of sockets say of the limit of silence.
//!
//! Most paths have one limit, and all that was tried agrees about it. Some have a range of limits: those that look for silent
//! connections only now and then, or whose connections do not all take the same way. Then a silence that killed one connection
//! is shorter than a silence that another one lived, and the limit is told as the range of both.

use std::time::Duration;

use super::{ALIKE, Death, JITTER, REPEATS, TrialFate, beyond};

/// A death that other sockets did not confirm is part of the range if at least one in so many that were silent as long died too.
/// Otherwise something else killed it.
const FEWEST_DEATHS: usize = 5;
/// Or if the shortest silence of which a death is sure is at most so many times as long.
const NEAR: f64 = 1.25;

/// What is known of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tools::probe) struct SilenceLimit {
    /// The limit is not shorter than this.
    pub(in crate::tools::probe) low: Duration,
    /// The limit is not longer than this.
    pub(in crate::tools::probe) high: Duration,
    /// A silence as long as this has killed.
    pub(in crate::tools::probe) kills: Duration,
    pub(in crate::tools::probe) death: Death,
    /// How often a silence beyond the limit was tried; of a range of limits, how many were silent so long that it could kill them.
    pub(in crate::tools::probe) tries: usize,
    /// How many of them died as `death` says.
    pub(in crate::tools::probe) agree: usize,
}

/// Deaths that say nothing of the limit, because others that were silent as long or longer lived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tools::probe) struct OddDeaths {
    /// The shortest silence before one of them.
    pub(in crate::tools::probe) silence: Duration,
    /// How that one ended.
    pub(in crate::tools::probe) death: Death,
    pub(in crate::tools::probe) died: usize,
    /// How many lived at least as long a silence.
    pub(in crate::tools::probe) lived: usize,
}

/// A silence that was tried, and what became of the socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct TriedSilence {
    /// How long it was to be silent.
    pub(super) wanted: Duration,
    pub(super) fate: TrialFate,
    /// Whether it was tried to see a death once more.
    pub(super) repeats: bool,
    /// Whether it died, and others that repeated its silence lived.
    pub(super) is_doubted: bool,
}

/// A death.
#[derive(Debug, Clone, Copy)]
pub(super) struct SilenceDeath {
    pub(super) silence: Duration,
    death: Death,
    pub(super) is_exact: bool,
}

impl SilenceLimit {
    /// The limit, as far as it is known; `None` = nothing has died, but for what died of something else.
    #[must_use]
    pub(super) fn of(tried: &[TriedSilence]) -> Option<Self> {
        let first = SilenceDeath::first(tried);
        let doubted = shortest_of_range(tried, first);
        let lowest = doubted.into_iter().chain(first).min_by_key(|death| death.silence)?;
        let outlived = lives(tried).any(|silence| silence > lowest.silence + margin(lowest.silence));
        let mut repeats = tried.iter().filter(|one| one.is_repeat_of(lowest)).filter_map(|one| died(one.fate));
        let outlasted =
            repeats.any(|other| other.is_exact && lowest.is_exact && other.silence > beyond(lowest.silence));
        Some(if doubted.is_some() || outlived || outlasted {
            Self::range(tried, lowest)
        } else {
            Self::agreed(tried, lowest)
        })
    }

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

    /// A limit that nothing speaks against.
    fn agreed(tried: &[TriedSilence], first: SilenceDeath) -> Self {
        let again = tried.iter().filter(|one| one.is_repeat_of(first)).map(|one| one.fate);
        let shows = |one: &&TriedSilence| {
            !one.is_repeat_of(first) && (one.wanted >= first.silence || confirms(one.fate, first))
        };
        let mut others: Vec<_> = tried.iter().filter(shows).collect();
        others.sort_by_key(|one| one.wanted);
        let all = again.chain(others.into_iter().map(|one| one.fate)).filter(|fate| died(*fate).is_some());
        let tried_again: Vec<_> = all.take(REPEATS).collect();
        let death = most_frequent(&tried_again, first);
        let agreeing: Vec<_> =
            tried_again.iter().filter_map(|fate| died(*fate)).filter(|other| other.is_like(death, first)).collect();
        let lived = lived_below(tried, first.silence);
        let (low, high) = if first.is_exact {
            let last = agreeing.iter().map(|other| other.silence).max().unwrap_or(first.silence);
            (first.silence.saturating_sub(margin(first.silence)).max(lived), last + margin(last))
        } else {
            // What is asked meets the path a little later.
            (lived, first.silence + margin(first.silence))
        };
        Self { low, high, kills: high, death, tries: tried_again.len(), agree: agreeing.len() }
    }

    /// A limit that is not the same for all: from the shortest silence that killed to the longest that did not.
    fn range(tried: &[TriedSilence], lowest: SilenceDeath) -> Self {
        let exact = deaths(tried).filter(|death| death.is_exact).map(|death| death.silence);
        let longest = lives(tried).chain(exact).max().unwrap_or(lowest.silence).max(lowest.silence);
        let next = deaths(tried).map(|death| death.silence).filter(|silence| *silence > longest).min();
        let high = next.unwrap_or(longest);
        let is_inside = |silence: Duration| (lowest.silence..=high).contains(&silence);
        let dead: Vec<_> = deaths(tried).filter(|death| is_inside(death.silence)).collect();
        let lived = lives(tried).filter(|silence| is_inside(*silence)).count();
        let alike = |death: Death| dead.iter().filter(|other| is_alike(other.death, death)).count();
        let death = dead.iter().map(|other| other.death).max_by_key(|death| alike(*death)).unwrap_or(lowest.death);
        let below = lived_below(tried, lowest.silence);
        let low =
            if lowest.is_exact { lowest.silence.saturating_sub(margin(lowest.silence)).max(below) } else { below };
        Self {
            low,
            high: high + margin(high),
            kills: lowest.silence + margin(lowest.silence),
            death,
            tries: dead.len() + lived,
            agree: alike(death),
        }
    }
}

impl OddDeaths {
    /// The deaths that are no part of this limit.
    pub(super) fn beside(tried: &[TriedSilence], limit: Option<&SilenceLimit>) -> Option<Self> {
        let is_beside = |death: &SilenceDeath| limit.is_none_or(|limit| death.silence < limit.low);
        let odd = || tried.iter().filter(|one| one.is_doubted).filter_map(|one| died(one.fate)).filter(is_beside);
        let SilenceDeath { silence, death, .. } = odd().min_by_key(|death| death.silence)?;
        Some(Self {
            silence,
            death,
            died: odd().count(),
            lived: lives(tried).filter(|lived| *lived >= silence).count(),
        })
    }
}

impl TriedSilence {
    /// Whether this silence was tried to see this death once more.
    pub(super) fn is_repeat_of(&self, first: SilenceDeath) -> bool {
        self.repeats && self.wanted >= first.silence && self.wanted <= beyond(beyond(beyond(first.silence)))
    }
}

impl SilenceDeath {
    /// The death after the shortest silence, of those that nothing speaks against.
    pub(super) fn first(tried: &[TriedSilence]) -> Option<Self> {
        let deaths = || tried.iter().filter(|one| !one.is_doubted).filter_map(|one| died(one.fate));
        let first = deaths().min_by_key(|first| first.silence)?;
        // Of two deaths at the same silence, the one that came by itself says more than the one that came at a question.
        let same = deaths().filter(|other| other.is_exact && other.silence <= first.silence + margin(first.silence));
        Some(same.min_by_key(|other| other.silence).unwrap_or(first))
    }

    /// Whether this death is one of this kind, at the same limit as the first.
    fn is_like(&self, death: Death, first: Self) -> bool {
        // One that was only asked later may have died at any silence until then.
        let is_at_limit = self.silence <= beyond(first.silence) || !first.is_exact && !self.is_exact;
        is_alike(self.death, death) && is_at_limit
    }
}

/// How much the path and this machine may have added to a limit that was met, or taken from it.
pub(super) fn margin(limit: Duration) -> Duration {
    (limit / 200).max(JITTER / 2)
}

/// The longest silence after which a socket lived, of those shorter than `limit`.
pub(super) fn lived_below(tried: &[TriedSilence], limit: Duration) -> Duration {
    lives(tried).filter(|silence| *silence < limit).max().unwrap_or_default()
}

/// The shortest of the doubted deaths that are too many, or too near to the first sure one, to have another cause.
fn shortest_of_range(tried: &[TriedSilence], first: Option<SilenceDeath>) -> Option<SilenceDeath> {
    let mut doubted: Vec<_> = tried.iter().filter(|one| one.is_doubted).filter_map(|one| died(one.fate)).collect();
    doubted.sort_by_key(|death| death.silence);
    let is_near = |death: &SilenceDeath| first.is_some_and(|first| first.silence <= death.silence.mul_f64(NEAR));
    let belongs = |(place, death): &(usize, &SilenceDeath)| {
        let (dead, lived) = (doubted.len() - place, lives(tried).filter(|silence| *silence >= death.silence).count());
        is_near(death) || dead * FEWEST_DEATHS >= dead + lived
    };
    doubted.iter().enumerate().find(belongs).map(|(_, death)| *death)
}

/// Whether two sockets ended in the same way. Who acknowledges packets in vain may change from one to the next.
fn is_alike(one: Death, other: Death) -> bool {
    (one.manner, one.code) == (other.manner, other.code)
}

/// How most of these ended; of equally many, as the first.
fn most_frequent(fates: &[TrialFate], first: SilenceDeath) -> Death {
    let dead = || fates.iter().filter_map(|fate| died(*fate)).map(|other| other.death);
    let count = |death: Death| dead().filter(|other| is_alike(*other, death)).count();
    let most = dead().max_by_key(|death| count(*death)).unwrap_or(first.death);
    if count(most) > count(first.death) { most } else { first.death }
}

/// Whether this fate shows the same limit as the first death, though the socket was not to be silent so long.
fn confirms(fate: TrialFate, first: SilenceDeath) -> bool {
    died(fate).is_some_and(|other| other.silence == first.silence && other.is_like(first.death, first))
}

fn died(fate: TrialFate) -> Option<SilenceDeath> {
    match fate {
        TrialFate::Died { silence, death, is_exact } => Some(SilenceDeath { silence, death, is_exact }),
        TrialFate::Lived { .. } | TrialFate::Aged { .. } | TrialFate::Unopened => None,
    }
}

fn deaths(tried: &[TriedSilence]) -> impl Iterator<Item = SilenceDeath> {
    tried.iter().filter_map(|one| died(one.fate))
}

fn lives(tried: &[TriedSilence]) -> impl Iterator<Item = Duration> {
    tried.iter().filter_map(|one| match one.fate {
        TrialFate::Lived { silence } | TrialFate::Aged { silence, .. } => Some(silence),
        TrialFate::Died { .. } | TrialFate::Unopened => None,
    })
}
