//! `longwire probe`: what it says of paths with a middlebox of each kind, and its exit codes.
//!
//! The middleboxes keep real time, so these tests say nothing of how near a limit is found: the tests of `tools/probe/decide` do,
//! in virtual time.

mod middlebox;

use std::{path::Path, process::Command, time::Duration};

use fs_err as fs;
use serde_json::{Value, json};

use self::middlebox::{Counts, Dies, Middlebox};
use crate::harness::{Backend, Proxy, within};

/// The limit of most middleboxes here.
const LIMIT: Duration = Duration::from_millis(700);
/// A silence that lives and one that dies, however late an answer or an end comes. The other end has a second to answer.
const TIMES: [&str; 4] = ["--idle-times", "300ms,1500ms", "--scale", "0.1"];

/// What a command printed.
#[derive(Debug)]
struct Printed {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Printed {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

/// Runs `longwire probe` beside the test's own backends.
async fn probe(url: &str, arguments: &[&str]) -> Printed {
    let arguments = [&["probe", url], arguments].concat().into_iter().map(str::to_owned).collect::<Vec<_>>();
    let run = || Command::new(env!("CARGO_BIN_EXE_longwire")).args(arguments).output().unwrap();
    let output = tokio::time::timeout(Duration::from_secs(90), tokio::task::spawn_blocking(run)).await;
    let output = output.expect("the probe to end").unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Printed { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// Probes silences beside [`LIMIT`] of the path through a middlebox. Returns the exit code and the result.
async fn probed(middlebox: Middlebox, more: &[&str]) -> (Option<i32>, Value) {
    let backend = Backend::echo();
    let address = middlebox.before(backend.address()).await;
    let printed = probe(&format!("ws://{address}/ws"), &[&TIMES[..], &["--json"], more].concat()).await;
    (printed.code, printed.json())
}

/// Asserts that the limit of silence was not told too short, and how it kills.
fn assert_idle(report: &Value, dies: &str) {
    let idle = &report["idle"];
    assert_eq!(idle["dies"], dies, "{report:#}");
    // The other ends are only as punctual as this machine, so the limit may seem longer than it is.
    let [low, high] = [0, 1].map(|end| idle["between"][end].as_f64().unwrap());
    assert!(low < high && high >= LIMIT.as_secs_f64(), "{report:#}");
    assert!(idle["tries"].as_u64() >= Some(1) && idle["agree"].as_u64() <= idle["tries"].as_u64(), "{report:#}");
}

#[tokio::test]
async fn silences_of_each_kind_are_told_as_they_are() {
    // They mostly wait, so they wait together.
    tokio::join!(
        a_fin_without_a_close_is_told_and_the_interval_below_it_holds(),
        a_rst_is_told_and_an_interval_beyond_it_fails(),
        a_close_is_told_with_its_code(),
        a_silence_is_told_where_nothing_comes_back(),
        a_forgotten_connection_is_told_from_a_reset_one(),
        a_death_by_age_is_no_limit_of_silence(),
        where_the_path_eats_pings_silence_is_tested_by_messages(),
        a_silence_that_no_ping_could_have_shown_is_not_told(),
        a_quick_probe_tests_silences_only(),
        the_interval_that_is_judged_is_that_of_the_urls_route(),
    );
}

#[tokio::test]
async fn what_keeps_a_connection_and_what_passes_is_told() {
    // They mostly wait, so they wait together.
    tokio::join!(
        a_path_without_a_limit_holds_every_interval_that_was_tested(),
        what_resets_the_timer_is_found_out(),
        an_end_that_obeys_shows_which_direction_counts(),
        a_ping_that_is_answered_on_the_way_does_not_pass(),
        a_keepalive_of_tcp_does_not_keep_what_counts_bytes(),
        a_life_that_was_looked_for_and_not_met_is_told(),
        the_largest_message_that_passes_is_found(),
        a_code_that_the_path_changes_is_not_kept(),
    );
}

async fn a_fin_without_a_close_is_told_and_the_interval_below_it_holds() {
    let (code, report) = probed(Middlebox::idle(LIMIT, Dies::Fin), &["--quick", "--interval", "100ms"]).await;
    assert_idle(&report, "fin");
    assert_eq!((code, &report["verdict"]), (Some(0), &json!("holds")), "{report:#}");
    assert_eq!(report["idle"]["close_code"], Value::Null);
    let between = [0, 1].map(|end| report["idle"]["between"][end].as_f64().unwrap());
    let held = (between[0] + between[1]) / 2.0 * 0.4;
    let shown = report["ping_interval"].as_str().unwrap();
    let ms = shown.strip_suffix("ms").map(|ms| ms.parse::<f64>().unwrap());
    let seconds = ms.map_or_else(|| shown.strip_suffix('s').unwrap().parse().unwrap(), |ms| ms / 1e3);
    assert!(seconds <= held && seconds > held - if held < 1.0 { 0.003 } else { 1.0 }, "{report:#}");
}

async fn a_rst_is_told_and_an_interval_beyond_it_fails() {
    let (code, report) = probed(Middlebox::idle(LIMIT, Dies::Reset), &["--quick", "--interval", "60s"]).await;
    assert_idle(&report, "reset");
    assert_eq!((code, &report["verdict"]), (Some(1), &json!("fails")), "{report:#}");
}

async fn a_close_is_told_with_its_code() {
    let (_, report) = probed(Middlebox::idle(LIMIT, Dies::Close(4001)), &["--quick"]).await;
    assert_idle(&report, "close");
    assert_eq!(report["idle"]["close_code"], 4001, "{report:#}");
}

async fn a_silence_is_told_where_nothing_comes_back() {
    let (_, report) = probed(Middlebox::idle(LIMIT, Dies::Silent), &["--quick"]).await;
    assert_idle(&report, "silent");
    assert_eq!(report["passes"]["ping"], true, "{report:#}");
}

async fn a_forgotten_connection_is_told_from_a_reset_one() {
    let (_, report) = probed(Middlebox::idle(LIMIT, Dies::Forgotten), &["--quick"]).await;
    assert_idle(&report, "forgotten");
}

async fn a_death_by_age_is_no_limit_of_silence() {
    let (code, report) = probed(Middlebox::aged(LIMIT, Dies::Fin), &["--quick", "--interval", "100ms"]).await;
    assert_eq!((code, &report["idle"], &report["life"]["dies"]), (Some(1), &Value::Null, &json!("fin")), "{report:#}");
    assert!(report["life"]["between"][1].as_f64().unwrap() >= LIMIT.as_secs_f64(), "{report:#}");
    assert_eq!(report.get("ping_interval"), None, "{report:#}");
}

async fn a_path_without_a_limit_holds_every_interval_that_was_tested() {
    let middlebox = Middlebox { longest_message: None, ..Middlebox::open() };
    let (code, report) = probed(middlebox, &["--interval", "500ms"]).await;
    assert_eq!(
        (code, &report["idle"]["between"], &report["life"]),
        (Some(0), &Value::Null, &Value::Null),
        "{report:#}"
    );
    assert_eq!((report.get("ping_interval"), &report["idle"]["looks_like"]), (None, &json!([])), "{report:#}");
    assert_eq!(report["handshake"]["status"], 101);
    assert_eq!(report["passes"], json!({ "ping": true, "close_code": true, "message_bytes": 16 << 20 }));
    let latency = &report["latency_ms"];
    assert!(latency["p50"].as_f64().unwrap() <= latency["p99"].as_f64().unwrap(), "{report:#}");
}

async fn where_the_path_eats_pings_silence_is_tested_by_messages() {
    let middlebox = Middlebox { eats_pings: true, ..Middlebox::idle(LIMIT, Dies::Fin) };
    let (_, report) = probed(middlebox, &["--quick"]).await;
    assert_eq!(report["passes"]["ping"], false, "{report:#}");
    assert_idle(&report, "fin");
    let middlebox = Middlebox { eats_pings: true, ..Middlebox::open() };
    let (_, report) = probed(middlebox, &["--quick"]).await;
    assert_eq!((&report["passes"]["ping"], &report["idle"]["between"]), (&json!(false), &Value::Null), "{report:#}");
}

async fn a_silence_that_no_ping_could_have_shown_is_not_told() {
    let middlebox = Middlebox { eats_pings: true, ..Middlebox::idle(LIMIT, Dies::Silent) };
    let (_, report) = probed(middlebox, &["--quick"]).await;
    assert_eq!(report["idle"]["dies"], Value::Null, "{report:#}");
    assert!(report["idle"]["between"][1].as_f64().unwrap() >= LIMIT.as_secs_f64(), "{report:#}");
}

async fn what_resets_the_timer_is_found_out() {
    let (_, report) = probed(Middlebox::idle(LIMIT, Dies::Fin), &[]).await;
    let kept = &report["idle"]["kept_by"];
    assert_eq!((&kept["client_ping"], &kept["server_ping"]), (&json!(true), &Value::Null), "{report:#}");
    let middlebox = Middlebox { counts: Counts::Messages, ..Middlebox::idle(LIMIT, Dies::Silent) };
    let (code, report) = probed(middlebox, &["--interval", "100ms"]).await;
    assert_eq!((code, &report["idle"]["kept_by"]["client_ping"]), (Some(1), &json!(false)), "{report:#}");
}

async fn an_end_that_obeys_shows_which_direction_counts() {
    let (folder, backend) = (tempfile::tempdir().unwrap(), Backend::echo());
    fs::write(folder.path().join("probe.token"), "a-token-of-some-length\n").unwrap();
    let setup = Proxy::before(&[&backend]).base(folder.path()).with("probe: { token_file: probe.token }");
    let proxy = setup.start();
    let middlebox = Middlebox { counts: Counts::BytesFromBackend, ..Middlebox::idle(LIMIT, Dies::Fin) };
    let url = format!("ws://{}/.well-known/longwire-probe", middlebox.before(proxy.address()).await);
    let file = path(folder.path(), "probe.token");
    let arguments = [&TIMES[..], &["--json", "--interval", "100ms", "--token-file", &file]].concat();
    let printed = probe(&url, &arguments).await;
    let report = printed.json();
    assert_idle(&report, "fin");
    let kept = json!({ "client_ping": false, "server_ping": true, "tcp_keepalive": null });
    assert_eq!((printed.code, &report["idle"]["kept_by"]), (Some(0), &kept), "{report:#}");
    assert_eq!(report["handshake"]["subprotocol"], "longwire-probe.1");
    assert_eq!(
        (&report["passes"]["ping"], &report["passes"]["close_code"]),
        (&json!(true), &json!(true)),
        "{report:#}"
    );
    let printed = probe(&url, &["--json"]).await;
    let report = printed.json();
    assert_eq!((printed.code, &report["handshake"]["status"]), (Some(3), &json!(401)), "{report:#}");
    assert_eq!(backend.heads().len(), 0, "a backend saw a probe");
    proxy.stop().await;
}

async fn a_ping_that_is_answered_on_the_way_does_not_pass() {
    let (folder, backend) = (tempfile::tempdir().unwrap(), Backend::echo());
    fs::write(folder.path().join("probe.token"), "a-token-of-some-length\n").unwrap();
    let setup = Proxy::before(&[&backend]).base(folder.path()).with("probe: { token_file: probe.token }");
    let proxy = setup.start();
    let middlebox = Middlebox { answers_pings: true, ..Middlebox::open() };
    let url = format!("ws://{}/.well-known/longwire-probe", middlebox.before(proxy.address()).await);
    let file = path(folder.path(), "probe.token");
    let report = probe(&url, &[&TIMES[..], &["--json", "--quick", "--token-file", &file]].concat()).await.json();
    assert_eq!((&report["passes"]["ping"], &report["idle"]["between"]), (&json!(false), &Value::Null), "{report:#}");
    proxy.stop().await;
}

async fn a_keepalive_of_tcp_does_not_keep_what_counts_bytes() {
    let limit = Duration::from_millis(1600);
    let times = ["--idle-times", "2s", "--scale", "0.1", "--json"];
    let backend = Backend::echo();
    let address = Middlebox::idle(limit, Dies::Fin).before(backend.address()).await;
    let report = probe(&format!("ws://{address}/ws"), &times).await.json();
    assert_eq!(report["idle"]["kept_by"]["tcp_keepalive"], false, "{report:#}");
}

async fn a_quick_probe_tests_silences_only() {
    let (_, report) = probed(Middlebox::idle(LIMIT, Dies::Fin), &["--quick"]).await;
    assert_idle(&report, "fin");
    assert_eq!((&report["idle"]["kept_by"], &report["life"]), (&Value::Null, &Value::Null), "{report:#}");
    assert_eq!(report["passes"], json!({ "ping": true, "close_code": null, "message_bytes": null }), "{report:#}");
}

async fn a_life_that_was_looked_for_and_not_met_is_told() {
    let (_, report) = probed(Middlebox::open(), &["--life", "--max", "6s", "--interval", "500ms"]).await;
    assert_eq!(report["life"], json!({ "between": null, "dies": null }), "{report:#}");
}

async fn the_largest_message_that_passes_is_found() {
    let middlebox = Middlebox { longest_message: Some(200 * 1024), ..Middlebox::open() };
    let (_, report) = probed(middlebox, &["--interval", "500ms"]).await;
    assert_eq!(report["passes"]["message_bytes"], 128 * 1024, "{report:#}");
}

async fn a_code_that_the_path_changes_is_not_kept() {
    let middlebox = Middlebox { changes_code: true, ..Middlebox::open() };
    let (_, report) = probed(middlebox, &["--interval", "500ms"]).await;
    assert_eq!(report["passes"]["close_code"], false, "{report:#}");
}

#[tokio::test]
async fn what_cannot_be_tested_exits_with_3_and_says_why() {
    let refusing = Backend::answering("HTTP/1.1 401 Unauthorized\r\nServer: doorman\r\nContent-Length: 0\r\n\r\n");
    let printed = probe(&format!("ws://{refusing}/ws"), &["--json"]).await;
    let report = printed.json();
    assert_eq!((printed.code, &report["verdict"]), (Some(3), &json!("unknown")), "{report:#}");
    assert_eq!((&report["handshake"]["status"], &report["idle"]), (&json!(401), &Value::Null), "{report:#}");
    assert_eq!(report["handshake"]["headers"]["server"], "doorman", "{report:#}");
    let nobody = Backend::refusing();
    let printed = probe(&format!("ws://{nobody}/ws"), &[]).await;
    assert_eq!(printed.code, Some(3), "{printed:?}");
    assert!(printed.out.contains("connecting: "), "{printed:?}");
}

#[tokio::test]
async fn a_wrong_command_line_exits_with_2() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("proxy.yaml"), "nonsense: 1\n").unwrap();
    let (missing, broken) = (path(folder.path(), "missing"), path(folder.path(), "proxy.yaml"));
    for arguments in [["--token-file", &missing], ["-c", &missing], ["-c", &broken], ["--interval", "0s"]] {
        let printed = probe("ws://127.0.0.1:9/", &arguments).await;
        assert_eq!((printed.code, &*printed.out), (Some(2), ""), "{printed:?}");
        assert!(!printed.err.is_empty());
    }
}

async fn the_interval_that_is_judged_is_that_of_the_urls_route() {
    let folder = tempfile::tempdir().unwrap();
    let routes =
        "routes:\n  - { path: /slow/, upstream: chat, keepalive: { ping_interval: 20s } }\n  - { upstream: chat }\n";
    let text = format!(
        "listeners: [ {{ bind: 127.0.0.1:0 }} ]\nupstreams: {{ chat: {{ backends: [ {{ address: 127.0.0.1:1 }} ] }} }}\n\
         keepalive: {{ ping_interval: 100ms }}\n{routes}"
    );
    fs::write(folder.path().join("proxy.yaml"), text).unwrap();
    let file = path(folder.path(), "proxy.yaml");
    let backend = Backend::echo();
    let address = Middlebox::idle(LIMIT, Dies::Fin).before(backend.address()).await;
    for (place, code) in [("ws", 0), ("slow/ws?a=1", 1)] {
        let arguments = [&TIMES[..], &["--quick", "-c", &file]].concat();
        let printed = probe(&format!("ws://{address}/{place}"), &arguments).await;
        assert_eq!(printed.code, Some(code), "{printed:?}");
        let words = if code == 0 { "holds: `ping_interval: 100ms`" } else { "fails: `ping_interval: 20s`" };
        assert!(printed.out.contains(words) && printed.out.contains("by FIN without a Close"), "{printed:?}");
    }
}

#[tokio::test]
async fn a_probe_says_who_it_is_and_shows_its_token() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("token"), "a-token-of-some-length\n").unwrap();
    let (backend, file) = (Backend::echo(), path(folder.path(), "token"));
    let arguments =
        ["--quick", "--idle-times", "100ms", "--scale", "0.1", "--token-file", &file, "--header", "Cookie: a=b"];
    probe(&format!("ws://{backend}/ws"), &arguments).await;
    let heads = within("handshakes", async { backend.heads() }).await;
    assert!(heads.len() > 2, "{heads:?}");
    for head in &heads {
        assert_eq!(head.header("user-agent"), Some(concat!("longwire-probe/", env!("CARGO_PKG_VERSION"))));
        assert_eq!(head.header("authorization"), Some("Bearer a-token-of-some-length"));
        assert_eq!(head.header("sec-websocket-protocol"), Some("longwire-probe.1"));
        assert_eq!(head.header("cookie"), Some("a=b"));
    }
    let offers = heads.iter().filter(|head| head.header("sec-websocket-extensions") == Some("permessage-deflate"));
    assert_eq!(offers.count(), 1, "only the first handshake offers an extension");
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().unwrap().to_owned()
}
