//! What a session costs while nothing happens, what it does not share, and that a session never gets too old.

use super::*;

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// The goal for the whole user memory of an idle session, with its two streams and its record, is about 540 bytes.
#[test]
fn a_session_leaves_most_of_what_an_idle_one_may_cost_to_its_streams_and_record() {
    assert!(size_of::<Session>() <= 192, "{} bytes", size_of::<Session>());
}

#[test]
fn deadlines_of_a_year_hold_over_a_hundred_years() {
    let pong_timeout = SideTimes::of_both(Some(YEAR));
    let keepalive = Settings { ping_interval: SideTimes::of_both(Some(YEAR / 2)), pong_timeout };
    let mut pair = Pair::new(&SessionSettings { keepalive, idle: Some(YEAR), ..PINGING });
    for _ in 0..200 {
        pair.wait(YEAR / 2);
        pair.answers_our_ping(Client);
        pair.answers_our_ping(Backend);
    }
    let pings = pair.session.round_trips(Client).pings;
    assert!((200..=223).contains(&pings), "{pings} in 200 half years, each up to a tenth early");
    let last_byte = pair.now;
    pair.wait(YEAR - Duration::from_nanos(1));
    assert_eq!(pair.session.termination(), None);
    pair.wait(Duration::from_nanos(1));
    assert_eq!((pair.now, pair.ended().1), (last_byte + YEAR, Cause::Idle));
}

#[test]
fn timeouts_are_due_to_the_nanosecond() {
    let mut pair = Pair::new(&SessionSettings { idle: Some(seconds(60)), ..SILENT });
    pair.wait(Duration::from_nanos(1_234_567_891));
    pair.sends(Client, message(Client, "hello"));
    assert_eq!(pair.session.poll_timeout(), Some(pair.now + seconds(60)));
}

#[test]
fn sessions_with_one_secret_are_spread_evenly_and_each_stays_at_its_place() {
    let now = Instant::now();
    let common = Arc::new(Common {
        settings: PINGING,
        hold: None,
        resume: None,
        secret: Secret([7; 16]),
        epoch: now,
        round_trips: crate::ws::round_trips::RoundTripTimes::default(),
    });
    let place = |nonce| Session::new(Arc::clone(&common), nonce, now).position();
    let mut tenths = [0; 10];
    for nonce in 0..1000 {
        assert!((0.0..=1.0).contains(&place(nonce)));
        assert_eq!(place(nonce).to_bits(), place(nonce).to_bits());
        tenths[((place(nonce) * 10.0) as usize).min(9)] += 1;
    }
    assert!(tenths.iter().all(|tenth| (60..140).contains(tenth)), "{tenths:?}");
}

#[test]
fn a_pong_to_the_ping_of_another_session_passes() {
    let mut pair = Pair::new(&PINGING);
    let common = Arc::clone(&pair.session.common);
    let other = Session::new(common, 8, pair.now);
    pair.wait(PING_INTERVAL);
    let mut theirs = Pair { session: other, ..Pair::new(&PINGING) };
    theirs.wait(PING_INTERVAL);
    let (ours, theirs) = (pair.frames(Client).pop().unwrap(), theirs.frames(Client).pop().unwrap());
    assert_ne!(ours.payload, theirs.payload);
    pair.sends(Client, frame(Client, 0x8A, &theirs.payload));
    assert_eq!(pair.frames(Backend).pop().unwrap().payload, theirs.payload);
}
