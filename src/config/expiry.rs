//! When a certificate is no longer valid.

use std::path::Path;

use jiff::Timestamp;
use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use super::certificates::read_chain;

/// When the first certificate of a PEM file ends. `None` if it cannot be read. A listener would have refused such a file.
pub(crate) fn of_file(path: &Path) -> Option<Timestamp> {
    of_chain(&read_chain(path).ok()?)
}

/// When the first certificate of a chain ends. `None` if it cannot be read.
pub(crate) fn of_chain(chain: &[CertificateDer<'_>]) -> Option<Timestamp> {
    not_after(chain.first()?)
}

/// `notAfter` of a certificate in DER.
fn not_after(certificate: &[u8]) -> Option<Timestamp> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
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
