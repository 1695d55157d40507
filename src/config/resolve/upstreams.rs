//! Groups of backends.

use std::{
    collections::{BTreeMap, HashSet},
    net::SocketAddr,
};

use super::Resolver;
use crate::{
    balance::{BackendSettings, Policy, UpstreamSettings},
    config::{document::At, file, values},
};

impl Resolver {
    pub(super) fn upstreams(&mut self, upstreams: BTreeMap<String, file::Upstream>) -> Vec<UpstreamSettings> {
        let all = self.root.key("upstreams");
        if upstreams.is_empty() {
            let help = "name at least one: upstreams: { app: { backends: [{ address: \"127.0.0.1:3000\" }] } }";
            self.error(all.clone(), "no upstream", help);
        }
        upstreams.into_iter().map(|(name, upstream)| self.upstream(name, upstream, &all)).collect()
    }

    fn upstream(&mut self, name: String, upstream: file::Upstream, all: &At) -> UpstreamSettings {
        let file::Upstream { balance, hash_prefix_v4, max_fails, fail_timeout, tries, backends } = upstream;
        let at = all.key(&name);
        let policy = match balance {
            file::Balance::IpHash => Policy::IpHash { prefix_v4: hash_prefix_v4 },
            file::Balance::LeastConn => Policy::LeastConn,
            file::Balance::RoundRobin => Policy::RoundRobin,
        };
        if balance != file::Balance::IpHash && hash_prefix_v4 != file::Upstream::default().hash_prefix_v4 {
            self.warn(at.key("hash_prefix_v4"), "`hash_prefix_v4` without `balance: ip_hash`", "it does nothing here");
        }
        let fail_timeout = self.positive(at.key("fail_timeout"), fail_timeout);
        let backends = self.backends(backends, &name, &at.key("backends"));
        UpstreamSettings { name, policy, max_fails, fail_timeout, tries, health_check: None, backends }
    }

    fn backends(&mut self, backends: Vec<file::Backend>, upstream: &str, all: &At) -> Vec<BackendSettings> {
        if backends.is_empty() {
            let help = "name at least one: backends: [{ address: \"127.0.0.1:3000\" }]";
            self.error(all.clone(), format!("upstream `{upstream}` has no backend"), help);
        } else if backends.iter().all(|backend| backend.down) {
            let message = format!("every backend of `{upstream}` is down");
            self.warn(all.clone(), message, "every request to it is answered 503");
        }
        let mut seen = HashSet::new();
        let mut resolved: Vec<BackendSettings> = Vec::with_capacity(backends.len());
        for (index, backend) in backends.into_iter().enumerate() {
            let file::Backend { address: values::BackendAddress(address), weight, max_conns, backup, down } = backend;
            if !seen.insert(identity(&address)) {
                let message = format!("backend `{address}` is named twice in `{upstream}`");
                self.error(all.index(index).key("address"), message, "give the first one more `weight` instead");
            }
            resolved.push(BackendSettings { address, weight, max_conns, backup, down });
        }
        resolved
    }
}

/// What two spellings of one backend have in common: `[::1]` and `[0:0:0:0:0:0:0:1]`, a name in either case.
fn identity(address: &str) -> String {
    match address.parse::<SocketAddr>() {
        Ok(address) => SocketAddr::new(address.ip().to_canonical(), address.port()).to_string(),
        Err(_) => address.to_ascii_lowercase(),
    }
}
