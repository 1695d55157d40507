//! Reads a backend's answer to a WebSocket handshake, and writes the 101 for the client.
//!
//! A session needs only a request, a head and the socket back, and hyper's client would make a task, channels and
//! buffers for that. hyper's server does not spell the names of fields as the RFCs do
//! ([`spell`](crate::headers::spell)).
//!
//! Only a 101 is read to its end here. Any other answer is left to hyper, from its first byte
//! ([`BackendIo`](crate::net::stream::backend_io::BackendIo)).

use std::mem::MaybeUninit;

use bytes::{BufMut, Bytes};
use httparse::ParserConfig;
use hyper::{
    HeaderMap, StatusCode,
    header::{HeaderName, HeaderValue},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use super::{
    exchange::send,
    request_head::{HEAD, field},
    tls,
};
use crate::{
    error::{Error, Kind},
    net::stream::backend_io::TLS_ALERT,
};

/// The greatest length of an answer's head, in bytes.
const MAX_HEAD: usize = 64 * 1024;
/// Fields of an answer that need no allocation to be read.
const FEW: usize = 64;
/// A limit on the fields of an answer that no real answer reaches, for callers that have no limit of their own.
pub(super) const MOST_FIELDS: usize = 1000;

/// A backend's answer to a handshake.
#[derive(Debug)]
pub(in crate::net) enum HandshakeReply {
    /// A 101 that is not verified yet: its reason phrase, its headers, and the bytes that were read behind it.
    Switched { reason: Bytes, headers: HeaderMap, early: Bytes },
    /// Any other answer: its status, and every byte that was read of it.
    Other { status: StatusCode, read: Bytes },
}

/// Sends a request and reads the head of the answer, which may have `most` fields.
///
/// # Errors
/// [`Kind::ClosedEarly`], [`Kind::MalformedAnswer`], [`Kind::SpeaksTls`], [`Kind::BackendTls`].
pub(in crate::net) async fn send_and_read_head(
    socket: &mut (impl AsyncRead + AsyncWrite + Unpin),
    request: Vec<u8>,
    most: usize,
) -> Result<HandshakeReply, Error> {
    // A failed write is no reason to give up: a backend that refuses may answer before it has read everything.
    let written = send(socket, &request).await;
    // The answer gets the room of the request.
    let mut read = request;
    read.clear();
    // The length of the interim answers that come before the answer (RFC 9110 §15.2).
    let mut interim = 0;
    loop {
        match socket.read_buf(&mut read).await {
            Ok(0) => return Err(Kind::ClosedEarly.into()),
            Ok(_) => {}
            Err(error) => return Err(tls::lost(error, written)),
        }
        if read.starts_with(&TLS_ALERT) {
            return Err(Kind::SpeaksTls.into());
        }
        // One byte of what may be an alert: the next byte tells.
        if *read == TLS_ALERT[..1] {
            continue;
        }
        while let Some(AnswerHead { status, length, switched }) = read_head(&read[interim..], most)? {
            if let Some((reason, headers)) = switched {
                let end = interim + length;
                // Mostly nothing follows the 101. The buffer then need not be shared.
                let early = if read.len() == end { Bytes::new() } else { read.split_off(end).into() };
                return Ok(HandshakeReply::Switched { reason, headers, early });
            }
            if !status.is_informational() {
                return Ok(HandshakeReply::Other { status, read: read.into() });
            }
            interim += length;
        }
        if read.len() > MAX_HEAD {
            return Err(Error::from_source(Kind::MalformedAnswer, "its head is too long"));
        }
    }
}

/// A 101 on the wire. `headers`: its fields, without those that make it a 101.
pub(in crate::net) fn switching<'a>(
    reason: &[u8],
    headers: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD);
    for part in [b"HTTP/1.1 101 ", reason, b"\r\n"] {
        bytes.put_slice(part);
    }
    for (name, value) in headers {
        field(&mut bytes, name, value.as_bytes());
    }
    bytes.put_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    bytes
}

/// The complete head of an answer.
struct AnswerHead {
    status: StatusCode,
    length: usize,
    /// The reason phrase and the headers, if the answer is a 101.
    switched: Option<(Bytes, HeaderMap)>,
}

/// Reads a head that may have `most` fields. `None` if the head is not complete.
fn read_head(bytes: &[u8], most: usize) -> Result<Option<AnswerHead>, Error> {
    let parser = ParserConfig::default();
    let mut few = [const { MaybeUninit::uninit() }; FEW];
    let mut many;
    let mut answer = httparse::Response::new(&mut []);
    let few = &mut few[..most.min(FEW)];
    let mut parsed = parser.parse_response_with_uninit_headers(&mut answer, bytes, few);
    if parsed == Err(httparse::Error::TooManyHeaders) && most > FEW {
        many = vec![MaybeUninit::uninit(); most];
        answer = httparse::Response::new(&mut []);
        parsed = parser.parse_response_with_uninit_headers(&mut answer, bytes, &mut many);
    }
    let length = match parsed {
        Ok(httparse::Status::Partial) => return Ok(None),
        Ok(httparse::Status::Complete(length)) => length,
        Err(httparse::Error::TooManyHeaders) => return Err(malformed("it has more fields than limits.answer_headers")),
        Err(error) => return Err(malformed(error)),
    };
    let status = StatusCode::from_u16(answer.code.unwrap_or_default()).map_err(malformed)?;
    let is_switched = status == StatusCode::SWITCHING_PROTOCOLS;
    let switched = is_switched.then(|| switched(&bytes[..length], &answer)).transpose()?;
    Ok(Some(AnswerHead { status, length, switched }))
}

/// The reason phrase and the headers of a head. Both share one copy of the head.
fn switched(head: &[u8], answer: &httparse::Response<'_, '_>) -> Result<(Bytes, HeaderMap), Error> {
    let kept = Bytes::copy_from_slice(head);
    let keep = |part: &[u8]| {
        // An empty part may point anywhere.
        let start = part.as_ptr().addr().saturating_sub(head.as_ptr().addr());
        if part.is_empty() { Bytes::new() } else { kept.slice(start..start + part.len()) }
    };
    let mut headers = HeaderMap::with_capacity(answer.headers.len());
    for line in answer.headers.iter() {
        let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(malformed)?;
        let value = HeaderValue::from_maybe_shared(keep(line.value)).map_err(malformed)?;
        headers.append(name, value);
    }
    Ok((keep(answer.reason.unwrap_or_default().as_bytes()), headers))
}

fn malformed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::from_source(Kind::MalformedAnswer, error)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::{AsyncWriteExt as _, duplex, split};

    use super::*;

    #[tokio::test]
    async fn a_tls_alert_is_one_though_it_comes_byte_by_byte() {
        // Only one byte fits at a time.
        let (mut ours, theirs) = duplex(1);
        let backend = tokio::spawn(async move {
            let (mut reads, mut writes) = split(theirs);
            let taken = tokio::spawn(async move { tokio::io::copy(&mut reads, &mut tokio::io::sink()).await });
            // The reader may hang up as soon as it has seen enough.
            let _ = writes.write_all(&[0x15, 0x03, 0x01, 0, 2, 2, 10]).await;
            taken.await.unwrap().unwrap();
        });
        let error = send_and_read_head(&mut ours, b"GET / HTTP/1.1\r\n\r\n".to_vec(), MOST_FIELDS).await.unwrap_err();
        assert_eq!(error.kind(), Kind::SpeaksTls, "{error}");
        drop(ours);
        backend.await.unwrap();
    }
}
