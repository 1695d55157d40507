//! A session whose writes to an end have failed: what that end has sent is still read, and the session outlives it or not.

use super::{
    holds::{LONGEST, terms},
    resumes::{REPLAY, resumable},
    *,
};

/// The next write to the backend fails, and the client's message is that write.
fn fades(pair: &mut Pair) {
    pair.breaks(Backend);
    pair.sends(Client, message(Client, "to nobody"));
}

#[test]
fn a_backend_that_cannot_be_written_is_outlived_as_often_as_the_terms_allow() {
    let mut pair = Pair::on_terms(&SILENT, Some(HoldTerms { times: std::num::NonZeroU32::new(1), ..terms() }));
    fades(&mut pair);
    assert_eq!((pair.session.hold_state(), pair.session.is_ending()), (HoldState::Held, false));
    pair.fin(Backend);
    assert!(pair.resumes());
    fades(&mut pair);
    assert_eq!((pair.session.hold_state(), pair.ended().1), (HoldState::Open, Cause::BackendLost));
}

#[test]
fn inside_a_message_of_the_client_a_backend_that_cannot_be_written_ends_the_session() {
    let mut pair = Pair::on_terms(&SILENT, Some(terms()));
    pair.fin(Backend);
    assert!(pair.resumes());
    pair.sends(Client, frame(Client, 0x01, b"begin"));
    pair.breaks(Backend);
    pair.sends(Client, frame(Client, 0x00, b"more"));
    assert_eq!(pair.ended().1, Cause::BackendLost);
}

#[test]
fn the_record_says_how_a_backend_ended_that_could_not_be_written() {
    type Ends = fn(&mut Pair);
    let ends: [(Ends, Cause, &str); 2] = [
        (|pair| pair.fin(Backend), Cause::BackendLost, "reset"),
        (|pair| pair.sends(Backend, close(Backend, 1012, "")), Cause::BackendClose, "close"),
    ];
    for (ends, cause, how) in ends {
        let mut pair = Pair::on_terms(&SILENT, Some(terms()));
        fades(&mut pair);
        ends(&mut pair);
        assert!(pair.session.awaits_backend().is_some());
        pair.wait(LONGEST);
        let end = pair.session.termination().unwrap();
        assert_eq!((end.cause, end.how.as_str()), (cause, how));
    }
}

#[test]
fn a_backend_that_cannot_be_written_and_does_not_end_its_message_ends_the_session_in_time() {
    let mut pair = Pair::on_terms(&SILENT, Some(terms()));
    pair.sends(Backend, frame(Backend, 0x01, b"begin"));
    fades(&mut pair);
    pair.wait(CLOSE_TIMEOUT - Duration::from_nanos(1));
    assert!(!pair.session.is_ending(), "the rest may come");
    pair.wait(Duration::from_nanos(1));
    assert_eq!(pair.ended().1, Cause::BackendLost);
    assert_eq!(pair.got(Client), ["begin begin", "close 1011 backend lost", "FIN"]);
}

#[test]
fn a_client_that_cannot_be_written_is_not_outlived_inside_a_message_that_is_too_large_to_keep() {
    let large = frame(Client, 0x82, &[7; REPLAY + 1]);
    let mut pair = resumable(&SILENT, None);
    pair.sends(Client, &large[..9]);
    pair.breaks(Client);
    pair.sends(Backend, message(Backend, "to nobody"));
    assert_eq!(pair.ended().1, Cause::ClientLost);
    // It has begun after the write.
    let mut pair = resumable(&SILENT, None);
    pair.breaks(Client);
    pair.sends(Backend, message(Backend, "to nobody"));
    assert!(!pair.session.is_ending() && pair.session.is_without_client());
    pair.sends(Client, &large[..9]);
    pair.wait(CLOSE_TIMEOUT);
    assert_eq!((pair.ended().1, pair.session.awaits_client()), (Cause::ClientLost, false));
}
