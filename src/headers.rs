//! Hop-by-hop removal, forwarding headers, trusted proxies. PURE.
//!
//! Toward a backend: [`check_framing`] and [`client()`] read the request as it came, and so does the check of its
//! `Origin`. Then [`onward()`] lists the fields that the backend gets. Toward a client, [`end_to_end`] and
//! [`strip_hop_by_hop`] leave out the fields of one hop.

mod auth_request;
mod authentication;
mod client_certificate;
mod cookies;
mod distinguished_name;
mod framing;
mod hops;
mod onward;
mod rules;
mod session;
mod spelling;
mod strangers;

use std::net::{IpAddr, SocketAddr};

use hyper::{
    HeaderMap,
    header::{
        CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, FORWARDED, HOST, HeaderName, HeaderValue, TE, TRAILER,
        TRANSFER_ENCODING, UPGRADE,
    },
};

use crate::sender::{Client, Network, Sender};

pub use auth_request::{
    GrantedFields, X_FORWARDED_METHOD, X_FORWARDED_URI, X_ORIGINAL_URI, is_for_service, may_be_granted,
};
pub use authentication::{asks_to_authenticate_connection, authenticates_connection, belongs_to_one_client};
pub use client_certificate::{
    CertificateFacts, CertificateField, ClientCertificate, Fingerprint, LONGEST_SUBJECT, LONGEST_VALUE, ToldCertificate,
};
pub use cookies::take_cookies;
pub(crate) use distinguished_name::distinguished_name;
pub use framing::{BadFraming, BadRequest, check_answer_framing, check_framing, host, merge_lengths};
pub(crate) use framing::{is_host, split_port};
pub use hops::{MAX_FORWARDS, Reach, VIA_1_1, add_via, reach, via};
pub use onward::{FieldValue, Hop, onward};
pub use rules::{BadFieldText, BoundRules, FieldRules, FieldText, ValueFacts, is_untouchable};
pub use session::{LONGWIRE_RESUME_CAUSE, LONGWIRE_RESUMED, LONGWIRE_SESSION};
pub use spelling::{capitalize, spell};
pub use strangers::Strangers;

/// The id of a request. The backend gets it in this field, and the log has it too.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest `X-Request-Id` that passes on, in bytes.
pub const MAX_REQUEST_ID: usize = 128;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// The fields of one hop (RFC 9110 §7.6.1), with `Trailer` and `HTTP2-Settings` (RFC 7540 §3.2.1). They are removed
/// whether `Connection` names them or not.
///
/// `Proxy-Authenticate` and `Proxy-Authorization` are not in the list: this proxy asks for no credentials, so they may
/// belong to the next proxy (RFC 9110 §11.7.1).
///
/// A `const` would be made and dropped anew at each look, and there is a look at each field.
static HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Removes the fields of one hop, and all fields that `Connection` names, from a request or an answer.
///
/// These fields stay, even if `Connection` names them:
///
/// 1. `Host` and `Content-Length`, because they say what the message is and where it ends.
/// 2. The forwarding fields, so that no client can have its own address removed on the way. (A field that an untrusted
///    sender wrote ends in [`onward()`].)
///
/// `Authorization`, `Cookie` and all other fields go if `Connection` names them, as the RFC requires.
///
/// Without `Transfer-Encoding`, hyper frames the body anew: by its length if that is known, else chunked. One trap is
/// left to the caller. hyper's client sends no body with a GET or HEAD whose body has no known length, unless the
/// caller sets `Transfer-Encoding: chunked` again after this.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    // Most answers have no such field. One look at each name is cheaper than a search for each of these fields.
    if !headers.keys().any(|name| HOP_BY_HOP.contains(name)) {
        return;
    }
    let named: Vec<HeaderName> = tokens(headers, &CONNECTION)
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .filter(|name| *name != HOST && *name != CONTENT_LENGTH && !tells_of_a_hop(name))
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// The fields that [`strip_hop_by_hop`] leaves, in their order.
pub fn end_to_end(headers: &HeaderMap) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    // Nearly all `Connection` fields name only these two, and both are in `HOP_BY_HOP` anyway.
    let is_usual = |token: &[u8]| token.eq_ignore_ascii_case(b"upgrade") || token.eq_ignore_ascii_case(b"keep-alive");
    let named: Vec<&[u8]> = tokens(headers, &CONNECTION).filter(|token| !is_usual(token)).collect();
    let is_named = move |name: &HeaderName| {
        let is_meant = named.iter().any(|token| token.eq_ignore_ascii_case(name.as_str().as_bytes()));
        is_meant && *name != HOST && *name != CONTENT_LENGTH && !tells_of_a_hop(name)
    };
    headers.iter().filter(move |(name, _)| !HOP_BY_HOP.contains(name) && !is_named(name))
}

/// Who a request is from, for the hash, the limits and the log.
///
/// 1. If the sender is not trusted, the client is the sender.
/// 2. Else the client is the right-most entry of `X-Forwarded-For` that is not trusted.
/// 3. If all entries are trusted, the client is the left-most one.
/// 4. An entry that is no address ends the search. The client is then the entry to its right, or else the sender: an
///    unreadable entry vouches for nothing to its left.
///
/// A port is ignored.
#[must_use]
pub fn client(sender: Sender, headers: &HeaderMap, trusted: &[Network]) -> Client {
    let mut client = sender.client();
    if !is_trusted(client, trusted) {
        return client;
    }
    for entry in tokens(headers, &X_FORWARDED_FOR).rev() {
        if !is_trusted(client, trusted) {
            break;
        }
        let Some(named) = named_client(entry) else { break };
        client = named;
    }
    client
}

/// Whether [`client()`] takes the client from `X-Forwarded-For`.
#[must_use]
pub fn is_client_named(sender: Sender, headers: &HeaderMap, trusted: &[Network]) -> bool {
    let last = || tokens(headers, &X_FORWARDED_FOR).next_back();
    is_trusted(sender.client(), trusted) && last().is_some_and(|entry| named_client(entry).is_some())
}

/// Whether an answer is a stream of events. Such an answer is open as long as somebody listens, and silent while
/// nothing happens.
#[must_use]
pub fn is_event_stream(answer: &HeaderMap) -> bool {
    let kind = answer.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes).split(|byte| *byte == b';').next();
    kind.unwrap_or_default().trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
}

/// Whether the sender says that it forwards a request of somebody else.
#[must_use]
pub fn is_forwarded(headers: &HeaderMap) -> bool {
    headers.contains_key(X_FORWARDED_FOR) || headers.contains_key(X_FORWARDED_PROTO)
}

/// Whether somebody is in one of the networks.
#[must_use]
pub fn is_trusted(client: Client, trusted: &[Network]) -> bool {
    trusted.iter().any(|network| client.is_in(network))
}

/// Whether a request came from its client over TLS: to us (`tls`), or to a trusted sender that says so.
///
/// If the sender names several schemes, the first is the client's. Some proxies write `wss` for a handshake.
#[must_use]
pub fn is_secure(tls: bool, trusted: bool, headers: &HeaderMap) -> bool {
    let says_so = || {
        let scheme = tokens(headers, &X_FORWARDED_PROTO).next().unwrap_or_default();
        scheme.eq_ignore_ascii_case(b"https") || scheme.eq_ignore_ascii_case(b"wss")
    };
    tls || trusted && says_so()
}

/// The id of a request: its own id if that is valid, else 32 hexadecimal digits made from `random`.
///
/// A valid id has 1 to [`MAX_REQUEST_ID`] visible ASCII characters, and there is only one.
#[must_use]
pub fn request_id(headers: &HeaderMap, random: u128) -> String {
    let mut ids = headers.get_all(X_REQUEST_ID).iter();
    if let (Some(id), None) = (ids.next(), ids.next())
        && let Ok(id) = id.to_str()
        && (1..=MAX_REQUEST_ID).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return id.to_owned();
    }
    hex(random)
}

/// Writes 32 hexadecimal digits. The standard library's formatting takes four times as long.
pub(crate) fn hex(number: u128) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 32];
    for ([high, low], byte) in text.as_chunks_mut().0.iter_mut().zip(number.to_be_bytes()) {
        (*high, *low) = (DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]);
    }
    str::from_utf8(&text).unwrap_or_default().to_owned()
}

/// The elements of a comma-separated field over all its lines, trimmed and without empty ones (RFC 9110 §5.6.1).
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

/// Whether a proxy uses the field to tell of the hop before it.
fn tells_of_a_hop(name: &HeaderName) -> bool {
    name.as_str().starts_with("x-forwarded-") || *name == X_REAL_IP || *name == FORWARDED || *name == X_REQUEST_ID
}

/// Reads `1.2.3.4`, `1.2.3.4:567`, `::1`, `[::1]` and `[::1]:80`.
fn named_client(entry: &[u8]) -> Option<Client> {
    let entry = str::from_utf8(entry).ok()?;
    let bare = entry
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .filter(|inner| inner.contains(':'))
        .unwrap_or(entry);
    let address = match bare.parse::<IpAddr>() {
        Ok(address) => address,
        Err(_) => entry.parse::<SocketAddr>().ok()?.ip(),
    };
    Some(address.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::sender::PeerProcess;

    #[test]
    fn fields_of_one_hop_and_those_named_by_connection_go() {
        let mut headers = map(&[
            ("connection", "keep-alive, X-Secret"),
            ("connection", "cookie, upgrade"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("te", "trailers"),
            ("trailer", "x-sum"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABk"),
            ("x-secret", "1"),
            ("x-secret", "2"),
            ("cookie", "a=b"),
            ("proxy-authorization", "Basic eDp5"),
            ("accept", "*/*"),
            ("host", "example.com"),
        ]);
        let kept = [("proxy-authorization", "Basic eDp5"), ("accept", "*/*"), ("host", "example.com")];
        assert_eq!(passing(&headers), map(&kept));
        strip_hop_by_hop(&mut headers);
        assert_eq!(headers, map(&kept));
    }

    #[test]
    fn connection_cannot_name_away_the_host_the_length_or_the_clients_address() {
        let mut headers = map(&[
            ("connection", "Host, Content-Length, X-Forwarded-For"),
            ("connection", "X-Real-Ip, Forwarded, X-Forwarded-Proto, X-Request-Id"),
        ]);
        let kept = map(&[
            ("host", "example.com"),
            ("content-length", "5"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-real-ip", "1.2.3.4"),
            ("forwarded", "for=1.2.3.4"),
            ("x-forwarded-proto", "https"),
            ("x-request-id", "abc"),
        ]);
        headers.extend(kept.clone());
        assert_eq!(passing(&headers), kept);
        strip_hop_by_hop(&mut headers);
        assert_eq!(headers, kept);
    }

    #[test]
    fn client_is_the_rightmost_address_that_is_not_trusted() {
        for (forwarded_for, expected) in [
            (&["1.1.1.1, 2.2.2.2, 10.0.0.2"][..], "2.2.2.2"),
            (&["1.1.1.1", "2.2.2.2, 10.0.0.2"], "2.2.2.2"),
            (&["2.2.2.2", "10.0.0.2, 10.0.0.3"], "2.2.2.2"),
            (&["::ffff:2.2.2.2"], "2.2.2.2"),
            (&["2.2.2.2:4711, ::ffff:10.0.0.2"], "2.2.2.2"),
            (&["[2001:db8::1]:80"], "2001:db8::1"),
            (&["[2001:db8::1]"], "2001:db8::1"),
            (&["2001:db8::1,, "], "2001:db8::1"),
            (&["1.1.1.1, unknown, 10.0.0.2"], "10.0.0.2"),
            (&["1.1.1.1, [2.2.2.2], 10.0.0.2"], "10.0.0.2"),
            (&["1.1.1.1, 2.2.2.2:99999"], "10.0.0.1"),
            (&["1.1.1.1, \u{e9}"], "10.0.0.1"),
            (&["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            (&[], "10.0.0.1"),
        ] {
            let mut headers = HeaderMap::new();
            for line in forwarded_for {
                headers.append(X_FORWARDED_FOR, HeaderValue::from_bytes(line.as_bytes()).unwrap());
            }
            for sender in ["10.0.0.1", "::ffff:10.0.0.1"] {
                let client = client(sender_at(sender), &headers, &trusted());
                assert_eq!(client, ip(expected).into(), "{forwarded_for:?}");
            }
        }
    }

    #[test]
    fn stranger_is_the_client_whatever_it_says() {
        let headers = map(&[("x-forwarded-for", "1.1.1.1")]);
        for sender in ["9.9.9.9", "::ffff:9.9.9.9"] {
            assert_eq!(client(sender_at(sender), &headers, &trusted()), ip("9.9.9.9").into());
        }
        assert_eq!(client(sender_at("::1"), &headers, &[]), ip("::1").into());
    }

    #[test]
    fn a_process_may_name_the_client_if_unix_is_trusted() {
        let sender = Sender::Process(PeerProcess { uid: 0, pid: None });
        let headers = map(&[("x-forwarded-for", "1.1.1.1, 10.0.0.2")]);
        assert_eq!(client(sender, &headers, &trusted()), Client::of_unix());
        let trusted = [Network::Unix, trusted()[0]];
        assert_eq!(client(sender, &headers, &trusted), ip("1.1.1.1").into());
        assert_eq!(client(sender, &HeaderMap::new(), &trusted), Client::of_unix());
        assert_eq!(client(sender_at("9.9.9.9"), &headers, &trusted), ip("9.9.9.9").into());
    }

    #[test]
    fn sane_request_id_passes_and_any_other_is_made_anew() {
        let id = |ids: &[&str]| {
            let fields: Vec<_> = ids.iter().map(|id| ("x-request-id", *id)).collect();
            request_id(&map(&fields), 0xabc)
        };
        let longest = "x".repeat(MAX_REQUEST_ID);
        assert_eq!(id(&[&longest]), longest);
        assert_eq!(id(&["a-1/b=="]), "a-1/b==");
        let made = "00000000000000000000000000000abc";
        let too_long = "x".repeat(MAX_REQUEST_ID + 1);
        for bad in [&[][..], &[""], &["a b"], &["\u{e9}"], &["a", "a"], &[&too_long]] {
            assert_eq!(id(bad), made);
        }
    }

    #[test]
    fn request_is_secure_by_its_connection_or_by_the_word_of_a_trusted_sender() {
        for (tls, trusted, schemes, expected) in [
            (true, false, &["http"][..], true),
            (false, false, &["https"], false),
            (false, true, &["https"], true),
            (false, true, &["HTTPS, http"], true),
            (false, true, &["wss"], true),
            (false, true, &["http, https"], false),
            (false, true, &["http", "https"], false),
            (false, true, &["httpsx"], false),
            (false, true, &[], false),
        ] {
            let fields: Vec<_> = schemes.iter().map(|scheme| ("x-forwarded-proto", *scheme)).collect();
            assert_eq!(is_secure(tls, trusted, &map(&fields)), expected, "{tls} {trusted} {schemes:?}");
        }
    }

    fn trusted() -> [Network; 1] {
        ["10.0.0.0/8".parse().unwrap()]
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn sender_at(text: &str) -> Sender {
        SocketAddr::new(ip(text), 5000).into()
    }

    fn passing(headers: &HeaderMap) -> HeaderMap {
        let mut passing = HeaderMap::new();
        for (name, value) in end_to_end(headers) {
            passing.append(name, value.clone());
        }
        passing
    }

    pub(super) fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn a_stream_of_events_is_known_by_its_type_alone() {
        let of = |kind: &'static str| {
            is_event_stream(&HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]))
        };
        assert!(of("text/event-stream") && of("Text/Event-Stream; charset=utf-8") && of("text/event-stream;x=y"));
        assert!(!of("text/event-streams") && !of("text/plain") && !is_event_stream(&HeaderMap::new()));
    }
}
