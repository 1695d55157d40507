//! The body of a request on its way to a backend, with its deadline and its limit.

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
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::Sleep;

use crate::error::{Error, Kind};

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
pub(in crate::net) struct Timed<B> {
    pub(in crate::net) body: B,
    /// The most time for one read. `None` = for ever.
    patience: Option<Duration>,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<B: Body<Data = Bytes> + Unpin> Timed<B>
where
    BodyError: From<B::Error>,
{
    pub(in crate::net) const fn new(body: B, patience: Option<Duration>) -> Self {
        Self { body, patience, deadline: None }
    }

    pub(in crate::net) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
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
pub(in crate::net) struct BytesSent(Arc<AtomicU64>);

impl BytesSent {
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
    progress: BytesSent,
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
        Ok(Self { body, limit, progress: BytesSent::default() })
    }

    /// No body.
    pub(in crate::net) fn empty() -> Self {
        Self { body: None, limit: 0, progress: BytesSent::default() }
    }

    pub(in crate::net) const fn is_empty(&self) -> bool {
        self.body.is_none()
    }

    pub(in crate::net) fn progress(&self) -> BytesSent {
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
