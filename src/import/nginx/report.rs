//! What is wrong with an nginx configuration for WebSockets.

use std::time::Duration;

use super::{
    blocks::Directive,
    locations::{Spot, shown, spots},
    scope::Scope,
    servers::VirtualServer,
    upstreams::{PassTarget, param},
};
use crate::import::{
    remark::{Gravity, Remark},
    units,
};

/// Words in a path that speak of WebSockets.
const SPOKEN: [&str; 14] = [
    "ws",
    "wss",
    "websocket",
    "websockets",
    "websockify",
    "socket",
    "sockets",
    "socketio",
    "sockjs",
    "cable",
    "hub",
    "hubs",
    "signalr",
    "realtime",
];

/// What nginx does unless it is told otherwise.
const USUAL: Duration = Duration::from_secs(60);
const LONG: Duration = Duration::from_secs(3600);

/// A location that passes requests on.
struct PassingSpot<'a> {
    spot: Spot<'a>,
    pass: &'a Directive,
}

/// Remarks about every location that is meant for WebSockets: those that pass the upgrade on or have a name that says so, and
/// all if no location passes it on.
pub(super) fn remarks(servers: &[VirtualServer<'_>], upstreams: &[&Directive], remarks: &mut Vec<Remark>) {
    let passing: Vec<PassingSpot<'_>> = servers.iter().flat_map(|server| spots(server)).filter_map(passing).collect();
    for server in upstreams.iter().flat_map(|upstream| upstream.inner()).filter(|inner| inner.name == "server") {
        if param(server, "weight") == "0" {
            let text = "nginx refuses weight=0: write down, or leave the server out";
            remarks.push(Remark::new(&server.at, Gravity::Error, "server", text));
        }
    }
    let is_any = passing.iter().any(|one| header(&one.spot.scope, "upgrade").is_some());
    for PassingSpot { spot, pass } in &passing {
        let scope = &spot.scope;
        let says = |name: &str| {
            scope.own().iter().any(|one| one.name == "proxy_set_header" && one.arg(0).eq_ignore_ascii_case(name))
        };
        let is_spoken =
            spot.path.split(['/', '.', '-', '_', '\\']).any(|word| SPOKEN.contains(&&*word.to_ascii_lowercase()));
        let is_meant =
            header(scope, "upgrade").is_some() || says("connection") && connection_upgrades(scope) || is_spoken;
        if !is_any || is_meant {
            version(spot, remarks);
            upgrade(spot, servers, remarks);
            silence(spot, remarks);
            buffering(spot, remarks);
            host(spot, pass, remarks);
            polling(spot, pass, upstreams, remarks);
        }
    }
}

fn passing(spot: Spot<'_>) -> Option<PassingSpot<'_>> {
    let conditional = spot.scope.own().iter().filter(|directive| directive.name == "if");
    let all = spot.scope.own().iter().chain(conditional.flat_map(Directive::inner));
    let is_closed = spot.scope.own().iter().any(|directive| directive.name == "internal");
    let pass = all.into_iter().find(|directive| directive.name == "proxy_pass").filter(|_| !is_closed)?;
    Some(PassingSpot { pass, spot })
}

/// The `proxy_set_header` for a field that counts, unless it takes the field away.
fn header<'a>(scope: &Scope<'a>, name: &str) -> Option<&'a Directive> {
    let all = scope.all("proxy_set_header");
    all.into_iter()
        .rev()
        .find(|header| header.arg(0).eq_ignore_ascii_case(name))
        .filter(|header| !header.arg(1).is_empty())
}

fn connection_upgrades(scope: &Scope<'_>) -> bool {
    header(scope, "connection").is_some_and(|header| {
        let value = header.arg(1).to_ascii_lowercase();
        value.contains("upgrade") || value.starts_with('$')
    })
}

fn version(spot: &Spot<'_>, remarks: &mut Vec<Remark>) {
    const NAME: &str = "proxy_http_version";
    match spot.scope.one(NAME) {
        None => {
            let text = format!(
                "location {}: no proxy_http_version: before nginx 1.29.7 the backend is asked in HTTP/1.0, which has no \
                 WebSockets; write proxy_http_version 1.1",
                shown(spot)
            );
            remarks.push(Remark::new(&spot.at, Gravity::Error, NAME, text));
        }
        Some(version) if version.arg(0) != "1.1" => {
            let text =
                format!("HTTP/{} carries no WebSocket to the backend: write proxy_http_version 1.1", version.arg(0));
            remarks.push(Remark::new(&version.at, Gravity::Error, NAME, text));
        }
        Some(_) => {}
    }
}

fn upgrade(spot: &Spot<'_>, servers: &[VirtualServer<'_>], remarks: &mut Vec<Remark>) {
    const NAME: &str = "proxy_set_header";
    let scope = &spot.scope;
    for (field, write) in [("Upgrade", "$http_upgrade"), ("Connection", "$connection_upgrade")] {
        let own = scope.all(NAME).into_iter().rev().find(|header| header.arg(0).eq_ignore_ascii_case(field));
        let Some(own) = own else {
            let outer = scope.hidden(NAME).into_iter().find(|header| header.arg(0).eq_ignore_ascii_case(field));
            let why = match outer {
                Some(outer) => format!(
                    "the proxy_set_header of line {} does not count: a location with one of its own inherits none",
                    outer.at.line
                ),
                None => format!("{field} is not passed on, so the backend sees no WebSocket"),
            };
            let text = format!("location {}: {why}; write proxy_set_header {field} {write}", shown(spot));
            remarks.push(Remark::new(&spot.at, Gravity::Error, NAME, text));
            continue;
        };
        let value = own.arg(1);
        let wrong = match field {
            "Upgrade" if value.is_empty() => Some("takes the header away".to_owned()),
            "Upgrade" if !value.starts_with('$') && !value.eq_ignore_ascii_case("websocket") => {
                Some("is no upgrade to a WebSocket".to_owned())
            }
            "Upgrade" => None,
            _ if value == "$http_upgrade" => Some("says `websocket`, where the backend wants `upgrade`".to_owned()),
            _ if value == "$http_connection" => None,
            _ if value.starts_with('$') && !is_made(value, servers) => {
                Some(format!("names {value}, which no map makes: nginx refuses the file"))
            }
            _ if value.starts_with('$') => mapped(value, servers),
            _ if value.to_ascii_lowercase().contains("upgrade") => None,
            _ => Some("does not say `upgrade`, so the backend sees no WebSocket".to_owned()),
        };
        if let Some(wrong) = wrong {
            let text = format!("proxy_set_header {field} {value:?} {wrong}; write proxy_set_header {field} {write}");
            remarks.push(Remark::new(&own.at, Gravity::Error, NAME, text));
        }
    }
}

/// The name of a variable, in which the letter case does not matter.
fn bare(variable: &str) -> String {
    variable.trim_start_matches('$').trim_matches(['{', '}']).to_ascii_lowercase()
}

/// What is wrong with the value that a map of the `Upgrade` header gives to a handshake; `None` = nothing.
fn mapped(variable: &str, servers: &[VirtualServer<'_>]) -> Option<String> {
    let name = bare(variable);
    let is_it = |map: &&Directive| bare(map.arg(1)) == name && bare(map.arg(0)) == "http_upgrade";
    let map = servers.iter().find_map(|server| server.scope.everywhere("map").find(is_it))?;
    let keys = || map.inner().iter().filter(|entry| entry.args.len() == 1);
    let takes = |key: &str| match key.strip_prefix('~') {
        Some(pattern) => pattern.to_ascii_lowercase().contains("websocket") || pattern.contains('.'),
        None => key.eq_ignore_ascii_case("websocket"),
    };
    let entry = keys().find(|entry| takes(&entry.name)).or_else(|| keys().find(|entry| entry.name == "default"));
    let value = entry.map_or("", |entry| entry.arg(0));
    let is_right = value.to_ascii_lowercase().contains("upgrade") || value.starts_with('$');
    (!is_right).then(|| format!("is {value:?} for a WebSocket, by the map of {}", map.at))
}

/// Whether something in the file makes a variable.
fn is_made(variable: &str, servers: &[VirtualServer<'_>]) -> bool {
    let name = bare(variable);
    let is_it = |text: &str| bare(text) == name;
    name.starts_with("http_")
        || servers.iter().any(|server| {
            let maps = ["map", "geo", "split_clients"].into_iter().flat_map(|kind| server.scope.everywhere(kind));
            let by_map = maps.into_iter().any(|map| map.args.last().is_some_and(|word| is_it(&word.text)));
            by_map || has_set(server.scope.own(), &is_it)
        })
}

fn has_set(level: &[Directive], is_it: &dyn Fn(&str) -> bool) -> bool {
    let sets = ["set", "auth_request_set", "js_set", "perl_set", "set_by_lua_block", "set_by_lua_file", "set_by_lua"];
    level.iter().any(|directive| {
        sets.contains(&directive.name.as_str()) && is_it(directive.arg(0)) || has_set(directive.inner(), is_it)
    })
}

fn silence(spot: &Spot<'_>, remarks: &mut Vec<Remark>) {
    const READ: &str = "proxy_read_timeout";
    const SEND: &str = "proxy_send_timeout";
    let advice = "raise it, or have the backend send Pings more often";
    match spot.scope.one(READ).map(|read| (read, units::nginx_time(&read.text()))) {
        None => {
            let text = format!(
                "location {}: no proxy_read_timeout: a session whose backend is silent for 60s ends without a Close; {advice}",
                shown(spot)
            );
            remarks.push(Remark::new(&spot.at, Gravity::Warning, READ, text));
        }
        Some((read, Some(time))) if time < LONG => {
            let gravity = if time <= USUAL { Gravity::Warning } else { Gravity::Note };
            let text = format!(
                "a session whose backend is silent for {} ends without a Close: {advice}",
                units::duration(time)
            );
            remarks.push(Remark::new(&read.at, gravity, READ, text));
        }
        Some(_) => {}
    }
    if let Some(send) = spot.scope.one(SEND)
        && units::nginx_time(&send.text()).is_some_and(|time| time <= USUAL)
    {
        let text =
            "a session ends when its backend takes no byte for so long; proxy_read_timeout is what ends silent ones";
        remarks.push(Remark::new(&send.at, Gravity::Note, SEND, text));
    }
}

fn buffering(spot: &Spot<'_>, remarks: &mut Vec<Remark>) {
    const NAME: &str = "proxy_buffering";
    if let Some(buffering) = spot.scope.one(NAME).filter(|buffering| buffering.arg(0) == "on") {
        let text = "buffering holds back event streams and long polls, which clients fall back to; an open WebSocket is not \
                    buffered. Write proxy_buffering off";
        remarks.push(Remark::new(&buffering.at, Gravity::Note, NAME, text));
    }
}

fn host(spot: &Spot<'_>, pass: &Directive, remarks: &mut Vec<Remark>) {
    let has = spot.scope.all("proxy_set_header").iter().any(|header| header.arg(0).eq_ignore_ascii_case("host"));
    let Some(target) = PassTarget::parse(pass.arg(0)).filter(|_| !has) else { return };
    let text = format!(
        "location {}: the backend gets `Host: {}`, and one that compares Origin with Host refuses the handshake; write \
         proxy_set_header Host $host",
        shown(spot),
        target.proxy_host()
    );
    remarks.push(Remark::new(&spot.at, Gravity::Note, "proxy_set_header", text));
}

/// Clients of socket.io and SockJS begin with several requests that belong together.
fn polling(spot: &Spot<'_>, pass: &Directive, upstreams: &[&Directive], remarks: &mut Vec<Remark>) {
    let path = spot.path.replace('\\', "");
    let Some(kind) = ["socket.io", "sockjs"].into_iter().find(|kind| path.contains(kind)) else { return };
    let Some(target) = PassTarget::parse(pass.arg(0)) else { return };
    let Some(upstream) = upstreams.iter().find(|upstream| upstream.arg(0) == target.authority) else { return };
    let has = |name: &str| upstream.inner().iter().any(|inner| inner.name == name);
    let servers = upstream.inner().iter().filter(|inner| inner.name == "server").count();
    if servers > 1 && !["ip_hash", "hash", "sticky"].into_iter().any(has) {
        let text = format!("{kind} begins with several requests that must reach one server: write ip_hash, or hash");
        remarks.push(Remark::new(&upstream.at, Gravity::Warning, "upstream", text));
    }
}
