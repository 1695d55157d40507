//! A side whose connection is replaced by another one, which the other side does not notice.

use super::*;

/// The 101 has agreed on an extension.
const EXTENDED: SessionSettings = SessionSettings { extensions: true, ..SILENT };

const SIDES: [Side; 2] = [Client, Backend];

#[test]
fn a_side_is_replaced_between_two_messages_and_the_other_side_notices_nothing() {
    for side in SIDES {
        let other = side.other();
        let mut pair = Pair::new(&PINGING);
        pair.sends(side, message(side, "from the old one"));
        pair.sends(other, message(other, "to the old one"));
        let old = pair.replaces(side).unwrap();
        pair.sends(side, message(side, "from the new one"));
        pair.sends(other, message(other, "to the new one"));
        assert_eq!(Frame::read_all(side, &old.taken).0[0].payload, b"to the old one");
        assert_eq!(pair.got(side), ["message to the new one"]);
        assert_eq!(pair.got(other), ["message from the old one", "message from the new one"]);
        for from in SIDES {
            let counts = pair.session.counts(from);
            assert_eq!((counts.messages, counts.frames), (2, 2), "counted on: {from:?}");
        }
        pair.sends(side, close(side, 4000, "bye"));
        pair.sends(other, close(other, 4000, "bye"));
        pair.fin(side);
        pair.fin(other);
        assert!(pair.over && pair.session.termination().unwrap().clean);
    }
}

#[test]
fn no_side_is_replaced_inside_a_message_of_either_side() {
    for (side, from) in SIDES.into_iter().flat_map(|side| SIDES.map(|from| (side, from))) {
        let mut pair = Pair::new(&SILENT);
        let whole = message(from, "in two pieces");
        let fragments = [frame(from, 0x01, b"in two"), ping(from, "between them"), frame(from, 0x80, b"frames")];
        for (before, after) in [(&whole[..10], whole[10..].to_vec()), (&fragments[0], fragments[1..].concat())] {
            pair.sends(from, before);
            assert!(!pair.session.may_replace(side) && pair.replaces(side).is_none(), "{side:?} inside {from:?}'s");
            pair.sends(from, after);
            assert!(pair.session.may_replace(side), "{side:?} after {from:?}'s");
        }
        // Nothing has changed.
        assert_eq!(pair.frames(from.other()).len(), 4);
    }
}

#[test]
fn no_side_is_replaced_while_bytes_wait_for_it() {
    let mut pair = Pair::new(&SILENT);
    pair.takes(Backend, 3);
    pair.sends(Client, message(Client, "hello"));
    assert!(!pair.session.may_replace(Backend) && pair.replaces(Backend).is_none());
    assert!(pair.session.may_replace(Client), "the message of the old client goes on its way");
    pair.takes_all(Backend);
    assert!(pair.replaces(Backend).is_some());
}

#[test]
fn no_side_is_replaced_where_an_extension_may_keep_state_or_once_the_end_has_begun() {
    for side in SIDES {
        let mut pair = Pair::new(&EXTENDED);
        pair.sends(side, message(side, "whole"));
        assert!(!pair.session.may_replace(side) && pair.replaces(side).is_none());
        let mut pair = Pair::new(&SILENT);
        pair.drain();
        assert!(!pair.session.may_replace(side) && pair.replaces(side).is_none());
        let mut pair = Pair::new(&SILENT);
        pair.fin(side);
        assert!(pair.replaces(side).is_none());
    }
}

#[test]
fn what_the_old_connection_did_not_answer_is_not_held_against_the_new_one() {
    for side in SIDES {
        let mut pair = Pair::new(&PINGING);
        pair.answers_pings(side.other());
        pair.wait(PING_INTERVAL);
        assert!(pair.frames(side).iter().any(Frame::is_our_ping), "the old connection is pinged");
        pair.answers_pings(side.other());
        pair.wait(seconds(5));
        pair.replaces(side).unwrap();
        // The old connection would be dead 30 s after its Ping. The new one gets a Ping after 20 s, and has 30 s from then.
        for _ in 0..8 {
            pair.wait(seconds(5));
            pair.answers_pings(side.other());
        }
        assert!(pair.session.termination().is_none(), "{:?}", pair.session.termination());
        assert!(pair.frames(side).iter().any(Frame::is_our_ping), "the new connection is pinged too");
        pair.wait(seconds(15));
        assert!(
            pair.session.termination().is_some_and(|end| end.cause == dead(side)),
            "{:?}",
            pair.session.termination()
        );
    }
}

#[test]
fn a_ping_of_the_other_end_that_was_not_answered_delays_no_ping_to_the_new_connection() {
    for (side, replaces) in [(Client, true), (Backend, true), (Client, false), (Backend, false)] {
        let mut pair = Pair::new(&PINGING);
        pair.sends(side.other(), ping(side.other(), "never answered"));
        if replaces {
            pair.replaces(side).unwrap();
        }
        pair.wait(PING_INTERVAL);
        let is_pinged = pair.frames(side).iter().any(Frame::is_our_ping);
        assert_eq!(is_pinged, replaces, "{side:?}");
    }
}

const fn dead(side: Side) -> Cause {
    match side {
        Client => Cause::ClientDead,
        Backend => Cause::BackendDead,
    }
}
