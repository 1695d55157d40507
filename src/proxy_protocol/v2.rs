//! Version 2: binary, and extensible by TLVs.

use std::net::{IpAddr, SocketAddr};

use super::{
    BadProxyHeader, HeaderAddresses, MAX_HEADER, ProxyHeader,
    tlvs::{self, ProxyTlvs},
    v1::mapped,
};

/// Every header begins with this.
pub(super) const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The bytes before the addresses: signature, version and command, family and transport, length of the rest.
pub(super) const FIXED: usize = 16;

/// Version 2, with each of the two commands.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

/// TCP over IPv4 and over IPv6.
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

/// Reads the header at the start of `bytes`, which may begin with [`SIGNATURE`].
pub(super) fn read(bytes: &[u8]) -> Result<Option<(ProxyHeader, usize)>, BadProxyHeader> {
    let Some((&[.., command, family, high, low], _)) = bytes.split_first_chunk::<FIXED>() else { return Ok(None) };
    if !matches!(command, LOCAL | PROXY) {
        return Err(BadProxyHeader::Malformed);
    }
    let length = FIXED + usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_HEADER {
        return Err(BadProxyHeader::TooLong);
    }
    let Some(header) = bytes.get(..length) else { return Ok(None) };
    let block = size(family).and_then(|size| header[FIXED..].split_at_checked(size));
    let addresses = match command == PROXY && matches!(family, TCP4 | TCP6) {
        true => Some(block.and_then(|(block, _)| addresses(family, block)).ok_or(BadProxyHeader::Malformed)?),
        false => None,
    };
    let told = match block.map(|(_, tlvs)| tlvs::read(tlvs, header)) {
        None => ProxyTlvs::default(),
        // If the header names no client, the bytes behind its fixed part may be anything.
        Some(Err(BadProxyHeader::Malformed)) if addresses.is_none() => ProxyTlvs::default(),
        Some(told) => told?,
    };
    let is_told = command == PROXY && told != ProxyTlvs::default();
    Ok(Some((ProxyHeader { addresses, told: is_told.then(|| Box::new(told)) }, length)))
}

/// How many bytes the addresses of a family have. `None` = nobody knows.
const fn size(family: u8) -> Option<usize> {
    match family >> 4 {
        // None at all.
        0 => Some(0),
        1 => Some(12),
        2 => Some(36),
        // Two paths of Unix sockets.
        3 => Some(216),
        _ => None,
    }
}

fn addresses(family: u8, block: &[u8]) -> Option<HeaderAddresses> {
    if family == TCP4 { pair::<4>(block) } else { pair::<16>(block) }
}

/// Two addresses of `N` bytes, then their ports.
fn pair<const N: usize>(block: &[u8]) -> Option<HeaderAddresses>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = block.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let &[a, b, c, d] = rest else { return None };
    Some(HeaderAddresses {
        source: SocketAddr::new((*source).into(), u16::from_be_bytes([a, b])),
        destination: SocketAddr::new((*destination).into(), u16::from_be_bytes([c, d])),
    })
}

/// Appends a header without TLVs. Its length is that of the addresses. Addresses of two families become two IPv6
/// addresses.
pub(super) fn write(HeaderAddresses { source, destination }: HeaderAddresses, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&SIGNATURE);
    let ports = [source.port().to_be_bytes(), destination.port().to_be_bytes()].concat();
    match (source.ip().to_canonical(), destination.ip().to_canonical()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            bytes.extend_from_slice(&[PROXY, TCP4, 0, 12]);
            bytes.extend([source.octets(), destination.octets()].concat());
        }
        (source, destination) => {
            bytes.extend_from_slice(&[PROXY, TCP6, 0, 36]);
            bytes.extend([mapped(source).octets(), mapped(destination).octets()].concat());
        }
    }
    bytes.extend(ports);
}

/// A header of a connection without a client.
pub(super) fn local() -> Vec<u8> {
    [&SIGNATURE[..], &[LOCAL, 0, 0, 0]].concat()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    fn told(command: u8, family: u8, rest: &[u8]) -> Result<ProxyHeader, BadProxyHeader> {
        let bytes = header(command, family, rest);
        let (header, length) = super::super::read(&bytes)?.unwrap();
        assert_eq!(length, bytes.len());
        Ok(header)
    }

    const V4: [u8; 12] = [192, 0, 2, 1, 192, 0, 2, 2, 0x13, 0x88, 1, 0xbb];
    /// An authority.
    const NAMED: &[u8] = b"\x02\0\x01a";

    #[test]
    fn addresses_of_both_families_are_read() {
        let v4 = told(PROXY, TCP4, &V4).unwrap().addresses.unwrap();
        assert_eq!(
            (v4.source.to_string(), v4.destination.to_string()),
            ("192.0.2.1:5000".into(), "192.0.2.2:443".into())
        );
        let mut v6 = [0; 36];
        (v6[0], v6[15], v6[31], v6[33], v6[35]) = (0x20, 1, 2, 80, 90);
        let v6 = told(PROXY, TCP6, &v6).unwrap().addresses.unwrap();
        assert_eq!((v6.source.to_string(), v6.destination.to_string()), ("[2000::1]:80".into(), "[::2]:90".into()));
    }

    #[test]
    fn headers_that_name_no_client_of_tcp_are_accepted() {
        let unix = [0; 216];
        for (command, family, rest) in [
            (LOCAL, 0x00, &b""[..]),
            (LOCAL, TCP4, &V4),
            (LOCAL, TCP4, b"short"),
            (PROXY, 0x00, b""),
            (PROXY, 0x00, b"anything"),
            (PROXY, 0x12, &V4),
            (PROXY, 0x10, &V4),
            (PROXY, 0x31, &unix),
            (PROXY, 0x31, b"short"),
            (PROXY, 0xf1, b"anything"),
            (PROXY, 0xff, b""),
        ] {
            assert_eq!(told(command, family, rest), Ok(ProxyHeader::default()), "{command:x} {family:x} {rest:?}");
        }
        // TLVs are read wherever they can be found, but not of a connection of the sender's own.
        let authority = |header: ProxyHeader| header.told.and_then(|told| told.authority);
        assert_eq!(authority(told(PROXY, 0x00, NAMED).unwrap()), Some("a".into()));
        assert_eq!(authority(told(PROXY, 0x31, &[&unix, NAMED].concat()).unwrap()), Some("a".into()));
        assert_eq!(authority(told(PROXY, TCP4, &[&V4, NAMED].concat()).unwrap()), Some("a".into()));
        assert_eq!(authority(told(LOCAL, 0x00, NAMED).unwrap()), None);
    }

    #[test]
    fn a_wrong_checksum_is_found_whether_or_not_the_header_names_a_client() {
        let wrong = b"\x03\0\x04\0\0\0\0";
        for (command, family, block) in [(PROXY, TCP4, &V4[..]), (PROXY, 0x00, b""), (LOCAL, 0x00, b"")] {
            assert_eq!(told(command, family, &[block, wrong].concat()), Err(BadProxyHeader::Checksum), "{family:x}");
        }
    }

    #[test]
    fn what_breaks_the_grammar_is_refused() {
        for (command, family, rest) in [
            (0x22, TCP4, &V4[..]),
            (0x11, TCP4, &V4),
            (0x01, TCP4, &V4),
            (PROXY, TCP4, &V4[..11]),
            (PROXY, TCP6, &V4),
            (PROXY, TCP4, &[&V4[..], b"\x02"].concat()),
            (PROXY, TCP4, &[&V4[..], b"\x02\0\x02a"].concat()),
        ] {
            assert_eq!(told(command, family, rest), Err(BadProxyHeader::Malformed), "{command:x} {family:x} {rest:?}");
        }
    }

    #[test]
    fn a_header_of_4096_bytes_is_read_and_a_longer_one_is_refused_at_its_length() {
        let padding =
            |length: usize| [&V4[..], &[4], &u16::try_from(length).unwrap().to_be_bytes(), &vec![0; length]].concat();
        let bytes = header(PROXY, TCP4, &padding(MAX_HEADER - FIXED - 12 - 3));
        assert_eq!(bytes.len(), MAX_HEADER);
        assert!(matches!(read(&bytes), Ok(Some((_, MAX_HEADER)))));
        let bytes = header(PROXY, TCP4, &padding(MAX_HEADER - FIXED - 12 - 2));
        assert_eq!(read(&bytes[..FIXED]), Err(BadProxyHeader::TooLong));
    }
}
