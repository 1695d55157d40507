//! TLS of the listeners.

use std::{fmt, fs, path::PathBuf};

use tokio_rustls::rustls::{crypto::ring, sign::CertifiedKey};

use crate::config::Tls;

/// Which file is at fault, and why.
#[derive(Debug)]
pub struct TlsError {
    /// The file.
    pub path: PathBuf,
    why: String,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.why)
    }
}

/// Reads the certificates.
///
/// # Errors
/// A file that cannot be read or does not fit.
pub fn load(tls: &Tls) -> Result<(), TlsError> {
    for pair in &tls.certificates {
        let fail = |path: &PathBuf, why: String| TlsError { path: path.clone(), why };
        let pem = fs::read(&pair.cert).map_err(|e| fail(&pair.cert, e.to_string()))?;
        let chain: Vec<_> = rustls_pemfile::certs(&mut pem.as_slice()).flatten().collect();
        if chain.is_empty() {
            return Err(fail(&pair.cert, "no certificate in it".into()));
        }
        let pem = fs::read(&pair.key).map_err(|e| fail(&pair.key, e.to_string()))?;
        let key = rustls_pemfile::private_key(&mut pem.as_slice()).ok().flatten();
        let key = key.ok_or_else(|| fail(&pair.key, "no private key in it".into()))?;
        CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|e| fail(&pair.key, e.to_string()))?;
    }
    Ok(())
}
