//! Host and path to route. PURE.

use crate::ws::keepalive;

/// One route, as resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// How the log calls it: host and path as written, e.g. `chat.example.com/ws/`, `*/`.
    pub name: String,
    /// The upstream's index in `Config::upstreams`.
    pub upstream: usize,
    /// Keepalive of this route's sessions.
    pub keepalive: keepalive::Settings,
}

/// All routes, ordered for `find`.
#[derive(Debug, Clone)]
pub struct RouteTable {}
