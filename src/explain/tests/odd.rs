//! Logs as they are: few records, in any order, with clocks that jump, and twice.

use super::*;

#[test]
fn the_order_of_the_records_says_nothing() {
    let lines = with(well(400), silenced(60, 47.0));
    let reversed: Vec<_> = lines.iter().rev().cloned().collect();
    assert_eq!(patterns(lines), patterns(reversed));
}

#[test]
fn a_clock_that_jumps_is_no_moment_of_many_drops() {
    for jump in [-3600.0, 3600.0, -1e9, 1e9] {
        let jumped = well(400).into_iter().enumerate().map(|(number, line)| {
            let number = u32::try_from(number).unwrap();
            let ended = spread(number, 0.0, 3600.0);
            let line = if number % 7 == 0 { line.lost("client", "fin") } else { line };
            line.ended(if ended > 1800.0 { ended + jump } else { ended })
        });
        assert_eq!(patterns(jumped), [], "{jump}");
    }
}

#[test]
fn few_records_are_told_as_what_they_are() {
    for count in [8, 12, 20] {
        let found = patterns(silenced(count, 47.0).into_iter().map(|line| line.route("*/only/")));
        let [pattern] = &found[..] else { panic!("{count}: {found:#?}") };
        assert_eq!((pattern.kind, pattern.cases, &pattern.route), (PatternKind::IdleLimit, u64::from(count), &None));
    }
}

#[test]
fn two_causes_at_once_are_two_patterns() {
    let backend = (0..40).map(|number| {
        let line = RecordLine::new(number).age(spread(number, 200.0, 900.0)).lost("backend", "reset");
        line.silent("backend", spread(number, 0.0, 20.0), 120.0 + spread(number, 0.0, 0.4))
    });
    let found = patterns(with(well(400), silenced(60, 47.0)).into_iter().chain(backend));
    let kinds: Vec<_> = found.iter().map(|pattern| (pattern.kind, pattern.side)).collect();
    assert_eq!(
        kinds,
        [(PatternKind::IdleLimit, Some("client")), (PatternKind::IdleLimit, Some("backend"))],
        "{found:#?}"
    );
}
