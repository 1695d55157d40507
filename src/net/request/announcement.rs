//! The PROXY header with which a connection with a backend begins.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use hyper::HeaderMap;

use super::connection::{Connection, Entrance, TlsHello};
use crate::{
    access_log::TlsVersion,
    balance::Upstream,
    headers::{is_client_named, split_port},
    net::worker::plan::Plan,
    proxy_protocol::{HeaderAddresses, HeaderFacts},
    sender::Client,
};

/// The header that says whose request comes; empty if the upstream gets none. `host`: as the request names it.
pub(super) fn announcement(
    connection: &Connection,
    plan: &Plan,
    upstream: &Upstream,
    headers: &HeaderMap,
    host: &str,
    client: Client,
    request_id: &str,
) -> Vec<u8> {
    let Some(form) = upstream.proxy_protocol() else { return Vec::new() };
    let Entrance { sender, local, tls, hello, certificate, .. } = &connection.entrance;
    let (server_name, protocol) = match hello.as_deref() {
        Some(TlsHello { server_name, protocol }) => (server_name.as_deref(), protocol.as_deref()),
        None => (None, None),
    };
    let facts = HeaderFacts {
        authority: server_name.unwrap_or_else(|| split_port(host).0),
        unique_id: request_id,
        tls: tls.map(TlsVersion::as_str),
        is_verified: certificate.is_some(),
        alpn: protocol,
    };
    let source = sender.source(client, is_client_named(*sender, headers, &plan.config.trusted_proxies));
    // A client that a proxy at a Unix socket names has an address, though it came to none that is known.
    let unknown = |source: SocketAddr| match source {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    match source {
        Some(source) => {
            form.write(HeaderAddresses { source, destination: local.unwrap_or_else(|| unknown(source)) }, &facts)
        }
        None => form.without_client(),
    }
}
