//! Cookies of one name in a request (RFC 6265 §4.2.1). PURE.

use hyper::{
    HeaderMap,
    header::{COOKIE, HeaderValue},
};

/// Takes the cookies of this name out of a request, and calls `tell` with the value of each, in their order. The others stay as
/// they are. A `Cookie` field in which no other cookie is left goes.
///
/// The letter case of the name counts. Quotes are part of a value.
pub fn take_cookies(headers: &mut HeaderMap, name: &str, mut tell: impl FnMut(&[u8])) {
    let is_meant = |pair: &[u8]| value_of(pair, name).is_some();
    if !headers.get_all(COOKIE).iter().flat_map(pairs).any(is_meant) {
        return;
    }
    let left: Vec<_> = headers.get_all(COOKIE).iter().filter_map(|line| left_of(line, name, &mut tell)).collect();
    headers.remove(COOKIE);
    for line in left {
        headers.append(COOKIE, line);
    }
}

/// What is left of a `Cookie` field; `None` = nothing.
fn left_of(line: &HeaderValue, name: &str, tell: &mut impl FnMut(&[u8])) -> Option<HeaderValue> {
    let mut left = Vec::with_capacity(line.len());
    let mut takes = false;
    for pair in pairs(line) {
        match value_of(pair, name) {
            Some(value) => {
                tell(value);
                takes = true;
            }
            None => {
                left.extend_from_slice(pair);
                left.push(b';');
            }
        }
    }
    if !takes {
        return Some(line.clone());
    }
    left.pop();
    let left = left.trim_ascii();
    // Semicolons alone are no cookie.
    let is_empty = left.iter().all(|byte| *byte == b';' || byte.is_ascii_whitespace());
    (!is_empty).then(|| HeaderValue::from_bytes(left).ok()).flatten()
}

fn pairs(line: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    line.as_bytes().split(|byte| *byte == b';')
}

/// The value of a pair with this name. Browsers and backends ignore the blanks around a name and a value.
fn value_of<'p>(pair: &'p [u8], name: &str) -> Option<&'p [u8]> {
    let equals = pair.iter().position(|byte| *byte == b'=')?;
    let (found, value) = pair.split_at(equals);
    (found.trim_ascii() == name.as_bytes()).then(|| value[1..].trim_ascii())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn map(lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (COOKIE, HeaderValue::from_str(line).unwrap())).collect()
    }

    /// The values that were taken, and the fields that are left.
    fn taken(mut headers: HeaderMap) -> (Vec<String>, Vec<String>) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut values = Vec::new();
        take_cookies(&mut headers, "longwire", |value| values.push(text(value)));
        let left = headers.get_all(COOKIE).iter().map(|line| text(line.as_bytes())).collect();
        (values, left)
    }

    #[test]
    fn cookies_of_the_name_are_taken_and_the_others_stay() {
        let cases: &[(&[&str], &[&str], &[&str])] = &[
            (&[], &[], &[]),
            (&["a=1; b=2"], &[], &["a=1; b=2"]),
            (&["longwire=x"], &["x"], &[]),
            (&["longwire=x;"], &["x"], &[]),
            (&["; longwire=x; ;"], &["x"], &[]),
            (&["longwire=x; a=1"], &["x"], &["a=1"]),
            (&["a=1; longwire=x"], &["x"], &["a=1"]),
            (&["a=1;longwire=x;b=2"], &["x"], &["a=1;b=2"]),
            (&["a=1; longwire=x; b=\"2 3\"; c"], &["x"], &["a=1; b=\"2 3\"; c"]),
            (&["longwire=x; longwire=y; longwire="], &["x", "y", ""], &[]),
            (&["a=1", "longwire=x", "b=2; longwire=y"], &["x", "y"], &["a=1", "b=2"]),
            (&[" longwire = x=y ", "\tlongwire=\"z\""], &["x=y", "\"z\""], &[]),
            (
                &["Longwire=x; longwire2=y; xlongwire=z; longwire; =longwire"],
                &[],
                &["Longwire=x; longwire2=y; xlongwire=z; longwire; =longwire"],
            ),
            (&["a=longwire=x"], &[], &["a=longwire=x"]),
            (&["a=1 ;; b=2", "longwire=x"], &["x"], &["a=1 ;; b=2"]),
        ];
        for (lines, values, left) in cases {
            let expected =
                (values.iter().map(|&v| v.to_owned()).collect(), left.iter().map(|&l| l.to_owned()).collect());
            assert_eq!(taken(map(lines)), expected, "{lines:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_stay_as_they_are() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_bytes(b"a=\xff; longwire=\xfe; b=\x80").unwrap());
        take_cookies(&mut headers, "longwire", |value| assert_eq!(value, b"\xfe"));
        assert_eq!(headers[COOKIE], HeaderValue::from_bytes(b"a=\xff; b=\x80").unwrap());
    }

    proptest! {
        /// Whatever a client sends: the cookies of other names are the same afterwards, and none of this name is left.
        #[test]
        fn only_cookies_of_the_name_go(lines in vec("(longwire|long|a| |=|;|; |\"|[!-~]){0,12}", 0..4)) {
            let of = |lines: &[String]| -> Vec<Vec<u8>> {
                let pairs = lines.iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
                pairs.map(|pair| pair.trim_ascii().to_vec()).filter(|pair| !pair.is_empty()).collect()
            };
            let is_ours = |pair: &Vec<u8>| value_of(pair, "longwire").is_some();
            let sent: Vec<_> = lines.iter().map(|line| line.trim().to_owned()).collect();
            let before = of(&sent);
            let (values, left) = taken(map(&sent.iter().map(String::as_str).collect::<Vec<_>>()));
            let others: Vec<_> = before.iter().filter(|pair| !is_ours(pair)).cloned().collect();
            prop_assert_eq!(of(&left), others);
            prop_assert_eq!(values.len(), before.iter().filter(|pair| is_ours(pair)).count());
        }
    }
}
