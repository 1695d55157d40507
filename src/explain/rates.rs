//! Patterns that are a count of one kind of end: handshakes that fail, limits of ours, slow readers, a network of clients with
//! far more drops than the others.

use std::collections::HashMap;

use super::{
    Evidence,
    chance::ln_binomial_tail,
    crowd::{Alike, Crowd},
    facts::{EndFacts, EndSort},
    pattern::PatternKind,
    peaks::{CHANCE, FEWEST},
    scope::{Dimension, Exposed, PatternScope, Weighed, narrow},
    suspects::{Measure, Suspect},
};
use crate::ws::Side;

/// So many of all ends, or of all handshakes, are no pattern.
const USUAL: f64 = 0.001;
/// How often the cases are looked at, each time without the places that have a pattern of their own.
const MOST_ROUNDS: usize = 3;
/// The most networks that are told by themselves.
const MOST_NETWORKS: usize = 20;
/// What clients do wrong is a pattern only if it is this part of all handshakes: scanners and stale pages are everywhere.
const OF_CLIENTS: f64 = 0.02;
/// So many clients are worth a word even if they are a smaller part.
const MANY_CLIENTS: usize = 50;
/// That part, at least.
const OF_MANY_CLIENTS: f64 = 0.005;
/// A network has so many times the drops of the others.
const LEAST_RISE: f64 = 3.0;

/// Ends that are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Group {
    /// Handshakes that failed with a status.
    Status(u16),
    /// Handshakes that a limit refused, by the cause.
    Barred(u16),
    /// Sessions that a limit ended, by the cause.
    Limited(u16),
    Slow,
    /// A side that answered nothing: the client, or else the backend.
    Unanswered(bool),
}

/// What may be a pattern among the counts.
///
/// A side that answered nothing is no case of its own where `is_explained` says so.
pub(super) fn suspects(evidence: &Evidence, crowd: &Crowd, is_explained: &[bool]) -> Vec<Suspect> {
    let mut groups: HashMap<Group, Vec<u32>> = HashMap::new();
    for (fact, facts) in evidence.numbered() {
        let is_told = facts.dropped().is_some() && is_explained.get(fact as usize).is_some_and(|is| *is);
        if let Some(group) = Group::of(facts).filter(|_| !is_told) {
            groups.entry(group).or_default().push(fact);
        }
    }
    let mut groups: Vec<_> = groups.into_iter().filter(|(_, facts)| facts.len() >= FEWEST).collect();
    groups.sort();
    let looks = groups.len() as f64;
    groups.into_iter().flat_map(|(group, facts)| group.suspects(evidence, crowd, &facts, looks)).collect()
}

impl Group {
    fn of(facts: &EndFacts) -> Option<Self> {
        Some(match facts.sort {
            EndSort::Refused if facts.status > 0 => Self::Status(facts.status),
            EndSort::Barred => Self::Barred(facts.word),
            EndSort::Limited => Self::Limited(facts.word),
            EndSort::Slow => Self::Slow,
            _ if facts.is_unanswered(Side::Client) => Self::Unanswered(true),
            _ if facts.is_unanswered(Side::Backend) => Self::Unanswered(false),
            _ => return None,
        })
    }

    /// Its kind, the side, and to which facts it could have happened.
    fn terms(self) -> (PatternKind, Option<Side>, fn(&EndFacts) -> bool) {
        let side = |is_client| if is_client { Side::Client } else { Side::Backend };
        match self {
            Self::Status(_) => (PatternKind::HandshakeFailures, None, EndFacts::is_handshake),
            Self::Barred(_) => (PatternKind::OwnLimit, None, EndFacts::is_handshake),
            // A session that was dropped had no time to meet the limit.
            Self::Limited(_) => (PatternKind::OwnLimit, None, EndFacts::was_kept),
            Self::Slow => (PatternKind::SlowReaders, None, EndFacts::was_kept),
            Self::Unanswered(is_client) => (PatternKind::DeadUnanswered, Some(side(is_client)), EndFacts::is_session),
        }
    }

    fn suspects(self, evidence: &Evidence, crowd: &Crowd, cases: &[u32], looks: f64) -> Vec<Suspect> {
        let (kind, side, could_be) = self.terms();
        let dimensions: &[_] = match side {
            Some(Side::Client) => &[Dimension::Route, Dimension::Network],
            Some(Side::Backend) => &[Dimension::Route, Dimension::Backend],
            None => &[Dimension::Route, Dimension::Backend, Dimension::Network],
        };
        let (mut suspects, mut told, mut rest) = (Vec::new(), Vec::new(), cases.to_vec());
        for _ in 0..MOST_ROUNDS {
            let weighed: Vec<_> = rest.iter().map(|fact| Weighed { fact: *fact, weight: 1.0 }).collect();
            let exposed = Exposed { which: could_be, age: 0.0, is_peak: false, told: &told };
            let scopes = narrow(evidence, &weighed, dimensions, exposed);
            let looks = looks * scopes.len() as f64;
            for scope in &scopes {
                let here = |scope: PatternScope| rest.iter().copied().filter(move |fact| evidence.is_in(*fact, &scope));
                let mut scope = *scope;
                if side == Some(Side::Client) && scope.network.is_none() {
                    let standing = self.standing(evidence, crowd, here(scope).collect());
                    scope.network = crowd.only_network(evidence, &standing, FEWEST / 2);
                }
                let here: Vec<u32> = here(scope).collect();
                let all = evidence.facts.iter().filter(|facts| exposed.holds(facts) && scope.holds(facts)).count();
                let ln_chance = ln_binomial_tail(here.len() as f64, all as f64, USUAL);
                let is_told = self.standing(evidence, crowd, here.clone()).len() >= FEWEST
                    && self.is_frequent(evidence, crowd, &here, scope)
                    && ln_chance + looks.ln() <= CHANCE.ln();
                if is_told {
                    suspects.push(self.suspect(evidence, kind, side, scope, here, (ln_chance, looks)));
                }
            }
            if scopes == [PatternScope::default()] {
                break;
            }
            rest.retain(|fact| !scopes.iter().any(|scope| evidence.is_in(*fact, scope)));
            told.extend(scopes);
        }
        suspects
    }

    /// The cases that stand for a client, where the client may be the reason. A limit for each address has cases of few.
    fn standing(self, evidence: &Evidence, crowd: &Crowd, mut cases: Vec<u32>) -> Vec<u32> {
        let is_of_clients = match self {
            Self::Status(status) => is_of_client(status),
            Self::Limited(_) | Self::Slow | Self::Unanswered(true) => true,
            Self::Barred(_) | Self::Unanswered(false) => false,
        };
        if is_of_clients {
            let mut standing = crowd.standing(evidence, &cases, Alike::Address).into_iter();
            cases.retain(|_| standing.next().unwrap_or(true));
        }
        cases
    }

    /// Whether the cases are a part of all in the scope that is worth a word, no address weighed as more than a client.
    fn is_frequent(self, evidence: &Evidence, crowd: &Crowd, cases: &[u32], scope: PatternScope) -> bool {
        if !matches!(self, Self::Status(status) if is_of_client(status)) {
            return true;
        }
        let here = evidence.numbered().filter(|(_, facts)| facts.is_handshake() && scope.holds(facts));
        let all: f64 = here.map(|(fact, _)| crowd.weight(fact)).sum();
        let failed: f64 = cases.iter().map(|fact| crowd.weight(*fact)).sum();
        let are_many = crowd.count(evidence, cases, Alike::Address) >= MANY_CLIENTS;
        failed >= all * if are_many { OF_MANY_CLIENTS } else { OF_CLIENTS }
    }

    fn suspect(
        self,
        evidence: &Evidence,
        kind: PatternKind,
        side: Option<Side>,
        scope: PatternScope,
        facts: Vec<u32>,
        (ln_chance, looks): (f64, f64),
    ) -> Suspect {
        let suspect = counted(kind, side, scope, facts, ln_chance, looks);
        let (Self::Unanswered(_), Some(side)) = (self, side) else { return suspect };
        let silence = |fact: &u32| evidence.facts.get(*fact as usize)?.unanswered(side);
        let mut silences: Vec<f64> = suspect.facts.iter().filter_map(silence).collect();
        silences.sort_by(f64::total_cmp);
        match silences.get(silences.len() / 2) {
            Some(middle) => Suspect { measure: Measure::Unanswered, middle: *middle, ..suspect },
            None => suspect,
        }
    }
}

/// Networks of clients with far more drops than all the others, among the drops that `explained` says nothing of.
pub(super) fn networks(evidence: &Evidence, crowd: &Crowd, is_explained: &[bool]) -> Vec<Suspect> {
    let mut networks: HashMap<_, (Vec<u32>, f64)> = HashMap::new();
    let (mut drops, mut sessions) = (0.0, 0.0);
    for (fact, facts) in evidence.numbered().filter(|(_, facts)| facts.is_session()) {
        let is_drop = facts.dropped() == Some(Side::Client) && !is_explained.get(fact as usize).is_some_and(|is| *is);
        sessions += 1.0;
        drops += f64::from(u8::from(is_drop));
        let Some(network) = facts.network else { continue };
        let (dropped, all) = networks.entry(network).or_default();
        *all += 1.0;
        if is_drop {
            dropped.push(fact);
        }
    }
    let looks = networks.len() as f64;
    let mut found = Vec::new();
    for (network, (facts, all)) in networks {
        let (here, others) = (facts.len() as f64, drops - facts.len() as f64);
        // One more drop elsewhere stands for what is not known there.
        let elsewhere = (others + 1.0) / (sessions - all).max(1.0);
        if facts.len() < FEWEST || sessions - all < FEWEST as f64 || here < LEAST_RISE * elsewhere * all {
            continue;
        }
        // Of the drops here and elsewhere, so many fall here if networks differ by chance and a half more.
        let share = 1.5 * all / (1.5 * all + sessions - all);
        if crowd.count(evidence, &facts, Alike::Address) < FEWEST {
            continue;
        }
        let ln_chance = ln_binomial_tail(here, here + others + 1.0, share);
        if ln_chance + looks.ln() <= CHANCE.ln() {
            let scope = PatternScope { network: Some(network), ..PatternScope::default() };
            found.push(counted(PatternKind::Network, Some(Side::Client), scope, facts, ln_chance, looks));
        }
    }
    found.sort_by(|a, b| b.cases.total_cmp(&a.cases).then(a.facts.cmp(&b.facts)));
    found.truncate(MOST_NETWORKS);
    found
}

/// Whether a status says that the client is at fault.
fn is_of_client(status: u16) -> bool {
    (400..500).contains(&status)
}

fn counted(
    kind: PatternKind,
    side: Option<Side>,
    scope: PatternScope,
    facts: Vec<u32>,
    ln_chance: f64,
    looks: f64,
) -> Suspect {
    let cases = facts.len() as f64;
    let (low, high, middle) = (0.0, 0.0, 0.0);
    Suspect { kind, side, measure: Measure::Count, scope, low, high, middle, ln_chance, looks, facts, cases }
}
