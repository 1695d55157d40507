//! One client is not all clients: what one address does says little of the path.

use super::*;

/// Sessions of one program with one address: one after another, each lost to a silence.
fn monitor(count: u32, silence: f64) -> Vec<RecordLine> {
    let line = |number: u32| {
        let begin = 3600.0 * f64::from(number) / f64::from(count);
        let line = RecordLine::new(number).client("198.51.100.7").began(begin).age(silence).lost("client", "fin");
        line.silent("client", silence, silence)
    };
    (0..count).map(line).collect()
}

/// Handshakes of these clients that fail.
fn refused<'c>(count: u32, status: u16, client: impl Fn(u32) -> String + 'c) -> impl Iterator<Item = RecordLine> + 'c {
    (0..count).map(move |number| RecordLine::new(number).refused(status, "no_route").client(&client(number)))
}

#[test]
fn a_program_that_comes_again_and_again_is_no_limit_of_the_path() {
    assert_eq!(patterns(with(well(400), monitor(110, 30.0))), []);
    let of_age = |line: RecordLine| line.silent("client", 1.0, 1.0);
    assert_eq!(patterns(with(well(400), monitor(110, 30.0).into_iter().map(of_age).collect())), []);
    let dead = |line: RecordLine| line.dead("client").answered();
    assert_eq!(patterns(with(well(400), monitor(110, 30.0).into_iter().map(dead).collect())), []);
}

#[test]
fn a_program_that_makes_most_sessions_is_told_as_its_network() {
    let pattern = only(with(well(60), monitor(110, 30.0)));
    assert_eq!((pattern.kind, pattern.network.as_deref()), (PatternKind::IdleLimit, Some("198.51.100.0/24")));
    assert!(pattern.text.contains("from one address"), "{}", pattern.text);
}

#[test]
fn a_limit_is_found_beside_a_program_with_a_silence_of_its_own() {
    let pattern = only([well(400), monitor(110, 46.0), silenced(60, 47.0)].concat());
    assert_eq!((pattern.kind, &pattern.network), (PatternKind::IdleLimit, &None));
    assert!(pattern.seconds.is_some_and(|seconds| (46.9..47.3).contains(&seconds)), "{pattern:?}");
}

#[test]
fn the_tabs_of_a_laptop_that_is_closed_are_one_client() {
    let tabs = |silence: f64| {
        (0..12).map(move |number| {
            let line = RecordLine::new(number).client("198.51.100.7").age(spread(number, 60.0, 900.0)).ended(1800.0);
            let line = line.lost("client", "reset");
            if silence > 0.0 { line.silent("client", silence, silence) } else { line }
        })
    };
    assert_eq!(patterns(with(well(400), tabs(0.0).collect())), []);
    assert_eq!(patterns(with(well(400), tabs(47.0).collect())), []);
    let slept = tabs(0.0).map(|line| line.dead("client").answered());
    assert_eq!(patterns(with(well(400), slept.collect())), []);
}

#[test]
fn an_office_that_drops_at_once_is_told_as_its_network() {
    let office = (0..30).map(|number| {
        let line = RecordLine::new(number).client(&format!("198.51.100.{number}")).age(spread(number, 60.0, 900.0));
        line.ended(1800.0 + spread(number, 0.0, 0.5)).lost("client", "reset")
    });
    let pattern = only(with(well(400), office.collect()));
    assert_eq!((pattern.kind, pattern.network.as_deref()), (PatternKind::Burst, Some("198.51.100.0/24")));
}

#[test]
fn clients_behind_a_proxy_with_one_address_are_many() {
    let behind = |lines: Vec<RecordLine>| lines.into_iter().map(|line| line.client("192.0.2.1")).collect();
    let pattern = only(with(behind(well(400)), behind(silenced(60, 47.0))));
    assert_eq!((pattern.kind, pattern.cases, &pattern.network), (PatternKind::IdleLimit, 60, &None));
}

#[test]
fn a_client_that_asks_for_what_is_not_there_is_no_pattern() {
    for status in [401, 403, 404] {
        let scanner = refused(300, status, |_| "198.51.100.7".to_owned());
        assert_eq!(patterns(well(1200).into_iter().chain(scanner)), [], "{status}");
        let few = refused(12, status, |number| format!("198.51.{number}.7"));
        assert_eq!(patterns(well(1000).into_iter().chain(few)), [], "{status}");
    }
    // A backend that is away is nobody else's fault, whoever finds it out.
    let monitored = refused(30, 502, |_| "198.51.100.7".to_owned());
    assert_eq!(only(well(1000).into_iter().chain(monitored)).kind, PatternKind::HandshakeFailures);
}

#[test]
fn clients_that_are_refused_again_and_again_weigh_as_often_as_they_come() {
    let stale = refused(60, 401, |number| format!("198.51.{}.7", number % 20));
    let pattern = only(well(400).into_iter().chain(stale));
    assert_eq!((pattern.kind, pattern.status, pattern.cases), (PatternKind::HandshakeFailures, Some(401), 60));
}
