//! Parts that die, though none should: the process then says so and ends. It does not go on without them.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};

use fs_err as fs;
use longwire::net::thread::vital::Fault;

use crate::harness::{
    Backend, Proxy,
    frames::{TEXT, masked, masked_close, unmasked},
    within,
};

#[tokio::test]
async fn a_worker_that_dies_takes_its_own_connections_along_and_the_others_are_drained() {
    for (fault, dead) in [(Fault::FirstWorker, 0), (Fault::SecondWorker, 1)] {
        let backend = Backend::echo();
        let mut proxy =
            Proxy::before(&[&backend]).timeout("drain", "10s").with("drain: { spread: 0s, wait: 5s }").start();
        // The sessions are on different workers, because each connection goes to the worker with the fewest.
        let mut sessions = vec![proxy.session().await, proxy.session().await];
        let waiting = proxy.client().await;
        let control = proxy.control_handle();
        assert!(control.is_ready());
        control.inject(fault);
        within("the failure to be noted", control.failed()).await;
        assert!(!control.is_ready());
        let mut gone = sessions.remove(dead);
        gone.expect_gone().await;
        let mut stays = sessions.remove(0);
        stays.send(masked(TEXT, "still here")).await;
        stays.expect(unmasked(TEXT, "still here")).await;
        if dead == 1 {
            // The dead worker has the fewest connections now, but gets none.
            for _ in 0..4 {
                assert_eq!(proxy.client().await.get("/", "").await.status(), 200);
            }
        }
        drop((waiting, control));
        let (drained, ()) = tokio::join!(proxy.drain(), async {
            stays.expect_close(1012, "drain").await;
            stays.send(masked_close(1012, "")).await;
            stays.expect_eof().await;
            stays.finish().await;
        });
        assert_eq!((drained.sessions, drained.cut), (1, 0), "{fault:?}");
        assert_eq!(proxy.stop().await.len(), if dead == 1 { 6 } else { 2 });
    }
}

/// The real program on free ports, with a fault in its environment, and its messages.
struct Running {
    child: Child,
    messages: BufReader<std::process::ChildStderr>,
    address: SocketAddr,
    admin: SocketAddr,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

impl Running {
    /// `descriptors`: how many descriptors may be open.
    fn start(folder: &Path, fault: &str, descriptors: usize) -> Self {
        let (address, admin) = (free_address(), free_address());
        let file = folder.join("proxy.yaml");
        let text = format!(
            "workers: 3\nlisteners: [ {{ bind: \"{address}\" }} ]\nroutes: [ {{ upstream: chat }} ]\n\
             upstreams: {{ chat: {{ backends: [ {{ address: \"{}\" }} ] }} }}\nadmin: {{ bind: \"{admin}\" }}\n",
            free_address()
        );
        fs::write(&file, text).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {descriptors}; exec \"$0\" run --config \"$1\"")]);
        command.arg(env!("CARGO_BIN_EXE_longwire")).arg(&file);
        command.env("LONGWIRE_FAULT", fault).env("RUST_BACKTRACE", "0");
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let messages = BufReader::new(child.stderr.take().unwrap());
        Self { child, messages, address, admin }
    }

    /// The messages until the program is ready or has ended, and whether it is ready.
    fn until_ready(&mut self) -> (String, bool) {
        let (mut text, mut line) = (String::new(), String::new());
        while self.messages.read_line(&mut line).unwrap() > 0 {
            text += &line;
            if line.contains("\"ready\"") || line.contains(" ready ") {
                return (text, true);
            }
            line.clear();
        }
        (text, false)
    }

    /// The messages until the program ends, and its exit code.
    fn end(mut self) -> (String, Option<i32>) {
        let mut text = String::new();
        self.messages.read_to_string(&mut text).unwrap();
        (text, self.child.wait().unwrap().code())
    }
}

#[test]
fn whatever_vital_part_dies_the_process_drains_and_exits_with_1() {
    let folder = tempfile::tempdir().unwrap();
    for (fault, _) in Fault::ALL {
        let mut running = Running::start(folder.path(), fault, 1024);
        let (said, is_ready) = running.until_ready();
        assert!(is_ready, "{said}");
        // Some parts die only when they have something to do.
        for address in [running.address, running.admin] {
            thread::spawn(move || drop(TcpStream::connect(address)));
        }
        let (rest, code) = running.end();
        let said = said + &rest;
        assert_eq!(code, Some(1), "{fault}: {said}");
        for words in ["this process cannot go on", "draining", "drained"] {
            assert!(said.contains(words), "{fault}: {said}");
        }
    }
}

#[test]
fn a_worker_that_cannot_start_fails_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let (mut refusals, mut ready) = (Vec::new(), 0);
    for descriptors in 8.. {
        let mut running = Running::start(folder.path(), "", descriptors);
        let (said, is_ready) = running.until_ready();
        if is_ready {
            assert!(!said.contains("\"ERROR\""), "ready, and yet: {said}");
            ready += 1;
            if ready == 3 {
                break;
            }
            continue;
        }
        let (rest, code) = running.end();
        assert!(code.is_some_and(|code| code != 0), "{code:?}: {said}{rest}");
        refusals.push(said);
    }
    let of_workers = refusals.iter().filter(|said| said.contains("cannot start a worker")).count();
    assert!(of_workers >= 3, "each worker has descriptors of its own: {refusals:#?}");
}
