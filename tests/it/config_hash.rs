//! The hash by which instances are seen to run the same configuration, or not.

use std::{path::Path, process::Command};

use longwire::config::AdminBind;
use serde_json::Value;

use crate::harness::{Backend, Proxy, Setup, Wire};

/// What the admin interface answers.
async fn get(proxy: &Proxy, path: &str) -> String {
    let address = match proxy.control().admin_address() {
        Some(AdminBind::Tcp(address)) => address,
        other => panic!("no address: {other:?}"),
    };
    let mut wire = Wire::connect(address).await;
    wire.send(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n")).await;
    let response = wire.response().await;
    assert_eq!(response.status(), 200, "{}", response.text());
    response.text().to_owned()
}

/// The hash in the status. The only sample of the metric must have it too.
async fn hash_of(proxy: &Proxy) -> String {
    let status: Value = serde_json::from_str(&get(proxy, "/api/status").await).unwrap();
    let hash = status["config_hash"].as_str().unwrap().to_owned();
    let metrics = get(proxy, "/metrics").await;
    let samples: Vec<_> = metrics.lines().filter(|line| line.starts_with("longwire_config_info{")).collect();
    assert_eq!(samples, [format!("longwire_config_info{{hash=\"{hash}\"}} 1")]);
    hash
}

/// The hash that `longwire check` prints of a file.
fn checked(folder: &Path) -> String {
    let mut check = Command::new(env!("CARGO_BIN_EXE_longwire"));
    let output = check.args(["check", "-c", "proxy.yaml"]).current_dir(folder).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let last = said.lines().last().unwrap_or_default();
    last.strip_prefix("hash      ").unwrap_or_else(|| panic!("{said}")).to_owned()
}

fn before(backend: &Backend) -> Setup {
    Proxy::before(&[backend]).with("admin: { bind: \"127.0.0.1:0\" }").with("sticky_key_file: sticky.key")
}

#[tokio::test]
async fn instances_whose_files_mean_the_same_show_one_hash_and_a_reload_shows_another() {
    let backend = Backend::refusing();
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for folder in &folders {
        fs_err::write(folder.path().join("sticky.key"), format!("{}=\n", "A".repeat(43))).unwrap();
    }
    let routes = "routes: [ { upstream: chat, sticky_cookie: { } } ]";
    let one = before(&backend).routes(routes).timeout("connect", "3s");
    let other = before(&backend)
        .workers(1)
        .routes("routes: [ { 'sticky_cookie': { }, path: \"/\", upstream: chat } ] # the same")
        .timeout("connect", "3000 ms")
        .with("log: { level: debug }");
    let file = |place: usize| folders[place].path().join("proxy.yaml");
    let (first, second) = (one.clone().start_from(&file(0)), other.start_from(&file(1)));
    let hash = hash_of(&first).await;
    assert_eq!(hash_of(&second).await, hash);
    assert_eq!((checked(folders[0].path()), checked(folders[1].path())), (hash.clone(), hash.clone()));
    // Another limit is another configuration, and so is another key of cookies.
    fs_err::write(file(0), one.clone().with("limits: { sessions: 7 }").text()).unwrap();
    first.control().reload_from(&file(0)).unwrap();
    let limited = hash_of(&first).await;
    assert_ne!(limited, hash);
    assert_eq!(checked(folders[0].path()), limited);
    fs_err::write(file(0), one.text()).unwrap();
    first.control().reload_from(&file(0)).unwrap();
    assert_eq!(hash_of(&first).await, hash);
    fs_err::write(folders[0].path().join("sticky.key"), format!("{}=\n", "B".repeat(42) + "A")).unwrap();
    first.control().reload_from(&file(0)).unwrap();
    assert_ne!(hash_of(&first).await, hash);
    assert_eq!(hash_of(&first).await, checked(folders[0].path()));
    first.stop().await;
    second.stop().await;
}
