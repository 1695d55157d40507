//! What one instance takes, as it was measured. Each figure names the page and the row that it is from, and a test of `it` holds it
//! against that page.

/// A handshake and its close on one core, in microseconds of CPU: benches/RESULTS.md, `handshake-16`.
pub const HANDSHAKE_PLAIN_US: f64 = 96.9;
/// The same with a whole TLS handshake, as of a client that comes to an instance for the first time: benches/RESULTS.md, `tls-full`.
pub const HANDSHAKE_TLS_US: f64 = 357.0;
/// Bytes of user memory of an idle session, plain: benches/RESULTS.md, `idle`.
pub const IDLE_PLAIN: f64 = 615.0;
/// The same, with TLS toward the client: benches/RESULTS.md, `idle-tls`.
pub const IDLE_TLS: f64 = 8_101.0;
/// Bytes of user memory of a handshake whose backend has not answered yet, plain: benches/THREE.md.
pub const IN_FLIGHT_PLAIN: f64 = 30_700.0;
/// The same, with TLS toward the client: benches/THREE.md.
pub const IN_FLIGHT_TLS: f64 = 38_400.0;
/// Bytes of user memory of an instance without a session: benches/THREE.md.
pub const PROCESS: f64 = 12_800_000.0;
