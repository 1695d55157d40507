//! The `server` blocks, the addresses on which they listen, and the names that they have.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{blocks::Directive, scope::Scope, upstreams::address};
use crate::import::origin::{FileLine, is_route_host};

/// What is said once of an address.
const HTTP2: &str = "http2: longwire speaks HTTP/1.1 to clients";

/// A `server` block.
#[derive(Debug)]
pub(super) struct VirtualServer<'a> {
    pub(super) at: FileLine,
    pub(super) scope: Scope<'a>,
    /// The names that longwire can have as the hosts of routes.
    pub(super) names: Vec<String>,
    /// The names that it cannot have.
    pub(super) notes: Vec<String>,
}

/// Where nginx listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ListenPlace {
    Tcp(SocketAddr),
    Unix(String),
}

/// The servers of one address.
#[derive(Debug)]
pub(super) struct ListenGroup {
    pub(super) at: FileLine,
    pub(super) endpoint: ListenPlace,
    pub(super) is_secure: bool,
    pub(super) has_proxy_header: bool,
    /// The places of the servers, in the order of the file.
    pub(super) servers: Vec<usize>,
    /// The server for names that no server has.
    pub(super) default: usize,
    pub(super) notes: Vec<String>,
}

impl<'a> VirtualServer<'a> {
    pub(super) fn new(at: &FileLine, block: &'a [Directive], around: &Scope<'a>) -> Self {
        let scope = around.within(block);
        let (mut names, mut notes): (Vec<String>, Vec<String>) = Default::default();
        for directive in block.iter().filter(|directive| directive.name == "server_name") {
            for word in &directive.args {
                match names_of(&word.text) {
                    Ok(found) => names.extend(found),
                    Err(why) => notes.push(directive.at.note(format_args!("server_name {}: {why}", word.text))),
                }
            }
        }
        Self { at: at.clone(), scope, names, notes }
    }
}

/// The hosts that a name stands for, none for one that no request has.
fn names_of(name: &str) -> Result<Vec<String>, &'static str> {
    if matches!(name, "_" | "" | "-" | "--" | "!") {
        return Ok(Vec::new());
    }
    let meant = match (name.strip_prefix('.'), name.strip_prefix('~')) {
        (Some(domain), _) => vec![domain.to_owned(), format!("*.{domain}")],
        (None, Some(pattern)) => {
            vec![host_in_disguise(pattern).ok_or("longwire has no regular expressions for hosts")?]
        }
        (None, None) if name.ends_with(".*") => return Err("longwire has no wildcard at the end of a host"),
        (None, None) if name.starts_with('$') => return Err("longwire does not know the name of its machine"),
        (None, None) => vec![name.to_owned()],
    };
    match meant.iter().all(|name| is_route_host(name)) {
        true => Ok(meant.into_iter().map(|name| name.to_ascii_lowercase()).collect()),
        false => Err("this is no host of a route"),
    }
}

/// The host that a regular expression for one stands for: `^example\.com$`, `^(.+)\.example\.com$`.
fn host_in_disguise(pattern: &str) -> Option<String> {
    let inner = pattern.strip_prefix('^')?.strip_suffix('$')?;
    let any = ["(.+)", "(.*)", "([^.]+)", "(\\w+)", ".+", ".*", "[^.]+", "\\w+"];
    let named = inner.strip_prefix("(?<").or_else(|| inner.strip_prefix("(?P<")).and_then(|rest| rest.split_once('>'));
    let after_named = named.and_then(|(_, rest)| {
        ["[^.]+)", ".+)", ".*)", "\\w+)", "[a-z0-9-]+)"].iter().find_map(|end| rest.strip_prefix(end))
    });
    let rest = after_named.or_else(|| any.iter().find_map(|any| inner.strip_prefix(any)));
    let (front, labels) = match rest {
        Some(rest) => ("*.", rest.strip_prefix("\\.")?),
        None => ("", inner),
    };
    let plain = labels.replace("\\.", "\u{0}");
    let is_literal = plain.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '\u{0}');
    (is_literal && !plain.is_empty()).then(|| format!("{front}{}", plain.replace('\u{0}', ".")))
}

/// The address in a `listen`; `Err` is an address that stands in for one that longwire cannot have.
pub(crate) fn endpoint(text: &str) -> Result<ListenPlace, ListenPlace> {
    let any = |port: u16| SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
    if text.starts_with("unix:") {
        return match address(text, "") {
            Some(name) => Ok(ListenPlace::Unix(name)),
            None => Err(ListenPlace::Tcp(any(80))),
        };
    }
    if let Ok(port) = text.parse::<u16>() {
        return Ok(ListenPlace::Tcp(any(port)));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(ListenPlace::Tcp(address));
    }
    let unbracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = unbracketed.parse::<IpAddr>() {
        return Ok(ListenPlace::Tcp(SocketAddr::new(address, 80)));
    }
    let (host, port) = text.rsplit_once(':').unwrap_or((text, "80"));
    let port: u16 = port.parse().unwrap_or(80);
    match host {
        "*" | "" => Ok(ListenPlace::Tcp(any(port))),
        "localhost" => Ok(ListenPlace::Tcp(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port))),
        _ => Err(ListenPlace::Tcp(any(port))),
    }
}

/// The addresses, each once, in the order of the file. An address that another one covers goes with it.
pub(super) fn listen_groups(servers: &[VirtualServer<'_>]) -> Vec<ListenGroup> {
    let mut groups: Vec<ListenGroup> = Vec::new();
    for (place, server) in servers.iter().enumerate() {
        let own: Vec<&Directive> = server.scope.own().iter().filter(|directive| directive.name == "listen").collect();
        let is_old_ssl = server.scope.word("ssl") == "on";
        if own.is_empty() {
            join(&mut groups, listening(&server.at, "80", &[], place, is_old_ssl));
        }
        for listen in own {
            let flags: Vec<&str> = listen.args.iter().skip(1).map(|word| word.text.as_str()).collect();
            if flags.contains(&"quic") {
                continue;
            }
            join(&mut groups, listening(&listen.at, listen.arg(0), &flags, place, is_old_ssl));
        }
    }
    groups
}

fn listening(at: &FileLine, address: &str, flags: &[&str], place: usize, is_old_ssl: bool) -> (ListenGroup, bool) {
    let found = endpoint(address);
    let mut notes = Vec::new();
    if found.is_err() {
        notes.push(at.note(format_args!("listen {address}: longwire listens on addresses, not on names")));
    }
    if flags.contains(&"http2") {
        notes.push(at.note(HTTP2));
    }
    let (Ok(endpoint) | Err(endpoint)) = found;
    let group = ListenGroup {
        at: at.clone(),
        endpoint,
        is_secure: is_old_ssl || flags.contains(&"ssl"),
        has_proxy_header: flags.contains(&"proxy_protocol"),
        servers: vec![place],
        default: place,
        notes,
    };
    (group, flags.iter().any(|flag| matches!(*flag, "default_server" | "default")))
}

/// Adds a server to the group of its address, or makes a group.
fn join(groups: &mut Vec<ListenGroup>, (mut joining, is_default): (ListenGroup, bool)) {
    let Some(group) = groups.iter_mut().find(|group| merged(&group.endpoint, &joining.endpoint).is_some()) else {
        groups.push(joining);
        return;
    };
    let merged = merged(&group.endpoint, &joining.endpoint).unwrap_or_else(|| group.endpoint.clone());
    let is_family = |a: &ListenPlace, b: &ListenPlace| matches!((a, b), (ListenPlace::Tcp(a), ListenPlace::Tcp(b)) if a.ip().is_unspecified() && b.ip().is_unspecified());
    if group.endpoint != joining.endpoint && !is_family(&group.endpoint, &joining.endpoint) {
        let note = "longwire listens once on a port: servers of a single address are not told apart";
        group.notes.push(joining.at.note(note));
    }
    group.endpoint = merged;
    group.is_secure |= joining.is_secure;
    group.has_proxy_header |= joining.has_proxy_header;
    let is_told = group.notes.iter().any(|note| note.ends_with(HTTP2));
    joining.notes.retain(|note| !(is_told && note.ends_with(HTTP2)));
    group.notes.append(&mut joining.notes);
    if is_default {
        group.default = joining.default;
    }
    if !group.servers.contains(&joining.default) {
        group.servers.push(joining.default);
    }
}

/// The one address in the place of two that cannot be bound beside each other; `None` = they can.
pub(crate) fn merged(a: &ListenPlace, b: &ListenPlace) -> Option<ListenPlace> {
    let (ListenPlace::Tcp(one), ListenPlace::Tcp(other)) = (a, b) else {
        return (a == b).then(|| a.clone());
    };
    if one.port() != other.port() {
        return None;
    }
    if one == other {
        return Some(a.clone());
    }
    let any = [one, other].into_iter().filter(|address| address.ip().is_unspecified()).collect::<Vec<_>>();
    match any.as_slice() {
        [] => None,
        // `[::]` takes IPv4 too.
        [address] if address.is_ipv6() || one.is_ipv4() == other.is_ipv4() => Some(ListenPlace::Tcp(**address)),
        _ => Some(ListenPlace::Tcp(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), one.port()))),
    }
}

/// How a server fits a host: the exact name, the longest wildcard, not at all.
pub(super) fn fit(names: &[String], host: &str) -> Option<usize> {
    let covers = |name: &&String| name.strip_prefix('*').is_some_and(|end| host.trim_start_matches('*').ends_with(end));
    if names.iter().any(|name| name == host) {
        return Some(usize::MAX);
    }
    names.iter().filter(covers).map(String::len).max()
}

impl ListenGroup {
    /// The server for a host, and whether one has its name. `None` = any host.
    pub(super) fn server(&self, servers: &[VirtualServer<'_>], host: Option<&str>) -> (usize, bool) {
        let Some(host) = host else { return (self.default, false) };
        let fitting = self.servers.iter().filter_map(|place| Some((fit(&servers.get(*place)?.names, host)?, *place)));
        // Of equal names, the first server counts.
        let best = fitting.reduce(|best, other| if other.0 > best.0 { other } else { best });
        best.map_or((self.default, false), |(_, place)| (place, true))
    }
}
