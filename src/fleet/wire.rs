//! RESP, the protocol of Valkey and Redis, in its version 2, as far as longwire speaks it: commands are lists of byte strings, and no
//! reply has a list within a list.

use std::fmt;

/// The most bytes of one reply. The list of a thousand instances fits.
const LONGEST_REPLY: usize = 256 * 1024;
/// The most bytes of a line: a number, a status, or the text of an error.
const LONGEST_LINE: usize = 4096;
/// The most items of a list.
const MOST_ITEMS: usize = 8192;

/// What a server says to one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A status or a string.
    Text(Vec<u8>),
    /// A whole number.
    Number(i64),
    /// There is no value.
    Nothing,
    /// An error, in the words of the server.
    Refusal(String),
    /// Several, none of them a list.
    List(Vec<Self>),
}

/// Bytes that are no reply, or one that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadReply(&'static str);

impl fmt::Display for BadReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for BadReply {}

/// Appends a command.
pub fn write_command(into: &mut Vec<u8>, parts: &[&[u8]]) {
    write_length(into, b'*', parts.len());
    for part in parts {
        write_length(into, b'$', part.len());
        into.extend_from_slice(part);
        into.extend_from_slice(b"\r\n");
    }
}

fn write_length(into: &mut Vec<u8>, kind: u8, length: usize) {
    into.push(kind);
    into.extend_from_slice(length.to_string().as_bytes());
    into.extend_from_slice(b"\r\n");
}

/// Reads the reply at the begin of `bytes`, and how many bytes it has. `None` = it is not complete.
///
/// # Errors
/// What comes next is no reply. Nothing behind it can be read either.
pub fn read_reply(bytes: &[u8]) -> Result<Option<(Reply, usize)>, BadReply> {
    let mut rest = bytes;
    let reply = read_one(&mut rest, true)?;
    match reply {
        Some(reply) => Ok(Some((reply, bytes.len() - rest.len()))),
        None if bytes.len() > LONGEST_REPLY => Err(BadReply("a reply is too long")),
        None => Ok(None),
    }
}

fn read_one(rest: &mut &[u8], may_be_list: bool) -> Result<Option<Reply>, BadReply> {
    let Some(line) = read_line(rest)? else { return Ok(None) };
    let Some((kind, line)) = line.split_first() else { return Err(BadReply("an empty line is no reply")) };
    Ok(Some(match kind {
        b'+' => Reply::Text(line.to_vec()),
        b'-' => Reply::Refusal(String::from_utf8_lossy(line).into_owned()),
        b':' => Reply::Number(number(line)?),
        b'$' => match length(line, LONGEST_REPLY)? {
            None => Reply::Nothing,
            Some(length) => match read_text(rest, length)? {
                Some(text) => Reply::Text(text),
                None => return Ok(None),
            },
        },
        b'*' if may_be_list => match length(line, MOST_ITEMS)? {
            None => Reply::Nothing,
            Some(length) => {
                // No room is taken for items that have not come.
                let mut items = Vec::new();
                for _ in 0..length {
                    let Some(item) = read_one(rest, false)? else { return Ok(None) };
                    items.push(item);
                }
                Reply::List(items)
            }
        },
        b'*' => return Err(BadReply("a list within a list")),
        _ => return Err(BadReply("no reply begins like this: is the server a Valkey or Redis?")),
    }))
}

/// Takes a line, without its end.
fn read_line<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, BadReply> {
    let bytes: &'a [u8] = rest;
    let Some(end) = bytes.iter().take(LONGEST_LINE).position(|byte| *byte == b'\r') else {
        return if bytes.len() < LONGEST_LINE { Ok(None) } else { Err(BadReply("a line is too long")) };
    };
    let (line, after) = bytes.split_at(end);
    match after {
        [_, b'\n', after @ ..] => {
            *rest = after;
            Ok(Some(line))
        }
        [_] => Ok(None),
        _ => Err(BadReply("a line ends without LF")),
    }
}

fn read_text(rest: &mut &[u8], length: usize) -> Result<Option<Vec<u8>>, BadReply> {
    let Some((text, after)) = rest.split_at_checked(length) else { return Ok(None) };
    match after {
        [b'\r', b'\n', after @ ..] => {
            let text = text.to_vec();
            *rest = after;
            Ok(Some(text))
        }
        [] | [b'\r'] => Ok(None),
        _ => Err(BadReply("a string is longer than it says")),
    }
}

/// A length; `None` = there is no value.
fn length(line: &[u8], most: usize) -> Result<Option<usize>, BadReply> {
    match number(line)? {
        -1 => Ok(None),
        number => match usize::try_from(number) {
            Ok(length) if length <= most => Ok(Some(length)),
            _ => Err(BadReply("a length is negative or too large")),
        },
    }
}

fn number(line: &[u8]) -> Result<i64, BadReply> {
    let text = str::from_utf8(line).ok().and_then(|text| text.parse().ok());
    text.ok_or(BadReply("this is no number"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn text(text: &str) -> Reply {
        Reply::Text(text.into())
    }

    #[test]
    fn replies_are_read_as_the_protocol_writes_them() {
        for (bytes, reply) in [
            ("+OK\r\n", text("OK")),
            ("$5\r\nhe\r\no\r\n", text("he\r\no")),
            ("$0\r\n\r\n", text("")),
            (":-12\r\n", Reply::Number(-12)),
            ("$-1\r\n", Reply::Nothing),
            ("*-1\r\n", Reply::Nothing),
            ("-NOPERM no\r\n", Reply::Refusal("NOPERM no".into())),
            ("*3\r\n:1\r\n$1\r\na\r\n-ERR x\r\n", {
                Reply::List(vec![Reply::Number(1), text("a"), Reply::Refusal("ERR x".into())])
            }),
            ("*0\r\n", Reply::List(Vec::new())),
        ] {
            let whole = format!("{bytes}+next");
            assert_eq!(read_reply(whole.as_bytes()), Ok(Some((reply, bytes.len()))), "{bytes:?}");
            for end in 0..bytes.len() {
                assert_eq!(read_reply(&bytes.as_bytes()[..end]), Ok(None), "{:?}", &bytes[..end]);
            }
        }
    }

    #[test]
    fn what_is_no_reply_is_refused_and_takes_no_memory() {
        for bytes in [
            "HTTP/1.1 400 Bad Request\r\n",
            "\r\n",
            "*9223372036854775807\r\n",
            "$999999999\r\n",
            "$-2\r\n",
            "$x\r\n",
            "$1\r\nab\r\n",
            "*1\r\n*1\r\n:1\r\n",
            "+OK\rx",
        ] {
            assert!(read_reply(bytes.as_bytes()).is_err(), "{bytes:?}");
        }
        assert!(read_reply(&[b'+'; LONGEST_LINE]).is_err());
        let mut endless = b"*8000\r\n".to_vec();
        while endless.len() <= LONGEST_REPLY {
            endless.extend_from_slice(b"$100\r\n");
            endless.extend_from_slice(&[b'x'; 100]);
            endless.extend_from_slice(b"\r\n");
        }
        assert!(read_reply(&endless).is_err());
    }

    #[test]
    fn another_library_reads_our_commands_and_writes_them_alike() {
        let parts: [&[u8]; 4] = [b"EVALSHA", b"", b"a\r\nb", b"\xff\x00"];
        let mut ours = Vec::new();
        write_command(&mut ours, &parts);
        let mut theirs = redis::cmd("EVALSHA");
        parts[1..].iter().for_each(|part| {
            theirs.arg(*part);
        });
        assert_eq!(ours, theirs.get_packed_command());
    }

    /// What another library makes of the same bytes.
    fn as_redis(reply: &Reply) -> redis::Value {
        match reply {
            Reply::Text(text) => redis::Value::BulkString(text.clone()),
            Reply::Number(number) => redis::Value::Int(*number),
            Reply::Nothing => redis::Value::Nil,
            Reply::Refusal(_) => unreachable!("none is made here"),
            Reply::List(items) => redis::Value::Array(items.iter().map(as_redis).collect()),
        }
    }

    fn write_reply(reply: &Reply, into: &mut Vec<u8>) {
        match reply {
            Reply::Text(text) => {
                into.extend_from_slice(format!("${}\r\n", text.len()).as_bytes());
                into.extend_from_slice(text);
                into.extend_from_slice(b"\r\n");
            }
            Reply::Number(number) => into.extend_from_slice(format!(":{number}\r\n").as_bytes()),
            Reply::Nothing => into.extend_from_slice(b"$-1\r\n"),
            Reply::Refusal(_) => unreachable!("none is made here"),
            Reply::List(items) => {
                into.extend_from_slice(format!("*{}\r\n", items.len()).as_bytes());
                items.iter().for_each(|item| write_reply(item, into));
            }
        }
    }

    fn one() -> impl Strategy<Value = Reply> {
        prop_oneof![
            vec(any::<u8>(), 0..20).prop_map(Reply::Text),
            any::<i64>().prop_map(Reply::Number),
            Just(Reply::Nothing)
        ]
    }

    proptest! {
        #[test]
        fn another_library_reads_the_same_replies(reply in prop_oneof![one(), vec(one(), 0..8).prop_map(Reply::List)]) {
            let mut bytes = Vec::new();
            write_reply(&reply, &mut bytes);
            prop_assert_eq!(redis::parse_redis_value(&bytes).unwrap(), as_redis(&reply));
            prop_assert_eq!(read_reply(&bytes), Ok(Some((reply, bytes.len()))));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in vec(prop_oneof![Just(b'*'), Just(b'$'), Just(b'1'), Just(b'\r'), Just(b'\n'), any::<u8>()], 0..200)) {
            if let Ok(Some((_, length))) = read_reply(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }
    }
}
