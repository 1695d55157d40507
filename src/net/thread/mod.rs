//! What wakes a thread, and the tasks without which the process must end.

pub(super) mod alarm;
pub(super) mod bell;
pub(super) mod door;
mod latch;
pub mod vital;
