//! Backends that die, hang or come back, clients that vanish, and sessions beside them that must not lose a byte.
//! `tests/faults/run` does the same to the binary over a network that loses packets.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use crate::harness::{
    Backend, Proxy, Wire,
    frames::{BINARY, CLOSE, TEXT, masked, unmasked, unmasked_close},
    within,
};

/// How many sessions end by force, and how many live at a time.
const KILLS: usize = 500;
const SLOTS: usize = 20;

#[tokio::test]
async fn a_backend_killed_inside_a_message_cuts_that_session_and_no_other() {
    let (dying, living) = (Backend::by_hand(), Backend::echo());
    let routes = format!(
        "  living: {{ backends: [ {{ address: \"{living}\" }} ] }}\n\
         routes: [ {{ path: /living, upstream: living }}, {{ upstream: chat }} ]"
    );
    let mut proxy = Proxy::before(&[&dying]).routes(&routes).start();
    let mut other = proxy.client().await;
    other.upgrade("/living").await;
    let (mut client, mut at_backend) = proxy.session_by_hand(&dying).await;
    let half = &unmasked(BINARY, [7; 100_000])[..60_000];
    tokio::join!(at_backend.send(half), client.expect(half));
    at_backend.reset();
    // Inside a frame, no Close can be sent.
    client.expect_gone().await;
    let record = proxy.next_record().await;
    assert_eq!((&record["cause"], &record["initiator"]), (&"backend_lost".into(), &"backend".into()), "{record}");
    other.send(masked(TEXT, "whole")).await;
    other.expect(unmasked(TEXT, "whole")).await;
    drop(other);
    proxy.stop().await;
}

#[tokio::test]
async fn a_black_holed_backend_costs_a_try_and_the_next_one_serves() {
    let (hole, living) = (Backend::black_hole().await, Backend::echo());
    let mut proxy = Proxy::before(&[&hole, &living]).timeout("connect", "3s").start();
    for _ in 0..2 {
        let mut client = proxy.session().await;
        client.send([masked(TEXT, "served"), masked(CLOSE, "")].concat()).await;
        client.expect(unmasked(TEXT, "served")).await;
        let record = proxy.next_record().await;
        assert_eq!((&record["backend"], &record["status"]), (&living.to_string().into(), &101.into()), "{record}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_backend_that_stalls_in_the_handshake_costs_a_try_and_the_next_one_serves() {
    let (stalled, living) = (Backend::by_hand(), Backend::echo());
    let mut proxy = Proxy::before(&[&stalled, &living]).timeout("upgrade", "3s").start();
    let mut tries = 0;
    for _ in 0..2 {
        let mut client = proxy.session().await;
        client.send(masked(CLOSE, "")).await;
        let record = proxy.next_record().await;
        assert_eq!(record["backend"], living.to_string(), "{record}");
        tries += record["tries"].as_u64().unwrap();
    }
    assert_eq!(tries, 3, "the stalled one was tried once");
    drop(stalled.asked().await);
    proxy.stop().await;
}

#[tokio::test]
async fn no_handshake_fails_while_a_backend_is_killed_and_returns() {
    let (mut dying, living) = (Backend::echo(), Backend::echo());
    let address = dying.address();
    let proxy =
        Proxy::before(&[&living, &dying]).upstream("balance: round_robin, max_fails: 1, fail_timeout: 100ms").start();
    for _ in 0..10 {
        dying.kill().await;
        for _ in 0..5 {
            assert!(echoes(&mut proxy.session().await).await, "the other one serves");
        }
        dying = Backend::echo_at(address);
        // The backend gets its turn again sooner or later. Until then, nobody is refused.
        while dying.connections() == 0 {
            proxy.session().await;
        }
    }
    proxy.stop().await;
    dying.finish().await;
}

async fn echoes(session: &mut Wire) -> bool {
    session.send(masked(TEXT, "alive?")).await;
    session.take(8).await == unmasked(TEXT, "alive?")
}

/// Echoes, and dies in the way that the text of a message asks for.
fn mortal() -> Backend {
    Backend::raw(async |backend: Backend, mut wire| {
        let Some(head) = backend.next_head(&mut wire).await else { return };
        wire.accept(&head, "").await;
        while let Some(frame) = wire.next_frame().await {
            match (frame.first, &frame.payload[..]) {
                (TEXT, b"reset") => return wire.reset(),
                (TEXT, b"fin") => return wire.finish().await,
                (TEXT, b"half") => {
                    wire.try_send(&unmasked(BINARY, [9; 50_000])[..30_000]).await;
                    return wire.reset();
                }
                (CLOSE, payload) => {
                    wire.try_send(unmasked(CLOSE, payload)).await;
                    wire.finish().await;
                    wire.whatever_comes().await;
                    return;
                }
                (first, payload) => {
                    if !wire.try_send(unmasked(first, payload)).await {
                        return;
                    }
                }
            }
        }
    })
}

/// Numbers that look random, but are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        // xorshift64.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % limit
    }

    fn payload(&mut self, most: usize) -> Vec<u8> {
        let length = self.below(most);
        (0..length).map(|_| u8::try_from(self.below(256)).unwrap()).collect()
    }
}

/// A session: its messages must come back byte by byte, then it ends. Returns how it ended.
async fn live_and_die(proxy: &Proxy, numbers: &mut Numbers) -> &'static str {
    let mut client = proxy.session().await;
    for _ in 0..numbers.below(6) {
        let payload = if numbers.below(8) == 0 { numbers.payload(40_000) } else { numbers.payload(300) };
        let (sent, expected) = (masked(BINARY, &payload), unmasked(BINARY, &payload));
        let (mut reading, mut writing) = client.split();
        tokio::join!(reading.expect(expected), writing.send(sent));
        drop(writing);
        client = reading;
    }
    match numbers.below(6) {
        0 => {
            client.reset();
            "client_lost"
        }
        1 => {
            client.send(&masked(BINARY, [1; 500])[..300]).await;
            client.reset();
            "client_lost"
        }
        2 => {
            client.finish().await;
            client.rest().await;
            "client_lost"
        }
        3 => {
            client.send(masked(TEXT, "reset")).await;
            client.expect(unmasked_close(1011, "backend lost")).await;
            "backend_lost"
        }
        4 => {
            client.send(masked(TEXT, "fin")).await;
            client.expect(unmasked_close(1011, "backend lost")).await;
            "backend_lost"
        }
        _ => {
            client.send(masked(TEXT, "half")).await;
            // A reset may overtake the bytes before it. The client reads the begin of these bytes, or a Close that names the
            // loss.
            let came = client.rest().await;
            let half = &unmasked(BINARY, [9; 50_000])[..30_000];
            assert!(half.starts_with(&came) || came == unmasked_close(1011, "backend lost"), "{} bytes", came.len());
            "backend_lost"
        }
    }
}

#[tokio::test]
async fn five_hundred_kills_cost_no_other_session_a_byte_and_leave_a_record_each() {
    let backends = [mortal(), mortal()];
    let proxy = Proxy::before(&[&backends[0], &backends[1]]).start();
    let left = AtomicUsize::new(KILLS);
    let slot = async |seed: u64| {
        let mut numbers = Numbers(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut ends = BTreeMap::<&str, usize>::new();
        while left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
            *ends.entry(live_and_die(&proxy, &mut numbers).await).or_default() += 1;
        }
        ends
    };
    // This session lives through all the faults.
    let mut survivor = proxy.session().await;
    let mut ends = BTreeMap::<&str, usize>::new();
    let slots = futures_util::future::join_all((1..=SLOTS as u64).map(slot)).await;
    for (cause, count) in slots.into_iter().flatten() {
        *ends.entry(cause).or_default() += count;
    }
    assert!(echoes(&mut survivor).await);
    survivor.send(masked(CLOSE, "")).await;
    within("the end of the survivor", survivor.rest()).await;
    *ends.entry("client_close").or_default() += 1;

    let records = proxy.stop().await;
    let mut recorded = BTreeMap::<&str, usize>::new();
    for record in &records {
        assert_eq!(record["kind"], "session", "{record}");
        *recorded.entry(record["cause"].as_str().unwrap()).or_default() += 1;
    }
    assert_eq!(recorded, ends);
}
