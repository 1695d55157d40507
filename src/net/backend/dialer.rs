//! One attempt at a backend: connect, send, wait for the head of the answer. Each failure gets its [`Kind`] here.

use std::{
    error,
    future::Future,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, client::conn::http1, ext::ReasonPhrase};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant as Deadline, timeout, timeout_at};

use super::{
    connect::{Connected, Endpoint, connect},
    exchange::{Bare, ExchangeReply, exchange},
    handshake::{self, HandshakeReply},
    own::Own,
    pool::{Link, Pool, Waiting},
    request_body::{BodyError, BytesSent, RequestBody},
    request_head::{self, Head},
    source::Source,
    tls,
    way::Way,
};
use crate::{
    balance::Destination,
    config::{Limits, Tcp},
    error::{Error, Kind},
    headers,
    net::{
        stream::{
            backend_io::{BackendIo, SpeaksTls},
            plain_or_tls::Stream,
        },
        thread::alarm::{Alarm, before},
    },
    routing::RouteTimeouts,
};

/// What a worker sends requests with.
#[derive(Debug, Default)]
pub(in crate::net) struct Dialer {
    pub(in crate::net) pool: Pool,
    /// The addresses of this proxy itself, where no backend can be.
    pub(in crate::net) own: Arc<Own>,
}

/// How requests are sent to a backend.
#[derive(Debug, Clone, Copy)]
pub(in crate::net) struct Terms<'a> {
    /// The most time for connecting, in each attempt.
    pub(in crate::net) connect: Duration,
    /// How connections come about.
    pub(in crate::net) way: &'a Way,
    pub(in crate::net) timeouts: &'a RouteTimeouts,
    pub(in crate::net) tcp: &'a Tcp,
    pub(in crate::net) limits: &'a Limits,
    /// Whether a connection of the pool may be used.
    pub(in crate::net) reuses_connections: bool,
    /// The PROXY header with which every connection for this request begins, or has begun; empty if there is none.
    pub(in crate::net) announcement: &'a [u8],
    /// Rings when an answer takes too long. One for all answers of a client's connection.
    pub(in crate::net) alarm: &'a Mutex<Alarm>,
}

/// The head of a backend's answer. Its body is still to come.
#[derive(Debug)]
pub(in crate::net) struct Answered {
    pub(in crate::net) response: Response<Source>,
    /// How long connecting took. `None` if the connection was there already.
    pub(in crate::net) connect: Option<Duration>,
}

/// A backend's answer to a handshake.
#[derive(Debug)]
pub(in crate::net) enum Greeting {
    /// A 101, not verified yet.
    Switched(Switched),
    /// Any other answer.
    Answered(Answered),
}

/// A 101 and the stream behind it.
#[derive(Debug)]
pub(in crate::net) struct Switched {
    /// The reason phrase, as the backend wrote it.
    pub(in crate::net) reason: Bytes,
    pub(in crate::net) headers: HeaderMap,
    pub(in crate::net) stream: Stream,
    /// Bytes that were read behind the head.
    pub(in crate::net) early: Bytes,
    /// How long connecting took. `None` if the connection was there already.
    pub(in crate::net) connect: Option<Duration>,
}

impl<'a> Terms<'a> {
    fn endpoint(&self, destination: Destination<'a>) -> Endpoint<'a> {
        let (address, authority) = (destination.address(), destination.authority());
        Endpoint { address, authority, way: self.way, announcement: self.announcement }
    }
}

impl Dialer {
    /// Sends a WebSocket handshake. It goes over `link`, a connection that belongs to this client, if that still lives.
    /// Otherwise it goes over a new connection, never over one of the pool.
    ///
    /// # Errors
    /// All kinds of failure on the backend's side.
    pub(in crate::net) async fn handshake(
        &self,
        destination: Destination<'_>,
        request: &request_head::Request<'_>,
        link: Option<Link>,
        terms: Terms<'_>,
    ) -> Result<Greeting, Error> {
        let Terms { timeouts, limits, announcement, .. } = terms;
        let authority = destination.authority();
        if let Some(link) = ready(link, terms.connect).await {
            let request = request.head(authority).into_request(RequestBody::empty());
            match Box::pin(greet(link, request, timeouts.upgrade)).await {
                Err(error) if matches!(error.kind(), Kind::ClosedEarly | Kind::BackendTls) => {}
                result => return result,
            }
        }
        let started = Instant::now();
        let (mut stream, peer) = self.connect(destination, terms).await?;
        let connect = started.elapsed();
        let wait = timeouts.upgrade;
        match timeout(wait, handshake::send_and_read_head(&mut stream, request.write(authority), limits.answer_headers))
            .await
        {
            Err(_) => Err(Kind::ResponseTimeout.into()),
            Ok(Err(error)) => Err(error),
            Ok(Ok(HandshakeReply::Switched { reason, headers, early })) => {
                Ok(Greeting::Switched(Switched { reason, headers, stream, early, connect: Some(connect) }))
            }
            Ok(Ok(HandshakeReply::Other { read, .. })) => {
                let io = BackendIo::replaying(stream, read);
                let link = (io, peer, announcement.into());
                let answered = send_by_hyper(link, Some(connect), request.head(authority), None, (Some(wait), limits));
                let answered = Box::pin(answered).await?;
                check_answer(&answered.response)?;
                Ok(Greeting::Answered(answered))
            }
        }
    }

    /// Sends a plain request. `body` is taken when its first byte may go out. The request goes over the first of these
    /// that is there:
    ///
    /// 1. `link`, a connection that belongs to this client, if that still lives.
    /// 2. An idle connection of the pool, if the request may be sent again. The backend may just have closed that
    ///    connection, and no POST is to be lost by that (HAProxy: `http-reuse safe`).
    /// 3. A new connection.
    ///
    /// If the connection turns out to be dead, a request that may be sent again is sent once more, over a new
    /// connection. It is not sent a third time, because the request itself may be what kills the backend.
    ///
    /// # Errors
    /// All kinds of failure on the backend's side, and those of the request's body on the client's side.
    pub(in crate::net) async fn exchange(
        &self,
        destination: Destination<'_>,
        request: &request_head::Request<'_>,
        body: &mut Option<RequestBody>,
        link: Option<Link>,
        terms: Terms<'_>,
    ) -> Result<Answered, Error> {
        let (authority, endpoint) = (destination.authority(), terms.endpoint(destination));
        let is_repeatable = body.as_ref().is_none_or(|body| is_repeatable(request.method, body));
        let waiting = match ready(link, terms.connect).await {
            None if is_repeatable && terms.reuses_connections => self.pool.take(endpoint, destination),
            link => link.map(Waiting::Link),
        };
        let wait = terms.timeouts.response;
        let sent = match waiting {
            None => None,
            Some(Waiting::Bare(bare)) => Some(converse(bare, None, authority, request, terms).await),
            Some(Waiting::Link(link)) if is_repeatable => {
                Some(send(link, request.head(authority).into_request(RequestBody::empty()), wait).await)
            }
            Some(Waiting::Link(link)) => {
                let body = body.take().unwrap_or_else(RequestBody::empty);
                Some(send(link, request.head(authority).into_request(body), wait).await)
            }
        };
        let answered = match sent {
            None => self.fresh(destination, request, body, terms).await?,
            // An alert of TLS ends a connection that was there already, as a FIN does.
            Some(Err(error)) if is_repeatable && matches!(error.kind(), Kind::ClosedEarly | Kind::BackendTls) => {
                self.fresh(destination, request, body, terms).await?
            }
            Some(sent) => sent?,
        };
        if answered.response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Error::from_source(Kind::MalformedAnswer, "a 101 that nobody asked for"));
        }
        check_answer(&answered.response)?;
        Ok(answered)
    }

    /// Sends a plain request over a new connection.
    async fn fresh(
        &self,
        destination: Destination<'_>,
        request: &request_head::Request<'_>,
        body: &mut Option<RequestBody>,
        terms: Terms<'_>,
    ) -> Result<Answered, Error> {
        let Terms { timeouts, tcp, limits, announcement, .. } = terms;
        let started = Instant::now();
        let (stream, peer) = self.connect(destination, terms).await?;
        let connect = Some(started.elapsed());
        // The connection outlives this request, so that it needs the options.
        if let Some(socket) = stream.socket() {
            socket.set_options(tcp).map_err(|error| Error::from_source(Kind::Unreachable, error))?;
        }
        let (authority, body) = (destination.authority(), body.take().filter(|body| !body.is_empty()));
        if body.is_none() {
            let bare = Bare { stream, peer, announcement: announcement.into() };
            return converse(bare, connect, authority, request, terms).await;
        }
        let link = (BackendIo::new(stream), peer, announcement.into());
        Box::pin(send_by_hyper(link, connect, request.head(authority), body, (timeouts.response, limits))).await
    }

    /// The stream, and the address at its other end. `None` = a Unix socket.
    async fn connect(
        &self,
        destination: Destination<'_>,
        terms: Terms<'_>,
    ) -> Result<(Stream, Option<SocketAddr>), Error> {
        let endpoint = terms.endpoint(destination);
        let arrange = |addresses: &[SocketAddr]| destination.arrange(addresses);
        let Connected { stream, peer, addresses } = connect(endpoint, &self.own, terms.connect, arrange).await?;
        self.pool.learn(endpoint, addresses);
        Ok((stream, peer))
    }
}

/// Waits until a client's own connection can take another request.
async fn ready(link: Option<Link>, patience: Duration) -> Option<Link> {
    link?.ready(patience).await
}

/// Sends a request without a body on a connection that hyper does not have. Gives the connection to hyper if the answer
/// needs that.
async fn converse(
    bare: Bare,
    connect: Option<Duration>,
    authority: &str,
    request: &request_head::Request<'_>,
    Terms { timeouts, limits, alarm, .. }: Terms<'_>,
) -> Result<Answered, Error> {
    let deadline = timeouts.response.map(|wait| Instant::now() + wait);
    // A connection that belongs to one client is hyper's.
    let link = if request.authenticates_connection() {
        (BackendIo::new(bare.stream), bare.peer, bare.announcement)
    } else {
        let reply = exchange(bare, request, authority, limits.answer_headers);
        let reply = match deadline {
            Some(deadline) => before(alarm, deadline, reply).await.ok_or(Kind::ResponseTimeout)?,
            None => reply.await,
        };
        match reply? {
            ExchangeReply::Known(response) => return Ok(Answered { response: response.map(Source::Ours), connect }),
            ExchangeReply::Other(Bare { stream, peer, announcement }, read) => {
                (BackendIo::replaying(stream, read), peer, announcement)
            }
        }
    };
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    Box::pin(send_by_hyper(link, connect, request.head(authority), None, (left, limits))).await
}

/// Sends a handshake on a connection that hyper has.
async fn greet(link: Link, request: Request<RequestBody>, wait: Duration) -> Result<Greeting, Error> {
    let Answered { mut response, connect } = send(link, request, Some(wait)).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        check_answer(&response)?;
        return Ok(Greeting::Answered(Answered { response, connect }));
    }
    let (headers, reason) = (response.headers().clone(), response.extensions().get::<ReasonPhrase>());
    let reason = reason
        .map_or_else(|| Bytes::from_static(b"Switching Protocols"), |reason| Bytes::copy_from_slice(reason.as_bytes()));
    let upgraded = timeout(wait, hyper::upgrade::on(&mut response)).await.map_err(|_| Kind::ResponseTimeout)?;
    let io = upgraded.map_err(failure)?.downcast::<TokioIo<BackendIo>>();
    let io = io.map_err(|_| Error::from_source(Kind::MalformedAnswer, "a 101 on a connection that is none of ours"))?;
    let (stream, early) = (io.io.into_inner().into_stream(), io.read_buf);
    Ok(Greeting::Switched(Switched { reason, headers, stream, early, connect }))
}

/// Gives a connection to hyper, and sends the first request over it. The future is large, and most requests have no use for it: it
/// belongs into a box.
async fn send_by_hyper(
    (io, peer, announcement): (BackendIo, Option<SocketAddr>, Box<[u8]>),
    connect: Option<Duration>,
    head: Head,
    body: Option<RequestBody>,
    (wait, limits): (Option<Duration>, &Limits),
) -> Result<Answered, Error> {
    let mut http = http1::Builder::new();
    http.max_headers(limits.answer_headers).title_case_headers(true);
    let (sender, connection) = http.handshake(TokioIo::new(io)).await.map_err(failure)?;
    // This task ends when a session takes the connection, when its sender is dropped, or with an error that `send` sees too.
    tokio::spawn(connection.with_upgrades());
    let body = body.unwrap_or_else(RequestBody::empty);
    let answered = send(Link::new(sender, peer, announcement), head.into_request(body), wait).await?;
    Ok(Answered { connect, ..answered })
}

/// Whether a request may be sent twice: it has no body, and its method is idempotent (RFC 9110 §9.2.2).
pub(in crate::net) fn is_repeatable(method: &Method, body: &RequestBody) -> bool {
    body.is_empty() && method.is_idempotent()
}

/// Sends a request, and waits at most `wait` for the head of the answer; `None` = no limit. The time begins again each
/// time a part of the body is sent. If the request or the answer authenticates the connection, only this client may use
/// the connection from then on.
async fn send(mut link: Link, request: Request<RequestBody>, wait: Option<Duration>) -> Result<Answered, Error> {
    let progress = request.body().progress();
    link.is_private |= headers::authenticates_connection(request.headers());
    let response = patiently(link.sender.send_request(request), &progress, wait).await?.map_err(failure)?;
    link.is_private |= headers::belongs_to_one_client(response.headers());
    Ok(Answered { response: response.map(|body| Source::Hyper(body, Some(link))), connect: None })
}

async fn patiently<T>(
    answer: impl Future<Output = T>,
    progress: &BytesSent,
    wait: Option<Duration>,
) -> Result<T, Error> {
    let Some(wait) = wait else { return Ok(answer.await) };
    let mut answer = pin!(answer);
    loop {
        let before = progress.bytes();
        match timeout_at(Deadline::now() + wait, &mut answer).await {
            Ok(answer) => return Ok(answer),
            Err(_) if progress.bytes() > before => {}
            Err(_) => return Err(Kind::ResponseTimeout.into()),
        }
    }
}

/// Gives hyper's error a [`Kind`].
fn failure(error: hyper::Error) -> Error {
    let body = error::Error::source(&error).and_then(|source| source.downcast_ref::<BodyError>());
    if let (None, Some(reason)) = (body, of_stream(&error).filter(|error| tls::is_of_tls(error))) {
        return tls::after_handshake(reason);
    }
    let kind = match body {
        Some(BodyError::TooLarge) => Kind::BodyTooLarge,
        Some(BodyError::TimedOut) => Kind::BodyTimeout,
        Some(BodyError::Broken(error)) if is_malformed(error) => Kind::BadRequest,
        Some(BodyError::Broken(_) | BodyError::Cut(_)) => Kind::ClientGone,
        None if error.is_parse_too_large() => {
            return Error::from_source(Kind::MalformedAnswer, "its head is too large: see limits.answer_headers");
        }
        None if speaks_tls(&error) => Kind::SpeaksTls,
        None if error.is_parse() => Kind::MalformedAnswer,
        None => Kind::ClosedEarly,
    };
    Error::from_source(kind, error)
}

fn speaks_tls(error: &hyper::Error) -> bool {
    of_stream(error).and_then(io::Error::get_ref).is_some_and(|source| source.is::<SpeaksTls>())
}

/// The error of the stream underneath, if it is the cause. hyper has one error of its own in another if the stream failed before
/// hyper took the request.
fn of_stream(error: &hyper::Error) -> Option<&io::Error> {
    let mut source = error::Error::source(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref() {
            return Some(error);
        }
        source = error.source();
    }
    None
}

/// Whether a client's body broke off because its chunks cannot be read. The client is then still there and can be told.
fn is_malformed(error: &hyper::Error) -> bool {
    of_stream(error)
        .is_some_and(|error| matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData))
}

fn check_answer(response: &Response<Source>) -> Result<(), Error> {
    // An answer that we have read ourselves is checked already.
    if matches!(response.body(), Source::Ours(_)) {
        return Ok(());
    }
    headers::check_answer_framing(response.headers()).map_err(|error| Error::from_source(Kind::MalformedAnswer, error))
}
