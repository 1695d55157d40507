"""Holds sessions open over a Unix socket, and proves on a signal that all still live. Arguments: PATH COUNT

One `opened` event when all are open. On SIGUSR1 each session echoes once: one `echoed` event with how many did."""

import asyncio
import signal
import sys
import time

from say import say
from websockets.asyncio.client import unix_connect
from websockets.exceptions import ConnectionClosed

PATH, COUNT = sys.argv[1], int(sys.argv[2])


async def main() -> None:
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, asked.set)
    started = time.monotonic()
    # All at once: they are more than the backlog of a backend by Node holds, so that some wait for a place there.
    sessions = await asyncio.gather(*(open_one() for _ in range(COUNT)))
    say("opened", open=len(sessions), seconds=round(time.monotonic() - started, 2))
    await asked.wait()
    echoed = await asyncio.gather(*(echo(session, number) for number, session in enumerate(sessions)))
    say("echoed", open=sum(echoed))
    codes = await asyncio.gather(*(end(session) for session in sessions))
    say("ended", codes={str(code): codes.count(code) for code in set(codes)})


async def open_one():
    return await unix_connect(PATH, "ws://chat.example/rooms", ping_interval=None, open_timeout=20)


async def echo(session, number: int) -> bool:
    message = f"still here {number}"
    await session.send(message)
    return await session.recv() == message


async def end(session) -> int | None:
    try:
        await session.recv()
    except ConnectionClosed:
        pass
    return session.close_code


asyncio.run(main())
