//! What an operator can change and see while the proxy runs.

pub(super) mod admin;
#[cfg(feature = "otlp")]
pub(super) mod collector;
pub mod control;
pub(super) mod desk;
pub(super) mod discovery;
mod explainer;
pub(super) mod fleet;
mod folder;
pub mod handover;
pub(super) mod history;
pub mod limits;
pub mod service_manager;
