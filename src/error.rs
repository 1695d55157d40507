//! What kept a request from its answer: whose fault it is, whether to try again, and what the client and the log are told.

use std::{error, fmt};

use hyper::StatusCode;

use crate::ws::Side;

/// A failed request, with the cause that the log shows and the client does not.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    source: Option<Box<dyn error::Error + Send + Sync>>,
}

/// What went wrong. Everything else about a failure follows from it, in one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Half a WebSocket handshake.
    BadHandshake,
    /// A request whose framing or target is not sound.
    BadRequest,
    /// A body of more than `limits.body_size`.
    BodyTooLarge,
    /// No byte of the body for `timeouts.request_body`.
    BodyTimeout,
    /// Every backend has `max_handshakes` in flight, and waiting for one was too long or for too many.
    Busy,
    /// The client went away before its answer.
    ClientGone,
    /// The backend closed or reset before a complete head.
    ClosedEarly,
    /// No connection to the backend within `timeouts.connect`.
    ConnectTimeout,
    /// The process is draining.
    Draining,
    /// We have no descriptor or port left for it.
    Exhausted,
    /// A 101 that does not follow from the handshake.
    FalseUpgrade,
    /// A head of more than `limits.header_size`, or with more than `limits.headers` fields.
    HeadTooLarge,
    /// The backend's address is one of our own listeners.
    Loop,
    /// The backend's head cannot be read.
    MalformedAnswer,
    /// More than `limits.new_sessions` in a second.
    NewSessions,
    /// More than `limits.new_sessions_per_client` in a second.
    NewSessionsPerClient,
    /// No route takes the request.
    NoRoute,
    /// An `Origin` that is not one of the route's `origins`.
    Origin,
    /// HTTP without TLS on a listener that speaks TLS.
    PlainHttp,
    /// The backend refused the connection.
    Refused,
    /// No answer within `timeouts.upgrade` or `timeouts.response`.
    ResponseTimeout,
    /// The route is draining, the process is not.
    RouteDraining,
    /// As many sessions as `limits.sessions` allows, or too many addresses to count.
    Sessions,
    /// As many sessions from this address as `limits.sessions_per_client` allows.
    SessionsPerClient,
    /// The backend answered in TLS.
    SpeaksTls,
    /// Every backend is down or full.
    Unavailable,
    /// The backend cannot be reached: no address, no way to it.
    Unreachable,
    /// A WebSocket version other than 13.
    WrongVersion,
}

/// One row of the table.
struct Row {
    status: u16,
    reason: &'static str,
    text: &'static str,
    /// Whose fault; `None` = ours, or nobody's.
    side: Option<Side>,
    /// What of the request the backend may have seen.
    seen: Seen,
}

/// What of a request its backend may have seen when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Nothing,
    Perhaps,
    /// Not the backend's failure at all.
    Irrelevant,
}

impl Kind {
    /// Every kind, in the order of the variants.
    pub const ALL: [Self; 28] = [
        Self::BadHandshake,
        Self::BadRequest,
        Self::BodyTooLarge,
        Self::BodyTimeout,
        Self::Busy,
        Self::ClientGone,
        Self::ClosedEarly,
        Self::ConnectTimeout,
        Self::Draining,
        Self::Exhausted,
        Self::FalseUpgrade,
        Self::HeadTooLarge,
        Self::Loop,
        Self::MalformedAnswer,
        Self::NewSessions,
        Self::NewSessionsPerClient,
        Self::NoRoute,
        Self::Origin,
        Self::PlainHttp,
        Self::Refused,
        Self::ResponseTimeout,
        Self::RouteDraining,
        Self::Sessions,
        Self::SessionsPerClient,
        Self::SpeaksTls,
        Self::Unavailable,
        Self::Unreachable,
        Self::WrongVersion,
    ];

    /// The word for the log.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        self.row().reason
    }

    /// The status of the answer.
    #[must_use]
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.row().status).unwrap_or(StatusCode::BAD_GATEWAY)
    }

    /// What went wrong, for people: a part of a sentence.
    #[must_use]
    pub const fn as_text(self) -> &'static str {
        self.row().text
    }

    const fn row(self) -> Row {
        use Seen::{Irrelevant, Nothing, Perhaps};
        const CLIENT: Option<Side> = Some(Side::Client);
        const BACKEND: Option<Side> = Some(Side::Backend);
        let (status, reason, text, side, seen) = match self {
            Self::BadHandshake => (400, "bad_handshake", "not a WebSocket handshake", CLIENT, Irrelevant),
            Self::BadRequest => (400, "bad_request", "bad request", CLIENT, Irrelevant),
            Self::BodyTooLarge => (413, "body_too_large", "the body is too large", CLIENT, Irrelevant),
            Self::BodyTimeout => (408, "body_timeout", "the body did not come in time", CLIENT, Irrelevant),
            Self::Busy => (503, "busy", "every backend is busy with handshakes", None, Irrelevant),
            // nginx's code for it; nobody is left to read it.
            Self::ClientGone => (499, "client_gone", "the client went away", CLIENT, Irrelevant),
            Self::ClosedEarly => (502, "closed_early", "the backend closed before it answered", BACKEND, Perhaps),
            Self::ConnectTimeout => (504, "connect_timeout", "no connection to the backend in time", BACKEND, Nothing),
            Self::Draining => (503, "draining", "this proxy is being drained", None, Irrelevant),
            Self::Exhausted => (503, "exhausted", "the proxy has no descriptors or ports left", None, Irrelevant),
            Self::FalseUpgrade => (502, "false_upgrade", "the backend's upgrade cannot be believed", BACKEND, Perhaps),
            Self::HeadTooLarge => (431, "head_too_large", "the head is too large", CLIENT, Irrelevant),
            Self::Loop => (508, "loop", "the backend's address is this proxy's own", BACKEND, Nothing),
            Self::MalformedAnswer => (502, "malformed_answer", "the backend's answer cannot be read", BACKEND, Perhaps),
            // The words of the limits are those of the file.
            Self::NewSessions => (503, "new_sessions", "too many new sessions", None, Irrelevant),
            Self::NewSessionsPerClient => {
                (429, "new_sessions_per_client", "too many new sessions from this address", CLIENT, Irrelevant)
            }
            Self::NoRoute => (404, "no_route", "no route for this host and path", None, Irrelevant),
            Self::Origin => (403, "origin", "pages of this origin may not connect here", CLIENT, Irrelevant),
            Self::PlainHttp => (400, "plain_http", "plain HTTP on a port that speaks TLS", CLIENT, Irrelevant),
            Self::Refused => (502, "refused", "the backend refused the connection", BACKEND, Nothing),
            Self::ResponseTimeout => (504, "response_timeout", "the backend did not answer in time", BACKEND, Perhaps),
            Self::RouteDraining => (503, "route_draining", "this route is being drained", None, Irrelevant),
            Self::Sessions => (503, "sessions", "too many sessions", None, Irrelevant),
            Self::SessionsPerClient => {
                (429, "sessions_per_client", "too many sessions from this address", CLIENT, Irrelevant)
            }
            Self::SpeaksTls => (502, "speaks_tls", "the backend speaks TLS", BACKEND, Perhaps),
            Self::Unavailable => (503, "unavailable", "every backend is down or full", None, Irrelevant),
            Self::Unreachable => (502, "unreachable", "the backend cannot be reached", BACKEND, Nothing),
            Self::WrongVersion => {
                (426, "wrong_version", "this WebSocket version is not spoken here", CLIENT, Irrelevant)
            }
        };
        Row { status, reason, text, side, seen }
    }
}

impl Error {
    /// A failure that needs no further explanation.
    #[must_use]
    pub const fn new(kind: Kind) -> Self {
        Self { kind, source: None }
    }

    /// A failure and what caused it.
    #[must_use]
    pub fn from_source(kind: Kind, source: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        Self { kind, source: Some(source.into()) }
    }

    /// What went wrong.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.kind.status()
    }

    /// The word for the log.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        self.kind.reason()
    }

    /// Whose fault it is; `None` = nobody's at the two ends.
    #[must_use]
    pub const fn side(&self) -> Option<Side> {
        self.kind.row().side
    }

    /// Whether it counts against the backend that was tried (nginx's `max_fails`).
    #[must_use]
    pub const fn is_failure(&self) -> bool {
        matches!(self.side(), Some(Side::Backend))
    }

    /// Whether another backend may be tried. `repeatable`: a handshake, or a request without a body whose method is
    /// idempotent (RFC 9110 §9.2.2); any other moves on only where the backend has seen nothing of it.
    #[must_use]
    pub const fn is_retryable(&self, repeatable: bool) -> bool {
        match self.kind.row().seen {
            Seen::Nothing => true,
            Seen::Perhaps => repeatable,
            Seen::Irrelevant => false,
        }
    }

    /// Whether the same request may be answered in a while: the client is told when to come back.
    #[must_use]
    pub const fn is_temporary(&self) -> bool {
        matches!(self.kind.row().status, 429 | 503)
    }

    /// The one line that the client reads.
    #[must_use]
    pub fn body(&self) -> String {
        let Row { reason, text, side, .. } = self.kind.row();
        match &self.source {
            // What the client did wrong is for the client to read; what a backend did is for the log.
            Some(source) if side == Some(Side::Client) => format!("{reason}: {source}\n"),
            _ => format!("{reason}: {text}\n"),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.row().text)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl From<Kind> for Error {
    fn from(kind: Kind) -> Self {
        Self::new(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_the_backend_may_have_seen_moves_on_only_if_it_may_be_repeated() {
        for kind in [Kind::ClosedEarly, Kind::MalformedAnswer, Kind::ResponseTimeout, Kind::FalseUpgrade] {
            assert!(Error::new(kind).is_retryable(true) && !Error::new(kind).is_retryable(false), "{kind:?}");
        }
        for kind in [Kind::Refused, Kind::Unreachable, Kind::ConnectTimeout] {
            assert!(Error::new(kind).is_retryable(false), "{kind:?}");
        }
    }

    #[test]
    fn every_kind_has_a_word_of_its_own() {
        for (place, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place, "{kind:?}");
        }
        let words: std::collections::HashSet<_> = Kind::ALL.map(Kind::reason).into();
        assert_eq!(words.len(), Kind::ALL.len());
        for word in words {
            assert!(include_str!("../docs/causes.md").contains(&format!("`{word}`")), "{word} is not explained");
        }
    }

    #[test]
    fn a_client_that_gave_up_is_no_failure_of_the_backend() {
        assert!(!Error::new(Kind::ClientGone).is_failure());
        assert!(Error::new(Kind::ResponseTimeout).is_failure());
    }

    #[test]
    fn the_client_reads_its_own_mistake_and_not_the_backends() {
        let mistake = Error::from_source(Kind::BadRequest, "the Host header is missing");
        assert_eq!(mistake.body(), "bad_request: the Host header is missing\n");
        let failure = Error::from_source(Kind::Refused, "10.0.0.7:9001 refused");
        assert_eq!(failure.body(), "refused: the backend refused the connection\n");
    }
}
