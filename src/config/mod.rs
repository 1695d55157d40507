//! The configuration: what runs (the types here), and the way there from `proxy.yaml`.
//!
//! Read downwards: `load` drives; `document` reads YAML into a tree with positions, `environment` replaces `${NAME}`;
//! `check` walks the tree against the schema of `file`, the mirror of `proxy.yaml`, whose scalars are `values`
//! and `addresses`;
//! `resolve` (PURE) turns the mirror into a [`Config`]; `diagnostics` prints every problem that one of them found.
//! `reference` says in words what each key means.

mod addresses;
mod check;
mod describe;
mod diagnostics;
mod document;
mod environment;
mod file;
mod foreign;
mod load;
mod reference;
mod resolve;
mod sides;
mod statuses;
mod tracing;
mod values;

use std::{
    fmt,
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;

pub use self::{
    describe::describe,
    diagnostics::{Diagnostic, Diagnostics, Item, Severity},
    environment::Env,
    load::{FlagsError, Loaded, admin_of, from_flags, load, parse, parse_with},
    reference::{UnknownKey, explain, markdown},
};
use crate::{
    balance::UpstreamSettings,
    routing::RouteTable,
    ws::{close::CloseCode, meter::MessageLimits, rate::Rate},
};

/// The `proxy.yaml` of this repository: every key with its default.
pub const SHIPPED: &str = include_str!("../../proxy.yaml");

/// The JSON Schema of `proxy.yaml`: every key with its type, description and default.
#[must_use]
pub fn schema() -> serde_json::Value {
    file::File::schema()
}

/// A checked configuration: what runs.
#[derive(Debug, Clone)]
pub struct Config {
    /// Worker threads; `None` = one per core.
    pub workers: Option<NonZeroUsize>,
    /// How long sessions wait to be read together; zero = not at all.
    pub coalesce: Duration,
    /// Where to accept.
    pub listeners: Vec<Listener>,
    /// The groups of backends; routes refer to them by index.
    pub upstreams: Vec<UpstreamSettings>,
    /// Which request goes where.
    pub routes: RouteTable,
    /// Deadlines of every wait on a client or a backend.
    pub timeouts: Timeouts,
    /// How sessions are ended when the process, a route or a backend goes.
    pub drain: Drain,
    /// Where a successor takes over the listening sockets; `None` = nowhere.
    pub handover: Option<PathBuf>,
    /// Bounds on what clients, and all sessions together, may use.
    pub limits: Limits,
    /// Options of the TCP sockets, both sides.
    pub tcp: Tcp,
    /// Who may tell us the client's address.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether `Via` names this hop.
    pub via_header: bool,
    /// What is logged, and how.
    pub log: Log,
    /// Where an operator may look and order; `None` = nowhere.
    pub admin: Option<Admin>,
    /// Where the spans of handshakes go; `None` = nowhere.
    pub tracing: Option<Tracing>,
    /// The same as the file says it, defaults filled in. It holds no secret: those are in files of their own.
    pub written: serde_json::Value,
    /// The file; `None` = it came from elsewhere and cannot be read again.
    pub origin: Option<PathBuf>,
}

/// Where an operator may look and order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens; beyond loopback only with a token.
    pub bind: AdminBind,
    /// The token that it asks for; `None` = none. The path is resolved against the file's folder.
    pub token_file: Option<PathBuf>,
    /// Names by which it may be called, beside its address and `localhost`; in lower case, without a port.
    pub hosts: Vec<String>,
}

/// The address of the admin interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminBind {
    /// Port 0 = any free one.
    Tcp(SocketAddr),
    /// A socket in the file system, for who may open it.
    Unix(PathBuf),
}

impl fmt::Display for AdminBind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Where the spans of handshakes go. Only in a build with the feature `otlp`.
#[derive(Debug, Clone, PartialEq)]
pub struct Tracing {
    /// The URL of a collector, for OTLP over plain HTTP.
    pub endpoint: String,
    /// What the collector calls us.
    pub service_name: String,
    /// Of the traces that begin here, from 0 to 1.
    pub sample: f64,
}

/// One address to accept on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Address and port; port 0 = any free one.
    pub bind: SocketAddr,
    /// TLS, when this listener speaks it.
    pub tls: Option<Tls>,
}

/// The certificates of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Chosen by SNI; the first is the default. Never empty. Paths are resolved against the file's folder.
    pub certificates: Vec<CertificateFiles>,
    /// Make a self-signed first certificate at start when neither of its two files exists.
    pub self_signed: bool,
}

/// A certificate chain and its key, in PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, leaf first.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Deadlines; none is zero. Of `upgrade`, `response` and `idle` a route has its own ([`RouteTimeouts`](crate::routing::RouteTimeouts)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// From accept to the end of the TLS handshake.
    pub tls_handshake: Duration,
    /// From the first byte a connection owes to the end of a request head.
    pub request_header: Duration,
    /// Between two reads of a request body.
    pub request_body: Duration,
    /// Idle between two requests of a connection.
    pub keep_alive: Duration,
    /// To connect to a backend, per attempt.
    pub connect: Duration,
    /// To a backend's whole answer to a handshake, per attempt.
    pub upgrade: Duration,
    /// To the head of a plain answer, per attempt, then between two reads of its body; `None` = off.
    pub response: Option<Duration>,
    /// No byte from either side of a session; `None` = off.
    pub idle: Option<Duration>,
    /// To end a session once its end has begun.
    pub close: Duration,
    /// From the signal to the exit.
    pub drain: Duration,
}

/// How sessions are ended when the process, a route or a backend goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// How long readiness fails before anything else does.
    pub wait: Duration,
    /// What both sides of a session read.
    pub close_code: CloseCode,
    /// Over which time sessions are told, one by one.
    pub spread: Duration,
    /// Whether sessions are ended whose backend or route a reload takes away.
    pub closes_removed: bool,
}

/// Bounds on what clients, and all sessions together, may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request head (8 KiB or more).
    pub header_size: usize,
    /// Header fields of a request.
    pub headers: usize,
    /// Header fields of a backend's answer.
    pub answer_headers: usize,
    /// Bytes of a request body; `None` = no limit.
    pub body_size: Option<u64>,
    /// Sessions open at once; `None` = no limit.
    pub sessions: Option<usize>,
    /// Sessions open at once of one client address; `None` = no limit.
    pub sessions_per_client: Option<usize>,
    /// New sessions per second; `None` = no limit.
    pub new_sessions: Option<Rate>,
    /// New sessions per second of one client address; `None` = no limit.
    pub new_sessions_per_client: Option<Rate>,
    /// What each session may carry.
    pub messages: MessageLimits,
    /// Bytes of all sessions that wait for who does not take them; `None` = no limit.
    pub unsent_memory: Option<usize>,
    /// How a handshake is refused that may be tried again later.
    pub refuse: Refuse,
}

/// How a handshake is refused that may be tried again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refuse {
    /// 429 or 503 with `Retry-After`.
    Http,
    /// A 101 of our own, then Close 1013 with the reason.
    Close,
}

/// Socket options, both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tcp {
    /// Silence before the kernel probes (`TCP_KEEPIDLE`); `None` = no kernel keepalive.
    pub keepalive_idle: Option<Duration>,
    /// Between two probes (`TCP_KEEPINTVL`).
    pub keepalive_interval: Duration,
    /// Unanswered probes before the connection is dead (`TCP_KEEPCNT`).
    pub keepalive_probes: u32,
    /// How long sent bytes may stay unacknowledged (`TCP_USER_TIMEOUT`); `None` = the kernel's default.
    pub user_timeout: Option<Duration>,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// The form of every line.
    pub format: LogFormat,
    /// Which messages: `error`, `warn`, `info`, `debug`, `trace`, or a `tracing` filter.
    pub level: String,
    /// Whether the record of each session and request is written.
    pub access: bool,
    /// Where to; `None` = standard output.
    pub file: Option<PathBuf>,
    /// Of plain requests that went well, one in so many is written.
    pub sample_requests: NonZeroU32,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// `key=value` for people.
    Text,
}
