//! What the process writes at its end: every record and message is written, or its loss is counted and reported.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use fs_err as fs;

use crate::harness::handshake;

/// The longest wait in this file, so that no test hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Far more sessions than a pipe holds records (64 KiB), at 500 bytes or more for each record.
const SESSIONS: usize = 600;

/// The real program. It ends with the test.
struct Running {
    program: Program,
    address: SocketAddr,
    messages: BufReader<ChildStderr>,
}

struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A backend in a process of its own, because these tests block.
struct Echo {
    _program: Program,
    address: String,
}

impl Echo {
    fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_longwire"));
        let mut child = command.args(["echo", "--bind", "127.0.0.1:0"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim_end().trim_end_matches('/').rsplit('/').next().unwrap().to_owned();
        Self { _program: Program(child), address }
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

impl Running {
    /// Starts the program in front of `backend`, with the lines of `settings` in its file.
    fn start(backend: &str, folder: &Path, settings: &str, stdout: Stdio) -> Self {
        let address = free_address();
        let file = folder.join("proxy.yaml");
        let text = format!(
            "workers: 1\nlisteners: [ {{ bind: \"{address}\" }} ]\nroutes: [ {{ upstream: chat }} ]\n\
             upstreams:\n  chat: {{ backends: [ {{ address: \"{backend}\" }} ] }}\ndrain: {{ spread: 0s }}\n{settings}\n"
        );
        fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_longwire"));
        command.arg("run").arg("--config").arg(&file).stdout(stdout).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let messages = BufReader::new(child.stderr.take().unwrap());
        let mut running = Self { program: Program(child), address, messages };
        running.message("ready");
        // No later message is in the buffer of this reader, so the reader may be given away.
        assert!(running.messages.buffer().is_empty());
        running
    }

    fn records(&mut self) -> ChildStdout {
        self.program.0.stdout.take().unwrap()
    }

    /// Sessions whose clients send nothing and read nothing.
    fn sessions(&self, count: usize) -> Vec<TcpStream> {
        let open = |_| {
            let mut stream = TcpStream::connect(self.address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(handshake("/ws", "").as_bytes()).unwrap();
            let mut answer = Vec::new();
            let mut byte = [0];
            while !answer.ends_with(b"\r\n\r\n") {
                stream.read_exact(&mut byte).unwrap();
                answer.push(byte[0]);
            }
            assert!(answer.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&answer));
            stream
        };
        (0..count).map(open).collect()
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args(["-s", signal, &self.program.0.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// The next message that contains these words.
    fn message(&mut self, words: &str) -> String {
        let mut all = String::new();
        loop {
            let mut line = String::new();
            assert!(self.messages.read_line(&mut line).unwrap() > 0, "no {words:?} in\n{all}");
            if line.contains(words) {
                return line;
            }
            all.push_str(&line);
        }
    }

    fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.program.0.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::yield_now();
        }
    }
}

/// The number in a field of a message.
fn number(line: &str, field: &str) -> usize {
    let (_, rest) = line.split_once(&format!("{field}=")).unwrap_or_else(|| panic!("no {field} in {line}"));
    rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

fn text(level: &str) -> String {
    format!("log: {{ format: text, level: {level} }}")
}

#[test]
fn records_whose_reader_comes_late_are_all_written_before_the_process_ends() {
    let backend = Echo::start();
    let folder = tempfile::tempdir().unwrap();
    let settings = format!("timeouts: {{ close: 100ms, drain: 30s }}\n{}", text("info"));
    let mut running = Running::start(&backend.address, folder.path(), &settings, Stdio::piped());
    let _clients = running.sessions(SESSIONS);
    running.signal("TERM");
    // Only from here on somebody reads.
    assert!(number(&running.message("waiting for whoever reads"), "records") > 0);
    let mut records = String::new();
    running.records().read_to_string(&mut records).unwrap();
    assert_eq!(records.lines().filter(|line| line.contains("cause=drain")).count(), SESSIONS);
    let drained = running.message("drained");
    assert_eq!((number(&drained, "sessions"), number(&drained, "records_lost")), (SESSIONS, 0), "{drained}");
    assert!(running.ended().success());
}

#[test]
fn records_that_nobody_reads_are_counted_and_told() {
    let backend = Echo::start();
    let folder = tempfile::tempdir().unwrap();
    let settings = format!("timeouts: {{ close: 100ms, drain: 1s }}\n{}", text("info"));
    let mut running = Running::start(&backend.address, folder.path(), &settings, Stdio::piped());
    let _clients = running.sessions(SESSIONS);
    running.signal("TERM");
    let lost = number(&running.message("drained"), "records_lost");
    running.message(&format!("{lost} records were not written"));
    assert!(running.ended().success());
    let mut records = String::new();
    running.records().read_to_string(&mut records).unwrap();
    // The line of which the pipe had taken a part counts as lost, even if the pipe had room for the rest in the end.
    let whole = records.lines().count();
    assert!([SESSIONS, SESSIONS + 1].contains(&(whole + lost)), "{whole} written, {lost} lost");
}

#[test]
fn records_that_a_full_disk_refuses_are_counted_and_told() {
    let backend = Echo::start();
    let folder = tempfile::tempdir().unwrap();
    let settings =
        "timeouts: { close: 100ms, drain: 5s }\nlog: { format: text, level: info, file: /dev/full }".to_owned();
    let mut running = Running::start(&backend.address, folder.path(), &settings, Stdio::null());
    let _clients = running.sessions(3);
    running.signal("TERM");
    assert!(running.message("records cannot be written").contains("No space left"));
    assert_eq!(number(&running.message("drained"), "records_lost"), 3);
    running.message("3 records were not written");
    assert!(running.ended().success());
}

#[test]
fn a_second_signal_ends_at_once_however_stuck_the_reader_and_says_what_is_lost() {
    let backend = Echo::start();
    let folder = tempfile::tempdir().unwrap();
    let settings = format!("timeouts: {{ close: 100ms, drain: 1h }}\n{}", text("info"));
    let mut running = Running::start(&backend.address, folder.path(), &settings, Stdio::piped());
    let _clients = running.sessions(SESSIONS);
    running.signal("TERM");
    running.message("waiting for whoever reads");
    running.signal("TERM");
    running.message("ending at once");
    running.message("records were not written");
    assert_eq!(running.ended().code(), Some(1));
}

#[test]
fn a_file_that_was_moved_is_made_again_at_the_signal_though_no_record_comes() {
    let folder = tempfile::tempdir().unwrap();
    let (records, moved) = (folder.path().join("records"), folder.path().join("records.1"));
    let settings = "log: { format: text, level: info, file: records }";
    let mut running = Running::start(&free_address().to_string(), folder.path(), settings, Stdio::null());
    fs::rename(&records, &moved).unwrap();
    running.signal("USR1");
    running.message("SIGUSR1");
    let deadline = Instant::now() + PATIENCE;
    while !records.exists() {
        assert!(Instant::now() < deadline, "no new file");
        std::thread::yield_now();
    }
}

#[test]
fn messages_whose_reader_comes_late_are_all_written_before_the_process_ends() {
    let refusing = free_address().to_string();
    let folder = tempfile::tempdir().unwrap();
    let settings = format!("timeouts: {{ drain: 5s }}\n{}", text("info"));
    let mut running = Running::start(&refusing, folder.path(), &settings, Stdio::null());
    // Each request causes one message.
    for _ in 0..SESSIONS {
        let mut stream = TcpStream::connect(running.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: chat\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 50"), "{answer}");
    }
    running.signal("TERM");
    // The reader is two seconds late. Everything else is over at once.
    let late = Command::new("sh")
        .args(["-c", "sleep 2; exec cat"])
        .stdin(running.messages.into_inner())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let messages = String::from_utf8(late.wait_with_output().unwrap().stdout).unwrap();
    let of = |words: &str| messages.lines().filter(|line| line.contains(words)).count();
    assert_eq!((of("attempt failed"), of("drained")), (SESSIONS, 1));
    assert!(messages.lines().all(|line| line.starts_with("20")), "each begins with the time");
    assert!(running.program.0.wait().unwrap().success());
}
