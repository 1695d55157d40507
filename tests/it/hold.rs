//! Sessions that outlive their backends (`hold` of a route).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use longwire::balance::Duty;

use crate::harness::{
    Backend, Head, Proxy, Setup, Wire,
    frames::{CLOSE, PING, PONG, RSV1, TEXT, TEXT_BEGIN, masked, masked_close, unmasked, unmasked_close},
    handshake, within,
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
    let others = async {
        loop {
            let (mut wire, head) = backend.asked().await;
            wire.accept(&head, "Sec-WebSocket-Protocol: b\r\n").await;
            wire.expect_close(1001, "not needed").await;
        }
    };
    tokio::select! {
        () = client.expect(unmasked_close(1011, "resume refused")) => {}
        () = others => unreachable!("the session asks until its time is over"),
    }
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
        let routes = "routes: [ { upstream: chat, compression: off, hold: { for: 1s } } ]";
        let mut proxy = Proxy::before(&[&first, &other]).routes(routes).start();
        let (mut client, mut at_first, _) = session(&proxy, &first, "").await;
        at_first.send(ends).await;
        drop(at_first);
        first.kill().await;
        client.expect(told).await;
        drop(client);
        let record = proxy.next_record().await;
        assert_eq!(record["resumes"], 0, "{record}");
        assert!(record["gap_ms"].as_f64().unwrap() >= 1000.0, "{record}");
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

#[tokio::test]
async fn a_full_backend_that_restarts_takes_its_sessions_back() {
    let backend = Backend::by_hand();
    let proxy = holding(&[&backend], "").backend(0, "max_conns: 1").start();
    let (mut client, at_first, _) = session(&proxy, &backend, "").await;
    drop(at_first);
    let (mut again, head) = taken(&backend).await;
    assert_eq!(head.header("longwire-resumed"), Some("1"));
    again.send(unmasked(TEXT, "back")).await;
    client.expect(unmasked(TEXT, "back")).await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_backend_that_takes_sessions_and_ends_them_at_once_is_not_asked_for_ever() {
    let backend = Backend::by_hand();
    let routes = "routes: [ { upstream: chat, compression: off, hold: { for: 2s } } ]";
    let mut proxy = Proxy::before(&[&backend]).routes(routes).start();
    let (mut client, at_first, _) = session(&proxy, &backend, "").await;
    drop(at_first);
    let asked = backend.clone();
    let again = tokio::spawn(async move {
        loop {
            drop(taken(&asked).await);
        }
    });
    client.expect(unmasked_close(1011, "backend lost")).await;
    again.abort();
    drop(client);
    let record = proxy.next_record().await;
    assert!(record["resumes"].as_u64().is_some_and(|resumes| (1..40).contains(&resumes)), "{record}");
    assert!(backend.heads().len() < 41, "the waits go on growing");
    proxy.stop().await;
}

#[tokio::test]
async fn each_handshake_of_a_held_session_takes_a_turn() {
    let (first, second) = (Backend::by_hand(), Backend::by_hand());
    let routes = "routes: [ { upstream: chat, compression: off, hold: { for: 3s, per_second: 1 } } ]";
    let proxy = Proxy::before(&[&first, &second]).routes(routes).start();
    let (mut client, at_first, _) = session(&proxy, &first, "").await;
    let busy = [&first, &second].map(|backend| {
        let backend = backend.clone();
        tokio::spawn(async move {
            loop {
                let (mut wire, _) = backend.asked().await;
                wire.send("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
            }
        })
    });
    drop(at_first);
    client.expect(unmasked_close(1011, "backend lost")).await;
    busy.iter().for_each(tokio::task::JoinHandle::abort);
    let asked = first.heads().len() + second.heads().len() - 1;
    assert!((1..=4).contains(&asked), "{asked} handshakes in three seconds");
    proxy.stop().await;
}

#[tokio::test]
async fn a_backend_that_its_sessions_are_to_leave_gets_no_others() {
    let [sick, busy] = [(), ()].map(|()| Arc::new(AtomicBool::new(false)));
    // A session here ends with the next frame.
    let backend = |sick: &Arc<AtomicBool>, busy: &Arc<AtomicBool>| {
        let flags = [Arc::clone(sick), Arc::clone(busy)];
        Backend::script(move |mut wire, head| {
            let [is_sick, is_busy] = flags.each_ref().map(|flag| flag.load(Ordering::SeqCst));
            async move {
                let is_check = head.first_line().contains("/health");
                if is_check || is_busy {
                    let status = if is_check && !is_sick { "200 OK" } else { "503 Not Now" };
                    wire.send(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")).await;
                } else {
                    wire.accept(&head, "").await;
                    let _ = wire.next_frame().await;
                }
            }
        })
    };
    let (first, second) = (backend(&Arc::default(), &busy), backend(&sick, &Arc::default()));
    let check =
        "health_check: { kind: http, path: /health, on_down: drain, interval: 20ms, jitter: 0s, timeout: 8s, fall: 1 }";
    let routes = "routes: [ { upstream: chat, compression: off, hold: { for: 3s } } ]";
    let proxy = Proxy::before(&[&first, &second])
        .upstream(&format!("balance: round_robin, {check}"))
        .routes(routes)
        .with("drain: { spread: 0s }")
        .start();
    let mut clients = [proxy.session().await, proxy.session().await];
    let moved = |backend: &Backend| {
        backend.heads().iter().filter(|head| head.header("longwire-resume-cause") == Some("move")).count()
    };
    sick.store(true, Ordering::SeqCst);
    within("a session to move", async {
        while moved(&first) == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    busy.store(true, Ordering::SeqCst);
    for client in &mut clients {
        client.send(masked(TEXT, "end")).await;
    }
    for client in &mut clients {
        client.expect(unmasked_close(1011, "backend lost")).await;
    }
    assert!(second.heads().iter().all(|head| head.header("longwire-resumed").is_none()));
    drop(clients);
    proxy.stop().await;
}

#[tokio::test]
async fn a_proxy_that_stops_ends_a_hold_although_its_backend_was_drained_before() {
    let (first, second) = (Backend::by_hand(), Backend::by_hand());
    let mut proxy = holding(&[&first, &second], "").start();
    let (mut client, mut at_first, _) = session(&proxy, &first, "").await;
    proxy.control().set_duty("chat", &first.to_string(), Duty::Drain).unwrap();
    at_first.expect_close(1001, "moved").await;
    at_first.send(unmasked_close(1001, "")).await;
    let (_at_second, _) = second.asked().await;
    let (_, ()) = tokio::join!(proxy.drain(), async {
        client.expect(unmasked_close(1012, "drain")).await;
        drop(client);
    });
    proxy.stop().await;
}

#[tokio::test]
async fn a_reload_without_the_lost_backend_does_not_end_the_session() {
    let setup = |backends: &[&Backend]| holding(backends, "").with("drain: { on_removed: close, spread: 0s }");
    let (first, second) = (Backend::by_hand(), Backend::by_hand());
    let mut proxy = setup(&[&first, &second]).start();
    let (mut client, at_first, _) = session(&proxy, &first, "").await;
    drop(at_first);
    let (mut at_second, head) = second.asked().await;
    let reloaded = proxy.reload(&setup(&[&second]));
    assert_eq!(reloaded.backends_removed.len(), 1);
    // The order has come by the time that this is answered, or it comes too late to be seen here.
    client.exchange(&masked(PING, "p"), &unmasked(PONG, "p")).await;
    at_second.accept(&head, "").await;
    at_second.send(unmasked(TEXT, "here")).await;
    client.expect(unmasked(TEXT, "here")).await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_route_that_leads_to_another_upstream_hands_no_session_over() {
    let (first, other) = (Backend::by_hand(), Backend::by_hand());
    let setup = |upstream: &str| {
        let routes = format!(
            "  other: {{ backends: [ {{ address: \"{other}\" }} ] }}\n\
             routes: [ {{ upstream: {upstream}, compression: off, hold: {{ for: 20s }} }} ]"
        );
        Proxy::before(&[&first]).routes(&routes)
    };
    let mut proxy = setup("chat").start();
    let (mut client, at_first, _) = session(&proxy, &first, "").await;
    proxy.reload(&setup("other"));
    drop(at_first);
    client.expect(unmasked_close(1011, "resume refused")).await;
    assert!(other.heads().is_empty());
    proxy.stop().await;
}

#[tokio::test]
async fn a_drained_backend_without_another_one_ends_its_sessions_at_once() {
    let (backend, down) = (Backend::by_hand(), Backend::refusing());
    let proxy = holding(&[&backend, &down], "").backend(1, "down: true").start();
    let (mut client, mut at_backend, _) = session(&proxy, &backend, "").await;
    proxy.control().set_duty("chat", &backend.to_string(), Duty::Drain).unwrap();
    client.expect_close(1012, "drain").await;
    at_backend.expect_close(1012, "drain").await;
    drop((client, at_backend));
    proxy.stop().await;
}

#[tokio::test]
async fn a_backend_that_was_read_only_in_part_still_reads_the_answer_to_its_close() {
    let (first, second) = (Backend::by_hand(), Backend::by_hand());
    let proxy = holding(&[&first, &second], "").start();
    let (_client, mut at_first, _) = session(&proxy, &first, "").await;
    // Nobody reads what is behind a Close. To close over it would reset the connection.
    at_first.send([unmasked_close(1012, ""), vec![0; 1 << 20]].concat()).await;
    at_first.expect_close_code(1012).await;
    at_first.expect_eof().await;
    let _at_second = taken(&second).await;
    proxy.stop().await;
}

#[tokio::test]
async fn sessions_that_find_no_backend_together_do_not_end_together() {
    let (backend, other) = (Backend::by_hand(), Backend::refusing());
    let routes = "routes: [ { upstream: chat, compression: off, hold: { for: 1s } } ]";
    let proxy = Proxy::before(&[&backend, &other]).routes(routes).with("drain: { spread: 1h }").start();
    let (mut clients, mut at_backend) = (Vec::new(), Vec::new());
    for _ in 0..60 {
        let (client, wire, _) = session(&proxy, &backend, "").await;
        clients.push(client);
        at_backend.push(wire);
    }
    backend.kill().await;
    drop(at_backend);
    let ends = clients.into_iter().map(|mut client| async move {
        client.expect(unmasked_close(1011, "backend lost")).await;
        Instant::now()
    });
    let ends = futures_util::future::join_all(ends).await;
    let took = ends.iter().max().unwrap().duration_since(*ends.iter().min().unwrap());
    // Sixty sessions are told over three seconds. A slow machine only takes longer.
    assert!(took > Duration::from_secs(1), "{took:?}");
    proxy.stop().await;
}

#[tokio::test]
async fn each_hold_is_counted_as_resumed_or_as_given_up_and_what_waits_is_a_gauge() {
    let (first, second) = (Backend::by_hand(), Backend::by_hand());
    let mut proxy = holding(&[&first, &second], "").with("admin: { bind: \"127.0.0.1:0\" }").start();
    let (mut client, at_first, _) = session(&proxy, &first, "").await;
    drop(at_first);
    let (mut at_second, head) = second.asked().await;
    client.send(masked(TEXT, "waits")).await;
    client.exchange(&masked(PING, "p"), &unmasked(PONG, "p")).await;
    assert_eq!(proxy.metric("longwire_queued_bytes").await, "11");
    at_second.accept(&head, "").await;
    at_second.expect(masked(TEXT, "waits")).await;
    assert_eq!(proxy.metric("longwire_queued_bytes").await, "0");
    assert_eq!(proxy.metric("longwire_resumed_total{side=\"backend\"}").await, "1");
    at_second.send(unmasked_close(1012, "")).await;
    let _asked = first.asked().await;
    client.send(masked_close(1000, "")).await;
    client.expect(unmasked_close(1000, "")).await;
    drop(client);
    proxy.next_record().await;
    for (series, count) in [
        ("longwire_holds_total{cause=\"lost\"}", "1"),
        ("longwire_holds_total{cause=\"1012\"}", "1"),
        ("longwire_resumed_total{side=\"backend\"}", "1"),
        ("longwire_gap_seconds_count{side=\"backend\"}", "1"),
        ("longwire_gave_up_total{why=\"ended\"}", "1"),
    ] {
        assert_eq!(proxy.metric(series).await, count, "{series}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn what_a_session_had_queued_is_gone_as_soon_as_its_end_begins() {
    let (first, second) = (Backend::by_hand(), Backend::by_hand());
    let setup = holding(&[&first, &second], "").timeout("close", "30s").with("admin: { bind: \"127.0.0.1:0\" }");
    let proxy = setup.with("limits: { unsent_memory: 256KiB }").start();
    let (mut hog, at_first, _) = session(&proxy, &first, "").await;
    drop(at_first);
    let _asked = second.asked().await;
    hog.send(masked(TEXT, [b'x'; 100])).await;
    hog.exchange(&masked(PING, "p"), &unmasked(PONG, "p")).await;
    assert_eq!(proxy.metric("longwire_queued_bytes").await, "106");
    hog.send(masked_close(1000, "")).await;
    hog.expect(unmasked_close(1000, "")).await;
    // The client does not close its connection yet.
    within("the queue to go", async { while proxy.metric("longwire_queued_bytes").await != "0" {} }).await;
    drop(hog);
    proxy.stop().await;
}

#[tokio::test]
async fn a_backend_that_never_answers_leaves_time_for_others_and_is_failing() {
    let (first, spare) = (Backend::by_hand(), Backend::by_hand());
    let routes = "routes: [ { upstream: chat, compression: off, hold: { for: 3s } } ]";
    let setup = Proxy::before(&[&first, &spare]).backend(1, "backup: true").upstream("max_fails: 1");
    let proxy = setup.routes(routes).start();
    let (mut client, at_first, _) = session(&proxy, &first, "").await;
    let (mut other, other_at_first, _) = session(&proxy, &first, "").await;
    drop(at_first);
    let _silent = first.asked().await;
    let (mut at_spare, head) = taken(&spare).await;
    assert_eq!(head.header("longwire-resumed"), Some("1"));
    at_spare.send(unmasked(TEXT, "here")).await;
    client.expect(unmasked(TEXT, "here")).await;
    // Nobody waits for that backend again.
    drop(other_at_first);
    let (mut at_spare, _) = taken(&spare).await;
    at_spare.send(unmasked(TEXT, "here too")).await;
    other.expect(unmasked(TEXT, "here too")).await;
    assert_eq!(first.heads().len(), 3);
    proxy.stop().await;
}

#[tokio::test]
async fn a_service_that_is_asked_about_a_held_session_and_never_answers_is_asked_again() {
    let (backend, service) = (Backend::by_hand(), Backend::by_hand());
    let asks = format!("auth_request: {{ url: \"http://{service}/\", timeout: 30s }}");
    let routes = format!("routes: [ {{ upstream: chat, compression: off, {asks}, hold: {{ for: 3s }} }} ]");
    let proxy = Proxy::before(&[&backend]).routes(&routes).start();
    let permit = async || {
        let (mut wire, _) = service.asked().await;
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
    };
    let ((mut client, at_first, _), ()) = tokio::join!(session(&proxy, &backend, ""), permit());
    drop(at_first);
    let _silent = service.asked().await;
    permit().await;
    let (mut again, _) = taken(&backend).await;
    again.send(unmasked(TEXT, "here")).await;
    client.expect(unmasked(TEXT, "here")).await;
    drop(client);
    proxy.stop().await;
    service.finish().await;
}

#[tokio::test]
async fn a_drained_backend_moves_no_more_sessions_than_get_their_turns() {
    let (first, second) = (Backend::echo(), Backend::echo());
    let routes = "routes: [ { upstream: chat, compression: off, hold: { for: 2s, per_second: 10 } } ]";
    let proxy = Proxy::before(&[&first, &second]).routes(routes).with("drain: { spread: 0s }").start();
    let set = |backend: &Backend, duty| proxy.control().set_duty("chat", &backend.to_string(), duty).unwrap();
    set(&second, Duty::Down);
    let mut clients = Vec::new();
    for _ in 0..40 {
        clients.push(proxy.session().await);
    }
    set(&second, Duty::Up);
    let told = set(&first, Duty::Drain);
    assert_eq!((told.sessions, told.over), (40, Duration::from_secs(5)));
    within("all sessions to move", async {
        while second.heads().len() < 40 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for client in &mut clients {
        client.exchange(&masked(TEXT, "still here"), &unmasked(TEXT, "still here")).await;
    }
    drop(clients);
    proxy.stop().await;
}

#[tokio::test]
async fn a_session_that_gets_no_turn_in_time_is_told_to_come_back() {
    let (first, second) = (Backend::by_hand(), Backend::by_hand());
    let routes = "routes: [ { upstream: chat, compression: off, hold: { for: 1s, per_second: 1 } } ]";
    let proxy = Proxy::before(&[&first, &second]).backend(1, "backup: true").routes(routes).start();
    let (mut one, at_first, _) = session(&proxy, &first, "").await;
    let (mut other, other_at_first, _) = session(&proxy, &first, "").await;
    first.kill().await;
    drop((at_first, other_at_first));
    // There is one turn within the time, and the first attempt takes it.
    let (at_second, first_words) = tokio::join!(
        async {
            let (mut at_second, _) = taken(&second).await;
            at_second.send(unmasked(TEXT, "here")).await;
            at_second
        },
        async { tokio::join!(one.frame(), other.frame()) }
    );
    let told = [first_words.0, first_words.1].map(|frame| match frame.first {
        CLOSE => (frame.close_code(), frame.close_reason()),
        _ => (None, String::from_utf8(frame.payload).unwrap()),
    });
    let (here, gone) = ((None, "here".to_owned()), (Some(1012), "backend lost".to_owned()));
    assert!(told == [here.clone(), gone.clone()] || told == [gone, here], "{told:?}");
    drop((one, other, at_second));
    proxy.stop().await;
}

#[tokio::test]
async fn a_session_that_has_had_its_backends_ends_as_without_hold() {
    for (ends, told) in [
        (unmasked_close(1012, "restart"), unmasked_close(1012, "restart")),
        (Vec::new(), unmasked_close(1011, "backend lost")),
    ] {
        let (first, second) = (Backend::by_hand(), Backend::by_hand());
        let mut proxy = holding(&[&first, &second], "times: 1").backend(1, "backup: true").start();
        let (mut client, at_first, _) = session(&proxy, &first, "").await;
        first.kill().await;
        drop(at_first);
        let (mut at_second, _) = taken(&second).await;
        at_second.send(unmasked(TEXT, "here")).await;
        client.expect(unmasked(TEXT, "here")).await;
        at_second.send(ends).await;
        drop(at_second);
        client.expect(told).await;
        drop(client);
        let record = proxy.next_record().await;
        assert_eq!((&record["resumes"], second.heads().len()), (&1.into(), 1), "{record}");
        proxy.stop().await;
    }
}

#[tokio::test]
async fn what_a_dead_backend_had_not_taken_is_counted_whether_or_not_the_session_is_held() {
    for (half, resumes) in [(None, 1), (Some(masked(TEXT_BEGIN, "half")), 0)] {
        let (first, second) = (Backend::by_hand(), Backend::by_hand());
        let setup = holding(&[&first, &second], "").backend(1, "backup: true");
        let mut proxy = setup.with("admin: { bind: \"127.0.0.1:0\" }").start();
        let (mut client, at_first, _) = session(&proxy, &first, "").await;
        // More than the kernel takes for a program that reads nothing, and less than ours keeps for it.
        let frames = [masked(TEXT, [b'x'; 1000]).repeat(500), half.unwrap_or_default()].concat();
        client.send(&frames).await;
        let passed = "websocket_bytes_total{route=\"*/\",upstream=\"chat\",direction=\"to_backend\"}";
        within("the frames to pass", async { while proxy.metric(passed).await != frames.len().to_string() {} }).await;
        first.kill().await;
        at_first.reset();
        let mut at_second = None;
        if resumes == 0 {
            client.expect(unmasked_close(1011, "backend lost")).await;
        } else {
            let (wire, _) = at_second.insert(taken(&second).await);
            wire.send(unmasked(TEXT, "here")).await;
            client.expect(unmasked(TEXT, "here")).await;
        }
        drop((client, at_second));
        let record = proxy.next_record().await;
        assert!(record["maybe_lost_bytes"].as_u64().is_some_and(|bytes| bytes > 100_000), "{record}");
        assert!(record["maybe_lost_bytes"].as_u64() <= record["bytes_to_backend"].as_u64(), "{record}");
        assert_eq!(record["resumes"], resumes, "{record}");
        proxy.stop().await;
    }
}

#[tokio::test]
async fn nothing_is_said_of_bytes_in_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let backend = Backend::by_hand_at_unix(&format!("unix:{}/backend", folder.path().display()));
    let mut proxy = holding(&[&backend], "").start();
    let (mut client, mut at_first, _) = session(&proxy, &backend, "").await;
    client.send(masked(TEXT, "one")).await;
    at_first.expect(masked(TEXT, "one")).await;
    drop(at_first);
    let (mut again, _) = taken(&backend).await;
    again.send(unmasked(TEXT, "here")).await;
    client.expect(unmasked(TEXT, "here")).await;
    drop((client, again));
    let record = proxy.next_record().await;
    assert_eq!((&record["resumes"], record.get("maybe_lost_bytes")), (&1.into(), None), "{record}");
    proxy.stop().await;
}
