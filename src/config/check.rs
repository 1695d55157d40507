//! Compares a document with the JSON Schema of the file, and notes every key, type, word and unit that does not fit.
//!
//! A refused value is replaced by one that fits, so that one run can check the rest. The result therefore always deserialises
//! into the mirror, and [`Checked::replaced`] says which parts of the result do not come from the file.

use serde_json::Value as Json;
use serde_yaml::Value as Scalar;

use super::{
    diagnostics::{Diagnostic, nearest},
    document::{At, Entry, Node, YamlValue},
    foreign, values,
};

/// A document that fits its schema, and the problems found.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) value: Scalar,
    pub(super) found: Vec<Diagnostic>,
    /// The places of the values that were refused and replaced.
    pub(super) replaced: Vec<At>,
}

/// Checks `root` against `schema`, as made by `File::schema`.
pub(super) fn check(root: &Node, schema: &Json) -> Checked {
    let mut checker = SchemaChecker { schema, found: Vec::new(), replaced: Vec::new() };
    let value = checker.value(root, "the file", schema, &At::default());
    Checked { value, found: checker.found, replaced: checker.replaced }
}

struct SchemaChecker<'s> {
    /// The whole schema, in which `$ref` is looked up.
    schema: &'s Json,
    found: Vec<Diagnostic>,
    replaced: Vec<At>,
}

/// What a part of the schema asks for.
enum Shape<'s> {
    /// A mapping with these keys.
    Keys {
        known: &'s serde_json::Map<String, Json>,
        required: Vec<&'s str>,
        /// The key that most people mean by a single word.
        usual: Option<&'s str>,
    },
    /// A mapping from any name to a value of this schema.
    Named(&'s Json),
    List(&'s Json),
    /// A scalar that `values` reads.
    Kind(&'s str),
    /// One of these words.
    Words(Vec<&'s str>),
    Text,
    Integer {
        min: i64,
        max: i64,
    },
    Flag,
}

impl<'s> SchemaChecker<'s> {
    /// The value of `node` as `schema` wants it, or a stand-in if it does not fit. `name` is for the messages.
    fn value(&mut self, node: &Node, name: &str, schema: &'s Json, at: &At) -> Scalar {
        let schema = alternative(schema, node);
        let shape = self.shape(schema);
        match (&node.value, &shape) {
            (YamlValue::Map(entries), Shape::Keys { known, required, .. }) => {
                self.keys(node, entries, known, required, at)
            }
            (YamlValue::Map(entries), Shape::Named(item)) => self.named(entries, item, at),
            (YamlValue::List(items), Shape::List(item)) => {
                let item_name = format!("an item of `{name}`");
                let items = items.iter().enumerate();
                Scalar::Sequence(items.map(|(i, node)| self.value(node, &item_name, item, &at.index(i))).collect())
            }
            // A key with nothing below it counts as absent: everything below it is probably commented out.
            (YamlValue::Scalar(Scalar::Null), Shape::Keys { .. } | Shape::Named(_) | Shape::List(_)) => {
                self.stand_in(schema)
            }
            (YamlValue::Scalar(scalar), _) => match read(scalar, &shape) {
                Ok(value) => value,
                Err((message, help)) => {
                    let message = message.unwrap_or_else(|| mismatch(name, &shape, node));
                    let mut diagnostic = Diagnostic::error(node.span.clone(), message);
                    diagnostic.help = help.or_else(|| self.instead_of_scalar(scalar, &shape, at));
                    self.refuse(diagnostic, schema, at)
                }
            },
            (YamlValue::Refused, _) => {
                self.replaced.push(at.clone());
                self.stand_in(schema)
            }
            (YamlValue::List(_) | YamlValue::Map(_), _) => {
                let mut diagnostic = Diagnostic::error(node.head(), mismatch(name, &shape, node));
                diagnostic.help = instead_of_several(name, &shape, &node.value);
                self.refuse(diagnostic, schema, at)
            }
        }
    }

    /// Advice for a single word where keys or a list are wanted.
    fn instead_of_scalar(&self, scalar: &Scalar, shape: &Shape<'_>, at: &At) -> Option<String> {
        let text = match scalar {
            Scalar::String(text) => text.clone(),
            Scalar::Number(number) => number.to_string(),
            _ => String::new(),
        };
        match shape {
            Shape::Keys { known, usual: Some(key), .. } => {
                let value = self.fitting(&known[*key], &text);
                Some(if at.is_item() {
                    format!("write `- {key}: {value}`, or `{{ {key}: {} }}` within brackets", in_flow(&value))
                } else {
                    format!("write {{ {key}: {} }}", in_flow(&value))
                })
            }
            Shape::Keys { .. } if at.is_root() => Some(foreign::WHOLE_FILE.to_owned()),
            Shape::Keys { known, .. } => Some(keys_or_servers(known)),
            Shape::List(item) => match self.shape(item) {
                Shape::Keys { known, usual, .. } => {
                    let key = usual?;
                    Some(format!("write [{{ {key}: {} }}]", in_flow(&self.fitting(&known[key], &text))))
                }
                Shape::Words(words) if !words.contains(&text.as_str()) => Some(format!("write [{}]", words.join(", "))),
                _ => Some(format!("write [{}]", in_flow(&text))),
            },
            _ => None,
        }
    }

    /// `text` if `schema` takes it, otherwise an example of what `schema` takes.
    fn fitting(&self, schema: &Json, text: &str) -> String {
        match self.shape(schema) {
            Shape::Kind(kind) if values::check(kind, text).is_err() => values::example(kind).to_owned(),
            // A password may stand there.
            _ if text.is_empty() || text.contains('@') && text.contains("://") => "…".to_owned(),
            _ => text.to_owned(),
        }
    }

    fn keys(
        &mut self,
        node: &Node,
        entries: &[Entry],
        known: &'s serde_json::Map<String, Json>,
        required: &[&'s str],
        at: &At,
    ) -> Scalar {
        let mut map = serde_yaml::Mapping::new();
        for entry in entries {
            match known.get(&entry.key) {
                Some(schema) => {
                    let value = self.value(&entry.node, &entry.key, schema, &at.key(&entry.key));
                    map.insert(entry.key.clone().into(), value);
                }
                None => self.unknown_key(entry, known, at),
            }
        }
        for key in required.iter().filter(|key| !entries.iter().any(|entry| entry.key == **key)) {
            // If the key is misspelt, the misspelling is noted already, and the missing key needs no second problem.
            if !self.replaced.contains(&at.key(key)) {
                self.found.push(Diagnostic::error(node.head(), format!("missing key `{key}`")));
                self.replaced.push(at.key(key));
            }
            map.insert((*key).into(), self.stand_in(&known[*key]));
        }
        Scalar::Mapping(map)
    }

    fn unknown_key(&mut self, entry: &Entry, known: &serde_json::Map<String, Json>, at: &At) {
        let diagnostic = Diagnostic::error(entry.key_span.clone(), format!("unknown key `{}`", entry.key));
        let names = || known.keys().map(String::as_str);
        let foreign = foreign::key(&entry.key, |ours| known.contains_key(ours));
        let help = match (foreign, nearest(&entry.key, names())) {
            (Some((meant, help)), _) => {
                self.replaced.extend(meant.map(|meant| at.key(meant)));
                help.to_owned()
            }
            (None, Some(meant)) => {
                // The file meant to set the key `meant`, so the default of that key is not what the file says.
                self.replaced.push(at.key(meant));
                format!("did you mean `{meant}`?")
            }
            (None, None) => match self.owner(&entry.key) {
                Some(section) => format!("`{}` stands under `{section}`", entry.key),
                None => keys_are(known),
            },
        };
        self.found.push(diagnostic.help(help));
    }

    /// The top-level section that has `key`, if no other one and no item of a list has it too.
    fn owner(&self, key: &str) -> Option<&'s str> {
        let sections = self.schema.get("properties")?.as_object()?;
        let has = |schema| matches!(self.shape(schema), Shape::Keys { known, .. } if known.contains_key(key));
        let knows = |schema: &'s Json| match self.shape(schema) {
            Shape::Named(item) | Shape::List(item) => has(item),
            _ => has(schema),
        };
        let mut owners = sections.iter().filter(|(_, schema)| knows(schema));
        let owner = owners.next().filter(|(_, schema)| has(schema));
        owner.filter(|_| owners.next().is_none()).map(|(name, _)| name.as_str())
    }

    fn named(&mut self, entries: &[Entry], item: &'s Json, at: &At) -> Scalar {
        let values = entries.iter().map(|entry| {
            let value = self.value(&entry.node, &entry.key, item, &at.key(&entry.key));
            (entry.key.clone().into(), value)
        });
        Scalar::Mapping(values.collect())
    }

    fn refuse(&mut self, diagnostic: Diagnostic, schema: &Json, at: &At) -> Scalar {
        self.found.push(diagnostic);
        self.replaced.push(at.clone());
        self.stand_in(schema)
    }

    /// A value that `schema` accepts.
    fn stand_in(&self, schema: &Json) -> Scalar {
        if let Some(default) = schema.get("default").and_then(|json| serde_yaml::to_value(json).ok()) {
            return default;
        }
        match self.shape(schema) {
            Shape::Keys { known, required, .. } => {
                let keys = required.iter().map(|key| ((*key).into(), self.stand_in(&known[*key])));
                Scalar::Mapping(keys.collect())
            }
            Shape::Named(_) => Scalar::Mapping(serde_yaml::Mapping::new()),
            Shape::List(_) => Scalar::Sequence(Vec::new()),
            Shape::Kind(kind) => values::stand_in(kind).into(),
            Shape::Words(words) => words.first().copied().unwrap_or_default().into(),
            Shape::Text => "refused".into(),
            Shape::Integer { min, .. } => Scalar::Number(min.into()),
            Shape::Flag => Scalar::Bool(false),
        }
    }

    fn shape<'v>(&self, schema: &'v Json) -> Shape<'v>
    where
        's: 'v,
    {
        if let Some(name) = schema.get("$ref").and_then(Json::as_str) {
            let target = name.strip_prefix('#').and_then(|pointer| self.schema.pointer(pointer));
            return target.map_or(Shape::Text, |target| self.shape(target));
        }
        if let Some(kind) = schema.get("x-takes").and_then(Json::as_str) {
            return Shape::Kind(kind);
        }
        if let Some(words) = words(schema) {
            return Shape::Words(words);
        }
        let number = |key: &str| schema.get(key).and_then(Json::as_i64);
        match (schema.get("type").and_then(Json::as_str), schema.get("properties").and_then(Json::as_object)) {
            (_, Some(known)) => {
                let required = schema.get("required").and_then(Json::as_array).into_iter().flatten();
                let required: Vec<_> = required.filter_map(Json::as_str).collect();
                let usual = schema.get("x-usual").and_then(Json::as_str).or(match required[..] {
                    [only] => Some(only),
                    _ => None,
                });
                Shape::Keys { known, required, usual }
            }
            (Some("object"), None) => Shape::Named(&schema["additionalProperties"]),
            (Some("array"), _) => Shape::List(&schema["items"]),
            (Some("boolean"), _) => Shape::Flag,
            (Some("integer"), _) => Shape::Integer {
                min: number("minimum").unwrap_or(0),
                max: number("maximum").unwrap_or_else(|| u32::MAX.into()),
            },
            _ => Shape::Text,
        }
    }
}

/// The branch of an `anyOf` that `node` chooses. An `anyOf` here offers a scalar first, then a mapping or a list.
fn alternative<'s>(schema: &'s Json, node: &Node) -> &'s Json {
    match (schema.get("anyOf").and_then(Json::as_array).map(Vec::as_slice), &node.value) {
        (Some([_, mapping]), YamlValue::Map(_)) if mapping["type"] == "object" => mapping,
        (Some([_, list]), YamlValue::List(_)) if list["type"] == "array" => list,
        (Some([scalar, ..]), _) => scalar,
        (_, _) => schema,
    }
}

/// The words of an enum. The schema lists them in `enum`, or has one schema for each word in `oneOf` if the words have
/// descriptions.
fn words(schema: &Json) -> Option<Vec<&str>> {
    if let Some(words) = schema.get("enum").and_then(Json::as_array) {
        return Some(words.iter().filter_map(Json::as_str).collect());
    }
    let choices = schema.get("oneOf").and_then(Json::as_array)?;
    choices.iter().map(|choice| choice.get("const").and_then(Json::as_str)).collect()
}

/// The message and the advice. A message of `None` means that the scalar has the wrong type.
type Unfit = (Option<String>, Option<String>);

/// Reads the scalar as `shape` wants it.
fn read(scalar: &Scalar, shape: &Shape<'_>) -> Result<Scalar, Unfit> {
    let text = match scalar {
        Scalar::String(text) => text.clone(),
        Scalar::Number(number) => number.to_string(),
        Scalar::Bool(flag) => flag.to_string(),
        _ => {
            return Err((None, Some("give it a value, or remove the key for the default".into())));
        }
    };
    match (shape, scalar) {
        (Shape::Kind(kind), _) => match values::check(kind, &text) {
            Ok(()) => Ok(text.into()),
            Err(bad) => Err((Some(bad.message), bad.help)),
        },
        (Shape::Words(words), _) if words.contains(&text.as_str()) => Ok(text.into()),
        (Shape::Words(words), _) => Err((Some(format!("`{text}` is not known here")), Some(meant(&text, words)))),
        (Shape::Text, Scalar::String(_)) => Ok(text.into()),
        (Shape::Text, _) => Err((None, Some(format!("put it in quotes: \"{text}\"")))),
        // A number or a flag may stand in quotes too, because YAML takes "${NAME}" inside braces only in quotes.
        (Shape::Integer { min, max }, _) => {
            let help = Some(format!("a whole number from {min} to {max}"));
            match (text.parse::<i64>(), text.parse::<f64>()) {
                (Ok(n), _) if (*min..=*max).contains(&n) => Ok(Scalar::Number(n.into())),
                (Err(_), Ok(_)) => Err((Some(format!("{text} is not a whole number")), help)),
                (Ok(_), _) => Err((Some(format!("{text} is out of range")), help)),
                _ => Err((None, help)),
            }
        }
        (Shape::Flag, _) => match text.to_ascii_lowercase().as_str() {
            "true" => Ok(Scalar::Bool(true)),
            "false" => Ok(Scalar::Bool(false)),
            "yes" | "on" => Err((None, Some("write true".into()))),
            "no" | "off" => Err((None, Some("write false".into()))),
            _ => Err((None, Some("write true or false".into()))),
        },
        (Shape::List(_) | Shape::Keys { .. } | Shape::Named(_), _) => Err((None, None)),
    }
}

/// Advice where one value is wanted but several were given, or the other way round.
fn instead_of_several(name: &str, shape: &Shape<'_>, value: &YamlValue) -> Option<String> {
    // `{client_ip}` without quotes is a mapping with one key and no value.
    if let (Shape::Text, YamlValue::Map(entries)) = (shape, value)
        && let [Entry { key, node, .. }] = entries.as_slice()
        && node.value == YamlValue::Scalar(Scalar::Null)
    {
        return Some(format!("put it in quotes: \"{{{key}}}\""));
    }
    match (shape, value) {
        (Shape::Named(_), YamlValue::List(_)) => Some("each has its name as a key: { app: …, spare: … }".into()),
        (Shape::List(_), _) => Some("a list: write `- ` before each item".into()),
        (Shape::Keys { known, .. }, _) => Some(keys_or_servers(known)),
        _ => foreign::several(name).map(str::to_owned),
    }
}

/// Advice where keys are wanted. In an upstream, most people write the servers there without a key.
fn keys_or_servers(known: &serde_json::Map<String, Json>) -> String {
    match known.contains_key("backends") {
        true => "its servers stand under a key: backends: [{ address: \"127.0.0.1:3000\" }]".into(),
        false => keys_are(known),
    }
}

fn keys_are(known: &serde_json::Map<String, Json>) -> String {
    format!("known here: {}", known.keys().map(String::as_str).collect::<Vec<_>>().join(", "))
}

/// A value as it can stand within braces and brackets: in quotes, unless it is a plain word, a number or an IPv4 network.
fn in_flow(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "./_-".contains(c);
    match text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("\"{text}\""),
    }
}

fn meant(word: &str, words: &[&str]) -> String {
    match foreign::word(word, words).or_else(|| nearest(word, words.iter().copied())) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("one of {}", words.join(", ")),
    }
}

fn mismatch(name: &str, shape: &Shape<'_>, node: &Node) -> String {
    let wanted = match shape {
        Shape::Keys { .. } | Shape::Named(_) => "keys with values",
        Shape::List(_) => "a list",
        Shape::Kind(kind) => kind,
        Shape::Words(_) => "a word",
        Shape::Text => "text",
        Shape::Integer { .. } => "a whole number",
        Shape::Flag => "true or false",
    };
    let got = match &node.value {
        YamlValue::Scalar(Scalar::Null) => "nothing",
        YamlValue::Scalar(Scalar::Bool(_)) => "true or false",
        YamlValue::Scalar(Scalar::Number(_)) => "a number",
        YamlValue::Scalar(_) | YamlValue::Refused => "text",
        YamlValue::List(_) => "a list",
        YamlValue::Map(_) => "keys with values",
    };
    let name = if name.contains(' ') { name.to_owned() } else { format!("`{name}`") };
    format!("{name} takes {wanted}, not {got}")
}
