//! Pings of longwire: to a silent side, at a frame boundary, and unseen by the other side.
//!
//! A test that needs time to pass uses the Pings to one side as its clock. Meanwhile nothing may happen at the other side.

use std::time::Duration;

use crate::harness::{
    Backend, Proxy, Wire,
    frames::{BINARY, CLOSE, END, Frame, PING, PONG, TEXT, TEXT_BEGIN, masked, masked_close, unmasked, unmasked_close},
};

const BOTH: &str = "keepalive: { ping_interval: 100ms, pong_timeout: 30s, sides: [client, backend] }";
const CLIENT: &str = "keepalive: { ping_interval: 100ms, pong_timeout: 30s, sides: [client] }";
const BACKEND: &str = "keepalive: { ping_interval: 100ms, pong_timeout: 30s, sides: [backend] }";

type Build = fn(u8, Vec<u8>) -> Vec<u8>;

/// Reads `count` Pings, which must be the only frames, and answers each. Returns their payloads.
async fn answer_pings(wire: &mut Wire, count: usize, build: Build) -> Vec<Vec<u8>> {
    let mut payloads = Vec::new();
    while payloads.len() < count {
        let frame = wire.frame().await;
        assert_eq!(frame.first, PING, "a Ping of the proxy's: {frame:?}");
        assert!(frame.payload.len() <= 125);
        wire.send(build(PONG, frame.payload.clone())).await;
        payloads.push(frame.payload);
    }
    payloads
}

/// The next frame that is no Ping. Answers the Pings before it.
async fn next_but_pings(wire: &mut Wire, build: Build) -> Frame {
    loop {
        let frame = wire.frame().await;
        if frame.first != PING {
            return frame;
        }
        wire.send(build(PONG, frame.payload)).await;
    }
}

fn common_prefix(payloads: &[Vec<u8>]) -> &[u8] {
    let (first, rest) = payloads.split_first().unwrap();
    let shared = |other: &Vec<u8>| first.iter().zip(other).take_while(|(a, b)| a == b).count();
    &first[..rest.iter().map(shared).min().unwrap_or(first.len())]
}

#[tokio::test]
async fn a_silent_client_is_pinged_with_a_prefix_of_its_session() {
    let backend = Backend::by_hand();
    let mut proxy = Proxy::before(&[&backend]).with(CLIENT).start();
    let (mut client, at_backend) = proxy.session_by_hand(&backend).await;
    let (mut other, _at_backend) = proxy.session_by_hand(&backend).await;
    let pings = answer_pings(&mut client, 4, masked).await;
    let prefix = common_prefix(&pings);
    assert!(prefix.len() >= 8, "too short to be unguessable: {pings:?}");
    let others = answer_pings(&mut other, 2, masked).await;
    assert_ne!(common_prefix(&others)[..8], prefix[..8], "each session has its own");

    drop(at_backend);
    assert_eq!(next_but_pings(&mut client, masked).await.close_code(), Some(1011));
    let record = proxy.next_record().await;
    assert!(record["pings_client"].as_u64().unwrap() >= 4, "{record}");
    assert!(record["rtt_last_ms"].is_number() && record["rtt_mean_ms"].is_number(), "{record}");
    proxy.stop().await;
}

#[tokio::test]
async fn our_pings_are_masked_toward_the_backend_and_bare_toward_the_client() {
    let backend = Backend::by_hand();
    let proxy = Proxy::before(&[&backend]).with(BOTH).start();
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    let (to_client, to_backend) = (client.frame().await, at_backend.frame().await);
    assert_eq!((to_client.first, to_client.masked), (PING, false));
    assert_eq!((to_backend.first, to_backend.masked), (PING, true));
    proxy.stop().await;
}

#[tokio::test]
async fn pongs_to_our_pings_are_swallowed_late_repeated_and_split_ones_too() {
    let backend = Backend::by_hand();
    let proxy = Proxy::before(&[&backend]).with(CLIENT).start();
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    let (first, second) = (client.frame().await, client.frame().await);
    assert_eq!((first.first, second.first), (PING, PING));
    client.send(masked(PONG, &second.payload)).await;
    client.send(masked(PONG, &first.payload)).await;
    client.send(masked(PONG, &second.payload)).await;
    for byte in masked(PONG, &second.payload) {
        client.send([byte]).await;
    }
    let between = [masked(TEXT_BEGIN, "a"), masked(PONG, &second.payload), masked(END, "b")];
    client.send(between.concat()).await;
    at_backend.expect([masked(TEXT_BEGIN, "a"), masked(END, "b")].concat()).await;
    proxy.stop().await;
}

#[tokio::test]
async fn pongs_of_a_backend_to_our_pings_never_reach_the_client() {
    let backend = Backend::by_hand();
    let proxy = Proxy::before(&[&backend]).with(BACKEND).start();
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    answer_pings(&mut at_backend, 4, unmasked).await;
    at_backend.send(unmasked(TEXT, "marker")).await;
    client.expect(unmasked(TEXT, "marker")).await;
    proxy.stop().await;
}

#[tokio::test]
async fn every_other_pong_passes() {
    let backend = Backend::by_hand();
    let proxy = Proxy::before(&[&backend]).with(CLIENT).start();
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    let ping = client.frame().await.payload;
    let unasked = [
        masked(PONG, ""),
        masked(PONG, "unasked"),
        // Not Pongs of ours: here our payload comes after another byte, or only its begin comes.
        masked(PONG, [b"x", &ping[..]].concat()),
        masked(PONG, &ping[..1]),
    ];
    client.send(unasked.concat()).await;
    at_backend.expect(unasked.concat()).await;

    at_backend.send(unmasked(PING, "of the backend")).await;
    while client.frame().await.payload != b"of the backend" {}
    client.send(masked(PONG, "of the backend")).await;
    at_backend.expect(masked(PONG, "of the backend")).await;
    proxy.stop().await;
}

#[tokio::test]
async fn no_ping_of_ours_while_the_backends_own_is_unanswered() {
    let backend = Backend::by_hand();
    let proxy = Proxy::before(&[&backend]).with(BOTH).start();
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    at_backend.send(unmasked(PING, "of the backend")).await;
    loop {
        let frame = client.frame().await;
        assert_eq!(frame.first, PING);
        if frame.payload == b"of the backend" {
            break;
        }
        client.send(masked(PONG, frame.payload)).await;
    }
    answer_pings(&mut at_backend, 5, unmasked).await;
    at_backend.send(unmasked(TEXT, "marker")).await;
    client.expect(unmasked(TEXT, "marker")).await;

    client.send(masked(PONG, "of the backend")).await;
    let pong = next_but_pings(&mut at_backend, unmasked).await;
    assert_eq!((pong.first, pong.payload.as_slice()), (PONG, &b"of the backend"[..]));
    answer_pings(&mut client, 2, masked).await;
    proxy.stop().await;
}

#[tokio::test]
async fn no_ping_of_ours_after_a_close() {
    for closer in ["client", "backend"] {
        let backend = Backend::by_hand();
        let mut proxy = Proxy::before(&[&backend]).with(BOTH).timeout("close", "600ms").start();
        let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
        answer_pings(&mut client, 1, masked).await;
        answer_pings(&mut at_backend, 1, unmasked).await;
        // The Close is never answered. The close timeout, six times the ping interval, ends the session.
        let (told, record) = if closer == "client" {
            client.send(masked_close(4000, "")).await;
            (at_backend.frames_to_the_end().await, proxy.next_record().await)
        } else {
            at_backend.send(unmasked_close(4000, "")).await;
            (client.frames_to_the_end().await, proxy.next_record().await)
        };
        let close = told.iter().position(|frame| frame.close_code() == Some(4000)).expect("the Close was relayed");
        assert_eq!(told[close + 1..], [], "{closer} closed: {record}");
        proxy.stop().await;
    }
}

#[tokio::test]
async fn no_ping_of_ours_inside_a_frame() {
    let backend = Backend::by_hand();
    let proxy = Proxy::before(&[&backend]).with(BOTH).start();
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    let frame = unmasked(BINARY, [0x77; 1000]);
    at_backend.send(&frame[..600]).await;
    // Pings may come before the frame. Then the frame comes in one piece, however much time passes.
    loop {
        if client.take(1).await == frame[..1] {
            break;
        }
        let length = client.take(1).await[0];
        client.take(usize::from(length)).await;
    }
    client.expect(&frame[1..600]).await;
    for _ in 0..5 {
        // The clock of this test. A backend inside its own frame cannot answer a Ping.
        assert_eq!(at_backend.frame().await.first, PING);
    }
    at_backend.send(&frame[600..]).await;
    client.expect(&frame[600..]).await;
    answer_pings(&mut client, 1, masked).await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_ping_of_ours_may_go_between_the_fragments_of_a_message() {
    let backend = Backend::by_hand();
    let proxy = Proxy::before(&[&backend]).with(CLIENT).start();
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    at_backend.send(unmasked(TEXT_BEGIN, "begun")).await;
    assert_eq!(next_but_pings(&mut client, masked).await.first, TEXT_BEGIN);
    answer_pings(&mut client, 2, masked).await;
    at_backend.send(unmasked(END, "done")).await;
    assert_eq!(next_but_pings(&mut client, masked).await.first, END);
    proxy.stop().await;
}

#[tokio::test]
async fn only_the_sides_that_the_file_names_are_pinged() {
    let backend = Backend::by_hand();
    let proxy = Proxy::before(&[&backend]).with(CLIENT).start();
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    answer_pings(&mut client, 5, masked).await;
    client.send(masked(TEXT, "marker")).await;
    at_backend.expect(masked(TEXT, "marker")).await;
    proxy.stop().await;

    let backend = Backend::by_hand();
    let proxy = Proxy::before(&[&backend]).with(BACKEND).start();
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    answer_pings(&mut at_backend, 5, unmasked).await;
    at_backend.send(unmasked(TEXT, "marker")).await;
    client.expect(unmasked(TEXT, "marker")).await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_route_may_have_its_own_keepalive() {
    let backend = Backend::by_hand();
    let route = "routes: [ { upstream: chat, keepalive: { ping_interval: 100ms, sides: [client] } } ]";
    let proxy = Proxy::before(&[&backend]).routes(route).with("keepalive: { ping_interval: 0s }").start();
    let (mut client, _at_backend) = proxy.session_by_hand(&backend).await;
    answer_pings(&mut client, 2, masked).await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_client_that_answers_nothing_is_dead() {
    let backend = Backend::by_hand();
    let mut proxy = Proxy::before(&[&backend])
        .with("keepalive: { ping_interval: 100ms, pong_timeout: 300ms, sides: [client] }")
        .start();
    let (_client, mut at_backend) = proxy.session_by_hand(&backend).await;
    at_backend.expect_close_code(1001).await;
    at_backend.send(unmasked_close(1001, "")).await;
    at_backend.expect_eof().await;
    let record = proxy.next_record().await;
    assert_eq!((&record["cause"], &record["initiator"]), (&"client_dead".into(), &"proxy".into()), "{record}");
    assert_eq!(record["clean"], false, "{record}");
    proxy.stop().await;
}

#[tokio::test]
async fn a_backend_that_answers_nothing_is_dead() {
    let backend = Backend::by_hand();
    let mut proxy = Proxy::before(&[&backend])
        .with("keepalive: { ping_interval: 100ms, pong_timeout: 300ms, sides: [backend] }")
        .start();
    let (mut client, _at_backend) = proxy.session_by_hand(&backend).await;
    client.expect_close(1011, "no answer to pings").await;
    client.send(masked_close(1011, "")).await;
    client.expect_eof().await;
    let record = proxy.next_record().await;
    assert_eq!((&record["cause"], &record["close_code"]), (&"backend_dead".into(), &1011.into()), "{record}");
    proxy.stop().await;
}

#[tokio::test]
async fn a_client_that_hangs_is_found_while_the_backend_pings_or_sends() {
    for frame in [unmasked(PING, "of the backend"), unmasked(TEXT, "data")] {
        let backend = Backend::by_hand();
        let mut proxy = Proxy::before(&[&backend])
            .with("keepalive: { ping_interval: 100ms, pong_timeout: 500ms, sides: [client] }")
            .start();
        let (_client, at_backend) = proxy.session_by_hand(&backend).await;
        let (mut backend_reads, mut backend_writes) = at_backend.split();
        let mut beat = tokio::time::interval(Duration::from_millis(50));
        let busy = async {
            loop {
                beat.tick().await;
                backend_writes.try_send(&frame).await;
            }
        };
        let told = tokio::select! {
            frames = backend_reads.frames_to_the_end() => frames,
            () = busy => vec![],
        };
        let close = told.iter().rev().find_map(Frame::close_code);
        assert_eq!(close, Some(1001), "{told:?}");
        let record = proxy.next_record().await;
        assert_eq!((&record["cause"], &record["close_reason"]), (&"client_dead".into(), &"no answer to pings".into()));
        proxy.stop().await;
    }
}

#[tokio::test]
async fn both_ends_of_a_stream_in_one_direction_are_pinged() {
    let backend = Backend::by_hand();
    let proxy = Proxy::before(&[&backend]).with(BOTH).start();
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    let message = unmasked(TEXT, "data");
    let is_pinged = async {
        loop {
            at_backend.send(&message).await;
            if client.frame().await.first == PING {
                return;
            }
        }
    };
    // If each message put the Ping off, the Ping would never come.
    tokio::time::timeout(Duration::from_secs(20), is_pinged).await.expect("a Ping among the messages");
    proxy.stop().await;
}

#[tokio::test]
async fn any_byte_proves_that_a_side_lives() {
    let backend = Backend::by_hand();
    let proxy = Proxy::before(&[&backend])
        .with("keepalive: { ping_interval: 100ms, pong_timeout: 3s, sides: [client] }")
        .start();
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    // This takes longer than the pong timeout, without a single Pong.
    for round in 0..18 {
        assert_eq!(client.frame().await.first, PING);
        let message = masked(TEXT, format!("no pong {round}"));
        client.send(&message).await;
        at_backend.expect(&message).await;
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_dead() {
    let backend = Backend::by_hand();
    let mut proxy = Proxy::before(&[&backend])
        .with("keepalive: { ping_interval: 100ms, pong_timeout: 500ms, sides: [client] }")
        .start();
    let (_client, at_backend) = proxy.session_by_hand(&backend).await;
    let (mut backend_reads, mut backend_writes) = at_backend.split();
    let flood = unmasked(BINARY, vec![0; 96 << 20]);
    let (_, ()) = tokio::join!(backend_writes.try_send(&flood), async {
        let frames = backend_reads.frames_to_the_end().await;
        assert_eq!(frames.last().map(|frame| (frame.first, frame.close_code())), Some((CLOSE, Some(1001))));
    });
    assert_eq!(proxy.next_record().await["cause"], "client_dead");
    proxy.stop().await;
}
