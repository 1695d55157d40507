//! The body of an answer on its way to a client: a backend's, or a short text of our own. What ends with the answer ends
//! with its body.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use http_body_util::Full;
use hyper::{
    HeaderMap,
    body::{Body, Frame, SizeHint},
};

use super::connection::Connection;
use crate::{
    access_log::Record,
    balance::Pick,
    error::Kind,
    headers,
    net::{
        backend::{
            pool::{Bond, Waiting},
            request_body::{BodyError, BytesSent, Timed},
            source::Source,
            way::Way,
        },
        stream::client_io::Debt,
    },
    outcome::Outcome,
    routing::RouteTimeouts,
    ws::termination::Cause,
};

/// The body of an answer on its way to a client. Dropping it, at the end of the body or when the client is gone, gives
/// back what is counted for the request and writes its record.
#[derive(Debug)]
pub(in crate::net) struct AnswerBody {
    body: AnswerSource,
    /// Told when this is dropped: the client may then send its next request.
    debt: Debt,
}

#[derive(Debug)]
enum AnswerSource {
    Ours(Full<Bytes>),
    Backends(Box<FromBackend>),
}

/// A backend's body, and what ends with it. The backend's count is given back before the record is written.
#[derive(Debug)]
struct FromBackend {
    body: Timed<Source>,
    /// The cause for the record if no byte comes for too long.
    silence: Outcome,
    ended: bool,
    keep: Option<(Keep, Way)>,
    /// How many bytes of the request's own body have gone.
    sent: BytesSent,
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
    silence: Outcome,
}

impl Patience {
    /// The answer of an event stream may be quiet for as long as a session. Any other answer has the time of an answer.
    pub(in crate::net) fn new(answer: &HeaderMap, timeouts: &RouteTimeouts) -> Self {
        match headers::is_event_stream(answer) {
            true => Self { between_reads: timeouts.idle, silence: Outcome::Ended(Cause::Idle) },
            false => Self { between_reads: timeouts.response, silence: Outcome::Failed(Kind::ResponseTimeout) },
        }
    }
}

/// What is to be done when an answer has ended.
#[derive(Debug)]
pub(in crate::net) struct AnswerEnding {
    pub(in crate::net) debt: Debt,
    /// Where the backend's connection goes, and how it came about. `None` = it is closed.
    pub(in crate::net) keep: Option<(Keep, Way)>,
    pub(in crate::net) pick: Pick,
    pub(in crate::net) record: Record,
}

impl AnswerBody {
    /// A text that is here as a whole. It may be empty.
    pub(in crate::net) fn ours(text: impl Into<Bytes>, debt: Debt) -> Self {
        Self { body: AnswerSource::Ours(Full::new(text.into())), debt }
    }

    /// A backend's body. `sent`: how much of the request's own body has gone.
    pub(in crate::net) fn backends(body: Source, patience: Patience, sent: BytesSent, ending: AnswerEnding) -> Self {
        let AnswerEnding { debt, keep, pick, record } = ending;
        let (body, silence) = (Timed::new(body, patience.between_reads), patience.silence);
        Self {
            body: AnswerSource::Backends(Box::new(FromBackend {
                body,
                silence,
                ended: false,
                keep,
                sent,
                pick,
                record,
            })),
            debt,
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.body {
            AnswerSource::Ours(text) => Pin::new(text).poll_frame(cx).map_err(|never| match never {}),
            AnswerSource::Backends(answer) => answer.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            AnswerSource::Ours(text) => text.is_end_stream(),
            AnswerSource::Backends(answer) => answer.body.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            AnswerSource::Ours(text) => text.size_hint(),
            AnswerSource::Backends(answer) => answer.body.body.size_hint(),
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
                    BodyError::Broken(_) | BodyError::Cut(_) | BodyError::TooLarge => {
                        Outcome::Ended(Cause::BackendLost)
                    }
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
        self.record.set_answered();
        match (self.keep.take(), self.body.body.take_connection()) {
            (Some((Keep::ForAll(connection), way)), Some(waiting)) => {
                connection.worker.dialer.pool.keep(&self.pick, way, waiting);
            }
            (Some((Keep::ForClient(connection, upstream), way)), Some(Waiting::Link(link))) => {
                let (backend, name) = (Arc::clone(self.pick.backend()), self.pick.name().cloned());
                connection.bonds.keep(Bond { upstream, backend, way, name, link });
            }
            (_, Some(waiting)) => waiting.close(),
            (_, None) => {}
        }
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.debt.allow_next();
    }
}
