//! Hop-by-hop removal, forwarding headers, trusted proxies. PURE.

use hyper::{HeaderMap, header::HeaderName};

/// The elements of a comma-separated field over all its lines, trimmed, empty ones left out (RFC 9110 §5.6.1).
pub(crate) fn tokens<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl DoubleEndedIterator<Item = &'a [u8]> + use<'a> {
    headers
        .get_all(name)
        .into_iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}
