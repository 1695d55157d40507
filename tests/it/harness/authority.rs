//! An authority that signs certificates of clients, and the clients that show them.

use std::{path::Path, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, SupportedProtocolVersion,
        pki_types::{CertificateDer, PrivateKeyDer},
    },
};

use super::client::roots;

/// An authority that signs certificates of clients.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// The certificate of a client, and its key.
pub struct Shown {
    pub certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Its own certificate.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate that `edit` fills in. Its subject is `CN=client` and its serial number 1 otherwise.
    pub fn issue(&self, edit: impl FnOnce(&mut CertificateParams)) -> Shown {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "client");
        params.serial_number = Some(SerialNumber::from(1u64));
        edit(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &*self.0).unwrap().der().clone();
        Shown { certificate, key: key.serialize_der().try_into().unwrap() }
    }

    /// A list of these revoked serial numbers, in PEM. It is due in the year 4000.
    pub fn crl(&self, revoked: &[u64]) -> String {
        let entry = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2000, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2000, 1, 1),
            next_update: date_time_ymd(4000, 1, 1),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&*self.0).unwrap().pem().unwrap()
    }
}

impl Shown {
    /// A TLS client that shows this certificate. It trusts the proxy's certificate `cert`, and speaks this version.
    pub fn connector(&self, cert: &Path, version: &'static SupportedProtocolVersion) -> TlsConnector {
        let config = ClientConfig::builder_with_protocol_versions(&[version])
            .with_root_certificates(roots(cert))
            .with_client_auth_cert(vec![self.certificate.clone()], self.key.clone_key())
            .unwrap();
        TlsConnector::from(Arc::new(config))
    }
}
