//! A reload whose files come slowly, as from a network disk that hangs. Only other reloads wait for it.

use std::{
    fs::File,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::pin,
    process::Command,
    time::Duration,
};

use fs_err::os::unix::fs::OpenOptionsExt as _;
use longwire::{
    config::AdminBind,
    net::operate::control::{ReloadAsker, ReloadError},
};
use tokio::task::yield_now;

use crate::harness::{Backend, Proxy, Setup, Wire, within};

/// A file whose readers wait until the test feeds them.
struct SlowFile {
    path: PathBuf,
    text: String,
}

impl SlowFile {
    /// Makes a file slow that is there.
    fn of(path: PathBuf) -> Self {
        let text = fs_err::read_to_string(&path).unwrap();
        let slow = Self { path, text };
        slow.lay();
        slow
    }

    /// Puts a new pipe at the path. Whoever has opened the pipe before keeps that one.
    fn lay(&self) {
        let pipe = self.path.with_extension("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        fs_err::rename(&pipe, &self.path).unwrap();
    }

    /// Ready when somebody reads the file. That reader waits as long as the test keeps the other end.
    async fn reader(&self) -> File {
        loop {
            // Without a reader this fails.
            let opened = fs_err::OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&self.path);
            match opened {
                Ok(file) => return file.into_parts().0,
                Err(_) => yield_now().await,
            }
        }
    }

    fn feed(&self, mut reader: File) {
        reader.write_all(self.text.as_bytes()).unwrap();
    }

    /// Nobody waits any more, but for those who read already.
    fn heal(&self) {
        let whole = self.path.with_extension("whole");
        fs_err::write(&whole, &self.text).unwrap();
        fs_err::rename(&whole, &self.path).unwrap();
    }
}

fn before(backend: &Backend, folder: &Path) -> Setup {
    let tls = "{ cert: one.crt, key: one.key, self_signed: true }";
    Proxy::before(&[backend]).tls(tls, folder).with("admin: { bind: \"127.0.0.1:0\" }")
}

fn admin(proxy: &Proxy) -> SocketAddr {
    match proxy.control().admin_address() {
        Some(AdminBind::Tcp(address)) => address,
        other => panic!("{other:?}"),
    }
}

/// The status of an answer of the admin interface.
async fn ask(address: SocketAddr, method: &str, path: &str) -> u16 {
    let mut wire = Wire::connect(address).await;
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n");
    wire.send(format!("{head}Content-Length: 0\r\n\r\n")).await;
    wire.response().await.status()
}

#[tokio::test]
async fn the_admin_interface_answers_while_a_reload_waits_for_a_file() {
    for name in ["proxy.yaml", "one.crt", "one.key"] {
        let (folder, backend) = (tempfile::tempdir().unwrap(), Backend::echo());
        let proxy = before(&backend, folder.path()).start_from(&folder.path().join("proxy.yaml"));
        let admin = admin(&proxy);
        let slow = SlowFile::of(folder.path().join(name));
        let (mut reload, mut readers) = (pin!(ask(admin, "POST", "/api/reload")), 0);
        loop {
            tokio::select! {
                status = &mut reload => {
                    assert_eq!(status, 200, "{name}");
                    break;
                }
                reader = within("the reload to read", slow.reader()) => {
                    slow.lay();
                    assert_eq!(ask(admin, "GET", "/api/status").await, 200, "{name}");
                    slow.feed(reader);
                    readers += 1;
                }
            }
        }
        assert!(readers > 0, "{name} was not read");
        proxy.stop().await;
    }
}

#[tokio::test]
async fn a_reload_that_comes_while_another_one_reads_runs_the_newer_file() {
    let (folder, backend) = (tempfile::tempdir().unwrap(), Backend::echo());
    let setup = before(&backend, folder.path());
    let file = folder.path().join("proxy.yaml");
    let proxy = setup.clone().start_from(&file);
    let admin = admin(&proxy);
    let old = SlowFile::of(file.clone());
    let mut first = pin!(ask(admin, "POST", "/api/reload"));
    let reader = tokio::select! {
        reader = within("the reload to read", old.reader()) => reader,
        status = &mut first => panic!("{status} without the file"),
    };
    fs_err::write(folder.path().join("new"), setup.timeout("idle", "7m").text()).unwrap();
    fs_err::rename(folder.path().join("new"), &file).unwrap();
    let mut second = pin!(ask(admin, "POST", "/api/reload"));
    for _ in 0..10 {
        tokio::select! {
            status = ask(admin, "GET", "/api/status") => assert_eq!(status, 200),
            status = &mut second => panic!("{status}: a reload overtook the one before"),
        }
    }
    old.feed(reader);
    assert_eq!(tokio::join!(first, second), (200, 200));
    let idle = proxy.control().config().routes.routes().map(|route| route.timeouts.idle).collect::<Vec<_>>();
    assert_eq!(idle, [Some(Duration::from_secs(7 * 60))]);
    proxy.stop().await;
}

#[tokio::test]
async fn one_reload_waits_for_another_and_a_third_one_is_told_so() {
    let (folder, backend) = (tempfile::tempdir().unwrap(), Backend::echo());
    let file = folder.path().join("proxy.yaml");
    let proxy = before(&backend, folder.path()).start_from(&file);
    let (admin, control) = (admin(&proxy), proxy.control_handle());
    let slow = SlowFile::of(file.clone());
    let first = control.ask_for_reload(file.clone(), ReloadAsker::Operator).expect("nothing goes on");
    let reader = within("the reload to read", slow.reader()).await;
    slow.heal();
    let second = control.ask_for_reload(file.clone(), ReloadAsker::Operator).expect("nobody waits");
    assert!(control.ask_for_reload(file, ReloadAsker::Operator).is_none());
    assert_eq!(ask(admin, "POST", "/api/reload").await, 503);
    slow.feed(reader);
    for reload in [first, second] {
        within("the reload to end", reload).await.unwrap().unwrap();
    }
    assert_eq!(ask(admin, "POST", "/api/reload").await, 200);
    drop(control);
    proxy.stop().await;
}

#[tokio::test]
async fn a_reload_whose_file_does_not_come_is_answered_and_goes_on() {
    let (folder, backend) = (tempfile::tempdir().unwrap(), Backend::echo());
    let file = folder.path().join("proxy.yaml");
    let proxy = before(&backend, folder.path()).start_from(&file);
    let admin = admin(&proxy);
    let slow = SlowFile::of(file);
    let (status, reader) = tokio::join!(ask(admin, "POST", "/api/reload"), slow.reader());
    assert_eq!(status, 503);
    slow.heal();
    slow.feed(reader);
    assert_eq!(ask(admin, "POST", "/api/reload").await, 200, "the reload before has ended");
    proxy.stop().await;
}

#[tokio::test]
async fn a_reload_that_still_reads_when_the_process_is_told_to_end_changes_nothing() {
    let (folder, backend) = (tempfile::tempdir().unwrap(), Backend::echo());
    let file = folder.path().join("proxy.yaml");
    let mut proxy = before(&backend, folder.path()).start_from(&file);
    let slow = SlowFile::of(folder.path().join("one.crt"));
    let (control, reloading) = (proxy.control_handle(), proxy.control_handle());
    let reload = tokio::task::spawn_blocking(move || reloading.reload_from(&file));
    // The first look is whether the file is right. The second one is for the listener.
    for is_first in [true, false] {
        let reader = within("the reload to read", slow.reader()).await;
        if is_first {
            slow.lay();
        } else {
            slow.heal();
            proxy.drain().await;
        }
        slow.feed(reader);
    }
    let refusal = within("the reload to end", reload).await.unwrap().unwrap_err();
    assert!(matches!(refusal, ReloadError::Leaving(_)), "{refusal}");
    assert_eq!(control.addresses(), []);
    drop(control);
    proxy.stop().await;
}
