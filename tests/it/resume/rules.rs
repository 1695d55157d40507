//! What a client has to pass on its way back, and what becomes of the session if it does not.

use tokio_rustls::{TlsConnector, rustls::version::TLS13};

use super::ask;
use crate::harness::{
    Authority, Backend, Proxy, Wire,
    frames::{TEXT, masked, unmasked},
    handshake,
    library::{Library, hello},
    tls_connect, trusting,
};

/// A client's end of a session, and the backend's.
type Ends = (Library, Wire);

const OFFER: &str = "Sec-WebSocket-Protocol: longwire.resume.v1\r\n";

/// A new session, whose handshake has these fields.
async fn session(mut wire: Wire, backend: &Backend, more: &str) -> Ends {
    wire.send(handshake("/", &format!("{OFFER}{more}"))).await;
    let at_backend = backend.accepted().await;
    (Library::greeted(wire).await, at_backend)
}

/// An attempt that ends in a new session. Its backend sees no token.
async fn strays(library: &mut Library, mut wire: Wire, backend: &Backend, path: &str, more: &str) {
    let attempt = library.attempt();
    wire.send(handshake(path, &format!("{attempt}{more}"))).await;
    let (mut at_backend, head) = backend.asked().await;
    assert!(!head.as_str().contains("longwire.resume"), "{}", head.as_str());
    at_backend.accept(&head, "").await;
    let hello = hello(&mut wire).await;
    assert_eq!((&hello["resumed"], &hello["received"]), (&false.into(), &0.into()), "{hello}");
    assert!(hello["token"] != library.hello["token"] && hello["secret"] != library.hello["secret"]);
}

/// The client comes back by a handshake with these fields, and goes on where it was.
async fn returns((library, at_backend): &mut Ends, wire: Wire, more: &str) {
    library.come_back_by(wire, more).await;
    at_backend.send(unmasked(TEXT, "on")).await;
    library.expect_text("on").await;
    library.send_text("and on").await;
    at_backend.expect(masked(TEXT, "and on")).await;
}

async fn secure(proxy: &Proxy, connector: &TlsConnector) -> Wire {
    tls_connect(connector, proxy.address(), "localhost").await.expect("a TLS handshake")
}

/// The client's connection ends.
async fn goes(library: &mut Library) {
    library.wire.finish().await;
    library.wire.rest().await;
}

#[tokio::test]
async fn another_origin_or_route_gets_a_new_session_and_leaves_the_old_one_to_its_client() {
    let backend = Backend::by_hand();
    let routes = "routes: [ { upstream: chat, resume: { } }, { path: /other, upstream: chat, resume: { } } ]";
    let proxy = Proxy::before(&[&backend]).routes(routes).with("admin: { bind: \"127.0.0.1:0\" }").start();
    let (ours, theirs) = ("Origin: https://a.example\r\n", "Origin: https://b.example\r\n");
    let mut ends = session(proxy.client().await, &backend, ours).await;
    goes(&mut ends.0).await;
    for (path, more) in [("/", theirs), ("/", ""), ("/other", ours)] {
        strays(&mut ends.0, proxy.client().await, &backend, path, more).await;
    }
    returns(&mut ends, proxy.client().await, ours).await;
    let metrics = ask(&proxy, "GET", "/metrics").await;
    assert!(metrics.contains("longwire_gave_up_total{why=\"changed\"} 3"), "{metrics}");
    assert!(metrics.contains("longwire_resumed_total{side=\"client\"} 1"), "{metrics}");
    proxy.stop().await;
}

#[tokio::test]
async fn another_certificate_or_none_gets_a_new_session() {
    let (backend, folder, authority) = (Backend::by_hand(), tempfile::tempdir().unwrap(), Authority::new("clients"));
    fs_err::write(folder.path().join("clients.pem"), authority.pem()).unwrap();
    let tls = "{ cert: dev.crt, key: dev.key, self_signed: true, client_auth: { mode: optional, ca: clients.pem } }";
    let routes = "routes: [ { upstream: chat, resume: { } } ]";
    let proxy = Proxy::before(&[&backend]).tls(tls, folder.path()).routes(routes).start();
    let cert = folder.path().join("dev.crt");
    let [ours, theirs] = [(); 2].map(|()| authority.issue(|_| ()).connector(&cert, &TLS13));
    let nobody = trusting(&cert, &[], &[]);
    let mut ends = session(secure(&proxy, &ours).await, &backend, "").await;
    goes(&mut ends.0).await;
    for connector in [&theirs, &nobody] {
        strays(&mut ends.0, secure(&proxy, connector).await, &backend, "/", "").await;
    }
    returns(&mut ends, secure(&proxy, &ours).await, "").await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_service_is_asked_about_each_attempt_and_another_user_gets_a_new_session() {
    let backend = Backend::by_hand();
    let service = Backend::script(|mut wire, head| async move {
        let answer = match head.header("x-user") {
            Some(user @ ("me" | "you")) => format!("204 No Content\r\nX-User: {user}"),
            _ => "403 Forbidden\r\nContent-Length: 0".to_owned(),
        };
        wire.send_and_finish(format!("HTTP/1.1 {answer}\r\nConnection: close\r\n\r\n")).await;
    });
    let asked = format!("auth_request: {{ url: \"http://{service}/\", pass: [X-User] }}");
    let routes = format!("routes: [ {{ upstream: chat, resume: {{ }}, {asked} }} ]");
    let mut proxy = Proxy::before(&[&backend]).routes(&routes).start();
    let mut ends = session(proxy.client().await, &backend, "X-User: me\r\n").await;
    goes(&mut ends.0).await;
    let mut client = proxy.client().await;
    client.send(handshake("/", &format!("{}X-User: somebody\r\n", ends.0.attempt()))).await;
    assert_eq!(client.response().await.status(), 403);
    assert_eq!(proxy.next_record().await["cause"], "auth_denied");
    strays(&mut ends.0, proxy.client().await, &backend, "/", "X-User: you\r\n").await;
    returns(&mut ends, proxy.client().await, "X-User: me\r\n").await;
    assert!(service.heads().iter().all(|head| !head.as_str().contains("longwire.resume")));
    proxy.stop().await;
}

#[tokio::test]
async fn a_client_that_comes_back_counts_at_its_new_address_if_that_has_room() {
    let backend = Backend::by_hand();
    let routes = "routes: [ { upstream: chat, resume: { } } ]";
    let settings = "limits: { sessions_per_client: 1 }\ntrusted_proxies: [ 127.0.0.0/8 ]";
    let mut proxy = Proxy::before(&[&backend]).routes(routes).with(settings).start();
    let from = |last: u8| format!("X-Forwarded-For: 192.0.2.{last}\r\n");
    let mut ends = session(proxy.client().await, &backend, &from(1)).await;
    let other = session(proxy.client().await, &backend, &from(2)).await;
    goes(&mut ends.0).await;

    // The same address has room for the session that it has.
    returns(&mut ends, proxy.client().await, &from(1)).await;
    goes(&mut ends.0).await;
    let mut client = proxy.client().await;
    client.send(handshake("/", &format!("{}{}", ends.0.attempt(), from(2)))).await;
    assert_eq!(client.response().await.status(), 429);
    assert_eq!(proxy.next_record().await["cause"], "sessions_per_client");
    returns(&mut ends, proxy.client().await, &from(3)).await;

    let _first_address_is_free = session(proxy.client().await, &backend, &from(1)).await;
    let mut client = proxy.client().await;
    client.send(handshake("/", &from(3))).await;
    assert_eq!(client.response().await.status(), 429);
    assert_eq!(proxy.next_record().await["client"], "192.0.2.3");
    drop(ends);
    let record = loop {
        let record = proxy.next_record().await;
        if record["kind"] == "session" {
            break record;
        }
    };
    assert_eq!((&record["client"], &record["resumes"]), (&"192.0.2.3".into(), &2.into()), "{record}");
    drop(other);
    proxy.stop().await;
}

#[tokio::test]
async fn a_client_that_comes_back_takes_nothing_from_the_rates_of_new_sessions() {
    let backend = Backend::by_hand();
    let service = Backend::answering("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    for asked in [String::new(), format!(", auth_request: {{ url: \"http://{service}/\" }}")] {
        let routes = format!("routes: [ {{ upstream: chat, resume: {{ }}{asked} }} ]");
        let limits = "limits: { new_sessions: 1, new_sessions_per_client: 1 }";
        let proxy = Proxy::before(&[]).routes(&routes).with(limits).entry(&format!("address: \"{backend}\"")).start();
        let mut ends = session(proxy.client().await, &backend, "").await;
        for _ in 0..5 {
            goes(&mut ends.0).await;
            returns(&mut ends, proxy.client().await, "").await;
        }
        proxy.stop().await;
    }
    backend.finish().await;
    service.finish().await;
}
