//! A session that outlives its client's connections as a script of events, in virtual time. The script plays the library of a client,
//! which tells the truth about its counts until it lies, and the backends, which know nothing of all this. A connection ends anywhere,
//! with what is on its way. Whatever happens, these rules hold:
//!
//! 1. Each message arrives once and in order, both ways, and a whole one. If the session still lives at the end of the script, every
//!    message arrives.
//! 2. A library that tells the truth gets its session back, whenever the session waits for it.
//! 3. An attempt that is not the latest changes nothing.
//! 4. The library hears of its own messages within a second, of a new backend before its first message, and of something in each beat.
//! 5. A Pong for one connection reaches no other. The backend's Pings are answered while there is no client.
//! 6. What is kept has its bound, nothing follows a Close, and the session ends.

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
    session::{
        Claimed, Common, Departure, HoldState, HoldTerms, HoldTriggers, Notice, ResumeFailure, ResumeTerms, Session,
        SessionSettings,
    },
    termination::{Cause, Loss},
};
use tokio_tungstenite::tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};

/// More timeouts than a session can need.
const MOST_TIMEOUTS: usize = 5000;
const SECRET: &str = "abcdefghijklmnopqrstuv:";
const NOTIFY: &str = "fetch what you have missed";
const CODES: [u16; 8] = [1000, 1001, 1011, 1012, 1013, 3000, 4000, 1008];

/// The first two bytes choose the settings. Then each event is one byte, followed by the bytes that it needs.
pub fn check(bytes: &[u8]) {
    let [choice, size, script @ ..] = bytes else { return };
    let mut play = ResumePlay::new(*choice, *size, bytes);
    let mut script = script.iter().copied();
    while let Some(event) = script.next() {
        play.happen(event, &mut || script.next().unwrap_or_default());
        play.pump();
        play.judge();
    }
    play.settle();
    play.finish();
    play.judge();
}

/// The frames of a message: the first byte of each, and its payload.
type Fragments = Vec<(u8, Vec<u8>)>;
/// A whole message: whether it is a text, and its payload.
type Whole = (bool, Vec<u8>);

/// Reads frames that come in pieces.
#[derive(Default)]
struct Listener {
    rest: Vec<u8>,
    begun: Option<Whole>,
    wholes: Vec<Whole>,
    controls: Vec<(OpCode, Vec<u8>)>,
}

/// One connection, as the driver sees it, and what is on its way.
#[derive(Default)]
struct Line {
    /// Sent, and not yet come.
    outbox: Vec<u8>,
    /// Come, and not yet read.
    unread: Vec<u8>,
    kept: Vec<u8>,
    fin_sent: bool,
    fin_read: bool,
    broken: bool,
    /// Bytes for the end that the connection has not taken.
    waiting: Vec<u8>,
    /// How many bytes it still takes; `None` = all.
    room: Option<usize>,
    /// Bytes that are on their way to the end.
    down: Vec<u8>,
    acknowledged: u64,
}

/// What an end says: messages in fragments, with control frames between them.
#[derive(Default)]
struct Speech {
    /// The whole messages that it has said.
    said: Vec<Fragments>,
    /// The fragments of the one that it has not ended.
    open: Fragments,
    pings: Vec<Vec<u8>>,
    has_closed: bool,
}

/// A backend: what it says, what has come from it and to it.
#[derive(Default)]
struct Peer {
    line: Line,
    speech: Speech,
    from: Listener,
    to: Listener,
}

/// The library of a client.
#[derive(Default)]
struct Library {
    speech: Speech,
    /// Whether it has a connection.
    is_on: bool,
    /// What comes on this connection.
    hears: Listener,
    /// What the page was given.
    given: Vec<Whole>,
    /// How many of its messages it knows to have arrived.
    arrived: u64,
    attempt: u64,
    /// Its last attempt was told to come.
    is_called: bool,
    /// The messages behind this one are of a backend of which it does not know.
    misses_resync: Option<usize>,
    /// Whether it has told a count of messages that it has not got.
    lies: bool,
    /// Pings of its earlier connections.
    old_pings: Vec<Vec<u8>>,
    asked: Option<Vec<u8>>,
    got_close: bool,
}

struct ResumePlay {
    session: Session,
    terms: ResumeTerms,
    hold: Option<HoldTerms>,
    now: Instant,
    client: Line,
    /// The driver has let go of the client.
    is_away: bool,
    /// Too many others are away for this one.
    refuses: bool,
    library: Library,
    /// The last one is the present one, if one is present.
    backends: Vec<Peer>,
    is_held: bool,
    queue: Vec<u8>,
    /// What passes from the client, to whichever backend or to the queue.
    passed: Listener,
    /// What the client is to get in all.
    expected: Vec<Whole>,
    /// A Close of the backend was kept.
    keeps_close: bool,
    number: u32,
    read: usize,
    over: bool,
    /// What goes to the client on this connection, and when the last message did.
    to_client: Listener,
    last_to_client: Instant,
    /// When the first message passed of which the library has not been told.
    untold_since: Option<Instant>,
    /// The last Ping of the backend that has passed to the client and was not answered.
    open_ping: Option<Vec<u8>>,
    /// The same, once there is no client.
    unanswered: Option<Vec<u8>>,
    counts: OpCodeCounts,
}

impl Listener {
    fn hear(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        let (heard, rest) = frames(&self.rest);
        self.rest.drain(..self.rest.len() - rest);
        for (opcode, fin, payload) in heard {
            let OpCode::Data(kind) = opcode else {
                self.controls.push((opcode, payload));
                continue;
            };
            assert_eq!(kind == Data::Continue, self.begun.is_some(), "a message from its begin to its end");
            let whole = self.begun.get_or_insert_with(|| (kind == Data::Text, Vec::new()));
            whole.1.extend(payload);
            if fin {
                self.wholes.extend(self.begun.take());
            }
        }
    }

    const fn is_between(&self) -> bool {
        self.rest.is_empty() && self.begun.is_none()
    }

    /// The control frames that have come since the last call.
    fn take_controls(&mut self) -> Vec<(OpCode, Vec<u8>)> {
        mem::take(&mut self.controls)
    }
}

impl Library {
    /// It gives up its connection: nothing more of it counts.
    fn hangs_up(&mut self) {
        self.is_on = false;
        self.hears = Listener::default();
        self.old_pings.append(&mut self.speech.pings);
        self.asked = None;
    }

    fn hear(&mut self, bytes: &[u8], passed: u64) {
        assert!(!self.got_close || bytes.is_empty(), "something is behind a Close");
        self.hears.hear(bytes);
        for (is_text, payload) in mem::take(&mut self.hears.wholes) {
            let Some(body) = payload.strip_prefix(SECRET.as_bytes()).filter(|_| is_text) else {
                self.given.push((is_text, payload));
                assert!(self.misses_resync.is_none_or(|behind| self.given.len() <= behind), "rule 4: resync");
                continue;
            };
            if body == b"resync" {
                self.misses_resync = None;
            } else {
                let count = str::from_utf8(body).unwrap().parse::<u64>().unwrap();
                assert!(count <= passed && count >= self.arrived, "{count} of {passed}");
                self.arrived = count;
            }
        }
        for (opcode, payload) in self.hears.take_controls() {
            assert!(opcode != PONG || !self.old_pings.contains(&payload), "rule 5");
            match opcode {
                PING => self.asked = Some(payload),
                CLOSE => {
                    assert!(self.lies || !payload.starts_with(&1002_u16.to_be_bytes()), "it has not lied");
                    self.got_close = true;
                }
                _ => {}
            }
        }
    }
}

impl ResumePlay {
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
        let replay = 40 + 2 * usize::from(size);
        let terms = ResumeTerms { longest: Duration::from_secs(30), replay, beat: Duration::from_secs(10) };
        let hold = (choice & 8 != 0).then(|| HoldTerms {
            longest: Duration::from_secs(10),
            queue: 4 + usize::from(size % 64) * 4,
            on: HoldTriggers { lost: true, codes: [1001, 1005, 1012, 1013].map(CloseCode).into() },
            times: if choice & 16 != 0 { NonZeroU32::new(2) } else { None },
            notify: (choice & 32 != 0).then(|| NOTIFY.into()),
            drain_code: CloseCode::SERVICE_RESTART,
        });
        let now = Instant::now();
        let mut hasher = DefaultHasher::new();
        hasher.write(script);
        let mut secret = [0; 16];
        secret[..8].copy_from_slice(&hasher.finish().to_be_bytes());
        let common = Common {
            settings,
            hold: hold.clone(),
            resume: Some(terms),
            secret: Secret(secret),
            epoch: now,
            round_trips: RoundTripTimes::default(),
        };
        let mut session = Session::new(Arc::new(common), 7, now);
        session.begin_resumable(SECRET);
        assert!(session.is_resumable());
        Self {
            session,
            terms,
            hold,
            now,
            client: Line::default(),
            is_away: false,
            refuses: false,
            library: Library { is_on: true, ..Library::default() },
            backends: vec![Peer::default()],
            is_held: false,
            queue: Vec::new(),
            passed: Listener::default(),
            expected: Vec::new(),
            keeps_close: false,
            number: 0,
            read: if choice & 64 == 0 { 1 + usize::from(size) * 3 } else { 1 + usize::from(size % 8) },
            over: false,
            to_client: Listener::default(),
            last_to_client: now,
            untold_since: None,
            open_ping: None,
            unanswered: None,
            counts: OpCodeCounts::default(),
        }
    }

    fn happen(&mut self, event: u8, byte: &mut impl FnMut() -> u8) {
        let side = if event & 0x80 == 0 { Client } else { Backend };
        match event & 0x1F {
            0..=4 => {
                let length = self.length(byte(), event & 0x40 != 0);
                self.says(side, true, length);
            }
            5 => {
                let length = self.length(byte(), false);
                self.says(side, event & 0x40 != 0, length);
            }
            6 => self.pings(side),
            7 => self.answers(side, byte()),
            8 => self.acknowledges(),
            // Not often, because little happens after that.
            9 => match byte() {
                which @ 0..64 => self.closes(side, CODES[usize::from(which) % CODES.len()]),
                _ => self.acknowledges(),
            },
            10 => self.cut(side, event & 0x40 != 0, byte()),
            11..=13 => self.cut(Client, event & 0x40 != 0, byte()),
            // The connection is dead, and nobody says so.
            14 => self.library.hangs_up(),
            15 => self.line(side).room = Some(byte().into()),
            16 => self.line(side).room = None,
            17 | 18 => self.flows(side, byte().into()),
            19 => self.takes(byte().into()),
            20 | 21 => self.wait(Duration::from_millis(100) * u32::from(byte())),
            22 => {
                if let Some(at) = self.session.poll_timeout() {
                    self.wait(at.saturating_duration_since(self.now));
                }
            }
            23 | 24 => self.claims(),
            25 | 26 => self.arrives(),
            27 => self.lies(byte()),
            28 => self.take_backend(),
            29 => match byte() % 4 {
                0 => drop(self.session.begin_move(Cause::Drain, self.now)),
                1 => self.session.handle_resume_failure(ResumeFailure::Failed, self.now),
                2 => self.session.prolong_hold(Duration::from_millis(byte().into())),
                _ => self.session.handle_kill(CloseCode(4000), "killed", self.now),
            },
            30 if byte() < 64 => self.refuses = event & 0x80 == 0,
            30 => self.session.handle_replay_shortage(self.now),
            _ => {
                let at = self.now + Duration::from_millis(100) * u32::from(byte());
                let departure = match (event & 0x80 != 0, byte() & 1 != 0) {
                    (true, _) => Departure::Move,
                    (false, true) => Departure::EndAtBackend,
                    (false, false) => Departure::End,
                };
                let notice = Notice { at, cause: Cause::Drain, code: CloseCode::SERVICE_RESTART, departure };
                // Mostly, the order is taken back.
                self.session.handle_notice((event & 0x60 == 0).then_some(notice), self.now);
            }
        }
        if event & 0x20 == 0 {
            self.flows(side, usize::MAX);
            self.takes(usize::MAX);
        }
    }

    /// The length of a payload: small, or near the bound of what is kept.
    fn length(&self, byte: u8, is_large: bool) -> usize {
        if is_large { (self.terms.replay + usize::from(byte)).saturating_sub(140) } else { usize::from(byte % 48) }
    }

    /// The end says a fragment, which may be the last one of its message.
    fn says(&mut self, side: Side, ends: bool, length: usize) {
        self.number += 1;
        let mut payload = self.number.to_be_bytes().to_vec();
        payload.resize(length, b'.');
        let speech = self.speech(side);
        if speech.has_closed {
            return;
        }
        let opcode = if speech.open.is_empty() { 1 + u8::from(length.is_multiple_of(2)) } else { 0 };
        let first = opcode | if ends { 0x80 } else { 0 };
        speech.open.push((first, payload.clone()));
        if ends {
            let whole = mem::take(&mut speech.open);
            speech.said.push(whole);
        }
        self.puts(side, first, &payload);
    }

    fn pings(&mut self, side: Side) {
        self.number += 1;
        let payload = self.number.to_be_bytes().to_vec();
        self.speech(side).pings.push(payload.clone());
        self.puts(side, 0x89, &payload);
    }

    /// The end answers the last Ping that it has got, or says a Pong of its own.
    fn answers(&mut self, side: Side, which: u8) {
        let asked = match side {
            Client => self.library.asked.take(),
            Backend => {
                let pings = self.backends.last_mut().unwrap().to.take_controls();
                pings.into_iter().rfind(|(opcode, _)| *opcode == PING).map(|(_, payload)| payload)
            }
        };
        match asked {
            Some(payload) => self.puts(side, 0x8A, &payload),
            None if which & 0x80 != 0 => self.puts(side, 0x8A, b"nobody asked"),
            None => {}
        }
    }

    fn acknowledges(&mut self) {
        let text = format!("{SECRET}{}", self.library.given.len());
        self.says_control_text(&text);
    }

    fn says_control_text(&mut self, text: &str) {
        if self.library.speech.open.is_empty() {
            self.puts(Client, 0x81, text.as_bytes());
        }
    }

    fn closes(&mut self, side: Side, code: u16) {
        if side == Client && !self.library.is_on {
            return;
        }
        let payload = if code == 1008 { Vec::new() } else { code.to_be_bytes().to_vec() };
        self.puts(side, 0x88, &payload);
        self.speech(side).has_closed = true;
    }

    /// A connection ends, with a reset or a FIN. So many of the bytes on the way still come.
    fn cut(&mut self, side: Side, resets: bool, come: u8) {
        if side == Client && !self.library.is_on {
            return;
        }
        self.flows(side, come.into());
        if side == Client {
            self.takes(come.into());
            self.library.hangs_up();
        }
        let line = self.line(side);
        (line.fin_sent, line.broken) = (true, line.broken || resets);
        line.outbox.clear();
    }

    /// The library wants its session back.
    fn claims(&mut self) {
        if self.library.speech.has_closed || self.library.got_close {
            return;
        }
        self.library.hangs_up();
        self.library.attempt += 1;
        self.library.is_called = false;
        let (attempt, count) = (self.library.attempt, self.library.given.len() as u64);
        let may = self.session.can_be_resumed() || self.session.awaits_client();
        // A client that changes its connection is not refused.
        self.refuses = false;
        match self.session.claim(attempt, count, self.now) {
            Claimed::Ready { received } => {
                assert!(self.session.awaits_client() && received >= self.library.arrived, "rule 2");
                assert_eq!(received, self.passed.wholes.len() as u64, "what has passed");
                self.library.arrived = received;
                self.library.is_called = true;
            }
            Claimed::Stale => panic!("it is the latest"),
            Claimed::Gone => assert!(!may && self.session.is_ending(), "rule 2"),
        }
        self.let_go();
        if !self.session.is_ending() {
            let before = format!("{:?}", self.session);
            let stale = self.session.claim(attempt - u64::from(self.number) % attempt, count, self.now);
            assert!(stale == Claimed::Stale && before == format!("{:?}", self.session), "rule 3");
        }
    }

    /// The new connection is there.
    fn arrives(&mut self) {
        let (mut out, attempt) = (Vec::new(), self.library.attempt);
        assert!(!self.session.take_client(attempt + 1, self.now, &mut out) && out.is_empty(), "rule 3");
        let takes = self.session.take_client(attempt, self.now, &mut out);
        assert!(takes || out.is_empty());
        assert!(!takes || (self.is_away && self.library.is_called));
        assert!(takes || !mem::take(&mut self.library.is_called) || self.session.is_ending(), "rule 2");
        if !takes {
            return;
        }
        self.library.is_called = false;
        (self.client, self.is_away, self.library.is_on) = (Line::default(), false, true);
        (self.untold_since, self.unanswered, self.last_to_client) = (None, None, self.now);
        self.to_client = Listener::default();
        let again = self.library.speech.said[usize::try_from(self.library.arrived).unwrap()..].to_vec();
        for (first, payload) in again.into_iter().flatten().chain(self.library.speech.open.clone()) {
            self.puts(Client, first, &payload);
        }
        self.forward(Client, &out);
        self.transmit(Client);
    }

    /// The library says what is wrong, or of no use.
    fn lies(&mut self, how: u8) {
        let given = self.library.given.len() as u64;
        match how % 8 {
            0 => {
                self.library.lies = true;
                self.says_control_text(&format!("{SECRET}{}", given + 1000));
            }
            1 if !self.library.speech.has_closed => {
                self.library.hangs_up();
                self.library.attempt += 1;
                self.library.is_called = false;
                let answer = self.session.claim(self.library.attempt, given + 1000, self.now);
                assert!(answer == Claimed::Gone && self.session.is_ending());
            }
            2 => self.says_control_text(&format!("{SECRET}{}", given / 2)),
            3 => self.says_control_text(&format!("{SECRET}hello")),
            _ => self.says_control_text(&format!("{SECRET}0")),
        }
    }

    fn puts(&mut self, side: Side, first: u8, payload: &[u8]) {
        if (side == Backend || self.library.is_on) && !self.speech(side).has_closed {
            let frame = frame(side, first, payload);
            self.line(side).outbox.extend(frame);
        }
    }

    /// Bytes of the outbox come to the session.
    fn flows(&mut self, side: Side, most: usize) {
        let line = self.line(side);
        let length = line.outbox.len().min(most);
        let bytes: Vec<_> = line.outbox.drain(..length).collect();
        if !line.fin_sent {
            line.unread.extend(bytes);
        }
    }

    /// Bytes come to the library.
    fn takes(&mut self, most: usize) {
        if self.library.is_on {
            let length = self.client.down.len().min(most);
            let bytes: Vec<_> = self.client.down.drain(..length).collect();
            self.library.hear(&bytes, self.passed.wholes.len() as u64);
        }
    }

    fn take_backend(&mut self) {
        if self.session.take_backend(self.now) {
            assert!(mem::take(&mut self.is_held), "it has let go of the old backend");
            self.backends.push(Peer::default());
            self.library.misses_resync.get_or_insert(self.expected.len());
            if self.hold.as_ref().is_some_and(|hold| hold.notify.is_some()) {
                self.expected.push((true, NOTIFY.into()));
            }
            let queue = mem::take(&mut self.queue);
            self.transmit(Client);
            self.forward(Backend, &queue);
        }
    }

    fn line(&mut self, side: Side) -> &mut Line {
        match side {
            Client => &mut self.client,
            Backend => &mut self.backends.last_mut().unwrap().line,
        }
    }

    fn speech(&mut self, side: Side) -> &mut Speech {
        match side {
            Client => &mut self.library.speech,
            Backend => &mut self.backends.last_mut().unwrap().speech,
        }
    }

    const fn is_gone(&self, side: Side) -> bool {
        match side {
            Client => self.is_away,
            Backend => self.is_held,
        }
    }
}

/// What the driver does.
impl ResumePlay {
    /// Lets time pass. The timeouts change something.
    fn wait(&mut self, time: Duration) {
        self.pump();
        let (until, mut rings) = (self.now + time, 0);
        for _ in 0..MOST_TIMEOUTS {
            let Some(at) = self.session.poll_timeout().filter(|at| *at <= until && !self.over) else {
                self.now = until;
                self.check_news();
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
        panic!("timeouts without an end");
    }

    fn pump(&mut self) {
        let mut moved = !self.over;
        while moved {
            moved = false;
            self.let_go();
            for side in [Client, Backend] {
                let queues = side == Backend && self.session.queue_room().is_some();
                moved |= (self.flush(side, &[]) || queues) && self.read(side.other());
                self.let_go();
            }
            for side in [Client, Backend] {
                self.transmit(side);
                if !self.is_gone(side) && self.flush(side, &[]) && self.session.wants_shut(side) {
                    self.session.handle_shut(side);
                    moved = true;
                }
                self.let_go();
            }
        }
        self.look();
        self.let_go();
        self.over |= self.session.is_over(self.now);
        let (replay, kept) = (self.terms.replay, self.session.kept_for_client());
        assert!(kept <= replay + replay.max(MAX_CONTROL_FRAME) + MAX_CONTROL_FRAME, "{kept} bytes, {replay} at most");
        let most = self.hold.as_ref().map_or(0, |hold| hold.queue + MAX_CONTROL_FRAME);
        assert!(self.queue.len() <= most, "{} bytes in the queue", self.queue.len());
        let takes_answer = self.is_away && self.session.hold_state() == HoldState::Open && !self.session.is_ending();
        let is_answered = self.unanswered.is_none() || !takes_answer;
        assert!(is_answered || self.keeps_close, "rule 5: {:?} was not answered", self.unanswered);
    }

    fn let_go(&mut self) {
        if self.session.awaits_backend().is_some() && !self.is_held {
            self.is_held = true;
            assert!(self.backends.last().unwrap().to.is_between(), "half a message");
            (self.open_ping, self.unanswered) = (None, None);
        }
        if self.session.awaits_client() && !self.is_away && self.refuses {
            self.session.refuse_absence(self.now);
            assert!(self.session.is_ending() && !self.session.awaits_client());
        } else if self.session.awaits_client() && !self.is_away {
            (self.client, self.is_away) = (Line::default(), true);
            self.library.hangs_up();
            self.unanswered = self.unanswered.take().or_else(|| self.open_ping.take());
        }
    }

    fn look(&mut self) {
        for side in [Client, Backend] {
            if self.session.wants_progress(side, self.now) {
                let acknowledged = self.line(side).acknowledged;
                self.session.handle_progress(side, Progress { acknowledged, unsent: 0 }, self.now);
            }
        }
    }

    fn read(&mut self, from: Side) -> bool {
        if !self.session.wants_read(from) || self.is_gone(from) {
            return false;
        }
        let room = match from {
            Client => self.session.client_read_limit(),
            Backend => self.session.backend_read_limit(),
        };
        let (now, limit) = (self.now, room.map_or(self.read, |room| room.min(self.read)));
        assert_eq!(self.session.unseen(from), 0);
        let line = self.line(from);
        if limit == 0 {
            return false;
        }
        if line.unread.is_empty() {
            if !line.fin_sent || line.fin_read {
                return false;
            }
            line.fin_read = true;
            if line.broken {
                self.session.handle_broken(from, Loss::Reset, now);
            }
            self.session.handle_eof(from, now);
            return true;
        }
        let length = line.unread.len().min(limit);
        let come: Vec<_> = line.unread.drain(..length).collect();
        match from {
            Client => self.read_client(&come),
            Backend => self.read_backend(&come),
        }
        true
    }

    fn read_client(&mut self, come: &[u8]) {
        let mut out = Vec::new();
        let queued = self.session.handle_client_input(come, &mut self.counts, self.now, &mut out);
        let before = self.passed.wholes.len();
        self.passed.hear(&out);
        if self.passed.wholes.len() > before {
            self.untold_since.get_or_insert(self.now);
        }
        for (opcode, payload) in self.passed.take_controls() {
            if opcode == PONG && self.open_ping.as_ref() == Some(&payload) {
                self.open_ping = None;
            }
        }
        let (passing, queued) = out.split_at(out.len() - queued);
        self.queue.extend_from_slice(queued);
        if !passing.is_empty() {
            assert!(!self.is_held, "forwarded to nobody");
            self.forward(Backend, passing);
        }
    }

    fn read_backend(&mut self, come: &[u8]) {
        let is_without_client = self.session.is_without_client();
        let is_open = !self.session.is_ending();
        let peer = self.backends.last_mut().unwrap();
        peer.from.hear(come);
        self.expected.append(&mut peer.from.wholes);
        let mut buffer = mem::take(&mut peer.line.kept);
        buffer.extend_from_slice(come);
        let passed = self.session.handle_input(Backend, &mut buffer, &mut self.counts, self.now);
        assert!(passed.queued == 0 && passed.keep.len() < MAX_CONTROL_FRAME, "{passed:?}");
        assert!(passed.forward == 0 || !is_without_client, "forwarded to nobody");
        self.line(Backend).kept = buffer[passed.keep].to_vec();
        for (opcode, payload) in self.backends.last_mut().unwrap().from.take_controls() {
            match opcode {
                PING if is_without_client => self.unanswered = Some(payload),
                PING => self.open_ping = Some(payload),
                CLOSE => self.keeps_close |= is_without_client && is_open && self.session.awaits_backend().is_none(),
                _ => {}
            }
        }
        if passed.forward > 0 {
            self.forward(Client, &buffer[..passed.forward]);
        }
        self.transmit(Client);
    }

    fn forward(&mut self, to: Side, bytes: &[u8]) {
        if to == Backend {
            self.backends.last_mut().unwrap().to.hear(bytes);
        }
        self.flush(to, bytes);
        self.transmit(to);
    }

    fn transmit(&mut self, to: Side) {
        let mut ours = Vec::new();
        self.session.poll_transmit(to, self.now, &mut ours);
        assert!(ours.is_empty() || !self.session.wants_to_transmit(to), "more to transmit");
        assert!(ours.is_empty() || !self.is_gone(to), "ours to nobody");
        for (opcode, _, payload) in frames(&ours).0 {
            if opcode == PONG && to == Backend {
                let peer = self.backends.last().unwrap();
                assert!(peer.speech.pings.contains(&payload), "rule 5");
                self.unanswered.take_if(|ping| *ping == payload);
            }
            let count = format!("{SECRET}{}", self.passed.wholes.len());
            if payload == count.as_bytes() {
                self.untold_since = None;
            }
        }
        if to == Backend {
            self.backends.last_mut().unwrap().to.hear(&ours);
        }
        if !ours.is_empty() {
            self.flush(to, &ours);
        }
    }

    /// Whether the end has taken all bytes that wait for it, and `more`.
    fn flush(&mut self, to: Side, more: &[u8]) -> bool {
        if self.is_gone(to) {
            return true;
        }
        let (now, lost) = (self.now, self.session.is_lost(to));
        if to == Client {
            self.to_client.hear(more);
            if !mem::take(&mut self.to_client.wholes).is_empty() {
                self.last_to_client = now;
            }
        }
        let line = self.line(to);
        line.waiting.extend_from_slice(more);
        let waiting = line.waiting.len();
        if waiting == 0 {
            return true;
        }
        let moved = line.room.map_or(waiting, |room| room.min(waiting));
        if line.broken || (lost && moved < waiting) {
            line.waiting.clear();
            self.session.handle_broken(to, Loss::Reset, now);
            return true;
        }
        line.room = line.room.map(|room| room - moved);
        let bytes: Vec<_> = line.waiting.drain(..moved).collect();
        line.down.extend(bytes);
        line.acknowledged += moved as u64;
        let left = waiting - moved;
        self.session.handle_written(to, moved, left, now);
        left == 0
    }
}

/// Whether the rules hold.
impl ResumePlay {
    /// Rule 4.
    fn check_news(&self) {
        let may_tell = !self.over
            && !self.session.is_ending()
            && !self.is_away
            && self.client.waiting.is_empty()
            && !self.client.broken
            && self.backends.last().unwrap().from.is_between();
        let silence = self.now.duration_since(self.last_to_client);
        assert!(!may_tell || silence <= self.terms.beat, "rule 4: silent for {silence:?}");
        let untold = self.untold_since.map_or(Duration::ZERO, |since| self.now.duration_since(since));
        assert!(!may_tell || untold <= Duration::from_secs(1), "rule 4: not told for {untold:?}");
    }

    /// Rule 1, but for the end.
    fn judge(&self) {
        let said = &self.library.speech.said;
        assert!(self.passed.wholes.len() <= said.len(), "a message that was not sent");
        for (passed, said) in self.passed.wholes.iter().zip(said) {
            assert_eq!(*passed, whole(said), "rule 1: to the backend");
        }
        assert!(self.expected.starts_with(&self.library.given), "rule 1: to the client");
    }

    /// The ends say no more, connections come back, and what was said arrives.
    fn settle(&mut self) {
        if !self.speech(Backend).open.is_empty() && !self.is_held {
            self.says(Backend, true, 5);
        }
        (self.client.room, self.line(Backend).room) = (None, None);
        for _ in 0..3 {
            self.flow_all();
            self.pump();
            self.take_backend();
        }
        if self.session.is_ending() || self.library.speech.has_closed {
            return;
        }
        if !self.library.is_on {
            self.claims();
            if self.session.is_ending() {
                return;
            }
            self.arrives();
            self.takes(usize::MAX);
        }
        if !self.library.speech.open.is_empty() {
            self.says(Client, true, 5);
        }
        for _ in 0..8 {
            self.flow_all();
            self.wait(Duration::from_secs(1));
            self.take_backend();
            self.acknowledges();
        }
        self.flow_all();
        self.pump();
        if self.keeps_close {
            assert!(self.library.got_close, "a Close that was kept");
            assert_eq!(self.library.given, self.expected, "rule 1: all, before a Close");
        }
        if !self.session.is_ending() {
            assert_eq!(self.library.given, self.expected, "rule 1: all");
            assert_eq!(self.passed.wholes.len(), self.library.speech.said.len(), "rule 1: all");
            assert_eq!(self.library.arrived, self.passed.wholes.len() as u64, "rule 4");
            assert!(self.library.misses_resync.is_none(), "rule 4");
            assert!(self.session.can_be_resumed());
        }
    }

    /// What is on its way arrives, and Pings are answered.
    fn flow_all(&mut self) {
        self.takes(usize::MAX);
        for side in [Client, Backend] {
            self.answers(side, 0);
            self.flows(side, usize::MAX);
        }
    }

    fn finish(&mut self) {
        let (cause, code) = (Cause::Drain, CloseCode::SERVICE_RESTART);
        let notice = Notice { at: self.now, cause, code, departure: Departure::End };
        self.session.handle_notice(Some(notice), self.now);
        self.pump();
        self.wait(Duration::from_secs(24 * 3600));
        self.takes(usize::MAX);
        assert!(self.over && self.session.termination().is_some(), "it does not end");
        let attempt = self.library.attempt + 1;
        assert_eq!(self.session.claim(attempt, self.library.given.len() as u64, self.now), Claimed::Gone);
        assert!(!self.session.take_client(attempt, self.now, &mut Vec::new()), "it takes a client after its end");
        assert!(!self.session.take_backend(self.now), "it takes a backend after its end");
    }
}

type Seen = (OpCode, bool, Vec<u8>);

const PING: OpCode = OpCode::Control(Control::Ping);
const PONG: OpCode = OpCode::Control(Control::Pong);
const CLOSE: OpCode = OpCode::Control(Control::Close);

fn whole(fragments: &Fragments) -> Whole {
    let payload = fragments.iter().flat_map(|(_, payload)| payload.iter().copied()).collect();
    (fragments[0].0 & 0x0F == 1, payload)
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
