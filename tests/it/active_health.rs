//! Active checks: longwire asks backends before it sends requests to them, and asks again until they are well.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use serde_json::Value;

use crate::harness::{
    Backend, Proxy, Setup, Wire, accepting,
    frames::{CLOSE, PING, PONG, TEXT, masked, masked_close, unmasked, unmasked_close},
    within,
};

/// Checks follow one another closely, and failures of requests do not count.
const QUICK: &str = "interval: 10ms, jitter: 5ms, rise: 1, fall: 2";

fn upstream(check: &str) -> String {
    format!("balance: round_robin, max_fails: 0, health_check: {{ {check}, {QUICK} }}")
}

/// Opens sessions until `backend` gets all of them: more in a row than it would get by turns.
async fn all_go_to(proxy: &mut Proxy, backend: &Backend) {
    within("all sessions at one backend", async {
        let mut in_a_row = 0;
        while in_a_row < 6 {
            let response = proxy.client().await.get("/", "").await;
            let record = proxy.next_record().await;
            let there = response.status() == 200 && record["backend"] == backend.to_string() && record["tries"] == 1;
            in_a_row = if there { in_a_row + 1 } else { 0 };
        }
    })
    .await;
}

/// Sends requests until `backend` gets one.
async fn one_goes_to(proxy: &mut Proxy, backend: &Backend) {
    within("a request at the backend", async {
        loop {
            proxy.client().await.get("/", "").await;
            if proxy.next_record().await["backend"] == backend.to_string() {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_backend_that_refuses_connections_is_out_until_it_takes_one() {
    let (lost, good) = (Backend::refusing(), Backend::echo());
    let mut proxy = Proxy::before(&[&lost, &good]).upstream(&upstream("kind: tcp")).start();
    all_go_to(&mut proxy, &good).await;
    lost.listen();
    one_goes_to(&mut proxy, &lost).await;
    proxy.stop().await;
}

/// Answers `/health` with 503 while `sick`, and every other request with 200.
fn with_health(sick: &Arc<AtomicBool>) -> Backend {
    let sick = Arc::clone(sick);
    Backend::raw(move |backend: Backend, mut wire| {
        let sick = Arc::clone(&sick);
        async move {
            while let Some(head) = backend.next_head(&mut wire).await {
                let is_check = head.first_line() == "GET /health?deep=1 HTTP/1.1";
                let status = if is_check && sick.load(Ordering::SeqCst) { "503 Sick" } else { "200 OK" };
                wire.send(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")).await;
                if is_check {
                    assert_eq!(head.header("host"), Some("chat.internal"));
                    assert_eq!(head.header("connection"), Some("close"));
                    wire.whatever_comes().await;
                    return;
                }
            }
        }
    })
}

#[tokio::test]
async fn a_backend_that_says_503_to_its_check_is_out_until_it_says_200() {
    let (sick, well) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
    let (one, other) = (with_health(&sick), with_health(&well));
    let check = "kind: http, path: \"/health?deep=1\", host: chat.internal, status: \"200,204\"";
    let mut proxy = Proxy::before(&[&one, &other]).upstream(&upstream(check)).start();
    all_go_to(&mut proxy, &other).await;
    sick.store(false, Ordering::SeqCst);
    one_goes_to(&mut proxy, &one).await;
    well.store(true, Ordering::SeqCst);
    all_go_to(&mut proxy, &one).await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_backend_that_takes_a_connection_and_says_nothing_is_out() {
    let silent = Backend::raw(async |backend: Backend, mut wire| {
        let Some(head) = backend.next_head(&mut wire).await else { return };
        // A request of a client gets an answer, so that only the checks can find the fault.
        if head.header("user-agent") != Some("longwire-check") {
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
        }
        wire.whatever_comes().await;
    });
    let good = Backend::echo();
    let check = "kind: http, timeout: 50ms";
    let mut proxy = Proxy::before(&[&silent, &good]).upstream(&upstream(check)).start();
    all_go_to(&mut proxy, &good).await;
    proxy.stop().await;
}

/// What a backend answers to the handshake of a check.
#[derive(Debug, Clone, Copy)]
enum Speech {
    NoUpgrade,
    FalseAccept,
    NoPong,
    AnotherPong,
    CloseFirst,
    Flood,
}

/// Answers plain requests with 200, and the handshake of a check with `speech`.
fn speaking(speech: Speech) -> Backend {
    Backend::script(move |mut wire, head| async move {
        if head.header("sec-websocket-key").is_none() {
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
            wire.whatever_comes().await;
            return;
        }
        match speech {
            Speech::NoUpgrade => wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await,
            Speech::FalseAccept => {
                let accepting = accepting(&head, "").replace("Sec-WebSocket-Accept: ", "Sec-WebSocket-Accept: x");
                wire.send(accepting).await;
            }
            Speech::NoPong => wire.accept(&head, "").await,
            Speech::AnotherPong => {
                wire.accept(&head, "").await;
                wire.send(unmasked(PONG, "wrong")).await;
            }
            Speech::CloseFirst => {
                wire.accept(&head, "").await;
                wire.send(unmasked_close(1013, "not now")).await;
            }
            Speech::Flood => {
                wire.accept(&head, "").await;
                while wire.try_send(unmasked(TEXT, [b'x'; 60_000])).await {}
            }
        }
        wire.whatever_comes().await;
    })
}

#[tokio::test]
async fn a_backend_that_speaks_http_but_no_websocket_is_out() {
    for speech in
        [Speech::NoUpgrade, Speech::FalseAccept, Speech::NoPong, Speech::AnotherPong, Speech::CloseFirst, Speech::Flood]
    {
        let (bad, good) = (speaking(speech), Backend::echo());
        let check = "kind: websocket, timeout: 200ms";
        let mut proxy = Proxy::before(&[&bad, &good]).upstream(&upstream(check)).start();
        all_go_to(&mut proxy, &good).await;
        proxy.stop().await;
    }
}

#[tokio::test]
async fn the_websocket_check_is_a_session_from_its_handshake_to_its_close() {
    let backend = Backend::by_hand();
    let check = "kind: websocket, path: \"/ws?check=1\", interval: 1h, jitter: 0s, timeout: 5s";
    let proxy =
        Proxy::before(&[&backend]).upstream(&format!("balance: round_robin, health_check: {{ {check} }}")).start();
    let (mut wire, head) = backend.asked().await;
    assert_eq!(head.first_line(), "GET /ws?check=1 HTTP/1.1");
    assert_eq!(head.header("host"), Some(backend.to_string().as_str()));
    wire.accept(&head, "").await;
    // This backend sends as much as a backend may.
    wire.send(unmasked(TEXT, "welcome")).await;
    wire.send(unmasked(PING, "and you?")).await;
    wire.send(unmasked(PONG, "unasked")).await;
    let ping = wire.frame().await;
    assert_eq!((ping.first, ping.masked), (PING, true));
    wire.send(unmasked(TEXT, [b'x'; 70_000])).await;
    wire.send(unmasked(PONG, &ping.payload)).await;
    let close = wire.frame().await;
    assert_eq!((close.first, close.masked, close.close_code()), (CLOSE, true, Some(1000)));
    wire.send(unmasked_close(1000, "")).await;
    wire.finish().await;
    wire.expect_eof().await;
    proxy.stop().await;
}

/// Echoes on `/ws`, and otherwise answers as [`with_health`] does.
fn echo_with_health(sick: &Arc<AtomicBool>) -> Backend {
    let sick = Arc::clone(sick);
    Backend::script(move |mut wire, head| {
        let sick = sick.load(Ordering::SeqCst) && head.first_line().contains("/health");
        async move {
            if head.header("sec-websocket-key").is_none() {
                let status = if sick { "503 Sick" } else { "200 OK" };
                wire.send(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")).await;
                wire.whatever_comes().await;
                return;
            }
            wire.accept(&head, "").await;
            while let Some(frame) = wire.next_frame().await {
                if !wire.try_send(unmasked(frame.first, &frame.payload)).await {
                    return;
                }
            }
        }
    })
}

#[tokio::test]
async fn sessions_of_a_backend_that_went_out_stay() {
    let sick = Arc::new(AtomicBool::new(false));
    let (one, other) = (echo_with_health(&sick), Backend::echo());
    let mut proxy = Proxy::before(&[&one, &other]).upstream(&upstream("kind: http, path: /health")).start();
    let mut session = proxy.session().await;
    assert_eq!(one.heads().iter().filter(|head| head.first_line().contains("/ws")).count(), 1);
    sick.store(true, Ordering::SeqCst);
    all_go_to(&mut proxy, &other).await;
    session.send(masked(TEXT, "still here")).await;
    session.expect(unmasked(TEXT, "still here")).await;
    drop(session);
    proxy.stop().await;
}

#[tokio::test]
async fn backends_whose_checks_all_fail_are_tried_all_the_same() {
    let sick = Arc::new(AtomicBool::new(true));
    let only = with_health(&sick);
    let check = "kind: http, path: \"/health?deep=1\", host: chat.internal";
    let proxy = Proxy::before(&[&only]).upstream(&upstream(check)).start();
    within("some checks", async {
        while only.heads().iter().filter(|head| head.first_line().contains("/health")).count() < 4 {
            assert_eq!(proxy.client().await.get("/", "").await.status(), 200);
        }
    })
    .await;
    assert_eq!(proxy.client().await.get("/", "").await.status(), 200);
    proxy.stop().await;
}

#[tokio::test]
async fn checks_begin_and_end_with_the_file_that_asks_for_them() {
    let (lost, good) = (Backend::refusing(), Backend::echo());
    let unchecked = Proxy::before(&[&lost, &good]).upstream("balance: round_robin, max_fails: 0");
    let checked = unchecked.clone().upstream(&upstream("kind: tcp"));
    let mut proxy = unchecked.clone().start();
    for _ in 0..2 {
        proxy.reload(&checked);
        all_go_to(&mut proxy, &good).await;
        proxy.reload(&unchecked);
        // The turns are back: every second request is tried first at the backend that refuses.
        let mut tries = 0;
        for _ in 0..4 {
            proxy.client().await.get("/", "").await;
            tries += proxy.next_record().await["tries"].as_u64().unwrap();
        }
        assert_eq!(tries, 6);
    }
    proxy.stop().await;
}

#[tokio::test]
async fn sessions_of_a_backend_that_goes_down_leave_or_stay_as_the_file_says() {
    for (on_down, leaves) in [("drain", true), ("keep", false)] {
        let sick = Arc::new(AtomicBool::new(false));
        let state = Arc::clone(&sick);
        let weak = Backend::raw(move |backend: Backend, mut wire| {
            let sick = Arc::clone(&state);
            async move {
                while let Some(head) = backend.next_head(&mut wire).await {
                    if head.header("upgrade").is_some() {
                        wire.send(accepting(&head, "")).await;
                        let code = if leaves { 1012 } else { 1000 };
                        wire.expect_close_code(code).await;
                        wire.send(unmasked_close(code, "")).await;
                        return;
                    }
                    let status = if sick.load(Ordering::SeqCst) { "503 Sick" } else { "200 OK" };
                    wire.send(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")).await;
                }
            }
        });
        let good = Backend::echo();
        let check = format!("kind: http, path: /health, on_down: {on_down}");
        let setup = Proxy::before(&[&weak, &good]).upstream(&upstream(&check)).with("drain: { spread: 0s }");
        let mut proxy = setup.start();
        let mut session = proxy.session().await;
        sick.store(true, Ordering::SeqCst);
        if leaves {
            session.expect_close(1012, "backend down").await;
            session.send(masked_close(1012, "")).await;
            session.expect_eof().await;
            session.finish().await;
        } else {
            all_go_to(&mut proxy, &good).await;
            session.leave().await;
        }
        let record = proxy.next_record().await;
        let ended = if leaves { ("backend_down", "proxy") } else { ("client_close", "client") };
        assert_eq!((&record["cause"], &record["initiator"]), (&ended.0.into(), &ended.1.into()), "{record}");
        assert_eq!(record["backend"], weak.to_string(), "it was at the one that went down");
        proxy.stop().await;
    }
}

/// What the admin interface says of the health of a backend.
async fn health(proxy: &Proxy, backend: &Backend) -> (Value, Value) {
    let admin = proxy.control().admin_address().unwrap().to_string();
    let mut wire = Wire::connect(admin.parse().unwrap()).await;
    wire.send(format!("GET /api/upstreams HTTP/1.1\r\nHost: {admin}\r\n\r\n")).await;
    let upstreams: Value = serde_json::from_str(wire.response().await.text()).unwrap();
    let backends = upstreams["upstreams"][0]["backends"].as_array().unwrap();
    let found = backends.iter().find(|entry| entry["address"] == backend.to_string()).expect("the backend");
    (found["health"].clone(), found["last_check"]["passed"].clone())
}

/// A proxy whose checks ask for `path`, once in an hour. The first check comes at once.
fn asking_hourly(backends: &[&Backend], path: &str) -> Setup {
    let check = format!("kind: http, path: {path}, interval: 1h, jitter: 0s, timeout: 1m, fall: 1, rise: 1");
    let setup = Proxy::before(backends).with("admin: { bind: \"127.0.0.1:0\" }");
    setup.upstream(&format!("balance: round_robin, health_check: {{ {check} }}"))
}

#[tokio::test]
async fn a_check_that_is_under_way_goes_on_over_reloads() {
    let backend = Backend::by_hand();
    let mut proxy = asking_hourly(&[&backend], "/health").start();
    let (mut check, _) = backend.asked().await;
    for weight in 2..7 {
        proxy.reload(&asking_hourly(&[&backend], "/health").backend(0, &format!("weight: {weight}")));
    }
    check.send("HTTP/1.1 503 Sick\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
    within("the check to count", async { while health(&proxy, &backend).await.0 != "failing" {} }).await;
    assert_eq!(backend.heads().len(), 1);
    drop(check);
    proxy.stop().await;
}

#[tokio::test]
async fn a_reload_begins_only_the_checks_anew_whose_settings_it_changes() {
    let (backend, comes) = (Backend::by_hand(), Backend::by_hand());
    let mut proxy = asking_hourly(&[&backend], "/health").start();
    let (mut check, _) = backend.asked().await;
    check.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
    within("the check to pass", async { while health(&proxy, &backend).await.1 != true {} }).await;
    for _ in 0..5 {
        proxy.reload(&asking_hourly(&[&backend], "/health"));
    }
    proxy.reload(&asking_hourly(&[&backend, &comes], "/health"));
    let (of_the_new_one, _) = comes.asked().await;
    proxy.reload(&asking_hourly(&[&backend], "/other"));
    let (anew, head) = backend.asked().await;
    assert_eq!(head.first_line(), "GET /other HTTP/1.1");
    assert_eq!(backend.heads().len(), 2, "a check for each settings");
    drop((check, of_the_new_one, anew));
    proxy.stop().await;
}

#[tokio::test]
async fn sessions_of_a_sick_backend_stay_as_soon_as_the_file_keeps_them() {
    let backend = echo_with_health(&Arc::new(AtomicBool::new(true)));
    let setup = |on_down: &str| {
        let check = format!("kind: http, path: /health, on_down: {on_down}");
        let setup = Proxy::before(&[&backend]).upstream(&upstream(&check));
        setup.with("drain: { spread: 0s }").with("admin: { bind: \"127.0.0.1:0\" }")
    };
    let mut proxy = setup("drain").start();
    within("the checks to fail", async { while health(&proxy, &backend).await.0 != "failing" {} }).await;
    let mut leaves = proxy.session().await;
    leaves.expect_close(1012, "backend down").await;
    leaves.send(masked_close(1012, "")).await;
    proxy.reload(&setup("keep"));
    let mut stays = proxy.session().await;
    stays.send(masked(TEXT, "still here")).await;
    stays.expect(unmasked(TEXT, "still here")).await;
    stays.leave().await;
    drop(leaves);
    proxy.stop().await;
}
