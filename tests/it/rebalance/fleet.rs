//! What one instance of a fleet has beyond the mean of all.

use std::net::TcpListener;

use serde_json::json;

use super::{before, echoes, order, refusal, sessions, stands, until_over};
use crate::{
    fleet::server::Valkey,
    harness::{Backend, Proxy, frames::masked_close, within},
};

/// An instance that shares limits by the server at this URL.
fn instance(backend: &Backend, url: &str, name: &str) -> Proxy {
    let fleet = format!("fleet: {{ valkey: \"{url}\", instance: {name}, lease: 9s, timeout: 3s }}");
    before(&[backend]).with(&fleet).start()
}

#[tokio::test]
async fn an_instance_lets_go_of_what_it_has_beyond_the_mean_of_its_fleet_and_no_more() {
    let backend = Backend::echo();
    let url = Valkey::start().await.url();
    let (full, empty) = (instance(&backend, &url, "full"), instance(&backend, &url, "empty"));
    let mut clients = sessions(&full, 9).await;
    let surplus = json!({ "fleet": true, "dry_run": true });
    within("the other instance", async {
        loop {
            let (status, planned) = super::ask(&full, "/api/rebalance", Some(surplus.clone())).await;
            if status == 200 && planned["fleet_mean"] == 5 {
                assert_eq!((&planned["counted"], &planned["sessions"]), (&json!(9), &json!(4)), "{planned}");
                break;
            }
        }
    })
    .await;
    order(&full, json!({ "fleet": true, "over_ms": 100 })).await;
    for client in &mut clients[..4] {
        client.expect_close(1012, "rebalance").await;
        client.send(masked_close(1012, "")).await;
    }
    until_over(&full).await;
    for client in &mut clients[4..] {
        echoes(client).await;
    }
    // The other one has less than the mean.
    assert_eq!(order(&empty, json!({ "fleet": true })).await["sessions"], 0);
    assert_eq!(stands(&empty).await["counted"], 0);
    drop(clients);
    full.stop().await;
    empty.stop().await;
}

#[tokio::test]
async fn without_a_fleet_or_its_server_nobody_knows_the_mean() {
    let backend = Backend::echo();
    let alone = before(&[&backend]).start();
    let of_fleet = json!({ "fleet": true });
    assert_eq!(refusal(&alone, of_fleet.clone()).await, (409, "no_fleet".to_owned()));
    let of_backend = json!({ "fleet": true, "upstream": "chat", "backend": backend.to_string() });
    assert_eq!(refusal(&alone, of_backend).await, (400, "bad_request".to_owned()));
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let cut_off = instance(&backend, &format!("redis://{nobody}"), "alone");
    assert_eq!(refusal(&cut_off, of_fleet).await, (409, "no_fleet".to_owned()));
    alone.stop().await;
    cut_off.stop().await;
}
