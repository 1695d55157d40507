//! `longwire probe`: what it says of paths with a middlebox of each kind, and its exit codes.
//!
//! The middleboxes keep real time, so these tests say nothing of how near a limit is found: the tests of `tools/probe/decide` do,
//! in virtual time. The limit here is so long that a machine which stands still for two seconds makes no silence of what is none.

mod middlebox;

use std::{path::Path, process::Command, time::Duration};

use fs_err as fs;
use serde_json::{Value, json};

use self::middlebox::{Counts, Dies, Middlebox};
use crate::harness::{Backend, Proxy, handshake, within};

/// The limit of most middleboxes here.
const LIMIT: Duration = Duration::from_millis(3500);
/// A silence that lives and one that dies. The other end has 3.2 s to answer.
const QUICK: [&str; 5] = ["--quick", "--idle-times", "1s,4500ms", "--scale", "0.8"];
/// The same of a full run.
const FULL: [&str; 4] = ["--idle-times", "1s,4500ms", "--scale", "0.32"];
/// The same without the time to come nearer to the limit.
const ONCE: [&str; 6] = ["--idle-times", "1s,4500ms", "--scale", "0.32", "--max", "9s"];

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
async fn probed(middlebox: Middlebox, times: &[&str], more: &[&str]) -> (Option<i32>, Value) {
    let backend = Backend::echo();
    let address = middlebox.before(backend.address()).await;
    let printed = probe(&format!("ws://{address}/ws"), &[times, &["--json"], more].concat()).await;
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
        an_echo_that_greets_is_told_from_an_answer(),
        a_life_that_was_looked_for_and_not_met_is_told(),
        the_largest_message_that_passes_is_found(),
        a_code_that_the_path_changes_is_not_kept(),
    );
}

async fn a_fin_without_a_close_is_told_and_the_interval_below_it_holds() {
    let (code, report) = probed(Middlebox::idle(LIMIT, Dies::Fin), &QUICK, &["--interval", "100ms"]).await;
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
    let (code, report) = probed(Middlebox::idle(LIMIT, Dies::Reset), &QUICK, &["--interval", "60s"]).await;
    assert_idle(&report, "reset");
    assert_eq!((code, &report["verdict"]), (Some(1), &json!("fails")), "{report:#}");
}

async fn a_close_is_told_with_its_code() {
    let (_, report) = probed(Middlebox::idle(LIMIT, Dies::Close(4001)), &QUICK, &[]).await;
    assert_idle(&report, "close");
    assert_eq!(report["idle"]["close_code"], 4001, "{report:#}");
}

async fn a_silence_is_told_where_nothing_comes_back() {
    let (_, report) = probed(Middlebox::idle(LIMIT, Dies::Silent), &ONCE, &[]).await;
    assert_idle(&report, "silent");
    assert_eq!(report["passes"]["ping"], true, "{report:#}");
}

async fn a_forgotten_connection_is_told_from_a_reset_one() {
    let (_, report) = probed(Middlebox::idle(LIMIT, Dies::Forgotten), &ONCE, &[]).await;
    assert_idle(&report, "forgotten");
}

async fn a_death_by_age_is_no_limit_of_silence() {
    let (code, report) = probed(Middlebox::aged(LIMIT, Dies::Fin), &QUICK, &["--interval", "100ms"]).await;
    assert_eq!((code, &report["idle"], &report["life"]["dies"]), (Some(1), &Value::Null, &json!("fin")), "{report:#}");
    assert!(report["life"]["between"][1].as_f64().unwrap() >= LIMIT.as_secs_f64(), "{report:#}");
    assert_eq!(report.get("ping_interval"), None, "{report:#}");
}

async fn a_path_without_a_limit_holds_every_interval_that_was_tested() {
    let middlebox = Middlebox { longest_message: None, ..Middlebox::open() };
    let (code, report) = probed(middlebox, &FULL, &["--interval", "500ms"]).await;
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
    let (_, report) = probed(middlebox, &QUICK, &[]).await;
    assert_eq!(report["passes"]["ping"], false, "{report:#}");
    assert_idle(&report, "fin");
    let middlebox = Middlebox { eats_pings: true, ..Middlebox::open() };
    let (_, report) = probed(middlebox, &QUICK, &[]).await;
    assert_eq!((&report["passes"]["ping"], &report["idle"]["between"]), (&json!(false), &Value::Null), "{report:#}");
}

async fn a_silence_that_no_ping_could_have_shown_is_not_told() {
    let middlebox = Middlebox { eats_pings: true, ..Middlebox::idle(LIMIT, Dies::Silent) };
    let (_, report) = probed(middlebox, &ONCE, &[]).await;
    assert_eq!(report["idle"]["dies"], Value::Null, "{report:#}");
    assert!(report["idle"]["between"][1].as_f64().unwrap() >= LIMIT.as_secs_f64(), "{report:#}");
}

async fn what_resets_the_timer_is_found_out() {
    let pings = Middlebox::idle(LIMIT, Dies::Fin);
    let messages = Middlebox { counts: Counts::Messages, ..pings };
    let more = ["--interval", "100ms"];
    let ((held, by_pings), (lost, by_messages)) =
        tokio::join!(probed(pings, &FULL, &more), probed(messages, &FULL, &more));
    let kept = |client| json!({ "client_ping": client, "server_ping": null, "tcp_keepalive": false });
    assert_eq!((held, &by_pings["idle"]["kept_by"]), (Some(0), &kept(true)), "{by_pings:#}");
    assert_eq!((lost, &by_messages["idle"]["kept_by"]), (Some(1), &kept(false)), "{by_messages:#}");
}

async fn an_end_that_obeys_shows_which_direction_counts() {
    let (folder, backend) = (tempfile::tempdir().unwrap(), Backend::echo());
    fs::write(folder.path().join("probe.token"), "a-token-of-some-length\n").unwrap();
    let setup = Proxy::before(&[&backend]).base(folder.path()).with("probe: { token_file: probe.token }");
    let proxy = setup.start();
    let middlebox = Middlebox { counts: Counts::BytesFromBackend, ..Middlebox::idle(LIMIT, Dies::Fin) };
    let url = format!("ws://{}/.well-known/longwire-probe", middlebox.before(proxy.address()).await);
    let file = path(folder.path(), "probe.token");
    let arguments = [&FULL[..], &["--json", "--interval", "100ms", "--token-file", &file]].concat();
    let printed = probe(&url, &arguments).await;
    let report = printed.json();
    assert_idle(&report, "fin");
    let kept = json!({ "client_ping": false, "server_ping": true, "tcp_keepalive": false });
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
    let report = probe(&url, &[&QUICK[..], &["--json", "--token-file", &file]].concat()).await.json();
    assert_eq!((&report["passes"]["ping"], &report["idle"]["between"]), (&json!(false), &Value::Null), "{report:#}");
    proxy.stop().await;
}

async fn an_echo_that_greets_is_told_from_an_answer() {
    let (_, report) = probed(Middlebox { greets: true, ..Middlebox::open() }, &FULL, &["--interval", "500ms"]).await;
    assert_eq!(report["passes"]["message_bytes"], 32 * 1024, "{report:#}");
}

async fn a_quick_probe_tests_silences_only() {
    let (_, report) = probed(Middlebox::idle(LIMIT, Dies::Fin), &QUICK, &[]).await;
    assert_idle(&report, "fin");
    assert_eq!((&report["idle"]["kept_by"], &report["life"]), (&Value::Null, &Value::Null), "{report:#}");
    assert_eq!(report["passes"], json!({ "ping": true, "close_code": null, "message_bytes": null }), "{report:#}");
}

async fn a_life_that_was_looked_for_and_not_met_is_told() {
    let (_, report) = probed(Middlebox::open(), &ONCE, &["--life", "--interval", "500ms"]).await;
    assert_eq!(report["life"], json!({ "between": null, "dies": null }), "{report:#}");
}

async fn the_largest_message_that_passes_is_found() {
    let middlebox = Middlebox { longest_message: Some(200 * 1024), ..Middlebox::open() };
    let (_, report) = probed(middlebox, &FULL, &["--interval", "500ms"]).await;
    assert_eq!(report["passes"]["message_bytes"], 128 * 1024, "{report:#}");
}

async fn a_code_that_the_path_changes_is_not_kept() {
    let middlebox = Middlebox { changes_code: true, ..Middlebox::open() };
    let (_, report) = probed(middlebox, &FULL, &["--interval", "500ms"]).await;
    assert_eq!(report["passes"]["close_code"], false, "{report:#}");
}

#[tokio::test]
async fn what_cannot_be_tested_exits_with_3_and_says_why() {
    let refusing = Backend::answering(
        "HTTP/1.1 401 Unauthorized\r\nServer: door\u{9b}man\r\nLocation: https://a.example/\r\nContent-Type: text/plain\r\nContent-Length: 8\r\n\r\nno badge",
    );
    let printed = probe(&format!("ws://{refusing}/ws"), &["--json"]).await;
    let report = printed.json();
    assert_eq!((printed.code, &report["verdict"]), (Some(3), &json!("unknown")), "{report:#}");
    assert_eq!((&report["handshake"]["status"], &report["idle"]), (&json!(401), &Value::Null), "{report:#}");
    let told = json!({ "server": "door?man", "location": "https://a.example/" });
    assert_eq!(report["handshake"]["headers"], told, "{report:#}");
    assert_eq!(report["error"], "handshake: answered with 401 (no badge)", "{report:#}");
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
    let arguments = [&QUICK[..], &["-c", &file]].concat();
    let judge = async |place: &str, code, verdict: &str, route: &str| {
        let printed = probe(&format!("ws://{address}/{place}"), &arguments).await;
        assert_eq!(printed.code, Some(code), "{printed:?}");
        assert!(printed.out.contains(verdict) && printed.out.contains("by FIN without a Close"), "{printed:?}");
        assert!(printed.out.contains(&format!("of the route {route} in {file}")), "{printed:?}");
    };
    tokio::join!(
        judge("ws", 0, "holds: `ping_interval: 100ms`", "*/"),
        judge("slow/ws?a=1", 1, "fails: `ping_interval: 20s`", "*/slow/"),
    );
}

#[tokio::test]
async fn where_no_route_takes_the_url_the_interval_of_all_routes_is_judged_by_their_path() {
    let refusing = Backend::answering("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    let url = format!("ws://{refusing}/ws");
    for (settings, interval) in [
        ("", json!("25s")),
        ("via: [ { name: a wall, idle: 40s } ]\n", json!("16s")),
        ("via: [ { name: a wall, idle: 40s } ]\nkeepalive: { ping_interval: 7s }\n", json!("7s")),
        ("keepalive: { sides: [ backend ] }\n", Value::Null),
        ("keepalive: { ping_interval: 0s }\n", Value::Null),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "{settings}listeners: [ {{ bind: 127.0.0.1:0 }} ]\n\
             upstreams: {{ chat: {{ backends: [ {{ address: 127.0.0.1:1 }} ] }} }}\n\
             routes: [ {{ host: chat.example.com, upstream: chat }} ]\n"
        );
        fs::write(folder.path().join("proxy.yaml"), text).unwrap();
        let file = path(folder.path(), "proxy.yaml");
        let printed = probe(&url, &["-c", &file, "--json"]).await;
        let from = format!("of all routes in {file}: none takes this URL");
        assert_eq!(printed.json()["judged"], json!({ "ping_interval": interval, "from": from }), "{settings}");
        assert!(printed.err.contains("takes ws://"), "{printed:?}");
    }
}

#[tokio::test]
async fn a_far_end_that_is_busy_is_told_from_a_path_that_fails() {
    let (folder, backend) = (tempfile::tempdir().unwrap(), Backend::echo());
    fs::write(folder.path().join("probe.token"), "a-token-of-some-length\n").unwrap();
    let proxy = Proxy::before(&[&backend]).base(folder.path()).with("probe: { token_file: probe.token }").start();
    let url = format!("ws://{}/.well-known/longwire-probe", proxy.address());
    let file = path(folder.path(), "probe.token");
    let arguments = [&ONCE[..], &["--interval", "25s", "--token-file", &file]].concat();
    let mut others = Vec::new();
    for _ in 0..124 {
        let mut other = proxy.client().await;
        other.send(handshake("/.well-known/longwire-probe", "Authorization: Bearer a-token-of-some-length\r\n")).await;
        other.upgraded().await;
        others.push(other);
    }
    let some = probe(&url, &arguments).await;
    assert_eq!(some.code, Some(3), "{some:?}");
    assert!(some.out.contains("the far end is busy") && some.out.contains("could not be opened"), "{some:?}");
    for _ in 0..4 {
        let mut other = proxy.client().await;
        other.send(handshake("/.well-known/longwire-probe", "Authorization: Bearer a-token-of-some-length\r\n")).await;
        other.upgraded().await;
        others.push(other);
    }
    let none = probe(&url, &arguments).await;
    assert_eq!(none.code, Some(3), "{none:?}");
    assert!(none.out.contains("error        the far end is busy"), "{none:?}");
    drop(others);
    proxy.stop().await;
}

#[tokio::test]
async fn an_end_that_wants_one_connection_of_each_user_is_told() {
    let backend = Backend::echo();
    let address = Middlebox { has_one: true, ..Middlebox::open() }.before(backend.address()).await;
    let printed = probe(&format!("ws://{address}/ws"), &FULL).await;
    assert_eq!(printed.code, Some(3), "{printed:?}");
    assert!(printed.out.contains("closes a connection when another one is opened"), "{printed:?}");
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
