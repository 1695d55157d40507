//! One binary for every end-to-end test: a file per behaviour, one harness.

#![allow(clippy::unwrap_used, unreachable_pub, missing_docs)]

/// Proxy, backends, clients, frames.
mod harness;

/// Backends that are asked on a beat how they are.
mod active_health;
/// Where an operator looks and orders.
mod admin;
/// Which backend a request goes to.
mod balancing;
/// A side that breaks the protocol, and what the other one is told.
mod breach;
/// Sessions that carry as much as they can, and whoever is beside them.
mod bulk;
/// The close handshake and every other way a session ends.
mod close;
/// Sessions that are read together.
mod coalesce;
/// What an operator types.
mod commands;
/// What is said of every configuration, good and bad.
mod config;
/// Frame headers of chosen sessions.
mod debug;
/// What the documents promise.
mod documents;
/// The end of the process, announced.
mod drain;
/// Answers of backends, read by us and by hyper.
mod exchanges;
/// Every cause, told alike by the log, the metrics and the page.
mod explained;
/// Parts that die though none should.
mod failures;
/// Backends and clients that die, hang, vanish and return.
mod faults;
/// Headers toward the backend and the client's address.
mod forwarding;
/// Frames of every size and cut.
mod framing;
/// What the fuzz targets check, on random input.
mod fuzzing;
/// Listening sockets that go from process to process.
mod handover;
/// What is a WebSocket handshake.
mod handshake;
/// Handshakes in flight, and the line for a place.
mod handshake_queue;
/// Failures, the next backend, and the way back.
mod health;
/// Attacks: floods, resets, garbage, a machine that runs out.
mod hostile;
/// Pings of our own.
mod keepalive;
/// Bugs that other proxies had.
mod known_bugs;
/// Large payloads, which are spliced.
mod large;
/// Records and messages at the end of the process.
mod last_words;
/// What the source may not say.
mod layers;
/// What comes to a process that is about to end, and what it leaves to the next.
mod leaving;
/// What is refused because it is too much.
mod limits;
/// Messages on standard error.
mod messages;
/// What a machine reads of all sessions.
mod metrics;
/// Plain HTTP through the same door.
mod oddities;
/// What was ordered ends with what it was about.
mod orders;
mod plain_http;
/// Connections with backends that are used again.
mod pool;
/// One line for every exchange.
mod record;
/// Answers that never become a session.
mod refusals;
/// Bytes through both directions, whole and in time.
mod relay;
/// Another configuration while sessions live.
mod reload;
/// Each key of the file, changed or told.
mod reload_keys;
/// Every wait on a client or a backend.
mod timeouts;
/// The same over TLS.
mod tls;
/// A span for every handshake.
#[cfg(feature = "otlp")]
mod traces;
