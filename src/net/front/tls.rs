//! TLS of the listeners: certificates from PEM files, chosen by SNI; certificates of clients; TLS 1.2 and 1.3; ALPN
//! `http/1.1`.

use std::{collections::HashMap, fmt, path::Path, sync::Arc};

use tokio_rustls::rustls::{
    ServerConfig,
    crypto::{CryptoProvider, ring},
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};

use super::tickets::{ListenerTickets, Tickets};
use crate::config::{
    CertificateFiles, Tls,
    certificates::{
        TlsError, TlsErrorKind,
        clients::{self, ClientVerifier},
        make_self_signed, pair_to_make, read_pair,
    },
};
pub use crate::net::stream::plain_or_tls::ALPN;

/// Tickets for each TLS 1.3 handshake. A client should use a ticket for one handshake only (RFC 8446 §C.4), and gets
/// another with that handshake. A WebSocket that reconnects needs one. A browser that comes with several connections at
/// once begins with as many full handshakes anyway.
const TICKETS: usize = 1;

/// The TLS of a listener whose address is not known yet, as it is before the listener is bound.
#[derive(Debug)]
pub struct ListenerTls {
    config: ServerConfig,
    tickets: Arc<Tickets>,
    clients: Option<ClientVerifier>,
}

impl ListenerTls {
    /// What a listener needs to accept TLS at its address.
    #[must_use]
    pub fn at(self, address: impl fmt::Display) -> Arc<ServerConfig> {
        let Self { mut config, tickets, clients } = self;
        config.ticketer = Arc::new(ListenerTickets::new(tickets, address, clients.as_ref()));
        Arc::new(config)
    }
}

/// Reads the certificates, and what clients must show. If the file asks for a self-signed certificate that is not there
/// yet, this makes it first.
///
/// Sessions are resumed by `tickets`, whose keys all listeners share; nothing is kept per client.
///
/// # Errors
/// The first file that is wrong.
pub fn load(tls: &Tls, tickets: &Arc<Tickets>) -> Result<ListenerTls, TlsError> {
    if let Some(files) = pair_to_make(tls)? {
        make_self_signed(files)?;
    }
    let provider = Arc::new(ring::default_provider());
    let certificates = Certificates::read(&tls.certificates, &provider)?;
    let clients = tls.client_auth.as_ref().map(|trust| clients::read(trust, &provider)).transpose()?;
    let setup = |error| TlsErrorKind::Setup(error).at(Path::new("tls"));
    let builder =
        ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13, &TLS12]).map_err(setup)?;
    let builder = match &clients {
        Some(clients) => builder.with_client_cert_verifier(Arc::clone(&clients.verifier)),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(certificates));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = TICKETS;
    Ok(ListenerTls { config, tickets: Arc::clone(tickets), clients })
}

/// The certificates of a listener, by the names in them.
#[derive(Debug)]
struct Certificates {
    /// Names are in lower case, wildcards as `*.example.com`. If two certificates have one name, the first has it here.
    by_name: HashMap<String, Arc<CertifiedKey>>,
    /// For clients that ask for none of these names, or for no name.
    default: Arc<CertifiedKey>,
}

impl Certificates {
    fn read(pairs: &[CertificateFiles], provider: &CryptoProvider) -> Result<Self, TlsError> {
        let mut by_name = HashMap::new();
        let mut default = None;
        for files in pairs {
            let (certificate, names) = read_pair(files, provider)?;
            let certificate = Arc::new(certificate);
            for name in names {
                by_name.entry(name).or_insert_with(|| Arc::clone(&certificate));
            }
            default.get_or_insert(certificate);
        }
        let default = default.ok_or_else(|| TlsErrorKind::NoCertificate.at(Path::new("tls")))?;
        Ok(Self { by_name, default })
    }

    /// An exact name goes before a wildcard, which stands for exactly one label (RFC 6125 §6.4.3). rustls gives names
    /// in lower case.
    fn choose(&self, server_name: Option<&str>) -> &Arc<CertifiedKey> {
        let find = |name: &str| {
            self.by_name.get(name).or_else(|| {
                let (_, parent) = name.split_once('.')?;
                self.by_name.get(&format!("*.{parent}"))
            })
        };
        server_name.and_then(find).unwrap_or(&self.default)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(self.choose(hello.server_name())))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
