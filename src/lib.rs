//! longwire: a reverse proxy that keeps WebSockets alive and says why they end.
//!
//! A session runs through the code in this order:
//!
//! 1. `net::front::listener` accepts a connection.
//! 2. `net::front::serve` has hyper parse its HTTP.
//! 3. `net::request::proxy` finds the route, picks a backend, connects, and checks the handshake.
//! 4. `net::request::proxy` then forwards plain HTTP, or hands both streams to [`net::session::relay`].
//! 5. [`net::session::relay`] drives a [`ws::session::Session`] until the session ends. Then its [`access_log::Record`] is
//!    written.
//!
//! The layer rule (kept by `tests/it/layers.rs`): the rooms that decide are pure and take the time as an argument.
//! These are [`ws`], [`balance`], [`routing`], [`headers`], [`sender`], [`paths`], [`proxy_protocol`], [`hosts`],
//! [`origins`], [`import`], [`explain`], [`learning`], [`fleet`] and `config/resolve.rs`. On the path of a request only [`net`] and
//! [`tools`] wait.

pub mod access_log;
pub mod balance;
pub mod cli;
pub mod commands;
pub mod config;
pub mod discovery;
pub mod error;
pub mod explain;
pub mod fleet;
pub mod headers;
pub mod hosts;
pub mod import;
pub mod learning;
pub mod lines;
pub mod metrics;
pub mod net;
pub mod origins;
pub mod outcome;
pub mod paths;
pub mod proxy_protocol;
pub mod routing;
pub mod sender;
mod sync;
#[expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "programs of their own, in which no session of somebody else waits"
)]
pub mod tools;
#[cfg_attr(not(feature = "otlp"), path = "traces/off.rs")]
pub mod traces;
pub mod ws;
