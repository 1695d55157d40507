//! The URL of a service that longwire asks.

use std::fmt;

use hyper::Uri;

use super::{addresses::BackendAddress, bad_value::BadValue};

/// The URL of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServiceUrl {
    pub(super) url: Uri,
    pub(super) is_https: bool,
    /// `host:port` of the service.
    pub(super) address: String,
}

impl ServiceUrl {
    pub(super) const KIND: &str = "the URL of a service";
    pub(super) const PATTERN: &str = r"^https?://.|\$\{";
    pub(super) const EXAMPLE: &str = "http://127.0.0.1:4180/check";

    pub(super) fn parse(text: &str) -> Result<Self, BadValue> {
        let refused = |help: String| BadValue::new(format!("`{text}` is not the URL of a service"), help);
        let unknown = || refused(format!("write http://, a host and a path: {}", Self::EXAMPLE));
        // The parser would drop a fragment without a word.
        if let Some((url, _)) = text.split_once('#') {
            return Err(refused(format!("no server gets what stands behind a #: write {url}")));
        }
        let url: Uri = text.parse().map_err(|_| unknown())?;
        let is_https = match url.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(_) | None => return Err(unknown()),
        };
        let authority = url.authority().ok_or_else(unknown)?;
        if let Some((_, host)) = authority.as_str().rsplit_once('@') {
            let scheme = if is_https { "https" } else { "http" };
            return Err(refused(format!("longwire signs in nowhere: write {scheme}://{host}{}", url.path())));
        }
        let address = match authority.as_str().strip_prefix(authority.host()) {
            Some("") => format!("{authority}:{}", if is_https { 443 } else { 80 }),
            _ => authority.to_string(),
        };
        match BackendAddress::parse(&address) {
            Ok(BackendAddress(address)) => Ok(Self { is_https, address, url }),
            Err(bad) => Err(refused(bad.help.unwrap_or_else(|| format!("write {}", Self::EXAMPLE)))),
        }
    }
}

impl fmt::Display for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_host_and_mostly_a_port_and_a_path() {
        for (text, address, target, is_https) in [
            ("http://127.0.0.1:4180/check", "127.0.0.1:4180", "/check", false),
            ("http://auth", "auth:80", "/", false),
            ("https://auth.example.com/a%2Fb?x=1&y", "auth.example.com:443", "/a%2Fb?x=1&y", true),
            ("HTTP://Auth:80/", "Auth:80", "/", false),
            ("http://[::1]:4180/", "[::1]:4180", "/", false),
            ("https://[::1]/", "[::1]:443", "/", true),
        ] {
            let read = ServiceUrl::parse(text).unwrap();
            let of_url = read.url.path_and_query().unwrap().as_str();
            assert_eq!((&*read.address, of_url, read.is_https), (address, target, is_https), "{text}");
            assert_eq!(ServiceUrl::parse(&read.to_string()).unwrap(), read, "{text}");
        }
    }

    #[test]
    fn a_url_that_would_mean_something_else_is_refused_with_what_to_write() {
        for (text, advice) in [
            ("127.0.0.1:4180/check", "write http://, a host"),
            ("/check", "write http://, a host"),
            ("auth", "write http://, a host"),
            ("ws://auth/", "write http://, a host"),
            ("", "write http://, a host"),
            ("http:///check", "write http://, a host"),
            ("http://a b/", "write http://, a host"),
            ("http://auth/check#top", "write http://auth/check"),
            ("http://me:word@auth:81/check", "write http://auth:81/check"),
            ("http://auth:0/", "a port is a number"),
            ("http://auth:99999/", "a port is a number"),
            ("http://auth:/", "a port is a number"),
            ("http://256.1.1.1/", "no IPv4 address"),
        ] {
            let bad = ServiceUrl::parse(text).unwrap_err();
            assert!(bad.help.as_ref().unwrap().contains(advice), "{text}: {bad}");
        }
    }
}
