//! The path and the query of a request, decoded (RFC 3986 §2.1).

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::net::operate::desk::answer::AdminRefusal;

/// The segments of a path. Each is decoded by itself, so that a name may hold a slash.
///
/// # Errors
/// A percent sign without two hexadecimal digits, or bytes that are no UTF-8.
pub(super) fn segments(path: &str) -> Result<Vec<String>, AdminRefusal> {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.split('/').map(|segment| decode(segment).ok_or_else(|| malformed(segment))).collect()
}

/// The keys and values of a query, decoded.
///
/// # Errors
/// Those of [`segments`].
pub(super) fn pairs(query: &str) -> Result<Vec<(String, String)>, AdminRefusal> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text: &str| decode(&text.replace('+', " ")).ok_or_else(|| malformed(text));
            Ok((decode(key)?, decode(value)?))
        })
        .collect()
}

/// Refuses what percent-encoding by itself would let pass as it is: a percent sign without its two digits.
fn decode(text: &str) -> Option<String> {
    let mut encoded = text.split('%').skip(1);
    let is_whole =
        encoded.all(|digits| matches!(digits.as_bytes(), [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit()));
    is_whole.then(|| percent_decode_str(text).decode_utf8().ok())?.map(Cow::into_owned)
}

fn malformed(text: &str) -> AdminRefusal {
    AdminRefusal::bad_request(format!("{text:?} is not percent-encoded UTF-8"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_may_hold_what_is_encoded() {
        assert_eq!(segments("/api/routes/*%2Fws%2f/drain").unwrap(), ["api", "routes", "*/ws/", "drain"]);
        assert_eq!(segments("/").unwrap(), [""]);
        for wrong in ["/%", "/%2", "/%zz", "/%+1", "/%ff"] {
            assert!(segments(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_query_is_pairs() {
        let pairs = pairs("route=*%2Fws&&backend=a+b&x").unwrap();
        let expected = [("route", "*/ws"), ("backend", "a b"), ("x", "")];
        assert_eq!(pairs, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
        assert!(super::pairs("route=%").is_err());
    }

    #[test]
    fn a_query_that_cannot_be_read_is_refused_and_not_mended() {
        // A library of forms would search for `%zz`, or for U+FFFD instead of the byte.
        for wrong in ["text=%zz", "text=%ff", "%ff=x", "text=%C3", "text=100%"] {
            assert!(pairs(wrong).is_err(), "{wrong}");
        }
        assert_eq!(pairs("text=%C3%A9%2B+").unwrap(), [("text".to_owned(), "é+ ".to_owned())]);
    }
}
