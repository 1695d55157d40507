//! A DNS server of the tests: over UDP and TCP on one port of loopback, with answers that a test writes by hand. It has threads of
//! its own, because a proxy waits for first answers while it starts, in the thread of the test.

use std::{
    collections::HashMap,
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

/// What a name or a service is answered.
#[derive(Debug, Clone)]
pub enum Said {
    /// These addresses, those of the family that was asked for, in this order; with a TTL in seconds.
    Addresses(Vec<IpAddr>, u32),
    /// Targets of a service: priority, weight, port, name; with a TTL in seconds.
    Targets(Vec<(u16, u16, u16, &'static str)>, u32),
    /// There is no such name.
    NxDomain,
    /// The name has no such records.
    Empty,
    /// SERVFAIL.
    Failure,
    /// Over UDP nothing but that the answer was cut; over TCP these addresses.
    CutOverUdp(Vec<IpAddr>, u32),
    /// Nothing at all.
    Silence,
}

/// The server. A name of which nothing is said does not exist.
pub struct Dns {
    address: SocketAddr,
    zone: Arc<Zone>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Zone {
    said: Mutex<HashMap<(String, u16), Said>>,
    /// The questions so far, by name and type.
    asked: Mutex<HashMap<(String, u16), usize>>,
    is_over: AtomicBool,
}

/// Types of records.
pub const A: u16 = 1;
pub const AAAA: u16 = 28;
pub const SRV: u16 = 33;

impl Dns {
    pub fn start() -> Self {
        let (udp, tcp) = bind();
        let address = udp.local_addr().unwrap();
        let zone = Arc::new(Zone::default());
        let (of_udp, of_tcp) = (Arc::clone(&zone), Arc::clone(&zone));
        let threads =
            vec![thread::spawn(move || of_udp.serve_udp(&udp)), thread::spawn(move || of_tcp.serve_tcp(&tcp))];
        Self { address, zone, threads }
    }

    /// The address for `discovery.resolver`.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says this of a name from now on, whatever is asked of it.
    pub fn says(&self, name: &str, said: Said) {
        for kind in [A, AAAA, SRV] {
            self.says_of(name, kind, said.clone());
        }
    }

    /// Says this of one type of records of a name from now on.
    pub fn says_of(&self, name: &str, kind: u16, said: Said) {
        self.zone.said.lock().unwrap().insert((name.to_lowercase(), kind), said);
    }

    /// How often records of this type were asked for.
    pub fn asked(&self, name: &str, kind: u16) -> usize {
        self.zone.asked.lock().unwrap().get(&(name.to_lowercase(), kind)).copied().unwrap_or_default()
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.zone.is_over.store(true, Ordering::SeqCst);
        // These wake the threads. A thread that is gone already needs none.
        let _ = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.send_to(&[], self.address));
        let _ = TcpStream::connect(self.address);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// One port for both protocols.
fn bind() -> (UdpSocket, TcpListener) {
    loop {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
            return (udp, tcp);
        }
    }
}

impl Zone {
    fn serve_udp(&self, socket: &UdpSocket) {
        let mut query = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut query) {
            if self.is_over.load(Ordering::SeqCst) {
                return;
            }
            if let Some(answer) = self.answer(&query[..length], true) {
                let _ = socket.send_to(&answer, from);
            }
        }
    }

    /// Each connection has a thread, which ends with the connection.
    fn serve_tcp(self: &Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming() {
            if self.is_over.load(Ordering::SeqCst) {
                return;
            }
            let (zone, Ok(stream)) = (Arc::clone(self), stream) else { continue };
            thread::spawn(move || zone.serve_stream(stream));
        }
    }

    fn serve_stream(&self, mut stream: TcpStream) -> Option<()> {
        loop {
            let mut length = [0; 2];
            stream.read_exact(&mut length).ok()?;
            let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut query).ok()?;
            let answer = self.answer(&query, false)?;
            let length = u16::try_from(answer.len()).ok()?.to_be_bytes();
            stream.write_all(&[&length[..], &answer].concat()).ok()?;
        }
    }

    /// The answer to a query; `None` = silence.
    fn answer(&self, query: &[u8], is_udp: bool) -> Option<Vec<u8>> {
        let (name, end) = name_at(query, 12)?;
        let kind = u16::from_be_bytes([*query.get(end)?, *query.get(end + 1)?]);
        *self.asked.lock().unwrap().entry((name.clone(), kind)).or_default() += 1;
        let said = self.said.lock().unwrap().get(&(name, kind)).cloned().unwrap_or(Said::NxDomain);
        let (code, is_cut, records) = match said {
            Said::Addresses(addresses, ttl) => (0, false, addresses_of(kind, &addresses, ttl)),
            Said::CutOverUdp(_, _) if is_udp => (0, true, Vec::new()),
            Said::CutOverUdp(addresses, ttl) => (0, false, addresses_of(kind, &addresses, ttl)),
            Said::Targets(targets, ttl) if kind == SRV => {
                (0, false, targets.iter().map(|target| record(kind, ttl, &target_of(target))).collect())
            }
            Said::Targets(..) | Said::Empty => (0, false, Vec::new()),
            Said::NxDomain => (3, false, Vec::new()),
            Said::Failure => (2, false, Vec::new()),
            Said::Silence => return None,
        };
        let count = u16::try_from(records.len()).unwrap().to_be_bytes();
        let flags = [0x85 | if is_cut { 0x02 } else { 0 }, 0x80 | code];
        let head = [&query[..2], &flags, &[0, 1], &count, &[0, 0, 0, 0]].concat();
        Some([&head, &query[12..end + 4], &records.concat()].concat())
    }
}

fn addresses_of(kind: u16, addresses: &[IpAddr], ttl: u32) -> Vec<Vec<u8>> {
    let records = addresses.iter().filter_map(|address| match (address, kind) {
        (IpAddr::V4(address), A) => Some(record(kind, ttl, &address.octets())),
        (IpAddr::V6(address), AAAA) => Some(record(kind, ttl, &address.octets())),
        _ => None,
    });
    records.collect()
}

fn target_of((priority, weight, port, name): &(u16, u16, u16, &str)) -> Vec<u8> {
    let numbers = [priority, weight, port].map(|number| number.to_be_bytes()).concat();
    let labels = name.split('.').filter(|label| !label.is_empty());
    let labels = labels.flat_map(|label| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat());
    numbers.into_iter().chain(labels).chain([0]).collect()
}

/// A record of the name in the question.
fn record(kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap();
    [&[0xc0, 12], &kind.to_be_bytes()[..], &[0, 1], &ttl.to_be_bytes(), &length.to_be_bytes(), data].concat()
}

/// The name at a place in lower case without its last dot, and where it ends.
fn name_at(message: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        labels.push(String::from_utf8_lossy(message.get(at..at + length)?).to_lowercase());
        at += length;
    }
}
