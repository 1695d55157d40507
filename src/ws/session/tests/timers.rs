//! What a session waits for.

use super::*;
use crate::ws::session::timer::Timer;

/// A pair whose session waits for this timer. A few looks at what a side takes may come first.
fn waiting_for(timer: Timer) -> Pair {
    let judging = |client, backend| {
        let pong_timeout = SideTimes { client, backend };
        SessionSettings { keepalive: Settings { pong_timeout, ..SILENT.keepalive }, ..SILENT }
    };
    match timer {
        Timer::Death(side) | Timer::Look(side) => {
            let judged = Some(PONG_TIMEOUT);
            let mut pair = Pair::new(&if side == Client { judging(judged, None) } else { judging(None, judged) });
            pair.takes(side, 0);
            pair.sends(side.other(), message(side.other(), "for nobody"));
            pair
        }
        Timer::Idle => Pair::new(&SessionSettings { idle: Some(seconds(60)), ..SILENT }),
        Timer::Notice => Pair::new(&SessionSettings { max_lifetime: Some(seconds(60)), ..SILENT }),
        Timer::Hold => {
            let mut pair = Pair::on_terms(&SILENT, Some(holds::terms()));
            pair.fin(Backend);
            pair
        }
        Timer::Absence => {
            let mut pair = resumes::resumable(&SILENT, None);
            pair.fin(Client);
            pair
        }
        Timer::News => resumes::resumable(&SILENT, None),
        Timer::Ping(side) => {
            let interval = |pinged| (side == pinged).then_some(PING_INTERVAL);
            let ping_interval = SideTimes { client: interval(Client), backend: interval(Backend) };
            let keepalive = Settings { ping_interval, ..PINGING.keepalive };
            Pair::new(&SessionSettings { keepalive, ..PINGING })
        }
        Timer::Hurry => {
            let mut pair = Pair::new(&SILENT);
            pair.sends(Client, frame(Client, 0x01, b"half a message"));
            pair.drain();
            pair
        }
        Timer::Cut => {
            let mut pair = Pair::new(&SILENT);
            pair.drain();
            pair.wait(CLOSE_TIMEOUT * 3 / 4);
            pair
        }
    }
}

#[test]
fn a_session_comes_back_for_each_of_its_timers() {
    for timer in Timer::ALL {
        let mut pair = waiting_for(timer);
        for looks in 0.. {
            assert!(looks < 100 && !pair.over, "{timer:?} is never the first");
            let at = pair.session.poll_timeout().unwrap_or_else(|| panic!("{timer:?} is not waited for"));
            assert!(!pair.session.is_due(timer, pair.session.common.tick(pair.now)), "{timer:?} is late");
            let is_first = pair.session.is_due(timer, pair.session.common.tick(at));
            // Panics if a timeout changes nothing.
            pair.wait(at - pair.now);
            if is_first {
                assert!(pair.over || pair.session.poll_timeout() != Some(at), "{timer:?} goes off for ever");
                break;
            }
        }
    }
}
