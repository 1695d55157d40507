//! Which pages may open a WebSocket on a route. PURE.
//!
//! A browser lets any page open a WebSocket to any site, and sends the cookies of that site along. The browser only
//! names the origin of the page (RFC 6455 §10.2). A server that does not check the origin serves the user's data to
//! every page that the user visits.

use std::fmt;

use hyper::{HeaderMap, header::ORIGIN};

use crate::{headers::split_port, hosts::HostPattern};

/// The origins that are allowed; an empty list = every origin, and requests without an origin.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origins(Vec<Allowed>);

/// One entry of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Allowed {
    /// The scheme in lower case, the host, and the port unless it is the default port of the scheme.
    Site { scheme: String, host: HostPattern, port: Option<u16> },
    /// A scheme in lower case whose pages have no host: `file://`, as Chromium, Electron and the web views of phones
    /// write it for a page of the device.
    Hostless(String),
    /// The value that browsers send for pages without an origin: `data:`, sandboxed frames, and in some browsers
    /// `file:`.
    Null,
    /// A handshake without `Origin`: its sender is no browser.
    Absent,
}

/// An origin that is not allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForeignOrigin {
    /// The handshake names no origin.
    Missing,
    /// The handshake names more than one origin.
    Repeated,
    /// The handshake names this origin, cut to 100 characters.
    Other(String),
}

/// The most characters of an origin that an error repeats.
const MAX_QUOTED: usize = 100;

impl Origins {
    /// Reads `https://example.com`, `https://*.example.com`, `http://localhost:3000`, `file://`, `null` and `none`.
    ///
    /// # Errors
    /// The place of the first entry that has none of these forms, and what to write instead.
    pub fn parse(entries: &[String]) -> Result<Self, (usize, String)> {
        let parse = |(place, text): (usize, &String)| Allowed::parse(text).map_err(|why| (place, why));
        entries.iter().enumerate().map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a handshake may pass, by its `Origin`.
    ///
    /// # Errors
    /// The origin of the handshake is not in the list. A missing origin is refused too, unless the list has `none`: the
    /// list says who may connect, and a handshake without an origin does not say who sends it.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), ForeignOrigin> {
        if self.0.is_empty() {
            return Ok(());
        }
        let mut values = headers.get_all(ORIGIN).iter();
        let (value, more) = (values.next(), values.next());
        if more.is_some() {
            return Err(ForeignOrigin::Repeated);
        }
        let Some(value) = value else {
            return if self.0.contains(&Allowed::Absent) { Ok(()) } else { Err(ForeignOrigin::Missing) };
        };
        let text = String::from_utf8_lossy(value.as_bytes());
        let is_allowed = if text == "null" {
            self.0.contains(&Allowed::Null)
        } else {
            split(&text).is_some_and(|site| self.0.iter().any(|allowed| allowed.is(site)))
                || text
                    .strip_suffix("://")
                    .is_some_and(|scheme| self.0.iter().any(|allowed| allowed.is_hostless(scheme)))
        };
        if is_allowed { Ok(()) } else { Err(ForeignOrigin::Other(text.chars().take(MAX_QUOTED).collect())) }
    }
}

impl Allowed {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "null" => return Ok(Self::Null),
            "none" => return Ok(Self::Absent),
            "*" => return Err("without a list every origin is allowed".to_owned()),
            _ => {}
        }
        let Some((scheme, rest)) = text.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) else {
            return Err(format!("an origin has a scheme: write https://{text}"));
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.is_empty() && default_port(&scheme.to_ascii_lowercase()).is_none() {
            return Ok(Self::Hostless(scheme.to_ascii_lowercase()));
        }
        if let Some((site, _)) = rest.split_once('/') {
            return Err(format!("an origin has no path: write {scheme}://{site}"));
        }
        let (name, port) = split_port(rest);
        let port = match port.map(str::parse::<u16>) {
            None => None,
            Some(Ok(port)) => Some(port),
            Some(Err(_)) => return Err("a port is a number from 1 to 65535".to_owned()),
        };
        let scheme = scheme.to_ascii_lowercase();
        let host = HostPattern::parse(name)?;
        let port = port.filter(|port| default_port(&scheme) != Some(*port));
        Ok(Self::Site { scheme, host, port })
    }

    fn is(&self, (scheme, host, port): (&str, &str, Option<u16>)) -> bool {
        match self {
            Self::Site { scheme: own_scheme, host: own_host, port: own_port } => {
                own_scheme.eq_ignore_ascii_case(scheme) && own_host.matches(host) && *own_port == port
            }
            Self::Hostless(_) | Self::Null | Self::Absent => false,
        }
    }

    fn is_hostless(&self, scheme: &str) -> bool {
        matches!(self, Self::Hostless(own) if own.eq_ignore_ascii_case(scheme))
    }
}

/// Splits an origin into its scheme, its host, and its port unless that is the scheme's default port.
///
/// `None` for anything that a browser would not write (RFC 6454 §6.2). The check is strict: nobody can make a path or a
/// user name beside a host look like a part of the host.
fn split(origin: &str) -> Option<(&str, &str, Option<u16>)> {
    let (scheme, rest) = origin.split_once("://").filter(|(scheme, _)| is_scheme(scheme))?;
    let (host, port) = split_port(rest);
    let port = port.map(str::parse::<u16>).transpose().ok()?;
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_host = match bare {
        Some(address) => address.bytes().all(|byte| byte.is_ascii_hexdigit() || b":.".contains(&byte)),
        None => host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)),
    };
    let scheme_port = default_port(&scheme.to_ascii_lowercase());
    (is_host && !host.is_empty()).then_some((scheme, host, port.filter(|port| scheme_port != Some(*port))))
}

/// Letters, digits and `+-.` (RFC 3986 §3.1).
fn is_scheme(scheme: &str) -> bool {
    !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

impl fmt::Display for ForeignOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the handshake names no Origin"),
            Self::Repeated => f.write_str("the handshake names more than one Origin"),
            Self::Other(origin) => write!(f, "{origin:?} may not connect here"),
        }
    }
}

impl std::error::Error for ForeignOrigin {}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use hyper::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn origins(entries: &[&str]) -> Origins {
        let entries: Vec<_> = entries.iter().map(|&entry| entry.to_owned()).collect();
        Origins::parse(&entries).unwrap()
    }

    fn named(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (ORIGIN, HeaderValue::from_str(value).unwrap())).collect()
    }

    fn allows(entries: &[&str], origin: &str) -> bool {
        origins(entries).check(&named(&[origin])).is_ok()
    }

    #[test]
    fn an_empty_list_allows_everyone() {
        for values in [&["https://evil.example"][..], &["null"], &[], &["one", "two"]] {
            assert_eq!(Origins::default().check(&named(values)), Ok(()));
        }
    }

    #[test]
    fn letter_case_and_the_ports_of_the_schemes_do_not_matter() {
        for (entry, origin) in [
            ("https://example.com", "https://example.com"),
            ("https://Example.COM", "HTTPS://example.com"),
            ("https://example.com/", "https://EXAMPLE.com:443"),
            ("https://example.com:443", "https://example.com"),
            ("http://example.com", "http://example.com:80"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("file://", "file://"),
            ("File:///", "FILE://"),
            ("chrome-extension://abcdefgh", "chrome-extension://abcdefgh"),
            ("https://*.example.com", "https://a.example.com"),
            ("https://*.example.com", "https://A.b.Example.com"),
            ("https://*.example.com:8443", "https://a.example.com:8443"),
        ] {
            assert!(allows(&[entry], origin), "{entry} {origin}");
        }
    }

    #[test]
    fn lookalikes_are_foreign() {
        let entries = ["https://example.com", "https://*.example.com"];
        for origin in [
            "http://example.com",
            "https://example.com:8443",
            "https://example.com.evil.example",
            "https://evilexample.com",
            "https://example.co",
            "https://.example.com",
            "https://evil.example/.example.com",
            "https://evil.example?.example.com",
            "https://evil.example#.example.com",
            "https://example.com@evil.example",
            "https://evil.example\\.example.com",
            "https://evil.example:1@a.example.com",
            "https://a.example.com:443x",
            "https://a.example.com:65979",
            "https://a.example.com.",
            "https://example.com/",
            "https://example.com https://evil.example",
            "//example.com",
            "example.com",
            "https:example.com",
            "wss://example.com",
            "null",
            "none",
            "file://",
            "https://",
            "",
            "*",
        ] {
            assert!(!allows(&entries, origin), "{origin}");
        }
    }

    #[test]
    fn who_names_no_origin_passes_only_where_the_list_says_so() {
        assert_eq!(origins(&["https://a.example"]).check(&named(&[])), Err(ForeignOrigin::Missing));
        assert_eq!(origins(&["https://a.example", "none"]).check(&named(&[])), Ok(()));
        for origin in ["file://evil.example", "file:", "app://", "https://"] {
            assert!(!allows(&["file://"], origin), "{origin}");
        }
        assert!(allows(&["null"], "null") && !allows(&["none"], "null") && !allows(&["none"], "none"));
        let twice = named(&["https://a.example", "https://a.example"]);
        assert_eq!(origins(&["https://a.example"]).check(&twice), Err(ForeignOrigin::Repeated));
    }

    #[test]
    fn entries_that_no_browser_sends_are_refused() {
        for (entry, part) in [
            ("example.com", "write https://example.com"),
            ("*", "without a list"),
            ("https://example.com/chat", "write https://example.com"),
            ("https://example.com:0x1", "1 to 65535"),
            ("https://*", "`*`"),
            ("https://", "host"),
            ("*://example.com", "scheme"),
        ] {
            let (place, why) = Origins::parse(&["none".to_owned(), entry.to_owned()]).unwrap_err();
            assert!(place == 1 && why.contains(part), "{entry}: {why}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let mut headers = HeaderMap::new();
                headers.insert(ORIGIN, value);
                prop_assert!(origins(&["https://*.example.com"]).check(&headers).is_err());
            }
        }

        #[test]
        fn what_a_wildcard_allows_ends_in_its_domain(front in "[ -~]{0,30}") {
            let origin = format!("https://{front}.example.com");
            let is_name = !front.is_empty() && front.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
            prop_assert_eq!(allows(&["https://*.example.com"], origin.trim()), is_name, "{}", origin);
        }
    }
}
