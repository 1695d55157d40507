//! The service that a route asks about each request (`auth_request`): what it is asked, what follows from its answer, and
//! what happens without one.

mod failures;
mod order;

use std::sync::Arc;

use crate::harness::{Backend, HANDSHAKE_HEADERS, Head, Proxy, Response, Setup, Wire, handshake};

/// A service that answers each question with what `answer` makes of it, on connections that stay.
fn service(answer: impl Fn(&Head) -> String + Send + Sync + 'static) -> Backend {
    let answer = Arc::new(answer);
    Backend::raw(move |backend: Backend, mut wire| {
        let answer = Arc::clone(&answer);
        async move {
            while let Some(question) = backend.next_head(&mut wire).await {
                if !wire.try_send(answer(&question)).await {
                    return;
                }
            }
        }
    })
}

/// An answer with this status, these fields (each ended by CRLF) and this body.
fn answer(status: &str, fields: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// A service that lets everybody in, with these fields.
fn permitting(fields: &'static str) -> Backend {
    service(move |_| answer("200 OK", fields, ""))
}

/// A proxy whose route asks this service. `keys`: further keys of `auth_request`, and behind `}` of the route.
fn guarded(backend: &Backend, service: &Backend, keys: &str) -> Setup {
    Proxy::before(&[backend]).routes(&route(service, keys))
}

fn route(service: &Backend, keys: &str) -> String {
    format!("routes: [ {{ upstream: chat, auth_request: {{ url: \"http://{service}/check?by=longwire\"{keys} }} }} ]")
}

/// Sends a plain request or a handshake that must be refused.
async fn refused(proxy: &Proxy, is_handshake: bool) -> (Wire, Response) {
    let mut client = proxy.client().await;
    let more = if is_handshake { HANDSHAKE_HEADERS } else { "" };
    client.send(format!("GET /ws HTTP/1.1\r\nHost: a\r\n{more}\r\n")).await;
    let response = client.response().await;
    (client, response)
}

/// Ends the proxy, and then the service.
async fn stop(proxy: Proxy, service: &Backend) {
    proxy.stop().await;
    service.finish().await;
}

#[tokio::test]
async fn question_has_the_fields_of_the_client_and_says_which_request_it_is_about() {
    const FIELDS: &str = "Cookie: a=1\r\nAuthorization: Basic YTpi\r\nX-Tag: 1\r\nX-Tag: 2\r\nConnection: keep-alive, X-Hop\r\n\
                          X-Hop: 1\r\nTE: trailers\r\nX-User: me\r\nX-Forwarded-Method: HEAD\r\nX-Forwarded-Uri: /forged\r\n\
                          X-Original-URI: /forged\r\nX_Original_URI: /forged\r\nX-Original-URL: http://forged/\r\n\
                          X-Forwarded-For: 192.0.2.7\r\nX-Request-ID: id-";
    for (trusted, forwarded_for) in [("[]", "127.0.0.1"), ("[ 127.0.0.0/8 ]", "192.0.2.7, 127.0.0.1")] {
        let (backend, service) = (Backend::echo(), permitting(""));
        let routes = route(&service, ", pass: [X-User]").replace("upstream: chat", "upstream: chat, strip_prefix: /ws");
        let proxy = Proxy::before(&[&backend]).routes(&routes).with(&format!("trusted_proxies: {trusted}")).start();
        let mut client = proxy.client().await;
        let body = "Content-Type: text/plain\r\nContent-Length: 4\r\nExpect: 100-continue\r\n";
        client
            .send(format!("POST /ws/a%2Fb?c=%41 HTTP/1.1\r\nHost: chat.example.com:99\r\n{FIELDS}1\r\n{body}\r\nbody"))
            .await;
        let interim = client.head().await;
        assert_eq!((interim.status(), client.response().await.status()), (100, 200));
        client.send(handshake("/ws/c?d", &format!("{FIELDS}2\r\n"))).await;
        client.upgraded().await;
        client.leave().await;
        proxy.stop().await;
        let questions = service.heads();
        assert_eq!(questions.len(), 2);
        for (question, (method, target)) in questions.iter().zip([("POST", "/ws/a%2Fb?c=%41"), ("GET", "/ws/c?d")]) {
            assert_eq!(question.first_line(), "GET /check?by=longwire HTTP/1.1");
            assert_eq!(question.header("host"), Some(&*service.to_string()));
            assert_eq!(question.header("x-forwarded-method"), Some(method), "{question:?}");
            assert_eq!(question.header("x-forwarded-uri"), Some(target), "{question:?}");
            assert_eq!(question.header("x-original-uri"), Some(target), "{question:?}");
            assert_eq!(question.header("x-forwarded-for"), Some(forwarded_for), "{question:?}");
            assert_eq!(question.header("x-forwarded-proto"), Some("http"));
            assert_eq!(question.header("cookie"), Some("a=1"));
            assert_eq!(question.header("authorization"), Some("Basic YTpi"));
            assert_eq!(question.header("x-user"), Some("me"), "the service may judge by it");
            assert_eq!(question.headers("x-tag"), ["1", "2"]);
            let text = question.as_str().to_ascii_lowercase();
            for absent in ["forged", "x-hop", "te:", "upgrade", "sec-websocket", "content-", "expect", "prefix"] {
                assert!(!text.contains(absent), "{absent} in {question:?}");
            }
        }
        // Only a trusted sender says of which host a request is.
        assert_eq!(questions[0].header("x-forwarded-host"), Some("chat.example.com:99"));
        service.finish().await;
        let paths: Vec<_> = backend.heads().iter().map(|head| head.first_line().to_owned()).collect();
        assert_eq!(paths, ["POST /a%2Fb?c=%41 HTTP/1.1", "GET /c?d HTTP/1.1"]);
    }
}

#[tokio::test]
async fn backend_gets_what_the_service_grants_and_nothing_of_that_name_from_the_client() {
    let backend = Backend::echo();
    let service = service(|question| match question.header("x-ask") {
        Some("user") => {
            answer("202 Accepted", "X-User: ann\r\nx-groups: a\r\nX-Groups: b\r\nX-Other: 1\r\nSet-Cookie: s=1\r\n", "")
        }
        Some("hop") => answer("200 OK", "Connection: X-User\r\nX-User: hop\r\n", "let in"),
        _ => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
    });
    let keys =
        ", pass: [X-User, X-Groups, Authorization] }, request_headers: { set: { X-Rule: set }, remove: [X-Other] ";
    let proxy = guarded(&backend, &service, keys).start();
    let forged = "X-User: root\r\nX_User: root\r\nx-groups: wheel\r\nAuthorization: Basic cm9vdA==\r\n";
    for (ask, user, groups) in [("user", Some("ann"), &["a", "b"][..]), ("nothing", None, &[]), ("hop", None, &[])] {
        let mut client = proxy.client().await;
        let response = client.get("/", &format!("X-Ask: {ask}\r\n{forged}")).await;
        assert_eq!((response.status(), response.head.header("set-cookie")), (200, None));
        client.send(handshake("/ws", &format!("X-Ask: {ask}\r\n{forged}"))).await;
        client.upgraded().await;
        client.leave().await;
        for head in backend.heads().iter().rev().take(2) {
            assert_eq!((head.header("x-user"), &*head.headers("x-groups")), (user, groups), "{ask}: {head:?}");
            assert_eq!((head.header("x_user"), head.header("authorization")), (None, None), "{ask}: {head:?}");
            assert_eq!((head.header("x-rule"), head.header("x-other")), (Some("set"), None), "{ask}: {head:?}");
            assert_eq!(head.header("x-original-uri"), None, "this is for the service");
        }
    }
    assert_eq!(backend.heads().len(), 6);
    stop(proxy, &service).await;
}

#[tokio::test]
async fn refusal_goes_to_the_client_as_it_is_and_nothing_goes_to_a_backend() {
    let backend = Backend::echo();
    let fields = "WWW-Authenticate: Bearer realm=\"a\"\r\nWWW-Authenticate: Basic\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\
                  Server: auth\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nContent-Type: text/html\r\n";
    for (status, more, body) in [
        ("401 Who are you", "", "<p>sign in</p>"),
        ("403 Forbidden", "", ""),
        ("302 Found", "Location: https://login.example.com/?rd=%2Fws\r\n", "see there"),
        ("307 Temporary Redirect", "Location: /login\r\n", "x"),
        ("303 See Other", "Location: /login\r\n", "chunked"),
        ("304 Not Modified", "", ""),
    ] {
        let service = service(move |_| match body {
            "chunked" => format!(
                "HTTP/1.1 {status}\r\n{fields}{more}Transfer-Encoding: chunked\r\n\r\n7\r\nchunked\r\n0\r\n\r\n"
            ),
            body => answer(status, &format!("{fields}{more}"), body),
        });
        let rules = " }, response_headers: { remove: [Server], set: { X-Frame-Options: DENY } ";
        let mut proxy = guarded(&backend, &service, rules).start();
        for is_handshake in [false, true] {
            let (mut client, response) = refused(&proxy, is_handshake).await;
            let head = &response.head;
            assert_eq!(head.first_line(), format!("HTTP/1.1 {status}"));
            assert_eq!(response.text(), body, "{status}");
            assert_eq!(head.headers("www-authenticate"), ["Bearer realm=\"a\"", "Basic"]);
            assert_eq!(head.headers("set-cookie"), ["a=1", "b=2"]);
            assert_eq!(head.header("content-type"), Some("text/html"));
            let location = more.trim_end().strip_prefix("Location: ");
            assert_eq!((head.header("location"), head.header("x-hop")), (location, None));
            assert_eq!((head.header("server"), head.header("x-frame-options")), (None, Some("DENY")));
            let code: u16 = status[..3].parse().unwrap();
            let record = proxy.next_record().await;
            assert_eq!((&record["cause"], &record["status"]), (&"auth_denied".into(), &code.into()), "{record}");
            assert_eq!((&record["tries"], &record["backend"]), (&0.into(), &serde_json::Value::Null), "{record}");
            if is_handshake {
                // Frames may follow the handshake.
                assert_eq!(head.header("connection"), Some("close"));
                client.expect_gone().await;
            } else {
                client.get("/again", "").await;
                proxy.next_record().await;
            }
        }
        stop(proxy, &service).await;
    }
    assert_eq!(backend.heads().len(), 0);
}

#[tokio::test]
async fn connection_with_the_service_serves_one_question_after_another() {
    let backend = Backend::echo();
    let service = service(|question| match question.header("x-forwarded-uri") {
        Some("/in") => answer("200 OK", "", "you may"),
        Some("/in/chunked") => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n".to_owned(),
        Some("/in/empty") => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
        // Interim answers say nothing (RFC 9110 §15.2).
        Some("/in/early") => format!(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n{}",
            answer("200 OK", "", "")
        ),
        _ => answer("401 Unauthorized", "", "you may not"),
    });
    let proxy = guarded(&backend, &service, "").start();
    let mut client = proxy.client().await;
    for (path, status) in [
        ("/in", 200),
        ("/out", 401),
        ("/in/chunked", 200),
        ("/in/empty", 200),
        ("/in/early", 200),
        ("/out", 401),
        ("/in", 200),
    ] {
        assert_eq!(client.get(path, "").await.status(), status, "{path}");
    }
    assert_eq!((service.heads().len(), service.connections()), (7, 1));
    stop(proxy, &service).await;
}

#[tokio::test]
async fn hop_is_told_to_the_service_as_to_the_backend() {
    let backend = Backend::echo();
    let service = permitting("");
    let proxy = guarded(&backend, &service, "").with("via_header: true").start();
    let response =
        proxy.client().await.get("/", "X-Client-Cert-Subject: CN=root\r\nX-Forwarded-For: 192.0.2.1\r\n").await;
    assert_eq!(response.status(), 200);
    let (questions, heads) = (service.heads(), backend.heads());
    for name in [
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-real-ip",
        "x-request-id",
        "via",
    ] {
        let told = questions[0].header(name);
        assert!(told.is_some() && told == heads[0].header(name), "{name}: {questions:?} {heads:?}");
    }
    assert_eq!(questions[0].header("x-client-cert-subject"), None);
    stop(proxy, &service).await;
}

#[tokio::test]
async fn service_decides_for_the_hash_about_what_only_it_may_say() {
    let (one, other) = (Backend::echo(), Backend::echo());
    let service = service(|question| match question.header("x-forwarded-uri") {
        Some("/granted") => answer("200 OK", "X-User: ann\r\n", ""),
        _ => answer("200 OK", "", ""),
    });
    let setup = Proxy::before(&[&one, &other]).routes(&route(&service, ", pass: [X-User]"));
    let proxy = setup.upstream("balance: hash, hash_on: { header: X-User }").start();
    let mut client = proxy.client().await;
    for path in ["/granted", "/nothing"] {
        let mut backends = std::collections::BTreeSet::new();
        for user in 0..16 {
            let response = client.get(path, &format!("X-User: forged-{user}\r\n")).await;
            backends.insert(response.head.header("x-backend").unwrap().to_owned());
        }
        assert_eq!(backends.len(), 1, "{path}: {backends:?}");
    }
    stop(proxy, &service).await;
}

#[tokio::test]
async fn connection_that_belongs_to_one_client_is_shared_with_nobody() {
    // The backend, when the service grants a login that holds for the connection; and the service, when it asks for one.
    let backend = Backend::echo();
    let service = service(|question| match question.header("x-forwarded-uri") {
        Some("/granted") => answer("200 OK", "Authorization: Negotiate YWJj\r\n", ""),
        Some("/asked") => answer("401 Unauthorized", "WWW-Authenticate: Negotiate\r\n", ""),
        _ => answer("200 OK", "", ""),
    });
    let proxy = guarded(&backend, &service, ", pass: [Authorization]").start();
    let mut client = proxy.client().await;
    let mut statuses = Vec::new();
    for path in ["/granted", "/asked", "/asked"] {
        statuses.push(client.get(path, "").await.status());
    }
    assert_eq!((statuses, service.connections()), (vec![200, 401, 401], 2));
    // Another client on the same worker, or on the other one.
    for _ in 0..4 {
        assert_eq!(proxy.client().await.get("/next", "").await.status(), 200);
    }
    let logins = backend.heads().iter().filter(|head| head.header("authorization").is_some()).count();
    assert_eq!(logins, 1);
    assert!(backend.connections() >= 2, "the connection of the login is of its client alone");
    stop(proxy, &service).await;
}

#[tokio::test]
async fn odd_requests_are_asked_about_as_they_came() {
    let backend = Backend::echo();
    let service = service(|question| match question.header("x-forwarded-method") {
        Some("HEAD" | "PUT") => answer("401 Unauthorized", "", "who are you"),
        _ => answer("200 OK", "", ""),
    });
    let proxy = guarded(&backend, &service, "").with("limits: { body_size: 10B }").start();
    let mut client = proxy.client().await;
    for (request, status, target) in [
        ("GET http://chat.example.com?q=1 HTTP/1.1\r\nHost: chat.example.com\r\n\r\n", 200, "/?q=1"),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 200, "*"),
        ("HEAD /head HTTP/1.1\r\nHost: a\r\n\r\n", 401, "/head"),
        // Refused before its body is read, or found too large. The connection serves the next request, or is closed.
        ("PUT /put HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello world", 401, "/put"),
        ("POST /post HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello world", 413, "/post"),
        ("GET /old HTTP/1.0\r\n\r\n", 200, "/old"),
    ] {
        if request.contains("old") || request.starts_with("POST") {
            client = proxy.client().await;
        }
        client.send(request).await;
        let head = client.head().await;
        assert_eq!(head.status(), status, "{request}");
        let length = head.header("content-length").map_or(0, |length| length.parse().unwrap());
        client.take(if request.starts_with("HEAD") { 0 } else { length }).await;
        assert_eq!(service.heads().last().unwrap().header("x-original-uri"), Some(target), "{request}");
    }
    stop(proxy, &service).await;
}
