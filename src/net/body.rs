//! The bodies that pass through, with deadlines and bounds, and the short texts of our own.

use std::{
    fmt,
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
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::Sleep;

use super::client_io::Debt;
use crate::{access_log::Record, balance::Pick, error::Kind, ws::termination::Cause};

/// Why a body stopped.
#[derive(Debug)]
pub(super) enum BodyError {
    /// More than `limits.body_size` bytes.
    TooLarge,
    /// No byte for as long as one may take.
    TimedOut,
    /// The connection it came from failed.
    Broken(hyper::Error),
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => f.write_str("the body is larger than limits.body_size"),
            Self::TimedOut => f.write_str("no byte of the body came in time"),
            Self::Broken(error) => write!(f, "the body broke off: {error}"),
        }
    }
}

impl std::error::Error for BodyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Broken(error) => Some(error),
            Self::TooLarge | Self::TimedOut => None,
        }
    }
}

/// A body that must not stand still: each read of it has a deadline.
#[derive(Debug)]
struct Timed {
    body: Incoming,
    patience: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Timed {
    const fn new(body: Incoming, patience: Duration) -> Self {
        Self { body, patience, deadline: None }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.deadline = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Broken)));
        }
        let patience = self.patience;
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until((Instant::now() + patience).into())));
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Some(Err(BodyError::TimedOut)))
    }
}

/// How far a request's body has come, for who waits for the answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress(Arc<AtomicU64>);

impl Progress {
    /// Bytes so far.
    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The body of a request on its way to a backend.
#[derive(Debug)]
pub(super) struct RequestBody {
    /// `None` = the request has none.
    body: Option<Timed>,
    limit: u64,
    progress: Progress,
}

impl RequestBody {
    /// `patience`: between two reads. `limit`: bytes in all.
    pub(super) fn new(body: Incoming, patience: Duration, limit: Option<u64>) -> Self {
        let body = (!body.is_end_stream()).then(|| Timed::new(body, patience));
        Self { body, limit: limit.unwrap_or(u64::MAX), progress: Progress::default() }
    }

    /// No body: the request may be sent again.
    pub(super) fn empty() -> Self {
        Self { body: None, limit: 0, progress: Progress::default() }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.body.is_none()
    }

    pub(super) fn progress(&self) -> Progress {
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

/// The body of an answer on its way to a client. What is counted for the request is given back, and its record written,
/// when the body is dropped: at its end, or when the client is gone.
#[derive(Debug)]
pub(super) struct AnswerBody {
    body: Answer,
    /// The connection may owe its next request once this is dropped.
    debt: Debt,
}

#[derive(Debug)]
enum Answer {
    Ours(Full<Bytes>),
    Backends { body: Timed, ended: bool, record: Record, _pick: Pick },
}

impl AnswerBody {
    /// A text of our own; empty for a 101.
    pub(super) fn ours(text: String, debt: Debt) -> Self {
        Self { body: Answer::Ours(Full::new(text.into())), debt }
    }

    /// A backend's body; `patience`: between two reads.
    pub(super) const fn backends(body: Incoming, patience: Duration, debt: Debt, record: Record, pick: Pick) -> Self {
        let body = Timed::new(body, patience);
        Self { body: Answer::Backends { body, ended: false, record, _pick: pick }, debt }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let (body, ended, record) = match &mut self.body {
            Answer::Ours(text) => return Pin::new(text).poll_frame(cx).map_err(|never| match never {}),
            Answer::Backends { body, ended, record, .. } => (body, ended, record),
        };
        let frame = ready!(body.poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                record.traffic.bytes_to_client += frame.data_ref().map_or(0, Bytes::remaining) as u64;
            }
            Some(Err(error)) => {
                record.cause = match error {
                    BodyError::TimedOut => Kind::ResponseTimeout.reason(),
                    BodyError::Broken(_) | BodyError::TooLarge => Cause::BackendLost.as_str(),
                };
                record.error = Some(error.to_string());
            }
            None => *ended = true,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Answer::Ours(text) => text.is_end_stream(),
            Answer::Backends { body, .. } => body.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Answer::Ours(text) => text.size_hint(),
            Answer::Backends { body, .. } => body.body.size_hint(),
        }
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        // hyper does not ask again behind the last byte of a body whose length is known.
        if let Answer::Backends { body, ended, record, .. } = &mut self.body
            && (*ended || body.body.is_end_stream())
        {
            record.cause = "ok";
        }
        self.debt.is_optional();
    }
}
