//! Which interval of Pings the routes need, learned from what the ends of their sessions have in common. PURE.
//!
//! 1. A pattern counts if the sessions of clients from [`Witnesses::ENOUGH`] networks or more show it: a client can fake its
//!    losses. A pattern of one network of clients never counts.
//! 2. Where a limit of silence was seen that is not longer than the interval, the interval becomes two fifths of the limit.
//! 3. Where only "below the interval" follows, because a side answers no Ping, the interval is halved. Only sessions that began
//!    with the interval of now say that it must be halved once more.
//! 4. The interval is never below [`LearningRules::floor`], and never above that of the file.
//! 5. After [`LearningRules::rest`], new sessions try the interval of the file: one in [`TRIAL_SHARE`]. If [`TRIAL_ENOUGH`] of
//!    them live through a silence and none is cut, what was learned is forgotten. If one is cut, the next trial is after as long
//!    again.
//!
//! The time is an argument, in milliseconds since 1970.

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod trial;

use std::{collections::BTreeMap, fmt, mem, time::Duration};

pub use self::trial::{TrialCount, TrialEnd, TrialTerms, TrialWatch};
use crate::{
    explain::{IdleBound, Pattern, Witnesses},
    paths::{SHORTEST_INTERVAL, holding},
    ws::{Side, keepalive::SideTimes},
};

/// While an interval is on trial, one new session in so many uses the interval of the file.
pub const TRIAL_SHARE: u32 = 16;
/// So many sessions that tried the interval of the file must live, and none may be cut.
pub const TRIAL_ENOUGH: u32 = 8;

/// The times by which a [`Learner`] goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LearningRules {
    /// The shortest interval that can be learned.
    pub floor: Duration,
    /// From a change, or from a trial in which a session was cut, to the next trial.
    pub rest: Duration,
}

/// What is known of the intervals of all routes that learn.
#[derive(Debug, Default)]
pub struct Learner {
    rules: LearningRules,
    /// Each side that is pinged of each route that learns.
    sides: BTreeMap<(String, Side), LearningSide>,
}

/// One side of a route that learns, and that is pinged.
#[derive(Debug, Clone, Copy)]
struct LearningSide {
    /// The interval of the file.
    file: Duration,
    /// Sessions that began before say nothing of the interval of now.
    interval_since: i64,
    /// Sessions that began before say nothing of limits: these are gone.
    limits_since: i64,
    learned: Option<LearnedInterval>,
}

/// An interval that was learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LearnedInterval {
    /// It is used in the place of the interval of the file.
    pub interval: Duration,
    /// The interval of the file.
    pub of_file: Duration,
    /// Since when.
    pub since: i64,
    /// The limit from which it follows; `None` = only that it was too long followed.
    pub limit: Option<Duration>,
    /// Whether some of the new sessions use the interval of the file.
    pub is_on_trial: bool,
    /// When the last trial ended, or `since`.
    rests_from: i64,
}

/// The intervals of new sessions of a route, where they are not those of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LearnedTimes {
    /// Of most of them.
    pub usual: SideTimes,
    /// Of one in [`TRIAL_SHARE`]; `None` = of none.
    pub on_trial: Option<SideTimes>,
}

/// A change of what is learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LearningChange {
    /// The name of the route.
    pub route: String,
    /// The side that is pinged.
    pub side: Side,
    /// The interval of before.
    pub from: Duration,
    /// The interval of most new sessions from now on.
    pub to: Duration,
    /// Why.
    pub reason: LearningReason,
}

/// Why what is learned changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LearningReason {
    /// A limit of silence was seen.
    Limit {
        /// The limit.
        limit: Duration,
        /// The sessions that met it.
        cases: u64,
        /// The networks of their clients.
        networks: usize,
    },
    /// Sessions ended before their first Ping was answered.
    TooLong {
        /// The sessions.
        cases: u64,
        /// The networks of their clients.
        networks: usize,
    },
    /// Some of the new sessions try the interval of the file.
    TrialBegins,
    /// These sessions lived with the interval of the file. It holds again.
    TrialLived(u32),
    /// These sessions were cut. The interval stays.
    TrialCut(u32),
    /// The file has another interval, or the route does not learn any more.
    File,
}

/// In words, as the reason of a change.
impl fmt::Display for LearningReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit { limit, cases, networks } => write!(
                f,
                "{cases} sessions, of clients from {networks} networks, were cut after {:.1} s of silence",
                limit.as_secs_f64()
            ),
            Self::TooLong { cases, networks } => {
                write!(f, "{cases} sessions, of clients from {networks} networks, were cut before they answered a Ping")
            }
            Self::TrialBegins => {
                write!(f, "one new session in {TRIAL_SHARE} tries whether the interval of the file holds again")
            }
            Self::TrialLived(lived) => {
                write!(f, "{lived} sessions lived with the interval of the file, and none was cut")
            }
            Self::TrialCut(cut) => write!(f, "sessions that tried the interval of the file were cut: {cut}"),
            Self::File => f.write_str("the file has another interval, or does not let the route learn"),
        }
    }
}

impl Default for LearningRules {
    fn default() -> Self {
        Self { floor: SHORTEST_INTERVAL, rest: Duration::from_secs(24 * 60 * 60) }
    }
}

impl Learner {
    /// Goes by other times from now on.
    pub const fn set_rules(&mut self, rules: LearningRules) {
        self.rules = rules;
    }

    /// Keeps to the file. `routes` are those that learn, with the intervals of the file. What was learned of others, or beside
    /// another interval, is forgotten.
    pub fn follow<'r>(
        &mut self,
        routes: impl IntoIterator<Item = (&'r str, SideTimes)>,
        now: i64,
    ) -> Vec<LearningChange> {
        let mut before = mem::take(&mut self.sides);
        for (route, interval) in routes {
            for side in [Side::Client, Side::Backend] {
                let Some(file) = interval.of(side) else { continue };
                let key = (route.to_owned(), side);
                let known = before.get(&key).copied().filter(|known| known.file == file);
                if known.is_some() {
                    before.remove(&key);
                }
                self.sides.insert(key, known.unwrap_or_else(|| LearningSide::new(file, now)));
            }
        }
        // What is left is gone, or has another interval.
        let gone = before.into_iter().filter_map(|((route, side), known)| {
            let from = known.learned?.interval;
            Some(LearningChange { route, side, from, to: known.file, reason: LearningReason::File })
        });
        gone.collect()
    }

    /// Learns from these patterns. `uses` says whether the requests of a route may go to a backend.
    pub fn learn(&mut self, patterns: &[Pattern], uses: impl Fn(&str, &str) -> bool, now: i64) -> Vec<LearningChange> {
        let mut changes = Vec::new();
        for pattern in patterns {
            let Some((side, bound)) = lesson(pattern) else { continue };
            let is_meant = |route: &str| {
                let is_named = pattern.route.as_deref().is_none_or(|named| named == route);
                is_named && pattern.backend.as_deref().is_none_or(|backend| uses(route, backend))
            };
            let meant = self.sides.iter_mut().filter(|((route, of), _)| *of == side && is_meant(route));
            for ((route, side), known) in meant {
                let from = known.interval();
                if let Some(reason) = known.learn(pattern, bound, self.rules.floor, now) {
                    changes.push(LearningChange {
                        route: route.clone(),
                        side: *side,
                        from,
                        to: known.interval(),
                        reason,
                    });
                }
            }
        }
        changes
    }

    /// Begins the trials that are due, and ends those that are decided. `count` says how the sessions on trial have ended.
    pub fn try_again(&mut self, count: impl Fn(&str, Side) -> TrialCount, now: i64) -> Vec<LearningChange> {
        let mut changes = Vec::new();
        for ((route, side), known) in &mut self.sides {
            let from = known.interval();
            if let Some(reason) = known.try_again(|| count(route, *side), self.rules.rest, now) {
                changes.push(LearningChange { route: route.clone(), side: *side, from, to: known.interval(), reason });
            }
        }
        changes
    }

    /// The intervals of new sessions of a route; `None` = those of the file, which are `file`.
    #[must_use]
    pub fn times(&self, route: &str, file: SideTimes) -> Option<LearnedTimes> {
        let learned = |side| {
            let known = self.sides.get(&(route.to_owned(), side)).filter(|known| file.of(side) == Some(known.file))?;
            known.learned
        };
        let (client, backend) = (learned(Side::Client), learned(Side::Backend));
        if client.is_none() && backend.is_none() {
            return None;
        }
        let time = |learned: Option<LearnedInterval>, file| learned.map(|learned| learned.interval).or(file);
        let usual = SideTimes { client: time(client, file.client), backend: time(backend, file.backend) };
        let untried = |learned: Option<LearnedInterval>| learned.filter(|learned| !learned.is_on_trial);
        let on_trial =
            SideTimes { client: time(untried(client), file.client), backend: time(untried(backend), file.backend) };
        Some(LearnedTimes { usual, on_trial: (on_trial != usual).then_some(on_trial) })
    }

    /// What is learned: route, side and interval.
    pub fn learned(&self) -> impl Iterator<Item = (&str, Side, LearnedInterval)> {
        self.sides.iter().filter_map(|((route, side), known)| Some((&**route, *side, known.learned?)))
    }
}

impl LearningSide {
    const fn new(file: Duration, now: i64) -> Self {
        Self { file, interval_since: now, limits_since: i64::MIN, learned: None }
    }

    /// The interval of most new sessions.
    fn interval(&self) -> Duration {
        self.learned.map_or(self.file, |learned| learned.interval)
    }

    /// Learns from a pattern of this side. Returns why the interval is shorter than before.
    fn learn(&mut self, pattern: &Pattern, bound: IdleBound, floor: Duration, now: i64) -> Option<LearningReason> {
        let (current, Witnesses { networks, .. }) = (self.interval(), pattern.witnesses);
        let cases = pattern.cases;
        let is_tried = self.learned.is_some_and(|learned| learned.is_on_trial);
        let (interval, limit, reason) = match bound {
            IdleBound::At(limit) if limit <= current && pattern.witnesses.are_enough_since(self.limits_since) => {
                (holding(limit), Some(limit), LearningReason::Limit { limit, cases, networks })
            }
            // Sessions on trial have a longer interval than most.
            IdleBound::BelowInterval if !is_tried && pattern.witnesses.are_enough_since(self.interval_since) => (
                current / 2,
                self.learned.and_then(|learned| learned.limit),
                LearningReason::TooLong { cases, networks },
            ),
            _ => return None,
        };
        let interval = interval.max(floor);
        if interval >= current {
            return None;
        }
        let (of_file, is_on_trial) = (self.file, false);
        self.learned = Some(LearnedInterval { interval, of_file, since: now, limit, is_on_trial, rests_from: now });
        self.interval_since = now;
        Some(reason)
    }

    fn try_again(&mut self, count: impl Fn() -> TrialCount, rest: Duration, now: i64) -> Option<LearningReason> {
        let learned = self.learned.as_mut()?;
        if !learned.is_on_trial {
            let is_due = now.saturating_sub(learned.rests_from) >= millis(rest);
            learned.is_on_trial = is_due;
            return is_due.then_some(LearningReason::TrialBegins);
        }
        let TrialCount { lived, cut } = count();
        if cut > 0 {
            (learned.is_on_trial, learned.rests_from) = (false, now);
        } else if lived >= TRIAL_ENOUGH {
            (self.learned, self.limits_since) = (None, now);
        } else {
            return None;
        }
        // The sessions on trial that still live have another interval than new ones.
        self.interval_since = now;
        Some(if cut > 0 { LearningReason::TrialCut(cut) } else { LearningReason::TrialLived(lived) })
    }
}

/// What a pattern says of the interval of a side. `None`: nothing that could be learned.
fn lesson(pattern: &Pattern) -> Option<(Side, IdleBound)> {
    let side = [Side::Client, Side::Backend].into_iter().find(|side| Some(side.as_str()) == pattern.side)?;
    // What one network of clients does on its way is no reason to wake the phones of all.
    if pattern.network.is_some() {
        return None;
    }
    Some((side, pattern.bound?))
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
