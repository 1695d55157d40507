"""A session of each of many clients, which found_backend.py serves. Arguments: PORT COUNT [--leave]

The clients are 198.18.0.0 and on, by X-Forwarded-For. `opened` when each has its answer: the address that serves it, or the
status by which it was refused. With --leave the sessions then end, and so does this program. Without, SIGUSR1 has each
session say something, and `heard` tells how many were answered as before; SIGTERM has all leave. One `lost` event per session
that ends of itself."""

import asyncio
import ipaddress
import itertools
import signal
import sys

from say import say
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

PORT, COUNT, IS_LEAVING = int(sys.argv[1]), int(sys.argv[2]), "--leave" in sys.argv
FIRST = ipaddress.ip_address("198.18.0.0")
PATIENCE = 20
numbers = itertools.count()


async def main() -> None:
    turns = asyncio.Semaphore(50)
    clients = [str(FIRST + number) for number in range(COUNT)]
    opened = dict(zip(clients, await asyncio.gather(*(open_one(client, turns) for client in clients)), strict=True))
    sessions = {client: found for client, found in opened.items() if not isinstance(found, int)}
    served = {client: await ask(session) for client, session in sessions.items()}
    refused = {client: found for client, found in opened.items() if isinstance(found, int)}
    say("opened", served=served, refused=refused)
    loop, leaving = asyncio.get_running_loop(), asyncio.Event()
    if not IS_LEAVING:
        loop.add_signal_handler(signal.SIGUSR1, lambda: loop.create_task(ask_all(sessions, served)))
        loop.add_signal_handler(signal.SIGTERM, leaving.set)
        watches = [loop.create_task(watch(client, session)) for client, session in sessions.items()]
        await leaving.wait()
        for watching in watches:
            watching.cancel()
    await asyncio.gather(*(session.close() for session in sessions.values()))


async def open_one(client: str, turns: asyncio.Semaphore):
    """The session, or the status that refuses it."""
    options = {"ping_interval": None, "open_timeout": PATIENCE, "compression": None}
    async with turns:
        try:
            url = f"ws://127.0.0.1:{PORT}/"
            return await connect(url, additional_headers={"X-Forwarded-For": client}, **options)
        except InvalidStatus as refusal:
            return refusal.response.status_code


async def ask(session) -> str:
    """The address from which the answer comes; a wrong or missing answer has none."""
    message = f"message {next(numbers)}"
    try:
        await session.send(message)
        address, _, echo = (await asyncio.wait_for(session.recv(), PATIENCE)).partition(" ")
    except (ConnectionClosed, TimeoutError):
        return ""
    return address if echo == message else ""


async def ask_all(sessions: dict, served: dict[str, str]) -> None:
    answers = await asyncio.gather(*(ask(session) for session in sessions.values()))
    say("heard", right=sum(map(str.__eq__, answers, served.values())))


async def watch(client: str, session) -> None:
    await session.wait_closed()
    say("lost", client=client, code=session.close_code, reason=session.close_reason)


asyncio.run(main())
