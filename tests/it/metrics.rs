//! The metrics of every session: while it lives, at its end, and over a reload.

use std::{collections::BTreeMap, io::Write, net::SocketAddr, time::Duration};

use longwire::{
    config::AdminBind,
    lines::{Bounds, Lines},
};
use serde_json::Value;

use crate::harness::{
    Backend, Proxy, Setup, Wire,
    frames::{TEXT, masked, masked_close, unmasked, unmasked_close},
    within,
};

const ROUTE: &str = "route=\"*/\",upstream=\"chat\"";

/// The metrics at one moment: values by name and labels.
struct Scrape {
    text: String,
    samples: BTreeMap<String, f64>,
}

impl Scrape {
    /// The metrics in the classic format.
    async fn of(proxy: &Proxy) -> Self {
        Self::accepting(proxy, "").await.1
    }

    /// The content type, and the metrics. `accept` holds whole header lines.
    async fn accepting(proxy: &Proxy, accept: &str) -> (String, Self) {
        let address = admin(proxy);
        let mut wire = Wire::connect(address).await;
        wire.send(format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\n{accept}\r\n")).await;
        let response = wire.response().await;
        assert_eq!(response.status(), 200, "{}", response.text());
        let text = response.text().to_owned();
        let samples = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}"));
            (name.to_owned(), value.parse().unwrap_or_else(|error| panic!("{error} in {line:?}")))
        });
        let kind = response.head.header("content-type").unwrap_or_default().to_owned();
        (kind, Self { samples: samples.collect(), text })
    }

    /// A value. A sample that does not exist counts as 0.
    fn get(&self, name: &str) -> f64 {
        self.samples.get(name).copied().unwrap_or_default()
    }

    /// A value of the one route, with further labels (`,key="value"`).
    fn of_route(&self, name: &str, more: &str) -> f64 {
        self.get(&format!("{name}{{{ROUTE}{more}}}"))
    }

    fn closes(&self, initiator: &str, cause: &str, code: &str) -> f64 {
        let more = format!(",initiator=\"{initiator}\",cause=\"{cause}\",code=\"{code}\"");
        self.of_route("websocket_closes_total", &more)
    }

    fn by_opcode(&self, direction: &str, opcode: &str) -> f64 {
        let labels = format!("direction=\"{direction}\",opcode=\"{opcode}\"");
        self.samples[&format!("websocket_frames_by_opcode_total{{{labels}}}")]
    }

    /// The sum over all labels.
    fn total(&self, name: &str) -> f64 {
        let starts = format!("{name}{{");
        self.samples.iter().filter(|(sample, _)| sample.starts_with(&starts)).map(|(_, value)| value).sum()
    }
}

fn admin(proxy: &Proxy) -> SocketAddr {
    match proxy.control().admin_address() {
        Some(AdminBind::Tcp(address)) => address,
        other => panic!("{other:?}"),
    }
}

fn before(backends: &[&Backend]) -> Setup {
    Proxy::before(backends).with("admin: { bind: \"127.0.0.1:0\" }")
}

/// Both ends close, the client first.
async fn close(mut client: Wire, mut at_backend: Wire, code: u16) {
    client.send(masked_close(code, "")).await;
    at_backend.expect_close_code(code).await;
    at_backend.send(unmasked_close(code, "")).await;
    client.expect_close_code(code).await;
    client.expect_eof().await;
    client.finish().await;
    at_backend.expect_eof().await;
    at_backend.finish().await;
}

#[tokio::test]
async fn live_sessions_move_the_counters_and_their_end_takes_nothing_back() {
    let backend = Backend::by_hand();
    let mut proxy = before(&[&backend]).start();
    let zero = Scrape::of(&proxy).await;
    assert_eq!(zero.samples[&format!("websocket_connections_total{{{ROUTE}}}")], 0.0, "there from the beginning");
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    for _ in 0..3 {
        let frame = masked(TEXT, b"up");
        client.send(frame.clone()).await;
        at_backend.expect(&frame).await;
    }
    let frame = unmasked(TEXT, b"down");
    at_backend.send(frame.clone()).await;
    client.expect(&frame).await;
    let live = Scrape::of(&proxy).await;
    assert_eq!(live.of_route("websocket_connections_active", ""), 1.0);
    assert_eq!(live.of_route("websocket_connections_total", ""), 1.0);
    assert_eq!(live.of_route("websocket_messages_received_total", ""), 3.0);
    assert_eq!(live.of_route("websocket_messages_sent_total", ""), 1.0);
    assert_eq!(live.of_route("websocket_bytes_total", ",direction=\"to_backend\""), 3.0 * 8.0);
    assert_eq!(live.of_route("websocket_frames_total", ",direction=\"to_client\""), 1.0);
    assert_eq!(live.by_opcode("to_backend", "text"), 3.0);
    assert_eq!((live.by_opcode("to_client", "text"), live.by_opcode("to_client", "close")), (1.0, 0.0));
    assert_eq!(live.total("longwire_worker_sessions"), 1.0);
    assert_eq!(live.total("longwire_backend_active"), 1.0);
    assert_eq!((live.total("longwire_backend_up"), live.total("longwire_backend_picks_total")), (1.0, 1.0));
    assert_eq!(live.of_route("websocket_handshake_seconds_count", ""), 1.0);
    assert_eq!(live.total("longwire_backend_connect_seconds_count"), 1.0);
    close(client, at_backend, 1000).await;
    proxy.next_record().await;
    let ended = Scrape::of(&proxy).await;
    assert_eq!(ended.of_route("websocket_connections_active", ""), 0.0);
    assert_eq!(ended.closes("client", "client_close", "1000"), 1.0);
    assert_eq!(ended.of_route("websocket_connection_duration_seconds_count", ""), 1.0);
    // The counts by opcode outlive their session.
    assert_eq!((ended.by_opcode("to_backend", "text"), ended.by_opcode("to_backend", "close")), (3.0, 1.0));
    assert_eq!((ended.by_opcode("to_client", "text"), ended.by_opcode("to_client", "close")), (1.0, 1.0));
    for le in ["60.0", "300.0", "600.0", "1800.0", "3600.0", "7200.0", "14400.0", "+Inf"] {
        let bucket = format!("websocket_connection_duration_seconds_bucket{{le=\"{le}\",{ROUTE}}}");
        assert_eq!(ended.get(&bucket), 1.0, "{le}: {}", ended.text);
    }
    for (name, value) in &live.samples {
        if name.contains("_total") || name.contains("_count") || name.contains("_bucket") {
            assert!(ended.get(name) >= *value, "{name} went back: {} after {value}", ended.get(name));
        }
    }
    proxy.stop().await;
}

#[tokio::test]
async fn counters_never_go_back_while_sessions_end() {
    const SESSIONS: usize = 600;
    let backend = Backend::echo();
    let mut proxy = before(&[&backend]).start();
    let mut clients = Vec::new();
    for _ in 0..SESSIONS {
        let mut client = proxy.session().await;
        client.send(masked(TEXT, b"up")).await;
        client.expect(unmasked(TEXT, b"up")).await;
        clients.push(client);
    }
    let (mut scrapes, mut before) = (0, Scrape::of(&proxy).await);
    assert_eq!(before.of_route("websocket_messages_received_total", ""), SESSIONS as f64);
    while let Some(client) = clients.pop() {
        drop(client);
        if clients.len() % 10 == 0 {
            let scrape = Scrape::of(&proxy).await;
            for name in ["websocket_messages_received_total", "websocket_messages_sent_total"] {
                // Every message had passed before the first scrape.
                assert_eq!(scrape.of_route(name, ""), before.of_route(name, ""), "{name} after {scrapes} scrapes");
            }
            (scrapes, before) = (scrapes + 1, scrape);
        }
    }
    for _ in 0..SESSIONS {
        proxy.next_record().await;
    }
    let scrape = Scrape::of(&proxy).await;
    assert_eq!(scrape.of_route("websocket_messages_received_total", ""), SESSIONS as f64);
    assert_eq!(scrape.total("websocket_closes_total"), SESSIONS as f64);
    assert_eq!(scrape.of_route("websocket_connections_active", ""), 0.0);
    proxy.stop().await;
}

#[tokio::test]
async fn every_ending_is_counted_as_its_record_says() {
    let backend = Backend::by_hand();
    let settings = "limits: { message_size: 100B }\nlog: { level: error }";
    let mut proxy = before(&[&backend]).with(settings).start();

    let (client, at_backend) = proxy.session_by_hand(&backend).await;
    close(client, at_backend, 4001).await;
    let record = proxy.next_record().await;
    assert_eq!(record["close_code"], 4001);

    let (client, at_backend) = proxy.session_by_hand(&backend).await;
    drop(client);
    drop(at_backend);
    let lost = proxy.next_record().await;

    let (mut client, at_backend) = proxy.session_by_hand(&backend).await;
    client.send(masked(TEXT, [b'x'; 101])).await;
    client.expect_close_code(1009).await;
    drop((client, at_backend));
    proxy.next_record().await;

    let (mut client, at_backend) = proxy.session_by_hand(&backend).await;
    // The frame is not masked, which breaks RFC 6455 §5.1.
    client.send(unmasked(TEXT, b"x")).await;
    client.expect_close_code(1002).await;
    drop((client, at_backend));
    proxy.next_record().await;

    let scrape = Scrape::of(&proxy).await;
    assert_eq!(scrape.closes("client", "client_close", "4xxx"), 1.0, "{}", scrape.text);
    let (initiator, cause) = (lost["initiator"].as_str().unwrap(), lost["cause"].as_str().unwrap());
    assert_eq!(scrape.closes(initiator, cause, "none") + scrape.closes(initiator, cause, "1001"), 1.0, "{lost}");
    assert_eq!(scrape.closes("proxy", "message_too_big", "1009"), 1.0);
    assert_eq!(scrape.closes("proxy", "client_breach", "1002"), 1.0);
    assert_eq!(scrape.get("longwire_limits_hit_total{limit=\"message_too_big\"}"), 1.0);
    assert_eq!(scrape.total("websocket_closes_total"), 4.0);
    assert_eq!(scrape.of_route("websocket_connections_active", ""), 0.0);
    proxy.stop().await;
}

#[tokio::test]
async fn endings_are_counted_also_where_no_line_is_written() {
    let backend = Backend::by_hand();
    let proxy = before(&[&backend]).with("log: { access: false }").start();
    let (client, at_backend) = proxy.session_by_hand(&backend).await;
    close(client, at_backend, 1000).await;
    within("the end to be counted", async {
        while Scrape::of(&proxy).await.closes("client", "client_close", "1000") < 1.0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    proxy.stop().await;
}

#[tokio::test]
async fn pings_pongs_and_round_trips_are_counted_by_side() {
    let backend = Backend::echo();
    let mut proxy = before(&[&backend])
        .with("keepalive: { ping_interval: 20ms, pong_timeout: { client: 3s, backend: 30s } }")
        .start();
    let client = proxy.session().await;
    // The client reads nothing, so it answers no Ping. The backend answers.
    let record = proxy.next_record().await;
    assert_eq!(record["cause"], "client_dead");
    drop(client);
    let scrape = Scrape::of(&proxy).await;
    let (of_client, of_backend) = (",side=\"client\"", ",side=\"backend\"");
    assert!(scrape.of_route("websocket_pings_total", of_client) >= 1.0, "{}", scrape.text);
    assert_eq!(scrape.of_route("websocket_pongs_total", of_client), 0.0);
    let pongs = scrape.of_route("websocket_pongs_total", of_backend);
    assert!(pongs >= 1.0, "{}", scrape.text);
    assert_eq!(scrape.of_route("websocket_ping_round_trip_seconds_count", of_backend), pongs);
    assert_eq!(scrape.of_route("websocket_dead_sides_total", of_client), 1.0);
    assert_eq!(scrape.of_route("websocket_dead_sides_total", of_backend), 0.0);
    proxy.stop().await;
}

#[tokio::test]
async fn what_became_no_session_is_counted_by_its_reason() {
    let backend = Backend::echo();
    let mut proxy = before(&[&backend]).with("limits: { sessions: 1 }").start();
    let first = proxy.session().await;
    let mut second = proxy.client().await;
    second.send(crate::harness::handshake("/ws", "")).await;
    assert_eq!(second.response().await.status(), 503);
    assert_eq!(proxy.next_record().await["cause"], "sessions");
    let scrape = Scrape::of(&proxy).await;
    assert_eq!(scrape.get("websocket_handshake_failures_total{route=\"*/\",reason=\"sessions\"}"), 1.0);
    assert_eq!(scrape.get("longwire_limits_hit_total{limit=\"sessions\"}"), 1.0);
    assert_eq!(scrape.of_route("websocket_connections_total", ""), 1.0);
    drop(first);
    proxy.next_record().await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_handshake_that_is_answered_otherwise_or_given_up_is_counted_too() {
    let by_hand = Backend::by_hand();
    let mut proxy = before(&[&by_hand]).start();
    let mut client = proxy.client().await;
    client.send(crate::harness::handshake("/ws", "")).await;
    let (mut at_backend, _) = by_hand.asked().await;
    at_backend.send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(client.response().await.status(), 404);
    proxy.next_record().await;
    let mut client = proxy.client().await;
    client.send(crate::harness::handshake("/ws", "")).await;
    let (at_backend, _) = by_hand.asked().await;
    client.cut();
    assert_eq!(proxy.next_record().await["cause"], "client_gone");
    drop(at_backend);
    let scrape = Scrape::of(&proxy).await;
    for reason in ["not_upgraded", "client_gone"] {
        let name = format!("websocket_handshake_failures_total{{route=\"*/\",reason=\"{reason}\"}}");
        assert_eq!(scrape.get(&name), 1.0, "{}", scrape.text);
    }
    assert_eq!(scrape.of_route("websocket_connections_total", ""), 0.0);
    proxy.stop().await;
}

#[tokio::test]
async fn a_backend_that_refuses_is_counted_and_shown_out() {
    let gone = Backend::refusing();
    let proxy = before(&[&gone]).upstream("balance: round_robin, max_fails: 1").start();
    let mut client = proxy.client().await;
    client.send(crate::harness::handshake("/ws", "")).await;
    assert_eq!(client.response().await.status(), 502);
    let scrape = Scrape::of(&proxy).await;
    let backend = format!("upstream=\"chat\",backend=\"{gone}\"");
    assert_eq!(scrape.get(&format!("longwire_backend_up{{{backend}}}")), 0.0);
    assert_eq!(scrape.get(&format!("longwire_backend_failures_total{{{backend},reason=\"refused\"}}")), 1.0);
    assert_eq!(scrape.get("websocket_handshake_failures_total{route=\"*/\",reason=\"refused\"}"), 1.0);
    proxy.stop().await;
}

#[tokio::test]
async fn counters_survive_a_reload_and_reloads_are_counted() {
    let backend = Backend::by_hand();
    let setup = before(&[&backend]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proxy.yaml");
    let mut proxy = setup.clone().start_from(&file);
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    let frame = masked(TEXT, b"up");
    client.send(frame.clone()).await;
    at_backend.expect(&frame).await;
    proxy.reload(&setup);
    fs_err::write(&file, "listeners: 7\n").unwrap();
    proxy.control().reload_from(&file).unwrap_err();
    let scrape = Scrape::of(&proxy).await;
    assert_eq!(scrape.of_route("websocket_messages_received_total", ""), 1.0);
    assert_eq!(scrape.of_route("websocket_connections_active", ""), 1.0);
    assert_eq!(scrape.get("longwire_reloads_total{outcome=\"applied\"}"), 1.0);
    assert_eq!(scrape.get("longwire_reloads_total{outcome=\"wrong_config\"}"), 1.0);
    // A session under the new plan counts in the same series.
    let (next, next_at_backend) = proxy.session_by_hand(&backend).await;
    close(next, next_at_backend, 1000).await;
    close(client, at_backend, 1000).await;
    proxy.next_record().await;
    proxy.next_record().await;
    let scrape = Scrape::of(&proxy).await;
    assert_eq!(scrape.of_route("websocket_connections_total", ""), 2.0);
    assert_eq!(scrape.of_route("websocket_connections_active", ""), 0.0);
    assert_eq!(scrape.closes("client", "client_close", "1000"), 2.0);
    proxy.stop().await;
}

#[tokio::test]
async fn both_formats_have_the_same_samples_by_exact_names() {
    let backend = Backend::echo();
    let mut proxy = before(&[&backend]).start();
    let client = proxy.session().await;
    let (kind, classic) = Scrape::accepting(&proxy, "Accept: text/plain\r\n").await;
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    let (kind, open) = Scrape::accepting(&proxy, "Accept: application/openmetrics-text; version=1.0.0\r\n").await;
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(open.text.ends_with("# EOF\n") && !classic.text.contains("# EOF"));
    assert_eq!(classic.samples.keys().collect::<Vec<_>>(), open.samples.keys().collect::<Vec<_>>());
    assert!(!classic.text.contains("_total_total"));
    assert!(classic.text.contains("# TYPE websocket_connections_total counter\n"));
    assert!(open.text.contains("# TYPE websocket_connections counter\n"));
    for name in [
        "websocket_connections_active",
        "websocket_connections_total",
        "websocket_messages_received_total",
        "websocket_messages_sent_total",
        "websocket_connection_duration_seconds_count",
        "longwire_backend_up",
    ] {
        assert!(classic.samples.keys().any(|sample| sample.starts_with(&format!("{name}{{"))), "{name}");
    }
    for name in ["process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds"] {
        assert!(classic.get(name) > 0.0, "{name}");
    }
    drop(client);
    proxy.next_record().await;
    proxy.stop().await;
}

#[tokio::test]
async fn no_label_says_who_a_client_is_or_what_it_asked_for() {
    let backend = Backend::echo();
    let mut proxy = before(&[&backend]).with("trusted_proxies: [ 127.0.0.0/8 ]").start();
    let mut client = proxy.client().await;
    let headers = "X-Forwarded-For: 203.0.113.77\r\nX-Request-Id: who-i-am\r\n";
    client.send(crate::harness::handshake("/secret-path?token=7", headers)).await;
    client.upgraded().await;
    client.send(masked_close(4321, "my-words")).await;
    client.expect_close_code(4321).await;
    assert_eq!(proxy.next_record().await["client"], "203.0.113.77");
    let scrape = Scrape::of(&proxy).await;
    for word in ["203.0.113.77", "who-i-am", "secret-path", "my-words", "4321", "token"] {
        assert!(!scrape.text.contains(word), "{word}");
    }
    client.finish().await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_drain_is_seen() {
    let backend = Backend::echo();
    let proxy = before(&[&backend]).start();
    let scrape = Scrape::of(&proxy).await;
    assert_eq!((scrape.get("longwire_ready"), scrape.get("longwire_draining")), (1.0, 0.0));
    proxy.control().drain_all(true).unwrap();
    let scrape = Scrape::of(&proxy).await;
    assert_eq!((scrape.get("longwire_ready"), scrape.get("longwire_draining")), (0.0, 1.0));
    assert_eq!(scrape.of_route("longwire_route_draining", ""), 1.0);
    proxy.stop().await;
}

#[tokio::test]
async fn the_end_of_a_certificate_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let tls = "{ cert: dev.crt, key: dev.key, self_signed: true }";
    let proxy = before(&[&Backend::echo()]).tls(tls, folder.path()).start();
    let scrape = Scrape::of(&proxy).await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let left = scrape.total("longwire_certificate_expiry_timestamp_seconds") - now.as_secs_f64();
    let year = Duration::from_secs(365 * 24 * 3600).as_secs_f64();
    assert!((9.0 * year..11.0 * year).contains(&left), "{}", scrape.text);
    proxy.stop().await;
}

/// Every metric that the dashboard and the alerts ask for: words that begin with one of our prefixes.
fn asked_for(text: &str) -> Vec<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let ours = |word: &&str| ["websocket_", "longwire_", "process_"].iter().any(|prefix| word.starts_with(prefix));
    words.filter(ours).collect()
}

/// All values of these keys, at any depth.
fn values<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| values(item, key, found)),
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            if name == key {
                found.push(value);
            }
            values(value, key, found);
        }),
        _ => {}
    }
}

#[test]
fn dashboard_and_alerts_ask_for_metrics_that_there_are_by_labels_that_they_have() {
    let manual: BTreeMap<&str, Vec<&str>> = include_str!("../../docs/metrics.md")
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            let name = cells.next()?.trim_end_matches('`');
            let is_histogram = cells.next()? == "histogram";
            let mut labels: Vec<_> = cells.next()?.split(", ").map(|label| label.trim_matches('`')).collect();
            labels.extend(is_histogram.then_some("le"));
            Some((name, labels))
        })
        .collect();
    let dashboard: Value = serde_json::from_str(include_str!("../../deploy/grafana/dashboard.json")).unwrap();
    let alerts: Value = serde_yaml::from_str(include_str!("../../deploy/prometheus/alerts.yml")).unwrap();
    let mut expressions = Vec::new();
    values(&dashboard, "expr", &mut expressions);
    let panels = expressions.len();
    values(&alerts, "expr", &mut expressions);
    assert!(panels >= 20 && expressions.len() >= panels + 8, "{panels}");
    for expression in expressions {
        let expression = expression.as_str().unwrap();
        let mut labels = vec!["instance", "job"];
        for asked in asked_for(expression) {
            let name = ["_bucket", "_sum", "_count"].iter().find_map(|end| asked.strip_suffix(end)).unwrap_or(asked);
            let known = manual.get(name).unwrap_or_else(|| panic!("{asked} in {expression}"));
            labels.extend(known);
        }
        for (_, by) in expression.match_indices("by (").map(|(at, by)| (at, &expression[at + by.len()..])) {
            for label in by.split(')').next().unwrap().split(", ") {
                assert!(labels.contains(&label), "{label} in {expression}");
            }
        }
        for inside in expression.split('{').skip(1).filter_map(|rest| rest.split('}').next()) {
            for matcher in inside.split(',') {
                let label = matcher.split(['=', '!']).next().unwrap();
                assert!(labels.contains(&label), "{label} in {expression}");
            }
        }
    }
}

#[tokio::test]
async fn every_metric_is_in_the_manual_and_nothing_else_is() {
    let manual = include_str!("../../docs/metrics.md");
    let named = |line: &str| line.strip_prefix("| `").and_then(|line| line.split('`').next()).map(str::to_owned);
    let manual: Vec<_> = manual.lines().filter_map(named).collect();
    let proxy = before(&[&Backend::echo()]).start();
    let scrape = Scrape::of(&proxy).await;
    let name = |line: &str| line.strip_prefix("# TYPE ").and_then(|line| line.split(' ').next()).map(str::to_owned);
    let mut shown: Vec<_> = scrape.text.lines().filter_map(name).collect();
    // A family that has no series yet is not shown.
    for name in ["websocket_closes_total", "websocket_handshake_failures_total", "longwire_request_failures_total"]
        .into_iter()
        .chain(["longwire_limits_hit_total", "longwire_backend_failures_total", "longwire_backend_connect_seconds"])
        .chain(["longwire_certificate_expiry_timestamp_seconds", "longwire_trace_spans_total"])
        .chain(["longwire_backend_tls_handshakes_total", "longwire_backend_tls_insecure"])
        .chain(["longwire_backend_certificate_expiry_timestamp_seconds"])
        .chain(["longwire_client_ca_expiry_timestamp_seconds", "longwire_client_crl_expiry_timestamp_seconds"])
        .chain(["longwire_tls_handshake_failures_total", "longwire_learned_ping_interval_seconds"])
        .chain(["longwire_suspected_limit_seconds"])
    {
        if !shown.iter().any(|shown| shown == name) {
            shown.push(name.to_owned());
        }
    }
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    assert_eq!(sorted(manual), sorted(shown));
    proxy.stop().await;
}

#[tokio::test]
async fn messages_that_nobody_reads_are_counted() {
    let proxy = before(&[&Backend::echo()]).start();
    // One line is with the writer, one waits, and nobody reads.
    let (mut full, stuck) = std::io::pipe().unwrap();
    let messages =
        Lines::new("messages", Bounds { lines: 1, bytes: 1000 }, Duration::ZERO, Stuck(stuck), |_| {}).unwrap();
    proxy.control().count_lost_messages(messages.clone());
    assert_eq!(Scrape::of(&proxy).await.get("longwire_log_lines_dropped_total"), 0.0);
    while messages.lost() < 3 {
        messages.push("a line\n".into());
    }
    assert_eq!(Scrape::of(&proxy).await.get("longwire_log_lines_dropped_total"), 3.0);
    // Lets the writer end.
    drop(messages);
    proxy.stop().await;
    std::io::copy(&mut full, &mut std::io::sink()).unwrap();
}

/// A writer that gets stuck until its reader has taken 64 KiB.
struct Stuck(std::io::PipeWriter);

impl Write for Stuck {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.write_all(&[b'x'; 128 * 1024])?;
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn two_hundred_reloads_with_other_backends_and_routes_leave_as_many_samples_as_before() {
    let (backend, dead) = (Backend::echo(), Backend::refusing());
    let stays = before(&[&backend]);
    let mut proxy = stays.clone().start();
    proxy.client().await.get("/", "").await;
    let names = |scrape: &Scrape| scrape.samples.keys().cloned().collect::<Vec<_>>();
    let first = names(&Scrape::of(&proxy).await);
    for n in 0..200 {
        let routes = format!("routes: [ {{ path: /only/{n}, upstream: chat }}, {{ upstream: chat }} ]");
        let upstream = if n % 2 == 0 { &dead } else { &backend };
        proxy.reload(&before(&[upstream]).routes(&routes));
        // One request becomes a session on a route that will go. The other fails at a backend that will go.
        let mut client = proxy.client().await;
        client.send(crate::harness::handshake(&format!("/only/{n}"), "")).await;
        client.head().await;
        proxy.client().await.get(&format!("/only/{n}/plain"), "").await;
    }
    proxy.reload(&stays);
    // The last sessions end when the proxy sees that their clients are gone.
    within("what is gone to be forgotten", async { while Scrape::of(&proxy).await.text.contains("/only/") {} }).await;
    let scrape = Scrape::of(&proxy).await;
    let more: Vec<_> = names(&scrape).into_iter().filter(|name| !first.contains(name)).collect();
    let of_route =
        |name: &String| name.contains(ROUTE) || name.contains("reason=") || name.contains(&backend.to_string());
    assert!(more.iter().all(of_route) && !scrape.text.contains(&dead.to_string()), "{more:?}");
    proxy.stop().await;
}

#[tokio::test]
async fn a_route_that_is_gone_is_shown_until_its_last_session_has_ended() {
    let backend = Backend::by_hand();
    let routes = "routes: [ { path: /ws, upstream: chat }, { upstream: chat } ]";
    let mut proxy = before(&[&backend]).routes(routes).start();
    let (client, at_backend) = proxy.session_by_hand(&backend).await;
    proxy.reload(&before(&[&backend]));
    let active = "websocket_connections_active{route=\"*/ws\",upstream=\"chat\"}";
    assert_eq!(Scrape::of(&proxy).await.samples.get(active), Some(&1.0));
    close(client, at_backend, 1000).await;
    proxy.next_record().await;
    within("it to be forgotten", async { while Scrape::of(&proxy).await.text.contains("*/ws") {} }).await;
    proxy.stop().await;
}
