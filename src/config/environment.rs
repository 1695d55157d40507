//! Replaces `${NAME}` and `${NAME:-default}` inside values.

/// Looks up an environment variable; `None` = it is not set.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The environment of this process.
pub(super) fn of_process(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A reference that cannot be replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    /// The reference as written, so that the message can point at it.
    pub(super) reference: String,
    pub(super) message: String,
    pub(super) help: String,
}

/// Replaces every reference in `text`. `$$` stands for one dollar sign, and any other `$` for itself.
///
/// As in the shell, the default of `${NAME:-default}` counts if the variable is unset or empty. A replacement is not expanded
/// again.
pub(super) fn expand(text: &str, env: Env<'_>) -> Result<String, Refused> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        expanded.push_str(&rest[..dollar]);
        let after = &rest[dollar + 1..];
        if let Some(body) = after.strip_prefix('{') {
            let Some(end) = body.find('}') else {
                return Err(Refused {
                    reference: rest[dollar..].to_owned(),
                    message: "`${` without its `}`".into(),
                    help: "write ${NAME}, or $${ for the two characters".into(),
                });
            };
            expanded.push_str(&replacement(&body[..end], env)?);
            rest = &body[end + 1..];
        } else {
            expanded.push('$');
            rest = after.strip_prefix('$').unwrap_or(after);
        }
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// The text that replaces `${body}`.
fn replacement(body: &str, env: Env<'_>) -> Result<String, Refused> {
    let (name, default) = match body.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (body, None),
    };
    let refused = |message: String, help: String| Refused { reference: format!("${{{body}}}"), message, help };
    if !is_name(name) {
        let help = "a name is letters, digits and _, as in ${PORT} or ${PORT:-8080}; $$ is a dollar sign";
        return Err(refused(format!("`${{{body}}}` names no environment variable"), help.into()));
    }
    match (env(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(refused(
            format!("the environment variable `{name}` is not set"),
            format!("set it, or give a default: ${{{name}:-…}}"),
        )),
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "PORT" => Some("8080".into()),
            "EMPTY" => Some(String::new()),
            "NESTED" => Some("${PORT}".into()),
            _ => None,
        }
    }

    #[test]
    fn references_are_replaced_once() {
        for (text, expected) in [
            ("0.0.0.0:${PORT}", "0.0.0.0:8080"),
            ("${PORT}${PORT}", "80808080"),
            ("${UNSET:-9000}", "9000"),
            ("${UNSET:-}", ""),
            ("${EMPTY:-9000}", "9000"),
            ("${EMPTY}", ""),
            ("${PORT:-9000}", "8080"),
            ("${NESTED}", "${PORT}"),
            ("$${PORT} costs $5 $", "${PORT} costs $5 $"),
        ] {
            assert_eq!(expand(text, &env).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn an_unset_variable_is_named() {
        let refused = expand("a ${UNSET} b", &env).unwrap_err();
        assert_eq!(refused.reference, "${UNSET}");
        assert_eq!(refused.message, "the environment variable `UNSET` is not set");
    }

    #[test]
    fn a_broken_reference_is_refused() {
        for text in ["${", "${PORT", "${}", "${1A}", "${A B}", "${:-x}"] {
            assert!(expand(text, &env).is_err(), "{text}");
        }
    }
}
