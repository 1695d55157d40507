//! What follows from the path that a file names: the intervals of pings, the longest life, and what `check` says of the rest.

use std::{path::Path, process::Command, time::Duration};

use longwire::{
    config::{self, Loaded},
    routing::Route,
    ws::keepalive::SideTimes,
};
use serde_json::Value;

use crate::harness::{Backend, Process, Proxy, frames::PING};

/// A file with these keys beside its one upstream, which has these keys too.
fn file(keys: &str, upstream: &str) -> String {
    format!(
        "listeners: [{{ bind: 127.0.0.1:0 }}]\ntrusted_proxies: [127.0.0.1]\n\
         upstreams: {{ app: {{ backends: [{{ address: \"127.0.0.1:3000\" }}], {upstream} }} }}\n{keys}\n"
    )
}

/// The first route of such a file.
fn route(keys: &str, upstream: &str) -> Route {
    let loaded = config::parse(&file(keys, upstream), "proxy.yaml", Path::new("")).unwrap();
    loaded.config.routes.routes().next().unwrap().clone()
}

/// The intervals for the client and for the backend, in seconds.
fn intervals(keys: &str, upstream: &str) -> [Option<u64>; 2] {
    let SideTimes { client, backend } = route(keys, upstream).keepalive.ping_interval;
    [client, backend].map(|interval| interval.map(|interval| interval.as_secs()))
}

#[test]
fn each_side_has_the_interval_of_its_own_path() {
    let routes = "routes: [{ upstream: app }]";
    assert_eq!(intervals(routes, ""), [Some(25); 2], "no path is named");
    assert_eq!(intervals(&format!("via: [aws_alb]\n{routes}"), ""), [Some(24), Some(25)]);
    assert_eq!(intervals(routes, "via: [{ name: mesh, idle: 30s }]"), [Some(25), Some(12)]);
    let both = format!("via: [cloudflare, heroku, aws_nlb]\n{routes}");
    assert_eq!(intervals(&both, "via: [{ name: mesh, idle: 16s }, envoy]"), [Some(22), Some(6)]);
    // Two fifths, rounded down, and neither too often nor too seldom.
    for (idle, expected) in [("15s", 6), ("19s", 7), ("13s", 5), ("3s", 5), ("62s", 24), ("63s", 25), ("1d", 25)] {
        let keys = format!("via: [{{ name: x, idle: {idle} }}]\n{routes}");
        assert_eq!(intervals(&keys, ""), [Some(expected), Some(25)], "{idle}");
    }
}

#[test]
fn a_figure_that_was_set_there_stands_in_the_place_of_the_presets() {
    let keys = "via: [{ name: aws_alb, idle: 20s }]\nroutes: [{ upstream: app }]";
    assert_eq!(intervals(keys, ""), [Some(8), Some(25)]);
}

#[test]
fn the_path_of_a_route_stands_in_the_place_of_the_whole_files() {
    let keys = |via: &str| format!("via: [{{ name: x, idle: 20s }}]\nroutes: [{{ upstream: app{via} }}]");
    assert_eq!(intervals(&keys(""), ""), [Some(8), Some(25)]);
    assert_eq!(intervals(&keys(", via: [{ name: y, idle: 30s }]"), ""), [Some(12), Some(25)]);
    assert_eq!(intervals(&keys(", via: []"), ""), [Some(25); 2]);
}

#[test]
fn an_interval_that_is_written_does_not_follow_from_the_path() {
    let keys = |keepalive: &str| {
        format!("via: [{{ name: x, idle: 20s }}]\nroutes: [{{ upstream: app, keepalive: {{ {keepalive} }} }}]")
    };
    assert_eq!(intervals(&keys("ping_interval: 9s"), ""), [Some(9); 2]);
    assert_eq!(intervals(&keys("ping_interval: 0s"), ""), [None; 2]);
    assert_eq!(intervals(&keys("ping_interval: auto, sides: [client]"), ""), [Some(8), None]);
    let common = format!("keepalive: {{ ping_interval: 9s }}\n{}", keys("ping_interval: auto"));
    assert_eq!(intervals(&common, ""), [Some(8), Some(25)]);
}

#[test]
fn the_longest_life_follows_from_the_whole_path_where_it_is_asked_for() {
    let life = |via: &str, max_lifetime: &str, upstream: &str| {
        let keys = format!("via: [{via}]\nroutes: [{{ upstream: app{max_lifetime} }}]");
        route(&keys, upstream).max_lifetime.map(|life| life.as_secs())
    };
    let auto = ", max_lifetime: auto";
    assert_eq!(life("aws_api_gateway", "", ""), None);
    assert_eq!(life("aws_api_gateway", auto, ""), Some(6840));
    assert_eq!(life("aws_api_gateway", ", max_lifetime: 1h", ""), Some(3600));
    assert_eq!(life("aws_api_gateway", auto, "via: [{ name: tunnel, max_life: 30m }]"), Some(1710));
    assert_eq!(life("aws_alb", auto, ""), None, "it has none");
    assert_eq!(life("gcp_alb", auto, ""), None, "people set it there, and did not say to what");
    assert_eq!(life("{ name: gcp_alb, max_life: 1d }", auto, ""), Some(82_080));
}

#[test]
fn what_was_derived_is_described_with_what_it_follows_from() {
    let described = |keys: &str, upstream: &str| {
        let loaded = config::parse(&file(keys, upstream), "proxy.yaml", Path::new("")).unwrap();
        config::describe(&loaded.config)
    };
    let keys = "via: [aws_alb, aws_api_gateway]\nroutes: [{ upstream: app, max_lifetime: auto }]";
    let text = described(keys, "via: [{ name: mesh, idle: 90s }]");
    for part in [
        "ping after 24s (client) or 25s (backend), dead after",
        "\n    clients are pinged after 24s: two fifths of the 60s of aws_alb\n",
        "\n    backends are pinged after 25s, the longest of auto: the shortest limit is the 90s of mesh\n",
        "\n    sessions end after 6840s: the 7200s of aws_api_gateway less a twentieth\n",
        "\n    only messages are sure to hold a session over the 600s of aws_api_gateway\n",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    let text = described("via: [{ name: eager, idle: 8s }]\nroutes: [{ upstream: app }]", "");
    assert!(
        text.contains("    clients are pinged after 5s, the shortest of auto: the limit of eager is 8s\n"),
        "{text}"
    );
    // What was written does not follow from anything.
    for keys in ["", "via: [aws_alb]\nkeepalive: { ping_interval: 24s }\n"] {
        let text = described(&format!("{keys}routes: [{{ upstream: app }}]"), "");
        assert!(!text.contains("are pinged after"), "{text}");
    }
}

#[tokio::test]
async fn a_session_is_pinged_at_the_interval_that_follows_from_its_path() {
    let backend = Backend::by_hand();
    let sides = "keepalive: { sides: [client] }";
    let derived = Proxy::before(&[&backend]).with("via: [{ name: x, idle: 12s }]").with(sides).start();
    let common = Proxy::before(&[&backend]).with(sides).start();
    let (mut client, _at_backend) = derived.session_by_hand(&backend).await;
    let (mut other, _at_other_backend) = common.session_by_hand(&backend).await;
    // The first Ping is that of the shorter interval, however slow this machine is.
    let first = tokio::select! {
        frame = client.frame() => ("derived", frame.first),
        frame = other.frame() => ("common", frame.first),
    };
    assert_eq!(first, ("derived", PING));
    derived.stop().await;
    common.stop().await;
}

/// The exit code, standard output and standard error of `longwire check`.
fn check(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longwire"));
    let output = command.arg("check").args(arguments).current_dir(folder).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn check_warns_at_the_place_and_strict_makes_warnings_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.yaml");
    let keys = "via: [aws_alb]\nkeepalive:\n  ping_interval: 30s\nroutes: [{ upstream: app }]";
    fs_err::write(&path, file(keys, "")).unwrap();
    let (code, out, err) = check(folder.path(), &[]);
    assert_eq!(code, Some(0), "{err}");
    let warning = "proxy.yaml:6:3: warning: `ping_interval` (30s) is not below half of the 60s of `aws_alb`\n";
    assert!(err.starts_with(warning) && err.contains("write ping_interval: 24s, or auto"), "{err}");
    assert!(out.contains("ping after 30s"), "{out}");
    let (code, out, err) = check(folder.path(), &["--strict"]);
    assert_eq!((code, &*out), (Some(1), ""), "{err}");
    assert!(err.starts_with(&warning.replace("warning:", "error:")), "{err}");

    fs_err::write(&path, file(&keys.replace("30s", "auto"), "")).unwrap();
    for arguments in [&[][..], &["--strict"]] {
        let (code, out, err) = check(folder.path(), arguments);
        assert_eq!((code, &*err), (Some(0), ""), "{out}");
        assert!(out.contains("clients are pinged after 24s: two fifths of the 60s of aws_alb\n"), "{out}");
    }
}

#[tokio::test]
async fn the_start_and_each_reload_say_once_what_does_not_fit_the_path() {
    const WARNING: &str = "the 5s of `ping_interval: auto` is not below half of the 8s of `eager`";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.yaml");
    let keys = "via: [{ name: eager, idle: 8s }]\nroutes: [{ upstream: app }]";
    fs_err::write(&path, file(keys, "")).unwrap();
    let (mut process, _) = Process::serving(folder.path()).await;
    let derived = process.says("clients are pinged after 5s").await;
    assert_eq!((&derived["route"], &derived["level"]), (&"*/".into(), &"INFO".into()), "{derived}");
    process.says(WARNING).await;
    fs_err::write(&path, file(&keys.replace("eager, idle: 8s", "hasty, idle: 7s"), "")).unwrap();
    process.signal("HUP");
    process.says("reloaded").await;
    let messages = process.messages().await;
    let said = |words: &str| {
        let texts = messages.iter().filter_map(|message| message["message"].as_str());
        texts.filter(|text| text.contains(words)).count()
    };
    assert_eq!((said(WARNING), said("of the 7s of `hasty`")), (1, 1), "{messages:#?}");
    assert_eq!((said("of eager is 8s"), said("of hasty is 7s")), (1, 1), "{messages:#?}");
    let warned = messages.iter().find(|message| message["message"].as_str().is_some_and(|text| text.contains("hasty")));
    assert_eq!(warned.map(|message| &message["level"]), Some(&Value::from("WARN")), "{messages:#?}");
}

#[test]
fn a_warning_about_the_path_keeps_nothing_from_running() {
    let keys = "via: [{ name: eager, idle: 8s }]\nroutes: [{ upstream: app }]";
    let Loaded { config, warnings } = config::parse(&file(keys, ""), "proxy.yaml", Path::new("")).unwrap();
    assert_eq!(warnings.len(), 1, "{warnings}");
    let interval = config.routes.routes().next().unwrap().keepalive.ping_interval.client;
    assert_eq!(interval, Some(Duration::from_secs(5)));
}
