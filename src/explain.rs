//! What the ends of sessions have in common: a limit on the path, a crash, a network of clients, a limit of ours. PURE.
//!
//! 1. [`record::read`] reads a record, and [`Evidence::add`] keeps a few bytes of it.
//! 2. [`Evidence::patterns`] looks for peaks: of silences before drops, of ages at drops, of moments. A peak is found by the
//!    values alone and not by a list of limits (`peaks`).
//!    Limits of paths that forget without a word are borders and no peaks (`unheard`).
//! 3. A pattern is confined to the routes, backends or networks that have it, where the others do not (`scope`).
//! 4. A limit that sessions lived beyond is none of all of them (`survivors`), and one address is not all clients (`crowd`).
//! 5. Where two patterns have the same cases, the one with more cases is told (`rivals`).
//!
//! [`EndsOfHour`] does this for a process that goes on: with a fair sample (`lots`) of what ended in the last hour.
//!
//! No pattern is told on fewer than eight cases, nor if chance would make it once in a thousand such heaps of records
//! (`chance`).

mod advice;
mod chance;
mod crowd;
mod facts;
mod heartbeat;
mod hour;
mod lines;
mod lots;
mod pattern;
mod peaks;
mod rates;
pub mod record;
mod rivals;
mod scope;
mod survivors;
mod suspects;
mod telling;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod unheard;
mod witnesses;
mod words;

use std::mem;

pub use self::{
    facts::EndClass,
    hour::EndsOfHour,
    lots::{RecentEnds, SampledEnd},
    pattern::{Histogram, IdleBound, Pattern, PatternKind},
    witnesses::Witnesses,
};
use self::{
    facts::{EndFacts, EndSort},
    record::RecordText,
    scope::PatternScope,
    words::WordNumbers,
};

/// The records that are looked at together: at most as many as [`Self::new`] was told, the latest that were added.
#[derive(Debug)]
pub struct Evidence {
    facts: Vec<EndFacts>,
    /// How many of them at most.
    most: usize,
    routes: WordNumbers,
    backends: WordNumbers,
    causes: WordNumbers,
}

/// How the sessions of some records ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct EndCounts {
    /// One of the two sides sent a Close.
    pub by_close: u64,
    /// A side was lost, or answered no Ping.
    pub dropped: u64,
    /// We ended them, by an order or by a limit.
    pub ours: u64,
}

impl Evidence {
    /// No records yet. `most` of them are kept; each takes 64 bytes or less.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            facts: Vec::new(),
            most: most.min(Self::MOST),
            routes: WordNumbers::default(),
            backends: WordNumbers::default(),
            causes: WordNumbers::default(),
        }
    }

    /// The most records that can be looked at together: 64 MiB.
    pub const MOST: usize = 1 << 20;

    /// Adds a record. If there are too many, those that ended first are forgotten, in whatever order they come. An eighth more may
    /// be there until then.
    pub fn add(&mut self, record: &RecordText<'_>) {
        let route = self.routes.number(record.route.as_deref());
        let backend = self.backends.number(record.backend.as_deref());
        let cause = self.causes.number(Some(&record.cause));
        self.facts.push(EndFacts::of(record, route, backend, cause));
        if self.facts.len() > self.most + self.most / 8 {
            let surplus = self.facts.len() - self.most;
            self.facts.select_nth_unstable_by_key(surplus, |facts| facts.ended);
            self.facts.drain(..surplus);
        }
    }

    /// Adds an end of a sample, however many there are, as one of this moment.
    fn add_sampled(&mut self, end: &SampledEnd, ended: i64) {
        let route = self.routes.number(end.route.as_deref());
        let backend = self.backends.number(end.backend.as_deref());
        let word = self.causes.number(Some(end.cause));
        self.facts.push(EndFacts { ended, route, backend, word, ..end.facts });
    }

    /// Forgets the words that no record has any more, where there are many.
    fn forget_words(&mut self) {
        if self.routes.is_half_full() {
            self.routes.keep_only(self.facts.iter_mut().map(|facts| &mut facts.route));
        }
        if self.backends.is_half_full() {
            self.backends.keep_only(self.facts.iter_mut().map(|facts| &mut facts.backend));
        }
    }

    /// Forgets what ended before this moment, in milliseconds since 1970.
    pub fn forget_before(&mut self, millis: i64) {
        self.facts.retain(|facts| facts.ended >= millis);
    }

    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.facts.len()
    }

    /// Whether there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }

    /// The most patterns that are told: those with most cases.
    pub const MOST_PATTERNS: usize = 50;

    /// The patterns, the one with most cases first.
    #[must_use]
    pub fn patterns(&self) -> Vec<Pattern> {
        let mut told = rivals::told(self);
        told.sort_by(|a, b| b.cases.total_cmp(&a.cases));
        told.truncate(Self::MOST_PATTERNS);
        let mut patterns: Vec<_> = told.iter().map(|suspect| telling::tell(self, suspect)).collect();
        patterns.sort_by(Pattern::by_harm);
        patterns
    }

    /// The patterns of some of the records.
    fn patterns_among(&mut self, which: impl Fn(&EndFacts) -> bool) -> Vec<Pattern> {
        let some = self.facts.iter().filter(|facts| which(facts)).copied().collect();
        let all = mem::replace(&mut self.facts, some);
        let patterns = self.patterns();
        self.facts = all;
        patterns
    }

    /// The facts with their places.
    fn numbered(&self) -> impl Iterator<Item = (u32, &EndFacts)> {
        (0..).zip(&self.facts)
    }

    fn is_in(&self, fact: u32, scope: &PatternScope) -> bool {
        self.facts.get(fact as usize).is_some_and(|facts| scope.holds(facts))
    }
}

impl EndCounts {
    /// Counts a record, if it is of a session.
    pub fn add(&mut self, record: &RecordText<'_>) {
        if &*record.kind != RecordText::SESSION {
            return;
        }
        *match EndSort::of_session(&record.cause) {
            EndSort::Closed(_) => &mut self.by_close,
            EndSort::Lost(_) | EndSort::Dead(_) => &mut self.dropped,
            _ => &mut self.ours,
        } += 1;
    }

    /// How many sessions there were.
    #[must_use]
    pub const fn sessions(&self) -> u64 {
        self.by_close + self.dropped + self.ours
    }
}
