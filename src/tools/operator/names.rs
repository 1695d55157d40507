//! The error for a name that nothing has, with the names that exist.

use serde_json::Value;

use super::client::{AdminClient, CallError};

/// The kinds of things that have names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Route,
    Upstream,
    Backend,
}

/// The most names that an error shows. Nobody would read more.
const SHOWN: usize = 20;

impl What {
    /// The kind that a key of a filter names; `None` = a kind without a list of names.
    pub(super) fn of_filter(key: &str) -> Option<Self> {
        match key {
            "route" => Some(Self::Route),
            "upstream" => Some(Self::Upstream),
            "backend" => Some(Self::Backend),
            _ => None,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Upstream => "upstream",
            Self::Backend => "backend",
        }
    }

    /// The names of this kind that run, each once.
    async fn names(self, admin: &AdminClient) -> Result<Vec<String>, CallError> {
        let of = |list: &Value, key: &str| -> Vec<String> {
            let items = list.as_array().into_iter().flatten();
            items.filter_map(|item| item[key].as_str().map(str::to_owned)).collect()
        };
        let mut names = match self {
            Self::Route => of(&admin.get("/api/status").await?["routes"], "name"),
            Self::Upstream => of(&admin.get("/api/upstreams").await?["upstreams"], "name"),
            Self::Backend => {
                let upstreams = admin.get("/api/upstreams").await?;
                let upstreams = upstreams["upstreams"].as_array().into_iter().flatten();
                upstreams.flat_map(|upstream| of(&upstream["backends"], "address")).collect()
            }
        };
        names.sort();
        names.dedup();
        Ok(names)
    }
}

/// Checks that something of this kind has the name `name`.
///
/// # Errors
/// [`CallError::NoSuchName`] if nothing has it; another error if the names cannot be asked for.
pub(super) async fn check(admin: &AdminClient, what: What, name: &str) -> Result<(), CallError> {
    let names = what.names(admin).await?;
    if names.iter().any(|known| known == name) {
        return Ok(());
    }
    Err(CallError::NoSuchName(no_such(what, name, &names)))
}

fn no_such(what: What, name: &str, names: &[String]) -> String {
    let word = what.word();
    let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = match names.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    match names.is_empty() {
        true => format!("no {word} is called {name:?}: there is none"),
        false => format!("no {word} is called {name:?}; there are: {shown}{more}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_nothing_has_is_told_with_those_there_are() {
        let names = |count: usize| (0..count).map(|n| format!("b{n}")).collect::<Vec<_>>();
        assert_eq!(no_such(What::Route, "x", &names(2)), "no route is called \"x\"; there are: b0, b1");
        assert!(no_such(What::Backend, "x", &names(23)).ends_with("b19 and 3 more"));
        assert_eq!(no_such(What::Upstream, "x", &[]), "no upstream is called \"x\": there is none");
    }
}
