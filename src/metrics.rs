//! Every metric with its meaning, in one table. The doc comment of an entry is the help text that Prometheus shows.
//!
//! An end or a failure is counted where it happens. Passing traffic is not: each session counts its own, the sessions of a
//! worker count frames by opcode together, and `net/orders/tally` sums all of this when somebody looks.
//!
//! A label is a name from the file or a word of a fixed list, so no client can add a series. A client's address, a path or a
//! header is never a label.

pub mod process;
mod series;
pub mod text;

use std::{
    collections::{HashMap, HashSet},
    fmt::Display,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, atomic::AtomicU64, atomic::Ordering::Relaxed},
    time::Duration,
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use self::{
    process::ProcessStats,
    series::{Forgetful, Label, Living, NamePairs, Series},
};
use crate::{
    error::{Error, Kind},
    outcome::Outcome,
    ws::{
        Side,
        frame::OpCode,
        opcodes::OpCodeCounts,
        round_trips::RoundTripTimes,
        session::{HoldCause, HoldTriggers, ResumeFailure},
        termination::{Cause, Initiator},
    },
};

/// Bounds of the histogram of session times, in seconds: minutes to hours.
const DURATIONS: [f64; 7] = [60.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0];
/// Bounds of the histograms of handshakes, connects and round trips, in seconds: from the same machine to the other side of
/// the world, with a queue or two.
const LATENCIES: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// The labels of the directions: of traffic from the client (0) and from the backend (1).
const DIRECTIONS: [&str; 2] = ["to_backend", "to_client"];

/// The label of a request that found no route.
pub(crate) const NONE: &str = "none";

/// The kinds of refusal that `max_handshakes` or a key of `limits` causes.
const LIMITS: [Kind; 7] = [
    Kind::BodyTooLarge,
    Kind::Busy,
    Kind::HeadTooLarge,
    Kind::NewSessions,
    Kind::NewSessionsPerClient,
    Kind::Sessions,
    Kind::SessionsPerClient,
];

type Counters<L> = Series<L, Counter>;
type Gauges<L> = Series<L, Gauge>;
type SecondsGauges<L> = Series<L, Gauge<f64, AtomicU64>>;
type Histograms<L> = Series<L, Histogram>;

/// Makes the table of metrics, and registers each under its name.
macro_rules! table {
    ($($(#[doc = $help:literal])+ $field:ident: $kind:ty = $new:expr, $name:literal;)+) => {
        /// The table of metrics. A counter's name has no `_total`, because both formats add it.
        #[derive(Debug)]
        struct MetricTable {
            $($(#[doc = $help])+ $field: $kind,)+
        }

        impl MetricTable {
            fn new(registry: &mut Registry) -> Self {
                let table = Self { $($field: $new,)+ };
                $(
                    let help = concat!($($help),+).trim().trim_end_matches('.');
                    registry.register($name, help, table.$field.clone());
                )+
                table
            }

            /// Forgets every series whose labels name something that is gone.
            fn forget_gone(&self, living: &Living) {
                $(self.$field.forget_gone(living);)+
            }
        }
    };
}

table! {
    /// Sessions open now.
    active: Gauges<OfRoute> = Series::new(Gauge::default), "websocket_connections_active";
    /// Sessions begun: handshakes that a backend accepted.
    begun: Counters<OfRoute> = Series::new(Counter::default), "websocket_connections";
    /// Messages that came whole from clients, control frames not among them.
    received: Counters<OfRoute> = Series::new(Counter::default), "websocket_messages_received";
    /// Messages that went whole to clients, control frames not among them.
    sent: Counters<OfRoute> = Series::new(Counter::default), "websocket_messages_sent";
    /// How long sessions lasted, from the request to the end.
    duration: Histograms<OfRoute> = Series::new(|| Histogram::new(DURATIONS)), "websocket_connection_duration_seconds";
    /// Sessions ended, by who ended them first, why, and the code of the first Close (none: without a code).
    closes: Counters<OfClose> = Series::new(Counter::default), "websocket_closes";
    /// Bytes that passed through sessions, headers of frames included, our own frames not.
    bytes: Counters<OfDirection> = Series::new(Counter::default), "websocket_bytes";
    /// Frames that passed whole through sessions, our own not.
    frames: Counters<OfDirection> = Series::new(Counter::default), "websocket_frames";
    /// Frames that passed through sessions, by opcode; a data frame counts once its header has passed, our own do not.
    opcodes: Counters<OfOpCode> = Series::new(Counter::default), "websocket_frames_by_opcode";
    /// Pings that we sent.
    pings: Counters<OfSide> = Series::new(Counter::default), "websocket_pings";
    /// Pings of ours that were answered before the next one.
    pongs: Counters<OfSide> = Series::new(Counter::default), "websocket_pongs";
    /// From a Ping of ours to its Pong.
    round_trips: Histograms<OfSide> = Series::new(latencies), "websocket_ping_round_trip_seconds";
    /// Sides that were found dead: silent after a Ping, or taking nothing, for pong_timeout.
    dead: Counters<OfSide> = Series::new(Counter::default), "websocket_dead_sides";
    /// Silence after which something on the path of a route seems to end its sessions, as their ends within the last hour show
    /// it; there is none while nothing shows one.
    suspected: Series<OfSuspect, Gauge<f64, AtomicU64>> = Series::new(Gauge::default), "longwire_suspected_limit_seconds";
    /// From a handshake's request to the backend's 101, all tries included.
    handshakes: Histograms<OfRoute> = Series::new(latencies), "websocket_handshake_seconds";
    /// Handshakes that became no session, by the log's word for why (not_upgraded: the backend answered otherwise).
    handshake_failures: Counters<OfFailure> = Series::new(Counter::default), "websocket_handshake_failures";
    /// Plain requests that got no whole answer of a backend, by the log's word for why.
    request_failures: Counters<OfFailure> = Series::new(Counter::default), "longwire_request_failures";
    /// How often something was refused, or a session ended, because a limit was reached.
    limits_hit: Counters<OfLimit> = Series::new(Counter::default), "longwire_limits_hit";
    /// Connections that were closed at once because of a PROXY header, or because none came, by why.
    proxy_headers: Counters<OfProxyHeader> = Series::new(Counter::default), "longwire_proxy_header_refusals";
    /// Requests and handshakes about which the service of auth_request was asked, by its answer: allowed, denied, expired
    /// (let in until a time that has passed) or unavailable.
    auth_requests: Counters<OfAuthRequest> = Series::new(Counter::default), "longwire_auth_requests";
    /// From such a question to the answer, or to its deadline.
    auth_duration: Histograms<OfQuestion> = Series::new(latencies), "longwire_auth_request_seconds";
    /// New sessions, and sessions that moved to another address, by who decided about the limits of all proxies: valkey, or without its
    /// answer in time share, open or deny.
    fleet_decisions: Counters<OfDecision> = Series::new(Counter::default), "longwire_fleet_decisions";
    /// From a question about the sessions of all proxies to its answer, or to fleet.timeout.
    fleet_duration: Histogram = latencies(), "longwire_fleet_seconds";
    /// Whether the sessions of all proxies can be counted: 0 while the server of the fleet is away.
    fleet_connected: Gauges<OfFleet> = Series::new(Gauge::default), "longwire_fleet_connected";
    /// Proxies that share limits, this one included, as they were known last.
    fleet_instances: Gauges<OfFleet> = Series::new(Gauge::default), "longwire_fleet_instances";
    /// Sessions that lost or left their backend and waited for another one, by why: lost, move, or the code of a Close (3xxx, 4xxx: one of those).
    holds: Counters<OfHold> = Series::new(Counter::default), "longwire_holds";
    /// Sessions that went on after one of their sides was replaced.
    resumed: Counters<OfResume> = Series::new(Counter::default), "longwire_resumed";
    /// Sessions that did not go on, by why. No other backend was found: refused, unlike (another subprotocol or extension), no_turn,
    /// no_backend. It ended while a side was away: ended. A client came back and got a new session: elsewhere (of another process),
    /// forged, changed (another route, certificate, origin or user), gone. A client did not come back in time: expired; or was not
    /// waited for: too_many, memory. A session counts twice if it ended so and its client comes after all: gone.
    gave_up: Counters<OfGaveUp> = Series::new(Counter::default), "longwire_gave_up";
    /// From the loss of a side to its replacement.
    gaps: Histograms<OfResume> = Series::new(latencies), "longwire_gap_seconds";
    /// Bytes of clients that wait for the next backends of their sessions.
    queued_bytes: Gauge = Gauge::default(), "longwire_queued_bytes";
    /// Sessions that wait for their clients to come back, which limits.away bounds.
    away_sessions: Gauge = Gauge::default(), "longwire_away_sessions";
    /// Bytes of messages that sessions keep for clients that may come back, which limits.resume_memory bounds.
    kept_bytes: Gauge = Gauge::default(), "longwire_kept_bytes";
    /// Probes of longwire probe that end here now; they are no sessions.
    probes_active: Gauge = Gauge::default(), "longwire_probes_active";
    /// Probes that have begun.
    probes: Counter = Counter::default(), "longwire_probes";
    /// Connections of clients, those of sessions included.
    connections: Gauge = Gauge::default(), "longwire_connections";
    /// Sessions of each worker thread.
    worker_sessions: Gauges<OfWorker> = Series::new(Gauge::default), "longwire_worker_sessions";
    /// Sessions and requests in flight at a backend.
    backend_active: Gauges<OfBackend> = Series::new(Gauge::default), "longwire_backend_active";
    /// Whether a backend takes its share: 0 while it is down in the file, off duty, or out by its requests or checks.
    backend_up: Gauges<OfBackend> = Series::new(Gauge::default), "longwire_backend_up";
    /// Attempts that went to a backend.
    backend_picks: Counters<OfBackend> = Series::new(Counter::default), "longwire_backend_picks";
    /// Attempts that failed at a backend, by the log's word for why.
    backend_failures: Counters<OfBackendFailure> = Series::new(Counter::default), "longwire_backend_failures";
    /// To connect to a backend, TLS included, of those attempts that were answered.
    backend_connect: Histograms<OfBackend> = Series::new(latencies), "longwire_backend_connect_seconds";
    /// TLS handshakes with backends: full, resumed or failed.
    backend_tls: Counters<OfBackendTls> = Series::new(Counter::default), "longwire_backend_tls_handshakes";
    /// Upstreams whose backends are not verified (insecure); always 1.
    insecure: Gauges<OfUpstream> = Series::new(Gauge::default), "longwire_backend_tls_insecure";
    /// Unix time at which our certificate for the backends of an upstream is no longer valid.
    own_certificates: Gauges<OfOwnCertificate> = Series::new(Gauge::default), "longwire_backend_certificate_expiry_timestamp_seconds";
    /// How the address of a backend was found, and the name that led to it, or the list that names it; always 1.
    found: Gauges<OfFound> = Series::new(Gauge::default), "longwire_backend_found";
    /// How old the backends are that were found at a place, in seconds; 0 while each look there is a success.
    stale: Gauges<OfPlace> = Series::new(Gauge::default), "longwire_discovery_stale_seconds";
    /// Whether load balancers should send clients here: 0 as soon as a drain is announced, and while no upstream has a backend.
    ready: Gauge = Gauge::default(), "longwire_ready";
    /// Whether all sessions are told to leave and every request is refused.
    draining: Gauge = Gauge::default(), "longwire_draining";
    /// Whether the sessions of a route are told to leave and every request on it is refused.
    route_draining: Gauges<OfRoute> = Series::new(Gauge::default), "longwire_route_draining";
    /// The interval of pings that new sessions have toward a side in the place of that of the file (learn).
    learned: SecondsGauges<OfLearned> = Series::new(Gauge::default), "longwire_learned_ping_interval_seconds";
    /// Attempts to run another configuration: applied, wrong_config or not_started.
    reloads: Counters<OfReload> = Series::new(Counter::default), "longwire_reloads";
    /// Lines of the log, records and messages, that could not be written: the reader is too slow or the disk full.
    lines_dropped: Counter = Counter::default(), "longwire_log_lines_dropped";
    /// Spans of handshakes: exported, failed (the collector did not take them) or dropped (too many waited for it).
    spans: Counters<OfSpans> = Series::new(Counter::default), "longwire_trace_spans";
    /// TLS handshakes of clients that failed, by why.
    tls_failures: Counters<OfTlsFailure> = Series::new(Counter::default), "longwire_tls_handshake_failures";
    /// Unix time at which a certificate of a listener is no longer valid.
    certificates: Gauges<OfCertificate> = Series::new(Gauge::default), "longwire_certificate_expiry_timestamp_seconds";
    /// Unix time at which an authority for the certificates of clients is no longer valid.
    client_authorities: Gauges<OfAuthority> = Series::new(Gauge::default), "longwire_client_ca_expiry_timestamp_seconds";
    /// Unix time at which a revocation list for the certificates of clients is out of date (its nextUpdate).
    client_crls: Gauges<OfCrl> = Series::new(Gauge::default), "longwire_client_crl_expiry_timestamp_seconds";
    /// What the running configuration means, as a hash; always 1. Instances with one hash serve alike.
    config: Gauges<OfConfig> = Series::new(Gauge::default), "longwire_config_info";
    /// The version of longwire; always 1.
    build: Gauges<OfBuild> = Series::new(Gauge::default), "longwire_build_info";
    /// Memory that is resident, in bytes.
    memory: Gauge = Gauge::default(), "process_resident_memory_bytes";
    /// Open file descriptors.
    descriptors: Gauge = Gauge::default(), "process_open_fds";
    /// File descriptors that may be open.
    most_descriptors: Gauge = Gauge::default(), "process_max_fds";
    /// Processor time used, user and system, in seconds.
    cpu: Counter<f64, AtomicU64> = Counter::default(), "process_cpu_seconds";
    /// Unix time at which the process started.
    start: Gauge<f64, AtomicU64> = Gauge::default(), "process_start_time_seconds";
}

fn latencies() -> Histogram {
    Histogram::new(LATENCIES)
}

/// Label sets, each label named by its field, and for each set whether the things that it names still live.
macro_rules! labels {
    ($($name:ident { $($label:ident: $kind:ty),+ } lives: $lives:expr;)+) => {
        $(#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
        struct $name { $($label: $kind),+ }

        impl Label for $name {
            fn lives(&self, living: &Living) -> bool {
                let lives: fn(&Self, &Living) -> bool = $lives;
                lives(self, living)
            }
        })+
    };
}

labels! {
    OfRoute { route: String, upstream: String } lives: |of, living| living.has_route(&of.route, &of.upstream);
    OfClose { route: String, upstream: String, initiator: &'static str, cause: &'static str, code: String }
        lives: |of, living| living.has_route(&of.route, &of.upstream);
    OfDirection { route: String, upstream: String, direction: &'static str }
        lives: |of, living| living.has_route(&of.route, &of.upstream);
    OfOpCode { direction: &'static str, opcode: &'static str } lives: |_, _| true;
    OfSide { route: String, upstream: String, side: &'static str }
        lives: |of, living| living.has_route(&of.route, &of.upstream);
    // These series are set anew each time they are shown.
    OfSuspect { route: String, side: &'static str } lives: |of, living| living.has_name(&of.route);
    OfFailure { route: String, reason: &'static str } lives: |of, living| of.route == NONE || living.has_name(&of.route);
    OfAuthRequest { route: String, outcome: &'static str } lives: |of, living| living.has_name(&of.route);
    OfQuestion { route: String } lives: |of, living| living.has_name(&of.route);
    OfDecision { by: &'static str } lives: |_, _| true;
    // This series is set anew each time it is shown.
    OfFleet { prefix: String } lives: |_, _| true;
    OfLimit { limit: &'static str } lives: |_, _| true;
    OfProxyHeader { reason: &'static str } lives: |_, _| true;
    OfWorker { worker: u64 } lives: |_, _| true;
    OfBackend { upstream: String, backend: String } lives: |of, living| living.has_backend(&of.upstream, &of.backend);
    OfBackendFailure { upstream: String, backend: String, reason: &'static str }
        lives: |of, living| living.has_backend(&of.upstream, &of.backend);
    OfBackendTls { upstream: String, outcome: &'static str } lives: |of, living| living.has_upstream(&of.upstream);
    // These series are set anew each time they are shown.
    OfFound { upstream: String, backend: String, by: &'static str, name: String } lives: |_, _| true;
    OfPlace { kind: &'static str, name: String } lives: |_, _| true;
    OfReload { outcome: &'static str } lives: |_, _| true;
    OfHold { cause: String } lives: |_, _| true;
    OfResume { side: &'static str } lives: |_, _| true;
    OfGaveUp { why: &'static str } lives: |_, _| true;
    OfSpans { outcome: &'static str } lives: |_, _| true;
    OfTlsFailure { reason: &'static str } lives: |_, _| true;
    // These series are set anew at each reload.
    OfCertificate { listener: String, certificate: String } lives: |_, _| true;
    OfOwnCertificate { upstream: String, certificate: String } lives: |_, _| true;
    OfUpstream { upstream: String } lives: |_, _| true;
    OfAuthority { listener: String, ca: String, subject: String } lives: |_, _| true;
    OfCrl { listener: String, crl: String, issuer: String } lives: |_, _| true;
    // These series are set anew each time something is learned or forgotten.
    OfLearned { route: String, side: &'static str } lives: |_, _| true;
    // This series is set anew at each reload.
    OfConfig { hash: String } lives: |_, _| true;
    OfBuild { version: &'static str } lives: |_, _| true;
}

/// All metrics of the process.
///
/// They go on over a reload: a route keeps its counts as long as its name and its upstream's name stay. A route that is no
/// longer configured and has no session left is forgotten. If it comes back, it begins at 0, as after a restart.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    table: MetricTable,
    /// A lock, taken at a (re)load, when somebody looks, and when something is forgotten.
    routes: Mutex<Routes>,
}

/// The routes that are configured, or have sessions or requests left. Everything that counts for a route holds its counters.
#[derive(Debug, Default)]
struct Routes {
    living: Vec<Weak<RouteMetrics>>,
    next_number: usize,
}

/// The counters of one route's sessions.
#[derive(Debug)]
pub struct RouteMetrics {
    number: usize,
    labels: OfRoute,
    active: Gauge,
    begun: Counter,
    duration: Histogram,
    handshake: Histogram,
    closes: Counters<OfClose>,
    /// How the last session ended, and its counter. The next one mostly ends alike, and is then counted without a new set of
    /// labels. A lock, held while one end is counted.
    last_close: Mutex<Option<(How, Counter)>>,
    limits_hit: Counters<OfLimit>,
    dead: [Counter; 2],
    round_trips: RoundTripTimes,
    passed: PassedCounters,
}

/// How a session ended: initiator, cause, code.
type How = (Option<Initiator>, Outcome, Option<u16>);

#[derive(Debug)]
struct PassedCounters {
    received: Counter,
    sent: Counter,
    bytes: [Counter; 2],
    frames: [Counter; 2],
    pings: [Counter; 2],
    pongs: [Counter; 2],
}

/// The traffic of one session or of many. Each pair has the client first, then the backend.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TrafficCounts {
    /// Bytes that came from each side.
    pub bytes: [u64; 2],
    /// Frames that came from each side.
    pub frames: [u64; 2],
    /// Messages that came from each side.
    pub messages: [u64; 2],
    /// Our Pings to each side.
    pub pings: [u64; 2],
    /// Our Pings that were answered.
    pub pongs: [u64; 2],
}

/// How a session ended.
#[derive(Debug, Clone, Copy)]
pub struct SessionEnd {
    /// Who ended the session first; `None` = nobody can say.
    pub initiator: Option<Initiator>,
    /// Why the session ended.
    pub cause: Outcome,
    /// The code of the first Close.
    pub code: Option<u16>,
    /// From the session's request to its end.
    pub duration: Duration,
}

/// When the files end by which the listeners serve TLS.
#[derive(Debug, Default)]
pub struct Expiries {
    /// The certificates of the listeners.
    pub certificates: Vec<Expiry>,
    /// The authorities for the certificates of clients.
    pub client_authorities: Vec<Expiry>,
    /// The revocation lists of these authorities.
    pub client_crls: Vec<Expiry>,
}

/// When something ends that a listener read from a file.
#[derive(Debug)]
pub struct Expiry {
    /// The listener's address in the file.
    pub listener: String,
    /// The path of the file.
    pub file: String,
    /// Whose it is, if the file may hold several.
    pub name: String,
    /// Unix time, in seconds.
    pub at: i64,
}

/// How an attempt to run another configuration ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ReloadOutcome {
    Applied,
    WrongConfig,
    NotStarted,
}

/// Counters of the spans that are over.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "they are the outcomes of the metric")]
pub struct SpanCounts {
    pub exported: Counter,
    pub failed: Counter,
    pub dropped: Counter,
}

/// Counters of the TLS handshakes with the backends of an upstream.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "they are the outcomes of the metric")]
pub struct HandshakeCounts {
    pub full: Counter,
    pub resumed: Counter,
    pub failed: Counter,
}

/// The state of a backend at one moment.
#[derive(Debug)]
#[allow(missing_docs, reason = "they are the metrics of these names")]
pub struct BackendState<'a> {
    pub upstream: &'a str,
    pub backend: &'a str,
    pub active: usize,
    pub is_up: bool,
    pub picks: u64,
    /// How the address was found, and the name that led to it, or the place; `None` = the file names it.
    pub found: Option<(&'static str, String)>,
}

/// The state of the proxy at one moment, except what is counted when it happens.
#[derive(Debug)]
#[allow(missing_docs, reason = "they are the metrics of these names")]
pub struct ProxyState<'a> {
    pub connections: usize,
    pub probes_active: usize,
    pub is_ready: bool,
    pub is_draining: bool,
    pub lines_dropped: usize,
    /// The name of a route, the name of its upstream, and whether the route is drained.
    pub routes: Vec<(&'a str, &'a str, bool)>,
    pub backends: Vec<BackendState<'a>>,
    /// Each place where backends are found: its kind, its name, and how old the backends of it are.
    pub places: Vec<(&'static str, String, Duration)>,
    /// Routes, each with a side and the silence in seconds after which that side seems to be cut off. The shortest is told.
    pub suspected: Vec<(&'a str, &'static str, f64)>,
    /// Sessions of each worker; `None` = the workers did not answer in time.
    pub worker_sessions: Option<Vec<usize>>,
    /// The frames of all sessions since the start; all 0 if the workers did not answer in time.
    pub opcodes: OpCodeCounts,
    /// Bytes of clients that wait for the next backends of their sessions.
    pub queued_bytes: usize,
    /// Sessions that wait for their clients.
    pub away_sessions: usize,
    /// Bytes that sessions keep for clients that may come back.
    pub kept_bytes: usize,
    /// The prefix of the fleet's keys, whether the sessions of all proxies can be counted, and how many proxies there are; `None` = this
    /// proxy shares no limits.
    pub fleet: Option<(&'a str, bool, usize)>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let table = MetricTable::new(&mut registry);
        let version = env!("CARGO_PKG_VERSION");
        table.build.of(&OfBuild { version }).set(1);
        for reload in [ReloadOutcome::Applied, ReloadOutcome::WrongConfig, ReloadOutcome::NotStarted] {
            table.reloads.of(&reload.labels());
        }
        Self { registry, table, routes: Mutex::default() }
    }
}

impl Metrics {
    /// The counters of a route. They are those from before, if the route is known.
    #[must_use]
    pub fn route(&self, route: &str, upstream: &str) -> Arc<RouteMetrics> {
        let mut routes = self.routes();
        let labels = OfRoute { route: route.to_owned(), upstream: upstream.to_owned() };
        if let Some(known) = routes.all().find(|known| known.labels == labels) {
            return known;
        }
        // An earlier route with this name may have left series behind. The new route must not go on with them, because its
        // sums begin at 0. The series are searched only if a route is gone: a search for each route of a long file would take
        // longer than the square of the routes.
        if routes.forget_gone() {
            self.table.forget_gone(&routes.living(None));
        }
        let route = Arc::new(RouteMetrics::new(&self.table, routes.next_number, labels));
        routes.next_number += 1;
        routes.living.push(Arc::downgrade(&route));
        route
    }

    /// The names of the routes that are configured, or have sessions or requests left.
    #[must_use]
    pub fn route_names(&self) -> HashSet<String> {
        self.routes().all().map(|route| route.labels.route.clone()).collect()
    }

    /// Open sessions by the name of their route.
    #[must_use]
    pub fn sessions_by_route(&self) -> HashMap<String, usize> {
        let mut sessions = HashMap::new();
        for route in self.routes().all() {
            let active = usize::try_from(route.active.get()).unwrap_or_default();
            *sessions.entry(route.labels.route.clone()).or_default() += active;
        }
        sessions
    }

    /// Forgets the routes that are no longer configured and have no session left, and all backends except `backends`, which
    /// are pairs of upstream and address.
    pub fn forget_gone<'b>(&self, backends: impl IntoIterator<Item = (&'b str, &'b str)>) {
        let mut routes = self.routes();
        routes.forget_gone();
        self.table.forget_gone(&routes.living(Some(backends.into_iter().collect())));
    }

    /// Whether nobody counts for some route any more, so that there is a route to forget.
    #[must_use]
    pub fn has_gone_route(&self) -> bool {
        self.routes().living.iter().any(|route| route.strong_count() == 0)
    }

    /// How many routes are configured, or have sessions or requests left.
    #[must_use]
    pub fn known_routes(&self) -> usize {
        self.routes().living.len()
    }

    /// Counts a request that is over and became no session. `route` is the route that it found.
    pub fn request_over(&self, route: Option<&str>, outcome: Outcome, is_handshake: bool) {
        if outcome == Outcome::Answered {
            return;
        }
        let labels = OfFailure { route: route.unwrap_or(NONE).to_owned(), reason: outcome.as_str() };
        let failures = if is_handshake { &self.table.handshake_failures } else { &self.table.request_failures };
        failures.of(&labels).inc();
        if matches!(outcome, Outcome::Failed(kind) if LIMITS.contains(&kind)) {
            self.table.limits_hit.of(&OfLimit { limit: outcome.as_str() }).inc();
        }
    }

    /// Counts an attempt that failed at a backend.
    pub fn backend_failed(&self, upstream: &str, backend: &str, error: &Error) {
        let (upstream, backend) = (upstream.to_owned(), backend.to_owned());
        let labels = OfBackendFailure { upstream, backend, reason: error.reason() };
        self.table.backend_failures.of(&labels).inc();
    }

    /// Counts an attempt that a backend answered, by the time that the connect took.
    pub fn backend_connected(&self, upstream: &str, backend: &str, took: Duration) {
        self.table.backend_connect.of(&OfBackend::new(upstream, backend)).observe(took.as_secs_f64());
    }

    /// Counts an answer of the service that a route asks about its requests. `outcome`: a word of a fixed list.
    pub fn service_asked(&self, route: &str, outcome: &'static str, took: Duration) {
        self.table.auth_requests.of(&OfAuthRequest { route: route.to_owned(), outcome }).inc();
        self.table.auth_duration.of(&OfQuestion { route: route.to_owned() }).observe(took.as_secs_f64());
    }

    /// Counts a decision about limits that several proxies share. `by`: a word of a fixed list.
    pub fn fleet_decided(&self, by: &'static str) {
        self.table.fleet_decisions.of(&OfDecision { by }).inc();
    }

    /// Counts a question about the sessions of all proxies, by how long somebody waited for the answer.
    pub fn fleet_asked(&self, took: Duration) {
        self.table.fleet_duration.observe(took.as_secs_f64());
    }

    /// Counts a session that waits for another backend.
    pub fn held(&self, cause: HoldCause) {
        let cause = match cause {
            HoldCause::Lost => "lost".to_owned(),
            HoldCause::Move => "move".to_owned(),
            HoldCause::Close(code) => code_label(Some(code.unwrap_or(HoldTriggers::NO_CODE).0)),
        };
        self.table.holds.of(&OfHold { cause }).inc();
    }

    /// Counts a session that goes on with another backend or connection of its client, after this time.
    pub fn resumed(&self, side: Side, gap: Duration) {
        let labels = OfResume { side: side.as_str() };
        self.table.resumed.of(&labels).inc();
        self.table.gaps.of(&labels).observe(gap.as_secs_f64());
    }

    /// Counts a session that no other backend has taken. `None` = it ended before its time was over.
    pub fn gave_up(&self, why: Option<ResumeFailure>) {
        let why = match why {
            Some(ResumeFailure::Refused) => "refused",
            Some(ResumeFailure::Unlike) => "unlike",
            Some(ResumeFailure::NoTurn) => "no_turn",
            Some(ResumeFailure::Failed) => "no_backend",
            None => "ended",
        };
        self.table.gave_up.of(&OfGaveUp { why }).inc();
    }

    /// Counts a session to which its client did not come back, by a word of a fixed list.
    pub fn not_resumed(&self, why: &'static str) {
        self.table.gave_up.of(&OfGaveUp { why }).inc();
    }

    /// Counts a connection that was closed because of its PROXY header, by a word of a fixed list.
    pub fn proxy_header_refused(&self, reason: &'static str) {
        self.table.proxy_headers.of(&OfProxyHeader { reason }).inc();
    }

    /// Counts an attempt to run another configuration.
    pub fn reloaded(&self, outcome: ReloadOutcome) {
        self.table.reloads.of(&outcome.labels()).inc();
    }

    /// The counters for the exporter of spans.
    #[must_use]
    pub fn spans(&self) -> SpanCounts {
        let count = |outcome| self.table.spans.of(&OfSpans { outcome });
        SpanCounts { exported: count("exported"), failed: count("failed"), dropped: count("dropped") }
    }

    /// Counts a probe that begins.
    pub fn probe_begun(&self) {
        self.table.probes.inc();
    }

    /// Counts a TLS handshake of a client that failed.
    pub fn tls_failed(&self, reason: &'static str) {
        self.table.tls_failures.of(&OfTlsFailure { reason }).inc();
    }

    /// Replaces what the running configuration means.
    pub fn set_config(&self, hash: impl Display) {
        self.table.config.clear();
        self.table.config.of(&OfConfig { hash: hash.to_string() }).set(1);
    }

    /// Replaces the ends of what the listeners read.
    pub fn set_expiries(&self, expiries: Expiries) {
        let Expiries { certificates, client_authorities, client_crls } = expiries;
        self.table.certificates.clear();
        for Expiry { listener, file: certificate, at, .. } in certificates {
            self.table.certificates.of(&OfCertificate { listener, certificate }).set(at);
        }
        self.table.client_authorities.clear();
        for Expiry { listener, file: ca, name: subject, at } in client_authorities {
            self.table.client_authorities.of(&OfAuthority { listener, ca, subject }).set(at);
        }
        self.table.client_crls.clear();
        for Expiry { listener, file: crl, name: issuer, at } in client_crls {
            self.table.client_crls.of(&OfCrl { listener, crl, issuer }).set(at);
        }
    }

    /// The counters of TLS handshakes with the backends of an upstream.
    #[must_use]
    pub fn backend_tls(&self, upstream: &str) -> HandshakeCounts {
        let count = |outcome| self.table.backend_tls.of(&OfBackendTls { upstream: upstream.to_owned(), outcome });
        HandshakeCounts { full: count("full"), resumed: count("resumed"), failed: count("failed") }
    }

    /// Replaces the upstreams whose backends are not verified.
    pub fn set_insecure<'u>(&self, upstreams: impl IntoIterator<Item = &'u str>) {
        self.table.insecure.clear();
        for upstream in upstreams {
            self.table.insecure.of(&OfUpstream { upstream: upstream.to_owned() }).set(1);
        }
    }

    /// Replaces the intervals of pings that were learned. Each is a route, a side and the interval.
    pub fn set_learned<'r>(&self, learned: impl IntoIterator<Item = (&'r str, Side, Duration)>) {
        self.table.learned.clear();
        for (route, side, interval) in learned {
            let labels = OfLearned { route: route.to_owned(), side: side.as_str() };
            self.table.learned.of(&labels).set(interval.as_secs_f64());
        }
    }

    /// Replaces our certificates for backends. Each is an upstream, a file, and the Unix time at which the certificate expires.
    pub fn set_own_certificates(&self, certificates: impl IntoIterator<Item = (String, String, i64)>) {
        self.table.own_certificates.clear();
        for (upstream, certificate, not_after) in certificates {
            self.table.own_certificates.of(&OfOwnCertificate { upstream, certificate }).set(not_after);
        }
    }

    /// All metrics as text. The caller must not call this twice at a time.
    ///
    /// `passed` holds the traffic of all sessions of each route so far, by [`RouteMetrics::number`]. It is empty if the
    /// sessions did not answer in time; their counters then stay as they were.
    #[must_use]
    pub fn show(
        &self,
        format: text::Format,
        state: &ProxyState<'_>,
        passed: &HashMap<usize, TrafficCounts>,
        process: Option<ProcessStats>,
    ) -> String {
        for route in self.routes().all() {
            route.passed.raise_to(passed.get(&route.number).copied().unwrap_or_default());
        }
        self.table.set(state);
        if let Some(process) = process {
            self.table.set_process(process);
        }
        text::write(&self.registry, format)
    }

    fn routes(&self) -> MutexGuard<'_, Routes> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Routes {
    /// Forgets the routes for which nobody counts any more. Returns whether there were any.
    fn forget_gone(&mut self) -> bool {
        let before = self.living.len();
        self.living.retain(|route| route.strong_count() > 0);
        self.living.len() < before
    }

    fn all(&self) -> impl Iterator<Item = Arc<RouteMetrics>> {
        self.living.iter().filter_map(Weak::upgrade)
    }

    /// What still lives. `backends` of `None` = all backends live.
    fn living(&self, backends: Option<NamePairs>) -> Living {
        let all: Vec<_> = self.all().collect();
        let routes = all.iter().map(|route| (route.labels.route.as_str(), route.labels.upstream.as_str())).collect();
        Living { routes, backends }
    }
}

impl MetricTable {
    fn set(&self, state: &ProxyState<'_>) {
        self.connections.set(signed(state.connections));
        self.probes_active.set(signed(state.probes_active));
        self.queued_bytes.set(signed(state.queued_bytes));
        self.away_sessions.set(signed(state.away_sessions));
        self.kept_bytes.set(signed(state.kept_bytes));
        self.ready.set(state.is_ready.into());
        self.draining.set(state.is_draining.into());
        self.lines_dropped.inner().fetch_max(state.lines_dropped as u64, Relaxed);
        self.route_draining.clear();
        for &(route, upstream, drains) in &state.routes {
            let labels = OfRoute { route: route.to_owned(), upstream: upstream.to_owned() };
            self.route_draining.of(&labels).set(drains.into());
        }
        // A backend that is gone is no longer shown. If it comes back, it begins at 0.
        self.backend_active.clear();
        self.backend_up.clear();
        self.backend_picks.clear();
        self.found.clear();
        for backend in &state.backends {
            let labels = OfBackend::new(backend.upstream, backend.backend);
            self.backend_active.of(&labels).set(signed(backend.active));
            self.backend_up.of(&labels).set(backend.is_up.into());
            self.backend_picks.of(&labels).inc_by(backend.picks);
            if let Some((by, name)) = &backend.found {
                let OfBackend { upstream, backend } = labels;
                self.found.of(&OfFound { upstream, backend, by, name: name.clone() }).set(1);
            }
        }
        self.stale.clear();
        for &(kind, ref name, stale) in &state.places {
            let stale = i64::try_from(stale.as_secs()).unwrap_or(i64::MAX);
            // Two upstreams may look one name up in two ways. The older one is told.
            let gauge = self.stale.of(&OfPlace { kind, name: name.clone() });
            gauge.set(gauge.get().max(stale));
        }
        self.fleet_connected.clear();
        self.fleet_instances.clear();
        if let Some((prefix, is_connected, instances)) = state.fleet {
            let labels = OfFleet { prefix: prefix.to_owned() };
            self.fleet_connected.of(&labels).set(is_connected.into());
            self.fleet_instances.of(&labels).set(signed(instances));
        }
        self.suspected.clear();
        for &(route, side, seconds) in &state.suspected {
            let gauge = self.suspected.of(&OfSuspect { route: route.to_owned(), side });
            let shortest = Some(gauge.get()).filter(|known| *known > 0.0).map_or(seconds, |known| known.min(seconds));
            gauge.set(shortest);
        }
        for (worker, sessions) in state.worker_sessions.iter().flatten().enumerate() {
            self.worker_sessions.of(&OfWorker { worker: worker as u64 }).set(signed(*sessions));
        }
        self.raise_opcodes_to(&state.opcodes);
    }

    /// Raises the sums of frames. A smaller sum, or none, changes nothing.
    fn raise_opcodes_to(&self, counts: &OpCodeCounts) {
        for from in [Side::Client, Side::Backend] {
            for opcode in OpCode::ALL {
                let labels = OfOpCode { direction: DIRECTIONS[from as usize], opcode: opcode.as_str() };
                self.opcodes.of(&labels).inner().fetch_max(counts.of(from, opcode), Relaxed);
            }
        }
    }

    fn set_process(&self, process: ProcessStats) {
        self.memory.set(signed(process.resident));
        self.descriptors.set(signed(process.descriptors));
        self.most_descriptors.set(signed(process.most_descriptors));
        self.cpu.inner().fetch_max(process.cpu.as_secs_f64().to_bits(), Relaxed);
        self.start.set(process.start);
    }
}

impl RouteMetrics {
    fn new(table: &MetricTable, number: usize, labels: OfRoute) -> Self {
        let OfRoute { route, upstream } = labels.clone();
        let of_side = |side| OfSide { route: route.clone(), upstream: upstream.clone(), side };
        let sides = ["client", "backend"].map(of_side);
        let directions =
            DIRECTIONS.map(|direction| OfDirection { route: route.clone(), upstream: upstream.clone(), direction });
        Self {
            number,
            active: table.active.of(&labels),
            begun: table.begun.of(&labels),
            duration: table.duration.of(&labels),
            handshake: table.handshakes.of(&labels),
            closes: table.closes.clone(),
            last_close: Mutex::default(),
            limits_hit: table.limits_hit.clone(),
            dead: sides.each_ref().map(|side| table.dead.of(side)),
            round_trips: RoundTripTimes::new(sides.each_ref().map(|side| table.round_trips.of(side))),
            passed: PassedCounters {
                received: table.received.of(&labels),
                sent: table.sent.of(&labels),
                bytes: directions.each_ref().map(|direction| table.bytes.of(direction)),
                frames: directions.each_ref().map(|direction| table.frames.of(direction)),
                pings: sides.each_ref().map(|side| table.pings.of(side)),
                pongs: sides.each_ref().map(|side| table.pongs.of(side)),
            },
            labels,
        }
    }

    /// A number that no other route of this process has or had.
    #[must_use]
    pub const fn number(&self) -> usize {
        self.number
    }

    /// The counters of round trips, for the sessions of the route.
    #[must_use]
    pub fn round_trips(&self) -> RoundTripTimes {
        self.round_trips.clone()
    }

    /// Counts a session that begins. `handshake` is the time from its request to the backend's 101.
    pub fn begin(&self, handshake: Option<Duration>) {
        self.active.inc();
        self.begun.inc();
        if let Some(handshake) = handshake {
            self.handshake.observe(handshake.as_secs_f64());
        }
    }

    /// Counts a session that has ended.
    pub fn end(&self, end: SessionEnd) {
        let SessionEnd { initiator, cause, code, duration } = end;
        self.active.dec();
        self.duration.observe(duration.as_secs_f64());
        self.count_close((initiator, cause, code));
        match cause {
            Outcome::Ended(Cause::ClientDead) => {
                self.dead[0].inc();
            }
            Outcome::Ended(Cause::BackendDead) => {
                self.dead[1].inc();
            }
            Outcome::Ended(Cause::Memory | Cause::MessageTooBig | Cause::RateLimited) => {
                self.limits_hit.of(&OfLimit { limit: cause.as_str() }).inc();
            }
            _ => {}
        }
    }

    fn count_close(&self, how: How) {
        let mut last = self.last_close.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, closes)) = last.as_ref().filter(|(last, _)| *last == how) {
            closes.inc();
            return;
        }
        let OfRoute { route, upstream } = self.labels.clone();
        let (initiator, cause, code) = how;
        let (initiator, cause) = (initiator.map_or(NONE, Initiator::as_str), cause.as_str());
        let labels = OfClose { route, upstream, initiator, cause, code: code_label(code) };
        let closes = self.closes.of(&labels);
        closes.inc();
        *last = Some((how, closes));
    }
}

impl PassedCounters {
    /// Raises the sums. A sum that was taken earlier but comes later is smaller, and changes nothing.
    fn raise_to(&self, passed: TrafficCounts) {
        let raise = |counter: &Counter, sum| {
            counter.inner().fetch_max(sum, Relaxed);
        };
        let [received, sent] = passed.messages;
        raise(&self.received, received);
        raise(&self.sent, sent);
        for side in [0, 1] {
            raise(&self.bytes[side], passed.bytes[side]);
            raise(&self.frames[side], passed.frames[side]);
            raise(&self.pings[side], passed.pings[side]);
            raise(&self.pongs[side], passed.pongs[side]);
        }
    }
}

impl std::ops::AddAssign for TrafficCounts {
    fn add_assign(&mut self, other: Self) {
        let add = |sums: &mut [u64; 2], [client, backend]: [u64; 2]| {
            sums[0] = sums[0].saturating_add(client);
            sums[1] = sums[1].saturating_add(backend);
        };
        add(&mut self.bytes, other.bytes);
        add(&mut self.frames, other.frames);
        add(&mut self.messages, other.messages);
        add(&mut self.pings, other.pings);
        add(&mut self.pongs, other.pongs);
    }
}

impl OfBackend {
    fn new(upstream: &str, backend: &str) -> Self {
        Self { upstream: upstream.to_owned(), backend: backend.to_owned() }
    }
}

impl ReloadOutcome {
    const fn labels(self) -> OfReload {
        let outcome = match self {
            Self::Applied => "applied",
            Self::WrongConfig => "wrong_config",
            Self::NotStarted => "not_started",
        };
        OfReload { outcome }
    }
}

/// A close code as a label: the codes 1000 to 1015 (RFC 6455 §7.4.1 and IANA's registry) as they are, the others by class,
/// because a client may send any of 65,536 codes.
fn code_label(code: Option<u16>) -> String {
    match code {
        None => NONE.to_owned(),
        Some(code @ 1000..=1015) => code.to_string(),
        Some(3000..=3999) => "3xxx".to_owned(),
        Some(4000..=4999) => "4xxx".to_owned(),
        Some(_) => "other".to_owned(),
    }
}

fn signed(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_anyone_may_invent_make_no_series() {
        let labels: HashSet<_> = (0..=u16::MAX).map(|code| code_label(Some(code))).collect();
        assert_eq!(labels.len(), 16 + 3);
        assert_eq!(code_label(Some(1012)), "1012");
        assert_eq!((code_label(None), code_label(Some(4001))), ("none".into(), "4xxx".into()));
    }

    #[test]
    fn a_route_keeps_its_counts_when_it_is_named_again() {
        let metrics = Metrics::default();
        let route = metrics.route("*/", "chat");
        route.begin(None);
        let again = metrics.route("*/", "chat");
        assert_eq!((again.begun.get(), again.number()), (1, 0));
        assert_eq!(metrics.route("*/", "other").number(), 1);
    }

    /// How many samples there are whose line contains `name`.
    fn samples(metrics: &Metrics, name: &str) -> usize {
        let text = text::write(&metrics.registry, text::Format::Classic);
        text.lines().filter(|line| !line.starts_with('#') && line.contains(name)).count()
    }

    #[test]
    fn what_is_gone_and_has_no_session_left_leaves_no_sample() {
        let metrics = Metrics::default();
        let before = text::write(&metrics.registry, text::Format::Classic);
        let route = metrics.route("*/gone", "gone");
        route.begin(None);
        let end = SessionEnd {
            initiator: None,
            cause: Outcome::Ended(Cause::ClientDead),
            code: Some(1000),
            duration: Duration::ZERO,
        };
        route.end(end);
        metrics.request_over(Some("*/gone"), Outcome::Failed(Kind::Refused), true);
        metrics.request_over(Some("*/gone"), Outcome::Failed(Kind::Refused), false);
        metrics.backend_connected("gone", "gone:80", Duration::ZERO);
        metrics.backend_failed("gone", "gone:80", &Kind::Refused.into());
        metrics.forget_gone([("gone", "gone:80")]);
        let all = samples(&metrics, "gone");
        metrics.forget_gone([]);
        assert!(
            samples(&metrics, "gone") < all && metrics.route_names().contains("*/gone"),
            "a session of the route may be left"
        );
        assert!(!metrics.has_gone_route() && metrics.known_routes() == 1);
        drop(route);
        assert!(metrics.has_gone_route(), "there is something to forget");
        metrics.forget_gone([]);
        assert_eq!(text::write(&metrics.registry, text::Format::Classic), before);
        assert!(!metrics.has_gone_route() && metrics.known_routes() == 0);
    }

    #[test]
    fn a_route_that_comes_back_before_it_was_forgotten_begins_at_0() {
        let metrics = Metrics::default();
        metrics.route("*/", "chat").passed.raise_to(TrafficCounts { messages: [5; 2], ..TrafficCounts::default() });
        let again = metrics.route("*/", "chat");
        assert_eq!((again.passed.received.get(), again.number()), (0, 1));
    }

    #[test]
    fn a_route_that_is_new_has_no_series_looked_through_where_no_route_is_gone() {
        let metrics = Metrics::default();
        let _stays = metrics.route("*/", "chat");
        metrics.request_over(Some("*/stray"), Outcome::Failed(Kind::Refused), true);
        let new = metrics.route("*/new", "chat");
        assert_eq!(samples(&metrics, "stray"), 1, "somebody looked");
        drop(new);
        let _next = metrics.route("*/next", "chat");
        assert_eq!(samples(&metrics, "stray"), 0);
    }

    #[test]
    fn frames_are_shown_by_direction_and_opcode_and_never_go_back() {
        let metrics = Metrics::default();
        let mut counts = OpCodeCounts::default();
        counts.count(Side::Backend, 0x81);
        for counts in [counts, OpCodeCounts::default()] {
            metrics.table.raise_opcodes_to(&counts);
            let text = text::write(&metrics.registry, text::Format::Classic);
            let sample = "websocket_frames_by_opcode_total{direction=\"to_client\",opcode=\"text\"} 1";
            assert!(text.lines().any(|line| line == sample), "{text}");
            assert_eq!(text.lines().filter(|line| line.starts_with("websocket_frames_by_opcode_total{")).count(), 12);
        }
    }

    #[test]
    fn an_older_sum_takes_nothing_back() {
        let metrics = Metrics::default();
        let route = metrics.route("*/", "chat");
        let passed = |messages| TrafficCounts { messages: [messages; 2], ..TrafficCounts::default() };
        for sum in [5, 3] {
            route.passed.raise_to(passed(sum));
        }
        assert_eq!((route.passed.received.get(), route.passed.sent.get()), (5, 5));
    }
}
