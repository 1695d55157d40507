//! The path and the host that a backend gets: `strip_prefix`, `rewrite` and `host_header`.

use crate::harness::{Backend, HANDSHAKE_HEADERS, Proxy, Wire, handshake};

/// A proxy with one route, which has these keys.
fn proxy(backend: &Backend, keys: &str) -> Proxy {
    Proxy::before(&[backend]).routes(&format!("routes: [ {{ upstream: chat, {keys} }} ]")).start()
}

/// Sends a plain request and a handshake for `target`. Returns the targets that the backend read.
async fn targets(proxy: &mut Proxy, backend: &Backend, target: &str) -> Vec<String> {
    let before = backend.heads().len();
    assert_eq!(proxy.client().await.get(target, "").await.status(), 200, "{target}");
    let record = proxy.next_record().await;
    let mut client = proxy.client().await;
    client.upgrade(target).await;
    client.leave().await;
    // The record has what the client asked for, without the query.
    let path = target.split('?').next().unwrap();
    assert_eq!((&record["path"], &proxy.next_record().await["path"]), (&path.into(), &path.into()));
    let heads = backend.heads();
    heads[before..].iter().map(|head| head.first_line().split(' ').nth(1).unwrap().to_owned()).collect()
}

#[tokio::test]
async fn prefix_is_taken_off_for_requests_and_handshakes_and_named_to_the_backend() {
    let backend = Backend::echo();
    let mut proxy = proxy(&backend, "strip_prefix: /ws/");
    for (target, expected) in
        [("/ws", "/"), ("/ws/", "/"), ("/ws/a%2Fb//c?x=/ws/%41&y=..", "/a%2Fb//c?x=/ws/%41&y=.."), ("/ws?q", "/?q")]
    {
        assert_eq!(targets(&mut proxy, &backend, target).await, [expected; 2], "{target}");
        let heads = backend.heads();
        let told: Vec<_> = heads.iter().rev().take(2).map(|head| head.header("x-forwarded-prefix")).collect();
        assert_eq!(told, [Some("/ws"); 2], "{target}");
    }
    for target in ["/wsx/a", "/", "/WS/a", "/a/ws/b", "/ws%2fa", "/../ws/a"] {
        assert_eq!(targets(&mut proxy, &backend, target).await, [target; 2]);
        assert_eq!(backend.heads().last().unwrap().header("x-forwarded-prefix"), None, "{target}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn path_that_matches_a_pattern_is_replaced_and_any_other_stays() {
    let backend = Backend::echo();
    let mut proxy = proxy(&backend, "rewrite: { from: '^/(ws|live)/(.*)$', to: '/inner/$2/$1' }");
    for (target, expected) in [
        ("/ws/a%20b?c=%2F&d=$1", "/inner/a%20b/ws?c=%2F&d=$1"),
        ("/live/", "/inner//live"),
        ("/wsx/a?b", "/wsx/a?b"),
        ("/x/ws/a", "/x/ws/a"),
    ] {
        assert_eq!(targets(&mut proxy, &backend, target).await, [expected; 2], "{target}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn path_that_leads_above_its_own_start_is_400_and_comes_to_no_backend() {
    let backend = Backend::echo();
    let rules = [
        "strip_prefix: /ws",
        "rewrite: { from: '^/ws/(.*)$', to: '/$1' }",
        "rewrite: { from: '^/ws/(.*)$', to: '/inner/$1' }",
    ];
    for rule in rules {
        let mut proxy = proxy(&backend, rule);
        for target in ["/ws/../a", "/ws/a/../../b", "/ws/%2e%2E/a", "/ws/..%2fa", "/ws/a%5C..\\..", "/ws/./.%2e"] {
            let response = proxy.client().await.get(target, "").await;
            assert_eq!(response.status(), 400, "{target}");
            response.assert_one_line_naming("bad_request");
            let record = proxy.next_record().await;
            assert_eq!((&record["cause"], &record["path"]), (&"bad_request".into(), &target.into()), "{record}");
            let mut client = proxy.client().await;
            client.send(handshake(target, "")).await;
            assert_eq!(client.response().await.status(), 400, "{target}");
            client.expect_gone().await;
            assert_eq!(proxy.next_record().await["cause"], "bad_request");
        }
        // The permit of a refused handshake is given back.
        assert_eq!(proxy.control().sessions(), 0);
        proxy.stop().await;
    }
    assert_eq!(backend.heads().len(), 0);
}

#[tokio::test]
async fn result_without_a_slash_is_400() {
    let backend = Backend::echo();
    let proxy = proxy(&backend, "rewrite: { from: '^/ws(.*)$', to: '$1' }");
    let mut client = proxy.client().await;
    assert_eq!(client.get("/ws/a", "").await.status(), 200);
    let response = client.get("/wsa", "").await;
    assert_eq!(response.status(), 400);
    response.assert_one_line_naming("slash");
    assert_eq!(backend.heads().len(), 1);
    proxy.stop().await;
}

#[tokio::test]
async fn target_that_is_a_url_or_no_path_is_rewritten_as_its_path() {
    let backend = Backend::echo();
    let proxy = proxy(&backend, "rewrite: { from: '^(.*)$', to: '/x$1' }");
    for (request, line) in [
        ("GET http://chat.example.com/a?b HTTP/1.1", "GET /x/a?b HTTP/1.1"),
        ("GET http://chat.example.com?b HTTP/1.1", "GET /x/?b HTTP/1.1"),
        ("OPTIONS * HTTP/1.1", "OPTIONS * HTTP/1.1"),
    ] {
        let mut client = proxy.client().await;
        client.send(format!("{request}\r\nHost: chat.example.com\r\n\r\n")).await;
        assert_eq!(client.response().await.status(), 200, "{request}");
        assert_eq!(backend.heads().last().unwrap().first_line(), line);
    }
    proxy.stop().await;
}

#[tokio::test]
async fn request_with_a_body_and_the_next_backend_get_the_new_path_too() {
    let (refusing, backend) = (Backend::refusing(), Backend::echo());
    let routes = "routes: [ { upstream: chat, strip_prefix: /api } ]";
    let proxy = Proxy::before(&[&refusing, &backend]).routes(routes).start();
    let mut client = proxy.client().await;
    for _ in 0..2 {
        client.send("POST /api/a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody").await;
        assert_eq!(client.response().await.status(), 200);
        assert_eq!(backend.heads().last().unwrap().first_line(), "POST /a?b HTTP/1.1");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn host_is_that_of_the_client_of_the_backend_or_a_name() {
    for (keys, host) in [
        ("host_header: keep", Some("Chat.Example.com:99")),
        ("host_header: upstream", None),
        ("host_header: inner.example:8080", Some("inner.example:8080")),
    ] {
        let backend = Backend::echo();
        let address = backend.to_string();
        let host = host.unwrap_or(&address);
        let proxy = proxy(&backend, keys);
        let mut client = proxy.client().await;
        for upgrade in ["", HANDSHAKE_HEADERS] {
            client.send(format!("GET / HTTP/1.1\r\nHost: Chat.Example.com:99\r\n{upgrade}\r\n")).await;
            let status = client.head().await.status();
            let head = backend.heads().pop().unwrap();
            assert_eq!(head.header("host"), Some(host), "{keys} {status}");
            assert_eq!(head.header("x-forwarded-host"), Some("Chat.Example.com:99"), "{keys}");
            if status == 200 {
                client = proxy.client().await;
            }
        }
        let mut old = proxy.client().await;
        old.send("GET / HTTP/1.0\r\n\r\n").await;
        assert_eq!(old.head().await.status(), 200);
        let host = if keys.ends_with("keep") { &address } else { host };
        assert_eq!(backend.heads().pop().unwrap().header("host"), Some(host), "{keys}");
        drop((client, old));
        proxy.stop().await;
    }
}

#[tokio::test]
async fn each_backend_that_is_tried_gets_its_own_host() {
    let hosts = || {
        let script = |backend: Backend, mut wire: Wire| async move {
            backend.next_head(&mut wire).await;
            wire.send_and_finish("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n").await;
        };
        Backend::raw(script)
    };
    let backends = [hosts(), hosts()];
    let routes = "routes: [ { upstream: chat, host_header: upstream } ]";
    let proxy = Proxy::before(&[&backends[0], &backends[1]]).routes(routes).start();
    assert_eq!(proxy.client().await.refused_upgrade("/").await.status(), 503);
    for backend in &backends {
        assert_eq!(backend.heads()[0].header("host"), Some(&*backend.to_string()));
    }
    proxy.stop().await;
}

#[tokio::test]
async fn reload_changes_the_path() {
    let backend = Backend::echo();
    let setup = |keys: &str| Proxy::before(&[&backend]).routes(&format!("routes: [ {{ upstream: chat, {keys} }} ]"));
    let mut proxy = setup("rewrite: { from: '^/a$', to: /b }").start();
    for (keys, changed, line) in [
        ("rewrite: { from: '^/a$', to: /b }", 0, "GET /b HTTP/1.1"),
        ("rewrite: { from: '^/a$', to: /c }", 1, "GET /c HTTP/1.1"),
        ("strip_prefix: /a", 1, "GET / HTTP/1.1"),
    ] {
        assert_eq!(proxy.reload(&setup(keys)).routes_changed.len(), changed, "{keys}");
        assert_eq!(proxy.client().await.get("/a", "").await.status(), 200);
        assert_eq!(backend.heads().last().unwrap().first_line(), line);
    }
    proxy.stop().await;
}
