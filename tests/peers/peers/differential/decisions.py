"""Where longwire does otherwise than nginx or HAProxy, and why. docs/conformance.md has the same in short."""

from dataclasses import dataclass

from .grammar import Case
from .outcome import PASSED, REFUSED, SESSION, SILENT, Outcome

TAKEN = (SESSION, PASSED)


@dataclass(frozen=True)
class Decision:
    """`own`: what longwire makes of a message; `tags`: what was done to it, any of these; `others`: what those make of it that
    do otherwise."""

    name: str
    reason: str
    own: tuple[str, ...]
    tags: tuple[str, ...]
    # Of these messages only; none = of all.
    bases: tuple[str, ...] = ()
    others: tuple[str, ...] = (*TAKEN, REFUSED, SILENT)

    def is_about(self, case: Case, own: Outcome, different: dict[str, Outcome]) -> bool:
        return (
            own.what in self.own
            and all(other.what in self.others for other in different.values())
            and (not self.bases or case.base in self.bases)
            and any(tag in self.tags for tag in case.tags)
        )


DECISIONS = [
    Decision(
        "half a handshake",
        "refused: where proxy and backend could disagree on whether it is one, frames become requests (RFC 6455 §4.2.1)",
        (REFUSED,),
        (
            "no Upgrade",
            "an empty Upgrade",
            "Upgrade of something else",
            "Upgrade with a version",
            "no Connection",
            "Connection: keep-alive",
            "no key",
            "an empty key",
            "a short key",
            "a key that is no base64",
            "the same key twice",
            "two keys",
            "a key without padding",
        ),
        ("handshake",),
    ),
    Decision(
        "another version of the protocol",
        "refused with 426 and ours, here and not by each backend in its own way (RFC 6455 §4.4)",
        (REFUSED,),
        (
            "no Sec-WebSocket-Version",
            "Sec-WebSocket-Version: 8",
            "Sec-WebSocket-Version: 13, 8",
            "Sec-WebSocket-Version twice",
            "Sec-WebSocket-Version: 013",
        ),
    ),
    Decision(
        "a handshake by another method or HTTP/1.0",
        "refused: it is a GET of HTTP/1.1 (RFC 6455 §4.1)",
        (REFUSED,),
        (
            "HEAD",
            "OPTIONS",
            "DELETE",
            "TRACE",
            "PRI",
            "a method in lower case",
            "a method of one's own",
            "a method with a hyphen",
            "HTTP/1.0",
            "OPTIONS of an asterisk",
            "OPTIONS with Max-Forwards: 0",
        ),
        ("handshake",),
    ),
    Decision(
        "a handshake with a body",
        "refused: the bytes behind it are frames to one reader and a body to another; nginx opens a session behind it",
        (REFUSED,),
        (
            "a length and a body",
            "chunks",
            "a length of 0 and chunks",
            "Content-Length: 00",
            "Transfer-Encoding: identity",
        ),
        ("handshake",),
    ),
    Decision(
        "a false 101",
        "refused: it must follow from this handshake (RFC 6455 §4.1); a browser would refuse it too, with no reason given",
        (REFUSED,),
        (
            "Upgrade in a list",
            "no Upgrade",
            "Upgrade of something else",
            "no Connection",
            "Connection: close",
            "Connection: keep-alive",
            "no accept",
            "another accept",
            "the accept twice",
            "the subprotocol twice",
            "an unasked subprotocol",
            "an unasked extension",
        ),
        ("101",),
    ),
    Decision(
        "interim answers before a 101",
        "skipped (RFC 9110 §15.2), as nginx does; HAProxy 2.6 takes a 101 as the first answer only",
        TAKEN,
        ("100 before", "103 before"),
        ("101",),
        others=(REFUSED, SILENT),
    ),
    Decision(
        "lines and characters outside the grammar",
        "refused, not dropped or passed on: the next reader would see another message (RFC 9112 §§2.2, 5; RFC 9110 §5.5)",
        (REFUSED,),
        (
            "a folded field",
            "a field without a colon",
            "a field without a name",
            "a space before the colon",
            "a space in a name",
            "a bracket in a name",
            "NUL in a value",
            "a control in a value",
            "DEL in a value",
            "a bare CR in a value",
            "a space before the method",
            "two spaces in the line",
            "a tab in the line",
            "a space after the version",
            "a space in the target",
            "an empty target",
        ),
    ),
    Decision(
        "other versions of HTTP",
        "refused: hyper's parser reads 1.0 and 1.1 only (seanmonstar/httparse#150)",
        (REFUSED,),
        ("HTTP/1.2", "HTTP/1.10", "HTTP/2.0", "HTTP/0.9", "no version", "http in lower case"),
    ),
    Decision(
        "too many fields",
        "refused: 100 of a request (HAProxy 101, nginx any number) and 256 of an answer, by the file",
        (REFUSED,),
        ("90 more fields", "99 more fields", "150 more fields", "300 more fields"),
    ),
    Decision(
        "more bytes and fields than others take",
        "taken: 32 KiB of a request (nginx 8, HAProxy 16), 64 KiB and 256 fields of an answer",
        TAKEN,
        (
            "90 more fields",
            "99 more fields",
            "150 more fields",
            "300 more fields",
            "a value of 7,000 bytes",
            "a value of 20,000 bytes",
            "a target of 5,000 bytes",
            "a target of 20,000 bytes",
        ),
        others=(REFUSED, SILENT),
    ),
    Decision(
        "a Host that is none",
        "refused: no name in use has these characters, and they are how a second host is smuggled into the first (RFC 9112 §3.2)",
        (REFUSED,),
        (
            "no Host",
            "Host twice, the same",
            "Host twice",
            "a Host with too great a port",
            "a Host with a port of letters",
            "a Host of broken IPv6",
            "a Host with a space",
            "a Host with a user",
            "a Host with a path",
            "a Host with a comma",
            "a Host of bytes above 0x7f",
            "a Host with percent",
        ),
    ),
    Decision(
        "a whole URL of another host or kind",
        "refused: target and Host must agree, and name neither a user nor a scheme that is not served here",
        (REFUSED,),
        (
            "a whole URL of another host",
            "a whole URL of ftp",
            "a user in the URL",
            "a target that is an authority",
            "a target without a slash",
            "a target of an asterisk",
            "a whole URL",
            "a whole URL of https",
            "a whole URL of ws",
            "a whole URL of wss",
            "a whole URL without a path",
            "a whole URL without a path, with a query",
            "a whole URL with its default port",
            "a whole URL in other case",
            "OPTIONS of an asterisk",
            "CONNECT",
        ),
    ),
    Decision(
        "characters in the target",
        "refused, as hyper's Uri has it: bytes above 0x7f, and in a query quotes and angle brackets, are sent encoded (RFC 3986 §2)",
        (REFUSED,),
        (
            "bytes above 0x7f in the target",
            "a quote in the target",
            "angle brackets in the target",
            "a NUL in the target",
            "a control in the target",
            "a backslash in the target",
            "a caret and a backtick",
            "a bar and braces",
        ),
    ),
    Decision(
        "a length that is no number",
        "refused in a request: HAProxy takes a list of equal ones, nginx none",
        (REFUSED,),
        (
            "Content-Length: 0, 0",
            "Content-Length in a list",
            "Content-Length: +0",
            "an empty Content-Length",
            "a negative Content-Length",
            "a Content-Length of letters",
            "Content-Length twice",
            "Content-Length with a sign",
            "Content-Length in hexadecimal",
            "Content-Length over 64 bits",
            "Content-Length with a space within",
        ),
    ),
    Decision(
        "chunks and codings outside the grammar",
        "refused: two readers of one body would be two bodies (RFC 9112 §§6.1, 7.1)",
        (REFUSED, SILENT),
        (
            "a bare LF behind a size",
            "a bare LF behind a chunk",
            "nothing behind a chunk",
            "a chunk longer than it says",
            "an empty size",
            "a size with 0x",
            "a size with a sign",
            "a size with a space before",
            "a size with a space behind",
            "a size over 64 bits",
            "sizes of 17 digits",
            "a chunk extension with a bare LF",
            "a chunk extension with a bare CR",
            "a broken trailer",
            "an empty Transfer-Encoding",
            "Transfer-Encoding in HTTP/1.0",
            "Transfer-Encoding twice",
            "Transfer-Encoding with a comma behind",
            "Transfer-Encoding with a parameter",
            "Transfer-Encoding with a vertical tab",
            "Transfer-Encoding: identity",
            "Transfer-Encoding: gzip",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked, gzip",
            "Transfer-Encoding: chunked, chunked",
            "Transfer-Encoding: xchunked",
        ),
    ),
    Decision(
        "an answer whose end is in doubt",
        "refused: 502, and nobody uses that connection again (RFC 9112 §6.3); nginx reads on to the end of the stream",
        (REFUSED,),
        (
            "a length twice",
            "a length with a sign",
            "an empty length",
            "a length over 64 bits",
            "length and chunks",
            "Transfer-Encoding: gzip",
            "Transfer-Encoding twice",
            "HTTP/1.0",
        ),
        ("200", "200 in chunks"),
    ),
    Decision(
        "an answer that is none",
        "refused: 502; nginx and HAProxy pass on a status that no client reads",
        (REFUSED,),
        (
            "a status of two digits",
            "a status of four digits",
            "a status under 100",
            "no HTTP at all",
            "nothing",
            "half a head",
            "no space behind the status",
            "a 101 that nobody asked for",
        ),
        ("101", "200"),
    ),
    Decision(
        "a length said twice, or beside chunks",
        "taken and said once, by the rule that RFC 9112 §6.3 gives; HAProxy does the same",
        TAKEN,
        (
            "Content-Length: 0 twice",
            "Content-Length twice, the same",
            "length and chunks",
            "a length twice, the same",
            "a length in a list",
        ),
        others=(REFUSED, SILENT),
    ),
    Decision(
        "a whole URL goes on as a path",
        "as nginx does: a backend gets the origin form (RFC 9112 §3.2.1)",
        TAKEN,
        (
            "a whole URL",
            "a whole URL of https",
            "a whole URL of ws",
            "a whole URL of wss",
            "a whole URL without a path",
            "a whole URL without a path, with a query",
            "a whole URL with its default port",
            "a whole URL in other case",
        ),
    ),
    Decision(
        "the path is the backend's",
        "passed as it is, as HAProxy does: nginx decodes and merges it to find a location, and refuses what it cannot",
        TAKEN,
        (
            "an encoded NUL",
            "a broken percent",
            "dots above the root",
            "OPTIONS of an asterisk",
        ),
    ),
    Decision(
        "a fragment",
        "cut off by hyper before we see it: it is no part of a request (RFC 9110 §7.1)",
        TAKEN,
        ("a fragment",),
    ),
    Decision(
        "an empty Host",
        "taken, as HAProxy does: it is right by the grammar, and health checks send it (RFC 9110 §7.2)",
        TAKEN,
        ("an empty Host",),
        others=(REFUSED, SILENT),
    ),
    Decision(
        "what Connection names",
        "removed (RFC 9110 §7.6.1); nginx and HAProxy pass it on",
        TAKEN,
        ("Connection names a field",),
    ),
    Decision(
        "Max-Forwards: 0",
        "answered here (RFC 9110 §7.6.2); nginx and HAProxy pass it on",
        (REFUSED,),
        ("OPTIONS with Max-Forwards: 0",),
        ("GET",),
    ),
    Decision(
        "methods",
        "any token is one (RFC 9110 §9.1): nginx has TRACE answered 405 and takes capitals only, HAProxy keeps PRI",
        TAKEN,
        ("TRACE", "PRI", "a method in lower case"),
        ("GET",),
    ),
]


def decide(case: Case, own: Outcome, different: dict[str, Outcome]) -> Decision | None:
    """The first decision that is about this difference."""
    return next((decision for decision in DECISIONS if decision.is_about(case, own, different)), None)
