//! How other threads reach a worker that waits for its sockets.
//!
//! While its sessions are lively, a worker waits in an epoll of its own ([`crate::net::session::sessions`]), where the
//! runtime cannot wake it. What another thread sends meanwhile would lie there until that wait ends by itself. So a task
//! to which other threads send has a waker that also knocks at the door of the task's worker.
//!
//! How no message is lost:
//!
//! 1. The worker shuts the door before the runtime's last look that precedes a wait.
//! 2. A sender first wakes the task, then looks at the door, and knocks if the door is shut.
//! 3. So either the runtime's look sees the woken task, or the sender sees the door shut and its knock ends the wait.
//!    The fences (`SeqCst`) of both threads make sure that at least one of them sees what the other did
//!    ([`super::latch`]; `tests/models` tries every order).

use std::{
    cell::OnceCell,
    future::poll_fn,
    io,
    pin::pin,
    sync::Arc,
    task::{Context, Wake, Waker},
};

use mio::{Registry, Token};

use super::latch::Latch;

/// The event of a knock. No socket has this number.
pub(in crate::net) const TOKEN: Token = Token(usize::MAX - 1);

thread_local! {
    /// The door of the worker whose thread this is.
    static DOOR: OnceCell<Arc<Door>> = const { OnceCell::new() };
}

/// The door of a worker.
#[derive(Debug)]
pub(in crate::net) struct Door {
    /// Registered among the worker's sockets: a knock ends a wait for them.
    knocker: mio::Waker,
    latch: Latch,
}

impl Door {
    /// Makes this thread's door, open, and registers it with `registry`.
    ///
    /// # Errors
    /// Out of descriptors, or this thread has a door already.
    pub(in crate::net) fn hang(registry: &Registry) -> io::Result<Arc<Self>> {
        let door = Arc::new(Self { knocker: mio::Waker::new(registry, TOKEN)?, latch: Latch::default() });
        let is_first = DOOR.with(|mine| mine.set(Arc::clone(&door)).is_ok());
        is_first.then_some(door).ok_or_else(|| io::Error::other("this thread is a worker already"))
    }

    /// Shuts or opens the door. The door is to be shut before the runtime's last look that precedes a wait (rule 1 above).
    pub(in crate::net) fn set_shut(&self, is_shut: bool) {
        self.latch.set_shut(is_shut);
    }

    fn knock(&self) {
        if self.latch.calls_for_knock()
            && let Err(error) = self.knocker.wake()
        {
            tracing::debug!(%error, "a worker could not be reached");
        }
    }
}

/// Polls `future`, a task of this thread to which other threads send. A thread that wakes the task also knocks, unless
/// it is this one.
pub(in crate::net) async fn answering<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut caller: Option<(Waker, Waker)> = None;
    poll_fn(|cx| {
        let is_known = caller.as_ref().is_some_and(|(task, _)| task.will_wake(cx.waker()));
        if !is_known {
            let task = cx.waker().clone();
            let door = DOOR.with(|mine| mine.get().cloned());
            let knocks =
                door.map_or_else(|| task.clone(), |door| Arc::new(KnockingWaker { task: task.clone(), door }).into());
            caller = Some((task, knocks));
        }
        let waker = caller.as_ref().map_or_else(|| cx.waker(), |(_, knocks)| knocks);
        future.as_mut().poll(&mut Context::from_waker(waker))
    })
    .await
}

/// Wakes a task and knocks at the door of its worker.
struct KnockingWaker {
    task: Waker,
    door: Arc<Door>,
}

impl Wake for KnockingWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.task.wake_by_ref();
        // A thread that is about to end has lost its own door, and does not knock.
        let is_at_home = DOOR.try_with(|mine| mine.get().is_some_and(|mine| Arc::ptr_eq(mine, &self.door)));
        if is_at_home == Ok(false) {
            self.door.knock();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{future::pending, task::Poll, thread, time::Duration};

    use mio::{Events, Poll as Epoll};

    use super::*;

    /// The events that are there now.
    fn events(epoll: &mut Epoll) -> Vec<Token> {
        let mut events = Events::with_capacity(8);
        epoll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        events.iter().map(mio::event::Event::token).collect()
    }

    /// The waker that a task within [`answering`] leaves behind.
    fn waker() -> Waker {
        let mut kept = None;
        let task = answering(poll_fn(|cx| {
            kept = Some(cx.waker().clone());
            Poll::<()>::Pending
        }));
        assert!(pin!(task).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        kept.unwrap()
    }

    #[test]
    fn who_wakes_a_task_from_another_thread_ends_the_wait_of_its_worker() {
        let mut epoll = Epoll::new().unwrap();
        let door = Door::hang(epoll.registry()).unwrap();
        let waker = waker();
        door.set_shut(true);
        thread::spawn(move || waker.wake()).join().unwrap();
        assert_eq!(events(&mut epoll), [TOKEN]);
        assert_eq!(events(&mut epoll), [], "each knock is heard once");
    }

    #[test]
    fn nobody_knocks_at_an_open_door_or_from_inside() {
        let mut epoll = Epoll::new().unwrap();
        let door = Door::hang(epoll.registry()).unwrap();
        let waker = waker();
        thread::spawn({
            let waker = waker.clone();
            move || waker.wake()
        })
        .join()
        .unwrap();
        door.set_shut(true);
        waker.wake();
        assert_eq!(events(&mut epoll), []);
    }

    #[test]
    fn a_thread_has_one_door_and_a_task_elsewhere_needs_none() {
        let mut elsewhere = pin!(answering(pending::<()>()));
        assert!(elsewhere.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let epoll = Epoll::new().unwrap();
        let first = Door::hang(epoll.registry());
        let other = Epoll::new().unwrap();
        assert!(first.is_ok() && Door::hang(other.registry()).is_err());
    }
}
