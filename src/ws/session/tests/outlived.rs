//! A session that may outlive both its ends.

use super::{
    holds::terms,
    observed::{seen, told},
    resumes::{REPLAY, resumable},
    *,
};
use crate::ws::frame::MAX_HEADER;

fn outliving(hold: HoldTerms) -> Pair {
    resumable(&SILENT, Some(HoldTerms { queue: 1000, ..hold }))
}

#[test]
fn a_close_of_the_backend_that_is_kept_is_the_end_of_its_side() {
    let mut pair = outliving(terms());
    pair.fin(Client);
    pair.sends(Backend, close(Backend, 4001, "over"));
    assert!(!pair.session.is_ending() && pair.session.awaits_backend().is_none());
    assert!(!pair.moves(), "there is nothing to move from");
    pair.comes_back(1, 0);
    assert_eq!((pair.heard(), pair.ended().1), (vec!["close 4001 over".to_owned()], Cause::BackendClose));
}

#[test]
fn a_session_moves_while_its_client_is_away() {
    let mut pair = outliving(terms());
    pair.fin(Client);
    assert!(pair.moves());
    pair.sends(Backend, [message(Backend, "last"), close(Backend, 1001, "")].concat());
    assert_eq!(pair.session.awaits_backend(), Some(HoldCause::Move));
    assert!(pair.resumes());
    pair.sends(Backend, message(Backend, "first"));
    pair.comes_back(1, 0);
    assert_eq!(pair.heard(), [":resync", "message last", "message first"]);
}

#[test]
fn a_client_learns_of_another_backend_though_nothing_else_goes_to_it() {
    let mut pair = outliving(terms());
    pair.fin(Backend);
    assert!(pair.resumes());
    assert_eq!(pair.heard(), [":resync"]);
}

#[test]
fn a_notice_for_which_there_is_no_room_ends_a_session_without_a_client() {
    let notice = "x".repeat(50);
    for (room, ends) in [(notice.len() + 2, false), (notice.len() + 1, true)] {
        let mut pair = outliving(HoldTerms { notify: Some(notice.as_str().into()), ..terms() });
        pair.fin(Client);
        pair.sends(Backend, frame(Backend, 0x82, &vec![7; REPLAY - MAX_HEADER - 4 - room]));
        assert_eq!(pair.session.backend_read_limit(), Some(room));
        pair.fin(Backend);
        assert!(pair.resumes());
        assert_eq!(pair.session.termination().map(|end| end.cause), ends.then_some(Cause::ClientLost));
    }
}

#[test]
fn no_control_text_goes_between_the_fragments_of_an_old_backend() {
    let mut pair = outliving(terms());
    assert!(pair.moves());
    pair.sends(Backend, frame(Backend, 0x01, b"begin"));
    pair.sends(Client, [message(Client, &"x".repeat(REPLAY / 4)), ping(Client, "now")].concat());
    assert_eq!(pair.heard(), ["begin begin", "pong now"]);
    pair.sends(Backend, frame(Backend, 0x80, b"end"));
    assert_eq!(pair.heard()[2..], ["more end", ":1"]);
}

#[test]
fn a_pong_of_ours_for_a_backend_that_is_gone_reaches_no_other() {
    let mut pair = outliving(terms());
    pair.sends(Backend, ping(Backend, "open"));
    pair.fin(Backend);
    assert!(pair.resumes());
    pair.fin(Client);
    pair.comes_back(1, 0);
    assert_eq!(pair.got(Backend), [""; 0]);
}

#[test]
fn what_goes_to_the_client_of_a_held_session_is_seen_once_and_marked_as_ours() {
    let mut pair = outliving(HoldTerms { notify: Some("fetch".into()), ..terms() });
    pair.session.observe(Some(pair.now + seconds(3600)));
    pair.fin(Backend);
    pair.sends(Client, [message(Client, "one"), ping(Client, "now")].concat());
    assert!(pair.resumes());
    pair.wait(seconds(1));
    pair.fin(Client);
    pair.sends(Backend, ping(Backend, "away"));
    let seen = seen(&mut pair);
    let ours: Vec<_> = told(&seen).into_iter().filter(|told| told.ends_with("injected")).collect();
    assert_eq!(
        ours,
        [
            "client fin 0 pong bare 3 injected",
            "client fin 0 text bare 29 injected",
            "client fin 0 text bare 5 injected",
            "client fin 0 text bare 24 injected",
            "backend fin 0 pong masked 4 injected",
        ]
    );
}
