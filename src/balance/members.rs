//! The backends of an upstream, with what the configuration says of each. The list is replaced as a whole.

use std::{collections::HashMap, mem, sync::Arc};

use super::{
    BackendSettings,
    backend::{Backend, Duty},
    policy::Turns,
};

/// A backend as one upstream has it.
#[derive(Debug, Clone)]
pub struct Member {
    /// The backend; it is the identity of the member.
    pub backend: Arc<Backend>,
    /// What the configuration says of it.
    pub settings: BackendSettings,
}

impl Member {
    /// Whether the configuration and the operator let new requests go to it; health and counts are not asked.
    #[must_use]
    pub fn takes_new(&self) -> bool {
        !self.settings.down && self.backend.duty() == Duty::Up
    }

    pub(super) fn is_full(&self) -> bool {
        let most = self.settings.max_conns;
        most != 0 && self.backend.active() >= most
    }

    fn is(&self, backend: &Arc<Backend>) -> bool {
        Arc::ptr_eq(&self.backend, backend)
    }
}

/// What a change of the members did.
#[derive(Debug, Default)]
pub struct Changes {
    /// The backends that were no members before.
    pub added: Vec<Arc<Backend>>,
    /// The backends that are no members any more. What is in flight there goes on.
    pub removed: Vec<Arc<Backend>>,
}

/// The members, and whose turn it is among them.
#[derive(Debug)]
pub(super) struct Roster {
    pub(super) members: Arc<[Member]>,
    pub(super) turns: Turns,
}

impl Roster {
    pub(super) fn new(members: Vec<Member>, seed: u64) -> Self {
        Self { turns: Turns::new(members.len(), seed), members: members.into() }
    }

    /// The place of a backend. It holds until the next change of the members.
    pub(super) fn place(&self, backend: &Arc<Backend>) -> Option<usize> {
        self.members.iter().position(|member| member.is(backend))
    }

    /// Puts other members in the place of these. A backend that stays keeps its credit in the turns.
    pub(super) fn replace(&mut self, members: Vec<Member>) -> Changes {
        // Picks wait meanwhile, so that no place is searched for.
        let (before, after) = (places(&self.members), places(&members));
        let kept: Vec<_> = members.iter().map(|member| before.get(&Arc::as_ptr(&member.backend)).copied()).collect();
        self.turns.rearrange(&kept);
        let left = mem::replace(&mut self.members, members.into());
        let added = self.members.iter().zip(kept).filter(|(_, place)| place.is_none());
        let removed = left.iter().filter(|member| !after.contains_key(&Arc::as_ptr(&member.backend)));
        Changes {
            added: added.map(|(member, _)| Arc::clone(&member.backend)).collect(),
            removed: removed.map(|member| Arc::clone(&member.backend)).collect(),
        }
    }
}

/// The place of each member, by its backend.
fn places(members: &[Member]) -> HashMap<*const Backend, usize> {
    members.iter().enumerate().map(|(place, member)| (Arc::as_ptr(&member.backend), place)).collect()
}
