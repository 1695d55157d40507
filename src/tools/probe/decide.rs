//! What `longwire probe` decides: which silences are tried next, what the fates of the sockets mean, and whether an interval of
//! pings holds. PURE: the time is an argument.

mod ages;
mod keepers;
mod limit;
mod search;
mod times;
mod verdict;

use std::time::Duration;

pub use self::verdict::Interval;
pub(super) use self::{
    ages::AgeLimit,
    keepers::{KeeperFate, KeeperStart, Keepers, Resetter, asked_at},
    limit::{OddDeaths, SilenceLimit},
    search::{PathSearch, TrialStart},
    times::{ProbeTimes, TimesWanted},
    verdict::{Judged, ProbeVerdict, judge},
};
use crate::paths::Manner;

/// How often the decisive silence is tried.
pub(super) const REPEATS: usize = 3;

/// What became of a socket that was silent for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TrialFate {
    /// It answered when it was asked after this silence.
    Lived {
        /// The longest time in which no byte went either way.
        silence: Duration,
    },
    /// It ended.
    Died {
        /// The silence before its end, or before it was asked in vain.
        silence: Duration,
        death: Death,
        /// Whether the end came while it was silent, so that the silence is the limit itself. Otherwise the limit is not longer
        /// than the silence.
        is_exact: bool,
    },
    /// It ended, but not after its longest silence: the other end sends by itself.
    Aged {
        /// The longest time in which no byte went either way.
        silence: Duration,
        age: Duration,
        death: Death,
    },
    /// It could not be opened, which says nothing of a silence.
    Unopened,
}

/// How a socket ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Death {
    /// `None` = it did not answer, and that cannot be told from a path that eats Pings.
    pub(super) manner: Option<Manner>,
    /// The code of its Close.
    pub(super) code: Option<u16>,
    /// Whether somebody acknowledged the packets that nobody answered. Otherwise they vanish, and TCP sends them again.
    pub(super) taken: bool,
}

impl Death {
    /// Whether nobody said anything: there was no end, but no answer either.
    pub(super) fn is_silent(&self) -> bool {
        matches!(self.manner, None | Some(Manner::Silent))
    }
}

/// Two times that are the same but for what the path and this machine add.
const ALIKE: f64 = 0.05;
/// What the path and this machine add at least.
pub(super) const JITTER: Duration = Duration::from_millis(50);

/// A little longer than this limit: a socket that is silent for so long has met it.
pub(super) fn beyond(limit: Duration) -> Duration {
    limit.mul_f64(1.0 + ALIKE) + JITTER
}

/// A little shorter than this limit.
fn below(limit: Duration) -> Duration {
    limit.mul_f64(1.0 - ALIKE).saturating_sub(JITTER)
}
