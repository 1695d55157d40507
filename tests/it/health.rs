//! Failures are noticed, the next backend takes over, and a backend that is well again is forgiven. Nothing is sent twice
//! that must not be.

use crate::harness::{
    Backend, Proxy,
    frames::{TEXT, masked, unmasked},
    handshake,
};

#[tokio::test]
async fn sessions_go_to_the_other_backend_at_once_when_one_is_killed() {
    let (a, b) = (Backend::echo(), Backend::echo());
    let mut proxy = Proxy::start(&[&a, &b]);
    let mut on_a = proxy.session().await;
    let mut on_b = proxy.session().await;
    assert_eq!((a.heads().len(), b.heads().len()), (1, 1));
    a.kill().await;
    on_a.expect_close(1011, "backend lost").await;
    assert_eq!(proxy.next_record().await["cause"], "backend_lost");
    for _ in 0..10 {
        proxy.session().await;
    }
    assert_eq!(b.heads().len(), 11);
    on_b.send(masked(TEXT, "untouched")).await;
    on_b.expect(unmasked(TEXT, "untouched")).await;
    proxy.stop().await;
}

#[tokio::test]
async fn max_fails_take_a_backend_out() {
    let (bad, good) = (Backend::refusing(), Backend::echo());
    let mut proxy =
        Proxy::before(&[&bad, &good]).upstream("balance: round_robin, max_fails: 2, fail_timeout: 1h").start();
    let mut tries = Vec::new();
    for _ in 0..10 {
        assert_eq!(proxy.client().await.get("/", "").await.status(), 200);
        tries.push(proxy.next_record().await["tries"].as_u64().unwrap());
    }
    assert_eq!(tries.iter().filter(|tries| **tries == 2).count(), 2, "two failures, then out: {tries:?}");
    assert_eq!(tries[5..], [1; 5], "{tries:?}");
    proxy.stop().await;
}

#[tokio::test]
async fn zero_max_fails_never_takes_a_backend_out() {
    let (bad, good) = (Backend::refusing(), Backend::echo());
    let mut proxy = Proxy::before(&[&bad, &good]).upstream("balance: round_robin, max_fails: 0").start();
    let mut failed = 0;
    for _ in 0..10 {
        assert_eq!(proxy.client().await.get("/", "").await.status(), 200);
        failed += proxy.next_record().await["tries"].as_u64().unwrap() - 1;
    }
    assert_eq!(failed, 5, "every turn of the bad one was tried");
    proxy.stop().await;
}

#[tokio::test]
async fn a_backend_that_returns_gets_sessions_again_after_fail_timeout() {
    let (lost, other) = (Backend::refusing(), Backend::echo());
    let proxy =
        Proxy::before(&[&lost, &other]).upstream("balance: round_robin, max_fails: 1, fail_timeout: 300ms").start();
    for _ in 0..4 {
        proxy.session().await;
    }
    assert_eq!(other.heads().len(), 4);
    lost.listen();
    crate::harness::within("a session at the returned backend", async {
        while lost.heads().is_empty() {
            proxy.session().await;
        }
    })
    .await;
    // The trial counted as a success at its 101, so the backend takes its full turns while that session still lives.
    let before = lost.heads().len();
    for _ in 0..10 {
        proxy.session().await;
    }
    assert_eq!(lost.heads().len() - before, 5);
    proxy.stop().await;
}

#[tokio::test]
async fn backends_that_are_all_out_are_tried_all_the_same() {
    let backend = Backend::refusing();
    let proxy = Proxy::before(&[&backend]).upstream("balance: round_robin, max_fails: 1, fail_timeout: 1h").start();
    for _ in 0..3 {
        assert_eq!(proxy.client().await.refused_upgrade("/ws").await.status(), 502);
    }
    backend.listen();
    proxy.session().await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_handshake_answered_503_goes_to_the_next_backend_and_is_no_failure() {
    for status in [502, 503, 504] {
        let full = Backend::answering(format!("HTTP/1.1 {status} Full\r\nContent-Length: 4\r\n\r\nfull"));
        let good = Backend::echo();
        let mut proxy =
            Proxy::before(&[&full, &good]).upstream("balance: round_robin, max_fails: 1, fail_timeout: 1h").start();
        for _ in 0..6 {
            proxy.session().await;
        }
        assert_eq!((full.heads().len(), good.heads().len()), (3, 6), "{status}");
        for _ in 0..6 {
            proxy.next_record().await;
        }
        proxy.stop().await;
    }
}

#[tokio::test]
async fn the_last_503_to_a_handshake_is_passed_on() {
    let full = [
        Backend::answering("HTTP/1.1 503 Full\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nfull"),
        Backend::answering("HTTP/1.1 503 Full\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nfull"),
    ];
    let mut proxy = Proxy::start(&[&full[0], &full[1]]);
    let response = proxy.client().await.refused_upgrade("/ws").await;
    assert_eq!((response.status(), response.text()), (503, "full"));
    assert_eq!(response.head.header("retry-after"), Some("7"));
    let record = proxy.next_record().await;
    assert_eq!((&record["tries"], &record["status"]), (&2.into(), &503.into()), "{record}");
    proxy.stop().await;
}

#[tokio::test]
async fn a_503_to_a_plain_request_is_passed_on_at_once() {
    let (full, good) = (Backend::answering("HTTP/1.1 503 Full\r\nContent-Length: 4\r\n\r\nfull"), Backend::echo());
    let proxy = Proxy::start(&[&full, &good]);
    assert_eq!(proxy.client().await.get("/", "").await.text(), "full");
    assert_eq!(good.connections(), 0);
    proxy.stop().await;
}

#[tokio::test]
async fn a_post_that_was_sent_is_never_sent_twice() {
    let (lost, other) = (Backend::script(async |wire, _| drop(wire)), Backend::echo());
    let mut proxy = Proxy::before(&[&lost, &other]).start();
    let mut client = proxy.client().await;
    client.send("POST /pay HTTP/1.1\r\nHost: chat\r\nContent-Length: 3\r\n\r\n100").await;
    assert_eq!(client.response().await.status(), 502);
    let record = proxy.next_record().await;
    assert_eq!((&record["tries"], &record["cause"]), (&1.into(), &"closed_early".into()), "{record}");
    assert_eq!((lost.heads().len(), other.heads().len()), (1, 0));
    proxy.stop().await;
}

#[tokio::test]
async fn a_post_of_which_nothing_was_sent_goes_to_the_next_backend() {
    let (refusing, black_hole, good) = (Backend::refusing(), Backend::black_hole().await, Backend::echo());
    let mut proxy = Proxy::before(&[&refusing, &black_hole, &good]).timeout("connect", "3s").start();
    let mut client = proxy.client().await;
    client.send("POST /pay HTTP/1.1\r\nHost: chat\r\nContent-Length: 3\r\n\r\n100").await;
    assert_eq!(client.response().await.status(), 200);
    let record = proxy.next_record().await;
    assert_eq!((&record["tries"], &record["backend"]), (&3.into(), &good.to_string().into()), "{record}");
    proxy.stop().await;
}

#[tokio::test]
async fn a_get_and_a_handshake_that_were_sent_go_to_the_next_backend() {
    for answer in ["", "HTTP/1.1 2", "garbage\r\n\r\n"] {
        let lost = Backend::script(move |mut wire, _| async move { wire.send_and_finish(answer).await });
        let good = Backend::echo();
        let mut proxy = Proxy::before(&[&lost, &good]).upstream("balance: round_robin, max_fails: 0").start();
        assert_eq!(proxy.client().await.get("/", "").await.status(), 200, "{answer:?}");
        assert_eq!(proxy.next_record().await["tries"], 2);
        for _ in 0..2 {
            proxy.session().await;
        }
        assert_eq!(good.heads().len(), 3, "{answer:?}");
        proxy.stop().await;
    }
}

#[tokio::test]
async fn no_more_backends_are_tried_than_the_file_allows() {
    let bad = [Backend::refusing(), Backend::refusing(), Backend::echo()];
    let mut proxy = Proxy::before(&[&bad[0], &bad[1], &bad[2]]).upstream("balance: round_robin, tries: 2").start();
    assert_eq!(proxy.client().await.refused_upgrade("/ws").await.status(), 502);
    assert_eq!(proxy.next_record().await["tries"], 2);
    assert_eq!(bad[2].connections(), 0);
    proxy.stop().await;
}

/// Answers the first request of its first connection, and hangs up on the second; later connections are good.
fn hanging_up_on_reuse() -> Backend {
    Backend::raw(async |backend: Backend, mut wire| {
        let first_connection = backend.heads().is_empty();
        while let Some(head) = backend.next_head(&mut wire).await {
            if first_connection && backend.heads().len() == 2 {
                return;
            }
            let length = head.header("content-length").map_or(0, |length| length.parse().unwrap());
            wire.take(length).await;
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        }
    })
}

#[tokio::test]
async fn a_get_on_a_pooled_connection_that_is_dead_is_sent_afresh_and_is_no_failure() {
    let backend = hanging_up_on_reuse();
    let backup = Backend::echo();
    let mut proxy = Proxy::before(&[&backend, &backup])
        .backend(1, "backup: true")
        .upstream("balance: round_robin, max_fails: 1, fail_timeout: 1h")
        .start();
    let mut client = proxy.client().await;
    for _ in 0..3 {
        assert_eq!(client.get("/", "").await.text(), "ok");
        assert_eq!(proxy.next_record().await["backend"], backend.to_string());
    }
    assert_eq!((backend.connections(), backup.connections()), (2, 0));
    proxy.stop().await;
}

#[tokio::test]
async fn a_post_never_depends_on_a_pooled_connection() {
    let backend = hanging_up_on_reuse();
    let proxy = Proxy::start(&[&backend]);
    let mut client = proxy.client().await;
    assert_eq!(client.get("/", "").await.text(), "ok");
    client.send("POST /pay HTTP/1.1\r\nHost: chat\r\nContent-Length: 3\r\n\r\n100").await;
    assert_eq!(client.response().await.text(), "ok");
    let posts = backend.heads().iter().filter(|head| head.first_line().starts_with("POST")).count();
    assert_eq!((posts, backend.connections()), (1, 2));
    proxy.stop().await;
}

#[tokio::test]
async fn a_client_that_gives_up_is_no_failure_of_the_backend() {
    let (slow, backup) = (Backend::by_hand(), Backend::echo());
    let mut proxy = Proxy::before(&[&slow, &backup])
        .backend(1, "backup: true")
        .upstream("balance: round_robin, max_fails: 1, fail_timeout: 1h")
        .start();
    let mut client = proxy.client().await;
    client.send(handshake("/ws", "")).await;
    let (_unanswered, _) = slow.asked().await;
    client.reset();
    assert_eq!(proxy.next_record().await["cause"], "client_gone");
    proxy.session_by_hand(&slow).await;
    assert_eq!(backup.connections(), 0);
    proxy.stop().await;
}

#[tokio::test]
async fn a_session_that_ends_badly_is_no_failure_of_the_backend() {
    let (only, backup) = (Backend::by_hand(), Backend::echo());
    let mut proxy = Proxy::before(&[&only, &backup])
        .backend(1, "backup: true")
        .upstream("balance: round_robin, max_fails: 1, fail_timeout: 1h")
        .start();
    for _ in 0..3 {
        let (mut client, at_backend) = proxy.session_by_hand(&only).await;
        at_backend.reset();
        client.expect_close_code(1011).await;
        client.finish().await;
        assert_eq!(proxy.next_record().await["cause"], "backend_lost");
    }
    assert_eq!(backup.connections(), 0);
    proxy.stop().await;
}
