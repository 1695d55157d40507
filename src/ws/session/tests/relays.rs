//! Which frames pass, which do not, and what a breach does.

use super::*;
use crate::ws::frame::OpCode;

#[test]
fn frames_pass_unchanged_both_ways() {
    let mut pair = Pair::new(&SILENT);
    let (there, back) = (message(Client, "hello"), message(Backend, "hi"));
    pair.sends(Client, &there);
    pair.sends(Backend, &back);
    assert_eq!((pair.taken(Backend).0, pair.taken(Client).0), (&there[..], &back[..]));
    assert_eq!(pair.session.termination(), None);
}

#[test]
fn counts_tell_bytes_frames_and_messages_of_each_direction() {
    let mut pair = Pair::new(&SILENT);
    let bytes = [frame(Client, 0x01, b"a"), ping(Client, "p"), frame(Client, 0x80, b"b"), message(Client, "")].concat();
    pair.sends(Client, &bytes);
    pair.sends(Backend, &message(Backend, "half")[..4]);
    let counts = pair.session.counts(Client);
    assert_eq!((counts.bytes, counts.frames, counts.messages), (bytes.len() as u64, 4, 2));
    let counts = pair.session.counts(Backend);
    assert_eq!((counts.bytes, counts.frames, counts.messages), (4, 0, 0));
}

#[test]
fn frames_that_pass_are_counted_by_opcode_once_however_they_are_cut() {
    for read in [1, 3, 64 * 1024] {
        let mut pair = Pair::new(&PINGING);
        pair.read = read;
        let begins = [frame(Client, 0x01, b"a"), ping(Client, "p"), frame(Client, 0x80, b"b"), message(Client, "c")];
        pair.sends(Client, begins.concat());
        pair.sends(Backend, frame(Backend, 0x82, b"d"));
        // Frames of our own do not count, nor the frames that answer them.
        pair.wait(PING_INTERVAL);
        pair.answers_our_ping(Client);
        pair.sends(Backend, close(Backend, 1000, ""));
        pair.sends(Client, close(Client, 1000, ""));
        let of = |from| OpCode::ALL.map(|opcode| pair.counts.of(from, opcode));
        assert_eq!((of(Client), of(Backend)), ([1, 2, 0, 1, 1, 0], [0, 0, 1, 1, 0, 0]), "{read} bytes a read");
    }
}

#[test]
fn frames_that_do_not_pass_are_not_counted() {
    let mut pair = Pair::new(&SILENT);
    pair.fin(Backend);
    pair.sends(Client, message(Client, "to nobody"));
    assert_eq!(pair.counts, OpCodeCounts::default());
}

#[test]
fn payload_that_is_moved_unseen_counts_and_leaves_the_frames_in_step() {
    let mut pair = Pair::new(&SILENT);
    let bytes = message(Backend, "a long message");
    pair.sends(Backend, &bytes[..4]);
    assert_eq!(pair.session.unseen(Backend), 12);
    pair.session.handle_unseen(Backend, 12, pair.now);
    assert_eq!(pair.session.unseen(Backend), 0);
    pair.sends(Backend, message(Backend, "next"));
    let counts = pair.session.counts(Backend);
    assert_eq!((counts.bytes, counts.frames, counts.messages), (bytes.len() as u64 + 6, 2, 2));
}

#[test]
fn nothing_moves_unseen_to_a_side_that_has_had_its_last_frame() {
    let mut pair = Pair::new(&SILENT);
    pair.sends(Backend, &message(Backend, "a long message")[..4]);
    pair.fin(Client);
    assert_eq!(pair.session.unseen(Backend), 0);
}

#[test]
fn a_held_header_is_completed_by_the_next_read() {
    let mut pair = Pair::new(&SILENT);
    let bytes = message(Client, "hello");
    pair.sends(Client, &bytes[..5]);
    assert_eq!(pair.got(Backend), [""; 0]);
    pair.sends(Client, &bytes[5..]);
    assert_eq!(pair.got(Backend), ["message hello"]);
}

#[test]
fn a_client_that_breaks_the_protocol_gets_1002_after_the_answers_and_the_backend_1001() {
    let mut pair = Pair::new(&SILENT);
    pair.sends(Client, [message(Client, "question"), message(Backend, "unmasked")].concat());
    assert_eq!(pair.got(Backend), ["message question", "close 1001 client broke the protocol", "FIN"]);
    assert_eq!(pair.got(Client), [""; 0]);
    pair.sends(Backend, message(Backend, "answer"));
    pair.sends(Backend, close(Backend, 1001, ""));
    assert_eq!(pair.got(Client), ["message answer", "close 1002 unmasked frame from a client", "FIN"]);
    pair.fin(Backend);
    assert!(!pair.over);
    pair.fin(Client);
    assert!(pair.over);
    let reason = "unmasked frame from a client".into();
    assert_eq!(pair.ended(), (Initiator::Proxy, Cause::ClientBreach, Some(1002), reason, false));
}

#[test]
fn a_backend_that_breaks_the_protocol_gets_1002_after_the_answers_and_the_client_1011() {
    let mut pair = Pair::new(&SILENT);
    pair.sends(Backend, [message(Backend, "question"), frame(Backend, 0xC1, b"rsv")].concat());
    assert_eq!(pair.got(Client), ["message question", "close 1011 backend broke the protocol", "FIN"]);
    pair.sends(Client, message(Client, "answer"));
    pair.fin(Client);
    assert_eq!(pair.got(Backend), ["message answer", "close 1002 reserved bits without an extension", "FIN"]);
    let reason = "reserved bits without an extension".into();
    assert_eq!(pair.ended(), (Initiator::Proxy, Cause::BackendBreach, Some(1002), reason, false));
}

#[test]
fn the_author_of_a_breach_gets_1002_within_the_close_timeout_if_the_other_side_talks_on() {
    let mut pair = Pair::new(&SILENT);
    pair.sends(Client, [0x83, 0x80]);
    pair.sends(Backend, frame(Backend, 0x01, b"a message without an end"));
    pair.wait(CLOSE_TIMEOUT - seconds(1));
    assert_eq!(pair.got(Client), ["begin a message without an end", "close 1002 reserved opcode", "FIN"]);
    pair.wait(seconds(1));
    assert!(pair.over);
}

#[test]
fn a_breach_in_answer_to_a_close_is_followed_by_a_fin() {
    let mut pair = Pair::new(&SILENT);
    pair.sends(Backend, close(Backend, 1000, "bye"));
    pair.sends(Client, [0x83, 0x80]);
    assert_eq!(pair.got(Client), ["close 1000 bye", "FIN"]);
    assert_eq!(pair.got(Backend), ["close 1001 client broke the protocol", "FIN"]);
    assert_eq!(pair.ended().1, Cause::BackendClose);
}

#[test]
fn what_follows_a_breach_neither_passes_nor_counts() {
    let mut pair = Pair::new(&SILENT);
    pair.sends(Client, [0x83, 0x80]);
    pair.sends(Client, [&message(Client, "more")[..], &close(Client, 1000, ""), &[0x82, 0xFE, 0xFF]].concat());
    assert_eq!(pair.got(Backend), ["close 1001 client broke the protocol", "FIN"]);
    pair.fin(Backend);
    assert_eq!(pair.got(Client), ["close 1002 reserved opcode", "FIN"]);
    assert_eq!(pair.session.counts(Client).frames, 0);
}

#[test]
fn what_follows_a_close_that_answered_ours_does_not_spoil_the_close_of_the_other_side() {
    let mut pair = Pair::new(&SILENT);
    pair.sends(Client, frame(Client, 0x01, b"begin"));
    pair.drain();
    assert_eq!(pair.got(Client), ["close 1012 drain", "FIN"]);
    pair.sends(Client, [&close(Client, 1012, "")[..], &[0x82, 0xFE, 0x10, 0x00, 1, 2, 3, 4, 5]].concat());
    assert_eq!(pair.got(Backend), ["begin begin", "close 1012 drain", "FIN"]);
}

#[test]
fn rsv_bits_pass_where_an_extension_was_agreed_on() {
    let mut pair = Pair::new(&SessionSettings { extensions: true, ..SILENT });
    pair.sends(Client, frame(Client, 0xC1, b"deflated"));
    assert_eq!(pair.got(Backend), ["message deflated"]);
}

#[test]
fn a_length_of_two_to_the_63_ends_the_session_and_one_less_does_not() {
    let mut pair = Pair::new(&SILENT);
    pair.sends(Backend, [0x82, 0x7F, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, b'x']);
    assert_eq!(pair.session.unseen(Backend), (1 << 63) - 2);
    let mut pair = Pair::new(&SILENT);
    pair.sends(Backend, [0x82, 0x7F, 0x80, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(pair.ended().1, Cause::BackendBreach);
}
