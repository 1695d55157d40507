//! The scalars of `proxy.yaml` that are addresses: where to listen, and where a backend is.
//!
//! People who know another proxy write URLs, bare ports, sockets and options here. The advice tells them what to write
//! instead.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

use super::{ListenAddress, bad_value::BadValue, foreign::TLS_OF_UPSTREAM, unix_name::UnixName};

/// An IP address and a port to listen on, or a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bind(pub(super) ListenAddress);

/// Where the admin interface listens: an IP address and a port, or `unix:` and a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AdminAddress {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// The `host:port` of a backend, or the name of its Unix socket, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BackendAddress(pub(super) String);

impl Bind {
    pub(super) const KIND: &str = "an address to listen on";
    pub(super) const PATTERN: &str = r"^unix:[/@].|:[0-9]+$|\$\{";
    pub(super) const EXAMPLE: &str = "0.0.0.0:8080";

    pub(super) fn parse(text: &str) -> Result<Self, BadValue> {
        if text.starts_with(UnixName::PREFIX) {
            return UnixName::parse(text).map(|name| Self(ListenAddress::Unix(name)));
        }
        if UnixName::is_meant_by(text) {
            return Err(UnixName::instead_of(text));
        }
        parse_address(text, Ipv4Addr::UNSPECIFIED).map(|address| Self(ListenAddress::Tcp(address)))
    }
}

/// Reads an IP address and a port. `everywhere` is the address that the advice names for a bare port.
fn parse_address(text: &str, everywhere: Ipv4Addr) -> Result<SocketAddr, BadValue> {
    text.parse()
        .map_err(|_| BadValue::new(format!("`{text}` is not an address to listen on"), bind_advice(text, everywhere)))
}

/// Advice for `text`: the address to write for the place that it probably means.
fn bind_advice(text: &str, everywhere: Ipv4Addr) -> String {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let rest = rest.split('/').next().unwrap_or_default();
    let mut words = rest.split([' ', ',']).filter(|word| !word.is_empty());
    let (first, more) = (words.next().unwrap_or_default(), words.collect::<Vec<_>>());
    let tls = match scheme == "https" || scheme == "wss" || more.contains(&"ssl") {
        true => ", with tls: { cert: …, key: … } beside it",
        false => "",
    };
    let is_bare = tls.is_empty() && more.is_empty();
    match bind_meant(first, scheme, everywhere) {
        // `text` holds an address, with other words around it.
        Some(address) if is_bare && address.contains('[') => {
            format!("an IPv6 address goes in brackets and quotes: \"{address}\"")
        }
        Some(address) if address.contains('[') => format!("write \"{address}\"{tls}"),
        Some(address) if more.iter().any(|word| word.contains(':')) => {
            format!("write {address}{tls}; the next is an item of its own in `listeners`")
        }
        Some(address) => format!("write {address}{tls}"),
        None if first.contains(|c: char| c.is_ascii_alphabetic()) && !first.contains("..") => {
            format!("write an IP address of this machine: {everywhere}:8080; names of hosts stand in `routes`")
        }
        None => "write an IP address and a port: 0.0.0.0:8080, or \"[::]:8080\" for IPv6".into(),
    }
}

/// The address that `text` probably means.
fn bind_meant(text: &str, scheme: &str, everywhere: Ipv4Addr) -> Option<String> {
    let usual = if matches!(scheme, "https" | "wss") { "443" } else { "8080" };
    if let Ok(ip) = text.parse::<Ipv4Addr>() {
        return Some(format!("{ip}:{usual}"));
    }
    if let Some(address) = bracketed(text, usual) {
        return Some(address);
    }
    if let Some(ip) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return ip.parse::<Ipv6Addr>().ok().map(|ip| format!("[{ip}]:{usual}"));
    }
    let is_port = text.parse::<u16>().is_ok();
    let (host, port) = match text.rsplit_once(':') {
        Some(parts) => parts,
        None if is_port => ("", text),
        None => (text, usual),
    };
    let port = match port {
        "http" => "80",
        "https" => "443",
        port => port,
    };
    port.parse::<u16>().ok()?;
    Some(match host {
        "" | "*" | "0" => format!("{everywhere}:{port}"),
        "localhost" => format!("127.0.0.1:{port}"),
        host => match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(IpAddr::V6(ip)) => format!("[{ip}]:{port}"),
            Ok(IpAddr::V4(ip)) => format!("{ip}:{port}"),
            Err(_) => return None,
        },
    })
}

/// An IPv6 address in brackets, with its own port or the `usual` one.
///
/// Text such as `::80` or `::1:8080` is a valid address without a port, but its last number is probably meant as a port.
fn bracketed(text: &str, usual: &str) -> Option<String> {
    let ip = text.parse::<Ipv6Addr>().ok()?;
    let with_port = text.rsplit_once(':').and_then(|(host, port)| {
        let host = if host == ":" { "::" } else { host };
        let port = port.parse::<u16>().ok().filter(|port| *port > 9)?;
        Some(format!("[{}]:{port}", host.parse::<Ipv6Addr>().ok()?))
    });
    with_port.or_else(|| Some(format!("[{ip}]:{usual}")))
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl AdminAddress {
    pub(super) const KIND: &str = "an address to listen on, or unix:/path";
    pub(super) const PATTERN: &str = r"^unix:.|:[0-9]+$|\$\{";
    pub(super) const EXAMPLE: &str = "127.0.0.1:9900";
    pub(super) fn parse(text: &str) -> Result<Self, BadValue> {
        match text.strip_prefix("unix:") {
            None if text.starts_with('/') => {
                Err(BadValue::new(format!("`{text}` is not an address to listen on"), format!("write unix:{text}")))
            }
            None => parse_address(text, Ipv4Addr::LOCALHOST).map(Self::Tcp),
            Some("") => Err(BadValue::new("`unix:` names no socket".into(), "write unix:/run/longwire/admin.sock")),
            Some(path) if path.len() > UnixName::LONGEST => {
                Err(BadValue::new(format!("`{path}` is too long for a socket"), "at most 107 bytes"))
            }
            Some(path) => Ok(Self::Unix(path.into())),
        }
    }
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl BackendAddress {
    pub(super) const KIND: &str = "a backend's host:port, or unix:/path";
    pub(super) const PATTERN: &str = r"^unix:[/@].|:[0-9]+$|\$\{";
    pub(super) const EXAMPLE: &str = "127.0.0.1:3000";

    pub(super) fn parse(text: &str) -> Result<Self, BadValue> {
        if text.starts_with(UnixName::PREFIX) {
            return UnixName::parse(text).map(|_| Self(text.to_owned()));
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            return Err(url_instead_of_backend(text, scheme, rest));
        }
        let refused = |help: String| BadValue::new(format!("`{text}` is not a backend's host:port"), help);
        if UnixName::is_meant_by(text) {
            return Err(UnixName::instead_of(text));
        }
        if text.contains([' ', ',']) {
            let help = "one address only: others are further items of `backends`, `weight` and the like keys beside it";
            return Err(refused(help.into()));
        }
        if let Some((address, _)) = text.split_once('/').filter(|(address, _)| Self::parse(address).is_ok()) {
            return Err(refused(format!("write {address}: the path goes through as the client sent it")));
        }
        if let Some(address) = bracketed(text, "80") {
            return Err(refused(format!("an IPv6 address goes in brackets and quotes, with a port: \"{address}\"")));
        }
        let Some((host, port)) = text.rsplit_once(':').filter(|_| !text.ends_with(']')) else {
            return Err(match text.parse::<u16>() {
                Ok(port) => refused(format!("write 127.0.0.1:{port}")),
                Err(_) => refused(format!("the port is missing: write {text}:80 or what the backend listens on")),
            });
        };
        if host == "*" || host.is_empty() {
            return Err(refused(format!("write 127.0.0.1:{port}")));
        }
        if !port.parse::<u16>().is_ok_and(|port| port > 0) {
            return Err(refused(match port {
                "http" => format!("write {host}:80"),
                "https" => format!("write {host}:443; {TLS_OF_UPSTREAM}"),
                _ => "a port is a number from 1 to 65535".into(),
            }));
        }
        if let Some(host) = host.split_once('@').map(|(_, host)| host) {
            return Err(refused(format!("write {host}:{port}: what a client sends to sign in goes through as it is")));
        }
        let is_name = |host: &str| host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
        let is_number = host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        match text.parse::<SocketAddr>() {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) if is_number => Err(refused(format!("{host} is no IPv4 address: write four numbers to 255"))),
            Err(_) if is_name(host) => Ok(Self(text.to_owned())),
            Err(_) => Err(refused("write a host name or an IP address (IPv6 in brackets), and a port".into())),
        }
    }
}

fn url_instead_of_backend(text: &str, scheme: &str, rest: &str) -> BadValue {
    let is_url = format!("`{text}` is a URL, not a backend's address");
    let place = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (_, place) = place.rsplit_once('@').unwrap_or(("", place));
    // Without a written port, the port of the scheme counts (RFC 9110 §4.2.1).
    let meant = |port: &str| match BackendAddress::parse(place) {
        Ok(BackendAddress(address)) => Some(address),
        Err(_) => BackendAddress::parse(&format!("{place}:{port}")).ok().map(|BackendAddress(address)| address),
    };
    match &*scheme.to_ascii_lowercase() {
        "https" | "wss" | "tls" | "ssl" => match meant("443") {
            Some(address) => BadValue::new(is_url, format!("write {address}; {TLS_OF_UPSTREAM}")),
            None => BadValue::new(is_url, TLS_OF_UPSTREAM),
        },
        "fd" => UnixName::instead_of(text),
        _ if place.starts_with("unix") => UnixName::instead_of(text),
        "http" | "ws" | "tcp" => {
            let has_path = rest.split_once('/').is_some_and(|(_, path)| !path.is_empty());
            let and = if has_path { "; the path goes through as the client sent it" } else { "" };
            match meant("80") {
                Some(address) => BadValue::new(is_url, format!("write {address}, without {scheme}://{and}")),
                None => BadValue::new(is_url, "write host:port, such as 127.0.0.1:3000 or \"[::1]:3000\""),
            }
        }
        _ => {
            let help = "longwire speaks HTTP/1.1 and WebSocket to backends: write the host:port where one does";
            BadValue::new(is_url, help)
        }
    }
}

impl fmt::Display for BackendAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The advice of `parse` for `text`, which it must refuse.
    fn advice<T: fmt::Debug>(parse: fn(&str) -> Result<T, BadValue>, text: &str) -> String {
        let bad = parse(text).unwrap_err();
        bad.help.unwrap_or_default()
    }

    #[test]
    fn a_backend_that_speaks_tls_is_never_advised_to_be_reached_without_it() {
        for text in ["https://h:443", "https://h", "wss://h:8443/ws", "HTTPS://h:443", "h:https", "tls://h:1"] {
            let advice = advice(BackendAddress::parse, text);
            assert!(advice.contains("tls: { }"), "{text}: {advice}");
        }
    }

    #[test]
    fn an_address_that_is_advised_is_one_that_is_taken() {
        for (text, meant) in [
            ("http://h", "h:80"),
            ("http://h:3000/path", "h:3000"),
            ("ws://user:word@h:81/", "h:81"),
            ("tcp://127.0.0.1:9000", "127.0.0.1:9000"),
            ("http://[::1]:3000", "[::1]:3000"),
            ("127.0.0.1:3000/ws", "127.0.0.1:3000"),
            ("user:word@h:80", "h:80"),
            ("*:3000", "127.0.0.1:3000"),
            ("::1", "[::1]:80"),
            ("::1:3000", "[::1]:3000"),
            ("h:http", "h:80"),
        ] {
            let advice = advice(BackendAddress::parse, text);
            assert!(advice.contains(meant), "{text}: {advice}");
            assert!(BackendAddress::parse(meant).is_ok(), "{meant}");
        }
        for (text, meant) in [
            ("http://0.0.0.0:80", "0.0.0.0:80"),
            ("https://:443", "0.0.0.0:443"),
            ("0.0.0.0:443 ssl", "0.0.0.0:443"),
            ("[::]:80 ipv6only=on", "[::]:80"),
            ("::", "[::]:8080"),
            ("::80", "[::]:80"),
            ("::1", "[::1]:8080"),
            ("::1:8083", "[::1]:8083"),
            (":443, :80", "0.0.0.0:443"),
            ("localhost", "127.0.0.1:8080"),
            ("http://localhost:8081", "127.0.0.1:8081"),
            ("0.0.0.0:https", "0.0.0.0:443"),
            ("*:80", "0.0.0.0:80"),
            ("127.0.0.1", "127.0.0.1:8080"),
        ] {
            let advice = advice(Bind::parse, text);
            assert!(advice.contains(meant), "{text}: {advice}");
            assert!(Bind::parse(meant).is_ok(), "{meant}");
        }
    }

    #[test]
    fn a_socket_of_the_file_system_is_told_where_it_can_be() {
        for text in ["/run/app.sock", "unix:///run/app.sock", "http://unix:/run/app.sock:/", "unix@/run/app.sock"] {
            assert_eq!(advice(BackendAddress::parse, text), "write unix:/run/app.sock", "{text}");
        }
        assert_eq!(advice(BackendAddress::parse, "abns@app"), "write unix:@app");
        assert!(advice(BackendAddress::parse, "unix:app.sock").contains("the whole path"));
        for text in ["/run/l.sock", "unix:///run/l.sock", "unix@/run/l.sock", "unix//run/l.sock"] {
            assert_eq!(advice(Bind::parse, text), "write unix:/run/l.sock", "{text}");
        }
        assert!(Bind::parse("unix:/run/l.sock").is_ok() && Bind::parse("unix:@l").is_ok());
        assert_eq!(advice(AdminAddress::parse, "/run/l.sock"), "write unix:/run/l.sock");
        // An address beyond loopback would be refused, because it needs a token.
        assert_eq!(advice(AdminAddress::parse, ":9900"), "write 127.0.0.1:9900");
    }

    #[test]
    fn numbers_that_are_no_address_are_no_name_either() {
        for text in ["256.1.1.1:80", "10.0.0:80", "1234:80"] {
            assert!(advice(BackendAddress::parse, text).contains("no IPv4 address"), "{text}");
        }
        assert!(BackendAddress::parse("4chat.example.com:80").is_ok());
    }

    #[test]
    fn addresses_suggest_what_was_meant() {
        let help = |text| Bind::parse(text).unwrap_err().help.unwrap();
        assert_eq!(help(":8080"), "write 0.0.0.0:8080");
        assert_eq!(help("8080"), "write 0.0.0.0:8080");
        assert_eq!(help("localhost:8080"), "write 127.0.0.1:8080");
        let help = |text| BackendAddress::parse(text).unwrap_err().help.unwrap();
        assert_eq!(help("3000"), "write 127.0.0.1:3000");
        assert_eq!(help(":3000"), "write 127.0.0.1:3000");
        assert_eq!(
            help("http://10.0.0.1:3000/x"),
            "write 10.0.0.1:3000, without http://; the path goes through as the client sent it"
        );
        for accepted in ["backend:80", "10.0.0.1:80", "[::1]:80", "a-b.example.com:65535"] {
            assert!(BackendAddress::parse(accepted).is_ok(), "{accepted}");
        }
        for refused in ["::1:80", "[::1]", "a b:80", "host:0", "host:65536", "user@host:80"] {
            assert!(BackendAddress::parse(refused).is_err(), "{refused}");
        }
    }
}
