//! A span for every handshake, and the trace that goes on at the backend.

use longwire::config::{self, AdminBind};
use serde_json::Value;

use crate::harness::{
    Backend, Proxy, Wire,
    collector::{CLIENT, Collector, ERROR, SERVER, Span},
    frames::{TEXT, masked, masked_close, unmasked},
    handshake, tls_connect, trusting, within,
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

fn traceparent(mark: &str) -> String {
    format!("traceparent: 00-{TRACE}-{CALLER}-{mark}\r\n")
}

/// Runs a session from its handshake, which has `fields`, to its end.
async fn session(proxy: &Proxy, fields: &str) {
    let mut client = proxy.client().await;
    client.send(handshake("/ws?token=secret", fields)).await;
    client.upgraded().await;
    client.send(masked_close(1000, "")).await;
    client.expect_close(1000, "").await;
}

/// What a backend was told: the trace, the parent and the flags.
fn told(backend: &Backend) -> (String, String, String) {
    let head = backend.heads().pop().expect("a handshake");
    let lines = head.headers("traceparent");
    let [line] = lines[..] else { panic!("{head:?}") };
    match line.split('-').collect::<Vec<_>>()[..] {
        ["00", trace, parent, mark] => (trace.into(), parent.into(), mark.into()),
        _ => panic!("{line}"),
    }
}

/// The span of the handshake, and the spans of its attempts. The proxy must have ended.
fn one_handshake(collector: &mut Collector) -> (Span, Vec<Span>) {
    let (mut servers, attempts): (Vec<_>, Vec<_>) = collector.all().into_iter().partition(|span| span.kind == SERVER);
    let (Some(server), []) = (servers.pop(), &servers[..]) else { panic!("{servers:?}") };
    for attempt in &attempts {
        assert_eq!((&attempt.trace, &attempt.parent, attempt.kind), (&server.trace, &server.id, CLIENT), "{attempt:?}");
        assert!(server.start <= attempt.start && attempt.end <= server.end, "{server:?} {attempt:?}");
    }
    (server, attempts)
}

#[tokio::test]
async fn a_session_is_a_span_with_its_attempt_below_it_and_its_record_names_the_trace() {
    let (backend, mut collector) = (Backend::echo(), Collector::start());
    let proxy = Proxy::before(&[&backend]).with(&collector.setting(", service_name: edge")).start();
    session(&proxy, "").await;
    let record = proxy.stop().await.remove(0);
    let (server, attempts) = one_handshake(&mut collector);
    let [attempt] = &attempts[..] else { panic!("{attempts:?}") };
    assert_eq!((&*server.service, &*server.name, &*server.parent, server.status), ("edge", "GET */", "", 0));
    assert_eq!((record["kind"].as_str(), record["trace_id"].as_str()), (Some("session"), Some(&*server.trace)));
    assert_eq!(told(&backend), (server.trace.clone(), attempt.id.clone(), "01".into()));
    let address = backend.address().to_string();
    for (key, value) in [
        ("http.request.method", "GET"),
        ("http.response.status_code", "101"),
        ("network.protocol.version", "1.1"),
        ("url.scheme", "http"),
        ("url.path", "/ws"),
        ("server.address", "chat.example.com"),
        ("client.address", "127.0.0.1"),
        ("longwire.route", "*/"),
        ("longwire.upstream", "chat"),
        ("longwire.backend", &address),
        ("longwire.tries", "1"),
        ("longwire.request_id", record["request_id"].as_str().unwrap()),
        ("error.type", ""),
    ] {
        assert_eq!(server.get(key), value, "{key} of {server:?}");
    }
    assert_eq!((attempt.get("longwire.backend"), attempt.get("http.response.status_code")), (&*address, "101"));
    assert_eq!((attempt.get("server.address"), attempt.status), ("127.0.0.1", 0));
    assert!(!format!("{server:?}{attempt:?}").contains("secret"));
}

#[tokio::test]
async fn a_trace_that_the_client_has_begun_goes_on_with_its_state_as_it_came() {
    let (backend, mut collector) = (Backend::echo(), Collector::start());
    let settings = format!("{}\ntrusted_proxies: [ 127.0.0.0/8 ]", collector.setting(", sample: 0"));
    let proxy = Proxy::before(&[&backend]).with(&settings).start();
    let fields = "X-Forwarded-For: 203.0.113.7\r\ntracestate: a=1, B@c=?\r\ntracestate: d=2\r\n";
    session(&proxy, &format!("{}{fields}", traceparent("01"))).await;
    let record = proxy.stop().await.remove(0);
    let (server, attempts) = one_handshake(&mut collector);
    assert_eq!((&*server.trace, &*server.parent), (TRACE, CALLER));
    assert_eq!(server.get("client.address"), "203.0.113.7");
    assert_eq!(told(&backend), (TRACE.into(), attempts[0].id.clone(), "01".into()));
    assert_eq!(backend.heads()[0].headers("tracestate"), ["a=1, B@c=?", "d=2"]);
    assert_eq!(record["trace_id"], TRACE);
}

#[tokio::test]
async fn a_context_that_is_not_valid_begins_a_new_trace_without_its_state() {
    for context in [
        "traceparent: garbage\r\n".to_owned(),
        format!("traceparent: 00-{TRACE}-{CALLER}-01-more\r\n"),
        format!("{}{}", traceparent("01"), traceparent("01")),
        String::new(),
    ] {
        let (backend, mut collector) = (Backend::echo(), Collector::start());
        let proxy = Proxy::before(&[&backend]).with(&collector.setting("")).start();
        session(&proxy, &format!("{context}tracestate: a=1\r\n")).await;
        proxy.stop().await;
        let (server, attempts) = one_handshake(&mut collector);
        assert_eq!((&*server.parent, server.trace == TRACE), ("", false), "{context}");
        assert_eq!(told(&backend), (server.trace, attempts[0].id.clone(), "01".into()), "{context}");
        assert_eq!(backend.heads()[0].headers("tracestate"), [""; 0], "{context}");
    }
}

#[tokio::test]
async fn what_is_not_sampled_is_passed_on_with_its_mark_and_not_exported() {
    let (backend, mut collector) = (Backend::echo(), Collector::start());
    let proxy = Proxy::before(&[&backend]).with(&collector.setting("")).start();
    session(&proxy, &traceparent("00")).await;
    let (trace, parent, mark) = told(&backend);
    assert_eq!((&*trace, &*mark, parent == CALLER), (TRACE, "00", false));
    assert_eq!(proxy.stop().await[0]["trace_id"], TRACE);
    assert!(collector.all().is_empty());

    let backend = Backend::echo();
    let proxy = Proxy::before(&[&backend]).with(&collector.setting(", sample: 0.0")).start();
    session(&proxy, "").await;
    assert_eq!(told(&backend).2, "00");
    assert_eq!(proxy.stop().await[0]["trace_id"], told(&backend).0);
    assert!(collector.all().is_empty());
}

#[tokio::test]
async fn each_backend_that_is_tried_has_a_span_and_the_next_one_is_told_of_its_own() {
    let (refusing, answering) = (Backend::refusing(), Backend::echo());
    let mut collector = Collector::start();
    let upstream = "balance: round_robin, max_fails: 0";
    let proxy = Proxy::before(&[&refusing, &answering]).upstream(upstream).with(&collector.setting("")).start();
    // Backends take turns, so one of the two handshakes begins at the backend that refuses.
    session(&proxy, "").await;
    session(&proxy, "").await;
    proxy.stop().await;
    let spans = collector.all();
    let failed: Vec<_> = spans.iter().filter(|span| span.status == ERROR).collect();
    let [failed] = failed[..] else { panic!("{spans:?}") };
    assert_eq!((failed.kind, failed.get("error.type")), (CLIENT, "refused"));
    assert_eq!(failed.get("longwire.backend"), refusing.to_string());
    let next = spans.iter().find(|span| span.get("http.request.resend_count") == "1").unwrap();
    assert_eq!((&next.parent, next.get("longwire.backend")), (&failed.parent, &*answering.to_string()));
    assert!(answering.heads().iter().any(|head| head.header("traceparent").unwrap().contains(&next.id)));
    let handshake = spans.iter().find(|span| span.id == failed.parent).unwrap();
    assert_eq!((handshake.get("longwire.tries"), handshake.status), ("2", 0));
}

#[tokio::test]
async fn a_refusal_names_its_reason_and_is_an_error_unless_it_is_the_clients() {
    let cases = [("/elsewhere", 404, "no_route", 0, 0), ("/ws", 502, "refused", ERROR, 1)];
    for (path, status, reason, error, tries) in cases {
        let (backend, mut collector) = (Backend::refusing(), Collector::start());
        let routes = "routes: [ { path: /ws, upstream: chat } ]";
        let proxy = Proxy::before(&[&backend]).routes(routes).with(&collector.setting("")).start();
        let response = proxy.client().await.refused_upgrade(path).await;
        assert_eq!(response.status(), status);
        let record = proxy.stop().await.remove(0);
        let (server, attempts) = one_handshake(&mut collector);
        assert_eq!((server.get("error.type"), server.status, attempts.len()), (reason, error, tries), "{server:?}");
        assert_eq!(server.get("http.response.status_code"), status.to_string());
        assert_eq!((&record["cause"], &record["trace_id"]), (&reason.into(), &server.trace.into()));
    }
}

#[tokio::test]
async fn an_answer_that_is_no_101_is_told_by_its_status() {
    for (status, error) in [(403, 0), (500, ERROR)] {
        let backend = Backend::answering(format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n"));
        let mut collector = Collector::start();
        let proxy = Proxy::before(&[&backend]).with(&collector.setting("")).start();
        assert_eq!(proxy.client().await.refused_upgrade("/ws").await.status(), status);
        proxy.stop().await;
        let (server, attempts) = one_handshake(&mut collector);
        let said = if error == ERROR { status.to_string() } else { String::new() };
        assert_eq!((server.get("error.type"), server.status), (&*said, error), "{server:?}");
        // For the client of an attempt, which is longwire, both statuses are errors.
        assert_eq!((attempts[0].get("error.type"), attempts[0].status), (&*status.to_string(), ERROR));
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_its_handshake_ends_its_spans() {
    let (backend, mut collector) = (Backend::by_hand(), Collector::start());
    let mut proxy = Proxy::before(&[&backend]).with(&collector.setting("")).start();
    let mut client = proxy.client().await;
    client.send(handshake("/ws", "")).await;
    let (at_backend, _) = backend.asked().await;
    client.reset();
    assert_eq!(proxy.next_record().await["cause"], "client_gone");
    drop(at_backend);
    proxy.stop().await;
    let (server, attempts) = one_handshake(&mut collector);
    for span in [&server, &attempts[0]] {
        assert_eq!((span.get("error.type"), span.status), ("client_gone", ERROR), "{span:?}");
    }
}

#[tokio::test]
async fn a_handshake_over_tls_says_so() {
    let (backend, mut collector, folder) = (Backend::echo(), Collector::start(), tempfile::tempdir().unwrap());
    let tls = "{ cert: dev.crt, key: dev.key, self_signed: true }";
    let proxy = Proxy::before(&[&backend]).tls(tls, folder.path()).with(&collector.setting("")).start();
    let connector = trusting(&folder.path().join("dev.crt"), &[], &["http/1.1"]);
    let mut client = tls_connect(&connector, proxy.address(), "localhost").await.unwrap();
    client.upgrade("/ws").await;
    client.send(masked_close(1000, "")).await;
    client.expect_close(1000, "").await;
    proxy.stop().await;
    let (server, _) = one_handshake(&mut collector);
    assert_eq!(server.get("url.scheme"), "https");
}

#[tokio::test]
async fn a_plain_request_has_no_span_and_its_headers_pass_unchanged() {
    let (backend, mut collector) = (Backend::echo(), Collector::start());
    let proxy = Proxy::before(&[&backend]).with(&collector.setting("")).start();
    let fields = format!("{}tracestate: a=1\r\n", traceparent("01"));
    assert_eq!(proxy.client().await.get("/", &fields).await.status(), 200);
    assert_eq!(told(&backend), (TRACE.into(), CALLER.into(), "01".into()));
    assert_eq!(backend.heads()[0].header("tracestate"), Some("a=1"));
    assert_eq!(proxy.client().await.get("/", "traceparent: garbage\r\n").await.status(), 200);
    assert_eq!(backend.heads()[1].header("traceparent"), Some("garbage"));
    let records = proxy.stop().await;
    assert_eq!((&records[0]["trace_id"], &records[1]["trace_id"]), (&TRACE.into(), &Value::Null));
    assert!(collector.all().is_empty());
}

#[tokio::test]
async fn spans_arrive_while_the_proxy_runs() {
    let (backend, mut collector) = (Backend::echo(), Collector::start());
    let proxy = Proxy::before(&[&backend]).with(&collector.setting("")).start();
    let _live = proxy.session().await;
    // The session goes on, but its handshake is over.
    assert_eq!(collector.next().await.name, "GET");
    assert_eq!(collector.next().await.name, "GET */");
    proxy.stop().await;
}

#[tokio::test]
async fn a_collector_that_answers_nothing_holds_no_session_and_no_exit() {
    let (backend, silent) = (Backend::by_hand(), Backend::by_hand());
    let setting = format!("tracing: {{ endpoint: \"http://{silent}\" }}");
    let mut proxy = Proxy::before(&[&backend]).with(&setting).start();
    let (client, at_backend) = proxy.session_by_hand(&backend).await;
    let (unanswered, _) = silent.asked().await;
    // The export hangs from here on.
    let (mut late, mut at_late) = proxy.session_by_hand(&backend).await;
    late.send(masked(TEXT, b"up")).await;
    at_late.expect(masked(TEXT, b"up")).await;
    at_late.send(unmasked(TEXT, b"down")).await;
    late.expect(unmasked(TEXT, b"down")).await;
    drop((client, at_backend, late, at_late));
    proxy.next_record().await;
    proxy.next_record().await;
    proxy.drain().await;
    drop(unanswered);
}

#[tokio::test]
async fn spans_that_the_collector_did_not_take_are_counted() {
    let backend = Backend::echo();
    let collector = Backend::script(async |mut wire: Wire, head| {
        wire.take(head.header("content-length").unwrap().parse().unwrap()).await;
        wire.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
    });
    let settings = format!("tracing: {{ endpoint: \"http://{collector}\" }}\nadmin: {{ bind: \"127.0.0.1:0\" }}");
    let proxy = Proxy::before(&[&backend]).with(&settings).start();
    session(&proxy, "").await;
    let Some(AdminBind::Tcp(admin)) = proxy.control().admin_address() else { panic!() };
    let counted = async {
        loop {
            let mut wire = Wire::connect(admin).await;
            wire.send(format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\n\r\n")).await;
            let metrics = wire.response().await.text().to_owned();
            if metrics.contains("longwire_trace_spans_total{outcome=\"failed\"} 2") {
                return metrics;
            }
            tokio::task::yield_now().await;
        }
    };
    let metrics = within("the count of lost spans", counted).await;
    for none in ["exported", "dropped"] {
        assert!(metrics.contains(&format!("longwire_trace_spans_total{{outcome=\"{none}\"}} 0")), "{metrics}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn another_collector_needs_a_restart() {
    let (backend, collector) = (Backend::echo(), Collector::start());
    let setup = Proxy::before(&[&backend]).with(&collector.setting(""));
    let mut proxy = setup.clone().start();
    let described = config::describe(&setup.config());
    assert!(described.contains("/v1/traces as longwire, of those that begin here 1"), "{described}");
    assert_eq!(proxy.reload(&setup).needs_restart, [""; 0]);
    assert_eq!(proxy.reload(&Proxy::before(&[&backend])).needs_restart, ["tracing"]);
    proxy.stop().await;
}
