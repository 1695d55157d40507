//! The messages of the binary on standard error while it runs.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// The longest wait in this file.
const PATIENCE: Duration = Duration::from_secs(10);

/// More requests than a pipe holds messages (64 KiB), at one message for each request and 250 bytes or more for each message.
const REQUESTS: usize = 600;

/// Ends the process with the test, however the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_reader_of_messages_who_stops_reading_stops_no_request() {
    let (listen, refusing) = (free_address(), free_address());
    let _running = Running(
        Command::new(env!("CARGO_BIN_EXE_longwire"))
            .args(["run", "--listen", &listen.to_string(), "--to", &refusing.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    for number in 0..REQUESTS {
        let mut stream = connect(listen);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: chat\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap_or_else(|error| panic!("request {number}: {error}"));
        assert!(answer.starts_with("HTTP/1.1 502 "), "request {number}: {answer}");
    }
}

/// An address on which nothing listens at the moment.
fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// Connects as soon as the binary listens.
fn connect(address: SocketAddr) -> TcpStream {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return stream,
            Err(error) => assert!(Instant::now() < deadline, "{address}: {error}"),
        }
    }
}
