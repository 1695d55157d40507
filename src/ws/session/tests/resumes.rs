//! A session that outlives its client's connection, and what both ends notice of that.

use std::mem;

use super::*;
use crate::ws::{meter::MessageLimits, rate::Rate};

pub(super) const FOR: Duration = seconds(30);
pub(super) const REPLAY: usize = 400;
pub(super) const BEAT: Duration = seconds(10);
const SECRET: &str = "abcdefghijklmnopqrstuv:";

pub(super) fn resumable(settings: &SessionSettings, hold: Option<HoldTerms>) -> Pair {
    let terms = ResumeTerms { longest: FOR, replay: REPLAY, beat: BEAT };
    let mut pair = Pair::on_all_terms(settings, hold, Some(terms));
    pair.session.begin_resumable(SECRET);
    assert!(pair.session.is_resumable() && pair.session.can_be_resumed());
    pair
}

/// A session whose client was just lost.
fn away() -> Pair {
    let mut pair = resumable(&SILENT, None);
    pair.fin(Client);
    assert!(pair.session.awaits_client());
    pair
}

pub(super) fn control_text(body: &str) -> Vec<u8> {
    message(Client, &format!("{SECRET}{body}"))
}

impl Pair {
    pub(super) fn claims(&mut self, attempt: u64, count: u64) -> Claimed {
        let claimed = self.session.claim(attempt, count, self.now);
        self.pump();
        claimed
    }

    /// The client has a new connection. Returns whether the session waits for it.
    pub(super) fn arrives(&mut self, attempt: u64) -> bool {
        let mut out = Vec::new();
        let takes = self.session.take_client(attempt, self.now, &mut out);
        if takes {
            (self.client, self.is_away) = (End { waiting: out, ..End::default() }, false);
            self.pump();
        }
        takes
    }

    /// The client comes back, with so many messages.
    pub(super) fn comes_back(&mut self, attempt: u64, count: u64) -> u64 {
        let Claimed::Ready { received } = self.claims(attempt, count) else { panic!("not ready") };
        assert!(self.arrives(attempt));
        received
    }

    /// What the client has got on this connection. Control texts begin with a colon.
    pub(super) fn heard(&self) -> Vec<String> {
        self.got(Client).into_iter().map(|got| got.replace(&format!("message {SECRET}"), ":")).collect()
    }
}

#[test]
fn a_client_that_comes_back_gets_what_it_missed_and_says_again_what_was_lost() {
    let mut pair = resumable(&SILENT, None);
    pair.sends(Client, [message(Client, "one"), message(Client, "two")[..7].to_vec()].concat());
    pair.sends(Backend, [message(Backend, "first"), message(Backend, "second")].concat());
    pair.fin(Client);
    pair.wait(seconds(3));
    pair.sends(Backend, message(Backend, "third"));
    assert_eq!(pair.comes_back(1, 1), 1);
    assert_eq!(pair.heard(), ["message second", "message third"]);
    pair.sends(Client, [message(Client, "two"), message(Client, "three")].concat());
    pair.sends(Backend, message(Backend, "fourth"));
    assert_eq!(pair.got(Backend), ["message one", "message two", "message three"]);
    assert_eq!(pair.heard(), ["message second", "message third", "message fourth"]);
    assert_eq!((pair.session.counts(Client).messages, pair.session.counts(Backend).messages), (3, 4));
    let tally = pair.session.resume_tally();
    assert_eq!((tally.resumes, tally.gap, tally.replayed), (1, seconds(3), 2));
    pair.sends(Client, close(Client, 1000, "bye"));
    pair.sends(Backend, close(Backend, 1000, "bye"));
    pair.fin(Client);
    pair.fin(Backend);
    assert!(pair.over && pair.session.termination().unwrap().clean);
}

#[test]
fn a_message_that_is_under_way_to_the_client_goes_on_after_its_begin_was_sent_again() {
    let mut pair = resumable(&SILENT, None);
    let long = message(Backend, "in four pieces");
    pair.sends(Backend, frame(Backend, 0x01, b"begin"));
    pair.fin(Client);
    pair.sends(Backend, [&frame(Backend, 0x80, b"end")[..], &long[..3]].concat());
    pair.claims(1, 0);
    pair.sends(Backend, &long[3..6]);
    assert!(pair.arrives(1));
    pair.sends(Backend, &long[6..]);
    assert_eq!(pair.heard(), ["begin begin", "more end", "message in four pieces"]);
}

#[test]
fn messages_pass_when_they_are_whole_and_control_frames_at_once() {
    let mut pair = resumable(&SILENT, None);
    let long = message(Client, "in two pieces");
    pair.sends(Client, frame(Client, 0x01, b"a"));
    pair.sends(Client, [ping(Client, "now"), frame(Client, 0x00, b"b"), pong(Client, "now")].concat());
    assert_eq!(pair.got(Backend), ["ping now", "pong now"]);
    pair.sends(Client, [&frame(Client, 0x80, b"c")[..], &long[..8]].concat());
    assert_eq!(pair.got(Backend)[2..], ["begin a", "more b", "more c"]);
    pair.sends(Client, &long[8..]);
    assert_eq!(pair.got(Backend)[5..], ["message in two pieces"]);
}

#[test]
fn a_message_that_is_too_large_to_keep_passes_as_it_comes_and_ties_the_session_to_its_client() {
    for whole in [frame(Client, 0x82, &[7; REPLAY + 1]), frame(Client, 0x02, &[7; REPLAY - 100])] {
        let mut pair = resumable(&SILENT, None);
        let fragmented = whole[0] == 0x02;
        if fragmented {
            pair.sends(Client, &whole);
            assert!(pair.taken(Backend).0.is_empty());
            pair.sends(Client, &frame(Client, 0x80, &[7; 101])[..9]);
        } else {
            pair.sends(Client, &whole[..9]);
        }
        assert!(!pair.taken(Backend).0.is_empty() && !pair.session.can_be_resumed());
        let Claimed::Gone = pair.claims(1, 0) else { panic!("half of it has passed") };
        assert_eq!(pair.ended().1, Cause::ClientLost);
    }
    let mut pair = resumable(&SILENT, None);
    pair.sends(Client, frame(Client, 0x82, &[7; REPLAY + 1]));
    assert!(pair.session.can_be_resumed());
    pair.fin(Client);
    assert_eq!(pair.comes_back(1, 0), 1);
}

#[test]
fn the_client_is_told_of_its_messages_within_a_second_and_after_each_quarter_at_once() {
    let mut pair = resumable(&SILENT, None);
    pair.sends(Client, message(Client, "one"));
    pair.wait(seconds(1) - Duration::from_nanos(1));
    pair.sends(Client, message(Client, "two"));
    assert_eq!(pair.heard(), [""; 0]);
    pair.wait(Duration::from_nanos(1));
    assert_eq!(pair.heard(), [":2"]);
    pair.sends(Client, message(Client, &"x".repeat(REPLAY / 4)));
    assert_eq!(pair.heard(), [":2", ":3"]);
}

#[test]
fn the_client_hears_something_in_each_beat_but_not_inside_a_message() {
    let mut pair = resumable(&SILENT, None);
    pair.wait(seconds(25));
    assert_eq!(pair.heard(), [":0", ":0"]);
    pair.sends(Backend, frame(Backend, 0x01, b"begin"));
    pair.wait(seconds(15));
    assert_eq!(pair.heard()[2..], ["begin begin"]);
    pair.sends(Backend, frame(Backend, 0x80, b"end"));
    assert_eq!(pair.heard()[3..], ["more end", ":0"]);
    // What waits behind other bytes would tell the client nothing sooner.
    pair.takes(Client, 0);
    pair.sends(Backend, message(Backend, "waits"));
    pair.wait(seconds(60));
    pair.takes_all(Client);
    assert_eq!(pair.heard()[5..], ["message waits"]);
}

#[test]
pub(super) fn control_texts_go_no_further_and_free_what_is_kept() {
    let mut pair = resumable(&SILENT, None);
    for number in 0..8 {
        pair.sends(Backend, message(Backend, &format!("{number} {}", "x".repeat(40))));
    }
    assert!((344..=REPLAY).contains(&pair.session.kept_for_client()));
    pair.sends(Client, [control_text("7"), control_text("3"), control_text("hello"), control_text("resync")].concat());
    pair.fin(Client);
    pair.claims(1, 8);
    pair.sends(Backend, message(Backend, "more"));
    assert!(pair.arrives(1));
    assert_eq!(pair.heard(), ["message more"]);
    assert!(pair.got(Backend).is_empty() && pair.session.counts(Client).messages == 0);
}

#[test]
fn a_count_of_messages_that_were_never_sent_is_a_breach() {
    let mut pair = resumable(&SILENT, None);
    pair.sends(Backend, message(Backend, "one"));
    pair.sends(Client, [message(Client, "passes"), control_text("2"), message(Client, "does not count")].concat());
    let (_, cause, code, reason, _) = pair.ended();
    assert_eq!((cause, code), (Cause::ClientBreach, Some(1002)));
    assert_eq!(reason, "count of messages that were never sent");
}

#[test]
fn the_oldest_messages_go_and_the_client_has_to_catch_up_before_it_may_leave() {
    let long = |number: u8| frame(Backend, 0x82, &[number; REPLAY / 2 - 10]);
    let mut pair = resumable(&SILENT, None);
    pair.sends(Backend, [long(1), long(2)].concat());
    assert!(pair.session.can_be_resumed());
    pair.sends(Backend, long(3));
    assert!(!pair.session.can_be_resumed() && pair.session.kept_for_client() <= REPLAY);
    // A count that a claim tells is as good.
    pair.sends(Client, control_text("1"));
    assert!(pair.session.can_be_resumed());
    pair.sends(Backend, frame(Backend, 0x82, &[4; REPLAY + 1]));
    pair.sends(Client, control_text("3"));
    assert!(!pair.session.can_be_resumed() && pair.session.kept_for_client() == 0);
    pair.fin(Client);
    assert_eq!(pair.ended().1, Cause::ClientLost);
    assert_eq!(pair.got(Backend), ["close 1001 client lost", "FIN"]);
}

#[test]
fn a_dead_a_reset_and_a_broken_client_is_outlived_and_its_close_is_not() {
    let mut pair = resumable(&PINGING, None);
    for _ in 0..12 {
        pair.wait(seconds(5));
        pair.answers_pings(Backend);
    }
    assert!(pair.session.awaits_client(), "the client is dead");
    let mut pair = resumable(&SILENT, None);
    pair.resets(Client);
    assert!(pair.session.awaits_client());
    for closes in [false, true] {
        let mut pair = resumable(&SILENT, None);
        pair.breaks(Client);
        pair.sends(Backend, message(Backend, "kept"));
        pair.sends(Client, message(Client, "last words"));
        if closes {
            pair.sends(Client, close(Client, 1000, ""));
            assert_eq!(pair.ended().1, Cause::ClientClose);
            continue;
        }
        assert!(!pair.session.awaits_client());
        pair.wait(CLOSE_TIMEOUT);
        assert!(pair.session.awaits_client());
        assert_eq!(pair.comes_back(1, 0), 1);
        assert_eq!((pair.got(Backend), pair.heard()), (vec!["message last words".into()], vec!["message kept".into()]));
    }
}

#[test]
fn pings_of_the_backend_are_answered_while_the_client_is_away_and_none_of_its_pongs_comes_late() {
    let mut pair = resumable(&SILENT, None);
    pair.sends(Backend, ping(Backend, "open"));
    pair.sends(Client, [ping(Client, "answered late"), ping(Client, "answered later")].concat());
    pair.fin(Client);
    pair.sends(Backend, [ping(Backend, "one"), message(Backend, "data"), pong(Backend, "answered late")].concat());
    assert_eq!(pair.got(Backend)[2..], ["pong open", "pong one"]);
    pair.comes_back(1, 0);
    pair.sends(Client, ping(Client, "new"));
    pair.sends(Backend, [pong(Backend, "answered later"), pong(Backend, "new"), ping(Backend, "two")].concat());
    assert_eq!(pair.heard(), ["message data", "pong new", "ping two"]);
}

#[test]
fn our_pings_to_the_backend_go_on_while_the_client_is_away_and_it_gets_none() {
    let mut pair = resumable(&PINGING, None);
    pair.fin(Client);
    pair.wait(PING_INTERVAL);
    assert_eq!(pair.got(Backend), ["our ping"]);
    assert_eq!(pair.session.round_trips(Client).pings, 0);
    pair.answers_our_ping(Backend);
    pair.comes_back(1, 0);
    pair.wait(PING_INTERVAL);
    assert!(pair.frames(Client).iter().any(Frame::is_our_ping));
}

#[test]
fn a_close_of_the_backend_is_answered_at_once_and_waits_for_the_client_behind_the_messages() {
    let mut pair = away();
    pair.sends(Backend, [message(Backend, "last"), close(Backend, 4001, "over")].concat());
    assert_eq!(pair.got(Backend), ["close 4001 ", "FIN"]);
    pair.fin(Backend);
    pair.wait(FOR / 2);
    pair.comes_back(1, 0);
    assert_eq!(pair.heard(), ["message last", "close 4001 over"]);
    pair.sends(Client, close(Client, 4001, ""));
    pair.fin(Client);
    let (_, cause, code, _, clean) = pair.ended();
    assert_eq!((pair.over, cause, code, clean), (true, Cause::BackendClose, Some(4001), true));
    // Without a client, it is the cause of the end all the same.
    let mut pair = away();
    pair.sends(Backend, close(Backend, 4001, "over"));
    pair.fin(Backend);
    pair.wait(FOR);
    assert_eq!((pair.over, pair.ended().1), (true, Cause::BackendClose));
}

#[test]
fn a_session_waits_for_its_client_as_long_as_its_terms_say() {
    let mut pair = away();
    pair.wait(FOR - Duration::from_nanos(1));
    assert!(pair.session.awaits_client());
    pair.wait(Duration::from_nanos(1));
    assert_eq!(pair.got(Backend), ["close 1001 client lost", "FIN"]);
    let end = pair.session.termination().unwrap();
    assert_eq!((end.initiator, end.cause, end.how.as_str()), (Initiator::Client, Cause::ClientLost, "fin"));
    assert_eq!(pair.claims(1, 0), Claimed::Gone);
}

#[test]
fn a_session_that_may_not_wait_ends_as_on_another_route() {
    type Ends = fn(&mut Pair);
    let ends: [(Ends, &[&str]); 3] = [
        (|pair| pair.fin(Client), &["message before", "close 1001 client lost", "FIN"]),
        (|pair| pair.resets(Client), &["message before"]),
        // What waits goes out before the Close, as far as the client takes it.
        (
            |pair| {
                pair.takes(Client, 3);
                pair.sends(Backend, message(Backend, "waits"));
                pair.takes_all(Client);
                pair.fin(Client);
            },
            &["message before", "message waits", "close 1001 client lost", "FIN"],
        ),
    ];
    for (end, told) in ends {
        let mut pair = Pair { refuses: true, ..resumable(&SILENT, None) };
        pair.sends(Backend, message(Backend, "before"));
        end(&mut pair);
        let got = (pair.ended().1, pair.got(Backend));
        assert_eq!(got, (Cause::ClientLost, vec!["close 1001 client lost".into(), "FIN".into()]));
        assert_eq!(pair.got(Client), told);
    }
}

#[test]
fn a_client_that_comes_back_too_late_is_told_how_the_session_has_ended() {
    type Ends = fn(&mut Pair);
    let ends: [(Ends, &str); 7] = [
        (|pair| pair.wait(FOR), "close 1001 client lost"),
        (|pair| pair.fin(Backend), "close 1011 backend lost"),
        (|pair| pair.drain(), "close 1012 drain"),
        (|pair| pair.kill(4000, "enough"), "close 4000 enough"),
        (|pair| pair.sends(Backend, frame(Backend, 0x83, b"")), "close 1011 backend broke the protocol"),
        (|pair| (pair.sends(Backend, close(Backend, 4001, "bye")), pair.wait(FOR)).0, "close 4001 bye"),
        (|pair| (pair.sends(Backend, frame(Backend, 0x88, b"")), pair.wait(FOR)).0, "close"),
    ];
    for (end, told) in ends {
        let mut pair = away();
        assert!(matches!(pair.claims(1, 0), Claimed::Ready { .. }) && pair.session.late_close().is_none());
        end(&mut pair);
        assert!(!pair.arrives(1));
        let mut late = Vec::new();
        pair.session.late_close().unwrap().encode(None, &mut late);
        assert_eq!(Frame::read_all(Client, &late).0[0].to_string(), told);
    }
}

#[test]
fn ends_of_our_own_end_a_session_without_a_client_at_once() {
    let idle = SessionSettings { idle: Some(seconds(20)), max_lifetime: None, ..SILENT };
    let lifetime = SessionSettings { max_lifetime: Some(seconds(20)), ..SILENT };
    type Ends = fn(&mut Pair);
    let ends: [(&SessionSettings, Ends, &str); 6] = [
        (&SILENT, |pair| pair.drain(), "close 1012 drain"),
        (&SILENT, |pair| pair.kill(4000, "enough"), "close 4000 enough"),
        (&SILENT, |pair| pair.session.expire_at(pair.now + seconds(20)), "close 1008 expired"),
        (&SILENT, |pair| pair.session.handle_shortage(pair.now), "close 1013 memory"),
        (&idle, |_| {}, "close 1001 idle"),
        (&lifetime, |_| {}, "close 1012 lifetime"),
    ];
    for (settings, end, told) in ends {
        let mut pair = resumable(settings, None);
        pair.fin(Client);
        end(&mut pair);
        pair.wait(seconds(20));
        assert_eq!(pair.got(Backend)[0], told);
        assert_eq!(pair.claims(1, 0), Claimed::Gone);
    }
}

#[test]
fn the_backend_is_not_read_when_nothing_more_can_be_kept_and_its_silence_says_nothing_then() {
    let mut pair = resumable(&PINGING, None);
    pair.sends(Backend, frame(Backend, 0x82, &[1; REPLAY / 2]));
    pair.fin(Client);
    pair.sends(Backend, [frame(Backend, 0x82, &[2; REPLAY / 2]), ping(Backend, "unread")].concat());
    assert!(pair.session.backend_read_limit() == Some(0) && !pair.backend.unread.is_empty());
    assert!(pair.session.kept_for_client() <= REPLAY);
    pair.wait(FOR - seconds(1));
    assert!(pair.session.awaits_client(), "the backend is not to blame");
    pair.comes_back(1, 0);
    assert_eq!(pair.heard().last().unwrap(), "ping unread");
    assert!(pair.session.backend_read_limit().is_none() && pair.backend.unread.is_empty());
}

#[test]
fn only_the_latest_attempt_has_the_session() {
    let mut pair = resumable(&SILENT, None);
    pair.sends(Client, message(Client, "one"));
    assert_eq!(pair.claims(3, 0), Claimed::Ready { received: 1 });
    assert!(pair.session.awaits_client(), "the old client is let go, though it was there");
    assert!(!pair.arrives(4));
    for attempt in 0..=3 {
        assert_eq!(pair.claims(attempt, 0), Claimed::Stale);
    }
    assert_eq!(pair.claims(5, 0), Claimed::Ready { received: 1 });
    assert!(!pair.arrives(3) && pair.arrives(5) && !pair.arrives(5));
    assert_eq!(pair.claims(5, 0), Claimed::Stale);
    pair.sends(Client, message(Client, "two"));
    assert_eq!(pair.got(Backend), ["message one", "message two"]);
    // It waits since its client has gone, not since the last attempt.
    pair.fin(Client);
    pair.wait(FOR / 2);
    pair.claims(6, 0);
    pair.wait(FOR / 2);
    assert_eq!(pair.ended().1, Cause::ClientLost);
}

#[test]
fn a_count_that_cannot_be_met_ends_the_session() {
    for (acknowledged, count) in [(0, 3), (1, 0)] {
        let mut pair = resumable(&SILENT, None);
        pair.sends(Backend, [message(Backend, "one"), message(Backend, "two")].concat());
        pair.sends(Client, control_text(&acknowledged.to_string()));
        assert_eq!(pair.claims(1, count), Claimed::Gone);
        assert_eq!(pair.got(Backend), ["close 1001 client lost", "FIN"]);
    }
}

#[test]
fn a_hold_goes_on_while_the_client_is_away_and_it_is_told_before_all_else() {
    let hold = HoldTerms { queue: 1000, notify: Some("fetch".into()), ..holds::terms() };
    let mut pair = resumable(&SILENT, Some(hold));
    pair.sends(Backend, message(Backend, "old"));
    pair.fin(Backend);
    pair.sends(Client, [ping(Client, "held"), message(Client, "queued")].concat());
    pair.fin(Client);
    assert!(pair.session.awaits_client() && pair.session.awaits_backend().is_some() && pair.resumes());
    pair.sends(Backend, message(Backend, "new"));
    assert_eq!(pair.got(Backend), ["message queued"]);
    assert_eq!(pair.comes_back(1, 0), 1);
    assert_eq!(pair.heard(), [":resync", "message old", "message fetch", "message new"]);
    // It may not have come to that. A message behind it proves that it has.
    pair.fin(Client);
    pair.comes_back(2, 0);
    assert_eq!(pair.heard()[0], ":resync");
    pair.fin(Client);
    pair.comes_back(3, 1);
    assert_eq!(pair.heard(), ["message fetch", "message new"]);
    // The same with a client that is there.
    pair.fin(Backend);
    assert!(pair.resumes());
    pair.sends(Backend, message(Backend, "newer"));
    assert_eq!(pair.heard()[2..], [":resync", "message fetch", "message newer"]);
    assert_eq!(pair.claims(4, 5), Claimed::Ready { received: 1 }, "the notice counts as a message");
}

#[test]
fn what_the_client_says_again_is_exempt_from_the_rates() {
    let limits = MessageLimits { frames: Rate::per_second(2), ..MessageLimits::NONE };
    let many = |number| vec![message(Client, "again"); number].concat();
    let mut pair = resumable(&SessionSettings { limits, ..SILENT }, None);
    pair.fin(Client);
    pair.comes_back(1, 0);
    pair.sends(Client, many(20));
    assert_eq!(pair.got(Backend).len(), 20);
    pair.sends(Client, many(100));
    assert_eq!(pair.ended().1, Cause::RateLimited);
}

#[test]
fn a_client_that_comes_back_all_the_time_wins_one_replay_in_the_time_in_which_it_would_have_passed() {
    const EXEMPT: usize = REPLAY / (6 + 8 + 1);
    let per_second = Rate::per_second(5);
    let few_frames = MessageLimits { frames: per_second, ..MessageLimits::NONE };
    let few_bytes = MessageLimits { bytes: Rate::per_second(5 * 7), ..MessageLimits::NONE };
    let both = MessageLimits { frames: per_second, ..few_bytes };
    for (limits, exempt) in [(few_frames, EXEMPT), (few_bytes, REPLAY / 7), (both, EXEMPT)] {
        let mut pair = resumable(&SessionSettings { limits, ..SILENT }, None);
        for attempt in 1..=40 {
            if attempt % 2 == 0 {
                pair.fin(Client);
            }
            if !matches!(pair.claims(attempt, 0), Claimed::Ready { .. }) {
                break;
            }
            assert!(pair.arrives(attempt));
            pair.sends(Client, message(Client, "m").repeat(10));
            pair.wait(Duration::from_millis(10));
        }
        let passed = pair.session.counts(Client).messages;
        assert!((exempt..=exempt + 6).contains(&usize::try_from(passed).unwrap()), "{passed} of {exempt}, {limits:?}");
        assert_eq!(pair.ended().1, Cause::RateLimited);
    }
    let mut pair = resumable(&SessionSettings { limits: few_frames, ..SILENT }, None);
    let replay = message(Client, "m").repeat(EXEMPT);
    pair.fin(Client);
    pair.comes_back(1, 0);
    pair.sends(Client, &replay);
    // All but 5 were exempt, and these would take longer than `for` to pass.
    let again = FOR + seconds((EXEMPT as u64 - 5).div_ceil(5));
    for attempt in 2..2 + again.as_secs() {
        pair.wait(seconds(1));
        pair.fin(Client);
        pair.comes_back(attempt, 0);
        pair.sends(Client, message(Client, "m").repeat(if attempt == 1 + again.as_secs() { EXEMPT } else { 5 }));
        assert!(!pair.session.is_ending(), "{attempt}");
    }
    pair.fin(Client);
    pair.comes_back(1000, 0);
    pair.sends(Client, &replay);
    assert_eq!(pair.ended().1, Cause::RateLimited);
}

#[test]
fn a_client_that_keeps_to_the_rates_is_never_too_fast_however_often_its_network_cuts() {
    let limits = MessageLimits { frames: Rate::per_second(5), bytes: Rate::per_second(5 * 20), ..MessageLimits::NONE };
    let mut pair = resumable(&SessionSettings { limits, ..SILENT }, None);
    let (mut said, mut attempt, mut fresh) = (0, 0, Vec::<Vec<u8>>::new());
    for second in 0..600_u64 {
        // Each second it says what the limits allow, and the network has all, half or nothing of it.
        fresh.extend((0..5).map(|number| message(Client, &format!("{:>14}", said + number))));
        said += 5;
        match second % 6 {
            0 | 1 => pair.sends(Client, mem::take(&mut fresh).concat()),
            2 => pair.sends(Client, fresh.drain(..3).collect::<Vec<_>>().concat()),
            // Each second time, longwire does not notice.
            3 if second % 12 == 3 => pair.fin(Client),
            3 | 4 => {}
            _ => {
                attempt += 1;
                assert_eq!(pair.comes_back(attempt, 0), said - fresh.len() as u64);
                // Half of the repetition is lost once more.
                let half = fresh.len() / 2;
                pair.sends(Client, fresh.drain(..half).collect::<Vec<_>>().concat());
                attempt += 1;
                pair.comes_back(attempt, 0);
                pair.sends(Client, mem::take(&mut fresh).concat());
            }
        }
        pair.wait(seconds(1));
        assert!(!pair.session.is_ending(), "{second}");
    }
    assert_eq!(pair.session.counts(Client).messages, said);
}

#[test]
fn our_close_waits_for_a_message_that_the_backend_has_not_got_yet() {
    let mut pair = resumable(&SILENT, None);
    let long = message(Client, "in two pieces");
    pair.sends(Client, &long[..9]);
    pair.drain();
    assert_eq!(pair.got(Backend), [""; 0]);
    pair.sends(Client, &long[9..]);
    assert_eq!(pair.got(Backend), ["message in two pieces", "close 1012 drain", "FIN"]);
}

#[test]
fn where_memory_is_short_nothing_more_is_kept() {
    let mut pair = resumable(&SILENT, None);
    let long = frame(Client, 0x82, &[7; REPLAY - 20]);
    pair.sends(Backend, message(Backend, "kept"));
    pair.sends(Client, &long[..200]);
    pair.session.handle_replay_shortage(pair.now);
    pair.sends(Client, &long[200..201]);
    assert_eq!((pair.taken(Backend).0.len(), pair.session.kept_for_client()), (201, 0));
    pair.sends(Client, [&long[201..], &control_text("1")].concat());
    assert!(pair.session.can_be_resumed() && pair.frames(Backend).len() == 1);
    pair.fin(Client);
    pair.session.handle_replay_shortage(pair.now);
    assert_eq!(pair.ended().1, Cause::ClientLost);
}

#[test]
fn pings_are_no_beat_because_no_page_sees_them() {
    let mut pair = resumable(&SILENT, None);
    for _ in 0..20 {
        pair.sends(Backend, ping(Backend, "again"));
        pair.wait(BEAT / 2);
    }
    assert_eq!(pair.heard().iter().filter(|heard| *heard == ":0").count(), 10);
}

#[test]
fn a_count_finds_its_place_in_a_stream_that_never_pauses() {
    let quarter = message(Client, &"x".repeat(REPLAY / 4));
    let (one, two) = (message(Backend, "one in two reads"), message(Backend, "two"));
    let mut pair = resumable(&SILENT, None);
    pair.sends(Backend, &one[..4]);
    pair.sends(Client, &quarter);
    assert_eq!(pair.session.backend_read_limit(), Some(one.len() - 4));
    pair.sends(Backend, [&one[4..], &two].concat());
    assert_eq!(pair.heard(), ["message one in two reads", ":1", "message two"]);
    // Between fragments, the next header has to be read first.
    let long = frame(Backend, 0x80, &[b'.'; 200]);
    pair.sends(Backend, frame(Backend, 0x01, b"begin"));
    pair.sends(Client, &quarter);
    pair.sends(Backend, [&frame(Backend, 0x00, b"")[..], &long, &two].concat());
    let heard = pair.heard();
    assert_eq!((heard.len(), &heard[6][..], &heard[7][..]), (8, ":2", "message two"));
    // Behind bytes that wait there is one count, until the client takes some of them.
    pair.takes(Client, 0);
    pair.sends(Backend, &two);
    for _ in 0..10 {
        pair.sends(Client, &quarter);
        pair.wait(seconds(1));
    }
    pair.takes_all(Client);
    assert_eq!(pair.heard()[8..], ["message two", ":3", ":12"]);
}

#[test]
fn a_count_of_messages_that_pass_while_the_session_ends_is_no_breach() {
    let mut pair = resumable(&SILENT, None);
    pair.sends(Backend, frame(Backend, 0x01, b"begin"));
    pair.drain();
    pair.sends(Backend, frame(Backend, 0x80, b"end"));
    pair.sends(Client, [control_text("1"), close(Client, 1012, "")].concat());
    pair.sends(Backend, close(Backend, 1012, ""));
    assert_eq!(pair.heard(), ["begin begin", "more end", "close 1012 drain", "FIN"]);
    assert!(pair.session.termination().unwrap().clean);
}

#[test]
fn our_close_waits_for_one_message_of_a_client_that_never_pauses() {
    let mut pair = resumable(&SILENT, None);
    let long = message(Client, "in two pieces");
    pair.sends(Client, &long[..9]);
    pair.drain();
    pair.sends(Client, [&long[9..], &message(Client, "too late"), &long[..9]].concat());
    assert_eq!(pair.got(Backend), ["message in two pieces", "close 1012 drain", "FIN"]);
    // What was held back turns out to be a control text.
    let mut pair = resumable(&SILENT, None);
    let text = control_text("0");
    pair.sends(Client, &text[..9]);
    pair.drain();
    pair.sends(Client, [&text[9..], &long].concat());
    assert_eq!(pair.got(Backend)[..1], ["message in two pieces"]);
}

#[test]
fn a_count_that_says_something_new_is_free_and_others_cost_what_a_message_costs() {
    let limits = MessageLimits { frames: Rate::per_second(2), ..MessageLimits::NONE };
    let mut pair = resumable(&SessionSettings { limits, ..SILENT }, None);
    for number in 1..20 {
        pair.sends(Backend, message(Backend, "new"));
        pair.sends(Client, control_text(&number.to_string()));
    }
    assert!(!pair.session.is_ending());
    pair.sends(Client, [control_text("19"), control_text("hello"), control_text("19")].concat());
    assert_eq!(pair.ended().1, Cause::RateLimited);
}

#[test]
fn a_message_that_breaks_a_limit_is_not_kept_back() {
    let limits = MessageLimits { message_size: Some(100), ..MessageLimits::NONE };
    let mut pair = resumable(&SessionSettings { limits, ..SILENT }, None);
    pair.sends(Client, frame(Client, 0x82, &[1; 100]));
    pair.sends(Client, &frame(Client, 0x82, &[1; 200])[..9]);
    assert_eq!(pair.ended().1, Cause::MessageTooBig);
}

#[test]
fn what_was_not_said_again_in_time_counts() {
    let limits = MessageLimits { frames: Rate::per_second(2), ..MessageLimits::NONE };
    let mut pair = resumable(&SessionSettings { limits, ..SILENT }, None);
    pair.fin(Client);
    pair.comes_back(1, 0);
    pair.wait(FOR);
    pair.sends(Client, [message(Client, "1"), message(Client, "2"), message(Client, "3")].concat());
    assert_eq!(pair.ended().1, Cause::RateLimited);
}
