//! The layer rule: code that decides is pure. This test reads the source, so that the rule stays kept.

use std::path::{Path, PathBuf};

/// The rooms that take bytes, instants and settings, and return decisions.
const PURE: [&str; 11] = [
    "ws",
    "balance",
    "routing.rs",
    "hosts.rs",
    "origins.rs",
    "headers.rs",
    "headers",
    "config/resolve.rs",
    "net/session/rota.rs",
    "net/session/stay.rs",
    "lines/batch.rs",
];

/// Words of code that waits, asks the time or prints.
const IMPURE: [&str; 11] = [
    "tokio",
    "async fn",
    "async move",
    ".await",
    "Instant::now",
    "SystemTime",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "println!",
    "std::thread",
];

#[test]
fn pure_rooms_neither_wait_nor_ask_the_time() {
    for room in PURE {
        for file in sources(&source().join(room)) {
            let code = code(&file);
            for word in IMPURE {
                assert!(!code.contains(word), "{} says {word:?}", file.display());
            }
        }
    }
}

#[test]
fn ws_and_balance_do_not_know_each_other() {
    for (room, other) in [("ws", "balance"), ("balance", "ws")] {
        for file in sources(&source().join(room)) {
            let code = code(&file);
            for path in [format!("crate::{other}"), format!("super::{other}"), format!("{other}::")] {
                assert!(!mentions(&code, &path), "{} says {path:?}", file.display());
            }
        }
    }
}

#[test]
fn pure_rooms_do_not_know_the_rooms_that_wait() {
    for room in PURE {
        for file in sources(&source().join(room)) {
            let code = code(&file);
            for path in ["crate::net", "crate::tools", "crate::cli", "crate::access_log"] {
                assert!(!code.contains(path), "{} says {path:?}", file.display());
            }
        }
    }
}

#[test]
fn pem_is_read_in_one_file() {
    let readers: Vec<_> = sources(&source()).into_iter().filter(|file| code(file).contains("rustls_pemfile")).collect();
    assert_eq!(readers.len(), 1, "{readers:?}");
}

#[test]
fn the_data_path_does_not_know_tungstenite() {
    for file in sources(&source()) {
        let in_tools = file.starts_with(source().join("tools"));
        assert!(in_tools || !code(&file).contains("tungstenite"), "{}", file.display());
    }
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The Rust files of a room, which is a file or a folder, without files of tests only; at least one.
fn sources(room: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut rooms = vec![room.to_owned()];
    while let Some(room) = rooms.pop() {
        if room.file_stem().is_some_and(|name| name == "tests") {
            continue;
        }
        if room.is_dir() {
            rooms.extend(fs_err::read_dir(room).unwrap().map(|entry| entry.unwrap().path()));
        } else if room.extension().is_some_and(|extension| extension == "rs") {
            assert!(room.is_file(), "{} is gone: mend the list", room.display());
            found.push(room);
        }
    }
    assert!(!found.is_empty(), "no source in {}", room.display());
    found
}

/// A file without its comments and its tests. Tests may wait and ask the time.
fn code(file: &Path) -> String {
    let text = fs_err::read_to_string(file).unwrap();
    let text = text.split("\nmod tests {").next().unwrap_or_default();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.fold(String::new(), |code, line| code + line + "\n")
}

/// Whether `path` occurs as a word of its own, and not as the end of a longer word.
fn mentions(code: &str, path: &str) -> bool {
    code.match_indices(path)
        .any(|(at, _)| !code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_'))
}
