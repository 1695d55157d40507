"""A backend for thousands of silent sessions: answers the handshake, Pings and Closes, and says nothing else."""

import asyncio
import base64
import hashlib
import signal

from frames import CLOSE, PING, PONG, frame, take_frames
from say import say

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
totals = {"open": 0, "pings": 0}


class Session(asyncio.Protocol):
    def __init__(self):
        self.buffer = bytearray()
        self.upgraded = False

    def connection_made(self, transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.upgraded and not self.upgrade():
            return
        for opcode, payload in take_frames(self.buffer):
            if opcode == PING:
                totals["pings"] += 1
                self.transport.write(frame(PONG, payload, masked=False))
            elif opcode == CLOSE:
                self.transport.write(frame(CLOSE, payload, masked=False))
                self.transport.close()

    def upgrade(self) -> bool:
        head, end, rest = bytes(self.buffer).partition(b"\r\n\r\n")
        if not end:
            return False
        key = next(
            line.split(b":")[1].strip()
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"sec-websocket-key:")
        )
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        self.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
            + accept
            + b"\r\n\r\n"
        )
        self.buffer = bytearray(rest)
        self.upgraded = True
        totals["open"] += 1
        return True

    def connection_lost(self, _error) -> None:
        totals["open"] -= self.upgraded


async def main() -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, lambda: say("status", **totals))
    server = await loop.create_server(Session, "127.0.0.1", 0, backlog=4096)
    say("listening", port=server.sockets[0].getsockname()[1])
    await server.serve_forever()


asyncio.run(main())
