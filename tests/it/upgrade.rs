//! SIGUSR2: the program of the disk takes over from the process that runs, and the service manager hears of it.

use std::{
    net::SocketAddr,
    os::unix::net::UnixDatagram,
    path::Path,
    process::{Command, Stdio},
};

use fs_err as fs;

use crate::harness::{
    Backend, Process, Proxy, Setup, Wire,
    frames::{TEXT, masked, masked_close, unmasked},
    within,
};

/// What a process tells the service manager.
struct Manager(tokio::net::UnixDatagram);

impl Manager {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self(tokio::net::UnixDatagram::from_std(socket).unwrap())
    }

    async fn hears(&self) -> String {
        let mut heard = [0; 64];
        let length = within("news of the service", self.0.recv(&mut heard)).await.unwrap();
        String::from_utf8(heard[..length].to_vec()).unwrap()
    }
}

fn write(folder: &Path, setup: Setup, listener: &str) {
    fs::write(folder.join("proxy.yaml"), setup.listener(&format!("bind: \"{listener}\"")).text()).unwrap();
}

async fn is_served(address: SocketAddr) {
    assert_eq!(Wire::connect(address).await.get("/", "connection: close\r\n").await.status(), 200);
}

/// A process that the process of the test has started, and that is no child of it.
struct Successor(String);

impl Successor {
    fn signal(&self, name: &str) {
        let _ = Command::new("kill").args(["-s", name, &self.0]).stderr(Stdio::null()).status().unwrap();
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        self.signal("KILL");
    }
}

#[tokio::test]
async fn the_program_of_the_disk_takes_over_and_the_manager_learns_which_process_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let notify = folder.path().join("notify");
    let manager = Manager::at(&notify);
    let backend = Backend::echo();
    let setup = || {
        let setup = Proxy::before(&[&backend]).timeout("drain", "60s").with("drain: { spread: 0s }");
        setup.with("handover: longwire.sock")
    };
    write(folder.path(), setup(), "127.0.0.1:0");
    let (mut old, address) = Process::serving_with(folder.path(), &[("NOTIFY_SOCKET", notify)]).await;
    assert_eq!(manager.hears().await, "READY=1");
    let mut session = Wire::connect(address).await;
    session.upgrade("/ws").await;

    // A new program that cannot start leaves all as it was.
    fs::write(folder.path().join("proxy.yaml"), "routes: 7\n").unwrap();
    old.signal("USR2");
    old.says("a new process is to take over").await;
    // What the new one says before it ends.
    old.says("error: ").await;
    is_served(address).await;

    write(folder.path(), setup(), &address.to_string());
    old.signal("USR2");
    old.says("took over from the process before").await;
    let told = manager.hears().await;
    let new = Successor(told.strip_prefix("MAINPID=").unwrap_or_else(|| panic!("{told}")).to_owned());
    assert_eq!(manager.hears().await, "READY=1");
    is_served(address).await;
    let mut fresh = Wire::connect(address).await;
    fresh.upgrade("/ws").await;
    fresh.send(masked(TEXT, "new")).await;
    fresh.expect(unmasked(TEXT, "new")).await;
    fresh.leave().await;
    session.expect_close_code(1012).await;

    // A service manager kills what is left when the main process ends.
    new.signal("TERM");
    old.says("the process before still drains, and this one ends after it").await;
    session.send_and_finish(masked_close(1012, "")).await;
    session.expect_eof().await;
    // Both have the standard error that tells the end.
    assert_eq!(old.exit_code().await, Some(0));
}

#[tokio::test]
async fn without_a_place_to_take_over_the_process_goes_on_alone() {
    let folder = tempfile::tempdir().unwrap();
    let backend = Backend::echo();
    write(folder.path(), Proxy::before(&[&backend]), "127.0.0.1:0");
    let (mut process, address) = Process::serving(folder.path()).await;
    process.signal("USR2");
    process.says("SIGUSR2: no process can take over").await;
    is_served(address).await;
    process.stop().await;
}
