//! A plan: what follows from one configuration. A reload makes another plan. What began under a plan ends under it, but
//! an upstream whose settings stay the same goes on in the next plan, with the members of that plan.

use std::{collections::HashSet, fmt, io, num::NonZeroU32, sync::Arc, time::Instant};

use zeroize::Zeroizing;

use super::{
    lessons::Lessons,
    probe_place::ProbePlace,
    terms::{CommonSet, RouteTerms},
};
use crate::{
    access_log::{AccessLog, RouteLog, endings::Endings},
    balance::{Backend, Member, Registry, StickyKey, StickyTags, Upstream, UpstreamSettings},
    config::{
        Config, ConfigHash, WaySettings,
        certificates::TlsError,
        sticky_key::{self, StickyKeyError},
    },
    discovery::{BackendEntry, Findings},
    metrics::{self, HandshakeCounts, Metrics},
    net::backend::{tls::ClientTls, way::Way},
    routing::{Route, RouteAction},
    ws::{keepalive::Secret, session::SessionSettings},
};

/// A configuration, and what its requests and sessions share.
#[derive(Debug)]
pub(in crate::net) struct Plan {
    pub(in crate::net) config: Config,
    /// What the configuration means.
    pub(in crate::net) hash: ConfigHash,
    /// The index is the place of the route in `config.routes`.
    pub(in crate::net) terms: Vec<RouteTerms>,
    /// The index is the one in each route ([`RouteAction::Forward`]).
    pub(in crate::net) upstreams: Vec<Arc<Upstream>>,
    /// How connections with the backends of each upstream come about. The index is that of the upstream.
    pub(in crate::net) ways: Vec<Way>,
    /// The services that routes ask. The index is the one in each route ([`AuthRequest`](crate::routing::AuthRequest)).
    pub(in crate::net) services: Vec<AuthService>,
    /// The far end of probes; `None` = this process is none.
    pub(in crate::net) probe: Option<ProbePlace>,
    /// Whether an upstream is told by the PROXY protocol whose connections it gets.
    pub(in crate::net) announces: bool,
    /// `None` = records are not written.
    pub(in crate::net) access_log: Option<AccessLog>,
    /// `None` = there is no admin interface to show them, and nothing is learned from them.
    pub(in crate::net) endings: Option<Arc<Endings>>,
}

/// How connections come about, as far as files say it.
#[derive(Debug)]
pub(in crate::net) struct Ways {
    /// With the backends of each upstream.
    upstreams: Vec<Way>,
    /// With each service that a route asks.
    services: Vec<Way>,
}

/// A service that a route asks about its requests.
#[derive(Debug)]
pub(in crate::net) struct AuthService {
    /// Belongs to no upstream, so that nothing is counted for it.
    pub(in crate::net) backend: Backend,
    pub(in crate::net) way: Way,
}

/// The key that a process has for its sticky cookies if the file names none.
pub(in crate::net) type StickySecret = Zeroizing<[u8; 32]>;

/// Something that was asked for is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// The kind of thing: `route`, `upstream`, `backend` or `choice`.
    pub what: &'static str,
    /// The name that was asked for.
    pub name: String,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no {} is called {:?}", self.what, self.name)
    }
}

impl std::error::Error for Unknown {}

/// What every plan of the process is made from.
#[derive(Debug)]
pub(in crate::net) struct Planner {
    pub(in crate::net) access_log: AccessLog,
    pub(in crate::net) endings: Arc<Endings>,
    /// Whether there is an admin interface to show them.
    shows_endings: bool,
    secret: Secret,
    /// As long as the process lives, and its successors.
    pub(in crate::net) sticky_secret: StickySecret,
    registry: Registry,
    /// What is known of the places where backends are found.
    pub(in crate::net) findings: Arc<Findings>,
    /// What is known of the paths of routes that learn.
    pub(in crate::net) lessons: Lessons,
    metrics: Arc<Metrics>,
}

impl Planner {
    /// `endings` come with whether there is an admin interface to show them. `sticky_secret`: that of a predecessor.
    ///
    /// # Errors
    /// The kernel has no random bytes.
    pub(in crate::net) fn new(
        access_log: AccessLog,
        (endings, shows_endings): (Arc<Endings>, bool),
        findings: Arc<Findings>,
        metrics: Arc<Metrics>,
        sticky_secret: Option<StickySecret>,
    ) -> io::Result<Self> {
        let mut secret = [0; 16];
        getrandom::fill(&mut secret).map_err(io::Error::other)?;
        let registry = Registry::new(getrandom::u64().map_err(io::Error::other)?);
        let sticky_secret = match sticky_secret {
            Some(secret) => secret,
            None => {
                let mut secret = StickySecret::default();
                getrandom::fill(&mut *secret).map_err(io::Error::other)?;
                secret
            }
        };
        let (secret, lessons) = (Secret(secret), Lessons::default());
        Ok(Self { access_log, endings, shows_endings, secret, sticky_secret, registry, findings, lessons, metrics })
    }

    /// The key of sticky cookies: that of the file, if it names one, else that of the process.
    ///
    /// # Errors
    /// A file that holds no key.
    pub(in crate::net) fn sticky_key(&self, config: &Config) -> Result<StickyKey, StickyKeyError> {
        let of_process = || Ok(StickyKey::new(&*self.sticky_secret));
        config.sticky_key_file.as_deref().map_or_else(of_process, sticky_key::read)
    }

    /// Reads what connections with backends need of files. A way goes on in the next plan if its settings and its files say the
    /// same as before.
    ///
    /// # Errors
    /// A file that is wrong.
    pub(in crate::net) fn ways(&self, config: &Config, running: Option<&Plan>) -> Result<Ways, TlsError> {
        let way = |(settings, WaySettings { tls }): (&UpstreamSettings, &WaySettings)| -> Result<Way, TlsError> {
            let name = &settings.name;
            let running = running.and_then(|plan| {
                let place = plan.upstreams.iter().position(|upstream| upstream.name() == name)?;
                plan.ways.get(place)?.tls.as_ref()
            });
            let counts = || self.metrics.backend_tls(name);
            if tls.as_ref().is_some_and(|tls| tls.insecure) {
                tracing::warn!(upstream = name, "insecure: the certificates of its backends are not verified");
            }
            Ok(Way { tls: tls.as_ref().map(|tls| ClientTls::load(tls, running, counts)).transpose()? })
        };
        let upstreams = config.upstreams.iter().zip(&config.ways).map(way).collect::<Result<_, _>>()?;
        Ok(Ways { upstreams, services: service_ways(&config.service_ways, running)? })
    }

    /// Makes a plan. Its backends are those of earlier plans, found by upstream and address, if they still live. An
    /// upstream whose settings stay the same is that of `running`. It has its members of before until [`Self::settle`].
    /// `ways`, the key and `probe`: those of this configuration.
    pub(in crate::net) fn plan(
        &self,
        config: Config,
        (ways, sticky_key, probe): (Ways, &StickyKey, Option<ProbePlace>),
        running: Option<&Plan>,
        now: Instant,
    ) -> Plan {
        let upstream = |(settings, entries): (&UpstreamSettings, &Vec<BackendEntry>)| {
            let named = running.and_then(|plan| plan.upstreams.iter().find(|found| found.name() == settings.name));
            let goes_on = named.filter(|found| found.has_settings(settings));
            let backends = || self.findings.backends(entries);
            let new = || self.registry.upstream(UpstreamSettings { backends: backends(), ..settings.clone() }, now);
            goes_on.map_or_else(new, Arc::clone)
        };
        let upstreams: Vec<_> = config.upstreams.iter().zip(&config.backend_entries).map(upstream).collect();
        let lessons = self.lessons.open();
        let is_wanted = self.shows_endings || config.routes.routes().any(|route| route.learns);
        let endings = is_wanted.then(|| Arc::clone(&self.endings));
        let access_log = config.log.access.then(|| self.access_log.sampling(config.log.sample_requests));
        let terms = |route: &Route| {
            let upstream = upstream_of(&upstreams, route).map_or(metrics::NONE, |upstream| upstream.name());
            let metrics = self.metrics.route(&route.name, upstream);
            let round_trips = metrics.round_trips();
            let log = RouteLog::new(access_log.clone(), endings.clone(), &route.name, upstream, metrics);
            let settings = SessionSettings {
                keepalive: route.keepalive,
                idle: route.timeouts.idle,
                max_lifetime: route.max_lifetime,
                close_timeout: config.timeouts.close,
                limits: config.limits.messages,
                extensions: false,
            };
            let tags = route.sticky.as_ref().map(|_| StickyTags::new(sticky_key.clone()));
            let hold = route.hold.as_ref().map(|hold| &hold.terms);
            let of_file = CommonSet::new(settings, (hold, route.resume), self.secret, &round_trips);
            let terms = RouteTerms::new(log, of_file, tags, route.learns);
            lessons.teach(route, &terms);
            terms
        };
        let terms = config.routes.routes().map(terms).collect();
        let announces = upstreams.iter().any(|upstream| upstream.proxy_protocol().is_some());
        let services = services(&config, ways.services, now);
        let hash = ConfigHash::of(&config, config.sticky_key_file.is_some().then_some(sticky_key));
        Plan { terms, config, hash, upstreams, ways: ways.upstreams, services, probe, announces, access_log, endings }
    }
}

impl Planner {
    /// Gives each upstream of a plan the members that the plan's configuration names, and those that were found where it says.
    pub(in crate::net) fn settle(&self, plan: &Plan, now: Instant) {
        for (upstream, entries) in plan.upstreams.iter().zip(&plan.config.backend_entries) {
            let backends = self.findings.backends(entries);
            if !upstream.members().iter().map(|member| &member.settings).eq(&backends) {
                self.registry.change_members(upstream, backends, now);
            }
        }
    }

    /// Forgets the backends that no plan and no session has any more.
    pub(in crate::net) fn forget_gone(&self) {
        self.registry.forget_gone();
    }

    /// Whether a route or a backend has lost its last user, so that there is something to forget.
    pub(in crate::net) fn has_gone(&self) -> bool {
        self.metrics.has_gone_route() || self.registry.has_gone()
    }

    /// Whether a route or a backend is still in use that this plan, which runs, does not have.
    pub(in crate::net) fn has_more_than(&self, plan: &Plan) -> bool {
        (self.metrics.known_routes(), self.registry.known()) != (plan.terms.len(), plan.backends().count())
    }
}

impl Plan {
    /// The upstreams with TLS to their backends.
    pub(in crate::net) fn backend_tls(&self) -> impl Iterator<Item = (&str, &ClientTls)> {
        let ways = self.upstreams.iter().zip(&self.ways);
        ways.filter_map(|(upstream, way)| Some((upstream.name(), &**way.tls.as_ref()?)))
    }

    /// Whether a route has this name.
    pub(in crate::net) fn has_route(&self, name: &str) -> bool {
        self.config.routes.routes().any(|route| route.name == name)
    }

    /// The upstream of a route; `None` = the route redirects.
    pub(in crate::net) fn upstream_of(&self, route: &Route) -> Option<&Arc<Upstream>> {
        upstream_of(&self.upstreams, route)
    }

    /// How many sessions without a backend may come to those of an upstream in a second; `None` = no route holds sessions for it.
    pub(in crate::net) fn resumes_per_second(&self, upstream: &Upstream) -> Option<NonZeroU32> {
        let leads_there = |route: &&Route| self.upstream_of(route).is_some_and(|found| found.name() == upstream.name());
        let routes = self.config.routes.routes().filter(leads_there);
        routes.filter_map(|route| Some(route.hold.as_deref()?.per_second)).min()
    }

    /// The names of all routes. Looking for many names at once is quicker, and workers wait while orders are changed.
    pub(in crate::net) fn route_names(&self) -> HashSet<&str> {
        self.config.routes.routes().map(|route| &*route.name).collect()
    }

    /// The upstream of this name.
    pub(in crate::net) fn upstream(&self, name: &str) -> Result<&Upstream, Unknown> {
        let found = self.upstreams.iter().find(|found| found.name() == name);
        found.map(Arc::as_ref).ok_or_else(|| Unknown { what: "upstream", name: name.to_owned() })
    }

    /// The upstream of this name, and its backend of this address.
    pub(in crate::net) fn backend(&self, upstream: &str, address: &str) -> Result<(&Upstream, Arc<Backend>), Unknown> {
        let found = self.upstream(upstream)?;
        let members = found.members();
        let member = members.iter().find(|member| member.backend.address() == address);
        let member = member.ok_or_else(|| Unknown { what: "backend", name: address.to_owned() })?;
        Ok((found, Arc::clone(&member.backend)))
    }

    /// The members of all upstreams now, with the names of their upstreams.
    pub(in crate::net) fn members(&self) -> impl Iterator<Item = (&str, Member)> {
        self.upstreams.iter().flat_map(|upstream| {
            let members = upstream.members();
            members.iter().cloned().map(|member| (upstream.name(), member)).collect::<Vec<_>>()
        })
    }

    /// The backends of all upstreams now.
    pub(in crate::net) fn backends(&self) -> impl Iterator<Item = Arc<Backend>> {
        self.members().map(|(_, member)| member.backend)
    }
}

/// How connections with services come about. Services with equal settings share a way, and so do two plans.
fn service_ways(settings: &[WaySettings], running: Option<&Plan>) -> Result<Vec<Way>, TlsError> {
    let mut ways: Vec<Way> = Vec::with_capacity(settings.len());
    for WaySettings { tls } in settings {
        let Some(tls) = tls else {
            ways.push(Way::default());
            continue;
        };
        let is_same = |way: &&Way| way.tls.as_ref().is_some_and(|other| other.settings == *tls);
        if let Some(way) = ways.iter().find(is_same) {
            ways.push(way.clone());
            continue;
        }
        let known = running.iter().flat_map(|plan| &plan.services).map(|service| &service.way).find(is_same);
        let tls = ClientTls::load(tls, known.and_then(|way| way.tls.as_ref()), HandshakeCounts::default)?;
        ways.push(Way { tls: Some(tls) });
    }
    Ok(ways)
}

/// The services, in their order.
fn services(config: &Config, ways: Vec<Way>, now: Instant) -> Vec<AuthService> {
    let mut asked: Vec<_> = config.routes.routes().filter_map(|route| route.auth_request.as_deref()).collect();
    asked.sort_unstable_by_key(|auth| auth.service);
    let backends = asked.into_iter().map(|auth| Backend::new(auth.address.clone(), now));
    backends.zip(ways).map(|(backend, way)| AuthService { backend, way }).collect()
}

fn upstream_of<'u>(upstreams: &'u [Arc<Upstream>], route: &Route) -> Option<&'u Arc<Upstream>> {
    match route.action {
        RouteAction::Forward(upstream) => Some(&upstreams[upstream]),
        RouteAction::Redirect(_) => None,
    }
}
