//! Whom longwire believes as a backend, and who it says that it is: what the files of `upstreams.NAME.tls` hold.

use std::{fmt, path::Path, sync::Arc};

use ring::digest::{Context, SHA256};
use tokio_rustls::rustls::{
    self, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime},
    sign::CertifiedKey,
};

use super::{
    Authority, BackendTls,
    certificates::{TlsError, TlsErrorKind, read_chain, read_crls, read_pair},
    expiry,
};

/// What TLS to the backends of an upstream needs of the files.
#[derive(Debug)]
pub(crate) struct BackendTrust {
    roots: RootCertStore,
    crls: Vec<CertificateRevocationListDer<'static>>,
    /// Our certificate.
    pub(crate) certificate: Option<CertifiedKey>,
    /// The last second of our certificate, in Unix time.
    pub(crate) certificate_end: Option<i64>,
    /// Equal if the files hold the same.
    pub(crate) digest: ContentDigest,
}

/// A digest of what several files hold.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ContentDigest([u8; 32]);

impl BackendTrust {
    /// Reads all files that the settings name.
    ///
    /// # Errors
    /// The first file that is wrong.
    pub(crate) fn read(tls: &BackendTls, provider: &CryptoProvider) -> Result<Self, TlsError> {
        let (mut roots, mut contents) = (RootCertStore::empty(), Contents::new());
        if !tls.insecure {
            for authority in &tls.authorities {
                for certificate in read_authority(authority)? {
                    contents.add(&certificate);
                    // What is none, `read_authority` has refused or left to the system.
                    let _ = roots.add(certificate);
                }
                contents.end_part();
            }
        }
        let crls = tls.crl.as_deref().filter(|_| !tls.insecure).map(read_crls).transpose()?.unwrap_or_default();
        crls.iter().for_each(|crl| contents.add(crl));
        contents.end_part();
        let certificate = tls.certificate.as_ref().map(|files| read_pair(files, provider)).transpose()?;
        let certificate = certificate.map(|(certificate, _)| certificate);
        // The key is the one of the certificate, so the certificate tells which key it is.
        certificate.iter().flat_map(|certificate| &certificate.cert).for_each(|one| contents.add(one));
        let certificate_end = certificate.as_ref().and_then(|certificate| expiry::of_chain(&certificate.cert));
        let certificate_end = certificate_end.map(|end| end.as_second());
        Ok(Self { roots, crls, certificate, certificate_end, digest: contents.digest() })
    }

    /// What judges the certificates of backends by these settings.
    pub(crate) fn verifier(
        self,
        tls: &BackendTls,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
        if tls.insecure {
            return Ok(Arc::new(Anyone(Arc::clone(provider))));
        }
        // As OpenSSL has it, and so nginx and HAProxy: each certificate of the chain needs a list, and an old list counts as none.
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(self.roots), Arc::clone(provider))
            .with_crls(self.crls)
            .enforce_revocation_expiration()
            .build()
            .map_err(|error| TlsErrorKind::Setup(rustls::Error::General(error.to_string())).at(Path::new("tls")))?;
        Ok(match &tls.verify_name {
            Some(name) => Arc::new(Renaming { verifier, name: name.clone() }),
            None => verifier,
        })
    }
}

/// The certificates of an authority. Each of a file can be trusted; of the system's, some may be unreadable.
///
/// # Errors
/// A file that is wrong, or a system without any certificate.
pub(crate) fn read_authority(authority: &Authority) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let Authority::File(path) = authority else { return system_roots() };
    let certificates = read_chain(path)?;
    for certificate in &certificates {
        webpki::anchor_from_trusted_cert(certificate).map_err(|error| TlsErrorKind::BadAuthority(error).at(path))?;
    }
    Ok(certificates)
}

/// The authorities that this machine trusts, as OpenSSL finds them (`SSL_CERT_FILE`, `SSL_CERT_DIR`).
fn system_roots() -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let errors: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
        return Err(TlsErrorKind::NoSystemRoots(errors.join("; ")).at(Path::new("system")));
    }
    for error in found.errors {
        tracing::warn!(%error, "a part of the authorities that the system trusts cannot be read");
    }
    Ok(found.certs)
}

impl fmt::Debug for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ContentDigest").finish_non_exhaustive()
    }
}

/// Adds up what files hold.
struct Contents(Context);

impl Contents {
    fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    fn add(&mut self, item: &[u8]) {
        self.0.update(&[1]);
        self.0.update(&(item.len() as u64).to_be_bytes());
        self.0.update(item);
    }

    /// Items before and behind this count as different parts.
    fn end_part(&mut self) {
        self.0.update(&[0]);
    }

    fn digest(self) -> ContentDigest {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.finish().as_ref());
        ContentDigest(bytes)
    }
}

/// Verifies another name than the one that the server was asked for.
#[derive(Debug)]
struct Renaming {
    verifier: Arc<WebPkiServerVerifier>,
    name: ServerName<'static>,
}

impl ServerCertVerifier for Renaming {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verifier.verify_server_cert(end_entity, intermediates, &self.name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// Believes every server. It still checks that the server has the key of its certificate.
#[derive(Debug)]
pub(crate) struct Anyone(pub(crate) Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
