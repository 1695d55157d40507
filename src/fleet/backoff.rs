//! When to try again.

use std::time::Duration;

/// The shortest and the longest pause before another connection.
const PAUSE: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];
/// The longest pause if only an operator can help; the shortest is half of it.
const REFUSED: Duration = Duration::from_secs(30);

/// The pause before another connection. `failures`: how many came one after another, this one included. `random`: from 0 to 1. The
/// instances of a fleet lose their server at the same moment, and come back spread over the whole pause (full jitter).
pub fn pause(failures: u32, is_refused: bool, random: f64) -> Duration {
    let random = random.clamp(0.0, 1.0);
    if is_refused {
        return REFUSED.mul_f64(0.5 + random / 2.0);
    }
    let [shortest, longest] = PAUSE;
    let most = shortest.saturating_mul(1 << failures.min(16)).min(longest);
    shortest + (most - shortest).mul_f64(random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_five_seconds_and_are_spread() {
        let millis = |failures, random| pause(failures, false, random).as_millis();
        assert_eq!([millis(1, 0.0), millis(1, 1.0), millis(3, 1.0), millis(6, 1.0)], [100, 200, 800, 5000]);
        assert_eq!([millis(100, 0.5), millis(u32::MAX, 2.0), millis(9, -1.0)], [2550, 5000, 100]);
        assert_eq!([pause(1, true, 0.0).as_secs(), pause(9, true, 1.0).as_secs()], [15, 30]);
    }
}
