//! Rules of a route for header fields.

use std::collections::BTreeMap;

use hyper::header::HeaderName;

use super::Resolver;
use crate::{
    config::{document::At, file::HeaderChanges},
    headers::{self, FieldRules, FieldText},
};

/// The most rules of one kind, so that no message gets more fields than its readers take.
pub(super) const MOST_FIELDS: usize = 100;

/// Variables of other proxies, and the words that stand for them here.
const VARIABLES: [(&str, &str); 12] = [
    ("$remote_addr", "{client_ip}"),
    ("$realip_remote_addr", "{client_ip}"),
    ("$proxy_add_x_forwarded_for", "{client_ip}"),
    ("%[src]", "{client_ip}"),
    ("{remote_host}", "{client_ip}"),
    ("{http.request.remote.host}", "{client_ip}"),
    ("$request_id", "{request_id}"),
    ("%[unique-id]", "{request_id}"),
    ("{http.request.uuid}", "{request_id}"),
    ("$host", "{host}"),
    ("$http_host", "{host}"),
    ("%[req.hdr(host)]", "{host}"),
];

impl Resolver {
    pub(super) fn field_rules(&mut self, changes: HeaderChanges, at: &At) -> FieldRules {
        let HeaderChanges { set, add, remove } = changes;
        for (key, count) in [("set", set.len()), ("add", add.len()), ("remove", remove.len())] {
            if count > MOST_FIELDS {
                let message = format!("`{key}` has {count} fields");
                self.error(at.key(key), message, format!("at most {MOST_FIELDS}"));
            }
        }
        let remove_at = at.key("remove");
        let removed = remove.iter().enumerate();
        FieldRules {
            remove: removed.filter_map(|(index, name)| self.field_name(name, remove_at.index(index))).collect(),
            set: self.fields(set, &at.key("set")),
            add: self.fields(add, &at.key("add")),
        }
    }

    fn fields(&mut self, fields: BTreeMap<String, String>, at: &At) -> Vec<(HeaderName, FieldText)> {
        let mut resolved: Vec<(HeaderName, FieldText)> = Vec::with_capacity(fields.len());
        for (name, text) in fields {
            let at = at.key(&name);
            let field = self.field_name(&name, at.clone()).zip(self.field_text(&text, at.clone()));
            let Some((field, text)) = field else { continue };
            if resolved.iter().any(|(other, _)| *other == field) {
                self.error(at, format!("`{name}` is named twice"), "the letter case of a name does not matter");
                continue;
            }
            resolved.push((field, text));
        }
        resolved
    }

    /// The name of a field that a rule may have.
    pub(super) fn field_name(&mut self, name: &str, at: At) -> Option<HeaderName> {
        let Ok(field) = name.parse::<HeaderName>() else {
            self.error(at, format!("`{name}` is not the name of a field"), "letters, digits and hyphens: X-Tenant");
            return None;
        };
        if !headers::is_untouchable(&field) {
            return Some(field);
        }
        let help = match field.as_str() {
            "host" => "write host_header: upstream, or a name, in the route",
            "upgrade" | "connection" => "leave it out: longwire writes it, for a WebSocket too",
            name if name.starts_with("sec-websocket-") => "leave it out: it belongs to the handshake of the two ends",
            _ => "leave it out: it belongs to one hop, and longwire writes its own",
        };
        self.error(at, format!("no rule may name `{name}`"), help);
        None
    }

    fn field_text(&mut self, text: &str, at: At) -> Option<FieldText> {
        let variable = VARIABLES.iter().find(|(theirs, _)| text.contains(theirs));
        match FieldText::parse(text) {
            Ok(parsed) => {
                if let Some((theirs, ours)) = variable {
                    let message = format!("`{theirs}` is no more than these letters here");
                    self.warn(at, message, format!("write \"{ours}\""));
                }
                Some(parsed)
            }
            Err(bad) => {
                let help = variable.map_or_else(|| bad.advice(), |(_, ours)| format!("write \"{ours}\""));
                self.error(at, bad.to_string(), help);
                None
            }
        }
    }
}
