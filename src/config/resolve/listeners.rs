//! The addresses on which longwire accepts connections, and their certificates.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
};

use super::Resolver;
use crate::config::{Admin, AdminBind, CertificateFiles, Listener, Tls, document::At, file};

impl Resolver {
    pub(super) fn listeners(&mut self, listeners: Vec<file::Listener>, base: &Path) -> Vec<Listener> {
        let all = self.root.key("listeners");
        if listeners.is_empty() {
            self.error(all.clone(), "no listener", "name at least one: listeners: [{ bind: 0.0.0.0:8080 }]");
        }
        let mut resolved: Vec<Listener> = Vec::with_capacity(listeners.len());
        for (index, file::Listener { bind, proxy_protocol, tls }) in listeners.into_iter().enumerate() {
            let at = all.index(index);
            if let Some(first) = resolved.iter().find(|other| clash(other.bind, bind.0)) {
                let message = format!("two listeners on one address: {} and {}", first.bind, bind);
                let help = match first.bind.is_ipv4() == bind.0.is_ipv4() {
                    true => "remove one, or give it another port",
                    false => "[::] takes IPv4 connections too: remove the other, or give it another port",
                };
                self.error(at.key("bind"), message, help);
            }
            let tls = tls.and_then(|tls| self.tls(tls, &at.key("tls"), base));
            let proxy_protocol =
                proxy_protocol.map(|section| self.proxy_trust(section, bind.0, &at.key("proxy_protocol")));
            resolved.push(Listener { bind: bind.0, proxy_protocol, tls });
        }
        resolved
    }

    /// Notes an error if the admin interface has the address of a listener.
    pub(super) fn admin_address(&mut self, admin: Option<&Admin>, listeners: &[Listener]) {
        let Some(Admin { bind: AdminBind::Tcp(bind), .. }) = admin else { return };
        if let Some(listener) = listeners.iter().find(|listener| clash(listener.bind, *bind)) {
            let at = self.root.key("admin").key("bind");
            let message = format!("the admin interface is on the address of a listener: {}", listener.bind);
            self.error(at, message, "give it a port of its own, such as 127.0.0.1:9900");
        }
    }

    fn tls(&mut self, tls: file::Tls, at: &At, base: &Path) -> Option<Tls> {
        let file::Tls { cert, key, self_signed, certificates, client_auth } = tls;
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
        let client_auth = client_auth.and_then(|auth| self.client_auth(auth, &at.key("client_auth"), base));
        Some(Tls { certificates, self_signed, client_auth })
    }
}

/// Whether binding both addresses would fail.
///
/// The unspecified address takes its port on every address, and `[::]` takes it on IPv4 too (`bind(2)` without `IPV6_V6ONLY`,
/// ipv6(7)).
fn clash(a: SocketAddr, b: SocketAddr) -> bool {
    let (ip_a, ip_b) = (a.ip().to_canonical(), b.ip().to_canonical());
    let takes = |all: IpAddr, other: IpAddr| all.is_unspecified() && (all.is_ipv6() || other.is_ipv4());
    a.port() == b.port() && a.port() != 0 && (ip_a == ip_b || takes(ip_a, ip_b) || takes(ip_b, ip_a))
}
