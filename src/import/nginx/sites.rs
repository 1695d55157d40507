//! What a server does with its paths: each location becomes a route, or comments.

use super::{
    access,
    blocks::Directive,
    fields,
    forward::{self, Forwarding},
    gaps,
    locations::{PathKind, PathSpot, Spot, path_notes, reachable, refuses, shown, spots},
    scope::Scope,
    servers::VirtualServer,
    upstreams::Groups,
};
use crate::import::{origin::FileLine, routes::Goal, tree::Twig, units};

/// A path of a server, and what becomes of its requests.
#[derive(Debug, Clone)]
pub(super) struct SitePath {
    pub(super) at: FileLine,
    pub(super) path: String,
    pub(super) goal: Goal,
    pub(super) keys: Twig,
    /// What is to be said where the path is that of every host.
    pub(super) for_any_host: Option<String>,
}

/// What a server does, and comments about what has no route.
#[derive(Debug, Default)]
pub(super) struct SitePlan {
    pub(super) paths: Vec<SitePath>,
    pub(super) notes: Vec<String>,
}

/// Plans what a server does.
pub(super) fn plan(server: &VirtualServer<'_>, groups: &mut Groups<'_>) -> SitePlan {
    let mut plan = SitePlan { notes: server.notes.clone(), ..SitePlan::default() };
    let own = server.scope.own();
    if let Some(redirect) = own.iter().find_map(|directive| redirect_of(directive, server)) {
        plan.paths.push(redirect.into_path("/", Twig::default()));
    }
    let ends = own.iter().find(|directive| directive.name == "return");
    if let Some(ends) = ends {
        if plan.paths.is_empty() {
            let note = ends.at.note(format_args!("return {}: here everybody gets 403", ends.text()));
            plan.paths.push(closed(&ends.at, "/", note));
        }
        return plan;
    }
    for rule in own.iter().filter(|directive| directive.name == "rewrite" && redirect_of(directive, server).is_none()) {
        plan.notes.push(rule.at.note(format_args!("rewrite {}: not translated at a server", rule.text())));
    }
    plan.notes.extend(gaps::notes(own));
    let mut all = spots(server);
    // The files of a server are tried where no location fits.
    let tries = own.iter().find(|directive| directive.name == "try_files");
    if let Some(tries) = tries.filter(|_| !all.iter().any(|spot| spot.kind == PathKind::Prefix && spot.path == "/")) {
        let (at, path) = (tries.at.clone(), "/".to_owned());
        all.push(Spot { at, kind: PathKind::Prefix, path, is_within_final: false, scope: server.scope.clone() });
    }
    let (reached, notes) = reachable(&all);
    plan.notes.extend(notes);
    plan.notes.extend(slash_note(&reached, &all));
    for reached in &reached {
        match site(reached, &all, server, groups) {
            Ok(site) => plan.paths.push(site),
            Err(notes) => plan.notes.extend(notes),
        }
    }
    plan
}

/// nginx redirects `/path` to `/path/` where a location that passes requests on ends with a slash.
fn slash_note(reached: &[PathSpot<'_>], all: &[Spot<'_>]) -> Option<String> {
    let redirects = |reached: &&PathSpot<'_>| {
        let PathSpot { spot, prefix } = reached;
        let is_prefix = matches!(spot.kind, PathKind::Prefix | PathKind::FinalPrefix);
        let bare = prefix.strip_suffix('/').filter(|bare| !bare.is_empty() && is_prefix);
        bare.is_some_and(|bare| !all.iter().any(|other| other.path == bare))
            && spot.scope.own().iter().any(|directive| directive.name == "proxy_pass")
    };
    let PathSpot { spot, prefix } = reached.iter().find(redirects)?;
    let bare = prefix.trim_end_matches('/');
    let note = format_args!(
        "nginx redirects {bare} to {prefix}, as at each location that ends with a slash: here a shorter route takes {bare}"
    );
    Some(spot.at.note(note))
}

/// A path whose requests are refused.
fn closed(at: &FileLine, path: &str, note: String) -> SitePath {
    let keys = Twig { notes: vec![note], ..Twig::default() };
    SitePath { at: at.clone(), path: path.to_owned(), goal: Goal::Closed, keys, for_any_host: None }
}

/// A redirect to https.
struct ToHttps {
    at: FileLine,
    goal: Goal,
    /// The host to which it leads, if it is not that of the request.
    host: Option<String>,
}

impl ToHttps {
    fn into_path(self, path: &str, keys: Twig) -> SitePath {
        let Self { at, goal, host } = self;
        let told = |host| at.note(format_args!("nginx redirects to {host}: here the host of the request stays"));
        let for_any_host = host.map(told);
        SitePath { at, path: path.to_owned(), goal, keys, for_any_host }
    }
}

/// The redirect to https that a directive of a server makes: `return`, `rewrite`, or one of them in an `if`.
fn redirect_of(directive: &Directive, server: &VirtualServer<'_>) -> Option<ToHttps> {
    let (code, url) = match directive.name.as_str() {
        "return" if directive.args.len() == 2 => (directive.arg(0), directive.arg(1)),
        "return" if directive.arg(0).starts_with("https://") => ("302", directive.arg(0)),
        "rewrite" => (if directive.arg(2) == "permanent" { "301" } else { "302" }, directive.arg(1)),
        "if" => {
            let condition = directive.text();
            let is_meant = condition.contains("$scheme") || condition.contains("$https") || condition.contains("$host");
            let inner = directive.inner().iter().find_map(|inner| redirect_of(inner, server));
            return inner.filter(|_| is_meant && !condition.contains("!=") | condition.contains("$scheme"));
        }
        _ => return None,
    };
    let code: u16 = code.parse().ok().filter(|code| matches!(code, 301 | 302 | 307 | 308))?;
    let rest = url.strip_prefix("https://")?.trim_end_matches('?');
    let ends = ["/", "$request_uri", "$uri", "$1"].into_iter().filter_map(|end| rest.find(end)).min();
    let end = ends.unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end)?;
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "443"));
    let port: u16 = if port == "$server_port" { 443 } else { port.parse().ok()? };
    let is_same = matches!(host, "$host" | "$http_host" | "$server_name")
        || server.names.iter().all(|name| name == host) && !server.names.is_empty();
    let keeps = matches!(path, "$request_uri" | "$uri" | "$uri$is_args$args" | "/$1" | "$1");
    let fixed = match host {
        "$host" | "$http_host" => None,
        "$server_name" => server.names.first().cloned(),
        host => Some(host.to_owned()),
    };
    let (at, goal) = (directive.at.clone(), Goal::Redirect { code, port });
    (is_same && keeps).then_some(ToHttps { at, goal, host: fixed })
}

/// The route of a location; comments if it has none.
fn site(
    reached: &PathSpot<'_>,
    all: &[Spot<'_>],
    server: &VirtualServer<'_>,
    groups: &mut Groups<'_>,
) -> Result<SitePath, Vec<String>> {
    let PathSpot { spot, prefix } = reached;
    let own = spot.scope.own();
    let gone = |why: &str| {
        vec![spot.at.note(format_args!("location {}: {why}; a shorter route takes its paths", shown(spot)))]
    };
    let shut = |why: &str| {
        let note = spot.at.note(format_args!("location {}: {why}: here everybody gets 403", shown(spot)));
        let mut site = closed(&spot.at, prefix, note);
        site.keys.notes.extend(path_notes(spot));
        Ok(site)
    };
    if own.iter().any(|directive| directive.name == "internal") {
        return shut("internal");
    }
    if let Some(redirect) = own.iter().find_map(|directive| redirect_of(directive, server)) {
        return Ok(redirect.into_path(prefix, Twig { notes: path_notes(spot), ..Twig::default() }));
    }
    if let Some(ends) = own.iter().find(|directive| directive.name == "return") {
        if refuses(spot) {
            return shut(&format!("return {}", ends.text()));
        }
        return Err(gone(&format!("return {}: longwire has no answers of its own", ends.text())));
    }
    let Some((passing, why)) = passing(spot, all) else {
        let is_other = own.iter().any(|directive| directive.name.ends_with("_pass"));
        let is_conditional =
            own.iter().any(|directive| directive.inner().iter().any(|inner| inner.name.ends_with("_pass")));
        return match is_other || is_conditional || refuses(spot) {
            true => shut(without_pass(spot)),
            false => Err(gone(without_pass(spot))),
        };
    };
    let mut keys = Twig { notes: path_notes(spot), ..Twig::default() };
    if let Some(why) = why {
        keys.notes.push(spot.at.note(format_args!("location {}: {why}", shown(spot))));
    }
    keys.notes.extend(gaps::notes(own));
    let Forwarding { upstream, target } = match forward::put(&mut keys, spot, prefix, &passing, groups) {
        Ok(forwarding) => forwarding,
        Err(note) => return Ok(closed(&spot.at, prefix, format!("{note}: here everybody gets 403"))),
    };
    let granted = match access::service(&mut keys, &passing, groups, all) {
        Ok(granted) => granted,
        Err(note) => return Ok(closed(&spot.at, prefix, format!("{note}: here everybody gets 403"))),
    };
    fields::put(&mut keys, &passing, &target, &granted);
    access::addresses(&mut keys, &passing);
    access::client_cert(&mut keys, &passing);
    if let Some(cookie) = groups.sticky(&target.authority) {
        keys.map("sticky_cookie", cookie);
    }
    timeouts(&mut keys, &passing);
    let (at, path, goal) = (spot.at.clone(), prefix.clone(), Goal::Upstream(upstream));
    Ok(SitePath { at, path, goal, keys, for_any_host: None })
}

/// The scope in which a location passes its requests on, with a word on those that nginx does not pass on.
fn passing<'a>(spot: &Spot<'a>, all: &[Spot<'a>]) -> Option<(Scope<'a>, Option<&'static str>)> {
    let own = spot.scope.own();
    let passes = |level: &[Directive]| level.iter().any(|directive| directive.name == "proxy_pass");
    if passes(own) {
        return Some((spot.scope.clone(), None));
    }
    // Without a file there is nothing but the WebSockets.
    let is_upgrade = |directive: &&Directive| {
        directive.name == "if" && directive.text().contains("$http_upgrade") && !directive.text().contains('!')
    };
    if let Some(upgrade) = own.iter().find(|directive| is_upgrade(directive) && passes(directive.inner())) {
        return Some((
            spot.scope.within(upgrade.inner()),
            Some("longwire serves no files, all goes where WebSockets go"),
        ));
    }
    let tried = own.iter().find(|directive| directive.name == "try_files")?;
    let name = &tried.args.last()?.text;
    let named = all.iter().find(|other| other.kind == PathKind::Named && other.path == *name)?;
    passes(named.scope.own()).then(|| (named.scope.clone(), Some("longwire serves no files, all goes on")))
}

/// Why a location has no route.
fn without_pass(spot: &Spot<'_>) -> &'static str {
    let own = spot.scope.own();
    let has = |name: &str| own.iter().any(|directive| directive.name == name);
    let has_conditional = own
        .iter()
        .any(|directive| directive.name == "if" && directive.inner().iter().any(|inner| inner.name == "proxy_pass"));
    match () {
        () if has_conditional => "longwire chooses by host and path, not by an `if`",
        () if has("grpc_pass") => "longwire speaks no gRPC to backends",
        () if has("fastcgi_pass") || has("uwsgi_pass") || has("scgi_pass") => {
            "longwire speaks HTTP/1.1 to backends alone"
        }
        () if has("deny") => "deny",
        () if has("stub_status") => "write admin: { bind: 127.0.0.1:9900 } for the state of longwire",
        () => "longwire serves no files",
    }
}

fn timeouts(keys: &mut Twig, scope: &Scope<'_>) {
    let mut timeouts = Twig::default();
    let read = scope.one("proxy_read_timeout").and_then(|directive| units::nginx_time(directive.arg(0)));
    if let Some(time) = read.filter(|time| !time.is_zero()) {
        timeouts.bare("upgrade", units::duration(time));
        timeouts.bare("response", units::duration(time));
    }
    keys.map("timeouts", timeouts);
}
