//! What a configuration may say, and which messages a wrong one gets.

#![allow(clippy::unwrap_used)]

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use fs_err as fs;
use longwire::{
    balance::Policy,
    config::{self, Config, Loaded},
    ws::keepalive::SideTimes,
};
use proptest::prelude::*;
use serde_json::Value as Json;

/// The files of a folder that are for this build. `otlp_` files need the feature, `no_otlp_` files need a build without it.
fn fixtures(folder: &str) -> Vec<PathBuf> {
    let other = if cfg!(feature = "otlp") { "no_otlp_" } else { "otlp_" };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.retain(|path| !path.file_name().unwrap().to_str().unwrap().starts_with(other));
    files.sort();
    files
}

fn parse(text: &str) -> Result<Loaded, config::Diagnostics> {
    config::parse_with(text, "proxy.yaml", Path::new("/etc/longwire"), &|name| {
        (name == "PORT").then(|| "8080".to_owned())
    })
}

/// A whole file of which only `extra` matters.
fn config_with(extra: &str) -> Config {
    let base = "listeners: [{ bind: 127.0.0.1:0 }]\nroutes: [{ upstream: app }]\n\
                upstreams: { app: { backends: [{ address: \"127.0.0.1:3000\" }] } }\n";
    parse(&format!("{base}{extra}")).unwrap().config
}

#[test]
fn valid_files_are_accepted_without_a_warning_unless_they_expect_one() {
    let files = fixtures("valid");
    assert!(files.len() >= 10, "{} fixtures", files.len());
    assert_expected(&files, |path| match config::load(path) {
        Ok(loaded) => loaded.warnings,
        Err(errors) => panic!("{}\n{errors}", path.display()),
    });
}

#[test]
fn every_problem_of_an_invalid_file_is_reported_in_one_run() {
    let files = fixtures("invalid");
    assert!(files.len() >= 25, "{} fixtures", files.len());
    assert_expected(&files, |path| match config::load(path) {
        Ok(_) => panic!("{} is accepted", path.display()),
        Err(errors) => errors,
    });
}

/// The `# expect: ` lines at the head of a fixture are the beginnings of all messages, in order.
fn assert_expected(files: &[PathBuf], found: impl Fn(&Path) -> config::Diagnostics) {
    let mut wrong = String::new();
    for path in files {
        let text = fs::read_to_string(path).unwrap();
        let expected: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("# expect: ")).collect();
        let found: Vec<String> = found(path).lines().collect();
        if found.len() != expected.len() || found.iter().zip(&expected).any(|(f, e)| !f.starts_with(e)) {
            wrong += &format!("{}\nexpected: {expected:#?}\nfound: {found:#?}\n", path.display());
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_message_has_file_line_column_excerpt_and_suggestion() {
    let errors = parse("listeners:\n  - bind: :8080\n").unwrap_err();
    let text = errors.to_string();
    for part in ["proxy.yaml:2:11: error", "- bind: :8080", "^^^^^", "write 0.0.0.0:8080"] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    assert!(!text.contains('\x1b'));
    assert!(errors.render(true).contains('\x1b'));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let errors = config::load(Path::new("/nowhere/proxy.yaml")).unwrap_err();
    assert!(errors.to_string().starts_with("/nowhere/proxy.yaml: error: cannot read the file"), "{errors}");
}

#[test]
fn a_file_that_is_not_text_or_too_long_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.yaml");
    fs::write(&path, [0xff, 0xfe, 0x00]).unwrap();
    assert!(config::load(&path).unwrap_err().to_string().contains("not UTF-8"));
    fs::write(&path, "ä".repeat(1 << 20)).unwrap();
    assert!(config::load(&path).unwrap_err().to_string().contains("longer than 1024 KiB"));
}

#[test]
fn many_problems_are_cut_short() {
    let text: String = (0..500).map(|n| format!("key{n}: 1\n")).collect();
    let errors = parse(&text).unwrap_err();
    assert!(errors.len() >= 500);
    assert!(errors.to_string().contains("more\n"));
}

#[test]
fn what_is_not_said_has_its_default() {
    let config = config_with("");
    assert_eq!(config.workers, None);
    assert_eq!(config.upstreams[0].policy, Policy::IpHash { prefix_v4: 32 });
    assert_eq!(config.upstreams[0].backends[0].weight, 1);
    assert_eq!(config.timeouts.idle, None);
    assert_eq!(config.timeouts.connect, Duration::from_secs(5));
    assert_eq!(config.limits.header_size, 32 * 1024);
    assert_eq!(config.limits.body_size, None);
    assert_eq!(config.tcp.keepalive_idle, Some(Duration::from_secs(300)));
    assert!(config.log.access);
}

#[test]
fn a_plain_scalar_is_read_again_after_its_variables_are_replaced() {
    let config = config_with("workers: ${PORT:-1}\n".replace("PORT", "UNSET").as_str());
    assert_eq!(config.workers.map(|workers| workers.get()), Some(1));
    let config = config_with("limits:\n  headers: ${UNSET:-50}\n");
    assert_eq!(config.limits.headers, 50);
}

#[test]
fn a_route_overrides_only_what_it_names() {
    let text = "listeners: [{ bind: 127.0.0.1:0 }]\n\
                upstreams: { app: { backends: [{ address: \"127.0.0.1:3000\" }] } }\n\
                routes: [{ upstream: app, keepalive: { sides: [backend] } }]\n\
                keepalive: { ping_interval: 7s, pong_timeout: 0s }\n";
    let config = parse(text).unwrap().config;
    let route = config.routes.routes().next().unwrap();
    assert_eq!(route.name, "*/");
    assert_eq!(route.keepalive.ping_interval, SideTimes { client: None, backend: Some(Duration::from_secs(7)) });
    assert_eq!(route.keepalive.pong_timeout, SideTimes::of_both(None));
}

#[test]
fn each_side_has_its_own_pong_timeout_and_one_duration_is_for_both() {
    let timeouts = |common: &str, route: &str| {
        let text = format!(
            "listeners: [{{ bind: 127.0.0.1:0 }}]\n\
             upstreams: {{ app: {{ backends: [{{ address: \"127.0.0.1:3000\" }}] }} }}\n\
             routes: [{{ upstream: app, keepalive: {{ {route} }} }}]\n\
             keepalive: {{ {common} }}\n"
        );
        let SideTimes { client, backend } =
            parse(&text).unwrap().config.routes.routes().next().unwrap().keepalive.pong_timeout;
        [client, backend].map(|timeout| timeout.map(|timeout| timeout.as_secs()))
    };
    assert_eq!(timeouts("", ""), [Some(30), Some(300)]);
    assert_eq!(timeouts("pong_timeout: 7s", ""), [Some(7); 2]);
    assert_eq!(timeouts("pong_timeout: { client: 7s }", ""), [Some(7), Some(300)]);
    assert_eq!(timeouts("pong_timeout: { client: 0s, backend: 8s }", ""), [None, Some(8)]);
    assert_eq!(timeouts("pong_timeout: 7s", "pong_timeout: { backend: 9s }"), [Some(7), Some(9)]);
    assert_eq!(timeouts("pong_timeout: { client: 7s }", "pong_timeout: 0s"), [None; 2]);
}

#[test]
fn paths_of_certificates_start_at_the_folder_of_the_file() {
    let text = "listeners: [{ bind: 127.0.0.1:0, tls: { cert: certs/a.crt, key: /abs/a.key } }]\n\
                upstreams: { app: { backends: [{ address: \"127.0.0.1:3000\" }] } }\n\
                routes: [{ upstream: app }]\n";
    let config = parse(text).unwrap().config;
    let pair = &config.listeners[0].tls.as_ref().unwrap().certificates[0];
    assert_eq!(pair.cert, Path::new("/etc/longwire/certs/a.crt"));
    assert_eq!(pair.key, Path::new("/abs/a.key"));
}

#[test]
fn every_bad_certificate_is_reported_at_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    for name in ["a", "b"] {
        let made = rcgen::generate_simple_self_signed([format!("{name}.example.com")]).unwrap();
        write(&format!("{name}.crt"), &made.cert.pem());
        write(&format!("{name}.key"), &made.signing_key.serialize_pem());
    }
    write("empty.pem", "");
    let pairs =
        [("a.crt", "a.key"), ("a.crt", "b.key"), ("empty.pem", "a.key"), ("b.crt", "empty.pem"), ("no.crt", "b.key")];
    let mut text = String::from("routes: [{ upstream: app }]\n");
    text += "upstreams: { app: { backends: [{ address: \"127.0.0.1:3000\" }] } }\n";
    text += "listeners:\n  - bind: 127.0.0.1:0\n    tls:\n      certificates:\n";
    for (cert, key) in pairs {
        text += &format!("        - cert: {cert}\n          key: {key}\n");
    }
    write("proxy.yaml", &text);
    let errors = config::load(&folder.path().join("proxy.yaml")).unwrap_err();
    let found: Vec<String> = errors.lines().collect();
    let expected = [
        "10:16: cannot use this key",
        "11:17: cannot use this cert",
        "14:16: cannot use this key",
        "15:17: cannot use this cert",
    ];
    assert_eq!(found.len(), expected.len(), "{errors}");
    assert!(found.iter().zip(expected).all(|(f, e)| f.starts_with(e)), "{errors}");
}

#[test]
fn flags_make_a_configuration_with_every_default() {
    let strings = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
    let config =
        config::from_flags(&strings(&[":8080", "8081", "127.0.0.1:0"]), &strings(&["3000", "app:80"])).unwrap();
    let binds: Vec<String> = config.listeners.iter().map(|listener| listener.bind.to_string()).collect();
    assert_eq!(binds, ["0.0.0.0:8080", "0.0.0.0:8081", "127.0.0.1:0"]);
    let backends: Vec<&str> = config.upstreams[0].backends.iter().map(|backend| backend.address.as_str()).collect();
    assert_eq!(backends, ["127.0.0.1:3000", "app:80"]);
    assert_eq!(config.timeouts, config_with("").timeouts);

    let wrong = config::from_flags(&strings(&["nowhere"]), &strings(&["http://app:80"])).unwrap_err().to_string();
    assert!(wrong.contains("--listen: `nowhere`") && wrong.contains("--to: `http://app:80`"), "{wrong}");
    assert!(config::from_flags(&strings(&["8080"]), &[]).unwrap_err().to_string().contains("no backend"));
    assert!(config::from_flags(&[], &strings(&["3000"])).unwrap_err().to_string().contains("no listener"));
}

#[test]
fn the_shipped_file_is_accepted_without_a_warning() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("proxy.yaml");
    let loaded = config::load(&shipped).unwrap();
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    let described = config::describe(&loaded.config);
    for part in ["0.0.0.0:8443", "127.0.0.1:9002", "ip_hash", "-> chat", "ping after 25s"] {
        assert!(described.contains(part), "no {part:?} in\n{described}");
    }
}

#[test]
fn limits_and_origins_are_read_and_described() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/valid/limits.yaml");
    let config = config::load(&path).unwrap().config;
    assert_eq!((config.limits.sessions, config.limits.sessions_per_client), (Some(100_000), Some(10)));
    assert_eq!(config.limits.messages.message_size, Some(1 << 20));
    let described = config::describe(&config);
    for part in ["per client 10", "new per second 500", "message 1MiB", "bytes per second 1MiB", "by Close 1013"] {
        assert!(described.contains(part), "no {part:?} in\n{described}");
    }
    let nothing = config_with("");
    assert_eq!((nothing.limits.sessions, nothing.limits.unsent_memory), (None, None));
    assert!(!config::describe(&nothing).contains("limits"));
}

#[test]
fn what_routes_do_with_their_requests_is_described() {
    let text = "listeners: [{ bind: 127.0.0.1:0 }]\n\
                upstreams: { app: { backends: [{ address: \"127.0.0.1:3000\" }] } }\n\
                routes:\n  \
                - { upstream: app, strip_prefix: /ws, host_header: upstream, allow: [10.0.0.0/8],\n      \
                    request_headers: { set: { X-Tenant: acme }, remove: [X-Debug] } }\n  \
                - { path: /plain, upstream: app, compression: off, hold: { for: 30s }, resume: { for: 1m } }\n  \
                - { path: /r, upstream: app, rewrite: { from: '^/r/(.*)$', to: '/$1' }, host_header: a.example,\n      \
                    deny: [192.0.2.1], response_headers: { add: { Vary: Origin } } }\n  \
                - { redirect: { to: https, code: 301, port: 8443 } }\n";
    let described = config::describe(&parse(text).unwrap().config);
    for part in [
        ", strip /ws, host of the backend, request fields x-debug x-tenant, allow 10.0.0.0/8\n",
        ", no compression, hold for 30s, 200 per second, resume for 60s\n",
        ", rewrite ^/r/(.*)$ to /$1, host a.example, answer fields vary, deny 192.0.2.1/32\n",
        "\n  http://*/ -> 301 to https, port 8443\n",
    ] {
        assert!(described.contains(part), "no {part:?} in\n{described}");
    }
}

#[test]
fn the_shipped_file_names_every_key_of_the_schema() {
    let schema = config::schema();
    let definitions = schema["$defs"].as_object().unwrap().values();
    let mut keys = 0;
    for (key, property) in definitions.chain([&schema]).filter_map(|s| s["properties"].as_object()).flatten() {
        let named = config::SHIPPED.lines().any(|line| {
            let words = line.trim_start_matches([' ', '#', '-', '{']);
            words.strip_prefix(key.as_str()).is_some_and(|rest| rest.starts_with(':'))
        });
        assert!(named, "proxy.yaml does not name `{key}`");
        assert!(property["description"].is_string(), "`{key}` has no description");
        keys += 1;
    }
    assert!(keys > 40, "{keys} keys");
}

#[test]
fn the_shipped_file_shows_the_real_defaults() {
    let schema = config::schema();
    let shipped: Json = serde_yaml::from_str(config::SHIPPED).unwrap();
    let mut compared = Vec::new();
    compare_defaults(&schema, &schema, &shipped, "", &mut compared);
    // These keys must be set for the shipped file to run as it is.
    compared
        .retain(|(key, _, _)| !["listeners", "upstreams", "backends", "routes", "self_signed"].contains(&key.as_str()));
    assert!(compared.len() >= 35, "{} defaults", compared.len());
    for (key, shown, default) in compared {
        assert_eq!(shown, default, "{key}");
    }
}

/// Collects (key, value in the file, default) for every key that has a default and stands in the file.
fn compare_defaults(root: &Json, schema: &Json, value: &Json, key: &str, compared: &mut Vec<(String, Json, Json)>) {
    if let Some(default) = schema.get("default") {
        // A section is compared key by key.
        if !default.is_object() {
            compared.push((key.to_owned(), value.clone(), default.clone()));
        }
    }
    let target = schema["$ref"].as_str().map_or(schema, |name| root.pointer(name.trim_start_matches('#')).unwrap());
    match value {
        Json::Object(map) => {
            for (key, value) in map {
                let inner = target["properties"].get(key).unwrap_or_else(|| &target["additionalProperties"]);
                compare_defaults(root, inner, value, key, compared);
            }
        }
        Json::Array(items) => {
            items.iter().for_each(|item| compare_defaults(root, &target["items"], item, "", compared))
        }
        _ => {}
    }
}

#[test]
fn the_schema_offers_neither_null_nor_an_unknown_key() {
    let text = config::schema().to_string();
    assert!(!text.contains("null"), "{text}");
    assert_eq!(text.matches("\"properties\"").count(), text.matches("\"additionalProperties\":false").count());
}

proptest! {
    #[test]
    fn any_text_is_answered(text in "\\PC*") {
        answer(&text);
    }

    #[test]
    fn any_scrap_of_yaml_is_answered(scraps in prop::collection::vec(scrap(), 0..40)) {
        answer(&scraps.concat());
    }

    #[test]
    fn a_damaged_shipped_file_is_answered(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..20, scrap()), 1..6)
    ) {
        let mut text: Vec<char> = config::SHIPPED.chars().collect();
        for (at, length, scrap) in cuts {
            let at = at.index(text.len());
            let end = text.len().min(at + length);
            text.splice(at..end, scrap.chars());
        }
        answer(&text.into_iter().collect::<String>());
    }
}

/// Reads `text`. It must be accepted, or refused with at least one message; a panic would be wrong.
fn answer(text: &str) {
    match parse(text) {
        Ok(loaded) => drop(config::describe(&loaded.config)),
        Err(errors) => assert!(!errors.to_string().is_empty()),
    }
}

const SCRAPS: &[&str] = &[
    "\n",
    "\n  ",
    "\n    ",
    "- ",
    ": ",
    "{",
    "}",
    "[",
    "]",
    ",",
    "\"",
    "'",
    "#",
    "&a ",
    "*a ",
    "!!str ",
    "|\n",
    ">-\n",
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    "? ",
    "\t",
    "\r\n",
    "\u{feff}",
    "é",
    "\u{1f600}",
    "${",
    "${A}",
    "${A:-5}",
    "$$",
    "~",
    "null",
    "true",
    "-1",
    "0",
    "1e9",
    ".inf",
    "18446744073709551616",
    "5s",
    "1MiB",
    "listeners",
    "bind",
    "0.0.0.0:80",
    ":80",
    "tls",
    "cert",
    "certificates",
    "upstreams",
    "chat",
    "backends",
    "address",
    "weight",
    "routes",
    "host",
    "path",
    "upstream",
    "keepalive",
    "ping_interval",
    "auto",
    "via",
    "aws_alb",
    "idle",
    "sides",
    "client",
    "timeouts",
    "tcp",
    "log",
    "level",
    "<<",
];

fn scrap() -> impl Strategy<Value = String> {
    prop_oneof![9 => prop::sample::select(SCRAPS).prop_map(str::to_owned), 1 => "\\PC{0,5}"]
}

#[test]
fn every_file_of_the_recipes_is_accepted_without_a_warning() {
    let recipes = include_str!("../../docs/recipes.md");
    let mut files = 0;
    for section in recipes.split("\n## ").skip(1) {
        let title = section.lines().next().unwrap();
        let (_, file) = section.split_once("```yaml\n").unwrap_or_else(|| panic!("{title} has a file"));
        let (file, _) = file.split_once("```").unwrap();
        let loaded = parse(file).unwrap_or_else(|errors| panic!("{title}\n{errors}"));
        assert!(loaded.warnings.is_empty(), "{title}\n{}", loaded.warnings);
        files += 1;
    }
    assert_eq!(files, 9, "recipes");
}
