//! What one instance of a fleet has beyond the mean of all.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use longwire::config::{Authority, BackendTls, FleetServer, FleetSettings, OnLoss};
use serde_json::json;

use super::{before, echoes, order, refusal, sessions, stands, until_over};
use crate::harness::{Backend, Proxy, frames::masked_close, valkey, within};

/// A server of the fleet, with a thread for each connection, which ends with the connection.
fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let store = Arc::new(Mutex::new(valkey::Store::default()));
    let began = Instant::now();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (store, stream) = (Arc::clone(&store), stream.unwrap());
            thread::spawn(move || serve(stream, &store, began));
        }
    });
    address
}

fn serve(mut stream: TcpStream, store: &Mutex<valkey::Store>, began: Instant) {
    let (mut bytes, mut more) = (Vec::new(), [0; 4096]);
    while let Ok(length @ 1..) = stream.read(&mut more) {
        bytes.extend_from_slice(&more[..length]);
        while let Some((command, length)) = valkey::read_command(&bytes) {
            bytes.drain(..length);
            let now = u64::try_from(began.elapsed().as_millis()).unwrap() + 1_000_000;
            let answer = store.lock().unwrap().answer(&command, now);
            if stream.write_all(&answer).is_err() {
                return;
            }
        }
    }
}

/// An instance that shares limits by this server.
fn instance(backend: &Backend, server: SocketAddr, name: &str) -> Proxy {
    let mut config = before(&[backend]).config();
    config.fleet = Some(FleetSettings {
        servers: vec![FleetServer {
            address: server.to_string(),
            is_tls: false,
            user: None,
            password: None,
            database: 0,
        }],
        tls: BackendTls {
            authorities: vec![Authority::System],
            server_name: None,
            verify_name: None,
            sni: true,
            certificate: None,
            crl: None,
            insecure: false,
        },
        instance: Some(name.to_owned()),
        prefix: "longwire".to_owned(),
        lease: Duration::from_secs(3),
        on_loss: OnLoss::Share,
        timeout: Duration::from_secs(1),
    });
    Proxy::of(config)
}

#[tokio::test]
async fn an_instance_lets_go_of_what_it_has_beyond_the_mean_of_its_fleet_and_no_more() {
    let backend = Backend::echo();
    let server = server();
    let (full, empty) = (instance(&backend, server, "full"), instance(&backend, server, "empty"));
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
    let cut_off = instance(&backend, nobody, "alone");
    assert_eq!(refusal(&cut_off, of_fleet).await, (409, "no_fleet".to_owned()));
    alone.stop().await;
    cut_off.stop().await;
}
