//! Programs beside the proxy, built on its rooms.
//!
//! [`demo`] stages the whole promise on one machine; [`echo`] is the backend it uses, [`cutter`] its load balancer.

pub mod cutter;
pub mod demo;
pub mod echo;
