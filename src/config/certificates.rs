//! The files of certificates and keys that the configuration names: read, checked, and made for development.

pub(crate) mod clients;

use std::{
    fmt, fs, io,
    io::{Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};
use tokio_rustls::rustls::{
    self, InconsistentKeys,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer},
    sign::CertifiedKey,
};

use super::{CertificateFiles, Tls};

/// The names in a certificate that we make ourselves. No `*.localhost`: verifiers want two labels after a wildcard.
const SELF_SIGNED_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// How long that certificate is valid: longer than anybody should use it, so that nobody is surprised by its end.
const SELF_SIGNED_VALIDITY: Duration = Duration::from_secs(3650 * DAY);

/// By how much the clock of a browser may be behind ours.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(DAY);

/// The most bytes of a file. A revocation list of a large authority has a few MiB.
const MOST_BYTES: u64 = 16 << 20;

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
    /// The file is larger than 16 MiB (`MOST_BYTES`).
    TooLarge,
    /// A certificate that may not sign others stands among the authorities.
    NoAuthority {
        /// Its subject.
        name: String,
    },
    /// The private key is encrypted, and nobody is there to type a passphrase.
    EncryptedKey,
    /// The first certificate of a chain, or one of several authorities, cannot be read.
    BadCertificate(webpki::Error),
    /// A certificate cannot be one of an authority.
    BadAuthority(webpki::Error),
    /// The system trusts nobody. The text says what could not be read.
    NoSystemRoots(String),
    /// The file holds no revocation list.
    NoCrl,
    /// A revocation list cannot be read.
    BadCrl(webpki::Error),
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

/// Reads everything that a listener would read, and makes nothing. A self-signed pair that a listener would make is
/// right.
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
#[expect(clippy::disallowed_methods, reason = "called at the start and for a reload, by no worker")]
pub(crate) fn make_self_signed(files: &CertificateFiles) -> Result<(), TlsError> {
    let (cert, key) = self_signed_pem().map_err(|error| TlsErrorKind::Generate(error).at(&files.cert))?;
    write_new(&files.key, &key, 0o600)?;
    write_new(&files.cert, &cert, 0o644).inspect_err(|_| {
        // A key without its certificate would be refused at the next start. If the key cannot be removed, the error then
        // says so.
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
            Self::TooLarge => write!(f, "is larger than {} MiB", MOST_BYTES >> 20),
            Self::NoAuthority { name } => write!(
                f,
                "holds a certificate that is no authority: `{name}` (whoever has its key could sign certificates of any client)"
            ),
            Self::EncryptedKey => {
                f.write_str("holds an encrypted private key: decrypt it first, e.g. with `openssl pkey`")
            }
            Self::BadCertificate(error) => write!(f, "holds an unreadable certificate: {error}"),
            Self::BadAuthority(error) => write!(f, "holds a certificate that cannot be an authority's: {error}"),
            Self::NoSystemRoots(errors) if errors.is_empty() => {
                f.write_str("this machine trusts no certificate authority: install ca-certificates, or name a file")
            }
            Self::NoSystemRoots(errors) => {
                write!(f, "no certificate authority that this machine trusts can be read: {errors}")
            }
            Self::NoCrl => f.write_str("holds no revocation list"),
            Self::BadCrl(error) => write!(f, "holds a revocation list that cannot be read: {}", reason(error)),
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
    pub(crate) fn at(self, path: &Path) -> TlsError {
        TlsError { path: path.to_owned(), kind: self }
    }
}

/// The self-signed pair that has to be made, if any.
pub(crate) fn pair_to_make(tls: &Tls) -> Result<Option<&CertificateFiles>, TlsError> {
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
pub(crate) fn read_pair(
    files: &CertificateFiles,
    provider: &CryptoProvider,
) -> Result<(CertifiedKey, Vec<String>), TlsError> {
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

pub(crate) fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path)?;
    let chain: Vec<_> = rustls_pemfile::certs(&mut pem.as_slice())
        .collect::<Result<_, _>>()
        .map_err(|error| TlsErrorKind::Pem(error).at(path))?;
    if chain.is_empty() {
        return Err(TlsErrorKind::NoCertificate.at(path));
    }
    Ok(chain)
}

/// Reads the revocation lists of a file.
pub(crate) fn read_crls(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let pem = read(path)?;
    let crls: Vec<_> = rustls_pemfile::crls(&mut pem.as_slice())
        .collect::<Result<_, _>>()
        .map_err(|error| TlsErrorKind::Pem(error).at(path))?;
    if crls.is_empty() {
        return Err(TlsErrorKind::NoCrl.at(path));
    }
    for crl in &crls {
        webpki::BorrowedCertRevocationList::from_der(crl).map_err(|error| TlsErrorKind::BadCrl(error).at(path))?;
    }
    Ok(crls)
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

/// Why a revocation list cannot be read, in words.
fn reason(error: &webpki::Error) -> String {
    let words = match error {
        webpki::Error::UnsupportedCrlVersion => "it is of version 1 (OpenSSL: set `crl_extensions`)",
        webpki::Error::UnsupportedDeltaCrl => "it is a delta list",
        webpki::Error::UnsupportedIndirectCrl => "it is an indirect list",
        other => return other.to_string(),
    };
    words.to_owned()
}

#[expect(clippy::disallowed_methods, reason = "called at the start and for a reload, by no worker")]
fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes));
    match read {
        Err(error) => Err(TlsErrorKind::Read(error).at(path)),
        Ok(length) if length as u64 > MOST_BYTES => Err(TlsErrorKind::TooLarge.at(path)),
        Ok(_) => Ok(bytes),
    }
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
#[expect(clippy::disallowed_methods, reason = "called at the start and for a reload, by no worker")]
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
    use fs_err as fs;
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn check_tells_of_every_wrong_certificate() {
        let folder = TempDir::new().unwrap();
        let good = pair(&folder, "good");
        let wrong = |name: &str| CertificateFiles { cert: folder.path().join(name), key: good.key.clone() };
        let certificates = vec![wrong("one.crt"), good.clone(), wrong("two.crt")];
        let tls = Tls { certificates, self_signed: false, client_auth: None };
        let errors = check(&tls).unwrap_err();
        let paths: Vec<_> = errors.iter().map(|error| error.path.clone()).collect();
        assert_eq!(paths, [folder.path().join("one.crt"), folder.path().join("two.crt")]);
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

    fn self_signed_files(folder: &TempDir) -> CertificateFiles {
        CertificateFiles { cert: folder.path().join("certs/dev.crt"), key: folder.path().join("certs/dev.key") }
    }

    fn pair(folder: &TempDir, name: &str) -> CertificateFiles {
        let files = CertificateFiles {
            cert: folder.path().join(format!("{name}.crt")),
            key: folder.path().join(format!("{name}.key")),
        };
        make_self_signed(&files).unwrap();
        files
    }
}
