//! What is wrong with an HAProxy configuration for WebSockets.

use std::time::Duration;

use super::{
    lines::{HaLine, HaSection},
    words,
};
use crate::import::{
    remark::{Gravity, Remark},
    units,
};

/// A silence that many sessions have.
const USUAL: Duration = Duration::from_secs(60);
const LONG: Duration = Duration::from_secs(3600);

/// Remarks about every section.
pub(super) fn remarks(sections: &[HaSection], remarks: &mut Vec<Remark>) {
    for section in sections {
        words::remarks(section, remarks);
        let is_http = section.mode() != "tcp" || section.one(&["mode"]).is_none();
        if is_stats(section) {
            continue;
        }
        if section.is_back() && section.lines.iter().any(|line| line.word(0).starts_with("server")) {
            if is_http {
                if is_for_websockets(section, sections) {
                    tunnel(section, remarks);
                }
                closing(section, remarks);
            }
            for (name, what) in [
                ("connect", "a server that does not answer holds its request for ever"),
                ("server", "a server that says nothing holds its request for ever"),
            ] {
                missing(section, name, what, remarks);
            }
        }
        if section.is_front() {
            missing(section, "client", "a client that says nothing holds its connection for ever", remarks);
        }
        for line in section.lines.iter().filter(|line| matches!(line.word(0), "use_backend" | "default_backend")) {
            let name = line.word(1);
            let is_there = sections.iter().any(|other| other.is_back() && other.name == name);
            if !is_there && !name.contains('%') {
                let text = format!("there is no backend `{name}`, so HAProxy refuses the file");
                remarks.push(Remark::new(&line.at, Gravity::Error, line.word(0), text));
            }
        }
        if section.is_front() && !is_http {
            let text = "mode tcp relays bytes: HAProxy knows no host, no path and no WebSocket, and timeout client and server \
                        end a silent session";
            remarks.push(Remark::new(
                section.one(&["mode"]).map_or(&section.at, |line| &line.at),
                Gravity::Note,
                "mode",
                text,
            ));
        }
    }
}

/// Whether a section shows statistics alone.
pub(super) fn is_stats(section: &HaSection) -> bool {
    let has = |word: &str| section.lines.iter().any(|line| line.word(0) == word);
    has("stats") && !has("server") && !has("default_backend") && !has("use_backend")
}

/// Whether WebSockets reach the servers of a section: those to which a rule by the `Upgrade` header leads, or all that a
/// frontend uses if there is no such rule.
fn is_for_websockets(section: &HaSection, sections: &[HaSection]) -> bool {
    let fronts = || sections.iter().filter(|front| front.is_front());
    let is_upgrade = |words: &[String]| {
        words
            .iter()
            .map(|word| word.to_ascii_lowercase())
            .any(|word| word.contains("(upgrade") || word.contains("sec-websocket"))
    };
    let leads = |front: &HaSection, line: &HaLine| {
        let named = |acl: &&HaLine| acl.word(0) == "acl" && is_upgrade(&acl.words);
        let mut acls = front.lines.iter().chain(&front.defaults).filter(named).map(|acl| acl.word(1));
        is_upgrade(&line.words) || acls.any(|name| line.rest(2).iter().any(|word| word == name))
    };
    let mut chosen = fronts().flat_map(|front| {
        let rules = front.lines.iter().filter(|line| line.word(0) == "use_backend");
        rules.filter(move |line| leads(front, line)).map(|line| line.word(1))
    });
    let names: Vec<&str> = chosen.by_ref().collect();
    if !names.is_empty() {
        return names.contains(&section.name.as_str());
    }
    let uses = |line: &HaLine| {
        matches!(line.word(0), "use_backend" | "default_backend")
            && (line.word(1) == section.name || line.word(1).contains('%'))
    };
    section.is_front()
        || fronts().next().is_none()
        || fronts().any(|front| front.lines.iter().chain(&front.defaults).any(uses))
}

fn timeout<'a>(section: &'a HaSection, name: &str) -> Option<(&'a HaLine, Option<Duration>)> {
    let old = match name {
        "client" => "clitimeout",
        "server" => "srvtimeout",
        "connect" => "contimeout",
        _ => "",
    };
    let line = section.one(&["timeout", name]).map(|line| (line, line.word(2)));
    let line = line.or_else(|| section.one(&[old]).filter(|_| !old.is_empty()).map(|line| (line, line.word(1))));
    line.map(|(line, time)| (line, units::haproxy_time(time)))
}

fn tunnel(section: &HaSection, remarks: &mut Vec<Remark>) {
    const NAME: &str = "timeout tunnel";
    let advice = "write timeout tunnel 1h, or have the backend send Pings more often";
    match timeout(section, "tunnel") {
        None => {
            let server = timeout(section, "server").and_then(|(_, time)| time).filter(|time| !time.is_zero());
            let ends = match server {
                Some(time)
                    if time >= LONG && timeout(section, "client").is_some_and(|(_, client)| client >= Some(LONG)) =>
                {
                    return;
                }
                Some(time) => format!("timeout server ends a session that is silent for {}", units::duration(time)),
                None => "timeout client and timeout server end silent sessions".to_owned(),
            };
            let text = format!("{} {}: no timeout tunnel: {ends}; {advice}", section.kind, section.name);
            remarks.push(Remark::new(&section.at, Gravity::Warning, NAME, text));
        }
        Some((line, Some(time))) if time < LONG && !time.is_zero() => {
            let gravity = if time <= USUAL { Gravity::Warning } else { Gravity::Note };
            let text = format!("a session that is silent for {} ends without a Close: {advice}", units::duration(time));
            remarks.push(Remark::new(&line.at, gravity, NAME, text));
        }
        Some(_) => {}
    }
}

fn missing(section: &HaSection, name: &str, what: &str, remarks: &mut Vec<Remark>) {
    if timeout(section, name).is_none() {
        let text = format!("{} {}: no timeout {name}: {what}", section.kind, section.name);
        remarks.push(Remark::new(&section.at, Gravity::Warning, &format!("timeout {name}"), text));
    }
}

/// Options that close connections after each request.
fn closing(section: &HaSection, remarks: &mut Vec<Remark>) {
    for (name, what) in [
        ("httpclose", "closes the connections of client and server after each request"),
        (
            "forceclose",
            "closes the connections of client and server after each request; HAProxy 2.0 and later know it no more",
        ),
        ("http-server-close", "closes the connection of the server after each request"),
    ] {
        if let Some(line) = section.option(name) {
            let text = format!(
                "option {name} {what}: long polls before an upgrade cost a connection each; an open WebSocket is not \
                 concerned. option http-keep-alive is the default"
            );
            remarks.push(Remark::new(&line.at, Gravity::Note, &format!("option {name}"), text));
        }
    }
}
