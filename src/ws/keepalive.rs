//! When to ping a side, and when it is dead.

use std::time::Duration;

/// What the file says of keepalive, for one route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Silence toward a side after which it is pinged; `None` = never.
    pub ping_interval: Option<Duration>,
    /// No byte at all for this long after a ping: the side is dead; `None` = never judge.
    pub pong_timeout: Option<Duration>,
    /// Whether the client is pinged.
    pub client: bool,
    /// Whether the backend is pinged.
    pub backend: bool,
}
