//! How many hops a message has made, and how many it may still make (RFC 9110 §7.6.2 and §7.6.3). PURE.

use hyper::{
    HeaderMap, Method, Version,
    header::{HeaderName, HeaderValue, VIA},
};

/// The field that says how many more hops a request may make.
pub const MAX_FORWARDS: HeaderName = HeaderName::from_static("max-forwards");

/// This hop's entry in `Via`, for a message of HTTP/1.1.
pub const VIA_1_1: &str = "1.1 longwire";

/// How far a request may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The request has no limit.
    Open,
    /// No further: the proxy itself answers the request.
    Here,
    /// The request may make this many hops after the next one.
    Beyond(u64),
}

/// How far a request may go, by its `Max-Forwards`.
///
/// The field counts only on OPTIONS and TRACE, and only if it is a number. It is read as the client sent it, so
/// `Connection` cannot remove it.
#[must_use]
pub fn reach(method: &Method, headers: &HeaderMap) -> Reach {
    if !matches!(*method, Method::OPTIONS | Method::TRACE) {
        return Reach::Open;
    }
    let left = headers.get(MAX_FORWARDS).and_then(|left| left.to_str().ok());
    match left.filter(|left| left.bytes().all(|byte| byte.is_ascii_digit())).and_then(|left| left.parse::<u64>().ok()) {
        Some(0) => Reach::Here,
        Some(left) => Reach::Beyond(left - 1),
        None => Reach::Open,
    }
}

/// This hop's entry in `Via`, with the HTTP version of the message that arrived.
#[must_use]
pub const fn via(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0 longwire",
        _ => VIA_1_1,
    }
}

/// Adds this hop to `Via`.
pub fn add_via(headers: &mut HeaderMap, version: Version) {
    headers.append(VIA, HeaderValue::from_static(via(version)));
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use hyper::header::CONNECTION;

    use super::*;

    #[test]
    fn hops_are_counted_for_options_and_trace_only() {
        for (method, left, reaches) in [
            (Method::OPTIONS, "0", Reach::Here),
            (Method::TRACE, "0", Reach::Here),
            (Method::OPTIONS, "7", Reach::Beyond(6)),
            (Method::TRACE, "1", Reach::Beyond(0)),
            (Method::GET, "0", Reach::Open),
            (Method::OPTIONS, "-1", Reach::Open),
            (Method::OPTIONS, "", Reach::Open),
            (Method::OPTIONS, "99999999999999999999999", Reach::Open),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(MAX_FORWARDS, HeaderValue::from_str(left).unwrap());
            headers.insert(CONNECTION, HeaderValue::from_static("Max-Forwards"));
            assert_eq!(reach(&method, &headers), reaches, "{method} {left}");
        }
        assert_eq!(reach(&Method::OPTIONS, &HeaderMap::new()), Reach::Open);
    }
}
