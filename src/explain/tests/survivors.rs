//! Sessions that lived on beyond a limit refute it, where it is said to be.

use super::*;

/// Sessions that end well after a long silence.
fn silent_for(count: u32, silence: f64) -> impl Iterator<Item = RecordLine> {
    (9000..9000 + count).map(move |number| {
        let line = RecordLine::new(number).age(spread(number, silence + 100.0, 1800.0));
        line.silent("client", silence, silence).silent("backend", silence, silence)
    })
}

#[test]
fn a_limit_of_silence_that_others_lived_beyond_is_none() {
    assert_eq!(patterns(with(well(400), silenced(60, 47.0)).into_iter().chain(silent_for(60, 300.0))), []);
    // A few may have another path.
    let found = with(well(400), silenced(60, 47.0)).into_iter().chain(silent_for(6, 300.0));
    assert_eq!(only(found).kind, PatternKind::IdleLimit);
}

#[test]
fn a_limit_of_one_network_or_backend_is_not_refuted_by_others() {
    let office = silenced(60, 47.0).into_iter().map(|line| line.client("198.51.100.7"));
    let pattern = only(well(400).into_iter().chain(silent_for(60, 300.0)).chain(office));
    assert_eq!((pattern.kind, pattern.network.as_deref()), (PatternKind::IdleLimit, Some("198.51.100.0/24")));
    let lost = (0..60).map(|number| {
        let line = RecordLine::new(number).age(spread(number, 60.0, 900.0)).backend("192.0.2.9:80");
        line.lost("backend", "reset").silent("backend", 47.0, 47.0)
    });
    let pattern = only(well(400).into_iter().chain(silent_for(60, 300.0)).chain(lost));
    assert_eq!((pattern.kind, pattern.backend.as_deref()), (PatternKind::IdleLimit, Some("192.0.2.9:80")));
}

#[test]
fn a_limit_of_two_networks_is_told_for_each_where_the_others_lived_on() {
    let office = |number: u32| (0..20).map(move |of| (number, of));
    let offices = (0..12).flat_map(office).map(|(office, of)| {
        let number = 100 * office + of;
        let line = RecordLine::new(number).client(&format!("198.51.{office}.{of}")).age(spread(number, 60.0, 900.0));
        match office {
            0 | 1 => line.lost("client", "fin").silent("client", 47.0, 47.0),
            _ => line.silent("client", 300.0, 300.0).age(400.0),
        }
    });
    let found = patterns(offices);
    let mut networks: Vec<_> = found.iter().filter_map(|pattern| pattern.network.as_deref()).collect();
    networks.sort_unstable();
    assert_eq!(networks, ["198.51.0.0/24", "198.51.1.0/24"], "{found:#?}");
}

#[test]
fn a_limit_of_age_that_others_lived_beyond_is_none() {
    let aged = (0..50).map(|number| {
        let line = RecordLine::new(number).age(300.0 + spread(number, 0.0, 0.5)).lost("client", "fin");
        line.silent("client", spread(number, 0.0, 20.0), 1.0)
    });
    assert_eq!(patterns(well(400).into_iter().chain(aged.clone())), []);
    let short = (0..400).map(|number| RecordLine::new(number).age(spread(number, 20.0, 250.0)));
    assert_eq!(only(short.chain(aged)).kind, PatternKind::LifeLimit);
}
