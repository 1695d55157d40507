//! Asks backends to take a session that has lost its own: with the handshake of its client, which is sent once more.

use std::{
    mem,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::{
    HeaderMap, StatusCode,
    header::{SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL},
    http::request::Parts,
};
use tokio::time::timeout_at;

use super::{
    announcement::announcement,
    asked::{Asked, OnRoute},
    attempts::{Attempt, Attempts, Wishes},
    auth::{AuthAnswer, ask},
    connection::{Connection, Entrance},
    kept_head::KeptHead,
    taking::{find_route, rewritten, take_cookie},
};
use crate::{
    access_log::Record,
    balance::{Backend, Key, Upstream},
    error::{Error, Kind},
    headers,
    net::{
        backend::{
            chance,
            dialer::{Greeting, Switched, Terms},
            request_head::{Purpose, SessionFields},
        },
        session::{
            dismissal::Dismissal,
            held::Arrival,
            redial::{Redial, RedialCall, RedialOrder, Redialled, Successor},
        },
        stream::{calls::SessionKey, client_io::Debt},
        worker::{
            plan::Plan,
            shared::{Shared, Worker},
        },
    },
    routing::{AuthRequest, HoldRule, Route, RouteAction, RouteTimeouts},
    sender::Client,
    ws::{
        handshake::{self, RequestKind, Upgrade},
        offer,
        session::ResumeFailure,
    },
};

/// The first attempt comes within this time, at random; the time doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// The longest time between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// The last attempt is given up so long before the session waits no longer.
const MARGIN: Duration = Duration::from_millis(50);
/// A silent end may take one of so many parts of the time that is left, so that others can be asked too.
const PARTS: u32 = 3;
/// But so long at least: who is only slow shall not fail for a short `for`.
const SHORTEST_PATIENCE: Duration = Duration::from_millis(500);

/// What a session keeps to be taken by another backend.
#[derive(Debug)]
pub(super) struct KeptHandshake {
    worker: Arc<Worker>,
    entrance: Entrance,
    client: Client,
    /// The name of the route.
    route: String,
    /// The name of its upstream.
    upstream: String,
    /// What every backend of the session is told.
    id: u128,
    /// `None` = it is too long.
    head: Option<KeptHead>,
    /// Subprotocol and extensions of the first 101.
    agreed: Terms101,
}

/// Subprotocol and extensions of a 101, as the backend wrote them.
type Terms101 = [Vec<u8>; 2];

impl KeptHandshake {
    /// For a handshake on a route that holds its sessions. `names`: of the route and of its upstream.
    pub(super) fn keep(connection: &Connection, parts: &Parts, client: Client, names: (&str, &str)) -> Self {
        Self {
            worker: Arc::clone(&connection.worker),
            entrance: connection.entrance.clone(),
            client,
            route: names.0.to_owned(),
            upstream: names.1.to_owned(),
            id: connection.worker.shared.nonces.next(),
            head: KeptHead::keep(parts),
            agreed: Terms101::default(),
        }
    }

    /// What the first backend is told.
    pub(super) const fn fields(&self) -> SessionFields {
        SessionFields { id: self.id, resumed: None }
    }

    /// Whether the session may outlive its backend, whose 101 has these fields.
    pub(super) fn may_call(&self, headers: &HeaderMap) -> bool {
        self.head.is_some() && offer::keeps_no_state(headers)
    }

    /// How the session, to which a backend has agreed by these fields, gets another backend.
    pub(super) fn into_redial(mut self, headers: &HeaderMap) -> Redial {
        self.agreed = terms_of(headers);
        let kept = Arc::new(self);
        let looker = Arc::clone(&kept);
        Redial {
            calls: Box::new(move |session, order| {
                let Shared { metrics, live, .. } = &*kept.worker.shared;
                let cause = order.cause;
                let task = tokio::spawn(Arc::clone(&kept).call(session, order)).abort_handle();
                RedialCall::begin(task, cause, metrics, live.begin_hold())
            }),
            looks: Box::new(move |backend| looker.has_other(backend)),
        }
    }

    /// Whether a backend other than this one takes sessions of the route now.
    fn has_other(&self, backend: &Arc<Backend>) -> bool {
        let (plan, book) = (self.worker.shared.plan(), self.worker.shared.orders.book());
        let upstream = self.route(&plan).and_then(|route| plan.upstream_of(route));
        let upstream = upstream.filter(|upstream| upstream.name() == self.upstream);
        upstream.is_some_and(|upstream| upstream.has_another(backend, |other| book.is_to_be_left(other)))
    }

    fn route<'p>(&self, plan: &'p Plan) -> Option<&'p Route> {
        plan.config.routes.routes().find(|route| route.name == self.route)
    }

    /// Asks one backend after the other, until one takes the session, or the session waits no longer.
    async fn call(self: Arc<Self>, session: SessionKey, order: RedialOrder) {
        let came = self.find(session, &order).await;
        self.tell(session, came).await;
    }

    async fn tell(&self, session: SessionKey, came: Redialled) {
        // An error says that the worker has stopped, and the session is cut.
        let _ = self.worker.sessions.send(Arrival::Redialled(session, Box::new(came))).await;
    }

    async fn find(&self, session: SessionKey, order: &RedialOrder) -> Redialled {
        let deadline = last_moment(order);
        let (mut attempts, mut failure) = (order.attempts, ResumeFailure::Failed);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let wait = longest_wait(attempts);
            // Near the end, each wait takes a part of what is left.
            if left < FIRST_WAIT {
                return self.give_up(failure);
            }
            // Waited before the turn is taken: the turns until then are for others.
            let begins = Instant::now() + chance::time(wait.min(left));
            tokio::time::sleep_until(begins.into()).await;
            if self.await_turn(deadline).await.is_none() {
                return self.give_up(if attempts == 0 { ResumeFailure::NoTurn } else { failure });
            }
            attempts = attempts.saturating_add(1);
            let failed = match timeout_at(deadline.into(), self.attempt(order)).await {
                Ok(Ok(successor)) => return Redialled::Taken(successor, attempts),
                Ok(Err(ResumeFailure::Refused)) => return self.give_up(ResumeFailure::Refused),
                Ok(Err(failed)) => failed,
                Err(_) => failure,
            };
            if mem::replace(&mut failure, failed) != failed {
                // The session ends by its own clock, and must know by then what to say.
                self.tell(session, Redialled::Failed(failed)).await;
            }
        }
    }

    fn give_up(&self, failure: ResumeFailure) -> Redialled {
        Redialled::GaveUp(failure, self.worker.shared.plan().config.drain.spread)
    }

    /// Waits for the session's turn among all that want a backend of the upstream. `None` = it does not come in time.
    async fn await_turn(&self, deadline: Instant) -> Option<()> {
        let plan = self.worker.shared.plan();
        // A route that holds no sessions any more has none that come later.
        let rule = self.route(&plan).and_then(|route| plan.upstream_of(route).zip(route.hold.as_deref()));
        let Some((upstream, HoldRule { per_second, .. })) = rule else { return Some(()) };
        let at = upstream.take_turn(*per_second, Instant::now(), deadline)?;
        let mut turn = BookedTurn { upstream: Arc::clone(upstream), per_second: *per_second, is_used: false };
        drop(plan);
        tokio::time::sleep_until(at.into()).await;
        turn.is_used = true;
        Some(())
    }

    async fn attempt(&self, order: &RedialOrder) -> Result<Successor, ResumeFailure> {
        use ResumeFailure::{Failed, Refused};
        let shared = &self.worker.shared;
        let plan = shared.plan();
        let guard = shared.live.connection_of(self.worker.index);
        let connection = Connection::new(Arc::clone(&self.worker), self.entrance.clone(), Debt::default(), guard);
        let mut parts = self.head.as_ref().and_then(KeptHead::parts).ok_or(Failed)?;
        let host = headers::host(&parts.uri, &parts.headers).to_owned();
        let (place, route) = find_route(&connection, &plan, &parts, &host).ok_or(Refused)?;
        let RouteAction::Forward(upstream) = route.action else { return Err(Refused) };
        let is_welcome = route.addresses.admits(self.client)
            && (!route.needs_client_cert || self.entrance.certificate.is_some())
            && route.origins.check(&parts.headers).is_ok();
        // Backends of another upstream know nothing of the session.
        let is_same = route.name == self.route && plan.upstreams[upstream].name() == self.upstream;
        if !is_same || !is_welcome {
            return Err(Refused);
        }
        if shared.orders.refusal(&route.name).is_some() {
            return Err(Failed);
        }
        if !route.may_compress {
            offer::withdraw_compression(&mut parts.headers);
        }
        let RequestKind::WebSocket(wants) = handshake::classify(&parts.method, parts.version, &parts.headers) else {
            return Err(Refused);
        };
        let (target, prefix) = rewritten(route, &parts).map_err(|_| Refused)?.unzip();
        let request_id = headers::request_id(&HeaderMap::new(), shared.nonces.next());
        let (upstream, way) = (&plan.upstreams[upstream], &plan.ways[upstream]);
        let on_route = OnRoute { client: self.client, host: &host, place, route, upstream, way };
        let mut permission = None;
        if let Some(auth) = &route.auth_request {
            let hop = on_route.hop(&connection, &plan, &request_id);
            let auth = AuthRequest { timeout: auth.timeout.min(patience(order)), ..AuthRequest::clone(auth) };
            match Box::pin(ask(&connection, &plan, (&auth, &route.name), &parts, hop)).await {
                Ok(AuthAnswer::Permitted(permitted)) => permission = Some(permitted),
                Ok(AuthAnswer::Refused(_)) => return Err(Refused),
                Err(error) if error.kind() == Kind::AuthExpired => return Err(Refused),
                Err(_) => return Err(Failed),
            }
        }
        let granted = permission.as_deref().zip(route.auth_request.as_deref());
        let hashed = granted.filter(|(_, auth)| upstream.hashed_field().is_some_and(|name| auth.pass.contains(&name)));
        let fields = hashed.map_or(&parts.headers, |(permission, _)| &permission.fields);
        let key = upstream.key(self.client, fields, parts.uri.query());
        if let Some(target) = target {
            parts.uri = target;
        }
        let sticky = take_cookie(&connection, &plan, (route, place), upstream, &mut parts.headers);
        let asked = Asked { parts: &parts, on_route, prefix: prefix.flatten(), permission, sticky, wants };
        self.ask_backends(&connection, &plan, &asked, key, request_id, order).await
    }

    /// Sends the handshake to one backend after another, until one takes the session or refuses it for good.
    async fn ask_backends(
        &self,
        connection: &Connection,
        plan: &Plan,
        asked: &Asked<'_, Upgrade>,
        key: Key,
        request_id: String,
        order: &RedialOrder,
    ) -> Result<Successor, ResumeFailure> {
        let OnRoute { client, host, upstream, .. } = asked.on_route;
        // No line comes of it: the record of the session tells of its backends.
        let mut record = Record::new(None, client, "GET", "");
        record.request_id = request_id;
        let fields = &asked.parts.headers;
        let announcement = announcement(connection, plan, upstream, fields, host, client, &record.request_id);
        let terms = asked.terms(connection, plan, &announcement);
        let wishes = Wishes { key, bond: None, backend: asked.wanted_backend() };
        let mut attempts = Attempts::new(upstream, wishes, &self.worker.shared.metrics).quietly();
        let told = SessionFields { id: self.id, resumed: Some((order.number, order.cause)) };
        let (mut failure, mut has_asked) = (ResumeFailure::Failed, false);
        loop {
            // Each handshake that a backend sees takes a turn. The first one has its turn already.
            if has_asked {
                self.await_turn(last_moment(order)).await.ok_or(failure)?;
            }
            let next = attempts.next_handshake(terms.connect.min(patience(order)), &mut record).await;
            let Ok(Attempt { mut pick, .. }) = next else { return Err(failure) };
            let is_left = order.leaves.as_ref().is_some_and(|left| Arc::ptr_eq(left, pick.backend()));
            if is_left || self.worker.shared.orders.book().is_to_be_left(pick.backend()) {
                attempts.pass_over(pick);
                has_asked = false;
                continue;
            }
            let purpose = Purpose::Session { traced: Vec::new(), told: Some(told) };
            let request = asked.for_backend(connection, plan, &record.request_id, purpose);
            // A backend that is silent for so long has failed, as with the timeouts of the file. One that has less time, because
            // the session waits no longer, has not.
            let patience = patience(order);
            let timeouts = RouteTimeouts { upgrade: terms.timeouts.upgrade.min(patience), ..*terms.timeouts };
            let hurried = Terms { connect: terms.connect.min(patience), timeouts: &timeouts, ..terms };
            let greeting = self.worker.dialer.handshake(attempts.destination(&pick), &request, None, hurried).await;
            has_asked = greeting.as_ref().map_or_else(Error::was_perhaps_seen, |_| true);
            match greeting {
                Ok(Greeting::Switched(switched)) => match handshake::verify(&asked.wants, &switched.headers) {
                    Ok(_) => {
                        attempts.succeed(&mut pick, StatusCode::SWITCHING_PROTOCOLS, switched.connect, &mut record);
                        let Switched { headers, stream, early, .. } = switched;
                        if self.agreed == terms_of(&headers) {
                            let expires = asked.permission.as_ref().and_then(|permission| permission.expires);
                            let (seat, patience) = (pick.into_seat(), plan.config.timeouts.close);
                            return Ok(Successor { stream, early, seat, expires, patience });
                        }
                        tokio::spawn(Dismissal::of_unwanted_backend(stream, plan.config.timeouts.close).send());
                        failure = ResumeFailure::Unlike;
                    }
                    Err(error) => {
                        let error = Error::from_source(Kind::FalseUpgrade, error);
                        attempts.fail(&mut pick, error, true, &mut record).map_err(|_| failure)?;
                    }
                },
                Ok(Greeting::Answered(answered)) => {
                    let status = answered.response.status();
                    attempts.succeed(&mut pick, status, answered.connect, &mut record);
                    if refuses(status) {
                        return Err(ResumeFailure::Refused);
                    }
                    failure = ResumeFailure::Failed;
                }
                Err(error) => attempts.fail(&mut pick, error, true, &mut record).map_err(|_| failure)?,
            }
        }
    }
}

/// A turn that a session waits for. If the session ends first, another one gets a turn in its place.
struct BookedTurn {
    upstream: Arc<Upstream>,
    per_second: NonZeroU32,
    is_used: bool,
}

impl Drop for BookedTurn {
    fn drop(&mut self) {
        if !self.is_used {
            self.upstream.give_turn_back(self.per_second);
        }
    }
}

/// When the last attempt is given up.
fn last_moment(order: &RedialOrder) -> Instant {
    order.until.checked_sub(MARGIN).unwrap_or(order.until)
}

/// How long to wait now for a connection, or for an answer.
fn patience(order: &RedialOrder) -> Duration {
    part_of(last_moment(order).saturating_duration_since(Instant::now()))
}

/// How long one silent end may take of the time that is left.
fn part_of(left: Duration) -> Duration {
    (left / PARTS).max(SHORTEST_PATIENCE)
}

/// How long the wait before the next attempt may be, after so many of them.
fn longest_wait(attempts: u32) -> Duration {
    FIRST_WAIT.saturating_mul(1 << attempts.min(16)).min(LONGEST_WAIT)
}

/// Whether a backend with this answer would say the same at another time: the authorisation is over, or a token for one use is
/// spent.
fn refuses(status: StatusCode) -> bool {
    (status.is_redirection() || status.is_client_error()) && !matches!(status.as_u16(), 408 | 425 | 429)
}

/// What a 101 agrees to.
fn terms_of(headers: &HeaderMap) -> Terms101 {
    [SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_EXTENSIONS].map(|name| {
        let lines: Vec<_> = headers.get_all(name).iter().map(|line| line.as_bytes().trim_ascii()).collect();
        lines.join(&b", "[..])
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn silent_backends_leave_time_for_others() {
        for (longest, silent) in [(1, 1), (2, 2), (10, 6)] {
            let mut left = Duration::from_secs(longest) - MARGIN - FIRST_WAIT;
            for _ in 0..silent {
                left -= part_of(left);
            }
            assert!(left >= Duration::from_millis(300), "{left:?} of {longest} s after {silent} silent backends");
        }
        assert_eq!(part_of(Duration::from_secs(9)), Duration::from_secs(3));
        assert_eq!(part_of(Duration::ZERO), SHORTEST_PATIENCE);
    }

    #[test]
    fn only_a_refusal_for_good_is_one() {
        let refused = [300, 302, 308, 400, 401, 403, 404, 410, 426, 499];
        let others = [200, 204, 408, 425, 429, 500, 502, 503, 504];
        let is_refusal = |status: &u16| refuses(StatusCode::from_u16(*status).unwrap());
        assert!(refused.iter().all(is_refusal) && !others.iter().any(is_refusal));
    }
}
