//! The same sessions over TLS, with a client that trusts only the certificate that it should get.

use std::path::Path;

use tempfile::TempDir;
use tokio_rustls::{
    TlsConnector,
    rustls::{
        HandshakeKind,
        version::{TLS12, TLS13},
    },
};

use crate::harness::{
    Backend, Proxy, Wire,
    frames::{BINARY, TEXT, masked, masked_close, unmasked, unmasked_close},
    handshake, tls_connect, trusting, visit, within,
};

const SELF_SIGNED: &str = "{ cert: dev.crt, key: dev.key, self_signed: true }";

/// A proxy with TLS and a certificate made at its start, and a client that trusts this certificate.
fn secured(backend: &Backend) -> (Proxy, TlsConnector, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let proxy = Proxy::before(&[backend]).tls(SELF_SIGNED, folder.path()).start();
    let connector = trusting(&folder.path().join("dev.crt"), &[], &["http/1.1"]);
    (proxy, connector, folder)
}

async fn secure_client(proxy: &Proxy, connector: &TlsConnector) -> Wire {
    tls_connect(connector, proxy.address(), "localhost").await.expect("a TLS handshake")
}

#[tokio::test]
async fn a_session_over_tls_carries_messages_of_every_size_and_ends_in_order() {
    let backend = Backend::echo();
    let (mut proxy, connector, _folder) = secured(&backend);
    let mut client = secure_client(&proxy, &connector).await;
    client.upgrade("/ws").await;
    for length in [0, 100, 16_384, 16_385, 70_000, 1 << 20] {
        let payload = vec![0x6b; length];
        client.send(masked(BINARY, &payload)).await;
        client.expect(unmasked(BINARY, &payload)).await;
    }
    client.send(masked_close(1000, "done")).await;
    client.expect_close(1000, "done").await;
    // On TLS, this fails if no close_notify came first.
    client.expect_eof().await;
    let record = proxy.next_record().await;
    assert_eq!((&record["cause"], &record["clean"]), (&"client_close".into(), &true.into()), "{record}");
    assert_eq!(backend.heads()[0].header("x-forwarded-proto"), Some("https"));
    proxy.stop().await;
}

#[tokio::test]
async fn a_client_that_closes_first_reads_a_close_notify_and_is_not_waited_for() {
    let backend = Backend::by_hand();
    let folder = tempfile::tempdir().unwrap();
    let mut proxy = Proxy::before(&[&backend]).timeout("close", "1h").tls(SELF_SIGNED, folder.path()).start();
    for version in [&TLS12, &TLS13] {
        let connector = trusting(&folder.path().join("dev.crt"), &[version], &[]);
        for ends in [true, false] {
            let (mut client, mut at_backend) = secure_session(&proxy, &connector, &backend).await;
            client.send(masked_close(1000, "done")).await;
            if ends {
                client.finish().await;
            }
            at_backend.expect_close(1000, "done").await;
            at_backend.send(unmasked_close(1000, "done")).await;
            client.expect_close(1000, "done").await;
            // This fails if no close_notify came first.
            client.expect_eof().await;
            at_backend.expect_eof().await;
            let record = proxy.next_record().await;
            assert_eq!((&record["clean"], &record["close_code"]), (&true.into(), &1000.into()), "{record}");
        }
    }
    proxy.stop().await;
}

#[tokio::test]
async fn the_close_notify_behind_the_answer_to_a_close_meets_no_reset() {
    let backend = Backend::by_hand();
    let folder = tempfile::tempdir().unwrap();
    let mut proxy = Proxy::before(&[&backend]).timeout("close", "1h").tls(SELF_SIGNED, folder.path()).start();
    for version in [&TLS12, &TLS13] {
        let connector = trusting(&folder.path().join("dev.crt"), &[version], &[]);
        let (mut client, mut at_backend) = secure_session(&proxy, &connector, &backend).await;
        at_backend.send(unmasked_close(1000, "done")).await;
        client.expect_close(1000, "done").await;
        client.send(masked_close(1000, "done")).await;
        at_backend.expect_close(1000, "done").await;
        at_backend.expect_eof().await;
        // The proxy has handled the answer, and has sent everything that it sends: a close_notify and its FIN.
        client.expect_eof().await;
        client.finish().await;
        let record = proxy.next_record().await;
        assert_eq!((&record["clean"], &record["close_code"]), (&true.into(), &1000.into()), "{record}");
        assert!(client.tls().get_ref().0.take_error().unwrap().is_none(), "the connection was reset");
    }
    proxy.stop().await;
}

/// A session over TLS with both of its ends.
async fn secure_session(proxy: &Proxy, connector: &TlsConnector, backend: &Backend) -> (Wire, Wire) {
    let mut client = secure_client(proxy, connector).await;
    client.send(handshake("/ws", "")).await;
    let at_backend = backend.accepted().await;
    client.upgraded().await;
    (client, at_backend)
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken_and_recorded() {
    let backend = Backend::echo();
    let (mut proxy, _, folder) = secured(&backend);
    for (version, name) in [(&TLS12, "TLSv1.2"), (&TLS13, "TLSv1.3")] {
        let connector = trusting(&folder.path().join("dev.crt"), &[version], &[]);
        let mut client = secure_client(&proxy, &connector).await;
        client.upgrade("/ws").await;
        client.send(masked_close(1000, "")).await;
        client.expect_close(1000, "").await;
        assert_eq!(proxy.next_record().await["tls"], name);
    }
    proxy.stop().await;
}

#[tokio::test]
async fn http_1_1_is_chosen_among_the_protocols_that_a_client_offers() {
    let backend = Backend::echo();
    let (proxy, _, folder) = secured(&backend);
    let connector = trusting(&folder.path().join("dev.crt"), &[], &["h2", "http/1.1"]);
    let mut client = secure_client(&proxy, &connector).await;
    assert_eq!(client.tls().get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert_eq!(client.get("/", "").await.status(), 200);
    proxy.stop().await;
}

#[tokio::test]
async fn frames_in_the_tls_record_of_the_request_and_of_the_next_are_relayed() {
    let backend = Backend::by_hand();
    let (proxy, connector, _folder) = secured(&backend);
    let mut client = secure_client(&proxy, &connector).await;
    client.send([handshake("/", "").as_bytes(), &masked(TEXT, "one")].concat()).await;
    client.send(masked(TEXT, "two")).await;
    let mut at_backend = backend.accepted().await;
    client.upgraded().await;
    at_backend.expect([masked(TEXT, "one"), masked(TEXT, "two")].concat()).await;
    at_backend.send(unmasked(TEXT, "three")).await;
    client.expect(unmasked(TEXT, "three")).await;
    proxy.stop().await;
}

#[tokio::test]
async fn an_eof_without_close_notify_is_a_fin() {
    let backend = Backend::by_hand();
    let (mut proxy, connector, _folder) = secured(&backend);
    let mut client = secure_client(&proxy, &connector).await;
    client.send(handshake("/", "")).await;
    let mut at_backend = backend.accepted().await;
    client.upgraded().await;
    client.send(masked(TEXT, "last words")).await;
    client.cut();
    at_backend.expect(masked(TEXT, "last words")).await;
    at_backend.expect_close_code(1001).await;
    at_backend.send(unmasked_close(1001, "")).await;
    at_backend.expect_eof().await;
    assert_eq!(proxy.next_record().await["cause"], "client_lost");
    proxy.stop().await;
}

#[tokio::test]
async fn close_and_fin_of_a_backend_reach_a_tls_client() {
    let backend = Backend::by_hand();
    let (proxy, connector, _folder) = secured(&backend);
    let mut client = secure_client(&proxy, &connector).await;
    client.send(handshake("/", "")).await;
    let mut at_backend = backend.accepted().await;
    client.upgraded().await;
    let message = unmasked(BINARY, vec![1; 300_000]);
    tokio::join!(
        at_backend.send_and_finish([&message[..], &unmasked_close(4242, "over")].concat()),
        client.expect(&message)
    );
    client.expect_close(4242, "over").await;
    client.send(masked_close(4242, "over")).await;
    client.expect_eof().await;
    proxy.stop().await;
}

#[tokio::test]
async fn the_certificate_is_chosen_by_the_name_that_the_client_asks_for() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.example", "b.example"] {
        write_certificate(folder.path(), name);
    }
    let tls = "{ certificates: [ { cert: a.example.crt, key: a.example.key }, { cert: b.example.crt, key: b.example.key } ] }";
    let backend = Backend::echo();
    let proxy = Proxy::before(&[&backend]).tls(tls, folder.path()).start();
    for (asked, given) in [("a.example", "a.example"), ("b.example", "b.example")] {
        let connector = trusting(&folder.path().join(format!("{given}.crt")), &[], &[]);
        let mut client = tls_connect(&connector, proxy.address(), asked).await.expect("the right certificate");
        assert_eq!(client.get("/", "").await.status(), 200);
    }
    let only_b = trusting(&folder.path().join("b.example.crt"), &[], &[]);
    let error = tls_connect(&only_b, proxy.address(), "c.example").await.expect_err("the first is the default");
    assert!(error.to_string().to_lowercase().contains("certificate"), "{error}");
    proxy.stop().await;
}

#[tokio::test]
async fn plain_http_on_a_tls_port_is_told_so_and_ends_that_connection_only() {
    let backend = Backend::echo();
    let (mut proxy, connector, _folder) = secured(&backend);
    for request in ["GET / HTTP/1.1\r\nHost: chat\r\n\r\n", &handshake("/ws", "")] {
        let mut lost = proxy.client().await;
        lost.send(request).await;
        let response = lost.response().await;
        assert_eq!(response.status(), 400);
        assert_eq!(response.text(), "plain_http: this port speaks TLS: use https:// or wss://\n");
        lost.expect_eof().await;
        lost.finish().await;
        let record = proxy.next_record().await;
        assert_eq!((&record["cause"], &record["status"]), (&"plain_http".into(), &400.into()), "{record}");
    }
    // Bytes that are neither TLS nor HTTP.
    let mut lost = proxy.client().await;
    lost.send("\x01\x02\x03\x04\x05").await;
    lost.rest().await;
    let mut client = secure_client(&proxy, &connector).await;
    assert_eq!(client.get("/", "").await.status(), 200);
    assert_eq!(backend.heads().len(), 1);
    proxy.stop().await;
}

#[tokio::test]
async fn an_independent_client_agrees_on_a_session_over_tls() {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::Message;

    let backend = Backend::echo();
    let (proxy, connector, _folder) = secured(&backend);
    let tcp = proxy.client().await.into_tcp();
    let name = "localhost".try_into().unwrap();
    let stream = within("TLS", connector.connect(name, tcp)).await.unwrap();
    let (mut socket, _) =
        within("a handshake", tokio_tungstenite::client_async("wss://localhost/ws", stream)).await.unwrap();
    let message = Message::binary(vec![0x2a; 500_000]);
    socket.send(message.clone()).await.unwrap();
    assert!(within("an echo", socket.next()).await.unwrap().unwrap() == message);
    socket.close(None).await.unwrap();
    while within("the end", socket.next()).await.is_some_and(|message| message.is_ok()) {}
    proxy.stop().await;
}

#[tokio::test]
async fn clients_resume_their_tls_sessions_after_a_reload_at_the_same_listener() {
    let backend = Backend::echo();
    let folder = tempfile::tempdir().unwrap();
    let setup = Proxy::before(&[&backend]).tls(SELF_SIGNED, folder.path());
    let mut proxy = setup.clone().start();
    for version in [&TLS12, &TLS13] {
        let connector = trusting(&folder.path().join("dev.crt"), &[version], &[]);
        assert_eq!(visit(&proxy, &connector).await, HandshakeKind::Full, "{version:?}");
        assert_eq!(visit(&proxy, &connector).await, HandshakeKind::Resumed, "{version:?}");
        proxy.reload(&setup);
        assert_eq!(visit(&proxy, &connector).await, HandshakeKind::Resumed, "{version:?}");
        // But not at another listener, here one that came with the reload.
        proxy.reload(&setup.clone().listener(&format!("bind: \"127.0.0.2:0\", tls: {SELF_SIGNED}")));
        assert_eq!(visit(&proxy, &connector).await, HandshakeKind::Full, "{version:?}");
        assert_eq!(visit(&proxy, &connector).await, HandshakeKind::Resumed, "{version:?}");
        proxy.reload(&setup);
    }
    proxy.stop().await;
}

fn write_certificate(folder: &Path, name: &str) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    fs_err::write(folder.join(format!("{name}.crt")), made.cert.pem()).unwrap();
    fs_err::write(folder.join(format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
}
