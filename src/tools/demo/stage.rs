//! What the demo sets up, all on loopback: backends, the proxy, and load balancers that cut idle connections.
//!
//! ```text
//! client ── cutter ── backend "one"
//! client ── cutter ── longwire ── backends "one", "two"
//! ```

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use serde_json::json;
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinSet};

use super::DemoError;
use crate::{
    access_log::AccessLog,
    config::{self, Admin, AdminBind, Config, ListenAddress},
    discovery::BackendEntry,
    net::server::Server,
    tools::{cutter, echo},
    ws::keepalive::SideTimes,
};

/// How long the sessions have to end. The person who watches the demo waits for this.
const DRAIN: Duration = Duration::from_secs(2);

/// All programs of the demo. When this value is dropped, they end.
#[derive(Debug)]
pub(super) struct Stage {
    /// The listeners of longwire, in the order of the file.
    pub(super) fronts: Vec<Front>,
    /// The backends of longwire.
    pub(super) backends: Vec<SocketAddr>,
    /// The load balancer before a bare backend.
    pub(super) bare: SocketAddr,
    /// The load balancer before longwire's first listener without TLS.
    pub(super) kept: SocketAddr,
    server: Server,
    /// Echo backends and cutters.
    programs: JoinSet<()>,
    /// The folder in which self-signed certificates are made. It is removed at the end.
    _certificates: TempDir,
}

/// A listener of longwire, and the load balancer before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Front {
    /// The port that the file names.
    pub(super) wanted: u16,
    /// The address on which longwire listens.
    pub(super) listener: SocketAddr,
    /// The address on which the load balancer in front of longwire listens.
    pub(super) cutter: SocketAddr,
    /// Whether the listener speaks TLS.
    pub(super) tls: bool,
}

impl Stage {
    /// Starts all programs, and returns when all of them accept.
    ///
    /// # Errors
    /// No port is free, or the proxy does not start.
    pub(super) async fn start(cut: Duration, ping_interval: Duration) -> Result<Self, DemoError> {
        let first = bind().await?;
        let second = bind().await?;
        let backends = vec![first.local_addr()?, second.local_addr()?];

        let certificates = TempDir::with_prefix("longwire-demo-")?;
        let mut config = config::parse(config::SHIPPED, "proxy.yaml", certificates.path())
            .map_err(|wrong| DemoError::Config(wrong.to_string()))?
            .config;
        let wanted: Vec<u16> =
            config.listeners.iter().filter_map(|listener| listener.bind.tcp()).map(|bind| bind.port()).collect();
        adapt(&mut config, &backends, ping_interval);
        let tls: Vec<bool> = config.listeners.iter().map(|listener| listener.tls.is_some()).collect();
        let access_log = AccessLog::new(config.log.format, io::sink())?;
        let server = Server::start(config, access_log).map_err(DemoError::Start)?;

        let mut programs = JoinSet::new();
        let mut fronts = Vec::new();
        let addresses: Vec<_> = server.addresses().iter().filter_map(ListenAddress::tcp).collect();
        for ((listener, wanted), tls) in addresses.into_iter().zip(wanted).zip(tls) {
            let cutter = start_cutter(&mut programs, listener, cut).await?;
            fronts.push(Front { wanted, listener, cutter, tls });
        }
        let bare = start_cutter(&mut programs, backends[0], cut).await?;

        let kept = fronts.iter().find(|front| !front.tls).ok_or(DemoError::NoPlainListener)?.cutter;
        let told = json!({
            "cut_ms": cut.as_millis(),
            "ping_interval_ms": ping_interval.as_millis(),
            "bare": bare.to_string(),
            "longwire": kept.to_string(),
        });
        for (listener, name) in [(first, "one"), (second, "two")] {
            let backend = echo::BackendIdentity { name, stage: Some(told.to_string()) };
            programs.spawn(echo::serve(listener, backend));
        }
        Ok(Self { fronts, backends, bare, kept, server, programs, _certificates: certificates })
    }

    /// The address of longwire's admin interface.
    pub(super) fn admin(&self) -> Option<AdminBind> {
        self.server.control().admin_address()
    }

    /// Drains the proxy, then ends the other programs.
    pub(super) async fn end(mut self) {
        self.server.drain().await;
        self.programs.shutdown().await;
    }
}

/// Adapts the shipped configuration to the demo: loopback only, free ports, the demo's backends and its ping interval.
fn adapt(config: &mut Config, backends: &[SocketAddr], ping_interval: Duration) {
    for listener in &mut config.listeners {
        if let ListenAddress::Tcp(bind) = &mut listener.bind {
            *bind = free_on_loopback(*bind);
        }
    }
    for (upstream, entries) in config.upstreams.iter_mut().zip(&mut config.backend_entries) {
        for (backend, address) in upstream.backends.iter_mut().zip(backends.iter().cycle()) {
            backend.address = address.to_string();
        }
        *entries = upstream.backends.iter().cloned().map(BackendEntry::Named).collect();
    }
    for route in config.routes.routes_mut() {
        route.keepalive.ping_interval = SideTimes::of_both(Some(ping_interval));
    }
    if let Some(Admin { bind: AdminBind::Tcp(address), .. }) = &mut config.admin {
        *address = free_on_loopback(*address);
    }
    config.timeouts.drain = DRAIN;
}

/// The same port on loopback, or port 0 (any free port) if the port is taken.
fn free_on_loopback(bind: SocketAddr) -> SocketAddr {
    let loopback = match bind.ip() {
        IpAddr::V4(_) => IpAddr::from(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::from(Ipv6Addr::LOCALHOST),
    };
    let wanted = SocketAddr::new(loopback, bind.port());
    match std::net::TcpListener::bind(wanted) {
        Ok(_) => wanted,
        Err(_) => SocketAddr::new(loopback, 0),
    }
}

async fn start_cutter(programs: &mut JoinSet<()>, to: SocketAddr, cut: Duration) -> io::Result<SocketAddr> {
    let listener = bind().await?;
    let address = listener.local_addr()?;
    programs.spawn(cutter::serve(listener, to, cut));
    Ok(address)
}

async fn bind() -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_port_gives_way_to_any_free_one() {
        let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = holder.local_addr().unwrap().port();
        assert_eq!(free_on_loopback(SocketAddr::from(([0, 0, 0, 0], taken))), "127.0.0.1:0".parse().unwrap());
    }
}
