//! The `bind` lines: each becomes a listener.

use super::lines::{HaLine, HaSection, unknown};
use crate::{
    import::{
        nginx::servers::{ListenPlace, endpoint, merged},
        origin::joined,
        tree::{Branch, Twig},
    },
    sender::Network,
};

/// A listener in the making.
#[derive(Debug)]
pub(super) struct BoundAddress {
    endpoint: ListenPlace,
    twig: Twig,
}

/// Where certificates are, as `global` says it.
#[derive(Debug, Clone, Copy)]
pub(super) struct CertificateBases<'a> {
    pub(super) crt: &'a str,
    pub(super) ca: &'a str,
}

/// Adds the listeners of a section. One that would be in the clear where HAProxy speaks TLS is left out, with a comment among
/// `left_out`.
pub(super) fn collect(
    section: &HaSection,
    bases: CertificateBases<'_>,
    read: &mut dyn FnMut(&str) -> Vec<(String, String)>,
    bound: &mut Vec<BoundAddress>,
    left_out: &mut Vec<String>,
) {
    let expected = section.lines.iter().find(|line| line.says(&["tcp-request", "connection", "expect-proxy"]));
    for line in section.lines.iter().filter(|line| line.word(0) == "bind") {
        for address in line.word(1).split(',') {
            let (found, notes) = place(address, line);
            let mut twig = Twig { notes, ..Twig::default() };
            let same = bound.iter().position(|other| merged(&other.endpoint, &found).is_some());
            if let Some(other) = same.and_then(|place| bound.get_mut(place)) {
                other.endpoint = merged(&other.endpoint, &found).unwrap_or(found);
                continue;
            }
            options(line, &found, expected, &mut twig);
            if line.words.iter().any(|word| word == "ssl") {
                let tls = tls(line, bases, read, &mut twig);
                if tls.pairs.is_empty() {
                    left_out.append(&mut twig.notes);
                    left_out.push(line.at.note("left out: TLS without a certificate that longwire can have"));
                    continue;
                }
                twig.put("tls", Branch::Map(tls));
            }
            bound.push(BoundAddress { endpoint: found, twig });
        }
    }
}

/// The port of all listeners, if they have one alone.
pub(super) fn only_port(bound: &[BoundAddress]) -> Option<u16> {
    let mut ports = bound.iter().filter_map(|bound| match &bound.endpoint {
        ListenPlace::Tcp(address) => Some(address.port()),
        ListenPlace::Unix(_) => None,
    });
    let first = ports.next()?;
    ports.all(|port| port == first).then_some(first)
}

impl BoundAddress {
    pub(super) fn into_twig(self) -> Twig {
        let Self { endpoint, twig } = self;
        let mut listener = Twig { notes: twig.notes, ..Twig::default() };
        match endpoint {
            ListenPlace::Tcp(address) => listener.text("bind", address.to_string()),
            ListenPlace::Unix(name) => listener.text("bind", name),
        }
        listener.pairs.extend(twig.pairs);
        listener
    }
}

/// The address of a `bind`, and comments about it.
fn place(text: &str, line: &HaLine) -> (ListenPlace, Vec<String>) {
    let v6 = text.strip_prefix("ipv6@");
    let bare = text.strip_prefix("ipv4@").or(v6).unwrap_or(text);
    let path = bare.strip_prefix("unix@").or_else(|| bare.starts_with('/').then_some(bare));
    let socket = path.map(|path| format!("unix:{path}"));
    if let Some(socket) = socket.or_else(|| bare.strip_prefix("abns@").map(|name| format!("unix:@{name}"))) {
        return match endpoint(&socket) {
            Ok(place) => (place, Vec::new()),
            Err(place) => (place, vec![line.at.note(format_args!("bind {text}: this is no name of a socket"))]),
        };
    }
    let (host, port) = bare.rsplit_once(':').unwrap_or((bare, "80"));
    let is_any_v6 = matches!(host, "::" | "[::]") || v6.is_some() && matches!(host, "" | "*");
    let whole = if is_any_v6 { format!("[::]:{port}") } else { format!("{host}:{port}") };
    let is_single = port.parse::<u16>().is_ok();
    match endpoint(&whole) {
        Ok(endpoint) if is_single => (endpoint, Vec::new()),
        Ok(endpoint) | Err(endpoint) => (
            endpoint,
            vec![line.at.note(format_args!(
                "bind {text}: {}",
                unknown(text, "longwire listens on addresses with one port each")
            ))],
        ),
    }
}

fn options(line: &HaLine, endpoint: &ListenPlace, expected: Option<&HaLine>, twig: &mut Twig) {
    let value = |key: &str| {
        let place = line.words.iter().position(|word| word == key)?;
        line.words.get(place + 1).cloned()
    };
    if matches!(endpoint, ListenPlace::Unix(name) if !name.starts_with("unix:@")) {
        // longwire has the rights of owner, group and others, and no bits above them.
        let is_octal = |mode: &String| {
            let digits = mode.trim_start_matches('0');
            (1..=4).contains(&mode.len()) && digits.len() <= 3 && mode.bytes().all(|byte| (b'0'..=b'7').contains(&byte))
        };
        if let Some(mode) = value("mode").filter(is_octal) {
            twig.text("mode", format!("{mode:0>4}"));
        }
        for (theirs, ours) in [("user", "owner"), ("group", "group")] {
            let is_account = |name: &String| {
                let is_word = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
                is_word && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            };
            if let Some(account) = value(theirs).filter(is_account) {
                twig.text(ours, account);
            }
        }
    }
    let mut trust = Twig::default();
    if line.words.iter().any(|word| word == "accept-proxy") {
        trust.notes.push(line.at.note("accept-proxy believes anybody: name the proxies in front here"));
        trust.texts("from", vec!["0.0.0.0/0".to_owned(), "::/0".to_owned()]);
    } else if let Some(expected) = expected {
        let words = expected.words.iter().skip_while(|word| *word != "src").skip(1).take_while(|word| *word != "}");
        let from: Vec<String> = words.filter(|word| word.parse::<Network>().is_ok()).cloned().collect();
        if from.is_empty() {
            twig.notes.push(
                expected.at.note(format_args!("{}: name the proxies in front in proxy_protocol", expected.text())),
            );
        } else {
            trust.texts("from", from);
            trust.bare("required", false);
        }
    }
    twig.map("proxy_protocol", trust);
}

fn tls(
    line: &HaLine,
    bases: CertificateBases<'_>,
    read: &mut dyn FnMut(&str) -> Vec<(String, String)>,
    twig: &mut Twig,
) -> Twig {
    let values = |key: &str| -> Vec<&str> {
        let places = line.words.iter().enumerate().filter(|(_, word)| *word == key);
        places.filter_map(|(place, _)| line.words.get(place + 1).map(String::as_str)).collect()
    };
    let mut files: Vec<String> = Vec::new();
    for crt in values("crt") {
        let path = joined(bases.crt, crt);
        // What stands beside the certificates of a folder.
        let is_beside = |name: &str| [".key", ".issuer", ".ocsp", ".sctl"].iter().any(|end| name.ends_with(end));
        let found = read(&format!("{}/*", path.trim_end_matches('/')));
        let found: Vec<_> = found.into_iter().map(|(name, _)| name).filter(|name| !is_beside(name)).collect();
        let is_folder = crt.ends_with('/') || !crt.rsplit('/').next().unwrap_or_default().contains('.');
        if found.is_empty() && (!is_folder || !read(&path).is_empty()) {
            files.push(path);
        } else if found.is_empty() {
            twig.notes.push(line.at.note(format_args!("crt {crt}: longwire wants each file of the folder by name")));
        }
        files.extend(found);
    }
    for list in values("crt-list") {
        let found = read(&joined(bases.crt, list));
        if found.is_empty() {
            twig.notes.push(line.at.note(format_args!("crt-list {list}: longwire wants each certificate by name")));
        }
        let names = found.iter().flat_map(|(_, text)| text.lines()).filter(|line| !line.starts_with('#'));
        files.extend(names.filter_map(|line| line.split_whitespace().next()).map(|name| joined(bases.crt, name)));
    }
    let mut tls = Twig::default();
    let pair = |file: &String| {
        let mut pair = Twig::default();
        pair.text("cert", file);
        pair.text("key", file);
        pair
    };
    match files.as_slice() {
        [] => return tls,
        [file] => tls.pairs = pair(file).pairs,
        several => tls.put("certificates", Branch::Maps(several.iter().map(pair).collect())),
    }
    let verify = values("verify").first().copied().unwrap_or("none");
    if let (Some(ca), "required" | "optional") = (values("ca-file").first(), verify) {
        let mut auth = Twig::default();
        auth.bare("mode", verify);
        auth.text("ca", joined(bases.ca, ca));
        if let Some(crl) = values("crl-file").first() {
            auth.text("crl", joined(bases.ca, crl));
        }
        tls.map("client_auth", auth);
    }
    tls
}
