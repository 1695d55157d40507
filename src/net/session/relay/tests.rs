//! A relay between two sides that nothing tells it of: no events, no calls. This is what happens when a worker was held
//! up and looks at alarms before it has taken all events. Each side is a socket, or a stream in memory.

#![allow(clippy::unwrap_used)]

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    os::{fd::OwnedFd, unix::net::UnixStream},
    thread,
    time::Duration,
};

use tokio::io::{AsyncRead as _, ReadBuf};

use super::*;
use crate::{
    net::stream::{
        memory,
        socketless::Socketless,
        sockets::{self, Socket},
    },
    ws::{
        close::CloseCode,
        keepalive::{Secret, Settings, SideTimes},
        meter::MessageLimits,
        round_trips::RoundTripTimes,
        session::{Common, HoldCause, HoldTerms, HoldTriggers, SessionSettings},
        termination::Cause,
    },
};

const PING_INTERVAL: Duration = Duration::from_secs(20);
const PONG_TIMEOUT: Duration = Duration::from_secs(30);
const IDLE: Duration = Duration::from_secs(60);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// What a stream in memory takes, in bytes.
const ROOM: usize = 10_000;

/// What a side is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Socket,
    Unix,
    Memory,
}

/// The client and the backend: every combination.
const KINDS: [[Kind; 2]; 9] = [
    [Kind::Socket, Kind::Socket],
    [Kind::Socket, Kind::Unix],
    [Kind::Socket, Kind::Memory],
    [Kind::Unix, Kind::Socket],
    [Kind::Unix, Kind::Unix],
    [Kind::Unix, Kind::Memory],
    [Kind::Memory, Kind::Socket],
    [Kind::Memory, Kind::Unix],
    [Kind::Memory, Kind::Memory],
];

/// The far end of a side.
enum Peer {
    /// `view`: a second handle of the relay's end, to look into it. Of a Unix socket too: for the calls of a test, both are
    /// descriptors.
    Socket {
        view: TcpStream,
        peer: TcpStream,
    },
    Memory(memory::MemoryEnd),
}

impl Peer {
    /// A connection: the relay's end, and the far end.
    fn connect(kind: Kind) -> (Stream, Self) {
        match kind {
            Kind::Socket => {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                let ours = listener.accept().unwrap().0;
                ours.set_nonblocking(true).unwrap();
                let view = ours.try_clone().unwrap();
                let socket = Socket::new(mio::net::TcpStream::from_std(ours)).unwrap();
                (Stream::Plain(socket), Self::Socket { view, peer })
            }
            Kind::Unix => {
                let (ours, peer) = UnixStream::pair().unwrap();
                ours.set_nonblocking(true).unwrap();
                let view = ours.try_clone().unwrap();
                let [view, peer] = [view, peer].map(|end| TcpStream::from(OwnedFd::from(end)));
                (Stream::Plain(Socket::new_unix(ours).unwrap()), Self::Socket { view, peer })
            }
            Kind::Memory => {
                let (near, far) = memory::stream(ROOM);
                (Stream::Socketless(Box::new(Socketless::new(Box::new(near)))), Self::Memory(far))
            }
        }
    }

    /// Sends bytes, and waits until the relay can read them.
    fn send(&mut self, bytes: &[u8]) {
        match self {
            Self::Socket { view, peer } => {
                peer.write_all(bytes).unwrap();
                while view.peek(&mut [0]).is_err() {
                    thread::yield_now();
                }
            }
            Self::Memory(end) => {
                let written = Pin::new(end).poll_write(&mut Context::from_waker(Waker::noop()), bytes);
                assert!(matches!(written, Poll::Ready(Ok(length)) if length == bytes.len()));
            }
        }
    }

    /// Reads so many bytes, which the relay has sent.
    fn receive(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        match self {
            Self::Socket { peer, .. } => peer.read_exact(&mut bytes).unwrap(),
            Self::Memory(end) => assert_eq!(read_now(end, &mut bytes), length),
        }
        bytes
    }

    /// Reads to the end, which the relay has sent.
    fn receive_all(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            Self::Socket { peer, .. } => {
                peer.read_to_end(&mut bytes).unwrap();
            }
            Self::Memory(end) => {
                bytes = vec![0; ROOM];
                let length = read_now(end, &mut bytes);
                assert_eq!(read_now(end, &mut [0]), 0, "the end");
                bytes.truncate(length);
            }
        }
        bytes
    }

    /// Reads what is there of so many bytes.
    fn receive_some(&mut self, most: usize) {
        let Self::Socket { peer, .. } = self else { unreachable!("a stream in memory has no such test") };
        peer.set_nonblocking(true).unwrap();
        assert!(peer.read(&mut vec![0; most]).unwrap() > 0, "the relay has refilled the queue");
        peer.set_nonblocking(false).unwrap();
    }

    /// Reads what is there, up to so many bytes. Returns how many these were.
    fn receive_at_most(&mut self, most: usize) -> usize {
        let Self::Socket { peer, .. } = self else { unreachable!("a stream in memory has no such test") };
        peer.set_nonblocking(true).unwrap();
        let mut bytes = Vec::new();
        // The error says that no more is there.
        let _ = peer.take(most as u64).read_to_end(&mut bytes);
        peer.set_nonblocking(false).unwrap();
        bytes.len()
    }

    /// Reads what is there, and drops it.
    fn drain(&mut self) {
        let Self::Socket { peer, .. } = self else { unreachable!("a stream in memory has no such test") };
        peer.set_nonblocking(true).unwrap();
        while peer.read(&mut [0; 1000]).is_ok_and(|length| length > 0) {}
        peer.set_nonblocking(false).unwrap();
    }

    fn finish(&mut self) {
        match self {
            Self::Socket { peer, .. } => peer.shutdown(Shutdown::Write).unwrap(),
            Self::Memory(end) => {
                assert!(Pin::new(end).poll_shutdown(&mut Context::from_waker(Waker::noop())).is_ready());
            }
        }
    }
}

/// Reads what is there.
fn read_now(end: &mut memory::MemoryEnd, buffer: &mut [u8]) -> usize {
    let mut buffer = ReadBuf::new(buffer);
    assert!(matches!(
        Pin::new(end).poll_read(&mut Context::from_waker(Waker::noop()), &mut buffer),
        Poll::Ready(Ok(()))
    ));
    buffer.filled().len()
}

/// A relay that began at `began`, and the far ends of the client and the backend.
fn relay(kinds: [Kind; 2], idle: Option<Duration>, began: Instant) -> (Relay, [Peer; 2]) {
    relay_on(kinds, idle, None, began)
}

/// The same on the terms of a route.
fn relay_on(kinds: [Kind; 2], idle: Option<Duration>, hold: Option<HoldTerms>, began: Instant) -> (Relay, [Peer; 2]) {
    let [(client, client_peer), (backend, backend_peer)] = kinds.map(Peer::connect);
    let pong_timeout = SideTimes::of_both(Some(PONG_TIMEOUT));
    let ping_interval = SideTimes { client: idle.is_none().then_some(PING_INTERVAL), backend: None };
    let settings = SessionSettings {
        keepalive: Settings { ping_interval, pong_timeout },
        idle,
        max_lifetime: None,
        close_timeout: CLOSE_TIMEOUT,
        limits: MessageLimits::NONE,
        extensions: false,
    };
    let (secret, round_trips) = (Secret([0; 16]), RoundTripTimes::default());
    let common = Common { settings, hold, resume: None, secret, epoch: began, round_trips };
    let [client, backend] = [client, backend].map(|stream| Leg::new(stream, Bytes::new()));
    let mut relay = Relay::new(client, backend, Session::new(Arc::new(common), 0, began));
    relay.give_to(SessionKey { place: 0, generation: 1 }, &Arc::default());
    (relay, [client_peer, backend_peer])
}

/// Tells the relay that a side may be read, as an event or a call does.
fn tell(relay: &mut Relay, side: Side) {
    match relay.stream(side).socket() {
        Some(socket) => socket.doubt_dryness(),
        None => relay.note_call(side),
    }
}

/// Whether a session goes on when its client was silent for too long. `says`: what the client does before that moment.
fn goes_on(kinds: [Kind; 2], idle: Option<Duration>, says: impl FnOnce(&mut Peer)) -> bool {
    let _epolls = sockets::open(false).unwrap();
    let began = Instant::now();
    let (mut relay, [mut client, _backend]) = relay(kinds, idle, began);
    let mut scratch = Scratch::new(Unsent::new(), Unsent::new());
    let pinged = began + PING_INTERVAL;
    assert_eq!(relay.turn(&mut scratch, true, pinged), Turn::Waits);
    says(&mut client);
    let up = if idle.is_some() { began + IDLE } else { pinged + PONG_TIMEOUT };
    assert_eq!(relay.turn(&mut scratch, true, up), Turn::Waits);
    !relay.session.is_ending()
}

#[test]
fn a_side_whose_answer_waits_to_be_read_is_not_dead() {
    let pong = |client: &mut Peer| {
        let ping = client.receive(14);
        client.send(&[&[0x8a, 0x80 | ping[1], 0, 0, 0, 0], &ping[2..]].concat());
    };
    for kinds in KINDS {
        assert!(goes_on(kinds, None, pong), "{kinds:?}");
        assert!(!goes_on(kinds, None, |_| {}), "{kinds:?}: nothing has come");
    }
}

#[test]
fn a_session_whose_message_waits_to_be_read_is_not_idle() {
    for kinds in KINDS {
        assert!(goes_on(kinds, Some(IDLE), |client| client.send(b"\x81\x82\0\0\0\0hi")), "{kinds:?}");
        assert!(!goes_on(kinds, Some(IDLE), |_| {}), "{kinds:?}: nothing has come");
    }
}

#[test]
fn an_end_whose_closes_wait_to_be_read_is_clean() {
    for kinds in KINDS {
        let _epolls = sockets::open(false).unwrap();
        let began = Instant::now();
        let (mut relay, [mut client, mut backend]) = relay(kinds, Some(IDLE), began);
        let mut scratch = Scratch::new(Unsent::new(), Unsent::new());
        relay.session.handle_kill(CloseCode::GOING_AWAY, "", began);
        assert_eq!(relay.turn(&mut scratch, false, began), Turn::Waits);
        client.send(b"\x88\x80\0\0\0\0");
        backend.send(b"\x88\0");
        assert_eq!(relay.turn(&mut scratch, true, began + CLOSE_TIMEOUT), Turn::Over);
        assert!(relay.session.termination().unwrap().clean, "{kinds:?}");
    }
}

/// Sends a side's Close and lets the relay know of it.
fn says_close(relay: &mut Relay, side: Side, peer: &mut Peer) {
    peer.send(if side == Side::Client { b"\x88\x80\0\0\0\0" } else { b"\x88\0" });
    tell(relay, side);
}

#[test]
fn the_last_close_waits_for_the_fin_and_goes_with_it() {
    let _epolls = sockets::open(false).unwrap();
    // The Close does not wait for long. If this thread was held up, the Close is gone, and the next attempt may see it wait.
    let has_waited = (0..10).any(|_| {
        let began = Instant::now();
        let (mut relay, [mut client, mut backend]) = relay([Kind::Socket; 2], Some(IDLE), began);
        let mut scratch = Scratch::new(Unsent::new(), Unsent::new());
        says_close(&mut relay, Side::Client, &mut client);
        assert_eq!(relay.turn(&mut scratch, false, began), Turn::Waits);
        says_close(&mut relay, Side::Backend, &mut backend);
        let Peer::Socket { view, mut peer } = client else { unreachable!() };
        peer.set_nonblocking(true).unwrap();
        assert_eq!(relay.turn(&mut scratch, false, began), Turn::Over);
        // The relay has closed its end. `view` holds that end open.
        let has_waited = peer.read(&mut [0; 0x10]).is_err();
        drop(view);
        peer.set_nonblocking(false).unwrap();
        let mut read = Vec::new();
        peer.read_to_end(&mut read).unwrap();
        assert!(!has_waited || read == b"\x88\0", "{read:?}");
        has_waited
    });
    assert!(has_waited);
}

#[test]
fn a_side_is_not_closed_over_what_is_unread() {
    for kinds in KINDS {
        let _epolls = sockets::open(false).unwrap();
        let began = Instant::now();
        let (mut relay, [mut client, mut backend]) = relay(kinds, Some(IDLE), began);
        let mut scratch = Scratch::new(Unsent::new(), Unsent::new());
        says_close(&mut relay, Side::Client, &mut client);
        assert_eq!(relay.turn(&mut scratch, false, began), Turn::Waits);
        client.send(b"behind the Close");
        says_close(&mut relay, Side::Backend, &mut backend);
        assert_eq!(relay.turn(&mut scratch, false, began), Turn::Waits);
        assert_eq!(client.receive_all(), b"\x88\0", "{kinds:?}");
        client.finish();
        backend.finish();
        while relay.turn(&mut scratch, false, began) != Turn::Over {
            tell(&mut relay, Side::Client);
            tell(&mut relay, Side::Backend);
        }
        assert!(relay.session.termination().unwrap().clean, "{kinds:?}");
    }
}

#[test]
fn a_client_lives_as_long_as_its_stream_passes_bytes_on_to_it() {
    for (backend, takes) in [(Kind::Socket, true), (Kind::Memory, true), (Kind::Socket, false)] {
        let _epolls = sockets::open(false).unwrap();
        let began = Instant::now();
        let (mut relay, [mut client, mut backend]) = relay([Kind::Memory, backend], None, began);
        let mut scratch = Scratch::new(Unsent::new(), Unsent::new());
        // All of it has left the relay's memory, and waits in the stream.
        backend.send(&[&[0x82, 126, 2, 0][..], &[7; 512]].concat());
        for second in 0..200 {
            if second % 5 == 4 && takes {
                client.receive(1);
            }
            tell(&mut relay, Side::Backend);
            assert_eq!(relay.turn(&mut scratch, true, began + Duration::from_secs(second)), Turn::Waits);
            if relay.session.is_ending() {
                break;
            }
        }
        let cause = relay.session.termination().map(|end| end.cause);
        assert_eq!(cause, (!takes).then_some(Cause::ClientDead));
    }
}

/// Tells the relay of the events that are there.
fn take_events(epoll: &mut mio::Poll, relay: &Relay) {
    let mut events = mio::Events::with_capacity(8);
    epoll.poll(&mut events, Some(Duration::ZERO)).unwrap();
    let note = |_, side, ready| {
        if let Some(socket) = relay.stream(side).socket() {
            socket.note(ready);
        }
    };
    sockets::dispatch(&events, None, note).unwrap();
}

#[test]
fn a_side_at_a_unix_socket_lives_as_long_as_it_reads() {
    for takes in [true, false] {
        let mut epolls = sockets::open(false).unwrap();
        let began = Instant::now();
        let (mut relay, [mut client, backend]) = relay([Kind::Unix, Kind::Socket], None, began);
        let mut scratch = Scratch::new(Unsent::new(), Unsent::new());
        let Peer::Socket { mut peer, view } = backend else { unreachable!() };
        // More than the queues hold. What is left of it fails with the relay.
        let writing = thread::spawn(move || {
            let _ = peer.write_all(&[&[0x82, 127, 0, 0, 0, 0, 0, 64, 0, 0][..], &[7; 4 << 20]].concat());
        });
        while relay.buffered() == 0 {
            tell(&mut relay, Side::Backend);
            relay.turn(&mut scratch, false, began);
        }
        for second in 0..200 {
            // Some reads end within what one write put into the queue, which does not make the queue shorter.
            if second % 5 == 4 && takes {
                client.receive_some(20_000);
            }
            take_events(&mut epolls.all, &relay);
            let now = began + Duration::from_secs(second);
            assert_eq!(relay.turn(&mut scratch, true, now), Turn::Waits);
            if relay.session.is_ending() {
                break;
            }
            // The thread that writes may be slower than these seconds.
            while relay.buffered() == 0 {
                tell(&mut relay, Side::Backend);
                relay.turn(&mut scratch, false, now);
            }
        }
        let cause = relay.session.termination().map(|end| end.cause);
        assert_eq!(cause, (!takes).then_some(Cause::ClientDead));
        drop((relay, client, view));
        writing.join().unwrap();
    }
}

#[test]
fn an_end_waits_for_a_side_at_a_unix_socket_as_long_as_it_reads() {
    let frame = [&[0x82, 126, 0x27, 0x10][..], &[7; 10_000]].concat();
    // More than the queue holds, then enough to fill it again.
    let all = [frame.repeat(40), frame.repeat(25), b"\x88\0".to_vec()].concat();
    for takes in [true, false] {
        let mut epolls = sockets::open(false).unwrap();
        let began = Instant::now();
        let (mut relay, [mut client, backend]) = relay([Kind::Unix, Kind::Socket], Some(IDLE), began);
        let mut scratch = Scratch::new(Unsent::new(), Unsent::new());
        let Peer::Socket { mut peer, view } = backend else { unreachable!() };
        let bytes = all.clone();
        let writing = thread::spawn(move || {
            peer.write_all(&bytes).unwrap();
            peer
        });
        let mut read = 0;
        let mut was_refused = false;
        while !relay.session.is_ending() {
            tell(&mut relay, Side::Backend);
            take_events(&mut epolls.all, &relay);
            relay.turn(&mut scratch, false, began);
            was_refused |= relay.buffered() > 0;
            // Once some bytes were refused, the queue gets small pieces. The large ones from before are read at once.
            if was_refused && (read < 400_000 || relay.buffered() > 0) {
                read += client.receive_at_most(20_000);
            }
        }
        assert!(all.len() - read > 60_000, "{read} of {} bytes", all.len());
        let mut halves = 0;
        let mut is_over = false;
        while !is_over {
            halves += 1;
            // A little more than a small piece. What the kernel has taken for the side comes even if the relay is over.
            if takes {
                read += client.receive_at_most(17_000);
            }
            if read == all.len() {
                break;
            }
            take_events(&mut epolls.all, &relay);
            is_over = relay.turn(&mut scratch, true, began + CLOSE_TIMEOUT / 2 * halves) == Turn::Over;
        }
        assert_eq!((is_over, read == all.len()), (!takes, takes), "{read} bytes, {halves} halves");
        assert!(if takes { halves > 3 } else { halves == 2 }, "{halves} halves");
        drop((relay, client, view));
        writing.join().unwrap();
    }
}

#[test]
fn a_side_that_reads_all_it_gets_and_answers_no_ping_is_dead() {
    for kind in [Kind::Socket, Kind::Unix] {
        let _epolls = sockets::open(false).unwrap();
        let began = Instant::now();
        let (mut relay, [mut client, mut backend]) = relay([kind, Kind::Socket], None, began);
        let mut scratch = Scratch::new(Unsent::new(), Unsent::new());
        for second in 0..100 {
            // A message is in the queue at every other look.
            if second % 2 == 0 {
                backend.send(b"\x81\x02hi");
                tell(&mut relay, Side::Backend);
            }
            if relay.turn(&mut scratch, true, began + Duration::from_secs(second)) == Turn::Over {
                break;
            }
            if second % 2 == 1 {
                client.drain();
            }
        }
        assert_eq!(relay.session.termination().map(|end| end.cause), Some(Cause::ClientDead), "{kind:?}");
    }
}

fn holding() -> Option<HoldTerms> {
    Some(HoldTerms {
        longest: IDLE,
        queue: 4096,
        on: HoldTriggers { lost: true, codes: Box::default() },
        times: None,
        notify: None,
        drain_code: CloseCode::SERVICE_RESTART,
    })
}

#[test]
fn bytes_that_a_backend_refuses_for_good_are_counted_as_perhaps_lost() {
    let _epolls = sockets::open(false).unwrap();
    let began = Instant::now();
    let (mut relay, [mut client, backend]) = relay_on([Kind::Socket, Kind::Memory], None, holding(), began);
    let mut scratch = Scratch::new(Unsent::new(), Unsent::new());
    // The far end is gone, and nothing has said so yet.
    drop(backend);
    client.send(b"\x81\x85\0\0\0\0hello");
    tell(&mut relay, Side::Client);
    let _ = relay.turn(&mut scratch, false, began);
    tell(&mut relay, Side::Backend);
    assert_eq!(relay.turn(&mut scratch, false, began), Turn::AwaitsBackend);
    assert_eq!(relay.session.awaits_backend(), Some(HoldCause::Lost));
    assert!(relay.let_go(began).is_none(), "nobody is there to be told");
    assert_eq!(relay.session.hold_tally().maybe_lost, 11);
}

#[test]
fn what_is_queued_stays_counted_while_other_bytes_for_the_old_backend_go_out() {
    let _epolls = sockets::open(false).unwrap();
    let began = Instant::now();
    let (mut relay, [mut client, backend]) = relay_on([Kind::Socket, Kind::Memory], None, holding(), began);
    let (unsent, queued) = (Unsent::new(), Unsent::new());
    let mut scratch = Scratch::new(Arc::clone(&unsent), Arc::clone(&queued));
    drop(backend);
    tell(&mut relay, Side::Backend);
    assert_eq!(relay.turn(&mut scratch, false, began), Turn::AwaitsBackend);
    relay.let_go(began);
    client.send(b"\x81\x85\0\0\0\0hello");
    tell(&mut relay, Side::Client);
    assert_eq!(relay.turn(&mut scratch, false, began), Turn::Waits);
    assert_eq!((unsent.bytes(), queued.bytes()), (11, 11));
    // Nothing of it is new, however little is left.
    unsent.set_limit(Some(1));
    relay.backend.give_up();
    let _ = relay.backend.poll_flush();
    assert_eq!(relay.turn(&mut scratch, false, began), Turn::Waits);
    assert!(!relay.session.is_ending());
    let (successor, mut peer) = Peer::connect(Kind::Memory);
    assert!(relay.session.take_backend(began));
    relay.begin_backend(Leg::new(successor, Bytes::new()), began);
    assert_eq!(peer.receive(11), b"\x81\x85\0\0\0\0hello");
    assert_eq!((unsent.bytes(), queued.bytes()), (0, 0));
}
