//! A session that outlives its backends as a script of events, in virtual time. Whatever the ends do, these rules hold:
//!
//! 1. What the client sends goes to one backend or to the queue: each message once, in order, and to each backend from the
//!    begin of a message on.
//! 2. The client gets the frames of one backend after the other, each in order, and a further backend only between two messages.
//! 3. A Pong for one backend reaches no other.
//! 4. The queue keeps its bound, nothing follows a Close, and the session ends.

use std::{
    hash::{DefaultHasher, Hasher as _},
    io::Cursor,
    mem,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use longwire::ws::{
    Side::{self, Backend, Client},
    close::CloseCode,
    frame::MAX_CONTROL_FRAME,
    keepalive::{Secret, Settings, SideTimes},
    meter::MessageLimits,
    opcodes::OpCodeCounts,
    progress::Progress,
    round_trips::RoundTripTimes,
    session::{Common, Departure, HoldTerms, HoldTriggers, Notice, ResumeFailure, Session, SessionSettings},
    termination::{Cause, Loss},
};
use tokio_tungstenite::tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};

/// More timeouts than a session can need.
const MOST_TIMEOUTS: usize = 5000;
const NOTIFY: &str = "resync";
const CODES: [u16; 8] = [1000, 1001, 1011, 1012, 1013, 3000, 4000, 1008];

/// The first two bytes choose the settings. Then each event is one byte, followed by the bytes that it needs.
pub fn check(bytes: &[u8]) {
    let [choice, size, script @ ..] = bytes else { return };
    let mut play = HoldPlay::new(*choice, *size, bytes);
    let mut script = script.iter().copied();
    while let Some(event) = script.next() {
        play.happen(event, &mut || script.next().unwrap_or_default());
        play.pump();
        play.check_queue();
    }
    play.finish();
    play.judge();
}

/// One end: what it has sent, and what it has got.
#[derive(Default)]
struct HoldEnd {
    /// What it is about to send, in whole frames.
    outbox: Vec<u8>,
    unread: Vec<u8>,
    kept: Vec<u8>,
    fin_sent: bool,
    fin_read: bool,
    broken: bool,
    is_fragmented: bool,
    has_closed: bool,
    /// How many of the Pings that it has got are behind it.
    answered: usize,
    /// The frames that it has sent, also those that nobody has read.
    sent: Vec<Vec<u8>>,
    /// All bytes that were read from it.
    read: Vec<u8>,
    waiting: usize,
    /// How many bytes it still takes; `None` = all.
    room: Option<usize>,
    /// All that went to it, frames of ours included.
    got: Vec<u8>,
    /// The bytes of the other end among them.
    relayed: Vec<u8>,
}

struct HoldPlay {
    session: Session,
    terms: HoldTerms,
    now: Instant,
    client: HoldEnd,
    /// The last one is the present one, if one is present.
    backends: Vec<HoldEnd>,
    is_away: bool,
    queue: Vec<u8>,
    /// Makes each payload different.
    number: u32,
    read: usize,
    splices: bool,
    over: bool,
    counts: OpCodeCounts,
}

impl HoldPlay {
    fn new(choice: u8, size: u8, script: &[u8]) -> Self {
        let seconds = |on: bool, seconds| on.then(|| Duration::from_secs(seconds));
        let settings = SessionSettings {
            keepalive: Settings {
                ping_interval: SideTimes::of_both(seconds(choice & 1 != 0, 20)),
                pong_timeout: SideTimes::of_both(seconds(choice & 2 != 0, 30)),
            },
            idle: seconds(choice & 4 != 0, 60),
            max_lifetime: None,
            close_timeout: Duration::from_secs(4),
            limits: MessageLimits::NONE,
            extensions: false,
        };
        let terms = HoldTerms {
            longest: Duration::from_secs(10),
            queue: usize::from(size % 64) * 4,
            on: HoldTriggers { lost: choice & 8 == 0, codes: [1001, 1005, 1012, 1013].map(CloseCode).into() },
            times: if choice & 16 != 0 { NonZeroU32::new(2) } else { None },
            notify: (choice & 32 != 0).then(|| NOTIFY.into()),
            drain_code: CloseCode::SERVICE_RESTART,
        };
        let now = Instant::now();
        let mut hasher = DefaultHasher::new();
        hasher.write(script);
        let mut secret = [0; 16];
        secret[..8].copy_from_slice(&hasher.finish().to_be_bytes());
        let round_trips = RoundTripTimes::default();
        let common = Common {
            settings,
            hold: Some(terms.clone()),
            resume: None,
            secret: Secret(secret),
            epoch: now,
            round_trips,
        };
        Self {
            session: Session::new(Arc::new(common), 7, now),
            terms,
            now,
            client: HoldEnd::default(),
            backends: vec![HoldEnd::default()],
            is_away: false,
            queue: Vec::new(),
            number: 0,
            read: 1 + usize::from(size) * 3,
            splices: choice & 64 != 0,
            over: false,
            counts: OpCodeCounts::default(),
        }
    }

    fn happen(&mut self, event: u8, byte: &mut impl FnMut() -> u8) {
        let side = if event & 0x80 == 0 { Client } else { Backend };
        match event & 0x1F {
            0..=5 => self.says(side, 0x81, byte()),
            6 => {
                let end = self.end(side);
                let first = match (end.is_fragmented, event & 0x40 != 0) {
                    (false, _) => 0x02,
                    (true, false) => 0x00,
                    (true, true) => 0x80,
                };
                self.says(side, first, byte());
            }
            7 | 8 => self.says(side, 0x89, byte() % 100),
            9 | 10 => self.answers(side, byte()),
            11 => {
                let code = CODES[usize::from(byte()) % CODES.len()];
                self.closes(side, code);
            }
            12 => self.end(side).fin_sent = true,
            13 => {
                self.end(side).broken = true;
                self.end(side).fin_sent = true;
            }
            14 => self.end(side).broken = true,
            15 => self.end(side).room = Some(byte().into()),
            16 | 17 => self.end(side).room = None,
            // The next bytes come in pieces.
            18 | 19 => {
                let length = usize::from(byte());
                self.flows(side, length);
                return;
            }
            20 | 21 => self.wait(Duration::from_millis(100) * u32::from(byte())),
            22 => {
                if let Some(at) = self.session.poll_timeout() {
                    self.wait(at.saturating_duration_since(self.now));
                }
            }
            23..=26 => self.resume(),
            27 => {
                let failures =
                    [ResumeFailure::Failed, ResumeFailure::NoTurn, ResumeFailure::Unlike, ResumeFailure::Refused];
                self.session.handle_resume_failure(failures[usize::from(byte() % 4)], self.now);
            }
            28 | 29 => {
                let cause = if event & 0x80 == 0 { Cause::Drain } else { Cause::Rebalanced };
                let _ = self.session.begin_move(cause, self.now);
            }
            30 => self.session.prolong_hold(Duration::from_millis(byte().into())),
            _ => {
                let at = self.now + Duration::from_millis(100) * u32::from(byte());
                // Mostly, the order is taken back.
                let departure = match (event & 0x80 != 0, byte() & 1 != 0) {
                    (true, _) => Departure::Move,
                    (false, true) => Departure::EndAtBackend,
                    (false, false) => Departure::End,
                };
                let stands = event & 0x60 == 0;
                if byte() & 3 == 0 {
                    self.session.handle_rebalance(stands.then_some((at, departure)), self.now);
                } else {
                    let notice = Notice { at, cause: Cause::Drain, code: CloseCode::SERVICE_RESTART, departure };
                    self.session.handle_notice(stands.then_some(notice), self.now);
                }
            }
        }
        if event & 0x20 == 0 {
            self.flows(side, usize::MAX);
        }
    }

    /// The end puts a frame of its own in its outbox. Its payload is different from all others.
    fn says(&mut self, side: Side, first: u8, length: u8) {
        self.number += 1;
        let mut payload = self.number.to_be_bytes().to_vec();
        payload.resize(4 + usize::from(length), length);
        let end = self.end(side);
        if first & 0x08 == 0 {
            // A message must end before the next one begins.
            let first = if end.is_fragmented { first & 0x80 } else { first };
            end.is_fragmented = first & 0x80 == 0;
            return end.puts(frame(side, first, &payload));
        }
        end.puts(frame(side, first, &payload));
    }

    /// The end answers one of the Pings that it has got. It answers them in their order, but perhaps not all.
    fn answers(&mut self, side: Side, which: u8) {
        let end = self.end(side);
        let pings: Vec<_> = frames(&end.got).0.into_iter().filter(|(opcode, ..)| *opcode == PING).collect();
        if let Some((_, _, payload)) = pings.get(end.answered + usize::from(which & 1)) {
            end.answered += 1 + usize::from(which & 1);
            end.puts(frame(side, 0x8A, payload));
        } else if which & 0x80 != 0 {
            self.says(side, 0x8A, which & 0x0F);
        }
    }

    fn closes(&mut self, side: Side, code: u16) {
        let payload = if code == 1008 { Vec::new() } else { code.to_be_bytes().to_vec() };
        let end = self.end(side);
        end.puts(frame(side, 0x88, &payload));
        end.has_closed = true;
    }

    /// Bytes of the outbox come to the session.
    fn flows(&mut self, side: Side, most: usize) {
        let end = self.end(side);
        let length = end.outbox.len().min(most);
        let bytes: Vec<_> = end.outbox.drain(..length).collect();
        if !end.fin_sent {
            end.unread.extend(bytes);
        }
    }

    fn resume(&mut self) {
        if self.session.take_backend(self.now) {
            assert!(mem::take(&mut self.is_away), "it has let go of the old backend");
            self.backends.push(HoldEnd::default());
            let queue = mem::take(&mut self.queue);
            self.transmit(Client);
            self.forward(Backend, &queue);
        }
    }

    fn end(&mut self, side: Side) -> &mut HoldEnd {
        match side {
            Client => &mut self.client,
            Backend => self.backends.last_mut().unwrap(),
        }
    }

    /// Lets time pass. The timeouts change something.
    fn wait(&mut self, time: Duration) {
        let (until, mut rings) = (self.now + time, 0);
        for _ in 0..MOST_TIMEOUTS {
            let Some(at) = self.session.poll_timeout().filter(|at| *at <= until && !self.over) else {
                self.now = until;
                return;
            };
            self.now = self.now.max(at);
            self.pump();
            self.look();
            self.session.handle_timeout(self.now);
            self.pump();
            // A client that is read again may have said something that makes a Ping due at once.
            let next = self.session.poll_timeout().filter(|next| *next <= self.now && !self.over);
            rings = if next.is_some() { rings + 1 } else { 0 };
            assert!(rings < 5, "timeouts that change nothing");
        }
    }

    fn pump(&mut self) {
        let mut moved = !self.over;
        while moved {
            moved = false;
            for side in [Client, Backend] {
                let queues = side == Backend && self.session.queue_room().is_some();
                moved |= (self.flush(side, 0) || queues) && self.read(side.other());
                self.let_go();
            }
            for side in [Client, Backend] {
                if side == Backend && self.is_away {
                    continue;
                }
                self.transmit(side);
                if self.flush(side, 0) && self.session.wants_shut(side) {
                    self.session.handle_shut(side);
                    moved = true;
                }
            }
        }
        self.look();
        self.let_go();
        self.over |= self.session.is_over(self.now);
    }

    fn let_go(&mut self) {
        if self.session.awaits_backend().is_some() {
            self.is_away = true;
        }
    }

    fn look(&mut self) {
        for side in [Client, Backend] {
            if self.session.wants_progress(side, self.now) {
                let end = self.end(side);
                let acknowledged = (end.got.len() - end.waiting.min(end.got.len())) as u64;
                self.session.handle_progress(side, Progress { acknowledged, unsent: 0 }, self.now);
            }
        }
    }

    fn read(&mut self, from: Side) -> bool {
        if !self.session.wants_read(from) || (from == Backend && self.is_away) {
            return false;
        }
        let room = self.session.client_read_limit().filter(|_| from == Client);
        let (now, limit) = (self.now, room.map_or(self.read, |room| room.min(self.read)));
        if limit == 0 {
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
        let length = end.unread.len().min(if splices { unseen.min(limit) } else { limit });
        let come: Vec<_> = end.unread.drain(..length).collect();
        end.read.extend_from_slice(&come);
        if splices {
            self.session.handle_unseen(from, come.len() as u64, now);
            self.forward(from.other(), &come);
            return true;
        }
        let mut buffer = mem::take(&mut end.kept);
        buffer.extend(come);
        let passed = self.session.handle_input(from, &mut buffer, &mut self.counts, now);
        assert!(passed.queued <= passed.forward && passed.keep.len() < MAX_CONTROL_FRAME, "{passed:?}");
        self.end(from).kept = buffer[passed.keep].to_vec();
        let (passing, queued) = buffer[..passed.forward].split_at(passed.forward - passed.queued);
        assert!(from == Client || queued.is_empty());
        self.queue.extend_from_slice(queued);
        if !passing.is_empty() {
            assert!(from == Backend || !self.is_away, "forwarded to nobody");
            self.forward(from.other(), passing);
        }
        true
    }

    fn forward(&mut self, to: Side, bytes: &[u8]) {
        let end = self.end(to);
        end.relayed.extend_from_slice(bytes);
        end.got.extend_from_slice(bytes);
        self.flush(to, bytes.len());
        self.transmit(to);
    }

    fn transmit(&mut self, to: Side) {
        let mut ours = Vec::new();
        self.session.poll_transmit(to, self.now, &mut ours);
        assert!(ours.is_empty() || !self.session.wants_to_transmit(to), "more to transmit");
        assert!(ours.is_empty() || to == Client || !self.is_away, "ours to nobody");
        self.end(to).got.extend_from_slice(&ours);
        self.flush(to, ours.len());
    }

    /// Whether the end has taken all bytes that wait for it, with `more` added.
    fn flush(&mut self, to: Side, more: usize) -> bool {
        if to == Backend && self.is_away {
            return true;
        }
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

    fn check_queue(&self) {
        let most = self.terms.queue + MAX_CONTROL_FRAME;
        assert!(self.queue.len() <= most, "{} bytes in the queue", self.queue.len());
    }

    fn finish(&mut self) {
        let (cause, code) = (Cause::Drain, CloseCode::SERVICE_RESTART);
        let notice = Notice { at: self.now, cause, code, departure: Departure::End };
        self.session.handle_notice(Some(notice), self.now);
        self.pump();
        self.wait(Duration::from_secs(24 * 3600));
        assert!(self.over && self.session.termination().is_some(), "it does not end");
        assert!(!self.session.take_backend(self.now), "it takes a backend after its end");
    }
}

impl HoldPlay {
    fn judge(&self) {
        let resumes = self.session.hold_tally().resumes;
        assert_eq!(usize::try_from(resumes).unwrap() + 1, self.backends.len());
        assert!(self.terms.times.is_none_or(|times| resumes <= times.get()));
        self.judge_messages_of_client();
        self.judge_pongs();
        self.judge_frames_for_client();
        for (backend, end) in self.backends.iter().enumerate() {
            let (got, _) = frames(&end.got);
            let close = got.iter().position(|(opcode, ..)| *opcode == CLOSE);
            assert!(close.is_none_or(|at| at + 1 == got.len()), "backend {backend}: behind a Close");
        }
    }

    /// Rule 1.
    fn judge_messages_of_client(&self) {
        let mut taken = Vec::new();
        for (place, end) in self.backends.iter().enumerate() {
            let (relayed, rest) = frames(&end.relayed);
            let mut is_inside = false;
            for (opcode, fin, payload) in &relayed {
                if let OpCode::Data(kind) = opcode {
                    assert_eq!(*kind == Data::Continue, is_inside, "backend {place} gets messages from their begin");
                    is_inside = !fin;
                    taken.push((*opcode, *fin, payload.clone()));
                }
            }
            let is_last = place + 1 == self.backends.len();
            assert!(is_last || (!is_inside && rest == 0), "backend {place} gets messages to their end");
        }
        let (queued, _) = frames(&self.queue);
        taken.extend(queued.into_iter().filter(|(opcode, ..)| !is_control(*opcode)));
        let sent: Vec<_> =
            frames(&self.client.read).0.into_iter().filter(|(opcode, ..)| !is_control(*opcode)).collect();
        assert!(sent.starts_with(&taken), "each message goes once, in order");
    }

    /// Rule 3.
    fn judge_pongs(&self) {
        let pings = |end: &HoldEnd| -> Vec<Vec<u8>> {
            let sent = end.sent.iter().map(|sent| frames(sent).0.remove(0));
            sent.filter(|(opcode, ..)| *opcode == PING).map(|(.., payload)| payload).collect()
        };
        let pings: Vec<_> = self.backends.iter().map(pings).collect();
        for (place, end) in self.backends.iter().enumerate() {
            for (opcode, _, payload) in frames(&end.relayed).0 {
                let others = pings.iter().enumerate().filter(|(other, _)| *other != place);
                let is_others = others.flat_map(|(_, pings)| pings).any(|ping| *ping == payload);
                assert!(opcode != PONG || !is_others, "backend {place} gets the Pong of another one");
            }
        }
    }

    /// Rule 2.
    fn judge_frames_for_client(&self) {
        let (got, _) = frames(&self.client.got);
        let mine: Vec<_> = self.client.sent.iter().map(|sent| frames(sent).0.remove(0)).collect();
        let theirs = |place: usize| -> Vec<_> {
            self.backends
                .get(place)
                .map_or_else(Vec::new, |end| end.sent.iter().map(|sent| frames(sent).0.remove(0)).collect())
        };
        let (mut place, mut next, mut sent, mut is_inside) = (0, 0, theirs(0), false);
        let mut told = 0;
        for (number, frame) in got.iter().enumerate() {
            let (opcode, fin, payload) = frame;
            if *opcode == OpCode::Data(Data::Text) && payload == NOTIFY.as_bytes() {
                assert!(!is_inside, "told inside a message");
                told += 1;
                (place, next, sent) = (place + 1, 0, theirs(place + 1));
                continue;
            }
            let is_answer = *opcode == PONG && mine.iter().any(|(kind, _, mine)| *kind == PING && mine == payload);
            let mut found = sent[next..].iter().position(|theirs| theirs == frame);
            while found.is_none()
                && self.terms.notify.is_none()
                && !is_inside
                && place + 1 < self.backends.len()
                && !is_answer
            {
                let further = (place + 1..self.backends.len()).find(|place| theirs(*place).contains(frame));
                let Some(further) = further else { break };
                (place, next, sent) = (further, 0, theirs(further));
                found = sent.iter().position(|theirs| theirs == frame);
            }
            // Pongs to our Pings stay here. A backend that is gone may have been about to send the Pong or the Close that is ours
            // now.
            let follows = |skipped: usize| sent[next..next + skipped].iter().all(|(opcode, ..)| *opcode == PONG);
            assert!(
                is_answer || *opcode == CLOSE || found.is_none_or(follows),
                "{frame:?} comes before {:?}",
                sent.get(next)
            );
            if let Some(skipped) = found.filter(|skipped| follows(*skipped)) {
                next += skipped + 1;
                if !is_control(*opcode) {
                    assert_eq!(*opcode == OpCode::Data(Data::Continue), is_inside);
                    is_inside = !fin;
                }
            } else {
                let is_close = *opcode == CLOSE;
                assert!(is_answer || is_close || *opcode == PING, "{frame:?} is neither theirs nor ours");
            }
            assert!(*opcode != CLOSE || number + 1 == got.len(), "something is behind a Close");
        }
        if self.terms.notify.is_some() && !self.client.broken {
            assert!(told < self.backends.len(), "told too often");
        }
    }
}

impl HoldEnd {
    fn puts(&mut self, frame: Vec<u8>) {
        if !self.has_closed && !self.fin_sent {
            self.outbox.extend_from_slice(&frame);
            self.sent.push(frame);
        }
    }
}

type Seen = (OpCode, bool, Vec<u8>);

const PING: OpCode = OpCode::Control(Control::Ping);
const PONG: OpCode = OpCode::Control(Control::Pong);
const CLOSE: OpCode = OpCode::Control(Control::Close);

const fn is_control(opcode: OpCode) -> bool {
    matches!(opcode, OpCode::Control(_))
}

/// The whole frames in these bytes, as tungstenite reads them, and how many bytes are left.
fn frames(mut bytes: &[u8]) -> (Vec<Seen>, usize) {
    let mut frames = Vec::new();
    loop {
        let mut cursor = Cursor::new(bytes);
        let Some((header, length)) = FrameHeader::parse(&mut cursor).unwrap() else { return (frames, bytes.len()) };
        let start = usize::try_from(cursor.position()).unwrap();
        let Some(masked) = bytes[start..].get(..usize::try_from(length).unwrap()) else { return (frames, bytes.len()) };
        let key = header.mask.unwrap_or_default();
        let payload = masked.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        frames.push((header.opcode, header.is_final, payload));
        bytes = &bytes[start + masked.len()..];
    }
}

/// A frame on the wire, as a side sends it.
fn frame(from: Side, first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = if from == Client { 0x80 } else { 0 };
    let mut bytes = match u8::try_from(payload.len()) {
        Ok(length @ 0..126) => vec![first, mask | length],
        _ => {
            let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
            vec![first, mask | 126, length[0], length[1]]
        }
    };
    let key = if from == Client { [1, 2, 3, 4] } else { [0; 4] };
    if from == Client {
        bytes.extend(key);
    }
    bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}
