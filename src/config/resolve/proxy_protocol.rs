//! The PROXY protocol: whose headers are believed, and which headers backends get.

use std::net::SocketAddr;

use ipnet::IpNet;

use super::Resolver;
use crate::{
    config::{ProxyTrust, document::At, file},
    proxy_protocol::{HeaderForm, TlvChoice},
};

impl Resolver {
    /// `bind`: the address of the listener.
    pub(super) fn proxy_trust(&mut self, section: file::ProxyProtocol, bind: SocketAddr, at: &At) -> ProxyTrust {
        let file::ProxyProtocol { from, required, timeout } = section;
        let from = self.networks(from, &at.key("from"));
        if from.is_empty() {
            let help = "name the networks of your proxies: from: [10.0.0.0/8]";
            self.error(at.key("from"), "`from` names nobody", help);
        } else if bind.ip().to_canonical().is_loopback() {
            let is_here = |network: &IpNet| network.addr().is_loopback() || network.contains(&bind.ip().to_canonical());
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
