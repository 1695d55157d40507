//! Clients that come back to their sessions (docs/resume.md): what a handshake on a route with `resume` is told.

mod rules;
mod secrets;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::{
    explained::ask,
    harness::{
        Backend, Head, Proxy, Wire,
        frames::{TEXT, masked, masked_close, unmasked, unmasked_close},
        handshake,
    },
};

const ROUTES: &str =
    "routes: [ { upstream: chat, resume: { for: 20s, replay: 8KiB, beat: 5s } }, { path: /off, upstream: chat } ]";

/// A hello that says `resume: on`.
#[derive(Debug)]
struct Promise {
    hello: Value,
    token: String,
    secret: String,
}

/// A handshake with these subprotocols, and `more` fields, each ended by CRLF.
fn offering(path: &str, subprotocols: &str, more: &str) -> String {
    handshake(path, &format!("Sec-WebSocket-Protocol: {subprotocols}\r\n{more}"))
}

/// Reads a 101 of the protocol, and the hello that follows it.
async fn promised(client: &mut Wire) -> Promise {
    let head = client.upgraded().await;
    assert_eq!(head.headers("sec-websocket-protocol"), ["longwire.resume.v1"], "{}", head.as_str());
    assert_eq!(head.headers("sec-websocket-extensions"), [""; 0], "{}", head.as_str());
    let frame = client.frame().await;
    assert_eq!(frame.first, TEXT, "a hello is one frame");
    assert!(frame.payload.len() <= 2048, "{}", frame.payload.len());
    let hello: Value = serde_json::from_slice(&frame.payload).unwrap();
    assert_eq!((&hello["longwire"], &hello["resume"]), (&1.into(), &"on".into()), "{hello}");
    let [token, secret] = ["token", "secret"].map(|key| hello[key].as_str().unwrap().to_owned());
    Promise { hello, token, secret }
}

/// Sends a handshake, lets the backend agree by `answer`, and reads what the client is promised.
async fn begin(proxy: &Proxy, backend: &Backend, offer: &str, answer: &str) -> (Wire, Wire, Head, Promise) {
    let mut client = proxy.client().await;
    client.send(offer).await;
    let (mut at_backend, head) = backend.asked().await;
    at_backend.accept(&head, answer).await;
    let promise = promised(&mut client).await;
    (client, at_backend, head, promise)
}

#[tokio::test]
async fn a_client_that_offers_is_promised_a_session_and_its_backend_sees_the_application_alone() {
    let backend = Backend::by_hand();
    let mut proxy = Proxy::before(&[&backend]).routes(ROUTES).start();
    let deflate = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    let offer = offering("/", "chat.v1, chat.v2, longwire.resume.v1", deflate);
    let (mut client, mut at_backend, head, promise) =
        begin(&proxy, &backend, &offer, "Sec-WebSocket-Protocol: chat.v2\r\n").await;
    assert_eq!(head.headers("sec-websocket-protocol"), ["chat.v1, chat.v2"]);
    assert_eq!(head.headers("sec-websocket-extensions"), [""; 0]);
    let Promise { hello, token, secret } = promise;
    for (key, value) in [
        ("resumed", Value::from(false)),
        ("protocol", "chat.v2".into()),
        ("received", 0.into()),
        ("beat_ms", 5000.into()),
        ("replay", 8192.into()),
        ("for_ms", 20_000.into()),
    ] {
        assert_eq!(hello[key], value, "{key} in {hello}");
    }
    assert!((1..=200).contains(&token.len()) && !token.contains('.'), "{token}");
    let (random, colon) = secret.split_at(22);
    assert_eq!((URL_SAFE_NO_PAD.decode(random).unwrap().len(), colon), (16, ":"));

    // A hello is no message of the session.
    at_backend.send(unmasked(TEXT, "greeting")).await;
    client.expect(unmasked(TEXT, "greeting")).await;
    client.send(masked_close(1000, "")).await;
    at_backend.expect_close(1000, "").await;
    at_backend.send(unmasked_close(1000, "")).await;
    let record = proxy.next_record().await;
    assert_eq!((&record["messages_to_client"], &record["cause"]), (&1.into(), &"client_close".into()), "{record}");
    let line = record.to_string();
    assert!(!line.contains(&token) && !line.contains(random) && record.get("resumes").is_none(), "{line}");
    proxy.stop().await;
}

#[tokio::test]
async fn two_sessions_share_no_token_and_a_client_that_does_not_offer_has_an_ordinary_one() {
    let backend = Backend::by_hand();
    let proxy = Proxy::before(&[&backend]).routes(ROUTES).start();
    let offer = offering("/", "longwire.resume.v1", "");
    let (_one, _at_one, head, one) = begin(&proxy, &backend, &offer, "").await;
    assert_eq!(head.headers("sec-websocket-protocol"), [""; 0]);
    assert_eq!(one.hello["protocol"], Value::Null);
    let (_other, _at_other, _, other) = begin(&proxy, &backend, &offer, "").await;
    assert!(one.token != other.token && one.secret != other.secret);

    let mut client = proxy.client().await;
    client.send(handshake("/", "Sec-WebSocket-Extensions: permessage-deflate\r\n")).await;
    let (mut at_backend, head) = backend.asked().await;
    assert_eq!(head.headers("sec-websocket-extensions"), ["permessage-deflate"]);
    at_backend.accept(&head, "Sec-WebSocket-Extensions: permessage-deflate\r\n").await;
    assert_eq!(client.upgraded().await.header("sec-websocket-extensions"), Some("permessage-deflate"));
    at_backend.send(unmasked(TEXT, "first")).await;
    client.expect(unmasked(TEXT, "first")).await;

    // On a route without `resume` an extension stays.
    let offer = offering("/off", "longwire.resume.v1", "Sec-WebSocket-Extensions: permessage-deflate\r\n");
    let mut client = proxy.client().await;
    client.send(offer).await;
    let (mut at_backend, head) = backend.asked().await;
    assert_eq!(head.headers("sec-websocket-extensions"), ["permessage-deflate"]);
    at_backend.accept(&head, "").await;
    client.upgraded().await;
    let hello: Value = serde_json::from_slice(&client.frame().await.payload).unwrap();
    assert_eq!(hello["resume"], "off");
    proxy.stop().await;
}

#[tokio::test]
async fn a_subprotocol_that_has_no_room_in_a_hello_leaves_an_ordinary_session() {
    let backend = Backend::by_hand();
    let proxy = Proxy::before(&[&backend]).routes(ROUTES).start();
    let long = "a".repeat(2048);
    let mut client = proxy.client().await;
    client.send(offering("/", &format!("{long}, longwire.resume.v1"), "")).await;
    let (mut at_backend, head) = backend.asked().await;
    at_backend.accept(&head, &format!("Sec-WebSocket-Protocol: {long}\r\n")).await;
    assert_eq!(client.upgraded().await.header("sec-websocket-protocol"), Some(&*long));
    at_backend.send(unmasked(TEXT, "first")).await;
    client.expect(unmasked(TEXT, "first")).await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_token_that_nobody_here_has_made_and_an_offer_that_cannot_be_read_begin_a_new_session() {
    let backend = Backend::by_hand();
    let proxy = Proxy::before(&[&backend]).routes(ROUTES).with("admin: { bind: \"127.0.0.1:0\" }").start();
    let other = Proxy::before(&[&backend]).routes(ROUTES).start();
    let (_c, _b, _, elsewhere) = begin(&other, &backend, &offering("/", "longwire.resume.v1", ""), "").await;
    for item in [
        format!("{}.1.0", elsewhere.token),
        "AbC.1.0".to_owned(),
        "AbC.0.0".to_owned(),
        "not.an.attempt".to_owned(),
        String::new(),
    ] {
        let offer = offering("/", &format!("chat, longwire.resume.v1, longwire.resume.v1.{item}"), "");
        let (mut client, mut at_backend, head, new) = begin(&proxy, &backend, &offer, "").await;
        assert_eq!(head.headers("sec-websocket-protocol"), ["chat"], "{item}");
        assert_eq!((&new.hello["resumed"], &new.hello["received"]), (&false.into(), &0.into()), "{item}");
        client.send(masked(TEXT, "one")).await;
        at_backend.expect(masked(TEXT, "one")).await;
    }
    let metrics = ask(&proxy, "GET", "/metrics").await;
    assert!(metrics.contains("longwire_gave_up_total{why=\"elsewhere\"} 2"), "{metrics}");
    proxy.stop().await;
}

#[tokio::test]
async fn an_address_may_try_ten_forged_tokens_in_a_second_and_has_its_own_session_meanwhile() {
    let backend = Backend::by_hand();
    let mut proxy = Proxy::before(&[&backend]).routes(ROUTES).start();
    let fresh = offering("/", "longwire.resume.v1", "");
    let (mut client, mut at_backend, _, ours) = begin(&proxy, &backend, &fresh, "").await;
    // Our name, and the signature of somebody who guesses.
    let mut forged = URL_SAFE_NO_PAD.decode(&ours.token).unwrap();
    *forged.last_mut().unwrap() ^= 1;
    let offer = offering("/", &format!("longwire.resume.v1.{}.1.0", URL_SAFE_NO_PAD.encode(forged)), "");
    let mut thieves = Vec::new();
    for _ in 0..40 {
        let mut thief = proxy.client().await;
        thief.send(&offer).await;
        thieves.push(thief);
    }
    let accepts = async {
        loop {
            let (mut asked, head) = backend.asked().await;
            asked.accept(&head, "").await;
            tokio::spawn(async move { asked.whatever_comes().await });
        }
    };
    let answers = async {
        // All are answered, so that none of them asks the backend later.
        let mut refused = None;
        for mut thief in thieves {
            let head = thief.head().await;
            if head.status() != 101 {
                refused.get_or_insert(head);
            }
        }
        refused.expect("a refusal of one of forty forged tokens in a moment")
    };
    let refused = tokio::select! { () = accepts => unreachable!("it has no end"), refused = answers => refused };
    assert_eq!((refused.status(), refused.header("retry-after")), (429, Some("5")));
    let record = loop {
        let record = proxy.next_record().await;
        if record["kind"] == "request" {
            break record;
        }
    };
    assert_eq!(record["cause"], "resume_attempts", "{record}");
    // Who does not guess is not refused, and nothing has happened to the session.
    let _another = begin(&proxy, &backend, &fresh, "").await;
    at_backend.send(unmasked(TEXT, "still here")).await;
    client.expect(unmasked(TEXT, "still here")).await;
    proxy.stop().await;
}
