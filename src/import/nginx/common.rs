//! What longwire has once for the whole file: listeners, timeouts, limits, trusted proxies.

use std::{collections::BTreeSet, time::Duration};

use super::{
    blocks::Directive,
    gaps,
    scope::Scope,
    servers::{ListenGroup, ListenPlace, VirtualServer},
};
use crate::{
    import::{
        blueprint::Blueprint,
        origin::FileLine,
        tree::{Branch, Twig},
        units,
    },
    sender::Network,
};

/// The listener of an address; `None` = it would be in the clear where nginx speaks TLS, which a comment says.
pub(super) fn listener(group: &ListenGroup, servers: &[VirtualServer<'_>], blueprint: &mut Blueprint) -> Option<Twig> {
    let mut listener = Twig { notes: group.notes.clone(), ..Twig::default() };
    match &group.endpoint {
        ListenPlace::Tcp(address) => listener.text("bind", address.to_string()),
        ListenPlace::Unix(name) => {
            listener.text("bind", name.clone());
            listener.text("mode", "0666");
        }
    }
    let members = || group.servers.iter().filter_map(|place| servers.get(*place));
    if group.has_proxy_header {
        let from: Vec<String> = members()
            .flat_map(|server| server.scope.all("set_real_ip_from"))
            .filter_map(network)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let mut trust = Twig::default();
        if from.is_empty() {
            let note = "nginx believes a PROXY header of anybody: name the proxies in front here";
            trust.notes.push(group.at.note(note));
            trust.texts("from", vec!["0.0.0.0/0".to_owned(), "::/0".to_owned()]);
        } else {
            trust.texts("from", from);
        }
        listener.put("proxy_protocol", Branch::Map(trust));
    }
    if group.is_secure {
        let tls = tls(group, servers, blueprint);
        if tls.pairs.is_empty() {
            blueprint.note(group.at.note("left out: TLS without a certificate that longwire can have"));
            return None;
        }
        listener.put("tls", Branch::Map(tls));
    }
    Some(listener)
}

fn tls(group: &ListenGroup, servers: &[VirtualServer<'_>], blueprint: &mut Blueprint) -> Twig {
    let default = servers.get(group.default);
    let others = group.servers.iter().filter(|place| **place != group.default).filter_map(|place| servers.get(*place));
    let (mut pairs, mut tls): (Vec<(String, String)>, Twig) = Default::default();
    for server in default.into_iter().chain(others) {
        let certificates = server.scope.all("ssl_certificate");
        for (cert, key) in certificates.into_iter().zip(server.scope.all("ssl_certificate_key")) {
            let is_file = |directive: &Directive| {
                !directive.arg(0).contains('$')
                    && !directive.arg(0).starts_with("data:")
                    && !directive.arg(0).starts_with("engine:")
            };
            if !is_file(cert) || !is_file(key) {
                blueprint.note(cert.at.note(format_args!("ssl_certificate {}: longwire wants a file", cert.arg(0))));
                continue;
            }
            let pair = (server.scope.path(cert.arg(0)), server.scope.path(key.arg(0)));
            if !pairs.contains(&pair) {
                pairs.push(pair);
            }
        }
        if let Some(versions) = server.scope.one("ssl_protocols")
            && versions.args.iter().any(|word| matches!(word.text.as_str(), "SSLv2" | "SSLv3" | "TLSv1" | "TLSv1.1"))
        {
            blueprint.note(versions.at.note("ssl_protocols: longwire speaks TLS 1.2 and 1.3 alone"));
        }
    }
    match pairs.as_slice() {
        [] => return Twig::default(),
        [(cert, key)] => {
            tls.text("cert", cert);
            tls.text("key", key);
        }
        several => {
            let several = several.iter().map(|(cert, key)| {
                let mut pair = Twig::default();
                pair.text("cert", cert);
                pair.text("key", key);
                pair
            });
            tls.put("certificates", Branch::Maps(several.collect()));
        }
    }
    tls.map("client_auth", client_auth(group, servers));
    tls
}

/// Certificates of clients. A listener asks all of them alike: where servers differ, none is needed to connect.
fn client_auth(group: &ListenGroup, servers: &[VirtualServer<'_>]) -> Twig {
    let mut auth = Twig::default();
    let members: Vec<_> = group.servers.iter().filter_map(|place| servers.get(*place)).collect();
    let asks = |server: &&&VirtualServer<'_>| !matches!(server.scope.word("ssl_verify_client"), "" | "off");
    let Some(server) = members.iter().find(asks) else { return auth };
    let ca = server.scope.word("ssl_client_certificate");
    if ca.is_empty() {
        return auth;
    }
    let is_needed = members.iter().all(|server| server.scope.word("ssl_verify_client") == "on");
    auth.bare("mode", if is_needed { "required" } else { "optional" });
    auth.text("ca", server.scope.path(ca));
    let crl = server.scope.word("ssl_crl");
    if !crl.is_empty() {
        auth.text("crl", server.scope.path(crl));
    }
    for other in members.iter().filter(|other| {
        !matches!(other.scope.word("ssl_client_certificate"), "") && other.scope.word("ssl_client_certificate") != ca
    }) {
        auth.notes.push(other.at.note("another ssl_client_certificate: a listener has one file of authorities"));
    }
    if server.scope.word("ssl_verify_client") == "optional_no_ca" {
        auth.notes.push(server.at.note("optional_no_ca: here a certificate of an unknown authority is refused"));
    }
    auth
}

fn network(directive: &Directive) -> Option<String> {
    match directive.arg(0) {
        "unix:" => Some("unix".to_owned()),
        network => network.parse::<Network>().is_ok().then(|| network.to_owned()),
    }
}

/// The keys of the file itself, `timeouts` and `limits`. `scopes`: every place whose directives count.
pub(super) fn put(blueprint: &mut Blueprint, top: &Scope<'_>, scopes: &[Scope<'_>]) {
    if let Some(workers) = top.one("worker_processes") {
        match workers.arg(0) {
            "auto" => {}
            number if number.parse::<u32>().is_ok_and(|number| (1..=1024).contains(&number)) => {
                blueprint.top.bare("workers", number);
            }
            other => {
                blueprint.note(workers.at.note(format_args!("worker_processes {other}: one worker for each core")))
            }
        }
    }
    trusted(blueprint, scopes);
    let times = |name: &str| -> Vec<(FileLine, Duration)> {
        let found = scopes.iter().filter_map(|scope| scope.one(name));
        found.filter_map(|found| Some((found.at.clone(), units::nginx_time(found.arg(0))?))).collect()
    };
    for (theirs, ours) in [
        ("client_header_timeout", "request_header"),
        ("client_body_timeout", "request_body"),
        ("keepalive_timeout", "keep_alive"),
        ("proxy_connect_timeout", "connect"),
        ("worker_shutdown_timeout", "drain"),
    ] {
        blueprint.timeout(ours, &times(theirs));
    }
    limits(blueprint, scopes);
    if top.word("access_log") == "off" {
        let mut log = Twig::default();
        log.bare("access", false);
        blueprint.top.map("log", log);
    }
}

fn trusted(blueprint: &mut Blueprint, scopes: &[Scope<'_>]) {
    let mut trusted: Vec<String> = Vec::new();
    for scope in scopes {
        let header = scope.one("real_ip_header");
        let by_header = header.map_or("X-Real-IP", |header| header.arg(0));
        if by_header.eq_ignore_ascii_case("proxy_protocol") {
            continue;
        }
        for from in scope.all("set_real_ip_from") {
            match network(from) {
                Some(network) if !trusted.contains(&network) => {
                    trusted.push(network);
                    if !by_header.eq_ignore_ascii_case("X-Forwarded-For") {
                        let at = header.map_or(&from.at, |header| &header.at);
                        let note = format_args!("real_ip_header {by_header}: longwire takes X-Forwarded-For");
                        blueprint.note(at.note(note));
                    }
                }
                Some(_) => {}
                None => blueprint
                    .note(from.at.note(format_args!("set_real_ip_from {}: names are not looked up", from.arg(0)))),
            }
        }
    }
    blueprint.top.texts("trusted_proxies", trusted);
}

fn limits(blueprint: &mut Blueprint, scopes: &[Scope<'_>]) {
    let sizes: Vec<_> = scopes.iter().map(|scope| (scope.one("client_max_body_size"), scope)).collect();
    let of = |found: &Option<&Directive>| found.map_or(Some(1 << 20), |found| units::bytes(found.arg(0)));
    let most =
        sizes.iter().filter_map(|(found, _)| of(found)).max_by_key(|size| if *size == 0 { u64::MAX } else { *size });
    if let Some(most) = most {
        if let Some((Some(odd), _)) = sizes.iter().find(|(found, _)| found.is_some() && of(found) != Some(most)) {
            blueprint.note(odd.at.note("limits.body_size is one for the whole file: this is the largest of them"));
        }
        if sizes.iter().all(|(found, _)| found.is_none()) {
            blueprint.limits.notes.push("the default of nginx; without this line bodies have no limit".to_owned());
        }
        if most > 0 {
            blueprint.limit("body_size", units::size(most));
        }
    }
    for scope in scopes {
        for found in scope.all("large_client_header_buffers") {
            let size = units::bytes(found.arg(1)).zip(found.arg(0).parse::<u64>().ok());
            if let Some((size, count)) = size {
                blueprint.limit("header_size", units::size(size.saturating_mul(count).clamp(8 << 10, 1 << 20)));
            }
        }
        for found in scope.all("limit_conn") {
            clients(blueprint, scope, found, "limit_conn_zone", "sessions_per_client", found.arg(1));
        }
        for found in scope.all("limit_req") {
            let zone = found.args.iter().find_map(|word| word.text.strip_prefix("zone=")).unwrap_or_default();
            let rate = zone_of(scope, "limit_req_zone", zone).and_then(|zone| {
                zone.args
                    .iter()
                    .find_map(|word| word.text.strip_prefix("rate=")?.strip_suffix("r/s"))
                    .map(str::to_owned)
            });
            clients(blueprint, scope, found, "limit_req_zone", "new_sessions_per_client", &rate.unwrap_or_default());
        }
    }
}

fn zone_of<'a>(scope: &Scope<'a>, directive: &str, name: &str) -> Option<&'a Directive> {
    let named = |zone: &&Directive| {
        zone.args
            .iter()
            .filter_map(|word| word.text.strip_prefix("zone="))
            .any(|zone| zone.split(':').next() == Some(name))
    };
    scope.everywhere(directive).find(named)
}

/// A limit for each client.
fn clients(blueprint: &mut Blueprint, scope: &Scope<'_>, found: &Directive, zones: &str, key: &str, count: &str) {
    let first = found.arg(0);
    let name = found.args.iter().find_map(|word| word.text.strip_prefix("zone=")).unwrap_or(first);
    let zone = zone_of(scope, zones, name);
    let is_by_client = zone.is_some_and(|zone| matches!(zone.arg(0), "$binary_remote_addr" | "$remote_addr"));
    match count.parse::<u32>().ok().filter(|count| *count > 0 && is_by_client) {
        Some(count) => {
            blueprint.largest(key, count);
            let note = format_args!(
                "{}: limits.{key} counts the WebSockets of all routes, and is the largest of them",
                found.name
            );
            blueprint.note(found.at.note(note));
        }
        None => blueprint.note(found.at.note(format_args!("{}: longwire has no such limit", found.name))),
    }
}

/// Comments about the directives around the servers.
pub(super) fn notes(blueprint: &mut Blueprint, levels: &[&[Directive]]) {
    for level in levels {
        for note in gaps::notes(level) {
            blueprint.note(note);
        }
    }
}
