//! Good manners: so many sockets at once, and so many new ones a second.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until},
};

/// The most sockets at once.
pub(super) const MOST_SOCKETS: usize = 64;
/// The time between two openings: ten a second.
const PACE: Duration = Duration::from_millis(100);

/// Lets sockets be opened, in the order in which they ask.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    places: Arc<Semaphore>,
    /// The lock is never held over a wait.
    pace: Arc<Mutex<Pace>>,
}

/// When the next socket may be opened.
#[derive(Debug)]
struct Pace(Instant);

impl Pace {
    /// The moment for one more, at the earliest now.
    fn turn(&mut self, now: Instant) -> Instant {
        let at = self.0.max(now);
        self.0 = at + PACE;
        at
    }
}

impl Gate {
    pub(super) fn new() -> Self {
        let pace = Arc::new(Mutex::new(Pace(Instant::now())));
        Self { places: Arc::new(Semaphore::new(MOST_SOCKETS)), pace }
    }

    /// Waits until a socket may be opened. It may live as long as what is returned; `None` = never.
    pub(super) async fn pass(&self) -> Option<OwnedSemaphorePermit> {
        let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
        self.turn().await;
        Some(place)
    }

    /// Waits until another attempt to open a socket may be made.
    pub(super) async fn turn(&self) {
        let at = self.pace.lock().unwrap_or_else(PoisonError::into_inner).turn(Instant::now());
        sleep_until(at).await;
    }

    /// How many sockets are open.
    pub(super) fn open(&self) -> usize {
        MOST_SOCKETS.saturating_sub(self.places.available_permits())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn no_more_than_ten_are_opened_in_any_second() {
        let now = Instant::now();
        let mut pace = Pace(now);
        let late = now + Duration::from_secs(60);
        let turns: Vec<_> = [now; 25].into_iter().chain([late; 25]).map(|now| pace.turn(now)).collect();
        assert_eq!((turns[0], turns[25]), (now, late));
        assert!(turns.windows(11).all(|window| window[10] - window[0] >= Duration::from_secs(1)), "{turns:?}");
    }

    #[tokio::test]
    async fn the_65th_waits_until_another_one_is_gone() {
        let gate = Gate::new();
        let others = Arc::clone(&gate.places).try_acquire_many_owned(64).unwrap();
        assert!(gate.pass().now_or_never().is_none());
        assert_eq!(gate.open(), 64);
        drop(others);
        assert!(gate.pass().await.is_some());
    }
}
