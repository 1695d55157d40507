//! Limits that hold for several proxies together (`fleet`): what is refused, who decides without Valkey, and what an operator sees.

mod ends;
pub mod server;

use std::collections::BTreeMap;

use longwire::config;
use serde_json::{Value, json};

use self::server::{PASSWORD, Valkey};
use crate::{
    explained::{ask, get},
    harness::{
        Backend, Proxy, Setup, Wire,
        frames::{TEXT, masked, unmasked},
        handshake,
        library::Library,
        within,
    },
};

/// A proxy in front of a backend, with these keys of `limits`.
fn before(backend: &Backend, limits: &str) -> Setup {
    Proxy::before(&[backend])
        .with("admin: { bind: \"127.0.0.1:0\" }")
        .with("trusted_proxies: [ 127.0.0.0/8 ]")
        .with(&format!("limits: {{ {limits} }}"))
}

/// The same, sharing its limits with others. `keys`: further ones of `fleet`. The patience is long, so that a machine that stands still
/// loses no answer.
fn sharing(backend: &Backend, limits: &str, valkey: &Valkey, keys: &str) -> Setup {
    let url = valkey.url();
    let patience = if keys.contains("timeout:") { "" } else { ", timeout: 3s" };
    before(backend, limits).with(&format!("fleet: {{ valkey: \"{url}\", lease: 9s{patience}{keys} }}"))
}

/// So many proxies of one fleet, each of which knows all others.
async fn fleet(setup: &Setup, count: usize) -> Vec<Proxy> {
    let proxies: Vec<_> = (0..count).map(|_| setup.clone().start()).collect();
    for proxy in &proxies {
        until(proxy, "connected", |fleet| fleet["connected"] == true).await;
    }
    proxies
}

/// Waits until `fleet` of the status is so.
async fn until(proxy: &Proxy, what: &str, is_so: impl Fn(&Value) -> bool) {
    within(what, async { while !is_so(&get(proxy, "/api/status").await["fleet"]) {} }).await;
}

/// Ends all, and returns the records of each. They have one backend, which ends when all its connections have.
async fn stop(mut proxies: Vec<Proxy>) -> Vec<Vec<Value>> {
    for proxy in &mut proxies {
        proxy.drain().await;
    }
    let mut records = Vec::new();
    for proxy in proxies {
        records.push(proxy.stop().await);
    }
    records
}

async fn from(proxy: &Proxy, last: u8) -> Result<Wire, u16> {
    let mut client = proxy.client().await;
    client.send(handshake("/ws", &format!("X-Forwarded-For: 192.0.2.{last}\r\n"))).await;
    match client.head().await.status() {
        101 => Ok(client),
        status => Err(status),
    }
}

/// Waits until a session of this client is let in: what is given back comes to the server a moment later.
async fn at_last(proxy: &Proxy, last: u8) -> Wire {
    within("room", async {
        loop {
            if let Ok(session) = from(proxy, last).await {
                return session;
            }
        }
    })
    .await
}

/// Who has decided, and how often.
async fn decisions(proxy: &Proxy) -> BTreeMap<String, u64> {
    let metrics = ask(proxy, "GET", "/metrics").await;
    let of = |line: &str| {
        let (by, count) = line.strip_prefix("longwire_fleet_decisions_total{by=\"")?.split_once("\"} ")?;
        Some((by.to_owned(), count.parse().unwrap()))
    };
    metrics.lines().filter_map(of).collect()
}

/// How many handshakes have waited for the server.
async fn waits(proxy: &Proxy) -> u64 {
    let metrics = ask(proxy, "GET", "/metrics").await;
    let count = metrics.lines().find_map(|line| line.strip_prefix("longwire_fleet_seconds_count "));
    count.expect("the histogram").parse().unwrap()
}

#[tokio::test]
async fn a_client_has_its_sessions_at_all_proxies_together() {
    let (backend, valkey) = (Backend::echo(), Valkey::start().await);
    let proxies = fleet(&sharing(&backend, "sessions_per_client: 2", &valkey, ""), 2).await;
    let [one, other] = &proxies[..] else { unreachable!() };
    let first = from(one, 1).await.unwrap();
    let _second = from(other, 1).await.unwrap();
    assert_eq!((from(one, 1).await.err(), from(other, 1).await.err()), (Some(429), Some(429)));
    let _somebody_else = from(one, 2).await.unwrap();
    first.leave().await;
    let _third = at_last(other, 1).await;
    assert_eq!(from(one, 1).await.err(), Some(429));
    valkey.until("all counts", |sums| (sums.of("*"), sums.of("192.0.2.1")) == (3, 2)).await;
    assert_eq!(decisions(one).await.keys().collect::<Vec<_>>(), ["valkey"]);
    for records in stop(proxies).await {
        assert!(records.iter().any(|record| record["cause"] == "sessions_per_client"), "{records:?}");
    }
    valkey.until("nobody", |sums| sums.living() == 0).await;
}

#[tokio::test]
async fn of_handshakes_that_come_at_once_exactly_as_many_pass_as_all_proxies_have_room_for() {
    let (backend, valkey) = (Backend::echo(), Valkey::start().await);
    let proxies = fleet(&sharing(&backend, "sessions: 7", &valkey, ""), 2).await;
    let all = (0..40).map(|number| from(&proxies[number % 2], 1));
    let all = futures_util::future::join_all(all).await;
    assert_eq!(all.iter().filter(|session| session.is_ok()).count(), 7);
    assert!(all.iter().all(|session| session.as_ref().err().is_none_or(|status| *status == 503)));
    // Addresses are nobody's business where only the sum is limited.
    valkey.until("the sum", |sums| (sums.of("*"), sums.of("192.0.2.1")) == (7, 0)).await;
    drop(all);
    stop(proxies).await;
}

#[tokio::test]
async fn without_valkey_each_proxy_has_its_share_of_those_that_were_known() {
    let (backend, valkey) = (Backend::echo(), Valkey::start().await);
    let proxies = fleet(&sharing(&backend, "sessions: 5, sessions_per_client: 100", &valkey, ""), 2).await;
    until(&proxies[0], "both", |fleet| fleet["living"] == 2).await;
    valkey.go_away();
    until(&proxies[0], "the loss", |fleet| fleet["connected"] == false && fleet["failure"].is_string()).await;
    let asked = waits(&proxies[0]).await;
    let all = futures_util::future::join_all((0..20).map(|_| from(&proxies[0], 1))).await;
    let (open, refused): (Vec<_>, Vec<_>) = all.into_iter().partition(Result::is_ok);
    assert_eq!((open.len(), refused.len()), (3, 17), "the half of five, rounded up");
    assert_eq!(decisions(&proxies[0]).await, BTreeMap::from([("share".to_owned(), 20)]));
    // Nobody waits for a server that is known to be away.
    assert_eq!(waits(&proxies[0]).await, asked);
    // Those that were let in are counted as soon as somebody counts.
    valkey.come_back();
    valkey.until("the three", |sums| sums.of("*") == 3).await;
    drop(open);
    stop(proxies).await;
}

#[tokio::test]
async fn open_lets_in_up_to_the_numbers_of_each_proxy_and_deny_lets_nobody_in() {
    let (backend, valkey) = (Backend::echo(), Valkey::start().await);
    valkey.go_away();
    let open = sharing(&backend, "sessions: 3", &valkey, ", on_loss: open").start();
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(from(&open, 1).await.unwrap());
    }
    assert_eq!(from(&open, 1).await.err(), Some(503));
    assert_eq!(decisions(&open).await, BTreeMap::from([("open".to_owned(), 3)]));
    drop(sessions);
    open.stop().await;

    let backend = Backend::echo();
    let deny = sharing(&backend, "sessions: 3", &valkey, ", on_loss: deny").start();
    assert_eq!(from(&deny, 1).await.err(), Some(503));
    assert_eq!(decisions(&deny).await, BTreeMap::from([("deny".to_owned(), 1)]));
    // A plain request is no session.
    assert_eq!(deny.client().await.get("/", "").await.status(), 200);
    valkey.come_back();
    let _session = at_last(&deny, 1).await;
    let records = deny.stop().await;
    assert_eq!(records[0]["cause"], "fleet_unavailable", "{records:?}");
}

#[tokio::test]
async fn a_handshake_waits_for_a_server_that_hangs_and_the_next_one_does_not() {
    let (backend, valkey) = (Backend::echo(), Valkey::start().await);
    let proxy = fleet(&sharing(&backend, "sessions: 9", &valkey, ", timeout: 20ms"), 1).await.remove(0);
    valkey.hold("take");
    let _first = from(&proxy, 1).await.unwrap();
    assert_eq!(waits(&proxy).await, 1);
    let _second = from(&proxy, 1).await.unwrap();
    assert_eq!(waits(&proxy).await, 1);
    assert_eq!(decisions(&proxy).await, BTreeMap::from([("share".to_owned(), 2)]));
    valkey.release();
    valkey.until("both, once", |sums| sums.of("*") == 2).await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_client_that_goes_while_its_session_is_asked_about_leaves_nothing_counted() {
    let (backend, valkey) = (Backend::echo(), Valkey::start().await);
    let mut proxy = fleet(&sharing(&backend, "sessions_per_client: 1", &valkey, ""), 1).await.remove(0);
    valkey.hold("take");
    let mut client = proxy.client().await;
    client.send(handshake("/ws", "X-Forwarded-For: 192.0.2.1\r\n")).await;
    valkey.until("the question", |sums| sums.holds("take")).await;
    client.reset();
    assert_eq!(proxy.next_record().await["cause"], "client_gone");
    valkey.release();
    let _session = at_last(&proxy, 1).await;
    valkey.until("one", |sums| (sums.of("*"), sums.of("192.0.2.1")) == (1, 1)).await;
    assert_eq!(backend.connections(), 1);
    proxy.stop().await;
}

#[tokio::test]
async fn rates_are_divided_among_the_proxies_and_nobody_is_asked_about_them() {
    let (backend, valkey) = (Backend::echo(), Valkey::start().await);
    let proxies = fleet(&sharing(&backend, "new_sessions: 4", &valkey, ""), 4).await;
    until(&proxies[0], "all", |fleet| fleet["living"] == 4).await;
    let mut sessions = Vec::new();
    let refused = loop {
        match from(&proxies[0], 1).await {
            Ok(session) => sessions.push(session),
            Err(status) => break status,
        }
        // One a second, where the whole rate would be four: nobody knows how long this has taken.
        assert!(sessions.len() < 100);
    };
    assert_eq!((refused, valkey.calls("take")), (503, 0));
    valkey.until("they are counted all the same", |sums| sums.of("*") == sessions.len() as i64).await;
    stop(proxies).await;
}

#[tokio::test]
async fn the_fleet_is_asked_last() {
    let (backend, valkey) = (Backend::echo(), Valkey::start().await);
    let service = Backend::answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    let routes = format!(
        "routes: [ {{ upstream: chat }}, {{ upstream: chat, path: /asked, auth_request: {{ url: \"http://{service}/\" }} }} ]"
    );
    let setup = sharing(&backend, "sessions: 1", &valkey, "").routes(&routes);
    let proxy = fleet(&setup, 1).await.remove(0);
    assert_eq!(proxy.client().await.refused_upgrade("/asked").await.status(), 403);
    assert_eq!(valkey.calls("take"), 0);
    let _session = proxy.session().await;
    assert_eq!(proxy.client().await.refused_upgrade("/ws").await.status(), 503);
    assert_eq!(valkey.calls("take"), 1, "the second was refused by the proxy's own count");
    proxy.stop().await;
}

#[tokio::test]
async fn a_reload_counts_the_sessions_that_are_open_and_another_one_lets_them_be() {
    let (backend, valkey) = (Backend::echo(), Valkey::start().await);
    let limits = "sessions_per_client: 2";
    let (alone, together) = (before(&backend, limits), sharing(&backend, limits, &valkey, ""));
    let mut proxy = alone.clone().start();
    let other = fleet(&together, 1).await.remove(0);
    let kept = [from(&proxy, 1).await.unwrap(), from(&proxy, 1).await.unwrap()];
    assert!(get(&proxy, "/api/status").await["fleet"].is_null());
    let reloaded = proxy.reload(&together);
    assert_eq!(reloaded.settings_changed, ["fleet"]);
    valkey.until("the open ones", |sums| (sums.of("*"), sums.of("192.0.2.1")) == (2, 2)).await;
    assert_eq!(from(&other, 1).await.err(), Some(429));

    proxy.reload(&alone);
    valkey.until("the other alone", |sums| (sums.of("*"), sums.living()) == (0, 1)).await;
    let _session = at_last(&other, 1).await;
    let [first, _second] = kept;
    first.leave().await;

    // What ended meanwhile is not counted again.
    proxy.reload(&together);
    valkey.until("the one that is left", |sums| (sums.of("*"), sums.of("192.0.2.1")) == (2, 2)).await;
    until(&proxy, "it knows that", |fleet| fleet["connected"] == true).await;
    let elsewhere = Valkey::start().await;
    proxy.reload(&sharing(&backend, limits, &elsewhere, ""));
    elsewhere.until("it has moved", |sums| (sums.of("*"), sums.of("192.0.2.1")) == (1, 1)).await;
    valkey.until("it has left", |sums| (sums.of("*"), sums.living()) == (1, 1)).await;
    stop(vec![proxy, other]).await;
}

#[tokio::test]
async fn a_session_that_comes_back_from_another_address_is_counted_there() {
    let (backend, valkey) = (Backend::by_hand(), Valkey::start().await);
    let routes = "routes: [ { upstream: chat, resume: { } } ]";
    let proxy = fleet(&sharing(&backend, "sessions_per_client: 1", &valkey, "").routes(routes), 1).await.remove(0);
    let from = |last: u8| format!("X-Forwarded-For: 192.0.2.{last}\r\n");
    let mut wire = proxy.client().await;
    wire.send(handshake("/", &format!("Sec-WebSocket-Protocol: longwire.resume.v1\r\n{}", from(1)))).await;
    let mut at_backend = backend.accepted().await;
    let mut library = Library::greeted(wire).await;
    valkey.until("its first address", |sums| sums.of("192.0.2.1") == 1).await;
    library.wire.finish().await;
    library.wire.rest().await;
    library.come_back_by(proxy.client().await, &from(2)).await;
    at_backend.send(unmasked(TEXT, "on")).await;
    library.expect_text("on").await;
    library.send_text("and on").await;
    at_backend.expect(masked(TEXT, "and on")).await;
    let moved = |sums: &server::Sums<'_>| (sums.of("*"), sums.of("192.0.2.1"), sums.of("192.0.2.2")) == (1, 0, 1);
    valkey.until("its second address", moved).await;
    drop((library, at_backend));
    proxy.stop().await;
}

#[tokio::test]
async fn the_status_names_the_proxies_with_their_sessions_and_nothing_shows_the_password() {
    let (backend, valkey) = (Backend::echo(), Valkey::start().await);
    let setup = sharing(&backend, "sessions: 9", &valkey, ", instance: edge-1");
    let proxy = fleet(&setup, 1).await.remove(0);
    let _session = from(&proxy, 1).await.unwrap();
    let fleet = get(&proxy, "/api/status").await["fleet"].take();
    let own = json!({ "name": "edge-1", "sessions": 1, "leaving": false, "own": true });
    assert_eq!(fleet, json!({ "connected": true, "on_loss": "share", "living": 1, "instances": [own] }));
    let metrics = ask(&proxy, "GET", "/metrics").await;
    for line in ["longwire_fleet_connected{prefix=\"longwire\"} 1", "longwire_fleet_instances{prefix=\"longwire\"} 1"] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    valkey.go_away();
    until(&proxy, "the loss", |fleet| fleet["connected"] == false).await;
    assert!(ask(&proxy, "GET", "/metrics").await.contains("longwire_fleet_connected{prefix=\"longwire\"} 0"));

    let mut shown = String::new();
    for path in ["/api/status", "/api/config", "/api/upstreams", "/api/refusals", "/metrics", "/"] {
        shown.push_str(&ask(&proxy, "GET", path).await);
    }
    assert!(shown.contains("redis://***:***@127.0.0.1:"), "the configuration says where");
    let config = proxy.control().config();
    shown.push_str(&format!("{config:?}{}", config::describe(&config)));
    let wrong = format!("fleet: {{ valkey: \"{}\", lease: 1 }}\n", valkey.url());
    let wrong = config::parse(&wrong, "proxy.yaml", std::path::Path::new("/")).unwrap_err();
    shown.push_str(&format!("{wrong}{wrong:?}{}", wrong.in_one_line()));
    let misplaced = format!("fleet: \"{}\"\n", valkey.url());
    shown.push_str(&config::parse(&misplaced, "proxy.yaml", std::path::Path::new("/")).unwrap_err().to_string());
    // A reload that changes the password alone is told by the name of the key.
    let other = valkey.url().replace(PASSWORD, "another-word");
    let changed = proxy.control().reload(
        before(&backend, "sessions: 9")
            .with(&format!("fleet: {{ valkey: \"{other}\", lease: 9s, timeout: 3s, instance: edge-1 }}"))
            .config(),
    );
    assert_eq!(changed.unwrap().settings_changed, ["fleet.valkey"]);
    assert!(!shown.contains(PASSWORD), "{shown}");
    proxy.stop().await;
}
