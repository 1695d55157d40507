"""The two ends of a session: a client that says nothing, and a backend that echoes. Both answer Pings until told otherwise."""

import asyncio
import base64
import contextlib
import hashlib

from attacks import wire
from attacks.backend import read_frame, unmasked

from .clock import Clock

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
# For what comes at once on a machine that has time.
PATIENCE = 15
CONTINUES, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


class End(asyncio.Protocol):
    """One end: what it hears, and when."""

    def __init__(self, clock: Clock):
        self.clock = clock
        self.transport = None
        self.unread, self.head = b"", None
        self.ended = asyncio.Event()
        # How the session ended, in the words of a record's `how`; `ours`: by this end.
        self.heard, self.code = "", 0
        self.ended_at = clock.now
        self.pings = 0

    def connection_made(self, transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.unread += data
        if self.head is None:
            head, end, rest = self.unread.partition(b"\r\n\r\n")
            if not end:
                return
            self.head, self.unread = head, rest
            self.handle_head()
        while (frame := read_frame(self.unread, 0)) is not None:
            first, payload, end = frame
            self.unread = self.unread[end:]
            self.handle_frame(first & 0x0F, payload)

    def eof_received(self) -> None:
        self.note_end("fin")

    def connection_lost(self, error) -> None:
        self.note_end("timed_out" if isinstance(error, TimeoutError) else "reset" if error else "fin")

    def handle_frame(self, opcode: int, payload: bytes) -> None:
        if opcode == PING:
            self.pings += 1
            self.send(PONG, payload)
        elif opcode == CLOSE:
            self.code = int.from_bytes(payload[:2], "big")
            if not self.heard:
                self.note_end("close")
                self.send(CLOSE, payload)
            self.finish()
        elif opcode in (TEXT, BINARY):
            self.handle_message(payload)

    def note_end(self, heard: str) -> None:
        if not self.heard:
            self.heard, self.ended_at = heard, self.clock.now
        # A Close of ours is over when the other one or the FIN has come.
        if heard != "ours":
            self.ended.set()

    def send(self, opcode: int, payload: bytes) -> None:
        if self.transport and not self.transport.is_closing():
            self.transport.write(self.frame(0x80 | opcode, payload))

    def finish(self) -> None:
        pass


class Client(End):
    def __init__(self, clock: Clock, path: str):
        super().__init__(clock)
        self.path = path
        self.opened = asyncio.Event()
        self.answer = asyncio.Event()

    frame = staticmethod(wire.masked)

    @classmethod
    async def open(cls, clock: Clock, address: tuple[str, int], path: str, more: str = "") -> "Client":
        """A session in which an echo has come. `more`: further fields of the handshake, each ended by CRLF."""
        client = cls(clock, path)
        connecting = asyncio.get_running_loop().create_connection(lambda: client, *address)
        await asyncio.wait_for(connecting, PATIENCE)
        client.transport.write(wire.handshake(path, more=more))
        await asyncio.wait_for(client.opened.wait(), PATIENCE)
        if not client.head.startswith(b"HTTP/1.1 101"):
            raise ConnectionError(f"{path}: {client.head[:60]!r}")
        if not await client.is_echoed(PATIENCE):
            raise ConnectionError(f"{path}: no echo at the begin ({client.heard or 'silence'})")
        return client

    def handle_head(self) -> None:
        self.opened.set()

    def note_end(self, heard: str) -> None:
        super().note_end(heard)
        self.opened.set()
        self.head = self.head or b"nothing"

    def handle_message(self, payload: bytes) -> None:
        self.answer.set()

    async def is_echoed(self, seconds: float) -> bool:
        """Whether a message comes back, before the session ends."""
        self.answer.clear()
        self.send(TEXT, b"still here?")
        # Real seconds: it is a wait for the machine.
        waits = [asyncio.ensure_future(event.wait()) for event in (self.answer, self.ended)]
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        return self.answer.is_set()

    async def close(self) -> bool:
        """Whether the other end answers the Close."""
        self.note_end("ours")
        self.send(CLOSE, (1000).to_bytes(2, "big"))
        with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
            await asyncio.wait_for(self.ended.wait(), PATIENCE)
        self.transport.close()
        return self.code == 1000


class BackendEnd(End):
    def __init__(self, backend: "Backend"):
        super().__init__(backend.clock)
        self.backend = backend

    frame = staticmethod(unmasked)

    def handle_head(self) -> None:
        lines = self.head.split(b"\r\n")
        self.path = lines[0].split(b" ")[1].decode("latin-1")
        self.backend.sessions[self.path] = self
        fields = (line.partition(b":") for line in lines[1:])
        key = next(value.strip() for name, _, value in fields if name.lower() == b"sec-websocket-key")
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        self.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )

    def handle_message(self, payload: bytes) -> None:
        self.send(TEXT, payload)

    def finish(self) -> None:
        self.transport.close()


class Backend:
    """Its sessions by their paths."""

    def __init__(self, clock: Clock):
        self.clock = clock
        self.sessions: dict[str, BackendEnd] = {}

    async def listen(self) -> int:
        """Its port, at every address."""
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(lambda: BackendEnd(self), "0.0.0.0", 0, backlog=1024)
        return self.server.sockets[0].getsockname()[1]
