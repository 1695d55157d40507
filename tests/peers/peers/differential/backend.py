"""The recording backend: it reads whatever comes, in the most lenient way, and answers each request by the case."""

import base64
import contextlib
import hashlib
import socket
import threading
from dataclasses import dataclass

from .grammar import ACCEPT

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
ANSWER = b"HTTP/1.1 200 OK\r\nX-Recorded: yes\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nX-Recorded: yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: {accept}\r\n\r\n"
)


@dataclass(frozen=True)
class Seen:
    """One request as the backend read it."""

    line: str
    is_handshake: bool
    body: bytes
    mark: str | None


class Backend:
    """A listener for one proxy. Every request has a connection of its own, which ends with the answer."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.answer: bytes | None = None
        self.news = threading.Condition()
        # Of cases: what comes late is of an earlier one.
        self.case = 0
        self.seen: list[Seen] = []
        # What came behind a 101, or behind a whole request.
        self.behind = b""
        threading.Thread(target=self._accept, daemon=True).start()

    def begin(self, answer: bytes | None) -> None:
        with self.news:
            self.case += 1
            self.answer, self.seen, self.behind = answer, [], b""

    def wait_behind(self, bytes_: bytes, seconds: float) -> bool:
        with self.news:
            return self.news.wait_for(lambda: bytes_ in self.behind, seconds)

    def _accept(self) -> None:
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self._serve, args=(connection, self.case), daemon=True).start()

    def _serve(self, connection: socket.socket, case: int) -> None:
        # What does not come whole is no request: a proxy may stream a body before it has seen the end of it.
        with connection, contextlib.suppress(OSError, ValueError):
            connection.settimeout(5)
            head, rest = read_until(connection, b"", b"\r\n\r\n")
            if not head:
                return
            line, *lines = head.decode("latin-1").split("\r\n")
            fields = [
                (name.strip().lower(), value.strip()) for name, _, value in (each.partition(":") for each in lines)
            ]
            values = dict(fields)
            is_handshake = "websocket" in values.get("upgrade", "").lower()
            body, rest = read_body(connection, values, rest)
            # The version is the proxy's own.
            seen = Seen(line.rpartition(" ")[0], is_handshake, body, values.get("x-mark"))
            with self.news:
                if case != self.case:
                    return
                self.seen.append(seen)
                answer = self.answer
                self.behind += rest
                self.news.notify_all()
            if answer is None:
                answer = SWITCHING if is_handshake else ANSWER
            connection.sendall(answer.replace(ACCEPT.encode(), accept(values.get("sec-websocket-key", "")).encode()))
            if b" 101" not in answer.split(b"\r\n")[0]:
                connection.shutdown(socket.SHUT_WR)
            while more := connection.recv(65536):
                with self.news:
                    self.behind += more if case == self.case else b""
                    self.news.notify_all()


def read_until(connection: socket.socket, got: bytes, mark: bytes) -> tuple[bytes, bytes]:
    """What comes up to the mark, and what was read behind it; nothing where the stream ends before."""
    while mark not in got:
        more = connection.recv(65536)
        if not more:
            return b"", got
        got += more
    before, _, behind = got.partition(mark)
    return before, behind


def read_body(connection: socket.socket, fields: dict[str, str], got: bytes) -> tuple[bytes, bytes]:
    if "chunked" in fields.get("transfer-encoding", "").lower():
        body = b""
        while True:
            size, got = read_until(connection, got, b"\r\n")
            if not size:
                raise ConnectionResetError
            if not (length := int(size.split(b";")[0] or b"0", 16)):
                _, got = read_until(connection, got, b"\r\n")
                return body, got
            got = read_more(connection, got, length + 2)
            body, got = body + got[:length], got[length + 2 :]
    length = int(fields.get("content-length", "0") or "0")
    got = read_more(connection, got, length)
    return got[:length], got[length:]


def read_more(connection: socket.socket, got: bytes, length: int) -> bytes:
    while len(got) < length:
        more = connection.recv(65536)
        if not more:
            raise ConnectionResetError
        got += more
    return got


def accept(key: str) -> str:
    return base64.b64encode(hashlib.sha1(key.encode("latin-1") + GUID).digest()).decode()
