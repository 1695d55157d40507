//! Each key of the file: a reload changes it, or says that it needs a restart.

use std::{collections::BTreeSet, path::Path};

use base64::Engine as _;
use longwire::config::{self, Config};
use serde_json::{Value, json};

use crate::harness::{Authority, Backend, Proxy};

/// What a reload does with a changed key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The new value holds from now on.
    Changes,
    /// A restart is needed, and the reload names this key.
    Told(&'static str),
}

use Fate::{Changes, Told};

/// One key: its place in the file, two values for it, and the other keys that the file needs to be valid.
struct Row {
    key: &'static str,
    fate: Fate,
    values: [Value; 2],
    beside: Value,
}

fn row(key: &'static str, one: impl Into<Value>, other: impl Into<Value>) -> Row {
    Row { key, fate: Changes, values: [one.into(), other.into()], beside: json!({}) }
}

fn told(key: &'static str, name: &'static str, one: impl Into<Value>, other: impl Into<Value>) -> Row {
    Row { fate: Told(name), ..row(key, one, other) }
}

/// `beside`: other keys with their values.
fn beside(row: Row, beside: Value) -> Row {
    Row { beside, ..row }
}

fn check(key: &'static str, one: impl Into<Value>, other: impl Into<Value>) -> Row {
    beside(row(key, one, other), json!({ "upstreams.*.health_check.kind": "http" }))
}

/// A key of `discovery`, which needs a name that is looked up.
fn looked_up(key: &'static str, one: Value, other: Value) -> Row {
    let place: &'static str = match key {
        "resolver" => "upstreams.*.discovery.resolver",
        "family" => "upstreams.*.discovery.family",
        "min_ttl" => "upstreams.*.discovery.min_ttl",
        "max_ttl" => "upstreams.*.discovery.max_ttl",
        "empty_after" => "upstreams.*.discovery.empty_after",
        _ => "upstreams.*.discovery.most",
    };
    beside(row(place, one, other), json!({ "upstreams.*.backends": [{ "dns": "localhost:9" }] }))
}

fn tls(key: &'static str, one: &str, other: &str, beside_it: Value) -> Row {
    beside(row(key, one, other), beside_it)
}

/// A key of an upstream's TLS, which does not depend on whom this machine trusts.
fn trusting(key: &'static str, one: impl Into<Value>, other: impl Into<Value>) -> Row {
    beside(row(key, one, other), json!({ "upstreams.*.tls.ca": "same.crt" }))
}

/// A key of the service that a route asks, over TLS.
fn asking(key: &str, one: Value, other: Value) -> Row {
    let beside_it =
        json!({ "routes.[].auth_request.url": "https://127.0.0.1:1/", "routes.[].auth_request.tls.ca": "same.crt" });
    beside(row(format!("routes.[].auth_request.{key}").leak(), one, other), beside_it)
}

/// A key of how a route holds its sessions.
fn held(key: &str, one: Value, other: Value) -> Row {
    beside(row(format!("routes.[].hold.{key}").leak(), one, other), json!({ "routes.[].compression": "off" }))
}

/// A key of limits that several proxies share. Nobody is at the address.
fn shared(key: &str, one: Value, other: Value) -> Row {
    beside(row(format!("fleet.{key}").leak(), one, other), json!({ "fleet.valkey": "redis://127.0.0.1:1" }))
}

/// The same, over TLS.
fn shared_by_tls(key: &str, one: &str, other: &str, more: Value) -> Row {
    let mut beside_it = json!({ "fleet.valkey": "rediss://127.0.0.1:1", "fleet.ca": "same.crt" });
    for (key, value) in more.as_object().unwrap() {
        beside_it[key] = value.clone();
    }
    beside(row(format!("fleet.{key}").leak(), one, other), beside_it)
}

fn client_auth(key: &str, one: Value, other: Value) -> Row {
    let place = |key: &str| format!("listeners.[].tls.client_auth.{key}");
    let mut beside_it = json!({ "listeners.[].tls.cert": "same.crt", "listeners.[].tls.key": "same.key" });
    for (key, value) in [("mode", "required"), ("ca", "one.pem"), ("crl", "one.crl")] {
        beside_it[place(key)] = value.into();
    }
    beside(row(place(key).leak(), one, other), beside_it)
}

/// A key that a listener has only at a path.
fn on_path(row: Row) -> Row {
    let name = row.key.rsplit('.').next().unwrap_or_default();
    let bind = format!("unix:{{folder}}/{name}.sock");
    beside(row, json!({ "listeners.[].bind": bind }))
}

/// The user of the tests by number and by name: only root may give a file to another.
fn own_user() -> (u32, String) {
    let uid = nix::unistd::getuid();
    (uid.as_raw(), nix::unistd::User::from_uid(uid).unwrap().expect("a user with a name").name)
}

fn own_group() -> (u32, String) {
    let gid = nix::unistd::getgid();
    (gid.as_raw(), nix::unistd::Group::from_gid(gid).unwrap().expect("a group with a name").name)
}

#[rustfmt::skip]
fn rows() -> Vec<Row> {
    let mut rows = vec![
        told("workers", "workers", 2, 3),
        told("coalesce", "coalesce", "0us", "500us"),
        told("handover", "handover", "one.sock", "other.sock"),
        told("log.format", "log.format", "json", "text"),
        told("log.level", "log.level", "info", "warn"),
        told("log.file", "log.file", "one.log", "other.log"),
        told("admin.bind", "admin", "127.0.0.1:0", "127.0.0.1:1"),
        row("admin.hosts", json!(["one.example"]), json!(["other.example"])),
        row("admin.token_file", "one.token", "other.token"),
        row("probe.token_file", "one.token", "other.token"),
        beside(row("probe.path", "/one", "/other"), json!({ "probe.token_file": "same.token" })),
        row("log.access", true, false), row("log.sample_requests", 1, 2),
        row("drain.close_code", 1012, 4001), row("drain.on_removed", "keep", "close"),
        row("drain.spread", "1s", "2s"), row("drain.wait", "1s", "2s"),
        row("keepalive.ping_interval", "25s", "26s"), row("keepalive.pong_timeout", "30s", "31s"),
        row("keepalive.sides", json!(["client"]), json!(["backend"])),
        row("keepalive.learn", json!(false), json!(true)),
        row("limits.answer_headers", 256, 257), row("limits.backend_message_size", "1MiB", "2MiB"),
        row("limits.body_size", "1MiB", "2MiB"), row("limits.bytes_per_second", "1MiB", "2MiB"),
        row("limits.frame_size", "1MiB", "2MiB"), row("limits.header_size", "32KiB", "33KiB"),
        row("limits.headers", 100, 101), row("limits.message_size", "1MiB", "2MiB"),
        row("limits.messages_per_second", 10, 11), row("limits.new_sessions", 10, 11),
        row("limits.new_sessions_per_client", 10, 11), row("limits.refuse", "http", "close"),
        row("limits.sessions", 10, 11), row("limits.sessions_per_client", 10, 11),
        row("limits.unsent_memory", "10MiB", "11MiB"), row("limits.resume_memory", "10MiB", "11MiB"),
        row("limits.away", 10, 11),
        row("fleet.valkey", "redis://127.0.0.1:1", json!(["redis://127.0.0.1:1", "redis://127.0.0.1:2"])),
        shared("instance", json!("one"), json!("other")), shared("prefix", json!("one"), json!("other")),
        shared("lease", json!("15s"), json!("16s")), shared("timeout", json!("50ms"), json!("60ms")),
        shared("on_loss", json!("share"), json!("deny")), shared_by_tls("ca", "one.crt", "other.crt", json!({})),
        shared_by_tls("cert", "one.crt", "other.crt", json!({ "fleet.key": "same.key" })),
        shared_by_tls("key", "one.key", "other.key", json!({ "fleet.cert": "same.crt" })),
        row("listeners.[].bind", "127.0.0.1:0", "127.0.0.2:0"),
        on_path(row("listeners.[].mode", "0660", "0600")),
        on_path(row("listeners.[].owner", own_user().0, own_user().1)),
        on_path(row("listeners.[].group", own_group().0, own_group().1)),
        tls("listeners.[].tls.cert", "one.crt", "other.crt", json!({ "listeners.[].tls.key": "same.key", "listeners.[].tls.self_signed": false })),
        tls("listeners.[].tls.key", "one.key", "other.key", json!({ "listeners.[].tls.cert": "same.crt", "listeners.[].tls.self_signed": false })),
        beside(row("listeners.[].tls.certificates.[].cert", "one.crt", "other.crt"), json!({ "listeners.[].tls.certificates.[].key": "same.key" })),
        beside(row("listeners.[].tls.certificates.[].key", "one.key", "other.key"), json!({ "listeners.[].tls.certificates.[].cert": "same.crt" })),
        beside(row("listeners.[].tls.self_signed", true, false), json!({ "listeners.[].tls.cert": "same.crt", "listeners.[].tls.key": "same.key" })),
        row("listeners.[].proxy_protocol.from", json!(["10.0.0.0/8"]), json!(["192.0.2.0/24"])),
        beside(row("listeners.[].proxy_protocol.required", true, false), json!({ "listeners.[].proxy_protocol.from": ["10.0.0.0/8"] })),
        beside(row("listeners.[].proxy_protocol.timeout", "5s", "6s"), json!({ "listeners.[].proxy_protocol.from": ["10.0.0.0/8"] })),
        client_auth("ca", json!("one.pem"), json!("other.pem")), client_auth("crl", json!("one.crl"), json!("other.crl")),
        client_auth("mode", json!("optional"), json!("required")), client_auth("crl_expired", json!("refuse"), json!("ignore")),
        client_auth("unknown_revocation", json!("refuse"), json!("allow")),
        client_auth("revocation_depth", json!("chain"), json!("leaf")),
        row("routes.[].client_cert", "optional", "required"),
        row("routes.[].forward_client_cert", json!(["subject"]), json!(["san", "pem"])),
        row("routes.[].host", "one.example", "other.example"), row("routes.[].path", "/one", "/other"),
        row("routes.[].keepalive.ping_interval", "25s", "26s"), row("routes.[].keepalive.pong_timeout", "30s", "31s"),
        row("routes.[].keepalive.sides", json!(["client"]), json!(["backend"])),
        row("routes.[].keepalive.learn", json!(false), json!(true)),
        row("routes.[].max_lifetime", "1h", "2h"), row("routes.[].origins", json!(["https://a.example"]), json!(["none"])),
        row("routes.[].redirect", json!({ "to": "https", "code": 301 }), json!({ "to": "https", "port": 8443 })),
        row("routes.[].strip_prefix", "/one", "/other"),
        beside(row("routes.[].rewrite.from", "^/one$", "^/other$"), json!({ "routes.[].rewrite.to": "/same" })),
        beside(row("routes.[].rewrite.to", "/one", "/other"), json!({ "routes.[].rewrite.from": "^/same$" })),
        row("routes.[].compression", "off", "pass"),
        held("for", json!("10s"), json!("20s")), held("queue", json!("64KiB"), json!("128KiB")),
        held("on", json!(["lost"]), json!(["lost", 1012])), held("times", json!(1), json!(2)),
        held("per_second", json!(100), json!(200)), held("notify", json!("one"), json!("other")),
        row("routes.[].resume.for", "10s", "20s"), row("routes.[].resume.replay", "64KiB", "128KiB"),
        row("routes.[].resume.beat", "10s", "20s"),
        row("routes.[].host_header", "upstream", "other.example"),
        row("routes.[].request_headers.set", json!({ "X-A": "1" }), json!({ "X-A": "2" })),
        row("routes.[].request_headers.add", json!({ "X-A": "1" }), json!({ "X-B": "1" })),
        row("routes.[].request_headers.remove", json!(["X-A"]), json!(["X-B"])),
        row("routes.[].response_headers.set", json!({ "X-A": "{host}" }), json!({ "X-A": "{route}" })),
        row("routes.[].response_headers.add", json!({ "X-A": "1" }), json!({})),
        row("routes.[].response_headers.remove", json!(["X-A"]), json!(["X-A", "X-B"])),
        row("routes.[].sticky_cookie.name", "one", "other"),
        row("routes.[].sticky_cookie.secure", "always", "never"),
        row("routes.[].sticky_cookie.same_site", "strict", "lax"),
        row("routes.[].sticky_cookie.max_age", "1h", "2h"),
        row("routes.[].allow", json!(["127.0.0.0/8"]), json!(["10.0.0.0/8"])),
        row("routes.[].deny", json!(["127.0.0.0/8"]), json!(["10.0.0.0/8"])),
        row("routes.[].auth_request.url", "http://127.0.0.1:1/one", "http://127.0.0.1:1/other"),
        asking("pass", json!(["X-A"]), json!(["X-B"])), asking("timeout", json!("2s"), json!("3s")),
        asking("tls.ca", json!("one.crt"), json!(["one.crt", "other.crt"])),
        asking("tls.server_name", json!("one.example"), json!("other.example")),
        row("routes.[].timeouts.idle", "1h", "2h"), row("routes.[].timeouts.response", "60s", "61s"),
        row("routes.[].timeouts.upgrade", "60s", "61s"),
        row("tcp.keepalive_idle", "60s", "61s"), row("tcp.keepalive_interval", "10s", "11s"),
        row("tcp.keepalive_probes", 3, 4), row("tcp.user_timeout", "30s", "31s"),
        row("timeouts.close", "5s", "6s"), row("timeouts.connect", "5s", "6s"), row("timeouts.drain", "30s", "31s"),
        row("timeouts.idle", "1h", "2h"), row("timeouts.keep_alive", "60s", "61s"), row("timeouts.request_body", "30s", "31s"),
        row("timeouts.request_header", "10s", "11s"), row("timeouts.response", "60s", "61s"),
        row("timeouts.tls_handshake", "10s", "11s"), row("timeouts.upgrade", "60s", "61s"),
        beside(row("sticky_key_file", "one.sticky", "other.sticky"), json!({ "routes.[].sticky_cookie": {} })),
        row("trusted_proxies", json!(["10.0.0.0/8"]), json!(["192.0.2.0/24"])), row("via_header", false, true),
        row("upstreams.*.backends.[].address", "127.0.0.1:1", "127.0.0.1:2"),
        row("upstreams.*.backends.[].down", false, true),
        beside(row("upstreams.*.backends.[].dns", "localhost:1", "localhost:2"), json!({ "upstreams.*.backends": [{}] })),
        beside(row("upstreams.*.backends.[].srv", "_one._tcp.localhost", "_other._tcp.localhost"), json!({ "upstreams.*.backends": [{}], "upstreams.*.discovery.resolver": "127.0.0.1:9" })),
        looked_up("resolver", json!("127.0.0.1:9"), json!(["127.0.0.1:9", "127.0.0.1:10"])), looked_up("family", json!("ipv4"), json!("ipv6")),
        looked_up("min_ttl", json!("2s"), json!("3s")), looked_up("max_ttl", json!("20s"), json!("30s")),
        looked_up("empty_after", json!("1s"), json!("2s")), looked_up("most", json!(1), json!(2)),
        beside(row("upstreams.*.backends.[].file", "one.yaml", "other.yaml"), json!({ "upstreams.*.backends": [{}] })),
        row("upstreams.*.backends.[].max_conns", 1, 2), row("upstreams.*.backends.[].weight", 1, 2),
        row("upstreams.*.backends.[].backup", false, true),
        row("upstreams.*.balance", "least_conn", "round_robin"), row("upstreams.*.fail_timeout", "10s", "11s"),
        beside(row("upstreams.*.handshake_queue", 10, 11), json!({ "upstreams.*.max_handshakes": 5 })),
        beside(row("upstreams.*.hash_on.cookie", "one", "other"), json!({ "upstreams.*.balance": "hash" })),
        beside(row("upstreams.*.hash_on.header", "x-one", "x-other"), json!({ "upstreams.*.balance": "hash" })),
        beside(row("upstreams.*.hash_on.query", "one", "other"), json!({ "upstreams.*.balance": "hash" })),
        beside(row("upstreams.*.hash_prefix_v4", 24, 16), json!({ "upstreams.*.balance": "ip_hash" })),
        check("upstreams.*.health_check.fall", 2, 3), check("upstreams.*.health_check.rise", 2, 3),
        check("upstreams.*.health_check.host", "one.example", "other.example"),
        check("upstreams.*.health_check.interval", "10s", "11s"), check("upstreams.*.health_check.jitter", "1s", "2s"),
        row("upstreams.*.health_check.kind", "http", "websocket"), check("upstreams.*.health_check.on_down", "keep", "drain"),
        check("upstreams.*.health_check.path", "/one", "/other"),
        check("upstreams.*.health_check.status", "200", "204"),
        check("upstreams.*.health_check.timeout", "2s", "3s"),
        row("upstreams.*.max_fails", 1, 2), row("upstreams.*.max_handshakes", 1, 2), row("upstreams.*.reuse", "safe", "never"),
        row("upstreams.*.proxy_protocol", "v1", "v2"),
        beside(row("upstreams.*.tlvs", json!(["ssl"]), json!(["alpn"])), json!({ "upstreams.*.proxy_protocol": "v2" })),
        row("via", json!(["aws_alb"]), json!([{ "name": "aws_alb", "idle": "30s" }])),
        row("routes.[].via", json!(["aws_alb"]), json!(["heroku"])),
        row("upstreams.*.via", json!([{ "name": "mesh", "max_life": "1h" }]), json!([{ "name": "mesh", "max_life": "2h" }])),
        row("upstreams.*.slow_start", "10s", "11s"), row("upstreams.*.tries", 1, 2),
        row("upstreams.*.tls.ca", "one.crt", json!(["one.crt", "other.crt"])),
        trusting("upstreams.*.tls.server_name", "one.example", "other.example"),
        trusting("upstreams.*.tls.verify_name", "one.example", "other.example"),
        trusting("upstreams.*.tls.sni", true, false), trusting("upstreams.*.tls.insecure", true, false),
        tls("upstreams.*.tls.cert", "one.crt", "other.crt", json!({ "upstreams.*.tls.key": "same.key", "upstreams.*.tls.ca": "same.crt" })),
        tls("upstreams.*.tls.key", "one.key", "other.key", json!({ "upstreams.*.tls.cert": "same.crt", "upstreams.*.tls.ca": "same.crt" })),
        trusting("upstreams.*.tls.crl", "one.crl", "other.crl"),
        // The route changes to another upstream. Both upstreams are in the file.
        row("routes.[].upstream", "chat", "other"),
    ];
    // A file for a build without the feature may not have these keys.
    if cfg!(feature = "otlp") {
        rows.push(told("tracing.endpoint", "tracing", "http://127.0.0.1:1/one", "http://127.0.0.1:1/other"));
        for (key, one, other) in [("tracing.sample", json!(0.5), json!(0.6)), ("tracing.service_name", json!("one"), json!("other"))] {
            rows.push(beside(told(key, "tracing", one, other), json!({ "tracing.endpoint": "http://127.0.0.1:1/same" })));
        }
    }
    rows
}

/// The keys that a reload leaves as they are.
pub(crate) fn needing_a_restart() -> BTreeSet<&'static str> {
    rows().iter().filter(|row| row.fate != Changes).map(|row| row.key).collect()
}

/// Sets a key. `[]` is the first item of a list, `*` the upstream of this test.
fn set(file: &mut Value, key: &str, value: &Value) {
    let place = key.split('.').fold(file, |place, name| match name {
        "[]" => {
            if !place.is_array() {
                *place = json!([null]);
            }
            &mut place[0]
        }
        "*" => &mut place["chat"],
        name => &mut place[name],
    });
    *place = value.clone();
}

fn file(row: &Row, value: &Value, backend: &str, folder: &Path) -> Config {
    let backends = json!([{ "address": backend }, { "address": "127.0.0.1:9" }]);
    let mut file = json!({
        "workers": 2,
        "listeners": [{ "bind": "127.0.0.1:0" }],
        "admin": { "bind": "127.0.0.1:0" },
        "upstreams": { "chat": { "backends": backends }, "other": { "backends": [{ "address": "127.0.0.1:9" }] } },
        "routes": [{ "upstream": "chat" }, { "host": "elsewhere.example", "upstream": "other" }],
    });
    if row.key == "routes.[].redirect" {
        file["routes"] =
            json!([{ "host": "a.example" }, { "upstream": "chat" }, { "host": "b.example", "upstream": "other" }]);
    }
    for (key, value) in row.beside.as_object().unwrap() {
        set(&mut file, key, value);
    }
    set(&mut file, row.key, value);
    let text = file.to_string().replace("{folder}", &folder.display().to_string());
    config::parse(&text, "proxy.yaml", folder).unwrap_or_else(|error| panic!("{}: {error}\n{text}", row.key)).config
}

/// The keys of the schema that have no keys below them.
pub(crate) fn keys(schema: &Value, node: &Value, place: &str, found: &mut BTreeSet<String>) -> bool {
    let named = node["$ref"].as_str().and_then(|name| name.strip_prefix('#')).and_then(|name| schema.pointer(name));
    let mut has_keys = named.is_some_and(|named| keys(schema, named, place, found));
    for kind in ["anyOf", "oneOf", "allOf"] {
        for node in node[kind].as_array().into_iter().flatten() {
            has_keys |= keys(schema, node, place, found);
        }
    }
    let below = |name: &str| if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") };
    for (name, node) in node["properties"].as_object().into_iter().flatten() {
        has_keys = true;
        if !keys(schema, node, &below(name), found) {
            found.insert(below(name));
        }
    }
    for (kind, name) in [("items", "[]"), ("additionalProperties", "*")] {
        if node[kind].is_object() {
            has_keys |= keys(schema, &node[kind], &below(name), found);
        }
    }
    has_keys
}

#[test]
fn every_key_of_the_schema_has_a_row() {
    let mut found = BTreeSet::new();
    let schema = config::schema();
    keys(&schema, &schema, "", &mut found);
    // These keys belong to one setting with the key above them.
    let is_within = |key: &str| ["pong_timeout.", "redirect.", "via.[]."].iter().any(|above| key.contains(above));
    found.retain(|key| !is_within(key));
    let mut rows: BTreeSet<_> = rows().iter().map(|row| row.key.to_owned()).collect();
    rows.extend(found.iter().filter(|key| key.starts_with("tracing.") && !cfg!(feature = "otlp")).cloned());
    assert_eq!(found.difference(&rows).collect::<Vec<_>>(), [""; 0], "keys without a row");
    assert!(found.len() > 80, "{found:?}");
}

#[tokio::test]
async fn a_reload_changes_a_key_or_says_that_it_needs_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["one", "other", "same"] {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        fs_err::write(folder.path().join(format!("{name}.crt")), made.cert.pem()).unwrap();
        fs_err::write(folder.path().join(format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
        fs_err::write(folder.path().join(format!("{name}.token")), format!("{name}-token-of-some-length\n")).unwrap();
        let key = base64::engine::general_purpose::STANDARD.encode(format!("{name:32}"));
        fs_err::write(folder.path().join(format!("{name}.sticky")), key).unwrap();
        let authority = Authority::new(name);
        fs_err::write(folder.path().join(format!("{name}.pem")), authority.pem()).unwrap();
        fs_err::write(folder.path().join(format!("{name}.crl")), authority.crl(&[])).unwrap();
    }
    // A key belongs to its certificate. Two pairs that differ only in one path are the same pair under other names.
    for (from, to) in
        [("same.crt", "one.crt"), ("same.crt", "other.crt"), ("same.key", "one.key"), ("same.key", "other.key")]
    {
        fs_err::copy(folder.path().join(from), folder.path().join(to)).unwrap();
    }
    let backend = Backend::echo();
    for row in rows() {
        let [one, other] = row.values.each_ref().map(|value| file(&row, value, &backend.to_string(), folder.path()));
        let proxy = Proxy::of(one.clone());
        let ran = proxy.control().config();
        let reloaded = proxy.control().reload(other.clone()).unwrap_or_else(|error| panic!("{}: {error}", row.key));
        let runs = proxy.control().config();
        let shown = |config: &Config| format!("{:?}", Config { written: Value::Null, ..config.clone() });
        assert_ne!(shown(&ran), shown(&runs), "{} is two times the same", row.key);
        let needed = match row.fate {
            Told(name) => vec![name],
            Changes => vec![],
        };
        assert_eq!(reloaded.needs_restart, needed, "{}: {reloaded:?}", row.key);
        let lists = serde_json::to_value(&reloaded).unwrap();
        let is_listed = lists.as_object().unwrap().iter().any(|(_, names)| names != &json!([]));
        assert!(is_listed, "{}: not told", row.key);
        // The reload names the key as long as another value runs, and no longer.
        let again = proxy.control().reload(other).unwrap();
        assert_eq!(again.needs_restart, needed, "{}", row.key);
        let back = proxy.control().reload(one).unwrap();
        assert_eq!(back.needs_restart, [""; 0], "{}", row.key);
        drop(proxy);
    }
}
