//! Whether the files of two processes mean the same: a hash of everything in them that a session, or the choice of its backend,
//! could notice.
//!
//! What the file says counts after the environment has been put in and every default filled in, so its comments, quotes, units and
//! the order of its keys do not. The order in lists does. Left out:
//!
//! 1. What differs from instance to instance on purpose, and only an operator sees ([`LEFT_OUT`]): where it listens, its threads, its
//!    admin interface, its log, its spans, its hand-over, its name in a fleet. What signs in at the server of a fleet is left out too.
//! 2. The values of `request_headers` and `response_headers`, of which the names count. Secrets for backends stand there, and short ones
//!    could be guessed by trying; and so do names of instances.
//! 3. What stands in the files that it names: certificates are renewed and lists change at a moment of each machine's own. Their names
//!    count. Of `sticky_key_file` it is the other way round: with another key, an instance does not find the backends of the others'
//!    cookies. What the key itself says is not in the hash, but a signature by it, and a key is too long to be guessed.

use std::fmt;

use ring::digest::{Context, SHA256};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::{
    Config,
    file::Keepalive,
    sticky_key::{self, StickyKeyError},
};
use crate::balance::StickyKey;

/// Keys of the file that say nothing of its meaning. `*` stands for each entry of a list.
const LEFT_OUT: [&[&str]; 12] = [
    &["workers"],
    &["handover"],
    &["log"],
    &["admin"],
    &["tracing"],
    &["listeners", "*", "bind"],
    &["listeners", "*", "mode"],
    &["listeners", "*", "owner"],
    &["listeners", "*", "group"],
    &["probe", "token_file"],
    &["fleet", "instance"],
    &["sticky_key_file"],
];

/// The hash of what a configuration means. Two versions of longwire may hash one file to two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfigHash([u8; 8]);

impl ConfigHash {
    /// The hash of a configuration that does not run. Reads the key of sticky cookies.
    ///
    /// # Errors
    /// The file holds no key.
    pub fn read(config: &Config) -> Result<Self, StickyKeyError> {
        let key = config.sticky_key_file.as_deref().map(sticky_key::read).transpose()?;
        Ok(Self::of(config, key.as_ref()))
    }

    /// `key`: that of sticky cookies; `None` = the file names none.
    #[must_use]
    pub(crate) fn of(config: &Config, key: Option<&StickyKey>) -> Self {
        Self::of_meaning(config.written.clone(), key.map(StickyKey::fingerprint))
    }

    fn of_meaning(mut written: Value, signature: Option<[u8; 32]>) -> Self {
        complete(&mut written);
        unify_certificates(&mut written);
        LEFT_OUT.iter().for_each(|key| remove(&mut written, key));
        for rules in ["request_headers", "response_headers"] {
            each_of(&mut written, "routes", |route| keep_names(&mut route[rules]));
        }
        let mut digest = Context::new(&SHA256);
        feed(&written, &mut digest);
        digest.update(signature.as_ref().map_or(&[], <[u8; 32]>::as_slice));
        let mut hash = [0; 8];
        hash.iter_mut().zip(digest.finish().as_ref()).for_each(|(byte, digest)| *byte = *digest);
        Self(hash)
    }
}

impl fmt::Display for ConfigHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl Serialize for ConfigHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Gives each route what it has from the top level.
fn complete(written: &mut Value) {
    fill_in(&mut written["keepalive"], &json!(Keepalive::default()));
    let (keepalive, via) = (written["keepalive"].clone(), written["via"].clone());
    let timeouts: Map<_, _> = ["upgrade", "response", "idle"]
        .map(|key| (key.to_owned(), written["timeouts"][key].clone()))
        .into_iter()
        .collect();
    let common = json!({ "keepalive": keepalive, "timeouts": timeouts, "via": via });
    each_of(written, "routes", |route| fill_in(route, &common));
}

/// Takes from `other` what a value does not say.
fn fill_in(value: &mut Value, other: &Value) {
    match (value, other) {
        (Value::Object(value), Value::Object(other)) => {
            for (key, other) in other {
                fill_in(value.entry(key).or_insert(Value::Null), other);
            }
        }
        (value @ Value::Null, other) => *value = other.clone(),
        _ => {}
    }
}

/// `cert` and `key` of a listener are the one entry of `certificates`.
fn unify_certificates(written: &mut Value) {
    each_of(written, "listeners", |listener| {
        let tls = &mut listener["tls"];
        if tls["cert"].is_string() {
            let (cert, key) = (tls["cert"].take(), tls["key"].take());
            tls["certificates"] = json!([{ "cert": cert, "key": key }]);
        }
    });
}

/// Of fields, keeps the names.
fn keep_names(rules: &mut Value) {
    for kind in ["set", "add"] {
        if let Some(Value::Object(fields)) = rules.get_mut(kind) {
            fields.values_mut().for_each(|value| *value = Value::Bool(true));
        }
    }
}

fn each_of(written: &mut Value, list: &str, change: impl FnMut(&mut Value)) {
    written[list].as_array_mut().into_iter().flatten().for_each(change);
}

fn remove(value: &mut Value, key: &[&str]) {
    match (key, value) {
        (["*", rest @ ..], Value::Array(list)) => list.iter_mut().for_each(|entry| remove(entry, rest)),
        ([last], Value::Object(map)) => drop(map.remove(*last)),
        ([first, rest @ ..], Value::Object(map)) => {
            if let Some(value) = map.get_mut(*first) {
                remove(value, rest);
            }
        }
        _ => {}
    }
}

/// Adds a value to the hash: the same bytes for the same value, and no two values the same bytes. A key without a value is no key, so
/// that a key which a later version adds changes nothing until a file has it.
fn feed(value: &Value, digest: &mut Context) {
    let mut part = |kind: u8, text: &[u8]| {
        digest.update(&[kind]);
        digest.update(&(text.len() as u64).to_be_bytes());
        digest.update(text);
    };
    match value {
        Value::Null => part(b'n', b""),
        Value::Bool(yes) => part(b'b', &[u8::from(*yes)]),
        Value::Number(number) => part(b'd', number.to_string().as_bytes()),
        Value::String(text) => part(b's', text.as_bytes()),
        Value::Array(list) => {
            part(b'a', &(list.len() as u64).to_be_bytes());
            list.iter().for_each(|entry| feed(entry, digest));
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().filter(|(_, value)| !value.is_null()).collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            part(b'o', &(entries.len() as u64).to_be_bytes());
            for (key, value) in entries {
                feed(&Value::String(key.clone()), digest);
                feed(value, digest);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Loaded, parse_with};

    const KEY: [u8; 32] = [7; 32];

    fn hash(text: &str) -> String {
        let env = |name: &str| (name == "PORT").then(|| "9001".to_owned());
        let Loaded { config, .. } = parse_with(text, "proxy.yaml", Path::new("."), &env).unwrap();
        let key = config.sticky_key_file.as_ref().map(|_| StickyKey::new(&KEY));
        ConfigHash::of(&config, key.as_ref()).to_string()
    }

    #[test]
    fn files_that_mean_the_same_have_one_hash_however_they_are_written() {
        let one = "
listeners: [ { bind: \"127.0.0.1:8080\" }, { bind: \"127.0.0.1:8443\", tls: { cert: a.crt, key: a.key } } ]
upstreams: { chat: { backends: [ { address: \"10.0.0.1:9001\" } ] } }
routes: [ { upstream: chat, keepalive: { ping_interval: 10s } } ]
timeouts: { connect: 10s }
limits: { message_size: 1MiB }
";
        let other = "
# The same in other words.
admin: { bind: \"127.0.0.1:9900\" }
workers: 3
log: { level: debug, format: text }
limits:
  headers: 100
  message_size: \"1024KiB\"
timeouts: { idle: 0s, connect: 10000ms }
routes:
  - path: '/'
    timeouts: { upgrade: 1m }
    keepalive: { sides: [client, backend], ping_interval: \"10 s\", pong_timeout: { backend: 300s } }
    via: []
    \"upstream\": \"chat\"
upstreams:
  chat:
    backends:
      - { weight: 1, address: \"10.0.0.1:${PORT}\" }
    balance: ip_hash
listeners:
  - bind: 192.0.2.7:80
  - tls:
      certificates: [ { key: a.key, cert: a.crt } ]
    bind: unix:/run/longwire.sock
    mode: \"0600\"
";
        assert_eq!(hash(one), hash(other));
        let digits = hash(one);
        assert!(digits.len() == 16 && digits.chars().all(|digit| matches!(digit, '0'..='9' | 'a'..='f')), "{digits}");
    }

    /// Every leaf of a value, as the way to it, with another one in its place.
    fn changed(value: &Value) -> Vec<(String, Value)> {
        let within = |entries: Vec<(String, &Value)>, put: &dyn Fn(&str, Value) -> Value| {
            let one = |(key, entry): (String, &Value)| -> Vec<_> {
                let way = |(way, other)| (format!("{key}.{way}"), put(&key, other));
                changed(entry).into_iter().map(way).collect()
            };
            entries.into_iter().flat_map(one).collect()
        };
        match value {
            Value::Null => vec![(String::new(), json!("something"))],
            Value::Bool(yes) => vec![(String::new(), json!(!yes))],
            Value::Number(number) => vec![(String::new(), json!(number.as_f64().unwrap() + 1.0))],
            Value::String(text) => vec![(String::new(), json!(format!("{text}1")))],
            Value::Array(list) => {
                let entries = list.iter().enumerate().map(|(place, entry)| (place.to_string(), entry)).collect();
                within(entries, &|place, other| {
                    let mut list = list.clone();
                    list[place.parse::<usize>().unwrap()] = other;
                    Value::Array(list)
                })
            }
            Value::Object(map) => {
                within(map.iter().map(|(key, entry)| (key.clone(), entry)).collect(), &|key, other| {
                    let mut map = map.clone();
                    map.insert(key.to_owned(), other);
                    Value::Object(map)
                })
            }
        }
    }

    #[test]
    fn every_key_counts_but_for_those_that_are_left_out_on_purpose() {
        let file = "
listeners: [ { bind: \"unix:/run/a.sock\", mode: \"0600\", owner: a, group: b, tls: { certificates: [ { cert: a, key: b } ], client_auth: { ca: c, mode: required } } } ]
upstreams: { chat: { balance: hash, hash_on: { header: X-User }, proxy_protocol: v2, tlvs: [ssl], tls: { ca: [system, d], crl: e }, health_check: { kind: http }, backends: [ { address: \"10.0.0.1:80\" }, { srv: _ws._tcp.chat }, { file: f } ] } }
routes: [ { upstream: chat, hold: { on: [lost] }, resume: { }, sticky_cookie: { }, origins: [ \"https://a.example\" ], allow: [10.0.0.0/8], request_headers: { set: { X-Key: secret }, remove: [X-B] }, response_headers: { add: { X-C: c } } } ]
sticky_key_file: key
probe: { path: /probe, token_file: token }
admin: { bind: \"127.0.0.1:9900\" }
handover: a.sock
trusted_proxies: [10.0.0.0/8]
fleet: { valkey: \"redis://a\", instance: a }
";
        let written = parse_with(file, "proxy.yaml", Path::new("."), &|_| None).unwrap().config.written;
        let hash = |written: Value| ConfigHash::of_meaning(written, None);
        let same: Vec<_> =
            changed(&written).into_iter().filter(|(_, other)| hash(other.clone()) == hash(written.clone())).collect();
        let mut ways: Vec<_> = same.iter().map(|(way, _)| way.trim_end_matches('.')).collect();
        ways.retain(|way| !["admin", "log", "workers", "tracing"].contains(&way.split('.').next().unwrap()));
        ways.sort_unstable();
        let expected = [
            "fleet.instance",
            "handover",
            "listeners.0.bind",
            "listeners.0.group",
            "listeners.0.mode",
            "listeners.0.owner",
            "probe.token_file",
            "routes.0.request_headers.set.X-Key",
            "routes.0.response_headers.add.X-C",
            "sticky_key_file",
        ];
        assert_eq!(ways, expected);
        assert!(changed(&written).len() > 150, "{}", changed(&written).len());
    }

    #[test]
    fn names_of_fields_count_and_so_do_a_key_of_cookies_and_the_order_of_routes() {
        let file = |more: &str| {
            format!(
                "listeners: [ {{ bind: \"127.0.0.1:0\" }} ]\nupstreams: {{ a: {{ backends: [ {{ address: \"a:1\" }} ] }} }}\n{more}"
            )
        };
        let with = |more: &str| hash(&file(more));
        let plain = with("routes: [ { upstream: a } ]");
        assert_ne!(with("routes: [ { upstream: a, request_headers: { set: { X-A: a } } } ]"), plain);
        let sticky = "routes: [ { upstream: a, sticky_cookie: { } } ]\n";
        let (without, with_key) = (with(sticky), with(&format!("{sticky}sticky_key_file: a.key")));
        assert_ne!(without, with_key);
        assert_eq!(with(&format!("{sticky}sticky_key_file: elsewhere/b.key")), with_key);
        let config = parse_with(&file(&format!("{sticky}sticky_key_file: a.key")), "", Path::new(""), &|_| None);
        let other = ConfigHash::of(&config.unwrap().config, Some(&StickyKey::new(&[8; 32])));
        assert_ne!(other.to_string(), with_key);
        let routes = |first: &str, second: &str| {
            with(&format!("routes: [ {{ path: {first}, upstream: a }}, {{ path: {second}, upstream: a }} ]"))
        };
        assert_ne!(routes("/a", "/b"), routes("/b", "/a"));
    }
}
