//! Listening sockets that pass from process to process: no connection is refused, and no session is lost too early.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
};

use longwire::net::{front::inherited::Inherited, operate::handover::Handover};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    rustls::{HandshakeKind, version::TLS13},
};

use crate::harness::{
    Authority, Backend, Proxy, Setup, Wire,
    frames::{TEXT, masked, masked_close, unmasked},
    trusting, visit, within,
};

#[tokio::test]
async fn a_successor_takes_the_listeners_over_and_refuses_nobody() {
    let backend = Backend::echo();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("longwire.sock");
    let mut old = Proxy::before(&[&backend]).timeout("drain", "8s").start();
    let address = old.address();
    let mut session = old.session().await;
    let handover = Handover::bind(&path, &mut Inherited::default()).unwrap();
    // A visitor connects all the time.
    let visitor = tokio::spawn(async move {
        for visit in 0..300 {
            let response = Wire::connect(address).await.get("/", "connection: close\r\n").await;
            assert_eq!(response.status(), 200, "visit {visit}");
        }
    });
    let new = take_over(&old, handover, &path, &backend).await;
    assert_eq!(new.address(), address);
    session.send(masked(TEXT, "still here")).await;
    session.expect(unmasked(TEXT, "still here")).await;
    let mut fresh = Wire::connect(address).await;
    fresh.upgrade("/ws").await;
    let (drained, ()) = tokio::join!(old.drain(), async {
        session.expect_close_code(1012).await;
        session.send(masked_close(1012, "")).await;
        session.expect_eof().await;
        session.finish().await;
    });
    assert_eq!((drained.sessions, drained.cut), (1, 0));
    within("the visitor", visitor).await.unwrap();
    fresh.send(masked(TEXT, "new")).await;
    fresh.expect(unmasked(TEXT, "new")).await;
    fresh.leave().await;
    new.stop().await;
    old.stop().await;
}

#[tokio::test]
async fn a_client_in_the_middle_of_its_proxy_header_is_dropped_and_the_next_one_is_the_successors() {
    let backend = Backend::echo();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("longwire.sock");
    let on = |address: &str| {
        let keys = "proxy_protocol: { from: [127.0.0.1], timeout: 1h }";
        Proxy::before(&[&backend]).listener(&format!("bind: \"{address}\", {keys}")).timeout("drain", "1h")
    };
    let mut old = on("127.0.0.1:0").start();
    let mut half = old.client().await;
    half.send("PROXY TCP4 ").await;
    let mut served = old.client().await;
    served.send("PROXY UNKNOWN\r\n").await;
    // The one before it is accepted too, then.
    assert_eq!(served.get("/", "connection: close\r\n").await.status(), 200);
    let handover = Handover::bind(&path, &mut Inherited::default()).unwrap();
    let new = take_over_as(on(&old.address().to_string()), &old, handover, &path).await;
    let mut next = new.client().await;
    next.send("PROXY TCP4 192.0.2.7 198.51.100.1 5000 8443\r\n").await;
    assert!(next.get("/", "").await.text().contains("X-Real-Ip: 192.0.2.7\r\n"));
    let drained = old.drain().await;
    assert_eq!(drained.cut, 0);
    half.expect_gone().await;
    new.stop().await;
    old.stop().await;
}

#[tokio::test]
async fn a_successor_that_gives_up_leaves_everything_as_it_was() {
    let backend = Backend::echo();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("longwire.sock");
    let proxy = Proxy::start(&[&backend]);
    let handover = Handover::bind(&path, &mut Inherited::default()).unwrap();
    tokio::select! {
        () = handover.handed_over(proxy.control()) => panic!("nobody took over"),
        () = async {
            drop(collect(&path).await);
            for _ in 0..3 {
                assert_eq!(proxy.client().await.get("/", "").await.status(), 200);
            }
        } => {}
    }
    proxy.stop().await;
}

#[tokio::test]
async fn without_a_predecessor_the_path_is_simply_bound() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("longwire.sock");
    assert!(!collect(&path).await.ready().unwrap());
    let first = Handover::bind(&path, &mut Inherited::default()).unwrap();
    // The socket that a process leaves behind when it ends without a successor.
    drop(first);
    assert!(!collect(&path).await.ready().unwrap());
    Handover::bind(&path, &mut Inherited::default()).unwrap();
}

#[tokio::test]
async fn connections_that_wait_in_the_kernel_are_the_successors() {
    let backend = Backend::echo();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("longwire.sock");
    let mut old = Proxy::start(&[&backend]);
    let handover = Handover::bind(&path, &mut Inherited::default()).unwrap();
    let new = take_over(&old, handover, &path, &backend).await;
    let waiting = TcpStream::connect(old.address()).await.unwrap();
    old.drain().await;
    let mut waiting = Wire::from(waiting);
    assert_eq!(waiting.get("/", "").await.status(), 200);
    drop(waiting);
    new.stop().await;
    old.stop().await;
}

#[tokio::test]
async fn a_successor_that_serves_but_never_says_so_is_still_reached_when_its_predecessor_ends() {
    let backend = Backend::echo();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("longwire.sock");
    let mut old = Proxy::start(&[&backend]);
    let handover = Handover::bind(&path, &mut Inherited::default()).unwrap();
    let setup = Proxy::before(&[&backend]).listener(&format!("bind: \"{}\"", old.address()));
    let new = tokio::select! {
        () = handover.handed_over(old.control()) => panic!("nobody said so"),
        new = async {
            let mut inherited = collect(&path).await;
            let new = setup.start_with(&mut inherited);
            drop(inherited);
            // The predecessor takes its sockets back, and accepts again.
            for _ in 0..8 {
                assert_eq!(Wire::connect(new.address()).await.get("/", "connection: close\r\n").await.status(), 200);
            }
            new
        } => new,
    };
    old.drain().await;
    assert_eq!(within("the successor", Wire::connect(new.address())).await.get("/", "").await.status(), 200);
    new.stop().await;
    old.stop().await;
}

#[tokio::test]
async fn clients_resume_their_tls_sessions_at_the_successor() {
    const TLS: &str = "{ cert: dev.crt, key: dev.key, self_signed: true }";
    let folder = tempfile::tempdir().unwrap();
    resume_at_the_successor(TLS, folder.path(), |cert| trusting(cert, &[], &[])).await;
}

#[tokio::test]
async fn clients_resume_their_tls_sessions_with_their_certificates_at_the_successor() {
    const TLS: &str = "{ cert: dev.crt, key: dev.key, self_signed: true, client_auth: { mode: required, ca: ca.pem } }";
    let (folder, ca) = (tempfile::tempdir().unwrap(), Authority::new("clients"));
    fs_err::write(folder.path().join("ca.pem"), ca.pem()).unwrap();
    resume_at_the_successor(TLS, folder.path(), |cert| ca.issue(|_| {}).connector(cert, &TLS13)).await;
}

async fn resume_at_the_successor(tls: &str, folder: &Path, connector: impl Fn(&Path) -> TlsConnector) {
    let backend = Backend::echo();
    let path = folder.join("longwire.sock");
    let setup = Proxy::before(&[&backend]).tls(tls, folder);
    let mut old = setup.clone().start();
    let connector = connector(&folder.join("dev.crt"));
    assert_eq!(visit(&old, &connector).await, HandshakeKind::Full);
    let setup = setup.listener(&format!("bind: \"{}\", tls: {tls}", old.address()));
    let new = take_over_as(setup, &old, Handover::bind(&path, &mut Inherited::default()).unwrap(), &path).await;
    old.drain().await;
    assert_eq!(visit(&new, &connector).await, HandshakeKind::Resumed);
    // This visit resumes with the ticket that the successor gave at the visit before.
    assert_eq!(visit(&new, &connector).await, HandshakeKind::Resumed);
    new.stop().await;
    old.stop().await;
}

#[tokio::test]
async fn a_predecessor_of_another_version_says_less_or_more() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("longwire.sock");
    // Only the sockets; a part that nobody knows; a part that is cut off; keys that are no keys.
    for said in [&b"S"[..], b"SX\0\x03new", b"SX\0\x09new", b"ST\0\x03new", b"SX\0"] {
        let predecessor = UnixListener::bind(&path).unwrap();
        let handing_over = std::thread::spawn(move || {
            let (mut successor, _) = predecessor.accept().unwrap();
            successor.write_all(said).unwrap();
            let mut answer = [0];
            successor.read_exact(&mut answer).unwrap();
            answer
        });
        assert!(collect(&path).await.ready().unwrap(), "{said:?}");
        assert_eq!(&handing_over.join().unwrap(), b"R");
        fs_err::remove_file(&path).unwrap();
    }
}

#[tokio::test]
async fn a_successor_that_reads_only_the_sockets_takes_over() {
    let backend = Backend::echo();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("longwire.sock");
    let proxy = Proxy::start(&[&backend]);
    let handover = Handover::bind(&path, &mut Inherited::default()).unwrap();
    let successor = std::thread::spawn(move || {
        let mut predecessor = UnixStream::connect(path).unwrap();
        let mut byte = [0];
        predecessor.read_exact(&mut byte).unwrap();
        predecessor.write_all(b"R").unwrap();
        byte
    });
    within("the hand-over", handover.handed_over(proxy.control())).await;
    assert_eq!(&successor.join().unwrap(), b"S");
    proxy.stop().await;
}

/// A successor on the old one's address, with the sockets that it handed over.
async fn take_over(old: &Proxy, handover: Handover, path: &Path, backend: &Backend) -> Proxy {
    let setup = Proxy::before(&[backend]).listener(&format!("bind: \"{}\"", old.address()));
    take_over_as(setup, old, handover, path).await
}

/// A successor of this setup takes the listeners over.
pub async fn take_over_as(setup: Setup, old: &Proxy, handover: Handover, path: &Path) -> Proxy {
    let successor = async {
        let mut inherited = collect(path).await;
        let new = setup.start_with(&mut inherited);
        // `ready` waits for the old process, which runs on this thread.
        assert!(tokio::task::spawn_blocking(|| inherited.ready()).await.unwrap().unwrap());
        new
    };
    tokio::join!(successor, handover.handed_over(old.control())).0
}

async fn collect(path: &Path) -> Inherited {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || Inherited::collect(Some(&path))).await.unwrap().unwrap()
}
