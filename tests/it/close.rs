//! The close handshake belongs to the endpoints: the proxy carries it, and speaks for a side only when that side is gone.

use crate::harness::{
    Backend, Proxy,
    frames::{BINARY, CLOSE, TEXT, masked, masked_close, unmasked, unmasked_close},
};

const CODES: [(u16, &str); 8] = [
    (1000, ""),
    (1000, "going home"),
    (1008, "policy"),
    (1012, "restart"),
    (2999, "nobody knows this one"),
    (3000, "library"),
    (4999, "application, with a long reason: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
    (4000, "ünïcödé"),
];

#[tokio::test]
async fn close_from_client_reaches_backend_unchanged_and_its_answer_comes_back() {
    let backend = Backend::by_hand();
    let mut proxy = Proxy::before(&[&backend]).timeout("close", "1h").start();
    for (code, reason) in CODES {
        let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
        client.send(masked_close(code, reason)).await;
        at_backend.expect(masked_close(code, reason)).await;
        at_backend.send(unmasked_close(code, reason)).await;
        client.expect(unmasked_close(code, reason)).await;
        client.expect_eof().await;
        client.finish().await;
        at_backend.expect_eof().await;
        at_backend.finish().await;
        let record = proxy.next_record().await;
        assert_eq!((&record["cause"], &record["initiator"]), (&"client_close".into(), &"client".into()), "{record}");
        assert_eq!((&record["close_code"], &record["clean"]), (&code.into(), &true.into()), "{record}");
        assert_eq!(record["close_reason"].as_str().unwrap_or_default(), reason);
    }
    proxy.stop().await;
}

#[tokio::test]
async fn close_from_backend_reaches_client_unchanged_and_its_answer_comes_back() {
    let backend = Backend::by_hand();
    let mut proxy = Proxy::before(&[&backend]).timeout("close", "1h").start();
    for (code, reason) in CODES {
        let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
        at_backend.send(unmasked_close(code, reason)).await;
        client.expect(unmasked_close(code, reason)).await;
        client.send(masked_close(code, "")).await;
        at_backend.expect(masked_close(code, "")).await;
        client.expect_eof().await;
        client.finish().await;
        at_backend.expect_eof().await;
        at_backend.finish().await;
        let record = proxy.next_record().await;
        assert_eq!((&record["cause"], &record["initiator"]), (&"backend_close".into(), &"backend".into()), "{record}");
        assert_eq!((&record["close_code"], &record["clean"]), (&code.into(), &true.into()), "{record}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn once_both_closes_have_passed_the_session_is_over_and_no_fin_is_waited_for() {
    let backend = Backend::by_hand();
    let mut proxy = Proxy::before(&[&backend]).timeout("close", "1h").start();
    for initiator in ["client", "backend"] {
        let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
        if initiator == "client" {
            client.send(masked_close(1000, "bye")).await;
            at_backend.expect_close(1000, "bye").await;
            at_backend.send(unmasked_close(1000, "bye")).await;
            client.expect_close(1000, "bye").await;
        } else {
            at_backend.send(unmasked_close(1000, "bye")).await;
            client.expect_close(1000, "bye").await;
            client.send(masked_close(1000, "bye")).await;
            at_backend.expect_close(1000, "bye").await;
        }
        client.expect_eof().await;
        at_backend.expect_eof().await;
        let record = proxy.next_record().await;
        assert_eq!(record["cause"], format!("{initiator}_close"), "{record}");
        assert_eq!((&record["close_code"], &record["clean"]), (&1000.into(), &true.into()), "{record}");
        drop((client, at_backend));
    }
    proxy.stop().await;
}

#[tokio::test]
async fn who_sends_bytes_behind_its_close_reads_the_others_and_is_read_to_its_end() {
    let backend = Backend::by_hand();
    let mut proxy = Proxy::before(&[&backend]).timeout("close", "1h").start();
    for behind in [masked(TEXT, "one more thing"), masked(BINARY, vec![1; 1 << 20])] {
        let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
        client.send([masked_close(1000, "bye"), behind.clone()].concat()).await;
        at_backend.expect_close(1000, "bye").await;
        client.send(&behind).await;
        at_backend.send(unmasked_close(1000, "bye")).await;
        client.expect_close(1000, "bye").await;
        client.expect_eof().await;
        at_backend.expect_eof().await;
        // The proxy still reads these bytes, so the client gets no reset.
        client.send(&behind).await;
        client.finish().await;
        let record = proxy.next_record().await;
        assert_eq!((&record["cause"], &record["clean"]), (&"client_close".into(), &true.into()), "{record}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_drain_lets_go_of_who_has_answered_its_close_and_waits_for_who_has_not() {
    let backend = Backend::by_hand();
    let mut proxy =
        Proxy::before(&[&backend]).timeout("drain", "1h").timeout("close", "1h").with("drain: { spread: 0s }").start();
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    let (drained, ()) = tokio::join!(proxy.drain(), async {
        client.expect_close_code(1012).await;
        at_backend.expect_close_code(1012).await;
        client.expect_eof().await;
        client.send(masked_close(1012, "")).await;
        at_backend.expect_eof().await;
        at_backend.send(unmasked_close(1012, "")).await;
    });
    assert_eq!((drained.sessions, drained.cut), (1, 0));
    let records = proxy.stop().await;
    assert_eq!((&records[0]["cause"], &records[0]["clean"]), (&"drain".into(), &true.into()), "{records:?}");
}

#[tokio::test]
async fn an_empty_close_stays_empty() {
    let backend = Backend::by_hand();
    let mut proxy = Proxy::start(&[&backend]);
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    client.send(masked(CLOSE, "")).await;
    at_backend.expect(masked(CLOSE, "")).await;
    at_backend.send(unmasked(CLOSE, "")).await;
    client.expect(unmasked(CLOSE, "")).await;
    client.expect_eof().await;
    let record = proxy.next_record().await;
    assert_eq!((&record["cause"], &record["clean"]), (&"client_close".into(), &true.into()), "{record}");
    assert!(record["close_code"].is_null(), "1005 is no code: {record}");
    proxy.stop().await;
}

#[tokio::test]
async fn closes_that_cross_both_arrive() {
    let backend = Backend::by_hand();
    let mut proxy = Proxy::before(&[&backend]).timeout("close", "1h").start();
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    tokio::join!(client.send(masked_close(4001, "client")), at_backend.send(unmasked_close(4002, "backend")));
    client.expect_close(4002, "backend").await;
    at_backend.expect_close(4001, "client").await;
    client.expect_eof().await;
    client.finish().await;
    at_backend.expect_eof().await;
    at_backend.finish().await;
    assert_eq!(proxy.next_record().await["clean"], true);
    proxy.stop().await;
}

#[tokio::test]
async fn messages_still_pass_toward_the_side_that_closed_first() {
    let backend = Backend::by_hand();
    let proxy = Proxy::start(&[&backend]);
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    client.send(masked_close(1000, "")).await;
    at_backend.expect_close(1000, "").await;
    let last = [unmasked(TEXT, "one more thing"), unmasked(BINARY, vec![9; 100_000])].concat();
    tokio::join!(at_backend.send(&last), client.expect(&last));
    at_backend.send(unmasked_close(1000, "")).await;
    client.expect_close(1000, "").await;
    client.expect_eof().await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_close_that_is_never_answered_ends_after_the_close_timeout() {
    let backend = Backend::by_hand();
    let mut proxy = Proxy::before(&[&backend]).timeout("close", "200ms").start();
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    client.send(masked_close(1000, "")).await;
    at_backend.expect_close(1000, "").await;
    at_backend.expect_gone().await;
    client.rest().await;
    let record = proxy.next_record().await;
    assert_eq!((&record["cause"], &record["close_code"]), (&"client_close".into(), &1000.into()), "{record}");
    assert_eq!(record["clean"], false, "{record}");
    proxy.stop().await;
}

#[tokio::test]
async fn our_close_survives_bytes_that_the_client_was_still_sending() {
    let backend = Backend::by_hand();
    let proxy = Proxy::start(&[&backend]);
    let (client, mut at_backend) = proxy.session_by_hand(&backend).await;
    let (mut client_reads, mut client_writes) = client.split();
    let flood = masked(BINARY, vec![1; 8 << 20]);
    // The backend goes in the middle of the flood. If the proxy closed over bytes that it has not read, the client would get
    // a reset and lose the 1011.
    let ((), ()) = tokio::join!(
        async {
            client_writes.try_send(&flood).await;
        },
        async {
            at_backend.take(100_000).await;
            at_backend.finish().await;
            client_reads.expect_close(1011, "backend lost").await;
        }
    );
    proxy.stop().await;
}

#[tokio::test]
async fn a_lost_backend_is_told_to_the_client_as_1011() {
    let backend = Backend::echo();
    let mut proxy = Proxy::start(&[&backend]);
    let mut client = proxy.session().await;
    client.send(masked(TEXT, "hi")).await;
    client.expect(unmasked(TEXT, "hi")).await;
    backend.kill().await;
    client.expect_close(1011, "backend lost").await;
    client.expect_eof().await;
    let record = proxy.next_record().await;
    assert_eq!((&record["cause"], &record["initiator"]), (&"backend_lost".into(), &"backend".into()), "{record}");
    assert_eq!((&record["close_code"], &record["clean"]), (&1011.into(), &false.into()), "{record}");
    proxy.stop().await;
}

#[tokio::test]
async fn a_lost_client_is_told_to_the_backend_as_1001() {
    let backend = Backend::by_hand();
    let mut proxy = Proxy::start(&[&backend]);
    let (client, mut at_backend) = proxy.session_by_hand(&backend).await;
    drop(client);
    let frame = at_backend.frame().await;
    assert_eq!((frame.close_code(), frame.masked), (Some(1001), true), "{frame:?}");
    at_backend.expect_eof().await;
    assert_eq!(proxy.next_record().await["cause"], "client_lost");
    proxy.stop().await;
}
