//! Sessions whose clients come back (`resume` of a route), by a client of the protocol that is written after docs/resume.md.

mod roaming;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_rustls::TlsConnector;

use crate::harness::{
    Backend, Proxy, Setup, Wire,
    frames::{CLOSE, END, PING, PONG, TEXT, TEXT_BEGIN, masked, masked_close, unmasked, unmasked_close},
    handshake,
    library::{Library, hello},
    tls_connect, trusting, within,
};

const TLS: &str = "{ cert: dev.crt, key: dev.key, self_signed: true }";

/// A proxy whose route resumes, with these further keys of the route.
fn resuming(backends: &[&Backend], keys: &str) -> Setup {
    resuming_for("20s", backends, keys)
}

fn resuming_for(longest: &str, backends: &[&Backend], keys: &str) -> Setup {
    resuming_with(&format!("resume: {{ for: {longest}, replay: 4KiB }}, {keys}"), backends)
}

fn resuming_with(keys: &str, backends: &[&Backend]) -> Setup {
    Proxy::before(backends)
        .routes(&format!("routes: [ {{ upstream: chat, {keys} }} ]"))
        .with("keepalive: { ping_interval: 0s }")
}

/// How clients reach a proxy.
struct Roads {
    tls: Option<(TempDir, TlsConnector)>,
}

impl Roads {
    const fn plain() -> Self {
        Self { tls: None }
    }

    /// Starts a proxy, with TLS if `secure` says so.
    fn start(setup: Setup, secure: bool) -> (Proxy, Self) {
        if !secure {
            return (setup.start(), Self::plain());
        }
        let folder = tempfile::tempdir().unwrap();
        let proxy = setup.tls(TLS, folder.path()).start();
        let connector = trusting(&folder.path().join("dev.crt"), &[], &["http/1.1"]);
        (proxy, Self { tls: Some((folder, connector)) })
    }

    async fn connect(&self, proxy: &Proxy) -> Wire {
        match &self.tls {
            None => proxy.client().await,
            Some((_, connector)) => {
                tls_connect(connector, proxy.address(), "localhost").await.expect("a TLS handshake")
            }
        }
    }
}

/// A new session on this connection, with both ends in the hands of the test.
async fn session_on(mut wire: Wire, backend: &Backend) -> (Library, Wire) {
    Library::offer(&mut wire, "/ws", "").await;
    let at_backend = backend.accepted().await;
    (Library::greeted(wire).await, at_backend)
}

async fn session(proxy: &Proxy, backend: &Backend) -> (Library, Wire) {
    session_on(proxy.client().await, backend).await
}

/// The client ends its connection, and longwire has let go of it.
async fn gone(library: &mut Library) {
    library.wire.finish().await;
    library.wire.rest().await;
}

/// Sends a message each way, which arrives.
async fn talk(library: &mut Library, at_backend: &mut Wire, words: &str) {
    library.send_text(words).await;
    at_backend.expect(masked(TEXT, words)).await;
    at_backend.send(unmasked(TEXT, words)).await;
    library.expect_text(words).await;
}

/// Status and body of an answer of the admin interface.
async fn api(proxy: &Proxy, method: &str, path: &str) -> (u16, String) {
    let Some(longwire::config::AdminBind::Tcp(address)) = proxy.control().admin_address() else { panic!("no admin") };
    let mut wire = Wire::connect(address).await;
    let json = "Content-Type: application/json\r\nContent-Length: 0\r\n";
    wire.send(format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n{json}\r\n")).await;
    let response = wire.response().await;
    (response.status(), response.text().to_owned())
}

async fn sessions(proxy: &Proxy) -> Vec<Value> {
    let all: Value = serde_json::from_str(&api(proxy, "GET", "/api/sessions").await.1).unwrap();
    all["sessions"].as_array().unwrap().clone()
}

const ADMIN: &str = "admin: { bind: \"127.0.0.1:0\" }";

#[tokio::test]
async fn a_client_comes_back_on_any_thread_with_and_without_tls_and_however_it_went() {
    for (workers, secure) in [(1, false), (2, false), (1, true), (2, true)] {
        let backend = Backend::by_hand();
        let (mut proxy, roads) = Roads::start(resuming(&[&backend], "").workers(workers), secure);
        let (mut library, mut at_backend) = session_on(roads.connect(&proxy).await, &backend).await;
        let mut silent = None;
        for round in 0..4 {
            talk(&mut library, &mut at_backend, &format!("words {round}")).await;
            let answer = format!("answer {round}");
            at_backend.send(unmasked(TEXT, &answer)).await;
            let mut old = std::mem::replace(&mut library.wire, roads.connect(&proxy).await);
            match round {
                0 => old.finish().await,
                1 => old.reset(),
                2 => old.cut(),
                // A box on the way swallows everything, and nobody closes anything.
                _ => silent = Some(old),
            }
            library.come_back(roads.connect(&proxy).await).await;
            library.expect_text(&answer).await;
        }
        if let Some(mut silent) = silent {
            silent.rest().await;
        }
        talk(&mut library, &mut at_backend, "the last words").await;
        library.wire.send(masked_close(4000, "bye")).await;
        at_backend.expect(masked_close(4000, "bye")).await;
        at_backend.send(unmasked_close(4000, "bye")).await;
        library.wire.expect_close(4000, "bye").await;
        drop((library, at_backend));
        let record = proxy.next_record().await;
        assert_eq!((&record["cause"], &record["resumes"]), (&"client_close".into(), &4.into()), "{record}");
        assert!(record["gap_ms"].is_number(), "{record}");
        assert_eq!((&record["messages_to_backend"], &record["messages_to_client"]), (&5.into(), &9.into()), "{record}");
        assert_eq!(proxy.stop().await.len(), 1, "one session, one record");
    }
}

#[tokio::test]
async fn half_a_message_that_was_under_way_arrives_once_and_whole() {
    for secure in [false, true] {
        let backend = Backend::by_hand();
        let (proxy, roads) = Roads::start(resuming(&[&backend], ""), secure);
        let (mut library, mut at_backend) = session_on(roads.connect(&proxy).await, &backend).await;
        for length in [1, 4, 9, 12] {
            let message = masked(TEXT, "from the client");
            library.send_part(message.clone(), length).await;
            gone(&mut library).await;
            library.come_back(roads.connect(&proxy).await).await;
            at_backend.expect(message).await;

            let message = unmasked(TEXT, "from the backend");
            at_backend.send(&message[..length]).await;
            // What is sent behind it has come, so that this has come too.
            talk_to_backend(&mut library, &mut at_backend).await;
            gone(&mut library).await;
            at_backend.send(&message[length..]).await;
            library.come_back(roads.connect(&proxy).await).await;
            library.expect_text("from the backend").await;
        }
        proxy.stop().await;
    }
}

async fn talk_to_backend(library: &mut Library, at_backend: &mut Wire) {
    library.send_text("on").await;
    at_backend.expect(masked(TEXT, "on")).await;
}

#[tokio::test]
async fn messages_in_fragments_are_kept_back_until_they_are_whole_and_sent_again_as_a_whole() {
    let backend = Backend::by_hand();
    let proxy = resuming(&[&backend], "").start();
    let (mut library, mut at_backend) = session(&proxy, &backend).await;
    let (begin, end) = (masked(TEXT_BEGIN, "be"), masked(END, "gin"));
    library.send_part([begin.clone(), end.clone()].concat(), begin.len()).await;
    library.wire.send(masked(PING, "p")).await;
    // The half message waits, and the Ping does not.
    at_backend.expect(masked(PING, "p")).await;
    gone(&mut library).await;
    at_backend.send(unmasked(PONG, "p")).await;
    library.come_back(proxy.client().await).await;
    at_backend.expect([begin, end].concat()).await;

    at_backend.send([unmasked(TEXT_BEGIN, "in "), unmasked(0, "three "), unmasked(END, "pieces")].concat()).await;
    library.expect_text("in three pieces").await;
    at_backend.send([unmasked(TEXT_BEGIN, "again "), unmasked(END, "whole")].concat()).await;
    library.expect_text("again whole").await;
    gone(&mut library).await;
    // Nothing was acknowledged, but the client says what it has.
    let mut other = proxy.client().await;
    other.send(handshake("/ws", &library.attempt_with(7, 1))).await;
    assert_eq!(hello(&mut other).await["resumed"], true);
    other.expect([unmasked(TEXT_BEGIN, "again "), unmasked(END, "whole")].concat()).await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_away_and_may_come_back() {
    let backend = Backend::by_hand();
    let setup = Proxy::before(&[&backend])
        .routes("routes: [ { upstream: chat, resume: { for: 20s, replay: 4KiB } } ]")
        .with("keepalive: { ping_interval: 100ms, pong_timeout: 1s, sides: [client] }")
        .with(ADMIN);
    let proxy = setup.start();
    let (mut library, mut at_backend) = session(&proxy, &backend).await;
    // Its Pings come, and longwire gives up.
    library.wire.rest().await;
    assert_eq!(sessions(&proxy).await[0]["state"], "away");
    at_backend.send([unmasked(PING, "are you there"), unmasked(TEXT, "hello")].concat()).await;
    let pong = at_backend.frame().await;
    assert_eq!((pong.first, pong.payload), (PONG, b"are you there".to_vec()));
    library.come_back(proxy.client().await).await;
    library.expect_text("hello").await;
    let metrics = api(&proxy, "GET", "/metrics").await.1;
    assert!(metrics.contains("longwire_resumed_total{side=\"client\"} 1"), "{metrics}");
    proxy.stop().await;
}

#[tokio::test]
async fn longwire_acknowledges_within_a_second_and_beats_while_it_is_silent() {
    let backend = Backend::by_hand();
    let routes = "routes: [ { upstream: chat, resume: { for: 20s, replay: 4KiB, beat: 1s } } ]";
    let proxy = Proxy::before(&[&backend]).routes(routes).start();
    let (mut library, mut at_backend) = session(&proxy, &backend).await;
    assert_eq!(library.control_text().await, "0");
    library.send_text("one").await;
    library.send_text("two").await;
    library.until_acknowledged().await;
    at_backend.expect([masked(TEXT, "one"), masked(TEXT, "two")].concat()).await;
    proxy.stop().await;
}

#[tokio::test]
async fn while_a_message_that_is_longer_than_replay_is_not_acknowledged_the_session_ends_with_its_client() {
    let backend = Backend::by_hand();
    let mut proxy = resuming(&[&backend], "").start();
    let long = "x".repeat(10_000);
    // In the middle of one from the client.
    let (mut library, mut at_backend) = session(&proxy, &backend).await;
    library.send_part(masked(TEXT, &long), 6_000).await;
    at_backend.expect(&masked(TEXT, &long)[..6_000]).await;
    library.wire.finish().await;
    assert_eq!(at_backend.rest().await, b"");
    drop((library, at_backend));
    assert_eq!(proxy.next_record().await["cause"], "client_lost");
    // Before one from the backend is acknowledged.
    let (mut library, mut at_backend) = session(&proxy, &backend).await;
    at_backend.send(unmasked(TEXT, &long)).await;
    library.expect_text(&long).await;
    library.wire.finish().await;
    at_backend.expect_close(1001, "client lost").await;
    drop((library, at_backend));
    assert_eq!(proxy.next_record().await["cause"], "client_lost");
    // Behind both.
    let (mut library, mut at_backend) = session(&proxy, &backend).await;
    library.send(masked(TEXT, &long)).await;
    at_backend.expect(masked(TEXT, &long)).await;
    at_backend.send(unmasked(TEXT, &long)).await;
    library.expect_text(&long).await;
    library.acknowledge().await;
    talk_to_backend(&mut library, &mut at_backend).await;
    gone(&mut library).await;
    library.come_back(proxy.client().await).await;
    talk(&mut library, &mut at_backend, "both ways").await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_backend_that_sends_more_than_replay_waits_for_the_client() {
    let backend = Backend::by_hand();
    let proxy = resuming(&[&backend], "").start();
    let (mut library, at_backend) = session(&proxy, &backend).await;
    gone(&mut library).await;
    let messages: Vec<String> = (0..50_000).map(|n| format!("{n:0100}")).collect();
    let sent: Vec<u8> = messages.iter().flat_map(|message| unmasked(TEXT, message)).collect();
    let (_reads, mut writes) = at_backend.split();
    let sending = tokio::spawn(async move { writes.send(sent).await });
    library.come_back(proxy.client().await).await;
    for message in &messages {
        library.expect_text(message).await;
    }
    sending.await.unwrap();
    proxy.stop().await;
}

#[tokio::test]
async fn a_close_of_the_backend_is_answered_at_once_and_read_by_the_client_behind_its_messages() {
    let backend = Backend::by_hand();
    let mut proxy = resuming(&[&backend], "").start();
    let (mut library, mut at_backend) = session(&proxy, &backend).await;
    gone(&mut library).await;
    at_backend.send([unmasked(TEXT, "last words"), unmasked_close(4001, "done")].concat()).await;
    at_backend.expect_close_code(4001).await;
    at_backend.expect_eof().await;
    drop(at_backend);
    library.come_back(proxy.client().await).await;
    library.expect_text("last words").await;
    library.wire.expect_close(4001, "done").await;
    library.wire.send(masked_close(4001, "done")).await;
    library.wire.expect_eof().await;
    drop(library);
    let record = proxy.next_record().await;
    let told = ["cause", "close_code", "clean", "resumes"].map(|key| record[key].clone());
    assert_eq!(json!(told), json!(["backend_close", 4001, true, 1]), "{record}");
    proxy.stop().await;
}

#[tokio::test]
async fn a_drain_a_kill_and_a_lost_backend_end_a_session_that_is_away() {
    let backend = Backend::by_hand();
    let mut proxy = resuming(&[&backend], "").with(ADMIN).start();
    let (mut library, mut at_backend) = session(&proxy, &backend).await;
    gone(&mut library).await;
    let id = sessions(&proxy).await[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(api(&proxy, "DELETE", &format!("/api/sessions/{id}")).await.0, 200);
    at_backend.expect_close(1008, "killed").await;
    at_backend.send_and_finish(unmasked_close(1008, "")).await;
    drop((library, at_backend));
    let record = proxy.next_record().await;
    assert_eq!((&record["cause"], &record["resumes"]), (&"killed".into(), &0.into()), "{record}");

    let (mut library, at_backend) = session(&proxy, &backend).await;
    gone(&mut library).await;
    drop(at_backend);
    assert_eq!(proxy.next_record().await["cause"], "backend_lost");
    let metrics = api(&proxy, "GET", "/metrics").await.1;
    assert!(metrics.contains("longwire_gave_up_total{why=\"ended\"} 2"), "{metrics}");

    let (mut library, mut at_backend) = session(&proxy, &backend).await;
    gone(&mut library).await;
    let (_, ()) = tokio::join!(proxy.drain(), async {
        at_backend.expect_close(1012, "drain").await;
        drop(at_backend);
    });
    let records = proxy.stop().await;
    assert_eq!(records.last().unwrap()["cause"], "drain");
}

#[tokio::test]
async fn a_client_that_does_not_come_in_time_gets_a_new_session() {
    let backend = Backend::by_hand();
    let mut proxy = resuming_for("1s", &[&backend], "").with(ADMIN).start();
    let (mut library, mut at_backend) = session(&proxy, &backend).await;
    gone(&mut library).await;
    at_backend.expect_close(1001, "client lost").await;
    at_backend.send_and_finish(unmasked_close(1001, "")).await;
    let record = proxy.next_record().await;
    assert_eq!((&record["cause"], &record["how"]), (&"client_lost".into(), &"fin".into()), "{record}");
    assert!(record["gap_ms"].as_f64().unwrap() >= 1000.0, "{record}");
    let mut wire = proxy.client().await;
    wire.send(handshake("/ws", &library.attempt())).await;
    let _at_backend = backend.accepted().await;
    let hello = hello(&mut wire).await;
    assert_eq!((&hello["resumed"], &hello["received"]), (&false.into(), &0.into()), "{hello}");
    assert_ne!(hello["token"], library.hello["token"]);
    let metrics = api(&proxy, "GET", "/metrics").await.1;
    assert!(metrics.contains("longwire_gave_up_total{why=\"expired\"} 1"), "{metrics}");
    proxy.stop().await;
}

#[tokio::test]
async fn an_attempt_that_is_not_the_latest_changes_nothing() {
    let backend = Backend::by_hand();
    let proxy = resuming(&[&backend], "").start();
    let (mut library, mut at_backend) = session(&proxy, &backend).await;
    gone(&mut library).await;
    library.come_back(proxy.client().await).await;
    for attempt in [1, 0] {
        let mut late = proxy.client().await;
        late.send(handshake("/ws", &library.attempt_with(attempt, 0))).await;
        match attempt {
            1 => late.response().await.assert_one_line_naming("resume attempt is not the latest"),
            // No attempt has this number, so that this is none.
            _ => {
                let _other = backend.accepted().await;
                assert_eq!(hello(&mut late).await["resumed"], false);
            }
        }
    }
    talk(&mut library, &mut at_backend, "as before").await;
    // A later one takes the session from a client that is there.
    let mut thief = proxy.client().await;
    thief.send(handshake("/ws", &library.attempt_with(9, 0))).await;
    assert_eq!(hello(&mut thief).await["resumed"], true);
    library.wire.rest().await;
    let frame = thief.frame().await;
    assert_eq!((frame.first, frame.payload), (TEXT, b"as before".to_vec()));
    proxy.stop().await;
}

#[tokio::test]
async fn a_count_that_cannot_be_is_answered_by_a_new_session_and_ends_the_old_one() {
    let backend = Backend::by_hand();
    let mut proxy = resuming(&[&backend], "").start();
    let (mut library, mut at_backend) = session(&proxy, &backend).await;
    talk(&mut library, &mut at_backend, "one").await;
    let mut wire = proxy.client().await;
    wire.send(handshake("/ws", &library.attempt_with(1, 2))).await;
    let _other = backend.accepted().await;
    assert_eq!(hello(&mut wire).await["resumed"], false);
    at_backend.expect_close(1001, "client lost").await;
    drop((library, at_backend));
    assert_eq!(proxy.next_record().await["cause"], "client_lost");
    // The other direction: an acknowledgement of what was never sent.
    let (mut library, mut at_backend) = session(&proxy, &backend).await;
    library.acknowledge_as(1).await;
    library.wire.expect_close_code(1002).await;
    let told = at_backend.frame().await;
    assert_eq!((told.first, told.close_code()), (CLOSE, Some(1001)));
    proxy.stop().await;
}

const HELD: &str = "hold: { for: 20s, notify: resync-me }";

#[tokio::test]
async fn a_backend_that_is_replaced_while_the_client_is_away_is_told_to_it() {
    let (first, second) = (Backend::by_hand(), Backend::by_hand());
    let mut proxy = resuming(&[&first, &second], HELD).start();
    let (mut library, mut at_first) = session(&proxy, &first).await;
    talk(&mut library, &mut at_first, "before").await;
    gone(&mut library).await;
    drop(at_first);
    let mut at_second = second.accepted().await;
    at_second.send(unmasked(TEXT, "here")).await;
    library.come_back(proxy.client().await).await;
    library.expect_text("resync-me").await;
    library.expect_text("here").await;
    assert_eq!(library.told, ["resync"]);
    talk(&mut library, &mut at_second, "after").await;
    library.wire.send(masked_close(1000, "")).await;
    at_second.expect(masked_close(1000, "")).await;
    at_second.send(unmasked_close(1000, "")).await;
    library.wire.expect_close_code(1000).await;
    drop((library, at_second));
    let record = proxy.next_record().await;
    assert_eq!((&record["cause"], &record["resumes"]), (&"client_close".into(), &2.into()), "{record}");
    proxy.stop().await;
}

#[tokio::test]
async fn a_client_may_go_and_come_back_while_no_backend_is_there() {
    let (first, second) = (Backend::by_hand(), Backend::by_hand());
    let proxy = resuming(&[&first, &second], HELD).with(ADMIN).start();
    let (mut library, at_first) = session(&proxy, &first).await;
    drop(at_first);
    let (mut at_second, head) = second.asked().await;
    library.send_text("one").await;
    library.send_part(masked(TEXT, "two"), 3).await;
    gone(&mut library).await;
    assert_eq!(sessions(&proxy).await[0]["state"], "away");
    library.come_back(proxy.client().await).await;
    // The answer shows that the session has the new connection.
    library.wire.send(masked(PING, "are you there")).await;
    while library.wire.frame().await.first != PONG {}
    assert_eq!(sessions(&proxy).await[0]["state"], "held");
    at_second.accept(&head, "").await;
    at_second.expect([masked(TEXT, "one"), masked(TEXT, "two")].concat()).await;
    at_second.send(unmasked(TEXT, "here")).await;
    library.expect_text("resync-me").await;
    library.expect_text("here").await;
    assert_eq!(library.told, ["resync"]);
    proxy.stop().await;
}

#[tokio::test]
async fn a_reload_leaves_sessions_that_are_away_and_their_tokens() {
    let backend = Backend::by_hand();
    let setup = resuming(&[&backend], "");
    let mut proxy = setup.clone().start();
    let (mut library, mut at_backend) = session(&proxy, &backend).await;
    gone(&mut library).await;
    proxy.reload(&setup.clone().timeout("idle", "77s"));
    library.come_back(proxy.client().await).await;
    talk(&mut library, &mut at_backend, "after a reload").await;
    gone(&mut library).await;
    // The session goes on by its own terms, though new sessions are not resumed any more.
    proxy.reload(&setup.routes("routes: [ { upstream: chat } ]"));
    at_backend.send(unmasked(TEXT, "kept")).await;
    let mut wire = proxy.client().await;
    wire.send(handshake("/ws", &library.attempt())).await;
    let _other = backend.accepted().await;
    assert_eq!(hello(&mut wire).await["resume"], "off");
    proxy.stop().await;
}

#[tokio::test]
async fn a_session_that_would_be_away_beyond_the_limit_ends_unless_its_client_is_on_its_way() {
    let backend = Backend::by_hand();
    let mut proxy = resuming(&[&backend], "").with("limits: { away: 1 }").with(ADMIN).start();
    let (mut one, mut at_one) = session(&proxy, &backend).await;
    let (mut two, mut at_two) = session(&proxy, &backend).await;
    gone(&mut one).await;
    assert_eq!(proxy.metric("longwire_kept_bytes").await, "0");
    at_one.send(unmasked(TEXT, "for the first")).await;
    within("what is kept for a client", async { while proxy.metric("longwire_kept_bytes").await == "0" {} }).await;
    assert_eq!(proxy.metric("longwire_away_sessions").await, "1");
    let status: Value = serde_json::from_str(&api(&proxy, "GET", "/api/status").await.1).unwrap();
    assert_eq!((&status["away"], &status["held"]), (&1.into(), &0.into()), "{status}");
    two.wire.finish().await;
    two.wire.expect(unmasked_close(1001, "client lost")).await;
    at_two.expect_close(1001, "client lost").await;
    at_two.send_and_finish(unmasked_close(1001, "")).await;
    assert_eq!(proxy.next_record().await["cause"], "client_lost");
    // One that only changes its connection is not away.
    let (mut three, mut at_three) = session(&proxy, &backend).await;
    three.come_back(proxy.client().await).await;
    talk(&mut three, &mut at_three, "changed").await;
    one.come_back(proxy.client().await).await;
    one.expect_text("for the first").await;
    talk(&mut one, &mut at_one, "still here").await;
    assert_eq!(proxy.metric("longwire_away_sessions").await, "0");
    let metrics = api(&proxy, "GET", "/metrics").await.1;
    assert!(metrics.contains("longwire_gave_up_total{why=\"too_many\"} 1"), "{metrics}");
    proxy.stop().await;
}

#[tokio::test]
async fn a_session_that_keeps_too_much_for_a_client_that_is_away_ends() {
    let backend = Backend::by_hand();
    let mut proxy = resuming_with("resume: { for: 20s, replay: 1MiB }", &[&backend])
        .with("limits: { resume_memory: 64KiB }")
        .with(ADMIN)
        .start();
    let (mut library, mut at_backend) = session(&proxy, &backend).await;
    gone(&mut library).await;
    at_backend.send(unmasked(TEXT, "x".repeat(100_000))).await;
    at_backend.expect_close(1001, "client lost").await;
    at_backend.send_and_finish(unmasked_close(1001, "")).await;
    assert_eq!(proxy.next_record().await["cause"], "client_lost");
    let metrics = api(&proxy, "GET", "/metrics").await.1;
    assert!(metrics.contains("longwire_gave_up_total{why=\"memory\"} 1"), "{metrics}");
    proxy.stop().await;
}

#[tokio::test]
async fn what_a_client_sends_right_behind_its_handshake_reaches_the_backend_from_any_thread() {
    for (workers, secure) in [(1, false), (2, false), (1, true), (2, true)] {
        let backend = Backend::by_hand();
        let (proxy, roads) = Roads::start(resuming(&[&backend], "").workers(workers), secure);
        let (mut library, mut at_backend) = session_on(roads.connect(&proxy).await, &backend).await;
        gone(&mut library).await;
        let mut hasty = roads.connect(&proxy).await;
        let head = handshake("/ws", &library.attempt());
        let words: Vec<Vec<u8>> = (0..200).map(|n| masked(TEXT, format!("{n:0100}"))).collect();
        hasty.send_and_finish([head.into_bytes(), words.concat()].concat()).await;
        at_backend.expect(words.concat()).await;
        // The FIN behind it is no end of the session.
        hasty.rest().await;
        let mut wire = roads.connect(&proxy).await;
        wire.send(handshake("/ws", &library.attempt())).await;
        let hello = hello(&mut wire).await;
        assert_eq!((&hello["resumed"], &hello["received"]), (&true.into(), &200.into()), "{hello}");
        at_backend.send(unmasked(TEXT, "here")).await;
        let frame = wire.frame().await;
        assert_eq!((frame.first, frame.payload), (TEXT, b"here".to_vec()));
        proxy.stop().await;
    }
}
