//! How much may pass per second: a bucket of tokens for one second, stored as one instant.

use std::num::NonZeroU64;

use super::tick::{SECOND, Tick};

/// How much may pass in a second. The same amount may also pass at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(NonZeroU64);

/// A bucket of tokens. It is full at first, holds one second's tokens, and fills again within a second.
///
/// Each token takes its part of a second. The bucket stores only the instant up to which the taken tokens use up the
/// time (the generic cell rate algorithm, ITU-T I.371). So no timer fills the bucket, and it takes eight bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    used_until: Tick,
}

impl Rate {
    /// A rate of `count` per second; 0 gives `None`, which means no limit.
    #[must_use]
    pub fn per_second(count: u64) -> Option<Self> {
        NonZeroU64::new(count).map(Self)
    }

    /// How much may pass per second.
    #[must_use]
    pub const fn count(self) -> u64 {
        self.0.get()
    }

    /// The nanoseconds in which `count` may pass, rounded down.
    ///
    /// Because of the rounding, the tokens of a whole second always fit. At a rate of up to a million per second, at
    /// most a thousandth more passes.
    #[must_use]
    pub fn time(self, count: u64) -> u64 {
        let nanos = u128::from(count) * u128::from(SECOND) / u128::from(self.0.get());
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }
}

impl Bucket {
    /// A full bucket.
    #[must_use]
    pub const fn full(now: Tick) -> Self {
        Self { used_until: now }
    }

    /// Takes `count` tokens, or none if there are fewer.
    #[must_use = "false = there are not as many"]
    pub fn take(&mut self, count: u64, rate: Rate, now: Tick) -> bool {
        self.take_late(count, rate, now, now)
    }

    /// Takes tokens for bytes or frames that are seen now, but may have arrived at any time since `since`.
    #[must_use = "false = there are not as many"]
    pub fn take_late(&mut self, count: u64, rate: Rate, since: Tick, now: Tick) -> bool {
        let until = self.used_until.max(since).after(rate.time(count));
        let has_them = until <= now.after(SECOND);
        if has_them {
            self.used_until = until;
        }
        has_them
    }

    /// Whether no token is missing. A full bucket need not be stored.
    #[must_use]
    pub fn is_full(self, now: Tick) -> bool {
        self.used_until <= now
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn start() -> Tick {
        let epoch = Instant::now();
        Tick::new(epoch, epoch)
    }

    fn rate(count: u64) -> Rate {
        Rate::per_second(count).unwrap()
    }

    #[test]
    fn a_seconds_worth_passes_at_once_and_then_one_at_a_time() {
        for count in [1, 3, 7, 10, 999] {
            let now = start();
            let mut bucket = Bucket::full(now);
            assert!((0..count).all(|_| bucket.take(1, rate(count), now)), "{count}");
            assert!(!bucket.take(1, rate(count), now), "{count}");
            let later = now + Duration::from_nanos(SECOND.div_ceil(count));
            assert!(bucket.take(1, rate(count), later), "{count}");
            assert!(!bucket.take(1, rate(count), later), "{count}");
        }
    }

    #[test]
    fn what_does_not_fit_takes_nothing() {
        let now = start();
        let mut bucket = Bucket::full(now);
        assert!(!bucket.take(11, rate(10), now));
        assert!(bucket.take(10, rate(10), now) && !bucket.is_full(now));
        assert!(bucket.is_full(now + Duration::from_secs(1)));
    }

    #[test]
    fn no_number_overflows() {
        let mut bucket = Bucket::full(start());
        assert!(!bucket.take(u64::MAX, rate(1), start()));
        assert!(bucket.take(u64::MAX, rate(u64::MAX), start()));
        assert_eq!(Rate::per_second(0), None);
    }

    #[test]
    fn quiet_time_is_not_saved_up() {
        let now = start() + Duration::from_secs(3600);
        let mut bucket = Bucket::full(start());
        assert!(bucket.take(5, rate(5), now) && !bucket.take(1, rate(5), now));
    }

    proptest! {
        #[test]
        fn in_no_time_does_more_pass_than_the_rate_and_one_seconds_worth(
            per_second in 1..2000_u64,
            steps in vec((0..3_u64, 0..700_000_000_u64), 1..200),
        ) {
            let begin = start();
            let (mut now, mut bucket, mut passed) = (begin, Bucket::full(begin), 0);
            for (count, wait) in steps {
                now = now.after(wait);
                if bucket.take(count, rate(per_second), now) {
                    passed += count;
                }
                let seconds = now.since(begin).as_secs_f64() + 1.0;
                prop_assert!(passed as f64 <= (seconds * per_second as f64).ceil() + 1.0, "{passed} in {seconds} s");
            }
        }
    }
}
