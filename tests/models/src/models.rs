//! The models. A wake-up that is lost leaves a thread that waits for ever, and loom reports that as a deadlock.

use std::sync::Arc;

use loom::{
    future::block_on,
    sync::{
        Condvar, Mutex,
        atomic::{
            AtomicUsize,
            Ordering::{Acquire, Release},
        },
    },
    thread,
};

use super::{counts::live::Live, thread::latch::Latch};

/// What holds in every order of the threads.
pub const HOLDS: [(&str, fn()); 2] = [
    ("the last to leave wakes who waits until all are gone", || {
        let live = Live::new(2);
        let (first, second) = (live.place(), live.place());
        let session = second.open_session();
        let one = thread::spawn(move || drop(first));
        let other = thread::spawn(move || drop((second, session)));
        block_on(live.gone());
        assert_eq!((live.connections(), live.sessions()), (0, 0));
        one.join().unwrap();
        other.join().unwrap();
    }),
    ("a worker that waits hears of whatever is sent to it", || hear_of_two(Worker::wait, Worker::send)),
];

/// Mistakes, each of which a model must find in some order. A model that finds nothing shows nothing.
pub const MISTAKES: [(&str, fn()); 2] = [
    ("a worker that looks before it shuts its door", || hear_of_two(Worker::look_and_wait, Worker::send)),
    ("a sender that looks at the door before it sends", || hear_of_two(Worker::wait, Worker::knock_and_send)),
];

/// What a worker and its senders have in common.
#[derive(Debug)]
struct Worker {
    latch: Latch,
    /// Stands for the queue of the runtime: how much was sent.
    sent: AtomicUsize,
    /// Stands for the sockets of the worker. A knock stays until it is heard.
    knocked: Mutex<bool>,
    knock: Condvar,
}

/// Lets two threads send, and the worker wait until it has heard of both.
fn hear_of_two(wait: fn(&Worker, usize), send: fn(&Worker)) {
    let worker = Arc::new(Worker {
        latch: Latch::default(),
        sent: AtomicUsize::new(0),
        knocked: Mutex::new(false),
        knock: Condvar::new(),
    });
    let senders = [(); 2].map(|()| {
        let worker = Arc::clone(&worker);
        thread::spawn(move || send(&worker))
    });
    let mut seen = 0;
    while seen < senders.len() {
        wait(&worker, seen);
        worker.latch.set_shut(false);
        seen = worker.sent.load(Acquire);
    }
    senders.into_iter().for_each(|sender| sender.join().unwrap());
}

impl Worker {
    /// Waits until more was sent than the worker has seen.
    fn wait(&self, seen: usize) {
        self.latch.set_shut(true);
        if self.sent.load(Acquire) == seen {
            self.hear();
        }
    }

    fn look_and_wait(&self, seen: usize) {
        let is_new = self.sent.load(Acquire) != seen;
        self.latch.set_shut(true);
        if !is_new {
            self.hear();
        }
    }

    fn send(&self) {
        self.sent.fetch_add(1, Release);
        if self.latch.calls_for_knock() {
            self.knock();
        }
    }

    fn knock_and_send(&self) {
        if self.latch.calls_for_knock() {
            self.knock();
        }
        self.sent.fetch_add(1, Release);
    }

    fn knock(&self) {
        *self.knocked.lock().unwrap() = true;
        self.knock.notify_one();
    }

    fn hear(&self) {
        let mut knocked = self.knocked.lock().unwrap();
        while !*knocked {
            knocked = self.knock.wait(knocked).unwrap();
        }
        *knocked = false;
    }
}
