//! TLS to backends: sessions, plain requests and checks over it, the names that are asked for and verified, and what is told
//! where it fails.

mod failures;
mod programs;
mod reloads;

use std::io::Write as _;

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::{mpsc, watch},
};
use tokio_rustls::{
    rustls::{
        HandshakeKind::{Full, Resumed},
        ProtocolVersion,
        version::{TLS12, TLS13},
    },
    server::TlsStream,
};

use crate::harness::{
    Backend, Proxy, Setup, Wire,
    frames::{BINARY, TEXT, masked, masked_close, unmasked, unmasked_close},
    handshake,
    secure::{Authority, HERE, Handshakes},
    within,
};

/// A folder with the certificate of an authority, which longwire is to trust.
struct Trusting {
    folder: TempDir,
    authority: Authority,
}

impl Trusting {
    fn new() -> Self {
        let trusting = Self { folder: tempfile::tempdir().unwrap(), authority: Authority::new("the right one") };
        trusting.write("ca.pem", trusting.authority.pem());
        trusting
    }

    fn write(&self, name: &str, text: &str) {
        fs_err::write(self.folder.path().join(name), text).unwrap();
    }

    /// `keys` of the upstream's `tls` beside `ca`. Files in them are of this folder.
    fn upstream(&self, keys: &str) -> String {
        let comma = if keys.is_empty() { "" } else { ", " };
        format!("balance: round_robin, tls: {{ ca: ca.pem{comma}{keys} }}")
    }

    fn before(&self, backends: &[&Backend], keys: &str) -> Setup {
        Proxy::before(backends).base(self.folder.path()).upstream(&self.upstream(keys))
    }

    /// An echo whose certificate is good.
    fn echo(&self) -> (Backend, Handshakes) {
        Backend::secure_echo(self.authority.sign(&[HERE]).server(&[], None))
    }
}

#[tokio::test]
async fn sessions_and_requests_reach_a_backend_over_tls_1_2_and_1_3() {
    let trusting = Trusting::new();
    for (version, spoken) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        let certified = trusting.authority.sign(&[HERE]);
        let (backend, handshakes) = Backend::secure_echo(certified.server(&[version], None));
        let mut proxy = trusting.before(&[&backend], "").start();
        let mut client = proxy.session().await;
        for length in [0, 100, 16_384, 16_385, 70_000, 1 << 20] {
            let payload = vec![0x6b; length];
            client.send(masked(BINARY, &payload)).await;
            client.expect(unmasked(BINARY, &payload)).await;
        }
        client.leave().await;
        let record = proxy.next_record().await;
        assert_eq!((&record["cause"], &record["clean"]), (&"client_close".into(), &true.into()), "{record}");
        let mut client = proxy.client().await;
        assert_eq!(client.get("/", "").await.status(), 200);
        client.send("POST / HTTP/1.1\r\nHost: chat\r\nContent-Length: 4\r\n\r\nbody").await;
        assert_eq!(client.response().await.status(), 200);
        assert!(handshakes.seen().iter().all(|seen| seen.version == spoken && !seen.has_client_certificate));
        assert_eq!(handshakes.seen().len(), 3);
        // The client came by plain TCP, whatever the backend speaks.
        assert!(backend.heads().iter().all(|head| head.header("x-forwarded-proto") == Some("http")));
        proxy.stop().await;
    }
}

#[tokio::test]
async fn a_session_with_tls_on_both_sides_relays_in_both_directions_at_once() {
    let trusting = Trusting::new();
    let (backend, _) = Backend::secure_by_hand(trusting.authority.sign(&[HERE]).server(&[], None));
    let listener = "{ cert: dev.crt, key: dev.key, self_signed: true }";
    let setup = trusting.before(&[&backend], "").tls(listener, trusting.folder.path());
    let mut proxy = setup.start();
    let connector = crate::harness::trusting(&trusting.folder.path().join("dev.crt"), &[], &[]);
    let mut client = crate::harness::tls_connect(&connector, proxy.address(), "localhost").await.unwrap();
    client.send(handshake("/ws", "")).await;
    let mut at_backend = backend.accepted().await;
    client.upgraded().await;
    let (up, down) = (masked(BINARY, vec![1; 3 << 20]), unmasked(BINARY, vec![2; 3 << 20]));
    tokio::join!(client.exchange(&up, &down), at_backend.exchange(&down, &up));
    client.send(masked_close(1000, "")).await;
    at_backend.expect_close(1000, "").await;
    at_backend.send(unmasked_close(1000, "")).await;
    client.expect_close(1000, "").await;
    client.expect_eof().await;
    let record = proxy.next_record().await;
    assert_eq!((&record["tls"], &record["clean"]), (&"TLSv1.3".into(), &true.into()), "{record}");
    proxy.stop().await;
}

#[tokio::test]
async fn answers_that_hyper_reads_and_those_that_longwire_reads_share_connections() {
    let trusting = Trusting::new();
    let certified = trusting.authority.sign(&[HERE]);
    let script = |backend: Backend, stream| async move {
        let mut wire = Wire::from(stream);
        while let Some(head) = backend.next_head(&mut wire).await {
            match head.first_line() {
                "GET /chunked HTTP/1.1" => wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await,
                _ => wire.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").await,
            }
            // In records of its own.
            match head.first_line() {
                "GET /chunked HTTP/1.1" => wire.send("5\r\nhello\r\n0\r\n\r\n").await,
                _ => wire.send("hello").await,
            }
        }
    };
    let (backend, handshakes) = Backend::secure(certified.server(&[], None), script);
    let proxy = trusting.before(&[&backend], "").start();
    let mut client = proxy.client().await;
    for path in ["/", "/chunked", "/", "/chunked", "/chunked", "/"] {
        assert_eq!(client.get(path, "").await.text(), "hello", "{path}");
    }
    assert_eq!(handshakes.kinds(), [Full]);
    proxy.stop().await;
}

#[tokio::test]
async fn what_tls_sends_for_itself_ends_no_idle_connection_and_bytes_do() {
    let trusting = Trusting::new();
    let certified = trusting.authority.sign(&[HERE]);
    for (unasked, expected) in [(None, vec![Full]), (Some("evil"), vec![Full, Resumed, Resumed])] {
        // The test says when its client has the answer, and hears when more has been sent.
        let (idle, is_idle) = watch::channel(0);
        let (sent, mut has_sent) = mpsc::unbounded_channel();
        let script = move |_: Backend, mut stream: TlsStream<TcpStream>| {
            let (mut is_idle, sent) = (is_idle.clone(), sent.clone());
            async move {
                while let Ok(1..) = stream.read(&mut [0; 4096]).await {
                    is_idle.mark_unchanged();
                    stream.write_all(&small_answer("good")).await.unwrap();
                    stream.flush().await.unwrap();
                    is_idle.changed().await.unwrap();
                    match unasked {
                        None => stream.get_mut().1.refresh_traffic_keys().unwrap(),
                        Some(body) => stream.get_mut().1.writer().write_all(&small_answer(body)).unwrap(),
                    }
                    stream.flush().await.unwrap();
                    sent.send(()).unwrap();
                }
            }
        };
        let (backend, handshakes) = Backend::secure(certified.server(&[&TLS13], None), script);
        let proxy = trusting.before(&[&backend], "").start();
        let mut client = proxy.client().await;
        for round in 1..=3 {
            assert_eq!(client.get("/", "").await.text(), "good");
            idle.send(round).unwrap();
            within("more from the backend", has_sent.recv()).await.unwrap();
        }
        assert_eq!(handshakes.kinds(), expected, "{unasked:?}");
        drop(idle);
        proxy.stop().await;
    }
}

#[tokio::test]
async fn bytes_that_tls_has_read_with_an_answer_are_no_answer_to_the_next_request() {
    let trusting = Trusting::new();
    let certified = trusting.authority.sign(&[HERE]);
    let script = |_: Backend, mut stream: TlsStream<TcpStream>| async move {
        while let Ok(1..) = stream.read(&mut [0; 4096]).await {
            // Each in a record of its own, and both in one packet.
            for body in ["good", "evil"] {
                stream.get_mut().1.writer().write_all(&small_answer(body)).unwrap();
            }
            // Perhaps the connection is closed already.
            let _ = stream.flush().await;
        }
    };
    for version in [&TLS12, &TLS13] {
        let (backend, handshakes) = Backend::secure(certified.server(&[version], None), script);
        let proxy = trusting.before(&[&backend], "").start();
        let mut client = proxy.client().await;
        for _ in 0..3 {
            assert_eq!(client.get("/", "").await.text(), "good");
        }
        assert_eq!(handshakes.kinds(), [Full, Resumed, Resumed], "a connection for each");
        proxy.stop().await;
    }
}

fn small_answer(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[tokio::test]
async fn an_answer_that_lasts_to_the_end_of_its_connection_is_whole_only_behind_a_close_notify() {
    let trusting = Trusting::new();
    for version in [&TLS12, &TLS13] {
        for is_whole in [true, false] {
            let config = trusting.authority.sign(&[HERE]).server(&[version], None);
            let (backend, _) = Backend::secure(config, move |backend, stream| async move {
                let mut wire = Wire::from(stream);
                backend.next_head(&mut wire).await;
                wire.send("HTTP/1.1 200 OK\r\n\r\nhalf of a story").await;
                if is_whole { wire.finish().await } else { wire.cut() }
            });
            let mut proxy = trusting.before(&[&backend], "").start();
            let mut client = proxy.client().await;
            client.send("GET / HTTP/1.1\r\nHost: chat\r\n\r\n").await;
            assert_eq!(client.head().await.status(), 200);
            let cause = if is_whole {
                client.expect("F\r\nhalf of a story\r\n0\r\n\r\n").await;
                "ok"
            } else {
                let rest = client.rest().await;
                assert!(!rest.ends_with(b"0\r\n\r\n"), "{}", rest.escape_ascii());
                "backend_lost"
            };
            drop(client);
            let record = proxy.next_record().await;
            assert_eq!(record["cause"], cause, "{version:?} {record}");
            proxy.stop().await;
        }
    }
}

#[tokio::test]
async fn a_close_of_a_backend_needs_no_close_notify_and_a_lost_backend_is_told() {
    let trusting = Trusting::new();
    let (backend, _) = Backend::secure_by_hand(trusting.authority.sign(&[HERE]).server(&[], None));
    let mut proxy = trusting.before(&[&backend], "").start();
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    at_backend.send(unmasked_close(1000, "done")).await;
    client.expect_close(1000, "done").await;
    client.send(masked_close(1000, "done")).await;
    at_backend.expect_close(1000, "done").await;
    at_backend.cut();
    client.expect_eof().await;
    client.finish().await;
    let record = proxy.next_record().await;
    assert_eq!((&record["cause"], &record["clean"]), (&"backend_close".into(), &true.into()), "{record}");

    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    at_backend.send(unmasked(TEXT, "last words")).await;
    at_backend.cut();
    client.expect(unmasked(TEXT, "last words")).await;
    client.expect_close(1011, "backend lost").await;
    client.send(masked_close(1011, "")).await;
    client.finish().await;
    assert_eq!(proxy.next_record().await["cause"], "backend_lost");
    proxy.stop().await;
}

#[tokio::test]
async fn a_backend_that_is_closed_reads_a_close_notify() {
    let trusting = Trusting::new();
    for version in [&TLS12, &TLS13] {
        let (backend, _) = Backend::secure_by_hand(trusting.authority.sign(&[HERE]).server(&[version], None));
        let mut proxy = trusting.before(&[&backend], "").start();
        let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
        client.send(masked_close(1000, "done")).await;
        at_backend.expect_close(1000, "done").await;
        at_backend.send(unmasked_close(1000, "done")).await;
        client.expect_close(1000, "done").await;
        // This fails if no close_notify came first.
        at_backend.expect_eof().await;
        at_backend.finish().await;
        assert_eq!(proxy.next_record().await["clean"], true);
        proxy.stop().await;
    }
}

#[tokio::test]
async fn the_name_is_asked_for_and_verified_as_the_file_says() {
    let trusting = Trusting::new();
    // The host of the address, the name in the certificate, the keys, and the name that the backend is asked for. `Err`: what is
    // wrong.
    for (host, name, keys, expected) in [
        (HERE, HERE, "", Ok(None)),
        ("localhost", "localhost", "", Ok(Some("localhost"))),
        ("localhost", HERE, "", Err("not valid for name")),
        (HERE, "localhost", "", Err("not valid for name")),
        ("localhost", "localhost", "sni: false", Ok(None)),
        ("localhost", HERE, "sni: false", Err("not valid for name")),
        (HERE, "chat.example", "server_name: chat.example", Ok(Some("chat.example"))),
        (HERE, HERE, "server_name: chat.example", Err("not valid for name")),
        ("localhost", HERE, "server_name: 127.0.0.1", Ok(None)),
        (HERE, "other.example", "server_name: chat.example, verify_name: other.example", Ok(Some("chat.example"))),
        (HERE, "chat.example", "server_name: chat.example, verify_name: other.example", Err("not valid for name")),
        ("localhost", "other.example", "verify_name: other.example", Ok(Some("localhost"))),
    ] {
        let (backend, handshakes) = Backend::secure_echo(trusting.authority.sign(&[name]).server(&[], None));
        let address = format!("{host}:{}", backend.address().port());
        let mut proxy = trusting.before(&[&backend], keys).backend_at(0, &address).start();
        // What the client asks for is nothing to the backend's certificate.
        let mut client = proxy.client().await;
        client.send("GET / HTTP/1.1\r\nHost: other.example\r\n\r\n").await;
        let status = client.response().await.status();
        let record = proxy.next_record().await;
        match expected {
            Ok(asked) => {
                assert_eq!(status, 200, "{host} {name} {keys}: {record}");
                assert_eq!(handshakes.seen()[0].name.as_deref(), asked, "{host} {name} {keys}");
            }
            Err(why) => {
                assert_eq!((status, &record["cause"]), (502, &"backend_tls".into()), "{host} {name} {keys}");
                assert!(record["error"].as_str().unwrap().contains(why), "{record}");
            }
        }
        proxy.stop().await;
    }
}

#[tokio::test]
async fn a_backend_that_asks_for_a_certificate_is_shown_ours() {
    let trusting = Trusting::new();
    let clients = Authority::new("of clients");
    clients.sign(&["longwire"]).write(trusting.folder.path(), "own");
    for version in [&TLS12, &TLS13] {
        let config = trusting.authority.sign(&[HERE]).server(&[version], Some(&clients));
        let (backend, handshakes) = Backend::secure_echo(config);
        let proxy = trusting.before(&[&backend], "cert: own.crt, key: own.key").start();
        proxy.session().await.leave().await;
        proxy.session().await.leave().await;
        assert!(handshakes.seen().iter().all(|seen| seen.has_client_certificate), "{:?}", handshakes.seen());
        assert_eq!(handshakes.kinds(), [Full, Resumed]);
        proxy.stop().await;
    }
}

#[tokio::test]
async fn insecure_believes_every_server_and_is_shown_in_the_metrics() {
    let trusting = Trusting::new();
    let (backend, _) = Backend::secure_echo(Authority::new("nobody").sign_expired(&["elsewhere"]).server(&[], None));
    let setup = Proxy::before(&[&backend]).upstream("balance: round_robin, tls: { insecure: true }");
    let mut proxy = setup.clone().with("admin: { bind: \"127.0.0.1:0\" }").start();
    proxy.session().await.leave().await;
    assert!(metrics(&proxy).await.contains("longwire_backend_tls_insecure{upstream=\"chat\"} 1"));
    // A reload that believes nobody any more is shown too.
    proxy.reload(&trusting.before(&[&backend], "").with("admin: { bind: \"127.0.0.1:0\" }"));
    assert!(!metrics(&proxy).await.contains("longwire_backend_tls_insecure{"));
    assert_eq!(proxy.client().await.get("/", "").await.status(), 502);
    proxy.stop().await;
}

#[tokio::test]
async fn checks_of_every_kind_go_over_tls() {
    let trusting = Trusting::new();
    for kind in ["tcp", "http", "websocket"] {
        let (good, seen) = trusting.echo();
        let (posing, _) = Backend::secure_echo(Authority::new("nobody").sign(&[HERE]).server(&[], None));
        let check = format!("health_check: {{ kind: {kind}, interval: 10ms, jitter: 0s, rise: 1, fall: 1 }}");
        let upstream = format!("{}, max_fails: 0, {check}", trusting.upstream(""));
        let setup = trusting.before(&[&posing, &good], "").upstream(&upstream);
        let proxy = setup.with("admin: { bind: \"127.0.0.1:0\" }").start();
        within("the checks", async {
            loop {
                let upstreams: Value = serde_json::from_str(&admin(&proxy, "/api/upstreams").await).unwrap();
                let backends = &upstreams["upstreams"][0]["backends"];
                let failure = backends[0]["last_check"]["failure"].as_str().unwrap_or_default();
                if failure.starts_with("backend_tls: ") && backends[1]["last_check"]["passed"] == true {
                    assert_eq!((&backends[0]["health"], &backends[1]["health"]), (&"failing".into(), &"up".into()));
                    return;
                }
            }
        })
        .await;
        // Our certificate is missing. A TLS 1.3 backend says so when our side of the handshake has ended.
        let picky = trusting.authority.sign(&[HERE]).server(&[&TLS13], Some(&Authority::new("of clients")));
        let (picky, _) = Backend::secure_echo(picky);
        let picky = trusting.before(&[&picky], "").upstream(&upstream).with("admin: { bind: \"127.0.0.1:0\" }").start();
        within("a check that fails late", async {
            loop {
                let upstreams: Value = serde_json::from_str(&admin(&picky, "/api/upstreams").await).unwrap();
                let check = &upstreams["upstreams"][0]["backends"][0]["last_check"];
                assert_ne!(check["passed"], true, "{kind}");
                if check["failure"].as_str().is_some_and(|failure| failure.contains("CertificateRequired")) {
                    return;
                }
            }
        })
        .await;
        drop(picky);
        within("a check that resumes", async {
            while !seen.kinds().contains(&Resumed) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        proxy.stop().await;
    }
}

#[tokio::test]
async fn handshakes_and_our_certificate_are_counted_for_each_upstream() {
    let trusting = Trusting::new();
    let (backend, _) = trusting.echo();
    let clients = Authority::new("of clients");
    clients.sign(&["longwire"]).write(trusting.folder.path(), "own");
    let (posing, _) = Backend::secure_echo(Authority::new("nobody").sign(&[HERE]).server(&[], None));
    let setup = trusting.before(&[&backend], "cert: own.crt, key: own.key").with("admin: { bind: \"127.0.0.1:0\" }");
    let mut proxy = setup.clone().start();
    for _ in 0..3 {
        proxy.session().await.leave().await;
    }
    let text = metrics(&proxy).await;
    let count = |text: &str, outcome: &str| {
        let name = format!("longwire_backend_tls_handshakes_total{{upstream=\"chat\",outcome=\"{outcome}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&name)).map(|count| count.parse::<u32>().unwrap())
    };
    let counts = |text: &str| ["full", "resumed", "failed"].map(|outcome| count(text, outcome).unwrap());
    assert_eq!(counts(&text), [1, 2, 0], "{text}");
    let certificate = trusting.folder.path().join("own.crt");
    let expiry = format!(
        "longwire_backend_certificate_expiry_timestamp_seconds{{upstream=\"chat\",certificate=\"{}\"}} ",
        certificate.display()
    );
    assert!(text.contains(&expiry), "{text}");
    proxy.reload(&setup.clone().backend_at(0, &posing.to_string()));
    assert_eq!(proxy.client().await.get("/", "").await.status(), 502);
    assert_eq!(counts(&metrics(&proxy).await), [1, 2, 1]);
    proxy.stop().await;
}

/// What the admin interface answers to a GET.
async fn admin(proxy: &Proxy, path: &str) -> String {
    let longwire::config::AdminBind::Tcp(address) = proxy.control().admin_address().unwrap() else { panic!() };
    let mut wire = Wire::connect(address).await;
    wire.send(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")).await;
    wire.response().await.text().to_owned()
}

async fn metrics(proxy: &Proxy) -> String {
    admin(proxy, "/metrics").await
}
