//! The line of the handshakes that wait for a place at a backend: first come, first served.
//!
//! Nothing in this file blocks: a waiter leaves a [`Waker`]. The rules below use the word place for a place at a
//! backend, which is room for one more handshake in flight. (A [`PlaceInLine`] is a place in the line.) They make sure that
//! no place stays free while somebody waits for it:
//!
//! 1. A waiter stores its waker before it looks for a place ([`PlaceInLine::is_first`] stores it). So if a place comes free
//!    after the look, the waker is called.
//! 2. A handshake that ends wakes the first waiter for its backend, and the first waiter for any.
//! 3. A waiter that leaves the line wakes the next waiter that wants the same. It may have left a place free, or it was
//!    woken and did not use the place.
//! 4. A waiter whose wish changes wakes the first waiter that wants what it wanted before.
//! 5. A change of the backends, of an operator's duty, or of what the checks say wakes all waiters.
//! 6. A waiter takes a place only if no waiter before it wants the same.
//!
//! Under a hash, each waiter waits for one backend. Under the other policies, a client with a cookie waits for one backend,
//! and the others wait for any. These two kinds do not look at one another: a place goes to whoever looks first. A waiter
//! for any may have no use for a place, if the backend is a backup, or was tried by that waiter already.

use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, Mutex},
    task::Waker,
};

use super::{
    backend::{Backend, lock},
    turns::ResumeTurns,
};

/// The line before one upstream. The line outlives a change of the file, like the handshakes in flight that it waits
/// for.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// A lock, because the numbers and the order belong together. It is taken at the start, the end and each wake-up of
    /// a wait. If the number of handshakes is limited, it is also taken at the end of each handshake.
    waiting: Mutex<Waiters>,
    /// The turns of sessions that have lost their backends.
    pub(super) turns: ResumeTurns,
}

#[derive(Debug, Default)]
struct Waiters {
    next_number: u64,
    queue: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    wish: Wish,
    waker: Waker,
}

/// What a waiter wants: a place at one backend, or at any backend (`None`).
type Wish = Option<Arc<Backend>>;

/// A place in the line. Dropping it leaves the line and wakes the next waiter.
#[derive(Debug)]
pub struct PlaceInLine {
    line: Arc<Line>,
    number: u64,
}

impl Line {
    /// How many handshakes wait.
    pub(super) fn len(&self) -> usize {
        lock(&self.waiting).queue.len()
    }

    /// Whether no waiter wants the same as `wish`.
    pub(super) fn is_free(&self, wish: &Wish) -> bool {
        !lock(&self.waiting).queue.iter().any(|waiter| is_same(&waiter.wish, wish))
    }

    /// Goes to the end of the line.
    pub(super) fn join(self: &Arc<Self>, wish: Wish, waker: &Waker) -> PlaceInLine {
        let mut waiting = lock(&self.waiting);
        let number = waiting.next_number;
        waiting.next_number += 1;
        waiting.queue.push_back(Waiter { number, wish, waker: waker.clone() });
        PlaceInLine { line: Arc::clone(self), number }
    }

    /// What may be picked has changed: every waiter looks again (rule 5).
    pub(super) fn wake_all(&self) {
        lock(&self.waiting).queue.iter().for_each(|waiter| waiter.waker.wake_by_ref());
    }

    /// There may be a place at `backend`: wakes the first waiters that may want it.
    pub(super) fn wake_first(&self, backend: &Arc<Backend>) {
        let waiting = lock(&self.waiting);
        waiting.wake_first(&Some(Arc::clone(backend)));
        waiting.wake_first(&None);
    }
}

impl Waiters {
    fn wake_first(&self, wish: &Wish) {
        if let Some(first) = self.queue.iter().find(|waiter| is_same(&waiter.wish, wish)) {
            first.waker.wake_by_ref();
        }
    }
}

impl PlaceInLine {
    /// Whether no waiter before this one wants the same as `wish`. `waker` is stored first and called when there may be
    /// a place for this waiter (rules 1 to 4 of this file).
    pub(super) fn is_first(&self, wish: &Wish, waker: &Waker) -> bool {
        let mut waiting = lock(&self.line.waiting);
        let Some(index) = waiting.queue.iter().position(|waiter| waiter.number == self.number) else { return true };
        let waiter = &mut waiting.queue[index];
        waiter.waker.clone_from(waker);
        let before = mem::replace(&mut waiter.wish, wish.clone());
        if !is_same(&before, wish) {
            // The wish has changed, so the waiters that wanted the same as before have to look again (rule 4).
            waiting.wake_first(&before);
        }
        !waiting.queue.range(..index).any(|earlier| is_same(&earlier.wish, wish))
    }
}

impl Drop for PlaceInLine {
    fn drop(&mut self) {
        let mut waiting = lock(&self.line.waiting);
        if let Some(index) = waiting.queue.iter().position(|waiter| waiter.number == self.number)
            && let Some(left) = waiting.queue.remove(index)
        {
            // Rule 3.
            waiting.wake_first(&left.wish);
        }
    }
}

fn is_same(one: &Wish, other: &Wish) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        _ => false,
    }
}
