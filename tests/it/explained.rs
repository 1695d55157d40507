//! Every way in which a session ends, or does not begin, has the same cause in the log, in the metrics and on the live page.

mod refusals;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use longwire::{balance::Duty, config::AdminBind, ws::termination::Cause};
use serde_json::Value;

use crate::harness::{
    Backend, Proxy, Setup, Wire, accepting,
    frames::{TEXT, masked, masked_close, unmasked, unmasked_close},
    within,
};

const SILENCES: [&str; 4] =
    ["silence_from_client_ms", "silence_from_backend_ms", "silence_to_client_ms", "silence_to_backend_ms"];

/// The event that ends the session.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// One side sends these bytes.
    Client(&'static [u8]),
    Backend(&'static [u8]),
    ClientGoes,
    BackendGoes,
    /// One side sends nothing any more. The other side answers its Pings.
    ClientSleeps,
    BackendSleeps,
    /// The client sends one message of this many bytes.
    ClientSends(usize),
    /// The client sends this many messages.
    ClientChatters(usize),
    /// The client reads nothing of what the backend sends.
    ClientReadsNothing,
    /// Only time passes.
    Nothing,
    Killed,
    Drained,
    Removed,
    Rebalanced,
}

#[tokio::test]
async fn log_metrics_and_page_name_the_same_cause_initiator_and_code() {
    const CLIENT_PINGED: &str = "keepalive: { ping_interval: 20ms, pong_timeout: 60ms, sides: [client] }";
    const BACKEND_PINGED: &str = "keepalive: { ping_interval: 20ms, pong_timeout: 60ms, sides: [backend] }";
    const SOON: &str = "drain: { spread: 0s, on_removed: close }";
    let idle = |setup: Setup| setup.timeout("idle", "30ms").with("keepalive: { ping_interval: 0s }");
    let lives = |setup: Setup| setup.routes("routes: [ { upstream: chat, max_lifetime: 30ms } ]");
    let with = |setting: &'static str| move |setup: Setup| setup.with(setting);
    let mut seen = BTreeSet::new();
    // RFC 6455 §5.1: a client masks, a backend does not.
    seen.insert(explained(with(""), Event::Client(b"\x81\x01x")).await);
    seen.insert(explained(with(""), Event::Backend(b"\x81\x81\0\0\0\0x")).await);
    seen.insert(explained(with(""), Event::Client(b"\x88\x82\0\0\0\0\x03\xe8")).await);
    seen.insert(explained(with(""), Event::Backend(b"\x88\x02\x03\xe9")).await);
    seen.insert(explained(with(""), Event::ClientGoes).await);
    seen.insert(explained(with(""), Event::BackendGoes).await);
    seen.insert(explained(with(CLIENT_PINGED), Event::ClientSleeps).await);
    seen.insert(explained(with(BACKEND_PINGED), Event::BackendSleeps).await);
    seen.insert(explained(with("limits: { message_size: 100B }"), Event::ClientSends(101)).await);
    seen.insert(explained(with("limits: { frame_size: 100B }"), Event::ClientSends(101)).await);
    seen.insert(explained(with("limits: { backend_message_size: 2B }"), Event::Backend(b"\x81\x03xyz")).await);
    seen.insert(explained(with("limits: { messages_per_second: 10 }"), Event::ClientChatters(1000)).await);
    seen.insert(explained(with("limits: { bytes_per_second: 1KiB }"), Event::ClientSends(2000)).await);
    seen.insert(explained(with("limits: { unsent_memory: 1B }"), Event::ClientReadsNothing).await);
    seen.insert(explained(idle, Event::Nothing).await);
    seen.insert(explained(lives, Event::Nothing).await);
    seen.insert(explained_by_its_service().await);
    seen.insert(explained(with(""), Event::Killed).await);
    seen.insert(explained(with(SOON), Event::Drained).await);
    seen.insert(explained(with(SOON), Event::Removed).await);
    seen.insert(explained(with(""), Event::Rebalanced).await);
    seen.insert(explained_by_its_checks().await);
    let all: BTreeSet<_> = Cause::ALL.map(|cause| cause.as_str().to_owned()).into();
    assert_eq!(seen, all);
}

/// Lets `event` end a session. Returns the cause, which log, metrics and page must all name.
async fn explained(with: impl Fn(Setup) -> Setup, event: Event) -> String {
    let backend = Backend::by_hand();
    let mut proxy = with(before(&[&backend])).start();
    let (client, at_backend) = proxy.session_by_hand(&backend).await;
    let ends = happen(&mut proxy, event, client, at_backend).await;
    let record = proxy.next_record().await;
    drop(ends);
    agree(proxy, &record).await
}

/// Makes the event happen. Returns the ends that are still open.
async fn happen(proxy: &mut Proxy, event: Event, mut client: Wire, mut at_backend: Wire) -> Vec<Wire> {
    match event {
        Event::Client(bytes) => client.send(bytes).await,
        Event::Backend(bytes) => at_backend.send(bytes).await,
        Event::ClientGoes => {
            client.reset();
            return vec![at_backend];
        }
        Event::BackendGoes => {
            at_backend.reset();
            return vec![client];
        }
        Event::ClientSleeps => {
            answer_pings(&mut at_backend, true).await;
            return vec![client];
        }
        Event::BackendSleeps => {
            answer_pings(&mut client, false).await;
            return vec![at_backend];
        }
        Event::ClientSends(length) => client.send(masked(TEXT, vec![b'x'; length])).await,
        Event::ClientChatters(messages) => client.send(masked(TEXT, "").repeat(messages)).await,
        Event::ClientReadsNothing => {
            let (mut reading, mut writing) = at_backend.split();
            let flood = async { while writing.try_send(unmasked(TEXT, vec![b'x'; 30_000])).await {} };
            tokio::select! {
                () = flood => panic!("the backend was cut before it was told"),
                () = reading.expect_close(1013, "memory") => {}
            }
            return vec![client, reading, writing];
        }
        Event::Nothing => {}
        Event::Killed => {
            let id = &get(proxy, "/api/sessions").await["sessions"][0]["id"];
            let id = id.as_str().unwrap().to_owned();
            ask(proxy, "DELETE", &format!("/api/sessions/{id}")).await;
        }
        Event::Drained => {
            let address = get(proxy, "/api/sessions").await["sessions"][0]["backend"].as_str().unwrap().to_owned();
            proxy.control().set_duty("chat", &address, Duty::Drain).unwrap();
        }
        Event::Rebalanced => {
            let order = r#"{ "sessions": 1, "over_ms": 1 }"#;
            ask_with(proxy, "POST", "/api/rebalance", order).await;
        }
        Event::Removed => {
            let other = before(&[&Backend::refusing()]).with("drain: { spread: 0s, on_removed: close }");
            proxy.reload(&other);
        }
    }
    vec![client, at_backend]
}

/// Answers every Ping until the session ends.
async fn answer_pings(wire: &mut Wire, is_backend: bool) {
    loop {
        let frame = wire.frame().await;
        if frame.first == 0x88 {
            return;
        }
        let pong = if is_backend { unmasked(0x8A, &frame.payload) } else { masked(0x8A, &frame.payload) };
        // The session may have ended in the meantime.
        if !wire.try_send(pong).await {
            return;
        }
    }
}

/// The one cause that needs a service that lets sessions in.
async fn explained_by_its_service() -> String {
    let service = Backend::script(|mut wire, _| async move {
        let end = (SystemTime::now() + Duration::from_secs(4)).duration_since(UNIX_EPOCH).unwrap().as_secs();
        wire.send(format!("HTTP/1.1 200 OK\r\nX-Session-Expires: {end}\r\nContent-Length: 0\r\n\r\n")).await;
    });
    let routes = format!("routes: [ {{ upstream: chat, auth_request: {{ url: \"http://{service}/\" }} }} ]");
    explained(|setup| setup.routes(&routes), Event::Nothing).await
}

/// The one cause that needs a backend with checks.
async fn explained_by_its_checks() -> String {
    let sick = Arc::new(AtomicBool::new(false));
    let state = Arc::clone(&sick);
    let backend = Backend::raw(move |backend: Backend, mut wire| {
        let sick = Arc::clone(&state);
        async move {
            while let Some(head) = backend.next_head(&mut wire).await {
                if head.header("upgrade").is_some() {
                    wire.send(accepting(&head, "")).await;
                    wire.expect_close_code(1012).await;
                    return wire.send(unmasked_close(1012, "")).await;
                }
                let status = if sick.load(Ordering::SeqCst) { "503 Sick" } else { "200 OK" };
                wire.send(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")).await;
            }
        }
    });
    let check = "balance: round_robin, health_check: { kind: http, interval: 10ms, timeout: 8s, rise: 1, fall: 1, \
                 on_down: drain }";
    let mut proxy = before(&[&backend]).upstream(check).with("drain: { spread: 0s }").start();
    let mut client = proxy.session().await;
    sick.store(true, Ordering::SeqCst);
    client.expect_close(1012, "backend down").await;
    client.send(masked_close(1012, "")).await;
    let record = proxy.next_record().await;
    drop(client);
    agree(proxy, &record).await
}

/// Asserts that the metrics and the last endings say the same as the record.
async fn agree(proxy: Proxy, record: &Value) -> String {
    let word = |key: &str| record[key].as_str().unwrap_or_else(|| panic!("{key} in {record}")).to_owned();
    let (cause, initiator) = (word("cause"), word("initiator"));
    let code = record["close_code"].as_u64();
    let ending = within("the ending", async {
        loop {
            if let Some(ending) = get(&proxy, "/api/endings").await["endings"].as_array().unwrap().first() {
                return ending.clone();
            }
        }
    })
    .await;
    let how = match &*cause {
        "client_close" | "backend_close" => "close",
        "client_lost" | "backend_lost" => "reset",
        "client_dead" | "backend_dead" => "silent",
        _ => "ours",
    };
    assert_eq!(record["how"], how, "{record}");
    for key in SILENCES {
        assert!(record[key].as_u64().is_some_and(|silence| silence as f64 <= record["duration_ms"].as_f64().unwrap()));
    }
    let keys = ["cause", "how", "initiator", "close_code", "close_reason", "clean", "backend", "route"];
    for key in keys.into_iter().chain(SILENCES) {
        assert_eq!(ending[key], record[key], "{key} of {ending} and {record}");
    }
    assert_eq!(ending["id"], record["request_id"]);
    assert!(ending["why"].as_str().is_some_and(|why| why.len() > 20), "{ending}");
    let labels = format!("initiator=\"{initiator}\",cause=\"{cause}\",code=\"{}\"", class(code));
    let metrics = ask(&proxy, "GET", "/metrics").await;
    let counted: Vec<_> = metrics.lines().filter(|line| line.starts_with("websocket_closes_total{")).collect();
    assert_eq!(counted.len(), 1, "{counted:?}");
    assert!(counted[0].contains(&labels) && counted[0].ends_with(" 1"), "{labels} in {counted:?}");
    // Some causes are limits.
    let limits = matches!(&*cause, "memory" | "message_too_big" | "rate_limited").then_some(&*cause);
    assert_eq!(limits_hit(&metrics), limits.map(|limit| (limit.to_owned(), 1)).into_iter().collect::<Vec<_>>());
    proxy.stop().await;
    cause
}

/// The limits that were hit, and how often.
fn limits_hit(metrics: &str) -> Vec<(String, u64)> {
    let lines = metrics.lines().filter_map(|line| line.strip_prefix("longwire_limits_hit_total{limit=\""));
    let hits = lines.map(|line| line.split_once("\"} ").expect("a limit and its count"));
    hits.map(|(limit, count)| (limit.to_owned(), count.parse().unwrap())).collect()
}

/// The label of a close code. The sessions here end with codes that have a label of their own.
fn class(code: Option<u64>) -> String {
    match code {
        None => "none".to_owned(),
        Some(code) => code.to_string(),
    }
}

fn before(backends: &[&Backend]) -> Setup {
    // Nobody here answers the last Close of a session.
    Proxy::before(backends).timeout("close", "1s").with("admin: { bind: \"127.0.0.1:0\" }")
}

/// The answer of the admin interface, as JSON.
pub async fn get(proxy: &Proxy, path: &str) -> Value {
    serde_json::from_str(&ask(proxy, "GET", path).await).unwrap()
}

/// The answer of the admin interface.
pub async fn ask(proxy: &Proxy, method: &str, path: &str) -> String {
    ask_with(proxy, method, path, "").await
}

async fn ask_with(proxy: &Proxy, method: &str, path: &str, body: &str) -> String {
    let Some(AdminBind::Tcp(address)) = proxy.control().admin_address() else { panic!("no admin interface") };
    let address: SocketAddr = address;
    let mut wire = Wire::connect(address).await;
    let json = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    wire.send(format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n{json}\r\n{body}")).await;
    let response = wire.response().await;
    assert_eq!(response.status(), 200, "{path}: {}", response.text());
    response.text().to_owned()
}
