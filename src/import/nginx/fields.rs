//! `proxy_set_header`, `add_header` and what belongs to them.

use hyper::header::HeaderName;

use super::{
    scope::{Scope, variable},
    upstreams::PassTarget,
};
use crate::{
    headers::{FieldText, is_host, is_untouchable},
    import::tree::{Branch, Twig},
};

/// Variables that have a word here.
const WORDS: [(&str, &str); 6] = [
    ("$remote_addr", "{client_ip}"),
    ("$realip_remote_addr", "{client_ip}"),
    ("$proxy_add_x_forwarded_for", "{client_ip}"),
    ("$http_host", "{host}"),
    ("$host", "{host}"),
    ("$request_id", "{request_id}"),
];

/// Fields that longwire itself writes, with the values that say no more than longwire's own.
const OWN: [(&str, &[&str]); 7] = [
    ("x-real-ip", &["$remote_addr", "$realip_remote_addr", "$http_x_real_ip", "$proxy_protocol_addr"]),
    (
        "x-forwarded-for",
        &["$proxy_add_x_forwarded_for", "$remote_addr", "$proxy_protocol_addr", "$http_x_forwarded_for"],
    ),
    ("x-forwarded-proto", &["$scheme", "$http_x_forwarded_proto"]),
    ("x-forwarded-host", &["$host", "$http_host", "$server_name", "$host:$server_port"]),
    ("x-forwarded-port", &["$server_port"]),
    ("x-request-id", &["$request_id", "$http_x_request_id"]),
    ("x-forwarded-ssl", &[]),
];

/// The keys of a route that say which fields its backend and its client get.
pub(super) fn put(keys: &mut Twig, scope: &Scope<'_>, target: &PassTarget, granted: &[String]) {
    host(keys, scope, target);
    request_fields(keys, scope, granted);
    answer_fields(keys, scope);
}

fn host(keys: &mut Twig, scope: &Scope<'_>, target: &PassTarget) {
    let set = scope.all("proxy_set_header");
    let host = set.iter().rev().find(|header| header.arg(0).eq_ignore_ascii_case("host"));
    let value = host.map_or_else(|| "$proxy_host".to_owned(), |host| scope.expanded(host.arg(1)));
    match value.as_str() {
        "$host"
        | "$http_host"
        | "$host:$server_port"
        | "$server_name"
        | "$host:$proxy_port"
        | "$http_host:$server_port" => {}
        "$proxy_host" | "$proxy_host:$proxy_port" => {
            if host.is_none() {
                keys.notes.push(
                    "nginx sends this Host, and mends a Location that names it; without host_header the backend gets that of \
                     the client, which most want"
                        .to_owned(),
                );
            }
            let name = target.proxy_host();
            let is_address = target.authority.contains(':') || name.contains('.') && !name.contains('_');
            if is_address || !is_host(name) {
                keys.text("host_header", "upstream");
            } else {
                keys.text("host_header", name);
            }
        }
        name if is_host(name) && !name.is_empty() => keys.text("host_header", name),
        other => {
            if let Some(host) = host {
                keys.notes.push(host.at.note(format_args!("Host {other}: the backend gets that of the client")));
            }
        }
    }
}

fn request_fields(keys: &mut Twig, scope: &Scope<'_>, granted: &[String]) {
    let (mut set, mut remove): (Twig, Vec<String>) = Default::default();
    for header in scope.all("proxy_set_header") {
        let (name, value) = (header.arg(0), scope.expanded(header.arg(1)));
        let Ok(field) = name.parse::<HeaderName>() else {
            keys.notes.push(header.at.note(format_args!("`{name}` is no name of a field")));
            continue;
        };
        let own = OWN.iter().find(|(own, _)| *own == field.as_str());
        let passes = format!("$http_{}", field.as_str().replace('-', "_"));
        let is_granted = granted.iter().any(|granted| granted.eq_ignore_ascii_case(name));
        if is_untouchable(&field)
            || value == passes
            || is_granted
            || own.is_some_and(|(_, values)| values.contains(&value.as_str()))
        {
            continue;
        }
        if value.is_empty() {
            remove.push(name.to_owned());
            continue;
        }
        match field_text(&value) {
            Some(text) => set_once(&mut set, name, text),
            None => {
                let written = header.arg(1);
                let note = format_args!("proxy_set_header {name} {written}: longwire does not know this value");
                keys.notes.push(header.at.note(note));
            }
        }
    }
    let mut changes = Twig::default();
    changes.map("set", set);
    changes.texts("remove", remove);
    keys.map("request_headers", changes);
}

fn answer_fields(keys: &mut Twig, scope: &Scope<'_>) {
    let (mut add, mut remove): (Twig, Vec<String>) = Default::default();
    for header in scope.all("add_header") {
        let (name, value) = (header.arg(0), header.arg(1));
        let is_name = name.parse::<HeaderName>().is_ok_and(|field| !is_untouchable(&field));
        match field_text(&scope.expanded(value)).filter(|_| is_name) {
            Some(_) if value.is_empty() => {}
            Some(text) => set_once(&mut add, name, text),
            None => keys
                .notes
                .push(header.at.note(format_args!("add_header {name} {value}: longwire does not know this value"))),
        }
    }
    for hidden in scope.all("proxy_hide_header") {
        let is_name = hidden.arg(0).parse::<HeaderName>().is_ok_and(|field| !is_untouchable(&field));
        if is_name && !remove.iter().any(|name| name.eq_ignore_ascii_case(hidden.arg(0))) {
            remove.push(hidden.arg(0).to_owned());
        }
    }
    let mut changes = Twig::default();
    changes.map("add", add);
    changes.texts("remove", remove);
    keys.map("response_headers", changes);
}

/// A rule has one value for a name: the last one counts.
fn set_once(rules: &mut Twig, name: &str, value: String) {
    match rules.pairs.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
        Some((_, known)) => *known = Branch::Text(value),
        None => rules.text(name, value),
    }
}

/// A value as longwire writes it; `None` = it holds a variable that has no word here, or what no field can hold.
fn field_text(value: &str) -> Option<String> {
    let (mut text, mut rest) = (String::new(), value);
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(&before.replace('{', "{{"));
        let (name, end) = variable(after);
        text.push_str(WORDS.iter().find(|(theirs, _)| theirs.strip_prefix('$') == Some(name))?.1);
        rest = after.get(end..)?;
    }
    text.push_str(&rest.replace('{', "{{"));
    FieldText::parse(&text).is_ok().then_some(text)
}
