//! Backends that come and go without a reload.

mod names;

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use fs_err as fs;
use longwire::{
    config::AdminBind,
    net::{front::inherited::Inherited, operate::handover::Handover},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Semaphore;

use crate::{
    handover::take_over_as,
    harness::{
        Backend, Proxy, Setup, Wire,
        frames::{TEXT, masked, unmasked},
        handshake, within,
    },
};

/// A list of backends in a folder of its own.
struct List(TempDir);

impl List {
    fn of(backends: &[&Backend]) -> Self {
        let list = Self::missing();
        list.write(backends);
        list
    }

    fn missing() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("backends.yaml")
    }

    fn write(&self, backends: &[&Backend]) {
        let entries = backends.iter().map(|backend| json!({ "address": backend.to_string() }));
        fs::write(self.path(), Value::from_iter(entries).to_string()).unwrap();
    }

    /// A proxy whose only backends are those of the list.
    fn before(&self) -> Setup {
        Proxy::before(&[])
            .entry(&format!("file: \"{}\"", self.path().display()))
            .with("admin: { bind: \"127.0.0.1:0\" }")
    }
}

/// Status and body of what the admin interface says.
async fn ask(proxy: &Proxy, path: &str) -> (u16, String) {
    let Some(AdminBind::Tcp(address)) = proxy.control().admin_address() else { panic!("no admin interface") };
    let address: SocketAddr = address;
    let mut wire = Wire::connect(address).await;
    wire.send(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n")).await;
    let response = wire.response().await;
    (response.status(), response.text().to_owned())
}

/// The upstream `chat` as the admin interface shows it.
async fn chat(proxy: &Proxy) -> Value {
    let (status, body) = ask(proxy, "/api/upstreams").await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str::<Value>(&body).unwrap()["upstreams"][0].clone()
}

/// Waits until the upstream is as `is` wants it, and returns what the admin interface then shows.
async fn until(proxy: &Proxy, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    within(what, async {
        loop {
            let chat = chat(proxy).await;
            if is(&chat) {
                return chat;
            }
        }
    })
    .await
}

fn addresses(chat: &Value) -> Vec<&str> {
    chat["backends"].as_array().unwrap().iter().map(|backend| backend["address"].as_str().unwrap()).collect()
}

/// Waits until exactly these are the backends.
async fn has(proxy: &Proxy, backends: &[&Backend]) -> Value {
    let expected: Vec<_> = backends.iter().map(ToString::to_string).collect();
    until(proxy, "the backends", |chat| addresses(chat) == expected).await
}

/// A new session, and the backend that has it.
async fn session(proxy: &Proxy) -> (Wire, String) {
    let mut client = proxy.client().await;
    client.send(handshake("/ws", "")).await;
    let backend = client.upgraded().await.header("x-backend").expect("an echo backend").to_owned();
    (client, backend)
}

async fn echoes(client: &mut Wire) {
    client.send(masked(TEXT, "still here")).await;
    client.expect(unmasked(TEXT, "still here")).await;
}

#[tokio::test]
async fn sessions_live_while_backends_come_and_go() {
    let backends: Vec<_> = (0..6).map(|_| Backend::echo()).collect();
    let backends: Vec<_> = backends.iter().collect();
    let list = List::of(&backends[..1]);
    let mut proxy = list.before().start();
    let mut clients = Vec::new();
    for _ in 0..20 {
        let (client, backend) = session(&proxy).await;
        assert_eq!(backend, backends[0].to_string());
        clients.push(client);
    }
    for now in [&backends[..], &backends[3..5]] {
        list.write(now);
        has(&proxy, now).await;
        let mut new: Vec<String> = Vec::new();
        for _ in now {
            let (client, backend) = session(&proxy).await;
            clients.push(client);
            new.push(backend);
        }
        // By turns, each has one.
        new.sort();
        let mut expected: Vec<_> = now.iter().map(ToString::to_string).collect();
        expected.sort();
        assert_eq!(new, expected);
        for client in &mut clients {
            echoes(client).await;
        }
    }
    let count = clients.len();
    for client in clients {
        client.leave().await;
    }
    let records = proxy_records(&mut proxy, count).await;
    assert!(records.iter().all(|record| record["cause"] == "client_close"), "{records:?}");
    proxy.stop().await;
}

async fn proxy_records(proxy: &mut Proxy, count: usize) -> Vec<Value> {
    let mut records = Vec::new();
    for _ in 0..count {
        records.push(proxy.next_record().await);
    }
    records
}

#[tokio::test]
async fn a_backend_that_is_gone_from_the_list_lets_its_sessions_go_if_the_file_says_so() {
    let (stays, goes) = (Backend::echo(), Backend::echo());
    let list = List::of(&[&goes]);
    let mut proxy = list.before().with("drain: { spread: 0s, on_removed: close }").start();
    let (mut client, _) = session(&proxy).await;
    list.write(&[&stays]);
    client.expect_close_code(1012).await;
    client.finish().await;
    assert_eq!(proxy.next_record().await["cause"], "removed");
    // It comes back: no order of before holds for a new session.
    list.write(&[&goes]);
    has(&proxy, &[&goes]).await;
    let (mut client, backend) = session(&proxy).await;
    assert_eq!(backend, goes.to_string());
    echoes(&mut client).await;
    client.leave().await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_new_backend_gets_traffic_only_after_its_first_check() {
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let new = Backend::script(move |mut wire, head| {
        let gate = Arc::clone(&held);
        async move {
            if head.header("user-agent") == Some("longwire-check") {
                // An error: the gate is open.
                let _ = gate.acquire().await;
            }
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
            wire.whatever_comes().await;
        }
    });
    let old = Backend::echo();
    let list = List::of(&[&old]);
    let check = "health_check: { kind: http, interval: 20ms, jitter: 0s, timeout: 60s, rise: 3, fall: 3 }";
    let proxy = list.before().upstream(&format!("balance: round_robin, {check}")).start();
    let is = |place: usize, health: &'static str| move |chat: &Value| chat["backends"][place]["health"] == health;
    until(&proxy, "the first check of the first backend", is(0, "up")).await;
    list.write(&[&old, &new]);
    until(&proxy, "the new backend", is(1, "unchecked")).await;
    let of_clients = |backend: &Backend| {
        backend.heads().iter().filter(|head| head.header("user-agent") != Some("longwire-check")).count()
    };
    for _ in 0..5 {
        assert_eq!(proxy.client().await.get("/", "connection: close\r\n").await.status(), 200);
    }
    assert_eq!((of_clients(&old), of_clients(&new)), (5, 0));
    gate.close();
    // One check is enough, though `rise` is 3.
    until(&proxy, "the check", is(1, "up")).await;
    for _ in 0..4 {
        assert_eq!(proxy.client().await.get("/", "connection: close\r\n").await.status(), 200);
    }
    assert_eq!(of_clients(&new), 2);
    proxy.stop().await;
}

#[tokio::test]
async fn where_no_backend_is_checked_yet_all_are_tried() {
    let gate = Arc::new(Semaphore::new(0));
    let backend = Backend::script(move |mut wire, head| {
        let gate = Arc::clone(&gate);
        async move {
            if head.header("user-agent") == Some("longwire-check") {
                let _ = gate.acquire().await;
            }
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
            wire.whatever_comes().await;
        }
    });
    let list = List::of(&[&backend]);
    let check = "health_check: { kind: http, interval: 20ms, timeout: 60s }";
    let proxy = list.before().upstream(&format!("balance: round_robin, {check}")).start();
    assert_eq!(chat(&proxy).await["backends"][0]["health"], "unchecked");
    assert_eq!(proxy.client().await.get("/", "connection: close\r\n").await.status(), 200);
    // The check is still held at the backend.
    drop(proxy);
}

#[tokio::test]
async fn without_a_list_it_starts_unready_and_serves_once_the_list_comes() {
    let backend = Backend::echo();
    let list = List::missing();
    let mut proxy = list.before().start();
    assert_eq!(ask(&proxy, "/readyz").await, (503, "no backend is known\n".into()));
    assert_eq!(ask(&proxy, "/readyz?upstream=chat").await.0, 503);
    assert_eq!(ask(&proxy, "/readyz?upstream=other").await.0, 404);
    assert_eq!(proxy.client().await.refused_upgrade("/ws").await.status(), 503);
    assert_eq!(proxy.next_record().await["cause"], "no_backend");
    let shown = chat(&proxy).await;
    let place = &shown["places"][0];
    assert_eq!((&place["kind"], place["backends"].is_null()), (&"file".into(), true), "{shown}");
    assert!(place["failure"].as_str().unwrap().contains("cannot read the file"), "{shown}");
    assert_eq!(shown["takes_new"], false, "{shown}");
    list.write(&[&backend]);
    let shown = has(&proxy, &[&backend]).await;
    assert_eq!(shown["backends"][0]["found"], json!({ "by": "file", "from": list.path() }), "{shown}");
    assert_eq!(shown["places"], json!([{ "kind": "file", "name": list.path(), "backends": 1, "stale_ms": 0 }]));
    assert_eq!(ask(&proxy, "/readyz?upstream=chat").await, (200, "ready\n".into()));
    let (client, _) = session(&proxy).await;
    client.leave().await;
    // An empty list is a list.
    list.write(&[]);
    has(&proxy, &[]).await;
    assert_eq!(ask(&proxy, "/readyz").await.0, 503);
    let metrics = ask(&proxy, "/metrics").await.1;
    assert!(!metrics.contains(&format!("backend=\"{backend}\"")), "{metrics}");
    proxy.stop().await;
}

#[tokio::test]
async fn one_upstream_without_a_backend_does_not_take_the_others_out_of_service() {
    let backend = Backend::echo();
    let setup = Proxy::before(&[&backend]).upstream("balance: round_robin").with("admin: { bind: \"127.0.0.1:0\" }");
    let text = setup
        .text()
        .replace("upstreams:\n", "upstreams:\n  late: { backends: [ { file: /nowhere/backends.yaml } ] }\n");
    let config = longwire::config::parse(&text, "proxy.yaml", std::path::Path::new(".")).unwrap().config;
    let proxy = Proxy::of(config);
    assert_eq!(ask(&proxy, "/readyz").await.0, 200);
    assert_eq!(ask(&proxy, "/readyz?upstream=chat").await.0, 200);
    assert_eq!(ask(&proxy, "/readyz?upstream=late").await.0, 503);
    proxy.stop().await;
}

#[tokio::test]
async fn a_list_with_a_mistake_keeps_the_backends_and_says_where_it_is_wrong() {
    let (first, second) = (Backend::echo(), Backend::echo());
    let list = List::of(&[&first]);
    let proxy = list.before().start();
    let is_at = |place: &'static str| {
        move |chat: &Value| chat["places"][0]["failure"].as_str().is_some_and(|failure| failure.contains(place))
    };
    for (broken, place) in [
        ("- address: 127.0.0.1:9\n- adress: 127.0.0.1:8\n", "backends.yaml:2:3: unknown key `adress`"),
        ("", "backends.yaml:1:1: the file is empty"),
        ("- { address: 127.0.0.1 }\n", "backends.yaml:1:14: "),
        ("null\n", "backends.yaml:1:1: the file is empty"),
    ] {
        fs::write(list.path(), broken).unwrap();
        let shown = until(&proxy, place, is_at(place)).await;
        assert_eq!(addresses(&shown), [first.to_string()], "{shown}");
        let age = shown["places"][0]["stale_ms"].as_u64().unwrap();
        until(&proxy, "a greater age", |chat| chat["places"][0]["stale_ms"].as_u64().unwrap() > age).await;
    }
    list.write(&[&first, &second]);
    let shown = has(&proxy, &[&first, &second]).await;
    assert!(shown["places"][0]["failure"].is_null(), "{shown}");
    proxy.stop().await;
}

#[tokio::test]
async fn a_config_map_of_kubernetes_is_followed_through_its_links() {
    let (first, second) = (Backend::echo(), Backend::echo());
    let list = List::missing();
    let at = |name: &str| list.0.path().join(name);
    let version = |folder: &str, backend: &Backend| {
        fs::create_dir(at(folder)).unwrap();
        fs::write(at(folder).join("backends.yaml"), format!("- address: {backend}\n")).unwrap();
    };
    version("..one", &first);
    fs::os::unix::fs::symlink("..one", at("..data")).unwrap();
    fs::os::unix::fs::symlink("..data/backends.yaml", at("backends.yaml")).unwrap();
    let proxy = list.before().start();
    has(&proxy, &[&first]).await;
    version("..two", &second);
    fs::os::unix::fs::symlink("..two", at("..data_tmp")).unwrap();
    fs::rename(at("..data_tmp"), at("..data")).unwrap();
    fs::remove_dir_all(at("..one")).unwrap();
    has(&proxy, &[&second]).await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_reload_keeps_what_was_found_and_a_new_place_is_known_at_once() {
    let (first, second) = (Backend::echo(), Backend::echo());
    let (list, other) = (List::of(&[&first]), List::of(&[&second]));
    let mut proxy = list.before().start();
    let (mut client, _) = session(&proxy).await;
    // The list is gone, but what was found there stays known.
    fs::remove_file(list.path()).unwrap();
    until(&proxy, "the loss of the list", |chat| chat["places"][0]["failure"].is_string()).await;
    proxy.reload(&list.before().upstream("balance: least_conn"));
    let shown = chat(&proxy).await;
    assert_eq!(
        (addresses(&shown), &shown["backends"][0]["sessions"]),
        (vec![&*first.to_string()], &1.into()),
        "{shown}"
    );
    // A reload reads a list that is known, too; one with a mistake changes nothing.
    fs::write(list.path(), format!("- address: {second}\n- adress: {first}\n")).unwrap();
    proxy.reload(&list.before());
    let shown = chat(&proxy).await;
    assert_eq!(addresses(&shown), [first.to_string()]);
    assert!(shown["places"][0]["failure"].as_str().unwrap().contains("backends.yaml:2:3: "), "{shown}");
    list.write(&[&first, &second]);
    proxy.reload(&list.before());
    assert_eq!(addresses(&chat(&proxy).await), [first.to_string(), second.to_string()]);
    let reloaded = proxy.reload(&other.before());
    assert_eq!(reloaded.upstreams_changed, ["chat"], "{reloaded:?}");
    assert_eq!(addresses(&chat(&proxy).await), [second.to_string()]);
    assert_eq!(session(&proxy).await.1, second.to_string());
    echoes(&mut client).await;
    client.leave().await;
    proxy.stop().await;
}

#[tokio::test]
async fn two_proxies_with_lists_in_another_order_choose_alike() {
    let backends: Vec<_> = (0..5).map(|_| Backend::echo()).collect();
    let forward: Vec<_> = backends.iter().collect();
    let backward: Vec<_> = backends.iter().rev().collect();
    let lists = [List::of(&forward), List::of(&backward)];
    let setup = |list: &List| list.before().upstream("balance: ip_hash").with("trusted_proxies: [127.0.0.1]").start();
    let proxies = lists.each_ref().map(setup);
    choose_alike_among_five(proxies).await;
}

/// Ends the proxies when each client has got the same backend from both, and each of five backends has clients.
async fn choose_alike_among_five(proxies: [Proxy; 2]) {
    let mut chosen = std::collections::BTreeSet::new();
    for client in 0..200 {
        let mut choices = Vec::new();
        for proxy in &proxies {
            let response = proxy.client().await.get("/", &format!("x-forwarded-for: 192.0.2.{client}\r\n")).await;
            choices.push(response.head.header("x-backend").unwrap().to_owned());
        }
        assert_eq!(choices[0], choices[1], "client {client}");
        chosen.extend(choices);
    }
    assert_eq!(chosen.len(), 5, "each has clients");
    for proxy in proxies {
        proxy.stop().await;
    }
}

#[tokio::test]
async fn how_stale_a_list_is_stands_in_the_metrics() {
    let backend = Backend::echo();
    let list = List::of(&[&backend]);
    let proxy = list.before().start();
    let sample = format!("longwire_discovery_stale_seconds{{kind=\"file\",name=\"{}\"}} ", list.path().display());
    let stale = async || {
        let metrics = ask(&proxy, "/metrics").await.1;
        let line = metrics.lines().find_map(|line| line.strip_prefix(&sample));
        line.unwrap_or_else(|| panic!("{metrics}")).parse::<u64>().unwrap()
    };
    assert_eq!(stale().await, 0);
    fs::write(list.path(), "").unwrap();
    within("the age", async { while stale().await == 0 {} }).await;
    list.write(&[&backend]);
    within("the end of the age", async { while stale().await > 0 {} }).await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_successor_has_the_backends_of_the_list_before_it_accepts() {
    let backend = Backend::echo();
    let list = List::of(&[&backend]);
    let path = list.0.path().join("longwire.sock");
    let mut old = list.before().start();
    let (client, _) = session(&old).await;
    let handover = Handover::bind(&path, &mut Inherited::default()).unwrap();
    let setup = list.before().listener(&format!("bind: \"{}\"", old.address()));
    let new = take_over_as(setup, &old, handover, &path).await;
    assert_eq!(Wire::connect(new.address()).await.get("/", "").await.status(), 200);
    assert_eq!(addresses(&chat(&new).await), [backend.to_string()]);
    client.leave().await;
    old.drain().await;
    old.stop().await;
    new.stop().await;
}
