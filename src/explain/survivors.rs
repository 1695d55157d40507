//! Whether sessions lived on beyond a limit that others seem to have met: then it is no limit of the path of them all.

use super::{
    Evidence,
    crowd::{Alike, Crowd},
    lines::lived,
    pattern::PatternKind,
    peaks::FEWEST,
    scope::{Dimension, PatternScope},
    suspects::Suspect,
};
use crate::ws::Side;

/// Who lived so many times as long as the longest of the cases has passed the limit.
const BEYOND: f64 = 1.1;
/// So many survivors for each case refute a limit of silence.
const REFUTE_SILENCE: f64 = 0.25;
/// So many refute a limit of age: not all sessions of a scope need have the same path, and many more reach an age than a silence.
const REFUTE_AGE: f64 = 4.0;
/// The fewest survivors that refute a limit.
const FEWEST_SURVIVORS: usize = 3;
/// The most parts of a scope that are told instead of it.
const MOST_PARTS: usize = 8;

/// The sessions that were not dropped, by how long they lived on a line.
pub(super) struct Survivors<'e> {
    evidence: &'e Evidence,
    crowd: &'e Crowd,
    /// The longest first.
    lived: Vec<(f64, u32)>,
}

impl<'e> Survivors<'e> {
    /// Those that can refute one of these suspects, which are all of one line.
    pub(super) fn of(evidence: &'e Evidence, crowd: &'e Crowd, suspects: &[Suspect]) -> Self {
        let limits = suspects.iter().filter(|suspect| refuting(suspect.kind).is_some());
        let least = limits.clone().map(|suspect| suspect.high * BEYOND).fold(f64::INFINITY, f64::min);
        let mut survivors = Vec::new();
        if let Some((side, measure)) = limits.clone().find_map(|suspect| Some((suspect.side?, suspect.measure))) {
            let kept = evidence.numbered().filter(|(_, facts)| facts.was_kept());
            survivors.extend(kept.filter_map(|(fact, facts)| Some((lived(facts, side, measure)?, fact))));
            survivors.retain(|(lived, _)| *lived > least);
        }
        survivors.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        Self { evidence, crowd, lived: survivors }
    }

    /// The suspect; where others of its scope lived on beyond the limit, it in those parts of the scope in which nobody did.
    pub(super) fn unrefuted(&self, suspect: Suspect) -> Vec<Suspect> {
        if !self.refute(&suspect) {
            return vec![suspect];
        }
        // A network or a backend says more than a route.
        let nearest = if suspect.side == Some(Side::Client) { Dimension::Network } else { Dimension::Backend };
        let lived = |dimension| {
            let parts = parts(self.evidence, self.crowd, dimension, &suspect).into_iter();
            parts.filter(|part| !self.refute(part)).collect::<Vec<_>>()
        };
        [nearest, Dimension::Route].into_iter().map(lived).find(|parts| !parts.is_empty()).unwrap_or_default()
    }

    /// Whether too many sessions of its scope lived on beyond a limit of silence or age.
    fn refute(&self, suspect: &Suspect) -> bool {
        let Some(refuting) = refuting(suspect.kind) else { return false };
        let count = |facts: &[u32]| match suspect.side {
            Some(Side::Client) => self.crowd.count(self.evidence, facts, Alike::Address),
            _ => facts.len(),
        };
        let needed = (refuting * count(&suspect.facts) as f64).max(FEWEST_SURVIVORS as f64);
        let beyond = self.lived.iter().take_while(|(lived, _)| *lived > suspect.high * BEYOND).map(|(_, fact)| *fact);
        let here = beyond.filter(|fact| self.evidence.is_in(*fact, &suspect.scope));
        // Most often the longest of them are enough.
        let first: Vec<u32> = here.clone().take(2 * needed as usize).collect();
        count(&first) as f64 >= needed || count(&here.collect::<Vec<_>>()) as f64 >= needed
    }
}

/// So many survivors for each case refute a pattern of this kind; `None`: nobody lives beyond it.
const fn refuting(kind: PatternKind) -> Option<f64> {
    match kind {
        PatternKind::IdleLimit => Some(REFUTE_SILENCE),
        PatternKind::LifeLimit => Some(REFUTE_AGE),
        _ => None,
    }
}

/// The suspect in each place of a dimension in which it has enough cases, the place with most of them first.
fn parts(evidence: &Evidence, crowd: &Crowd, dimension: Dimension, suspect: &Suspect) -> Vec<Suspect> {
    let scope = |fact: &u32| dimension.narrowed(suspect.scope, evidence.facts.get(*fact as usize)?);
    let mut cases: Vec<(PatternScope, u32)> =
        suspect.facts.iter().filter_map(|fact| Some((scope(fact)?, *fact))).collect();
    cases.sort_unstable();
    let is_case = suspect.cases / suspect.facts.len().max(1) as f64;
    let part = |same: &[(PatternScope, u32)]| {
        let facts: Vec<u32> = same.iter().map(|(_, fact)| *fact).collect();
        let standing = match suspect.side {
            Some(Side::Client) => crowd.count(evidence, &facts, Alike::Address),
            _ => facts.len(),
        };
        let cases = facts.len() as f64 * is_case;
        let scope = same.first().filter(|_| standing as f64 * is_case >= FEWEST as f64 - 0.5)?.0;
        Some(Suspect { scope, facts, cases, ..suspect.clone() })
    };
    let mut parts: Vec<_> = cases.chunk_by(|a, b| a.0 == b.0).filter_map(part).collect();
    parts.sort_by(|a, b| b.cases.total_cmp(&a.cases));
    parts.truncate(MOST_PARTS);
    parts
}
