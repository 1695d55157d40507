//! Backends of a name or a service, as the DNS says it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use longwire::net::{front::inherited::Inherited, operate::handover::Handover};
use serde_json::{Value, json};

use super::{addresses, ask, chat, choose_alike_among_five, echoes, session, until};
use crate::{
    handover::take_over_as,
    harness::{
        Backend, Proxy, Setup, Wire,
        dns::{A, AAAA, Dns, SRV, Said},
        handshake,
        secure::{Authority, Handshakes},
        within,
    },
};

/// The name of all tests.
const NAME: &str = "chat.test";

/// Backends on one port of several addresses of this machine, 127.0.0.1 and on.
struct Fleet {
    port: u16,
    backends: Vec<Backend>,
}

impl Fleet {
    fn of(count: u8) -> Self {
        'ports: loop {
            let first = Backend::echo();
            let port = first.address().port();
            let mut backends = vec![first];
            for last in 2..=count {
                let address = SocketAddr::from(([127, 0, 0, last], port));
                // Another program may have this port at another address.
                if std::net::TcpListener::bind(address).is_err() {
                    continue 'ports;
                }
                backends.push(Backend::echo_at(address));
            }
            return Self { port, backends };
        }
    }

    fn ip(last: u8) -> IpAddr {
        Ipv4Addr::new(127, 0, 0, last).into()
    }

    /// The backends with these last numbers, as the admin interface names them.
    fn addresses(&self, lasts: impl IntoIterator<Item = u8>) -> Vec<String> {
        lasts.into_iter().map(|last| format!("127.0.0.{last}:{}", self.port)).collect()
    }

    /// A proxy whose backends are those of the name, as this server says it.
    fn before(&self, dns: &Dns, settings: &str) -> Setup {
        let discovery = format!("discovery: {{ resolver: \"{}\", min_ttl: 50ms{settings} }}", dns.address());
        Proxy::before(&[])
            .entry(&format!("dns: \"{NAME}:{}\"", self.port))
            .upstream(&format!("balance: round_robin, {discovery}"))
            .with("admin: { bind: \"127.0.0.1:0\" }")
    }
}

/// These addresses, which hold for no time.
fn said(lasts: impl IntoIterator<Item = u8>) -> Said {
    Said::Addresses(lasts.into_iter().map(Fleet::ip).collect(), 0)
}

async fn has(proxy: &Proxy, expected: &[String]) -> Value {
    until(proxy, "the backends", |chat| addresses(chat) == expected).await
}

#[tokio::test]
async fn twenty_sessions_live_while_a_name_goes_from_1_to_20_to_3_addresses() {
    let (fleet, dns) = (Fleet::of(20), Dns::start());
    dns.says(NAME, said([1]));
    let mut proxy = fleet.before(&dns, "").start();
    let mut clients = Vec::new();
    for _ in 0..20 {
        let (client, backend) = session(&proxy).await;
        assert_eq!(backend, fleet.backends[0].to_string());
        clients.push(client);
    }
    for now in [(1..=20).collect::<Vec<u8>>(), vec![2, 7, 20]] {
        // Backwards, because the order of an answer says nothing.
        dns.says(NAME, said(now.iter().rev().copied()));
        let expected = fleet.addresses(now.iter().copied());
        has(&proxy, &expected).await;
        let mut new = Vec::new();
        for _ in &now {
            let (client, backend) = session(&proxy).await;
            clients.push(client);
            new.push(backend);
        }
        let new: BTreeSet<_> = new.into_iter().collect();
        assert_eq!(new, expected.into_iter().collect(), "by turns, each has one");
        for client in &mut clients {
            echoes(client).await;
        }
    }
    let count = clients.len();
    for client in clients {
        client.leave().await;
    }
    for _ in 0..count {
        assert_eq!(proxy.next_record().await["cause"], "client_close");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn failures_of_every_kind_keep_the_backends_and_what_is_empty_goes_after_a_while() {
    let (fleet, dns) = (Fleet::of(2), Dns::start());
    dns.says(NAME, said([1, 2]));
    let proxy = fleet.before(&dns, ", empty_after: 50ms").start();
    let both = fleet.addresses([1, 2]);
    has(&proxy, &both).await;
    for failure in [Said::Failure, Said::Silence] {
        dns.says(NAME, failure);
        let shown = until(&proxy, "the failure", |chat| chat["places"][0]["failure"].is_string()).await;
        assert_eq!(addresses(&shown), both, "{shown}");
        assert_eq!(proxy.client().await.get("/", "").await.status(), 200);
        dns.says(NAME, said([2, 1]));
        until(&proxy, "the end of the failure", |chat| chat["places"][0]["failure"].is_null()).await;
    }
    for empty in [Said::NxDomain, Said::Empty] {
        dns.says(NAME, empty);
        has(&proxy, &[]).await;
        assert_eq!(proxy.client().await.get("/", "").await.status(), 503);
        assert_eq!(ask(&proxy, "/readyz?upstream=chat").await.0, 503);
        dns.says(NAME, said([1, 2]));
        has(&proxy, &both).await;
    }
    proxy.stop().await;
}

#[tokio::test]
async fn an_answer_that_udp_cuts_comes_whole_over_tcp() {
    let (fleet, dns) = (Fleet::of(3), Dns::start());
    dns.says(NAME, Said::CutOverUdp((1..=3).map(Fleet::ip).collect(), 60));
    dns.says_of(NAME, AAAA, Said::Empty);
    let proxy = fleet.before(&dns, "").start();
    has(&proxy, &fleet.addresses(1..=3)).await;
    proxy.stop().await;
}

#[tokio::test]
async fn the_first_answers_are_awaited_before_clients_are_accepted() {
    let (fleet, dns) = (Fleet::of(1), Dns::start());
    dns.says(NAME, said([1]));
    let proxy = fleet.before(&dns, "").start();
    // At once, without waiting.
    let shown = chat(&proxy).await;
    assert_eq!(addresses(&shown), fleet.addresses([1]), "{shown}");
    let expected =
        json!({ "by": "dns", "from": format!("{NAME}:{}", fleet.port), "name": format!("{NAME}:{}", fleet.port) });
    assert_eq!(shown["backends"][0]["found"], expected);
    assert_eq!(proxy.client().await.get("/", "").await.status(), 200);
    let series = |backend: &str| {
        format!("longwire_backend_found{{upstream=\"chat\",backend=\"{backend}\",by=\"dns\",name=\"{NAME}:")
    };
    let metrics = ask(&proxy, "/metrics").await.1;
    assert!(metrics.contains(&series(&fleet.addresses([1])[0])), "{metrics}");
    // So does a reload that names another place.
    dns.says("other.test", said([1]));
    let mut proxy = proxy;
    let other = Proxy::before(&[])
        .entry(&format!("dns: \"other.test:{}\"", fleet.port))
        .upstream(&format!("balance: round_robin, discovery: {{ resolver: \"{}\" }}", dns.address()))
        .with("admin: { bind: \"127.0.0.1:0\" }");
    proxy.reload(&other);
    assert_eq!(addresses(&chat(&proxy).await), fleet.addresses([1]));
    let metrics = ask(&proxy, "/metrics").await.1;
    assert!(!metrics.contains(&series(&fleet.addresses([1])[0])), "{metrics}");
    proxy.stop().await;
}

#[tokio::test]
async fn a_name_that_does_not_resolve_lets_the_proxy_start_and_serves_later() {
    let (fleet, dns) = (Fleet::of(1), Dns::start());
    let mut proxy = fleet.before(&dns, "").start();
    assert_eq!(ask(&proxy, "/readyz").await, (503, "no backend is known\n".into()));
    assert_eq!(proxy.client().await.refused_upgrade("/ws").await.status(), 503);
    assert_eq!(proxy.next_record().await["cause"], "no_backend");
    dns.says(NAME, said([1]));
    has(&proxy, &fleet.addresses([1])).await;
    assert_eq!(ask(&proxy, "/readyz").await.0, 200);
    let (client, _) = session(&proxy).await;
    client.leave().await;
    proxy.stop().await;
}

#[tokio::test]
async fn one_family_that_fails_does_not_hide_the_other() {
    let (fleet, dns) = (Fleet::of(1), Dns::start());
    dns.says_of(NAME, A, said([1]));
    dns.says_of(NAME, AAAA, Said::Failure);
    let proxy = fleet.before(&dns, "").start();
    let shown = until(&proxy, "both answers", |chat| chat["places"][0]["failure"].is_string()).await;
    assert_eq!(addresses(&shown), fleet.addresses([1]), "{shown}");
    assert_eq!(proxy.client().await.get("/", "").await.status(), 200);
    proxy.stop().await;
}

#[tokio::test]
async fn after_a_reload_of_the_settings_what_answers_counts_beside_a_family_that_fails() {
    let (fleet, dns) = (Fleet::of(2), Dns::start());
    dns.says_of(NAME, A, said([1]));
    dns.says_of(NAME, AAAA, Said::Failure);
    let mut proxy = fleet.before(&dns, "").start();
    has(&proxy, &fleet.addresses([1])).await;
    dns.says_of(NAME, A, said([2]));
    proxy.reload(&fleet.before(&dns, ", most: 9"));
    has(&proxy, &fleet.addresses([2])).await;
    assert_eq!(proxy.client().await.get("/", "").await.status(), 200);
    // Nothing was found at all: the first address that is found afterwards serves.
    for family in [A, AAAA] {
        dns.says_of(NAME, family, Said::NxDomain);
    }
    proxy.reload(&fleet.before(&dns, ", empty_after: 50ms"));
    has(&proxy, &[]).await;
    dns.says_of(NAME, AAAA, Said::Failure);
    dns.says_of(NAME, A, said([1]));
    proxy.reload(&fleet.before(&dns, ""));
    has(&proxy, &fleet.addresses([1])).await;
    proxy.stop().await;
}

#[tokio::test]
async fn two_proxies_that_hear_another_order_choose_alike() {
    let fleet = Fleet::of(5);
    let servers = [Dns::start(), Dns::start()];
    servers[0].says(NAME, said(1..=5));
    servers[1].says(NAME, said((1..=5).rev()));
    let setup = |dns: &Dns| {
        let discovery = format!("discovery: {{ resolver: \"{}\" }}", dns.address());
        let setup = fleet.before(dns, "").upstream(&format!("balance: ip_hash, {discovery}"));
        setup.with("trusted_proxies: [127.0.0.1]").start()
    };
    let proxies = servers.each_ref().map(setup);
    choose_alike_among_five(proxies).await;
}

#[tokio::test]
async fn a_proxy_that_has_known_others_before_chooses_as_one_that_has_just_started() {
    let fleet = Fleet::of(7);
    let servers = [Dns::start(), Dns::start()];
    let start = |dns: &Dns| {
        let discovery = format!("discovery: {{ resolver: \"{}\", min_ttl: 50ms }}", dns.address());
        let setup = fleet.before(dns, "").upstream(&format!("balance: ip_hash, {discovery}"));
        setup.with("trusted_proxies: [127.0.0.1]").start()
    };
    servers[0].says(NAME, said([7, 2]));
    let old = start(&servers[0]);
    let mut clients = Vec::new();
    for known in [&[6, 7, 1, 2][..], &[3], &[5, 3, 1, 4, 2]] {
        servers[0].says(NAME, said(known.iter().copied()));
        let mut sorted = known.to_vec();
        sorted.sort_unstable();
        has(&old, &fleet.addresses(sorted)).await;
        clients.push(session(&old).await.0);
    }
    for client in clients {
        client.leave().await;
    }
    servers[1].says(NAME, said([2, 5, 4, 1, 3]));
    choose_alike_among_five([old, start(&servers[1])]).await;
}

#[tokio::test]
async fn most_keeps_the_lowest_addresses() {
    let (fleet, dns) = (Fleet::of(4), Dns::start());
    dns.says(NAME, said([4, 2, 3, 1]));
    let proxy = fleet.before(&dns, ", most: 2").start();
    has(&proxy, &fleet.addresses([1, 2])).await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_service_has_tiers_and_weights() {
    let (fleet, dns) = (Fleet::of(3), Dns::start());
    let port = fleet.port;
    dns.says(
        "_ws._tcp.chat.test",
        Said::Targets(vec![(10, 3, port, "a.test"), (10, 1, port, "b.test"), (20, 1, port, "c.test")], 0),
    );
    for (name, last) in [("a.test", 1), ("b.test", 2), ("c.test", 3)] {
        dns.says(name, said([last]));
    }
    let discovery = format!("discovery: {{ resolver: \"{}\", min_ttl: 50ms }}", dns.address());
    let proxy = Proxy::before(&[])
        .entry("srv: _ws._tcp.chat.test")
        .upstream(&format!("balance: round_robin, max_fails: 1, {discovery}"))
        .with("admin: { bind: \"127.0.0.1:0\" }")
        .start();
    let shown = has(&proxy, &fleet.addresses([1, 2, 3])).await;
    assert_eq!(
        shown["backends"][2]["found"],
        json!({ "by": "srv", "from": "_ws._tcp.chat.test", "name": format!("c.test:{port}") })
    );
    let mut turns = BTreeMap::new();
    for _ in 0..8 {
        *turns.entry(session(&proxy).await.1).or_insert(0) += 1;
    }
    let expected: BTreeMap<_, _> = fleet.addresses([1, 2]).into_iter().zip([6, 2]).collect();
    assert_eq!(turns, expected);
    // The second tier serves once nobody of the first is up.
    fleet.backends[0].kill().await;
    fleet.backends[1].kill().await;
    let mut client: Wire = proxy.client().await;
    client.send(handshake("/ws", "")).await;
    assert_eq!(client.upgraded().await.header("x-backend"), Some(&*fleet.addresses([3])[0]));
    proxy.stop().await;
}

#[tokio::test]
async fn the_ttl_of_an_answer_paces_the_questions() {
    let (fleet, dns) = (Fleet::of(1), Dns::start());
    dns.says(NAME, Said::Addresses(vec![Fleet::ip(1)], 3600));
    dns.says_of(NAME, AAAA, Said::Addresses(vec!["::1".parse().unwrap()], 0));
    let proxy = fleet.before(&dns, "").start();
    // The family with no TTL is asked again and again. The other one holds for an hour.
    within("the questions", async {
        while dns.asked(NAME, AAAA) < 5 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(dns.asked(NAME, A), 1);
    proxy.stop().await;
}

#[tokio::test]
async fn nothing_remembers_an_answer_for_longer_than_max_ttl() {
    let (fleet, dns) = (Fleet::of(2), Dns::start());
    dns.says(NAME, Said::Addresses(vec![Fleet::ip(1)], 3600));
    let proxy = fleet.before(&dns, ", max_ttl: 100ms").start();
    has(&proxy, &fleet.addresses([1])).await;
    dns.says(NAME, Said::Addresses(vec![Fleet::ip(2)], 3600));
    has(&proxy, &fleet.addresses([2])).await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_reload_looks_names_up_before_it_binds_and_forgets_them_if_it_cannot() {
    let (fleet, dns) = (Fleet::of(1), Dns::start());
    dns.says(NAME, said([1]));
    let proxy = fleet.before(&dns, "").start();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let other = fleet
        .before(&dns, "")
        .entry("srv: _ws._tcp.chat.test")
        .listener(&format!("bind: \"{}\"", taken.local_addr().unwrap()));
    proxy.control().reload(other.config()).unwrap_err();
    assert!(dns.asked("_ws._tcp.chat.test", SRV) > 0, "clients of a new address would wait for the names");
    let (_, metrics) = ask(&proxy, "/metrics").await;
    assert!(metrics.contains(NAME) && !metrics.contains("_ws._tcp.chat.test"), "{metrics}");
    proxy.stop().await;
}

/// A folder with the certificate of an authority, a backend whose certificate has the name of all tests, and its name, its service
/// and another name, all of which lead to the backend.
struct Certified {
    folder: tempfile::TempDir,
    backend: Backend,
    handshakes: Handshakes,
    dns: Dns,
}

impl Certified {
    fn new() -> Self {
        let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("of names"));
        fs_err::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
        let (backend, handshakes) = Backend::secure_echo(authority.sign(&[NAME]).server(&[], None));
        let dns = Dns::start();
        dns.says(NAME, said([1]));
        dns.says("other.test", said([1]));
        dns.says("_ws._tcp.chat.test", Said::Targets(vec![(1, 1, backend.address().port(), NAME)], 0));
        Self { folder, backend, handshakes, dns }
    }

    fn dns(&self, name: &str) -> String {
        format!("dns: \"{name}:{}\"", self.backend.address().port())
    }

    fn before(&self, entry: &str, settings: &str) -> Setup {
        let discovery = format!("discovery: {{ resolver: \"{}\" }}", self.dns.address());
        Proxy::before(&[])
            .base(self.folder.path())
            .entry(entry)
            .upstream(&format!("balance: round_robin, tls: {{ ca: ca.pem }}, {discovery}{settings}"))
            .routes("routes: [ { upstream: chat, host_header: upstream } ]")
            .with("admin: { bind: \"127.0.0.1:0\" }")
    }
}

#[tokio::test]
async fn a_name_says_whose_certificate_it_must_be_and_what_the_host_is() {
    let certified = Certified::new();
    let check = ", health_check: { kind: http, interval: 20ms, jitter: 0s, timeout: 60s }";
    for entry in [certified.dns(NAME), "srv: _ws._tcp.chat.test".to_owned()] {
        let proxy = certified.before(&entry, check).start();
        until(&proxy, "a check", |chat| chat["backends"][0]["health"] == "up").await;
        assert_eq!(proxy.client().await.get("/", "").await.status(), 200, "{entry}");
        let host = format!("{NAME}:{}", certified.backend.address().port());
        assert!(certified.backend.heads().iter().all(|head| head.header("host") == Some(&*host)), "{entry}");
        assert!(certified.handshakes.seen().iter().all(|seen| seen.name.as_deref() == Some(NAME)), "{entry}");
        proxy.stop().await;
    }
    let mut proxy = certified.before(&certified.dns("other.test"), check).start();
    until(&proxy, "a check", |chat| chat["backends"][0]["health"] == "failing").await;
    assert_eq!(proxy.client().await.get("/", "").await.status(), 502);
    assert_eq!(proxy.next_record().await["cause"], "backend_tls");
    proxy.stop().await;
}

#[tokio::test]
async fn a_connection_that_was_made_for_one_name_is_not_used_for_another() {
    let certified = Certified::new();
    let mut proxy = certified.before(&certified.dns(NAME), "").start();
    // One for each worker, so that each has a connection in its pool.
    let mut clients = [proxy.client().await, proxy.client().await];
    for client in &mut clients {
        assert_eq!(client.get("/", "").await.status(), 200);
        assert_eq!(client.get("/", "").await.status(), 200);
    }
    assert_eq!(certified.handshakes.seen().len(), 2, "the second request goes over a connection of the pool");
    let reloaded = proxy.reload(&certified.before(&certified.dns("other.test"), ""));
    assert_eq!(reloaded.upstreams_changed, ["chat"], "{reloaded:?}");
    for client in &mut clients {
        assert_eq!(client.get("/", "").await.status(), 502);
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_successor_has_the_backends_of_a_name_before_it_accepts() {
    let (fleet, dns) = (Fleet::of(2), Dns::start());
    dns.says(NAME, said([1, 2]));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("longwire.sock");
    let mut old = fleet.before(&dns, "").start();
    let (client, _) = session(&old).await;
    let handover = Handover::bind(&path, &mut Inherited::default()).unwrap();
    let setup = fleet.before(&dns, "").listener(&format!("bind: \"{}\"", old.address()));
    let new = take_over_as(setup, &old, handover, &path).await;
    assert_eq!(Wire::connect(new.address()).await.get("/", "").await.status(), 200);
    assert_eq!(addresses(&chat(&new).await), fleet.addresses([1, 2]));
    client.leave().await;
    old.drain().await;
    old.stop().await;
    new.stop().await;
}

#[tokio::test]
async fn the_family_that_the_file_names_is_asked_for_alone() {
    let (fleet, dns) = (Fleet::of(1), Dns::start());
    dns.says(NAME, Said::Addresses(vec![Fleet::ip(1), "::1".parse().unwrap()], 0));
    let proxy = fleet.before(&dns, ", family: ipv4").start();
    has(&proxy, &fleet.addresses([1])).await;
    assert_eq!(dns.asked(NAME, AAAA), 0);
    proxy.stop().await;
}
