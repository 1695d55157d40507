//! `http-request`, `http-response` and what is like them: what a section does with its requests.

use hyper::header::HeaderName;

use super::{
    conditions::{Acls, Ask, Case, Term},
    lines::{HaLine, HaSection},
    refusals::{DenyRule, narrowed},
};
use crate::{
    headers::{FieldText, is_host, is_untouchable},
    import::{
        origin::FileLine,
        routes::{EVERYBODY, Goal},
        tree::{Branch, Twig},
    },
    routing::Replacement,
};

/// A redirect to https, and the cases in which it counts.
#[derive(Debug)]
pub(super) struct RedirectRule {
    pub(super) at: FileLine,
    pub(super) goal: Goal,
    pub(super) cases: Vec<Case>,
}

/// What the rules of a section say.
#[derive(Debug, Default)]
pub(super) struct SectionRules {
    pub(super) redirects: Vec<RedirectRule>,
    pub(super) host_header: Option<String>,
    pub(super) rewrite: Option<(String, String)>,
    pub(super) set: Twig,
    pub(super) add: Twig,
    pub(super) remove: Vec<String>,
    pub(super) answer_set: Twig,
    pub(super) answer_add: Twig,
    pub(super) answer_remove: Vec<String>,
    /// Lists of networks; who passes is in each of them.
    pub(super) allow: Vec<Vec<String>>,
    pub(super) deny: Vec<String>,
    /// What refuses by host or path.
    pub(super) refusals: Vec<DenyRule>,
    pub(super) notes: Vec<String>,
}

/// Fields that longwire writes itself.
const OWN: [&str; 6] =
    ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-port", "x-forwarded-host", "x-real-ip", "x-forwarded-ssl"];

/// What a format of HAProxy stands for.
const FORMATS: [(&str, &str); 9] = [
    ("%[src]", "{client_ip}"),
    ("%ci", "{client_ip}"),
    ("%[req.hdr(host)]", "{host}"),
    ("%[req.hdr(Host)]", "{host}"),
    ("%[hdr(host)]", "{host}"),
    ("%[hdr(Host)]", "{host}"),
    ("%[unique-id]", "{request_id}"),
    ("%[uuid()]", "{request_id}"),
    ("%ID", "{request_id}"),
];

impl SectionRules {
    /// The rules of a section. `lines`: those that count, in their order.
    pub(super) fn of(section: &HaSection, acls: &Acls) -> Self {
        let mut rules = Self::default();
        for line in section.defaults.iter().chain(&section.lines) {
            rules.take(line, acls);
        }
        rules
    }

    fn take(&mut self, line: &HaLine, acls: &Acls) {
        let is_always = || acls.cases(line, 0) == [Case::new()];
        match (line.word(0), line.word(1)) {
            ("redirect", _) => self.redirect(line, 2, acls),
            ("http-request", "redirect") => self.redirect(line, 3, acls),
            ("http-request", "deny" | "reject" | "tarpit" | "silent-drop") => self.refuse(line, acls),
            ("tcp-request", "connection" | "content") if line.word(2) == "reject" => self.refuse(line, acls),
            ("http-request", "set-header" | "add-header" | "del-header") => self.request_field(line, is_always()),
            ("http-response" | "http-after-response", "set-header" | "add-header" | "del-header") => {
                self.answer_field(line, is_always());
            }
            ("http-request", "replace-path" | "replace-uri" | "set-path") if is_always() => self.path(line),
            // Counting alone changes nothing; what is refused by the counts is noted at its own line.
            ("http-request", word) if word.starts_with("track-sc") || word == "set-var" || word == "capture" => {}
            (
                "http-request" | "http-response" | "http-after-response" | "reqrep" | "reqirep" | "rspadd" | "reqadd",
                _,
            ) => {
                self.notes.push(line.at.note(format_args!("{}: longwire has no such rule", line.text())));
            }
            _ => {}
        }
    }

    fn redirect(&mut self, line: &HaLine, place: usize, acls: &Acls) {
        let code =
            line.words.iter().position(|word| word == "code").and_then(|place| line.word(place + 1).parse().ok());
        let code: u16 = code.unwrap_or(302);
        // The Host of the request and its whole target, in the words of several versions.
        let target = line.word(place).to_ascii_lowercase().replace("req.hdr", "hdr");
        let same = target.strip_prefix("https://%[hdr(host)]");
        let is_same = match line.word(place - 1) {
            "scheme" => target == "https",
            "prefix" => same == Some(""),
            "location" => matches!(same, Some("%[capture.req.uri]" | "%[pathq]" | "%[url]" | "%[path]%[query]")),
            _ => false,
        };
        if is_same && matches!(code, 301 | 302 | 307 | 308) {
            let goal = Goal::Redirect { code, port: 443 };
            self.redirects.push(RedirectRule { at: line.at.clone(), goal, cases: acls.cases(line, place) });
        } else {
            let why = "longwire redirects to the same URL by https alone, so these requests go on";
            self.notes.push(line.at.note(format_args!("{}: {why}", line.text())));
        }
    }

    /// `deny` by address, host and path. Everything else that refuses is noted.
    fn refuse(&mut self, line: &HaLine, acls: &Acls) {
        let cases = acls.cases(line, 1);
        let (mut allow, mut deny): (Vec<Vec<String>>, Vec<String>) = Default::default();
        let mut refusals = Vec::new();
        for case in &cases {
            match case.as_slice() {
                [Term { is_opposite: false, ask: Ask::Sources(networks) }] => deny.extend(networks.iter().cloned()),
                // Whoever is in none of several lists.
                terms
                    if !terms.is_empty()
                        && terms.iter().all(|term| term.is_opposite && matches!(term.ask, Ask::Sources(_))) =>
                {
                    let networks = terms.iter().flat_map(|term| match &term.ask {
                        Ask::Sources(networks) => networks.clone(),
                        _ => Vec::new(),
                    });
                    allow.push(networks.collect());
                }
                case => match DenyRule::of(&line.at, line.text(), &case.to_vec()) {
                    Some(refusal) => {
                        let is_whole = |term: &Term| term.is_opposite && matches!(term.ask, Ask::WholePaths(_));
                        if case.iter().any(is_whole) {
                            let note = format_args!("{}: here longer paths are let in too", line.text());
                            self.notes.push(line.at.note(note));
                        }
                        refusals.push(refusal);
                    }
                    None => {
                        let why = "longwire refuses by address, host and path alone, so nobody is refused here";
                        return self.notes.push(line.at.note(format_args!("{}: {why}", line.text())));
                    }
                },
            }
        }
        self.refusals.append(&mut refusals);
        self.allow.append(&mut allow);
        self.deny.append(&mut deny);
    }

    fn request_field(&mut self, line: &HaLine, is_always: bool) {
        let (name, value) = (line.word(2), line.word(3));
        let lower = name.to_ascii_lowercase();
        // A scheme that is the same for every request is that of a proxy in front.
        let is_fixed = lower == "x-forwarded-proto" && is_always && matches!(value, "http" | "https");
        if OWN.contains(&lower.as_str()) && line.word(1) != "del-header" && !is_fixed
            || lower.starts_with("x-ssl-") && line.word(1) == "del-header"
        {
            return;
        }
        let unknown = || line.at.note(format_args!("{}: longwire does not know this value or condition", line.text()));
        if lower == "host" && line.word(1) == "set-header" && is_always && is_host(value) && !value.is_empty() {
            self.host_header = Some(value.to_owned());
            return;
        }
        let is_name = name.parse::<HeaderName>().is_ok_and(|field| !is_untouchable(&field));
        let is_of_handshake = matches!(lower.as_str(), "upgrade" | "connection");
        match (line.word(1), field_text(value)) {
            _ if is_of_handshake => {}
            _ if !is_always || !is_name => self.notes.push(unknown()),
            ("del-header", _) => self.remove.push(name.to_owned()),
            (_, None) => self.notes.push(unknown()),
            ("add-header", Some(text)) => put_once(&mut self.add, name, text),
            (_, Some(text)) => put_once(&mut self.set, name, text),
        }
    }

    fn answer_field(&mut self, line: &HaLine, is_always: bool) {
        let (name, value) = (line.word(2), line.word(3));
        let unknown = || line.at.note(format_args!("{}: longwire does not know this value or condition", line.text()));
        let is_name = name.parse::<HeaderName>().is_ok_and(|field| !is_untouchable(&field));
        match (line.word(1), field_text(value)) {
            _ if !is_always || !is_name => self.notes.push(unknown()),
            ("del-header", _) => self.answer_remove.push(name.to_owned()),
            (_, None) => self.notes.push(unknown()),
            ("add-header", Some(text)) => put_once(&mut self.answer_add, name, text),
            (_, Some(text)) => put_once(&mut self.answer_set, name, text),
        }
    }

    fn path(&mut self, line: &HaLine) {
        let (from, to) = match line.word(1) {
            "set-path" => ("^.*$".to_owned(), line.word(2).replace("%[path]", "$0")),
            _ => (line.word(2).to_owned(), line.word(3).replace('\\', "$")),
        };
        if Replacement::new(&from, &to).is_ok() {
            self.rewrite = Some((from, to));
        } else {
            self.notes.push(line.at.note(format_args!("{}: longwire has no such rewriting", line.text())));
        }
    }

    /// Adds what the rules of a frontend and of its backend say together.
    pub(super) fn put(front: &Self, back: &Self, keys: &mut Twig) {
        if let Some((from, to)) = back.rewrite.as_ref().or(front.rewrite.as_ref()) {
            let mut rewrite = Twig::default();
            rewrite.text("from", from);
            rewrite.text("to", to);
            keys.put("rewrite", Branch::Map(rewrite));
        }
        if let Some(host) = back.host_header.as_ref().or(front.host_header.as_ref()) {
            keys.text("host_header", host);
        }
        let both = |one: &Twig, other: &Twig| {
            let mut both = one.clone();
            for (name, value) in &other.pairs {
                if let Branch::Text(value) = value {
                    put_once(&mut both, name, value.clone());
                }
            }
            both
        };
        let mut request = Twig::default();
        request.map("set", both(&front.set, &back.set));
        request.map("add", both(&front.add, &back.add));
        request.texts("remove", once([&front.remove[..], &back.remove[..]].concat()));
        keys.map("request_headers", request);
        let mut answer = Twig::default();
        answer.map("set", both(&front.answer_set, &back.answer_set));
        answer.map("add", both(&front.answer_add, &back.answer_add));
        answer.texts("remove", once([&front.answer_remove[..], &back.answer_remove[..]].concat()));
        keys.map("response_headers", answer);
        let mut deny = once([&front.deny[..], &back.deny[..]].concat());
        let allow = front.allow.iter().chain(&back.allow).cloned().reduce(|one, other| narrowed(&one, &other));
        if allow.as_ref().is_some_and(Vec::is_empty) {
            deny = EVERYBODY.map(str::to_owned).to_vec();
        }
        keys.texts("allow", once(allow.unwrap_or_default()));
        keys.texts("deny", deny);
    }
}

fn once(names: Vec<String>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for name in names {
        if !found.iter().any(|other| other.eq_ignore_ascii_case(&name)) {
            found.push(name);
        }
    }
    found
}

fn put_once(rules: &mut Twig, name: &str, value: String) {
    match rules.pairs.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
        Some((_, known)) => *known = Branch::Text(value),
        None => rules.text(name, value),
    }
}

/// A value as longwire writes it; `None` = it holds a format that has no word here.
fn field_text(value: &str) -> Option<String> {
    let mut text = value.replace('{', "{{");
    for (theirs, ours) in FORMATS {
        text = text.replace(theirs, ours);
    }
    let text = text.replace("%%", "\u{0}");
    let is_known = !text.contains("%[") && !text.contains("%{");
    let text = text.replace('\u{0}', "%");
    (is_known && FieldText::parse(&text).is_ok()).then_some(text)
}
