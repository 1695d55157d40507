//! The files by which certificates of clients are verified: authorities, and the lists of what these have revoked.

use std::{cmp::Reverse, sync::Arc};

use ::ring::digest::{Context, SHA256};
use jiff::Timestamp;
use tokio_rustls::rustls::{
    self, RootCertStore,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, CertificateRevocationListDer},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};

use x509_parser::{certificate::X509Certificate, prelude::FromDer as _, x509::X509Version};

use super::{TlsError, TlsErrorKind, read_chain, read_crls};
use crate::{
    config::{ClientTrust, Revocation, expiry},
    headers::distinguished_name,
};

/// Verifies the certificates of a listener's clients.
#[derive(Debug, Clone)]
pub(crate) struct ClientVerifier {
    pub(crate) verifier: Arc<dyn ClientCertVerifier>,
    /// A hash of everything by which it verifies. Two verifiers with the same one take the same certificates.
    pub(crate) digest: [u8; 32],
    /// When the first of its revocation lists is out of date, after which it may judge otherwise; `None` = never.
    pub(crate) due: Option<Timestamp>,
}

/// Reads everything that a listener would read.
///
/// # Errors
/// Everything that is wrong, at most one error per file.
pub(crate) fn check(trust: &ClientTrust) -> Vec<TlsError> {
    match (authorities(trust), crls(trust)) {
        (Ok((_, roots)), Ok(crls)) => {
            let provider = Arc::new(ring::default_provider());
            build(trust, roots, crls, &provider).err().into_iter().collect()
        }
        (authorities, crls) => authorities.err().into_iter().chain(crls.err()).collect(),
    }
}

/// Reads the files and makes the verifier.
///
/// # Errors
/// The first file that is wrong.
pub(crate) fn read(trust: &ClientTrust, provider: &Arc<CryptoProvider>) -> Result<ClientVerifier, TlsError> {
    let (authorities, roots) = authorities(trust)?;
    let crls = crls(trust)?;
    let digest = digest(trust, &authorities, &crls);
    let is_enforced = trust.revocation.as_ref().is_some_and(|revocation| !revocation.takes_expired);
    let due = crls.iter().filter_map(|crl| expiry::of_crl(crl)).map(|(_, due)| due).min().filter(|_| is_enforced);
    Ok(ClientVerifier { verifier: build(trust, roots, crls, provider)?, digest, due })
}

/// The certificates of the authorities, as they stand in the file and as the verifier wants them.
fn authorities(trust: &ClientTrust) -> Result<(Vec<CertificateDer<'static>>, RootCertStore), TlsError> {
    let authorities = read_chain(&trust.ca)?;
    if let Some(name) = authorities.iter().find_map(|authority| name_of_no_authority(authority)) {
        return Err(TlsErrorKind::NoAuthority { name }.at(&trust.ca));
    }
    let anchor = |authority| webpki::anchor_from_trusted_cert(authority).map(|anchor| anchor.to_owned());
    let roots = authorities.iter().map(anchor).collect::<Result<_, _>>();
    let roots = roots.map_err(|error| TlsErrorKind::BadCertificate(error).at(&trust.ca))?;
    Ok((authorities, RootCertStore { roots }))
}

/// The name in a certificate that must not sign others. webpki takes every trust anchor for an authority, so whoever had
/// the key of such a certificate could make certificates of any client.
fn name_of_no_authority(der: &[u8]) -> Option<String> {
    // A certificate that cannot be read gets an error of its own.
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let is_authority = match certificate.basic_constraints() {
        Ok(Some(constraints)) => constraints.value.ca,
        // Roots of version 1 have no extensions (RFC 5280 §4.1.2.1).
        Ok(None) => certificate.version() == X509Version::V1,
        Err(_) => false,
    };
    let may_sign = certificate.key_usage().is_ok_and(|usage| usage.is_none_or(|usage| usage.value.key_cert_sign()));
    (!is_authority || !may_sign).then(|| distinguished_name(certificate.subject()))
}

/// The revocation lists, the newest first: of several lists of one issuer, webpki takes the first.
fn crls(trust: &ClientTrust) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let Some(Revocation { crl, .. }) = &trust.revocation else { return Ok(Vec::new()) };
    let mut crls = read_crls(crl)?;
    crls.sort_by_key(|crl| Reverse(expiry::made_at(crl)));
    Ok(crls)
}

fn build(
    trust: &ClientTrust,
    roots: RootCertStore,
    crls: Vec<CertificateRevocationListDer<'static>>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let ClientTrust { is_required, ca, revocation } = trust;
    let mut builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).with_crls(crls);
    if !is_required {
        builder = builder.allow_unauthenticated();
    }
    if let Some(Revocation { crl: _, takes_expired, takes_unknown, leaf_only }) = revocation {
        if !takes_expired {
            builder = builder.enforce_revocation_expiration();
        }
        if *takes_unknown {
            builder = builder.allow_unknown_revocation_status();
        }
        if *leaf_only {
            builder = builder.only_check_end_entity_revocation();
        }
    }
    // The files hold certificates and lists that can be read, or `authorities` and `crls` would have refused them.
    builder.build().map_err(|error| TlsErrorKind::Setup(rustls::Error::General(error.to_string())).at(ca))
}

fn digest(
    trust: &ClientTrust,
    authorities: &[CertificateDer<'_>],
    crls: &[CertificateRevocationListDer<'_>],
) -> [u8; 32] {
    let ClientTrust { is_required, ca: _, revocation } = trust;
    let rules = revocation.as_ref().map_or([false; 3], |revocation| {
        let Revocation { crl: _, takes_expired, takes_unknown, leaf_only } = revocation;
        [*takes_expired, *takes_unknown, *leaf_only]
    });
    let mut hash = Context::new(&SHA256);
    hash.update(&[u8::from(*is_required), rules[0].into(), rules[1].into(), rules[2].into()]);
    let authorities: Vec<&[u8]> = authorities.iter().map(AsRef::as_ref).collect();
    let crls: Vec<&[u8]> = crls.iter().map(AsRef::as_ref).collect();
    for files in [authorities, crls] {
        // With all lengths before them, two lists of files are the same bytes only if they are the same files.
        hash.update(&files.len().to_be_bytes());
        for file in files {
            hash.update(&file.len().to_be_bytes());
            hash.update(file);
        }
    }
    hash.finish().as_ref().try_into().unwrap_or_default()
}
