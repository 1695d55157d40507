//! Counts what is alive: connections and sessions of each worker. It tells when all are gone. A dropped guard gives a count back.

use std::{
    mem,
    pin::pin,
    sync::{
        Arc,
        atomic::Ordering::{Acquire, Relaxed, Release},
    },
};

use crate::sync::{AtomicBool, AtomicUsize, Notify};

/// The counts of the process.
#[derive(Debug)]
pub(in crate::net) struct Live {
    /// By worker: connections and sessions. A session is counted apart from its connection, because either may end first.
    /// When hyper releases the connection of a session, only the session is counted on.
    workers: Vec<AtomicUsize>,
    /// Workers that have ended.
    retired: Vec<AtomicBool>,
    sessions: AtomicUsize,
    /// The part of `sessions` that waits for another backend.
    holds: AtomicUsize,
    /// The part of `holds` for which no backend is sought any more.
    given_up: AtomicUsize,
    gone: Notify,
}

/// Counts a client's connection for a worker, until it is dropped.
#[derive(Debug)]
pub(in crate::net) struct ConnectionGuard {
    live: Arc<Live>,
    worker: usize,
}

/// Counts a session that waits for another backend, until it is dropped.
#[derive(Debug)]
pub(in crate::net) struct HoldGuard {
    live: Arc<Live>,
    has_given_up: bool,
}

/// Counts a session for a worker, until it is dropped. It keeps nothing of the connection that the session came on.
#[derive(Debug)]
pub(in crate::net) struct SessionGuard {
    live: Arc<Live>,
    worker: usize,
}

impl Live {
    pub(in crate::net) fn new(workers: usize) -> Arc<Self> {
        let retired = (0..workers).map(|_| AtomicBool::new(false)).collect();
        let workers = (0..workers).map(|_| AtomicUsize::new(0)).collect();
        Arc::new(Self {
            workers,
            retired,
            sessions: AtomicUsize::new(0),
            holds: AtomicUsize::new(0),
            given_up: AtomicUsize::new(0),
            gone: Notify::new(),
        })
    }

    /// Counts a connection for the worker that has the fewest.
    ///
    /// Only the accept loops call this, and all run on one thread: no other call can come between the look and the count.
    pub(in crate::net) fn place(self: &Arc<Self>) -> ConnectionGuard {
        let loads = self.workers.iter().map(|count| count.load(Relaxed)).enumerate();
        let loads = loads.filter(|&(worker, _)| !self.retired[worker].load(Relaxed));
        let worker = loads.min_by_key(|&(_, count)| count).map_or(0, |(worker, _)| worker);
        self.workers[worker].fetch_add(1, Relaxed);
        ConnectionGuard { live: Arc::clone(self), worker }
    }

    /// Counts for this worker, as a connection, what a session does to get another backend.
    pub(in crate::net) fn connection_of(self: &Arc<Self>, worker: usize) -> ConnectionGuard {
        self.workers[worker].fetch_add(1, Relaxed);
        ConnectionGuard { live: Arc::clone(self), worker }
    }

    /// Places no further connection on this worker, which has ended with all its connections.
    pub(in crate::net) fn retire(&self, worker: usize) {
        self.retired[worker].store(true, Relaxed);
    }

    pub(in crate::net) fn workers(&self) -> usize {
        self.workers.len()
    }

    pub(in crate::net) fn sessions(&self) -> usize {
        self.sessions.load(Relaxed)
    }

    /// Counts a session that waits for another backend.
    pub(in crate::net) fn begin_hold(self: &Arc<Self>) -> HoldGuard {
        self.holds.fetch_add(1, Relaxed);
        HoldGuard { live: Arc::clone(self), has_given_up: false }
    }

    /// Sessions that wait for another backend.
    pub(in crate::net) fn holds(&self) -> usize {
        self.holds.load(Relaxed)
    }

    /// Connections of clients. Those that have become sessions are included.
    pub(in crate::net) fn connections(&self) -> usize {
        self.workers.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// Waits until no connection is left, and therefore no session.
    pub(in crate::net) async fn gone(&self) {
        loop {
            let mut notified = pin!(self.gone.notified());
            // The waiter is registered before the look. Otherwise the last connection could leave in between, and its
            // notice would be lost.
            notified.as_mut().enable();
            if self.workers.iter().all(|count| count.load(Acquire) == 0) {
                return;
            }
            notified.await;
        }
    }

    fn leave(&self, worker: usize) {
        // The count changes before the notice, because a waiter looks at the count after the notice.
        self.workers[worker].fetch_sub(1, Release);
        self.gone.notify_waiters();
    }
}

impl ConnectionGuard {
    /// The worker that serves this connection.
    pub(in crate::net) const fn worker(&self) -> usize {
        self.worker
    }

    /// Counts this connection once more, for something that outlives it and is no session.
    pub(in crate::net) fn again(&self) -> Self {
        self.live.workers[self.worker].fetch_add(1, Relaxed);
        Self { live: Arc::clone(&self.live), worker: self.worker }
    }

    /// Counts a session, which goes on counting when its connection is dropped.
    pub(in crate::net) fn open_session(&self) -> SessionGuard {
        self.live.sessions.fetch_add(1, Relaxed);
        self.live.workers[self.worker].fetch_add(1, Relaxed);
        SessionGuard { live: Arc::clone(&self.live), worker: self.worker }
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.live.leave(self.worker);
    }
}

impl HoldGuard {
    /// No backend is sought any more. Returns for how many sessions that is so.
    pub(in crate::net) fn give_up(&mut self) -> usize {
        let before = usize::from(mem::replace(&mut self.has_given_up, true));
        self.live.given_up.fetch_add(1 - before, Relaxed) + 1 - before
    }
}

impl Drop for HoldGuard {
    fn drop(&mut self) {
        self.live.holds.fetch_sub(1, Relaxed);
        self.live.given_up.fetch_sub(usize::from(self.has_given_up), Relaxed);
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.live.sessions.fetch_sub(1, Relaxed);
        self.live.leave(self.worker);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Waker},
    };

    use super::*;

    fn all_gone(live: &Live) -> bool {
        pin!(live.gone()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn a_connection_goes_to_the_worker_with_the_fewest() {
        let live = Live::new(2);
        let (first, second, third) = (live.place(), live.place(), live.place());
        assert_eq!((first.worker(), second.worker(), third.worker()), (0, 1, 0));
        drop((first, third));
        assert_eq!([live.place(), live.place()].map(|guard| guard.worker()), [0, 0]);
        assert_eq!(live.connections(), 1);
    }

    #[test]
    fn no_connection_goes_to_a_worker_that_has_ended() {
        let live = Live::new(2);
        live.retire(0);
        assert_eq!([live.place(), live.place()].map(|guard| guard.worker()), [1, 1]);
    }

    #[test]
    fn nothing_is_gone_until_connection_and_session_are_whichever_goes_first() {
        for session_goes_first in [false, true] {
            let live = Live::new(1);
            let connection = live.place();
            let session = connection.open_session();
            if session_goes_first {
                drop(session);
                assert!(!all_gone(&live));
                drop(connection);
            } else {
                drop(connection);
                assert_eq!((live.connections(), live.sessions()), (1, 1));
                assert!(!all_gone(&live));
                drop(session);
            }
            assert!(all_gone(&live));
            assert_eq!((live.connections(), live.sessions()), (0, 0));
        }
    }

    #[test]
    fn the_last_session_wakes_who_waits_for_all_to_be_gone() {
        let live = Live::new(1);
        let session = live.place().open_session();
        let mut gone = pin!(live.gone());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(gone.as_mut().poll(&mut cx).is_pending());
        drop(session);
        assert!(gone.poll(&mut cx).is_ready());
    }

    #[test]
    fn a_session_weighs_on_the_worker_of_its_connection() {
        let live = Live::new(2);
        let _session = live.place().open_session();
        assert_eq!([live.place(), live.place()].map(|guard| guard.worker()), [1, 0]);
    }
}
