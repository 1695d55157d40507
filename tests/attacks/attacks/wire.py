"""What an attacker holds: raw sockets, and words for what comes back on them."""

import contextlib
import os
import select
import socket
import struct
import time
from collections import Counter

from .backend import read_frame

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + "\r\n{more}\r\n"
)
PATIENCE = 15


def handshake(path: str = "/", host: str = "chat", more: str = "") -> bytes:
    return HANDSHAKE.format(path=path, host=host, more=more).encode("latin-1")


def connect(port: int, source: str = "127.0.0.1") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), PATIENCE, source_address=(source, 0))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def session(port: int, path: str = "/") -> socket.socket:
    """A connection on which the 101 has been read, and nothing behind it."""
    connection = connect(port)
    connection.sendall(handshake(path))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte:
            raise ConnectionError(f"no 101 for {path}: {head!r}")
        head += byte
    if not head.startswith(b"HTTP/1.1 101 "):
        raise ConnectionError(f"no 101 for {path}: {head!r}")
    return connection


def masked(first: int, payload: bytes = b"", announced: int | None = None) -> bytes:
    """A frame as a client sends it, with a mask of zeros; `announced` is another length than the payload's."""
    length = len(payload) if announced is None else announced
    if length < 126:
        header = struct.pack(">BB", first, 0x80 | length)
    elif length < 65536:
        header = struct.pack(">BBH", first, 0xFE, length)
    else:
        header = struct.pack(">BBQ", first, 0xFF, length)
    return header + bytes(4) + payload


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def read_all(connection: socket.socket, seconds: float = PATIENCE) -> tuple[bytes, str]:
    """Everything up to the end, and how that came: FIN, reset, or nothing for so long."""
    got, deadline = b"", time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        connection.settimeout(left)
        try:
            part = connection.recv(1 << 16)
        except TimeoutError:
            break
        except ConnectionError:
            return got, "reset"
        if not part:
            return got, "FIN"
        got += part
    return got, "silence"


def ask(port: int, request: bytes, seconds: float = PATIENCE, source: str = "127.0.0.1") -> tuple[bytes, str]:
    """What comes back for these bytes, up to the end of the connection; our own FIN does not hurry it."""
    with connect(port, source) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(request)
        return read_all(connection, seconds)
    return b"", "reset"


def status(answer: bytes) -> str:
    """The statuses of all HTTP answers in these bytes, or `nothing`."""
    found = []
    for line in answer.split(b"\r\n"):
        if b"HTTP/1.1 " in line:
            found.append(line.partition(b"HTTP/1.1 ")[2][:3].decode("latin-1"))
    return "+".join(found) or "nothing"


def frames(data: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 0
    while (frame := read_frame(data, at)) is not None:
        first, payload, at = frame
        found.append((first, payload))
    return found


def close_of(data: bytes) -> str:
    """The first Close in what came, in words."""
    for first, payload in frames(data):
        if first == 0x88:
            return f"Close {int.from_bytes(payload[:2], 'big')} {payload[2:].decode(errors='replace')!r}"
    return "no Close"


def await_ends(connections: list[socket.socket], seconds: float = PATIENCE, dribble: bytes = b"", word=None) -> Counter:
    """How each of many connections ends: its status (or what `word` makes of its bytes), or its FIN or reset.
    `dribble` goes to each every 100 ms."""
    ends, got = Counter(), {connection.fileno(): b"" for connection in connections}
    by_number = {connection.fileno(): connection for connection in connections}
    poller = select.poll()
    for number, connection in by_number.items():
        connection.setblocking(False)
        poller.register(number, select.POLLIN)
    deadline = time.monotonic() + seconds
    while by_number and time.monotonic() < deadline:
        for number, _ in poller.poll(100):
            try:
                part = os.read(number, 65536)
            except BlockingIOError:
                continue
            except OSError:
                part = None
            if part:
                got[number] += part
                continue
            poller.unregister(number)
            by_number.pop(number).close()
            answer = (word or status)(got[number])
            ends[answer if answer != "nothing" else "reset" if part is None else "closed"] += 1
        if dribble:
            for connection in by_number.values():
                with contextlib.suppress(OSError):
                    connection.send(dribble)
    for connection in by_number.values():
        connection.close()
        ends["still open"] += 1
    return ends


def words(ends: Counter) -> str:
    return ", ".join(f"{count} × {end}" if count > 1 else str(end) for end, count in ends.most_common())
