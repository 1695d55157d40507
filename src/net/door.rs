//! How other threads reach a worker that waits for its sockets.
//!
//! While its sessions are lively, a worker waits in an epoll of its own ([`super::sessions`]), where the runtime cannot wake it. What
//! another thread sends meanwhile would lie there until that wait ends by itself. So the tasks to which other threads send have a
//! waker that also knocks at the worker's door.

use std::{
    cell::OnceCell,
    future::poll_fn,
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{
            AtomicBool,
            Ordering::{Relaxed, SeqCst},
            fence,
        },
    },
    task::{Context, Wake, Waker},
};

use mio::{Registry, Token};

/// The event of a knock. No socket has this number.
pub(super) const TOKEN: Token = Token(usize::MAX - 1);

thread_local! {
    /// That of the worker whose thread this is.
    static DOOR: OnceCell<Arc<Door>> = const { OnceCell::new() };
}

/// The door of a worker.
#[derive(Debug)]
pub(super) struct Door {
    /// Among the worker's sockets: a knock ends a wait for them.
    knocker: mio::Waker,
    /// The worker waits for its sockets, or may do so before the runtime has looked at what other threads want. Nobody knocks at an
    /// open door: that would take a call and a wake-up of the loop in vain.
    is_shut: AtomicBool,
}

impl Door {
    /// Hangs this thread's door among the sockets of `registry`. It is open.
    ///
    /// # Errors
    /// Out of descriptors, or this thread has one.
    pub(super) fn hang(registry: &Registry) -> io::Result<Arc<Self>> {
        let door = Arc::new(Self { knocker: mio::Waker::new(registry, TOKEN)?, is_shut: AtomicBool::new(false) });
        let is_first = DOOR.with(|mine| mine.set(Arc::clone(&door)).is_ok());
        is_first.then_some(door).ok_or_else(|| io::Error::other("this thread is a worker already"))
    }

    /// Shuts it or opens it. It is to be shut before the last look of the runtime that precedes a wait: what comes before that look
    /// is seen by it, and what comes later knocks.
    pub(super) fn set_shut(&self, is_shut: bool) {
        // Nobody else changes it.
        if self.is_shut.load(Relaxed) != is_shut {
            self.is_shut.store(is_shut, SeqCst);
            fence(SeqCst);
        }
    }

    fn knock(&self) {
        // After the task was woken: the worker either sees that, or has shut the door before.
        fence(SeqCst);
        if self.is_shut.load(SeqCst)
            && let Err(error) = self.knocker.wake()
        {
            tracing::debug!(%error, "a worker could not be reached");
        }
    }
}

/// Polls `future`, a task of this thread to which other threads send: whoever wakes it from another thread knocks.
pub(super) async fn answering<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut caller: Option<(Waker, Waker)> = None;
    poll_fn(|cx| {
        let is_known = caller.as_ref().is_some_and(|(task, _)| task.will_wake(cx.waker()));
        if !is_known {
            let task = cx.waker().clone();
            let door = DOOR.with(|mine| mine.get().cloned());
            let knocks = door.map_or_else(|| task.clone(), |door| Arc::new(Caller { task: task.clone(), door }).into());
            caller = Some((task, knocks));
        }
        let waker = caller.as_ref().map_or_else(|| cx.waker(), |(_, knocks)| knocks);
        future.as_mut().poll(&mut Context::from_waker(waker))
    })
    .await
}

/// Wakes a task and knocks at the door of its worker.
struct Caller {
    task: Waker,
    door: Arc<Door>,
}

impl Wake for Caller {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.task.wake_by_ref();
        // A thread that is about to end has no door any more, and none of its own to knock at.
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

    /// The events that wait.
    fn events(epoll: &mut Epoll) -> Vec<Token> {
        let mut events = Events::with_capacity(8);
        epoll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        events.iter().map(mio::event::Event::token).collect()
    }

    /// The waker that such a task leaves behind.
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
