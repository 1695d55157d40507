//! The mirror of `proxy.yaml`: every key, its type, its default and (in its doc comment) its description.
//!
//! The JSON Schema that `longwire schema` prints is made from these types, and the checker walks a file against that
//! schema: a key is added here and nowhere else. No `flatten` and no untagged enums, which would blur both.

mod auth_request;
mod backend_tls;
mod client_auth;
mod compression;
mod discovery;
mod fleet;
mod header_rules;
mod hold;
mod listed;
mod probe;
mod proxy_protocol;
mod redirect;
mod resume;
mod rewrite;
mod sticky_cookie;
mod via;

use std::{collections::BTreeMap, path::PathBuf};

use schemars::{JsonSchema, Schema, generate::SchemaSettings, transform::RecursiveTransform};
use serde::{Deserialize, Serialize};

pub(super) use self::auth_request::{AuthRequestSetting, ServiceTls};
pub(super) use self::backend_tls::{Authorities, UpstreamTls};
pub(super) use self::client_auth::{
    ClientAuth, ClientAuthMode, ClientCert, CrlExpired, ForwardedCert, RevocationDepth, UnknownRevocation,
};
use super::{
    addresses::{AdminAddress, BackendAddress, Bind},
    names::{DnsAddress, ServiceName},
    rights::{Account, Mode},
    sides::TimeoutPerSide,
    statuses::Statuses,
    tracing::{Collector, TraceShare},
    values::{Cidr, ClientNetwork, Duration, DurationOrAuto, ShortDuration, Size, Workers},
};

pub(super) use self::{
    discovery::{AddressFamily, Discovery},
    listed::ListedBackend,
    probe::ProbeSetting,
    proxy_protocol::{ProxyProtocol, SentTlv, SentVersion},
};
pub(super) use compression::CompressionOffer;
pub(super) use fleet::FleetSetting;
pub(super) use header_rules::HeaderChanges;
pub(super) use hold::HoldSetting;
pub(super) use redirect::{RedirectScheme, RedirectSetting};
pub(super) use resume::ResumeSetting;
pub(super) use rewrite::RewriteSetting;
pub(super) use sticky_cookie::{SameSiteWord, SecureWord, StickyCookieSetting};
pub(super) use via::ViaEntry;

/// The configuration of longwire.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[schemars(title = "proxy.yaml of longwire")]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    /// Threads that carry connections, each with a runtime of its own. `auto` = one per core.
    pub(super) workers: Workers,
    /// How long a worker may wait before it reads its sessions again, so that one wake-up serves many sessions. Saves processor
    /// time where messages are thinly spread, and delays each direction by up to that time. At most 2ms; 0us = off.
    pub(super) coalesce: ShortDuration,
    /// Where longwire accepts connections. At least one.
    pub(super) listeners: Vec<Listener>,
    /// Named groups of backends. At least one.
    pub(super) upstreams: BTreeMap<String, Upstream>,
    /// Which request goes to which upstream. An exact host goes before a wildcard, a wildcard before no host; then the longest
    /// path wins; then a redirect goes before another route. At least one.
    pub(super) routes: Vec<Route>,
    /// What stands between clients and here, in any order: names of presets (`longwire paths` lists them), or entries with
    /// figures of their own. `ping_interval: auto` and `max_lifetime: auto` follow from them, and `check` warns of what does not
    /// fit them. A route can name another path. docs/behaviour.md has the rules.
    pub(super) via: Vec<ViaEntry>,
    /// Pings of quiet sessions. A route can override them.
    pub(super) keepalive: Keepalive,
    /// The deadline of every wait on a client or a backend. Only `response` and `idle` can be 0s.
    pub(super) timeouts: Timeouts,
    /// How longwire ends sessions when the process, a route or a backend goes. The deadline is `timeouts.drain`.
    pub(super) drain: Drain,
    /// Path of a Unix socket. A new process that is started with the same file takes over the listening sockets there; the old
    /// process then drains. longwire replaces a socket at this path on which nobody answers, and no other file. Relative to the
    /// folder of this file. Absent: no hand-over.
    pub(super) handover: Option<PathBuf>,
    /// Bounds on what clients, and all sessions together, may use.
    pub(super) limits: Limits,
    /// Makes limits hold for several proxies together: `limits.sessions` and `limits.sessions_per_client` by counts that a Valkey or
    /// Redis server has, `limits.new_sessions` and `limits.new_sessions_per_client` by an equal share for each. docs/fleet.md has the
    /// rules. Absent: each proxy has its limits for itself.
    pub(super) fleet: Option<FleetSetting>,
    /// Socket options, for clients and backends.
    pub(super) tcp: Tcp,
    /// Networks (CIDR) of the proxies whose X-Forwarded-For longwire believes; `unix` = those that come by a Unix socket.
    pub(super) trusted_proxies: Vec<Cidr>,
    /// File of the key for the cookies of `sticky_cookie`: one line of base64, 32 bytes or more when decoded. All proxies of a
    /// fleet need the same one. Relative to the folder of this file; read again on reload. Absent: a random key, which lasts over
    /// reloads and hand-overs, but not over a restart.
    pub(super) sticky_key_file: Option<PathBuf>,
    /// Add `1.1 longwire` to Via, in requests and answers. An nginx behind longwire then compresses no answer, because it
    /// compresses none to a request with Via.
    pub(super) via_header: bool,
    /// What longwire logs, and how.
    pub(super) log: Log,
    /// The admin interface, where an operator looks and gives orders. Absent: no admin interface.
    pub(super) admin: Option<Admin>,
    /// The far end of `longwire probe`: a WebSocket that ends in longwire and obeys who shows a token. Absent: longwire answers no
    /// probes.
    pub(super) probe: Option<ProbeSetting>,
    /// Where longwire sends the spans of handshakes, in a build with the feature otlp. Absent: no spans.
    pub(super) tracing: Option<Tracing>,
}

/// One address to accept connections on.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Listener {
    /// IP address and port, e.g. 0.0.0.0:8080; port 0 = any free port. Or a Unix socket: unix:/path with the whole path, or
    /// unix:@name for an abstract one. longwire replaces a socket at this path on which nobody answers, and no other file.
    pub(super) bind: Bind,
    /// With a path: the mode of the socket's file, four octal digits in quotes. It holds before anybody can connect. Absent: 0660.
    #[serde(default)]
    pub(super) mode: Option<Mode>,
    /// With a path: the user that has the socket's file, by name or number. Absent: the user of longwire.
    #[serde(default)]
    pub(super) owner: Option<Account>,
    /// With a path: the group that has the socket's file, by name or number. Absent: the group of longwire.
    #[serde(default)]
    pub(super) group: Option<Account>,
    /// Headers of proxies that stand in front of longwire. Absent: no connection begins with such a header.
    #[serde(default)]
    pub(super) proxy_protocol: Option<ProxyProtocol>,
    /// TLS on this listener. Absent: in the clear.
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
    /// Make a self-signed pair of `cert` and `key` at the first start if neither file exists. For development.
    pub(super) self_signed: bool,
    /// Several certificates, chosen by the name that the client asks for (SNI). The first is the default.
    pub(super) certificates: Vec<CertificateFiles>,
    /// Certificates of clients (mTLS). Absent: no client is asked for one.
    pub(super) client_auth: Option<ClientAuth>,
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
    /// How longwire chooses a backend.
    pub(super) balance: Balance,
    /// With `ip_hash` and `hash`: the leading bits of an IPv4 client address that count. 24 groups clients as nginx does.
    #[schemars(range(min = 0, max = 32))]
    pub(super) hash_prefix_v4: u8,
    /// With `hash`: the part of the request that is hashed. One of its keys. The first such value counts. A request without
    /// it, or with an empty one, is hashed by the client's address.
    pub(super) hash_on: Option<HashOn>,
    /// How long the weight of a backend grows, from a twentieth to the whole, after the backend came back or was added beside
    /// others. With `least_conn`, `random_two` and `round_robin`. 0s = at once.
    pub(super) slow_start: Duration,
    /// Failures within `fail_timeout` that take a backend out; 0 = never.
    #[schemars(range(min = 0, max = 1000))]
    pub(super) max_fails: u32,
    /// The window in which failures are counted, and how long a backend then stays out.
    pub(super) fail_timeout: Duration,
    /// Backends that longwire tries for one request; 0 = all.
    #[schemars(range(min = 0, max = 1000))]
    pub(super) tries: u32,
    /// WebSocket handshakes that a backend may have in flight; 0 = no limit.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub(super) max_handshakes: usize,
    /// With `max_handshakes`: handshakes that may wait for a place, each for `timeouts.connect` at most; 0 = none waits.
    #[schemars(range(min = 0, max = 65536))]
    pub(super) handshake_queue: usize,
    /// Which requests may share a connection with a backend, one after another. docs/backend-connections.md has the rules.
    pub(super) reuse: Reuse,
    /// The version of the PROXY protocol with which longwire tells each connection to a backend whose connection it is, before
    /// all else. Absent: longwire tells nothing.
    pub(super) proxy_protocol: Option<SentVersion>,
    /// With `proxy_protocol: v2`: what the header says beside the addresses, as far as longwire knows it of the client.
    pub(super) tlvs: Vec<SentTlv>,
    /// TLS to the backends, 1.2 or 1.3, for sessions, plain requests and checks. `{ }` is enough where this machine trusts their
    /// certificates. Absent: plain TCP.
    pub(super) tls: Option<UpstreamTls>,
    /// Active checks of the backends. Absent: no checks.
    pub(super) health_check: Option<HealthCheck>,
    /// What stands between here and the backends, as in the top-level `via`.
    pub(super) via: Vec<ViaEntry>,
    /// How the names of `dns` and `srv` under `backends` are looked up.
    pub(super) discovery: Discovery,
    /// The servers of this upstream, or where they are found. At least one entry.
    pub(super) backends: Vec<Backend>,
}

/// How a backend is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Balance {
    /// By a value of the request (`hash_on`).
    Hash,
    /// By the client's address. A client stays with its backend while that backend is up.
    IpHash,
    /// The backend with the fewest sessions and requests in flight, by weight.
    LeastConn,
    /// Of two backends drawn by weight, the one with fewer sessions and requests in flight, by weight.
    RandomTwo,
    /// In turn, by weight.
    RoundRobin,
}

/// Whose requests may share a connection with a backend, one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reuse {
    /// Requests of every client, where a request can be sent again and nothing authenticates the connection.
    Safe,
    /// None: each request has a connection of its own.
    Never,
}

/// The part of the request that `balance: hash` goes by. The first such value of a request counts; an empty value is none.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HashOn {
    /// The value of this header.
    pub(super) header: Option<String>,
    /// The value of this cookie. The letter case of the name counts.
    pub(super) cookie: Option<String>,
    /// The value of this key of the query. The letter case of the name counts; nothing is decoded.
    pub(super) query: Option<String>,
}

/// Active checks of backends.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HealthCheck {
    /// What longwire asks of a backend.
    pub(super) kind: CheckKind,
    /// With `http` and `websocket`: path and query of the request.
    pub(super) path: String,
    /// With `http`: the statuses that pass, such as 200-399 or "200,204".
    pub(super) status: Statuses,
    /// With `http` and `websocket`: the Host header. Absent: the address of the backend, or `localhost` for a Unix socket.
    pub(super) host: Option<String>,
    /// From the end of a check to the next check.
    pub(super) interval: Duration,
    /// A random time up to this is added to `interval`.
    pub(super) jitter: Duration,
    /// The deadline of a whole check.
    pub(super) timeout: Duration,
    /// Checks in a row that must pass until a backend is back.
    #[schemars(range(min = 1, max = 1000))]
    pub(super) rise: u32,
    /// Checks in a row that must fail until a backend is out.
    #[schemars(range(min = 1, max = 1000))]
    pub(super) fall: u32,
    /// What happens to the sessions of a backend that its checks took out.
    pub(super) on_down: OnDown,
}

/// What longwire asks of a backend in a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum CheckKind {
    /// The backend must take a connection, with `tls` to the end of its handshake.
    Tcp,
    /// The backend must answer a GET.
    Http,
    /// The backend must complete a WebSocket handshake and answer a Ping.
    Websocket,
}

/// What becomes of the sessions of a backend that its checks took out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum OnDown {
    /// The sessions stay.
    Keep,
    /// longwire ends the sessions with 1012, so that the clients come back.
    Drain,
}

/// One server of an upstream (`address`), or where servers are found (`dns`, `srv` or `file`).
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-usual" = "address"))]
pub(super) struct Backend {
    /// host:port, e.g. 127.0.0.1:9001; or a Unix socket, unix:/path with the whole path, or unix:@name for an abstract one. The
    /// backend must speak HTTP/1.1 there, over TLS if the upstream has `tls`.
    #[serde(default)]
    pub(super) address: Option<BackendAddress>,
    /// A name and a port. Every address of the name is a backend, as long as the name has the address. docs/discovery.md has the
    /// rules.
    #[serde(default)]
    pub(super) dns: Option<DnsAddress>,
    /// The name of a service, e.g. _ws._tcp.chat.example.com. Its SRV records say the names, ports and weights of its backends,
    /// and which serve first.
    #[serde(default)]
    pub(super) srv: Option<ServiceName>,
    /// YAML or JSON file with a list of backends, which longwire reads again whenever it changes; relative to the folder of this
    /// file. The entries of the list have the keys of `backends`, but each has an `address`. docs/discovery.md has the rules.
    #[serde(default)]
    pub(super) file: Option<PathBuf>,
    /// The share of this backend beside the others.
    #[serde(default = "Backend::default_weight")]
    #[schemars(range(min = 1, max = 65535))]
    pub(super) weight: u32,
    /// Sessions and requests in flight that this backend takes; 0 = no limit.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub(super) max_conns: usize,
    /// Use this backend only when no other backend can be used. Allowed with `ip_hash` too, unlike in nginx.
    #[serde(default)]
    pub(super) backup: bool,
    /// Never use this backend. It keeps its place in the hash, so the clients of the other backends stay where they are.
    #[serde(default)]
    pub(super) down: bool,
}

/// Which requests go to which upstream.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-usual" = "upstream"))]
pub(super) struct Route {
    /// Host name, or `*.example.com` for every name below it. Port and letter case do not matter. Absent: any host.
    #[serde(default)]
    pub(super) host: Option<String>,
    /// Prefix of the raw path: `/ws` takes `/wsx` too.
    #[serde(default = "Route::default_path")]
    pub(super) path: String,
    /// A name under `upstreams`. A route has either this or `redirect`.
    #[serde(default)]
    pub(super) upstream: Option<String>,
    /// Redirects requests that come in the clear to the same URL by https: `https`, or with `code` (301, 302, 307, 308) and
    /// `port`. A request over TLS, or one of which a trusted sender says `X-Forwarded-Proto: https`, goes on to the next route.
    #[serde(default)]
    pub(super) redirect: Option<RedirectSetting>,
    /// A prefix that is taken off the path: with `/ws` the backend gets `/` for `/ws`, and `/a` for `/ws/a`. `/wsx` stays. The
    /// backend reads the prefix in X-Forwarded-Prefix. A rest that leads above its own start (`/ws/../a`) gets 400.
    #[serde(default)]
    pub(super) strip_prefix: Option<String>,
    /// Another path for the backend, by a pattern. The query stays. A path that leads above its own start gets 400, and so does
    /// a result that does not begin with a slash. Not together with `strip_prefix`.
    #[serde(default)]
    pub(super) rewrite: Option<RewriteSetting>,
    /// The Host header that the backend gets: `keep` (that of the client), `upstream` (the address of the backend, without port
    /// 80, or 443 with TLS; `localhost` for a Unix socket), or a host of its own.
    #[serde(default = "Route::default_host_header")]
    pub(super) host_header: String,
    /// Changes of the fields that the backend gets, `X-Forwarded-*` included. They never concern Host (see `host_header`), the
    /// length of the body, the handshake (Upgrade, `Sec-WebSocket-*`), Connection, or other fields of one hop.
    #[serde(default)]
    pub(super) request_headers: HeaderChanges,
    /// Changes of the fields that the client gets: with a 101, with every other answer of a backend, and with every answer that
    /// longwire itself gives on this route. The same fields are exempt.
    #[serde(default)]
    pub(super) response_headers: HeaderChanges,
    /// Networks (CIDR) whose clients alone may use this route; everybody else gets 403. A client is an address, by
    /// `trusted_proxies`. `unix` = the clients of Unix sockets. Empty = everybody may.
    #[serde(default)]
    pub(super) allow: Vec<ClientNetwork>,
    /// Networks (CIDR), or `unix`, whose clients get 403, even if `allow` names them too.
    #[serde(default)]
    pub(super) deny: Vec<ClientNetwork>,
    /// Whether a request here needs a certificate of the client that a listener has verified (`tls.client_auth`). Without one
    /// the answer is 403, which a browser can show.
    #[serde(default)]
    pub(super) client_cert: ClientCert,
    /// What the backend is told of the client's certificate, in fields X-Client-Cert-NAME. longwire removes every
    /// X-Client-Cert-* that a client sends, on every route.
    #[serde(default)]
    pub(super) forward_client_cert: Vec<ForwardedCert>,
    /// A cookie by which a client comes back to the backend that served it, with plain requests and handshakes. `balance` of the
    /// upstream decides for a client without the cookie, and if the backend is gone, drained, out or full. Absent: no cookie.
    #[serde(default)]
    pub(super) sticky_cookie: Option<StickyCookieSetting>,
    /// Origins whose pages may open a WebSocket here, such as `https://example.com`, `https://*.example.com` or `file://`;
    /// `none` = clients that send no Origin. Empty = any. docs/behaviour.md has the rules.
    #[serde(default)]
    pub(super) origins: Vec<String>,
    /// What becomes of a client's offer to compress messages (permessage-deflate). With `off` the backend does not get it, and
    /// messages pass as their senders wrote them; other extensions pass.
    #[serde(default)]
    pub(super) compression: CompressionOffer,
    /// Keeps the clients of this route while another backend is found for them, if their backend is lost or drained. What is on its
    /// way meanwhile is sent at most once. docs/hold.md says for which programs this is right. Absent: a session ends with its backend.
    #[serde(default)]
    pub(super) hold: Option<HoldSetting>,
    /// Lets clients with the library of longwire come back to their sessions after their connection was lost: each message arrives
    /// exactly once and in order. docs/resume.md has the protocol. Other clients have sessions as ever. Absent: a session ends with its
    /// client's connection.
    #[serde(default)]
    pub(super) resume: Option<ResumeSetting>,
    /// A service that longwire asks about each request, before it goes on: with an answer 2xx it does, 401, 403 and 3xx go to the
    /// client as they are, and all else is 503. docs/behaviour.md has the rules. Absent: no service is asked.
    #[serde(default)]
    pub(super) auth_request: Option<AuthRequestSetting>,
    /// What stands between the clients of this route and here, in the place of the top-level `via`. Absent: what stands there.
    #[serde(default)]
    pub(super) via: Option<Vec<ViaEntry>>,
    /// What this route does otherwise than the top-level `keepalive`. A key that is absent here has the value that it has there.
    #[serde(default)]
    pub(super) keepalive: KeepaliveOverride,
    /// What this route does otherwise than the top-level `timeouts`. A key that is absent here has the value that it has there.
    #[serde(default)]
    pub(super) timeouts: TimeoutsOverride,
    /// A session is ended with 1012 after this time, or up to a tenth earlier, at random. For paths that cut a connection at
    /// some age: end the session first. `auto` = a twentieth before the shortest `max_life` of the path. 0s = never.
    #[serde(default = "Route::default_max_lifetime")]
    pub(super) max_lifetime: DurationOrAuto,
}

/// Pings of quiet sessions.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Keepalive {
    /// Silence toward a side, or from that side, after which longwire pings that side; 0s = never. `auto` = for each side, two
    /// fifths of the shortest `idle` of its path (`via`), from 5s to 25s; 25s where no limit is named.
    pub(super) ping_interval: DurationOrAuto,
    /// A side that sends no byte for this long after a ping is dead; 0s = no side is ever dead. One duration for both sides, or
    /// one for each. A busy backend often answers no ping, so the default for backends is longer.
    pub(super) pong_timeout: TimeoutPerSide,
    /// Which sides longwire pings.
    pub(super) sides: Vec<Side>,
    /// Learn from the ends of sessions: where those of clients from eight networks or more show a limit of silence below the
    /// interval, new sessions of the route are pinged more often, down to every 5s. Never for a side without pings.
    pub(super) learn: bool,
}

/// One end of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Side {
    /// The client, which connected to longwire.
    Client,
    /// The backend, to which longwire connected.
    Backend,
}

/// Keepalive of one route: what is absent is taken from the top-level `keepalive`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct KeepaliveOverride {
    /// Silence toward a side, or from that side, after which longwire pings that side; 0s = never, `auto` = as the path of this
    /// route needs it.
    pub(super) ping_interval: Option<DurationOrAuto>,
    /// A side that sends no byte for this long after a ping is dead; 0s = no side is ever dead. One duration for both sides, or
    /// one for each.
    pub(super) pong_timeout: Option<TimeoutPerSide>,
    /// Which sides longwire pings.
    pub(super) sides: Option<Vec<Side>>,
    /// Whether longwire learns a shorter interval from the ends of this route's sessions.
    pub(super) learn: Option<bool>,
}

/// Deadlines of one route: what is absent is taken from the top-level `timeouts`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TimeoutsOverride {
    /// From the connection to the head of the backend's answer to a WebSocket handshake, for each attempt.
    pub(super) upgrade: Option<Duration>,
    /// To the head of a plain answer, for each attempt; then between two reads of its body, but not of an event stream. 0s =
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
    /// From the first byte of a request to the end of its head. A new connection that sends nothing is closed after this time
    /// too.
    pub(super) request_header: Duration,
    /// Between two reads of a request's body.
    pub(super) request_body: Duration,
    /// Between two requests of a connection.
    pub(super) keep_alive: Duration,
    /// To connect to a backend, TLS included, for each attempt.
    pub(super) connect: Duration,
    /// From the connection to the head of the backend's answer to a WebSocket handshake, for each attempt.
    pub(super) upgrade: Duration,
    /// To the head of a plain answer, for each attempt; then between two reads of its body, but not of an event stream. 0s =
    /// never.
    pub(super) response: Duration,
    /// No byte from either side of a session, or of an answer that is an event stream. Pongs to longwire's own pings count as
    /// bytes. 0s = never.
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
    /// How long /readyz fails after SIGTERM while longwire still serves everything, so that load balancers look away first.
    pub(super) wait: Duration,
    /// The close code that both sides of a session read: 1001, 1012, 1013, or 3000 to 4999.
    #[schemars(range(min = 1000, max = 4999))]
    pub(super) close_code: u16,
    /// longwire tells the sessions one by one over this time: at most over half of what `timeouts.drain` leaves, and at most
    /// over one second for every 20 sessions.
    pub(super) spread: Duration,
    /// What happens to a session whose backend or route a reload removes, or whose backend is not found any more.
    pub(super) on_removed: OnRemoved,
}

/// What becomes of sessions whose backend or route is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum OnRemoved {
    /// The session goes on.
    Keep,
    /// longwire ends the session with `close_code`, within `spread`.
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
    /// Header fields of a backend's answer. An answer with more is a 502 (`malformed_answer`).
    #[schemars(range(min = 1, max = 1000))]
    pub(super) answer_headers: usize,
    /// Bytes of a request's body; 0B = no limit.
    pub(super) body_size: Size,
    /// Sessions open at once; 0 = no limit.
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub(super) sessions: usize,
    /// Sessions open at once of one client address; of IPv6, of one /64. 0 = no limit.
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub(super) sessions_per_client: usize,
    /// New sessions per second; as many may come at once. 0 = no limit.
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub(super) new_sessions: u32,
    /// New sessions per second of one client address; of IPv6, of one /64. As many may come at once. 0 = no limit.
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub(super) new_sessions_per_client: u32,
    /// Payload of one message from a client; 0B = no limit.
    pub(super) message_size: Size,
    /// Payload of one frame from a client; 0B = no limit.
    pub(super) frame_size: Size,
    /// Payload of one message from a backend; 0B = no limit.
    pub(super) backend_message_size: Size,
    /// Frames per second from a client; as many may come at once. Fragments, Pings and Pongs count, the Close does not. 0 = no
    /// limit.
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub(super) messages_per_second: u32,
    /// Bytes per second from a client, headers included; as many may come at once. 0B = no limit.
    pub(super) bytes_per_second: Size,
    /// Bytes of all sessions together that wait for slow readers. A session that adds to more than this is ended. 0B = no
    /// limit.
    pub(super) unsent_memory: Size,
    /// Bytes of all sessions together that are kept for clients that may come back (`resume`). A session beyond that keeps nothing
    /// more, and cannot be resumed until its client has acknowledged everything. 0B = no limit.
    pub(super) resume_memory: Size,
    /// Sessions without their client that wait for it to come back (`resume`). One more ends as it does without `resume`. 0 = no limit.
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub(super) away: usize,
    /// How longwire refuses a handshake that the client may try again later.
    pub(super) refuse: Refuse,
}

/// How a handshake is refused that may be tried again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Refuse {
    /// 429 or 503 with Retry-After.
    Http,
    /// 101, then Close 1013 with the reason. A page in a browser can read a reason, but not a status.
    Close,
}

/// Socket options, toward clients and backends.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Tcp {
    /// Silence after which the kernel probes (TCP_KEEPIDLE), in whole seconds; 0s = no kernel keepalive.
    pub(super) keepalive_idle: Duration,
    /// Between two probes (TCP_KEEPINTVL), in whole seconds.
    pub(super) keepalive_interval: Duration,
    /// Unanswered probes after which the connection is dead (TCP_KEEPCNT).
    #[schemars(range(min = 1, max = 127))]
    pub(super) keepalive_probes: u32,
    /// How long sent bytes may stay unacknowledged, or wait for a closed window (TCP_USER_TIMEOUT). Finds a host that is gone.
    /// 0s = the kernel's default.
    pub(super) user_timeout: Duration,
}

/// The admin interface.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Admin {
    /// IP address and port, or unix:/path of a socket, relative to the folder of this file. An address beyond loopback needs a
    /// token.
    pub(super) bind: AdminAddress,
    /// File of a token. Every request under /api must then carry that token. Relative to the folder of this file.
    #[serde(default)]
    pub(super) token_file: Option<PathBuf>,
    /// Names under which the admin interface may be called, beside its address and localhost.
    #[serde(default)]
    pub(super) hosts: Vec<String>,
}

/// Where the spans of handshakes go, in a build with the feature otlp.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Tracing {
    /// URL of a collector that takes OTLP over plain HTTP. Without a path: /v1/traces.
    pub(super) endpoint: Collector,
    /// The name of this process at the collector.
    #[serde(default = "Tracing::default_service_name")]
    pub(super) service_name: String,
    /// The share of traces that is exported, from 0 to 1, of the traces that begin here. A client's `traceparent` decides for
    /// its own trace.
    #[serde(default = "Tracing::default_sample")]
    pub(super) sample: TraceShare,
}

/// What is logged, and how.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Log {
    /// The form of every line.
    pub(super) format: LogFormat,
    /// error, warn, info, debug, trace, off, or a filter such as `info,longwire::net=debug`.
    pub(super) level: String,
    /// Write a record of each session and each request: one line at its end.
    pub(super) access: bool,
    /// File of the records, relative to the folder of this file. SIGUSR1 opens the file again. Absent: standard output.
    pub(super) file: Option<PathBuf>,
    /// Of plain requests that went well, longwire writes one in this many. It writes every session, refusal and failure.
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
        schema_for::<Self>()
    }
}

fn schema_for<T: JsonSchema>() -> serde_json::Value {
    SchemaSettings::draft2020_12()
        .with_transform(RecursiveTransform(without_null))
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value()
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
            coalesce: ShortDuration(std::time::Duration::ZERO),
            listeners: Vec::new(),
            upstreams: BTreeMap::new(),
            routes: Vec::new(),
            via: Vec::new(),
            keepalive: Keepalive::default(),
            timeouts: Timeouts::default(),
            drain: Drain::default(),
            handover: None,
            limits: Limits::default(),
            fleet: None,
            tcp: Tcp::default(),
            trusted_proxies: Vec::new(),
            sticky_key_file: None,
            via_header: false,
            log: Log::default(),
            admin: None,
            probe: None,
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
            proxy_protocol: None,
            tlvs: Vec::new(),
            tls: None,
            health_check: None,
            via: Vec::new(),
            discovery: Discovery::default(),
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

impl Listener {
    /// A listener of which only the address is said.
    pub(super) const fn at(bind: Bind) -> Self {
        Self { bind, mode: None, owner: None, group: None, proxy_protocol: None, tls: None }
    }
}

impl Backend {
    fn default_weight() -> u32 {
        1
    }

    /// A backend of which only the address is said.
    pub(super) fn at(address: BackendAddress) -> Self {
        Self {
            address: Some(address),
            dns: None,
            srv: None,
            file: None,
            weight: Self::default_weight(),
            max_conns: 0,
            backup: false,
            down: false,
        }
    }
}

impl Route {
    fn default_path() -> String {
        "/".into()
    }

    pub(super) fn default_host_header() -> String {
        "keep".into()
    }

    pub(super) const fn default_max_lifetime() -> DurationOrAuto {
        DurationOrAuto::Fixed(Duration::from_secs(0))
    }

    /// Everything to one upstream.
    pub(super) fn all_to(upstream: String) -> Self {
        Self {
            host: None,
            path: Self::default_path(),
            upstream: Some(upstream),
            redirect: None,
            strip_prefix: None,
            rewrite: None,
            host_header: Self::default_host_header(),
            request_headers: HeaderChanges::default(),
            response_headers: HeaderChanges::default(),
            allow: Vec::new(),
            deny: Vec::new(),
            client_cert: ClientCert::default(),
            forward_client_cert: Vec::new(),
            sticky_cookie: None,
            origins: Vec::new(),
            compression: CompressionOffer::default(),
            hold: None,
            resume: None,
            auth_request: None,
            via: None,
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

    const fn default_sample() -> TraceShare {
        TraceShare(1.0)
    }
}

impl Default for Keepalive {
    fn default() -> Self {
        Self {
            ping_interval: DurationOrAuto::Auto,
            pong_timeout: TimeoutPerSide::default(),
            sides: vec![Side::Client, Side::Backend],
            learn: false,
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
            resume_memory: Size::kib(64 * 1024),
            away: 0,
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
