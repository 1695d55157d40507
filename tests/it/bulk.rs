//! Sessions that carry as much as they can, beside other clients of the same worker.

use std::{
    io::{Read, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use crate::harness::{
    Backend, Proxy, Wire,
    frames::{BINARY, TEXT, masked, unmasked},
};

/// How many sessions flood both ways.
const SESSIONS: usize = 16;
/// The most bytes that the floods may move while one other client is served.
///
/// To serve it takes a few wake-ups of a worker, each of which moves a few megabytes at most. The rest is for a machine on
/// which the client itself waits for a processor.
const MOST: u64 = 48 << 20;

/// Sessions whose ends send without a pause and discard what they read, each in threads of its own, until this value is
/// dropped.
struct Flood {
    moved: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Flood {
    async fn begin(proxy: &Proxy, backend: &Backend) -> Self {
        let flood = Self { moved: Arc::default(), over: Arc::default() };
        for _ in 0..SESSIONS {
            let (client, at_backend) = proxy.session_by_hand(backend).await;
            flood.run(client, masked(BINARY, vec![0x11; 1 << 20]));
            flood.run(at_backend, unmasked(BINARY, vec![0x22; 1 << 20]));
        }
        flood
    }

    fn run(&self, end: Wire, frame: Vec<u8>) {
        let mut writes = end.into_tcp().into_std().unwrap();
        writes.set_nonblocking(false).unwrap();
        let mut reads = writes.try_clone().unwrap();
        let over = Arc::clone(&self.over);
        thread::spawn(move || while !over.load(Relaxed) && writes.write_all(&frame).is_ok() {});
        let (moved, over) = (Arc::clone(&self.moved), Arc::clone(&self.over));
        thread::spawn(move || {
            let mut buffer = vec![0; 256 << 10];
            while let Ok(read @ 1..) = reads.read(&mut buffer) {
                moved.fetch_add(read as u64, Relaxed);
                if over.load(Relaxed) {
                    // Wakes the thread that is still writing.
                    let _ = reads.shutdown(std::net::Shutdown::Both);
                }
            }
        });
    }

    /// The least that the floods move during one of ten rounds of `work`. One more round comes first and does not count.
    async fn least_moved_during(&self, mut work: impl AsyncFnMut()) -> u64 {
        work().await;
        let mut least = u64::MAX;
        for _ in 0..10 {
            let before = self.moved.load(Relaxed);
            work().await;
            least = least.min(self.moved.load(Relaxed) - before);
        }
        assert!(self.moved.load(Relaxed) > 0, "nothing flows");
        least
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
    }
}

/// A proxy without Pings, which would come between the expected frames in a slow test.
fn before(backend: &Backend) -> Proxy {
    Proxy::before(&[backend]).with("keepalive: { ping_interval: 0s }").start()
}

#[tokio::test]
async fn a_handshake_does_not_wait_for_sessions_that_are_never_done() {
    let backend = Backend::by_hand();
    let proxy = before(&backend);
    let flood = Flood::begin(&proxy, &backend).await;
    let moved = flood
        .least_moved_during(async || {
            proxy.session_by_hand(&backend).await;
        })
        .await;
    assert!(moved < MOST, "{} MiB went before a handshake was through", moved >> 20);
    drop(flood);
    proxy.stop().await;
}

#[tokio::test]
async fn a_message_does_not_wait_for_sessions_that_are_never_done() {
    let backend = Backend::by_hand();
    let proxy = before(&backend);
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    let flood = Flood::begin(&proxy, &backend).await;
    let moved = flood
        .least_moved_during(async || {
            client.send(masked(TEXT, "there")).await;
            at_backend.expect(masked(TEXT, "there")).await;
            at_backend.send(unmasked(TEXT, "and back")).await;
            client.expect(unmasked(TEXT, "and back")).await;
        })
        .await;
    assert!(moved < MOST, "{} MiB went before a message and its answer", moved >> 20);
    drop(flood);
    proxy.stop().await;
}
