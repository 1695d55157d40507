//! Our own Pings, the answers that the sides owe, and when a side is dead.

use super::*;

#[test]
fn a_silent_session_is_pinged_on_both_sides_and_their_pongs_go_no_further() {
    let mut pair = Pair::new(&PINGING);
    for _ in 0..3 {
        pair.wait(PING_INTERVAL);
        for side in [Client, Backend] {
            pair.answers_our_ping(side);
        }
    }
    assert_eq!(pair.got(Client), ["our ping"; 3]);
    assert_eq!(pair.got(Backend), ["our ping"; 3]);
    for side in [Client, Backend] {
        let trips = pair.session.round_trips(side);
        assert_eq!((trips.pings, trips.measured), (3, 3));
        assert_eq!(pair.session.counts(side).frames, 0);
    }
}

#[test]
fn sides_that_talk_with_each_other_are_not_pinged() {
    let mut pair = Pair::new(&PINGING);
    for _ in 0..20 {
        pair.wait(PING_INTERVAL / 2);
        pair.sends(Backend, message(Backend, "tick"));
        pair.sends(Client, message(Client, "tock"));
    }
    assert_eq!(
        (pair.got(Client), pair.got(Backend)),
        (vec!["message tick".into(); 20], vec!["message tock".into(); 20])
    );
}

#[test]
fn both_ends_of_a_stream_in_one_direction_are_pinged() {
    for from in [Client, Backend] {
        let mut pair = Pair::new(&PINGING);
        for _ in 0..20 {
            pair.wait(PING_INTERVAL / 2);
            pair.sends(from, message(from, "tick"));
            for side in [Client, Backend] {
                if !pair.session.is_calm() && pair.frames(side).iter().any(Frame::is_our_ping) {
                    pair.answers_our_ping(side);
                }
            }
        }
        for side in [Client, Backend] {
            let pings = pair.session.round_trips(side).pings;
            assert!((8..=11).contains(&pings), "{side:?}: {pings} in ten intervals, stream from {from:?}");
        }
        assert_eq!(pair.session.termination(), None);
    }
}

/// A program that hangs: its kernel takes all bytes, and the program answers nothing.
#[test]
fn a_hung_side_is_found_whatever_goes_toward_it() {
    for hung in [Client, Backend] {
        for frame in [ping(hung.other(), "theirs"), message(hung.other(), "data")] {
            let mut pair = Pair::new(&PINGING);
            pair.sends(hung, message(hung, "the last word"));
            let began = pair.now;
            while pair.session.termination().is_none() && pair.now < began + seconds(200) {
                pair.sends(hung.other(), &frame);
                pair.wait(Duration::from_millis(200));
            }
            let cause = if hung == Client { Cause::ClientDead } else { Cause::BackendDead };
            assert_eq!(pair.ended().1, cause, "{hung:?} hangs");
            let found = pair.now - began;
            assert!(found <= PING_INTERVAL + PONG_TIMEOUT + seconds(1), "found after {found:?}");
        }
    }
}

#[test]
fn a_side_that_answers_the_pings_of_the_other_end_lives() {
    let mut pair = Pair::new(&PINGING);
    for _ in 0..1000 {
        pair.sends(Backend, ping(Backend, "theirs"));
        pair.wait(Duration::from_millis(200));
        pair.sends(Client, pong(Client, "theirs"));
    }
    assert_eq!(pair.session.termination(), None);
    assert_eq!(pair.session.round_trips(Client).pings, 0, "theirs stand in for ours");
}

#[test]
fn a_slow_side_lives_wherever_its_bytes_wait() {
    for side in [Client, Backend] {
        for buffer in [0, 50, 10_000] {
            let mut pair = Pair::new(&PINGING);
            pair.end(side).buffer = buffer;
            pair.takes(side, 0);
            pair.sends(side.other(), frame(side.other(), 0x82, &[7; 4000]));
            for byte in 0..1000 {
                pair.wait(PONG_TIMEOUT / 10);
                assert_eq!(pair.session.termination(), None, "{side:?} took {byte} bytes; the kernel holds {buffer}");
                pair.takes(side, 1);
                let other = side.other();
                if pair.frames(other).iter().any(Frame::is_our_ping) {
                    pair.answers_our_ping(other);
                }
            }
            let stopped = pair.now;
            while pair.session.termination().is_none() {
                pair.wait(seconds(1));
                let other = side.other();
                if pair.frames(other).iter().any(Frame::is_our_ping) && pair.session.termination().is_none() {
                    pair.answers_our_ping(other);
                }
            }
            let found = pair.now - stopped;
            let longest = PONG_TIMEOUT + PONG_TIMEOUT / 16 * 2 + seconds(1);
            assert!(found >= PONG_TIMEOUT - PONG_TIMEOUT / 16 && found <= longest, "found after {found:?}");
        }
    }
}

#[test]
fn bytes_that_a_slow_side_takes_late_put_its_ping_off() {
    let mut pair = Pair::new(&PINGING);
    pair.takes(Client, 0);
    pair.sends(Backend, message(Backend, "late"));
    pair.wait(PING_INTERVAL / 2);
    pair.takes_all(Client);
    pair.sends(Client, message(Client, "thanks"));
    pair.wait(PING_INTERVAL / 2);
    assert_eq!(pair.got(Client), ["message late"]);
}

#[test]
fn no_ping_queues_up_behind_bytes_that_wait() {
    let mut pair = Pair::new(&PINGING);
    pair.takes(Client, 0);
    pair.sends(Backend, message(Backend, "late"));
    pair.wait(PONG_TIMEOUT - seconds(1));
    assert_eq!(pair.got(Client), [""; 0]);
    pair.takes_all(Client);
    pair.wait(Duration::ZERO);
    assert_eq!(pair.got(Client), ["message late", "our ping"]);
}

#[test]
fn a_ping_that_falls_due_inside_a_frame_goes_in_at_the_boundary_after_it() {
    let mut pair = Pair::new(&PINGING);
    let fragment = frame(Backend, 0x01, b"a fragment");
    pair.sends(Backend, &fragment[..5]);
    pair.wait(PING_INTERVAL);
    assert_eq!(pair.got(Client), ["cut"]);
    pair.sends(Backend, &fragment[5..]);
    assert_eq!(pair.got(Client), ["begin a fragment", "our ping"]);
    pair.sends(Backend, frame(Backend, 0x80, b"the rest"));
    assert_eq!(pair.got(Client), ["begin a fragment", "our ping", "more the rest"]);
}

#[test]
fn a_ping_goes_in_front_of_a_frame_whose_header_is_held() {
    let mut pair = Pair::new(&PINGING);
    let bytes = message(Client, "held");
    pair.sends(Client, &bytes[..3]);
    pair.wait(PING_INTERVAL);
    pair.sends(Client, &bytes[3..]);
    assert_eq!(pair.got(Backend), ["our ping", "message held"]);
}

#[test]
fn a_side_that_owes_the_other_end_a_pong_is_not_pinged_until_it_has_answered() {
    let mut pair = Pair::new(&PINGING);
    pair.sends(Backend, ping(Backend, "theirs"));
    pair.wait(PING_INTERVAL);
    pair.sends(Client, pong(Client, "unasked"));
    assert_eq!(pair.got(Client), ["ping theirs"]);
    pair.sends(Client, pong(Client, "theirs"));
    pair.wait(Duration::ZERO);
    assert_eq!(pair.got(Client), ["ping theirs", "our ping"]);
    assert_eq!(pair.got(Backend)[1..], ["pong unasked", "pong theirs"]);
}

#[test]
fn a_pong_to_the_latest_ping_of_the_other_end_pays_for_the_earlier_ones() {
    let mut pair = Pair::new(&PINGING);
    pair.sends(Backend, [ping(Backend, "one"), ping(Backend, "two")].concat());
    pair.wait(PING_INTERVAL);
    pair.sends(Client, pong(Client, "two"));
    pair.wait(Duration::ZERO);
    assert_eq!(pair.got(Client), ["ping one", "ping two", "our ping"]);
}

#[test]
fn a_debt_lapses_after_the_pong_timeout() {
    let mut pair = Pair::new(&PINGING);
    pair.sends(Backend, ping(Backend, "theirs"));
    pair.sends(Client, message(Client, "no answer"));
    pair.wait(PONG_TIMEOUT - seconds(1));
    assert_eq!(pair.got(Client), ["ping theirs"]);
    pair.wait(seconds(1));
    assert_eq!(pair.got(Client), ["ping theirs", "our ping"]);
}

#[test]
fn a_ping_of_the_other_end_takes_the_place_of_ours() {
    let mut pair = Pair::new(&PINGING);
    let fragment = frame(Backend, 0x01, b"a fragment");
    pair.sends(Backend, &fragment[..5]);
    pair.wait(PING_INTERVAL);
    pair.sends(Backend, [&fragment[5..], &ping(Backend, "theirs")].concat());
    pair.sends(Client, pong(Client, "theirs"));
    pair.wait(PING_INTERVAL / 2);
    assert_eq!(pair.got(Client), ["begin a fragment", "ping theirs"]);
    pair.wait(PING_INTERVAL / 2);
    assert_eq!(pair.got(Client), ["begin a fragment", "ping theirs", "our ping"]);
}

#[test]
fn every_pong_that_is_not_ours_passes_in_order() {
    let mut pair = Pair::new(&PINGING);
    pair.wait(PING_INTERVAL);
    let ours = pair.frames(Client).pop().unwrap().payload;
    let mut other = ours.clone();
    other[3] ^= 1;
    let pongs =
        [pong(Client, "a"), frame(Client, 0x8A, &ours), frame(Client, 0x8A, &other), frame(Client, 0x8A, &ours)];
    pair.sends(Client, [&pongs.concat()[..], &pong(Client, "b"), &pong(Client, "")].concat());
    let got = pair.frames(Backend);
    let payloads: Vec<_> = got[1..].iter().map(|frame| &frame.payload[..]).collect();
    assert_eq!(payloads, [b"a", &other[..], b"b", b""]);
}

#[test]
fn a_pong_of_ours_is_cut_out_from_between_their_fragments_and_over_several_reads() {
    let mut pair = Pair::new(&PINGING);
    pair.wait(PING_INTERVAL);
    let ours = frame(Client, 0x8A, &pair.frames(Client).pop().unwrap().payload);
    let (begin, end) = (frame(Client, 0x01, b"be"), frame(Client, 0x80, b"gun"));
    for byte in [begin, ours, end].concat() {
        pair.sends(Client, [byte]);
    }
    assert_eq!(pair.got(Backend)[1..], ["begin be", "more gun"]);
}

#[test]
fn no_ping_goes_out_once_a_close_has_passed_either_way() {
    for side in [Client, Backend] {
        let mut pair = Pair::new(&SessionSettings { close_timeout: PING_INTERVAL * 2, ..PINGING });
        pair.sends(side, close(side, 1000, ""));
        pair.wait(PING_INTERVAL * 2);
        assert!(pair.over);
        assert_eq!((pair.got(side), pair.got(side.other())), (vec![], vec!["close 1000 ".to_owned()]));
    }
}

#[test]
fn a_ping_that_waits_for_a_boundary_is_dropped_when_a_close_passes() {
    let mut pair = Pair::new(&PINGING);
    let bytes = message(Backend, "in pieces");
    pair.sends(Backend, &bytes[..5]);
    pair.wait(PING_INTERVAL);
    pair.sends(Client, close(Client, 1000, ""));
    pair.sends(Backend, &bytes[5..]);
    assert_eq!(pair.got(Client), ["message in pieces"]);
}

#[test]
fn a_side_that_answers_no_ping_is_dead_after_the_pong_timeout() {
    for (side, cause, code, reason) in [
        (Client, Cause::ClientDead, 1001, "no answer to pings"),
        (Backend, Cause::BackendDead, 1011, "no answer to pings"),
    ] {
        let mut pair = Pair::new(&PINGING);
        pair.wait(PING_INTERVAL);
        pair.answers_our_ping(side.other());
        // The Ping went out up to a tenth of the interval ago.
        pair.wait(PONG_TIMEOUT - PING_INTERVAL / 10 - seconds(1));
        pair.answers_our_ping(side.other());
        assert_eq!(pair.session.termination(), None);
        pair.wait(PING_INTERVAL / 10 + seconds(1));
        assert_eq!(pair.ended(), (Initiator::Proxy, cause, Some(code), reason.into(), false));
        let told = format!("close {code} {reason}");
        assert_eq!(pair.got(side.other()).last_chunk(), Some(&[told, "FIN".to_owned()]));
        assert_eq!(pair.got(side).last_chunk(), Some(&[format!("close 1001 {reason}"), "FIN".to_owned()]));
        pair.fin(side.other());
        assert!(pair.over, "the dead side is not waited for");
    }
}

#[test]
fn any_byte_is_life_even_inside_a_frame() {
    let mut pair = Pair::new(&PINGING);
    let bytes = message(Client, "one byte in twenty-five seconds");
    for byte in &bytes {
        pair.wait(seconds(25));
        pair.sends(Client, [*byte]);
        pair.answers_our_ping(Backend);
    }
    assert_eq!(pair.session.termination(), None);
    assert!(pair.got(Backend).contains(&"message one byte in twenty-five seconds".to_owned()));
}

#[test]
fn a_late_pong_keeps_a_session_that_pings_more_often_than_it_judges() {
    let mut pair = Pair::new(&PINGING);
    pair.wait(PING_INTERVAL + PONG_TIMEOUT - seconds(3));
    let first = pair.frames(Client).into_iter().find(Frame::is_our_ping).unwrap();
    pair.answers_our_ping(Backend);
    pair.sends(Client, frame(Client, 0x8A, &first.payload));
    assert_eq!(pair.session.round_trips(Client).measured, 0);
    pair.wait(seconds(10));
    assert_eq!(pair.session.termination(), None);
}

#[test]
fn a_side_that_is_not_read_is_not_judged() {
    let mut pair = Pair::new(&PINGING);
    pair.wait(PING_INTERVAL);
    pair.answers_our_ping(Backend);
    pair.takes(Backend, 0);
    pair.sends(Client, message(Client, "stalls the backend"));
    // From here on the client speaks, but nobody reads it.
    pair.answers_our_ping(Client);
    for _ in 0..4 {
        pair.wait(PONG_TIMEOUT / 2);
        pair.takes(Backend, 1);
    }
    assert_eq!(pair.session.termination(), None);
    pair.takes_all(Backend);
    assert_eq!(pair.got(Backend).last().unwrap(), "message stalls the backend");
    pair.answers_our_ping(Client);
    assert_eq!(pair.session.termination(), None);
}

#[test]
fn a_side_that_is_not_read_and_that_bytes_go_to_is_not_pinged() {
    let mut pair = Pair::new(&PINGING);
    pair.takes(Backend, 0);
    pair.sends(Client, message(Client, "stalls the backend"));
    for _ in 0..10 {
        pair.wait(PING_INTERVAL / 2);
        pair.takes(Backend, 1);
        pair.sends(Backend, message(Backend, "tick"));
    }
    assert_eq!(pair.got(Client), ["message tick"; 10]);
}

#[test]
fn the_silence_of_a_side_counts_anew_when_it_is_read_again() {
    let mut pair = Pair::new(&PINGING);
    pair.takes(Backend, 0);
    pair.sends(Client, message(Client, "stalls the backend"));
    for _ in 0..4 {
        pair.wait(PONG_TIMEOUT / 2);
        pair.takes(Backend, 1);
    }
    pair.takes_all(Backend);
    pair.wait(PONG_TIMEOUT - seconds(1));
    pair.answers_our_ping(Backend);
    assert_eq!(pair.session.termination(), None);
    pair.wait(seconds(1));
    assert_eq!(pair.ended().1, Cause::ClientDead);
}

#[test]
fn a_side_that_takes_nothing_for_the_pong_timeout_is_dead() {
    let mut pair = Pair::new(&PINGING);
    pair.takes(Client, 0);
    pair.sends(Backend, message(Backend, "never taken"));
    for _ in 0..3 {
        pair.wait(PONG_TIMEOUT - seconds(1));
        pair.takes(Client, 1);
        pair.answers_our_ping(Backend);
        pair.sends(Client, message(Client, "I am alive"));
    }
    pair.wait(PONG_TIMEOUT - Duration::from_nanos(1));
    pair.answers_our_ping(Backend);
    assert_eq!(pair.session.termination(), None);
    pair.wait(PONG_TIMEOUT / 16 + Duration::from_nanos(1));
    assert_eq!(pair.ended(), (Initiator::Proxy, Cause::ClientDead, Some(1001), "no answer to pings".into(), false));
}

#[test]
fn nothing_is_judged_without_a_pong_timeout() {
    let keepalive = Settings { pong_timeout: SideTimes::of_both(None), ..PINGING.keepalive };
    let mut pair = Pair::new(&SessionSettings { keepalive, ..PINGING });
    pair.takes(Client, 0);
    pair.sends(Backend, message(Backend, "never taken"));
    pair.wait(PING_INTERVAL * 20);
    assert_eq!(pair.session.termination(), None);
}

#[test]
fn pongs_to_our_pings_are_no_idleness() {
    let mut pair = Pair::new(&SessionSettings { idle: Some(PING_INTERVAL * 2), ..PINGING });
    for _ in 0..6 {
        pair.wait(PING_INTERVAL);
        pair.answers_our_ping(Backend);
        pair.answers_our_ping(Client);
    }
    assert_eq!(pair.session.termination(), None);
    pair.wait(PING_INTERVAL * 2);
    assert_eq!(pair.ended().1, Cause::Idle);
}
