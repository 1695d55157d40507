#![allow(clippy::unwrap_used)]

use std::{collections::HashSet, future::pending};

use bytes::Bytes;

use super::{
    super::{
        relay::{Leg, Relay},
        tests::{Far, KINDS, Kind, SETTINGS, TEXT, World, close, connection, frame, with_sessions},
    },
    *,
};
use crate::{
    net::session::redial::{RedialCall, RedialOrder, Redialled, Successor},
    ws::{
        Side::{self, Backend, Client},
        close::CloseCode,
        session::{HoldTerms, HoldTriggers, Session, SessionSettings},
    },
};

#[test]
fn alarms_ring_together_and_at_most_a_hundredth_late() {
    let epoch = Instant::now();
    let now = epoch + Duration::from_micros(123_456_789);
    for (first, wait) in [(0, 25_000), (7, 25_000), (3, 1_000), (0, 40), (1, 1)] {
        let wait = Duration::from_millis(first + wait);
        let late = together(epoch, now + wait, now).duration_since(now + wait);
        assert!(late <= Duration::from_millis(1).max(wait / 100), "{wait:?}: {late:?}");
    }
    let rings: HashSet<_> =
        (0..1000).map(|ms| together(epoch, now + Duration::from_millis(25_000 + ms), now)).collect();
    assert!(rings.len() <= 1000 / 128 + 2, "{}", rings.len());
    assert_eq!(together(epoch, now, now), now);
}

#[test]
fn slices_cover_a_table_once_also_one_that_grows_meanwhile() {
    let (mut at, mut seen, mut capacity) = (None, Vec::new(), 100);
    loop {
        seen.extend(next_slice(&mut at, 64, capacity));
        capacity = 200;
        if at.is_none() {
            break;
        }
    }
    assert_eq!(seen, (0..200).collect::<Vec<_>>());
    assert_eq!((next_slice(&mut at, 64, 0), at), (0..0, None));
}

#[test]
fn the_last_place_is_reached_however_often_the_orders_change() {
    let (mut walk, mut seen) = (Walk::default(), HashSet::new());
    for _ in 0..10 {
        walk.begin();
        seen.extend(walk.next_slice(64, 200));
    }
    assert_eq!(seen.len(), 200);
    // After the last change, each place is looked at once more.
    walk.begin();
    seen.clear();
    while !walk.is_over() {
        seen.extend(walk.next_slice(64, 200));
    }
    assert_eq!(seen.len(), 200);
}

#[test]
fn a_tick_is_before_another_also_when_the_clock_has_wrapped() {
    let late = WrappingMillis(u32::MAX - 5);
    assert!(late.is_before(WrappingMillis(10)) && !WrappingMillis(10).is_before(late) && !late.is_before(late));
}

#[test]
fn a_generation_costs_a_session_no_memory() {
    assert_eq!(size_of::<Running>(), 16);
    assert!(size_of::<Relay>() <= 2 * size_of::<Leg>() + size_of::<Session>() + 8, "{}", size_of::<Relay>());
}

#[test]
fn that_few_clients_come_back_costs_other_sessions_no_memory() {
    // Malloc of glibc gives blocks of 16 n + 8 bytes. Without the pointer for these few, it would be the same one.
    let blocks = |size: usize| (size - 8).div_ceil(16);
    assert_eq!(blocks(size_of::<Held>()), blocks(size_of::<Held>() - 8), "{}", size_of::<Held>());
}

/// A session over these kinds of sides, in the table of the loop. Returns its key and the far ends.
fn adopt(
    world: &World,
    sessions: &mut Sessions,
    kinds: [Kind; 2],
    settings: SessionSettings,
) -> (SessionKey, [Far; 2]) {
    let [(client, far_client), (backend, far_backend)] = kinds.map(connection);
    let held = world.held([client, backend].map(|stream| (stream, Bytes::new())), settings);
    sessions.adopt(held, None);
    let place = sessions.running.iter().map(|(place, _)| place).max().unwrap() as u32;
    (SessionKey { place, generation: sessions.generation }, [far_client, far_backend])
}

/// Drives the loop until `done` is done.
async fn drive<T>(sessions: &mut Sessions, done: impl Future<Output = T>) -> T {
    tokio::select! {
        () = poll_fn(|cx| sessions.poll_drive(cx)) => unreachable!("the loop does not end"),
        done = done => done,
    }
}

/// Gives turns until no session wants one.
async fn settle(sessions: &mut Sessions) {
    poll_fn(|cx| {
        let _ = sessions.poll_drive(cx);
        if sessions.rota.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Sends a message from a side and expects it at the other one.
async fn passes(sessions: &mut Sessions, from: Side, text: &str, [one, other]: [&mut Far; 2]) {
    let message = frame(from, TEXT, text);
    drive(sessions, async { tokio::join!(one.send(&message), other.expect(&message)) }).await;
}

#[test]
fn a_call_is_not_for_a_later_session_that_has_the_same_place() {
    with_sessions(async |world, mut sessions| {
        let (earlier, _far) = adopt(&world, &mut sessions, [Kind::Memory(10), Kind::Socket], SETTINGS);
        settle(&mut sessions).await;
        let late = sessions.calls.waker(earlier, Client);
        late.wake_by_ref();
        sessions.take_calls();
        assert_eq!(sessions.rota.next(), Some(earlier.place), "while the session is there");
        sessions.end(earlier.place as usize);
        late.wake_by_ref();
        sessions.take_calls();
        assert!(sessions.rota.is_empty(), "nobody has its place");

        let (later, _far) = adopt(&world, &mut sessions, [Kind::Memory(10), Kind::Socket], SETTINGS);
        settle(&mut sessions).await;
        assert_eq!(later.place, earlier.place);
        late.wake_by_ref();
        sessions.take_calls();
        assert!(sessions.rota.is_empty(), "another session has its place");
        sessions.calls.waker(later, Client).wake();
        sessions.take_calls();
        assert_eq!(sessions.rota.next(), Some(later.place));
    });
}

#[test]
fn calls_of_streams_without_a_socket_make_no_worker_stay_for_events() {
    with_sessions(async |world, mut sessions| {
        let (key, _far) = adopt(&world, &mut sessions, [Kind::Memory(10), Kind::Socket], SETTINGS);
        settle(&mut sessions).await;
        let waker = sessions.calls.waker(key, Client);
        for _ in 0..200 {
            waker.wake_by_ref();
            poll_fn(|cx| Poll::Ready(sessions.poll_drive(cx).is_ready())).await;
            assert!(sessions.calls.is_empty() && !sessions.running[key.place as usize].queued, "the call had a turn");
            assert!(!sessions.stay.is_lively(sessions.clock().micros), "the worker would not see the next call");
        }
    });
}

#[test]
fn a_worker_leaves_its_turn_to_the_task_at_the_far_end_of_a_stream() {
    with_sessions(async |world, mut sessions| {
        for kinds in KINDS {
            let wakes = kinds.iter().any(|kind| matches!(kind, Kind::Memory(_)));
            let (key, _far) = adopt(&world, &mut sessions, kinds, SETTINGS);
            poll_fn(|cx| Poll::Ready(sessions.poll_drive(cx).is_ready())).await;
            assert_eq!(sessions.wakes_tasks, wakes, "{kinds:?}");
            sessions.end(key.place as usize);
            settle(&mut sessions).await;
        }
    });
}

/// What each backend has of sessions.
fn seats(world: &World) -> Vec<usize> {
    world.upstream.members().iter().map(|member| member.backend.sessions()).collect()
}

/// A session that outlives a backend that closes with 1012, in the table of the loop. No backend is asked: the test has one.
fn adopt_outliving(world: &World, sessions: &mut Sessions, kinds: [Kind; 2]) -> (SessionKey, [Far; 2]) {
    let [(client, far_client), (backend, far_backend)] = kinds.map(connection);
    let hold = HoldTerms {
        longest: FURTHEST,
        queue: 1000,
        on: HoldTriggers { lost: false, codes: [CloseCode::SERVICE_RESTART].into() },
        times: None,
        notify: None,
        drain_code: CloseCode::SERVICE_RESTART,
    };
    let sides = [client, backend].map(|stream| (stream, Bytes::new()));
    let held = world.held_on(sides, SETTINGS, (Some(hold), None));
    let (live, metrics) = (Arc::clone(&world.live), Arc::default());
    let calls = move |_, RedialOrder { cause, .. }| {
        RedialCall::begin(tokio::spawn(pending::<()>()).abort_handle(), cause, &metrics, live.begin_hold())
    };
    sessions.adopt(held, Some(Redial { calls: Box::new(calls), looks: Box::new(|_| true) }));
    let place = sessions.running.iter().map(|(place, _)| place).max().unwrap() as u32;
    (SessionKey { place, generation: sessions.generation }, [far_client, far_backend])
}

/// The backend goes, and reads the answer to its Close. Returns the session's new key.
async fn goes(sessions: &mut Sessions, SessionKey { place, .. }: SessionKey, backend: &mut Far) -> SessionKey {
    backend.send(close(Backend, 1012, "restart")).await;
    drive(sessions, backend.expect_close(Backend, 1012, "")).await;
    SessionKey { place, generation: sessions.generation }
}

/// Another backend, which has sent these bytes behind its 101. Returns its far end too.
fn successor(world: &World, kind: Kind, early: &[u8]) -> (Redialled, Far) {
    let (stream, far) = connection(kind);
    let (early, seat) = (Bytes::copy_from_slice(early), world.seat());
    let successor = Successor { stream, early, seat, expires: None, patience: FURTHEST };
    (Redialled::Taken(successor, 1), far)
}

#[test]
fn a_session_goes_on_with_another_backend_between_two_messages() {
    for (client, [old, new]) in KINDS[..2].iter().flat_map(|[client, _]| KINDS.map(|kinds| (*client, kinds))) {
        with_sessions(async move |mut world, mut sessions| {
            let (first, [mut client, mut backend]) = adopt_outliving(&world, &mut sessions, [client, old]);
            passes(&mut sessions, Client, "to the first", [&mut client, &mut backend]).await;
            passes(&mut sessions, Backend, "from the first", [&mut backend, &mut client]).await;
            assert_eq!(seats(&world), [1, 0]);
            let without = goes(&mut sessions, first, &mut backend).await;
            assert_eq!(seats(&world), [0, 0], "a backend that is gone has no session");
            let queued = frame(Client, TEXT, "for the next one");
            client.send(&queued).await;
            // What comes from the old backend concerns nobody any more.
            backend.send(frame(Backend, TEXT, "too late")).await;
            settle(&mut sessions).await;

            let greeting = frame(Backend, TEXT, "from the second");
            let (came, mut second) = successor(&world, new, &greeting);
            sessions.note_redialled(without, came);
            assert_eq!(seats(&world), [0, 1], "the session counts at its backend");
            drive(&mut sessions, async { tokio::join!(client.expect(&greeting), second.expect(&queued)) }).await;
            passes(&mut sessions, Client, "to the second", [&mut client, &mut second]).await;
            drop(backend);
            passes(&mut sessions, Backend, "nothing in between", [&mut second, &mut client]).await;
            assert_eq!(sessions.running[first.place as usize].session.passed().unwrap().1.messages, [3, 3]);
            for late in [first, without] {
                let (came, mut unwanted) = successor(&world, new, b"");
                sessions.note_redialled(late, came);
                assert_eq!(seats(&world), [0, 1], "a backend that comes too late has no session");
                drive(&mut sessions, async {
                    unwanted.expect_close(Backend, 1001, "not needed").await;
                    unwanted.expect_eof().await;
                })
                .await;
            }

            let bye = [close(Client, 1000, "bye"), close(Backend, 1000, "bye")];
            let end = async {
                client.send(&bye[0]).await;
                second.expect(&bye[0]).await;
                second.send_and_finish(&bye[1]).await;
                client.expect(&bye[1]).await;
                drop((client, second));
                world.ended().await
            };
            assert_eq!(drive(&mut sessions, end).await, ("client_close".to_owned(), true));
        });
    }
}

#[test]
fn an_event_of_a_socket_is_not_for_the_session_that_has_let_go_of_it() {
    for lets_go in [false, true] {
        with_sessions(async move |world, mut sessions| {
            let (key, [_client, mut backend]) = adopt_outliving(&world, &mut sessions, [Kind::Socket; 2]);
            if lets_go {
                goes(&mut sessions, key, &mut backend).await;
            }
            settle(&mut sessions).await;
            let Sessions { epoll, events, running, rota, .. } = &mut sessions;
            let mut look = |wait| {
                epoll.get_mut().poll(events, Some(wait)).unwrap();
                (events.iter().count(), dispatch_events(events, None, running, rota).of_sessions)
            };
            while look(Duration::ZERO).0 > 0 {}
            backend.send("news").await;
            let (events, of_sessions) = look(FURTHEST);
            assert!(events > 0 && (of_sessions > 0) != lets_go, "{of_sessions} of {events}");
        });
    }
}
