//! When a certificate is no longer valid, and when a revocation list is out of date.

use std::path::Path;

use jiff::Timestamp;
use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_parser::{
    certificate::X509Certificate, prelude::FromDer as _, revocation_list::CertificateRevocationList, time::ASN1Time,
};

use super::certificates::{read_chain, read_crls};
use crate::headers::distinguished_name;

/// Whether every certificate is valid at this time. One that cannot be read is not.
pub(crate) fn are_valid_at(certificates: &[CertificateDer<'_>], time: Timestamp) -> bool {
    certificates.iter().all(|certificate| {
        X509Certificate::from_der(certificate).is_ok_and(|(_, certificate)| {
            let (validity, second) = (certificate.validity(), time.as_second());
            (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&second)
        })
    })
}

/// When a revocation list was made; `None` = it cannot be read.
pub(crate) fn made_at(crl: &[u8]) -> Option<Timestamp> {
    let (_, crl) = CertificateRevocationList::from_der(crl).ok()?;
    timestamp(crl.last_update())
}

/// When the first certificate of a PEM file ends. `None` if it cannot be read. A listener would have refused such a file.
pub(crate) fn of_file(path: &Path) -> Option<Timestamp> {
    of_chain(&read_chain(path).ok()?)
}

/// When the first certificate of a chain ends. `None` if it cannot be read.
pub(crate) fn of_chain(chain: &[CertificateDer<'_>]) -> Option<Timestamp> {
    not_after(chain.first()?)
}

/// The subject and the end of each certificate of a PEM file. What cannot be read is left out.
pub(crate) fn of_authorities(path: &Path) -> Vec<(String, Timestamp)> {
    let end = |der: &[u8]| {
        let (_, authority) = X509Certificate::from_der(der).ok()?;
        Some((distinguished_name(authority.subject()), timestamp(authority.validity().not_after)?))
    };
    read_chain(path).unwrap_or_default().iter().filter_map(|authority| end(authority)).collect()
}

/// The issuer of each revocation list of a PEM file, and when the next list is due. What cannot be read, or says no such
/// time, is left out.
pub(crate) fn of_crls(path: &Path) -> Vec<(String, Timestamp)> {
    read_crls(path).unwrap_or_default().iter().filter_map(|crl| of_crl(crl)).collect()
}

/// The issuer of a revocation list, and when the next one is due.
pub(crate) fn of_crl(der: &[u8]) -> Option<(String, Timestamp)> {
    let (_, crl) = CertificateRevocationList::from_der(der).ok()?;
    Some((distinguished_name(crl.issuer()), timestamp(crl.next_update()?)?))
}

/// `notAfter` of a certificate in DER.
fn not_after(certificate: &[u8]) -> Option<Timestamp> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    timestamp(certificate.validity().not_after)
}

fn timestamp(time: ASN1Time) -> Option<Timestamp> {
    Timestamp::from_second(time.timestamp()).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_found_in_both_forms_of_a_time() {
        for (year, expected) in [(2031, "2031-05-06T00:00:00Z"), (2072, "2072-05-06T00:00:00Z")] {
            let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(year, 5, 6);
            let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            assert_eq!(not_after(certificate.der()).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn a_time_with_a_blank_in_it_is_not_read_as_another_time() {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_after = date_time_ymd(2031, 11, 1);
        let mut certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec();
        let at = certificate.windows(13).position(|bytes| bytes == b"311101000000Z").unwrap();
        certificate[at + 2] = b' ';
        assert_eq!(not_after(&certificate), None, "it is not the 10th of October");
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        for bytes in [&[][..], &[0x30], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], &[0x30, 0x80], &[0x30, 2, 0x30, 0]] {
            assert_eq!(not_after(bytes), None, "{bytes:?}");
        }
    }
}
