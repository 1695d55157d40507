"""Comes and goes: sessions of one message, each on a connection of its own, four at a time. Arguments: URL

Tells `visits` every 100 of them, and each `refused` at once. SIGUSR1 ends it, with a `done` event."""

import asyncio
import signal
import sys

from say import say
from websockets.asyncio.client import connect

URL = sys.argv[1]
visits = 0
refused = 0


async def main() -> None:
    enough = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, enough.set)
    visitors = [asyncio.create_task(visit()) for _ in range(4)]
    await enough.wait()
    for visitor in visitors:
        visitor.cancel()
    say("done", visits=visits, refused=refused)


async def visit() -> None:
    global visits, refused
    while True:
        try:
            async with connect(URL, ping_interval=None, open_timeout=10, compression=None) as session:
                await session.send("hello")
                if await session.recv() != "hello":
                    raise ValueError("another echo")
        except Exception as error:  # noqa: BLE001 whatever kept a visit from its echo counts as refused
            refused += 1
            say("refused", error=repr(error), visits=visits)
        visits += 1
        if visits % 100 == 0:
            say("visits", count=visits)


asyncio.run(main())
