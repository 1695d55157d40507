//! From the mirror of the file to what runs. PURE: no file, no socket, no clock.
//!
//! Every mirror is taken apart without `..`: a key that is parsed and never read does not compile.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::Path,
    time::Duration as StdDuration,
};

use super::{
    CertificateFiles, Config, Limits, Listener, Log, LogFormat, Tcp, Timeouts, Tls, diagnostics::Severity,
    diagnostics::nearest, document::At, file, values,
};
use crate::{
    balance::{BackendSettings, Policy, UpstreamSettings},
    routing::{HostPattern, Route, RouteEntry, RouteTable},
    ws::keepalive,
};

/// Something that the file may not say, or should not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) severity: Severity,
    pub(super) at: At,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

/// hyper refuses a smaller read buffer, which is what bounds a head.
const SMALLEST_HEADER_SIZE: u64 = 8 * 1024;
const LARGEST_HEADER_SIZE: u64 = 1024 * 1024;

/// Half of 55 s, the shortest idle limit that is common on a path: above it, one lost ping loses the session.
const LONGEST_SAFE_PING: StdDuration = StdDuration::from_secs(27);

/// `MAX_TCP_KEEPIDLE` and `MAX_TCP_KEEPINTVL` of Linux.
const LONGEST_TCP_KEEPALIVE: StdDuration = StdDuration::from_secs(32_767);

/// `TCP_USER_TIMEOUT` is an int of milliseconds.
const LONGEST_USER_TIMEOUT: StdDuration = StdDuration::from_secs(24 * 24 * 3600);

/// Turns `file` into what runs, paths relative to `base`. The configuration is only to be used if no problem is an
/// error: a refused part is left out of it.
pub(super) fn resolve(file: file::File, base: &Path) -> (Config, Vec<Problem>) {
    let file::File { workers, listeners, upstreams, routes, keepalive, timeouts, limits, tcp, trusted_proxies, log } =
        file;
    let mut resolver = Resolver { problems: Vec::new(), root: At::default() };
    let timeouts = resolver.timeouts(timeouts);
    let listeners = resolver.listeners(listeners, base);
    let upstreams = resolver.upstreams(upstreams);
    let routes = resolver.routes(routes, &upstreams, &keepalive, timeouts.idle);
    let config = Config {
        workers: workers.0,
        listeners,
        upstreams,
        routes,
        timeouts,
        limits: resolver.limits(limits),
        tcp: resolver.tcp(tcp),
        trusted_proxies: resolver.trusted_proxies(trusted_proxies),
        log: resolver.log(log),
    };
    (config, resolver.problems)
}

struct Resolver {
    problems: Vec<Problem>,
    root: At,
}

/// The keepalive of a route before its override, and who says each interval.
struct PingSource {
    interval: Option<StdDuration>,
    at: At,
}

impl Resolver {
    fn error(&mut self, at: At, message: impl Into<String>, help: impl Into<String>) {
        self.note(Severity::Error, at, message.into(), help.into());
    }

    fn warn(&mut self, at: At, message: impl Into<String>, help: impl Into<String>) {
        self.note(Severity::Warning, at, message.into(), help.into());
    }

    fn note(&mut self, severity: Severity, at: At, message: String, help: String) {
        let problem = Problem { severity, at, message, help: Some(help).filter(|help| !help.is_empty()) };
        // Routes share the top-level keepalive, and so its problems.
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    fn listeners(&mut self, listeners: Vec<file::Listener>, base: &Path) -> Vec<Listener> {
        let all = self.root.key("listeners");
        if listeners.is_empty() {
            self.error(all.clone(), "no listener", "name at least one: listeners: [{ bind: 0.0.0.0:8080 }]");
        }
        let mut resolved: Vec<Listener> = Vec::with_capacity(listeners.len());
        for (index, file::Listener { bind, tls }) in listeners.into_iter().enumerate() {
            let at = all.index(index);
            if let Some(first) = resolved.iter().find(|other| clash(other.bind, bind.0)) {
                let message = format!("two listeners on one address: {} and {}", first.bind, bind);
                self.error(at.key("bind"), message, "remove one, or give it another port");
            }
            let tls = tls.and_then(|tls| self.tls(tls, &at.key("tls"), base));
            resolved.push(Listener { bind: bind.0, tls });
        }
        resolved
    }

    fn tls(&mut self, tls: file::Tls, at: &At, base: &Path) -> Option<Tls> {
        let file::Tls { cert, key, self_signed, certificates } = tls;
        let pair = |cert: &Path, key: &Path| CertificateFiles { cert: base.join(cert), key: base.join(key) };
        let several =
            certificates.iter().map(|file::CertificateFiles { cert, key }| pair(cert, key)).collect::<Vec<_>>();
        let certificates = match (cert, key) {
            (Some(cert), Some(key)) if several.is_empty() => vec![pair(&cert, &key)],
            (None, None) if !several.is_empty() => several,
            (Some(_), None) if several.is_empty() => {
                self.error(at.key("cert"), "`cert` without `key`", "name the file of its private key: `key`");
                return None;
            }
            (None, Some(_)) if several.is_empty() => {
                self.error(at.key("key"), "`key` without `cert`", "name the file of its certificate: `cert`");
                return None;
            }
            (None, None) => {
                self.error(at.clone(), "TLS without a certificate", "name the two files: `cert` and `key`");
                return None;
            }
            _ => {
                let help = "move the pair to the head of `certificates`";
                self.error(at.key("certificates"), "both `certificates` and `cert`/`key`", help);
                return None;
            }
        };
        Some(Tls { certificates, self_signed })
    }

    fn upstreams(&mut self, upstreams: BTreeMap<String, file::Upstream>) -> Vec<UpstreamSettings> {
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
        UpstreamSettings { name, policy, max_fails, fail_timeout, tries, backends }
    }

    fn backends(&mut self, backends: Vec<file::Backend>, upstream: &str, all: &At) -> Vec<BackendSettings> {
        if backends.is_empty() {
            let help = "name at least one: backends: [{ address: \"127.0.0.1:3000\" }]";
            self.error(all.clone(), format!("upstream `{upstream}` has no backend"), help);
        } else if backends.iter().all(|backend| backend.down) {
            let message = format!("every backend of `{upstream}` is down");
            self.warn(all.clone(), message, "every request to it is answered 503");
        }
        let mut resolved: Vec<BackendSettings> = Vec::with_capacity(backends.len());
        for (index, backend) in backends.into_iter().enumerate() {
            let file::Backend { address: values::BackendAddress(address), weight, max_conns, backup, down } = backend;
            if resolved.iter().any(|other| same_backend(&other.address, &address)) {
                let message = format!("backend `{address}` is named twice in `{upstream}`");
                self.error(all.index(index).key("address"), message, "give the first one more `weight` instead");
            }
            resolved.push(BackendSettings { address, weight, max_conns, backup, down });
        }
        resolved
    }

    fn routes(
        &mut self,
        routes: Vec<file::Route>,
        upstreams: &[UpstreamSettings],
        keepalive: &file::Keepalive,
        idle: Option<StdDuration>,
    ) -> RouteTable {
        let all = self.root.key("routes");
        if routes.is_empty() {
            let help = "name at least one: routes: [{ upstream: name }]";
            self.error(all.clone(), "no route: every request would be answered 404", help);
        }
        let mut seen: Vec<(Option<String>, String)> = Vec::new();
        let mut used = vec![false; upstreams.len()];
        let mut entries = Vec::with_capacity(routes.len());
        for (index, route) in routes.into_iter().enumerate() {
            let at = all.index(index);
            let file::Route { host, path, upstream, keepalive: differs } = route;
            let keepalive = self.keepalive(keepalive, differs, idle, &at.key("keepalive"));
            let name = format!("{}{path}", host.as_deref().unwrap_or("*"));
            let pattern = self.host(host.as_deref(), &at.key("host"));
            self.path(&path, &at.key("path"));
            let key = (host.map(|host| host.to_ascii_lowercase()), path.clone());
            if seen.contains(&key) {
                self.error(at.clone(), format!("a second route for {name}"), "remove one of the two");
            }
            seen.push(key);
            let Some(upstream) = self.route_upstream(&upstream, upstreams, at.key("upstream")) else { continue };
            used[upstream] = true;
            entries.push(RouteEntry { host: pattern, path, route: Route { name, upstream, keepalive } });
        }
        for (upstream, _) in upstreams.iter().zip(used).filter(|(_, used)| !used) {
            let at = self.root.key("upstreams").key(&upstream.name);
            let help = "add a route to it, or remove it";
            self.warn(at, format!("no route goes to upstream `{}`", upstream.name), help);
        }
        RouteTable::new(entries)
    }

    fn route_upstream(&mut self, name: &str, upstreams: &[UpstreamSettings], at: At) -> Option<usize> {
        let found = upstreams.iter().position(|upstream| upstream.name == name);
        if found.is_none() {
            let names = || upstreams.iter().map(|upstream| upstream.name.as_str());
            let help = match nearest(name, names()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None if upstreams.is_empty() => String::new(),
                None => format!("the upstreams are: {}", names().collect::<Vec<_>>().join(", ")),
            };
            self.error(at, format!("no upstream is called `{name}`"), help);
        }
        found
    }

    fn host(&mut self, host: Option<&str>, at: &At) -> Option<HostPattern> {
        match HostPattern::parse(host?) {
            Ok(pattern) => Some(pattern),
            Err(why) => {
                self.error(at.clone(), format!("`{}` is not a host", host.unwrap_or_default()), why);
                None
            }
        }
    }

    fn path(&mut self, path: &str, at: &At) {
        if !path.starts_with('/') {
            self.error(at.clone(), format!("path `{path}` does not start with `/`"), format!("write /{path}"));
        } else if let Some(never) = path.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '?' | '#')) {
            let help = format!(
                "the raw path of a request holds no {never:?}: the query is not part of it, other bytes are %-encoded"
            );
            self.warn(at.clone(), format!("path `{path}` can never match"), help);
        }
    }

    fn keepalive(
        &mut self,
        common: &file::Keepalive,
        differs: file::KeepaliveOverride,
        idle: Option<StdDuration>,
        at: &At,
    ) -> keepalive::Settings {
        let file::Keepalive { ping_interval, pong_timeout, sides } = common;
        let file::KeepaliveOverride { ping_interval: own_interval, pong_timeout: own_timeout, sides: own_sides } =
            differs;
        let sides = own_sides.as_ref().unwrap_or(sides);
        let ping = PingSource {
            interval: unless_zero(own_interval.as_ref().unwrap_or(ping_interval)).filter(|_| !sides.is_empty()),
            at: if own_interval.is_some() { at.clone() } else { self.root.key("keepalive") }.key("ping_interval"),
        };
        self.ping_interval(&ping, idle);
        keepalive::Settings {
            ping_interval: ping.interval,
            pong_timeout: unless_zero(own_timeout.as_ref().unwrap_or(pong_timeout)),
            client: sides.contains(&file::Side::Client),
            backend: sides.contains(&file::Side::Backend),
        }
    }

    fn ping_interval(&mut self, ping: &PingSource, idle: Option<StdDuration>) {
        let Some(interval) = ping.interval else { return };
        let shown = values::Duration(interval);
        if let Some(idle) = idle.filter(|idle| interval >= *idle) {
            let idle = values::Duration(idle);
            let message = format!("`ping_interval` ({shown}) is not shorter than `timeouts.idle` ({idle})");
            let help =
                "every quiet session would be ended before its first ping: set one of them to 0s, or ping earlier";
            self.error(ping.at.clone(), message, help);
        } else if interval > LONGEST_SAFE_PING {
            let message = format!("`ping_interval` ({shown}) is longer than half of the shortest common limit, 55s");
            self.warn(ping.at.clone(), message, "with 27s or less, one lost ping does not lose the session");
        }
    }

    fn timeouts(&mut self, timeouts: file::Timeouts) -> Timeouts {
        let at = self.root.key("timeouts");
        let file::Timeouts {
            tls_handshake,
            request_header,
            request_body,
            keep_alive,
            connect,
            upgrade,
            response,
            idle,
            close,
            drain,
        } = timeouts;
        let mut positive = |key, timeout| self.positive(at.key(key), timeout);
        Timeouts {
            tls_handshake: positive("tls_handshake", tls_handshake),
            request_header: positive("request_header", request_header),
            request_body: positive("request_body", request_body),
            keep_alive: positive("keep_alive", keep_alive),
            connect: positive("connect", connect),
            upgrade: positive("upgrade", upgrade),
            response: positive("response", response),
            idle: unless_zero(&idle),
            close: positive("close", close),
            drain: positive("drain", drain),
        }
    }

    fn limits(&mut self, limits: file::Limits) -> Limits {
        let file::Limits { header_size, headers, body_size } = limits;
        if !(SMALLEST_HEADER_SIZE..=LARGEST_HEADER_SIZE).contains(&header_size.0) {
            let at = self.root.key("limits").key("header_size");
            self.error(at, format!("`header_size` ({header_size}) is out of range"), "from 8KiB to 1MiB");
        }
        Limits {
            header_size: usize::try_from(header_size.0).unwrap_or(usize::MAX),
            headers,
            body_size: Some(body_size.0).filter(|bytes| *bytes > 0),
        }
    }

    fn tcp(&mut self, tcp: file::Tcp) -> Tcp {
        let at = self.root.key("tcp");
        let file::Tcp { keepalive_idle, keepalive_interval, keepalive_probes, user_timeout } = tcp;
        for (key, time) in [("keepalive_idle", keepalive_idle), ("keepalive_interval", keepalive_interval)] {
            if time.0.subsec_nanos() != 0 || time.0 > LONGEST_TCP_KEEPALIVE {
                let help = "the kernel takes whole seconds, at most 32767s";
                self.error(at.key(key), format!("`{key}` cannot be {time}"), help);
            }
        }
        if user_timeout.0 > LONGEST_USER_TIMEOUT {
            self.error(at.key("user_timeout"), format!("`user_timeout` cannot be {user_timeout}"), "at most 24d");
        }
        Tcp {
            keepalive_idle: unless_zero(&keepalive_idle),
            keepalive_interval: self.positive(at.key("keepalive_interval"), keepalive_interval),
            keepalive_probes,
            user_timeout: unless_zero(&user_timeout),
        }
    }

    fn trusted_proxies(&mut self, networks: Vec<values::Cidr>) -> Vec<ipnet::IpNet> {
        for (index, values::Cidr(network)) in networks.iter().enumerate() {
            if *network != network.trunc() {
                let at = self.root.key("trusted_proxies").index(index);
                self.warn(
                    at,
                    format!("`{network}` has bits beyond its prefix"),
                    format!("read as {}", network.trunc()),
                );
            }
        }
        networks.into_iter().map(|network| network.0.trunc()).collect()
    }

    fn log(&mut self, log: file::Log) -> Log {
        const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
        let file::Log { format, level, access } = log;
        let at = self.root.key("log").key("level");
        let is_filter = level.contains(['=', ',']);
        if is_filter && tracing_subscriber::EnvFilter::try_new(&level).is_err() {
            let help = "write levels per module: info,longwire::net=debug";
            self.error(at, format!("`{level}` is not a filter"), help);
        } else if !is_filter && !LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
            let help = match nearest(&level, LEVELS) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("one of {}, or a filter such as info,longwire::net=debug", LEVELS.join(", ")),
            };
            self.error(at, format!("`{level}` is not a level"), help);
        }
        let format = match format {
            file::LogFormat::Json => LogFormat::Json,
            file::LogFormat::Text => LogFormat::Text,
        };
        Log { format, level, access }
    }

    fn positive(&mut self, at: At, time: values::Duration) -> StdDuration {
        if time.0.is_zero() {
            self.error(
                at.clone(),
                format!("`{at}` cannot be 0s"),
                "give it a time; only some waits can be without end",
            );
        }
        time.0
    }
}

fn unless_zero(time: &values::Duration) -> Option<StdDuration> {
    Some(time.0).filter(|time| !time.is_zero())
}

/// Whether binding both would fail. The unspecified address takes the port on every other of its family; IPv6
/// listeners are v6-only, as in nginx.
fn clash(a: SocketAddr, b: SocketAddr) -> bool {
    let (ip_a, ip_b) = (a.ip(), b.ip());
    let overlap =
        ip_a == ip_b || (ip_a.is_ipv4() == ip_b.is_ipv4() && (ip_a.is_unspecified() || ip_b.is_unspecified()));
    a.port() == b.port() && a.port() != 0 && overlap
}

/// One backend may be spelled in several ways: `[::1]` and `[0:0:0:0:0:0:0:1]`, a name in either case.
fn same_backend(a: &str, b: &str) -> bool {
    match (a.parse::<SocketAddr>(), b.parse::<SocketAddr>()) {
        (Ok(a), Ok(b)) => a.port() == b.port() && canonical(a) == canonical(b),
        _ => a.eq_ignore_ascii_case(b),
    }
}

fn canonical(address: SocketAddr) -> IpAddr {
    address.ip().to_canonical()
}
