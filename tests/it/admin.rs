//! The admin interface: who may use it, what it shows, what its orders do.

use std::{collections::HashSet, net::SocketAddr};

use longwire::config::AdminBind;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

use crate::harness::{
    Backend, Proxy, Setup, Wire,
    frames::{TEXT, masked, masked_close, unmasked, unmasked_close},
    within,
};

const JSON: &str = "Content-Type: application/json\r\n";

/// The admin interface of a proxy.
#[derive(Clone, Copy)]
struct Admin(SocketAddr);

impl Admin {
    fn of(proxy: &Proxy) -> Self {
        match proxy.control().admin_address() {
            Some(AdminBind::Tcp(address)) => Self(address),
            other => panic!("{other:?}"),
        }
    }

    /// Status and body of the answer to a request that names the proxy's own address. `headers` are whole lines.
    async fn ask(self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
        let host = self.0;
        self.ask_bare(&format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}"), body).await
    }

    async fn ask_bare(self, head: &str, body: &str) -> (u16, String) {
        let mut wire = Wire::connect(self.0).await;
        wire.send(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())).await;
        let response = wire.response().await;
        (response.status(), response.text().to_owned())
    }

    async fn get(self, path: &str) -> Value {
        let (status, body) = self.ask("GET", path, "", "").await;
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error} in {body:?}"))
    }

    async fn post(self, path: &str) -> Value {
        let (status, body) = self.ask("POST", path, JSON, "").await;
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Status and `error` of a request that is refused.
    async fn refused(self, method: &str, path: &str, headers: &str, body: &str) -> (u16, Value) {
        let (status, body) = self.ask(method, path, headers, body).await;
        let body: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error} in {body:?}"));
        assert!(body["error"]["message"].is_string(), "{body}");
        (status, body["error"].clone())
    }
}

fn before(backends: &[&Backend]) -> Setup {
    Proxy::before(backends).with("admin: { bind: \"127.0.0.1:0\" }")
}

/// Both ends close, the client first.
async fn close(mut client: Wire, mut at_backend: Wire) {
    client.send(masked_close(1000, "")).await;
    at_backend.expect_close_code(1000).await;
    at_backend.send(unmasked_close(1000, "")).await;
    client.expect_close_code(1000).await;
    client.expect_eof().await;
    client.finish().await;
    at_backend.expect_eof().await;
    at_backend.finish().await;
}

#[tokio::test]
async fn foreign_hosts_and_origins_are_refused_but_not_where_load_balancers_look() {
    let proxy = before(&[&Backend::echo()]).start();
    let admin = Admin::of(&proxy);
    let status = |head: &str| {
        let head = format!("{head}\r\n");
        async move { admin.ask_bare(&head, "").await.0 }
    };
    let port = admin.0.port();
    assert_eq!(status(&format!("GET /api/status HTTP/1.1\r\nHost: localhost:{port}")).await, 200);
    assert_eq!(status("GET /api/status HTTP/1.1\r\nHost: evil.example").await, 403);
    assert_eq!(status(&format!("GET /api/status HTTP/1.1\r\nHost: evil.example:{port}")).await, 403);
    assert_eq!(status("GET /healthz HTTP/1.1\r\nHost: evil.example").await, 200);
    assert_eq!(status("GET /readyz HTTP/1.1\r\nHost: 10.0.0.1:1").await, 200);
    let (code, error) = admin.refused("GET", "/api/status", "Origin: http://evil.example\r\n", "").await;
    assert_eq!((code, &error["code"]), (403, &"wrong_origin".into()));
    let own = format!("Origin: http://{}\r\n", admin.0);
    assert_eq!(admin.ask("GET", "/api/status", &own, "").await.0, 200);
    proxy.stop().await;
}

#[tokio::test]
async fn a_write_needs_a_json_content_type_and_its_own_method() {
    let proxy = before(&[&Backend::echo()]).start();
    let admin = Admin::of(&proxy);
    for kind in ["", "Content-Type: text/plain\r\n", "Content-Type: application/x-www-form-urlencoded\r\n"] {
        let (code, error) = admin.refused("POST", "/api/drain", kind, "{}").await;
        assert_eq!((code, &error["code"]), (415, &"wrong_content_type".into()), "{kind}");
    }
    assert!(proxy.control().is_ready());
    for (method, path, expected) in [
        ("GET", "/api/drain", 405),
        ("PUT", "/api/status", 405),
        ("OPTIONS", "/api/sessions", 405),
        ("GET", "/api", 404),
        ("GET", "/api/sessions/", 404),
        ("GET", "/api/sessions/none", 404),
        ("GET", "/api/sessions/%zz", 400),
        ("GET", "/api/sessions?sort=colour", 400),
        ("GET", "/api/sessions?limit=1001", 400),
        ("GET", "/api/sessions?client=x", 400),
        ("GET", "/api/sessions?what=x", 400),
        ("GET", "/api/endings?limit=201", 400),
        ("GET", "/api/endings?what=x", 400),
        ("GET", "/api/refusals?limit=201", 400),
        ("POST", "/", 405),
        ("DELETE", "/api/sessions/none", 404),
        ("POST", "/api/routes/none/drain", 404),
        ("POST", "/api/upstreams/chat/backends/none/drain", 404),
        ("POST", "/api/upstreams/none/backends/none/drain", 404),
        ("POST", "/api/reload", 409),
    ] {
        assert_eq!(admin.refused(method, path, JSON, "").await.0, expected, "{method} {path}");
    }
    for body in ["{\"colour\": 1}", "{", "[]", "1"] {
        assert_eq!(admin.refused("POST", "/api/drain", JSON, body).await.0, 400, "{body}");
    }
    assert_eq!(admin.refused("POST", "/api/drain", JSON, &" ".repeat(20_000)).await.0, 413);
    assert!(proxy.control().is_ready());
    proxy.stop().await;
}

#[tokio::test]
async fn with_a_token_everything_under_api_shows_it_and_a_reload_reads_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    fs_err::write(&token, "first-token-of-many\n").unwrap();
    let file = folder.path().join("proxy.yaml");
    let setting = "admin: { bind: \"127.0.0.1:0\", token_file: token }";
    let proxy = Proxy::before(&[&Backend::echo()]).with(setting).start_from(&file);
    let admin = Admin::of(&proxy);
    let first = "Authorization: Bearer first-token-of-many\r\n";
    for path in ["/api/status", "/api/sessions", "/api/config", "/api/openapi.json"] {
        assert_eq!(admin.refused("GET", path, "", "").await.0, 401);
        assert_eq!(admin.refused("GET", path, "Authorization: Bearer first-token-of-man\r\n", "").await.0, 401);
        let (status, body) = admin.ask("GET", path, first, "").await;
        assert_eq!(status, 200);
        assert!(!body.contains("first-token-of-many"), "{path} tells the token");
    }
    assert_eq!(admin.refused("POST", "/api/drain", JSON, "").await.0, 401);
    assert_eq!(admin.ask("GET", "/healthz", "", "").await.0, 200);
    assert_eq!(admin.ask("GET", "/readyz", "", "").await.0, 200);
    assert_eq!(admin.ask("GET", "/", "", "").await.0, 200, "the page asks for the token itself");
    fs_err::write(&token, "second-token-of-many").unwrap();
    assert_eq!(admin.ask("POST", "/api/reload", &format!("{JSON}{first}"), "").await.0, 200);
    assert_eq!(admin.refused("GET", "/api/status", first, "").await.0, 401);
    let second = "Authorization: Bearer second-token-of-many\r\n";
    assert_eq!(admin.ask("GET", "/api/status", second, "").await.0, 200);
    proxy.stop().await;
}

#[tokio::test]
async fn sessions_are_listed_filtered_sorted_and_paged() {
    let (one, two) = (Backend::by_hand(), Backend::by_hand());
    let proxy = before(&[&one, &two]).start();
    let admin = Admin::of(&proxy);
    let mut sessions = Vec::new();
    for backend in [&one, &two, &one] {
        let (mut client, mut at_backend) = proxy.session_by_hand(backend).await;
        for _ in 0..=sessions.len() {
            client.send(masked(TEXT, "hello")).await;
            at_backend.expect(masked(TEXT, "hello")).await;
        }
        sessions.push((client, at_backend));
    }
    let all = admin.get("/api/sessions").await;
    assert_eq!((&all["matched"], &all["total"]), (&3.into(), &3.into()), "{all}");
    let messages = |list: &Value| -> Vec<u64> {
        let sessions = list["sessions"].as_array().unwrap().iter();
        sessions.map(|session| session["messages_to_backend"].as_u64().unwrap()).collect()
    };
    assert_eq!(messages(&all), [1, 2, 3], "the oldest first");
    assert_eq!(messages(&admin.get("/api/sessions?sort=messages").await), [3, 2, 1]);
    assert_eq!(messages(&admin.get("/api/sessions?sort=bytes&order=asc&limit=2").await), [1, 2]);
    let page = admin.get("/api/sessions?sort=bytes&order=asc&limit=2&offset=2").await;
    assert_eq!((messages(&page), &page["matched"]), (vec![3], &3.into()));
    assert_eq!(messages(&admin.get(&format!("/api/sessions?backend={two}")).await), [2]);
    for (filter, count) in [
        ("client=127.0.0.1", 3),
        ("client=127.0.0.0/8", 3),
        ("client=10.0.0.0/8", 0),
        ("route=*%2F", 3),
        ("route=*", 0),
        ("upstream=chat", 3),
        ("upstream=chat&client=::1", 0),
    ] {
        assert_eq!(admin.get(&format!("/api/sessions?{filter}")).await["matched"], count, "{filter}");
    }
    let first = &all["sessions"][0];
    let expected = json!(["127.0.0.1", "*/", "chat", one.to_string(), "/ws", "open", 0, 11]);
    let keys = ["client", "route", "upstream", "backend", "path", "state", "buffered_bytes", "bytes_to_backend"];
    assert_eq!(json!(keys.map(|key| first[key].clone())), expected, "{first}");
    let id = first["id"].as_str().unwrap();
    assert_eq!(admin.get(&format!("/api/sessions/{id}")).await["id"], id);
    for (client, at_backend) in sessions {
        close(client, at_backend).await;
    }
    let records = proxy.stop().await;
    assert!(records.iter().any(|record| record["request_id"] == id), "the id of the list is that of the record");
}

#[tokio::test]
async fn a_killed_session_tells_both_sides_and_its_record_says_so() {
    let backend = Backend::by_hand();
    let mut proxy = before(&[&backend]).start();
    let admin = Admin::of(&proxy);
    let (mut stays, mut at_stays) = proxy.session_by_hand(&backend).await;
    let kept = admin.get("/api/sessions").await["sessions"][0]["id"].clone();
    for (body, code, reason) in
        [("{\"code\": 4321, \"reason\": \"bad ⛔ guest\"}", 4321, "bad ⛔ guest"), ("", 1008, "killed")]
    {
        let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
        let all = admin.get("/api/sessions").await;
        let id = all["sessions"].as_array().unwrap().iter().map(|s| &s["id"]).find(|id| **id != kept).unwrap();
        let path = format!("/api/sessions/{}", id.as_str().unwrap());
        for wrong in ["{\"code\": 1006}", &format!("{{\"reason\": \"{}\"}}", "x".repeat(124))] {
            assert_eq!(admin.refused("DELETE", &path, JSON, wrong).await.0, 400);
        }
        let (status, answer) = admin.ask("DELETE", &path, JSON, body).await;
        assert_eq!((status, serde_json::from_str(&answer).ok()), (200, Some(json!({ "id": id, "killed": 1 }))));
        client.expect_close(code, reason).await;
        at_backend.expect_close(code, reason).await;
        client.send(masked_close(code, "")).await;
        at_backend.send(unmasked_close(code, "")).await;
        client.expect_eof().await;
        client.finish().await;
        at_backend.expect_eof().await;
        at_backend.finish().await;
        let record = proxy.next_record().await;
        let keys = ["cause", "initiator", "close_code", "close_reason", "clean"].map(|key| record[key].clone());
        assert_eq!(json!(keys), json!(["killed", "proxy", code, reason, true]), "{record}");
    }
    stays.send(masked(TEXT, "still here")).await;
    at_stays.expect(masked(TEXT, "still here")).await;
    close(stays, at_stays).await;
    proxy.stop().await;
}

#[tokio::test]
async fn whose_frames_are_shown_is_chosen_listed_bounded_and_taken_back() {
    let proxy = before(&[&Backend::echo()]).start();
    let admin = Admin::of(&proxy);
    for body in [
        "{}",
        r#"{"id":"a","client":"192.0.2.1"}"#,
        r#"{"client":"somebody"}"#,
        r#"{"client":"192.0.2.1","for_ms":0}"#,
        r#"{"client":"192.0.2.1","for_ms":3600001}"#,
        r#"{"client":"192.0.2.1","for_ms":1.5}"#,
        r#"{"client":"192.0.2.1","for":"5m"}"#,
    ] {
        let (code, error) = admin.refused("POST", "/api/debug", JSON, body).await;
        assert_eq!((code, &error["code"]), (400, &"bad_request".into()), "{body}: {error}");
    }
    let (code, error) = admin.refused("POST", "/api/debug", JSON, r#"{"id":"none"}"#).await;
    assert_eq!((code, &error["code"]), (404, &"not_found".into()), "{error}");
    assert_eq!(admin.get("/api/debug").await, json!({ "choices": [] }));
    for number in (0..16).chain([3]) {
        let body = format!(r#"{{"client":"10.{number}.0.1/16"}}"#);
        assert_eq!(admin.ask("POST", "/api/debug", JSON, &body).await.0, 200);
    }
    let (code, error) = admin.refused("POST", "/api/debug", JSON, r#"{"client":"2001:db8::/32"}"#).await;
    assert_eq!((code, &error["code"]), (409, &"too_many".into()), "{error}");
    let choices = admin.get("/api/debug").await["choices"].as_array().unwrap().clone();
    assert_eq!(choices.len(), 16);
    assert!(choices.iter().all(|choice| (1..=300_000).contains(&choice["left_ms"].as_u64().unwrap())), "{choices:?}");
    let (code, body) = admin.ask("DELETE", "/api/debug/10.3.0.0%2F16", JSON, "").await;
    assert!(code == 200 && !body.contains("10.3.") && body.contains("10.4.0.0/16"), "{body}");
    let (code, error) = admin.refused("DELETE", "/api/debug/10.3.0.0%2F16", JSON, "").await;
    assert_eq!((code, &error["code"]), (404, &"not_found".into()), "{error}");
    proxy.stop().await;
}

#[tokio::test]
async fn a_list_of_many_sessions_names_each_once() {
    const MANY: usize = 600;
    let backend = Backend::echo();
    // So many sessions may take longer than a client is left without a Ping.
    let proxy = before(&[&backend]).with("keepalive: { ping_interval: 0s }").start();
    let admin = Admin::of(&proxy);
    let mut clients = Vec::with_capacity(MANY);
    for _ in 0..MANY {
        clients.push(proxy.session().await);
    }
    let list = admin.get("/api/sessions?limit=1000").await;
    let ids: HashSet<_> = list["sessions"].as_array().unwrap().iter().map(|s| s["id"].as_str().unwrap()).collect();
    assert_eq!((ids.len(), &list["matched"]), (MANY, &MANY.into()));
    let first = admin.get("/api/sessions?limit=3").await;
    assert_eq!((first["sessions"].as_array().unwrap().len(), &first["matched"]), (3, &MANY.into()));
    for client in clients {
        client.leave().await;
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_backend_is_drained_and_put_back() {
    let (one, two) = (Backend::by_hand(), Backend::by_hand());
    let proxy = before(&[&one, &two]).with("drain: { spread: 0s }").start();
    let admin = Admin::of(&proxy);
    let (mut leaves, mut at_one) = proxy.session_by_hand(&one).await;
    let (mut stays, mut at_two) = proxy.session_by_hand(&two).await;
    let drained = admin.post(&format!("/api/upstreams/chat/backends/{one}/drain")).await;
    let duties = |upstreams: &Value| {
        let backends = upstreams["upstreams"][0]["backends"].as_array().unwrap();
        backends.iter().map(|backend| backend["duty"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(duties(&drained), ["drain", "up"]);
    leaves.expect_close(1012, "drain").await;
    at_one.expect_close(1012, "drain").await;
    drop((leaves, at_one));
    let (client, at_backend) = proxy.session_by_hand(&two).await;
    close(client, at_backend).await;
    assert_eq!(duties(&admin.post(&format!("/api/upstreams/chat/backends/{one}/down")).await), ["down", "up"]);
    assert_eq!(duties(&admin.post(&format!("/api/upstreams/chat/backends/{one}/up")).await), ["up", "up"]);
    let (client, at_backend) = proxy.session_by_hand(&one).await;
    close(client, at_backend).await;
    at_two.send(unmasked(TEXT, "still here")).await;
    stays.expect(unmasked(TEXT, "still here")).await;
    close(stays, at_two).await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_route_and_the_whole_are_drained_and_resumed() {
    let backend = Backend::echo();
    let proxy = before(&[&backend]).with("drain: { spread: 0s }").start();
    let admin = Admin::of(&proxy);
    for (drain, resume, is_ready) in
        [("/api/routes/*%2F/drain", "/api/routes/*%2F/resume", true), ("/api/drain", "/api/resume", false)]
    {
        let mut client = proxy.session().await;
        let status = admin.post(drain).await;
        assert_eq!(status["ready"], is_ready, "{status}");
        assert_eq!(status["routes"][0]["draining"], is_ready, "{status}");
        assert_eq!(admin.ask("GET", "/readyz", "", "").await.0, if is_ready { 200 } else { 503 });
        assert_eq!(admin.ask("GET", "/healthz", "", "").await.0, 200);
        client.expect_close(1012, "drain").await;
        assert_eq!(proxy.client().await.get("/", "").await.status(), 503);
        let status = admin.post(resume).await;
        assert_eq!((&status["ready"], &status["routes"][0]["draining"]), (&true.into(), &false.into()));
        assert_eq!(proxy.client().await.get("/", "").await.status(), 200);
        drop(client);
    }
    proxy.stop().await;
}

#[tokio::test]
async fn readiness_fails_first_and_the_interface_stays_up_through_the_drain() {
    let backend = Backend::by_hand();
    let mut proxy = before(&[&backend]).with("drain: { wait: 200ms, spread: 0s }").timeout("drain", "8s").start();
    let admin = Admin::of(&proxy);
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    assert_eq!(admin.ask("GET", "/readyz", "", "").await.0, 200);
    let looks = async {
        within("readiness to fail", async { while admin.ask("GET", "/readyz", "", "").await.0 == 200 {} }).await;
        client.expect_close(1012, "drain").await;
        let status = admin.get("/api/status").await;
        assert_eq!((&status["draining"], &status["sessions"]), (&true.into(), &1.into()), "{status}");
        assert_eq!(admin.get("/api/sessions").await["sessions"][0]["state"], "ending");
        client.send(masked_close(1012, "")).await;
        at_backend.expect_close(1012, "drain").await;
        at_backend.send(unmasked_close(1012, "")).await;
        drop((client, at_backend));
    };
    let (drained, ()) = tokio::join!(proxy.drain(), looks);
    assert_eq!(drained.cut, 0);
    assert!(tokio::net::TcpStream::connect(admin.0).await.is_err(), "gone with the process");
    proxy.stop().await;
}

#[tokio::test]
async fn a_reload_says_what_changed_and_a_broken_file_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proxy.yaml");
    let (one, two) = (Backend::echo(), Backend::echo());
    let proxy = before(&[&one, &two]).start_from(&file);
    let admin = Admin::of(&proxy);
    fs_err::write(&file, before(&[&two]).text().replace("workers: 2", "workers: 3")).unwrap();
    let changed = admin.post("/api/reload").await;
    assert_eq!(changed["backends_removed"], json!([format!("chat/{one}")]), "{changed}");
    assert_eq!(changed["needs_restart"], json!(["workers"]));
    assert_eq!(admin.get("/api/config").await["upstreams"]["chat"]["backends"][0]["address"], two.to_string());
    fs_err::write(&file, "listeners:\n  - bind: 127.0.0.1:0\n    tsl: {}\n").unwrap();
    let (status, error) = admin.refused("POST", "/api/reload", JSON, "{}").await;
    assert_eq!((status, &error["code"]), (422, &"wrong_config".into()), "{error}");
    let first = &error["diagnostics"][2];
    assert_eq!((&first["line"], &first["column"]), (&3.into(), &5.into()), "{error}");
    assert!(error["rendered"].as_str().unwrap().contains("proxy.yaml:3:5: error: unknown key `tsl`"), "{error}");
    assert_eq!(admin.get("/api/config").await["upstreams"]["chat"]["backends"][0]["address"], two.to_string());
    assert_eq!(proxy.client().await.get("/", "").await.status(), 200);
    proxy.stop().await;
}

#[tokio::test]
async fn another_address_of_the_interface_needs_a_restart() {
    let backend = Backend::echo();
    let mut proxy = before(&[&backend]).start();
    let admin = Admin::of(&proxy);
    for other in ["admin: { bind: \"127.0.0.2:0\" }", ""] {
        let reloaded = proxy.reload(&Proxy::before(&[&backend]).with(other));
        assert_eq!(reloaded.needs_restart, ["admin"], "{other}");
        assert_eq!(admin.ask("GET", "/api/status", "", "").await.0, 200);
    }
    assert_eq!(proxy.reload(&before(&[&backend])).needs_restart, [""; 0]);
    proxy.stop().await;
}

#[tokio::test]
async fn it_listens_on_a_path_too_for_this_user_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    // The socket that a killed process leaves behind.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let setting = format!("admin: {{ bind: \"unix:{}\" }}", path.display());
    let proxy = Proxy::before(&[&Backend::echo()]).with(&setting).start();
    assert_eq!(fs_err::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream.write_all(b"GET /api/status HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    within("an answer", stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    proxy.stop().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn its_description_names_what_it_answers() {
    let proxy = before(&[&Backend::echo()]).start();
    let admin = Admin::of(&proxy);
    let description = admin.get("/api/openapi.json").await;
    let paths = description["paths"].as_object().unwrap();
    for (path, calls) in paths {
        for method in calls.as_object().unwrap().keys().filter(|key| ["get", "post", "delete"].contains(&key.as_str()))
        {
            let path = path.replace("{upstream}", "chat").replace("{backend}", "none").replace("{route}", "none");
            let path = path.replace("{id}", "none").replace("{name}", "none");
            let (status, body) = admin.ask(&method.to_uppercase(), &path, JSON, "").await;
            assert!(!body.contains("nothing is at this path") && status != 405, "{method} {path}: {body}");
            if path == "/api/drain" {
                admin.post("/api/resume").await;
            }
        }
    }
    assert!(paths.len() >= 14, "{} paths", paths.len());
    proxy.stop().await;
}

#[tokio::test]
async fn the_page_runs_its_own_script_only_and_is_framed_by_nobody() {
    let proxy = before(&[&Backend::echo()]).start();
    let admin = Admin::of(&proxy);
    let mut nonces = HashSet::new();
    for _ in 0..2 {
        let mut wire = Wire::connect(admin.0).await;
        wire.send(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", admin.0)).await;
        let answer = wire.response().await;
        let header = |name: &str| answer.head.header(name).unwrap_or_default().to_owned();
        assert_eq!((answer.status(), &*header("content-type")), (200, "text/html; charset=utf-8"));
        assert_eq!((&*header("x-frame-options"), &*header("x-content-type-options")), ("DENY", "nosniff"));
        assert_eq!(&*header("cache-control"), "no-store");
        let policy = header("content-security-policy");
        for rule in ["default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"] {
            assert!(policy.contains(rule), "{rule} in {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        let nonce = policy.split_once("script-src 'nonce-").unwrap().1.split_once('\'').unwrap().0.to_owned();
        let page = answer.text();
        assert_eq!(page.matches(&format!(" nonce=\"{nonce}\"")).count(), 2, "a script and a style");
        assert_eq!(page.matches("<script").count() + page.matches("<style").count(), 2);
        for foreign in ["http://", "https://", "src=", " onclick=", " style=", "{{"] {
            assert!(!page.replace("http://www.w3.org/2000/svg", "").contains(foreign), "{foreign}");
        }
        nonces.insert(nonce);
    }
    assert_eq!(nonces.len(), 2, "each answer has a nonce of its own");
    let (status, _) = admin.ask_bare("GET / HTTP/1.1\r\nHost: evil.example\r\n", "").await;
    assert_eq!(status, 403, "by its own name only");
    proxy.stop().await;
}

#[tokio::test]
async fn an_ending_is_told_with_code_who_and_why_though_the_log_is_off() {
    let backend = Backend::by_hand();
    let proxy = before(&[&backend]).with("log: { access: false }").start();
    let admin = Admin::of(&proxy);
    let (client, at_backend) = proxy.session_by_hand(&backend).await;
    close(client, at_backend).await;
    let (mut client, at_backend) = proxy.session_by_hand(&backend).await;
    drop(at_backend);
    client.expect_close_code(1011).await;
    drop(client);
    let endings = within("two endings", async {
        loop {
            let endings = admin.get("/api/endings").await;
            if endings["total"] == 2 {
                break endings;
            }
        }
    })
    .await;
    let [lost, closed] = &endings["endings"].as_array().unwrap()[..] else { panic!("{endings}") };
    assert_eq!(
        (&lost["cause"], &lost["initiator"], &lost["drop"]),
        (&"backend_lost".into(), &"backend".into(), &true.into())
    );
    let why = "the backend closed the TCP connection without a Close frame: it crashed or was restarted";
    assert_eq!(lost["why"], why);
    assert_eq!(
        (&closed["cause"], &closed["close_code"], &closed["clean"]),
        (&"client_close".into(), &1000.into(), &true.into())
    );
    assert_eq!((&closed["backend"], &closed["drop"]), (&backend.to_string().into(), &false.into()));
    let causes = json!([
        { "cause": "backend_lost", "why": why, "drop": true, "count": 1 },
        { "cause": "client_close", "why": closed["why"], "drop": false, "count": 1 },
    ]);
    assert_eq!(endings["causes"], causes);
    assert_eq!(admin.get("/api/endings?limit=1").await["endings"], json!([lost]));
    let history = admin.get("/api/history").await;
    let samples = history["samples"].as_array().unwrap();
    let ended = samples.iter().filter_map(|sample| sample["ended"]["backend_lost"].as_u64()).sum::<u64>();
    assert_eq!((ended, &samples.last().unwrap()["ago_ms"]), (1, &0.into()), "{history}");
    proxy.stop().await;
}

#[tokio::test]
async fn the_last_endings_are_bounded_and_all_are_counted() {
    let backend = Backend::by_hand();
    let proxy = before(&[&backend]).start();
    let admin = Admin::of(&proxy);
    for _ in 0..205 {
        let (client, at_backend) = proxy.session_by_hand(&backend).await;
        close(client, at_backend).await;
    }
    let endings = within("all endings", async {
        loop {
            let endings = admin.get("/api/endings").await;
            if endings["total"] == 205 {
                break endings;
            }
        }
    })
    .await;
    assert_eq!((endings["endings"].as_array().unwrap().len(), &endings["causes"][0]["count"]), (200, &205.into()));
    proxy.stop().await;
}

#[tokio::test]
async fn a_session_is_found_by_any_of_its_words() {
    let (one, two) = (Backend::by_hand(), Backend::by_hand());
    let proxy = before(&[&one, &two]).start();
    let admin = Admin::of(&proxy);
    let first = proxy.session_by_hand(&one).await;
    let second = proxy.session_by_hand(&two).await;
    let all = admin.get("/api/sessions?order=desc").await;
    let session = &all["sessions"][0];
    let id = session["id"].as_str().unwrap();
    let path = session["path"].as_str().unwrap();
    for (text, matched) in [
        (&id[4..20], 1),
        (&id[4..20].to_uppercase(), 1),
        (&one.to_string(), 1),
        ("CHAT", 2),
        ("127.0.0", 2),
        (path, 2),
        ("nobody says this", 0),
    ] {
        let text = text.replace(' ', "+");
        assert_eq!(admin.get(&format!("/api/sessions?text={text}")).await["matched"], matched, "{text}");
    }
    drop((first, second));
    proxy.stop().await;
}
