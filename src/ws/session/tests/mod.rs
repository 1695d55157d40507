//! Scripts in virtual time: the test plays both ends, and the session runs between them.

#![allow(clippy::unwrap_used)]

mod absences;
mod anew;
mod ends;
mod fading;
mod holds;
mod keeps_alive;
mod lasts;
mod limited;
mod moves;
mod observed;
mod order;
mod outlived;
mod properties;
mod rebalances;
mod records;
mod relays;
mod resumes;
mod timers;

use std::{
    io::Cursor,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_tungstenite::tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};

use super::{
    Claimed, Common, Departure, HoldCause, HoldState, HoldTerms, HoldTriggers, Notice, ResumeFailure, ResumeTerms,
    Session, SessionSettings,
};
use crate::ws::{
    Side::{self, Backend, Client},
    close::CloseCode,
    frame::MAX_CONTROL_FRAME,
    keepalive::{Secret, Settings, SideTimes},
    meter::MessageLimits,
    opcodes::OpCodeCounts,
    progress::Progress,
    termination::{Cause, Initiator, Loss},
};

const PING_INTERVAL: Duration = Duration::from_secs(20);
const PONG_TIMEOUT: Duration = Duration::from_secs(30);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(4);

/// No side is pinged or judged.
const SILENT: SessionSettings = SessionSettings {
    keepalive: Settings { ping_interval: SideTimes::of_both(None), pong_timeout: SideTimes::of_both(None) },
    idle: None,
    max_lifetime: None,
    close_timeout: CLOSE_TIMEOUT,
    limits: MessageLimits::NONE,
    extensions: false,
};

/// Both sides are pinged and judged.
const PINGING: SessionSettings = SessionSettings {
    keepalive: Settings {
        ping_interval: SideTimes::of_both(Some(PING_INTERVAL)),
        pong_timeout: SideTimes::of_both(Some(PONG_TIMEOUT)),
    },
    ..SILENT
};

/// A notice of a drain for this instant.
const fn notice(at: Instant) -> Notice {
    Notice { at, cause: Cause::Drain, code: CloseCode::SERVICE_RESTART, departure: Departure::End }
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A session between two ends. It does what a driver does, but never waits.
struct Pair {
    session: Session,
    now: Instant,
    client: End,
    backend: End,
    /// Backends that the session has outlived.
    gone: Vec<End>,
    /// Whether the session has let go of its client.
    is_away: bool,
    /// Whether too many clients are away for another one.
    refuses: bool,
    /// What the client has sent for the next backend.
    queue: Vec<u8>,
    /// The most bytes that one read takes.
    read: usize,
    /// Whether payload passes unread if that is allowed.
    splices: bool,
    /// Whether sides are closed if that is allowed.
    closes: bool,
    /// Whether the session is told what could be written.
    tells: bool,
    /// Whether the session is told what the kernel says. Otherwise it is told that the ends take nothing.
    looks: bool,
    over: bool,
    /// The frames that passed.
    counts: OpCodeCounts,
}

/// One end, and the wire to it.
#[derive(Default)]
struct End {
    /// Bytes that the end has sent and the session has not read.
    unread: Vec<u8>,
    fin_sent: bool,
    fin_read: bool,
    /// Bytes that the session has read and kept back.
    kept: Vec<u8>,
    /// Bytes for the end that the kernel has not taken.
    waiting: Vec<u8>,
    /// How many bytes the end still takes; `None` = all.
    room: Option<usize>,
    /// The most bytes that the kernel holds for the end.
    buffer: usize,
    /// Bytes for the end that the kernel holds.
    unsent: Vec<u8>,
    /// Whether writing to the end fails.
    broken: bool,
    taken: Vec<u8>,
    fin_taken: bool,
    /// Whether the end was closed in both directions. What it still sends then causes a reset.
    closed: bool,
}

impl End {
    /// The end takes bytes that the kernel holds for it.
    fn deliver(&mut self) {
        let taken = self.room.map_or(self.unsent.len(), |room| room.min(self.unsent.len()));
        self.room = self.room.map(|room| room - taken);
        self.taken.extend(self.unsent.drain(..taken));
    }
}

impl Pair {
    fn new(settings: &SessionSettings) -> Self {
        Self::on_terms(settings, None)
    }

    /// A pair whose session may outlive its backends.
    fn on_terms(settings: &SessionSettings, hold: Option<HoldTerms>) -> Self {
        Self::on_all_terms(settings, hold, None)
    }

    /// A pair whose session may outlive either end.
    fn on_all_terms(settings: &SessionSettings, hold: Option<HoldTerms>, resume: Option<ResumeTerms>) -> Self {
        let now = Instant::now();
        let common = Common {
            settings: *settings,
            hold,
            resume,
            secret: Secret([7; 16]),
            epoch: now,
            round_trips: crate::ws::round_trips::RoundTripTimes::default(),
        };
        let session = Session::new(Arc::new(common), 7, now);
        Self {
            session,
            now,
            client: End::default(),
            backend: End::default(),
            gone: Vec::new(),
            is_away: false,
            refuses: false,
            queue: Vec::new(),
            read: 64 * 1024,
            splices: false,
            closes: false,
            tells: true,
            looks: true,
            over: false,
            counts: OpCodeCounts::default(),
        }
    }

    fn sends(&mut self, from: Side, bytes: impl AsRef<[u8]>) {
        self.end(from).unread.extend_from_slice(bytes.as_ref());
        self.pump();
    }

    fn fin(&mut self, from: Side) {
        self.end(from).fin_sent = true;
        self.pump();
    }

    /// The end takes `room` more bytes and then none.
    fn takes(&mut self, to: Side, room: usize) {
        self.end(to).room = Some(room);
        self.pump();
    }

    fn takes_all(&mut self, to: Side) {
        self.end(to).room = None;
        self.pump();
    }

    /// Lets the next write to the end fail.
    fn breaks(&mut self, to: Side) {
        self.end(to).broken = true;
    }

    /// A reset: no more bytes come from the end, and none can be written to it.
    fn resets(&mut self, side: Side) {
        self.loses(side, Loss::Reset);
    }

    /// The kernel reports an error: no more bytes come from the end, and none can be written to it.
    fn loses(&mut self, side: Side, loss: Loss) {
        if !self.over && !self.end(side).closed {
            self.breaks(side);
            self.end(side).waiting.clear();
            self.session.handle_broken(side, loss, self.now);
            self.fin(side);
        }
    }

    /// The end answers our latest Ping.
    fn answers_our_ping(&mut self, from: Side) {
        let ping = self.frames(from).into_iter().rfind(Frame::is_our_ping).unwrap();
        self.sends(from, frame(from, 0x8A, &ping.payload));
    }

    /// The end answers the last of our Pings, if there is one.
    fn answers_pings(&mut self, from: Side) {
        if self.frames(from).iter().any(Frame::is_our_ping) {
            self.answers_our_ping(from);
        }
    }

    fn drain(&mut self) {
        self.is_told(Some(notice(self.now)));
    }

    fn is_told(&mut self, notice: Option<Notice>) {
        self.session.handle_notice(notice, self.now);
        self.pump();
    }

    /// An operator ends the session.
    fn kill(&mut self, code: u16, reason: &str) {
        self.session.handle_kill(CloseCode(code), reason, self.now);
        self.pump();
    }

    /// Time passes. Each timeout happens at its instant and only once, and changes something.
    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.session.poll_timeout().filter(|at| *at <= until && !self.over) {
            self.now = self.now.max(at);
            self.look();
            self.session.handle_timeout(self.now);
            self.pump();
            let next = self.session.poll_timeout();
            assert!(self.over || next.is_none_or(|next| next > self.now), "a timeout that changed nothing");
        }
        self.now = until;
    }

    fn pump(&mut self) {
        let calm = self.session.is_calm().then(|| self.session.poll_timeout());
        self.turn();
        for side in [Client, Backend].into_iter().filter(|_| self.session.is_calm()) {
            assert!(!self.session.wants_to_transmit(side) && !self.session.wants_shut(side), "calm, and yet to do");
        }
        if let Some(before) = calm.filter(|_| self.session.is_calm()) {
            let after = self.session.poll_timeout();
            let moved_on = after.is_none_or(|after| before.is_some_and(|before| before <= after));
            assert!(moved_on, "calm, and yet sooner: {before:?} to {after:?}");
        }
    }

    fn turn(&mut self) {
        let mut moved = !self.over;
        while moved {
            moved = false;
            for side in [Client, Backend] {
                let queues = side == Backend && self.session.queue_room().is_some();
                moved |= (self.flush(side) || queues) && self.read(side.other());
                self.lets_backend_go();
                self.lets_client_go();
            }
            for side in [Client, Backend] {
                self.transmit(side);
                moved |= self.flush(side) && (self.close(side) || self.shut(side));
            }
        }
        self.look();
        self.lets_backend_go();
        self.lets_client_go();
        self.over |= self.session.is_over(self.now);
    }

    /// Lets go of a backend that the session has outlived.
    fn lets_backend_go(&mut self) {
        if self.session.awaits_backend().is_some() && self.gone.len() == self.resumed() {
            let buffer = self.backend.buffer;
            self.gone.push(std::mem::replace(&mut self.backend, End { buffer, ..End::default() }));
        }
    }

    /// Lets go of a client that the session has outlived.
    fn lets_client_go(&mut self) {
        if self.session.awaits_client() && self.refuses {
            self.session.refuse_absence(self.now);
        } else if self.session.awaits_client() && !self.is_away {
            (self.client, self.is_away) = (End::default(), true);
        }
    }

    /// How many backends have followed the first one.
    fn resumed(&self) -> usize {
        usize::try_from(self.session.hold_tally().resumes).unwrap()
    }

    /// Another backend takes the session. Returns whether the session waits for one.
    fn resumes(&mut self) -> bool {
        let may = self.session.take_backend(self.now);
        if may {
            let queue = std::mem::take(&mut self.queue);
            self.backend.waiting.extend(queue);
            self.transmit(Client);
            self.flush(Backend);
            self.pump();
        }
        may
    }

    /// Closes a side, if no bytes are lost by that.
    fn close(&mut self, side: Side) -> bool {
        let closes = self.closes && self.session.may_close(side) && self.end(side).unread.is_empty();
        if closes {
            (self.end(side).fin_taken, self.end(side).closed) = (true, true);
            self.session.handle_closed(side, self.now);
        }
        closes
    }

    /// Sends our FIN, if the session wants it.
    fn shut(&mut self, side: Side) -> bool {
        let shuts = self.session.wants_shut(side);
        if shuts {
            self.end(side).fin_taken = true;
            self.session.handle_shut(side);
        }
        shuts
    }

    /// Asks the kernel, if the session wants to know.
    fn look(&mut self) {
        for side in [Client, Backend] {
            if self.session.wants_progress(side, self.now) {
                let looks = self.looks;
                let end = self.end(side);
                let progress = Progress { acknowledged: end.taken.len() as u64, unsent: end.unsent.len() as u64 };
                let progress = if looks { progress } else { Progress::default() };
                self.session.handle_progress(side, progress, self.now);
            }
        }
    }

    /// Reads once, if there is something to read.
    fn read(&mut self, from: Side) -> bool {
        if !self.session.wants_read(from) {
            return false;
        }
        let room = match from {
            Client => self.session.client_read_limit(),
            Backend => self.session.backend_read_limit(),
        };
        let (now, limit) = (self.now, room.map_or(self.read, |room| room.min(self.read)));
        if limit == 0 {
            return false;
        }
        let end = self.end(from);
        if end.unread.is_empty() {
            if !end.fin_sent || end.fin_read {
                return false;
            }
            end.fin_read = true;
            self.session.handle_eof(from, now);
            return true;
        }
        let length = end.unread.len().min(limit);
        let unseen = usize::try_from(self.session.unseen(from)).unwrap().min(length);
        if self.splices && unseen > 0 {
            return self.splice(from, unseen);
        }
        let end = self.end(from);
        let mut buffer = std::mem::take(&mut end.kept);
        buffer.extend(end.unread.drain(..length));
        let (forward, queued);
        if from == Client && self.session.is_resumable() {
            let come = std::mem::take(&mut buffer);
            queued = self.session.handle_client_input(&come, &mut self.counts, now, &mut buffer);
            forward = buffer.len();
        } else {
            let passed = self.session.handle_input(from, &mut buffer, &mut self.counts, now);
            assert!(passed.keep.len() < MAX_CONTROL_FRAME, "{} bytes held", passed.keep.len());
            assert!(passed.keep.is_empty() || self.session.unseen(from) == 0, "payload held");
            (forward, queued) = (passed.forward, passed.queued);
            self.end(from).kept = buffer[passed.keep].to_vec();
        }
        let (passing, queued) = buffer[..forward].split_at(forward - queued);
        self.queue.extend_from_slice(queued);
        self.end(from.other()).waiting.extend_from_slice(passing);
        self.flush(from.other());
        self.transmit(from.other());
        true
    }

    /// Moves payload past the session, unread.
    fn splice(&mut self, from: Side, length: usize) -> bool {
        let payload: Vec<u8> = self.end(from).unread.drain(..length).collect();
        self.session.handle_unseen(from, length as u64, self.now);
        self.end(from.other()).waiting.extend(payload);
        self.flush(from.other());
        self.transmit(from.other());
        true
    }

    fn transmit(&mut self, to: Side) {
        let mut frames = Vec::new();
        self.session.poll_transmit(to, self.now, &mut frames);
        assert!(frames.is_empty() || !self.session.wants_to_transmit(to), "more to transmit");
        self.end(to).waiting.extend(frames);
        self.flush(to);
    }

    /// Whether the end has taken all bytes for it.
    fn flush(&mut self, to: Side) -> bool {
        let (now, lost) = (self.now, self.session.is_lost(to));
        let end = self.end(to);
        end.deliver();
        if end.waiting.is_empty() {
            return true;
        }
        let room = end.room.map_or(usize::MAX, |room| room.saturating_add(end.buffer - end.unsent.len()));
        let moved = end.waiting.len().min(room);
        if end.broken || (lost && moved < end.waiting.len()) {
            end.waiting.clear();
            self.session.handle_broken(to, Loss::Reset, now);
            return true;
        }
        end.unsent.extend(end.waiting.drain(..moved));
        end.deliver();
        let left = end.waiting.len();
        if self.tells {
            self.session.handle_written(to, moved, left, now);
        }
        left == 0
    }

    fn end(&mut self, side: Side) -> &mut End {
        match side {
            Client => &mut self.client,
            Backend => &mut self.backend,
        }
    }

    fn taken(&self, side: Side) -> (&[u8], bool) {
        let end = match side {
            Client => &self.client,
            Backend => &self.backend,
        };
        (&end.taken, end.fin_taken && end.unsent.is_empty())
    }

    /// The frames that an end has got; half a frame at the end is left out.
    fn frames(&self, side: Side) -> Vec<Frame> {
        Frame::read_all(side, self.taken(side).0).0
    }

    /// What an end has got, in words.
    fn got(&self, side: Side) -> Vec<String> {
        let (taken, fin) = self.taken(side);
        let (frames, cut) = Frame::read_all(side, taken);
        let words = frames.iter().map(Frame::to_string);
        words.chain(cut.then(|| "cut".into())).chain(fin.then(|| "FIN".into())).collect()
    }

    /// Initiator, cause, code, reason, and whether the end was clean.
    fn ended(&self) -> (Initiator, Cause, Option<u16>, String, bool) {
        let end = self.session.termination().unwrap();
        (end.initiator, end.cause, end.code.map(|code| code.0), end.reason, end.clean)
    }
}

/// A frame as tungstenite reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Frame {
    opcode: OpCode,
    fin: bool,
    payload: Vec<u8>,
}

impl Frame {
    /// Reads the frames that went to a side; the flag says whether a part of a frame is left.
    fn read_all(to: Side, mut bytes: &[u8]) -> (Vec<Self>, bool) {
        let mut frames = Vec::new();
        while let Some((frame, length)) = Self::read(to, bytes) {
            frames.push(frame);
            bytes = &bytes[length..];
        }
        (frames, !bytes.is_empty())
    }

    /// Reads the first frame of the bytes that went to a side, and its length; `None` = the frame is not whole.
    fn read(to: Side, bytes: &[u8]) -> Option<(Self, usize)> {
        let mut cursor = Cursor::new(bytes);
        let (header, length) = FrameHeader::parse(&mut cursor).unwrap()?;
        assert_eq!(header.mask.is_some(), to == Backend, "masked toward the backend only");
        let start = usize::try_from(cursor.position()).unwrap();
        let masked = bytes[start..].get(..usize::try_from(length).unwrap())?;
        let key = header.mask.unwrap_or_default();
        let payload = masked.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        Some((Self { opcode: header.opcode, fin: header.is_final, payload }, start + masked.len()))
    }

    fn is_close(&self) -> bool {
        self.opcode == OpCode::Control(Control::Close)
    }

    /// Whether this is a Ping of ours: eight bytes, then a number from 1. The scripts send no such Pings themselves.
    fn is_our_ping(&self) -> bool {
        let number = self.payload.get(8..).and_then(|number| number.try_into().ok()).map(u32::from_be_bytes);
        self.opcode == OpCode::Control(Control::Ping) && number.is_some_and(|number| (1..1000).contains(&number))
    }
}

impl std::fmt::Display for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = String::from_utf8_lossy(&self.payload);
        match self.opcode {
            _ if self.is_our_ping() => write!(f, "our ping"),
            OpCode::Control(Control::Close) if self.payload.len() >= 2 => {
                let code = u16::from_be_bytes([self.payload[0], self.payload[1]]);
                write!(f, "close {code} {}", String::from_utf8_lossy(&self.payload[2..]))
            }
            OpCode::Control(Control::Close) => write!(f, "close"),
            OpCode::Control(Control::Ping) => write!(f, "ping {text}"),
            OpCode::Control(Control::Pong) => write!(f, "pong {text}"),
            OpCode::Data(Data::Continue) => write!(f, "more {text}"),
            _ => write!(f, "{} {text}", if self.fin { "message" } else { "begin" }),
        }
    }
}

/// A frame on the wire, as a side sends it. `first` is the frame's first byte.
fn frame(from: Side, first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = if from == Client { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..126 => bytes.push(mask | u8::try_from(length).unwrap()),
        length @ 126..65536 => {
            bytes.push(mask | 126);
            bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            bytes.push(mask | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    if from == Client {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        bytes.extend(key);
        bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    } else {
        bytes.extend(payload);
    }
    bytes
}

fn message(from: Side, text: &str) -> Vec<u8> {
    frame(from, 0x81, text.as_bytes())
}

fn ping(from: Side, text: &str) -> Vec<u8> {
    frame(from, 0x89, text.as_bytes())
}

fn pong(from: Side, text: &str) -> Vec<u8> {
    frame(from, 0x8A, text.as_bytes())
}

fn close(from: Side, code: u16, reason: &str) -> Vec<u8> {
    frame(from, 0x88, &[&code.to_be_bytes(), reason.as_bytes()].concat())
}
