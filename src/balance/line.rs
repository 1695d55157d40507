//! The line of the handshakes that wait for a place at a backend: first come, first served.
//!
//! Nothing waits here. Whoever does leaves a [`Waker`], which is called when its turn may have come.

use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, Mutex},
    task::Waker,
};

use super::backend::{Backend, lock};

/// The line before one upstream. It outlives a change of the file, as the handshakes do that it waits for.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// A lock, because numbers and order belong together; taken at the begin, the end and each waking of a wait, and at the
    /// end of a handshake where their number is limited.
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next_number: u64,
    queue: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    wish: Wish,
    waker: Waker,
}

/// Where a waiter wants to go: to one backend, or wherever there is a place.
type Wish = Option<Arc<Backend>>;

/// A place in a line. Dropping it leaves the line, and who is next is woken.
#[derive(Debug)]
pub struct Place {
    line: Arc<Line>,
    number: u64,
}

impl Line {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        lock(&self.waiting).queue.len()
    }

    /// Whether nobody waits who wants the same.
    pub(super) fn is_free(&self, wish: &Wish) -> bool {
        !lock(&self.waiting).queue.iter().any(|waiter| compete(&waiter.wish, wish))
    }

    /// Goes to the end of the line.
    pub(super) fn join(self: &Arc<Self>, wish: Wish, waker: &Waker) -> Place {
        let mut waiting = lock(&self.waiting);
        let number = waiting.next_number;
        waiting.next_number += 1;
        waiting.queue.push_back(Waiter { number, wish, waker: waker.clone() });
        Place { line: Arc::clone(self), number }
    }

    /// There may be a place at `backend`: wakes the first who wants it.
    pub(super) fn wake_first(&self, backend: &Arc<Backend>) {
        lock(&self.waiting).wake_first(&Some(Arc::clone(backend)));
    }
}

impl Waiting {
    fn wake_first(&self, wish: &Wish) {
        if let Some(first) = self.queue.iter().find(|waiter| compete(&waiter.wish, wish)) {
            first.waker.wake_by_ref();
        }
    }
}

impl Place {
    /// Whether nobody is before it who wants the same. `waker` is called when that, or the backends, may have changed;
    /// it is noted first, so that no change is missed.
    pub(super) fn is_first(&self, wish: &Wish, waker: &Waker) -> bool {
        let mut waiting = lock(&self.line.waiting);
        let Some(index) = waiting.queue.iter().position(|waiter| waiter.number == self.number) else { return true };
        let waiter = &mut waiting.queue[index];
        waiter.waker.clone_from(waker);
        let before = mem::replace(&mut waiter.wish, wish.clone());
        if !is_same(&before, wish) {
            // Its own backend is another one now: those who wanted the first one too must look again.
            waiting.wake_first(&before);
        }
        !waiting.queue.range(..index).any(|earlier| compete(&earlier.wish, wish))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = lock(&self.line.waiting);
        if let Some(index) = waiting.queue.iter().position(|waiter| waiter.number == self.number)
            && let Some(left) = waiting.queue.remove(index)
        {
            // It may have left room, or was woken and did not use it.
            waiting.wake_first(&left.wish);
        }
    }
}

/// Whether a place that one would take is a place that the other would take.
fn compete(one: &Wish, other: &Wish) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        _ => true,
    }
}

fn is_same(one: &Wish, other: &Wish) -> bool {
    one.is_some() == other.is_some() && compete(one, other)
}
