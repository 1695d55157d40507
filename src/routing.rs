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

/// A route and what it matches.
#[derive(Debug, Clone)]
pub struct RouteEntry {
    /// `None` = any host.
    pub host: Option<HostPattern>,
    /// Prefix of the raw path.
    pub path: String,
    /// Where a match goes.
    pub route: Route,
}

/// An exact host or a wildcard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern(String);

impl HostPattern {
    /// Reads `chat.example.com` or `*.example.com`.
    ///
    /// # Errors
    /// Says what is wrong with the pattern.
    pub fn parse(text: &str) -> Result<Self, String> {
        let name = text.strip_prefix("*.").unwrap_or(text);
        if name.is_empty() || name.contains(['*', '/', ' ', ':']) {
            return Err("write a host name or `*.` and a host name, without port".into());
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

/// All routes, ordered for `find`.
#[derive(Debug, Clone)]
pub struct RouteTable {
    entries: Vec<RouteEntry>,
}

impl RouteTable {
    /// Orders the routes.
    #[must_use]
    pub fn new(entries: Vec<RouteEntry>) -> Self {
        Self { entries }
    }

    /// All routes, in the order they are tried.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.entries.iter().map(|entry| &entry.route)
    }
}
