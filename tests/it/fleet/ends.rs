//! How an instance ends: by a drain, or by a hand-over to a successor. What becomes of its counts, and of the limits meanwhile.

use longwire::net::{front::inherited::Inherited, operate::handover::Handover};
use serde_json::{Value, json};

use super::{at_last, fleet, from, server::Valkey, sharing, until};
use crate::{
    handover::take_over_as,
    harness::{Backend, Process, Wire, frames::masked_close},
};

#[tokio::test]
async fn the_end_of_a_process_is_not_told_as_a_loss() {
    let (backend, valkey, folder) = (Backend::echo(), Valkey::start().await, tempfile::tempdir().unwrap());
    fs_err::write(folder.path().join("proxy.yaml"), sharing(&backend, "sessions: 3", &valkey, "").text()).unwrap();
    let (mut process, _) = Process::serving(folder.path()).await;
    process.says("this instance shares its limits").await;
    valkey.hold("leave");
    let answered = async {
        valkey.until("its farewell", |sums| sums.holds("leave")).await;
        valkey.release();
    };
    let (messages, ()) = tokio::join!(process.messages(), answered);
    let is_alarm = |message: &&Value| message["level"] == "WARN" || message["level"] == "ERROR";
    assert_eq!(messages.iter().filter(is_alarm).collect::<Vec<_>>(), [] as [&Value; 0]);
    valkey.until("nothing", |sums| sums.left().is_empty()).await;
}

/// A drain ends the session, whose client answers and goes.
async fn is_told(mut session: Wire) {
    session.expect_close(1012, "drain").await;
    session.send(masked_close(1012, "")).await;
    session.expect_eof().await;
}

#[tokio::test]
async fn after_a_hand_over_each_session_counts_once_until_it_has_ended_and_the_limit_holds() {
    let (backend, valkey, folder) = (Backend::echo(), Valkey::start().await, tempfile::tempdir().unwrap());
    let path = folder.path().join("longwire.sock");
    let setup = sharing(&backend, "sessions_per_client: 3", &valkey, ", instance: edge")
        .timeout("drain", "1h")
        .with("drain: { spread: 1ms }");
    let mut old = fleet(&setup, 1).await.remove(0);
    let sessions = [from(&old, 1).await.unwrap(), from(&old, 1).await.unwrap()];
    let handover = Handover::bind(&path, &mut Inherited::default()).unwrap();
    let on_its_address = setup.listener(&format!("bind: \"{}\"", old.address()));
    let mut new = take_over_as(on_its_address, &old, handover, &path).await;
    until(&new, "connected", |fleet| fleet["connected"] == true).await;

    // Two of the old one and one of its successor are three.
    let third = from(&new, 1).await.unwrap();
    assert_eq!(from(&new, 1).await.err(), Some(429));
    valkey.until("each once", |sums| (sums.living(), sums.of("*"), sums.of("192.0.2.1")) == (2, 3, 3)).await;
    let its_own = json!({ "name": "edge", "sessions": 1, "leaving": false, "own": true });
    let those_of_the_old_one = json!({ "name": "edge", "sessions": 2, "leaving": true, "own": false });
    until(&new, "both, under one name", |fleet| {
        let shown = fleet["instances"].as_array().unwrap();
        // The order of two with one name is random.
        fleet["living"] == 1 && shown.len() == 2 && shown.contains(&its_own) && shown.contains(&those_of_the_old_one)
    })
    .await;

    // A session of the old one ends, and leaves room for one.
    let [first, second] = sessions;
    first.leave().await;
    let fourth = at_last(&new, 1).await;
    assert_eq!(from(&new, 1).await.err(), Some(429));
    valkey.until("one of the old one is left", |sums| (sums.of("*"), sums.of("192.0.2.1")) == (3, 3)).await;

    // So does its drain.
    let (drained, ()) = tokio::join!(old.drain(), is_told(second));
    assert_eq!((drained.sessions, drained.cut), (1, 0));
    valkey.until("the successor alone", |sums| (sums.living(), sums.of("*"), sums.left().len()) == (1, 2, 2)).await;
    let fifth = from(&new, 1).await.unwrap();
    assert_eq!(from(&new, 1).await.err(), Some(429));
    valkey.until("its own three", |sums| (sums.of("*"), sums.of("192.0.2.1")) == (3, 3)).await;
    drop([third, fourth, fifth]);
    new.drain().await;
    valkey.until("nothing", |sums| sums.left().is_empty()).await;
    old.stop().await;
    new.stop().await;
}

#[tokio::test]
async fn a_process_that_has_drained_leaves_nothing_behind_and_the_others_have_its_room_at_once() {
    let (backend, valkey) = (Backend::echo(), Valkey::start().await);
    let setup = sharing(&backend, "sessions: 3", &valkey, "").timeout("drain", "3s").with("drain: { spread: 1ms }");
    let mut proxies = fleet(&setup, 2).await;
    let [ending, other] = &proxies[..] else { unreachable!() };
    let (answers, silent) = (from(ending, 1).await.unwrap(), from(ending, 2).await.unwrap());
    let kept = from(other, 3).await.unwrap();
    assert_eq!(from(other, 3).await.err(), Some(503));
    let mut ending = proxies.remove(0);
    // One that never answers is cut at the end of the drain.
    let (drained, ()) = tokio::join!(ending.drain(), is_told(answers));
    assert_eq!((drained.sessions, drained.cut), (2, 1));
    valkey.until("the other one alone", |sums| (sums.living(), sums.of("*"), sums.left().len()) == (1, 1, 2)).await;
    let mut other = proxies.remove(0);
    let sessions = [from(&other, 1).await.unwrap(), from(&other, 2).await.unwrap()];
    assert_eq!(from(&other, 3).await.err(), Some(503));
    valkey.until("its three", |sums| sums.of("*") == 3).await;
    drop((silent, kept, sessions));
    other.drain().await;
    valkey.until("nothing", |sums| sums.left().is_empty()).await;
    ending.stop().await;
    other.stop().await;
}
