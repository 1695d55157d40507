//! Backends at Unix sockets: all that works over TCP works there, and a full backlog is waited for.

use std::{net::SocketAddr, path::PathBuf};

use longwire::balance::Duty;
use socket2::{Domain, SockAddr, Socket, Type};
use tempfile::TempDir;
use tokio::{
    io::copy_bidirectional,
    net::{TcpStream, UnixListener},
};
use tokio_rustls::rustls::HandshakeKind;

use crate::harness::{
    Backend, Proxy,
    frames::{BINARY, TEXT, masked, masked_close, unmasked, unmasked_close},
    handshake,
    secure::Authority,
};

/// A path in a folder that lives as long as the test.
struct Place {
    _folder: TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.sock");
        Self { _folder: folder, path }
    }

    /// `unix:/path`
    fn name(&self) -> String {
        format!("unix:{}", self.path.display())
    }
}

#[tokio::test]
async fn sessions_and_requests_go_to_a_path_and_to_an_abstract_name() {
    let place = Place::new();
    for name in [place.name(), format!("unix:@longwire/test/{}", std::process::id())] {
        let backend = Backend::echo_at_unix(&name);
        let mut proxy = Proxy::start(&[&backend]);
        let mut client = proxy.session().await;
        client.send(masked(TEXT, "hello")).await;
        client.expect(unmasked(TEXT, "hello")).await;
        client.leave().await;
        let record = proxy.next_record().await;
        assert_eq!((&record["cause"], &record["clean"]), (&"client_close".into(), &true.into()), "{record}");
        assert_eq!((&record["backend"], &record["tries"]), (&name.clone().into(), &1.into()), "{record}");
        assert!(record["connect_ms"].is_number(), "{record}");

        let mut client = proxy.client().await;
        let answer = client.get("/", "").await;
        assert_eq!((answer.status(), answer.head.header("x-backend")), (200, Some(&*name)));
        // `Host` is the client's, whatever the backend is called.
        assert!(answer.text().contains("Host: chat.example.com\r\n"), "{}", answer.text());
        client.send("POST / HTTP/1.1\r\nHost: chat\r\nContent-Length: 4\r\n\r\nbody").await;
        assert_eq!(client.response().await.status(), 200);
        proxy.stop().await;
    }
}

#[tokio::test]
async fn an_idle_connection_is_used_again_and_one_that_the_backend_closed_is_not() {
    let place = Place::new();
    let backend = Backend::by_hand_at_unix(&place.name());
    let proxy = Proxy::start(&[&backend]);
    let mut client = proxy.client().await;
    let get = "GET / HTTP/1.1\r\nHost: chat\r\n\r\n";
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    client.send(get).await;
    let (mut first, _) = backend.asked().await;
    first.send(answer).await;
    assert_eq!(client.response().await.text(), "ok");
    client.send(get).await;
    first.head().await;
    first.send(answer).await;
    assert_eq!(client.response().await.text(), "ok");
    drop(first);
    client.send(get).await;
    let (mut second, _) = backend.asked().await;
    second.send(answer).await;
    assert_eq!(client.response().await.text(), "ok");
    drop(second);
    proxy.stop().await;
}

#[tokio::test]
async fn an_answer_that_is_no_101_is_passed_on() {
    let place = Place::new();
    let backend = Backend::by_hand_at_unix(&place.name());
    let proxy = Proxy::start(&[&backend]);
    let mut client = proxy.client().await;
    client.send(handshake("/ws", "")).await;
    let (mut at_backend, head) = backend.asked().await;
    assert_eq!(head.header("host"), Some("chat.example.com"));
    at_backend.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").await;
    let answer = client.response().await;
    assert_eq!((answer.status(), answer.text()), (403, "no"));
    client.finish().await;
    proxy.stop().await;
}

#[tokio::test]
async fn large_payloads_pass_byte_for_byte_in_both_directions() {
    let place = Place::new();
    let backend = Backend::by_hand_at_unix(&place.name());
    let proxy = Proxy::start(&[&backend]);
    let (client, at_backend) = proxy.session_by_hand(&backend).await;
    let payload = |length: usize| (0..length).map(|place| (place % 251) as u8).collect::<Vec<_>>();
    let sizes = [65_536, 65_537, 49_152, 3 << 20, 100, 200_000, 65_535, 1 << 20, 7];
    let frames = |build: fn(u8, Vec<u8>) -> Vec<u8>| {
        sizes.iter().flat_map(|&size| build(BINARY, payload(size))).collect::<Vec<u8>>()
    };
    let (to_backend, to_client) = (frames(masked), frames(unmasked));
    let (mut client_reads, mut client_writes) = client.split();
    let (mut backend_reads, mut backend_writes) = at_backend.split();
    tokio::join!(
        client_writes.send(&to_backend),
        backend_writes.send(&to_client),
        backend_reads.expect(&to_backend),
        client_reads.expect(&to_client),
    );
    proxy.stop().await;
}

#[tokio::test]
async fn both_sides_close_in_order_whoever_begins() {
    let place = Place::new();
    let backend = Backend::by_hand_at_unix(&place.name());
    let mut proxy = Proxy::start(&[&backend]);
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    at_backend.send(unmasked_close(4001, "bye")).await;
    client.expect_close(4001, "bye").await;
    client.send(masked_close(4001, "")).await;
    at_backend.expect_close_code(4001).await;
    at_backend.expect_eof().await;
    client.expect_eof().await;
    let record = proxy.next_record().await;
    assert_eq!((&record["cause"], &record["clean"]), (&"backend_close".into(), &true.into()), "{record}");

    // A FIN of one direction ends that direction only.
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    at_backend.send_and_finish([unmasked(TEXT, "last"), unmasked_close(1000, "")].concat()).await;
    client.expect([unmasked(TEXT, "last"), unmasked_close(1000, "")].concat()).await;
    client.send(masked_close(1000, "")).await;
    at_backend.expect_close_code(1000).await;
    assert_eq!(proxy.next_record().await["clean"], true);

    // The backend is gone without a Close.
    let (mut client, at_backend) = proxy.session_by_hand(&backend).await;
    drop(at_backend);
    client.expect_close_code(1011).await;
    client.finish().await;
    let record = proxy.next_record().await;
    assert_eq!((&record["cause"], &record["initiator"]), (&"backend_lost".into(), &"backend".into()), "{record}");
    proxy.stop().await;
}

#[tokio::test]
async fn a_close_before_a_reset_is_a_clean_end() {
    let place = Place::new();
    let backend = Backend::by_hand_at_unix(&place.name());
    let mut proxy = Proxy::start(&[&backend]);
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    client.send(masked(TEXT, "nobody reads this")).await;
    at_backend.until_bytes_wait().await;
    at_backend.send([unmasked(TEXT, "last"), unmasked_close(4000, "bye")].concat()).await;
    // A close over unread bytes: from now on the kernel answers by ECONNRESET.
    drop(at_backend);
    client.expect(unmasked(TEXT, "last")).await;
    client.expect_close(4000, "bye").await;
    client.send(masked_close(4000, "")).await;
    client.expect_eof().await;
    let record = proxy.next_record().await;
    assert_eq!((&record["cause"], &record["clean"]), (&"backend_close".into(), &true.into()), "{record}");
    assert_eq!(record["close_code"], 4000, "{record}");
    proxy.stop().await;
}

#[tokio::test]
async fn the_proxy_header_goes_first_and_the_own_host_is_localhost() {
    let place = Place::new();
    let backend = Backend::by_hand_at_unix(&place.name());
    let proxy = Proxy::before(&[&backend])
        .upstream("balance: round_robin, proxy_protocol: v1")
        .routes("routes: [ { upstream: chat, host_header: upstream } ]")
        .start();
    let mut client = proxy.client().await;
    client.send(handshake("/ws", "")).await;
    let (mut at_backend, head) = backend.asked().await;
    let (told, request) = head.as_str().split_once("\r\n").unwrap();
    assert!(told.starts_with("PROXY TCP4 127.0.0.1 127.0.0.1 "), "{told}");
    assert!(told.ends_with(&format!(" {}", proxy.address().port())), "{told}");
    assert!(request.starts_with("GET /ws ") && request.contains("\r\nHost: localhost\r\n"), "{request}");
    at_backend.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(client.response().await.status(), 403);
    proxy.stop().await;
}

#[tokio::test]
async fn who_is_not_there_makes_room_for_the_next_backend() {
    let place = Place::new();
    let refusing = Backend::refusing_at_unix(&place.name());
    let missing = format!("unix:{}.missing", place.path.display());
    for (address, cause) in [(place.name(), "refused"), (missing, "unreachable")] {
        let mut alone = Proxy::before(&[&refusing]).backend_at(0, &address).start();
        let mut client = alone.client().await;
        let answer = client.refused_upgrade("/ws").await;
        assert_eq!(answer.status(), 502);
        let record = alone.next_record().await;
        assert_eq!((&record["cause"], &record["backend"]), (&cause.into(), &address.clone().into()), "{record}");
        assert!(record["error"].is_string(), "{record}");
        alone.stop().await;

        let live = Backend::echo();
        let mut both = Proxy::before(&[&refusing, &live]).backend_at(0, &address).start();
        both.session().await.leave().await;
        let record = both.next_record().await;
        assert_eq!((&record["backend"], &record["tries"]), (&live.to_string().into(), &2.into()), "{record}");
        both.stop().await;
    }
}

#[tokio::test]
async fn a_backlog_that_stays_full_is_a_504_or_makes_room_for_the_next_backend() {
    let place = Place::new();
    let full = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    full.bind(&SockAddr::unix(&place.path).unwrap()).unwrap();
    // A backlog of 0 holds one connection.
    full.listen(0).unwrap();
    let _waits = std::os::unix::net::UnixStream::connect(&place.path).unwrap();
    let spare = Backend::echo();
    let mut proxy = Proxy::before(&[&spare]).backend_at(0, &place.name()).timeout("connect", "200ms").start();
    for (is_handshake, path) in [(true, "/ws"), (false, "/")] {
        let mut client = proxy.client().await;
        let answer = match is_handshake {
            true => client.refused_upgrade(path).await,
            false => client.get(path, "").await,
        };
        assert_eq!(answer.status(), 504);
        let record = proxy.next_record().await;
        assert_eq!((&record["cause"], &record["status"]), (&"connect_timeout".into(), &504.into()), "{record}");
    }
    proxy.stop().await;

    let live = Backend::echo();
    let mut both = Proxy::before(&[&live, &live]).backend_at(0, &place.name()).timeout("connect", "3s").start();
    both.session().await.leave().await;
    let record = both.next_record().await;
    assert_eq!((&record["backend"], &record["tries"]), (&live.to_string().into(), &2.into()), "{record}");
    both.stop().await;
}

#[tokio::test]
async fn checks_ask_at_the_socket_and_say_localhost() {
    let place = Place::new();
    let backend = Backend::by_hand_at_unix(&place.name());
    let check = "balance: round_robin, health_check: { kind: http, path: /healthz, interval: 1h }";
    let proxy = Proxy::before(&[&backend]).upstream(check).start();
    let (mut asked, head) = backend.asked().await;
    assert_eq!(head.first_line(), "GET /healthz HTTP/1.1");
    assert_eq!(head.header("host"), Some("localhost"));
    asked.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    asked.rest().await;
    drop(asked);
    proxy.stop().await;

    let named = check.replace("path:", "host: app.internal, path:");
    let place = Place::new();
    let backend = Backend::by_hand_at_unix(&place.name());
    let proxy = Proxy::before(&[&backend]).upstream(&named).start();
    assert_eq!(backend.asked().await.1.header("host"), Some("app.internal"));
    proxy.stop().await;
}

#[tokio::test]
async fn a_backend_is_drained_and_comes_and_goes_by_its_name() {
    let place = Place::new();
    let (backend, other) = (Backend::by_hand_at_unix(&place.name()), Backend::echo());
    let both = Proxy::before(&[&backend, &other]);
    let mut proxy = both.clone().backend(1, "down: true").start();
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    let told = proxy.control().set_duty("chat", &place.name(), Duty::Drain).unwrap();
    assert_eq!(told.sessions, 1);
    client.expect_close_code(1012).await;
    at_backend.expect_close_code(1012).await;
    client.send(masked_close(1012, "")).await;
    at_backend.send(unmasked_close(1012, "")).await;
    client.expect_eof().await;
    proxy.control().set_duty("chat", &place.name(), Duty::Up).unwrap();

    let (mut kept, mut at_kept) = proxy.session_by_hand(&backend).await;
    let removed = proxy.reload(&Proxy::before(&[&other]));
    assert_eq!(removed.backends_removed, [format!("chat/{backend}")]);
    // The session stays with the backend that is gone from the file.
    kept.send(masked(TEXT, "still here")).await;
    at_kept.expect(masked(TEXT, "still here")).await;
    assert_eq!(proxy.reload(&both).backends_added, [format!("chat/{backend}")]);
    drop((kept, at_kept));
    assert_eq!(proxy.stop().await.len(), 2);
}

/// Passes what comes to this path on to a server at a TCP address.
fn pass_on(place: &Place, address: SocketAddr) {
    let listener = UnixListener::bind(&place.path).unwrap();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut far = TcpStream::connect(address).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut near, &mut far).await });
        }
    });
}

#[tokio::test]
async fn tls_goes_over_a_unix_socket_for_the_name_in_the_file_and_is_resumed_at_each_backend() {
    let places = [Place::new(), Place::new()];
    let authority = Authority::new("the right one");
    fs_err::write(places[0].path.with_file_name("ca.pem"), authority.pem()).unwrap();
    let servers: Vec<_> =
        (0..2).map(|_| Backend::secure_echo(authority.sign(&["chat.internal"]).server(&[], None))).collect();
    for (place, (server, _)) in places.iter().zip(&servers) {
        pass_on(place, server.address());
    }
    let [one, other] = places.each_ref().map(|place| Backend::foreign_at_unix(&place.name()));
    let mut proxy = Proxy::before(&[&one, &other])
        .base(places[0].path.parent().unwrap())
        .upstream("balance: round_robin, tls: { ca: ca.pem, server_name: chat.internal }")
        .start();
    for (length, place) in [100, 1 << 20, 100, 100].into_iter().zip(places.iter().cycle()) {
        let payload = vec![0x6b; length];
        let mut client = proxy.session().await;
        client.send(masked(BINARY, &payload)).await;
        client.expect(unmasked(BINARY, &payload)).await;
        client.leave().await;
        let record = proxy.next_record().await;
        assert_eq!((&record["cause"], &record["backend"]), (&"client_close".into(), &place.name().into()), "{record}");
    }
    for (_, handshakes) in &servers {
        assert!(handshakes.seen().iter().all(|seen| seen.name.as_deref() == Some("chat.internal")));
        assert_eq!(handshakes.kinds(), [HandshakeKind::Full, HandshakeKind::Resumed]);
    }
    proxy.stop().await;
}
