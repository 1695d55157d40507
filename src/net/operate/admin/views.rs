//! What the admin interface shows of a running proxy.

use std::time::Instant;

use jiff::Timestamp;
use serde::Serialize;

use super::rebalancing::RebalanceView;
use crate::{
    access_log::{ParticularsView, Traffic},
    balance::{FoundAt, Health, Member},
    config::{ConfigHash, FleetSettings},
    discovery::{BackendEntry, Finding, FindingPlace},
    fleet::FleetInstance,
    net::{
        counts::fleet::FleetStanding,
        operate::{
            control::{Control, Told},
            desk::answer::millis,
        },
        orders::inquiry::Sight,
    },
    routing::RouteAction,
    ws::session::HoldState,
};

/// The proxy as a whole.
#[derive(Debug, Serialize)]
pub(super) struct StatusView {
    version: &'static str,
    /// The same at every instance whose file means the same.
    config_hash: ConfigHash,
    /// Whether load balancers should send clients here.
    ready: bool,
    /// Whether every request is refused, and every session told to leave.
    draining: bool,
    /// Since the start of the admin interface, which starts with the proxy.
    uptime_ms: u64,
    workers: usize,
    sessions: usize,
    /// The part of them that waits for another backend.
    held: usize,
    /// The part of them that waits for its client.
    away: usize,
    /// Connections of sessions are included.
    connections: usize,
    listeners: Vec<String>,
    routes: Vec<RouteView>,
    learned: Vec<LearnedView>,
    /// The rebalance that goes on, or the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    rebalance: Option<RebalanceView>,
    /// Absent if this proxy shares no limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    fleet: Option<FleetView>,
    /// Who is told by the order that this answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    told: Option<ToldView>,
}

/// The proxies that share limits.
#[derive(Debug, Serialize)]
struct FleetView {
    connected: bool,
    /// Why the sessions of all proxies cannot be counted. Absent while they can.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    on_loss: &'static str,
    living: usize,
    instances: Vec<InstanceView>,
}

/// A proxy of a fleet.
#[derive(Debug, Serialize)]
struct InstanceView {
    name: String,
    sessions: u64,
    /// Whether it drains, so that it has no share of the limits.
    leaving: bool,
    /// Whether it is this one.
    own: bool,
}

/// An interval of Pings that new sessions of a route have in the place of that of the file.
#[derive(Debug, Serialize)]
struct LearnedView {
    route: String,
    side: &'static str,
    ping_interval_ms: u64,
    since: Timestamp,
}

#[derive(Debug, Serialize)]
struct RouteView {
    name: String,
    /// `None` = the route redirects.
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<String>,
    /// The status of the redirect; `None` = the route forwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    redirect: Option<u16>,
    draining: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct UpstreamsView {
    upstreams: Vec<UpstreamView>,
    /// Who is told by the order that this answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    told: Option<ToldView>,
}

/// The sessions that are told to leave.
#[derive(Debug, Serialize)]
struct ToldView {
    sessions: usize,
    over_ms: u64,
}

impl From<Told> for ToldView {
    fn from(Told { sessions, over }: Told) -> Self {
        Self { sessions, over_ms: millis(over) }
    }
}

#[derive(Debug, Serialize)]
struct UpstreamView {
    name: String,
    balance: &'static str,
    /// How TLS is spoken to the backends: `verified` or `insecure`. `None` = plain TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<&'static str>,
    /// Whether some backend takes new requests: one that is neither down in the file nor off duty.
    takes_new: bool,
    backends: Vec<BackendView>,
    /// The places where backends are found, in the order of the file. Absent if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    places: Vec<PlaceView>,
}

/// A place where backends are found.
#[derive(Debug, Serialize)]
struct PlaceView {
    /// The key of the file that names the place.
    kind: &'static str,
    name: String,
    /// Absent if nothing was found there yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    backends: Option<usize>,
    /// How old the backends are; 0 if the last look there was a success.
    stale_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
}

/// How the address of a backend was found.
#[derive(Debug, Serialize)]
struct FoundView {
    by: &'static str,
    from: String,
    /// The name that led to the address. Absent if nobody has named it.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

impl From<&FoundAt> for FoundView {
    fn from(FoundAt { by, from, name }: &FoundAt) -> Self {
        Self { by: by.as_str(), from: from.to_string(), name: name.as_ref().map(ToString::to_string) }
    }
}

#[derive(Debug, Serialize)]
struct BackendView {
    address: String,
    /// What the operator wants of the backend.
    duty: &'static str,
    /// How healthy the backend is, by its requests and checks.
    health: &'static str,
    /// The time until the next trial.
    #[serde(skip_serializing_if = "Option::is_none")]
    out_for_ms: Option<u64>,
    /// Sessions and requests in flight.
    active: usize,
    /// The sessions in `active`.
    sessions: usize,
    picks: u64,
    failures: u64,
    weight: u32,
    max_conns: usize,
    backup: bool,
    /// Whether the file says that the backend is down.
    down: bool,
    /// Absent if the file names the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<FoundView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_check: Option<LastCheckView>,
}

#[derive(Debug, Serialize)]
struct LastCheckView {
    ago_ms: u64,
    passed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
}

/// A cause, and how many ended by it.
#[derive(Debug, Serialize)]
pub(super) struct CauseCount<'c, C> {
    #[serde(flatten)]
    pub(super) cause: &'c C,
    pub(super) count: u64,
}

/// A live session. Its fields have the names of the record, if the record has them.
#[derive(Debug, Serialize)]
pub(super) struct SessionView<'s> {
    #[serde(flatten)]
    particulars: ParticularsView,
    state: &'static str,
    age_ms: u64,
    idle_ms: u64,
    #[serde(flatten)]
    traffic: &'s Traffic,
    buffered_bytes: usize,
}

impl StatusView {
    pub(super) fn of(control: &Control) -> Self {
        let (plan, book) = (control.plan(), control.orders().book());
        let routes = plan.config.routes.routes().map(|route| RouteView {
            name: route.name.clone(),
            upstream: plan.upstream_of(route).map(|upstream| upstream.name().to_owned()),
            redirect: match route.action {
                RouteAction::Forward(_) => None,
                RouteAction::Redirect(redirect) => Some(redirect.status.as_u16()),
            },
            draining: book.routes().any(|name| name == route.name),
        });
        let learned = control.learned().into_iter().map(|(route, side, learned)| LearnedView {
            route,
            side: side.as_str(),
            ping_interval_ms: millis(learned.interval),
            since: Timestamp::from_millisecond(learned.since).unwrap_or_default(),
        });
        let since = control.desk().map_or_else(Instant::now, |desk| desk.since);
        Self {
            version: env!("CARGO_PKG_VERSION"),
            config_hash: plan.hash,
            ready: control.is_ready(),
            draining: book.drains_all(),
            uptime_ms: millis(since.elapsed()),
            workers: control.live().workers(),
            sessions: control.sessions(),
            held: control.live().holds(),
            away: control.reclaims().away(),
            connections: control.live().connections(),
            listeners: control.addresses().iter().map(ToString::to_string).collect(),
            routes: routes.collect(),
            learned: learned.collect(),
            rebalance: RebalanceView::of_last(control),
            fleet: plan.config.fleet.as_ref().map(|settings| FleetView::of(settings, control.fleet_standing())),
            told: None,
        }
    }

    /// The status, in answer to an order.
    pub(super) fn after(control: &Control, told: Told) -> Self {
        Self { told: Some(told.into()), ..Self::of(control) }
    }
}

impl FleetView {
    fn of(settings: &FleetSettings, standing: FleetStanding) -> Self {
        let FleetStanding { connected, living, instances, loss, .. } = standing;
        let instances = instances.into_iter().map(|FleetInstance { name, sessions, is_leaving, is_ours, .. }| {
            InstanceView { name, sessions, leaving: is_leaving, own: is_ours }
        });
        Self {
            connected,
            failure: loss.filter(|_| !connected),
            on_loss: settings.on_loss.as_str(),
            living,
            instances: instances.collect(),
        }
    }
}

pub(super) fn upstreams(control: &Control) -> UpstreamsView {
    let (plan, now) = (control.plan(), Instant::now());
    let settings = plan.config.upstreams.iter().zip(&plan.config.ways).zip(&plan.config.backend_entries);
    let upstreams = plan.upstreams.iter().zip(settings).map(|(upstream, ((settings, way), entries))| UpstreamView {
        name: settings.name.clone(),
        balance: settings.policy.as_str(),
        tls: way.tls.as_ref().map(|tls| if tls.insecure { "insecure" } else { "verified" }),
        takes_new: upstream.takes_new(),
        backends: upstream.members().iter().map(|member| BackendView::of(member, now)).collect(),
        places: entries
            .iter()
            .filter_map(BackendEntry::place)
            .map(|place| PlaceView::of(place, control.discovery().finding(place), now))
            .collect(),
    });
    UpstreamsView { upstreams: upstreams.collect(), told: None }
}

/// The upstreams, in answer to an order.
pub(super) fn upstreams_after(control: &Control, told: Told) -> UpstreamsView {
    UpstreamsView { told: Some(told.into()), ..upstreams(control) }
}

impl PlaceView {
    /// `found`: what is known of the place. A reload may have forgotten it in this moment.
    fn of(place: &FindingPlace, found: Option<Finding>, now: Instant) -> Self {
        let stale = found.as_ref().map(|finding| finding.staleness(now)).unwrap_or_default();
        let (backends, failure) = found.map(|finding| (finding.backends, finding.failure)).unwrap_or_default();
        Self {
            kind: place.kind(),
            name: place.name(),
            backends: backends.map(|backends| backends.len()),
            stale_ms: millis(stale),
            failure,
        }
    }
}

impl BackendView {
    fn of(Member { backend, settings }: &Member, now: Instant) -> Self {
        let (health, out_for) = match backend.health(now) {
            Health::Up => ("up", None),
            Health::Out { until } => ("out", Some(until.saturating_duration_since(now))),
            Health::Failing => ("failing", None),
            Health::Unchecked => ("unchecked", None),
            Health::Trial => ("trial", None),
        };
        let last_check = backend.last_check().map(|check| LastCheckView {
            ago_ms: millis(now.saturating_duration_since(check.at)),
            passed: check.failure.is_none(),
            failure: check.failure,
        });
        Self {
            address: backend.address().to_owned(),
            duty: backend.duty().as_str(),
            health,
            out_for_ms: out_for.map(millis),
            active: backend.active(),
            sessions: backend.sessions(),
            picks: backend.picks(),
            failures: backend.failures(),
            weight: settings.weight,
            max_conns: settings.max_conns,
            backup: settings.backup,
            down: settings.down,
            found: settings.found.as_ref().map(FoundView::from),
            last_check,
        }
    }
}

impl<'s> SessionView<'s> {
    pub(super) fn of(sight: &'s Sight) -> Self {
        Self {
            particulars: sight.particulars.show(),
            state: match sight.hold {
                _ if sight.is_ending => "ending",
                _ if sight.is_away => "away",
                HoldState::Open => "open",
                HoldState::Held => "held",
                HoldState::Moving => "moving",
            },
            age_ms: millis(sight.age),
            idle_ms: millis(sight.idle),
            traffic: &sight.traffic,
            buffered_bytes: sight.buffered,
        }
    }
}
