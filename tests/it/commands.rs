//! The verbs of an operator: what they print, and their exit codes (0 ok, 1 not done, 2 usage).

use std::{
    io::{Read as _, Write as _},
    path::Path,
    process::{Command, Stdio},
};

use longwire::config::AdminBind;
use serde_json::Value;

use crate::harness::{
    Backend, Proxy, Setup,
    frames::{masked_close, unmasked_close},
    within,
};

/// What a command printed.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error} in {:?}, {:?}", self.out, self.err))
    }

    /// Asserts that the command was done, with nothing on standard error.
    fn well(self) -> Self {
        assert_eq!((self.code, &*self.err), (Some(0), ""), "{}", self.out);
        self
    }
}

/// Runs `longwire` in a folder.
fn longwire(folder: &Path, arguments: &[&str]) -> Said {
    let output = Command::new(env!("CARGO_BIN_EXE_longwire")).args(arguments).current_dir(folder).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// A proxy whose file in `folder` says where its admin interface is.
fn start(setup: Setup, folder: &Path) -> Proxy {
    setup.with("admin: { bind: \"unix:admin.sock\", token_file: token }").start_from(&folder.join("proxy.yaml"))
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs_err::write(folder.path().join("token"), "a-token-of-some-length\n").unwrap();
    folder
}

/// A server that gives every request this answer. It has a thread of its own, because that of the test waits for the command.
fn another_server(answer: &'static [u8]) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            if stream.read(&mut [0; 4096]).is_ok() {
                let _ = stream.write_all(answer);
            }
        }
    });
    address.to_string()
}

#[tokio::test]
async fn status_and_sessions_show_what_runs_in_tables_and_as_json() {
    let folder = folder();
    let backend = Backend::by_hand();
    let proxy = start(Proxy::before(&[&backend]), folder.path());
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    let run = |arguments: &[&str]| longwire(folder.path(), arguments).well();
    let status = run(&["status"]).out;
    for part in [
        "ready",
        "1 sessions",
        &proxy.address().to_string(),
        "ROUTE",
        "*/",
        "BACKEND",
        &backend.to_string(),
        "HEALTH",
        "up",
    ] {
        assert!(status.contains(part), "no {part:?} in\n{status}");
    }
    assert_eq!(run(&["status", "--json"]).json()["upstreams"][0]["backends"][0]["active"], 1);
    let sessions = run(&["sessions", "--json"]).json();
    let id = sessions["sessions"][0]["id"].as_str().unwrap();
    let table = run(&["sessions", "--sort", "idle", "--route", "*/"]).out;
    assert!(table.contains(id) && table.contains("1 shown, 1 match, 1 live"), "{table}");
    assert!(table.contains("HOST AND PATH") && table.contains("/ws"), "{table}");
    let none = run(&["sessions", "--client", "10.0.0.0/8"]).out;
    assert!(!none.contains(id) && none.contains("0 shown, 0 match, 1 live"), "{none}");
    let killed = run(&["kill", id, "--code", "4003", "--reason", "signed out"]).out;
    assert_eq!(killed, format!("killed {id}\n"));
    client.expect_close(4003, "signed out").await;
    at_backend.expect_close(4003, "signed out").await;
    client.send(masked_close(4003, "")).await;
    at_backend.send(unmasked_close(4003, "")).await;
    client.expect_eof().await;
    client.finish().await;
    at_backend.expect_eof().await;
    at_backend.finish().await;
    let records = proxy.stop().await;
    assert_eq!(records[0]["cause"], "killed", "{records:?}");
}

#[tokio::test]
async fn a_drain_is_ordered_and_taken_back() {
    let folder = folder();
    let backend = Backend::echo();
    let proxy = start(Proxy::before(&[&backend]), folder.path());
    let run = |arguments: &[&str]| longwire(folder.path(), arguments).well();
    let name = format!("chat/{backend}");
    let duty = || run(&["status", "--json"]).json()["upstreams"][0]["backends"][0]["duty"].clone();
    run(&["drain", "--backend", &name]);
    assert_eq!(duty(), "drain");
    run(&["drain", "--backend", &name, "--keep-sessions"]);
    assert_eq!(duty(), "down");
    assert!(run(&["drain", "--backend", &name, "--undo"]).out.contains(&backend.to_string()));
    assert_eq!(duty(), "up");
    assert!(run(&["drain", "--route", "*/"]).out.contains("draining"));
    assert!(run(&["drain", "--route", "*/", "--undo"]).out.contains("served"));
    assert!(run(&["drain", "--all"]).out.contains("draining"));
    assert!(!proxy.control().is_ready());
    assert!(run(&["drain", "--all", "--undo"]).out.contains("ready"));
    assert!(proxy.control().is_ready());
    proxy.stop().await;
}

#[tokio::test]
async fn a_rebalance_is_planned_ordered_watched_and_stopped() {
    let folder = folder();
    let backend = Backend::echo();
    let proxy = start(Proxy::before(&[&backend]), folder.path());
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(proxy.session().await);
    }
    let run = |arguments: &[&str]| longwire(folder.path(), arguments).well();
    assert_eq!(run(&["rebalance", "--status"]).out, "there was no rebalance\n");
    let planned = run(&["rebalance", "--share", "30%", "--dry-run"]).out;
    assert!(planned.starts_with("rebalance, planned: 3 of 10 sessions would leave over 10m 0s, aged "), "{planned}");
    // Standard error is no terminal, so nothing is waited for.
    let begun = run(&["rebalance", "--sessions", "3", "--over", "20h"]).out;
    assert!(begun.starts_with("rebalance, running: 0 of 3 sessions have left, 19h 59m to go"), "{begun}");
    let status = run(&["status"]).out;
    assert!(status.contains("\nrebalance, running: 3 of the oldest sessions leave, 19h 59m to go\n"), "{status}");
    let told = run(&["rebalance", "--status", "--json"]).json();
    assert_eq!([&told["waiting"], &told["moved"], &told["ended"]], [3, 0, 0], "{told}");
    let refused = longwire(folder.path(), &["rebalance", "--surplus-over", "1"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("another rebalance goes on"), "{}", refused.err);
    let stopped = "rebalance, stopped: no more sessions leave; 0 of 3 sessions have left\n";
    assert_eq!(run(&["rebalance", "--stop"]).out, stopped);
    // On a terminal longwire waits until all have left.
    let path = folder.path().to_owned();
    let order = "rebalance --sessions 2 --over 300ms";
    let waiting = tokio::task::spawn_blocking(move || longwire_asked(&path, order, ""));
    for client in &mut clients[..2] {
        client.expect_close(1012, "rebalance").await;
        client.send(masked_close(1012, "")).await;
    }
    let (code, said) = waiting.await.unwrap();
    let over = "rebalance, over: 2 of 2 sessions have left (0 moved, 2 ended)";
    assert!(code == Some(0) && said.contains(over), "{code:?}: {said}");
    assert_eq!(run(&["rebalance", "--status"]).out, format!("{over}\n"));
    drop(clients);
    proxy.stop().await;
}

#[tokio::test]
async fn while_the_process_ends_an_order_is_done_or_refused_with_words() {
    let folder = folder();
    let backend = Backend::by_hand();
    let setup = Proxy::before(&[&backend]).timeout("drain", "60s").timeout("close", "60s");
    let mut proxy = start(setup.with("drain: { spread: 1h }"), folder.path());
    let mut sessions = Vec::new();
    for _ in 0..2 {
        sessions.push(proxy.session_by_hand(&backend).await);
    }
    let (ids, name) = (ids(folder.path()), format!("chat/{backend}"));
    let control = proxy.control_handle();
    let orders = async {
        within("the drain to begin", async {
            while !control.addresses().is_empty() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let done = |arguments: &[&str]| longwire(folder.path(), arguments).well();
        for arguments in [&["reload"][..], &["drain", "--all", "--undo"]] {
            let refused = longwire(folder.path(), arguments);
            assert_eq!(refused.code, Some(1), "{arguments:?}: {}", refused.out);
            assert!(refused.err.contains("this process is about to end"), "{arguments:?}: {}", refused.err);
        }
        done(&["drain", "--all"]);
        done(&["debug", &ids[0], "--for", "1m"]);
        done(&["drain", "--backend", &name, "--keep-sessions"]);
        done(&["drain", "--backend", &name, "--undo"]);
        done(&["drain", "--route", "*/"]);
        done(&["drain", "--route", "*/", "--undo"]);
        let status = done(&["status", "--json"]).json();
        assert_eq!((&status["draining"], &status["ready"]), (&true.into(), &false.into()), "{status}");
        for (client, at_backend) in &mut sessions {
            client.expect_close(1012, "drain").await;
            at_backend.expect_close(1012, "drain").await;
        }
        // The sessions have been told, but do not answer.
        for id in &ids {
            let killed = done(&["kill", id, "--code", "4003", "--reason", "signed out"]).out;
            assert_eq!(killed, "its end had begun already\n");
        }
        for (client, at_backend) in &mut sessions {
            client.send_and_finish(masked_close(4003, "")).await;
            at_backend.send_and_finish(unmasked_close(4003, "")).await;
        }
    };
    let (drained, ()) = tokio::join!(proxy.drain(), orders);
    assert_eq!((drained.sessions, drained.cut), (2, 0));
    drop(control);
    proxy.stop().await;
}

/// The ids of the live sessions.
fn ids(folder: &Path) -> Vec<String> {
    let sessions = longwire(folder, &["sessions", "--json"]).well().json();
    let sessions = sessions["sessions"].as_array().unwrap();
    sessions.iter().map(|session| session["id"].as_str().unwrap().to_owned()).collect()
}

/// Runs `longwire` on a terminal on which somebody types `typed`.
fn longwire_asked(folder: &Path, arguments: &str, typed: &str) -> (Option<i32>, String) {
    let command = format!("{} {arguments}", env!("CARGO_BIN_EXE_longwire"));
    let mut terminal = Command::new("script");
    terminal.args(["--quiet", "--return", "--command", &command, "/dev/null"]).current_dir(folder);
    let mut child = terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(typed.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[tokio::test]
async fn the_last_backend_of_an_upstream_is_drained_only_by_who_means_it() {
    let folder = folder();
    let (one, other) = (Backend::by_hand(), Backend::by_hand());
    let proxy = start(Proxy::before(&[&one, &other]).timeout("close", "1h"), folder.path());
    let _session = proxy.session_by_hand(&one).await;
    let run = |arguments: &[&str]| longwire(folder.path(), arguments).well().out;
    let names = [&one, &other].map(|backend| format!("chat/{backend}"));
    let [first, last] = [&*names[0], &*names[1]];
    let said = run(&["drain", "--backend", last]);
    assert!(said.contains("no session is told to leave; new ones go to the other backends"), "{said}");
    let (code, said) = longwire_asked(folder.path(), &format!("drain --backend {first}"), "n\n");
    let asked = format!(
        "{one} is the last backend of chat on duty: 1 session is told to leave, and new ones read 503 until --undo."
    );
    assert!(code == Some(1) && said.contains(&asked) && said.contains("nothing was done"), "{code:?}: {said}");
    assert!(!run(&["status"]).contains("no backend on duty"));
    let (code, said) = longwire_asked(folder.path(), &format!("drain --backend {first}"), "y\n");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("1 session told over 50ms; new ones read 503 until --undo"), "{said}");
    assert!(run(&["status"]).contains("503: no backend on duty"));
    assert_eq!(proxy.client().await.get("/", "").await.status(), 503);
    run(&["drain", "--backend", first, "--undo"]);
    // First nobody is there who could be asked, then nobody is to be asked.
    run(&["drain", "--backend", first, "--keep-sessions"]);
    run(&["drain", "--backend", first, "--undo"]);
    let (code, said) = longwire_asked(folder.path(), &format!("drain --yes --backend {first}"), "");
    assert!(code == Some(0) && !said.contains("[y/N]"), "{code:?}: {said}");
    drop(proxy);
}

#[tokio::test]
async fn a_reload_prints_what_changed_or_what_check_prints() {
    let folder = folder();
    let file = folder.path().join("proxy.yaml");
    let (one, two) = (Backend::echo(), Backend::echo());
    let proxy = start(Proxy::before(&[&one, &two]), folder.path());
    let text = fs_err::read_to_string(&file).unwrap();
    let entry = format!("{{ address: \"{one}\" }}, ");
    assert!(text.contains(&entry));
    fs_err::write(&file, text.replace(&entry, "")).unwrap();
    // The path is absolute, so that both outputs name the file alike.
    let path = file.to_str().unwrap();
    let reloaded = longwire(folder.path(), &["reload", "-c", path]).well().out;
    assert_eq!(reloaded, format!("reloaded\n  backend removed   chat/{one}\n"));
    fs_err::write(&file, text.replace("balance:", "balanse:")).unwrap();
    let check = longwire(folder.path(), &["check", "-c", path]);
    let reload = longwire(folder.path(), &["reload", "-c", path]);
    assert_eq!((reload.code, &reload.out), (Some(1), &check.out), "{}", reload.err);
    assert_eq!(reload.err, check.err);
    assert!(reload.err.contains("did you mean `balance`?"), "{}", reload.err);
    let refused = longwire(folder.path(), &["reload", "--json"]);
    assert_eq!((refused.code, &refused.json()["error"]["code"]), (Some(1), &"wrong_config".into()));
    fs_err::write(&file, "listeners: [\n").unwrap();
    let hopeless = longwire(folder.path(), &["reload"]);
    assert_eq!(hopeless.code, Some(1));
    assert!(hopeless.err.contains("proxy.yaml:"), "{}", hopeless.err);
    assert_eq!(proxy.client().await.get("/", "").await.status(), 200);
    proxy.stop().await;
}

#[tokio::test]
async fn what_is_not_done_exits_with_1_and_what_cannot_be_meant_with_2() {
    let folder = folder();
    let proxy = start(Proxy::before(&[&Backend::refusing()]), folder.path());
    let said = |arguments: &[&str]| {
        let said = longwire(folder.path(), arguments);
        (said.code, said.err)
    };
    // Two other servers: one that answers everything with 200, and one that expects TLS.
    let other = another_server(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
    let tls = another_server(b"\x15\x03\x03\x00\x02\x02\x0a");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    fs_err::write(folder.path().join("other"), "another-token-of-some-length").unwrap();
    fs_err::write(folder.path().join("none.yaml"), "workers: 1\n").unwrap();
    for (arguments, words) in [
        (&["kill", "none"][..], "no live session has the id \"none\""),
        (&["kill", "none", "--code", "1006"], "`code` is 1000 to 1003"),
        (&["debug", "none"], "no live session has the id \"none\""),
        (&["debug", "none", "--off"], "no choice is called \"none\""),
        (&["debug", "--client", "somebody"], "`client` is an address, a network or unix, not \"somebody\""),
        (&["debug", "--client", "192.0.2.1", "--for", "61m"], "`for_ms` is a number from 1 to 3600000: an hour"),
        (&["drain", "--route", "none"], "no route is called \"none\""),
        (&["drain", "--backend", "chat/none"], "no backend is called \"none\""),
        (&["status", "--admin", &free], "nobody answers on 127.0.0.1:"),
        (&["status", "--watch", "--admin", &free], "nobody answers on 127.0.0.1:"),
        (&["status", "--token-file", "other"], "the token is missing or wrong"),
        (&["status", "--token-file", "missing"], "cannot read the token in missing"),
        (&["status", "-c", "none.yaml"], "none.yaml does not say where the admin interface is"),
        (&["status", "-c", "missing.yaml"], "missing.yaml: error: cannot read the file"),
        (&["drain", "--route", "none"], "there are: */"),
        (&["sessions", "--route", "none"], "no route is called \"none\"; there are: */"),
        (&["sessions", "--upstream", "none"], "no upstream is called \"none\"; there are: chat"),
        (&["sessions", "--backend", "127.0.0.1:1"], "no backend is called \"127.0.0.1:1\"; there are: 127.0.0.1:"),
        (
            &["status", "--admin", &proxy.address().to_string()],
            "is not the admin interface of longwire: it answers 502",
        ),
        (&["status", "--admin", &other], "is not the admin interface of longwire: it knows no /api/status"),
        (&["reload", "--admin", &tls], "is not the admin interface of longwire"),
        (
            &["rebalance", "--sessions", "1", "--backend", "none/127.0.0.1:1"],
            "no upstream is called \"none\"; there are: chat",
        ),
        (&["rebalance", "--sessions", "1", "--backend", "chat/127.0.0.1:1"], "no backend is called \"127.0.0.1:1\""),
        (&["rebalance", "--sessions", "1", "--over", "25h"], "`over_ms` is a number from 1 to 86400000: a day"),
    ] {
        let (code, err) = said(arguments);
        assert_eq!(code, Some(1), "{arguments:?}: {err}");
        assert!(err.contains(words), "{arguments:?}: {err}");
    }
    for arguments in [
        &["kill"][..],
        &["drain"],
        &["drain", "--all", "--route", "*/"],
        &["drain", "--all", "--keep-sessions"],
        &["drain", "--backend", "none"],
        &["rebalance"],
        &["rebalance", "--share", "20"],
        &["rebalance", "--share", "20%", "--sessions", "1"],
        &["rebalance", "--status", "--over", "10m"],
        &["debug"],
        &["debug", "one", "--client", "192.0.2.1"],
        &["debug", "one", "--off", "--for", "5m"],
        &["debug", "--list", "--off"],
        &["sessions", "--sort", "colour"],
        &["sessions", "--limit", "1001"],
        &["status", "--admin", "nowhere"],
        &["status", "--colour"],
    ] {
        assert_eq!(said(arguments).0, Some(2), "{arguments:?}");
    }
    proxy.stop().await;
}

#[test]
fn the_version_is_one_line_and_with_verbose_what_a_report_needs() {
    let folder = tempfile::tempdir().unwrap();
    let said = |arguments: &[&str]| longwire(folder.path(), arguments).well().out;
    let line = concat!("longwire ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!((said(&["--version"]), said(&["-V"])), (line.to_owned(), line.to_owned()));
    let report = said(&["--version", "--verbose"]);
    assert!(report.starts_with(line), "{report}");
    for part in ["\ncommit: ", "\nfeatures: ", "\nlinkage: dynamic, glibc 2.", "\nallocator: ", "\ntls: rustls 0."] {
        assert!(report.contains(part), "no {part:?} in {report}");
    }
    assert_eq!(said(&["-Vv"]), report);
    assert_eq!(longwire(folder.path(), &["--verbose"]).code, Some(2));
}

#[test]
fn a_shell_completes_verbs_flags_and_words() {
    let folder = tempfile::tempdir().unwrap();
    let script = longwire(folder.path(), &["completions", "bash"]).well().out;
    fs_err::write(folder.path().join("longwire.bash"), script).unwrap();
    for (typed, completed) in [
        ("longwire dr", "drain"),
        ("longwire schema --mark", "--markdown"),
        ("longwire sessions --sort ", "age idle bytes messages buffered rtt"),
        ("longwire completions f", "fish"),
    ] {
        // Calls the function as readline does: the words, the word to complete, the word before it.
        let ask = "source ./longwire.bash; COMP_WORDS=($1); [[ $1 = *' ' ]] && COMP_WORDS+=(''); \
            COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); \
            _longwire longwire \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD-1]}\"; echo \"${COMPREPLY[*]}\"";
        let shell = Command::new("bash").args(["-c", ask, "-", typed]).current_dir(folder.path()).output().unwrap();
        let said = String::from_utf8(shell.stdout).unwrap();
        assert_eq!(said.trim(), completed, "{typed:?}: {}", String::from_utf8_lossy(&shell.stderr));
    }
    for shell in ["elvish", "fish", "powershell", "zsh"] {
        assert!(longwire(folder.path(), &["completions", shell]).well().out.contains("drain"), "{shell}");
    }
    assert_eq!(longwire(folder.path(), &["completions", "csh"]).code, Some(2));
}

#[test]
fn each_verb_has_a_page_of_the_manual() {
    let folder = tempfile::tempdir().unwrap();
    let page = longwire(folder.path(), &["man"]).well().out;
    assert!(page.contains("\n.TH longwire 1 "), "{page}");
    for verb in ["run", "check", "drain", "schema", "man"] {
        assert!(page.contains(&format!("longwire\\-{verb}(1)")), "{verb}: {page}");
        let page = longwire(folder.path(), &["man", verb]).well().out;
        assert!(page.contains(&format!("\n.TH longwire-{verb} 1  \"longwire ")), "{page}");
        assert!(page.contains("longwire "), "{verb} has no example");
    }
    let unknown = longwire(folder.path(), &["man", "dance"]);
    assert_eq!((unknown.code, &*unknown.out), (Some(2), ""));
    assert!(unknown.err.contains("no verb is called \"dance\"; there are: run, check, "), "{}", unknown.err);
}

#[test]
fn a_key_of_the_file_is_explained_by_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let said = |key: &str| longwire(folder.path(), &["schema", key]).well().out;
    assert_eq!(
        said("timeouts.close"),
        "timeouts.close\n  takes    a duration\n  default  5s\n\nTo end a session once its end has begun.\n"
    );
    // A name that the reader chose, a place in a list, and neither.
    for key in ["upstreams.NAME.balance", "upstreams.chat.balance"] {
        assert!(said(key).starts_with("upstreams.NAME.balance\n  takes    hash, ip_hash, "), "{key}");
        assert!(said(key).contains("\n  round_robin  In turn, by weight.\n"), "{key}");
    }
    for key in ["listeners[].bind", "listeners[0].bind", "listeners.bind"] {
        assert!(said(key).contains("\n  default  required\n"), "{key}");
    }
    // A section names the keys below it.
    let section = said("upstreams");
    assert!(section.contains("\n  upstreams.NAME.backends[]\n"), "{section}");
    assert!(section.lines().any(|line| line.split_whitespace().eq(["upstreams.NAME.tries", "3"])), "{section}");
}

#[test]
fn a_key_that_the_file_does_not_have_is_answered_with_the_one_that_was_meant() {
    let folder = tempfile::tempdir().unwrap();
    for (key, words) in [
        ("timeouts.clos", "the file has no key `timeouts.clos`; did you mean `timeouts.close`?"),
        ("ping_interval", "did you mean `keepalive.ping_interval` or `routes[].keepalive.ping_interval`?"),
        ("timeouts.ping_intervall", "did you mean `keepalive.ping_interval` or "),
        ("proxy_read_timeout", "pings keep a session, so it needs no read timeout"),
        ("nonsense", "`longwire schema --markdown` lists every key"),
        ("", "`longwire schema --markdown` lists every key"),
    ] {
        let said = longwire(folder.path(), &["schema", key]);
        assert_eq!((said.code, &*said.out), (Some(2), ""), "{key}: {}", said.err);
        assert!(said.err.contains(words), "{key}: {}", said.err);
    }
    assert_eq!(longwire(folder.path(), &["schema", "workers", "--markdown"]).code, Some(2));
}

#[test]
fn the_page_of_the_configuration_comes_from_the_command() {
    let page = longwire(Path::new("."), &["schema", "--markdown"]).well().out;
    let stored = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    assert_eq!(page, fs_err::read_to_string(stored).unwrap());
}

#[tokio::test]
async fn by_its_address_it_is_found_without_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let proxy = Proxy::before(&[&Backend::echo()]).with("admin: { bind: \"127.0.0.1:0\" }").start();
    let Some(AdminBind::Tcp(address)) = proxy.control().admin_address() else { panic!("an address") };
    for place in [address.to_string(), format!("localhost:{}", address.port()), format!("http://{address}/")] {
        assert!(longwire(folder.path(), &["status", "--admin", &place]).well().out.contains("ready"));
    }
    proxy.stop().await;
}
