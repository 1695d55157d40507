//! One binary for every end-to-end test: a file per behaviour, one harness.

#![allow(clippy::unwrap_used, unreachable_pub, missing_docs)]
#![expect(clippy::disallowed_types, reason = "the clients and backends of a test wait in the test's own runtime")]

/// Proxy, backends, clients, frames.
mod harness;

/// Active checks of backends.
mod active_health;
/// The admin interface.
mod admin;
/// Who may use a route, by address.
mod allow_deny;
/// The service that a route asks about each request.
mod auth_request;
/// TLS to backends.
mod backend_tls;
/// Which backend a request goes to.
mod balancing;
/// A side that breaks the protocol, and what the other side is told.
mod breach;
/// Sessions that carry as much as they can, beside other clients.
mod bulk;
/// Certificates of clients: who is let in, and what the backend is told.
mod client_certificates;
/// The close handshake and every other way a session ends.
mod close;
/// Sessions that are read together.
mod coalesce;
/// Clients that go away and come back to their sessions.
mod comebacks;
/// The commands of an operator.
mod commands;
/// The messages about every configuration, good and bad.
mod config;
/// The hash of what a configuration means.
mod config_hash;
/// Frame headers of chosen sessions.
mod debug;
/// Backends that come and go without a reload.
mod discovery;
/// The promises of the documents.
mod documents;
/// The end of the process, announced.
mod drain;
/// Answers of backends, read by longwire itself and by hyper.
mod exchanges;
/// What the records of many sessions have in common.
mod explain;
/// Every cause, named alike by the log, the metrics and the page.
mod explained;
/// Parts that die, though none should.
mod failures;
/// Backends and clients that die, hang, vanish and return.
mod faults;
/// What the process itself says of the ends of the last hour.
mod findings;
/// Limits that hold for several proxies together, by counts in a Valkey.
mod fleet;
/// A fleet in virtual time.
mod fleet_model;
/// Headers toward the backend and the client's address.
mod forwarding;
/// Frames of every size and cut.
mod framing;
/// The checks of the fuzz targets, on random input.
mod fuzzing;
/// Listening sockets that go from process to process.
mod handover;
/// Which requests are WebSocket handshakes.
mod handshake;
/// Handshakes in flight, and the line of those that wait for a place.
mod handshake_queue;
/// Fields that a route removes, sets and adds.
mod header_rules;
/// Failures, the next backend, and the way back.
mod health;
/// Sessions that outlive their backends.
mod hold;
/// Attacks: floods, resets, garbage, a machine that runs out of something.
mod hostile;
/// Configurations of other proxies, made into our own.
mod import;
/// Pings of longwire.
mod keepalive;
/// Bugs that other proxies had.
mod known_bugs;
/// Paths whose limits the file names.
mod known_path;
/// The manifests for Kubernetes, beside the file that is in them.
mod kubernetes;
/// Large payloads, which are spliced.
mod large;
/// Records and messages at the end of the process.
mod last_words;
/// Words that the source of a pure room may not have.
mod layers;
/// Intervals of pings that are learned from the ends of sessions.
mod learning;
/// A process that is about to end: who still comes, and what it leaves to its successor.
mod leaving;
/// Refusals of too much.
mod limits;
/// Messages on standard error.
mod messages;
/// The metrics of all sessions.
mod metrics;
/// Strange requests and answers of real programs.
mod oddities;
/// Orders, which end with the thing that they are about.
mod orders;
/// What is known of paths.
mod paths;
/// Plain HTTP through the same listeners.
mod plain_http;
/// Connections with backends that are used again.
mod pool;
/// What a path does with silent and old connections, found out by `longwire probe`.
mod probe;
/// The far end of probes.
mod probe_end;
/// The PROXY protocol, from proxies in front and toward backends.
mod proxy_protocol;
/// Sessions that leave so that loads even out.
mod rebalance;
/// One record for every exchange.
mod record;
/// Redirects to https.
mod redirects;
/// Answers that begin no session.
mod refusals;
/// Bytes through both directions, whole and in time.
mod relay;
/// Another configuration while sessions live.
mod reload;
/// Each key of the file: a reload changes it, or says that it needs a restart.
mod reload_keys;
/// What handshakes on a route with `resume` are told.
mod resume;
/// Offers to come back to a session, on routes that do not resume.
mod resume_offers;
/// The path that a backend gets.
mod rewriting;
/// For how long no byte had passed when a session ended, as its record says.
mod silence;
/// Reloads whose files come slowly.
mod slow_reload;
/// The cookie by which a client comes back to its backend.
mod sticky_cookie;
/// The deadline of every wait on a client or a backend.
mod timeouts;
/// The same sessions over TLS.
mod tls;
/// A span for every handshake.
#[cfg(feature = "otlp")]
mod traces;
/// Backends at Unix sockets.
mod unix_backends;
/// Listeners at Unix sockets.
mod unix_listeners;
/// The program of the disk takes over from the process that runs.
mod upgrade;
/// A process that reloads by itself when its files change.
mod watch;
