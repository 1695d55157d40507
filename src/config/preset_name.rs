//! The name of a part of paths whose limits longwire knows, as an item of `via`.

use std::fmt;

use super::{bad_value::BadValue, diagnostics::nearest};
use crate::paths::{self, PRESETS};

/// The name of a preset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PresetName(pub(super) String);

/// The most presets that the advice for an unknown name lists.
const SUGGESTED: usize = 4;

impl PresetName {
    pub(super) const KIND: &str = "the name of a preset";
    pub(super) const PATTERN: &str = r"^[a-z0-9_]+$|\$\{";
    pub(super) const EXAMPLE: &str = "aws_alb";

    pub(super) fn parse(text: &str) -> Result<Self, BadValue> {
        match paths::preset(text) {
            Some(preset) => Ok(Self(preset.name.to_owned())),
            None => Err(BadValue::new(format!("`{text}` is not a preset"), advice(text))),
        }
    }
}

impl fmt::Display for PresetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What to write in the place of a name that no preset has.
pub(super) fn advice(name: &str) -> String {
    let word = name.trim().to_lowercase().replace(['-', ' '], "_");
    let names = || PRESETS.iter().map(|preset| preset.name);
    if let Some(meant) = nearest(&word, names()) {
        return format!("did you mean `{meant}`?");
    }
    let holds = |name: &&str| name.split('_').any(|part| part == word);
    let alike: Vec<_> = names().filter(holds).take(SUGGESTED).map(|name| format!("`{name}`")).collect();
    match alike.is_empty() {
        false => format!("did you mean {}?", alike.join(" or ")),
        true => "`longwire paths` lists the presets; another part of the path has figures of its own, such as \
                 { name: office firewall, idle: 5m }"
            .to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_no_preset_has_is_answered_with_one_that_may_be_meant() {
        assert_eq!(PresetName::parse("aws_alb").unwrap().to_string(), "aws_alb");
        for (name, expected) in [
            ("aws_abl", "did you mean `aws_alb`?"),
            ("AWS-ALB", "did you mean `aws_alb`?"),
            ("kubernets", "did you mean `kubernetes`?"),
            ("alb", "did you mean `aws_alb` or `gcp_alb`?"),
            ("office firewall", "`longwire paths` lists the presets"),
            ("", "`longwire paths` lists the presets"),
        ] {
            let bad = PresetName::parse(name).unwrap_err();
            assert_eq!(bad.message, format!("`{name}` is not a preset"));
            assert!(bad.help.as_ref().unwrap().starts_with(expected), "{name}: {bad}");
        }
    }
}
