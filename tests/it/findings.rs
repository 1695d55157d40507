//! What the process itself says of the ends of the last hour.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{interval, timeout};

use crate::{
    explained::get,
    harness::{
        Backend, Proxy, Setup, Wire,
        frames::{TEXT, masked, unmasked},
        within,
    },
};

/// The silence after which the path to the backend is cut.
const LIMIT: Duration = Duration::from_secs(1);
/// The time between two messages of a session.
const PACE: Duration = Duration::from_millis(25);

fn before(backend: &Backend) -> Setup {
    Proxy::before(&[backend])
        .with("admin: { bind: \"127.0.0.1:0\" }")
        .with("keepalive: { ping_interval: 0s }")
        .timeout("close", "100ms")
}

/// A backend behind something that ends by FIN what is silent for [`LIMIT`]. It answers each message.
fn behind_a_limit() -> Backend {
    Backend::script(|mut wire, head| async move {
        wire.accept(&head, "").await;
        while let Ok(Some(_)) = timeout(LIMIT, wire.try_take(masked(TEXT, "x").len())).await {
            wire.send(unmasked(TEXT, "x")).await;
        }
    })
}

/// A session that is busy for a time, which differs from session to session, and then silent until it is lost.
async fn be_lost(mut client: Wire, number: u32) {
    let mut ticks = interval(PACE);
    for _ in 0..=(number * 7) % 37 {
        ticks.tick().await;
        client.exchange(&masked(TEXT, "x"), &unmasked(TEXT, "x")).await;
    }
    client.expect_close(1011, "backend lost").await;
}

/// What the process says now.
async fn findings(proxy: &Proxy) -> Vec<Value> {
    proxy.control().explain_now().await;
    get(proxy, "/api/findings").await["findings"].as_array().unwrap().clone()
}

/// Loses sessions until something is found.
async fn find(proxy: &Proxy) -> Value {
    loop {
        let mut ticks = interval(PACE);
        let mut sessions = tokio::task::JoinSet::new();
        for number in 0..60 {
            ticks.tick().await;
            sessions.spawn(be_lost(proxy.session().await, number));
        }
        sessions.join_all().await;
        // A machine that stood still has made the silences of some sessions longer. The next ones are told by themselves.
        let is_limit = |finding: &Value| {
            finding["kind"] == "idle_limit" && finding["seconds"].as_f64().is_some_and(|at| (1.0..1.2).contains(&at))
        };
        if let Some(limit) = findings(proxy).await.into_iter().find(is_limit) {
            return limit;
        }
    }
}

#[tokio::test]
async fn a_silence_that_ends_sessions_is_told_and_a_reload_forgets_nothing() {
    let backend = behind_a_limit();
    let mut proxy = before(&backend).start();
    assert_eq!(findings(&proxy).await, Vec::<Value>::new());
    let limit = find(&proxy).await;
    assert_eq!((&limit["side"], &limit["key"]), (&json!("backend"), &json!("keepalive.ping_interval")), "{limit}");
    assert!(limit["cases"].as_u64().is_some_and(|cases| cases >= 8) && limit.get("route").is_none(), "{limit}");
    proxy.reload(&before(&backend).with("drain: { spread: 0s }"));
    assert!(findings(&proxy).await.iter().any(|finding| finding["kind"] == "idle_limit"));
    proxy.stop().await;
}

#[tokio::test]
async fn handshakes_that_fail_are_told_as_explain_tells_them_and_plain_requests_are_not() {
    let backend = Backend::refusing();
    let proxy = before(&backend).start();
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
