//! Who may use a route, by address: `allow` and `deny`.

use crate::harness::{Backend, Proxy, handshake};

/// A proxy whose clients say who they are, with one route that has these keys.
fn proxy(backend: &Backend, keys: &str) -> Proxy {
    let setup = Proxy::before(&[backend]).with("trusted_proxies: [ 127.0.0.0/8 ]");
    setup.routes(&format!("routes: [ {{ upstream: chat, {keys} }} ]")).start()
}

#[tokio::test]
async fn client_that_is_not_allowed_is_403_for_handshakes_and_plain_requests() {
    let backend = Backend::echo();
    let mut proxy = proxy(&backend, "allow: [10.0.0.0/8, \"2001:db8::/32\"], deny: [10.9.0.0/16]");
    for (client, status) in [
        ("10.1.2.3", 200),
        ("2001:db8::7", 200),
        ("::ffff:10.1.2.3", 200),
        ("10.9.0.1", 403),
        ("11.0.0.1", 403),
        ("2001:db9::7", 403),
    ] {
        let fields = format!("X-Forwarded-For: {client}\r\n");
        let response = proxy.client().await.get("/", &fields).await;
        assert_eq!(response.status(), status, "{client}");
        let record = proxy.next_record().await;
        let mut wire = proxy.client().await;
        wire.send(handshake("/", &fields)).await;
        if status == 200 {
            wire.upgraded().await;
            wire.leave().await;
            assert_eq!(proxy.next_record().await["cause"], "client_close", "{client}");
            continue;
        }
        response.assert_one_line_naming("denied");
        assert_eq!((&record["cause"], &record["status"]), (&"denied".into(), &403.into()), "{record}");
        assert_eq!((&record["client"], &record["route"]), (&client.into(), &"*/".into()), "{record}");
        let refused = wire.response().await;
        assert_eq!(refused.status(), 403, "{client}");
        assert_eq!(refused.head.header("retry-after"), None, "nothing changes by waiting");
        // Frames may follow the handshake.
        wire.expect_gone().await;
        assert_eq!(proxy.next_record().await["cause"], "denied", "{client}");
    }
    assert_eq!(backend.heads().len(), 6, "only who is admitted comes to the backend");
    proxy.stop().await;
}

#[tokio::test]
async fn address_that_a_stranger_claims_opens_nothing() {
    let backend = Backend::echo();
    let routes = "routes: [ { upstream: chat, allow: [10.0.0.0/8] } ]";
    let proxy = Proxy::before(&[&backend]).routes(routes).start();
    let response = proxy.client().await.get("/", "X-Forwarded-For: 10.1.2.3\r\n").await;
    assert_eq!(response.status(), 403);
    assert_eq!(backend.heads().len(), 0);
    proxy.stop().await;
}

#[tokio::test]
async fn denied_client_neither_goes_on_to_another_route_nor_learns_what_else_is_wrong() {
    let backend = Backend::echo();
    let routes = "routes: [ { path: /inner/, upstream: chat, deny: [127.0.0.0/8], origins: [https://a.example] }, \
                  { upstream: chat } ]";
    let mut proxy =
        Proxy::before(&[&backend]).routes(routes).with("limits: { new_sessions: 1, refuse: close }").start();
    for _ in 0..3 {
        let mut wire = proxy.client().await;
        wire.send(handshake("/inner/x", "Origin: https://b.example\r\n")).await;
        assert_eq!(wire.response().await.status(), 403);
        assert_eq!(proxy.next_record().await["cause"], "denied");
    }
    // A denied handshake took nothing from the limit.
    proxy.client().await.upgrade("/").await;
    proxy.stop().await;
}

#[tokio::test]
async fn reload_changes_who_may_come() {
    let backend = Backend::echo();
    let setup = |keys: &str| Proxy::before(&[&backend]).routes(&format!("routes: [ {{ upstream: chat, {keys} }} ]"));
    let mut proxy = setup("allow: [127.0.0.0/8]").start();
    let mut client = proxy.client().await;
    assert_eq!(client.get("/", "").await.status(), 200);
    let reloaded = proxy.reload(&setup("allow: [10.0.0.0/8]"));
    assert_eq!(reloaded.routes_changed, ["*/"]);
    assert_eq!(client.get("/", "").await.status(), 403);
    proxy.stop().await;
}
