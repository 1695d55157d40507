//! Answers that no backend gives: refusals, our own and those of a service, redirects, and the answer to a request that may
//! go no further.

use hyper::{
    Method, Response, StatusCode,
    ext::ReasonPhrase,
    header::{
        ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER, SEC_WEBSOCKET_VERSION,
        UPGRADE, WWW_AUTHENTICATE,
    },
};

use super::{answer::AnswerBody, answer_rules::answer_rules, auth::AuthRefusal, connection::Connection};
use crate::{
    access_log::Record,
    error::{Error, Kind},
    headers,
    routing::Route,
    ws::handshake,
};

/// Seconds after which a client that was refused for the moment may come back.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("5");

const PLAIN_TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

pub(super) const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// Refuses a request. The client gets the status and one line, and the record gets the reason.
pub(super) fn refuse(
    connection: &Connection,
    error: &Error,
    is_handshake: bool,
    route: Option<&Route>,
    mut record: Record,
) -> Response<AnswerBody> {
    record.status = Some(error.status().as_u16());
    record.fail(error);
    let mut response = Response::new(AnswerBody::ours(error.body(), connection.debt.clone()));
    *response.status_mut() = error.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, PLAIN_TEXT);
    if error.is_temporary() {
        headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
    }
    if error.kind() == Kind::ProbeToken {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    match error.kind() {
        Kind::NoUpgrade => {
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        }
        Kind::WrongVersion => {
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static(handshake::VERSION));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade, close"));
        }
        // If the framing is in doubt, nobody knows where the next request begins.
        Kind::Draining | Kind::BadRequest | Kind::PlainHttp => {
            headers.insert(CONNECTION, CLOSE);
        }
        _ if is_handshake => {
            headers.insert(CONNECTION, CLOSE);
        }
        _ => {}
    }
    if let Some(rules) = answer_rules(route, &record) {
        rules.apply(headers);
    }
    response
}

/// Passes on the answer with which a service refused a request. Frames may follow a handshake, so its connection is closed.
pub(super) fn pass_refusal(
    connection: &Connection,
    AuthRefusal { mut parts, body }: AuthRefusal,
    via_header: bool,
    is_handshake: bool,
    route: Option<&Route>,
    mut record: Record,
) -> Response<AnswerBody> {
    record.status = Some(parts.status.as_u16());
    record.fail(&Kind::AuthDenied.into());
    headers::strip_hop_by_hop(&mut parts.headers);
    // The body is here as a whole, and hyper writes its length.
    parts.headers.remove(CONTENT_LENGTH);
    if via_header {
        headers::add_via(&mut parts.headers, parts.version);
    }
    if is_handshake || connection.worker.shared.orders.is_announced() {
        parts.headers.insert(CONNECTION, CLOSE);
    }
    if let Some(rules) = answer_rules(route, &record) {
        rules.apply(&mut parts.headers);
    }
    let mut response = Response::new(AnswerBody::ours(body, connection.debt.clone()));
    *response.status_mut() = parts.status;
    *response.headers_mut() = parts.headers;
    if let Some(reason) = parts.extensions.remove::<ReasonPhrase>() {
        response.extensions_mut().insert(reason);
    }
    response
}

/// Redirects a request. Frames may follow a handshake, so its connection is closed.
pub(super) fn redirect(
    connection: &Connection,
    (status, location): (StatusCode, HeaderValue),
    is_handshake: bool,
    route: Option<&Route>,
    mut record: Record,
) -> Response<AnswerBody> {
    record.status = Some(status.as_u16());
    record.set_answered();
    let text = format!("redirect: {}\n", String::from_utf8_lossy(location.as_bytes()));
    let mut response = Response::new(AnswerBody::ours(text, connection.debt.clone()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, PLAIN_TEXT);
    headers.insert(LOCATION, location);
    if is_handshake {
        headers.insert(CONNECTION, CLOSE);
    }
    if let Some(rules) = answer_rules(route, &record) {
        rules.apply(headers);
    }
    response
}

/// Answers an OPTIONS or TRACE that may not be forwarded (RFC 9110 §7.6.2). A TRACE is not echoed: nobody needs the
/// echo, and it would show fields that only a proxy in front of us may see.
pub(super) fn end_here(
    connection: &Connection,
    method: &Method,
    route: Option<&Route>,
    mut record: Record,
) -> Response<AnswerBody> {
    let status = if *method == Method::TRACE { StatusCode::METHOD_NOT_ALLOWED } else { StatusCode::NO_CONTENT };
    record.status = Some(status.as_u16());
    record.set_answered();
    let mut response = Response::new(AnswerBody::ours(String::new(), connection.debt.clone()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    if let Some(rules) = answer_rules(route, &record) {
        rules.apply(headers);
    }
    response
}
