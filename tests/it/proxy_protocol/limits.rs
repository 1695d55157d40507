//! Headers that take their time.

use super::{V1, behind, expect_refused, get_behind, refusals};
use crate::harness::{Backend, Proxy, Wire, within};

/// `proxy_header::MOST_PENDING`.
const MOST_PENDING: usize = 1024;

#[tokio::test]
async fn a_header_has_its_time_from_its_first_byte_and_a_silent_connection_has_that_of_a_request() {
    let backend = Backend::echo();
    let proxy = behind(&[&backend], ", timeout: 100ms").timeout("request_header", "1h").start();
    let mut slow = proxy.client().await;
    slow.send(&V1[..10]).await;
    expect_refused(&proxy, &mut slow, "slow", 1).await;
    proxy.stop().await;

    let proxy = behind(&[&backend], ", timeout: 1h").timeout("request_header", "100ms").start();
    proxy.client().await.expect_gone().await;
    for reason in ["slow", "missing", "cut"] {
        assert_eq!(refusals(&proxy, reason).await, 0, "{reason}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn further_bytes_give_a_header_no_further_time() {
    let backend = Backend::echo();
    let proxy = behind(&[&backend], ", timeout: 1s").timeout("request_header", "250ms").start();
    let mut slow = proxy.client().await;
    slow.send("PROXY UNKNOWN ").await;
    // The clock of this test: a silent connection runs into its deadline, four in the time of the header. A line may go on
    // for 20 bytes more, and for five times its time.
    let mut bytes = 0;
    while slow.try_send(b"x").await {
        bytes += 1;
        assert!(bytes < 20, "the header was still awaited");
        proxy.client().await.expect_gone().await;
    }
    assert_eq!(refusals(&proxy, "slow").await, 1);
    proxy.stop().await;
}

#[tokio::test]
async fn headers_under_way_have_a_bound_that_counts_no_silent_connection_and_no_header_in_one_piece() {
    let backend = Backend::echo();
    let proxy = behind(&[&backend], ", timeout: 1h").timeout("request_header", "1h").start();
    let silent = [proxy.client().await, proxy.client().await];
    let halves = halves(&proxy, MOST_PENDING + 3).await;
    await_refusals(&proxy, "too_many", 3).await;
    assert_eq!(get_behind(&proxy, V1).await.status(), 200);
    let mut served = 0;
    for mut half in halves {
        served += usize::from(half.try_send(&V1[10..]).await && half.try_get().await);
    }
    assert_eq!((served, refusals(&proxy, "too_many").await), (MOST_PENDING, 3));
    drop(silent);
    proxy.stop().await;
}

#[tokio::test]
async fn a_client_that_goes_in_the_middle_of_its_header_gives_its_place_back() {
    let backend = Backend::echo();
    let proxy = behind(&[&backend], ", timeout: 1h").start();
    for round in 1..=2 {
        drop(halves(&proxy, MOST_PENDING).await);
        await_refusals(&proxy, "cut", round * MOST_PENDING).await;
    }
    assert_eq!(refusals(&proxy, "too_many").await, 0);
    proxy.stop().await;
}

/// Connections that have sent a part of their header.
async fn halves(proxy: &Proxy, count: usize) -> Vec<Wire> {
    let mut halves = Vec::new();
    for _ in 0..count {
        let mut client = proxy.client().await;
        client.send(&V1[..10]).await;
        halves.push(client);
    }
    halves
}

async fn await_refusals(proxy: &Proxy, reason: &str, count: usize) {
    within(reason, async { while refusals(proxy, reason).await < count {} }).await;
    assert_eq!(refusals(proxy, reason).await, count);
}

impl Wire {
    /// Whether a GET is answered.
    async fn try_get(&mut self) -> bool {
        self.try_send("GET / HTTP/1.1\r\nHost: chat.example.com\r\n\r\n").await
            && self.next_response().await.is_some_and(|answer| answer.status() == 200)
    }
}
