//! Another configuration while sessions live: nothing that has begun is lost, and the counts go on.

use longwire::{config::ListenAddress, net::operate::control::ReloadError};

use crate::harness::{
    Backend, Proxy, Setup, Wire,
    frames::{TEXT, masked, masked_close, unmasked, unmasked_close},
};

#[tokio::test]
async fn sessions_live_through_reloads_and_new_ones_get_the_new_file() {
    let (old, new) = (Backend::echo(), Backend::echo());
    let mut proxy = Proxy::start(&[&old]);
    let before = proxy.session().await;
    proxy.reload(&Proxy::before(&[&new]));
    let after = proxy.session().await;
    assert_eq!((old.connections(), new.connections()), (1, 1));
    for mut client in [before, after] {
        echoes(&mut client).await;
        client.leave().await;
    }
    let records = proxy.stop().await;
    assert_eq!(records.iter().filter(|record| record["cause"] == "client_close").count(), 2, "{records:?}");
}

#[tokio::test]
async fn a_session_keeps_the_timeouts_that_it_began_with() {
    let backend = Backend::by_hand();
    let mut proxy = Proxy::before(&[&backend]).timeout("idle", "1h").start();
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    let impatient = Proxy::before(&[&backend]).timeout("idle", "20ms").with("keepalive: { ping_interval: 0s }");
    proxy.reload(&impatient);
    let (mut second, mut at_second) = proxy.session_by_hand(&backend).await;
    second.expect_close_code(1001).await;
    at_second.expect_close_code(1001).await;
    for wire in [&mut second, &mut at_second] {
        wire.expect_eof().await;
    }
    second.finish().await;
    at_second.finish().await;
    client.send(masked(TEXT, "still here")).await;
    at_backend.expect(masked(TEXT, "still here")).await;
    close(client, at_backend).await;
    proxy.stop().await;
}

#[tokio::test]
async fn counts_and_health_of_a_backend_go_on_by_its_address() {
    let (first, second) = (Backend::echo(), Backend::echo());
    let setup = Proxy::before(&[&first, &second]).upstream("balance: least_conn");
    let mut proxy = setup.clone().start();
    let mut clients = vec![proxy.session().await, proxy.session().await];
    assert_eq!((first.connections(), second.connections()), (1, 1));
    // The second backend now has the weight 3. It takes both new sessions only if the two old ones still count.
    let heavy = Proxy::before(&[&first, &second]).upstream("balance: least_conn").backend(1, "weight: 3");
    proxy.reload(&heavy);
    clients.push(proxy.session().await);
    clients.push(proxy.session().await);
    assert_eq!((first.connections(), second.connections()), (1, 3));
    for client in clients {
        client.leave().await;
    }
    proxy.stop().await;
}

#[tokio::test]
async fn turns_go_on_over_reloads_that_leave_the_upstream_as_it_is() {
    let (one, other) = (Backend::echo(), Backend::echo());
    let mut proxy = Proxy::start(&[&one, &other]);
    let mut turns = Vec::new();
    for idle in 1..=4 {
        proxy.client().await.get("/", "").await;
        turns.push(proxy.next_record().await["backend"].clone());
        proxy.reload(&Proxy::before(&[&one, &other]).timeout("idle", &format!("{idle}h")));
    }
    assert_eq!(turns, [&one, &other, &one, &other].map(ToString::to_string));
    proxy.stop().await;
}

#[tokio::test]
async fn a_backend_that_is_out_stays_out_over_a_reload() {
    let (dead, alive) = (Backend::refusing(), Backend::echo());
    let setup = Proxy::before(&[&dead, &alive]).upstream("balance: round_robin, max_fails: 1, fail_timeout: 1h");
    let mut proxy = setup.clone().start();
    proxy.client().await.get("/", "").await;
    proxy.client().await.get("/", "").await;
    proxy.reload(&setup);
    for _ in 0..4 {
        let response = proxy.client().await.get("/", "").await;
        assert_eq!(response.status(), 200);
    }
    let records = proxy.stop().await;
    let tries: Vec<_> = records.iter().map(|record| record["tries"].as_u64().unwrap_or(0)).collect();
    assert_eq!(tries.iter().filter(|tries| **tries == 2).count(), 1, "tried once and never again: {tries:?}");
}

#[tokio::test]
async fn a_reload_that_cannot_be_had_changes_nothing() {
    let backend = Backend::echo();
    let proxy = Proxy::start(&[&backend]);
    let mut client = proxy.session().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let other = Proxy::before(&[&Backend::refusing()]).listener(&format!("bind: \"{address}\""));
    let refusal = proxy.control().reload(other.config()).unwrap_err().to_string();
    assert!(refusal.contains(&address.to_string()), "{refusal}");
    echoes(&mut client).await;
    assert_eq!(proxy.client().await.get("/", "").await.status(), 200);
    client.leave().await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_broken_file_is_told_with_its_place_and_changes_nothing() {
    let backend = Backend::echo();
    let proxy = Proxy::start(&[&backend]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proxy.yaml");
    fs_err::write(&file, "listeners:\n  - bind: 127.0.0.1:0\n    tsl: {}\n").unwrap();
    let error = proxy.control().reload_from(&file).unwrap_err();
    assert!(matches!(error, ReloadError::Config(_)));
    assert!(error.to_string().contains("proxy.yaml:3:5"), "{error}");
    assert_eq!(proxy.client().await.get("/", "").await.status(), 200);
    proxy.stop().await;
}

#[tokio::test]
async fn listeners_come_and_go_while_sessions_of_both_live() {
    let backend = Backend::echo();
    let mut proxy = Proxy::start(&[&backend]);
    let first = proxy.address();
    let on_first = proxy.session().await;
    let reloaded = proxy.reload(&Proxy::before(&[&backend]).listener("bind: \"127.0.0.2:0\""));
    let second = proxy.address();
    let [first_there, second_there] = [first, second].map(ListenAddress::Tcp);
    assert_eq!((reloaded.listeners_added, reloaded.listeners_removed), (vec![second_there], vec![first_there]));
    let on_second = proxy.session().await;
    crate::harness::within("a refusal", async { while tokio::net::TcpStream::connect(first).await.is_ok() {} }).await;
    for mut client in [on_first, on_second] {
        echoes(&mut client).await;
        client.leave().await;
    }
    proxy.stop().await;
}

#[tokio::test]
async fn certificates_are_read_again() {
    let backend = Backend::echo();
    let folder = tempfile::tempdir().unwrap();
    let tls = "{ cert: one.crt, key: one.key, self_signed: true }";
    let other = "{ cert: two.crt, key: two.key, self_signed: true }";
    let mut proxy = Proxy::before(&[&backend]).tls(tls, folder.path()).start();
    let address = proxy.address();
    proxy.reload(&Proxy::before(&[&backend]).tls(other, folder.path()));
    assert_eq!(proxy.address(), address);
    let trusts =
        |name: &str| crate::harness::trusting(&folder.path().join(name), &[&tokio_rustls::rustls::version::TLS13], &[]);
    let mut client = crate::harness::tls_connect(&trusts("two.crt"), address, "localhost").await.unwrap();
    assert_eq!(client.get("/", "").await.status(), 200);
    assert!(crate::harness::tls_connect(&trusts("one.crt"), address, "localhost").await.is_err());
    drop(client);
    proxy.stop().await;
}

#[tokio::test]
async fn sessions_of_a_removed_backend_go_on_by_default() {
    let (old, new) = (Backend::by_hand(), Backend::echo());
    let mut proxy = Proxy::start(&[&old]);
    let (mut client, mut at_backend) = proxy.session_by_hand(&old).await;
    let reloaded = proxy.reload(&Proxy::before(&[&new]));
    assert_eq!(reloaded.backends_removed, [format!("chat/{old}")]);
    at_backend.send(unmasked(TEXT, "still here")).await;
    client.expect(unmasked(TEXT, "still here")).await;
    close(client, at_backend).await;
    proxy.stop().await;
}

#[tokio::test]
async fn sessions_of_a_removed_backend_are_told_where_the_file_says_so() {
    let (old, new) = (Backend::by_hand(), Backend::by_hand());
    let mut proxy = Proxy::start(&[&old, &new]);
    let (mut leaves, mut at_old) = proxy.session_by_hand(&old).await;
    let (mut stays, mut at_new) = proxy.session_by_hand(&new).await;
    let reloaded = proxy.reload(&closing(Proxy::before(&[&new])));
    assert_eq!(reloaded.backends_removed, [format!("chat/{old}")]);
    leaves.expect_close(4001, "removed").await;
    at_old.expect_close(4001, "removed").await;
    leaves.send(masked_close(4001, "")).await;
    at_old.send(unmasked_close(4001, "")).await;
    leaves.expect_eof().await;
    leaves.finish().await;
    at_old.expect_eof().await;
    at_old.finish().await;
    let record = proxy.next_record().await;
    assert_eq!((&record["cause"], &record["close_code"]), (&"removed".into(), &4001.into()), "{record}");
    at_new.send(unmasked(TEXT, "still here")).await;
    stays.expect(unmasked(TEXT, "still here")).await;
    close(stays, at_new).await;
    proxy.stop().await;
}

#[tokio::test]
async fn sessions_of_a_removed_route_are_told_where_the_file_says_so() {
    let backend = Backend::by_hand();
    let two = "routes: [ { path: /ws, upstream: chat }, { path: /other, upstream: chat } ]";
    let mut proxy = Proxy::before(&[&backend]).routes(two).start();
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    let one = "routes: [ { path: /other, upstream: chat } ]";
    let reloaded = proxy.reload(&closing(Proxy::before(&[&backend]).routes(one)));
    assert_eq!((reloaded.routes_removed, reloaded.backends_removed), (vec!["*/ws".to_owned()], vec![]));
    client.expect_close(4001, "removed").await;
    at_backend.expect_close(4001, "removed").await;
    drop((client, at_backend));
    proxy.stop().await;
}

/// Ends sessions at once whose backend or route is removed.
fn closing(setup: Setup) -> Setup {
    setup.with("drain: { on_removed: close, close_code: 4001, spread: 0s }")
}

async fn echoes(client: &mut Wire) {
    client.send(masked(TEXT, "hello")).await;
    client.expect(unmasked(TEXT, "hello")).await;
}

/// Both ends close, the client first.
async fn close(mut client: Wire, mut at_backend: Wire) {
    client.send(masked_close(1000, "")).await;
    at_backend.expect_close_code(1000).await;
    at_backend.send(unmasked_close(1000, "")).await;
    client.expect_close_code(1000).await;
    client.expect_eof().await;
    client.finish().await;
    at_backend.expect_eof().await;
    at_backend.finish().await;
}
