//! The stream of a backend while hyper speaks HTTP on it.

use std::{
    fmt, io, mem,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::plain_or_tls::Stream;

/// The first bytes of an alert, by which a TLS server answers a client that does not speak TLS (RFC 8446 §5.1, any version).
pub(in crate::net) const TLS_ALERT: [u8; 2] = [0x15, 0x03];

/// A backend's connection.
#[derive(Debug)]
pub(in crate::net) struct BackendIo {
    stream: Stream,
    /// What was read before hyper took the connection over, until hyper has read it.
    replay: Option<Replay>,
    /// Nothing has been read from the stream.
    is_new: bool,
    /// The backend takes no more bytes, and what is written is dropped. A failed write would make hyper give up, and
    /// lose an answer that came before the reset. A backend that refuses an upload need not read it first (RFC 9112
    /// §9.5).
    is_deaf: bool,
}

/// The backend answered in TLS.
#[derive(Debug)]
pub(in crate::net) struct SpeaksTls;

impl fmt::Display for SpeaksTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a TLS alert")
    }
}

impl std::error::Error for SpeaksTls {}

/// An answer that had begun before hyper took the connection over. hyper sends the request again, which is dropped, and
/// then reads the answer from its first byte.
#[derive(Debug)]
struct Replay {
    /// Never empty.
    read: Bytes,
    is_asked: bool,
    reader: Option<Waker>,
}

impl BackendIo {
    pub(in crate::net) const fn new(stream: Stream) -> Self {
        Self { stream, replay: None, is_new: true, is_deaf: false }
    }

    /// A connection over which a request was sent already. `read`: what was read of its answer.
    pub(in crate::net) fn replaying(stream: Stream, read: Bytes) -> Self {
        let replay = Some(read).filter(|read| !read.is_empty());
        let replay = replay.map(|read| Replay { read, is_asked: false, reader: None });
        Self { stream, replay, is_new: false, is_deaf: false }
    }

    /// The stream itself, for a session.
    pub(in crate::net) fn into_stream(self) -> Stream {
        self.stream
    }

    /// The result of a write of `length` bytes, as hyper is to see it.
    fn written(&mut self, result: io::Result<usize>, length: usize) -> io::Result<usize> {
        self.is_deaf = result.is_err();
        Ok(result.unwrap_or(length))
    }

    /// Notes that bytes are written, which a replay waits for. Returns whether these bytes are dropped.
    fn note_write(&mut self) -> bool {
        if let Some(replay) = &mut self.replay {
            replay.ask();
        }
        self.replay.is_some() || self.is_deaf
    }
}

impl Replay {
    /// Gives what had been read. Ready with whether that was all.
    fn poll_read(&mut self, cx: &Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<bool> {
        if !self.is_asked {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let length = self.read.len().min(buffer.remaining());
        buffer.put_slice(&self.read[..length]);
        self.read.advance(length);
        Poll::Ready(self.read.is_empty())
    }

    fn ask(&mut self) {
        self.is_asked = true;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl AsyncRead for BackendIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some(replay) = &mut self.replay else {
            let before = buffer.filled().len();
            ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
            let is_new = mem::take(&mut self.is_new);
            return Poll::Ready(match buffer.filled().get(before..) {
                Some(read) if is_new && read.starts_with(&TLS_ALERT) => Err(io::Error::other(SpeaksTls)),
                _ => Ok(()),
            });
        };
        if ready!(replay.poll_read(cx, buffer)) {
            self.replay = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for BackendIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.note_write() {
            return Poll::Ready(Ok(bytes.len()));
        }
        let result = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        Poll::Ready(self.written(result, bytes.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = slices.iter().map(|slice| slice.len()).sum();
        if self.note_write() {
            return Poll::Ready(Ok(length));
        }
        let result = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices));
        Poll::Ready(self.written(result, length))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS tries again what a write has left.
        if !self.is_deaf {
            self.is_deaf = ready!(Pin::new(&mut self.stream).poll_flush(cx)).is_err();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_shutdown(cx) {
            Poll::Ready(Err(_)) if self.is_deaf => Poll::Ready(Ok(())),
            shut => shut,
        }
    }
}
