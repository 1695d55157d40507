//! Tokens and secrets of sessions are for the client alone: longwire shows them to nobody else.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use fs_err as fs;
use serde_json::Value;

use crate::harness::{
    Backend, Process, Proxy, Wire,
    frames::{TEXT, masked, unmasked},
    handshake,
    library::{Library, RESUME, hello},
};

/// Everything that the admin interface tells without being given an order.
const TOLD: [&str; 13] = [
    "/",
    "/readyz",
    "/metrics",
    "/api/status",
    "/api/config",
    "/api/sessions",
    "/api/endings",
    "/api/refusals",
    "/api/history",
    "/api/findings",
    "/api/upstreams",
    "/api/rebalance",
    "/api/debug",
];
const ROUTES: &str = "routes: [ { upstream: chat, hold: { for: 10s, on: [ lost ] }, resume: { } } ]";

struct Open {
    address: SocketAddr,
    admin: SocketAddr,
    backend: Backend,
}

impl Open {
    async fn client(&self) -> Wire {
        Wire::connect(self.address).await
    }

    /// What the admin interface answers.
    async fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let mut wire = Wire::connect(self.admin).await;
        let more = format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        wire.send(format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n{more}\r\n{body}", self.admin)).await;
        let answer = wire.response().await;
        assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
        answer.text().to_owned()
    }

    /// All that it tells.
    async fn told(&self) -> String {
        let mut told = String::new();
        for path in TOLD {
            told += &self.ask("GET", path, "").await;
        }
        told
    }
}

/// Writes a file of a longwire that says as much as it can, and starts it.
async fn start(folder: &Path) -> (Process, Open) {
    let backend = Backend::by_hand();
    let setup = Proxy::before(&[&backend])
        .routes(ROUTES)
        .with("admin: { bind: \"127.0.0.1:0\" }")
        .with("log: { level: trace, format: json, file: records.log }");
    fs::write(folder.join("proxy.yaml"), setup.text()).unwrap();
    let (mut process, address) = Process::serving(folder).await;
    let admin = process.says("admin interface").await["address"].as_str().unwrap().parse().unwrap();
    (process, Open { address, admin, backend })
}

/// All files of a folder but the configuration.
fn written(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files.filter(|file| !file.ends_with("proxy.yaml")).collect()
}

#[tokio::test]
async fn no_token_and_no_secret_stands_in_a_message_a_record_a_metric_or_an_answer_of_the_admin_interface() {
    let folder = tempfile::tempdir().unwrap();
    let (process, open) = start(folder.path()).await;
    open.ask("POST", "/api/debug", r#"{"client":"127.0.0.1"}"#).await;
    let mut client = open.client().await;
    Library::offer(&mut client, "/ws", "").await;
    let mut at_backend = open.backend.accepted().await;
    let mut library = Library::greeted(client).await;
    let mut private = vec![library.token().to_owned(), library.secret().trim_end_matches(':').to_owned()];
    library.send_text("one").await;
    at_backend.expect(masked(TEXT, "one")).await;
    library.until_acknowledged().await;
    at_backend.send(unmasked(TEXT, "two")).await;
    library.expect_text("two").await;
    library.acknowledge().await;
    let mut told = open.told().await;
    library.wire.finish().await;
    library.wire.rest().await;
    told += &open.told().await;
    assert!(told.contains("\"away\""), "{told}");
    library.come_back(open.client().await).await;
    // Another backend takes the session.
    at_backend.reset();
    let mut at_backend = open.backend.accepted().await;
    at_backend.send(unmasked(TEXT, "three")).await;
    library.expect_text("three").await;
    // Attempts that are too late, unreadable or forged, and one after the end.
    let mut stale = open.client().await;
    stale.send(handshake("/ws", &library.attempt_with(1, 0))).await;
    assert_eq!(stale.response().await.status(), 409);
    let token = library.token();
    let (begin, end) = token.split_at(token.len() - 8);
    let forged = begin.to_owned() + if end.starts_with('A') { "B" } else { "A" } + &end[1..];
    let mut ends = Vec::new();
    for offer in [format!("{token}.x.0"), format!("{forged}.1.0"), format!("{token}.9.999")] {
        let mut stray = open.client().await;
        let offers = format!("Sec-WebSocket-Protocol: {RESUME}, {RESUME}.{offer}\r\n");
        stray.send(handshake("/ws", &offers)).await;
        // They stay: a backend that is lost is replaced.
        ends.push(open.backend.accepted().await);
        let hello: Value = hello(&mut stray).await;
        assert_eq!(hello["resumed"], false, "{offer}");
        ends.push(stray);
        private.extend(["token", "secret"].map(|key| hello[key].as_str().unwrap().trim_end_matches(':').to_owned()));
    }
    told += &open.told().await;
    private.push(forged);
    let messages = process.messages().await;
    assert!(messages.iter().any(|message| message["message"] == "frame"), "it says as much as it can");
    let files = written(folder.path());
    told.extend(messages.iter().map(Value::to_string));
    let files: String = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    // One with another connection of the client, and one with another backend.
    assert!(files.contains("\"resumes\":2"), "{files}");
    told += &files;
    for private in private {
        assert!(private.len() >= 22, "{private}");
        if let Some(place) = told.find(&private) {
            panic!("{private} in {}", told.get(place.saturating_sub(200)..place + 100).unwrap_or_default());
        }
    }
}
