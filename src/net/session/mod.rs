//! Upgraded sessions: what each one holds, the loop that gives them turns, and the relay of their bytes.

pub(super) mod dismissal;
pub(super) mod held;
pub(super) mod loss;
pub(super) mod reclaim;
pub(super) mod redial;
pub mod relay;
mod returning;
pub(super) mod rota;
pub(super) mod sessions;
pub(super) mod stay;
#[cfg(test)]
mod tests;
