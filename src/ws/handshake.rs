//! Which request is a WebSocket handshake, and which 101 is valid (RFC 6455 §4). PURE.
//!
//! Both checks are strict, because the two ends of a proxy must always agree on whether a connection has left HTTP. If
//! only one of them thinks so, the bytes of one person become a request of another.

use std::fmt;

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use hyper::{
    HeaderMap, Method, StatusCode, Version,
    header::{
        CONNECTION, CONTENT_LENGTH, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
        TRANSFER_ENCODING, UPGRADE,
    },
};
use sha1::{Digest as _, Sha1};

use super::offer::{Agreed, Misfit, Offer};
use crate::headers::tokens;

/// The kind of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestKind {
    /// Ordinary HTTP. A request with an `Upgrade` to another protocol than `websocket` is plain too; the `Upgrade` is
    /// removed.
    Plain,
    /// A complete and correct handshake.
    WebSocket(Upgrade),
    /// An incomplete or incorrect handshake. The proxy answers it and never forwards it.
    Bad(BadHandshake),
}

/// A complete handshake of HTTP/1.1 (RFC 6455 §4.2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade {
    /// What the client offers.
    pub offer: Offer,
    /// `Sec-WebSocket-Key`, as the client wrote it.
    key: [u8; KEY_TEXT],
}

impl Upgrade {
    /// The `Sec-WebSocket-Accept` of a 101 that answers this handshake.
    #[must_use]
    pub fn accept(&self) -> [u8; ACCEPT_TEXT] {
        accept_for(self.key)
    }
}

/// Why a request that looks like a handshake is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadHandshake {
    /// Another method than GET.
    Method,
    /// Another version than HTTP/1.1.
    HttpVersion,
    /// A `Sec-WebSocket-Key`, but no `Upgrade: websocket`.
    UpgradeMissing,
    /// `Upgrade: websocket` without `Connection: upgrade`.
    ConnectionMissing,
    /// A `Content-Length` other than 0, or a `Transfer-Encoding`.
    Body,
    /// No `Sec-WebSocket-Version`.
    VersionMissing,
    /// Another version of the protocol than 13.
    VersionUnsupported,
    /// No `Sec-WebSocket-Key`.
    KeyMissing,
    /// More than one `Sec-WebSocket-Key`.
    KeyRepeated,
    /// A key that is not base64 of 16 bytes.
    KeyInvalid,
}

/// Why the proxy does not accept a 101.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FalseUpgrade {
    /// `Upgrade` is missing or empty, or names another protocol than `websocket`.
    Upgrade,
    /// `Connection` does not say `upgrade`.
    Connection,
    /// No `Sec-WebSocket-Accept`.
    AcceptMissing,
    /// More than one `Sec-WebSocket-Accept`.
    AcceptRepeated,
    /// The value does not belong to the client's key.
    AcceptWrong,
    /// The answer does not fit the client's offer.
    Misfit(Misfit),
}

/// The only version of the protocol (RFC 6455 §4.1).
pub const VERSION: &str = "13";

/// The text that is appended to the key before the hash (RFC 6455 §1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The length of a key, in bytes (RFC 6455 §4.1).
const KEY_LENGTH: usize = 16;
/// The length of a key in base64, in characters.
const KEY_TEXT: usize = 24;
/// The length of a `Sec-WebSocket-Accept`, in characters: base64 of a SHA-1.
pub const ACCEPT_TEXT: usize = 28;

/// Base64 that accepts a key whose unused last bits are set. The hash covers the text of the key, so these bits deceive
/// nobody. Some clients make a key of random characters.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// Tells a WebSocket handshake from plain HTTP (RFC 6455 §4.2.1).
///
/// - `Connection: upgrade` alone is plain HTTP, because proxies in front write it on every request (nginx with a fixed
///   `proxy_set_header Connection`).
/// - Any `Upgrade: websocket`, and any `Sec-WebSocket-Key`, means a handshake, which must be complete.
/// - A body is refused, because one reader would take the bytes behind the head for frames and another for a body.
/// - `Content-Length: 0`, which many clients send, announces no body. The field is not forwarded.
#[must_use]
pub fn classify(method: &Method, version: Version, headers: &HeaderMap) -> RequestKind {
    if !has_token(headers, &UPGRADE, "websocket") {
        return match headers.contains_key(SEC_WEBSOCKET_KEY) {
            true => RequestKind::Bad(BadHandshake::UpgradeMissing),
            false => RequestKind::Plain,
        };
    }
    match upgrade(method, version, headers) {
        Ok(upgrade) => RequestKind::WebSocket(upgrade),
        Err(bad) => RequestKind::Bad(bad),
    }
}

/// Whether a request is a handshake or looks like one. In both cases frames may follow it.
#[must_use]
pub fn is_attempt(headers: &HeaderMap) -> bool {
    has_token(headers, &UPGRADE, "websocket") || headers.contains_key(SEC_WEBSOCKET_KEY)
}

/// Checks the head of a 101 against the client's handshake (RFC 6455 §4.1, the client's list of duties).
///
/// Some servers write `Content-Length` or `Transfer-Encoding` on every answer. On a 1xx they mean nothing (RFC 9112
/// §6.3). The caller that forwards the 101 removes them and an empty subprotocol, and writes `Upgrade` and `Connection`
/// anew.
///
/// # Errors
/// The first fault. The backend's connection is then useless, and is closed.
pub fn verify(asked: &Upgrade, headers: &HeaderMap) -> Result<Agreed, FalseUpgrade> {
    // A repeated `websocket` is accepted: a proxy on the way may have added its own line.
    let mut protocols = tokens(headers, &UPGRADE).peekable();
    if protocols.peek().is_none() || !protocols.all(|name| name.eq_ignore_ascii_case(b"websocket")) {
        return Err(FalseUpgrade::Upgrade);
    }
    if !has_token(headers, &CONNECTION, "upgrade") {
        return Err(FalseUpgrade::Connection);
    }
    match single(headers, &SEC_WEBSOCKET_ACCEPT) {
        One::Value(accept) if accept == asked.accept() => {}
        One::Value(_) => return Err(FalseUpgrade::AcceptWrong),
        One::Missing => return Err(FalseUpgrade::AcceptMissing),
        One::Repeated => return Err(FalseUpgrade::AcceptRepeated),
    }
    asked.offer.answered_by(headers).map_err(FalseUpgrade::Misfit)
}

/// The `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key` (RFC 6455 §4.2.2).
#[must_use]
pub fn accept_for(key: impl AsRef<[u8]>) -> [u8; ACCEPT_TEXT] {
    let mut hash = Sha1::new();
    hash.update(key.as_ref());
    hash.update(GUID);
    let mut accept = [0; ACCEPT_TEXT];
    // The hash always fits, because every SHA-1 has the same length.
    let _ = BASE64.encode_slice(hash.finalize(), &mut accept);
    accept
}

/// The key in `text`, as written; `None` if `text` is no key.
fn parse_key(text: &[u8]) -> Option<[u8; KEY_TEXT]> {
    let key = text.try_into().ok()?;
    // The decoder needs room for whole groups of three bytes.
    let length = BASE64.decode_slice(text, &mut [0; KEY_TEXT / 4 * 3]).ok()?;
    (length == KEY_LENGTH).then_some(key)
}

impl BadHandshake {
    /// The status of the answer: 426 for another version (RFC 6455 §4.4), else 400. A 426 also needs
    /// `Sec-WebSocket-Version: 13`.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::VersionUnsupported => StatusCode::UPGRADE_REQUIRED,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

impl fmt::Display for BadHandshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Method => "a WebSocket handshake is a GET",
            Self::HttpVersion => "a WebSocket handshake is HTTP/1.1: a proxy in front may speak HTTP/1.0 to this one",
            Self::UpgradeMissing => "the Upgrade header is missing: a proxy in front may have removed it",
            Self::ConnectionMissing => "Connection: upgrade is missing: a proxy in front may have removed it",
            Self::Body => "a WebSocket handshake has no body: no Transfer-Encoding, and no Content-Length but 0",
            Self::VersionMissing => "Sec-WebSocket-Version is missing",
            Self::VersionUnsupported => "Sec-WebSocket-Version: 13 is the one supported",
            Self::KeyMissing => "Sec-WebSocket-Key is missing",
            Self::KeyRepeated => "Sec-WebSocket-Key is there more than once",
            Self::KeyInvalid => "Sec-WebSocket-Key is not base64 of 16 bytes",
        })
    }
}

impl std::error::Error for BadHandshake {}

impl fmt::Display for FalseUpgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upgrade => f.write_str("its Upgrade is not websocket"),
            Self::Connection => f.write_str("its Connection does not say upgrade"),
            Self::AcceptMissing => f.write_str("it has no Sec-WebSocket-Accept"),
            Self::AcceptRepeated => f.write_str("it has more than one Sec-WebSocket-Accept"),
            Self::AcceptWrong => f.write_str("its Sec-WebSocket-Accept does not match the key"),
            Self::Misfit(misfit) => misfit.fmt(f),
        }
    }
}

impl std::error::Error for FalseUpgrade {}

/// Checks a request that says `Upgrade: websocket`. The faults that a proxy in front usually causes are checked first.
/// So the error names the cause and not one of its effects.
fn upgrade(method: &Method, version: Version, headers: &HeaderMap) -> Result<Upgrade, BadHandshake> {
    if version != Version::HTTP_11 {
        return Err(BadHandshake::HttpVersion);
    }
    if method != Method::GET {
        return Err(BadHandshake::Method);
    }
    if !has_token(headers, &CONNECTION, "upgrade") {
        return Err(BadHandshake::ConnectionMissing);
    }
    let announces_body = match single(headers, &CONTENT_LENGTH) {
        One::Missing => false,
        One::Value(length) => length != b"0",
        One::Repeated => true,
    };
    if announces_body || headers.contains_key(TRANSFER_ENCODING) {
        return Err(BadHandshake::Body);
    }
    match single(headers, &SEC_WEBSOCKET_VERSION) {
        One::Value(version) if version == VERSION.as_bytes() => {}
        One::Missing => return Err(BadHandshake::VersionMissing),
        One::Value(_) | One::Repeated => return Err(BadHandshake::VersionUnsupported),
    }
    let key = match single(headers, &SEC_WEBSOCKET_KEY) {
        One::Value(key) => key,
        One::Missing => return Err(BadHandshake::KeyMissing),
        One::Repeated => return Err(BadHandshake::KeyRepeated),
    };
    let key = parse_key(key).ok_or(BadHandshake::KeyInvalid)?;
    Ok(Upgrade { offer: Offer::read(headers), key })
}

/// A field that may occur only once.
enum One<'a> {
    Missing,
    Value(&'a [u8]),
    Repeated,
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> One<'a> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => One::Missing,
        (Some(value), None) => One::Value(value.as_bytes()),
        (Some(_), Some(_)) => One::Repeated,
    }
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let is_it = |found: &[u8]| found.eq_ignore_ascii_case(token.as_bytes());
    // Usually the line holds only this token.
    headers.get_all(name).iter().any(|line| is_it(line.as_bytes())) || tokens(headers, name).any(is_it)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;
    use crate::ws::offer::MAX_QUOTED;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    #[test]
    fn sample_key_of_the_rfc_gives_its_accept() {
        assert_eq!(accept_for(KEY), ACCEPT.as_bytes());
    }

    #[test]
    fn whole_handshake_is_a_websocket() {
        let upgrade = offered(&[]);
        assert_eq!((upgrade.key.as_slice(), upgrade.accept().as_slice()), (KEY.as_bytes(), ACCEPT.as_bytes()));
        assert_eq!(upgrade.offer, Offer::read(&HeaderMap::new()));
    }

    #[test]
    fn tokens_count_in_any_case_and_over_several_lines() {
        let fields = [
            ("upgrade", "h2c, WebSocket"),
            ("connection", "keep-alive,"),
            ("connection", " , UPGRADE"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", KEY),
        ];
        assert!(matches!(get(&fields), RequestKind::WebSocket(_)));
    }

    #[test]
    fn request_without_any_sign_of_a_handshake_is_plain() {
        assert_eq!(get(&[]), RequestKind::Plain);
        assert_eq!(get(&[("connection", "keep-alive")]), RequestKind::Plain);
        assert_eq!(get(&[("connection", "upgrade")]), RequestKind::Plain);
        let h2c = [("upgrade", "h2c"), ("connection", "upgrade, http2-settings")];
        assert_eq!(get(&h2c), RequestKind::Plain);
        let versioned = [("upgrade", "websocket/13"), ("connection", "upgrade")];
        assert_eq!(get(&versioned), RequestKind::Plain);
    }

    #[test]
    fn half_a_handshake_is_refused_with_what_it_lacks() {
        let without = |name| {
            let fields = HANDSHAKE.iter().copied().filter(|field| field.0 != name);
            get(&fields.collect::<Vec<_>>())
        };
        for (name, bad) in [
            ("upgrade", BadHandshake::UpgradeMissing),
            ("connection", BadHandshake::ConnectionMissing),
            ("sec-websocket-version", BadHandshake::VersionMissing),
            ("sec-websocket-key", BadHandshake::KeyMissing),
        ] {
            assert_eq!(without(name), RequestKind::Bad(bad));
            assert_eq!(bad.status(), StatusCode::BAD_REQUEST);
        }
        assert!(BadHandshake::UpgradeMissing.to_string().contains("Upgrade header is missing"));
    }

    #[test]
    fn key_beside_another_upgrade_is_refused() {
        let fields = [("upgrade", "h2c"), ("sec-websocket-key", KEY)];
        assert_eq!(get(&fields), RequestKind::Bad(BadHandshake::UpgradeMissing));
    }

    #[test]
    fn another_method_or_http_version_is_refused() {
        let headers = map(&HANDSHAKE);
        assert_eq!(classify(&Method::POST, Version::HTTP_11, &headers), RequestKind::Bad(BadHandshake::Method));
        assert_eq!(classify(&Method::GET, Version::HTTP_10, &headers), RequestKind::Bad(BadHandshake::HttpVersion));
    }

    #[test]
    fn body_on_a_handshake_is_refused_and_a_length_of_zero_is_none() {
        for fields in [
            &[("content-length", "5")][..],
            &[("content-length", "+0")],
            &[("content-length", "0, 0")],
            &[("content-length", "")],
            &[("content-length", "0"), ("content-length", "0")],
            &[("content-length", "0"), ("transfer-encoding", "chunked")],
            &[("transfer-encoding", "chunked")],
            &[("transfer-encoding", "identity")],
        ] {
            assert_eq!(get(&with(&HANDSHAKE, fields)), RequestKind::Bad(BadHandshake::Body), "{fields:?}");
        }
        assert!(matches!(get(&with(&HANDSHAKE, &[("content-length", "0")])), RequestKind::WebSocket(_)));
    }

    #[test]
    fn another_version_is_answered_426() {
        for version in ["8", "13, 8", "013", ""] {
            let fields = replaced("sec-websocket-version", version);
            let bad = BadHandshake::VersionUnsupported;
            assert_eq!(get(&fields), RequestKind::Bad(bad));
            assert_eq!(bad.status(), StatusCode::UPGRADE_REQUIRED);
        }
        let twice = with(&HANDSHAKE, &[("sec-websocket-version", "8")]);
        assert_eq!(get(&twice), RequestKind::Bad(BadHandshake::VersionUnsupported));
    }

    #[test]
    fn key_is_base64_of_sixteen_bytes_and_there_once() {
        for key in [
            "",
            "short",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25jZSE=",
            "dGhlIHNhbXBsZSBub25j",
            "dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==",
            "dGhlIHNhbXBsZSBub25j!Q==",
        ] {
            let fields = replaced("sec-websocket-key", key);
            assert_eq!(get(&fields), RequestKind::Bad(BadHandshake::KeyInvalid), "{key}");
        }
        let twice = with(&HANDSHAKE, &[("sec-websocket-key", KEY)]);
        assert_eq!(get(&twice), RequestKind::Bad(BadHandshake::KeyRepeated));
        let drawn_by_characters = replaced("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZR==");
        assert!(matches!(get(&drawn_by_characters), RequestKind::WebSocket(_)));
    }

    #[test]
    fn right_101_is_believed() {
        let agreed = verify(&offered(&[]), &map(&ANSWER)).unwrap();
        assert_eq!(agreed, Agreed { extensions: false, subprotocol: None });
        for field in [
            ("content-length", "0"),
            ("content-length", "2"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-protocol", ""),
        ] {
            assert_eq!(verify(&offered(&[]), &map(&with(&ANSWER, &[field]))), Ok(agreed.clone()), "{field:?}");
        }
    }

    #[test]
    fn wrong_101_is_refused_with_its_cause() {
        use FalseUpgrade as F;
        let other_accept = String::from_utf8(accept_for("AAAAAAAAAAAAAAAAAAAAAA==").into()).unwrap();
        let lower_case = ACCEPT.to_ascii_lowercase();
        let cases: &[(&str, Option<&str>, F)] = &[
            ("upgrade", None, F::Upgrade),
            ("upgrade", Some("h2c"), F::Upgrade),
            ("upgrade", Some("websocket, h2c"), F::Upgrade),
            ("connection", None, F::Connection),
            ("connection", Some("close"), F::Connection),
            ("sec-websocket-accept", None, F::AcceptMissing),
            ("sec-websocket-accept", Some(&other_accept), F::AcceptWrong),
            ("sec-websocket-accept", Some(&lower_case), F::AcceptWrong),
            ("sec-websocket-accept", Some(""), F::AcceptWrong),
        ];
        for (name, value, expected) in cases {
            let mut fields: Vec<_> = ANSWER.into_iter().filter(|field| field.0 != *name).collect();
            fields.extend(value.map(|value| (*name, value)));
            assert_eq!(verify(&offered(&[]), &map(&fields)), Err(expected.clone()));
        }
        for (field, expected) in
            [(("upgrade", "h2c"), F::Upgrade), (("sec-websocket-accept", ACCEPT), F::AcceptRepeated)]
        {
            let fields = with(&ANSWER, &[field]);
            assert_eq!(verify(&offered(&[]), &map(&fields)), Err(expected));
        }
    }

    #[test]
    fn subprotocol_must_be_one_of_those_offered() {
        let offer = offered(&[("sec-websocket-protocol", "chat, superchat"), ("sec-websocket-protocol", "mqtt")]);
        let answer = |values: &[(&'static str, &'static str)]| {
            verify(&offer, &map(&with(&ANSWER, values))).map(|agreed| agreed.subprotocol)
        };
        assert_eq!(answer(&[]), Ok(None));
        for chosen in ["superchat", "mqtt"] {
            let subprotocol = answer(&[("sec-websocket-protocol", chosen)]);
            assert_eq!(subprotocol, Ok(Some(chosen.to_owned())));
        }
        for wrong in ["Chat", "chat, mqtt", "soap"] {
            let refused = answer(&[("sec-websocket-protocol", wrong)]);
            assert_eq!(refused, Err(FalseUpgrade::Misfit(Misfit::Subprotocol(wrong.to_owned()))));
        }
        let twice = [("sec-websocket-protocol", "chat"), ("sec-websocket-protocol", "chat")];
        assert_eq!(answer(&twice), Err(FalseUpgrade::Misfit(Misfit::SubprotocolRepeated)));
    }

    #[test]
    fn extensions_must_have_been_offered() {
        let name = "sec-websocket-extensions";
        let offer = offered(&[
            (name, r#"x-quoted; note="a, permessage-fake; \", b", , "#),
            (name, "permessage-deflate; client_max_window_bits"),
        ]);
        let answer = |value| {
            let fields = with(&ANSWER, &[(name, value)]);
            verify(&offer, &map(&fields)).map(|agreed| agreed.extensions)
        };
        assert_eq!(answer("permessage-deflate; server_max_window_bits=10"), Ok(true));
        assert_eq!(answer("Permessage-Deflate, x-quoted"), Ok(true));
        assert_eq!(answer(""), Ok(false));
        let lines = with(&ANSWER, &[(name, "permessage-deflate"), (name, "x-quoted")]);
        assert!(verify(&offer, &map(&lines)).is_ok_and(|agreed| agreed.extensions), "Erratum 3433");
        for (value, refused) in [
            ("permessage-fake", "permessage-fake"),
            ("x-quoted, permessage-bzip; a=\"b\"", "permessage-bzip"),
            (";permessage-deflate", ""),
        ] {
            let expected = FalseUpgrade::Misfit(Misfit::Extension(refused.to_owned()));
            assert_eq!(answer(value), Err(expected));
        }
        let endless = answer("permessage-deflate; a=\"b, x-quoted");
        assert_eq!(endless, Err(FalseUpgrade::Misfit(Misfit::ExtensionsUnreadable)));
    }

    #[test]
    fn error_repeats_only_so_much_of_a_backends_header() {
        let long = "x".repeat(5000);
        let fields = with(&ANSWER, &[("sec-websocket-protocol", &long)]);
        let error = verify(&offered(&[]), &map(&fields)).unwrap_err();
        assert!(error.to_string().len() < 2 * MAX_QUOTED);
    }

    const HANDSHAKE: [(&str, &str); 4] = [
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", KEY),
    ];

    const ANSWER: [(&str, &str); 3] =
        [("upgrade", "WebSocket"), ("connection", "keep-alive, Upgrade"), ("sec-websocket-accept", ACCEPT)];

    fn get(fields: &[(&str, &str)]) -> RequestKind {
        classify(&Method::GET, Version::HTTP_11, &map(fields))
    }

    fn offered(more: &[(&str, &str)]) -> Upgrade {
        match get(&with(&HANDSHAKE, more)) {
            RequestKind::WebSocket(upgrade) => upgrade,
            other => panic!("not a handshake: {other:?}"),
        }
    }

    fn with<'a>(fields: &[(&'a str, &'a str)], more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        [fields, more].concat()
    }

    fn replaced<'a>(name: &str, value: &'a str) -> Vec<(&'a str, &'a str)> {
        let swap = |field: (&'a str, &'a str)| match field {
            (found, _) if found == name => (found, value),
            other => other,
        };
        HANDSHAKE.into_iter().map(swap).collect()
    }

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }
}
