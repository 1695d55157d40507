#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync,
};

use hickory_resolver::proto::{
    op::Message,
    rr::{
        Record,
        rdata::{CNAME, SRV},
    },
};
use tokio::net::UdpSocket;

use super::*;
use crate::discovery::ServiceTarget;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const OTHER_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// What a server says, by name and type; `None` = SERVFAIL.
type Zone = BTreeMap<(String, RecordType), Option<Vec<Record>>>;

/// A server on loopback. A name of which nothing is said does not exist.
struct Server {
    address: SocketAddr,
    zone: Arc<sync::Mutex<Zone>>,
}

impl Server {
    async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let server = Self { address: socket.local_addr().unwrap(), zone: Arc::default() };
        tokio::spawn(serve(socket, Arc::clone(&server.zone)));
        server
    }

    fn says(&self, name: &str, kind: RecordType, said: Option<Vec<Record>>) {
        self.zone.lock().unwrap().insert((name.into(), kind), said);
    }

    fn has(&self, name: &str, address: IpAddr) {
        let records = vec![record(name, address.into())];
        self.says(name, if address.is_ipv4() { RecordType::A } else { RecordType::AAAA }, Some(records));
    }

    fn fails(&self, name: &str) {
        self.says(name, RecordType::A, None);
        self.says(name, RecordType::AAAA, None);
    }

    fn forget_all(&self) {
        self.zone.lock().unwrap().clear();
    }
}

async fn serve(socket: UdpSocket, zone: Arc<sync::Mutex<Zone>>) {
    let mut bytes = [0; 1500];
    loop {
        let (length, from) = socket.recv_from(&mut bytes).await.unwrap();
        let asked = Message::from_vec(&bytes[..length]).unwrap();
        let query = asked.queries[0].clone();
        let said = zone.lock().unwrap().get(&(query.name().to_ascii(), query.query_type())).cloned();
        let mut answer = Message::response(asked.metadata.id, asked.metadata.op_code);
        match said {
            Some(Some(records)) => _ = answer.add_answers(records),
            Some(None) => answer.metadata.response_code = ResponseCode::ServFail,
            None => answer.metadata.response_code = ResponseCode::NXDomain,
        }
        answer.add_query(query);
        socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
    }
}

fn record(name: &str, data: RData) -> Record {
    Record::from_rdata(Name::from_ascii(name).unwrap(), 60, data)
}

fn whom(resolv_conf: &str, hosts: &[u8]) -> Whom {
    Whom::of(System::parse(resolv_conf.as_bytes(), hosts).unwrap(), Arc::default()).unwrap()
}

/// A client of these servers with a search list of two domains.
fn searching(servers: &[SocketAddr], empty_after: Duration) -> DnsClient {
    let client = DnsClient::new(&LookupSettings { empty_after, ..LookupSettings::default() });
    let mut whom = whom("search ns.local local", b"");
    whom.servers = Whom::fixed(servers, &client.silent).unwrap().servers;
    whom.silent = Arc::clone(&client.silent);
    DnsClient { servers: Servers::Fixed(Ok(whom)), ..client }
}

/// The addresses of the name of all tests, IPv4 and IPv6; `None` = a failure.
async fn addresses(client: &DnsClient) -> [Option<Vec<IpAddr>>; 2] {
    let of = async |question: DnsQuestion| match client.ask(&question).await {
        DnsReply::Addresses(DnsAnswer::Records { records, .. }) => Some(records.into_iter().collect()),
        DnsReply::Addresses(DnsAnswer::Empty) => Some(vec![]),
        DnsReply::Addresses(DnsAnswer::Failed(_)) => None,
        DnsReply::Targets(_) => unreachable!(),
    };
    tokio::join!(of(DnsQuestion::Ipv4("chat".into())), of(DnsQuestion::Ipv6("chat".into()))).into()
}

#[test]
fn a_name_is_searched_for_as_libc_does() {
    let asked = |name: &str, ndots| -> Vec<String> {
        let whom = whom(&format!("search ns.local local\noptions ndots:{ndots}"), b"");
        whom.names(&Name::from_ascii(name).unwrap()).iter().map(ToString::to_string).collect()
    };
    assert_eq!(asked("chat", 1), ["chat.ns.local.", "chat.local.", "chat."]);
    assert_eq!(asked("chat.example", 1), ["chat.example.", "chat.example.ns.local.", "chat.example.local."]);
    assert_eq!(asked("chat.example", 5), ["chat.example.ns.local.", "chat.example.local.", "chat.example."]);
    assert_eq!(asked("chat.example.", 5), ["chat.example."]);
    assert_eq!(asked("localhost", 5)[0], "localhost.");
}

#[test]
fn files_of_the_system_with_little_or_odd_words_serve_as_in_libc() {
    for text in ["", "# none\n", "search lo..cal local\nnameserver 127.0.0.1\n", "domain lo..cal\n"] {
        let whom = whom(text, b"192.0.2.7 db # \xe4\n");
        assert_eq!(whom.servers[0].0, SocketAddr::from(([127, 0, 0, 1], 53)), "{text}");
        let searched = if text.starts_with("search") { vec![Name::from_ascii("local").unwrap()] } else { vec![] };
        assert_eq!(whom.search, searched, "{text}");
        assert!(whom.in_hosts(&Name::from_ascii("db").unwrap(), RecordType::A, address).is_some(), "{text}");
    }
}

#[test]
fn the_file_of_hosts_is_asked_before_any_server() {
    let whom = whom("", b"192.0.2.7 here\n");
    let look_up = |name: &str, kind| whom.in_hosts(&Name::from_ascii(name).unwrap(), kind, address);
    let Some(DnsAnswer::Records { records, .. }) = look_up("here", RecordType::A) else { panic!("no records") };
    assert_eq!(records, BTreeSet::from([[192, 0, 2, 7].into()]));
    assert_eq!(look_up("here", RecordType::AAAA), Some(DnsAnswer::Empty));
    assert_eq!(look_up("elsewhere", RecordType::A), None);
}

#[tokio::test]
async fn both_families_are_those_of_one_name_of_the_search_list() {
    let server = Server::start().await;
    server.has("chat.ns.local.", V4);
    server.has("chat.local.", OTHER_V4);
    server.has("chat.local.", V6);
    let client = searching(&[server.address], Duration::from_secs(30));
    for _ in 0..2 {
        assert_eq!(addresses(&client).await, [Some(vec![V4]), Some(vec![])]);
    }
    // Whichever family is asked for first.
    let client = searching(&[server.address], Duration::from_secs(30));
    let ipv6 = client.ask(&DnsQuestion::Ipv6("chat".into())).await;
    assert_eq!(ipv6, DnsReply::Addresses(DnsAnswer::Empty));
}

#[tokio::test]
async fn a_failure_lets_no_other_name_of_the_search_list_in() {
    let server = Server::start().await;
    server.fails("chat.ns.local.");
    server.has("chat.local.", OTHER_V4);
    let client = searching(&[server.address], Duration::from_secs(30));
    assert_eq!(addresses(&client).await, [None, None]);
    server.has("chat.ns.local.", V4);
    server.has("chat.ns.local.", V6);
    assert_eq!(addresses(&client).await, [Some(vec![V4]), Some(vec![V6])]);
    server.fails("chat.ns.local.");
    assert_eq!(addresses(&client).await, [None, None]);
}

#[tokio::test]
async fn another_name_of_the_search_list_counts_once_the_first_has_been_gone_for_a_while() {
    for (empty_after, expected) in [(Duration::from_secs(3600), vec![]), (Duration::ZERO, vec![OTHER_V4])] {
        let server = Server::start().await;
        server.has("chat.ns.local.", V4);
        let client = searching(&[server.address], empty_after);
        assert_eq!(addresses(&client).await, [Some(vec![V4]), Some(vec![])]);
        server.forget_all();
        server.has("chat.local.", OTHER_V4);
        assert_eq!(addresses(&client).await, [Some(expected), Some(vec![])]);
    }
}

#[tokio::test]
async fn a_silent_server_delays_only_the_first_name_of_the_search_list() {
    let (silent, server) = (UdpSocket::bind("127.0.0.1:0").await.unwrap(), Server::start().await);
    server.has("chat.", V4);
    let client = searching(&[silent.local_addr().unwrap(), server.address], Duration::from_secs(30));
    assert_eq!(addresses(&client).await, [Some(vec![V4]), Some(vec![])]);
    let (mut asked, mut bytes) = (BTreeSet::new(), [0; 1500]);
    while let Ok(length) = silent.try_recv(&mut bytes) {
        asked.insert(Message::from_vec(&bytes[..length]).unwrap().queries[0].name().to_ascii());
    }
    assert_eq!(asked, BTreeSet::from(["chat.ns.local.".into()]));
}

#[tokio::test]
async fn a_service_is_found_behind_other_names() {
    let server = Server::start().await;
    let leads = |from: &str, to: &str| record(from, RData::CNAME(CNAME(Name::from_ascii(to).unwrap())));
    let service = record("blue.test.", RData::SRV(SRV::new(1, 2, 3, Name::from_ascii("one.test.").unwrap())));
    server.says("blue.test.", RecordType::SRV, Some(vec![service.clone()]));
    server.says("chat.test.", RecordType::SRV, Some(vec![leads("chat.test.", "blue.test."), service]));
    server.says("chat.test.", RecordType::CNAME, Some(vec![leads("chat.test.", "blue.test.")]));
    for name in ["loop.test.", "pool.test."] {
        let other = if name == "loop.test." { "pool.test." } else { "loop.test." };
        server.says(name, RecordType::CNAME, Some(vec![leads(name, other)]));
    }
    let settings = LookupSettings { resolvers: vec![server.address], ..LookupSettings::default() };
    let ask = async |name: &str| DnsClient::new(&settings).ask(&DnsQuestion::Targets(name.into())).await;
    let target = ServiceTarget { priority: 1, weight: 2, port: 3, name: "one.test".into() };
    let found = DnsAnswer::Records { records: BTreeSet::from([target]), ttl: Duration::from_secs(60) };
    assert_eq!(ask("blue.test").await, DnsReply::Targets(found.clone()));
    assert_eq!(ask("chat.test").await, DnsReply::Targets(found));
    assert!(matches!(ask("loop.test").await, DnsReply::Targets(DnsAnswer::Failed(_))));
    assert_eq!(ask("none.test").await, DnsReply::Targets(DnsAnswer::Empty));
}
