//! When each message of an open loop is due. The moments are fixed before the first message is sent and do not depend on the
//! answers.

use std::time::{Duration, Instant};

/// Nanoseconds between two possible moments: each moment is a whole multiple of this after the start.
///
/// A wait costs more than a send. Everything that is due within one grain is sent after one wait, so there are at most 4,000
/// waits a second at any rate.
const GRAIN: u64 = 250_000;

/// The fixed moments for the messages of one thread's connections, spread evenly over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Schedule {
    start: Instant,
    /// The last moment at which anything can be due.
    last: Instant,
    /// Nanoseconds between two messages of one connection.
    interval_nanos: u64,
    connections: u64,
}

impl Schedule {
    /// `rate` is in messages a second per connection, more than 0. `connections` are those of this thread, at least 1.
    /// Nothing is due at `end` or later.
    #[must_use]
    pub(super) fn new(start: Instant, end: Instant, rate: f64, connections: u64) -> Self {
        // The interval is at least one nanosecond and at most some centuries, because the conversion saturates.
        let interval_nanos = (1e9 / rate).round().max(1.0) as u64;
        Self { start, last: just_before(end), interval_nanos, connections: connections.max(1) }
    }

    /// The same schedule, but nothing is due at `end` or later.
    #[must_use]
    pub(super) fn until(self, end: Instant) -> Self {
        Self { last: self.last.min(just_before(end)), ..self }
    }

    /// When the message with this number is due on the connection at this place. Both count from 0.
    #[must_use]
    pub(super) fn moment(&self, place: u64, number: u64) -> Instant {
        let after = self.offset(place).saturating_add(self.interval_nanos.saturating_mul(number));
        self.start + Duration::from_nanos(after.div_ceil(GRAIN).saturating_mul(GRAIN))
    }

    /// How many messages the connection at this place should have sent by `now`.
    #[must_use]
    pub(super) fn due(&self, place: u64, now: Instant) -> u64 {
        let until = now.min(self.last);
        let Some(passed) = until.checked_duration_since(self.start) else { return 0 };
        let passed = nanos(passed) / GRAIN * GRAIN;
        passed.checked_sub(self.offset(place)).map_or(0, |passed| passed / self.interval_nanos + 1)
    }

    /// The place and the moment of the thread's message with this number, counted over all its connections.
    #[must_use]
    pub(super) fn place_and_moment(&self, number: u64) -> (u64, Instant) {
        let place = number % self.connections;
        (place, self.moment(place, number / self.connections))
    }

    fn offset(&self, place: u64) -> u64 {
        let offset = u128::from(self.interval_nanos) * u128::from(place) / u128::from(self.connections);
        u64::try_from(offset).unwrap_or(u64::MAX)
    }
}

fn just_before(moment: Instant) -> Instant {
    moment.checked_sub(Duration::from_nanos(1)).unwrap_or(moment)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn schedule(rate: f64, connections: u64, length: Duration) -> (Instant, Schedule) {
        let start = Instant::now();
        (start, Schedule::new(start, start + length, rate, connections))
    }

    #[test]
    fn connections_take_turns_at_even_distances() {
        let (start, schedule) = schedule(10.0, 4, 1000 * MS);
        let turns: Vec<_> =
            (0..6).map(|number| schedule.place_and_moment(number)).map(|(at, when)| (at, when - start)).collect();
        assert_eq!(
            turns,
            [(0, Duration::ZERO), (1, 25 * MS), (2, 50 * MS), (3, 75 * MS), (0, 100 * MS), (1, 125 * MS)]
        );
    }

    #[test]
    fn a_message_is_due_from_its_moment_on() {
        let (start, schedule) = schedule(10.0, 4, 1000 * MS);
        let due = |place, at| schedule.due(place, start + at);
        assert_eq!(
            (due(0, Duration::ZERO), due(1, 24 * MS), due(1, 25 * MS), due(1, 124 * MS), due(1, 125 * MS)),
            (1, 0, 1, 1, 2)
        );
        for number in 0..10 {
            assert_eq!(schedule.due(3, schedule.moment(3, number)), number + 1);
        }
    }

    #[test]
    fn messages_of_one_grain_are_due_together_and_none_early() {
        let (start, schedule) = schedule(1000.0, 10, 1000 * MS);
        let moments: Vec<_> = (0..6).map(|number| (schedule.place_and_moment(number).1 - start).as_micros()).collect();
        assert_eq!(moments, [0, 250, 250, 500, 500, 500]);
        for place in 0..10 {
            let moment = schedule.moment(place, 3);
            assert_eq!((schedule.due(place, moment - MS / 1000), schedule.due(place, moment)), (3, 4), "place {place}");
        }
    }

    #[test]
    fn a_delay_takes_nothing_off_the_schedule() {
        let (start, schedule) = schedule(1000.0, 1, 1000 * MS);
        assert_eq!(schedule.due(0, start + 400 * MS), 401);
        assert_eq!(schedule.moment(0, 400), start + 400 * MS);
    }

    #[test]
    fn a_run_has_as_many_messages_as_its_rate_says() {
        for (rate, connections) in [(10.0, 4), (3.0, 7), (1000.0, 3), (0.5, 5)] {
            let (start, schedule) = schedule(rate, connections, 4000 * MS);
            let all: u64 = (0..connections).map(|place| schedule.due(place, start + 9000 * MS)).sum();
            let wanted = (rate * 4.0 * connections as f64).round() as u64;
            assert!(all.abs_diff(wanted) <= 1, "{all} instead of {wanted} at {rate}/s on {connections}");
        }
    }

    #[test]
    fn a_run_that_is_cut_short_owes_nothing_more() {
        let (start, schedule) = schedule(10.0, 1, 1000 * MS);
        let cut = schedule.until(start + 300 * MS);
        assert_eq!((cut.due(0, start + 200 * MS), cut.due(0, start + 900 * MS)), (3, 3));
        assert_eq!(cut.until(start + 700 * MS), cut);
    }

    #[test]
    fn before_its_start_nothing_is_due() {
        let start = Instant::now();
        let schedule = Schedule::new(start + 5 * MS, start + 9 * MS, 1000.0, 1);
        assert_eq!((schedule.due(0, start + 4 * MS), schedule.due(0, start + 5 * MS)), (0, 1));
    }
}
