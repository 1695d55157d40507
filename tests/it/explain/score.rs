//! What is found in simulated logs, held against what is behind them.

use std::fmt;

use longwire::explain::{Evidence, Pattern, record};

use super::mixture::{BEGIN, End, Mixture, Truth};

/// A truth with so many cases must be found.
const ENOUGH: usize = 50;
/// A limit is found within this part of it.
const NEAR: f64 = 0.05;

/// The score of many logs.
#[derive(Debug, Default)]
pub struct Score {
    pub logs: usize,
    pub records: usize,
    /// Patterns that were found.
    pub told: usize,
    /// Those of them that are true.
    pub right: usize,
    /// Truths with enough cases.
    pub truths: usize,
    /// Those of them that were found.
    pub found: usize,
    /// What was wrong or missed, in words.
    pub faults: Vec<String>,
}

impl Score {
    pub fn precision(&self) -> f64 {
        self.right as f64 / self.told.max(1) as f64
    }

    pub fn recall(&self) -> f64 {
        self.found as f64 / self.truths.max(1) as f64
    }

    /// Adds the log of a seed.
    pub fn add(&mut self, seed: u64, mixture: &Mixture) {
        let mut evidence = Evidence::new(Evidence::MOST);
        let mut scratch = String::new();
        for line in &mixture.lines {
            evidence
                .add(&record::read(line.as_bytes(), &mut scratch).unwrap_or_else(|error| panic!("{error}: {line}")));
        }
        let patterns = evidence.patterns();
        self.logs += 1;
        self.records += mixture.lines.len();
        self.told += patterns.len();
        for pattern in &patterns {
            if mixture.truths.iter().any(|truth| is_of(pattern, truth)) {
                self.right += 1;
            } else {
                self.faults.push(format!("{seed}: told without a reason: {}", short(pattern)));
            }
        }
        for truth in mixture.truths.iter().filter(|truth| truth.cases >= ENOUGH) {
            self.truths += 1;
            if patterns.iter().any(|pattern| is_of(pattern, truth)) {
                self.found += 1;
            } else {
                let told: Vec<_> = patterns.iter().map(short).collect();
                self.faults.push(format!("{seed}: not told: {truth:?}; but {told:?}"));
            }
        }
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { logs, records, told, right, truths, found, faults } = self;
        for fault in faults {
            writeln!(f, "{fault}")?;
        }
        writeln!(f, "{logs} mixtures, {records} records")?;
        writeln!(f, "precision {:.3}: {right} of {told} findings have a cause", self.precision())?;
        write!(f, "recall    {:.3}: {found} of {truths} causes with {ENOUGH} cases or more were found", self.recall())
    }
}

fn short(pattern: &Pattern) -> String {
    let Pattern { kind, side, route, backend, network, status, seconds, at, cases, .. } = pattern;
    format!("{kind:?} {side:?} {route:?} {backend:?} {network:?} {status:?} {seconds:?} {at:?} {cases} cases")
}

/// Whether a pattern says what is true, and says it of the right part of all sessions.
fn is_of(pattern: &Pattern, truth: &Truth) -> bool {
    let kind = serde_json::to_value(pattern.kind).unwrap();
    let side = truth.end.map(|end| if end == End::Client { "client" } else { "backend" });
    let is_near = |truth: f64| pattern.seconds.is_some_and(|seen| (seen - truth).abs() <= NEAR * truth);
    let is_then =
        |truth: f64| pattern.at.is_some_and(|at| (at.as_millisecond() as f64 / 1000.0 - BEGIN - truth).abs() < 30.0);
    let is_unheard = kind == "idle_limit" && truth.unheard_limit().is_some_and(is_near);
    (kind == truth.kind || is_unheard)
        && pattern.side == side
        && pattern.status == truth.status
        && truth.seconds.is_none_or(is_near)
        && truth.at.is_none_or(is_then)
        && truth.place.names() == [pattern.route.clone(), pattern.backend.clone(), pattern.network.clone()]
}
