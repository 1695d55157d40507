//! A client whose connections end anywhere, under traffic both ways: each message arrives once and in order.

use super::*;
use crate::harness::within;

/// Messages each way.
const MESSAGES: usize = 300;
/// All of them find room, though the client may not read for long.
const KEYS: &str = "resume: { for: 20s, replay: 1MiB }";

/// Numbers that are the same in each run.
struct Dice(u64);

impl Dice {
    /// A number below `sides`.
    const fn throw(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

/// A message whose length follows from its number: up to some thousand bytes.
fn message(author: char, number: usize) -> String {
    format!("{author}{number}-{}", "x".repeat(number * number * 7 % 2000))
}

/// The far side: reads every message of the client, in order, while it sends its own.
async fn backend_of(wire: Wire) {
    let (mut reads, mut writes) = wire.split();
    let writing = async {
        for number in 0..MESSAGES {
            let message = message('b', number);
            match number % 3 {
                0 => writes.send(unmasked(TEXT, &message)).await,
                _ => {
                    let (begin, end) = message.split_at(message.len() / 2);
                    writes.send(unmasked(TEXT_BEGIN, begin)).await;
                    writes.send(unmasked(END, end)).await;
                }
            }
        }
    };
    let reading = async {
        for number in 0..MESSAGES {
            let frame = reads.frame().await;
            assert_eq!((frame.first, String::from_utf8(frame.payload).unwrap()), (TEXT, message('c', number)));
        }
    };
    tokio::join!(writing, reading);
}

#[tokio::test]
async fn each_message_arrives_once_and_in_order_wherever_connections_are_cut() {
    for (workers, secure, seed) in [(1, false, 1), (2, false, 2), (2, true, 3)] {
        let backend = Backend::by_hand();
        let (mut proxy, roads) = Roads::start(resuming_with(KEYS, &[&backend]).workers(workers), secure);
        let (mut library, at_backend) = session_on(roads.connect(&proxy).await, &backend).await;
        let far = tokio::spawn(backend_of(at_backend));
        let (mut dice, mut sent, mut given) = (Dice(seed), 0, 0);
        let mut forgotten = Vec::new();
        while sent < MESSAGES || given < MESSAGES {
            for _ in 0..dice.throw(4).min(MESSAGES - sent) {
                library.send_text(&message('c', sent)).await;
                sent += 1;
            }
            for _ in 0..dice.throw(6).min(MESSAGES - given) {
                library.expect_text(&message('b', given)).await;
                given += 1;
            }
            library.acknowledge().await;
            if dice.throw(4) > 0 {
                continue;
            }
            if sent < MESSAGES {
                let next = masked(TEXT, message('c', sent));
                let length = dice.throw(next.len());
                library.send_part(next, length).await;
                sent += 1;
            }
            let wire = roads.connect(&proxy).await;
            let old = std::mem::replace(&mut library.wire, wire);
            match dice.throw(4) {
                0 => drop(old),
                1 => old.reset(),
                2 => old.cut(),
                // A box on the way swallows everything.
                _ => forgotten.push(old),
            }
            library.come_back(roads.connect(&proxy).await).await;
        }
        within("the backend to read all", far).await.unwrap();
        library.wire.send(masked_close(1000, "")).await;
        let record = proxy.next_record().await;
        assert!(record["resumes"].as_u64().unwrap() > 10, "{record}");
        assert_eq!(record["messages_to_backend"], MESSAGES, "{record}");
        assert_eq!(proxy.stop().await.len(), 1, "one session");
    }
}
