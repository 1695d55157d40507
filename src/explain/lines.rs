//! The lines of values on which peaks are looked for: silences and ages of dropped sessions, and moments.

use super::{
    Evidence,
    crowd::{Alike, Crowd},
    facts::{EndFacts, EndSort, SeenEnd},
    pattern::PatternKind,
    peaks::Axis,
    scope::Dimension,
    suspects::{Measure, Measured, ValueLine},
};
use crate::ws::Side;

/// The least silence and age in seconds that is looked at. What is shorter are round trips and programs that end after a last
/// word.
pub(super) const SHORTEST: f64 = 0.9;
/// Every line of these records, but that of [`handshakes`]; each is made when its turn comes.
pub(super) fn lines<'e>(evidence: &'e Evidence, crowd: &'e Crowd) -> impl Iterator<Item = ValueLine> + 'e {
    const SILENCES: [Measure; 3] = [Measure::Silence, Measure::SilenceFrom, Measure::SilenceTo];
    [Side::Client, Side::Backend].into_iter().flat_map(move |side| {
        let silences =
            SILENCES.into_iter().map(move |measure| line(evidence, crowd, PatternKind::IdleLimit, side, measure));
        let age = std::iter::once_with(move || line(evidence, crowd, PatternKind::LifeLimit, side, Measure::Age));
        silences.chain(age).chain(std::iter::once_with(move || drops(evidence, crowd, side)))
    })
}

/// The moments at which handshakes came.
pub(super) fn handshakes(evidence: &Evidence, crowd: &Crowd) -> ValueLine {
    let begun = evidence.numbered().filter(|(_, facts)| facts.is_handshake());
    let values: Vec<_> = begun.map(|(fact, facts)| Measured::new(moment(facts.began()), fact)).collect();
    let axis = axis_of_moments(values.iter().map(|value| value.at));
    ValueLine {
        kind: PatternKind::Storm,
        side: None,
        measure: Measure::Begin,
        axis,
        values: standing(sorted(values), evidence, crowd, Alike::Begin),
        dimensions: &[Dimension::Route],
        could_be: EndFacts::is_handshake,
    }
}

/// Milliseconds since 1970 as seconds. They are exact to the millisecond.
pub(super) fn moment(millis: i64) -> f64 {
    millis as f64 / 1000.0
}

/// The number of these facts on a line of durations of a side, in seconds; `None`: they are not on it.
pub(super) fn duration(facts: &EndFacts, side: Side, measure: Measure) -> Option<f64> {
    match measure {
        Measure::Silence | Measure::SilenceFrom | Measure::SilenceTo => silence(facts, side, measure),
        Measure::SilenceBefore { waited_ms } => silence_before(facts, side, waited_ms),
        Measure::Age => age(facts, side),
        Measure::Unanswered => facts.unanswered(side),
        Measure::End | Measure::Begin | Measure::Count => None,
    }
}

fn line(evidence: &Evidence, crowd: &Crowd, kind: PatternKind, side: Side, measure: Measure) -> ValueLine {
    let known = evidence.numbered().filter_map(|(fact, facts)| Some((fact, duration(facts, side, measure)?)));
    // What is shorter than a pattern can be is a part of what lies beside a pattern.
    let values = known.filter(|(_, seconds)| *seconds >= SHORTEST / 4.0);
    let values = sorted(values.map(|(fact, seconds)| Measured::new(seconds.ln(), fact)).collect());
    let of_clients = side == Side::Client;
    ValueLine {
        kind,
        side: Some(side),
        measure,
        values: if of_clients { standing(values, evidence, crowd, Alike::Address) } else { values },
        axis: Axis::DURATIONS,
        dimensions: dimensions(side),
        could_be: EndFacts::is_session,
    }
}

fn drops(evidence: &Evidence, crowd: &Crowd, side: Side) -> ValueLine {
    let dropped = evidence.numbered().filter(|(_, facts)| facts.dropped() == Some(side));
    let values = sorted(dropped.map(|(fact, facts)| Measured::new(moment(facts.ended), fact)).collect());
    let of_clients = side == Side::Client;
    ValueLine {
        kind: PatternKind::Burst,
        side: Some(side),
        measure: Measure::End,
        values: if of_clients { standing(values, evidence, crowd, Alike::End) } else { values },
        // Each session could have been dropped since its begin.
        axis: axis_of_moments(evidence.facts.iter().flat_map(|facts| [moment(facts.began()), moment(facts.ended)])),
        dimensions: dimensions(side),
        could_be: EndFacts::is_session,
    }
}

/// To what a pattern of a side can be confined.
const fn dimensions(side: Side) -> &'static [Dimension] {
    match side {
        Side::Client => &[Dimension::Route, Dimension::Network],
        Side::Backend => &[Dimension::Route, Dimension::Backend],
    }
}

/// Nothing is known before the first of these moments and after the last one.
fn axis_of_moments(seen: impl Iterator<Item = f64>) -> Axis {
    let span = seen.fold((f64::INFINITY, f64::NEG_INFINITY), |(from, to), at| (at.min(from), at.max(to)));
    Axis::moments(span.0, span.1)
}

fn sorted(mut values: Vec<Measured>) -> Vec<Measured> {
    values.sort_by(|a, b| a.at.total_cmp(&b.at));
    values
}

/// The values, of which few of one address stand for a client.
fn standing(mut values: Vec<Measured>, evidence: &Evidence, crowd: &Crowd, alike: Alike) -> Vec<Measured> {
    let facts: Vec<u32> = values.iter().map(|value| value.fact).collect();
    for (value, is_standing) in values.iter_mut().zip(crowd.standing(evidence, &facts, alike)) {
        value.is_standing = is_standing;
    }
    values
}

/// How long the session was silent when something on the path of this side ended it; `None`: that did not happen, or the
/// silence says nothing of it.
///
/// Where nobody heard of the end, our Pings, `pong_timeout` or the timers of our kernel say how long the silence is, and not the
/// path.
fn silence(facts: &EndFacts, side: Side, measure: Measure) -> Option<f64> {
    let is_heard = facts.sort == EndSort::Lost(side) && facts.seen != SeenEnd::Silent;
    lived(facts, side, measure).filter(|_| is_heard)
}

/// How long the side had been silent when it got the bytes for which the kernel gave it up after that time.
fn silence_before(facts: &EndFacts, side: Side, waited_ms: u32) -> Option<f64> {
    let is_given_up = facts.sort == EndSort::Lost(side) && facts.seen == SeenEnd::Silent;
    facts.silences(side).from.seconds().filter(|_| is_given_up).map(|silence| silence - f64::from(waited_ms) / 1000.0)
}

/// How old the session was that something on the path of this side ended, as far as somebody heard of the end. Where the silence is
/// not known, the session must have been lively, or its age can be its silence.
fn age(facts: &EndFacts, side: Side) -> Option<f64> {
    let is_heard = facts.sort == EndSort::Lost(side) && facts.seen != SeenEnd::Silent;
    let is_known = facts.silences(side).from.get().is_some() || !facts.is_quiet;
    lived(facts, side, Measure::Age).filter(|_| is_heard && is_known)
}

/// Through how long a silence of this side, or to which age, the session lived, however it ended.
pub(super) fn lived(facts: &EndFacts, side: Side, measure: Measure) -> Option<f64> {
    let silences = facts.silences(side);
    let (from, to) = (silences.from.seconds(), silences.to.seconds());
    match measure {
        Measure::Silence => Some(from?.min(to?)),
        Measure::SilenceFrom => from,
        Measure::SilenceTo => to,
        Measure::Age => facts.age.seconds().filter(|_| !facts.is_resumed),
        Measure::SilenceBefore { .. } | Measure::Unanswered | Measure::End | Measure::Begin | Measure::Count => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::explain::record::read;

    #[test]
    fn the_age_of_a_resumed_session_is_not_that_of_its_connections() {
        for (resumes, age) in [(0, Some(60.0)), (2, None)] {
            let json = format!(
                r#"{{"time":"2026-01-02T03:04:05Z","kind":"session","duration_ms":60000.0,"resumes":{resumes},"gap_ms":9.5,
                "maybe_lost_bytes":0,"how":"fin","cause":"backend_lost"}}"#
            );
            let text = format!(
                "time=2026-01-02T03:04:05Z kind=session duration_ms=60000 resumes={resumes} how=fin cause=backend_lost"
            );
            for line in [json, text] {
                let mut scratch = String::new();
                let facts = EndFacts::of(&read(line.as_bytes(), &mut scratch).unwrap(), 0, 0, 0);
                for side in [Side::Client, Side::Backend] {
                    assert_eq!(lived(&facts, side, Measure::Age), age, "{line}");
                }
            }
        }
    }
}
