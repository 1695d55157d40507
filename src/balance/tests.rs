//! What an upstream does as a whole, in virtual time. Its parts have their own tests.
#![allow(clippy::unwrap_used)]

mod alike;
mod handshakes;
mod members;
mod properties;
mod reload;
mod slow_start;
mod sticky;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Barrier},
    thread,
    time::{Duration, Instant},
};

use super::*;
use crate::sender::Client;

const FAIL_TIMEOUT: Duration = Duration::from_secs(30);
const POLICIES: [Policy; 4] =
    [Policy::IpHash { prefix_v4: 32 }, Policy::LeastConn, Policy::RandomTwo, Policy::RoundRobin];

/// The key of some client.
fn client() -> Key {
    Client::from(IpAddr::from(Ipv4Addr::LOCALHOST)).into()
}

fn backend(address: &str) -> BackendSettings {
    BackendSettings {
        address: address.to_owned(),
        weight: 1,
        max_conns: 0,
        backup: false,
        down: false,
        tier: 0,
        found: None,
    }
}

fn backup(address: &str) -> BackendSettings {
    BackendSettings { backup: true, ..backend(address) }
}

fn down(address: &str) -> BackendSettings {
    BackendSettings { down: true, ..backend(address) }
}

fn limited(address: &str, max_conns: usize) -> BackendSettings {
    BackendSettings { max_conns, ..backend(address) }
}

/// An upstream in which one failure takes a backend out.
fn upstream(policy: Policy, backends: impl Into<Vec<BackendSettings>>) -> Arc<Upstream> {
    new(settings(policy, backends))
}

fn settings(policy: Policy, backends: impl Into<Vec<BackendSettings>>) -> UpstreamSettings {
    UpstreamSettings {
        name: "chat".to_owned(),
        policy,
        max_fails: 1,
        fail_timeout: FAIL_TIMEOUT,
        tries: 0,
        slow_start: Duration::ZERO,
        max_handshakes: 0,
        handshake_queue: 0,
        reuses_connections: true,
        proxy_protocol: None,
        health_check: None,
        backends: backends.into(),
    }
}

fn new(settings: UpstreamSettings) -> Arc<Upstream> {
    Registry::default().upstream(settings, Instant::now())
}

/// Checks once a second with these thresholds.
fn every_second(rise: u32, fall: u32) -> HealthCheck {
    HealthCheck {
        kind: CheckKind::Tcp,
        host: None,
        interval: Duration::from_secs(1),
        jitter: Duration::ZERO,
        timeout: Duration::from_secs(1),
        rise,
        fall,
        on_down: OnDown::Keep,
    }
}

fn pick(upstream: &Arc<Upstream>, now: Instant) -> Pick {
    upstream.pick(&client(), &mut Tried::default(), now).unwrap()
}

/// The addresses to which one request goes, one after another, until no backend is left.
fn attempts(upstream: &Arc<Upstream>, now: Instant) -> (Vec<String>, Unavailable) {
    let mut tried = Tried::default();
    let mut addresses = Vec::new();
    while addresses.len() <= upstream.members().len() {
        match upstream.pick(&client(), &mut tried, now) {
            Ok(pick) => addresses.push(pick.address().to_owned()),
            Err(why) => return (addresses, why),
        }
    }
    panic!("one was tried twice: {addresses:?}");
}

/// Takes the backends with these addresses out, each by failing requests.
fn take_out(upstream: &Arc<Upstream>, addresses: &[&str], now: Instant) {
    for address in addresses {
        let mut tried = Tried::default();
        let mut pick = upstream.pick(&client(), &mut tried, now).unwrap();
        while pick.address() != *address && tried.len() < upstream.members().len() {
            pick = upstream.pick(&client(), &mut tried, now).unwrap();
        }
        assert_eq!(pick.address(), *address);
        assert_eq!(pick.failed(now), Some(Transition::Out));
    }
}

/// The results of four threads that start `run` together.
fn on_four_threads<T: Send>(run: impl Fn() -> T + Sync) -> Vec<T> {
    let barrier = Barrier::new(4);
    let run = || {
        barrier.wait();
        run()
    };
    thread::scope(|scope| {
        let threads: [_; 4] = std::array::from_fn(|_| scope.spawn(run));
        threads.map(|thread| thread.join().unwrap()).into()
    })
}

#[test]
fn thirty_requests_over_two_are_fifteen_each() {
    let upstream = upstream(Policy::RoundRobin, [backend("a"), backend("b")]);
    let now = Instant::now();
    let first = (0..30).filter(|_| pick(&upstream, now).address() == "a").count();
    assert_eq!(first, 15);
}

#[test]
fn turns_are_exact_whatever_the_number_of_threads() {
    let weighted = |address, weight| BackendSettings { weight, ..backend(address) };
    let upstream = upstream(Policy::RoundRobin, [weighted("a", 5), weighted("b", 1), weighted("c", 1)]);
    let now = Instant::now();
    let mut totals = BTreeMap::new();
    let addresses = || Vec::from_iter((0..700).map(|_| pick(&upstream, now).address().to_owned()));
    for address in on_four_threads(addresses).into_iter().flatten() {
        *totals.entry(address).or_insert(0) += 1;
    }
    let expected = [("a", 2000), ("b", 400), ("c", 400)].map(|(address, count)| (address.to_owned(), count));
    assert_eq!(totals, BTreeMap::from(expected));
}

#[test]
fn max_conns_is_exact_whatever_the_number_of_threads() {
    for policy in POLICIES {
        let upstream = upstream(policy, [limited("a", 7), limited("b", 5)]);
        let now = Instant::now();
        let try_one = |_| upstream.pick(&client(), &mut Tried::default(), now).ok();
        on_four_threads(|| {
            for _ in 0..500 {
                let _held = Vec::from_iter((0..4).filter_map(try_one));
                assert!(upstream.members()[0].backend.active() <= 7);
                assert!(upstream.members()[1].backend.active() <= 5);
            }
        });
        let held = on_four_threads(|| Vec::from_iter((0..10).filter_map(try_one)));
        assert_eq!(held.iter().map(Vec::len).sum::<usize>(), 12);
        drop(held);
        assert_eq!(upstream.members()[0].backend.active() + upstream.members()[1].backend.active(), 0);
    }
}

#[test]
fn pick_counts_until_it_is_dropped_whatever_its_outcome() {
    let upstream = upstream(Policy::LeastConn, [backend("a")]);
    let now = Instant::now();
    let active = || upstream.members()[0].backend.active();
    let mut answered = pick(&upstream, now);
    let mut failed = pick(&upstream, now);
    let given_up = pick(&upstream, now);
    assert_eq!(active(), 3);
    answered.succeeded(now);
    failed.failed(now);
    assert_eq!(active(), 3);
    drop((answered, failed, given_up));
    assert_eq!(active(), 0);
}

#[test]
fn live_sessions_weigh_in_least_conn_for_their_whole_life() {
    let upstream = upstream(Policy::LeastConn, [backend("a"), backend("b")]);
    let now = Instant::now();
    let (on_a, on_b): (Vec<_>, Vec<_>) = (0..10).map(|_| pick(&upstream, now)).partition(|pick| pick.address() == "a");
    assert_eq!((on_a.len(), on_b.len()), (5, 5));
    drop(on_b);
    let next: Vec<_> = (0..5).map(|_| pick(&upstream, now)).collect();
    assert!(next.iter().all(|pick| pick.address() == "b"));
}

#[test]
fn request_moves_on_to_every_backend_once() {
    for policy in POLICIES {
        let upstream = upstream(policy, [backend("a"), backend("b"), backend("c"), down("d")]);
        let (mut addresses, why) = attempts(&upstream, Instant::now());
        addresses.sort_unstable();
        assert_eq!(addresses, ["a", "b", "c"]);
        assert_eq!(why, Unavailable::AllTried);
    }
}

#[test]
fn nothing_but_down_and_full_backends_is_unavailable_even_when_out() {
    for policy in POLICIES {
        let upstream = upstream(policy, [limited("a", 1), down("b")]);
        let now = Instant::now();
        let mut held = pick(&upstream, now);
        held.failed(now);
        let why = upstream.pick(&client(), &mut Tried::default(), now).unwrap_err();
        assert_eq!(why, Unavailable::DownOrFull);
    }
}

#[test]
fn backup_waits_until_no_other_is_ready_and_those_out_come_last() {
    for policy in POLICIES {
        let upstream = upstream(policy, [backup("c"), backend("a"), backup("d"), backend("b")]);
        let now = Instant::now();
        let ranks = |now| {
            let (mut order, _) = attempts(&upstream, now);
            order[..2].sort_unstable();
            order[2..].sort_unstable();
            order.concat()
        };
        assert_eq!(ranks(now), "abcd");
        take_out(&upstream, &["a", "b"], now);
        assert_eq!(ranks(now), "cdab");
        take_out(&upstream, &["c", "d"], now);
        assert_eq!(ranks(now), "abcd");
        assert_eq!(ranks(now + FAIL_TIMEOUT), "abcd");
    }
}

#[test]
fn full_primary_makes_room_for_the_backup_and_comes_first_again() {
    let upstream = upstream(Policy::RoundRobin, [limited("a", 1), backup("b")]);
    let now = Instant::now();
    let on_a = pick(&upstream, now);
    assert_eq!(on_a.address(), "a");
    assert_eq!(pick(&upstream, now).address(), "b");
    drop(on_a);
    assert_eq!(pick(&upstream, now).address(), "a");
}

#[test]
fn one_trial_at_a_time_while_others_go_elsewhere() {
    for policy in POLICIES {
        let upstream = upstream(policy, [backend("a"), backup("b")]);
        let start = Instant::now();
        take_out(&upstream, &["a"], start);
        assert_eq!(pick(&upstream, start).address(), "b");

        let now = start + FAIL_TIMEOUT;
        assert_eq!(upstream.members()[0].backend.health(now), Health::Trial);
        let mut trial = pick(&upstream, now);
        assert_eq!(trial.address(), "a");
        assert_eq!(pick(&upstream, now).address(), "b");
        // The trial is given up, so the next request is the trial.
        drop(trial);
        trial = pick(&upstream, now);
        assert_eq!(trial.address(), "a");
        // The trial has failed, so the backend stays out for another `fail_timeout`.
        assert_eq!(trial.failed(now), None);
        assert_eq!(pick(&upstream, now).address(), "b");

        let now = now + FAIL_TIMEOUT;
        let mut trial = pick(&upstream, now);
        assert_eq!(trial.address(), "a");
        assert_eq!(trial.succeeded(now), Some(Transition::Back));
        // The session still lives, and the backend takes all requests again.
        let sessions: Vec<_> = (0..10).map(|_| pick(&upstream, now)).collect();
        assert!(sessions.iter().all(|pick| pick.address() == "a"));
    }
}

#[test]
fn one_trial_at_a_time_whatever_the_number_of_threads() {
    let upstream = upstream(Policy::RoundRobin, [backend("a"), backup("b")]);
    let mut now = Instant::now();
    take_out(&upstream, &["a"], now);
    for _ in 0..100 {
        now += FAIL_TIMEOUT;
        let picks = on_four_threads(|| pick(&upstream, now));
        let is_trial = |pick: &Pick| pick.address() == "a";
        assert_eq!(picks.iter().filter(|pick| is_trial(pick)).count(), 1);
        picks.into_iter().filter(is_trial).for_each(|mut pick| {
            pick.failed(now);
        });
    }
}

#[test]
fn backend_that_answers_while_all_are_out_is_back_at_once() {
    for policy in POLICIES {
        let upstream = upstream(policy, [backend("a"), backend("b")]);
        let now = Instant::now();
        take_out(&upstream, &["a", "b"], now);
        let mut forced = pick(&upstream, now);
        let address = forced.address().to_owned();
        assert_eq!(forced.succeeded(now), Some(Transition::Back));
        assert_eq!(forced.backend().health(now), Health::Up);
        for _ in 0..10 {
            assert_eq!(pick(&upstream, now).address(), address);
        }
    }
}

#[test]
fn lone_backend_is_always_tried() {
    let upstream = upstream(Policy::RoundRobin, [backend("a")]);
    let now = Instant::now();
    for _ in 0..100 {
        pick(&upstream, now).failed(now);
    }
    let until = now + FAIL_TIMEOUT;
    assert_eq!(upstream.members()[0].backend.health(now), Health::Out { until });
    assert_eq!(pick(&upstream, now).address(), "a");
}

#[test]
fn only_the_first_outcome_counts() {
    let upstream = upstream(Policy::RoundRobin, [backend("a")]);
    let now = Instant::now();
    let mut session = pick(&upstream, now);
    session.succeeded(now);
    assert_eq!(session.failed(now), None);
    assert_eq!(session.backend().health(now), Health::Up);
}

#[test]
fn recovered_backend_has_its_share_again_within_one_round_of_picks() {
    for policy in POLICIES {
        let upstream = upstream(policy.clone(), [backend("a"), backend("b"), backend("c")]);
        let start = Instant::now();
        let clients = || (0..30).map(|n| Client::from(IpAddr::from([192, 0, 2, n])));
        // Each request ends before the next begins, so `least_conn` takes turns too.
        let serve = |client: Client, now| {
            let mut pick = upstream.pick(&client.into(), &mut Tried::default(), now).unwrap();
            pick.succeeded(now);
            pick
        };
        let share = |now| clients().map(|client| serve(client, now)).filter(|pick| pick.address() == "b").count();
        let before = share(start);
        assert!(before > 0, "{policy:?}");
        take_out(&upstream, &["b"], start);
        assert_eq!(share(start + FAIL_TIMEOUT / 2), 0, "{policy:?}");
        assert_eq!(share(start + FAIL_TIMEOUT), before, "{policy:?}");
    }
}

#[test]
fn zero_tries_means_all() {
    let mut settings = settings(Policy::RoundRobin, [backend("a"), backend("b")]);
    let tries = |settings: &UpstreamSettings| {
        let (upstream, mut tried) = (new(settings.clone()), Tried::default());
        let attempts = (0..3).map_while(|_| {
            let may = upstream.may_try_more(&tried);
            may.then(|| upstream.pick(&client(), &mut tried, Instant::now()).ok()).flatten()
        });
        attempts.count()
    };
    assert_eq!(tries(&settings), 2);
    settings.tries = 1;
    assert_eq!(tries(&settings), 1);
}

#[test]
fn a_backend_that_is_passed_over_takes_no_try_and_is_not_picked_again() {
    let mut settings = settings(Policy::RoundRobin, [backend("a"), backend("b")]);
    settings.tries = 1;
    let (upstream, mut tried) = (new(settings), Tried::default());
    let pick = |tried: &mut Tried| {
        let may = upstream.may_try_more(tried);
        let pick = may.then(|| upstream.pick(&client(), tried, Instant::now()).ok()).flatten();
        pick.map(|pick| pick.address().to_owned())
    };
    let first = pick(&mut tried);
    tried.pass_over();
    let second = pick(&mut tried);
    assert!(first.is_some() && second.is_some() && first != second, "{first:?} {second:?}");
    assert_eq!(pick(&mut tried), None);
}

#[test]
fn settled_session_counts_once_until_it_ends() {
    let upstream = upstream(Policy::RoundRobin, [limited("a", 2)]);
    let now = Instant::now();
    let active = || upstream.members()[0].backend.active();
    let mut picked = pick(&upstream, now);
    picked.succeeded(now);
    let session = picked.into_seat();
    assert_eq!((session.backend().address(), active()), ("a", 1));
    let other = pick(&upstream, now);
    assert!(upstream.pick(&client(), &mut Tried::default(), now).is_err());
    drop(session);
    assert_eq!(active(), 1);
    drop(other);
    assert_eq!(active(), 0);
}

#[test]
fn trial_settled_without_an_outcome_gives_its_slot_back() {
    let upstream = upstream(Policy::RoundRobin, [backend("a"), backup("b")]);
    let now = Instant::now();
    take_out(&upstream, &["a"], now);
    let now = now + FAIL_TIMEOUT;
    let settled = pick(&upstream, now).into_seat();
    assert_eq!((settled.backend().address(), upstream.members()[0].backend.active()), ("a", 1));
    assert_eq!(pick(&upstream, now).address(), "a", "the next request is the trial");
}

#[test]
fn what_a_session_keeps_of_its_pick_is_one_pointer() {
    assert_eq!(size_of::<Seat>(), size_of::<usize>());
    assert_eq!(size_of::<Option<Seat>>(), size_of::<usize>());
}

#[test]
fn count_may_live_as_long_as_a_session_on_any_thread() {
    fn check<T: Send + 'static>() {}
    check::<Pick>();
    check::<Seat>();
}

#[test]
fn a_client_comes_back_to_the_same_backend_as_long_as_that_takes_more() {
    let backends = [limited("a", 2), backend("b")];
    let upstream = upstream(Policy::RoundRobin, backends.clone());
    let now = Instant::now();
    let first = pick(&upstream, now);
    let again = |of: &Arc<Upstream>| of.pick_again(first.backend(), false, &mut Tried::default(), now);
    for _ in 0..3 {
        assert_eq!(again(&upstream).unwrap().address(), "a");
    }
    let full = again(&upstream);
    assert!(full.is_some() && again(&upstream).is_none(), "it has two and is full");
    drop(full);
    upstream.members()[0].backend.set_duty(Duty::Drain, now);
    assert!(again(&upstream).is_none(), "it is drained");
    upstream.members()[0].backend.set_duty(Duty::Up, now);
    assert!(again(&upstream).is_some());
    assert!(again(&new(settings(Policy::RoundRobin, backends))).is_none(), "it is of another life of the upstream");
}

#[test]
fn a_handshake_that_comes_back_counts_among_the_handshakes() {
    let settings = UpstreamSettings { max_handshakes: 1, ..settings(Policy::RoundRobin, [backend("a")]) };
    let upstream = new(settings);
    let now = Instant::now();
    let first = pick(&upstream, now);
    let again = |is_handshake| upstream.pick_again(first.backend(), is_handshake, &mut Tried::default(), now);
    let handshake = again(true);
    assert!(handshake.is_some() && again(true).is_none());
    assert!(again(false).is_some(), "a plain request is no handshake");
    drop(handshake);
    assert!(again(true).is_some());
}
