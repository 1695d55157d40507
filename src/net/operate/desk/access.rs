//! Who may use the admin interface.
//!
//! A page of any web site can reach a loopback port through a browser, in three ways: by a form, by a script that may
//! send but not read, or, if its own name leads to this machine, by a script that may read too.

use std::{io, net::SocketAddr};

use hyper::{
    HeaderMap, StatusCode,
    header::{CONTENT_TYPE, HOST, HeaderName, ORIGIN},
};

use super::answer::AdminRefusal;
use crate::config::{
    Admin,
    token::{self, Token},
};

/// The rules of one configuration.
#[derive(Debug)]
pub(in crate::net) struct Access {
    token: Option<Token>,
    hosts: Vec<String>,
}

impl Access {
    /// # Errors
    /// The token cannot be read.
    pub(in crate::net::operate) fn new(admin: &Admin) -> io::Result<Self> {
        let token = admin.token_file.as_deref().map(token::read).transpose()?;
        Ok(Self { token, hosts: admin.hosts.clone() })
    }

    /// Whether a request may be answered. `address`: our address that it came to. `None`: it came by a path, where no browser is.
    ///
    /// # Errors
    /// What the request lacks.
    pub(in crate::net::operate) fn check(
        &self,
        headers: &HeaderMap,
        address: Option<SocketAddr>,
    ) -> Result<(), AdminRefusal> {
        self.check_names(headers, address)?;
        match &self.token {
            Some(token) if !token.is_shown_in(headers) => {
                let message = "the token is missing or wrong: Authorization: Bearer TOKEN";
                Err(AdminRefusal::new(StatusCode::UNAUTHORIZED, "wrong_token", message))
            }
            _ => Ok(()),
        }
    }

    /// Whether the request calls the interface by its own name. Answers that hold no secret need this check too.
    ///
    /// # Errors
    /// The request does not.
    pub(in crate::net::operate) fn check_names(
        &self,
        headers: &HeaderMap,
        address: Option<SocketAddr>,
    ) -> Result<(), AdminRefusal> {
        let Some(address) = address else { return Ok(()) };
        let refuse = |code, what: &str| {
            let message = format!("the {what} of the request is not this interface's own, which listens on {address}");
            Err(AdminRefusal::new(StatusCode::FORBIDDEN, code, message))
        };
        match only(headers, HOST) {
            Ok(Some(host)) if self.is_own(host, address) => {}
            _ => return refuse("wrong_host", "Host"),
        }
        match only(headers, ORIGIN) {
            Ok(None) => Ok(()),
            Ok(Some(origin)) if origin.strip_prefix("http://").is_some_and(|host| self.is_own(host, address)) => Ok(()),
            _ => refuse("wrong_origin", "Origin"),
        }
    }

    /// Whether `host` is a name of this interface.
    fn is_own(&self, host: &str, address: SocketAddr) -> bool {
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()),
            _ => (host, Some(80)),
        };
        // For a name in the file, any port is right: ports may be mapped on the way.
        if self.hosts.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            return true;
        }
        let ip = address.ip().to_canonical();
        let own = if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
        let is_local =
            ip.is_loopback() && ["localhost", "127.0.0.1", "[::1]"].iter().any(|n| n.eq_ignore_ascii_case(name));
        port == Some(address.port()) && (is_local || own == name)
    }
}

/// Whether a write says that it is JSON. A form of a web page cannot say so.
///
/// # Errors
/// The write does not.
pub(in crate::net::operate) fn check_write(headers: &HeaderMap) -> Result<(), AdminRefusal> {
    let kind = only(headers, CONTENT_TYPE).ok().flatten().and_then(|value| value.split(';').next());
    if kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json")) {
        return Ok(());
    }
    let message = "a write needs Content-Type: application/json";
    Err(AdminRefusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "wrong_content_type", message))
}

/// The only value of a header. If there are two, neither is believed.
fn only(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(drop),
        _ => Err(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use hyper::header::{AUTHORIZATION, HeaderValue};

    use super::*;

    fn code(access: &Access, address: &str, headers: &[(HeaderName, &'static str)], is_write: bool) -> &'static str {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.clone(), HeaderValue::from_static(value));
        }
        let address = (!address.is_empty()).then(|| address.parse().unwrap());
        let checked = access.check(&map, address).and_then(|()| if is_write { check_write(&map) } else { Ok(()) });
        checked.err().map_or("ok", |refusal| refusal.code())
    }

    #[test]
    fn only_its_own_names_are_its_host() {
        let access = Access { token: None, hosts: vec!["longwire.internal".into()] };
        let loopback = "127.0.0.1:9900";
        for (address, host, expected) in [
            (loopback, "127.0.0.1:9900", "ok"),
            (loopback, "localhost:9900", "ok"),
            (loopback, "LocalHost:9900", "ok"),
            (loopback, "[::1]:9900", "ok"),
            (loopback, "longwire.internal", "ok"),
            (loopback, "longwire.internal:80", "ok"),
            (loopback, "localhost", "wrong_host"),
            (loopback, "localhost:9901", "wrong_host"),
            (loopback, "127.0.0.2:9900", "wrong_host"),
            (loopback, "evil.example:9900", "wrong_host"),
            (loopback, "", "wrong_host"),
            ("127.0.0.1:80", "localhost", "ok"),
            ("[::1]:9900", "[::1]:9900", "ok"),
            ("10.0.0.7:9900", "10.0.0.7:9900", "ok"),
            ("[::ffff:10.0.0.7]:9900", "10.0.0.7:9900", "ok"),
            ("10.0.0.7:9900", "localhost:9900", "wrong_host"),
        ] {
            assert_eq!(code(&access, address, &[(HOST, host)], false), expected, "{address} called {host}");
        }
        assert_eq!(code(&access, loopback, &[], false), "wrong_host");
        let twice = [(HOST, "localhost:9900"), (HOST, "localhost:9900")];
        assert_eq!(code(&access, loopback, &twice, false), "wrong_host");
        assert_eq!(code(&access, "", &[], false), "ok");
    }

    #[test]
    fn an_origin_is_its_own_or_absent() {
        let access = Access { token: None, hosts: Vec::new() };
        for (origin, expected) in [
            ("http://localhost:9900", "ok"),
            ("http://127.0.0.1:9900", "ok"),
            ("https://localhost:9900", "wrong_origin"),
            ("http://localhost:3000", "wrong_origin"),
            ("http://evil.example", "wrong_origin"),
            ("null", "wrong_origin"),
        ] {
            let headers = [(HOST, "localhost:9900"), (ORIGIN, origin)];
            assert_eq!(code(&access, "127.0.0.1:9900", &headers, false), expected, "{origin}");
        }
    }

    #[test]
    fn a_write_is_json_and_with_a_token_everything_shows_it() {
        let open = Access { token: None, hosts: Vec::new() };
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        fs_err::write(&file, "0123456789abcdef").unwrap();
        let closed = Access { token: Some(token::read(&file).unwrap()), hosts: Vec::new() };
        let json = (CONTENT_TYPE, "Application/JSON; charset=utf-8");
        let form = (CONTENT_TYPE, "application/x-www-form-urlencoded");
        let token = (AUTHORIZATION, "Bearer 0123456789abcdef");
        assert_eq!(code(&open, "", std::slice::from_ref(&json), true), "ok");
        for headers in [vec![form], vec![(CONTENT_TYPE, "text/plain")], vec![]] {
            assert_eq!(code(&open, "", &headers, true), "wrong_content_type");
        }
        for is_write in [false, true] {
            assert_eq!(code(&closed, "", &[json.clone(), token.clone()], is_write), "ok");
            assert_eq!(code(&closed, "", std::slice::from_ref(&json), is_write), "wrong_token");
            let wrong = (AUTHORIZATION, "Basic 0123456789abcdef");
            assert_eq!(code(&closed, "", &[json.clone(), wrong], is_write), "wrong_token");
        }
    }
}
