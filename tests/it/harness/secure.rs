//! Backends behind TLS, and the authority that signs their certificates.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        HandshakeKind, ProtocolVersion, RootCertStore, ServerConfig, SupportedProtocolVersion,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::WebPkiClientVerifier,
        version::{TLS12, TLS13},
    },
    server::TlsStream,
};

use super::{Backend, Wire};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A certificate authority of a test.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate with its key.
pub struct Certified {
    pub cert: String,
    pub key: String,
    serial: SerialNumber,
}

/// What a backend saw of a TLS handshake.
#[derive(Debug, Clone)]
pub struct Seen {
    pub kind: HandshakeKind,
    pub version: ProtocolVersion,
    /// The name that the client asked for.
    pub name: Option<String>,
    pub has_client_certificate: bool,
}

/// The handshakes that a backend has completed, in order.
#[derive(Debug, Clone, Default)]
pub struct Handshakes(Arc<Mutex<Vec<Seen>>>);

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Its own certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for these host names and addresses.
    pub fn sign(&self, names: &[&str]) -> Certified {
        self.sign_with(names, |_| {})
    }

    /// A certificate that was good until yesterday.
    pub fn sign_expired(&self, names: &[&str]) -> Certified {
        self.sign_with(names, |params| params.not_after = (SystemTime::now() - DAY).into())
    }

    fn sign_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Certified {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        let serial = next_serial();
        params.distinguished_name.push(DnType::CommonName, "a certificate");
        params.serial_number = Some(serial.clone());
        params.not_before = (SystemTime::now() - 10 * DAY).into();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap().pem();
        Certified { cert, key: key.serialize_pem(), serial }
    }

    /// A revocation list with these certificates. `is_old`: the next list was due yesterday.
    pub fn revoke(&self, certificates: &[&Certified], is_old: bool) -> String {
        let now = SystemTime::now();
        let next = if is_old { now - DAY } else { now + DAY };
        let revoked = certificates.iter().map(|certificate| RevokedCertParams {
            serial_number: certificate.serial.clone(),
            revocation_time: (now - 2 * DAY).into(),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: (now - 2 * DAY).into(),
            next_update: next.into(),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

/// A serial number that no other certificate has.
fn next_serial() -> SerialNumber {
    static NEXT: AtomicU64 = AtomicU64::new(1 << 32);
    SerialNumber::from(NEXT.fetch_add(1, Relaxed))
}

impl Certified {
    /// Writes `NAME.crt` and `NAME.key`.
    pub fn write(&self, folder: &Path, name: &str) {
        fs_err::write(folder.join(format!("{name}.crt")), &self.cert).unwrap();
        fs_err::write(folder.join(format!("{name}.key")), &self.key).unwrap();
    }

    /// A TLS server with this certificate. `versions`: empty = TLS 1.2 and 1.3. `clients`: who must have signed the
    /// certificate that a client must show.
    pub fn server(&self, versions: &[&'static SupportedProtocolVersion], clients: Option<&Authority>) -> ServerConfig {
        let versions = if versions.is_empty() { &[&TLS12, &TLS13] } else { versions };
        let chain = CertificateDer::pem_slice_iter(self.cert.as_bytes()).collect::<Result<_, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        let builder = ServerConfig::builder_with_protocol_versions(versions);
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
                builder.with_client_cert_verifier(WebPkiClientVerifier::builder(roots.into()).build().unwrap())
            }
        };
        let mut config = builder.with_single_cert(chain, key).unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config
    }
}

impl Handshakes {
    /// What the backend saw so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.0.lock().unwrap().clone()
    }

    /// Whether they were full or resumed, so far.
    pub fn kinds(&self) -> Vec<HandshakeKind> {
        self.seen().iter().map(|seen| seen.kind).collect()
    }

    fn note(&self, stream: &TlsStream<TcpStream>) {
        let tls = stream.get_ref().1;
        self.0.lock().unwrap().push(Seen {
            kind: tls.handshake_kind().unwrap(),
            version: tls.protocol_version().unwrap(),
            name: tls.server_name().map(str::to_owned),
            has_client_certificate: tls.peer_certificates().is_some(),
        });
    }
}

impl Backend {
    /// Runs `script` for every connection on which a TLS handshake has succeeded.
    pub fn secure<S, F>(config: ServerConfig, script: S) -> (Self, Handshakes)
    where
        S: Fn(Self, TlsStream<TcpStream>) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let (acceptor, handshakes) = (TlsAcceptor::from(Arc::new(config)), Handshakes::default());
        let (script, seen) = (Arc::new(script), handshakes.clone());
        let backend = Self::raw(move |backend, wire: Wire| {
            let (acceptor, script, seen) = (acceptor.clone(), Arc::clone(&script), seen.clone());
            async move {
                // Tests of failures look at what the client tells.
                if let Ok(stream) = acceptor.accept(wire.into_tcp()).await {
                    seen.note(&stream);
                    script(backend, stream).await;
                }
            }
        });
        (backend, handshakes)
    }

    /// [`Backend::echo`] behind TLS.
    pub fn secure_echo(config: ServerConfig) -> (Self, Handshakes) {
        Self::secure(config, |backend, stream| backend.echo_on(Wire::from(stream)))
    }

    /// [`Backend::by_hand`] behind TLS.
    pub fn secure_by_hand(config: ServerConfig) -> (Self, Handshakes) {
        Self::secure(config, |backend, stream| backend.give(Wire::from(stream)))
    }
}

/// The address of this machine, as a name in a certificate.
pub const HERE: &str = "127.0.0.1";
