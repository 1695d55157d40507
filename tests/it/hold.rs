//! Sessions that outlive their backends (`hold` of a route).

use longwire::balance::Duty;

use crate::harness::{
    Backend, Head, Proxy, Setup, Wire,
    frames::{CLOSE, PING, PONG, RSV1, TEXT, TEXT_BEGIN, masked, masked_close, unmasked, unmasked_close},
    handshake,
};

/// A proxy that holds the sessions of its route, with these further keys of `hold`.
fn holding(backends: &[&Backend], keys: &str) -> Setup {
    let routes = format!("routes: [ {{ upstream: chat, compression: off, hold: {{ for: 20s, {keys} }} }} ]");
    Proxy::before(backends).routes(&routes)
}

/// A session whose first handshake is `more` and reaches `backend`, which accepts it. Both ends, and the head at the backend.
async fn session(proxy: &Proxy, backend: &Backend, more: &str) -> (Wire, Wire, Head) {
    let mut client = proxy.client().await;
    client.send(handshake("/ws?token=1", more)).await;
    let (mut at_backend, head) = backend.asked().await;
    at_backend.accept(&head, "").await;
    client.upgraded().await;
    (client, at_backend, head)
}

/// The next handshake at a backend, which accepts it.
async fn taken(backend: &Backend) -> (Wire, Head) {
    let (mut wire, head) = backend.asked().await;
    wire.accept(&head, "").await;
    (wire, head)
}

#[tokio::test]
async fn a_client_stays_while_its_backend_is_lost_and_its_messages_come_once_and_in_order() {
    let (first, second) = (Backend::by_hand(), Backend::by_hand());
    let mut proxy = holding(&[&first, &second], "").start();
    let (mut client, mut at_first, before) = session(&proxy, &first, "Cookie: a=b\r\n").await;
    client.send(masked(TEXT, "one")).await;
    at_first.expect(masked(TEXT, "one")).await;
    at_first.send(unmasked(TEXT, "first")).await;
    client.expect(unmasked(TEXT, "first")).await;
    drop(at_first);
    let (mut at_second, head) = second.asked().await;
    // The backend is gone, and no other one is there yet.
    client.send([masked(TEXT, "two"), masked(PING, "p"), masked(TEXT, "three")].concat()).await;
    client.expect(unmasked(PONG, "p")).await;
    at_second.accept(&head, "").await;
    at_second.expect([masked(TEXT, "two"), masked(TEXT, "three")].concat()).await;
    at_second.send(unmasked(TEXT, "second")).await;
    client.expect(unmasked(TEXT, "second")).await;

    assert_eq!((head.header("longwire-resumed"), head.header("longwire-resume-cause")), (Some("1"), Some("lost")));
    assert_eq!((before.header("longwire-resumed"), before.header("longwire-resume-cause")), (None, None));
    let id = before.header("longwire-session").unwrap();
    assert_eq!((id.len(), head.header("longwire-session")), (32, Some(id)));
    assert_ne!(head.header("sec-websocket-key"), before.header("sec-websocket-key"));
    assert_ne!(head.header("x-request-id"), before.header("x-request-id"));
    let others = |head: &Head| -> Vec<String> {
        let is_same = |line: &&str| {
            !["sec-websocket-key", "x-request-id", "longwire-"]
                .iter()
                .any(|name| line.to_ascii_lowercase().starts_with(name))
        };
        head.as_str().lines().filter(is_same).map(str::to_owned).collect()
    };
    assert_eq!(others(&head), others(&before));

    client.send(masked_close(4000, "bye")).await;
    at_second.expect(masked_close(4000, "bye")).await;
    at_second.send(unmasked_close(4000, "bye")).await;
    client.expect(unmasked_close(4000, "bye")).await;
    drop((client, at_second));
    let record = proxy.next_record().await;
    assert_eq!((&record["cause"], &record["clean"]), (&"client_close".into(), &true.into()), "{record}");
    assert_eq!((&record["resumes"], &record["maybe_lost_bytes"]), (&1.into(), &0.into()), "{record}");
    assert!(record["gap_ms"].is_number() && record["backend"] == second.to_string(), "{record}");
    assert_eq!((&record["messages_to_backend"], &record["messages_to_client"]), (&3.into(), &2.into()), "{record}");
    proxy.stop().await;
}

#[tokio::test]
async fn a_backend_that_sends_its_clients_away_is_answered_and_another_one_is_asked() {
    for (close, answer, cause) in [
        (unmasked_close(1012, "restart"), masked_close(1012, ""), "1012"),
        (unmasked_close(1001, ""), masked_close(1001, ""), "1001"),
        (unmasked(CLOSE, ""), masked(CLOSE, ""), "1005"),
    ] {
        let (first, second) = (Backend::by_hand(), Backend::by_hand());
        let proxy = holding(&[&first, &second], "on: [1001, 1005, 1012]").start();
        let (mut client, mut at_first, _) = session(&proxy, &first, "").await;
        at_first.send(close).await;
        let told = at_first.frame().await;
        assert_eq!((told.first, told.payload), (CLOSE, payload(&answer)));
        at_first.expect_eof().await;
        let (mut at_second, head) = taken(&second).await;
        assert_eq!(head.header("longwire-resume-cause"), Some(cause));
        at_second.send(unmasked(TEXT, "here")).await;
        client.expect(unmasked(TEXT, "here")).await;
        proxy.stop().await;
    }
}

/// The payload of a short masked frame.
fn payload(frame: &[u8]) -> Vec<u8> {
    frame[6..].iter().zip(frame[2..6].iter().cycle()).map(|(byte, key)| byte ^ key).collect()
}

#[tokio::test]
async fn other_ends_of_a_backend_and_those_inside_a_message_end_the_session_as_without_hold() {
    let backend = Backend::by_hand();
    let mut proxy = holding(&[&backend], "on: [lost, 1012]").start();
    let (mut client, mut at_backend, _) = session(&proxy, &backend, "").await;
    at_backend.send(unmasked_close(1000, "done")).await;
    client.expect(unmasked_close(1000, "done")).await;
    drop((client, at_backend));
    assert_eq!(proxy.next_record().await["cause"], "backend_close");

    let (mut client, mut at_backend, _) = session(&proxy, &backend, "").await;
    at_backend.send(unmasked(TEXT_BEGIN, "half")).await;
    client.expect(unmasked(TEXT_BEGIN, "half")).await;
    drop(at_backend);
    client.expect(unmasked_close(1011, "backend lost")).await;
    drop(client);
    let record = proxy.next_record().await;
    assert_eq!((&record["cause"], &record["resumes"]), (&"backend_lost".into(), &serde_json::Value::Null), "{record}");

    let (mut client, mut at_backend, _) = session(&proxy, &backend, "").await;
    client.send(masked(TEXT_BEGIN, "half")).await;
    at_backend.expect(masked(TEXT_BEGIN, "half")).await;
    drop(at_backend);
    client.expect(unmasked_close(1011, "backend lost")).await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_refusal_for_good_ends_the_session_and_one_for_now_does_not() {
    for status in ["401 Unauthorized", "302 Found", "410 Gone"] {
        let (first, second) = (Backend::by_hand(), Backend::by_hand());
        let mut proxy = holding(&[&first, &second], "").start();
        let (mut client, at_first, _) = session(&proxy, &first, "").await;
        drop(at_first);
        let (mut at_second, _) = second.asked().await;
        at_second.send(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")).await;
        client.expect(unmasked_close(1011, "resume refused")).await;
        drop((client, at_second));
        let record = proxy.next_record().await;
        assert_eq!((&record["cause"], &record["close_code"]), (&"backend_lost".into(), &1011.into()), "{record}");
        proxy.stop().await;
    }
    for status in ["408 Request Timeout", "425 Too Early", "429 Too Many Requests", "500 Oops", "503 Busy"] {
        let backend = Backend::by_hand();
        let proxy = holding(&[&backend], "").start();
        let (mut client, at_first, _) = session(&proxy, &backend, "").await;
        drop(at_first);
        let (mut at_second, _) = backend.asked().await;
        at_second.send(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")).await;
        drop(at_second);
        let (mut at_third, _) = taken(&backend).await;
        at_third.send(unmasked(TEXT, "here")).await;
        client.expect(unmasked(TEXT, "here")).await;
        proxy.stop().await;
    }
}

#[tokio::test]
async fn a_backend_that_agrees_on_another_subprotocol_does_not_get_the_session() {
    let backend = Backend::by_hand();
    let routes = "routes: [ { upstream: chat, compression: off, hold: { for: 3s } } ]";
    let proxy = Proxy::before(&[&backend]).routes(routes).start();
    let mut client = proxy.client().await;
    client.send(handshake("/", "Sec-WebSocket-Protocol: a, b\r\n")).await;
    let (mut at_first, head) = backend.asked().await;
    at_first.accept(&head, "Sec-WebSocket-Protocol: a\r\n").await;
    client.upgraded().await;
    drop(at_first);
    let others = tokio::spawn(async move {
        loop {
            let (mut wire, head) = backend.asked().await;
            wire.accept(&head, "Sec-WebSocket-Protocol: b\r\n").await;
        }
    });
    client.expect(unmasked_close(1011, "resume refused")).await;
    others.abort();
    proxy.stop().await;
}

#[tokio::test]
async fn no_client_can_send_what_backends_are_told_of_sessions() {
    let backend = Backend::by_hand();
    let routes = "routes: [ { path: /hold, upstream: chat, compression: off, hold: { } }, { upstream: chat } ]";
    let proxy = Proxy::before(&[&backend]).routes(routes).start();
    let fields =
        "Longwire-Session: evil\r\nLongwire-Resumed: 7\r\nLongwire-Resume-Cause: lost\r\nLongwire_Session: evil\r\n";
    for path in ["/", "/hold"] {
        let mut client = proxy.client().await;
        client.send(handshake(path, fields)).await;
        let (_wire, head) = backend.asked().await;
        assert!(!head.as_str().contains("evil") && head.header("longwire-resumed").is_none(), "{}", head.as_str());
        assert_eq!(head.headers("longwire-session").len(), usize::from(path == "/hold"));
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_drained_backend_hands_its_sessions_on_and_what_it_still_says_goes_first() {
    let (first, second) = (Backend::by_hand(), Backend::by_hand());
    let mut proxy = holding(&[&first, &second], "notify: '{\"type\":\"resync\"}'").start();
    let (mut client, mut at_first, _) = session(&proxy, &first, "").await;
    proxy.control().set_duty("chat", &first.to_string(), Duty::Drain).unwrap();
    let told = at_first.frame().await;
    assert_eq!((told.first, told.close_code(), told.close_reason().as_str()), (CLOSE, Some(1001), "moved"));
    client.send(masked(TEXT, "for the second")).await;
    at_first.send([unmasked(TEXT, "last words"), unmasked_close(1001, "moved")].concat()).await;
    at_first.expect_eof().await;
    let (mut at_second, head) = taken(&second).await;
    assert_eq!(head.header("longwire-resume-cause"), Some("move"));
    at_second.expect(masked(TEXT, "for the second")).await;
    at_second.send(unmasked(TEXT, "hello")).await;
    let resync = unmasked(TEXT, "{\"type\":\"resync\"}");
    client.expect([unmasked(TEXT, "last words"), resync, unmasked(TEXT, "hello")].concat()).await;
    client.send(masked_close(1000, "")).await;
    at_second.expect(masked_close(1000, "")).await;
    at_second.send(unmasked_close(1000, "")).await;
    client.expect(unmasked_close(1000, "")).await;
    drop((client, at_second));
    let record = proxy.next_record().await;
    assert_eq!((&record["resumes"], &record["maybe_lost_bytes"]), (&1.into(), &0.into()), "{record}");
    assert_eq!(record["backend"], second.to_string());
    proxy.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_and_a_proxy_that_stops_end_a_hold_at_once() {
    let (first, second) = (Backend::by_hand(), Backend::by_hand());
    let mut proxy = holding(&[&first, &second], "").start();
    let (mut client, at_first, _) = session(&proxy, &first, "").await;
    drop(at_first);
    let (_at_second, _) = second.asked().await;
    client.send(masked_close(4321, "bye")).await;
    client.expect(unmasked_close(4321, "")).await;
    client.expect_eof().await;
    drop(client);
    let record = proxy.next_record().await;
    assert_eq!((&record["cause"], &record["close_code"]), (&"client_close".into(), &4321.into()), "{record}");

    let (mut client, at_first, _) = session(&proxy, &first, "").await;
    drop(at_first);
    let (_at_second, _) = second.asked().await;
    let (_, ()) = tokio::join!(proxy.drain(), async {
        client.expect(unmasked_close(1012, "drain")).await;
        drop(client);
    });
    proxy.stop().await;
}

#[tokio::test]
async fn a_session_without_another_backend_ends_with_words_of_its_own() {
    for (ends, told) in [
        (unmasked_close(1012, ""), unmasked_close(1012, "backend closed")),
        (Vec::new(), unmasked_close(1011, "backend lost")),
    ] {
        let (first, other) = (Backend::by_hand(), Backend::refusing());
        let routes = "routes: [ { upstream: chat, compression: off, hold: { for: 500ms } } ]";
        let mut proxy = Proxy::before(&[&first, &other]).routes(routes).start();
        let (mut client, mut at_first, _) = session(&proxy, &first, "").await;
        at_first.send(ends).await;
        drop(at_first);
        first.kill().await;
        client.expect(told).await;
        drop(client);
        let record = proxy.next_record().await;
        assert_eq!(record["resumes"], 0, "{record}");
        assert!(record["gap_ms"].as_f64().unwrap() >= 500.0, "{record}");
        proxy.stop().await;
    }
}

#[tokio::test]
async fn only_compression_that_keeps_no_state_lets_a_session_be_held() {
    let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    let routes = "routes: [ { upstream: chat, hold: { } } ]";
    for (takes_over, is_held) in [(true, false), (false, true)] {
        let (first, second) = (Backend::by_hand(), Backend::by_hand());
        let proxy = Proxy::before(&[&first, &second]).routes(routes).start();
        let answer = match takes_over {
            true => offer.to_owned(),
            false => offer.replace("deflate", "deflate; server_no_context_takeover; client_no_context_takeover"),
        };
        let mut client = proxy.client().await;
        client.send(handshake("/", offer)).await;
        let (mut at_first, head) = first.asked().await;
        at_first.accept(&head, &answer).await;
        client.upgraded().await;
        drop(at_first);
        if is_held {
            let (mut at_second, head) = second.asked().await;
            at_second.accept(&head, &answer).await;
            at_second.send(unmasked(TEXT | RSV1, b"\xf2\x48\xcd\xc9\xc9\x07\x00")).await;
            client.expect(unmasked(TEXT | RSV1, b"\xf2\x48\xcd\xc9\xc9\x07\x00")).await;
        } else {
            client.expect(unmasked_close(1011, "backend lost")).await;
        }
        proxy.stop().await;
    }
}

#[tokio::test]
async fn a_handshake_that_is_too_long_to_keep_makes_a_session_that_ends_with_its_backend() {
    let (first, second) = (Backend::by_hand(), Backend::by_hand());
    let proxy = holding(&[&first, &second], "").start();
    let (mut client, at_first, head) = session(&proxy, &first, &format!("X-Long: {}\r\n", "x".repeat(8200))).await;
    assert!(head.header("longwire-session").is_some());
    drop(at_first);
    client.expect(unmasked_close(1011, "backend lost")).await;
    proxy.stop().await;
}
