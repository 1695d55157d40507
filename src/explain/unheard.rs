//! Limits of paths that forget a session without a word, told from what was sent into the silence before a Ping of ours was due.
//!
//! 1. Bytes go to a side, nobody acknowledges them, and the kernel gives the connection up, always after the same time
//!    (`tcp.user_timeout`). So the record says how long the side had been silent before.
//! 2. Where that silence was short, sessions lived on; where it was long, they were dead. Between the two is the limit.
//! 3. A side that is gone, or asleep, shows no such border: it dies at short silences too, and others live through longer ones.

use super::{
    Evidence,
    chance::ln_binomial_tail,
    crowd::{Alike, Crowd},
    facts::{EndFacts, EndSort},
    lines::{SHORTEST, duration, lived},
    pattern::PatternKind,
    peaks::{CHANCE, FEWEST},
    scope::{Dimension, Exposed, PatternScope, Weighed, narrow},
    suspects::{Measure, Suspect},
};
use crate::ws::Side;

/// The part of the deaths that may lie below the border: some clients slept.
const OUTSIDE: f64 = 0.05;
/// The part of the sessions that the kernel gave up that may have waited longer than its patience.
const ODD: f64 = 0.02;
/// The deaths reach from the border to so many times its silence. What always dies at the same silence met a Ping of ours, or
/// a message of a clock, and says only that the limit is below.
const SPREAD: f64 = 1.25;
/// Who lived through so many times the silence of the border has passed it.
const BEYOND: f64 = 1.03;
/// The most of them, for each death.
const STRAYS: f64 = 0.02;
/// Who lived through this part of it was near it.
const NEAR: f64 = 0.6;
/// The fewest of them, for each death. With fewer something else ends what is silent, and the border may be anywhere below.
const WITNESSES: f64 = 0.1;

/// A session that the kernel gave up, and how long the side had been silent when it got the bytes that nobody acknowledged.
#[derive(Debug, Clone, Copy)]
struct UnheardDeath {
    silence: f64,
    fact: u32,
}

/// The limits on the path of a side, everywhere or at single places.
pub(super) fn suspects(evidence: &Evidence, crowd: &Crowd, side: Side) -> Vec<Suspect> {
    let Some(measure) = patience(evidence) else { return Vec::new() };
    let deaths = deaths(evidence, crowd, side, measure);
    if deaths.len() < FEWEST {
        return Vec::new();
    }
    let dimensions: &[_] = match side {
        Side::Client => &[Dimension::Route, Dimension::Network],
        Side::Backend => &[Dimension::Route, Dimension::Backend],
    };
    let least = deaths.first().map_or(0.0, |death| death.silence);
    let weighed: Vec<_> = deaths.iter().map(|death| Weighed { fact: death.fact, weight: 1.0 }).collect();
    let exposed = Exposed { which: EndFacts::is_session, age: least, is_peak: true, told: &[] };
    let narrowed = narrow(evidence, &weighed, dimensions, exposed);
    let looks = narrowed.len() as f64;
    narrowed.into_iter().filter_map(|scope| limit(evidence, &deaths, (side, measure), scope, looks)).collect()
}

/// The deaths by silence before, the shortest first; of one client few.
fn deaths(evidence: &Evidence, crowd: &Crowd, side: Side, measure: Measure) -> Vec<UnheardDeath> {
    let known = evidence.numbered().filter_map(|(fact, facts)| {
        let silence = duration(facts, side, measure).filter(|silence| *silence >= SHORTEST)?;
        Some(UnheardDeath { silence, fact })
    });
    let mut deaths: Vec<_> = known.collect();
    deaths.sort_by(|a, b| a.silence.total_cmp(&b.silence));
    if side == Side::Client {
        let facts: Vec<u32> = deaths.iter().map(|death| death.fact).collect();
        let mut standing = crowd.standing(evidence, &facts, Alike::Address).into_iter();
        deaths.retain(|_| standing.next().unwrap_or(true));
    }
    deaths
}

/// After how long the kernel gives a connection up. Bytes that nobody acknowledges may be followed by others, and by our Ping, so
/// the longest silence toward a side that was given up is as long as that.
fn patience(evidence: &Evidence) -> Option<Measure> {
    let given_up = |facts: &EndFacts| match facts.sort {
        EndSort::Lost(side) if facts.is_unanswered(side) => facts.silences(side).to.get(),
        _ => None,
    };
    let mut waited: Vec<u32> = evidence.facts.iter().filter_map(given_up).collect();
    waited.sort_unstable();
    let odd = (ODD * waited.len() as f64) as usize;
    waited.iter().rev().nth(odd).map(|waited_ms| Measure::SilenceBefore { waited_ms: *waited_ms })
}

/// The limit in a scope, if there is a border between those who lived and those who died.
fn limit(
    evidence: &Evidence,
    deaths: &[UnheardDeath],
    (side, measure): (Side, Measure),
    scope: PatternScope,
    looks: f64,
) -> Option<Suspect> {
    let here: Vec<_> = deaths.iter().filter(|death| evidence.is_in(death.fact, &scope)).collect();
    // A Close that came from the side has passed the path.
    let closed = evidence.facts.iter().filter(|facts| facts.sort == EndSort::Closed(side) && scope.holds(facts));
    let mut survived: Vec<f64> = closed.filter_map(|facts| lived(facts, side, Measure::Silence)).collect();
    survived.sort_by(f64::total_cmp);
    let longer = |silence: f64| (survived.len() - survived.partition_point(|lived| *lived <= silence)) as f64;
    let odd = (OUTSIDE * here.len() as f64) as usize;
    let (border, cases, beyond) = (0..=odd).find_map(|below| {
        let cases = here.get(below..).filter(|cases| cases.len() >= FEWEST)?;
        let border = cases.first()?.silence;
        let (beyond, died) = (longer(BEYOND * border), cases.len() as f64);
        let is_border = beyond <= 1.0 + STRAYS * died && longer(NEAR * border) - beyond >= WITNESSES * died;
        is_border.then_some((border, cases, beyond))
    })?;
    let longest = cases.last()?.silence;
    // The limit is between who lived longest and who died first.
    let before = survived.iter().rev().find(|lived| **lived <= border).copied().unwrap_or(border);
    let middle = (before.max(border / BEYOND / BEYOND) + border) / 2.0;
    let alike = (beyond + 1.0) / (survived.len() as f64 + 1.0);
    let ln_chance = ln_binomial_tail(cases.len() as f64, here.len() as f64, alike);
    (longest >= SPREAD * border && ln_chance + looks.ln() <= CHANCE.ln()).then(|| Suspect {
        kind: PatternKind::IdleLimit,
        side: Some(side),
        measure,
        scope,
        low: border,
        high: longest,
        middle,
        ln_chance,
        looks,
        facts: cases.iter().map(|death| death.fact).collect(),
        cases: cases.len() as f64,
    })
}
