//! Connections with backends that wait for another request. Any request may use those of [`Pool`], and those of
//! [`Bonds`] belong to one client. `docs/backend-connections.md` tells what both promise.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Wake, Waker},
    time::{Duration, Instant},
};

use hyper::client::conn::http1::SendRequest;
use tokio::{sync::Notify, time::timeout};

use super::{connect::Endpoint, exchange::Bare, request_body::RequestBody, way::Way};
use crate::balance::{Backend, Destination, Pick};

/// The most idle connections that a worker keeps to one backend (nginx: `keepalive` of an upstream).
const IDLE_PER_BACKEND: usize = 32;
/// How long a connection may be idle (nginx: `keepalive_timeout` of an upstream).
pub(in crate::net) const IDLE_TIME: Duration = Duration::from_secs(60);

/// How long the addresses of a name are remembered at least after their last use. Names come and go without a reload.
const LEARNED: Duration = Duration::from_secs(3600);

/// A connection with a backend on which hyper speaks HTTP.
#[derive(Debug)]
pub(in crate::net) struct Link {
    pub(in crate::net) sender: SendRequest<RequestBody>,
    /// The backend's address at the other end. `None` = a Unix socket.
    pub(in crate::net) peer: Option<SocketAddr>,
    /// The backend may take all requests on this connection for requests of one client. No other client's request may
    /// use it any more.
    pub(in crate::net) is_private: bool,
    /// What the connection began with ([`Endpoint::announcement`]).
    pub(in crate::net) announcement: Box<[u8]>,
}

/// A connection that waits for another request.
#[derive(Debug)]
pub(in crate::net) enum Waiting {
    Link(Link),
    Bare(Bare),
}

/// The connections of a worker that any request may use.
#[derive(Debug)]
pub(in crate::net) struct Pool {
    /// By the address of the endpoint, which several ways may share. Behind a lock because tasks must be `Send`; only this
    /// worker's tasks take the lock, and never across an await.
    sites: Mutex<BTreeMap<String, Site>>,
    stirred: Arc<Stirred>,
    /// Wakes `stirred`.
    waker: Waker,
}

/// Notified when something has come on an idle connection that no task has.
#[derive(Debug, Default)]
struct Stirred(Notify);

/// What is known of a backend.
#[derive(Debug, Default)]
struct Site {
    /// The addresses of the backend's name at the last look-up.
    addresses: Vec<SocketAddr>,
    /// When they were learned or last used.
    used: Option<Instant>,
    idle: Vec<Idle>,
}

#[derive(Debug)]
struct Idle {
    /// The way by which it came about.
    way: Way,
    /// The name for which it came about ([`Pick::name`]).
    name: Option<Arc<str>>,
    connection: Waiting,
    since: Instant,
}

/// The connections that belong to one client's connection, at most one for each upstream. They are closed with it.
#[derive(Debug, Default)]
pub(in crate::net) struct Bonds(Mutex<Vec<Bond>>);

/// A connection that belongs to one client's connection.
#[derive(Debug)]
pub(in crate::net) struct Bond {
    /// The upstream's name.
    pub(in crate::net) upstream: String,
    pub(in crate::net) backend: Arc<Backend>,
    pub(in crate::net) way: Way,
    /// The name for which it came about ([`Pick::name`]).
    pub(in crate::net) name: Option<Arc<str>>,
    pub(in crate::net) link: Link,
}

impl Link {
    pub(in crate::net) const fn new(
        sender: SendRequest<RequestBody>,
        peer: Option<SocketAddr>,
        announcement: Box<[u8]>,
    ) -> Self {
        Self { sender, peer, is_private: false, announcement }
    }

    /// Waits until the request before is over. `None` if the connection is closed, or still busy after `patience`.
    pub(in crate::net) async fn ready(mut self, patience: Duration) -> Option<Self> {
        timeout(patience, self.sender.ready()).await.ok()?.ok()?;
        Some(self)
    }
}

impl Waiting {
    const fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Link(Link { peer, .. }) | Self::Bare(Bare { peer, .. }) => *peer,
        }
    }

    fn announcement(&self) -> &[u8] {
        match self {
            Self::Link(Link { announcement, .. }) | Self::Bare(Bare { announcement, .. }) => announcement,
        }
    }

    /// Whether the backend has closed the connection, or has sent something that nobody asked for. `watcher` is woken by what
    /// comes later under TLS; [`Pool::keep`] has set it for plain TCP.
    fn finds_end(&mut self, watcher: &Waker) -> bool {
        match self {
            Self::Link(link) => link.sender.is_closed(),
            Self::Bare(bare) => bare.stream.finds_news(watcher),
        }
    }

    /// Closes the connection. hyper ends its own in the same way.
    pub(in crate::net) fn close(self) {
        if let Self::Bare(mut bare) = self {
            bare.stream.say_goodbye();
        }
    }

    /// Whether the connection can take a request at once.
    fn is_ready(&self) -> bool {
        match self {
            Self::Link(link) => link.sender.is_ready(),
            Self::Bare(_) => true,
        }
    }
}

impl Wake for Stirred {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.notify_one();
    }
}

impl Default for Pool {
    fn default() -> Self {
        let stirred = Arc::<Stirred>::default();
        Self { sites: Mutex::default(), waker: Waker::from(Arc::clone(&stirred)), stirred }
    }
}

impl Pool {
    /// Takes a connection that can take a request at once, and that began with the same bytes. A connection that is still busy
    /// with its last request stays.
    pub(in crate::net) fn take(&self, endpoint: Endpoint<'_>, destination: Destination<'_>) -> Option<Waiting> {
        let mut sites = lock(&self.sites);
        let Site { addresses, used, idle } = sites.get_mut(endpoint.address)?;
        if addresses.len() > 1 {
            *used = Some(Instant::now());
        }
        idle.retain_mut(|idle| !idle.connection.finds_end(&self.waker));
        // If the backend is picked by a hash, a client stays at one address of the name, whichever connection it gets.
        let own = match destination.is_hashed() && addresses.len() > 1 {
            true => destination.arrange(addresses).first().copied(),
            false => None,
        };
        let is_there = |idle: &Idle| own.is_none_or(|own| idle.connection.peer() == Some(own));
        let began_so = |idle: &Idle| {
            let name = idle.name.as_deref().unwrap_or(endpoint.address);
            let way = (&idle.way, name, idle.connection.announcement());
            way == (endpoint.way, endpoint.authority, endpoint.announcement)
        };
        let place = idle.iter().rposition(|idle| is_there(idle) && began_so(idle) && idle.connection.is_ready())?;
        Some(idle.remove(place).connection)
    }

    /// Learns the addresses that the backend's name has now.
    pub(super) fn learn(&self, endpoint: Endpoint<'_>, addresses: Vec<SocketAddr>) {
        if !addresses.is_empty() {
            let mut sites = lock(&self.sites);
            let site = sites.entry(endpoint.address.into()).or_default();
            (site.addresses, site.used) = (addresses, Some(Instant::now()));
        }
    }

    /// Keeps a connection with the backend of this pick for another request. Its last answer has been read to the end.
    pub(in crate::net) fn keep(&self, pick: &Pick, way: Way, connection: Waiting) {
        self.keep_at(pick.address(), pick.name(), way, connection);
    }

    /// The same with the server at this address. `name`: what led there, if that was another name.
    pub(in crate::net) fn keep_at(&self, address: &str, name: Option<&Arc<str>>, way: Way, connection: Waiting) {
        match &connection {
            Waiting::Link(link) if link.is_private => {
                debug_assert!(false, "a client's own connection is never shared");
                return;
            }
            Waiting::Link(_) => {}
            Waiting::Bare(bare) => bare.stream.watch_by(&self.waker),
        }
        let mut sites = lock(&self.sites);
        let Site { idle, .. } = match sites.get_mut(address) {
            Some(site) => site,
            None => sites.entry(address.into()).or_default(),
        };
        // A connection that began with the address of a client mostly serves nobody else, and one of another way mostly serves
        // nobody any more, because a reload has replaced that way. The oldest such one makes room.
        let is_seldom_used = |idle: &Idle| !idle.connection.announcement().is_empty() || idle.way != way;
        let is_full = idle.len() >= IDLE_PER_BACKEND;
        let oldest = if is_full { idle.iter().position(is_seldom_used) } else { None };
        let leaving = oldest.map(|place| idle.remove(place).connection);
        if leaving.is_some() || !is_full {
            idle.push(Idle { way, name: name.cloned(), connection, since: Instant::now() });
        } else {
            connection.close();
        }
        drop(sites);
        leaving.into_iter().for_each(Waiting::close);
    }

    /// Waits until bytes or an end come on an idle connection. No task polls such a connection. The caller then calls
    /// [`Self::sweep`].
    pub(in crate::net) async fn stirred(&self) {
        self.stirred.0.notified().await;
    }

    /// Closes connections that have been idle for too long, or that their backend has closed.
    pub(in crate::net) fn sweep(&self, now: Instant) {
        lock(&self.sites).retain(|_, Site { addresses, used, idle }| {
            idle.retain_mut(|idle| !idle.connection.finds_end(&self.waker));
            let old = |idle: &mut Idle| now.duration_since(idle.since) >= IDLE_TIME;
            idle.extract_if(.., old).for_each(|idle| idle.connection.close());
            // A site with several addresses is kept even without an idle connection. A connection that is in use may come
            // back to the pool, and the addresses then say which requests may use that connection.
            let is_fresh = used.is_some_and(|used| now.saturating_duration_since(used) < LEARNED);
            !idle.is_empty() || addresses.len() > 1 && is_fresh
        });
    }
}

impl Bonds {
    /// Takes the connection with a backend of this upstream, for the client's next request. A connection that came about in
    /// another way is closed.
    pub(in crate::net) fn take(&self, upstream: &str, way: &Way) -> Option<Bond> {
        let mut bonds = lock(&self.0);
        let place = bonds.iter().position(|bond| bond.upstream == upstream)?;
        Some(bonds.swap_remove(place)).filter(|bond| bond.way == *way)
    }

    /// Keeps a connection whose answer has been read to the end, in the place of an earlier one of the same upstream.
    pub(in crate::net) fn keep(&self, bond: Bond) {
        let mut bonds = lock(&self.0);
        bonds.retain(|earlier| earlier.upstream != bond.upstream);
        bonds.push(bond);
    }
}

/// Takes a lock, also after a panic of its holder: that leaves a list that is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{net::IpAddr, os::unix::net::UnixStream, path::Path};

    use super::*;
    use crate::{
        balance::{Key, Registry, Tried},
        config,
        net::stream::{
            plain_or_tls::Stream,
            sockets::{self, Socket},
        },
        sender::Client,
    };

    #[test]
    fn a_client_keeps_to_its_address_though_no_connection_was_idle_for_a_while() {
        let _epolls = sockets::open(false).unwrap();
        let file = "listeners: [ { bind: \"127.0.0.1:0\" } ]\nroutes: [ { upstream: chat } ]\n\
                    upstreams: { chat: { balance: ip_hash, backends: [ { address: \"app:80\" } ] } }\n";
        let mut config = config::parse(file, "proxy.yaml", Path::new(".")).unwrap().config;
        let upstream = Registry::new(0).upstream(config.upstreams.remove(0), Instant::now());
        let key = Key::from(Client::from(IpAddr::from([192, 0, 2, 7])));
        let pick = upstream.pick(&key, &mut Tried::default(), Instant::now()).unwrap();
        let destination = upstream.destination(&pick, &key);
        let addresses = ["192.0.2.1:80".parse().unwrap(), "192.0.2.2:80".parse().unwrap()];
        let (address, way) = (destination.address(), Way::default());
        let endpoint = Endpoint { address, authority: address, way: &way, announcement: &[] };
        let &[own, other] = &destination.arrange(&addresses)[..] else { panic!() };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let bare = |peer| {
            let stream = mio::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            Waiting::Bare(Bare {
                stream: Stream::Plain(Socket::new(stream).unwrap()),
                peer: Some(peer),
                announcement: Box::default(),
            })
        };
        let pool = Pool::default();
        pool.learn(endpoint, addresses.to_vec());
        // Both connections are in use now.
        pool.sweep(Instant::now());
        pool.keep(&pick, Way::default(), bare(other));
        assert!(pool.take(endpoint, destination).is_none(), "it is another's");
        pool.keep(&pick, Way::default(), bare(own));
        // All are in use once more, and no new one was needed for as long as addresses are remembered.
        let before = Instant::now();
        assert_eq!(pool.take(endpoint, destination).unwrap().peer(), Some(own));
        assert!(pool.take(endpoint, destination).is_none());
        lock(&pool.sites).values_mut().for_each(|site| site.idle.clear());
        pool.sweep(before + LEARNED);
        pool.keep(&pick, Way::default(), bare(other));
        assert!(pool.take(endpoint, destination).is_none(), "it is still another's");
        // Connections that everybody may use make no room for those of one client, which make room for all.
        let announcing = |announcement: &[u8]| match bare(own) {
            Waiting::Bare(bare) => Waiting::Bare(Bare { announcement: announcement.into(), ..bare }),
            Waiting::Link(_) => unreachable!(),
        };
        let pool = Pool::default();
        (1..IDLE_PER_BACKEND).for_each(|_| pool.keep(&pick, Way::default(), bare(own)));
        (0..3).for_each(|client| pool.keep(&pick, Way::default(), announcing(&[client])));
        let of = |announcement| pool.take(Endpoint { announcement, ..endpoint }, destination).is_some();
        assert!(!of(&[0]) && !of(&[1]) && of(&[2]) && !of(&[2]));
        pool.keep(&pick, Way::default(), bare(own));
        pool.keep(&pick, Way::default(), announcing(&[3]));
        assert_eq!((0..=IDLE_PER_BACKEND).filter(|_| of(&[])).count(), IDLE_PER_BACKEND);
        // Nothing is learned of an address that is not a name.
        let pool = Pool::default();
        pool.keep(&pick, Way::default(), bare(own));
        assert!(pool.take(endpoint, destination).is_some());
    }

    #[test]
    fn a_unix_socket_that_the_backend_has_closed_is_not_used_again() {
        let mut epolls = sockets::open(false).unwrap();
        let file = "listeners: [ { bind: \"127.0.0.1:0\" } ]\nroutes: [ { upstream: chat } ]\n\
                    upstreams: { chat: { balance: round_robin, backends: [ { address: unix:/run/app.sock } ] } }\n";
        let mut config = config::parse(file, "proxy.yaml", Path::new(".")).unwrap().config;
        let upstream = Registry::new(0).upstream(config.upstreams.remove(0), Instant::now());
        let key = Key::from(Client::from(IpAddr::from([192, 0, 2, 7])));
        let pick = upstream.pick(&key, &mut Tried::default(), Instant::now()).unwrap();
        let destination = upstream.destination(&pick, &key);
        let (address, way) = (destination.address(), Way::default());
        let endpoint = Endpoint { address, authority: address, way: &way, announcement: &[] };
        let pool = Pool::default();
        for is_closed in [false, true] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            ours.set_nonblocking(true).unwrap();
            let stream = Stream::Plain(Socket::new_unix(ours).unwrap());
            pool.keep(&pick, Way::default(), Waiting::Bare(Bare { stream, peer: None, announcement: Box::default() }));
            let _open = (!is_closed).then_some(theirs);
            // The first event says that the socket may be written.
            let mut events = mio::Events::with_capacity(8);
            epolls.all.poll(&mut events, None).unwrap();
            sockets::dispatch(&events, None, |_, _, _| panic!("no session is here")).unwrap();
            assert_eq!(pool.take(endpoint, destination).is_none(), is_closed);
        }
    }
}
