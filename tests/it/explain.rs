//! `longwire explain`: what it finds in records, and what it prints.

mod mixture;
mod score;

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use flate2::{Compression, write::GzEncoder};
use serde_json::Value;

use self::score::Score;

/// Runs `longwire explain`.
fn explain(arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longwire"));
    command.arg("explain").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that does not read its input closes the pipe.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// Sessions that ended well, and as many that were lost after 47 s of silence.
fn lost_after_47_s(count: u32) -> String {
    let line = |number: u32| {
        let (age, part) = (60.0 + f64::from(number * 7919 % 1000), f64::from(number % 10) / 100.0);
        let common = format!(
            r#""time":"2026-01-02T03:{:02}:{:02}Z","kind":"session","client":"192.0.2.{number}","route":"*/ws/","status":101,"duration_ms":{}"#,
            number % 60,
            number * 7 % 60,
            age * 1000.0
        );
        let silence = (47.0 + part) * 1000.0;
        format!(
            "{{{common},\"cause\":\"client_close\",\"how\":\"close\"}}\n{{{common},\"cause\":\"client_lost\",\"how\":\"fin\",\
             \"silence_from_client_ms\":{silence},\"silence_to_client_ms\":{silence}}}\n"
        )
    };
    (0..count).map(line).collect()
}

fn file(folder: &Path, name: &str, bytes: &[u8]) -> String {
    let path = folder.join(name);
    fs_err::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn what_ends_sessions_in_simulated_logs_is_found_and_nothing_else() {
    let mut score = Score::default();
    for seed in 0..16 {
        score.add(seed, &mixture::mixture(seed, 2500));
    }
    assert!(score.precision() >= 0.95 && score.recall() >= 0.95 && score.truths >= 15, "{score}");
}

#[test]
fn a_file_a_packed_file_and_standard_input_say_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let text = lost_after_47_s(30) + "no record\n";
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(text.as_bytes()).unwrap();
    let plain = file(folder.path(), "access.log", text.as_bytes());
    let packed = file(folder.path(), "access.log.1.gz", &packer.finish().unwrap());
    let first = explain(&["--json", &plain], b"");
    let account = json(&first);
    assert_eq!((first.status.code(), &account["records"], &account["skipped"]), (Some(1), &60.into(), &1.into()));
    assert_eq!(account["ended"], serde_json::json!({ "by_close": 30, "dropped": 30, "ours": 0 }));
    let [finding] = &account["findings"].as_array().unwrap()[..] else { panic!("{account}") };
    for (field, value) in [
        ("kind", Value::from("idle_limit")),
        ("side", "client".into()),
        ("cases", 30.into()),
        ("share", 1.0.into()),
        ("key", "keepalive.ping_interval".into()),
        ("value", "18s".into()),
    ] {
        assert_eq!(finding[field], value, "{field} in {finding}");
    }
    assert!((finding["seconds"].as_f64().unwrap() - 47.0).abs() < 0.2, "{finding}");
    for (arguments, input) in
        [(&["--json", &packed][..], &b""[..]), (&["--json", "-"], text.as_bytes()), (&["--json"], text.as_bytes())]
    {
        assert_eq!(json(&explain(arguments, input)), account, "{arguments:?}");
    }
}

#[test]
fn people_read_the_finding_its_key_and_a_histogram_without_colours_in_a_pipe() {
    let output = explain(&[], lost_after_47_s(30).as_bytes());
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "60 records, 60 sessions: 50.0 % ended by a Close, 50.0 % were dropped",
        "1. a limit of silence, client side, 47",
        "keepalive.ping_interval: 18s",
        "█",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    assert!(!text.contains('\x1b'), "{text}");
}

#[test]
fn each_key_that_advice_names_is_one_of_the_file() {
    const SECTIONS: [&str; 8] =
        ["drain.", "keepalive.", "limits.", "listeners[]", "routes[]", "tcp.", "timeouts.", "upstreams."];
    let sources = [include_str!("../../src/explain/advice.rs"), include_str!("../../src/explain/advice/refusals.rs")];
    let literals = sources.iter().flat_map(|source| source.split('"').skip(1).step_by(2));
    let is_key = |word: &&str| !word.contains('{') && SECTIONS.iter().any(|section| word.starts_with(section));
    let keys: Vec<_> = literals.filter(is_key).collect();
    assert!(keys.len() >= 20, "{keys:?}");
    for key in keys {
        let is_key = |key: &str| longwire::config::explain(key).is_ok();
        assert!(is_key(key), "{key}");
        assert!(!key.starts_with("keepalive.") || is_key(&format!("routes[].{key}")), "routes[].{key}");
    }
}

#[test]
fn the_exit_code_says_whether_something_was_found_and_2_that_a_file_cannot_be_read() {
    let nothing = explain(&["--json"], lost_after_47_s(7).as_bytes());
    assert_eq!((nothing.status.code(), &json(&nothing)["findings"]), (Some(0), &serde_json::json!([])));
    let other_route = explain(&["--json", "--route", "*/other/"], lost_after_47_s(30).as_bytes());
    assert_eq!((other_route.status.code(), &json(&other_route)["records"]), (Some(0), &0.into()));
    let since = explain(&["--json", "--since", "1h"], lost_after_47_s(30).as_bytes());
    assert_eq!((since.status.code(), &json(&since)["records"]), (Some(0), &0.into()));
    let missing = explain(&["nowhere.log"], b"");
    let said = String::from_utf8(missing.stderr).unwrap();
    assert_eq!(missing.status.code(), Some(2), "{said}");
    assert!(said.starts_with("longwire: cannot read nowhere.log: No such file"), "{said}");
}
