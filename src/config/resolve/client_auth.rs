//! Certificates of clients: which a listener takes, and which routes want them.

use std::path::Path;

use super::Resolver;
use crate::{
    config::{ClientTrust, Listener, Revocation, document::At, file},
    headers::CertificateField,
};

impl Resolver {
    /// What a listener asks of its clients; `None` = no certificate, or the file is wrong.
    pub(super) fn client_auth(&mut self, auth: file::ClientAuth, at: &At, base: &Path) -> Option<ClientTrust> {
        let file::ClientAuth { mode, ca, crl, crl_expired, unknown_revocation, revocation_depth } = auth;
        let is_required = match mode {
            file::ClientAuthMode::Off => {
                if ca.is_some() {
                    let message = "`mode` is off, which is the default: no client is asked for a certificate";
                    self.warn(at.key("ca"), message, "write mode: required, or mode: optional");
                }
                return None;
            }
            file::ClientAuthMode::Optional => false,
            file::ClientAuthMode::Required => true,
        };
        let help = "name the PEM file of the authorities that sign the certificates of your clients: ca: clients.pem";
        let Some(ca) = ca else {
            self.error(at.clone(), "`client_auth` without a `ca`", help);
            return None;
        };
        if ca.as_os_str() == "system" {
            let message = "`ca: system` would let in whoever has a certificate of any public authority";
            self.error(at.key("ca"), message, help);
            return None;
        }
        let revocation = crl.map(|crl| Revocation {
            crl: base.join(crl),
            takes_expired: crl_expired == file::CrlExpired::Ignore,
            takes_unknown: unknown_revocation == file::UnknownRevocation::Allow,
            leaf_only: revocation_depth == file::RevocationDepth::Leaf,
        });
        Some(ClientTrust { is_required, ca: base.join(ca), revocation })
    }

    /// Warns of routes that want certificates of clients, if no listener asks for one.
    pub(super) fn client_certs(&mut self, routes: &[file::Route], listeners: &[Listener]) {
        let asks = |listener: &Listener| listener.tls.as_ref().is_some_and(|tls| tls.client_auth.is_some());
        if listeners.iter().any(asks) {
            return;
        }
        for (index, route) in routes.iter().enumerate() {
            let at = self.root.key("routes").index(index);
            let help = "ask for certificates at a listener: tls: { client_auth: { mode: optional, ca: clients.pem } }";
            if route.client_cert == file::ClientCert::Required {
                let message = "no listener asks for client certificates: every request on this route is answered 403";
                self.warn(at.key("client_cert"), message, help);
            }
            if !route.forward_client_cert.is_empty() {
                let message = "no listener asks for client certificates: the backend is told of none";
                self.warn(at.key("forward_client_cert"), message, help);
            }
        }
    }
}

/// What the backend of a route is told, each thing once.
pub(super) fn forwarded(listed: &[file::ForwardedCert]) -> Vec<CertificateField> {
    let mut fields = Vec::new();
    for one in listed {
        let field = match one {
            file::ForwardedCert::Fingerprint => CertificateField::Fingerprint,
            file::ForwardedCert::Subject => CertificateField::Subject,
            file::ForwardedCert::San => CertificateField::San,
            file::ForwardedCert::Serial => CertificateField::Serial,
            file::ForwardedCert::Pem => CertificateField::Pem,
        };
        if !fields.contains(&field) {
            fields.push(field);
        }
    }
    fields
}
