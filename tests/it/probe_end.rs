//! The far end of `longwire probe`: a WebSocket that ends in longwire, for who shows a token.

use std::net::SocketAddr;

use longwire::{
    config::{self, AdminBind},
    net::{front::inherited::Inherited, operate::handover::Handover},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::handover::take_over_as;
use crate::harness::{
    Backend, HANDSHAKE_HEADERS, Proxy, Setup, Wire,
    frames::{BINARY, CLOSE, END, PING, PONG, TEXT, masked, masked_close, unmasked, unmasked_close},
    handshake, tls_connect, trusting, within,
};

const PATH: &str = "/.well-known/longwire-probe";
const TOKEN: &str = "Authorization: Bearer a-token-of-some-length\r\n";
const OFFER: &str = "Sec-WebSocket-Protocol: longwire-probe.1\r\n";
/// The most probes of one process, as the documents promise.
const MOST_PROBES: usize = 128;

/// A proxy that is the far end of probes, with the folder of its token.
fn with_probes(backend: &Backend) -> (Setup, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    write_token(&folder, "probe.token", "a-token-of-some-length");
    let setup = Proxy::before(&[backend]).base(folder.path()).with("probe: { token_file: probe.token }");
    (setup, folder)
}

fn write_token(folder: &TempDir, name: &str, token: &str) {
    fs_err::write(folder.path().join(name), format!("{token}\n")).unwrap();
}

/// A probe that is let in.
async fn probe(proxy: &Proxy) -> Wire {
    let mut client = proxy.client().await;
    admitted(&mut client).await;
    client
}

/// Shakes hands on a connection as a probe.
async fn admitted(client: &mut Wire) {
    client.send(handshake(PATH, &format!("{TOKEN}{OFFER}"))).await;
    let head = client.upgraded().await;
    assert_eq!(head.header("sec-websocket-protocol"), Some("longwire-probe.1"));
    assert_eq!(head.header("sec-websocket-extensions"), None);
}

/// Gives an order, which must be obeyed.
async fn order(client: &mut Wire, order: &str) {
    client.send(masked(TEXT, order)).await;
    client.expect(unmasked(TEXT, format!("ok {order}"))).await;
}

async fn ask(proxy: &Proxy, path: &str) -> String {
    let Some(AdminBind::Tcp(address)) = proxy.control().admin_address() else { panic!("no admin interface") };
    let address: SocketAddr = address;
    let mut wire = Wire::connect(address).await;
    wire.send(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n")).await;
    wire.response().await.text().to_owned()
}

#[tokio::test]
async fn without_its_token_a_probe_gets_401_and_nothing_reaches_a_backend() {
    let backend = Backend::echo();
    let (setup, _folder) = with_probes(&backend);
    let mut proxy = setup.start();
    let wrong = [
        "",
        "Authorization: Bearer another-token-of-some-length\r\n",
        "Authorization: Bearer a-token-of-some-lengtH\r\n",
        "Authorization: Bearer\r\n",
        "Authorization: Basic a-token-of-some-length\r\n",
        "Authorization: a-token-of-some-length\r\n",
        &TOKEN.repeat(2),
    ];
    for shown in wrong {
        for request in [
            handshake(PATH, &format!("{shown}{OFFER}")),
            format!("GET {PATH} HTTP/1.1\r\nHost: chat.example.com\r\n{shown}\r\n"),
            format!("POST {PATH}?now HTTP/1.1\r\nHost: other.example\r\nContent-Length: 0\r\n{shown}\r\n"),
        ] {
            let mut client = proxy.client().await;
            client.send(&request).await;
            let response = client.response().await;
            assert_eq!(
                (response.status(), response.text()),
                (401, "probe_token: the token of the probe is missing or wrong\n")
            );
            assert_eq!(response.head.header("www-authenticate"), Some("Bearer"));
            let record = proxy.next_record().await;
            assert_eq!((&record["cause"], &record["kind"]), (&"probe_token".into(), &"request".into()), "{record}");
            assert!(!record.to_string().contains("token-of-some-length"), "{record}");
        }
    }
    assert!(backend.heads().is_empty());
    proxy.stop().await;
}

#[tokio::test]
async fn with_its_token_what_is_no_handshake_is_told_so_and_reaches_no_backend() {
    let backend = Backend::echo();
    let (setup, _folder) = with_probes(&backend);
    let mut proxy = setup.start();
    let response = proxy.client().await.get(PATH, TOKEN).await;
    assert_eq!((response.status(), response.head.header("upgrade")), (426, Some("websocket")));
    assert_eq!(proxy.next_record().await["cause"], "no_upgrade");
    for (cause, status, request) in [
        ("wrong_version", 426, handshake(PATH, TOKEN).replace("Version: 13", "Version: 12")),
        ("bad_handshake", 400, handshake(PATH, TOKEN).replace("Upgrade: websocket\r\n", "")),
    ] {
        let mut client = proxy.client().await;
        client.send(request).await;
        assert_eq!(client.response().await.status(), status);
        assert_eq!(proxy.next_record().await["cause"], cause);
    }
    assert!(backend.heads().is_empty());
    proxy.stop().await;
}

#[tokio::test]
async fn every_order_is_obeyed_and_the_record_and_the_metrics_count_the_probe_apart() {
    let backend = Backend::echo();
    let (setup, _folder) = with_probes(&backend);
    let mut proxy = setup.with("admin: { bind: \"127.0.0.1:0\" }").start();
    let mut client = probe(&proxy).await;
    client.send(masked(BINARY, "echoed")).await;
    client.expect(unmasked(BINARY, "echoed")).await;
    client.send(masked(PING, "one")).await;
    client.expect(unmasked(PONG, "one")).await;
    order(&mut client, "ping 100ms").await;
    for _ in 0..3 {
        client.expect(unmasked(PING, "")).await;
    }
    // A Ping may come before the order does.
    client.send(masked(TEXT, "silent")).await;
    while client.frame().await.first == PING {}
    order(&mut client, "send 100000").await;
    client.expect(unmasked(BINARY, vec![0; 100_000])).await;
    order(&mut client, "mute").await;
    client.send(masked(PING, "two")).await;
    client.send(masked(TEXT, "dance")).await;
    let told = client.frame().await;
    assert!(told.first == TEXT && told.payload.starts_with(b"error "), "{told:?}");
    let metrics = ask(&proxy, "/metrics").await;
    for line in ["longwire_probes_active 1", "longwire_probes_total 1", "longwire_connections 1"] {
        assert!(metrics.lines().any(|shown| shown == line), "{line} in {metrics}");
    }
    order(&mut client, "close 4001 as ordered").await;
    client.expect(unmasked_close(4001, "as ordered")).await;
    client.send(masked_close(4001, "")).await;
    client.expect_eof().await;
    client.finish().await;
    let record = proxy.next_record().await;
    let expected = [
        ("kind", "probe".into()),
        ("cause", "killed".into()),
        ("initiator", "proxy".into()),
        ("how", "ours".into()),
        ("close_code", 4001.into()),
        ("close_reason", "as ordered".into()),
        ("clean", true.into()),
        ("status", 101.into()),
        ("path", PATH.into()),
        ("route", Value::Null),
        ("backend", Value::Null),
    ];
    for (key, value) in expected {
        assert_eq!(record[key], value, "{key} of {record}");
    }
    assert!(record["bytes_to_client"].as_u64().unwrap() > 100_000, "{record}");
    let metrics = ask(&proxy, "/metrics").await;
    for line in ["longwire_probes_active 0", "longwire_probes_total 1"] {
        assert!(metrics.lines().any(|shown| shown == line), "{line} in {metrics}");
    }
    assert!(!metrics.contains("websocket_handshake_failures_total{"), "{metrics}");
    assert!(!ask(&proxy, "/api/endings").await.contains(PATH));
    assert!(backend.heads().is_empty());
    proxy.stop().await;
}

#[tokio::test]
async fn a_client_that_closes_or_vanishes_is_recorded_as_one_that_did() {
    let backend = Backend::echo();
    let (setup, _folder) = with_probes(&backend);
    let mut proxy = setup.start();
    let mut client = probe(&proxy).await;
    client.send(masked_close(3000, "done")).await;
    client.expect(unmasked_close(3000, "done")).await;
    client.expect_eof().await;
    client.finish().await;
    let record = proxy.next_record().await;
    assert_eq!((&record["cause"], &record["close_code"]), (&"client_close".into(), &3000.into()), "{record}");
    probe(&proxy).await.reset();
    let record = proxy.next_record().await;
    assert_eq!((&record["cause"], &record["how"]), (&"client_lost".into(), &"reset".into()), "{record}");
    let mut client = probe(&proxy).await;
    client.finish().await;
    assert_eq!(proxy.next_record().await["how"], "fin");
    proxy.stop().await;
}

#[tokio::test]
async fn a_subprotocol_that_was_not_offered_is_not_chosen() {
    let backend = Backend::echo();
    let (setup, _folder) = with_probes(&backend);
    let proxy = setup.start();
    for offer in ["", "Sec-WebSocket-Protocol: chat, longwire-probe.2\r\n"] {
        let mut client = proxy.client().await;
        client.send(handshake(PATH, &format!("{TOKEN}{offer}"))).await;
        assert_eq!(client.upgraded().await.header("sec-websocket-protocol"), None);
        order(&mut client, "silent").await;
    }
    proxy.stop().await;
}

#[tokio::test]
async fn large_messages_come_back_as_they_come_and_larger_ones_are_refused() {
    let backend = Backend::echo();
    let (setup, _folder) = with_probes(&backend);
    let mut proxy = setup.start();
    let mut client = probe(&proxy).await;
    let large: Vec<u8> = (0..4 << 20).map(|place: u32| place.to_le_bytes()[place as usize % 3]).collect();
    client.exchange(&masked(BINARY, &large), &unmasked(BINARY, &large)).await;
    // The header alone of one byte more than 16 MiB, in two fragments.
    client
        .send([masked(0x02, "x"), [&[END, 0xff][..], &(16_u64 << 20).to_be_bytes(), &[0; 4]].concat()].concat())
        .await;
    client.expect(unmasked(0x02, "x")).await;
    client.expect_close(1009, "message too big").await;
    client.finish().await;
    assert_eq!(proxy.next_record().await["cause"], "message_too_big");
    proxy.stop().await;
}

#[tokio::test]
async fn what_no_client_may_send_is_told_by_a_close() {
    let backend = Backend::echo();
    let (setup, _folder) = with_probes(&backend);
    let mut proxy = setup.start();
    for (bytes, code, cause) in [
        (unmasked(TEXT, "silent"), 1002, "client_breach"),
        (masked(TEXT, b"\xff"), 1007, "client_breach"),
        (masked(TEXT, "").repeat(200), 1008, "rate_limited"),
    ] {
        let mut client = probe(&proxy).await;
        client.send(bytes).await;
        let close = loop {
            let frame = client.frame().await;
            if frame.first != TEXT {
                break frame;
            }
        };
        assert_eq!((close.first, close.close_code()), (CLOSE, Some(code)));
        client.finish().await;
        let record = proxy.next_record().await;
        assert_eq!((&record["cause"], &record["close_code"]), (&cause.into(), &code.into()), "{record}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn the_far_end_sends_nothing_by_itself_and_neither_does_its_kernel() {
    let backend = Backend::echo();
    let (setup, _folder) = with_probes(&backend);
    let pings = "keepalive: { ping_interval: 100ms, pong_timeout: 30s, sides: [client] }\ntcp: { keepalive_idle: 1s }";
    let proxy = setup.with(pings).start();
    let connections =
        [TcpStream::connect(proxy.address()).await.unwrap(), TcpStream::connect(proxy.address()).await.unwrap()];
    let [probing, clock] = connections.each_ref().map(|stream| stream.local_addr().unwrap());
    let [mut silent, mut pinged] = connections.map(Wire::from);
    admitted(&mut silent).await;
    pinged.upgrade("/ws").await;
    for _ in 0..5 {
        let ping = pinged.frame().await;
        assert_eq!(ping.first, PING);
        pinged.send(masked(PONG, ping.payload)).await;
    }
    order(&mut silent, "silent").await;
    assert_eq!(timer_of(proxy.address(), clock).await, KEEPALIVE);
    assert_eq!(timer_of(proxy.address(), probing).await, NO_TIMER);
    drop((silent, pinged));
    proxy.stop().await;
}

const NO_TIMER: &str = "00";
const KEEPALIVE: &str = "02";

/// The timer that the kernel has for our end of a connection, as soon as nothing is under way (proc_net_tcp(5)).
async fn timer_of(here: SocketAddr, client: SocketAddr) -> String {
    let written = |address: SocketAddr| {
        let SocketAddr::V4(address) = address else { panic!("not IPv4") };
        format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port())
    };
    let place = format!("{} {}", written(here), written(client));
    within("a connection with nothing under way", async {
        loop {
            let table = fs_err::read_to_string("/proc/net/tcp").unwrap();
            let row = table.lines().find(|row| row.contains(&place)).expect("the connection");
            let timer = row.split_whitespace().nth(5).unwrap().split(':').next().unwrap().to_owned();
            if timer == NO_TIMER || timer == KEEPALIVE {
                return timer;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

#[tokio::test]
async fn more_probes_than_a_process_answers_get_503_until_one_has_gone() {
    let backend = Backend::echo();
    let (setup, _folder) = with_probes(&backend);
    let mut proxy = setup.with("limits: { sessions: 1 }").start();
    let mut probes = Vec::new();
    for _ in 0..MOST_PROBES {
        probes.push(probe(&proxy).await);
    }
    let mut refused = proxy.client().await;
    refused.send(handshake(PATH, &format!("{TOKEN}{OFFER}"))).await;
    let response = refused.response().await;
    assert_eq!((response.status(), response.text()), (503, "probes: too many probes at once\n"));
    assert_eq!(response.head.header("retry-after"), Some("5"));
    assert_eq!(proxy.next_record().await["cause"], "probes");
    // They take no place of a session, and leave their own before their record is written.
    proxy.session().await.leave().await;
    assert_eq!(proxy.next_record().await["kind"], "session");
    probes.pop().unwrap().reset();
    assert_eq!(proxy.next_record().await["cause"], "client_lost");
    let mut next = probe(&proxy).await;
    order(&mut next, "silent").await;
    drop((next, probes));
    proxy.stop().await;
}

#[tokio::test]
async fn a_drain_tells_a_probe_to_leave_and_waits_for_it() {
    let backend = Backend::echo();
    let (setup, _folder) = with_probes(&backend);
    let mut proxy = setup.timeout("drain", "8s").start();
    let mut client = probe(&proxy).await;
    let (drained, ()) = tokio::join!(proxy.drain(), async {
        client.expect_close(1012, "drain").await;
        client.send(masked_close(1012, "")).await;
        client.expect_eof().await;
        client.finish().await;
    });
    assert_eq!((drained.sessions, drained.cut), (0, 0));
    let records = proxy.stop().await;
    assert_eq!((&records[0]["cause"], &records[0]["clean"]), (&"drain".into(), &true.into()), "{records:?}");
}

#[tokio::test]
async fn a_probe_that_does_not_leave_is_cut_with_the_rest() {
    let backend = Backend::echo();
    let (setup, _folder) = with_probes(&backend);
    let mut proxy = setup.timeout("close", "1h").start();
    let mut client = probe(&proxy).await;
    let drained = proxy.drain().await;
    assert_eq!(drained.cut, 1);
    client.expect_close(1012, "drain").await;
    client.expect_gone().await;
    let records = proxy.stop().await;
    assert_eq!((&records[0]["cause"], &records[0]["clean"]), (&"drain".into(), &false.into()), "{records:?}");
}

#[tokio::test]
async fn while_everything_is_drained_no_probe_begins() {
    let backend = Backend::echo();
    let (setup, _folder) = with_probes(&backend);
    // A page would be told by a Close. A probe reads the status.
    let mut proxy = setup.with("limits: { refuse: close }").start();
    let mut client = probe(&proxy).await;
    proxy.control().drain_all(true).unwrap();
    client.expect_close(1012, "drain").await;
    client.send_and_finish(masked_close(1012, "")).await;
    assert_eq!(proxy.next_record().await["cause"], "drain");
    let mut refused = proxy.client().await;
    refused.send(handshake(PATH, TOKEN)).await;
    assert_eq!(refused.response().await.status(), 503);
    assert_eq!(proxy.next_record().await["cause"], "draining");
    proxy.control().drain_all(false).unwrap();
    order(&mut probe(&proxy).await, "silent").await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_predecessor_drains_its_probes_and_the_successor_answers_new_ones() {
    let backend = Backend::echo();
    let (setup, folder) = with_probes(&backend);
    let path = folder.path().join("longwire.sock");
    let mut old = setup.clone().timeout("drain", "8s").start();
    let mut running = probe(&old).await;
    let handover = Handover::bind(&path, &mut Inherited::default()).unwrap();
    let successor = setup.listener(&format!("bind: \"{}\"", old.address()));
    let new = take_over_as(successor, &old, handover, &path).await;
    order(&mut running, "silent").await;
    let mut fresh = probe(&new).await;
    let (drained, ()) = tokio::join!(old.drain(), async {
        running.expect_close(1012, "drain").await;
        running.send(masked_close(1012, "")).await;
        running.expect_eof().await;
        running.finish().await;
    });
    assert_eq!(drained.cut, 0);
    order(&mut fresh, "silent").await;
    drop(fresh);
    new.stop().await;
    old.stop().await;
}

#[tokio::test]
async fn another_token_counts_for_new_probes_and_those_that_run_go_on() {
    let backend = Backend::echo();
    let (setup, folder) = with_probes(&backend);
    let mut proxy = setup.clone().start();
    let mut old = probe(&proxy).await;
    write_token(&folder, "probe.token", "another-token-of-some-length");
    proxy.reload(&setup);
    let response = proxy.client().await.get(PATH, TOKEN).await;
    assert_eq!(response.status(), 401);
    let mut new = proxy.client().await;
    new.send(handshake(PATH, "Authorization: bearer another-token-of-some-length\r\n")).await;
    new.upgraded().await;
    order(&mut new, "silent").await;
    order(&mut old, "silent").await;
    // A token that cannot be used changes nothing.
    write_token(&folder, "probe.token", "short");
    let refused = proxy.control().reload(setup.config()).unwrap_err().to_string();
    assert!(refused.starts_with("cannot use the token of probes: ") && refused.contains("16 to 1024"), "{refused}");
    let reloaded = proxy.reload(&Proxy::before(&[&backend]));
    assert!(reloaded.settings_changed.iter().any(|key| key.starts_with("probe")), "{reloaded:?}");
    assert_eq!(proxy.client().await.get(PATH, TOKEN).await.status(), 200);
    order(&mut old, "silent").await;
    drop((old, new));
    proxy.stop().await;
}

#[tokio::test]
async fn the_far_end_is_at_its_own_path_of_every_host_before_all_routes_and_nowhere_if_it_is_off() {
    let backend = Backend::echo();
    let (_, folder) = with_probes(&backend);
    let settings = "probe: { path: /probe, token_file: probe.token }";
    let routes = "routes: [ { path: /probe, host: a.example, upstream: chat } ]";
    let proxy = Proxy::before(&[&backend]).base(folder.path()).with(settings).routes(routes).start();
    for (host, path, status) in [
        ("a.example", "/probe", 401),
        ("b.example", "/probe?x=1", 401),
        ("a.example", "/probe/", 200),
        ("a.example", "/probes", 200),
        ("a.example", PATH, 404),
    ] {
        let mut client = proxy.client().await;
        client.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(client.response().await.status(), status, "{host}{path}");
    }
    proxy.stop().await;
    assert_eq!(backend.heads().len(), 2);
    let behind = Backend::echo();
    let off = Proxy::start(&[&behind]);
    off.client().await.upgrade(PATH).await;
    assert!(behind.heads()[0].first_line().starts_with(&format!("GET {PATH} ")));
    off.stop().await;
}

#[tokio::test]
async fn a_probe_over_tls_is_served_alike() {
    let backend = Backend::echo();
    let (setup, folder) = with_probes(&backend);
    let mut proxy = setup.tls("{ cert: dev.crt, key: dev.key, self_signed: true }", folder.path()).start();
    let connector = trusting(&folder.path().join("dev.crt"), &[], &["http/1.1"]);
    let mut client = tls_connect(&connector, proxy.address(), "localhost").await.unwrap();
    admitted(&mut client).await;
    let large = vec![0x6b; 1 << 20];
    client.exchange(&masked(BINARY, &large), &unmasked(BINARY, &large)).await;
    order(&mut client, "send 1000000").await;
    client.expect(unmasked(BINARY, vec![0; 1_000_000])).await;
    order(&mut client, "ping 100ms").await;
    client.expect(unmasked(PING, "")).await;
    client.send(masked(TEXT, "close 1000 done")).await;
    while client.frame().await.first == PING {}
    client.expect_close(1000, "done").await;
    client.send(masked_close(1000, "")).await;
    client.expect_eof().await;
    let record = proxy.next_record().await;
    assert_eq!((&record["kind"], &record["tls"]), (&"probe".into(), &"TLSv1.3".into()), "{record}");
    proxy.stop().await;
}

#[test]
fn check_says_where_the_far_end_is() {
    let (setup, folder) = with_probes(&Backend::refusing());
    let line = format!("\nprobes    {PATH} with the token of {}\n", folder.path().join("probe.token").display());
    let described = config::describe(&setup.config());
    assert!(described.contains(&line), "{line} in\n{described}");
    assert!(!config::describe(&Proxy::before(&[&Backend::refusing()]).config()).contains("\nprobes"));
}

#[tokio::test]
async fn orders_behind_the_request_are_obeyed_too() {
    let backend = Backend::echo();
    let (setup, _folder) = with_probes(&backend);
    let proxy = setup.start();
    let mut client = proxy.client().await;
    let head = format!("GET {PATH} HTTP/1.1\r\nHost: a\r\n{HANDSHAKE_HEADERS}{TOKEN}\r\n");
    client.send([head.as_bytes(), &masked(TEXT, "send 3")].concat()).await;
    client.upgraded().await;
    client.expect([unmasked(TEXT, "ok send 3"), unmasked(BINARY, [0; 3])].concat()).await;
    drop(client);
    proxy.stop().await;
}
