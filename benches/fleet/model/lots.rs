//! Random numbers that a seed repeats.

use longwire::balance::random_at;

use super::Millis;

/// A row of random numbers.
#[derive(Debug)]
pub struct Lots(u64);

impl Lots {
    /// Rows of different seeds do not meet: each has 2^40 numbers of its own.
    pub fn new(seed: u64) -> Self {
        Self(seed << 40)
    }

    pub fn number(&mut self) -> u64 {
        self.0 += 1;
        random_at(self.0)
    }

    /// From 0 to 1, 1 excluded.
    pub fn share(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Some time within this window.
    pub fn within(&mut self, window: Millis) -> Millis {
        (self.share() * f64::from(window)) as Millis
    }

    /// A life without memory: of users who come and go, each whenever they like.
    pub fn life(&mut self, mean: Millis) -> Millis {
        // In software, so that it is the same on every machine. A whole number of ms, and never more than 49 days.
        (-libm::log(1.0 - self.share()) * f64::from(mean)) as Millis
    }
}
