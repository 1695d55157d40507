//! The names of nginx's directives: which of them exist, and which one was meant.

use super::blocks::{Directive, FREE};
use crate::import::remark::{Gravity, Remark};

/// The directives of nginx and of its own modules, those of the commercial version too, sorted.
const KNOWN: &str = include_str!("directives.txt");

/// How names of modules by others begin.
const BY_OTHERS: [&str; 40] = [
    "passenger",
    "nchan_",
    "push_",
    "lua_",
    "echo",
    "pubcookie_",
    "testcookie",
    "upload",
    "srcache_",
    "vhost_traffic_",
    "more_",
    "brotli",
    "zstd",
    "modsecurity",
    "fancyindex",
    "headers_more",
    "set_",
    "pagespeed",
    "rtmp",
    "auth_",
    "geoip2",
    "check",
    "dyups",
    "vod",
    "video_",
    "hls_",
    "dash",
    "redis",
    "memc_",
    "naxsi",
    "BasicRule",
    "CheckRule",
    "DeniedUrl",
    "LearningMode",
    "SecRulesEnabled",
    "opentracing",
    "opentelemetry",
    "access_by_lua",
    "init_",
    "shib_",
];

/// Directives that exist in `stream` alone.
const OF_STREAM: [&str; 9] = [
    "proxy_timeout",
    "proxy_responses",
    "proxy_requests",
    "proxy_download_rate",
    "proxy_upload_rate",
    "preread_timeout",
    "preread_buffer_size",
    "ssl_preread",
    "proxy_session_drop",
];

/// What guides write, and what they mean.
const MEANT: [(&str, &str); 8] = [
    ("proxy_max_conn", "`max_conns` is a parameter of `server` in an `upstream`"),
    ("proxy_max_conns", "`max_conns` is a parameter of `server` in an `upstream`"),
    ("proxy_websocket", "write proxy_http_version 1.1 and proxy_set_header Upgrade and Connection"),
    ("websocket", "write proxy_http_version 1.1 and proxy_set_header Upgrade and Connection"),
    ("proxy_upgrade", "write proxy_set_header Upgrade $http_upgrade"),
    ("proxy_keepalive", "write keepalive in the `upstream`"),
    ("proxy_keepalive_timeout", "write keepalive_timeout in the `upstream`"),
    ("proxy_idle_timeout", "proxy_read_timeout ends a silent session"),
];

/// Remarks about directives that do not exist.
pub(super) fn remarks(directives: &[Directive], is_in_stream: bool, remarks: &mut Vec<Remark>) {
    for directive in directives {
        let name = directive.name.as_str();
        if let Some((severity, text)) = judgement(name, is_in_stream) {
            remarks.push(Remark::new(&directive.at, severity, name, text));
        }
        if !FREE.contains(&name) {
            self::remarks(directive.inner(), is_in_stream || matches!(name, "stream" | "mail"), remarks);
        }
    }
}

fn judgement(name: &str, is_in_stream: bool) -> Option<(Gravity, String)> {
    if !is_in_stream && OF_STREAM.contains(&name) {
        let text = format!("`{name}` is a directive of `stream`: here nginx refuses the file");
        return Some((Gravity::Error, text));
    }
    let is_known = |name: &str| KNOWN.lines().any(|known| known == name);
    if is_known(name) {
        return None;
    }
    if let Some((_, meant)) = MEANT.iter().find(|(foreign, _)| *foreign == name) {
        return Some((Gravity::Error, format!("nginx has no directive `{name}` and refuses the file: {meant}")));
    }
    if let Some(close) = nearest(name) {
        let text = format!("nginx has no directive `{name}` and refuses the file: did you mean `{close}`?");
        return Some((Gravity::Error, text));
    }
    if BY_OTHERS.iter().any(|begin| name.starts_with(begin)) || name.contains("_by_lua") {
        return None;
    }
    let text = format!("nginx has no directive `{name}`, and refuses the file unless a module by others has it");
    Some((Gravity::Error, text))
}

/// The directive that was probably meant.
fn nearest(name: &str) -> Option<&'static str> {
    let most = name.len() / 8 + 1;
    let known = KNOWN.lines().filter(|known| known.len().abs_diff(name.len()) <= most);
    let near = known.map(|known| (strsim::damerau_levenshtein(known, name), known)).min()?;
    (near.0 <= most && name.len() > 3).then_some(near.1)
}
