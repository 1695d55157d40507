//! The share of its weight that a backend has after it came back.
//!
//! Under `least_conn` a backend that comes back empty is the least loaded one for a long time. Every new session would
//! go there and could overload a backend that has just recovered. So its weight begins small and grows.

use std::time::Duration;

/// A part of a backend's weight, in parts of [`WHOLE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WeightShare(pub(super) u32);

/// The whole weight.
pub(super) const WHOLE: WeightShare = WeightShare(1000);

/// The first share, a twentieth. It is not 0, because a backend without requests cannot show that it is well.
const FIRST: WeightShare = WeightShare(50);

/// The share of a backend that has been back for `age`. The share grows evenly over `slow_start`; 0s = whole at once.
pub(super) fn share(age: Duration, slow_start: Duration) -> WeightShare {
    if age >= slow_start {
        return WHOLE;
    }
    let grown = u128::from(WHOLE.0 - FIRST.0) * age.as_nanos() / slow_start.as_nanos().max(1);
    WeightShare(FIRST.0 + u32::try_from(grown).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn grows_evenly_from_a_twentieth_to_the_whole() {
        assert_eq!(share(Duration::ZERO, 20 * SECOND), FIRST);
        assert_eq!(share(10 * SECOND, 20 * SECOND), WeightShare(525));
        assert_eq!(share(20 * SECOND, 20 * SECOND), WHOLE);
        assert_eq!(share(Duration::ZERO, Duration::ZERO), WHOLE);
    }

    proptest! {
        #[test]
        fn never_shrinks_and_stays_between_the_first_and_the_whole(
            age in any::<u64>(), later in any::<u64>(), slow_start in any::<u64>(),
        ) {
            let slow_start = Duration::from_nanos(slow_start);
            let now = share(Duration::from_nanos(age), slow_start);
            let then = share(Duration::from_nanos(age).saturating_add(Duration::from_nanos(later)), slow_start);
            prop_assert!(FIRST <= now && now <= then && then <= WHOLE);
        }
    }
}
