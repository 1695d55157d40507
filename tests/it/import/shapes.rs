//! Shapes that real files have: what becomes of each, by its text.

use longwire::import::{self, ImportTerms, Imported, IncludedFile};
use serde_json::{Value, json};

fn imported(text: &str) -> Imported {
    let file = IncludedFile { name: "a".to_owned(), identity: "a".to_owned(), text: text.to_owned() };
    import::import(file, ImportTerms { dialect: None, folder: "" }, &mut |_| Ok(Vec::new())).unwrap()
}

fn made(text: &str) -> Value {
    serde_yaml::from_str(&imported(text).yaml).unwrap()
}

/// The first route that is no redirect and has this path.
fn route(text: &str, path: &str) -> Value {
    let made = made(text);
    let all = made["routes"].as_array().unwrap();
    let is_it = |route: &&Value| route["redirect"].is_null() && route["path"].as_str().unwrap_or("/") == path;
    all.iter().find(is_it).unwrap_or_else(|| panic!("no route for {path} in {all:#?}")).clone()
}

/// The backends of the one upstream.
fn backends(text: &str) -> Value {
    let made = made(text);
    made["upstreams"].as_object().unwrap().values().next().unwrap()["backends"].clone()
}

/// A comment of the new file that has this part.
fn note(text: &str, part: &str) -> String {
    let yaml = imported(text).yaml;
    let mut lines = yaml.lines().map(|line| line.trim_start().trim_start_matches("# "));
    lines.find(|line| line.contains(part)).unwrap_or_else(|| panic!("no {part:?} in\n{yaml}")).to_owned()
}

#[test]
fn proxy_pass_with_a_variable_sends_the_path_that_it_names() {
    for (pass, rewrite) in [
        ("set $u http://127.0.0.1:1; proxy_pass $u/b/;", json!({ "from": "^.*$", "to": "/b/" })),
        ("set $p 1; proxy_pass http://127.0.0.1:$p/b$request_uri;", json!({ "from": "^(.*)$", "to": "/b$1" })),
        ("set $p 1; proxy_pass http://127.0.0.1:$p$uri$is_args$args;", Value::Null),
        ("set $p 1; proxy_pass http://127.0.0.1:$p;", Value::Null),
        ("proxy_pass http://127.0.0.1:1/b/;", json!({ "from": "^/a/(.*)$", "to": "/b/$1" })),
    ] {
        let text = format!("server {{ location /a/ {{ {pass} }} }}");
        assert_eq!(route(&text, "/a/")["rewrite"], rewrite, "{pass}");
    }
    let told = note("server { location /a/ { set $u http://127.0.0.1:1;\nproxy_pass $u/b; } }", "query");
    assert_eq!(told, "a:2: proxy_pass with a variable and a path: here the query stays");
    let named = "server { location ~ ^/a/(\\d+)$ { proxy_pass http://127.0.0.1:1/b/$1$is_args$args; } location / { proxy_pass http://127.0.0.1:1; } }";
    note(named, "no regular expressions");
}

#[test]
fn the_last_set_counts_and_one_in_an_if_is_told() {
    let text = "server { set $To 127.0.0.1:1; location / { set $to 127.0.0.1:2; if ($http_x_beta) { set $to 127.0.0.1:3; }\n\
                proxy_pass http://$TO; } }";
    assert_eq!(route(text, "/")["upstream"], "127.0.0.1-2");
    note(text, "if ($http_x_beta): longwire has no conditions");
}

#[test]
fn a_location_for_websockets_in_an_if_alone_passes_them_on() {
    let text = "server { location / { if ($http_upgrade) { proxy_pass http://127.0.0.1:2; } root /srv; } }";
    assert_eq!(route(text, "/")["upstream"], "127.0.0.1-2");
    note(text, "all goes where WebSockets go");
    note(text, "not by the Upgrade header");
}

#[test]
fn every_place_that_passes_no_upgrade_on_has_lines_of_its_own() {
    let text = "server {\nlocation /a {\nproxy_pass http://a; }\nlocation /b {\nproxy_pass http://b; }\n}\nserver {\n\
                location /c {\nproxy_pass http://c; } }";
    let remarks = imported(text).remarks;
    let lines: Vec<usize> = remarks
        .iter()
        .filter(|remark| remark.text.contains("Upgrade is not passed on"))
        .map(|remark| remark.line)
        .collect();
    assert_eq!(lines, [2, 4, 8]);
}

#[test]
fn a_map_of_any_name_counts_by_what_it_makes_of_a_handshake() {
    let wrong = |map: &str| {
        let text = format!(
            "map $http_upgrade $Ws_Mode {{ {map} }}\nserver {{ location / {{ proxy_pass http://a; proxy_http_version 1.1;\n\
             proxy_set_header Upgrade $http_upgrade;\nproxy_set_header Connection $ws_mode; }} }}"
        );
        let mut remarks = imported(&text).remarks.into_iter();
        remarks.find(|remark| remark.line == 4 && remark.directive == "proxy_set_header").map(|remark| remark.text)
    };
    for right in [
        "default upgrade; '' close;",
        "WebSocket Upgrade;",
        "~*^websocket$ upgrade; default '';",
        "default $http_connection;",
    ] {
        assert_eq!(wrong(right), None, "{right}");
    }
    for (map, value) in
        [("default keep-alive;", "keep-alive"), ("default upgrade; websocket close;", "close"), ("'' x;", "")]
    {
        let told = wrong(map).unwrap();
        assert!(told.contains(&format!("is {value:?} for a WebSocket, by the map of a:1")), "{told}");
    }
}

#[test]
fn servers_of_an_upstream_may_be_sockets_or_have_no_weight() {
    let text = "upstream u { server unix:/run/a.sock; server 127.0.0.1:2 weight=0; }\nserver { location / { proxy_pass http://u; } }";
    assert_eq!(backends(text), json!([{ "address": "unix:/run/a.sock" }, { "address": "127.0.0.1:2", "down": true }]));
    note(text, "weight=0, which nginx refuses");
    assert!(imported(text).remarks.iter().any(|remark| remark.text.starts_with("nginx refuses weight=0")));
}

#[test]
fn a_resolver_is_asked_where_a_variable_makes_nginx_ask_it() {
    let server = |pass: &str| format!("server {{ resolver 10.0.0.53 valid=10s; location / {{ {pass} }} }}");
    let asked = made(&server("set $u app.internal; proxy_pass http://$u:3000;"));
    let upstream = &asked["upstreams"]["app.internal-3000"];
    assert_eq!(upstream["backends"], json!([{ "dns": "app.internal:3000" }]));
    assert_eq!(upstream["discovery"], json!({ "resolver": ["10.0.0.53:53"], "max_ttl": "10s" }));
    assert_eq!(backends(&server("proxy_pass http://app.internal:3000;")), json!([{ "address": "app.internal:3000" }]));
}

#[test]
fn listens_of_both_families_are_one_listener_whose_default_server_is_the_one_that_says_so() {
    let text = "server { listen 443 ssl http2 reuseport; listen [::]:443 ssl http2; ssl_certificate a; ssl_certificate_key b;\n\
                server_name a.example.com; location / { proxy_pass http://127.0.0.1:1; } }\n\
                server { listen [::]:443 ssl default_server proxy_protocol; ssl_certificate c; ssl_certificate_key d;\n\
                server_name b.example.com; location / { proxy_pass http://127.0.0.1:2; } }";
    let made = made(text);
    let listeners = made["listeners"].as_array().unwrap();
    assert_eq!((listeners.len(), &listeners[0]["bind"]), (1, &json!("[::]:443")));
    assert!(listeners[0]["proxy_protocol"].is_object());
    assert_eq!(listeners[0]["tls"]["certificates"][0]["cert"], "c", "the default server's first");
    let any = made["routes"].as_array().unwrap().iter().find(|route| route["host"].is_null()).unwrap();
    assert_eq!(any["upstream"], "127.0.0.1-2");
    assert_eq!(imported(text).yaml.matches("http2: longwire speaks HTTP/1.1").count(), 1);
}

#[test]
fn marks_in_quotes_are_text() {
    let text = "server { location \"/a{2};/\" { add_header X 'a; {b} }'; proxy_pass http://127.0.0.1:1; }\n\
                if ($http_user_agent ~* \"x{2};\") { return 403; } location / { proxy_pass http://127.0.0.1:1; } }";
    assert_eq!(route(text, "/a{2};/")["response_headers"]["add"]["X"], "a; {{b} }");
    note(text, "if ($http_user_agent ~* x{2};");
}

#[test]
fn a_fixed_scheme_behind_another_proxy_stays() {
    let text = "server { location / { proxy_set_header X-Forwarded-Proto https; proxy_pass http://127.0.0.1:1; } }";
    assert_eq!(route(text, "/")["request_headers"]["set"], json!({ "X-Forwarded-Proto": "https" }));
    let text = "frontend f\n  bind :80\n  http-request set-header X-Forwarded-Proto https\n  default_backend b\nbackend b\n  server s 127.0.0.1:1\n";
    assert_eq!(route(text, "/")["request_headers"]["set"], json!({ "X-Forwarded-Proto": "https" }));
}

#[test]
fn an_include_that_fits_no_file_is_told() {
    let text = "include conf.d/*.conf;\nserver { location / { proxy_pass http://127.0.0.1:1; } }";
    assert_eq!(note(text, "no file fits"), "a:1: include conf.d/*.conf: no file fits");
}

/// A frontend on one port, and a backend.
fn haproxy(front: &str, back: &str) -> String {
    format!("frontend f\n  mode http\n  bind :8080\n{front}\n  default_backend b\nbackend b\n{back}\n")
}

#[test]
fn a_path_that_a_redirect_spares_stays_in_the_clear() {
    let front = "  use_backend n if { hdr(host) -i n.example.com }\n  http-request redirect scheme https unless { ssl_fc } or { path_beg /.well-known/ }";
    let made = made(&(haproxy(front, "  server s 127.0.0.1:1") + "backend n\n  server n 127.0.0.1:2\n"));
    let of = |host: Option<&str>, path: &str| -> Vec<Value> {
        let all = made["routes"].as_array().unwrap().iter();
        all.filter(|route| route["host"].as_str() == host && route["path"].as_str().unwrap_or("/") == path)
            .cloned()
            .collect()
    };
    for (host, upstream) in [(None, "b"), (Some("n.example.com"), "n")] {
        assert_eq!(of(host, "/").len(), 2, "the route and the redirect: {made:#?}");
        let spared = of(host, "/.well-known/");
        assert_eq!((spared.len(), &spared[0]["upstream"]), (1, &upstream.into()), "{made:#?}");
    }
}

#[test]
fn redirects_to_https_in_other_words_are_redirects_and_others_are_told() {
    for rule in [
        "redirect prefix https://%[hdr(host)] code 301 if !{ ssl_fc }",
        "http-request redirect location https://%[req.hdr(Host)]%[capture.req.uri] code 301 if !{ ssl_fc }",
    ] {
        let made = made(&haproxy(&format!("  {rule}"), "  server s 127.0.0.1:1"));
        let redirects = made["routes"].as_array().unwrap().iter().filter(|route| route["redirect"]["code"] == 301);
        assert_eq!(redirects.count(), 1, "{rule}");
    }
    let elsewhere =
        haproxy("  redirect prefix https://www.example.com if { hdr(host) -i example.com }", "  server s 127.0.0.1:1");
    note(&elsewhere, "so these requests go on");
}

#[test]
fn what_a_check_does_otherwise_is_told() {
    let back = "  server s 127.0.0.1:1 check port 1 addr 127.0.0.1 inter 1s\n  server t 127.0.0.1:2 check port 99 check-ssl fastinter 1s observe layer7";
    let text = haproxy("", back);
    for part in ["a:8: port: checks go to", "a:8: check-ssl: checks speak", "a:8: fastinter:", "a:8: observe:"] {
        note(&text, part);
    }
    assert!(!imported(&text).yaml.contains("a:7: port"), "the port of the server itself");
}

#[test]
fn a_server_without_a_port_has_that_of_the_only_listener() {
    let text = haproxy("", "  server s 10.0.0.1\n  server-template t 1-4 app.internal:3000 resolvers r");
    assert_eq!(backends(&text), json!([{ "address": "10.0.0.1:8080" }, { "dns": "app.internal:3000" }]));
    assert_eq!(made(&text)["upstreams"]["b"]["discovery"]["most"], 4);
    let two = text.replace("bind :8080", "bind :8080\n  bind :8081");
    note(&two, "server s 10.0.0.1: this is no backend here");
}

#[test]
fn variables_of_the_environment_count_where_the_file_says_their_value() {
    let text = "global\n  setenv HOST 127.0.0.1\n".to_owned()
        + &haproxy("", "  server s \"${HOST}:1\"\n  server t \"${PEER-10.0.0.2}:2\"\n  server u \"${NOBODY}:3\"");
    assert_eq!(backends(&text), json!([{ "address": "127.0.0.1:1" }, { "address": "10.0.0.2:2" }]));
    note(&text, "${NOBODY}:3: the file does not say the value of this variable");
}

#[test]
fn defaults_that_inherit_and_acls_of_several_lines_count() {
    let text = "defaults base\n  mode http\n  timeout connect 3s\n  timeout server 7s\ndefaults long from base\n  timeout server 9s\n\
                frontend f from base\n  bind :80\n  acl live path_beg /a/\n  acl live path_beg /b/\n  use_backend l if live\n\
                use_backend x if { path_beg /x/ } or { hdr(host) -i x.example.com }\n  default_backend d\n\
                backend l from long\n  server s 127.0.0.1:1\nbackend x from base\n  server s 127.0.0.1:2\nbackend d from base\n  server s 127.0.0.1:3\n";
    for (path, upstream) in [("/a/", "l"), ("/b/", "l"), ("/x/", "x")] {
        assert_eq!(route(text, path)["upstream"], upstream, "{path}");
    }
    let made = made(text);
    assert_eq!((&made["timeouts"]["connect"], &made["timeouts"]["response"]), (&json!("3s"), &json!("9s")));
    note(text, "timeouts.response is one for the whole file");
    let missing =
        |text: &str| imported(text).remarks.iter().filter(|remark| remark.directive == "timeout tunnel").count();
    assert_eq!(missing(text), 3);
    assert_eq!(missing(&text.replace("timeout server 9s", "timeout tunnel 1h")), 2);
}

#[test]
fn a_table_of_addresses_becomes_a_hash() {
    let text = haproxy(
        "",
        "  balance roundrobin\n  stick-table type ip size 1m expire 30m\n  stick on src\n  server s 127.0.0.1:1\n  server t 127.0.0.1:2",
    );
    assert_eq!(made(&text)["upstreams"]["b"]["balance"], "ip_hash");
    assert!(!imported(&text).yaml.contains("stick"));
}
