//! Whom the programs of the machine ask, as its files say.

use std::{fmt::Write as _, io};

use hickory_resolver::{
    Hosts,
    config::{ResolverConfig, ResolverOpts},
    net::NetError,
    proto::rr::Name,
    system_conf::parse_resolv_conf,
};

/// What the files say.
#[derive(Debug)]
pub(super) struct System {
    pub(super) config: ResolverConfig,
    pub(super) options: ResolverOpts,
    pub(super) hosts: Hosts,
}

impl System {
    /// Blocks while the files are read. A file that cannot be read says nothing, as in libc.
    #[expect(clippy::disallowed_methods, reason = "no worker asks the DNS")]
    pub(super) fn read() -> Result<Self, NetError> {
        let read = |path| std::fs::read(path).unwrap_or_default();
        Self::parse(&read("/etc/resolv.conf"), &read("/etc/hosts"))
    }

    /// Bytes that are no text, and domains that are no names, only make their own word useless.
    pub(super) fn parse(resolv_conf: &[u8], hosts_file: &[u8]) -> Result<Self, NetError> {
        let text = String::from_utf8_lossy(resolv_conf);
        let mut usable = String::new();
        for line in text.lines() {
            let words = line.split_whitespace().collect::<Vec<_>>();
            let _ = match words[..] {
                [key @ ("search" | "domain"), ref domains @ ..] => {
                    let names = domains.iter().filter(|domain| Name::from_str_relaxed(domain).is_ok());
                    writeln!(usable, "{key} {}", names.copied().collect::<Vec<_>>().join(" "))
                }
                _ => writeln!(usable, "{line}"),
            };
        }
        // Without servers, libc asks this one.
        let parsed =
            parse_resolv_conf(&usable).or_else(|_| parse_resolv_conf(format!("{usable}nameserver 127.0.0.1\n")));
        let (config, options) = parsed?;
        let mut hosts = Hosts::default();
        hosts.read_hosts_conf(io::Cursor::new(String::from_utf8_lossy(hosts_file).as_bytes()))?;
        Ok(Self { config, options, hosts })
    }
}
