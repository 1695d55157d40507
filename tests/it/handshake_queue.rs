//! The number of handshakes in flight has a limit for each backend. Further handshakes wait in line.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{sync::Semaphore, task::JoinSet};

use crate::harness::{Backend, Proxy, handshake, within};

/// A backend that answers a handshake only when the test permits it. `most` becomes the highest number of handshakes that one
/// backend had at a time.
fn slow(permits: &Arc<Semaphore>, most: &Arc<AtomicUsize>) -> Backend {
    let (permits, most) = (Arc::clone(permits), Arc::clone(most));
    let in_hand = Arc::new(AtomicUsize::new(0));
    Backend::script(move |mut wire, head| {
        let (permits, most, in_hand) = (Arc::clone(&permits), Arc::clone(&most), Arc::clone(&in_hand));
        async move {
            most.fetch_max(in_hand.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            permits.acquire().await.unwrap().forget();
            in_hand.fetch_sub(1, Ordering::SeqCst);
            wire.accept(&head, "").await;
            wire.whatever_comes().await;
        }
    })
}

#[tokio::test]
async fn fifty_clients_are_all_served_and_never_more_than_the_limit_at_a_time() {
    let (permits, most) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let backends = [slow(&permits, &most), slow(&permits, &most)];
    let proxy = Proxy::before(&[&backends[0], &backends[1]]).upstream("balance: least_conn, max_handshakes: 3").start();
    let mut clients = JoinSet::new();
    for _ in 0..50 {
        let mut client = proxy.client().await;
        client.send(handshake("/ws", "")).await;
        clients.spawn(async move {
            client.upgraded().await;
            client
        });
    }
    // The handshakes are answered one after the other, however they are spread.
    let mut served = Vec::new();
    while served.len() < 50 {
        permits.add_permits(1);
        served.push(within("a session", clients.join_next()).await.unwrap().unwrap());
    }
    assert_eq!(most.load(Ordering::SeqCst), 3);
    assert_eq!(backends[0].heads().len() + backends[1].heads().len(), 50);
    drop(served);
    proxy.stop().await;
}

#[tokio::test]
async fn a_handshake_for_which_the_line_is_too_long_is_refused_as_busy() {
    let backend = Backend::by_hand();
    let mut proxy =
        Proxy::before(&[&backend]).upstream("balance: round_robin, max_handshakes: 1, handshake_queue: 0").start();
    let mut first = proxy.client().await;
    first.send(handshake("/ws", "")).await;
    let (mut at_backend, head) = backend.asked().await;
    let response = proxy.client().await.refused_upgrade("/ws").await;
    assert_eq!(response.status(), 503);
    assert_eq!(proxy.next_record().await["cause"], "busy");

    at_backend.accept(&head, "").await;
    first.upgraded().await;
    proxy.session_by_hand(&backend).await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_handshake_that_waited_too_long_is_refused_as_busy_and_leaves_the_line() {
    let backend = Backend::by_hand();
    let mut proxy = Proxy::before(&[&backend])
        .upstream("balance: round_robin, max_handshakes: 1, handshake_queue: 1")
        .timeout("connect", "3s")
        .start();
    let mut first = proxy.client().await;
    first.send(handshake("/ws", "")).await;
    let (_at_backend, _) = backend.asked().await;
    for _ in 0..2 {
        let response = proxy.client().await.refused_upgrade("/ws").await;
        assert_eq!((response.status(), &proxy.next_record().await["cause"]), (503, &"busy".into()));
    }
    assert_eq!(backend.heads().len(), 1);
    first.reset();
    proxy.stop().await;
}

#[tokio::test]
async fn a_client_that_gives_up_waiting_makes_way_for_the_next() {
    let backend = Backend::by_hand();
    let mut proxy =
        Proxy::before(&[&backend]).upstream("balance: round_robin, max_handshakes: 1, handshake_queue: 1").start();
    let mut first = proxy.client().await;
    first.send(handshake("/ws", "")).await;
    let (mut at_backend, head) = backend.asked().await;
    let mut two = [proxy.client().await, proxy.client().await];
    for client in &mut two {
        client.send(handshake("/ws", "X-Who: impatient\r\n")).await;
    }
    // Only one of the two has a place in the line.
    let [one, other] = &mut two;
    let refused = tokio::select! {
        _ = one.response() => 0,
        _ = other.response() => 1,
    };
    assert_eq!(proxy.next_record().await["cause"], "busy");
    let [one, other] = two;
    (if refused == 0 { other } else { one }).reset();
    assert_eq!(proxy.next_record().await["cause"], "client_gone");
    let mut last = proxy.client().await;
    last.send(handshake("/ws", "X-Who: last\r\n")).await;
    at_backend.accept(&head, "").await;
    first.upgraded().await;
    let (mut at_backend, head) = backend.asked().await;
    assert_eq!(head.header("x-who"), Some("last"));
    at_backend.accept(&head, "").await;
    last.upgraded().await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_handshake_in_line_goes_to_a_backend_that_a_reload_adds() {
    let (busy, comes) = (Backend::by_hand(), Backend::echo());
    let setup = |backends: &[&Backend]| {
        let upstream = "balance: least_conn, max_handshakes: 1, handshake_queue: 1";
        Proxy::before(backends).upstream(upstream).timeout("connect", "1m")
    };
    let mut proxy = setup(&[&busy]).start();
    let mut first = proxy.client().await;
    first.send(handshake("/ws", "")).await;
    let (_at_backend, _) = busy.asked().await;
    let mut answers = JoinSet::new();
    for _ in 0..2 {
        let mut client = proxy.client().await;
        client.send(handshake("/ws", "")).await;
        answers.spawn(async move { client.head().await.status() });
    }
    // Once the line has refused one of them, the other one is in it.
    assert_eq!(within("a refusal", answers.join_next()).await.unwrap().unwrap(), 503);
    proxy.reload(&setup(&[&busy, &comes]));
    assert_eq!(within("an answer of the new backend", answers.join_next()).await.unwrap().unwrap(), 101);
    drop(first);
    proxy.stop().await;
}
