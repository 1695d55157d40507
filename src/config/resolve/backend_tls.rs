//! TLS to backends.

use std::path::{Path, PathBuf};

use super::{Resolver, upstreams::NOTHING};
use crate::{
    balance::FoundBy,
    config::{Authority, BackendTls, CertificateFiles, UnixName, document::At, file, server_name},
    discovery::BackendEntry,
};

impl Resolver {
    /// `entries`: those of `backends`, each with its index. `upstream`: the place of the upstream.
    pub(super) fn backend_tls(
        &mut self,
        tls: file::UpstreamTls,
        entries: &[(usize, BackendEntry)],
        upstream: &At,
        base: &Path,
    ) -> BackendTls {
        let at = upstream.key("tls");
        let file::UpstreamTls { ca, server_name, verify_name, sni, cert, key, crl, insecure } = tls;
        if ca.0.is_empty() {
            self.error(at.key("ca"), "`ca` names nobody", "write ca: system, or the file of a certificate authority");
        }
        if insecure {
            let message = "`insecure: true`: any server can pose as these backends";
            self.warn(at.key("insecure"), message, "name who signed their certificates: ca: certs/ca.pem");
            let is_idle = [
                ("ca", ca != file::Authorities::default()),
                ("verify_name", verify_name.is_some()),
                ("crl", crl.is_some()),
            ];
            for (key, _) in is_idle.into_iter().filter(|(_, is_idle)| *is_idle) {
                self.warn(at.key(key), format!("`{key}` with `insecure: true`"), NOTHING);
            }
        }
        for (index, entry) in entries {
            let (key, address) = match entry {
                BackendEntry::Named(backend) => ("address", backend.address.clone()),
                BackendEntry::Found { place, .. } if place.kind() == FoundBy::Dns.as_str() => ("dns", place.name()),
                BackendEntry::Found { .. } => continue,
            };
            let place = upstream.key("backends").index(*index).key(key);
            if server_name.is_none() && server_name::of_backend(&address).is_none() {
                let help = "name the host in its certificate: tls: { server_name: chat.example.com }";
                self.error(place.clone(), format!("no certificate has the name of `{address}`"), help);
            }
            if address.ends_with(":80") && UnixName::of(&address).is_none() {
                let help = "name the port where it speaks TLS, mostly 443";
                self.warn(place, format!("`tls` to port 80 of `{address}`, where servers speak plain HTTP"), help);
            }
        }
        BackendTls {
            authorities: ca.0.into_iter().map(|authority| Authority::written(authority, base)).collect(),
            server_name: server_name.map(|name| name.0),
            verify_name: verify_name.map(|name| name.0),
            sni,
            certificate: self.own_certificate(cert, key, &at, base),
            crl: crl.map(|crl| base.join(crl)),
            insecure,
        }
    }

    pub(super) fn own_certificate(
        &mut self,
        cert: Option<PathBuf>,
        key: Option<PathBuf>,
        at: &At,
        base: &Path,
    ) -> Option<CertificateFiles> {
        match (cert, key) {
            (Some(cert), Some(key)) => return Some(CertificateFiles { cert: base.join(cert), key: base.join(key) }),
            (Some(_), None) => {
                self.error(at.key("cert"), "`cert` without `key`", "name the file of its private key: `key`")
            }
            (None, Some(_)) => {
                self.error(at.key("key"), "`key` without `cert`", "name the file of its certificate: `cert`")
            }
            (None, None) => {}
        }
        None
    }
}

impl Authority {
    /// An authority as the file has it. Paths are relative to `base`.
    pub(super) fn written(text: String, base: &Path) -> Self {
        if text == file::Authorities::SYSTEM { Self::System } else { Self::File(base.join(text)) }
    }
}
