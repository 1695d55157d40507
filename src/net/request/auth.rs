//! Asks the service of a route (`auth_request`) about a request, before the request goes on.

use std::{
    borrow::Cow,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::{HeaderMap, Method, Uri, http::request, http::response};

use super::connection::Connection;
use crate::{
    balance::Destination,
    error::{Error, Kind},
    headers::{self, GrantedFields, Hop},
    net::{
        backend::{
            dialer::{Answered, Terms},
            request_head::{Purpose, Request},
            source::Source,
        },
        thread::alarm::before,
        worker::plan::{AuthService, Plan},
    },
    routing::{AuthRequest, AuthVerdict, BadExpiry, HostHeader, RouteTimeouts, session_life},
};

/// The most bytes of the body of an answer. A page that explains a refusal fits.
const LONGEST_BODY: usize = 64 * 1024;

/// What the service says of a request.
#[derive(Debug)]
pub(super) enum AuthAnswer {
    /// The request goes on.
    Permitted(Box<Permission>),
    /// The client gets the answer of the service.
    Refused(Box<AuthRefusal>),
}

/// What the service says beside that a request may go on.
#[derive(Debug)]
pub(super) struct Permission {
    /// The fields for the backend.
    pub(super) fields: HeaderMap,
    /// When the session has to end; `None` = the service does not say.
    pub(super) expires: Option<Instant>,
}

/// An answer of the service that the client gets.
#[derive(Debug)]
pub(super) struct AuthRefusal {
    pub(super) parts: response::Parts,
    pub(super) body: Bytes,
}

/// Asks the service about a request, and counts the answer. `hop`: the hop by which the request came.
///
/// # Errors
/// [`Kind::AuthUnavailable`], [`Kind::AuthExpired`].
pub(super) async fn ask(
    connection: &Connection,
    plan: &Plan,
    (auth, route): (&AuthRequest, &str),
    request: &request::Parts,
    hop: Hop<'_>,
) -> Result<AuthAnswer, Error> {
    let (asked, request_id) = (Instant::now(), hop.request_id);
    let answer = exchange(connection, plan, auth, request, hop).await;
    let outcome = match &answer {
        Ok(AuthAnswer::Permitted(_)) => "allowed",
        Ok(AuthAnswer::Refused(_)) => "denied",
        Err(error) if error.kind() == Kind::AuthExpired => "expired",
        Err(error) => {
            tracing::debug!(route, request_id, service = auth.address, %error, "auth_request failed");
            "unavailable"
        }
    };
    connection.worker.shared.metrics.service_asked(route, outcome, asked.elapsed());
    answer
}

async fn exchange(
    connection: &Connection,
    plan: &Plan,
    auth: &AuthRequest,
    asked_about: &request::Parts,
    hop: Hop<'_>,
) -> Result<AuthAnswer, Error> {
    let deadline = Instant::now() + auth.timeout;
    let service = &plan.services[auth.service];
    let target = target(&asked_about.uri);
    let question = Request {
        method: &Method::GET,
        uri: &auth.url,
        headers: &asked_about.headers,
        hop,
        host_header: &HostHeader::Upstream,
        way: &service.way,
        granted: None,
        rules: None,
        via: plan.config.via_header.then(|| headers::via(asked_about.version)),
        purpose: Purpose::Question { method: &asked_about.method, target: &target },
    };
    // One deadline is for everything, and this function keeps it.
    let timeouts = RouteTimeouts { upgrade: auth.timeout, response: None, idle: None };
    let terms = Terms {
        connect: auth.timeout,
        way: &service.way,
        timeouts: &timeouts,
        tcp: &plan.config.tcp,
        limits: &plan.config.limits,
        reuses_connections: true,
        announcement: &[],
        alarm: &connection.alarm,
    };
    let (destination, mut no_body) = (Destination::of(&service.backend), None);
    let asking = connection.worker.dialer.exchange(destination, &question, &mut no_body, None, terms);
    let answered = before(&connection.alarm, deadline, asking).await.ok_or_else(|| unavailable("no answer in time"))?;
    let Answered { response, .. } = answered.map_err(|error| failed(&error))?;
    let (answer, mut source) = response.into_parts();
    let body = before(&connection.alarm, deadline, read(&mut source)).await;
    let body = body.unwrap_or_else(|| Err(unavailable("the body of its answer did not come in time")));
    if body.is_ok() {
        keep(connection, service, source);
    }
    match AuthVerdict::of(answer.status) {
        AuthVerdict::Permits => body.and_then(|_| permission(&answer.headers, auth)),
        AuthVerdict::Refuses => Ok(AuthAnswer::Refused(Box::new(AuthRefusal { parts: answer, body: body? }))),
        AuthVerdict::Unusable => Err(unavailable(format!("it answered with status {}", answer.status.as_u16()))),
    }
}

/// What an answer that lets a request in says beside that.
fn permission(answer: &HeaderMap, auth: &AuthRequest) -> Result<AuthAnswer, Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let life = session_life(answer, now).map_err(|bad| match bad {
        BadExpiry::Past => Kind::AuthExpired.into(),
        BadExpiry::NoTime => unavailable(bad.to_string()),
    })?;
    // No session lives until the end of all instants.
    let expires = life.and_then(|life| Instant::now().checked_add(life));
    let fields = GrantedFields::of_answer(&auth.pass, answer);
    Ok(AuthAnswer::Permitted(Box::new(Permission { fields, expires })))
}

/// Reads the body of an answer to its end.
async fn read(source: &mut Source) -> Result<Bytes, Error> {
    let body = Limited::new(source, LONGEST_BODY).collect().await;
    body.map(|body| body.to_bytes()).map_err(|error| unavailable(format!("the body of its answer: {error}")))
}

/// Keeps the connection of an answer, whose body has ended, for the next question.
fn keep(connection: &Connection, service: &AuthService, mut source: Source) {
    let is_private = source.is_private();
    match source.take_connection() {
        Some(waiting) if is_private => waiting.close(),
        Some(waiting) => {
            let pool = &connection.worker.dialer.pool;
            pool.keep_at(service.backend.address(), None, service.way.clone(), waiting);
        }
        None => {}
    }
}

/// The path and the query of a target. A whole URL may have a query and no path (RFC 9112 §3.2.1).
fn target(uri: &Uri) -> Cow<'_, str> {
    match uri.path_and_query().map_or("/", |target| target.as_str()) {
        query if query.starts_with('?') => format!("/{query}").into(),
        target => target.into(),
    }
}

/// The failure to get an answer. The words for people speak of a backend, so the log's word stands here.
fn failed(error: &Error) -> Error {
    unavailable(match std::error::Error::source(error) {
        Some(source) => format!("{}: {source}", error.reason()),
        None => error.reason().to_owned(),
    })
}

fn unavailable(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::from_source(Kind::AuthUnavailable, why)
}
