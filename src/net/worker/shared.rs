//! What all workers share, and what one worker has of its own.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::mpsc::Sender;

use super::{memory::AcceptCount, nonces::Nonces, plan::Plan};
use crate::{
    headers::Strangers,
    metrics::Metrics,
    net::{
        backend::{dialer::Dialer, own::Own},
        counts::{admission::Admission, fleet::Fleet, live::Live, wrong_tokens::WrongTokens},
        orders::book::Orders,
        session::{held::Arrival, reclaim::Reclaims},
        thread::vital::Vitals,
    },
    traces::Traces,
    ws::resume_token::ResumeKey,
};

/// What all workers share for as long as the process runs. Counts are atomic, or have a short lock of their own.
#[derive(Debug)]
pub(in crate::net) struct Shared {
    /// Behind a lock, because a reload replaces the plan. The lock is held for the copy of a pointer.
    pub(in crate::net) plan: RwLock<Arc<Plan>>,
    pub(in crate::net) live: Arc<Live>,
    pub(in crate::net) admission: Arc<Admission>,
    pub(in crate::net) fleet: Arc<Fleet>,
    pub(in crate::net) nonces: Nonces,
    pub(in crate::net) accepted: Arc<AcceptCount>,
    /// Behind a lock, which is taken only for requests with forwarding headers that are not believed.
    pub(in crate::net) strangers: Mutex<Strangers>,
    pub(in crate::net) orders: Orders,
    pub(in crate::net) own: Arc<Own>,
    pub(in crate::net) metrics: Arc<Metrics>,
    pub(in crate::net) traces: Traces,
    pub(in crate::net) vitals: Arc<Vitals>,
    /// Signs the tokens of sessions that can be resumed.
    pub(in crate::net) resume_key: ResumeKey,
    pub(in crate::net) reclaims: Arc<Reclaims>,
    pub(in crate::net) wrong_tokens: WrongTokens,
    /// The loops of sessions, by the number of their worker.
    pub(in crate::net) loops: Vec<Sender<Arrival>>,
}

impl Shared {
    /// The plan for requests and sessions that begin now.
    pub(in crate::net) fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.plan.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the plan. What begins from now on is for the new one.
    pub(in crate::net) fn change_plan(&self, plan: Arc<Plan>) {
        let limits = &plan.config.limits;
        self.admission.unsent.set_limit(limits.unsent_memory);
        self.reclaims.set_limits(limits.away, limits.resume_memory);
        *self.plan.write().unwrap_or_else(PoisonError::into_inner) = plan;
    }
}

/// One thread and runtime of the process.
#[derive(Debug)]
pub(in crate::net) struct Worker {
    /// The worker's number. Worker 0 accepts.
    pub(in crate::net) index: usize,
    pub(in crate::net) shared: Arc<Shared>,
    pub(in crate::net) dialer: Dialer,
    /// Takes new sessions to this worker's loop, and questions about its sessions.
    pub(in crate::net) sessions: Sender<Arrival>,
}
