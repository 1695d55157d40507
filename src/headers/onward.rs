//! The fields of a request that a backend gets. PURE.
//!
//! One pass over the client's fields tells them one by one, so a request is written without a second map.

use hyper::{
    HeaderMap,
    header::{EXPECT, HeaderName, HeaderValue},
};

use super::{
    X_FORWARDED_FOR, X_REAL_IP, X_REQUEST_ID,
    client_certificate::{ToldCertificate, tells_of_a_certificate},
    end_to_end,
    session::tells_of_a_session,
    tells_of_a_hop, tokens,
};
use crate::sender::{Client, Sender};

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// The hop by which a request came to this proxy, as the backend is told of it.
#[derive(Debug, Clone, Copy)]
pub struct Hop<'a> {
    /// Who is at the other end of the connection.
    pub sender: Sender,
    /// Who the request is from, as [`client()`](super::client()) found it.
    pub client: Client,
    /// Whether the sender is one of `trusted_proxies` ([`is_trusted`](super::is_trusted)).
    pub trusted: bool,
    /// Whether the connection is TLS.
    pub tls: bool,
    /// The host the request is for, as [`host`](super::host) found it; empty where the request names none.
    pub host: &'a str,
    /// The port to which the sender connected; 0 = unknown, or a Unix socket.
    pub port: u16,
    /// The prefix that was taken off the path; `None` = none was.
    pub prefix: Option<&'a str>,
    /// The id, as [`request_id`](super::request_id) found or made it.
    pub request_id: &'a str,
    /// What the backend is told of the client's certificate; `None` = nothing.
    pub certificate: Option<ToldCertificate<'a>>,
}

/// The value of a field toward a backend.
#[derive(Debug, Clone, Copy)]
pub enum FieldValue<'a> {
    /// The value as it came.
    Passed(&'a HeaderValue),
    /// A value of this proxy.
    Ours(&'a [u8]),
}

impl FieldValue<'_> {
    /// The value on the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Passed(value) => value.as_bytes(),
            Self::Ours(bytes) => bytes,
        }
    }

    /// The value for a map. A value of this proxy comes from a field, an address or a number, so it is always valid. If
    /// it were not, the backend would not get the field.
    #[must_use]
    pub fn to_header(&self) -> Option<HeaderValue> {
        match self {
            Self::Passed(value) => Some((*value).clone()),
            Self::Ours(bytes) => HeaderValue::from_bytes(bytes).ok(),
        }
    }
}

/// What happens to a field that is not a field of one hop.
enum FieldFate {
    Passes,
    /// The field describes an earlier hop. It is dropped if the sender of the request is not trusted.
    DescribesHop,
    /// The field is dropped.
    Ends,
}

/// Calls `tell` with each field that goes to the backend: first the client's fields that pass, in their order, then the
/// proxy's own fields about the client. The client's `Connection` is applied only to the client's fields, so it cannot
/// remove a field of the proxy (RFC 9110 §7.6.1).
///
/// - Hop-by-hop fields are dropped, and so are the fields that `Connection` names
///   ([`strip_hop_by_hop`](super::strip_hop_by_hop)).
/// - From a trusted sender, all lines of `X-Forwarded-For` are joined, and the sender's address is appended.
///   `X-Real-IP`, `Forwarded` and all other `X-Forwarded-*` pass unchanged. Of `-Proto`, `-Host`, `-Port` and
///   `X-Real-IP` the proxy sets those that are missing.
/// - Where a prefix was taken off the path, `X-Forwarded-Prefix` names it, behind the prefixes that a trusted sender names.
/// - From any other sender, every `X-Forwarded-*`, `X-Real-IP` and `Forwarded` is dropped, and the proxy sets its own.
/// - A sender at a Unix socket has no address and came to no port. So the proxy appends nothing to `X-Forwarded-For`, and
///   sets neither it, `-Port` nor `X-Real-IP`, as nginx and HAProxy do.
/// - Names that a CGI-like backend cannot tell from these (`X_Forwarded_For`) are dropped for every sender. A trusted
///   proxy writes the proper names, but may have passed on a client's imitation.
/// - Every `X-Client-Cert-*` is dropped for every sender: it would be believed to be the proxy's own.
/// - `Longwire-Session`, `Longwire-Resumed` and `Longwire-Resume-Cause` are dropped for every sender, for the same reason.
/// - `Expect` is dropped, because hyper itself answers `100-continue` when the body is read.
pub fn onward(headers: &HeaderMap, hop: &Hop<'_>, mut tell: impl FnMut(&HeaderName, FieldValue<'_>)) {
    for (name, value) in end_to_end(headers) {
        let passes = match fate(name) {
            FieldFate::Passes => true,
            // The proxy writes these fields anew.
            FieldFate::DescribesHop => {
                let is_anew = *name == X_FORWARDED_FOR
                    || *name == X_REQUEST_ID
                    || hop.prefix.is_some() && *name == X_FORWARDED_PREFIX;
                hop.trusted && !is_anew
            }
            FieldFate::Ends => false,
        };
        if passes {
            tell(name, FieldValue::Passed(value));
        }
    }
    tell_of_hop(headers, hop, tell);
}

/// Calls `tell` with the proxy's own fields, except those that a trusted sender has set.
fn tell_of_hop(headers: &HeaderMap, hop: &Hop<'_>, mut tell: impl FnMut(&HeaderName, FieldValue<'_>)) {
    let mut text = Vec::with_capacity(64);
    if hop.trusted {
        for entry in tokens(headers, &X_FORWARDED_FOR) {
            text.extend_from_slice(entry);
            text.extend_from_slice(b", ");
        }
    }
    if hop.sender.client().is_of_unix() {
        // Without the comma behind the last entry.
        text.truncate(text.len().saturating_sub(2));
    } else {
        hop.sender.client().write(&mut text);
    }
    if !text.is_empty() {
        tell(&X_FORWARDED_FOR, FieldValue::Ours(&text));
    }
    let mut tell_unless_said = |name: HeaderName, value: &[u8]| {
        let is_said = hop.trusted && headers.contains_key(&name);
        if !value.is_empty() && !is_said {
            tell(&name, FieldValue::Ours(value));
        }
    };
    tell_unless_said(X_FORWARDED_PROTO, if hop.tls { b"https" } else { b"http" });
    tell_unless_said(X_FORWARDED_HOST, hop.host.as_bytes());
    text.clear();
    // A PROXY header may name no port, and a Unix socket has none.
    if hop.port != 0 {
        push_number(&mut text, hop.port);
    }
    tell_unless_said(X_FORWARDED_PORT, &text);
    text.clear();
    if !hop.client.is_of_unix() {
        hop.client.write(&mut text);
    }
    tell_unless_said(X_REAL_IP, &text);
    if let Some(prefix) = hop.prefix {
        text.clear();
        for earlier in tokens(headers, &X_FORWARDED_PREFIX).filter(|_| hop.trusted) {
            text.extend_from_slice(earlier.strip_suffix(b"/").unwrap_or(earlier));
        }
        text.extend_from_slice(prefix.as_bytes());
        tell(&X_FORWARDED_PREFIX, FieldValue::Ours(&text));
    }
    tell(&X_REQUEST_ID, FieldValue::Ours(hop.request_id.as_bytes()));
    let Some(ToldCertificate { certificate, fields }) = hop.certificate else { return };
    for field in fields {
        if let Some(value) = certificate.value(*field) {
            tell(&field.name(), FieldValue::Ours(value.as_bytes()));
        }
    }
}

fn fate(name: &HeaderName) -> FieldFate {
    // Whatever describes a hop, a certificate or a session begins with one of these letters, and most fields do not.
    if !name.as_str().starts_with(['f', 'l', 'x']) {
        return if *name == EXPECT { FieldFate::Ends } else { FieldFate::Passes };
    }
    if imitates(name) {
        FieldFate::Ends
    } else if tells_of_a_hop(name) {
        FieldFate::DescribesHop
    } else if tells_of_a_certificate(name) || tells_of_a_session(name) {
        FieldFate::Ends
    } else {
        FieldFate::Passes
    }
}

/// Whether a backend that reads names as CGI does would take this field for one of ours.
///
/// CGI reads names in upper case and `-` as `_` (RFC 3875 §4.1.18). Some backends also read every other mark as `_`.
fn imitates(name: &HeaderName) -> bool {
    dashed(name).is_some_and(|name| tells_of_a_hop(&name) || tells_of_a_certificate(&name) || tells_of_a_session(&name))
}

/// The name for which a backend that reads names as CGI does would take this one; `None` = it takes the name for itself.
pub(super) fn dashed(name: &HeaderName) -> Option<HeaderName> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if name.as_str().bytes().all(is_plain) {
        return None;
    }
    let dash = |byte: u8| if is_plain(byte) { byte } else { b'-' };
    let dashed: Vec<u8> = name.as_str().bytes().map(dash).collect();
    HeaderName::from_bytes(&dashed).ok()
}

/// Whether a backend that reads names as CGI does takes two names for one.
pub(super) fn reads_alike(one: &HeaderName, other: &HeaderName) -> bool {
    let mark = |byte: u8| if byte.is_ascii_alphanumeric() { byte } else { b'-' };
    one.as_str().bytes().map(mark).eq(other.as_str().bytes().map(mark))
}

/// Appends a number. The standard library's formatting takes ten times as long.
fn push_number(text: &mut Vec<u8>, mut number: u16) {
    let mut digits = [0; 5];
    let mut length = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789"[usize::from(number % 10)];
        number /= 10;
        length += 1;
        if number == 0 {
            break;
        }
    }
    text.extend_from_slice(&digits[5 - length..]);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::{IpAddr, SocketAddr};

    use super::{
        super::{
            client_certificate::{CertificateField, ClientCertificate},
            tests::map,
        },
        *,
    };
    use crate::sender::PeerProcess;

    #[test]
    fn forwarding_headers_of_a_stranger_are_replaced() {
        let headers = map(&[
            ("host", "example.com"),
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "2.2.2.2"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-port", "443"),
            ("x-forwarded-prefix", "/admin"),
            ("x-real-ip", "1.1.1.1"),
            ("forwarded", "for=1.1.1.1"),
            ("x_forwarded_for", "1.1.1.1"),
            ("x-forwarded_for", "1.1.1.1"),
            ("x.real.ip", "1.1.1.1"),
            ("x_request-id", "evil"),
            ("x-request-id", "evil"),
            ("expect", "100-continue"),
            ("longwire-session", "evil"),
            ("longwire-resumed", "1"),
            ("longwire-resume-cause", "lost"),
            ("longwire_resumed", "1"),
            ("x_other", "stays"),
        ]);
        let headers = for_backend(&headers, &hop(false));
        let expected = [
            ("host", "example.com"),
            ("x_other", "stays"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "example.com"),
            ("x-forwarded-port", "8080"),
            ("x-real-ip", "2.2.2.2"),
            ("x-request-id", "abc"),
        ];
        assert_eq!(headers, map(&expected));
    }

    #[test]
    fn forwarding_headers_of_a_trusted_sender_are_kept_and_its_address_appended() {
        let headers = map(&[
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "2.2.2.2,10.0.0.2"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "public.example"),
            ("x-forwarded-port", "443"),
            ("x-real-ip", "3.3.3.3"),
            ("forwarded", "for=2.2.2.2"),
            ("x_real_ip", "6.6.6.6"),
        ]);
        let headers = for_backend(&headers, &hop(true));
        let expected = [
            ("x-forwarded-for", "1.1.1.1, 2.2.2.2, 10.0.0.2, 10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "public.example"),
            ("x-forwarded-port", "443"),
            ("x-real-ip", "3.3.3.3"),
            ("forwarded", "for=2.2.2.2"),
            ("x-request-id", "abc"),
        ];
        assert_eq!(headers, map(&expected));
    }

    #[test]
    fn a_port_that_is_not_known_is_not_told() {
        let headers = for_backend(&HeaderMap::new(), &Hop { port: 0, ..hop(false) });
        assert!(!headers.contains_key(X_FORWARDED_PORT));
    }

    #[test]
    fn a_process_has_no_address_and_came_to_no_port() {
        let headers = map(&[
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "2.2.2.2"),
            ("x-forwarded-port", "443"),
            ("x-real-ip", "1.1.1.1"),
        ]);
        let sender = Sender::Process(PeerProcess { uid: 0, pid: None });
        let process = Hop { sender, client: Client::of_unix(), port: 0, ..hop(false) };
        let ours = [("x-forwarded-proto", "http"), ("x-forwarded-host", "example.com"), ("x-request-id", "abc")];
        assert_eq!(for_backend(&headers, &process), map(&ours));
        let trusted = Hop { trusted: true, client: ip("2.2.2.2").into(), ..process };
        let said = [
            ("x-forwarded-port", "443"),
            ("x-real-ip", "1.1.1.1"),
            ("x-forwarded-for", "1.1.1.1, 2.2.2.2"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "example.com"),
            ("x-request-id", "abc"),
        ];
        assert_eq!(for_backend(&headers, &trusted), map(&said));
    }

    #[test]
    fn what_a_trusted_sender_does_not_say_is_set() {
        let headers = HeaderMap::new();
        let tls = Hop { tls: true, ..hop(true) };
        let headers = for_backend(&headers, &tls);
        let expected = [
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "example.com"),
            ("x-forwarded-port", "8080"),
            ("x-real-ip", "2.2.2.2"),
            ("x-request-id", "abc"),
        ];
        assert_eq!(headers, map(&expected));
    }

    #[test]
    fn prefix_that_was_taken_off_stands_behind_those_of_a_trusted_sender() {
        let told = map(&[("x-forwarded-prefix", "/outer/"), ("x-forwarded-prefix", "/inner")]);
        for (trusted, prefix, fields, expected) in [
            (true, Some("/ws"), &told, Some("/outer/inner/ws")),
            (false, Some("/ws"), &told, Some("/ws")),
            (true, Some("/ws"), &HeaderMap::new(), Some("/ws")),
            (false, None, &told, None),
        ] {
            let headers = for_backend(fields, &Hop { prefix, ..hop(trusted) });
            let found: Vec<_> = headers.get_all(X_FORWARDED_PREFIX).iter().collect();
            assert_eq!(found, Vec::from_iter(expected), "{trusted} {prefix:?}");
        }
        let unchanged = for_backend(&told, &hop(true));
        assert_eq!(unchanged.get_all(X_FORWARDED_PREFIX).iter().count(), 2);
    }

    #[test]
    fn fields_of_one_hop_and_those_named_by_connection_end_here() {
        let headers = map(&[
            ("connection", "keep-alive, X-Secret, close"),
            ("connection", "cookie, Upgrade, Host, Content-Length, X-Forwarded-For"),
            ("connection", "X-Real-Ip, Forwarded, X-Forwarded-Proto, X-Request-Id, \u{e9}"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("te", "trailers"),
            ("trailer", "x-sum"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABk"),
            ("x-secret", "1"),
            ("x-secret", "2"),
            ("close", "1"),
            ("cookie", "a=b"),
            ("proxy-authorization", "Basic eDp5"),
            ("accept", "*/*"),
            ("host", "example.com"),
            ("content-length", "5"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-real-ip", "1.2.3.4"),
            ("forwarded", "for=1.2.3.4"),
            ("x-forwarded-proto", "https"),
            ("x-request-id", "abc"),
        ]);
        let expected = [
            ("proxy-authorization", "Basic eDp5"),
            ("accept", "*/*"),
            ("host", "example.com"),
            ("content-length", "5"),
            ("x-forwarded-for", "1.2.3.4, 10.0.0.1"),
            ("x-real-ip", "1.2.3.4"),
            ("forwarded", "for=1.2.3.4"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "example.com"),
            ("x-forwarded-port", "8080"),
            ("x-request-id", "abc"),
        ];
        assert_eq!(for_backend(&headers, &hop(true)), map(&expected));
    }

    #[test]
    fn what_passes_keeps_its_order_and_ours_come_last() {
        let headers = map(&[("b", "1"), ("a", "2"), ("b", "3"), ("x-request-id", "9"), ("c", "4")]);
        let mut told = Vec::new();
        onward(&headers, &hop(false), |name, value| {
            told.push(format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())));
        });
        let passed = ["b: 1", "b: 3", "a: 2", "c: 4"];
        let ours = [
            "x-forwarded-for: 10.0.0.1",
            "x-forwarded-proto: http",
            "x-forwarded-host: example.com",
            "x-forwarded-port: 8080",
            "x-real-ip: 2.2.2.2",
            "x-request-id: abc",
        ];
        assert_eq!(told, [&passed[..], &ours].concat());
    }

    #[test]
    fn what_a_client_says_of_certificates_ends_here_for_every_sender() {
        let headers = map(&[
            ("x-client-cert-subject", "CN=admin"),
            ("x-client-cert-fingerprint", "00"),
            ("x-client-cert-verified", "yes"),
            ("x-client-cert-", ""),
            ("x_client_cert_subject", "CN=admin"),
            ("x-client_cert-subject", "CN=admin"),
            ("x.client.cert.pem", "pem"),
            ("x-client-certificates", "stays"),
            ("client-cert-subject", "stays"),
        ]);
        for trusted in [true, false] {
            let headers = for_backend(&headers, &hop(trusted));
            let left: Vec<_> = headers.iter().filter(|(name, _)| name.as_str().contains("client")).collect();
            assert_eq!(left.len(), 2, "{left:?}");
            assert!(left.iter().all(|(_, value)| *value == "stays"), "{left:?}");
        }
    }

    #[test]
    fn the_backend_is_told_what_the_route_names_of_a_certificate() {
        let mut params = rcgen::CertificateParams::default();
        params.serial_number = Some(rcgen::SerialNumber::from(0x2au64));
        let made = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let certificate = &ClientCertificate::new(made.der());
        // This one has no alternative names.
        let fields = &[CertificateField::Subject, CertificateField::San, CertificateField::Serial];
        let told = Hop { certificate: Some(ToldCertificate { certificate, fields }), ..hop(false) };
        let headers = map(&[("connection", "x-client-cert-serial"), ("x-client-cert-serial", "99")]);
        let headers = for_backend(&headers, &told);
        let of = |name| headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!(of("x-client-cert-subject"), ["CN=rcgen self signed cert"]);
        assert_eq!(of("x-client-cert-serial"), ["2a"]);
        assert_eq!((of("x-client-cert-san").len(), of("x-client-cert-pem").len()), (0, 0));
    }

    #[test]
    fn ports_are_written_as_the_standard_library_does() {
        for number in (0..=u16::MAX).step_by(7).chain([9, 10, 99, 100, 999, 1000, 9999, 10_000, u16::MAX]) {
            let mut text = Vec::new();
            push_number(&mut text, number);
            assert_eq!(String::from_utf8(text).unwrap(), number.to_string());
        }
    }

    /// The fields that [`onward`] tells, as a map.
    fn for_backend(headers: &HeaderMap, hop: &Hop<'_>) -> HeaderMap {
        let mut map = HeaderMap::new();
        onward(headers, hop, |name, value| {
            if let Some(value) = value.to_header() {
                map.append(name, value);
            }
        });
        map
    }

    fn hop(trusted: bool) -> Hop<'static> {
        Hop {
            sender: SocketAddr::new(ip("::ffff:10.0.0.1"), 5000).into(),
            client: ip("2.2.2.2").into(),
            trusted,
            tls: false,
            host: "example.com",
            port: 8080,
            prefix: None,
            request_id: "abc",
            certificate: None,
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }
}
