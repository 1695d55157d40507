//! Turns of sessions that have lost their backends: so many of them in a second, however many there are. First come, first
//! served.

use std::{
    num::NonZeroU32,
    sync::Mutex,
    time::{Duration, Instant},
};

use super::backend::lock;

/// The turns that have been given away.
#[derive(Debug, Default)]
pub(super) struct ResumeTurns {
    /// From when on the next turn is free; `None` = none was ever taken. A lock, because the look and the change belong
    /// together; nobody waits while it is held.
    free_from: Mutex<Option<Instant>>,
}

impl ResumeTurns {
    /// Takes the first turn that is free from `at` on. `None` = there is none before `deadline`, and nothing is taken.
    pub(super) fn take(&self, per_second: NonZeroU32, at: Instant, deadline: Instant) -> Option<Instant> {
        let mut free_from = lock(&self.free_from);
        let turn = free_from.map_or(at, |free| free.max(at));
        if turn >= deadline {
            return None;
        }
        *free_from = Some(turn + step(per_second));
        Some(turn)
    }

    /// Gives a turn back. The next one is then free so much sooner.
    pub(super) fn give_back(&self, per_second: NonZeroU32) {
        let mut free_from = lock(&self.free_from);
        *free_from = free_from.and_then(|free| free.checked_sub(step(per_second)));
    }
}

fn step(per_second: NonZeroU32) -> Duration {
    Duration::from_secs(1) / per_second.get()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn turns_that_are_given_back_are_free_again() {
        let (turns, now, ten) = (ResumeTurns::default(), Instant::now(), NonZeroU32::new(10).unwrap());
        let deadline = now + Duration::from_secs(1);
        while turns.take(ten, now, deadline).is_some() {}
        (0..10).for_each(|_| turns.give_back(ten));
        assert_eq!(turns.take(ten, now, deadline), Some(now));
        // What was not taken is not given.
        (0..10).for_each(|_| turns.give_back(ten));
        assert_eq!(turns.take(ten, now, deadline), Some(now));
    }

    #[test]
    fn turns_follow_one_another_at_the_pace_and_none_is_given_too_late() {
        let (turns, now, ten) = (ResumeTurns::default(), Instant::now(), NonZeroU32::new(10).unwrap());
        let deadline = now + Duration::from_secs(1);
        for tenths in 0..10 {
            assert_eq!(turns.take(ten, now, deadline), Some(now + Duration::from_millis(100) * tenths));
        }
        assert_eq!(turns.take(ten, now, deadline), None);
        let later = now + Duration::from_secs(5);
        assert_eq!(
            turns.take(ten, later, later + Duration::from_secs(1)),
            Some(later),
            "what was not used is not kept"
        );
    }
}
