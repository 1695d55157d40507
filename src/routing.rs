//! Finds the route for a host and a path. PURE.

mod addresses;
mod auth_request;
mod limits;
mod redirect;
mod rewriting;
mod sticky;

use std::{cmp::Reverse, num::NonZeroU32, time::Duration};

use crate::{
    headers::{CertificateField, FieldRules},
    hosts::{HostPattern, bare_name},
    origins::Origins,
    ws::{
        keepalive,
        session::{HoldTerms, ResumeTerms},
    },
};

pub use addresses::AddressRules;
pub use auth_request::{AuthRequest, AuthVerdict, BadExpiry, session_life};
pub use limits::PathLimits;
pub use redirect::{HTTPS_PORT, HttpsRedirect};
pub use rewriting::{BadPath, BadReplacement, PathRule, Replacement};
pub use sticky::{CookieSecurity, SameSite, StickyCookie};

/// One route, as the configuration resolves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The route's name in the log: host and path as written, e.g. `chat.example.com/ws/`, `*/`. A redirect has `http://`
    /// in front.
    pub name: String,
    /// What becomes of a request that takes the route.
    pub action: RouteAction,
    /// Which clients may use the route.
    pub addresses: AddressRules,
    /// The path that the backend gets.
    pub path_rule: PathRule,
    /// The `Host` that the backend gets.
    pub host_header: HostHeader,
    /// What the route does with the fields of requests, on their way to a backend.
    pub request_fields: FieldRules,
    /// What the route does with the fields of answers, those of longwire's own included.
    pub answer_fields: FieldRules,
    /// Whether a request without a verified certificate of the client is refused.
    pub needs_client_cert: bool,
    /// What the backend is told of the client's certificate.
    pub told_of_client: Vec<CertificateField>,
    /// The cookie by which a client comes back to its backend; `None` = the upstream decides for each request alone.
    pub sticky: Option<StickyCookie>,
    /// Which pages may open a WebSocket here.
    pub origins: Origins,
    /// Whether a backend gets a client's offer to compress messages.
    pub may_compress: bool,
    /// How the sessions of the route outlive their backends; `None` = they do not.
    pub hold: Option<Box<HoldRule>>,
    /// On what terms the sessions of clients that speak the protocol outlive their connections; `None` = they do not.
    pub resume: Option<ResumeTerms>,
    /// The service that is asked about each request; `None` = none is asked.
    pub auth_request: Option<Box<AuthRequest>>,
    /// Keepalive of this route's sessions.
    pub keepalive: keepalive::Settings,
    /// Whether sessions are pinged more often once the ends of earlier ones show that the path needs it.
    pub learns: bool,
    /// The timeouts of the route's requests and sessions.
    pub timeouts: RouteTimeouts,
    /// The longest time that one session of the route may live; `None` = no bound.
    pub max_lifetime: Option<Duration>,
    /// What stands on the path of the route's sessions.
    pub limits: PathLimits,
}

/// How the sessions of a route outlive their backends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldRule {
    /// On what terms.
    pub terms: HoldTerms,
    /// The most handshakes per second with which such sessions come to the backends of the upstream.
    pub per_second: NonZeroU32,
}

/// What becomes of a request that takes a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteAction {
    /// The request goes to the upstream with this index in `Config::upstreams`.
    Forward(usize),
    /// The request is redirected. Only requests that come in the clear take such a route.
    Redirect(HttpsRedirect),
}

/// The `Host` that a backend gets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum HostHeader {
    /// That of the client.
    #[default]
    Keep,
    /// The backend's own name.
    Upstream,
    /// This one.
    Fixed(String),
}

/// How long the requests and sessions of a route may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteTimeouts {
    /// From the connection to the head of the backend's answer to a handshake; each attempt has this time.
    pub upgrade: Duration,
    /// Up to the head of a plain answer, for each attempt, then between two reads of the answer's body; `None` = no
    /// bound.
    pub response: Option<Duration>,
    /// How long neither side of a session, or of an event stream, may send a byte; `None` = no bound.
    pub idle: Option<Duration>,
}

/// A route and the conditions under which a request takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteEntry {
    /// The hosts of the route; `None` = every host, and requests without a host.
    pub host: Option<HostPattern>,
    /// The raw path of a request must start with this, e.g. `/ws/`. `/ws` also matches `/wsx`. Empty or `/` = every
    /// path.
    pub path: String,
    /// The route that a matching request takes.
    pub route: Route,
}

/// All routes, in the order of the search.
#[derive(Debug, Clone, Default)]
pub struct RouteTable {
    entries: Vec<RouteEntry>,
}

impl RouteTable {
    /// Sorts the routes by precedence, so the first match is the best one.
    ///
    /// 1. Routes with an exact host come first, then wildcards from the longest to the shortest, then routes without a
    ///    host.
    /// 2. Among routes with the same rank of host, the longest path comes first.
    /// 3. Of two routes with equal host and path, a redirect comes first, because it leaves the requests over TLS to the
    ///    other route.
    #[must_use]
    pub fn new(mut entries: Vec<RouteEntry>) -> Self {
        entries.sort_by_key(|entry| {
            let host = match &entry.host {
                Some(HostPattern::Exact(_)) => (0, Reverse(0)),
                Some(HostPattern::Suffix(suffix)) => (1, Reverse(suffix.len())),
                None => (2, Reverse(0)),
            };
            (host, Reverse(entry.path.len()), matches!(entry.route.action, RouteAction::Forward(_)))
        });
        Self { entries }
    }

    /// The route of a request, and its place among [`Self::routes`].
    ///
    /// `host` is as the client sent it: its port, its letter case and a trailing dot do not matter; empty = the request
    /// names no host. `path` is raw and has no query. `is_secure`: whether the request came over TLS; it then passes by the
    /// redirects.
    ///
    /// If a host has routes but none of them matches the path, the wildcard routes and then the routes without a host
    /// are searched. So a catch-all route catches everything; nginx chooses by the host first, and answers 404. The
    /// search is linear, because people write the routes by hand and so there are few.
    #[must_use]
    pub fn find(&self, host: &str, path: &str, is_secure: impl Fn() -> bool) -> Option<(usize, &Route)> {
        let name = bare_name(host);
        let place = self.entries.iter().position(|entry| {
            path.starts_with(&entry.path)
                && entry.host.as_ref().is_none_or(|host| host.matches(name))
                && (matches!(entry.route.action, RouteAction::Forward(_)) || !is_secure())
        })?;
        Some((place, &self.entries[place].route))
    }

    /// Every route, in the order of the search.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        self.entries.iter().map(|entry| &entry.route)
    }

    /// Every route, so the caller can change it before the configuration runs.
    pub fn routes_mut(&mut self) -> impl Iterator<Item = &mut Route> {
        self.entries.iter_mut().map(|entry| &mut entry.route)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use hyper::StatusCode;

    use super::*;

    #[test]
    fn exact_host_comes_before_a_wildcard_before_none() {
        let table = table(&["/", "*.example.com/", "*.b.example.com/", "chat.example.com/", "a.b.example.com/"]);
        for (host, expected) in [
            ("chat.example.com", "chat.example.com/"),
            ("a.b.example.com", "a.b.example.com/"),
            ("c.b.example.com", "*.b.example.com/"),
            ("c.d.b.example.com", "*.b.example.com/"),
            ("b.example.com", "*.example.com/"),
            ("c.d.example.com", "*.example.com/"),
            ("example.com", "/"),
            (".example.com", "/"),
            ("notexample.com", "/"),
            ("other.example", "/"),
            ("", "/"),
        ] {
            assert_eq!(found(&table, host, "/"), Some(expected), "{host}");
        }
    }

    #[test]
    fn longest_path_prefix_wins_within_a_host() {
        let table = table(&["a.example/", "a.example/ws/chat", "a.example/ws/", "/ws/chat/room"]);
        for (path, expected) in [
            ("/", "a.example/"),
            ("/ws", "a.example/"),
            ("/ws/", "a.example/ws/"),
            ("/ws/chat", "a.example/ws/chat"),
            ("/ws/chatter", "a.example/ws/chat"),
            ("/ws/chat/room", "a.example/ws/chat"),
            ("/WS/chat", "a.example/"),
            ("/%77s/chat", "a.example/"),
            ("/ws/../", "a.example/ws/"),
        ] {
            assert_eq!(found(&table, "a.example", path), Some(expected), "{path}");
        }
    }

    #[test]
    fn path_that_no_route_of_the_host_takes_falls_on_to_wildcard_and_none() {
        let table = table(&["a.example.com/ws/", "*.example.com/api/", "/public/"]);
        assert_eq!(found(&table, "a.example.com", "/ws/1"), Some("a.example.com/ws/"));
        assert_eq!(found(&table, "a.example.com", "/api/1"), Some("*.example.com/api/"));
        assert_eq!(found(&table, "a.example.com", "/public/1"), Some("/public/"));
        assert_eq!(found(&table, "a.example.com", "/secret"), None);
    }

    #[test]
    fn port_case_and_trailing_dot_of_the_host_do_not_matter() {
        let table = table(&["Chat.Example.com/", "*.Wild.example/", "[2001:DB8::1]/", "192.0.2.1/"]);
        for (host, expected) in [
            ("CHAT.example.COM:8443", "Chat.Example.com/"),
            ("chat.example.com.", "Chat.Example.com/"),
            ("chat.example.com.:80", "Chat.Example.com/"),
            ("A.WILD.EXAMPLE:80", "*.Wild.example/"),
            ("[2001:db8::1]:80", "[2001:DB8::1]/"),
            ("[2001:db8::1]", "[2001:DB8::1]/"),
            ("192.0.2.1:80", "192.0.2.1/"),
        ] {
            assert_eq!(found(&table, host, "/"), Some(expected), "{host}");
        }
    }

    #[test]
    fn first_of_two_equal_routes_is_asked() {
        let mut entries = [entry("/"), entry("/")];
        entries[1].route.name = "second".to_owned();
        let table = RouteTable::new(entries.to_vec());
        assert_eq!(found(&table, "", "/"), Some("/"));
    }

    #[test]
    fn redirect_takes_what_comes_in_the_clear_and_leaves_the_rest_to_the_next_route() {
        let redirect = |name: &str| {
            let mut entry = entry(name);
            entry.route.name = format!("http://{name}");
            entry.route.action = RouteAction::Redirect(HttpsRedirect { status: StatusCode::FOUND, port: 443 });
            entry
        };
        // The order of the file does not matter.
        let entries = [
            entry("a.example/"),
            redirect("a.example/"),
            redirect("*.example/"),
            redirect("b.example/ws/"),
            entry("b.example/"),
            redirect("c.example/"),
            entry("c.example/ws/"),
            entry("/"),
        ];
        let table = RouteTable::new(entries.to_vec());
        for (host, path, clear, secure) in [
            ("a.example", "/", "http://a.example/", "a.example/"),
            ("x.example", "/", "http://*.example/", "/"),
            ("b.example", "/ws/1", "http://b.example/ws/", "b.example/"),
            ("b.example", "/1", "b.example/", "b.example/"),
            ("c.example", "/ws/1", "c.example/ws/", "c.example/ws/"),
            ("c.example", "/1", "http://c.example/", "/"),
        ] {
            for (is_secure, expected) in [(false, clear), (true, secure)] {
                let found = table.find(host, path, || is_secure).map(|(_, route)| route.name.as_str());
                assert_eq!(found, Some(expected), "{host}{path} {is_secure}");
            }
        }
        // Over TLS, nothing is left behind the redirect.
        let alone = RouteTable::new(vec![redirect("a.example/")]);
        assert!(alone.find("a.example", "/", || false).is_some() && alone.find("a.example", "/", || true).is_none());
    }

    #[test]
    fn host_that_is_no_text_of_a_name_matches_no_pattern() {
        let table = table(&["*.example.com/"]);
        for host in ["é.example.co", "\u{1f600}example.com", "[", "]:", ":"] {
            assert_eq!(found(&table, host, "/"), None, "{host}");
        }
    }

    fn found<'a>(table: &'a RouteTable, host: &str, path: &str) -> Option<&'a str> {
        let (place, route) = table.find(host, path, || false)?;
        assert_eq!(table.routes().nth(place), Some(route));
        Some(route.name.as_str())
    }

    fn table(names: &[&str]) -> RouteTable {
        RouteTable::new(names.iter().map(|name| entry(name)).collect())
    }

    /// A route written as host and path, e.g. `*.example.com/ws/`.
    fn entry(name: &str) -> RouteEntry {
        let (host, path) = name.split_at(name.find('/').unwrap());
        RouteEntry {
            host: (!host.is_empty()).then(|| HostPattern::parse(host).unwrap()),
            path: path.to_owned(),
            route: Route {
                name: name.to_owned(),
                action: RouteAction::Forward(0),
                addresses: AddressRules::default(),
                path_rule: PathRule::Keep,
                host_header: HostHeader::Keep,
                request_fields: FieldRules::default(),
                answer_fields: FieldRules::default(),
                needs_client_cert: false,
                told_of_client: Vec::new(),
                sticky: None,
                origins: Origins::default(),
                may_compress: true,
                hold: None,
                resume: None,
                auth_request: None,
                keepalive: keepalive::Settings {
                    ping_interval: keepalive::SideTimes::of_both(None),
                    pong_timeout: keepalive::SideTimes::of_both(None),
                },
                learns: false,
                timeouts: RouteTimeouts { upgrade: Duration::from_secs(60), response: None, idle: None },
                max_lifetime: None,
                limits: PathLimits::default(),
            },
        }
    }
}
