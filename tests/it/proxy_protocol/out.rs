//! The header that a backend gets, read by a parser that is not ours.

use std::net::SocketAddr;

use super::{V1, sample, tls, v1_of};
use crate::{
    fuzzing::proxy_protocol::{Judgement, ppp_says},
    harness::{
        Backend, Proxy, Setup, Wire,
        frames::{TEXT, masked, unmasked},
        handshake, within,
    },
};

/// What a header said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    /// Source and destination. `None` = `UNKNOWN` or `LOCAL`.
    addresses: Option<(SocketAddr, SocketAddr)>,
    tlvs: Vec<(u8, Vec<u8>)>,
    bytes: Vec<u8>,
}

impl Told {
    fn source(&self) -> SocketAddr {
        self.addresses.unwrap().0
    }

    fn tlv(&self, kind: u8) -> Option<&[u8]> {
        self.tlvs.iter().find(|(other, _)| *other == kind).map(|(_, value)| &value[..])
    }
}

/// Reads exactly one header.
pub(super) async fn read(wire: &mut Wire) -> Option<Told> {
    let mut bytes = wire.try_take(13).await?;
    if bytes.starts_with(b"PROXY") {
        while !bytes.ends_with(b"\r\n") {
            bytes.extend(wire.take(1).await);
        }
    } else {
        bytes.extend(wire.take(3).await);
        let length = usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
        bytes.extend(wire.take(length).await);
    }
    let Some(Judgement { addresses, length, tlvs }) = ppp_says(&bytes) else { panic!("{}", bytes.escape_ascii()) };
    assert_eq!(length, bytes.len());
    Some(Told { addresses, tlvs: tlvs.expect("whole TLVs"), bytes })
}

/// A backend that reads a header and then echoes. It notes each header in `X-Told`, as `source>destination` or `local`, and
/// the header's bytes in `X-Bytes`.
pub(super) fn told() -> Backend {
    Backend::raw(async |backend: Backend, mut wire: Wire| {
        let Some(told) = read(&mut wire).await else { return };
        let shown = told
            .addresses
            .map_or_else(|| "local".to_owned(), |(source, destination)| format!("{source}>{destination}"));
        let fields = format!("X-Told: {shown}\r\nX-Bytes: {}\r\n", told.bytes.escape_ascii());
        while let Some(head) = backend.next_head(&mut wire).await {
            if head.header("sec-websocket-key").is_some() {
                wire.accept(&head, &fields).await;
                while let Some(frame) = wire.next_frame().await {
                    wire.try_send(unmasked(frame.first, frame.payload)).await;
                }
                return;
            }
            wire.send(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 0\r\n\r\n")).await;
        }
    })
}

pub(super) fn telling(backends: &[&Backend], version: &str) -> Setup {
    Proxy::before(backends).upstream(&format!("balance: round_robin, proxy_protocol: {version}"))
}

/// What the backend was told of this GET: its source, the port left out if it is not 0, and the bytes of the header.
pub(super) async fn get(client: &mut Wire, more: &str) -> (String, String) {
    let answer = client.get("/", more).await;
    assert_eq!(answer.status(), 200);
    let header = |name| answer.head.header(name).unwrap_or_default().to_owned();
    (header("x-told"), header("x-bytes"))
}

#[tokio::test]
async fn the_backend_is_told_both_ends_of_the_clients_connection_by_either_version() {
    for version in ["v1", "v2"] {
        let backend = told();
        let proxy = telling(&[&backend], version).start();
        let mut client = proxy.client().await;
        let ends = |wire: Wire| {
            let tcp = wire.into_tcp();
            format!("{}>{}", tcp.local_addr().unwrap(), tcp.peer_addr().unwrap())
        };
        let (told, _) = get(&mut client, "").await;
        assert_eq!(told, ends(client));
        let mut client = proxy.client().await;
        client.send(handshake("/ws", "")).await;
        let told = client.upgraded().await.header("x-told").unwrap().to_owned();
        client.send(masked(TEXT, "hello")).await;
        client.expect(unmasked(TEXT, "hello")).await;
        assert_eq!(told, ends(client));
        proxy.stop().await;
    }
}

#[tokio::test]
async fn a_listener_on_all_addresses_tells_the_one_that_the_client_used() {
    let backend = told();
    let proxy = telling(&[&backend], "v2").listener("bind: \"0.0.0.0:0\"").start();
    let there = SocketAddr::from(([127, 0, 0, 3], proxy.address().port()));
    let mut client = Wire::connect(there).await;
    let (told, _) = get(&mut client, "").await;
    assert!(told.ends_with(&format!(">{there}")), "{told}");
    proxy.stop().await;
}

#[tokio::test]
async fn both_ends_in_the_header_that_came_are_passed_on() {
    for version in ["v1", "v2"] {
        let backend = told();
        let setup = telling(&[&backend], version);
        let proxy = setup.listener("bind: \"127.0.0.1:0\", proxy_protocol: { from: [127.0.0.1] }").start();
        for (header, wanted) in [
            (V1, "192.0.2.7:5000>198.51.100.1:8443"),
            ("PROXY TCP6 2001::7 ::1 80 8443\r\n", "[2001::7]:80>[::1]:8443"),
        ] {
            let mut client = proxy.client().await;
            client.send(header).await;
            assert_eq!(get(&mut client, "").await.0, wanted);
        }
        // Without a client in the header, the connection itself counts.
        let mut client = proxy.client().await;
        client.send("PROXY UNKNOWN\r\n").await;
        let (told, _) = get(&mut client, "").await;
        let tcp = client.into_tcp();
        assert_eq!(told, format!("{}>{}", tcp.local_addr().unwrap(), tcp.peer_addr().unwrap()));
        proxy.stop().await;
    }
}

#[tokio::test]
async fn a_client_that_a_trusted_proxy_names_has_no_port_and_may_be_of_another_family() {
    for version in ["v1", "v2"] {
        let backend = told();
        let proxy = telling(&[&backend], version).with("trusted_proxies: [127.0.0.1]").start();
        let mut client = proxy.client().await;
        let here = proxy.address();
        let (told, _) = get(&mut client, "X-Forwarded-For: 203.0.113.5\r\n").await;
        assert_eq!(told, format!("203.0.113.5:0>{here}"));
        let (told, _) = get(&mut client, "X-Forwarded-For: 2001:db8::5\r\n").await;
        assert_eq!(told, format!("[2001:db8::5]:0>[::ffff:{}]:{}", here.ip(), here.port()));
        // Whose address it also is.
        let (told, _) = get(&mut client, "X-Forwarded-For: 127.0.0.1\r\n").await;
        assert_eq!(told, format!("127.0.0.1:0>{here}"));
        for no_name in ["", "X-Forwarded-For: nobody\r\n"] {
            let (told, _) = get(&mut client, no_name).await;
            assert!(told.starts_with("127.0.0.1:") && !told.starts_with("127.0.0.1:0>"), "{told}");
        }
        let (told, _) = get(&mut client, "").await;
        assert_eq!(told, format!("{}>{here}", client.into_tcp().local_addr().unwrap()));
        proxy.stop().await;
    }
}

#[tokio::test]
async fn a_connection_is_used_again_for_the_same_header_only() {
    let backend = told();
    let proxy = telling(&[&backend], "v2").with("trusted_proxies: [127.0.0.1]").start();
    let mut client = proxy.client().await;
    let from = |address: &str| format!("X-Forwarded-For: {address}\r\n");
    let (one, other) = (from("192.0.2.1"), from("192.0.2.2"));
    for (more, connections) in [(&one, 1), (&one, 1), (&other, 2), (&one, 2), (&other, 2)] {
        let (told, _) = get(&mut client, more).await;
        let client = more.split([' ', '\r']).nth(1).unwrap();
        assert!(told.starts_with(&format!("{client}:0>")), "{told}");
        assert_eq!(backend.connections(), connections, "{more}");
    }
    // Two clients by their own connections: two more.
    for connections in [3, 4] {
        let mut client = proxy.client().await;
        for _ in 0..2 {
            get(&mut client, "").await;
            assert_eq!(backend.connections(), connections);
        }
    }
    proxy.stop().await;
}

#[tokio::test]
async fn with_a_unique_id_no_connection_is_used_again_even_for_the_same_id() {
    let backend = told();
    let proxy = telling(&[&backend], "v2, tlvs: [unique_id]").with("log: { access: false }").start();
    let mut client = proxy.client().await;
    for connections in 1..=3 {
        let (_, bytes) = get(&mut client, "X-Request-Id: the-same\r\n").await;
        assert!(bytes.ends_with("\\x05\\x00\\x08the-same"), "{bytes}");
        assert_eq!(backend.connections(), connections);
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_connection_that_belongs_to_a_client_is_not_used_for_another_client_of_the_same_proxy() {
    let backend = owned();
    let proxy = telling(&[&backend], "v2").with("trusted_proxies: [127.0.0.1]").start();
    let mut balancer = proxy.client().await;
    for (client, connections) in [("192.0.2.1", 1), ("192.0.2.1", 1), ("192.0.2.2", 2), ("192.0.2.1", 3)] {
        let (told, _) = get(&mut balancer, &format!("X-Forwarded-For: {client}\r\n")).await;
        assert_eq!((told.as_str(), backend.connections()), (client, connections));
    }
    proxy.stop().await;
}

/// Notes the source in `X-Told`, and says that its connection belongs to one client.
fn owned() -> Backend {
    Backend::raw(async |backend: Backend, mut wire: Wire| {
        let Some(told) = read(&mut wire).await else { return };
        while backend.next_head(&mut wire).await.is_some() {
            let fields = format!("Persistent-Auth: true\r\nX-Told: {}\r\nX-Backend: {backend}\r\n", told.source().ip());
            wire.send(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 0\r\n\r\n")).await;
        }
    })
}

#[tokio::test]
async fn another_client_of_the_same_proxy_goes_to_its_own_backend_and_not_to_that_of_the_client_before() {
    let (one, other) = (owned(), owned());
    let upstream = "balance: ip_hash, proxy_protocol: v2";
    let proxy = Proxy::before(&[&one, &other]).upstream(upstream).with("trusted_proxies: [127.0.0.1]").start();
    let from = |last: u8| format!("X-Forwarded-For: 192.0.2.{last}\r\n");
    let mut homes = Vec::new();
    for last in 0..16 {
        let answer = proxy.client().await.get("/", &from(last)).await;
        homes.push(answer.head.header("x-backend").unwrap().to_owned());
    }
    assert!(homes.contains(&one.to_string()) && homes.contains(&other.to_string()), "{homes:?}");
    let mut balancer = proxy.client().await;
    for (last, home) in (0..).zip(&homes) {
        let answer = balancer.get("/", &from(last)).await;
        assert_eq!(answer.head.header("x-told"), Some(&*format!("192.0.2.{last}")));
        assert_eq!(answer.head.header("x-backend"), Some(&**home), "{last}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_backend_that_is_tried_next_is_told_too() {
    let refusing = Backend::refusing();
    let rude = Backend::raw(async |_, mut wire: Wire| {
        assert!(read(&mut wire).await.is_some());
        wire.next_head().await;
    });
    for bad in [&refusing, &rude] {
        let good = told();
        let proxy = telling(&[bad, &good], "v2, max_fails: 0").start();
        for _ in 0..2 {
            let mut client = proxy.client().await;
            let (told, _) = get(&mut client, "").await;
            assert!(told.starts_with("127.0.0.1:"), "{told}");
            let mut client = proxy.client().await;
            client.send(handshake("/ws", "")).await;
            assert!(client.upgraded().await.header("x-told").unwrap().starts_with("127.0.0.1:"));
        }
        proxy.stop().await;
    }
}

#[tokio::test]
async fn a_request_with_a_body_and_an_answer_that_hyper_reads_come_behind_a_header_too() {
    let backend = Backend::raw(async |backend: Backend, mut wire: Wire| {
        let Some(told) = read(&mut wire).await else { return };
        while let Some(head) = backend.next_head(&mut wire).await {
            let length = head.header("content-length").map_or(0, |length| length.parse().unwrap());
            wire.take(length).await;
            let fields = format!("X-Told: {}\r\nTransfer-Encoding: chunked\r\n", told.source());
            wire.send(format!("HTTP/1.1 200 OK\r\n{fields}\r\n2\r\nok\r\n0\r\n\r\n")).await;
        }
    });
    let proxy = telling(&[&backend], "v1").start();
    let mut client = proxy.client().await;
    for (request, connections) in [
        ("GET / HTTP/1.1\r\nHost: chat\r\n\r\n", 1),
        ("GET / HTTP/1.1\r\nHost: chat\r\n\r\n", 1),
        ("POST / HTTP/1.1\r\nHost: chat\r\nContent-Length: 4\r\n\r\nping", 2),
    ] {
        client.send(request).await;
        let answer = client.response().await;
        assert_eq!((answer.status(), answer.text()), (200, "ok"));
        assert!(answer.head.header("x-told").unwrap().starts_with("127.0.0.1:"));
        assert_eq!(backend.connections(), connections);
    }
    proxy.stop().await;
}

#[tokio::test]
async fn checks_say_that_they_are_nobodys() {
    for (version, kind, header) in [
        ("v1", "http", &b"PROXY UNKNOWN\r\n"[..]),
        ("v2", "websocket", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"),
        ("v2, tlvs: [unique_id, crc32c]", "tcp", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"),
    ] {
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let backend = Backend::raw(move |_, mut wire: Wire| {
            let tell = tell.clone();
            async move {
                let Some(told) = read(&mut wire).await else { return };
                // The test may be over.
                let _ = tell.send(told);
                wire.whatever_comes().await;
            }
        });
        let check = format!("{version}, health_check: {{ kind: {kind}, interval: 10ms, jitter: 0s, timeout: 3s }}");
        let proxy = telling(&[&backend], &check).start();
        let checked = within("a check", told.recv()).await.unwrap();
        assert_eq!((checked.addresses, &checked.bytes[..]), (None, header));
        proxy.stop().await;
    }
}

#[tokio::test]
async fn a_check_behind_its_header_passes() {
    let backend = told();
    let check = "v2, health_check: { kind: http, interval: 10ms, jitter: 0s, timeout: 3s, fall: 1, rise: 1 }";
    let proxy = telling(&[&backend], check).with("admin: { bind: \"127.0.0.1:0\" }").start();
    within("checks", async {
        while backend.heads().len() < 3 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let up = format!("longwire_backend_up{{upstream=\"chat\",backend=\"{backend}\"}}");
    assert_eq!(sample(&proxy, &up).await, Some(1));
    proxy.stop().await;
}

#[tokio::test]
async fn tlvs_tell_of_the_name_the_request_and_the_tls_of_the_client() {
    let all = "balance: round_robin, proxy_protocol: v2, tlvs: [authority, unique_id, ssl, alpn, crc32c]";
    let backend = || {
        Backend::raw(async |_, mut wire: Wire| {
            let Some(told) = read(&mut wire).await else { return };
            wire.next_head().await;
            let show = |kind| told.tlv(kind).map_or_else(|| "none".into(), |value| value.escape_ascii().to_string());
            let fields: String = [1, 2, 3, 5, 0x20].map(|kind| format!("X-Tlv-{kind}: {}\r\n", show(kind))).concat();
            wire.send(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 0\r\n\r\n")).await;
        })
    };
    let (proxy, connector, _folder) = tls::secured(&backend(), all);
    let answer = tls::get(tls::connect(&proxy, &connector, v1_of("192.0.2.9").as_bytes()).await.unwrap()).await;
    for field in
        ["X-Tlv-1: http/1.1\r\n", "X-Tlv-2: localhost\r\n", "X-Tlv-32: \\x01\\x00\\x00\\x00\\x01!\\x00\\x07TLSv1.3\r\n"]
    {
        assert!(answer.contains(field), "{field} in {answer}");
    }
    assert!(!answer.contains("X-Tlv-3: none") && !answer.contains("X-Tlv-5: none"), "{answer}");
    proxy.stop().await;

    let proxy = Proxy::before(&[&backend()]).upstream(all).start();
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: Chat.Example.com:8443\r\nX-Request-Id: id-1\r\n\r\n").await;
    let head = client.response().await.head;
    for (kind, value) in [("1", "none"), ("2", "Chat.Example.com"), ("5", "id-1"), ("32", "none")] {
        assert_eq!(head.header(&format!("x-tlv-{kind}")), Some(value), "{kind}");
    }
    proxy.stop().await;
}
