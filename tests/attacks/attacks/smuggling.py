"""Requests that hide another one, and upgrades that are none: each is refused, or goes on in one framing."""

from collections import Counter

from peers.bench import wait_until

from . import wire
from .attack import attack, promise

HIDDEN = b"GET /smuggled HTTP/1.1\r\nHost: chat\r\n\r\n"
HONEST = b"GET /honest HTTP/1.1\r\nHost: chat\r\nConnection: close\r\n\r\n"
CHUNKS = b"0\r\n\r\n" + HIDDEN


def post(fields: bytes, body: bytes, version: bytes = b"1.1") -> bytes:
    return b"POST /post HTTP/" + version + b"\r\nHost: chat\r\n" + fields + b"\r\n" + body


def forms(scene, requests: dict, allowed: set[str], hidden_is_a_request: bool = False) -> str:
    """Sends each form, an honest request behind it, and checks every answer and what came to the backend."""
    found = Counter()
    for name, request in requests.items():
        scene.backend.lines.clear()
        answer, end = wire.ask(scene.port, request + HONEST)
        statuses = wire.status(answer)
        first = statuses.partition("+")[0]
        promise(
            first in allowed and end != "silence", f"{name}: {statuses}, {end}; allowed: {', '.join(sorted(allowed))}"
        )
        doubts = scene.backend.events("doubt")
        promise(not doubts, f"{name}: the backend got a request of doubtful framing: {doubts}")
        lines = [event["line"] for event in scene.backend.events("request")]
        promise(
            hidden_is_a_request or not any("smuggled" in line for line in lines), f"{name}: the backend got {lines}"
        )
        behind = [event for event in scene.backend.events("behind") if event["bytes"]]
        promise(not behind, f"{name}: the backend got {behind}")
        promise(b"LEAK" not in answer, f"{name}: bytes behind a false upgrade came back")
        found[first] += 1
    return f"{len(requests)} forms: {wire.words(found)}; nothing hidden came through"


# Where `Content-Length` and `Transfer-Encoding` meet, hyper goes by the chunks, longwire frames anew; what follows
# the last chunk is then a request of its own, in the open: nobody after us reads it otherwise.
@attack(
    "CL.TE",
    "both lengths, Content-Length first, a request behind the last chunk",
    "known_bugs::lengths_that_disagree_are_refused_or_rebuilt",
)
def cl_te(scene):
    length = b"Content-Length: %d\r\n" % len(CHUNKS)
    requests = {
        "the whole": post(length + b"Transfer-Encoding: chunked\r\n", CHUNKS),
        "too short": post(b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", CHUNKS),
        "in lower case": post(b"content-length: 4\r\ntransfer-encoding: chunked\r\n", CHUNKS),
    }
    return forms(scene, requests, {"400", "200"}, hidden_is_a_request=True)


@attack(
    "TE.CL",
    "both lengths, Transfer-Encoding first, a request inside a chunk",
    "known_bugs::lengths_that_disagree_are_refused_or_rebuilt",
)
def te_cl(scene):
    inside = b"%x\r\n%s\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN)
    requests = {
        "length up to the chunk": post(b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", inside),
        "length of nothing": post(b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", inside),
    }
    return forms(scene, requests, {"400", "200"})


CODINGS = [
    b"xchunked",
    b",chunked",
    b"chunked,",
    b"chunked, identity",
    b"identity, chunked",
    b"chunked, chunked",
    b"gzip, chunked",
    b'"chunked"',
    b"chunked;q=1",
    b"\x0bchunked",
    b"chun ked",
    b"",
    b"identity",
    b"chunked\r\nTransfer-Encoding: chunked",
    b"identity\r\nTransfer-Encoding: chunked",
    b"chunked\r\nTransfer-Encoding: x",
]


@attack(
    "obfuscated TE",
    f"{len(CODINGS) + 5} spellings of Transfer-Encoding",
    "known_bugs::an_obfuscated_transfer_encoding_is_refused",
)
def obfuscated_te(scene):
    requests = {repr(coding): post(b"Transfer-Encoding: " + coding + b"\r\n", CHUNKS) for coding in CODINGS}
    for field in (b"Transfer-Encoding : chunked", b"Transfer\x00-Encoding: chunked", b" Transfer-Encoding: chunked"):
        requests[repr(field)] = post(field + b"\r\n", CHUNKS)
    requests["folded"] = post(b"Transfer-Encoding:\r\n chunked\r\n", CHUNKS)
    requests["in HTTP/1.0"] = post(b"Transfer-Encoding: chunked\r\n", CHUNKS, b"1.0")
    return forms(scene, requests, {"400", "nothing"})


LENGTHS = [
    b"5\r\nContent-Length: 6",
    b"6\r\nContent-Length: 5",
    b"5, 6",
    b"+5",
    b"-5",
    b"0x5",
    b"5 5",
    b"5,6",
    b"",
    b"5.0",
    b"18446744073709551616",
    b"99999999999999999999999",
    "٥".encode(),
    b"5;",
    b"1e1",
]


@attack(
    "double and false lengths",
    f"{len(LENGTHS)} kinds of Content-Length",
    "known_bugs::lengths_that_are_no_plain_number_are_refused",
)
def lengths(scene):
    requests = {repr(length): post(b"Content-Length: " + length + b"\r\n", b"hello" + HIDDEN) for length in LENGTHS}
    return forms(scene, requests, {"400", "nothing"})


SIZES = [b"0x5", b"+5", b"-5", b"5_0", b"", b" ", b"5 5", b"f" * 17, b"1" + b"0" * 16, b"g", b"\x005"]


@attack(
    "bad chunks", f"{len(SIZES) + 6} kinds of chunks", "known_bugs::chunk_sizes_that_are_no_plain_hex_end_the_request"
)
def bad_chunks(scene):
    bodies = {repr(size): size + b"\r\nhello\r\n" for size in SIZES}
    bodies |= {
        "an extension with CR": b"5;a\rb\r\nhello\r\n",
        "an extension with LF": b"5;a\nb\r\nhello\r\n",
        "bare LF": b"5\nhello\n0\n\n",
        "no CRLF behind the data": b"5\r\nhelloXX",
        "more data than its size": b"2\r\nhello\r\n",
        "an extension of 1 MiB": b"5;" + b"e" * (1 << 20) + b"\r\nhello\r\n",
    }
    requests = {
        name: post(b"Transfer-Encoding: chunked\r\n", body + b"0\r\n\r\n" + HIDDEN) for name, body in bodies.items()
    }
    # What breaks inside a body may have had its head forwarded: that request is cut, never completed. Where the
    # chunks are taken after all, what follows them is a request in the open, as it is to the backend.
    return forms(scene, requests, {"400", "408", "502", "200", "nothing"}, hidden_is_a_request=True)


@attack("bare LF", "heads with LF for CRLF", "known_bugs::a_head_of_bare_line_feeds_is_refused_or_rebuilt")
def bare_lf(scene):
    requests = {
        "all": b"GET /lf HTTP/1.1\nHost: chat\nX-Name: 1\n\n",
        "some": b"GET /lf HTTP/1.1\r\nHost: chat\r\nX-Name: 1\n\r\n",
        "the last": b"GET /lf HTTP/1.1\r\nHost: chat\r\n\n",
        "a bare CR": b"GET /lf HTTP/1.1\r\nHost: chat\rX-Name: 1\r\n\r\n",
    }
    return forms(scene, requests, {"400", "200", "nothing"})


@attack("folded headers", "fields continued on the next line", "known_bugs::malformed_fields_are_refused")
def folded(scene):
    requests = {
        "by a space": b"GET /folded HTTP/1.1\r\nHost: chat\r\nX-Name: 1\r\n folded\r\n\r\n",
        "by a tab": b"GET /folded HTTP/1.1\r\nHost: chat\r\nX-Name: 1\r\n\tfolded\r\n\r\n",
        "the first": b"GET /folded HTTP/1.1\r\n Host: chat\r\n\r\n",
        "a length": post(b"Content-Length:\r\n 5\r\n", b"hello" + HIDDEN),
        "the host": b"GET /folded HTTP/1.1\r\nHost:\r\n chat\r\n\r\n",
    }
    return forms(scene, requests, {"400", "nothing"})


@attack(
    "Upgrade: h2c", "h2c and other protocols, with HTTP2-Settings", "known_bugs::no_other_upgrade_is_ever_forwarded"
)
def h2c(scene):
    for protocol in (b"h2c", b"TLS/1.0", b"HTTP/2.0", b"websocket2"):
        request = (
            b"GET /h2c HTTP/1.1\r\nHost: chat\r\nUpgrade: " + protocol + b"\r\n"
            b"Connection: Upgrade, HTTP2-Settings, close\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n"
        )
        answer, _ = wire.ask(scene.port, request)
        told = answer.lower()
        promise(wire.status(answer) == "200", f"{protocol}: {wire.status(answer)}")
        promise(b'"upgrade"' not in told and b"http2-settings" not in told, f"{protocol} was forwarded: {answer!r}")
    preface, end = wire.ask(scene.port, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
    return promise(
        wire.status(preface) in ("400", "nothing", "505"),
        f"200 without an upgrade; the preface: {wire.status(preface)}, {end}",
    )


@attack(
    "upgrades with a body",
    "a handshake with a length, with chunks, with both, and with a length of 0",
    "known_bugs::upgrade_with_a_body_is_refused",
)
def upgrade_with_body(scene):
    fields = {
        "a length": f"Content-Length: {len(HIDDEN)}\r\n",
        "chunks": "Transfer-Encoding: chunked\r\n",
        "both": "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    }
    requests = {name: wire.handshake("/", more=more) + CHUNKS for name, more in fields.items()}
    # A length of 0 is no body: what follows is read as frames, and never as a request.
    empty = {"a length of 0": wire.handshake("/", more="Content-Length: 0\r\n") + CHUNKS}
    return f"{forms(scene, requests, {'400'})}; {forms(scene, empty, {'101'})}"


@attack(
    "upgrades that the backend refuses",
    "a request and a frame behind a handshake that is answered 200 or with a false 101",
    "refusals::a_101_that_does_not_answer_this_handshake_is_502",
)
def false_upgrades(scene):
    found = Counter()
    for path, wanted in (("/200", "200"), ("/101-wrong", "502")):
        for behind in (HIDDEN, wire.masked(0x81, b"smuggled")):
            scene.backend.lines.clear()
            answer, _ = wire.ask(scene.port, wire.handshake(path) + behind)
            promise(wire.status(answer) == wanted and b"LEAK" not in answer, f"{path}: {answer!r}")
            wait_until(lambda: scene.backend.events("behind"), 5, "the backend's end of the connection")
            came = [event["bytes"] for event in scene.backend.events("behind") if event["bytes"]]
            promise(not came, f"{path}: the backend got {came}")
            found[wanted] += 1
    return f"{wire.words(found)}; nothing behind them came through, either way"


@attack(
    "two answers",
    "a backend's answer with another one behind it",
    "known_bugs::an_answer_behind_the_answer_is_given_to_nobody",
)
def two_answers(scene):
    two = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
    for _ in range(20):
        request = b"GET /answer/" + two.hex().encode() + b" HTTP/1.1\r\nHost: chat\r\n\r\n" + HONEST
        answer, _ = wire.ask(scene.port, request)
        promise(wire.status(answer) == "200+200" and b"poison" not in answer, f"{answer!r}")
    return "20 × the first one; the second reached nobody"


ANSWERS = {
    "both lengths": b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
    "a signed length": b"Content-Length: +2\r\n\r\nok",
    "an unknown coding": b"Transfer-Encoding: xchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "a folded line": b"X-Name: 1\r\n folded\r\nContent-Length: 2\r\n\r\nok",
    "CR in a value": b"X-Name: a\rSet-Cookie: b\r\nContent-Length: 2\r\n\r\nok",
    "NUL in a value": b"X-Name: a\0b\r\nContent-Length: 2\r\n\r\nok",
}


@attack(
    "answers of doubtful framing",
    f"{len(ANSWERS)} kinds of answers of a backend",
    "known_bugs::answers_with_doubtful_framing_are_502_or_rebuilt_and_their_connection_is_not_used_again",
)
def doubtful_answers(scene):
    found = Counter()
    for name, answer in ANSWERS.items():
        path = b"/answer/" + (b"HTTP/1.1 200 OK\r\n" + answer).hex().encode()
        back, _ = wire.ask(scene.port, b"GET " + path + b" HTTP/1.1\r\nHost: chat\r\nConnection: close\r\n\r\n")
        head = back.partition(b"\r\n\r\n")[0].lower()
        status = wire.status(back)
        promise(status in ("502", "200"), f"{name}: {status}")
        framings = head.count(b"\r\ncontent-length:") + head.count(b"\r\ntransfer-encoding:")
        promise(framings == 1 and b"\0" not in head and b"set-cookie" not in head, f"{name}: {head!r}")
        found[status] += 1
    return f"{wire.words(found)}, each in one framing"
