//! Patterns of file names, as the shell has them: `*`, `?` and `[a-z]`.

/// Whether a word has a mark of a pattern.
pub(super) fn is_pattern(word: &str) -> bool {
    word.contains(['*', '?', '['])
}

/// Whether a pattern fits a whole name.
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut to) = (0, 0);
    // Behind the last `*`, and how much of the name it has taken.
    let mut star: Option<(usize, usize)> = None;
    while let Some(c) = name.get(to) {
        let step = one(pattern.get(at..).unwrap_or_default(), *c);
        match (pattern.get(at), step, star) {
            (Some('*'), ..) => {
                at += 1;
                star = Some((at, to));
            }
            (_, Some(length), _) => {
                at += length;
                to += 1;
            }
            (_, None, Some((behind, taken))) => {
                at = behind;
                to = taken + 1;
                star = Some((behind, to));
            }
            (_, None, None) => return false,
        }
    }
    pattern.get(at..).unwrap_or_default().iter().all(|c| *c == '*')
}

/// How many characters of the pattern fit `c`; `None` = they do not.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match pattern.first()? {
        '?' => Some(1),
        '[' => {
            let end = pattern.iter().skip(2).position(|c| *c == ']')? + 2;
            let inner = pattern.get(1..end)?;
            let (is_opposite, set) = match inner.first() {
                Some('!' | '^') => (true, inner.get(1..)?),
                _ => (false, inner),
            };
            let is_range = set.windows(3).any(|range| matches!(range, [low, '-', high] if *low <= c && c <= *high));
            (is_opposite != (is_range || set.contains(&c))).then_some(end + 1)
        }
        literal => (*literal == c).then_some(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_as_in_the_shell() {
        for (pattern, name, is_fit) in [
            ("*.conf", "a.conf", true),
            ("*.conf", "a.conf~", false),
            ("*.conf", ".a.conf", false),
            ("*", "a", true),
            ("*", ".a", false),
            (".*", ".a", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[ab]*x", "banana-x", true),
            ("[!ab]*", "b", false),
            ("[0-9]*.conf", "10-a.conf", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("[", "[", false),
            ("é*", "été", true),
        ] {
            assert_eq!(fits(pattern, name), is_fit, "{pattern} {name}");
        }
        // Many stars take no more than the square of the length.
        assert!(!fits(&"*a".repeat(200), &"a".repeat(100)));
    }
}
