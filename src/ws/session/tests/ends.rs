//! How sessions end: the rows of the table in the module's documentation, and the order of Closes and FINs.

use super::*;

const LONG: &str = "a message that is longer than what has been sent of it";

#[test]
fn a_close_passes_both_ways_unchanged_and_both_sides_get_a_fin_at_once() {
    for (side, initiator, cause) in
        [(Client, Initiator::Client, Cause::ClientClose), (Backend, Initiator::Backend, Cause::BackendClose)]
    {
        let mut pair = Pair::new(&SILENT);
        let (first, answer) = (close(side, 4321, "enough"), close(side.other(), 4321, "as you say"));
        pair.sends(side, &first);
        assert_eq!(pair.taken(side.other()), (&first[..], false));
        pair.sends(side.other(), &answer);
        assert_eq!((pair.taken(side.other()), pair.taken(side)), ((&first[..], true), (&answer[..], true)));
        pair.fin(side);
        assert!(!pair.over);
        pair.fin(side.other());
        assert!(pair.over);
        assert_eq!(pair.ended(), (initiator, cause, Some(4321), "enough".into(), true));
    }
}

#[test]
fn a_close_without_a_code_passes_and_is_recorded_without_one() {
    let mut pair = Pair::new(&SILENT);
    pair.sends(Client, frame(Client, 0x88, b""));
    assert_eq!(pair.got(Backend), ["close"]);
    assert_eq!(pair.ended(), (Initiator::Client, Cause::ClientClose, None, String::new(), false));
}

#[test]
fn messages_still_pass_to_a_side_that_has_closed_until_it_is_answered() {
    let mut pair = Pair::new(&SILENT);
    pair.sends(Client, close(Client, 1000, ""));
    pair.sends(Backend, [message(Backend, "the rest"), close(Backend, 1000, "")].concat());
    assert_eq!(pair.got(Client), ["message the rest", "close 1000 ", "FIN"]);
}

#[test]
fn a_close_and_a_fin_in_one_segment_are_a_close_and_a_fin() {
    let mut pair = Pair::new(&SILENT);
    pair.end(Client).fin_sent = true;
    pair.sends(Client, [message(Client, "last"), close(Client, 1000, "bye")].concat());
    assert_eq!(pair.got(Backend), ["message last", "close 1000 bye", "FIN"]);
    pair.sends(Backend, close(Backend, 1000, "bye"));
    assert_eq!(pair.got(Client), ["close 1000 bye", "FIN"]);
    pair.fin(Backend);
    assert!(pair.over);
    assert_eq!(pair.ended(), (Initiator::Client, Cause::ClientClose, Some(1000), "bye".into(), true));
}

#[test]
fn both_sides_closing_at_once_each_get_the_others_close() {
    let mut pair = Pair::new(&SILENT);
    pair.takes(Client, 0);
    pair.takes(Backend, 0);
    pair.sends(Client, close(Client, 1000, "mine"));
    pair.sends(Backend, close(Backend, 1001, "yours"));
    pair.takes_all(Client);
    pair.takes_all(Backend);
    assert_eq!(pair.got(Backend), ["close 1000 mine", "FIN"]);
    assert_eq!(pair.got(Client), ["close 1001 yours", "FIN"]);
    assert_eq!(pair.ended(), (Initiator::Client, Cause::ClientClose, Some(1000), "mine".into(), true));
}

/// Whether each side was closed with the last bytes for it, the client first.
fn closed(pair: &mut Pair) -> [bool; 2] {
    [Client, Backend].map(|side| pair.end(side).closed)
}

#[test]
fn once_both_closes_have_passed_both_sides_are_closed_and_no_fin_is_waited_for() {
    for side in [Client, Backend] {
        let mut pair = Pair { closes: true, ..Pair::new(&PINGING) };
        pair.sends(side, close(side, 4321, "enough"));
        assert_eq!(closed(&mut pair), [false, false]);
        pair.sends(side.other(), [message(side.other(), "last"), close(side.other(), 4321, "as you say")].concat());
        assert_eq!((closed(&mut pair), pair.over), ([true, true], true));
        assert_eq!(pair.got(side.other()), ["close 4321 enough", "FIN"]);
        assert_eq!(pair.got(side), ["message last", "close 4321 as you say", "FIN"]);
        let (initiator, _, _, reason, clean) = pair.ended();
        assert_eq!((initiator, reason, clean), (side.into(), "enough".into(), true));
    }
}

#[test]
fn a_side_that_sends_bytes_behind_its_close_is_read_up_to_its_fin() {
    let last = [close(Client, 1000, "bye"), message(Client, "one more thing")];
    for pieces in [vec![last.concat()], last.to_vec()] {
        let mut pair = Pair { closes: true, ..Pair::new(&SILENT) };
        pieces.iter().for_each(|piece| pair.sends(Client, piece));
        pair.sends(Backend, close(Backend, 1000, "bye"));
        assert_eq!((pair.got(Client), closed(&mut pair)), (vec!["close 1000 bye".into(), "FIN".into()], [false, true]));
        pair.sends(Client, message(Client, "and another"));
        assert!(!pair.over);
        pair.fin(Client);
        assert!(pair.over);
        assert_eq!(pair.ended(), (Initiator::Client, Cause::ClientClose, Some(1000), "bye".into(), true));
    }
}

#[test]
fn a_side_that_may_still_answer_a_ping_is_read_up_to_its_fin() {
    for (settings, answers) in [(&PINGING, true), (&PINGING, false), (&SILENT, true), (&SILENT, false)] {
        let mut pair = Pair { closes: true, ..Pair::new(settings) };
        pair.sends(Backend, ping(Backend, "there?"));
        if answers {
            pair.sends(Client, pong(Client, "there?"));
        }
        pair.sends(Client, close(Client, 1000, "bye"));
        pair.sends(Backend, close(Backend, 1000, "bye"));
        assert_eq!((closed(&mut pair), pair.over), ([answers, true], answers));
        pair.fin(Client);
        assert!(pair.over);
    }
}

#[test]
fn a_side_that_has_answered_one_ping_of_two_is_read_up_to_its_fin() {
    for settings in [&PINGING, &SILENT] {
        let mut pair = Pair { closes: true, ..Pair::new(settings) };
        pair.sends(Backend, [ping(Backend, "there?"), ping(Backend, "still?")].concat());
        pair.sends(Client, [pong(Client, "there?"), close(Client, 1000, "bye")].concat());
        pair.sends(Backend, close(Backend, 1000, "bye"));
        assert_eq!((closed(&mut pair), pair.over), ([false, true], false));
        pair.sends(Client, pong(Client, "still?"));
        pair.fin(Client);
        assert!(pair.over);
        assert_eq!(pair.ended(), (Initiator::Client, Cause::ClientClose, Some(1000), "bye".into(), true));
    }
}

#[test]
fn a_side_that_takes_its_last_bytes_slowly_is_closed_when_it_has_taken_them() {
    let mut pair = Pair { closes: true, ..Pair::new(&SILENT) };
    pair.sends(Client, close(Client, 1000, "bye"));
    pair.takes(Client, 3);
    pair.sends(Backend, close(Backend, 1000, "bye"));
    assert_eq!((closed(&mut pair), pair.over), ([false, true], false));
    pair.takes_all(Client);
    assert_eq!((closed(&mut pair), pair.over), ([true, true], true));
    assert_eq!(pair.got(Client), ["close 1000 bye", "FIN"]);
}

#[test]
fn a_side_that_has_answered_our_close_is_closed_and_the_other_is_waited_for() {
    let mut pair = Pair { closes: true, ..Pair::new(&SILENT) };
    pair.drain();
    pair.sends(Client, close(Client, 1012, "drain"));
    assert_eq!((closed(&mut pair), pair.over), ([true, false], false));
    pair.sends(Backend, close(Backend, 1012, "drain"));
    assert_eq!((closed(&mut pair), pair.over), ([true, true], true));
    assert_eq!(pair.ended(), (Initiator::Proxy, Cause::Drain, Some(1012), "drain".into(), true));
}

#[test]
fn a_client_that_has_closed_is_closed_when_its_backend_is_lost() {
    let mut pair = Pair { closes: true, ..Pair::new(&SILENT) };
    pair.sends(Client, close(Client, 1000, "bye"));
    pair.fin(Backend);
    assert_eq!((closed(&mut pair), pair.over), ([true, true], true));
    assert_eq!(pair.got(Client), ["close 1011 backend lost", "FIN"]);
    assert_eq!(pair.ended(), (Initiator::Client, Cause::ClientClose, Some(1000), "bye".into(), false));
}

#[test]
fn a_side_that_breaks_the_protocol_or_says_no_close_is_never_closed_before_its_fin() {
    let mut pair = Pair { closes: true, ..Pair::new(&SILENT) };
    pair.sends(Client, [0x83, 0x80]);
    pair.sends(Backend, close(Backend, 1001, ""));
    assert_eq!((closed(&mut pair), pair.over), ([false, true], false));
    pair.fin(Client);
    assert!(pair.over);
}

#[test]
fn a_close_that_is_never_answered_ends_the_session_after_the_close_timeout() {
    let mut pair = Pair::new(&SILENT);
    pair.sends(Client, close(Client, 1000, "bye"));
    pair.wait(CLOSE_TIMEOUT - seconds(1));
    assert!(!pair.over);
    pair.wait(seconds(1));
    assert!(pair.over);
    assert!(!pair.ended().4);
}

#[test]
fn frames_without_an_end_do_not_keep_a_closed_session_alive() {
    let mut pair = Pair::new(&SILENT);
    pair.sends(Client, close(Client, 1000, "bye"));
    for _ in 0..10 {
        pair.takes(Client, 1);
        pair.sends(Backend, message(Backend, "more"));
        pair.takes(Client, 3);
        pair.wait(seconds(1));
    }
    assert!(pair.over);
}

#[test]
fn a_backend_that_is_lost_is_told_to_the_client() {
    let mut pair = Pair::new(&SILENT);
    pair.sends(Backend, message(Backend, "last words"));
    pair.fin(Backend);
    assert_eq!(pair.got(Client), ["message last words", "close 1011 backend lost", "FIN"]);
    assert_eq!(pair.got(Backend), ["close 1001 backend lost", "FIN"]);
    pair.sends(Client, close(Client, 1011, ""));
    pair.fin(Client);
    assert!(pair.over);
    assert_eq!(pair.ended(), (Initiator::Backend, Cause::BackendLost, Some(1011), "backend lost".into(), false));
}

#[test]
fn a_client_that_is_lost_is_told_to_the_backend() {
    let mut pair = Pair::new(&SILENT);
    pair.sends(Client, message(Client, "last words"));
    pair.fin(Client);
    assert_eq!(pair.got(Backend), ["message last words", "close 1001 client lost", "FIN"]);
    assert_eq!(pair.got(Client), ["close 1001 client lost", "FIN"]);
    pair.fin(Backend);
    assert!(pair.over);
    assert_eq!(pair.ended(), (Initiator::Client, Cause::ClientLost, Some(1001), "client lost".into(), false));
}

#[test]
fn a_fin_inside_a_frame_is_followed_by_a_fin_and_no_close() {
    let mut pair = Pair::new(&SILENT);
    pair.sends(Backend, &message(Backend, LONG)[..20]);
    pair.fin(Backend);
    assert_eq!(pair.got(Client), ["cut", "FIN"]);
    pair.fin(Client);
    assert!(pair.over);
    assert_eq!(pair.ended().1, Cause::BackendLost);
}

#[test]
fn a_fin_behind_a_part_of_a_header_is_followed_by_a_close() {
    for held in [&[0x82, 0xFE, 1][..], &ping(Client, "half a ping")[..9]] {
        let mut pair = Pair::new(&SILENT);
        pair.sends(Client, held);
        pair.fin(Client);
        assert_eq!(pair.got(Backend), ["close 1001 client lost", "FIN"]);
    }
}

#[test]
fn a_lost_side_gets_no_close_inside_a_frame_and_is_not_waited_for() {
    let mut pair = Pair::new(&SILENT);
    pair.sends(Backend, &message(Backend, LONG)[..20]);
    pair.fin(Client);
    assert_eq!(pair.got(Client), ["cut", "FIN"]);
    assert_eq!(pair.got(Backend), ["close 1001 client lost", "FIN"]);
    pair.fin(Backend);
    assert!(pair.over);
}

#[test]
fn a_lost_side_that_takes_nothing_is_not_waited_for() {
    let mut pair = Pair::new(&SILENT);
    pair.takes(Client, 0);
    pair.sends(Backend, message(Backend, "waits"));
    pair.fin(Client);
    assert_eq!(pair.got(Backend), ["close 1001 client lost", "FIN"]);
    pair.fin(Backend);
    assert!(pair.over);
}

#[test]
fn what_came_before_a_fin_is_delivered_to_a_slow_side_as_long_as_it_takes_some() {
    let mut pair = Pair::new(&SILENT);
    pair.takes(Client, 0);
    pair.sends(Backend, message(Backend, "slowly"));
    pair.fin(Backend);
    for _ in 0..31 {
        pair.wait(CLOSE_TIMEOUT - seconds(1));
        pair.takes(Client, 1);
    }
    assert_eq!(pair.got(Client), ["message slowly", "close 1011 backend lost", "FIN"]);
    pair.wait(CLOSE_TIMEOUT);
    assert!(pair.over);
}

#[test]
fn a_side_that_fins_after_the_others_close_without_answering_is_lost_and_its_fin_stands() {
    let mut pair = Pair::new(&SILENT);
    pair.sends(Client, close(Client, 1000, "bye"));
    pair.fin(Backend);
    assert_eq!(pair.got(Client), ["close 1011 backend lost", "FIN"]);
    assert_eq!(pair.got(Backend), ["close 1000 bye", "FIN"]);
    pair.fin(Client);
    assert!(pair.over);
    assert_eq!(pair.ended(), (Initiator::Client, Cause::ClientClose, Some(1000), "bye".into(), false));
}

#[test]
fn the_close_of_a_side_that_cannot_be_written_is_still_read() {
    let mut pair = Pair::new(&SILENT);
    pair.breaks(Backend);
    pair.sends(Client, message(Client, "too late"));
    pair.sends(Backend, [message(Backend, "last words"), close(Backend, 4000, "full")].concat());
    assert_eq!(pair.got(Client), ["message last words", "close 4000 full"]);
    pair.fin(Backend);
    assert_eq!(pair.got(Client), ["message last words", "close 4000 full", "FIN"]);
    pair.sends(Client, close(Client, 4000, "full"));
    pair.fin(Client);
    assert!(pair.over);
    assert_eq!(pair.ended(), (Initiator::Backend, Cause::BackendClose, Some(4000), "full".into(), true));
}

#[test]
fn a_side_that_cannot_be_written_and_ends_without_a_close_is_lost() {
    let mut pair = Pair::new(&SILENT);
    pair.breaks(Client);
    pair.sends(Backend, message(Backend, "too late"));
    assert_eq!(pair.ended().1, Cause::ClientLost);
    assert_eq!(pair.got(Backend), [""; 0]);
    pair.fin(Client);
    assert_eq!(pair.got(Backend), ["close 1001 client lost", "FIN"]);
    assert_eq!(pair.ended(), (Initiator::Client, Cause::ClientLost, Some(1001), "client lost".into(), false));
}

#[test]
fn a_side_that_cannot_be_written_and_says_nothing_is_lost_after_half_of_the_close_timeout() {
    let mut pair = Pair::new(&SILENT);
    pair.breaks(Backend);
    pair.sends(Client, message(Client, "too late"));
    pair.wait(CLOSE_TIMEOUT / 2);
    assert_eq!(pair.got(Client), ["close 1011 backend lost", "FIN"]);
    pair.fin(Client);
    assert!(pair.over);
}

#[test]
fn the_first_side_that_cannot_be_written_is_the_cause() {
    let mut pair = Pair::new(&SILENT);
    pair.breaks(Backend);
    pair.breaks(Client);
    pair.sends(Client, message(Client, "too late"));
    pair.sends(Backend, message(Backend, "too late"));
    assert_eq!(pair.ended().1, Cause::BackendLost);
}

#[test]
fn an_idle_session_is_ended_with_1001_on_both_sides() {
    let mut pair = Pair::new(&SessionSettings { idle: Some(seconds(60)), ..SILENT });
    pair.wait(seconds(50));
    pair.sends(Client, message(Client, "hello"));
    pair.wait(seconds(59));
    assert_eq!(pair.session.termination(), None);
    pair.wait(seconds(1));
    assert_eq!(pair.got(Client), ["close 1001 idle", "FIN"]);
    assert_eq!(pair.got(Backend), ["message hello", "close 1001 idle", "FIN"]);
    assert_eq!(pair.ended(), (Initiator::Proxy, Cause::Idle, Some(1001), "idle".into(), false));
}

#[test]
fn a_drain_tells_both_sides_and_waits_for_their_closes_and_fins() {
    let mut pair = Pair::new(&SILENT);
    pair.drain();
    for side in [Client, Backend] {
        assert_eq!(pair.got(side), ["close 1012 drain", "FIN"]);
        pair.sends(side, close(side, 1012, "drain"));
        assert!(!pair.over);
        pair.fin(side);
    }
    assert!(pair.over);
    assert_eq!(pair.ended(), (Initiator::Proxy, Cause::Drain, Some(1012), "drain".into(), true));
}

#[test]
fn a_notice_is_heeded_at_its_moment_and_can_be_taken_back() {
    let mut pair = Pair::new(&SILENT);
    pair.is_told(Some(notice(pair.now + seconds(10))));
    pair.wait(seconds(9));
    assert_eq!(pair.session.termination(), None);
    pair.is_told(None);
    pair.wait(seconds(9));
    assert_eq!((pair.session.termination(), pair.session.poll_timeout()), (None, None));
    let soon = Notice { code: CloseCode(4012), cause: Cause::Removed, ..notice(pair.now + seconds(1)) };
    pair.is_told(Some(soon));
    pair.wait(seconds(1));
    assert_eq!(pair.got(Client), ["close 4012 removed", "FIN"]);
    assert_eq!(pair.ended(), (Initiator::Proxy, Cause::Removed, Some(4012), "removed".into(), false));
}

#[test]
fn an_end_that_has_begun_is_not_taken_back() {
    let mut pair = Pair::new(&SILENT);
    pair.drain();
    pair.is_told(None);
    assert_eq!(pair.ended().1, Cause::Drain);
}

#[test]
fn the_longest_life_ends_a_session_within_its_last_tenth() {
    let mut pair = Pair::new(&SessionSettings { max_lifetime: Some(seconds(1000)), ..SILENT });
    pair.wait(seconds(899));
    assert_eq!(pair.session.termination(), None);
    pair.wait(seconds(101));
    assert_eq!(pair.got(Client), ["close 1012 lifetime", "FIN"]);
    assert_eq!(pair.ended(), (Initiator::Proxy, Cause::Lifetime, Some(1012), "lifetime".into(), false));
}

#[test]
fn the_end_that_was_set_at_the_start_ends_a_session_at_its_instant() {
    let mut pair = Pair::new(&SILENT);
    pair.session.expire_at(pair.now + seconds(100));
    pair.wait(Duration::from_millis(99_999));
    assert_eq!(pair.session.termination(), None);
    pair.wait(Duration::from_millis(1));
    assert_eq!(pair.got(Client), ["close 1008 expired", "FIN"]);
    assert_eq!(pair.got(Backend), ["close 1008 expired", "FIN"]);
    assert_eq!(pair.ended(), (Initiator::Proxy, Cause::Expired, Some(1008), "expired".into(), false));
}

#[test]
fn of_several_ends_that_are_set_the_earliest_counts() {
    let lives = SessionSettings { max_lifetime: Some(seconds(1000)), ..SILENT };
    for (expires, drains, expected) in [
        (899, 5000, Cause::Expired),
        (1001, 5000, Cause::Lifetime),
        (500, 400, Cause::Drain),
        (300, 400, Cause::Expired),
    ] {
        let mut pair = Pair::new(&lives);
        pair.session.expire_at(pair.now + seconds(expires));
        pair.is_told(Some(notice(pair.now + seconds(drains))));
        pair.wait(seconds(1001));
        assert_eq!(pair.ended().1, expected, "{expires} {drains}");
    }
    // An end that has passed before the session began ends the session at once.
    let mut pair = Pair::new(&SILENT);
    pair.session.expire_at(pair.now - seconds(1));
    pair.wait(Duration::ZERO);
    assert_eq!(pair.ended().1, Cause::Expired);
}

#[test]
fn a_drain_taken_back_leaves_the_longest_life_as_it_was() {
    let mut pair = Pair::new(&SessionSettings { max_lifetime: Some(seconds(1000)), ..SILENT });
    pair.is_told(Some(notice(pair.now + seconds(5))));
    pair.is_told(None);
    pair.wait(seconds(1000));
    assert_eq!(pair.ended().1, Cause::Lifetime);
}

#[test]
fn a_close_that_crosses_ours_goes_no_further() {
    let mut pair = Pair::new(&SILENT);
    pair.takes(Client, 0);
    pair.drain();
    pair.sends(Client, close(Client, 1000, "mine"));
    pair.takes_all(Client);
    assert_eq!(pair.got(Client), ["close 1012 drain", "FIN"]);
    assert_eq!(pair.got(Backend), ["close 1012 drain", "FIN"]);
    assert_eq!(pair.ended().1, Cause::Drain);
}

#[test]
fn a_drain_waits_for_the_end_of_a_message_and_lets_nothing_pass_after_it() {
    let mut pair = Pair::new(&SILENT);
    pair.sends(Backend, frame(Backend, 0x01, b"one"));
    pair.drain();
    assert_eq!(pair.got(Client), ["begin one"]);
    assert_eq!(pair.got(Backend), ["close 1012 drain", "FIN"]);
    let next = message(Backend, LONG);
    pair.sends(Backend, [&ping(Backend, "p")[..], &frame(Backend, 0x80, b"two"), &next[..20]].concat());
    pair.sends(Backend, &next[20..]);
    assert_eq!(pair.got(Client), ["begin one", "ping p", "more two", "close 1012 drain", "FIN"]);
}

#[test]
fn after_half_of_the_close_timeout_the_end_of_a_frame_will_do() {
    let mut pair = Pair::new(&SILENT);
    pair.sends(Backend, frame(Backend, 0x01, b"one"));
    pair.drain();
    pair.wait(CLOSE_TIMEOUT / 2 - seconds(1));
    pair.sends(Backend, frame(Backend, 0x00, b"two"));
    assert_eq!(pair.got(Client), ["begin one", "more two"]);
    let three = frame(Backend, 0x00, LONG.as_bytes());
    pair.sends(Backend, &three[..20]);
    pair.wait(seconds(1));
    assert_eq!(pair.got(Client), ["begin one", "more two", "cut"]);
    pair.sends(Backend, [&three[20..], &frame(Backend, 0x80, b"four")].concat());
    assert_eq!(pair.got(Client)[3..], ["close 1012 drain", "FIN"]);
}

#[test]
fn last_bytes_that_only_the_kernel_holds_are_delivered_as_long_as_the_side_takes_some() {
    let mut pair = Pair::new(&SILENT);
    pair.end(Client).buffer = 1000;
    pair.takes(Client, 0);
    pair.sends(Backend, message(Backend, "slowly"));
    pair.drain();
    pair.sends(Backend, close(Backend, 1012, ""));
    pair.fin(Backend);
    let length = pair.end(Client).unsent.len();
    assert!(pair.end(Client).waiting.is_empty() && length > 10, "{length} bytes in the kernel");
    for byte in 0..length {
        assert!(!pair.over, "{byte} of {length} bytes taken");
        pair.takes(Client, 1);
        pair.wait(CLOSE_TIMEOUT / 2);
    }
    assert_eq!(pair.got(Client), ["message slowly", "close 1012 drain", "FIN"]);
    // The client takes all bytes but does not close. That gives no more time.
    pair.wait(CLOSE_TIMEOUT * 2);
    assert!(pair.over);
}

#[test]
fn two_sides_that_take_bytes_at_once_get_more_time_once() {
    let mut pair = Pair::new(&SILENT);
    for side in [Client, Backend] {
        pair.end(side).buffer = 1000;
        pair.takes(side, 0);
        pair.sends(side.other(), message(side.other(), "slowly"));
    }
    pair.drain();
    pair.wait(CLOSE_TIMEOUT / 2);
    pair.takes(Client, 1);
    pair.takes(Backend, 1);
    pair.wait(CLOSE_TIMEOUT / 2);
    assert!(!pair.over);
    pair.wait(CLOSE_TIMEOUT);
    assert!(pair.over);
}

#[test]
fn a_frame_that_does_not_end_in_time_is_cut() {
    let mut pair = Pair::new(&SILENT);
    pair.sends(Backend, &message(Backend, LONG)[..20]);
    pair.drain();
    pair.sends(Client, close(Client, 1012, ""));
    pair.wait(CLOSE_TIMEOUT - seconds(1));
    assert!(!pair.over);
    pair.wait(seconds(1));
    assert!(pair.over);
    assert_eq!(pair.got(Client), ["cut"]);
}

#[test]
fn a_close_that_passes_before_the_drain_found_its_place_is_the_one_that_counts() {
    let mut pair = Pair::new(&SILENT);
    pair.sends(Client, &message(Client, LONG)[..20]);
    pair.sends(Backend, &message(Backend, LONG)[..20]);
    pair.drain();
    pair.sends(Client, [&message(Client, LONG)[20..]].concat());
    assert_eq!(pair.got(Backend)[1..], ["close 1012 drain", "FIN"]);

    let mut pair = Pair::new(&SILENT);
    pair.sends(Client, frame(Client, 0x01, b"begin"));
    pair.sends(Backend, &message(Backend, LONG)[..20]);
    pair.drain();
    pair.sends(Client, close(Client, 1000, "bye"));
    pair.sends(Backend, [&message(Backend, LONG)[20..], &close(Backend, 1000, "bye")].concat());
    assert_eq!(pair.got(Backend), ["begin begin", "close 1000 bye", "FIN"]);
    assert_eq!(pair.got(Client), [&format!("message {LONG}"), "close 1000 bye", "FIN"]);
    assert_eq!(pair.ended(), (Initiator::Client, Cause::ClientClose, Some(1000), "bye".into(), true));
}

#[test]
fn the_first_cause_stands() {
    let mut pair = Pair::new(&SILENT);
    pair.drain();
    pair.sends(Client, [0x83, 0x80]);
    pair.fin(Backend);
    pair.fin(Client);
    assert!(pair.over);
    assert_eq!(pair.ended().1, Cause::Drain);

    let mut pair = Pair::new(&SILENT);
    pair.fin(Client);
    pair.drain();
    assert_eq!(pair.ended().1, Cause::ClientLost);
}

#[test]
fn an_operator_ends_a_session_in_words_of_his_own_at_the_end_of_a_message() {
    let mut pair = Pair::new(&SILENT);
    let whole = message(Client, "hello");
    pair.sends(Client, &whole[..9]);
    pair.kill(4000, "out with you");
    assert_eq!(pair.got(Client), ["close 4000 out with you", "FIN"]);
    pair.sends(Client, &whole[9..]);
    assert_eq!(pair.got(Backend), ["message hello", "close 4000 out with you", "FIN"]);
    pair.kill(4001, "too late");
    pair.fin(Client);
    pair.fin(Backend);
    assert!(pair.over);
    assert_eq!(pair.ended(), (Initiator::Proxy, Cause::Killed, Some(4000), "out with you".into(), false));
}

#[test]
fn a_close_that_comes_before_the_operators_could_go_is_why_the_session_ended() {
    let mut pair = Pair::new(&SILENT);
    pair.sends(Client, frame(Client, 0x01, b"to be con"));
    pair.sends(Backend, frame(Backend, 0x01, b"to be con"));
    pair.kill(4000, "out with you");
    pair.sends(Client, close(Client, 1000, "bye"));
    assert_eq!(pair.got(Backend).last_chunk(), Some(&["close 1000 bye".to_owned()]));
    // The backend will not answer. So the client reads a Close of ours, and not its own words.
    pair.fin(Backend);
    assert_eq!(pair.got(Client).last_chunk(), Some(&["close 4000 killed".to_owned(), "FIN".to_owned()]));
    assert_eq!(pair.ended(), (Initiator::Client, Cause::ClientClose, Some(1000), "bye".into(), false));
}
