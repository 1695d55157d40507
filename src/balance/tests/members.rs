//! Backends that come and go without a new file.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    task::{Poll, Wake, Waker},
};

use super::*;

fn addresses(backends: &[Arc<Backend>]) -> Vec<&str> {
    backends.iter().map(|backend| backend.address()).collect()
}

#[test]
fn backends_that_stay_keep_all_that_is_known_of_them_and_the_others_are_named() {
    let (registry, now) = (Registry::default(), Instant::now());
    let upstream = registry.upstream(settings(Policy::RoundRobin, [backend("a"), backend("b"), backend("c")]), now);
    take_out(&upstream, &["b"], now);
    let _session = pick(&upstream, now).into_seat();
    let before = upstream.members();
    let changes = registry.change_members(&upstream, vec![backend("d"), backend("c"), backend("b")], now);
    assert_eq!((addresses(&changes.added), addresses(&changes.removed)), (vec!["d"], vec!["a"]));
    let after = upstream.members();
    let places = [(before[2].backend.clone(), 1), (before[1].backend.clone(), 2)];
    assert!(places.iter().all(|(backend, place)| Arc::ptr_eq(backend, &after[*place].backend)));
    assert_eq!(after[2].backend.health(now), Health::Out { until: now + FAIL_TIMEOUT });
    assert_eq!(registry.change_members(&upstream, vec![backend("b")], now).added.len(), 0);
}

#[test]
fn a_request_that_has_begun_tries_no_backend_twice_though_their_places_change() {
    let (registry, now) = (Registry::default(), Instant::now());
    let upstream = registry.upstream(settings(Policy::RoundRobin, [backend("a"), backend("b")]), now);
    let mut tried = Tried::default();
    let mut next = || upstream.pick(&client(), &mut tried, now).map(|pick| pick.address().to_owned());
    assert_eq!(next().as_deref(), Ok("a"));
    registry.change_members(&upstream, vec![backend("b"), backend("a")], now);
    assert_eq!(next().as_deref(), Ok("b"));
    assert_eq!(next(), Err(Unavailable::AllTried));
}

#[test]
fn turns_go_on_among_those_who_stay() {
    let (registry, now) = (Registry::default(), Instant::now());
    let heavy = |address| BackendSettings { weight: 3, ..backend(address) };
    let upstream = registry.upstream(settings(Policy::RoundRobin, [heavy("a"), backend("b"), backend("gone")]), now);
    let next = || pick(&upstream, now).address().to_owned();
    assert_eq!([next(), next()], ["a", "b"]);
    registry.change_members(&upstream, vec![backend("b"), heavy("a")], now);
    // Anew, the turns would be a, a, b, a. But "b" has had its turn, and "a" is owed two.
    let turns = [next(), next(), next(), next()];
    assert_eq!(turns, ["a", "a", "a", "b"]);
}

#[test]
fn a_backend_that_comes_back_while_a_session_holds_it_is_under_no_old_order() {
    let (registry, now) = (Registry::default(), Instant::now());
    let upstream = registry.upstream(settings(Policy::LeastConn, [backend("a"), backend("b")]), now);
    let session = pick(&upstream, now).into_seat();
    let held = session.backend();
    held.set_duty(Duty::Drain, now);
    let (with, without) = (vec![backend("a"), backend("b")], vec![backend("b")]);
    assert!(Arc::ptr_eq(&registry.change_members(&upstream, without, now).removed[0], held));
    assert!(Arc::ptr_eq(&registry.change_members(&upstream, with, now).added[0], held));
    assert_eq!((held.duty(), held.active()), (Duty::Up, 1));
}

#[test]
fn a_check_of_a_backend_that_is_gone_says_nothing() {
    let (registry, now) = (Registry::default(), Instant::now());
    let checked = UpstreamSettings {
        health_check: Some(every_second(1, 1)),
        ..settings(Policy::RoundRobin, [backend("a"), backend("b")])
    };
    let upstream = registry.upstream(checked, now);
    let a = Arc::clone(&upstream.members()[0].backend);
    let failed = || CheckResult { at: now, failure: Some("refused".to_owned()) };
    registry.change_members(&upstream, vec![backend("b")], now);
    assert_eq!((upstream.checked(&a, failed()), a.health(now)), (None, Health::Up));
    registry.change_members(&upstream, vec![backend("a"), backend("b")], now);
    assert_eq!(upstream.checked(&a, failed()), Some(Transition::Out));
}

#[test]
fn a_handshake_in_line_goes_to_a_backend_that_comes() {
    let (registry, now) = (Registry::default(), Instant::now());
    let one_at_a_time =
        UpstreamSettings { max_handshakes: 1, handshake_queue: 8, ..settings(Policy::LeastConn, [backend("a")]) };
    let upstream = registry.upstream(one_at_a_time, now);
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let poll = |tried: &mut Tried, place: &mut Option<PlaceInLine>| {
        upstream.poll_handshake(&client(), tried, place, &waker, now)
    };
    let first = poll(&mut Tried::default(), &mut None);
    let (mut tried, mut place) = (Tried::default(), None);
    assert!(poll(&mut tried, &mut place).is_pending());
    registry.change_members(&upstream, vec![backend("a"), backend("b")], now);
    assert!(woken.0.load(Ordering::Relaxed), "nobody called the handshake in line");
    let Poll::Ready(Ok(pick)) = poll(&mut tried, &mut place) else { panic!("still in line") };
    assert_eq!(pick.address(), "b");
    drop(first);
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn each_pick_of_four_threads_goes_to_a_member_of_its_moment_and_all_counts_return() {
    for policy in POLICIES {
        let (registry, now) = (Registry::default(), Instant::now());
        let upstream = registry.upstream(settings(policy, [backend("a"), backend("b")]), now);
        let first = upstream.members();
        let threads = AtomicUsize::new(0);
        on_four_threads(|| {
            let changes = threads.fetch_add(1, Ordering::Relaxed) == 0;
            for round in 0..500 {
                if changes {
                    let backends = if round % 2 == 0 { ["c", "d", "e"].as_slice() } else { ["a", "b"].as_slice() };
                    registry.change_members(&upstream, backends.iter().map(|address| backend(address)).collect(), now);
                }
                let mut tried = Tried::default();
                let held: Vec<_> =
                    (0..2).map(|_| upstream.pick(&client(), &mut tried, now).expect("two are there")).collect();
                assert_ne!(held[0].address(), held[1].address());
            }
        });
        let all = [&*first, &*upstream.members()].concat();
        assert!(all.iter().all(|member| member.backend.active() == 0));
    }
}

#[test]
fn an_upstream_that_had_no_members_for_a_while_keeps_its_line() {
    let (registry, now) = (Registry::default(), Instant::now());
    let mut settings = settings(Policy::LeastConn, [backend("a")]);
    (settings.max_handshakes, settings.handshake_queue) = (1, 8);
    let upstream = registry.upstream(settings.clone(), now);
    registry.change_members(&upstream, Vec::new(), now);
    registry.forget_gone();
    registry.change_members(&upstream, vec![backend("a")], now);
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let poll = |upstream: &Upstream, place: &mut Option<PlaceInLine>| {
        upstream.poll_handshake(&client(), &mut Tried::default(), place, &waker, now)
    };
    let first = poll(&upstream, &mut None);
    // A reload finds the backend and the line again: who waits there is called when the first handshake ends.
    let after = registry.upstream(settings, now);
    assert!(poll(&after, &mut None).is_pending());
    let mut place = None;
    assert!(poll(&after, &mut place).is_pending());
    drop(first);
    assert!(woken.0.load(Ordering::Relaxed));
}

#[test]
fn a_backend_that_was_found_is_out_until_its_first_check_has_passed() {
    let found = |address| {
        let found = Some(FoundAt { by: FoundBy::File, from: "backends.yaml".into(), name: None });
        BackendSettings { found, ..backend(address) }
    };
    let (registry, now) = (Registry::default(), Instant::now());
    let checked = UpstreamSettings {
        health_check: Some(every_second(2, 2)),
        ..settings(Policy::RoundRobin, [found("a"), found("b")])
    };
    let upstream = registry.upstream(checked, now);
    // Nobody is checked yet: all are tried.
    assert_eq!(attempts(&upstream, now), (vec!["a".to_owned(), "b".to_owned()], Unavailable::AllTried));
    let check = |place: usize, failure: Option<&str>| {
        let check = CheckResult { at: now, failure: failure.map(str::to_owned) };
        upstream.checked(&upstream.members()[place].backend, check)
    };
    assert_eq!(upstream.members()[0].backend.health(now), Health::Unchecked);
    assert_eq!(check(0, None), Some(Transition::Back));
    assert_eq!(attempts(&upstream, now).0, ["a", "b"]);
    assert!((0..4).all(|_| pick(&upstream, now).address() == "a"), "the other one is not checked yet");
    assert_eq!(check(1, Some("refused")), Some(Transition::Out));
    assert_eq!(upstream.members()[1].backend.health(now), Health::Failing);
    // One that comes back waits anew, one that stays does not.
    let session = upstream.members()[0].backend.clone();
    registry.change_members(&upstream, vec![found("b")], now);
    registry.change_members(&upstream, vec![found("a"), found("b"), backend("named")], now);
    let health: Vec<_> = upstream.members().iter().map(|member| member.backend.health(now)).collect();
    assert_eq!(health, [Health::Unchecked, Health::Failing, Health::Up]);
    // So does one that was down in the list.
    let down = BackendSettings { down: true, ..found("c") };
    registry.change_members(&upstream, vec![found("b"), down], now);
    assert_eq!(upstream.members()[1].backend.health(now), Health::Up);
    registry.change_members(&upstream, vec![found("b"), found("c")], now);
    assert_eq!(upstream.members()[1].backend.health(now), Health::Unchecked);
    drop(session);
}

#[test]
fn an_upstream_without_a_backend_says_so() {
    let (registry, now) = (Registry::default(), Instant::now());
    let upstream = registry.upstream(settings(Policy::IpHash { prefix_v4: 32 }, Vec::new()), now);
    assert_eq!(upstream.pick(&client(), &mut Tried::default(), now).err(), Some(Unavailable::Empty));
    assert!(upstream.is_empty() && !upstream.takes_new());
}

#[test]
fn a_tier_serves_once_none_of_the_first_is_up_and_before_backups() {
    let of_tier = |tier, address| BackendSettings { tier, ..backend(address) };
    let backends = [of_tier(1, "second"), of_tier(0, "first"), backup("backup"), of_tier(2, "third")];
    for policy in POLICIES {
        let upstream = upstream(policy, backends.clone());
        let now = Instant::now();
        assert_eq!(attempts(&upstream, now).0, ["first", "second", "third", "backup"]);
        take_out(&upstream, &["first"], now);
        assert_eq!(pick(&upstream, now).address(), "second");
        assert_eq!(attempts(&upstream, now).0, ["second", "third", "backup", "first"]);
    }
}
