//! Random times and numbers that need not be secret.

use std::time::Duration;

/// A random time from zero to `most`.
pub(in crate::net) fn time(most: Duration) -> Duration {
    most.mul_f64(number() as f64 / u64::MAX as f64)
}

/// A random number. If the kernel has none, a constant is good enough: nothing here is secret.
pub(in crate::net) fn number() -> u64 {
    getrandom::u64().unwrap_or(0x5eed)
}
