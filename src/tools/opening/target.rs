//! The target of the load: a `ws:` or `wss:` URL.

use std::{fmt, str::FromStr};

use hyper::Uri;

/// A WebSocket URL in its parts (RFC 6455 §3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Whether the scheme is `wss`.
    pub tls: bool,
    /// A name or an address. An IPv6 address has no brackets here.
    pub host: String,
    /// The port; 80 or 443 if the URL names none.
    pub port: u16,
    /// Host and port as written, for the `Host` header.
    pub authority: String,
    /// Path and query, at least `/`.
    pub resource: String,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|error| format!("{error}"))?;
        let tls = match uri.scheme_str() {
            Some("ws") => false,
            Some("wss") => true,
            _ => return Err("write ws://HOST:PORT/PATH or wss://HOST:PORT/PATH".into()),
        };
        let authority = uri.authority().ok_or("the host is missing")?;
        if authority.as_str().contains('@') {
            return Err("a user name has no place in it: use --header 'Authorization: …'".into());
        }
        let host = authority.host();
        if host.is_empty() {
            return Err("the host is missing".into());
        }
        Ok(Self {
            tls,
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            authority: authority.as_str().to_owned(),
            resource: uri.path_and_query().map_or("/", |resource| resource.as_str()).to_owned(),
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "wss" } else { "ws" };
        write!(f, "{scheme}://{}{}", self.authority, self.resource)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_url_falls_into_its_parts_and_back() {
        let target: Target = "wss://chat.example.com/ws?room=1".parse().unwrap();
        assert_eq!((target.tls, target.host.as_str(), target.port), (true, "chat.example.com", 443));
        assert_eq!((target.authority.as_str(), target.resource.as_str()), ("chat.example.com", "/ws?room=1"));
        assert_eq!(target.to_string(), "wss://chat.example.com/ws?room=1");

        let target: Target = "ws://[::1]:8080".parse().unwrap();
        assert_eq!((target.host.as_str(), target.port, target.authority.as_str()), ("::1", 8080, "[::1]:8080"));
        assert_eq!(target.to_string(), "ws://[::1]:8080/");
    }

    #[test]
    fn what_is_no_websocket_url_is_refused() {
        for text in ["http://localhost/", "localhost:8080", "/ws", "ws://", "ws://me:secret@localhost/"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}
