//! One open WebSocket of a probe: what it hears, what it asks, and how long it was silent.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncWriteExt as _, ReadBuf},
    time::{Instant, sleep, timeout},
};

use super::decide::{Death, JITTER};
use crate::{
    net::libc_calls::{since_received, tcp_progress},
    paths::Manner,
    tools::opening::{ByteStream, Opened},
    ws::{
        Side,
        close::{CloseCode, CloseFrame, close_frame},
        frame::{ControlFrame, OpCode, encode_header},
        pieces::{Frames, Piece, mask},
        tracker::End,
    },
};

/// How long a socket may take to close when it is no longer needed.
pub(super) const CLOSE_WITHIN: Duration = Duration::from_secs(1);
/// The mask of our frames. Nobody gains anything by guessing it: we choose every byte ourselves.
const MASK: [u8; 4] = [0x9d, 0x42, 0xe6, 0x3b];
/// The most bytes of one read.
const READ: usize = 16 * 1024;
/// The most bytes that are kept of the begin of a message.
const KEPT: usize = 256;
/// The most bytes that may wait for the other end before its Pings are left without an answer.
const MOST_WAITING: usize = 64 * 1024;
/// In how many parts a wait for an answer is cut.
const PARTS: u32 = 10;
/// The code of the Close that properly ends a WebSocket (RFC 6455 §7.4.1).
const NORMAL: CloseCode = CloseCode(1000);

/// A question that every end of its kind answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProbeAsk {
    /// A Ping.
    Ping,
    /// A text message, for an echo.
    Text,
    /// A binary message, for an echo.
    Binary,
    /// A text message, for an end that answers by any other message.
    Answer,
}

/// What a socket heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Heard {
    Pong(ControlFrame),
    /// A whole message.
    Message {
        length: u64,
        /// Its first bytes, at most [`KEPT`].
        start: Vec<u8>,
    },
    /// The end.
    Ended(Death, Option<CloseFrame>),
}

/// An open WebSocket.
pub(super) struct ProbeSocket {
    stream: Box<dyn ByteStream>,
    frames: Frames,
    unread: Vec<u8>,
    outgoing: Vec<u8>,
    /// Bytes of `outgoing` that are written.
    written: usize,
    flushed: bool,
    /// Whether Pings of the other end are answered.
    answers: bool,
    /// Whether a question of ours is under way, so that a RST answers it.
    asking: bool,
    pub(super) opened: Instant,
    /// When the last byte went either way.
    active: Instant,
    /// The silence before the last byte, or before the end.
    last_silence: Duration,
    longest_silence: Duration,
    /// Bytes of the message that is being read.
    length: u64,
    start: Vec<u8>,
    asked: u64,
}

impl ProbeSocket {
    pub(super) fn new(opened: Opened) -> Self {
        let now = received(&*opened.socket);
        Self {
            stream: opened.socket,
            frames: Frames::of(Side::Backend),
            unread: opened.early,
            outgoing: Vec::new(),
            written: 0,
            flushed: true,
            answers: true,
            asking: false,
            opened: now,
            active: now,
            last_silence: Duration::ZERO,
            longest_silence: Duration::ZERO,
            length: 0,
            start: Vec::new(),
            asked: 0,
        }
    }

    pub(super) fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// When this socket will have been silent for so long, unless a byte comes.
    pub(super) fn silent_at(&self, silence: Duration) -> Instant {
        self.active + silence
    }

    /// The silence before the last byte that came, or before the end.
    pub(super) const fn last_silence(&self) -> Duration {
        self.last_silence
    }

    /// Whether this socket lived through a longer silence than the one before its end.
    pub(super) fn outlived_its_last_silence(&self) -> bool {
        self.longest_silence > self.last_silence + JITTER
    }

    /// The longest time in which no byte went either way, until now.
    pub(super) fn longest_silence(&self) -> Duration {
        self.longest_silence.max(self.active.elapsed())
    }

    /// Leaves Pings of the other end without an answer from now on.
    pub(super) const fn ignore_pings(&mut self) {
        self.answers = false;
    }

    /// The socket below.
    pub(super) fn tcp(&self) -> &tokio::net::TcpStream {
        self.stream.tcp()
    }

    /// Puts a Ping in line for the next [`Self::hear`]. Returns its payload.
    pub(super) fn ping(&mut self) -> [u8; 8] {
        self.asked += 1;
        let payload = self.asked.to_be_bytes();
        self.put(ControlFrame::new(OpCode::Ping, &payload, None));
        payload
    }

    /// Puts a short message in line, unlike those before. Returns its payload.
    pub(super) fn text(&mut self, binary: bool) -> Vec<u8> {
        self.asked += 1;
        let payload = format!("longwire probe {}", self.asked).into_bytes();
        self.message(binary, &payload);
        payload
    }

    /// Puts a Close in line.
    pub(super) fn send_close(&mut self, code: CloseCode, reason: &str) {
        self.put(close_frame(code, reason));
    }

    /// Puts a message in line. `binary`: its kind.
    pub(super) fn message(&mut self, binary: bool, payload: &[u8]) {
        let opcode = if binary { 0x82 } else { 0x81 };
        encode_header(opcode, payload.len() as u64, Some(MASK), &mut self.outgoing);
        let begin = self.outgoing.len();
        self.outgoing.extend_from_slice(payload);
        mask(&mut self.outgoing[begin..], MASK);
    }

    fn put(&mut self, frame: ControlFrame) {
        frame.encode(Some(MASK), &mut self.outgoing);
    }

    /// Sends what stands in line, and waits for what comes. Nothing is lost when the wait is given up.
    pub(super) async fn hear(&mut self) -> Heard {
        loop {
            match self.take() {
                Ok(Some(heard)) => return heard,
                Ok(None) => {}
                // What breaks the protocol is no end that a path makes.
                Err(()) => return self.end(None),
            }
            if let Err(manner) = poll_fn(|cx| self.poll(cx)).await {
                return self.end(Some(manner));
            }
        }
    }

    /// Asks, and waits patiently for the answer. Returns how long it took.
    ///
    /// # Errors
    /// The socket ended, or there was no answer.
    pub(super) async fn ask(&mut self, ask: ProbeAsk, wait: Duration) -> Result<Duration, Death> {
        let before = tcp_progress(self.stream.tcp()).acknowledged;
        let began = Instant::now();
        let payload = if ask == ProbeAsk::Ping { self.ping().to_vec() } else { self.text(ask == ProbeAsk::Binary) };
        self.asking = true;
        let answer = async {
            loop {
                match self.hear().await {
                    Heard::Ended(death, _) => return Err(death),
                    Heard::Pong(pong) if ask == ProbeAsk::Ping && pong.payload() == payload => break,
                    Heard::Message { .. } if ask == ProbeAsk::Answer => break,
                    // What else comes is sent by the other end itself.
                    Heard::Message { start, .. } if ask != ProbeAsk::Ping && start == payload => break,
                    Heard::Message { .. } | Heard::Pong(_) => {}
                }
            }
            Ok(began.elapsed())
        };
        let answer = patiently(wait, answer).await;
        self.asking = false;
        answer.unwrap_or_else(|| {
            let taken = tcp_progress(self.stream.tcp()).acknowledged > before;
            let manner = (ask == ProbeAsk::Ping).then_some(Manner::Silent);
            Err(Death { manner, code: None, taken })
        })
    }

    /// Ends the WebSocket as its protocol wants, and waits no longer than this.
    pub(super) async fn close(mut self, within: Duration) {
        self.send_close(NORMAL, "");
        let closing = async {
            while !matches!(self.hear().await, Heard::Ended(..)) {}
            let _ = self.stream.shutdown().await;
        };
        let _ = timeout(within, closing).await;
    }

    /// Writes what it can, and reads once. Ready when bytes have come.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Manner>> {
        // Reading tells how the connection ended, and first what came before.
        let _ = self.poll_send(cx);
        let held = self.unread.len();
        self.unread.resize(held + READ, 0);
        let mut buffer = ReadBuf::new(&mut self.unread[held..]);
        let read = Pin::new(&mut *self.stream).poll_read(cx, &mut buffer);
        let filled = buffer.filled().len();
        self.unread.truncate(held + filled);
        Poll::Ready(match ready!(read) {
            Ok(()) if filled > 0 => {
                self.moved(received(&*self.stream));
                Ok(())
            }
            Ok(()) => Err(Manner::Fin),
            Err(error) => Err(manner(&error)),
        })
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.outgoing.len() {
            let taken = ready!(Pin::new(&mut *self.stream).poll_write(cx, &self.outgoing[self.written..]))?;
            self.written += taken;
            self.flushed = false;
            self.moved(Instant::now());
        }
        self.outgoing.clear();
        self.written = 0;
        if !self.flushed {
            ready!(Pin::new(&mut *self.stream).poll_flush(cx))?;
            self.flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Notes that bytes went either way at this moment.
    fn moved(&mut self, at: Instant) {
        let at = at.max(self.active);
        self.last_silence = at - self.active;
        self.longest_silence = self.longest_silence.max(self.last_silence);
        self.active = at;
    }

    /// The next thing in the bytes that have come; `None` = more are needed.
    ///
    /// # Errors
    /// The other end broke the protocol.
    fn take(&mut self) -> Result<Option<Heard>, ()> {
        loop {
            let Some(piece) = self.frames.next(&self.unread).map_err(drop)? else { return Ok(None) };
            let heard = match &piece {
                Piece::Data { payload, end, .. } => {
                    let payload = self.unread.get(payload.clone()).unwrap_or_default();
                    self.length += payload.len() as u64;
                    let room = KEPT.saturating_sub(self.start.len()).min(payload.len());
                    self.start.extend_from_slice(&payload[..room]);
                    (*end == End::Message).then(|| Heard::Message {
                        length: std::mem::take(&mut self.length),
                        start: std::mem::take(&mut self.start),
                    })
                }
                Piece::Control { frame, .. } => self.control(frame),
            };
            self.unread.drain(..piece.length());
            if heard.is_some() {
                return Ok(heard);
            }
        }
    }

    fn control(&mut self, frame: &ControlFrame) -> Option<Heard> {
        match frame.opcode {
            OpCode::Ping => {
                // Who takes nothing gets no more.
                if self.answers && self.outgoing.len() < MOST_WAITING {
                    self.put(ControlFrame::new(OpCode::Pong, frame.payload(), None));
                }
                None
            }
            OpCode::Pong => Some(Heard::Pong(*frame)),
            OpCode::Close => {
                let close = CloseFrame::read(frame);
                let death = Death { manner: Some(Manner::Close), code: close.code.map(|code| code.0), taken: false };
                Some(Heard::Ended(death, Some(close)))
            }
            OpCode::Continuation | OpCode::Text | OpCode::Binary => None,
        }
    }

    fn end(&mut self, manner: Option<Manner>) -> Heard {
        self.last_silence = self.active.elapsed();
        let manner = match manner {
            // A RST that answers our packet comes from somebody who does not know the connection.
            Some(Manner::Reset) if self.asking => Some(Manner::Forgotten),
            manner => manner,
        };
        Heard::Ended(Death { manner, code: None, taken: false }, None)
    }
}

/// When the last byte came, though this process may have read it later.
fn received(stream: &dyn ByteStream) -> Instant {
    let now = Instant::now();
    since_received(stream.tcp()).and_then(|since| now.checked_sub(since)).unwrap_or(now)
}

/// How a connection ended, by the error that a read brought.
fn manner(error: &io::Error) -> Manner {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => Manner::Reset,
        io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Manner::Silent,
        // Without a close_notify, TLS reports the end of TCP as an error.
        _ => Manner::Fin,
    }
}

/// Waits for so long, but not while this process stands still: then the answer may be there already.
async fn patiently<T>(wait: Duration, answer: impl Future<Output = T>) -> Option<T> {
    let end = async {
        for _ in 0..PARTS {
            sleep(wait / PARTS).await;
        }
    };
    tokio::select! {
        biased;
        answer = answer => Some(answer),
        () = end => None,
    }
}
