//! One request, from its head to its answer or its session.

mod admitting;
mod announcement;
pub(super) mod answer;
mod answer_rules;
mod asked;
pub(super) mod attempts;
mod auth;
pub(super) mod comeback;
pub(super) mod connection;
pub(super) mod farewell;
mod kept_head;
mod own_answer;
pub(super) mod probe_end;
pub(super) mod proxy;
mod resuming;
mod stickiness;
mod successor;
mod taking;
