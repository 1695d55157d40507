//! Certificates of clients: who is let in, and whose session is resumed.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use tokio_rustls::rustls::{
    Error,
    pki_types::{PrivateKeyDer, UnixTime},
    sign::SingleCertAndKey,
    time_provider::TimeProvider,
};

use super::*;
use crate::config::{ClientTrust, Revocation, certificates::clients};

/// A year that is over, and one that comes late.
const PAST: i32 = 2001;
const LATER: i32 = 4000;
const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

struct Authority(CertifiedIssuer<'static, KeyPair>);

/// What a client shows: a chain, and the key of its first certificate.
struct Shown {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Authority {
    fn new(name: &str) -> Self {
        Self(CertifiedIssuer::self_signed(authority(name, 1), KeyPair::generate().unwrap()).unwrap())
    }

    /// An authority that this one has signed.
    fn below(&self, name: &str, serial: u64) -> Self {
        Self(CertifiedIssuer::signed_by(authority(name, serial), KeyPair::generate().unwrap(), &*self.0).unwrap())
    }

    fn issue(&self, serial: u64, until: i32) -> Shown {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, format!("client {serial}"));
        params.serial_number = Some(serial.into());
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &*self.0).unwrap();
        Shown { chain: vec![certificate.der().clone()], key: key.serialize_der().try_into().unwrap() }
    }

    /// A list of what this authority has revoked, in PEM. The next list is due in the year `due`.
    fn crl(&self, revoked: &[u64], due: i32) -> String {
        self.crl_made(1999, revoked, due)
    }

    fn crl_made(&self, year: i32, revoked: &[u64], due: i32) -> String {
        let entry = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2000, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(year, 1, 1),
            next_update: date_time_ymd(due, 1, 1),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&*self.0).unwrap().pem().unwrap()
    }
}

fn authority(name: &str, serial: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(serial.into());
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// A listener's files, and the tickets of its process.
struct Door {
    folder: TempDir,
    tls: Tls,
    tickets: Arc<Tickets>,
}

impl Door {
    /// Asks clients for certificates of this authority.
    fn new(ca: &Authority, is_required: bool) -> Self {
        let (folder, mut tls) = one_certificate();
        tls.client_auth = Some(ClientTrust { is_required, ca: folder.path().join("clients.pem"), revocation: None });
        let door = Self { folder, tls, tickets: tickets() };
        door.write("clients.pem", &ca.0.pem());
        door
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// With these revocation lists. `edit` changes the rules, which refuse everything at first.
    fn revoking(mut self, crl: &str, edit: impl FnOnce(&mut Revocation)) -> Self {
        self.write("clients.crl", crl);
        let crl = self.folder.path().join("clients.crl");
        let mut revocation = Revocation { crl, takes_expired: false, takes_unknown: false, leaf_only: false };
        edit(&mut revocation);
        self.trust().revocation = Some(revocation);
        self
    }

    fn trust(&mut self) -> &mut ClientTrust {
        self.tls.client_auth.as_mut().unwrap()
    }

    /// What the listener serves after it has read its files (once more).
    fn open(&self) -> Arc<ServerConfig> {
        self.loaded().at(HERE)
    }

    fn loaded(&self) -> ListenerTls {
        load(&self.tls, &self.tickets).unwrap()
    }

    fn client(&self, version: &'static SupportedProtocolVersion, shown: Option<&Shown>) -> ClientConfig {
        let mut config = client(&self.tls, &[version]);
        if let Some(Shown { chain, key }) = shown {
            let key = CertifiedKey::from_der(chain.clone(), key.clone_key(), &ring::default_provider()).unwrap();
            config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(key));
        }
        config
    }

    /// Who comes in, by each version of TLS: the leaf that was verified, or none.
    fn judge(&self, shown: Option<&Shown>) -> Result<Option<CertificateDer<'static>>, Error> {
        let server = self.open();
        let judgments = VERSIONS.map(|version| -> Result<Option<CertificateDer<'static>>, Error> {
            let (_, server) = handshake(&self.client(version, shown), &server, "a.example")?;
            Ok(server.peer_certificates().map(|chain| chain[0].clone()))
        });
        let [one, other] = &judgments;
        assert_eq!(one.as_ref().map_err(without_time), other.as_ref().map_err(without_time));
        let [judgment, _] = judgments;
        judgment
    }

    /// Whether the client whom `server` serves with a full handshake first is resumed by `next`, by each version of TLS.
    fn resumes(&self, server: &Arc<ServerConfig>, next: &Arc<ServerConfig>, shown: Option<&Shown>) -> bool {
        let resumed = VERSIONS.map(|version| {
            let client = self.client(version, shown);
            let (_, first) = handshake(&client, server, "a.example").unwrap();
            assert_eq!(first.handshake_kind(), Some(HandshakeKind::Full));
            let (_, second) = handshake(&client, next, "a.example").unwrap();
            assert_eq!(first.peer_certificates(), second.peer_certificates(), "it keeps its certificate");
            second.handshake_kind() == Some(HandshakeKind::Resumed)
        });
        assert_eq!(resumed[0], resumed[1]);
        resumed[0]
    }
}

/// An error without the moment in it.
fn without_time(error: &Error) -> String {
    format!("{error:?}").split("time").next().unwrap().to_owned()
}

fn refused(judgment: Result<Option<CertificateDer<'static>>, Error>) -> String {
    match judgment {
        Err(Error::InvalidCertificate(error)) => {
            let text = format!("{error:?}");
            text.split([' ', '{']).next().unwrap().to_owned()
        }
        Err(error) => format!("{error:?}"),
        Ok(leaf) => panic!("let in, with a certificate: {}", leaf.is_some()),
    }
}

#[test]
fn a_good_certificate_is_taken_whether_it_is_needed_or_not() {
    let ca = Authority::new("clients");
    let shown = ca.issue(2, LATER);
    for is_required in [true, false] {
        assert_eq!(Door::new(&ca, is_required).judge(Some(&shown)), Ok(Some(shown.chain[0].clone())));
    }
}

#[test]
fn no_certificate_is_fine_only_where_none_is_needed() {
    let ca = Authority::new("clients");
    assert_eq!(Door::new(&ca, false).judge(None), Ok(None));
    assert_eq!(refused(Door::new(&ca, true).judge(None)), "NoCertificatesPresented");
}

#[test]
fn a_bad_certificate_is_refused_even_where_none_is_needed() {
    let (ca, stranger) = (Authority::new("clients"), Authority::new("clients"));
    for is_required in [true, false] {
        let door = Door::new(&ca, is_required);
        // Its authority has the name of the right one, but another key.
        assert_eq!(refused(door.judge(Some(&stranger.issue(2, LATER)))), "BadSignature");
        assert_eq!(refused(door.judge(Some(&Authority::new("other").issue(2, LATER)))), "UnknownIssuer");
        assert_eq!(refused(door.judge(Some(&ca.issue(2, PAST)))), "ExpiredContext");
    }
}

#[test]
fn a_listener_that_does_not_ask_gets_no_certificate() {
    let ca = Authority::new("clients");
    let mut door = Door::new(&ca, true);
    door.tls.client_auth = None;
    assert_eq!(door.judge(Some(&ca.issue(2, LATER))), Ok(None));
}

#[test]
fn several_authorities_in_one_file_are_all_trusted() {
    let (one, other) = (Authority::new("one"), Authority::new("other"));
    let door = Door::new(&one, true);
    door.write("clients.pem", &[one.0.pem(), other.0.pem()].concat());
    for ca in [&one, &other] {
        assert!(matches!(door.judge(Some(&ca.issue(2, LATER))), Ok(Some(_))));
    }
}

#[test]
fn what_is_revoked_is_refused() {
    let ca = Authority::new("clients");
    let door = Door::new(&ca, false).revoking(&ca.crl(&[3], LATER), |_| {});
    assert!(matches!(door.judge(Some(&ca.issue(2, LATER))), Ok(Some(_))));
    assert_eq!(refused(door.judge(Some(&ca.issue(3, LATER)))), "Revoked");
    assert_eq!(door.judge(None), Ok(None));
}

#[test]
fn a_list_that_is_out_of_date_refuses_all_or_counts_on() {
    let ca = Authority::new("clients");
    let list = ca.crl(&[3], PAST);
    let strict = Door::new(&ca, true).revoking(&list, |_| {});
    assert_eq!(refused(strict.judge(Some(&ca.issue(2, LATER)))), "ExpiredRevocationListContext");
    let lax = Door::new(&ca, true).revoking(&list, |rules| rules.takes_expired = true);
    assert!(matches!(lax.judge(Some(&ca.issue(2, LATER))), Ok(Some(_))));
    assert_eq!(refused(lax.judge(Some(&ca.issue(3, LATER)))), "Revoked");
}

#[test]
fn a_certificate_that_no_list_is_about_is_refused_or_taken() {
    let (ca, other) = (Authority::new("clients"), Authority::new("other"));
    let list = other.crl(&[2], LATER);
    let strict = Door::new(&ca, true).revoking(&list, |_| {});
    assert_eq!(refused(strict.judge(Some(&ca.issue(2, LATER)))), "UnknownRevocationStatus");
    let lax = Door::new(&ca, true).revoking(&list, |rules| rules.takes_unknown = true);
    assert!(matches!(lax.judge(Some(&ca.issue(2, LATER))), Ok(Some(_))));
}

#[test]
fn the_whole_chain_or_its_leaf_alone_is_looked_up() {
    let root = Authority::new("root");
    let between = root.below("between", 7);
    let mut shown = between.issue(2, LATER);
    shown.chain.push(between.0.der().clone());
    let of_leaf = between.crl(&[], LATER);
    let of_both = [root.crl(&[7], LATER), of_leaf.clone()].concat();
    for (list, expected) in [(&of_leaf, "UnknownRevocationStatus"), (&of_both, "Revoked")] {
        let chain = Door::new(&root, true).revoking(list, |_| {});
        assert_eq!(refused(chain.judge(Some(&shown))), expected);
        let leaf = Door::new(&root, true).revoking(list, |rules| rules.leaf_only = true);
        assert_eq!(leaf.judge(Some(&shown)), Ok(Some(shown.chain[0].clone())));
    }
}

#[test]
fn a_session_keeps_its_certificate_when_it_is_resumed() {
    let ca = Authority::new("clients");
    let shown = ca.issue(2, LATER);
    for is_required in [true, false] {
        let door = Door::new(&ca, is_required).revoking(&ca.crl(&[], LATER), |_| {});
        let server = door.open();
        assert!(door.resumes(&server, &server, Some(&shown)));
        assert!(door.resumes(&server, &door.open(), Some(&shown)), "the files are read again");
    }
    let door = Door::new(&ca, false);
    assert!(door.resumes(&door.open(), &door.open(), None), "without a certificate too");
}

#[test]
fn a_session_is_never_resumed_at_another_listener() {
    let ca = Authority::new("clients");
    let shown = ca.issue(2, LATER);
    let mut door = Door::new(&ca, false);
    for _ in 0..2 {
        let (here, there) = (door.loaded().at("127.0.0.1:1"), door.loaded().at("127.0.0.1:2"));
        assert!(door.resumes(&here, &here, Some(&shown)));
        assert!(!door.resumes(&here, &there, Some(&shown)));
        // Now without certificates of clients.
        door.tls.client_auth = None;
    }
}

#[test]
fn a_session_is_not_resumed_after_what_is_taken_from_clients_has_changed() {
    let (ca, more) = (Authority::new("clients"), Authority::new("more"));
    let shown = ca.issue(2, LATER);
    let list = [ca.crl(&[9], LATER), more.crl(&[], LATER)].concat();
    type Change<'a> = &'a dyn Fn(&mut Door);
    let changes: [(&str, Change<'_>); 9] = [
        ("mode", &|door| door.trust().is_required = false),
        ("off", &|door| door.tls.client_auth = None),
        ("one more authority", &|door| door.write("clients.pem", &[ca.0.pem(), more.0.pem()].concat())),
        ("another list", &|door| door.write("clients.crl", &[ca.crl(&[8], LATER), more.crl(&[], LATER)].concat())),
        ("no list", &|door| door.trust().revocation = None),
        ("crl_expired", &|door| door.trust().revocation.as_mut().unwrap().takes_expired = true),
        ("unknown_revocation", &|door| door.trust().revocation.as_mut().unwrap().takes_unknown = true),
        ("revocation_depth", &|door| door.trust().revocation.as_mut().unwrap().leaf_only = true),
        ("nothing", &|door| {
            let path = door.folder.path().join("moved.pem");
            fs::copy(&door.trust().ca, &path).unwrap();
            door.trust().ca = path;
        }),
    ];
    for (what, change) in changes {
        let mut door = Door::new(&ca, true).revoking(&list, |_| {});
        let before = door.open();
        change(&mut door);
        let after = door.open();
        let client = door.client(&TLS13, Some(&shown));
        let kinds = [&before, &after].map(|server| {
            let (_, server) = handshake(&client, server, "a.example").unwrap();
            server.handshake_kind().unwrap()
        });
        let second = if what == "nothing" { HandshakeKind::Resumed } else { HandshakeKind::Full };
        assert_eq!(kinds, [HandshakeKind::Full, second], "{what}");
    }
}

/// A clock that stands still, in the year 2000.
#[derive(Debug)]
struct OldClock;

impl TimeProvider for OldClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(30 * 365 * 24 * 3600)))
    }
}

#[test]
fn a_session_is_not_resumed_after_its_certificate_has_expired() {
    let ca = Authority::new("clients");
    for (until, resumes) in [(LATER, true), (PAST, false)] {
        let door = Door::new(&ca, true);
        let mut loaded = door.loaded();
        // Full handshakes go by this clock, by which the certificate is good. Tickets go by the clock of the machine.
        loaded.config.time_provider = Arc::new(OldClock);
        let server = loaded.at(HERE);
        assert_eq!(door.resumes(&server, &server, Some(&ca.issue(2, until))), resumes, "{until}");
    }
}

#[test]
fn a_session_is_not_resumed_after_its_revocation_list_is_out_of_date() {
    let ca = Authority::new("clients");
    for (due, resumes) in [(LATER, true), (PAST, false)] {
        let door = Door::new(&ca, true).revoking(&ca.crl(&[], due), |_| {});
        let mut loaded = door.loaded();
        loaded.config.time_provider = Arc::new(OldClock);
        let server = loaded.at(HERE);
        assert_eq!(door.resumes(&server, &server, Some(&ca.issue(2, LATER))), resumes, "{due}");
    }
}

#[test]
fn of_two_lists_of_one_authority_the_newer_counts_in_whichever_order_they_stand() {
    let ca = Authority::new("clients");
    let (old, new) = (ca.crl_made(2000, &[], LATER), ca.crl_made(2010, &[3], LATER));
    for lists in [[&*old, &new].concat(), [&*new, &old].concat()] {
        let door = Door::new(&ca, true).revoking(&lists, |_| {});
        assert_eq!(refused(door.judge(Some(&ca.issue(3, LATER)))), "Revoked");
        assert!(matches!(door.judge(Some(&ca.issue(2, LATER))), Ok(Some(_))));
    }
}

#[test]
fn a_certificate_that_may_not_sign_others_is_no_authority() {
    let ca = Authority::new("clients");
    let (mut no_constraints, mut no_signing) = (authority("leaf", 1), authority("leaf", 1));
    no_constraints.is_ca = IsCa::ExplicitNoCa;
    no_signing.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let mut nothing_said = authority("leaf", 1);
    (nothing_said.is_ca, nothing_said.key_usages) = (IsCa::NoCa, Vec::new());
    for params in [no_constraints, no_signing, nothing_said] {
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let door = Door::new(&ca, true);
        door.write("clients.pem", &[ca.0.pem(), made.pem()].concat());
        let wrong = clients::check(door.tls.client_auth.as_ref().unwrap());
        let [wrong] = &wrong[..] else { panic!("{wrong:?}") };
        assert!(
            wrong.to_string().contains("clients.pem: holds a certificate that is no authority: `CN=leaf`"),
            "{wrong}"
        );
    }
}

#[test]
fn error_names_the_file_of_clients_and_what_is_wrong_with_it() {
    let ca = Authority::new("clients");
    let pem = |label: &str, body: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
    let list = ca.crl(&[], LATER);
    for (name, text, expected) in [
        ("clients.pem", String::new(), "clients.pem: holds no certificate"),
        ("clients.pem", list.clone(), "clients.pem: holds no certificate"),
        ("clients.pem", pem("CERTIFICATE", "AAAA"), "clients.pem: holds an unreadable certificate"),
        ("clients.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n".into(), "clients.pem: is broken PEM"),
        ("clients.crl", ca.0.pem(), "clients.crl: holds no revocation list"),
        ("clients.crl", pem("X509 CRL", "AAAA"), "clients.crl: holds a revocation list that cannot be read"),
        ("clients.crl", "-----BEGIN X509 CRL-----\nAAAA\n".into(), "clients.crl: is broken PEM"),
    ] {
        let door = Door::new(&ca, true).revoking(&list, |_| {});
        door.write(name, &text);
        let trust = door.tls.client_auth.as_ref().unwrap();
        let checked: Vec<_> = clients::check(trust).iter().map(ToString::to_string).collect();
        let loaded = load(&door.tls, &door.tickets).unwrap_err().to_string();
        assert!(loaded.contains(expected), "{loaded}");
        assert_eq!(checked, [loaded]);
    }
    let mut door = Door::new(&ca, true).revoking(&list, |_| {});
    door.trust().ca = "nowhere.pem".into();
    door.trust().revocation.as_mut().unwrap().crl = "nowhere.crl".into();
    let wrong = clients::check(door.trust());
    let paths: Vec<_> = wrong.iter().map(|error| error.path.to_str().unwrap()).collect();
    assert_eq!(paths, ["nowhere.pem", "nowhere.crl"], "both are told");
}

#[test]
fn a_chain_that_is_too_long_for_a_ticket_gets_none_and_comes_in() {
    let ca = Authority::new("clients");
    let mut shown = ca.issue(2, LATER);
    // Nothing needs these, so the client may send them.
    shown.chain.extend((0..60).map(|number| ca.below("x", number).0.der().clone()));
    let door = Door::new(&ca, true);
    let server = door.open();
    assert!(!door.resumes(&server, &server, Some(&shown)));
}
