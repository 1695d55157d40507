//! From the peaks of a line of values to suspects for patterns, each with the scope to which it is confined.

use std::{collections::HashMap, hash::BuildHasherDefault};

use super::{
    Evidence,
    crowd::Crowd,
    facts::EndFacts,
    pattern::PatternKind,
    peaks::{Axis, FEWEST, Peak, excess, peaks},
    scope::{Dimension, Exposed, PatternScope, PlaceHasher, PlaceNumber, Weighed, is_in_any, narrow},
};
use crate::ws::Side;

/// The most places of one dimension that are looked at by themselves: those with most values.
const MOST_LOOKED_AT: usize = 256;
/// The answer to a Ping comes within this time, in seconds.
pub(super) const ROUND_TRIP: f64 = 1.0;
/// The most peaks of one line that are told: the surest.
const MOST_CLUSTERS: usize = 20;
/// How often the values are looked at, each time without the places that have a pattern of their own.
const MOST_ROUNDS: usize = 3;
/// Peaks are the same if their ends differ by less than this, as a part of a window's place.
const NEAR: f64 = 0.02;

/// A number of some facts, on the line on which peaks are looked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured {
    pub(super) at: f64,
    /// The place of the facts in the evidence.
    pub(super) fact: u32,
    /// Whether it stands for a client: of one address few values do.
    pub(super) is_standing: bool,
}

/// What a line of values is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    /// How long no byte passed in either direction.
    Silence,
    /// How long no byte came from the side.
    SilenceFrom,
    /// How long no byte went to the side.
    SilenceTo,
    /// How long no byte had come from the side when it got the bytes that nobody acknowledged.
    SilenceBefore {
        /// After so many milliseconds the kernel gave it up.
        waited_ms: u32,
    },
    /// How old the session was.
    Age,
    /// How long a side said nothing that answered no Ping.
    Unanswered,
    /// When the session ended.
    End,
    /// When the session began or was refused.
    Begin,
    /// How many there are, and no peak.
    Count,
}

/// What may be a pattern.
#[derive(Debug, Clone)]
pub(super) struct Suspect {
    pub(super) kind: PatternKind,
    pub(super) side: Option<Side>,
    pub(super) measure: Measure,
    pub(super) scope: PatternScope,
    /// Where the peak begins and ends: seconds, of a duration or since 1970.
    pub(super) low: f64,
    pub(super) high: f64,
    /// The middle one of the cases, in seconds.
    pub(super) middle: f64,
    pub(super) ln_chance: f64,
    pub(super) looks: f64,
    /// The facts of the peak, by their place in the evidence.
    pub(super) facts: Vec<u32>,
    /// How many cases there are above what is usual.
    pub(super) cases: f64,
}

/// A line of values, and what its peaks stand for.
pub(super) struct ValueLine {
    pub(super) kind: PatternKind,
    pub(super) side: Option<Side>,
    pub(super) measure: Measure,
    /// Sorted.
    pub(super) values: Vec<Measured>,
    pub(super) axis: Axis,
    /// The dimensions to which a pattern may be confined.
    pub(super) dimensions: &'static [Dimension],
    /// To which facts it could have happened.
    pub(super) could_be: fn(&EndFacts) -> bool,
}

impl Measured {
    pub(super) const fn new(at: f64, fact: u32) -> Self {
        Self { at, fact, is_standing: true }
    }
}

impl Suspect {
    /// Whether most of the cases ended at once after the side got its first Ping of ours.
    pub(super) fn is_at_our_ping(&self, evidence: &Evidence) -> bool {
        let Some(side) = self.side.filter(|_| self.measure == Measure::SilenceFrom) else { return false };
        let is_case = |facts: &&EndFacts| {
            let at_once = facts.silences(side).to.seconds() < Some(ROUND_TRIP);
            at_once && facts.pings(side) > 0 && !facts.has_answered(side)
        };
        let cases = self.facts.iter().filter_map(|fact| evidence.facts.get(*fact as usize)).filter(is_case).count();
        2 * cases > self.facts.len()
    }
}

impl Measure {
    /// Whether the line is of moments and not of durations, whose logarithm is on it.
    pub(super) const fn is_moment(self) -> bool {
        matches!(self, Self::End | Self::Begin)
    }

    fn seconds(self, at: f64) -> f64 {
        if self.is_moment() { at } else { at.exp() }
    }
}

impl ValueLine {
    /// What may be patterns on this line, in any part of all records.
    ///
    /// Where a pattern is confined to some places, the others are looked at once more: they may have the same one more rarely.
    pub(super) fn suspects(mut self, evidence: &Evidence, crowd: &Crowd) -> Vec<Suspect> {
        let (mut suspects, mut told): (Vec<Suspect>, Vec<PatternScope>) = (Vec::new(), Vec::new());
        for _ in 0..MOST_ROUNDS {
            if self.values.len() < FEWEST {
                break;
            }
            let clusters = clusters(self.all_peaks(evidence));
            let in_scopes = |peak| self.in_scopes(evidence, crowd, peak, &told);
            let found: Vec<_> = clusters.into_iter().flat_map(in_scopes).collect();
            told.extend(found.iter().map(|suspect| suspect.scope).filter(|scope| *scope != PatternScope::default()));
            let is_done = found.iter().all(|suspect| suspect.scope == PatternScope::default());
            suspects.extend(found);
            if is_done {
                break;
            }
            let is_told = |fact: u32| evidence.facts.get(fact as usize).is_some_and(|facts| is_in_any(&told, facts));
            self.values.retain(|value| !is_told(value.fact));
        }
        suspects
    }

    /// The peaks of all values, and of those of each place.
    fn all_peaks(&self, evidence: &Evidence) -> Vec<Peak> {
        let at = |values: &[Measured]| places(values).collect::<Vec<_>>();
        let mut found = peaks(&at(&self.values), &self.axis, 1.0);
        for dimension in self.dimensions {
            let mut places: HashMap<PlaceNumber, Vec<Measured>, BuildHasherDefault<PlaceHasher>> = HashMap::default();
            for value in self.values.iter().filter(|value| value.is_standing) {
                if let Some(place) = evidence.facts.get(value.fact as usize).and_then(|facts| dimension.place(facts)) {
                    places.entry(place).or_default().push(*value);
                }
            }
            let mut places: Vec<_> = places.into_iter().filter(|(_, values)| values.len() >= FEWEST).collect();
            places.sort_by_key(|(place, values)| (std::cmp::Reverse(values.len()), *place));
            places.truncate(MOST_LOOKED_AT);
            let looks = places.len() as f64;
            found.extend(places.iter().flat_map(|(_, values)| peaks(&at(values), &self.axis, looks)));
        }
        found
    }

    /// The suspects of one peak: one for each scope to which it is confined.
    fn in_scopes(&self, evidence: &Evidence, crowd: &Crowd, peak: Peak, told: &[PatternScope]) -> Vec<Suspect> {
        let age = if self.measure.is_moment() { 0.0 } else { peak.low.exp() };
        let exposed = Exposed { which: self.could_be, age, is_peak: true, told };
        let scopes = narrow(evidence, &self.weighed(&peak), self.dimensions, exposed);
        let found = scopes.into_iter().filter_map(|scope| self.in_scope(evidence, peak, scope));
        found.filter_map(|suspect| self.of_network(evidence, crowd, peak, suspect)).collect()
    }

    /// The suspect of a peak in one scope, if it has enough cases there.
    fn in_scope(&self, evidence: &Evidence, peak: Peak, scope: PatternScope) -> Option<Suspect> {
        let is_here =
            |value: &&Measured| evidence.facts.get(value.fact as usize).is_some_and(|facts| scope.holds(facts));
        let here: Vec<_> = self.values.iter().filter(is_here).copied().collect();
        let clients = excess(&places(&here).collect::<Vec<_>>(), peak.low, peak.high, &self.axis);
        let inside: Vec<_> = here.iter().filter(|value| (peak.low..=peak.high).contains(&value.at)).collect();
        let standing: Vec<_> = inside.iter().filter(|value| value.is_standing).collect();
        let middle = standing.get(standing.len() / 2)?.at;
        (clients >= FEWEST as f64 - 0.5).then(|| Suspect {
            kind: self.kind,
            side: self.side,
            measure: self.measure,
            scope,
            low: self.measure.seconds(standing.first().map_or(peak.low, |value| value.at)),
            high: self.measure.seconds(standing.last().map_or(peak.high, |value| value.at)),
            middle: self.measure.seconds(middle),
            ln_chance: peak.ln_chance,
            looks: peak.looks,
            facts: inside.iter().map(|value| value.fact).collect(),
            // Those that do not stand for a client are cases too.
            cases: clients * inside.len() as f64 / standing.len().max(1) as f64,
        })
    }

    /// The suspect, confined to one network if hardly any other shows it.
    fn of_network(&self, evidence: &Evidence, crowd: &Crowd, peak: Peak, suspect: Suspect) -> Option<Suspect> {
        if !self.dimensions.contains(&Dimension::Network) || suspect.scope.network.is_some() {
            return Some(suspect);
        }
        let inside = self.values.iter().filter(|value| value.is_standing && (peak.low..=peak.high).contains(&value.at));
        let here: Vec<_> =
            inside.map(|value| value.fact).filter(|fact| evidence.is_in(*fact, &suspect.scope)).collect();
        match crowd.only_network(evidence, &here, FEWEST / 2) {
            Some(network) => self.in_scope(evidence, peak, PatternScope { network: Some(network), ..suspect.scope }),
            None => Some(suspect),
        }
    }

    /// The values of a peak, and those beside it with a weight that takes off what is usual.
    fn weighed(&self, peak: &Peak) -> Vec<Weighed> {
        let beside = self.axis.around(peak.low, peak.high);
        let usual = if beside > 0.0 { -(peak.high - peak.low) / beside } else { 0.0 };
        let (first, last) = (peak.low - self.axis.flank(), peak.high + self.axis.flank());
        let near = self.values.iter().filter(|value| value.is_standing && (first..=last).contains(&value.at));
        let weight = |at: f64| if (peak.low..=peak.high).contains(&at) { 1.0 } else { usual };
        near.map(|value| Weighed { fact: value.fact, weight: weight(value.at) }).collect()
    }
}

/// Where the values lie that stand for a client.
fn places(values: &[Measured]) -> impl Iterator<Item = f64> {
    values.iter().filter(|value| value.is_standing).map(|value| value.at)
}

/// One peak for all that lie at the same place: the surest of them.
fn clusters(mut found: Vec<Peak>) -> Vec<Peak> {
    found.sort_by(|a, b| (a.ln_chance + a.looks.ln()).total_cmp(&(b.ln_chance + b.looks.ln())));
    let mut clusters: Vec<Peak> = Vec::new();
    for peak in found {
        if !clusters.iter().any(|other| other.low - NEAR <= peak.high && peak.low <= other.high + NEAR) {
            clusters.push(peak);
        }
    }
    clusters.truncate(MOST_CLUSTERS);
    clusters
}
