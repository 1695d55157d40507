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
    close::CloseCode,
    frame::FrameHeader,
    keepalive::{Secret, Settings, SideTimes},
    meter::MessageLimits,
    opcodes::OpCodeCounts,
    session::{Common, HoldTerms, HoldTriggers, Passed, ResumeTerms, Session, SessionSettings},
    tracker::{Rules, Tracker},
};

/// Repeats a step this many times.
type Step = fn(u32);

const STEPS: [(&str, Step); 9] = [
    ("header-64", |count| header(64, count)),
    ("header-65536", |count| header(65_536, count)),
    ("tracker-64", tracker),
    ("message-64", |count| messages(1, count)),
    ("message-64-of-16", |count| messages(16, count)),
    ("message-64-hold", held_messages),
    ("message-64-resume", resumable_messages),
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

/// The bytes that are kept for an end, by default.
const KEPT: usize = 65_536;

/// How control texts begin.
const RESUME_SECRET: &str = "0123456789abcdefghijkl:";

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
    take_turns(&mut session, count as usize / in_one_read, (&mut to_client, &mut to_backend), &mut now);
}

/// Relays `count` reads. The sides take turns.
fn take_turns(session: &mut Session, count: usize, (to_client, to_backend): (&mut [u8], &mut [u8]), now: &mut Instant) {
    let mut counts = OpCodeCounts::default();
    for _ in 0..count / 2 {
        *now += TICK;
        black_box(relay(session, &mut counts, Side::Backend, to_client, *now));
        black_box(relay(session, &mut counts, Side::Client, to_backend, *now));
    }
}

/// Relays `count` messages of a session that may outlive its backend. The sides take turns.
fn held_messages(count: u32) {
    let hold = HoldTerms {
        longest: Duration::from_secs(10),
        queue: KEPT,
        on: HoldTriggers { lost: true, codes: Box::new([CloseCode::GOING_AWAY]) },
        times: None,
        notify: None,
        drain_code: CloseCode::GOING_AWAY,
    };
    let (mut to_client, mut to_backend) = (frame(0x82, 64, None), frame(0x82, 64, Some([7; 4])));
    let mut now = Instant::now();
    let mut session = Session::new(Arc::new(Common { hold: Some(hold), ..common(SETTINGS, now) }), 7, now);
    take_turns(&mut session, count as usize, (&mut to_client, &mut to_backend), &mut now);
}

/// Relays `count` messages of a session that may outlive its client's connection. The sides take turns. Both ends acknowledge a
/// quarter of what is kept.
fn resumable_messages(count: u32) {
    let terms = ResumeTerms { longest: Duration::from_secs(30), replay: KEPT, beat: Duration::from_secs(10) };
    let (mut to_client, to_backend) = (frame(0x82, 64, None), frame(0x82, 64, Some([7; 4])));
    let mut now = Instant::now();
    let mut session = Session::new(Arc::new(Common { resume: Some(terms), ..common(SETTINGS, now) }), 7, now);
    session.begin_resumable(RESUME_SECRET);
    let (mut counts, mut ours) = (OpCodeCounts::default(), Vec::new());
    for number in 1..=count / 2 {
        now += TICK;
        black_box(relay(&mut session, &mut counts, Side::Backend, &mut to_client, now));
        ours.clear();
        if session.wants_to_transmit(Side::Client) {
            session.poll_transmit(Side::Client, now, &mut ours);
            session.handle_written(Side::Client, ours.len(), 0, now);
        }
        feed(&mut session, &mut counts, &to_backend, now);
        if number % (KEPT / 4 / to_client.len()) as u32 == 0 {
            let mut text = frame(0x81, RESUME_SECRET.len() + 8, Some([0; 4]));
            text[6..].copy_from_slice(format!("{RESUME_SECRET}{number:08}").as_bytes());
            feed(&mut session, &mut counts, &text, now);
        }
    }
}

/// Makes the calls that the driver makes for one read of a client that may come back, and one write.
fn feed(session: &mut Session, counts: &mut OpCodeCounts, bytes: &[u8], now: Instant) {
    let mut passed = Vec::with_capacity(bytes.len());
    session.handle_client_input(black_box(bytes), counts, now, &mut passed);
    session.handle_written(Side::Backend, passed.len(), 0, now);
    black_box((session.wants_to_transmit(Side::Backend), session.poll_timeout(), session.is_over(now)));
    black_box(passed);
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
    Session::new(Arc::new(common(settings, now)), 7, now)
}

fn common(settings: SessionSettings, now: Instant) -> Common {
    Common {
        settings,
        hold: None,
        resume: None,
        secret: Secret([7; 16]),
        epoch: now,
        round_trips: longwire::ws::round_trips::RoundTripTimes::default(),
    }
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
