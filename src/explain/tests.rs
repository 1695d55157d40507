//! Patterns in small heaps of records, each with one cause and with what must not be taken for it.

mod clients;
mod heartbeats;
mod line;
mod odd;
mod survivors;

use self::line::RecordLine;
use super::{record::read, *};

/// The patterns of these records.
fn patterns(lines: impl IntoIterator<Item = RecordLine>) -> Vec<Pattern> {
    let (mut evidence, mut scratch) = (Evidence::new(Evidence::MOST), String::new());
    for line in lines {
        evidence.add(
            &read(line.json().as_bytes(), &mut scratch).unwrap_or_else(|error| panic!("{error}: {}", line.json())),
        );
    }
    evidence.patterns()
}

/// Its only pattern.
fn only(lines: impl IntoIterator<Item = RecordLine>) -> Pattern {
    let patterns = patterns(lines);
    let [pattern] = &patterns[..] else { panic!("{patterns:#?}") };
    pattern.clone()
}

/// Sessions that end well over an hour, of different ages, spread over four routes, three backends and twenty networks.
fn well(count: u32) -> Vec<RecordLine> {
    (0..count).map(|number| RecordLine::new(number).age(spread(number, 20.0, 900.0))).collect()
}

/// The number's own place between `low` and `high`. Neighbours lie far apart (the golden ratio).
fn spread(number: u32, low: f64, high: f64) -> f64 {
    low + (high - low) * (f64::from(number) * 0.618_033_988_75).fract()
}

/// Clients that are lost after a silence.
fn silenced(count: u32, silence: f64) -> Vec<RecordLine> {
    let line = |number| {
        let seen = silence * (1.0 + 0.004 * spread(number, 0.0, 1.0));
        RecordLine::new(number)
            .age(spread(number, silence + 5.0, 1500.0))
            .lost("client", "fin")
            .silent("client", seen, seen)
    };
    (5000..5000 + count).map(line).collect()
}

fn with(mut lines: Vec<RecordLine>, more: Vec<RecordLine>) -> Vec<RecordLine> {
    lines.extend(more);
    lines
}

#[test]
fn a_limit_of_silence_on_all_routes_is_one_pattern_without_a_route() {
    let pattern = only(with(well(400), silenced(60, 47.0)));
    assert_eq!((pattern.kind, pattern.side, pattern.cases), (PatternKind::IdleLimit, Some("client"), 60));
    assert_eq!((&pattern.route, &pattern.backend, &pattern.network), (&None, &None, &None));
    assert!(pattern.seconds.is_some_and(|seconds| (46.9..47.3).contains(&seconds)), "{pattern:?}");
    assert_eq!((pattern.key.as_deref(), pattern.value.as_deref()), (Some("keepalive.ping_interval"), Some("18s")));
    assert!(pattern.confidence > 0.99 && pattern.share > 0.99, "{pattern:?}");
    assert!(
        pattern.text.contains("60 sessions lost the client after 47.1 s of silence in both directions, by FIN"),
        "{pattern:?}"
    );
}

#[test]
fn a_limit_is_told_with_the_presets_that_it_looks_like() {
    let text = only(with(well(400), silenced(60, 60.0))).text;
    assert!(text.contains("it looks like AWS Application Load Balancer"), "{text}");
}

#[test]
fn seven_cases_are_no_pattern_and_eight_are_one() {
    assert_eq!(patterns(with(well(400), silenced(7, 47.0))), []);
    assert_eq!(only(with(well(400), silenced(8, 47.0))).cases, 8);
}

#[test]
fn a_limit_of_one_route_backend_or_network_is_told_with_it() {
    let routed = silenced(60, 47.0).into_iter().map(|line| line.route("*/chat/")).collect();
    let pattern = only(with(well(400), routed));
    assert_eq!((pattern.route.as_deref(), pattern.network), (Some("*/chat/"), None));
    assert_eq!(pattern.key.as_deref(), Some("routes[].keepalive.ping_interval"));
    let of_office = silenced(60, 47.0).into_iter().map(|line| line.client("198.51.100.7")).collect();
    let office = (0..40).map(|number| RecordLine::new(number).client("198.51.100.8")).collect();
    let pattern = only(with(with(well(400), office), of_office));
    assert_eq!((pattern.network.as_deref(), pattern.route), (Some("198.51.100.0/24"), None));
    let of_backend = (0..60).map(|number| {
        let line = RecordLine::new(number).age(spread(number, 60.0, 900.0)).backend("192.0.2.9:80");
        line.lost("backend", "reset").silent("backend", 47.0, 47.0)
    });
    let others = (0..60).map(|number| RecordLine::new(number).backend("192.0.2.9:80"));
    let pattern = only(with(well(400), of_backend.chain(others).collect()));
    assert_eq!((pattern.backend.as_deref(), pattern.side), (Some("192.0.2.9:80"), Some("backend")));
}

#[test]
fn a_limit_of_two_of_four_routes_is_told_for_each() {
    let of = |route: &'static str| silenced(40, 47.0).into_iter().map(move |line| line.route(route));
    let mut found = patterns(with(well(800), of("*/0/").chain(of("*/1/")).collect()));
    found.sort_by(|a, b| a.route.cmp(&b.route));
    let routes: Vec<_> = found.iter().map(|pattern| pattern.route.as_deref()).collect();
    assert_eq!(routes, [Some("*/0/"), Some("*/1/")], "{found:#?}");
}

#[test]
fn a_silence_in_one_direction_says_which_bytes_do_not_count() {
    let lines = (0..60).map(|number| {
        let line = RecordLine::new(number).age(spread(number, 80.0, 900.0)).lost("client", "fin");
        line.silent("client", spread(number, 0.0, 40.0), 60.0)
    });
    let pattern = only(with(well(400), lines.collect()));
    assert_eq!((pattern.kind, pattern.seconds), (PatternKind::IdleLimit, Some(60.0)));
    assert!(pattern.text.contains("of silence toward the client"), "{}", pattern.text);
}

#[test]
fn a_pattern_knows_its_networks_and_what_it_says_of_the_interval() {
    let pattern = only(with(well(400), silenced(60, 47.0)));
    let Some(IdleBound::At(limit)) = pattern.bound else { panic!("{pattern:?}") };
    assert!((46_900..47_300).contains(&limit.as_millis()), "{limit:?}");
    assert_eq!(pattern.witnesses.networks, 20);
}

#[test]
fn the_witnesses_are_enough_since_the_eighth_latest_network_began_a_session() {
    let of = |networks: u32| {
        let (mut evidence, mut scratch) = (Evidence::new(100), String::new());
        for number in 0..60 {
            let line = RecordLine::new(0).client(&format!("192.0.{}.1", number % networks)).began(number.into()).json();
            evidence.add(&read(line.as_bytes(), &mut scratch).unwrap());
        }
        Witnesses::of(&evidence, &(0..60).collect::<Vec<_>>())
    };
    assert_eq!(of(7), Witnesses { networks: 7, enough_since: None });
    // The last eight of ten networks began at 52 to 59 s.
    let since = (RecordLine::BEGIN + 52) * 1000;
    assert_eq!(of(10), Witnesses { networks: 10, enough_since: Some(since) });
    assert!(of(10).are_enough_since(since) && !of(10).are_enough_since(since + 1));
}

/// Clients that answered no Ping, 25 s after their last byte and 30 s after the Ping.
fn unanswered(count: u32, has_answered: bool) -> Vec<RecordLine> {
    let line = |number| {
        let line = RecordLine::new(number).age(spread(number, 60.0, 900.0)).dead("client").pings(4, 4);
        let line = line.silent("client", spread(number, 52.5, 54.8), spread(number, 5.2, 7.4));
        if has_answered { line.answered() } else { line }
    };
    (7000..7000 + count).map(line).collect()
}

#[test]
fn a_side_that_answers_no_ping_is_no_limit_of_silence() {
    let pinged = (0..400).map(|number| {
        let age = spread(number, 100.0, 900.0);
        RecordLine::new(number).age(age).pings((age / 23.6) as u32, 0).answered()
    });
    let pinged: Vec<_> = pinged.collect();
    let pattern = only(with(pinged.clone(), unanswered(50, true)));
    assert_eq!((pattern.kind, pattern.side, pattern.seconds), (PatternKind::DeadUnanswered, Some("client"), None));
    assert_eq!((pattern.key.as_deref(), pattern.bound), (Some("keepalive.pong_timeout"), None));
    assert!(pattern.text.contains("they slept"), "{}", pattern.text);
    // Where no Ping was ever answered, the path forgets what is silent for less than the interval.
    let pattern = only(with(pinged, unanswered(50, false)));
    assert_eq!((pattern.kind, pattern.seconds), (PatternKind::DeadUnanswered, None));
    assert_eq!((pattern.key.as_deref(), pattern.value.as_deref()), (Some("keepalive.ping_interval"), Some("12s")));
    assert_eq!(pattern.bound, Some(IdleBound::BelowInterval));
}

#[test]
fn an_end_that_nobody_heard_of_is_no_limit_of_silence() {
    // By the timers of our kernel, and by ours where a side takes nothing: the path does not decide how long these take.
    for (cause, how, from, to) in [("client_lost", "timed_out", 330.0, 330.0), ("client_dead", "silent", 30.1, 30.0)] {
        let lines = (0..40).map(|number| {
            let line = RecordLine::new(number).age(spread(number, 400.0, 900.0)).cause(cause).how(how);
            line.silent("client", from + spread(number, 0.0, 0.3), to)
        });
        let pattern = only(with(well(400), lines.collect()));
        assert_eq!((pattern.kind, pattern.side, pattern.seconds), (PatternKind::DeadUnanswered, Some("client"), None));
    }
}

#[test]
fn what_is_advised_is_more_than_what_is_set_and_never_nothing() {
    // Busy sessions get few Pings, from which the interval seems to be longer than it is.
    let busy =
        || (0..400).map(|number| RecordLine::new(number).age(spread(number, 700.0, 900.0)).pings(10, 0)).collect();
    let pattern = only(with(busy(), unanswered(50, true)));
    assert_eq!(pattern.value.as_deref(), Some("{ client: 107s }"));
    let pattern = only(with(busy(), unanswered(50, false)));
    assert_eq!((pattern.key.as_deref(), pattern.value.as_deref()), (Some("keepalive.ping_interval"), Some("12s")));
}

#[test]
fn a_limit_that_bites_rarely_on_one_of_two_routes_is_one_pattern_for_both() {
    let of = |count: u32, route: &'static str| silenced(count, 60.0).into_iter().map(move |line| line.route(route));
    let kept = (0..2000).map(|number| RecordLine::new(number).age(spread(number, 20.0, 900.0)).route("*/1/"));
    let other = (0..100).map(|number| RecordLine::new(number).age(spread(number, 20.0, 900.0)).route("*/0/"));
    let pattern = only(kept.chain(other).chain(of(300, "*/0/")).chain(of(25, "*/1/")));
    assert_eq!((pattern.kind, pattern.route, pattern.cases), (PatternKind::IdleLimit, None, 325));
}

#[test]
fn a_crash_is_found_in_a_log_that_has_nothing_else() {
    let crash = (0..60)
        .map(|number| RecordLine::new(number).age(spread(number, 5.0, 900.0)).lost("backend", "reset").ended(1800.0));
    assert_eq!(only(crash).kind, PatternKind::Burst);
}

#[test]
fn a_reset_that_answers_our_ping_is_a_limit_below_the_interval_if_no_ping_ever_passed() {
    let reset = |has_answered: bool| {
        let line = move |number| {
            let line = RecordLine::new(number).age(spread(number, 60.0, 900.0)).lost("client", "reset").pings(1, 0);
            let line = line.silent("client", spread(number, 22.5, 24.8), 0.02);
            if has_answered { line.answered() } else { line }
        };
        (0..60).map(line).collect()
    };
    let pattern = only(with(well(400), reset(false)));
    assert_eq!(pattern.kind, PatternKind::IdleLimit);
    assert!(pattern.seconds.is_some_and(|seconds| (22.4..24.9).contains(&seconds)), "{pattern:?}");
    assert_eq!(pattern.value.as_deref(), Some("12s"));
    assert_eq!(patterns(with(well(400), reset(true))), []);
    // The Pings of a backend pass, and their answers: a client that is gone says nothing of the path.
    let unpinged = reset(false).into_iter().map(|line: RecordLine| line.pings(0, 0)).collect();
    assert_eq!(patterns(with(well(400), unpinged)), []);
}

#[test]
fn a_side_that_gets_no_pings_is_to_get_them() {
    let pinged = (0..400).map(|number| RecordLine::new(number).age(spread(number, 100.0, 900.0)).pings(10, 0));
    let lost = (0..60).map(|number| {
        let line = RecordLine::new(number).age(spread(number, 60.0, 900.0)).pings(4, 0).lost("backend", "fin");
        line.silent("backend", 60.0, 60.0)
    });
    let pattern = only(pinged.chain(lost));
    assert_eq!(
        (pattern.key.as_deref(), pattern.value.as_deref()),
        (Some("keepalive.sides"), Some("[client, backend]"))
    );
}

#[test]
fn what_no_setting_should_mend_has_no_value() {
    let lively = well(400).into_iter().map(|line| line.silent("client", 1.0, 1.0));
    let pattern = only(with(lively.collect(), silenced(60, 5.0)));
    assert_eq!((pattern.key.as_deref(), pattern.value), (Some("keepalive.ping_interval"), None));
    let short =
        (0..60).map(|number| RecordLine::new(number).age(5.0 + spread(number, 0.0, 0.01)).lost("client", "fin"));
    let pattern = only(with(well(150), short.collect()));
    assert_eq!((pattern.key.as_deref(), pattern.value), (Some("routes[].max_lifetime"), None));
}

#[test]
fn a_limit_of_age_is_told_where_the_sessions_were_lively_and_one_of_silence_where_they_were_not() {
    let aged = |is_lively: bool| {
        let line = move |number| {
            let silence = if is_lively { spread(number, 0.0, 20.0) } else { 600.0 };
            let line = RecordLine::new(number).age(600.0 + spread(number, 0.0, 0.5)).lost("client", "fin");
            line.silent("client", silence, silence)
        };
        (0..60).map(line).collect()
    };
    let pattern = only(with(well(400), aged(true)));
    assert_eq!((pattern.kind, pattern.key.as_deref()), (PatternKind::LifeLimit, Some("routes[].max_lifetime")));
    assert_eq!(pattern.value.as_deref(), Some("570s"));
    assert_eq!(only(with(well(400), aged(false))).kind, PatternKind::IdleLimit);
}

#[test]
fn an_older_record_is_judged_by_what_it_has() {
    let aged =
        (0..60).map(|number| RecordLine::new(number).age(600.0 + spread(number, 0.0, 0.5)).lost("client", "").old());
    assert_eq!(only(with(well(400), aged.collect())).kind, PatternKind::LifeLimit);
    let mute = (0..60).map(|number| RecordLine::new(number).age(47.0).mute().lost("client", "").old());
    let pattern = only(with(well(400), mute.collect()));
    assert_eq!((pattern.kind, pattern.seconds), (PatternKind::IdleLimit, Some(47.0)));
    let dead = (0..60).map(|number| RecordLine::new(number).dead("client").answered().old());
    assert_eq!(only(with(well(400), dead.collect())).kind, PatternKind::DeadUnanswered);
}

#[test]
fn a_crash_of_one_backend_is_a_burst_of_it() {
    let crash = (0..60).map(|number| {
        let line = RecordLine::new(number).backend("192.0.2.1:80").age(spread(number, 10.0, 900.0));
        line.lost("backend", "reset").ended(1800.0 + spread(number, 0.0, 0.6))
    });
    let pattern = only(with(well(600), crash.collect()));
    assert_eq!((pattern.kind, pattern.side, pattern.cases), (PatternKind::Burst, Some("backend"), 60));
    assert_eq!((pattern.backend.as_deref(), pattern.route.as_deref()), (Some("192.0.2.1:80"), None));
    assert_eq!(pattern.at.map(|at| at.as_second()), Some(RecordLine::BEGIN + 1800));
    assert!(pattern.for_seconds.is_some_and(|seconds| seconds <= 0.6), "{pattern:?}");
}

#[test]
fn clients_that_come_back_after_a_drain_are_a_storm_and_after_nothing_they_are_none() {
    let back = || {
        (0..60).map(|number| {
            RecordLine::new(number).began(1802.0 + spread(number, 0.0, 2.0)).age(spread(number, 30.0, 900.0))
        })
    };
    let drained =
        (0..60).map(|number| RecordLine::new(number).age(spread(number, 30.0, 900.0)).cause("drain").ended(1800.0));
    let pattern = only(with(well(600), drained.chain(back()).collect()));
    assert_eq!((pattern.kind, pattern.key.as_deref()), (PatternKind::Storm, Some("drain.spread")));
    assert!(pattern.at.is_some() && pattern.for_seconds.is_some() && pattern.seconds.is_none());
    assert_eq!(patterns(with(well(600), back().collect())), []);
}

#[test]
fn a_network_with_far_more_drops_than_the_others_is_told() {
    let bad = (0..60).map(|number| {
        let line = RecordLine::new(number).client("198.51.100.7").age(spread(number, 1.0, 900.0));
        let silence = spread(number + 7, 0.0, 20.0);
        line.lost("client", "reset").silent("client", silence, silence * 0.9)
    });
    let usual = (0..20).map(|number| {
        RecordLine::new(number).age(spread(number, 1.0, 900.0)).lost("client", "fin").silent(
            "client",
            spread(number, 0.0, 20.0),
            0.1,
        )
    });
    let pattern = only(with(well(600), bad.chain(usual).collect()));
    assert_eq!((pattern.kind, pattern.network.as_deref()), (PatternKind::Network, Some("198.51.100.0/24")));
}

#[test]
fn handshakes_that_fail_are_told_by_their_status_and_limits_of_ours_by_their_key() {
    // A refusal by a Close has the status of its cause, and a 429 of a backend is no limit of ours.
    for (status, cause, told) in [(101, "sessions", 503), (429, "not_upgraded", 429)] {
        let refused = (0..40).map(|number| RecordLine::new(number).refused(status, cause));
        let pattern = only(with(well(600), refused.collect()));
        assert_eq!((pattern.kind, pattern.status), (PatternKind::HandshakeFailures, Some(told)), "{pattern:?}");
    }
    let refused = (0..40).map(|number| RecordLine::new(number).refused(403, "origin").route("*/1/"));
    let pattern = only(with(well(600), refused.collect()));
    assert_eq!((pattern.kind, pattern.status), (PatternKind::HandshakeFailures, Some(403)));
    assert_eq!((pattern.route.as_deref(), pattern.key.as_deref()), (Some("*/1/"), Some("routes[].origins")));
    let barred = (0..40).map(|number| RecordLine::new(number).refused(429, "sessions_per_client"));
    let pattern = only(with(well(600), barred.collect()));
    assert_eq!((pattern.kind, pattern.status), (PatternKind::OwnLimit, None));
    assert_eq!(pattern.key.as_deref(), Some("limits.sessions_per_client"));
    for (cause, kind, key) in [
        ("memory", PatternKind::SlowReaders, "limits.unsent_memory"),
        ("idle", PatternKind::OwnLimit, "timeouts.idle"),
        ("rate_limited", PatternKind::OwnLimit, "limits.messages_per_second"),
        ("message_too_big", PatternKind::OwnLimit, "limits.message_size"),
    ] {
        let ended = (0..40).map(|number| RecordLine::new(number).cause(cause));
        let pattern = only(with(well(600), ended.collect()));
        assert_eq!((pattern.kind, pattern.key.as_deref()), (kind, Some(key)));
    }
}

#[test]
fn the_pattern_with_most_cases_comes_first_and_has_its_share_of_the_drops() {
    let usual = (0..40).map(|number| RecordLine::new(number).age(spread(number, 1.0, 900.0)).lost("client", "fin"));
    let lines = with(well(400), silenced(60, 47.0)).into_iter().chain(usual);
    let more = (0..90).map(|number| RecordLine::new(number).cause("memory"));
    let found = patterns(lines.chain(more));
    let kinds: Vec<_> = found.iter().map(|pattern| pattern.kind).collect();
    assert_eq!(kinds, [PatternKind::SlowReaders, PatternKind::IdleLimit]);
    assert!((found[1].share - 0.6).abs() < 0.02, "{found:#?}");
}

#[test]
fn the_earliest_records_are_forgotten_where_there_are_too_many_and_at_a_moment() {
    let (mut evidence, mut scratch) = (Evidence::new(100), String::new());
    for line in well(150) {
        evidence.add(&read(line.json().as_bytes(), &mut scratch).unwrap());
    }
    assert!((100..=112).contains(&evidence.len()), "{}", evidence.len());
    evidence.forget_before((RecordLine::BEGIN + 1800) * 1000);
    assert!((10..100).contains(&evidence.len()), "{}", evidence.len());
    evidence.forget_before(i64::MAX);
    assert!(evidence.is_empty() && evidence.patterns().is_empty());
}
