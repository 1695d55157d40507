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
        session::{Common, HoldTerms, ResumeTerms, SessionSettings},
    },
};

/// What the sessions of a route share.
#[derive(Debug)]
pub(in crate::net) struct RouteTerms {
    pub(in crate::net) log: Arc<RouteLog>,
    of_file: CommonSet,
    /// The tags by which the sticky cookie of the route names backends; `None` = the route has no such cookie.
    pub(in crate::net) tags: Option<StickyTags>,
    /// What takes the place of `of_file`; `None` = the route does not learn. The lock is held for the copy of a pointer, once
    /// for each session.
    learned: Option<RwLock<Option<Arc<LearnedTerms>>>>,
}

/// Values that sessions share.
#[derive(Debug)]
pub(super) struct CommonSet {
    /// For sessions that agreed on no extension.
    plain: Arc<Common>,
    /// For sessions that agreed on an extension.
    extended: Arc<Common>,
    /// The same two for sessions that may outlive their backends; `None` = the route holds none.
    held: Option<[Arc<Common>; 2]>,
}

/// What sessions share that do not use the intervals of the file.
#[derive(Debug)]
struct LearnedTerms {
    times: LearnedTimes,
    usual: CommonSet,
    /// For one session in [`TRIAL_SHARE`].
    on_trial: Option<TrialGroup>,
    /// The sessions that have begun.
    begun: AtomicU32,
}

/// What sessions on trial share.
#[derive(Debug)]
struct TrialGroup {
    common: CommonSet,
    log: Arc<RouteLog>,
    watches: Vec<Arc<TrialWatch>>,
}

impl RouteTerms {
    /// `learns`: whether [`Self::set_learned`] has an effect.
    pub(super) fn new(log: Arc<RouteLog>, of_file: CommonSet, tags: Option<StickyTags>, learns: bool) -> Self {
        Self { log, of_file, tags, learned: learns.then(RwLock::default) }
    }

    /// For a session that begins now.
    pub(in crate::net) fn of_session(&self, extensions: bool, may_be_held: bool) -> (Arc<RouteLog>, Arc<Common>) {
        let learned =
            self.learned.as_ref().and_then(|learned| learned.read().unwrap_or_else(PoisonError::into_inner).clone());
        let Some(learned) = learned else {
            return (Arc::clone(&self.log), self.of_file.common(extensions, may_be_held));
        };
        let begun = learned.begun.fetch_add(1, Relaxed);
        match &learned.on_trial {
            Some(group) if begun % TRIAL_SHARE == 0 => {
                (Arc::clone(&group.log), group.common.common(extensions, may_be_held))
            }
            _ => (Arc::clone(&self.log), learned.usual.common(extensions, may_be_held)),
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

impl CommonSet {
    /// With these settings, apart from `extensions`. `hold`, `resume`: the terms of sessions that may outlive their backends, or their
    /// clients' connections.
    pub(super) fn new(
        settings: SessionSettings,
        (hold, resume): (Option<&HoldTerms>, Option<ResumeTerms>),
        secret: Secret,
        round_trips: &RoundTripTimes,
    ) -> Self {
        let epoch = Instant::now();
        let common = |extensions, hold: Option<&HoldTerms>| {
            let settings = SessionSettings { extensions, ..settings };
            Arc::new(Common { settings, hold: hold.cloned(), resume, secret, epoch, round_trips: round_trips.clone() })
        };
        let held = hold.map(|hold| [false, true].map(|extensions| common(extensions, Some(hold))));
        Self { plain: common(false, None), extended: common(true, None), held }
    }

    fn common(&self, extensions: bool, may_be_held: bool) -> Arc<Common> {
        let held = self.held.as_ref().filter(|_| may_be_held);
        Arc::clone(match (held, extensions) {
            (Some([plain, _]), false) => plain,
            (Some([_, extended]), true) => extended,
            (None, false) => &self.plain,
            (None, true) => &self.extended,
        })
    }

    /// The same with other intervals of Pings.
    fn with_intervals(&self, ping_interval: SideTimes) -> Self {
        let with = |common: &Arc<Common>| {
            let mut settings = common.settings;
            settings.keepalive.ping_interval = ping_interval;
            let Common { secret, epoch, round_trips, hold, resume, .. } = &**common;
            let (hold, round_trips) = (hold.clone(), round_trips.clone());
            Arc::new(Common { settings, hold, resume: *resume, secret: *secret, epoch: *epoch, round_trips })
        };
        let held = self.held.as_ref().map(|held| held.each_ref().map(with));
        Self { plain: with(&self.plain), extended: with(&self.extended), held }
    }
}
