"""Silent sessions: opened, then no word for a while, then one echo and a Close. Arguments: SECONDS NAME=URL..."""

import asyncio
import sys
import time

from say import say
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed


async def silent(name: str, url: str, seconds: float) -> None:
    async with connect(url, ping_interval=None) as socket:
        opened = time.monotonic()
        try:
            await asyncio.wait_for(socket.recv(), seconds)
        except TimeoutError:
            await socket.send("still here")
            answer = await asyncio.wait_for(socket.recv(), 10)
            await socket.close(1000)
            say("survived", name=name, seconds=round(time.monotonic() - opened, 1), echo=answer, code=socket.close_code)
        except ConnectionClosed:
            say("lost", name=name, seconds=round(time.monotonic() - opened, 1), code=socket.close_code)


async def main() -> None:
    targets = [argument.split("=", 1) for argument in sys.argv[2:]]
    await asyncio.gather(*(silent(name, url, float(sys.argv[1])) for name, url in targets))
    say("done")


asyncio.run(main())
