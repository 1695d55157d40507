"""A middlebox of our own: relays TCP, and ends a session that was silent for too long, in the manner of its kind."""

import asyncio
import contextlib
import socket
import struct

from attacks import wire
from attacks.backend import read_frame, unmasked

from .clock import Clock
from .rows import Kind

AT_ONCE = struct.pack("ii", 1, 0)
CLOSE = (1001).to_bytes(2, "big") + b"idle"
# How long it waits for the FIN of an end that it has told.
LINGERS = 2
# `tcpi_segs_in` of `struct tcp_info`: every segment that has come, those without a byte too.
SEGMENTS_IN = slice(140, 144)
# In how many parts of the limit it looks for packets.
LOOKS = 25


class Half(asyncio.Protocol):
    """One of the two connections of a session."""

    def __init__(self, session: "Session", side: str):
        self.session, self.side = session, side
        self.transport = None
        self.has_finished = False
        self.frames = Frames(session.box.kind.counts == "messages")

    def connection_made(self, transport) -> None:
        self.transport = transport
        self.session.handle_connected(self)

    def data_received(self, data: bytes) -> None:
        self.session.handle_bytes(self, data)

    def eof_received(self) -> bool:
        self.session.handle_fin(self)
        return True

    def connection_lost(self, error) -> None:
        self.session.handle_lost(self, error)

    @property
    def other(self) -> "Half":
        return next(half for half in self.session.halves if half is not self)

    def send(self, data: bytes) -> None:
        if self.transport and not self.transport.is_closing():
            self.transport.write(data)

    def finish(self) -> None:
        if self.transport and not self.transport.is_closing():
            with contextlib.suppress(OSError):
                self.transport.write_eof()

    def close(self) -> None:
        if self.transport:
            self.transport.close()

    def reset(self) -> None:
        if self.transport and not self.transport.is_closing():
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
            self.transport.abort()

    def segments(self) -> int:
        if not self.transport or self.transport.is_closing():
            return 0
        info = self.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        return int.from_bytes(info[SEGMENTS_IN], "little")


class Frames:
    """Finds the whole frames in the bytes of one direction, behind the head of the handshake."""

    def __init__(self, only_messages: bool):
        self.only_messages = only_messages
        self.unread, self.is_behind_head = b"", False

    def has_one(self, data: bytes) -> bool:
        """Whether one ends in these bytes. A part of a head is like one."""
        self.unread += data
        if not self.is_behind_head:
            _, self.is_behind_head, self.unread = split_head(self.unread)
            return True
        found = False
        while (frame := read_frame(self.unread, 0)) is not None:
            first, _, end = frame
            self.unread = self.unread[end:]
            found = found or not self.only_messages or first & 0x08 == 0
        return found


def split_head(data: bytes) -> tuple[bytes, bool, bytes]:
    head, end, rest = data.partition(b"\r\n\r\n")
    return (head, True, rest) if end else (b"", False, data)


class Session:
    """Two connections, and what the box knows of them."""

    def __init__(self, box: "Relay"):
        self.box = box
        self.client, self.backend = Half(self, "client"), Half(self, "backend")
        self.halves = (self.client, self.backend)
        self.state = "passes"
        self.waiting: list[bytes] = []
        self.path = ""
        self.last = box.clock.now
        self.segments, self.next_look = 0, 0.0

    def handle_connected(self, half: Half) -> None:
        if half is self.client:
            self.box.sessions.add(self)
            self.box.start(self.reach())
            return
        for data in self.waiting:
            half.send(data)
        self.waiting.clear()

    async def reach(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: self.backend, *self.box.target)
        except OSError:
            self.client.reset()

    def handle_bytes(self, half: Half, data: bytes) -> None:
        if half is self.client and not self.path:
            self.path = data.split(b" ", 2)[1].decode("latin-1") if data.startswith(b"GET ") else "?"
        if self.state == "forgot":
            half.reset()
        if self.state != "passes":
            return
        if self.counts(half, data):
            self.last = self.box.clock.now
        if half.other.transport:
            half.other.send(data)
        else:
            self.waiting.append(data)

    def counts(self, half: Half, data: bytes) -> bool:
        match self.box.kind.counts:
            case "bytes_from_backend":
                return half is self.backend
            case "frames" | "messages":
                return half.frames.has_one(data)
        return True

    def handle_fin(self, half: Half) -> None:
        half.has_finished = True
        match self.state:
            case "passes" if half.other.has_finished:
                self.state = "ends"
                half.other.finish()
                half.close()
                half.other.close()
            case "passes":
                half.other.finish()
            case "forgot":
                half.reset()
            case "ends":
                half.close()

    def handle_lost(self, half: Half, error) -> None:
        if self.state == "passes":
            self.state = "ends"
            if error:
                half.other.reset()
            else:
                half.other.close()
        if all(other.transport is None or other.transport.is_closing() for other in self.halves):
            self.box.sessions.discard(self)

    def look(self) -> None:
        """Ends the session if its silence is too long."""
        now, limit = self.box.clock.now, self.box.limit
        if self.state != "passes":
            return
        if self.box.kind.counts == "packets" and now >= self.next_look:
            self.next_look = now + limit / LOOKS
            segments = sum(half.segments() for half in self.halves)
            if segments != self.segments:
                self.segments, self.last = segments, now
        if now - self.last >= limit:
            self.cut()

    def cut(self) -> None:
        kind = self.box.kind
        self.box.cuts[self.path] = self.box.clock.now - self.last
        match kind.dies:
            case "silent":
                self.state = "swallows"
            case "forgotten":
                self.state = "forgot"
            case "one_sided":
                self.state = "swallows"
                (self.client if kind.told == "client" else self.backend).reset()
            case "reset":
                self.state = "ends"
                for half in self.halves:
                    half.reset()
            case _:
                self.state = "ends"
                if kind.dies == "close":
                    self.client.send(unmasked(0x88, CLOSE))
                    self.backend.send(wire.masked(0x88, CLOSE))
                for half in self.halves:
                    half.finish()
                    asyncio.get_running_loop().call_later(LINGERS, half.close)


class Relay:
    """A middlebox with one target: an address and a port."""

    def __init__(self, kind: Kind, limit: float, target: tuple[str, int], clock: Clock):
        self.kind, self.limit, self.target, self.clock = kind, limit, target, clock
        self.sessions: set[Session] = set()
        # The silence after which it ended the session with this path.
        self.cuts: dict[str, float] = {}
        self.tasks: set[asyncio.Task] = set()

    async def listen(self) -> int:
        """Its port."""
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(lambda: Session(self).client, "127.0.0.1", 0, backlog=256)
        return self.server.sockets[0].getsockname()[1]

    def start(self, work) -> None:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def look(self) -> None:
        for session in list(self.sessions):
            session.look()

    def swallow(self, path: str) -> None:
        """From now on nothing of this session passes, though its connections stay."""
        for session in self.sessions:
            if session.path == path:
                session.state = "swallows"
