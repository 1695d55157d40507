//! The layer rules: code that decides is pure, a room uses only rooms below it, and no modules import each other in a
//! circle; and one word names one type. These tests read the source, so that the rules stay kept.

mod modules;
mod order;
mod words;

use std::path::{Path, PathBuf};

use modules::Modules;
use order::{ROOMS, circles, complaints, picture};

/// The rooms that take bytes, instants and settings, and return decisions.
const PURE: [&str; 40] = [
    "ws",
    "balance",
    "discovery.rs",
    "discovery",
    "routing.rs",
    "routing",
    "hosts.rs",
    "origins.rs",
    "headers.rs",
    "headers",
    "sender.rs",
    "paths.rs",
    "paths",
    "explain.rs",
    "explain",
    "fleet.rs",
    "fleet",
    "learning.rs",
    "learning",
    "proxy_protocol.rs",
    "proxy_protocol",
    "import.rs",
    "import",
    "config/resolve.rs",
    "config/resolve",
    "config/lint.rs",
    "config/lint",
    "config/derived.rs",
    "net/operate/fleet/places.rs",
    "net/request/probe_end/order.rs",
    "net/request/probe_end/output.rs",
    "net/request/probe_end/session.rs",
    "net/operate/control/edits.rs",
    "net/orders/ages.rs",
    "net/orders/departures.rs",
    "net/session/rota.rs",
    "net/session/stay.rs",
    "lines/batch.rs",
    "tools/probe/decide.rs",
    "tools/probe/decide",
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

/// Before the picture in ARCHITECTURE.md, and behind it.
const FRAME: [&str; 2] =
    ["<!-- rooms: drawn by `DRAW=1 cargo test --test it layers` -->\n```text\n", "```\n<!-- end of rooms -->"];

#[test]
fn a_room_uses_only_rooms_below_it() {
    let modules = Modules::read(&source());
    let complaints = complaints(&ROOMS, &modules.arrows());
    let order: Vec<_> = ROOMS.iter().map(|room| room.replace("::", "/")).collect();
    assert!(complaints.is_empty(), "\n{}\n\nFrom the top down: {}", complaints.join("\n"), order.join(" > "));
}

#[test]
fn no_modules_import_each_other_in_a_circle() {
    let modules = Modules::read(&source());
    let circles = circles(&modules.arrows());
    assert!(circles.is_empty(), "\n{}", circles.join("\n"));
}

#[test]
fn the_picture_of_the_rooms_shows_the_imports_of_today() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md");
    let (text, modules) = (fs_err::read_to_string(&file).unwrap(), Modules::read(&source()));
    let drawn = picture(&ROOMS, &modules.arrows());
    let (before, rest) = text.split_once(FRAME[0]).unwrap();
    let (shown, after) = rest.split_once(FRAME[1]).unwrap();
    if std::env::var_os("DRAW").is_some() {
        fs_err::write(&file, [before, FRAME[0], &drawn, FRAME[1], after].concat()).unwrap();
    } else {
        assert!(shown == drawn, "draw it anew: DRAW=1 cargo test --test it layers. Today:\n{drawn}");
    }
}

#[test]
fn a_planted_import_that_runs_upwards_is_found() {
    let rooms = ["top", "middle", "ground"];
    let downwards = [
        ("top.rs", "use crate::middle::hall::Lamp; fn f() { crate::ground::walk(); }"),
        ("middle/mod.rs", "mod hall;"),
        ("middle/hall.rs", "use super::super::ground; pub struct Lamp(ground::Stone);"),
        ("ground.rs", "pub struct Stone; #[cfg(test)] mod tests { use crate::top::*; }"),
    ];
    assert_eq!(complaints(&rooms, &planted(&downwards).arrows()), [""; 0]);
    for upwards in [
        "use crate::middle::hall::Lamp;",
        "fn f() -> crate::middle::hall::Lamp { todo!() }",
        "fn f() { println!(\"{}\", crate::middle::hall::Lamp) }",
        "use crate::middle::{hall::{self as room}}; fn f(_: room::Lamp) {}",
        "pub use super::middle::hall::Lamp as Light;",
    ] {
        let mut files = downwards;
        files[3].1 = upwards;
        let said = complaints(&rooms, &planted(&files).arrows()).join(" ");
        assert!(
            said.starts_with("ground uses ") && said.contains("of middle::hall, but middle stands above"),
            "{said}"
        );
    }
    let said = complaints(&rooms, &planted(&[("attic.rs", "fn f() {}")]).arrows());
    assert!(said[0].starts_with("attic is in no room."), "{said:?}");
}

#[test]
fn a_planted_circle_is_found_also_behind_another_name() {
    let straight = [
        ("one.rs", "use crate::house::Two;"),
        ("house/mod.rs", "mod two; pub use self::two::Two; pub struct Roof;"),
        ("house/two.rs", "use super::Roof; pub struct Two(Roof);"),
        ("three.rs", "use crate::one;"),
    ];
    assert_eq!(circles(&planted(&straight).arrows()), [""; 0]);
    let mut round = straight;
    round[2].1 = "use crate::three::Three; pub struct Two(Three);";
    let found = circles(&planted(&round).arrows());
    let [circle] = &found[..] else { panic!("{found:?}") };
    for line in ["house::two uses Three of three", "three uses one of one", "one uses Two of house::two"] {
        assert!(circle.contains(line), "{circle}");
    }
}

/// The modules of files that are only text.
fn planted(files: &[(&str, &str)]) -> Modules {
    let mut modules = Modules::default();
    for (place, text) in files {
        modules.add(Path::new(place), text);
    }
    modules
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

/// A file without its comments, its tests and who may see its items. Tests may wait and ask the time.
fn code(file: &Path) -> String {
    let text = fs_err::read_to_string(file).unwrap();
    let text = text.split("\nmod tests {").next().unwrap_or_default();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let public = |line: &str| line.replace("pub(in crate::net)", "pub").replace("pub(in crate::tools::probe)", "pub");
    lines.fold(String::new(), |code, line| code + &public(line) + "\n")
}

/// Whether `path` occurs as a word of its own, and not as the end of a longer word.
fn mentions(code: &str, path: &str) -> bool {
    code.match_indices(path)
        .any(|(at, _)| !code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_'))
}
