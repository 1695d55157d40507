//! One binary for every end-to-end test: a file per behaviour, one harness.

#![allow(clippy::unwrap_used, unreachable_pub, missing_docs)]

/// Proxy, backends, clients, frames.
mod harness;

/// Where an operator looks and orders.
mod admin;
/// Which backend a request goes to.
mod balancing;
/// A side that breaks the protocol, and what the other one is told.
mod breach;
/// The close handshake and every other way a session ends.
mod close;
/// What an operator types.
mod commands;
/// What is said of every configuration, good and bad.
mod config;
/// The end of the process, announced.
mod drain;
/// Headers toward the backend and the client's address.
mod forwarding;
/// Frames of every size and cut.
mod framing;
/// What is a WebSocket handshake.
mod handshake;
/// Failures, the next backend, and the way back.
mod health;
/// Pings of our own.
mod keepalive;
/// Bugs that other proxies had.
mod known_bugs;
/// Large payloads, which are spliced.
mod large;
/// What the source may not say.
mod layers;
/// Messages on standard error.
mod messages;
/// Plain HTTP through the same door.
mod plain_http;
/// One line for every exchange.
mod record;
/// Answers that never become a session.
mod refusals;
/// Bytes through both directions, whole and in time.
mod relay;
/// Another configuration while sessions live.
mod reload;
/// Every wait on a client or a backend.
mod timeouts;
/// The same over TLS.
mod tls;
