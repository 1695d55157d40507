//! What `longwire explain` prints: for people, and as JSON.

use std::fmt::{self, Write as _};

use serde_json::{Value, json};

use crate::explain::{EndCounts, Histogram, Pattern, PatternKind};

/// How wide the words are printed.
const WIDTH: usize = 80;
/// What stands before the words of a pattern.
const INDENT: &str = "   ";
/// The bars of a histogram, from nothing to the highest.
const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// What was read, and what was found.
#[derive(Debug)]
pub struct EndAccount {
    /// The records that were read.
    pub records: u64,
    /// The lines that are no records.
    pub skipped: u64,
    /// The earliest records, in which no pattern was looked for, because there were too many.
    pub forgotten: u64,
    /// How the sessions ended.
    pub ended: EndCounts,
    /// What the ends have in common, most harmful first.
    pub patterns: Vec<Pattern>,
}

impl EndAccount {
    /// Whether something was found that should be changed.
    #[must_use]
    pub fn has_findings(&self) -> bool {
        !self.patterns.is_empty()
    }

    /// The account as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let Self { records, skipped, forgotten: _, ended, patterns } = self;
        json!({ "records": records, "skipped": skipped, "ended": ended, "findings": patterns })
    }

    /// The account for people. `color`: with colours of a terminal.
    #[must_use]
    pub fn text(&self, color: bool) -> String {
        let Self { records, skipped, forgotten, ended, patterns } = self;
        let mut text = format!("{records} records, {} sessions: {}\n", ended.sessions(), Shares(ended));
        if *skipped > 0 {
            let _ = writeln!(text, "{skipped} lines are no records and were skipped.");
        }
        if *forgotten > 0 {
            let _ = writeln!(text, "Patterns were looked for in the last {} records.", records - forgotten);
        }
        if patterns.is_empty() {
            text.push_str(match (records, ended.dropped) {
                (0, _) => "\nThere is no record to explain: is this a log of longwire?\n",
                (_, 0) => "\nNo session was dropped.\n",
                _ => "\nNothing stands out: the drops have no silence, age, moment, route, backend or network in common.\n",
            });
        }
        let (bold, plain) = if color { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        for (number, pattern) in (1..).zip(patterns) {
            let _ = write!(text, "\n{bold}{number}. {}{plain}\n", heading(pattern));
            wrap(&pattern.text, &mut text);
            match (&pattern.key, &pattern.value) {
                (Some(key), Some(value)) => {
                    let _ = writeln!(text, "{INDENT}{bold}{key}: {value}{plain}");
                }
                (Some(key), None) => {
                    let _ = writeln!(text, "{INDENT}{bold}{key}{plain}");
                }
                (None, _) => {}
            }
            if let Some(histogram) = &pattern.histogram {
                let _ = writeln!(text, "{INDENT}{}", Bars(histogram));
            }
        }
        text.trim_end().to_owned()
    }
}

/// A pattern in one line.
fn heading(pattern: &Pattern) -> String {
    let mut heading = match pattern.kind {
        PatternKind::IdleLimit => "a limit of silence",
        PatternKind::LifeLimit => "a limit of age",
        PatternKind::Burst => "many drops at one moment",
        PatternKind::Network => "one network of clients",
        PatternKind::HandshakeFailures => "handshakes that fail",
        PatternKind::SlowReaders => "slow readers",
        PatternKind::OwnLimit => "a limit of longwire's own",
        PatternKind::Storm => "clients that come back all at once",
        PatternKind::DeadUnanswered => "Pings without an answer",
    }
    .to_owned();
    if let Some(side) = pattern.side {
        let _ = write!(heading, ", {side} side");
    }
    if let Some(seconds) = pattern.seconds {
        let _ = write!(heading, ", {seconds} s");
    }
    let (share, sure) = (pattern.share * 100.0, pattern.confidence * 100.0);
    let _ = write!(heading, ": {} cases, {share:.1} % {}; {sure:.1} % sure", pattern.cases, whole(pattern.kind));
    heading
}

/// What the share of a pattern is a part of.
const fn whole(kind: PatternKind) -> &'static str {
    match kind {
        PatternKind::HandshakeFailures | PatternKind::Storm => "of the handshakes there",
        PatternKind::SlowReaders | PatternKind::OwnLimit => "of the sessions there",
        _ => "of the drops there",
    }
}

/// How the sessions ended, in parts of a hundred.
struct Shares<'a>(&'a EndCounts);

impl fmt::Display for Shares<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EndCounts { by_close, dropped, ours } = *self.0;
        let all = self.0.sessions().max(1) as f64;
        let share = |count: u64| count as f64 / all * 100.0;
        let (closed, dropped, ours) = (share(by_close), share(dropped), share(ours));
        write!(f, "{closed:.1} % ended by a Close, {dropped:.1} % were dropped, {ours:.1} % longwire ended itself.")
    }
}

/// A histogram in one line, between the ends of its range.
struct Bars<'a>(&'a Histogram);

impl fmt::Display for Bars<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Histogram { low, high, counts } = self.0;
        let most = counts.iter().copied().max().unwrap_or_default().max(1);
        let steps = BARS.len() as u32 - 1;
        // What is not nothing has at least the lowest bar.
        let bar = |count: u32| BARS.get((u64::from(count) * u64::from(steps)).div_ceil(most.into()) as usize);
        let bars: String = counts.iter().map(|count| bar(*count).copied().unwrap_or_default()).collect();
        write!(f, "{low:.0} s |{bars}| {high:.0} s, at most {most}")
    }
}

/// Adds the words in lines of a bounded width.
fn wrap(words: &str, text: &mut String) {
    let mut width = 0;
    for word in words.split(' ') {
        let long = word.chars().count();
        if width == 0 || width + 1 + long > WIDTH {
            text.push_str(if width == 0 { INDENT } else { "\n   " });
            width = INDENT.len();
        } else {
            text.push(' ');
            width += 1;
        }
        text.push_str(word);
        width += long;
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::Witnesses;

    fn pattern() -> Pattern {
        Pattern {
            kind: PatternKind::IdleLimit,
            side: Some("client"),
            route: None,
            backend: None,
            network: None,
            status: None,
            seconds: Some(47.0),
            at: None,
            for_seconds: None,
            cases: 12,
            share: 0.5,
            confidence: 0.999,
            key: Some("keepalive.ping_interval".to_owned()),
            value: Some("18s".to_owned()),
            text: "words ".repeat(40).trim_end().to_owned(),
            histogram: Some(Histogram {
                low: 0.0,
                high: 94.0,
                counts: std::array::from_fn(|part| (part == 20).into()),
            }),
            bound: None,
            witnesses: Witnesses::default(),
        }
    }

    fn account(patterns: Vec<Pattern>) -> EndAccount {
        let ended = EndCounts { by_close: 992, dropped: 7, ours: 1 };
        EndAccount { records: 1200, skipped: 3, forgotten: 0, ended, patterns }
    }

    #[test]
    fn people_read_the_shares_the_pattern_the_key_and_a_histogram() {
        let text = account(vec![pattern()]).text(false);
        for part in [
            "1200 records, 1000 sessions: 99.2 % ended by a Close, 0.7 % were dropped, 0.1 % longwire ended itself.\n3 lines",
            "\n1. a limit of silence, client side, 47 s: 12 cases, 50.0 % of the drops there; 99.9 % sure\n   words words",
            "\n   keepalive.ping_interval: 18s\n   0 s |                    █                   | 94 s, at most 1",
        ] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
        let mut words = text.lines().filter(|line| line.contains("words"));
        assert!(words.all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(!text.contains('\x1b') && account(vec![pattern()]).text(true).contains("\x1b[1m1. a limit"));
    }

    #[test]
    fn people_read_that_nothing_was_found() {
        assert!(account(Vec::new()).text(true).ends_with("in common."), "{}", account(Vec::new()).text(true));
        let ended = EndCounts { by_close: 3, dropped: 0, ours: 0 };
        let text = |records, ended| EndAccount { records, ended, ..account(Vec::new()) }.text(false);
        assert!(text(3, ended).ends_with("No session was dropped."));
        assert!(text(0, EndCounts::default()).ends_with("is this a log of longwire?"));
    }

    #[test]
    fn programs_read_the_documented_keys_and_no_others() {
        let json = account(vec![pattern()]).json();
        assert_eq!(json["ended"], json!({ "by_close": 992, "dropped": 7, "ours": 1 }));
        assert_eq!((&json["records"], &json["skipped"]), (&json!(1200), &json!(3)));
        let finding = &json["findings"][0];
        let keys: Vec<_> = finding.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
        let mut expected = ["kind", "side", "seconds", "cases", "share", "confidence", "key", "value", "text"];
        let mut keys = keys;
        keys.sort_unstable();
        expected.sort_unstable();
        assert_eq!((keys, &finding["kind"]), (expected.to_vec(), &json!("idle_limit")));
    }
}
