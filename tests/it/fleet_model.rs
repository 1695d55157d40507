//! The fleet in virtual time (benches/fleet): what holds for a fleet of any size, and that its numbers are those that were measured.

#[path = "../../benches/fleet/model/mod.rs"]
#[expect(dead_code, reason = "what only the program shows")]
mod model;
mod parts;

use std::path::Path;

use fs_err as fs;

use self::model::{
    anchors, client,
    scenarios::{EVENT, Scenario, Size, all},
    world::World,
};

fn scenario(name: &str, size: Size) -> Scenario {
    all(size).into_iter().find(|scenario| scenario.name == name).unwrap()
}

fn text(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn every_client_is_counted_once_whatever_happens_to_the_fleet() {
    for scenario in all(Size { instances: 20, sessions: 1_000 }) {
        let world = World::run(scenario.rules);
        assert!(world.is_sound(), "{}", scenario.name);
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let mut rules = scenario("zone", Size { instances: 12, sessions: 2_000 }).rules;
        rules.seed = seed;
        World::run(rules).record.seconds.iter().map(|second| second.arrivals).collect::<Vec<_>>()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn a_session_is_moved_e_minus_one_times_by_an_update_of_one_instance_after_another() {
    let scenario = scenario("roll-1", Size { instances: 100, sessions: 30_000 });
    let (seats, record) = (f64::from(scenario.rules.seats), World::run(scenario.rules).record);
    let moved = record.ended as f64 / seats;
    assert!((moved - (1_f64.exp() - 1.0)).abs() < 0.05, "{moved}");
    assert_eq!((record.nobody(), record.refused), (0, 0));
}

#[test]
fn nothing_moves_by_itself_after_a_scale_up_and_rebalance_makes_it_even() {
    let size = Size { instances: 8, sessions: 80_000 };
    let left = World::run(scenario("up", size).rules).record;
    assert_eq!((left.ended, left.even_after(0)), (0, None));
    let rebalanced = World::run(scenario("up-rebalance", size).rules).record;
    let since = (EVENT / 1000) as usize;
    assert!(rebalanced.even_after(since).is_some_and(|seconds| seconds > 300));
    assert!(rebalanced.ended < 80_000);
}

/// The first number of a cell: `96.9` of `96.9 (94.0 to 106)`.
fn number(cell: &str) -> f64 {
    cell.split_whitespace().next().unwrap().replace(',', "").parse().unwrap()
}

#[test]
fn the_model_stands_on_what_was_measured() {
    let (results, three) = (text("benches/RESULTS.md"), text("benches/THREE.md"));
    let cells = |page: &str, head: &str| -> Vec<String> {
        let row = page.lines().find(|line| line.starts_with(head)).unwrap_or_else(|| panic!("no row {head}"));
        row.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let result = |row: &str| number(&cells(&results, &format!("| `{row}` |"))[4]);
    let memory = |row: &str| number(&cells(&three, &format!("| {row} |"))[2]);
    let anchored = [
        (anchors::HANDSHAKE_PLAIN_US, result("handshake-16")),
        (anchors::HANDSHAKE_TLS_US, result("tls-full")),
        (anchors::IDLE_PLAIN, result("idle")),
        (anchors::IDLE_TLS, result("idle-tls")),
        (anchors::IN_FLIGHT_PLAIN, memory("a handshake in flight, plain")),
        (anchors::IN_FLIGHT_TLS, memory("a handshake in flight, with TLS")),
        (anchors::PROCESS, memory("the process") * 1e6),
    ];
    // Two runs differ by a tenth and more.
    for (model, measured) in anchored {
        assert!((model / measured - 1.0).abs() < 0.25, "the model has {model}, the page {measured}");
    }
}

#[test]
fn the_delays_of_the_model_are_those_of_the_library() {
    let (policy, machine) = (text("clients/js/src/policy.ts"), text("clients/js/src/machine.ts"));
    let grouped = |number: u32| {
        if number < 1_000 { number.to_string() } else { format!("{}_{:03}", number / 1_000, number % 1_000) }
    };
    let has = |page: &str, words: String| assert!(page.contains(&words), "the library has no {words:?}");
    has(&policy, format!("const SPREAD = {};", grouped(client::SPREAD)));
    has(&machine, format!("const PROVEN = {};", grouped(client::PROVEN)));
    has(&machine, format!("connectTimeout = {}", grouped(client::CONNECT_TIMEOUT)));
    has(&machine, format!("minDelay = {}", grouped(client::MIN_DELAY)));
    has(&machine, format!("maxDelay = {}", grouped(client::MAX_DELAY)));
    has(&machine, format!("heartbeat.interval ?? {}", grouped(client::HEARTBEAT)));
    has(&machine, format!("timeout = {} }}", grouped(client::HEARTBEAT_TIMEOUT)));
}
