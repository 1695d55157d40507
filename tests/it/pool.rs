//! Connections with backends: which requests share one, and which never do.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use tokio::task::JoinSet;

use crate::harness::{
    Backend, Head, Proxy, Wire,
    frames::{TEXT, masked, unmasked},
    handshake, within,
};

/// A backend that authenticates connections, as IIS does.
///
/// Each connection has a challenge of its own. After the right answer to the challenge, all requests of the connection are
/// those of one user, and each answer is the user's name. The backend accepts a handshake of a known user.
fn ntlm() -> Backend {
    let connections = Arc::new(AtomicUsize::new(0));
    Backend::raw(move |backend, wire| {
        let challenge = format!("challenge{}", connections.fetch_add(1, Relaxed));
        authenticate(backend, wire, challenge)
    })
}

async fn authenticate(backend: Backend, mut wire: Wire, challenge: String) {
    let mut user = None;
    while let Some(head) = backend.next_head(&mut wire).await {
        let length = head.header("content-length").map_or(0, |length| length.parse().unwrap());
        wire.take(length).await;
        let words: Vec<_> = head.header("authorization").unwrap_or_default().split(' ').collect();
        let refused = match words[..] {
            ["NTLM", "hello"] => Some(format!("NTLM {challenge}")),
            ["NTLM", name, answer] if answer == challenge => {
                user = Some(name.to_owned());
                None
            }
            ["NTLM", ..] => Some("NTLM".to_owned()),
            _ => user.is_none().then(|| "NTLM".to_owned()),
        };
        match (refused, &user) {
            (None, Some(name)) if head.header("upgrade").is_some() => {
                wire.accept(&head, &format!("X-User: {name}\r\n")).await;
                let frame = wire.frame().await;
                wire.send(unmasked(TEXT, [name.as_bytes(), b": ", &frame.payload].concat())).await;
                wire.whatever_comes().await;
                return;
            }
            (None, Some(name)) => {
                wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len())).await;
            }
            (challenge, _) => {
                let challenge = challenge.unwrap();
                wire.send(format!(
                    "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\", {challenge}\r\n\
                     Content-Length: 0\r\n\r\n"
                ))
                .await;
            }
        }
    }
}

/// The challenge in a 401.
fn challenge(head: &Head) -> String {
    assert_eq!(head.status(), 401, "{}", head.as_str());
    head.header("www-authenticate").unwrap().rsplit(' ').next().unwrap().to_owned()
}

/// Goes through all three steps of NTLM.
async fn log_in(client: &mut Wire, name: &str) {
    assert_eq!(client.get("/", "").await.status(), 401);
    let asked = client.get("/", "Authorization: NTLM hello\r\n").await;
    let challenge = challenge(&asked.head);
    let answer = client.get("/", &format!("Authorization: NTLM {name} {challenge}\r\n")).await;
    assert_eq!((answer.status(), answer.text()), (200, name));
}

#[tokio::test]
async fn a_client_without_credentials_is_never_answered_as_another_one_that_logged_in() {
    let backend = ntlm();
    let proxy = Proxy::start(&[&backend]);
    let mut alice = proxy.client().await;
    log_in(&mut alice, "alice").await;
    for _ in 0..4 {
        // One stranger on each worker.
        let (mut one, mut other) = (proxy.client().await, proxy.client().await);
        for stranger in [&mut one, &mut other] {
            let answer = stranger.get("/", "").await;
            assert_eq!((answer.status(), answer.text()), (401, ""));
        }
    }
    assert_eq!(alice.get("/", "").await.text(), "alice");
    proxy.stop().await;
}

#[tokio::test]
async fn of_a_thousand_mixed_requests_each_client_reads_its_own_name() {
    let (one, other) = (ntlm(), ntlm());
    let proxy = Proxy::before(&[&one, &other]).start();
    // In this order, each worker has a client of each user.
    let mut clients = Vec::new();
    for name in ["alice", "alice", "bob", "bob"] {
        let mut client = proxy.client().await;
        log_in(&mut client, name).await;
        clients.push((name, client));
    }
    let mut mixed = JoinSet::new();
    for (name, mut client) in clients {
        let address = proxy.address();
        mixed.spawn(async move {
            for round in 0..250 {
                let answer = match round % 3 {
                    0 => {
                        client.send("POST / HTTP/1.1\r\nHost: chat\r\nContent-Length: 4\r\n\r\nping").await;
                        client.response().await
                    }
                    _ => client.get("/", "").await,
                };
                assert_eq!((answer.status(), answer.text()), (200, name), "request {round}");
                if round % 10 == 0 {
                    let answer = Wire::connect(address).await.get("/", "").await;
                    assert_eq!((answer.status(), answer.text()), (401, ""), "a stranger beside request {round}");
                }
            }
        });
    }
    mixed.join_all().await;
    proxy.stop().await;
}

#[tokio::test]
async fn requests_that_a_client_sends_ahead_are_its_own_too() {
    let backend = ntlm();
    let proxy = Proxy::start(&[&backend]);
    let mut client = proxy.client().await;
    log_in(&mut client, "alice").await;
    client.send("GET / HTTP/1.1\r\nHost: chat\r\n\r\n".repeat(20)).await;
    for _ in 0..20 {
        assert_eq!(client.response().await.text(), "alice");
    }
    assert_eq!(backend.connections(), 1);
    proxy.stop().await;
}

#[tokio::test]
async fn a_handshake_that_is_answered_with_a_challenge_goes_on_over_the_same_connections() {
    let (one, other) = (ntlm(), ntlm());
    let proxy = Proxy::before(&[&one, &other]).start();
    let mut client = proxy.client().await;
    assert_eq!(client.refused_upgrade("/ws").await.status(), 401);
    client.send(handshake("/ws", "Authorization: NTLM hello\r\n")).await;
    let challenge = challenge(&client.response().await.head);
    client.send(handshake("/ws", &format!("Authorization: NTLM alice {challenge}\r\n"))).await;
    assert_eq!(client.upgraded().await.header("x-user"), Some("alice"));
    client.send(masked(TEXT, "hello")).await;
    assert_eq!(client.frame().await.payload, b"alice: hello");
    assert_eq!(one.connections() + other.connections(), 1);
    drop(client);
    proxy.stop().await;
}

#[tokio::test]
async fn a_handshake_of_a_client_that_has_logged_in_is_accepted_as_its_own() {
    let backend = ntlm();
    let proxy = Proxy::start(&[&backend]);
    let mut client = proxy.client().await;
    log_in(&mut client, "alice").await;
    client.send(handshake("/ws", "")).await;
    let head = client.upgraded().await;
    assert_eq!((head.first_line(), head.header("x-user")), ("HTTP/1.1 101 Switching Protocols", Some("alice")));
    drop(client);
    proxy.stop().await;
}

#[tokio::test]
async fn a_handshake_that_is_refused_otherwise_ends_its_connection_as_ever() {
    let backend = Backend::answering("HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n");
    let proxy = Proxy::start(&[&backend]);
    let mut client = proxy.client().await;
    let answer = client.refused_upgrade("/ws").await;
    assert_eq!((answer.status(), answer.head.header("connection")), (401, Some("close")));
    client.expect_eof().await;
    client.finish().await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_connection_that_authenticated_a_client_is_closed_with_the_clients() {
    let backend = Backend::by_hand();
    let proxy = Proxy::start(&[&backend]);
    for field in ["WWW-Authenticate: Negotiate", "Proxy-Authenticate: NTLM", "Persistent-Auth: true"] {
        let mut client = proxy.client().await;
        client.send("GET / HTTP/1.1\r\nHost: chat\r\n\r\n").await;
        let (mut at_backend, _) = backend.asked().await;
        at_backend.send(format!("HTTP/1.1 200 OK\r\n{field}\r\nContent-Length: 0\r\n\r\n")).await;
        assert_eq!(client.response().await.status(), 200);
        drop(client);
        at_backend.expect_gone().await;
    }
    for field in ["Authorization: Negotiate YII", "Proxy-Authorization: NTLM TlR"] {
        let mut client = proxy.client().await;
        client.send(format!("GET / HTTP/1.1\r\nHost: chat\r\n{field}\r\n\r\n")).await;
        let (mut at_backend, _) = backend.asked().await;
        at_backend.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!(client.response().await.status(), 200);
        drop(client);
        at_backend.expect_gone().await;
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_client_whose_connection_was_closed_by_the_backend_begins_anew() {
    let backend = Backend::by_hand();
    let proxy = Proxy::start(&[&backend]);
    let mut client = proxy.client().await;
    client.send("GET /1 HTTP/1.1\r\nHost: chat\r\nAuthorization: NTLM hello\r\n\r\n").await;
    let (mut at_backend, _) = backend.asked().await;
    at_backend.send("HTTP/1.1 401 No\r\nWWW-Authenticate: NTLM abc\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(client.response().await.status(), 401);
    at_backend.finish().await;
    at_backend.expect_gone().await;
    client.send("GET /2 HTTP/1.1\r\nHost: chat\r\nAuthorization: NTLM alice abc\r\n\r\n").await;
    let (mut at_backend, head) = backend.asked().await;
    assert_eq!(head.first_line(), "GET /2 HTTP/1.1");
    at_backend.send("HTTP/1.1 401 No\r\nWWW-Authenticate: NTLM\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(client.response().await.status(), 401);
    proxy.stop().await;
}

#[tokio::test]
async fn with_reuse_never_each_request_has_a_connection_of_its_own() {
    let backend = Backend::echo();
    let proxy = Proxy::before(&[&backend]).upstream("balance: round_robin, reuse: never").start();
    let mut client = proxy.client().await;
    for _ in 0..3 {
        assert_eq!(client.get("/", "").await.status(), 200);
    }
    assert_eq!(backend.connections(), 3);
    proxy.stop().await;
}

#[tokio::test]
async fn with_reuse_never_a_login_still_has_its_connection() {
    let backend = ntlm();
    let proxy = Proxy::before(&[&backend]).upstream("balance: round_robin, reuse: never").start();
    let mut client = proxy.client().await;
    log_in(&mut client, "alice").await;
    assert_eq!(client.get("/", "").await.text(), "alice");
    assert_eq!(backend.connections(), 1);
    proxy.stop().await;
}

#[tokio::test]
async fn bytes_behind_an_answer_are_no_answer_to_the_next_request() {
    const TWO: &str = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\noneHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo";
    let backend = Backend::raw(async |backend: Backend, mut wire: Wire| {
        while backend.next_head(&mut wire).await.is_some() {
            if !wire.try_send(TWO).await {
                return;
            }
        }
    });
    let proxy = Proxy::start(&[&backend]);
    let mut client = proxy.client().await;
    for _ in 0..20 {
        assert_eq!(client.get("/", "").await.text(), "one");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn an_idle_connection_that_its_backend_ends_or_speaks_on_is_closed_at_once() {
    let backend = Backend::by_hand();
    let proxy = Proxy::start(&[&backend]);
    let mut client = proxy.client().await;
    for last_word in ["", "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"] {
        client.send("GET / HTTP/1.1\r\nHost: chat\r\n\r\n").await;
        let (mut at_backend, _) = backend.asked().await;
        at_backend.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        assert_eq!(client.response().await.text(), "ok");
        match last_word {
            "" => at_backend.finish().await,
            _ => at_backend.send(last_word).await,
        }
        at_backend.expect_gone().await;
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_connection_whose_request_is_not_through_yet_is_left_alone_by_others() {
    let backend = Backend::by_hand();
    let proxy = Proxy::start(&[&backend]);
    // Two clients for each worker.
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(proxy.client().await);
    }
    clients[0].send("POST /slow HTTP/1.1\r\nHost: chat\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;
    let (mut slow, _) = backend.asked().await;
    assert_eq!(slow.chunk().await, b"first");
    slow.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(clients[0].response().await.status(), 200);
    for client in &mut clients[1..] {
        client.send("GET / HTTP/1.1\r\nHost: chat\r\n\r\n").await;
        let (mut at_backend, _) = backend.asked().await;
        at_backend.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!(client.response().await.status(), 200);
    }
    clients[0].send("6\r\nsecond\r\n0\r\n\r\n").await;
    assert_eq!(slow.chunk().await, b"second");
    assert_eq!(slow.chunk().await, b"");
    clients[0].send("GET /next HTTP/1.1\r\nHost: chat\r\n\r\n").await;
    assert_eq!(within("the next request on it", slow.head()).await.first_line(), "GET /next HTTP/1.1");
    proxy.stop().await;
}

#[tokio::test]
async fn a_request_that_kills_its_backend_is_sent_there_twice_at_most() {
    let deaths = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&deaths);
    let barrier = Arc::new(tokio::sync::Barrier::new(8));
    let backend = Backend::raw(move |backend: Backend, mut wire: Wire| {
        let (deaths, barrier) = (Arc::clone(&count), Arc::clone(&barrier));
        async move {
            while let Some(head) = backend.next_head(&mut wire).await {
                if head.first_line().contains("/kill") {
                    deaths.fetch_add(1, Relaxed);
                    return;
                }
                // Waits for the other requests, so that each of them needs a connection of its own.
                barrier.wait().await;
                wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            }
        }
    });
    let proxy = Proxy::start(&[&backend]);
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        let mut client = proxy.client().await;
        clients.spawn(async move {
            assert_eq!(client.get("/", "").await.status(), 200);
            client
        });
    }
    let mut clients = clients.join_all().await;
    assert_eq!(backend.connections(), 8);
    assert_eq!(clients[0].get("/kill", "").await.status(), 502);
    assert_eq!(deaths.load(Relaxed), 2);
    proxy.stop().await;
}
