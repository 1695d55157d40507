//! Listening sockets that go from process to process: no connection is refused, and no session is lost before its time.

use std::path::Path;

use longwire::net::handover::{Handover, Inherited};
use tokio::net::TcpStream;

use crate::harness::{
    Backend, Proxy, Wire,
    frames::{TEXT, masked, masked_close, unmasked},
    within,
};

#[tokio::test]
async fn a_successor_takes_the_listeners_over_and_refuses_nobody() {
    let backend = Backend::echo();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("longwire.sock");
    let mut old = Proxy::before(&[&backend]).timeout("drain", "8s").start();
    let address = old.address();
    let mut session = old.session().await;
    let handover = Handover::bind(&path).unwrap();
    // Somebody connects all the time.
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
async fn a_successor_that_gives_up_leaves_everything_as_it_was() {
    let backend = Backend::echo();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("longwire.sock");
    let proxy = Proxy::start(&[&backend]);
    let handover = Handover::bind(&path).unwrap();
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
    let first = Handover::bind(&path).unwrap();
    // What a process left behind that ended without a successor.
    drop(first);
    assert!(!collect(&path).await.ready().unwrap());
    Handover::bind(&path).unwrap();
}

#[tokio::test]
async fn connections_that_wait_in_the_kernel_are_the_successors() {
    let backend = Backend::echo();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("longwire.sock");
    let mut old = Proxy::start(&[&backend]);
    let handover = Handover::bind(&path).unwrap();
    let new = take_over(&old, handover, &path, &backend).await;
    let waiting = TcpStream::connect(old.address()).await.unwrap();
    old.drain().await;
    let mut waiting = Wire::from(waiting);
    assert_eq!(waiting.get("/", "").await.status(), 200);
    drop(waiting);
    new.stop().await;
    old.stop().await;
}

/// A successor on the old one's address, with the sockets that it handed over.
async fn take_over(old: &Proxy, handover: Handover, path: &Path, backend: &Backend) -> Proxy {
    let setup = Proxy::before(&[backend]).listener(&format!("bind: \"{}\"", old.address()));
    let successor = async {
        let mut inherited = collect(path).await;
        let new = setup.start_with(&mut inherited);
        assert!(inherited.ready().unwrap());
        new
    };
    tokio::join!(successor, handover.handed_over(old.control())).0
}

async fn collect(path: &Path) -> Inherited {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || Inherited::collect(Some(&path))).await.unwrap().unwrap()
}
