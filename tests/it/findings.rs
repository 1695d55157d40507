//! What the process itself says of the ends of the last hour.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{interval, timeout};

use crate::{
    explained::{ask, get},
    harness::{
        Backend, Proxy, Setup, Wire,
        frames::{CLOSE, TEXT, masked, masked_close, unmasked, unmasked_close},
        within,
    },
};

/// The silence after which the path to the backend is cut.
const LIMIT: Duration = Duration::from_secs(1);
/// The path of sessions that are never cut.
const FINE: &str = "/fine";
/// The time between two messages of a session.
const PACE: Duration = Duration::from_millis(25);

fn before(backend: &Backend, routes: &str) -> Setup {
    Proxy::before(&[backend])
        .with("admin: { bind: \"127.0.0.1:0\" }")
        .with("keepalive: { ping_interval: 0s }")
        .timeout("close", "100ms")
        .routes(routes)
}

/// A backend that answers each message. Something before it ends by FIN what is silent for [`LIMIT`], but not on [`FINE`].
fn behind_a_limit() -> Backend {
    Backend::script(|mut wire, head| async move {
        wire.accept(&head, "").await;
        let limit = if head.first_line().contains(FINE) { 60 * LIMIT } else { LIMIT };
        while let Ok(Some(header)) = timeout(limit, wire.try_take(2)).await {
            // The mask and a short payload.
            wire.take(4 + usize::from(header[1] & 0x7F)).await;
            if header[0] == CLOSE {
                return wire.send_and_finish(unmasked_close(1000, "")).await;
            }
            wire.send(unmasked(TEXT, "x")).await;
        }
    })
}

/// A session that is busy for a time, which differs from session to session, and then silent until it is cut. On [`FINE`], it
/// ends well after a longer silence.
async fn talk(mut client: Wire, path: &str, number: u32) {
    client.upgrade(path).await;
    let mut ticks = interval(PACE);
    for _ in 0..=(number * 7) % 37 {
        ticks.tick().await;
        // On a machine that stands still it may be cut here already.
        if !client.try_send(masked(TEXT, "x")).await || client.try_take(3).await != Some(unmasked(TEXT, "x")) {
            return;
        }
    }
    if path != FINE {
        return client.expect_close(1011, "backend lost").await;
    }
    assert!(timeout(2 * LIMIT, client.take(1)).await.is_err(), "something came");
    client.send(masked_close(1000, "")).await;
    client.expect_close_code(1000).await;
}

/// What the process says now.
async fn findings(proxy: &Proxy) -> Vec<Value> {
    proxy.control().explain_now().await;
    get(proxy, "/api/findings").await["findings"].as_array().unwrap().clone()
}

fn is_limit(finding: &Value) -> bool {
    finding["kind"] == "idle_limit" && finding["seconds"].as_f64().is_some_and(|at| (1.0..1.2).contains(&at))
}

/// Has sessions on these paths until the limit is found, on the only route that has it.
async fn find(proxy: &Proxy, paths: &[&'static str], route: Option<&str>) -> Value {
    loop {
        let mut ticks = interval(PACE);
        let mut sessions = tokio::task::JoinSet::new();
        for number in 0..60 {
            ticks.tick().await;
            for path in paths {
                sessions.spawn(talk(proxy.client().await, path, number));
            }
        }
        sessions.join_all().await;
        // A machine that stood still has made the silences of some sessions longer. The next ones are told by themselves.
        let found = findings(proxy).await;
        if let Some(limit) = found.iter().find(|found| is_limit(found) && found["route"].as_str() == route) {
            return limit.clone();
        }
    }
}

/// The limit toward backends that the metrics tell for each of these routes.
async fn suspected<const N: usize>(proxy: &Proxy, routes: [&str; N]) -> [Option<f64>; N] {
    let metrics = ask(proxy, "GET", "/metrics").await;
    routes.map(|route| {
        let name = format!("longwire_suspected_limit_seconds{{route=\"{route}\",side=\"backend\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&name)).map(|seconds| seconds.parse().unwrap())
    })
}

#[tokio::test]
async fn a_silence_that_ends_sessions_is_told_and_a_reload_forgets_nothing() {
    let backend = behind_a_limit();
    let routes = "routes: [ { path: /ws, upstream: chat }, { path: /old, redirect: https }, { upstream: chat } ]";
    let mut proxy = before(&backend, routes).start();
    assert_eq!(findings(&proxy).await, Vec::<Value>::new());
    assert_eq!(suspected(&proxy, ["*/ws", "*/"]).await, [None, None]);
    let limit = find(&proxy, &["/ws"], None).await;
    assert_eq!((&limit["side"], &limit["key"]), (&json!("backend"), &json!("keepalive.ping_interval")), "{limit}");
    assert!(limit["cases"].as_u64().is_some_and(|cases| cases >= 8), "{limit}");
    // What all routes may have, each of them has. A route that only redirects has no sessions.
    let seconds = limit["seconds"].as_f64();
    assert_eq!(suspected(&proxy, ["*/ws", "*/", "*/old"]).await, [seconds, seconds, None]);
    proxy.reload(&before(&backend, "routes: [ { upstream: chat } ]"));
    assert!(findings(&proxy).await.iter().any(is_limit));
    assert_eq!(suspected(&proxy, ["*/ws", "*/"]).await, [None, seconds]);
    proxy.stop().await;
}

#[tokio::test]
async fn a_limit_of_one_route_is_told_of_this_route_only() {
    let backend = behind_a_limit();
    let proxy = before(&backend, "routes: [ { path: /fine, upstream: chat }, { upstream: chat } ]").start();
    let limit = find(&proxy, &["/ws", FINE], Some("*/")).await;
    assert_eq!(limit["key"], "routes[].keepalive.ping_interval", "{limit}");
    assert_eq!(suspected(&proxy, ["*/", "*/fine"]).await, [limit["seconds"].as_f64(), None]);
    proxy.stop().await;
}

#[tokio::test]
async fn handshakes_that_fail_are_told_as_explain_tells_them_and_plain_requests_are_not() {
    let backend = Backend::refusing();
    let proxy = before(&backend, "routes: [ { upstream: chat } ]").start();
    for _ in 0..40 {
        assert_eq!(proxy.client().await.refused_upgrade("/ws").await.status(), 502);
        assert_eq!(proxy.client().await.get("/", "").await.status(), 502);
    }
    let found = within("a finding", async {
        loop {
            if let [finding] = &findings(&proxy).await[..]
                && finding["cases"] == 40
            {
                return finding.clone();
            }
        }
    })
    .await;
    let keys: Vec<_> = found.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["cases", "confidence", "key", "kind", "share", "status", "text"], "{found}");
    assert_eq!(
        (&found["kind"], &found["status"], &found["share"]),
        (&json!("handshake_failures"), &json!(502), &json!(1.0))
    );
    proxy.stop().await;
}
