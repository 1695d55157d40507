//! The checks of servers.

use std::time::Duration;

use super::{
    lines::{HaLine, HaSection},
    server_options::ServerOptions,
};
use crate::{
    headers::is_host,
    import::{origin::is_target, tree::Twig, units},
};

/// The checks of all servers of a section, as those of the first one that has some.
pub(super) fn check(section: &HaSection, lines: &[&HaLine], all: &[ServerOptions<'_>]) -> Twig {
    let mut check = Twig::default();
    if let Some(unchecked) = lines.iter().zip(all).find(|(_, options)| !options.has("check")) {
        check.notes.push(unchecked.0.at.note("a server without check: here all servers of an upstream are checked"));
    }
    let first = all.iter().find(|options| options.has("check"));
    let value = |key: &str| first.map_or("", |options| options.value(key));
    if let Some(line) = section.option("httpchk") {
        http_check(section, line, &mut check);
    } else {
        check.bare("kind", "tcp");
    }
    let inter = units::haproxy_time(value("inter")).filter(|time| !time.is_zero()).unwrap_or(Duration::from_secs(2));
    check.bare("interval", units::duration(inter));
    check.bare("jitter", "0s");
    let timeout = section.one(&["timeout", "check"]).and_then(|line| units::haproxy_time(line.word(2)));
    if let Some(timeout) = timeout.filter(|time| !time.is_zero()) {
        check.bare("timeout", units::duration(timeout));
    }
    for (key, usual) in [("rise", 2), ("fall", 3)] {
        check.bare(key, value(key).parse::<u32>().unwrap_or(usual).clamp(1, 1000));
    }
    if value("on-marked-down") == "shutdown-sessions" {
        check.bare("on_down", "drain");
    }
    check
}

fn http_check(section: &HaSection, line: &HaLine, check: &mut Twig) {
    check.bare("kind", "http");
    let send = section.one(&["http-check", "send"]);
    let behind = |key: &str| {
        let words = &send?.words;
        words.get(words.iter().position(|word| word == key)? + 1).map(String::as_str)
    };
    let (method, path) = match (line.word(2), line.word(3)) {
        ("", _) => ("OPTIONS", "/"),
        (path, "") if path.starts_with('/') => ("OPTIONS", path),
        (method, "") => (method, "/"),
        (method, path) => (method, path),
    };
    let (method, path) = (behind("meth").unwrap_or(method), behind("uri").unwrap_or(path));
    if method != "GET" {
        check.notes.push(line.at.note(format_args!("option httpchk: longwire asks by GET, not by {method}")));
    }
    if path != "/" && is_target(path) {
        check.text("path", path);
    }
    let words = send.map_or(&[][..], |line| &line.words);
    let host = words
        .windows(3)
        .find(|words| matches!(words, [hdr, name, _] if hdr == "hdr" && name.eq_ignore_ascii_case("host")));
    if let Some([_, _, host]) = host.filter(|words| words.last().is_some_and(|host| is_host(host) && !host.is_empty()))
    {
        check.text("host", host);
    }
    let Some(expect) = section.one(&["http-check", "expect"]) else { return };
    let is_list = |text: &str| {
        !text.is_empty() && text.split([',', '-']).all(|status| status.len() == 3 && status.parse::<u16>().is_ok())
    };
    match (expect.word(2), expect.word(3)) {
        ("status", statuses) if is_list(statuses) => check.text("status", statuses),
        ("rstatus", "^2" | "(2)[0-9][0-9]" | "2.." | "^2.." | "2[0-9][0-9]") => check.text("status", "200-299"),
        ("rstatus", "(2|3)[0-9][0-9]" | "^[23]" | "[23].." | "^(2|3)" | "(2|3)..") => check.text("status", "200-399"),
        _ => check.notes.push(expect.at.note(format_args!("{}: longwire looks at the status alone", expect.text()))),
    }
}
