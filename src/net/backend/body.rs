//! The bodies that pass through, with deadlines and limits, and the short texts of our own.

use std::{
    fmt, io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes};
use http_body_util::Full;
use hyper::{
    HeaderMap,
    body::{Body, Frame, Incoming, SizeHint},
};
use tokio::time::Sleep;

use super::{
    exchange::Rest,
    pool::{Bond, Link, Waiting},
};
use crate::{
    access_log::Record,
    balance::Pick,
    error::{Error, Kind},
    headers,
    net::{request::proxy::Connection, stream::client_io::Debt},
    routing::RouteTimeouts,
    ws::termination::Cause,
};

/// Why a body broke off.
#[derive(Debug)]
pub(in crate::net) enum BodyError {
    /// More than `limits.body_size` bytes.
    TooLarge,
    /// No byte came within the deadline of a read.
    TimedOut,
    /// The connection that the body came from failed.
    Broken(hyper::Error),
    /// The same, where we read the body and not hyper.
    Cut(io::Error),
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => f.write_str("the body is larger than limits.body_size"),
            Self::TimedOut => f.write_str("no byte of the body came in time"),
            Self::Broken(error) => write!(f, "the body broke off: {error}"),
            Self::Cut(error) => write!(f, "the body broke off: {error}"),
        }
    }
}

impl std::error::Error for BodyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Broken(error) => Some(error),
            Self::Cut(error) => Some(error),
            Self::TooLarge | Self::TimedOut => None,
        }
    }
}

impl From<hyper::Error> for BodyError {
    fn from(error: hyper::Error) -> Self {
        Self::Broken(error)
    }
}

/// A body with a deadline for each read.
#[derive(Debug)]
struct Timed<B> {
    body: B,
    /// The most time for one read. `None` = for ever.
    patience: Option<Duration>,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<B: Body<Data = Bytes> + Unpin> Timed<B>
where
    BodyError: From<B::Error>,
{
    const fn new(body: B, patience: Option<Duration>) -> Self {
        Self { body, patience, deadline: None }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.deadline = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)));
        }
        let Some(patience) = self.patience else { return Poll::Pending };
        let deadline =
            self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep_until((Instant::now() + patience).into())));
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Some(Err(BodyError::TimedOut)))
    }
}

/// How many bytes of a request's body have gone. Whoever waits for the answer looks at it.
#[derive(Debug, Clone, Default)]
pub(in crate::net) struct Progress(Arc<AtomicU64>);

impl Progress {
    /// The number of bytes so far.
    pub(in crate::net) fn bytes(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The body of a request on its way to a backend.
#[derive(Debug)]
pub(in crate::net) struct RequestBody {
    /// `None` = the request has no body.
    body: Option<Timed<Incoming>>,
    limit: u64,
    progress: Progress,
}

impl RequestBody {
    /// `patience`: the most time for one read. `limit`: the most bytes in all.
    ///
    /// # Errors
    /// The request announces more than `limit`.
    pub(in crate::net) fn new(body: Incoming, patience: Duration, limit: Option<u64>) -> Result<Self, Error> {
        let limit = limit.unwrap_or(u64::MAX);
        if body.size_hint().lower() > limit {
            return Err(Error::from_source(Kind::BodyTooLarge, BodyError::TooLarge));
        }
        let body = (!body.is_end_stream()).then(|| Timed::new(body, Some(patience)));
        Ok(Self { body, limit, progress: Progress::default() })
    }

    /// No body.
    pub(in crate::net) fn empty() -> Self {
        Self { body: None, limit: 0, progress: Progress::default() }
    }

    pub(in crate::net) const fn is_empty(&self) -> bool {
        self.body.is_none()
    }

    pub(in crate::net) fn progress(&self) -> Progress {
        self.progress.clone()
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(body.poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            let length = frame.data_ref().map_or(0, Bytes::remaining) as u64;
            let so_far = self.progress.0.fetch_add(length, Relaxed).saturating_add(length);
            if so_far > self.limit {
                return Poll::Ready(Some(Err(BodyError::TooLarge)));
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(|body| body.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), |body| body.body.size_hint())
    }
}

/// What a backend sends behind the head of its answer, and the connection it comes over.
#[derive(Debug)]
pub(in crate::net) enum Source {
    /// hyper reads the body. `None` once the connection has been taken.
    Hyper(Incoming, Option<Link>),
    /// We read it ourselves.
    Ours(Rest),
}

impl Source {
    /// Whether the connection may be used for one client only.
    pub(in crate::net) fn is_private(&self) -> bool {
        matches!(self, Self::Hyper(_, Some(link)) if link.is_private)
    }

    /// Takes the connection, if another request may go over it. To be called when the body has ended.
    fn leave(&mut self) -> Option<Waiting> {
        match self {
            Self::Hyper(_, link) => link.take().map(Waiting::Link),
            Self::Ours(rest) => rest.leave().map(Waiting::Bare),
        }
    }
}

impl Body for Source {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Hyper(body, _) => Pin::new(body).poll_frame(cx).map_err(BodyError::Broken),
            Self::Ours(rest) => rest.poll_piece(cx).map_ok(Frame::data),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Hyper(body, _) => body.is_end_stream(),
            Self::Ours(rest) => rest.length() == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Hyper(body, _) => body.size_hint(),
            Self::Ours(rest) => SizeHint::with_exact(rest.length()),
        }
    }
}

/// The body of an answer on its way to a client. Dropping it, at the end of the body or when the client is gone, gives
/// back what is counted for the request and writes its record.
#[derive(Debug)]
pub(in crate::net) struct AnswerBody {
    body: Answer,
    /// Told when this is dropped: the client may then send its next request.
    debt: Debt,
}

#[derive(Debug)]
enum Answer {
    Ours(Full<Bytes>),
    Backends(Box<FromBackend>),
}

/// A backend's body, and what ends with it. The backend's count is given back before the record is written.
#[derive(Debug)]
struct FromBackend {
    body: Timed<Source>,
    /// The cause for the record if no byte comes for too long.
    silence: &'static str,
    ended: bool,
    keep: Option<Keep>,
    /// How many bytes of the request's own body have gone.
    sent: Progress,
    pick: Pick,
    record: Record,
}

/// Where a connection goes when the body that came over it has ended.
#[derive(Debug)]
pub(in crate::net) enum Keep {
    /// To the next request of any client.
    ForAll(Arc<Connection>),
    /// To the next request of this client for the upstream of this name.
    ForClient(Arc<Connection>, String),
}

/// How long a body of an answer may stand still.
#[derive(Debug, Clone, Copy)]
pub(in crate::net) struct Patience {
    /// The most time for one read. `None` = for ever.
    between_reads: Option<Duration>,
    /// The cause for the record if that was too long.
    silence: &'static str,
}

impl Patience {
    /// The answer of an event stream may be quiet for as long as a session. Any other answer has the time of an answer.
    pub(in crate::net) fn new(answer: &HeaderMap, timeouts: &RouteTimeouts) -> Self {
        match headers::is_event_stream(answer) {
            true => Self { between_reads: timeouts.idle, silence: Cause::Idle.as_str() },
            false => Self { between_reads: timeouts.response, silence: Kind::ResponseTimeout.reason() },
        }
    }
}

/// What is to be done when an answer has ended.
#[derive(Debug)]
pub(in crate::net) struct Ending {
    pub(in crate::net) debt: Debt,
    /// `None` = the backend's connection is closed.
    pub(in crate::net) keep: Option<Keep>,
    pub(in crate::net) pick: Pick,
    pub(in crate::net) record: Record,
}

impl AnswerBody {
    /// A text of our own. It may be empty.
    pub(in crate::net) fn ours(text: String, debt: Debt) -> Self {
        Self { body: Answer::Ours(Full::new(text.into())), debt }
    }

    /// A backend's body. `sent`: how much of the request's own body has gone.
    pub(in crate::net) fn backends(body: Source, patience: Patience, sent: Progress, ending: Ending) -> Self {
        let Ending { debt, keep, pick, record } = ending;
        let (body, silence) = (Timed::new(body, patience.between_reads), patience.silence);
        Self {
            body: Answer::Backends(Box::new(FromBackend { body, silence, ended: false, keep, sent, pick, record })),
            debt,
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.body {
            Answer::Ours(text) => Pin::new(text).poll_frame(cx).map_err(|never| match never {}),
            Answer::Backends(answer) => answer.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Answer::Ours(text) => text.is_end_stream(),
            Answer::Backends(answer) => answer.body.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Answer::Ours(text) => text.size_hint(),
            Answer::Backends(answer) => answer.body.body.size_hint(),
        }
    }
}

impl FromBackend {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(self.body.poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                self.record.traffic.bytes_to_client += frame.data_ref().map_or(0, Bytes::remaining) as u64;
            }
            Some(Err(error)) => {
                self.record.cause = match error {
                    BodyError::TimedOut => self.silence,
                    BodyError::Broken(_) | BodyError::Cut(_) | BodyError::TooLarge => Cause::BackendLost.as_str(),
                };
                self.record.error = Some(error.to_string());
            }
            None => self.ended = true,
        }
        Poll::Ready(frame)
    }
}

impl Drop for FromBackend {
    fn drop(&mut self) {
        self.record.traffic.bytes_to_backend = self.sent.bytes();
        // hyper does not poll again after the last byte of a body whose length is known.
        if !self.ended && !self.body.body.is_end_stream() {
            return;
        }
        self.record.pass_on();
        match (self.keep.take(), self.body.body.leave()) {
            (Some(Keep::ForAll(connection)), Some(waiting)) => {
                connection.worker.dialer.pool.keep(self.pick.address(), waiting);
            }
            (Some(Keep::ForClient(connection, upstream)), Some(Waiting::Link(link))) => {
                connection.bonds.keep(Bond { upstream, backend: Arc::clone(self.pick.backend()), link });
            }
            _ => {}
        }
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.debt.is_optional();
    }
}
