//! Drives a [`Session`] between two streams. The session decides; this reads, writes, shuts down and waits.
//!
//! One task a session. It reads into a scratch buffer that all sessions of a worker share, and what the other side cannot
//! take at once is the only thing a session ever holds, so that an idle session holds no buffer.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

use super::{drain::Drain, stream::Stream};
use crate::ws::{Side, frame::MAX_CONTROL_FRAME, session::Session};

/// One read takes at most this; it bounds what a session holds for a side that does not take it.
const SCRATCH: usize = 64 * 1024;
/// Reads of one direction before the other sessions of the worker have their turn.
const READS_PER_TURN: usize = 16;
/// A deadline for a session that has none.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

thread_local! {
    static WORKER_SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH + MAX_CONTROL_FRAME].into());
}

/// One side of a relay.
#[derive(Debug)]
pub struct Leg {
    stream: Stream,
    /// Read by hyper past the head of the handshake: comes before anything that is still to be read.
    early: Bytes,
    /// The begin of a header or a control frame, fed again in front of what comes next.
    kept: Vec<u8>,
    /// For this side, not taken yet: at most one read and the frames of our own.
    waiting: BytesMut,
    /// Nothing is left in the stream's own buffers (TLS has some, and hyper's 101 may be in them).
    flushed: bool,
}

impl Leg {
    /// A side just taken over from hyper, which has read `early` already.
    #[must_use]
    pub fn new(stream: Stream, early: Bytes) -> Self {
        // Even an empty one keeps all of hyper's buffer alive.
        let early = if early.is_empty() { Bytes::new() } else { early };
        Self { stream, early, kept: Vec::new(), waiting: BytesMut::new(), flushed: false }
    }
}

/// Two legs and the session between them.
#[derive(Debug)]
pub struct Relay {
    client: Leg,
    backend: Leg,
    /// Its figures are read when the relay is over.
    pub session: Session,
}

/// Whether a direction has more to do without waiting.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    Waits,
    HasMore,
}

impl Relay {
    /// A relay between two legs; `run` moves it.
    #[must_use]
    pub const fn new(client: Leg, backend: Leg, session: Session) -> Self {
        Self { client, backend, session }
    }

    /// Relays until the session is over. In a drain both sides are told at the session's own moment: `position` (0 to 1)
    /// within the spread.
    ///
    /// Dropping the future ends the session where it is.
    pub(super) async fn run(&mut self, mut drain: Drain, position: f64) {
        let order = drain.clone();
        let mut moment = pin!(drain.moment(position));
        let (mut listening, mut told) = (false, false);
        let mut timer = pin!(tokio::time::sleep(FAR));
        poll_fn(|cx| {
            // Asked once, it wakes this task when the drain begins; until then there is nothing to ask.
            if !told && (!listening || order.has_begun()) {
                listening = true;
                told = moment.as_mut().poll(cx).is_ready();
                if told {
                    self.session.handle_drain(Instant::now());
                }
            }
            WORKER_SCRATCH.with_borrow_mut(|scratch| self.poll(cx, timer.as_mut(), scratch))
        })
        .await;
    }

    fn poll(&mut self, cx: &mut Context<'_>, mut timer: Pin<&mut Sleep>, scratch: &mut [u8]) -> Poll<()> {
        loop {
            let now = Instant::now();
            let to_backend = self.pump(cx, Side::Client, scratch, now);
            let to_client = self.pump(cx, Side::Backend, scratch, now);
            // After reading: where this worker was held up, the bytes that prove a side alive are here already.
            if self.session.poll_timeout().is_some_and(|at| at <= now) {
                self.session.handle_timeout(now);
            }
            for side in [Side::Client, Side::Backend] {
                self.transmit(cx, side, now);
                self.shut(cx, side, now);
            }
            if self.session.is_over(now) {
                return Poll::Ready(());
            }
            if to_backend == Turn::HasMore || to_client == Turn::HasMore {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            // The timer is moved forward only when it has to be: deadlines mostly recede while bytes flow.
            let Some(at) = self.session.poll_timeout().map(Into::into) else { return Poll::Pending };
            if timer.is_elapsed() || at < timer.deadline() {
                timer.as_mut().reset(at);
            }
            ready!(timer.as_mut().poll(cx));
        }
    }

    /// Moves what has come from a side to the other, as long as the other takes it.
    fn pump(&mut self, cx: &mut Context<'_>, from: Side, scratch: &mut [u8], now: Instant) -> Turn {
        let to = from.other();
        for _ in 0..READS_PER_TURN {
            if !self.flush(cx, to, now) || !self.session.wants_read(from) {
                return Turn::Waits;
            }
            let filled = match self.leg(from).fill(cx, scratch) {
                Poll::Pending => return Turn::Waits,
                Poll::Ready(Ok(Some(filled))) => filled,
                Poll::Ready(Ok(None)) => {
                    self.session.handle_eof(from, now);
                    return Turn::Waits;
                }
                Poll::Ready(Err(error)) => {
                    tracing::debug!(side = from.as_str(), %error, "reading failed");
                    self.session.handle_broken(from, now);
                    self.session.handle_eof(from, now);
                    return Turn::Waits;
                }
            };
            let passed = self.session.handle_input(from, &mut scratch[..filled], now);
            self.leg(from).keep(&scratch[passed.keep]);
            if passed.forward > 0 {
                self.write(cx, to, &scratch[..passed.forward], now);
            }
            self.transmit(cx, to, now);
        }
        Turn::HasMore
    }

    /// Puts frames of our own behind what was forwarded to a side.
    fn transmit(&mut self, cx: &mut Context<'_>, to: Side, now: Instant) {
        if !self.session.wants_to_transmit(to) {
            return;
        }
        let mut frames = Vec::new();
        self.session.poll_transmit(to, now, &mut frames);
        if !frames.is_empty() {
            self.write(cx, to, &frames, now);
        }
    }

    /// Writes what the side takes at once and holds the rest for it.
    fn write(&mut self, cx: &mut Context<'_>, to: Side, bytes: &[u8], now: Instant) {
        let leg = self.leg(to);
        leg.flushed = false;
        let taken =
            if leg.waiting.is_empty() { Pin::new(&mut leg.stream).poll_write(cx, bytes) } else { Poll::Pending };
        match taken {
            Poll::Ready(Ok(taken)) if taken == bytes.len() => {}
            Poll::Ready(Ok(taken)) => leg.waiting.extend_from_slice(&bytes[taken..]),
            Poll::Pending => leg.waiting.extend_from_slice(bytes),
            Poll::Ready(Err(error)) => return self.break_off(to, &error, now),
        }
        self.flush(cx, to, now);
    }

    /// Whether a side has taken all that is for it.
    fn flush(&mut self, cx: &mut Context<'_>, to: Side, now: Instant) -> bool {
        let leg = self.leg(to);
        if leg.flushed {
            return true;
        }
        let before = leg.waiting.len();
        let flushed = leg.poll_flush(cx);
        let left = leg.waiting.len();
        match flushed {
            Poll::Ready(Ok(())) => {
                leg.flushed = true;
                leg.waiting = BytesMut::new();
                self.session.handle_written(to, before, 0, now);
                true
            }
            Poll::Ready(Err(error)) => {
                self.break_off(to, &error, now);
                true
            }
            Poll::Pending if self.session.is_lost(to) => {
                self.break_off(to, &io::ErrorKind::TimedOut.into(), now);
                true
            }
            Poll::Pending => {
                self.session.handle_written(to, before - left, left.max(1), now);
                false
            }
        }
    }

    /// A side cannot be written any more.
    fn break_off(&mut self, to: Side, error: &io::Error, now: Instant) {
        tracing::debug!(side = to.as_str(), %error, "writing failed");
        let leg = self.leg(to);
        leg.waiting = BytesMut::new();
        leg.flushed = true;
        self.session.handle_broken(to, now);
    }

    /// Sends our FIN (under TLS after a close_notify) when the session wants it and all else is written.
    fn shut(&mut self, cx: &mut Context<'_>, to: Side, now: Instant) {
        if !self.session.wants_shut(to) || !self.flush(cx, to, now) {
            return;
        }
        match Pin::new(&mut self.leg(to).stream).poll_shutdown(cx) {
            Poll::Ready(Ok(())) => self.session.handle_shut(to),
            Poll::Ready(Err(error)) => self.break_off(to, &error, now),
            Poll::Pending if self.session.is_lost(to) => self.break_off(to, &io::ErrorKind::TimedOut.into(), now),
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
    /// Fills the scratch with what was kept and what comes next; `None` = nothing more will come.
    fn fill(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<io::Result<Option<usize>>> {
        let (kept, free) = scratch.split_at_mut(self.kept.len());
        kept.copy_from_slice(&self.kept);
        if !self.early.is_empty() {
            let length = self.early.len().min(SCRATCH);
            self.early.copy_to_slice(&mut free[..length]);
            if self.early.is_empty() {
                self.early = Bytes::new();
            }
            return Poll::Ready(Ok(Some(kept.len() + length)));
        }
        let mut buffer = ReadBuf::new(&mut free[..SCRATCH]);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
        let length = buffer.filled().len();
        Poll::Ready(Ok((length > 0).then_some(kept.len() + length)))
    }

    fn keep(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() || !self.kept.is_empty() {
            self.kept = bytes.to_vec();
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let taken = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.waiting))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.waiting.advance(taken);
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }
}
