//! The keywords of HAProxy's sections: which exist, and which have no counterpart.

use super::lines::{HaLine, HaSection};
use crate::import::remark::{Gravity, Remark};

/// The keywords of `defaults`, `frontend`, `listen` and `backend`.
const KNOWN: &str = "
    acl backlog balance bind block capture clitcpka-cnt clitcpka-idle clitcpka-intvl clitimeout compression contimeout
    cookie crt declare default-server default_backend description disabled dispatch dynamic-cookie-key email-alert enabled
    errorfile errorfiles errorloc errorloc302 errorloc303 error-log-format external-check filter force-be-switch
    force-persist fullconn grace guid hash-balance-factor hash-preserve-affinity hash-type http-after-response http-check
    http-error http-request http-response http-reuse http-send-name-header id ignore-persist
    load-server-state-from-file log log-format log-format-sd log-steps log-tag max-keep-alive-queue max-session-srv-conns
    maxconn mode monitor monitor-net monitor-uri no option persist quic-initial rate-limit redirect reqadd reqallow reqdel
    reqdeny reqiallow reqidel reqideny reqipass reqirep reqitarpit reqpass reqrep reqtarpit retries retry-on rspadd rspdel
    rspdeny rspidel rspideny rspirep rsprep server server-state-file-name server-template source srvtcpka-cnt
    srvtcpka-idle srvtcpka-intvl srvtimeout stats stick stick-table tcp-check tcp-request tcp-response timeout transparent
    unique-id-format unique-id-header use_backend use-fcgi-app use-server bind-process appsession default";

/// Keywords that have no counterpart, and why.
const LACKING: [(&str, &str); 22] = [
    ("compression", "longwire compresses nothing"),
    ("dispatch", "name a server"),
    ("email-alert", "metrics and alerts say it: admin, docs/metrics.md"),
    ("errorfile", "longwire has no pages of its own"),
    ("errorfiles", "longwire has no pages of its own"),
    ("errorloc", "longwire has no pages of its own"),
    ("errorloc302", "longwire has no pages of its own"),
    ("errorloc303", "longwire has no pages of its own"),
    ("external-check", "health_check asks by itself"),
    ("filter", "longwire has no filters"),
    ("force-persist", "longwire has no such thing"),
    ("http-error", "longwire has no pages of its own"),
    ("http-send-name-header", "longwire does not tell a backend its name"),
    ("ignore-persist", "longwire has no such thing"),
    ("monitor-uri", "admin has /healthz and /readyz"),
    ("rate-limit", "limits.new_sessions bounds new WebSockets"),
    ("source", "the kernel chooses the address toward backends"),
    ("stick", "sticky_cookie of a route, or balance: hash, keeps a client at its server"),
    ("stick-table", "limits.sessions_per_client and new_sessions_per_client bound clients"),
    ("tcp-check", "health_check asks by tcp, http or websocket"),
    ("use-fcgi-app", "longwire speaks HTTP/1.1 to backends alone"),
    ("use-server", "longwire chooses a server by balance alone"),
];

/// Comments about the lines of a section that have no counterpart.
pub(super) fn notes(section: &HaSection) -> Vec<String> {
    // Such a table becomes a hash.
    let is_hashed = |line: &&HaLine| line.says(&["stick", "on", "src"]) || line.says(&["stick-table", "type", "ip"]);
    let sticks = section.lines.iter().any(|line| line.says(&["stick", "on", "src"]));
    section.lines.iter().filter(|line| !(sticks && is_hashed(line))).filter_map(note).collect()
}

fn note(line: &HaLine) -> Option<String> {
    let word = line.word(0);
    if word == "option" && line.word(1).starts_with("tcp-check") || line.says(&["http-request", "return"]) {
        return None;
    }
    let (_, why) = LACKING.iter().find(|(known, _)| *known == word)?;
    Some(line.at.note(format_args!("{}: {why}", line.text())))
}

/// Remarks about keywords that do not exist.
pub(super) fn remarks(section: &HaSection, remarks: &mut Vec<Remark>) {
    if !matches!(section.kind.as_str(), "defaults" | "frontend" | "listen" | "backend") {
        return;
    }
    for line in &section.lines {
        let word = line.word(0);
        let known = || KNOWN.split_whitespace();
        if known().any(|known| known == word) {
            continue;
        }
        let near = known().map(|known| (strsim::damerau_levenshtein(known, word), known)).min();
        let meant = near.filter(|(distance, _)| *distance <= word.len() / 4 + 1).map(|(_, known)| known);
        let text = match meant {
            Some(meant) => format!("HAProxy has no keyword `{word}` and refuses the file: did you mean `{meant}`?"),
            None => format!("HAProxy has no keyword `{word}` and refuses the file"),
        };
        remarks.push(Remark::new(&line.at, Gravity::Error, word, text));
    }
}
