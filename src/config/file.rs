//! The mirror of `proxy.yaml`: every key, its type, its default and (in its doc comment) its description.
//!
//! The JSON Schema that `longwire schema` prints is made from these types, and the checker walks a file against that
//! schema: a key is added here and nowhere else. No `flatten` and no untagged enums, which would blur both.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::{JsonSchema, Schema, generate::SchemaSettings, transform::RecursiveTransform};
use serde::{Deserialize, Serialize};

use super::{
    addresses::{AdminBind, BackendAddress, Bind},
    sides::PongTimeout,
    statuses::Statuses,
    tracing::{Collector, Share},
    values::{Cidr, Duration, Moment, Size, Workers},
};

/// The configuration of longwire.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[schemars(title = "proxy.yaml of longwire")]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    /// Worker threads, each with a runtime of its own; `auto` = one per core.
    pub(super) workers: Workers,
    /// How long sessions wait, after a wake-up of their worker, to be read together: fewer wake-ups, up to so much more delay in each
    /// direction. 0us = not at all; at most 2ms.
    pub(super) coalesce: Moment,
    /// Where connections are accepted. At least one.
    pub(super) listeners: Vec<Listener>,
    /// Named groups of backends. At least one.
    pub(super) upstreams: BTreeMap<String, Upstream>,
    /// Which request goes where: an exact host before a wildcard before none, then the longest path. At least one.
    pub(super) routes: Vec<Route>,
    /// Pings of quiet sessions; the default for all routes.
    pub(super) keepalive: Keepalive,
    /// Deadlines of every wait on a client or a backend.
    pub(super) timeouts: Timeouts,
    /// How sessions are ended when the process, a route or a backend goes.
    pub(super) drain: Drain,
    /// Path of a Unix socket where a process that is started with the same file takes over the listening sockets; this
    /// one then drains. Replaces a socket that nobody answers on, and nothing else. Relative to this file's folder. Absent: no
    /// hand-over.
    pub(super) handover: Option<PathBuf>,
    /// Bounds on what clients, and all sessions together, may use.
    pub(super) limits: Limits,
    /// Socket options, toward clients and backends.
    pub(super) tcp: Tcp,
    /// Networks (CIDR) whose X-Forwarded-For is believed.
    pub(super) trusted_proxies: Vec<Cidr>,
    /// Add this hop to Via, toward backends and clients.
    pub(super) via_header: bool,
    /// What is logged, and how.
    pub(super) log: Log,
    /// Where an operator may look and order. Absent: nowhere.
    pub(super) admin: Option<Admin>,
    /// Where the spans of handshakes go, in a build with the feature otlp. Absent: nowhere.
    pub(super) tracing: Option<Tracing>,
}

/// One address to accept connections on.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Listener {
    /// IP address and port, e.g. 0.0.0.0:8080; port 0 = any free one.
    pub(super) bind: Bind,
    /// Speak TLS here. Absent: plain TCP.
    #[serde(default)]
    pub(super) tls: Option<Tls>,
}

/// The certificates of a listener: `cert` and `key`, or `certificates`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Tls {
    /// PEM file of the certificate chain, leaf first; relative to this file's folder.
    pub(super) cert: Option<PathBuf>,
    /// PEM file of the private key; relative to this file's folder.
    pub(super) key: Option<PathBuf>,
    /// Make a self-signed certificate at the first start if neither file exists. For development.
    pub(super) self_signed: bool,
    /// Several certificates, chosen by SNI; the first is the default.
    pub(super) certificates: Vec<CertificateFiles>,
}

/// A certificate chain and its key.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CertificateFiles {
    /// PEM file of the certificate chain, leaf first; relative to this file's folder.
    pub(super) cert: PathBuf,
    /// PEM file of the private key; relative to this file's folder.
    pub(super) key: PathBuf,
}

/// A named group of backends.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Upstream {
    /// How a backend is chosen.
    pub(super) balance: Balance,
    /// With ip_hash and hash: leading bits of an IPv4 client address that count; 24 groups clients as nginx does.
    #[schemars(range(min = 0, max = 32))]
    pub(super) hash_prefix_v4: u8,
    /// With hash: where the value is that is hashed. One of its keys.
    pub(super) hash_on: Option<HashOn>,
    /// How long the weight of a backend grows that came back, or is new beside others; 0s = not at all.
    pub(super) slow_start: Duration,
    /// Failures within `fail_timeout` that take a backend out; 0 = never.
    #[schemars(range(min = 0, max = 1000))]
    pub(super) max_fails: u32,
    /// The window in which failures are counted, and how long a backend then stays out.
    pub(super) fail_timeout: Duration,
    /// Backends tried for one request; 0 = all.
    #[schemars(range(min = 0, max = 1000))]
    pub(super) tries: u32,
    /// WebSocket handshakes in flight that a backend takes at most; 0 = no limit.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub(super) max_handshakes: usize,
    /// With max_handshakes: handshakes that wait for a place, at most `timeouts.connect` each; 0 = none.
    #[schemars(range(min = 0, max = 65536))]
    pub(super) handshake_queue: usize,
    /// Whose requests may share a connection with a backend, one after another.
    pub(super) reuse: Reuse,
    /// How backends are checked while no request tells how they are. Absent: not at all.
    pub(super) health_check: Option<HealthCheck>,
    /// The servers of this group. At least one.
    pub(super) backends: Vec<Backend>,
}

/// How a backend is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Balance {
    /// By a value of the request (`hash_on`), or by the client's address where it has none.
    Hash,
    /// By the client's address: the same client goes to the same backend while that is up.
    IpHash,
    /// Fewest sessions and requests in flight per weight.
    LeastConn,
    /// Two drawn by weight, and of these the one with fewer sessions and requests in flight per weight.
    RandomTwo,
    /// In turn, by weight.
    RoundRobin,
}

/// Whose requests may share a connection with a backend, one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reuse {
    /// Every client's, where a request can be sent again and nothing authenticates the connection.
    Safe,
    /// Nobody's: each request has a connection of its own.
    Never,
}

/// Where the value is that `balance: hash` goes by; the first one counts, and an empty one is none.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HashOn {
    /// A header's name.
    pub(super) header: Option<String>,
    /// A cookie's name, in its letter case.
    pub(super) cookie: Option<String>,
    /// A key of the query, in its letter case; nothing is decoded.
    pub(super) query: Option<String>,
}

/// How backends are checked while no request tells how they are.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HealthCheck {
    /// What is asked of a backend.
    pub(super) kind: CheckKind,
    /// With http and websocket: path and query.
    pub(super) path: String,
    /// With http: statuses that pass, such as 200-399 or "200,204".
    pub(super) status: Statuses,
    /// With http and websocket: the Host header. Absent: the backend's address.
    pub(super) host: Option<String>,
    /// From the end of a check to the next.
    pub(super) interval: Duration,
    /// Up to so much more, at random.
    pub(super) jitter: Duration,
    /// For the whole of a check.
    pub(super) timeout: Duration,
    /// Checks in a row that pass until a backend is back.
    #[schemars(range(min = 1, max = 1000))]
    pub(super) rise: u32,
    /// Checks in a row that fail until a backend is out.
    #[schemars(range(min = 1, max = 1000))]
    pub(super) fall: u32,
    /// What becomes of the sessions of a backend that its checks took out.
    pub(super) on_down: OnDown,
}

/// What a check asks of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum CheckKind {
    /// That it takes a connection.
    Tcp,
    /// That it answers a GET.
    Http,
    /// That it completes a WebSocket handshake and answers a Ping.
    Websocket,
}

/// What becomes of the sessions of a backend that its checks took out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum OnDown {
    /// They stay.
    Keep,
    /// They are told to come back (1012).
    Drain,
}

/// One server of an upstream.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Backend {
    /// host:port, e.g. 127.0.0.1:9001.
    pub(super) address: BackendAddress,
    /// Its share beside the others.
    #[serde(default = "Backend::default_weight")]
    #[schemars(range(min = 1, max = 65535))]
    pub(super) weight: u32,
    /// Sessions and requests in flight it takes at most; 0 = no limit.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub(super) max_conns: usize,
    /// Used only when no other backend can be. Allowed with ip_hash too, unlike in nginx.
    #[serde(default)]
    pub(super) backup: bool,
    /// Never used; keeps its place in the hash, so that the other clients stay where they are.
    #[serde(default)]
    pub(super) down: bool,
}

/// Which requests go to which upstream.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Route {
    /// Host name, or *.example.com for all below it; port and letter case do not matter. Absent: any host.
    #[serde(default)]
    pub(super) host: Option<String>,
    /// Prefix of the raw path.
    #[serde(default = "Route::default_path")]
    pub(super) path: String,
    /// The upstream's name.
    pub(super) upstream: String,
    /// Origins whose pages may open a WebSocket here, e.g. `https://example.com` or `https://*.example.com`; none = any.
    #[serde(default)]
    pub(super) origins: Vec<String>,
    /// What this route does otherwise than the top-level `keepalive`.
    #[serde(default)]
    pub(super) keepalive: KeepaliveOverride,
    /// What this route does otherwise than the top-level `timeouts`.
    #[serde(default)]
    pub(super) timeouts: TimeoutsOverride,
    /// A session is ended with 1012 after this time, less a tenth at most by lot; 0s = never. For paths whose limit is
    /// a lifetime: end before they cut.
    #[serde(default = "Route::default_max_lifetime")]
    pub(super) max_lifetime: Duration,
}

/// Pings of quiet sessions.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Keepalive {
    /// Silence toward a side, or from it, after which it is pinged; 0s = never.
    pub(super) ping_interval: Duration,
    /// No byte at all for this long after a ping: the side is dead; 0s = never judge. One duration for both sides, or one for
    /// each: a backend that works on something answers no ping meanwhile.
    pub(super) pong_timeout: PongTimeout,
    /// Which sides are pinged.
    pub(super) sides: Vec<Side>,
}

/// One end of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Side {
    /// Who connected to us.
    Client,
    /// Whom we connected to.
    Backend,
}

/// Keepalive of one route: what is absent is taken from the top-level `keepalive`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct KeepaliveOverride {
    /// Silence toward a side, or from it, after which it is pinged; 0s = never.
    pub(super) ping_interval: Option<Duration>,
    /// No byte at all for this long after a ping: the side is dead; 0s = never judge. One duration for both sides, or one for
    /// each.
    pub(super) pong_timeout: Option<PongTimeout>,
    /// Which sides are pinged.
    pub(super) sides: Option<Vec<Side>>,
}

/// Deadlines of one route: what is absent is taken from the top-level `timeouts`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TimeoutsOverride {
    /// From the connection to the head of a backend's answer to a WebSocket handshake, per attempt.
    pub(super) upgrade: Option<Duration>,
    /// To the head of a plain answer, per attempt; then between two reads of its body, but not of an event stream; 0s =
    /// never.
    pub(super) response: Option<Duration>,
    /// No byte from either side of a session, or of an answer that is an event stream; 0s = never.
    pub(super) idle: Option<Duration>,
}

/// Deadlines of every wait on a client or a backend.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Timeouts {
    /// From accept to the end of the TLS handshake.
    pub(super) tls_handshake: Duration,
    /// From the first byte a connection owes to the end of a request's head.
    pub(super) request_header: Duration,
    /// Between two reads of a request's body.
    pub(super) request_body: Duration,
    /// Between two requests of a connection.
    pub(super) keep_alive: Duration,
    /// To connect to a backend, per attempt.
    pub(super) connect: Duration,
    /// From there to the head of a backend's answer to a WebSocket handshake, per attempt; the default for all routes.
    pub(super) upgrade: Duration,
    /// To the head of a plain answer, per attempt; then between two reads of its body, but not of an event stream; 0s =
    /// never. The default for all routes.
    pub(super) response: Duration,
    /// No byte from either side of a session, Pongs to our own Pings included, or of an answer that is an event stream; 0s
    /// = never. The default for all routes.
    pub(super) idle: Duration,
    /// To end a session once its end has begun.
    pub(super) close: Duration,
    /// From SIGTERM to the exit.
    pub(super) drain: Duration,
}

/// How sessions are ended when the process, a route or a backend goes. The deadline is `timeouts.drain`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Drain {
    /// After SIGTERM, how long /readyz fails while everything is still served, so that load balancers look away first.
    pub(super) wait: Duration,
    /// The code that both sides of a session read: 1001, 1012, 1013, or 3000 to 4999.
    #[schemars(range(min = 1000, max = 4999))]
    pub(super) close_code: u16,
    /// Sessions are told one by one over this time, at most half of what `timeouts.drain` leaves, and a second for every 20
    /// sessions.
    pub(super) spread: Duration,
    /// What becomes of sessions whose backend or route a reload takes away.
    pub(super) on_removed: OnRemoved,
}

/// What becomes of sessions whose backend or route a reload takes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum OnRemoved {
    /// They go on.
    Keep,
    /// They are ended with `close_code` over `spread`.
    Close,
}

/// Bounds on what clients, and all sessions together, may use.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    /// Bytes of a request's head: 8KiB to 1MiB.
    pub(super) header_size: Size,
    /// Header fields of a request.
    #[schemars(range(min = 1, max = 1000))]
    pub(super) headers: usize,
    /// Header fields of a backend's answer; more is 502.
    #[schemars(range(min = 1, max = 1000))]
    pub(super) answer_headers: usize,
    /// Bytes of a request's body; 0B = no limit.
    pub(super) body_size: Size,
    /// Sessions open at once; 0 = no limit.
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub(super) sessions: usize,
    /// Sessions open at once of one client address (IPv6: of one /64); 0 = no limit.
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub(super) sessions_per_client: usize,
    /// New sessions per second, as many at once; 0 = no limit.
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub(super) new_sessions: u32,
    /// New sessions per second of one client address (IPv6: of one /64), as many at once; 0 = no limit.
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub(super) new_sessions_per_client: u32,
    /// Payload of one message from a client; 0B = no limit.
    pub(super) message_size: Size,
    /// Payload of one frame from a client; 0B = no limit.
    pub(super) frame_size: Size,
    /// Payload of one message from a backend; 0B = no limit.
    pub(super) backend_message_size: Size,
    /// Frames per second from a client, Pings and Pongs too, as many at once; 0 = no limit.
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub(super) messages_per_second: u32,
    /// Bytes per second from a client, as many at once; 0B = no limit.
    pub(super) bytes_per_second: Size,
    /// Bytes of all sessions together that wait for who does not take them; 0B = no limit.
    pub(super) unsent_memory: Size,
    /// How a handshake is refused that may be tried again later.
    pub(super) refuse: Refuse,
}

/// How a handshake is refused that may be tried again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Refuse {
    /// 429 or 503 with Retry-After.
    Http,
    /// 101, then Close 1013 with the reason: a browser's page cannot read a status.
    Close,
}

/// Socket options, toward clients and backends.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Tcp {
    /// Silence before the kernel probes (TCP_KEEPIDLE), whole seconds; 0s = no kernel keepalive.
    pub(super) keepalive_idle: Duration,
    /// Between two probes (TCP_KEEPINTVL), whole seconds.
    pub(super) keepalive_interval: Duration,
    /// Unanswered probes after which the connection is dead (TCP_KEEPCNT).
    #[schemars(range(min = 1, max = 127))]
    pub(super) keepalive_probes: u32,
    /// How long sent bytes may stay unacknowledged (TCP_USER_TIMEOUT); 0s = the kernel's default.
    pub(super) user_timeout: Duration,
}

/// Where an operator may look and order.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Admin {
    /// IP address and port, or unix:/path of a socket, relative to this file's folder. Beyond loopback it needs a token.
    pub(super) bind: AdminBind,
    /// File of the token that every request under /api then needs; relative to this file's folder.
    #[serde(default)]
    pub(super) token_file: Option<PathBuf>,
    /// Names by which the interface is called, beside its address and localhost.
    #[serde(default)]
    pub(super) hosts: Vec<String>,
}

/// Where the spans of handshakes go, in a build with the feature otlp.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Tracing {
    /// URL of a collector that takes OTLP over plain HTTP; /v1/traces where it has no path.
    pub(super) endpoint: Collector,
    /// What the collector calls this process.
    #[serde(default = "Tracing::default_service_name")]
    pub(super) service_name: String,
    /// Of the traces that begin here, the share that is sampled, from 0 to 1; what a client has begun goes by its mark.
    #[serde(default = "Tracing::default_sample")]
    pub(super) sample: Share,
}

/// What is logged, and how.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Log {
    /// The form of every line.
    pub(super) format: LogFormat,
    /// error, warn, info, debug, trace or a `tracing` filter such as info,longwire::net=debug.
    pub(super) level: String,
    /// Write the record of each session and request, one line at its end.
    pub(super) access: bool,
    /// File of the records, relative to this file's folder; SIGUSR1 opens it again. Absent: standard output.
    pub(super) file: Option<PathBuf>,
    /// Of plain requests that went well, one in so many is written; sessions, refusals and failures all are.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(super) sample_requests: u32,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum LogFormat {
    /// One JSON object a line.
    Json,
    /// key=value, for people.
    Text,
}

impl File {
    /// The JSON Schema of the file.
    pub(super) fn schema() -> serde_json::Value {
        SchemaSettings::draft2020_12()
            .with_transform(RecursiveTransform(without_null))
            .into_generator()
            .into_root_schema_for::<Self>()
            .to_value()
    }
}

/// An optional key is left out, never written as null: so the schema does not offer null either.
fn without_null(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    match object.get_mut("default") {
        Some(serde_json::Value::Null) => drop(object.remove("default")),
        Some(serde_json::Value::Object(section)) => section.retain(|_, value| !value.is_null()),
        _ => {}
    }
    if let Some(types) = object.get_mut("type").and_then(|t| t.as_array_mut()) {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".into(), only);
        }
    }
    if let Some(choices) = object.get_mut("anyOf").and_then(|c| c.as_array_mut()) {
        choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
        if let [serde_json::Value::Object(only)] = choices.as_slice() {
            let only = only.clone();
            object.remove("anyOf");
            object.extend(only);
        }
    }
}

impl Default for File {
    fn default() -> Self {
        Self {
            workers: Workers(None),
            coalesce: Moment(std::time::Duration::ZERO),
            listeners: Vec::new(),
            upstreams: BTreeMap::new(),
            routes: Vec::new(),
            keepalive: Keepalive::default(),
            timeouts: Timeouts::default(),
            drain: Drain::default(),
            handover: None,
            limits: Limits::default(),
            tcp: Tcp::default(),
            trusted_proxies: Vec::new(),
            via_header: false,
            log: Log::default(),
            admin: None,
            tracing: None,
        }
    }
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            balance: Balance::IpHash,
            hash_prefix_v4: 32,
            hash_on: None,
            slow_start: Duration::from_secs(0),
            max_fails: 3,
            fail_timeout: Duration::from_secs(30),
            tries: 3,
            max_handshakes: 0,
            handshake_queue: 128,
            reuse: Reuse::Safe,
            health_check: None,
            backends: Vec::new(),
        }
    }
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            kind: CheckKind::Tcp,
            path: "/".into(),
            status: Statuses::default(),
            host: None,
            interval: Duration::from_secs(5),
            jitter: Duration::from_secs(1),
            timeout: Duration::from_secs(2),
            rise: 2,
            fall: 3,
            on_down: OnDown::Keep,
        }
    }
}

impl Backend {
    fn default_weight() -> u32 {
        1
    }

    /// A backend of which only the address is said.
    pub(super) fn at(address: BackendAddress) -> Self {
        Self { address, weight: Self::default_weight(), max_conns: 0, backup: false, down: false }
    }
}

impl Route {
    fn default_path() -> String {
        "/".into()
    }

    fn default_max_lifetime() -> Duration {
        Duration::from_secs(0)
    }

    /// Everything to one upstream.
    pub(super) fn all_to(upstream: String) -> Self {
        Self {
            host: None,
            path: Self::default_path(),
            upstream,
            origins: Vec::new(),
            keepalive: KeepaliveOverride::default(),
            timeouts: TimeoutsOverride::default(),
            max_lifetime: Self::default_max_lifetime(),
        }
    }
}

impl Tracing {
    fn default_service_name() -> String {
        "longwire".into()
    }

    const fn default_sample() -> Share {
        Share(1.0)
    }
}

impl Default for Keepalive {
    fn default() -> Self {
        Self {
            // Less than half of 55 s, the shortest common idle limit on a path: one lost ping costs nothing.
            ping_interval: Duration::from_secs(25),
            pong_timeout: PongTimeout::default(),
            sides: vec![Side::Client, Side::Backend],
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tls_handshake: Duration::from_secs(10),
            request_header: Duration::from_secs(10),
            request_body: Duration::from_secs(60),
            keep_alive: Duration::from_secs(75),
            connect: Duration::from_secs(5),
            // As nginx: notebook kernels take a dozen seconds to start.
            upgrade: Duration::from_secs(60),
            response: Duration::from_secs(60),
            idle: Duration::from_secs(0),
            close: Duration::from_secs(5),
            drain: Duration::from_secs(30),
        }
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            wait: Duration::from_secs(0),
            close_code: 1012,
            spread: Duration::from_secs(15),
            on_removed: OnRemoved::Keep,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_size: Size::kib(32),
            headers: 100,
            answer_headers: 256,
            body_size: Size::kib(0),
            sessions: 0,
            sessions_per_client: 0,
            new_sessions: 0,
            new_sessions_per_client: 0,
            message_size: Size::kib(0),
            frame_size: Size::kib(0),
            backend_message_size: Size::kib(0),
            messages_per_second: 0,
            bytes_per_second: Size::kib(0),
            unsent_memory: Size::kib(0),
            refuse: Refuse::Http,
        }
    }
}

impl Default for Tcp {
    fn default() -> Self {
        Self {
            keepalive_idle: Duration::from_secs(300),
            keepalive_interval: Duration::from_secs(30),
            keepalive_probes: 5,
            user_timeout: Duration::from_secs(30),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Json, level: "info".into(), access: true, file: None, sample_requests: 1 }
    }
}
