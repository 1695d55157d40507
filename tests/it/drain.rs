//! The end of the process: announced to every session, waited for, and over in time.

use std::time::Duration;

use crate::harness::{
    Backend, Proxy, Wire,
    frames::{BINARY, TEXT, masked, masked_close, unmasked, unmasked_close},
    within,
};

#[tokio::test]
async fn both_sides_of_every_session_are_told_1012() {
    let backend = Backend::by_hand();
    let mut proxy = Proxy::start(&[&backend]);
    let mut sessions = Vec::new();
    for _ in 0..5 {
        sessions.push(proxy.session_by_hand(&backend).await);
    }
    let (drained, ()) = tokio::join!(proxy.drain(), async {
        for (client, at_backend) in &mut sessions {
            client.expect_close_code(1012).await;
            at_backend.expect_close_code(1012).await;
            client.send(masked_close(1012, "")).await;
            at_backend.send(unmasked_close(1012, "")).await;
            client.expect_eof().await;
            client.finish().await;
            at_backend.expect_eof().await;
            at_backend.finish().await;
        }
    });
    assert_eq!((drained.sessions, drained.cut), (5, 0));
    let records = proxy.stop().await;
    assert_eq!(records.len(), 5);
    for record in records {
        assert_eq!((&record["cause"], &record["initiator"]), (&"drain".into(), &"proxy".into()), "{record}");
        assert_eq!((&record["close_code"], &record["clean"]), (&1012.into(), &true.into()), "{record}");
    }
}

#[tokio::test]
async fn requests_on_open_connections_get_503_and_new_connections_are_refused() {
    let backend = Backend::echo();
    let mut proxy = Proxy::before(&[&backend]).timeout("drain", "8s").timeout("close", "8s").start();
    let address = proxy.address();
    // As long as this session does not answer, the drain lasts.
    let mut client = proxy.session().await;
    let mut open = proxy.client().await;
    assert_eq!(open.get("/", "").await.status(), 200);
    let (drained, ()) = tokio::join!(proxy.drain(), async {
        // The order reaches the connections a moment after the call: the last good answer is the sign.
        let response = loop {
            let response = open.get("/", "").await;
            if response.status() != 200 {
                break response;
            }
        };
        assert_eq!(response.status(), 503);
        assert!(response.head.header("retry-after").is_some(), "{:?}", response.head);
        open.expect_eof().await;
        open.finish().await;
        within("a refusal", async { while tokio::net::TcpStream::connect(address).await.is_ok() {} }).await;
        client.expect_close_code(1012).await;
        client.send_and_finish(masked_close(1012, "")).await;
    });
    assert_eq!((drained.sessions, drained.cut), (1, 0));
    let records = proxy.stop().await;
    assert!(records.iter().any(|record| record["cause"] == "draining" && record["status"] == 503), "{records:?}");
}

#[tokio::test]
async fn a_drain_without_sessions_ends_at_once() {
    let backend = Backend::echo();
    let mut proxy = Proxy::before(&[&backend]).timeout("drain", "1h").start();
    let mut idle = proxy.client().await;
    idle.get("/", "").await;
    let drained = proxy.drain().await;
    assert_eq!((drained.sessions, drained.cut), (0, 0));
    idle.expect_gone().await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_drain_ends_at_its_deadline_and_counts_what_it_cut() {
    let backend = Backend::by_hand();
    let mut proxy = Proxy::before(&[&backend]).timeout("drain", "400ms").timeout("close", "1h").start();
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    let drained = proxy.drain().await;
    assert_eq!(drained.cut, 1);
    assert!(drained.took >= Duration::from_millis(400), "{drained:?}");
    client.expect_close_code(1012).await;
    client.expect_gone().await;
    at_backend.expect_close_code(1012).await;
    at_backend.expect_gone().await;
    let records = proxy.stop().await;
    assert_eq!((&records[0]["cause"], &records[0]["clean"]), (&"drain".into(), &false.into()), "{records:?}");
}

#[tokio::test]
async fn a_request_in_flight_is_finished() {
    let backend = Backend::by_hand();
    let mut proxy = Proxy::before(&[&backend]).timeout("drain", "5s").start();
    let mut client = proxy.client().await;
    client.send("GET /slow HTTP/1.1\r\nHost: chat\r\n\r\n").await;
    let (mut answering, _) = backend.asked().await;
    let (mut session, mut at_backend) = proxy.session_by_hand(&backend).await;
    let (drained, ()) = tokio::join!(proxy.drain(), async {
        at_backend.expect_close_code(1012).await;
        answering.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nafter").await;
        assert_eq!(client.response().await.text(), "after");
        client.expect_eof().await;
        session.expect_close_code(1012).await;
        session.send_and_finish(masked_close(1012, "")).await;
        at_backend.send_and_finish(unmasked_close(1012, "")).await;
    });
    assert_eq!(drained.cut, 0);
    proxy.stop().await;
}

#[tokio::test]
async fn a_frame_that_is_under_way_is_finished_before_its_receiver_is_told() {
    let backend = Backend::by_hand();
    let mut proxy = Proxy::before(&[&backend]).timeout("drain", "5s").timeout("close", "5s").start();
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    let frame = unmasked(BINARY, [0x55; 2000]);
    at_backend.send(&frame[..1000]).await;
    client.expect(&frame[..1000]).await;
    let (drained, ()) = tokio::join!(proxy.drain(), async {
        at_backend.expect_close_code(1012).await;
        at_backend.send_and_finish([&frame[1000..], &unmasked_close(1012, "")].concat()).await;
        client.expect(&frame[1000..]).await;
        client.expect_close_code(1012).await;
        client.send_and_finish(masked_close(1012, "")).await;
    });
    assert_eq!(drained.cut, 0);
    proxy.stop().await;
}

#[tokio::test]
async fn closes_are_spread_over_no_more_than_half_of_the_drain() {
    let backend = Backend::echo();
    let mut proxy = Proxy::before(&[&backend]).timeout("drain", "4s").start();
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = proxy.session().await;
        client.send(masked(TEXT, "x")).await;
        client.expect(unmasked(TEXT, "x")).await;
        clients.push(client);
    }
    let (drained, ()) = tokio::join!(proxy.drain(), async {
        for client in &mut clients {
            leave(client).await;
        }
    });
    assert_eq!((drained.sessions, drained.cut), (20, 0));
    assert!(drained.took < Duration::from_secs(4), "{drained:?}");
    proxy.stop().await;
}

async fn leave(client: &mut Wire) {
    client.expect_close_code(1012).await;
    client.send_and_finish(masked_close(1012, "")).await;
    client.expect_eof().await;
}
