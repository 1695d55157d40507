//! The replies of the server. The crate `redis` reads them. What it has no bound for, has one here.

use std::{
    fmt,
    io::{self, Read},
};

/// What a server says to one command.
pub use redis::Value as Reply;

/// The most bytes that are taken for one reply. The list of a thousand instances fits.
const LONGEST_REPLY: usize = 256 * 1024;

/// Reads the replies of one connection, however they are cut.
#[derive(Default)]
pub struct ReplyReader {
    parser: redis::Parser,
    /// Bytes since the last whole reply.
    taken: usize,
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

impl ReplyReader {
    /// Reads the next reply, and takes from `bytes` what it needs, or more: that is kept for the next one. `None` = all is taken, and the
    /// reply is not complete.
    ///
    /// # Errors
    /// What comes next is no reply. Nothing behind it can be read either.
    pub fn read(&mut self, bytes: &mut &[u8]) -> Result<Option<Reply>, BadReply> {
        match self.parser.parse_value(Arrived { bytes, taken: &mut self.taken }) {
            Ok(reply) => {
                self.taken = 0;
                Ok(Some(reply))
            }
            Err(error) if !error.is_io_error() => Err(BadReply("this is no reply: is the server a Valkey or Redis?")),
            Err(_) if self.taken >= LONGEST_REPLY => Err(BadReply("a reply is too long")),
            Err(_) => Ok(None),
        }
    }
}

/// The bytes that have come. Behind them the parser must not find an end, which it would remember, but nothing yet.
struct Arrived<'a, 'b> {
    bytes: &'a mut &'b [u8],
    taken: &'a mut usize,
}

impl Read for Arrived<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let room = into.len().min(LONGEST_REPLY.saturating_sub(*self.taken));
        match self.bytes.read(&mut into[..room])? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            count => {
                *self.taken += count;
                Ok(count)
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// Reads all replies of pieces that come one after another, up to what is none.
    fn read_all<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Reply>, Option<BadReply>) {
        let (mut reader, mut replies) = (ReplyReader::default(), Vec::new());
        for mut piece in pieces {
            loop {
                match reader.read(&mut piece) {
                    Ok(Some(reply)) => replies.push(reply),
                    Ok(None) => break,
                    Err(bad) => return (replies, Some(bad)),
                }
            }
            assert!(piece.is_empty(), "what is not taken would be lost");
        }
        (replies, None)
    }

    fn text(text: &str) -> Reply {
        Reply::BulkString(text.into())
    }

    fn write_reply(reply: &Reply, into: &mut Vec<u8>) {
        match reply {
            Reply::Okay => into.extend_from_slice(b"+OK\r\n"),
            Reply::SimpleString(text) => into.extend_from_slice(format!("+{text}\r\n").as_bytes()),
            Reply::BulkString(text) => {
                into.extend_from_slice(format!("${}\r\n", text.len()).as_bytes());
                into.extend_from_slice(text);
                into.extend_from_slice(b"\r\n");
            }
            Reply::Int(number) => into.extend_from_slice(format!(":{number}\r\n").as_bytes()),
            Reply::Nil => into.extend_from_slice(b"$-1\r\n"),
            Reply::Array(items) => {
                into.extend_from_slice(format!("*{}\r\n", items.len()).as_bytes());
                items.iter().for_each(|item| write_reply(item, into));
            }
            other => unreachable!("{other:?} is not made here"),
        }
    }

    fn written(replies: &[Reply]) -> Vec<u8> {
        let mut bytes = Vec::new();
        replies.iter().for_each(|reply| write_reply(reply, &mut bytes));
        bytes
    }

    #[test]
    fn several_replies_in_one_read_are_read_wherever_they_are_cut() {
        let list = Reply::Array(vec![text("standing"), Reply::Int(-12), text("a\r\nb"), text(""), Reply::Nil]);
        let replies = [Reply::Okay, list, Reply::Array(Vec::new()), Reply::SimpleString("busy".into()), text("end")];
        let bytes = written(&replies);
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                assert_eq!(read_all(pieces), (replies.to_vec(), None), "cut at {first} and {second}");
            }
        }
        assert_eq!(read_all(bytes.chunks(1)), (replies.to_vec(), None));
    }

    #[test]
    fn an_error_of_the_server_is_a_reply_however_it_is_cut() {
        let bytes = b"-NOPERM User lw has no permissions\r\n+OK\r\n";
        for end in 0..=bytes.len() {
            let (replies, bad) = read_all([&bytes[..end], &bytes[end..]]);
            let [Reply::ServerError(error), Reply::Okay] = &replies[..] else { panic!("{replies:?} {bad:?}") };
            assert_eq!((error.code(), error.details()), ("NOPERM", Some("User lw has no permissions")));
        }
    }

    #[test]
    fn a_reply_has_room_for_so_many_bytes_and_no_more() {
        let framed = |length: usize| written(&[Reply::BulkString(vec![b'x'; length])]);
        let longest = LONGEST_REPLY - (framed(LONGEST_REPLY).len() - LONGEST_REPLY);
        let (fits, too_long) = (framed(longest), framed(longest + 1));
        assert_eq!((fits.len(), too_long.len()), (LONGEST_REPLY, LONGEST_REPLY + 1));
        let refused = BadReply("a reply is too long");
        for piece in [1000, 16 * 1024, usize::MAX] {
            // The count begins anew behind each reply.
            let several = fits.repeat(3);
            let (replies, bad) = read_all(several.chunks(piece));
            assert_eq!((replies.len(), bad), (3, None));
            assert_eq!(read_all(too_long.chunks(piece)), (Vec::new(), Some(refused)));
            let list = format!("*9223372036854775807\r\n{}", ":1\r\n".repeat(LONGEST_REPLY / 4));
            for endless in ["+x", &list] {
                let endless = [endless.as_bytes(), &[b'1'; LONGEST_REPLY]].concat();
                assert_eq!(read_all(endless.chunks(piece)), (Vec::new(), Some(refused)));
            }
        }
    }

    #[test]
    fn a_length_that_is_announced_takes_no_room_of_its_size() {
        for announced in ["*9223372036854775807\r\n:1\r\n", "$9223372036854775807\r\n", "%4611686018427387903\r\n_\r\n"]
        {
            for piece in [1, announced.len()] {
                // Who took it would not come here.
                assert_eq!(read_all(announced.as_bytes().chunks(piece)), (Vec::new(), None), "{announced:?}");
            }
        }
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        let deep = "*1\r\n".repeat(10_000);
        for bytes in ["HTTP/1.1 400 Bad Request\r\n", "\r\n+OK\r\n", "$x\r\n", "$1\r\nab\r\n", ":one\r\n", &deep] {
            let (replies, bad) = read_all([bytes.as_bytes()]);
            assert!(replies.is_empty() && bad.unwrap().to_string().contains("Valkey or Redis"), "{bytes:?}");
        }
    }

    fn one() -> impl Strategy<Value = Reply> {
        prop_oneof![
            vec(any::<u8>(), 0..20).prop_map(Reply::BulkString),
            any::<i64>().prop_map(Reply::Int),
            "[a-z ]{0,9}".prop_map(Reply::SimpleString),
            Just(Reply::Okay),
            Just(Reply::Nil),
        ]
    }

    /// What begins a reply, or a part of one.
    fn scraps() -> impl Strategy<Value = Vec<u8>> {
        let scrap = prop_oneof![
            4 => prop::sample::select(b"+-:$*_,#!=(%~|>".to_vec()).prop_map(|kind| vec![kind]),
            2 => Just(b"\r\n".to_vec()),
            1 => Just(b"\r".to_vec()),
            2 => prop_oneof![-2..20_i64, any::<i64>()].prop_map(|number| number.to_string().into_bytes()),
            1 => any::<u8>().prop_map(|byte| vec![byte]),
            1 => one().prop_map(|reply| written(&[reply])),
        ];
        vec(scrap, 0..60).prop_map(|scraps| scraps.concat())
    }

    proptest! {
        #[test]
        fn replies_come_as_they_were_written_in_pieces_of_any_size(
            replies in vec(prop_oneof![one(), vec(one(), 0..8).prop_map(Reply::Array)], 0..5),
            piece in 1..40_usize,
        ) {
            prop_assert_eq!(read_all(written(&replies).chunks(piece)), (replies, None));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in scraps(), piece in 1..40_usize) {
            read_all(bytes.chunks(piece));
            read_all([&bytes[..]]);
        }
    }
}
