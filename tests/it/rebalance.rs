//! Sessions that leave so that loads even out: which of them, when, and what their clients notice.

mod fleet;

use std::net::SocketAddr;

use longwire::config::AdminBind;
use serde_json::{Value, json};

use crate::harness::{
    Backend, Proxy, Setup, Wire,
    frames::{TEXT, masked, masked_close, unmasked},
    within,
};

fn before(backends: &[&Backend]) -> Setup {
    Proxy::before(backends).with("admin: { bind: \"127.0.0.1:0\" }")
}

fn admin(proxy: &Proxy) -> SocketAddr {
    match proxy.control().admin_address() {
        Some(AdminBind::Tcp(address)) => address,
        other => panic!("no address: {other:?}"),
    }
}

/// Status and body of an answer. `None` as the body is a GET.
async fn ask(proxy: &Proxy, path: &str, body: Option<Value>) -> (u16, Value) {
    let address = admin(proxy);
    let mut wire = Wire::connect(address).await;
    let (method, body) = body.map_or(("GET", String::new()), |body| ("POST", body.to_string()));
    wire.send(format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))
    .await;
    let response = wire.response().await;
    (response.status(), serde_json::from_str(response.text()).unwrap())
}

async fn order(proxy: &Proxy, order: Value) -> Value {
    let (status, answer) = ask(proxy, "/api/rebalance", Some(order)).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

/// The code of a refusal.
async fn refusal(proxy: &Proxy, order: Value) -> (u16, String) {
    let (status, answer) = ask(proxy, "/api/rebalance", Some(order)).await;
    (status, answer["error"]["code"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned())
}

async fn stands(proxy: &Proxy) -> Value {
    ask(proxy, "/api/rebalance", None).await.1
}

async fn until_over(proxy: &Proxy) -> Value {
    within("the end of the rebalance", async {
        loop {
            let stands = stands(proxy).await;
            if stands["state"] == "over" {
                return stands;
            }
        }
    })
    .await
}

/// The sessions that were chosen; those of them that wait, have moved, and have ended.
fn outcome(stands: &Value) -> [u64; 4] {
    ["sessions", "waiting", "moved", "ended"].map(|key| stands[key].as_u64().unwrap_or_else(|| panic!("{stands}")))
}

async fn sessions(proxy: &Proxy, count: usize) -> Vec<Wire> {
    let mut clients = Vec::with_capacity(count);
    for _ in 0..count {
        clients.push(proxy.session().await);
    }
    clients
}

async fn echoes(client: &mut Wire) {
    client.send(masked(TEXT, "still here")).await;
    client.expect(unmasked(TEXT, "still here")).await;
}

/// The sessions of each backend.
async fn loads(proxy: &Proxy) -> Vec<u64> {
    let upstreams = ask(proxy, "/api/upstreams", None).await.1;
    let backends = upstreams["upstreams"][0]["backends"].as_array().unwrap().clone();
    backends.iter().map(|backend| backend["sessions"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn of_a_thousand_sessions_exactly_the_oldest_fifth_leaves_with_1012() {
    let backend = Backend::echo();
    let proxy = before(&[&backend]).start();
    let mut oldest = sessions(&proxy, 200).await;
    let mut others = sessions(&proxy, 800).await;
    let planned = order(&proxy, json!({ "share": 0.2, "dry_run": true })).await;
    assert_eq!(
        (&planned["state"], &planned["sessions"], &planned["counted"], &planned["move_on"], &planned["over_ms"]),
        (&json!("planned"), &json!(200), &json!(1000), &json!(0), &json!(600_000)),
        "{planned}"
    );
    assert!(planned["youngest_ms"].as_u64() <= planned["oldest_ms"].as_u64(), "{planned}");
    assert_eq!(stands(&proxy).await, json!({ "state": "none" }), "nobody was told");
    let running = order(&proxy, json!({ "share": 0.2, "over_ms": 2000 })).await;
    assert_eq!((&running["state"], &running["sessions"]), (&json!("running"), &json!(200)), "{running}");
    // One that begins meanwhile is not among them.
    others.push(proxy.session().await);
    for client in &mut oldest {
        client.expect_close(1012, "rebalance").await;
        client.send(masked_close(1012, "rebalance")).await;
    }
    assert_eq!(outcome(&until_over(&proxy).await), [200, 0, 0, 200]);
    for client in &mut others {
        echoes(client).await;
    }
    drop((oldest, others));
    let records = proxy.stop().await;
    let of = |cause: &str| records.iter().filter(|record| record["cause"] == cause).count();
    assert_eq!((of("rebalanced"), records.len()), (200, 1001));
}

#[tokio::test]
async fn those_of_a_backend_move_to_another_one_where_the_route_holds_and_no_client_is_closed() {
    let (one, other) = (Backend::echo(), Backend::echo());
    let setup =
        before(&[&one, &other]).routes("routes: [ { upstream: chat, compression: off, hold: { per_second: 1000 } } ]");
    let proxy = setup.start();
    let mut clients = sessions(&proxy, 100).await;
    assert_eq!(loads(&proxy).await, [50, 50]);
    let leave = json!({ "share": 0.4, "over_ms": 300, "upstream": "chat", "backend": one.to_string() });
    let running = order(&proxy, leave).await;
    assert_eq!((&running["sessions"], &running["move_on"]), (&json!(20), &json!(20)), "{running}");
    // Whoever is on the way still waits, so that all have arrived.
    assert_eq!(outcome(&until_over(&proxy).await), [20, 0, 20, 0]);
    for client in &mut clients {
        echoes(client).await;
    }
    assert_eq!(loads(&proxy).await, [30, 70]);
    // With nobody else on duty, nobody moves.
    ask(&proxy, &format!("/api/upstreams/chat/backends/{one}/down"), Some(json!({}))).await;
    let leave = json!({ "sessions": 1, "upstream": "chat", "backend": other.to_string() });
    assert_eq!(refusal(&proxy, leave).await, (409, "no_other_backend".to_owned()));
    drop(clients);
    let records = proxy.stop().await;
    assert!(records.iter().all(|record| record["cause"] != "rebalanced"), "{records:?}");
    assert_eq!(records.iter().filter(|record| record["resumes"] == 1).count(), 20);
}

#[tokio::test]
async fn without_hold_those_of_a_backend_end_and_the_others_stay() {
    let (one, other) = (Backend::echo(), Backend::echo());
    let proxy = before(&[&one, &other]).start();
    let mut clients = sessions(&proxy, 10).await;
    let leave = json!({ "sessions": 2, "over_ms": 1, "upstream": "chat", "backend": one.to_string() });
    assert_eq!(order(&proxy, leave).await["move_on"], 0);
    // By turns: the first and the third are at the first backend.
    for place in [0, 2] {
        clients[place].expect_close(1012, "rebalance").await;
        clients[place].send(masked_close(1012, "")).await;
    }
    assert_eq!(outcome(&until_over(&proxy).await), [2, 0, 0, 2]);
    for place in [1, 3, 4, 5, 6, 7, 8, 9] {
        echoes(&mut clients[place]).await;
    }
    drop(clients);
    proxy.stop().await;
}

#[tokio::test]
async fn what_moves_is_told_from_what_ends_and_from_what_leaves_by_itself() {
    let (one, other) = (Backend::echo(), Backend::echo());
    let routes =
        "routes: [ { upstream: chat, path: /held, compression: off, hold: { per_second: 1000 } }, { upstream: chat } ]";
    let proxy = before(&[&one, &other]).routes(routes).start();
    // By turns: at the first backend are two that may move, two that may not, and one that leaves before its moment.
    let mut clients = Vec::new();
    for path in ["/held", "/", "/held", "/", "/"] {
        for _ in 0..2 {
            let mut client = proxy.client().await;
            client.upgrade(path).await;
            clients.push(client);
        }
    }
    assert_eq!(loads(&proxy).await, [5, 5]);
    let leave = json!({ "share": 1, "over_ms": 86_400_000, "upstream": "chat", "backend": one.to_string() });
    assert_eq!(outcome(&order(&proxy, leave.clone()).await), [5, 5, 0, 0]);
    // The last one goes by itself.
    clients.remove(8).leave().await;
    within("its end", async { while outcome(&stands(&proxy).await) != [5, 4, 0, 0] {} }).await;
    ask(&proxy, "/api/rebalance/stop", Some(json!({}))).await;
    assert_eq!(outcome(&stands(&proxy).await), [5, 0, 0, 0]);
    // The next one counts anew.
    let mut leave = leave;
    leave["over_ms"] = json!(1);
    order(&proxy, leave).await;
    for place in [2, 6] {
        clients[place].expect_close(1012, "rebalance").await;
        // Whose Close is not answered has not left yet.
        let stands = stands(&proxy).await;
        assert_eq!(stands["state"], "running", "{stands}");
        clients[place].send(masked_close(1012, "")).await;
    }
    let over = until_over(&proxy).await;
    assert_eq!(outcome(&over), [4, 0, 2, 2], "{over}");
    for place in [0, 1, 3, 4, 5, 7, 8] {
        echoes(&mut clients[place]).await;
    }
    drop(clients);
    let records = proxy.stop().await;
    let of = |key: &str, value: Value| records.iter().filter(|record| record[key] == value).count();
    assert_eq!((of("cause", json!("rebalanced")), of("resumes", json!(1))), (2, 2));
}

#[tokio::test]
async fn the_same_order_again_changes_nothing_another_one_waits_and_a_reload_lets_it_go_on() {
    let backend = Backend::echo();
    let setup = before(&[&backend]);
    let mut proxy = setup.clone().start();
    let mut clients = sessions(&proxy, 12).await;
    let half = json!({ "share": 0.5, "over_ms": 86_400_000 });
    let first = order(&proxy, half.clone()).await;
    // The first leaves after an hour.
    assert_eq!((&first["state"], &first["sessions"], &first["waiting"]), (&json!("running"), &json!(6), &json!(6)));
    clients.extend(sessions(&proxy, 3).await);
    let again = order(&proxy, half.clone()).await;
    assert_eq!((&again["since"], &again["waiting"]), (&first["since"], &json!(6)), "{again}");
    assert_eq!(refusal(&proxy, json!({ "sessions": 1 })).await, (409, "rebalancing".to_owned()));
    let planned = order(&proxy, json!({ "surplus_over": 10, "dry_run": true })).await;
    assert_eq!(planned["sessions"], 5, "a plan tells nobody, so it may be made: {planned}");
    proxy.reload(&setup.clone().with("limits: { sessions: 100 }"));
    proxy.control().drain_route("*/", false).unwrap();
    assert_eq!(stands(&proxy).await["waiting"], 6);
    let (status, stopped) = ask(&proxy, "/api/rebalance/stop", Some(json!({}))).await;
    assert_eq!((status, &stopped["state"], outcome(&stopped)), (200, &json!("stopped"), [6, 0, 0, 0]), "{stopped}");
    assert_eq!(ask(&proxy, "/api/rebalance/stop", Some(json!({}))).await, (200, stopped));
    for client in &mut clients {
        echoes(client).await;
    }
    // The next one begins anew.
    assert_eq!(order(&proxy, half).await["sessions"], 7);
    drop(clients);
    proxy.stop().await;
}

#[tokio::test]
async fn a_drain_of_everything_takes_a_rebalance_back_and_refuses_another() {
    let backend = Backend::echo();
    let proxy = before(&[&backend]).with("drain: { spread: 0s }").start();
    let mut clients = sessions(&proxy, 4).await;
    order(&proxy, json!({ "share": 1.0, "over_ms": 86_400_000 })).await;
    proxy.control().drain_all(true).unwrap();
    for client in &mut clients {
        client.expect_close(1012, "drain").await;
    }
    assert_eq!(stands(&proxy).await["state"], "stopped");
    assert_eq!(refusal(&proxy, json!({ "sessions": 1 })).await, (409, "draining".to_owned()));
    // Taken back, the drain brings no moment of before back.
    proxy.control().drain_all(false).unwrap();
    let mut client = proxy.session().await;
    echoes(&mut client).await;
    assert_eq!(stands(&proxy).await["waiting"], 0);
    drop((client, clients));
    proxy.stop().await;
}

#[tokio::test]
async fn what_is_no_order_is_refused_with_words_and_one_about_nobody_is_over_at_once() {
    let backend = Backend::echo();
    let proxy = before(&[&backend]).start();
    for wrong in [
        json!({}),
        json!({ "share": 0 }),
        json!({ "share": 1.1 }),
        json!({ "share": 0.1, "sessions": 1 }),
        json!({ "sessions": -1 }),
        json!({ "sessions": 1.5 }),
        json!({ "sessions": null }),
        json!({ "sessions": 1, "over_ms": 0 }),
        json!({ "sessions": 1, "over_ms": 86_400_001 }),
        json!({ "sessions": 1, "backend": "127.0.0.1:1" }),
        json!({ "sessions": 1, "colour": "red" }),
    ] {
        assert_eq!(refusal(&proxy, wrong.clone()).await, (400, "bad_request".to_owned()), "{wrong}");
    }
    for (upstream, address) in [("none", backend.to_string()), ("chat", "127.0.0.1:1".to_owned())] {
        let unknown = json!({ "sessions": 1, "upstream": upstream, "backend": address });
        assert_eq!(refusal(&proxy, unknown).await, (404, "not_found".to_owned()));
    }
    // Where nobody leaves, nothing goes on, and another order need not wait.
    for share in [0.5, 0.6] {
        let none = order(&proxy, json!({ "share": share })).await;
        assert_eq!((&none["state"], &none["sessions"], &none["counted"]), (&json!("over"), &json!(0), &json!(0)));
    }
    proxy.stop().await;
}
