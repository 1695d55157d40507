//! What a worker does about the ages of its sessions in a rebalance: it counts them, gives those that were chosen a moment to leave,
//! takes that back, and says how many have left. It does so a slice at a time between two turns of its sessions.

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{
    ages::{AgePicks, AgeScale},
    departures::{Departures, RebalanceTally},
};
use crate::{balance::Backend, ws::session::Departure};

/// Places of the table that one wake-up looks at.
const SLICE: usize = 256;

/// Which sessions a rebalance is about.
#[derive(Debug, Clone)]
pub(in crate::net) struct Aged {
    /// `None` = those of every backend.
    pub(in crate::net) backend: Option<Arc<Backend>>,
    /// The moment of all ages. Sessions that began later are not among them.
    pub(in crate::net) asked: Instant,
}

/// Something to do with all sessions of a worker.
#[derive(Debug)]
pub(in crate::net) struct AgeErrand {
    task: AgeTask,
    /// The next place to look at.
    at: usize,
}

#[derive(Debug)]
enum AgeTask {
    Count {
        aged: Aged,
        scale: AgeScale,
        counts: Vec<u32>,
        answer: oneshot::Sender<Vec<u32>>,
    },
    Tell {
        telling: Telling,
        leavers: Leavers,
        answer: oneshot::Sender<Leavers>,
    },
    /// Count those that are still to leave, or are on their way.
    Tally {
        waiting: usize,
        answer: oneshot::Sender<RebalanceTally>,
    },
}

/// What the sessions are told.
#[derive(Debug)]
pub(in crate::net) enum Telling {
    /// The chosen ones leave one by one from an instant on, over a time; `None` = nobody is told, and they are only counted.
    Leave { aged: Aged, picks: AgePicks, during: Option<(Instant, Duration)> },
    /// Those that are still to leave stay.
    Stay,
}

/// Sessions that are told to leave, or to stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::net) struct Leavers {
    /// Those that end.
    pub(in crate::net) end: usize,
    /// Those that move to another backend, if one takes them.
    pub(in crate::net) move_on: usize,
}

/// What an errand has to know of a session.
#[derive(Debug)]
pub(in crate::net) struct AgedSession<'s> {
    pub(in crate::net) started: Instant,
    pub(in crate::net) backend: &'s Arc<Backend>,
    /// It leaves already: it ends, or moves, or is without a backend, or an order says that all leave.
    pub(in crate::net) is_leaving: bool,
    /// It has been told to leave in a rebalance, and may still stay.
    pub(in crate::net) is_to_leave: bool,
    /// It is among those of the last rebalance, and is still to leave or on its way.
    pub(in crate::net) is_waiting: bool,
    /// It may have another backend.
    pub(in crate::net) may_move: bool,
}

impl Leavers {
    pub(in crate::net) const fn all(self) -> usize {
        self.end + self.move_on
    }

    pub(in crate::net) const fn add(&mut self, other: Self) {
        self.end += other.end;
        self.move_on += other.move_on;
    }

    const fn note(&mut self, departure: Departure) {
        match departure {
            Departure::Move => self.move_on += 1,
            Departure::End | Departure::EndAtBackend => self.end += 1,
        }
    }
}

impl Aged {
    /// The age of a session; `None` = the rebalance is not about it.
    fn age_of(&self, session: &AgedSession<'_>) -> Option<Duration> {
        let is_there = self.backend.as_ref().is_none_or(|backend| Arc::ptr_eq(backend, session.backend));
        let age = self.asked.checked_duration_since(session.started)?;
        (is_there && !session.is_leaving).then_some(age)
    }

    /// How a session leaves. One that is only to leave its backend keeps its client, if it may.
    const fn departure(&self, may_move: bool) -> Departure {
        match (&self.backend, may_move) {
            (None, _) => Departure::End,
            (Some(_), true) => Departure::Move,
            (Some(_), false) => Departure::EndAtBackend,
        }
    }
}

impl AgeErrand {
    /// Counts the sessions in each class of `scale`. The answer is dropped if the worker ends first.
    pub(in crate::net) fn count(aged: Aged, scale: AgeScale, answer: oneshot::Sender<Vec<u32>>) -> Self {
        let counts = vec![0; scale.classes()];
        Self { task: AgeTask::Count { aged, scale, counts, answer }, at: 0 }
    }

    /// Tells the sessions something, and answers whom it concerned.
    pub(in crate::net) fn tell(telling: Telling, answer: oneshot::Sender<Leavers>) -> Self {
        Self { task: AgeTask::Tell { telling, leavers: Leavers::default(), answer }, at: 0 }
    }

    /// Counts the sessions of the last rebalance that are still to leave, or are on their way.
    pub(in crate::net) const fn tally(answer: oneshot::Sender<RebalanceTally>) -> Self {
        Self { task: AgeTask::Tally { waiting: 0, answer }, at: 0 }
    }

    /// Whether another rebalance begins with this errand, and no session was looked at yet.
    pub(in crate::net) const fn begins_rebalance(&self) -> bool {
        let AgeTask::Tell { telling: Telling::Leave { during: Some(_), .. }, .. } = &self.task else { return false };
        self.at == 0
    }

    /// The places to look at now.
    pub(in crate::net) fn slice(&mut self) -> Range<usize> {
        let from = self.at;
        self.at += SLICE;
        from..self.at
    }

    /// Whether every place of a table of this length has been looked at, or nobody waits for a count any more. Who is to be told
    /// is told, whoever waits.
    pub(in crate::net) fn is_over(&self, length: usize) -> bool {
        let is_needless = match &self.task {
            AgeTask::Count { answer, .. } => answer.is_closed(),
            AgeTask::Tally { answer, .. } => answer.is_closed(),
            AgeTask::Tell { .. } => false,
        };
        self.at >= length || is_needless
    }

    /// Looks at one session. Returns when and how it is to leave, if that is to change; `Some(None)` = it is to stay.
    pub(in crate::net) fn look(&mut self, session: &AgedSession<'_>) -> Option<Option<(Instant, Departure)>> {
        match &mut self.task {
            AgeTask::Count { aged, scale, counts, .. } => {
                let class = scale.class_of(aged.age_of(session)?);
                if let Some(count) = counts.get_mut(class) {
                    *count = count.saturating_add(1);
                }
                None
            }
            AgeTask::Tell { telling, leavers, .. } => match telling {
                Telling::Leave { aged, picks, during } => {
                    let place = picks.choose(aged.age_of(session)?)?;
                    let departure = aged.departure(session.may_move);
                    leavers.note(departure);
                    during.map(|(began, over)| Some((began + over.mul_f64(place.clamp(0.0, 1.0)), departure)))
                }
                Telling::Stay if !session.is_to_leave => None,
                Telling::Stay => {
                    leavers.note(Departure::End);
                    Some(None)
                }
            },
            AgeTask::Tally { waiting, .. } => {
                *waiting += usize::from(session.is_waiting);
                None
            }
        }
    }

    /// Gives the answer. Whoever asked may have stopped waiting. `departures`: those of the last rebalance at this worker.
    pub(in crate::net) fn finish(self, departures: &Departures) {
        match self.task {
            AgeTask::Count { counts, answer, .. } => drop(answer.send(counts)),
            AgeTask::Tell { leavers, answer, .. } => drop(answer.send(leavers)),
            AgeTask::Tally { waiting, answer } => drop(answer.send(departures.tally(waiting))),
        }
    }
}
