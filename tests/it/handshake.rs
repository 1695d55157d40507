//! A request is a WebSocket handshake if it has everything that RFC 6455 §4.2.1 asks for, in any spelling that the RFCs
//! allow. A request with only a part of it is an error.

use crate::harness::{
    Backend, HANDSHAKE_HEADERS, Proxy,
    frames::{RSV1, TEXT, masked, unmasked},
    handshake, within,
};

#[tokio::test]
async fn handshake_opens_a_session_to_the_backend() {
    let backend = Backend::echo();
    let mut proxy = Proxy::start(&[&backend]);
    let mut client = proxy.client().await;
    client.upgrade("/ws/room?user=7").await;
    client.send(masked(TEXT, "hello")).await;
    client.expect(unmasked(TEXT, "hello")).await;

    let heads = backend.heads();
    assert_eq!(heads[0].first_line(), "GET /ws/room?user=7 HTTP/1.1");
    assert_eq!(heads[0].header("host"), Some("chat.example.com"));
    client.finish().await;
    assert_eq!(proxy.next_record().await["status"], 101);
    proxy.stop().await;
}

#[tokio::test]
async fn names_and_tokens_of_a_handshake_may_be_in_any_case_and_in_lists() {
    let spellings = [
        "UPGRADE: WebSocket\r\ncOnNeCtIoN: UPGRADE\r\n",
        "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n",
        "Upgrade: websocket\r\nConnection: keep-alive\r\nConnection:\tupgrade \r\n",
        "Connection: ,upgrade,, keep-alive\r\nUpgrade:websocket\r\n",
        "Upgrade: foo/2, WebSocket\r\nConnection: upgrade\r\n",
    ];
    let backend = Backend::echo();
    let proxy = Proxy::start(&[&backend]);
    for spelling in spellings {
        let mut client = proxy.client().await;
        client
            .send(format!(
                "GET / HTTP/1.1\r\nhOST: chat\r\n{spelling}sec-websocket-version: 13\r\n\
                 SEC-WEBSOCKET-KEY: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            ))
            .await;
        client.upgraded().await;
        client.send(masked(TEXT, spelling)).await;
        client.expect(unmasked(TEXT, spelling)).await;
    }
    proxy.stop().await;
}

#[tokio::test]
async fn half_a_handshake_is_answered_400_and_reaches_no_backend() {
    let halves = [
        ("no Connection", "GET", HANDSHAKE_HEADERS.replace("Connection: Upgrade\r\n", "")),
        ("no upgrade token", "GET", HANDSHAKE_HEADERS.replace("Connection: Upgrade", "Connection: keep-alive")),
        ("no key", "GET", without("Sec-WebSocket-Key")),
        ("an empty key", "GET", with_key("")),
        ("a key that is no base64", "GET", with_key("this is not base64 !!!!!")),
        ("a key of 15 bytes", "GET", with_key("AAECAwQFBgcICQoLDA0O")),
        ("a key of 17 bytes", "GET", with_key("AAECAwQFBgcICQoLDA0ODxA=")),
        ("two keys", "GET", format!("{HANDSHAKE_HEADERS}Sec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==\r\n")),
        ("no version", "GET", without("Sec-WebSocket-Version")),
        ("a POST", "POST", HANDSHAKE_HEADERS.to_owned()),
    ];
    let backend = Backend::echo();
    let mut proxy = Proxy::start(&[&backend]);
    for (name, method, headers) in halves {
        let mut client = proxy.client().await;
        client.send(format!("{method} / HTTP/1.1\r\nHost: chat\r\n{headers}\r\n")).await;
        let response = client.response().await;
        assert_eq!(response.status(), 400, "{name}");
        assert_eq!(response.text().lines().count(), 1, "{name}: {}", response.text());
        let record = proxy.next_record().await;
        assert_eq!((&record["kind"], &record["status"]), (&"request".into(), &400.into()), "{name}: {record}");
        assert_eq!(record["cause"], "bad_handshake", "{name}: {record}");
    }
    assert_eq!(backend.heads(), []);
    proxy.stop().await;
}

#[tokio::test]
async fn another_version_is_answered_426_naming_ours() {
    let backend = Backend::echo();
    let mut proxy = Proxy::start(&[&backend]);
    for version in ["0", "8", "14"] {
        let mut client = proxy.client().await;
        let headers = HANDSHAKE_HEADERS.replace("Version: 13", &format!("Version: {version}"));
        client.send(format!("GET / HTTP/1.1\r\nHost: chat\r\n{headers}\r\n")).await;
        let response = client.response().await;
        assert_eq!(response.status(), 426, "{version}");
        assert_eq!(response.head.header("sec-websocket-version"), Some("13"));
        assert_eq!(proxy.next_record().await["cause"], "wrong_version");
    }
    assert_eq!(backend.heads(), []);
    proxy.stop().await;
}

#[tokio::test]
async fn subprotocols_and_extensions_pass_untouched_both_ways() {
    let backend = Backend::by_hand();
    let proxy = Proxy::start(&[&backend]);
    let mut client = proxy.client().await;
    let offers = "Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Protocol: v2.Chat\r\n\
                  Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-other\r\n";
    client.send(handshake("/", offers)).await;
    let (mut at_backend, head) = backend.asked().await;
    assert_eq!(head.headers("sec-websocket-protocol").join(", "), "chat, superchat, v2.Chat");
    assert_eq!(head.headers("sec-websocket-extensions"), ["permessage-deflate; client_max_window_bits, x-other"]);

    let answer = "Sec-WebSocket-Protocol: superchat\r\n\
                  Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=12\r\n";
    at_backend.accept(&head, answer).await;
    let head = client.upgraded().await;
    assert_eq!(head.header("sec-websocket-protocol"), Some("superchat"));
    assert_eq!(head.header("sec-websocket-extensions"), Some("permessage-deflate; client_max_window_bits=12"));

    client.send(masked(TEXT | RSV1, b"\xf2\x48\xcd\xc9\xc9\x07\x00")).await;
    at_backend.expect(masked(TEXT | RSV1, b"\xf2\x48\xcd\xc9\xc9\x07\x00")).await;
    at_backend.send(unmasked(TEXT | RSV1, b"\xf2\x48\xcd\xc9\xc9\x07\x00")).await;
    client.expect(unmasked(TEXT | RSV1, b"\xf2\x48\xcd\xc9\xc9\x07\x00")).await;
    proxy.stop().await;
}

#[tokio::test]
async fn an_offer_to_compress_ends_here_where_the_route_says_so_and_other_extensions_pass() {
    let backend = Backend::by_hand();
    let routes = "routes: [ { path: /off, upstream: chat, compression: off }, { upstream: chat, compression: pass } ]";
    let mut proxy = Proxy::before(&[&backend]).routes(routes).start();
    let offers = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-other\r\n";

    let mut client = proxy.client().await;
    client.send(handshake("/off", offers)).await;
    let (mut at_backend, head) = backend.asked().await;
    assert_eq!(head.headers("sec-websocket-extensions"), ["x-other"]);
    at_backend.accept(&head, "").await;
    client.upgraded().await;
    at_backend.send(unmasked(TEXT, b"plain")).await;
    client.expect(unmasked(TEXT, b"plain")).await;
    drop((client, at_backend));
    proxy.next_record().await;

    // A backend that compresses all the same was not offered that.
    let mut client = proxy.client().await;
    client.send(handshake("/off", "Sec-WebSocket-Extensions: permessage-deflate\r\n")).await;
    let (mut at_backend, head) = backend.asked().await;
    assert_eq!(head.headers("sec-websocket-extensions"), [""; 0]);
    at_backend.accept(&head, "Sec-WebSocket-Extensions: permessage-deflate\r\n").await;
    assert_eq!(client.response().await.status(), 502);
    assert_eq!(proxy.next_record().await["cause"], "false_upgrade");

    let mut client = proxy.client().await;
    client.send(handshake("/", offers)).await;
    let (_at_backend, head) = backend.asked().await;
    assert_eq!(head.headers("sec-websocket-extensions"), ["permessage-deflate; client_max_window_bits, x-other"]);
    proxy.stop().await;
}

#[tokio::test]
async fn fields_of_the_101_reach_the_client() {
    let backend = Backend::by_hand();
    let proxy = Proxy::start(&[&backend]);
    let mut client = proxy.client().await;
    client.send(handshake("/", "")).await;
    let (mut at_backend, head) = backend.asked().await;
    at_backend.accept(&head, "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Powered-By: hand\r\n").await;
    let head = client.upgraded().await;
    assert_eq!(head.headers("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(head.header("x-powered-by"), Some("hand"));
    assert_eq!(head.header("upgrade").map(str::to_lowercase).as_deref(), Some("websocket"));
    assert_eq!(head.header("connection").map(str::to_lowercase).as_deref(), Some("upgrade"));
    proxy.stop().await;
}

#[tokio::test]
async fn an_independent_client_and_server_agree_on_a_session() {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::Message;

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() || message.is_binary() {
                socket.send(message).await.unwrap();
            }
        }
    });
    let proxy = Proxy::start(&[&Backend::foreign(address)]);
    let stream = proxy.client().await.into_tcp();
    let handshake = tokio_tungstenite::client_async("ws://chat.example.com/ws", stream);
    let (mut socket, _) = within("a handshake", handshake).await.unwrap();
    for message in [Message::text("héllo"), Message::binary(vec![0xa5; 200_000]), Message::text("")] {
        socket.send(message.clone()).await.unwrap();
        let echoed = within("an echo", socket.next()).await.unwrap().unwrap();
        assert!(echoed == message, "the echo of {} bytes", message.len());
    }
    socket.close(None).await.unwrap();
    while within("the end", socket.next()).await.is_some_and(|message| message.is_ok()) {}
    within("the server's end", server).await.unwrap();
    let records = proxy.stop().await;
    assert_eq!((&records[0]["cause"], &records[0]["clean"]), (&"client_close".into(), &true.into()));
}

fn without(name: &str) -> String {
    HANDSHAKE_HEADERS.split_inclusive("\r\n").filter(|line| !line.starts_with(name)).collect()
}

fn with_key(key: &str) -> String {
    format!("{}Sec-WebSocket-Key: {key}\r\n", without("Sec-WebSocket-Key"))
}
