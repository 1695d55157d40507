//! The rules for drivers at the head of the session: each test keeps a rule once and breaks it once.

use super::*;

/// Only the client is judged, and nobody is pinged.
const JUDGES_CLIENT: SessionSettings = SessionSettings {
    keepalive: Settings {
        ping_interval: SideTimes::of_both(None),
        pong_timeout: SideTimes { client: Some(PONG_TIMEOUT), backend: None },
    },
    ..SILENT
};

/// Only the client is judged, and only the client is pinged.
const PINGS_CLIENT: SessionSettings = SessionSettings {
    keepalive: Settings {
        ping_interval: SideTimes { client: Some(PING_INTERVAL), backend: None },
        ..JUDGES_CLIENT.keepalive
    },
    ..SILENT
};

fn cause(pair: &Pair) -> Option<Cause> {
    pair.session.termination().map(|end| end.cause)
}

#[test]
fn rule_2_a_client_that_takes_nothing_is_found_only_if_the_driver_tells_what_it_could_write() {
    for (tells, found) in [(true, Some(Cause::ClientDead)), (false, None)] {
        let mut pair = Pair { tells, ..Pair::new(&JUDGES_CLIENT) };
        pair.takes(Client, 0);
        pair.sends(Backend, message(Backend, "hello"));
        pair.wait(PONG_TIMEOUT * 2);
        assert_eq!(cause(&pair), found, "tells: {tells}");
    }
}

#[test]
fn rule_3_a_slow_client_lives_only_if_the_driver_looks_what_it_takes() {
    for (looks, found) in [(true, None), (false, Some(Cause::ClientDead))] {
        let mut pair = Pair { looks, ..Pair::new(&PINGS_CLIENT) };
        pair.client.buffer = 1000;
        pair.takes(Client, 0);
        pair.sends(Backend, message(Backend, &"slowly ".repeat(10)));
        for _ in 0..20 {
            pair.wait(seconds(5));
            pair.takes(Client, 1);
        }
        assert_eq!(cause(&pair), found, "looks: {looks}");
    }
}

#[test]
fn rule_4_a_client_whose_answer_has_come_lives_only_if_the_answer_is_fed_before_its_silence_is_judged() {
    for (feeds, found) in [(true, None), (false, Some(Cause::ClientDead))] {
        let mut pair = Pair::new(&PINGS_CLIENT);
        pair.wait(PING_INTERVAL);
        let ping = pair.frames(Client).pop().unwrap();
        pair.client.unread = frame(Client, 0x8A, &ping.payload);
        // The driver is held up, and comes back too late.
        pair.now += PONG_TIMEOUT;
        assert!(pair.session.judges_silence(pair.now));
        if feeds {
            pair.pump();
        }
        pair.look();
        pair.session.handle_timeout(pair.now);
        assert_eq!(cause(&pair), found, "feeds: {feeds}");
    }
}
