//! Why a TLS handshake failed, in a word for the metric.

use std::io;

use tokio_rustls::rustls::{CertificateError, Error};

/// The word for a handshake that took longer than `timeouts.tls_handshake`.
pub(in crate::net) const TIMEOUT: &str = "timeout";

/// The word for an error of rustls or of the socket. An error of another kind than rustls' own says that the client went.
pub(in crate::net) fn reason(error: &io::Error) -> &'static str {
    let Some(error) = error.get_ref().and_then(|source| source.downcast_ref::<Error>()) else { return "client_gone" };
    match error {
        Error::NoCertificatesPresented => "client_cert_missing",
        Error::InvalidCertificate(wrong) => of_certificate(wrong),
        Error::InvalidCertRevocationList(_) => "crl_invalid",
        // The client does not like our certificate, or something else of ours.
        Error::AlertReceived(_) => "client_alert",
        _ => "protocol",
    }
}

/// A server verifies the certificates of clients only.
fn of_certificate(wrong: &CertificateError) -> &'static str {
    match wrong {
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => "client_cert_expired",
        CertificateError::Revoked => "client_cert_revoked",
        CertificateError::UnknownIssuer => "client_cert_unknown_issuer",
        CertificateError::UnknownRevocationStatus => "client_cert_unknown_revocation",
        CertificateError::ExpiredRevocationList | CertificateError::ExpiredRevocationListContext { .. } => {
            "crl_expired"
        }
        _ => "client_cert_invalid",
    }
}

#[cfg(test)]
mod tests {
    use tokio_rustls::rustls::AlertDescription;

    use super::*;

    #[test]
    fn every_failure_has_its_word() {
        let of = |error: Error| reason(&io::Error::new(io::ErrorKind::InvalidData, error));
        for (error, word) in [
            (Error::NoCertificatesPresented, "client_cert_missing"),
            (CertificateError::Expired.into(), "client_cert_expired"),
            (CertificateError::Revoked.into(), "client_cert_revoked"),
            (CertificateError::UnknownIssuer.into(), "client_cert_unknown_issuer"),
            (CertificateError::UnknownRevocationStatus.into(), "client_cert_unknown_revocation"),
            (CertificateError::ExpiredRevocationList.into(), "crl_expired"),
            (CertificateError::BadEncoding.into(), "client_cert_invalid"),
            (Error::AlertReceived(AlertDescription::UnknownCA), "client_alert"),
            (Error::DecryptError, "protocol"),
        ] {
            assert_eq!(of(error), word);
        }
        assert_eq!(reason(&io::ErrorKind::UnexpectedEof.into()), "client_gone");
    }
}
