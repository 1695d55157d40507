//! Requests that come in the clear, sent to the same URL by https.

use longwire::config::AdminBind;
use serde_json::{Value, json};

use crate::harness::{Backend, Proxy, Setup, Wire, handshake, tls_connect, trusting};

fn setup(backend: &Backend, routes: &str) -> Setup {
    Proxy::before(&[backend]).routes(&format!("routes: [ {routes} ]")).with("trusted_proxies: [ 127.0.0.1/32 ]")
}

const BOTH: &str = "{ host: chat.example.com, upstream: chat }, { host: chat.example.com, redirect: https }";

#[tokio::test]
async fn clear_request_is_sent_to_the_same_url_by_https() {
    let backend = Backend::echo();
    let mut proxy = setup(&backend, BOTH).start();
    let mut client = proxy.client().await;
    for method in ["GET", "POST", "DELETE"] {
        let host = "Chat.Example.COM:8080";
        client.send(format!("{method} /a//b/%2e?q=%41&r HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n")).await;
        let response = client.response().await;
        assert_eq!(response.status(), 308, "{method}");
        let location = "https://chat.example.com/a//b/%2e?q=%41&r";
        assert_eq!(response.head.header("location"), Some(location), "{method}");
        response.assert_one_line_naming("redirect");
        let record = proxy.next_record().await;
        assert_eq!((&record["cause"], &record["status"]), (&"ok".into(), &308.into()), "{record}");
        assert_eq!(record["route"], "http://chat.example.com/");
        assert!(record["upstream"].is_null() && record["backend"].is_null(), "{record}");
    }
    assert_eq!(backend.heads().len(), 0);
    proxy.stop().await;
}

#[tokio::test]
async fn request_that_came_over_tls_to_a_trusted_proxy_goes_on_to_the_next_route() {
    let backend = Backend::echo();
    let mut proxy = setup(&backend, BOTH).start();
    for scheme in ["https", "HTTPS", "wss", "https, http"] {
        let fields = format!("X-Forwarded-Proto: {scheme}\r\n");
        assert_eq!(proxy.client().await.get("/", &fields).await.status(), 200, "{scheme}");
        assert_eq!(proxy.next_record().await["route"], "chat.example.com/");
        let mut wire = proxy.client().await;
        wire.send(handshake("/ws", &fields)).await;
        wire.upgraded().await;
        wire.leave().await;
        assert_eq!(proxy.next_record().await["route"], "chat.example.com/");
    }
    for scheme in ["http", "ws", "http, https", "httpss", ""] {
        let fields = format!("X-Forwarded-Proto: {scheme}\r\n");
        assert_eq!(proxy.client().await.get("/", &fields).await.status(), 308, "{scheme}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn word_of_a_stranger_about_tls_does_not_count() {
    let backend = Backend::echo();
    let proxy = Proxy::before(&[&backend]).routes(&format!("routes: [ {BOTH} ]")).start();
    assert_eq!(proxy.client().await.get("/", "X-Forwarded-Proto: https\r\n").await.status(), 308);
    proxy.stop().await;
}

#[tokio::test]
async fn connection_with_tls_goes_on_to_the_next_route() {
    let backend = Backend::echo();
    let folder = tempfile::tempdir().unwrap();
    let tls = "{ cert: dev.crt, key: dev.key, self_signed: true }";
    let proxy = setup(&backend, BOTH).tls(tls, folder.path()).start();
    let connector = trusting(&folder.path().join("dev.crt"), &[], &["http/1.1"]);
    let mut client = tls_connect(&connector, proxy.address(), "localhost").await.unwrap();
    // What the connection is counts, and not what a field says of it.
    assert_eq!(client.get("/", "X-Forwarded-Proto: http\r\n").await.status(), 200);
    client.upgrade("/ws").await;
    client.leave().await;
    proxy.stop().await;
}

#[tokio::test]
async fn handshake_in_the_clear_is_redirected_and_nothing_behind_it_is_read() {
    let backend = Backend::echo();
    let mut proxy = setup(&backend, "{ redirect: { to: https, code: 307, port: 8443 } }").start();
    let mut client = proxy.client().await;
    client.send(handshake("/ws?room=1", "") + "GET /frames HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let response = client.response().await;
    assert_eq!(response.status(), 307);
    assert_eq!(response.head.header("location"), Some("https://chat.example.com:8443/ws?room=1"));
    assert_eq!(response.head.header("connection"), Some("close"));
    client.expect_gone().await;
    assert_eq!(proxy.next_record().await["cause"], "not_upgraded");
    assert_eq!(proxy.stop().await.len(), 1);
}

#[tokio::test]
async fn redirect_leads_to_the_host_of_the_target_and_to_none_that_the_route_does_not_match() {
    let backend = Backend::echo();
    let proxy = setup(&backend, "{ host: \"*.example.com\", redirect: https }, { upstream: chat }").start();
    for (request, location) in [
        ("GET http://A.Example.com:80/x?y HTTP/1.1\r\nHost: a.example.com", Some("https://a.example.com/x?y")),
        ("GET http://a.example.com?y HTTP/1.1\r\nHost: a.example.com", Some("https://a.example.com/?y")),
        ("GET http://a.example.com:81/x HTTP/1.0", Some("https://a.example.com/x")),
        ("GET //evil.example/x HTTP/1.1\r\nHost: a.example.com", Some("https://a.example.com//evil.example/x")),
        ("GET /x HTTP/1.1\r\nHost: a.example.com\r\nX-Forwarded-Host: evil.example", Some("https://a.example.com/x")),
        ("OPTIONS * HTTP/1.1\r\nHost: a.example.com", Some("https://a.example.com/")),
        ("GET /x HTTP/1.1\r\nHost: evil.example", None),
        ("GET /x HTTP/1.1\r\nHost: ", None),
    ] {
        let mut client = proxy.client().await;
        client.send(format!("{request}\r\n\r\n")).await;
        let response = client.response().await;
        assert_eq!(response.head.header("location"), location, "{request}");
        assert_eq!(response.status(), if location.is_some() { 308 } else { 200 }, "{request}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn request_without_a_host_cannot_be_redirected() {
    let backend = Backend::echo();
    let mut proxy = setup(&backend, "{ redirect: https }").start();
    for request in ["GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nHost:\r\n\r\n", "GET / HTTP/1.1\r\nHost: :80\r\n\r\n"]
    {
        let mut client = proxy.client().await;
        client.send(request).await;
        let response = client.response().await;
        assert_eq!(response.status(), 400, "{request}");
        response.assert_one_line_naming("host");
        assert_eq!(proxy.next_record().await["cause"], "bad_request");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn address_rules_and_a_drain_come_before_a_redirect() {
    let backend = Backend::echo();
    let routes = "{ redirect: https, path: /a, deny: [192.0.2.0/24] }, { redirect: https }, { upstream: chat }";
    let proxy = setup(&backend, routes).start();
    let mut client = proxy.client().await;
    assert_eq!(client.get("/a", "").await.status(), 308);
    assert_eq!(client.get("/a", "X-Forwarded-For: 192.0.2.1\r\n").await.status(), 403);
    proxy.control().drain_route("http://*/a", true).unwrap();
    assert_eq!(client.get("/a", "").await.status(), 503);
    assert_eq!(client.get("/", "").await.status(), 308);
    proxy.stop().await;
}

#[tokio::test]
async fn admin_interface_shows_where_a_route_leads() {
    let backend = Backend::echo();
    let routes = format!("{BOTH}, {{ redirect: https, deny: [127.0.0.0/8] }}");
    let proxy = setup(&backend, &routes).with("admin: { bind: \"127.0.0.1:0\" }").start();
    let Some(AdminBind::Tcp(address)) = proxy.control().admin_address() else { panic!("no admin interface") };
    let ask = async |path: &str| {
        let mut wire = Wire::connect(address).await;
        wire.send(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n")).await;
        wire.response().await.text().to_owned()
    };
    let status: Value = serde_json::from_str(&ask("/api/status").await).unwrap();
    let routes = json!([
        { "name": "http://chat.example.com/", "redirect": 308, "draining": false },
        { "name": "chat.example.com/", "upstream": "chat", "draining": false },
        { "name": "http://*/", "redirect": 308, "draining": false },
    ]);
    assert_eq!(status["routes"], routes);
    // What a redirect refuses is counted, and stays counted.
    for refused in 1..3 {
        let mut client = proxy.client().await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(client.response().await.status(), 403);
        let counted = format!("longwire_request_failures_total{{route=\"http://*/\",reason=\"denied\"}} {refused}");
        let metrics = ask("/metrics").await;
        assert!(metrics.lines().any(|line| line == counted), "{counted} in {metrics}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn reload_makes_a_redirect_of_a_route_and_a_route_of_a_redirect() {
    let backend = Backend::echo();
    let [both, alone] = [BOTH, "{ host: chat.example.com, upstream: chat }"].map(|routes| setup(&backend, routes));
    let mut proxy = alone.clone().start();
    let mut client = proxy.client().await;
    assert_eq!(client.get("/", "").await.status(), 200);
    let reloaded = proxy.reload(&both);
    assert_eq!(reloaded.routes_added, ["http://chat.example.com/"]);
    assert_eq!(reloaded.routes_changed, [""; 0]);
    assert_eq!(client.get("/", "").await.status(), 308);
    let other = setup(&backend, &BOTH.replace("redirect: https", "redirect: { to: https, code: 302 }"));
    assert_eq!(proxy.reload(&other).routes_changed, ["http://chat.example.com/"]);
    assert_eq!(client.get("/", "").await.status(), 302);
    assert_eq!(proxy.reload(&alone).routes_removed, ["http://chat.example.com/"]);
    assert_eq!(client.get("/", "").await.status(), 200);
    proxy.stop().await;
}
