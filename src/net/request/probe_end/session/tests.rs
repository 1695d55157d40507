//! Probes without a socket: bytes in, bytes out, at instants that the test chooses.

use proptest::{collection::vec, prelude::*};

use super::{super::output::MOST_BYTES, *};
use crate::ws::{frame::encode_header, session::Departure};

const SECOND: Duration = Duration::from_secs(1);
/// A mask that changes nothing, so that the bytes on the wire are the payload.
const MASK: Option<[u8; 4]> = Some([0; 4]);

const BINARY: u8 = 0x82;
const TEXT: u8 = 0x81;
const PING: u8 = 0x89;
const PONG: u8 = 0x8A;
const CLOSE: u8 = 0x88;

fn start() -> (ProbeSession, Instant) {
    let now = Instant::now();
    (ProbeSession::new(5 * SECOND, now), now)
}

/// A frame of the client's.
fn masked(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(first, payload.as_ref(), MASK)
}

/// A frame of ours.
fn plain(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(first, payload.as_ref(), None)
}

fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut frame = Vec::new();
    encode_header(first, payload.len() as u64, mask, &mut frame);
    frame.extend_from_slice(payload);
    frame
}

fn closing(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}

/// Takes all that waits for the client.
fn taken(session: &mut ProbeSession, now: Instant) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let output = session.output().to_vec();
        if output.is_empty() {
            return all;
        }
        all.extend_from_slice(&output);
        session.handle_taken(output.len(), now);
    }
}

/// What comes back for these bytes.
fn answer(session: &mut ProbeSession, bytes: impl AsRef<[u8]>, now: Instant) -> Vec<u8> {
    session.handle_input(bytes.as_ref(), now);
    taken(session, now)
}

fn ordered(session: &mut ProbeSession, order: &str, now: Instant) -> String {
    let answer = answer(session, masked(TEXT, order), now);
    assert_eq!(answer[..2], plain(TEXT, vec![0; answer.len() - 2])[..2]);
    String::from_utf8_lossy(&answer[2..]).into_owned()
}

fn ended(session: ProbeSession) -> (Cause, Option<u16>, bool) {
    assert!(session.is_over());
    let termination = session.outcome().0.expect("it has ended");
    (termination.cause, termination.code.map(|code| code.0), termination.clean)
}

#[test]
fn binary_messages_and_pings_come_back_however_they_are_cut() {
    let stream = b"\x02\x83\x37\xfa\x21\x3d\x7f\x9f\x4d\x89\x82\x01\x02\x03\x04ij\x80\x82\x01\x01\x01\x01mn\x82\x80\x01\x02\x03\x04";
    for cut in 0..=stream.len() {
        let (mut session, now) = start();
        let mut all = answer(&mut session, &stream[..cut], now);
        all.extend(answer(&mut session, &stream[cut..], now));
        assert_eq!(all, b"\x02\x03Hel\x8a\x02hh\x80\x02lo\x82\x00", "cut at {cut}");
    }
}

#[test]
fn an_order_is_answered_and_what_is_none_is_told() {
    let (mut session, now) = start();
    assert_eq!(ordered(&mut session, "ping 24s", now), "ok ping 24s");
    assert_eq!(ordered(&mut session, "silent", now), "ok silent");
    assert!(ordered(&mut session, "dance", now).starts_with("error an order is silent, ping DURATION"));
    assert!(ordered(&mut session, "send 16777217", now).starts_with("error send takes"));
    let long = "x".repeat(LONGEST_ORDER + 1);
    assert_eq!(ordered(&mut session, &long, now), "error an order has at most 160 bytes");
    // In fragments.
    let order = [masked(0x01, "si"), masked(0x00, "le"), masked(0x80, "nt")].concat();
    assert_eq!(answer(&mut session, order, now), plain(TEXT, "ok silent"));
    assert!(session.ending.is_none());
}

#[test]
fn without_an_order_nothing_is_due_but_the_end_of_its_life() {
    let (mut session, now) = start();
    assert_eq!(session.due(), now + LONGEST_LIFE);
    answer(&mut session, [masked(BINARY, "x"), masked(PING, "")].concat(), now + SECOND);
    assert_eq!(session.due(), now + LONGEST_LIFE);
    session.handle_due(now + LONGEST_LIFE);
    assert_eq!(taken(&mut session, now + LONGEST_LIFE), plain(CLOSE, closing(1012, "lifetime")));
    answer(&mut session, masked(CLOSE, closing(1012, "")), now + LONGEST_LIFE);
    assert_eq!(ended(session), (Cause::Lifetime, Some(1012), true));
}

#[test]
fn pings_come_as_often_as_ordered_until_they_are_stopped() {
    let (mut session, mut now) = start();
    ordered(&mut session, "ping 24s", now);
    for _ in 0..3 {
        assert_eq!(session.due(), now + 24 * SECOND);
        now += 24 * SECOND;
        session.handle_due(now);
        assert_eq!(taken(&mut session, now), plain(PING, ""));
    }
    ordered(&mut session, "silent", now);
    assert!(session.due() > now + Duration::from_secs(3600));
}

#[test]
fn no_ping_goes_into_the_middle_of_an_echo() {
    let (mut session, now) = start();
    ordered(&mut session, "ping 1s", now);
    let echo = masked(BINARY, vec![7; 1000]);
    let mut all = answer(&mut session, &echo[..500], now);
    session.handle_due(now + SECOND);
    all.extend(answer(&mut session, &echo[500..], now + SECOND));
    assert_eq!(all, plain(BINARY, vec![7; 1000]));
    session.handle_due(now + 2 * SECOND);
    assert_eq!(taken(&mut session, now + 2 * SECOND), plain(PING, ""));
}

#[test]
fn a_mute_end_answers_no_ping_any_more_and_still_echoes() {
    let (mut session, now) = start();
    assert_eq!(answer(&mut session, masked(PING, "1"), now), plain(PONG, "1"));
    ordered(&mut session, "mute", now);
    ordered(&mut session, "silent", now);
    assert_eq!(answer(&mut session, [masked(PING, "2"), masked(BINARY, "3")].concat(), now), plain(BINARY, "3"));
}

#[test]
fn an_ordered_message_comes_whole_and_before_the_answer_to_the_next_order() {
    for bytes in [0, 1, 125, 126, 16 * 1024, 16 * 1024 + 1, 100_000] {
        let (mut session, now) = start();
        let orders = [masked(TEXT, format!("send {bytes}")), masked(TEXT, "silent")].concat();
        let expected =
            [plain(TEXT, format!("ok send {bytes}")), plain(BINARY, vec![0; bytes]), plain(TEXT, "ok silent")].concat();
        assert_eq!(answer(&mut session, orders, now), expected, "{bytes}");
        assert_eq!(session.output.sent(), expected.len() as u64);
    }
}

#[test]
fn the_longest_message_is_sent_in_portions() {
    let (mut session, now) = start();
    session.handle_input(&masked(TEXT, "send 16777216"), now);
    let (mut bytes, mut most) = (0, 0);
    while !session.output().is_empty() {
        let length = session.output().len();
        (bytes, most) = (bytes + length, most.max(length));
        session.handle_taken(length, now);
    }
    assert_eq!(bytes, 2 + "ok send 16777216".len() + 10 + 16 * 1024 * 1024);
    assert!(most <= 16 * 1024, "{most}");
}

#[test]
fn a_close_is_given_as_ordered_and_its_answer_ends_the_probe() {
    let (mut session, now) = start();
    let answer_to = answer(&mut session, masked(TEXT, "close 4001 see you"), now);
    let expected = [plain(TEXT, "ok close 4001 see you"), plain(CLOSE, closing(4001, "see you"))].concat();
    assert_eq!(answer_to, expected);
    assert!(!session.is_over());
    // What the client sent before it read the Close gets no answer.
    let late = [masked(BINARY, "late"), masked(PING, ""), masked(TEXT, "silent")].concat();
    assert_eq!(answer(&mut session, late, now), b"");
    assert_eq!(answer(&mut session, masked(CLOSE, closing(4001, "")), now), b"");
    assert_eq!(ended(session), (Cause::Killed, Some(4001), true));
}

#[test]
fn a_client_that_does_not_close_after_us_is_left() {
    let (mut session, now) = start();
    answer(&mut session, masked(TEXT, "close 1000"), now);
    assert_eq!(session.due(), now + 5 * SECOND);
    session.handle_due(now + 5 * SECOND);
    assert_eq!(ended(session), (Cause::Killed, Some(1000), false));
}

#[test]
fn the_clients_close_comes_back() {
    for payload in [closing(4000, "done"), Vec::new()] {
        let (mut session, now) = start();
        assert_eq!(answer(&mut session, masked(CLOSE, &payload), now), plain(CLOSE, &payload));
        let code = (!payload.is_empty()).then_some(4000);
        assert_eq!(ended(session), (Cause::ClientClose, code, true));
    }
}

#[test]
fn what_no_client_may_send_ends_the_probe_with_its_code() {
    let too_big = [&b"\x02\x81\0\0\0\0x\x80\xff"[..], &(LONGEST_MESSAGE.to_be_bytes()), &[0; 4]].concat();
    for (sent, said, code, cause) in [
        (b"\x81\x00".to_vec(), "unmasked frame from a client", 1002, Cause::ClientBreach),
        (masked(0xC2, "x"), "reserved bits without an extension", 1002, Cause::ClientBreach),
        (masked(TEXT, b"\xff"), "text that is not UTF-8", 1007, Cause::ClientBreach),
        (too_big, "message too big", 1009, Cause::MessageTooBig),
    ] {
        let (mut session, now) = start();
        let answer = answer(&mut session, sent, now);
        assert!(answer.ends_with(&plain(CLOSE, closing(code, said))), "{said}: {}", answer.escape_ascii());
        session.handle_due(now + 5 * SECOND);
        assert_eq!(ended(session), (cause, Some(code), false));
    }
}

#[test]
fn more_orders_than_a_second_may_have_end_the_probe() {
    let (mut session, now) = start();
    for _ in 0..ORDERS_PER_SECOND {
        ordered(&mut session, "silent", now);
    }
    let mut later = now + SECOND;
    for _ in 0..ORDERS_PER_SECOND {
        ordered(&mut session, "silent", later);
    }
    later += SECOND / 100;
    let expected = plain(CLOSE, closing(1008, "too many orders per second"));
    assert_eq!(answer(&mut session, masked(TEXT, "silent"), later), expected);
    session.handle_due(later + 5 * SECOND);
    assert_eq!(ended(session), (Cause::RateLimited, Some(1008), false));
}

#[test]
fn a_probe_gets_so_many_bytes_and_no_more() {
    let (mut session, now) = start();
    // The headers count too.
    for _ in 0..MOST_BYTES / LONGEST_MESSAGE - 1 {
        assert!(session.output.spend(LONGEST_MESSAGE));
    }
    assert_eq!(ordered(&mut session, "send 16777216", now), "error this probe has got all that it may");
    // Seven headers so far, the one of this frame, and the frame that follows.
    assert!(session.output.spend(LONGEST_MESSAGE - 7 * 2 - 2 - 4));
    assert_eq!(answer(&mut session, masked(BINARY, "xy"), now), plain(BINARY, "xy"));
    assert_eq!(answer(&mut session, masked(PING, ""), now), plain(CLOSE, closing(1008, "too many bytes")));
    session.handle_due(now + 5 * SECOND);
    assert_eq!(ended(session), (Cause::RateLimited, Some(1008), false));
}

fn drain(at: Instant) -> Option<Notice> {
    Some(Notice { at, cause: Cause::Drain, code: CloseCode::SERVICE_RESTART, departure: Departure::End })
}

#[test]
fn a_drain_is_told_at_its_moment_unless_it_is_taken_back() {
    let (mut session, now) = start();
    session.handle_notice(drain(now + SECOND));
    assert_eq!(session.due(), now + SECOND);
    session.handle_notice(None);
    session.handle_due(now + SECOND);
    assert_eq!(taken(&mut session, now + SECOND), b"");
    session.handle_notice(drain(now + 2 * SECOND));
    session.handle_due(now + 2 * SECOND);
    assert_eq!(taken(&mut session, now + 2 * SECOND), plain(CLOSE, closing(1012, "drain")));
    answer(&mut session, masked(CLOSE, closing(1012, "")), now + 2 * SECOND);
    assert_eq!(ended(session), (Cause::Drain, Some(1012), true));
}

#[test]
fn a_close_of_ours_waits_for_the_end_of_the_frame_before_it() {
    let farewell = plain(CLOSE, closing(1012, "drain"));
    let (mut session, now) = start();
    let echo = masked(BINARY, vec![7; 1000]);
    let mut all = answer(&mut session, &echo[..500], now);
    session.handle_notice(drain(now));
    session.handle_due(now);
    all.extend(answer(&mut session, &echo[500..], now));
    assert_eq!(all, [plain(BINARY, vec![7; 1000]), farewell.clone()].concat());

    let (mut session, now) = start();
    session.handle_input(&masked(TEXT, "send 100000"), now);
    session.handle_notice(drain(now));
    session.handle_due(now);
    let expected = [plain(TEXT, "ok send 100000"), plain(BINARY, vec![0; 100_000]), farewell].concat();
    assert_eq!(taken(&mut session, now), expected);
}

#[test]
fn a_client_that_stops_in_the_middle_is_dead_and_a_silent_one_is_not() {
    let stops: [fn(&mut ProbeSession, Instant); 3] = [
        |session, now| drop(answer(session, &masked(BINARY, "whole")[..8], now)),
        |session, now| drop(answer(session, &masked(PING, "whole")[..8], now)),
        |session, now| session.handle_input(&masked(TEXT, "send 1"), now),
    ];
    for stop in stops {
        let (mut session, now) = start();
        answer(&mut session, masked(BINARY, "x"), now);
        assert!(session.due() > now + PATIENCE);
        stop(&mut session, now);
        assert_eq!(session.due(), now + PATIENCE);
        session.handle_due(now + PATIENCE);
        assert_eq!(ended(session), (Cause::ClientDead, None, false));
    }
}

#[test]
fn a_lost_client_is_noted_once() {
    let (mut session, now) = start();
    session.handle_input(&masked(TEXT, "send 1000"), now);
    session.handle_lost(Loss::Reset, now);
    assert_eq!(ended(session), (Cause::ClientLost, None, false));
    let (mut session, now) = start();
    answer(&mut session, masked(TEXT, "close 1000"), now);
    session.handle_lost(Loss::Reset, now);
    assert_eq!(ended(session), (Cause::Killed, Some(1000), false));
}

/// Frames that a client may send, and some that it may not.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let order = prop::sample::select(vec!["silent", "mute", "ping 100ms", "send 70000", "close 1000 x", "", "é"]);
    let first = prop::sample::select(vec![0x00, 0x80, 0x01, TEXT, 0x02, BINARY, PING, PONG, 0xC2, 0x83]);
    prop_oneof![
        4 => order.prop_map(|order| masked(TEXT, order)),
        8 => (first, vec(any::<u8>(), 0..120)).prop_map(|(first, payload)| masked(first, payload)),
        1 => Just(masked(CLOSE, closing(1000, ""))),
        1 => vec(any::<u8>(), 0..20),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_and_when_the_answer_is_whole_frames_and_the_end_comes(
        pieces in vec(pieces(), 0..20),
        steps in vec((1..300_usize, 0..400_u64, 1..5000_usize), 1..60),
    ) {
        let (mut session, mut now) = start();
        let (stream, mut at, mut sent) = (pieces.concat(), 0, Vec::new());
        for (come, wait, take) in steps {
            now += Duration::from_millis(wait);
            if session.due() <= now {
                session.handle_due(now);
            }
            let length = session.output().len().min(take);
            if length > 0 {
                sent.extend_from_slice(&session.output()[..length]);
                session.handle_taken(length, now);
            } else if !session.is_over() {
                let end = stream.len().min(at + come);
                session.handle_input(&stream[at..end], now);
                at = end;
            }
            prop_assert!(session.unread.len() <= 300 + 131 && session.message.text.len() <= LONGEST_ORDER + 1);
        }
        sent.extend(taken(&mut session, now));
        let mut frames = Frames::of(Side::Backend);
        let mut rest = &sent[..];
        while let Some(piece) = frames.next(rest).map_err(|breach| TestCaseError::fail(breach.to_string()))? {
            rest = &rest[piece.length()..];
        }
        session.handle_lost(Loss::Reset, now);
        prop_assert!(session.is_over() && session.outcome().0.is_some());
    }
}

#[test]
fn a_probe_leaves_when_it_was_told_to_though_nothing_comes_any_more_but_never_later_than_all_others() {
    let (mut session, now) = start();
    assert_eq!(ordered(&mut session, "stay 75s", now + SECOND), "ok stay 75s");
    assert_eq!(session.due(), now + 76 * SECOND);
    session.handle_due(now + 76 * SECOND);
    assert_eq!(taken(&mut session, now + 76 * SECOND), plain(CLOSE, closing(1012, "lifetime")));
    assert_eq!(session.due(), now + 81 * SECOND);
    session.handle_due(now + 81 * SECOND);
    assert_eq!(ended(session), (Cause::Lifetime, Some(1012), false));
    let (mut session, now) = start();
    ordered(&mut session, "stay 65m", now + 600 * SECOND);
    assert_eq!(session.due(), now + 65 * 60 * SECOND);
}
