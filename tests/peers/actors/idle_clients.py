"""Thousands of silent clients that only answer Pings and Closes. Arguments: PORT SESSIONS [ADDRESSES [FIRST]]

With ADDRESSES, client n is at the address of this machine with the number FIRST + n mod ADDRESSES, counted from 127.1.0.1 on.

SIGUSR1: each sends one Ping of its own; `answered` tells how many Pongs came back within 20 s."""

import asyncio
import collections
import signal
import sys
import time

from frames import CLOSE, PING, PONG, frame, take_frames
from say import say

PORT, COUNT = int(sys.argv[1]), int(sys.argv[2])
ADDRESSES = int(sys.argv[3]) if len(sys.argv) > 3 else 0
FIRST = int(sys.argv[4]) if len(sys.argv) > 4 else 0
HANDSHAKE = (
    f"GET /idle HTTP/1.1\r\nHost: 127.0.0.1:{PORT}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
).encode()
QUESTION = b"still there?"
totals = {"open": 0, "pings": 0, "answered": 0}
closes: collections.Counter = collections.Counter()


class Session(asyncio.Protocol):
    def __init__(self):
        self.buffer = bytearray()
        self.opened = asyncio.get_running_loop().create_future()

    def connection_made(self, transport) -> None:
        self.transport = transport
        transport.write(HANDSHAKE)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.opened.done():
            head, end, rest = bytes(self.buffer).partition(b"\r\n\r\n")
            if not end:
                return
            if not head.startswith(b"HTTP/1.1 101"):
                return self.opened.set_exception(ConnectionError(head.split(b"\r\n")[0].decode()))
            self.buffer = bytearray(rest)
            self.opened.set_result(None)
            totals["open"] += 1
        for opcode, payload in take_frames(self.buffer):
            if opcode == PING:
                totals["pings"] += 1
                self.transport.write(frame(PONG, payload, masked=True))
            elif opcode == PONG and payload == QUESTION:
                totals["answered"] += 1
            elif opcode == CLOSE:
                closes[int.from_bytes(payload[:2], "big")] += 1
                self.transport.write(frame(CLOSE, payload, masked=True))
                self.transport.close()

    def connection_lost(self, error) -> None:
        if not self.opened.done():
            self.opened.set_exception(error or ConnectionError("closed"))
        else:
            totals["open"] -= 1
        if totals["open"] == 0:
            say("all closed", codes=dict(closes))


def address_of(client: int) -> tuple[str, int] | None:
    """Where a client is; nowhere in particular without ADDRESSES."""
    if not ADDRESSES:
        return None
    number = FIRST + client % ADDRESSES
    return f"127.1.{number // 250}.{number % 250 + 1}", 0


async def open_all() -> list[Session]:
    loop = asyncio.get_running_loop()
    started = time.monotonic()
    sessions = []
    for first in range(0, COUNT, 100):
        clients = range(first, min(first + 100, COUNT))
        made = await asyncio.gather(
            *(loop.create_connection(Session, "127.0.0.1", PORT, local_addr=address_of(client)) for client in clients)
        )
        await asyncio.gather(*(session.opened for _, session in made))
        sessions += [session for _, session in made]
    say("opened", seconds=round(time.monotonic() - started, 1), **totals)
    return sessions


async def ask_all(sessions: list[Session]) -> None:
    for session in sessions:
        session.transport.write(frame(PING, QUESTION, masked=True))
    deadline = time.monotonic() + 20
    while totals["answered"] < COUNT and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    say("answered", **totals)


async def main() -> None:
    sessions = await open_all()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, lambda: asyncio.ensure_future(ask_all(sessions)))
    await asyncio.Event().wait()


asyncio.run(main())
