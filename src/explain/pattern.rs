//! A pattern among the ends of sessions, as it is told.

use std::{cmp::Ordering, time::Duration};

use jiff::Timestamp;
use serde::Serialize;

use super::Witnesses;

/// What a pattern is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PatternKind {
    /// Something on the path ends what is silent for a time.
    IdleLimit,
    /// Something on the path ends what has a certain age.
    LifeLimit,
    /// Many were dropped at one moment.
    Burst,
    /// One network of clients has far more drops than the others.
    Network,
    /// Handshakes fail with one status.
    HandshakeFailures,
    /// Sessions ended because a side took its bytes too slowly.
    SlowReaders,
    /// A limit of ours ended sessions or refused handshakes.
    OwnLimit,
    /// Many clients came at one moment, after they had been told to leave.
    Storm,
    /// A side answered no Ping.
    DeadUnanswered,
}

/// A pattern, with its evidence and what to change. What is absent concerns all, or is not known.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pattern {
    /// What it is.
    pub kind: PatternKind,
    /// The side whose connection ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub side: Option<&'static str>,
    /// The only route that has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The only backend that has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// The only network of clients that has it: a /24, or a /48 of IPv6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// The status with which handshakes fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The limit, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// How long it took, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_seconds: Option<f64>,
    /// How many cases there are.
    pub cases: u64,
    /// The part of the drops in its scope that they are; where the cases are no drops, the part of the sessions or handshakes.
    pub share: f64,
    /// How sure it is that this is not chance: 0 to 1.
    pub confidence: f64,
    /// The key to change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What to set the key to, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The pattern in words.
    pub text: String,
    /// How the values lie around the peak, for people.
    #[serde(skip)]
    pub histogram: Option<Histogram>,
    /// What the pattern says of a limit of silence that more Pings would hold.
    #[serde(skip)]
    pub bound: Option<IdleBound>,
    /// Who shows it.
    #[serde(skip)]
    pub witnesses: Witnesses,
}

/// What is known of a limit of silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdleBound {
    /// It was seen: what is silent for so long ends.
    At(Duration),
    /// Only that it is below the interval of our Pings, because the first of them came too late.
    BelowInterval,
}

impl Pattern {
    /// The one with most cases first.
    pub(super) fn by_harm(a: &Self, b: &Self) -> Ordering {
        b.cases.cmp(&a.cases).then(b.confidence.total_cmp(&a.confidence))
    }
}

/// Counts of values in equal parts of a range.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// Where the first part begins: seconds, of a duration or from the begin of the pattern.
    pub low: f64,
    /// Where the last part ends.
    pub high: f64,
    /// The parts.
    pub counts: [u32; Self::PARTS],
}

impl Histogram {
    /// How many parts there are.
    pub const PARTS: usize = 40;

    /// The histogram of the values in `[low, high)`.
    pub(super) fn of(values: impl Iterator<Item = f64>, low: f64, high: f64) -> Self {
        let mut counts = [0; Self::PARTS];
        for value in values.filter(|value| (low..high).contains(value)) {
            // At most the number of parts; a cast of a float stops at the bounds.
            let part = ((value - low) / (high - low) * Self::PARTS as f64) as usize;
            if let Some(count) = counts.get_mut(part) {
                *count += 1;
            }
        }
        Self { low, high, counts }
    }
}
