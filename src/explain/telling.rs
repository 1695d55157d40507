//! A suspect as it is told.

use jiff::Timestamp;

use super::{
    Evidence, Witnesses,
    advice::{Advice, advise},
    chance::confidence,
    facts::EndFacts,
    heartbeat::{Heartbeat, heartbeat},
    lines::{duration, moment},
    pattern::{Histogram, Pattern, PatternKind},
    suspects::{Measure, Suspect},
};
use crate::ws::Side;

/// What is shown beside a burst: so many times its length, at least a minute to each side.
const BESIDE_A_MOMENT: f64 = 4.0;

/// The pattern of a suspect.
pub(super) fn tell(evidence: &Evidence, suspect: &Suspect) -> Pattern {
    let Suspect { mut kind, mut side, scope, .. } = *suspect;
    if let Some(Heartbeat::Unanswered { .. }) = heartbeat(evidence, suspect) {
        // The other side is the one that was silent.
        (kind, side) = (PatternKind::DeadUnanswered, side.map(Side::other));
    }
    let has_limit = matches!(kind, PatternKind::IdleLimit | PatternKind::LifeLimit);
    let is_moment = suspect.measure.is_moment();
    let Advice { text, key, value, bound } = advise(evidence, suspect);
    Pattern {
        kind,
        side: side.map(Side::as_str),
        route: scope.route.and_then(|route| evidence.routes.word(route)).map(str::to_owned),
        backend: scope.backend.and_then(|backend| evidence.backends.word(backend)).map(str::to_owned),
        network: scope.network.map(|network| network.to_string()),
        status: status(evidence, suspect),
        seconds: has_limit.then(|| tenths(suspect.middle)),
        at: is_moment.then(|| Timestamp::from_millisecond((suspect.low * 1000.0) as i64).unwrap_or_default()),
        for_seconds: is_moment.then(|| tenths(suspect.high - suspect.low)),
        cases: suspect.cases.round().max(0.0) as u64,
        share: share(evidence, suspect),
        confidence: confidence(suspect.ln_chance, suspect.looks),
        key,
        value,
        text,
        histogram: histogram(evidence, suspect),
        bound,
        witnesses: Witnesses::of(evidence, &suspect.facts),
    }
}

/// The status of handshakes that failed with one.
fn status(evidence: &Evidence, suspect: &Suspect) -> Option<u16> {
    let first = evidence.facts.get(*suspect.facts.first()? as usize)?;
    (suspect.kind == PatternKind::HandshakeFailures).then_some(first.status)
}

/// The part of the drops in the scope; of the sessions or handshakes there, if the cases are no drops.
fn share(evidence: &Evidence, suspect: &Suspect) -> f64 {
    let counts = |facts: &&EndFacts| match suspect.kind {
        PatternKind::HandshakeFailures | PatternKind::Storm => facts.is_handshake(),
        PatternKind::SlowReaders => facts.is_session(),
        // Sessions, or handshakes, which are both.
        PatternKind::OwnLimit => facts.is_handshake(),
        _ => facts.dropped().is_some(),
    };
    let all = evidence.facts.iter().filter(|facts| suspect.scope.holds(facts)).filter(counts).count();
    let share = suspect.cases / (all as f64).max(1.0);
    (share.min(1.0) * 1000.0).round() / 1000.0
}

fn histogram(evidence: &Evidence, suspect: &Suspect) -> Option<Histogram> {
    let here = evidence.facts.iter().filter(|facts| suspect.scope.holds(facts));
    let is_on_line = |facts: &&EndFacts| match suspect.measure {
        Measure::Begin => facts.is_handshake(),
        _ => facts.dropped() == suspect.side,
    };
    match suspect.measure {
        Measure::Count => None,
        Measure::End | Measure::Begin => {
            let beside = (BESIDE_A_MOMENT * (suspect.high - suspect.low)).max(60.0);
            let at = |facts: &EndFacts| match suspect.measure {
                Measure::Begin => moment(facts.began()),
                _ => moment(facts.ended),
            };
            let values = here.filter(is_on_line).map(|facts| at(facts) - suspect.low);
            Some(Histogram::of(values, -beside, suspect.high - suspect.low + beside))
        }
        measure => {
            let values = here.filter_map(|facts| duration(facts, suspect.side.unwrap_or(Side::Client), measure));
            Some(Histogram::of(values, 0.0, 2.0 * suspect.middle))
        }
    }
}

fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}
