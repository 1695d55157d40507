//! The PROXY protocol from proxies in front: whose header is read, how, and what the client's address is then used for.

mod limits;
mod lives;
mod out;
mod tls;

use std::net::{Ipv4Addr, SocketAddr};

use longwire::config::AdminBind;
use serde_json::Value;
use tokio::net::TcpSocket;

use crate::harness::{
    Backend, HANDSHAKE_HEADERS, Proxy, Response, Setup, Wire,
    frames::{TEXT, masked, unmasked},
    handshake, within,
};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const TCP4: u8 = 0x11;

/// 192.0.2.7 from port 5000, to 198.51.100.1 port 8443.
const V1: &str = "PROXY TCP4 192.0.2.7 198.51.100.1 5000 8443\r\n";
const V4_BLOCK: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0x13, 0x88, 0x20, 0xfb];

/// A header of version 2.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, rest].concat()
}

/// A header of version 2 that names the same addresses as [`V1`]. `tlvs`: what follows them.
fn v2_with(tlvs: &[u8]) -> Vec<u8> {
    v2(PROXY, TCP4, &[&V4_BLOCK, tlvs].concat())
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind], &u16::try_from(value.len()).unwrap().to_be_bytes()[..], value].concat()
}

/// A line of version 1 that names this client.
fn v1_of(client: &str) -> String {
    format!("PROXY TCP4 {client} 198.51.100.1 5000 8443\r\n")
}

/// A proxy whose clients may send a header, for they come from this machine. `more`: further keys of `proxy_protocol`.
fn behind(backends: &[&Backend], more: &str) -> Setup {
    listening(Proxy::before(backends), &format!("from: [127.0.0.1]{more}"))
}

fn listening(setup: Setup, proxy_protocol: &str) -> Setup {
    let listener = format!("bind: \"127.0.0.1:0\", proxy_protocol: {{ {proxy_protocol} }}");
    setup.listener(&listener).with("admin: { bind: \"127.0.0.1:0\" }")
}

/// A client of this machine that connects from this address.
async fn client_from(proxy: &Proxy, address: Ipv4Addr) -> Wire {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((address, 0))).unwrap();
    within("a connection", socket.connect(proxy.address())).await.unwrap().into()
}

/// Sends these bytes and a GET behind them, all in one segment.
async fn get_behind(proxy: &Proxy, header: impl AsRef<[u8]>) -> Response {
    let mut client = proxy.client().await;
    client.send([header.as_ref(), b"GET / HTTP/1.1\r\nHost: chat.example.com\r\n\r\n"].concat()).await;
    client.response().await
}

/// How often connections were closed because of their header, by why.
async fn refusals(proxy: &Proxy, reason: &str) -> usize {
    let name = format!("longwire_proxy_header_refusals_total{{reason=\"{reason}\"}}");
    sample(proxy, &name).await.unwrap_or_default()
}

/// A value of the metrics, by its name and labels.
async fn sample(proxy: &Proxy, name: &str) -> Option<usize> {
    let Some(AdminBind::Tcp(address)) = proxy.control().admin_address() else { panic!("no admin interface") };
    let mut wire = Wire::connect(address).await;
    wire.send(format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n")).await;
    let response = wire.response().await;
    let value = response.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map(|value| value.parse().unwrap())
}

/// Expects that the connection ends without an answer, and is counted for this reason.
async fn expect_refused(proxy: &Proxy, client: &mut Wire, reason: &str, count: usize) {
    client.expect_gone().await;
    assert_eq!(refusals(proxy, reason).await, count, "{reason}");
}

#[tokio::test]
async fn a_header_of_either_version_names_the_client_to_backend_and_record() {
    let backend = Backend::echo();
    let mut proxy = behind(&[&backend], "").start();
    let mut v6 = [0; 36];
    (v6[0], v6[1], v6[15], v6[31], v6[33], v6[34], v6[35]) = (0x20, 1, 7, 1, 80, 0x20, 0xfb);
    for (header, client) in [
        (V1.as_bytes().to_vec(), "192.0.2.7"),
        (b"PROXY TCP6 2001::7 ::1 80 8443\r\n".to_vec(), "2001::7"),
        (v2_with(b""), "192.0.2.7"),
        (v2(PROXY, 0x21, &v6), "2001::7"),
        // A client of both families is the IPv4 client, as everywhere.
        (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 80 8443\r\n".to_vec(), "192.0.2.7"),
    ] {
        let answer = get_behind(&proxy, &header).await;
        assert_eq!(answer.status(), 200, "{header:?}");
        for field in [format!("X-Forwarded-For: {client}\r\n"), format!("X-Real-Ip: {client}\r\n")] {
            assert!(answer.text().contains(&field), "{field} in {}", answer.text());
        }
        assert!(answer.text().contains("X-Forwarded-Port: 8443\r\n"), "{}", answer.text());
        assert_eq!(proxy.next_record().await["client"], client);
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_header_that_comes_byte_by_byte_is_the_same_header() {
    let backend = Backend::echo();
    let mut proxy = behind(&[&backend], "").start();
    for header in [V1.as_bytes().to_vec(), v2_with(&tlv(0x04, &[0; 300]))] {
        let mut client = proxy.client().await;
        for byte in header {
            client.send([byte]).await;
        }
        assert_eq!(client.get("/", "").await.status(), 200);
        assert_eq!(proxy.next_record().await["client"], "192.0.2.7");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn the_longest_header_is_read() {
    let backend = Backend::echo();
    let mut proxy = behind(&[&backend], "").start();
    let longest = v2_with(&tlv(0x04, &[0; 4096 - 16 - 12 - 3]));
    assert_eq!(longest.len(), 4096);
    assert_eq!(get_behind(&proxy, &longest).await.status(), 200);
    assert_eq!(proxy.next_record().await["client"], "192.0.2.7");
    let unknown = format!("PROXY UNKNOWN {}\r\n", "f".repeat(91));
    assert_eq!(get_behind(&proxy, &unknown).await.status(), 200);
    assert_eq!(proxy.next_record().await["client"], "127.0.0.1");
    proxy.stop().await;
}

#[tokio::test]
async fn a_header_that_names_no_client_of_tcp_leaves_the_real_address() {
    let backend = Backend::echo();
    let mut proxy = behind(&[&backend], "").start();
    for header in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(),
        v2(LOCAL, 0, b""),
        v2(LOCAL, TCP4, &V4_BLOCK),
        v2(PROXY, 0, b""),
        v2(PROXY, 0x12, &V4_BLOCK),
        v2(PROXY, 0x31, &[0; 216]),
        v2(PROXY, 0xf1, b"anything"),
    ] {
        assert_eq!(get_behind(&proxy, &header).await.status(), 200, "{header:?}");
        assert_eq!(proxy.next_record().await["client"], "127.0.0.1", "{header:?}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_connection_that_begins_otherwise_is_closed_without_an_answer_and_counted_by_cause() {
    let backend = Backend::echo();
    let proxy = behind(&[&backend], "").start();
    let wrong_sum = v2_with(&tlv(0x03, &[0; 4]));
    let endless = [&b"PROXY UNKNOWN "[..], &[b'f'; 93]].concat();
    let cases: &[(&[u8], &str)] = &[
        (b"GET / HTTP/1.1\r\nHost: chat.example.com\r\n\r\n", "missing"),
        (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", "missing"),
        (b"\n", "missing"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 5000\r\n", "malformed"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 05000 8443\r\n", "malformed"),
        (b"\r\n\r\n\0\r\nQUIT\n\x22\x11\0\x0c", "malformed"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0b01234567890", "malformed"),
        (&endless, "too_long"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x0f\xf1", "too_long"),
        (&wrong_sum, "checksum"),
    ];
    let mut counts = std::collections::BTreeMap::new();
    for (bytes, reason) in cases {
        let mut client = proxy.client().await;
        client.send(bytes).await;
        let count = counts.entry(*reason).and_modify(|count| *count += 1).or_insert(1);
        expect_refused(&proxy, &mut client, reason, *count).await;
    }
    for header in [&V1.as_bytes()[..20], &v2_with(b"")[..20]] {
        let mut client = proxy.client().await;
        client.send_and_finish(header).await;
        client.expect_gone().await;
    }
    assert_eq!(refusals(&proxy, "cut").await, 2);
    assert_eq!(backend.heads(), []);
    assert_eq!(proxy.stop().await, [Value::Null; 0]);
}

/// What the health check of a load balancer does that only asks whether somebody listens.
#[tokio::test]
async fn a_connection_that_ends_without_a_request_is_no_failure() {
    let backend = Backend::echo();
    let proxy = behind(&[&backend], "").start();
    for header in [Vec::new(), v2(LOCAL, 0, b"")] {
        let mut client = proxy.client().await;
        client.send_and_finish(&header).await;
        client.expect_gone().await;
    }
    for reason in ["cut", "malformed", "missing", "untrusted"] {
        assert_eq!(refusals(&proxy, reason).await, 0, "{reason}");
    }
    assert_eq!(proxy.stop().await, [Value::Null; 0]);
}

#[tokio::test]
async fn a_forged_header_from_elsewhere_is_never_believed() {
    let backend = Backend::echo();
    for header in [V1.as_bytes().to_vec(), v2_with(b"")] {
        let proxy = listening(Proxy::before(&[&backend]), "from: [127.0.0.2]").start();
        let mut attacker = proxy.client().await;
        // The proxy may have closed already.
        attacker.try_send(&header).await;
        expect_refused(&proxy, &mut attacker, "untrusted", 1).await;
        assert_eq!(proxy.stop().await, [Value::Null; 0]);

        let proxy = listening(Proxy::before(&[&backend]), "from: [127.0.0.2], required: false").start();
        assert_eq!(get_behind(&proxy, &header).await.status(), 400);
        let records = proxy.stop().await;
        assert_eq!((records.len(), &records[0]["client"]), (1, &"127.0.0.1".into()), "{records:?}");
    }
    assert_eq!(backend.heads(), []);
}

#[tokio::test]
async fn where_no_header_is_required_others_are_served_as_they_are_and_a_proxy_must_still_send_one() {
    let backend = Backend::echo();
    let mut proxy = listening(Proxy::before(&[&backend]), "from: [127.0.0.2], required: false").start();
    assert_eq!(get_behind(&proxy, "").await.status(), 200);
    assert_eq!(proxy.next_record().await["client"], "127.0.0.1");
    let mut balancer = client_from(&proxy, Ipv4Addr::new(127, 0, 0, 2)).await;
    balancer.send(V1).await;
    assert_eq!(balancer.get("/", "").await.status(), 200);
    assert_eq!(proxy.next_record().await["client"], "192.0.2.7");
    let mut balancer = client_from(&proxy, Ipv4Addr::new(127, 0, 0, 2)).await;
    balancer.send("GET / HTTP/1.1\r\nHost: chat.example.com\r\n\r\n").await;
    expect_refused(&proxy, &mut balancer, "missing", 1).await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_second_header_is_an_error_of_http() {
    let backend = Backend::echo();
    let mut proxy = behind(&[&backend], "").start();
    for second in [v1_of("203.0.113.66").into_bytes(), v2_with(b"")] {
        let mut client = proxy.client().await;
        client.send([V1.as_bytes(), &second, b"GET / HTTP/1.1\r\nHost: chat.example.com\r\n\r\n"].concat()).await;
        assert_eq!(client.response().await.status(), 400);
        let record = proxy.next_record().await;
        assert_eq!((&record["cause"], &record["client"]), (&"bad_request".into(), &"192.0.2.7".into()), "{record}");
    }
    assert_eq!(backend.heads(), []);
    proxy.stop().await;
}

#[tokio::test]
async fn trusted_proxies_are_judged_by_the_address_in_the_header() {
    for (trusted, client) in [("192.0.2.7", "203.0.113.5"), ("127.0.0.1", "192.0.2.7")] {
        let backend = Backend::echo();
        let mut proxy = behind(&[&backend], "").with(&format!("trusted_proxies: [{trusted}]")).start();
        let mut balancer = proxy.client().await;
        balancer.send(V1).await;
        let answer = balancer.get("/", "X-Forwarded-For: 203.0.113.5\r\n").await;
        assert!(answer.text().contains(&format!("X-Real-Ip: {client}\r\n")), "{}", answer.text());
        assert_eq!(proxy.next_record().await["client"], client);
        proxy.stop().await;
    }
}

#[tokio::test]
async fn a_session_behind_a_header_begins_in_one_segment_and_ends_in_order() {
    let backend = Backend::echo();
    let mut proxy = behind(&[&backend], "").start();
    let mut client = proxy.client().await;
    let begin = [V1.as_bytes(), handshake("/ws", "").as_bytes(), &masked(TEXT, "early")].concat();
    client.send(begin).await;
    client.upgraded().await;
    client.expect(unmasked(TEXT, "early")).await;
    client.leave().await;
    let record = proxy.next_record().await;
    assert_eq!((&record["kind"], &record["client"]), (&"session".into(), &"192.0.2.7".into()), "{record}");
    proxy.stop().await;
}

#[tokio::test]
async fn limits_count_and_ip_hash_goes_by_the_address_in_the_header() {
    let (one, other) = (Backend::echo(), Backend::echo());
    let limits = "limits: { sessions_per_client: 1 }";
    let mut proxy = behind(&[&one, &other], "").upstream("balance: ip_hash").with(limits).start();
    let mut sessions = Vec::new();
    for last in 0..32 {
        let mut client = proxy.client().await;
        client.send([v1_of(&format!("192.0.2.{last}")), handshake("/ws", "")].concat()).await;
        client.upgraded().await;
        sessions.push(client);
    }
    let [mut at_one, mut at_other] = [one.connections(), other.connections()];
    assert!(at_one + at_other == 32 && at_one > 4 && at_other > 4, "{at_one} and {at_other}");
    // Each comes again, while its session is open: the same client by its address, though all come from 127.0.0.1.
    let mut again = proxy.client().await;
    again.send([v1_of("192.0.2.31"), handshake("/ws", "")].concat()).await;
    assert_eq!(again.response().await.status(), 429);
    proxy.next_record().await;
    // And each is at the backend where it was.
    for (last, session) in sessions.into_iter().enumerate() {
        session.leave().await;
        let backend = proxy.next_record().await["backend"].clone();
        let mut client = proxy.client().await;
        client.send([v1_of(&format!("192.0.2.{last}")), handshake("/ws", "")].concat()).await;
        client.upgraded().await;
        client.leave().await;
        assert_eq!(proxy.next_record().await["backend"], backend);
    }
    (at_one, at_other) = (one.connections(), other.connections());
    assert_eq!(at_one + at_other, 64);
    proxy.stop().await;
}

#[tokio::test]
async fn what_the_header_tells_beside_the_address_stands_in_the_record_of_a_request_and_of_a_session() {
    let backend = Backend::echo();
    let mut proxy = behind(&[&backend], "").start();
    let ssl = [&[1 | 2, 0, 0, 0, 0][..], &tlv(0x21, b"TLSv1.2"), &tlv(0x22, b"alice \"a\"")].concat();
    let header = v2_with(
        &[
            tlv(0x02, b"sni.example.com"),
            tlv(0x05, b"\0\xff"),
            tlv(0x20, &ssl),
            tlv(0xea, b"\x01vpce-08d2bf15fac5001c9"),
        ]
        .concat(),
    );
    let told = [
        ("proxy_authority", "sni.example.com".into()),
        ("proxy_unique_id", "00ff".into()),
        ("proxy_tls", "TLSv1.2".into()),
        ("proxy_client_cn", "alice \"a\"".into()),
        ("proxy_client_verified", Value::Bool(true)),
        ("vpc_endpoint", "vpce-08d2bf15fac5001c9".into()),
    ];
    let mut client = proxy.client().await;
    client.send(&header).await;
    assert_eq!(client.get("/", "").await.status(), 200);
    let request = proxy.next_record().await;
    client.upgrade("/ws").await;
    client.leave().await;
    let session = proxy.next_record().await;
    assert_eq!((&request["kind"], &session["kind"]), (&"request".into(), &"session".into()));
    for (field, value) in &told {
        assert_eq!((&request[*field], &session[*field]), (value, value), "{field}");
    }
    assert_eq!(get_behind(&proxy, V1).await.status(), 200);
    let record = proxy.next_record().await;
    assert!(told.iter().all(|(field, _)| record.get(field).is_none()), "{record}");
    proxy.stop().await;
}

#[tokio::test]
async fn a_handshake_in_pieces_behind_a_header_in_pieces_opens_a_session() {
    let backend = Backend::echo();
    let proxy = behind(&[&backend], "").start();
    let mut client = proxy.client().await;
    let request = format!("{V1}GET /ws HTTP/1.1\r\nHost: chat.example.com\r\n{HANDSHAKE_HEADERS}\r\n");
    for piece in request.as_bytes().chunks(7) {
        client.send(piece).await;
    }
    client.upgraded().await;
    client.leave().await;
    proxy.stop().await;
}
