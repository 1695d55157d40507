//! `backend` and `listen` sections: each becomes an upstream.

use std::time::Duration;

use super::lines::{HaLine, HaSection};
use crate::{
    headers::is_host,
    hosts::HostPattern,
    import::{
        nginx::upstreams::{address, is_listed},
        origin::{is_target, is_token, joined},
        tree::{Branch, Twig},
        units,
    },
};

/// The addresses of the servers, to see whether two sections lead to the same.
pub(super) fn addresses(section: &HaSection) -> Vec<&str> {
    let mut addresses: Vec<_> = servers(section).map(|server| server.word(2)).collect();
    addresses.sort_unstable();
    addresses
}

fn servers(section: &HaSection) -> impl Iterator<Item = &HaLine> {
    section.lines.iter().filter(|line| matches!(line.word(0), "server" | "server-template"))
}

/// The options of a server: its own, or those of `default-server`.
struct ServerOptions<'a> {
    own: &'a [String],
    common: Vec<&'a [String]>,
}

impl<'a> ServerOptions<'a> {
    fn of(server: &'a HaLine, section: &'a HaSection) -> Self {
        let from = if server.word(0) == "server-template" { 4 } else { 3 };
        let defaults = section.defaults.iter().chain(&section.lines).filter(|line| line.word(0) == "default-server");
        Self { own: server.rest(from), common: defaults.map(|line| line.rest(1)).collect() }
    }

    fn has(&self, flag: &str) -> bool {
        let off = format!("no-{flag}");
        let is_in = |words: &[String], flag: &str| words.iter().any(|word| word == flag);
        is_in(self.own, flag) || !is_in(self.own, &off) && self.common.iter().any(|words| is_in(words, flag))
    }

    /// How the server is spoken to.
    fn manner(&self) -> Vec<String> {
        let flags = ["ssl", "send-proxy", "send-proxy-v2", "send-proxy-v2-ssl", "send-proxy-v2-ssl-cn"];
        let values = ["verify", "ca-file", "crt", "crl-file", "sni", "verifyhost"];
        let is_secure = self.has("ssl");
        let flags = flags.iter().filter(|flag| self.has(flag)).map(|flag| (*flag).to_owned());
        flags.chain(values.iter().filter(|_| is_secure).map(|key| self.value(key).to_owned())).collect()
    }

    /// The value behind a word; empty if there is none.
    fn value(&self, key: &str) -> &'a str {
        let behind = |words: &'a [String]| {
            let place = words.iter().position(|word| word == key)?;
            words.get(place + 1).map(String::as_str)
        };
        behind(self.own).or_else(|| self.common.iter().rev().find_map(|words| behind(words))).unwrap_or_default()
    }
}

/// The upstream of a section; `Err` is a comment that says why there is none.
pub(super) fn upstream(section: &HaSection, sections: &[HaSection], folder: &str) -> Result<Twig, String> {
    let mut upstream = Twig::default();
    let lines: Vec<&HaLine> = servers(section).collect();
    balance(section, lines.len(), &mut upstream);
    let mut backends = Vec::new();
    for line in &lines {
        let options = ServerOptions::of(line, section);
        let first = lines.first().map(|first| ServerOptions::of(first, section));
        let is_other = first.is_some_and(|first| first.manner() != options.manner());
        match backend(line, &options) {
            Some(backend) if is_listed(&backends, &backend) => {
                upstream.notes.push(line.at.note(format_args!("{} stands there already", line.word(2))));
            }
            // An upstream has one manner: a server of another one must not be spoken to in that of the first.
            Some(mut backend) if is_other => {
                let note = "ssl, verify, sni or send-proxy are others than those of the first server: it is down here";
                upstream.notes.push(line.at.note(format_args!("{}: {note}", line.text())));
                if !backend.has("down") {
                    backend.bare("down", true);
                }
                backends.push(backend);
            }
            Some(backend) => backends.push(backend),
            None => upstream.notes.push(line.at.note(format_args!("{}: this is no backend here", line.text()))),
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
    let all: Vec<ServerOptions<'_>> = lines.iter().map(|line| ServerOptions::of(line, section)).collect();
    let first = all.first();
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
        tls(options, folder, &lines, &mut upstream);
    }
    if all.iter().any(|options| options.has("check")) {
        upstream.put("health_check", Branch::Map(check(section, &all)));
    }
    let resolvers = all.iter().map(|options| options.value("resolvers")).find(|name| !name.is_empty());
    let resolvers = resolvers.and_then(|name| sections.iter().find(|one| one.kind == "resolvers" && one.name == name));
    if let Some(resolvers) =
        resolvers.filter(|_| backends.iter().any(|backend| backend.has("dns") || backend.has("srv")))
    {
        let servers = resolvers.lines.iter().filter(|line| line.word(0) == "nameserver").map(|line| line.word(2));
        let servers = servers.filter(|server| server.parse::<std::net::SocketAddr>().is_ok());
        let mut discovery = Twig::default();
        discovery.texts("resolver", servers.map(str::to_owned).collect());
        upstream.map("discovery", discovery);
    }
    upstream.put("backends", Branch::Maps(backends));
    Ok(upstream)
}

fn balance(section: &HaSection, servers: usize, upstream: &mut Twig) {
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

fn backend(line: &HaLine, options: &ServerOptions<'_>) -> Option<Twig> {
    let mut backend = Twig::default();
    let is_template = line.word(0) == "server-template";
    let place = if is_template { line.word(3) } else { line.word(2) };
    let place = place.strip_prefix("ipv4@").or_else(|| place.strip_prefix("ipv6@")).unwrap_or(place);
    let is_number = |text: &str| text.parse::<std::net::SocketAddr>().is_ok();
    if place.starts_with('_') {
        backend.text("srv", place.split(':').next().unwrap_or_default());
    } else if let Some(path) = place.strip_prefix("unix@").or_else(|| place.starts_with('/').then_some(place)) {
        backend.text("address", address(&format!("unix:{path}"), "")?);
    } else if let Some(name) = place.strip_prefix("abns@") {
        backend.text("address", address(&format!("unix:@{name}"), "")?);
    } else if !options.value("resolvers").is_empty() || is_template {
        let whole = address(place, "")?;
        backend.text(if is_number(&whole) { "address" } else { "dns" }, whole);
    } else {
        backend.text("address", address(place, "")?);
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
    let fixed = fixed.map(|name| name.trim_matches(['\'', '"'])).filter(|name| HostPattern::parse(name).is_ok());
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
    if HostPattern::parse(options.value("verifyhost")).is_ok() && !is_insecure {
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

fn check(section: &HaSection, all: &[ServerOptions<'_>]) -> Twig {
    let mut check = Twig::default();
    if let Some(unchecked) = servers(section).zip(all).find(|(_, options)| !options.has("check")) {
        check.notes.push(unchecked.0.at.note("a server without check: here all servers of an upstream are checked"));
    }
    let first = all.iter().find(|options| options.has("check"));
    let value = |key: &str| first.map_or("", |options| options.value(key));
    if let Some(line) = section.option("httpchk") {
        http_check(section, line, &mut check);
    } else {
        check.bare("kind", "tcp");
    }
    let inter = units::haproxy_time(value("inter")).filter(|time| !time.is_zero()).unwrap_or(Duration::from_secs(2));
    check.bare("interval", units::duration(inter));
    check.bare("jitter", "0s");
    let timeout = section.one(&["timeout", "check"]).and_then(|line| units::haproxy_time(line.word(2)));
    if let Some(timeout) = timeout.filter(|time| !time.is_zero()) {
        check.bare("timeout", units::duration(timeout));
    }
    for (key, usual) in [("rise", 2), ("fall", 3)] {
        check.bare(key, value(key).parse::<u32>().unwrap_or(usual).clamp(1, 1000));
    }
    if value("on-marked-down") == "shutdown-sessions" {
        check.bare("on_down", "drain");
    }
    check
}

fn http_check(section: &HaSection, line: &HaLine, check: &mut Twig) {
    check.bare("kind", "http");
    let send = section.one(&["http-check", "send"]);
    let behind = |key: &str| {
        let words = &send?.words;
        words.get(words.iter().position(|word| word == key)? + 1).map(String::as_str)
    };
    let (method, path) = match (line.word(2), line.word(3)) {
        ("", _) => ("OPTIONS", "/"),
        (path, "") if path.starts_with('/') => ("OPTIONS", path),
        (method, "") => (method, "/"),
        (method, path) => (method, path),
    };
    let (method, path) = (behind("meth").unwrap_or(method), behind("uri").unwrap_or(path));
    if method != "GET" {
        check.notes.push(line.at.note(format_args!("option httpchk: longwire asks by GET, not by {method}")));
    }
    if path != "/" && is_target(path) {
        check.text("path", path);
    }
    let words = send.map_or(&[][..], |line| &line.words);
    let host = words
        .windows(3)
        .find(|words| matches!(words, [hdr, name, _] if hdr == "hdr" && name.eq_ignore_ascii_case("host")));
    if let Some([_, _, host]) = host.filter(|words| words.last().is_some_and(|host| is_host(host) && !host.is_empty()))
    {
        check.text("host", host);
    }
    let Some(expect) = section.one(&["http-check", "expect"]) else { return };
    let is_list = |text: &str| {
        !text.is_empty() && text.split([',', '-']).all(|status| status.len() == 3 && status.parse::<u16>().is_ok())
    };
    match (expect.word(2), expect.word(3)) {
        ("status", statuses) if is_list(statuses) => check.text("status", statuses),
        ("rstatus", "^2" | "(2)[0-9][0-9]" | "2.." | "^2.." | "2[0-9][0-9]") => check.text("status", "200-299"),
        ("rstatus", "(2|3)[0-9][0-9]" | "^[23]" | "[23].." | "^(2|3)" | "(2|3)..") => check.text("status", "200-399"),
        _ => check.notes.push(expect.at.note(format_args!("{}: longwire looks at the status alone", expect.text()))),
    }
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
