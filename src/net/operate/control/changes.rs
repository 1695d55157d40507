//! What one configuration has that another has not, by names of the file. PURE.

use std::{collections::HashMap, mem};

use serde_json::Value;

use crate::{
    balance::{BackendSettings, UpstreamSettings},
    config::{Config, ListenAddress, Listener, Log, WaySettings},
    discovery::{BackendEntry, FindingPlace},
    routing::{Route, RouteAction},
};

/// What a reload changed, by the names of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Reloaded {
    /// Addresses that are new.
    pub listeners_added: Vec<ListenAddress>,
    /// Addresses whose TLS or whose PROXY headers have changed, or the rights of whose file.
    pub listeners_changed: Vec<ListenAddress>,
    /// Addresses on which nothing is accepted any more.
    pub listeners_removed: Vec<ListenAddress>,
    /// Routes that are new.
    pub routes_added: Vec<String>,
    /// Routes that lead elsewhere or have other settings.
    pub routes_changed: Vec<String>,
    /// Routes that were removed.
    pub routes_removed: Vec<String>,
    /// Upstreams that are new.
    pub upstreams_added: Vec<String>,
    /// Upstreams with other settings. Their backends are listed under `backends_…`.
    pub upstreams_changed: Vec<String>,
    /// Upstreams that were removed.
    pub upstreams_removed: Vec<String>,
    /// Backends that are new, as `upstream/address`.
    pub backends_added: Vec<String>,
    /// Backends with other settings.
    pub backends_changed: Vec<String>,
    /// Backends that were removed.
    pub backends_removed: Vec<String>,
    /// Other keys whose new value holds from now on, such as `limits.sessions`.
    pub settings_changed: Vec<String>,
    /// Keys whose change needs a restart.
    pub needs_restart: Vec<&'static str>,
}

impl Reloaded {
    /// Whether the file says what it said before.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The changes in one line: `routes_added=*/ws/ settings_changed=limits.sessions`.
    pub(super) fn summary(&self) -> String {
        let addresses = |list: &[ListenAddress]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let parts = [
            ("listeners_added", addresses(&self.listeners_added)),
            ("listeners_changed", addresses(&self.listeners_changed)),
            ("listeners_removed", addresses(&self.listeners_removed)),
            ("routes_added", self.routes_added.clone()),
            ("routes_changed", self.routes_changed.clone()),
            ("routes_removed", self.routes_removed.clone()),
            ("upstreams_added", self.upstreams_added.clone()),
            ("upstreams_changed", self.upstreams_changed.clone()),
            ("upstreams_removed", self.upstreams_removed.clone()),
            ("backends_added", self.backends_added.clone()),
            ("backends_changed", self.backends_changed.clone()),
            ("backends_removed", self.backends_removed.clone()),
            ("settings_changed", self.settings_changed.clone()),
        ];
        let parts = parts.iter().filter(|(_, names)| !names.is_empty());
        parts.map(|(what, names)| format!("{what}={}", names.join(","))).collect::<Vec<_>>().join(" ")
    }
}

/// Everything that has changed, apart from the sockets of listeners and the admin interface: only those who have these
/// can tell. `started`: the configuration that the process began with. Keys that need a restart are compared with this
/// one.
pub(super) fn between(started: &Config, before: &Config, after: &Config) -> Reloaded {
    let mut changes = Reloaded { needs_restart: needs_restart(started, after), ..Reloaded::default() };
    let (earlier, now) = (listeners(before), listeners(after));
    let changed = now.iter().filter(|(bind, listener)| earlier.get(*bind).is_some_and(|other| other != *listener));
    changes.listeners_changed = changed.map(|(bind, _)| (*bind).clone()).collect();
    changes.listeners_changed.sort_unstable();
    [changes.upstreams_added, changes.upstreams_changed, changes.upstreams_removed] =
        compare(upstreams(before), upstreams(after));
    [changes.backends_added, changes.backends_changed, changes.backends_removed] =
        compare(backends(before), backends(after));
    [changes.routes_added, changes.routes_changed, changes.routes_removed] = compare(routes(before), routes(after));
    let mut keys = different_keys(&before.written, &after.written);
    // What is written does not show what signs in.
    if before.fleet != after.fleet && !keys.iter().any(|key| key.starts_with("fleet")) {
        keys.push("fleet.valkey".to_owned());
    }
    let keys = keys.into_iter().filter(|key| !changes.needs_restart.iter().any(|other| is_within(key, other)));
    changes.settings_changed = keys.collect();
    changes
}

/// Keys whose change takes effect only at the next start. Every key has its place here: a new key does not compile
/// before somebody has decided about it. `tests/it/reload_keys.rs` tests key by key.
fn needs_restart(started: &Config, after: &Config) -> Vec<&'static str> {
    let Config {
        workers,
        coalesce,
        handover,
        tracing,
        log: Log { format, level, file, access: _, sample_requests: _ },
        // The admin interface itself tells (`Desk::read`).
        admin: _,
        // The new values are in the plan, which is asked each time.
        listeners: _,
        upstreams: _,
        ways: _,
        backend_entries: _,
        service_ways: _,
        routes: _,
        client_ping_interval: _,
        timeouts: _,
        drain: _,
        limits: _,
        // `operate/fleet` follows.
        fleet: _,
        tcp: _,
        probe: _,
        trusted_proxies: _,
        sticky_key_file: _,
        via_header: _,
        // These are no keys.
        written: _,
        origin: _,
    } = started;
    let keys = [
        ("workers", *workers != after.workers),
        ("coalesce", *coalesce != after.coalesce),
        ("handover", *handover != after.handover),
        ("tracing", *tracing != after.tracing),
        ("log.format", *format != after.log.format),
        ("log.level", *level != after.log.level),
        ("log.file", *file != after.log.file),
    ];
    keys.into_iter().filter_map(|(key, is_other)| is_other.then_some(key)).collect()
}

fn listeners(config: &Config) -> HashMap<&ListenAddress, &Listener> {
    config.listeners.iter().map(|listener| (&listener.bind, listener)).collect()
}

type Named<T> = Vec<(String, T)>;

/// The settings of an upstream without its backends, and the places where backends are found.
fn upstreams(config: &Config) -> Named<(UpstreamSettings, WaySettings, Vec<FindingPlace>)> {
    let own = |upstream: &UpstreamSettings| UpstreamSettings { backends: Vec::new(), ..upstream.clone() };
    let places = |entries: &[BackendEntry]| entries.iter().filter_map(BackendEntry::place).cloned().collect();
    let all = config.upstreams.iter().zip(&config.ways).zip(&config.backend_entries);
    all.map(|((upstream, way), entries)| (upstream.name.clone(), (own(upstream), way.clone(), places(entries))))
        .collect()
}

fn backends(config: &Config) -> Named<BackendSettings> {
    let of = |upstream: &UpstreamSettings| {
        let name = |backend: &BackendSettings| format!("{}/{}", upstream.name, backend.address);
        upstream.backends.iter().map(|backend| (name(backend), backend.clone())).collect::<Vec<_>>()
    };
    config.upstreams.iter().flat_map(of).collect()
}

/// The settings of a route, the name of its upstream and how its service is reached, if it has these. Their indices mean
/// nothing in another file.
fn routes(config: &Config) -> Named<(Route, Option<String>, Option<WaySettings>)> {
    let of = |route: &Route| {
        let (action, upstream) = match route.action {
            RouteAction::Forward(upstream) => (RouteAction::Forward(0), Some(config.upstreams[upstream].name.clone())),
            RouteAction::Redirect(redirect) => (RouteAction::Redirect(redirect), None),
        };
        let mut auth_request = route.auth_request.clone();
        let service = auth_request.as_mut().map(|auth| config.service_ways[mem::take(&mut auth.service)].clone());
        (route.name.clone(), (Route { action, auth_request, ..route.clone() }, upstream, service))
    };
    config.routes.routes().map(of).collect()
}

/// Names that were added, changed, removed, each list in the order of its file.
fn compare<T: PartialEq>(before: Named<T>, after: Named<T>) -> [Vec<String>; 3] {
    let (mut added, mut changed) = (Vec::new(), Vec::new());
    let mut left: HashMap<_, _> = before.iter().map(|(name, value)| (name, value)).collect();
    for (name, value) in after {
        match left.remove(&name) {
            None => added.push(name),
            Some(other) if *other != value => changed.push(name),
            Some(_) => {}
        }
    }
    let removed = before.iter().map(|(name, _)| name).filter(|name| left.contains_key(name)).cloned().collect();
    [added, changed, removed]
}

/// The keys that differ, apart from the lists of listeners, routes and upstreams.
fn different_keys(before: &Value, after: &Value) -> Vec<String> {
    let mut keys = Vec::new();
    let (Some(before), Some(after)) = (before.as_object(), after.as_object()) else { return keys };
    for (section, value) in after {
        if !matches!(section.as_str(), "listeners" | "routes" | "upstreams") {
            note_difference(section, before.get(section).unwrap_or(&Value::Null), value, &mut keys);
        }
    }
    for section in before.keys().filter(|section| !after.contains_key(*section)) {
        keys.push(section.clone());
    }
    keys
}

fn note_difference(key: &str, before: &Value, after: &Value, keys: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for (name, value) in after {
                note_difference(&format!("{key}.{name}"), before.get(name).unwrap_or(&Value::Null), value, keys);
            }
            let gone = before.keys().filter(|name| !after.contains_key(*name));
            keys.extend(gone.map(|name| format!("{key}.{name}")));
        }
        _ if before != after => keys.push(key.to_owned()),
        _ => {}
    }
}

/// Whether `key` is `other`, or stands under it.
fn is_within(key: &str, other: &str) -> bool {
    key.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
