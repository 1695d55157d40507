//! Who is at the other end of a client's connection, and who a request is from. PURE.
//!
//! The rest of the program asks these types what it needs to know: whether somebody is trusted, how a client is written,
//! what counts as one client. So only this file knows which kinds of client there are.

use std::{
    fmt,
    io::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::Deref,
};

use ipnet::IpNet;
use serde::{Serialize, Serializer};

/// Who is at the other end of a client's connection: the client itself, or a proxy before us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender(SocketAddr);

/// Who a request is from: its sender, or the client that a trusted sender names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client(
    /// Never an IPv4 address in the form of an IPv6 address.
    IpAddr,
);

/// A few bytes that stand for a client, or for all clients of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Octets {
    bytes: [u8; 16],
    length: u8,
}

impl Sender {
    /// The sender as a client.
    #[must_use]
    pub fn client(&self) -> Client {
        self.0.ip().into()
    }

    /// Address and port of a client, for the PROXY header that a backend gets. The port is 0 if the sender only names the
    /// client (`is_named`): nobody else knows that port.
    #[must_use]
    pub fn source(&self, client: Client, is_named: bool) -> SocketAddr {
        SocketAddr::new(client.0, if is_named { 0 } else { self.0.port() })
    }
}

impl From<SocketAddr> for Sender {
    fn from(address: SocketAddr) -> Self {
        Self(address)
    }
}

/// The address and port, for messages about the connection.
impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Client {
    /// Whether the client is in a network.
    #[must_use]
    pub fn is_in(&self, network: &IpNet) -> bool {
        network.contains(&self.0)
    }

    /// Appends the client as fields toward a backend and records have it. This code writes IPv4 itself, because the
    /// standard library's formatting takes ten times as long.
    pub fn write(&self, text: &mut Vec<u8>) {
        match self.0 {
            IpAddr::V4(address) => {
                let [first, rest @ ..] = address.octets();
                push_octet(text, first);
                for part in rest {
                    text.push(b'.');
                    push_octet(text, part);
                }
            }
            IpAddr::V6(address) => {
                // A write to memory does not fail.
                let _ = write!(text, "{address}");
            }
        }
    }

    /// What counts as one client:
    ///
    /// 1. The leading `prefix_v4` bits of an IPv4 address; more than 32 means 32.
    /// 2. The /64 of an IPv6 address. That is one household or one machine (RFC 6177 §2), and the rest of the address
    ///    changes by itself (RFC 8981).
    #[must_use]
    pub fn network(&self, prefix_v4: u8) -> Octets {
        match self.0 {
            IpAddr::V4(address) => {
                let ignored = 32_u32.saturating_sub(u32::from(prefix_v4));
                let mask = u32::MAX.checked_shl(ignored).unwrap_or(0);
                Octets::new(Ipv4Addr::from_bits(address.to_bits() & mask).octets())
            }
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Octets::new([a, b, c, d, e, f, g, h])
            }
        }
    }

    /// The client in few bytes, for [`Self::from_octets`].
    #[must_use]
    pub fn octets(&self) -> Octets {
        match self.0 {
            IpAddr::V4(address) => Octets::new(address.octets()),
            IpAddr::V6(address) => Octets::new(address.octets()),
        }
    }

    /// The client of these [`Self::octets`]. Other bytes give 0.0.0.0.
    #[must_use]
    pub fn from_octets(octets: &[u8]) -> Self {
        match <[u8; 16]>::try_from(octets) {
            Ok(v6) => IpAddr::from(v6).into(),
            Err(_) => IpAddr::from(<[u8; 4]>::try_from(octets).unwrap_or_default()).into(),
        }
    }
}

/// `::ffff:a.b.c.d` counts as `a.b.c.d`.
impl From<IpAddr> for Client {
    fn from(address: IpAddr) -> Self {
        Self(address.to_canonical())
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Client {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Octets {
    fn new<const N: usize>(octets: [u8; N]) -> Self {
        let mut bytes = [0; 16];
        bytes[..N].copy_from_slice(&octets);
        Self { bytes, length: N as u8 }
    }
}

impl Deref for Octets {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

fn push_octet(text: &mut Vec<u8>, octet: u8) {
    if octet >= 100 {
        text.push(b'0' + octet / 100);
    }
    if octet >= 10 {
        text.push(b'0' + octet / 10 % 10);
    }
    text.push(b'0' + octet % 10);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn client(text: &str) -> Client {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn a_client_is_written_as_the_standard_library_writes_its_address() {
        for octet in 0..=u8::MAX {
            for address in [IpAddr::from([octet, 0, 255, octet]), IpAddr::from([u16::from(octet) << 8; 8])] {
                let mut text = Vec::new();
                Client::from(address).write(&mut text);
                assert_eq!(String::from_utf8(text).unwrap(), address.to_string());
            }
        }
    }

    #[test]
    fn an_ipv4_sender_of_a_socket_for_both_families_is_that_ipv4_client() {
        let sender = Sender::from("[::ffff:192.0.2.1]:5000".parse::<SocketAddr>().unwrap());
        assert_eq!(sender.client(), client("192.0.2.1"));
        assert_eq!(sender.to_string(), "[::ffff:192.0.2.1]:5000");
    }

    #[test]
    fn a_client_has_the_port_of_its_own_connection_only() {
        let sender = Sender::from("[::ffff:192.0.2.1]:5000".parse::<SocketAddr>().unwrap());
        assert_eq!(sender.source(sender.client(), false).to_string(), "192.0.2.1:5000");
        assert_eq!(sender.source(client("2001:db8::1"), true).to_string(), "[2001:db8::1]:0");
        assert_eq!(sender.source(sender.client(), true).to_string(), "192.0.2.1:0");
    }

    #[test]
    fn clients_of_one_network_count_as_one() {
        let same =
            |one: &str, other: &str, prefix_v4| client(one).network(prefix_v4) == client(other).network(prefix_v4);
        assert!(!same("192.0.2.1", "192.0.2.2", 32) && !same("192.0.2.1", "192.0.2.2", 255));
        assert!(same("192.0.2.1", "192.0.2.2", 24) && !same("192.0.2.1", "192.0.3.1", 24));
        assert!(same("192.0.2.1", "10.0.0.1", 0));
        assert!(same("2001:db8::1", "2001:db8::2:0:0:1", 0) && !same("2001:db8::1", "2001:db8:0:1::1", 0));
        assert!(same("::ffff:192.0.2.1", "192.0.2.1", 32) && !same("192.0.2.1", "c000:201::", 32));
    }

    #[test]
    fn a_client_comes_back_from_its_octets() {
        for text in ["192.0.2.1", "0.0.0.0", "2001:db8::1", "::"] {
            assert_eq!(Client::from_octets(&client(text).octets()), client(text));
        }
    }
}
