//! The stream of one side, a client or a backend: plain TCP or Unix, TLS, or a stream without a socket.

use std::{
    io::{self, IoSlice, Write},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use rustix::{
    io::retry_on_intr,
    net::{SendAncillaryBuffer, SendFlags, send, sendmsg},
};
use tokio::io::{AsyncBufRead as _, AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{
    TlsStream,
    rustls::{ConnectionCommon, ProtocolVersion, ServerConnection},
};

use super::{
    calls::{Calls, SessionKey},
    socketless::Socketless,
    sockets::Socket,
};
use crate::{
    access_log::TlsVersion,
    ws::{Side, progress::Progress},
};

/// The one protocol that is spoken over TLS.
pub const ALPN: &[u8] = b"http/1.1";

/// The most that rustls holds of what it was given, in bytes (its `DEFAULT_BUFFER_LIMIT`).
pub(in crate::net) const MOST_SEALED: usize = 64 * 1024;

/// What we read and write on one side.
#[derive(Debug)]
pub enum Stream {
    /// A TCP or Unix socket in the clear.
    Plain(Socket),
    /// TLS over such a socket. We are the server of a client, and the client of a backend.
    Tls(Box<TlsStream<Socket>>),
    /// A stream without a socket.
    Socketless(Box<Socketless>),
    /// Closed before the session was over.
    Closed,
}

impl Stream {
    /// The socket underneath.
    pub(in crate::net) fn socket(&self) -> Option<&Socket> {
        match self {
            Self::Plain(socket) => Some(socket),
            Self::Tls(stream) => Some(stream.get_ref().0),
            Self::Socketless(_) | Self::Closed => None,
        }
    }

    /// From now on, this stream is a side of a session of this worker. Events of its socket are for that side. A stream
    /// without a socket calls it, by `calls`.
    pub(in crate::net) fn give_to(&mut self, session: SessionKey, side: Side, calls: &Arc<Calls>) {
        match self {
            Self::Plain(socket) => socket.give_to(session, side),
            Self::Tls(stream) => stream.get_ref().0.give_to(session, side),
            Self::Socketless(stream) => stream.give_to(session, side, calls),
            Self::Closed => {}
        }
    }

    /// From now on, this stream is a task's, which may wait for it. A stream without a socket stays as it is: its last session
    /// is called in vain.
    pub(in crate::net) fn give_to_task(&self) {
        if let Some(socket) = self.socket() {
            socket.give_to_task();
        }
    }

    /// Takes the stream away from this thread, with what TLS has read ahead. Only [`Self::enter_thread`] may follow.
    ///
    /// # Errors
    /// Those of [`Socket::leave_thread`].
    pub(in crate::net) fn leave_thread(&mut self) -> io::Result<()> {
        self.socket_mut().map_or(Ok(()), Socket::leave_thread)
    }

    /// From now on, the stream belongs to this thread. It wants to be read once, whatever comes.
    ///
    /// # Errors
    /// Those of [`Socket::enter_thread`].
    pub(in crate::net) fn enter_thread(&mut self) -> io::Result<()> {
        self.socket_mut().map_or(Ok(()), Socket::enter_thread)
    }

    fn socket_mut(&mut self) -> Option<&mut Socket> {
        match self {
            Self::Plain(socket) => Some(socket),
            Self::Tls(stream) => Some(stream.get_mut().0),
            Self::Socketless(_) | Self::Closed => None,
        }
    }

    /// Calls the session of a stream without a socket. `None` = the session needs no call.
    pub(in crate::net) fn waker(&self) -> Option<&Waker> {
        match self {
            Self::Socketless(stream) => Some(stream.waker()),
            Self::Plain(_) | Self::Tls(_) | Self::Closed => None,
        }
    }

    /// How much of what was written the other end has taken.
    pub(in crate::net) fn progress(&self) -> Progress {
        match self {
            Self::Plain(socket) => socket.progress(),
            Self::Tls(stream) => stream.get_ref().0.progress(),
            Self::Socketless(stream) => stream.progress(),
            Self::Closed => Progress::default(),
        }
    }

    /// How many of the written bytes the other end has not acknowledged, as far as the kernel knows. Of TLS, these are bytes
    /// on the wire.
    pub(in crate::net) fn unacknowledged(&self) -> u64 {
        self.socket().map_or(0, Socket::unacknowledged)
    }

    /// Whether to drop the stream now may destroy bytes on their way. A socket is reset if bytes of the other end are
    /// unread. For a stream without a socket the answer is always yes, because to close it early would save no packet.
    pub(in crate::net) fn needs_its_end(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.has_unread(),
            Self::Tls(stream) => stream.get_ref().0.has_unread(),
            Self::Socketless(_) => true,
            Self::Closed => false,
        }
    }

    /// Reads what is there for a session, at most `buffer.len()` bytes. 0 = nothing more will come.
    pub(in crate::net) fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if let Self::Plain(socket) = self {
            return socket.poll_recv(cx, buffer);
        }
        let mut buffer = ReadBuf::new(buffer);
        match Pin::new(self).poll_read(cx, &mut buffer) {
            Poll::Ready(Err(error)) if is_end_without_notice(&error) => Poll::Ready(Ok(0)),
            read => read.map_ok(|()| buffer.filled().len()),
        }
    }

    /// Reads what is there of an answer, at most `most` bytes, into a buffer that is not much longer than what was read.
    /// Empty = nothing more will come.
    pub(in crate::net) fn poll_take(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<Vec<u8>>> {
        if let Self::Plain(socket) = self {
            return socket.poll_take(cx, most);
        }
        if let Self::Tls(stream) = self {
            let mut stream = Pin::new(stream.as_mut());
            let there = ready!(stream.as_mut().poll_fill_buf(cx))?;
            let bytes = there[..there.len().min(most)].to_vec();
            stream.consume(bytes.len());
            return Poll::Ready(Ok(bytes));
        }
        let mut bytes = vec![0; most];
        let read = ready!(self.poll_fill(cx, &mut bytes))?;
        bytes.truncate(read);
        bytes.shrink_to_fit();
        Poll::Ready(Ok(bytes))
    }

    /// Whether something has come that nobody has read: bytes, an end or an error. What TLS sends for itself, such as tickets
    /// (RFC 8446 §4.6.1), is no news; this call takes it, and what comes later wakes `watcher`.
    pub(in crate::net) fn finds_news(&mut self, watcher: &Waker) -> bool {
        match self {
            Self::Plain(socket) => socket.has_news(),
            // TLS may have read more from the socket than anybody has asked for.
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_fill_buf(&mut Context::from_waker(watcher)).is_ready(),
            Self::Socketless(_) | Self::Closed => true,
        }
    }

    /// Tells the other end that nothing more comes, if TLS has a word for that. To be called just before the drop of a stream on
    /// which nothing is under way.
    pub(in crate::net) fn say_goodbye(&mut self) {
        if let Self::Tls(_) = self {
            // Nobody is there to hear of a failure.
            let _ = self.write_last(&[]);
        }
    }

    /// From now on, events of the socket underneath wake `watcher`, until a task waits for the stream itself.
    pub(in crate::net) fn watch_by(&self, watcher: &Waker) {
        if let Some(socket) = self.socket() {
            socket.watch_by(watcher);
        }
    }

    /// Writes the last bytes, under TLS with a close_notify behind them, in such a way that they go in one packet with
    /// the FIN. The caller has to close or shut down at once. Returns how many bytes were taken. TLS may hold some of
    /// them ([`Self::is_holding`]). A stream without a socket takes none, because it has no such packet.
    pub(in crate::net) fn write_last(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(_) if bytes.is_empty() => Ok(0),
            Self::Plain(socket) => LastWords(socket).write(bytes),
            Self::Tls(stream) => match &mut **stream {
                TlsStream::Server(stream) => {
                    let (socket, tls) = stream.get_mut();
                    seal_last(socket, tls, bytes)
                }
                TlsStream::Client(stream) => {
                    let (socket, tls) = stream.get_mut();
                    seal_last(socket, tls, bytes)
                }
            },
            Self::Socketless(_) => Ok(0),
            Self::Closed => Ok(bytes.len()),
        }
    }

    /// Whether TLS holds bytes that the socket has not taken.
    pub(in crate::net) fn is_holding(&self) -> bool {
        matches!(self, Self::Tls(stream) if stream.get_ref().1.wants_write())
    }

    /// The TLS of a connection in which we are the server.
    pub(in crate::net) fn server(&self) -> Option<&ServerConnection> {
        match self {
            Self::Tls(stream) => match &**stream {
                TlsStream::Server(stream) => Some(stream.get_ref().1),
                TlsStream::Client(_) => None,
            },
            Self::Plain(_) | Self::Socketless(_) | Self::Closed => None,
        }
    }

    /// The TLS version that was agreed.
    #[must_use]
    pub fn tls_version(&self) -> Option<TlsVersion> {
        match self {
            Self::Plain(_) | Self::Socketless(_) | Self::Closed => None,
            Self::Tls(stream) => match stream.get_ref().1.protocol_version()? {
                ProtocolVersion::TLSv1_2 => Some(TlsVersion::V1_2),
                ProtocolVersion::TLSv1_3 => Some(TlsVersion::V1_3),
                _ => None,
            },
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => {
                let is_client = matches!(**stream, TlsStream::Server(_));
                match Pin::new(stream.as_mut()).poll_read(cx, buffer) {
                    // The head of a request and its framing show whether the request is complete. An answer of a backend may
                    // last until its connection ends, and then only the close_notify shows that (RFC 9112 §9.8).
                    Poll::Ready(Err(error)) if is_client && is_end_without_notice(&error) => Poll::Ready(Ok(())),
                    read => read,
                }
            }
            Self::Socketless(stream) => Pin::new(stream.as_mut()).poll_read(cx, buffer),
            Self::Closed => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Stream {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, bytes),
            Self::Socketless(stream) => Pin::new(stream.as_mut()).poll_write(cx, bytes),
            Self::Closed => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, slices),
            Self::Socketless(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, slices),
            Self::Closed => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::Socketless(_) | Self::Closed => false,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
            Self::Socketless(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
            Self::Closed => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
            Self::Socketless(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
            Self::Closed => Poll::Ready(Ok(())),
        }
    }
}

/// Whether this is a FIN without a close_notify before it. It is no error of a session, because a WebSocket shows by its Close
/// whether it is complete.
fn is_end_without_notice(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
}

/// [`Stream::write_last`] under TLS.
fn seal_last<Data>(socket: &Socket, tls: &mut ConnectionCommon<Data>, bytes: &[u8]) -> io::Result<usize> {
    let taken = tls.writer().write(bytes)?;
    if taken == bytes.len() {
        tls.send_close_notify();
    }
    while tls.wants_write() {
        match tls.write_tls(&mut LastWords(socket)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            written => written?,
        };
    }
    Ok(taken)
}

/// Writes bytes that the kernel holds back for the packet of the FIN (`MSG_MORE`). The caller has to close or shut down at once.
#[derive(Debug)]
struct LastWords<'a>(&'a Socket);

impl LastWords<'_> {
    const FLAGS: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::MORE);
}

impl Write for LastWords<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(retry_on_intr(|| send(self.0, bytes, Self::FLAGS))?)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(retry_on_intr(|| sendmsg(self.0, slices, &mut SendAncillaryBuffer::default(), Self::FLAGS))?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
