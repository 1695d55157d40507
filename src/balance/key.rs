//! The key of a request, from which a hash finds the request's backend.

use std::hash::Hasher as _;

use hyper::{
    HeaderMap,
    header::{COOKIE, HeaderName},
};
use siphasher::sip::SipHasher13;

use crate::sender::Client;

/// Where `balance: hash` finds the key in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashOn {
    /// The whole value of a header.
    Header(HeaderName),
    /// The value of a cookie. The letter case of the name counts.
    Cookie(String),
    /// The value of a key in the query. The letter case of the name counts, and percent-encoding is not decoded.
    Query(String),
}

/// The key of one request: a value that the request carries, else the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    client: Client,
    value: Option<Box<[u8]>>,
}

impl HashOn {
    /// The key of a request: the first value of this name. An empty value counts as none, because all clients that send
    /// it would share one backend.
    #[must_use]
    pub fn key(&self, client: Client, headers: &HeaderMap, query: Option<&str>) -> Key {
        let value = match self {
            Self::Header(name) => headers.get(name).map(|value| value.as_bytes().trim_ascii()),
            Self::Cookie(name) => cookie(headers, name.as_bytes()),
            Self::Query(name) => query.and_then(|query| parameter(query, name)).map(str::as_bytes),
        };
        Key { client, value: value.filter(|value| !value.is_empty()).map(Into::into) }
    }
}

impl Key {
    /// A hasher that has read the key; the caller adds the address of a backend. A key without a value is the client's
    /// network ([`Client::network`]).
    pub(super) fn hasher(&self, prefix_v4: u8) -> SipHasher13 {
        let mut hasher = SipHasher13::new_with_keys(0, 0);
        match &self.value {
            Some(value) => hasher.write(value),
            None => hasher.write(&self.client.network(prefix_v4)),
        }
        hasher
    }
}

impl From<Client> for Key {
    fn from(client: Client) -> Self {
        Self { client, value: None }
    }
}

/// The value of the first cookie of this name (RFC 6265 §4.2.1). Quotes are part of the value.
fn cookie<'a>(headers: &'a HeaderMap, name: &[u8]) -> Option<&'a [u8]> {
    let lines = headers.get_all(COOKIE).into_iter();
    lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';')).find_map(|pair| {
        let pair = pair.trim_ascii();
        let value = pair.strip_prefix(name)?.strip_prefix(b"=")?;
        Some(value.trim_ascii())
    })
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::IpAddr;

    use hyper::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn client(text: &str) -> Client {
        text.parse::<IpAddr>().unwrap().into()
    }

    fn header(name: &'static str, lines: &[&str]) -> HeaderMap {
        let name = HeaderName::from_static(name);
        lines.iter().map(|line| (name.clone(), HeaderValue::from_str(line).unwrap())).collect()
    }

    fn value(key: Key) -> Option<String> {
        key.value.map(|value| String::from_utf8(value.into()).unwrap())
    }

    #[test]
    fn value_of_a_header_is_its_first_line_whole() {
        let on = HashOn::Header(HeaderName::from_static("x-user"));
        let of = |lines: &[&str]| value(on.key(client("192.0.2.1"), &header("x-user", lines), Some("x-user=query")));
        assert_eq!(of(&["ann, bob", "eve"]), Some("ann, bob".into()));
        assert_eq!(of(&[""]), None);
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn value_of_a_cookie_is_the_first_of_exactly_its_name() {
        let on = HashOn::Cookie("sid".into());
        let of = |lines: &[&str]| value(on.key(client("192.0.2.1"), &header("cookie", lines), None));
        assert_eq!(of(&["sid=7"]), Some("7".into()));
        assert_eq!(of(&["theme=dark; sid=7; sid=8"]), Some("7".into()));
        assert_eq!(of(&["xsid=1; sid2=2; SID=3;sid=7"]), Some("7".into()));
        assert_eq!(of(&["a=sid=1; sid=a=b%20"]), Some("a=b%20".into()));
        assert_eq!(of(&["sid=\"7\""]), Some("\"7\"".into()));
        assert_eq!(of(&["a=1", "sid=7"]), Some("7".into()), "several lines");
        for none in ["sid", "sid=", "sid; a=1", "", ";;=;", "a=\"sid=7\""] {
            assert_eq!(of(&[none]), None, "{none:?}");
        }
    }

    #[test]
    fn value_of_the_query_is_the_first_of_exactly_its_name_and_raw() {
        let on = HashOn::Query("room".into());
        let of = |query| value(on.key(client("192.0.2.1"), &HeaderMap::new(), query));
        assert_eq!(of(Some("room=a%20b&room=c")), Some("a%20b".into()));
        assert_eq!(of(Some("xroom=1&room2=2&room=a=b")), Some("a=b".into()));
        for none in [None, Some(""), Some("room"), Some("room="), Some("&&"), Some("%72oom=1")] {
            assert_eq!(of(none), None, "{none:?}");
        }
    }

    #[test]
    fn without_a_value_it_is_the_clients_address() {
        let on = HashOn::Query("room".into());
        assert_eq!(on.key(client("192.0.2.1"), &HeaderMap::new(), None), client("192.0.2.1").into());
        let (one, other) = (client("192.0.2.1"), client("192.0.2.2"));
        let key = |client, query| on.key(client, &HeaderMap::new(), query).hasher(32).finish();
        assert_ne!(key(one, None), key(other, None));
        assert_eq!(key(one, Some("room=1")), key(other, Some("room=1")));
        assert_ne!(key(one, Some("room=1")), key(one, Some("room=2")));
    }

    #[test]
    fn key_is_the_v4_prefix_the_v6_network_or_the_mapped_v4_address() {
        let key = |text: &str, prefix| Key::from(client(text)).hasher(prefix).finish();
        assert_ne!(key("192.0.2.1", 32), key("192.0.2.2", 32));
        assert_eq!(key("192.0.2.1", 24), key("192.0.2.254", 24));
        assert_ne!(key("192.0.2.1", 24), key("192.0.3.1", 24));
        assert_eq!(key("192.0.2.1", 0), key("10.9.8.7", 0));
        assert_eq!(key("192.0.2.1", 33), key("192.0.2.1", 32));
        assert_eq!(key("::ffff:192.0.2.1", 32), key("192.0.2.1", 32));
        assert_eq!(key("2001:db8:1:2::1", 24), key("2001:db8:1:2:ffff::9", 32));
        assert_ne!(key("2001:db8:1:2::1", 32), key("2001:db8:1:3::1", 32));
    }

    proptest! {
        #[test]
        fn any_header_and_query_is_answered(line in "[ -~]{0,60}", query in "\\PC{0,60}") {
            for on in [HashOn::Cookie("a".into()), HashOn::Header(COOKIE), HashOn::Query("a".into())] {
                let key = on.key(client("192.0.2.1"), &header("cookie", &[&line]), Some(&query));
                prop_assert!(key.value.is_none_or(|value| !value.is_empty()));
            }
        }
    }
}
