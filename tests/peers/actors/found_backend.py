"""A backend at several addresses of this machine, on one port. Arguments: PORT ADDRESS...

Each message comes back behind the address at which its session is."""

import asyncio
import contextlib
import sys

from say import say
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

PORT, ADDRESSES = int(sys.argv[1]), sys.argv[2:]


async def session(socket) -> None:
    address = socket.local_address[0]
    with contextlib.suppress(ConnectionClosed):
        async for message in socket:
            await socket.send(f"{address} {message}")


async def main() -> None:
    async with serve(session, ADDRESSES, PORT, ping_interval=None, compression=None) as server:
        say("listening", port=PORT)
        await server.serve_forever()


asyncio.run(main())
