//! Bugs of other proxies and of the crates that longwire uses: each test shows what longwire does instead.
//!
//! Other files cover some of these bugs: `refusals` and `relay` early bytes and false 101s, `forwarding` and `handshake`
//! fields, `keepalive` and `close` Pings and Closes, `health` the next backend, `timeouts` silent connections.

use crate::harness::{
    Backend, HANDSHAKE_HEADERS, Head, Proxy, accepting,
    frames::{TEXT, masked, unmasked},
    handshake, strict_framing, within,
};

/// The request that an attacker hides in another one's body or tail.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: chat\r\n\r\n";

/// Sends `request` and then an honest request on the same connection. Returns what came to the backend.
///
/// The backend itself insists that each request has only one meaning. Nothing smuggled may be among the requests.
async fn forwarded(name: &str, request: &[u8]) -> (Option<u16>, Vec<Head>) {
    let backend = Backend::strict();
    let proxy = Proxy::start(&[&backend]);
    let mut client = proxy.client().await;
    client.send(request).await;
    let status = client.next_response().await.map(|response| response.status());
    if status == Some(200) && client.try_send("GET /honest HTTP/1.1\r\nHost: chat\r\n\r\n").await {
        client.next_response().await;
    }
    drop(client);
    proxy.stop().await;
    let heads = backend.heads();
    for head in &heads {
        assert!(!head.first_line().contains("smuggled"), "{name}: {head:?}");
    }
    (status, heads)
}

/// Asserts that the request is refused with 400 or cut, and that no byte of it reaches a backend.
async fn assert_refused(name: &str, request: impl AsRef<[u8]>) {
    let (status, heads) = forwarded(name, request.as_ref()).await;
    assert!(matches!(status, Some(400) | None), "{name}: {status:?}");
    assert_eq!(heads, [], "{name}");
}

/// Asserts that the request is refused, or goes on with one unambiguous framing.
async fn assert_unambiguous(name: &str, request: impl AsRef<[u8]>) {
    let (status, heads) = forwarded(name, request.as_ref()).await;
    // If a body breaks, its head may have been forwarded already. The request to the backend is then cut, and never
    // completed.
    assert!(matches!(status, Some(200 | 400 | 408 | 499 | 501 | 502) | None), "{name}: {status:?}");
    assert!(heads.len() <= 2, "{name}: {heads:?}");
}

fn post(fields: &str, body: &str) -> String {
    format!("POST /post HTTP/1.1\r\nHost: chat\r\n{fields}\r\n{body}")
}

#[tokio::test]
async fn upgrade_with_a_body_is_refused() {
    for (name, body) in [
        ("a length", format!("Content-Length: {}\r\n\r\n{SMUGGLED}", SMUGGLED.len())),
        ("chunks", format!("Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}")),
        ("both", format!("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}")),
    ] {
        let request = format!("GET /ws HTTP/1.1\r\nHost: chat\r\n{HANDSHAKE_HEADERS}{body}");
        assert_refused(name, request).await;
    }
}

#[tokio::test]
async fn no_other_upgrade_is_ever_forwarded() {
    let backend = Backend::echo();
    let proxy = Proxy::start(&[&backend]);
    for upgrade in ["h2c", "TLS/1.0", "HTTP/2.0", "websocket2", "IRC/6.9"] {
        let fields = format!(
            "Upgrade: {upgrade}\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"
        );
        let response = proxy.client().await.get("/", &fields).await;
        assert_eq!(response.status(), 200, "{upgrade}");
        let head = backend.heads().pop().unwrap();
        for field in ["upgrade", "http2-settings"] {
            assert_eq!(head.header(field), None, "{upgrade}: {head:?}");
        }
        assert!(!head.headers("connection").iter().any(|value| value.to_lowercase().contains("upgrade")), "{head:?}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn only_websocket_is_forwarded_of_a_list_of_upgrades() {
    let backend = Backend::echo();
    let proxy = Proxy::start(&[&backend]);
    let mut client = proxy.client().await;
    client.send(handshake("/", "").replace("Upgrade: websocket", "Upgrade: h2c, websocket")).await;
    client.upgraded().await;
    let head = backend.heads().pop().unwrap();
    assert_eq!(head.header("upgrade").map(str::to_lowercase).as_deref(), Some("websocket"));
    proxy.stop().await;
}

#[tokio::test]
async fn connect_is_refused() {
    assert_refused("authority", "CONNECT internal.example:443 HTTP/1.1\r\nHost: internal.example:443\r\n\r\n").await;
}

#[tokio::test]
async fn a_101_that_nobody_asked_for_is_502() {
    let backend = Backend::by_hand();
    let proxy = Proxy::before(&[&backend]).upstream("balance: round_robin, max_fails: 0, tries: 1").start();
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: chat\r\n\r\n").await;
    let (mut at_backend, _) = backend.asked().await;
    at_backend
        .send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x02hi")
        .await;
    assert_eq!(client.response().await.status(), 502);
    at_backend.expect_gone().await;
    proxy.stop().await;
}

#[tokio::test]
async fn interim_answers_before_the_101_do_not_confuse_the_handshake() {
    let backend = Backend::by_hand();
    let proxy = Proxy::start(&[&backend]);
    let mut client = proxy.client().await;
    client.send(handshake("/", "")).await;
    let (mut at_backend, head) = backend.asked().await;
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </app.js>\r\n\r\n";
    at_backend.send([hints.as_bytes(), accepting(&head, "").as_bytes(), &unmasked(TEXT, "first")].concat()).await;
    client.upgraded().await;
    client.expect(unmasked(TEXT, "first")).await;
    proxy.stop().await;
}

#[tokio::test]
async fn lengths_that_disagree_are_refused_or_rebuilt() {
    let chunks = format!("0\r\n\r\n{SMUGGLED}");
    for (name, fields) in [
        ("length, then chunked", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
        ("chunked, then length", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
    ] {
        assert_unambiguous(name, post(fields, &chunks)).await;
    }
    // All readers that take these requests agree on their end, so nothing can hide behind it.
    assert_unambiguous("the same length twice", post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello")).await;
    assert_unambiguous("a list of lengths", post("Content-Length: 5, 5\r\n", "hello")).await;
    assert_refused("two lengths", post("Content-Length: 5\r\nContent-Length: 6\r\n", &chunks)).await;
}

#[tokio::test]
async fn an_obfuscated_transfer_encoding_is_refused() {
    let chunks = format!("0\r\n\r\n{SMUGGLED}");
    for coding in [
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: \x0bchunked",
        "Transfer-Encoding: chun ked",
        "Transfer-Encoding:",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    ] {
        assert_refused(coding, post(&format!("{coding}\r\n"), &chunks)).await;
    }
    let old = format!("POST / HTTP/1.0\r\nHost: chat\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
    assert_refused("in HTTP/1.0", old).await;
}

#[tokio::test]
async fn chunk_sizes_that_are_no_plain_hex_end_the_request() {
    for size in ["0x5", "+5", "-5", "5_0", "", " ", "5 5", "fffffffffffffffff", "10000000000000000", "g"] {
        let body = format!("{size}\r\nhello\r\n0\r\n\r\n{SMUGGLED}");
        assert_unambiguous(size, post("Transfer-Encoding: chunked\r\n", &body)).await;
    }
    for (name, body) in [
        ("extension with CR", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
        ("extension with LF", "5;a\nb\r\nhello\r\n0\r\n\r\n"),
        ("bare LF", "5\nhello\n0\n\n"),
        ("no CRLF behind the data", "5\r\nhelloXX0\r\n\r\n"),
        ("more data than its size", "2\r\nhello\r\n0\r\n\r\n"),
    ] {
        assert_unambiguous(name, post("Transfer-Encoding: chunked\r\n", &format!("{body}{SMUGGLED}"))).await;
    }
    // A good chunk extension is dropped. The strict backend checks that.
    let extended = post("Transfer-Encoding: chunked\r\n", "5;name=value\r\nhello\r\n0\r\n\r\n");
    let (status, _) = forwarded("extension", extended.as_bytes()).await;
    assert_eq!(status, Some(200));
}

#[tokio::test]
async fn lengths_that_are_no_plain_number_are_refused() {
    for length in ["", "+5", "-5", "0x5", "5 5", "5,6", "٥", "18446744073709551616", "99999999999999999999999", "5.0"]
    {
        assert_refused(length, post(&format!("Content-Length: {length}\r\n"), SMUGGLED)).await;
    }
}

#[tokio::test]
async fn malformed_fields_are_refused() {
    for (name, field) in [
        ("a space before the colon", &b"X-Name : 1"[..]),
        ("a space in the name", b"X Name: 1"),
        ("a folded line", b"X-Name: 1\r\n folded"),
        ("a folded first line", b" X-Name: 1"),
        ("NUL in the value", b"X-Name: a\0b"),
        ("CR in the value", b"X-Name: a\rb"),
        ("NUL in the name", b"X-\0Name: 1"),
        ("a byte above 0x7f in the name", b"X-N\xc3\xa4me: 1"),
        ("no name", b": 1"),
        ("no colon", b"X-Name"),
    ] {
        let request = [&b"GET / HTTP/1.1\r\nHost: chat\r\n"[..], field, b"\r\n\r\n", SMUGGLED.as_bytes()].concat();
        let (status, heads) = forwarded(name, &request).await;
        assert!(matches!(status, Some(400) | None), "{name}: {status:?}");
        assert_eq!(heads, [], "{name}");
    }
}

#[tokio::test]
async fn a_head_of_bare_line_feeds_is_refused_or_rebuilt() {
    assert_unambiguous("all", "GET /lf HTTP/1.1\nHost: chat\nX-Name: 1\n\n").await;
    assert_unambiguous("some", "GET /lf HTTP/1.1\r\nHost: chat\r\nX-Name: 1\n\r\n").await;
}

#[tokio::test]
async fn host_is_there_once_and_agrees_with_the_target() {
    for (name, request) in [
        ("missing", "GET / HTTP/1.1\r\n\r\n"),
        ("doubled", "GET / HTTP/1.1\r\nHost: chat\r\nHost: other\r\n\r\n"),
        ("doubled and equal", "GET / HTTP/1.1\r\nHost: chat\r\nHost: chat\r\n\r\n"),
        ("of two names", "GET / HTTP/1.1\r\nHost: chat, other\r\n\r\n"),
        ("with a path", "GET / HTTP/1.1\r\nHost: chat/other\r\n\r\n"),
        ("with a user", "GET / HTTP/1.1\r\nHost: user@chat\r\n\r\n"),
        ("another than the target's", "GET http://other/ HTTP/1.1\r\nHost: chat\r\n\r\n"),
    ] {
        assert_refused(name, request).await;
    }
    let (status, heads) = forwarded("absolute", b"GET http://CHAT/x HTTP/1.1\r\nHost: chat\r\n\r\n").await;
    assert_eq!((status, heads[0].first_line()), (Some(200), "GET /x HTTP/1.1"));
}

#[tokio::test]
async fn answers_with_doubtful_framing_are_502_or_rebuilt_and_their_connection_is_not_used_again() {
    for (name, answer) in [
        (
            "both lengths",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ),
        (
            "both, the other way",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ),
        ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!"),
        ("an empty length", "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nok"),
        ("a signed length", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok"),
        ("a length over 64 bits", "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551618\r\n\r\nok"),
        ("an unknown coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        ("two codings", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        ("a folded line", "HTTP/1.1 200 OK\r\nX-Name: 1\r\n folded\r\nContent-Length: 2\r\n\r\nok"),
        ("NUL in a value", "HTTP/1.1 200 OK\r\nX-Name: a\0b\r\nContent-Length: 2\r\n\r\nok"),
        ("a space before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok"),
    ] {
        let backend = Backend::answering(answer);
        let proxy = Proxy::before(&[&backend]).upstream("balance: round_robin, max_fails: 0, tries: 1").start();
        for round in 0..2 {
            let mut client = proxy.client().await;
            client.send("GET / HTTP/1.1\r\nHost: chat\r\n\r\n").await;
            let response = client.response().await;
            assert!(matches!(response.status(), 200 | 502), "{name}, {round}: {}", response.head.as_str());
            strict_framing(&response.head);
        }
        assert_eq!(backend.connections(), 2, "{name}");
        proxy.stop().await;
    }
}

#[tokio::test]
async fn an_answer_behind_the_answer_is_given_to_nobody() {
    let backend = Backend::raw(async |backend: Backend, mut wire| {
        if backend.next_head(&mut wire).await.is_some() {
            let two =
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
            wire.send(two).await;
            wire.whatever_comes().await;
        }
    });
    let proxy = Proxy::start(&[&backend]);
    let mut client = proxy.client().await;
    for _ in 0..3 {
        assert_eq!(client.get("/", "").await.text(), "ok");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_body_that_was_not_read_is_no_request() {
    // Answers at the head of a request, before its body has come, and then expects all of that body.
    let backend = Backend::raw(async |backend: Backend, mut wire| {
        while let Some(head) = backend.next_head(&mut wire).await {
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            let length = head.header("content-length").map_or(0, |length| length.parse().unwrap());
            if wire.try_take(length).await.is_none() {
                return;
            }
        }
    });
    let proxy = Proxy::start(&[&backend]);
    let mut client = proxy.client().await;
    client.send(post(&format!("Content-Length: {}\r\n", SMUGGLED.len()), "")).await;
    assert_eq!(client.response().await.text(), "ok");
    client.try_send(SMUGGLED).await;
    if client.try_send("GET /honest HTTP/1.1\r\nHost: chat\r\n\r\n").await {
        client.next_response().await;
    }
    for head in backend.heads() {
        assert!(!head.first_line().contains("smuggled"), "{head:?}");
    }
    drop(client);
    proxy.stop().await;
}

#[tokio::test]
async fn a_length_that_a_peer_announces_takes_no_memory() {
    let backend = Backend::by_hand();
    let proxy = Proxy::start(&[&backend]);
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    let mut endless = b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00".to_vec();
    endless.extend_from_slice(&[7; 100_000]);
    tokio::join!(client.send(&endless), at_backend.expect(&endless));
    let mut endless = b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff".to_vec();
    endless.extend_from_slice(&[7; 100_000]);
    tokio::join!(at_backend.send(&endless), client.expect(&endless));
    drop((client, at_backend));
    proxy.stop().await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let backend = Backend::echo();
    let proxy = Proxy::start(&[&backend]);
    let mut client = proxy.client().await;
    let requests: String = (0..3).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: chat\r\n\r\n")).collect();
    client.send(requests).await;
    for n in 0..3 {
        assert!(within("an answer", client.response()).await.text().starts_with(&format!("GET /{n} ")));
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_handshake_behind_a_request_on_one_connection_opens_a_session() {
    let backend = Backend::echo();
    let proxy = Proxy::start(&[&backend]);
    let mut client = proxy.client().await;
    assert_eq!(client.get("/", "").await.status(), 200);
    client.upgrade("/ws").await;
    client.send(masked(TEXT, "after")).await;
    client.expect(unmasked(TEXT, "after")).await;
    proxy.stop().await;
}
