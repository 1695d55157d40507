//! Why a request got no answer: whose fault that is, whether to try again, and what the client and the log are told.

use std::{error, fmt};

use hyper::StatusCode;

use crate::ws::{Side, handshake::BadHandshake};

/// A failed request, with its cause for the log. The client reads the cause only where the fault is the client's.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    source: Option<Box<dyn error::Error + Send + Sync>>,
    /// Whether the request was sent, whatever the kind says.
    is_after_sending: bool,
}

/// What went wrong. One table gives everything else about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The service of the route's `auth_request` refused the request. The client gets the answer of the service.
    AuthDenied,
    /// The service of the route's `auth_request` let the request in until a time that has passed.
    AuthExpired,
    /// The service of the route's `auth_request` gave no answer that decides, or none in time.
    AuthUnavailable,
    /// TLS with the backend failed: nobody whom we trust has signed its certificate, the certificate has another name or is too
    /// old, or the backend refuses ours.
    BackendTls,
    /// Only a part of a WebSocket handshake, or a wrong one.
    BadHandshake,
    /// A request whose framing or target is in doubt.
    BadRequest,
    /// A body of more than `limits.body_size`.
    BodyTooLarge,
    /// No byte of the body came for `timeouts.request_body`.
    BodyTimeout,
    /// Every backend has `max_handshakes` in flight, and the wait was too long or the line was full.
    Busy,
    /// The route needs a verified certificate of the client, and none was shown.
    ClientCert,
    /// The client went away before its answer.
    ClientGone,
    /// The backend closed or reset the connection before its head was complete.
    ClosedEarly,
    /// No connection to the backend within `timeouts.connect`.
    ConnectTimeout,
    /// A client whose address the route's `deny` names, or its `allow` does not.
    Denied,
    /// The process is draining.
    Draining,
    /// The proxy has no file descriptor or port left for the request.
    Exhausted,
    /// A 101 that does not match the handshake.
    FalseUpgrade,
    /// The counts of all proxies could not be asked, and `fleet.on_loss` is `deny`.
    FleetUnavailable,
    /// A head of more than `limits.header_size`, or with more than `limits.headers` fields.
    HeadTooLarge,
    /// The backend's address is one of this proxy's own listeners.
    Loop,
    /// The backend's head is malformed.
    MalformedAnswer,
    /// More new sessions in a second than `limits.new_sessions`.
    NewSessions,
    /// More new sessions from this address in a second than `limits.new_sessions_per_client`.
    NewSessionsPerClient,
    /// The upstream has no backend: none was found yet, or all are gone.
    NoBackend,
    /// No route matches the request.
    NoRoute,
    /// A request that is no handshake, at the place where probes are answered.
    NoUpgrade,
    /// An `Origin` that is not one of the route's `origins`.
    Origin,
    /// HTTP without TLS on a listener that expects TLS.
    PlainHttp,
    /// A probe without the token of `probe`, or with another one.
    ProbeToken,
    /// There are as many probes as one process answers.
    Probes,
    /// The backend refused the connection.
    Refused,
    /// No answer within `timeouts.upgrade` or `timeouts.response`.
    ResponseTimeout,
    /// More attempts to come back to a session in a second than a client needs, or more forged tokens from one address.
    ResumeAttempts,
    /// A client that wants to come back to its session, though a later attempt of it has come before.
    ResumeStale,
    /// The route is draining, but the process is not.
    RouteDraining,
    /// There are as many sessions as `limits.sessions` allows, or the sessions of too many addresses are counted
    /// already.
    Sessions,
    /// This address has as many sessions as `limits.sessions_per_client` allows.
    SessionsPerClient,
    /// The backend answered in TLS.
    SpeaksTls,
    /// Every backend is down or full.
    Unavailable,
    /// The backend cannot be reached: its name has no address, no route leads to the address, or there is no socket at
    /// its path that this process may open.
    Unreachable,
    /// A WebSocket version other than 13.
    WrongVersion,
}

/// One row of the table.
struct Row {
    status: u16,
    reason: &'static str,
    text: &'static str,
    /// Whose fault the failure is; `None` = the proxy's, or nobody's.
    side: Option<Side>,
    /// Which part of the request the backend may have seen.
    seen: SeenByBackend,
}

/// Whether the backend may have seen the request before the failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SeenByBackend {
    Nothing,
    Perhaps,
    /// The failure is not the backend's, so no other backend is tried.
    Irrelevant,
}

impl Kind {
    /// Every kind, in the order of the variants.
    pub const ALL: [Self; 41] = [
        Self::AuthDenied,
        Self::AuthExpired,
        Self::AuthUnavailable,
        Self::BackendTls,
        Self::BadHandshake,
        Self::BadRequest,
        Self::BodyTooLarge,
        Self::BodyTimeout,
        Self::Busy,
        Self::ClientCert,
        Self::ClientGone,
        Self::ClosedEarly,
        Self::ConnectTimeout,
        Self::Denied,
        Self::Draining,
        Self::Exhausted,
        Self::FalseUpgrade,
        Self::FleetUnavailable,
        Self::HeadTooLarge,
        Self::Loop,
        Self::MalformedAnswer,
        Self::NewSessions,
        Self::NewSessionsPerClient,
        Self::NoBackend,
        Self::NoRoute,
        Self::NoUpgrade,
        Self::Origin,
        Self::PlainHttp,
        Self::ProbeToken,
        Self::Probes,
        Self::Refused,
        Self::ResponseTimeout,
        Self::ResumeAttempts,
        Self::ResumeStale,
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

    /// What went wrong, for people; it becomes a part of a sentence.
    #[must_use]
    pub const fn as_text(self) -> &'static str {
        self.row().text
    }

    const fn row(self) -> Row {
        use SeenByBackend::{Irrelevant, Nothing, Perhaps};
        const CLIENT: Option<Side> = Some(Side::Client);
        const BACKEND: Option<Side> = Some(Side::Backend);
        let (status, reason, text, side, seen) = match self {
            // The answer is that of the service, so its status may be another one.
            Self::AuthDenied => (403, "auth_denied", "the service that was asked refused this", CLIENT, Irrelevant),
            Self::AuthExpired => (403, "auth_expired", "the time for this request is over", CLIENT, Irrelevant),
            Self::AuthUnavailable => {
                (503, "auth_unavailable", "the service that lets requests in gave no answer", None, Irrelevant)
            }
            Self::BackendTls => (502, "backend_tls", "TLS with the backend failed", BACKEND, Nothing),
            Self::BadHandshake => (400, "bad_handshake", "not a WebSocket handshake", CLIENT, Irrelevant),
            Self::BadRequest => (400, "bad_request", "bad request", CLIENT, Irrelevant),
            Self::BodyTooLarge => (413, "body_too_large", "the body is too large", CLIENT, Irrelevant),
            Self::BodyTimeout => (408, "body_timeout", "the body did not come in time", CLIENT, Irrelevant),
            Self::Busy => (503, "busy", "every backend is busy with handshakes", None, Irrelevant),
            Self::ClientCert => (403, "client_cert", "a client certificate is needed here", CLIENT, Irrelevant),
            // The code is nginx's. Nobody is left to read this answer.
            Self::ClientGone => (499, "client_gone", "the client went away", CLIENT, Irrelevant),
            Self::ClosedEarly => (502, "closed_early", "the backend closed before it answered", BACKEND, Perhaps),
            Self::ConnectTimeout => (504, "connect_timeout", "no connection to the backend in time", BACKEND, Nothing),
            Self::Denied => (403, "denied", "this address may not come here", CLIENT, Irrelevant),
            Self::Draining => (503, "draining", "this proxy is being drained", None, Irrelevant),
            Self::Exhausted => (503, "exhausted", "the proxy has no descriptors or ports left", None, Irrelevant),
            Self::FalseUpgrade => (502, "false_upgrade", "the backend's upgrade cannot be believed", BACKEND, Perhaps),
            Self::FleetUnavailable => {
                (503, "fleet_unavailable", "the sessions of all proxies cannot be counted", None, Irrelevant)
            }
            Self::HeadTooLarge => (431, "head_too_large", "the head is too large", CLIENT, Irrelevant),
            Self::Loop => (508, "loop", "the backend's address is this proxy's own", BACKEND, Nothing),
            Self::MalformedAnswer => (502, "malformed_answer", "the backend's answer cannot be read", BACKEND, Perhaps),
            // These words are the keys of `limits` in the file.
            Self::NewSessions => (503, "new_sessions", "too many new sessions", None, Irrelevant),
            Self::NewSessionsPerClient => {
                (429, "new_sessions_per_client", "too many new sessions from this address", CLIENT, Irrelevant)
            }
            Self::NoBackend => (503, "no_backend", "no backend is known", None, Irrelevant),
            Self::NoRoute => (404, "no_route", "no route for this host and path", None, Irrelevant),
            Self::NoUpgrade => (426, "no_upgrade", "only WebSockets are answered here", CLIENT, Irrelevant),
            Self::Origin => (403, "origin", "pages of this origin may not connect here", CLIENT, Irrelevant),
            Self::PlainHttp => (400, "plain_http", "plain HTTP on a port that speaks TLS", CLIENT, Irrelevant),
            Self::ProbeToken => (401, "probe_token", "the token of the probe is missing or wrong", CLIENT, Irrelevant),
            Self::Probes => (503, "probes", "too many probes at once", None, Irrelevant),
            Self::Refused => (502, "refused", "the backend refused the connection", BACKEND, Nothing),
            Self::ResponseTimeout => (504, "response_timeout", "the backend did not answer in time", BACKEND, Perhaps),
            Self::ResumeAttempts => (429, "resume_attempts", "too many attempts to resume", CLIENT, Irrelevant),
            Self::ResumeStale => (409, "resume_stale", "resume attempt is not the latest", CLIENT, Irrelevant),
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
        Self { kind, source: None, is_after_sending: false }
    }

    /// A failure and what caused it.
    #[must_use]
    pub fn from_source(kind: Kind, source: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        Self { kind, source: Some(source.into()), is_after_sending: false }
    }

    /// The same failure behind a request that was sent, so that the backend may have seen it.
    #[must_use]
    pub fn after_sending(self) -> Self {
        Self { is_after_sending: true, ..self }
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

    /// Whose fault the failure is; `None` = neither the client's nor the backend's.
    #[must_use]
    pub const fn side(&self) -> Option<Side> {
        self.kind.row().side
    }

    /// Whether the failure counts against the backend that was tried (nginx's `max_fails`).
    #[must_use]
    pub const fn is_failure(&self) -> bool {
        matches!(self.side(), Some(Side::Backend))
    }

    /// Whether another backend may be tried for the request.
    ///
    /// `repeatable`: the request is a handshake, or it has no body and its method is idempotent (RFC 9110 §9.2.2). Any
    /// other request moves on only if the backend has seen nothing of it.
    #[must_use]
    pub const fn is_retryable(&self, repeatable: bool) -> bool {
        match self.kind.row().seen {
            SeenByBackend::Nothing => repeatable || !self.is_after_sending,
            SeenByBackend::Perhaps => repeatable,
            SeenByBackend::Irrelevant => false,
        }
    }

    /// Whether the backend may have seen the request.
    #[must_use]
    pub const fn was_perhaps_seen(&self) -> bool {
        self.is_after_sending || matches!(self.kind.row().seen, SeenByBackend::Perhaps)
    }

    /// Whether the same request may succeed later: then the answer says when to come back.
    #[must_use]
    pub const fn is_temporary(&self) -> bool {
        matches!(self.kind.row().status, 429 | 503)
    }

    /// The one line that the client reads.
    #[must_use]
    pub fn body(&self) -> String {
        let Row { reason, text, side, .. } = self.kind.row();
        match &self.source {
            // The client has to know its own mistake. What a backend did wrong is for the log only.
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

impl From<BadHandshake> for Error {
    fn from(bad: BadHandshake) -> Self {
        let kind = if bad.status() == StatusCode::UPGRADE_REQUIRED { Kind::WrongVersion } else { Kind::BadHandshake };
        Self::from_source(kind, bad)
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
        for kind in [Kind::Refused, Kind::Unreachable, Kind::ConnectTimeout, Kind::BackendTls] {
            assert!(Error::new(kind).is_retryable(false), "{kind:?}");
        }
        let late = || Error::new(Kind::BackendTls).after_sending();
        assert!(late().is_retryable(true) && !late().is_retryable(false));
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
