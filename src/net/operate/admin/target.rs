//! The path and the query of a request, decoded (RFC 3986 §2.1).

use super::answer::Refusal;

/// The segments of a path. Each is decoded by itself, so that a name may hold a slash.
///
/// # Errors
/// A percent sign without two hexadecimal digits, or bytes that are no UTF-8.
pub(super) fn segments(path: &str) -> Result<Vec<String>, Refusal> {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.split('/').map(|segment| decode(segment).ok_or_else(|| malformed(segment))).collect()
}

/// The keys and values of a query, decoded.
///
/// # Errors
/// Those of [`segments`].
pub(super) fn pairs(query: &str) -> Result<Vec<(String, String)>, Refusal> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text: &str| decode(&text.replace('+', " ")).ok_or_else(|| malformed(text));
            Ok((decode(key)?, decode(value)?))
        })
        .collect()
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digits = str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

fn malformed(text: &str) -> Refusal {
    Refusal::bad_request(format!("{text:?} is not percent-encoded UTF-8"))
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
}
