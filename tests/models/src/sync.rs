//! What stands here in the place of the crate's `src/sync.rs`: atomics of loom, and a `Notify` made of loom's parts.

use std::{
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use loom::sync::Mutex;
pub use loom::sync::atomic::{AtomicBool, AtomicUsize, fence};

/// `tokio::sync::Notify`, as far as the crate uses it: who has asked before `notify_waiters` is woken by it, and both take
/// the lock of the waiters.
#[derive(Debug)]
pub struct Notify(Mutex<Waiters>);

#[derive(Debug, Default)]
struct Waiters {
    /// How often `notify_waiters` was called.
    calls: usize,
    wakers: Vec<Waker>,
}

pub struct Notified<'n> {
    notify: &'n Notify,
    /// The calls before this future was made.
    calls: usize,
}

impl Notify {
    pub fn new() -> Self {
        Self(Mutex::new(Waiters::default()))
    }

    pub fn notified(&self) -> Notified<'_> {
        Notified { notify: self, calls: self.0.lock().unwrap().calls }
    }

    pub fn notify_waiters(&self) {
        let mut waiters = self.0.lock().unwrap();
        waiters.calls += 1;
        let wakers = mem::take(&mut waiters.wakers);
        drop(waiters);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Notified<'_> {
    pub fn enable(self: Pin<&mut Self>) -> bool {
        self.notify.0.lock().unwrap().calls != self.calls
    }
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut waiters = self.notify.0.lock().unwrap();
        if waiters.calls != self.calls {
            return Poll::Ready(());
        }
        waiters.wakers.push(cx.waker().clone());
        Poll::Pending
    }
}
