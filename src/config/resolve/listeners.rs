//! The addresses on which longwire accepts connections, and their certificates.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
};

use super::Resolver;
use crate::config::{
    Admin, AdminBind, CertificateFiles, ListenAddress, Listener, SocketRights, Tls, UnixName, addresses::Bind,
    document::At, file, rights::Mode,
};

impl Resolver {
    pub(super) fn listeners(&mut self, listeners: Vec<file::Listener>, base: &Path) -> Vec<Listener> {
        let all = self.root.key("listeners");
        if listeners.is_empty() {
            self.error(all.clone(), "no listener", "name at least one: listeners: [{ bind: 0.0.0.0:8080 }]");
        }
        let mut resolved: Vec<Listener> = Vec::with_capacity(listeners.len());
        for (index, listener) in listeners.into_iter().enumerate() {
            let file::Listener { bind: Bind(bind), mode, owner, group, proxy_protocol, tls } = listener;
            let at = all.index(index);
            if let Some(first) = resolved.iter().find(|other| are_one(&other.bind, &bind)) {
                let message = format!("two listeners on one address: {} and {bind}", first.bind);
                let help = match (&first.bind, &bind) {
                    (ListenAddress::Tcp(first), ListenAddress::Tcp(bind)) if first.is_ipv4() != bind.is_ipv4() => {
                        "[::] takes IPv4 connections too: remove the other, or give it another port"
                    }
                    (ListenAddress::Tcp(_), _) => "remove one, or give it another port",
                    (ListenAddress::Unix(_), _) => "remove one, or give it another name",
                };
                self.error(at.key("bind"), message, help);
            }
            if !matches!(bind, ListenAddress::Unix(UnixName::Path(_))) {
                let keys = [("mode", mode.is_some()), ("owner", owner.is_some()), ("group", group.is_some())];
                for (key, _) in keys.into_iter().filter(|(_, is_set)| *is_set) {
                    let help = "only a path has rights: remove it, or bind unix:/path";
                    self.error(at.key(key), format!("`{key}` with `bind: {bind}`"), help);
                }
            }
            let rights = SocketRights { mode: mode.map_or(SocketRights::USUAL_MODE, |Mode(mode)| mode), owner, group };
            let tls = tls.and_then(|tls| self.tls(tls, &at.key("tls"), base));
            let proxy_protocol =
                proxy_protocol.map(|section| self.proxy_trust(section, bind.tcp(), &at.key("proxy_protocol")));
            resolved.push(Listener { bind, rights, proxy_protocol, tls });
        }
        resolved
    }

    /// Notes an error if the admin interface has the address of a listener.
    pub(super) fn admin_address(&mut self, admin: Option<&Admin>, listeners: &[Listener]) {
        let Some(admin) = admin else { return };
        let help = match admin.bind {
            AdminBind::Tcp(_) => "give it a port of its own, such as 127.0.0.1:9900",
            AdminBind::Unix(_) => "give it a path of its own",
        };
        let bind = admin.bind.clone().into();
        if let Some(listener) = listeners.iter().find(|listener| are_one(&listener.bind, &bind)) {
            let at = self.root.key("admin").key("bind");
            let message = format!("the admin interface is on the address of a listener: {}", listener.bind);
            self.error(at, message, help);
        }
    }

    /// Notes an error if the socket of the hand-over has the path of a listener.
    pub(super) fn handover_address(&mut self, handover: Option<&Path>, listeners: &[Listener]) {
        let Some(path) = handover else { return };
        let taken = ListenAddress::Unix(UnixName::Path(path.to_owned()));
        if listeners.iter().any(|listener| listener.bind == taken) {
            let message = format!("the hand-over is at the path of a listener: {}", path.display());
            self.error(self.root.key("handover"), message, "give it a path of its own");
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
fn are_one(a: &ListenAddress, b: &ListenAddress) -> bool {
    match (a, b) {
        (ListenAddress::Tcp(a), ListenAddress::Tcp(b)) => clash(*a, *b),
        _ => a == b,
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
