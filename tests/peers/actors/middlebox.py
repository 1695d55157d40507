"""A stand-in for a load balancer: relays TCP and cuts a connection on which no byte passed for a while.

Arguments: PORT-TO-RELAY-TO SECONDS. Tells its port, then each cut with the seconds the connection had lived."""

import asyncio
import contextlib
import sys
import time

from say import say

TO, LIMIT = int(sys.argv[1]), float(sys.argv[2])


async def relay(client_reader, client_writer) -> None:
    backend_reader, backend_writer = await asyncio.open_connection("127.0.0.1", TO)
    opened = last_byte = time.monotonic()

    async def pump(reader, writer) -> None:
        nonlocal last_byte
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                last_byte = time.monotonic()
                writer.write(data)
                await writer.drain()
            writer.write_eof()

    pumps = asyncio.gather(pump(client_reader, backend_writer), pump(backend_reader, client_writer))
    while not pumps.done():
        left = last_byte + LIMIT - time.monotonic()
        if left <= 0:
            say("cut", after=round(time.monotonic() - opened, 2))
            break
        await asyncio.wait([pumps], timeout=left)
    pumps.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await pumps
    for writer in (client_writer, backend_writer):
        writer.transport.abort()


async def main() -> None:
    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    say("listening", port=server.sockets[0].getsockname()[1])
    await server.serve_forever()


asyncio.run(main())
