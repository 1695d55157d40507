//! A verified certificate of a client: what the record has of it, and what a backend may be told. PURE.
//!
//! Names in a certificate may have any character, so they are written for the value of a field: control characters, all
//! that is not ASCII, `%`, and a comma inside a name are percent-encoded. A comma thus only separates, and decoding once
//! gives the name back.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hyper::header::HeaderName;
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use ring::digest::{SHA256, digest};
use serde::{Serialize, Serializer};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _};

use super::distinguished_name::{distinguished_name, hex};

/// The most bytes of a certificate's subject in a record.
pub const LONGEST_SUBJECT: usize = 512;

/// The most bytes of a field that tells of a certificate. A longer value is left out: one that is cut would name somebody
/// else.
pub const LONGEST_VALUE: usize = 16 * 1024;

/// The names of the fields by which a backend is told of a client's certificate begin so.
const PREFIX: &str = "x-client-cert-";

/// What is encoded in a name of a list, beside what is not ASCII.
const IN_LIST: &AsciiSet = &CONTROLS.add(b' ').add(b',').add(b'%');

/// What is encoded in a whole text, so that it is one word (RFC 3986 §2.3 has the characters that are not).
const IN_TEXT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Something that a backend may be told of a client's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateField {
    /// SHA-256 of the certificate, in hexadecimal digits.
    Fingerprint,
    /// The subject, as RFC 4514 writes it.
    Subject,
    /// The DNS names and URIs of the subject.
    San,
    /// The serial number, in hexadecimal digits.
    Serial,
    /// The certificate in PEM, percent-encoded.
    Pem,
}

/// A verified certificate of a client. It belongs to a connection.
#[derive(Debug, Clone)]
pub struct ClientCertificate {
    der: Box<[u8]>,
    facts: Arc<CertificateFacts>,
    /// The values of the fields, by [`CertificateField`]. Each is made when a route first wants it. What the certificate does
    /// not have, or what cannot be read, is empty.
    values: [OnceLock<Box<str>>; 5],
}

/// What the record has of a client's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CertificateFacts {
    /// SHA-256 of the certificate.
    #[serde(rename = "client_cert_fingerprint")]
    pub fingerprint: Fingerprint,
    /// The subject as a backend is told of it, cut after [`LONGEST_SUBJECT`]; empty if it has no name.
    #[serde(rename = "client_cert_subject", skip_serializing_if = "String::is_empty")]
    pub subject: String,
}

/// SHA-256 of a certificate. Its `Display` has hexadecimal digits in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

/// A certificate, and what the backend of a route is told of it.
#[derive(Debug, Clone, Copy)]
pub struct ToldCertificate<'a> {
    /// The certificate.
    pub certificate: &'a ClientCertificate,
    /// What the route tells.
    pub fields: &'a [CertificateField],
}

/// Whether a field tells of a client's certificate. Only this proxy may say such a thing.
pub(super) fn tells_of_a_certificate(name: &HeaderName) -> bool {
    name.as_str().starts_with(PREFIX)
}

impl CertificateField {
    /// The name of the field.
    #[must_use]
    pub const fn name(self) -> HeaderName {
        HeaderName::from_static(match self {
            Self::Fingerprint => "x-client-cert-fingerprint",
            Self::Subject => "x-client-cert-subject",
            Self::San => "x-client-cert-san",
            Self::Serial => "x-client-cert-serial",
            Self::Pem => "x-client-cert-pem",
        })
    }
}

impl ClientCertificate {
    /// `der`: a certificate that was verified.
    #[must_use]
    pub fn new(der: &[u8]) -> Self {
        let hash = digest(&SHA256, der);
        let fingerprint = Fingerprint(hash.as_ref().try_into().unwrap_or_default());
        let mut subject = parse(der).map_or_else(String::new, |certificate| distinguished_name(certificate.subject()));
        if subject.len() > LONGEST_SUBJECT {
            // All of it is ASCII.
            subject.truncate(LONGEST_SUBJECT - '…'.len_utf8());
            subject.push('…');
        }
        let facts = Arc::new(CertificateFacts { fingerprint, subject });
        Self { der: der.into(), facts, values: Default::default() }
    }

    /// What the record has of it.
    #[must_use]
    pub const fn facts(&self) -> &Arc<CertificateFacts> {
        &self.facts
    }

    /// The value of a field; `None` = the certificate has no such thing, or one of more than [`LONGEST_VALUE`].
    #[must_use]
    pub fn value(&self, field: CertificateField) -> Option<&str> {
        let value = self.values.get(field as usize)?.get_or_init(|| self.write(field).unwrap_or_default().into());
        Some(&**value).filter(|value| !value.is_empty())
    }

    fn write(&self, field: CertificateField) -> Option<String> {
        let value = match field {
            CertificateField::Fingerprint => self.facts.fingerprint.to_string(),
            CertificateField::Subject => distinguished_name(parse(&self.der)?.subject()),
            CertificateField::San => alternative_names(&parse(&self.der)?),
            CertificateField::Serial => serial(parse(&self.der)?.raw_serial()),
            CertificateField::Pem => encoded_pem(&self.der),
        };
        Some(value).filter(|value| value.len() <= LONGEST_VALUE)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    X509Certificate::from_der(der).ok().map(|(_, certificate)| certificate)
}

/// `DNS:a.example,URI:spiffe://example/a`. Names of other kinds are left out.
fn alternative_names(certificate: &X509Certificate<'_>) -> String {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return String::new() };
    let names = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(("DNS:", name)),
        GeneralName::URI(name) => Some(("URI:", name)),
        _ => None,
    });
    let names = names.map(|(kind, name)| format!("{kind}{}", utf8_percent_encode(name, IN_LIST)));
    names.collect::<Vec<_>>().join(",")
}

/// A serial number without the zeros before it, which DER adds to a number that would seem to be negative. A negative one
/// has its sign before it, as OpenSSL writes it.
fn serial(bytes: &[u8]) -> String {
    let is_negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
    let mut magnitude = bytes.to_vec();
    if is_negative {
        let mut carries = true;
        for byte in magnitude.iter_mut().rev() {
            (*byte, carries) = (!*byte).overflowing_add(carries.into());
        }
    }
    let start = magnitude.iter().position(|byte| *byte != 0).unwrap_or_else(|| magnitude.len().saturating_sub(1));
    let digits = hex(magnitude.get(start..).unwrap_or_default());
    if is_negative { format!("-{digits}") } else { digits }
}

fn encoded_pem(der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut pem = String::with_capacity(body.len() + 128);
    pem.push_str("-----BEGIN CERTIFICATE-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    utf8_percent_encode(&pem, IN_TEXT).to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use percent_encoding::percent_decode_str;
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair, SanType, SerialNumber};

    use super::*;

    /// A certificate with these parts of a subject, in their order.
    fn certificate(subject: Vec<(DnType, DnValue)>, edit: impl FnOnce(&mut CertificateParams)) -> ClientCertificate {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in subject {
            params.distinguished_name.push(kind, value);
        }
        edit(&mut params);
        ClientCertificate::new(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der())
    }

    #[test]
    fn names_of_dns_and_uris_are_listed_in_their_order() {
        let certificate = certificate(Vec::new(), |params| {
            params.subject_alt_names = vec![
                SanType::URI("spiffe://example/a,b%2Cc".try_into().unwrap()),
                SanType::IpAddress([192, 0, 2, 1].into()),
                SanType::DnsName("a.example".try_into().unwrap()),
                SanType::Rfc822Name("a@example".try_into().unwrap()),
            ];
        });
        let expected = "URI:spiffe://example/a%2Cb%252Cc,DNS:a.example";
        assert_eq!(certificate.value(CertificateField::San), Some(expected));
    }

    #[test]
    fn a_certificate_without_names_has_no_such_fields() {
        let certificate = certificate(Vec::new(), |_| {});
        assert_eq!(certificate.value(CertificateField::San), None);
        assert_eq!(certificate.value(CertificateField::Subject), None);
    }

    #[test]
    fn a_serial_number_has_no_zeros_of_der_before_it() {
        for (number, expected) in [(vec![1], "01"), (vec![0x80, 0], "8000"), (vec![0x0a, 0xff], "0aff")] {
            let certificate = certificate(Vec::new(), |params| {
                params.serial_number = Some(SerialNumber::from_slice(&number));
            });
            assert_eq!(certificate.value(CertificateField::Serial), Some(expected));
        }
        for (bytes, expected) in
            [(&[0][..], "00"), (&[], ""), (&[0x80], "-80"), (&[0xff], "-01"), (&[0xff, 0], "-0100")]
        {
            assert_eq!(serial(bytes), expected);
        }
    }

    #[test]
    fn fingerprint_and_pem_are_of_the_whole_certificate() {
        let made = CertificateParams::default().self_signed(&KeyPair::generate().unwrap()).unwrap();
        let certificate = ClientCertificate::new(made.der());
        let hash = digest(&SHA256, made.der());
        let expected: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(certificate.value(CertificateField::Fingerprint), Some(&*expected));
        assert_eq!(certificate.facts().fingerprint.to_string(), expected);
        let pem = certificate.value(CertificateField::Pem).unwrap();
        assert!(pem.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte)), "{pem}");
        let decoded = percent_decode_str(pem).decode_utf8().unwrap();
        assert_eq!(decoded.replace('\n', ""), made.pem().replace(['\r', '\n'], ""));
    }

    #[test]
    fn what_cannot_be_read_is_told_by_fingerprint_and_pem_alone() {
        for bytes in [&[][..], &[0x30], b"no certificate"] {
            let certificate = ClientCertificate::new(bytes);
            assert_eq!(certificate.facts().subject, "");
            for field in [CertificateField::Subject, CertificateField::San, CertificateField::Serial] {
                assert_eq!(certificate.value(field), None);
            }
            assert!(certificate.value(CertificateField::Fingerprint).is_some_and(|value| value.len() == 64));
        }
    }

    #[test]
    fn the_record_has_the_beginning_of_a_long_subject() {
        let long = certificate(vec![(DnType::CommonName, "x".repeat(2000).into())], |_| {});
        let kept = &long.facts().subject;
        assert!(kept.len() <= LONGEST_SUBJECT && kept.starts_with("CN=xxx") && kept.ends_with('…'), "{kept}");
        assert_eq!(long.value(CertificateField::Subject).map(str::len), Some(2003));
    }

    #[test]
    fn a_value_that_is_too_long_is_left_out_and_not_cut() {
        let long = certificate(vec![(DnType::CommonName, "ö".repeat(3000).into())], |_| {});
        assert_eq!(long.value(CertificateField::Subject), None);
        assert!(long.value(CertificateField::Serial).is_some());
    }
}
