//! A fleet of longwire instances in virtual time: sessions, their clients, the balancer in front and the backends behind. Pure: the same
//! rules and the same seed give the same run.

/// Milliseconds of virtual time.
pub type Millis = u32;

/// What one instance takes.
pub mod anchors;
/// How a client comes to its session.
mod arrival;
/// Who waits for a backend.
pub mod backends;
/// The delays of `longwire-client`.
pub mod client;
/// One process.
pub mod instance;
/// Shared limits, with Valkey and without.
pub mod limits;
/// Random numbers.
pub mod lots;
/// The balancer's table.
pub mod maglev;
/// What is done to the fleet.
pub mod orders;
/// What is seen of it.
pub mod record;
/// The runs that are shown.
pub mod scenarios;
/// One client.
pub mod seat;
/// What happens when.
pub mod wheel;
/// The whole.
pub mod world;
