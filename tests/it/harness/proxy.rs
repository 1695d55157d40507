//! The proxy under test. It runs in the process of the test, and its access log is a channel.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use longwire::{
    access_log::AccessLog,
    config::{self, Config, ListenAddress, LogFormat},
    net::{
        front::inherited::Inherited,
        operate::control::{Control, Reloaded},
        server::{Drained, Server},
    },
};
use serde_json::Value;
use tokio::sync::mpsc;

use super::{Backend, Wire, within};

/// A running proxy.
pub struct Proxy {
    /// `None` = the proxy is drained.
    server: Option<Server>,
    addresses: Vec<ListenAddress>,
    lines: mpsc::UnboundedReceiver<String>,
    /// Every record so far.
    records: Vec<Value>,
    backends: Vec<Backend>,
}

/// A proxy that is not started yet: one listener, one upstream `chat`, one route to it.
#[derive(Clone)]
pub struct Setup {
    backends: Vec<Backend>,
    /// Entries of `upstreams.chat.backends`.
    entries: Vec<String>,
    /// `key: value` pairs of `upstreams.chat`.
    upstream: String,
    /// `key: value` pairs of `timeouts`.
    timeouts: Vec<(String, String)>,
    listener: String,
    routes: String,
    /// Whole lines of the top level.
    settings: String,
    base: PathBuf,
    workers: usize,
}

impl Proxy {
    /// A proxy in front of these backends. It takes them by turns. Its drain is short, so that no test waits for it; its
    /// close is longer than a test may be held up.
    pub fn before(backends: &[&Backend]) -> Setup {
        Setup {
            backends: backends.iter().copied().cloned().collect(),
            entries: backends.iter().map(|backend| format!("{{ address: \"{backend}\" }}")).collect(),
            upstream: "balance: round_robin".into(),
            timeouts: vec![("close".into(), "5s".into()), ("drain".into(), "1s".into())],
            listener: "bind: \"127.0.0.1:0\"".into(),
            routes: "routes: [ { upstream: chat } ]".into(),
            settings: String::new(),
            base: PathBuf::from("."),
            workers: 2,
        }
    }

    /// A proxy in front of these backends, with nothing else set.
    pub fn start(backends: &[&Backend]) -> Self {
        Self::before(backends).start()
    }

    /// A proxy with this configuration.
    pub fn of(config: Config) -> Self {
        Self::before(&[]).run(config, &mut Inherited::default())
    }

    /// The address of its first listener, which must be on TCP.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0].tcp().expect("a listener on TCP")
    }

    /// A connection to the proxy, at its first listener.
    pub async fn client(&self) -> Wire {
        Wire::connect_at(&self.addresses[0]).await
    }

    /// A session: a new client whose handshake was accepted.
    pub async fn session(&self) -> Wire {
        let mut client = self.client().await;
        client.upgrade("/ws").await;
        client
    }

    /// A session with both of its ends in the hands of the test. `backend` must be one that is played by hand.
    pub async fn session_by_hand(&self, backend: &Backend) -> (Wire, Wire) {
        let mut client = self.client().await;
        client.send(super::handshake("/ws", "")).await;
        let at_backend = backend.accepted().await;
        client.upgraded().await;
        (client, at_backend)
    }

    /// The next line of the access log.
    pub async fn next_record(&mut self) -> Value {
        let line = within("a record", self.lines.recv()).await.expect("the access log is open");
        self.note(&line)
    }

    /// The value of a series in the metrics of its admin interface.
    pub async fn metric(&self, series: &str) -> String {
        let admin = self.control().admin_address().expect("an admin interface").to_string();
        let mut wire = Wire::connect(admin.parse().expect("it is on TCP")).await;
        wire.send(format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\n\r\n")).await;
        let metrics = wire.response().await;
        let line = metrics.text().lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{series} in {}", metrics.text())).to_owned()
    }

    /// The handle for changes of the running proxy.
    pub fn control(&self) -> &Control {
        self.server.as_ref().expect("it runs").control()
    }

    /// The same handle, to be kept while the proxy drains.
    pub fn control_handle(&self) -> Arc<Control> {
        Arc::clone(self.server.as_ref().expect("it runs").control())
    }

    /// Reloads the proxy with another file.
    pub fn reload(&mut self, setup: &Setup) -> Reloaded {
        let reloaded = self.control().reload(setup.config()).expect("the proxy reloads");
        self.addresses = self.control().addresses();
        reloaded
    }

    /// Drains the proxy. Can be called only once.
    pub async fn drain(&mut self) -> Drained {
        let server = self.server.take().expect("drained once");
        within("the drain to end", server.drain()).await
    }

    /// Ends the proxy, and returns every record that it ever wrote. Raises again what went wrong at the backends.
    pub async fn stop(mut self) -> Vec<Value> {
        if self.server.is_some() {
            self.drain().await;
        }
        while let Some(line) = within("the end of the access log", self.lines.recv()).await {
            self.note(&line);
        }
        for backend in &self.backends {
            backend.finish().await;
        }
        self.records
    }

    /// Parses a line. No exchange may be recorded twice.
    fn note(&mut self, line: &str) -> Value {
        let record: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}"));
        let id = &record["request_id"];
        assert!(id.is_string(), "a request id in {record}");
        assert!(self.records.iter().all(|earlier| earlier["request_id"] != *id), "recorded twice: {record}");
        self.records.push(record.clone());
        record
    }
}

impl Setup {
    /// Sets the `key: value` pairs of the upstream, instead of `balance: round_robin`.
    pub fn upstream(mut self, settings: &str) -> Self {
        self.upstream = settings.into();
        self
    }

    /// Adds `key: value` pairs to the backend at this place.
    pub fn backend(mut self, index: usize, settings: &str) -> Self {
        self.entries[index] = format!("{{ address: \"{}\", {settings} }}", self.backends[index]);
        self
    }

    /// Sets another address for the backend at this place.
    pub fn backend_at(mut self, index: usize, address: &str) -> Self {
        self.entries[index] = format!("{{ address: \"{address}\" }}");
        self
    }

    /// Adds an entry with these pairs to the backends.
    pub fn entry(mut self, entry: &str) -> Self {
        self.entries.push(format!("{{ {entry} }}"));
        self
    }

    /// Sets one of `timeouts`.
    pub fn timeout(mut self, key: &str, value: &str) -> Self {
        self.timeouts.retain(|(earlier, _)| earlier != key);
        self.timeouts.push((key.into(), value.into()));
        self
    }

    /// Sets the TLS of the listener, as in the file. Its paths are relative to `base`.
    pub fn tls(mut self, tls: &str, base: impl Into<PathBuf>) -> Self {
        self.listener = format!("bind: \"127.0.0.1:0\", tls: {tls}");
        self.base = base.into();
        self
    }

    /// Sets the folder that paths of the file are relative to.
    pub fn base(mut self, base: impl Into<PathBuf>) -> Self {
        self.base = base.into();
        self
    }

    /// Sets the number of threads, instead of two.
    pub const fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Sets the pairs of the listener, instead of a free port of this machine.
    pub fn listener(mut self, listener: &str) -> Self {
        self.listener = listener.into();
        self
    }

    /// Sets the whole `routes:` entry, instead of one route for everything.
    pub fn routes(mut self, routes: &str) -> Self {
        self.routes = routes.into();
        self
    }

    /// Adds an entry at the top level.
    pub fn with(mut self, setting: &str) -> Self {
        self.settings.push_str(setting);
        self.settings.push('\n');
        self
    }

    /// Reads the file, and starts the proxy.
    pub fn start(self) -> Proxy {
        self.start_with(&mut Inherited::default())
    }

    /// Reads the file, and starts the proxy on sockets of another process.
    pub fn start_with(self, inherited: &mut Inherited) -> Proxy {
        let config = self.config();
        self.run(config, inherited)
    }

    /// Writes the file to a path, reads it from there, and starts the proxy.
    pub fn start_from(self, file: &Path) -> Proxy {
        fs_err::write(file, self.text()).unwrap();
        let config = config::load(file).unwrap_or_else(|error| panic!("{error}")).config;
        self.run(config, &mut Inherited::default())
    }

    fn run(self, config: Config, inherited: &mut Inherited) -> Proxy {
        let (writer, lines) = mpsc::unbounded_channel();
        let access_log = AccessLog::new(LogFormat::Json, LineSender { writer, line: Vec::new() }).unwrap();
        let server = Server::start_with(config, access_log, inherited).expect("the proxy starts");
        let addresses = server.addresses();
        Proxy { server: Some(server), addresses, lines, records: Vec::new(), backends: self.backends }
    }

    /// The configuration that the file says.
    pub fn config(&self) -> Config {
        let text = self.text();
        let loaded =
            config::parse(&text, "proxy.yaml", &self.base).unwrap_or_else(|error| panic!("{error}\nin\n{text}"));
        loaded.config
    }

    /// The text of the file.
    pub fn text(&self) -> String {
        let timeouts: Vec<String> = self.timeouts.iter().map(|(key, value)| format!("{key}: {value}")).collect();
        format!(
            "workers: {}\nlisteners: [ {{ {} }} ]\nupstreams:\n  chat: {{ {}, backends: [ {} ] }}\n{}\n\
             timeouts: {{ {} }}\n{}",
            self.workers,
            self.listener,
            self.upstream,
            self.entries.join(", "),
            self.routes,
            timeouts.join(", "),
            self.settings,
        )
    }
}

/// A writer that sends whole lines over a channel.
struct LineSender {
    writer: mpsc::UnboundedSender<String>,
    line: Vec<u8>,
}

impl io::Write for LineSender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        while let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.line.drain(..=end).collect();
            // A test that is over reads no more records.
            let _ = self.writer.send(String::from_utf8_lossy(&line).into_owned());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
