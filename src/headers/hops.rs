//! What says how many hops a message has made, and how many it may still make (RFC 9110 §7.6.2 and §7.6.3). PURE.

use hyper::{
    HeaderMap, Method, Version,
    header::{HeaderName, HeaderValue, VIA},
};

const MAX_FORWARDS: HeaderName = HeaderName::from_static("max-forwards");

/// This hop in `Via`, of a message of HTTP/1.1.
pub const VIA_1_1: &str = "1.1 longwire";

/// Whether a request ends here: an OPTIONS or a TRACE with `Max-Forwards: 0` is the recipient's to answer, and goes no
/// further. A greater number is one less after this; on other methods, and where it is no number, it means nothing.
pub fn ends_here(method: &Method, headers: &mut HeaderMap) -> bool {
    if !matches!(*method, Method::OPTIONS | Method::TRACE) {
        return false;
    }
    let left = headers.get(MAX_FORWARDS).and_then(|left| left.to_str().ok());
    match left.filter(|left| left.bytes().all(|byte| byte.is_ascii_digit())).and_then(|left| left.parse::<u64>().ok()) {
        Some(0) => true,
        Some(left) => {
            headers.insert(MAX_FORWARDS, HeaderValue::from(left - 1));
            false
        }
        None => false,
    }
}

/// Adds this hop to `Via`, with the version of the message that came.
pub fn add_via(headers: &mut HeaderMap, version: Version) {
    let hop = if version == Version::HTTP_10 { "1.0 longwire" } else { VIA_1_1 };
    headers.append(VIA, HeaderValue::from_static(hop));
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn hops_are_counted_for_options_and_trace_only() {
        for (method, left, ends, after) in [
            (Method::OPTIONS, "0", true, "0"),
            (Method::TRACE, "0", true, "0"),
            (Method::OPTIONS, "7", false, "6"),
            (Method::TRACE, "1", false, "0"),
            (Method::GET, "0", false, "0"),
            (Method::OPTIONS, "-1", false, "-1"),
            (Method::OPTIONS, "", false, ""),
            (Method::OPTIONS, "99999999999999999999999", false, "99999999999999999999999"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(MAX_FORWARDS, HeaderValue::from_str(left).unwrap());
            assert_eq!(ends_here(&method, &mut headers), ends, "{method} {left}");
            assert_eq!(headers[MAX_FORWARDS], after, "{method} {left}");
        }
        assert!(!ends_here(&Method::OPTIONS, &mut HeaderMap::new()));
    }
}
