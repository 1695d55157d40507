//! Who is at the other end of a client's connection, and who a request is from. PURE.
//!
//! The rest of the program asks these types what it needs to know: whether somebody is trusted, how a client is written,
//! what counts as one client. So only this file knows which kinds of client there are.

use std::{
    fmt,
    io::Write as _,
    net::{AddrParseError, IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU32,
    ops::Deref,
    str::FromStr,
};

use ipnet::IpNet;
use serde::{Serialize, Serializer};

/// Who is at the other end of a client's connection: the client itself, or a proxy before us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// A host, by its address and port.
    Host(SocketAddr),
    /// A process of this machine, which came by a Unix socket and has no address.
    Process(PeerProcess),
}

/// The process at the other end of a Unix socket, as the kernel tells it (`SO_PEERCRED`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PeerProcess {
    /// The user that it ran as when it connected.
    #[serde(rename = "peer_uid")]
    pub uid: u32,
    /// Its id. `None` = it has none in our namespace, because it runs outside of our container.
    #[serde(rename = "peer_pid", skip_serializing_if = "Option::is_none")]
    pub pid: Option<NonZeroU32>,
}

/// Who a request is from: its sender, or the client that a trusted sender names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client(
    /// Never an IPv4 address in the form of an IPv6 address. `None` = a client of a Unix socket. All of these are one
    /// client.
    Option<IpAddr>,
);

/// Some of the clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Those with an address in a network.
    Ip(IpNet),
    /// Those of Unix sockets.
    Unix,
}

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
        match self {
            Self::Host(address) => address.ip().into(),
            Self::Process(_) => Client::of_unix(),
        }
    }

    /// The process, if the sender came by a Unix socket.
    #[must_use]
    pub const fn process(&self) -> Option<PeerProcess> {
        match self {
            Self::Host(_) => None,
            Self::Process(process) => Some(*process),
        }
    }

    /// Address and port of a client, for the PROXY header that a backend gets. The port is 0 if the sender only names the
    /// client (`is_named`): nobody else knows that port. `None` = the client has no address.
    #[must_use]
    pub fn source(&self, client: Client, is_named: bool) -> Option<SocketAddr> {
        let port = match self {
            Self::Host(address) if !is_named => address.port(),
            Self::Host(_) | Self::Process(_) => 0,
        };
        client.0.map(|address| SocketAddr::new(address, port))
    }
}

impl From<SocketAddr> for Sender {
    fn from(address: SocketAddr) -> Self {
        Self::Host(address)
    }
}

/// The address and port, or the process, for messages about the connection.
impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(address) => address.fmt(f),
            Self::Process(PeerProcess { uid, pid: Some(pid) }) => write!(f, "unix: (uid {uid}, pid {pid})"),
            Self::Process(PeerProcess { uid, pid: None }) => write!(f, "unix: (uid {uid})"),
        }
    }
}

impl PeerProcess {
    /// The length of [`Self::to_bytes`].
    pub const BYTES: usize = 8;

    /// The process in few bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let pid = self.pid.map_or(0, NonZeroU32::get);
        (u64::from(self.uid) << 32 | u64::from(pid)).to_be_bytes()
    }

    /// The process of these [`Self::to_bytes`].
    #[must_use]
    pub fn from_bytes([a, b, c, d, e, f, g, h]: [u8; Self::BYTES]) -> Self {
        Self { uid: u32::from_be_bytes([a, b, c, d]), pid: NonZeroU32::new(u32::from_be_bytes([e, f, g, h])) }
    }
}

impl Client {
    /// How records write a client of a Unix socket.
    const UNIX: &str = "unix:";

    /// A client of a Unix socket.
    #[must_use]
    pub const fn of_unix() -> Self {
        Self(None)
    }

    /// Whether the client came by a Unix socket, so that it has no address.
    #[must_use]
    pub const fn is_of_unix(&self) -> bool {
        self.0.is_none()
    }

    /// Whether the client is one of these.
    #[must_use]
    pub fn is_in(&self, network: &Network) -> bool {
        match (network, self.0) {
            (Network::Ip(network), Some(address)) => network.contains(&address),
            (Network::Unix, None) => true,
            (Network::Ip(_), None) | (Network::Unix, Some(_)) => false,
        }
    }

    /// Its address; `None` = it has none.
    #[must_use]
    pub const fn address(&self) -> Option<IpAddr> {
        self.0
    }

    /// Appends the client as fields toward a backend and records have it. This code writes IPv4 itself, because the
    /// standard library's formatting takes ten times as long.
    pub fn write(&self, text: &mut Vec<u8>) {
        match self.0 {
            Some(IpAddr::V4(address)) => {
                let [first, rest @ ..] = address.octets();
                push_octet(text, first);
                for part in rest {
                    text.push(b'.');
                    push_octet(text, part);
                }
            }
            Some(IpAddr::V6(address)) => {
                // A write to memory does not fail.
                let _ = write!(text, "{address}");
            }
            None => text.extend_from_slice(Self::UNIX.as_bytes()),
        }
    }

    /// What counts as one client:
    ///
    /// 1. The leading `prefix_v4` bits of an IPv4 address; more than 32 means 32.
    /// 2. The /64 of an IPv6 address. That is one household or one machine (RFC 6177 §2), and the rest of the address
    ///    changes by itself (RFC 8981).
    /// 3. All clients of Unix sockets together.
    #[must_use]
    pub fn network(&self, prefix_v4: u8) -> Octets {
        match self.0 {
            Some(IpAddr::V4(address)) => {
                let ignored = 32_u32.saturating_sub(u32::from(prefix_v4));
                let mask = u32::MAX.checked_shl(ignored).unwrap_or(0);
                Octets::new(Ipv4Addr::from_bits(address.to_bits() & mask).octets())
            }
            Some(IpAddr::V6(address)) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Octets::new([a, b, c, d, e, f, g, h])
            }
            None => Octets::new([]),
        }
    }

    /// What limits count as one client: an address of IPv4, a /64 of IPv6, all Unix sockets together.
    #[must_use]
    pub fn counted_as(&self) -> Octets {
        self.network(32)
    }

    /// The client in few bytes, for [`Self::from_octets`].
    #[must_use]
    pub fn octets(&self) -> Octets {
        match self.0 {
            Some(IpAddr::V4(address)) => Octets::new(address.octets()),
            Some(IpAddr::V6(address)) => Octets::new(address.octets()),
            None => Octets::new([]),
        }
    }

    /// The client of these [`Self::octets`]. Other bytes give 0.0.0.0.
    #[must_use]
    pub fn from_octets(octets: &[u8]) -> Self {
        if octets.is_empty() {
            return Self::of_unix();
        }
        match <[u8; 16]>::try_from(octets) {
            Ok(v6) => IpAddr::from(v6).into(),
            Err(_) => IpAddr::from(<[u8; 4]>::try_from(octets).unwrap_or_default()).into(),
        }
    }
}

/// `::ffff:a.b.c.d` counts as `a.b.c.d`.
impl From<IpAddr> for Client {
    fn from(address: IpAddr) -> Self {
        Self(Some(address.to_canonical()))
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str(Self::UNIX),
        }
    }
}

impl Serialize for Client {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Network {
    /// The word for the clients of Unix sockets, in the file and for an operator.
    pub const UNIX: &str = "unix";

    /// The same clients, without the bits of an address beyond its prefix.
    #[must_use]
    pub fn trunc(self) -> Self {
        match self {
            Self::Ip(network) => Self::Ip(network.trunc()),
            Self::Unix => Self::Unix,
        }
    }

    /// Whether every client of the other is one of these.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ip(network), Self::Ip(other)) => network.contains(other),
            (Self::Unix, Self::Unix) => true,
            (Self::Ip(_), Self::Unix) | (Self::Unix, Self::Ip(_)) => false,
        }
    }
}

/// Reads a network, an address, or [`Network::UNIX`].
impl FromStr for Network {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Self, AddrParseError> {
        match text.parse::<IpNet>() {
            _ if text == Self::UNIX => Ok(Self::Unix),
            Ok(network) => Ok(Self::Ip(network)),
            Err(_) => text.parse::<IpAddr>().map(|address| Self::Ip(address.into())),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(network) => network.fmt(f),
            Self::Unix => f.write_str(Self::UNIX),
        }
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
        assert_eq!(
            sender.source(sender.client(), false).map(|source| source.to_string()).as_deref(),
            Some("192.0.2.1:5000")
        );
        assert_eq!(
            sender.source(client("2001:db8::1"), true).map(|source| source.to_string()).as_deref(),
            Some("[2001:db8::1]:0")
        );
        assert_eq!(
            sender.source(sender.client(), true).map(|source| source.to_string()).as_deref(),
            Some("192.0.2.1:0")
        );
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
        for client in ["192.0.2.1", "0.0.0.0", "2001:db8::1", "::"].map(client).into_iter().chain([Client::of_unix()]) {
            assert_eq!(Client::from_octets(&client.octets()), client);
        }
    }

    #[test]
    fn processes_are_one_client_without_an_address_and_come_back_from_their_bytes() {
        for (uid, pid) in [(0, None), (1000, NonZeroU32::new(4711)), (u32::MAX, NonZeroU32::new(u32::MAX))] {
            let process = PeerProcess { uid, pid };
            let sender = Sender::Process(process);
            assert_eq!(PeerProcess::from_bytes(process.to_bytes()), process);
            assert_eq!((sender.client(), sender.process()), (Client::of_unix(), Some(process)));
        }
        let mut text = Vec::new();
        Client::of_unix().write(&mut text);
        assert_eq!((&text[..], Client::of_unix().to_string()), (&b"unix:"[..], "unix:".to_owned()));
        assert_ne!(Client::of_unix().network(32), client("0.0.0.0").network(0));
    }

    #[test]
    fn a_network_has_its_addresses_and_unix_those_without_one() {
        let network = |text: &str| text.parse::<Network>().unwrap();
        assert!(client("10.0.0.1").is_in(&network("10.0.0.0/8")) && client("::1").is_in(&network("::1")));
        assert!(Client::of_unix().is_in(&network("unix")) && !client("10.0.0.1").is_in(&network("unix")));
        assert!(!Client::of_unix().is_in(&network("0.0.0.0/0")) && !Client::of_unix().is_in(&network("::/0")));
        assert!("unix:".parse::<Network>().is_err() && "example.com".parse::<Network>().is_err());
        assert_eq!(network("10.1.2.3/8").trunc().to_string(), "10.0.0.0/8");
    }
}
