//! A session that outlives its backend, and what its client notices of that.

use super::*;

pub(super) const LONGEST: Duration = seconds(10);

pub(super) fn terms() -> HoldTerms {
    let codes = [1001, 1005, 1012, 1013].map(CloseCode).into();
    HoldTerms {
        longest: LONGEST,
        queue: 100,
        on: HoldTriggers { lost: true, codes },
        times: None,
        notify: None,
        drain_code: CloseCode::SERVICE_RESTART,
    }
}

fn holding() -> Pair {
    Pair::on_terms(&SILENT, Some(terms()))
}

/// A session whose backend was just lost.
fn held() -> Pair {
    let mut pair = holding();
    pair.fin(Backend);
    assert_eq!(pair.session.awaits_backend(), Some(HoldCause::Lost));
    pair
}

impl Pair {
    /// What a backend has got that is gone.
    pub(super) fn gone_got(&self, place: usize) -> Vec<String> {
        let gone = &self.gone[place].taken;
        Frame::read_all(Backend, gone).0.iter().map(Frame::to_string).collect()
    }

    pub(super) fn moves(&mut self) -> bool {
        let moves = self.session.begin_move(Cause::Drain, self.now);
        self.pump();
        moves
    }

    fn fails(&mut self, failure: ResumeFailure) {
        self.session.handle_resume_failure(failure, self.now);
        self.pump();
    }
}

#[test]
fn a_client_notices_nothing_of_a_lost_backend_and_no_message_comes_twice_or_out_of_order() {
    let mut pair = holding();
    pair.sends(Client, message(Client, "one"));
    pair.sends(Backend, message(Backend, "first"));
    pair.fin(Backend);
    pair.sends(Client, [message(Client, "two"), message(Client, "three")].concat());
    pair.wait(seconds(3));
    assert!(pair.resumes() && !pair.resumes());
    pair.sends(Client, message(Client, "four"));
    pair.sends(Backend, message(Backend, "second"));
    assert_eq!(pair.gone_got(0), ["message one"]);
    assert_eq!(pair.got(Backend), ["message two", "message three", "message four"]);
    assert_eq!(pair.got(Client), ["message first", "message second"]);
    assert_eq!((pair.session.counts(Client).messages, pair.session.counts(Backend).messages), (4, 2));
    let tally = pair.session.hold_tally();
    assert_eq!((tally.resumes, tally.gap), (1, seconds(3)));
    pair.sends(Client, close(Client, 4000, "bye"));
    pair.sends(Backend, close(Backend, 4000, "bye"));
    pair.fin(Client);
    pair.fin(Backend);
    assert!(pair.over && pair.session.termination().unwrap().clean);
}

#[test]
fn only_the_ends_that_the_terms_name_are_outlived() {
    let lost: [fn(&mut Pair); 3] = [
        |pair| pair.fin(Backend),
        |pair| pair.resets(Backend),
        |pair| {
            pair.breaks(Backend);
            pair.sends(Client, message(Client, "to nobody"));
            pair.fin(Backend);
        },
    ];
    for happens in lost {
        let mut pair = holding();
        happens(&mut pair);
        assert_eq!(pair.session.awaits_backend(), Some(HoldCause::Lost));
        let on = HoldTriggers { lost: false, ..terms().on };
        let mut pair = Pair::on_terms(&SILENT, Some(HoldTerms { on, ..terms() }));
        happens(&mut pair);
        assert_eq!(pair.ended().1, Cause::BackendLost);
    }
    for (frame, code) in [
        (close(Backend, 1001, ""), Some(1001)),
        (close(Backend, 1012, "restart"), Some(1012)),
        (close(Backend, 1013, ""), Some(1013)),
        (frame(Backend, 0x88, b""), None),
    ] {
        let mut pair = holding();
        pair.sends(Backend, frame);
        assert_eq!(pair.session.awaits_backend(), Some(HoldCause::Close(code.map(CloseCode))));
        assert_eq!(pair.got(Client), [""; 0]);
    }
    for code in [1000, 1002, 1008, 1011, 3000, 4999] {
        let mut pair = holding();
        pair.sends(Backend, close(Backend, code, "no"));
        assert_eq!(pair.got(Client), [format!("close {code} no")]);
        assert_eq!(pair.ended().1, Cause::BackendClose);
    }
}

#[test]
fn a_dead_backend_is_outlived_and_a_dead_client_is_not() {
    for (dead, alive) in [(Backend, Client), (Client, Backend)] {
        let mut pair = Pair::on_terms(&PINGING, Some(HoldTerms { longest: seconds(600), ..terms() }));
        for _ in 0..12 {
            pair.wait(seconds(5));
            pair.answers_pings(alive);
        }
        assert_eq!(pair.session.awaits_backend(), (dead == Backend).then_some(HoldCause::Lost));
        assert_eq!(pair.session.termination().map(|end| end.cause), (dead == Client).then_some(Cause::ClientDead));
        if dead == Backend {
            // The client is still pinged and judged.
            let pings = |pair: &Pair| pair.session.round_trips(Client).pings;
            let before = pings(&pair);
            pair.wait(seconds(60));
            assert!(pings(&pair) > before);
            assert_eq!(pair.ended().1, Cause::ClientDead);
        }
    }
}

#[test]
fn no_hold_begins_inside_a_message_of_either_side() {
    let halves = |from| [message(from, "in two")[..7].to_vec(), frame(from, 0x01, b"first fragment")];
    for (from, half) in [Client, Backend].into_iter().flat_map(|from| halves(from).map(|half| (from, half))) {
        let lost: [fn(&mut Pair); 3] = [
            |pair| pair.fin(Backend),
            |pair| pair.resets(Backend),
            |pair| pair.sends(Backend, close(Backend, 1012, "")),
        ];
        for happens in lost {
            let mut pair = holding();
            pair.sends(from, &half);
            happens(&mut pair);
            assert_eq!(pair.session.awaits_backend(), None, "{from:?}");
            // Inside a frame of the backend, its Close is payload.
            let is_payload = from == Backend && half[0] & 0x80 != 0 && !pair.backend.fin_sent;
            assert_eq!(pair.session.termination().is_some(), !is_payload, "{from:?}");
        }
    }
}

#[test]
fn the_start_of_a_header_that_never_became_whole_is_forgotten() {
    let mut pair = holding();
    pair.sends(Backend, &message(Backend, "never")[..1]);
    pair.fin(Backend);
    pair.sends(Client, &message(Client, "half a header")[..3]);
    assert!(pair.resumes());
    pair.sends(Backend, message(Backend, "whole"));
    pair.sends(Client, &message(Client, "half a header")[3..]);
    assert_eq!(
        (pair.got(Client), pair.got(Backend)),
        (vec!["message whole".into()], vec!["message half a header".into()])
    );
}

#[test]
fn the_queue_is_bounded_and_a_message_may_be_in_it_by_half() {
    let mut pair = held();
    let sent: Vec<_> = (0..30).flat_map(|number| message(Client, &format!("number {number}"))).collect();
    pair.sends(Client, &sent);
    let most = 100 + MAX_CONTROL_FRAME;
    assert!((100..=most).contains(&pair.queue.len()), "{} bytes", pair.queue.len());
    assert_eq!(pair.session.queue_room(), Some(0));
    assert_eq!(pair.session.client_read_limit(), Some(0));
    assert!(pair.resumes());
    let got = pair.got(Backend);
    assert_eq!(got, (0..30).map(|number| format!("message number {number}")).collect::<Vec<_>>());
}

#[test]
fn a_client_that_waits_for_room_in_the_queue_is_not_dead() {
    let mut pair = Pair::on_terms(&PINGING, Some(HoldTerms { longest: seconds(300), queue: 10, ..terms() }));
    pair.fin(Backend);
    pair.sends(Client, message(Client, "longer than the queue is"));
    pair.wait(seconds(200));
    assert!(pair.session.termination().is_none(), "{:?}", pair.session.termination());
    assert!(pair.resumes());
    assert_eq!(pair.got(Backend), ["message longer than the queue is"]);
}

#[test]
fn pings_of_the_client_are_answered_here_and_pongs_go_nowhere() {
    let mut pair = holding();
    pair.sends(Client, [ping(Client, "answered"), ping(Client, "owed")].concat());
    pair.sends(Backend, pong(Backend, "answered"));
    pair.fin(Backend);
    assert_eq!(pair.got(Client), ["pong answered", "pong owed"]);
    pair.sends(Client, ping(Client, "in the hold"));
    pair.sends(Client, pong(Client, "for nobody"));
    assert_eq!(pair.got(Client)[2..], ["pong in the hold"]);
    assert!(pair.resumes());
    assert_eq!(pair.got(Backend), [""; 0]);
    pair.sends(Client, ping(Client, "to the new one"));
    assert_eq!((pair.got(Backend), pair.got(Client).len()), (vec!["ping to the new one".into()], 3));
    pair.sends(Backend, pong(Backend, "to the new one"));
    pair.fin(Backend);
    assert_eq!(pair.got(Client).len(), 4, "nothing is owed");
}

#[test]
fn a_late_pong_for_an_old_backend_reaches_no_new_one() {
    let mut pair = holding();
    pair.sends(Backend, [ping(Backend, "a"), ping(Backend, "b"), ping(Backend, "c")].concat());
    pair.sends(Client, pong(Client, "a"));
    pair.fin(Backend);
    assert!(pair.resumes());
    pair.sends(Client, pong(Client, "b"));
    pair.sends(Backend, ping(Backend, "d"));
    pair.sends(Client, [pong(Client, "c"), pong(Client, "d"), pong(Client, "by itself")].concat());
    assert_eq!(pair.got(Backend), ["pong d", "pong by itself"]);

    // Only the first one is late: a client may send such Pongs by itself.
    let mut pair = holding();
    pair.sends(Backend, ping(Backend, ""));
    pair.fin(Backend);
    assert!(pair.resumes());
    pair.sends(Client, [pong(Client, ""), pong(Client, ""), pong(Client, "")].concat());
    assert_eq!(pair.got(Backend), ["pong ", "pong "]);
}

#[test]
fn a_close_of_the_client_in_a_hold_is_answered_at_once_with_its_own_code() {
    for (sent, got) in [
        (close(Client, 4321, "bye"), "close 4321 "),
        (close(Client, 1000, ""), "close 1000 "),
        (frame(Client, 0x88, b""), "close"),
        (close(Client, 1006, ""), "close"),
        (frame(Client, 0x88, b"\x03"), "close"),
    ] {
        let mut pair = held();
        pair.sends(Client, [message(Client, "last words"), sent].concat());
        assert_eq!(pair.got(Client)[..1], [got]);
        pair.fin(Client);
        assert!(pair.over && !pair.resumes());
        assert_eq!((pair.ended().0, pair.ended().1), (Initiator::Client, Cause::ClientClose));
    }
}

#[test]
fn whatever_else_ends_a_session_in_a_hold_tells_its_client_why() {
    type Happens = fn(&mut Pair);
    let ends: [(Happens, &str, Cause); 6] = [
        (Pair::drain, "close 1012 drain", Cause::Drain),
        (|pair| pair.kill(4000, "go"), "close 4000 go", Cause::Killed),
        (|pair| pair.sends(Client, b"\x81\x00"), "close 1002 unmasked frame from a client", Cause::ClientBreach),
        (|pair| pair.fin(Client), "close 1001 client lost", Cause::ClientLost),
        (|pair| pair.session.handle_shortage(pair.now), "close 1013 memory", Cause::Memory),
        (|pair| pair.wait(LONGEST), "close 1011 backend lost", Cause::BackendLost),
    ];
    for (happens, close, cause) in ends {
        let mut pair = held();
        happens(&mut pair);
        pair.pump();
        assert_eq!((pair.got(Client)[0].as_str(), pair.ended().1), (close, cause));
        pair.fin(Client);
        pair.wait(CLOSE_TIMEOUT);
        assert!(pair.over && !pair.resumes(), "{cause:?}");
    }
}

#[test]
fn what_is_told_when_no_backend_takes_the_session_says_why() {
    use ResumeFailure::{Failed, NoTurn, Refused, Unlike};
    let lost: fn(&mut Pair) = |pair| pair.fin(Backend);
    let closed: fn(&mut Pair) = |pair| pair.sends(Backend, close(Backend, 1013, "later"));
    let moved: fn(&mut Pair) = |pair| {
        assert!(pair.moves());
        pair.fin(Backend);
    };
    for (goes, failure, told, cause) in [
        (lost, Failed, "close 1011 backend lost", Cause::BackendLost),
        (lost, NoTurn, "close 1012 backend lost", Cause::BackendLost),
        (lost, Unlike, "close 1011 resume refused", Cause::BackendLost),
        (lost, Refused, "close 1011 resume refused", Cause::BackendLost),
        (closed, Failed, "close 1012 backend closed", Cause::BackendClose),
        (closed, NoTurn, "close 1012 backend closed", Cause::BackendClose),
        (closed, Refused, "close 1011 resume refused", Cause::BackendClose),
        (moved, Failed, "close 1012 drain", Cause::Drain),
        (moved, Unlike, "close 1011 resume refused", Cause::Drain),
    ] {
        let mut pair = holding();
        goes(&mut pair);
        pair.wait(seconds(1));
        pair.fails(failure);
        if failure != Refused {
            pair.wait(LONGEST - seconds(1) - Duration::from_nanos(1));
            assert!(pair.session.termination().is_none(), "{told}: too early");
            pair.wait(Duration::from_nanos(1));
        }
        assert_eq!((&*pair.got(Client)[0], pair.ended().1), (told, cause));
        assert!(pair.session.hold_tally().gap >= seconds(1));
    }
}

#[test]
fn a_hold_that_ends_with_many_others_may_last_longer() {
    let mut pair = held();
    pair.session.prolong_hold(seconds(5));
    pair.wait(LONGEST);
    assert!(pair.session.termination().is_none());
    pair.wait(seconds(5));
    assert_eq!(pair.ended().1, Cause::BackendLost);
}

#[test]
fn a_backend_that_takes_a_session_and_goes_at_once_gives_no_further_time() {
    let mut pair = held();
    for _ in 0..9 {
        pair.wait(seconds(1));
        assert!(pair.resumes());
        pair.wait(Duration::from_millis(500) - Duration::from_nanos(1));
        pair.fin(Backend);
        assert!(pair.session.is_held_again() && pair.session.termination().is_none());
    }
    pair.wait(seconds(1));
    assert_eq!(pair.ended().1, Cause::BackendLost);

    let mut pair = held();
    pair.wait(seconds(9));
    assert!(pair.resumes());
    pair.wait(Duration::from_millis(500));
    pair.fin(Backend);
    assert!(!pair.session.is_held_again(), "the backend had stayed");
    pair.wait(seconds(9));
    assert!(pair.resumes());
}

#[test]
fn sessions_move_as_often_as_they_are_told_to_and_have_all_the_time_again() {
    let mut pair = holding();
    for _ in 0..30 {
        assert!(pair.moves());
        pair.sends(Backend, close(Backend, 1001, ""));
        assert!(!pair.session.is_held_again());
        pair.wait(LONGEST - seconds(1));
        assert!(pair.resumes());
        pair.wait(seconds(1));
    }
    assert_eq!(pair.session.hold_tally().resumes, 30);
}

#[test]
fn an_order_about_the_backend_that_was_heard_before_its_loss_ends_no_held_session() {
    let mut pair = holding();
    let ends = Notice { departure: Departure::EndAtBackend, ..notice(pair.now + seconds(1)) };
    pair.is_told(Some(ends));
    pair.fin(Backend);
    pair.wait(seconds(5));
    assert!(pair.session.termination().is_none() && pair.resumes());
    let ends = Notice { departure: Departure::EndAtBackend, ..notice(pair.now) };
    pair.is_told(Some(ends));
    assert_eq!(&*pair.got(Client)[0], "close 1012 drain");
}

#[test]
fn a_client_that_is_lost_in_a_move_ends_the_session_with_the_end_of_its_old_backend() {
    let mut pair = holding();
    assert!(pair.moves());
    pair.fin(Client);
    pair.sends(Backend, close(Backend, 1001, ""));
    pair.fin(Backend);
    assert!(pair.over && pair.ended().1 == Cause::ClientLost);
}

#[test]
fn a_backend_that_fails_twice_is_lost_once() {
    let mut pair = holding();
    pair.breaks(Backend);
    pair.sends(Client, message(Client, "lost"));
    pair.resets(Backend);
    assert_eq!(pair.session.awaits_backend(), Some(HoldCause::Lost));
}

#[test]
fn a_backend_was_silent_until_it_went_whatever_the_hold_took() {
    let mut pair = holding();
    pair.sends(Backend, message(Backend, "last"));
    pair.wait(seconds(2));
    pair.fin(Backend);
    pair.wait(LONGEST);
    let silence = pair.session.silence(pair.now);
    assert_eq!((silence.from_backend, silence.from_client), (2000, 12_000));
}

#[test]
fn a_notice_that_would_move_a_session_ends_it_where_no_other_backend_takes_it() {
    let mut pair = holding();
    let leaves = Notice { departure: Departure::Move, ..notice(pair.now + seconds(1)) };
    pair.is_told(Some(leaves));
    assert!(!pair.session.is_about_to_move(pair.now));
    pair.now += seconds(1);
    assert!(pair.session.is_about_to_move(pair.now));
    pair.session.forbid_move();
    pair.wait(seconds(0));
    assert_eq!((&*pair.got(Client)[0], &*pair.got(Backend)[0]), ("close 1012 drain", "close 1012 drain"));
    // A session that is held already moves nowhere.
    let mut pair = held();
    let leaves = Notice { departure: Departure::Move, ..notice(pair.now) };
    pair.session.handle_notice(Some(leaves), pair.now);
    assert!(!pair.session.is_about_to_move(pair.now) && pair.session.termination().is_none());
}

#[test]
fn a_client_is_told_of_a_new_backend_before_the_first_frame_of_that() {
    let terms = HoldTerms { notify: Some(r#"{"type":"resync"}"#.into()), ..terms() };
    let mut pair = Pair::on_terms(&SILENT, Some(terms));
    for _ in 0..2 {
        pair.sends(Backend, message(Backend, "hello"));
        pair.fin(Backend);
        pair.sends(Client, ping(Client, "meanwhile"));
        assert!(pair.resumes());
    }
    pair.sends(Backend, message(Backend, "hello"));
    let once = ["message hello", "pong meanwhile", "message {\"type\":\"resync\"}"];
    assert_eq!(pair.got(Client), [&once[..], &once[..], &["message hello"]].concat());
    assert_eq!(pair.session.counts(Backend).messages, 3, "ours do not count");
}

#[test]
fn a_session_outlives_as_many_backends_as_the_terms_allow() {
    let terms = HoldTerms { times: std::num::NonZeroU32::new(2), ..terms() };
    let mut pair = Pair::on_terms(&SILENT, Some(terms));
    for _ in 0..2 {
        pair.fin(Backend);
        assert!(pair.resumes());
    }
    assert!(!pair.moves());
    pair.fin(Backend);
    assert_eq!(pair.got(Client)[..1], ["close 1011 backend lost"]);
}

#[test]
fn what_a_backend_sent_before_writing_to_it_failed_still_reaches_the_client() {
    let mut pair = holding();
    pair.takes(Client, 0);
    pair.sends(Backend, message(Backend, "one"));
    pair.sends(Backend, message(Backend, "two"));
    pair.breaks(Backend);
    pair.sends(Client, message(Client, "lost"));
    pair.sends(Client, message(Client, "not read yet"));
    assert_eq!((pair.session.awaits_backend(), pair.session.client_read_limit()), (None, Some(0)));
    pair.takes_all(Client);
    pair.fin(Backend);
    assert_eq!(pair.got(Client), ["message one", "message two"]);
    assert!(pair.resumes());
    assert_eq!(pair.got(Backend), ["message not read yet"]);
}

#[test]
fn a_backend_that_takes_nothing_and_never_ends_is_given_up() {
    let mut pair = holding();
    pair.breaks(Backend);
    pair.sends(Client, message(Client, "lost"));
    assert_eq!(pair.session.awaits_backend(), None);
    pair.wait(CLOSE_TIMEOUT);
    assert_eq!(pair.session.awaits_backend(), Some(HoldCause::Lost));
}

#[test]
fn a_session_moves_between_two_messages_of_its_client_and_what_the_old_backend_says_goes_first() {
    let mut pair = holding();
    let parts = [frame(Client, 0x01, b"begun"), frame(Client, 0x80, b"ended"), message(Client, "for the new one")];
    pair.sends(Client, &parts[0]);
    assert!(pair.moves() && !pair.moves());
    pair.sends(Backend, message(Backend, "meanwhile"));
    pair.sends(Client, parts[1..].concat());
    assert_eq!(pair.got(Backend), ["begin begun", "more ended", "close 1001 moved"]);
    assert_eq!(pair.session.awaits_backend(), None);
    pair.sends(Backend, [message(Backend, "rest"), pong(Backend, "rest"), close(Backend, 1001, "moved")].concat());
    assert_eq!(pair.session.awaits_backend(), Some(HoldCause::Move));
    assert!(pair.resumes());
    pair.sends(Backend, message(Backend, "new"));
    assert_eq!(pair.got(Backend), ["message for the new one"]);
    assert_eq!(pair.got(Client), ["message meanwhile", "message rest", "pong rest", "message new"]);
}

#[test]
fn a_notice_about_the_backend_moves_a_session_that_may_have_another_one_and_ends_others() {
    let mut pair = holding();
    let leaves = |pair: &Pair| Notice { departure: Departure::Move, ..notice(pair.now + seconds(1)) };
    let first = leaves(&pair);
    pair.is_told(Some(first));
    pair.wait(seconds(1));
    assert_eq!(pair.got(Backend), ["close 1001 moved"]);
    pair.sends(Backend, close(Backend, 1001, ""));
    // A notice about the backend that is gone already says nothing new.
    let again = leaves(&pair);
    pair.is_told(Some(again));
    pair.wait(seconds(1));
    assert!(pair.resumes() && pair.session.termination().is_none());
    for terms in [None, Some(HoldTerms { times: std::num::NonZeroU32::new(1), ..terms() })] {
        let mut pair = Pair::on_terms(&SILENT, terms.clone());
        if terms.is_some() {
            pair.fin(Backend);
            assert!(pair.resumes());
        }
        let notice = leaves(&pair);
        pair.is_told(Some(notice));
        pair.wait(seconds(1));
        assert_eq!((&*pair.got(Client)[0], pair.ended().1), ("close 1012 drain", Cause::Drain));
    }
}

#[test]
fn a_move_that_is_taken_back_before_the_message_of_the_client_has_ended_is_none() {
    let mut pair = holding();
    pair.sends(Client, frame(Client, 0x01, b"begun"));
    let leaves = Notice { departure: Departure::Move, ..notice(pair.now) };
    pair.is_told(Some(leaves));
    pair.is_told(None);
    pair.sends(Client, frame(Client, 0x80, b"ended"));
    pair.wait(LONGEST * 2);
    assert_eq!(pair.got(Backend), ["begin begun", "more ended"]);
    assert!(pair.session.termination().is_none());
}

#[test]
fn an_old_backend_that_does_not_answer_is_left_unless_it_stopped_inside_a_message() {
    for whole in [true, false] {
        let mut pair = holding();
        assert!(pair.moves());
        let sent = message(Backend, "to its end");
        pair.sends(Backend, if whole { &sent } else { &sent[..5] });
        pair.sends(Client, message(Client, "waits"));
        pair.wait(CLOSE_TIMEOUT);
        assert_eq!(pair.session.awaits_backend(), whole.then_some(HoldCause::Move));
        assert_eq!(pair.session.termination().map(|end| end.cause), (!whole).then_some(Cause::Drain));
    }
    // Its Close may come inside a message too.
    let mut pair = holding();
    assert!(pair.moves());
    pair.sends(Backend, [frame(Backend, 0x01, b"begun"), close(Backend, 1001, "")].concat());
    assert_eq!(pair.ended().1, Cause::Drain);
}

#[test]
fn a_message_of_the_client_that_does_not_end_ends_a_move_as_a_drain() {
    let mut pair = holding();
    pair.sends(Client, frame(Client, 0x01, b"endless"));
    assert!(pair.moves());
    pair.wait(LONGEST);
    assert_eq!(pair.ended().1, Cause::Drain);
    pair.wait(CLOSE_TIMEOUT);
    assert_eq!(pair.got(Client)[..1], ["close 1012 drain"]);
}

#[test]
fn a_close_of_the_client_in_a_move_is_answered_or_passes() {
    let mut pair = holding();
    assert!(pair.moves());
    pair.sends(Client, close(Client, 4001, "bye"));
    assert_eq!((&*pair.got(Client)[0], &*pair.got(Backend)[0]), ("close 4001 ", "close 1001 moved"));
    pair.sends(Backend, close(Backend, 1001, "moved"));
    pair.fin(Client);
    pair.fin(Backend);
    assert!(pair.over && pair.session.termination().unwrap().clean);

    // The Close comes with the end of the message after which the client would have been stopped.
    let mut pair = holding();
    pair.sends(Client, frame(Client, 0x01, b"begun"));
    assert!(pair.moves());
    pair.sends(Client, [frame(Client, 0x80, b"ended"), close(Client, 4001, "bye")].concat());
    assert_eq!(pair.got(Backend)[..3], ["begin begun", "more ended", "close 1001 moved"]);
    assert_eq!(pair.got(Client)[..1], ["close 4001 "]);
}

#[test]
fn a_session_that_may_be_held_takes_no_more_memory_than_another() {
    let mut pair = Pair::on_terms(&PINGING, Some(terms()));
    assert!(pair.session.is_calm());
    pair.sends(Client, ping(Client, "a"));
    pair.sends(Backend, pong(Backend, "a"));
    assert!(pair.session.is_calm() && pair.session.fate.is_none());
    assert_eq!(size_of::<Session>(), 24 + 2 * size_of::<super::super::half::Half>());
}
