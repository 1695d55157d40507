//! Which request takes which route, where it goes, and how the route's sessions are kept alive.

use std::{collections::HashSet, path::Path, time::Duration as StdDuration};

use super::{Problem, Resolver, client_auth, unless_auto, unless_zero};
use crate::{
    balance::UpstreamSettings,
    config::{
        Listener, Timeouts,
        diagnostics::{Severity, nearest},
        document::At,
        file,
        sides::TimeoutPerSide,
        values,
    },
    hosts::HostPattern,
    origins::Origins,
    paths::{self, Limit},
    routing::{PathLimits, Route, RouteAction, RouteEntry, RouteTable, RouteTimeouts},
    ws::{
        Side,
        close::CloseCode,
        keepalive::{self, SideTimes},
    },
};

/// How long the sessions of a route may carry no byte.
struct IdleLimit {
    limit: Option<StdDuration>,
    /// The place of the limit in the file, if the route has its own.
    at: Option<At>,
}

/// What routes take from the rest of the file.
pub(super) struct Surroundings<'a> {
    pub(super) upstreams: &'a [UpstreamSettings],
    pub(super) listeners: &'a [Listener],
    /// Between clients and here, where a route names no path of its own.
    pub(super) client_limits: &'a [Limit],
    /// Between here and the backends of each upstream.
    pub(super) backend_limits: &'a [Vec<Limit>],
    pub(super) keepalive: &'a file::Keepalive,
    pub(super) timeouts: &'a Timeouts,
    pub(super) drain_code: CloseCode,
    /// Each may take the TLS off.
    pub(super) trusted_proxies: &'a [values::Cidr],
    /// Whether a request can come over TLS, to us or to a trusted proxy.
    pub(super) can_be_secure: bool,
    /// What paths are relative to.
    pub(super) base: &'a Path,
}

impl Resolver {
    pub(super) fn routes(&mut self, routes: Vec<file::Route>, surroundings: &Surroundings<'_>) -> RouteTable {
        let all = self.root.key("routes");
        if routes.is_empty() {
            let help = "name at least one: routes: [{ upstream: name }]";
            self.error(all.clone(), "no route: every request would be answered 404", help);
        }
        let mut seen = HashSet::new();
        let (mut entries, mut places): (Vec<RouteEntry>, Vec<At>) = Default::default();
        for (index, route) in routes.into_iter().enumerate() {
            let at = all.index(index);
            let has_host = route.host.is_some();
            let Some(entry) = self.route(route, surroundings, &at) else { continue };
            let is_redirect = matches!(entry.route.action, RouteAction::Redirect(_));
            // A host that was refused is equal to no other host.
            if has_host == entry.host.is_some() && !seen.insert((entry.host.clone(), entry.path.clone(), is_redirect)) {
                self.error(at.clone(), format!("a second route for {}", entry.route.name), "remove one of the two");
            }
            self.route_places.insert(entry.route.name.clone(), at.clone());
            entries.push(entry);
            places.push(at);
        }
        self.cookies_of_several_upstreams(&entries, &places);
        self.tokens_in_the_clear(&entries, &places, surroundings);
        for (index, upstream) in surroundings.upstreams.iter().enumerate() {
            if !entries.iter().any(|entry| entry.route.action == RouteAction::Forward(index)) {
                let at = self.root.key("upstreams").key(&upstream.name);
                let help = "add a route to it, or remove it";
                self.warn(at, format!("no route goes to upstream `{}`", upstream.name), help);
            }
        }
        RouteTable::new(entries)
    }

    fn route(&mut self, route: file::Route, surroundings: &Surroundings<'_>, at: &At) -> Option<RouteEntry> {
        self.keys_without_use(&route, at);
        let file::Route {
            host,
            path,
            upstream,
            redirect,
            strip_prefix,
            rewrite,
            host_header,
            request_headers,
            response_headers,
            allow,
            deny,
            client_cert,
            forward_client_cert,
            sticky_cookie,
            origins,
            compression,
            hold,
            resume,
            auth_request,
            via,
            keepalive,
            timeouts,
            max_lifetime,
        } = route;
        let mut limits = self.route_limits(via.as_deref(), upstream.as_deref(), surroundings, &at.key("via"));
        let idle_at = at.key("timeouts").key("idle");
        let own_idle = timeouts.idle.is_some().then_some(idle_at);
        let timeouts = self.route_timeouts(surroundings.timeouts, timeouts, &at.key("timeouts"));
        let idle = IdleLimit { limit: timeouts.idle, at: own_idle };
        let (keepalive, learns) =
            self.keepalive(surroundings.keepalive, keepalive, &mut limits, idle, &at.key("keepalive"));
        let scheme = if redirect.is_some() { "http://" } else { "" };
        let name = format!("{scheme}{}{path}", host.as_deref().unwrap_or("*"));
        let pattern = self.host(host.as_deref(), &at.key("host"));
        self.path(&path, &at.key("path"));
        let path_rule = self.path_rule(strip_prefix, rewrite, &path, at);
        let host_header = self.host_header(host_header, at.key("host_header"));
        let request_fields = self.field_rules(request_headers, &at.key("request_headers"));
        let answer_fields = self.field_rules(response_headers, &at.key("response_headers"));
        let sticky = sticky_cookie.map(|cookie| {
            self.sticky_cookie(cookie, surroundings.can_be_secure, &answer_fields, &at.key("sticky_cookie"))
        });
        let addresses = self.addresses(allow, deny, at);
        let origins = self.origins(&origins, &at.key("origins"));
        let auth_request =
            auth_request.map(|setting| self.auth_request(setting, surroundings, &at.key("auth_request")));
        let may_compress = compression == file::CompressionOffer::Pass;
        let hold = hold.map(|setting| self.hold(setting, surroundings.drain_code, may_compress, &at.key("hold")));
        let resume = resume.map(|setting| self.resume(&setting, &at.key("resume")));
        let action = match (upstream, redirect) {
            (Some(name), None) => {
                RouteAction::Forward(self.route_upstream(&name, surroundings.upstreams, at.key("upstream"))?)
            }
            (None, Some(redirect)) => {
                RouteAction::Redirect(self.redirect(redirect, surroundings.can_be_secure, &at.key("redirect"))?)
            }
            (None, None) => {
                let help = "write upstream: and a name that stands under `upstreams`, or redirect: https";
                self.error(at.clone(), "missing key `upstream`", help);
                return None;
            }
            (Some(_), Some(_)) => {
                let help = "write two routes: the redirect takes what comes in the clear, and the other one the rest";
                self.error(at.key("redirect"), "`redirect` beside `upstream`", help);
                return None;
            }
        };
        let max_lifetime = lifetime(max_lifetime, &mut limits);
        let route = Route {
            name,
            action,
            addresses,
            path_rule,
            host_header,
            request_fields,
            answer_fields,
            needs_client_cert: client_cert == file::ClientCert::Required,
            told_of_client: client_auth::forwarded(&forward_client_cert),
            sticky: sticky.filter(|_| matches!(action, RouteAction::Forward(_))),
            origins,
            may_compress,
            hold: hold.map(Box::new),
            resume,
            auth_request: auth_request.map(Box::new),
            keepalive,
            learns,
            timeouts,
            max_lifetime,
            limits,
        };
        Some(RouteEntry { host: pattern, path, route })
    }

    /// What stands on the path of a route. An upstream that is not there is noted elsewhere.
    fn route_limits(
        &mut self,
        via: Option<&[file::ViaEntry]>,
        upstream: Option<&str>,
        surroundings: &Surroundings<'_>,
        at: &At,
    ) -> PathLimits {
        let client = match via {
            Some(via) => self.path_limits(via, at),
            None => surroundings.client_limits.to_vec(),
        };
        let place = surroundings.upstreams.iter().position(|known| Some(known.name.as_str()) == upstream);
        let backend = place.and_then(|place| surroundings.backend_limits.get(place)).cloned().unwrap_or_default();
        PathLimits { client, backend, ..PathLimits::default() }
    }

    fn route_upstream(&mut self, name: &str, upstreams: &[UpstreamSettings], at: At) -> Option<usize> {
        let found = upstreams.iter().position(|upstream| upstream.name == name);
        if found.is_none() {
            let names = || upstreams.iter().map(|upstream| upstream.name.as_str());
            let help = match nearest(name, names()) {
                _ if name.contains(':') => {
                    format!("a name and no address: the upstreams are: {}", names().collect::<Vec<_>>().join(", "))
                }
                Some(meant) => format!("did you mean `{meant}`?"),
                None if upstreams.is_empty() => String::new(),
                None => format!("the upstreams are: {}", names().collect::<Vec<_>>().join(", ")),
            };
            self.error(at, format!("no upstream is called `{name}`"), help);
        }
        found
    }

    fn host(&mut self, host: Option<&str>, at: &At) -> Option<HostPattern> {
        let host = host?;
        if matches!(host, "*" | "_" | "") {
            self.error(at.clone(), format!("`{host}` is not a host"), "leave `host` out for any host");
            return None;
        }
        match HostPattern::parse(host) {
            Ok(pattern) => Some(pattern),
            Err(why) => {
                self.error(at.clone(), format!("`{host}` is not a host"), why);
                None
            }
        }
    }

    fn origins(&mut self, entries: &[String], at: &At) -> Origins {
        for (index, entry) in entries.iter().enumerate() {
            if let Some((scheme @ ("ws" | "wss"), site)) = entry.split_once("://") {
                let page = if scheme == "wss" { "https" } else { "http" };
                let help = format!("a browser names its page: write {page}://{site}");
                self.warn(at.index(index), format!("`{entry}` is no page of a browser"), help);
            }
        }
        Origins::parse(entries).unwrap_or_else(|(place, why)| {
            self.error(at.index(place), format!("`{}` is not an origin", entries[place]), why);
            Origins::default()
        })
    }

    fn path(&mut self, path: &str, at: &At) {
        if !path.starts_with('/') {
            let message = format!("path `{path}` does not start with `/`");
            return self.error(at.clone(), message, path_meant(path));
        }
        if let Some(never) = path.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '?' | '#')) {
            let help = format!(
                "the raw path of a request holds no {never:?}: the query is not part of it, other bytes are %-encoded"
            );
            return self.warn(at.clone(), format!("path `{path}` can never match"), help);
        }
        if let Some(start) = pattern_start(path) {
            let message = format!("path `{path}` is read as a prefix, letter by letter, and not as a pattern");
            self.warn(at.clone(), message, format!("write {}, which takes everything below it", &path[..start]));
        }
    }

    fn route_timeouts(&mut self, common: &Timeouts, own: file::TimeoutsOverride, at: &At) -> RouteTimeouts {
        let file::TimeoutsOverride { upgrade, response, idle } = own;
        RouteTimeouts {
            upgrade: upgrade.map_or(common.upgrade, |time| self.positive(at.key("upgrade"), time)),
            response: response.map_or(common.response, |time| unless_zero(&time)),
            idle: idle.map_or(common.idle, |time| unless_zero(&time)),
        }
    }

    /// The settings, and whether longwire learns a shorter interval.
    fn keepalive(
        &mut self,
        common: &file::Keepalive,
        differs: file::KeepaliveOverride,
        limits: &mut PathLimits,
        idle: IdleLimit,
        at: &At,
    ) -> (keepalive::Settings, bool) {
        let file::Keepalive { ping_interval, pong_timeout, sides, learn } = common;
        let file::KeepaliveOverride {
            ping_interval: own_interval,
            pong_timeout: own_timeout,
            sides: own_sides,
            learn: own_learn,
        } = differs;
        let sides = own_sides.as_ref().unwrap_or(sides);
        let ping_at = if own_interval.is_some() { at.clone() } else { self.root.key("keepalive") };
        let written = unless_auto(own_interval.unwrap_or(*ping_interval));
        limits.sets_interval = written.is_none();
        let interval = |listed, side| match &written {
            _ if !sides.contains(&listed) => None,
            Some(interval) => unless_zero(interval),
            None => Some(limits.interval(side).value),
        };
        let ping_interval = SideTimes {
            client: interval(file::Side::Client, Side::Client),
            backend: interval(file::Side::Backend, Side::Backend),
        };
        // The bytes of one side are enough: the session carries some then.
        if let Some(interval) = [ping_interval.client, ping_interval.backend].into_iter().flatten().min() {
            self.ping_interval(interval, ping_at.key("ping_interval"), idle);
        }
        let settings = keepalive::Settings { ping_interval, pong_timeout: of_sides(own_timeout, *pong_timeout) };
        (settings, own_learn.unwrap_or(*learn))
    }

    /// Notes that `timeouts.idle` ends a quiet session before its first ping. Many routes share the top-level interval, so this is
    /// noted once.
    fn ping_interval(&mut self, interval: StdDuration, at: At, idle: IdleLimit) {
        let Some(limit) = idle.limit.filter(|limit| interval >= *limit) else { return };
        let (shown, limit) = (values::Duration(interval), values::Duration(limit));
        let help = "every quiet session would be ended before its first ping: set one of them to 0s, or ping earlier";
        let problem = Problem {
            severity: Severity::Error,
            // If the route has its own limit, the problem points at that limit.
            at: idle.at.unwrap_or(at),
            or_at: Some(self.root.key("timeouts").key("idle")),
            message: format!("`ping_interval` ({shown}) is not shorter than `timeouts.idle` ({limit})"),
            help: Some(help.into()),
        };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}

/// How often clients are pinged where a route says nothing of its own; `None` = never.
pub(super) fn client_ping_interval(surroundings: &Surroundings<'_>) -> Option<StdDuration> {
    let file::Keepalive { ping_interval, sides, .. } = surroundings.keepalive;
    let interval = match unless_auto(*ping_interval) {
        Some(interval) => unless_zero(&interval),
        None => Some(paths::interval(surroundings.client_limits).value),
    };
    interval.filter(|_| sides.contains(&file::Side::Client))
}

/// Advice for a path with something before its slash: a URL, an operator of nginx, a pattern.
fn path_meant(path: &str) -> String {
    if let Some((_, rest)) = path.split_once("://") {
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        return format!("write /{path}, and host: {host} where that matters");
    }
    let bare = path.trim_start_matches(['~', '^', '=', '*', ' ']);
    if bare.is_empty() {
        return "leave `path` out for every path, or write /".to_owned();
    }
    let bare = if bare.starts_with('/') { bare.to_owned() } else { format!("/{bare}") };
    match pattern_start(&bare) {
        Some(start) => format!("a path is a prefix, not a pattern: write {}", &bare[..start]),
        None if bare.len() < path.len() => format!("a path is a prefix: write {bare}"),
        None => format!("write {bare}"),
    }
}

/// Where the part of a path begins that other proxies read as a pattern.
///
/// The part begins after the last slash before a glob, a regular expression or a named part.
fn pattern_start(path: &str) -> Option<usize> {
    let is_named =
        |part: &str| part.strip_prefix(':').is_some_and(|name| name.starts_with(|c: char| c.is_alphabetic()));
    let mut start = 0;
    for part in path.split_inclusive('/') {
        if part.contains(['*', '{', '\\', '^', '|']) || part.trim_end_matches('/').ends_with('$') || is_named(part) {
            return Some(start);
        }
        start += part.len();
    }
    None
}

/// The pong timeouts of a route: its own where it has them, otherwise those of the whole file, otherwise the defaults.
fn of_sides(own: Option<TimeoutPerSide>, common: TimeoutPerSide) -> SideTimes {
    let own = own.unwrap_or(TimeoutPerSide { client: None, backend: None });
    let client = own.client.or(common.client).unwrap_or_else(TimeoutPerSide::default_of_client);
    let backend = own.backend.or(common.backend).unwrap_or_else(TimeoutPerSide::default_of_backend);
    SideTimes { client: unless_zero(&client), backend: unless_zero(&backend) }
}

/// The longest life of a session, and whether it follows from the path.
fn lifetime(written: values::DurationOrAuto, limits: &mut PathLimits) -> Option<StdDuration> {
    match unless_auto(written) {
        Some(life) => unless_zero(&life),
        None => {
            limits.sets_lifetime = true;
            limits.lifetime().map(|derived| derived.value)
        }
    }
}
