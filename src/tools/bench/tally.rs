//! The figures of a run.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;

/// The code for an end without a Close frame (RFC 6455 §7.1.5).
pub(super) const ABNORMAL: u16 = 1006;
/// The code for a Close frame that has no code (RFC 6455 §7.1.5).
pub(super) const NO_CODE: u16 = 1005;

/// The longest time of the histogram. A longer time counts as this one.
const LONGEST: Duration = Duration::from_secs(3600);
/// How many decimal digits of a time are kept.
const DIGITS: u8 = 3;
/// How many different texts of failures are kept.
const MOST_FAILURES: usize = 16;

/// The figures of one thread, or of all threads together.
#[derive(Debug, Clone)]
pub(super) struct BenchTally {
    /// WebSockets that opened.
    pub(super) opened: u64,
    /// WebSockets that did not open, by the text of the cause.
    pub(super) failures: BTreeMap<String, u64>,
    pub(super) sent: u64,
    /// Messages that were due by the schedule but never sent.
    pub(super) unsent: u64,
    /// Messages that came back, right or wrong; with `--connect`, WebSockets that opened.
    pub(super) done: u64,
    /// The part of `done` that came before the end of the stated duration.
    pub(super) done_in_time: u64,
    /// Messages that came back with a wrong byte, length or kind, or that nobody had sent.
    pub(super) differing: u64,
    /// Pings received. Each was answered, unless it came after our Close.
    pub(super) pings: u64,
    /// Unexpected ends, by close code.
    pub(super) closes: BTreeMap<u16, u64>,
    /// Breaches of the protocol by servers, by kind.
    pub(super) breaches: BTreeMap<&'static str, u64>,
    /// Connections that had not answered the final Close when the time for it was over.
    pub(super) silent: u64,
    /// Latencies in nanoseconds.
    pub(super) latency: Histogram<u64>,
}

impl BenchTally {
    /// The tally of nothing. `None` never happens with these bounds.
    #[must_use]
    pub(super) fn new() -> Option<Self> {
        let longest = u64::try_from(LONGEST.as_nanos()).ok()?;
        Some(Self {
            opened: 0,
            failures: BTreeMap::new(),
            sent: 0,
            unsent: 0,
            done: 0,
            done_in_time: 0,
            differing: 0,
            pings: 0,
            closes: BTreeMap::new(),
            breaches: BTreeMap::new(),
            silent: 0,
            latency: Histogram::new_with_bounds(1, longest, DIGITS).ok()?,
        })
    }

    /// Counts a message that came back, or a WebSocket that opened, after the time `after`.
    pub(super) fn finish(&mut self, after: Duration) {
        self.done += 1;
        self.latency.saturating_record(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Counts a WebSocket that could not be opened.
    pub(super) fn fail(&mut self, why: String) {
        let known = self.failures.len() < MOST_FAILURES || self.failures.contains_key(&why);
        *self.failures.entry(if known { why } else { "other causes".to_owned() }).or_default() += 1;
    }

    /// Counts an unexpected end.
    pub(super) fn close(&mut self, code: u16) {
        *self.closes.entry(code).or_default() += 1;
    }

    /// Messages that were due but never came back.
    #[must_use]
    pub(super) const fn lost(&self) -> u64 {
        (self.sent + self.unsent).saturating_sub(self.done)
    }

    /// Adds the figures of another thread.
    pub(super) fn add(&mut self, other: Self) {
        self.opened += other.opened;
        self.sent += other.sent;
        self.unsent += other.unsent;
        self.done += other.done;
        self.done_in_time += other.done_in_time;
        self.differing += other.differing;
        self.pings += other.pings;
        self.silent += other.silent;
        add_up(&mut self.failures, other.failures);
        add_up(&mut self.closes, other.closes);
        add_up(&mut self.breaches, other.breaches);
        // Both histograms have the same bounds, so they can be added.
        let _ = self.latency.add(other.latency);
    }

    /// Whether nothing at all was wrong.
    #[must_use]
    pub(super) fn is_sound(&self) -> bool {
        self.failures.is_empty()
            && self.closes.is_empty()
            && self.breaches.is_empty()
            && self.opened > 0
            && self.differing == 0
            && self.lost() == 0
            && self.silent == 0
    }
}

fn add_up<K: Ord>(sums: &mut BTreeMap<K, u64>, others: BTreeMap<K, u64>) {
    for (key, count) in others {
        *sums.entry(key).or_default() += count;
    }
}
