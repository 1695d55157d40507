//! Groups of backends.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
};

use hyper::http::uri::{Authority, PathAndQuery};

use super::Resolver;
use crate::{
    balance::{CheckKind, HashOn, HealthCheck, OnDown, Policy, UpstreamSettings},
    config::{Admin, ListenAddress, Listener, UnixName, WaySettings, document::At, file},
    discovery::BackendEntry,
};

/// The advice for a key that has no effect beside the others.
pub(super) const NOTHING: &str = "it does nothing here";

impl Resolver {
    /// The upstreams, how connections with the backends of each come about, and the entries of its `backends`.
    pub(super) fn upstreams(
        &mut self,
        upstreams: BTreeMap<String, file::Upstream>,
        base: &Path,
    ) -> (Vec<UpstreamSettings>, Vec<WaySettings>, Vec<Vec<BackendEntry>>) {
        let all = self.root.key("upstreams");
        if upstreams.is_empty() {
            let help = "name at least one: upstreams: { app: { backends: [{ address: \"127.0.0.1:3000\" }] } }";
            self.error(all.clone(), "no upstream", help);
        }
        upstreams.into_iter().map(|(name, upstream)| self.upstream(name, upstream, &all, base)).collect()
    }

    fn upstream(
        &mut self,
        name: String,
        upstream: file::Upstream,
        all: &At,
        base: &Path,
    ) -> (UpstreamSettings, WaySettings, Vec<BackendEntry>) {
        let file::Upstream {
            balance,
            hash_prefix_v4,
            hash_on,
            slow_start,
            max_fails,
            fail_timeout,
            tries,
            max_handshakes,
            handshake_queue,
            reuse,
            proxy_protocol,
            tlvs,
            tls,
            health_check,
            // The routes to the upstream have it.
            via: _,
            discovery,
            backends,
        } = upstream;
        let at = all.key(&name);
        let hash_on = self.hash_on(balance, hash_on, &at);
        let policy = match (balance, hash_on) {
            (file::Balance::Hash, Some(on)) => Policy::Hash { on, prefix_v4: hash_prefix_v4 },
            // `hash` without `hash_on` is an error, noted elsewhere. The value here is not used.
            (file::Balance::Hash | file::Balance::IpHash, _) => Policy::IpHash { prefix_v4: hash_prefix_v4 },
            (file::Balance::LeastConn, _) => Policy::LeastConn,
            (file::Balance::RandomTwo, _) => Policy::RandomTwo,
            (file::Balance::RoundRobin, _) => Policy::RoundRobin,
        };
        let hashes = matches!(policy, Policy::Hash { .. } | Policy::IpHash { .. });
        let default = file::Upstream::default();
        if !hashes && hash_prefix_v4 != default.hash_prefix_v4 {
            self.warn(at.key("hash_prefix_v4"), "`hash_prefix_v4` without `balance: ip_hash`", NOTHING);
        }
        if hashes && !slow_start.0.is_zero() {
            let message = format!("`slow_start` with `balance: {}`", policy.as_str());
            self.warn(at.key("slow_start"), message, "it does nothing here: a client has one backend");
        }
        if max_handshakes == 0 && handshake_queue != default.handshake_queue {
            self.warn(at.key("handshake_queue"), "`handshake_queue` without `max_handshakes`", NOTHING);
        }
        let entries = self.backend_entries(backends, discovery, &name, base, &at);
        let way = WaySettings { tls: tls.map(|tls| self.backend_tls(tls, &entries, &at, base)) };
        let entries: Vec<_> = entries.into_iter().map(|(_, entry)| entry).collect();
        let settings = UpstreamSettings {
            policy,
            max_fails,
            fail_timeout: self.positive(at.key("fail_timeout"), fail_timeout),
            tries,
            slow_start: slow_start.0,
            max_handshakes,
            handshake_queue,
            reuses_connections: reuse == file::Reuse::Safe,
            proxy_protocol: self.header_form(proxy_protocol, &tlvs, &at),
            health_check: health_check.map(|check| self.health_check(check, &at.key("health_check"))),
            backends: entries.iter().filter_map(BackendEntry::named).cloned().collect(),
            name,
        };
        (settings, way, entries)
    }

    /// The part of the request that `balance: hash` goes by; `None` = no such part, or a problem was noted.
    fn hash_on(&mut self, balance: file::Balance, on: Option<file::HashOn>, upstream: &At) -> Option<HashOn> {
        const HELP: &str = "name one: hash_on: { header: X-User }, { cookie: sid } or { query: room }";
        let at = upstream.key("hash_on");
        let Some(file::HashOn { header, cookie, query }) = on else {
            if balance == file::Balance::Hash {
                self.error(upstream.key("balance"), "`balance: hash` without `hash_on`", HELP);
            }
            return None;
        };
        if balance != file::Balance::Hash {
            self.error(at, "`hash_on` without `balance: hash`", "write balance: hash, or remove it");
            return None;
        }
        let (key, on) = match (header, cookie, query) {
            (Some(name), None, None) => ("header", name.parse().ok().map(HashOn::Header)),
            (None, Some(name), None) => ("cookie", is_free_of(&name, " ;,=\"\t").then_some(HashOn::Cookie(name))),
            (None, None, Some(name)) => ("query", is_free_of(&name, " &=#").then_some(HashOn::Query(name))),
            (None, None, None) => {
                self.error(at, "`hash_on` names nothing", HELP);
                return None;
            }
            _ => {
                self.error(at, "`hash_on` names more than one value", HELP);
                return None;
            }
        };
        if on.is_none() {
            self.error(at.key(key), format!("this cannot be the name of a {key}"), "");
        }
        on
    }

    fn health_check(&mut self, check: file::HealthCheck, at: &At) -> HealthCheck {
        let file::HealthCheck { kind, path, status, host, interval, jitter, timeout, rise, fall, on_down } = check;
        let default = file::HealthCheck::default();
        let is_tcp = kind == file::CheckKind::Tcp;
        for (key, is_idle) in [
            ("path", is_tcp && path != default.path),
            ("host", is_tcp && host.is_some()),
            ("status", kind != file::CheckKind::Http && status != default.status),
        ] {
            if is_idle {
                let message = format!("`{key}` does not go with this `kind`");
                self.warn(at.key(key), message, NOTHING);
            }
        }
        if !path.starts_with('/') || path.parse::<PathAndQuery>().is_err() {
            self.error(at.key("path"), format!("`{path}` is not a path"), "it begins with /, and has no spaces");
        }
        if host.as_ref().is_some_and(|host| host.parse::<Authority>().is_err()) {
            self.error(at.key("host"), "this is not a host", "write chat.example.com, with a port if it needs one");
        }
        HealthCheck {
            kind: match kind {
                file::CheckKind::Tcp => CheckKind::Tcp,
                file::CheckKind::Http => CheckKind::Http { path, statuses: status.0 },
                file::CheckKind::Websocket => CheckKind::WebSocket { path },
            },
            host,
            interval: self.positive(at.key("interval"), interval),
            jitter: jitter.0,
            timeout: self.positive(at.key("timeout"), timeout),
            rise,
            fall,
            on_down: match on_down {
                file::OnDown::Keep => OnDown::Keep,
                file::OnDown::Drain => OnDown::Drain,
            },
        }
    }

    /// Notes each backend that is this proxy itself. A request to it would come back again and again until no descriptor is
    /// left.
    ///
    /// Names are not looked up here, except `localhost`.
    pub(super) fn loops(
        &mut self,
        upstreams: &[UpstreamSettings],
        entries: &[Vec<BackendEntry>],
        listeners: &[Listener],
        admin: Option<&Admin>,
        handover: Option<&Path>,
    ) {
        for (upstream, entries) in upstreams.iter().zip(entries) {
            let all = self.root.key("upstreams").key(&upstream.name).key("backends");
            for (index, entry) in entries.iter().enumerate() {
                let Some(backend) = entry.named() else { continue };
                let at = all.index(index).key("address");
                if let (Some(UnixName::Path(name)), Some(path)) = (UnixName::of(&backend.address), handover)
                    && name == path
                {
                    let message = format!("backend `{}` is the socket of the hand-over", backend.address);
                    self.error(at.clone(), message, "name the socket of the server behind longwire");
                }
                if let Some(listener) = listeners.iter().find(|listener| leads_to(&backend.address, &listener.bind)) {
                    let message =
                        format!("backend `{}` is longwire itself, which listens on {}", backend.address, listener.bind);
                    let help = match listener.bind {
                        ListenAddress::Tcp(_) => {
                            "name the address of the server behind it; one of the two needs another port"
                        }
                        ListenAddress::Unix(_) => "name the socket of the server behind it",
                    };
                    self.error(at, message, help);
                } else if admin.is_some_and(|admin| leads_to(&backend.address, &admin.bind.clone().into())) {
                    let message = format!("backend `{}` is the admin interface", backend.address);
                    self.warn(at, message, "every client of the route could ask it and give orders");
                }
            }
        }
    }
}

/// Whether a connection to a backend's address reaches a listener on `bind`.
fn leads_to(address: &str, bind: &ListenAddress) -> bool {
    match bind {
        ListenAddress::Tcp(bind) => literal(address).is_some_and(|address| reaches(address, *bind)),
        ListenAddress::Unix(bind) => UnixName::of(address).is_some_and(|name| name == *bind),
    }
}

/// An address that needs no look-up.
pub(super) fn literal(address: &str) -> Option<SocketAddr> {
    let local = |port: &str| Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port.parse().ok()?));
    match address.rsplit_once(':') {
        Some((host, port)) if host.eq_ignore_ascii_case("localhost") => local(port),
        _ => address.parse().ok(),
    }
}

/// Whether a connection to `address` reaches a listener on `bind`. The addresses of this machine are not known here.
pub(super) fn reaches(address: SocketAddr, bind: SocketAddr) -> bool {
    let (to, at) = (address.ip().to_canonical(), bind.ip().to_canonical());
    // connect(2) takes the unspecified address as this machine.
    let to_here = to.is_loopback() || to.is_unspecified();
    let takes = at.is_unspecified() && (at.is_ipv6() || to.is_ipv4());
    bind.port() != 0
        && address.port() == bind.port()
        && (to == at || to_here && takes || to.is_unspecified() && at.is_loopback())
}

/// Whether `name` can be a name: not empty, no control characters, and none of `characters`.
fn is_free_of(name: &str, characters: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_control() || characters.contains(c))
}
