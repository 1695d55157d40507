//! A session without its client: what is counted, what is kept, and what the client finds when it is back.

use super::{
    resumes::{BEAT, FOR, REPLAY, resumable},
    *,
};
use crate::ws::frame::MAX_HEADER;

#[test]
fn an_absence_that_ends_with_the_session_is_a_gap_and_nothing_is_kept_any_more() {
    let mut pair = resumable(&SILENT, None);
    pair.sends(Backend, message(Backend, "kept"));
    pair.fin(Client);
    pair.wait(seconds(3));
    pair.drain();
    let tally = pair.session.resume_tally();
    assert_eq!((tally.resumes, tally.gap, pair.session.kept_for_client()), (0, seconds(3), 0));
}

#[test]
fn what_is_kept_for_the_client_and_what_is_kept_back_from_it_are_counted_together() {
    assert_eq!(Pair::new(&SILENT).session.kept_for_client(), 0);
    let mut pair = resumable(&SILENT, None);
    pair.sends(Backend, message(Backend, "kept"));
    let kept = pair.session.kept_for_client();
    pair.sends(Client, &frame(Client, 0x82, &[7; 100])[..50]);
    assert!(pair.session.kept_for_client() >= kept + 50);
}

#[test]
fn a_message_as_large_as_the_limit_is_kept_back_until_it_is_whole() {
    let limits = MessageLimits { message_size: Some(100), ..MessageLimits::NONE };
    let mut pair = resumable(&SessionSettings { limits, ..SILENT }, None);
    let whole = frame(Client, 0x82, &[7; 100]);
    pair.sends(Client, &whole[..whole.len() - 1]);
    assert!(pair.taken(Backend).0.is_empty() && pair.session.can_be_resumed());
}

#[test]
fn a_session_whose_route_has_no_such_terms_or_whose_messages_are_compressed_is_an_ordinary_one() {
    let terms = ResumeTerms { longest: FOR, replay: REPLAY, beat: BEAT };
    for (extensions, terms) in [(false, None), (true, Some(terms))] {
        let mut pair = Pair::on_all_terms(&SessionSettings { extensions, ..SILENT }, None, terms);
        pair.session.begin_resumable("abcdefghijklmnopqrstuv:");
        assert!(!pair.session.is_resumable() && pair.session.is_plain());
    }
}

#[test]
fn a_client_that_sends_bytes_behind_its_close_is_read_up_to_its_fin() {
    for behind in [false, true] {
        let mut pair = resumable(&SILENT, None);
        pair.sends(Client, close(Client, 1000, ""));
        if behind {
            pair.sends(Client, message(Client, "no meaning"));
        }
        pair.sends(Backend, close(Backend, 1000, ""));
        assert_eq!(pair.got(Backend), ["close 1000 ", "FIN"]);
        assert_eq!(pair.session.may_close(Client), !behind);
    }
}

#[test]
fn a_dead_client_for_which_there_is_no_room_is_dead_as_on_another_route() {
    let mut pair = Pair { refuses: true, ..resumable(&PINGING, None) };
    while !pair.session.is_ending() {
        pair.wait(seconds(5));
        pair.answers_pings(Backend);
    }
    assert_eq!((pair.ended().0, pair.ended().1), (Initiator::Proxy, Cause::ClientDead));
    assert_eq!(pair.got(Backend).last().map(String::as_str), Some("FIN"));
    assert!(pair.got(Backend).contains(&"close 1001 no answer to pings".to_owned()), "{:?}", pair.got(Backend));
}

#[test]
fn the_first_beat_of_a_new_connection_begins_with_it() {
    let mut pair = resumable(&SILENT, None);
    pair.fin(Client);
    pair.wait(BEAT + BEAT / 2);
    pair.comes_back(1, 0);
    pair.wait(BEAT - Duration::from_nanos(1));
    assert_eq!(pair.heard(), [""; 0]);
    pair.wait(Duration::from_nanos(1));
    assert_eq!(pair.heard(), [":0"]);
}

#[test]
fn a_client_that_hears_messages_needs_no_beat() {
    let mut pair = resumable(&SILENT, None);
    for _ in 0..10 {
        pair.wait(BEAT - Duration::from_nanos(1));
        pair.sends(Backend, message(Backend, "again"));
    }
    assert!(pair.heard().iter().all(|heard| heard == "message again"), "{:?}", pair.heard());
}

#[test]
fn a_count_is_due_when_a_quarter_of_what_may_be_kept_has_come() {
    let quarter = message(Client, &"x".repeat(REPLAY / 4 - 6));
    let mut pair = resumable(&SILENT, None);
    pair.sends(Client, message(Client, &"x".repeat(REPLAY / 4 - 7)));
    assert_eq!((quarter.len(), pair.heard()), (REPLAY / 4, vec![]));
    let mut pair = resumable(&SILENT, None);
    pair.sends(Client, quarter);
    assert_eq!(pair.heard(), [":1"]);
}

#[test]
fn a_backend_that_was_not_read_while_the_client_was_away_has_its_time_again() {
    let mut pair = resumable(&PINGING, None);
    pair.fin(Client);
    pair.sends(Backend, frame(Backend, 0x82, &[7; REPLAY - MAX_HEADER - 4]));
    assert!(pair.session.backend_read_limit() == Some(0) && pair.backend.unread.is_empty());
    pair.wait(FOR - Duration::from_nanos(1));
    pair.comes_back(1, 0);
    pair.wait(seconds(10));
    pair.answers_pings(Client);
    pair.wait(seconds(10));
    assert!(pair.session.termination().is_none(), "{:?}", pair.session.termination());
}

#[test]
fn a_close_that_was_kept_counts_as_a_frame_of_the_backend_once_the_client_has_it() {
    let mut pair = resumable(&SILENT, None);
    pair.fin(Client);
    pair.sends(Backend, [message(Backend, "last"), close(Backend, 4001, "")].concat());
    assert_eq!(pair.session.counts(Backend).frames, 1);
    pair.comes_back(1, 0);
    assert_eq!(pair.session.counts(Backend).frames, 2);
}

#[test]
fn a_backend_that_cannot_be_written_after_its_close_has_closed_and_is_not_lost() {
    let mut pair = resumable(&SILENT, None);
    pair.fin(Client);
    pair.breaks(Backend);
    pair.sends(Backend, close(Backend, 4001, "over"));
    pair.fin(Backend);
    assert!(!pair.session.is_ending());
    pair.comes_back(1, 0);
    assert_eq!((pair.heard(), pair.ended().1), (vec!["close 4001 over".to_owned()], Cause::BackendClose));
}

#[test]
fn an_attempt_that_has_had_the_session_does_not_get_it_again() {
    let mut pair = resumable(&SILENT, None);
    pair.fin(Client);
    pair.comes_back(1, 0);
    pair.fin(Client);
    assert!(pair.session.awaits_client() && !pair.arrives(1));
    pair.comes_back(2, 0);
}

#[test]
fn a_ping_that_the_client_has_answered_is_not_answered_again_when_it_is_gone() {
    let mut pair = resumable(&SILENT, None);
    pair.sends(Backend, ping(Backend, "once"));
    pair.sends(Client, pong(Client, "once"));
    pair.fin(Client);
    assert_eq!(pair.got(Backend), ["pong once"]);
}

#[test]
fn a_pong_that_two_connections_wait_for_is_for_the_later_one() {
    let mut pair = resumable(&SILENT, None);
    pair.sends(Client, ping(Client, "same"));
    pair.fin(Client);
    pair.comes_back(1, 0);
    pair.sends(Client, ping(Client, "same"));
    // Pongs come in the order of their Pings: nothing more comes for the first connection.
    pair.sends(Backend, [pong(Backend, "same"), pong(Backend, "same")].concat());
    assert_eq!(pair.heard(), ["pong same", "pong same"]);
}
