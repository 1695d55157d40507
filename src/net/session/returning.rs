//! What a session holds beside its streams if its client may come back to it.

use std::{sync::Arc, time::Duration};

use super::reclaim::{AwayPermit, Reclaimable};
use crate::{
    metrics::Metrics,
    net::counts::unsent::Share,
    sender::Octets,
    ws::{Side, resume_token::ResumeId},
};

/// Keeps a session among those to which clients come back. Dropping it takes the session out.
#[derive(Debug)]
pub(super) struct Returning {
    reclaimable: Reclaimable,
    absence: Option<Absence>,
    /// What the session keeps for its client, as counted among that of all sessions.
    kept: Share,
}

/// A session without its client. Each ends with the client or as given up, once.
#[derive(Debug)]
struct Absence {
    _permit: AwayPermit,
    metrics: Arc<Metrics>,
    /// Why the client is not back, in the word of the metric; `None` = it is.
    why: Option<&'static str>,
}

impl Returning {
    pub(super) fn new(reclaimable: Reclaimable) -> Box<Self> {
        Box::new(Self { reclaimable, absence: None, kept: Share::default() })
    }

    pub(super) const fn id(&self) -> ResumeId {
        self.reclaimable.id()
    }

    /// The client has gone. Returns false if too many clients have. A client that was gone already counts once.
    pub(super) fn begin_absence(&mut self, metrics: &Arc<Metrics>) -> bool {
        if self.absence.is_none() {
            let Some(permit) = self.reclaimable.leave() else {
                metrics.not_resumed("too_many");
                return false;
            };
            self.absence = Some(Absence::new(permit, metrics));
        }
        true
    }

    /// The client changes its connection.
    pub(super) fn begin_change(&mut self, metrics: &Arc<Metrics>) {
        if self.absence.is_none() {
            self.absence = Some(Absence::new(self.reclaimable.leave_for_a_moment(), metrics));
        }
    }

    /// The client is back, after this time. `moved_to`: the address for which the session counts from now on.
    pub(super) fn end_absence(&mut self, moved_to: Option<Octets>, gap: Duration) {
        if let Some(mut absence) = self.absence.take() {
            absence.why = None;
            absence.metrics.resumed(Side::Client, gap);
        }
        if let Some(client) = moved_to {
            self.reclaimable.lodging().move_to(client);
        }
    }

    /// The client has not come back in time.
    pub(super) fn note_patience_over(&mut self) {
        if let Some(Absence { why: Some(why @ "ended"), .. }) = &mut self.absence {
            *why = "expired";
        }
    }

    /// Notes how much the session keeps for its client. Returns whether that has become more while all sessions keep too much.
    pub(super) fn count_kept(&mut self, bytes: usize) -> bool {
        let is_short = self.kept.set(self.reclaimable.kept(), bytes);
        if is_short && let Some(Absence { why: Some(why), .. }) = &mut self.absence {
            *why = "memory";
        }
        is_short
    }
}

impl Absence {
    fn new(permit: AwayPermit, metrics: &Arc<Metrics>) -> Self {
        Self { _permit: permit, metrics: Arc::clone(metrics), why: Some("ended") }
    }
}

impl Drop for Absence {
    fn drop(&mut self) {
        if let Some(why) = self.why {
            self.metrics.not_resumed(why);
        }
    }
}
