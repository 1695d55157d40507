//! Which backend is next: exact turns, the same backend for one client, the backend with the fewest sessions.

use std::collections::BTreeMap;

use crate::harness::{Backend, Proxy, Wire, frames::masked_close, handshake};

/// A new session, and the backend that has it. `fields` are added to its handshake.
async fn session(proxy: &Proxy, fields: &str) -> (Wire, String) {
    let mut client = proxy.client().await;
    client.send(handshake("/ws", fields)).await;
    let backend = client.upgraded().await.header("x-backend").expect("an echo backend").to_owned();
    (client, backend)
}

/// Ends a session properly, and waits for its record, which means that its permit is back.
async fn end(proxy: &mut Proxy, mut client: Wire) {
    client.send(masked_close(1000, "")).await;
    client.expect_close(1000, "").await;
    client.expect_eof().await;
    proxy.next_record().await;
}

#[tokio::test]
async fn thirty_sessions_by_turns_over_two_backends_are_fifteen_each() {
    let (a, b) = (Backend::echo(), Backend::echo());
    let proxy = Proxy::start(&[&a, &b]);
    let mut clients = Vec::new();
    for _ in 0..30 {
        clients.push(session(&proxy, "").await);
    }
    assert_eq!((a.heads().len(), b.heads().len()), (15, 15));
    assert!(clients.windows(2).all(|pair| pair[0].1 != pair[1].1), "turns, not halves");
    proxy.stop().await;
}

#[tokio::test]
async fn thirty_requests_by_turns_over_two_backends_are_fifteen_each() {
    let (a, b) = (Backend::echo(), Backend::echo());
    let proxy = Proxy::start(&[&a, &b]);
    for _ in 0..15 {
        // The two connections may be on two workers, but the turns are those of the whole process.
        assert_eq!(proxy.client().await.get("/", "").await.status(), 200);
        assert_eq!(proxy.client().await.get("/", "").await.status(), 200);
    }
    assert_eq!((a.heads().len(), b.heads().len()), (15, 15));
    proxy.stop().await;
}

#[tokio::test]
async fn turns_follow_the_weights_smoothly() {
    let (heavy, light) = (Backend::echo(), Backend::echo());
    let proxy = Proxy::before(&[&heavy, &light]).backend(0, "weight: 2").start();
    let mut turns = Vec::new();
    for _ in 0..9 {
        turns.push(session(&proxy, "").await.1);
    }
    assert_eq!((heavy.heads().len(), light.heads().len()), (6, 3));
    for round in turns.chunks(3) {
        assert_eq!(round.iter().filter(|turn| **turn == light.to_string()).count(), 1, "smooth: {turns:?}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_client_comes_back_to_its_backend_by_the_hash_of_its_address() {
    let backends = [Backend::echo(), Backend::echo(), Backend::echo()];
    let proxy = Proxy::before(&[&backends[0], &backends[1], &backends[2]])
        .upstream("balance: ip_hash")
        .with("trusted_proxies: [ 127.0.0.1/32 ]")
        .start();
    let mut first_choice = BTreeMap::new();
    for round in 0..3 {
        for last in 1..=24 {
            let fields = format!("X-Forwarded-For: 203.0.113.{last}\r\n");
            let (_, backend) = session(&proxy, &fields).await;
            let known = first_choice.entry(last).or_insert_with(|| backend.clone());
            assert_eq!(*known, backend, "client {last} in round {round}");
        }
    }
    for backend in &backends {
        assert!(first_choice.values().any(|chosen| *chosen == backend.to_string()), "{backend} has no client");
    }

    backends[0].kill().await;
    for (last, known) in &first_choice {
        let (_, backend) = session(&proxy, &format!("X-Forwarded-For: 203.0.113.{last}\r\n")).await;
        if *known == backends[0].to_string() {
            assert_ne!(backend, *known);
        } else {
            assert_eq!(backend, *known, "only the clients of the lost backend move");
        }
    }
    proxy.stop().await;
}

#[tokio::test]
async fn ipv6_clients_of_one_64_share_a_backend() {
    let backends = [Backend::echo(), Backend::echo(), Backend::echo()];
    let proxy = Proxy::before(&[&backends[0], &backends[1], &backends[2]])
        .upstream("balance: ip_hash")
        .with("trusted_proxies: [ 127.0.0.1/32 ]")
        .start();
    let (_, known) = session(&proxy, "X-Forwarded-For: 2001:db8:1:2::1\r\n").await;
    for host in 2..12 {
        let (_, backend) = session(&proxy, &format!("X-Forwarded-For: 2001:db8:1:2::{host:x}\r\n")).await;
        assert_eq!(backend, known);
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_value_of_the_request_decides_and_not_who_sends_it() {
    let backends = [Backend::echo(), Backend::echo(), Backend::echo()];
    for (hash_on, fields, path) in [
        ("{ header: X-User }", "X-User: KEY\r\nX-User: other\r\n", "/ws"),
        ("{ cookie: sid }", "Cookie: theme=dark; sid=KEY\r\n", "/ws"),
        ("{ query: room }", "", "/ws?a=1&room=KEY"),
    ] {
        let proxy = Proxy::before(&[&backends[0], &backends[1], &backends[2]])
            .upstream(&format!("balance: hash, hash_on: {hash_on}"))
            .with("trusted_proxies: [ 127.0.0.1/32 ]")
            .start();
        let mut first_choice = BTreeMap::new();
        for round in 0..2 {
            for key in ["ann", "bob", "cy", "dee", "eve", "flo", "gil", "hal", "ida", "joe", "kim", "lee"] {
                let mut client = proxy.client().await;
                let from = format!("X-Forwarded-For: 203.0.113.{round}\r\n{}", fields.replace("KEY", key));
                client.send(handshake(&path.replace("KEY", key), &from)).await;
                let backend = client.upgraded().await.header("x-backend").expect("an echo backend").to_owned();
                let known = first_choice.entry(key).or_insert_with(|| backend.clone());
                assert_eq!(*known, backend, "{key} by {hash_on}");
            }
        }
        let used: std::collections::BTreeSet<_> = first_choice.values().collect();
        assert!(used.len() > 1, "{hash_on}: all went to one: {first_choice:?}");
        drop(proxy);
    }
}

#[tokio::test]
async fn without_the_value_it_is_the_hash_of_the_address() {
    let backends = [Backend::echo(), Backend::echo(), Backend::echo()];
    let setup = |upstream| {
        Proxy::before(&[&backends[0], &backends[1], &backends[2]])
            .upstream(upstream)
            .with("trusted_proxies: [ 127.0.0.1/32 ]")
            .start()
    };
    let by_value = setup("balance: hash, hash_on: { cookie: sid }");
    let by_address = setup("balance: ip_hash");
    for last in 1..=12 {
        let fields = format!("X-Forwarded-For: 203.0.113.{last}\r\n");
        assert_eq!(session(&by_value, &fields).await.1, session(&by_address, &fields).await.1);
    }
}

#[tokio::test]
async fn the_better_of_two_backends_is_the_one_with_fewer_sessions() {
    let (a, b) = (Backend::echo(), Backend::echo());
    let proxy = Proxy::before(&[&a, &b]).upstream("balance: random_two").start();
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(session(&proxy, "").await);
    }
    // With two backends, both are drawn, so the one with more sessions never gets the next.
    assert_eq!((a.heads().len(), b.heads().len()), (5, 5));
    proxy.stop().await;
}

#[tokio::test]
async fn least_conn_counts_live_sessions_for_their_whole_life() {
    let (a, b) = (Backend::echo(), Backend::echo());
    let mut proxy = Proxy::before(&[&a, &b]).upstream("balance: least_conn").start();
    let mut sessions = Vec::new();
    for _ in 0..6 {
        sessions.push(session(&proxy, "").await);
    }
    let (mut on_a, on_b): (Vec<_>, Vec<_>) = sessions.into_iter().partition(|(_, backend)| *backend == a.to_string());
    assert_eq!((on_a.len(), on_b.len()), (3, 3));
    // Two sessions leave `a`. The next two go to `a`, whichever backend has the turn.
    for _ in 0..2 {
        end(&mut proxy, on_a.pop().unwrap().0).await;
    }
    for _ in 0..2 {
        let (client, backend) = session(&proxy, "").await;
        assert_eq!(backend, a.to_string());
        on_a.push((client, backend));
    }
    proxy.stop().await;
}

#[tokio::test]
async fn max_conns_sends_the_next_session_elsewhere_and_503_where_all_are_full() {
    let (a, b) = (Backend::echo(), Backend::echo());
    let mut proxy = Proxy::before(&[&a, &b]).backend(0, "max_conns: 1").backend(1, "max_conns: 2").start();
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(session(&proxy, "").await);
    }
    assert_eq!((a.heads().len(), b.heads().len()), (1, 2));
    let response = proxy.client().await.refused_upgrade("/ws").await;
    assert_eq!(response.status(), 503);
    assert_eq!(proxy.next_record().await["cause"], "unavailable");

    let full = sessions.iter().position(|(_, backend)| *backend == a.to_string()).unwrap();
    end(&mut proxy, sessions.remove(full).0).await;
    assert_eq!(session(&proxy, "").await.1, a.to_string());
    proxy.stop().await;
}

#[tokio::test]
async fn a_backup_serves_only_when_no_other_can() {
    let (first, backup) = (Backend::echo(), Backend::echo());
    let proxy = Proxy::before(&[&first, &backup]).backend(1, "backup: true").start();
    for _ in 0..4 {
        assert_eq!(session(&proxy, "").await.1, first.to_string());
    }
    first.kill().await;
    for _ in 0..4 {
        assert_eq!(session(&proxy, "").await.1, backup.to_string());
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_backend_that_is_down_gets_nothing_even_when_the_others_fail() {
    let (down, failing) = (Backend::echo(), Backend::refusing());
    let proxy = Proxy::before(&[&down, &failing]).backend(0, "down: true").start();
    for _ in 0..4 {
        assert_eq!(proxy.client().await.refused_upgrade("/ws").await.status(), 502);
    }
    assert_eq!(down.connections(), 0);
    proxy.stop().await;
}
