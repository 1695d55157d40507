//! Requests that become no session: refusals by the proxy itself, and answers of a backend that are no upgrade.

use crate::harness::{
    Backend, Proxy, accepting,
    frames::{TEXT, masked},
    handshake,
};

#[tokio::test]
async fn any_answer_but_101_is_passed_on_as_plain_http_and_ends_the_connection() {
    let answers = [
        (200, "HTTP/1.1 200 OK\r\nX-Why: polling\r\nContent-Length: 4\r\n\r\nbody"),
        (400, "HTTP/1.1 400 Bad Request\r\nX-Why: polling\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"),
        (403, "HTTP/1.1 403 Forbidden\r\nX-Why: polling\r\nContent-Length: 4\r\n\r\nbody"),
        (302, "HTTP/1.1 302 Found\r\nX-Why: polling\r\nLocation: /login\r\nContent-Length: 4\r\n\r\nbody"),
    ];
    for (status, answer) in answers {
        let backend = Backend::answering(answer);
        let mut proxy = Proxy::start(&[&backend]);
        let mut client = proxy.client().await;
        // The client sends a frame before the 101, which never comes. Nothing of the frame may reach the backend, which
        // checks that.
        client.send([handshake("/", "").as_bytes(), &masked(TEXT, "GET /admin HTTP/1.1\r\n\r\n")].concat()).await;
        let response = client.response().await;
        assert_eq!((response.status(), response.text()), (status, "body"));
        assert_eq!(response.head.header("x-why"), Some("polling"));
        assert_eq!(response.head.header("upgrade"), None);
        client.expect_gone().await;
        let record = proxy.next_record().await;
        assert_eq!((&record["kind"], &record["status"]), (&"request".into(), &status.into()), "{record}");
        assert_eq!(record["cause"], "not_upgraded");
        assert_eq!(proxy.stop().await.len(), 1);
    }
}

#[tokio::test]
async fn bytes_sent_after_a_refused_handshake_are_never_relayed() {
    let backend = Backend::answering("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    let proxy = Proxy::start(&[&backend]);
    let mut client = proxy.client().await;
    assert_eq!(client.refused_upgrade("/ws").await.status(), 400);
    // The connection may be closed already.
    client.try_send(masked(TEXT, "late")).await;
    client.expect_gone().await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_101_that_does_not_answer_this_handshake_is_502() {
    type Forge = fn(String) -> String;
    let forgeries: [(&str, Forge); 9] = [
        ("another Accept", |_| {
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n"
                .into()
        }),
        ("no Accept", |_| {
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n".into()
        }),
        ("no Upgrade", |good| good.replace("Upgrade: websocket\r\n", "")),
        ("another Upgrade", |good| good.replace("Upgrade: websocket", "Upgrade: h2c")),
        ("no Connection", |good| good.replace("Connection: Upgrade\r\n", "")),
        ("another Connection", |good| good.replace("Connection: Upgrade", "Connection: keep-alive")),
        ("an unoffered subprotocol", |good| good.replace("\r\n\r\n", "\r\nSec-WebSocket-Protocol: other\r\n\r\n")),
        ("an unoffered extension", |good| {
            good.replace("\r\n\r\n", "\r\nSec-WebSocket-Extensions: x-unheard-of\r\n\r\n")
        }),
        ("two subprotocols", |good| good.replace("\r\n\r\n", "\r\nSec-WebSocket-Protocol: chat, second\r\n\r\n")),
    ];
    for (name, forge) in forgeries {
        let backend = Backend::by_hand();
        let mut proxy = Proxy::before(&[&backend]).upstream("balance: round_robin, tries: 1").start();
        let mut client = proxy.client().await;
        let offers = "Sec-WebSocket-Protocol: chat, second\r\nSec-WebSocket-Extensions: permessage-deflate\r\n";
        client.send([handshake("/", offers).as_bytes(), &masked(TEXT, "early")].concat()).await;
        let (mut at_backend, head) = backend.asked().await;
        at_backend.send(forge(accepting(&head, ""))).await;

        let response = client.response().await;
        assert_eq!(response.status(), 502, "{name}");
        response.assert_one_line_naming("upgrade");
        at_backend.expect_gone().await;
        let record = proxy.next_record().await;
        assert_eq!((&record["cause"], &record["status"]), (&"false_upgrade".into(), &502.into()), "{name}: {record}");
        assert_eq!(record["backend"], backend.to_string());
        proxy.stop().await;
    }
}

#[tokio::test]
async fn a_backend_that_refuses_is_502() {
    let backend = Backend::refusing();
    let mut proxy = Proxy::start(&[&backend]);
    let mut client = proxy.client().await;
    let response = client.refused_upgrade("/ws").await;
    assert_eq!(response.status(), 502);
    response.assert_one_line_naming("refused");
    let record = proxy.next_record().await;
    assert_eq!((&record["cause"], &record["tries"]), (&"refused".into(), &1.into()), "{record}");
    assert_eq!(record["backend"], backend.to_string());
    proxy.stop().await;
}

#[tokio::test]
async fn backends_that_all_refuse_are_502_after_each_was_tried() {
    let backends = [Backend::refusing(), Backend::refusing(), Backend::refusing()];
    let mut proxy = Proxy::before(&[&backends[0], &backends[1], &backends[2]]).start();
    assert_eq!(proxy.client().await.refused_upgrade("/ws").await.status(), 502);
    assert_eq!(proxy.next_record().await["tries"], 3);
    assert_eq!(proxy.client().await.get("/", "").await.status(), 502);
    assert_eq!(proxy.next_record().await["tries"], 3);
    proxy.stop().await;
}

#[tokio::test]
async fn a_backend_that_swallows_connections_is_504() {
    let backend = Backend::black_hole().await;
    let mut proxy = Proxy::before(&[&backend]).timeout("connect", "200ms").start();
    let response = proxy.client().await.refused_upgrade("/ws").await;
    assert_eq!(response.status(), 504);
    response.assert_one_line_naming("connect");
    let record = proxy.next_record().await;
    assert_eq!((&record["cause"], &record["status"]), (&"connect_timeout".into(), &504.into()), "{record}");
    proxy.stop().await;
}

#[tokio::test]
async fn a_backend_that_never_answers_is_504() {
    let backend = Backend::by_hand();
    let mut proxy = Proxy::before(&[&backend]).timeout("upgrade", "200ms").timeout("response", "200ms").start();
    let mut client = proxy.client().await;
    let (response, (mut at_backend, _)) = tokio::join!(client.refused_upgrade("/ws"), backend.asked());
    assert_eq!(response.status(), 504);
    response.assert_one_line_naming("time");
    at_backend.expect_gone().await;
    assert_eq!(proxy.next_record().await["cause"], "response_timeout");

    let mut client = proxy.client().await;
    let (response, _at_backend) = tokio::join!(client.get("/", ""), backend.asked());
    assert_eq!(response.status(), 504);
    assert_eq!(proxy.next_record().await["cause"], "response_timeout");
    proxy.stop().await;
}

#[tokio::test]
async fn no_route_is_404() {
    let backend = Backend::echo();
    let mut proxy =
        Proxy::before(&[&backend]).routes("routes: [ { host: chat.example.com, path: /ws/, upstream: chat } ]").start();
    for path in ["/", "/ws", "/w", "/WS/room"] {
        let response = proxy.client().await.refused_upgrade(path).await;
        assert_eq!(response.status(), 404, "{path}");
        response.assert_one_line_naming("route");
        let record = proxy.next_record().await;
        assert_eq!((&record["cause"], &record["status"]), (&"no_route".into(), &404.into()), "{record}");
    }
    let mut client = proxy.client().await;
    client.send(handshake("/ws/room", "").replace("chat.example.com", "other.example.com")).await;
    assert_eq!(client.response().await.status(), 404);
    // Port and letter case do not matter. The path is a plain prefix.
    let mut client = proxy.client().await;
    client.send(handshake("/ws/room", "").replace("chat.example.com", "CHAT.example.com:8080")).await;
    client.upgraded().await;
    proxy.stop().await;
}

#[tokio::test]
async fn the_more_exact_route_wins() {
    let (exact, wildcard, longer, rest) = (Backend::echo(), Backend::echo(), Backend::echo(), Backend::echo());
    let others = format!(
        "  wildcard: {{ backends: [ {{ address: \"{wildcard}\" }} ] }}\n  longer: {{ backends: [ {{ address: \"{longer}\" }} ] }}\n  \
         rest: {{ backends: [ {{ address: \"{rest}\" }} ] }}\n"
    );
    let proxy = Proxy::before(&[&exact])
        .routes(&format!(
            "{others}routes:\n  - {{ upstream: rest }}\n  - {{ host: \"*.example.com\", upstream: wildcard }}\n  \
             - {{ path: /ws/, upstream: longer }}\n  - {{ host: chat.example.com, upstream: chat }}\n"
        ))
        .start();
    let expected = [
        ("chat.example.com", "/ws/", &exact),
        ("other.example.com", "/ws/", &wildcard),
        ("example.com", "/ws/", &longer),
        ("elsewhere", "/", &rest),
    ];
    for (name, path, backend) in expected {
        let mut client = proxy.client().await;
        client.send(handshake(path, "").replace("chat.example.com", name)).await;
        assert_eq!(client.upgraded().await.header("x-backend"), Some(backend.to_string().as_str()), "{name}{path}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn every_backend_down_is_503() {
    let backend = Backend::echo();
    let mut proxy = Proxy::before(&[&backend]).backend(0, "down: true").start();
    let response = proxy.client().await.refused_upgrade("/ws").await;
    assert_eq!(response.status(), 503);
    response.assert_one_line_naming("backend");
    let record = proxy.next_record().await;
    assert_eq!((&record["cause"], &record["status"]), (&"unavailable".into(), &503.into()), "{record}");
    assert_eq!(proxy.client().await.get("/", "").await.status(), 503);
    assert_eq!(backend.connections(), 0);
    proxy.stop().await;
}

#[tokio::test]
async fn a_backend_that_closes_before_its_answer_is_502() {
    for half in ["", "HTTP/1.1 101 Switch"] {
        let backend = Backend::script(move |mut wire, _| async move { wire.send_and_finish(half).await });
        let mut proxy = Proxy::start(&[&backend]);
        assert_eq!(proxy.client().await.refused_upgrade("/ws").await.status(), 502, "{half:?}");
        let record = proxy.next_record().await;
        assert_eq!(record["cause"], "closed_early", "{half:?}: {record}");
        proxy.stop().await;
    }
}

#[tokio::test]
async fn an_answer_that_is_no_http_is_502() {
    let backend = Backend::script(async |mut wire, _| {
        wire.send("SSH-2.0-OpenSSH_9.9\r\n\r\n").await;
        wire.rest().await;
    });
    let mut proxy = Proxy::start(&[&backend]);
    let response = proxy.client().await.refused_upgrade("/ws").await;
    assert_eq!(response.status(), 502);
    assert_eq!(response.text().lines().count(), 1);
    assert_eq!(proxy.next_record().await["cause"], "malformed_answer");
    assert_eq!(proxy.client().await.get("/", "").await.status(), 502);
    assert_eq!(proxy.next_record().await["cause"], "malformed_answer");
    proxy.stop().await;
}

#[tokio::test]
async fn a_backend_that_is_the_proxy_itself_is_told_and_gets_no_request() {
    for (bind, host) in [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.2"),
        ("0.0.0.0", "0.0.0.0"),
        ("[::]", "127.0.0.1"),
        ("[::]", "[::1]"),
        // Everything reads this as a name, except the function that looks it up (inet_aton(3)).
        ("0.0.0.0", "0x7f000001"),
    ] {
        let echo = Backend::echo();
        // The first file cannot name the port, because the port is not known before.
        let setup = Proxy::before(&[&echo]).listener(&format!("bind: \"{bind}:0\""));
        let mut proxy = setup.clone().start();
        let own = format!("{host}:{}", proxy.address().port());
        proxy.reload(&setup.clone().backend_at(0, &own));
        for request in [handshake("/", ""), "GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()] {
            let mut client = proxy.client().await;
            client.send(request).await;
            let response = client.response().await;
            assert_eq!(response.status(), 508, "{own} on {bind}");
            response.assert_one_line_naming("loop");
            client.finish().await;
            let record = proxy.next_record().await;
            assert_eq!((&record["cause"], &record["tries"]), (&"loop".into(), &1.into()), "{record}");
            assert_eq!(record["backend"], own, "{record}");
        }
        // Another backend takes the place of the one that is the proxy itself.
        let both = Proxy::before(&[&echo, &echo]).listener(&format!("bind: \"{bind}:0\"")).backend_at(0, &own);
        proxy.reload(&both);
        for _ in 0..2 {
            proxy.session().await.finish().await;
            assert_eq!(proxy.next_record().await["backend"], echo.to_string());
        }
        assert_eq!(proxy.stop().await.len(), 4, "nothing went round by {own}");
    }
}

#[tokio::test]
async fn the_record_of_a_head_that_was_not_read_has_the_status_that_went_out() {
    let backend = Backend::echo();
    let mut proxy = Proxy::before(&[&backend]).with("limits: { header_size: 256KiB, headers: 20 }").start();
    let many: String = (0..21).map(|n| format!("X-{n}: 1\r\n")).collect();
    let heads = [
        ("a target that is none", "GET /\u{1} HTTP/1.1\r\nHost: chat\r\n\r\n".to_owned(), 400),
        ("another version", "GET / HTTP/1.2\r\nHost: chat\r\n\r\n".to_owned(), 400),
        ("a version that is none", "GET / HTTP/3.0\r\nHost: chat\r\n\r\n".to_owned(), 400),
        ("a name that is none", "GET / HTTP/1.1\r\nHost: chat\r\nX Y: 1\r\n\r\n".to_owned(), 400),
        ("too many fields", format!("GET / HTTP/1.1\r\nHost: chat\r\n{many}\r\n"), 431),
        ("too long a target", format!("GET /{} HTTP/1.1\r\nHost: chat\r\n\r\n", "x".repeat(70_000)), 414),
        ("too long a head", format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(300 * 1024)), 431),
    ];
    for (name, head, status) in heads {
        let mut client = proxy.client().await;
        client.try_send(head).await;
        let response = client.response().await;
        assert_eq!((response.status(), response.text()), (status, ""), "{name}");
        client.finish().await;
        let record = proxy.next_record().await;
        assert_eq!(record["status"], status, "{name}: {record}");
    }
    assert_eq!(backend.heads(), []);
    proxy.stop().await;
}
