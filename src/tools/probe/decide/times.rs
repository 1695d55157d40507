//! The times of a run: which silences are tried first, and how long everything may take.

use std::{collections::BTreeSet, time::Duration};

use crate::paths::{LONGEST_INTERVAL, PRESETS};

/// How long a run takes at most, unless another time is asked for.
const TOTAL: Duration = Duration::from_secs(600);
/// The same of a quick run.
const QUICK_TOTAL: Duration = Duration::from_secs(130);
/// The longest silence of a quick run.
const QUICK_LONGEST: Duration = Duration::from_secs(125);
/// How long the other end may take to answer: a phone wakes up, and a packet is sent a few times.
const WAIT: Duration = Duration::from_secs(10);
/// The same of a quick run.
const QUICK_WAIT: Duration = Duration::from_secs(4);
/// No path is asked to answer faster than this.
const SHORTEST_WAIT: Duration = Duration::from_millis(500);
/// How long the first looks take before the first silence begins, in a quick run.
const LEAD: Duration = Duration::from_secs(1);
/// The share of a full run that large messages may take before the first silence, and the most that they may take.
const CHECKS: u32 = 20;
const LONGEST_CHECKS: Duration = Duration::from_secs(45);
/// As long as these checks may take in a short run, too, if that is no more than a quarter of it.
const USUAL_CHECKS: Duration = Duration::from_secs(10);
/// How long the busy socket waits at most between two messages.
const BEAT: Duration = Duration::from_secs(20);

/// Silences that are tried beside those around known limits.
const SHORT: [u64; 3] = [5, 10, 15];
/// How far the two silences of a pair lie from the limit between them.
const PAIR: f64 = 0.02;
/// How many times as long the next silence is at most, where nothing can be tried a second time.
const STEP: f64 = 1.04;
/// The most silences that are tried at once. The other sockets of a run need room too.
const MOST_SERIES: usize = 53;

/// What somebody asked for.
#[derive(Debug, Clone, Default)]
pub(in crate::tools::probe) struct TimesWanted {
    /// Only silences, and only for two minutes.
    pub(in crate::tools::probe) quick: bool,
    /// The longest time that everything may take, as it is.
    pub(in crate::tools::probe) max: Option<Duration>,
    /// The silences to try, as they are; empty = the built-in ones.
    pub(in crate::tools::probe) silences: Vec<Duration>,
    /// By what the built-in times are multiplied.
    pub(in crate::tools::probe) scale: f64,
}

/// The times of a run as they pass on a clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::tools::probe) struct ProbeTimes {
    /// The silences that are tried first, the shortest first. Never empty.
    pub(in crate::tools::probe) series: Vec<Duration>,
    /// How long the other end may take to answer.
    pub(in crate::tools::probe) wait: Duration,
    /// How long everything may take.
    pub(in crate::tools::probe) total: Duration,
    /// How long the checks of large messages may take.
    pub(in crate::tools::probe) checks: Duration,
    /// How long the busy socket waits at most between two messages.
    pub(in crate::tools::probe) beat: Duration,
    /// longwire's interval of pings, where none is asked about.
    pub(in crate::tools::probe) interval: Duration,
}

impl ProbeTimes {
    /// The times that follow from what somebody asked for.
    #[must_use]
    pub(in crate::tools::probe) fn new(wanted: &TimesWanted) -> Self {
        let TimesWanted { quick, max, silences, scale } = wanted;
        let wait = if *quick { QUICK_WAIT } else { WAIT };
        let given: BTreeSet<Duration> = silences.iter().copied().collect();
        let total = match max {
            Some(max) => max.div_f64(*scale),
            None if *quick => QUICK_TOTAL,
            None => TOTAL,
        };
        let scaled = |time: Duration| time.mul_f64(*scale);
        let real_wait = scaled(wait).max(SHORTEST_WAIT);
        let (series, total): (Vec<_>, _) = match given.last() {
            None => (built_in(total, wait, *quick).into_iter().map(scaled).collect(), scaled(total)),
            // Silences that were asked for are tried, and there is time to come closer and to repeat.
            Some(longest) if max.is_none() => {
                (given.clone().into_iter().collect(), scaled(total).max((*longest + real_wait) * 4))
            }
            Some(_) => (given.clone().into_iter().collect(), scaled(total)),
        };
        let shortest = series.first().copied().unwrap_or(total);
        let beat = scaled(BEAT).min(shortest / 2);
        let total = max.unwrap_or(total);
        let checks = (total / CHECKS).min(scaled(LONGEST_CHECKS)).max(USUAL_CHECKS.min(total / 4));
        Self { series, wait: real_wait, total, checks, beat, interval: scaled(LONGEST_INTERVAL) }
    }
}

/// The built-in silences of a run that takes `total`: pairs around the limits that are known, and more where no time is left
/// to come closer after a socket has died.
fn built_in(total: Duration, wait: Duration, quick: bool) -> Vec<Duration> {
    let lead = if quick { LEAD } else { LEAD * 5 + (total / CHECKS).min(LONGEST_CHECKS) };
    let longest = total.saturating_sub(wait + lead).max(wait / 10);
    let longest = if quick { longest.min(QUICK_LONGEST) } else { longest };
    let known: BTreeSet<Duration> = PRESETS.iter().filter_map(|preset| preset.idle).collect();
    let pairs = known.iter().flat_map(|limit| [limit.mul_f64(1.0 - PAIR), limit.mul_f64(1.0 + PAIR)]);
    let mut series: Vec<_> = SHORT.map(Duration::from_secs).into_iter().chain(pairs).chain([longest]).collect();
    series.retain(|silence| *silence <= longest);
    series.sort();
    // Of two silences that are nearly the same, one is enough.
    series.dedup_by(|next, before| *next < before.mul_f64(1.0 + PAIR / 4.0));
    let from = (total.saturating_sub(lead) / 2).saturating_sub(wait);
    let mut step = STEP;
    loop {
        let dense = filled(&series, from, step);
        if dense.len() <= MOST_SERIES || step > 2.0 {
            return dense;
        }
        step *= 1.002;
    }
}

/// The silences with others between them, so that beyond `from` the next one is never more than `step` times as long.
fn filled(series: &[Duration], from: Duration, step: f64) -> Vec<Duration> {
    let mut dense: Vec<Duration> = Vec::new();
    for silence in series {
        if let Some(before) = dense.last().copied().filter(|_| *silence > from) {
            let before = before.max(from.mul_f64(1.0 / step)).min(*silence);
            dense.extend(between(before, *silence, step));
        }
        dense.push(*silence);
    }
    dense
}

/// The fewest times between `low` and `high`, so that each is at most `step` times the one before.
pub(super) fn between(low: Duration, high: Duration, step: f64) -> Vec<Duration> {
    let ratio = high.as_secs_f64() / low.as_secs_f64();
    if !ratio.is_finite() || ratio <= step {
        return Vec::new();
    }
    let parts = (ratio.ln() / step.ln() - 1e-9).ceil();
    let one = (ratio.ln() / parts).exp();
    (1..parts as u32).map(|part| low.mul_f64(one.powf(part.into()))).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn times(quick: bool, max: Option<u64>, silences: &[u64], scale: f64) -> ProbeTimes {
        let silences = silences.iter().map(|silence| seconds(*silence)).collect();
        ProbeTimes::new(&TimesWanted { quick, max: max.map(seconds), silences, scale })
    }

    #[test]
    fn a_quick_run_takes_130_s_and_tries_up_to_125_s_of_silence() {
        let times = times(true, None, &[], 1.0);
        assert_eq!((times.total, *times.series.last().unwrap()), (seconds(130), seconds(125)));
        assert!(*times.series.last().unwrap() + times.wait <= times.total);
    }

    #[test]
    fn the_last_silence_of_a_run_can_be_answered_within_its_time() {
        for max in [20, 60, 600, 3600, 90_000] {
            let times = times(false, Some(max), &[], 1.0);
            assert!(*times.series.last().unwrap() + times.wait <= times.total, "{max}: {times:?}");
            assert!(times.series.len() <= MOST_SERIES, "{max}: {}", times.series.len());
        }
        assert_eq!(times(false, None, &[], 1.0).total, seconds(600));
    }

    #[test]
    fn each_known_limit_lies_between_two_silences_that_are_near_it() {
        let series = times(false, Some(3600), &[], 1.0).series;
        for limit in PRESETS.iter().filter_map(|preset| preset.idle).filter(|limit| *limit < seconds(3500)) {
            let near = |silence: &Duration| silence.abs_diff(limit) < limit.mul_f64(0.035);
            assert!(series.iter().any(|silence| *silence < limit && near(silence)), "{limit:?} in {series:?}");
            assert!(series.iter().any(|silence| *silence > limit && near(silence)), "{limit:?} in {series:?}");
        }
    }

    #[test]
    fn where_nothing_can_be_tried_twice_the_silences_stand_close() {
        for times in [times(true, None, &[], 1.0), times(false, None, &[], 1.0)] {
            let late = |pair: &&[Duration]| (pair[1] + times.wait) * 2 > times.total;
            for pair in times.series.windows(2).filter(late) {
                assert!(pair[1] <= pair[0].mul_f64(1.051), "{pair:?} in {times:?}");
            }
        }
    }

    #[test]
    fn a_scale_shrinks_what_is_built_in_and_nothing_that_was_given() {
        let (full, tenth) = (times(false, None, &[], 1.0), times(false, None, &[], 0.1));
        let shrunk: Vec<_> = full.series.iter().map(|silence| silence.mul_f64(0.1)).collect();
        assert_eq!((tenth.series, tenth.total, tenth.wait), (shrunk, seconds(60), seconds(1)));
        assert_eq!(tenth.interval, Duration::from_millis(2500));
        let given = times(false, Some(50), &[2, 1, 2], 0.1);
        assert_eq!((given.series, given.total), (vec![seconds(1), seconds(2)], seconds(50)));
        assert_eq!(times(true, None, &[300], 0.1).total, seconds(300) * 4 + SHORTEST_WAIT * 4);
    }
}
