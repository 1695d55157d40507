//! How a stream without a socket calls its session: by a waker that puts the session among the calls of the worker's loop.
//!
//! Events of sockets need no call, because the loop takes them from the worker's epoll.
//!
//! 1. A caller is among the calls at most once, so there are never more calls than callers.
//! 2. The loop takes all calls before it gives turns to the sessions. A stream that calls later is among the calls anew.
//! 3. A call that comes first wakes the loop. The calls behind it need not: the loop takes them all.
//! 4. A call names its session by a [`SessionKey`]. The loop ignores a call for a session that has ended since, or that
//!    has other streams now.

use std::{
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Wake, Waker},
};

use crate::ws::Side;

/// The name of a session in its worker's loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::net) struct SessionKey {
    /// The session's place in the table of the loop. Another session has it later.
    pub(in crate::net) place: u32,
    /// Which streams of which session are meant: no other session has this number, and the session itself gets
    /// another number with other streams.
    pub(in crate::net) generation: u32,
}

/// The calls that a worker's loop has not taken yet.
#[derive(Debug, Default)]
pub(in crate::net) struct Calls {
    /// Whether there are calls. To look at this costs the loop less than to take the lock. The wake-up that a call
    /// brings orders it before the loop's look.
    has_calls: AtomicBool,
    /// Held for a few instructions, and only by streams without a socket and by their loop.
    waiting: Mutex<CallQueue>,
}

#[derive(Debug, Default)]
struct CallQueue {
    callers: Vec<Arc<Caller>>,
    /// Wakes the loop. `None` = the loop has not begun.
    worker: Option<Waker>,
}

/// One side of a session, whose stream has no socket.
#[derive(Debug)]
pub(in crate::net) struct Caller {
    /// Weak, because the calls hold their callers.
    calls: Weak<Calls>,
    pub(in crate::net) key: SessionKey,
    pub(in crate::net) side: Side,
    /// Whether the caller is among the calls. Changed under the lock of the calls only.
    is_waiting: AtomicBool,
}

impl Calls {
    /// A waker that calls a side of a session.
    pub(in crate::net) fn waker(self: &Arc<Self>, key: SessionKey, side: Side) -> Waker {
        Arc::new(Caller { calls: Arc::downgrade(self), key, side, is_waiting: AtomicBool::new(false) }).into()
    }

    /// From now on, a call wakes this task.
    pub(in crate::net) fn wake(&self, worker: &Waker) {
        self.lock().worker = Some(worker.clone());
    }

    /// Whether a stream without a socket lives that may call.
    pub(in crate::net) fn has_callers(self: &Arc<Self>) -> bool {
        // Each caller, and nobody else, holds the calls weakly.
        Arc::weak_count(self) > 0
    }

    pub(in crate::net) fn is_empty(&self) -> bool {
        !self.has_calls.load(Relaxed)
    }

    /// Takes all calls, in their order.
    pub(in crate::net) fn take(&self) -> Vec<Arc<Caller>> {
        let mut waiting = self.lock();
        self.has_calls.store(false, Relaxed);
        waiting.callers.iter().for_each(|caller| caller.is_waiting.store(false, Relaxed));
        mem::take(&mut waiting.callers)
    }

    /// Adds a caller. Returns whom to wake.
    fn add(&self, caller: &Arc<Caller>) -> Option<Waker> {
        let mut waiting = self.lock();
        if caller.is_waiting.swap(true, Relaxed) {
            return None;
        }
        waiting.callers.push(Arc::clone(caller));
        self.has_calls.store(true, Relaxed);
        if waiting.callers.len() == 1 { waiting.worker.clone() } else { None }
    }

    fn lock(&self) -> MutexGuard<'_, CallQueue> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Caller {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(worker) = self.calls.upgrade().and_then(|calls| calls.add(self)) {
            worker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: SessionKey = SessionKey { place: 3, generation: 7 };

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Wakes(std::sync::atomic::AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    fn taken(calls: &Calls) -> Vec<(SessionKey, Side)> {
        calls.take().iter().map(|caller| (caller.key, caller.side)).collect()
    }

    #[test]
    fn a_caller_is_among_the_calls_once_however_often_it_calls() {
        let (calls, woken) = (Arc::new(Calls::default()), Arc::new(Wakes::default()));
        calls.wake(&Arc::clone(&woken).into());
        let other = SessionKey { generation: 8, ..KEY };
        let wakers =
            [calls.waker(KEY, Side::Client), calls.waker(KEY, Side::Backend), calls.waker(other, Side::Client)];
        assert!(calls.is_empty());
        for _ in 0..100 {
            wakers.iter().for_each(Waker::wake_by_ref);
        }
        assert!(!calls.is_empty());
        assert_eq!(taken(&calls), [(KEY, Side::Client), (KEY, Side::Backend), (other, Side::Client)]);
        assert_eq!((calls.is_empty(), taken(&calls), woken.0.load(Relaxed)), (true, vec![], 1));
        wakers[1].wake_by_ref();
        assert_eq!((taken(&calls), woken.0.load(Relaxed)), (vec![(KEY, Side::Backend)], 2));
    }

    #[test]
    fn a_waker_may_outlive_the_loop() {
        let waker = Arc::new(Calls::default()).waker(KEY, Side::Client);
        waker.wake();
    }
}
