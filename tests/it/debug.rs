//! Frame headers of chosen sessions, in the messages of the binary.

use std::{
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use tokio::{net::TcpSocket, sync::mpsc};

use crate::harness::{
    Backend, Proxy, Wire,
    frames::{TEXT, masked, masked_close, unmasked},
    handshake, within,
};

/// An address for one client, different from that of the others.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

const MANUAL: &str = include_str!("../../docs/log.md");

/// The binary. Its messages are only frames and errors.
struct Longwire {
    child: Child,
    folder: tempfile::TempDir,
    address: SocketAddr,
    messages: mpsc::UnboundedReceiver<String>,
}

impl Longwire {
    async fn before(backend: &Backend) -> Self {
        let setup = Proxy::before(&[backend]);
        let folder = tempfile::tempdir().unwrap();
        let file = setup.with("admin: { bind: \"unix:admin.sock\" }\nlog: { level: error, format: json }").text();
        fs_err::write(folder.path().join("proxy.yaml"), file).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_longwire"))
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (lines, messages) = mpsc::unbounded_channel();
        let said = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || said.lines().map_while(Result::ok).try_for_each(|line| lines.send(line)));
        let mut longwire = Self { child, folder, address: (Ipv4Addr::UNSPECIFIED, 0).into(), messages };
        longwire.address = within("the binary to listen", async {
            loop {
                if let Ok(status) = longwire.try_run(&["status", "--json"]) {
                    let status: Value = serde_json::from_str(&status).unwrap();
                    return status["listeners"][0].as_str().unwrap().parse().unwrap();
                }
                tokio::task::yield_now().await;
            }
        })
        .await;
        longwire
    }

    /// A session with this id, from this address.
    async fn session(&self, from: Ipv4Addr, id: &str) -> Wire {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        let mut wire = Wire::from(within("a connection", socket.connect(self.address)).await.unwrap());
        wire.send(handshake("/ws", &format!("X-Request-Id: {id}\r\n"))).await;
        wire.upgraded().await;
        wire
    }

    /// Runs a verb, and returns what it prints. Its order has then reached every session.
    fn run(&self, arguments: &[&str]) -> String {
        let said = self.try_run(arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
        // Sessions answer only after they have got the order.
        self.try_run(&["sessions"]).unwrap();
        said
    }

    /// Runs a verb, and returns what it prints, or its complaint.
    fn try_run(&self, arguments: &[&str]) -> Result<String, String> {
        let longwire = env!("CARGO_BIN_EXE_longwire");
        let output = Command::new(longwire).args(arguments).current_dir(self.folder.path()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    async fn next_frame(&mut self) -> Value {
        let line = within("a message", self.messages.recv()).await.unwrap();
        let frame: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line}"));
        for field in frame.as_object().unwrap().keys() {
            assert!(MANUAL.contains(&format!("`{field}`")), "{field} is not in docs/log.md");
        }
        frame
    }

    /// Ends the process, and returns the messages that nobody has read yet.
    async fn stop(mut self) -> Vec<String> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let mut rest = Vec::new();
        within("the end", async {
            while let Some(line) = self.messages.recv().await {
                rest.push(line);
            }
        })
        .await;
        rest
    }
}

impl Drop for Longwire {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a message to the echo, and reads it back.
async fn echo(wire: &mut Wire, text: &str) {
    wire.send(masked(TEXT, text)).await;
    wire.expect(unmasked(TEXT, text)).await;
}

#[tokio::test]
async fn frames_of_a_chosen_session_are_shown_until_it_is_taken_back_and_of_no_other() {
    let backend = Backend::echo();
    let mut longwire = Longwire::before(&backend).await;
    let mut one = longwire.session(Ipv4Addr::LOCALHOST, "one").await;
    let mut two = longwire.session(Ipv4Addr::LOCALHOST, "two").await;
    echo(&mut one, "before").await;
    let said = longwire.run(&["debug", "one"]);
    assert!(said.contains("session") && said.contains("one"), "{said}");
    echo(&mut two, "of another").await;
    echo(&mut one, "secret").await;
    for (direction, masked) in [("to_backend", true), ("to_client", false)] {
        let frame = longwire.next_frame().await;
        assert_eq!((&frame["request_id"], &frame["direction"]), (&"one".into(), &direction.into()), "{frame}");
        assert_eq!((&frame["opcode"], &frame["passage"]), (&"text".into(), &"relayed".into()), "{frame}");
        assert_eq!((&frame["fin"], &frame["rsv"], &frame["length"]), (&true.into(), &0.into(), &6.into()), "{frame}");
        assert_eq!((&frame["masked"], &frame["level"]), (&masked.into(), &"DEBUG".into()), "{frame}");
        assert!(!frame.to_string().contains("secret"), "{frame}");
    }
    assert_eq!(longwire.run(&["debug", "one", "--off"]), "no session is chosen\n");
    echo(&mut one, "after").await;
    drop((one, two));
    assert_eq!(longwire.stop().await, [""; 0]);
}

#[tokio::test]
async fn frames_of_a_chosen_client_are_shown_of_its_later_sessions_too_and_over_a_reload() {
    let backend = Backend::echo();
    let mut longwire = Longwire::before(&backend).await;
    let mut early = longwire.session(ELSEWHERE, "early").await;
    let mut other = longwire.session(Ipv4Addr::LOCALHOST, "other").await;
    assert!(longwire.run(&["debug", "--client", "127.0.0.2/32", "--for", "1h"]).contains("127.0.0.2"));
    longwire.run(&["reload"]);
    let mut late = longwire.session(ELSEWHERE, "late").await;
    for wire in [&mut other, &mut early, &mut late] {
        echo(wire, "hello").await;
    }
    late.send(masked_close(4001, "bye")).await;
    late.expect_close_code(4001).await;
    let mut seen = Vec::new();
    for _ in 0..6 {
        let frame = longwire.next_frame().await;
        let close = frame["close_code"].as_u64().map(|code| format!(" {code} {}", frame["close_reason"]));
        let words = ["request_id", "direction", "opcode"].map(|key| frame[key].as_str().unwrap().to_owned());
        seen.push(words.join(" ") + &close.unwrap_or_default());
    }
    // The two sessions may be on two workers.
    seen.sort();
    assert_eq!(
        seen,
        [
            "early to_backend text",
            "early to_client text",
            "late to_backend close 4001 \"bye\"",
            "late to_backend text",
            "late to_client close 4001 \"bye\"",
            "late to_client text",
        ]
    );
    longwire.run(&["debug", "--client", "127.0.0.2", "--off"]);
    drop((early, late, other));
    assert_eq!(longwire.stop().await, [""; 0]);
}

#[tokio::test]
async fn a_choice_ends_by_itself() {
    let backend = Backend::echo();
    let longwire = Longwire::before(&backend).await;
    let mut one = longwire.session(Ipv4Addr::LOCALHOST, "one").await;
    longwire.run(&["debug", "one", "--for", "500ms"]);
    within("the end of the choice", async {
        while longwire.run(&["debug", "--list"]) != "no session is chosen\n" {
            tokio::task::yield_now().await;
        }
    })
    .await;
    echo(&mut one, "too late").await;
    drop(one);
    assert_eq!(longwire.stop().await, [""; 0]);
}
