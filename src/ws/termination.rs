//! How a session ended: who began it, why, with which code.

use super::{Side, close::CloseCode};

/// The end of a session, for its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Termination {
    /// Who ended it first.
    pub initiator: Initiator,
    /// Why.
    pub cause: Cause,
    /// The code of the first Close, an endpoint's or ours; `None` when that Close had none.
    pub code: Option<CloseCode>,
    /// The reason of the first Close.
    pub reason: String,
    /// Both sides sent a Close.
    pub clean: bool,
}

/// Who ended the session first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Initiator {
    /// The backend, by a Close, a FIN or a reset.
    Backend,
    /// The client, likewise.
    Client,
    /// We did.
    Proxy,
}

impl Initiator {
    /// The word for the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Backend => "backend",
            Self::Client => "client",
            Self::Proxy => "proxy",
        }
    }
}

impl From<Side> for Initiator {
    fn from(side: Side) -> Self {
        match side {
            Side::Backend => Self::Backend,
            Side::Client => Self::Client,
        }
    }
}

/// Why a session ended. The list is part of the log's contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The backend broke the protocol.
    BackendBreach,
    /// The backend sent a Close.
    BackendClose,
    /// The backend did not answer, or took nothing, for `pong_timeout`.
    BackendDead,
    /// The backend went down by its health checks, and `on_down` says `drain`.
    BackendDown,
    /// The backend's connection ended without a Close.
    BackendLost,
    /// The client broke the protocol.
    ClientBreach,
    /// The client sent a Close.
    ClientClose,
    /// The client did not answer, or took nothing, for `pong_timeout`.
    ClientDead,
    /// The client's connection ended without a Close.
    ClientLost,
    /// The process, the route or the backend was drained.
    Drain,
    /// No byte from either side for `timeouts.idle`.
    Idle,
    /// An operator ended it.
    Killed,
    /// It lived for `max_lifetime`.
    Lifetime,
    /// A new configuration has its backend or its route no more, and `on_removed` says `close`.
    Removed,
    /// A side took too little while `limits.unsent_memory` was used up.
    Memory,
    /// A side sent a message or a frame of more than a limit.
    MessageTooBig,
    /// The client sent more in a second than a limit allows.
    RateLimited,
}

impl Cause {
    /// The word for the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BackendBreach => "backend_breach",
            Self::BackendClose => "backend_close",
            Self::BackendDead => "backend_dead",
            Self::BackendDown => "backend_down",
            Self::BackendLost => "backend_lost",
            Self::ClientBreach => "client_breach",
            Self::ClientClose => "client_close",
            Self::ClientDead => "client_dead",
            Self::ClientLost => "client_lost",
            Self::Drain => "drain",
            Self::Idle => "idle",
            Self::Killed => "killed",
            Self::Lifetime => "lifetime",
            Self::Removed => "removed",
            Self::Memory => "memory",
            Self::MessageTooBig => "message_too_big",
            Self::RateLimited => "rate_limited",
        }
    }

    /// The words that a Close of ours gives to a side that is not the cause.
    #[must_use]
    pub const fn as_reason(self) -> &'static str {
        match self {
            Self::BackendBreach => "backend broke the protocol",
            Self::BackendClose => "backend closed",
            Self::BackendDown => "backend down",
            Self::BackendDead | Self::BackendLost => "backend lost",
            Self::ClientBreach => "client broke the protocol",
            Self::ClientClose => "client closed",
            Self::ClientDead | Self::ClientLost => "client lost",
            Self::Drain => "drain",
            Self::Idle => "idle",
            Self::Killed => "killed",
            Self::Lifetime => "lifetime",
            Self::Removed => "removed",
            Self::Memory => "memory",
            Self::MessageTooBig => "message too big",
            Self::RateLimited => "rate limited",
        }
    }
}
