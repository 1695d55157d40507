//! For how long no byte had passed in each direction when a session ended, as its record says.

use serde_json::Value;

use crate::harness::{
    Backend, Proxy,
    frames::{CLOSE, PING, PONG, TEXT, masked, unmasked},
    handshake, tls_connect, trusting, within,
};

/// Milliseconds: from the client, from the backend, to the client, to the backend.
fn silence(record: &Value) -> [u64; 4] {
    ["from_client", "from_backend", "to_client", "to_backend"].map(|direction| {
        let key = format!("silence_{direction}_ms");
        record[&key].as_u64().unwrap_or_else(|| panic!("{key} in {record}"))
    })
}

/// Nobody answers the farewell, so that the session lasts a second longer than its silence.
#[tokio::test]
async fn the_silence_of_an_idle_session_lasts_to_the_end_and_not_to_the_farewell() {
    let backend = Backend::by_hand();
    let mut proxy = Proxy::before(&[&backend])
        .timeout("idle", "300ms")
        .timeout("close", "1s")
        .with("keepalive: { ping_interval: 0s }")
        .start();
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    client.send(masked(TEXT, "hello")).await;
    at_backend.expect(masked(TEXT, "hello")).await;
    client.expect_close(1001, "idle").await;
    let record = proxy.next_record().await;
    assert_eq!((&record["cause"], &record["how"]), (&"idle".into(), &"ours".into()), "{record}");
    let [from_client, from_backend, to_client, to_backend] = silence(&record);
    assert!(from_client >= 300 && from_client == to_backend, "{record}");
    assert!(from_backend >= from_client && from_backend == to_client, "{record}");
    assert!(from_backend as f64 <= record["duration_ms"].as_f64().unwrap() - 1000.0, "{record}");
    drop((client, at_backend));
    proxy.stop().await;
}

#[tokio::test]
async fn our_pings_and_the_pongs_to_them_break_the_silence_of_the_side_that_is_pinged() {
    const PINGS: usize = 4;
    let backend = Backend::by_hand();
    let mut proxy = Proxy::before(&[&backend])
        .with("keepalive: { ping_interval: 100ms, pong_timeout: 30s, sides: [client] }")
        .start();
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    for _ in 0..PINGS {
        let ping = client.frame().await;
        assert_eq!(ping.first, PING);
        client.send(masked(PONG, &ping.payload)).await;
    }
    client.finish().await;
    at_backend.expect_close(1001, "client lost").await;
    at_backend.finish().await;
    let record = proxy.next_record().await;
    assert_eq!((&record["cause"], &record["how"]), (&"client_lost".into(), &"fin".into()), "{record}");
    let [from_client, from_backend, to_client, to_backend] = silence(&record);
    // A wait is up to a tenth shorter than the interval, and counts from the last byte of both directions.
    let least = 90 * PINGS as u64 - 1;
    assert!(from_backend >= least && to_backend >= least, "{record}");
    assert!(from_client <= to_client && to_client + least <= to_backend, "{record}");
    proxy.stop().await;
}

#[tokio::test]
async fn a_side_that_answers_no_ping_is_recorded_as_silent_for_as_long() {
    let backend = Backend::by_hand();
    let mut proxy = Proxy::before(&[&backend])
        .with("keepalive: { ping_interval: 50ms, pong_timeout: { client: 0s, backend: 200ms }, sides: [backend] }")
        .start();
    let (mut client, at_backend) = proxy.session_by_hand(&backend).await;
    client.expect_close(1011, "no answer to pings").await;
    client.finish().await;
    let record = proxy.next_record().await;
    assert_eq!((&record["cause"], &record["how"]), (&"backend_dead".into(), &"silent".into()), "{record}");
    let [from_client, from_backend, to_client, _] = silence(&record);
    assert!(from_backend >= 200 + 44 && from_backend == to_client && from_client >= from_backend, "{record}");
    drop(at_backend);
    proxy.stop().await;
}

#[tokio::test]
async fn a_tls_connection_that_ends_without_a_close_is_a_fin_with_and_without_a_close_notify() {
    let (backend, folder) = (Backend::by_hand(), tempfile::tempdir().unwrap());
    let tls = "{ cert: dev.crt, key: dev.key, self_signed: true }";
    let mut proxy = Proxy::before(&[&backend]).tls(tls, folder.path()).start();
    let connector = trusting(&folder.path().join("dev.crt"), &[], &["http/1.1"]);
    for notifies in [true, false] {
        let mut client = tls_connect(&connector, proxy.address(), "localhost").await.expect("a TLS handshake");
        client.send(handshake("/ws", "")).await;
        let mut at_backend = backend.accepted().await;
        client.upgraded().await;
        at_backend.send(unmasked(TEXT, "hello")).await;
        client.expect(unmasked(TEXT, "hello")).await;
        if notifies {
            client.finish().await;
        } else {
            client.cut();
        }
        let told = within("a Close", at_backend.next_frame()).await;
        assert_eq!(told.map(|frame| frame.first), Some(CLOSE));
        at_backend.finish().await;
        let record = proxy.next_record().await;
        assert_eq!((&record["cause"], &record["how"]), (&"client_lost".into(), &"fin".into()), "{notifies}: {record}");
    }
    proxy.stop().await;
}
