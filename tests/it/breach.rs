//! A side that breaks RFC 6455: the frames before the breach are delivered and answered, the side that broke it gets 1002,
//! and the other side learns whose fault it was.

use crate::harness::{
    Backend, Proxy, Wire,
    frames::{BINARY, MIDDLE, PING, RSV1, TEXT, TEXT_BEGIN, masked, masked_close, unmasked, unmasked_close},
};

struct Breach {
    name: &'static str,
    /// Good frames, or the beginning of the frames that become bad.
    before: Vec<u8>,
    bytes: Vec<u8>,
}

/// Everything that no side may send. `frame` builds a frame with the mask of the side under test; `mask_bit` is the top bit
/// of its length.
fn breaches(frame: fn(u8, Vec<u8>) -> Vec<u8>, mask_bit: u8) -> Vec<Breach> {
    let breach = |name, bytes| Breach { name, before: frame(TEXT, b"before".to_vec()), bytes };
    let after = |name, before: Vec<u8>, bytes| Breach { name, before, bytes };
    vec![
        breach("RSV1 without an extension", frame(TEXT | RSV1, b"x".to_vec())),
        breach("RSV2", frame(TEXT | 0x20, b"x".to_vec())),
        breach("RSV3", frame(TEXT | 0x10, b"x".to_vec())),
        breach("RSV1 on a Ping", frame(PING | RSV1, b"x".to_vec())),
        breach("reserved data opcode", frame(0x83, b"x".to_vec())),
        breach("reserved control opcode", frame(0x8b, b"x".to_vec())),
        breach("Ping of 126 bytes", frame(PING, vec![0; 126])),
        breach("Close of 126 bytes", frame(0x88, vec![0; 126])),
        breach("fragmented Ping", frame(0x09, b"x".to_vec())),
        breach("continuation of nothing", frame(MIDDLE, b"x".to_vec())),
        breach("last fragment of nothing", frame(0x80, b"x".to_vec())),
        breach("length with the top bit", vec![BINARY, mask_bit | 127, 0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]),
        after(
            "new message inside a fragmented one",
            [frame(TEXT_BEGIN, b"begun".to_vec()), frame(PING, b"p".to_vec())].concat(),
            frame(TEXT, b"x".to_vec()),
        ),
    ]
}

#[tokio::test]
async fn a_breach_by_the_client_ends_with_1002_for_it_and_1001_for_the_backend() {
    let mut breaches = breaches(masked, 0x80);
    let bare = Breach { name: "unmasked frame", before: masked(TEXT, "before"), bytes: unmasked(TEXT, "x") };
    breaches.push(bare);
    let backend = Backend::by_hand();
    let mut proxy = Proxy::start(&[&backend]);
    for Breach { name, before, bytes } in breaches {
        let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
        client.send([&before[..], &bytes].concat()).await;
        at_backend.expect(&before).await;
        expect_close_of(&mut at_backend, 1001, name).await;
        // The answer of the backend to the good frames is relayed before the client hears of its breach.
        let answer = unmasked(TEXT, "answer to what came before");
        at_backend.send([&answer[..], &unmasked_close(1001, "")].concat()).await;
        client.expect(answer).await;
        expect_close_of(&mut client, 1002, name).await;
        client.finish().await;
        let record = proxy.next_record().await;
        assert_eq!(record["cause"], "client_breach", "{name}: {record}");
        assert_eq!((&record["clean"], &record["initiator"]), (&false.into(), &"proxy".into()), "{name}: {record}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_breach_by_the_backend_ends_with_1002_for_it_and_1011_for_the_client() {
    let mut breaches = breaches(unmasked, 0);
    let veiled = Breach { name: "masked frame", before: unmasked(TEXT, "before"), bytes: masked(TEXT, "x") };
    breaches.push(veiled);
    let backend = Backend::by_hand();
    let mut proxy = Proxy::start(&[&backend]);
    for Breach { name, before, bytes } in breaches {
        let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
        at_backend.send([&before[..], &bytes].concat()).await;
        client.expect(&before).await;
        expect_close_of(&mut client, 1011, name).await;
        let answer = masked(TEXT, "answer to what came before");
        client.send([&answer[..], &masked_close(1011, "")].concat()).await;
        at_backend.expect(answer).await;
        expect_close_of(&mut at_backend, 1002, name).await;
        at_backend.finish().await;
        let record = proxy.next_record().await;
        assert_eq!(record["cause"], "backend_breach", "{name}: {record}");
        assert_eq!((&record["clean"], &record["initiator"]), (&false.into(), &"proxy".into()), "{name}: {record}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_breach_gets_its_1002_within_the_close_timeout_though_nobody_answers() {
    let backend = Backend::by_hand();
    let mut proxy = Proxy::before(&[&backend]).timeout("close", "300ms").start();
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    client.send(unmasked(TEXT, "x")).await;
    at_backend.expect_close_code(1001).await;
    client.expect_close_code(1002).await;
    client.expect_eof().await;
    at_backend.expect_eof().await;
    assert_eq!(proxy.next_record().await["cause"], "client_breach");
    proxy.stop().await;
}

#[tokio::test]
async fn echo_of_what_came_before_a_breach_reaches_its_author() {
    let backend = Backend::echo();
    let proxy = Proxy::start(&[&backend]);
    let mut client = proxy.session().await;
    let big = vec![0x42; 200_000];
    client
        .send([masked(BINARY, &big), masked(TEXT, "second"), masked(0x83, "breach"), masked(TEXT, "never")].concat())
        .await;
    client.expect(unmasked(BINARY, &big)).await;
    client.expect(unmasked(TEXT, "second")).await;
    client.expect_close_code(1002).await;
    proxy.stop().await;
}

#[tokio::test]
async fn no_byte_after_a_breach_is_relayed() {
    let backend = Backend::by_hand();
    let proxy = Proxy::start(&[&backend]);
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    client.send([masked(0x83, "breach"), masked(TEXT, "never")].concat()).await;
    at_backend.expect_close_code(1001).await;
    client.try_send(masked(TEXT, "never either")).await;
    at_backend.send(unmasked_close(1001, "")).await;
    at_backend.expect_eof().await;
    proxy.stop().await;
}

/// Expects that the next frame is a Close with this code, and that its reason names the cause.
async fn expect_close_of(wire: &mut Wire, code: u16, breach: &str) {
    let frame = wire.frame().await;
    assert_eq!(frame.close_code(), Some(code), "{breach}: {frame:?}");
    assert!(!frame.close_reason().is_empty(), "{breach}: the reason names the cause");
}
