//! The options of a server that have no counterpart.

use super::{lines::HaLine, server_options::ServerOptions};

/// Options, and why they have no counterpart.
const LACKING: [(&str, &str); 27] = [
    ("port", CHECKED),
    ("addr", CHECKED),
    ("check-ssl", SPOKEN),
    ("check-sni", SPOKEN),
    ("check-alpn", SPOKEN),
    ("check-proto", SPOKEN),
    ("check-send-proxy", SPOKEN),
    ("check-via-socks4", SPOKEN),
    ("fastinter", "a check has one interval"),
    ("downinter", "a check has one interval"),
    ("agent-check", NO_AGENT),
    ("agent-addr", NO_AGENT),
    ("agent-port", NO_AGENT),
    ("agent-send", NO_AGENT),
    ("agent-inter", NO_AGENT),
    ("observe", COUNTED),
    ("error-limit", COUNTED),
    ("on-error", COUNTED),
    ("on-marked-up", "sessions stay at their backend when another one is back"),
    ("track", "each server has checks of its own"),
    ("maxqueue", "max_handshakes and handshake_queue of the upstream let handshakes wait"),
    ("redir", "longwire leads no request elsewhere"),
    ("proto", "longwire speaks HTTP/1.1 to backends alone"),
    ("alpn", "longwire speaks HTTP/1.1 to backends alone"),
    ("socks4", "longwire connects to backends directly"),
    ("source", "the kernel chooses the address toward backends"),
    ("namespace", "longwire connects from its own network namespace"),
];

const CHECKED: &str = "checks go to the address and port of the server itself";
const SPOKEN: &str = "checks speak to a server as requests do";
const NO_AGENT: &str = "longwire asks no agent";
const COUNTED: &str = "failures of requests count by max_fails and fail_timeout";

/// Comments about the options of servers, one for each option: about the first server that has it.
pub(super) fn notes(lines: &[&HaLine], all: &[ServerOptions<'_>]) -> Vec<String> {
    let note = |(word, why): &(&str, &str)| {
        let (line, _) = lines.iter().zip(all).find(|(line, options)| differs(word, line, options))?;
        Some(line.at.note(format_args!("{word}: {why}")))
    };
    LACKING.iter().filter_map(note).collect()
}

/// Whether an option of a server says something else than what longwire does.
fn differs(word: &str, line: &HaLine, options: &ServerOptions<'_>) -> bool {
    let own = line.word(2).rsplit_once(':');
    options.has(word)
        && match word {
            "port" => own.is_none_or(|(_, port)| port != options.value("port")),
            "addr" => own.is_none_or(|(host, _)| host != options.value("addr")),
            "check-ssl" => !options.has("ssl"),
            "check-send-proxy" => !options.has("send-proxy") && !options.has("send-proxy-v2"),
            _ => true,
        }
}
