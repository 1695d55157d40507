"""What came of a case at one proxy, in words that can be compared."""

import contextlib
import socket
from dataclasses import dataclass

from .backend import Backend, Seen
from .grammar import FRAME, Case

# As long as one waits for an answer that does not come.
PATIENCE = 0.7
SESSION, PASSED, REFUSED, SILENT = "session", "passed", "refused", "silent"


@dataclass(frozen=True)
class Outcome:
    """`what`: a session was opened, the backend's answer was passed on, the proxy refused, or it said nothing."""

    what: str
    status: int | None
    body: bytes
    seen: tuple[Seen, ...]
    # A frame sent behind the handshake reached the backend.
    behind: bool

    def equals(self, other: "Outcome") -> bool:
        """Which status a proxy refuses by is its own; so is what it asked of the backend before it refused."""
        if self.what in (REFUSED, SILENT):
            return self.what == other.what and bool(self.seen) == bool(other.seen)
        return self == other

    def __str__(self) -> str:
        seen = ", ".join(
            f"{seen.line!r:.60}{' upgrade' if seen.is_handshake else ''} {seen.body!r:.30}" for seen in self.seen
        )
        return f"{self.what} {self.status or ''} {self.body!r:.30} <- [{seen}]{' +frame' if self.behind else ''}"


def ask(port: int, backend: Backend, case: Case) -> Outcome:
    backend.begin(case.answer)
    with socket.create_connection(("127.0.0.1", port), 5) as wire, contextlib.suppress(ConnectionError):
        wire.settimeout(PATIENCE)
        with contextlib.suppress(ConnectionError):
            wire.sendall(case.request)
        answers = list(read_answers(wire, case))
        behind = (
            bool(answers) and answers[0][0] == 101 and FRAME in case.request and backend.wait_behind(FRAME, PATIENCE)
        )
        with backend.news:
            seen = tuple(backend.seen)
        if not answers:
            return Outcome(SILENT, None, b"", seen, False)
        status, body, head = answers[0]
        if status == 101:
            return Outcome(SESSION, status, b"", seen, behind)
        is_passed = b"x-recorded" in head.lower()
        # Two answers are two requests, to client and backend alike: the rest is compared by what was seen.
        return Outcome(PASSED if is_passed else REFUSED, status, body if is_passed else b"", seen, behind)
    return Outcome(SILENT, None, b"", (), False)


def read_answers(wire: socket.socket, case: Case):
    """Whole answers until the stream ends or nothing comes; 1xx before them are not counted."""
    got = b""
    wanted = case.request.count(b" HTTP/1")
    is_head = case.request.lstrip().startswith(b"HEAD")
    for _ in range(8):
        with contextlib.suppress(OSError):
            while b"\r\n\r\n" not in got and (more := wire.recv(65536)):
                got += more
        head, mark, got = got.partition(b"\r\n\r\n")
        if not mark:
            return
        status = int(head.split(b" ")[1][:3])
        if status == 101:
            yield status, b"", head
            return
        if status < 200:
            continue
        body, got = read_body(wire, head.lower(), got, is_head or status in (204, 304))
        yield status, body, head
        wanted -= 1
        if wanted < 1:
            return


def read_body(wire: socket.socket, head: bytes, got: bytes, is_empty: bool) -> tuple[bytes, bytes]:
    fields = dict(line.partition(b":")[::2] for line in head.split(b"\r\n")[1:])
    length = fields.get(b"content-length", b"").strip()
    # What is no length ends with the stream.
    length = length if length.isdigit() else b""
    chunked = b"chunked" in fields.get(b"transfer-encoding", b"")
    if is_empty:
        return b"", got
    with contextlib.suppress(OSError):
        while True:
            if chunked and got.endswith(b"0\r\n\r\n"):
                break
            if not chunked and length and len(got) >= int(length):
                return got[: int(length)], got[int(length) :]
            more = wire.recv(65536)
            if not more:
                break
            got += more
    return unchunked(got) if chunked else got, b""


def unchunked(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        try:
            length = int(size.split(b";")[0], 16)
        except ValueError:
            return whole
        whole, body = whole + body[:length], body[length + 2 :]
        if not length:
            return whole
    return whole
