//! WebSocket (RFC 6455) as a proxy sees it. PURE: bytes and instants in, decisions out; no clock, no socket.
//!
//! - [`frame`] reads a header.
//! - [`tracker`] follows the frames of one direction.
//! - [`pieces`] reads the payloads too, for an end of ours.
//! - [`keepalive`] decides on Pings, and on whether a side is dead.
//! - [`session`] joins both directions and ends them.
//! - [`offer`] is what the two ends agree on before a session, [`handshake`] how HTTP/1.1 carries it.
//! - [`assembly`] keeps messages of a client back until they are whole, [`replay`] keeps those for a client until it has them;
//!   [`control_text`] is what both ends tell of that.
//! - [`resume_offer`] is what a client offers to come back to its session, [`resume_hello`] what it is told then,
//!   [`resume_token`] what it shows when it comes back.
//! - [`termination`] is what remains of a session.
//! - [`meter`] holds the limits of a session, [`rate`] those per second.
//! - [`progress`] is what a side has taken of its bytes.
//! - [`opcodes`] counts frames, [`round_trips`] counts answered Pings.
//! - [`close`] is the code and the reason of a Close.
//! - [`tick`] is an instant in eight bytes.

pub mod assembly;
pub mod close;
pub mod control_text;
pub mod frame;
pub mod handshake;
pub mod keepalive;
pub mod meter;
pub mod offer;
pub mod opcodes;
pub mod pieces;
pub mod progress;
pub mod rate;
pub mod replay;
pub mod resume_hello;
pub mod resume_offer;
pub mod resume_token;
pub mod round_trips;
pub mod session;
pub mod termination;
pub mod tick;
pub mod tracker;

/// One of the two ends of a session, as seen from the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// The side that connected to us: the browser, the app, the load balancer in front.
    Client,
    /// The side to which we connected: one server of an upstream.
    Backend,
}

impl Side {
    /// The opposite end.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Client => Self::Backend,
            Self::Backend => Self::Client,
        }
    }

    /// The word for this side in logs and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Backend => "backend",
        }
    }
}
