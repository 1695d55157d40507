//! One line for every exchange, at its end, with everything that an operator asks; and every permit is given back.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::harness::{
    Backend, Proxy, Wire,
    frames::{BINARY, CLOSE, END, PING, PONG, TEXT, TEXT_BEGIN, masked, masked_close, unmasked, unmasked_close},
    handshake, within,
};

#[tokio::test]
async fn a_session_is_recorded_with_all_that_passed() {
    let backend = Backend::by_hand();
    let mut proxy = Proxy::start(&[&backend]);
    let mut client = proxy.client().await;
    client.send(handshake("/ws/room?token=secret", "")).await;
    let mut at_backend = backend.accepted().await;
    client.upgraded().await;

    let to_backend = [masked(TEXT_BEGIN, "a"), masked(PING, "p"), masked(END, "b"), masked(TEXT, "abc")].concat();
    client.send(&to_backend).await;
    at_backend.expect(&to_backend).await;
    let to_client = [unmasked(PONG, "p"), unmasked(BINARY, vec![0; 70_000])].concat();
    tokio::join!(at_backend.send(&to_client), client.expect(&to_client));
    let close = masked_close(4001, "enough");
    client.send(&close).await;
    at_backend.expect(&close).await;
    at_backend.send(unmasked_close(4001, "")).await;
    client.expect_close(4001, "").await;

    let record = proxy.next_record().await;
    let expected = [
        ("kind", Value::from("session")),
        ("client", "127.0.0.1".into()),
        ("host", "chat.example.com".into()),
        ("method", "GET".into()),
        ("path", "/ws/room".into()),
        ("upstream", "chat".into()),
        ("backend", backend.to_string().into()),
        ("tries", 1.into()),
        ("status", 101.into()),
        ("bytes_to_backend", (to_backend.len() + close.len()).into()),
        ("bytes_to_client", (to_client.len() + 4).into()),
        ("frames_to_backend", 5.into()),
        ("frames_to_client", 3.into()),
        ("messages_to_backend", 2.into()),
        ("messages_to_client", 1.into()),
        ("close_code", 4001.into()),
        ("close_reason", "enough".into()),
        ("initiator", "client".into()),
        ("cause", "client_close".into()),
        ("how", "close".into()),
        ("clean", true.into()),
    ];
    for (field, value) in expected {
        assert_eq!(record[field], value, "{field} in {record}");
    }
    for field in ["connect_ms", "handshake_ms", "duration_ms"] {
        assert!(record[field].as_f64().is_some_and(|milliseconds| milliseconds >= 0.0), "{field} in {record}");
    }
    for field in ["time", "request_id", "route"] {
        assert!(record[field].as_str().is_some_and(|text| !text.is_empty()), "{field} in {record}");
    }
    assert!(record["tls"].is_null(), "{record}");
    assert!(!record.to_string().contains("secret"), "no query in {record}");
    proxy.stop().await;
}

#[tokio::test]
async fn long_words_of_a_client_are_cut_and_marked_in_its_record() {
    let backend = Backend::echo();
    let mut proxy = Proxy::start(&[&backend]);
    let long = format!("/{}", "x".repeat(20_000));
    let head = |path: &str| handshake(path, "").replace("chat.example.com", &"h".repeat(8000));
    for request in [head(&long), head(&long).replace("Upgrade: websocket\r\nConnection: Upgrade", "Connection: close")]
    {
        let mut client = proxy.client().await;
        client.send(request).await;
        client.head().await;
        drop(client);
        let record = proxy.next_record().await;
        let (host, path) = (record["host"].as_str().unwrap(), record["path"].as_str().unwrap());
        assert!(host.len() + path.len() <= 2048, "{} and {}", host.len(), path.len());
        assert!(host.starts_with("hhh") && host.ends_with('…') && path.starts_with("/xxx") && path.ends_with('…'));
    }
    assert!(backend.heads().iter().all(|head| head.first_line().contains(&long)), "the backend gets the whole of it");
    proxy.stop().await;
}

#[tokio::test]
async fn a_plain_request_is_recorded_without_a_word_about_sessions() {
    let backend = Backend::echo();
    let mut proxy = Proxy::start(&[&backend]);
    proxy.client().await.get("/page?token=secret", "").await;
    let record = proxy.next_record().await;
    for (field, value) in
        [("kind", "request"), ("method", "GET"), ("path", "/page"), ("cause", "ok"), ("upstream", "chat")]
    {
        assert_eq!(record[field], value, "{record}");
    }
    assert_eq!((&record["status"], &record["tries"]), (&200.into(), &1.into()), "{record}");
    for field in
        ["close_code", "how", "initiator", "messages_to_client", "pings_client", "rtt_last_ms", "silence_to_client_ms"]
    {
        assert!(record[field].is_null(), "{field} in {record}");
    }
    proxy.stop().await;
}

/// Every way in which one of its ends can end a session, with the cause in its record and how that came about.
const ENDINGS: [(&str, &str, &str); 12] = [
    ("the client closes", "client_close", "close"),
    ("the backend closes", "backend_close", "close"),
    ("both close", "*", "close"),
    ("the client closes and is gone", "client_close", "close"),
    ("the client's FIN", "client_lost", "fin"),
    ("the backend's FIN", "backend_lost", "fin"),
    ("the client's reset", "client_lost", "reset"),
    ("the backend's reset", "backend_lost", "reset"),
    ("the client's FIN inside a frame", "client_lost", "fin"),
    ("the backend's FIN inside a header", "backend_lost", "fin"),
    ("a breach by the client", "client_breach", "ours"),
    ("a breach by the backend", "backend_breach", "ours"),
];

async fn end(ending: &str, mut client: Wire, mut at_backend: Wire) {
    match ending {
        "the client closes" => {
            client.send(masked_close(1000, "")).await;
            at_backend.expect_close(1000, "").await;
            at_backend.send(unmasked_close(1000, "")).await;
        }
        "the backend closes" => {
            at_backend.send(unmasked_close(1000, "")).await;
            client.expect_close(1000, "").await;
            client.send(masked_close(1000, "")).await;
        }
        "both close" => {
            client.send(masked_close(1000, "")).await;
            at_backend.send(unmasked_close(1000, "")).await;
            client.expect_close(1000, "").await;
            at_backend.expect_close(1000, "").await;
        }
        "the client closes and is gone" => {
            client.send_and_finish(masked_close(1000, "")).await;
            at_backend.expect_close(1000, "").await;
        }
        "the client's FIN" => client.finish().await,
        "the backend's FIN" => at_backend.finish().await,
        "the client's reset" => client.reset_now(),
        "the backend's reset" => at_backend.reset_now(),
        "the client's FIN inside a frame" => client.send_and_finish(&masked(BINARY, [0; 500])[..200]).await,
        "the backend's FIN inside a header" => at_backend.send_and_finish(&unmasked(BINARY, [0; 500])[..3]).await,
        "a breach by the client" => client.send(unmasked(TEXT, "x")).await,
        "a breach by the backend" => at_backend.send(masked(TEXT, "x")).await,
        other => panic!("{other} is not written"),
    }
    tokio::join!(take_leave(client), take_leave(at_backend));
}

/// Ends this end when it is told a Close, so that nobody waits for the close timeout.
async fn take_leave(mut wire: Wire) {
    while within("a Close or the end", wire.next_frame()).await.is_some_and(|frame| frame.first != CLOSE) {}
    wire.finish().await;
    wire.rest().await;
}

#[tokio::test]
async fn every_ending_yields_one_record_and_returns_every_permit() {
    let backend = Backend::by_hand();
    let mut proxy = Proxy::before(&[&backend])
        .upstream("balance: least_conn")
        .backend(0, "max_conns: 1")
        .timeout("close", "3s")
        .start();
    for (ending, cause, how) in ENDINGS {
        // There is one permit. So this session exists only because the session before it gave its permit back.
        let (client, at_backend) = proxy.session_by_hand(&backend).await;
        assert_eq!(proxy.client().await.refused_upgrade("/").await.status(), 503, "full: {ending}");
        assert_eq!(proxy.next_record().await["cause"], "unavailable");
        end(ending, client, at_backend).await;
        let record = proxy.next_record().await;
        assert_eq!(record["kind"], "session", "{ending}: {record}");
        assert!(cause == "*" || record["cause"] == cause, "{ending}: {record}");
        assert_eq!(record["how"], how, "{ending}: {record}");
    }
    let records = proxy.stop().await;
    assert_eq!(records.len(), 2 * ENDINGS.len());
}

#[tokio::test]
async fn refused_handshakes_and_requests_return_their_permits() {
    let backend = Backend::by_hand();
    let mut proxy = Proxy::before(&[&backend])
        .upstream("balance: least_conn, max_fails: 0")
        .backend(0, "max_conns: 1")
        .timeout("upgrade", "3s")
        .start();
    let answers = [
        "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "nonsense\r\n\r\n",
        "",
    ];
    for answer in answers {
        let mut client = proxy.client().await;
        client.send(handshake("/", "")).await;
        let (mut at_backend, _) = backend.asked().await;
        // The empty answer stands for a backend that never answers.
        at_backend.send(answer).await;
        assert_ne!(client.response().await.status(), 503, "{answer:?}");
        proxy.next_record().await;
    }
    // This client leaves before the answer.
    let mut client = proxy.client().await;
    client.send(handshake("/", "")).await;
    let (_at_backend, _) = backend.asked().await;
    drop(client);
    proxy.next_record().await;

    proxy.session_by_hand(&backend).await;
    let records = proxy.stop().await;
    assert_eq!(records.len(), answers.len() + 2);
}

#[tokio::test]
async fn as_many_records_as_sessions_under_load() {
    let backend = Backend::echo();
    let proxy = Proxy::start(&[&backend]);
    let mut clients = Vec::new();
    for _ in 0..60 {
        clients.push(proxy.session().await);
    }
    for (index, mut client) in clients.into_iter().enumerate() {
        match index % 3 {
            0 => client.send(masked_close(1000, "")).await,
            1 => client.finish().await,
            _ => client.reset_now(),
        }
        client.rest().await;
    }
    let records = proxy.stop().await;
    assert_eq!(records.len(), 60);
    let causes: BTreeSet<_> = records.iter().filter_map(|record| record["cause"].as_str()).collect();
    assert_eq!(causes, BTreeSet::from(["client_close", "client_lost"]));
}
