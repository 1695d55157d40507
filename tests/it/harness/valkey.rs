//! A server of the tests' own: what `src/fleet/fleet.lua` means, in Rust, behind the protocol of Valkey. It knows no other script.
//! `tests/peers` holds both against the real servers.
//!
//! Compiled into the crate's own tests too, so it uses the standard library alone.

use std::collections::BTreeMap;

/// How long a member is remembered, in milliseconds.
const DAY: u64 = 86_400_000;

/// What the server holds, under one prefix.
#[derive(Debug, Clone, Default)]
pub struct Store {
    /// By member: until when it lives. Milliseconds.
    members: BTreeMap<String, u64>,
    hashes: BTreeMap<String, Hash>,
    young_until: u64,
    /// Whether it knows the script by its digest.
    knows_script: bool,
    /// What it says to everything, in the place of an answer, such as `READONLY You cannot`.
    pub refusal: Option<String>,
}

#[derive(Debug, Clone, Default)]
struct Hash {
    fields: BTreeMap<String, i64>,
    expires: u64,
}

/// Reads a command at the begin of `bytes`, and its length. `None` = it is not complete.
pub fn read_command(bytes: &[u8]) -> Option<(Vec<String>, usize)> {
    let mut at = 0;
    let line = |at: &mut usize| {
        let end = bytes[*at..].windows(2).position(|two| two == b"\r\n")? + *at;
        let line = String::from_utf8(bytes[*at..end].to_vec()).expect("text");
        *at = end + 2;
        Some(line)
    };
    let count: usize = line(&mut at)?.strip_prefix('*').expect("a list").parse().expect("a number");
    let mut parts = Vec::new();
    for _ in 0..count {
        let length: usize = line(&mut at)?.strip_prefix('$').expect("a string").parse().expect("a number");
        let part = bytes.get(at..at + length)?;
        parts.push(String::from_utf8(part.to_vec()).expect("text"));
        at += length + 2;
    }
    (at <= bytes.len()).then_some((parts, at))
}

impl Store {
    /// Forgets everything, as FLUSHALL does, or a restart without a disk.
    #[allow(dead_code, reason = "only the crate's own tests do this")]
    pub fn empty(&mut self) {
        *self = Self { refusal: self.refusal.take(), ..Self::default() };
    }

    /// Forgets the script, as a restart does that keeps the data.
    #[allow(dead_code, reason = "only the crate's own tests do this")]
    pub fn forget_script(&mut self) {
        self.knows_script = false;
    }

    /// Answers a command.
    pub fn answer(&mut self, parts: &[String], now: u64) -> Vec<u8> {
        if let Some(refusal) = &self.refusal {
            return format!("-{refusal}\r\n").into_bytes();
        }
        let word = |at: usize| parts.get(at).map_or("", String::as_str);
        match word(0) {
            "AUTH" | "SELECT" => b"+OK\r\n".to_vec(),
            "EVALSHA" if !self.knows_script => b"-NOSCRIPT No matching script.\r\n".to_vec(),
            "EVAL" | "EVALSHA" => {
                self.knows_script = true;
                self.forget_expired(now);
                let (ours, building) = (word(4).to_owned(), word(5).to_owned());
                let rest: Vec<_> = parts.iter().skip(7).map(String::as_str).collect();
                self.run(&rest, &ours, &building, now)
            }
            other => format!("-ERR unknown command '{other}'\r\n").into_bytes(),
        }
    }

    fn forget_expired(&mut self, now: u64) {
        self.hashes.retain(|_, hash| hash.expires > now);
    }

    /// The hash of an instance: `*` and its clients. Empty if there is none.
    pub fn counts_of(&self, member: &str, now: u64) -> BTreeMap<String, i64> {
        let of = |(key, hash): (&String, &Hash)| {
            (key.ends_with(&format!("}}:{member}")) && hash.expires > now).then(|| hash.fields.clone())
        };
        let mut fields = self.hashes.iter().find_map(of).unwrap_or_default();
        fields.retain(|name, count| !["@", "leaving"].contains(&name.as_str()) && *count != 0);
        fields
    }

    /// Those who live.
    pub fn living(&self, now: u64) -> Vec<String> {
        self.members.iter().filter(|(_, until)| **until > now).map(|(member, _)| member.clone()).collect()
    }

    /// What is there: the hashes, also those under construction, and the members that are remembered.
    #[allow(dead_code, reason = "only the end-to-end tests ask")]
    pub fn left(&self, now: u64) -> Vec<&str> {
        let hashes = self.hashes.iter().filter(|(_, hash)| hash.expires > now).map(|(key, _)| &**key);
        hashes.chain(self.members.keys().map(String::as_str)).collect()
    }

    fn count(&self, key: &str, field: &str) -> i64 {
        self.hashes.get(key).and_then(|hash| hash.fields.get(field)).copied().unwrap_or_default()
    }

    fn run(&mut self, rest: &[&str], ours: &str, building: &str, now: u64) -> Vec<u8> {
        let &[verb, member, generation, ref arguments @ ..] = rest else { return list(&["odd"]) };
        let generation: i64 = generation.parse().expect("a number");
        let is_ours = self.count(ours, "@") == generation;
        match (verb, arguments) {
            ("take", &[network, most_of_client, most]) if is_ours => {
                self.take(member, ours, (network, most_of_client, most), now)
            }
            ("change", pairs) if is_ours => {
                for (field, by) in in_pairs(pairs) {
                    self.add(ours, field, by);
                }
                list(&["done"])
            }
            ("rewrite", &[step, lease, past, ref pairs @ ..]) => {
                let lease = lease.parse().expect("a number");
                self.rewrite((member, generation), (ours, building), (step, lease, past), pairs, now)
            }
            ("renew", &[lease, leaving]) if is_ours => {
                let lease: u64 = lease.parse().expect("a number");
                let fields = &mut self.hashes.get_mut(ours).expect("ours").fields;
                fields.remove("leaving");
                if leaving == "1" {
                    fields.insert("leaving".to_owned(), 1);
                }
                self.live_on(ours, member, now + lease);
                self.members.retain(|_, until| *until + DAY > now);
                self.standing(ours, member, now)
            }
            ("leave", []) if is_ours => {
                self.members.remove(member);
                self.hashes.remove(ours);
                self.hashes.remove(building);
                list(&["done"])
            }
            _ => list(&["stale"]),
        }
    }

    fn add(&mut self, key: &str, field: &str, by: i64) {
        let fields = &mut self.hashes.get_mut(key).expect("a hash").fields;
        let count = fields.entry(field.to_owned()).or_default();
        *count += by;
        if *count <= 0 {
            fields.remove(field);
        }
    }

    fn take(
        &mut self,
        member: &str,
        ours: &str,
        (network, most_of_client, most): (&str, &str, &str),
        now: u64,
    ) -> Vec<u8> {
        let limit = |text: &str| text.parse().unwrap_or(i64::MAX);
        let living = self.living(now);
        let sum =
            |field: &str| living.iter().map(|other| self.count(&hash_of(ours, member, other), field)).sum::<i64>();
        if self.young_until > now {
            list(&["young"])
        } else if !living.iter().any(|other| other == member) {
            list(&["stale"])
        } else if !network.is_empty() && sum(network) >= limit(most_of_client) {
            list(&["client"])
        } else if sum("*") >= limit(most) {
            list(&["all"])
        } else {
            self.add(ours, "*", 1);
            if !network.is_empty() {
                self.add(ours, network, 1);
            }
            list(&["granted"])
        }
    }

    fn rewrite(
        &mut self,
        (member, generation): (&str, i64),
        (ours, building): (&str, &str),
        (step, lease, past): (&str, u64, &str),
        pairs: &[&str],
        now: u64,
    ) -> Vec<u8> {
        if ["first", "only"].contains(&step) {
            if self.count(ours, "@").max(self.count(building, "@")) > generation {
                return list(&["stale"]);
            }
            self.hashes.insert(building.to_owned(), Hash { fields: [("@".to_owned(), generation)].into(), expires: 0 });
            let is_lost = past == "recent" && !self.members.contains_key(member);
            if past != "none" && (is_lost || self.living(now).is_empty()) {
                self.young_until = now + lease + 8000;
            }
        } else if self.count(building, "@") != generation {
            return list(&["stale"]);
        }
        let hash = self.hashes.get_mut(building).expect("a hash");
        hash.expires = now + lease;
        hash.fields.extend(in_pairs(pairs).map(|(field, count)| (field.to_owned(), count)));
        if ["last", "only"].contains(&step) {
            let hash = self.hashes.remove(building).expect("a hash");
            self.hashes.insert(ours.to_owned(), hash);
            self.live_on(ours, member, now + lease);
            return self.standing(ours, member, now);
        }
        if self.hashes.contains_key(ours) {
            self.live_on(ours, member, now + lease);
        }
        list(&["done"])
    }

    fn live_on(&mut self, ours: &str, member: &str, until: u64) {
        self.members.insert(member.to_owned(), until);
        self.hashes.get_mut(ours).expect("a hash").expires = until;
    }

    fn standing(&self, ours: &str, member: &str, now: u64) -> Vec<u8> {
        let living = self.living(now);
        let mut bytes = format!("*{}\r\n", 3 + 3 * living.len()).into_bytes();
        bytes.extend(text("standing"));
        bytes.extend(format!(":{}\r\n:{}\r\n", u8::from(self.young_until > now), living.len()).into_bytes());
        for other in &living {
            let count = |field: &str| self.count(&hash_of(ours, member, other), field).to_string();
            bytes.extend([text(other), text(&count("*")), text(&count("leaving"))].concat());
        }
        bytes
    }
}

fn hash_of(ours: &str, member: &str, other: &str) -> String {
    format!("{}{other}", ours.strip_suffix(member).expect("our key ends with our name"))
}

fn in_pairs<'a>(pairs: &'a [&str]) -> impl Iterator<Item = (&'a str, i64)> {
    pairs.chunks_exact(2).map(|pair| (pair[0], pair[1].parse().expect("a number")))
}

fn list(words: &[&str]) -> Vec<u8> {
    let items: Vec<_> = words.iter().flat_map(|word| text(word)).collect();
    [format!("*{}\r\n", words.len()).into_bytes(), items].concat()
}

fn text(text: &str) -> Vec<u8> {
    format!("${}\r\n{text}\r\n", text.len()).into_bytes()
}
