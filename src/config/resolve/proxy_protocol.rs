//! The PROXY protocol: whose headers are believed, and which headers backends get.

use std::net::{IpAddr, SocketAddr};

use super::Resolver;
use crate::{
    config::{ProxyTrust, document::At, file},
    proxy_protocol::{HeaderForm, TlvChoice},
    sender::Network,
};

impl Resolver {
    /// `bind`: the address of the listener; `None` = a Unix socket.
    pub(super) fn proxy_trust(
        &mut self,
        section: file::ProxyProtocol,
        bind: Option<SocketAddr>,
        at: &At,
    ) -> ProxyTrust {
        let file::ProxyProtocol { from, required, timeout } = section;
        let from = self.networks(from, &at.key("from"));
        let here = bind.map(|bind| bind.ip().to_canonical()).filter(IpAddr::is_loopback);
        if from.is_empty() {
            let help = "name the networks of your proxies: from: [10.0.0.0/8]";
            self.error(at.key("from"), "`from` names nobody", help);
        } else if bind.is_none() && !from.contains(&Network::Unix) {
            let help = "write from: [unix]: clients of a Unix socket have no address";
            self.warn(at.key("from"), "`from` on a Unix socket does not name `unix`", help);
        } else if bind.is_some() && required && from.iter().all(|network| *network == Network::Unix) {
            let help = "only `unix` may come, and nobody comes by a Unix socket here: every connection is closed";
            self.warn(at.key("from"), "`from` names no address", help);
        } else if let Some(here) = here {
            let is_here = |network: &Network| match network {
                Network::Ip(network) => network.addr().is_loopback() || network.contains(&here),
                Network::Unix => false,
            };
            let help = match (from.iter().any(is_here), required) {
                (true, _) => "only a proxy on this machine can send its headers there",
                (false, true) => "`from` names no address of this machine, so that every connection is closed",
                (false, false) => "`from` names no address of this machine, so that no header can come",
            };
            self.warn(at.clone(), "the PROXY protocol on a listener that only this machine can reach", help);
        }
        ProxyTrust { from, is_required: required, timeout: self.positive(at.key("timeout"), timeout) }
    }

    pub(super) fn header_form(
        &mut self,
        version: Option<file::SentVersion>,
        tlvs: &[file::SentTlv],
        upstream: &At,
    ) -> Option<HeaderForm> {
        if !tlvs.is_empty() && version != Some(file::SentVersion::V2) {
            let help = "write proxy_protocol: v2, or remove it: version 1 has no TLVs";
            self.error(upstream.key("tlvs"), "`tlvs` without `proxy_protocol: v2`", help);
        }
        let has = |tlv| tlvs.contains(&tlv);
        version.map(|version| match version {
            file::SentVersion::V1 => HeaderForm::V1,
            file::SentVersion::V2 => HeaderForm::V2(TlvChoice {
                authority: has(file::SentTlv::Authority),
                unique_id: has(file::SentTlv::UniqueId),
                ssl: has(file::SentTlv::Ssl),
                alpn: has(file::SentTlv::Alpn),
                crc32c: has(file::SentTlv::Crc32c),
            }),
        })
    }
}
