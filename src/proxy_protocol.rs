//! The PROXY protocol, versions 1 and 2: the header in which a proxy says whose connection it passes on. PURE.
//!
//! [`read`] reads the header that stands before a client's bytes. [`HeaderForm`] writes the header that stands before a
//! request to a backend. The specification is `doc/proxy-protocol.txt` of HAProxy.

mod checksum;
mod form;
mod tlvs;
mod v1;
mod v2;

use std::net::SocketAddr;

pub use self::{
    form::{HeaderFacts, HeaderForm, TlvChoice},
    tlvs::ProxyTlvs,
};

/// The most bytes of a header.
pub const MAX_HEADER: usize = 4096;

/// What a header says. The default: nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Whose connection it is. `None` = the connection is the sender's own (`LOCAL`), or the sender says that it does not
    /// know (`UNKNOWN`), or the addresses are of another family than IP, or of another transport than TCP.
    pub addresses: Option<HeaderAddresses>,
    /// What version 2 says beside the addresses.
    pub told: Option<Box<ProxyTlvs>>,
}

/// Both ends of a client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderAddresses {
    /// The client.
    pub source: SocketAddr,
    /// What the client connected to.
    pub destination: SocketAddr,
}

/// What is wrong with the begin of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadProxyHeader {
    /// A CRC32C that is not that of the header.
    Checksum,
    /// A header that breaks its grammar.
    Malformed,
    /// Something else than a header.
    Missing,
    /// A header that is longer than 107 bytes (version 1) or [`MAX_HEADER`].
    TooLong,
}

/// Reads the header at the start of `bytes`. Returns the header with its length. `None` = the header is not complete, and
/// all of these bytes belong to it.
///
/// # Errors
/// The bytes are no header. More bytes would not change that.
pub fn read(bytes: &[u8]) -> Result<Option<(ProxyHeader, usize)>, BadProxyHeader> {
    let may_begin_with = |begin: &[u8]| bytes.iter().zip(begin).all(|(byte, wanted)| byte == wanted);
    if may_begin_with(v1::BEGIN) {
        v1::read(bytes)
    } else if may_begin_with(&v2::SIGNATURE) {
        v2::read(bytes)
    } else {
        Err(BadProxyHeader::Missing)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::{collection::vec, option, prelude::*};

    use super::{tlvs::MAX_UNIQUE_ID, *};

    fn address() -> impl Strategy<Value = SocketAddr> {
        let v4 = (any::<[u8; 4]>(), any::<u16>()).prop_map(SocketAddr::from);
        prop_oneof![v4, (any::<[u16; 8]>(), any::<u16>()).prop_map(SocketAddr::from)]
    }

    fn choice() -> impl Strategy<Value = TlvChoice> {
        any::<[bool; 5]>().prop_map(|[authority, unique_id, ssl, alpn, crc32c]| TlvChoice {
            authority,
            unique_id,
            ssl,
            alpn,
            crc32c,
        })
    }

    /// Both addresses in one family, without an IPv4 address in the form of an IPv6 address unless the other one is IPv6.
    fn in_one_family(source: SocketAddr, destination: SocketAddr) -> HeaderAddresses {
        let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        let (source, destination) = (canonical(source), canonical(destination));
        if source.is_ipv4() == destination.is_ipv4() {
            return HeaderAddresses { source, destination };
        }
        let mapped = |address: SocketAddr| match address {
            SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), v4.port()).into(),
            v6 @ SocketAddr::V6(_) => v6,
        };
        HeaderAddresses { source: mapped(source), destination: mapped(destination) }
    }

    proptest! {
        #[test]
        fn a_header_is_read_as_it_was_written_and_only_when_it_is_complete(
            (source, destination) in (address(), address()),
            choice in choice(),
            (is_v1, is_verified) in any::<(bool, bool)>(),
            authority in "[a-z.]{1,80}",
            unique_id in "[!-~]{1,128}",
            (tls, alpn) in (option::of(Just("TLSv1.3")), option::of(Just(&b"http/1.1"[..]))),
            behind in vec(any::<u8>(), 0..40),
        ) {
            let form = if is_v1 { HeaderForm::V1 } else { HeaderForm::V2(choice) };
            let facts = HeaderFacts { authority: &authority, unique_id: &unique_id, tls, is_verified, alpn };
            let written = form.write(HeaderAddresses { source, destination }, &facts);
            prop_assert!(written.len() <= 536, "the specification's bound on what always comes in one piece");
            let bytes = [&written[..], &behind].concat();
            for length in 0..written.len() {
                prop_assert_eq!(read(&bytes[..length]), Ok(None), "{} bytes", length);
            }
            let (header, length) = read(&bytes).unwrap().unwrap();
            prop_assert_eq!(length, written.len());
            prop_assert_eq!(header.addresses, Some(in_one_family(source, destination)));
            let told = header.told.map(|told| *told).unwrap_or_default();
            let (v2, of) = (!is_v1, |wanted: bool, text: &str| wanted.then(|| text.to_owned()));
            prop_assert_eq!(told.authority, of(v2 && choice.authority, &authority));
            prop_assert_eq!(told.unique_id, of(v2 && choice.unique_id, &unique_id));
            prop_assert_eq!(told.tls_version, tls.and_then(|tls| of(v2 && choice.ssl, tls)));
            let says_verified = v2 && choice.ssl && is_verified && tls.is_some();
            prop_assert_eq!(told.is_client_verified, says_verified.then_some(true));
            prop_assert_eq!((told.client_name, told.vpc_endpoint), (None, None));
        }

        #[test]
        fn a_changed_bit_behind_the_length_of_a_header_with_a_checksum_is_found(
            (source, destination) in (address(), address()), at: prop::sample::Index, bit in 0..8_u8,
        ) {
            let choice = TlvChoice { crc32c: true, authority: true, ..TlvChoice::default() };
            let facts = HeaderFacts { authority: "chat.example.com", unique_id: "", tls: None, is_verified: false, alpn: None };
            let mut bytes = HeaderForm::V2(choice).write(HeaderAddresses { source, destination }, &facts);
            // In the addresses: elsewhere the change may hide that there is a checksum.
            let at = 16 + at.index(if bytes[13] == 0x11 { 12 } else { 36 });
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(read(&bytes), Err(BadProxyHeader::Checksum));
        }

        #[test]
        fn any_bytes_are_judged_and_no_further_byte_changes_the_judgement(
            mut bytes in vec(any::<u8>(), 0..300), begin in 0..3_usize, cut: prop::sample::Index,
        ) {
            let begin: &[u8] = [&b""[..], b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x20"][begin];
            bytes.splice(0..0, begin.iter().copied());
            let whole = read(&bytes);
            match read(&bytes[..cut.index(bytes.len() + 1)]) {
                Ok(None) => {}
                told => prop_assert_eq!(told, whole),
            }
        }
    }

    #[test]
    fn a_connection_without_a_client_says_so() {
        assert_eq!(HeaderForm::V1.without_client(), b"PROXY UNKNOWN\r\n");
        let v2 = HeaderForm::V2(TlvChoice { crc32c: true, unique_id: true, ..TlvChoice::default() });
        assert_eq!(v2.without_client(), b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
        for bytes in [HeaderForm::V1.without_client(), v2.without_client()] {
            assert_eq!(read(&bytes), Ok(Some((ProxyHeader::default(), bytes.len()))));
        }
    }

    #[test]
    fn words_that_are_no_host_name_or_no_id_are_left_out() {
        let (long, id) = ("a".repeat(256), "i".repeat(MAX_UNIQUE_ID + 1));
        let addresses =
            HeaderAddresses { source: "192.0.2.1:1".parse().unwrap(), destination: "192.0.2.2:2".parse().unwrap() };
        let form = HeaderForm::V2(TlvChoice { authority: true, unique_id: true, ..TlvChoice::default() });
        for (authority, unique_id) in [(&*long, &*id), ("", "")] {
            let bytes =
                form.write(addresses, &HeaderFacts { authority, unique_id, tls: None, is_verified: false, alpn: None });
            assert_eq!(bytes.len(), 28);
        }
    }
}
