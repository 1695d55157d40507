//! An order of an operator or of a check ends with the thing that it is about. If a reload removes that thing and another
//! reload brings it back, it begins anew.

use longwire::balance::Duty;

use crate::harness::{Backend, Proxy, Setup, Wire, frames::masked_close, within};

/// A proxy whose sessions, once told to leave, live on as long as their clients do not answer.
fn before(backends: &[&Backend]) -> Setup {
    Proxy::before(backends).timeout("close", "1h").with("admin: { bind: \"127.0.0.1:0\" }")
}

#[tokio::test]
async fn a_backend_off_duty_that_is_removed_and_comes_back_takes_its_share_again() {
    for duty in [Duty::Drain, Duty::Down] {
        for has_session in [false, true] {
            let (only, other) = (Backend::echo(), Backend::echo());
            let mut proxy = before(&[&only]).start();
            let mut session = None;
            if has_session {
                session = Some(proxy.session().await);
            }
            proxy.control().set_duty("chat", &only.to_string(), duty).unwrap();
            assert_eq!(proxy.client().await.get("/", "").await.status(), 503, "{duty:?}");
            proxy.reload(&before(&[&other]));
            assert_eq!(proxy.client().await.get("/", "").await.status(), 200);
            proxy.reload(&before(&[&only]));
            let status = proxy.client().await.get("/", "").await.status();
            assert_eq!(status, 200, "{duty:?}, has a session: {has_session}");
            drop(session);
            proxy.stop().await;
        }
    }
}

#[tokio::test]
async fn a_backend_off_duty_stays_so_over_a_reload_that_keeps_it() {
    let only = Backend::echo();
    let mut proxy = before(&[&only]).start();
    proxy.control().set_duty("chat", &only.to_string(), Duty::Drain).unwrap();
    proxy.reload(&before(&[&only]).timeout("idle", "1h").backend(0, "weight: 3"));
    assert_eq!(proxy.client().await.get("/", "").await.status(), 503);
    proxy.stop().await;
}

#[tokio::test]
async fn a_drained_route_that_is_removed_and_comes_back_is_served_again() {
    let with = "routes: [ { path: /ws, upstream: chat }, { upstream: chat } ]";
    let without = "routes: [ { upstream: chat } ]";
    for has_session in [false, true] {
        let backend = Backend::echo();
        let mut proxy = before(&[&backend]).routes(with).start();
        let mut session = None;
        if has_session {
            session = Some(proxy.session().await);
        }
        proxy.control().drain_route("*/ws", true).unwrap();
        assert_eq!(proxy.client().await.get("/ws", "").await.status(), 503);
        proxy.reload(&before(&[&backend]).routes(with).timeout("idle", "1h"));
        assert_eq!(proxy.client().await.get("/ws", "").await.status(), 503, "it was not gone");
        proxy.reload(&before(&[&backend]).routes(without));
        proxy.reload(&before(&[&backend]).routes(with));
        assert_eq!(proxy.client().await.get("/ws", "").await.status(), 200, "has a session: {has_session}");
        drop(session);
        proxy.stop().await;
    }
}

#[tokio::test]
async fn sessions_of_a_drained_backend_leave_also_when_a_reload_removes_it_meanwhile() {
    let (gone, other) = (Backend::echo(), Backend::echo());
    let soon = |backends: &[&Backend]| Proxy::before(backends).with("drain: { spread: 1s }");
    let mut proxy = soon(&[&gone]).start();
    let mut session = proxy.session().await;
    proxy.control().set_duty("chat", &gone.to_string(), Duty::Drain).unwrap();
    proxy.reload(&soon(&[&other]));
    session.expect_close(1012, "drain").await;
    session.send(masked_close(1012, "")).await;
    session.expect_eof().await;
    session.finish().await;
    assert_eq!(proxy.next_record().await["cause"], "drain");
    proxy.stop().await;
}

#[tokio::test]
async fn what_checks_ordered_ends_when_the_file_has_them_checked_no_more() {
    let (sick, good) = (Backend::by_hand(), Backend::echo());
    let check = "balance: round_robin, health_check: { kind: http, path: /health, on_down: drain, interval: 20ms, \
                 jitter: 0s, timeout: 5s, fall: 1 }";
    let checked = || before(&[&sick, &good]).upstream(check);
    let mut proxy = checked().start();
    let (mut asked, _) = sick.asked().await;
    asked.send("HTTP/1.1 503 Sick\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
    let address = sick.to_string();
    let is_failing = |proxy: &Proxy| {
        let admin = proxy.control().admin_address().unwrap().to_string();
        let address = address.clone();
        async move {
            let mut wire = Wire::connect(admin.parse().unwrap()).await;
            wire.send(format!("GET /api/upstreams HTTP/1.1\r\nHost: {admin}\r\n\r\n")).await;
            let upstreams: serde_json::Value = serde_json::from_str(wire.response().await.text()).unwrap();
            let backends = upstreams["upstreams"][0]["backends"].as_array().unwrap().clone();
            backends.iter().any(|backend| backend["address"] == address && backend["health"] == "failing")
        }
    };
    within("the check to fail", async { while !is_failing(&proxy).await {} }).await;
    proxy.reload(&checked().backend(0, "down: true"));
    assert!(!is_failing(&proxy).await, "what an old check said is no word on a backend that nobody checks");
    drop(asked);
    proxy.stop().await;
}
