//! A relay that does with connections what middleboxes do.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    task::AbortHandle,
    time::{Instant, sleep_until},
};

/// The way to one end.
type Writer<'a> = tokio::sync::Mutex<WriteHalf<'a>>;

/// What a middlebox does.
#[derive(Debug, Clone, Copy)]
pub struct Middlebox {
    /// The longest silence.
    pub silence: Option<Duration>,
    /// The longest life.
    pub life: Option<Duration>,
    pub dies: Dies,
    pub counts: Counts,
    /// Whether Pings of clients go no further.
    pub eats_pings: bool,
    /// Whether Pings of clients are answered here and go no further.
    pub answers_pings: bool,
    /// The longest frame of a client that passes; at a longer one the connection ends.
    pub longest_message: Option<usize>,
    /// Whether the Close of a backend gets another code.
    pub changes_code: bool,
    /// Whether it sends a message to each client by itself, once.
    pub greets: bool,
    /// Whether a connection ends when the next one begins.
    pub has_one: bool,
}

/// How a middlebox ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dies {
    Fin,
    Reset,
    /// By a Close with this code.
    Close(u16),
    /// Nothing passes any more.
    Silent,
    /// The next bytes of the client are answered by a reset.
    Forgotten,
}

/// What ends a silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counts {
    Bytes,
    BytesFromBackend,
    /// Frames of messages.
    Messages,
}

impl Middlebox {
    /// One without a limit of time. It passes no long messages, which would keep all middleboxes of a test busy.
    pub const fn open() -> Self {
        Self {
            silence: None,
            life: None,
            dies: Dies::Fin,
            counts: Counts::Bytes,
            eats_pings: false,
            answers_pings: false,
            longest_message: Some(32 * 1024),
            changes_code: false,
            greets: false,
            has_one: false,
        }
    }

    pub const fn idle(silence: Duration, dies: Dies) -> Self {
        Self { silence: Some(silence), dies, ..Self::open() }
    }

    pub const fn aged(life: Duration, dies: Dies) -> Self {
        Self { life: Some(life), dies, ..Self::open() }
    }

    /// Stands before this backend as long as the test lasts. Returns where.
    pub async fn before(self, backend: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut last: Option<AbortHandle> = None;
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let served = tokio::spawn(async move {
                    let backend = TcpStream::connect(backend).await.unwrap();
                    self.serve(client, backend).await;
                });
                if let Some(last) = last.replace(served.abort_handle()).filter(|_| self.has_one) {
                    last.abort();
                }
            }
        });
        address
    }

    async fn serve(self, mut client: TcpStream, mut backend: TcpStream) {
        for socket in [&client, &backend] {
            socket.set_nodelay(true).unwrap();
        }
        let (opened, active) = (Instant::now(), Arc::new(Mutex::new(Instant::now())));
        let is_over = {
            let ((client_in, client_out), (backend_in, backend_out)) = (client.split(), backend.split());
            let (client_out, backend_out) = (Writer::new(client_out), Writer::new(backend_out));
            let relay = async {
                tokio::join!(
                    self.pass(client_in, &backend_out, Some(&client_out), &active),
                    self.pass(backend_in, &client_out, None, &active)
                )
            };
            tokio::select! {
                _ = relay => true,
                () = self.limit(opened, &active) => false,
            }
        };
        if !is_over {
            self.end(client, backend).await;
        }
    }

    /// Ready when the connection has to end.
    async fn limit(&self, opened: Instant, active: &Mutex<Instant>) {
        loop {
            let silence = self.silence.map(|silence| *active.lock().unwrap() + silence);
            let Some(end) = silence.into_iter().chain(self.life.map(|life| opened + life)).min() else {
                return std::future::pending().await;
            };
            if end <= Instant::now() {
                return;
            }
            sleep_until(end).await;
        }
    }

    /// Passes what comes from one end to the other. `back`: to the client, if it comes from there.
    async fn pass(&self, mut from: ReadHalf<'_>, to: &Writer<'_>, back: Option<&Writer<'_>>, active: &Mutex<Instant>) {
        let (mut buffer, mut is_first, of_client) = (vec![0; 64 * 1024], true, back.is_some());
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let mut bytes = buffer[..count].to_vec();
            let is_control = !is_first && bytes[0] & 0x08 != 0;
            let counts = match self.counts {
                Counts::Bytes => true,
                Counts::BytesFromBackend => !of_client,
                Counts::Messages => !is_control,
            };
            if let Some(client) = back.filter(|_| (self.eats_pings || self.answers_pings) && !is_first) {
                let (others, pongs) = without_pings(&bytes);
                bytes = others;
                if self.answers_pings && client.lock().await.write_all(&pongs).await.is_err() {
                    return;
                }
            }
            if self.changes_code && !of_client && bytes[0] == 0x88 {
                bytes[2..4].copy_from_slice(&1011_u16.to_be_bytes());
            }
            if of_client && !is_first && self.longest_message.is_some_and(|longest| announced(&bytes) > longest) {
                break;
            }
            if self.greets && is_first && !of_client {
                bytes.extend(*b"\x81\x07welcome");
            }
            is_first = false;
            if to.lock().await.write_all(&bytes).await.is_err() {
                return;
            }
            // Not before: the client counts from when it got them, and no limit may seem shorter than it is.
            if counts {
                *active.lock().unwrap() = Instant::now();
            }
        }
        let _ = to.lock().await.shutdown().await;
    }

    async fn end(&self, mut client: TcpStream, backend: TcpStream) {
        match self.dies {
            Dies::Fin => {}
            Dies::Close(code) => {
                let _ = client.write_all(&[&[0x88, 2][..], &code.to_be_bytes()].concat()).await;
            }
            Dies::Reset => return reset(client),
            Dies::Silent => return std::future::pending().await,
            Dies::Forgotten => {
                let _ = client.readable().await;
                return reset(client);
            }
        }
        drop(backend);
        let _ = client.shutdown().await;
        // Closing over unread bytes would be a reset.
        while let Ok(1..) = client.read(&mut [0; 1024]).await {}
    }
}

fn reset(client: TcpStream) {
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
}

/// Short masked frames without those that are Pings, and the Pongs to these.
fn without_pings(mut frames: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut others, mut pongs) = (Vec::new(), Vec::new());
    while let [first, second, ..] = frames {
        let length = second & 0x7F;
        let (frame, rest) = frames.split_at((6 + usize::from(length)).min(frames.len()));
        if first & 0x0F == 0x09 {
            let (mask, payload) = frame[2..].split_at(4);
            pongs.extend([0x8A, length]);
            pongs.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        } else {
            others.extend_from_slice(frame);
        }
        frames = rest;
    }
    (others, pongs)
}

/// The length that a long frame announces; 0 = these bytes begin no long frame.
fn announced(bytes: &[u8]) -> usize {
    match bytes {
        [0x81 | 0x82, 0xFF, length @ ..] => {
            length.first_chunk::<8>().map_or(0, |length| usize::try_from(u64::from_be_bytes(*length)).unwrap())
        }
        _ => 0,
    }
}
