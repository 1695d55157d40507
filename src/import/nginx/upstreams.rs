//! The `upstream` blocks, and the addresses that `proxy_pass` names directly: each becomes an upstream when a route needs it.

use super::{blocks::Directive, scope::Scope};
use crate::import::{
    origin::{FileLine, is_certificate_name, is_token},
    tree::{Branch, Twig},
    units,
};

/// Where a `proxy_pass` leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PassTarget {
    pub(super) is_https: bool,
    /// Host and port, the name of an `upstream`, or `unix:` and a path.
    pub(super) authority: String,
    /// What stands behind, from its first slash or variable; `None` = nothing, so the path stays.
    pub(super) uri: Option<String>,
}

impl PassTarget {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (is_https, rest) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(rest), _) => (false, rest),
            (None, Some(rest)) => (true, rest),
            (None, None) => return None,
        };
        let (authority, uri) = if let Some(path) = rest.strip_prefix("unix:") {
            let (path, uri) = path.split_once(':').map_or((path, None), |(path, uri)| (path, Some(uri)));
            (format!("unix:{path}"), uri.filter(|uri| !uri.is_empty()).map(str::to_owned))
        } else {
            let end = rest.find(['/', '$', '?']).unwrap_or(rest.len());
            let (authority, uri) = rest.split_at_checked(end)?;
            (authority.to_owned(), (!uri.is_empty()).then(|| uri.to_owned()))
        };
        (!authority.is_empty()).then_some(Self { is_https, authority, uri })
    }

    /// What nginx calls `$proxy_host`: without the port that the scheme has anyway.
    pub(super) fn proxy_host(&self) -> &str {
        let port = if self.is_https { ":443" } else { ":80" };
        self.authority.strip_suffix(port).unwrap_or(&self.authority)
    }
}

/// How a route reaches an upstream, apart from its servers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Reaching {
    pub(super) tls: Option<Twig>,
    pub(super) tries: Option<u32>,
    /// Who is asked for names at each request; `None` = a name is looked up as that of any address.
    pub(super) discovery: Option<Twig>,
}

/// The upstreams of the new file, as routes need them.
#[derive(Debug)]
pub(super) struct Groups<'a> {
    blocks: Vec<&'a Directive>,
    top: Scope<'a>,
    made: Vec<(String, Reaching, String)>,
    pub(super) upstreams: Vec<(String, Twig)>,
}

impl<'a> Groups<'a> {
    pub(super) fn new(blocks: Vec<&'a Directive>, top: Scope<'a>) -> Self {
        Self { blocks, top, made: Vec::new(), upstreams: Vec::new() }
    }

    /// The `upstream` block of this name.
    pub(super) fn block(&self, name: &str) -> Option<&'a Directive> {
        self.blocks.iter().find(|block| block.arg(0) == name).copied()
    }

    /// The name of the upstream for a target. `at`: where a route needs it.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn reach(&mut self, target: &PassTarget, manners: &Reaching, at: &FileLine) -> Result<String, String> {
        let PassTarget { authority, is_https, .. } = target;
        let known = self.made.iter().find(|(made, how, _)| made == authority && how == manners);
        if let Some((_, _, name)) = known {
            return Ok(name.clone());
        }
        let mut upstream = match self.block(authority) {
            Some(block) => group(block, &self.top)?,
            None => single(authority, *is_https, manners.discovery.as_ref(), at)?,
        };
        if let Some(tries) = manners.tries {
            upstream.bare("tries", tries);
        }
        if let Some(tls) = &manners.tls {
            upstream.put("tls", Branch::Map(tls.clone()));
        }
        let wished = match self.block(authority) {
            Some(_) => authority.clone(),
            None => {
                authority.trim_start_matches("unix:/").replace([':', '/', '[', ']'], "-").trim_matches('-').to_owned()
            }
        };
        let is_taken = |name: &str| self.upstreams.iter().any(|(other, _)| other == name);
        let name = std::iter::once(wished.clone())
            .chain((2..).map(|number| format!("{wished}-{number}")))
            .find(|name| !is_taken(name))
            .unwrap_or(wished);
        self.made.push((authority.clone(), manners.clone(), name.clone()));
        self.upstreams.push((name.clone(), upstream));
        Ok(name)
    }

    /// The cookie of `sticky cookie` in the block of this name.
    pub(super) fn sticky(&self, name: &str) -> Option<Twig> {
        let block = self.block(name)?;
        let sticky = block.inner().iter().find(|inner| inner.name == "sticky" && inner.arg(0) == "cookie")?;
        if !is_token(sticky.arg(1)) {
            return None;
        }
        let mut cookie = Twig::default();
        cookie.text("name", sticky.arg(1));
        for word in sticky.args.iter().skip(2) {
            let (key, value) = word.text.split_once('=').unwrap_or((&word.text, ""));
            match key {
                "expires" => {
                    if let Some(time) = units::nginx_time(value) {
                        cookie.bare("max_age", units::duration(time));
                    }
                }
                "secure" => cookie.bare("secure", "always"),
                "samesite" if matches!(value, "lax" | "strict" | "none") => cookie.bare("same_site", value),
                _ => {}
            }
        }
        Some(cookie)
    }
}

/// An address of a backend as longwire writes it; `None` = longwire cannot have it.
pub(crate) fn address(text: &str, port: &str) -> Option<String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return socket(path);
    }
    let has_port = text.rsplit_once(':').is_some_and(|(host, _)| !host.contains(':') || host.ends_with(']'));
    let whole = if has_port { text.to_owned() } else { format!("{text}:{port}") };
    let (host, port) = whole.rsplit_once(':')?;
    let is_address = whole.parse::<std::net::SocketAddr>().is_ok();
    let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
    (is_port && (is_address || !host.contains(':') && is_certificate_name(host))).then_some(whole)
}

/// The name of a service as longwire writes it; `None` = longwire cannot have it.
pub(crate) fn service_name(text: &str) -> Option<String> {
    let is_service = text.starts_with('_') && text.contains("._") && is_certificate_name(text);
    is_service.then(|| text.to_owned())
}

/// Whether a backend of the same place is listed already: an upstream names each once.
pub(crate) fn is_listed(backends: &[Twig], backend: &Twig) -> bool {
    backends.iter().any(|other| other.pairs.first() == backend.pairs.first())
}

/// The name of a Unix socket as longwire writes it: a whole path, or `@` and a name.
fn socket(path: &str) -> Option<String> {
    let path = if path.starts_with('/') { format!("/{}", path.trim_start_matches('/')) } else { path.to_owned() };
    let is_whole = path.len() > 1 && path.starts_with(['/', '@']) && !path.ends_with('/');
    (is_whole && path.len() <= 107 && !path.contains(char::is_control)).then(|| format!("unix:{path}"))
}

fn single(authority: &str, is_https: bool, discovery: Option<&Twig>, at: &FileLine) -> Result<Twig, String> {
    let port = if is_https { "443" } else { "80" };
    let address = address(authority, port).ok_or_else(|| at.note(format_args!("`{authority}` is no backend here")))?;
    let is_name = !address.starts_with("unix:") && address.parse::<std::net::SocketAddr>().is_err();
    let discovery = discovery.filter(|_| is_name);
    let (mut backend, mut upstream): (Twig, Twig) = Default::default();
    backend.text(if discovery.is_some() { "dns" } else { "address" }, address);
    if let Some(discovery) = discovery {
        upstream.bare("balance", "round_robin");
        upstream.map("discovery", discovery.clone());
    }
    upstream.put("backends", Branch::Maps(vec![backend]));
    Ok(upstream)
}

/// An upstream from its block.
fn group(block: &Directive, top: &Scope<'_>) -> Result<Twig, String> {
    let mut upstream = Twig::default();
    let servers: Vec<&Directive> = block.inner().iter().filter(|inner| inner.name == "server").collect();
    balance(block, servers.len(), &mut upstream);
    let mut backends = Vec::new();
    for server in &servers {
        match backend(server) {
            Some(backend) if is_listed(&backends, &backend) => {
                upstream.notes.push(server.at.note(format_args!("{} stands there already", server.arg(0))));
            }
            Some(backend) => backends.push(backend),
            None => upstream.notes.push(server.at.note(format_args!("`server {}` is no backend here", server.arg(0)))),
        }
        if param(server, "weight") == "0" {
            upstream.notes.push(server.at.note("weight=0, which nginx refuses: it is down here"));
        }
    }
    if backends.is_empty() {
        return Err(block.at.note(format_args!("upstream `{}` has no server that longwire can have", block.arg(0))));
    }
    if servers.len() > 1 {
        failures(&servers, &mut upstream);
    }
    if let Some(server) = servers.iter().find(|server| !param(server, "slow_start").is_empty())
        && let Some(time) = units::nginx_time(param(server, "slow_start"))
    {
        upstream.bare("slow_start", units::duration(time));
    }
    let keepalive = block.inner().iter().find(|inner| inner.name == "keepalive");
    if keepalive.is_some_and(|keepalive| keepalive.arg(0) == "0") {
        upstream.bare("reuse", "never");
    }
    if servers.iter().any(|server| has_flag(server, "resolve")) {
        let own = block.inner().iter().find(|inner| inner.name == "resolver");
        upstream.map("discovery", own.or_else(|| top.one("resolver")).map(discovery).unwrap_or_default());
    }
    upstream.put("backends", Branch::Maps(backends));
    Ok(upstream)
}

fn balance(block: &Directive, servers: usize, upstream: &mut Twig) {
    let methods = ["ip_hash", "least_conn", "hash", "random", "least_time"];
    let method = block.inner().iter().find(|inner| methods.contains(&inner.name.as_str()));
    let hash_on = |upstream: &mut Twig, kind: &str, name: String| {
        upstream.bare("balance", "hash");
        let mut on = Twig::default();
        on.text(kind, name);
        upstream.map("hash_on", on);
    };
    let Some(method) = method else {
        if servers > 1 {
            upstream.bare("balance", "round_robin");
        }
        return;
    };
    let key = method.arg(0).trim_matches(['{', '}']).replace(['{', '}'], "");
    match method.name.as_str() {
        "ip_hash" => {
            upstream.bare("balance", "ip_hash");
            upstream.bare("hash_prefix_v4", 24);
        }
        "least_conn" => upstream.bare("balance", "least_conn"),
        "least_time" => {
            upstream.notes.push(method.at.note("least_time: longwire counts sessions and requests, not times"));
            upstream.bare("balance", "least_conn");
        }
        "random" => upstream.bare("balance", "random_two"),
        _ if matches!(&*key, "$remote_addr" | "$binary_remote_addr") => upstream.bare("balance", "ip_hash"),
        _ => match (key.strip_prefix("$arg_"), key.strip_prefix("$cookie_"), key.strip_prefix("$http_")) {
            (Some(name), ..) if is_word(name) => hash_on(upstream, "query", name.to_owned()),
            (_, Some(name), _) if is_word(name) => hash_on(upstream, "cookie", name.to_owned()),
            (.., Some(name)) if is_word(name) => hash_on(upstream, "header", name.replace('_', "-")),
            _ => {
                let note =
                    format_args!("hash {}: longwire hashes one header, cookie or key of the query", method.arg(0));
                upstream.notes.push(method.at.note(note));
                upstream.bare("balance", "round_robin");
            }
        },
    }
}

fn is_word(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The value of a parameter of a `server`; empty if it has none.
pub(super) fn param<'a>(server: &'a Directive, name: &str) -> &'a str {
    let args = server.args.iter().skip(1);
    args.filter_map(|word| word.text.split_once('=')).find(|(key, _)| *key == name).map_or("", |(_, value)| value)
}

pub(super) fn has_flag(server: &Directive, flag: &str) -> bool {
    server.args.iter().skip(1).any(|word| word.text == flag)
}

fn backend(server: &Directive) -> Option<Twig> {
    let mut backend = Twig::default();
    let name = server.arg(0);
    let service = param(server, "service");
    if !service.is_empty() {
        let service = service.trim_start_matches('_');
        let service = if service.contains('.') { format!("_{service}") } else { format!("_{service}._tcp") };
        backend.text("srv", service_name(&format!("{service}.{name}"))?);
    } else if has_flag(server, "resolve") && !name.starts_with("unix:") {
        backend.text("dns", address(name, "80").filter(|whole| whole.parse::<std::net::SocketAddr>().is_err())?);
    } else {
        backend.text("address", address(name, "80")?);
    }
    for (theirs, ours) in [("weight", "weight"), ("max_conns", "max_conns")] {
        if let Ok(number @ 1..=65_535) = param(server, theirs).parse::<u32>() {
            backend.bare(ours, number);
        }
    }
    if has_flag(server, "backup") {
        backend.bare("backup", true);
    }
    if has_flag(server, "down") || param(server, "weight") == "0" {
        backend.bare("down", true);
    }
    Some(backend)
}

/// `max_fails` and `fail_timeout` are of a server in nginx, and of the upstream here.
fn failures(servers: &[&Directive], upstream: &mut Twig) {
    let time = |server: &&Directive| units::nginx_time(param(server, "fail_timeout")).filter(|time| !time.is_zero());
    // `fail_timeout=0` takes no server out.
    let fails = |server: &&Directive| match (param(server, "fail_timeout"), time(server)) {
        (written, None) if !written.is_empty() => 0,
        _ => param(server, "max_fails").parse::<u32>().unwrap_or(1).min(1000),
    };
    let times = |server: &&Directive| time(server).unwrap_or(std::time::Duration::from_secs(10));
    let (Some(most), Some(longest)) = (servers.iter().map(fails).max(), servers.iter().map(times).max()) else {
        return;
    };
    if let Some(odd) = servers.iter().find(|server| fails(server) != most || times(server) != longest) {
        let note = "max_fails and fail_timeout are of the whole upstream: these are the largest";
        upstream.notes.push(odd.at.note(note));
    }
    upstream.bare("max_fails", most);
    upstream.bare("fail_timeout", units::duration(longest));
}

/// Who is asked for names, by `resolver`.
pub(super) fn discovery(resolver: &Directive) -> Twig {
    let mut discovery = Twig::default();
    let mut servers = Vec::new();
    for word in &resolver.args {
        match word.text.split_once('=') {
            Some(("valid", time)) => {
                if let Some(time) = units::nginx_time(time).filter(|time| time.as_secs() >= 1) {
                    discovery.bare("max_ttl", units::duration(time));
                }
            }
            Some(("ipv6", "off")) => discovery.bare("family", "ipv4"),
            Some(("ipv4", "off")) => discovery.bare("family", "ipv6"),
            Some(_) => {}
            None => match address(&word.text, "53").filter(|whole| whole.parse::<std::net::SocketAddr>().is_ok()) {
                Some(address) => servers.push(address),
                None => {
                    discovery.notes.push(resolver.at.note(format_args!("resolver {}: an address is needed", word.text)))
                }
            },
        }
    }
    discovery.texts("resolver", servers);
    discovery
}
