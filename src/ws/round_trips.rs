//! How long the Pongs to our Pings took. Many sessions share the counts, so a session spends no memory on them.

use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;

use super::Side;

/// Counts of the round trips of our Pings, by side.
#[derive(Debug, Clone)]
pub struct RoundTripTimes([Histogram; 2]);

impl RoundTripTimes {
    /// Counts into these: first the round trips to clients, then those to backends.
    #[must_use]
    pub const fn new(by_side: [Histogram; 2]) -> Self {
        Self(by_side)
    }

    /// Counts a Ping that `side` answered.
    pub fn observe(&self, side: Side, took: Duration) {
        let [client, backend] = &self.0;
        match side {
            Side::Client => client.observe(took.as_secs_f64()),
            Side::Backend => backend.observe(took.as_secs_f64()),
        }
    }
}

/// Counts that nobody else reads.
impl Default for RoundTripTimes {
    fn default() -> Self {
        Self([(); 2].map(|()| Histogram::new(None)))
    }
}
