//! The end of the process: every session is told, the process waits for them, and it ends in time.

use std::time::Duration;

use longwire::balance::Duty;

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
    // The drain lasts as long as this session does not answer.
    let mut client = proxy.session().await;
    let mut open = proxy.client().await;
    assert_eq!(open.get("/", "").await.status(), 200);
    let (drained, ()) = tokio::join!(proxy.drain(), async {
        // The order reaches the connections a moment after the call. The first answer that is not 200 shows that it did.
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
    let mut proxy = Proxy::before(&[&backend]).timeout("drain", "2s").timeout("close", "1h").start();
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    let drained = proxy.drain().await;
    assert_eq!(drained.cut, 1);
    assert!(drained.took >= Duration::from_secs(2), "{drained:?}");
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
    let mut proxy = Proxy::before(&[&backend]).timeout("drain", "8s").start();
    let mut clients = Vec::new();
    // So many sessions that a spread by their number alone, twenty in a second, would be longer than the drain.
    for _ in 0..200 {
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
    assert_eq!((drained.sessions, drained.cut), (200, 0));
    proxy.stop().await;
}

async fn leave(client: &mut Wire) {
    client.expect_close_code(1012).await;
    client.send_and_finish(masked_close(1012, "")).await;
    client.expect_eof().await;
}

#[tokio::test]
async fn while_a_drain_is_announced_everything_is_served_and_only_readiness_fails() {
    let backend = Backend::echo();
    let mut proxy = Proxy::before(&[&backend])
        .timeout("drain", "8s")
        .with("drain: { wait: 3s, close_code: 4012, spread: 0s }")
        .start();
    let address = proxy.address();
    let control = proxy.control_handle();
    let mut session = proxy.session().await;
    assert!(control.is_ready());
    let (drained, ()) = tokio::join!(proxy.drain(), async {
        within("readiness to fail", async {
            while control.is_ready() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(Wire::connect(address).await.get("/", "").await.status(), 200);
        session.send(masked(TEXT, "hello")).await;
        session.expect(unmasked(TEXT, "hello")).await;
        session.expect_close(4012, "drain").await;
        session.send(masked_close(4012, "")).await;
        session.expect_eof().await;
        session.finish().await;
    });
    assert_eq!((drained.sessions, drained.cut), (1, 0));
    assert!(drained.took >= Duration::from_secs(3), "{:?}", drained.took);
    drop(control);
    let records = proxy.stop().await;
    assert!(records.iter().any(|record| record["close_code"] == 4012 && record["cause"] == "drain"), "{records:?}");
}

#[tokio::test]
async fn a_drain_of_everything_is_taken_back_and_the_process_serves_again() {
    let backend = Backend::echo();
    let proxy = Proxy::before(&[&backend]).with("drain: { spread: 1h }").start();
    // Enough sessions for a spread of 5 s. The moment of most of them has not come yet.
    let mut sessions = Vec::new();
    for _ in 0..100 {
        sessions.push(proxy.session().await);
    }
    proxy.control().drain_all(true).unwrap();
    assert!(!proxy.control().is_ready());
    assert_eq!(proxy.client().await.get("/", "").await.status(), 503);
    proxy.control().drain_all(false).unwrap();
    assert!(proxy.control().is_ready());
    assert_eq!(proxy.client().await.get("/", "").await.status(), 200);
    let mut stay = 0;
    for session in &mut sessions {
        session.send(masked(TEXT, "still here")).await;
        let frame = session.next_frame().await.expect("an echo or a Close");
        stay += usize::from(frame.payload == b"still here");
    }
    assert!(stay > 0);
    drop(sessions);
    proxy.stop().await;
}

#[tokio::test]
async fn a_drained_route_ends_its_own_sessions_and_refuses_its_own_requests() {
    let backend = Backend::echo();
    let routes = "routes: [ { path: /ws, upstream: chat }, { upstream: chat } ]";
    let mut proxy = Proxy::before(&[&backend]).routes(routes).with("drain: { spread: 0s }").start();
    let mut leaves = proxy.session().await;
    let mut stays = proxy.client().await;
    stays.upgrade("/other").await;
    proxy.control().drain_route("*/ws", true).unwrap();
    leaves.expect_close(1012, "drain").await;
    leaves.send(masked_close(1012, "")).await;
    leaves.expect_eof().await;
    leaves.finish().await;
    assert_eq!(proxy.next_record().await["route"], "*/ws");
    let refusal = proxy.client().await.get("/ws", "").await;
    assert_eq!((refusal.status(), refusal.text()), (503, "route_draining: this route is being drained\n"));
    assert_eq!(proxy.client().await.get("/", "").await.status(), 200);
    stays.send(masked(TEXT, "still here")).await;
    stays.expect(unmasked(TEXT, "still here")).await;
    proxy.control().drain_route("*/ws", false).unwrap();
    assert_eq!(proxy.client().await.get("/ws", "").await.status(), 200);
    assert!(proxy.control().drain_route("*/nowhere", true).unwrap_err().to_string().contains("*/nowhere"));
    drop(stays);
    proxy.stop().await;
}

#[tokio::test]
async fn a_drained_backend_ends_its_own_sessions_and_is_picked_again_when_it_is_up() {
    let (first, second) = (Backend::echo(), Backend::echo());
    let mut proxy = Proxy::before(&[&first, &second]).with("drain: { spread: 0s }").start();
    let (mut leaves, mut stays) = (proxy.session().await, proxy.session().await);
    let address = first.address().to_string();
    proxy.control().set_duty("chat", &address, Duty::Drain).unwrap();
    leaves.expect_close(1012, "drain").await;
    leaves.send(masked_close(1012, "")).await;
    leaves.expect_eof().await;
    leaves.finish().await;
    assert_eq!(proxy.next_record().await["backend"], address);
    for _ in 0..3 {
        proxy.client().await.get("/", "").await;
    }
    assert_eq!((first.connections(), second.connections()), (1, 2));
    stays.send(masked(TEXT, "still here")).await;
    stays.expect(unmasked(TEXT, "still here")).await;
    proxy.control().set_duty("chat", &address, Duty::Up).unwrap();
    for _ in 0..2 {
        proxy.client().await.get("/", "").await;
    }
    assert_eq!(first.connections(), 2);
    assert!(proxy.control().set_duty("chat", "10.0.0.1:1", Duty::Up).is_err());
    drop(stays);
    proxy.stop().await;
}

#[tokio::test]
async fn a_session_that_has_lived_its_life_is_told_1012() {
    let backend = Backend::by_hand();
    let routes = "routes: [ { upstream: chat, max_lifetime: 50ms } ]";
    let mut proxy = Proxy::before(&[&backend]).routes(routes).start();
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    client.expect_close(1012, "lifetime").await;
    at_backend.expect_close(1012, "lifetime").await;
    drop((client, at_backend));
    let record = proxy.next_record().await;
    assert_eq!((&record["cause"], &record["initiator"]), (&"lifetime".into(), &"proxy".into()), "{record}");
    proxy.stop().await;
}

/// The ways in which sessions are told to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    All,
    Route,
    Backend,
    RemovedRoute,
    RemovedBackend,
    BackendDown,
    Process,
}

#[tokio::test]
async fn few_sessions_are_told_at_once_however_long_the_spread_in_every_drain() {
    use Way::{All, BackendDown, Process, RemovedBackend, RemovedRoute, Route};
    for way in [All, Route, Way::Backend, RemovedRoute, RemovedBackend, BackendDown, Process] {
        let (backend, other) = (Backend::by_hand(), Backend::echo());
        let check = "health_check: { kind: http, path: /health, on_down: drain, interval: 20ms, jitter: 0s, timeout: 8s, \
                     fall: 1 }";
        let upstream = if way == BackendDown { format!("balance: round_robin, {check}") } else { "tries: 1".into() };
        let setup = |backends: &[&Backend]| {
            let setup = Proxy::before(backends).upstream(&upstream).with("drain: { spread: 1h, on_removed: close }");
            setup.timeout("drain", "24h").routes("routes: [ { path: /ws, upstream: chat }, { upstream: chat } ]")
        };
        let mut proxy = setup(&[&backend]).start();
        let mut client = proxy.client().await;
        client.send(crate::harness::handshake("/ws", "")).await;
        let (mut at_backend, head) = loop {
            let (mut wire, head) = backend.asked().await;
            if head.first_line().contains("/ws") {
                break (wire, head);
            }
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
        };
        at_backend.accept(&head, "").await;
        client.upgraded().await;
        let address = backend.to_string();
        match way {
            All => drop(proxy.control().drain_all(true).unwrap()),
            Route => drop(proxy.control().drain_route("*/ws", true).unwrap()),
            Way::Backend => drop(proxy.control().set_duty("chat", &address, Duty::Drain).unwrap()),
            RemovedRoute => drop(proxy.reload(&setup(&[&backend]).routes("routes: [ { upstream: chat } ]"))),
            RemovedBackend => drop(proxy.reload(&setup(&[&other]))),
            BackendDown => {
                let (mut wire, _) = backend.asked().await;
                wire.send("HTTP/1.1 503 Sick\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
            }
            Process => {}
        }
        let answers = async {
            client.expect_close_code(1012).await;
            client.send(masked_close(1012, "")).await;
            at_backend.expect_close_code(1012).await;
            at_backend.send(unmasked_close(1012, "")).await;
            client.expect_eof().await;
        };
        if way == Process {
            let (drained, ()) = tokio::join!(proxy.drain(), answers);
            assert_eq!((drained.sessions, drained.cut), (1, 0));
        } else {
            answers.await;
        }
        drop(proxy);
    }
}
