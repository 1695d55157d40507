//! Addresses to accept on, and their certificates.

use std::{net::SocketAddr, path::Path};

use super::Resolver;
use crate::config::{CertificateFiles, Listener, Tls, document::At, file};

impl Resolver {
    pub(super) fn listeners(&mut self, listeners: Vec<file::Listener>, base: &Path) -> Vec<Listener> {
        let all = self.root.key("listeners");
        if listeners.is_empty() {
            self.error(all.clone(), "no listener", "name at least one: listeners: [{ bind: 0.0.0.0:8080 }]");
        }
        let mut resolved: Vec<Listener> = Vec::with_capacity(listeners.len());
        for (index, file::Listener { bind, tls }) in listeners.into_iter().enumerate() {
            let at = all.index(index);
            if let Some(first) = resolved.iter().find(|other| clash(other.bind, bind.0)) {
                let message = format!("two listeners on one address: {} and {}", first.bind, bind);
                self.error(at.key("bind"), message, "remove one, or give it another port");
            }
            let tls = tls.and_then(|tls| self.tls(tls, &at.key("tls"), base));
            resolved.push(Listener { bind: bind.0, tls });
        }
        resolved
    }

    fn tls(&mut self, tls: file::Tls, at: &At, base: &Path) -> Option<Tls> {
        let file::Tls { cert, key, self_signed, certificates } = tls;
        let pair = |cert: &Path, key: &Path| CertificateFiles { cert: base.join(cert), key: base.join(key) };
        let several =
            certificates.iter().map(|file::CertificateFiles { cert, key }| pair(cert, key)).collect::<Vec<_>>();
        let certificates = match (cert, key) {
            (Some(cert), Some(key)) if several.is_empty() => vec![pair(&cert, &key)],
            (None, None) if !several.is_empty() => several,
            (Some(_), None) if several.is_empty() => {
                self.error(at.key("cert"), "`cert` without `key`", "name the file of its private key: `key`");
                return None;
            }
            (None, Some(_)) if several.is_empty() => {
                self.error(at.key("key"), "`key` without `cert`", "name the file of its certificate: `cert`");
                return None;
            }
            (None, None) => {
                self.error(at.clone(), "TLS without a certificate", "name the two files: `cert` and `key`");
                return None;
            }
            _ => {
                let help = "move the pair to the head of `certificates`";
                self.error(at.key("certificates"), "both `certificates` and `cert`/`key`", help);
                return None;
            }
        };
        Some(Tls { certificates, self_signed })
    }
}

/// Whether binding both would fail. The unspecified address takes the port on every other of its family; IPv6
/// listeners are v6-only, as in nginx.
fn clash(a: SocketAddr, b: SocketAddr) -> bool {
    let (ip_a, ip_b) = (a.ip(), b.ip());
    let overlap =
        ip_a == ip_b || (ip_a.is_ipv4() == ip_b.is_ipv4() && (ip_a.is_unspecified() || ip_b.is_unspecified()));
    a.port() == b.port() && a.port() != 0 && overlap
}
