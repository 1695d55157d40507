//! Large payloads, which pass through a pipe: byte for byte, delayed only by their receiver, and alone in their pipe.

use crate::harness::{
    Backend, Proxy, Wire,
    frames::{BINARY, PING, TEXT, masked, unmasked},
};

/// A payload in which no part is like another.
fn payload(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_ne_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(length).collect()
}

async fn send_all(mut wire: Wire, bytes: Vec<u8>) -> Wire {
    wire.send(bytes).await;
    wire
}

#[tokio::test]
async fn payloads_of_every_size_pass_byte_for_byte_in_both_directions() {
    let backend = Backend::by_hand();
    let proxy = Proxy::start(&[&backend]);
    let (client, at_backend) = proxy.session_by_hand(&backend).await;
    let sizes = [65_536, 65_537, 49_152, 3 << 20, 100, 200_000, 65_535, 1 << 20, 131_072, 131_072, 7];
    let frames = |build: fn(u8, Vec<u8>) -> Vec<u8>, seed: u32| {
        sizes.iter().zip(seed..).flat_map(|(&size, seed)| build(BINARY, payload(size, seed))).collect::<Vec<u8>>()
    };
    let (to_backend, to_client) = (frames(masked, 1000), frames(unmasked, 2000));
    let (mut client_reads, client_writes) = client.split();
    let (mut backend_reads, backend_writes) = at_backend.split();
    let writing = [
        tokio::spawn(send_all(client_writes, to_backend.clone())),
        tokio::spawn(send_all(backend_writes, to_client.clone())),
    ];
    tokio::join!(backend_reads.expect(&to_backend), client_reads.expect(&to_client));
    for writing in writing {
        writing.await.unwrap();
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_ping_due_in_a_large_payload_waits_for_its_end() {
    let backend = Backend::by_hand();
    let proxy = Proxy::before(&[&backend])
        .with("keepalive: { ping_interval: 100ms, pong_timeout: 30s, sides: [client, backend] }")
        .start();
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    let frame = unmasked(BINARY, payload(1 << 20, 7));
    let most = frame.len() - 10;
    at_backend.send(&frame[..most]).await;
    // Pings may come before the frame. Then the frame comes in one piece, however much time passes.
    while client.take(1).await != frame[..1] {
        let length = client.take(1).await[0];
        client.take(usize::from(length)).await;
    }
    client.expect(&frame[1..most]).await;
    for _ in 0..5 {
        // The clock of this test. A backend inside its own frame cannot answer a Ping.
        assert_eq!(at_backend.frame().await.first, PING);
    }
    at_backend.send(&frame[most..]).await;
    client.expect(&frame[most..]).await;
    assert_eq!(client.frame().await.first, PING);
    proxy.stop().await;
}

#[tokio::test]
async fn a_large_payload_that_comes_in_dribbles_is_not_held_back() {
    let backend = Backend::by_hand();
    let proxy = Proxy::start(&[&backend]);
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    let frame = masked(BINARY, payload(300_000, 3));
    for piece in frame[..2000].chunks(100).chain(frame[2000..].chunks(9973)) {
        client.send(piece).await;
        at_backend.expect(piece).await;
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_reset_with_a_large_payload_on_its_way_ends_its_own_session_only() {
    let backend = Backend::by_hand();
    let mut proxy = Proxy::before(&[&backend]).with("keepalive: { sides: [] }").start();
    // One bystander on each worker, because a pipe passes from session to session of one worker.
    let mut bystanders = [proxy.session_by_hand(&backend).await, proxy.session_by_hand(&backend).await];
    for seed in 0..3 {
        let (client, at_backend) = proxy.session_by_hand(&backend).await;
        // The flood is more than all socket buffers on the way can hold, so the rest is in the pipe when the client goes.
        let flood = unmasked(BINARY, payload(32 << 20, seed));
        let (mut client, mut rest) = client.split();
        let (_, mut writes) = at_backend.split();
        let writing = tokio::spawn(async move { writes.try_send(flood).await });
        client.take(100_000).await;
        assert!(!writing.is_finished());
        rest.reset_now();
        drop((client, rest));
        // The proxy reads the bytes that the backend still sends, and discards them.
        writing.await.unwrap();
        let record = proxy.next_record().await;
        assert_eq!(record["cause"], "client_lost", "{record}");
        for (bystander, at_bystander) in &mut bystanders {
            let frame = unmasked(BINARY, payload(400_000, seed + 100));
            let (sent, ()) = tokio::join!(at_bystander.try_send(&frame), bystander.expect(&frame));
            assert!(sent);
            let message = masked(TEXT, "still here");
            bystander.send(&message).await;
            at_bystander.expect(&message).await;
        }
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_fin_in_a_large_payload_ends_the_other_side_after_all_that_came() {
    let backend = Backend::by_hand();
    let mut proxy = Proxy::start(&[&backend]);
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    let frame = unmasked(BINARY, payload(2 << 20, 11));
    let part = frame[..1_500_000].to_vec();
    let expected = part.clone();
    let writing = tokio::spawn(async move {
        at_backend.send_and_finish(part).await;
        at_backend
    });
    client.expect(expected).await;
    client.expect_eof().await;
    let mut at_backend = writing.await.unwrap();
    client.finish().await;
    at_backend.frames_to_the_end().await;
    let record = proxy.next_record().await;
    assert_eq!((&record["cause"], &record["bytes_to_client"]), (&"backend_lost".into(), &1_500_000.into()), "{record}");
    proxy.stop().await;
}
