//! Between the 101 and the end, over sockets and streams in memory: nothing is lost at the begin or at the end, and a
//! side that does not read stops only the bytes for that side.

use std::pin::pin;

use super::*;

const SIDES: [Side; 2] = [Client, Backend];

/// Both far ends, that of `side` first.
fn from(side: Side, [client, backend]: [Far; 2]) -> [Far; 2] {
    if side == Client { [client, backend] } else { [backend, client] }
}

/// Runs a test for every combination of kinds, and for either side.
fn with_each(test: impl AsyncFn(&mut World, [Kind; 2], Side) + Send + Sync) {
    for (kinds, side) in KINDS.into_iter().flat_map(|kinds| SIDES.map(|side| (kinds, side))) {
        println!("{kinds:?}, {side:?}");
        with_worker(async |world| {
            test(world, kinds, side).await;
            while world.live.sessions() > 0 {
                world.ended().await;
            }
            assert_eq!(world.counts(), (0, 0));
        });
    }
}

#[test]
fn bytes_that_were_read_before_the_session_are_relayed_before_those_that_come() {
    with_each(async |world, kinds, side| {
        let (early, next) = (frame(side, TEXT, "early"), frame(side, TEXT, "ear"));
        let read = [&early[..], &next[..5]].concat();
        let both = if side == Client { [&read[..], b""] } else { [b"", &read[..]] };
        let [mut one, mut other] = from(side, world.session_with(kinds, both).await);
        other.expect(&early).await;
        one.send(&next[5..]).await;
        other.expect(&next).await;
    });
}

#[test]
fn a_whole_session_that_was_read_before_it_began_is_relayed() {
    with_each(async |world, kinds, side| {
        let all = [frame(side, TEXT, "bye"), close(side, 4001, "at once")].concat();
        let both = if side == Client { [&all[..], b""] } else { [b"", &all[..]] };
        let [mut one, mut other] = from(side, world.session_with(kinds, both).await);
        one.send_and_finish("").await;
        other.expect(&all).await;
        other.send_and_finish(close(side.other(), 4001, "at once")).await;
        other.expect_eof().await;
        one.expect(close(side.other(), 4001, "at once")).await;
        one.expect_eof().await;
        let cause = if side == Client { "client_close" } else { "backend_close" };
        assert_eq!(world.ended().await, (cause.to_owned(), true));
    });
}

#[test]
fn a_close_with_a_fin_behind_it_is_delivered() {
    with_each(async |world, kinds, side| {
        let [mut one, mut other] = from(side, world.session(kinds).await);
        let last = [frame(side, TEXT, "last"), close(side, 1000, "done")].concat();
        one.send_and_finish(&last).await;
        other.expect(&last).await;
        other.expect_eof().await;
    });
}

#[test]
fn bytes_before_a_fin_are_delivered_before_the_end() {
    with_each(async |world, kinds, side| {
        let [mut one, mut other] = from(side, world.session(kinds).await);
        let message = frame(side, BINARY, vec![0x33; 1 << 20]);
        let (code, reason, cause) = words_of_loss(side);
        tokio::join!(one.send_and_finish(&message), other.expect(&message));
        other.expect_close(side.other(), code, reason).await;
        other.expect_eof().await;
        drop((one, other));
        assert_eq!(world.ended().await, (cause.to_owned(), false));
    });
}

#[test]
fn a_reset_inside_a_frame_ends_the_other_side_without_a_word() {
    with_each(async |world, kinds, side| {
        let [mut one, mut other] = from(side, world.session(kinds).await);
        let half = &frame(side, BINARY, [7; 900])[..450];
        one.send(half).await;
        other.expect(half).await;
        one.reset();
        // The other side would read any further byte as payload.
        other.expect_gone().await;
        drop(other);
        assert_eq!(world.ended().await, (words_of_loss(side).2.to_owned(), false));
    });
}

#[test]
fn a_reset_between_two_frames_is_told_to_the_other_side() {
    with_each(async |world, kinds, side| {
        let [mut one, mut other] = from(side, world.session(kinds).await);
        let message = frame(side, TEXT, "whole");
        one.send(&message).await;
        other.expect(&message).await;
        one.reset();
        let (code, reason, _) = words_of_loss(side);
        other.expect_close(side.other(), code, reason).await;
    });
}

#[test]
fn a_side_that_does_not_read_stops_the_other_one_and_nothing_else() {
    with_each(async |world, kinds, side| {
        let [slow, other] = from(side, world.session(kinds).await);
        [&slow, &other].iter().for_each(|far| far.hold_little());
        // More than all buffers on the way can hold.
        let flood = frame(side.other(), BINARY, vec![0x11; 16 << 20]);
        let (mut slow_reads, mut slow_writes) = tokio::io::split(slow.stream);
        let (mut other_reads, mut other_writes) = tokio::io::split(other.stream);
        let mut writing = pin!(other_writes.write_all(&flood));
        let talking = async {
            for round in 0..20 {
                let message = frame(side, TEXT, format!("still here {round}"));
                slow_writes.write_all(&message).await.unwrap();
                let mut read = vec![0; message.len()];
                other_reads.read_exact(&mut read).await.unwrap();
                assert_eq!(read, message);
            }
        };
        tokio::select! {
            _ = &mut writing => panic!("somebody holds 16 MiB that the slow side never took"),
            () = talking => {}
        }
        let mut read = vec![0; flood.len()];
        let (written, all_read) = tokio::join!(writing, slow_reads.read_exact(&mut read));
        assert!(written.is_ok() && all_read.is_ok() && read == flood);
    });
}

#[test]
fn messages_of_many_sessions_do_not_mix() {
    with_worker(async |world| {
        let mut sessions = Vec::new();
        for kinds in KINDS.into_iter().cycle().take(20) {
            sessions.push(world.session(kinds).await);
        }
        for round in 0..5 {
            for (index, [client, backend]) in sessions.iter_mut().enumerate() {
                client.send(frame(Client, TEXT, format!("{index}/{round}"))).await;
                backend.send(frame(Backend, TEXT, format!("{round}/{index}"))).await;
            }
        }
        for (index, [client, backend]) in sessions.iter_mut().enumerate() {
            for round in 0..5 {
                backend.expect(frame(Client, TEXT, format!("{index}/{round}"))).await;
                client.expect(frame(Backend, TEXT, format!("{round}/{index}"))).await;
            }
        }
    });
}

#[test]
fn sessions_that_are_never_still_leave_the_workers_other_tasks_their_turn() {
    with_worker(async |world| {
        let mut lively = Vec::new();
        for kinds in KINDS.into_iter().cycle().take(16) {
            let [mut client, mut backend] = world.session(kinds).await;
            lively.push(tokio::spawn(async move {
                loop {
                    client.send(frame(Client, TEXT, "again")).await;
                    backend.expect(frame(Client, TEXT, "again")).await;
                }
            }));
        }
        for kinds in KINDS.into_iter().cycle().take(50) {
            let [mut client, mut backend] = world.session(kinds).await;
            client.send(frame(Client, TEXT, "me too")).await;
            backend.expect(frame(Client, TEXT, "me too")).await;
        }
        for task in lively {
            assert!(!task.is_finished(), "no session was cut");
            task.abort();
        }
    });
}

#[test]
fn a_far_end_in_another_thread_reaches_the_session_of_a_worker_that_waits() {
    with_worker(async |world| {
        let [mut client, mut backend] = world.session([Kind::Memory(10), Kind::Memory(10)]).await;
        let echo = thread::spawn(move || {
            let runtime = Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                for round in 0..200 {
                    backend.expect(frame(Client, TEXT, format!("there {round}"))).await;
                    backend.send(frame(Backend, TEXT, format!("and back {round}"))).await;
                }
            });
        });
        for round in 0..200 {
            client.send(frame(Client, TEXT, format!("there {round}"))).await;
            client.expect(frame(Backend, TEXT, format!("and back {round}"))).await;
        }
        echo.join().unwrap();
    });
}
