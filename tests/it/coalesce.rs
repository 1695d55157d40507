//! Sessions that are read together (`coalesce`), beside other clients of the same worker.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use fs_err as fs;
use tokio::task::JoinSet;

use crate::harness::{
    Backend, Process, Proxy, Wire,
    frames::{BINARY, TEXT, masked, masked_close, unmasked},
    within,
};

/// How many sessions talk at once: so many that waiting for more of their events saves wake-ups.
const SESSIONS: usize = 24;

fn proxy(backend: &Backend, coalesce: &str) -> Proxy {
    Proxy::before(&[backend]).with(&format!("coalesce: {coalesce}")).start()
}

/// A message and its echo.
async fn echo(client: &mut Wire, opcode: u8, message: &[u8]) {
    client.send(masked(opcode, message)).await;
    client.expect(unmasked(opcode, message)).await;
}

/// Ends a session from the client's side.
async fn close(client: &mut Wire) {
    client.send(masked_close(4001, "enough")).await;
    client.expect_close(4001, "enough").await;
    client.expect_eof().await;
}

/// Sessions that talk until they are told to stop.
async fn talk(proxy: &Proxy) -> (JoinSet<()>, Arc<AtomicBool>) {
    let (mut talkers, is_over) = (JoinSet::new(), Arc::new(AtomicBool::new(false)));
    for _ in 0..SESSIONS {
        let (mut client, is_over) = (proxy.session().await, Arc::clone(&is_over));
        talkers.spawn(async move {
            while !is_over.load(Relaxed) {
                echo(&mut client, TEXT, b"between us").await;
            }
            close(&mut client).await;
        });
    }
    (talkers, is_over)
}

#[tokio::test]
async fn sessions_that_are_read_together_lose_nothing_and_are_closed_as_ever() {
    for coalesce in ["500us", "2ms"] {
        let backend = Backend::echo();
        let proxy = proxy(&backend, coalesce);
        let mut talkers = JoinSet::new();
        for talker in 0..SESSIONS {
            let mut client = proxy.session().await;
            talkers.spawn(async move {
                for round in 0..50_usize {
                    let message = format!("{talker} says {round} for the {}", "umpteenth time".repeat(round));
                    echo(&mut client, TEXT, message.as_bytes()).await;
                }
                close(&mut client).await;
            });
        }
        talkers.join_all().await;
        let records = proxy.stop().await;
        assert_eq!(records.len(), SESSIONS);
        for record in &records {
            assert_eq!((&record["cause"], &record["clean"]), (&"client_close".into(), &true.into()), "{record}");
            assert_eq!(record["messages_to_client"], 50, "{record}");
        }
    }
}

#[tokio::test]
async fn who_connects_asks_or_sends_much_is_served_while_sessions_wait() {
    let backend = Backend::echo();
    let proxy = proxy(&backend, "2ms");
    let (talkers, is_over) = talk(&proxy).await;
    let mut visitor = proxy.client().await;
    for _ in 0..10 {
        let mut client = proxy.session().await;
        echo(&mut client, TEXT, b"hello").await;
        echo(&mut client, BINARY, &vec![0x33; 1 << 20]).await;
        close(&mut client).await;
        assert_eq!(visitor.get("/", "").await.status(), 200);
    }
    is_over.store(true, Relaxed);
    talkers.join_all().await;
    drop(visitor);
    proxy.stop().await;
}

#[tokio::test]
async fn a_worker_whose_sessions_fall_silent_sleeps_and_waits_for_them_no_more() {
    let backend = Backend::echo();
    let folder = tempfile::tempdir().unwrap();
    let setup = Proxy::before(&[&backend]).with("coalesce: 500us");
    fs::write(folder.path().join("proxy.yaml"), setup.text()).unwrap();
    let (process, address) = Process::serving(folder.path()).await;
    let mut silent = Vec::new();
    for _ in 0..SESSIONS {
        let mut client = Wire::connect(address).await;
        client.upgrade("/ws").await;
        silent.push(client);
    }
    for _ in 0..100 {
        // The messages are thinly spread, so that waiting for more of them saves wake-ups.
        for client in &mut silent {
            client.send(masked(TEXT, b"between us")).await;
        }
        for client in &mut silent {
            client.expect(unmasked(TEXT, b"between us")).await;
        }
    }
    within("a worker that sleeps for longer than sessions may wait", async {
        loop {
            let before = process.sleeps();
            #[expect(clippy::disallowed_methods, reason = "a rate needs a stretch of time")]
            tokio::time::sleep(Duration::from_millis(200)).await;
            // A worker that goes on waiting for more of them would sleep 400 times.
            if process.sleeps() - before < 20 {
                break;
            }
        }
    })
    .await;
    drop(silent);
    process.stop().await;
}
