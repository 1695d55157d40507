//! The script that counts (`fleet.lua`), its calls, and what it answers.

use std::{fmt::Write as _, net::Ipv4Addr, sync::LazyLock};

use redis::ToRedisArgs;
use sha1::{Digest as _, Sha1};

use super::{FleetInstance, failure::FleetFailure, wire::Reply};
use crate::sender::Octets;

/// One script for all calls, so that the server has all of it or nothing.
const SCRIPT: &str = include_str!("fleet.lua");
/// By what the server knows the script.
static DIGEST: LazyLock<String> = LazyLock::new(|| {
    Sha1::digest(SCRIPT).iter().fold(String::new(), |mut text, byte| {
        // A write to memory does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
});

/// The field of all sessions of an instance.
pub(super) const ALL: &str = "*";
/// The field of an instance that takes no sessions any more.
pub(super) const LEAVING: &str = "leaving";

/// The keys of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FleetKeys {
    /// `NAME/RANDOM`.
    pub(super) member: String,
    /// Members, ours, ours under construction, young. What stands in braces is the same in all: so one server of a cluster has all.
    keys: [String; 4],
}

/// What a call of the script answers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ScriptAnswer {
    /// The session is counted.
    Granted,
    /// The client has no room, or all have none. Nothing was counted.
    FullOfClient,
    FullOfAll,
    /// The counts of all were lost, and not all are back.
    Young,
    /// The server does not have our counts, or not those of this generation. Nothing was changed.
    Stale,
    Done,
    Standing {
        is_young: bool,
        instances: Vec<FleetInstance>,
        /// Members, those too that had no room in the list.
        members: usize,
    },
}

impl FleetKeys {
    pub(super) fn new(prefix: &str, member: &str) -> Self {
        let key = |rest: &str| format!("{{{prefix}}}:{rest}");
        let keys = [key("members"), key(member), key(&format!("{member}/new")), key("young")];
        Self { member: member.to_owned(), keys }
    }

    /// Appends a call. `is_whole`: the script goes along, for a server that may not have it.
    pub(super) fn write_call(
        &self,
        into: &mut Vec<u8>,
        is_whole: bool,
        (verb, generation): (&str, u64),
        arguments: impl ToRedisArgs,
    ) {
        let (command, script) = if is_whole { ("EVAL", SCRIPT) } else { ("EVALSHA", DIGEST.as_str()) };
        let mut call = redis::cmd(command);
        call.arg(script).arg(self.keys.len()).arg(&self.keys);
        call.arg(verb).arg(&self.member).arg(generation).arg(arguments);
        call.write_packed_command(into);
    }
}

/// How the server calls what counts as one client.
pub(super) fn name_of(network: &Octets) -> String {
    match **network {
        [a, b, c, d] => Ipv4Addr::new(a, b, c, d).to_string(),
        [a, b, c, d, e, f, g, h] => {
            let part = |high, low| u16::from_be_bytes([high, low]);
            format!("{:x}:{:x}:{:x}:{:x}::/64", part(a, b), part(c, d), part(e, f), part(g, h))
        }
        _ => "unix:".to_owned(),
    }
}

impl ScriptAnswer {
    /// # Errors
    /// Another answer than those of the script.
    pub(super) fn read(reply: &Reply, ours: &str) -> Result<Self, FleetFailure> {
        let odd = || FleetFailure::Broken("an answer that is none of our script's".to_owned());
        let Reply::Array(items) = reply else { return Err(odd()) };
        let [Reply::BulkString(word), rest @ ..] = &items[..] else { return Err(odd()) };
        Ok(match &word[..] {
            b"granted" => Self::Granted,
            b"client" => Self::FullOfClient,
            b"all" => Self::FullOfAll,
            b"young" => Self::Young,
            b"stale" => Self::Stale,
            b"done" => Self::Done,
            b"standing" => {
                let [Reply::Int(young), Reply::Int(members), list @ ..] = rest else { return Err(odd()) };
                let mut instances: Vec<_> = list.chunks_exact(3).filter_map(|three| instance(three, ours)).collect();
                instances.sort_by(|one, other| one.member.cmp(&other.member));
                let members = usize::try_from(*members).unwrap_or_default();
                Self::Standing { is_young: *young != 0, instances, members }
            }
            _ => return Err(odd()),
        })
    }
}

fn instance(three: &[Reply], ours: &str) -> Option<FleetInstance> {
    let [Reply::BulkString(member), Reply::BulkString(sessions), Reply::BulkString(leaving)] = three else {
        return None;
    };
    let member = String::from_utf8_lossy(member).into_owned();
    let name = member.rsplit_once('/').map_or(&*member, |(name, _)| name).to_owned();
    let sessions = str::from_utf8(sessions).ok().and_then(|text| text.parse().ok()).unwrap_or_default();
    let (is_leaving, is_ours) = (leaving != b"0", member == ours);
    Some(FleetInstance { member, name, sessions, is_leaving, is_ours })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::sender::Client;

    #[test]
    fn a_client_is_called_by_its_address_or_by_its_64() {
        let name = |text: &str| name_of(&Client::from(text.parse::<IpAddr>().unwrap()).counted_as());
        assert_eq!(name("192.0.2.1"), "192.0.2.1");
        assert_eq!(name("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(name("2001:db8:0:2::77"), "2001:db8:0:2::/64");
        assert_eq!(name_of(&Client::of_unix().counted_as()), "unix:");
    }

    #[test]
    fn a_call_names_the_script_by_its_digest_or_brings_it_along() {
        let keys = FleetKeys::new("lw", "one/7");
        let (mut short, mut long) = (Vec::new(), Vec::new());
        keys.write_call(&mut short, false, ("renew", 3), (15000, 0));
        keys.write_call(&mut long, true, ("renew", 3), (15000, 0));
        let short = String::from_utf8(short).unwrap();
        assert!(short.starts_with("*12\r\n$7\r\nEVALSHA\r\n$40\r\n"), "{short}");
        for part in ["{lw}:members", "{lw}:one/7", "{lw}:one/7/new", "{lw}:young", "\r\none/7\r\n", "\r\n3\r\n"] {
            assert!(short.contains(part), "{part}");
        }
        assert!(String::from_utf8(long).unwrap().contains(SCRIPT));
    }

    #[test]
    fn instances_are_listed_by_name_and_ours_is_known() {
        let text = |text: &str| Reply::BulkString(text.into());
        let words = ["b/2", "7", "1", "a/b/1", "x", "0"].map(text);
        let list = [vec![text("standing"), Reply::Int(1), Reply::Int(5)], words.to_vec()].concat();
        let answer = ScriptAnswer::read(&Reply::Array(list), "b/2").unwrap();
        let ScriptAnswer::Standing { is_young: true, instances, members: 5 } = answer else { panic!("{answer:?}") };
        let told: Vec<_> =
            instances.iter().map(|one| (&*one.name, one.sessions, one.is_leaving, one.is_ours)).collect();
        assert_eq!(told, [("a/b", 0, false, false), ("b", 7, true, true)]);
        for odd in [vec![], vec![text("standing")], vec![text("x")], vec![Reply::Array(vec![text("done")])]] {
            assert!(ScriptAnswer::read(&Reply::Array(odd), "").is_err());
        }
        assert!(ScriptAnswer::read(&Reply::Nil, "").is_err());
    }
}
