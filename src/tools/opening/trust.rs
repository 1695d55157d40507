//! Which certificates of a `wss:` server are believed: those that the system trusts, or all.

use std::sync::Arc;

use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        client::Resumption,
        crypto::ring,
        version::{TLS12, TLS13},
    },
};

use super::OpenerError;
use crate::{config::trust::Anyone, net::front::tls::ALPN};

/// Makes a client of TLS. Without `resumption`, each connection makes a full handshake.
///
/// # Errors
/// The system has no certificates to trust. `SSL_CERT_FILE` can name others.
pub(super) fn connector(insecure: bool, resumption: bool) -> Result<TlsConnector, OpenerError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(OpenerError::Tls)?;
    let mut config = if insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider))).with_no_client_auth()
    } else {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(OpenerError::NoRoots);
        }
        builder.with_root_certificates(roots).with_no_client_auth()
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    if !resumption {
        config.resumption = Resumption::disabled();
    }
    Ok(TlsConnector::from(Arc::new(config)))
}
