//! The actions of a client, over plain TCP and over TLS.

use std::{net::SocketAddr, path::Path, sync::Arc};

use longwire::config::{ListenAddress, UnixName};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
        version::{TLS12, TLS13},
    },
};

use super::{Proxy, Response, Wire, frames::masked_close, wire::Head, within};

/// The four fields that make a request a WebSocket handshake, with the key of RFC 6455 §1.3.
pub const HANDSHAKE_HEADERS: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// The answer to this key, by RFC 6455 §1.3.
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A whole handshake. `more` holds further fields, each ended by CRLF.
pub fn handshake(path: &str, more: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: chat.example.com\r\n{HANDSHAKE_HEADERS}{more}\r\n")
}

impl Wire {
    /// A connection to `address`.
    pub async fn connect(address: SocketAddr) -> Self {
        within("a connection", TcpStream::connect(address)).await.expect("the address accepts").into()
    }

    /// A connection to a listener of either kind.
    pub async fn connect_at(address: &ListenAddress) -> Self {
        let path = match address {
            ListenAddress::Tcp(address) => return Self::connect(*address).await,
            ListenAddress::Unix(UnixName::Path(path)) => path.clone(),
            // An abstract name begins with a zero byte.
            ListenAddress::Unix(UnixName::Abstract(name)) => format!("\0{name}").into(),
        };
        within("a connection", UnixStream::connect(path)).await.expect("the socket accepts").into()
    }

    /// Sends a handshake and reads the 101 that must answer it.
    pub async fn upgrade(&mut self, path: &str) -> Head {
        self.send(handshake(path, "")).await;
        self.upgraded().await
    }

    /// Reads the 101 that must come next.
    pub async fn upgraded(&mut self) -> Head {
        let head = within("the answer to a handshake", self.head()).await;
        assert_eq!(head.status(), 101, "{}", head.as_str());
        assert_eq!(head.header("sec-websocket-accept"), Some(ACCEPT));
        head
    }

    /// Ends the session as a client that is done: a Close, its answer, the FIN of both sides.
    pub async fn leave(mut self) {
        self.send(masked_close(1000, "")).await;
        self.expect_close_code(1000).await;
        self.expect_eof().await;
        self.finish().await;
    }

    /// Sends a GET with `more` fields (each ended by CRLF) and reads its answer.
    pub async fn get(&mut self, path: &str, more: &str) -> Response {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: chat.example.com\r\n{more}\r\n")).await;
        self.response().await
    }

    /// Sends a handshake that must be refused, and reads the answer.
    pub async fn refused_upgrade(&mut self, path: &str) -> Response {
        self.send(handshake(path, "")).await;
        self.response().await
    }
}

/// A TLS client that trusts this certificate and speaks exactly these versions and protocols.
pub fn trusting(cert: &Path, versions: &[&'static SupportedProtocolVersion], alpn: &[&str]) -> TlsConnector {
    let versions = if versions.is_empty() { &[&TLS12, &TLS13] } else { versions };
    let mut config = ClientConfig::builder_with_protocol_versions(versions)
        .with_root_certificates(roots(cert))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

/// The certificates in a file, as those that a client trusts.
pub(super) fn roots(cert: &Path) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_file_iter(cert).expect("a certificate file") {
        roots.add(cert.expect("a certificate in PEM")).unwrap();
    }
    roots
}

/// A TLS connection to `address`, whose certificate must be good for `name`.
pub async fn tls_connect(connector: &TlsConnector, address: SocketAddr, name: &str) -> std::io::Result<Wire> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    Ok(within("a TLS handshake", connector.connect(name, tcp)).await?.into())
}

/// Sends one request over a new TLS connection. Returns whether the handshake was full or resumed an earlier session.
pub async fn visit(proxy: &Proxy, connector: &TlsConnector) -> HandshakeKind {
    visit_at(proxy.address(), connector).await
}

/// The same at one of several addresses.
pub async fn visit_at(address: SocketAddr, connector: &TlsConnector) -> HandshakeKind {
    let mut client = tls_connect(connector, address, "localhost").await.expect("a TLS handshake");
    // The ticket for the next connection comes with the answer.
    assert_eq!(client.get("/", "").await.status(), 200);
    client.tls().get_ref().1.handshake_kind().expect("a handshake")
}
