//! Handshakes in memory.

mod clients;

use std::os::unix::fs::PermissionsExt as _;

use fs_err as fs;
use tempfile::TempDir;
use tokio_rustls::rustls::{
    self, ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, RootCertStore, ServerConnection,
    SupportedProtocolVersion, pki_types::CertificateDer,
};

use super::*;
use crate::config::certificates::{check, read_chain};

const HERE: &str = "127.0.0.1:8443";

#[test]
fn certificate_is_chosen_by_the_name_the_client_asks_for() {
    let folder = TempDir::new().unwrap();
    let tls = Tls {
        certificates: vec![
            pair(&folder, "first", &["default.example", "both.example"]),
            pair(&folder, "second", &["Chat.Example", "*.wild.example", "both.example"]),
            pair(&folder, "third", &["deep.wild.example"]),
        ],
        self_signed: false,
        client_auth: None,
    };
    let server = load(&tls, &tickets()).unwrap().at(HERE);
    for (name, expected) in [
        ("default.example", "first"),
        ("both.example", "first"),
        ("chat.example", "second"),
        ("a.wild.example", "second"),
        ("deep.wild.example", "third"),
    ] {
        let (client, _) = handshake(&client(&tls, &[&TLS13]), &server, name).unwrap();
        let chosen = client.peer_certificates().unwrap().first().unwrap().clone();
        assert_eq!(chosen, leaf(&folder, expected), "{name}");
    }
}

#[test]
fn unknown_name_or_none_gets_the_first_certificate() {
    let folder = TempDir::new().unwrap();
    let pairs =
        [pair(&folder, "first", &["default.example"]), pair(&folder, "second", &["chat.example", "*.wild.example"])];
    let certificates = Certificates::read(&pairs, &ring::default_provider()).unwrap();
    for name in [None, Some("other.example"), Some("wild.example"), Some("a.b.wild.example"), Some("localhost")] {
        let chosen = certificates.choose(name).cert.first().unwrap();
        assert_eq!(*chosen, leaf(&folder, "first"), "{name:?}");
    }
}

#[test]
fn both_tls_versions_are_spoken_and_alpn_is_http_1_1() {
    let (_folder, tls) = one_certificate();
    let server = load(&tls, &tickets()).unwrap().at(HERE);
    for (version, protocol) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        let mut config = client(&tls, &[version]);
        let (without_alpn, _) = handshake(&config, &server, "a.example").unwrap();
        assert_eq!(without_alpn.protocol_version(), Some(protocol));
        assert_eq!(without_alpn.alpn_protocol(), None);

        config.alpn_protocols = vec![b"h2".to_vec(), ALPN.to_vec()];
        let (with_alpn, _) = handshake(&config, &server, "a.example").unwrap();
        assert_eq!(with_alpn.alpn_protocol(), Some(ALPN));

        config.alpn_protocols = vec![b"h2".to_vec()];
        assert!(handshake(&config, &server, "a.example").is_err());
    }
}

#[test]
fn session_is_resumed_by_a_ticket() {
    let (_folder, tls) = one_certificate();
    let server = load(&tls, &tickets()).unwrap().at(HERE);
    for version in [&TLS12, &TLS13] {
        let client = client(&tls, &[version]);
        let kind = || {
            let (_, server) = handshake(&client, &server, "a.example").unwrap();
            server.handshake_kind()
        };
        assert_eq!(kind(), Some(HandshakeKind::Full));
        assert_eq!(kind(), Some(HandshakeKind::Resumed));
    }
}

#[test]
fn each_handshake_brings_one_ticket_for_the_next() {
    let (_folder, tls) = one_certificate();
    let server = load(&tls, &tickets()).unwrap().at(HERE);
    let client = client(&tls, &[&TLS13]);
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
        let (client, _) = handshake(&client, &server, "a.example").unwrap();
        assert_eq!((client.handshake_kind(), client.tls13_tickets_received()), (Some(kind), 1));
    }
}

#[test]
fn key_of_another_certificate_is_refused() {
    let folder = TempDir::new().unwrap();
    let first = pair(&folder, "first", &["a.example"]);
    let second = pair(&folder, "second", &["a.example"]);
    let message = refusal(&first.cert, &second.key);
    assert!(message.contains("second.key: the key does not match the certificate"), "{message}");
    assert!(message.contains("first.crt"), "{message}");
}

#[test]
fn error_names_the_file_and_what_is_wrong_with_it() {
    let folder = TempDir::new().unwrap();
    let good = pair(&folder, "good", &["a.example"]);
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let pem = |label: &str, body: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
    let no_key = file("no.key", "nothing\n");
    let encrypted = file("encrypted.key", &pem("ENCRYPTED PRIVATE KEY", "AAAA"));
    let old_style = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA";
    let encrypted_old = file("old.key", &pem("RSA PRIVATE KEY", old_style));
    let unusable = file("unusable.key", &pem("PRIVATE KEY", "AAAA"));
    let endless = file("endless.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    let unreadable = file("unreadable.crt", &pem("CERTIFICATE", "AAAA"));
    let missing = folder.path().join("missing.crt");
    for (cert, key, expected) in [
        (&good.cert, &no_key, "no.key: holds no private key"),
        (&good.cert, &good.cert, "good.crt: holds no private key"),
        (&good.cert, &encrypted, "encrypted.key: holds an encrypted"),
        (&good.cert, &encrypted_old, "old.key: holds an encrypted"),
        (&good.cert, &unusable, "unusable.key: holds a private key that cannot be used"),
        (&good.key, &good.key, "good.key: holds no certificate"),
        (&endless, &good.key, "endless.crt: is broken PEM"),
        (&unreadable, &good.key, "unreadable.crt: holds an unreadable certificate"),
        (&missing, &good.key, "missing.crt: cannot be read"),
    ] {
        let message = refusal(cert, key);
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn self_signed_pair_is_made_once_and_serves_localhost() {
    let folder = TempDir::new().unwrap();
    let files = self_signed_files(&folder);
    let tls = Tls { certificates: vec![files.clone()], self_signed: true, client_auth: None };
    assert!(check(&tls).is_ok());
    assert!(!files.cert.exists(), "check makes nothing");

    let server = load(&tls, &tickets()).unwrap().at(HERE);
    for name in ["localhost", "127.0.0.1", "::1"] {
        handshake(&client(&tls, &[&TLS13]), &server, name).unwrap();
    }
    let mode = fs::metadata(&files.key).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let in_folder = fs::read_dir(files.key.parent().unwrap()).unwrap().count();
    assert_eq!(in_folder, 2, "nothing but the pair is left");

    let before = fs::read(&files.key).unwrap();
    assert!(check(&tls).is_ok());
    load(&tls, &tickets()).unwrap();
    assert_eq!(fs::read(&files.key).unwrap(), before);
}

#[test]
fn half_a_self_signed_pair_is_refused_and_left_alone() {
    for missing_key in [true, false] {
        let folder = TempDir::new().unwrap();
        let files = self_signed_files(&folder);
        make_self_signed(&files).unwrap();
        let (missing, present) = if missing_key { (&files.key, &files.cert) } else { (&files.cert, &files.key) };
        fs::remove_file(missing).unwrap();
        let tls = Tls { certificates: vec![files.clone()], self_signed: true, client_auth: None };
        for error in [load(&tls, &tickets()).unwrap_err(), check(&tls).unwrap_err().remove(0)] {
            assert_eq!(error.path, *missing);
            assert!(matches!(&error.kind, TlsErrorKind::HalfPair { other } if other == present));
        }
        assert!(!missing.exists() && present.exists());
    }
}

fn tickets() -> Arc<Tickets> {
    Arc::new(Tickets::new(std::time::Instant::now()).unwrap())
}

fn self_signed_files(folder: &TempDir) -> CertificateFiles {
    CertificateFiles { cert: folder.path().join("certs/dev.crt"), key: folder.path().join("certs/dev.key") }
}

fn one_certificate() -> (TempDir, Tls) {
    let folder = TempDir::new().unwrap();
    let tls = Tls { certificates: vec![pair(&folder, "one", &["a.example"])], self_signed: false, client_auth: None };
    (folder, tls)
}

/// Writes `NAME.crt` and `NAME.key` for some DNS names.
fn pair(folder: &TempDir, name: &str, dns_names: &[&str]) -> CertificateFiles {
    let names: Vec<String> = dns_names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let files = CertificateFiles {
        cert: folder.path().join(format!("{name}.crt")),
        key: folder.path().join(format!("{name}.key")),
    };
    fs::write(&files.cert, made.cert.pem()).unwrap();
    fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    files
}

fn leaf(folder: &TempDir, name: &str) -> CertificateDer<'static> {
    read_chain(&folder.path().join(format!("{name}.crt"))).unwrap().remove(0)
}

fn refusal(cert: &Path, key: &Path) -> String {
    let tls = Tls {
        certificates: vec![CertificateFiles { cert: cert.to_owned(), key: key.to_owned() }],
        self_signed: false,
        client_auth: None,
    };
    let loaded = load(&tls, &tickets()).unwrap_err().to_string();
    let checked = check(&tls).unwrap_err().remove(0).to_string();
    assert_eq!(loaded, checked);
    loaded
}

/// A client that trusts all these certificates.
fn client(tls: &Tls, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for files in &tls.certificates {
        roots.add(read_chain(&files.cert).unwrap().remove(0)).unwrap();
    }
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// Connects both ends in memory, until neither has anything more to send.
fn handshake(
    client: &ClientConfig,
    server: &Arc<ServerConfig>,
    name: &str,
) -> Result<(ClientConnection, ServerConnection), rustls::Error> {
    let name = name.to_owned().try_into().unwrap();
    let mut client = ClientConnection::new(Arc::new(client.clone()), name)?;
    let mut server = ServerConnection::new(Arc::clone(server))?;
    while client.wants_write() || server.wants_write() {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        let mut unread = bytes.as_slice();
        while !unread.is_empty() {
            server.read_tls(&mut unread).unwrap();
            server.process_new_packets()?;
        }
        bytes.clear();
        server.write_tls(&mut bytes).unwrap();
        let mut unread = bytes.as_slice();
        while !unread.is_empty() {
            client.read_tls(&mut unread).unwrap();
            client.process_new_packets()?;
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok((client, server))
}
