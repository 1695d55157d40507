//! Requests that become no session: the proxy refuses them, or a backend fails.

use longwire::error::Kind;
use serde_json::Value;
use tempfile::TempDir;

use super::{ask, before, get, limits_hit};
use crate::harness::{Backend, Proxy, Setup, Wire, frames::masked_close, handshake, within};

/// The way to a kind of failure: the setup of the proxy, and the request that is repeated until it fails.
struct Way {
    setup: Setup,
    request: String,
    first: First,
}

/// What must have happened before the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    Nothing,
    /// Another handshake waits at its backend.
    Waiting,
    /// Everything is drained.
    AllDrained,
    /// The route is drained.
    Drained,
    /// The file names the proxy itself as the backend.
    Looped,
}

#[tokio::test]
async fn log_metrics_and_page_name_the_same_cause_and_status_of_what_became_no_session() {
    let certificates = tempfile::tempdir().unwrap();
    for kind in Kind::ALL {
        for way in ways(kind, &certificates).await {
            explained(kind, way).await;
        }
    }
}

#[tokio::test]
async fn a_refusal_by_close_is_told_with_its_code() {
    let setup = before(&[&Backend::refusing()]).backend(0, "down: true").with("limits: { refuse: close }");
    let mut proxy = setup.start();
    let mut client = proxy.client().await;
    client.upgrade("/ws").await;
    client.expect_close(1013, "unavailable").await;
    client.send(masked_close(1013, "")).await;
    client.finish().await;
    let record = proxy.next_record().await;
    assert_eq!((&record["status"], &record["close_code"]), (&101.into(), &1013.into()), "{record}");
    agree(&proxy, Kind::Unavailable, &record, true).await;
    proxy.stop().await;
}

#[tokio::test]
async fn an_upgrade_that_the_backend_declines_is_told() {
    let backend = Backend::answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    let mut proxy = before(&[&backend]).start();
    assert_eq!(proxy.client().await.refused_upgrade("/ws").await.status(), 403);
    let record = proxy.next_record().await;
    assert_eq!((&record["cause"], &record["status"]), (&"not_upgraded".into(), &403.into()), "{record}");
    let refusal = refusal(&proxy).await;
    assert_eq!((&refusal["cause"], &refusal["status"]), (&record["cause"], &record["status"]));
    let metrics = ask(&proxy, "GET", "/metrics").await;
    assert!(
        metrics.contains("websocket_handshake_failures_total{route=\"*/\",reason=\"not_upgraded\"} 1"),
        "{metrics}"
    );
    proxy.stop().await;
}

/// The ways to a kind of failure. Each limit is a way of its own.
async fn ways(kind: Kind, certificates: &TempDir) -> Vec<Way> {
    let upgrade = || handshake("/ws", "");
    let way = |setup, request| Way { setup, request, first: First::Nothing };
    let limited = |limit: &str| before(&[&Backend::echo()]).with(&format!("limits: {{ {limit} }}"));
    let plain = || before(&[&Backend::echo()]);
    let silent = || before(&[&Backend::by_hand()]);
    let says = |answer: &'static str| {
        let script = move |mut wire: Wire, _| async move { wire.send_and_finish(answer).await };
        before(&[&Backend::script(script)])
    };
    let post = |length: usize| format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    let asking = |answer: &'static str| {
        let service = Backend::script(move |mut wire, _| async move { wire.send_and_finish(answer).await });
        plain().routes(&format!("routes: [ {{ upstream: chat, auth_request: {{ url: \"http://{service}/\" }} }} ]"))
    };
    // The token is read only at the start.
    let probing = || {
        fs_err::write(certificates.path().join("probe.token"), "a-token-of-some-length").unwrap();
        plain().base(certificates.path()).with("probe: { path: /probe, token_file: probe.token }")
    };
    let shown = "Authorization: Bearer a-token-of-some-length\r\n";
    let asked = |answer| vec![way(asking(answer), upgrade()), way(asking(answer), post(0))];
    let one = match kind {
        Kind::AuthDenied => return asked("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"),
        Kind::AuthExpired => {
            return asked("HTTP/1.1 200 OK\r\nX-Session-Expires: 1\r\nContent-Length: 0\r\n\r\n");
        }
        Kind::AuthUnavailable => return asked("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"),
        Kind::BackendTls => {
            let mail = || {
                Backend::raw(async |_, mut wire| {
                    wire.send("220 mail.example.com ESMTP\r\n").await;
                    wire.whatever_comes().await;
                })
            };
            let secure = || before(&[&mail()]).upstream("balance: round_robin, tls: { insecure: true }");
            return vec![way(secure(), upgrade()), way(secure(), post(0))];
        }
        Kind::BadHandshake => way(plain(), upgrade().replace("Sec-WebSocket-Key", "X-Key")),
        Kind::BadRequest => {
            // One request that hyper reads, and one that hyper does not read.
            return ["GET /ws HTTP/1.1\r\n\r\n", "GET /ws HTTP/1.1\r\nno colon\r\n\r\n"]
                .map(|request| way(plain(), request.into()))
                .into();
        }
        Kind::BodyTooLarge => way(limited("body_size: 10B"), post(11)),
        Kind::BodyTimeout => way(silent().timeout("request_body", "50ms"), post(11)),
        Kind::Busy => {
            let queues = ["max_handshakes: 1, handshake_queue: 0", "max_handshakes: 1, handshake_queue: 1"];
            let busy = |queue| silent().upstream(&format!("balance: round_robin, {queue}")).timeout("connect", "3s");
            return queues.map(|queue| Way { first: First::Waiting, ..way(busy(queue), upgrade()) }).into();
        }
        Kind::ClientCert => {
            let needed = || plain().routes("routes: [ { upstream: chat, client_cert: required } ]");
            return vec![way(needed(), upgrade()), way(needed(), post(0))];
        }
        Kind::ClientGone => way(silent(), upgrade()),
        Kind::ClosedEarly => way(says(""), upgrade()),
        Kind::ConnectTimeout => way(before(&[&Backend::black_hole().await]).timeout("connect", "50ms"), upgrade()),
        Kind::Denied => way(plain().routes("routes: [ { upstream: chat, deny: [127.0.0.0/8] } ]"), upgrade()),
        Kind::Draining => Way { first: First::AllDrained, ..way(plain(), upgrade()) },
        Kind::RouteDraining => Way { first: First::Drained, ..way(plain(), upgrade()) },
        // This failure needs a process without descriptors. `tests/attacks` has one.
        Kind::Exhausted => return Vec::new(),
        // These need a token of the process. `tests/it/resume.rs` has one.
        Kind::ResumeStale | Kind::ResumeAttempts => return Vec::new(),
        Kind::FalseUpgrade => way(says("HTTP/1.1 101 Switching Protocols\r\n\r\n"), upgrade()),
        Kind::FleetUnavailable => {
            let nobody = "fleet: { valkey: \"redis://127.0.0.1:1\", on_loss: deny }";
            way(limited("sessions: 5").with(nobody), upgrade())
        }
        Kind::HeadTooLarge => {
            let long = handshake("/ws", &format!("X-Long: {}\r\n", "x".repeat(8192)));
            let many = handshake("/ws", &"X-Many: x\r\n".repeat(50));
            return vec![way(limited("header_size: 8KiB"), long), way(limited("headers: 50"), many)];
        }
        Kind::Loop => Way { first: First::Looped, ..way(plain(), upgrade()) },
        Kind::MalformedAnswer => way(says("SSH-2.0-OpenSSH_9.9\r\n\r\n"), upgrade()),
        Kind::PlainHttp => {
            // The certificate is read only at the start.
            let base = certificates.path().to_owned();
            let secure = || plain().tls("{ cert: dev.crt, key: dev.key, self_signed: true }", &base);
            return vec![way(secure(), upgrade()), way(secure(), post(0))];
        }
        Kind::ProbeToken => return ["/probe", "/probe?x"].map(|path| way(probing(), handshake(path, ""))).into(),
        Kind::Probes => way(probing(), handshake("/probe", shown)),
        // The alert of a TLS server that reads HTTP, as OpenSSL sends it.
        Kind::SpeaksTls => {
            let alert = "\x15\x03\x01\0\x02\x02\x46";
            return vec![way(says(alert), upgrade()), way(says(alert), post(0))];
        }
        Kind::NewSessions => way(limited("new_sessions: 1"), upgrade()),
        Kind::NewSessionsPerClient => way(limited("new_sessions_per_client: 1"), upgrade()),
        Kind::NoBackend => way(
            Proxy::before(&[]).with("admin: { bind: \"127.0.0.1:0\" }").entry("file: /nowhere/backends.yaml"),
            upgrade(),
        ),
        Kind::NoRoute => way(plain().routes("routes: [ { path: /elsewhere, upstream: chat } ]"), upgrade()),
        Kind::NoUpgrade => way(probing(), format!("GET /probe HTTP/1.1\r\nHost: a\r\n{shown}\r\n")),
        Kind::Origin => way(plain().routes("routes: [ { upstream: chat, origins: [https://a.example] } ]"), upgrade()),
        Kind::Refused => way(before(&[&Backend::refusing()]), upgrade()),
        Kind::ResponseTimeout => way(silent().timeout("upgrade", "50ms"), upgrade()),
        Kind::Sessions => way(limited("sessions: 1"), upgrade()),
        Kind::SessionsPerClient => way(limited("sessions_per_client: 1"), upgrade()),
        Kind::Unavailable => {
            return vec![
                way(plain().backend(0, "down: true"), upgrade()),
                way(plain().backend(0, "max_conns: 1"), upgrade()),
            ];
        }
        Kind::Unreachable => way(before(&[&Backend::foreign(([255; 4], 9).into())]), upgrade()),
        Kind::WrongVersion => way(plain(), upgrade().replace("Version: 13", "Version: 12")),
    };
    vec![one]
}

/// Goes a way to its end.
async fn explained(kind: Kind, Way { setup, request, first }: Way) {
    let mut proxy = setup.start();
    let mut clients = Vec::new();
    match first {
        First::Nothing => {}
        First::Waiting => {
            clients.push(asking(&proxy, &request).await);
            // Waits until this handshake has its place. Otherwise another worker may give the place to the next handshake.
            heard(&proxy).await;
        }
        First::Looped => drop(proxy.reload(&before(&[&Backend::foreign(proxy.address())]))),
        First::AllDrained => drop(proxy.control().drain_all(true).unwrap()),
        First::Drained => drop(proxy.control().drain_route("*/", true).unwrap()),
    }
    // A limited request may be granted before one is refused.
    let record = loop {
        let mut client = asking(&proxy, &request).await;
        if kind == Kind::ClientGone {
            heard(&proxy).await;
            client.reset();
            break proxy.next_record().await;
        }
        tokio::select! {
            record = proxy.next_record() => break record,
            head = client.head(), if kind.status() != 408 => {
                if head.status() == 101 {
                    clients.push(client);
                    continue;
                }
                assert_eq!(head.status(), kind.status().as_u16(), "{kind:?}");
                client.finish().await;
                break proxy.next_record().await;
            }
        }
    };
    // This must be checked while the other clients are still there.
    agree(&proxy, kind, &record, request.contains("Upgrade: websocket")).await;
    drop(clients);
    proxy.stop().await;
}

/// Waits until one request has come to its backend.
async fn heard(proxy: &Proxy) {
    let active = async || get(proxy, "/api/upstreams").await["upstreams"][0]["backends"][0]["active"].clone();
    within("the attempt", async { while active().await != 1 {} }).await;
}

async fn asking(proxy: &Proxy, request: &str) -> Wire {
    let mut client = proxy.client().await;
    client.send(request).await;
    client
}

/// Asserts that the metrics and the last refusals say the same as the record, and that this is the word of `kind`.
async fn agree(proxy: &Proxy, kind: Kind, record: &Value, is_handshake: bool) {
    assert_eq!((&record["cause"], &record["kind"]), (&kind.reason().into(), &"request".into()), "{record}");
    if record["close_code"].is_null() && kind != Kind::ClientGone {
        assert_eq!(record["status"], kind.status().as_u16(), "{record}");
    }
    let refusal = refusal(proxy).await;
    for key in ["cause", "status", "close_code", "route", "backend", "error", "client"] {
        assert_eq!(refusal[key], record[key], "{key} of {refusal} and {record}");
    }
    assert_eq!(refusal["id"], record["request_id"]);
    assert_eq!(refusal["why"], kind.as_text());
    // If the head could not be read, nobody knows whether the request was a handshake.
    let is_handshake = is_handshake && kind != Kind::HeadTooLarge;
    assert_eq!(refusal["handshake"], is_handshake, "{refusal}");
    assert_eq!(record["handshake"].as_bool(), is_handshake.then_some(true), "{record}");
    let metrics = ask(proxy, "GET", "/metrics").await;
    let name = if is_handshake { "websocket_handshake_failures_total" } else { "longwire_request_failures_total" };
    let route = record["route"].as_str().unwrap_or("none");
    let counted = format!("{name}{{route=\"{route}\",reason=\"{}\"}} 1", kind.reason());
    assert!(metrics.lines().any(|line| line == counted), "{counted} in {metrics}");
    let of_process = matches!(kind, Kind::NewSessions | Kind::Sessions | Kind::Busy);
    let of_client = matches!(kind, Kind::NewSessionsPerClient | Kind::SessionsPerClient);
    let is_limit = of_process || of_client || matches!(kind, Kind::BodyTooLarge | Kind::HeadTooLarge);
    let hit: Vec<_> = is_limit.then(|| (kind.reason().to_owned(), 1)).into_iter().collect();
    assert_eq!(limits_hit(&metrics), hit, "{kind:?}");
}

/// The newest refusal. It comes a moment after the record.
async fn refusal(proxy: &Proxy) -> Value {
    within("the refusal", async {
        loop {
            if let Some(refusal) = get(proxy, "/api/refusals").await["refusals"].as_array().unwrap().first() {
                return refusal.clone();
            }
        }
    })
    .await
}
