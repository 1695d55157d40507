//! When the service is asked: after who may come at all, before the room for sessions; and when its session ends.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{answer, guarded, permitting, refused, route, service, stop};
use crate::harness::{Backend, HANDSHAKE_HEADERS, Proxy, frames::masked_close, handshake};

/// The Unix time in so many seconds.
fn in_seconds(seconds: u64) -> u64 {
    (SystemTime::now() + Duration::from_secs(seconds)).duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test]
async fn who_may_not_come_at_all_is_never_asked_about() {
    let backend = Backend::echo();
    for (keys, status, word) in [
        ("deny: [127.0.0.0/8]", 403, "denied"),
        ("allow: [10.0.0.0/8]", 403, "denied"),
        ("client_cert: required", 403, "client_cert"),
        ("origins: [https://a.example]", 403, "origin"),
        ("strip_prefix: /ws", 400, "bad_request"),
    ] {
        let service = permitting("");
        let routes = route(&service, "").replace("upstream: chat", &format!("upstream: chat, {keys}"));
        let proxy = Proxy::before(&[&backend]).routes(&routes).start();
        let mut client = proxy.client().await;
        client.send(handshake("/ws/../a", "Origin: https://b.example\r\n")).await;
        let response = client.response().await;
        assert_eq!(response.status(), status, "{keys}");
        response.assert_one_line_naming(word);
        assert_eq!(service.heads().len(), 0, "{keys}");
        stop(proxy, &service).await;
    }
}

#[tokio::test]
async fn request_that_ends_here_or_is_no_handshake_is_not_asked_about() {
    let backend = Backend::echo();
    let service = permitting("");
    let proxy = guarded(&backend, &service, "").start();
    for (request, status) in [
        ("OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n".to_owned(), 204),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", HANDSHAKE_HEADERS.replace("Sec-WebSocket-Key", "X-Key")), 400),
    ] {
        let mut client = proxy.client().await;
        client.send(request).await;
        assert_eq!(client.response().await.status(), status);
    }
    assert_eq!(service.heads().len(), 0);
    stop(proxy, &service).await;
}

#[tokio::test]
async fn rates_come_before_the_question_and_room_after_it() {
    for rate in ["new_sessions: 1", "new_sessions_per_client: 1"] {
        let (backend, service) = (Backend::echo(), service(|_| answer("401 Unauthorized", "", "")));
        let proxy = guarded(&backend, &service, "").with(&format!("limits: {{ {rate}, sessions: 1 }}")).start();
        let mut statuses = Vec::new();
        // Nobody knows how many that takes, because a rate depends on the clock.
        while statuses.last().is_none_or(|last| *last == 401) {
            assert!(statuses.len() < 100, "a hundred questions and no refusal");
            statuses.push(refused(&proxy, true).await.1.status());
        }
        let is_of_client = rate.contains("client");
        assert_eq!(*statuses.last().unwrap(), if is_of_client { 429 } else { 503 }, "{rate}");
        assert_eq!(service.heads().len(), statuses.len() - 1, "{rate}: the last one was not asked about");
        stop(proxy, &service).await;
    }
    // There is no room, but who may not come does not learn that.
    for room in ["sessions: 1", "sessions_per_client: 1"] {
        let service = service(|question| match question.header("cookie") {
            Some("ok") => answer("200 OK", "", ""),
            _ => answer("401 Unauthorized", "", ""),
        });
        let backend = Backend::echo();
        let mut proxy = guarded(&backend, &service, "").with(&format!("limits: {{ {room} }}")).start();
        let mut session = proxy.client().await;
        session.send(handshake("/ws", "Cookie: ok\r\n")).await;
        session.upgraded().await;
        assert_eq!(refused(&proxy, true).await.1.status(), 401, "{room}");
        assert_eq!(proxy.next_record().await["cause"], "auth_denied");
        let mut next = proxy.client().await;
        next.send(handshake("/ws", "Cookie: ok\r\n")).await;
        assert_ne!(next.response().await.status(), 401, "{room}");
        assert_eq!(proxy.next_record().await["cause"], room.split(':').next().unwrap());
        session.leave().await;
        assert_eq!(proxy.next_record().await["cause"], "client_close");
        let mut last = proxy.client().await;
        last.send(handshake("/ws", "Cookie: ok\r\n")).await;
        last.upgraded().await;
        last.leave().await;
        stop(proxy, &service).await;
    }
}

#[tokio::test]
async fn path_that_cannot_be_rewritten_takes_nothing_from_the_rates() {
    let backend = Backend::echo();
    let routes = "routes: [ { upstream: chat, strip_prefix: /ws } ]";
    let proxy = Proxy::before(&[&backend]).routes(routes).with("limits: { new_sessions: 1 }").start();
    for _ in 0..3 {
        assert_eq!(proxy.client().await.refused_upgrade("/ws/../a").await.status(), 400);
    }
    proxy.session().await.leave().await;
    proxy.stop().await;
}

#[tokio::test]
async fn session_ends_when_the_service_says() {
    let backend = Backend::by_hand();
    let service = service(|_| answer("200 OK", &format!("X-Session-Expires: {}\r\n", in_seconds(4)), ""));
    let mut proxy = guarded(&backend, &service, "").start();
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    client.expect_close(1008, "expired").await;
    at_backend.expect_close(1008, "expired").await;
    drop((client, at_backend));
    let record = proxy.next_record().await;
    assert_eq!((&record["cause"], &record["initiator"]), (&"expired".into(), &"proxy".into()), "{record}");
    assert_eq!((&record["close_code"], &record["close_reason"]), (&1008.into(), &"expired".into()), "{record}");
    stop(proxy, &service).await;
}

#[tokio::test]
async fn longest_life_ends_a_session_first_if_it_is_shorter() {
    let backend = Backend::by_hand();
    let service = service(|_| answer("200 OK", &format!("X-Session-Expires: {}\r\n", in_seconds(3600)), ""));
    let routes = route(&service, "").replace("upstream: chat", "upstream: chat, max_lifetime: 50ms");
    let mut proxy = Proxy::before(&[&backend]).routes(&routes).start();
    let (mut client, at_backend) = proxy.session_by_hand(&backend).await;
    client.expect_close(1012, "lifetime").await;
    drop((client, at_backend));
    assert_eq!(proxy.next_record().await["cause"], "lifetime");
    stop(proxy, &service).await;
}

#[tokio::test]
async fn time_that_has_passed_is_403_for_handshakes_and_plain_requests() {
    let backend = Backend::echo();
    for end in [0, in_seconds(0)] {
        let service = service(move |_| answer("200 OK", &format!("X-Session-Expires: {end}\r\n"), ""));
        let mut proxy = guarded(&backend, &service, "").start();
        for is_handshake in [false, true] {
            let (_, response) = refused(&proxy, is_handshake).await;
            assert_eq!((response.status(), response.head.header("retry-after")), (403, None));
            response.assert_one_line_naming("auth_expired");
            let record = proxy.next_record().await;
            assert_eq!((&record["cause"], &record["status"]), (&"auth_expired".into(), &403.into()), "{record}");
        }
        stop(proxy, &service).await;
    }
    assert_eq!(backend.heads().len(), 0);
}

#[tokio::test]
async fn reload_sends_the_next_question_to_the_new_url() {
    let backend = Backend::echo();
    let (before, after) = (permitting(""), service(|_| answer("403 Forbidden", "", "")));
    let mut proxy = guarded(&backend, &before, "").start();
    let mut client = proxy.client().await;
    let session = proxy.session().await;
    assert_eq!(client.get("/", "").await.status(), 200);
    let changes = proxy.reload(&guarded(&backend, &after, ""));
    assert_eq!(changes.routes_changed, ["*/"]);
    assert_eq!(client.get("/", "").await.status(), 403);
    session.leave().await;
    assert!(proxy.reload(&guarded(&backend, &after, "")).is_empty());
    assert_eq!(proxy.reload(&Proxy::before(&[&backend])).routes_changed, ["*/"]);
    assert_eq!(client.get("/", "").await.status(), 200);
    assert_eq!((before.heads().len(), after.heads().len()), (2, 1));
    stop(proxy, &before).await;
    after.finish().await;
}

#[tokio::test]
async fn drain_during_the_question_refuses_handshakes_and_finishes_plain_requests() {
    let backend = Backend::echo();
    let service = Backend::by_hand();
    let open = "routes: [ { path: /open, upstream: chat }, {";
    let routes = route(&service, ", timeout: 1h").replacen("routes: [ {", open, 1);
    let mut proxy = Proxy::before(&[&backend]).routes(&routes).timeout("drain", "5s").start();
    let mut session = proxy.client().await;
    session.upgrade("/open").await;
    let (mut joins, mut reads) = (proxy.client().await, proxy.client().await);
    joins.send(handshake("/ws", "")).await;
    let (mut about_session, _) = service.asked().await;
    reads.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (mut about_request, _) = service.asked().await;
    let (drained, ()) = tokio::join!(proxy.drain(), async {
        session.expect_close(1012, "drain").await;
        for asked in [&mut about_session, &mut about_request] {
            asked.send(answer("200 OK", "", "")).await;
        }
        let refusal = joins.response().await;
        assert_eq!((refusal.status(), refusal.text()), (503, "draining: this proxy is being drained\n"));
        assert_eq!(reads.response().await.status(), 200);
        session.send(masked_close(1012, "")).await;
        session.expect_eof().await;
    });
    assert_eq!(drained.cut, 0);
    drop((about_session, about_request, joins, reads, session));
    proxy.stop().await;
    assert_eq!(backend.heads().len(), 2, "the handshake of the session before, and the plain request");
}
