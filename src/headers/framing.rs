//! Where a message ends and whom it is for: both must be certain before a message goes on (RFC 9112).
//!
//! If two readers frame one message differently, they read two messages, and an attacker wrote the second one. hyper
//! 1.12 rebuilds the framing of all that it forwards. So most of the work here is to refuse what hyper would repair.
//!
//! hyper and its parser refuse these requests before this code sees them:
//!
//! - a name with characters that a token cannot have, or with a space before the colon;
//! - a folded line;
//! - NUL, CR or another control character in a value or in the target;
//! - a `Content-Length` that is empty, signed, a list, wider than 64 bits, or different from a second one;
//! - a `Transfer-Encoding` that does not end in `chunked`, or any in HTTP/1.0;
//! - a chunk size that is not hexadecimal digits within 64 bits;
//! - a chunk extension with a bare CR or LF;
//! - a head over the limits.
//!
//! hyper repairs these requests, so this code neither sees nor forwards the fault:
//!
//! - a bare LF instead of CRLF;
//! - a `Content-Length` beside `Transfer-Encoding` in a request (hyper drops the length and closes the connection after
//!   the request);
//! - two equal `Content-Length` fields;
//! - a fragment in the target (hyper cuts it off).
//!
//! hyper lets everything in [`BadRequest`] and [`BadFraming`] pass, and this code refuses it. hyper catches a few of
//! these faults too. They are checked again because the check costs nothing and a later hyper may repair more.

use std::{fmt, net::Ipv6Addr};

use hyper::{
    HeaderMap, Method, Uri, Version,
    header::{CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING},
};

/// Why a request gets a 400 and its connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadRequest {
    /// CONNECT, which only a forward proxy serves.
    Connect,
    /// A target that is no path, no `http` or `ws` URL, and not the `*` of OPTIONS.
    Target,
    /// A user name in the target (RFC 9110 §4.2.4).
    Userinfo,
    /// No `Host` in HTTP/1.1 (RFC 9112 §3.2).
    HostMissing,
    /// More than one `Host`.
    HostRepeated,
    /// A `Host`, or the authority of a target in its place, that is no name or address with an optional port.
    HostInvalid,
    /// An absolute target with another host than `Host`.
    HostDisagrees,
    /// A body whose end is uncertain.
    Framing(BadFraming),
}

/// Why the end of a message is uncertain (RFC 9112 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadFraming {
    /// A `Transfer-Encoding` other than one `chunked`, or one that only some readers take for `chunked`.
    TransferEncoding,
    /// `Content-Length` beside `Transfer-Encoding`.
    BothLengths,
    /// More than one `Content-Length`.
    ContentLengthRepeated,
    /// A `Content-Length` that is not a 64-bit number in plain digits.
    ContentLengthInvalid,
}

/// Checks whom a request is for and where it ends.
///
/// An empty `Host` is accepted: the grammar allows it, health checks send it, and it matches the routes without a host.
/// A target with bytes above 0x7f is refused. Characters that browsers write although RFC 3986 forbids them, such as
/// `|`, are accepted.
///
/// # Errors
/// The first fault. The answer is 400, and the connection is not used again.
pub fn check_framing(method: &Method, uri: &Uri, version: Version, headers: &HeaderMap) -> Result<(), BadRequest> {
    if method == Method::CONNECT {
        return Err(BadRequest::Connect);
    }
    check_target(method, uri)?;
    check_host(uri, version, headers)?;
    if version == Version::HTTP_10 && headers.contains_key(TRANSFER_ENCODING) {
        return Err(BadRequest::Framing(BadFraming::TransferEncoding));
    }
    check_lengths(headers).map_err(BadRequest::Framing)
}

/// Checks where an answer of a backend ends.
///
/// hyper's client shows what it repairs. If an answer has both lengths, hyper follows `Transfer-Encoding` and keeps the
/// other field (its issues 4123 and 4181). If hyper does not know the `Transfer-Encoding`, it reads to the end of the
/// connection.
///
/// # Errors
/// The reason why the end is uncertain. The answer is 502, and the backend's connection is not used again.
pub fn check_answer_framing(headers: &HeaderMap) -> Result<(), BadFraming> {
    match check_lengths(headers) {
        Err(BadFraming::ContentLengthRepeated | BadFraming::ContentLengthInvalid) if one_length(headers).is_some() => {
            Ok(())
        }
        checked => checked,
    }
}

/// Reduces a length that an answer repeats, in lines or in a list, to one (RFC 9112 §6.3, number 5).
///
/// hyper reads the repeated length as one, but would forward it as it came. Call this after [`check_answer_framing`].
pub fn merge_lengths(headers: &mut HeaderMap) {
    let is_once = |length: &HeaderValue| length.as_bytes().iter().all(u8::is_ascii_digit);
    if headers.get_all(CONTENT_LENGTH).iter().count() < 2 && headers.get(CONTENT_LENGTH).is_none_or(is_once) {
        return;
    }
    if let Some(length) = one_length(headers).and_then(|length| HeaderValue::from_bytes(length).ok()) {
        headers.insert(CONTENT_LENGTH, length);
    }
}

/// The one length that all `Content-Length` values state; `None` if they differ or are not valid.
fn one_length(headers: &HeaderMap) -> Option<&[u8]> {
    let lines = headers.get_all(CONTENT_LENGTH).iter();
    let mut lengths = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let first = lengths.next().filter(|length| str::from_utf8(length).is_ok_and(is_length) && !length.is_empty())?;
    lengths.all(|length| length == first).then_some(first)
}

/// The host that a request is for, with its port as written.
///
/// It is the `Host` field, else the authority of an absolute target (HTTP/1.0 may send no `Host`), else empty. Call
/// this only after [`check_framing`].
#[must_use]
pub fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> &'a str {
    match headers.get(HOST) {
        Some(host) => host.to_str().unwrap_or_default(),
        None => uri.authority().map_or("", |authority| authority.as_str()),
    }
}

/// Splits a host into its name or bracketed address, and the text after its last colon.
pub(crate) fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    }
}

impl fmt::Display for BadRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "CONNECT is not served here",
            Self::Target => "the request target is neither a path nor an http or ws URL",
            Self::Userinfo => "the request target holds a user name",
            Self::HostMissing => "the Host header is missing",
            Self::HostRepeated => "the Host header is there more than once",
            Self::HostInvalid => "the Host header is no host",
            Self::HostDisagrees => "the request target names another host than the Host header",
            Self::Framing(bad) => return bad.fmt(f),
        })
    }
}

impl std::error::Error for BadRequest {}

impl fmt::Display for BadFraming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TransferEncoding => "Transfer-Encoding is not chunked and nothing else",
            Self::BothLengths => "Content-Length and Transfer-Encoding are both there",
            Self::ContentLengthRepeated => "Content-Length is there more than once",
            Self::ContentLengthInvalid => "Content-Length is no number",
        })
    }
}

impl std::error::Error for BadFraming {}

/// Checks that the target has one of the forms of RFC 9112 §3.2. The fourth form belongs to CONNECT alone.
fn check_target(method: &Method, uri: &Uri) -> Result<(), BadRequest> {
    match (uri.scheme_str(), uri.authority()) {
        (None, None) => {}
        (Some("http" | "https" | "ws" | "wss"), Some(authority)) => {
            if authority.as_str().contains('@') {
                return Err(BadRequest::Userinfo);
            }
        }
        _ => return Err(BadRequest::Target),
    }
    let is_ascii = uri.path_and_query().is_some_and(|target| target.as_str().is_ascii());
    let is_path = uri.path().starts_with('/') || (uri.path() == "*" && method == Method::OPTIONS);
    if is_ascii && is_path { Ok(()) } else { Err(BadRequest::Target) }
}

fn check_host(uri: &Uri, version: Version, headers: &HeaderMap) -> Result<(), BadRequest> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().map_err(|_| BadRequest::HostInvalid)?,
        (Some(_), Some(_)) => return Err(BadRequest::HostRepeated),
        // HTTP/1.0 may omit `Host`; then only the target can name the host.
        (None, _) if version == Version::HTTP_10 => {
            let is_sound = uri.authority().is_none_or(|authority| is_host(authority.as_str()));
            return if is_sound { Ok(()) } else { Err(BadRequest::HostInvalid) };
        }
        (None, _) => return Err(BadRequest::HostMissing),
    };
    if !is_host(host) {
        return Err(BadRequest::HostInvalid);
    }
    match uri.authority() {
        Some(authority) if !is_same_host(uri.scheme_str(), authority.as_str(), host) => Err(BadRequest::HostDisagrees),
        _ => Ok(()),
    }
}

/// Whether a text is a host with an optional port: letters, digits, `-`, `.` and `_`, or an IPv6 literal.
///
/// This is stricter than `uri-host` (RFC 3986 §3.2.2). No name in use has any other character, and attackers use other
/// characters to smuggle a second host into the first.
pub(crate) fn is_host(host: &str) -> bool {
    let (name, port) = split_port(host);
    let is_port = |port: &str| {
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        digits && (port.is_empty() || port.parse::<u16>().is_ok())
    };
    let is_name = match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(literal) => literal.parse::<Ipv6Addr>().is_ok(),
        None => name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)),
    };
    is_name && port.is_none_or(is_port)
}

/// Whether an absolute target names the same host as `Host`. Each of them may omit the default port.
fn is_same_host(scheme: Option<&str>, authority: &str, host: &str) -> bool {
    let default = if matches!(scheme, Some("https" | "wss")) { "443" } else { "80" };
    let (name, port) = split_port(authority);
    let (other, other_port) = split_port(host);
    let or_default = |port: Option<&str>| port.filter(|port| !port.is_empty()).unwrap_or(default).to_owned();
    name.eq_ignore_ascii_case(other) && or_default(port) == or_default(other_port)
}

fn check_lengths(headers: &HeaderMap) -> Result<(), BadFraming> {
    let mut encodings = headers.get_all(TRANSFER_ENCODING).iter();
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    match (encodings.next(), lengths.next()) {
        (None, None) => Ok(()),
        (Some(_), Some(_)) => Err(BadFraming::BothLengths),
        (Some(encoding), None) => {
            let is_chunked = encoding.as_bytes().eq_ignore_ascii_case(b"chunked");
            if is_chunked && encodings.next().is_none() { Ok(()) } else { Err(BadFraming::TransferEncoding) }
        }
        (None, Some(_)) if lengths.next().is_some() => Err(BadFraming::ContentLengthRepeated),
        (None, Some(length)) => match length.to_str().map(is_length) {
            Ok(true) => Ok(()),
            _ => Err(BadFraming::ContentLengthInvalid),
        },
    }
}

/// Whether a text is a length: only digits, because `u64`'s own parser would accept a sign.
fn is_length(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u64>().is_ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn ordinary_requests_pass() {
        for (method, target, host) in [
            ("GET", "/", "example.com"),
            ("POST", "/a?b={c}|d", "EXAMPLE.com:8080"),
            ("GET", "/", "127.0.0.1:80"),
            ("GET", "/", "[::1]:80"),
            ("GET", "/", "[::1]"),
            ("GET", "/", "my_host."),
            ("GET", "/", ""),
            ("GET", "/", "example.com:"),
            ("OPTIONS", "*", "example.com"),
            ("GET", "http://Example.com/a", "example.COM"),
            ("GET", "http://example.com/a", "example.com:80"),
            ("GET", "https://example.com:443?q", "example.com"),
            ("GET", "ws://example.com/a", "example.com:80"),
            ("GET", "wss://example.com:443/a", "example.com"),
        ] {
            assert_eq!(check(method, target, &[("host", host)]), Ok(()), "{target} {host}");
        }
    }

    #[test]
    fn connect_is_refused() {
        let host = [("host", "example.com:443")];
        assert_eq!(check("CONNECT", "example.com:443", &host), Err(BadRequest::Connect));
    }

    #[test]
    fn target_is_a_path_or_an_http_url() {
        for target in ["example.com:80", "ftp://example.com/", "*", "/caf\u{e9}", "/?q=\u{e9}"] {
            let bad = check("GET", target, &[("host", "example.com")]);
            assert_eq!(bad, Err(BadRequest::Target), "{target}");
        }
        let bad = check("GET", "http://a@example.com/", &[("host", "example.com")]);
        assert_eq!(bad, Err(BadRequest::Userinfo));
    }

    #[test]
    fn host_is_there_exactly_once_in_http_1_1() {
        assert_eq!(check("GET", "/", &[]), Err(BadRequest::HostMissing));
        let twice = [("host", "example.com"), ("host", "example.com")];
        assert_eq!(check("GET", "/", &twice), Err(BadRequest::HostRepeated));
        let old = |fields: &[_]| check_framing(&Method::GET, &Uri::from_static("/"), Version::HTTP_10, &map(fields));
        assert_eq!(old(&[]), Ok(()));
        assert_eq!(old(&twice), Err(BadRequest::HostRepeated));
    }

    #[test]
    fn a_host_that_only_the_target_names_is_checked_as_host_is() {
        let old = |target| check_framing(&Method::GET, &Uri::from_static(target), Version::HTTP_10, &map(&[]));
        for target in ["http://example.com/", "http://example.com:81/a", "http://[::1]:80/"] {
            assert_eq!(old(target), Ok(()), "{target}");
        }
        for target in ["http://a,b/", "http://a;b/", "http://a:99999/", "http://a:x/"] {
            assert_eq!(old(target), Err(BadRequest::HostInvalid), "{target}");
        }
    }

    #[test]
    fn host_is_a_name_or_an_address_with_a_port() {
        for host in [
            "a b",
            "a,b",
            "a/b",
            "user@example.com",
            "caf\u{e9}.example",
            "example.com:80:80",
            "example.com:99999",
            "example.com:+80",
            "example.com:http",
            "::1",
            "[::1",
            "[::1]80",
            "[example.com]",
            "%65xample.com",
            "a\tb",
        ] {
            let bad = check("GET", "/", &[("host", host)]);
            assert_eq!(bad, Err(BadRequest::HostInvalid), "{host}");
        }
    }

    #[test]
    fn absolute_target_must_name_the_same_host() {
        for (target, host) in [
            ("http://example.com/", "other.example"),
            ("http://example.com/", "example.com:8080"),
            ("https://example.com/", "example.com:80"),
            ("http://example.com/", ""),
        ] {
            let bad = check("GET", target, &[("host", host)]);
            assert_eq!(bad, Err(BadRequest::HostDisagrees), "{target} {host}");
        }
    }

    #[test]
    fn end_of_a_body_is_told_in_one_way_only() {
        use BadFraming as F;
        let te = |value| ("transfer-encoding", value);
        let length = |value| ("content-length", value);
        for (fields, expected) in [
            (&[][..], Ok(())),
            (&[te("Chunked")], Ok(())),
            (&[length("0")], Ok(())),
            (&[length("18446744073709551615")], Ok(())),
            (&[te("chunked"), length("5")], Err(F::BothLengths)),
            (&[length("5"), te("identity")], Err(F::BothLengths)),
            (&[te("gzip, chunked")], Err(F::TransferEncoding)),
            (&[te(",chunked")], Err(F::TransferEncoding)),
            (&[te("chunked, chunked")], Err(F::TransferEncoding)),
            (&[te("chunked"), te("chunked")], Err(F::TransferEncoding)),
            (&[te("chunked"), te("identity")], Err(F::TransferEncoding)),
            (&[te("\"chunked\"")], Err(F::TransferEncoding)),
            (&[te("xchunked")], Err(F::TransferEncoding)),
            (&[te("")], Err(F::TransferEncoding)),
            (&[length("5"), length("6")], Err(F::ContentLengthRepeated)),
            (&[length("5"), length("05")], Err(F::ContentLengthRepeated)),
            (&[length("5, 6")], Err(F::ContentLengthInvalid)),
            (&[length("5,")], Err(F::ContentLengthInvalid)),
            (&[length("+5")], Err(F::ContentLengthInvalid)),
            (&[length("-5")], Err(F::ContentLengthInvalid)),
            (&[length("0x5")], Err(F::ContentLengthInvalid)),
            (&[length("1_0")], Err(F::ContentLengthInvalid)),
            (&[length("")], Err(F::ContentLengthInvalid)),
            (&[length("18446744073709551616")], Err(F::ContentLengthInvalid)),
        ] {
            assert_eq!(check_answer_framing(&map(fields)), expected, "{fields:?}");
            let request = [fields, &[("host", "example.com")]].concat();
            assert_eq!(check("POST", "/", &request), expected.map_err(BadRequest::Framing));
        }
    }

    #[test]
    fn a_length_said_twice_is_one_in_an_answer_and_none_in_a_request() {
        for values in [&["5", "5"][..], &["5, 5"], &["5 ,5", "5"]] {
            let fields: Vec<_> = values.iter().map(|value| ("content-length", *value)).collect();
            let mut answer = map(&fields);
            assert_eq!(check_answer_framing(&answer), Ok(()), "{values:?}");
            merge_lengths(&mut answer);
            assert_eq!(answer, map(&[("content-length", "5")]), "{values:?}");
            let request = [&fields[..], &[("host", "example.com")]].concat();
            assert!(check("POST", "/", &request).is_err(), "{values:?}");
        }
    }

    #[test]
    fn http_1_0_has_no_transfer_encoding() {
        let fields = map(&[("transfer-encoding", "chunked")]);
        let bad = check_framing(&Method::POST, &Uri::from_static("/"), Version::HTTP_10, &fields);
        assert_eq!(bad, Err(BadRequest::Framing(BadFraming::TransferEncoding)));
    }

    #[test]
    fn host_comes_from_its_header_else_from_the_target() {
        let absolute = Uri::from_static("http://example.com:81/a");
        assert_eq!(host(&absolute, &map(&[])), "example.com:81");
        assert_eq!(host(&absolute, &map(&[("host", "example.com:81")])), "example.com:81");
        assert_eq!(host(&Uri::from_static("/a"), &map(&[])), "");
    }

    fn check(method: &str, target: &str, fields: &[(&str, &str)]) -> Result<(), BadRequest> {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let uri = target.parse().unwrap();
        check_framing(&method, &uri, Version::HTTP_11, &map(fields))
    }

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }
}
