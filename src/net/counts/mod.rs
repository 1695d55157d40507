//! What is counted and bounded for the whole process: connections, sessions, bytes that wait. Each count is a guard.

pub(super) mod admission;
pub(super) mod fleet;
pub(super) mod live;
pub(super) mod unsent;
pub(super) mod wrong_tokens;
