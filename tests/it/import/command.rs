//! The command itself: its streams, its exit codes, the files that it reads and writes.

use std::{
    path::Path,
    process::{Command, Output},
};

use fs_err as fs;
use serde_json::Value;

/// Runs `longwire import` in a folder.
fn import(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_longwire")).current_dir(folder).arg("import").args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

const CHAT: &str =
    "server {\n  location / {\n    proxy_pass http://127.0.0.1:3000;\n    proxy_http_version 1.1;\n  }\n}\n";

#[test]
fn the_new_file_goes_to_standard_output_and_the_remarks_to_standard_error() {
    let folder = folder(&[("nginx.conf", CHAT)]);
    let done = import(folder.path(), &["nginx.conf"]);
    assert_eq!(done.status.code(), Some(0));
    assert!(text(&done.stdout).contains("  - address: 127.0.0.1:3000\n"), "{done:?}");
    assert!(text(&done.stderr).starts_with("nginx.conf:2: error: location /: Upgrade is not passed on"), "{done:?}");
    assert_eq!(done.stdout, import(folder.path(), &["nginx.conf"]).stdout, "the same each time");
}

#[test]
fn a_report_says_what_is_wrong_and_nothing_else() {
    let folder = folder(&[("nginx.conf", CHAT)]);
    let done = import(folder.path(), &["--report", "--json", "nginx.conf"]);
    assert_eq!((done.status.code(), text(&done.stderr)), (Some(0), String::new()));
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    let report = report.as_array().unwrap();
    assert_eq!(report.len(), 4, "{report:#?}");
    for remark in report {
        let keys: Vec<_> = remark.as_object().unwrap().keys().collect();
        assert_eq!(keys.len(), 5, "{keys:?}");
        assert_eq!((&remark["file"], &remark["line"]), (&"nginx.conf".into(), &2.into()));
        assert!(["error", "warning", "note"].contains(&remark["severity"].as_str().unwrap()));
        assert!(remark["text"].is_string() && remark["directive"].is_string());
    }
    let done = import(folder.path(), &["--report", "nginx.conf"]);
    assert_eq!(text(&done.stdout).lines().count(), 4);
    assert!(text(&done.stdout).lines().all(|line| line.starts_with("nginx.conf:2: ")));
}

#[test]
fn a_file_that_is_there_is_never_written_over() {
    let folder = folder(&[("nginx.conf", CHAT), ("proxy.yaml", "mine")]);
    let done = import(folder.path(), &["nginx.conf", "-o", "proxy.yaml"]);
    assert_eq!((done.status.code(), text(&done.stdout)), (Some(1), String::new()));
    assert!(text(&done.stderr).contains("cannot write proxy.yaml"), "{done:?}");
    assert_eq!(fs::read_to_string(folder.path().join("proxy.yaml")).unwrap(), "mine");
    let done = import(folder.path(), &["nginx.conf", "-o", "new.yaml"]);
    assert_eq!((done.status.code(), text(&done.stdout)), (Some(0), String::new()));
    let checked = Command::new(env!("CARGO_BIN_EXE_longwire"))
        .args(["check", "-c"])
        .arg(folder.path().join("new.yaml"))
        .output()
        .unwrap();
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
}

#[test]
fn what_cannot_be_read_as_a_configuration_ends_with_one_and_its_place() {
    for (files, message) in [
        (&[("a", "server {\n  listen 80;\n")][..], "a:1: error: this block is not closed"),
        (&[("a", "server {\n  listen 80\n}\n")], "a:2: error: `listen` has no `;`"),
        (&[("a", "events {}\n}\n")], "a:2: error: `}` closes no block"),
        (&[("a", "http {\n  log_format x 'abc;\n}\n")], "a:2: error: a quote is not closed"),
        (
            &[("a", "server { location / { proxy_pass http://a\n  proxy_http_version 1.1; } }")],
            "a:1: error: `proxy_pass` has 3 arguments",
        ),
        (&[("a", "server {\n  location /;\n}")], "a:2: error: `location` needs a block"),
        (&[("a", "events {}\ninclude no.conf;\n")], "a:2: error: cannot read no.conf: there is no such file"),
        (&[("a", "events {}\ninclude b;\n"), ("b", "\n\ninclude a;\n")], "b:3: error: a includes itself"),
        (&[("a", "include a;\n")], "a:1: error: a includes itself"),
        (&[("a", "global\n  x\nfrontend f\n  acl a path \"/b\n")], "a:4: error: a quote is not closed"),
        (&[("a", "mode http\nfrontend f\n  bind :80\n")], "a:1: error: `mode` stands outside of a section"),
        (&[], "longwire: cannot read a: "),
    ] {
        let folder = folder(files);
        for args in [&["a"][..], &["--report", "--json", "a"]] {
            let done = import(folder.path(), args);
            assert_eq!((done.status.code(), text(&done.stdout)), (Some(1), String::new()), "{message}");
            assert!(text(&done.stderr).starts_with(message), "{message}: {done:?}");
        }
    }
}

#[test]
fn wrong_usage_ends_with_two() {
    let folder = folder(&[("a", CHAT)]);
    for args in [&[][..], &["--json", "a"], &["--from", "caddy", "a"], &["--report", "-o", "b", "a"], &["a", "b"]] {
        assert_eq!(import(folder.path(), args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn includes_are_found_from_the_folder_of_the_file_or_above_it_and_sorted() {
    let server =
        |port: u16| format!("server {{ listen {port}; location / {{ proxy_pass http://127.0.0.1:{port}0; }} }}\n");
    let (one, two, hidden) = (server(81), server(82), server(83));
    let folder = folder(&[
        ("etc/nginx.conf", "http { include sites/*.conf; include none/*.conf; }"),
        ("etc/sites/2.conf", &two),
        ("etc/sites/1.conf", &one),
        ("etc/sites/.3.conf", &hidden),
        ("etc/sites/part", "server { include snippets/ws; }"),
        ("etc/snippets/ws", "location / { proxy_pass http://127.0.0.1:3000; }"),
    ]);
    let done = import(folder.path(), &["--report", "--json", "etc/nginx.conf"]);
    let report: Vec<Value> = serde_json::from_slice(&done.stdout).unwrap();
    let mut files: Vec<_> = report.iter().map(|remark| remark["file"].as_str().unwrap()).collect();
    files.dedup();
    assert_eq!(files, ["sites/1.conf", "sites/2.conf"]);
    let done = import(folder.path(), &["etc/sites/part"]);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert!(text(&done.stdout).contains("address: 127.0.0.1:3000"), "{done:?}");
}

#[test]
fn the_language_is_told_by_the_content_or_by_the_command_line() {
    let haproxy = "defaults\n  mode http\nfrontend f # {\n  bind :80\n  default_backend b\nbackend b\n  server s 127.0.0.1:3000\n";
    let folder = folder(&[("a", haproxy), ("b", "listen 80;\nlocation / { proxy_pass http://127.0.0.1:3000; }\n")]);
    for (args, original) in [(&["a"][..], "(HAProxy)"), (&["b"], "(nginx)"), (&["--from", "haproxy", "a"], "(HAProxy)")]
    {
        let done = import(folder.path(), args);
        assert_eq!(done.status.code(), Some(0), "{done:?}");
        let written = text(&done.stdout);
        assert!(written.contains(original) && written.contains("address: 127.0.0.1:3000"), "{written}");
    }
    assert_eq!(import(folder.path(), &["--from", "nginx", "a"]).status.code(), Some(1));
}

#[test]
fn the_certificates_of_both_are_read_where_they_are() {
    let made = rcgen::generate_simple_self_signed(["chat.example.com".to_owned()]).unwrap();
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let both = format!("{cert}{key}");
    let nginx = "http { ssl_certificate site.crt; ssl_certificate_key site.key;\n\
                 server { listen 443 ssl; location / { proxy_pass http://127.0.0.1:3000; } } }";
    let haproxy = "frontend f\n  bind :443 ssl crt both/\n  default_backend b\nbackend b\n  server s 127.0.0.1:3000\n";
    let folder = folder(&[
        ("nginx.conf", nginx),
        ("site.crt", &cert),
        ("site.key", &key),
        ("haproxy.cfg", haproxy),
        ("both/site.pem", &both),
        ("out/keep", ""),
    ]);
    for original in ["nginx.conf", "haproxy.cfg"] {
        // From another folder, relative paths would mean other files.
        let output = format!("out/{original}.yaml");
        for output in [output.as_str(), "here.yaml"] {
            let done = import(folder.path(), &[original, "-o", output]);
            assert_eq!(done.status.code(), Some(0), "{done:?}");
            let checked = Command::new(env!("CARGO_BIN_EXE_longwire"))
                .current_dir(folder.path())
                .args(["check", "-c", output])
                .output()
                .unwrap();
            assert_eq!(checked.status.code(), Some(0), "{original}: {checked:?}");
        }
        fs::remove_file(folder.path().join("here.yaml")).unwrap();
    }
}
