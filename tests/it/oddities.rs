//! What real clients and servers send, though no RFC asks for it. longwire takes it if it can be read in only one way.

use crate::harness::{
    Backend, HANDSHAKE_HEADERS, Proxy, accepting,
    frames::{TEXT, masked, unmasked},
    handshake,
};

#[tokio::test]
async fn a_length_of_zero_on_a_handshake_is_no_body_and_goes_no_further() {
    let backend = Backend::echo();
    let proxy = Proxy::start(&[&backend]);
    let mut client = proxy.client().await;
    // The first frame does not wait for the 101. It must not be taken for a body.
    client.send([handshake("/", "Content-Length: 0\r\n").as_bytes(), &masked(TEXT, "early")].concat()).await;
    client.upgraded().await;
    client.expect(unmasked(TEXT, "early")).await;
    assert_eq!(backend.heads()[0].header("content-length"), None);
    proxy.stop().await;
}

#[tokio::test]
async fn any_other_length_on_a_handshake_is_400_and_reaches_no_backend() {
    let backend = Backend::echo();
    let mut proxy = Proxy::start(&[&backend]);
    for fields in [
        "Content-Length: 5\r\n",
        "Content-Length: 00\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 0\r\nContent-Length: 5\r\n",
        "Content-Length: 0, 0\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
    ] {
        let mut client = proxy.client().await;
        client.send([handshake("/", fields).as_bytes(), b"hello"].concat()).await;
        assert_eq!(client.response().await.status(), 400, "{fields}");
        client.expect_gone().await;
        assert_eq!(proxy.next_record().await["status"], 400, "{fields}");
    }
    assert_eq!(backend.heads(), []);
    proxy.stop().await;
}

#[tokio::test]
async fn fields_that_announce_a_body_on_a_101_are_removed() {
    for fields in [
        "Transfer-Encoding: chunked\r\n",
        "Content-Length: 2\r\n",
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
    ] {
        let backend = Backend::by_hand();
        let proxy = Proxy::start(&[&backend]);
        let mut client = proxy.client().await;
        client.send(handshake("/", "")).await;
        let (mut at_backend, head) = backend.asked().await;
        at_backend.send([accepting(&head, fields).as_bytes(), &unmasked(TEXT, "first")].concat()).await;
        let head = client.upgraded().await;
        assert_eq!((head.header("content-length"), head.header("transfer-encoding")), (None, None), "{fields}");
        client.expect(unmasked(TEXT, "first")).await;
        proxy.stop().await;
    }
}

#[tokio::test]
async fn a_101_with_an_empty_subprotocol_or_upgrade_said_twice_is_believed() {
    type Make = fn(&str) -> String;
    let oddities: [(&str, Make); 4] = [
        ("no subprotocol", |good| good.replace("\r\n\r\n", "\r\nSec-WebSocket-Protocol:\r\n\r\n")),
        ("no subprotocol, twice", |good| {
            good.replace("\r\n\r\n", "\r\nSec-WebSocket-Protocol: \r\nSec-WebSocket-Protocol:\r\n\r\n")
        }),
        ("two lines", |good| good.replace("\r\n\r\n", "\r\nUpgrade: WebSocket\r\n\r\n")),
        ("one line", |good| good.replace("Upgrade: websocket", "Upgrade: websocket, websocket")),
    ];
    for (name, make) in oddities {
        let backend = Backend::by_hand();
        let proxy = Proxy::start(&[&backend]);
        let mut client = proxy.client().await;
        client.send(handshake("/", "Sec-WebSocket-Protocol: chat\r\n")).await;
        let (mut at_backend, head) = backend.asked().await;
        at_backend.send(make(&accepting(&head, ""))).await;
        let head = client.upgraded().await;
        assert_eq!(head.header("sec-websocket-protocol"), None, "{name}");
        assert_eq!(head.headers("upgrade").len(), 1, "{name}");
        proxy.stop().await;
    }
}

#[tokio::test]
async fn a_whole_url_as_the_target_of_a_handshake_may_say_ws() {
    let backend = Backend::echo();
    let proxy = Proxy::start(&[&backend]);
    for target in ["ws://chat/room?a=1", "wss://chat:443/room?a=1", "http://chat/room?a=1"] {
        let mut client = proxy.client().await;
        let host = target.split('/').nth(2).unwrap();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{HANDSHAKE_HEADERS}\r\n")).await;
        client.upgraded().await;
        assert_eq!(backend.heads().pop().unwrap().first_line(), "GET /room?a=1 HTTP/1.1", "{target}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn pages_of_a_file_or_an_app_can_be_allowed() {
    let backend = Backend::echo();
    let routes = "routes: [ { upstream: chat, origins: [ \"file://\", \"capacitor://localhost\" ] } ]";
    let proxy = Proxy::before(&[&backend]).routes(routes).start();
    for origin in ["file://", "FILE://", "capacitor://localhost"] {
        let mut client = proxy.client().await;
        client.send(handshake("/", &format!("Origin: {origin}\r\n"))).await;
        client.upgraded().await;
    }
    for origin in ["http://", "file://evil.example", "app://", "null"] {
        let mut client = proxy.client().await;
        client.send(handshake("/", &format!("Origin: {origin}\r\n"))).await;
        assert_eq!(client.response().await.status(), 403, "{origin}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_target_that_names_the_host_tells_the_backend_where_a_host_field_is_missing() {
    let backend = Backend::echo();
    let proxy = Proxy::start(&[&backend]);
    let mut client = proxy.client().await;
    client.send("GET http://chat.example.com:81/x HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.response().await.status(), 200);
    assert_eq!(backend.heads()[0].header("host"), Some("chat.example.com:81"));
    proxy.stop().await;
}

#[tokio::test]
async fn answers_may_have_as_many_fields_as_the_file_says() {
    fn many(count: usize) -> String {
        (0..count).map(|n| format!("X-{n}: 1\r\n")).collect()
    }
    for (settings, fields, passes) in [
        ("", 200, true),
        ("", 300, false),
        ("limits: { headers: 20, answer_headers: 30 }", 25, true),
        ("limits: { headers: 1000, answer_headers: 30 }", 31, false),
    ] {
        let backend = Backend::script(move |mut wire, head| async move {
            if head.header("sec-websocket-key").is_some() {
                wire.send(accepting(&head, &many(fields))).await;
            } else {
                wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{}\r\nok", many(fields))).await;
            }
            wire.whatever_comes().await;
        });
        let upstream = "balance: round_robin, tries: 1, max_fails: 0";
        let mut proxy = Proxy::before(&[&backend]).upstream(upstream).with(settings).start();
        let mut client = proxy.client().await;
        let got = client.get("/", "").await;
        assert_eq!(got.status(), if passes { 200 } else { 502 }, "{settings}, {fields}");
        let mut client = proxy.client().await;
        client.send(handshake("/", "")).await;
        let got = crate::harness::within("an answer", client.head()).await;
        assert_eq!(got.status(), if passes { 101 } else { 502 }, "{settings}, {fields}");
        if passes {
            assert_eq!(got.header(&format!("x-{}", fields - 1)), Some("1"), "{settings}, {fields}");
        } else {
            assert_eq!(proxy.next_record().await["cause"], "malformed_answer");
            let record = proxy.next_record().await;
            assert_eq!(record["cause"], "malformed_answer");
            assert!(record["error"].as_str().unwrap().contains("limits.answer_headers"), "{record}");
        }
        proxy.stop().await;
    }
}

#[tokio::test]
async fn the_reason_behind_a_status_passes_as_the_backend_wrote_it() {
    let lines = ["HTTP/1.1 200 Fine", "HTTP/1.1 499 Client Closed Request", "HTTP/1.1 404 ", "HTTP/1.1 299 "];
    for line in lines {
        let backend = Backend::answering(format!("{line}\r\nContent-Length: 2\r\n\r\nok"));
        let proxy = Proxy::start(&[&backend]);
        let response = proxy.client().await.get("/", "").await;
        assert_eq!(response.head.first_line(), line, "a plain request");
        proxy.stop().await;

        let backend = Backend::answering(format!("{line}\r\nContent-Length: 2\r\n\r\nok"));
        let proxy = Proxy::start(&[&backend]);
        let response = proxy.client().await.refused_upgrade("/").await;
        assert_eq!(response.head.first_line(), line, "a handshake");
        proxy.stop().await;
    }
    for line in ["HTTP/1.1 101 Web Socket Protocol Handshake", "HTTP/1.1 101 "] {
        let backend = Backend::by_hand();
        let proxy = Proxy::start(&[&backend]);
        let mut client = proxy.client().await;
        client.send(handshake("/", "")).await;
        let (mut at_backend, head) = backend.asked().await;
        at_backend.send(accepting(&head, "").replace("HTTP/1.1 101 Switching Protocols", line)).await;
        assert_eq!(client.upgraded().await.first_line(), line);
        proxy.stop().await;
    }
}

#[tokio::test]
async fn names_of_the_handshake_and_of_the_101_are_spelled_as_the_rfcs_have_them() {
    let backend = Backend::by_hand();
    let proxy = Proxy::start(&[&backend]);
    let mut client = proxy.client().await;
    client
        .send(
            handshake("/", "sec-websocket-protocol: chat\r\nx-own: 1\r\n")
                .to_lowercase()
                .replace("get / http", "GET / HTTP")
                .replace("dghlihnhbxbszsbub25jzq", "dGhlIHNhbXBsZSBub25jZQ"),
        )
        .await;
    let (mut at_backend, head) = backend.asked().await;
    for name in
        ["Host", "Connection", "Upgrade", "Sec-WebSocket-Key", "Sec-WebSocket-Version", "Sec-WebSocket-Protocol"]
    {
        assert!(head.as_str().contains(&format!("\r\n{name}: ")), "{name} in {}", head.as_str());
    }
    for name in ["X-Forwarded-For", "X-Real-IP", "X-Own"] {
        assert!(head.as_str().contains(&format!("\r\n{name}: ")), "{name} in {}", head.as_str());
    }
    let more = "sec-websocket-protocol: chat\r\nset-cookie: a=1\r\nwww-authenticate: Basic\r\netag: \"x\"\r\n";
    at_backend.accept(&head, more).await;
    let head = client.upgraded().await;
    for name in [
        "Connection",
        "Upgrade",
        "Sec-WebSocket-Accept",
        "Sec-WebSocket-Protocol",
        "Set-Cookie",
        "WWW-Authenticate",
        "ETag",
    ] {
        assert!(head.as_str().contains(&format!("\r\n{name}: ")), "{name} in {}", head.as_str());
    }
    proxy.stop().await;
}

#[tokio::test]
async fn names_of_plain_requests_and_answers_begin_with_capitals() {
    let backend = Backend::script(async |mut wire, _| {
        wire.expect(b"hi").await;
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-own: 1\r\n\r\nok").await;
    });
    let proxy = Proxy::start(&[&backend]);
    let mut client = proxy.client().await;
    client.send("POST / HTTP/1.1\r\nhost: chat\r\ncontent-length: 2\r\n\r\nhi").await;
    let answer = client.response().await;
    for name in ["Content-Length", "X-Own"] {
        assert!(answer.head.as_str().contains(&format!("\r\n{name}: ")), "{}", answer.head.as_str());
    }
    let head = backend.heads().pop().unwrap();
    for name in ["Host", "Content-Length", "X-Forwarded-For"] {
        assert!(head.as_str().contains(&format!("\r\n{name}: ")), "{}", head.as_str());
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_whole_url_without_a_path_goes_on_with_a_slash() {
    let backend = Backend::echo();
    let proxy = Proxy::start(&[&backend]);
    for (target, line) in [("http://chat?a=1", "GET /?a=1 HTTP/1.1"), ("http://chat", "GET / HTTP/1.1")] {
        let mut client = proxy.client().await;
        client.send(format!("GET {target} HTTP/1.1\r\nHost: chat\r\n{HANDSHAKE_HEADERS}\r\n")).await;
        client.upgraded().await;
        assert_eq!(backend.heads().pop().unwrap().first_line(), line);
        let mut client = proxy.client().await;
        client.send(format!("GET {target} HTTP/1.1\r\nHost: chat\r\n\r\n")).await;
        assert_eq!(client.response().await.status(), 200);
        assert_eq!(backend.heads().pop().unwrap().first_line(), line);
    }
    proxy.stop().await;
}

#[tokio::test]
async fn options_of_the_whole_server_go_to_who_takes_every_path() {
    let backend = Backend::echo();
    let proxy = Proxy::start(&[&backend]);
    let mut client = proxy.client().await;
    client.send("OPTIONS * HTTP/1.1\r\nHost: chat\r\n\r\n").await;
    assert_eq!(client.response().await.status(), 200);
    assert_eq!(backend.heads()[0].first_line(), "OPTIONS * HTTP/1.1");
    // hyper reads a URL without a path as one with a slash, so the request cannot go on as `*`.
    client.send("OPTIONS http://chat HTTP/1.1\r\nHost: chat\r\n\r\n").await;
    assert_eq!(client.response().await.status(), 200);
    assert_eq!(backend.heads()[1].first_line(), "OPTIONS / HTTP/1.1");
    client.send("GET * HTTP/1.1\r\nHost: chat\r\n\r\n").await;
    assert_eq!(client.response().await.status(), 400);
    proxy.stop().await;
}

#[tokio::test]
async fn a_length_that_an_answer_says_twice_is_said_once() {
    for lengths in ["Content-Length: 2\r\nContent-Length: 2\r\n", "Content-Length: 2, 2\r\n"] {
        let backend = Backend::answering(format!("HTTP/1.1 200 OK\r\n{lengths}\r\nok"));
        let proxy = Proxy::start(&[&backend]);
        let response = proxy.client().await.get("/", "").await;
        assert_eq!((response.status(), response.text()), (200, "ok"), "{lengths}");
        assert_eq!(response.head.header("content-length"), Some("2"), "{lengths}");
        proxy.stop().await;
    }
    for lengths in ["Content-Length: 2\r\nContent-Length: 3\r\n", "Content-Length: 2, 3\r\n", "Content-Length: 2,\r\n"]
    {
        let backend = Backend::script(move |mut wire, _| async move {
            wire.send_and_finish(format!("HTTP/1.1 200 OK\r\n{lengths}\r\nok!")).await;
        });
        let proxy = Proxy::start(&[&backend]);
        assert_eq!(proxy.client().await.get("/", "").await.status(), 502, "{lengths}");
        proxy.stop().await;
    }
}

#[tokio::test]
async fn half_a_handshake_that_may_go_no_further_is_still_half_a_handshake() {
    let backend = Backend::echo();
    let proxy = Proxy::start(&[&backend]);
    let mut client = proxy.client().await;
    client.send(format!("OPTIONS / HTTP/1.1\r\nHost: chat\r\nMax-Forwards: 0\r\n{HANDSHAKE_HEADERS}\r\n")).await;
    assert_eq!(client.response().await.status(), 400);
    client.expect_gone().await;
    proxy.stop().await;
}
