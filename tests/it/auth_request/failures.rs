//! No answer that decides: the request is 503, and the record says why.

use super::{answer, guarded, refused, service, stop};
use crate::harness::{
    Backend, Proxy, Wire, handshake,
    secure::{Authority, HERE, Handshakes},
};

/// Expects that plain requests and handshakes are 503, with these words in the record.
async fn expect_unavailable(proxy: &mut Proxy, words: &str) {
    for is_handshake in [false, true] {
        let (mut client, response) = refused(proxy, is_handshake).await;
        assert_eq!((response.status(), response.head.header("retry-after")), (503, Some("5")), "{words}");
        response.assert_one_line_naming("auth_unavailable");
        assert!(!response.text().contains(words), "the client learns nothing of the service: {}", response.text());
        let record = proxy.next_record().await;
        assert_eq!((&record["cause"], &record["status"]), (&"auth_unavailable".into(), &503.into()), "{record}");
        assert!(record["error"].as_str().unwrap().contains(words), "{words:?} in {record}");
        assert!(record["backend"].is_null(), "{record}");
        if is_handshake {
            client.expect_gone().await;
        }
    }
}

#[tokio::test]
async fn answer_that_decides_nothing_is_503() {
    let backend = Backend::echo();
    let long = "x".repeat(64 * 1024 + 1);
    for (said, words) in [
        (answer("400 Bad Request", "", "no"), "status 400"),
        (answer("404 Not Found", "WWW-Authenticate: Basic\r\n", "no"), "status 404"),
        (answer("407 Proxy Authentication Required", "", ""), "status 407"),
        (answer("500 Internal Server Error", "", ""), "status 500"),
        (answer("503 Service Unavailable", "", ""), "status 503"),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n".to_owned(),
            "malformed_answer",
        ),
        ("220 mail.example.com ESMTP\r\n\r\n".to_owned(), "malformed_answer"),
        ("\x15\x03\x01\0\x02\x02\x46".to_owned(), "speaks_tls"),
        (answer("401 Unauthorized", "", &long), "the body of its answer: "),
        (answer("200 OK", "", &long), "the body of its answer: "),
        (answer("200 OK", "X-Session-Expires: tomorrow\r\n", ""), "X-Session-Expires is not one number"),
    ] {
        let service = service(move |_| said.clone());
        let mut proxy = guarded(&backend, &service, "").start();
        expect_unavailable(&mut proxy, words).await;
        stop(proxy, &service).await;
    }
    assert_eq!(backend.heads().len(), 0);
}

#[tokio::test]
async fn service_that_gives_no_whole_answer_in_time_is_503() {
    let backend = Backend::echo();
    let silent = service(|_| String::new());
    let slow = |status: &'static str| service(move |_| format!("HTTP/1.1 {status}\r\nContent-Length: 10\r\n\r\nfive "));
    let closing = Backend::script(|mut wire, _| async move { wire.finish().await });
    let (refusing, dead) = (Backend::refusing(), Backend::black_hole().await);
    for (service, keys, words) in [
        (silent, ", timeout: 50ms", "no answer in time"),
        (slow("200 OK"), ", timeout: 3s", "the body of its answer did not come in time"),
        (slow("401 Unauthorized"), ", timeout: 3s", "the body of its answer did not come in time"),
        // The deadline for connecting passes in the same moment: connect_timeout, or no answer in time.
        (dead, ", timeout: 50ms", "time"),
        (closing, "", "closed_early"),
        (refusing, "", "refused: "),
    ] {
        let mut proxy = guarded(&backend, &service, keys).start();
        expect_unavailable(&mut proxy, words).await;
        proxy.stop().await;
    }
    assert_eq!(backend.heads().len(), 0);
}

#[tokio::test]
async fn refusal_by_close_tells_that_no_service_decided() {
    let backend = Backend::echo();
    let service = Backend::refusing();
    let mut proxy = guarded(&backend, &service, "").with("limits: { refuse: close }").start();
    let mut client = proxy.client().await;
    client.upgrade("/ws").await;
    client.expect_close(1013, "auth_unavailable").await;
    client.finish().await;
    assert_eq!(proxy.next_record().await["cause"], "auth_unavailable");
    proxy.stop().await;
}

#[tokio::test]
async fn client_that_goes_away_takes_its_question_along() {
    let backend = Backend::echo();
    let service = Backend::by_hand();
    let mut proxy = guarded(&backend, &service, ", timeout: 1h").start();
    for request in [handshake("/ws", ""), "GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()] {
        let mut client = proxy.client().await;
        client.send(request).await;
        let (mut asked, _) = service.asked().await;
        client.reset();
        asked.expect_gone().await;
        assert_eq!(proxy.next_record().await["cause"], "client_gone");
    }
    assert_eq!(backend.heads().len(), 0);
    proxy.stop().await;
}

/// A service behind TLS that lets everybody in.
fn secure_service(authority: &Authority, name: &str) -> (Backend, Handshakes) {
    Backend::secure(authority.sign(&[name]).server(&[], None), |service, stream| async move {
        let mut wire = Wire::from(stream);
        while service.next_head(&mut wire).await.is_some() {
            wire.send(answer("200 OK", "X-User: ann\r\n", "")).await;
        }
    })
}

#[tokio::test]
async fn routes_that_ask_one_service_share_its_connections() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("an authority"));
    fs_err::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    let (backend, (service, handshakes)) = (Backend::echo(), secure_service(&authority, HERE));
    let asks = format!("auth_request: {{ url: \"https://{service}/\", tls: {{ ca: ca.pem }} }}");
    let routes = format!("routes: [ {{ path: /a, upstream: chat, {asks} }}, {{ upstream: chat, {asks} }} ]");
    let proxy = Proxy::before(&[&backend]).base(folder.path()).routes(&routes).start();
    let mut client = proxy.client().await;
    for path in ["/a", "/b", "/a"] {
        assert_eq!(client.get(path, "").await.status(), 200);
    }
    assert_eq!((service.heads().len(), handshakes.seen().len()), (3, 1));
    stop(proxy, &service).await;
}

#[tokio::test]
async fn service_behind_tls_is_asked_only_if_its_certificate_is_good() {
    let folder = tempfile::tempdir().unwrap();
    let (right, wrong) = (Authority::new("the right one"), Authority::new("another one"));
    fs_err::write(folder.path().join("ca.pem"), right.pem()).unwrap();
    let backend = Backend::echo();
    let (good, handshakes) = secure_service(&right, HERE);
    let (named, _) = secure_service(&right, "auth.internal");
    let (foreign, _) = secure_service(&wrong, HERE);
    let plain = Backend::raw(async |_, mut wire| {
        wire.send("220 mail.example.com ESMTP\r\n").await;
        wire.whatever_comes().await;
    });
    let setup = |service: &Backend, tls: &str| {
        let routes = super::route(service, &format!(", pass: [X-User], tls: {{ ca: ca.pem{tls} }}"));
        Proxy::before(&[&backend]).base(folder.path()).routes(&routes.replace("http://", "https://"))
    };
    let mut proxy = setup(&good, "").start();
    for _ in 0..2 {
        let mut client = proxy.client().await;
        assert_eq!(client.get("/", "").await.status(), 200);
        client.upgrade("/ws").await;
        client.leave().await;
        assert_eq!(backend.heads().last().unwrap().header("x-user"), Some("ann"));
        // An unchanged service keeps its way: TLS sessions and connections go on.
        assert!(proxy.reload(&setup(&good, "")).is_empty());
    }
    assert!(handshakes.seen().len() <= 2, "at most one for each worker: {:?}", handshakes.seen());
    assert_eq!(handshakes.seen()[0].name, None, "an address is never asked for");
    assert_eq!(proxy.reload(&setup(&named, ", server_name: auth.internal")).routes_changed, ["*/"]);
    assert_eq!(proxy.client().await.get("/", "").await.status(), 200);
    for _ in 0..4 {
        proxy.next_record().await;
    }
    proxy.next_record().await;
    for (service, words) in [(&named, "backend_tls: "), (&foreign, "UnknownIssuer"), (&plain, "backend_tls: ")] {
        assert_eq!(proxy.reload(&setup(service, "")).routes_changed, ["*/"]);
        expect_unavailable(&mut proxy, words).await;
    }
    proxy.stop().await;
}
