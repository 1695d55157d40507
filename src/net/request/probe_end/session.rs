//! A probe, as its far end sees it: bytes and instants in, bytes and deadlines out. PURE.
//!
//! After the 101 the far end sends nothing of its own accord. It echoes binary messages, answers Pings and a Close, and obeys
//! orders. A payload goes back as it comes, so an echo of 16 MiB holds no 16 MiB.

use std::{
    mem,
    time::{Duration, Instant},
};

use super::{
    order::{LONGEST_LIFE, LONGEST_MESSAGE, LONGEST_ORDER, ProbeOrder},
    output::ProbeOutput,
};
use crate::ws::{
    Side,
    close::{CloseCode, CloseFrame, close_frame},
    frame::{ControlFrame, FrameHeader, OpCode},
    pieces::{Frames, Piece, mask, turned},
    rate::{Bucket, Rate},
    session::Notice,
    termination::{Cause, HowEnded, Initiator, Loss, Termination},
    tick::Tick,
    tracker::End,
};

/// The most orders in a second, and as many at once.
const ORDERS_PER_SECOND: u64 = 20;
/// How long the client may take nothing of what waits for it, or not go on with a frame that it has begun.
const PATIENCE: Duration = Duration::from_secs(60);

/// One probe. Between two messages it holds no buffer.
#[derive(Debug)]
pub(super) struct ProbeSession {
    began: Instant,
    /// When the probe ends at the latest.
    leaves: Instant,
    /// How long the client may take to close after us.
    close_timeout: Duration,
    frames: Frames,
    /// Bytes that are still to be read: the start of a frame, or what came behind an order that is being obeyed.
    unread: Vec<u8>,
    message: ProbeMessage,
    output: ProbeOutput,
    orders: Bucket,
    is_mute: bool,
    /// How often a Ping of ours is ordered, and when the next one is due.
    ping: Option<(Duration, Instant)>,
    notice: Option<Notice>,
    /// When the client last sent or took a byte.
    moved: Instant,
    ending: Option<ProbeEnding>,
}

/// The message of the client that is being read.
#[derive(Debug, Default)]
struct ProbeMessage {
    is_text: bool,
    /// By the headers of its frames so far.
    length: u64,
    /// The key for the next byte.
    key: [u8; 4],
    /// Some of its frame has not come yet.
    is_inside: bool,
    /// A text, cut when it is longer than an order may be.
    text: Vec<u8>,
}

/// An end that has begun.
#[derive(Debug)]
struct ProbeEnding {
    termination: Termination,
    /// When the probe ends even if the client has not closed.
    deadline: Instant,
    /// Our Close is written.
    is_said: bool,
    /// Nothing more is read.
    is_complete: bool,
}

impl ProbeSession {
    /// `close_timeout`: how long the client may take to close after us.
    pub(super) fn new(close_timeout: Duration, now: Instant) -> Self {
        Self {
            began: now,
            leaves: now + LONGEST_LIFE,
            close_timeout,
            frames: Frames::of(Side::Client),
            unread: Vec::new(),
            message: ProbeMessage::default(),
            output: ProbeOutput::default(),
            orders: Bucket::full(Tick::new(now, now)),
            is_mute: false,
            ping: None,
            notice: None,
            moved: now,
            ending: None,
        }
    }

    /// Takes what the client has sent.
    pub(super) fn handle_input(&mut self, bytes: &[u8], now: Instant) {
        self.moved = now;
        self.unread.extend_from_slice(bytes);
        self.go_on(now);
    }

    /// Notes that the client has taken some of [`Self::output`].
    pub(super) fn handle_taken(&mut self, bytes: usize, now: Instant) {
        self.moved = now;
        self.output.take(bytes);
        if self.output.is_empty() {
            self.go_on(now);
        }
    }

    /// Notes that the connection has ended without a Close.
    pub(super) fn handle_lost(&mut self, loss: Loss, now: Instant) {
        self.cut(Initiator::Client, Cause::ClientLost, HowEnded::Lost(loss), now);
    }

    /// Learns whether the probe has to end for a reason outside its two ends.
    pub(super) const fn handle_notice(&mut self, notice: Option<Notice>) {
        self.notice = notice;
    }

    /// Does what is due by now.
    pub(super) fn handle_due(&mut self, now: Instant) {
        if let Some(ending) = &self.ending {
            if ending.deadline <= now {
                self.give_up();
            }
            return;
        }
        if let Some(Notice { cause, code, .. }) = self.notice.filter(|notice| notice.at <= now) {
            return self.leave(cause, code, cause.as_reason(), now);
        }
        if self.leaves <= now {
            return self.leave(Cause::Lifetime, CloseCode::SERVICE_RESTART, Cause::Lifetime.as_reason(), now);
        }
        if self.owes_a_move() && self.moved + PATIENCE <= now {
            return self.cut(Initiator::Proxy, Cause::ClientDead, HowEnded::Silent, now);
        }
        if let Some((every, next)) = self.ping
            && next <= now
        {
            self.ping = Some((every, now + every));
            // A Ping that would wait behind other bytes is left out.
            if self.output.is_empty() && !self.output.is_open() {
                self.output.put_control(&ControlFrame::new(OpCode::Ping, b"", None));
            }
        }
    }

    /// When [`Self::handle_due`] is to be called next.
    pub(super) fn due(&self) -> Instant {
        if let Some(ending) = &self.ending {
            return ending.deadline;
        }
        let notice = self.notice.map(|notice| notice.at);
        let silence = self.owes_a_move().then(|| self.moved + PATIENCE);
        let ping = self.ping.map(|(_, next)| next);
        [notice, silence, ping].into_iter().flatten().fold(self.leaves, Instant::min)
    }

    /// What is to be sent next; empty if there is nothing. Only then is input to be read.
    pub(super) fn output(&mut self) -> &[u8] {
        self.output.next();
        self.say_farewell();
        self.output.next()
    }

    /// Whether nothing is to be read or sent any more.
    pub(super) fn is_over(&self) -> bool {
        self.is_complete() && self.output.is_empty()
    }

    /// How the probe ended, if it has, and how many bytes the client has taken.
    pub(super) fn outcome(self) -> (Option<Termination>, u64) {
        (self.ending.map(|ending| ending.termination), self.output.sent())
    }

    fn is_complete(&self) -> bool {
        self.ending.as_ref().is_some_and(|ending| ending.is_complete)
    }

    /// Whether the client has to take bytes, or to go on with a frame.
    fn owes_a_move(&self) -> bool {
        !self.output.is_empty() || self.message.is_inside || !self.unread.is_empty()
    }

    /// Reads what has come, up to an order whose message has to be made first.
    fn go_on(&mut self, now: Instant) {
        let input = mem::take(&mut self.unread);
        let mut rest = &input[..];
        while !self.output.is_making() && !self.is_complete() {
            match self.frames.next(rest) {
                Ok(Some(piece)) => {
                    let (bytes, behind) = rest.split_at(piece.length().min(rest.len()));
                    rest = behind;
                    match piece {
                        Piece::Data { header, payload, end } => {
                            if let Some((header, first)) = header.zip(bytes.first()) {
                                self.begin_frame(&header, *first, now);
                            }
                            self.take_payload(bytes.get(payload).unwrap_or_default(), end, now);
                        }
                        Piece::Control { frame, .. } => self.take_control(&frame, now),
                    }
                }
                Ok(None) => break,
                Err(breach) => {
                    self.leave(Cause::ClientBreach, CloseCode::PROTOCOL_ERROR, breach.as_str(), now);
                    // Nobody knows where the next frame begins.
                    self.complete();
                }
            }
        }
        self.unread = rest.to_vec();
    }

    /// `first`: the first byte of the frame.
    fn begin_frame(&mut self, header: &FrameHeader, first: u8, now: Instant) {
        if header.opcode != OpCode::Continuation {
            self.message.is_text = header.opcode == OpCode::Text;
        }
        self.message.key = header.mask.unwrap_or_default();
        self.message.length = self.message.length.saturating_add(header.length);
        if self.ending.is_some() {
            return;
        }
        if self.message.length > LONGEST_MESSAGE {
            self.leave(Cause::MessageTooBig, CloseCode::MESSAGE_TOO_BIG, "message too big", now);
        } else if !self.message.is_text && !self.output.open_frame(first, header.length) {
            self.leave_over_bytes(now);
        }
    }

    fn take_payload(&mut self, payload: &[u8], end: End, now: Instant) {
        let ProbeMessage { is_text, key, text, .. } = &mut self.message;
        if self.output.is_open() {
            self.output.put_piece(payload, *key, end != End::Open);
        } else if *is_text && self.ending.is_none() {
            let from = text.len();
            // One byte more than an order may have tells that the text is too long.
            text.extend(payload.iter().take((LONGEST_ORDER + 1).saturating_sub(from)));
            mask(text.get_mut(from..).unwrap_or_default(), *key);
        }
        *key = turned(*key, payload.len());
        self.message.is_inside = end == End::Open;
        self.say_farewell();
        if end == End::Message {
            let ProbeMessage { is_text, text, .. } = mem::take(&mut self.message);
            if is_text && self.ending.is_none() {
                self.take_text(&text, now);
            }
        }
    }

    fn take_control(&mut self, frame: &ControlFrame, now: Instant) {
        match frame.opcode {
            OpCode::Ping if self.ending.is_none() && !self.is_mute => {
                if self.output.spend(frame.payload().len() as u64) {
                    self.output.put_control(&ControlFrame::new(OpCode::Pong, frame.payload(), None));
                } else {
                    self.leave_over_bytes(now);
                }
            }
            OpCode::Close => {
                match &mut self.ending {
                    Some(ending) => ending.termination.clean = ending.is_said,
                    None => {
                        let CloseFrame { code, reason } = CloseFrame::read(frame);
                        let (initiator, cause, how) = (Initiator::Client, Cause::ClientClose, HowEnded::Close);
                        self.end(Termination { initiator, cause, how, code, reason, clean: true }, now);
                        self.output.put_control(frame);
                    }
                }
                self.complete();
            }
            _ => {}
        }
    }

    /// Obeys the order in a whole text message.
    fn take_text(&mut self, text: &[u8], now: Instant) {
        let rate = Rate::per_second(ORDERS_PER_SECOND);
        if rate.is_some_and(|rate| !self.orders.take(1, rate, Tick::new(self.began, now))) {
            let reason = "too many orders per second";
            return self.leave(Cause::RateLimited, CloseCode::POLICY_VIOLATION, reason, now);
        }
        if text.len() > LONGEST_ORDER {
            return self.output.put_text("error an order has at most 160 bytes");
        }
        let Ok(text) = str::from_utf8(text) else {
            return self.leave(Cause::ClientBreach, CloseCode::INVALID_DATA, "text that is not UTF-8", now);
        };
        let order = ProbeOrder::parse(text).and_then(|order| match order {
            ProbeOrder::Send(bytes) if !self.output.has_room_for(bytes) => Err("this probe has got all that it may"),
            order => Ok(order),
        });
        match order {
            Ok(order) => {
                self.output.put_text(&format!("ok {text}"));
                self.obey(order, now);
            }
            Err(why) => self.output.put_text(&format!("error {why}")),
        }
    }

    fn obey(&mut self, order: ProbeOrder, now: Instant) {
        match order {
            ProbeOrder::Silent => self.ping = None,
            ProbeOrder::Ping(every) => self.ping = Some((every, now + every)),
            ProbeOrder::Mute => self.is_mute = true,
            ProbeOrder::Stay(time) => self.leaves = (now + time).min(self.began + LONGEST_LIFE),
            ProbeOrder::Send(bytes) if !self.output.put_zeros(bytes) => self.leave_over_bytes(now),
            ProbeOrder::Send(_) => {}
            ProbeOrder::Close(code, reason) => self.leave(Cause::Killed, code, &reason, now),
        }
    }

    /// Ends a probe that has got as many bytes as it may.
    fn leave_over_bytes(&mut self, now: Instant) {
        self.leave(Cause::RateLimited, CloseCode::POLICY_VIOLATION, "too many bytes", now);
    }

    /// Begins the end by a Close of ours, which goes between two frames.
    fn leave(&mut self, cause: Cause, code: CloseCode, reason: &str, now: Instant) {
        let (initiator, how, code, reason) = (Initiator::Proxy, HowEnded::Ours, Some(code), reason.to_owned());
        self.end(Termination { initiator, cause, how, code, reason, clean: false }, now);
        self.say_farewell();
    }

    /// Writes our Close, if one is due and no frame of ours is incomplete.
    fn say_farewell(&mut self) {
        if self.output.is_making() || self.output.is_open() {
            return;
        }
        if let Some(ProbeEnding { termination, is_said: is_said @ false, is_complete: false, .. }) = &mut self.ending
            && let Some(code) = termination.code
        {
            *is_said = true;
            self.output.put_control(&close_frame(code, &termination.reason));
        }
    }

    /// Ends the probe without a further word.
    fn cut(&mut self, initiator: Initiator, cause: Cause, how: HowEnded, now: Instant) {
        self.end(Termination { initiator, cause, how, code: None, reason: String::new(), clean: false }, now);
        self.give_up();
    }

    /// Nothing more is read or sent.
    fn give_up(&mut self) {
        self.output.clear();
        self.complete();
    }

    /// Notes an end, unless one has begun.
    fn end(&mut self, termination: Termination, now: Instant) {
        let deadline = now + self.close_timeout;
        self.ending.get_or_insert(ProbeEnding { termination, deadline, is_said: false, is_complete: false });
    }

    const fn complete(&mut self) {
        if let Some(ending) = &mut self.ending {
            ending.is_complete = true;
        }
    }
}

#[cfg(test)]
mod tests;
