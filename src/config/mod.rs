//! The configuration: the types that run, and the way from `proxy.yaml` to them.
//!
//! Read the rooms in this order:
//!
//! 1. `load` calls the others.
//! 2. `document` reads YAML into a tree with positions. `environment` replaces `${NAME}` in its values.
//! 3. `check` compares the tree with the schema of `file`, the mirror of `proxy.yaml`. `values`, `addresses` and `valkey_url` read the
//!    scalars of `file`.
//! 4. `resolve` (PURE) turns the mirror into a [`Config`].
//! 5. `lint` (PURE) holds the configuration against the path that it names. `derived` says what follows from that path.
//! 6. `diagnostics` prints every problem that one of these rooms found.
//! 7. `reference` says in words what each key means. `hash` says whether two files mean the same.
//!
//! [`certificates`], `trust`, `expiry`, `backend_list`, `token` and [`sticky_key`] read the files that the configuration
//! names. `own_files` lists those that a reload reads again.

mod addresses;
mod backend_list;
mod bad_value;
pub mod certificates;
mod check;
mod derived;
mod describe;
mod diagnostics;
mod document;
mod environment;
pub(crate) mod expiry;
mod file;
mod fleet;
mod foreign;
mod hash;
mod hold_trigger;
mod lint;
mod load;
mod names;
mod own_files;
mod preset_name;
mod reference;
mod resolve;
mod rights;
pub(crate) mod server_name;
mod service_url;
mod sides;
mod statuses;
pub mod sticky_key;
mod text;
pub(crate) mod token;
mod tracing;
pub(crate) mod trust;
mod unix_name;
mod valkey_url;
mod values;

use std::{
    fmt,
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    time::Duration,
};

use serde::{Serialize, Serializer};
use tokio_rustls::rustls::pki_types::ServerName;

pub(crate) use self::{backend_list::read as read_backends, values::duration};
pub use self::{
    derived::derived,
    describe::describe,
    diagnostics::{Diagnostic, Diagnostics, Item, Severity},
    environment::Env,
    fleet::{FleetPassword, FleetServer, FleetSettings, OnLoss},
    hash::ConfigHash,
    load::{FlagsError, Loaded, admin_of, from_flags, load, parse, parse_with},
    own_files::{FileContents, own_files},
    reference::{UnknownKey, explain, markdown},
    rights::{Account, SocketRights},
    unix_name::UnixName,
};
use crate::{
    balance::UpstreamSettings,
    discovery::BackendEntry,
    routing::RouteTable,
    sender::Network,
    ws::{close::CloseCode, meter::MessageLimits, rate::Rate},
};

/// The `proxy.yaml` of this repository: every key with its default.
pub const SHIPPED: &str = include_str!("../../proxy.yaml");

/// The JSON Schema of `proxy.yaml`: every key with its type, description and default.
#[must_use]
pub fn schema() -> serde_json::Value {
    file::File::schema()
}

/// A checked configuration, as the proxy runs it.
#[derive(Debug, Clone)]
pub struct Config {
    /// Worker threads; `None` = one per core.
    pub workers: Option<NonZeroUsize>,
    /// How long a worker may wait before it reads its sessions together; zero = it does not wait.
    pub coalesce: Duration,
    /// The addresses that clients connect to.
    pub listeners: Vec<Listener>,
    /// The groups of backends; routes refer to them by index. Each has the backends that the file names.
    pub upstreams: Vec<UpstreamSettings>,
    /// How connections with the backends of each upstream come about; the index is that of the upstream.
    pub ways: Vec<WaySettings>,
    /// The backends of each upstream, and where others are found, in the order of the file. The index is that of
    /// `upstreams`.
    pub backend_entries: Vec<Vec<BackendEntry>>,
    /// How connections with the services that routes ask come about, in the order of the file; routes refer to them by index.
    pub service_ways: Vec<WaySettings>,
    /// The route table: which upstream gets which request.
    pub routes: RouteTable,
    /// How often clients are pinged where their route does not say otherwise; `None` = never.
    pub client_ping_interval: Option<Duration>,
    /// Deadlines of every wait on a client or a backend.
    pub timeouts: Timeouts,
    /// How sessions are ended when the process, a route or a backend goes.
    pub drain: Drain,
    /// Path of the socket on which a successor takes over the listening sockets; `None` = no hand-over.
    pub handover: Option<PathBuf>,
    /// Bounds on what clients, and all sessions together, may use.
    pub limits: Limits,
    /// With whom the limits on sessions are shared; `None` = they are those of this process.
    pub fleet: Option<FleetSettings>,
    /// Options of the TCP sockets, toward clients and backends.
    pub tcp: Tcp,
    /// The proxies whose word about a client's address longwire believes.
    pub trusted_proxies: Vec<Network>,
    /// The file of the key of sticky cookies; `None` = the process has a key of its own. Its path is resolved against the file's
    /// folder.
    pub sticky_key_file: Option<PathBuf>,
    /// Whether longwire adds itself to `Via`.
    pub via_header: bool,
    /// What longwire logs, and how.
    pub log: Log,
    /// The admin interface; `None` = there is none.
    pub admin: Option<Admin>,
    /// The far end of probes; `None` = there is none.
    pub probe: Option<ProbeSettings>,
    /// Where the spans of handshakes go; `None` = longwire makes no spans.
    pub tracing: Option<Tracing>,
    /// The file with every default filled in. It holds no secret: secrets stand in files of their own, or are not shown.
    pub written: serde_json::Value,
    /// Path of the file; `None` = the configuration came from flags or a text, so it cannot be read again.
    pub origin: Option<PathBuf>,
}

/// The admin interface, where an operator looks and gives orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// The address. An address beyond loopback needs a token.
    pub bind: AdminBind,
    /// The file of the token that every request under `/api` must carry; `None` = no token. Its path is resolved against the
    /// file's folder.
    pub token_file: Option<PathBuf>,
    /// Names under which the admin interface may be called, beside its address and `localhost`; lower case, without a port.
    pub hosts: Vec<String>,
}

/// The far end of `longwire probe`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeSettings {
    /// The exact path at which it is, on every listener and every host.
    pub path: String,
    /// The file of the token that a probe must show. Its path is resolved against the file's folder.
    pub token_file: PathBuf,
}

/// The address of the admin interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminBind {
    /// Address and port; port 0 = any free port.
    Tcp(SocketAddr),
    /// Path of a socket in the file system. The rights of the path say who may open it.
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

/// Where the spans of handshakes go. Needs a build with the feature `otlp`.
#[derive(Debug, Clone, PartialEq)]
pub struct Tracing {
    /// URL of a collector that takes OTLP over plain HTTP.
    pub endpoint: String,
    /// The name of this process at the collector.
    pub service_name: String,
    /// The share of traces that is exported, from 0 to 1, of the traces that begin here.
    pub sample: f64,
}

/// One address on which longwire accepts connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The address. It tells the listeners apart.
    pub bind: ListenAddress,
    /// Who may connect, if the address is a path.
    pub rights: SocketRights,
    /// Whose PROXY headers are believed; `None` = no connection begins with a header.
    pub proxy_protocol: Option<ProxyTrust>,
    /// The certificates, if this listener speaks TLS; `None` = in the clear.
    pub tls: Option<Tls>,
}

/// Whose PROXY headers a listener believes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyTrust {
    /// The networks of these proxies. Never empty. Each of their connections must begin with a header.
    pub from: Vec<Network>,
    /// Whether connections from elsewhere are closed. Otherwise they are served without a header.
    pub is_required: bool,
    /// From the first byte of a header to its last.
    pub timeout: Duration,
}

/// Where a listener is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListenAddress {
    /// Address and port; port 0 = any free port.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(UnixName),
}

impl ListenAddress {
    /// Address and port; `None` = a Unix socket.
    #[must_use]
    pub const fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl From<AdminBind> for ListenAddress {
    fn from(bind: AdminBind) -> Self {
        match bind {
            AdminBind::Tcp(address) => Self::Tcp(address),
            AdminBind::Unix(path) => Self::Unix(UnixName::Path(path)),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(name) => name.fmt(f),
        }
    }
}

impl Serialize for ListenAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The certificates of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The certificates, chosen by SNI; the first is the default. Never empty. Paths are resolved against the file's folder.
    pub certificates: Vec<CertificateFiles>,
    /// Make a self-signed first certificate at start when neither of its two files exists.
    pub self_signed: bool,
    /// Which certificates of clients are asked for and taken; `None` = none is asked for.
    pub client_auth: Option<ClientTrust>,
}

/// Which certificates of clients a listener takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTrust {
    /// Whether a client without a certificate is refused. One with a bad certificate always is.
    pub is_required: bool,
    /// The authorities, in a PEM file.
    pub ca: PathBuf,
    /// What the authorities have revoked; `None` = nothing.
    pub revocation: Option<Revocation>,
}

/// How revoked certificates are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// The revocation lists, in a PEM file.
    pub crl: PathBuf,
    /// Whether a list counts when it is out of date. If not, the certificates of its authority are refused then.
    pub takes_expired: bool,
    /// Whether a certificate is taken if no list is of its authority.
    pub takes_unknown: bool,
    /// Whether only the client's own certificate is looked up, and not those of the authorities between.
    pub leaf_only: bool,
}

/// A certificate chain and its key, in PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, leaf first.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// How connections with the backends of an upstream come about, apart from their addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WaySettings {
    /// TLS to the backends; `None` = plain TCP.
    pub tls: Option<BackendTls>,
}

/// TLS to the backends of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendTls {
    /// Who may have signed the certificates of the backends. Never empty.
    pub authorities: Vec<Authority>,
    /// The name that a backend is asked for and that its certificate must have; `None` = the host in the backend's address.
    pub server_name: Option<ServerName<'static>>,
    /// The name that the certificate must have, if it is another one.
    pub verify_name: Option<ServerName<'static>>,
    /// Whether a backend is asked for a name (SNI).
    pub sni: bool,
    /// Our own certificate, for backends that ask for one.
    pub certificate: Option<CertificateFiles>,
    /// The file of the revocation lists; `None` = no certificate is revoked.
    pub crl: Option<PathBuf>,
    /// Whether every backend is believed.
    pub insecure: bool,
}

/// Who signs certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authority {
    /// Those whom this machine trusts.
    System,
    /// Those of a PEM file. Its path is resolved against the file's folder.
    File(PathBuf),
}

/// Deadlines. None is zero. A route has its own `upgrade`, `response` and `idle`
/// ([`RouteTimeouts`](crate::routing::RouteTimeouts)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// From accept to the end of the TLS handshake.
    pub tls_handshake: Duration,
    /// From the first byte of a request to the end of its head; on a new connection, from the start.
    pub request_header: Duration,
    /// Between two reads of a request body.
    pub request_body: Duration,
    /// Between two requests of a connection.
    pub keep_alive: Duration,
    /// To connect to a backend, per attempt.
    pub connect: Duration,
    /// From the connection to the head of the backend's answer to a WebSocket handshake, per attempt.
    pub upgrade: Duration,
    /// To the head of a plain answer, per attempt; then between two reads of its body. `None` = no deadline.
    pub response: Option<Duration>,
    /// How long a session may carry no byte from either side; `None` = without end.
    pub idle: Option<Duration>,
    /// To end a session once its end has begun.
    pub close: Duration,
    /// From the signal to the exit.
    pub drain: Duration,
}

/// How sessions are ended when the process, a route or a backend goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// How long readiness fails before the drain does anything else.
    pub wait: Duration,
    /// The close code that both sides of a session read.
    pub close_code: CloseCode,
    /// The time over which sessions are told, one after another.
    pub spread: Duration,
    /// Whether longwire ends a session whose backend or route a reload removes.
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
    /// Bounds on the messages, frames and bytes of each session.
    pub messages: MessageLimits,
    /// Bytes of all sessions together that wait for slow readers; `None` = no limit.
    pub unsent_memory: Option<usize>,
    /// Bytes of all sessions together that are kept for clients that may come back; `None` = no limit.
    pub resume_memory: Option<usize>,
    /// Sessions that wait for their clients to come back; `None` = no limit.
    pub away: Option<usize>,
    /// How longwire refuses a handshake that the client may try again later.
    pub refuse: Refuse,
}

/// How longwire refuses a handshake that the client may try again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refuse {
    /// 429 or 503 with `Retry-After`.
    Http,
    /// A 101 of our own, then Close 1013 with the reason.
    Close,
}

/// Socket options, toward clients and backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tcp {
    /// Silence after which the kernel probes (`TCP_KEEPIDLE`); `None` = no kernel keepalive.
    pub keepalive_idle: Option<Duration>,
    /// Time between two probes (`TCP_KEEPINTVL`).
    pub keepalive_interval: Duration,
    /// Unanswered probes after which the connection is dead (`TCP_KEEPCNT`).
    pub keepalive_probes: u32,
    /// How long sent bytes may stay unacknowledged (`TCP_USER_TIMEOUT`); `None` = the kernel's default.
    pub user_timeout: Option<Duration>,
}

/// What longwire logs, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// The form of every line.
    pub format: LogFormat,
    /// Which messages are written: `error`, `warn`, `info`, `debug`, `trace`, or a `tracing` filter.
    pub level: String,
    /// Whether longwire writes a record of each session and each request.
    pub access: bool,
    /// File of the records; `None` = standard output.
    pub file: Option<PathBuf>,
    /// Of plain requests that went well, longwire writes one in this many.
    pub sample_requests: NonZeroU32,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object in each line.
    Json,
    /// `key=value`, for people.
    Text,
}
