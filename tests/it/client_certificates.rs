//! Certificates of clients (mTLS): who is let in, what the backend and the record are told, and what a reload changes.

use std::{net::SocketAddr, path::Path};

use longwire::config::{AdminBind, ListenAddress};
use percent_encoding::percent_decode_str;
use rcgen::{CertificateParams, DnType, SanType, SerialNumber};
use ring::digest::{SHA256, digest};
use tempfile::TempDir;
use tokio_rustls::{
    TlsConnector,
    rustls::{
        HandshakeKind,
        pki_types::{CertificateDer, pem::PemObject as _},
        version::{TLS12, TLS13},
    },
};

use crate::harness::{
    Authority, Backend, Head, Proxy, Setup, Shown, Wire,
    frames::{TEXT, masked, unmasked},
    handshake, tls_connect, trusting, visit, visit_at, within,
};

/// A folder with an authority of clients, `clients.pem` and its empty `clients.crl`.
struct Scene {
    folder: TempDir,
    ca: Authority,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { folder: tempfile::tempdir().unwrap(), ca: Authority::new("clients") };
        scene.write("clients.pem", &scene.ca.pem());
        scene.write("clients.crl", &scene.ca.crl(&[]));
        scene
    }

    fn write(&self, name: &str, text: &str) {
        fs_err::write(self.folder.path().join(name), text).unwrap();
    }

    /// A proxy whose first listener asks for certificates in this mode, and whose second one speaks plain TCP.
    fn before(&self, backend: &Backend, mode: &str) -> Setup {
        Proxy::before(&[backend])
            .tls(&tls(mode), self.folder.path())
            .listener(&format!("bind: \"127.0.0.1:0\", tls: {} }}, {{ bind: \"127.0.0.1:0\"", tls(mode)))
    }

    fn cert(&self) -> std::path::PathBuf {
        self.folder.path().join("dev.crt")
    }

    /// A client of a common kind, that shows a certificate.
    fn connector(&self, shown: &Shown) -> TlsConnector {
        shown.connector(&self.cert(), &TLS13)
    }
}

fn tls(mode: &str) -> String {
    format!(
        "{{ cert: dev.crt, key: dev.key, self_signed: true, \
         client_auth: {{ mode: {mode}, ca: clients.pem, crl: clients.crl }} }}"
    )
}

async fn secure(proxy: &Proxy, connector: &TlsConnector) -> Wire {
    tls_connect(connector, proxy.address(), "localhost").await.expect("a TLS handshake")
}

async fn clear(proxy: &Proxy) -> Wire {
    Wire::connect_at(&proxy.control().addresses()[1]).await
}

/// Whether a client gets an answer. In TLS 1.3 it learns of its refusal only when it reads.
async fn is_let_in(proxy: &Proxy, connector: &TlsConnector) -> bool {
    let Ok(mut client) = tls_connect(connector, proxy.address(), "localhost").await else { return false };
    client.try_send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    let answer = client.rest().await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 200"), "{}", answer.escape_ascii());
    !answer.is_empty()
}

async fn metrics(proxy: &Proxy) -> String {
    ask(proxy, "/metrics").await
}

/// What the admin interface answers.
async fn ask(proxy: &Proxy, path: &str) -> String {
    let Some(AdminBind::Tcp(address)) = proxy.control().admin_address() else { panic!("no admin interface") };
    let address: SocketAddr = address;
    let mut wire = Wire::connect(address).await;
    wire.send(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n")).await;
    wire.response().await.text().to_owned()
}

#[tokio::test]
async fn sessions_and_requests_with_a_certificate_are_served_and_recorded() {
    let (scene, backend) = (Scene::new(), Backend::echo());
    let shown = scene.ca.issue(|params| params.distinguished_name.push(DnType::OrganizationName, "Exämple, Inc"));
    let mut proxy = scene.before(&backend, "required").start();
    let fingerprint = hex(digest(&SHA256, &shown.certificate).as_ref());
    for version in [&TLS12, &TLS13] {
        let connector = shown.connector(&scene.cert(), version);
        let mut client = secure(&proxy, &connector).await;
        client.upgrade("/ws").await;
        client.send(masked(TEXT, "hello")).await;
        client.expect(unmasked(TEXT, "hello")).await;
        client.leave().await;
        let session = proxy.next_record().await;
        let mut client = secure(&proxy, &connector).await;
        assert_eq!(client.get("/", "").await.status(), 200);
        let request = proxy.next_record().await;
        for (record, kind) in [(session, "session"), (request, "request")] {
            assert_eq!(record["kind"], kind);
            assert_eq!(record["client_cert_fingerprint"], *fingerprint, "{record}");
            assert_eq!(record["client_cert_subject"], r"O=Ex%C3%A4mple\%2C Inc,CN=client", "{record}");
        }
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_client_that_a_listener_does_not_take_is_told_so_by_tls_and_counted() {
    let scene = Scene::new();
    scene.write("clients.crl", &scene.ca.crl(&[3]));
    let good = scene.ca.issue(|_| {});
    let revoked = scene.ca.issue(|params| params.serial_number = Some(SerialNumber::from(3u64)));
    let unknown = Authority::new("unknown").issue(|_| {});
    for (mode, without) in [("required", false), ("optional", true)] {
        let backend = Backend::echo();
        let proxy = scene.before(&backend, mode).with("admin: { bind: \"127.0.0.1:0\" }").start();
        for version in [&TLS12, &TLS13] {
            assert!(is_let_in(&proxy, &good.connector(&scene.cert(), version)).await);
            assert!(!is_let_in(&proxy, &revoked.connector(&scene.cert(), version)).await);
            assert!(!is_let_in(&proxy, &unknown.connector(&scene.cert(), version)).await);
            assert_eq!(is_let_in(&proxy, &trusting(&scene.cert(), &[version], &[])).await, without);
        }
        let missing = (!without).then_some("client_cert_missing");
        for reason in ["client_cert_revoked", "client_cert_unknown_issuer"].into_iter().chain(missing) {
            let counted = format!("longwire_tls_handshake_failures_total{{reason=\"{reason}\"}} 2\n");
            // A failure is counted a moment after the client has heard of it.
            within(&counted, async { while !metrics(&proxy).await.contains(&counted) {} }).await;
        }
        proxy.stop().await;
    }
}

#[tokio::test]
async fn a_route_that_needs_a_certificate_answers_403_to_whoever_has_shown_none() {
    let (scene, backend) = (Scene::new(), Backend::echo());
    let routes = "routes: [ { path: /open, upstream: chat }, \
                  { path: /, upstream: chat, client_cert: required, origins: [\"https://a.example\"] } ]";
    let mut proxy = scene.before(&backend, "optional").routes(routes).start();
    let nobody = trusting(&scene.cert(), &[], &[]);
    let foreign = "Origin: https://evil.example\r\n";
    for is_clear in [false, true] {
        let connect = async || if is_clear { clear(&proxy).await } else { secure(&proxy, &nobody).await };
        let mut client = connect().await;
        let mut asking = connect().await;
        let refused = client.get("/", "").await;
        assert_eq!(refused.status(), 403);
        assert_eq!(refused.text(), "client_cert: a client certificate is needed here\n");
        assert_eq!(proxy.next_record().await["cause"], "client_cert");
        // The same connection goes on.
        assert_eq!(client.get("/open", "").await.status(), 200);
        assert_eq!(proxy.next_record().await["cause"], "ok");
        // The page may not connect either, but the certificate is judged first.
        asking.send(handshake("/ws", foreign)).await;
        let refused = asking.response().await;
        assert_eq!((refused.status(), refused.text().split(':').next()), (403, Some("client_cert")));
        let record = proxy.next_record().await;
        assert_eq!((&record["cause"], &record["status"]), (&"client_cert".into(), &403.into()), "{record}");
        assert!(record["client_cert_fingerprint"].is_null(), "{record}");
    }
    let shown = scene.ca.issue(|_| {});
    let mut client = secure(&proxy, &scene.connector(&shown)).await;
    assert_eq!(client.get("/", "").await.status(), 200);
    client.send(handshake("/ws", foreign)).await;
    assert_eq!(client.response().await.text().split(':').next(), Some("origin"));
    let mut client = secure(&proxy, &scene.connector(&shown)).await;
    client.send(handshake("/ws", "Origin: https://a.example\r\n")).await;
    client.upgraded().await;
    client.leave().await;
    proxy.stop().await;
}

#[tokio::test]
async fn the_backend_is_told_exactly_what_the_route_names() {
    let (scene, backend) = (Scene::new(), Backend::echo());
    let shown = scene.ca.issue(odd_names);
    let routes = "routes: [ { path: /all, upstream: chat, forward_client_cert: [fingerprint, subject, san, serial, pem] }, \
                  { path: /one, upstream: chat, forward_client_cert: [serial] }, { path: /, upstream: chat } ]";
    let proxy = scene.before(&backend, "optional").routes(routes).start();
    let mut client = secure(&proxy, &scene.connector(&shown)).await;
    for (path, body) in [("/all", ""), ("/all", "Content-Length: 2\r\n\r\nhi"), ("/one", ""), ("/none", "")] {
        let end = if body.is_empty() { "\r\n" } else { "" };
        client.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\n{body}{end}")).await;
        assert_eq!(client.response().await.status(), 200);
    }
    client.upgrade("/all/ws").await;
    client.leave().await;
    let heads = backend.heads();
    let told = |place: usize| told(&heads[place]);
    let fingerprint = hex(digest(&SHA256, &shown.certificate).as_ref());
    let all = [
        ("X-Client-Cert-Fingerprint", &*fingerprint),
        ("X-Client-Cert-Subject", r"OU=a\+b=\\,O=Doe\%2C J%C3%B6rg\%20,CN=a%0D%0AX-Admin: 1%25"),
        ("X-Client-Cert-San", "DNS:a.example,URI:spiffe://example/a%2Cb%252C,DNS:*.b.example"),
        ("X-Client-Cert-Serial", "80ff01"),
    ];
    for place in [0, 1, 4] {
        let told = told(place);
        let (pem, rest) = told.split_last().unwrap();
        assert_eq!(rest, all.map(|(name, value)| (name.to_owned(), value.to_owned())), "request {place}");
        assert_eq!(pem.0, "X-Client-Cert-Pem");
        let text = percent_decode_str(&pem.1).decode_utf8().unwrap().into_owned();
        assert_eq!(CertificateDer::from_pem_slice(text.as_bytes()).unwrap(), shown.certificate);
    }
    assert_eq!(told(2), [("X-Client-Cert-Serial".to_owned(), "80ff01".to_owned())]);
    assert!(told(3).is_empty());
    proxy.stop().await;
}

#[tokio::test]
async fn a_service_that_is_asked_is_told_what_the_backend_is_told() {
    // An echo lets everybody in.
    let (scene, backend, service) = (Scene::new(), Backend::echo(), Backend::echo());
    let routes = format!(
        "routes: [ {{ upstream: chat, forward_client_cert: [fingerprint, subject], \
         auth_request: {{ url: \"http://{service}/\" }} }} ]"
    );
    let proxy = scene.before(&backend, "optional").routes(&routes).start();
    let mut client = secure(&proxy, &scene.connector(&scene.ca.issue(odd_names))).await;
    assert_eq!(client.get("/", "X-Client-Cert-Subject: CN=root\r\n").await.status(), 200);
    client.upgrade("/ws").await;
    client.leave().await;
    let (asked, heads) = (service.heads(), backend.heads());
    assert_eq!((asked.len(), heads.len()), (2, 2));
    for (question, head) in asked.iter().zip(&heads) {
        assert_eq!((told(question).len(), told(question)), (2, told(head)));
        assert_eq!(question.header("x-forwarded-proto"), Some("https"));
    }
    proxy.stop().await;
}

fn odd_names(params: &mut CertificateParams) {
    params.distinguished_name.push(DnType::CommonName, "a\r\nX-Admin: 1%");
    params.distinguished_name.push(DnType::OrganizationName, "Doe, Jörg ");
    params.distinguished_name.push(DnType::OrganizationalUnitName, r"a+b=\");
    params.serial_number = Some(SerialNumber::from_slice(&[0x80, 0xff, 1]));
    params.subject_alt_names = vec![
        SanType::DnsName("a.example".try_into().unwrap()),
        SanType::URI("spiffe://example/a,b%2C".try_into().unwrap()),
        SanType::DnsName("*.b.example".try_into().unwrap()),
    ];
}

/// The fields that tell of a certificate, however they are spelled, in their order.
fn told(head: &Head) -> Vec<(String, String)> {
    let fields = head.as_str().lines().filter_map(|line| line.split_once(": "));
    let of_certificates =
        fields.filter(|(name, _)| name.to_lowercase().replace(['_', '.'], "-").contains("client-cert"));
    of_certificates.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[tokio::test]
async fn no_client_can_say_for_itself_what_its_certificate_is() {
    let (scene, backend) = (Scene::new(), Backend::echo());
    let routes = "routes: [ { upstream: chat, forward_client_cert: [subject] } ]";
    let setup = scene.before(&backend, "optional").routes(routes).with("trusted_proxies: [127.0.0.0/8]");
    let proxy = setup.start();
    let lies = "X-Client-Cert-Subject: CN=admin\r\nx-client-cert-fingerprint: 00\r\nX-Client-Cert-Verified: yes\r\n\
                X_Client_Cert_Subject: CN=admin\r\nX-Client_Cert-Pem: pem\r\nx.client.cert.san: DNS:admin\r\n";
    let hidden = format!("{lies}Connection: X-Client-Cert-Subject\r\n");
    let nobody = trusting(&scene.cert(), &[], &[]);
    let shown = scene.ca.issue(|_| {});
    let known = scene.connector(&shown);
    let mut requests = 0;
    for place in ["clear", "tls", "certificate"] {
        let connect = async || match place {
            "clear" => clear(&proxy).await,
            "tls" => secure(&proxy, &nobody).await,
            _ => secure(&proxy, &known).await,
        };
        let mut client = connect().await;
        assert_eq!(client.get("/", lies).await.status(), 200);
        assert_eq!(client.get("/", &hidden).await.status(), 200);
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{lies}Content-Length: 1\r\n\r\nx")).await;
        assert_eq!(client.response().await.status(), 200);
        client.send(handshake("/ws", lies)).await;
        client.upgraded().await;
        client.leave().await;
        let heads = backend.heads();
        let expected = match place {
            "certificate" => vec![("X-Client-Cert-Subject".to_owned(), "CN=client".to_owned())],
            _ => Vec::new(),
        };
        for head in &heads[requests..] {
            assert_eq!(told(head), expected, "{place}: {}", head.as_str());
        }
        assert_eq!(heads.len(), requests + 4);
        requests = heads.len();
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_reload_that_changes_what_is_trusted_resumes_no_session_of_before() {
    let (scene, backend) = (Scene::new(), Backend::echo());
    let setup = scene.before(&backend, "required");
    let mut proxy = setup.clone().start();
    let shown = scene.ca.issue(|_| {});
    let other = Authority::new("other");
    for version in [&TLS12, &TLS13] {
        scene.write("clients.pem", &scene.ca.pem());
        scene.write("clients.crl", &scene.ca.crl(&[]));
        proxy.reload(&setup);
        let connector = shown.connector(&scene.cert(), version);
        assert_eq!(visit(&proxy, &connector).await, HandshakeKind::Full);
        assert_eq!(visit(&proxy, &connector).await, HandshakeKind::Resumed);
        proxy.reload(&setup);
        assert_eq!(visit(&proxy, &connector).await, HandshakeKind::Resumed, "nothing has changed");
        for (name, text) in
            [("clients.pem", [other.pem(), scene.ca.pem()].concat()), ("clients.crl", scene.ca.crl(&[9]))]
        {
            scene.write(name, &text);
            assert_eq!(visit(&proxy, &connector).await, HandshakeKind::Resumed, "the file has not been read");
            proxy.reload(&setup);
            assert_eq!(visit(&proxy, &connector).await, HandshakeKind::Full, "another {name}");
            assert_eq!(visit(&proxy, &connector).await, HandshakeKind::Resumed);
        }
        // Who is revoked now does not come back by an old session.
        scene.write("clients.crl", &scene.ca.crl(&[1]));
        proxy.reload(&setup);
        assert!(!is_let_in(&proxy, &connector).await);
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_live_session_shows_its_certificate_and_is_found_by_it() {
    let (scene, backend) = (Scene::new(), Backend::by_hand());
    let proxy = scene.before(&backend, "optional").with("admin: { bind: \"127.0.0.1:0\" }").start();
    let connector =
        scene.connector(&scene.ca.issue(|params| params.distinguished_name.push(DnType::CommonName, "Device 7")));
    let mut client = secure(&proxy, &connector).await;
    client.send(handshake("/ws", "")).await;
    let at_backend = backend.accepted().await;
    client.upgraded().await;
    for (search, count) in [("device%207", 1), ("device%208", 0)] {
        let sessions = ask(&proxy, &format!("/api/sessions?text={search}")).await;
        assert_eq!(sessions.matches("\"client_cert_subject\":\"CN=Device 7\"").count(), count, "{sessions}");
    }
    drop((client, at_backend));
    proxy.stop().await;
}

#[tokio::test]
async fn a_session_of_one_listener_is_not_resumed_at_another() {
    let (scene, backend) = (Scene::new(), Backend::echo());
    let two = format!(
        "bind: \"127.0.0.1:0\", tls: {} }}, {{ bind: \"127.0.0.1:0\", tls: {}",
        tls("optional"),
        tls("optional")
    );
    let proxy = scene.before(&backend, "optional").listener(&two).start();
    let addresses: Vec<_> = proxy.control().addresses().iter().filter_map(ListenAddress::tcp).collect();
    let connector = scene.connector(&scene.ca.issue(|_| {}));
    assert_eq!(visit_at(addresses[0], &connector).await, HandshakeKind::Full);
    assert_eq!(visit_at(addresses[0], &connector).await, HandshakeKind::Resumed);
    assert_eq!(visit_at(addresses[1], &connector).await, HandshakeKind::Full);
    proxy.stop().await;
}

#[tokio::test]
async fn a_reload_with_a_bad_file_of_clients_changes_nothing() {
    let (scene, backend) = (Scene::new(), Backend::echo());
    let file = scene.folder.path().join("proxy.yaml");
    let proxy = scene.before(&backend, "required").start_from(&file);
    let connector = scene.connector(&scene.ca.issue(|_| {}));
    let stranger = scene.connector(&Authority::new("stranger").issue(|_| {}));
    assert_eq!(visit(&proxy, &connector).await, HandshakeKind::Full);
    for (name, text) in [("clients.pem", "no certificate"), ("clients.crl", "no list")] {
        let good = fs_err::read_to_string(scene.folder.path().join(name)).unwrap();
        scene.write(name, text);
        let error = proxy.control().reload_from(&file).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("proxy.yaml:2:"), "{error}");
        assert_eq!(visit(&proxy, &connector).await, HandshakeKind::Resumed);
        assert!(!is_let_in(&proxy, &stranger).await);
        scene.write(name, &good);
        proxy.control().reload_from(&file).unwrap();
        assert_eq!(visit(&proxy, &connector).await, HandshakeKind::Resumed);
    }
    proxy.stop().await;
}

#[tokio::test]
async fn the_ends_of_authorities_and_revocation_lists_are_shown() {
    let (scene, backend) = (Scene::new(), Backend::echo());
    scene.write("clients.pem", &[scene.ca.pem(), Authority::new("Other, Ltd").pem()].concat());
    let setup = scene.before(&backend, "optional").with("admin: { bind: \"127.0.0.1:0\" }");
    let mut proxy = setup.clone().start();
    let (pem, crl) = (scene.folder.path().join("clients.pem"), scene.folder.path().join("clients.crl"));
    // The first days of the years 4096 and 4000.
    let lines = [
        (&pem, "client_ca", "ca", "subject", "CN=clients", 67_090_118_400_i64),
        (&pem, "client_ca", "ca", "subject", r"CN=Other\\%2C Ltd", 67_090_118_400),
        (&crl, "client_crl", "crl", "issuer", "CN=clients", 64_060_588_800),
    ];
    let shown = metrics(&proxy).await;
    for (path, what, file, whose, name, at) in lines {
        let path: &Path = path;
        let labels = format!("listener=\"127.0.0.1:0\",{file}=\"{}\",{whose}=\"{name}\"", path.display());
        let line = format!("longwire_{what}_expiry_timestamp_seconds{{{labels}}} {at}\n");
        assert!(shown.contains(&line), "{line} in {shown}");
    }
    proxy.reload(&setup.listener("bind: \"127.0.0.1:0\""));
    let shown = within("the metrics", metrics(&proxy)).await;
    assert!(!shown.contains("CN=clients"), "{shown}");
    proxy.stop().await;
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
