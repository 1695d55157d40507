//! What is alive: connections by worker, sessions, and the moment when all are gone. Everything counted is a guard.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use tokio::sync::Notify;

/// The counts of the process.
#[derive(Debug)]
pub(super) struct Live {
    /// Connections by worker. A session's connection counts for the session's whole life.
    workers: Vec<AtomicUsize>,
    sessions: AtomicUsize,
    gone: Notify,
}

/// A client connection of a worker, until it is dropped.
#[derive(Debug)]
pub(super) struct ConnectionGuard {
    live: Arc<Live>,
    worker: usize,
}

/// A session, until it is dropped.
#[derive(Debug)]
pub(super) struct SessionGuard {
    live: Arc<Live>,
}

impl Live {
    pub(super) fn new(workers: usize) -> Arc<Self> {
        let workers = (0..workers).map(|_| AtomicUsize::new(0)).collect();
        Arc::new(Self { workers, sessions: AtomicUsize::new(0), gone: Notify::new() })
    }

    /// Counts a connection for the worker that has the fewest.
    ///
    /// Only the accept loops call this, all on one thread, so that the count read is the count taken.
    pub(super) fn place(self: &Arc<Self>) -> ConnectionGuard {
        let loads = self.workers.iter().map(|count| count.load(Relaxed)).enumerate();
        let worker = loads.min_by_key(|&(_, count)| count).map_or(0, |(worker, _)| worker);
        self.workers[worker].fetch_add(1, Relaxed);
        ConnectionGuard { live: Arc::clone(self), worker }
    }

    pub(super) fn open_session(self: &Arc<Self>) -> SessionGuard {
        self.sessions.fetch_add(1, Relaxed);
        SessionGuard { live: Arc::clone(self) }
    }

    pub(super) fn workers(&self) -> usize {
        self.workers.len()
    }

    pub(super) fn sessions(&self) -> usize {
        self.sessions.load(Relaxed)
    }

    pub(super) fn connections(&self) -> usize {
        self.workers.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// Waits until no connection is left (and so no session).
    pub(super) async fn gone(&self) {
        loop {
            let notified = self.gone.notified();
            if self.connections() == 0 {
                return;
            }
            notified.await;
        }
    }
}

impl ConnectionGuard {
    /// The worker that serves it.
    pub(super) const fn worker(&self) -> usize {
        self.worker
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.live.workers[self.worker].fetch_sub(1, Relaxed);
        self.live.gone.notify_waiters();
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.live.sessions.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_goes_to_the_worker_with_the_fewest() {
        let live = Live::new(2);
        let (first, second, third) = (live.place(), live.place(), live.place());
        assert_eq!((first.worker(), second.worker(), third.worker()), (0, 1, 0));
        drop((first, third));
        assert_eq!([live.place(), live.place()].map(|guard| guard.worker()), [0, 0]);
        assert_eq!(live.connections(), 1);
    }
}
