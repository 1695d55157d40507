//! Limits are broken, however the bytes are cut, spliced and spread over time.

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::ws::rate::Rate;

const fn limited(limits: MessageLimits) -> SessionSettings {
    SessionSettings { limits, ..SILENT }
}

#[test]
fn a_message_too_big_is_refused_at_its_header_and_both_are_told_at_once() {
    let mut pair = Pair::new(&limited(MessageLimits { message_size: Some(4), ..MessageLimits::NONE }));
    pair.sends(Client, message(Client, "four"));
    pair.sends(Client, &message(Client, "fiver")[..6]);
    assert_eq!(pair.got(Backend), ["message four", "close 1001 message too big", "FIN"]);
    assert_eq!(pair.got(Client), ["close 1009 message too big", "FIN"]);
    let end = (Initiator::Proxy, Cause::MessageTooBig, Some(1009), "message too big".into(), false);
    assert_eq!(pair.ended(), end);
}

#[test]
fn who_passed_a_limit_is_told_behind_the_message_that_it_is_reading() {
    let mut pair = Pair::new(&limited(MessageLimits { message_size: Some(4), ..MessageLimits::NONE }));
    let answer = message(Backend, "answer");
    pair.sends(Backend, &answer[..3]);
    pair.sends(Client, message(Client, "fiver"));
    assert_eq!(pair.got(Client), ["cut"]);
    pair.sends(Backend, &answer[3..]);
    assert_eq!(pair.got(Client), ["message answer", "close 1009 message too big", "FIN"]);
}

#[test]
fn each_message_is_measured_by_itself_and_control_frames_are_none_of_it() {
    let mut pair = Pair::new(&limited(MessageLimits { message_size: Some(4), ..MessageLimits::NONE }));
    let fragments = |last| [frame(Client, 0x01, b"ab"), ping(Client, "long ping"), frame(Client, 0x80, last)].concat();
    pair.sends(Client, [fragments(b"cd"), message(Client, "four"), fragments(b"cd")].concat());
    assert!(pair.session.termination().is_none());
    pair.sends(Client, fragments(b"cde"));
    assert_eq!(pair.ended().1, Cause::MessageTooBig);
    assert_eq!(pair.got(Backend).split_off(7), ["begin ab", "ping long ping", "close 1001 message too big", "FIN"]);
}

#[test]
fn a_rate_is_made_good_by_time() {
    let mut pair = Pair::new(&limited(MessageLimits { frames: Rate::per_second(2), ..MessageLimits::NONE }));
    pair.sends(Client, message(Client, "1"));
    for _ in 0..20 {
        pair.sends(Client, message(Client, "2"));
        // The backend's frames do not count against the client.
        pair.sends(Backend, message(Backend, "many").repeat(10));
        pair.wait(Duration::from_millis(500));
    }
    assert!(pair.session.termination().is_none());
    pair.sends(Client, [message(Client, "1"), ping(Client, "2")].concat());
    assert_eq!(
        pair.ended(),
        (Initiator::Proxy, Cause::RateLimited, Some(1008), "too many messages per second".into(), false)
    );
}

#[test]
fn a_client_does_not_pay_for_a_backend_that_took_nothing_for_a_while() {
    let mut pair = Pair::new(&limited(MessageLimits {
        frames: Rate::per_second(2),
        bytes: Rate::per_second(20),
        ..MessageLimits::NONE
    }));
    pair.read = 8;
    pair.takes(Backend, 0);
    for _ in 0..20 {
        pair.sends(Client, message(Client, "12"));
        pair.wait(Duration::from_millis(500));
    }
    pair.takes_all(Backend);
    assert_eq!(pair.got(Backend).len(), 20);
    assert!(pair.session.termination().is_none());
    // The client sent the bytes that waited evenly, so they broke no limit. A flood still breaks the limit.
    pair.wait(seconds(2));
    pair.sends(Client, message(Client, "12").repeat(3));
    assert_eq!(pair.ended().1, Cause::RateLimited);
}

#[test]
fn a_close_passes_whatever_the_rate() {
    let mut pair = Pair::new(&limited(MessageLimits { frames: Rate::per_second(1), ..MessageLimits::NONE }));
    pair.sends(Client, [message(Client, "1"), close(Client, 1000, "bye")].concat());
    assert_eq!(pair.got(Backend), ["message 1", "close 1000 bye"]);
    assert_eq!(pair.ended().1, Cause::ClientClose);
}

#[test]
fn a_shortage_ends_a_session_in_time_though_its_slow_side_goes_on_slowly() {
    let mut pair = Pair::new(&SILENT);
    pair.takes(Client, 10);
    pair.sends(Backend, message(Backend, &"x".repeat(1000)));
    pair.session.handle_shortage(pair.now);
    pair.pump();
    assert_eq!(pair.got(Backend), ["close 1013 memory", "FIN"]);
    pair.sends(Client, close(Client, 1000, "mine"));
    for _ in 0..CLOSE_TIMEOUT.as_secs() {
        assert!(!pair.over);
        pair.takes(Client, 1);
        pair.wait(seconds(1));
    }
    assert!(pair.over);
    assert_eq!(pair.ended().1, Cause::Memory);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_split_lets_the_same_frames_pass(
        frames in vec((0..4_u8, 0..60_usize), 1..30),
        (message_size, frame_size) in (prop::option::of(1..120_u64), prop::option::of(1..60_u64)),
        per_second in prop::option::of(1..30_u64),
        read in 1..200_usize,
        splices in any::<bool>(),
    ) {
        let (mut fragmented, mut message, mut expected) = (false, 0, None);
        let mut bytes = Vec::new();
        for (index, (kind, length)) in frames.iter().enumerate() {
            let length = *length as u64;
            let payload = vec![b'x'; frames[index].1];
            let opcode = u8::from(!fragmented);
            if *kind == 0 {
                bytes.push(frame(Client, 0x89, &payload));
            } else {
                message = if fragmented { message + length } else { length };
                fragmented = *kind == 1;
                bytes.push(frame(Client, opcode | if fragmented { 0 } else { 0x80 }, &payload));
                if message_size.is_some_and(|most| message > most) || frame_size.is_some_and(|most| length > most) {
                    expected = expected.or(Some((index, Cause::MessageTooBig)));
                }
            }
            if per_second.is_some_and(|most| index as u64 >= most) {
                expected = expected.or(Some((index, Cause::RateLimited)));
            }
        }
        let frames = per_second.and_then(Rate::per_second);
        let limits = MessageLimits { message_size, frame_size, frames, ..MessageLimits::NONE };
        let mut pair = Pair { read, splices, ..Pair::new(&limited(limits)) };
        pair.sends(Client, bytes.concat());
        prop_assert_eq!(pair.session.termination().map(|end| end.cause), expected.map(|(_, cause)| cause));
        let passed = expected.map_or(bytes.len(), |(index, _)| index);
        let (taken, _) = pair.taken(Backend);
        prop_assert!(taken.starts_with(&bytes[..passed].concat()));
        prop_assert_eq!(pair.frames(Backend).len(), passed + usize::from(expected.is_some()), "and our Close");
    }

    #[test]
    fn any_split_counts_each_byte_once(
        lengths in vec(0..300_usize, 1..20),
        over in any::<bool>(),
        read in 1..400_usize,
        splices in any::<bool>(),
    ) {
        let bytes: Vec<u8> = lengths
            .iter()
            .flat_map(|length| [frame(Client, 0x82, &vec![0; *length]), ping(Client, "ping")].concat())
            .collect();
        let most = bytes.len() as u64 - u64::from(over);
        let limits = MessageLimits { bytes: Rate::per_second(most), ..MessageLimits::NONE };
        let mut pair = Pair { read, splices, ..Pair::new(&limited(limits)) };
        pair.sends(Client, &bytes);
        prop_assert_eq!(pair.session.termination().is_some(), over);
    }
}
