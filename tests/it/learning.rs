//! `keepalive.learn`: sessions that begin after a limit of silence was seen are pinged often enough to live.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use longwire::learning::LearningRules;
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{interval, timeout},
};

use crate::{
    explained::get,
    harness::{
        Backend, Proxy, Setup, Wire,
        frames::{PING, PONG, TEXT, masked, unmasked},
        handshake,
    },
};

/// The silence after which the path to the backend is cut, where no session has to outlive it.
const SHORT: Duration = Duration::from_secs(1);
/// The same where sessions have to, on a machine that stands still for two seconds too.
const LONG: Duration = Duration::from_secs(4);
/// The time between two messages of a session.
const PACE: Duration = Duration::from_millis(25);
/// A machine that stood still has made the silences of some sessions longer. The next ones are told by themselves.
const TRIES: usize = 5;
/// A backend says `alive` after so many Pings of one session.
const PINGS: usize = 4;

/// A backend behind something that ends by FIN what is silent for as long as `limit`, while the flag says so. The backend answers
/// each message and each Ping.
fn behind_a_limit(limit: Duration) -> (Backend, Arc<AtomicBool>) {
    let has_limit = Arc::new(AtomicBool::new(true));
    let flag = Arc::clone(&has_limit);
    let backend = Backend::script(move |mut wire, head| {
        let has_limit = Arc::clone(&flag);
        async move {
            wire.accept(&head, "").await;
            let mut pings = 0;
            loop {
                let frame = match timeout(limit, wire.next_frame()).await {
                    Ok(Some(frame)) => frame,
                    Err(_) if !has_limit.load(Relaxed) => continue,
                    _ => return,
                };
                match frame.first {
                    TEXT => wire.send(unmasked(TEXT, "x")).await,
                    PING => {
                        pings += 1;
                        wire.send(unmasked(PONG, &frame.payload)).await;
                        if pings == PINGS {
                            wire.send(unmasked(TEXT, "alive")).await;
                        }
                    }
                    // RFC 6455 §5.5.1: a Close is answered by a Close.
                    _ => return wire.send(unmasked(frame.first, &frame.payload)).await,
                }
            }
        }
    });
    (backend, has_limit)
}

fn before(backend: &Backend, keepalive: &str) -> Setup {
    Proxy::before(&[backend])
        .with("trusted_proxies: [ 127.0.0.0/8 ]")
        .with(&format!("keepalive: {{ sides: [backend], {keepalive} }}"))
        .timeout("close", "100ms")
}

fn with_admin(setup: Setup) -> Setup {
    setup.with("admin: { bind: \"127.0.0.1:0\" }")
}

/// Learns whole tenths of a second, too.
fn start(setup: Setup) -> Proxy {
    let proxy = setup.start();
    proxy.control().set_learning_rules(LearningRules { floor: Duration::from_millis(100), ..LearningRules::default() });
    proxy
}

/// A session of a client from a network.
async fn session_from(proxy: &Proxy, network: u32) -> Wire {
    let mut client = proxy.client().await;
    client.send(handshake("/ws", &format!("X-Forwarded-For: 10.0.{network}.1\r\n"))).await;
    client.upgraded().await;
    client
}

/// A session that is busy for a time, which differs from session to session, and then silent until it is lost. On a machine that
/// stands still it may be lost before.
async fn be_lost(mut client: Wire, number: u32) {
    let mut ticks = interval(PACE);
    for _ in 0..=(number * 7) % 37 {
        ticks.tick().await;
        if !client.try_send(masked(TEXT, "x")).await || client.frame().await.first != TEXT {
            return;
        }
    }
    client.expect_close(1011, "backend lost").await;
}

/// Loses sessions of clients from so many networks, and has the process learn from that.
async fn lose(proxy: &Proxy, networks: u32) {
    let mut ticks = interval(PACE);
    let mut sessions = JoinSet::new();
    for number in 0..64 {
        ticks.tick().await;
        sessions.spawn(be_lost(session_from(proxy, number % networks).await, number));
    }
    sessions.join_all().await;
    proxy.control().learn_now().await;
}

/// Lives through several silences, each of which only a Ping ends.
async fn live(mut client: Wire) {
    client.expect(unmasked(TEXT, "alive")).await;
    client.leave().await;
}

async fn learned(proxy: &Proxy) -> Value {
    get(proxy, "/api/status").await["learned"].take()
}

/// Loses sessions until something is learned.
async fn teach(proxy: &Proxy, networks: u32) {
    for _ in 0..TRIES {
        lose(proxy, networks).await;
        if learned(proxy).await != json!([]) {
            return;
        }
    }
    panic!("nothing is learned");
}

#[tokio::test]
async fn sessions_that_begin_after_eight_networks_showed_a_limit_live() {
    let (backend, _) = behind_a_limit(LONG);
    let learns = "ping_interval: 20s, learn: true";
    let mut proxy = start(with_admin(before(&backend, learns)));
    lose(&proxy, 7).await;
    assert!(!get(&proxy, "/api/findings").await["findings"].as_array().unwrap().is_empty());
    assert_eq!(learned(&proxy).await, json!([]));
    teach(&proxy, 8).await;
    let known = learned(&proxy).await;
    // Two fifths of 4 s, in whole seconds.
    let expected = json!({ "route": "*/", "side": "backend", "ping_interval_ms": 1000, "since": known[0]["since"] });
    assert_eq!(known, json!([expected]));
    assert!(known[0]["since"].is_string(), "{known}");
    let first = session_from(&proxy, 1).await;
    proxy.reload(&with_admin(before(&backend, learns)).with("drain: { spread: 0s }"));
    assert_eq!(learned(&proxy).await, known);
    tokio::join!(live(first), live(session_from(&proxy, 1).await));
    proxy.reload(&with_admin(before(&backend, "ping_interval: 21s, learn: true")));
    assert_eq!(learned(&proxy).await, json!([]));
    proxy.control().learn_now().await;
    assert_eq!(learned(&proxy).await[0]["ping_interval_ms"], 1000);
    proxy.reload(&with_admin(before(&backend, "ping_interval: 21s")));
    proxy.control().learn_now().await;
    assert_eq!(learned(&proxy).await, json!([]));
    proxy.stop().await;
}

#[tokio::test]
async fn once_the_limit_is_gone_sessions_on_trial_live_and_what_was_learned_is_forgotten() {
    let (backend, has_limit) = behind_a_limit(SHORT);
    let proxy = start(with_admin(before(&backend, "ping_interval: 1500ms, learn: true")));
    teach(&proxy, 64).await;
    proxy.control().set_learning_rules(LearningRules { rest: Duration::ZERO, floor: Duration::from_millis(100) });
    let try_all = async |proxy: &Proxy| {
        let mut sessions = JoinSet::new();
        for number in 0..8 * 16 {
            sessions.spawn(live(session_from(proxy, number).await));
        }
        sessions.join_all().await;
    };
    proxy.control().learn_now().await;
    has_limit.store(false, Relaxed);
    try_all(&proxy).await;
    assert_ne!(learned(&proxy).await, json!([]));
    proxy.control().learn_now().await;
    assert_eq!(learned(&proxy).await, json!([]));
    proxy.stop().await;
}

#[tokio::test]
async fn a_process_without_an_admin_interface_learns_once_a_reload_says_so() {
    let (backend, _) = behind_a_limit(SHORT);
    let mut proxy = start(before(&backend, "ping_interval: 5s"));
    proxy.reload(&before(&backend, "ping_interval: 5s, learn: true"));
    for tries in 1.. {
        assert!(tries <= TRIES, "no session lives");
        lose(&proxy, 64).await;
        let mut client = session_from(&proxy, 1).await;
        if client.frame().await.first == TEXT {
            client.leave().await;
            break;
        }
    }
    proxy.stop().await;
}
