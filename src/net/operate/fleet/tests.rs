//! Instances with real connections, and a server of the tests' own.

#![allow(clippy::unwrap_used)]

use std::{
    io,
    net::IpAddr,
    path::Path,
    pin::pin,
    sync::Mutex,
    task::{Context, Waker},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, UnixListener},
    runtime::Builder,
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

use super::*;
use crate::{
    config::{Authority, BackendTls, FleetPassword, FleetServer, OnLoss},
    error::Kind,
    fleet::{
        FleetLimits,
        tests::valkey::{Store, read_command},
    },
    net::{
        counts::fleet::{FleetPermit, FleetVerdict},
        stream::sockets::Attendant,
        thread::alarm::Alarm,
    },
    sender::{Client, Octets},
};

/// Longer than anything takes here.
const LONG: Duration = Duration::from_secs(60);
const TWO: FleetLimits = FleetLimits { sessions: None, sessions_per_client: Some(2) };

/// A server that runs in the thread of the test.
#[derive(Clone)]
struct TestServer {
    address: String,
    store: Arc<Mutex<Store>>,
    /// What it does, and what it has seen.
    state: Arc<watch::Sender<ServerState>>,
}

#[derive(Debug, Clone, Default)]
struct ServerState {
    /// It takes connections and reads nothing.
    hangs: bool,
    /// Connections of an earlier number are closed.
    epoch: u32,
    connections: usize,
    commands: Vec<Vec<String>>,
}

impl TestServer {
    fn new(address: String) -> Self {
        Self { address, store: Arc::default(), state: Arc::new(watch::Sender::new(ServerState::default())) }
    }

    async fn tcp() -> Self {
        Self::tcp_with(None).await
    }

    async fn tcp_with(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self::new(listener.local_addr().unwrap().to_string());
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (serving, tls) = (serving.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serving.serve(stream).await,
                        Some(tls) => serving.serve(tls.accept(stream).await?).await,
                    }
                });
            }
        });
        server
    }

    fn unix(path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let server = Self::new(format!("unix:{}", path.display()));
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = serving.clone();
                tokio::spawn(async move { serving.serve(stream).await });
            }
        });
        server
    }

    async fn serve(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
        let mut news = self.state.subscribe();
        self.state.send_modify(|state| state.connections += 1);
        let epoch = news.borrow().epoch;
        let mut unread = Vec::new();
        loop {
            while let Some((command, length)) = read_command(&unread) {
                unread.drain(..length);
                let reply = self.store().answer(&command, now());
                self.state.send_modify(|state| state.commands.push(command));
                stream.write_all(&reply).await?;
            }
            stream.flush().await?;
            news.wait_for(|state| !state.hangs || state.epoch != epoch).await.map_err(io::Error::other)?;
            tokio::select! {
                read = stream.read_buf(&mut unread) => if read? == 0 { return Ok(()) },
                _ = news.wait_for(|state| state.hangs || state.epoch != epoch) => {}
            }
            if news.borrow().epoch != epoch {
                return Ok(());
            }
        }
    }

    fn store(&self) -> std::sync::MutexGuard<'_, Store> {
        self.store.lock().unwrap()
    }

    fn hang(&self, hangs: bool) {
        self.state.send_modify(|state| state.hangs = hangs);
    }

    fn close_all(&self) {
        self.state.send_modify(|state| state.epoch += 1);
    }

    fn refuse(&self, refusal: Option<&str>) {
        self.store().refusal = refusal.map(str::to_owned);
    }

    fn connections(&self) -> usize {
        self.state.borrow().connections
    }

    fn has_had(&self, verb: &str) -> usize {
        self.state.borrow().commands.iter().filter(|command| command.iter().any(|word| word == verb)).count()
    }

    /// Waits for something that follows from commands and connections.
    async fn until(&self, mut is_so: impl FnMut(&Self) -> bool) {
        let mut news = self.state.subscribe();
        timeout(LONG, news.wait_for(|_| true)).await.unwrap().unwrap();
        while !is_so(self) {
            timeout(LONG, news.changed()).await.expect("it becomes so").unwrap();
        }
    }

    /// How many sessions it counts, of all instances that live.
    fn counted(&self) -> i64 {
        let store = self.store();
        let of = |member: &String| store.counts_of(member, now()).get("*").copied().unwrap_or_default();
        store.living(now()).iter().map(of).sum()
    }
}

/// A clock that only the leases of the store read.
fn now() -> u64 {
    1
}

struct Instance {
    fleet: Arc<Fleet>,
    driver: FleetDriver,
}

impl Instance {
    fn new() -> Self {
        let fleet = Fleet::new(std::time::Instant::now());
        let (driver, _) =
            FleetDriver::start(Arc::clone(&fleet), (Arc::default(), Arc::new(Vitals::new())), &Handle::current());
        Self { fleet, driver }
    }

    /// An instance that shares its limits by this server.
    async fn at(server: &TestServer, name: &str) -> Self {
        let instance = Self::new();
        instance.follow(&settings(&[server], name));
        instance.is_live().await;
        instance
    }

    fn follow(&self, settings: &FleetSettings) {
        let running = self.driver.running();
        self.driver.follow(FleetTarget::load(Some(settings), running.as_deref()).unwrap());
    }

    async fn is_live(&self) {
        self.becomes(|standing| standing.connected).await;
    }

    /// Waits for something that the standing says. Nothing tells of it, so the other tasks have their turns meanwhile.
    async fn becomes(&self, mut is_so: impl FnMut(&crate::net::counts::fleet::FleetStanding) -> bool) {
        let looking = async {
            while !is_so(&self.fleet.standing()) {
                tokio::task::yield_now().await;
            }
        };
        if timeout(LONG, looking).await.is_err() {
            panic!("it is still so: {:?}", self.fleet.standing());
        }
    }

    async fn take(&self, client: u8) -> FleetVerdict {
        self.fleet.take(Some(network(client)), TWO, &Mutex::new(Alarm::default())).await
    }

    async fn granted(&self, client: u8) -> FleetPermit {
        match self.take(client).await {
            FleetVerdict::Granted(permit) => permit,
            other => panic!("{other:?}: {:?}", self.fleet.standing()),
        }
    }

    async fn is_full(&self, client: u8) -> bool {
        matches!(self.take(client).await, FleetVerdict::Full(Kind::SessionsPerClient))
    }
}

fn network(client: u8) -> Octets {
    Client::from(IpAddr::from([192, 0, 2, client])).counted_as()
}

fn settings(servers: &[&TestServer], name: &str) -> FleetSettings {
    let server = |server: &&TestServer| FleetServer {
        address: server.address.clone(),
        is_tls: false,
        user: None,
        password: None,
        database: 0,
    };
    FleetSettings {
        servers: servers.iter().map(server).collect(),
        tls: tls(Authority::System),
        instance: Some(name.to_owned()),
        prefix: "lw".to_owned(),
        lease: Duration::from_secs(60),
        on_loss: OnLoss::Share,
        timeout: Duration::from_secs(20),
    }
}

fn tls(authority: Authority) -> BackendTls {
    BackendTls {
        authorities: vec![authority],
        server_name: None,
        verify_name: None,
        sni: true,
        certificate: None,
        crl: None,
        insecure: false,
    }
}

/// Runs a test in a thread that has sockets.
fn attended<T>(work: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { Attendant::new().unwrap().attend(timeout(2 * LONG, work)).await.expect("an end") })
}

#[test]
fn two_instances_hold_one_limit_and_an_end_gives_back_at_once() {
    attended(async {
        let server = TestServer::tcp().await;
        let (one, two) = (Instance::at(&server, "one").await, Instance::at(&server, "two").await);
        let first = one.granted(1).await;
        let _second = two.granted(1).await;
        assert!(one.is_full(1).await && two.is_full(1).await);
        let _other = two.granted(2).await;
        // The end is told before the next question, whoever sends it.
        drop(first);
        let _again = one.granted(1).await;
        assert!(one.is_full(1).await);
        assert_eq!(server.counted(), 3);
    });
}

#[test]
fn instances_know_each_other_and_leave_no_share_to_one_that_goes() {
    attended(async {
        let server = TestServer::tcp().await;
        let one = Instance::at(&server, "one").await;
        assert_eq!(one.fleet.living(), 1);
        let two = Instance::at(&server, "two").await;
        let _session = two.granted(1).await;
        assert_eq!(two.fleet.living(), 2);
        let standing = two.fleet.standing();
        let told: Vec<_> = standing.instances.iter().map(|one| (&*one.name, one.sessions, one.is_ours)).collect();
        assert_eq!(told, [("one", 0, false), ("two", 1, true)]);
        assert_eq!((standing.instance, standing.server), ("two".to_owned(), Some(server.address.clone())));
        one.fleet.begin_leaving();
        server.until(|server| server.has_had("renew") > 0).await;
        let three = Instance::at(&server, "three").await;
        assert_eq!(three.fleet.living(), 2);
        one.fleet.leave().await;
        two.fleet.leave().await;
        three.fleet.leave().await;
        assert!(server.store().living(now()).is_empty(), "nothing waits for a lease");
    });
}

#[test]
fn nobody_waits_for_a_server_that_hangs_and_a_late_grant_is_given_back() {
    attended(async {
        let server = TestServer::tcp().await;
        let hasty = FleetSettings { timeout: Duration::from_millis(20), ..settings(&[&server], "one") };
        let one = Instance::new();
        one.follow(&hasty);
        one.is_live().await;
        server.hang(true);
        assert!(matches!(one.take(1).await, FleetVerdict::Away));
        // One question was too slow. The next one is not even asked.
        let alarm = Mutex::new(Alarm::default());
        let mut next = pin!(one.fleet.take(Some(network(1)), TWO, &alarm));
        assert!(next.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
        let _let_in = one.fleet.admitted_locally(Some(network(1)));
        server.hang(false);
        server
            .until(|server| server.has_had("take") == 1 && server.counted() == 1 && server.has_had("change") > 0)
            .await;
        // It goes on with the same connection.
        assert_eq!(server.connections(), 1);
        one.follow(&settings(&[&server], "one"));
        let _second = one.granted(1).await;
        assert!(one.is_full(1).await);
        assert_eq!((server.counted(), server.connections()), (2, 1));
    });
}

#[test]
fn more_questions_than_there_is_room_for_are_turned_away() {
    attended(async {
        let server = TestServer::tcp().await;
        let one = Instance::at(&server, "one").await;
        server.hang(true);
        let alarm = Mutex::new(Alarm::default());
        let mut asked = Vec::new();
        loop {
            let mut take = Box::pin(one.fleet.take(Some(network(1)), TWO, &alarm));
            if take.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                break;
            }
            asked.push(take);
            assert!(asked.len() < 10_000, "the queue has a bound");
        }
        drop(asked);
        server.hang(false);
        server.until(|server| server.has_had("take") > 0 && server.counted() == 0).await;
        let _session = one.granted(2).await;
    });
}

#[test]
fn a_lost_connection_answers_those_who_wait_and_all_counts_are_told_again() {
    attended(async {
        let server = TestServer::tcp().await;
        let one = Instance::at(&server, "one").await;
        let kept = one.granted(1).await;
        let gone = one.granted(1).await;
        server.hang(true);
        let alarm = Mutex::new(Alarm::default());
        let mut waits = pin!(one.fleet.take(Some(network(2)), TWO, &alarm));
        assert!(waits.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        server.close_all();
        assert!(matches!(waits.await, FleetVerdict::Away), "long before the timeout");
        drop(gone);
        let _let_in = one.fleet.admitted_locally(Some(network(3)));
        server.hang(false);
        one.is_live().await;
        assert_eq!((server.counted(), server.connections()), (2, 2));
        drop(kept);
        server.until(|server| server.counted() == 1).await;
    });
}

#[test]
fn a_server_that_forgets_is_told_again_and_not_believed_before_all_are_back() {
    attended(async {
        let server = TestServer::tcp().await;
        let (one, two) = (Instance::at(&server, "one").await, Instance::at(&server, "two").await);
        let _held = [one.granted(1).await, two.granted(1).await];
        server.store().forget_script();
        assert!(matches!(one.take(1).await, FleetVerdict::Away));
        one.is_live().await;
        assert!(one.is_full(1).await, "only the script was gone");
        server.store().empty();
        assert!(matches!(one.take(1).await, FleetVerdict::Away));
        one.becomes(|standing| standing.loss.as_deref().is_some_and(|loss| loss.contains("lost all counts"))).await;
        assert!(matches!(one.take(1).await, FleetVerdict::Away), "the count of the other one is not back");
        assert!(matches!(two.take(1).await, FleetVerdict::Away));
        server.until(|server| server.counted() == 2).await;
        assert_eq!((one.fleet.living(), server.connections()), (2, 2));
    });
}

#[test]
fn a_cluster_and_a_replica_send_us_where_our_keys_are() {
    attended(async {
        let (first, second) = (TestServer::tcp().await, TestServer::tcp().await);
        first.refuse(Some(&format!("MOVED 7 {}", second.address)));
        let one = Instance::at(&first, "one").await;
        assert_eq!(one.fleet.standing().server, Some(second.address.clone()));
        first.refuse(Some("READONLY You can't write against a read only replica."));
        let two = Instance::new();
        two.follow(&settings(&[&first, &second], "two"));
        two.is_live().await;
        assert_eq!((two.fleet.living(), first.connections()), (2, 2));
    });
}

#[test]
fn a_server_that_does_not_let_us_in_is_asked_again_when_the_file_changes() {
    attended(async {
        let server = TestServer::tcp().await;
        server.refuse(Some("WRONGPASS invalid username-password pair or user is disabled."));
        let one = Instance::new();
        let with_password = |password: &str| {
            let mut settings = settings(&[&server], "one");
            let password = Some(FleetPassword::new(password.to_owned()));
            (settings.servers[0].user, settings.servers[0].password) = (Some("lw".to_owned()), password);
            settings
        };
        one.follow(&with_password("wrong"));
        one.becomes(|standing| standing.loss.as_deref().is_some_and(|loss| loss.contains("WRONGPASS"))).await;
        assert!(matches!(one.take(1).await, FleetVerdict::Away));
        server.refuse(None);
        one.follow(&with_password("right"));
        one.is_live().await;
        assert_eq!(server.connections(), 2, "no attempt came between");
        let commands = server.state.borrow().commands.clone();
        assert!(commands.contains(&["AUTH", "lw", "right"].map(str::to_owned).to_vec()), "{commands:?}");
    });
}

#[test]
fn a_file_changes_terms_in_place_and_moves_the_counts_to_another_place() {
    attended(async {
        let (server, other) = (TestServer::tcp().await, TestServer::tcp().await);
        let one = Instance::at(&server, "one").await;
        let _session = one.granted(1).await;
        one.follow(&FleetSettings { lease: LONG / 2, timeout: Duration::from_secs(10), ..settings(&[&server], "one") });
        let _second = one.granted(1).await;
        assert_eq!((server.counted(), server.connections()), (2, 1));
        one.follow(&settings(&[&other], "one"));
        other.until(|other| other.counted() == 2).await;
        assert!(server.store().living(now()).is_empty(), "it has said goodbye");
        one.driver.follow(None);
        other.until(|other| other.store().living(now()).is_empty()).await;
        one.becomes(|standing| !standing.is_on).await;
        let standing = one.fleet.standing();
        assert_eq!((standing.connected, standing.server, standing.living), (false, None, 1));
        assert!(standing.instances.is_empty());
        assert!(matches!(one.take(1).await, FleetVerdict::Away));
    });
}

#[test]
fn another_lease_and_another_timeout_hold_from_the_next_call_on() {
    attended(async {
        let server = TestServer::tcp().await;
        let one = Instance::at(&server, "one").await;
        let lease = Duration::from_millis(34_567);
        let hasty = FleetSettings { lease, timeout: Duration::from_millis(20), ..settings(&[&server], "one") };
        one.follow(&FleetSettings { timeout: LONG, ..hasty.clone() });
        let _session = one.granted(1).await;
        server.close_all();
        server.until(|server| server.has_had("34567") > 0).await;
        one.follow(&hasty);
        one.is_live().await;
        server.hang(true);
        // By the timeouts before, the question would wait until the connection counts as dead, after 5 s.
        let verdict = timeout(Duration::from_secs(3), one.take(1)).await.expect("the last timeout holds");
        assert!(matches!(verdict, FleetVerdict::Away));
    });
}

#[test]
fn a_server_is_spoken_to_over_tls_only_if_an_authority_vouches_for_it() {
    attended(async {
        let folder = tempfile::tempdir().unwrap();
        let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let ca = folder.path().join("ca.pem");
        fs_err::write(&ca, certified.cert.pem()).unwrap();
        let key = certified.signing_key.serialize_der().try_into().unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![certified.cert.der().clone()], key).unwrap();
        let server = TestServer::tcp_with(Some(TlsAcceptor::from(Arc::new(config)))).await;
        let mut settings = settings(&[&server], "one");
        settings.servers[0].is_tls = true;
        settings.tls = tls(Authority::File(ca));
        let one = Instance::new();
        one.follow(&settings);
        one.is_live().await;
        let _session = one.granted(1).await;
        let stranger = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let other = folder.path().join("other.pem");
        fs_err::write(&other, stranger.cert.pem()).unwrap();
        settings.tls = tls(Authority::File(other));
        let two = Instance::new();
        two.follow(&settings);
        two.becomes(|standing| standing.loss.as_deref().is_some_and(|loss| loss.contains("certificate"))).await;
        assert_eq!(server.has_had("rewrite"), 1);
    });
}

#[test]
fn a_server_may_be_at_a_unix_socket_and_one_that_is_none_is_told() {
    attended(async {
        let folder = tempfile::tempdir().unwrap();
        let server = TestServer::unix(&folder.path().join("valkey.sock"));
        let one = Instance::at(&server, "one").await;
        let _session = one.granted(1).await;
        let web = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = web.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = web.accept().await {
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            }
        });
        let two = Instance::new();
        two.follow(&settings(&[&TestServer::new(address)], "two"));
        two.becomes(|standing| standing.loss.as_deref().is_some_and(|loss| loss.contains("Valkey or Redis"))).await;
    });
}
