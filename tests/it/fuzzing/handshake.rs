//! Requests and answers: which request is a handshake, which 101 is believed, which fields go on to the backend.

use std::net::SocketAddr;

use hyper::{HeaderMap, Method, Uri, Version, header::HeaderName};
use longwire::{
    headers::{self, Hop},
    sender::Sender,
    ws::handshake::{self, RequestKind},
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// `bytes` are the head of a request, an empty line, and the head of an answer.
///
/// `{accept}` in the answer is replaced by the right answer to the request's key, which no fuzzer finds by itself.
pub fn check(bytes: &[u8]) {
    let text: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let (request, answer) = match text.iter().position(|line| line.is_empty()) {
        Some(end) => (&text[..end], &text[end + 1..]),
        None => (&text[..], &[][..]),
    };
    let Some((line, fields)) = request.split_first() else { return };
    let mut words = line.split(|byte| *byte == b' ');
    let method = words.next().and_then(|word| Method::from_bytes(word).ok()).unwrap_or(Method::GET);
    let uri = words.next().and_then(|word| Uri::try_from(word).ok()).unwrap_or_default();
    let version = if words.next() == Some(b"HTTP/1.0") { Version::HTTP_10 } else { Version::HTTP_11 };
    let fields = map(fields, "");
    match handshake::classify(&method, version, &fields) {
        RequestKind::WebSocket(offer) => {
            assert!(method == Method::GET && version == Version::HTTP_11);
            let key = only(&fields, "sec-websocket-key").expect("one key");
            assert!(only(&fields, "sec-websocket-version").as_deref() == Some("13"));
            assert!(matches!(all(&fields, "content-length").as_str(), "" | "0"), "a body before the frames");
            assert!(!fields.contains_key("transfer-encoding"), "a body before the frames");
            check_answer(&offer, &fields, &map(answer, &derive_accept_key(key.as_bytes())), &key);
        }
        RequestKind::Plain => {
            assert!(!fields.contains_key("sec-websocket-key"), "half a handshake is no plain request")
        }
        RequestKind::Bad(bad) => assert!(bad.status().is_client_error()),
    }
    if headers::check_framing(&method, &uri, version, &fields).is_ok() {
        check_forwarded(&uri, fields);
    }
}

fn check_answer(asked: &handshake::Upgrade, request: &HeaderMap, answer: &HeaderMap, key: &str) {
    let Ok(agreed) = handshake::verify(asked, answer) else { return };
    assert_eq!(only(answer, "sec-websocket-accept"), Some(derive_accept_key(key.as_bytes())));
    let upgrade = all(answer, "upgrade").to_ascii_lowercase();
    assert!(upgrade.split(',').all(|name| matches!(name.trim(), "" | "websocket")) && upgrade.contains("websocket"));
    let chosen = Some(all(answer, "sec-websocket-protocol").replace(',', "")).filter(|chosen| !chosen.is_empty());
    assert_eq!(agreed.subprotocol, chosen);
    let offered = |subprotocol: &str| all(request, "sec-websocket-protocol").contains(subprotocol);
    assert!(chosen.is_none_or(|subprotocol| offered(&subprotocol)), "a subprotocol that was not offered");
    assert!(
        !agreed.extensions || request.contains_key("sec-websocket-extensions"),
        "an extension that was not offered"
    );
}

/// Asserts that the fields of a stranger go on without hop-by-hop fields and without an address that the stranger invented.
fn check_forwarded(uri: &Uri, fields: HeaderMap) {
    let lengths = fields.get_all("content-length").iter().count() + fields.get_all("transfer-encoding").iter().count();
    assert!(lengths < 2 || !fields.contains_key("transfer-encoding"), "two readers could disagree");
    let host = headers::host(uri, &fields).to_owned();
    let request_id = headers::request_id(&fields, 7);
    let sender = Sender::from(SocketAddr::from(([192, 0, 2, 1], 5000)));
    let hop = Hop {
        sender,
        client: sender.client(),
        trusted: false,
        tls: false,
        host: &host,
        port: 80,
        prefix: None,
        request_id: &request_id,
        certificate: None,
    };
    let mut onward = HeaderMap::new();
    headers::onward(&fields, &hop, |name, value| {
        onward.append(name, value.to_header().expect("what is told is a field's value"));
    });
    let fields = onward;
    for name in ["connection", "upgrade", "te", "trailer", "transfer-encoding", "http2-settings", "forwarded", "expect"]
    {
        assert!(!fields.contains_key(name), "{name} goes on");
    }
    for name in ["x-forwarded-for", "x-real-ip"] {
        assert_eq!(only(&fields, name).as_deref(), Some("192.0.2.1"), "{name}");
    }
    assert_eq!(only(&fields, "x-forwarded-proto").as_deref(), Some("http"));
    let imitated =
        |name: &HeaderName| name.as_str().contains('_') && name.as_str().replace('_', "-").starts_with("x-forwarded-");
    assert!(!fields.keys().any(imitated), "an imitation goes on: {fields:?}");
}

/// The fields of these lines that hyper would accept.
fn map(lines: &[&[u8]], accept: &str) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for line in lines.iter().take(100) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let value = String::from_utf8_lossy(&line[colon + 1..]).replace("{accept}", accept);
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&line[..colon]), value.trim().parse()) {
            fields.append(name, value);
        }
    }
    fields
}

fn only(fields: &HeaderMap, name: &str) -> Option<String> {
    let mut values = fields.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Some(String::from_utf8_lossy(value.as_bytes()).into_owned()),
        _ => None,
    }
}

fn all(fields: &HeaderMap, name: &str) -> String {
    let values: Vec<_> = fields.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    values.join(",")
}
