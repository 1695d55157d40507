//! Asks one question of the DNS, by hickory: UDP, then TCP where an answer is cut. Nothing is cached, because
//! [`Lookout`](crate::discovery::Lookout) says when to ask again.
//!
//! Servers, search list and file of hosts are followed here, because a name is gone only if that is certain. hickory asks
//! no further server after a failure like SERVFAIL, and tells of a search list only how its last name ended.

use std::{collections::BTreeSet, io, net::IpAddr, sync::Arc, time::Duration};

use hickory_resolver::{
    Hosts, Resolver, TokioResolver,
    config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    net::{DnsError, NetError, NoRecords, runtime::TokioRuntimeProvider},
    proto::{
        op::{Query, ResponseCode},
        rr::{Name, RData, Record, RecordType},
    },
    system_conf::read_system_conf,
};
use tokio::task::spawn_blocking;

use crate::discovery::{DnsAnswer, DnsQuestion, DnsReply, LookupSettings, ServiceTarget};

/// The most time for one try at one server. Several fit into [`super::names::PATIENCE`].
const TRY: Duration = Duration::from_secs(1);
/// How often a server that does not answer is asked again.
const RETRIES: usize = 1;

/// Whom to ask.
#[derive(Debug, Clone)]
pub(super) enum DnsClient {
    /// Whom the system asks. Its files are read for each question, so that a change of them counts.
    System,
    /// These servers, or why they cannot be asked.
    Fixed(Result<Whom, String>),
}

/// Servers, and what comes before they are asked.
#[derive(Debug, Clone)]
pub(super) struct Whom {
    /// One resolver for each, in the order in which they are asked.
    servers: Vec<TokioResolver>,
    /// The domains to which a name may belong.
    search: Vec<Name>,
    /// With more labels than this, a name is a whole name first.
    ndots: usize,
    hosts: Arc<Hosts>,
}

impl DnsClient {
    pub(super) fn new(settings: &LookupSettings) -> Self {
        if settings.resolvers.is_empty() {
            return Self::System;
        }
        let servers = settings.resolvers.iter().map(|address| {
            let mut server = NameServerConfig::udp_and_tcp(address.ip());
            server.connections.iter_mut().for_each(|connection| connection.port = address.port());
            server
        });
        let mut options = ResolverOpts::default();
        options.edns0 = true;
        let whom = resolvers(servers, options).map(|servers| Whom {
            servers,
            // A server is asked for the name as it stands.
            search: Vec::new(),
            ndots: 0,
            hosts: Arc::default(),
        });
        Self::Fixed(whom.map_err(|error| error.to_string()))
    }

    pub(super) async fn ask(&self, question: &DnsQuestion) -> DnsReply {
        match question {
            DnsQuestion::Ipv4(name) => DnsReply::Addresses(self.look_up(name, RecordType::A, address).await),
            DnsQuestion::Ipv6(name) => DnsReply::Addresses(self.look_up(name, RecordType::AAAA, address).await),
            DnsQuestion::Targets(service) => DnsReply::Targets(self.look_up(service, RecordType::SRV, target).await),
        }
    }

    /// `read`: what a record says; `None` = it is of another type, such as a name that leads to another name.
    async fn look_up<R: Ord>(&self, name: &str, kind: RecordType, read: fn(&RData) -> Option<R>) -> DnsAnswer<R> {
        let whom = match self {
            Self::Fixed(whom) => whom.clone(),
            Self::System => match spawn_blocking(Whom::of_system).await {
                Ok(whom) => whom.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            },
        };
        match (whom, Name::from_ascii(name)) {
            (Ok(whom), Ok(name)) => whom.look_up(&name, kind, read).await,
            (Err(failure), _) => DnsAnswer::Failed(failure),
            (Ok(_), Err(error)) => DnsAnswer::Failed(error.to_string()),
        }
    }
}

impl Whom {
    /// Whom the system asks now. Blocks while its files are read.
    fn of_system() -> Result<Self, NetError> {
        let (config, options) = read_system_conf()?;
        let (search, ndots) = (config.search().to_vec(), options.ndots);
        let hosts = match Hosts::from_system() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Hosts::default(),
            hosts => hosts?,
        };
        let servers = resolvers(config.name_servers().iter().cloned(), options)?;
        Ok(Self { servers, search, ndots, hosts: hosts.into() })
    }

    /// The records of the first name of the search list that has some. There are none only if no name was a failure.
    async fn look_up<R: Ord>(&self, name: &Name, kind: RecordType, read: fn(&RData) -> Option<R>) -> DnsAnswer<R> {
        if let Some(answer) = self.in_hosts(name, kind, read) {
            return answer;
        }
        let mut failure = None;
        for name in self.names(name) {
            match self.ask(&name, kind, read).await {
                DnsAnswer::Empty => {}
                DnsAnswer::Failed(new) => failure = failure.or(Some(new)),
                records @ DnsAnswer::Records { .. } => return records,
            }
        }
        failure.map_or(DnsAnswer::Empty, DnsAnswer::Failed)
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

    /// Asks one server after another, until one gives an answer.
    async fn ask<R: Ord>(&self, name: &Name, kind: RecordType, read: fn(&RData) -> Option<R>) -> DnsAnswer<R> {
        let mut failure = "there is no server to ask".to_owned();
        for server in &self.servers {
            let answered = match server.lookup(name.clone(), kind).await {
                Ok(found) => match found.message().metadata.response_code {
                    ResponseCode::NoError | ResponseCode::NXDomain => Ok(read_answer(found.answers(), read)),
                    code => Err(code.to_string()),
                },
                Err(NetError::Dns(DnsError::NoRecordsFound(none))) => empty(&none),
                Err(error) => Err(error.to_string()),
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
) -> Result<Vec<TokioResolver>, NetError> {
    let mut options = options;
    options.cache_size = 0;
    options.timeout = options.timeout.min(TRY);
    options.attempts = options.attempts.min(RETRIES);
    options.use_hosts_file = ResolveHosts::Never;
    // The TTL of a name that leads to another name counts too.
    options.preserve_intermediates = true;
    let resolver = |server| {
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
        builder.with_options(options.clone()).build()
    };
    servers.map(resolver).collect()
}

/// An answer without records says that there are none, unless it only says which other servers would know, or fails by a
/// code of its own.
fn empty<R>(none: &NoRecords) -> Result<DnsAnswer<R>, String> {
    match none.response_code {
        ResponseCode::NoError if none.soa.is_none() && none.ns.is_some() => {
            Err("the server only names other servers".into())
        }
        ResponseCode::NoError | ResponseCode::NXDomain => Ok(DnsAnswer::Empty),
        code => Err(code.to_string()),
    }
}

fn read_answer<R: Ord>(records: &[Record], read: fn(&RData) -> Option<R>) -> DnsAnswer<R> {
    let ttl = records.iter().map(|record| record.ttl).min().unwrap_or_default();
    let records: BTreeSet<R> = records.iter().filter_map(|record| read(&record.data)).collect();
    match records.is_empty() {
        true => DnsAnswer::Empty,
        false => DnsAnswer::Records { records, ttl: Duration::from_secs(ttl.into()) },
    }
}

fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(address) => Some(address.0.into()),
        RData::AAAA(address) => Some(address.0.into()),
        _ => None,
    }
}

/// The target of a service. The root as a target says that there is no such service (RFC 2782).
fn target(data: &RData) -> Option<ServiceTarget> {
    let RData::SRV(service) = data else { return None };
    let name = service.target.to_string();
    let name = name.trim_end_matches('.').to_lowercase();
    let (priority, weight, port) = (service.priority, service.weight, service.port);
    (!name.is_empty() && port > 0).then_some(ServiceTarget { priority, weight, port, name })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn whom(search: &[&str], ndots: usize) -> Whom {
        let mut hosts = Hosts::default();
        hosts.read_hosts_conf(&b"192.0.2.7 here\n"[..]).unwrap();
        let search = search.iter().map(|domain| Name::from_ascii(domain).unwrap()).collect();
        Whom { servers: Vec::new(), search, ndots, hosts: hosts.into() }
    }

    #[test]
    fn a_name_is_searched_for_as_libc_does() {
        let asked = |name: &str, ndots| -> Vec<String> {
            let names = whom(&["ns.local", "local"], ndots).names(&Name::from_ascii(name).unwrap());
            names.iter().map(ToString::to_string).collect()
        };
        assert_eq!(asked("chat", 1), ["chat.ns.local.", "chat.local.", "chat."]);
        assert_eq!(asked("chat.example", 1), ["chat.example.", "chat.example.ns.local.", "chat.example.local."]);
        assert_eq!(asked("chat.example", 5), ["chat.example.ns.local.", "chat.example.local.", "chat.example."]);
        assert_eq!(asked("chat.example.", 5), ["chat.example."]);
        assert_eq!(asked("localhost", 5)[0], "localhost.");
    }

    #[tokio::test]
    async fn the_file_of_hosts_is_asked_before_any_server() {
        let whom = whom(&["local"], 1);
        let look_up = async |name: &str, kind| whom.look_up(&Name::from_ascii(name).unwrap(), kind, address).await;
        let DnsAnswer::Records { records, .. } = look_up("here", RecordType::A).await else { panic!("no records") };
        assert_eq!(records, BTreeSet::from([[192, 0, 2, 7].into()]));
        assert_eq!(look_up("here", RecordType::AAAA).await, DnsAnswer::Empty);
        assert!(matches!(look_up("elsewhere", RecordType::A).await, DnsAnswer::Failed(_)));
    }

    #[test]
    fn only_an_answer_that_knows_the_name_says_that_it_is_gone() {
        let none = |code| NoRecords::new(Query::query(Name::root(), RecordType::A), code);
        let says = |none: NoRecords| empty::<IpAddr>(&none);
        assert_eq!(says(none(ResponseCode::NXDomain)), Ok(DnsAnswer::Empty));
        assert_eq!(says(none(ResponseCode::NoError)), Ok(DnsAnswer::Empty));
        assert!(says(none(ResponseCode::Unknown(77))).is_err());
        let mut referral = none(ResponseCode::NoError);
        referral.ns = Some([].into());
        assert!(says(referral).is_err());
    }
}
