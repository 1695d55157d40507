//! Attacks that no other file plays: floods, resets at every point, garbage, a machine that runs out of something.
//!
//! `tests/attacks/run` plays all attacks against the binary and measures its memory. Its table names the test of each.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::Instant,
};

use fs_err::File;
use tokio::task::JoinSet;

use crate::harness::{
    Backend, PATIENCE, Proxy, Wire, accepting,
    frames::{BINARY, CLOSE, END, MIDDLE, PING, PONG, TEXT, TEXT_BEGIN, masked, unmasked},
    handshake, within,
};

/// Frames of a flood: far more than all buffers on the way hold.
const FLOOD: usize = 20_000;

/// Sends `sent` and expects `expected` at the same time, so that neither waits for the other.
async fn exchange(client: Wire, sent: Vec<u8>, expected: Vec<u8>) {
    let (mut reading, mut writing) = client.split();
    tokio::join!(reading.expect(expected), writing.send(sent));
}

/// Asserts that a session has noticed nothing.
async fn assert_unhurt(witness: &mut Wire) {
    witness.send(masked(TEXT, "still here")).await;
    witness.expect(unmasked(TEXT, "still here")).await;
}

#[tokio::test]
async fn a_flood_of_tiny_frames_passes_whole_and_in_order() {
    let backend = Backend::echo();
    let proxy = Proxy::start(&[&backend]);
    let mut witness = proxy.session().await;
    let letters = || (0..FLOOD).map(|number| [b'a' + u8::try_from(number % 26).unwrap()]);
    let sent = letters().flat_map(|letter| masked(BINARY, letter)).collect();
    let expected = letters().flat_map(|letter| unmasked(BINARY, letter)).collect();
    exchange(proxy.session().await, sent, expected).await;
    assert_unhurt(&mut witness).await;
    drop(witness);
    proxy.stop().await;
}

#[tokio::test]
async fn a_message_of_endless_empty_fragments_passes_and_takes_no_memory() {
    let backend = Backend::echo();
    let proxy = Proxy::start(&[&backend]);
    let fragments = |frame: fn(u8, &'static str) -> Vec<u8>| {
        [frame(TEXT_BEGIN, "begin"), frame(MIDDLE, "").repeat(FLOOD), frame(END, "end")].concat()
    };
    exchange(proxy.session().await, fragments(masked), fragments(unmasked)).await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_flood_of_pings_is_answered_by_the_backend_in_order() {
    let backend = Backend::echo();
    let proxy = Proxy::start(&[&backend]);
    let numbers = || (0..FLOOD).map(|number| number.to_string());
    let sent = numbers().flat_map(|number| masked(PING, number)).collect();
    let expected = numbers().flat_map(|number| unmasked(PONG, number)).collect();
    exchange(proxy.session().await, sent, expected).await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_flood_of_pongs_passes_and_settles_no_ping_of_ours() {
    let backend = Backend::by_hand();
    let proxy = Proxy::before(&[&backend])
        .with("keepalive: { ping_interval: 100ms, pong_timeout: 30s, sides: [client] }")
        .start();
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    let flood = masked(PONG, "\0\0\0\0\0\0\0\0\0\0\0\x01").repeat(FLOOD);
    tokio::join!(client.send(&flood), at_backend.expect(&flood));
    let ping = client.frame().await;
    assert_eq!(ping.first, PING, "{ping:?}");
    assert_ne!(ping.payload, b"\0\0\0\0\0\0\0\0\0\0\0\x01");
    client.send([masked(PONG, &ping.payload), masked(TEXT, "behind")].concat()).await;
    at_backend.expect(masked(TEXT, "behind")).await;
    drop((client, at_backend));
    proxy.stop().await;
}

#[tokio::test]
async fn a_client_reset_after_any_byte_ends_its_session_only() {
    let backend = Backend::echo();
    let proxy = Proxy::start(&[&backend]);
    let mut witness = proxy.session().await;
    let opening = handshake("/", "");
    for cut in 0..opening.len() {
        let mut client = proxy.client().await;
        client.send(&opening.as_bytes()[..cut]).await;
        client.reset();
    }
    let script = [masked(TEXT, "hello"), masked(PING, "p"), masked(BINARY, [7; 130]), masked(CLOSE, "")].concat();
    for cut in 0..=script.len() {
        let mut client = proxy.session().await;
        client.send(&script[..cut]).await;
        client.reset();
    }
    assert_unhurt(&mut witness).await;
    drop(witness);
    let records = proxy.stop().await;
    let sessions = records.iter().filter(|record| record["kind"] == "session").count();
    assert_eq!(sessions, script.len() + 2, "one record for each session");
}

#[tokio::test]
async fn a_backend_reset_after_any_byte_ends_its_session_only() {
    let backend = Backend::by_hand();
    let other = Backend::echo();
    let upstreams = format!(
        "  other: {{ backends: [ {{ address: \"{other}\" }} ] }}\n\
         routes: [ {{ path: /other, upstream: other }}, {{ upstream: chat }} ]"
    );
    let proxy =
        Proxy::before(&[&backend]).upstream("balance: round_robin, max_fails: 0, tries: 1").routes(&upstreams).start();
    let mut witness = proxy.client().await;
    witness.upgrade("/other").await;
    let frames = [unmasked(TEXT, "hello"), unmasked(BINARY, [7; 130]), unmasked(CLOSE, "")].concat();
    for cut in 0.. {
        let mut client = proxy.client().await;
        client.send(handshake("/", "")).await;
        let (mut at_backend, head) = backend.asked().await;
        let opening = accepting(&head, "");
        let script = [opening.as_bytes(), &frames].concat();
        if cut > script.len() {
            drop((client, at_backend));
            break;
        }
        at_backend.send(&script[..cut]).await;
        at_backend.reset();
        if cut < opening.len() {
            assert_eq!(client.response().await.status(), 502, "after {cut} bytes");
        }
        // A reset may overtake the bytes before it. In any case the stream ends.
        client.rest().await;
    }
    assert_unhurt(&mut witness).await;
    drop(witness);
    proxy.stop().await;
}

#[tokio::test]
async fn a_client_that_never_reads_its_answer_holds_the_backend_back_and_is_cut() {
    // The backend sends without an end, until nobody takes any more bytes.
    let backend = Backend::raw(async |backend: Backend, mut wire| {
        if backend.next_head(&mut wire).await.is_some() {
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 1099511627776\r\n\r\n").await;
            while wire.try_send([7; 65_536]).await {}
        }
    });
    let mut proxy = Proxy::before(&[&backend]).timeout("response", "300ms").start();
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: chat\r\n\r\n").await;
    let record = proxy.next_record().await;
    assert_eq!(record["kind"], "request", "{record}");
    drop(client);
    proxy.stop().await;
}

#[tokio::test]
async fn pipelined_requests_whose_answers_nobody_reads_stop_being_served() {
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n{}", "a".repeat(65_536));
    let backend = Backend::raw(move |backend: Backend, mut wire| {
        let answer = answer.clone();
        async move { while backend.next_head(&mut wire).await.is_some() && wire.try_send(&answer).await {} }
    });
    let proxy = Proxy::before(&[&backend]).timeout("response", "300ms").start();
    let mut client = proxy.client().await;
    let requests = 5_000;
    // The connection may be cut before all requests have been taken.
    client.try_send("GET / HTTP/1.1\r\nHost: chat\r\n\r\n".repeat(requests)).await;
    let records = proxy.stop().await;
    assert!(records.len() < requests / 2, "{} requests served", records.len());
    drop(client);
}

#[tokio::test]
async fn a_101_whose_head_does_not_end_is_502() {
    let backend = Backend::script(async |mut wire, head| {
        let right = accepting(&head, "");
        wire.try_send(format!("{}\r\nX-More: ", right.trim_end())).await;
        while wire.try_send([b'm'; 4096]).await {}
    });
    let mut proxy = Proxy::before(&[&backend]).upstream("balance: round_robin, tries: 1").start();
    assert_eq!(proxy.client().await.refused_upgrade("/").await.status(), 502);
    assert_eq!(proxy.next_record().await["status"], 502);
    proxy.stop().await;
}

#[tokio::test]
async fn absurd_paths_are_refused_or_pass_as_they_are_and_break_no_line_of_the_log() {
    let long = format!("/{}", "a".repeat(8192));
    let paths: [&[u8]; 13] = [
        b"/../../../etc/passwd",
        b"/%2e%2e/%2e%2e/etc/passwd",
        b"//////",
        b"/%00",
        b"/%0d%0aX-Injected:%201",
        b"etc",
        b"*",
        b"/a\\b",
        b"/\xff\xfe",
        b"/\x1b[2J",
        b"/<script>",
        b"/\"",
        long.as_bytes(),
    ];
    let backend = Backend::echo();
    let proxy = Proxy::start(&[&backend]);
    let mut passed = Vec::new();
    for path in paths {
        let mut client = proxy.client().await;
        client.send([b"GET ", path, b" HTTP/1.1\r\nHost: chat\r\nConnection: close\r\n\r\n"].concat()).await;
        let response = client.response().await;
        let name = path.escape_ascii();
        assert!(matches!(response.status(), 200 | 400), "{name}: {}", response.status());
        if response.status() == 200 {
            let path = String::from_utf8_lossy(path).into_owned();
            assert_eq!(backend.heads().pop().unwrap().first_line(), format!("GET {path} HTTP/1.1"));
            passed.push(path);
        }
    }
    // Each line was read as JSON on its way to the test.
    let records = proxy.stop().await;
    let recorded: Vec<_> = records
        .iter()
        .filter(|record| record["status"] == 200)
        .map(|record| record["path"].as_str().unwrap())
        .collect();
    assert_eq!(recorded.len(), passed.len());
    for (recorded, passed) in recorded.into_iter().zip(passed) {
        // A long path is cut and has a mark at its end.
        match recorded.strip_suffix('…') {
            Some(begin) => {
                assert!(begin.len() > 1024 && passed.len() > begin.len() && passed.starts_with(begin), "{begin}")
            }
            None => assert_eq!(recorded, passed),
        }
    }
}

#[tokio::test]
async fn a_body_whose_chunks_cannot_be_read_is_400() {
    // The backend never answers, so the broken body is what ends the request.
    let backend = Backend::script(async |mut wire, _| drop(wire.whatever_comes().await));
    let mut proxy = Proxy::start(&[&backend]);
    for chunk in ["0x5\r\nhello\r\n", "+5\r\nhello\r\n", "5\r\nhelloXX", "fffffffffffffffff\r\n", "5;a\nb\r\nhello\r\n"]
    {
        let mut client = proxy.client().await;
        client.send(format!("POST / HTTP/1.1\r\nHost: chat\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}")).await;
        assert_eq!(client.response().await.status(), 400, "{chunk:?}");
        let record = proxy.next_record().await;
        assert_eq!((&record["cause"], &record["status"]), (&"bad_request".into(), &400.into()), "{record}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn bytes_that_are_no_http_end_their_connection_only() {
    let backend = Backend::echo();
    let proxy = Proxy::before(&[&backend]).timeout("request_header", "3s").start();
    let mut witness = proxy.session().await;
    let every_byte: Vec<u8> = (0..=255).collect();
    let mut answers = JoinSet::new();
    for garbage in [
        &[0; 4096][..],
        &[b'\n'; 4096],
        &[b'A'; 40_000],
        &[0xff; 4096],
        &every_byte,
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03",
        b"SSH-2.0-x\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x81\x85\0\0\0\0hello",
        b"HTTP/1.1 200 OK\r\n\r\n",
    ] {
        let (mut client, garbage) = (proxy.client().await, garbage.to_vec());
        answers.spawn(async move {
            client.try_send(&garbage).await;
            (garbage, client.rest().await)
        });
    }
    for (garbage, answer) in answers.join_all().await {
        let name = garbage[..garbage.len().min(20)].escape_ascii();
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{name}: {}", answer.escape_ascii());
    }
    assert_unhurt(&mut witness).await;
    assert_eq!(backend.heads().len(), 1, "nothing but the session reached the backend");
    drop(witness);
    proxy.stop().await;
}

/// The binary in front of an address. It ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the binary through a shell, which first sets a limit or redirects the output.
fn run(shell: &str, listen: SocketAddr, to: &Backend) -> Running {
    let child = Command::new("sh")
        .args(["-c", shell, "sh", env!("CARGO_BIN_EXE_longwire"), "run"])
        .args(["--listen", &listen.to_string(), "--to", &to.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    Running(child)
}

fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// A request on a connection of its own, sent as soon as the binary serves it.
fn served(address: SocketAddr) -> TcpStream {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Ok(mut stream) = TcpStream::connect_timeout(&address, PATIENCE) {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: chat\r\n\r\n").unwrap();
            let mut answer = [0; 12];
            if stream.read_exact(&mut answer).is_ok() {
                assert_eq!(&answer, b"HTTP/1.1 200");
                return stream;
            }
        }
        assert!(Instant::now() < deadline, "nobody serves {address}");
    }
}

#[tokio::test]
async fn accept_recovers_when_descriptors_are_free_again() {
    let backend = Backend::echo();
    let address = free_address();
    let mut running = run("ulimit -n 50; exec \"$@\"", address, &backend);
    let errors = BufReader::new(running.0.stderr.take().unwrap());
    let blocking = tokio::task::spawn_blocking(move || {
        let first = served(address);
        let held: Vec<_> = (0..60).map(|_| TcpStream::connect_timeout(&address, PATIENCE).unwrap()).collect();
        let failure = errors.lines().map_while(Result::ok).find(|line| line.contains("accept failed"));
        assert!(failure.is_some(), "the binary went on to accept");
        drop((first, held));
        served(address);
    });
    blocking.await.unwrap();
    drop(running);
    backend.finish().await;
}

#[tokio::test]
async fn a_log_that_cannot_be_written_costs_records_and_no_session() {
    assert!(File::options().write(true).open("/dev/full").is_ok(), "/dev/full, a disk without room");
    let backend = Backend::echo();
    let address = free_address();
    let running = run("exec \"$@\" >/dev/full 2>/dev/full", address, &backend);
    tokio::task::spawn_blocking(move || drop(served(address))).await.unwrap();
    for _ in 0..50 {
        let mut client = Wire::connect(address).await;
        client.upgrade("/").await;
        client.send([masked(TEXT, "on"), masked(CLOSE, "")].concat()).await;
        client.expect([unmasked(TEXT, "on"), unmasked(CLOSE, "")].concat()).await;
        within("the end of the session", client.expect_eof()).await;
    }
    drop(running);
    backend.finish().await;
}
