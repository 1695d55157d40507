//! The begin of a connection is read as two other parsers read it. Where one of them is known to be more lenient or not to
//! look, it is not asked.

use std::net::SocketAddr;

use longwire::proxy_protocol::{
    self, BadProxyHeader, HeaderAddresses, HeaderFacts, HeaderForm, MAX_HEADER, ProxyHeader, TlvChoice,
};
use ppp::{v1, v2};
use proxy_header::{ParseConfig, Protocol};

/// What another parser says of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// Source and destination of a client of TCP. `None` = the header names none.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
    /// The length of the header.
    pub length: usize,
    /// `None` = they break off.
    pub tlvs: Option<Vec<(u8, Vec<u8>)>>,
}

/// `bytes` are the begin of a connection.
pub fn check(bytes: &[u8]) {
    let read = proxy_protocol::read(bytes);
    // If the begin of these bytes gives a result, all of them give the same one: further bytes never change a result.
    for cut in 0..bytes.len().min(300) {
        match proxy_protocol::read(&bytes[..cut]) {
            Ok(None) => {}
            told => assert_eq!(told, read, "after {cut} bytes"),
        }
    }
    match &read {
        Ok(Some((header, length))) => check_header(&bytes[..*length], header),
        Ok(None) => assert!(bytes.len() < MAX_HEADER, "a whole header is not seen"),
        Err(bad) => check_refusal(bytes, *bad),
    }
    if matches!(read, Ok(None)) {
        assert_eq!((ppp_says(bytes), proxy_header_says(bytes)), (None, None), "a whole header is not seen");
    }
}

fn check_header(bytes: &[u8], header: &ProxyHeader) {
    assert!(bytes.len() <= MAX_HEADER);
    let told = header.addresses.map(|HeaderAddresses { source, destination }| (source, destination));
    for theirs in [ppp_says(bytes), proxy_header_says(bytes)] {
        match theirs {
            Some(Judgement { addresses, length, .. }) => assert_eq!((addresses, length), (told, bytes.len())),
            // They refuse some headers that name no client of TCP. The specification has these accepted.
            None => assert_eq!(told, None, "the others refuse it"),
        }
    }
    if let (Some(tlvs), true) = (ppp_says(bytes).and_then(|theirs| theirs.tlvs), told.is_some()) {
        let last = |kind| tlvs.iter().rev().find(|(other, _)| *other == kind).map(|(_, value)| &value[..]);
        let ours = header.told.as_deref().cloned().unwrap_or_default();
        let is_short = |name: &[u8]| name.len() <= 256 && name.iter().all(u8::is_ascii_graphic);
        match last(2) {
            Some(name) if is_short(name) => assert_eq!(ours.authority.map(String::into_bytes), Some(name.to_vec())),
            name => assert_eq!(ours.authority.is_some(), name.is_some()),
        }
        assert_eq!(ours.unique_id.is_some(), last(5).is_some());
    }
    if let Some(addresses) = header.addresses {
        check_written(addresses);
    }
}

/// What is refused here and taken by another parser, of a header that names a client.
fn check_refusal(bytes: &[u8], bad: BadProxyHeader) {
    let [ppp, other] = [ppp_says(bytes), proxy_header_says(bytes)];
    let is_named = |theirs: &Judgement| theirs.addresses.is_some();
    if bytes.starts_with(b"PROXY") {
        // `ppp` takes a sign before a port.
        assert!(!ppp.is_some_and(|theirs| is_named(&theirs)) || bytes.contains(&b'+'), "{bad:?}");
        return;
    }
    for Judgement { tlvs, length, .. } in [ppp, other].into_iter().flatten().filter(is_named) {
        // Both take headers of any length, and compare no checksum. They do not say which TLVs stand before one that breaks off.
        let has = |kind| tlvs.iter().flatten().any(|(other, _)| *other == kind);
        let is_known = match bad {
            BadProxyHeader::TooLong => length > MAX_HEADER,
            BadProxyHeader::Checksum => tlvs.is_none() || has(3),
            // A TLV that breaks off, or a wrong value of the kinds that are read.
            BadProxyHeader::Malformed => tlvs.is_none() || has(3) || has(0x20),
            BadProxyHeader::Missing => false,
        };
        assert!(is_known, "{bad:?}");
    }
}

/// What is written of the addresses is read as these addresses.
fn check_written(addresses: HeaderAddresses) {
    let facts = HeaderFacts { authority: "chat", unique_id: "", tls: None, is_verified: false, alpn: None };
    let of = |source: SocketAddr, destination: SocketAddr| {
        [source, destination].map(|end| (end.ip().to_canonical(), end.port()))
    };
    for form in [HeaderForm::V1, HeaderForm::V2(TlvChoice { crc32c: true, ..TlvChoice::default() })] {
        let written = form.write(addresses, &facts);
        for theirs in [ppp_says(&written), proxy_header_says(&written)] {
            let Some(Judgement { addresses: Some((source, destination)), length, .. }) = theirs else {
                panic!("{}", written.escape_ascii())
            };
            assert_eq!(length, written.len());
            assert_eq!(of(source, destination), of(addresses.source, addresses.destination));
        }
    }
}

/// What `ppp` says. `None` = it refuses the bytes, or wants more.
pub fn ppp_says(bytes: &[u8]) -> Option<Judgement> {
    let v4 = |v4: v2::IPv4| {
        let source = (v4.source_address, v4.source_port).into();
        (source, (v4.destination_address, v4.destination_port).into())
    };
    let v6 = |v6: v2::IPv6| {
        let source = (v6.source_address, v6.source_port).into();
        (source, (v6.destination_address, v6.destination_port).into())
    };
    if bytes.starts_with(b"P") {
        let header = v1::Header::try_from(bytes).ok()?;
        // It lets a line feed alone end a line whose family is unknown. The specification asks for CRLF.
        if !header.header.ends_with("\r\n") {
            return None;
        }
        let addresses = match header.addresses {
            v1::Addresses::Unknown => None,
            v1::Addresses::Tcp4(ends) => Some(v4(ends)),
            v1::Addresses::Tcp6(ends) => Some(v6(ends)),
        };
        return Some(Judgement { addresses, length: header.header.len(), tlvs: Some(Vec::new()) });
    }
    let header = v2::Header::try_from(bytes).ok()?;
    let is_of_a_client = (header.command, header.protocol) == (v2::Command::Proxy, v2::Protocol::Stream);
    let addresses = match header.addresses {
        v2::Addresses::IPv4(ends) if is_of_a_client => Some(v4(ends)),
        v2::Addresses::IPv6(ends) if is_of_a_client => Some(v6(ends)),
        _ => None,
    };
    let tlvs = header.tlvs().map(|tlv| tlv.ok().map(|tlv| (tlv.kind, tlv.value.to_vec()))).collect();
    Some(Judgement { addresses, length: header.header.len(), tlvs })
}

/// What `proxy-header` says. `None` = it refuses the bytes, or wants more.
fn proxy_header_says(bytes: &[u8]) -> Option<Judgement> {
    // It does not look at the byte behind the first word.
    if bytes.starts_with(b"PROXY") && !bytes.starts_with(b"PROXY ") {
        return None;
    }
    let (header, length) = proxy_header::ProxyHeader::parse(bytes, ParseConfig::default()).ok()?;
    let addresses = header.proxied_address().filter(|ends| ends.protocol == Protocol::Stream);
    let addresses = addresses.map(|ends| (ends.source, ends.destination));
    let tlvs = ppp_says(bytes).and_then(|theirs| theirs.tlvs);
    Some(Judgement { addresses, length, tlvs })
}
