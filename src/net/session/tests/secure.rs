//! TLS on a side of a session: toward a client we are the server, toward a backend the client.

use std::sync::LazyLock;

use tokio_rustls::{
    TlsAcceptor, TlsConnector, TlsStream,
    rustls::{ClientConfig, RootCertStore, ServerConfig, pki_types::PrivateKeyDer},
};

use super::*;

/// The far end's and our configuration, or the reverse.
static CONFIGS: LazyLock<(Arc<ServerConfig>, Arc<ClientConfig>)> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let server = ServerConfig::builder().with_no_client_auth();
    let server = server.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    (Arc::new(server), Arc::new(client))
});

/// Speaks TLS on both ends of a connection by TCP. Needs a loop that is driven.
pub(super) async fn secured(side: Side, (near, far): (Stream, Far)) -> (Stream, Far) {
    let (Stream::Plain(ours), Stream::Plain(theirs)) = (near, far.stream) else { panic!("no TCP") };
    let (server, client) = if side == Client { (ours, theirs) } else { (theirs, ours) };
    let (acceptor, connector) = (TlsAcceptor::from(CONFIGS.0.clone()), TlsConnector::from(CONFIGS.1.clone()));
    let name = "localhost".try_into().unwrap();
    let (server, client) = tokio::join!(acceptor.accept(server), connector.connect(name, client));
    let server = Stream::Tls(Box::new(TlsStream::Server(server.unwrap())));
    let client = Stream::Tls(Box::new(TlsStream::Client(client.unwrap())));
    let (near, stream) = if side == Client { (server, client) } else { (client, server) };
    (near, Far { stream, ..far })
}
