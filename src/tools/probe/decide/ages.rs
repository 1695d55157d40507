//! What is known of the age at which a path ends connections, however busy they are.

use std::time::Duration;

use super::{Death, JITTER, SilenceLimit, below, beyond, limit::margin};

/// How often another socket that is never silent takes the place of one that died of no age.
const MOST_ACCIDENTS: usize = 3;
/// Two ends within this time have one cause, if nothing has to be waited for.
pub(super) const ONE_MOMENT: Duration = Duration::from_secs(1);

/// The ages between which a socket ended, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tools::probe) struct AgeLimit {
    pub(in crate::tools::probe) low: Duration,
    pub(in crate::tools::probe) high: Duration,
    pub(in crate::tools::probe) death: Death,
}

/// What is known of sockets that were not silent when they ended, most of all of those that are never silent.
#[derive(Debug, Clone, Default)]
pub(super) struct Ages {
    /// Whether there is a socket that is never silent.
    is_there: bool,
    /// The age at which one was last seen to live.
    proved: Duration,
    /// The ages between which it died, and when this was told.
    died: Option<(AgeLimit, Duration)>,
    /// The same of other sockets, to which the other end sent something.
    others: Vec<(AgeLimit, Duration)>,
    /// When sockets that are never silent were told to have died of no age.
    accidents: Vec<Duration>,
}

impl Ages {
    pub(super) fn handle_alive(&mut self, age: Duration) {
        self.is_there = true;
        self.proved = self.proved.max(age);
    }

    pub(super) const fn handle_none(&mut self) {
        self.is_there = false;
    }

    pub(super) const fn handle_death(&mut self, age: AgeLimit, now: Duration) {
        self.died = Some((age, now));
    }

    pub(super) fn handle_other(&mut self, age: AgeLimit, now: Duration) {
        self.others.push((age, now));
    }

    /// Notes that a socket got so old.
    pub(super) fn handle_older(&mut self, age: Duration) {
        if self.died.is_some_and(|(died, _)| age > beyond(died.high)) {
            self.begin_anew();
        }
    }

    /// Whether a socket that is never silent is needed.
    pub(super) const fn lacks_busy(&self) -> bool {
        self.proved.is_zero() && self.died.is_none()
    }

    /// Whether it is known if this limit is one of age, or never will be.
    pub(super) fn tells(&self, limit: &SilenceLimit) -> bool {
        !self.is_there || self.died.is_some() || self.proved > beyond(limit.high)
    }

    /// Whether a socket that was not silent died at this limit too.
    pub(super) fn is_of_age(&self, limit: &SilenceLimit) -> bool {
        let overlaps = |died: AgeLimit| died.low <= beyond(limit.high) && died.high >= below(limit.low);
        self.died.is_some_and(|(died, _)| overlaps(died)) && self.proved <= beyond(limit.high)
    }

    /// The limit of age, if a socket met one.
    pub(super) fn life(&self) -> Option<AgeLimit> {
        let AgeLimit { low, high, death } = self.died.or_else(|| self.confirmed())?.0;
        Some(AgeLimit { low: low.saturating_sub(margin(low)), high: high + margin(high), death })
    }

    /// Whether two sockets died at one age, and not at one moment. `silent`: the ages of silent sockets that died, and when this
    /// was told.
    pub(super) fn is_confirmed(&self, silent: &[(Duration, Duration)]) -> bool {
        let by_silent = |(age, told): &(AgeLimit, Duration)| {
            let between = |silence: Duration| age.low.saturating_sub(silence).max(silence.saturating_sub(age.high));
            let mut all = silent.iter().map(|(silence, then)| (between(*silence), told.abs_diff(*then)));
            all.any(|(ages, moments)| ages <= beyond(age.high) - age.high && is_wider(moments, ages))
        };
        self.confirmed().is_some() || self.died.as_ref().is_some_and(by_silent)
    }

    fn confirmed(&self) -> Option<(AgeLimit, Duration)> {
        let all = || self.died.iter().chain(&self.others);
        let alike = |one: &AgeLimit, other: &AgeLimit| one.low <= beyond(other.high) && other.low <= beyond(one.high);
        let is_confirmed = |(one, told): &&(AgeLimit, Duration)| {
            let at_another_moment = |(other, then): &(AgeLimit, Duration)| {
                alike(one, other) && is_wider(told.abs_diff(*then), one.low.abs_diff(other.low))
            };
            all().any(at_another_moment) && self.proved <= beyond(one.high)
        };
        all().filter(is_confirmed).min_by_key(|(age, _)| age.low).copied()
    }

    /// Whether a socket that is never silent was told to have died within this time of that moment.
    pub(super) fn died_at(&self, moment: Duration, within: Duration) -> bool {
        let told = self.died.iter().map(|(_, told)| told).chain(&self.accidents);
        told.into_iter().any(|told| told.abs_diff(moment) <= within)
    }

    /// Forgets a death that was none of age, so that another socket takes its place.
    pub(super) fn begin_anew(&mut self) {
        if let Some((_, told)) = self.died.filter(|_| self.accidents.len() < MOST_ACCIDENTS) {
            self.accidents.push(told);
            (self.died, self.proved) = (None, Duration::ZERO);
        }
    }
}

/// Whether what ended at moments so far apart ended after times that are much nearer to each other. What ends of one cause at one
/// moment was opened at several, and has several ages.
pub(super) fn is_wider(moments: Duration, times: Duration) -> bool {
    moments > times * 2 + JITTER
}
