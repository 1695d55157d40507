"""Opens sessions and ends them, half of them itself, and counts the ends that are not in order. Arguments: URL KIND COUNT

KIND is the client: `websockets`; `raw`, sockets that say what they have to say at once, or wait for the other end's FIN;
`babbling`, which goes on sending behind its Close. One `done` event with what went wrong, and how often."""

import asyncio
import collections
import concurrent.futures
import socket
import ssl
import sys
from urllib.parse import urlsplit

from frames import CLOSE, TEXT, frame, take_frames
from say import say
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

URL, KIND, COUNT = sys.argv[1], sys.argv[2], int(sys.argv[3])
CODE, REASON = 4000, "bye"
ASK = f"do close {CODE} {REASON}"
WORDS = CODE.to_bytes(2, "big") + REASON.encode()
AT_ONCE = 8
TLS = ssl._create_unverified_context() if URL.startswith("wss:") else None

wrong = collections.Counter()


class Connection(ClientConnection):
    """Tells of a connection that has ended by an error, whatever was read before."""

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None:
            wrong[f"lost by {type(error).__name__}"] += 1
        super().connection_lost(error)


async def by_websockets() -> None:
    numbers = iter(range(COUNT))

    async def end_some() -> None:
        for number in numbers:
            session = await connect(URL, ssl=TLS, ping_interval=None, compression=None, create_connection=Connection)
            if number % 2:
                await session.close(CODE, REASON)
            else:
                await session.send(ASK)
                try:
                    await session.recv()
                except ConnectionClosed:
                    await session.wait_closed()
            if (session.close_code, session.close_reason) != (CODE, REASON):
                wrong[f"closed by {session.close_code}"] += 1

    await asyncio.gather(*(end_some() for _ in range(AT_ONCE)))


def by_sockets(end) -> None:
    def end_one(number: int) -> None:
        with open_session() as wire:
            try:
                end(wire, number)
            except OSError as error:
                wrong[f"{type(error).__name__} {end.__name__}, session {number % 4} of 4"] += 1

    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        collections.deque(pool.map(end_one, range(COUNT)), 0)


def open_session() -> socket.socket:
    url = urlsplit(URL)
    wire = socket.create_connection((url.hostname, url.port), 20)
    wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if TLS:
        wire = TLS.wrap_socket(wire, suppress_ragged_eofs=False)
    fields = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13"
    key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
    wire.sendall(f"GET / HTTP/1.1\r\nHost: {url.netloc}\r\n{fields}\r\n{key}\r\n\r\n".encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += wire.recv(1)
    return wire


def in_time(wire: socket.socket, number: int) -> None:
    """Ends a session as the RFC has it, or hurries: its FIN, or close_notify, follows its Close."""
    hurries = number % 4 >= 2
    if number % 2:
        wire.sendall(frame(CLOSE, WORDS, masked=True))
        if hurries and not TLS:
            wire.shutdown(socket.SHUT_WR)
        read_close(wire)
    else:
        wire.sendall(frame(TEXT, ASK.encode(), masked=True))
        read_close(wire)
        wire.sendall(frame(CLOSE, WORDS, masked=True))
        if hurries and not TLS:
            wire.shutdown(socket.SHUT_WR)
    if hurries and TLS:
        # Waits for the other's close_notify.
        wire.unwrap()
    elif wire.recv(1) != b"":
        raise OSError("bytes behind the Close")


def with_more(wire: socket.socket, _number: int) -> None:
    """Goes on sending behind its Close."""
    wire.sendall(frame(CLOSE, WORDS, masked=True))
    try:
        for _ in range(20):
            wire.sendall(frame(TEXT, b"x" * 100, masked=True))
    except OSError:
        pass  # Whether the Close is lost by that is what counts.
    read_close(wire)


def read_close(wire: socket.socket) -> None:
    read = bytearray()
    while not (frames := take_frames(read)):
        more = wire.recv(1024)
        if not more:
            raise OSError("no Close")
        read += more
    if frames != [(CLOSE, WORDS)]:
        raise OSError(f"{frames} and no Close")


if KIND == "websockets":
    asyncio.run(by_websockets())
else:
    by_sockets(with_more if KIND == "babbling" else in_time)
say("done", wrong=wrong)
