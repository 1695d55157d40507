//! A Valkey of the test: it counts, and hangs or goes away when the test says so.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Instant,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};

use crate::harness::{
    PATIENCE,
    valkey::{Store, read_command},
};

/// The password that the proxies sign in with.
pub const PASSWORD: &str = "hush-hush";

/// A server on a port of loopback. Its clones are the same server.
#[derive(Clone)]
pub struct Valkey {
    port: u16,
    state: Arc<Mutex<State>>,
    /// Told after each change.
    news: watch::Sender<u64>,
}

struct State {
    store: Store,
    began: Instant,
    /// It answers nothing and takes no connection.
    is_away: bool,
    /// The verb of the script that it does not answer.
    held: Option<&'static str>,
    /// Every command so far.
    heard: Vec<Vec<String>>,
}

impl Valkey {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let state =
            State { store: Store::default(), began: Instant::now(), is_away: false, held: None, heard: Vec::new() };
        let valkey = Self { port, state: Arc::new(Mutex::new(state)), news: watch::Sender::new(0) };
        let serving = valkey.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        valkey
    }

    pub fn url(&self) -> String {
        format!("redis://longwire:{PASSWORD}@127.0.0.1:{}/3", self.port)
    }

    /// Closes every connection, and each new one at once.
    pub fn go_away(&self) {
        self.change(|state| state.is_away = true);
    }

    pub fn come_back(&self) {
        self.change(|state| state.is_away = false);
    }

    /// From now on it neither does nor answers what has this verb, nor what comes behind that on the connection.
    pub fn hold(&self, verb: &'static str) {
        self.change(|state| state.held = Some(verb));
    }

    pub fn release(&self) {
        self.change(|state| state.held = None);
    }

    /// Waits until this is so.
    pub async fn until(&self, what: &str, is_so: impl Fn(&Sums<'_>) -> bool) {
        let mut news = self.news.subscribe();
        let wait = async {
            while !is_so(&Sums(&self.lock())) {
                news.changed().await.expect("it lives as long as the test");
            }
        };
        if timeout(PATIENCE, wait).await.is_err() {
            let state = self.lock();
            panic!("waited {PATIENCE:?} for {what}, with {:?} and behind {:?}", state.store, state.heard.last());
        }
    }

    /// How often the script was called with this verb.
    pub fn calls(&self, verb: &str) -> usize {
        self.lock().heard.iter().filter(|command| verb_of(command) == verb).count()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.news.send_modify(|number| *number += 1);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics here")
    }

    async fn serve(self, mut stream: TcpStream) {
        let (mut bytes, mut news) = (Vec::new(), self.news.subscribe());
        loop {
            news.mark_unchanged();
            let (answers, has_heard) = {
                let mut state = self.lock();
                if state.is_away {
                    return;
                }
                let heard = state.heard.len();
                (state.answers(&mut bytes), state.heard.len() > heard)
            };
            if has_heard {
                self.news.send_modify(|number| *number += 1);
                if stream.write_all(&answers).await.is_err() {
                    return;
                }
                continue;
            }
            let mut more = [0; 4096];
            tokio::select! {
                read = stream.read(&mut more) => match read {
                    Ok(count) if count > 0 => bytes.extend_from_slice(&more[..count]),
                    _ => return,
                },
                _ = news.changed() => {}
            }
        }
    }
}

impl State {
    /// Answers what has come whole and is not held.
    fn answers(&mut self, bytes: &mut Vec<u8>) -> Vec<u8> {
        let mut answers = Vec::new();
        while !bytes.is_empty()
            && let Some((command, length)) = read_command(bytes)
        {
            if self.held.is_some_and(|held| held == verb_of(&command)) {
                if self.heard.last() != Some(&command) {
                    self.heard.push(command);
                }
                return answers;
            }
            let now = self.now();
            answers.extend(self.store.answer(&command, now));
            bytes.drain(..length);
            self.heard.push(command);
        }
        answers
    }

    fn now(&self) -> u64 {
        // Zero would be before everything.
        1 + u64::try_from(self.began.elapsed().as_millis()).expect("a short test")
    }
}

fn verb_of(command: &[String]) -> &str {
    match command.first().map(String::as_str) {
        Some("EVAL" | "EVALSHA") => command.get(7).map_or("", String::as_str),
        _ => "",
    }
}

/// What the server has counted.
pub struct Sums<'a>(&'a State);

impl Sums<'_> {
    /// The sum of a field over the living.
    pub fn of(&self, field: &str) -> i64 {
        let (store, now) = (&self.0.store, self.0.now());
        store
            .living(now)
            .iter()
            .map(|member| store.counts_of(member, now).get(field).copied().unwrap_or_default())
            .sum()
    }

    pub fn living(&self) -> usize {
        self.0.store.living(self.0.now()).len()
    }

    /// All that is there: the counts, and the names of those who live or have lived.
    pub fn left(&self) -> Vec<&str> {
        self.0.store.left(self.0.now())
    }

    /// Whether the script was called with this verb, and the server has not answered.
    pub fn holds(&self, verb: &str) -> bool {
        self.0.held == Some(verb) && self.0.heard.last().is_some_and(|command| verb_of(command) == verb)
    }
}
