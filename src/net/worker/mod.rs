//! What a worker has, and what all workers share.

pub(super) mod lessons;
pub(super) mod memory;
pub(super) mod nonces;
pub(super) mod plan;
pub(super) mod probe_place;
pub(super) mod shared;
pub(super) mod terms;
