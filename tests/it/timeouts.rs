//! Every wait on a client or a backend has its deadline.

use crate::harness::{
    Backend, Proxy, Wire,
    frames::{PING, PONG, TEXT, masked, masked_close, unmasked, unmasked_close},
    handshake, trusting, within,
};

/// Expects that the connection ends without an answer, or with a 408.
async fn expect_timed_out(client: &mut Wire) {
    let rest = client.rest().await;
    let text = String::from_utf8_lossy(&rest);
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 408 "), "{text}");
}

#[tokio::test]
async fn a_head_that_does_not_end_ends_the_connection() {
    let backend = Backend::echo();
    let proxy = Proxy::before(&[&backend]).timeout("request_header", "300ms").start();
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: chat\r\nX-Slow:").await;
    expect_timed_out(&mut client).await;
    assert_eq!(backend.heads(), []);
    proxy.stop().await;
}

#[tokio::test]
async fn a_connection_that_never_sends_a_byte_is_closed() {
    let backend = Backend::echo();
    let proxy = Proxy::before(&[&backend]).timeout("request_header", "300ms").start();
    expect_timed_out(&mut proxy.client().await).await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_connection_idle_between_requests_is_closed() {
    let backend = Backend::echo();
    let proxy = Proxy::before(&[&backend]).timeout("keep_alive", "300ms").start();
    let mut client = proxy.client().await;
    assert_eq!(client.get("/", "").await.status(), 200);
    client.expect_eof().await;
    proxy.stop().await;
}

#[tokio::test]
async fn keep_alive_outlasts_the_header_timeout() {
    let backend = Backend::echo();
    let proxy = Proxy::before(&[&backend]).timeout("request_header", "3s").timeout("keep_alive", "1h").start();
    let mut kept = proxy.client().await;
    assert_eq!(kept.get("/", "").await.status(), 200);
    // The clock of this test: a silent connection that was made after the answer runs into the header timeout.
    expect_timed_out(&mut proxy.client().await).await;
    assert_eq!(kept.get("/", "").await.status(), 200);
    proxy.stop().await;
}

#[tokio::test]
async fn a_request_body_that_stalls_ends_with_408() {
    let backend = Backend::by_hand();
    let mut proxy = Proxy::before(&[&backend]).timeout("request_body", "300ms").start();
    let mut client = proxy.client().await;
    client.send("POST / HTTP/1.1\r\nHost: chat\r\nContent-Length: 10\r\n\r\nabc").await;
    let (mut at_backend, _) = backend.asked().await;
    expect_timed_out(&mut client).await;
    at_backend.rest().await;
    assert_eq!(proxy.next_record().await["cause"], "body_timeout");
    proxy.stop().await;
}

#[tokio::test]
async fn a_tls_handshake_that_stalls_ends_the_connection_and_no_other() {
    let backend = Backend::echo();
    let folder = tempfile::tempdir().unwrap();
    let proxy = Proxy::before(&[&backend])
        .tls("{ cert: dev.crt, key: dev.key, self_signed: true }", folder.path())
        .timeout("tls_handshake", "3s")
        .start();
    let mut silent = proxy.client().await;
    let mut stalled = proxy.client().await;
    // The beginning of a ClientHello that never ends.
    stalled.send(b"\x16\x03\x01\x02\x00\x01\x00").await;
    let connector = trusting(&folder.path().join("dev.crt"), &[], &[]);
    let mut client = crate::harness::tls_connect(&connector, proxy.address(), "localhost").await.unwrap();
    assert_eq!(client.get("/", "").await.status(), 200);
    silent.rest().await;
    stalled.rest().await;
    proxy.stop().await;
}

#[tokio::test]
async fn an_answer_whose_body_stalls_is_cut() {
    let backend = Backend::by_hand();
    let mut proxy = Proxy::before(&[&backend]).timeout("response", "3s").start();
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.1\r\nHost: chat\r\n\r\n").await;
    let (mut at_backend, _) = backend.asked().await;
    at_backend.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc").await;
    assert_eq!(within("a head", client.head()).await.status(), 200);
    // The answer is cut and not padded, because the client must see that something is missing.
    assert_eq!(client.rest().await, b"abc");
    assert_eq!(proxy.next_record().await["cause"], "response_timeout");
    at_backend.expect_gone().await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_session_without_a_byte_is_told_1001_idle_on_both_sides() {
    let backend = Backend::by_hand();
    let mut proxy =
        Proxy::before(&[&backend]).timeout("idle", "300ms").with("keepalive: { ping_interval: 0s }").start();
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    client.expect_close(1001, "idle").await;
    at_backend.expect_close(1001, "idle").await;
    client.send(masked_close(1001, "")).await;
    at_backend.send(unmasked_close(1001, "")).await;
    client.expect_eof().await;
    at_backend.expect_eof().await;
    let record = proxy.next_record().await;
    assert_eq!((&record["cause"], &record["initiator"]), (&"idle".into(), &"proxy".into()), "{record}");
    assert_eq!((&record["close_code"], &record["close_reason"]), (&1001.into(), &"idle".into()), "{record}");
    proxy.stop().await;
}

#[tokio::test]
async fn pongs_to_our_own_pings_keep_a_session_from_being_idle() {
    let backend = Backend::by_hand();
    let proxy = Proxy::before(&[&backend])
        .timeout("idle", "3s")
        .with("keepalive: { ping_interval: 100ms, pong_timeout: 30s, sides: [client] }")
        .start();
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    // These Pings take longer than a session may be idle.
    for _ in 0..40 {
        let frame = client.frame().await;
        assert_eq!(frame.first, PING, "{frame:?}");
        client.send(masked(PONG, frame.payload)).await;
    }
    client.send(masked(TEXT, "alive")).await;
    at_backend.expect(masked(TEXT, "alive")).await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_session_outlives_every_timeout_of_http() {
    let backend = Backend::by_hand();
    let mut proxy = Proxy::before(&[&backend]);
    for key in ["request_header", "request_body", "keep_alive", "connect", "upgrade", "response"] {
        proxy = proxy.timeout(key, "3s");
    }
    let proxy = proxy.with("keepalive: { ping_interval: 100ms, pong_timeout: 30s, sides: [client] }").start();
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    // These Pings take longer than each of the timeouts.
    for _ in 0..40 {
        let ping = client.frame().await;
        client.send(masked(PONG, ping.payload)).await;
    }
    at_backend.send(unmasked(TEXT, "still open")).await;
    loop {
        let frame = client.frame().await;
        if frame.first == TEXT {
            break;
        }
        assert_eq!(frame.first, PING);
    }
    proxy.stop().await;
}

/// The begin of an answer that is an event stream.
const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\
                      Transfer-Encoding: chunked\r\n\r\n6\r\nfirst\n\r\n";

#[tokio::test]
async fn a_quiet_event_stream_outlives_the_time_between_two_reads() {
    let backend = Backend::by_hand();
    let proxy = Proxy::before(&[&backend]).timeout("response", "3s").start();
    let mut client = proxy.client().await;
    client.send("GET /events HTTP/1.1\r\nHost: chat\r\n\r\n").await;
    let (mut at_backend, _) = backend.asked().await;
    at_backend.send(STREAM).await;
    assert_eq!(within("a head", client.head()).await.status(), 200);
    assert_eq!(client.chunk().await, b"first\n");
    // The clock of this test: another answer, which begins later, stands still until its deadline.
    let mut other = proxy.client().await;
    other.send("GET /slow HTTP/1.1\r\nHost: chat\r\n\r\n").await;
    let (mut at_other, _) = backend.asked().await;
    at_other.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nfirst").await;
    other.rest().await;
    at_other.expect_gone().await;
    at_backend.send("7\r\nsecond\n\r\n0\r\n\r\n").await;
    assert_eq!(client.chunk().await, b"second\n");
    assert_eq!(client.chunk().await, b"");
    proxy.stop().await;
}

#[tokio::test]
async fn an_event_stream_that_is_idle_for_too_long_is_cut_and_recorded_as_idle() {
    let backend = Backend::by_hand();
    let mut proxy =
        Proxy::before(&[&backend]).timeout("idle", "200ms").with("keepalive: { ping_interval: 50ms }").start();
    let mut client = proxy.client().await;
    client.send("GET /events HTTP/1.1\r\nHost: chat\r\n\r\n").await;
    let (mut at_backend, _) = backend.asked().await;
    at_backend.send(STREAM).await;
    client.rest().await;
    at_backend.expect_gone().await;
    let record = proxy.next_record().await;
    assert_eq!((&record["cause"], &record["status"]), (&"idle".into(), &200.into()), "{record}");
    proxy.stop().await;
}

#[tokio::test]
async fn a_route_has_timeouts_of_its_own() {
    let backend = Backend::by_hand();
    let routes = "routes: [ { upstream: chat, timeouts: { upgrade: 300ms, response: 200ms } }, \
                  { path: /slow, upstream: chat, timeouts: { upgrade: 1m, response: 0s } } ]";
    let mut proxy = Proxy::before(&[&backend]).routes(routes).timeout("response", "1h").start();
    let (mut slow, mut slow_handshake) = (proxy.client().await, proxy.client().await);
    slow.send("GET /slow HTTP/1.1\r\nHost: chat\r\n\r\n").await;
    let (mut at_slow, _) = backend.asked().await;
    slow_handshake.send(handshake("/slow", "")).await;
    let (mut at_handshake, head) = backend.asked().await;
    // The clock of this test: the request and the handshake of the other route have waited until their deadlines.
    for request in ["GET / HTTP/1.1\r\nHost: chat\r\n\r\n".to_owned(), handshake("/", "")] {
        let mut client = proxy.client().await;
        client.send(request).await;
        let (mut at_backend, _) = backend.asked().await;
        assert_eq!(client.response().await.status(), 504);
        at_backend.expect_gone().await;
        assert_eq!(proxy.next_record().await["cause"], "response_timeout");
    }
    at_slow.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(slow.response().await.status(), 200);
    at_handshake.accept(&head, "").await;
    slow_handshake.upgraded().await;
    drop((slow_handshake, at_handshake));
    proxy.stop().await;
}
