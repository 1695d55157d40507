//! A configuration described for people. `check` and the start print it.

use std::{fmt, fmt::Write as _, time::Duration as StdDuration};

use super::{
    Authority, BackendTls, ClientTrust, Config, FleetSettings, Limits, ListenAddress, Listener, LogFormat, OnLoss,
    ProxyTrust, Refuse, Revocation, Timeouts, UnixName, derived::derived, values,
};
use crate::{
    balance::{BackendSettings, CheckKind, HashOn, Policy, UpstreamSettings},
    discovery::BackendEntry,
    headers::FieldRules,
    proxy_protocol::HeaderForm,
    routing::{
        AuthRequest, HTTPS_PORT, HoldRule, HostHeader, HttpsRedirect, PathRule, Route, RouteAction, RouteTimeouts,
    },
    sender::Network,
    ws::{
        keepalive::{self, SideTimes},
        meter::MessageLimits,
        session::ResumeTerms,
    },
};

/// A line for each listener, route and upstream, the backends below their upstream, then the most important times.
#[must_use]
pub fn describe(config: &Config) -> String {
    let mut text = String::from("listeners\n");
    for listener in &config.listeners {
        line(&mut text, format_args!("  {}", of_listener(listener)));
    }
    text.push_str("routes\n");
    for route in config.routes.routes() {
        let upstream = match route.action {
            RouteAction::Forward(upstream) => config.upstreams.get(upstream).map_or("?", |upstream| &upstream.name),
            RouteAction::Redirect(HttpsRedirect { status, port }) => {
                let port = if port == HTTPS_PORT { String::new() } else { format!(", port {port}") };
                let rules = of_rules(route);
                line(&mut text, format_args!("  {} -> {} to https{port}{rules}", route.name, status.as_u16()));
                continue;
            }
        };
        let keepalive = of_keepalive(&route.keepalive);
        let is_pinged = route.keepalive.ping_interval != SideTimes::of_both(None);
        let learns = if route.learns && is_pinged { ", more often where the path is seen to need it" } else { "" };
        let lifetime = route.max_lifetime.map(|life| format!(", ended after {}", short(life))).unwrap_or_default();
        let times = of_route_timeouts(&route.timeouts, &config.timeouts);
        let rules = of_rules(route);
        let needed = if route.needs_client_cert { ", client certificate required" } else { "" };
        line(
            &mut text,
            format_args!("  {} -> {upstream}  {keepalive}{learns}{lifetime}{times}{rules}{needed}", route.name),
        );
        for sentence in derived(route) {
            line(&mut text, format_args!("    {sentence}"));
        }
    }
    text.push_str("upstreams\n");
    for ((upstream, way), entries) in config.upstreams.iter().zip(&config.ways).zip(&config.backend_entries) {
        let tls = way.tls.as_ref().map(of_backend_tls).unwrap_or_default();
        line(&mut text, format_args!("  {}{tls}", of_upstream(upstream)));
        for entry in entries {
            match entry {
                BackendEntry::Named(backend) => line(&mut text, format_args!("    {}", of_backend(backend))),
                BackendEntry::Found { place, .. } => line(&mut text, format_args!("    {place}")),
            }
        }
    }
    let t = &config.timeouts;
    let idle = t.idle.map_or_else(|| "never".into(), short);
    line(
        &mut text,
        format_args!("sessions  ended after idle {idle}; close {}, drain {}", short(t.close), short(t.drain)),
    );
    let d = &config.drain;
    let removed = if d.closes_removed { "closed" } else { "kept" };
    line(
        &mut text,
        format_args!(
            "drain     wait {}, then {} over {}; sessions without their backend or route are {removed}",
            short(d.wait),
            d.close_code.0,
            short(d.spread)
        ),
    );
    let (connect, upgrade, response) =
        (short(t.connect), short(t.upgrade), t.response.map_or_else(|| "never".into(), short));
    line(&mut text, format_args!("backends  connect {connect}, upgrade {upgrade}, response {response}"));
    let limits = of_limits(&config.limits);
    if !limits.is_empty() {
        line(&mut text, format_args!("limits    {limits}"));
    }
    if let Some(fleet) = &config.fleet {
        line(&mut text, format_args!("fleet     {}", of_fleet(fleet)));
    }
    let workers = config.workers.map_or_else(|| "one per core".into(), |workers| workers.to_string());
    let coalesce = match config.coalesce.as_micros() {
        0 => String::new(),
        micros => format!(", sessions are read together within {micros}us"),
    };
    line(&mut text, format_args!("workers   {workers}{coalesce}"));
    if let Some(file) = &config.sticky_key_file {
        line(&mut text, format_args!("cookies   signed by {}", file.display()));
    }
    let admin = match &config.admin {
        Some(admin) if admin.token_file.is_some() => format!("{}  with a token", admin.bind),
        Some(admin) => format!("{}  without a token", admin.bind),
        None => "nowhere".into(),
    };
    line(&mut text, format_args!("admin     {admin}"));
    if let Some(probe) = &config.probe {
        line(&mut text, format_args!("probes    {} with the token of {}", probe.path, probe.token_file.display()));
    }
    if let Some(tracing) = &config.tracing {
        let (share, name) = (tracing.sample, &tracing.service_name);
        line(&mut text, format_args!("traces    {} as {name}, of those that begin here {share}", tracing.endpoint));
    }
    let format = match config.log.format {
        LogFormat::Json => "json",
        LogFormat::Text => "text",
    };
    let access = if config.log.access { "with" } else { "without" };
    line(&mut text, format_args!("log       {format}, level {}, {access} access records", config.log.level));
    text
}

fn of_listener(listener: &Listener) -> String {
    let rights = match listener.bind {
        ListenAddress::Unix(UnixName::Path(_)) => format!("  {}", listener.rights),
        ListenAddress::Unix(UnixName::Abstract(_)) | ListenAddress::Tcp(_) => String::new(),
    };
    let proxies = listener.proxy_protocol.as_ref().map(of_proxies).unwrap_or_default();
    let Some(tls) = &listener.tls else {
        return format!("{}  plain{rights}{proxies}", listener.bind);
    };
    let files: Vec<_> = tls.certificates.iter().map(|pair| pair.cert.display().to_string()).collect();
    let self_signed = if tls.self_signed { " (self-signed if absent)" } else { "" };
    let clients = tls.client_auth.as_ref().map_or_else(String::new, of_clients);
    format!("{}  TLS {}{self_signed}{clients}{rights}{proxies}", listener.bind, files.join(", "))
}

fn of_proxies(ProxyTrust { from, is_required, timeout }: &ProxyTrust) -> String {
    let from: Vec<_> = from.iter().map(ToString::to_string).collect();
    let others = if *is_required { "closed" } else { "served without" };
    format!("  PROXY header from {} within {}, others are {others}", from.join(", "), short(*timeout))
}

fn of_clients(ClientTrust { is_required, ca, revocation }: &ClientTrust) -> String {
    let needed = if *is_required { "required" } else { "optional" };
    let revoked =
        revocation.as_ref().map_or_else(String::new, |Revocation { crl, .. }| format!(" less {}", crl.display()));
    format!(", client certificates {needed} by {}{revoked}", ca.display())
}

fn of_keepalive(keepalive: &keepalive::Settings) -> String {
    let SideTimes { client, backend } = keepalive.ping_interval;
    let (interval, sides) = match (client, backend) {
        (None, None) => return "no pings".into(),
        (Some(client), None) => (short(client), "clients only"),
        (None, Some(backend)) => (short(backend), "backends only"),
        (Some(client), Some(backend)) if client == backend => (short(client), "both sides"),
        (Some(client), Some(backend)) => {
            (format!("{} (client) or {} (backend)", short(client), short(backend)), "both sides")
        }
    };
    let SideTimes { client, backend } = keepalive.pong_timeout;
    let one = |timeout: Option<StdDuration>| timeout.map_or_else(|| "never".into(), short);
    let judged = match (client, backend) {
        (None, None) => "never judged dead".into(),
        (Some(client), Some(backend)) if client == backend => format!("dead after {} of silence", short(client)),
        _ => format!("dead after silence of {} (client) or {} (backend)", one(client), one(backend)),
    };
    format!("ping after {interval}, {judged}, {sides}")
}

/// The timeouts in which the route differs from the file.
fn of_route_timeouts(own: &RouteTimeouts, common: &Timeouts) -> String {
    let RouteTimeouts { upgrade, response, idle } = *own;
    let times = [
        ("upgrade", Some(upgrade), Some(common.upgrade)),
        ("response", response, common.response),
        ("idle", idle, common.idle),
    ];
    let of = |time: Option<StdDuration>| time.map_or_else(|| "never".into(), short);
    let own = times.into_iter().filter(|(_, own, common)| own != common);
    own.map(|(name, own, _)| format!(", {name} {}", of(own))).collect()
}

/// What the route does with its requests, beside passing them on.
fn of_rules(route: &Route) -> String {
    let networks = |networks: &[Network]| networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let mut text = match &route.path_rule {
        PathRule::Keep => String::new(),
        PathRule::Strip(prefix) => format!(", strip {prefix}"),
        PathRule::Replace(replacement) => format!(", rewrite {replacement}"),
    };
    match &route.host_header {
        HostHeader::Keep => {}
        HostHeader::Upstream => text.push_str(", host of the backend"),
        HostHeader::Fixed(host) => {
            let _ = write!(text, ", host {host}");
        }
    }
    for (rules, of) in [(&route.request_fields, "request"), (&route.answer_fields, "answer")] {
        let FieldRules { remove, set, add } = rules;
        let names = remove.iter().chain(set.iter().chain(add).map(|(name, _)| name));
        if !rules.is_empty() {
            let names: Vec<_> = names.map(hyper::header::HeaderName::as_str).collect();
            let _ = write!(text, ", {of} fields {}", names.join(" "));
        }
    }
    if let Some(cookie) = &route.sticky {
        let _ = write!(text, ", sticky by cookie {}", cookie.name);
    }
    if !route.addresses.deny.is_empty() {
        let _ = write!(text, ", deny {}", networks(&route.addresses.deny));
    }
    if !route.addresses.allow.is_empty() {
        let _ = write!(text, ", allow {}", networks(&route.addresses.allow));
    }
    if !route.may_compress {
        text.push_str(", no compression");
    }
    if let Some(HoldRule { terms, per_second }) = route.hold.as_deref() {
        let _ = write!(text, ", hold for {}, {per_second} per second", short(terms.longest));
    }
    if let Some(ResumeTerms { longest, .. }) = route.resume {
        let _ = write!(text, ", resume for {}", short(longest));
    }
    if let Some(AuthRequest { url, timeout, pass, .. }) = route.auth_request.as_deref() {
        let _ = write!(text, ", asks {url} within {}", short(*timeout));
        let names: Vec<_> = pass.iter().map(hyper::header::HeaderName::as_str).collect();
        if !names.is_empty() {
            let _ = write!(text, " for {}", names.join(" "));
        }
    }
    text
}

fn of_upstream(upstream: &UpstreamSettings) -> String {
    let policy = match &upstream.policy {
        Policy::Hash { on: HashOn::Header(name), .. } => format!("hash of header {name}"),
        Policy::Hash { on: HashOn::Cookie(name), .. } => format!("hash of cookie {name}"),
        Policy::Hash { on: HashOn::Query(name), .. } => format!("hash of query key {name}"),
        Policy::IpHash { prefix_v4 } if *prefix_v4 < 32 => format!("ip_hash by /{prefix_v4}"),
        policy => policy.as_str().into(),
    };
    let out = match upstream.max_fails {
        0 => "never out".into(),
        fails => format!("out after {fails} failures in {}", short(upstream.fail_timeout)),
    };
    let tries = match upstream.tries {
        0 => "all".into(),
        tries => tries.to_string(),
    };
    let mut text = format!("{}  {policy}, {out}, tries {tries}", upstream.name);
    if !upstream.slow_start.is_zero() {
        let _ = write!(text, ", slow start {}", short(upstream.slow_start));
    }
    if upstream.max_handshakes != 0 {
        let (most, queue) = (upstream.max_handshakes, upstream.handshake_queue);
        let _ = write!(text, ", at most {most} handshakes at a backend and {queue} that wait");
    }
    if let Some(form) = upstream.proxy_protocol {
        let _ = write!(text, ", PROXY {}", form.as_str());
        if let HeaderForm::V2(tlvs) = form {
            tlvs.words().for_each(|word| text.extend([" ", word]));
        }
    }
    if let Some(check) = &upstream.health_check {
        let kind = match check.kind {
            CheckKind::Tcp => "tcp",
            CheckKind::Http { .. } => "http",
            CheckKind::WebSocket { .. } => "websocket",
        };
        let _ = write!(text, ", {kind} check every {}", short(check.interval));
    }
    text
}

fn of_backend_tls(tls: &BackendTls) -> String {
    let BackendTls { authorities, server_name, verify_name, sni, certificate, crl, insecure } = tls;
    let mut text = String::from(", TLS");
    if *insecure {
        text.push_str(" that believes every server");
    } else {
        let authorities: Vec<_> = authorities
            .iter()
            .map(|authority| match authority {
                Authority::System => "the system".into(),
                Authority::File(path) => path.display().to_string(),
            })
            .collect();
        let _ = write!(text, " believed by {}", authorities.join(" and "));
    }
    for (what, name) in [("for", server_name), ("if it is", verify_name)] {
        if let Some(name) = name {
            let _ = write!(text, " {what} {}", name.to_str());
        }
    }
    if !sni {
        text.push_str(" without SNI");
    }
    if let Some(crl) = crl {
        let _ = write!(text, " unless revoked by {}", crl.display());
    }
    if let Some(files) = certificate {
        let _ = write!(text, " as {}", files.cert.display());
    }
    text
}

fn of_backend(backend: &BackendSettings) -> String {
    let BackendSettings { address, weight, max_conns, backup, down, tier: _, found: _ } = backend;
    let mut text = address.clone();
    if *weight != 1 {
        let _ = write!(text, "  weight {weight}");
    }
    if *max_conns != 0 {
        let _ = write!(text, "  at most {max_conns}");
    }
    if *backup {
        text.push_str("  backup");
    }
    if *down {
        text.push_str("  down");
    }
    text
}

/// The limits that are set, and how a client is refused.
fn of_limits(limits: &Limits) -> String {
    let size = |bytes| values::Size(bytes).to_string();
    let MessageLimits { message_size, frame_size, backend_message_size, frames, bytes } = limits.messages;
    let set = [
        ("sessions", limits.sessions.map(|most| most.to_string())),
        ("per client", limits.sessions_per_client.map(|most| most.to_string())),
        ("new per second", limits.new_sessions.map(|rate| rate.count().to_string())),
        ("new per second and client", limits.new_sessions_per_client.map(|rate| rate.count().to_string())),
        ("message", message_size.map(size)),
        ("frame", frame_size.map(size)),
        ("backend's message", backend_message_size.map(size)),
        ("messages per second", frames.map(|rate| rate.count().to_string())),
        ("bytes per second", bytes.map(|rate| size(rate.count()))),
        ("unsent", limits.unsent_memory.map(|most| size(most as u64))),
        ("away", limits.away.map(|most| most.to_string())),
    ];
    let mut words: Vec<_> = set.into_iter().filter_map(|(name, most)| Some(format!("{name} {}", most?))).collect();
    if limits.refuse == Refuse::Close {
        words.push("refused by Close 1013".into());
    }
    words.join(", ")
}

fn of_fleet(FleetSettings { servers, tls, instance, prefix, lease, on_loss, timeout }: &FleetSettings) -> String {
    let places: Vec<_> = servers.iter().map(|server| &*server.address).collect();
    let tls = if servers.iter().any(|server| server.is_tls) { of_backend_tls(tls) } else { String::new() };
    let name = instance.as_deref().unwrap_or("the host");
    let decides = match on_loss {
        OnLoss::Share => "decided by the share of this proxy",
        OnLoss::Open => "let in",
        OnLoss::Deny => "refused",
    };
    let (lease, timeout) = (short(*lease), short(*timeout));
    let places = places.join(" or ");
    format!("{places}{tls}, as {name} under {prefix}, lease {lease}; what has no answer in {timeout} is {decides}")
}

fn line(text: &mut String, line: fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{line}");
}

fn short(time: StdDuration) -> String {
    values::Duration(time).to_string()
}
