//! TLS to backends.
//!
//! All workers and checks share the client configuration of an upstream. It goes on over a reload as long as the file and the
//! files that it names say the same. So connections resume earlier sessions, because rustls resumes no session of another
//! configuration.

use std::{
    io,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::time::{Instant, timeout_at};
use tokio_rustls::{
    TlsConnector, TlsStream, client,
    rustls::{
        self, ClientConfig, HandshakeKind,
        client::Resumption,
        crypto::ring,
        pki_types::ServerName,
        sign::SingleCertAndKey,
        version::{TLS12, TLS13},
    },
};

use super::resumption::{RecentPlaces, Resumable};
use crate::{
    config::{
        BackendTls,
        certificates::{TlsError, TlsErrorKind},
        server_name,
        trust::{BackendTrust, ContentDigest},
    },
    error::{Error, Kind},
    metrics::HandshakeCounts,
    net::stream::{
        plain_or_tls::{ALPN, Stream},
        sockets::Socket,
    },
};

/// The most bytes of the text of a failure. A certificate can have thousands of names, and rustls tells them all.
const LONGEST_REASON: usize = 300;

/// How longwire speaks TLS to the backends of an upstream.
#[derive(Debug)]
pub(in crate::net) struct ClientTls {
    config: ClientConfig,
    /// The same configuration for each place, with what can be resumed there. A lock, held for a look-up in a handshake.
    places: Mutex<RecentPlaces<ResumptionPlace, Arc<ClientConfig>>>,
    pub(in crate::net) settings: BackendTls,
    /// The last second of our certificate, in Unix time.
    pub(in crate::net) certificate_end: Option<i64>,
    digest: ContentDigest,
    counts: HandshakeCounts,
}

/// Where sessions may be resumed. A session that was agreed on under one name proves nothing of another name.
/// The text is the address that answered, or the name of the Unix socket.
type ResumptionPlace = (String, ServerName<'static>);

impl ClientTls {
    /// Reads the files that the settings name. Returns `running` if all is as it was when that was made.
    ///
    /// # Errors
    /// The first file that is wrong.
    pub(in crate::net) fn load(
        settings: &BackendTls,
        running: Option<&Arc<Self>>,
        counts: impl FnOnce() -> HandshakeCounts,
    ) -> Result<Arc<Self>, TlsError> {
        Self::load_for(&[ALPN], settings, running, counts)
    }

    /// [`Self::load`], for a server that does not speak HTTP. `running`: one that was made here, too.
    ///
    /// # Errors
    /// The first file that is wrong.
    pub(in crate::net) fn load_for_other(
        settings: &BackendTls,
        running: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, TlsError> {
        Self::load_for(&[], settings, running, HandshakeCounts::default)
    }

    fn load_for(
        protocols: &[&[u8]],
        settings: &BackendTls,
        running: Option<&Arc<Self>>,
        counts: impl FnOnce() -> HandshakeCounts,
    ) -> Result<Arc<Self>, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let mut trust = BackendTrust::read(settings, &provider)?;
        if let Some(running) = running.filter(|tls| tls.settings == *settings && tls.digest == trust.digest) {
            return Ok(Arc::clone(running));
        }
        let (certificate, certificate_end) = (trust.certificate.take(), trust.certificate_end);
        let digest = trust.digest.clone();
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| TlsErrorKind::Setup(error).at(Path::new("tls")))?
            .dangerous()
            .with_custom_certificate_verifier(trust.verifier(settings, &provider)?);
        let mut config = match certificate {
            Some(certificate) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certificate))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        config.enable_sni = settings.sni;
        config.resumption = Resumption::disabled();
        let (settings, counts, places) = (settings.clone(), counts(), Mutex::default());
        Ok(Arc::new(Self { config, places, settings, certificate_end, digest, counts }))
    }

    /// Speaks TLS from now on, on a connection to the backend that is called by this `host:port` or `unix:…`. `peer`: the
    /// address that answered; `None` = a Unix socket.
    ///
    /// # Errors
    /// [`Kind::BackendTls`], [`Kind::ConnectTimeout`].
    pub(super) async fn secure(
        &self,
        (socket, peer): (Socket, Option<SocketAddr>),
        authority: &str,
        deadline: Instant,
    ) -> Result<Stream, Error> {
        let secured = match timeout_at(deadline, self.handshake(socket, peer, authority)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(Error::from_source(Kind::BackendTls, reason(&error))),
            Err(_) => Err(Error::from_source(Kind::ConnectTimeout, "the TLS handshake took too long")),
        };
        let count = match &secured {
            Ok(stream) if stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed) => &self.counts.resumed,
            Ok(_) => &self.counts.full,
            Err(_) => &self.counts.failed,
        };
        count.inc();
        Ok(Stream::Tls(Box::new(TlsStream::Client(secured?))))
    }

    async fn handshake(
        &self,
        socket: Socket,
        peer: Option<SocketAddr>,
        authority: &str,
    ) -> io::Result<client::TlsStream<Socket>> {
        let name = match &self.settings.server_name {
            Some(name) => name.clone(),
            None => server_name::of_backend(authority).ok_or(io::ErrorKind::InvalidInput)?,
        };
        let place = peer.map_or_else(|| authority.to_owned(), |peer| peer.to_string());
        TlsConnector::from(self.config_of((place, name.clone()))).connect(name, socket).await
    }

    fn config_of(&self, place: ResumptionPlace) -> Arc<ClientConfig> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.of(place, || {
            let mut config = self.config.clone();
            config.resumption = Resumption::store(Arc::new(Resumable::default()));
            Arc::new(config)
        })
    }
}

/// The failure of a connection over which a request was sent, before the head of its answer had come. `written`: what became
/// of the request.
///
/// A TLS 1.3 backend looks at our certificate, or misses it, when our side of the handshake has ended already (RFC 8446
/// §4.4.2.4). So its alert comes in the place of an answer.
pub(super) fn lost(error: io::Error, written: io::Result<()>) -> Error {
    match is_of_tls(&error) {
        true => after_handshake(&error),
        false => Error::from_source(Kind::ClosedEarly, written.err().unwrap_or(error)),
    }
}

/// The same, if TLS itself failed.
pub(super) fn after_handshake(error: &io::Error) -> Error {
    Error::from_source(Kind::BackendTls, reason(error)).after_sending()
}

/// Why TLS failed, in rustls' words.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let end = (0..=text.len().min(LONGEST_REASON)).rfind(|end| text.is_char_boundary(*end)).unwrap_or_default();
    text[..end].to_owned()
}

/// Whether TLS itself failed, and not the connection underneath.
pub(super) fn is_of_tls(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|source| source.is::<rustls::Error>())
}
