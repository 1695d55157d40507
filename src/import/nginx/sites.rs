//! What a server does with its paths: each location becomes a route, or comments.

use super::{
    access,
    blocks::Directive,
    fields,
    forward::{self, Forwarding},
    gaps,
    locations::{PathKind, PathSpot, Spot, path_notes, reachable, shown, spots},
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
    let redirects = own.iter().filter_map(|directive| redirect_of(directive, server)).next();
    if let Some((at, goal)) = redirects {
        plan.paths.push(SitePath { at, path: "/".to_owned(), goal, keys: Twig::default() });
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
        all.push(Spot { at, kind: PathKind::Prefix, path, scope: server.scope.clone() });
    }
    let (reached, notes) = reachable(&all);
    plan.notes.extend(notes);
    for reached in &reached {
        match site(reached, &all, server, groups) {
            Ok(site) => plan.paths.push(site),
            Err(notes) => plan.notes.extend(notes),
        }
    }
    plan
}

/// A path whose requests are refused.
fn closed(at: &FileLine, path: &str, note: String) -> SitePath {
    let keys = Twig { notes: vec![note], ..Twig::default() };
    SitePath { at: at.clone(), path: path.to_owned(), goal: Goal::Closed, keys }
}

/// The redirect to https that a directive of a server makes: `return`, `rewrite`, or one of them in an `if`.
fn redirect_of(directive: &Directive, server: &VirtualServer<'_>) -> Option<(FileLine, Goal)> {
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
    (is_same && keeps).then(|| (directive.at.clone(), Goal::Redirect { code, port }))
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
        Ok(closed(&spot.at, prefix, note))
    };
    if own.iter().any(|directive| directive.name == "internal") {
        return shut("internal");
    }
    if let Some((at, goal)) = own.iter().find_map(|directive| redirect_of(directive, server)) {
        return Ok(SitePath {
            at,
            path: prefix.clone(),
            goal,
            keys: Twig { notes: path_notes(spot), ..Twig::default() },
        });
    }
    if let Some(ends) = own.iter().find(|directive| directive.name == "return") {
        if ends.arg(0).starts_with('4') {
            return shut(&format!("return {}", ends.text()));
        }
        return Err(gone(&format!("return {}: longwire has no answers of its own", ends.text())));
    }
    let Some((passing, is_fallback)) = passing(spot, all) else {
        let has = |name: &str| own.iter().any(|directive| directive.name == name);
        let is_other = own.iter().any(|directive| directive.name.ends_with("_pass"));
        let is_conditional =
            own.iter().any(|directive| directive.inner().iter().any(|inner| inner.name.ends_with("_pass")));
        return match is_other || is_conditional || has("deny") && !has("allow") {
            true => shut(without_pass(spot)),
            false => Err(gone(without_pass(spot))),
        };
    };
    let mut keys = Twig { notes: path_notes(spot), ..Twig::default() };
    if is_fallback {
        keys.notes.push(spot.at.note(format_args!("location {}: longwire serves no files, all goes on", shown(spot))));
    }
    keys.notes.extend(gaps::notes(own));
    let Forwarding { upstream, target } = match forward::put(&mut keys, spot, prefix, &passing, groups) {
        Ok(forwarding) => forwarding,
        Err(note) => return Ok(closed(&spot.at, prefix, format!("{note}: here everybody gets 403"))),
    };
    let internal = |name: &str| {
        let asked = all.iter().find(|spot| spot.path == name)?;
        asked.scope.one("proxy_pass").map(|pass| asked.scope.expanded(pass.arg(0)))
    };
    let granted = access::service(&mut keys, &passing, groups, internal);
    fields::put(&mut keys, &passing, &target, &granted);
    access::addresses(&mut keys, &passing);
    access::client_cert(&mut keys, &passing);
    if let Some(cookie) = groups.sticky(&target.authority) {
        keys.map("sticky_cookie", cookie);
    }
    timeouts(&mut keys, &passing);
    Ok(SitePath { at: spot.at.clone(), path: prefix.clone(), goal: Goal::Upstream(upstream), keys })
}

/// The scope in which a location passes its requests on, and whether that is only where it finds no file.
fn passing<'a>(spot: &Spot<'a>, all: &[Spot<'a>]) -> Option<(Scope<'a>, bool)> {
    let own = spot.scope.own();
    if own.iter().any(|directive| directive.name == "proxy_pass") {
        return Some((spot.scope.clone(), false));
    }
    let tried = own.iter().find(|directive| directive.name == "try_files")?;
    let name = &tried.args.last()?.text;
    let named = all.iter().find(|other| other.kind == PathKind::Named && other.path == *name)?;
    named.scope.own().iter().any(|directive| directive.name == "proxy_pass").then(|| (named.scope.clone(), true))
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
