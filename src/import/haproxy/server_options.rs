//! The options of a server.

use super::lines::{HaLine, HaSection};

/// The lines of a section that name servers.
pub(super) fn servers(section: &HaSection) -> impl Iterator<Item = &HaLine> {
    section.lines.iter().filter(|line| matches!(line.word(0), "server" | "server-template"))
}

/// The options of a server: its own, or those of `default-server`.
pub(super) struct ServerOptions<'a> {
    own: &'a [String],
    common: Vec<&'a [String]>,
}

impl<'a> ServerOptions<'a> {
    pub(super) fn of(server: &'a HaLine, section: &'a HaSection) -> Self {
        let from = if server.word(0) == "server-template" { 4 } else { 3 };
        let defaults = section.defaults.iter().chain(&section.lines).filter(|line| line.word(0) == "default-server");
        Self { own: server.rest(from), common: defaults.map(|line| line.rest(1)).collect() }
    }

    pub(super) fn has(&self, flag: &str) -> bool {
        let off = format!("no-{flag}");
        let is_in = |words: &[String], flag: &str| words.iter().any(|word| word == flag);
        is_in(self.own, flag) || !is_in(self.own, &off) && self.common.iter().any(|words| is_in(words, flag))
    }

    /// How the server is spoken to.
    pub(super) fn manner(&self) -> Vec<String> {
        let flags = ["ssl", "send-proxy", "send-proxy-v2", "send-proxy-v2-ssl", "send-proxy-v2-ssl-cn"];
        let values = ["verify", "ca-file", "crt", "crl-file", "sni", "verifyhost"];
        let is_secure = self.has("ssl");
        let flags = flags.iter().filter(|flag| self.has(flag)).map(|flag| (*flag).to_owned());
        flags.chain(values.iter().filter(|_| is_secure).map(|key| self.value(key).to_owned())).collect()
    }

    /// The value behind a word; empty if there is none.
    pub(super) fn value(&self, key: &str) -> &'a str {
        let behind = |words: &'a [String]| {
            let place = words.iter().position(|word| word == key)?;
            words.get(place + 1).map(String::as_str)
        };
        behind(self.own).or_else(|| self.common.iter().rev().find_map(|words| behind(words))).unwrap_or_default()
    }
}
