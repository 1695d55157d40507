//! The steps of the pure core whose instructions `benches/instructions/run` counts.
//!
//! The script runs a step with several counts of repetitions. The difference between two runs holds only the step and its
//! loop.
//!
//! `steps` names the steps; `steps STEP COUNT` repeats one.

use std::{
    env,
    hint::black_box,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use longwire::ws::{
    Side,
    frame::FrameHeader,
    keepalive::{Secret, Settings, SideTimes},
    meter::MessageLimits,
    opcodes::OpCodeCounts,
    session::{Common, Passed, Session, SessionSettings},
    tracker::{Rules, Tracker},
};

/// Repeats a step this many times.
type Step = fn(u32);

const STEPS: [(&str, Step); 7] = [
    ("header-64", |count| header(64, count)),
    ("header-65536", |count| header(65_536, count)),
    ("tracker-64", tracker),
    ("message-64", |count| messages(1, count)),
    ("message-64-of-16", |count| messages(16, count)),
    ("relayed-ping", relayed_ping),
    ("our-ping", our_ping),
];

const SETTINGS: SessionSettings = SessionSettings {
    keepalive: Settings {
        ping_interval: SideTimes::of_both(Some(Duration::from_secs(25))),
        pong_timeout: SideTimes::of_both(Some(Duration::from_secs(30))),
    },
    idle: None,
    max_lifetime: None,
    close_timeout: Duration::from_secs(5),
    limits: MessageLimits::NONE,
    extensions: false,
};

/// Only the client is pinged, so each step is one Ping.
const CLIENT_PINGED: SessionSettings = SessionSettings {
    keepalive: Settings {
        ping_interval: SideTimes { backend: None, ..SETTINGS.keepalive.ping_interval },
        ..SETTINGS.keepalive
    },
    ..SETTINGS
};

/// The time from turn to turn. Adding to an instant takes more instructions when its second is full. Over many turns, that
/// happens equally often in each run.
const TICK: Duration = Duration::from_micros(1250);

fn main() -> ExitCode {
    // `cargo bench` adds an option of its own, which is ignored.
    let words: Vec<String> = env::args().skip(1).filter(|word| word != "--bench").collect();
    let Some(name) = words.first() else {
        STEPS.iter().for_each(|(name, _)| println!("{name}"));
        return ExitCode::SUCCESS;
    };
    let step = STEPS.iter().find(|(known, _)| known == name);
    let count = words.get(1).and_then(|count| count.parse().ok());
    let (Some((_, step)), Some(count)) = (step, count) else {
        eprintln!("usage: steps [STEP COUNT]");
        return ExitCode::from(2);
    };
    step(count);
    ExitCode::SUCCESS
}

/// Reads the header of a masked frame.
fn header(payload: usize, count: u32) {
    let frame = frame(0x82, payload, Some([7; 4]));
    for _ in 0..count {
        let _ = black_box(FrameHeader::parse(black_box(&frame)));
    }
}

/// Tracks a masked frame that has come as a whole.
fn tracker(count: u32) {
    let frame = frame(0x82, 64, Some([7; 4]));
    let (mut tracker, rules) = (Tracker::default(), Rules { sender: Side::Client, extensions: false });
    for _ in 0..count {
        let _ = black_box(tracker.step(rules, black_box(&frame)));
    }
}

/// Relays `count` messages, `in_one_read` of them in each read. The sides take turns.
fn messages(in_one_read: usize, count: u32) {
    let mut to_client = frame(0x82, 64, None).repeat(in_one_read);
    let mut to_backend = frame(0x82, 64, Some([7; 4])).repeat(in_one_read);
    let mut now = Instant::now();
    let mut session = session(SETTINGS, now);
    let mut counts = OpCodeCounts::default();
    for _ in 0..count as usize / in_one_read / 2 {
        now += TICK;
        black_box(relay(&mut session, &mut counts, Side::Backend, &mut to_client, now));
        black_box(relay(&mut session, &mut counts, Side::Client, &mut to_backend, now));
    }
}

/// Relays a Ping of the backend to the client, and the Pong of the client back.
fn relayed_ping(count: u32) {
    let (mut ping, mut pong) = (frame(0x89, 4, None), frame(0x8A, 4, Some([7; 4])));
    pong[6..].iter_mut().for_each(|byte| *byte ^= 7);
    let mut now = Instant::now();
    let mut session = session(SETTINGS, now);
    let mut counts = OpCodeCounts::default();
    for _ in 0..count {
        now += TICK;
        black_box(relay(&mut session, &mut counts, Side::Backend, &mut ping, now));
        black_box(relay(&mut session, &mut counts, Side::Client, &mut pong, now));
    }
}

/// A Ping of ours falls due and goes to the client. The Pong of the client comes back, and stops here.
fn our_ping(count: u32) {
    let mut now = Instant::now();
    let mut session = session(CLIENT_PINGED, now);
    let mut counts = OpCodeCounts::default();
    let (mut ping, mut pong) = (Vec::new(), frame(0x8A, 12, Some([0; 4])));
    for _ in 0..count {
        now += Duration::from_secs(25);
        session.handle_timeout(now);
        ping.clear();
        if session.wants_to_transmit(Side::Client) {
            session.poll_transmit(Side::Client, now, &mut ping);
        }
        session.handle_written(Side::Client, ping.len(), 0, now);
        pong[6..].copy_from_slice(&ping[2..]);
        let passed = relay(&mut session, &mut counts, Side::Client, &mut pong, now);
        assert_eq!(passed.forward, 0, "a Pong of ours passed");
    }
}

fn session(settings: SessionSettings, now: Instant) -> Session {
    Session::new(
        Arc::new(Common {
            settings,
            hold: None,
            resume: None,
            secret: Secret([7; 16]),
            epoch: now,
            round_trips: longwire::ws::round_trips::RoundTripTimes::default(),
        }),
        7,
        now,
    )
}

/// Makes the calls that the driver makes for one read and one write.
fn relay(session: &mut Session, counts: &mut OpCodeCounts, from: Side, bytes: &mut [u8], now: Instant) -> Passed {
    let to = from.other();
    let passed = session.handle_input(from, black_box(bytes), counts, now);
    session.handle_written(to, passed.forward, 0, now);
    black_box((session.wants_to_transmit(to), session.poll_timeout(), session.is_over(now)));
    passed
}

/// A frame full of 0x5A, with the shortest form of its length. With a key, the payload stays as it is, because its unmasked
/// value means nothing here.
fn frame(first: u8, payload: usize, mask: Option<[u8; 4]>) -> Vec<u8> {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let mut frame = vec![first];
    match u16::try_from(payload) {
        Ok(short @ 0..=125) => frame.push(masked | short.to_be_bytes()[1]),
        Ok(medium) => {
            frame.push(masked | 126);
            frame.extend(medium.to_be_bytes());
        }
        Err(_) => {
            frame.push(masked | 127);
            frame.extend((payload as u64).to_be_bytes());
        }
    }
    frame.extend(mask.into_iter().flatten());
    frame.resize(frame.len() + payload, 0x5A);
    frame
}
