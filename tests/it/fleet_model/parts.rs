//! The parts of the model, one by one. They stand here and not beside the code, because a bench compiles no tests.

use super::model::{
    backends::{BackendRules, Backends},
    client::{Told, delay},
    instance::{Instance, Strength},
    limits::{LimitRules, Limits},
    lots::Lots,
    maglev::Table,
    record::{Record, Second},
    seat::Seat,
    wheel::Wheel,
};

#[test]
fn handshakes_wait_inside_of_a_backend_for_those_before_them() {
    let rules = BackendRules { count: 1, rate: 100.0, most_in_flight: None, queue: 0, slow_start: 0 };
    let mut backends = Backends::new(rules);
    assert_eq!([0, 0, 0, 500].map(|now| backends.take(now, 1).1), [10, 20, 30, 510]);
    assert_eq!(backends.behind(0, 505), 5.0);
}

#[test]
fn who_has_no_place_is_passed_over() {
    let rules = BackendRules { count: 2, rate: 100.0, most_in_flight: Some(2), queue: 0, slow_start: 0 };
    let mut backends = Backends::new(rules);
    backends.begin_with(1);
    let taken: Vec<_> = (0..4).map(|_| backends.take(0, 1).0).collect();
    assert_eq!(taken, [0, 0, 1, 1], "the first is emptier, and full after two");
}

#[test]
fn a_backend_that_is_back_gets_all_until_its_share_is_full() {
    let rules = BackendRules { count: 2, rate: 1e6, most_in_flight: None, queue: 0, slow_start: 10_000 };
    let mut backends = Backends::new(rules);
    (0..200).for_each(|number| _ = backends.begin_with(2 * number + 1));
    backends.come_back(0, 0);
    let get = |backends: &mut Backends, now| (0..100).filter(|_| backends.take(now, 1).0 == 0).count();
    assert!((9..=15).contains(&get(&mut backends, 0)), "a twentieth of the other's 200");
    assert_eq!(get(&mut backends, 10_000), 100, "the whole share");
}

#[test]
fn delays_fill_windows_that_double_up_to_the_longest() {
    let mut lots = Lots::new(1);
    for (failures, window) in [(0, 500), (1, 1_000), (5, 16_000), (6, 30_000), (255, 30_000)] {
        let delays: Vec<_> = (0..2_000).map(|_| delay(Told::Nothing, failures, &mut lots)).collect();
        let (least, most) = (delays.iter().min().unwrap(), delays.iter().max().unwrap());
        assert!(
            *least < window / 100 && *most < window && *most > window - window / 100,
            "{failures}: {least} to {most}"
        );
    }
}

#[test]
fn clients_that_were_told_to_come_back_do_so_over_five_seconds_at_least() {
    let mut lots = Lots::new(2);
    let longest = |failures, lots: &mut Lots| (0..2_000).map(|_| delay(Told::Restart, failures, lots)).max().unwrap();
    assert!((4_900..5_000).contains(&longest(0, &mut lots)));
    assert!((29_000..30_000).contains(&longest(9, &mut lots)));
}

#[test]
fn handshakes_are_worked_off_one_after_another_by_all_cores() {
    let mut instance = Instance::new(true);
    let strength = Strength { cores: 2.0, handshake_us: 4_000.0, idle: 0.0, handshake: 0.0 };
    let done: Vec<_> = (0..3).map(|_| instance.take(100, strength)).collect();
    assert_eq!(done, [102, 104, 106]);
    // What waited is done by then.
    assert_eq!((instance.take(200, strength), instance.in_flight), (202, 4));
}

#[test]
fn valkey_lets_in_the_limit_and_the_shares_let_in_more_or_less() {
    let rules = LimitRules { per_client: 10, sessions: 0, wanted: 40 };
    let mut limits = Limits::new(rules, 80, 4);
    let let_in = (0..40).filter(|id| limits.admit(*id, (*id % 4) as u16, 0)).count();
    assert_eq!(let_in, 10);
    limits.is_exact = false;
    // ceil(10 / 4) at each of the four, and at one of them.
    let spread = (40..80).filter(|id| limits.admit(*id, (*id % 4) as u16, 0)).count();
    assert_eq!((spread, limits.deviation().most), (12, 12));
    assert_eq!((limits.deviation().over, limits.deviation().under), (0.1, 0.0));
    let mut limits = Limits::new(rules, 40, 4);
    limits.is_exact = false;
    assert_eq!((0..40).filter(|id| limits.admit(*id, 2, 0)).count(), 3);
    assert_eq!(limits.deviation().under, 0.7);
}

#[test]
fn who_leaves_makes_room() {
    let mut limits = Limits::new(LimitRules { per_client: 10, sessions: 1, wanted: 10 }, 20, 1);
    assert!(limits.admit(0, 0, 0) && !limits.admit(10, 0, 1));
    limits.leave(0, 0);
    assert!(limits.admit(10, 0, 0));
}

/// The slots of each instance.
fn parts(table: &Table, instances: usize) -> Vec<usize> {
    let mut parts = vec![0; instances];
    for slot in 0..Table::length(instances) as u64 {
        parts[usize::from(table.instance(slot).unwrap())] += 1;
    }
    parts
}

#[test]
fn the_length_is_a_prime_of_a_hundred_times_the_instances_or_more() {
    assert_eq!([3, 10, 1000].map(Table::length), [307, 1009, 100_003]);
}

#[test]
fn every_instance_has_its_part_within_a_hundredth() {
    for instances in [1, 2, 3, 10, 100, 1000] {
        let table = Table::new(Table::length(instances), &vec![true; instances]);
        let even = Table::length(instances) as f64 / instances as f64;
        for (place, part) in parts(&table, instances).into_iter().enumerate() {
            assert!((part as f64 - even).abs() <= even / 100.0 + 1.0, "{place} of {instances}: {part}, even is {even}");
        }
    }
}

#[test]
fn few_flows_move_between_instances_that_stay() {
    for (instances, gone) in [(10, 0..1), (100, 0..1), (1000, 0..1), (1000, 0..250)] {
        let before = Table::new(Table::length(instances), &vec![true; instances]);
        let in_turn: Vec<_> = (0..instances).map(|place| !gone.contains(&place)).collect();
        let after = Table::new(Table::length(instances), &in_turn);
        let moved = before.moved(&after, &in_turn);
        let most = if gone.len() == 1 { 0.04 } else { 0.3 };
        assert!(moved < most, "{} of {instances} are gone: {moved} of the others' flows move", gone.len());
        assert!(parts(&after, instances)[gone].iter().all(|part| *part == 0));
    }
}

#[test]
fn a_table_without_instances_names_none() {
    assert_eq!(Table::new(307, &[false; 3]).instance(1), None);
}

fn record(ratios: &[f64]) -> Record {
    let seconds = ratios.iter().map(|ratio| Second { ratio: *ratio, ..Second::default() }).collect();
    Record { seconds, ..Record::default() }
}

#[test]
fn a_fleet_is_even_once_it_stays_so() {
    assert_eq!(record(&[1.0, 1.3, 1.04, 1.06, 1.05, 1.0]).even_after(1), Some(3));
    assert_eq!(record(&[1.0, 1.3]).even_after(1), None);
    assert_eq!(record(&[1.0, 1.0]).even_after(1), Some(0));
}

#[test]
fn a_seat_takes_16_bytes() {
    assert_eq!(size_of::<Seat>(), 16);
}

fn popped(wheel: &mut Wheel, seats: &mut [Seat], step: u32) -> Vec<u32> {
    wheel.turn_to(step);
    std::iter::from_fn(|| wheel.pop(seats)).collect()
}

#[test]
fn each_session_comes_once_in_its_step_and_not_if_it_was_taken_out() {
    let mut seats = vec![Seat::default(); 6];
    let mut wheel = Wheel::new(100);
    for (id, at) in [(0, 20), (1, 20), (2, 29), (3, 0), (4, 5_000), (5, 30)] {
        wheel.put(&mut seats, id, at);
    }
    // The first, one between others, one that is in no list.
    for id in [2, 0, 4] {
        wheel.take_out(&mut seats, id);
    }
    assert_eq!(popped(&mut wheel, &mut seats, 0), [0; 0]);
    assert_eq!(popped(&mut wheel, &mut seats, 1), [3]);
    assert_eq!(popped(&mut wheel, &mut seats, 2), [1]);
    wheel.put(&mut seats, 1, 0);
    assert_eq!(popped(&mut wheel, &mut seats, 3), [1, 5]);
}
