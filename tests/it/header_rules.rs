//! Fields that a route removes, sets and adds: toward backends and toward clients.

use crate::harness::{Backend, HANDSHAKE_HEADERS, Head, Proxy, Setup, handshake};

fn setup(backend: &Backend, keys: &str) -> Setup {
    Proxy::before(&[backend]).routes(&format!("routes: [ {{ upstream: chat, {keys} }} ]"))
}

/// The heads that the backend reads of a plain request without a body, of one with a body, and of a handshake.
async fn read_by_backend(setup: Setup, backend: &Backend, fields: &str) -> Vec<Head> {
    let proxy = setup.start();
    let mut client = proxy.client().await;
    for (method, length) in [("GET", ""), ("POST", "Content-Length: 2\r\n")] {
        let body = if length.is_empty() { "" } else { "ok" };
        client.send(format!("{method} /ws HTTP/1.1\r\nHost: chat.example.com:99\r\n{fields}{length}\r\n{body}")).await;
        assert_eq!(client.response().await.status(), 200);
    }
    client.send(format!("GET /ws HTTP/1.1\r\nHost: chat.example.com:99\r\n{HANDSHAKE_HEADERS}{fields}\r\n")).await;
    client.upgraded().await;
    client.leave().await;
    proxy.stop().await;
    let heads = backend.heads();
    assert_eq!(heads.len(), 3);
    heads
}

#[tokio::test]
async fn request_fields_are_removed_set_and_added_whatever_the_client_sent() {
    let backend = Backend::echo();
    let keys = "request_headers: { remove: [X-Debug, cookie], set: { X-Tenant: acme, Authorization: \"Bearer {{x}\" }, \
                add: { x-tag: ours, X-New: \"1\" } }";
    let fields = "X-Debug: 1\r\nX-Debug: 2\r\nCookie: a=1\r\nx-tenant: evil\r\nX-Tenant: worse\r\nX-Tag: theirs\r\n\
                  X_Tenant: evil\r\nX_Debug: 1\r\nX.Tenant: evil\r\nX_Other: stays\r\n";
    for head in read_by_backend(setup(&backend, keys), &backend, fields).await {
        assert_eq!(head.headers("x-debug"), [""; 0], "{head:?}");
        assert_eq!(head.header("cookie"), None, "{head:?}");
        assert_eq!(head.header("x-tenant"), Some("acme"), "{head:?}");
        assert_eq!(head.header("authorization"), Some("Bearer {x}"), "{head:?}");
        assert_eq!(head.headers("x-tag"), ["theirs", "ours"], "{head:?}");
        assert_eq!(head.header("x-new"), Some("1"), "{head:?}");
        assert_eq!(head.header("x_other"), Some("stays"), "{head:?}");
        assert!(!head.as_str().contains("evil") && !head.as_str().contains("X_D"), "{head:?}");
        assert!(head.as_str().contains("\r\nX-Tenant: acme\r\n"), "{head:?}");
        assert_eq!(head.header("host"), Some("chat.example.com:99"));
    }
}

#[tokio::test]
async fn values_name_the_client_the_request_the_host_and_the_route() {
    let backend = Backend::echo();
    let keys = "path: /ws, request_headers: { set: { X-All: \"{client_ip} {request_id} {host} {route}\" } }, \
                response_headers: { set: { X-All: \"{client_ip} {request_id} {host} {route}\" } }";
    let proxy = setup(&backend, keys).with("trusted_proxies: [ 127.0.0.0/8 ]").start();
    let fields = |id: &str| format!("X-Forwarded-For: 2001:db8::7\r\nX-Request-ID: {id}\r\n");
    let expected = |id: &str| format!("2001:db8::7 {id} chat.example.com */ws");
    let mut client = proxy.client().await;
    let response = client.get("/ws", &fields("id-7")).await;
    assert_eq!(response.head.header("x-all"), Some(&*expected("id-7")));
    client.send(handshake("/ws", &fields("id-8"))).await;
    assert_eq!(client.upgraded().await.header("x-all"), Some(&*expected("id-8")));
    client.leave().await;
    for (head, id) in backend.heads().iter().zip(["id-7", "id-8"]) {
        assert_eq!(head.header("x-all"), Some(&*expected(id)));
    }
    proxy.stop().await;
}

#[tokio::test]
async fn rules_come_after_what_the_proxy_says_of_the_client() {
    let backend = Backend::echo();
    let keys = "request_headers: { set: { X-Forwarded-For: \"{client_ip}\", X-Request-ID: \"<{request_id}>\" }, \
                remove: [x-real-ip, X-Forwarded-Host], add: { X-Forwarded-Proto: wss } }";
    let trusted = setup(&backend, keys).with("trusted_proxies: [ 127.0.0.0/8 ]");
    let fields = "X-Forwarded-For: 192.0.2.7\r\nX-Real-IP: 192.0.2.8\r\n";
    for head in read_by_backend(trusted, &backend, fields).await {
        assert_eq!(head.header("x-forwarded-for"), Some("192.0.2.7"), "{head:?}");
        let id = head.header("x-request-id").unwrap();
        assert!(id.starts_with('<') && id.ends_with('>') && id.len() == 34, "{head:?}");
        assert_eq!(head.header("x-real-ip"), None, "{head:?}");
        assert_eq!(head.header("x-forwarded-host"), None, "{head:?}");
        assert_eq!(head.headers("x-forwarded-proto"), ["http", "wss"], "{head:?}");
    }
}

const ANSWER_RULES: &str = "response_headers: { remove: [Server, x-backend, Content-Type, Retry-After], set: { X-Frame-Options: DENY, X-Twice: ours }, \
                            add: { Set-Cookie: seen=1 } }";

/// Asserts that an answer has what the rules make of it.
fn assert_ruled(head: &Head, what: &str) {
    assert_eq!(head.header("server"), None, "{what}: {head:?}");
    assert_eq!(head.header("x-backend"), None, "{what}: {head:?}");
    // Answers of our own have these two.
    assert_eq!((head.header("content-type"), head.header("retry-after")), (None, None), "{what}: {head:?}");
    assert_eq!(head.header("x-frame-options"), Some("DENY"), "{what}: {head:?}");
    assert_eq!(head.header("x-twice"), Some("ours"), "{what}: {head:?}");
    assert_eq!(head.headers("set-cookie").last(), Some(&"seen=1"), "{what}: {head:?}");
    assert!(head.as_str().contains("\r\nX-Frame-Options: DENY\r\n"), "{what}: {head:?}");
}

#[tokio::test]
async fn answers_of_backends_are_changed_whoever_reads_them() {
    let fields = "Server: nginx\r\nX-Twice: 1\r\nX-Twice: 2\r\nSet-Cookie: a=1\r\n";
    for answer in [
        format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok"),
        format!("HTTP/1.1 404 Not Found\r\n{fields}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        format!("HTTP/1.0 500 Oh\r\n{fields}Content-Length: 2\r\n\r\nok"),
    ] {
        for upgrade in ["", HANDSHAKE_HEADERS] {
            let backend = Backend::answering(answer.clone());
            let proxy = setup(&backend, ANSWER_RULES).start();
            let mut client = proxy.client().await;
            client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{upgrade}\r\n")).await;
            let response = client.response().await;
            assert_eq!(response.text(), "ok");
            assert_ruled(&response.head, &answer);
            assert_eq!(response.head.headers("set-cookie"), ["a=1", "seen=1"]);
            proxy.stop().await;
        }
    }
}

#[tokio::test]
async fn a_101_is_changed_and_stays_a_101() {
    let backend = Backend::echo();
    let proxy = setup(&backend, ANSWER_RULES).start();
    let mut client = proxy.client().await;
    let head = client.upgrade("/ws").await;
    assert_ruled(&head, "101");
    for field in ["Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "Connection: Upgrade", "Upgrade: websocket"] {
        assert_eq!(head.as_str().matches(&format!("\r\n{field}\r\n")).count(), 1, "{field} in {head:?}");
    }
    client.leave().await;
    proxy.stop().await;
}

#[tokio::test]
async fn answers_of_our_own_are_changed_on_the_route_that_was_found() {
    let backend = Backend::echo();
    let routes = format!(
        "routes: [ {{ path: /a, upstream: chat, {ANSWER_RULES}, deny: [192.0.2.0/24], origins: [none], strip_prefix: /a }}, \
         {{ path: /b, redirect: https, {ANSWER_RULES} }}, {{ path: /c, upstream: chat }} ]"
    );
    let setup = Proxy::before(&[&backend]).routes(&routes).with("trusted_proxies: [ 127.0.0.0/8 ]");
    let proxy = setup.backend(0, "down: true").start();
    let plain = |method: &str, path: &str, fields: &str| format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    for (what, request, status) in [
        ("denied", plain("GET", "/a", "X-Forwarded-For: 192.0.2.1\r\n"), 403),
        ("origin", handshake("/a", "Origin: https://a.example\r\n"), 403),
        ("version", handshake("/a", "").replace("Version: 13", "Version: 12"), 426),
        ("path", plain("GET", "/a/../b", ""), 400),
        ("unavailable", handshake("/a", ""), 503),
        ("unavailable", plain("GET", "/a", ""), 503),
        ("options", plain("OPTIONS", "/a", "Max-Forwards: 0\r\n"), 204),
        ("redirect", plain("GET", "/b", ""), 308),
    ] {
        let mut client = proxy.client().await;
        client.send(request).await;
        let response = client.response().await;
        assert_eq!(response.status(), status, "{what}");
        assert_ruled(&response.head, what);
    }
    for (path, status) in [("/c", 503), ("/nowhere", 404)] {
        let response = proxy.client().await.get(path, "").await;
        assert_eq!((response.status(), response.head.header("x-frame-options")), (status, None), "{path}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn refusal_by_close_has_the_fields_of_its_route_too() {
    let backend = Backend::echo();
    let keys = "response_headers: { set: { X-Frame-Options: DENY, X-Id: \"{request_id}\" } }";
    let mut proxy = setup(&backend, keys).backend(0, "down: true").with("limits: { refuse: close }").start();
    let mut client = proxy.client().await;
    client.send(handshake("/ws", "X-Request-ID: id-7\r\n")).await;
    let head = client.upgraded().await;
    assert_eq!((head.header("x-frame-options"), head.header("x-id")), (Some("DENY"), Some("id-7")), "{head:?}");
    client.expect_close(1013, "unavailable").await;
    client.finish().await;
    assert_eq!(proxy.next_record().await["cause"], "unavailable");
    proxy.stop().await;
}

#[tokio::test]
async fn origin_is_judged_by_what_the_client_sent() {
    let backend = Backend::echo();
    let keys = "origins: [https://a.example], request_headers: { set: { Origin: \"https://inner.example\" } }";
    let proxy = setup(&backend, keys).start();
    let mut client = proxy.client().await;
    client.send(handshake("/", "Origin: https://a.example\r\n")).await;
    client.upgraded().await;
    assert_eq!(backend.heads()[0].header("origin"), Some("https://inner.example"));
    client.leave().await;
    let mut foreign = proxy.client().await;
    foreign.send(handshake("/", "Origin: https://inner.example\r\n")).await;
    assert_eq!(foreign.response().await.status(), 403);
    proxy.stop().await;
}

#[tokio::test]
async fn hash_goes_by_the_field_of_the_client_and_not_by_that_of_a_rule() {
    let backends = [Backend::echo(), Backend::echo()];
    let routes = "routes: [ { upstream: chat, request_headers: { set: { X-User: same } } } ]";
    let setup = Proxy::before(&[&backends[0], &backends[1]]).routes(routes);
    let proxy = setup.upstream("balance: hash, hash_on: { header: X-User }").start();
    for user in 0..32 {
        assert_eq!(proxy.client().await.get("/", &format!("X-User: {user}\r\n")).await.status(), 200);
    }
    for backend in &backends {
        let heads = backend.heads();
        assert!(!heads.is_empty() && heads.iter().all(|head| head.header("x-user") == Some("same")), "{heads:?}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn reload_changes_the_rules_of_the_next_request() {
    let backend = Backend::echo();
    let with = |value: &str| setup(&backend, &format!("response_headers: {{ set: {{ X-A: {value} }} }}"));
    let mut proxy = with("one").start();
    let mut client = proxy.client().await;
    assert_eq!(client.get("/", "").await.head.header("x-a"), Some("one"));
    assert_eq!(proxy.reload(&with("two")).routes_changed, ["*/"]);
    assert_eq!(client.get("/", "").await.head.header("x-a"), Some("two"));
    proxy.stop().await;
}
