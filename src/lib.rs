//! longwire: a reverse proxy that keeps WebSockets alive and says why they end.
//!
//! One session, read downwards: `net::listener` accepts, `net::connection` parses HTTP with hyper,
//! `net::proxy` routes, picks a backend, connects, checks the handshake and either forwards plain HTTP or hands
//! both streams to [`net::relay`], which drives a [`ws::session::Session`] until it ends and its
//! [`access_log::Record`] is written.
//!
//! The layer rule (kept by `tests/it/layers.rs`): what decides is pure and takes the time as an argument
//! ([`ws`], [`balance`], [`routing`], [`headers`], [`origins`], `config/resolve.rs`); only [`net`] and [`tools`] wait.

pub mod access_log;
pub mod balance;
pub mod cli;
pub mod commands;
pub mod config;
pub mod error;
pub mod headers;
pub mod lines;
pub mod metrics;
pub mod net;
pub mod origins;
pub mod routing;
pub mod tools;
#[cfg_attr(not(feature = "otlp"), path = "traces/off.rs")]
pub mod traces;
pub mod ws;
