//! The heads of a WebSocket handshake, written and read here: toward a backend, since of hyper's client a session needs a
//! request, a head and the socket back, and pays for a task, channels and buffers; the 101 toward a client, since hyper's
//! server spells no name as the RFCs do ([`spell`]).
//!
//! Only a 101 is read to its end here. Any other answer is left to hyper, from its first byte ([`BackendIo`](super::backend_io::BackendIo)).

use bytes::{BufMut, Bytes, BytesMut};
use hyper::{
    HeaderMap, Method, StatusCode, Uri, Version,
    header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, UPGRADE, VIA},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::upstream::Head;
use crate::{
    error::{Error, Kind},
    headers::{Hop, Value, onward, spell, via},
};

/// The head of an answer is at most this long.
const MAX_HEAD: usize = 64 * 1024;
/// Fields of an answer that there is room for without an allocation.
const FEW: usize = 64;
/// Fields of an answer that no limit exceeds, for who has none of its own.
pub(super) const MOST_FIELDS: usize = 1000;
/// The room for a head; few are longer.
const HEAD: usize = 2048;

/// How a TLS server begins its answer to whoever does not speak TLS: with an alert of any version (RFC 8446 §5.1).
pub(super) const TLS_ALERT: [u8; 2] = [0x15, 0x03];

/// What a backend says to a handshake.
#[derive(Debug)]
pub(super) enum Reply {
    /// A 101, not verified yet: its reason phrase, its headers, and what was read behind it.
    Switched { reason: Bytes, headers: HeaderMap, early: Bytes },
    /// Anything else: its status, and what was read of it.
    Other { status: StatusCode, read: Bytes },
}

/// Sends a request and reads the head of the answer, which has `most` fields at most.
///
/// # Errors
/// [`Kind::ClosedEarly`], [`Kind::MalformedAnswer`].
pub(super) async fn exchange(
    socket: &mut (impl AsyncRead + AsyncWrite + Unpin),
    request: &[u8],
    most: usize,
) -> Result<Reply, Error> {
    // Where writing fails an answer may have come all the same: a backend that refuses does not have to read first.
    let written = socket.write_all(request).await;
    let mut read = BytesMut::with_capacity(HEAD);
    // Interim answers go before it (RFC 9110 §15.2).
    let mut interim = 0;
    loop {
        match socket.read_buf(&mut read).await {
            Ok(0) => return Err(Kind::ClosedEarly.into()),
            Ok(_) => {}
            Err(error) => return Err(Error::from_source(Kind::ClosedEarly, written.err().unwrap_or(error))),
        }
        if read.starts_with(&TLS_ALERT) {
            return Err(Kind::SpeaksTls.into());
        }
        // The rest of what may be one is still to come.
        if *read == TLS_ALERT[..1] {
            continue;
        }
        while let Some((status, length)) = status(&read[interim..], most)? {
            if status == StatusCode::SWITCHING_PROTOCOLS {
                let early = read.split_off(interim + length).freeze();
                let (reason, headers) = headers(&read.freeze().slice(interim..), most)?;
                return Ok(Reply::Switched { reason, headers, early });
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

/// A 101 on the wire.
pub(super) fn switching(reason: &[u8], headers: &HeaderMap) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD);
    for part in [b"HTTP/1.1 101 ", reason, b"\r\n"] {
        bytes.put_slice(part);
    }
    fields(&mut bytes, headers);
    bytes
}

/// A client's handshake on its way to a backend. It is of HTTP/1.1, so it names its host.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) uri: &'a Uri,
    /// As the client sent them.
    pub(super) headers: &'a HeaderMap,
    pub(super) hop: Hop<'a>,
    /// Whether this hop is added to `Via`.
    pub(super) has_via: bool,
    /// What takes the place of the client's fields about its trace.
    pub(super) traced: Vec<(HeaderName, Option<HeaderValue>)>,
}

impl Request<'_> {
    /// On the wire.
    pub(super) fn write(&self) -> Vec<u8> {
        let mut bytes = start("GET", self.uri);
        self.fields(|name, value| field(&mut bytes, name, value.as_bytes()));
        bytes.put_slice(b"\r\n");
        bytes
    }

    /// For hyper.
    pub(super) fn head(&self) -> Head {
        let mut headers = HeaderMap::new();
        self.fields(|name, value| {
            if let Some(value) = value.to_header() {
                headers.append(name, value);
            }
        });
        Head { method: Method::GET, uri: origin_form(self.uri), headers }
    }

    fn fields(&self, mut tell: impl FnMut(&HeaderName, Value<'_>)) {
        onward(self.headers, &self.hop, |name, value| {
            // If a length is there it is 0, and behind it come frames.
            if *name != CONTENT_LENGTH && !self.traced.iter().any(|(traced, _)| traced == name) {
                tell(name, value);
            }
        });
        for (name, value) in &self.traced {
            if let Some(value) = value {
                tell(name, Value::Passed(value));
            }
        }
        if self.has_via {
            tell(&VIA, Value::Ours(via(Version::HTTP_11).as_bytes()));
        }
        tell(&CONNECTION, Value::Ours(b"Upgrade"));
        tell(&UPGRADE, Value::Ours(b"websocket"));
    }
}

/// A target as a backend sees it.
pub(super) fn origin_form(uri: &Uri) -> Uri {
    uri.path_and_query().cloned().map_or_else(|| Uri::from_static("/"), Uri::from)
}

/// A request of ours on the wire.
pub(super) fn request(head: &Head, address: &str) -> Vec<u8> {
    let mut bytes = start(head.method.as_str(), &head.uri);
    if !head.headers.contains_key(HOST) {
        field(&mut bytes, &HOST, address.as_bytes());
    }
    fields(&mut bytes, &head.headers);
    bytes
}

/// The first line of a request.
fn start(method: &str, uri: &Uri) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    // A whole URL may have a query and no path (RFC 9112 §3.2.1).
    let slash = if path.starts_with('?') { "/" } else { "" };
    for part in [method, " ", slash, path, " HTTP/1.1\r\n"] {
        bytes.put_slice(part.as_bytes());
    }
    bytes
}

/// All fields, and the end of the head.
fn fields(bytes: &mut Vec<u8>, headers: &HeaderMap) {
    for (name, value) in headers {
        field(bytes, name, value.as_bytes());
    }
    bytes.put_slice(b"\r\n");
}

fn field(bytes: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    spell(name, bytes);
    for part in [b": ", value, b"\r\n"] {
        bytes.put_slice(part);
    }
}

/// The status of an answer whose head is complete, and how long that is.
fn status(bytes: &[u8], most: usize) -> Result<Option<(StatusCode, usize)>, Error> {
    parse(bytes, most, |answer, length| {
        let status = StatusCode::from_u16(answer.code.unwrap_or_default()).map_err(malformed)?;
        Ok((status, length))
    })
}

/// The reason phrase and the headers of a complete head; they stay where they are.
fn headers(head: &Bytes, most: usize) -> Result<(Bytes, HeaderMap), Error> {
    let read = parse(head, most, |answer, _| {
        let mut headers = HeaderMap::with_capacity(answer.headers.len());
        for line in answer.headers.iter() {
            let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(malformed)?;
            let value = HeaderValue::from_maybe_shared(head.slice_ref(line.value)).map_err(malformed)?;
            headers.append(name, value);
        }
        let reason = answer.reason.filter(|reason| !reason.is_empty());
        Ok((reason.map_or_else(Bytes::new, |reason| head.slice_ref(reason.as_bytes())), headers))
    });
    read?.ok_or_else(|| malformed("its head has no end"))
}

/// Reads a head of `most` fields at most, and hands it on with its length; `None` while it has no end.
fn parse<T>(
    bytes: &[u8],
    most: usize,
    read: impl FnOnce(&httparse::Response<'_, '_>, usize) -> Result<T, Error>,
) -> Result<Option<T>, Error> {
    let mut few = [httparse::EMPTY_HEADER; FEW];
    let mut many;
    let mut answer = httparse::Response::new(&mut few[..most.min(FEW)]);
    let mut parsed = answer.parse(bytes);
    if parsed == Err(httparse::Error::TooManyHeaders) && most > FEW {
        many = vec![httparse::EMPTY_HEADER; most];
        answer = httparse::Response::new(&mut many);
        parsed = answer.parse(bytes);
    }
    match parsed {
        Ok(httparse::Status::Partial) => Ok(None),
        Ok(httparse::Status::Complete(length)) => read(&answer, length).map(Some),
        Err(httparse::Error::TooManyHeaders) => Err(malformed("it has more fields than limits.answer_headers")),
        Err(error) => Err(malformed(error)),
    }
}

fn malformed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::from_source(Kind::MalformedAnswer, error)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::{duplex, split};

    use super::*;

    #[tokio::test]
    async fn a_tls_alert_is_one_though_it_comes_byte_by_byte() {
        // No more than a byte fits at once.
        let (mut ours, theirs) = duplex(1);
        let backend = tokio::spawn(async move {
            let (mut reads, mut writes) = split(theirs);
            let taken = tokio::spawn(async move { tokio::io::copy(&mut reads, &mut tokio::io::sink()).await });
            // Whoever has seen enough hangs up.
            let _ = writes.write_all(&[0x15, 0x03, 0x01, 0, 2, 2, 10]).await;
            taken.await.unwrap().unwrap();
        });
        let head = Head { method: Method::GET, uri: Uri::from_static("/"), headers: HeaderMap::new() };
        let error = exchange(&mut ours, &request(&head, "backend:443"), MOST_FIELDS).await.unwrap_err();
        assert_eq!(error.kind(), Kind::SpeaksTls, "{error}");
        drop(ours);
        backend.await.unwrap();
    }
}
