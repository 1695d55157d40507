//! What a configuration would do, for people: printed by `check` and at start.

use std::{fmt, fmt::Write as _, time::Duration as StdDuration};

use super::{Config, Listener, LogFormat, values};
use crate::{
    balance::{BackendSettings, Policy, UpstreamSettings},
    ws::keepalive,
};

/// Each listener, route and upstream in a line, backends below their upstream, then the times that matter.
#[must_use]
pub fn describe(config: &Config) -> String {
    let mut text = String::from("listeners\n");
    for listener in &config.listeners {
        line(&mut text, format_args!("  {}", of_listener(listener)));
    }
    text.push_str("routes\n");
    for route in config.routes.routes() {
        let upstream = config.upstreams.get(route.upstream).map_or("?", |upstream| &upstream.name);
        let keepalive = of_keepalive(&route.keepalive);
        let lifetime = route.max_lifetime.map(|life| format!(", ended after {}", short(life))).unwrap_or_default();
        line(&mut text, format_args!("  {} -> {upstream}  {keepalive}{lifetime}", route.name));
    }
    text.push_str("upstreams\n");
    for upstream in &config.upstreams {
        line(&mut text, format_args!("  {}", of_upstream(upstream)));
        for backend in &upstream.backends {
            line(&mut text, format_args!("    {}", of_backend(backend)));
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
    let (connect, upgrade, response) = (short(t.connect), short(t.upgrade), short(t.response));
    line(&mut text, format_args!("backends  connect {connect}, upgrade {upgrade}, response {response}"));
    let workers = config.workers.map_or_else(|| "one per core".into(), |workers| workers.to_string());
    line(&mut text, format_args!("workers   {workers}"));
    let admin = match &config.admin {
        Some(admin) if admin.token_file.is_some() => format!("{}  with a token", admin.bind),
        Some(admin) => format!("{}  without a token", admin.bind),
        None => "nowhere".into(),
    };
    line(&mut text, format_args!("admin     {admin}"));
    let format = match config.log.format {
        LogFormat::Json => "json",
        LogFormat::Text => "text",
    };
    let access = if config.log.access { "with" } else { "without" };
    line(&mut text, format_args!("log       {format}, level {}, {access} access records", config.log.level));
    text
}

fn of_listener(listener: &Listener) -> String {
    let Some(tls) = &listener.tls else {
        return format!("{}  plain", listener.bind);
    };
    let files: Vec<_> = tls.certificates.iter().map(|pair| pair.cert.display().to_string()).collect();
    let self_signed = if tls.self_signed { " (self-signed if absent)" } else { "" };
    format!("{}  TLS {}{self_signed}", listener.bind, files.join(", "))
}

fn of_keepalive(keepalive: &keepalive::Settings) -> String {
    let sides = match (keepalive.client, keepalive.backend) {
        (true, true) => "both sides",
        (true, false) => "clients only",
        (false, true) => "backends only",
        (false, false) => return "no pings".into(),
    };
    let Some(interval) = keepalive.ping_interval else {
        return "no pings".into();
    };
    let judged = match keepalive.pong_timeout {
        Some(timeout) => format!("dead after {} of silence", short(timeout)),
        None => "never judged dead".into(),
    };
    format!("ping after {}, {judged}, {sides}", short(interval))
}

fn of_upstream(upstream: &UpstreamSettings) -> String {
    let policy = match upstream.policy {
        Policy::IpHash { prefix_v4: 32 } => "ip_hash".into(),
        Policy::IpHash { prefix_v4 } => format!("ip_hash by /{prefix_v4}"),
        Policy::LeastConn => "least_conn".into(),
        Policy::RoundRobin => "round_robin".into(),
    };
    let out = match upstream.max_fails {
        0 => "never out".into(),
        fails => format!("out after {fails} failures in {}", short(upstream.fail_timeout)),
    };
    let tries = match upstream.tries {
        0 => "all".into(),
        tries => tries.to_string(),
    };
    format!("{}  {policy}, {out}, tries {tries}", upstream.name)
}

fn of_backend(backend: &BackendSettings) -> String {
    let BackendSettings { address, weight, max_conns, backup, down } = backend;
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

fn line(text: &mut String, line: fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{line}");
}

fn short(time: StdDuration) -> String {
    values::Duration(time).to_string()
}
