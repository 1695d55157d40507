//! A session that leaves in a rebalance: it ends, or moves to another backend, or stays where it cannot move.

use super::{holds::terms, *};

fn holding() -> Pair {
    Pair::on_terms(&SILENT, Some(HoldTerms { drain_code: CloseCode(4000), ..terms() }))
}

/// How a session stands in a rebalance.
#[derive(Debug, PartialEq)]
struct Stands {
    may_stay: bool,
    leaves: bool,
}

impl Pair {
    fn stands(&self) -> Stands {
        Stands { may_stay: self.session.is_to_be_rebalanced(), leaves: self.session.leaves_in_rebalance() }
    }

    fn is_to_leave(&mut self, leaves: Option<(Instant, Departure)>) {
        self.session.handle_rebalance(leaves, self.now);
        self.pump();
    }

    fn moves_at(&mut self, at: Instant) {
        self.is_to_leave(Some((at, Departure::Move)));
    }

    /// The old backend answers our Close, and another one takes the session.
    fn finds_another(&mut self) {
        self.sends(Backend, close(Backend, 1001, "moved"));
        assert_eq!(self.session.awaits_backend(), Some(HoldCause::Move));
        assert!(self.resumes());
    }
}

#[test]
fn a_session_leaves_at_its_moment_whatever_orders_stand_and_both_sides_read_why() {
    let mut pair = Pair::new(&SILENT);
    pair.is_to_leave(Some((pair.now + seconds(10), Departure::End)));
    pair.is_told(None);
    pair.is_told(Some(notice(pair.now + seconds(100))));
    pair.wait(Duration::from_millis(9_999));
    assert!(pair.session.termination().is_none() && pair.session.is_to_be_rebalanced());
    pair.wait(Duration::from_millis(1));
    for side in [Client, Backend] {
        assert_eq!(pair.got(side), ["close 1012 rebalance", "FIN"]);
    }
    assert_eq!(pair.stands(), Stands { may_stay: false, leaves: true });
    assert_eq!(pair.ended(), (Initiator::Proxy, Cause::Rebalanced, Some(1012), "rebalance".into(), false));
}

#[test]
fn what_was_taken_back_changes_nothing_and_leaves_nothing() {
    let mut pair = Pair::new(&SILENT);
    pair.is_to_leave(Some((pair.now + seconds(10), Departure::End)));
    pair.is_to_leave(None);
    assert!(pair.session.is_plain() && pair.session.poll_timeout().is_none());
    pair.drain();
    pair.is_to_leave(Some((pair.now, Departure::End)));
    assert_eq!(pair.ended().1, Cause::Drain, "an end that has begun");
    assert_eq!(pair.stands(), Stands { may_stay: false, leaves: false });
}

#[test]
fn on_a_route_with_hold_the_client_notices_nothing() {
    let mut pair = holding();
    pair.moves_at(pair.now + seconds(10));
    pair.wait(seconds(10));
    assert_eq!(pair.got(Backend), ["close 1001 moved"]);
    pair.sends(Client, message(Client, "meanwhile"));
    pair.finds_another();
    assert_eq!(pair.got(Backend), ["message meanwhile"]);
    assert_eq!((pair.got(Client), pair.session.termination()), (vec![], None));
    assert!(!pair.session.is_to_be_rebalanced());
    // The next drain is a drain again.
    assert!(pair.session.begin_move(Cause::Drain, pair.now));
    pair.pump();
    pair.fin(Backend);
    pair.wait(terms().longest);
    assert_eq!(pair.ended().1, Cause::Drain);
}

#[test]
fn a_move_waits_for_the_end_of_a_message_and_no_other_order_ends_the_wait() {
    let mut pair = holding();
    let long = message(Client, "in two");
    pair.sends(Client, &long[..7]);
    pair.moves_at(pair.now);
    assert_eq!(pair.session.hold_state(), HoldState::Moving);
    pair.is_told(None);
    assert_eq!(pair.session.hold_state(), HoldState::Moving);
    assert_eq!(pair.stands(), Stands { may_stay: true, leaves: true });
    pair.sends(Client, &long[7..]);
    assert_eq!(pair.got(Backend), ["message in two", "close 1001 moved"]);
    assert_eq!(pair.stands(), Stands { may_stay: false, leaves: true });
    pair.finds_another();
    assert_eq!(pair.stands(), Stands { may_stay: false, leaves: false });
    // Taken back, it is over; and a message that does not end keeps the session where it is.
    let waits: [fn(&mut Pair); 2] = [|pair| pair.is_to_leave(None), |pair| pair.wait(terms().longest)];
    for waits in waits {
        let mut pair = holding();
        pair.sends(Client, &long[..7]);
        pair.moves_at(pair.now);
        waits(&mut pair);
        assert_eq!((pair.session.hold_state(), pair.session.termination()), (HoldState::Open, None));
        assert_eq!(pair.stands(), Stands { may_stay: false, leaves: false });
        pair.sends(Client, &long[7..]);
        assert_eq!(pair.got(Backend), ["message in two"]);
    }
}

#[test]
fn a_session_stays_where_no_other_backend_takes_it() {
    let mut pair = holding();
    pair.moves_at(pair.now + seconds(1));
    pair.now += seconds(1);
    assert!(pair.session.is_about_to_move(pair.now));
    pair.session.forbid_move();
    pair.wait(seconds(5));
    assert_eq!((pair.session.hold_state(), pair.session.termination()), (HoldState::Open, None));
    assert!(!pair.session.is_to_be_rebalanced());
}

#[test]
fn a_move_that_finds_no_backend_ends_with_its_own_cause_and_code() {
    let mut pair = holding();
    pair.moves_at(pair.now);
    pair.fin(Backend);
    pair.wait(terms().longest);
    assert_eq!(pair.got(Client)[0], "close 1012 rebalance");
    assert_eq!(pair.ended().1, Cause::Rebalanced);
}

#[test]
fn a_session_that_has_another_backend_meanwhile_does_not_leave_that_one() {
    for (departure, leaves) in [(Departure::Move, false), (Departure::EndAtBackend, false), (Departure::End, true)] {
        let mut pair = holding();
        pair.is_to_leave(Some((pair.now + seconds(5), departure)));
        pair.fin(Backend);
        assert!(pair.resumes());
        assert_eq!(pair.session.is_to_be_rebalanced(), leaves, "{departure:?}");
        pair.wait(seconds(5));
        assert_eq!(pair.session.termination().map(|end| end.cause), leaves.then_some(Cause::Rebalanced));
    }
}
