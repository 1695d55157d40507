//! How much may pass per second: a bucket of tokens that holds one second's worth, kept as one instant.

use std::num::NonZeroU64;

use super::tick::{SECOND, Tick};

/// How much may pass in a second, and so at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(NonZeroU64);

/// A bucket of tokens. It is full at first, fills up within a second and takes no more than that.
///
/// It remembers the instant until which the time is used up by what was taken, each token taking its part of a second (the
/// generic cell rate algorithm, ITU-T I.371): no timer fills it and it is eight bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    used_until: Tick,
}

impl Rate {
    /// So much per second; `None` of 0, which means no limit.
    #[must_use]
    pub fn per_second(count: u64) -> Option<Self> {
        NonZeroU64::new(count).map(Self)
    }

    /// How much.
    #[must_use]
    pub const fn count(self) -> u64 {
        self.0.get()
    }

    /// Nanoseconds that `count` tokens take, rounded down: a whole second's worth always fits, and of a million a second at
    /// most a thousandth more.
    fn cost(self, count: u64) -> u64 {
        let nanos = u128::from(count) * u128::from(SECOND) / u128::from(self.0.get());
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }
}

impl Bucket {
    /// A full one.
    #[must_use]
    pub const fn full(now: Tick) -> Self {
        Self { used_until: now }
    }

    /// Takes `count` tokens, or none where there are not as many.
    #[must_use = "false = there are not as many"]
    pub fn take(&mut self, count: u64, rate: Rate, now: Tick) -> bool {
        self.take_late(count, rate, now, now)
    }

    /// The same for what may have come at any time since `since`, and is seen only now.
    #[must_use = "false = there are not as many"]
    pub fn take_late(&mut self, count: u64, rate: Rate, since: Tick, now: Tick) -> bool {
        let until = self.used_until.max(since).after(rate.cost(count));
        let has_them = until <= now.after(SECOND);
        if has_them {
            self.used_until = until;
        }
        has_them
    }

    /// Whether nothing is missing: it need not be remembered.
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
