//! What the record of a session says of its end: how it came about, and for how long no byte had passed.

use super::*;
use crate::ws::termination::{HowEnded, Silence};

const IDLE: SessionSettings = SessionSettings { idle: Some(seconds(60)), ..SILENT };

impl Pair {
    fn how(&self) -> HowEnded {
        self.session.termination().unwrap().how
    }

    /// In whole seconds: since the last byte from the client and from the backend, to the client and to the backend.
    fn silence(&self) -> [u32; 4] {
        let Silence { from_client, from_backend, to_client, to_backend } = self.session.silence(self.now);
        [from_client, from_backend, to_client, to_backend].map(|millis| millis / 1000)
    }
}

#[test]
fn how_a_session_ends_is_told_from_what_ends_it() {
    let ends = |settings: &SessionSettings, end: &dyn Fn(&mut Pair)| {
        let mut pair = Pair::new(settings);
        end(&mut pair);
        (pair.ended().1, pair.how())
    };
    for (side, lost, closes, dead, breach) in [
        (Client, Cause::ClientLost, Cause::ClientClose, Cause::ClientDead, Cause::ClientBreach),
        (Backend, Cause::BackendLost, Cause::BackendClose, Cause::BackendDead, Cause::BackendBreach),
    ] {
        assert_eq!(ends(&SILENT, &|pair| pair.fin(side)), (lost, HowEnded::Lost(Loss::Fin)));
        for loss in [Loss::Fin, Loss::Reset, Loss::TimedOut, Loss::Unreachable] {
            assert_eq!(ends(&SILENT, &|pair| pair.loses(side, loss)), (lost, HowEnded::Lost(loss)));
        }
        let refuses_bytes = |pair: &mut Pair| {
            pair.breaks(side);
            pair.sends(side.other(), message(side.other(), "hello"));
            pair.wait(CLOSE_TIMEOUT);
        };
        assert_eq!(ends(&SILENT, &refuses_bytes), (lost, HowEnded::Lost(Loss::Reset)));
        assert_eq!(ends(&SILENT, &|pair| pair.sends(side, close(side, 1000, ""))), (closes, HowEnded::Close));
        let answers_no_ping = |pair: &mut Pair| {
            pair.wait(PING_INTERVAL);
            pair.answers_our_ping(side.other());
            pair.wait(PONG_TIMEOUT);
        };
        assert_eq!(ends(&PINGING, &answers_no_ping), (dead, HowEnded::Silent));
        assert_eq!(ends(&SILENT, &|pair| pair.sends(side, frame(side, 0xC1, b"x"))), (breach, HowEnded::Ours));
    }
    assert_eq!(ends(&IDLE, &|pair| pair.wait(seconds(60))), (Cause::Idle, HowEnded::Ours));
    let lives = SessionSettings { max_lifetime: Some(seconds(60)), ..SILENT };
    assert_eq!(ends(&lives, &|pair| pair.wait(seconds(60))), (Cause::Lifetime, HowEnded::Ours));
    assert_eq!(ends(&SILENT, &Pair::drain), (Cause::Drain, HowEnded::Ours));
    assert_eq!(ends(&SILENT, &|pair| pair.kill(1008, "killed")), (Cause::Killed, HowEnded::Ours));
    assert_eq!(ends(&SILENT, &|pair| pair.session.handle_shortage(pair.now)), (Cause::Memory, HowEnded::Ours));
    let small = SessionSettings { limits: MessageLimits { message_size: Some(3), ..MessageLimits::NONE }, ..SILENT };
    let sends_much = |pair: &mut Pair| pair.sends(Client, message(Client, "much"));
    assert_eq!(ends(&small, &sends_much), (Cause::MessageTooBig, HowEnded::Ours));
}

#[test]
fn a_close_that_comes_before_ours_goes_out_says_how_the_session_ends() {
    let mut pair = Pair::new(&SILENT);
    for side in [Client, Backend] {
        pair.sends(side, frame(side, 0x01, b"a fragment"));
    }
    pair.drain();
    assert_eq!((pair.ended().1, pair.how()), (Cause::Drain, HowEnded::Ours));
    pair.sends(Client, close(Client, 1000, ""));
    assert_eq!((pair.ended().1, pair.how()), (Cause::ClientClose, HowEnded::Close));

    let mut pair = Pair::new(&SILENT);
    pair.breaks(Backend);
    pair.sends(Client, message(Client, "hello"));
    assert_eq!((pair.ended().1, pair.how()), (Cause::BackendLost, HowEnded::Lost(Loss::Reset)));
    pair.sends(Backend, close(Backend, 1000, ""));
    assert_eq!((pair.ended().1, pair.how()), (Cause::BackendClose, HowEnded::Close));
}

#[test]
fn each_direction_has_its_own_silence_up_to_the_end() {
    let mut pair = Pair::new(&SILENT);
    assert_eq!(pair.silence(), [0; 4]);
    pair.wait(seconds(10));
    pair.sends(Client, message(Client, "hello"));
    pair.wait(seconds(20));
    assert_eq!(pair.silence(), [20, 30, 30, 20]);
    pair.sends(Backend, message(Backend, "hello"));
    pair.wait(seconds(5));
    pair.fin(Backend);
    assert_eq!(pair.silence(), [25, 5, 5, 25]);
}

#[test]
fn bytes_that_pass_unread_break_the_silence_too() {
    let mut pair = Pair { splices: true, ..Pair::new(&SILENT) };
    let bytes = frame(Backend, 0x82, &[7; 1000]);
    pair.sends(Backend, &bytes[..500]);
    pair.wait(seconds(10));
    pair.sends(Backend, &bytes[500..]);
    pair.wait(seconds(5));
    pair.resets(Client);
    assert_eq!(pair.silence(), [15, 5, 5, 15]);
}

#[test]
fn our_pings_and_the_pongs_to_them_break_the_silence_of_their_directions() {
    let mut pair = Pair::new(&PINGING);
    pair.wait(PING_INTERVAL);
    for side in [Client, Backend] {
        pair.answers_our_ping(side);
    }
    pair.wait(seconds(7));
    pair.fin(Client);
    let [from_client, from_backend, to_client, to_backend] = pair.silence();
    assert_eq!([from_client, from_backend], [7, 7]);
    // A Ping goes out up to a tenth of the interval early.
    assert!((7..=9).contains(&to_client) && (7..=9).contains(&to_backend), "{to_client}, {to_backend}");
}

#[test]
fn the_silence_of_a_dead_side_lasts_from_its_last_byte_and_from_our_last_ping() {
    let settings = Settings { ping_interval: SideTimes::of_both(Some(seconds(60))), ..PINGING.keepalive };
    let mut pair = Pair::new(&SessionSettings { keepalive: settings, ..SILENT });
    pair.wait(seconds(1));
    pair.sends(Client, message(Client, "the last word"));
    pair.sends(Backend, message(Backend, "an answer"));
    while pair.session.termination().is_none() {
        pair.wait(seconds(1));
        pair.answers_pings(Backend);
    }
    let [from_client, _, to_client, _] = pair.silence();
    assert_eq!((pair.how(), to_client), (HowEnded::Silent, 30), "the timeout after the Ping");
    assert!((84..=90).contains(&from_client), "{from_client} s: the interval and the timeout");
}

#[test]
fn what_ends_a_session_does_not_break_the_silence() {
    for end in [
        |pair: &mut Pair| pair.sends(Client, close(Client, 1000, "bye")),
        |pair: &mut Pair| pair.sends(Client, frame(Client, 0xC1, b"a breach")),
        |pair: &mut Pair| pair.kill(1008, "killed"),
        |pair: &mut Pair| pair.fin(Backend),
    ] {
        let mut pair = Pair::new(&SILENT);
        pair.wait(seconds(10));
        end(&mut pair);
        assert_eq!(pair.silence(), [10; 4]);
        // The farewell has gone, and the ends answer it.
        pair.wait(seconds(2));
        for side in [Client, Backend] {
            pair.sends(side, close(side, 1000, ""));
        }
        assert_eq!(pair.silence(), [10; 4]);
    }
}

#[test]
fn what_comes_in_one_read_with_a_close_breaks_the_silence() {
    let mut pair = Pair::new(&SILENT);
    pair.wait(seconds(10));
    pair.sends(Client, [message(Client, "last"), close(Client, 1000, "bye")].concat());
    assert_eq!(pair.silence(), [0, 10, 10, 0]);
}

#[test]
fn a_silence_of_months_is_told_as_long_as_it_can_be() {
    let mut pair = Pair::new(&SILENT);
    pair.wait(seconds(60 * 24 * 3600));
    pair.fin(Client);
    assert_eq!(pair.session.silence(pair.now).from_backend, u32::MAX);
}
