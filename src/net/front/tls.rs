//! TLS of the listeners: certificates from PEM files, chosen by SNI; TLS 1.2 and 1.3; ALPN `http/1.1`.

use std::{
    collections::HashMap,
    fmt, fs, io,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};
use tokio_rustls::rustls::{
    self, InconsistentKeys, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer},
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};

use super::tickets::Tickets;
use crate::config::{CertificateFiles, Tls};

/// The one protocol that is served over TLS.
pub const ALPN: &[u8] = b"http/1.1";

/// Tickets for each TLS 1.3 handshake. A client should use a ticket for one handshake only (RFC 8446 §C.4), and gets
/// another with that handshake. A WebSocket that reconnects needs one. A browser that comes with several connections at
/// once begins with as many full handshakes anyway.
const TICKETS: usize = 1;

/// The names in a certificate that we make ourselves. No `*.localhost`: verifiers want two labels after a wildcard.
const SELF_SIGNED_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// How long that certificate is valid: longer than anybody should use it, so that nobody is surprised by its end.
const SELF_SIGNED_VALIDITY: Duration = Duration::from_secs(3650 * DAY);

/// By how much the clock of a browser may be behind ours.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(DAY);

const DAY: u64 = 24 * 60 * 60;

/// A file that is wrong, and what is wrong.
#[derive(Debug)]
pub struct TlsError {
    /// The path, as the configuration has it.
    pub path: PathBuf,
    /// What is wrong with it.
    pub kind: TlsErrorKind,
}

/// What is wrong with a certificate or key file.
#[derive(Debug)]
pub enum TlsErrorKind {
    /// The file cannot be read.
    Read(io::Error),
    /// The file cannot be written.
    Write(io::Error),
    /// The file is broken PEM.
    Pem(io::Error),
    /// The file holds no certificate.
    NoCertificate,
    /// The file holds no private key.
    NoKey,
    /// The private key is encrypted, and nobody is there to type a passphrase.
    EncryptedKey,
    /// The first certificate cannot be read.
    BadCertificate(webpki::Error),
    /// The key is of a kind that cannot be used.
    BadKey(rustls::Error),
    /// The key does not belong to this certificate.
    KeyMismatch {
        /// The file of the certificate.
        certificate: PathBuf,
    },
    /// The file is missing while the other file of a self-signed pair exists.
    HalfPair {
        /// The file that exists.
        other: PathBuf,
    },
    /// A self-signed certificate cannot be made.
    Generate(rcgen::Error),
    /// TLS itself cannot be set up.
    Setup(rustls::Error),
}

/// Reads the certificates and makes what a listener needs to accept TLS. If the file asks for a self-signed certificate
/// that is not there yet, this makes it first.
///
/// Sessions are resumed by `tickets`, which all listeners share; nothing is kept per client.
///
/// # Errors
/// The first file that is wrong.
pub fn load(tls: &Tls, tickets: &Arc<Tickets>) -> Result<Arc<ServerConfig>, TlsError> {
    if let Some(files) = pair_to_make(tls)? {
        make_self_signed(files)?;
    }
    let provider = Arc::new(ring::default_provider());
    let certificates = Certificates::read(&tls.certificates, &provider)?;
    let setup = |error| TlsErrorKind::Setup(error).at(Path::new("tls"));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(setup)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certificates));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = Arc::<Tickets>::clone(tickets);
    config.send_tls13_tickets = TICKETS;
    Ok(Arc::new(config))
}

/// Reads everything that [`load`] would read, and makes nothing. A self-signed pair that [`load`] would make is right.
///
/// # Errors
/// Everything that is wrong, at most one error per certificate.
pub fn check(tls: &Tls) -> Result<(), Vec<TlsError>> {
    let provider = ring::default_provider();
    let (to_make, mut errors) = match pair_to_make(tls) {
        Ok(to_make) => (to_make.is_some(), Vec::new()),
        Err(error) => (true, vec![error]),
    };
    let to_read = tls.certificates.iter().skip(usize::from(to_make));
    errors.extend(to_read.filter_map(|files| read_pair(files, &provider).err()));
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// Makes a certificate for this machine (`localhost` and the loopback addresses) and its key, for development: nobody
/// trusts it. Missing folders are made. Each file appears whole or not at all. Only its owner can read the key.
///
/// # Errors
/// A file that exists already or cannot be written.
pub fn make_self_signed(files: &CertificateFiles) -> Result<(), TlsError> {
    let (cert, key) = self_signed_pem().map_err(|error| TlsErrorKind::Generate(error).at(&files.cert))?;
    write_new(&files.key, &key, 0o600)?;
    write_new(&files.cert, &cert, 0o644).inspect_err(|_| {
        // A key without its certificate would be refused at the next start. If the key cannot be removed, the error then says so.
        let _ = fs::remove_file(&files.key);
    })
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.kind)
    }
}

impl std::error::Error for TlsError {}

impl fmt::Display for TlsErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "cannot be read: {error}"),
            Self::Write(error) => write!(f, "cannot be written: {error}"),
            Self::Pem(error) => write!(f, "is broken PEM: {error}"),
            Self::NoCertificate => f.write_str("holds no certificate"),
            Self::NoKey => f.write_str("holds no private key"),
            Self::EncryptedKey => {
                f.write_str("holds an encrypted private key: decrypt it first, e.g. with `openssl pkey`")
            }
            Self::BadCertificate(error) => write!(f, "holds an unreadable certificate: {error}"),
            Self::BadKey(error) => write!(f, "holds a private key that cannot be used: {error}"),
            Self::KeyMismatch { certificate } => write!(
                f,
                "the key does not match the certificate {} (of a chain, the first one counts)",
                certificate.display()
            ),
            Self::HalfPair { other } => write!(
                f,
                "is missing, but {} exists: a self-signed pair is made only when both are missing",
                other.display()
            ),
            Self::Generate(error) => write!(f, "cannot be made: {error}"),
            Self::Setup(error) => write!(f, "TLS cannot be set up: {error}"),
        }
    }
}

impl TlsErrorKind {
    fn at(self, path: &Path) -> TlsError {
        TlsError { path: path.to_owned(), kind: self }
    }
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

/// The self-signed pair that has to be made, if any.
fn pair_to_make(tls: &Tls) -> Result<Option<&CertificateFiles>, TlsError> {
    let Some(files) = tls.certificates.first().filter(|_| tls.self_signed) else {
        return Ok(None);
    };
    let half = |missing: &Path, other: &Path| {
        let other = other.to_owned();
        Err(TlsErrorKind::HalfPair { other }.at(missing))
    };
    match (exists(&files.cert)?, exists(&files.key)?) {
        (true, true) => Ok(None),
        (false, false) => Ok(Some(files)),
        (true, false) => half(&files.key, &files.cert),
        (false, true) => half(&files.cert, &files.key),
    }
}

fn exists(path: &Path) -> Result<bool, TlsError> {
    path.try_exists().map_err(|error| TlsErrorKind::Read(error).at(path))
}

/// Reads a certificate with its key, and the DNS names in it, in lower case.
fn read_pair(files: &CertificateFiles, provider: &CryptoProvider) -> Result<(CertifiedKey, Vec<String>), TlsError> {
    let chain = read_chain(&files.cert)?;
    let names = names(&chain).map_err(|error| TlsErrorKind::BadCertificate(error).at(&files.cert))?;
    let key = provider
        .key_provider
        .load_private_key(read_key(&files.key)?)
        .map_err(|error| TlsErrorKind::BadKey(error).at(&files.key))?;
    let certificate = CertifiedKey::new(chain, key);
    match certificate.keys_match() {
        // `Unknown` is a key that cannot tell its public half. No key of ring's is such a key.
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok((certificate, names)),
        Err(rustls::Error::InconsistentKeys(_)) => {
            let certificate = files.cert.clone();
            Err(TlsErrorKind::KeyMismatch { certificate }.at(&files.key))
        }
        Err(error) => Err(TlsErrorKind::BadKey(error).at(&files.key)),
    }
}

fn names(chain: &[CertificateDer<'_>]) -> Result<Vec<String>, webpki::Error> {
    let leaf = chain.first().ok_or(webpki::Error::BadDer)?;
    let leaf = webpki::EndEntityCert::try_from(leaf)?;
    Ok(leaf.valid_dns_names().map(str::to_ascii_lowercase).collect())
}

pub(in crate::net) fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path)?;
    let chain: Vec<_> = rustls_pemfile::certs(&mut pem.as_slice())
        .collect::<Result<_, _>>()
        .map_err(|error| TlsErrorKind::Pem(error).at(path))?;
    if chain.is_empty() {
        return Err(TlsErrorKind::NoCertificate.at(path));
    }
    Ok(chain)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = read(path)?;
    // An encrypted key has `BEGIN ENCRYPTED PRIVATE KEY` (PKCS #8) or a `Proc-Type: 4,ENCRYPTED` header (RFC 1421, as
    // OpenSSL writes it). The parser skips the first kind and calls the second kind broken.
    let is_encrypted = || String::from_utf8_lossy(&pem).contains("ENCRYPTED");
    match rustls_pemfile::private_key(&mut pem.as_slice()) {
        Ok(Some(key)) => Ok(key),
        Ok(None) | Err(_) if is_encrypted() => Err(TlsErrorKind::EncryptedKey.at(path)),
        Ok(None) => Err(TlsErrorKind::NoKey.at(path)),
        Err(error) => Err(TlsErrorKind::Pem(error).at(path)),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|error| TlsErrorKind::Read(error).at(path))
}

/// Makes a certificate and its key, in PEM.
fn self_signed_pem() -> Result<(String, String), rcgen::Error> {
    let mut params = CertificateParams::new(SELF_SIGNED_NAMES.map(str::to_owned))?;
    let common_name = "longwire, self-signed";
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let now = SystemTime::now();
    params.not_before = (now - CLOCK_TOLERANCE).into();
    params.not_after = (now + SELF_SIGNED_VALIDITY).into();
    let key = KeyPair::generate()?;
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

/// Writes a file beside the path and then renames it, so that nobody reads half of it. Refuses a path that exists.
fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), TlsError> {
    let write = || {
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        fs::create_dir_all(folder)?;
        let mut file = tempfile::Builder::new().permissions(fs::Permissions::from_mode(mode)).tempfile_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.persist_noclobber(path)?;
        Ok(())
    };
    write().map_err(|error| TlsErrorKind::Write(error).at(path))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rustls::{
        ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, RootCertStore, ServerConnection,
        SupportedProtocolVersion,
    };
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn certificate_is_chosen_by_the_name_the_client_asks_for() {
        let folder = TempDir::new().unwrap();
        let tls = Tls {
            certificates: vec![
                pair(&folder, "first", &["default.example", "both.example"]),
                pair(&folder, "second", &["Chat.Example", "*.wild.example", "both.example"]),
                pair(&folder, "third", &["deep.wild.example"]),
            ],
            self_signed: false,
        };
        let server = load(&tls, &tickets()).unwrap();
        for (name, expected) in [
            ("default.example", "first"),
            ("both.example", "first"),
            ("chat.example", "second"),
            ("a.wild.example", "second"),
            ("deep.wild.example", "third"),
        ] {
            let (client, _) = handshake(&client(&tls, &[&TLS13]), &server, name).unwrap();
            let chosen = client.peer_certificates().unwrap().first().unwrap().clone();
            assert_eq!(chosen, leaf(&folder, expected), "{name}");
        }
    }

    #[test]
    fn unknown_name_or_none_gets_the_first_certificate() {
        let folder = TempDir::new().unwrap();
        let pairs = [
            pair(&folder, "first", &["default.example"]),
            pair(&folder, "second", &["chat.example", "*.wild.example"]),
        ];
        let certificates = Certificates::read(&pairs, &ring::default_provider()).unwrap();
        for name in [None, Some("other.example"), Some("wild.example"), Some("a.b.wild.example"), Some("localhost")] {
            let chosen = certificates.choose(name).cert.first().unwrap();
            assert_eq!(*chosen, leaf(&folder, "first"), "{name:?}");
        }
    }

    #[test]
    fn both_tls_versions_are_spoken_and_alpn_is_http_1_1() {
        let (_folder, tls) = one_certificate();
        let server = load(&tls, &tickets()).unwrap();
        for (version, protocol) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
            let mut config = client(&tls, &[version]);
            let (without_alpn, _) = handshake(&config, &server, "a.example").unwrap();
            assert_eq!(without_alpn.protocol_version(), Some(protocol));
            assert_eq!(without_alpn.alpn_protocol(), None);

            config.alpn_protocols = vec![b"h2".to_vec(), ALPN.to_vec()];
            let (with_alpn, _) = handshake(&config, &server, "a.example").unwrap();
            assert_eq!(with_alpn.alpn_protocol(), Some(ALPN));

            config.alpn_protocols = vec![b"h2".to_vec()];
            assert!(handshake(&config, &server, "a.example").is_err());
        }
    }

    #[test]
    fn session_is_resumed_by_a_ticket() {
        let (_folder, tls) = one_certificate();
        let server = load(&tls, &tickets()).unwrap();
        for version in [&TLS12, &TLS13] {
            let client = client(&tls, &[version]);
            let kind = || {
                let (_, server) = handshake(&client, &server, "a.example").unwrap();
                server.handshake_kind()
            };
            assert_eq!(kind(), Some(HandshakeKind::Full));
            assert_eq!(kind(), Some(HandshakeKind::Resumed));
        }
    }

    #[test]
    fn each_handshake_brings_one_ticket_for_the_next() {
        let (_folder, tls) = one_certificate();
        let server = load(&tls, &tickets()).unwrap();
        let client = client(&tls, &[&TLS13]);
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
            let (client, _) = handshake(&client, &server, "a.example").unwrap();
            assert_eq!((client.handshake_kind(), client.tls13_tickets_received()), (Some(kind), 1));
        }
    }

    #[test]
    fn key_of_another_certificate_is_refused() {
        let folder = TempDir::new().unwrap();
        let first = pair(&folder, "first", &["a.example"]);
        let second = pair(&folder, "second", &["a.example"]);
        let message = refusal(&first.cert, &second.key);
        assert!(message.contains("second.key: the key does not match the certificate"), "{message}");
        assert!(message.contains("first.crt"), "{message}");
    }

    #[test]
    fn error_names_the_file_and_what_is_wrong_with_it() {
        let folder = TempDir::new().unwrap();
        let good = pair(&folder, "good", &["a.example"]);
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let pem = |label: &str, body: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
        let no_key = file("no.key", "nothing\n");
        let encrypted = file("encrypted.key", &pem("ENCRYPTED PRIVATE KEY", "AAAA"));
        let old_style = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA";
        let encrypted_old = file("old.key", &pem("RSA PRIVATE KEY", old_style));
        let unusable = file("unusable.key", &pem("PRIVATE KEY", "AAAA"));
        let endless = file("endless.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n");
        let unreadable = file("unreadable.crt", &pem("CERTIFICATE", "AAAA"));
        let missing = folder.path().join("missing.crt");
        for (cert, key, expected) in [
            (&good.cert, &no_key, "no.key: holds no private key"),
            (&good.cert, &good.cert, "good.crt: holds no private key"),
            (&good.cert, &encrypted, "encrypted.key: holds an encrypted"),
            (&good.cert, &encrypted_old, "old.key: holds an encrypted"),
            (&good.cert, &unusable, "unusable.key: holds a private key that cannot be used"),
            (&good.key, &good.key, "good.key: holds no certificate"),
            (&endless, &good.key, "endless.crt: is broken PEM"),
            (&unreadable, &good.key, "unreadable.crt: holds an unreadable certificate"),
            (&missing, &good.key, "missing.crt: cannot be read"),
        ] {
            let message = refusal(cert, key);
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn check_tells_of_every_wrong_certificate() {
        let folder = TempDir::new().unwrap();
        let good = pair(&folder, "good", &["a.example"]);
        let wrong = |name: &str| CertificateFiles { cert: folder.path().join(name), key: good.key.clone() };
        let tls = Tls { certificates: vec![wrong("one.crt"), good.clone(), wrong("two.crt")], self_signed: false };
        let errors = check(&tls).unwrap_err();
        let paths: Vec<_> = errors.iter().map(|error| error.path.clone()).collect();
        assert_eq!(paths, [folder.path().join("one.crt"), folder.path().join("two.crt")]);
    }

    #[test]
    fn self_signed_pair_is_made_once_and_serves_localhost() {
        let folder = TempDir::new().unwrap();
        let files = self_signed_files(&folder);
        let tls = Tls { certificates: vec![files.clone()], self_signed: true };
        assert!(check(&tls).is_ok());
        assert!(!files.cert.exists(), "check makes nothing");

        let server = load(&tls, &tickets()).unwrap();
        for name in ["localhost", "127.0.0.1", "::1"] {
            handshake(&client(&tls, &[&TLS13]), &server, name).unwrap();
        }
        let mode = fs::metadata(&files.key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let in_folder = fs::read_dir(files.key.parent().unwrap()).unwrap().count();
        assert_eq!(in_folder, 2, "nothing but the pair is left");

        let before = fs::read(&files.key).unwrap();
        assert!(check(&tls).is_ok());
        load(&tls, &tickets()).unwrap();
        assert_eq!(fs::read(&files.key).unwrap(), before);
    }

    #[test]
    fn half_a_self_signed_pair_is_refused_and_left_alone() {
        for missing_key in [true, false] {
            let folder = TempDir::new().unwrap();
            let files = self_signed_files(&folder);
            make_self_signed(&files).unwrap();
            let (missing, present) = if missing_key { (&files.key, &files.cert) } else { (&files.cert, &files.key) };
            fs::remove_file(missing).unwrap();
            let tls = Tls { certificates: vec![files.clone()], self_signed: true };
            for error in [load(&tls, &tickets()).unwrap_err(), check(&tls).unwrap_err().remove(0)] {
                assert_eq!(error.path, *missing);
                assert!(matches!(&error.kind, TlsErrorKind::HalfPair { other } if other == present));
            }
            assert!(!missing.exists() && present.exists());
        }
    }

    #[test]
    fn existing_file_is_never_overwritten_and_no_lone_key_is_left() {
        let folder = TempDir::new().unwrap();
        let files = self_signed_files(&folder);
        fs::create_dir_all(files.cert.parent().unwrap()).unwrap();
        fs::write(&files.cert, "mine").unwrap();
        let error = make_self_signed(&files).unwrap_err();
        assert_eq!(error.path, files.cert);
        assert_eq!(fs::read(&files.cert).unwrap(), b"mine");
        assert!(!files.key.exists());
    }

    fn tickets() -> Arc<Tickets> {
        Arc::new(Tickets::new(std::time::Instant::now()).unwrap())
    }

    fn self_signed_files(folder: &TempDir) -> CertificateFiles {
        CertificateFiles { cert: folder.path().join("certs/dev.crt"), key: folder.path().join("certs/dev.key") }
    }

    fn one_certificate() -> (TempDir, Tls) {
        let folder = TempDir::new().unwrap();
        let tls = Tls { certificates: vec![pair(&folder, "one", &["a.example"])], self_signed: false };
        (folder, tls)
    }

    /// Writes `NAME.crt` and `NAME.key` for some DNS names.
    fn pair(folder: &TempDir, name: &str, dns_names: &[&str]) -> CertificateFiles {
        let names: Vec<String> = dns_names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let files = CertificateFiles {
            cert: folder.path().join(format!("{name}.crt")),
            key: folder.path().join(format!("{name}.key")),
        };
        fs::write(&files.cert, made.cert.pem()).unwrap();
        fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        files
    }

    fn leaf(folder: &TempDir, name: &str) -> CertificateDer<'static> {
        read_chain(&folder.path().join(format!("{name}.crt"))).unwrap().remove(0)
    }

    fn refusal(cert: &Path, key: &Path) -> String {
        let tls = Tls {
            certificates: vec![CertificateFiles { cert: cert.to_owned(), key: key.to_owned() }],
            self_signed: false,
        };
        let loaded = load(&tls, &tickets()).unwrap_err().to_string();
        let checked = check(&tls).unwrap_err().remove(0).to_string();
        assert_eq!(loaded, checked);
        loaded
    }

    /// A client that trusts all these certificates.
    fn client(tls: &Tls, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        for files in &tls.certificates {
            roots.add(read_chain(&files.cert).unwrap().remove(0)).unwrap();
        }
        ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth()
    }

    /// Connects both ends in memory, until neither has anything more to send.
    fn handshake(
        client: &ClientConfig,
        server: &Arc<ServerConfig>,
        name: &str,
    ) -> Result<(ClientConnection, ServerConnection), rustls::Error> {
        let name = name.to_owned().try_into().unwrap();
        let mut client = ClientConnection::new(Arc::new(client.clone()), name)?;
        let mut server = ServerConnection::new(Arc::clone(server))?;
        while client.wants_write() || server.wants_write() {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).unwrap();
            let mut unread = bytes.as_slice();
            while !unread.is_empty() {
                server.read_tls(&mut unread).unwrap();
                server.process_new_packets()?;
            }
            bytes.clear();
            server.write_tls(&mut bytes).unwrap();
            let mut unread = bytes.as_slice();
            while !unread.is_empty() {
                client.read_tls(&mut unread).unwrap();
                client.process_new_packets()?;
            }
        }
        assert!(!client.is_handshaking() && !server.is_handshaking());
        Ok((client, server))
    }
}
