//! The backends that are tried for one request, one after another, and what is noted of each.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::{Poll, Waker},
    time::{Duration, Instant},
};

use hyper::StatusCode;
use tokio::time::timeout;

use crate::{
    access_log::Record,
    balance::{Backend, Destination, Key, Pick, PlaceInLine, Tried, Unavailable, Upstream},
    error::{Error, Kind},
    metrics::Metrics,
    net::{
        backend::pool::{Bond, Link},
        thread::door::answering,
    },
};

/// The backends that are tried for one request.
#[derive(Debug)]
pub(in crate::net) struct Attempts<'a> {
    upstream: &'a Arc<Upstream>,
    key: Key,
    metrics: &'a Metrics,
    /// The client's own connection, until the first attempt takes it.
    bond: Option<Bond>,
    tried: Tried,
    failure: Option<Error>,
    /// Whether failures are told at `debug` only.
    is_quiet: bool,
}

/// What decides on the backends of one request.
#[derive(Debug)]
pub(in crate::net) struct Wishes {
    pub(in crate::net) key: Key,
    /// A connection with a backend of the upstream that belongs to the client's connection. It is tried first.
    pub(in crate::net) bond: Option<Bond>,
    /// The backend that the client asks for by its cookie.
    pub(in crate::net) backend: Option<Arc<Backend>>,
}

/// A backend to be tried.
#[derive(Debug)]
pub(in crate::net) struct Attempt {
    pub(in crate::net) pick: Pick,
    /// The client's own connection with the backend, if there is one.
    pub(in crate::net) link: Option<Link>,
}

impl<'a> Attempts<'a> {
    pub(in crate::net) fn new(upstream: &'a Arc<Upstream>, wishes: Wishes, metrics: &'a Metrics) -> Self {
        let Wishes { key, bond, backend } = wishes;
        Self { upstream, key, metrics, bond, tried: Tried::wanting(backend), failure: None, is_quiet: false }
    }

    /// Tells failures at `debug`: there may be as many of them as there are sessions.
    pub(super) fn quietly(self) -> Self {
        Self { is_quiet: true, ..self }
    }

    /// The next backend. If none is left: the last failure, or that there was no backend to try.
    pub(in crate::net) fn next(&mut self, record: &mut Record) -> Result<Attempt, Error> {
        if let Some(attempt) = self.resume(false, record) {
            return Ok(attempt);
        }
        let picked = match self.upstream.may_try_more(&self.tried) {
            true => self.upstream.pick(&self.key, &mut self.tried, Instant::now()),
            false => Err(Unavailable::AllTried),
        };
        self.begin(picked, record)
    }

    /// The next backend for a handshake. If all backends are busy with other handshakes, this waits in line, for `wait` at most.
    /// If the backend that the client asks for is busy, this waits for that one, and then takes what another one has at once.
    pub(super) async fn next_handshake(&mut self, wait: Duration, record: &mut Record) -> Result<Attempt, Error> {
        if let Some(attempt) = self.resume(true, record) {
            return Ok(attempt);
        }
        if !self.upstream.may_try_more(&self.tried) {
            return self.begin(Err(Unavailable::AllTried), record);
        }
        let mut place = None;
        let picked = match self.wait_in_line(&mut place, wait).await {
            // The backend that the client asks for had no place in time. Another may have one.
            Err(Unavailable::Busy) if self.tried.wants_untried() => {
                self.tried.forget_wanted();
                let now = Instant::now();
                match self.upstream.poll_handshake(&self.key, &mut self.tried, &mut place, Waker::noop(), now) {
                    Poll::Ready(picked) => picked,
                    Poll::Pending => Err(Unavailable::Busy),
                }
            }
            picked => picked,
        };
        drop(place);
        self.begin(picked, record)
    }

    async fn wait_in_line(&mut self, place: &mut Option<PlaceInLine>, wait: Duration) -> Result<Pick, Unavailable> {
        let mut picked = pin!(poll_fn(|cx| {
            let now = Instant::now();
            self.upstream.poll_handshake(&self.key, &mut self.tried, place, cx.waker(), now)
        }));
        match poll_fn(|cx| Poll::Ready(picked.as_mut().poll(cx))).await {
            Poll::Ready(picked) => picked,
            // A session of another worker may give its place back.
            Poll::Pending => timeout(wait, answering(picked)).await.unwrap_or(Err(Unavailable::Busy)),
        }
    }

    /// Goes on with the client's own connection. If its backend takes no more requests, the connection is closed.
    fn resume(&mut self, is_handshake: bool, record: &mut Record) -> Option<Attempt> {
        let Bond { backend, name, link, .. } = self.bond.take()?;
        let pick = self.upstream.pick_again(&backend, is_handshake, &mut self.tried, Instant::now())?;
        record_pick(&pick, record);
        let link = (pick.name() == name.as_ref()).then_some(link);
        Some(Attempt { pick, link })
    }

    fn begin(&mut self, picked: Result<Pick, Unavailable>, record: &mut Record) -> Result<Attempt, Error> {
        let pick = picked.map_err(|why| {
            let kind = match why {
                Unavailable::Busy => Kind::Busy,
                Unavailable::Empty => Kind::NoBackend,
                Unavailable::AllTried | Unavailable::DownOrFull => Kind::Unavailable,
            };
            self.failure.take().unwrap_or_else(|| kind.into())
        })?;
        record_pick(&pick, record);
        Ok(Attempt { pick, link: None })
    }

    /// Gives a backend up that was picked, before it was asked.
    pub(super) fn pass_over(&mut self, pick: Pick) {
        drop(pick);
        self.tried.pass_over();
    }

    /// Where an attempt connects to.
    pub(in crate::net) fn destination<'b>(&'b self, pick: &'b Pick) -> Destination<'b> {
        self.upstream.destination(pick, &self.key)
    }

    /// Notes a failure. `Err` if no other backend may be tried.
    pub(in crate::net) fn fail(
        &mut self,
        pick: &mut Pick,
        error: Error,
        repeatable: bool,
        record: &mut Record,
    ) -> Result<(), Error> {
        record.trace.failed(&error);
        if error.is_failure() {
            let transition = pick.failed(Instant::now());
            let backend = pick.address();
            self.metrics.backend_failed(self.upstream.name(), backend, &error);
            let (upstream, request_id) = (self.upstream.name(), &record.request_id);
            match self.is_quiet {
                true => tracing::debug!(upstream, backend, request_id, %error, "attempt failed"),
                false => tracing::warn!(upstream, backend, request_id, %error, "attempt failed"),
            }
            if let Some(transition) = transition {
                tracing::warn!(upstream, backend, "backend is {}", transition.as_str());
            }
        }
        if !error.is_retryable(repeatable) {
            return Err(error);
        }
        self.failure = Some(error);
        Ok(())
    }

    /// Notes that the backend has answered: how long that took, and that the backend is well.
    pub(super) fn succeed(&self, pick: &mut Pick, status: StatusCode, connect: Option<Duration>, record: &mut Record) {
        record.trace.answered(status);
        if let Some(took) = connect {
            self.metrics.backend_connected(self.upstream.name(), pick.address(), took);
        }
        if let Some(transition) = pick.succeeded(Instant::now()) {
            tracing::info!(
                upstream = self.upstream.name(),
                backend = pick.address(),
                "backend is {}",
                transition.as_str()
            );
        }
        record.connect = connect;
        record.handshake = Some(record.started().elapsed());
    }
}

fn record_pick(pick: &Pick, record: &mut Record) {
    record.backend = Some(pick.backend().shared_address());
    record.tries += 1;
    record.trace.attempt(pick.address());
}
