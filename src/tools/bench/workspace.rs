//! What the connections of one thread share.
//!
//! The connections run one after the other, so nobody waits for the lock, except when the main thread reads the figures for
//! its progress display.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use super::{schedule::Schedule, tally::BenchTally};

/// The most bytes of one read.
const SCRATCH: usize = 256 * 1024;

/// A handle to a thread's [`Workspace`].
#[derive(Clone)]
pub(super) struct SharedWorkspace(Arc<Mutex<Workspace>>);

/// The buffers, figures and orders of a thread.
pub(super) struct Workspace {
    pub(super) input: Box<[u8]>,
    pub(super) output: Vec<u8>,
    pub(super) tally: BenchTally,
    pub(super) phase: Phase,
    /// How many WebSockets have neither ended nor been given up.
    pub(super) open: u64,
    /// The waker of each connection, by its place.
    wakers: Vec<Option<Waker>>,
}

/// What the connections do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Stay open and send nothing.
    Hold,
    /// Keep this many messages in flight.
    Saturate(u64),
    /// Send at the moments of this schedule.
    Follow(Schedule),
    /// Send what was due before the end, wait for the messages in flight, then close.
    End(Option<Schedule>),
}

impl SharedWorkspace {
    pub(super) fn new(tally: BenchTally) -> Self {
        Self(Arc::new(Mutex::new(Workspace {
            input: vec![0; SCRATCH].into(),
            output: Vec::new(),
            tally,
            phase: Phase::Hold,
            open: 0,
            wakers: Vec::new(),
        })))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Workspace> {
        // The figures are sums, so they can be read even after a panic of another connection.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Workspace {
    /// Gives a connection its place, counted from 0.
    pub(super) fn enter(&mut self) -> u64 {
        self.wakers.push(None);
        self.open += 1;
        self.tally.opened += 1;
        self.wakers.len() as u64 - 1
    }

    /// Remembers the waker of the connection at this place.
    pub(super) fn remember(&mut self, place: u64, waker: &Waker) {
        if let Some(known) = self.waker(place)
            && !known.as_ref().is_some_and(|known| known.will_wake(waker))
        {
            *known = Some(waker.clone());
        }
    }

    pub(super) fn wake(&mut self, place: u64) {
        if let Some(Some(waker)) = self.waker(place) {
            waker.wake_by_ref();
        }
    }

    /// Sets the phase and wakes all connections.
    pub(super) fn begin(&mut self, phase: Phase) {
        if let Phase::End(_) = phase {
            self.tally.done_in_time = self.tally.done;
        }
        self.phase = phase;
        self.wakers.iter().flatten().for_each(Waker::wake_by_ref);
    }

    fn waker(&mut self, place: u64) -> Option<&mut Option<Waker>> {
        self.wakers.get_mut(usize::try_from(place).ok()?)
    }
}
