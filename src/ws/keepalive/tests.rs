//! What falls due when, whom a Pong is for, and what silence means.

#![allow(clippy::unwrap_used)]

use std::time::Instant;

use super::*;

const SETTINGS: Settings = Settings {
    ping_interval: SideTimes { client: Some(Duration::from_secs(25)), backend: None },
    pong_timeout: SideTimes::of_both(Some(Duration::from_secs(30))),
};

const TERMS: PingTerms<'_> = PingTerms { settings: &SETTINGS, secret: &Secret([7; 16]), nonce: 7, side: Side::Client };

fn now() -> Tick {
    let now = Instant::now();
    Tick::new(now, now)
}

fn keepalive(now: Tick) -> Keepalive {
    Keepalive::new(now)
}

fn pong(ping: &ControlFrame) -> ControlFrame {
    ControlFrame::new(OpCode::Pong, ping.payload(), None)
}

fn due(keepalive: &mut Keepalive) -> Tick {
    let at = keepalive.poll_ping(TERMS, true).unwrap();
    keepalive.owe_ping();
    assert!(keepalive.owes_ping());
    at
}

#[test]
fn a_ping_falls_due_within_the_interval_and_not_before_nine_tenths_of_it() {
    let start = now();
    for nonce in 0..=255 {
        let keepalive = Keepalive::new(start);
        let wait = keepalive.poll_ping(PingTerms { nonce, ..TERMS }, true).unwrap().since(start);
        assert!(wait <= Duration::from_secs(25) && wait >= Duration::from_millis(22_500), "{wait:?}");
    }
}

#[test]
fn a_side_that_is_not_listed_is_never_pinged() {
    let terms = PingTerms { side: Side::Backend, ..TERMS };
    assert_eq!(Keepalive::new(now()).poll_ping(terms, true), None);
}

#[test]
fn bytes_both_ways_put_a_ping_off_and_bytes_one_way_do_not() {
    let start = now();
    let later = start + Duration::from_secs(20);
    let (mut sends, mut takes) = (keepalive(start), keepalive(start));
    let first = sends.poll_ping(TERMS, true).unwrap();
    sends.handle_received(later);
    takes.handle_sent(later);
    assert_eq!([sends.poll_ping(TERMS, true), takes.poll_ping(TERMS, true)], [Some(first); 2]);
    sends.handle_sent(later);
    takes.handle_received(later);
    assert_eq!(
        [sends.poll_ping(TERMS, true), takes.poll_ping(TERMS, true)],
        [Some(first + Duration::from_secs(20)); 2]
    );
}

#[test]
fn an_unanswered_ping_puts_the_next_one_off_by_an_interval() {
    let mut keepalive = keepalive(now());
    for _ in 0..3 {
        let at = due(&mut keepalive);
        keepalive.ping(TERMS, at);
        assert_eq!(keepalive.poll_ping(TERMS, true), None, "it is on its way");
        keepalive.handle_flushed(at);
        let wait = keepalive.poll_ping(TERMS, true).unwrap().since(at);
        assert!(wait <= Duration::from_secs(25) && wait >= Duration::from_millis(22_500), "{wait:?}");
    }
}

#[test]
fn a_pong_of_ours_is_ours_also_when_late_or_repeated() {
    let mut keepalive = keepalive(now());
    let at = due(&mut keepalive);
    let first = keepalive.ping(TERMS, at);
    keepalive.handle_flushed(at);
    let at = due(&mut keepalive);
    let second = keepalive.ping(TERMS, at);
    keepalive.handle_flushed(at);
    assert_ne!(first.payload(), second.payload());
    for ping in [&second, &first, &second] {
        assert_eq!(keepalive.handle_pong(TERMS, &pong(ping), at + Duration::from_millis(3)), PongOwner::Proxy);
    }
    let trips = keepalive.round_trips();
    assert_eq!((trips.pings, trips.measured, trips.last), (2, 1, Some(Duration::from_millis(3))));
}

#[test]
fn a_pong_that_only_looks_like_ours_passes() {
    let mut keepalive = keepalive(now());
    let at = due(&mut keepalive);
    let ping = keepalive.ping(TERMS, at);
    let mut guessed = ping.payload().to_vec();
    guessed[0] ^= 1;
    for payload in [&b""[..], &guessed, &ping.payload()[..7]] {
        let frame = ControlFrame::new(OpCode::Pong, payload, None);
        assert_eq!(keepalive.handle_pong(TERMS, &frame, at), PongOwner::OtherEnd);
    }
}

#[test]
fn no_ping_while_the_side_owes_the_other_end_a_pong() {
    let start = now();
    let mut keepalive = keepalive(start);
    let theirs = ControlFrame::new(OpCode::Ping, b"theirs", None);
    keepalive.handle_relayed_ping(TERMS, &theirs, start);
    let lapse = start + Duration::from_secs(30);
    assert_eq!(keepalive.poll_ping(TERMS, true), Some(lapse));
    keepalive.handle_pong(TERMS, &ControlFrame::new(OpCode::Pong, b"another", None), start);
    assert_eq!(keepalive.poll_ping(TERMS, true), Some(lapse));
    keepalive.handle_pong(TERMS, &pong(&theirs), start);
    assert!(keepalive.poll_ping(TERMS, true).unwrap() < lapse);
}

#[test]
fn a_pong_that_is_read_before_its_ping_was_seen_written_settles_it() {
    let mut keepalive = keepalive(now());
    let at = due(&mut keepalive);
    let ping = keepalive.ping(TERMS, at);
    keepalive.handle_received(at);
    assert_eq!(keepalive.handle_pong(TERMS, &pong(&ping), at), PongOwner::Proxy);
    keepalive.handle_flushed(at);
    assert_eq!((keepalive.poll_death(TERMS, true), keepalive.round_trips().measured), (None, 0));
}

#[test]
fn a_side_that_answers_nothing_is_pinged_slowly_until_it_does() {
    let mut keepalive = keepalive(now());
    let mut last = None;
    for _ in 0..MAX_UNANSWERED {
        let at = due(&mut keepalive);
        last = Some((at, keepalive.ping(TERMS, at)));
        keepalive.handle_flushed(at);
    }
    let (at, ping) = last.unwrap();
    assert_eq!(keepalive.poll_ping(TERMS, true), Some(at + Duration::from_secs(30)));
    keepalive.handle_pong(TERMS, &pong(&ping), at);
    assert!(keepalive.poll_ping(TERMS, true).unwrap() <= at + Duration::from_secs(25));
}

#[test]
fn silence_counts_from_the_first_ping_that_was_fully_written() {
    let mut keepalive = keepalive(now());
    let at = due(&mut keepalive);
    keepalive.ping(TERMS, at);
    assert_eq!(keepalive.poll_death(TERMS, true), None);
    let written = at + Duration::from_secs(2);
    keepalive.handle_flushed(written);
    assert_eq!(keepalive.poll_death(TERMS, true), Some(written + Duration::from_secs(30)));
    let at = due(&mut keepalive);
    keepalive.ping(TERMS, at);
    keepalive.handle_flushed(at);
    assert_eq!(keepalive.poll_death(TERMS, true), Some(written + Duration::from_secs(30)));
    keepalive.handle_resumed(at);
    assert_eq!(keepalive.poll_death(TERMS, true), Some(at + Duration::from_secs(30)));
    keepalive.handle_received(at);
    assert_eq!(keepalive.poll_death(TERMS, true), None);
}

const T: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(1875);

fn progress(acknowledged: u64, unsent: u64) -> Progress {
    Progress { acknowledged, unsent }
}

#[test]
fn a_ping_of_the_other_end_is_judged_as_one_of_ours_from_when_it_was_written() {
    let start = now();
    let mut keepalive = keepalive(start);
    let theirs = ControlFrame::new(OpCode::Ping, b"theirs", None);
    for second in 0..10 {
        let at = start + Duration::from_secs(second);
        keepalive.handle_relayed_ping(TERMS, &theirs, at);
        keepalive.handle_sent(at);
        keepalive.handle_flushed(at);
        keepalive.handle_progress(progress(100 + second, 0), at);
    }
    assert_eq!(keepalive.poll_death(TERMS, true), Some(start + T), "the oldest one counts");
    keepalive.handle_received(start + Duration::from_secs(10));
    assert_eq!(keepalive.poll_death(TERMS, true), None);

    let off = PingTerms { side: Side::Backend, ..TERMS };
    let mut keepalive = Keepalive::new(start);
    keepalive.handle_relayed_ping(off, &theirs, start);
    keepalive.handle_flushed(start);
    assert_eq!(keepalive.poll_death(off, true), None, "where ours would not go, it stands in for none");
    assert!(keepalive.is_calm(), "and nothing waits for its Pong, which may never come");
}

#[test]
fn each_byte_taken_of_what_waits_restarts_the_clock() {
    let start = now();
    for (holds, unsent) in [(true, 0), (false, 1), (true, 1)] {
        let mut keepalive = keepalive(start);
        if holds {
            keepalive.handle_stalled(start);
        }
        let theirs = ControlFrame::new(OpCode::Ping, b"theirs", None);
        keepalive.handle_relayed_ping(TERMS, &theirs, start);
        if !holds {
            keepalive.handle_flushed(start);
        }
        let mut at = start;
        for byte in 0..100 {
            at = at + STEP;
            if byte == 0 && !holds {
                keepalive.handle_progress(progress(0, unsent), start);
            }
            assert!(keepalive.wants_progress(TERMS, at));
            keepalive.handle_progress(progress(1 + byte, unsent), at);
            assert_eq!(keepalive.poll_death(TERMS, true), Some(at + T));
        }
        for _ in 0..16 {
            at = at + STEP;
            keepalive.handle_progress(progress(100, unsent), at);
        }
        assert_eq!(keepalive.poll_death(TERMS, true), Some(at), "it has taken nothing since");
    }
}

#[test]
fn what_a_side_takes_at_once_is_no_sign_of_life() {
    let start = now();
    let mut keepalive = keepalive(start);
    let at = due(&mut keepalive);
    keepalive.ping(TERMS, at);
    keepalive.handle_flushed(at);
    assert_eq!(keepalive.poll_look(TERMS), Some(at), "what was taken before does not count");
    keepalive.handle_progress(progress(1000, 0), at);
    assert_eq!(keepalive.poll_look(TERMS), None, "an idle side is not looked at again");
    for step in 1..16 {
        let now = at + STEP * step;
        keepalive.handle_sent(now);
        assert!(keepalive.wants_progress(TERMS, now));
        keepalive.handle_progress(progress(1000 + u64::from(step), 0), now);
    }
    assert_eq!(keepalive.poll_death(TERMS, true), Some(at + T));
}

#[test]
fn nothing_is_kept_of_what_is_over() {
    let mut keepalive = keepalive(now());
    let theirs = ControlFrame::new(OpCode::Ping, b"theirs", None);
    let at = due(&mut keepalive);
    let ping = keepalive.ping(TERMS, at);
    keepalive.handle_flushed(at);
    keepalive.handle_stalled(at);
    keepalive.handle_relayed_ping(TERMS, &theirs, at);
    keepalive.handle_flushed(at);
    keepalive.handle_received(at);
    keepalive.handle_pong(TERMS, &pong(&ping), at);
    assert!(keepalive.open.is_some(), "it has not answered the other end");
    keepalive.handle_pong(TERMS, &pong(&theirs), at);
    assert_eq!(keepalive.open, None);

    keepalive.handle_relayed_ping(TERMS, &theirs, at);
    keepalive.handle_flushed(at);
    keepalive.handle_received(at);
    due(&mut keepalive);
    assert_eq!(keepalive.open, Some(Box::new(Open { owed: true, ..Open::default() })), "the debt has lapsed");
}

#[test]
fn a_ping_of_another_session_or_to_the_other_side_has_another_payload() {
    let ping = |terms| Keepalive::new(now()).ping(terms, now()).payload().to_vec();
    let others = [PingTerms { nonce: 8, ..TERMS }, PingTerms { side: Side::Backend, ..TERMS }];
    for other in others {
        assert_ne!(ping(TERMS)[..PREFIX], ping(other)[..PREFIX]);
    }
}

#[test]
fn a_round_trip_is_told_to_the_microsecond_and_not_longer_than_it_can_be() {
    for (trip, told) in [(1_001, 1_001), (7_200_000_000, u64::from(u32::MAX))] {
        let mut keepalive = keepalive(now());
        let at = due(&mut keepalive);
        let ping = keepalive.ping(TERMS, at);
        keepalive.handle_flushed(at);
        keepalive.handle_pong(TERMS, &pong(&ping), at + Duration::from_micros(trip));
        assert_eq!(keepalive.round_trips().last, Some(Duration::from_micros(told)));
    }
}
