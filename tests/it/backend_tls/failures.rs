//! Where TLS with a backend fails: the status, the word, the reason, and whether another backend is tried.

use super::*;

/// Expects that a handshake, a GET and a POST fail in TLS, for this reason.
async fn assert_backend_tls(mut proxy: Proxy, why: &str) {
    for request in [
        handshake("/ws", ""),
        "GET / HTTP/1.1\r\nHost: chat\r\n\r\n".to_owned(),
        "POST / HTTP/1.1\r\nHost: chat\r\nContent-Length: 4\r\n\r\nbody".to_owned(),
    ] {
        let mut client = proxy.client().await;
        client.send(&request).await;
        let response = client.response().await;
        assert_eq!((response.status(), response.text()), (502, "backend_tls: TLS with the backend failed\n"));
        let record = proxy.next_record().await;
        assert_eq!((&record["cause"], &record["status"]), (&"backend_tls".into(), &502.into()), "{record}");
        let error = record["error"].as_str().unwrap();
        assert!(error.contains(why), "{why:?} is not in {error:?}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_certificate_of_somebody_else_or_of_another_time_is_told_by_its_reason() {
    let trusting = Trusting::new();
    let right = &trusting.authority;
    let (good, revoked) = (right.sign(&[HERE]), right.sign(&[HERE]));
    trusting.write("one.crl", &right.revoke(&[&revoked], false));
    trusting.write("old.crl", &right.revoke(&[], true));
    trusting.write("other.crl", &Authority::new("another").revoke(&[], false));
    for version in [&TLS12, &TLS13] {
        for (certified, keys, why) in [
            (&right.sign(&["elsewhere.example"]), "", "not valid for name \"127.0.0.1\""),
            (&Authority::new("nobody").sign(&[HERE]), "", "UnknownIssuer"),
            (&right.sign_expired(&[HERE]), "", "certificate expired"),
            (&revoked, "crl: one.crl", "Revoked"),
            (&good, "crl: old.crl", "revocation list expired"),
            (&good, "crl: other.crl", "UnknownRevocationStatus"),
        ] {
            let (backend, handshakes) = Backend::secure_echo(certified.server(&[version], None));
            assert_backend_tls(trusting.before(&[&backend], keys).start(), why).await;
            assert_eq!(handshakes.kinds(), [], "{why}");
        }
        let (backend, _) = Backend::secure_echo(good.server(&[version], None));
        let proxy = trusting.before(&[&backend], "crl: one.crl").start();
        proxy.session().await.leave().await;
        proxy.stop().await;
    }
}

#[tokio::test]
async fn a_backend_that_misses_or_refuses_our_certificate_is_told_so_in_both_versions() {
    let trusting = Trusting::new();
    Authority::new("nobody").sign(&["longwire"]).write(trusting.folder.path(), "foreign");
    let clients = Authority::new("of clients");
    for (version, missing, refused) in [
        (&TLS12, "received fatal alert: ", "received fatal alert: "),
        // Our side of the handshake has ended when the backend says this.
        (&TLS13, "received fatal alert: CertificateRequired", "received fatal alert: "),
    ] {
        for (keys, why) in [("", missing), ("cert: foreign.crt, key: foreign.key", refused)] {
            let config = trusting.authority.sign(&[HERE]).server(&[version], Some(&clients));
            let (backend, handshakes) = Backend::secure_echo(config);
            assert_backend_tls(trusting.before(&[&backend], keys).start(), why).await;
            assert_eq!(handshakes.kinds(), [], "{why}");
        }
    }
}

#[tokio::test]
async fn another_protocol_than_http_1_1_is_an_error() {
    let trusting = Trusting::new();
    let mut config = trusting.authority.sign(&[HERE]).server(&[], None);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let (backend, _) = Backend::secure_echo(config);
    assert_backend_tls(trusting.before(&[&backend], "").start(), "NoApplicationProtocol").await;

    // A ServerHello of TLS 1.2 that chooses h2, which nobody offered (RFC 5246 §7.4.1.3, RFC 7301 §3.1).
    let mut hello = b"\x16\x03\x03\0\x35\x02\0\0\x31\x03\x03".to_vec();
    hello.extend([0x55; 32]);
    hello.extend(b"\0\xc0\x2b\0\0\x09\0\x10\0\x05\0\x03\x02h2");
    let backend = Backend::raw(move |_, mut wire| {
        let hello = hello.clone();
        async move {
            wire.take(5).await;
            wire.send(hello).await;
            wire.whatever_comes().await;
        }
    });
    assert_backend_tls(trusting.before(&[&backend], "").start(), "SelectedUnofferedApplicationProtocol").await;

    // A backend that chooses none speaks HTTP/1.1.
    let mut config = trusting.authority.sign(&[HERE]).server(&[], None);
    config.alpn_protocols.clear();
    let (backend, _) = Backend::secure_echo(config);
    let proxy = trusting.before(&[&backend], "").start();
    proxy.session().await.leave().await;
    proxy.stop().await;
}

#[tokio::test]
async fn bytes_before_the_end_of_the_handshake_are_never_an_answer() {
    let trusting = Trusting::new();
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    // In the place of TLS, and in front of it.
    let backend = Backend::raw(move |_, mut wire| async move {
        wire.send(answer).await;
        wire.whatever_comes().await;
    });
    assert_backend_tls(trusting.before(&[&backend], "").start(), "corrupt message").await;
    // As a record of TLS that is not encrypted (CVE-2026-1642).
    let mut record = b"\x17\x03\x03\0".to_vec();
    record.push(u8::try_from(answer.len()).unwrap());
    record.extend(answer.as_bytes());
    let backend = Backend::raw(move |_, mut wire| {
        let record = record.clone();
        async move {
            wire.take(5).await;
            wire.send(record).await;
            wire.whatever_comes().await;
        }
    });
    assert_backend_tls(trusting.before(&[&backend], "").start(), "unexpected message").await;
}

#[tokio::test]
async fn a_backend_that_speaks_no_tls_or_hangs_up_in_the_handshake_is_told() {
    let trusting = Trusting::new();
    let backend = Backend::raw(async |_, mut wire| {
        wire.take(5).await;
    });
    let proxy = trusting.before(&[&backend], "").start();
    assert_backend_tls(proxy, "").await;
    let backend = Backend::raw(async |_, mut wire| {
        wire.take(5).await;
        wire.send("SSH-2.0-OpenSSH_9.9\r\n").await;
        wire.whatever_comes().await;
    });
    assert_backend_tls(trusting.before(&[&backend], "").start(), "corrupt message").await;
}

#[tokio::test]
async fn a_handshake_that_stands_still_ends_with_the_time_for_connecting() {
    let trusting = Trusting::new();
    let backend = Backend::raw(async |_, mut wire| {
        wire.whatever_comes().await;
    });
    let mut proxy = trusting.before(&[&backend], "").timeout("connect", "3s").start();
    let response = proxy.client().await.refused_upgrade("/ws").await;
    assert_eq!(response.status(), 504);
    let record = proxy.next_record().await;
    assert_eq!(record["cause"], "connect_timeout");
    assert!(record["error"].as_str().unwrap().contains("TLS handshake"), "{record}");
    proxy.stop().await;
}

#[tokio::test]
async fn another_backend_is_tried_unless_a_body_may_have_been_read() {
    let trusting = Trusting::new();
    let clients = Authority::new("of clients");
    let (good, _) = trusting.echo();
    // The first fails before a request is sent, the second behind it.
    let (posing, _) = Backend::secure_echo(Authority::new("nobody").sign(&[HERE]).server(&[], None));
    let picky = trusting.authority.sign(&[HERE]).server(&[&TLS13], Some(&clients));
    let (picky, _) = Backend::secure_echo(picky);
    let post = "POST / HTTP/1.1\r\nHost: chat\r\nContent-Length: 4\r\n\r\nbody";
    for (bad, request, status, tries) in [
        (&posing, "GET / HTTP/1.1\r\nHost: chat\r\n\r\n", 200, 2),
        (&posing, post, 200, 2),
        (&picky, "GET / HTTP/1.1\r\nHost: chat\r\n\r\n", 200, 2),
        (&picky, post, 502, 1),
    ] {
        let mut proxy = trusting.before(&[bad, &good], "").backend(1, "backup: true").start();
        let mut client = proxy.client().await;
        client.send(request).await;
        assert_eq!(client.response().await.status(), status, "{request}");
        let record = proxy.next_record().await;
        assert_eq!((&record["tries"], &record["status"]), (&tries.into(), &status.into()), "{record}");
        drop(proxy);
    }
}

#[tokio::test]
async fn failures_take_a_backend_out_as_those_to_connect_do() {
    let trusting = Trusting::new();
    let (good, _) = trusting.echo();
    let (posing, _) = Backend::secure_echo(Authority::new("nobody").sign(&[HERE]).server(&[], None));
    let upstream = format!("{}, max_fails: 1", trusting.upstream(""));
    let mut proxy = trusting.before(&[&posing, &good], "").upstream(&upstream).start();
    let mut tries = Vec::new();
    for _ in 0..6 {
        assert_eq!(proxy.client().await.get("/", "").await.status(), 200);
        tries.push(proxy.next_record().await["tries"].as_u64().unwrap());
    }
    assert_eq!(tries.iter().filter(|tries| **tries == 2).count(), 1, "{tries:?}");
    proxy.stop().await;
}
