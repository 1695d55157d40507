//! Tests of the whole tool against servers in this process: one that does everything right, and wrong ones that the tool must
//! notice.

#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{
    config::{CertificateFiles, Tls},
    net::front::{tickets::Tickets, tls},
    tools::{
        echo::{self, BackendIdentity},
        opening::OpenerError,
    },
    ws::handshake::accept_for,
};

const SATURATE: Load = Load::Saturate { depth: 1 };

#[tokio::test]
async fn a_saturated_echo_is_sound_and_measured() {
    let server = Server::echo().await;
    let report = run(server.load(SATURATE)).await.unwrap();
    assert!(report.is_sound(), "{report}");
    assert!(report.tally.done > 0 && report.tally.done == report.tally.sent && report.tally.opened == 4, "{report}");
    assert_eq!(report.tally.latency.len(), report.tally.done);
    let json = report.json();
    assert_eq!((&json["ok"], &json["latency_from"]), (&true.into(), &"sending".into()));
    assert!(json["own_cpu_us_each"].is_number() && json["latency_us"]["p999"].is_number(), "{json}");
}

#[tokio::test]
async fn a_rate_sends_as_many_messages_as_it_says() {
    let server = Server::echo().await;
    let report = run(BenchOptions { threads: 2, ..server.load(Load::Rate(50.0)) }).await.unwrap();
    assert!(report.is_sound(), "{report}");
    assert_eq!((report.tally.done, report.tally.sent), (40, 40), "4 connections, 50/s each, 200 ms");
}

#[tokio::test]
async fn messages_of_every_size_come_back_in_flight_together() {
    let server = Server::echo().await;
    for (size, binary) in [(0, false), (1, true), (126, false), (5000, true), (300_000, true)] {
        let load = BenchOptions { size, binary, connections: 2, ..server.load(Load::Saturate { depth: 5 }) };
        let report = run(load).await.unwrap();
        assert!(report.is_sound() && report.tally.done >= 10, "{report}");
    }
}

#[tokio::test]
async fn handshakes_are_counted_and_end_cleanly() {
    let server = Server::echo().await;
    let report = run(server.load(Load::Handshakes)).await.unwrap();
    assert!(report.is_sound() && report.tally.done > 0, "{report}");
}

#[tokio::test]
async fn tls_is_believed_only_if_told_to() {
    let server = Server::tls().await;
    let secure = BenchOptions { target: server.url("wss://localhost"), ..server.load(SATURATE) };
    let report = run(BenchOptions { insecure: true, ..secure.clone() }).await.unwrap();
    assert!(report.is_sound() && report.tally.done > 0, "{report}");
    match run(secure).await {
        Ok(report) => assert!(report.tally.failures.keys().all(|why| why.starts_with("TLS: ")), "{report}"),
        Err(error) => assert!(matches!(error, BenchError::Opener(OpenerError::NoRoots)), "{error}"),
    }
}

#[tokio::test]
async fn one_wrong_byte_is_noticed() {
    let server = Server::wrong(Wrong::Byte).await;
    let report = run(server.load(SATURATE)).await.unwrap();
    assert_eq!((report.is_sound(), report.tally.differing), (false, 4), "{report}");
    assert!(report.to_string().contains("4 messages came back different"), "{report}");
}

#[tokio::test]
async fn a_message_of_another_connection_is_noticed() {
    let server = Server::wrong(Wrong::Swapped).await;
    let report = run(BenchOptions { connections: 2, ..server.load(SATURATE) }).await.unwrap();
    assert_eq!((report.is_sound(), report.tally.differing), (false, 1), "{report}");
}

#[tokio::test]
async fn an_unexpected_close_is_counted_by_its_code() {
    for (wrong, code) in
        [(Wrong::Close, 1011), (Wrong::CloseWithoutCode, 1005), (Wrong::Drop, 1006), (Wrong::Fin, 1006)]
    {
        let server = Server::wrong(wrong).await;
        let report = run(server.load(SATURATE)).await.unwrap();
        assert_eq!(report.tally.closes, BTreeMap::from([(code, 4)]), "{report}");
        assert!(!report.is_sound() && report.tally.lost() == 4, "{report}");
        assert_eq!(report.json()["closes"][code.to_string()], 4);
    }
}

#[tokio::test]
async fn a_breach_is_counted_by_its_kind() {
    let server = Server::wrong(Wrong::Masked).await;
    let report = run(server.load(SATURATE)).await.unwrap();
    assert_eq!(report.tally.breaches, BTreeMap::from([("masked frame from a backend", 4)]), "{report}");
}

#[tokio::test]
async fn idle_connections_answer_pings_and_close_cleanly() {
    let server = Server::wrong(Wrong::PingFirst).await;
    let report = run(server.load(Load::Idle)).await.unwrap();
    assert!(report.is_sound(), "{report}");
    assert_eq!((report.tally.pings, report.tally.done), (4, 0));
    // The server closes with 1000 only after the right Pong. Any other end would be counted.
}

#[tokio::test]
async fn connections_that_cannot_be_opened_are_counted_by_cause() {
    let server = Server::wrong(Wrong::Refuse).await;
    let report = run(server.load(SATURATE)).await.unwrap();
    assert_eq!(report.tally.failures, BTreeMap::from([("handshake: answered with 503".to_owned(), 4)]));
    assert!(!report.is_sound() && report.to_string().contains("no connection"), "{report}");
}

#[tokio::test]
async fn the_handshake_carries_what_was_asked_for() {
    let server = Server::wrong(Wrong::Nothing).await;
    let report = run(BenchOptions {
        subprotocols: vec!["chat".into(), "log".into()],
        headers: vec![(hyper::header::COOKIE, HeaderValue::from_static("sid=1"))],
        connections: 1,
        ..server.load(SATURATE)
    });
    assert!(report.await.unwrap().is_sound());
    let head = server.heads.lock().unwrap().remove(0);
    assert!(head.starts_with("GET /ws HTTP/1.1\r\n"), "{head}");
    for field in ["sec-websocket-protocol: chat, log", "cookie: sid=1", "sec-websocket-version: 13"] {
        assert!(head.lines().any(|line| line == field), "no {field} in {head}");
    }
}

#[tokio::test]
async fn more_connections_than_can_be_are_refused_with_the_reason() {
    let server = Server::echo().await;
    let refused = run(BenchOptions { connections: 10_000_000, ..server.load(Load::Idle) }).await.unwrap_err();
    assert!(matches!(refused, BenchError::OpenFiles { .. } | BenchError::Ports { .. }), "{refused}");
}

#[test]
fn threads_share_all_connections() {
    for (all, threads) in [(10, 3), (1, 4), (9000, 2), (7, 7)] {
        let shares: Vec<_> = (0..threads).map(|thread| share_of_thread(all, thread, threads)).collect();
        assert_eq!(shares.iter().sum::<usize>(), all, "{shares:?}");
        assert!(shares[0] - shares[threads - 1] <= 1, "{shares:?}");
    }
}

/// What a server does wrong, once on each connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Nothing,
    /// Changes the last byte of its first answer.
    Byte,
    /// Answers the second connection with the first message of the first.
    Swapped,
    /// Answers the first message with a Close 1011.
    Close,
    CloseWithoutCode,
    /// Resets the connection.
    Drop,
    /// Ends the stream without a Close.
    Fin,
    /// Masks its answer.
    Masked,
    /// Pings at once and closes with 1002 if the right Pong does not come first.
    PingFirst,
    /// Answers the handshake with 503.
    Refuse,
}

/// A server that ends with the test.
struct Server {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn echo() -> Self {
        let (listener, address) = bind().await;
        let mut tasks = JoinSet::new();
        tasks.spawn(echo::serve(listener, BackendIdentity { name: "echo", stage: None }));
        Self { address, heads: Arc::default(), _tasks: tasks }
    }

    /// An echo behind a self-signed certificate.
    async fn tls() -> Self {
        let folder = TempDir::new().unwrap();
        let files = CertificateFiles { cert: folder.path().join("c.pem"), key: folder.path().join("k.pem") };
        let tickets = Arc::new(Tickets::new(Instant::now()).unwrap());
        let tls = Tls { certificates: vec![files], self_signed: true, client_auth: None };
        let config = tls::load(&tls, &tickets).unwrap().at("the test");
        let Self { address: to, _tasks: mut tasks, .. } = Self::echo().await;
        let (listener, address) = bind().await;
        tasks.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let acceptor = TlsAcceptor::from(Arc::clone(&config));
                tokio::spawn(async move {
                    let Ok(mut client) = acceptor.accept(stream).await else { return };
                    let _ = copy_bidirectional(&mut client, &mut TcpStream::connect(to).await.unwrap()).await;
                });
            }
        });
        Self { address, heads: Arc::default(), _tasks: tasks }
    }

    async fn wrong(wrong: Wrong) -> Self {
        let (listener, address) = bind().await;
        let (heads, first) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<Mutex<Option<Vec<u8>>>>::default());
        let mut tasks = JoinSet::new();
        let seen = Arc::clone(&heads);
        tasks.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, wrong, Arc::clone(&seen), Arc::clone(&first)));
            }
        });
        Self { address, heads, _tasks: tasks }
    }

    fn url(&self, start: &str) -> Target {
        format!("{start}:{}/ws", self.address.port()).parse().unwrap()
    }

    /// A load of 4 connections for 200 ms.
    fn load(&self, load: Load) -> BenchOptions {
        BenchOptions {
            target: self.url("ws://127.0.0.1"),
            connections: 4,
            duration: Duration::from_millis(200),
            load,
            size: 64,
            binary: false,
            subprotocols: Vec::new(),
            headers: Vec::new(),
            insecure: false,
            resumption: true,
            threads: 1,
        }
    }
}

async fn bind() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Serves one connection, which may break off at any time.
async fn serve(
    mut stream: TcpStream,
    wrong: Wrong,
    heads: Arc<Mutex<Vec<String>>>,
    first: Arc<Mutex<Option<Vec<u8>>>>,
) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_buf(&mut head).await.ok()?;
    }
    let head = String::from_utf8(head).unwrap();
    if wrong == Wrong::Refuse {
        stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").await.ok()?;
        return None;
    }
    let key = head.lines().find_map(|line| line.strip_prefix("sec-websocket-key: ")).unwrap();
    let switch = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n";
    let mut answer = [switch.as_bytes(), b"sec-websocket-accept: ", &accept_for(key), b"\r\n\r\n"].concat();
    heads.lock().unwrap().push(head);
    if wrong == Wrong::PingFirst {
        answer.extend(b"\x89\x02hi");
    }
    stream.write_all(&answer).await.ok()?;
    let mut misbehaves = true;
    loop {
        let frame = read_frame(&mut stream).await?;
        let mut answer = frame.clone();
        match (std::mem::take(&mut misbehaves), wrong) {
            (true, Wrong::Byte) => *answer.last_mut()? ^= 1,
            (true, Wrong::Swapped) => answer = first.lock().unwrap().get_or_insert(answer).clone(),
            (true, Wrong::Close) => answer = b"\x88\x02\x03\xf3".to_vec(),
            (true, Wrong::CloseWithoutCode) => answer = b"\x88\x00".to_vec(),
            (true, Wrong::Drop) => {
                socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
                return None;
            }
            (true, Wrong::Fin) => return None,
            (true, Wrong::Masked) => answer[1] |= 0x80,
            (true, Wrong::PingFirst) if frame == b"\x8a\x02hi" => continue,
            (true, Wrong::PingFirst) => answer = b"\x88\x02\x03\xea".to_vec(),
            _ => {}
        }
        stream.write_all(&answer).await.ok()?;
        if answer[0] == 0x88 {
            return None;
        }
    }
}

/// Reads a frame of at most 125 bytes, and removes its mask.
async fn read_frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut header = [0; 6];
    stream.read_exact(&mut header).await.ok()?;
    let mut frame = vec![header[0], header[1] & 0x7F];
    let mut payload = vec![0; usize::from(frame[1])];
    stream.read_exact(&mut payload).await.ok()?;
    frame.extend(payload.iter().zip(header[2..].iter().cycle()).map(|(byte, key)| byte ^ key));
    Some(frame)
}
