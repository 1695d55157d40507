//! Limits: too much is refused with a reason and a record, and what is given back can be taken again.

use serde_json::Value;

use crate::harness::{
    Backend, Proxy, Wire,
    frames::{
        BINARY, END, Frame, MIDDLE, PING, PONG, TEXT, TEXT_BEGIN, masked, masked_close, unmasked, unmasked_close,
    },
    handshake,
};

/// A handshake that comes from this address through a trusted proxy.
async fn upgrade_from(proxy: &Proxy, address: &str) -> Result<Wire, (Wire, u16)> {
    upgrade(proxy, &format!("X-Forwarded-For: {address}\r\n")).await
}

/// A session, or the status of its refusal. The body of the answer is still unread.
async fn upgrade(proxy: &Proxy, more: &str) -> Result<Wire, (Wire, u16)> {
    let mut client = proxy.client().await;
    client.send(handshake("/ws", more)).await;
    let head = client.head().await;
    match head.status() {
        101 => Ok(client),
        status => {
            assert_eq!(head.header("retry-after"), Some("5"), "{}", head.as_str());
            assert_eq!(head.header("connection"), Some("close"), "{}", head.as_str());
            Err((client, status))
        }
    }
}

/// Expects that a handshake is refused: its status, one line that begins with this word, and the record.
async fn expect_refusal(proxy: &mut Proxy, refused: Result<Wire, (Wire, u16)>, status: u16, reason: &str) {
    let (mut client, found) = refused.expect_err("a refusal");
    assert_eq!(found, status, "{reason}");
    let line = String::from_utf8(client.rest().await).unwrap();
    assert!(line.starts_with(&format!("{reason}: ")) && line.lines().count() == 1, "{line:?}");
    let record = proxy.next_record().await;
    assert_eq!((&record["kind"], &record["status"]), (&"request".into(), &status.into()), "{record}");
    assert_eq!(record["cause"], reason, "{record}");
    assert!(record["close_code"].is_null() && record["backend"].is_null(), "{record}");
}

/// Ends a session of an echo backend, and waits for its record.
async fn end(proxy: &mut Proxy, client: Wire) -> Value {
    client.leave().await;
    let record = proxy.next_record().await;
    assert_eq!(record["cause"], "client_close", "{record}");
    record
}

/// Starts sessions until one is refused. Nobody knows how many that takes, because a rate depends on the clock.
async fn until_refused(proxy: &Proxy, address: &str, sessions: &mut Vec<Wire>) -> Result<Wire, (Wire, u16)> {
    for _ in 0..100 {
        match upgrade_from(proxy, address).await {
            Ok(session) => sessions.push(session),
            refused => return refused,
        }
    }
    panic!("a hundred sessions and no refusal");
}

#[tokio::test]
async fn sessions_beyond_the_limit_are_503_until_one_has_ended() {
    let backend = Backend::echo();
    let mut proxy = Proxy::before(&[&backend]).with("limits: { sessions: 2 }").start();
    let (one, other) = (proxy.session().await, proxy.session().await);
    let third = upgrade(&proxy, "").await;
    expect_refusal(&mut proxy, third, 503, "sessions").await;
    // A plain request is no session.
    assert_eq!(proxy.client().await.get("/", "").await.status(), 200);
    proxy.next_record().await;
    end(&mut proxy, one).await;
    let next = proxy.session().await;
    let fourth = upgrade(&proxy, "").await;
    expect_refusal(&mut proxy, fourth, 503, "sessions").await;
    drop((other, next));
    assert_eq!(backend.heads().len(), 4);
    proxy.stop().await;
}

#[tokio::test]
async fn sessions_of_one_address_are_429_beyond_its_limit_and_others_are_not() {
    let backend = Backend::echo();
    let mut proxy = Proxy::before(&[&backend])
        .with("trusted_proxies: [127.0.0.0/8]")
        .with("limits: { sessions_per_client: 1 }")
        .start();
    let v4 = upgrade_from(&proxy, "192.0.2.1").await.unwrap();
    let refused = upgrade_from(&proxy, "192.0.2.1").await;
    expect_refusal(&mut proxy, refused, 429, "sessions_per_client").await;
    let _next = upgrade_from(&proxy, "192.0.2.2").await.unwrap();

    let _v6 = upgrade_from(&proxy, "2001:db8:0:1::1").await.unwrap();
    let refused = upgrade_from(&proxy, "2001:db8:0:1:ffff::2").await;
    expect_refusal(&mut proxy, refused, 429, "sessions_per_client").await;
    let _next = upgrade_from(&proxy, "2001:db8:0:2::1").await.unwrap();

    end(&mut proxy, v4).await;
    upgrade_from(&proxy, "192.0.2.1").await.unwrap();
    proxy.stop().await;
}

#[tokio::test]
async fn of_handshakes_that_come_at_once_exactly_as_many_pass_as_there_is_room_for() {
    let backend = Backend::echo();
    let mut proxy = Proxy::before(&[&backend]).with("limits: { sessions: 7, sessions_per_client: 10 }").start();
    for _ in 0..3 {
        let handshakes = futures_util::future::join_all((0..30).map(|_| upgrade(&proxy, ""))).await;
        let (sessions, refused): (Vec<_>, Vec<_>) = handshakes.into_iter().partition(Result::is_ok);
        assert_eq!((sessions.len(), refused.len()), (7, 23));
        for _ in refused {
            assert_eq!(proxy.next_record().await["cause"], "sessions");
        }
        for session in sessions.into_iter().flatten() {
            end(&mut proxy, session).await;
        }
    }
    proxy.stop().await;
}

#[tokio::test]
async fn handshakes_that_become_no_session_give_back_what_they_took() {
    let backend = Backend::by_hand();
    let mut proxy = Proxy::before(&[&backend]).with("limits: { sessions: 1, sessions_per_client: 1 }").start();
    for answer in ["HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 101 ?\r\n\r\n", "SSH-2.0\r\n\r\n"] {
        let mut client = proxy.client().await;
        client.send(handshake("/ws", "")).await;
        let (mut at_backend, _) = backend.asked().await;
        let second = upgrade(&proxy, "").await;
        expect_refusal(&mut proxy, second, 429, "sessions_per_client").await;
        at_backend.send(answer).await;
        assert!(matches!(client.response().await.status(), 404 | 502));
        proxy.next_record().await;
    }
    // The client of this handshake goes away.
    let mut client = proxy.client().await;
    client.send(handshake("/ws", "")).await;
    let (_at_backend, _) = backend.asked().await;
    client.reset();
    assert_eq!(proxy.next_record().await["cause"], "client_gone");
    let _session = proxy.session_by_hand(&backend).await;
    proxy.stop().await;
}

#[tokio::test]
async fn new_sessions_beyond_the_rate_are_503_until_time_has_passed() {
    let backend = Backend::echo();
    let mut proxy = Proxy::before(&[&backend]).with("limits: { new_sessions: 1 }").start();
    let mut sessions = Vec::new();
    let refused = until_refused(&proxy, "", &mut sessions).await;
    assert!(!sessions.is_empty());
    expect_refusal(&mut proxy, refused, 503, "new_sessions").await;
    while upgrade(&proxy, "").await.is_err() {}
    proxy.stop().await;
}

#[tokio::test]
async fn new_sessions_of_one_address_are_429_beyond_its_rate_and_others_are_not() {
    let backend = Backend::echo();
    let mut proxy = Proxy::before(&[&backend])
        .with("trusted_proxies: [127.0.0.0/8]")
        .with("limits: { new_sessions_per_client: 1 }")
        .start();
    let mut sessions = Vec::new();
    let refused = until_refused(&proxy, "192.0.2.1", &mut sessions).await;
    expect_refusal(&mut proxy, refused, 429, "new_sessions_per_client").await;
    upgrade_from(&proxy, "192.0.2.2").await.unwrap();
    while upgrade_from(&proxy, "192.0.2.1").await.is_err() {}
    proxy.stop().await;
}

/// The header of a masked frame that announces `length` bytes.
fn masked_header(first: u8, length: u64) -> Vec<u8> {
    [&[first, 0x80 | 127], &length.to_be_bytes()[..], &[0; 4]].concat()
}

#[tokio::test]
async fn a_message_that_is_too_big_ends_with_1009_before_any_of_its_frame_has_passed() {
    let whole = |size| masked(TEXT, vec![b'x'; size]);
    let fragments =
        [masked(TEXT_BEGIN, vec![b'x'; 60]), masked(PING, "between"), masked(MIDDLE, vec![b'x'; 40])].concat();
    let cases = [
        ("one frame", "message_size: 100B", whole(100), whole(101), "message too big"),
        ("an announced frame", "message_size: 100B", whole(1), masked_header(BINARY, u64::MAX >> 1), "message too big"),
        ("its fragments", "message_size: 100B", fragments, masked(END, "x"), "message too big"),
        (
            "a frame",
            "frame_size: 100B",
            [whole(100), masked(TEXT_BEGIN, "x")].concat(),
            masked(END, [0; 101]),
            "frame too big",
        ),
    ];
    for (name, limit, before, too_much, reason) in cases {
        let backend = Backend::by_hand();
        let mut proxy = Proxy::before(&[&backend]).with(&format!("limits: {{ {limit} }}")).start();
        let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
        client.send([&before[..], &too_much].concat()).await;
        client.expect_close(1009, reason).await;
        at_backend.expect(&before).await;
        at_backend.expect_close(1001, "message too big").await;
        // Everything that the client still sends is discarded.
        client.try_send(masked(TEXT, "more")).await;
        client.finish().await;
        at_backend.send(unmasked_close(1001, "")).await;
        at_backend.expect_eof().await;
        let record = proxy.next_record().await;
        assert_eq!(
            (&record["cause"], &record["initiator"]),
            (&"message_too_big".into(), &"proxy".into()),
            "{name}: {record}"
        );
        assert_eq!(
            (&record["close_code"], &record["close_reason"]),
            (&1009.into(), &reason.into()),
            "{name}: {record}"
        );
        assert_eq!(record["bytes_to_backend"], before.len(), "{name}: {record}");
        proxy.stop().await;
    }
}

#[tokio::test]
async fn a_message_of_a_backend_has_a_limit_of_its_own_and_the_blame_is_the_backends() {
    let backend = Backend::by_hand();
    let mut proxy =
        Proxy::before(&[&backend]).with("limits: { message_size: 10B, backend_message_size: 100B }").start();
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    let before = [unmasked(BINARY, [0; 100]), unmasked(PONG, ""), unmasked(TEXT_BEGIN, [b'x'; 100])].concat();
    at_backend.send([&before[..], &unmasked(END, "x")].concat()).await;
    at_backend.expect_close(1009, "message too big").await;
    client.expect(&before).await;
    client.expect_close(1011, "message too big").await;
    drop((client, at_backend));
    let record = proxy.next_record().await;
    assert_eq!((&record["cause"], &record["close_code"]), (&"message_too_big".into(), &1009.into()), "{record}");
    proxy.stop().await;
}

#[tokio::test]
async fn floods_of_messages_fragments_and_pings_end_with_1008() {
    let fragments = [masked(TEXT_BEGIN, ""), masked(MIDDLE, "").repeat(1000)].concat();
    let floods = [
        ("messages", masked(TEXT, "x").repeat(1000)),
        ("fragments", fragments),
        ("Pings", masked(PING, "").repeat(1000)),
        ("Pongs", masked(PONG, "").repeat(1000)),
    ];
    let backend = Backend::by_hand();
    let mut proxy = Proxy::before(&[&backend]).with("limits: { messages_per_second: 100 }").start();
    for (name, flood) in floods {
        let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
        client.send(&flood).await;
        client.expect_close(1008, "too many messages per second").await;
        let mut passed = at_backend.frames_to_the_end().await;
        let close = passed.pop().expect("a Close");
        assert_eq!((close.close_code(), close.close_reason()), (Some(1001), "rate limited".into()), "{name}");
        assert!((100..1000).contains(&passed.len()), "{name}: {}", passed.len());
        drop((client, at_backend));
        let record = proxy.next_record().await;
        assert_eq!(
            (&record["cause"], &record["close_code"]),
            (&"rate_limited".into(), &1008.into()),
            "{name}: {record}"
        );
        assert_eq!(record["frames_to_backend"], passed.len(), "{name}: {record}");
    }
    // A hundred frames at once are allowed, and the Close does not count.
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    let fine = [masked(PING, "").repeat(100), masked_close(1000, "")].concat();
    client.send(&fine).await;
    at_backend.expect(&fine).await;
    drop((client, at_backend));
    assert_eq!(proxy.next_record().await["cause"], "client_close");
    proxy.stop().await;
}

#[tokio::test]
async fn a_flood_of_bytes_ends_with_1008_and_the_frame_it_is_in_is_cut() {
    // One message that is copied, and one that is spliced once it has begun.
    for (limit, size) in [("10KB", 20_000), ("100KB", 2_000_000)] {
        let backend = Backend::by_hand();
        let mut proxy = Proxy::before(&[&backend]).with(&format!("limits: {{ bytes_per_second: {limit} }}")).start();
        let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
        client.send(masked(TEXT, "fine")).await;
        at_backend.expect(masked(TEXT, "fine")).await;
        let message = masked(BINARY, vec![7; size]);
        let (_, passed) = tokio::join!(client.send(&message), at_backend.rest());
        client.expect_close(1008, "too many bytes per second").await;
        match Frame::parse(&passed) {
            // Nothing of the frame has passed.
            Some((frame, _)) => assert_eq!(frame.close_code(), Some(1001), "{frame:?}"),
            None => assert!(message.starts_with(&passed), "{} of {size} bytes", passed.len()),
        }
        drop(client);
        let record = proxy.next_record().await;
        assert_eq!((&record["cause"], &record["close_code"]), (&"rate_limited".into(), &1008.into()), "{record}");
        proxy.stop().await;
    }
}

#[tokio::test]
async fn pages_of_origins_that_are_not_listed_are_403() {
    let backend = Backend::echo();
    let mut proxy = Proxy::before(&[&backend])
        .routes(
            "routes:\n  - { upstream: chat, origins: [https://example.com, \"https://*.example.com\"] }\n  \
             - { path: /apps, upstream: chat, origins: [none] }\n  - { path: /open, upstream: chat }",
        )
        .with("limits: { refuse: close }")
        .start();
    for (path, origin, is_allowed) in [
        ("/ws", "Origin: https://example.com\r\n", true),
        ("/ws", "Origin: https://Chat.Example.com:443\r\n", true),
        ("/ws", "Origin: https://example.com.evil.example\r\n", false),
        ("/ws", "Origin: http://example.com\r\n", false),
        ("/ws", "Origin: null\r\n", false),
        ("/ws", "Origin: https://example.com\r\nOrigin: https://example.com\r\n", false),
        ("/ws", "", false),
        ("/apps", "", true),
        ("/apps", "Origin: https://example.com\r\n", false),
        // The Origin is checked even if `Connection` removes it on the way to the backend.
        ("/ws", "Connection: Origin\r\nOrigin: https://example.com\r\n", true),
        ("/apps", "Connection: Origin\r\nOrigin: https://example.com\r\n", false),
        ("/open", "Origin: https://evil.example\r\n", true),
        ("/open", "", true),
    ] {
        let mut client = proxy.client().await;
        client.send(handshake(path, origin)).await;
        let head = client.head().await;
        if is_allowed {
            assert_eq!(head.status(), 101, "{path} {origin:?}");
            end(&mut proxy, client).await;
            continue;
        }
        // The origin will never be allowed, so the client gets a status, even where other refusals are a Close.
        assert_eq!((head.status(), head.header("retry-after")), (403, None), "{path} {origin:?}");
        assert!(client.rest().await.starts_with(b"origin: "));
        let record = proxy.next_record().await;
        assert_eq!((&record["cause"], &record["status"]), (&"origin".into(), &403.into()), "{record}");
        assert!(record["error"].as_str().is_some_and(|error| error.contains("Origin") || error.contains("connect")));
    }
    // The origin of a plain request is left to the backend.
    assert_eq!(proxy.client().await.get("/ws", "Origin: https://evil.example\r\n").await.status(), 200);
    proxy.stop().await;
}

#[tokio::test]
async fn a_refusal_by_close_is_a_101_and_1013_with_the_reason() {
    let backend = Backend::echo();
    let mut proxy = Proxy::before(&[&backend]).with("limits: { sessions: 1, refuse: close }").start();
    let session = proxy.session().await;
    for (offers, chosen) in
        [("", None), ("Sec-WebSocket-Protocol: chat.v2, chat\r\nSec-WebSocket-Protocol: x\r\n", Some("chat.v2"))]
    {
        let mut client = proxy.client().await;
        let more = format!("{offers}Sec-WebSocket-Extensions: permessage-deflate\r\n");
        client.send([handshake("/ws", &more).as_bytes(), &masked(TEXT, "early")].concat()).await;
        let head = client.upgraded().await;
        assert_eq!(head.header("sec-websocket-protocol"), chosen, "{}", head.as_str());
        assert_eq!(head.header("sec-websocket-extensions"), None, "{}", head.as_str());
        client.expect_close(1013, "sessions").await;
        client.send([masked(TEXT, "late"), masked_close(1013, "")].concat()).await;
        client.expect_eof().await;
        client.finish().await;
        let record = proxy.next_record().await;
        for (field, value) in [
            ("kind", Value::from("request")),
            ("status", 101.into()),
            ("cause", "sessions".into()),
            ("close_code", 1013.into()),
            ("close_reason", "sessions".into()),
            ("initiator", "proxy".into()),
        ] {
            assert_eq!(record[field], value, "{field} in {record}");
        }
    }
    assert_eq!(backend.heads().len(), 1);
    // A session that was refused takes no place.
    end(&mut proxy, session).await;
    proxy.session().await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_refused_client_that_does_not_go_is_cut_at_the_close_timeout() {
    let backend = Backend::echo();
    let mut proxy = Proxy::before(&[&backend])
        .backend(0, "down: true")
        .timeout("close", "200ms")
        .with("limits: { refuse: close }")
        .start();
    let mut client = proxy.client().await;
    client.upgrade("/ws").await;
    client.expect_close(1013, "unavailable").await;
    client.expect_eof().await;
    assert_eq!(proxy.next_record().await["cause"], "unavailable");
    // The client is disconnected, though it keeps its own end open.
    client.try_send(masked(TEXT, "late")).await;
    // Only a handshake can be refused by a Close.
    let response = proxy.client().await.get("/", "").await;
    assert_eq!((response.status(), response.head.header("retry-after")), (503, Some("5")));
    proxy.stop().await;
}

#[tokio::test]
async fn a_drain_waits_for_a_refused_client() {
    let backend = Backend::echo();
    let mut proxy = Proxy::before(&[&backend])
        .backend(0, "down: true")
        .timeout("drain", "5s")
        .timeout("close", "5s")
        .with("limits: { refuse: close }")
        .start();
    let mut client = proxy.client().await;
    client.upgrade("/ws").await;
    client.expect_close(1013, "unavailable").await;
    let (drained, ()) = tokio::join!(proxy.drain(), async {
        client.expect_eof().await;
        client.send(masked_close(1013, "")).await;
        client.finish().await;
    });
    assert_eq!((drained.sessions, drained.cut), (0, 0), "{drained:?}");
    assert_eq!(proxy.stop().await[0]["cause"], "unavailable");
}

#[tokio::test]
async fn a_session_that_adds_to_too_much_unsent_ends_with_1013_and_others_go_on() {
    let backend = Backend::by_hand();
    let mut proxy = Proxy::before(&[&backend]).with("limits: { unsent_memory: 1B }").start();
    let (mut other, mut others_backend) = proxy.session_by_hand(&backend).await;
    let (client, at_backend) = proxy.session_by_hand(&backend).await;
    // These are more bytes than the kernel holds for a client that reads nothing.
    let (mut reading, mut writing) = at_backend.split();
    let flood = async { while writing.try_send(unmasked(BINARY, vec![0; 30_000])).await {} };
    tokio::select! {
        () = flood => panic!("the backend was cut before it was told"),
        () = reading.expect_close(1013, "memory") => {}
    }
    let record = proxy.next_record().await;
    assert_eq!((&record["cause"], &record["close_code"]), (&"memory".into(), &1013.into()), "{record}");
    assert_eq!(record["initiator"], "proxy", "{record}");
    drop(client);
    // The memory that the session held has been given back.
    others_backend.send(unmasked(TEXT, "on")).await;
    other.expect(unmasked(TEXT, "on")).await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_reload_changes_limits_while_the_counts_go_on() {
    let backend = Backend::echo();
    let with = |limits: &str| Proxy::before(&[&backend]).with(&format!("limits: {{ {limits} }}"));
    let mut proxy = with("sessions_per_client: 1").start();
    let first = proxy.session().await;
    let refused = upgrade(&proxy, "").await;
    expect_refusal(&mut proxy, refused, 429, "sessions_per_client").await;

    proxy.reload(&with("sessions_per_client: 2"));
    let second = proxy.session().await;
    let refused = upgrade(&proxy, "").await;
    expect_refusal(&mut proxy, refused, 429, "sessions_per_client").await;

    // The limit is now lower than the number of sessions, but they stay. The limit also counts sessions that began before it
    // was set.
    proxy.reload(&with("sessions: 1, refuse: close"));
    let mut refused = proxy.client().await;
    refused.upgrade("/ws").await;
    refused.expect_close(1013, "sessions").await;
    refused.finish().await;
    assert_eq!(proxy.next_record().await["cause"], "sessions");
    end(&mut proxy, first).await;
    end(&mut proxy, second).await;
    proxy.session().await;
    proxy.stop().await;
}
