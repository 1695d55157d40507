//! The redirect of requests that come in the clear to `https`. PURE.

use hyper::{StatusCode, Uri};

use crate::{headers::split_port, hosts::bare_name};

/// The port that a URL with `https` need not name (RFC 9110 §4.2.2).
pub const HTTPS_PORT: u16 = 443;

/// A redirect to the same host, path and query by `https`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpsRedirect {
    /// The status of the answer: 301, 302, 307 or 308.
    pub status: StatusCode,
    /// The port of the new URL.
    pub port: u16,
}

impl HttpsRedirect {
    /// The new URL of a request; `None` = the request names no host.
    ///
    /// `host` is the text by which the route was found, so that a redirect never leads to a host that the route does not
    /// match. It may have a port.
    #[must_use]
    pub fn location(&self, host: &str, target: &Uri) -> Option<String> {
        if bare_name(host).is_empty() {
            return None;
        }
        let name = split_port(host).0.to_ascii_lowercase();
        let port = if self.port == HTTPS_PORT { String::new() } else { format!(":{}", self.port) };
        let path = match target.path_and_query().map_or("/", |path| path.as_str()) {
            // OPTIONS asks for the whole server (RFC 9110 §9.3.7), and no URL can say that.
            "*" => "/",
            path => path,
        };
        // A whole URL may have a query and no path (RFC 9112 §3.2.1).
        let slash = if path.starts_with('/') { "" } else { "/" };
        Some(format!("https://{name}{port}{slash}{path}"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn new_url_has_the_same_host_path_and_query_and_the_port_of_the_file() {
        for (host, target, port, expected) in [
            ("Chat.Example.COM:8080", "/a//b/%2e?q=%41&r=//x", 443, "https://chat.example.com/a//b/%2e?q=%41&r=//x"),
            ("chat.example.com", "/", 8443, "https://chat.example.com:8443/"),
            ("chat.example.com.", "//evil.example/", 443, "https://chat.example.com.//evil.example/"),
            ("[2001:DB8::1]:80", "/a?", 443, "https://[2001:db8::1]/a?"),
            ("192.0.2.1", "http://192.0.2.1?q", 443, "https://192.0.2.1/?q"),
            ("chat.example.com:", "http://chat.example.com", 443, "https://chat.example.com/"),
            ("chat.example.com", "*", 443, "https://chat.example.com/"),
        ] {
            let redirect = HttpsRedirect { status: StatusCode::PERMANENT_REDIRECT, port };
            assert_eq!(redirect.location(host, &target.parse().unwrap()).as_deref(), Some(expected), "{host} {target}");
        }
    }

    #[test]
    fn request_without_a_host_cannot_be_redirected() {
        let redirect = HttpsRedirect { status: StatusCode::FOUND, port: 443 };
        for host in ["", ":80", ".", ".:80"] {
            assert_eq!(redirect.location(host, &Uri::from_static("/a")), None, "{host}");
        }
    }
}
