//! Clients that offer to come back to their session (docs/resume.md), on routes that do not resume: the offer is for longwire
//! and no backend sees it.

use crate::harness::{
    Backend, Proxy, Wire,
    frames::{TEXT, masked, unmasked},
    handshake, trusting, within,
};

/// What a client reads first where its offer was the only one.
const OFF: &str = r#"{"longwire":1,"resume":"off","resumed":false,"token":"","secret":"","protocol":null,"received":0,"beat_ms":0,"replay":0,"for_ms":0}"#;

/// Offers, a line each.
fn offering(lines: &[&str]) -> String {
    let lines: String = lines.iter().map(|line| format!("Sec-WebSocket-Protocol: {line}\r\n")).collect();
    handshake("/ws", &lines)
}

/// Reads the hello of a route that does not resume, which is one text frame.
async fn expect_off(client: &mut Wire) {
    client.expect([&[0x81, 126, 0, OFF.len() as u8][..], OFF.as_bytes()].concat()).await;
}

#[tokio::test]
async fn an_offer_alone_is_answered_by_a_hello_that_says_off_and_the_backend_sees_none() {
    let backend = Backend::by_hand();
    let mut proxy = Proxy::start(&[&backend]);
    for lines in [
        &["longwire.resume.v1"][..],
        &["longwire.resume.v1, longwire.resume.v1.AbC.1.7"],
        &["longwire.resume.v1.AbC.1.7"],
        &["longwire.resume.v1", "longwire.resume.v1.not.an.attempt"],
    ] {
        let mut client = proxy.client().await;
        // What comes early is the backend's, behind its 101.
        client.send([offering(lines).as_bytes(), &masked(TEXT, "early")].concat()).await;
        let (mut at_backend, head) = backend.asked().await;
        assert_eq!(head.headers("sec-websocket-protocol"), [""; 0], "{lines:?}");
        // An empty subprotocol is none.
        at_backend.accept(&head, "Sec-WebSocket-Protocol: \r\n").await;
        at_backend.send(unmasked(TEXT, "greeting")).await;
        let head = client.upgraded().await;
        assert_eq!(head.headers("sec-websocket-protocol"), ["longwire.resume.v1"], "{lines:?}");
        expect_off(&mut client).await;
        client.expect(unmasked(TEXT, "greeting")).await;
        at_backend.expect(masked(TEXT, "early")).await;
        drop((client, at_backend));
        // The hello is no message of the session.
        let record = proxy.next_record().await;
        assert_eq!(record["messages_to_client"], 1, "{record}");
        assert!(!record.to_string().contains("AbC"), "{record}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn beside_other_subprotocols_the_handshake_is_that_of_the_application() {
    let backend = Backend::by_hand();
    let proxy = Proxy::start(&[&backend]);
    for (lines, left, chosen) in [
        (&["chat, superchat, longwire.resume.v1"][..], &["chat, superchat"][..], Some("superchat")),
        (&["longwire.resume.v1.t.3.9", "chat"], &["chat"], Some("chat")),
        (&["chat, longwire.resume.v1, longwire.resume.v1.t.3.9"], &["chat"], None),
        // Letter case counts, and another version is not ours.
        (
            &["Longwire.resume.v1, longwire.resume.v10"],
            &["Longwire.resume.v1, longwire.resume.v10"],
            Some("longwire.resume.v10"),
        ),
    ] {
        let mut client = proxy.client().await;
        client.send(offering(lines)).await;
        let (mut at_backend, head) = backend.asked().await;
        assert_eq!(head.headers("sec-websocket-protocol"), left, "{lines:?}");
        let answer = chosen.map(|chosen| format!("Sec-WebSocket-Protocol: {chosen}\r\n")).unwrap_or_default();
        at_backend.accept(&head, &answer).await;
        assert_eq!(client.upgraded().await.header("sec-websocket-protocol"), chosen, "{lines:?}");
        at_backend.send(unmasked(TEXT, "first")).await;
        client.expect(unmasked(TEXT, "first")).await;
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_backend_that_chooses_what_it_was_not_offered_is_not_believed() {
    let backend = Backend::by_hand();
    let mut proxy = Proxy::start(&[&backend]);
    for chosen in ["longwire.resume.v1", "chat"] {
        let mut client = proxy.client().await;
        client.send(offering(&["longwire.resume.v1"])).await;
        let (mut at_backend, head) = backend.asked().await;
        at_backend.accept(&head, &format!("Sec-WebSocket-Protocol: {chosen}\r\n")).await;
        assert_eq!(client.response().await.status(), 502, "{chosen}");
        assert_eq!(proxy.next_record().await["cause"], "false_upgrade");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn neither_a_plain_request_nor_a_service_that_is_asked_carries_a_token() {
    let (backend, service) =
        (Backend::by_hand(), Backend::answering("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"));
    let routes = format!("routes: [ {{ upstream: chat, auth_request: {{ url: \"http://{service}/\" }} }} ]");
    let proxy = Proxy::before(&[&backend]).routes(&routes).start();
    let mut client = proxy.client().await;
    client.send(offering(&["chat, longwire.resume.v1.token.1.7"])).await;
    let (mut at_backend, head) = backend.asked().await;
    at_backend.accept(&head, "").await;
    client.upgraded().await;
    let mut client = proxy.client().await;
    client
        .send("GET / HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Protocol: longwire.resume.v1.token.1.7, chat\r\n\r\n")
        .await;
    let (mut at_backend, plain) = backend.asked().await;
    at_backend.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(client.response().await.status(), 200);
    let heads = service.heads();
    assert_eq!(heads.len(), 2);
    assert_eq!(head.headers("sec-websocket-protocol"), ["chat"]);
    for head in heads.iter().chain([&head, &plain]) {
        assert!(!head.as_str().contains("longwire.resume"), "{}", head.as_str());
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_refusal_by_close_sends_no_token_back() {
    let backend = Backend::echo();
    let proxy = Proxy::before(&[&backend]).backend(0, "down: true").with("limits: { refuse: close }").start();
    for (line, chosen) in [
        ("longwire.resume.v1.token.1.7", "longwire.resume.v1"),
        ("longwire.resume.v1, longwire.resume.v1.token.1.7", "longwire.resume.v1"),
        ("longwire.resume.v1.token.1.7, chat", "chat"),
        ("chat, longwire.resume.v1, longwire.resume.v1.token.1.7", "longwire.resume.v1"),
        ("chat, longwire.resume.v1", "longwire.resume.v1"),
        ("chat", "chat"),
    ] {
        let mut client = proxy.client().await;
        client.send(offering(&[line])).await;
        assert_eq!(client.upgraded().await.header("sec-websocket-protocol"), Some(chosen), "{line}");
        client.expect_close(1013, "unavailable").await;
        client.finish().await;
    }
    proxy.stop().await;
}

/// What tungstenite reads first, whose client refuses a subprotocol that it has not offered.
async fn first_message<S>(stream: S, url: &str) -> (Option<String>, String)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    use futures_util::StreamExt as _;
    use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", "longwire.resume.v1".parse().unwrap());
    let (mut socket, answer) = within("a handshake", tokio_tungstenite::client_async(request, stream)).await.unwrap();
    let chosen = answer.headers().get("sec-websocket-protocol").map(|chosen| chosen.to_str().unwrap().to_owned());
    let first = within("a message", socket.next()).await.unwrap().unwrap();
    assert!(first.is_text(), "{first:?}");
    (chosen, first.to_text().unwrap().to_owned())
}

#[tokio::test]
async fn an_independent_client_reads_the_hello_over_tcp_and_tls() {
    let backend = Backend::echo();
    let proxy = Proxy::start(&[&backend]);
    let expected = (Some("longwire.resume.v1".to_owned()), OFF.to_owned());
    let stream = proxy.client().await.into_tcp();
    assert_eq!(first_message(stream, "ws://chat.example.com/").await, expected);
    proxy.stop().await;

    let (backend, folder) = (Backend::echo(), tempfile::tempdir().unwrap());
    let tls = "{ cert: dev.crt, key: dev.key, self_signed: true }";
    let proxy = Proxy::before(&[&backend]).tls(tls, folder.path()).start();
    let connector = trusting(&folder.path().join("dev.crt"), &[], &["http/1.1"]);
    let stream = within("TLS", connector.connect("localhost".try_into().unwrap(), proxy.client().await.into_tcp()))
        .await
        .unwrap();
    assert_eq!(first_message(stream, "wss://localhost/").await, expected);
    proxy.stop().await;
}
