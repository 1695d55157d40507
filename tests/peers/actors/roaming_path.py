"""A network that changes under its clients: relays TCP and cuts every connection after a while, by a reset, by FIN and by silence in turn.

Arguments: PORT-TO-RELAY-TO LEAST MOST, the seconds a connection lives; some live hardly as long as a handshake. Tells its port. It passes
everything until SIGUSR1 begins the cutting, and again when another one ends it: then it tells how often it cut by which kind."""

import asyncio
import contextlib
import itertools
import random
import signal
import socket
import struct
import sys
from collections import Counter

from say import say

TO, LEAST, MOST = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
AT_ONCE = struct.pack("ii", 1, 0)
# The share of connections that live less than so many seconds.
YOUNG, SHORT = 0.2, 0.02
# How long after its time a connection on which nothing comes is cut without waiting for a byte.
IDLE = 0.3
# How long an end has for its own FIN, and how long a silent connection is kept. Later bytes read a reset.
LINGERS, FORGETS = 2, 15
KINDS = itertools.cycle(("reset", "fin", "silent"))
cuts: Counter[str] = Counter()
sessions: set["Session"] = set()
is_calm = True


class Half(asyncio.Protocol):
    """One of the two connections of a session."""

    def __init__(self, session: "Session"):
        self.session = session
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport) -> None:
        self.transport = transport
        self.session.connected(self)

    def data_received(self, data: bytes) -> None:
        self.session.heard(self, data)

    def eof_received(self) -> bool:
        if self.session.state == "passes":
            self.other.finish()
        return True

    def connection_lost(self, error) -> None:
        self.session.lost(self, error)

    # What one end does not take is not read from the other.
    def pause_writing(self) -> None:
        if self.other.lives():
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other.lives():
            self.other.transport.resume_reading()

    @property
    def other(self) -> "Half":
        return next(half for half in self.session.halves if half is not self)

    def lives(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()

    def send(self, data: bytes) -> None:
        if self.lives() and data:
            self.transport.write(data)

    def finish(self) -> None:
        if self.lives():
            with contextlib.suppress(OSError, RuntimeError):
                self.transport.write_eof()

    def close(self) -> None:
        if self.lives():
            self.transport.close()

    def reset(self) -> None:
        if self.lives():
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
            self.transport.abort()


class Session:
    """Two connections, and when they are cut."""

    def __init__(self) -> None:
        self.client, self.server = Half(self), Half(self)
        self.halves = (self.client, self.server)
        # passes, due (the next bytes are the last), or how it was cut.
        self.state = "passes"
        self.task: asyncio.Task | None = None

    def connected(self, half: Half) -> None:
        if half is self.client:
            sessions.add(self)
            half.transport.pause_reading()
            self.task = asyncio.ensure_future(self.reach())

    async def reach(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: self.server, "127.0.0.1", TO)
        except OSError:
            self.client.reset()
            return
        if self.client.lives():
            self.client.transport.resume_reading()
            if not is_calm:
                self.begin(random.uniform(0, SHORT) if random.random() < YOUNG else random.uniform(LEAST, MOST))
        else:
            self.server.close()

    def heard(self, half: Half, data: bytes) -> None:
        if self.state == "due":
            # Anywhere: within a message, within a frame's head, between two.
            half.other.send(data[: random.randint(0, len(data))])
            self.cut()
        elif self.state == "passes":
            half.other.send(data)

    def lost(self, half: Half, error) -> None:
        if self.state in ("passes", "due"):
            self.state = "ended"
            if error:
                half.other.reset()
            else:
                half.other.close()
        if not any(each.lives() for each in self.halves):
            sessions.discard(self)

    def begin(self, life: float) -> None:
        asyncio.get_running_loop().call_later(life, self.fall_due)

    def fall_due(self) -> None:
        if self.state == "passes" and not is_calm and all(half.lives() for half in self.halves):
            self.state = "due"
            asyncio.get_running_loop().call_later(IDLE, self.cut)

    def cut(self) -> None:
        if self.state != "due":
            return
        self.state = next(KINDS)
        cuts[self.state] += 1
        loop = asyncio.get_running_loop()
        for half in self.halves:
            match self.state:
                case "reset":
                    half.reset()
                case "fin":
                    half.finish()
                    loop.call_later(LINGERS, half.close)
                case "silent":
                    loop.call_later(FORGETS, half.reset)


def turn() -> None:
    global is_calm
    is_calm = not is_calm
    if is_calm:
        say("calm", cuts=dict(cuts))
        return
    for session in sessions:
        session.begin(random.uniform(0, MOST))


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Session().client, "127.0.0.1", 0, backlog=1024)
    loop.add_signal_handler(signal.SIGUSR1, turn)
    say("listening", port=server.sockets[0].getsockname()[1])
    await server.serve_forever()


asyncio.run(main())
