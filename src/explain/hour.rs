//! A fair sample of what ended in the last hour, and its patterns.

use std::{collections::VecDeque, fmt::Write as _};

use super::{
    Evidence, Pattern, PatternKind,
    facts::{EndClass, EndFacts},
    lots::{LotBounds, RecentEnds},
};

/// A fair sample of what ended in the last hour. The caller tells the time, in milliseconds since 1970.
#[derive(Debug)]
pub struct EndsOfHour {
    evidence: Evidence,
    /// The time of each addition, and the lots that are there of it.
    bounds: VecDeque<(i64, LotBounds)>,
}

impl EndsOfHour {
    /// The most sessions: 3 MiB. If more than 13 end in a second, for an hour, they are a sample.
    pub const MOST_SESSIONS: usize = RecentEnds::MOST_SESSIONS;
    /// The most refused handshakes: 1 MiB.
    pub const MOST_REFUSALS: usize = RecentEnds::MOST_REFUSALS;
    /// An hour, in milliseconds.
    pub const TIME: i64 = 3_600_000;

    /// Adds what has ended since the last time, and forgets what ended more than an hour ago. Returns whether anything is other
    /// than before. If the clock was put back, everything earlier is forgotten.
    pub fn add(&mut self, recent: RecentEnds, now: i64) -> bool {
        let before = self.evidence.len();
        let last = self.bounds.back().map_or(i64::MIN, |(at, _)| *at);
        if now < last {
            *self = Self::default();
        }
        let since = now.saturating_sub(Self::TIME);
        self.evidence.forget_before(since);
        self.bounds.retain(|(at, _)| *at >= since);
        let is_other = self.evidence.len() < before || !recent.is_empty();
        self.evidence.forget_words();
        self.bounds.push_back((now, recent.bounds()));
        let RecentEnds { sessions, refusals } = recent;
        for end in sessions.ends.into_iter().chain(refusals.ends) {
            // A record reckons its end from its begin. Where the machine was suspended or its clock was set, that is too early or late.
            self.evidence.add_sampled(&end, end.facts.ended.clamp(last.min(now), now));
        }
        self.thin();
        is_other
    }

    /// Forgets the highest lots, so that no more is there than may be.
    fn thin(&mut self) {
        let fit = LotBounds([
            self.fitting(EndClass::Session, Self::MOST_SESSIONS),
            self.fitting(EndClass::Refusal, Self::MOST_REFUSALS),
        ]);
        if fit != LotBounds::ALL {
            self.evidence.facts.retain(|facts| facts.lot < fit.of(facts.class()));
            for (_, bounds) in &mut self.bounds {
                *bounds = bounds.both(fit);
            }
        }
    }

    /// The lots that are there of all additions. Only these are a fair sample of the whole hour.
    fn bounds(&self) -> LotBounds {
        self.bounds.iter().fold(LotBounds::ALL, |all, (_, bounds)| all.both(*bounds))
    }

    /// The patterns, the one with most cases first.
    #[must_use]
    pub fn patterns(&mut self) -> Vec<Pattern> {
        let bounds = self.bounds();
        if bounds == LotBounds::ALL {
            return self.evidence.patterns();
        }
        let [sessions, refusals] = bounds.0;
        if sessions <= refusals {
            // Refusals that are thinned like the sessions are a fair sample, too.
            return self.reckon(sessions, |facts| facts.lot < sessions);
        }
        // Some patterns compare refused handshakes with sessions. For these, both must be thinned alike.
        let of_sessions = self.reckon(sessions, |facts| facts.is_session() && facts.lot < sessions);
        let mut patterns = self.reckon(refusals, |facts| facts.lot < refusals);
        patterns.retain(|pattern| compares_handshakes(pattern.kind));
        let of_both = patterns.len();
        for pattern in of_sessions.into_iter().filter(|pattern| pattern.kind != PatternKind::Storm) {
            // A limit of ours that ends sessions is told from both, if enough of its cases are left there.
            let is_same = |known: &Pattern| known.kind == pattern.kind && known.key == pattern.key;
            if !patterns.iter().take(of_both).any(is_same) {
                patterns.push(pattern);
            }
        }
        patterns.sort_by(Pattern::by_harm);
        patterns
    }

    /// The patterns of a sample in which every lot below `bound` is, with as many cases as there are in all.
    fn reckon(&mut self, bound: u32, is_in_sample: impl Fn(&EndFacts) -> bool) -> Vec<Pattern> {
        let mut patterns = self.evidence.patterns_among(is_in_sample);
        let part = f64::from(bound) / f64::from(u32::MAX);
        if bound < u32::MAX {
            for pattern in &mut patterns {
                // A cast of a float stops at the bounds of the integer.
                pattern.cases = (pattern.cases as f64 / part.max(f64::EPSILON)).round() as u64;
                let _ = write!(pattern.text, " (Counted in a fair sample of {} % of the ends.)", percent(part));
            }
        }
        patterns
    }

    /// The bound below which at most `most` ends of a class are.
    fn fitting(&self, class: EndClass, most: usize) -> u32 {
        let of_class = self.evidence.facts.iter().filter(|facts| facts.class() == class);
        let mut lots: Vec<u32> = of_class.map(|facts| facts.lot).collect();
        if lots.len() <= most {
            return u32::MAX;
        }
        let (_, lot, _) = lots.select_nth_unstable(most);
        *lot
    }
}

impl Default for EndsOfHour {
    fn default() -> Self {
        Self { evidence: Evidence::new(Evidence::MOST), bounds: VecDeque::new() }
    }
}

/// A part in percent, with two digits at least.
fn percent(part: f64) -> String {
    let percent = part * 100.0;
    if percent < 10.0 { format!("{percent:.1}") } else { format!("{percent:.0}") }
}

/// Whether the cases of such a pattern are handshakes, of all that there were.
const fn compares_handshakes(kind: PatternKind) -> bool {
    matches!(kind, PatternKind::HandshakeFailures | PatternKind::OwnLimit | PatternKind::Storm)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        balance::random_at,
        explain::{lots::SampledEnd, record::read},
    };

    const NOON: &str = "2026-01-02T12:00:00Z";
    const STEP: i64 = 15_000;

    fn noon() -> i64 {
        NOON.parse::<jiff::Timestamp>().unwrap().as_millisecond()
    }

    /// Ends as they come, each with the next lot.
    struct Source(u64);

    impl Source {
        /// Adds as many ends as are told to `recent`. `line` has their other fields, without braces.
        fn add(&mut self, recent: &mut RecentEnds, count: usize, at: i64, cause: &'static str, line: &str) {
            let time = jiff::Timestamp::from_millisecond(at).unwrap();
            let kind = if cause.contains("client") { "session" } else { "request" };
            let line = format!(r#"{{"time":"{time}","kind":"{kind}","cause":"{cause}",{line}}}"#);
            let mut scratch = String::new();
            let record = read(line.as_bytes(), &mut scratch).unwrap();
            for _ in 0..count {
                let lot = (random_at(self.0) >> 32) as u32;
                self.0 += 1;
                if let Some(end) = SampledEnd::of(&record, cause, lot, |_| true) {
                    recent.push(end);
                }
            }
        }
    }

    const LOST: &str = r#""how":"fin","route":"a/","duration_ms":0,"client":"192.0.2.1""#;
    const CLOSED: &str = r#""how":"close","route":"a/","duration_ms":0,"client":"192.0.2.1""#;
    const REFUSED: &str = r#""handshake":true,"status":502,"route":"a/","duration_ms":0"#;

    /// The sessions of the fair sample.
    fn fair(hour: &EndsOfHour) -> impl Iterator<Item = &EndFacts> {
        let bound = hour.bounds().of(EndClass::Session);
        hour.evidence.facts.iter().filter(move |facts| facts.is_session() && facts.lot < bound)
    }

    /// Whether the share is the expected one, but for chance.
    fn is_near(part: usize, all: usize, share: f64) -> bool {
        let (part, all) = (part as f64, all as f64);
        (part / all - share).abs() < 4.0 * (share * (1.0 - share) / all).sqrt()
    }

    #[test]
    fn shares_stay_right_however_many_end_and_however_unevenly() {
        let (mut hour, mut source) = (EndsOfHour::default(), Source(0));
        let (mut lost, mut all) = (0, 0);
        for step in 0..20 {
            let at = noon() + step * STEP;
            // One step has twenty times as much as the others, and more losses.
            let (losses, closes) = if step == 7 { (60_000, 20_000) } else { (1000, 3000) };
            let mut recent = RecentEnds::default();
            source.add(&mut recent, losses, at, "client_lost", LOST);
            source.add(&mut recent, closes, at, "client_close", CLOSED);
            (lost, all) = (lost + losses, all + losses + closes);
            assert!(hour.add(recent, at));
            assert!(hour.evidence.len() <= EndsOfHour::MOST_SESSIONS);
            let kept = fair(&hour).count();
            let share = f64::from(hour.bounds().of(EndClass::Session)) / f64::from(u32::MAX);
            assert!(is_near(kept, all, share.min(0.999_999)), "{step}: {kept} of {all}, {share}");
        }
        let sample = fair(&hour).count();
        let drops = fair(&hour).filter(|facts| facts.dropped().is_some()).count();
        assert!(is_near(drops, sample, lost as f64 / all as f64), "{drops} of {sample}; {lost} of {all}");
        // What came later is not more than what came before.
        let late = fair(&hour).filter(|facts| facts.ended > noon() + 7 * STEP).count();
        assert!(is_near(late, sample, 48_000.0 / all as f64), "{late} of {sample}");
    }

    #[test]
    fn a_flood_of_refusals_hides_no_session_and_their_share_of_the_handshakes_is_right() {
        let (mut hour, mut source) = (EndsOfHour::default(), Source(0));
        let mut recent = RecentEnds::default();
        source.add(&mut recent, 45_000, noon(), "refused", REFUSED);
        source.add(&mut recent, 100, noon(), "client_lost", LOST);
        source.add(&mut recent, 14_900, noon() + 1000, "client_close", CLOSED);
        let mut few = RecentEnds::default();
        source.add(&mut few, 8, noon() + STEP, "client_lost", LOST);
        hour.add(recent, noon() + STEP);
        hour.add(few, noon() + 2 * STEP);
        let bounds = hour.bounds();
        assert!(bounds.of(EndClass::Refusal) < u32::MAX / 2 && bounds.of(EndClass::Session) == u32::MAX, "{bounds:?}");
        assert_eq!(fair(&hour).filter(|facts| facts.dropped().is_some()).count(), 108);
        let refusals = hour.evidence.facts.iter().filter(|facts| !facts.is_session()).count();
        assert!(refusals <= EndsOfHour::MOST_REFUSALS, "{refusals}");
        let patterns = hour.patterns();
        let failures = patterns.iter().find(|pattern| pattern.kind == PatternKind::HandshakeFailures).unwrap();
        assert!((failures.share - 0.75).abs() < 0.02, "{failures:?}");
        // Its cases are reckoned up to all, and so it stands first.
        assert!((43_000..47_000).contains(&failures.cases) && failures == &patterns[0], "{patterns:#?}");
        assert!(failures.text.contains("a fair sample of 36 % of the ends"), "{failures:?}");
    }

    #[test]
    fn an_end_is_as_old_as_what_came_with_it_whatever_its_record_says() {
        let (mut hour, mut source) = (EndsOfHour::default(), Source(0));
        hour.add(RecentEnds::default(), noon());
        let mut recent = RecentEnds::default();
        // The machine was suspended for two hours, or was thought to be in the future.
        source.add(&mut recent, 5, noon() - 2 * EndsOfHour::TIME, "client_lost", LOST);
        source.add(&mut recent, 3, noon() + EndsOfHour::TIME, "client_lost", LOST);
        hour.add(recent, noon() + STEP);
        hour.add(RecentEnds::default(), noon() + EndsOfHour::TIME);
        let ended: Vec<_> = hour.evidence.facts.iter().map(|facts| facts.ended - noon()).collect();
        assert_eq!(ended.iter().filter(|ended| **ended == 0).count(), 5, "{ended:?}");
        assert_eq!(ended.iter().filter(|ended| **ended == STEP).count(), 3, "{ended:?}");
    }

    #[test]
    fn a_clock_that_is_put_back_begins_the_hour_anew() {
        let (mut hour, mut source) = (EndsOfHour::default(), Source(0));
        let mut recent = RecentEnds::default();
        source.add(&mut recent, 5, noon(), "client_lost", LOST);
        hour.add(recent, noon());
        let mut recent = RecentEnds::default();
        source.add(&mut recent, 2, noon(), "client_lost", LOST);
        assert!(hour.add(recent, noon() - STEP));
        let ended: Vec<_> = hour.evidence.facts.iter().map(|facts| facts.ended - noon()).collect();
        assert_eq!(ended, [-STEP, -STEP]);
    }

    #[test]
    fn what_ended_an_hour_ago_is_forgotten_and_thins_nothing_any_more() {
        let (mut hour, mut source) = (EndsOfHour::default(), Source(0));
        for _ in 0..4 {
            let mut recent = RecentEnds::default();
            source.add(&mut recent, 20_000, noon(), "client_lost", LOST);
            assert!(hour.add(recent, noon()));
        }
        assert_ne!(hour.bounds(), LotBounds::ALL);
        let steps = EndsOfHour::TIME / STEP;
        for step in 1..=2 * steps + 1 {
            let at = noon() + step * STEP;
            let mut recent = RecentEnds::default();
            source.add(&mut recent, 100, at, "client_close", CLOSED);
            assert!(hour.add(recent, at));
            let lost = hour.evidence.facts.iter().filter(|facts| facts.dropped().is_some()).count();
            assert_eq!(lost > 0, step <= steps, "{step}: {lost}");
            // What came within the hour of the flood was thinned like it. An hour later that is forgotten, too.
            assert_eq!(hour.bounds() == LotBounds::ALL, step > 2 * steps, "{step}: {:?}", hour.bounds());
        }
        assert_eq!(hour.evidence.len() as i64, 100 * (steps + 1));
    }

    #[test]
    fn an_hour_without_an_end_changes_nothing() {
        let mut hour = EndsOfHour::default();
        assert!(!hour.add(RecentEnds::default(), noon()));
        let (mut recent, mut source) = (RecentEnds::default(), Source(0));
        source.add(&mut recent, 1, noon(), "client_close", CLOSED);
        assert!(hour.add(recent, noon()) && !hour.add(RecentEnds::default(), noon() + EndsOfHour::TIME));
        assert!(hour.add(RecentEnds::default(), noon() + EndsOfHour::TIME + 1));
    }
}
