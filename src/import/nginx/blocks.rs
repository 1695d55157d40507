//! The directives of an nginx configuration in their blocks, with what other files include.

use std::sync::Arc;

use super::tokens::{ConfReader, ConfToken, ConfWord};
use crate::import::origin::{
    DEEPEST_BLOCK, DEEPEST_INCLUDE, FileLine, ImportError, IncludedFile, MOST_BYTES, MOST_FILES, ReadFiles,
};

/// A directive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directive {
    pub(super) name: String,
    pub(super) args: Vec<ConfWord>,
    /// The directives in its block; `None` = it has no block, or one in another language.
    pub(super) block: Option<Vec<Self>>,
    pub(super) at: FileLine,
}

impl Directive {
    /// The argument at this place; empty if there is none.
    pub(super) fn arg(&self, place: usize) -> &str {
        self.args.get(place).map_or("", |word| &word.text)
    }

    pub(super) fn inner(&self) -> &[Self] {
        self.block.as_deref().unwrap_or_default()
    }

    /// The arguments as one text.
    pub(super) fn text(&self) -> String {
        self.args.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ")
    }
}

/// Directives that need a block, and those of which nginx wants a certain number of arguments.
const BLOCKS: [&str; 9] = ["http", "server", "location", "upstream", "events", "if", "map", "types", "stream"];
const COUNTS: [(&str, usize, usize); 8] = [
    ("proxy_pass", 1, 1),
    ("proxy_set_header", 2, 2),
    ("proxy_http_version", 1, 1),
    ("proxy_read_timeout", 1, 1),
    ("proxy_buffering", 1, 1),
    ("location", 1, 2),
    ("upstream", 1, 1),
    ("map", 2, 2),
];

/// Reads files and what they include.
pub(super) struct BlockReader<'a> {
    read: ReadFiles<'a>,
    files: usize,
    bytes: usize,
    /// The identities of the files that are open.
    open: Vec<String>,
    /// Comments about the patterns that fit no file.
    pub(super) notes: Vec<String>,
}

impl<'a> BlockReader<'a> {
    pub(super) fn new(read: ReadFiles<'a>) -> Self {
        Self { read, files: 0, bytes: 0, open: Vec::new(), notes: Vec::new() }
    }

    /// The directives of a file.
    ///
    /// # Errors
    /// Why it cannot be read as a configuration.
    pub(super) fn file(
        &mut self,
        file: &IncludedFile,
        asked: Option<&FileLine>,
    ) -> Result<Vec<Directive>, ImportError> {
        let name: Arc<str> = file.name.as_str().into();
        let at = asked.cloned().unwrap_or_else(|| FileLine { file: Arc::clone(&name), line: 1 });
        self.files += 1;
        self.bytes += file.text.len();
        if self.open.contains(&file.identity) {
            return Err(at.error(format!("{name} includes itself")));
        }
        if self.open.len() > DEEPEST_INCLUDE {
            return Err(at.error(format!("includes stand more than {DEEPEST_INCLUDE} deep")));
        }
        if self.files > MOST_FILES || self.bytes > MOST_BYTES {
            return Err(at.error(format!("more than {MOST_FILES} files, or {} MiB", MOST_BYTES >> 20)));
        }
        self.open.push(file.identity.clone());
        let mut reader = ConfReader::new(&file.text);
        let directives = self.block(&mut reader, &name, None, 0)?;
        self.open.pop();
        Ok(directives)
    }

    /// The directives up to the end of a block, or of the file. `opened`: where the block began.
    fn block(
        &mut self,
        reader: &mut ConfReader<'_>,
        file: &Arc<str>,
        opened: Option<&FileLine>,
        depth: usize,
    ) -> Result<Vec<Directive>, ImportError> {
        let place = |line| FileLine { file: Arc::clone(file), line };
        let (mut found, mut words, mut begun): (Vec<Directive>, Vec<ConfWord>, usize) = (Vec::new(), Vec::new(), 0);
        loop {
            let next = reader.next().map_err(|(line, message)| place(line).error(message))?;
            let Some((token, line)) = next else {
                return match opened {
                    _ if !words.is_empty() => Err(place(begun).error(format!("`{}` has no `;`", words[0].text))),
                    Some(opened) => Err(opened.error("this block is not closed: `}` is missing")),
                    None => Ok(found),
                };
            };
            match token {
                ConfToken::Text(word) => {
                    if words.is_empty() {
                        begun = line;
                    }
                    words.push(word);
                    continue;
                }
                ConfToken::Close if !words.is_empty() => {
                    return Err(place(begun).error(format!("`{}` has no `;`", words[0].text)));
                }
                ConfToken::Close if opened.is_some() => return Ok(found),
                ConfToken::Close => return Err(place(line).error("`}` closes no block")),
                ConfToken::End | ConfToken::Open if words.is_empty() => {
                    return Err(place(line).error("a directive is missing here"));
                }
                ConfToken::End | ConfToken::Open => {}
            }
            let at = place(begun);
            let name = words.remove(0).text;
            let args = std::mem::take(&mut words);
            let mut directive = Directive { name, args, block: None, at };
            if token == ConfToken::Open && directive.name.ends_with("_by_lua_block") {
                reader.skip_code(line).map_err(|(line, message)| place(line).error(message))?;
            } else if token == ConfToken::Open {
                if depth == DEEPEST_BLOCK {
                    return Err(directive.at.error(format!("blocks stand more than {DEEPEST_BLOCK} deep")));
                }
                directive.block = Some(self.block(reader, file, Some(&directive.at), depth + 1)?);
            }
            if directive.name == "include" && directive.block.is_none() {
                found.extend(self.included(&directive)?);
            } else {
                found.push(directive);
            }
        }
    }

    fn included(&mut self, include: &Directive) -> Result<Vec<Directive>, ImportError> {
        let pattern = include.arg(0);
        if pattern.is_empty() || include.args.len() != 1 {
            return Err(include.at.error("`include` names one file or pattern"));
        }
        let files = (self.read)(pattern).map_err(|reason| include.at.error(reason))?;
        if files.is_empty() {
            self.notes.push(include.at.note(format_args!("include {pattern}: no file fits")));
        }
        let mut found = Vec::new();
        for file in files {
            found.extend(self.file(&file, Some(&include.at))?);
        }
        Ok(found)
    }
}

/// Blocks whose entries are no directives.
pub(super) const FREE: [&str; 8] =
    ["map", "geo", "types", "split_clients", "charset_map", "match", "geoip2", "otel_exporter"];

/// What nginx refuses in directives by their form alone.
///
/// # Errors
/// The first such directive.
pub(super) fn check(directives: &[Directive]) -> Result<(), ImportError> {
    for directive in directives {
        let Directive { name, args, block, at } = directive;
        // The `server` of an upstream has arguments and no block.
        if BLOCKS.contains(&name.as_str()) && block.is_none() && (name != "server" || args.is_empty()) {
            return Err(at.error(format!("`{name}` needs a block")));
        }
        let count = COUNTS.iter().find(|(known, ..)| known == name);
        if let Some((_, least, most)) = count
            && !(*least..=*most).contains(&args.len())
        {
            let hint = if args.len() > *most { ": is a `;` missing?" } else { "" };
            return Err(at.error(format!("`{name}` has {} arguments{hint}", args.len())));
        }
        if !FREE.contains(&name.as_str()) {
            check(directive.inner())?;
        }
    }
    Ok(())
}
