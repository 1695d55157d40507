//! Rules of a route for header fields: which fields it removes, sets and adds. PURE.
//!
//! Rules come last. Toward a backend they see what the proxy itself says of the client, and toward a client what the proxy
//! says of itself, so that a rule can change both.

use std::{fmt, mem};

use bytes::Bytes;
use hyper::{
    HeaderMap,
    header::{CONTENT_LENGTH, HOST, HeaderName, HeaderValue},
};

use super::{HOP_BY_HOP, onward::reads_alike};
use crate::sender::Client;

/// The fields of the WebSocket handshake begin with this, and no rule may name them.
const HANDSHAKE: &str = "sec-websocket-";

/// The words that a value may have in braces, with what they stand for.
const WORDS: [(&str, ValueWord); 4] = [
    ("client_ip", ValueWord::ClientIp),
    ("request_id", ValueWord::RequestId),
    ("host", ValueWord::Host),
    ("route", ValueWord::Route),
];

/// What a route does with the fields of its requests, or with those of its answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldRules {
    /// Fields that are removed.
    pub remove: Vec<HeaderName>,
    /// Fields that take the place of all fields with their names.
    pub set: Vec<(HeaderName, FieldText)>,
    /// Fields that stand beside those with their names.
    pub add: Vec<(HeaderName, FieldText)>,
}

/// The value of a field in a rule. It may name facts about the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldText(TextForm);

#[derive(Debug, Clone, PartialEq, Eq)]
enum TextForm {
    /// The same value for every request.
    Fixed(HeaderValue),
    Made(Vec<TextPiece>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum TextPiece {
    Text(String),
    Word(ValueWord),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ValueWord {
    ClientIp,
    RequestId,
    Host,
    Route,
}

/// What the words of a value stand for. The record says the same.
#[derive(Debug, Clone, Copy)]
pub struct ValueFacts<'a> {
    /// Who the request is from.
    pub client: Client,
    /// The id of the request.
    pub request_id: &'a str,
    /// The host that the client asked for, with its port; may be empty. `None` = it is not known as a whole.
    pub host: Option<&'a str>,
    /// The name of the route.
    pub route: &'a str,
}

/// Rules for one request or one answer.
#[derive(Debug, Clone, Copy)]
pub struct BoundRules<'a> {
    rules: &'a FieldRules,
    facts: ValueFacts<'a>,
}

/// Why a text cannot be the value of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadFieldText {
    /// The braces hold no word that stands for something.
    Word(String),
    /// A brace is not closed.
    OpenBrace,
    /// A control character, which no field may have.
    Control,
}

/// Whether no rule may name the field: it says what the message is, where it ends or how far it goes.
#[must_use]
pub fn is_untouchable(name: &HeaderName) -> bool {
    *name == HOST || *name == CONTENT_LENGTH || HOP_BY_HOP.contains(name) || name.as_str().starts_with(HANDSHAKE)
}

impl FieldRules {
    /// Whether there is no rule.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    /// The rules with what their values name; `None` = there is no rule.
    #[must_use]
    pub fn bind<'a>(&'a self, facts: ValueFacts<'a>) -> Option<BoundRules<'a>> {
        (!self.is_empty()).then_some(BoundRules { rules: self, facts })
    }
}

impl<'a> BoundRules<'a> {
    /// Whether the rules leave out the fields with this name that are there.
    #[must_use]
    pub fn drops(&self, name: &HeaderName) -> bool {
        self.rules.remove.contains(name) || self.rules.set.iter().any(|(set, _)| set == name)
    }

    /// Whether the rules leave out a client's field with this name. A backend that reads names as CGI does cannot tell
    /// `X_Tenant` from `X-Tenant`, so that a rule for the one is a rule for the other.
    #[must_use]
    pub fn drops_of_client(&self, name: &HeaderName) -> bool {
        let FieldRules { remove, set, add: _ } = self.rules;
        remove.iter().chain(set.iter().map(|(name, _)| name)).any(|ruled| reads_alike(ruled, name))
    }

    /// The fields of the rules themselves. A value that would be no value of a field is left out with its field.
    pub fn fields(self) -> impl Iterator<Item = (&'a HeaderName, HeaderValue)> {
        let FieldRules { remove: _, set, add } = self.rules;
        set.iter().chain(add).filter_map(move |(name, text)| Some((name, text.value(&self.facts)?)))
    }

    /// Changes the fields of a message.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for name in self.rules.remove.iter().chain(self.rules.set.iter().map(|(name, _)| name)) {
            headers.remove(name);
        }
        for (name, value) in self.fields() {
            headers.append(name, value);
        }
    }
}

impl FieldText {
    /// Reads a value. `{client_ip}`, `{request_id}`, `{host}` and `{route}` stand for facts, `{{` for a brace.
    ///
    /// # Errors
    /// Why the text is no value.
    pub fn parse(text: &str) -> Result<Self, BadFieldText> {
        let fixed = |text: &str| HeaderValue::from_bytes(text.as_bytes()).map_err(|_| BadFieldText::Control);
        fixed(text)?;
        let (mut pieces, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some((before, after)) = rest.split_once('{') {
            plain.push_str(before);
            if let Some(after) = after.strip_prefix('{') {
                plain.push('{');
                rest = after;
                continue;
            }
            let (word, after) = after.split_once('}').ok_or(BadFieldText::OpenBrace)?;
            let known = WORDS.iter().find(|(known, _)| *known == word);
            let (_, word) = known.ok_or_else(|| BadFieldText::Word(word.to_owned()))?;
            if !plain.is_empty() {
                pieces.push(TextPiece::Text(mem::take(&mut plain)));
            }
            pieces.push(TextPiece::Word(*word));
            rest = after;
        }
        plain.push_str(rest);
        if pieces.is_empty() {
            return fixed(&plain).map(|value| Self(TextForm::Fixed(value)));
        }
        if !plain.is_empty() {
            pieces.push(TextPiece::Text(plain));
        }
        Ok(Self(TextForm::Made(pieces)))
    }

    /// The value for one request; `None` = a fact is not known, or holds a byte that no value may have.
    fn value(&self, facts: &ValueFacts<'_>) -> Option<HeaderValue> {
        let pieces = match &self.0 {
            TextForm::Fixed(value) => return Some(value.clone()),
            TextForm::Made(pieces) => pieces,
        };
        let mut text = Vec::with_capacity(64);
        for piece in pieces {
            match piece {
                TextPiece::Text(plain) => text.extend_from_slice(plain.as_bytes()),
                TextPiece::Word(ValueWord::ClientIp) => facts.client.write(&mut text),
                TextPiece::Word(ValueWord::RequestId) => text.extend_from_slice(facts.request_id.as_bytes()),
                TextPiece::Word(ValueWord::Host) => text.extend_from_slice(facts.host?.as_bytes()),
                TextPiece::Word(ValueWord::Route) => text.extend_from_slice(facts.route.as_bytes()),
            }
        }
        HeaderValue::from_maybe_shared(Bytes::from(text)).ok()
    }
}

impl BadFieldText {
    /// What to write instead.
    #[must_use]
    pub fn advice(&self) -> String {
        match self {
            Self::Word(_) | Self::OpenBrace => {
                let words: Vec<_> = WORDS.iter().map(|(word, _)| format!("{{{word}}}")).collect();
                format!("{} can stand there; write {{{{ for a brace", words.join(", "))
            }
            Self::Control => "a value is one line of visible characters".to_owned(),
        }
    }
}

impl fmt::Display for BadFieldText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => write!(f, "`{{{word}}}` is not known here"),
            Self::OpenBrace => f.write_str("a brace is not closed"),
            Self::Control => f.write_str("the value holds a control character"),
        }
    }
}

impl std::error::Error for BadFieldText {}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::{super::tests::map, *};

    fn facts() -> ValueFacts<'static> {
        let client = "2001:db8::1".parse::<IpAddr>().unwrap().into();
        ValueFacts { client, request_id: "abc", host: Some("chat.example.com:99"), route: "*/ws/" }
    }

    fn value(text: &str) -> Result<String, BadFieldText> {
        let value = FieldText::parse(text)?.value(&facts()).unwrap();
        Ok(String::from_utf8(value.as_bytes().to_vec()).unwrap())
    }

    fn rules(remove: &[&str], set: &[(&str, &str)], add: &[(&str, &str)]) -> FieldRules {
        let field = |(name, text): &(&str, &str)| (name.parse().unwrap(), FieldText::parse(text).unwrap());
        FieldRules {
            remove: remove.iter().map(|name| name.parse().unwrap()).collect(),
            set: set.iter().map(field).collect(),
            add: add.iter().map(field).collect(),
        }
    }

    #[test]
    fn words_in_braces_stand_for_facts_and_two_braces_for_one() {
        for (text, expected) in [
            ("", ""),
            ("acme", "acme"),
            ("{client_ip}", "2001:db8::1"),
            ("a{request_id}b{host}{route}c", "aabcbchat.example.com:99*/ws/c"),
            ("{{client_ip}", "{client_ip}"),
            ("{{{client_ip}}", "{2001:db8::1}"),
            ("{{\"a\": 1}", "{\"a\": 1}"),
            ("}", "}"),
            ("max-age=31536000; includeSubDomains", "max-age=31536000; includeSubDomains"),
            ("caf\u{e9}", "caf\u{e9}"),
        ] {
            assert_eq!(value(text).as_deref(), Ok(expected), "{text}");
        }
        for word in ["", " client_ip", "Client_IP", "remote_addr", "client_ip|lower"] {
            assert_eq!(value(&format!("x{{{word}}}")), Err(BadFieldText::Word(word.to_owned())));
        }
        for (text, expected) in
            [("{", BadFieldText::OpenBrace), ("{{{host", BadFieldText::OpenBrace), ("a\r\nb", BadFieldText::Control)]
        {
            assert_eq!(value(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn fact_that_no_value_may_have_takes_its_field_with_it() {
        let rules = rules(&[], &[("x-host", "<{host}>"), ("x-id", "{request_id}")], &[]);
        for host in [Some("a\r\nb"), Some("a\0"), Some("\u{7f}"), None] {
            let bound = rules.bind(ValueFacts { host, ..facts() }).unwrap();
            let names: Vec<_> = bound.fields().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, ["x-id"], "{host:?}");
        }
    }

    #[test]
    fn fields_are_removed_then_set_then_added() {
        let rules = rules(
            &["server", "x-gone", "x-back"],
            &[("x-one", "1"), ("cache-control", "no-store")],
            &[("x-one", "2"), ("set-cookie", "c=3"), ("x-back", "new")],
        );
        let mut headers = map(&[
            ("server", "nginx"),
            ("x-one", "old"),
            ("x-one", "older"),
            ("x-back", "old"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("etag", "x"),
        ]);
        rules.bind(facts()).unwrap().apply(&mut headers);
        let expected = [
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("set-cookie", "c=3"),
            ("etag", "x"),
            ("x-one", "1"),
            ("x-one", "2"),
            ("cache-control", "no-store"),
            ("x-back", "new"),
        ];
        assert_eq!(headers, map(&expected));
        assert!(FieldRules::default().bind(facts()).is_none());
    }

    #[test]
    fn another_spelling_of_a_clients_field_does_not_pass_by_a_rule() {
        let rules = rules(&["x-debug"], &[("x-tenant", "acme")], &[("x-tag", "1")]);
        let bound = rules.bind(facts()).unwrap();
        for (name, drops) in [
            ("x-debug", true),
            ("x_debug", true),
            ("x.tenant", true),
            ("x-tag", false),
            ("x_tag", false),
            ("x_other", false),
        ] {
            assert_eq!(bound.drops_of_client(&name.parse().unwrap()), drops, "{name}");
        }
        let rules = FieldRules { remove: vec!["x_debug".parse().unwrap()], ..FieldRules::default() };
        let bound = rules.bind(facts()).unwrap();
        assert!(bound.drops_of_client(&"x-debug".parse().unwrap()), "whichever of the two the file names");
    }

    #[test]
    fn fields_of_the_handshake_the_framing_and_one_hop_are_untouchable() {
        for name in [
            "Host",
            "Connection",
            "Upgrade",
            "TE",
            "Trailer",
            "Keep-Alive",
            "Proxy-Connection",
            "Transfer-Encoding",
            "Content-Length",
            "Sec-WebSocket-Key",
            "Sec-WebSocket-Accept",
            "Sec-WebSocket-Whatever",
        ] {
            assert!(is_untouchable(&name.parse().unwrap()), "{name}");
        }
        for name in ["X-Forwarded-For", "Authorization", "Sec-Fetch-Mode", "Content-Type", "Sec-WebSocketX", "Via"] {
            assert!(!is_untouchable(&name.parse().unwrap()), "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_value_or_refused_and_any_fact_can_stand_in_it(text in "[a{}\\x00-\\x20client_ip]{0,24}", host in "\\PC*") {
            if let Ok(text) = FieldText::parse(&text) {
                let made = text.value(&ValueFacts { host: Some(&host), ..facts() });
                let value = made.expect("no fact has a control character");
                prop_assert!(!value.as_bytes().iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
            }
        }
    }
}
