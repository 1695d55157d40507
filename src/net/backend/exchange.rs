//! The exchange of a simple request with a backend, without hyper's client.
//!
//! Most plain requests are simple: no body, and an answer whose head comes in one piece and says how long its body is.
//! hyper's client makes a task, two channels and a second map of fields for each request, which costs as much as the
//! rest of the request.
//!
//! Every other answer goes to hyper, from the first byte that was read
//! ([`BackendIo`](crate::net::stream::backend_io::BackendIo)), so that hyper alone judges what is odd or wrong. A
//! connection comes back to the pool only if nothing follows its answer. If a single byte follows, the connection is
//! closed.

use std::{
    future::{Future as _, poll_fn},
    io, mem,
    net::SocketAddr,
    pin::pin,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use hyper::{
    HeaderMap, Method, Response, StatusCode,
    ext::ReasonPhrase,
    header::{CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING},
};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _},
    task::yield_now,
};

use super::{request_body::BodyError, request_head::Request, tls};
use crate::{
    error::{Error, Kind},
    headers,
    net::stream::{backend_io::TLS_ALERT, plain_or_tls::Stream, sockets},
};

/// The most bytes that one read takes of a head and what follows it. Few heads are longer.
const HEAD: usize = 4096;
/// The most fields of an answer that is read here.
const FIELDS: usize = 64;
/// The most bytes of a body in one piece. A piece is read when hyper has taken the piece before.
const PIECE: u64 = 64 * 1024;
/// The bytes of a body that are read before others have their turn: about what a session may copy in one turn (`rota::TURN`).
const SPELL: u64 = 4 * PIECE;

/// A connection with a backend that has no request under way and no task of hyper's.
#[derive(Debug)]
pub(in crate::net) struct Bare {
    pub(in crate::net) stream: Stream,
    /// The backend's address at the other end. `None` = a Unix socket.
    pub(in crate::net) peer: Option<SocketAddr>,
    /// What the connection began with (`Endpoint::announcement`).
    pub(in crate::net) announcement: Box<[u8]>,
}

/// What comes back for a request.
#[derive(Debug)]
pub(in crate::net) enum ExchangeReply {
    /// An answer that is understood. Its body is still to come.
    Known(Response<Rest>),
    /// An answer for hyper to read, from these bytes on.
    Other(Bare, Bytes),
}

/// The body of an answer that is read here.
#[derive(Debug)]
pub(in crate::net) struct Rest {
    /// Bytes of the body that were read with the head.
    read: Bytes,
    /// Bytes that are still to be read.
    left: u64,
    /// `None` once the connection has been taken or has failed.
    bare: Option<Bare>,
    is_reusable: bool,
    /// Why the body breaks off, to be told at the next poll.
    cut: Option<io::Error>,
    /// Bytes that were read since others last had their turn.
    spell: u64,
}

/// A head that is understood.
#[derive(Debug)]
struct Understood {
    response: Response<()>,
    /// The length of the head, in bytes.
    length: usize,
    /// The length of the body, in bytes.
    body: u64,
    /// Whether the backend takes another request.
    is_persistent: bool,
}

/// Sends a request without a body and reads the head of its answer, which may have `most` fields.
///
/// # Errors
/// [`Kind::ClosedEarly`], [`Kind::SpeaksTls`], [`Kind::BackendTls`].
pub(in crate::net) async fn exchange(
    mut bare: Bare,
    request: &Request<'_>,
    authority: &str,
    most: usize,
) -> Result<ExchangeReply, Error> {
    after_others().await;
    // A failed write is no reason to give up: a backend that refuses may answer before it has read everything.
    let written = send(&mut bare.stream, &request.write(authority)).await;
    let read = match poll_fn(|cx| bare.stream.poll_take(cx, HEAD)).await {
        Ok(read) if read.is_empty() => return Err(Kind::ClosedEarly.into()),
        Ok(read) => Bytes::from(read),
        Err(error) => return Err(tls::lost(error, written)),
    };
    after_others().await;
    if read.starts_with(&TLS_ALERT) {
        return Err(Kind::SpeaksTls.into());
    }
    let Some(Understood { response, length, body, is_persistent }) = understand(&read, request.method, most) else {
        return Ok(ExchangeReply::Other(bare, read));
    };
    let mut read = read.slice(length..);
    let so_far = read.len() as u64;
    let is_reusable = is_persistent && written.is_ok() && so_far <= body;
    // The body may be shorter than what was read behind the head.
    read.truncate(usize::try_from(body).unwrap_or(usize::MAX));
    let rest = Rest { read, left: body.saturating_sub(so_far), bare: Some(bare), is_reusable, cut: None, spell: 0 };
    Ok(ExchangeReply::Known(response.map(|()| rest)))
}

/// Sends a request. TLS may hold what the socket does not take, until it is flushed.
pub(super) async fn send(stream: &mut (impl AsyncWrite + Unpin), request: &[u8]) -> io::Result<()> {
    stream.write_all(request).await?;
    stream.flush().await
}

/// Lets the tasks go first that were woken together with this one. What has come together then goes out together, and
/// its receiver is woken once and not for each part. With 16 connections a GET took 25.8 µs this way, and 28.9 µs
/// without (`benches/compare/run --rows http`).
async fn after_others() {
    // Coming back costs a poll of everything that hyper has on this connection. So a task that was woken alone goes on at once.
    let mut is_over = !sockets::wakes_several();
    poll_fn(|cx| {
        if mem::replace(&mut is_over, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl Rest {
    /// Bytes of the body that are still to come.
    pub(in crate::net) fn length(&self) -> u64 {
        self.left.saturating_add(self.read.len() as u64)
    }

    /// The next piece of the body. `None` at the end.
    pub(super) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if !self.read.is_empty() {
            return Poll::Ready(Some(Ok(mem::take(&mut self.read))));
        }
        if let Some(error) = self.cut.take() {
            return Poll::Ready(Some(Err(BodyError::Cut(error))));
        }
        let Some(bare) = self.bare.as_mut().filter(|_| self.left > 0) else { return Poll::Ready(None) };
        // hyper asks for pieces for as long as there are some, and a fast backend always has some.
        if self.spell >= SPELL {
            self.spell = 0;
            // The task goes on after the runtime has looked for events, those of sessions included.
            let _ = pin!(yield_now()).poll(cx);
            return Poll::Pending;
        }
        let most = usize::try_from(self.left.min(PIECE)).unwrap_or(HEAD);
        let piece = match ready!(bare.stream.poll_take(cx, most)) {
            Ok(piece) if piece.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
            piece => piece,
        };
        match piece {
            Ok(piece) => {
                self.left = self.left.saturating_sub(piece.len() as u64);
                self.spell += piece.len() as u64;
                Poll::Ready(Some(Ok(piece.into())))
            }
            Err(error) => {
                // The error waits for the next poll. If it was told at once, hyper would not write the pieces before it.
                (self.bare, self.cut) = (None, Some(error));
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    /// Takes out the connection, if the answer has been read to its end and another request may go over the connection.
    pub(in crate::net) fn take_connection(&mut self) -> Option<Bare> {
        let mut bare = self.bare.take().filter(|_| self.is_reusable && self.left == 0)?;
        // Whoever keeps the connection sets a watcher.
        (!bare.stream.finds_news(Waker::noop())).then_some(bare)
    }
}

/// Reads the head of an answer, if it is complete and has one meaning only. `None`: hyper is to judge it.
fn understand(read: &Bytes, method: &Method, most: usize) -> Option<Understood> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut answer = httparse::Response::new(&mut fields[..most.min(FIELDS)]);
    let Ok(httparse::Status::Complete(length)) = answer.parse(read) else { return None };
    let status = StatusCode::from_u16(answer.code?).ok()?;
    // HTTP/1.0 has other rules for when a connection ends. Interim answers and a 101 are followed by something else than a body.
    if answer.version != Some(1) || status.is_informational() {
        return None;
    }
    let mut response = Response::new(());
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.reserve(answer.headers.len());
    for line in answer.headers.iter() {
        let name = HeaderName::from_bytes(line.name.as_bytes()).ok()?;
        fields.append(name, HeaderValue::from_maybe_shared(read.slice_ref(line.value)).ok()?);
    }
    // This connection belongs to one client from now on, and hyper has every connection that does.
    if headers::belongs_to_one_client(fields) {
        return None;
    }
    let body = body_length(method, status, fields)?;
    let closes = |token: &[u8]| token.eq_ignore_ascii_case(b"close");
    let is_persistent = !headers::tokens(fields, &CONNECTION).any(closes);
    let reason = answer.reason?;
    if status.canonical_reason() != Some(reason) {
        response.extensions_mut().insert(ReasonPhrase::try_from(reason.as_bytes()).ok()?);
    }
    Some(Understood { response, length, body, is_persistent })
}

/// The length of an answer's body, if the head gives it once and in plain digits (RFC 9112 §6.3).
fn body_length(method: &Method, status: StatusCode, fields: &HeaderMap) -> Option<u64> {
    if fields.contains_key(TRANSFER_ENCODING) {
        return None;
    }
    let has_none = *method == Method::HEAD || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let mut lengths = fields.get_all(CONTENT_LENGTH).iter();
    let length = match (lengths.next(), lengths.next()) {
        (None, _) => return has_none.then_some(0),
        (Some(length), None) => length.to_str().ok()?,
        (Some(_), Some(_)) => return None,
    };
    // The parser of `u64` would accept a plus sign.
    let length: u64 = length.bytes().all(|byte| byte.is_ascii_digit()).then(|| length.parse().ok())??;
    // hyper rejects very large lengths, and is to judge them itself.
    (length < u64::MAX / 2).then_some(if has_none { 0 } else { length })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{
        io::Write as _,
        net::{TcpListener, TcpStream},
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering::Relaxed},
        },
        task::Wake,
    };

    use mio::Events;

    use super::*;
    use crate::net::stream::sockets::Socket;

    /// A task that waits, and how often it was woken.
    #[derive(Default)]
    struct Called(AtomicUsize);

    impl Wake for Called {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn a_body_that_is_there_already_lets_others_go_between_its_pieces() {
        let mut epolls = sockets::open(false).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut backend = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, peer) = listener.accept().unwrap();
        ours.set_nonblocking(true).unwrap();
        backend.set_nonblocking(true).unwrap();
        // Writes as much as the kernel takes.
        let mut left: u64 = 0;
        while let Ok(written) = backend.write(&[0; 1 << 16]) {
            left += written as u64;
        }
        assert!(left > 2 * SPELL, "{left}");
        let socket = Socket::new(mio::net::TcpStream::from_std(ours)).unwrap();
        let mut events = Events::with_capacity(1);
        let called = Arc::new(Called::default());
        let waker = Waker::from(Arc::clone(&called));
        let mut cx = Context::from_waker(&waker);
        let bare = Some(Bare { stream: Stream::Plain(socket), peer: Some(peer), announcement: Box::default() });
        let mut rest = Rest { read: Bytes::new(), left, bare, is_reusable: true, cut: None, spell: 0 };
        let mut length = 0;
        while called.0.swap(0, Relaxed) == 0 {
            match rest.poll_piece(&mut cx) {
                Poll::Ready(piece) => length += piece.unwrap().unwrap().len() as u64,
                Poll::Pending if called.0.load(Relaxed) > 0 => {}
                // The rest is on its way. Only the event of its arrival wakes the task.
                Poll::Pending => {
                    epolls.all.poll(&mut events, None).unwrap();
                    sockets::dispatch(&events, None, |_, _, _| {}).unwrap();
                    called.0.store(0, Relaxed);
                }
            }
        }
        assert!((SPELL..SPELL + PIECE).contains(&length), "{length} of {left}");
    }

    #[test]
    fn an_exchange_lets_others_go_first_only_where_others_were_woken_with_it() {
        let mut epolls = sockets::open(false).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut events = Events::with_capacity(4);
        for woken in [1, 2] {
            let called = Arc::new(Called::default());
            let waker = Waker::from(Arc::clone(&called));
            let mut cx = Context::from_waker(&waker);
            let pairs: Vec<_> = (0..woken)
                .map(|_| {
                    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                    let ours = listener.accept().unwrap().0;
                    ours.set_nonblocking(true).unwrap();
                    (Socket::new(mio::net::TcpStream::from_std(ours)).unwrap(), peer)
                })
                .collect();
            assert!(pairs.iter().all(|(socket, _)| socket.poll_take(&cx, 1).is_pending()));
            sockets::begin_wake_up();
            for (_, peer) in &pairs {
                let mut peer: &TcpStream = peer;
                peer.write_all(b"1").unwrap();
            }
            while called.0.load(Relaxed) < woken {
                epolls.all.poll(&mut events, None).unwrap();
                sockets::dispatch(&events, None, |_, _, _| {}).unwrap();
            }
            let mut turn = pin!(after_others());
            assert_eq!(turn.as_mut().poll(&mut cx).is_pending(), woken > 1, "{woken} woken");
            if woken > 1 {
                assert!(turn.poll(&mut cx).is_ready());
            }
        }
    }

    #[test]
    fn a_head_is_understood_at_its_last_byte_and_not_before() {
        let head = "HTTP/1.1 404 Nicht da\r\nContent-Length: 12\r\nX-Own: 1\r\nx-own: 2\r\n\r\n";
        let answer = format!("{head}twelve bytes");
        for length in 0..answer.len() {
            let read = Bytes::copy_from_slice(&answer.as_bytes()[..length]);
            let understood = understand(&read, &Method::GET, FIELDS);
            assert_eq!(understood.is_some(), length >= head.len(), "{length} bytes");
            let Some(understood) = understood else { continue };
            assert_eq!((understood.length, understood.body, understood.is_persistent), (head.len(), 12, true));
            let reason = understood.response.extensions().get::<ReasonPhrase>().unwrap();
            assert_eq!((understood.response.status().as_u16(), reason.as_bytes()), (404, &b"Nicht da"[..]));
            let own: Vec<_> = understood.response.headers().get_all("x-own").iter().collect();
            assert_eq!(own, ["1", "2"]);
        }
    }

    #[test]
    fn a_body_is_as_long_as_its_head_says_and_none_where_there_is_none() {
        for (method, status, fields, body) in [
            (Method::GET, 200, "Content-Length: 0", 0),
            (Method::GET, 200, "Content-Length: 5", 5),
            (Method::POST, 500, "Content-Length: 007", 7),
            (Method::HEAD, 200, "Content-Length: 5", 0),
            (Method::HEAD, 200, "X-Own: 1", 0),
            (Method::GET, 204, "X-Own: 1", 0),
            (Method::GET, 304, "Content-Length: 5", 0),
        ] {
            assert_eq!(of(&method, status, fields).unwrap().body, body, "{method} {status} {fields}");
        }
    }

    #[test]
    fn what_can_be_read_in_another_way_is_left_to_hyper() {
        for (method, status, fields) in [
            (Method::GET, 200, "X-Own: 1"),
            (Method::GET, 200, "Transfer-Encoding: chunked"),
            (Method::HEAD, 200, "Transfer-Encoding: chunked"),
            (Method::GET, 204, "Content-Length: 0\r\nTransfer-Encoding: chunked"),
            (Method::GET, 200, "Content-Length: 2\r\nContent-Length: 2"),
            (Method::GET, 304, "Content-Length: 2, 2"),
            (Method::GET, 200, "Content-Length: +2"),
            (Method::GET, 200, "Content-Length: "),
            (Method::GET, 200, "Content-Length: 18446744073709551615"),
            (Method::GET, 100, "Content-Length: 2"),
            (Method::GET, 101, "Content-Length: 2"),
            (Method::GET, 200, "Content-Length: 2\r\nWWW-Authenticate: NTLM"),
            (Method::GET, 200, "Content-Length: 2\r\nPersistent-Auth: true"),
        ] {
            assert!(of(&method, status, fields).is_none(), "{method} {status} {fields}");
        }
        let many: String = (0..FIELDS).map(|n| format!("X-{n}: 1\r\n")).collect();
        assert!(of(&Method::GET, 200, &format!("{many}Content-Length: 2")).is_none());
        let old = Bytes::from_static(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok");
        assert!(understand(&old, &Method::GET, FIELDS).is_none());
    }

    #[test]
    fn a_backend_that_says_so_takes_no_further_request() {
        for (fields, is_persistent) in [("Connection: keep-alive", true), ("Connection: x, Close", false)] {
            let understood = of(&Method::GET, 200, &format!("Content-Length: 0\r\n{fields}")).unwrap();
            assert_eq!(understood.is_persistent, is_persistent, "{fields}");
        }
    }

    fn of(method: &Method, status: u16, fields: &str) -> Option<Understood> {
        understand(&format!("HTTP/1.1 {status} OK\r\n{fields}\r\n\r\nok").into(), method, FIELDS)
    }
}
