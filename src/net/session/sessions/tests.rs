#![allow(clippy::unwrap_used)]

use std::collections::HashSet;

use bytes::Bytes;

use super::{
    super::{
        relay::{Leg, Relay},
        tests::{Far, KINDS, Kind, SETTINGS, World, connection, with_sessions},
    },
    *,
};
use crate::{
    ws::{
        Side::{Backend, Client},
        session::{Session, SessionSettings},
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

/// A session over these kinds of sides, in the table of the loop. Returns its key and the far ends.
fn adopt(
    world: &World,
    sessions: &mut Sessions,
    kinds: [Kind; 2],
    settings: SessionSettings,
) -> (SessionKey, [Far; 2]) {
    let [(client, far_client), (backend, far_backend)] = kinds.map(connection);
    let held = world.held([client, backend].map(|stream| (stream, Bytes::new())), settings);
    sessions.adopt(held);
    let place = sessions.running.iter().map(|(place, _)| place).max().unwrap() as u32;
    (SessionKey { place, generation: sessions.generation }, [far_client, far_backend])
}

/// Gives turns until no session wants one.
async fn settle(sessions: &mut Sessions) {
    poll_fn(|cx| {
        let _ = sessions.poll_drive(cx);
        if sessions.rota.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
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
        for (kinds, wakes) in KINDS.into_iter().zip([false, true, true, true]) {
            let (key, _far) = adopt(&world, &mut sessions, kinds, SETTINGS);
            poll_fn(|cx| Poll::Ready(sessions.poll_drive(cx).is_ready())).await;
            assert_eq!(sessions.wakes_tasks, wakes, "{kinds:?}");
            sessions.end(key.place as usize);
            settle(&mut sessions).await;
        }
    });
}
