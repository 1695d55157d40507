//! Peaks: places on a line at which far more values lie than on both sides. No list of known places is used.
//!
//! A window of several widths moves over the sorted values. Its count is held against the values on each side of it (the
//! flanks). A window is a peak where it has more than `allowance` times the density of either flank, with so many values that
//! chance would hardly do it. An edge, behind which there is nothing, is no peak: it does not rise above its other side.

use super::chance::ln_binomial_tail;

/// The fewest cases of a pattern.
pub(super) const FEWEST: usize = 8;
/// The chance at which a pattern is told, all looks counted.
pub(super) const CHANCE: f64 = 0.001;
/// The most values of a line that are looked at. Of more, one in several stands for the others; the places of the line are looked
/// at by themselves as well.
const MOST_SCANNED: usize = 1 << 16;
/// The most peaks of one line.
const MOST_PEAKS: usize = 6;
/// How many times denser than its flanks a window is at least.
const LEAST_RISE: f64 = 2.5;
/// The places at which a window of one width can differ, for each of its widths.
const PLACES_IN_A_WIDTH: f64 = 4.0;
/// How many steps of half a window a peak grows to each side.
const MOST_STEPS: usize = 16;

/// What is smooth on a line, and what can be a peak.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    /// The widths of windows.
    widths: &'static [f64],
    /// The length of a flank.
    flank: f64,
    /// How many times denser than a flank the smooth part may be anywhere.
    allowance: f64,
    /// Where the line begins and ends: outside of it nothing could be seen.
    from: f64,
    to: f64,
}

/// A place at which values lie densely.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Peak {
    pub(super) low: f64,
    pub(super) high: f64,
    /// The logarithm of the chance that it is none, looks not counted.
    pub(super) ln_chance: f64,
    /// How many looks there were.
    pub(super) looks: f64,
}

impl Axis {
    /// Durations by their logarithm: windows of half a percent to eight percent.
    pub(super) const DURATIONS: Self = Self {
        widths: &[0.005, 0.01, 0.02, 0.04, 0.08],
        flank: 0.6,
        allowance: 1.25,
        from: f64::NEG_INFINITY,
        to: f64::INFINITY,
    };

    /// Moments in seconds, of which the first and the last record are known: windows of 1 s to a minute, beside a quarter of
    /// an hour. What happens by day and not by night is smooth; a place where it happens three times as often is not.
    pub(super) const fn moments(from: f64, to: f64) -> Self {
        Self { widths: &[1.0, 4.0, 15.0, 60.0], flank: 900.0, allowance: 3.0, from, to }
    }

    /// The length of a flank.
    pub(super) const fn flank(&self) -> f64 {
        self.flank
    }

    /// The length of both flanks of a place, as far as something could be seen there.
    pub(super) fn around(&self, low: f64, high: f64) -> f64 {
        self.seen(low - self.flank, low, &[]) + self.seen(high, high + self.flank, &[])
    }

    fn looks(&self, values: &[f64]) -> f64 {
        let (Some(first), Some(last)) = (values.first(), values.last()) else { return 1.0 };
        self.widths.iter().map(|width| PLACES_IN_A_WIDTH * ((last - first) / width + 1.0)).sum()
    }

    /// The part of `[from, to]` in which something could be seen, without what lies in `gone`.
    fn seen(&self, from: f64, to: f64, gone: &[Peak]) -> f64 {
        let (from, to) = (from.max(self.from), to.min(self.to));
        let hidden: f64 = gone.iter().map(|peak| (peak.high.min(to) - peak.low.max(from)).max(0.0)).sum();
        (to - from - hidden).max(0.0)
    }
}

/// The peaks of sorted values, the strongest first. `others`: how many such lines are looked at.
pub(super) fn peaks(values: &[f64], axis: &Axis, others: f64) -> Vec<Peak> {
    let step = values.len().div_ceil(MOST_SCANNED).max(1);
    let mut values: Vec<f64> = values.iter().copied().step_by(step).collect();
    let looks = axis.looks(&values) * others.max(1.0);
    let mut found: Vec<Peak> = Vec::new();
    while found.len() < MOST_PEAKS && values.len() >= FEWEST {
        let Some(peak) = strongest(&values, &found, axis, looks) else { break };
        values.retain(|value| !(peak.low..=peak.high).contains(value));
        found.push(peak);
    }
    found
}

/// How many values lie in `[low, high]`, less those that would lie there if nothing were special about the place.
pub(super) fn excess(values: &[f64], low: f64, high: f64, axis: &Axis) -> f64 {
    let count = |from, to| count(values, from, to) as f64;
    let (inside, beside) = (count(low, high), axis.around(low, high));
    let others = count(low - axis.flank, high + axis.flank) - inside;
    let usual = if beside > 0.0 { others / beside * (high - low) } else { 0.0 };
    (inside - usual).max(0.0)
}

/// How many of the sorted values lie in `[from, to]`.
fn count(values: &[f64], from: f64, to: f64) -> usize {
    values.partition_point(|value| *value <= to).saturating_sub(values.partition_point(|value| *value < from))
}

/// The least likely window, where chance would not do; grown to the whole of the peak.
fn strongest(values: &[f64], gone: &[Peak], axis: &Axis, looks: f64) -> Option<Peak> {
    let worst = CHANCE.ln() - looks.ln();
    let mut best: Option<(Peak, f64)> = None;
    for width in axis.widths {
        let mut cursor = Cursor::default();
        for (at, low) in values.iter().enumerate() {
            cursor.advance(values, *low, *width, axis.flank);
            let Cursor { left, right, far } = cursor;
            let count = right - at;
            // A flank is seen as a whole at most, so its density is at least this.
            let density = (at - left).max(far - right) as f64 / axis.flank;
            if count < FEWEST || (count as f64) < LEAST_RISE * density * width {
                continue;
            }
            let high = low + width;
            let flanks = [
                (at - left, axis.seen(low - axis.flank, *low, gone)),
                (far - right, axis.seen(high, high + axis.flank, gone)),
            ];
            let Some((ln_chance, density)) = surprise(count, *width, flanks, axis.allowance) else { continue };
            if ln_chance < best.map_or(worst, |(peak, _)| peak.ln_chance) {
                let high = values.get(right - 1).copied().unwrap_or(high);
                best = Some((Peak { low: *low, high, ln_chance, looks }, density));
            }
        }
    }
    best.map(|(peak, density)| grown(peak, values, density, axis))
}

/// Where the flanks of a window begin and end.
#[derive(Debug, Clone, Copy, Default)]
struct Cursor {
    /// The first value of the left flank.
    left: usize,
    /// The first value behind the window.
    right: usize,
    /// The first value behind the right flank.
    far: usize,
}

impl Cursor {
    fn advance(&mut self, values: &[f64], low: f64, width: f64, flank: f64) {
        let skip = |from: usize, is_before: &dyn Fn(f64) -> bool| {
            let rest = values.get(from..).unwrap_or_default();
            from + rest.iter().take_while(|value| is_before(**value)).count()
        };
        self.left = skip(self.left, &|value| value < low - flank);
        self.right = skip(self.right, &|value| value <= low + width);
        self.far = skip(self.far, &|value| value <= low + width + flank);
    }
}

/// The logarithm of the chance of a window beside its flanks, of which each is a count and a length, and the density of the
/// denser one. `None`: it does not rise far enough above one of them, or no flank can be seen.
fn surprise(count: usize, width: f64, flanks: [(usize, f64); 2], allowance: f64) -> Option<(f64, f64)> {
    let count = count as f64;
    let seen = flanks.into_iter().filter(|(_, length)| *length >= width);
    let density = seen.clone().map(|(others, length)| others as f64 / length).fold(f64::NAN, f64::max);
    let usual = density * width;
    // A density that is not a number has no flank.
    if usual.is_nan() || count < LEAST_RISE * usual || count - usual < FEWEST as f64 {
        return None;
    }
    let ln_chance = seen.map(|(others, length)| {
        let share = allowance * width / (allowance * width + length);
        ln_binomial_tail(count, count + others as f64, share)
    });
    Some((ln_chance.fold(f64::NEG_INFINITY, f64::max), density))
}

/// The window with what lies beside it as densely as in no flank.
fn grown(peak: Peak, values: &[f64], density: f64, axis: &Axis) -> Peak {
    let narrowest = axis.widths.first().copied().unwrap_or_default();
    let step = ((peak.high - peak.low) / 2.0).max(narrowest);
    let least = (LEAST_RISE * density * step).max(1.0);
    let count = |from, to| count(values, from, to) as f64;
    let Peak { mut low, mut high, .. } = peak;
    for _ in 0..MOST_STEPS {
        if count(low - step, low.next_down()) <= least {
            break;
        }
        low -= step;
    }
    for _ in 0..MOST_STEPS {
        if count(high.next_up(), high + step) <= least {
            break;
        }
        high += step;
    }
    Peak { low, high, ..peak }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sorted(mut values: Vec<f64>) -> Vec<f64> {
        values.sort_by(f64::total_cmp);
        values
    }

    /// `count` values that lie evenly in `[from, to]`.
    fn evenly(count: usize, from: f64, to: f64) -> Vec<f64> {
        (0..count).map(|place| from + (to - from) * (place as f64 + 0.5) / count as f64).collect()
    }

    fn places(values: Vec<f64>) -> Vec<(f64, f64)> {
        let values = sorted(values.into_iter().map(f64::ln).collect());
        let found = peaks(&values, &Axis::DURATIONS, 1.0);
        found.into_iter().map(|peak| (peak.low.exp(), peak.high.exp())).collect()
    }

    #[test]
    fn a_peak_is_found_wherever_it_is_and_with_nothing_beside_it() {
        for place in [2.0, 12.0, 47.0, 59.9, 350.0, 7200.0] {
            let [(low, high)] = places(evenly(9, place, place * 1.004))[..] else { panic!("no peak at {place}") };
            assert!(low >= place && high <= place * 1.005, "{place}: {low} to {high}");
        }
    }

    #[test]
    fn seven_cases_are_no_peak_and_eight_are_one() {
        assert_eq!(places(evenly(7, 47.0, 47.1)), []);
        assert_eq!(places(evenly(8, 47.0, 47.1)).len(), 1);
    }

    #[test]
    fn a_peak_stands_out_of_a_smooth_background_and_takes_its_whole_width() {
        let values = [evenly(2000, 0.0, 600.0), evenly(60, 58.0, 62.0)].concat();
        let [(low, high)] = places(values)[..] else { panic!("no single peak") };
        assert!((57.0..58.5).contains(&low) && (61.5..63.0).contains(&high), "{low} to {high}");
    }

    #[test]
    fn two_peaks_are_two() {
        let values = [evenly(500, 0.0, 600.0), evenly(40, 47.0, 47.3), evenly(60, 120.0, 121.0)].concat();
        let mut found = places(values);
        found.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!((46.0..48.0).contains(&found[0].0) && (119.0..122.0).contains(&found[1].0), "{found:?}");
    }

    #[test]
    fn an_edge_is_no_peak() {
        assert_eq!(places(evenly(5000, 0.0, 24.0)), []);
        assert_eq!(places([evenly(3000, 0.0, 24.0), evenly(100, 24.0, 600.0)].concat()), []);
    }

    #[test]
    fn a_hump_is_no_peak() {
        // Lognormal, as sessions of people are: the quantiles of the logistic stand in for those of the normal.
        for spread in [0.3, 0.6, 1.2] {
            let values = (1..4000).map(|rank| {
                let share = f64::from(rank) / 4000.0;
                (4.0 + spread * (share / (1.0 - share)).ln() / 1.7).exp()
            });
            assert_eq!(places(values.collect()), [], "spread {spread}");
        }
    }

    #[test]
    fn a_moment_at_the_edge_of_what_is_known_has_one_flank_and_a_log_that_is_all_burst_has_none() {
        let burst = evenly(30, 0.0, 0.5);
        let calm = evenly(30, 0.0, 3600.0);
        let values = sorted([burst.clone(), calm].concat());
        assert_eq!(peaks(&values, &Axis::moments(0.0, 3600.0), 1.0).len(), 1);
        assert_eq!(peaks(&burst, &Axis::moments(0.0, 0.5), 1.0), []);
    }

    #[test]
    fn what_is_usual_is_taken_off_the_cases() {
        let values = sorted([evenly(1000, 0.0, 1000.0), evenly(50, 500.0, 501.0)].concat());
        let excess = excess(&values, 500.0, 501.0, &Axis::moments(0.0, 1000.0));
        assert!((48.0..52.0).contains(&excess), "{excess}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_peak_is_seen_in_chance(seconds in proptest::collection::vec(0.02..900.0_f64, 8..400)) {
            prop_assert_eq!(places(seconds), []);
        }
    }
}
