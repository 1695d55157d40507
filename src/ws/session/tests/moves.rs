//! A session that leaves its backend for another one, and what is left of a hold when it is over.

use super::{
    holds::{LONGEST, terms},
    *,
};

fn holding() -> Pair {
    Pair::on_terms(&SILENT, Some(terms()))
}

/// A session that has its second backend since a moment ago, `lost` after the first one was lost.
fn resumed(lost: Duration) -> Pair {
    let mut pair = holding();
    pair.fin(Backend);
    pair.wait(lost);
    assert!(pair.resumes());
    pair
}

#[test]
fn a_session_that_may_leave_one_backend_moves_once() {
    let mut pair = Pair::on_terms(&SILENT, Some(HoldTerms { times: std::num::NonZeroU32::new(1), ..terms() }));
    assert!(pair.moves());
    pair.sends(Backend, close(Backend, 1001, ""));
    assert!(pair.resumes() && !pair.moves());
}

#[test]
fn an_old_backend_that_is_reset_in_a_move_was_moved_from_and_not_lost() {
    let mut pair = holding();
    assert!(pair.moves());
    pair.resets(Backend);
    assert_eq!(pair.session.awaits_backend(), Some(HoldCause::Move));
    pair.sends(Client, message(Client, "queued"));
    assert!(pair.resumes());
    assert_eq!(pair.got(Backend), ["message queued"]);
}

#[test]
fn a_message_that_the_client_has_begun_in_a_move_goes_to_the_next_backend_as_a_whole() {
    let whole = message(Client, "in two pieces");
    let mut pair = holding();
    assert!(pair.moves());
    pair.sends(Client, &whole[..9]);
    pair.sends(Backend, close(Backend, 1001, ""));
    assert_eq!(pair.session.awaits_backend(), Some(HoldCause::Move));
    pair.sends(Client, &whole[9..]);
    assert!(pair.resumes());
    assert_eq!(
        (pair.gone_got(0), pair.got(Backend)),
        (vec!["close 1001 moved".into()], vec!["message in two pieces".into()])
    );
}

#[test]
fn a_move_right_after_a_hold_has_all_the_time() {
    let mut pair = resumed(LONGEST - seconds(1));
    assert!(pair.moves());
    pair.sends(Backend, close(Backend, 1001, ""));
    assert!(!pair.session.is_held_again());
    pair.wait(LONGEST - Duration::from_nanos(1));
    assert!(pair.session.termination().is_none() && pair.resumes());
}

#[test]
fn where_the_longest_hold_is_short_a_backend_that_stayed_for_so_long_was_there() {
    let longest = Duration::from_millis(200);
    let mut pair = Pair::on_terms(&SILENT, Some(HoldTerms { longest, ..terms() }));
    for (stays, is_held_again) in [(longest - Duration::from_nanos(1), true), (longest, false)] {
        pair.fin(Backend);
        assert!(pair.resumes());
        pair.wait(stays);
        pair.fin(Backend);
        assert_eq!(pair.session.is_held_again(), is_held_again);
        assert!(pair.resumes());
        pair.wait(seconds(1));
    }
}

#[test]
fn what_a_client_reads_after_a_move_without_luck_is_the_code_of_drains_and_the_record_says_who_ended_it() {
    let terms = HoldTerms { drain_code: CloseCode(4000), ..terms() };
    let closes: fn(&mut Pair) = |pair| pair.sends(Backend, close(Backend, 1012, ""));
    let moves: fn(&mut Pair) = |pair| {
        assert!(pair.moves());
        pair.sends(Backend, close(Backend, 1001, ""));
    };
    for (goes, told, how) in [(closes, "close 4000 backend closed", "close"), (moves, "close 4000 drain", "ours")] {
        let mut pair = Pair::on_terms(&SILENT, Some(terms.clone()));
        goes(&mut pair);
        pair.wait(LONGEST);
        assert_eq!((&*pair.got(Client)[0], pair.session.termination().unwrap().how.as_str()), (told, how));
    }
}

#[test]
fn a_backend_that_was_dead_is_told_from_one_that_went() {
    let mut pair = Pair::on_terms(&PINGING, Some(terms()));
    while pair.session.awaits_backend().is_none() {
        pair.wait(seconds(5));
        pair.answers_pings(Client);
    }
    assert_eq!(pair.session.parting_timeout(), Duration::ZERO);
    pair.wait(LONGEST);
    assert_eq!(
        &*pair.got(Client).into_iter().rfind(|got| got.starts_with("close")).unwrap(),
        "close 1011 backend lost"
    );
    assert_eq!((pair.ended().0, pair.ended().1), (Initiator::Proxy, Cause::BackendDead));
}

#[test]
fn each_hold_has_the_whole_queue() {
    let mut pair = Pair::on_terms(&SILENT, Some(terms()));
    for _ in 0..3 {
        pair.fin(Backend);
        assert_eq!((pair.session.queue_room(), pair.session.client_read_limit()), (Some(100), Some(100)));
        pair.sends(Client, message(Client, "queued"));
        assert!(pair.resumes());
        assert_eq!(pair.got(Backend), ["message queued"]);
    }
}

#[test]
fn a_client_that_was_not_read_in_a_hold_has_its_time_again() {
    let full = message(Client, "as much as goes into the queue");
    let hold = HoldTerms { longest: seconds(300), queue: full.len(), ..terms() };
    let mut pair = Pair::on_terms(&PINGING, Some(hold));
    pair.fin(Backend);
    pair.sends(Client, &full);
    pair.wait(seconds(200));
    assert!(pair.resumes());
    pair.wait(seconds(1));
    assert!(pair.session.termination().is_none(), "{:?}", pair.session.termination());
}

#[test]
fn what_the_client_sends_after_our_close_goes_nowhere_whatever_the_session_has_outlived() {
    let mut pair = resumed(seconds(1));
    pair.drain();
    pair.sends(Client, message(Client, "too late"));
    assert_eq!(pair.got(Backend), ["close 1012 drain", "FIN"]);
    assert_eq!((pair.session.counts(Client).messages, pair.queue.len()), (0, 0));
}

#[test]
fn what_tells_of_another_backend_is_one_text_message_and_the_hold_stays_in_the_record() {
    let mut pair = Pair::on_terms(&SILENT, Some(HoldTerms { notify: Some("resync".into()), ..terms() }));
    pair.fin(Backend);
    pair.wait(seconds(2));
    assert!(pair.resumes());
    assert_eq!(pair.taken(Client).0, [b"\x81\x06", &b"resync"[..]].concat());
    assert_eq!((pair.session.hold_tally().resumes, pair.session.hold_tally().gap), (1, seconds(2)));
}

#[test]
fn an_open_ping_of_the_client_is_answered_in_a_hold_whatever_was_answered_meanwhile() {
    let mut pair = holding();
    pair.sends(Client, ping(Client, "open"));
    pair.sends(Backend, ping(Backend, "answered"));
    pair.sends(Client, pong(Client, "answered"));
    pair.fin(Backend);
    assert_eq!(pair.got(Client), ["ping answered", "pong open"]);
}

#[test]
fn a_pong_that_two_backends_wait_for_is_for_the_later_one() {
    let mut pair = holding();
    pair.sends(Backend, ping(Backend, "same"));
    pair.fin(Backend);
    assert!(pair.resumes());
    pair.sends(Backend, ping(Backend, "same"));
    // Pongs come in the order of their Pings: nothing more comes for the first backend.
    pair.sends(Client, [pong(Client, "same"), pong(Client, "same")].concat());
    assert_eq!(pair.got(Backend), ["pong same", "pong same"]);
}

#[test]
fn so_many_pings_of_a_lost_backend_are_remembered_and_no_more() {
    let mut pair = holding();
    let pings: Vec<_> = (0..9).flat_map(|number: u8| ping(Backend, &number.to_string())).collect();
    pair.sends(Backend, pings);
    pair.fin(Backend);
    assert!(pair.resumes());
    let pongs: Vec<_> = (0..9).flat_map(|number: u8| pong(Client, &number.to_string())).collect();
    pair.sends(Client, pongs);
    assert_eq!(pair.got(Backend), ["pong 0"]);
}

#[test]
fn pings_that_are_answered_leave_nothing_behind() {
    for hold in [None, Some(terms())] {
        let may_be_held = hold.is_some();
        let mut pair = Pair::on_terms(&SILENT, hold);
        for (asks, answers) in [(Client, Backend), (Backend, Client)] {
            pair.sends(asks, ping(asks, "one"));
            assert_eq!(pair.session.is_plain(), !may_be_held, "{asks:?}");
            pair.sends(answers, pong(answers, "one"));
            assert!(pair.session.is_plain(), "{asks:?}");
        }
    }
}
