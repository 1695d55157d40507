//! Reloads, drains and hand-overs while headers are under way.

use std::net::SocketAddr;

use super::{
    V1, behind, expect_refused, get_behind, listening,
    out::{get, telling, told},
};
use crate::harness::{Backend, Proxy, Wire, within};

#[tokio::test]
async fn a_reload_changes_whose_header_is_read_for_connections_that_come() {
    let backend = Backend::echo();
    let mut proxy = behind(&[&backend], "").start();
    let mut pending = proxy.client().await;
    pending.send(&V1[..10]).await;
    let mut bare = proxy.client().await;
    // Answered: the proxy has taken all of these connections.
    assert_eq!(get_behind(&proxy, V1).await.status(), 200);
    let reloaded = proxy.reload(&listening(Proxy::before(&[&backend]), "from: [127.0.0.2]"));
    assert_eq!(reloaded.listeners_changed.len(), 1, "{reloaded:?}");
    // Both connections came before.
    pending.send(&V1[10..]).await;
    assert_eq!(pending.get("/", "").await.status(), 200);
    bare.send(V1).await;
    assert_eq!(bare.get("/", "").await.status(), 200);
    let mut client = proxy.client().await;
    client.try_send(V1).await;
    expect_refused(&proxy, &mut client, "untrusted", 1).await;
    proxy.reload(&Proxy::before(&[&backend]).with("admin: { bind: \"127.0.0.1:0\" }"));
    assert_eq!(get_behind(&proxy, "").await.status(), 200);
    proxy.stop().await;
}

#[tokio::test]
async fn a_drain_waits_for_no_header() {
    let backend = Backend::echo();
    let setup = behind(&[&backend], ", timeout: 1h").timeout("request_header", "1h").timeout("drain", "1h");
    let mut proxy = setup.start();
    let (mut half, mut silent) = (proxy.client().await, proxy.client().await);
    half.send(&V1[..10]).await;
    assert_eq!(get_behind(&proxy, V1).await.status(), 200);
    let drained = proxy.drain().await;
    assert_eq!((drained.sessions, drained.cut), (0, 0));
    half.expect_gone().await;
    silent.expect_gone().await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_reload_that_adds_or_takes_away_the_header_uses_no_earlier_connection() {
    let backend = Backend::raw(async |backend: Backend, mut wire: Wire| {
        while let Some(head) = backend.next_head(&mut wire).await {
            let has_header = head.as_str().starts_with("PROXY ");
            wire.send(format!("HTTP/1.1 200 OK\r\nX-Told: {has_header}\r\nContent-Length: 0\r\n\r\n")).await;
        }
    });
    let plain = Proxy::before(&[&backend]);
    let mut proxy = plain.clone().start();
    let mut client = proxy.client().await;
    for (setup, wanted, connections) in
        [(&plain, "false", 1), (&telling(&[&backend], "v1"), "true", 2), (&plain, "false", 2)]
    {
        proxy.reload(setup);
        let (told, _) = get(&mut client, "").await;
        assert_eq!((told.as_str(), backend.connections()), (wanted, connections));
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_connection_from_before_a_reload_is_told_as_every_other() {
    let (silent, backend) = (Backend::echo(), told());
    let everywhere = "bind: \"0.0.0.0:0\"";
    let mut proxy = Proxy::before(&[&silent]).listener(everywhere).start();
    let there = SocketAddr::from(([127, 0, 0, 3], proxy.address().port()));
    let mut client = Wire::connect(there).await;
    assert_eq!(client.get("/", "").await.status(), 200);
    proxy.reload(&telling(&[&backend], "v2").listener(everywhere));
    let (told, _) = get(&mut client, "").await;
    assert_eq!(told, format!("{}>{there}", client.into_tcp().local_addr().unwrap()));
    proxy.stop().await;
    backend.finish().await;
}

#[tokio::test]
async fn a_reload_changes_the_header_of_checks() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let backend = Backend::raw(move |_, mut wire: Wire| {
        let tell = tell.clone();
        async move {
            let _ = tell.send(wire.whatever_comes().await);
        }
    });
    let check = "health_check: { kind: tcp, interval: 10ms, jitter: 0s }";
    let setup = |more: &str| Proxy::before(&[&backend]).upstream(&format!("balance: round_robin, {more}{check}"));
    let mut proxy = setup("").start();
    for (more, wanted) in [("", &b""[..]), ("proxy_protocol: v1, ", b"PROXY UNKNOWN\r\n"), ("", b"")] {
        proxy.reload(&setup(more));
        within("such a check", async { while told.recv().await.unwrap() != wanted {} }).await;
    }
    proxy.stop().await;
}
