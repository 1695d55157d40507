//! What the sessions of a route share, with the intervals of the file or with those that were learned.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Instant,
};

use crate::{
    access_log::RouteLog,
    balance::StickyTags,
    learning::{LearnedTimes, TRIAL_SHARE, TrialWatch},
    ws::{
        keepalive::{Secret, SideTimes},
        round_trips::RoundTripTimes,
        session::{Common, SessionSettings},
    },
};

/// What the sessions of a route share.
#[derive(Debug)]
pub(in crate::net) struct RouteTerms {
    pub(in crate::net) log: Arc<RouteLog>,
    of_file: CommonPair,
    /// The tags by which the sticky cookie of the route names backends; `None` = the route has no such cookie.
    pub(in crate::net) tags: Option<StickyTags>,
    /// What takes the place of `of_file`; `None` = the route does not learn. The lock is held for the copy of a pointer, once
    /// for each session.
    learned: Option<RwLock<Option<Arc<LearnedTerms>>>>,
}

/// Values that sessions share.
#[derive(Debug)]
pub(super) struct CommonPair {
    /// For sessions that agreed on no extension.
    plain: Arc<Common>,
    /// For sessions that agreed on an extension.
    extended: Arc<Common>,
}

/// What sessions share that do not use the intervals of the file.
#[derive(Debug)]
struct LearnedTerms {
    times: LearnedTimes,
    usual: CommonPair,
    /// For one session in [`TRIAL_SHARE`].
    on_trial: Option<TrialGroup>,
    /// The sessions that have begun.
    begun: AtomicU32,
}

/// What sessions on trial share.
#[derive(Debug)]
struct TrialGroup {
    common: CommonPair,
    log: Arc<RouteLog>,
    watches: Vec<Arc<TrialWatch>>,
}

impl RouteTerms {
    /// `learns`: whether [`Self::set_learned`] has an effect.
    pub(super) fn new(log: Arc<RouteLog>, of_file: CommonPair, tags: Option<StickyTags>, learns: bool) -> Self {
        Self { log, of_file, tags, learned: learns.then(RwLock::default) }
    }

    /// For a session that begins now.
    pub(in crate::net) fn of_session(&self, extensions: bool) -> (Arc<RouteLog>, Arc<Common>) {
        let learned =
            self.learned.as_ref().and_then(|learned| learned.read().unwrap_or_else(PoisonError::into_inner).clone());
        let Some(learned) = learned else { return (Arc::clone(&self.log), self.of_file.common(extensions)) };
        let begun = learned.begun.fetch_add(1, Relaxed);
        match &learned.on_trial {
            Some(group) if begun % TRIAL_SHARE == 0 => (Arc::clone(&group.log), group.common.common(extensions)),
            _ => (Arc::clone(&self.log), learned.usual.common(extensions)),
        }
    }

    /// Sessions that begin from now on use these intervals; `None` = those of the file. `watches` are told how the sessions on
    /// trial end.
    pub(super) fn set_learned(&self, times: Option<LearnedTimes>, watches: Vec<Arc<TrialWatch>>) {
        let Some(learned) = &self.learned else { return };
        let is_known = match (&*learned.read().unwrap_or_else(PoisonError::into_inner), times) {
            (None, None) => true,
            (Some(known), Some(times)) => known.is_the_same(times, &watches),
            _ => false,
        };
        if is_known {
            return;
        }
        let terms = times.map(|times| {
            let on_trial = times.on_trial.map(|trial| TrialGroup {
                common: self.of_file.with_intervals(trial),
                log: self.log.on_trial(watches.clone()),
                watches,
            });
            let usual = self.of_file.with_intervals(times.usual);
            Arc::new(LearnedTerms { times, usual, on_trial, begun: AtomicU32::default() })
        });
        *learned.write().unwrap_or_else(PoisonError::into_inner) = terms;
    }
}

impl LearnedTerms {
    fn is_the_same(&self, times: LearnedTimes, watches: &[Arc<TrialWatch>]) -> bool {
        let known = self.on_trial.iter().flat_map(|group| &group.watches);
        self.times == times && known.map(Arc::as_ptr).eq(watches.iter().map(Arc::as_ptr))
    }
}

impl CommonPair {
    /// With these settings, apart from `extensions`.
    pub(super) fn new(settings: SessionSettings, secret: Secret, round_trips: &RoundTripTimes) -> Self {
        let epoch = Instant::now();
        let common = |extensions| {
            let settings = SessionSettings { extensions, ..settings };
            Arc::new(Common { settings, hold: None, secret, epoch, round_trips: round_trips.clone() })
        };
        Self { plain: common(false), extended: common(true) }
    }

    fn common(&self, extensions: bool) -> Arc<Common> {
        Arc::clone(if extensions { &self.extended } else { &self.plain })
    }

    /// The same with other intervals of Pings.
    fn with_intervals(&self, ping_interval: SideTimes) -> Self {
        let with = |common: &Common| {
            let mut settings = common.settings;
            settings.keepalive.ping_interval = ping_interval;
            let Common { secret, epoch, round_trips, .. } = common;
            Arc::new(Common { settings, hold: None, secret: *secret, epoch: *epoch, round_trips: round_trips.clone() })
        };
        Self { plain: with(&self.plain), extended: with(&self.extended) }
    }
}
