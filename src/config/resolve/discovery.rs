//! The entries of `backends`: servers, and places where servers are found.

use std::{collections::HashSet, path::Path};

use super::{Resolver, upstreams::NOTHING};
use crate::{
    balance::BackendSettings,
    config::{document::At, file, names},
    discovery::{BackendEntry, Family, FindingPlace, FoundTerms, LookupSettings, NameKind, NamePlace, identity},
};

/// The keys of an entry that say where its servers are.
const KEYS: &str = "address, dns, srv or file";

impl Resolver {
    /// The entries of one upstream in the order of the file, each with its index there. An entry that was refused is left out.
    pub(super) fn backend_entries(
        &mut self,
        backends: Vec<file::Backend>,
        discovery: file::Discovery,
        upstream: &str,
        base: &Path,
        at: &At,
    ) -> Vec<(usize, BackendEntry)> {
        let all = at.key("backends");
        if backends.is_empty() {
            let help = "name at least one: backends: [{ address: \"127.0.0.1:3000\" }]";
            self.error(all.clone(), format!("upstream `{upstream}` has no backend"), help);
        }
        let is_default = serde_json::to_value(&discovery).ok() == serde_json::to_value(file::Discovery::default()).ok();
        if !is_default && !backends.iter().any(|backend| backend.dns.is_some() || backend.srv.is_some()) {
            self.warn(at.key("discovery"), "`discovery` without `dns` or `srv` under `backends`", NOTHING);
        }
        let lookup = self.lookup_settings(discovery, &at.key("discovery"));
        let count = backends.len();
        let mut entries = Vec::with_capacity(count);
        for (index, backend) in backends.into_iter().enumerate() {
            entries.extend(self.backend_entry(backend, &lookup, base, &all.index(index)).map(|entry| (index, entry)));
        }
        let is_down = |entry: &BackendEntry| match entry {
            BackendEntry::Named(backend) => backend.down,
            BackendEntry::Found { terms, .. } => terms.as_ref().is_some_and(|terms| terms.down),
        };
        if count > 0 && entries.len() == count && entries.iter().all(|(_, entry)| is_down(entry)) {
            let message = format!("every backend of `{upstream}` is down");
            self.warn(all.clone(), message, "every request to it is answered 503");
        }
        let mut seen = HashSet::new();
        for (index, entry) in &entries {
            let (key, name, help) = match entry {
                BackendEntry::Named(BackendSettings { address, .. }) => {
                    ("address", identity(address), "give the first one more `weight` instead")
                }
                BackendEntry::Found { place, .. } => (place.kind(), place.identity(), "once is enough"),
            };
            if !seen.insert((key, name)) {
                let message = match entry {
                    BackendEntry::Named(backend) => {
                        format!("backend `{}` is named twice in `{upstream}`", backend.address)
                    }
                    BackendEntry::Found { place, .. } => format!("`{}` is named twice in `{upstream}`", place.name()),
                };
                self.error(all.index(*index).key(key), message, help);
            }
        }
        entries
    }

    /// `None` = a problem was noted.
    fn backend_entry(
        &mut self,
        backend: file::Backend,
        lookup: &LookupSettings,
        base: &Path,
        at: &At,
    ) -> Option<BackendEntry> {
        let file::Backend { address, dns, srv, file, weight, max_conns, backup, down } = backend;
        let terms = FoundTerms { weight, max_conns, backup, down };
        let looked_up = |kind| FindingPlace::Names(NamePlace { kind, settings: lookup.clone() });
        match (address, dns, srv, file) {
            (Some(address), None, None, None) => {
                let address = address.0;
                let settings = BackendSettings { address, weight, max_conns, backup, down, tier: 0, found: None };
                Some(BackendEntry::Named(settings))
            }
            (None, Some(names::DnsAddress { host, port }), None, None) => {
                let place = looked_up(NameKind::Host { host, port });
                Some(BackendEntry::Found { place, terms: Some(terms) })
            }
            (None, None, Some(names::ServiceName(service)), None) => {
                self.warn_of_idle(&[("weight", weight != 1)], "srv", "the records of the service have weights", at);
                Some(BackendEntry::Found { place: looked_up(NameKind::Service(service)), terms: Some(terms) })
            }
            (None, None, None, Some(file)) => {
                let idle = [("weight", weight != 1), ("max_conns", max_conns != 0), ("backup", backup), ("down", down)];
                self.warn_of_idle(&idle, "file", "write it in the list", at);
                Some(BackendEntry::Found { place: FindingPlace::File(base.join(file)), terms: None })
            }
            (None, None, None, None) => {
                self.error(at.clone(), "missing key `address`", format!("an entry has one of {KEYS}"));
                None
            }
            _ => {
                let help = "one entry for each: make several of it";
                self.error(at.clone(), format!("an entry has only one of {KEYS}"), help);
                None
            }
        }
    }

    fn warn_of_idle(&mut self, keys: &[(&str, bool)], beside: &str, help: &str, at: &At) {
        for (key, _) in keys.iter().filter(|(_, is_idle)| *is_idle) {
            self.warn(at.key(key), format!("`{key}` beside `{beside}`"), format!("{NOTHING}: {help}"));
        }
    }

    fn lookup_settings(&mut self, discovery: file::Discovery, at: &At) -> LookupSettings {
        let file::Discovery { resolver: names::Resolvers(resolvers), family, min_ttl, max_ttl, empty_after, most } =
            discovery;
        let mut servers = Vec::with_capacity(resolvers.len());
        let mut asks_system = false;
        for resolver in resolvers {
            match resolver {
                names::ResolverAddress::System => asks_system = true,
                names::ResolverAddress::Server(address) => servers.push(address),
            }
        }
        if asks_system && !servers.is_empty() {
            self.error(at.key("resolver"), "`system` beside addresses", "name the one or the others");
        } else if !asks_system && servers.is_empty() {
            self.error(at.key("resolver"), "`resolver` names nobody", "write system, or the address of a DNS server");
        }
        let min_ttl = self.positive(at.key("min_ttl"), min_ttl);
        let max_ttl = self.positive(at.key("max_ttl"), max_ttl);
        if max_ttl < min_ttl {
            self.error(at.key("max_ttl"), "`max_ttl` is shorter than `min_ttl`", "it bounds the same wait from above");
        }
        LookupSettings {
            resolvers: servers,
            family: match family {
                file::AddressFamily::Any => Family::Any,
                file::AddressFamily::Ipv4 => Family::Ipv4,
                file::AddressFamily::Ipv6 => Family::Ipv6,
            },
            min_ttl,
            max_ttl,
            empty_after: empty_after.0,
            most,
        }
    }
}
