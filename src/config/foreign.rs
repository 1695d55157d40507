//! Words of nginx, HAProxy, Caddy and Traefik, and what longwire calls the same thing. PURE: only tables.

/// A row has four parts:
///
/// 1. Keys of other proxies.
/// 2. A key of longwire that tells the section in which these keys mean something.
/// 3. The key of longwire that they mean; `None` = longwire has no such thing.
/// 4. What to write.
type ForeignRow = (&'static [&'static str], &'static str, Option<&'static str>, &'static str);

/// The first row that fits is the one used.
const KEYS: &[ForeignRow] = &[
    // The file.
    (
        &["listen", "listener", "frontend", "frontends", "entrypoints", "bind", "port", "ports", "http", "https"],
        "upstreams",
        Some("listeners"),
        "where to accept: listeners: [{ bind: 0.0.0.0:8080 }]",
    ),
    (
        &["backend", "backends", "server", "servers", "service", "services", "clusters", "reverse_proxy"],
        "upstreams",
        Some("upstreams"),
        "groups of servers: upstreams: { app: { backends: [{ address: \"127.0.0.1:3000\" }] } }",
    ),
    (
        &["location", "locations", "router", "routers", "rules", "paths", "server_name", "virtual_hosts"],
        "upstreams",
        Some("routes"),
        "which request goes where: routes: [{ path: /, upstream: app }]",
    ),
    (
        &["access_log", "accesslog", "error_log", "logging", "logs"],
        "upstreams",
        Some("log"),
        "the records: log: { file: access.log }",
    ),
    (&["worker_processes", "threads", "nbthread", "nbproc"], "upstreams", Some("workers"), "threads: workers: auto"),
    (
        &["set_real_ip_from", "real_ip", "forwardedheaders", "trusted_ips"],
        "upstreams",
        Some("trusted_proxies"),
        "who may name the client: trusted_proxies: [10.0.0.0/8]",
    ),
    (
        &["api", "metrics", "prometheus", "stats"],
        "upstreams",
        Some("admin"),
        "metrics too are at admin: { bind: 127.0.0.1:9900 }",
    ),
    (
        &["gzip", "compress", "compression", "encode", "brotli"],
        "upstreams",
        None,
        "longwire compresses nothing: what client and backend agree on passes through",
    ),
    (
        &["worker_connections", "events", "maxconn", "global"],
        "upstreams",
        None,
        "the open-file limit bounds connections, and is raised at start; limits.sessions bounds sessions",
    ),
    (
        &["redis", "valkey", "shared_limits", "peers", "stick-table", "stick_table", "ratelimit", "rate_limit_service"],
        "upstreams",
        Some("fleet"),
        "limits of several proxies together: fleet: { valkey: \"rediss://valkey:6379\" }, and their numbers under `limits`",
    ),
    // The server with the counts of a fleet.
    (
        &[
            "redis",
            "url",
            "urls",
            "uri",
            "host",
            "port",
            "address",
            "addr",
            "endpoint",
            "endpoints",
            "server",
            "servers",
            "nodes",
        ],
        "lease",
        Some("valkey"),
        "write valkey: \"rediss://HOST:PORT\"",
    ),
    (
        &["password", "username", "user", "auth", "token", "db", "database"],
        "lease",
        Some("valkey"),
        "it stands in the URL: valkey: \"rediss://USER:${VALKEY_PASSWORD}@HOST:PORT/DATABASE\"",
    ),
    (
        &["tls", "ssl", "insecure", "insecureskipverify", "insecure_skip_verify", "verify"],
        "lease",
        None,
        "TLS follows from a rediss:// URL and is always verified: name who signed the certificate by ca: certs/ca.pem",
    ),
    (
        &[
            "fail_open",
            "failopen",
            "fail_closed",
            "failure_mode",
            "failure_mode_deny",
            "failure_mode_allow",
            "on_error",
        ],
        "lease",
        Some("on_loss"),
        "write on_loss: share, open or deny",
    ),
    (&["ttl", "expiry", "expire"], "lease", Some("lease"), "write lease: 15s"),
    (&["name", "id", "node", "member", "node_id"], "lease", Some("instance"), "write instance: and a name, or auto"),
    (&["key_prefix", "namespace", "domain", "scope"], "lease", Some("prefix"), "write prefix: longwire"),
    // The admin interface and a listener.
    (&["listen", "port", "address", "addr", "ip"], "token_file", Some("bind"), "write bind: 127.0.0.1:9900"),
    (&["token", "password", "auth"], "token_file", Some("token_file"), "write token_file: and a file that holds it"),
    (&["listen", "port", "address", "addr", "host", "ip"], "bind", Some("bind"), "write bind: 0.0.0.0:8080"),
    (
        &["accept-proxy", "accept_proxy", "proxyprotocol", "proxy-protocol", "expect-proxy", "set_real_ip_from"],
        "bind",
        Some("proxy_protocol"),
        "write proxy_protocol: { from: [10.0.0.0/8] }, with the networks of the proxies in front",
    ),
    (
        &["ssl", "https", "certificate", "certificates", "cert", "key", "ssl_certificate", "ssl_certificate_key"],
        "bind",
        Some("tls"),
        "certificates stand under tls: tls: { cert: site.crt, key: site.key }",
    ),
    (
        &[
            "ssl_client_certificate",
            "ssl_verify_client",
            "verify",
            "ca-file",
            "ca_file",
            "ca",
            "client_ca",
            "mtls",
            "trust_pool",
        ],
        "self_signed",
        Some("client_auth"),
        "certificates of clients: client_auth: { mode: required, ca: clients.pem }",
    ),
    (
        &["ssl_crl", "crl-file", "crl_file", "crl"],
        "self_signed",
        Some("client_auth"),
        "what is revoked: client_auth: { mode: required, ca: clients.pem, crl: clients.crl }",
    ),
    (
        &["ssl_certificate_key", "certificate_key", "keyfile", "key_file", "private_key", "privkey"],
        "self_signed",
        Some("key"),
        "write key: and the file of the private key",
    ),
    (
        &["ssl_certificate", "certificate", "certfile", "cert_file", "crt", "fullchain", "chain"],
        "self_signed",
        Some("cert"),
        "write cert: and the file of the chain, key: and the file of its key",
    ),
    // An upstream.
    (
        &["server", "servers", "members", "nodes", "targets", "to", "loadbalancer", "load_balancer", "address", "url"],
        "max_fails",
        Some("backends"),
        "its servers: backends: [{ address: \"127.0.0.1:3000\" }]",
    ),
    (
        &["lb_policy", "lb_algorithm", "algorithm", "strategy", "method", "policy", "ip_hash", "least_conn"],
        "max_fails",
        Some("balance"),
        "write balance: ip_hash, least_conn, round_robin, random_two or hash",
    ),
    (
        &["check", "healthcheck", "health_uri", "health_path", "health_checks", "option"],
        "max_fails",
        Some("health_check"),
        "write health_check: { kind: http, path: /healthz }",
    ),
    (
        &["send-proxy", "send_proxy", "proxyprotocol", "proxy-protocol"],
        "max_fails",
        Some("proxy_protocol"),
        "write proxy_protocol: v1",
    ),
    (
        &["send-proxy-v2", "send_proxy_v2", "send-proxy-v2-ssl", "send-proxy-v2-ssl-cn"],
        "max_fails",
        Some("proxy_protocol"),
        "write proxy_protocol: v2",
    ),
    (
        &["proxy-v2-options", "set-proxy-v2-tlv-fmt", "proxy_protocol_tlvs"],
        "max_fails",
        Some("tlvs"),
        "write tlvs: [authority, unique_id, ssl, alpn, crc32c]",
    ),
    (
        &["keepalive"],
        "max_fails",
        None,
        "idle connections to backends are kept by themselves; pings are set in `keepalive` of the file or of a route",
    ),
    (&["ssl", "https", "scheme", "verify", "proto", "protocol"], "max_fails", Some("tls"), "write tls: { }"),
    (
        &["sticky", "cookie", "sticky_session", "session_affinity", "affinity", "sticky_sessions"],
        "max_fails",
        None,
        "it is a key of the routes to the upstream: sticky_cookie: { name: longwire }",
    ),
    // TLS of an upstream.
    (
        &["verify", "skip_verify", "insecure_skip_verify", "tls_insecure_skip_verify", "proxy_ssl_verify"],
        "insecure",
        Some("insecure"),
        "backends are verified; insecure: true verifies nothing",
    ),
    (
        &["verifyhost", "verify_host", "proxy_ssl_name", "peer_cert_uri"],
        "insecure",
        Some("verify_name"),
        "write server_name: and a name, or verify_name: where SNI says another one",
    ),
    (
        &[
            "ca_file",
            "cafile",
            "ca-file",
            "cacert",
            "trusted_certificate",
            "root_ca",
            "rootcas",
            "proxy_ssl_trusted_certificate",
        ],
        "insecure",
        Some("ca"),
        "write ca: and the file, or ca: system",
    ),
    (
        &["crt", "certificate", "client_cert", "client_certificate", "proxy_ssl_certificate"],
        "insecure",
        Some("cert"),
        "write cert: and the file of the chain, key: and the file of its key",
    ),
    (&["crl_file", "crl-file", "crlfile", "proxy_ssl_crl"], "insecure", Some("crl"), "write crl: and the file"),
    // A backend.
    (
        &["tls", "ssl", "https", "verify", "scheme", "proto", "protocol", "insecure_skip_verify", "sni"],
        "max_conns",
        None,
        TLS_OF_UPSTREAM,
    ),
    (
        &[
            "max_fails",
            "fail_timeout",
            "slow_start",
            "check",
            "health_check",
            "proxy_protocol",
            "send-proxy",
            "send_proxy",
            "send-proxy-v2",
        ],
        "max_conns",
        None,
        "it is set once for the whole upstream, beside `backends`",
    ),
    (
        &["url", "host", "port", "server", "target", "dial", "addr", "ip", "uri", "name"],
        "max_conns",
        Some("address"),
        "write address: host:port",
    ),
    (&["maxconn", "max_connections"], "max_conns", Some("max_conns"), "write max_conns: and a number"),
    (&["disabled"], "max_conns", Some("down"), "write down: true"),
    // A route.
    (
        &["server_name", "hostname", "domain", "domains", "hosts"],
        "origins",
        Some("host"),
        "write host: chat.example.com; a second host is a second route",
    ),
    (
        &["location", "prefix", "pathprefix", "path_prefix", "match", "rule", "uri", "url", "paths"],
        "origins",
        Some("path"),
        "write path: and a prefix such as /ws/; host: where the host matters",
    ),
    (
        &["proxy_pass", "service", "backend", "backends", "to", "use_backend", "cluster", "target", "reverse_proxy"],
        "origins",
        Some("upstream"),
        "write upstream: and a name that stands under `upstreams`",
    ),
    (
        &["allowed_origins", "cors", "allow_origin", "check_origin"],
        "origins",
        Some("origins"),
        "write origins: [https://example.com]",
    ),
    (
        &["allow_from", "whitelist", "ip_whitelist", "allowlist", "ipallowlist", "ipwhitelist", "sourcerange"],
        "origins",
        Some("allow"),
        "write allow: [10.0.0.0/8]; everybody else gets 403",
    ),
    (
        &["deny_from", "blacklist", "ip_blacklist", "denylist", "blocklist", "block"],
        "origins",
        Some("deny"),
        "write deny: [192.0.2.0/24]; it goes before allow",
    ),
    (
        &[
            "forward_auth",
            "forwardauth",
            "forward-auth",
            "auth",
            "auth_url",
            "authrequest",
            "auth-request",
            "authenticate",
            "auth_request_url",
            "ext_authz",
        ],
        "origins",
        Some("auth_request"),
        "write auth_request: { url: \"http://127.0.0.1:4180/check\", pass: [X-User] }",
    ),
    // The service that a route asks.
    (
        &["address", "uri", "endpoint", "to", "upstream", "host"],
        "pass",
        Some("url"),
        "write url: http://127.0.0.1:4180/check",
    ),
    (
        &[
            "auth_request_set",
            "authresponseheaders",
            "auth_response_headers",
            "copy_headers",
            "headers",
            "response_headers",
            "set_headers",
        ],
        "pass",
        Some("pass"),
        "write pass: [X-User, X-Groups]",
    ),
    (
        &["authrequestheaders", "auth_request_headers", "request_headers", "header_up", "trustforwardheader"],
        "pass",
        None,
        "the service gets the client's fields and those that say whose request it is; docs/behaviour.md has the rules",
    ),
    (
        &["insecure", "insecureskipverify", "insecure_skip_verify", "verify"],
        "server_name",
        None,
        "the service is always verified: name who signed its certificate by ca: certs/ca.pem",
    ),
    (
        &["stripprefix", "uri_strip_prefix", "handle_path", "strip_path", "prefix_rewrite"],
        "origins",
        Some("strip_prefix"),
        "write strip_prefix: /ws",
    ),
    (
        &["proxy_set_host", "passhostheader", "pass_host_header", "host_rewrite", "header_host", "preserve_host"],
        "origins",
        Some("host_header"),
        "write host_header: upstream, or a name; the client's is kept by default",
    ),
    (
        &["proxy_set_header", "header_up", "customrequestheaders", "set_header", "headers", "header"],
        "origins",
        Some("request_headers"),
        "write request_headers: { set: { X-Tenant: acme } }; response_headers has those of answers",
    ),
    (
        &["add_header", "header_down", "customresponseheaders", "proxy_hide_header", "more_set_headers"],
        "origins",
        Some("response_headers"),
        "write response_headers: { set: { X-Frame-Options: DENY }, remove: [Server] }",
    ),
    (
        &["rewrite_target", "replace_path", "replacepathregex", "regex_rewrite", "replace"],
        "origins",
        Some("rewrite"),
        "write rewrite: { from: '^/ws/(.*)$', to: '/$1' }",
    ),
    (
        &["sticky", "cookie", "sticky_session", "session_affinity", "affinity", "sticky_sessions"],
        "origins",
        Some("sticky_cookie"),
        "write sticky_cookie: { name: longwire }",
    ),
    // Times and limits.
    (
        &["read", "write", "tunnel", "client", "server", "proxy_read_timeout", "proxy_send_timeout", "idle_timeout"],
        "idle",
        Some("idle"),
        "pings keep a session, so it needs no read timeout; timeouts.idle ends a silent one",
    ),
    (&["proxy_connect_timeout", "dial", "dial_timeout"], "idle", Some("connect"), "write connect: 5s"),
    (&["keepalive_timeout", "http_keep_alive", "http-keep-alive"], "idle", Some("keep_alive"), "write keep_alive: 75s"),
    (
        &["client_max_body_size", "max_body_size", "request_body"],
        "body_size",
        Some("body_size"),
        "write body_size: 16MiB",
    ),
    (
        &["maxconn", "max_connections", "worker_connections", "connections", "limit_conn"],
        "body_size",
        Some("sessions"),
        "write sessions: and a number; sessions_per_client is that of one address",
    ),
    (
        &["limit_req", "rate", "rate_limit"],
        "body_size",
        Some("new_sessions"),
        "write new_sessions: and a number per second",
    ),
    (&["interval", "ping", "period", "pinginterval"], "sides", Some("ping_interval"), "write ping_interval: 25s"),
    (&["timeout", "ping_timeout", "pingtimeout"], "sides", Some("pong_timeout"), "write pong_timeout: 30s"),
];

/// Where the TLS of a backend is set.
pub(super) const TLS_OF_UPSTREAM: &str = "TLS is set once for the whole upstream: tls: { } beside `backends`";

/// A word of another proxy, then the word of longwire. A foreign word that fits several of ours has a row for each.
const WORDS: &[(&str, &str)] = &[
    ("source", "ip_hash"),
    ("src", "ip_hash"),
    ("leastconn", "least_conn"),
    ("least_connections", "least_conn"),
    ("least_request", "least_conn"),
    ("random", "random_two"),
    ("p2c", "random_two"),
    ("random_choose", "random_two"),
    ("rr", "round_robin"),
    ("wrr", "round_robin"),
    ("weighted_round_robin", "round_robin"),
    ("sticky", "hash"),
    ("cookie", "hash"),
    ("header", "hash"),
    ("uri_hash", "hash"),
    ("consistent_hash", "hash"),
    ("ring_hash", "hash"),
    ("ws", "websocket"),
    ("server", "backend"),
    ("upstream", "backend"),
    ("downstream", "client"),
    ("combined", "text"),
    ("logfmt", "text"),
    ("warning", "warn"),
    ("notice", "info"),
    ("err", "error"),
    ("crit", "error"),
    ("emerg", "error"),
    ("local", "share"),
    ("allow", "open"),
    ("fail_open", "open"),
    ("refuse", "deny"),
    ("reject", "deny"),
    ("fail_closed", "deny"),
];

/// What to write instead of `key`, and the key of longwire that it means, if there is one.
///
/// `is_known` says which keys the section has.
pub(super) fn key(key: &str, is_known: impl Fn(&str) -> bool) -> Option<(Option<&'static str>, &'static str)> {
    let key = key.to_ascii_lowercase();
    let row = KEYS.iter().find(|(words, section, ..)| words.contains(&&*key) && is_known(section));
    row.map(|(_, _, ours, help)| (*ours, *help))
}

/// The word of `known` that another proxy calls `word`.
pub(super) fn word<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let word = word.to_ascii_lowercase().replace('-', "_");
    let (_, ours) = WORDS.iter().find(|(theirs, ours)| *theirs == word && known.contains(ours))?;
    known.iter().find(|known| *known == ours).copied()
}

/// Advice for a key that takes one value but was given several.
pub(super) fn several(key: &str) -> Option<&'static str> {
    match key {
        "host" | "path" => Some("one only: write a second route, to the same upstream, for the next"),
        "address" => Some("one only: write a second item of `backends` for the next"),
        "bind" => Some("one only: write a second item of `listeners` for the next"),
        "upstream" => Some("one only: name a group under `upstreams` that has them all"),
        _ => None,
    }
}

/// Advice for a whole file that is written in the language of another program.
pub(super) const WHOLE_FILE: &str = "a file of longwire is YAML, at least: listeners: [{ bind: 0.0.0.0:8080 }], \
     upstreams: { app: { backends: [{ address: \"127.0.0.1:3000\" }] } }, routes: [{ upstream: app }]";

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::schema;

    #[test]
    fn advice_names_keys_that_exist() {
        let schema = schema().to_string();
        for (words, section, ours, _) in KEYS {
            for key in ours.iter().chain([section]) {
                assert!(schema.contains(&format!("\"{key}\":")), "{key}");
            }
            assert!(words.iter().all(|word| *word == word.to_ascii_lowercase()), "{words:?}");
        }
    }

    #[test]
    fn a_section_gets_the_advice_that_is_for_it() {
        let of = |word: &str, known: &[&str]| key(word, |ours| known.contains(&ours)).map(|(ours, _)| ours);
        assert_eq!(of("server", &["backends", "max_fails"]), Some(Some("backends")));
        assert_eq!(of("server", &["address", "max_conns"]), Some(Some("address")));
        assert_eq!(of("TLS", &["address", "max_conns"]), Some(None));
        assert_eq!(of("entryPoints", &["listeners", "upstreams"]), Some(Some("listeners")));
        assert_eq!(of("nonsense", &["listeners"]), None);
        assert_eq!(word("least-connections", &["hash", "least_conn"]), Some("least_conn"));
        assert_eq!(word("source", &["tcp", "http"]), None);
    }
}
