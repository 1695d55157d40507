"""A stand-in for a load balancer: relays TCP and cuts a connection on which no byte passed for a while.

Arguments: PORT-TO-RELAY-TO SECONDS. Tells its port, then each cut with the seconds the connection had lived."""

import asyncio
import sys

from say import say

TO, LIMIT = int(sys.argv[1]), float(sys.argv[2])


class Connection:
    """Two transports and the timer that any byte winds up again."""

    def __init__(self):
        self.transports: list[asyncio.Transport] = []
        self.loop = asyncio.get_running_loop()
        self.opened = self.loop.time()
        self.timer = self.loop.call_later(LIMIT, self.cut)

    def byte_passed(self) -> None:
        self.timer.cancel()
        self.timer = self.loop.call_later(LIMIT, self.cut)

    def cut(self) -> None:
        say("cut", after=round(self.loop.time() - self.opened, 2))
        for transport in self.transports:
            transport.abort()


class Half(asyncio.Protocol):
    """One side; `other` is where its bytes go."""

    def __init__(self, connection: Connection | None = None):
        self.connection = connection or Connection()
        self.other: asyncio.Transport | None = None
        self.early = b""

    def connection_made(self, transport) -> None:
        self.transport = transport
        self.connection.transports.append(transport)
        if self is not getattr(self.connection, "behind", None):
            self.connection.front = self
            asyncio.create_task(self.connect())

    async def connect(self) -> None:
        behind = self.connection.behind = Half(self.connection)
        behind.other = self.transport
        try:
            self.other, _ = await asyncio.get_running_loop().create_connection(lambda: behind, "127.0.0.1", TO)
        except OSError:
            self.transport.abort()
            return
        self.other.write(self.early)

    def data_received(self, data: bytes) -> None:
        self.connection.byte_passed()
        if self.other is None:
            self.early += data
        else:
            self.other.write(data)

    def eof_received(self) -> bool:
        if self.other is not None and self.other.can_write_eof():
            self.other.write_eof()
        return True

    def connection_lost(self, _error) -> None:
        self.connection.timer.cancel()
        if self.other is not None:
            self.other.close()


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Half, "127.0.0.1", 0)
    say("listening", port=server.sockets[0].getsockname()[1])
    await server.serve_forever()


asyncio.run(main())
