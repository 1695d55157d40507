//! What an original keeps closed stays closed: where longwire cannot say the same, the new file refuses more and never less.

use longwire::import::{self, Gravity, ImportTerms, IncludedFile};

/// The file that is made of a text.
fn made(text: &str) -> serde_json::Value {
    let file = IncludedFile { name: "a".to_owned(), identity: "a".to_owned(), text: text.to_owned() };
    let terms = ImportTerms { dialect: None, folder: "" };
    let yaml = import::import(file, terms, &mut |_| Ok(Vec::new())).unwrap().yaml;
    serde_yaml::from_str(&yaml).unwrap()
}

/// The routes that are made of a text.
fn routes(text: &str) -> Vec<serde_json::Value> {
    made(text)["routes"].as_array().cloned().unwrap_or_default()
}

/// The route for a host and a path.
fn route(text: &str, host: Option<&str>, path: &str) -> serde_json::Value {
    let all = routes(text);
    let found = all.iter().find(|route| {
        route["redirect"].is_null() && route["host"].as_str() == host && route["path"].as_str().unwrap_or("/") == path
    });
    found.unwrap_or_else(|| panic!("no route for {host:?} {path} in {all:#?}")).clone()
}

const EVERYBODY: [&str; 3] = ["0.0.0.0/0", "::/0", "unix"];

#[test]
fn a_location_that_lets_nobody_in_stays_closed() {
    for inner in [
        "deny all;",
        "return 403;",
        "return 404;",
        "internal; proxy_pass http://127.0.0.1:2;",
        "deny all; proxy_pass http://127.0.0.1:2;",
    ] {
        let text = format!("server {{ location / {{ proxy_pass http://127.0.0.1:1; }} location /x {{ {inner} }} }}");
        assert_eq!(route(&text, None, "/x")["deny"], serde_json::json!(EVERYBODY), "{inner}");
    }
    let text =
        "server { location / { proxy_pass http://127.0.0.1:1; } } server { server_name old.example.com; return 403; }";
    assert_eq!(route(text, Some("old.example.com"), "/")["deny"], serde_json::json!(EVERYBODY));
}

#[test]
fn allow_and_deny_count_in_their_order_on_one_line_too() {
    let text = "server { location / { deny 192.0.2.1; allow all; proxy_pass http://127.0.0.1:1; } }";
    assert_eq!(route(text, None, "/")["deny"], serde_json::json!(["192.0.2.1"]));
}

#[test]
fn a_server_that_wants_certificates_has_them_at_its_routes() {
    let text = "server { listen 443 ssl; ssl_certificate a; ssl_certificate_key b; server_name a.example.com;\n\
                location / { proxy_pass http://127.0.0.1:1; } }\n\
                server { listen 443 ssl; ssl_certificate a; ssl_certificate_key b; server_name b.example.com;\n\
                ssl_client_certificate c; ssl_verify_client on; location / { proxy_pass http://127.0.0.1:2; } }";
    assert_eq!(route(text, Some("b.example.com"), "/")["client_cert"], "required");
    assert!(route(text, Some("a.example.com"), "/")["client_cert"].is_null());
}

#[test]
fn a_name_of_one_port_does_not_reach_the_default_server_of_another() {
    let text = "server { listen 443 ssl; ssl_certificate a; ssl_certificate_key b; server_name a.example.com;\n\
                location / { proxy_pass http://127.0.0.1:1; } }\n\
                server { listen 80; server_name b.example.com; location / { proxy_pass http://127.0.0.1:2; } }";
    assert_eq!(route(text, Some("b.example.com"), "/")["upstream"], "127.0.0.1-2");
    // What nginx serves over TLS alone is not served in the clear.
    assert!(routes(text).iter().any(|route| route["host"] == "a.example.com" && route["redirect"]["to"] == "https"));
}

#[test]
fn an_expression_leaves_longer_prefixes_and_final_ones_to_their_locations() {
    let text = "server { location ~ ^/ws/?$ { proxy_pass http://127.0.0.1:1; } location /ws/chat/ { proxy_pass http://127.0.0.1:2; }\n\
                location ~ ^/$ { proxy_pass http://127.0.0.1:3; } location ^~ /up { proxy_pass http://127.0.0.1:4; }\n\
                location ~ ^/up/sock { proxy_pass http://127.0.0.1:5; } location ~ ^/socket.io/ { proxy_pass http://127.0.0.1:6; } }";
    for (path, upstream) in [("/ws/chat/", "127.0.0.1-2"), ("/up", "127.0.0.1-4"), ("/socket.io/", "127.0.0.1-6")] {
        assert_eq!(route(text, None, path)["upstream"], upstream, "{path}");
    }
    assert!(routes(text).iter().all(|route| route["path"] != "/up/sock"));
}

#[test]
fn redirects_of_old_guides_are_redirects() {
    for rewrite in
        ["rewrite ^ https://$server_name$request_uri? permanent;", "rewrite ^(.*)$ https://$host$1 permanent;"]
    {
        let text = format!("server {{ listen 80; server_name a.example.com; {rewrite} }}");
        let redirects = routes(&text).iter().filter(|route| route["redirect"]["code"] == 301).count();
        assert_eq!(redirects, 2, "{rewrite}: the name, and any other");
    }
}

/// A frontend and a backend of HAProxy.
fn haproxy(front: &str, back: &str) -> String {
    format!(
        "frontend f\n  mode http\n  bind :80\n{front}\n  default_backend b\nbackend b\n{back}\n  server s 127.0.0.1:1\n"
    )
}

#[test]
fn who_must_be_in_two_lists_must_be_in_both() {
    let narrow = "  http-request deny if !{ src 10.1.0.0/16 }";
    let wide = "  http-request deny if !{ src 10.0.0.0/8 }";
    assert_eq!(route(&haproxy(wide, narrow), None, "/")["allow"], serde_json::json!(["10.1.0.0/16"]));
    let other = "  http-request deny if !{ src 192.0.2.0/24 }";
    assert_eq!(route(&haproxy(wide, other), None, "/")["deny"], serde_json::json!(EVERYBODY));
}

#[test]
fn a_server_of_another_manner_is_not_spoken_to_in_that_of_most() {
    let text =
        haproxy("", "  server t 127.0.0.1:2 ssl verify none").replace("server s", "server z 127.0.0.1:3\n  server s");
    let file = IncludedFile { name: "a".to_owned(), identity: "a".to_owned(), text };
    let terms = ImportTerms { dialect: None, folder: "" };
    let yaml = import::import(file, terms, &mut |_| Ok(Vec::new())).unwrap().yaml;
    let made: serde_json::Value = serde_yaml::from_str(&yaml).unwrap();
    let down = made["upstreams"]["b"]["backends"].as_array().unwrap().iter().filter(|backend| backend["down"] == true);
    assert_eq!(down.map(|backend| &backend["address"]).collect::<Vec<_>>(), ["127.0.0.1:2"], "{yaml}");
    assert!(made["upstreams"]["b"]["tls"].is_null() && yaml.contains("an upstream one manner"), "{yaml}");
}

#[test]
fn a_rule_for_one_path_leaves_longer_ones_and_a_rule_without_servers_leads_nowhere() {
    let front = "  use_backend n if { path /n }\n  use_backend m if { path_beg /n/x }\n  use_backend gone if { path_beg /gone }";
    let text = haproxy(front, "")
        + "backend n\n  server n 127.0.0.1:2\nbackend m\n  server m 127.0.0.1:3\nbackend gone\n  server g fd@3\n";
    assert_eq!(route(&text, None, "/n/x")["upstream"], "m");
    assert_eq!(route(&text, None, "/gone")["deny"], serde_json::json!(EVERYBODY));
}

#[test]
fn a_path_is_written_as_it_is_on_the_wire_and_the_largest_of_several_limits_counts() {
    let text = "limit_conn_zone $binary_remote_addr zone=a:1m; server {\n\
                location /ü { limit_conn a 2; proxy_pass http://127.0.0.1:1; }\n\
                location \"/sp ace/\" { limit_conn a 50; proxy_pass http://127.0.0.1:2; } }";
    assert_eq!(route(text, None, "/%C3%BC")["upstream"], "127.0.0.1-1");
    assert_eq!(route(text, None, "/sp%20ace/")["upstream"], "127.0.0.1-2");
    assert_eq!(made(text)["limits"]["sessions_per_client"], 50);
}

#[test]
fn a_backend_that_is_named_and_not_there_is_told_as_an_error() {
    let text = haproxy("  use_backend nowhere if { path_beg /n }", "");
    let file = IncludedFile { name: "a".to_owned(), identity: "a".to_owned(), text };
    let terms = ImportTerms { dialect: None, folder: "" };
    let remarks = import::import(file, terms, &mut |_| Ok(Vec::new())).unwrap().remarks;
    let told = remarks.iter().find(|remark| remark.severity == Gravity::Error).unwrap();
    assert_eq!((told.line, told.directive.as_str()), (4, "use_backend"), "{remarks:#?}");
}

#[test]
fn a_rule_that_denies_by_path_or_host_still_denies() {
    let acls = "  acl admin path_beg /admin\n  acl office src 10.0.0.0/8\n";
    let front = format!("{acls}  http-request deny if admin !office\n  use_backend n if {{ path_beg /admin/live }}");
    let text = haproxy(&front, "") + "backend n\n  server n 127.0.0.1:2\n";
    for (path, upstream) in [("/admin", "b"), ("/admin/live", "n")] {
        let made = route(&text, None, path);
        assert_eq!(
            (&made["allow"], &made["upstream"]),
            (&serde_json::json!(["10.0.0.0/8"]), &upstream.into()),
            "{path}"
        );
    }
    assert!(route(&text, None, "/")["allow"].is_null());
    // Who is not named is refused, and who is named is served.
    let text = haproxy("  http-request deny unless { hdr(host) -i a.example.com } or { path_beg /open/ }", "");
    assert_eq!(route(&text, None, "/")["deny"], serde_json::json!(EVERYBODY));
    assert!(route(&text, None, "/open/")["deny"].is_null());
    assert!(route(&text, Some("a.example.com"), "/")["deny"].is_null());
    // What asks for the Upgrade header has no counterpart.
    let text = haproxy("  http-request deny if !{ hdr(Upgrade) -i websocket }", "");
    assert!(route(&text, None, "/")["deny"].is_null());
    // The rule of a backend is for its own routes alone, and rules add up.
    let back =
        "  http-request deny if { path_beg /x } { src 192.0.2.1 }\n  http-request deny unless { src 192.0.2.0/24 }";
    let made = route(&haproxy("  use_backend n if { path_beg /x/n }", back), None, "/x");
    assert_eq!(
        (&made["allow"], &made["deny"]),
        (&serde_json::json!(["192.0.2.0/24"]), &serde_json::json!(["192.0.2.1"]))
    );
    assert_eq!(route(&haproxy("  http-request deny", ""), None, "/")["deny"], serde_json::json!(EVERYBODY));
}

#[test]
fn a_service_that_asks_is_found_by_its_location_and_else_nobody_is_let_in() {
    let server = |inner: &str| {
        format!(
            "upstream auth {{ server 127.0.0.1:8 down; server 127.0.0.1:9; server 127.0.0.1:10; }} server {{ {inner}\n\
             location / {{ proxy_pass http://127.0.0.1:1; }}\n\
             location /x {{ auth_request /ask/me?y=1; proxy_pass http://127.0.0.1:2; }} }}"
        )
    };
    for (inner, url) in [
        ("location /ask/ { internal; proxy_pass http://auth; }", "http://127.0.0.1:9/ask/me?y=1"),
        ("location /ask/ { internal; proxy_pass http://auth/v1/; }", "http://127.0.0.1:9/v1/me?y=1"),
        (
            "location /ask/ { proxy_pass http://a/; } location = /ask/me?y=1 { proxy_pass http://127.0.0.1:7/b; }",
            "http://127.0.0.1:7/b",
        ),
        ("set $u http://127.0.0.1:7; location /ask/ { proxy_pass $u/check; }", "http://127.0.0.1:7/check"),
    ] {
        assert_eq!(route(&server(inner), None, "/x")["auth_request"]["url"], url, "{inner}");
    }
    for inner in ["location /ask { proxy_pass http://$host; }", "location /ask { proxy_pass http://unix:/a:/b; }"] {
        assert_eq!(route(&server(inner), None, "/x")["deny"], serde_json::json!(EVERYBODY), "{inner}");
    }
}

#[test]
fn an_expression_outside_takes_nothing_from_what_stands_in_a_final_prefix() {
    let text = "server { location / { proxy_pass http://127.0.0.1:1; }\n\
                location ^~ /.well-known { location /.well-known/acme { proxy_pass http://127.0.0.1:2; } proxy_pass http://127.0.0.1:3; }\n\
                location ~ ^/\\. { return 404; } location ~ ^/(?:build|lib)(?:$|/) { return 404; } }";
    assert_eq!(route(text, None, "/.well-known/acme")["upstream"], "127.0.0.1-2");
    assert_eq!(route(text, None, "/.well-known")["upstream"], "127.0.0.1-3");
    for path in ["/.", "/build", "/lib"] {
        assert_eq!(route(text, None, path)["deny"], serde_json::json!(EVERYBODY), "{path}");
    }
}
