//! A stream that has no socket of its own, such as one of several within one connection.

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::calls::{Calls, SessionKey};
use crate::ws::{Side, progress::Progress};

/// What carries the bytes of a stream without a socket. It keeps these rules:
///
/// 1. It takes only as many bytes as its far end gives room for. So no more than a bound of its own waits in it.
/// 2. Where a poll is pending, it keeps the waker of that poll, and wakes it when to poll again.
/// 3. What was written before a shutdown arrives, and then the end.
pub trait Duplex: AsyncRead + AsyncWrite + fmt::Debug + Send + Sync + Unpin {
    /// How many bytes the far end has taken, and how many wait for it.
    fn progress(&self) -> Progress;
}

/// A stream without a socket. No event of an epoll tells its session when to read or write, so the stream calls it.
#[derive(Debug)]
pub struct Socketless {
    stream: Box<dyn Duplex>,
    /// Calls the session. Calls nobody before the stream is a session's.
    waker: Waker,
}

impl Socketless {
    /// A stream that is no session's yet.
    #[must_use]
    pub fn new(stream: Box<dyn Duplex>) -> Self {
        Self { stream, waker: Waker::noop().clone() }
    }

    /// From now on, the stream calls this side of a session.
    pub(super) fn give_to(&mut self, session: SessionKey, side: Side, calls: &Arc<Calls>) {
        self.waker = calls.waker(session, side);
    }

    /// The waker that calls the session.
    pub(super) const fn waker(&self) -> &Waker {
        &self.waker
    }

    pub(super) fn progress(&self) -> Progress {
        self.stream.progress()
    }
}

impl AsyncRead for Socketless {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socketless {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
