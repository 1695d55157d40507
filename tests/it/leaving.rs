//! A process that is about to end: what it is told then, which clients come last, and what it leaves to its successor.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
    thread,
};

use fs_err as fs;
use longwire::{config::AdminBind, net::operate::control::Leaving};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{
    Backend, PATIENCE, Process, Proxy, Setup, Wire,
    frames::{TEXT, masked, masked_close, unmasked, unmasked_close},
    within,
};

/// Writes the file of a process into this folder.
fn write(folder: &Path, setup: &Setup) {
    fs::write(folder.join("proxy.yaml"), setup.text()).unwrap();
}

/// A process whose drain lasts as long as its sessions.
fn patient(backend: &Backend) -> Setup {
    Proxy::before(&[backend]).timeout("drain", "60s").timeout("close", "60s").with("drain: { spread: 0s }")
}

async fn session(address: SocketAddr) -> Wire {
    let mut client = Wire::connect(address).await;
    client.upgrade("/ws").await;
    client
}

/// Asserts that the client is told to leave, and lets it leave.
async fn leave(client: &mut Wire) {
    client.expect_close_code(1012).await;
    client.send_and_finish(masked_close(1012, "")).await;
    client.expect_eof().await;
}

/// Asks the admin interface at a path whether it is ready. Returns the status line, or an empty text if nobody answers.
async fn ready(path: &Path) -> String {
    let mut answer = String::new();
    if let Ok(mut stream) = tokio::net::UnixStream::connect(path).await {
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        within("an answer", stream.read_to_string(&mut answer)).await.unwrap();
    }
    answer.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_reload_in_a_drain_is_refused_and_opens_no_listener() {
    let backend = Backend::by_hand();
    let mut proxy = patient(&backend).start();
    let control = proxy.control_handle();
    let (mut client, mut at_backend) = proxy.session_by_hand(&backend).await;
    let (drained, ()) = tokio::join!(proxy.drain(), async {
        client.expect_close_code(1012).await;
        at_backend.expect_close_code(1012).await;
        let refusal = control.reload(Proxy::before(&[&backend]).config()).unwrap_err().to_string();
        assert!(refusal.contains("about to end"), "{refusal}");
        assert_eq!(control.addresses(), []);
        assert_eq!(control.drain_all(false), Err(Leaving));
        assert!(control.drain_all(true).is_ok());
        client.send_and_finish(masked_close(1012, "")).await;
        at_backend.send_and_finish(unmasked_close(1012, "")).await;
    });
    assert_eq!((drained.sessions, drained.cut), (1, 0));
    drop(control);
    proxy.stop().await;
}

#[tokio::test]
async fn signals_in_a_drain_are_done_or_refused_with_words_and_the_second_of_its_kind_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let backend = Backend::echo();
    write(folder.path(), &patient(&backend).with("log: { file: records }"));
    let (mut process, address) = Process::serving(folder.path()).await;
    let (mut first, mut second) = (session(address).await, session(address).await);
    process.signal("TERM");
    first.expect_close_code(1012).await;
    second.expect_close_code(1012).await;
    process.signal("HUP");
    process.says("SIGHUP: nothing is read, this process is about to end").await;
    fs::rename(at("records"), at("records.1")).unwrap();
    process.signal("USR1");
    process.says("SIGUSR1").await;
    first.send_and_finish(masked_close(1012, "")).await;
    first.expect_eof().await;
    within("a record in a new file", async {
        while !fs::read_to_string(at("records")).is_ok_and(|records| records.contains("\"drain\"")) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    process.signal("TERM");
    assert_eq!(process.exit_code().await, Some(1));
    process.says("ending at once").await;
    drop(second);
}

#[tokio::test]
async fn a_successor_of_a_process_that_is_ending_serves_at_once_and_takes_the_admin_address_when_it_is_free() {
    for admin in ["\"127.0.0.1:0\"", "\"unix:admin.sock\""] {
        let folder = tempfile::tempdir().unwrap();
        let backend = Backend::echo();
        let setup = |listener: &str, admin: &str| {
            let setup = patient(&backend).listener(&format!("bind: \"{listener}\""));
            setup.with("handover: longwire.sock").with(&format!("admin: {{ bind: {admin} }}"))
        };
        write(folder.path(), &setup("127.0.0.1:0", admin));
        let (mut old, address) = Process::serving(folder.path()).await;
        let admin = old.says("admin interface").await["address"].as_str().unwrap().to_owned();
        let mut stays = session(address).await;
        old.signal("TERM");
        stays.expect_close_code(1012).await;
        write(folder.path(), &setup(&address.to_string(), &format!("\"{admin}\"")));
        let (mut new, _) = Process::serving(folder.path()).await;
        assert_eq!(Wire::connect(address).await.get("/", "").await.status(), 200);
        let taken = new.says("opens when its address is free").await;
        assert_eq!(taken["address"], admin);
        stays.send_and_finish(masked_close(1012, "")).await;
        stays.expect_eof().await;
        assert_eq!(old.exit_code().await, Some(0));
        assert_eq!(new.says("admin interface").await["address"], admin);
        new.stop().await;
    }
}

#[tokio::test]
async fn a_process_that_is_told_to_end_hands_over_as_long_as_it_has_listeners() {
    let folder = tempfile::tempdir().unwrap();
    let backend = Backend::echo();
    let setup = |listener: &str| {
        let setup = Proxy::before(&[&backend]).timeout("drain", "60s").timeout("close", "60s");
        setup
            .listener(&format!("bind: \"{listener}\""))
            .with("drain: { wait: 5s, spread: 0s }")
            .with("handover: longwire.sock")
            .with("admin: { bind: \"unix:admin.sock\" }")
    };
    write(folder.path(), &setup("127.0.0.1:0"));
    let (mut old, address) = Process::serving(folder.path()).await;
    let mut stays = session(address).await;
    old.signal("TERM");
    old.says("draining").await;
    write(folder.path(), &setup(&address.to_string()));
    let (mut new, _) = Process::serving(folder.path()).await;
    new.says("took over from the process before").await;
    let mut fresh = session(address).await;
    leave(&mut stays).await;
    assert_eq!(old.exit_code().await, Some(0));
    fresh.send(masked(TEXT, "new")).await;
    fresh.expect(unmasked(TEXT, "new")).await;
    assert!(ready(&folder.path().join("admin.sock")).await.contains("200"));
    fresh.leave().await;
    new.stop().await;
    assert!(!folder.path().join("admin.sock").exists() && !folder.path().join("longwire.sock").exists());
}

#[tokio::test]
async fn a_predecessor_that_says_nothing_is_not_waited_for_but_keeps_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("longwire.sock");
    let silent = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let backend = Backend::echo();
    write(folder.path(), &patient(&backend).with("handover: longwire.sock"));
    let (mut process, address) = Process::serving(folder.path()).await;
    process.says("hands nothing over: starting without").await;
    process.says("a successor can call when the path is free").await;
    assert_eq!(Wire::connect(address).await.get("/", "").await.status(), 200);
    drop(silent);
    process.says("a successor can call now").await;
    write(folder.path(), &patient(&backend).listener(&format!("bind: \"{address}\"")).with("handover: longwire.sock"));
    let (mut successor, _) = Process::serving(folder.path()).await;
    successor.says("took over from the process before").await;
    assert_eq!(process.exit_code().await, Some(0));
    successor.stop().await;
}

#[tokio::test]
async fn a_successor_that_calls_where_no_descriptor_is_left_costs_no_flood_of_messages() {
    let folder = tempfile::tempdir().unwrap();
    let backend = Backend::echo();
    write(folder.path(), &patient(&backend).with("handover: longwire.sock"));
    let (mut process, address) = Process::serving(folder.path()).await;
    let mut client = session(address).await;
    process.starve(true);
    let successor = tokio::net::UnixStream::connect(folder.path().join("longwire.sock")).await.unwrap();
    process.says("a successor did not take over").await;
    for _ in 0..300 {
        client.send(masked(TEXT, "meanwhile")).await;
        client.expect(unmasked(TEXT, "meanwhile")).await;
    }
    process.starve(false);
    drop((successor, client));
    let messages = process.messages().await;
    let failures = messages.iter().filter(|message| message["message"] == "a successor did not take over").count();
    assert!(failures < 50, "{failures} messages");
}

#[tokio::test]
async fn the_first_signal_after_a_hand_over_lets_the_drain_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let backend = Backend::echo();
    let setup =
        |listener: &str| patient(&backend).listener(&format!("bind: \"{listener}\"")).with("handover: longwire.sock");
    write(folder.path(), &setup("127.0.0.1:0"));
    let (mut old, address) = Process::serving(folder.path()).await;
    let mut stays = session(address).await;
    write(folder.path(), &setup(&address.to_string()));
    let (new, _) = Process::serving(folder.path()).await;
    stays.expect_close_code(1012).await;
    old.signal("TERM");
    old.says("draining already").await;
    stays.send_and_finish(masked_close(1012, "")).await;
    stays.expect_eof().await;
    assert_eq!(old.exit_code().await, Some(0));
    new.stop().await;
}

#[tokio::test]
async fn a_path_where_something_else_stands_is_refused_by_its_name_and_stays_as_it_is() {
    for setting in ["admin: { bind: \"unix:precious\" }", "handover: precious"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("precious");
        fs::write(&path, "words").unwrap();
        write(folder.path(), &Proxy::before(&[&Backend::refusing()]).with(setting));
        let mut process = Process::start(folder.path());
        let refusal = process.says("precious").await["message"].as_str().unwrap().to_owned();
        assert!(refusal.contains("a file stands there"), "{refusal}");
        assert_eq!(process.exit_code().await, Some(1));
        assert_eq!(fs::read_to_string(&path).unwrap(), "words", "{setting}");
    }
}

#[tokio::test]
async fn a_successor_that_cannot_start_leaves_the_paths_of_its_predecessor_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let backend = Backend::echo();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    fs::write(folder.path().join("precious"), "words").unwrap();
    let setup = |listener: &str, admin: &str| {
        let setup = patient(&backend).listener(&format!("bind: \"{listener}\""));
        setup.with("handover: longwire.sock").with(&format!("admin: {{ bind: \"unix:{admin}\" }}"))
    };
    write(folder.path(), &setup("127.0.0.1:0", "admin.sock"));
    let (mut old, address) = Process::serving(folder.path()).await;
    for (listener, admin, words) in [
        (taken.local_addr().unwrap(), "admin.sock", "cannot listen on"),
        (address, "precious", "precious: a file stands there"),
    ] {
        write(folder.path(), &setup(&listener.to_string(), admin));
        let mut new = Process::start(folder.path());
        new.says(words).await;
        assert_eq!(new.exit_code().await, Some(1));
        old.says("a successor did not take over").await;
        assert!(ready(&folder.path().join("admin.sock")).await.contains("200"));
    }
    assert_eq!(fs::read_to_string(folder.path().join("precious")).unwrap(), "words");
    write(folder.path(), &setup(&address.to_string(), "admin.sock"));
    let (mut new, _) = Process::serving(folder.path()).await;
    new.says("took over from the process before").await;
    assert_eq!(old.exit_code().await, Some(0));
    assert!(ready(&folder.path().join("admin.sock")).await.contains("200"));
    new.stop().await;
}

#[tokio::test]
async fn a_second_admin_interface_on_the_same_path_waits_until_the_first_one_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let backend = Backend::echo();
    let setup = Proxy::before(&[&backend]).with(&format!("admin: {{ bind: \"unix:{}\" }}", path.display()));
    let (first, second) = (setup.clone().start(), setup.start());
    assert_eq!(first.control().admin_address(), Some(AdminBind::Unix(path.clone())));
    assert_eq!(second.control().admin_address(), None);
    first.stop().await;
    within("the second to open the path", async {
        while second.control().admin_address().is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(ready(&path).await.contains("200"));
    second.stop().await;
    assert!(!path.exists());
}

/// Eight clients that connect without a pause until they are refused. They note each visit that was accepted but
/// got no answer.
struct Visitors {
    threads: Vec<thread::JoinHandle<()>>,
    unanswered: Arc<Mutex<Vec<String>>>,
}

impl Visitors {
    fn start(address: SocketAddr) -> Self {
        let unanswered: Arc<Mutex<Vec<String>>> = Arc::default();
        let threads = (0..8).map(|_| {
            let unanswered = Arc::clone(&unanswered);
            thread::spawn(move || {
                while let Ok(stream) = TcpStream::connect(address) {
                    if let Err(what) = visit(stream) {
                        unanswered.lock().unwrap().push(what);
                    }
                }
            })
        });
        Self { threads: threads.collect(), unanswered }
    }

    /// Waits until all have been refused.
    async fn unanswered(self) -> Vec<String> {
        let Self { threads, unanswered } = self;
        let ended = tokio::task::spawn_blocking(move || threads.into_iter().for_each(|thread| thread.join().unwrap()));
        within("the visitors to be refused", ended).await.unwrap();
        Arc::into_inner(unanswered).unwrap().into_inner().unwrap()
    }
}

fn visit(mut stream: TcpStream) -> Result<(), String> {
    let mut answer = Vec::new();
    stream.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
    let written = stream.write_all(b"GET / HTTP/1.1\r\nHost: chat\r\nConnection: close\r\n\r\n");
    let read = written.and_then(|()| stream.read_to_end(&mut answer));
    match answer.starts_with(b"HTTP/1.1 ") {
        true => Ok(()),
        false => Err(format!("{read:?}")),
    }
}

#[tokio::test]
async fn the_last_who_were_accepted_before_the_listeners_close_are_answered() {
    let backend = Backend::echo();
    let mut unanswered = Vec::new();
    for _ in 0..8 {
        let mut proxy = Proxy::start(&[&backend]);
        let visitors = Visitors::start(proxy.address());
        for _ in 0..20 {
            proxy.next_record().await;
        }
        proxy.drain().await;
        unanswered.extend(visitors.unanswered().await);
        proxy.stop().await;
    }
    assert_eq!(unanswered, [""; 0]);
}

#[tokio::test]
async fn the_last_who_were_accepted_before_a_reload_takes_their_listener_away_are_answered() {
    let backend = Backend::echo();
    let mut proxy = Proxy::start(&[&backend]);
    // These sessions keep a worker busy, so that it does not ask the kernel for new connections.
    let mut lively = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let mut client = proxy.session().await;
        lively.spawn(async move {
            loop {
                client.send(masked(TEXT, "lively")).await;
                client.expect(unmasked(TEXT, "lively")).await;
            }
        });
    }
    let mut unanswered = Vec::new();
    for round in 0..8 {
        let visitors = Visitors::start(proxy.address());
        for _ in 0..20 {
            proxy.next_record().await;
        }
        proxy.reload(&Proxy::before(&[&backend]).listener(&format!("bind: \"127.0.0.{}:0\"", round + 2)));
        unanswered.extend(visitors.unanswered().await);
    }
    assert_eq!(unanswered, [""; 0]);
    lively.shutdown().await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_hand_over_and_a_reload_cross_without_leaving_a_listener_that_nobody_serves() {
    let folder = tempfile::tempdir().unwrap();
    let backend = Backend::echo();
    let setup =
        |listener: &str| patient(&backend).listener(&format!("bind: \"{listener}\"")).with("handover: longwire.sock");
    write(folder.path(), &setup("127.0.0.1:0"));
    let (mut old, address) = Process::serving(folder.path()).await;
    let mut stays = session(address).await;
    write(folder.path(), &setup(&address.to_string()));
    let (new, _) = Process::serving(folder.path()).await;
    stays.expect_close_code(1012).await;
    // A script may send the signal to both processes.
    old.signal("HUP");
    old.says("SIGHUP: nothing is read, this process is about to end").await;
    assert_eq!(Wire::connect(address).await.get("/", "").await.status(), 200);
    stays.send_and_finish(masked_close(1012, "")).await;
    stays.expect_eof().await;
    assert_eq!(old.exit_code().await, Some(0));
    new.stop().await;
}
