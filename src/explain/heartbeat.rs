//! Whether a silence is that of a program's own heartbeat. A program that pings the other end, and ends the session where no
//! answer comes, had spoken last whenever it does so: always after the same silence of its own, which looks like a limit of the path.

use super::{
    Evidence,
    facts::EndFacts,
    pattern::PatternKind,
    suspects::{Measure, Suspect},
};
use crate::ws::Side;

/// The part of the cases that must look alike.
const MOST: f64 = 0.9;
/// The last byte to a program with a heartbeat is the answer before: of a period and a bit, in parts of the silence. What only asks
/// and answers has less.
const AN_ANSWER_AGO: std::ops::RangeInclusive<f64> = 1.3..=2.6;

/// What speaks for a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heartbeat {
    /// The lost side had spoken last each time.
    Possible,
    /// And what had last come to it is as old as an answer to the beat before.
    Unanswered {
        /// Whether the other side went on answering our Pings.
        answered_us: bool,
    },
}

/// Whether the silence of this suspect can be that of a heartbeat of the lost side.
pub(super) fn heartbeat(evidence: &Evidence, suspect: &Suspect) -> Option<Heartbeat> {
    let (PatternKind::IdleLimit, Some(side), Measure::Silence | Measure::SilenceFrom) =
        (suspect.kind, suspect.side, suspect.measure)
    else {
        return None;
    };
    let cases = || suspect.facts.iter().filter_map(|fact| evidence.facts.get(*fact as usize));
    let last =
        || cases().filter_map(|facts| Some((facts.silences(side).from.seconds()?, facts.silences(side).to.seconds()?)));
    let are_most = |count: usize, part: f64| count as f64 >= part * suspect.facts.len() as f64;
    if !are_most(last().filter(|(from, to)| to > from).count(), MOST) {
        return None;
    }
    if !are_most(last().filter(|(from, to)| AN_ANSWER_AGO.contains(&(to / from))).count(), MOST) {
        return Some(Heartbeat::Possible);
    }
    // What comes from the other side goes to this one, but for the Pongs to our Pings.
    let since = |facts: &EndFacts, side: Side| facts.silences(side).from.seconds();
    let lively = cases().filter(|facts| since(facts, side.other()) < since(facts, side));
    let answered_us = are_most(lively.count(), 0.5);
    Some(Heartbeat::Unanswered { answered_us })
}
