//! A session as a script of events, in virtual time. Whatever both ends do, these rules hold:
//!
//! 1. The bytes that pass are those that the ends sent, in order, frame by frame.
//! 2. A frame of ours stands between two frames, and never behind a Close.
//! 3. The session ends.

use std::{
    hash::{DefaultHasher, Hasher as _},
    io::Cursor,
    sync::Arc,
    time::{Duration, Instant},
};

use longwire::ws::{
    Side::{self, Backend, Client},
    close::CloseCode,
    frame::{MAX_CONTROL_FRAME, OpCode as Ours},
    keepalive::{Secret, Settings, SideTimes},
    meter::MessageLimits,
    opcodes::OpCodeCounts,
    progress::Progress,
    rate::Rate,
    session::{Common, Departure, Notice, Passage, Session, SessionSettings},
    termination::{Cause, Loss},
};
use tokio_tungstenite::tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, OpCode},
};

/// More timeouts than a session can need.
const MOST_TIMEOUTS: usize = 1000;
/// Longer than any script lasts.
const FAR: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The first two bytes choose the settings. Then each event is one byte, followed by the bytes that it needs.
pub fn check(bytes: &[u8]) {
    let [choice, limits, script @ ..] = bytes else { return };
    let mut play = Play::new(*choice, *limits, secret_of(bytes));
    let mut script = Script(script);
    while let Some(event) = script.byte() {
        play.happen(event, &mut script);
    }
    play.session.handle_notice(Some(drain_at(play.now)), play.now);
    play.pump();
    play.wait(Duration::from_secs(24 * 3600));
    assert!(play.over, "it does not end");
    assert!(play.session.termination().is_some());
    for side in [Client, Backend] {
        play.check(side);
    }
    if let Some(relayed) = play.relayed {
        let counted = [Client, Backend].map(|from| Ours::ALL.map(|opcode| play.counts.of(from, opcode)));
        assert_eq!(counted.as_flattened().iter().sum::<u64>(), relayed, "a frame is counted where it is seen to pass");
    }
}

struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> usize {
        usize::from(self.byte().unwrap_or_default())
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken.to_vec()
    }
}

/// One end, and what the session did with the bytes that it sent.
#[derive(Default)]
struct End {
    unread: Vec<u8>,
    fin_sent: bool,
    fin_read: bool,
    kept: Vec<u8>,
    /// Bytes that wait for this end.
    waiting: usize,
    /// How many bytes this end still takes; `None` = all.
    room: Option<usize>,
    broken: bool,
    /// All bytes that were read from this end.
    sent: Vec<u8>,
    /// The bytes of the other end that went to this end.
    forwarded: Vec<u8>,
    /// The frames of ours that went to this end, each with the number of the other end's bytes before it.
    ours: Vec<(usize, Vec<u8>)>,
}

struct Play {
    session: Session,
    now: Instant,
    ends: [End; 2],
    splices: bool,
    /// Whether sides are closed when they may be.
    closes: bool,
    over: bool,
    /// Counts of the frames that passed.
    counts: OpCodeCounts,
    /// How many relayed frames the observer has seen; `None` = there is no observer, or it missed some frames.
    relayed: Option<u64>,
}

impl Play {
    fn new(choice: u8, limits: u8, secret: Secret) -> Self {
        let seconds = |on: bool, seconds| on.then(|| Duration::from_secs(seconds));
        let interval = |is_pinged: bool| seconds(is_pinged && choice & 1 != 0, 20);
        let keepalive = Settings {
            ping_interval: SideTimes { client: interval(choice & 4 == 0), backend: interval(choice & 8 == 0) },
            pong_timeout: SideTimes::of_both(seconds(choice & 2 != 0, 30)),
        };
        let (is_observed, closes) = (limits & 32 != 0, limits & 64 != 0);
        let size = |bit: u8, size| (limits & bit != 0).then_some(size);
        let rate = |bit: u8, rate| (limits & bit != 0).then(|| Rate::per_second(rate)).flatten();
        let limits = MessageLimits {
            message_size: size(1, 150),
            frame_size: size(2, 100),
            backend_message_size: size(4, 200),
            frames: rate(8, 10),
            bytes: rate(16, 500),
        };
        let settings = SessionSettings {
            keepalive,
            max_lifetime: seconds(choice & 128 != 0, 90),
            limits,
            idle: seconds(choice & 16 != 0, 60),
            close_timeout: Duration::from_secs(4),
            extensions: choice & 32 != 0,
        };
        let now = Instant::now();
        let round_trips = longwire::ws::round_trips::RoundTripTimes::default();
        let common = Common { settings, hold: None, resume: None, secret, epoch: now, round_trips };
        let mut session = Session::new(Arc::new(common), 7, now);
        session.observe(is_observed.then(|| now + FAR));
        let (counts, relayed) = (OpCodeCounts::default(), is_observed.then_some(0));
        let (splices, ends) = (choice & 64 != 0, Default::default());
        Self { session, now, ends, splices, closes, over: false, counts, relayed }
    }

    fn happen(&mut self, event: u8, script: &mut Script<'_>) {
        let side = if event & 0x80 == 0 { Client } else { Backend };
        let now = self.now;
        match event & 0x0F {
            0 | 1 => {
                let length = script.number();
                let bytes = script.bytes(length);
                self.sends(side, &bytes);
            }
            2..=5 => {
                let (first, length) = (script.byte().unwrap_or(0x81), script.number());
                let payload = script.bytes(length);
                self.sends(side, &frame(side, first, &payload));
            }
            6 => {
                if let Some(payload) = self.our_pings(side).pop() {
                    self.sends(side, &frame(side, 0x8A, &payload));
                }
            }
            7 => self.end(side).fin_sent = true,
            8 => {
                self.end(side).broken = true;
                self.end(side).fin_sent = true;
            }
            9 => self.end(side).room = Some(script.number()),
            10 => self.end(side).room = None,
            11 | 12 => self.wait(Duration::from_millis(100) * u32::try_from(script.number()).unwrap_or_default()),
            13 => {
                if let Some(at) = self.session.poll_timeout() {
                    self.wait(at.saturating_duration_since(now));
                }
            }
            14 => {
                let tenths = u32::try_from(script.number()).unwrap_or_default();
                let at = now + Duration::from_millis(100) * tenths;
                // Now and then, the order is taken back.
                self.session.handle_notice((tenths % 4 != 3).then(|| drain_at(at)), now);
            }
            _ if side == Client => self.session.handle_shortage(now),
            _ => {
                let side = if script.number() & 1 == 0 { Client } else { Backend };
                self.end(side).broken = true;
            }
        }
        self.pump();
    }

    fn sends(&mut self, side: Side, bytes: &[u8]) {
        let end = self.end(side);
        if !end.fin_sent {
            end.unread.extend_from_slice(bytes);
        }
    }

    /// Lets time pass. Everything that falls due happens on time, and each timeout changes something.
    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        for _ in 0..MOST_TIMEOUTS {
            let Some(at) = self.session.poll_timeout().filter(|at| *at <= until && !self.over) else {
                self.now = until;
                return;
            };
            self.now = self.now.max(at);
            self.look();
            self.session.handle_timeout(self.now);
            self.pump();
            let next = self.session.poll_timeout();
            assert!(self.over || next.is_none_or(|next| next > self.now), "a timeout that changed nothing");
        }
    }

    /// Does what the relay does: reads a side while the other side takes the bytes, sends our frames, and shuts down.
    fn pump(&mut self) {
        let mut moved = !self.over;
        while moved {
            moved = false;
            for side in [Client, Backend] {
                moved |= self.flush(side, 0) && self.read(side.other());
            }
            for side in [Client, Backend] {
                self.transmit(side);
                if !self.flush(side, 0) {
                    continue;
                }
                if self.closes && self.session.may_close(side) && self.end(side).unread.is_empty() {
                    self.session.handle_closed(side, self.now);
                    moved = true;
                } else if self.session.wants_shut(side) {
                    self.session.handle_shut(side);
                    moved = true;
                }
            }
        }
        self.look();
        self.over |= self.session.is_over(self.now);
        if let (Some(relayed), Some((seen, missed))) = (&mut self.relayed, self.session.take_seen()) {
            *relayed += seen.iter().filter(|seen| seen.passage == Passage::Relayed).count() as u64;
            if missed > 0 {
                self.relayed = None;
            }
        }
    }

    /// Tells the session the kernel's progress, if the session wants to know it. The kernel has taken everything that was
    /// written.
    fn look(&mut self) {
        for side in [Client, Backend] {
            if self.session.wants_progress(side, self.now) {
                let end = self.end(side);
                let ours: usize = end.ours.iter().map(|(_, frame)| frame.len()).sum();
                let acknowledged = (end.forwarded.len() + ours - end.waiting) as u64;
                self.session.handle_progress(side, Progress { acknowledged, unsent: 0 }, self.now);
            }
        }
    }

    fn read(&mut self, from: Side) -> bool {
        let now = self.now;
        if !self.session.wants_read(from) {
            return false;
        }
        let unseen = usize::try_from(self.session.unseen(from)).unwrap_or(usize::MAX);
        let splices = self.splices && unseen > 0;
        let end = self.end(from);
        if end.unread.is_empty() {
            if !end.fin_sent || end.fin_read {
                return false;
            }
            end.fin_read = true;
            if end.broken {
                self.session.handle_broken(from, Loss::Reset, now);
            }
            self.session.handle_eof(from, now);
            return true;
        }
        let come = std::mem::take(&mut end.unread);
        end.sent.extend_from_slice(&come);
        if splices {
            let (payload, rest) = come.split_at(unseen.min(come.len()));
            let end = self.end(from);
            end.sent.truncate(end.sent.len() - rest.len());
            end.unread = rest.to_vec();
            self.session.handle_unseen(from, payload.len() as u64, now);
            self.forward(from.other(), payload);
            return true;
        }
        let mut buffer = std::mem::take(&mut end.kept);
        buffer.extend(come);
        let passed = self.session.handle_input(from, &mut buffer, &mut self.counts, now);
        assert!(passed.forward <= passed.keep.start && passed.keep.end <= buffer.len(), "{passed:?}");
        assert!(passed.keep.len() < MAX_CONTROL_FRAME, "{} bytes held", passed.keep.len());
        self.end(from).kept = buffer[passed.keep].to_vec();
        self.forward(from.other(), &buffer[..passed.forward]);
        true
    }

    fn forward(&mut self, to: Side, bytes: &[u8]) {
        self.end(to).forwarded.extend_from_slice(bytes);
        self.flush(to, bytes.len());
        self.transmit(to);
    }

    fn transmit(&mut self, to: Side) {
        let mut frames = Vec::new();
        self.session.poll_transmit(to, self.now, &mut frames);
        if !frames.is_empty() {
            assert!(!self.session.wants_to_transmit(to), "more to transmit");
            let (end, length) = (self.end(to), frames.len());
            end.ours.push((end.forwarded.len(), frames));
            self.flush(to, length);
        }
    }

    /// Whether the end has taken all bytes that wait for it, with `more` added.
    fn flush(&mut self, to: Side, more: usize) -> bool {
        let (now, lost) = (self.now, self.session.is_lost(to));
        let end = self.end(to);
        end.waiting += more;
        if end.waiting == 0 {
            return true;
        }
        let moved = end.room.map_or(end.waiting, |room| room.min(end.waiting));
        if end.broken || (lost && moved < end.waiting) {
            end.waiting = 0;
            self.session.handle_broken(to, Loss::Reset, now);
            return true;
        }
        end.room = end.room.map(|room| room - moved);
        end.waiting -= moved;
        let left = end.waiting;
        self.session.handle_written(to, moved, left, now);
        left == 0
    }

    fn end(&mut self, side: Side) -> &mut End {
        &mut self.ends[side as usize]
    }

    /// The payloads of our Pings to a side.
    fn our_pings(&self, to: Side) -> Vec<Vec<u8>> {
        let ours = self.ends[to as usize].ours.iter();
        ours.filter(|(_, frame)| frame[0] == 0x89).map(|(_, frame)| payload_of(frame)).collect()
    }

    /// Compares the bytes that went to a side with those that the other side sent.
    fn check(&self, to: Side) {
        let (end, from) = (&self.ends[to as usize], to.other());
        assert_eq!(self.session.counts(from).bytes, end.forwarded.len() as u64);
        let pings = self.our_pings(from);
        let (mut rest, mut passed, mut boundaries) = (&self.ends[from as usize].sent[..], 0, vec![0]);
        let mut closed_at = None;
        while passed < end.forwarded.len() {
            let forwarded = &end.forwarded[passed..];
            let Some((opcode, length)) = read(rest) else {
                assert!(rest.starts_with(forwarded), "what passed was not sent");
                break;
            };
            let frame = &rest[..length];
            rest = &rest[length..];
            if forwarded.starts_with(frame) {
                assert!(closed_at.is_none(), "something passed behind a Close");
                passed += length;
                boundaries.push(passed);
                closed_at = (opcode == OpCode::Control(Control::Close)).then_some(passed);
            } else if opcode == OpCode::Control(Control::Pong) && pings.contains(&payload_of(frame)) {
                // A Pong to our Ping stays here.
            } else {
                assert!(frame.starts_with(forwarded), "what passed is neither the next frame nor its begin");
                break;
            }
        }
        for (number, (behind, frame)) in end.ours.iter().enumerate() {
            assert!(boundaries.contains(behind), "ours is inside a frame");
            assert!(closed_at.is_none_or(|at| *behind < at), "ours is behind their Close");
            assert_eq!(frame[1] & 0x80 != 0, to == Backend, "masked toward the backend only");
            if frame[0] == 0x88 {
                let code = u16::from_be_bytes([payload_of(frame)[0], payload_of(frame)[1]]);
                assert!(matches!(code, 1001 | 1002 | 1008 | 1009 | 1011 | 1012 | 1013), "{code}");
                assert_eq!(
                    (number + 1, *behind),
                    (end.ours.len(), end.forwarded.len()),
                    "something is behind our Close"
                );
            } else {
                assert_eq!(frame[0], 0x89, "ours are Pings and Closes");
            }
        }
    }
}

/// A secret that is different for each script. A fuzzer sees comparisons, so with one fixed secret it would forge our Pongs.
fn secret_of(script: &[u8]) -> Secret {
    let mut hasher = DefaultHasher::new();
    hasher.write(script);
    let half = hasher.finish().to_be_bytes();
    let mut secret = [0; 16];
    secret[..8].copy_from_slice(&half);
    Secret(secret)
}

fn drain_at(at: Instant) -> Notice {
    Notice { at, cause: Cause::Drain, code: CloseCode::SERVICE_RESTART, departure: Departure::Move }
}

/// The opcode and the length of the frame at the start, as tungstenite reads them; `None` = there is no whole frame.
fn read(bytes: &[u8]) -> Option<(OpCode, usize)> {
    let mut cursor = Cursor::new(bytes);
    let (header, length) = FrameHeader::parse(&mut cursor).ok()??;
    let end = usize::try_from(cursor.position().checked_add(length)?).ok()?;
    (end <= bytes.len()).then_some((header.opcode, end))
}

/// The payload of a whole control frame.
fn payload_of(frame: &[u8]) -> Vec<u8> {
    let (key, masked) = if frame[1] & 0x80 == 0 { (&[0; 4][..], &frame[2..]) } else { frame[2..].split_at(4) };
    masked.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect()
}

/// A frame as a side sends it.
fn frame(from: Side, first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = if from == Client { 0x80 } else { 0 };
    let mut frame = match u8::try_from(payload.len()) {
        Ok(length @ 0..126) => vec![first, mask | length],
        _ => [&[first, mask | 126], &u16::try_from(payload.len()).unwrap_or_default().to_be_bytes()[..]].concat(),
    };
    if from == Client {
        frame.extend([0x37, 0xfa, 0x21, 0x3d]);
    }
    let key = if from == Client { [0x37, 0xfa, 0x21, 0x3d] } else { [0; 4] };
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}
