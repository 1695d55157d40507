//! One attempt at a backend: connect, send, wait for the head of the answer. Each failure gets its name here.

use std::{
    collections::HashMap,
    future::Future,
    io,
    pin::pin,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Uri,
    body::Incoming,
    client::conn::http1::{self, SendRequest},
    header::{CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::lookup_host,
    time::{Instant as Deadline, timeout, timeout_at},
};

use super::{
    body::{BodyError, Progress, RequestBody},
    handshake::{self, Replay, Reply},
    socket,
    sockets::Socket,
};
use crate::{
    config::{Limits, Tcp, Timeouts},
    error::{Error, Kind},
    headers,
};

/// Idle connections that a worker keeps to one backend (nginx: `keepalive` of an upstream).
const IDLE_PER_BACKEND: usize = 32;
/// How long one may be idle (nginx: `keepalive_timeout` of an upstream).
pub(super) const IDLE_TIME: Duration = Duration::from_secs(60);

/// What a worker sends requests with: the connections that wait for another request.
#[derive(Debug, Default)]
pub(super) struct Dialer {
    /// Behind a lock because tasks must be `Send`; only this worker's tasks take it, and never across an await.
    idle: Mutex<HashMap<String, Vec<Idle>>>,
}

#[derive(Debug)]
struct Idle {
    sender: SendRequest<RequestBody>,
    since: Instant,
}

/// A request without its body: it can be sent again.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) method: Method,
    /// In origin form.
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
}

/// The head of a backend's answer; its body is still to come.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) response: Response<Incoming>,
    /// How long connecting took; `None` on a connection that was there already.
    pub(super) connect: Option<Duration>,
    /// To be given back to [`Dialer::keep`] when the body has come to its end.
    pub(super) sender: SendRequest<RequestBody>,
}

/// What a backend says to a handshake.
#[derive(Debug)]
pub(super) enum Greeting {
    /// A 101, not verified yet.
    Switched(Switched),
    /// Anything else.
    Answered(Answered),
}

/// A 101 and the socket behind it.
#[derive(Debug)]
pub(super) struct Switched {
    /// Its reason phrase, as the backend wrote it.
    pub(super) reason: Bytes,
    pub(super) headers: HeaderMap,
    pub(super) socket: Socket,
    /// Read past the head.
    pub(super) early: Bytes,
    /// How long connecting took.
    pub(super) connect: Duration,
}

impl Dialer {
    /// Sends a WebSocket handshake on a connection of its own.
    ///
    /// # Errors
    /// All kinds of the backend's side.
    pub(super) async fn handshake(
        &self,
        address: &str,
        head: &Head,
        (timeouts, limits): (&Timeouts, &Limits),
    ) -> Result<Greeting, Error> {
        let started = Instant::now();
        let mut socket = connect(address, timeouts).await?;
        let connect = started.elapsed();
        let wait = timeouts.upgrade;
        match timeout(wait, handshake::exchange(&mut socket, head, address, limits.answer_headers)).await {
            Err(_) => Err(Kind::ResponseTimeout.into()),
            Ok(Err(error)) => Err(error),
            Ok(Ok(Reply::Switched { reason, headers, early })) => {
                Ok(Greeting::Switched(Switched { reason, headers, socket, early, connect }))
            }
            Ok(Ok(Reply::Other { read, .. })) => {
                let answered =
                    ask(Replay::new(read, socket), connect, address, head.clone(), None, (wait, limits)).await?;
                check(&answered.response)?;
                Ok(Greeting::Answered(answered))
            }
        }
    }

    /// Sends a plain request: on an idle connection where it may be repeated if that turns out to be dead, else on a
    /// fresh one, so that no POST is lost to a connection that the backend has just closed (HAProxy: `http-reuse safe`).
    /// `body` is taken when its first byte may go out.
    ///
    /// # Errors
    /// All kinds of the backend's side, and of the client's those of its body.
    pub(super) async fn exchange(
        &self,
        address: &str,
        head: Head,
        body: &mut Option<RequestBody>,
        (timeouts, tcp, limits): (&Timeouts, &Tcp, &Limits),
    ) -> Result<Answered, Error> {
        let answered = match self.reuse(address, &head, body.as_ref(), timeouts.response).await {
            Some(answered) => answered?,
            None => fresh(address, head, body, (timeouts, tcp, limits)).await?,
        };
        if answered.response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Error::from_source(Kind::MalformedAnswer, "a 101 that nobody asked for"));
        }
        check(&answered.response)?;
        Ok(answered)
    }

    /// Keeps a connection whose answer has been read to its end, for another request.
    pub(super) fn keep(&self, address: &str, sender: SendRequest<RequestBody>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = idle.entry(address.into()).or_default();
        if idle.len() < IDLE_PER_BACKEND {
            idle.push(Idle { sender, since: Instant::now() });
        }
    }

    /// Lets go of connections that have been idle for too long, or were closed by their backend.
    pub(super) fn sweep(&self, now: Instant) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|_, idle| {
            idle.retain(|idle| now.duration_since(idle.since) < IDLE_TIME && !idle.sender.is_closed());
            !idle.is_empty()
        });
    }

    /// An answer over an idle connection; `None` when there is none that lives, or the request must not be repeated.
    async fn reuse(
        &self,
        address: &str,
        head: &Head,
        body: Option<&RequestBody>,
        wait: Duration,
    ) -> Option<Result<Answered, Error>> {
        if body.is_some_and(|body| !is_repeatable(&head.method, body)) {
            return None;
        }
        while let Some(sender) = self.take(address) {
            let request = head.clone().into_request(address, RequestBody::empty());
            match send(sender, request, wait).await {
                Err(error) if error.kind() == Kind::ClosedEarly => {}
                result => return Some(result.map(|(response, sender)| Answered { response, connect: None, sender })),
            }
        }
        None
    }

    fn take(&self, address: &str) -> Option<SendRequest<RequestBody>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = idle.get_mut(address)?;
        std::iter::from_fn(|| idle.pop()).map(|idle| idle.sender).find(SendRequest::is_ready)
    }
}

async fn fresh(
    address: &str,
    head: Head,
    body: &mut Option<RequestBody>,
    (timeouts, tcp, limits): (&Timeouts, &Tcp, &Limits),
) -> Result<Answered, Error> {
    let started = Instant::now();
    let socket = connect(address, timeouts).await?;
    let connect = started.elapsed();
    // The backend's connection outlives this request.
    socket::set_options(&socket, tcp).map_err(|error| Error::from_source(connect_failure(&error), error))?;
    ask(socket, connect, address, head, body.take(), (timeouts.response, limits)).await
}

/// Sends the first request of a connection.
async fn ask(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    connect: Duration,
    address: &str,
    head: Head,
    body: Option<RequestBody>,
    (wait, limits): (Duration, &Limits),
) -> Result<Answered, Error> {
    let mut http = http1::Builder::new();
    http.max_headers(limits.answer_headers).title_case_headers(true);
    let (sender, connection) = http.handshake(TokioIo::new(socket)).await.map_err(failure)?;
    // It ends with the session's takeover, with its sender, or with an error that `send` sees too.
    tokio::spawn(connection.with_upgrades());
    let body = body.unwrap_or_else(RequestBody::empty);
    let (response, sender) = send(sender, head.into_request(address, body), wait).await?;
    Ok(Answered { response, connect: Some(connect), sender })
}

/// Connects within `timeouts.connect`. A name is looked up at each attempt, so that a moved backend is found.
async fn connect(address: &str, timeouts: &Timeouts) -> Result<Socket, Error> {
    let attempt = async {
        if let Ok(address) = address.parse() {
            return Socket::connect(address).await;
        }
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in lookup_host(address).await? {
            match Socket::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    };
    match timeout(timeouts.connect, attempt).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(Error::from_source(connect_failure(&error), error)),
        Err(_) => Err(Kind::ConnectTimeout.into()),
    }
}

/// Whether a request may be sent twice: no body, and an idempotent method (RFC 9110 §9.2.2).
pub(super) fn is_repeatable(method: &Method, body: &RequestBody) -> bool {
    body.is_empty() && method.is_idempotent()
}

/// What keeps a connection from being made.
pub(super) fn connect_failure(error: &io::Error) -> Kind {
    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::ConnectionRefused, _) => Kind::Refused,
        (_, Some(EMFILE | ENFILE)) | (io::ErrorKind::AddrNotAvailable, _) => Kind::Exhausted,
        (io::ErrorKind::TimedOut, _) => Kind::ConnectTimeout,
        _ => Kind::Unreachable,
    }
}

/// Sends a request and waits for the head of its answer: for `wait` from now, or from the last byte of the body that went.
async fn send(
    mut sender: SendRequest<RequestBody>,
    request: Request<RequestBody>,
    wait: Duration,
) -> Result<(Response<Incoming>, SendRequest<RequestBody>), Error> {
    let progress = request.body().progress();
    let response = patiently(sender.send_request(request), &progress, wait).await?.map_err(failure)?;
    Ok((response, sender))
}

async fn patiently<T>(answer: impl Future<Output = T>, progress: &Progress, wait: Duration) -> Result<T, Error> {
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

/// hyper's error, in our words.
fn failure(error: hyper::Error) -> Error {
    let body = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<BodyError>());
    let kind = match body {
        Some(BodyError::TooLarge) => Kind::BodyTooLarge,
        Some(BodyError::TimedOut) => Kind::BodyTimeout,
        Some(BodyError::Broken(error)) if is_malformed(error) => Kind::BadRequest,
        Some(BodyError::Broken(_)) => Kind::ClientGone,
        None if error.is_parse_too_large() => {
            return Error::from_source(Kind::MalformedAnswer, "its head is too large: see limits.answer_headers");
        }
        None if error.is_parse() => Kind::MalformedAnswer,
        None => Kind::ClosedEarly,
    };
    Error::from_source(kind, error)
}

/// Whether a client's body broke off because its chunks cannot be read: then the client is still there to be told.
fn is_malformed(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    source.is_some_and(|error| matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData))
}

fn check(response: &Response<Incoming>) -> Result<(), Error> {
    headers::check_answer_framing(response.headers()).map_err(|error| Error::from_source(Kind::MalformedAnswer, error))
}

impl Head {
    fn into_request(self, address: &str, body: RequestBody) -> Request<RequestBody> {
        let Self { method, uri, mut headers } = self;
        // HTTP/1.0 knows no Host, HTTP/1.1 wants one (nginx: `$proxy_host`).
        if let (false, Ok(address)) = (headers.contains_key(HOST), HeaderValue::from_str(address)) {
            headers.insert(HOST, address);
        }
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        // hyper's client sends no body with a GET or HEAD unless a header announces one.
        if !request.body().is_empty() && !request.headers().contains_key(CONTENT_LENGTH) {
            request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        request
    }
}
