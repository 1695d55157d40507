//! A relay between two sockets that gets no events of them. This is what happens when a worker was held up and looks at
//! alarms before it has taken all events.

#![allow(clippy::unwrap_used)]

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

use super::*;
use crate::{
    net::stream::sockets,
    ws::{
        close::CloseCode,
        keepalive::{PongTimeout, Secret, Settings},
        meter::MessageLimits,
        round_trips::RoundTripTimes,
        session::{Common, SessionSettings},
    },
};

const PING_INTERVAL: Duration = Duration::from_secs(20);
const PONG_TIMEOUT: Duration = Duration::from_secs(30);
const IDLE: Duration = Duration::from_secs(60);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection: the relay's end, a second handle of that end to look into it, and the other end.
fn connection(side: Side) -> (Socket, TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let ours = listener.accept().unwrap().0;
    ours.set_nonblocking(true).unwrap();
    let view = ours.try_clone().unwrap();
    let socket = Socket::new(mio::net::TcpStream::from_std(ours)).unwrap();
    socket.give_to(0, side);
    (socket, view, peer)
}

/// A relay that began at `began`, and for the client and the backend: a handle to look into the relay's end, and the other end.
fn relay(idle: Option<Duration>, began: Instant) -> (Relay, [(TcpStream, TcpStream); 2]) {
    let (client, client_view, client_peer) = connection(Side::Client);
    let (backend, backend_view, backend_peer) = connection(Side::Backend);
    let pong_timeout = PongTimeout::of_both(Some(PONG_TIMEOUT));
    let ping_interval = idle.is_none().then_some(PING_INTERVAL);
    let settings = SessionSettings {
        keepalive: Settings { ping_interval, pong_timeout, client: true, backend: false },
        idle,
        max_lifetime: None,
        close_timeout: CLOSE_TIMEOUT,
        limits: MessageLimits::NONE,
        extensions: false,
    };
    let common = Common { settings, secret: Secret([0; 16]), epoch: began, round_trips: RoundTripTimes::default() };
    let [client, backend] = [client, backend].map(|socket| Leg::new(Stream::Plain(socket), Bytes::new()));
    let relay = Relay::new(client, backend, Session::new(Arc::new(common), 0, began));
    (relay, [(client_view, client_peer), (backend_view, backend_peer)])
}

/// Waits until what the other end has sent can be read.
fn await_input(view: &TcpStream) {
    while view.peek(&mut [0]).is_err() {
        thread::yield_now();
    }
}

/// Whether a session goes on when its client was silent for too long. `says` sends what the client says before that moment.
fn goes_on(idle: Option<Duration>, says: impl FnOnce(&mut TcpStream), has_said: bool) -> bool {
    let _epolls = sockets::open(false).unwrap();
    let began = Instant::now();
    let (mut relay, [(view, mut peer), _backend]) = relay(idle, began);
    let mut scratch = Scratch::new(Unsent::new());
    let pinged = began + PING_INTERVAL;
    assert_eq!(relay.turn(&mut scratch, true, pinged), Turn::Waits);
    says(&mut peer);
    if has_said {
        await_input(&view);
    }
    let up = if idle.is_some() { began + IDLE } else { pinged + PONG_TIMEOUT };
    assert_eq!(relay.turn(&mut scratch, true, up), Turn::Waits);
    !relay.session.is_ending()
}

#[test]
fn a_side_whose_answer_waits_to_be_read_is_not_dead() {
    let pong = |peer: &mut TcpStream| {
        let mut ping = [0; 14];
        peer.read_exact(&mut ping).unwrap();
        let pong = [&[0x8a, 0x80 | ping[1], 0, 0, 0, 0], &ping[2..]].concat();
        peer.write_all(&pong).unwrap();
    };
    assert!(goes_on(None, pong, true));
    assert!(!goes_on(None, |_| {}, false), "nothing has come");
}

#[test]
fn a_session_whose_message_waits_to_be_read_is_not_idle() {
    let message = |peer: &mut TcpStream| peer.write_all(b"\x81\x82\0\0\0\0hi").unwrap();
    assert!(goes_on(Some(IDLE), message, true));
    assert!(!goes_on(Some(IDLE), |_| {}, false), "nothing has come");
}

#[test]
fn an_end_whose_closes_wait_to_be_read_is_clean() {
    let _epolls = sockets::open(false).unwrap();
    let began = Instant::now();
    let (mut relay, [(client_view, mut client), (backend_view, mut backend)]) = relay(Some(IDLE), began);
    let mut scratch = Scratch::new(Unsent::new());
    relay.session.handle_kill(CloseCode::GOING_AWAY, "", began);
    assert_eq!(relay.turn(&mut scratch, false, began), Turn::Waits);
    client.write_all(b"\x88\x80\0\0\0\0").unwrap();
    backend.write_all(b"\x88\0").unwrap();
    [client_view, backend_view].iter().for_each(await_input);
    assert_eq!(relay.turn(&mut scratch, true, began + CLOSE_TIMEOUT), Turn::Over);
    assert!(relay.session.termination().unwrap().clean);
}

/// Sends a side's Close and lets the relay know of it.
fn says_close(relay: &Relay, side: Side, (view, peer): (&TcpStream, &mut TcpStream)) {
    let close: &[u8] = if side == Side::Client { b"\x88\x80\0\0\0\0" } else { b"\x88\0" };
    peer.write_all(close).unwrap();
    await_input(view);
    relay.stream(side).socket().unwrap().doubt_dryness();
}

#[test]
fn the_last_close_waits_for_the_fin_and_goes_with_it() {
    let _epolls = sockets::open(false).unwrap();
    // The Close does not wait for long. If this thread was held up, the Close is gone, and the next attempt may see it wait.
    let has_waited = (0..10).any(|_| {
        let began = Instant::now();
        let (mut relay, [(client_view, mut client), (backend_view, mut backend)]) = relay(Some(IDLE), began);
        let mut scratch = Scratch::new(Unsent::new());
        says_close(&relay, Side::Client, (&client_view, &mut client));
        assert_eq!(relay.turn(&mut scratch, false, began), Turn::Waits);
        says_close(&relay, Side::Backend, (&backend_view, &mut backend));
        client.set_nonblocking(true).unwrap();
        assert_eq!(relay.turn(&mut scratch, false, began), Turn::Over);
        // The relay has closed its end. `client_view` holds that end open.
        let has_waited = client.read(&mut [0; 0x10]).is_err();
        drop(client_view);
        client.set_nonblocking(false).unwrap();
        let mut read = Vec::new();
        client.read_to_end(&mut read).unwrap();
        assert!(!has_waited || read == b"\x88\0", "{read:?}");
        has_waited
    });
    assert!(has_waited);
}

#[test]
fn a_side_is_not_closed_over_what_is_unread() {
    let _epolls = sockets::open(false).unwrap();
    let began = Instant::now();
    let (mut relay, [(client_view, mut client), (backend_view, mut backend)]) = relay(Some(IDLE), began);
    let mut scratch = Scratch::new(Unsent::new());
    says_close(&relay, Side::Client, (&client_view, &mut client));
    assert_eq!(relay.turn(&mut scratch, false, began), Turn::Waits);
    client.write_all(b"behind the Close").unwrap();
    await_input(&client_view);
    says_close(&relay, Side::Backend, (&backend_view, &mut backend));
    drop((client_view, backend_view));
    assert_eq!(relay.turn(&mut scratch, false, began), Turn::Waits);
    let mut read = Vec::new();
    client.read_to_end(&mut read).unwrap();
    assert_eq!(read, b"\x88\0");
    relay.stream(Side::Client).socket().unwrap().doubt_dryness();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    while relay.turn(&mut scratch, false, began) != Turn::Over {
        relay.stream(Side::Client).socket().unwrap().doubt_dryness();
    }
    assert!(relay.session.termination().unwrap().clean);
}
