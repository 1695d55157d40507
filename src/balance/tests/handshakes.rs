//! Handshakes in flight, and the line in which handshakes wait for a place.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Poll, Wake, Waker},
};

use proptest::{collection::vec, prelude::*};

use super::*;

fn capped(policy: Policy, addresses: &[&str], max_handshakes: usize, handshake_queue: usize) -> UpstreamSettings {
    let backends: Vec<_> = addresses.iter().map(|address| backend(address)).collect();
    UpstreamSettings { max_handshakes, handshake_queue, ..settings(policy, backends) }
}

/// Counts how often it was called.
#[derive(Default)]
struct Calls(AtomicUsize);

impl Wake for Calls {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// One handshake that may have to wait.
struct Client {
    key: Key,
    tried: Tried,
    place: Option<PlaceInLine>,
    calls: Arc<Calls>,
}

impl Client {
    fn new(last: u8) -> Self {
        let key = crate::sender::Client::from(IpAddr::from([192, 0, 2, last])).into();
        Self { key, tried: Tried::default(), place: None, calls: Arc::default() }
    }

    fn poll(&mut self, upstream: &Arc<Upstream>) -> Poll<Result<Pick, Unavailable>> {
        let waker = Waker::from(Arc::clone(&self.calls));
        upstream.poll_handshake(&self.key, &mut self.tried, &mut self.place, &waker, Instant::now())
    }

    fn picked(&mut self, upstream: &Arc<Upstream>) -> Pick {
        match self.poll(upstream) {
            Poll::Ready(pick) => pick.unwrap(),
            Poll::Pending => panic!("has to wait"),
        }
    }

    fn has_to_wait(&mut self, upstream: &Arc<Upstream>) -> bool {
        self.poll(upstream).is_pending()
    }

    fn was_called(&self) -> bool {
        self.calls.0.swap(0, Ordering::Relaxed) > 0
    }
}

#[test]
fn place_is_given_back_with_the_outcome_not_with_the_session() {
    let upstream = new(capped(Policy::RoundRobin, &["a"], 1, 8));
    let now = Instant::now();
    let (mut first, mut second) = (Client::new(1), Client::new(2));
    let mut handshake = first.picked(&upstream);
    assert!(second.has_to_wait(&upstream));
    assert!(!second.was_called());
    handshake.succeeded(now);
    let session = handshake.into_seat();
    assert!(second.was_called());
    let mut handshake = second.picked(&upstream);
    assert_eq!(upstream.members()[0].backend.handshakes(), 1);
    handshake.failed(now);
    assert_eq!((upstream.members()[0].backend.handshakes(), upstream.members()[0].backend.active()), (0, 2));
    drop((session, handshake));
    drop(Client::new(3).picked(&upstream));
    assert_eq!(upstream.members()[0].backend.handshakes(), 0, "given up without an outcome");
}

#[test]
fn those_who_wait_are_served_in_the_order_in_which_they_came_and_before_anyone_new() {
    let upstream = new(capped(Policy::LeastConn, &["a", "b"], 1, 8));
    let mut held: VecDeque<_> = (0..2).map(|n| Client::new(n).picked(&upstream)).collect();
    let mut waiting: Vec<_> = (10..13).map(Client::new).collect();
    assert!(waiting.iter_mut().all(|client| client.has_to_wait(&upstream)));
    for next in 0..waiting.len() {
        held.pop_front();
        assert!(Client::new(99).has_to_wait(&upstream), "one that has just come");
        let called: Vec<_> = waiting.iter().map(Client::was_called).collect();
        let expected: Vec<_> = (0..waiting.len()).map(|index| index == next).collect();
        assert_eq!(called, expected);
        assert!(waiting[next + 1..].iter_mut().all(|client| client.has_to_wait(&upstream)));
        held.push_back(waiting[next].picked(&upstream));
    }
    drop(held);
    let _first = Client::new(1).picked(&upstream);
}

#[test]
fn whoever_gives_up_makes_way_for_the_next() {
    let upstream = new(capped(Policy::RoundRobin, &["a"], 1, 8));
    let held = Client::new(1).picked(&upstream);
    let (mut impatient, mut patient) = (Client::new(2), Client::new(3));
    assert!(impatient.has_to_wait(&upstream) && patient.has_to_wait(&upstream));
    drop(held);
    assert!(impatient.was_called() && !patient.was_called());
    drop(impatient);
    assert!(patient.was_called());
    let _pick = patient.picked(&upstream);
}

#[test]
fn a_place_is_told_to_the_first_who_asks_for_it_and_to_the_first_who_asks_for_any() {
    let upstream = new(capped(Policy::LeastConn, &["a", "b"], 1, 8));
    let asking = |last, place: usize| Client {
        tried: Tried::wanting(Some(Arc::clone(&upstream.members()[place].backend))),
        ..Client::new(last)
    };
    let [held_a, held_b] = [asking(1, 0), asking(2, 1)].map(|mut client| client.picked(&upstream));
    let (mut any, mut for_a, mut for_b, mut next) = (Client::new(3), asking(4, 0), asking(5, 1), Client::new(6));
    let all = [&mut any, &mut for_a, &mut for_b, &mut next];
    assert!(all.into_iter().all(|client| client.has_to_wait(&upstream)));
    drop(held_b);
    assert!(any.was_called() && for_b.was_called() && !for_a.was_called() && !next.was_called());
    // It does not take the place. The next of its kind is called.
    drop(any);
    assert!(next.was_called());
    let held_b = for_b.picked(&upstream);
    assert_eq!(held_b.address(), "b");
    assert!(next.has_to_wait(&upstream));
    drop(held_a);
    assert!(for_a.was_called() && next.was_called());
    let held_a = next.picked(&upstream);
    assert_eq!(held_a.address(), "a");
    assert!(for_a.has_to_wait(&upstream), "it came too late, and waits on");
    drop(held_a);
    assert!(for_a.was_called());
    assert_eq!(for_a.picked(&upstream).address(), "a");
}

#[test]
fn who_asks_for_a_backup_does_not_wait_behind_those_who_would_not_go_there() {
    let upstream =
        new(UpstreamSettings { backends: vec![backend("a"), backup("c")], ..capped(Policy::LeastConn, &[], 1, 8) });
    let _held = Client::new(1).picked(&upstream);
    let mut waits = Client::new(2);
    assert!(waits.has_to_wait(&upstream));
    let asking =
        |last| Client { tried: Tried::wanting(Some(Arc::clone(&upstream.members()[1].backend))), ..Client::new(last) };
    let held = asking(3).picked(&upstream);
    assert_eq!(held.address(), "c");
    let mut next = asking(4);
    assert!(next.has_to_wait(&upstream));
    drop(held);
    assert!(next.was_called());
    assert_eq!(next.picked(&upstream).address(), "c");
}

#[test]
fn those_who_wait_look_again_when_duty_or_checks_may_have_brought_a_backend_back() {
    let capped = capped(Policy::LeastConn, &["a", "b"], 1, 8);
    let upstream = new(UpstreamSettings { health_check: Some(every_second(1, 1)), ..capped });
    let now = Instant::now();
    let check = |failure: Option<&str>| CheckResult { at: now, failure: failure.map(str::to_owned) };
    let held = [1, 2].map(|last| Client::new(last).picked(&upstream));
    let b = held.iter().find(|pick| pick.address() == "b").map(Pick::backend).unwrap();
    let mut waiting = Client::new(3);
    assert!(waiting.has_to_wait(&upstream));
    upstream.set_duty(b, Duty::Drain, now);
    assert!(waiting.was_called() && waiting.has_to_wait(&upstream));
    upstream.set_duty(b, Duty::Up, now);
    assert!(waiting.was_called() && waiting.has_to_wait(&upstream));
    for failure in [Some("refused"), None] {
        upstream.checked(b, check(failure));
        assert!(waiting.was_called() && waiting.has_to_wait(&upstream), "{failure:?}");
    }
    upstream.checked(b, check(None));
    assert!(!waiting.was_called(), "nothing has changed");
    upstream.forget_needless_checks();
    assert!(waiting.was_called(), "a backend may be up that its checks had taken out");
}

#[test]
fn line_has_its_length() {
    let upstream = new(capped(Policy::RoundRobin, &["a"], 1, 2));
    let _held = Client::new(1).picked(&upstream);
    let mut waiting: Vec<_> = (0..2).map(Client::new).collect();
    assert!(waiting.iter_mut().all(|client| client.has_to_wait(&upstream)));
    assert!(matches!(Client::new(9).poll(&upstream), Poll::Ready(Err(Unavailable::Busy))));
    waiting.pop();
    assert!(Client::new(9).has_to_wait(&upstream));
    let none = new(capped(Policy::RoundRobin, &["a"], 1, 0));
    let _held = Client::new(1).picked(&none);
    assert!(matches!(Client::new(9).poll(&none), Poll::Ready(Err(Unavailable::Busy))));
}

#[test]
fn with_a_hash_each_waits_for_its_own_backend_and_for_no_other() {
    let upstream = new(capped(Policy::IpHash { prefix_v4: 32 }, &["a", "b"], 1, 8));
    let of = |address: &str| -> Vec<u8> {
        let plain = new(capped(Policy::IpHash { prefix_v4: 32 }, &["a", "b"], 0, 0));
        (0..50).filter(|last| Client::new(*last).picked(&plain).address() == address).collect()
    };
    let (on_a, on_b) = (of("a"), of("b"));
    let held_a = Client::new(on_a[0]).picked(&upstream);
    let mut waits_for_a = Client::new(on_a[1]);
    assert!(waits_for_a.has_to_wait(&upstream), "though b has a place");
    // A handshake that wants b does not wait behind one that wants a.
    let held_b = Client::new(on_b[0]).picked(&upstream);
    let mut waits_for_b = Client::new(on_b[1]);
    assert!(waits_for_b.has_to_wait(&upstream));
    drop(held_b);
    assert!(waits_for_b.was_called() && !waits_for_a.was_called());
    assert_eq!(waits_for_b.picked(&upstream).address(), "b");
    drop(held_a);
    assert_eq!(waits_for_a.picked(&upstream).address(), "a");
}

#[test]
fn those_whose_backend_went_out_wait_for_their_next_one() {
    let upstream = new(capped(Policy::IpHash { prefix_v4: 32 }, &["a", "b"], 1, 8));
    let plain = new(capped(Policy::IpHash { prefix_v4: 32 }, &["a", "b"], 0, 0));
    let mut on_a = (0..50)
        .map(Client::new)
        .filter(|client| plain.pick(&client.key, &mut Tried::default(), Instant::now()).unwrap().address() == "a");
    let mut held = on_a.next().unwrap().picked(&upstream);
    let mut waiting: Vec<_> = on_a.take(3).collect();
    assert!(waiting.iter_mut().all(|client| client.has_to_wait(&upstream)));
    assert_eq!(held.failed(Instant::now()), Some(Transition::Out));
    // Each client that was called polls again, and then the next one is called.
    let mut held = Vec::new();
    while let Some(called) = waiting.iter().position(Client::was_called) {
        if let Poll::Ready(pick) = waiting[called].poll(&upstream) {
            held.push(pick.unwrap());
            waiting.remove(called);
        }
    }
    assert_eq!(held.iter().map(Pick::address).collect::<Vec<_>>(), ["b"]);
    drop(held);
    assert!(waiting[0].was_called(), "it is in the line for b");
    let pick = waiting.remove(0).picked(&upstream);
    drop(pick);
    assert!(waiting[0].was_called());
    assert_eq!(waiting[0].picked(&upstream).address(), "b");
}

#[test]
fn busy_backends_are_waited_for_rather_than_a_backup_or_one_that_is_out_asked() {
    let upstream = new(UpstreamSettings {
        backends: vec![backend("a"), backup("b"), backend("c")],
        ..capped(Policy::RoundRobin, &[], 1, 8)
    });
    take_out(&upstream, &["c"], Instant::now());
    let held = Client::new(1).picked(&upstream);
    assert_eq!(held.address(), "a");
    assert!(Client::new(2).has_to_wait(&upstream));
}

#[test]
fn full_backends_are_not_waited_for() {
    let upstream = new(UpstreamSettings { backends: vec![limited("a", 1)], ..capped(Policy::RoundRobin, &[], 1, 8) });
    let _session = Client::new(1).picked(&upstream).into_seat();
    assert!(matches!(Client::new(2).poll(&upstream), Poll::Ready(Err(Unavailable::DownOrFull))));
}

#[test]
fn plain_requests_neither_count_nor_wait() {
    let upstream = new(capped(Policy::RoundRobin, &["a"], 1, 8));
    let _handshake = Client::new(1).picked(&upstream);
    let _request = pick(&upstream, Instant::now());
    assert_eq!(upstream.members()[0].backend.handshakes(), 1);
}

#[test]
fn handshakes_of_the_file_before_count_and_wake_those_of_the_file_after() {
    let (registry, now) = (Registry::default(), Instant::now());
    let settings = capped(Policy::RoundRobin, &["a"], 1, 8);
    let before = registry.upstream(settings.clone(), now);
    let held = Client::new(1).picked(&before);
    let after = registry.upstream(settings, now);
    let mut client = Client::new(2);
    assert!(client.has_to_wait(&after));
    drop(before);
    drop(held);
    assert!(client.was_called());
    let _pick = client.picked(&after);
}

#[test]
fn number_is_exact_whatever_the_number_of_threads() {
    let upstream = new(capped(Policy::LeastConn, &["a", "b"], 3, 0));
    on_four_threads(|| {
        for _ in 0..500 {
            let poll = |last| match Client::new(last).poll(&upstream) {
                Poll::Ready(pick) => pick.ok(),
                Poll::Pending => panic!("the line has no place"),
            };
            let _held: Vec<_> = (0..4).filter_map(poll).collect();
            assert!(upstream.members().iter().all(|member| member.backend.handshakes() <= 3));
        }
    });
    assert!(upstream.members().iter().all(|member| member.backend.handshakes() == 0));
}

proptest! {
    /// Whatever comes and goes: no client waits uncalled while a place for it is free. Some clients ask for a backend.
    #[test]
    fn no_place_stays_free_while_someone_waits_for_it(
        steps in vec((0..4_u8, any::<prop::sample::Index>()), 0..80),
        hashes in any::<bool>(),
        sticks in any::<bool>(),
    ) {
        let policy = if hashes { Policy::IpHash { prefix_v4: 32 } } else { Policy::RandomTwo };
        let upstream = new(capped(policy, &["a", "b", "c"], 2, 100));
        let (mut held, mut waiting, mut came) = (Vec::new(), Vec::new(), 0_u8);
        for (step, index) in steps {
            match step {
                0 => {
                    let mut client = Client::new(came);
                    client.calls.0.store(1, Ordering::Relaxed);
                    if sticks && came % 2 == 0 {
                        let wanted = &upstream.members()[index.index(3)].backend;
                        client.tried = Tried::wanting(Some(Arc::clone(wanted)));
                    }
                    waiting.push(client);
                    came = came.wrapping_add(1);
                }
                3 if sticks => {
                    // What the policy decides alone, and what a client asks for, changes while they wait.
                    let duty = if came % 2 == 0 { Duty::Up } else { Duty::Down };
                    upstream.set_duty(&upstream.members()[index.index(2)].backend, duty, Instant::now());
                }
                1 if !held.is_empty() => drop(held.swap_remove(index.index(held.len()))),
                2 if !waiting.is_empty() => drop(waiting.remove(index.index(waiting.len()))),
                _ => {}
            }
            // Like a runtime: poll the clients that were called, until no client is called.
            while let Some(called) = waiting.iter().position(Client::was_called) {
                if let Poll::Ready(pick) = waiting[called].poll(&upstream) {
                    held.push(pick.unwrap());
                    waiting.remove(called);
                }
            }
            let counts: Vec<_> = upstream.members().iter().map(|member| member.backend.handshakes()).collect();
            prop_assert!(counts.iter().all(|count| *count <= 2));
            prop_assert_eq!(counts.iter().sum::<usize>(), held.len());
            // Poll the clients that were not called: none of them could have gone.
            prop_assert!(waiting.iter_mut().all(|client| client.has_to_wait(&upstream)));
        }
    }
}
