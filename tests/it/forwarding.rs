//! What a backend is told about the client, and what not. It is the same for handshakes and plain requests.

use std::net::SocketAddr;

use serde_json::Value;

use crate::harness::{Backend, HANDSHAKE_HEADERS, Head, Process, Proxy, Wire, frames::masked_close};

/// Sends `fields` with a plain request and with a handshake. Returns what the backend read and what was recorded.
async fn forwarded(settings: &str, fields: &str) -> Vec<(Head, Value)> {
    let backend = Backend::echo();
    let mut proxy = Proxy::before(&[&backend]).with(settings).start();
    let port = proxy.address().port();
    let mut seen = Vec::new();
    for (kind, upgrade) in [("request", "Connection: X-Hop\r\n"), ("session", HANDSHAKE_HEADERS)] {
        let fields = fields.replace("{port}", &port.to_string());
        let mut client = proxy.client().await;
        client.send(format!("GET /x HTTP/1.1\r\nHost: chat.example.com:99\r\n{upgrade}{fields}\r\n")).await;
        if kind == "session" {
            client.upgraded().await;
            client.send(masked_close(1000, "")).await;
            client.expect_close(1000, "").await;
        } else {
            assert_eq!(client.response().await.status(), 200);
        }
        let record = proxy.next_record().await;
        assert_eq!(record["kind"], kind);
        seen.push((backend.heads().pop().unwrap(), record));
    }
    proxy.stop().await;
    seen
}

#[tokio::test]
async fn forwarding_fields_of_a_stranger_are_replaced() {
    let fields = "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-For: 203.0.113.8\r\nX-Forwarded-Proto: https\r\n\
                  X-Forwarded-Host: evil.example\r\nX-Forwarded-Port: 1\r\nX-Real-IP: 203.0.113.7\r\n\
                  Forwarded: for=203.0.113.7\r\nX_Forwarded_For: 203.0.113.7\r\nX_Real_IP: 203.0.113.7\r\n\
                  X-Forwarded_Proto: https\r\n";
    for (head, record) in forwarded("", fields).await {
        assert_eq!(head.header("x-forwarded-for"), Some("127.0.0.1"), "{head:?}");
        assert_eq!(head.header("x-real-ip"), Some("127.0.0.1"), "{head:?}");
        assert_eq!(head.header("x-forwarded-proto"), Some("http"), "{head:?}");
        let name = head.header("x-forwarded-host").expect("a host");
        assert!(name.starts_with("chat.example.com"), "{head:?}");
        assert_ne!(head.header("x-forwarded-port"), Some("1"), "{head:?}");
        assert_eq!(head.header("forwarded"), None, "{head:?}");
        assert!(!head.as_str().contains('_'), "{head:?}");
        assert!(!head.as_str().contains("203.0.113"), "{head:?}");
        assert_eq!(record["client"], "127.0.0.1");
    }
}

#[tokio::test]
async fn forwarding_fields_of_a_trusted_proxy_are_kept_and_appended_to() {
    let fields = "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: public.example\r\n\
                  X-Forwarded-Port: 443\r\nX-Real-IP: 203.0.113.7\r\n";
    for (head, record) in forwarded("trusted_proxies: [ 127.0.0.0/8 ]", fields).await {
        assert_eq!(head.headers("x-forwarded-for").join(", "), "203.0.113.7, 127.0.0.1", "{head:?}");
        assert_eq!(head.header("x-real-ip"), Some("203.0.113.7"), "{head:?}");
        assert_eq!(head.header("x-forwarded-proto"), Some("https"), "{head:?}");
        assert_eq!(head.header("x-forwarded-host"), Some("public.example"), "{head:?}");
        assert_eq!(head.header("x-forwarded-port"), Some("443"), "{head:?}");
        assert_eq!(record["client"], "203.0.113.7");
    }
}

#[tokio::test]
async fn client_is_the_right_most_address_that_is_not_a_trusted_proxy() {
    let chains = [
        ("X-Forwarded-For: 198.51.100.9, 203.0.113.7, 10.0.0.2\r\n", "203.0.113.7"),
        ("X-Forwarded-For: 198.51.100.9\r\nX-Forwarded-For: 203.0.113.7 ,10.0.0.2\r\n", "203.0.113.7"),
        ("X-Forwarded-For: ::ffff:203.0.113.7\r\n", "203.0.113.7"),
        ("X-Forwarded-For: 203.0.113.7, ::ffff:10.1.2.3\r\n", "203.0.113.7"),
        ("X-Forwarded-For: 2001:db8::7\r\n", "2001:db8::7"),
        ("", "127.0.0.1"),
    ];
    for (fields, client) in chains {
        for (_, record) in forwarded("trusted_proxies: [ 127.0.0.1/32, 10.0.0.0/8 ]", fields).await {
            assert_eq!(record["client"], client, "{fields}");
        }
    }
}

#[tokio::test]
async fn hop_by_hop_fields_end_at_the_proxy() {
    let fields = "Connection: X-Named\r\nX-Named: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n\
                  TE: trailers\r\nTrailer: X-Sum\r\nX-Kept: yes\r\nCookie: a=1\r\n";
    for (head, _) in forwarded("", fields).await {
        for name in ["x-named", "keep-alive", "proxy-connection", "te", "trailer", "x-hop"] {
            assert_eq!(head.header(name), None, "{name} in {head:?}");
        }
        assert_eq!(head.header("x-kept"), Some("yes"));
        assert_eq!(head.header("cookie"), Some("a=1"));
        assert_eq!(head.header("host"), Some("chat.example.com:99"));
    }
}

#[tokio::test]
async fn a_trace_context_passes_unchanged_where_nobody_asked_for_traces() {
    let context = ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "a=1, B@c=?"];
    for [parent, state] in [context, ["garbage", ""]] {
        let fields = format!("traceparent: {parent}\r\ntracestate: {state}\r\nbaggage: user=7\r\n");
        for (head, record) in forwarded("", &fields).await {
            let passed = ["traceparent", "tracestate", "baggage"].map(|name| head.headers(name).join("|"));
            assert_eq!(passed, [parent, state, "user=7"], "{head:?}");
            assert_eq!(record["trace_id"], Value::Null);
        }
    }
}

#[tokio::test]
async fn connection_cannot_strip_what_the_proxy_adds() {
    let fields = "Connection: X-Forwarded-For, X-Real-IP, X-Forwarded-Proto, X-Request-ID\r\n";
    for (head, _) in forwarded("", fields).await {
        assert_eq!(head.header("x-forwarded-for"), Some("127.0.0.1"), "{head:?}");
        assert_eq!(head.header("x-real-ip"), Some("127.0.0.1"), "{head:?}");
        assert_eq!(head.header("x-forwarded-proto"), Some("http"), "{head:?}");
        assert!(head.header("x-request-id").is_some(), "{head:?}");
    }
}

#[tokio::test]
async fn request_id_is_made_where_there_is_none_and_passed_where_there_is_one() {
    let made = forwarded("", "").await;
    for (head, record) in &made {
        let id = head.header("x-request-id").expect("a request id");
        assert!(!id.is_empty());
        assert_eq!(record["request_id"], id);
    }
    assert_ne!(made[0].1["request_id"], made[1].1["request_id"]);

    let backend = Backend::echo();
    let mut proxy = Proxy::start(&[&backend]);
    proxy.client().await.get("/", "X-Request-ID: from-outside-7\r\n").await;
    assert_eq!(backend.heads()[0].header("x-request-id"), Some("from-outside-7"));
    assert_eq!(proxy.next_record().await["request_id"], "from-outside-7");
    proxy.stop().await;
}

#[tokio::test]
async fn hop_by_hop_fields_of_an_answer_end_at_the_proxy() {
    let backend = Backend::answering(
        "HTTP/1.1 200 OK\r\nConnection: X-Named\r\nX-Named: 1\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\n\
         Proxy-Authenticate: Basic\r\nX-Kept: yes\r\nContent-Length: 2\r\n\r\nok",
    );
    let proxy = Proxy::start(&[&backend]);
    let response = proxy.client().await.get("/", "").await;
    assert_eq!(response.text(), "ok");
    for name in ["x-named", "keep-alive", "upgrade"] {
        assert_eq!(response.head.header(name), None, "{name}");
    }
    assert_eq!(response.head.header("x-kept"), Some("yes"));
    proxy.stop().await;
}

#[tokio::test]
async fn via_names_this_hop_where_the_file_says_so() {
    for (head, _) in forwarded("", "Via: 1.0 outer\r\n").await {
        assert_eq!(head.headers("via"), ["1.0 outer"]);
    }
    for (head, _) in forwarded("via_header: true", "Via: 1.0 outer\r\n").await {
        assert_eq!(head.headers("via").join(", "), "1.0 outer, 1.1 longwire");
    }
    let backend = Backend::echo();
    let proxy = Proxy::before(&[&backend]).with("via_header: true").start();
    assert_eq!(proxy.client().await.get("/", "").await.head.header("via"), Some("1.1 longwire"));
    assert_eq!(proxy.client().await.upgrade("/").await.header("via"), Some("1.1 longwire"));
    let mut old = proxy.client().await;
    old.send("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(old.response().await.status(), 200);
    assert_eq!(backend.heads().pop().unwrap().header("via"), Some("1.0 longwire"));
    proxy.stop().await;
}

#[tokio::test]
async fn an_options_or_trace_that_may_go_no_further_is_answered_here() {
    let backend = Backend::echo();
    let mut proxy = Proxy::start(&[&backend]);
    let mut client = proxy.client().await;
    for (method, left, status) in [("OPTIONS", "0", 204), ("TRACE", "0", 405)] {
        client.send(format!("{method} / HTTP/1.1\r\nHost: chat\r\nMax-Forwards: {left}\r\n\r\n")).await;
        let response = client.response().await;
        assert_eq!(response.status(), status, "{method}");
        assert!(response.head.header("allow").is_some(), "{method}");
        let record = proxy.next_record().await;
        assert_eq!((&record["status"], &record["cause"]), (&status.into(), &"ok".into()), "{record}");
    }
    assert_eq!(backend.heads(), []);
    for (method, left, seen) in [("OPTIONS", "2", "1"), ("TRACE", "1", "0"), ("GET", "0", "0"), ("OPTIONS", "x", "x")] {
        client.send(format!("{method} / HTTP/1.1\r\nHost: chat\r\nMax-Forwards: {left}\r\n\r\n")).await;
        assert_eq!(client.response().await.status(), 200, "{method} {left}");
        assert_eq!(backend.heads().pop().unwrap().header("max-forwards"), Some(seen), "{method} {left}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_load_balancer_that_is_not_trusted_is_named_in_the_log_once() {
    let backend = Backend::echo();
    for (trusted, warnings) in [("[]", 1), ("[ \"127.0.0.1\" ]", 0)] {
        let folder = tempfile::tempdir().unwrap();
        let setup = Proxy::before(&[&backend]).with(&format!("trusted_proxies: {trusted}"));
        fs_err::write(folder.path().join("proxy.yaml"), setup.text()).unwrap();
        let (process, address) = Process::serving(folder.path()).await;
        let mut balancer = Wire::connect(address).await;
        for _ in 0..200 {
            balancer.get("/", "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n").await;
        }
        drop(balancer);
        let messages = process.messages().await;
        let dropped = |message: &&Value| message["message"].as_str().unwrap_or_default().contains("X-Forwarded-*");
        let said: Vec<_> = messages.iter().filter(dropped).collect();
        assert_eq!(said.len(), warnings, "{said:?}");
        for message in said {
            assert_eq!(message["address"], "127.0.0.1");
            assert_eq!(message["set"], "trusted_proxies: [ \"127.0.0.1\" ]");
        }
    }
}

#[tokio::test]
async fn an_ipv4_client_of_a_listener_on_both_families_has_the_same_address_everywhere() {
    let backend = Backend::echo();
    let mut proxy = Proxy::before(&[&backend]).listener("bind: \"[::]:0\"").start();
    let address = SocketAddr::from(([127, 0, 0, 1], proxy.address().port()));
    for (head, status) in [
        ("GET / HTTP/1.1\r\nHost: chat\r\n\r\n", 200),
        // A head that hyper refuses, so that no request comes of it.
        ("GET /\u{1} HTTP/1.1\r\nHost: chat\r\n\r\n", 400),
    ] {
        let mut client = Wire::connect(address).await;
        client.send(head).await;
        assert_eq!(client.response().await.status(), status);
        client.finish().await;
        assert_eq!(proxy.next_record().await["client"], "127.0.0.1", "{status}");
    }
    assert_eq!(backend.heads().pop().unwrap().header("x-forwarded-for"), Some("127.0.0.1"));
    proxy.stop().await;
}
