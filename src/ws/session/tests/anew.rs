//! A side with another connection than before: nothing that the old one did is held against the new one.

use super::{holds, resumes::resumable, *};

const SIDES: [Side; 2] = [Client, Backend];

/// A session that outlives the connection of this side. Both ends are pinged and judged.
fn outliving(side: Side) -> Pair {
    match side {
        Client => resumable(&PINGING, None),
        Backend => Pair::on_terms(&PINGING, Some(holds::terms())),
    }
}

/// The connection of a side ends, and another one takes its place.
fn changes(pair: &mut Pair, side: Side) {
    pair.fin(side);
    match side {
        Client => assert_eq!(pair.comes_back(1, 0), 0),
        Backend => assert!(pair.resumes()),
    }
}

fn is_without(pair: &Pair, side: Side) -> bool {
    match side {
        Client => pair.session.awaits_client(),
        Backend => pair.session.awaits_backend().is_some(),
    }
}

#[test]
fn what_the_old_connection_did_not_answer_is_not_held_against_the_new_one() {
    for side in SIDES {
        let mut pair = outliving(side);
        pair.answers_pings(side.other());
        pair.wait(PING_INTERVAL);
        assert!(pair.frames(side).iter().any(Frame::is_our_ping), "the old connection is pinged");
        pair.answers_pings(side.other());
        pair.wait(seconds(5));
        changes(&mut pair, side);
        // The old connection would be dead 30 s after its Ping. The new one gets a Ping after 20 s, and has 30 s from then.
        for _ in 0..8 {
            pair.wait(seconds(5));
            pair.answers_pings(side.other());
        }
        assert!(!is_without(&pair, side) && pair.session.termination().is_none(), "{side:?}");
        assert!(pair.frames(side).iter().any(Frame::is_our_ping), "the new connection is pinged too");
        pair.wait(seconds(15));
        assert!(is_without(&pair, side), "{side:?} is dead");
    }
}

#[test]
fn a_ping_of_the_other_end_that_was_not_answered_delays_no_ping_to_the_new_connection() {
    for (side, is_new) in SIDES.into_iter().flat_map(|side| [(side, true), (side, false)]) {
        let mut pair = outliving(side);
        pair.sends(side.other(), ping(side.other(), "never answered"));
        if is_new {
            changes(&mut pair, side);
        }
        pair.wait(PING_INTERVAL);
        let is_pinged = pair.frames(side).iter().any(Frame::is_our_ping);
        assert_eq!(is_pinged, is_new, "{side:?}");
    }
}

#[test]
fn idle_time_ends_a_session_without_a_side_only_if_the_other_side_is_not_pinged() {
    for (side, is_pinged) in SIDES.into_iter().flat_map(|side| [(side, true), (side, false)]) {
        let settings = SessionSettings { idle: Some(seconds(25)), ..if is_pinged { PINGING } else { SILENT } };
        let mut pair = match side {
            Client => resumable(&settings, None),
            Backend => Pair::on_terms(&settings, Some(HoldTerms { longest: seconds(30), ..holds::terms() })),
        };
        pair.fin(side);
        for _ in 0..28 {
            pair.wait(seconds(1));
            pair.answers_pings(side.other());
        }
        assert_eq!(is_without(&pair, side), is_pinged, "{side:?}");
        assert_eq!(pair.session.termination().map(|end| end.cause), (!is_pinged).then_some(Cause::Idle), "{side:?}");
    }
}
