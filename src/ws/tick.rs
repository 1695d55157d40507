//! Instants in eight bytes, because an idle session keeps several of them.

use std::{
    num::NonZeroU64,
    ops::Add,
    time::{Duration, Instant},
};

/// A second, in nanoseconds.
pub const SECOND: u64 = 1_000_000_000;

/// An instant, in nanoseconds since an epoch that all ticks of a session share.
///
/// A tick rounds nothing: what is due at an instant is due at its tick, to the nanosecond. 64 bits hold 584 years, and
/// the longest duration in a configuration is one year. So a tick never wraps, however long a session lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(
    /// The nanoseconds plus one. So an `Option<Tick>` takes no more memory than a tick.
    NonZeroU64,
);

impl Tick {
    /// The tick of an instant. An instant before the epoch counts as the epoch.
    #[must_use]
    pub fn new(epoch: Instant, at: Instant) -> Self {
        let start = Self(NonZeroU64::MIN);
        at.checked_duration_since(epoch).map_or(start, |since| start + since)
    }

    /// The instant of this tick.
    #[must_use]
    pub fn instant(self, epoch: Instant) -> Instant {
        epoch + Duration::from_nanos(self.0.get() - 1)
    }

    /// The tick `nanos` nanoseconds later.
    #[must_use]
    pub const fn after(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    /// The tick `nanos` nanoseconds earlier, at the earliest that of the epoch.
    #[must_use]
    pub const fn before(self, nanos: u64) -> Self {
        match NonZeroU64::new(self.0.get().saturating_sub(nanos)) {
            Some(tick) => Self(tick),
            None => Self(NonZeroU64::MIN),
        }
    }

    /// The time from an earlier tick to this one; zero if `earlier` is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(earlier.0.get()))
    }
}

impl Add<Duration> for Tick {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        self.after(nanos(duration))
    }
}

/// A duration in nanoseconds, at most what 64 bits hold.
#[must_use]
pub const fn nanos(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(SECOND).saturating_add(duration.subsec_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

    #[test]
    fn an_instant_comes_back_from_its_tick_unchanged() {
        let epoch = Instant::now();
        for after in [Duration::ZERO, Duration::from_nanos(1), Duration::from_micros(1001), YEAR, YEAR * 200] {
            assert_eq!(Tick::new(epoch, epoch + after).instant(epoch), epoch + after);
        }
        assert_eq!(Tick::new(epoch, epoch - Duration::from_secs(1)).instant(epoch), epoch);
    }

    #[test]
    fn ticks_are_ordered_and_added_to_as_instants_are() {
        let epoch = Instant::now();
        let mut earlier = Tick::new(epoch, epoch);
        for years in 1..=200 {
            let later = earlier + YEAR;
            assert!(later > earlier);
            assert_eq!((later.since(earlier), earlier.since(later)), (YEAR, Duration::ZERO));
            assert_eq!(later.instant(epoch), epoch + YEAR * years);
            earlier = later;
        }
    }

    #[test]
    fn what_lies_beyond_all_ticks_is_the_last_one() {
        let epoch = Instant::now();
        let last = Tick::new(epoch, epoch) + Duration::MAX;
        assert_eq!(last + YEAR, last);
        assert!(last.instant(epoch) > epoch + YEAR * 500);
    }

    #[test]
    fn a_tick_that_may_be_missing_takes_eight_bytes() {
        assert_eq!(size_of::<Option<Tick>>(), 8);
    }
}
