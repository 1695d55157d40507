//! Frames of every size and cut pass byte for byte, in order, in both directions.

use crate::harness::{
    Backend, Proxy, Wire,
    frames::{BINARY, END, MIDDLE, PING, PONG, TEXT, TEXT_BEGIN, masked, unmasked},
};

/// Sends `bytes` from one end and reads them at the other, at the same time.
async fn pass(from: &mut Wire, to: &mut Wire, bytes: &[u8]) {
    tokio::join!(from.send(bytes), to.expect(bytes));
}

#[tokio::test]
async fn fragments_and_the_control_frames_between_them_pass_in_order() {
    let backend = Backend::by_hand();
    let proxy = Proxy::start(&[&backend]);
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    let to_backend = [
        masked(TEXT_BEGIN, "one "),
        masked(PING, "between"),
        masked(MIDDLE, "two "),
        masked(PONG, "unasked"),
        masked(MIDDLE, ""),
        masked(END, "three"),
        masked(TEXT, "next"),
    ]
    .concat();
    pass(&mut client, &mut at_backend, &to_backend).await;
    let to_client = [
        unmasked(TEXT_BEGIN, ""),
        unmasked(PING, ""),
        unmasked(PONG, "between"),
        unmasked(END, "all of it"),
        unmasked(BINARY, [0, 1, 2, 255]),
    ]
    .concat();
    pass(&mut at_backend, &mut client, &to_client).await;
    proxy.stop().await;
}

#[tokio::test]
async fn payloads_of_every_length_form_pass_byte_for_byte() {
    let backend = Backend::by_hand();
    let proxy = Proxy::start(&[&backend]);
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    for length in [0, 1, 125, 126, 127, 65_535, 65_536, 65_537, 1 << 20, (3 << 20) + 7] {
        let payload = noise(length);
        pass(&mut client, &mut at_backend, &masked(BINARY, &payload)).await;
        pass(&mut at_backend, &mut client, &unmasked(BINARY, &payload)).await;
    }
    proxy.stop().await;
}

#[tokio::test]
async fn large_messages_pass_in_both_directions_at_once() {
    let backend = Backend::by_hand();
    let proxy = Proxy::start(&[&backend]);
    let (client, at_backend) = proxy.session_by_hand(&backend).await;
    let payload = noise(8 << 20);
    let (to_backend, to_client) = (masked(BINARY, &payload), unmasked(BINARY, &payload));
    let (mut client_reads, mut client_writes) = client.split();
    let (mut backend_reads, mut backend_writes) = at_backend.split();
    tokio::join!(
        client_writes.send(&to_backend),
        backend_writes.send(&to_client),
        client_reads.expect(&to_client),
        backend_reads.expect(&to_backend),
    );
    proxy.stop().await;
}

#[tokio::test]
async fn lengths_written_longer_than_needed_pass_as_they_are() {
    // RFC 6455 §5.2 asks for the shortest form. A proxy that rewrote the length would have to be right about that for ever.
    let backend = Backend::by_hand();
    let proxy = Proxy::start(&[&backend]);
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    pass(&mut at_backend, &mut client, b"\x81\x7e\x00\x02hi").await;
    pass(&mut at_backend, &mut client, b"\x81\x7f\x00\x00\x00\x00\x00\x00\x00\x02hi").await;
    pass(&mut client, &mut at_backend, b"\x81\xfe\x00\x02\x00\x00\x00\x00hi").await;
    proxy.stop().await;
}

#[tokio::test]
async fn text_that_is_no_utf_8_passes_as_it_is() {
    // RFC 6455 §8.1 leaves it to the endpoint to fail the connection.
    let backend = Backend::by_hand();
    let proxy = Proxy::start(&[&backend]);
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    pass(&mut client, &mut at_backend, &masked(TEXT, [0xc3, 0x28, 0xff])).await;
    pass(&mut at_backend, &mut client, &unmasked(TEXT, [0xc3, 0x28, 0xff])).await;
    proxy.stop().await;
}

#[tokio::test]
async fn frames_cut_after_every_byte_pass_like_whole_ones() {
    let backend = Backend::echo();
    let proxy = Proxy::start(&[&backend]);
    let mut client = proxy.session().await;
    let frames =
        [masked(TEXT_BEGIN, "a"), masked(PING, "beat"), masked(END, "b"), masked(BINARY, noise(300)), masked(TEXT, "")];
    for byte in frames.concat() {
        client.send([byte]).await;
    }
    let echoed = [
        unmasked(TEXT_BEGIN, "a"),
        unmasked(PONG, "beat"),
        unmasked(END, "b"),
        unmasked(BINARY, noise(300)),
        unmasked(TEXT, ""),
    ];
    client.expect(echoed.concat()).await;
    proxy.stop().await;
}

#[tokio::test]
async fn payload_passes_before_its_frame_is_complete() {
    let backend = Backend::by_hand();
    let proxy = Proxy::start(&[&backend]);
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    let frame = masked(BINARY, noise(1000));
    let (first, second) = frame.split_at(500);
    pass(&mut client, &mut at_backend, first).await;
    pass(&mut client, &mut at_backend, second).await;
    proxy.stop().await;
}

/// Bytes without a pattern that a mask or a cut could hide in.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(length)
    .collect()
}
