//! `backend` and `listen` sections: each becomes an upstream.

use std::time::Duration;

use super::{
    checks,
    lines::{HaLine, HaSection, unknown},
    server_options::{ServerOptions, servers},
    server_words,
};
use crate::import::{
    nginx::upstreams::{address, is_listed, service_name},
    origin::{is_certificate_name, is_token, joined},
    tree::{Branch, Twig},
    units,
};

/// The addresses of the servers, to see whether two sections lead to the same.
pub(super) fn addresses(section: &HaSection) -> Vec<&str> {
    let mut addresses: Vec<_> = servers(section).map(|server| server.word(2)).collect();
    addresses.sort_unstable();
    addresses
}

/// What a server means beyond its own line.
#[derive(Debug, Clone, Copy)]
pub(super) struct ServerTerms<'a> {
    pub(super) sections: &'a [HaSection],
    /// What relative paths are relative to; empty = they stay.
    pub(super) folder: &'a str,
    /// The port of a server that names none: that at which clients come, if there is one alone.
    pub(super) port: Option<u16>,
}

/// The upstream of a section; `Err` is a comment that says why there is none.
pub(super) fn upstream(section: &HaSection, terms: ServerTerms<'_>) -> Result<Twig, String> {
    let mut upstream = Twig::default();
    let lines: Vec<&HaLine> = servers(section).collect();
    balance(section, lines.len(), &mut upstream);
    let all: Vec<ServerOptions<'_>> = lines.iter().map(|line| ServerOptions::of(line, section)).collect();
    let first = common_manner(&all);
    let mut backends = Vec::new();
    for (line, options) in lines.iter().zip(&all) {
        let is_other = first.is_some_and(|first| first.manner() != options.manner());
        match backend(line, options, terms.port, &mut upstream.notes) {
            Some(backend) if is_listed(&backends, &backend) => {
                upstream.notes.push(line.at.note(format_args!("{} stands there already", line.word(2))));
            }
            Some(mut backend) if is_other => {
                let note = "ssl, verify, sni or send-proxy are others than those of most servers: a route has one upstream, and \
                            an upstream one manner, so this one is down here";
                upstream.notes.push(line.at.note(format_args!("{}: {note}", line.text())));
                if !backend.has("down") {
                    backend.bare("down", true);
                }
                backends.push(backend);
            }
            Some(backend) => backends.push(backend),
            None => {
                let text = line.text();
                let why = unknown(&text, "this is no backend here");
                upstream.notes.push(line.at.note(format_args!("{text}: {why}")));
            }
        }
        if !options.value("maxconn").is_empty() {
            upstream.notes.push(line.at.note("maxconn: a full backend is passed by here, and nobody waits for it"));
        }
    }
    if backends.is_empty() {
        return Err(section
            .at
            .note(format_args!("{} {}: no server that longwire can have", section.kind, section.name)));
    }
    upstream.notes.extend(server_words::notes(&lines, &all));
    if let Some(retries) = section.one(&["retries"]).and_then(|line| line.word(1).parse::<u32>().ok()) {
        upstream.bare("tries", retries.saturating_add(1).min(1000));
    }
    if section.one(&["http-reuse"]).is_some_and(|line| line.word(1) == "never") {
        upstream.bare("reuse", "never");
    }
    if let Some(time) = first.and_then(|options| units::haproxy_time(options.value("slowstart"))) {
        upstream.bare("slow_start", units::duration(time));
    }
    if let Some(options) = first {
        proxy_header(options, &mut upstream);
        tls(options, terms.folder, &lines, &mut upstream);
    }
    if all.iter().any(|options| options.has("check")) {
        upstream.put("health_check", Branch::Map(checks::check(section, &lines, &all)));
    }
    if backends.iter().any(|backend| backend.has("dns") || backend.has("srv")) {
        upstream.map("discovery", discovery(&lines, &all, terms.sections));
    }
    upstream.put("backends", Branch::Maps(backends));
    Ok(upstream)
}

/// The first of the servers that are spoken to as most are: an upstream has one manner, and a server of another one must not be
/// spoken to in it.
fn common_manner<'s, 'a>(all: &'s [ServerOptions<'a>]) -> Option<&'s ServerOptions<'a>> {
    let manners: Vec<Vec<String>> = all.iter().map(ServerOptions::manner).collect();
    let count = |manner: &Vec<String>| manners.iter().filter(|other| *other == manner).count();
    let most = manners.iter().map(count).max()?;
    let place = manners.iter().position(|manner| count(manner) == most)?;
    all.get(place)
}

/// Who is asked for names, and how many of their addresses are taken.
fn discovery(lines: &[&HaLine], all: &[ServerOptions<'_>], sections: &[HaSection]) -> Twig {
    let mut discovery = Twig::default();
    let name = all.iter().map(|options| options.value("resolvers")).find(|name| !name.is_empty());
    let resolvers = name.and_then(|name| sections.iter().find(|one| one.kind == "resolvers" && one.name == name));
    if let Some(resolvers) = resolvers {
        let servers = resolvers.lines.iter().filter(|line| line.word(0) == "nameserver").map(|line| line.word(2));
        let servers =
            servers.filter(|server| server.parse::<std::net::SocketAddr>().is_ok_and(|server| server.port() > 0));
        discovery.texts("resolver", servers.map(str::to_owned).collect());
    }
    // `server-template ws 5 …`, `server-template ws 1-5 …`
    let count = |line: &HaLine| -> Option<u32> {
        let count = line.word(2);
        let (first, last) = count.split_once('-').unwrap_or(("1", count));
        last.parse::<u32>().ok()?.checked_sub(first.parse().ok()?)?.checked_add(1)
    };
    let templates = lines.iter().filter(|line| line.word(0) == "server-template");
    if let Some(most) = templates.filter_map(|line| count(line)).max().filter(|most| (1..=256).contains(most)) {
        discovery.bare("most", most);
    }
    discovery
}

fn balance(section: &HaSection, servers: usize, upstream: &mut Twig) {
    // A table of addresses keeps a client at its server, as a hash of the address does.
    if section.lines.iter().any(|line| line.says(&["stick", "on", "src"])) {
        return upstream.bare("balance", "ip_hash");
    }
    let Some(line) = section.one(&["balance"]) else {
        if servers > 1 {
            upstream.bare("balance", "round_robin");
        }
        return;
    };
    let word = line.word(1);
    let inner = word.split_once('(').map(|(_, rest)| rest.trim_end_matches(')'));
    let hash = |upstream: &mut Twig, kind: &str, name: &str| {
        upstream.bare("balance", "hash");
        let mut on = Twig::default();
        on.text(kind, name);
        upstream.map("hash_on", on);
    };
    match word {
        "roundrobin" | "static-rr" => upstream.bare("balance", "round_robin"),
        "leastconn" => upstream.bare("balance", "least_conn"),
        "source" => upstream.bare("balance", "ip_hash"),
        "hash" if line.word(2) == "src" => upstream.bare("balance", "ip_hash"),
        "url_param" if is_token(line.word(2)) => hash(upstream, "query", line.word(2)),
        _ if word.starts_with("hdr(") && inner.is_some_and(is_token) => {
            hash(upstream, "header", inner.unwrap_or_default())
        }
        _ if word.starts_with("random") => upstream.bare("balance", "random_two"),
        _ => {
            let note = format_args!("{}: longwire has no such balancing", line.text());
            upstream.notes.push(line.at.note(note));
            upstream.bare("balance", "round_robin");
        }
    }
}

/// The backend of a server. `port`: that at which clients come, if there is one alone.
fn backend(line: &HaLine, options: &ServerOptions<'_>, port: Option<u16>, notes: &mut Vec<String>) -> Option<Twig> {
    let mut backend = Twig::default();
    let is_template = line.word(0) == "server-template";
    let place = if is_template { line.word(3) } else { line.word(2) };
    let place = place.strip_prefix("ipv4@").or_else(|| place.strip_prefix("ipv6@")).unwrap_or(place);
    let is_number = |text: &str| text.parse::<std::net::SocketAddr>().is_ok();
    if place.starts_with('_') {
        backend.text("srv", service_name(place.split(':').next().unwrap_or_default())?);
    } else if let Some(path) = place.strip_prefix("unix@").or_else(|| place.starts_with('/').then_some(place)) {
        backend.text("address", address(&format!("unix:{path}"), "")?);
    } else if let Some(name) = place.strip_prefix("abns@") {
        backend.text("address", address(&format!("unix:@{name}"), "")?);
    } else if !options.value("resolvers").is_empty() || is_template {
        let whole = address(place, "80")?;
        backend.text(if is_number(&whole) { "address" } else { "dns" }, whole);
    } else if let Some(whole) = address(place, "") {
        backend.text("address", whole);
    } else {
        let whole = address(place, &port?.to_string())?;
        notes.push(line.at.note(format_args!("{place}: without a port HAProxy takes that of the client")));
        backend.text("address", whole);
    }
    let weight = options.value("weight").parse::<u32>();
    match weight {
        Ok(weight @ 1..=65_535) => backend.bare("weight", weight),
        Ok(0) => backend.bare("down", true),
        _ => {}
    }
    if let Ok(most @ 1..) = options.value("maxconn").parse::<u32>() {
        backend.bare("max_conns", most);
    }
    if options.has("backup") {
        backend.bare("backup", true);
    }
    if options.has("disabled") && weight != Ok(0) {
        backend.bare("down", true);
    }
    Some(backend)
}

fn proxy_header(options: &ServerOptions<'_>, upstream: &mut Twig) {
    let is_second = ["send-proxy-v2", "send-proxy-v2-ssl", "send-proxy-v2-ssl-cn"].iter().any(|flag| options.has(flag));
    if is_second {
        upstream.bare("proxy_protocol", "v2");
        let known = [("authority", "authority"), ("unique-id", "unique_id"), ("ssl", "ssl"), ("crc32c", "crc32c")];
        let asked = options.value("proxy-v2-options");
        let tlvs = known.iter().filter(|(theirs, _)| asked.split(',').any(|word| word == *theirs));
        upstream.texts("tlvs", tlvs.map(|(_, ours)| (*ours).to_owned()).collect());
    } else if options.has("send-proxy") {
        upstream.bare("proxy_protocol", "v1");
    }
}

fn tls(options: &ServerOptions<'_>, folder: &str, lines: &[&HaLine], upstream: &mut Twig) {
    if !options.has("ssl") {
        return;
    }
    let mut tls = Twig::default();
    let is_insecure = options.value("verify") == "none" || options.value("ca-file").is_empty();
    match options.value("ca-file") {
        "" | "@system-ca" => {}
        _ if is_insecure => {}
        file => tls.text("ca", joined(folder, file)),
    }
    let sni = options.value("sni");
    let fixed = sni.strip_prefix("str(").and_then(|rest| rest.strip_suffix(')'));
    let is_socket = lines.iter().any(|line| {
        line.word(2).starts_with("unix@") || line.word(2).starts_with('/') || line.word(2).starts_with("abns@")
    });
    let fixed = fixed.map(|name| name.trim_matches(['\'', '"'])).filter(|name| is_certificate_name(name));
    match fixed {
        Some(name) => tls.text("server_name", name),
        None if is_socket => tls.text("server_name", "localhost"),
        None => {}
    }
    if sni.is_empty() {
        tls.bare("sni", false);
    } else if fixed.is_none()
        && let Some(line) = lines.first()
    {
        tls.notes.push(line.at.note(format_args!("sni {sni}: longwire asks for one name")));
    }
    if is_certificate_name(options.value("verifyhost")) && !is_insecure {
        tls.text("verify_name", options.value("verifyhost"));
    }
    if !options.value("crt").is_empty() {
        tls.text("cert", joined(folder, options.value("crt")));
        tls.text("key", joined(folder, options.value("crt")));
    }
    if !options.value("crl-file").is_empty() && !is_insecure {
        tls.text("crl", joined(folder, options.value("crl-file")));
    }
    if is_insecure {
        if let Some(line) = lines.first() {
            tls.notes.push(line.at.note("the certificates are not verified; without `insecure` longwire does"));
        }
        tls.bare("insecure", true);
    }
    upstream.put("tls", Branch::Map(tls));
}

/// The sticky cookie of the routes to a section, and a comment where its cookie is another kind.
pub(super) fn cookie(section: &HaSection) -> (Option<Twig>, Option<String>) {
    let Some(line) = section.one(&["cookie"]) else { return (None, None) };
    let has = |word: &str| line.words.iter().any(|other| other == word);
    if !has("insert") {
        let note = format_args!("{}: longwire makes cookies of its own alone", line.text());
        return (None, Some(line.at.note(note)));
    }
    if !is_token(line.word(1)) {
        return (None, Some(line.at.note(format_args!("{}: this is no name of a cookie", line.text()))));
    }
    let mut cookie = Twig::default();
    cookie.text("name", line.word(1));
    if has("secure") {
        cookie.bare("secure", "always");
    }
    let same_site = line.words.iter().find_map(|word| word.strip_prefix("SameSite="));
    if let Some(word) =
        same_site.map(str::to_ascii_lowercase).filter(|word| matches!(&**word, "lax" | "strict" | "none"))
    {
        cookie.bare("same_site", word);
    }
    let place = line.words.iter().position(|word| word == "maxidle");
    let time = place.and_then(|place| units::haproxy_time(line.word(place + 1)));
    if let Some(time) = time.filter(|time| time.as_secs() > 0) {
        cookie.bare("max_age", units::duration(Duration::from_secs(time.as_secs())));
    }
    (Some(cookie), None)
}
