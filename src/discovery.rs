//! Backends that `proxy.yaml` does not name: where they are found, what is known of them, and what all entries of an upstream
//! are together. PURE: the time is an argument; no file, no socket, no tokio.
//!
//! A [`FindingPlace`] is looked into again and again (`net/operate/discovery`), and [`Findings`] remembers what was found there.
//! What is known of a place outlives a reload that names the place again, and every failure.
//!
//! A [`Lookout`] has the questions about one name or service, with their times: it says when to ask which, and which backends
//! follow from the answers. Each type of record of a name is a list of its own (`records`).

mod families;
mod findings;
mod lookout;
mod records;

use std::{
    collections::HashSet,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

pub use self::{
    findings::{Finding, Findings, News},
    lookout::{DnsQuestion, DnsReply, Lookout, ServiceTarget},
    records::DnsAnswer,
};
use crate::balance::{BackendSettings, FoundBy};

/// One entry of an upstream's `backends`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackendEntry {
    /// The file names the address.
    Named(BackendSettings),
    /// The file names where addresses are found.
    Found {
        /// The place.
        place: FindingPlace,
        /// What holds for each of them; `None` = the place says so itself.
        terms: Option<FoundTerms>,
    },
}

/// What the file says of every backend that is found at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundTerms {
    /// The weight of each address of a name; a service has weights of its own.
    pub weight: u32,
    /// As in [`BackendSettings`].
    pub max_conns: usize,
    /// As in [`BackendSettings`].
    pub backup: bool,
    /// As in [`BackendSettings`].
    pub down: bool,
}

/// Where addresses of backends are found.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum FindingPlace {
    /// A file with a list of backends. Its path is resolved against the folder of `proxy.yaml`.
    File(PathBuf),
    /// A name or a service of the DNS.
    Names(NamePlace),
}

/// What is looked up, and how. Another way to look up makes another place, which begins with what is known of this one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NamePlace {
    /// What is looked up.
    pub kind: NameKind,
    /// How.
    pub settings: LookupSettings,
}

/// What is looked up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum NameKind {
    /// Every address of a name.
    Host {
        /// The name.
        host: String,
        /// The port of each address.
        port: u16,
    },
    /// The targets of a service (SRV), such as `_ws._tcp.chat.example.com`.
    Service(String),
}

/// How names are looked up (`upstreams.NAME.discovery`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LookupSettings {
    /// The servers that are asked; empty = those of the system, with its search list and its file of hosts.
    pub resolvers: Vec<SocketAddr>,
    /// The families of addresses that are wanted.
    pub family: Family,
    /// The shortest time from an answer to the next question, more than 0.
    pub min_ttl: Duration,
    /// The longest time from an answer to the next question, `min_ttl` or more.
    pub max_ttl: Duration,
    /// How long answers must say that there is no address until that counts. The longest, too, that targets of before serve
    /// beside those of now.
    pub empty_after: Duration,
    /// The most backends of one place, 1 or more. The lowest addresses are kept.
    pub most: usize,
}

/// Families of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4 and IPv6.
    Any,
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Default for LookupSettings {
    fn default() -> Self {
        Self {
            resolvers: Vec::new(),
            family: Family::Any,
            min_ttl: Duration::from_secs(1),
            max_ttl: Duration::from_secs(300),
            empty_after: Duration::from_secs(30),
            most: 256,
        }
    }
}

impl Family {
    const fn has_ipv4(self) -> bool {
        matches!(self, Self::Any | Self::Ipv4)
    }

    const fn has_ipv6(self) -> bool {
        matches!(self, Self::Any | Self::Ipv6)
    }
}

impl fmt::Display for NameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { host, port } => write!(f, "{host}:{port}"),
            Self::Service(service) => f.write_str(service),
        }
    }
}

impl BackendEntry {
    /// The backend, if the file names it.
    #[must_use]
    pub const fn named(&self) -> Option<&BackendSettings> {
        match self {
            Self::Named(settings) => Some(settings),
            Self::Found { .. } => None,
        }
    }

    /// The place, if the backends are found there.
    #[must_use]
    pub const fn place(&self) -> Option<&FindingPlace> {
        match self {
            Self::Named(_) => None,
            Self::Found { place, .. } => Some(place),
        }
    }
}

impl fmt::Display for BackendEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(settings) => f.write_str(&settings.address),
            Self::Found { place, .. } => place.fmt(f),
        }
    }
}

impl FindingPlace {
    /// The key of the file that names the place.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::File(_) => FoundBy::File.as_str(),
            Self::Names(NamePlace { kind: NameKind::Host { .. }, .. }) => FoundBy::Dns.as_str(),
            Self::Names(NamePlace { kind: NameKind::Service(_), .. }) => FoundBy::Srv.as_str(),
        }
    }

    /// Whether both are the same name or service, however it is looked up.
    fn names_the_same(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Names(_), Self::Names(_)))
            && (self.kind(), self.identity()) == (other.kind(), other.identity())
    }

    /// Those of these backends that may be found here: of the families that are wanted, and no more than `most`.
    fn allowed(&self, backends: &[BackendSettings]) -> Vec<BackendSettings> {
        let Self::Names(NamePlace { settings, .. }) = self else { return backends.to_vec() };
        let is_wanted = |backend: &&BackendSettings| match backend.address.parse() {
            Ok(SocketAddr::V4(_)) => settings.family.has_ipv4(),
            Ok(SocketAddr::V6(_)) => settings.family.has_ipv6(),
            Err(_) => true,
        };
        backends.iter().filter(is_wanted).take(settings.most).cloned().collect()
    }

    /// The common form of every spelling of its name: the DNS does not tell the letter cases apart.
    #[must_use]
    pub fn identity(&self) -> String {
        match self {
            Self::File(_) => self.name(),
            Self::Names(_) => self.name().to_ascii_lowercase(),
        }
    }

    /// What the file says of the place.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Names(NamePlace { kind, .. }) => kind.to_string(),
        }
    }
}

impl fmt::Display for FindingPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.name())
    }
}

/// The backends of all entries together, in the order of the entries. Of several with one address the first one counts, so a
/// backend that the file names keeps its settings, wherever else its address is found.
fn merge(
    entries: &[BackendEntry],
    mut found: impl FnMut(&FindingPlace) -> Vec<BackendSettings>,
) -> Vec<BackendSettings> {
    let mut seen = HashSet::new();
    let each = entries.iter().flat_map(|entry| match entry {
        BackendEntry::Named(settings) => vec![settings.clone()],
        BackendEntry::Found { place, terms: None } => found(place),
        BackendEntry::Found { place, terms: Some(terms) } => {
            found(place).into_iter().map(|settings| terms.apply_to(settings)).collect()
        }
    });
    each.filter(|backend| seen.insert(identity(&backend.address))).collect()
}

impl FoundTerms {
    fn apply_to(&self, settings: BackendSettings) -> BackendSettings {
        let Self { weight, max_conns, backup, down } = *self;
        let has_own_weight = settings.found.as_ref().is_some_and(|found| found.by == FoundBy::Srv);
        let weight = if has_own_weight { settings.weight } else { weight };
        BackendSettings { weight, max_conns, backup, down, ..settings }
    }
}

/// The common form of every spelling of a backend: `[::1]` and `[0:0:0:0:0:0:0:1]` are one address, a name in either case is
/// one name, `unix:/run//app` and `unix:/run/app` are one path. A path is not looked at: links are not followed.
#[must_use]
pub fn identity(address: &str) -> String {
    if let Some(path) = address.strip_prefix("unix:") {
        let parts: PathBuf = Path::new(path).components().collect();
        // An abstract name is as it is.
        return if path.starts_with('/') { format!("unix:{}", parts.display()) } else { address.to_owned() };
    }
    match address.parse::<SocketAddr>() {
        Ok(address) => SocketAddr::new(address.ip().to_canonical(), address.port()).to_string(),
        Err(_) => address.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    pub(super) fn backend(address: &str, weight: u32) -> BackendSettings {
        BackendSettings {
            address: address.to_owned(),
            weight,
            max_conns: 0,
            backup: false,
            down: false,
            tier: 0,
            found: None,
        }
    }

    fn place(name: &str) -> BackendEntry {
        BackendEntry::Found { place: FindingPlace::File(name.into()), terms: None }
    }

    #[test]
    fn entries_stand_in_the_order_of_the_file_and_the_first_of_two_counts() {
        let entries = [place("one"), BackendEntry::Named(backend("10.0.0.1:80", 5)), place("other")];
        let merged = merge(&entries, |place| match &*place.name() {
            "one" => vec![backend("10.0.0.2:80", 2), backend("[::ffff:10.0.0.3]:80", 1)],
            _ => vec![backend("10.0.0.3:80", 7), backend("10.0.0.1:80", 9), backend("Chat:80", 1)],
        });
        let expected = [
            backend("10.0.0.2:80", 2),
            backend("[::ffff:10.0.0.3]:80", 1),
            backend("10.0.0.1:80", 5),
            backend("Chat:80", 1),
        ];
        assert_eq!(merged, expected);
    }

    #[test]
    fn an_address_has_one_identity_however_it_is_written() {
        for (one, other, are_one) in [
            ("[::1]:80", "[0:0::1]:80", true),
            ("Chat:80", "chat:80", true),
            ("unix:/run//app.sock", "unix:/run/./app.sock", true),
            ("unix:/run/App.sock", "unix:/run/app.sock", false),
            ("unix:@a//b", "unix:@a/b", false),
        ] {
            assert_eq!(identity(one) == identity(other), are_one, "{one}, {other}");
        }
    }

    proptest! {
        #[test]
        fn every_address_is_there_once(lists in vec(vec(0..6_u8, 0..6), 0..5)) {
            let entries: Vec<_> = (0..lists.len()).map(|index| place(&index.to_string())).collect();
            let address = |last: &u8| backend(&format!("10.0.0.{last}:80"), 1);
            let merged = merge(&entries, |place| {
                let index: usize = place.name().parse().unwrap_or_default();
                lists[index].iter().map(address).collect()
            });
            let merged: Vec<_> = merged.into_iter().map(|backend| backend.address).collect();
            let mut expected = Vec::new();
            for address in lists.iter().flatten().map(|last| address(last).address) {
                if !expected.contains(&address) {
                    expected.push(address);
                }
            }
            prop_assert_eq!(merged, expected);
        }
    }
}
