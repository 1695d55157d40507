//! The stream of a client while hyper speaks HTTP on it, with deadlines for what the client owes.
//!
//! hyper has one timer for the head of a request, and counts the idle time between requests into it. Here the two are
//! apart, as in nginx (`client_header_timeout`, `keepalive_timeout`). A client that does not read its answer has a
//! deadline too, and so has one that does not close after us.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::plain_or_tls::Stream;
use crate::{config::Timeouts, net::thread::alarm::Alarm};

/// How long a client may take nothing of its answer if `timeouts.response` is off.
const RELUCTANCE: Duration = Duration::from_secs(60);

/// What the client owes us now. The code that answers requests sets it, and [`ClientIo`] reads it.
#[derive(Debug, Clone, Default)]
pub(in crate::net) struct Debt(Arc<Owed>);

#[derive(Debug, Default)]
struct Owed {
    what: AtomicU8,
    /// Bytes that hyper has for the client wait, because the client does not take them.
    is_unsent: AtomicBool,
    /// Wakes the reader when a request was answered, which starts the clock of the next request. hyper would not start
    /// it: hyper reads ahead while a request is being answered, and does not read again when it is answered.
    reader: AtomicWaker,
}

/// The client owes the head of a request. A new connection begins with this.
const HEAD: u8 = 0;
/// The client owes nothing, because a request is being answered.
const NOTHING: u8 = 1;
/// The client may send another request, and need not.
const NEXT: u8 = 2;

impl Debt {
    /// Notes that the complete head of a request has come.
    pub(in crate::net) fn pay(&self) {
        self.0.what.store(NOTHING, Relaxed);
    }

    /// Whether a request is being answered.
    pub(in crate::net) fn owes_nothing(&self) -> bool {
        self.0.what.load(Relaxed) == NOTHING
    }

    /// Whether bytes wait for the client to take them.
    pub(in crate::net) fn is_unsent(&self) -> bool {
        self.0.is_unsent.load(Relaxed)
    }

    /// Notes that a request has been answered.
    pub(in crate::net) fn allow_next(&self) {
        self.0.what.store(NEXT, Relaxed);
        self.0.reader.wake();
    }
}

/// A client's stream with deadlines.
#[derive(Debug)]
pub(in crate::net) struct ClientIo {
    stream: Stream,
    timeouts: Timeouts,
    debt: Debt,
    /// The debt that `reading` was set for.
    counted: u8,
    reading: Alarm,
    writing: Alarm,
    closing: Alarm,
}

impl ClientIo {
    /// A connection whose first request is due from now on.
    pub(in crate::net) fn new(stream: Stream, timeouts: Timeouts) -> Self {
        let mut reading = Alarm::default();
        reading.set(Some(Instant::now() + timeouts.request_header));
        let (writing, closing) = (Alarm::default(), Alarm::default());
        Self { stream, timeouts, debt: Debt::default(), counted: HEAD, reading, writing, closing }
    }

    pub(in crate::net) fn debt(&self) -> Debt {
        self.debt.clone()
    }

    /// The stream itself, for a session.
    pub(in crate::net) fn into_stream(self) -> Stream {
        self.stream
    }

    /// Whether the client has been silent for too long.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.debt.0.reader.register(cx.waker());
        let debt = self.debt.0.what.load(Relaxed);
        if debt != self.counted {
            self.counted = debt;
            let wait = match debt {
                HEAD => Some(self.timeouts.request_header),
                NEXT => Some(self.timeouts.keep_alive),
                _ => None,
            };
            self.reading.set(wait.map(|wait| Instant::now() + wait));
        }
        self.reading.poll(cx).map(|()| io::ErrorKind::TimedOut.into())
    }

    /// Whether the client has taken nothing for too long. To be called while bytes wait for the client.
    fn poll_reluctance(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.debt.0.is_unsent.store(true, Relaxed);
        if !self.writing.is_set() {
            self.writing.set(Some(Instant::now() + self.timeouts.response.unwrap_or(RELUCTANCE)));
        }
        self.writing.poll(cx).map(|()| io::ErrorKind::TimedOut.into())
    }

    /// Notes that the client has taken something.
    fn note_taken(&mut self) {
        if self.writing.is_set() {
            self.writing.set(None);
            self.debt.0.is_unsent.store(false, Relaxed);
        }
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Ready(read) => {
                // The first byte of the next request starts the clock of its head.
                let _ = self.debt.0.what.compare_exchange(NEXT, HEAD, Relaxed, Relaxed);
                Poll::Ready(read)
            }
            Poll::Pending => self.poll_silence(cx).map(Err),
        }
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(cx, bytes) {
            Poll::Ready(written) => {
                self.note_taken();
                Poll::Ready(written)
            }
            Poll::Pending => self.poll_reluctance(cx).map(Err),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write_vectored(cx, slices) {
            Poll::Ready(written) => {
                self.note_taken();
                Poll::Ready(written)
            }
            Poll::Pending => self.poll_reluctance(cx).map(Err),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Ready(flushed) => {
                self.note_taken();
                Poll::Ready(flushed)
            }
            Poll::Pending => self.poll_reluctance(cx).map(Err),
        }
    }

    /// Sends our FIN, then reads and discards until the client's FIN, for `timeouts.close` at most (nginx:
    /// `lingering_close`). Closing over unread bytes would send a reset, which destroys an answer that the client has
    /// not read yet.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.closing.is_set() {
            this.closing.set(Some(Instant::now() + this.timeouts.close));
        }
        if this.linger(cx).is_pending() && this.closing.poll(cx).is_pending() {
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl ClientIo {
    /// Ready when nothing can come any more. A client that has gone already is no failure here: that error would hide
    /// the one for which hyper ends the connection.
    fn linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if ready!(Pin::new(&mut self.stream).poll_shutdown(cx)).is_err() {
            return Poll::Ready(());
        }
        let mut scratch = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                return Poll::Ready(());
            }
        }
    }
}
