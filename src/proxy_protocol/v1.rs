//! Version 1: one line of text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{BadProxyHeader, HeaderAddresses, ProxyHeader};

/// Every line begins with this.
pub(super) const BEGIN: &[u8] = b"PROXY ";

/// The most bytes of a line, its CRLF included.
const MAX_LINE: usize = 107;

/// Reads the line at the start of `bytes`, which may begin with [`BEGIN`].
pub(super) fn read(bytes: &[u8]) -> Result<Option<(ProxyHeader, usize)>, BadProxyHeader> {
    let seen = bytes.get(..MAX_LINE).unwrap_or(bytes);
    let Some(end) = seen.windows(2).position(|pair| pair == b"\r\n") else {
        return if seen.len() < MAX_LINE { Ok(None) } else { Err(BadProxyHeader::TooLong) };
    };
    let line = seen.get(BEGIN.len()..end).ok_or(BadProxyHeader::Malformed)?;
    // What follows this word is to be ignored.
    let addresses = if line == b"UNKNOWN" || line.starts_with(b"UNKNOWN ") {
        None
    } else {
        Some(addresses(line).ok_or(BadProxyHeader::Malformed)?)
    };
    Ok(Some((ProxyHeader { addresses, told: None }, end + 2)))
}

fn addresses(line: &[u8]) -> Option<HeaderAddresses> {
    let words: Vec<_> = str::from_utf8(line).ok()?.split(' ').collect();
    let [family, source, destination, source_port, destination_port] = words[..] else { return None };
    let address = |text: &str| match family {
        "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::from),
        "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::from),
        _ => None,
    };
    Some(HeaderAddresses {
        source: SocketAddr::new(address(source)?, port(source_port)?),
        destination: SocketAddr::new(address(destination)?, port(destination_port)?),
    })
}

/// A decimal number without a sign or a leading zero.
fn port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if is_plain { text.parse().ok() } else { None }
}

/// Writes a line. Addresses of two families become two IPv6 addresses.
pub(super) fn write(HeaderAddresses { source, destination }: HeaderAddresses) -> Vec<u8> {
    let (source_port, destination_port) = (source.port(), destination.port());
    match (source.ip().to_canonical(), destination.ip().to_canonical()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            format!("PROXY TCP4 {source} {destination} {source_port} {destination_port}\r\n")
        }
        (source, destination) => {
            let (source, destination) = (mapped(source), mapped(destination));
            format!("PROXY TCP6 {source} {destination} {source_port} {destination_port}\r\n")
        }
    }
    .into()
}

/// The address as an IPv6 address (RFC 4291 §2.5.5.2).
pub(super) const fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn told(line: &str) -> Result<Option<HeaderAddresses>, BadProxyHeader> {
        let (header, length) = super::super::read(line.as_bytes())?.unwrap();
        assert_eq!(length, line.len());
        Ok(header.addresses)
    }

    #[test]
    fn lines_of_the_specification_are_read() {
        for (line, source, destination) in [
            (
                "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
                "255.255.255.255:65535",
                "255.255.255.255:65535",
            ),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 0 443\r\n", "192.0.2.1:0", "192.0.2.2:443"),
            ("PROXY TCP6 2001:db8::1 ::1 5000 80\r\n", "[2001:db8::1]:5000", "[::1]:80"),
            ("PROXY TCP6 ::ffff:192.0.2.1 ::1 5000 80\r\n", "[::ffff:192.0.2.1]:5000", "[::1]:80"),
        ] {
            let wanted = HeaderAddresses { source: source.parse().unwrap(), destination: destination.parse().unwrap() };
            assert_eq!(told(line), Ok(Some(wanted)), "{line}");
        }
        let longest = format!("PROXY UNKNOWN {}\r\n", "f".repeat(91));
        assert_eq!(longest.len(), MAX_LINE);
        for line in ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN \r\n", "PROXY UNKNOWN any thing \n\r\n", &longest] {
            assert_eq!(told(line), Ok(None), "{line:?}");
        }
    }

    #[test]
    fn lines_that_differ_in_any_point_are_refused() {
        for line in [
            "PROXY \r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2  2\r\n",
            "PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP6 [::1] ::1 1 2\r\n",
            "PROXY TCP4 192.0.2.1\t192.0.2.2 1 2\r\n",
        ] {
            assert_eq!(told(line), Err(BadProxyHeader::Malformed), "{line}");
        }
        for line in ["proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n", "PROXYTCP4", "GET / HTTP/1.1\r\n", "\x16\x03\x01"] {
            assert_eq!(told(line), Err(BadProxyHeader::Missing), "{line}");
        }
    }

    #[test]
    fn a_line_without_its_end_in_107_bytes_is_too_long() {
        let line = format!("PROXY UNKNOWN {}", "f".repeat(93));
        assert_eq!(read(&line.as_bytes()[..106]), Ok(None));
        assert_eq!(read(&line.as_bytes()[..107]), Err(BadProxyHeader::TooLong));
        assert_eq!(read(format!("{}\r\n", &line[..106]).as_bytes()), Err(BadProxyHeader::TooLong));
    }
}
