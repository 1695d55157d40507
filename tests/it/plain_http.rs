//! Plain HTTP through the same listeners: streamed both ways, over kept connections.

use std::net::SocketAddr;

use crate::harness::{Backend, Proxy, Response, Wire, secure::Authority, within};

#[tokio::test]
async fn a_connection_carries_many_requests_and_so_does_the_one_to_the_backend() {
    let backend = Backend::echo();
    let mut proxy = Proxy::start(&[&backend]);
    let mut client = proxy.client().await;
    for path in ["/a", "/b?x=%2F..%2f", "/c"] {
        let response = client.get(path, "").await;
        assert_eq!(response.status(), 200);
        assert!(response.text().starts_with(&format!("GET {path} HTTP/1.1\r\n")), "{}", response.text());
        let record = proxy.next_record().await;
        assert_eq!((&record["kind"], &record["cause"]), (&"request".into(), &"ok".into()), "{record}");
    }
    assert_eq!(backend.connections(), 1);
    proxy.stop().await;
}

#[tokio::test]
async fn request_body_streams_to_the_backend_chunk_by_chunk() {
    let backend = Backend::by_hand();
    let proxy = Proxy::start(&[&backend]);
    let mut client = proxy.client().await;
    client.send("POST /up HTTP/1.1\r\nHost: chat\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;
    let (mut at_backend, head) = backend.asked().await;
    assert_eq!(head.header("transfer-encoding"), Some("chunked"));
    assert_eq!(at_backend.chunk().await, b"first");
    client.send("6\r\nsecond\r\n0\r\n\r\n").await;
    assert_eq!(at_backend.chunk().await, b"second");
    assert_eq!(at_backend.chunk().await, b"");
    at_backend.send("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(client.response().await.status(), 201);
    proxy.stop().await;
}

#[tokio::test]
async fn response_body_streams_to_the_client_chunk_by_chunk() {
    let backend = Backend::by_hand();
    let proxy = Proxy::start(&[&backend]);
    let mut client = proxy.client().await;
    client.send("GET /events HTTP/1.1\r\nHost: chat\r\n\r\n").await;
    let (mut at_backend, _) = backend.asked().await;
    at_backend.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;
    let head = within("a head", client.head()).await;
    assert_eq!(head.header("transfer-encoding"), Some("chunked"));
    assert_eq!(client.chunk().await, b"first");
    at_backend.send("6\r\nsecond\r\n0\r\n\r\n").await;
    assert_eq!(client.chunk().await, b"second");
    assert_eq!(client.chunk().await, b"");
    proxy.stop().await;
}

#[tokio::test]
async fn a_body_with_a_length_keeps_it() {
    let backend = Backend::strict();
    let proxy = Proxy::start(&[&backend]);
    let mut client = proxy.client().await;
    let body = vec![0x5a; 300_000];
    client.send(format!("PUT /file HTTP/1.1\r\nHost: chat\r\nContent-Length: {}\r\n\r\n", body.len())).await;
    client.send(&body).await;
    assert_eq!(client.response().await.text(), "took 300000 bytes");
    assert_eq!(backend.heads()[0].header("content-length"), Some("300000"));
    proxy.stop().await;
}

#[tokio::test]
async fn answers_without_a_body_leave_the_connection_in_step() {
    let backend = Backend::raw(async |backend: Backend, mut wire| {
        while let Some(head) = backend.next_head(&mut wire).await {
            let answer = match head.first_line() {
                "HEAD / HTTP/1.1" => "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n",
                "GET /204 HTTP/1.1" => "HTTP/1.1 204 No Content\r\n\r\n",
                "GET /304 HTTP/1.1" => "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlast",
            };
            wire.send(answer).await;
        }
    });
    let proxy = Proxy::start(&[&backend]);
    let mut client = proxy.client().await;
    client.send("HEAD / HTTP/1.1\r\nHost: chat\r\n\r\n").await;
    let head = within("a head", client.head()).await;
    assert_eq!((head.status(), head.header("content-length")), (200, Some("1234")));
    assert_eq!(client.get("/204", "").await.status(), 204);
    assert_eq!(client.get("/304", "").await.status(), 304);
    assert_eq!(client.get("/", "").await.text(), "last");
    proxy.stop().await;
}

#[tokio::test]
async fn body_over_the_limit_is_413_and_no_more_of_it_is_sent_on() {
    let backend = Backend::echo();
    let mut proxy = Proxy::before(&[&backend]).with("limits: { body_size: 10B }").start();
    let mut client = proxy.client().await;
    client.send("POST / HTTP/1.1\r\nHost: chat\r\nContent-Length: 11\r\n\r\nhello world").await;
    let response = client.response().await;
    assert_eq!(response.status(), 413);
    response.assert_one_line_naming("body");
    assert_eq!(proxy.next_record().await["cause"], "body_too_large");
    assert_eq!(backend.heads(), []);

    let mut client = proxy.client().await;
    client.send("POST / HTTP/1.1\r\nHost: chat\r\nContent-Length: 10\r\n\r\nhello worl").await;
    assert_eq!(client.response().await.status(), 200);
    proxy.stop().await;
}

#[tokio::test]
async fn head_over_the_limits_is_refused_and_reaches_no_backend() {
    let backend = Backend::echo();
    let proxy = Proxy::before(&[&backend]).with("limits: { header_size: 8KiB, headers: 20 }").start();
    let many: String = (0..21).map(|n| format!("X-{n}: 1\r\n")).collect();
    let long = format!("X-Long: {}\r\n", "x".repeat(16 * 1024));
    for fields in [many, long] {
        let mut client = proxy.client().await;
        client.send(format!("GET / HTTP/1.1\r\nHost: chat\r\n{fields}\r\n")).await;
        assert_eq!(client.response().await.status(), 431);
    }
    assert_eq!(backend.heads(), []);
    proxy.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_is_recorded_as_gone() {
    let backend = Backend::by_hand();
    let mut proxy = Proxy::start(&[&backend]);
    let mut client = proxy.client().await;
    client.send("GET /slow HTTP/1.1\r\nHost: chat\r\n\r\n").await;
    let (mut at_backend, _) = backend.asked().await;
    client.reset();
    let record = proxy.next_record().await;
    assert_eq!(
        (&record["cause"], &record["backend"]),
        (&"client_gone".into(), &backend.to_string().into()),
        "{record}"
    );
    at_backend.expect_gone().await;
    proxy.stop().await;
}

/// Reads the head of a request, sends `answer`, and resets the connection, as a server does that closes over unread bytes.
fn refusing_unread(answer: &'static str) -> Backend {
    Backend::script(move |mut wire, _| async move {
        wire.send(answer).await;
        wire.reset();
    })
}

/// The same behind TLS.
fn refusing_unread_over_tls(answer: &'static str) -> Backend {
    let config = Authority::new("nobody").sign(&["chat"]).server(&[], None);
    let script = move |backend: Backend, stream| async move {
        let mut wire = Wire::from(stream);
        if backend.next_head(&mut wire).await.is_some() {
            wire.send(answer).await;
            wire.reset();
        }
    };
    Backend::secure(config, script).0
}

/// TLS to a backend whose certificate does not matter.
const INSECURE: &str = ", tls: { insecure: true }";

/// Uploads a megabyte in one of two framings, and meanwhile reads the answer.
async fn upload(address: SocketAddr, is_chunked: bool) -> Option<Response> {
    let (framing, piece) = match is_chunked {
        true => ("Transfer-Encoding: chunked", [&b"10000\r\n"[..], &[b'x'; 65536], b"\r\n"].concat()),
        false => ("Content-Length: 1048576", vec![b'x'; 65536]),
    };
    let (mut reading, mut writing) = Wire::connect(address).await.split();
    let sending = async move {
        let mut goes_on = writing.try_send(format!("POST / HTTP/1.1\r\nHost: chat\r\n{framing}\r\n\r\n")).await;
        for _ in 0..16 {
            goes_on = goes_on && writing.try_send(&piece).await;
        }
        // The end of a chunked body, if anybody still reads it.
        goes_on && is_chunked && writing.try_send("0\r\n\r\n").await
    };
    let (_, answer) = tokio::join!(sending, reading.next_response());
    answer
}

#[tokio::test]
async fn a_refusal_of_an_upload_reaches_the_client_though_its_backend_resets_behind_it() {
    let answer = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 9\r\n\r\ntoo large";
    for (backend, tls) in [(refusing_unread(answer), ""), (refusing_unread_over_tls(answer), INSECURE)] {
        let proxy = Proxy::before(&[&backend]).upstream(&format!("balance: round_robin, max_fails: 0{tls}")).start();
        for round in 0..100 {
            let answer = upload(proxy.address(), round % 2 == 0).await.expect("an answer");
            assert_eq!((answer.status(), answer.text()), (413, "too large"), "round {round}{tls}");
        }
        proxy.stop().await;
    }
}

#[tokio::test]
async fn half_a_head_before_a_reset_is_no_answer() {
    let half = "HTTP/1.1 413 Content Too Large\r\nContent-Le";
    for (backend, tls) in [(refusing_unread(half), ""), (refusing_unread_over_tls(half), INSECURE)] {
        let upstream = format!("balance: round_robin, max_fails: 0{tls}");
        let mut proxy = Proxy::before(&[&backend]).upstream(&upstream).start();
        for is_chunked in [true, false] {
            assert_eq!(upload(proxy.address(), is_chunked).await.expect("an answer").status(), 502);
            assert_eq!(proxy.next_record().await["cause"], "closed_early", "{tls}");
        }
        proxy.stop().await;
    }
}

#[tokio::test]
async fn trailers_end_at_the_proxy_and_the_body_is_whole() {
    let backend = Backend::by_hand();
    let proxy = Proxy::start(&[&backend]);
    let mut client = proxy.client().await;
    let fields = "TE: trailers\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n";
    client.send(format!("POST / HTTP/1.1\r\nHost: chat\r\n{fields}\r\n2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n")).await;
    let (mut at_backend, head) = backend.asked().await;
    assert_eq!((head.header("te"), head.header("trailer")), (None, None));
    assert_eq!(at_backend.chunk().await, b"hi");
    assert_eq!(at_backend.chunk().await, b"");
    let answer =
        "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 2\r\n\r\n";
    at_backend.send(answer).await;
    let response = client.response().await;
    assert_eq!((response.text(), response.head.header("trailer")), ("ok", None));
    // Nothing of the trailers is left for the next exchange.
    client.send("GET /next HTTP/1.1\r\nHost: chat\r\n\r\n").await;
    let (mut at_backend, head) = backend.asked().await;
    assert_eq!(head.first_line(), "GET /next HTTP/1.1");
    at_backend.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(client.response().await.status(), 204);
    proxy.stop().await;
}

#[tokio::test]
async fn who_expects_100_is_told_to_go_on_and_the_backend_sees_no_expectation() {
    let backend = Backend::strict();
    let proxy = Proxy::start(&[&backend]);
    let mut client = proxy.client().await;
    client.send("POST / HTTP/1.1\r\nHost: chat\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n").await;
    assert_eq!(within("an interim answer", client.head()).await.status(), 100);
    client.send("hi").await;
    assert_eq!(client.response().await.text(), "took 2 bytes");
    assert_eq!(backend.heads()[0].header("expect"), None);
    // Nobody here knows any other expectation.
    client.send("POST / HTTP/1.1\r\nHost: chat\r\nExpect: the-unexpected\r\nContent-Length: 2\r\n\r\nhi").await;
    assert_eq!(client.response().await.text(), "took 2 bytes");
    assert_eq!(backend.heads()[1].header("expect"), None);
    // HTTP/1.0 has no interim answers.
    let mut old = proxy.client().await;
    old.send("POST / HTTP/1.0\r\nHost: chat\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi").await;
    assert_eq!(old.response().await.text(), "took 2 bytes");
    proxy.stop().await;
}

#[tokio::test]
async fn interim_answers_to_a_plain_request_end_at_the_proxy() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
    let backend = Backend::answering(format!("{hints}{hints}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
    let proxy = Proxy::start(&[&backend]);
    let response = proxy.client().await.get("/", "").await;
    assert_eq!((response.status(), response.text(), response.head.header("link")), (200, "ok", None));
    proxy.stop().await;
}

#[tokio::test]
async fn a_client_of_http_1_0_reads_no_chunks_and_its_backend_hears_http_1_1() {
    let backend = Backend::answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    let proxy = Proxy::start(&[&backend]);
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.0\r\nHost: chat\r\n\r\n").await;
    let head = within("a head", client.head()).await;
    assert_eq!((head.status(), head.header("transfer-encoding")), (200, None));
    assert_eq!(client.rest().await, b"ok");
    assert_eq!(backend.heads()[0].first_line(), "GET / HTTP/1.1");
    proxy.stop().await;
}

#[tokio::test]
async fn an_answer_without_a_date_gets_one_and_any_other_keeps_its_own() {
    let date = "Thu, 01 Jan 1970 00:00:00 GMT";
    for (field, kept) in [(String::new(), None), (format!("Date: {date}\r\n"), Some(date))] {
        let backend = Backend::answering(format!("HTTP/1.1 200 OK\r\n{field}Content-Length: 2\r\n\r\nok"));
        let proxy = Proxy::start(&[&backend]);
        let response = proxy.client().await.get("/", "").await;
        let found = response.head.header("date").expect("a date");
        assert!(kept.is_none_or(|kept| kept == found), "{found}");
        proxy.stop().await;
    }
}
