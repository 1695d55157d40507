//! Programs beside the proxy, built on its rooms.
//!
//! [`demo`] shows on one machine what longwire promises. [`echo`] is its backend, [`cutter`] its load balancer. [`mod@bench`]
//! puts load on a WebSocket and measures the answers. [`probe`] finds the limits of a path. [`operator`] asks a running longwire.
//! [`import`] reads configurations of other proxies. [`explain`] reads the records that longwire has
//! written.

pub mod bench;
pub mod cutter;
pub mod demo;
pub mod echo;
pub mod explain;
pub mod import;
pub mod opening;
pub mod operator;
pub mod probe;
mod progress;
