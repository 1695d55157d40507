//! Listeners at Unix sockets: who may connect, what a client without an address is, and whose file it is.

use std::{
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use fs_err as fs;
use longwire::{
    access_log::AccessLog,
    config::{self, LogFormat},
    net::{front::inherited::Inherited, operate::handover::Handover, server::Server},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::rustls::pki_types::ServerName;

use crate::harness::{
    Backend, Process, Proxy, Setup, Wire,
    frames::{BINARY, TEXT, masked, masked_close, unmasked},
    handshake, trusting, within,
};

/// A path in a folder that lives as long as the test.
struct Place {
    folder: TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("http.sock");
        Self { folder, path }
    }

    /// The pairs of a listener here.
    fn listener(&self) -> String {
        format!("bind: \"unix:{}\"", self.path.display())
    }

    fn mode(&self) -> u32 {
        fs::metadata(&self.path).unwrap().permissions().mode() & 0o7777
    }

    fn inode(&self) -> u64 {
        fs::symlink_metadata(&self.path).unwrap().ino()
    }
}

fn at(place: &Place, backend: &Backend) -> Setup {
    Proxy::before(&[backend]).listener(&place.listener())
}

/// Why a proxy with this file does not start.
fn refusal(setup: &Setup) -> String {
    let log = AccessLog::new(LogFormat::Json, std::io::sink()).unwrap();
    Server::start(setup.config(), log).unwrap_err().to_string()
}

async fn connect(path: &Path) -> Wire {
    within("a connection", tokio::net::UnixStream::connect(path)).await.expect("the socket accepts").into()
}

async fn refused(path: &Path) {
    within("a refusal", async { while tokio::net::UnixStream::connect(path).await.is_ok() {} }).await;
}

async fn session_at(path: &Path) -> Wire {
    let mut client = connect(path).await;
    client.upgrade("/ws").await;
    client
}

fn ours() -> (u32, u32) {
    (rustix::process::getuid().as_raw(), std::process::id())
}

#[tokio::test]
async fn sessions_and_requests_come_by_a_path_and_by_an_abstract_name() {
    let place = Place::new();
    let name = format!("bind: \"unix:@longwire/test/listener/{}\"", std::process::id());
    for listener in [place.listener(), name] {
        let backend = Backend::echo();
        let mut proxy = Proxy::before(&[&backend]).listener(&listener).start();
        let mut client = proxy.session().await;
        client.send(masked(TEXT, "hello")).await;
        client.expect(unmasked(TEXT, "hello")).await;
        client.leave().await;
        let record = proxy.next_record().await;
        assert_eq!((&record["client"], &record["cause"]), (&"unix:".into(), &"client_close".into()), "{record}");
        assert_eq!((&record["peer_uid"], &record["peer_pid"]), (&ours().0.into(), &ours().1.into()), "{record}");

        let mut client = proxy.client().await;
        let answer = client.get("/", "X-Forwarded-For: 1.1.1.1\r\nX-Real-IP: 1.1.1.1\r\n").await;
        assert_eq!(answer.status(), 200);
        let told = answer.text().to_lowercase();
        for left_out in ["x-forwarded-for", "x-real-ip", "x-forwarded-port"] {
            assert!(!told.contains(left_out), "{told}");
        }
        assert!(
            told.contains("x-forwarded-proto: http\r\n") && told.contains("x-forwarded-host: chat.example.com\r\n")
        );
        let record = proxy.next_record().await;
        assert_eq!((&record["client"], &record["peer_uid"]), (&"unix:".into(), &ours().0.into()), "{record}");
        client.send("neither a request nor a frame\r\n\r\n").await;
        assert_eq!(client.response().await.status(), 400);
        assert_eq!(proxy.next_record().await["peer_pid"], ours().1);
        proxy.stop().await;
    }
    assert!(!place.path.exists());
}

#[tokio::test]
async fn a_process_names_the_client_if_unix_is_trusted() {
    let (place, backend) = (Place::new(), Backend::echo());
    let mut proxy = at(&place, &backend).with("trusted_proxies: [unix, 10.0.0.0/8]").start();
    let mut client = proxy.client().await;
    let named = "X-Forwarded-For: 192.0.2.7, 10.0.0.1\r\nX-Forwarded-Port: 443\r\nX-Forwarded-Proto: https\r\n";
    let told = client.get("/", named).await.text().to_lowercase();
    for kept in ["x-forwarded-for: 192.0.2.7, 10.0.0.1\r\n", "x-forwarded-port: 443\r\n", "x-real-ip: 192.0.2.7\r\n"] {
        assert!(told.contains(kept), "{kept} in {told}");
    }
    let record = proxy.next_record().await;
    assert_eq!((&record["client"], &record["peer_uid"]), (&"192.0.2.7".into(), &ours().0.into()), "{record}");
    // Whoever comes by TCP is not trusted by this.
    proxy.stop().await;
    let backend = Backend::echo();
    let mut proxy = Proxy::before(&[&backend]).with("trusted_proxies: [unix]").start();
    assert!(!proxy.client().await.get("/", named).await.text().contains("192.0.2.7"));
    let record = proxy.next_record().await;
    assert_eq!((&record["client"], &record["peer_uid"]), (&"127.0.0.1".into(), &Value::Null), "{record}");
    proxy.stop().await;
}

#[tokio::test]
async fn a_proxy_at_a_unix_socket_names_the_client_by_its_header() {
    let place = Place::new();
    let header = "PROXY TCP4 192.0.2.7 198.51.100.1 5000 8443\r\n";
    let get = "GET / HTTP/1.1\r\nHost: chat.example.com\r\nConnection: close\r\n\r\n";
    for (from, with_header, client) in [
        ("from: [unix]", true, Some("192.0.2.7")),
        ("from: [unix]", false, None),
        // Nobody else may come, or whoever comes is served as they are.
        ("from: [10.0.0.0/8]", true, None),
        ("from: [10.0.0.0/8], required: false", false, Some("unix:")),
    ] {
        let backend = Backend::echo();
        let listener = format!("{}, proxy_protocol: {{ {from} }}", place.listener());
        let mut proxy = Proxy::before(&[&backend]).listener(&listener).start();
        let mut wire = connect(&place.path).await;
        wire.try_send(format!("{}{get}", if with_header { header } else { "" })).await;
        let answer = wire.rest().await;
        assert_eq!(answer.starts_with(b"HTTP/1.1 200 "), client.is_some(), "{from}: {}", answer.escape_ascii());
        if let Some(client) = client {
            let record = proxy.next_record().await;
            assert_eq!((&record["client"], &record["peer_uid"]), (&client.into(), &ours().0.into()), "{record}");
        } else {
            assert!(answer.is_empty());
        }
        proxy.stop().await;
    }
}

#[tokio::test]
async fn a_backend_is_told_of_the_client_that_a_process_names_and_of_no_other() {
    let place = Place::new();
    for (more, wanted) in [
        ("", "PROXY UNKNOWN"),
        ("X-Forwarded-For: 192.0.2.7\r\n", "PROXY TCP4 192.0.2.7 0.0.0.0 0 0"),
        ("X-Forwarded-For: 2001:db8::7\r\n", "PROXY TCP6 2001:db8::7 :: 0 0"),
    ] {
        let backend = Backend::by_hand();
        let proxy = at(&place, &backend)
            .upstream("balance: round_robin, proxy_protocol: v1")
            .with("trusted_proxies: [unix]")
            .start();
        let mut client = proxy.client().await;
        client.send(format!("GET / HTTP/1.1\r\nHost: chat\r\n{more}\r\n")).await;
        let (mut at_backend, head) = backend.asked().await;
        assert_eq!(head.first_line(), wanted);
        at_backend.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        assert_eq!(client.response().await.status(), 204);
        proxy.stop().await;
    }
}

#[tokio::test]
async fn a_route_may_be_for_clients_of_unix_sockets_alone_or_for_all_others() {
    let (place, backend) = (Place::new(), Backend::echo());
    let routes = "routes: [ { path: /inner, upstream: chat, allow: [unix] }, { upstream: chat, deny: [unix] } ]";
    let listeners = format!("bind: \"127.0.0.1:0\" }}, {{ {}", place.listener());
    let proxy = Proxy::before(&[&backend]).listener(&listeners).routes(routes).start();
    let (mut by_tcp, mut by_path) = (proxy.client().await, connect(&place.path).await);
    for (client, inner, other) in [(&mut by_tcp, 403, 200), (&mut by_path, 200, 403)] {
        assert_eq!(client.get("/inner", "").await.status(), inner);
        assert_eq!(client.get("/", "").await.status(), other);
    }
    proxy.stop().await;
}

#[tokio::test]
async fn the_file_has_its_mode_and_its_owner() {
    let (place, backend) = (Place::new(), Backend::echo());
    let proxy = at(&place, &backend).start();
    assert_eq!(place.mode(), 0o660);
    assert!(fs::symlink_metadata(&place.path).unwrap().file_type().is_socket());
    proxy.stop().await;

    let backend = Backend::echo();
    let (uid, _) = ours();
    let gid = rustix::process::getgid().as_raw();
    // Only root may give a file away.
    let (owner, group) = if uid == 0 { (12_345, 54_321) } else { (uid, gid) };
    let listener = format!("{}, mode: \"0606\", owner: {owner}, group: \"{group}\"", place.listener());
    let proxy = Proxy::before(&[&backend]).listener(&listener).start();
    let found = fs::metadata(&place.path).unwrap();
    assert_eq!((place.mode(), found.uid(), found.gid()), (0o606, owner, group));
    assert_eq!(proxy.client().await.get("/", "").await.status(), 200);
    proxy.stop().await;
    assert!(!place.path.exists());

    let nobody = Proxy::before(&[&backend]).listener(&format!("{}, owner: no-such-user", place.listener()));
    assert!(refusal(&nobody).contains("there is no user `no-such-user` here"), "{}", refusal(&nobody));
    assert!(!place.path.exists(), "a start that fails leaves nothing behind");
}

#[tokio::test]
async fn only_a_socket_that_nobody_answers_on_is_replaced_and_only_our_file_is_removed() {
    let (place, backend) = (Place::new(), Backend::echo());
    let setup = at(&place, &backend);
    fs::write(&place.path, "precious").unwrap();
    assert!(refusal(&setup).contains("a file stands there"), "{}", refusal(&setup));
    assert_eq!(fs::read_to_string(&place.path).unwrap(), "precious");
    fs::remove_file(&place.path).unwrap();

    let live = UnixListener::bind(&place.path).unwrap();
    assert!(refusal(&setup).contains("another process listens there"), "{}", refusal(&setup));
    UnixStream::connect(&place.path).unwrap();
    // As a process leaves it that was killed.
    drop(live);
    let dead = place.inode();
    let proxy = setup.start();
    assert_eq!(proxy.client().await.get("/", "").await.status(), 200);

    // Somebody else has the path by the end.
    fs::rename(&place.path, place.folder.path().join("moved")).unwrap();
    let foreign = UnixListener::bind(&place.path).unwrap();
    assert_ne!(place.inode(), dead);
    proxy.stop().await;
    UnixStream::connect(&place.path).unwrap();
    drop(foreign);
}

#[tokio::test]
async fn a_path_of_107_bytes_is_served() {
    let (mut place, backend) = (Place::new(), Backend::echo());
    let folder = place.folder.path().display().to_string();
    place.path = format!("{folder}/{}", "x".repeat(107 - folder.len() - 1)).into();
    let proxy = at(&place, &backend).start();
    assert_eq!(proxy.client().await.get("/", "").await.status(), 200);
    proxy.stop().await;
    place.path = format!("{}x", place.path.display()).into();
    let error = config::parse(&at(&place, &backend).text(), "proxy.yaml", Path::new(".")).unwrap_err().to_string();
    assert!(error.contains("proxy.yaml:2:22: error: `unix:/") && error.contains("is too long for a socket"), "{error}");
}

#[tokio::test]
async fn all_clients_of_unix_sockets_are_one_for_the_limits() {
    let (place, backend) = (Place::new(), Backend::echo());
    let other = Place::new();
    let listeners = format!("{} }}, {{ {}", place.listener(), other.listener());
    let proxy = Proxy::before(&[&backend]).listener(&listeners).with("limits: { sessions_per_client: 1 }").start();
    let first = session_at(&place.path).await;
    let mut second = connect(&other.path).await;
    assert_eq!(second.refused_upgrade("/ws").await.status(), 429);
    first.leave().await;
    // The place is free a moment later.
    within("a place", async {
        loop {
            let mut next = connect(&other.path).await;
            next.send(handshake("/ws", "")).await;
            match next.head().await.status() {
                429 => {}
                status => return assert_eq!(status, 101),
            }
        }
    })
    .await;
    proxy.stop().await;
}

#[tokio::test]
async fn tls_on_a_unix_socket_is_tls() {
    let (place, backend) = (Place::new(), Backend::echo());
    let folder = place.folder.path().to_owned();
    let tls = "{ cert: dev.crt, key: dev.key, self_signed: true }";
    let mut proxy =
        Proxy::before(&[&backend]).tls(tls, &folder).listener(&format!("{}, tls: {tls}", place.listener())).start();
    let connector = trusting(&folder.join("dev.crt"), &[], &[]);
    let stream = tokio::net::UnixStream::connect(&place.path).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = within("a TLS handshake", connector.connect(name, stream)).await.unwrap();
    stream.write_all(handshake("/ws", "").as_bytes()).await.unwrap();
    stream.write_all(&masked(BINARY, vec![7; 100_000])).await.unwrap();
    let echoed = unmasked(BINARY, vec![7; 100_000]);
    let mut read = Vec::new();
    while !read.ends_with(&echoed) {
        assert_ne!(within("the echo", stream.read_buf(&mut read)).await.unwrap(), 0);
    }
    assert!(read.starts_with(b"HTTP/1.1 101 "));
    stream.write_all(&masked_close(1000, "")).await.unwrap();
    within("the end", stream.read_to_end(&mut read)).await.unwrap();
    let record = proxy.next_record().await;
    assert_eq!((&record["client"], &record["tls"]), (&"unix:".into(), &"TLSv1.3".into()), "{record}");
    assert_eq!((&record["clean"], &record["peer_uid"]), (&true.into(), &ours().0.into()), "{record}");
    // HTTP in the clear is told that it is not what is spoken here.
    assert_eq!(connect(&place.path).await.get("/", "").await.status(), 400);
    proxy.stop().await;
}

#[tokio::test]
async fn listeners_come_change_their_rights_and_go_while_their_sessions_live() {
    let (place, backend) = (Place::new(), Backend::echo());
    let name = format!("unix:{}", place.path.display());
    let on_tcp = Proxy::before(&[&backend]);
    let with_mode = |mode: &str| {
        on_tcp.clone().listener(&format!("bind: \"127.0.0.1:0\" }}, {{ {}, mode: \"{mode}\"", place.listener()))
    };
    let mut proxy = on_tcp.clone().start();
    let reloaded = proxy.reload(&with_mode("0600"));
    assert_eq!(shown(&reloaded.listeners_added), std::slice::from_ref(&name));
    let inode = place.inode();
    let mut session = session_at(&place.path).await;

    let reloaded = proxy.reload(&with_mode("0666"));
    assert_eq!((shown(&reloaded.listeners_changed), place.mode()), (vec![name.clone()], 0o666));
    assert_eq!(reloaded.listeners_added, []);
    assert_eq!(place.inode(), inode, "it is the same socket");

    // A reload that fails changes nothing.
    let listeners = format!("bind: \"127.0.0.1:0\" }}, {{ {}, group: no-such-group", place.listener());
    let error = proxy.control().reload(on_tcp.clone().listener(&listeners).config()).unwrap_err().to_string();
    assert!(error.contains("there is no group `no-such-group` here"), "{error}");
    assert_eq!((place.inode(), place.mode()), (inode, 0o666));

    // Nor does one that fails after it has changed the rights of another file.
    let other = Place::new();
    let both = |mode: &str, group: &str| {
        let listeners = format!(
            "bind: \"127.0.0.1:0\" }}, {{ {}, mode: \"{mode}\" }}, {{ {} {group}",
            place.listener(),
            other.listener()
        );
        on_tcp.clone().listener(&listeners)
    };
    proxy.reload(&both("0666", ""));
    assert!(proxy.control().reload(both("0600", ", group: no-such-group").config()).is_err());
    assert_eq!((place.mode(), other.mode()), (0o666, 0o660));

    let reloaded = proxy.reload(&on_tcp);
    assert_eq!(shown(&reloaded.listeners_removed), [name, format!("unix:{}", other.path.display())]);
    refused(&place.path).await;
    assert!(!place.path.exists());
    session.send(masked(TEXT, "still here")).await;
    session.expect(unmasked(TEXT, "still here")).await;
    session.leave().await;
    proxy.stop().await;
}

fn shown(addresses: &[config::ListenAddress]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_drain_takes_the_path_away_and_tells_the_sessions() {
    let (place, backend) = (Place::new(), Backend::echo());
    let mut proxy = at(&place, &backend).timeout("drain", "8s").timeout("close", "8s").start();
    let mut session = proxy.session().await;
    let path = place.path.clone();
    let (drained, ()) = tokio::join!(proxy.drain(), async {
        session.expect_close_code(1012).await;
        refused(&path).await;
        assert!(!path.exists());
        session.send_and_finish(masked_close(1012, "")).await;
    });
    assert_eq!((drained.sessions, drained.cut), (1, 0));
    proxy.stop().await;
}

#[tokio::test]
async fn a_backend_that_is_our_own_listener_is_a_loop_whatever_path_leads_there() {
    let (place, backend) = (Place::new(), Backend::echo());
    let link = place.folder.path().join("link");
    std::os::unix::fs::symlink(&place.path, &link).unwrap();
    let mut proxy = at(&place, &backend).backend_at(0, &format!("unix:{}", link.display())).start();
    assert_eq!(proxy.client().await.get("/", "").await.status(), 508);
    assert_eq!(proxy.next_record().await["cause"], "loop");
    proxy.stop().await;
}

/// A successor with this file, with the sockets that the old process handed over at `calls`.
async fn take_over(setup: Setup, old: &Proxy, handover: Handover, calls: &Path) -> Proxy {
    let successor = async {
        let calls = calls.to_owned();
        let inherited = tokio::task::spawn_blocking(move || Inherited::collect(Some(&calls))).await.unwrap();
        let mut inherited = inherited.unwrap();
        let new = setup.start_with(&mut inherited);
        // `ready` waits for the old process, which runs on this thread.
        assert!(tokio::task::spawn_blocking(|| inherited.ready()).await.unwrap().unwrap());
        new.control().take_files();
        new
    };
    tokio::join!(successor, handover.handed_over(old.control())).0
}

#[tokio::test]
async fn a_hand_over_keeps_the_file_and_refuses_nobody() {
    let (place, gone, backend) = (Place::new(), Place::new(), Backend::echo());
    let calls = place.folder.path().join("handover.sock");
    let name = format!("unix:@longwire/test/handover/{}", std::process::id());
    let listeners = format!("{}, mode: \"0600\" }}, {{ bind: \"{name}\" }}, {{ {}", place.listener(), gone.listener());
    let mut old = Proxy::before(&[&backend]).listener(&listeners).timeout("drain", "8s").start();
    let inode = place.inode();
    let mut session = session_at(&place.path).await;
    let handover = Handover::bind(&calls, &mut Inherited::default()).unwrap();
    let path = place.path.clone();
    // A visitor connects all the time.
    let visitor = tokio::spawn(async move {
        for visit in 0..300 {
            let response = connect(&path).await.get("/", "connection: close\r\n").await;
            assert_eq!(response.status(), 200, "visit {visit}");
        }
    });
    // The successor's file says another mode, and has one listener less.
    let listeners = format!("{}, mode: \"0660\" }}, {{ bind: \"{name}\"", place.listener());
    let setup = Proxy::before(&[&backend]).listener(&listeners);
    let new = take_over(setup, &old, handover, &calls).await;
    assert_eq!((place.inode(), place.mode()), (inode, 0o660));
    assert!(!gone.path.exists(), "nobody has this listener any more");
    session.send(masked(TEXT, "still here")).await;
    session.expect(unmasked(TEXT, "still here")).await;
    let (drained, ()) = tokio::join!(old.drain(), async {
        session.expect_close_code(1012).await;
        session.send(masked_close(1012, "")).await;
        session.expect_eof().await;
        session.finish().await;
    });
    assert_eq!((drained.sessions, drained.cut), (1, 0));
    assert_eq!(place.inode(), inode, "the old process leaves the file");
    within("the visitor", visitor).await.unwrap();
    session_at(&place.path).await.leave().await;
    let abstract_name = config::UnixName::of(&name).unwrap();
    let mut client = Wire::connect_at(&config::ListenAddress::Unix(abstract_name)).await;
    assert_eq!(client.get("/", "").await.status(), 200);
    drop(client);
    new.stop().await;
    assert!(!place.path.exists());
    old.stop().await;
}

#[tokio::test]
async fn a_successor_that_gives_up_leaves_the_listener_as_it_was() {
    let (place, backend) = (Place::new(), Backend::echo());
    let calls = place.folder.path().join("handover.sock");
    let proxy = at(&place, &backend).start();
    let inode = place.inode();
    let handover = Handover::bind(&calls, &mut Inherited::default()).unwrap();
    tokio::select! {
        () = handover.handed_over(proxy.control()) => panic!("nobody took over"),
        () = async {
            let path = calls.clone();
            drop(tokio::task::spawn_blocking(move || Inherited::collect(Some(&path))).await.unwrap().unwrap());
            for _ in 0..3 {
                assert_eq!(proxy.client().await.get("/", "").await.status(), 200);
            }
        } => {}
    }
    assert_eq!(place.inode(), inode);
    proxy.stop().await;
}

#[tokio::test]
async fn processes_hand_the_listener_on_and_the_last_one_removes_its_file() {
    let (place, backend) = (Place::new(), Backend::echo());
    let folder = place.folder.path();
    let setup = at(&place, &backend)
        .timeout("drain", "60s")
        .with("handover: handover.sock")
        .with("log: { format: json, access: false }");
    fs::write(folder.join("proxy.yaml"), setup.text()).unwrap();
    let mut old = Process::start(folder);
    old.says("ready").await;
    assert_eq!(old.says("listening").await["address"], format!("unix:{}", place.path.display()));
    let inode = place.inode();
    let mut session = session_at(&place.path).await;
    let mut new = Process::start(folder);
    new.says("took over from the process before").await;
    session.expect_close_code(1012).await;
    session.send_and_finish(masked_close(1012, "")).await;
    assert_eq!(old.exit_code().await, Some(0));
    assert_eq!(place.inode(), inode);
    session_at(&place.path).await.leave().await;
    new.stop().await;
    assert!(!place.path.exists());
}
