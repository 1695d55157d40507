//! Moves the bytes of a [`Session`] between two streams. The session decides; the relay reads, writes and shuts down.
//!
//! All sessions of a worker read into one scratch buffer. A session holds only what the other side cannot take at once,
//! so that an idle session holds no buffer. A large payload between two plain sockets passes through a pipe and is
//! never copied.

use std::{
    io, mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Instant,
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWrite;

use super::{
    dismissal::Dismissal,
    loss::loss,
    rota::{TURN, price, price_of_copy},
};
use crate::{
    net::{
        counts::unsent::{Share, Unsent},
        stream::{
            calls::{Calls, SessionKey},
            pipe::Piped,
            plain_or_tls::{self, Stream},
        },
    },
    ws::{
        Side,
        frame::MAX_CONTROL_FRAME,
        opcodes::OpCodeCounts,
        session::{HoldState, Session},
    },
};

/// The most that one read takes, in bytes. It bounds what a session holds for a side that does not take it.
const READ: usize = 64 * 1024;
/// The most that a read takes if the next frame may be large, in bytes: the payload that such a read takes has to be copied.
const READ_OF_LARGE: usize = 16 * 1024;
/// From so many bytes of payload on, a pipe costs less than a copy.
const LARGE: u64 = 48 * 1024;

/// What a worker's sessions share.
#[derive(Debug)]
pub(in crate::net) struct Scratch {
    /// What one session at a time reads into. There is room for one read, and for what was kept back before it.
    buffer: Box<[u8]>,
    /// Counts of the frames that pass, of all sessions together.
    opcodes: OpCodeCounts,
    /// What waits for slow sides, of all sessions of the process together.
    unsent: Arc<Unsent>,
    /// What clients have sent for their next backends, of all sessions of the process together. It counts in `unsent` too.
    queued: Arc<Unsent>,
    /// The price ([`price`]) of what was moved since [`Self::take_moved`] was last called.
    moved: usize,
}

impl Scratch {
    pub(in crate::net) fn new(unsent: Arc<Unsent>, queued: Arc<Unsent>) -> Self {
        let buffer = vec![0; READ + MAX_CONTROL_FRAME].into();
        Self { buffer, opcodes: OpCodeCounts::default(), unsent, queued, moved: 0 }
    }

    /// Returns the price ([`price`]) of what was moved since the last call.
    pub(super) const fn take_moved(&mut self) -> usize {
        mem::replace(&mut self.moved, 0)
    }

    /// The frames that have passed, of all sessions since the worker began.
    pub(in crate::net) const fn opcodes(&self) -> OpCodeCounts {
        self.opcodes
    }
}

/// One side of a relay.
#[derive(Debug)]
pub struct Leg {
    stream: Stream,
    /// `None` = nothing waits, as while the side takes what it is sent.
    backlog: Option<Box<Backlog>>,
}

/// What waits on one side of a relay.
#[derive(Debug, Default)]
struct Backlog {
    /// From this side: what hyper has read past the head of the handshake. It comes before anything that is still to be read.
    early: Bytes,
    /// From this side: an incomplete header or an incomplete control frame. The session gets these bytes again, before the
    /// next ones.
    kept: Vec<u8>,
    /// For this side: payload in a pipe that the side does not take yet. It goes before `waiting`.
    piped: Option<Piped>,
    /// For this side: bytes that the side does not take yet. At most one read, frames of our own, and what the session had kept
    /// for this stream: a whole message of a client, a queue, or messages that are sent again. Each of these has a bound of the route.
    waiting: BytesMut,
    /// How many of `waiting`, the first ones, are sent again to a client that has come back. They count among what the session keeps.
    again: usize,
    /// For the stream that will take the place of this one: frames of the other side. Its bound is that of the route
    /// ([`Session::queue_room`]).
    queue: BytesMut,
    /// For this side: bytes given to TLS since TLS was last empty. TLS does not tell how many of them it has sent.
    sealed: usize,
    /// `piped`, `waiting` without `again`, `queue` and `sealed`, as counted among those of all sessions.
    counted: Share,
    /// `queue` alone.
    queued: Share,
    /// Bytes may be left in the stream's own buffers. TLS has buffers, and hyper's 101 may be in them.
    unflushed: bool,
}

impl Leg {
    /// Takes a side over from hyper, which has already read `early`.
    #[must_use]
    pub fn new(stream: Stream, early: Bytes) -> Self {
        let unflushed = matches!(stream, Stream::Tls(_));
        let backlog =
            (unflushed || !early.is_empty()).then(|| Box::new(Backlog { early, unflushed, ..Backlog::default() }));
        Self { stream, backlog }
    }
}

/// Two legs and the session between them.
#[derive(Debug)]
pub struct Relay {
    client: Leg,
    backend: Leg,
    /// Public, because its figures are read when the relay is over.
    pub session: Session,
    /// Whether the last frame from the client (0) or the backend (1) was large: the next frame may be large too.
    large: [bool; 2],
    /// Of the client (0) and the backend (1): whether the last read found nothing, so that TLS holds no more bytes. A
    /// stream without a socket calls when there are more.
    drained: [bool; 2],
    /// Tells these streams from those of other sessions, and from those that were here before.
    generation: u32,
}

/// What a relay wants next.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::net) enum Turn {
    /// To be called when a socket is ready, when a stream without a socket calls, or at the session's next deadline.
    Waits,
    /// To be called again soon: the relay has more to do without waiting.
    HasMore,
    /// To be rid of the backend's stream ([`Relay::let_go`]), and to get another one ([`Relay::begin_backend`]).
    AwaitsBackend,
    /// To be rid of the client's stream ([`Relay::let_go_of_client`]), and to get another one ([`Relay::take_client`]).
    AwaitsClient,
    /// Nothing: the relay is over.
    Over,
}

impl Relay {
    /// A relay between two legs; `turn` moves it.
    #[must_use]
    pub const fn new(client: Leg, backend: Leg, session: Session) -> Self {
        Self { client, backend, session, large: [false; 2], drained: [false; 2], generation: 0 }
    }

    /// From now on, the events and calls of both streams are for this session of the loop.
    pub(super) fn give_to(&mut self, session: SessionKey, calls: &Arc<Calls>) {
        self.generation = session.generation;
        self.client.stream.give_to(session, Side::Client, calls);
        self.backend.stream.give_to(session, Side::Backend, calls);
    }

    /// The generation of the streams, by [`Self::give_to`].
    pub(super) const fn generation(&self) -> u32 {
        self.generation
    }

    /// Notes that a side's stream has called: it may give or take bytes now.
    pub(super) const fn note_call(&mut self, side: Side) {
        self.drained[side as usize] = false;
    }

    /// Lets go of the backend. Returns what it is still to read.
    pub(super) fn let_go(&mut self, now: Instant) -> Option<Dismissal> {
        let leg = &mut self.backend;
        let (left, unacknowledged) = (leg.left() as u64, leg.stream.unacknowledged());
        self.session.note_maybe_lost(left + unacknowledged);
        let words = self.session.poll_last_words(now);
        // Bytes that wait may be half a frame, behind which nothing of ours can go.
        let may_be_told = leg.owes_nothing() && !words.is_empty();
        leg.give_up();
        if let Some(backlog) = &mut leg.backlog {
            (backlog.early, backlog.kept) = (Bytes::new(), Vec::new());
        }
        leg.forget_backlog();
        let mut stream = mem::replace(&mut leg.stream, Stream::Closed);
        if !may_be_told {
            stream.say_goodbye();
        }
        // The client was perhaps not read because of the old backend, though bytes are there.
        self.drained = [false; 2];
        may_be_told.then(|| Dismissal::new(stream, words, self.session.parting_timeout()))
    }

    /// Begins with the backend that the session has just taken ([`Session::take_backend`]). Then [`Self::give_to`] has to follow, with
    /// another generation.
    pub(super) fn begin_backend(&mut self, leg: Leg, now: Instant) {
        let before = self.backend.backlog.take();
        self.backend = leg;
        self.large[Side::Backend as usize] = false;
        // Both streams are polled anew, because their wakers are those of the old generation.
        self.drained = [false; 2];
        // What the client is told goes before the backend's first frame.
        self.transmit(Side::Client, now);
        if let Some(before) = before
            && !before.queue.is_empty()
        {
            // It stays counted as it was. Counted anew, it would look like more than before.
            let Backlog { queue, counted, .. } = *before;
            let backlog = self.backend.backlog.get_or_insert_default();
            (backlog.waiting, backlog.counted, backlog.unflushed) = (queue, counted, true);
            self.flush(Side::Backend, now);
        }
    }

    /// Lets go of the client, and drops what waits for it: the session keeps what the client has not got.
    pub(super) fn let_go_of_client(&mut self) {
        // A client that has gone before is no more than this.
        let gone = Leg { stream: Stream::Closed, backlog: None };
        mem::replace(&mut self.client, gone).say_goodbye();
        self.large[Side::Client as usize] = false;
        self.drained = [false; 2];
    }

    /// Takes another client, whose events and calls are for this session already. Returns how many bytes it is sent at once, or the
    /// leg if the session does not wait for this one.
    pub(super) fn take_client(&mut self, attempt: u64, leg: Leg, now: Instant) -> Result<usize, Leg> {
        let mut replay = Vec::new();
        if !self.session.take_client(attempt, now, &mut replay) {
            return Err(leg);
        }
        self.client = leg;
        // The backend was perhaps not read because nobody took its bytes, though bytes are there.
        self.drained = [false; 2];
        let length = replay.len();
        if length > 0 {
            self.client.hold_again(replay);
            self.flush(Side::Client, now);
        }
        Ok(length)
    }

    /// No backend will get what waits for the next one.
    pub(super) fn drop_queue(&mut self) {
        if let Some(backlog) = &mut self.backend.backlog {
            // What waits for the present backend is counted again in the next turn.
            (backlog.queue, backlog.queued, backlog.counted) = (BytesMut::new(), Share::default(), Share::default());
        }
        self.backend.forget_backlog();
    }

    /// Whether a turn may wake tasks of this worker: they are at the far end of a stream without a socket.
    pub(super) fn wakes_tasks(&self) -> bool {
        self.client.stream.waker().is_some() || self.backend.stream.waker().is_some()
    }

    /// The stream of a side.
    pub(in crate::net) const fn stream(&self, side: Side) -> &Stream {
        match side {
            Side::Client => &self.client.stream,
            Side::Backend => &self.backend.stream,
        }
    }

    /// Bytes that wait for either side to take them, and bytes that were read and wait to be fed.
    pub(in crate::net) fn buffered(&self) -> usize {
        self.client.buffered() + self.backend.buffered()
    }

    /// Moves what can be moved without waiting. `is_due`: a deadline of the session may have come.
    #[inline]
    pub(in crate::net) fn turn(&mut self, scratch: &mut Scratch, is_due: bool, now: Instant) -> Turn {
        if is_due && self.session.judges_silence(now) {
            self.doubt_dryness();
        }
        let to_backend = self.pump(Side::Client, scratch, now);
        let to_client = self.pump(Side::Backend, scratch, now);
        // Deadlines are looked at after reading. If the worker was held up, bytes that prove a side alive are here already.
        if is_due && self.session.poll_timeout().is_some_and(|at| at <= now) {
            self.look(now);
            self.tell(|session| session.handle_timeout(now));
        }
        // Most turns are calm: no frame of ours is to be sent, nothing waits for a side, no end has begun.
        if !self.session.is_calm() {
            let turn = self.attend(scratch, now);
            if turn != Turn::Waits {
                return turn;
            }
        }
        if to_backend == Turn::HasMore || to_client == Turn::HasMore { Turn::HasMore } else { Turn::Waits }
    }

    /// Lets both sides be read once more. A worker that was held up looks at alarms before it has taken all events and
    /// calls, so that bytes may have come of which nothing is known yet.
    #[cold]
    fn doubt_dryness(&mut self) {
        self.drained = [false; 2];
        for side in [Side::Client, Side::Backend] {
            if let Some(socket) = self.stream(side).socket() {
                socket.doubt_dryness();
            }
        }
    }

    /// Does what the session wants apart from relaying.
    #[inline(never)]
    fn attend(&mut self, scratch: &Scratch, now: Instant) -> Turn {
        if self.is_to_part() {
            return Turn::AwaitsClient;
        }
        for side in [Side::Client, Side::Backend] {
            if self.leg(side).count_held(scratch) {
                self.session.handle_shortage(now);
            }
        }
        for side in [Side::Client, Side::Backend] {
            self.transmit(side, now);
            self.shut(side, now);
        }
        self.look(now);
        if self.session.is_over(now) {
            Turn::Over
        } else if self.session.awaits_backend().is_some() && !matches!(self.backend.stream, Stream::Closed) {
            Turn::AwaitsBackend
        } else {
            Turn::Waits
        }
    }

    /// Asks the streams how much the sides have taken, if the session wants to know.
    fn look(&mut self, now: Instant) {
        for side in [Side::Client, Side::Backend] {
            if self.session.wants_progress(side, now) {
                let progress = self.stream(side).progress();
                self.session.handle_progress(side, progress, now);
            }
        }
    }

    /// Moves bytes from one side to the other for as long as the other takes them, [`TURN`] at most.
    fn pump(&mut self, from: Side, scratch: &mut Scratch, now: Instant) -> Turn {
        let to = from.other();
        let most = scratch.moved + TURN;
        while scratch.moved < most {
            let is_taken = self.leg(to).owes_nothing() || self.catch_up(to, scratch, now);
            if !is_taken || !self.session.wants_read(from) || self.is_dry(from) || self.is_stopped(from) {
                return Turn::Waits;
            }
            let spliced = if self.large[from as usize] { self.splice(from, scratch, now) } else { None };
            let moved = spliced.unwrap_or_else(|| self.copy(from, scratch, now));
            self.drained[from as usize] = moved.is_pending();
            match moved {
                Poll::Ready(Ok(0)) => {
                    self.tell(|session| session.handle_eof(from, now));
                    return Turn::Waits;
                }
                Poll::Ready(Ok(_)) if self.session.wants_to_transmit(to) => self.transmit(to, now),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => {
                    tracing::debug!(side = from.as_str(), %error, "reading failed");
                    self.tell(|session| {
                        session.handle_broken(from, loss(&error), now);
                        session.handle_eof(from, now);
                    });
                    return Turn::Waits;
                }
                Poll::Pending => return Turn::Waits,
            }
        }
        Turn::HasMore
    }

    /// Writes what waits for a side, and counts it as moved. Returns whether nothing is left, or more of the other side goes
    /// to a queue.
    #[inline(never)]
    fn catch_up(&mut self, to: Side, scratch: &mut Scratch, now: Instant) -> bool {
        if self.is_gone(to) {
            // What waits for a client that is gone is dropped, and sent to the next one.
            return true;
        }
        let before = self.leg(to).left();
        let is_taken = self.flush(to, now);
        scratch.moved += price(before.saturating_sub(self.leg(to).left()));
        is_taken || (to == Side::Backend && self.session.queue_room().is_some())
    }

    /// Whether the session wants no bytes of a side now, though it wants more later.
    fn is_stopped(&self, from: Side) -> bool {
        // What is read of the backend before it is known whether the session may wait for its client would be missing before a Close.
        !self.session.is_plain() && (self.read_limit(from) == Some(0) || self.is_gone(from) || self.is_to_part())
    }

    /// Whether the session waits for its client, and the connection of before is still here.
    fn is_to_part(&self) -> bool {
        self.session.awaits_client() && !matches!(self.client.stream, Stream::Closed)
    }

    /// The most bytes that one read of a side may take; `None` = as many as there are.
    fn read_limit(&self, from: Side) -> Option<usize> {
        match from {
            Side::Client => self.session.client_read_limit(),
            Side::Backend => self.session.backend_read_limit(),
        }
    }

    /// Whether a side is a client that is gone, though its stream may be there until the end of this turn.
    fn is_gone(&self, side: Side) -> bool {
        side == Side::Client && self.session.awaits_client()
    }

    /// Whether a read of this side is known to find nothing now.
    fn is_dry(&self, from: Side) -> bool {
        let drained = self.drained[from as usize];
        let Leg { stream, backlog } = match from {
            Side::Client => &self.client,
            Side::Backend => &self.backend,
        };
        let is_dry = match stream {
            Stream::Plain(socket) => socket.is_dry(),
            // TLS may have read more from the socket than it has given to us.
            Stream::Tls(stream) => drained && stream.get_ref().0.is_dry(),
            Stream::Socketless(_) => drained,
            Stream::Closed => true,
        };
        is_dry && backlog.as_ref().is_none_or(|backlog| backlog.early.is_empty())
    }

    /// Reads once and forwards what passes. Returns how many bytes were read; 0 = nothing more will come.
    fn copy(&mut self, from: Side, scratch: &mut Scratch, now: Instant) -> Poll<io::Result<usize>> {
        let most = if self.large[from as usize] { READ_OF_LARGE } else { READ };
        match self.session.is_plain() {
            true => self.copy_up_to::<false>(from, most, scratch, now),
            false => self.copy_within_limit(from, most, scratch, now),
        }
    }

    /// The same for a session that may outlive one of its sides. Apart, so that others pay nothing.
    #[inline(never)]
    fn copy_within_limit(
        &mut self,
        from: Side,
        most: usize,
        scratch: &mut Scratch,
        now: Instant,
    ) -> Poll<io::Result<usize>> {
        let most = self.read_limit(from).map_or(most, |limit| limit.min(most));
        if from == Side::Client && self.session.is_resumable() {
            return self.copy_of_resumable(most, scratch, now);
        }
        self.copy_up_to::<true>(from, most, scratch, now)
    }

    /// Reads once of a client that may come back. The session keeps what it does not pass on now.
    fn copy_of_resumable(&mut self, most: usize, scratch: &mut Scratch, now: Instant) -> Poll<io::Result<usize>> {
        let Scratch { buffer, opcodes, moved, .. } = scratch;
        let Some(filled) = ready!(self.client.fill::<true>(buffer, most))? else { return Poll::Ready(Ok(0)) };
        *moved += price_of_copy(filled);
        let mut passed = Vec::with_capacity(filled);
        let queued = self.session.handle_client_input(&buffer[..filled], opcodes, now, &mut passed);
        let (forward, queued) = passed.split_at(passed.len().saturating_sub(queued));
        self.queue(queued);
        if self.session.is_done(Side::Client) {
            self.pass_last(Side::Client, forward, now);
        } else if !forward.is_empty() {
            self.write(Side::Backend, forward, now);
        }
        Poll::Ready(Ok(filled))
    }

    /// Keeps bytes of the client for the next backend.
    fn queue(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.backend.backlog.get_or_insert_default().queue.extend_from_slice(bytes);
        }
    }

    #[inline]
    fn copy_up_to<const QUEUES: bool>(
        &mut self,
        from: Side,
        most: usize,
        scratch: &mut Scratch,
        now: Instant,
    ) -> Poll<io::Result<usize>> {
        let Scratch { buffer, opcodes, moved, .. } = scratch;
        let Some(filled) = ready!(self.leg(from).fill::<QUEUES>(buffer, most))? else { return Poll::Ready(Ok(0)) };
        *moved += price_of_copy(filled);
        let passed = self.session.handle_input(from, &mut buffer[..filled], opcodes, now);
        self.leg(from).keep::<QUEUES>(&buffer[passed.keep]);
        let unseen = self.session.unseen(from);
        self.large[from as usize] = unseen >= LARGE || (filled >= READ && unseen > 0);
        let mut forward = passed.forward;
        if QUEUES {
            forward -= passed.queued;
            self.queue(&buffer[forward..passed.forward]);
        }
        if self.session.is_done(from) {
            self.pass_last(from, &buffer[..forward], now);
        } else if forward > 0 {
            self.write(from.other(), &buffer[..forward], now);
        }
        Poll::Ready(Ok(filled))
    }

    /// Moves payload of a large frame once, without looking at it. `None`: there is no such payload, or it cannot pass
    /// through a pipe.
    #[inline(never)]
    fn splice(&mut self, from: Side, scratch: &mut Scratch, now: Instant) -> Option<Poll<io::Result<usize>>> {
        let unseen = self.session.unseen(from);
        if unseen == 0 {
            return None;
        }
        let (source, target) = match from {
            Side::Client => (&self.client, &mut self.backend),
            Side::Backend => (&self.backend, &mut self.client),
        };
        let (Stream::Plain(socket), Stream::Plain(_)) = (&source.stream, &target.stream) else { return None };
        if source.backlog.as_ref().is_some_and(|backlog| !backlog.early.is_empty()) {
            return None;
        }
        let mut piped = Piped::new()?;
        let length = match piped.poll_fill(socket, unseen, &Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(length @ 1..)) => length,
            other => return Some(other),
        };
        target.backlog.get_or_insert_default().piped = Some(piped);
        scratch.moved += price(length);
        self.session.handle_unseen(from, length as u64, now);
        self.flush(from.other(), now);
        Some(Poll::Ready(Ok(length)))
    }

    /// Sends frames of our own, behind what was forwarded to a side.
    #[inline(never)]
    fn transmit(&mut self, to: Side, now: Instant) {
        if !self.session.wants_to_transmit(to) {
            return;
        }
        let mut frames = Vec::new();
        self.session.poll_transmit(to, now, &mut frames);
        self.write_perhaps_last(to, &frames, now);
    }

    /// Writes the last bytes that pass from a side, with its Close. If that is the second Close, both sides are closed
    /// right away.
    #[cold]
    #[inline(never)]
    fn pass_last(&mut self, from: Side, bytes: &[u8], now: Instant) {
        self.write_perhaps_last(from.other(), bytes, now);
        // A side whose Close has passed is closed before it is read again: that read would find only a FIN, which says
        // nothing new.
        self.shut(from, now);
    }

    /// Writes bytes to a side, and closes the side with them if they are the last ones for it.
    fn write_perhaps_last(&mut self, to: Side, bytes: &[u8], now: Instant) {
        if !bytes.is_empty() && !self.close(to, bytes, now) {
            self.write(to, bytes, now);
        }
    }

    /// Writes the last bytes for a side and closes the side, if only a FIN can still come from it. Returns whether the
    /// bytes were dealt with. Bytes that the side does not take wait, and a side that has sent something unread is left
    /// open.
    fn close(&mut self, to: Side, bytes: &[u8], now: Instant) -> bool {
        if !self.session.may_close(to) || !self.leg(to).owes_nothing() {
            return false;
        }
        match self.leg(to).close(bytes) {
            Ok(true) => self.session.handle_closed(to, now),
            Ok(false) => {
                self.flush(to, now);
            }
            Err(error) => self.break_off(to, &error, bytes.len(), now),
        }
        true
    }

    /// Writes what the side takes at once, and keeps the rest for it.
    fn write(&mut self, to: Side, bytes: &[u8], now: Instant) {
        match self.leg(to).write(bytes) {
            Ok(()) if self.leg(to).owes_nothing() => self.session.handle_written(to, 0, 0, now),
            Ok(()) => {
                self.flush(to, now);
            }
            Err(error) => self.break_off(to, &error, bytes.len(), now),
        }
    }

    /// Writes what waits for a side. Returns whether nothing is left, which is also true of a side that is given up.
    fn flush(&mut self, to: Side, now: Instant) -> bool {
        let leg = self.leg(to);
        if leg.owes_nothing() {
            return true;
        }
        let before = leg.left();
        let flushed = leg.poll_flush();
        let left = leg.left();
        match flushed {
            Poll::Ready(Ok(())) => {
                self.session.handle_written(to, before, 0, now);
                true
            }
            Poll::Ready(Err(error)) => {
                self.break_off(to, &error, 0, now);
                true
            }
            Poll::Pending if self.session.is_lost(to) => {
                self.break_off(to, &io::ErrorKind::TimedOut.into(), 0, now);
                true
            }
            Poll::Pending => {
                self.session.handle_written(to, before - left, left.max(1), now);
                self.leg(to).note_refusal();
                false
            }
        }
    }

    /// Gives up a side that cannot be written any more. `refused`: the bytes that it did not take just now, beside those that wait.
    fn break_off(&mut self, to: Side, error: &io::Error, refused: usize, now: Instant) {
        tracing::debug!(side = to.as_str(), %error, "writing failed");
        let left = self.leg(to).left() + refused;
        self.leg(to).give_up();
        let ends = self.tell(|session| session.handle_broken(to, loss(error), now));
        if to == Side::Backend && (ends || self.session.hold_state() != HoldState::Open) {
            self.session.note_maybe_lost(left as u64);
        }
    }

    /// Tells the session what may end it. Returns whether it has ended for its backend, which is not to be replaced. Then what the
    /// backend has not acknowledged is counted, as where another one comes ([`Self::let_go`]): before anything of ours goes there.
    #[inline(never)]
    fn tell(&mut self, news: impl FnOnce(&mut Session)) -> bool {
        let had_ended = self.session.is_ending();
        news(&mut self.session);
        let ends = !had_ended && self.session.ends_instead_of_hold();
        if ends {
            let leg = &self.backend;
            self.session.note_maybe_lost(leg.left() as u64 + leg.stream.unacknowledged());
        }
        ends
    }

    /// Sends our FIN, if the session wants that and everything before it is written. Under TLS a close_notify goes
    /// before the FIN. The side is closed at once if nothing is lost by that.
    fn shut(&mut self, to: Side, now: Instant) {
        // A side that answers a Close sends its close_notify next, without waiting for us. Closing before that would
        // be a reset.
        let notifies = matches!(self.leg(to).stream, Stream::Tls(_)) && !self.session.has_ended(to);
        if !notifies && self.session.may_close(to) && self.flush(to, now) {
            self.close(to, &[], now);
        }
        if !self.session.wants_shut(to) || !self.flush(to, now) {
            return;
        }
        match poll(&mut self.leg(to).stream, AsyncWrite::poll_shutdown) {
            Poll::Ready(Ok(())) => self.session.handle_shut(to),
            Poll::Ready(Err(error)) => self.break_off(to, &error, 0, now),
            Poll::Pending if self.session.is_lost(to) => self.break_off(to, &io::ErrorKind::TimedOut.into(), 0, now),
            Poll::Pending => {}
        }
    }

    const fn leg(&mut self, side: Side) -> &mut Leg {
        match side {
            Side::Client => &mut self.client,
            Side::Backend => &mut self.backend,
        }
    }
}

impl Leg {
    /// Drops the leg. Under TLS its far end is told that nothing more comes.
    pub(super) fn say_goodbye(mut self) {
        self.stream.say_goodbye();
    }

    /// Fills the scratch buffer with what was kept and what comes next, `most` bytes of that at most. `None` = nothing
    /// more will come.
    ///
    /// `APART` makes the compiler keep one copy for ordinary sessions, which it puts where that is called, and one for the others.
    fn fill<const APART: bool>(&mut self, scratch: &mut [u8], most: usize) -> Poll<io::Result<Option<usize>>> {
        let mut kept = 0;
        if let Some(backlog) = &mut self.backlog {
            kept = backlog.kept.len();
            scratch[..kept].copy_from_slice(&backlog.kept);
            if !backlog.early.is_empty() {
                let length = backlog.early.len().min(most);
                backlog.early.copy_to_slice(&mut scratch[kept..kept + length]);
                return Poll::Ready(Ok(Some(kept + length)));
            }
        }
        let room = &mut scratch[kept..kept + most];
        let length = ready!(match &mut self.stream {
            Stream::Plain(socket) => socket.poll_recv(&Context::from_waker(Waker::noop()), room),
            stream => poll(stream, |mut stream, cx| stream.poll_fill(cx, room)),
        })?;
        Poll::Ready(Ok((length > 0).then_some(kept + length)))
    }

    /// Keeps back the start of a header or of a control frame. `APART`: as for [`Self::fill`].
    fn keep<const APART: bool>(&mut self, bytes: &[u8]) {
        if bytes.is_empty() && self.backlog.is_none() {
            return;
        }
        self.backlog.get_or_insert_default().kept = bytes.to_vec();
        self.forget_backlog();
    }

    /// Writes `bytes`, or puts them behind what waits already.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut taken = 0;
        let mut flushed = false;
        if self.left() == 0 {
            let written = match &mut self.stream {
                Stream::Plain(socket) => Pin::new(socket).poll_write(&mut Context::from_waker(Waker::noop()), bytes),
                stream => poll(stream, |stream, cx| stream.poll_write(cx, bytes)),
            };
            if let Poll::Ready(written) = written {
                taken = written?;
            }
            if taken == bytes.len() {
                // A plain socket has no buffer of its own.
                flushed = matches!(self.stream, Stream::Plain(_))
                    || poll(&mut self.stream, AsyncWrite::poll_flush)?.is_ready();
            }
        }
        if !flushed {
            self.hold(&bytes[taken..], taken);
        }
        Ok(())
    }

    /// Writes the last bytes and closes, so that the FIN goes in one packet with them. Returns whether the stream is
    /// closed. Bytes that the stream has not taken wait. The stream stays open while something is unread, because
    /// closing would be a reset, which destroys these bytes. A stream without a socket stays open too.
    fn close(&mut self, bytes: &[u8]) -> io::Result<bool> {
        let taken = match self.stream.write_last(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            taken => taken?,
        };
        if taken < bytes.len() || self.stream.is_holding() {
            self.hold(&bytes[taken..], taken);
            return Ok(false);
        }
        let stays = self.stream.needs_its_end();
        if !stays {
            self.stream = Stream::Closed;
        }
        Ok(!stays)
    }

    /// Keeps the rest of what was written. `taken`: bytes before the rest that went to the stream.
    fn hold(&mut self, rest: &[u8], taken: usize) {
        let backlog = self.backlog.get_or_insert_default();
        backlog.waiting.extend_from_slice(rest);
        backlog.unflushed = true;
        if matches!(self.stream, Stream::Tls(_)) {
            backlog.sealed += taken;
        }
    }

    /// The same for the first bytes of a stream, which the session keeps.
    fn hold_again(&mut self, bytes: Vec<u8>) {
        let backlog = self.backlog.get_or_insert_default();
        backlog.again = bytes.len();
        backlog.waiting = Bytes::from(bytes).into();
        backlog.unflushed = true;
    }

    /// Whether nothing waits for this side, neither here nor in the stream's own buffers.
    fn owes_nothing(&self) -> bool {
        self.backlog
            .as_ref()
            .is_none_or(|backlog| backlog.piped.is_none() && backlog.waiting.is_empty() && !backlog.unflushed)
    }

    /// Bytes that wait for this side here: in the pipe and in `waiting`.
    fn left(&self) -> usize {
        self.backlog
            .as_ref()
            .map_or(0, |backlog| backlog.piped.as_ref().map_or(0, Piped::length) + backlog.waiting.len())
    }

    /// The most bytes that wait for this side here and in TLS, those for its next stream included.
    fn held(&self) -> usize {
        let more = |backlog: &Backlog| backlog.queue.len() + backlog.sealed.min(plain_or_tls::MOST_SEALED);
        self.left() + self.backlog.as_deref().map_or(0, more)
    }

    /// Counts what waits for this side. Returns whether that has become more while too much waits in all sessions together.
    fn count_held(&mut self, Scratch { unsent, queued, .. }: &Scratch) -> bool {
        let held = self.held();
        self.backlog.as_mut().is_some_and(|backlog| {
            // All queues together have no limit of their own.
            let _ = backlog.queued.set(queued, backlog.queue.len());
            backlog.counted.set(unsent, held.saturating_sub(backlog.again))
        })
    }

    /// Notes that the socket has refused bytes.
    fn note_refusal(&self) {
        if let Some(socket) = self.stream.socket() {
            socket.note_refusal();
        }
    }

    /// Bytes that are held on this side: for it, and from it.
    fn buffered(&self) -> usize {
        let read = self.backlog.as_ref().map_or(0, |backlog| backlog.early.len() + backlog.kept.len());
        self.held() + read
    }

    /// Writes what waits for this side. Ready when nothing is left.
    fn poll_flush(&mut self) -> Poll<io::Result<()>> {
        let Some(backlog) = &mut self.backlog else { return Poll::Ready(Ok(())) };
        if let (Some(piped), Stream::Plain(socket)) = (&mut backlog.piped, &self.stream) {
            ready!(piped.poll_empty(socket, &Context::from_waker(Waker::noop())))?;
            backlog.piped = None;
        }
        while !backlog.waiting.is_empty() {
            let taken = ready!(poll(&mut self.stream, |stream, cx| stream.poll_write(cx, &backlog.waiting)))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            backlog.waiting.advance(taken);
            backlog.again = backlog.again.saturating_sub(taken);
            if matches!(self.stream, Stream::Tls(_)) {
                backlog.sealed += taken;
            }
        }
        if backlog.unflushed {
            ready!(poll(&mut self.stream, AsyncWrite::poll_flush))?;
            (backlog.unflushed, backlog.sealed) = (false, 0);
        }
        backlog.waiting = BytesMut::new();
        // What is queued stays counted. Counted anew, it would look like more than before.
        if backlog.queue.is_empty() {
            backlog.counted = Share::default();
        }
        self.forget_backlog();
        Poll::Ready(Ok(()))
    }

    /// Drops everything that waits for this side.
    fn give_up(&mut self) {
        if let Some(backlog) = &mut self.backlog {
            (backlog.piped, backlog.waiting, backlog.unflushed) = (None, BytesMut::new(), false);
            (backlog.sealed, backlog.again) = (0, 0);
            if backlog.queue.is_empty() {
                backlog.counted = Share::default();
            }
        }
        self.forget_backlog();
    }

    /// Drops the backlog if it is empty, so that it takes no memory.
    fn forget_backlog(&mut self) {
        self.backlog.take_if(|backlog| {
            let Backlog { early, kept, piped, waiting, again: _, queue, sealed: _, counted: _, queued: _, unflushed } =
                &**backlog;
            early.is_empty()
                && kept.is_empty()
                && piped.is_none()
                && waiting.is_empty()
                && queue.is_empty()
                && !unflushed
        });
    }
}

/// Polls a stream. A stream without a socket gets the waker that calls its session. Others get a waker that does nothing:
/// the loop gives a session its turn when its sockets are ready ([`super::sessions`]), so nothing has to be woken. Where
/// each message passes, a plain socket is polled without this function, which saves asking for a waker.
#[inline]
fn poll<R>(stream: &mut Stream, act: impl FnOnce(Pin<&mut Stream>, &mut Context<'_>) -> R) -> R {
    match stream.waker() {
        None => act(Pin::new(stream), &mut Context::from_waker(Waker::noop())),
        Some(waker) => poll_calling(waker.clone(), stream, act),
    }
}

/// Apart, so that streams with sockets, of which there are far more, are polled by few instructions.
#[cold]
fn poll_calling<R>(waker: Waker, stream: &mut Stream, act: impl FnOnce(Pin<&mut Stream>, &mut Context<'_>) -> R) -> R {
    act(Pin::new(stream), &mut Context::from_waker(&waker))
}

#[cfg(test)]
mod tests;
