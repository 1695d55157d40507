//! Asks one question of the DNS, by hickory: UDP, then TCP where an answer is cut. Nothing is cached, because
//! [`Lookout`](crate::discovery::Lookout) says when to ask again.
//!
//! Servers, search list and file of hosts are followed here, because a name is gone only if that is certain. hickory asks
//! no further server after a failure like SERVFAIL, and tells of a search list only how its last name ended.

mod answer;
mod memory;
mod system;
#[cfg(test)]
mod tests;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use hickory_resolver::{
    Hosts, Resolver, TokioResolver,
    config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::{
        op::{Query, ResponseCode},
        rr::{Name, RData, RecordType},
    },
};
use tokio::{sync::Mutex, task::spawn_blocking};

use self::{
    answer::{address, alias, empty, is_silence, read_answer, target},
    memory::{Silent, WholeName},
    system::System,
};
use crate::discovery::{DnsAnswer, DnsQuestion, DnsReply, Family, LookupSettings};

/// The most time for one try at one server. Several fit into [`super::names::PATIENCE`].
const TRY: Duration = Duration::from_secs(1);
/// How often a server that does not answer is asked again.
const RETRIES: usize = 1;
/// The most names that lead from a service to its records.
const MOST_ALIASES: usize = 8;

/// Asks the questions of one place.
#[derive(Debug, Clone)]
pub(super) struct DnsClient {
    servers: Servers,
    /// Whether both families of a name are wanted.
    has_families: bool,
    empty_after: Duration,
    silent: Arc<Silent>,
    /// What the one name of the place that is not whole stands for. Locked while that is found out, so that the questions
    /// for both families agree.
    whole: Arc<Mutex<Option<WholeName>>>,
}

/// Whom to ask.
#[derive(Debug, Clone)]
enum Servers {
    /// Those of the system. Its files are read for each question, so that a change of them counts.
    System,
    /// These servers, or why they cannot be asked.
    Fixed(Result<Whom, String>),
}

/// Servers, and what comes before they are asked.
#[derive(Debug, Clone)]
struct Whom {
    /// One resolver for each, in the order in which they are asked.
    servers: Vec<(SocketAddr, TokioResolver)>,
    silent: Arc<Silent>,
    /// The domains to which a name may belong.
    search: Vec<Name>,
    /// With more labels than this, a name is a whole name first.
    ndots: usize,
    hosts: Arc<Hosts>,
}

impl DnsClient {
    pub(super) fn new(settings: &LookupSettings) -> Self {
        let silent = Arc::<Silent>::default();
        let servers = match settings.resolvers[..] {
            [] => Servers::System,
            ref addresses => Servers::Fixed(Whom::fixed(addresses, &silent).map_err(|error| error.to_string())),
        };
        let (has_families, empty_after) = (settings.family == Family::Any, settings.empty_after);
        Self { servers, has_families, empty_after, silent, whole: Arc::default() }
    }

    pub(super) async fn ask(&self, question: &DnsQuestion) -> DnsReply {
        match question {
            DnsQuestion::Ipv4(name) => DnsReply::Addresses(self.look_up(name, RecordType::A, address).await),
            DnsQuestion::Ipv6(name) => DnsReply::Addresses(self.look_up(name, RecordType::AAAA, address).await),
            DnsQuestion::Targets(service) => DnsReply::Targets(self.look_up(service, RecordType::SRV, target).await),
        }
    }

    async fn look_up<R: Ord>(&self, name: &str, kind: RecordType, read: fn(&RData) -> Option<R>) -> DnsAnswer<R> {
        let whom = match &self.servers {
            Servers::Fixed(whom) => whom.clone(),
            Servers::System => {
                let silent = Arc::clone(&self.silent);
                match spawn_blocking(move || Whom::of(System::read()?, silent)).await {
                    Ok(whom) => whom.map_err(|error| error.to_string()),
                    Err(error) => Err(error.to_string()),
                }
            }
        };
        match (whom, Name::from_ascii(name)) {
            (Ok(whom), Ok(name)) => self.search(&whom, &name, kind, read).await,
            (Err(failure), _) => DnsAnswer::Failed(failure),
            (Ok(_), Err(error)) => DnsAnswer::Failed(error.to_string()),
        }
    }

    /// The records of the whole name for which a name stands. That one stays until it has had no records of any type for
    /// `empty_after`: until then, another name with records is another host.
    async fn search<R: Ord>(
        &self,
        whom: &Whom,
        name: &Name,
        kind: RecordType,
        read: fn(&RData) -> Option<R>,
    ) -> DnsAnswer<R> {
        if let Some(answer) = whom.in_hosts(name, kind, read) {
            return answer;
        }
        let names = whom.names(name);
        if let [name] = &names[..] {
            return whom.ask(name, kind, read).await;
        }
        loop {
            let mut whole = self.whole.lock().await;
            let known = whole.as_ref().map(WholeName::name).filter(|known| names.contains(known)).cloned();
            let Some(known) = known else {
                return self.choose(whom, names, (kind, read), &mut whole).await;
            };
            drop(whole);
            let answer = whom.ask(&known, kind, read).await;
            if matches!(answer, DnsAnswer::Failed(_)) {
                return answer;
            }
            let (mut whole, now) = (self.whole.lock().await, Instant::now());
            if let Some(whole) = whole.as_mut().filter(|whole| *whole.name() == known) {
                whole.note(kind, matches!(answer, DnsAnswer::Records { .. }), now);
            }
            if whole.take_if(|whole| whole.is_gone(self.empty_after, now)).is_none() {
                return answer;
            }
        }
    }

    /// Finds out which name it is: the first with records of this type, or of the other family. A failure says nothing of
    /// the names that follow, because the name that failed may be the right one.
    async fn choose<R: Ord>(
        &self,
        whom: &Whom,
        names: Vec<Name>,
        (kind, read): (RecordType, fn(&RData) -> Option<R>),
        whole: &mut Option<WholeName>,
    ) -> DnsAnswer<R> {
        let other = match kind {
            RecordType::A if self.has_families => Some(RecordType::AAAA),
            RecordType::AAAA if self.has_families => Some(RecordType::A),
            _ => None,
        };
        *whole = None;
        for name in names {
            match whom.ask(&name, kind, read).await {
                DnsAnswer::Empty => {}
                DnsAnswer::Failed(failure) => return DnsAnswer::Failed(failure),
                records @ DnsAnswer::Records { .. } => {
                    *whole = Some(WholeName::new(name, kind));
                    return records;
                }
            }
            let Some(other) = other else { continue };
            match whom.ask(&name, other, address).await {
                DnsAnswer::Empty => {}
                DnsAnswer::Failed(failure) => return DnsAnswer::Failed(failure),
                DnsAnswer::Records { .. } => {
                    *whole = Some(WholeName::new(name, other));
                    return DnsAnswer::Empty;
                }
            }
        }
        DnsAnswer::Empty
    }
}

impl Whom {
    /// These servers. They are asked for a name as it stands.
    fn fixed(addresses: &[SocketAddr], silent: &Arc<Silent>) -> Result<Self, NetError> {
        let servers = addresses.iter().map(|address| {
            let mut server = NameServerConfig::udp_and_tcp(address.ip());
            server.connections.iter_mut().for_each(|connection| connection.port = address.port());
            server
        });
        let mut options = ResolverOpts::default();
        options.edns0 = true;
        let servers = resolvers(servers, options)?;
        Ok(Self { servers, silent: Arc::clone(silent), search: Vec::new(), ndots: 0, hosts: Arc::default() })
    }

    /// Those of the system.
    fn of(system: System, silent: Arc<Silent>) -> Result<Self, NetError> {
        let System { config, options, hosts } = system;
        let (search, ndots) = (config.search().to_vec(), options.ndots);
        let servers = resolvers(config.name_servers().iter().cloned(), options)?;
        Ok(Self { servers, silent, search, ndots, hosts: hosts.into() })
    }

    /// What the file of hosts says. A name with an address there is not asked for elsewhere, as in libc.
    fn in_hosts<R: Ord>(&self, name: &Name, kind: RecordType, read: fn(&RData) -> Option<R>) -> Option<DnsAnswer<R>> {
        let found = |kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind));
        match (found(kind), kind) {
            (Some(found), _) => Some(read_answer(found.answers(), read)),
            (None, RecordType::A) => found(RecordType::AAAA).map(|_| DnsAnswer::Empty),
            (None, RecordType::AAAA) => found(RecordType::A).map(|_| DnsAnswer::Empty),
            (None, _) => None,
        }
    }

    /// The whole names that a name may stand for, in the order in which they are asked for.
    fn names(&self, name: &Name) -> Vec<Name> {
        let mut whole = name.clone();
        whole.set_fqdn(true);
        if name.is_fqdn() {
            return vec![whole];
        }
        let searched = self.search.iter().filter_map(|domain| name.clone().append_domain(domain).ok());
        let mut names: Vec<_> = searched.collect();
        let is_first = usize::from(name.num_labels()) > self.ndots || name.is_localhost();
        names.insert(if is_first { 0 } else { names.len() }, whole);
        names
    }

    /// Asks for a whole name. hickory follows a name that leads to another one, but not from a service.
    async fn ask<R: Ord>(&self, name: &Name, kind: RecordType, read: fn(&RData) -> Option<R>) -> DnsAnswer<R> {
        let (mut name, mut most) = (name.clone(), Duration::MAX);
        for _ in 0..=MOST_ALIASES {
            match self.ask_servers(&name, kind, read).await {
                DnsAnswer::Records { records, ttl } => return DnsAnswer::Records { records, ttl: ttl.min(most) },
                DnsAnswer::Empty if kind == RecordType::SRV => {}
                answer @ (DnsAnswer::Empty | DnsAnswer::Failed(_)) => return answer,
            }
            match self.ask_servers(&name, RecordType::CNAME, alias).await {
                DnsAnswer::Records { mut records, ttl } => {
                    let Some(next) = records.pop_first() else { return DnsAnswer::Empty };
                    (name, most) = (next, most.min(ttl));
                }
                DnsAnswer::Empty => return DnsAnswer::Empty,
                DnsAnswer::Failed(failure) => return DnsAnswer::Failed(failure),
            }
        }
        DnsAnswer::Failed("the service leads from name to name without end".to_owned())
    }

    /// Asks one server after another, until one gives an answer. Those that were silent lately come last.
    async fn ask_servers<R: Ord>(&self, name: &Name, kind: RecordType, read: fn(&RData) -> Option<R>) -> DnsAnswer<R> {
        let mut failure = "there is no server to ask".to_owned();
        let now = Instant::now();
        let mut servers: Vec<_> = self.servers.iter().collect();
        servers.sort_by_cached_key(|(address, _)| self.silent.has(*address, now));
        for (address, server) in servers {
            let answered = match server.lookup(name.clone(), kind).await {
                Ok(found) => match found.message().metadata.response_code {
                    ResponseCode::NoError | ResponseCode::NXDomain => Ok(read_answer(found.answers(), read)),
                    code => Err(code.to_string()),
                },
                Err(NetError::Dns(DnsError::NoRecordsFound(none))) => empty(&none),
                Err(error) => {
                    if is_silence(&error) {
                        self.silent.note(*address, Instant::now());
                    }
                    Err(error.to_string())
                }
            };
            match answered {
                Ok(answer) => return answer,
                Err(error) => failure = error,
            }
        }
        DnsAnswer::Failed(failure)
    }
}

/// A resolver for each server alone.
fn resolvers(
    servers: impl Iterator<Item = NameServerConfig>,
    options: ResolverOpts,
) -> Result<Vec<(SocketAddr, TokioResolver)>, NetError> {
    let mut options = options;
    options.cache_size = 0;
    options.timeout = options.timeout.min(TRY);
    options.attempts = options.attempts.min(RETRIES);
    options.use_hosts_file = ResolveHosts::Never;
    // The TTL of a name that leads to another name counts too.
    options.preserve_intermediates = true;
    let resolver = |server: NameServerConfig| {
        let port = server.connections.first().map_or(0, |connection| connection.port);
        let address = SocketAddr::new(server.ip, port);
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
        Ok((address, builder.with_options(options.clone()).build()?))
    };
    servers.map(resolver).collect()
}
