"""The corpus: whole messages, and what is done to them. The same seed gives the same corpus."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

SEED = 6455
HOST = "chat.example.com"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
FRAME = b"\x81\x82\0\0\0\0hi"
# What the recording backend writes where it is to compute what belongs there.
ACCEPT = "{accept}"


@dataclass
class Message:
    """A request or an answer before it is bytes."""

    line: str
    fields: list[list[str]]
    body: bytes = b""
    # Done to the bytes, after all else.
    cuts: list[Callable[[bytes], bytes]] = field(default_factory=list)

    def put(self, name: str, *values: str) -> None:
        """These values, a line each, instead of what the name had."""
        places = [place for place, (known, _) in enumerate(self.fields) if known.lower() == name.lower()]
        place = places[0] if places else len(self.fields)
        self.fields = [known for known in self.fields if known[0].lower() != name.lower()]
        self.fields[place:place] = [[name, value] for value in values]

    def bytes(self) -> bytes:
        head = [self.line, *(f"{name}: {value}" for name, value in self.fields), "", ""]
        made = "\r\n".join(head).encode("latin-1") + self.body
        for cut in self.cuts:
            made = cut(made)
        return made


@dataclass(frozen=True)
class Case:
    """What a client sends, what the backend answers (`None`: as it should), and how they came about."""

    base: str
    tags: tuple[str, ...]
    request: bytes
    answer: bytes | None = None

    @property
    def name(self) -> str:
        return f"{self.base}: {' + '.join(self.tags) or 'as it is'}"


def handshake() -> Message:
    fields = [["Host", HOST], ["Upgrade", "websocket"], ["Connection", "Upgrade"]]
    fields += [["Sec-WebSocket-Version", "13"], ["Sec-WebSocket-Key", KEY], ["Sec-WebSocket-Protocol", "chat"]]
    return Message("GET /ws?room=1 HTTP/1.1", fields)


def get() -> Message:
    return Message("GET /page?x=1 HTTP/1.1", [["Host", HOST], ["Accept", "*/*"]])


def post() -> Message:
    return Message("POST /form HTTP/1.1", [["Host", HOST], ["Content-Length", "5"]], b"hello")


def chunked() -> Message:
    body = b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
    return Message("POST /stream HTTP/1.1", [["Host", HOST], ["Transfer-Encoding", "chunked"]], body)


def switching() -> Message:
    fields = [["Upgrade", "websocket"], ["Connection", "Upgrade"], ["Sec-WebSocket-Accept", ACCEPT]]
    fields += [["X-Recorded", "yes"]]
    return Message("HTTP/1.1 101 Switching Protocols", fields)


def answer() -> Message:
    fields = [["Content-Length", "2"], ["Connection", "close"], ["X-Recorded", "yes"]]
    return Message("HTTP/1.1 200 OK", fields, b"ok")


def chunked_answer() -> Message:
    fields = [["Transfer-Encoding", "chunked"], ["Connection", "close"], ["X-Recorded", "yes"]]
    return Message("HTTP/1.1 200 OK", fields, b"2\r\nok\r\n0\r\n\r\n")


def puts(name: str, *values: str):
    return lambda message: message.put(name, *values)


def line(old: str, new: str):
    def change(message: Message) -> None:
        message.line = message.line.replace(old, new, 1)

    return change


def target(new: str):
    def change(message: Message) -> None:
        # What another change has done to the line stays, as far as there is a place for a target in it.
        method, _, rest = message.line.partition(" ")
        _, space, version = rest.rpartition(" ")
        message.line = f"{method} {new}{space}{version}"

    return change


def body(new: bytes):
    def change(message: Message) -> None:
        message.body = new

    return change


def cut(change: Callable[[bytes], bytes]):
    return lambda message: message.cuts.append(change)


def swap(old: bytes, new: bytes):
    return cut(lambda made: made.replace(old, new, 1))


def spelled(change: Callable[[str], str]):
    def respell(message: Message) -> None:
        message.fields = [[change(name), value] for name, value in message.fields]

    return respell


def many(count: int):
    return lambda message: message.fields.extend([f"X-{number}", "1"] for number in range(count))


def then(*changes):
    def all_of(message: Message) -> None:
        for change in changes:
            change(message)

    return all_of


# Of every message: spelling, lines, fields. The names are what decisions speak of.
ANY = {
    "names in lower case": spelled(str.lower),
    "names in upper case": spelled(str.upper),
    "names in mixed case": spelled(lambda name: "".join(c.upper() if i % 2 else c.lower() for i, c in enumerate(name))),
    "a field of bytes above 0x7f": puts("X-Mark", "gr\xfc\xdf"),
    "a field without a value": puts("X-Mark", ""),
    "a field of spaces around": puts("X-Mark", "  \t mark \t "),
    "a folded field": puts("X-Mark", "one\r\n two"),
    "a space before the colon": swap(b"\r\n\r\n", b"\r\nX-Mark : 1\r\n\r\n"),
    "a field without a colon": swap(b"\r\n\r\n", b"\r\nX-Mark\r\n\r\n"),
    "a field without a name": swap(b"\r\n\r\n", b"\r\n: 1\r\n\r\n"),
    "a space in a name": swap(b"\r\n\r\n", b"\r\nX Mark: 1\r\n\r\n"),
    "a bracket in a name": swap(b"\r\n\r\n", b"\r\nX(Mark): 1\r\n\r\n"),
    "an underscore in a name": puts("X_Mark", "1"),
    "NUL in a value": puts("X-Mark", "a\0b"),
    "a control in a value": puts("X-Mark", "a\x01b"),
    "DEL in a value": puts("X-Mark", "a\x7fb"),
    "a bare CR in a value": puts("X-Mark", "a\rb"),
    "a bare LF after a field": swap(b"\r\n\r\n", b"\r\nX-Mark: 1\nX-More: 2\r\n\r\n"),
    "bare LFs in the head": cut(
        lambda made: made.replace(b"\r\n", b"\n", made.split(b"\r\n\r\n")[0].count(b"\r\n") + 2)
    ),
    "a value of 7,000 bytes": puts("X-Mark", "v" * 7000),
    "a value of 20,000 bytes": puts("X-Mark", "v" * 20_000),
    "90 more fields": many(90),
    "99 more fields": many(99),
    "150 more fields": many(150),
    "300 more fields": many(300),
}

REQUEST = ANY | {
    "an empty line before": cut(lambda made: b"\r\n" + made),
    "a bare LF before": cut(lambda made: b"\n" + made),
    "three empty lines before": cut(lambda made: b"\r\n\r\n\r\n" + made),
    "a space before the method": cut(lambda made: b" " + made),
    "two spaces in the line": line(" ", "  "),
    "a tab in the line": line(" ", "\t"),
    "a space after the version": line("HTTP/1.1", "HTTP/1.1 "),
    "a method in lower case": line("GET", "get"),
    "a method of one's own": line("GET", "FETCH"),
    "a method with a hyphen": line("GET", "M-SEARCH"),
    "HEAD": line("GET", "HEAD"),
    "OPTIONS": line("GET", "OPTIONS"),
    "DELETE": line("GET", "DELETE"),
    "TRACE": line("GET", "TRACE"),
    "CONNECT": line("GET", "CONNECT"),
    "PRI": line("GET", "PRI"),
    "HTTP/1.0": line("HTTP/1.1", "HTTP/1.0"),
    "HTTP/1.2": line("HTTP/1.1", "HTTP/1.2"),
    "HTTP/1.10": line("HTTP/1.1", "HTTP/1.10"),
    "HTTP/2.0": line("HTTP/1.1", "HTTP/2.0"),
    "HTTP/0.9": line("HTTP/1.1", "HTTP/0.9"),
    "no version": line(" HTTP/1.1", ""),
    "http in lower case": line("HTTP/1.1", "http/1.1"),
    "a whole URL": target(f"http://{HOST}/ws"),
    "a whole URL of https": target(f"https://{HOST}/ws"),
    "a whole URL of ws": target(f"ws://{HOST}/ws"),
    "a whole URL of wss": target(f"wss://{HOST}/ws"),
    "a whole URL of ftp": target(f"ftp://{HOST}/ws"),
    "a whole URL without a path": target(f"http://{HOST}"),
    "a whole URL without a path, with a query": target(f"http://{HOST}?a=1"),
    "a whole URL of another host": target("http://other.example.com/ws"),
    "a whole URL with its default port": target(f"http://{HOST}:80/ws"),
    "a whole URL in other case": target(f"HTTP://{HOST.upper()}/ws"),
    "a user in the URL": target(f"http://user:secret@{HOST}/ws"),
    "a target that is an authority": target(f"{HOST}:80"),
    "a target of an asterisk": target("*"),
    "OPTIONS of an asterisk": then(line("GET", "OPTIONS"), target("*")),
    "a target without a slash": target("ws"),
    "an empty target": target(""),
    "a fragment": target("/ws#part"),
    "a space in the target": target("/w s"),
    "bytes above 0x7f in the target": target("/w\xc3\xbc"),
    "an encoded NUL": target("/ws%00"),
    "a NUL in the target": target("/w\0s"),
    "a control in the target": target("/w\x01s"),
    "a broken percent": target("/ws%zz"),
    "two slashes": target("//ws//x"),
    "dots in the path": target("/a/../ws/./x"),
    "dots above the root": target("/../../ws"),
    "encoded dots": target("/a/%2e%2e/ws"),
    "an encoded slash": target("/a%2fws"),
    "a bar and braces": target("/ws?{a|b}"),
    "a quote in the target": target('/ws?"a"'),
    "angle brackets in the target": target("/ws?<a>"),
    "a backslash in the target": target("/a\\ws"),
    "a caret and a backtick": target("/ws?^`"),
    "a target of 5,000 bytes": target("/" + "t" * 5000),
    "a target of 20,000 bytes": target("/" + "t" * 20_000),
    "no Host": puts("Host"),
    "Host twice, the same": puts("Host", HOST, HOST),
    "Host twice": puts("Host", HOST, "other.example.com"),
    "an empty Host": puts("Host", ""),
    "a Host with a port": puts("Host", f"{HOST}:8080"),
    "a Host with an empty port": puts("Host", f"{HOST}:"),
    "a Host with too great a port": puts("Host", f"{HOST}:99999"),
    "a Host with a port of letters": puts("Host", f"{HOST}:http"),
    "a Host with a dot behind": puts("Host", f"{HOST}."),
    "a Host in upper case": puts("Host", HOST.upper()),
    "a Host with an underscore": puts("Host", "my_host.example.com"),
    "a Host of IPv6": puts("Host", "[::1]:8080"),
    "a Host of broken IPv6": puts("Host", "[::1"),
    "a Host with a space": puts("Host", "a b"),
    "a Host with a user": puts("Host", f"user@{HOST}"),
    "a Host with a path": puts("Host", f"{HOST}/x"),
    "a Host with a comma": puts("Host", f"{HOST}, other"),
    "a Host of bytes above 0x7f": puts("Host", "gr\xfc\xdf.example"),
    "a Host with percent": puts("Host", "a%41.example"),
    "Expect: 100-continue": puts("Expect", "100-continue"),
    "Expect of something else": puts("Expect", "the-unexpected"),
    "Connection: close": lambda message: message.fields.append(["Connection", "close"]),
    "Connection names Host": lambda message: message.fields.append(["Connection", "Host"]),
    "Connection names a field": then(
        puts("X-Mark", "1"), lambda message: message.fields.append(["Connection", "X-Mark"])
    ),
    "TE: trailers": puts("TE", "trailers"),
    "Keep-Alive": puts("Keep-Alive", "timeout=5"),
    "Proxy-Connection": puts("Proxy-Connection", "keep-alive"),
    "Max-Forwards: 0": puts("Max-Forwards", "0"),
    "OPTIONS with Max-Forwards: 0": then(line("GET", "OPTIONS"), puts("Max-Forwards", "0")),
    "Via": puts("Via", "1.1 outer"),
    "cookies": puts("Cookie", "a=1", "b=2"),
    "Content-Length: 0": puts("Content-Length", "0"),
    "Content-Length: 0 twice": puts("Content-Length", "0", "0"),
    "Content-Length: 0, 0": puts("Content-Length", "0, 0"),
    "Content-Length: 00": puts("Content-Length", "00"),
    "Content-Length: +0": puts("Content-Length", "+0"),
    "an empty Content-Length": puts("Content-Length", ""),
    "a negative Content-Length": puts("Content-Length", "-1"),
    "a Content-Length of letters": puts("Content-Length", "five"),
}

HANDSHAKE = REQUEST | {
    "Upgrade in capitals": puts("Upgrade", "WebSocket"),
    "Upgrade twice": puts("Upgrade", "websocket", "websocket"),
    "Upgrade in a list": puts("Upgrade", "h2c, websocket"),
    "Upgrade with a version": puts("Upgrade", "websocket/13"),
    "no Upgrade": puts("Upgrade"),
    "an empty Upgrade": puts("Upgrade", ""),
    "Upgrade of something else": puts("Upgrade", "h2c"),
    "Connection in a list": puts("Connection", "keep-alive, Upgrade"),
    "Connection in two lines": puts("Connection", "keep-alive", "Upgrade"),
    "Connection with commas around": puts("Connection", ", Upgrade ,,"),
    "Connection with a tab": puts("Connection", "\tUPGRADE\t"),
    "no Connection": puts("Connection"),
    "Connection: keep-alive": puts("Connection", "keep-alive"),
    "Connection: close, Upgrade": puts("Connection", "close, Upgrade"),
    "no key": puts("Sec-WebSocket-Key"),
    "an empty key": puts("Sec-WebSocket-Key", ""),
    "a short key": puts("Sec-WebSocket-Key", "c2hvcnQ="),
    "a key that is no base64": puts("Sec-WebSocket-Key", "this is not base64 !!!!!"),
    "the same key twice": puts("Sec-WebSocket-Key", KEY, KEY),
    "two keys": puts("Sec-WebSocket-Key", KEY, "AAECAwQFBgcICQoLDA0ODw=="),
    "a key without padding": puts("Sec-WebSocket-Key", KEY.rstrip("=")),
    "no Sec-WebSocket-Version": puts("Sec-WebSocket-Version"),
    "Sec-WebSocket-Version: 8": puts("Sec-WebSocket-Version", "8"),
    "Sec-WebSocket-Version: 13, 8": puts("Sec-WebSocket-Version", "13, 8"),
    "Sec-WebSocket-Version twice": puts("Sec-WebSocket-Version", "13", "13"),
    "Sec-WebSocket-Version: 013": puts("Sec-WebSocket-Version", "013"),
    "an Origin": puts("Origin", "https://page.example"),
    "two Origins": puts("Origin", "https://page.example", "https://page.example"),
    "an extension": puts("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"),
    "a broken extension": puts("Sec-WebSocket-Extensions", 'x; a="'),
    "a frame behind": body(FRAME),
    "a length and a body": then(puts("Content-Length", "5"), body(b"hello")),
    "chunks": then(puts("Transfer-Encoding", "chunked"), body(b"0\r\n\r\n")),
    "Transfer-Encoding: identity": puts("Transfer-Encoding", "identity"),
    "a length of 0 and chunks": then(
        puts("Content-Length", "0"), puts("Transfer-Encoding", "chunked"), body(b"0\r\n\r\n")
    ),
}

GET = REQUEST | {
    "a length and a body": then(puts("Content-Length", "5"), body(b"hello")),
    "another request behind": body(b"GET /second HTTP/1.1\r\nHost: chat.example.com\r\n\r\n"),
    "Connection: upgrade": puts("Connection", "upgrade"),
    "an upgrade to h2c": then(
        puts("Connection", "Upgrade, HTTP2-Settings"), puts("Upgrade", "h2c"), puts("HTTP2-Settings", "AAMAAABk")
    ),
}

LENGTH = ANY | {
    "Content-Length twice, the same": puts("Content-Length", "5", "5"),
    "Content-Length twice": puts("Content-Length", "5", "6"),
    "Content-Length in a list": puts("Content-Length", "5, 5"),
    "Content-Length with a sign": puts("Content-Length", "+5"),
    "Content-Length with a zero": puts("Content-Length", "05"),
    "Content-Length in hexadecimal": puts("Content-Length", "0x5"),
    "Content-Length over 64 bits": puts("Content-Length", "18446744073709551621"),
    "a negative Content-Length": puts("Content-Length", "-5"),
    "an empty Content-Length": puts("Content-Length", ""),
    "Content-Length with a space within": puts("Content-Length", "5 0"),
    "length and chunks": then(puts("Transfer-Encoding", "chunked"), body(b"0\r\n\r\n")),
    "another request behind": body(b"helloGET /second HTTP/1.1\r\nHost: chat.example.com\r\n\r\n"),
    "Expect: 100-continue": puts("Expect", "100-continue"),
    "HTTP/1.0": line("HTTP/1.1", "HTTP/1.0"),
}

CHUNKS = ANY | {
    "sizes in upper case": body(b"A\r\n0123456789\r\n0\r\n\r\n"),
    "sizes with zeros": body(b"005\r\nhello\r\n000\r\n\r\n"),
    "sizes of 17 digits": body(b"00000000000000005\r\nhello\r\n0\r\n\r\n"),
    "a size over 64 bits": body(b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    "a size with 0x": body(b"0x5\r\nhello\r\n0\r\n\r\n"),
    "a size with a sign": body(b"+5\r\nhello\r\n0\r\n\r\n"),
    "a size with a space behind": body(b"5 \r\nhello\r\n0\r\n\r\n"),
    "a size with a space before": body(b" 5\r\nhello\r\n0\r\n\r\n"),
    "an empty size": body(b"\r\nhello\r\n0\r\n\r\n"),
    "a chunk extension": body(b'5;name="value"\r\nhello\r\n0\r\n\r\n'),
    "a chunk extension with a bare LF": body(b"5;a\nb\r\nhello\r\n0\r\n\r\n"),
    "a chunk extension with a bare CR": body(b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
    "a bare LF behind a size": body(b"5\nhello\r\n0\r\n\r\n"),
    "a bare LF behind a chunk": body(b"5\r\nhello\n0\r\n\r\n"),
    "nothing behind a chunk": body(b"5\r\nhello0\r\n\r\n"),
    "a chunk longer than it says": body(b"4\r\nhello\r\n0\r\n\r\n"),
    "trailers": then(puts("Trailer", "X-Sum"), body(b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n")),
    "a trailer that frames": body(b"5\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\n"),
    "a broken trailer": body(b"5\r\nhello\r\n0\r\nX Sum\r\n\r\n"),
    "another request behind": body(b"5\r\nhello\r\n0\r\n\r\nGET /second HTTP/1.1\r\nHost: chat.example.com\r\n\r\n"),
    "Transfer-Encoding in capitals": puts("Transfer-Encoding", "CHUNKED"),
    "Transfer-Encoding twice": puts("Transfer-Encoding", "chunked", "chunked"),
    "Transfer-Encoding: chunked, chunked": puts("Transfer-Encoding", "chunked, chunked"),
    "Transfer-Encoding: gzip, chunked": puts("Transfer-Encoding", "gzip, chunked"),
    "Transfer-Encoding: chunked, gzip": puts("Transfer-Encoding", "chunked, gzip"),
    "Transfer-Encoding: gzip": puts("Transfer-Encoding", "gzip"),
    "Transfer-Encoding: identity": puts("Transfer-Encoding", "identity"),
    "Transfer-Encoding: xchunked": puts("Transfer-Encoding", "xchunked"),
    "an empty Transfer-Encoding": puts("Transfer-Encoding", ""),
    "Transfer-Encoding with a parameter": puts("Transfer-Encoding", "chunked;a=1"),
    "Transfer-Encoding with a vertical tab": puts("Transfer-Encoding", "\x0bchunked"),
    "Transfer-Encoding with a comma behind": puts("Transfer-Encoding", "chunked,"),
    "Transfer-Encoding in HTTP/1.0": line("HTTP/1.1", "HTTP/1.0"),
    "length and chunks": puts("Content-Length", "5"),
}

ANSWER = ANY | {
    "no reason": line(" Switching Protocols", " "),
    "another reason": line(" Switching Protocols", " Web Socket Protocol Handshake"),
    "HTTP/1.0": line("HTTP/1.1", "HTTP/1.0"),
    "HTTP/1.2": line("HTTP/1.1", "HTTP/1.2"),
    "HTTP/2.0": line("HTTP/1.1", "HTTP/2.0"),
    "a status of two digits": line("1.1 ", "1.1 0"),
    "no HTTP at all": cut(lambda made: b"SSH-2.0-OpenSSH_9.9\r\n"),
    "100 before": cut(lambda made: b"HTTP/1.1 100 Continue\r\n\r\n" + made),
    "103 before": cut(lambda made: b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + made),
    "nothing": cut(lambda made: b""),
    "half a head": cut(lambda made: made.split(b"\r\n\r\n")[0][:-3]),
}

SWITCHING = ANSWER | {
    "Content-Length: 0": puts("Content-Length", "0"),
    "a length": puts("Content-Length", "5"),
    "chunks": puts("Transfer-Encoding", "chunked"),
    "Upgrade in capitals": puts("Upgrade", "WebSocket"),
    "Upgrade twice": puts("Upgrade", "websocket", "websocket"),
    "Upgrade in a list": puts("Upgrade", "websocket, h2c"),
    "no Upgrade": puts("Upgrade"),
    "Upgrade of something else": puts("Upgrade", "h2c"),
    "Connection in a list": puts("Connection", "keep-alive, upgrade"),
    "no Connection": puts("Connection"),
    "Connection: close": puts("Connection", "close"),
    "Connection: keep-alive": puts("Connection", "keep-alive"),
    "no accept": puts("Sec-WebSocket-Accept"),
    "another accept": puts("Sec-WebSocket-Accept", "AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
    "the accept twice": puts("Sec-WebSocket-Accept", ACCEPT, ACCEPT),
    "an empty subprotocol": puts("Sec-WebSocket-Protocol", ""),
    "the subprotocol": puts("Sec-WebSocket-Protocol", "chat"),
    "the subprotocol twice": puts("Sec-WebSocket-Protocol", "chat", "chat"),
    "an unasked subprotocol": puts("Sec-WebSocket-Protocol", "soap"),
    "an unasked extension": puts("Sec-WebSocket-Extensions", "permessage-deflate"),
    "a frame behind": body(b"\x81\x02hi"),
}

PLAIN_ANSWER = ANSWER | {
    "no reason": line(" OK", " "),
    "no space behind the status": line(" OK", ""),
    "another reason": line(" OK", " Fine"),
    "a status of its own": line("200 OK", "299 Own"),
    "a status of four digits": line("200 OK", "2000 OK"),
    "a status over 599": line("200 OK", "799 Own"),
    "a status under 100": line("200 OK", "099 Own"),
    "a 101 that nobody asked for": then(
        line("200 OK", "101 Switching Protocols"), puts("Upgrade", "websocket"), puts("Connection", "upgrade")
    ),
    "404": line("200 OK", "404 Not Found"),
    "503": line("200 OK", "503 Full"),
    "204 with a length": line("200 OK", "204 No Content"),
    "304 with a length": line("200 OK", "304 Not Modified"),
    "a length twice, the same": puts("Content-Length", "2", "2"),
    "a length twice": puts("Content-Length", "2", "3"),
    "a length in a list": puts("Content-Length", "2, 2"),
    "a length with a sign": puts("Content-Length", "+2"),
    "an empty length": puts("Content-Length", ""),
    "a length over 64 bits": puts("Content-Length", "18446744073709551618"),
    "no length": puts("Content-Length"),
    "length and chunks": then(puts("Transfer-Encoding", "chunked"), body(b"2\r\nok\r\n0\r\n\r\n")),
    "Transfer-Encoding: gzip": then(puts("Content-Length"), puts("Transfer-Encoding", "gzip")),
    "more than the length": body(b"okmore"),
    "less than the length": body(b"o"),
    "another answer behind": body(b"okHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"),
    "Connection names a field": then(puts("X-Mark", "1"), puts("Connection", "close, X-Mark")),
}

CHUNKED_ANSWER = {
    "as it is": lambda message: None,
    "trailers": body(b"2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n"),
    "sizes with zeros": body(b"002\r\nok\r\n00\r\n\r\n"),
    "a chunk extension": body(b"2;a=b\r\nok\r\n0\r\n\r\n"),
    "a size with 0x": body(b"0x2\r\nok\r\n0\r\n\r\n"),
    "a bare LF behind a size": body(b"2\nok\r\n0\r\n\r\n"),
    "no last chunk": body(b"2\r\nok\r\n"),
    "HTTP/1.0": line("HTTP/1.1", "HTTP/1.0"),
    "Transfer-Encoding in capitals": puts("Transfer-Encoding", "CHUNKED"),
    "Transfer-Encoding twice": puts("Transfer-Encoding", "chunked", "chunked"),
}

# Base, how it is made, what can be done to it, pairs of these, what asks for it (an answer's request).
PRODUCTIONS = [
    ("handshake", handshake, HANDSHAKE, 1100, None),
    ("GET", get, GET, 700, None),
    ("POST", post, LENGTH, 220, None),
    ("POST in chunks", chunked, CHUNKS, 320, None),
    ("101", switching, SWITCHING, 260, handshake),
    ("200", answer, PLAIN_ANSWER, 260, get),
    ("200 in chunks", chunked_answer, CHUNKED_ANSWER, 20, get),
]


def corpus() -> list[Case]:
    """Each message as it is, with each change, and with pairs of changes by lot."""
    lot = random.Random(SEED)
    cases = []
    for base, make, changes, pairs, asked in PRODUCTIONS:
        chosen = [(), *((name,) for name in changes)]
        chosen += [tuple(lot.sample(sorted(changes), 2)) for _ in range(pairs)]
        for tags in chosen:
            message = make()
            for tag in tags:
                changes[tag](message)
            made = message.bytes()
            cases.append(Case(base, tags, asked().bytes(), made) if asked else Case(base, tags, made))
    return cases
