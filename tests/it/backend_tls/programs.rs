//! The program itself: whom the machine trusts, and what `check` and the start say of TLS to backends.

use std::{
    path::Path,
    process::{Command, Output},
};

use super::*;
use crate::harness::Process;

fn file(backend: &str, tls: &str) -> String {
    format!(
        "listeners: [ {{ bind: \"127.0.0.1:0\" }} ]\nroutes: [ {{ upstream: chat }} ]\nupstreams:\n  chat:\n    tls: {tls}\n    \
         backends: [ {{ address: \"{backend}\" }} ]\n"
    )
}

/// What `longwire check` says where the machine trusts the authorities of a file.
fn check(folder: &Path, trusted: &str) -> (Option<i32>, String) {
    let mut check = Command::new(env!("CARGO_BIN_EXE_longwire"));
    check
        .args(["check", "-c", "proxy.yaml"])
        .current_dir(folder)
        .env("SSL_CERT_FILE", trusted)
        .env_remove("SSL_CERT_DIR");
    let Output { status, stdout, stderr } = check.output().unwrap();
    (status.code(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

#[tokio::test]
async fn those_whom_the_machine_trusts_are_believed_unless_the_file_names_others() {
    let trusting = Trusting::new();
    let (backend, handshakes) = trusting.echo();
    trusting.write("proxy.yaml", &file(&backend.to_string(), "{ }"));
    let folder = trusting.folder.path();
    let (process, address) = Process::serving_with(folder, &[("SSL_CERT_FILE", folder.join("ca.pem"))]).await;
    let mut client = Wire::connect(address).await;
    client.upgrade("/ws").await;
    client.leave().await;
    assert_eq!(handshakes.kinds(), [Full]);
    process.stop().await;
    trusting.write("other.pem", Authority::new("nobody").pem());
    let (process, address) = Process::serving_with(folder, &[("SSL_CERT_FILE", folder.join("other.pem"))]).await;
    let mut client = Wire::connect(address).await;
    assert_eq!(client.refused_upgrade("/ws").await.status(), 502);
    process.stop().await;
}

#[tokio::test]
async fn insecure_is_said_at_each_start_and_reload() {
    let trusting = Trusting::new();
    let (backend, _) = trusting.echo();
    trusting.write("proxy.yaml", &file(&backend.to_string(), "{ insecure: true }"));
    let (mut process, _) = Process::serving(trusting.folder.path()).await;
    let words = "the certificates of its backends are not verified";
    assert_eq!(process.says(words).await["upstream"], "chat");
    process.signal("HUP");
    process.says("reloaded").await;
    let said = process.messages().await;
    let is_of_it = |message: &&Value| message["message"].as_str().is_some_and(|text| text.contains(words));
    assert_eq!(said.iter().filter(is_of_it).count(), 2, "{said:#?}");
}

#[test]
fn check_reads_every_file_and_says_what_is_believed() {
    let trusting = Trusting::new();
    let folder = trusting.folder.path();
    trusting.write("proxy.yaml", &file("chat.example.com:443", "{ }"));
    let (code, said) = check(folder, "ca.pem");
    assert!(code == Some(0) && said.contains("TLS believed by the system"), "{said}");
    let (code, said) = check(folder, "nowhere.pem");
    assert!(code != Some(0) && said.contains("cannot use this: system: "), "{said}");
    trusting.write("proxy.yaml", &file("chat.example.com:80", "{ insecure: true }"));
    let (code, said) = check(folder, "nowhere.pem");
    assert_eq!(code, Some(0), "{said}");
    for words in ["warning", "any server can pose", "to port 80", "TLS that believes every server"] {
        assert!(said.contains(words), "no {words:?} in {said}");
    }
}
