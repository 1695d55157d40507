//! How a session ended: who began the end, why, and with which code.

use serde::Serialize;

use super::{Side, close::CloseCode};

/// The end of a session, for its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Termination {
    /// The side that ended the session first.
    pub initiator: Initiator,
    /// Why the session ended.
    pub cause: Cause,
    /// How that came about.
    pub how: HowEnded,
    /// The code of the first Close, whether an endpoint or the proxy sent it; `None` = that Close had no code.
    pub code: Option<CloseCode>,
    /// The reason of the first Close.
    pub reason: String,
    /// Whether both sides sent a Close.
    pub clean: bool,
}

/// Who ended the session first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Initiator {
    /// The backend, by a Close, a FIN or a reset.
    Backend,
    /// The client, by a Close, a FIN or a reset.
    Client,
    /// The proxy.
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

/// How the end of a session came about. The words for it are a part of the log's contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HowEnded {
    /// A side sent a Close.
    Close,
    /// A side's connection ended without a Close.
    Lost(Loss),
    /// The proxy judged a silent side dead.
    Silent,
    /// The proxy ended the session: by an order, a limit or a rule of the protocol.
    Ours,
}

/// How a connection ended without a Close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// By a FIN, under TLS with or without a close_notify before it.
    Fin,
    /// By a reset, or because TLS failed.
    Reset,
    /// The kernel gave it up, because the far end acknowledged nothing in time.
    TimedOut,
    /// The kernel gave it up, because the network said that the far end cannot be reached.
    Unreachable,
}

impl HowEnded {
    /// The word for the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Close => "close",
            Self::Lost(Loss::Fin) => "fin",
            Self::Lost(Loss::Reset) => "reset",
            Self::Lost(Loss::TimedOut) => "timed_out",
            Self::Lost(Loss::Unreachable) => "unreachable",
            Self::Silent => "silent",
            Self::Ours => "ours",
        }
    }
}

/// For how long no byte had passed between the proxy and each side when the end of a session began. In whole
/// milliseconds, 49 days at most, because a session that ends keeps these values.
///
/// Pings of our own and their Pongs are bytes. What ends the session is not counted: neither the Close of a side nor a
/// Close of our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Silence {
    /// Since a byte came from the client.
    #[serde(rename = "silence_from_client_ms")]
    pub from_client: u32,
    /// Since a byte came from the backend.
    #[serde(rename = "silence_from_backend_ms")]
    pub from_backend: u32,
    /// Since a byte went to the client.
    #[serde(rename = "silence_to_client_ms")]
    pub to_client: u32,
    /// Since a byte went to the backend.
    #[serde(rename = "silence_to_backend_ms")]
    pub to_backend: u32,
}

/// Why a session ended. The words of these causes are a part of the log's contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The backend broke the protocol.
    BackendBreach,
    /// The backend sent a Close.
    BackendClose,
    /// The backend sent no byte after a Ping, or took no byte, for `pong_timeout`.
    BackendDead,
    /// The backend failed its health checks, and `on_down` says `drain`.
    BackendDown,
    /// The backend's connection ended without a Close.
    BackendLost,
    /// The client broke the protocol.
    ClientBreach,
    /// The client sent a Close.
    ClientClose,
    /// The client sent no byte after a Ping, or took no byte, for `pong_timeout`.
    ClientDead,
    /// The client's connection ended without a Close.
    ClientLost,
    /// The process, the route or the backend was drained.
    Drain,
    /// The session reached the time that the service of `auth_request` gave it.
    Expired,
    /// Neither side sent a byte for `timeouts.idle`.
    Idle,
    /// An operator ended the session.
    Killed,
    /// The session lived for `max_lifetime`.
    Lifetime,
    /// A new configuration no longer has the session's backend or route, and `on_removed` says `close`.
    Removed,
    /// A side took its bytes too slowly while `limits.unsent_memory` was used up.
    Memory,
    /// A side sent a message or a frame that is larger than a limit.
    MessageTooBig,
    /// The client sent more in a second than a limit allows.
    RateLimited,
    /// An operator had a share of the oldest sessions leave, so that loads even out.
    Rebalanced,
}

impl Cause {
    /// All causes.
    pub const ALL: [Self; 19] = [
        Self::BackendBreach,
        Self::BackendClose,
        Self::BackendDead,
        Self::BackendDown,
        Self::BackendLost,
        Self::ClientBreach,
        Self::ClientClose,
        Self::ClientDead,
        Self::ClientLost,
        Self::Drain,
        Self::Expired,
        Self::Idle,
        Self::Killed,
        Self::Lifetime,
        Self::Removed,
        Self::Memory,
        Self::MessageTooBig,
        Self::RateLimited,
        Self::Rebalanced,
    ];

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
            Self::Expired => "expired",
            Self::Idle => "idle",
            Self::Killed => "killed",
            Self::Lifetime => "lifetime",
            Self::Removed => "removed",
            Self::Memory => "memory",
            Self::MessageTooBig => "message_too_big",
            Self::RateLimited => "rate_limited",
            Self::Rebalanced => "rebalanced",
        }
    }

    /// Why the session ended, for people: a part of a sentence without a full stop.
    #[must_use]
    pub const fn as_sentence(self) -> &'static str {
        match self {
            Self::BackendBreach => "the backend sent what no WebSocket may: its frames broke the protocol",
            Self::BackendClose => "the backend closed the WebSocket with a Close frame of its own",
            Self::BackendDead => {
                "the backend answered no ping and took no byte in time: it hangs, or the way to it is cut"
            }
            Self::BackendDown => "the backend failed its health checks, and its sessions were told to leave",
            Self::BackendLost => {
                "the backend closed the TCP connection without a Close frame: it crashed or was restarted"
            }
            Self::ClientBreach => "the client sent what no WebSocket may: its frames broke the protocol",
            Self::ClientClose => "the client closed the WebSocket with a Close frame of its own",
            Self::ClientDead => {
                "the client answered no ping and took no byte in time: it sleeps, or its network is gone"
            }
            Self::ClientLost => {
                "the client closed the TCP connection without a Close frame: its program ended, or something on the way cut it"
            }
            Self::Drain => "an operator drained the proxy, the route or the backend, or the proxy was stopped",
            Self::Expired => "the time was over that the service of auth_request gave the session",
            Self::Idle => "neither side sent a byte for as long as timeouts.idle allows",
            Self::Killed => "an operator ended this session",
            Self::Lifetime => "the session was as old as its route's max_lifetime allows",
            Self::Removed => "a new configuration has its backend or its route no more",
            Self::Memory => "one side took its bytes too slowly while limits.unsent_memory was used up",
            Self::MessageTooBig => "one side sent a message or a frame larger than a limit allows",
            Self::RateLimited => "the client sent more in a second than a limit allows",
            Self::Rebalanced => "an operator had the oldest sessions leave, so that they spread anew",
        }
    }

    /// Whether the session was dropped: neither its two ends nor an operator asked for the end.
    #[must_use]
    pub const fn is_drop(self) -> bool {
        match self {
            Self::BackendClose
            | Self::ClientClose
            | Self::Drain
            | Self::Expired
            | Self::Killed
            | Self::Lifetime
            | Self::Rebalanced
            | Self::Removed => false,
            Self::BackendBreach
            | Self::BackendDead
            | Self::BackendDown
            | Self::BackendLost
            | Self::ClientBreach
            | Self::ClientDead
            | Self::ClientLost
            | Self::Idle
            | Self::Memory
            | Self::MessageTooBig
            | Self::RateLimited => true,
        }
    }

    /// The reason in a Close of ours, for a side that did not cause the end.
    #[must_use]
    pub const fn as_reason(self) -> &'static str {
        match self {
            Self::BackendBreach => "backend broke the protocol",
            Self::BackendClose => "backend closed",
            Self::BackendDown => "backend down",
            Self::BackendDead | Self::ClientDead => "no answer to pings",
            Self::BackendLost => "backend lost",
            Self::ClientBreach => "client broke the protocol",
            Self::ClientClose => "client closed",
            Self::ClientLost => "client lost",
            Self::Drain => "drain",
            Self::Expired => "expired",
            Self::Idle => "idle",
            Self::Killed => "killed",
            Self::Lifetime => "lifetime",
            Self::Removed => "removed",
            Self::Memory => "memory",
            Self::MessageTooBig => "message too big",
            Self::RateLimited => "rate limited",
            Self::Rebalanced => "rebalance",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_cause_has_a_word_and_a_sentence_of_its_own() {
        for (place, cause) in Cause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, place, "{cause:?}");
            let sentence = cause.as_sentence();
            assert!(sentence.split(' ').count() >= 5 && !sentence.ends_with('.'), "{sentence}");
        }
        let sentences: HashSet<_> = Cause::ALL.map(Cause::as_sentence).into();
        let words: HashSet<_> = Cause::ALL.map(Cause::as_str).into();
        assert_eq!((sentences.len(), words.len()), (Cause::ALL.len(), Cause::ALL.len()));
    }
}
