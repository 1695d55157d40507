//! A WebSocket handshake with a backend, written and read here: of hyper's client a session needs a request, a head and the
//! socket back, and pays for a task, channels and buffers.
//!
//! Only a 101 is read to its end here. Any other answer is left to hyper, from its first byte ([`Replay`]).

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use hyper::{
    HeaderMap, StatusCode,
    header::{HOST, HeaderName, HeaderValue},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::{sockets::Socket, upstream::Head};
use crate::error::{Error, Kind};

/// The head of an answer is at most this long.
const MAX_HEAD: usize = 64 * 1024;
/// Header lines in the head of an answer, at most (as hyper).
const MAX_HEADERS: usize = 100;
/// The room for a head; few are longer.
const HEAD: usize = 2048;

/// What a backend says to a handshake.
#[derive(Debug)]
pub(super) enum Reply {
    /// A 101, not verified yet: its headers, and what was read behind it.
    Switched { headers: HeaderMap, early: Bytes },
    /// Anything else: its status, and what was read of it.
    Other { status: StatusCode, read: Bytes },
}

/// Sends the request and reads the head of the answer.
///
/// # Errors
/// [`Kind::ClosedEarly`], [`Kind::MalformedAnswer`].
pub(super) async fn exchange(
    socket: &mut (impl AsyncRead + AsyncWrite + Unpin),
    head: &Head,
    address: &str,
) -> Result<Reply, Error> {
    // Where writing fails an answer may have come all the same: a backend that refuses does not have to read first.
    let written = socket.write_all(&request(head, address)).await;
    let mut read = BytesMut::with_capacity(HEAD);
    // Interim answers go before it (RFC 9110 §15.2).
    let mut interim = 0;
    loop {
        match socket.read_buf(&mut read).await {
            Ok(0) => return Err(Kind::ClosedEarly.into()),
            Ok(_) => {}
            Err(error) => return Err(Error::from_source(Kind::ClosedEarly, written.err().unwrap_or(error))),
        }
        while let Some((status, length)) = status(&read[interim..])? {
            if status == StatusCode::SWITCHING_PROTOCOLS {
                let early = read.split_off(interim + length).freeze();
                let headers = headers(read.freeze().slice(interim..))?;
                return Ok(Reply::Switched { headers, early });
            }
            if !status.is_informational() {
                return Ok(Reply::Other { status, read: read.freeze() });
            }
            interim += length;
        }
        if read.len() > MAX_HEAD {
            return Err(Error::from_source(Kind::MalformedAnswer, "its head is too long"));
        }
    }
}

/// The request on the wire.
fn request(head: &Head, address: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD);
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    for part in [head.method.as_str(), " ", path, " HTTP/1.1\r\n"] {
        bytes.put_slice(part.as_bytes());
    }
    let mut line = |name: &HeaderName, value: &[u8]| {
        for part in [name.as_str().as_bytes(), b": ", value, b"\r\n"] {
            bytes.put_slice(part);
        }
    };
    if !head.headers.contains_key(HOST) {
        line(&HOST, address.as_bytes());
    }
    for (name, value) in &head.headers {
        line(name, value.as_bytes());
    }
    bytes.put_slice(b"\r\n");
    bytes
}

/// The status of an answer whose head is complete, and how long that is.
fn status(bytes: &[u8]) -> Result<Option<(StatusCode, usize)>, Error> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut answer = httparse::Response::new(&mut headers);
    match answer.parse(bytes).map_err(malformed)? {
        httparse::Status::Partial => Ok(None),
        httparse::Status::Complete(length) => {
            let status = StatusCode::from_u16(answer.code.unwrap_or_default()).map_err(malformed)?;
            Ok(Some((status, length)))
        }
    }
}

/// The headers of a complete head; their values stay where they are.
fn headers(head: Bytes) -> Result<HeaderMap, Error> {
    let mut lines = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut answer = httparse::Response::new(&mut lines);
    answer.parse(&head).map_err(malformed)?;
    let mut headers = HeaderMap::with_capacity(answer.headers.len());
    for line in answer.headers.iter() {
        let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(malformed)?;
        let value = HeaderValue::from_maybe_shared(head.slice_ref(line.value)).map_err(malformed)?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn malformed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::from_source(Kind::MalformedAnswer, error)
}

/// A connection on which a request has been sent and an answer begun, for who wants to do both: what it writes goes nowhere,
/// what it reads begins with what was read, and not before something was written.
#[derive(Debug)]
pub(super) struct Replay {
    read: Bytes,
    socket: Socket,
    written: bool,
    reader: Option<Waker>,
}

impl Replay {
    pub(super) const fn new(read: Bytes, socket: Socket) -> Self {
        Self { read, socket, written: false, reader: None }
    }
}

impl AsyncRead for Replay {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.written {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if self.read.is_empty() {
            return Pin::new(&mut self.socket).poll_read(cx, buffer);
        }
        let length = self.read.len().min(buffer.remaining());
        buffer.put_slice(&self.read[..length]);
        self.read.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Replay {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.written = true;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
