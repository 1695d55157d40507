"""Holds sessions open and tells how each ended. Arguments: URL COUNT [SECONDS-BETWEEN]

One `opened` event when all are open: which backend each got (`do tell`), and the slowest open. One `lost` event per
session when it ends."""

import asyncio
import collections
import json
import sys
import time

from say import say
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

URL, COUNT = sys.argv[1], int(sys.argv[2])


async def main() -> None:
    names, slowest, sessions = collections.Counter(), 0.0, []
    for _ in range(COUNT):
        started = time.monotonic()
        session = await connect(URL, ping_interval=None, open_timeout=10)
        await session.send("do tell")
        names[json.loads(await session.recv())["name"]] += 1
        slowest = max(slowest, time.monotonic() - started)
        sessions.append(session)
    say("opened", backends=dict(names), slowest=round(slowest, 3))
    await asyncio.gather(*(watch(session) for session in sessions))
    say("done")


async def watch(session) -> None:
    try:
        await session.recv()
    except ConnectionClosed:
        say("lost", code=session.close_code, reason=session.close_reason)


asyncio.run(main())
