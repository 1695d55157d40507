//! Between the 101 and the end: nothing is lost at the begin or at the end, and a side that does not read stops only the
//! bytes for that side.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use tokio::task::JoinSet;

use crate::harness::{
    Backend, Proxy, accepting,
    frames::{BINARY, TEXT, masked, masked_close, unmasked, unmasked_close},
    handshake,
};

#[tokio::test]
async fn bytes_in_the_same_segment_as_the_request_are_relayed() {
    let backend = Backend::echo();
    let proxy = Proxy::start(&[&backend]);
    let mut client = proxy.client().await;
    client.send([handshake("/", "").as_bytes(), &masked(TEXT, "early"), &masked(TEXT, "ear")[..5]].concat()).await;
    client.upgraded().await;
    client.expect(unmasked(TEXT, "early")).await;
    client.send(&masked(TEXT, "ear")[5..]).await;
    client.expect(unmasked(TEXT, "ear")).await;
    proxy.stop().await;
}

#[tokio::test]
async fn bytes_in_the_same_segment_as_the_101_are_relayed() {
    let backend = Backend::by_hand();
    let proxy = Proxy::start(&[&backend]);
    let mut client = proxy.client().await;
    client.send(handshake("/", "")).await;
    let (mut at_backend, head) = backend.asked().await;
    let hello = unmasked(TEXT, "0{\"sid\":\"x\"}");
    at_backend.send([accepting(&head, "").as_bytes(), &hello, &hello[..3]].concat()).await;
    client.upgraded().await;
    client.expect(&hello).await;
    at_backend.send(&hello[3..]).await;
    client.expect(&hello).await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_whole_session_in_the_segment_of_the_101_is_relayed() {
    let backend = Backend::by_hand();
    let mut proxy = Proxy::start(&[&backend]);
    let mut client = proxy.client().await;
    client.send(handshake("/", "")).await;
    let (mut at_backend, head) = backend.asked().await;
    let rest = [unmasked(TEXT, "bye"), unmasked_close(4001, "at once")].concat();
    at_backend.send_and_finish([accepting(&head, "").as_bytes(), &rest].concat()).await;
    client.upgraded().await;
    client.expect(rest).await;
    client.send(masked_close(4001, "at once")).await;
    client.expect_eof().await;
    let record = proxy.next_record().await;
    assert_eq!((&record["cause"], &record["close_code"]), (&"backend_close".into(), &4001.into()), "{record}");
    proxy.stop().await;
}

#[tokio::test]
async fn close_and_fin_in_one_segment_deliver_the_close() {
    let backend = Backend::by_hand();
    let proxy = Proxy::start(&[&backend]);
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    at_backend.send_and_finish([unmasked(TEXT, "last"), unmasked_close(1000, "done")].concat()).await;
    client.expect(unmasked(TEXT, "last")).await;
    client.expect_close(1000, "done").await;
    client.expect_eof().await;

    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    client.send_and_finish([masked(TEXT, "last"), masked_close(1000, "done")].concat()).await;
    at_backend.expect(masked(TEXT, "last")).await;
    at_backend.expect_close(1000, "done").await;
    at_backend.expect_eof().await;
    proxy.stop().await;
}

#[tokio::test]
async fn bytes_before_a_fin_are_delivered_before_the_end() {
    let backend = Backend::by_hand();
    let mut proxy = Proxy::start(&[&backend]);
    let message = vec![0x33; 1 << 20];

    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    let frame = unmasked(BINARY, &message);
    tokio::join!(at_backend.send_and_finish(&frame), client.expect(&frame));
    client.expect_close(1011, "backend lost").await;
    client.expect_eof().await;
    let record = proxy.next_record().await;
    assert_eq!((&record["cause"], &record["clean"]), (&"backend_lost".into(), &false.into()), "{record}");

    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    let frame = masked(BINARY, &message);
    tokio::join!(client.send_and_finish(&frame), at_backend.expect(&frame));
    at_backend.expect_close_code(1001).await;
    at_backend.expect_eof().await;
    let record = proxy.next_record().await;
    assert_eq!((&record["cause"], &record["clean"]), (&"client_lost".into(), &false.into()), "{record}");
    proxy.stop().await;
}

#[tokio::test]
async fn reset_inside_a_frame_ends_the_other_side_without_a_word() {
    let backend = Backend::by_hand();
    let mut proxy = Proxy::start(&[&backend]);
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    let half = &masked(BINARY, [7; 5000])[..2500];
    client.send(half).await;
    at_backend.expect(half).await;
    client.reset();
    // The backend would read any further byte as payload.
    at_backend.expect_gone().await;
    assert_eq!(proxy.next_record().await["cause"], "client_lost");

    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    let half = &unmasked(BINARY, [7; 5000])[..2500];
    at_backend.send(half).await;
    client.expect(half).await;
    at_backend.reset();
    client.expect_gone().await;
    assert_eq!(proxy.next_record().await["cause"], "backend_lost");
    proxy.stop().await;
}

#[tokio::test]
async fn reset_at_a_frame_boundary_is_told_to_the_other_side() {
    let backend = Backend::by_hand();
    let proxy = Proxy::start(&[&backend]);
    let (mut client, at_backend) = proxy.session_by_hand(&backend).await;
    at_backend.reset();
    client.expect_close(1011, "backend lost").await;

    let (client, mut at_backend) = proxy.session_by_hand(&backend).await;
    client.reset();
    at_backend.expect_close_code(1001).await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_backend_and_nothing_else() {
    let backend = Backend::by_hand();
    let proxy = Proxy::start(&[&backend]);
    let (client, at_backend) = proxy.session_by_hand(&backend).await;
    // The flood is far more than all socket buffers on the way can hold.
    let flood = unmasked(BINARY, vec![0x11; 96 << 20]);
    let (mut client_reads, mut client_writes) = client.split();
    let (mut backend_reads, mut backend_writes) = at_backend.split();
    let expected = flood.clone();
    let writing = tokio::spawn(async move { backend_writes.send(&flood).await });
    for round in 0..20 {
        let message = masked(TEXT, format!("still here {round}"));
        client_writes.send(&message).await;
        backend_reads.expect(&message).await;
    }
    assert!(!writing.is_finished(), "somebody holds 96 MiB that the client never took");
    client_reads.expect(&expected).await;
    writing.await.unwrap();
    proxy.stop().await;
}

#[tokio::test]
async fn messages_of_many_sessions_do_not_mix() {
    let backend = Backend::echo();
    let proxy = Proxy::start(&[&backend]);
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(proxy.session().await);
    }
    for round in 0..5 {
        for (index, client) in clients.iter_mut().enumerate() {
            client.send(masked(TEXT, format!("{index}/{round}"))).await;
        }
    }
    for (index, client) in clients.iter_mut().enumerate() {
        for round in 0..5 {
            client.expect(unmasked(TEXT, format!("{index}/{round}"))).await;
        }
    }
    proxy.stop().await;
}

#[tokio::test]
async fn sessions_that_are_never_still_leave_the_workers_other_tasks_their_turn() {
    let backend = Backend::echo();
    let proxy = Proxy::start(&[&backend]);
    let done = Arc::new(AtomicBool::new(false));
    let mut lively = JoinSet::new();
    for _ in 0..16 {
        let (mut client, done) = (proxy.session().await, Arc::clone(&done));
        lively.spawn(async move {
            while !done.load(Relaxed) {
                client.send(masked(TEXT, "again")).await;
                client.expect(unmasked(TEXT, "again")).await;
            }
        });
    }
    for _ in 0..50 {
        let mut client = proxy.session().await;
        client.send(masked(TEXT, "me too")).await;
        client.expect(unmasked(TEXT, "me too")).await;
    }
    done.store(true, Relaxed);
    while let Some(ended) = lively.join_next().await {
        ended.expect("no session was cut");
    }
    proxy.stop().await;
}
