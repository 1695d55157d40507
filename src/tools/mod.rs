//! Programs beside the proxy, built on its rooms.
//!
//! [`demo`] stages the whole promise on one machine; [`echo`] is the backend it uses, [`cutter`] its load balancer.
//! [`mod@bench`] puts load on a WebSocket and measures what comes back. [`operator`] asks a running longwire.

pub mod bench;
pub mod cutter;
pub mod demo;
pub mod echo;
mod frames;
pub mod operator;
