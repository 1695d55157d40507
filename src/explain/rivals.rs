//! Which suspects are told: several may have the same cases, of which one is the reason.

use super::{
    Evidence,
    crowd::Crowd,
    facts::EndSort,
    lines::{handshakes, lines, moment},
    pattern::PatternKind,
    peaks::FEWEST,
    rates,
    survivors::Survivors,
    suspects::{Measure, ROUND_TRIP, Suspect, ValueLine},
    unheard,
};
use crate::ws::Side;

/// A suspect is told if it has at least this part of its cases for itself.
const OWN: f64 = 0.5;
/// The longest time from a drain to a storm, in seconds.
const AFTER_A_DRAIN: f64 = 60.0;
/// The fewest handshakes a second of a storm.
const STORM: f64 = 2.0;
/// A storm has at most so many handshakes for each session that was told to leave.
const RETURNS: f64 = 10.0;

/// The suspects that are told.
pub(super) fn told(evidence: &Evidence) -> Vec<Suspect> {
    let crowd = Crowd::of(evidence);
    let mut rivals: Vec<_> = lines(evidence, &crowd).flat_map(|line| of_line(line, evidence, &crowd)).collect();
    rivals.extend([Side::Client, Side::Backend].into_iter().flat_map(|side| unheard::suspects(evidence, &crowd, side)));
    rivals.sort_by(|a, b| weight(b).total_cmp(&weight(a)));
    let mut is_explained = vec![false; evidence.len()];
    let mut told = Vec::new();
    for suspect in rivals {
        accept(suspect, &mut is_explained, &mut told);
    }
    let counted = rates::suspects(evidence, &crowd, &is_explained);
    for fact in
        counted.iter().filter(|suspect| suspect.kind == PatternKind::DeadUnanswered).flat_map(|dead| &dead.facts)
    {
        if let Some(is) = is_explained.get_mut(*fact as usize) {
            *is = true;
        }
    }
    told.extend(counted);
    told.extend(rates::networks(evidence, &crowd, &is_explained));
    let storms = handshakes(evidence, &crowd).suspects(evidence, &crowd);
    told.extend(storms.into_iter().filter(|storm| is_after_a_drain(evidence, storm)));
    told
}

/// The suspects of a line that can be what they seem.
fn of_line(line: ValueLine, evidence: &Evidence, crowd: &Crowd) -> Vec<Suspect> {
    let mut suspects = line.suspects(evidence, crowd);
    suspects.retain(|suspect| may_be(evidence, suspect));
    let survivors = Survivors::of(evidence, crowd, &suspects);
    suspects.into_iter().flat_map(|suspect| survivors.unrefuted(suspect)).collect()
}

/// Tells a suspect if enough of its cases have no better reason.
fn accept(suspect: Suspect, is_explained: &mut [bool], told: &mut Vec<Suspect>) {
    let is_free = |fact: &&u32| !is_explained.get(**fact as usize).is_some_and(|is| *is);
    let own = suspect.facts.iter().filter(is_free).count();
    if own < FEWEST || (own as f64) < OWN * suspect.facts.len() as f64 {
        return;
    }
    for fact in &suspect.facts {
        if let Some(is) = is_explained.get_mut(*fact as usize) {
            *is = true;
        }
    }
    told.push(suspect);
}

/// How much a suspect has to be said for it: its cases, and a bonus for the reading that says more where two have nearly
/// the same cases. Sessions that were silent for their whole life have one silence and one age, and those that began together
/// and were dropped together too.
fn weight(suspect: &Suspect) -> f64 {
    let bonus = match (suspect.kind, suspect.measure) {
        (PatternKind::IdleLimit, Measure::Silence) => 1.2,
        (PatternKind::Burst, _) => 1.15,
        _ => 1.0,
    };
    suspect.cases * bonus
}

/// Whether a suspect can be what it seems.
fn may_be(evidence: &Evidence, suspect: &Suspect) -> bool {
    match (suspect.kind, suspect.measure, suspect.side) {
        (PatternKind::IdleLimit, Measure::SilenceFrom, Some(side)) => {
            // An end just after something went to the side says that the path forgot the session before only if that was our
            // first Ping. Otherwise the side may have been gone, and lived through the same silence before.
            let cases = || suspect.facts.iter().filter_map(|fact| evidence.facts.get(*fact as usize));
            let at_once = cases().filter(|facts| facts.silences(side).to.seconds() < Some(ROUND_TRIP)).count();
            2 * at_once < suspect.facts.len() || suspect.is_at_our_ping(evidence)
        }
        (PatternKind::IdleLimit | PatternKind::LifeLimit, ..) => suspect.middle >= super::lines::SHORTEST,
        _ => true,
    }
}

/// Whether sessions had been told to leave shortly before these handshakes came.
fn is_after_a_drain(evidence: &Evidence, storm: &Suspect) -> bool {
    let is_near = |at: f64| (storm.low - AFTER_A_DRAIN..=storm.high).contains(&at);
    let told =
        evidence.facts.iter().filter(|facts| facts.sort == EndSort::Told && is_near(moment(facts.ended))).count();
    let is_fast = storm.cases >= STORM * (storm.high - storm.low).max(1.0);
    told >= FEWEST && is_fast && storm.cases <= RETURNS * told as f64
}
