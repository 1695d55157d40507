"""Sessions that talk all the time. Arguments: URL COUNT SECONDS-BETWEEN-MESSAGES BYTES

`opened` when all are open. Each message is echoed by the backend and compared. SIGUSR1 is answered by a
`heard` event with the echoes that came since the last one, `silent` being the sessions that had none. One `lost` event per
session when it ends, with the seconds since the first one. `done` when all have ended, with every echo that was wrong."""

import asyncio
import contextlib
import signal
import sys
import time

from say import say
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

URL, COUNT, PAUSE, SIZE = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
echoes = [0] * COUNT
before = echoes.copy()
wrong = 0
first_lost = None


async def main() -> None:
    sessions = []
    for _ in range(COUNT):
        sessions.append(await connect(URL, ping_interval=None, open_timeout=20, compression=None, max_size=None))
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, answer)
    say("opened")
    await asyncio.gather(*(talk(number, session) for number, session in enumerate(sessions)))
    say("done", wrong=wrong, echoes=sum(echoes))


async def talk(number: int, session) -> None:
    global wrong, first_lost
    await asyncio.sleep(PAUSE * number / COUNT)
    try:
        while True:
            message = f"{number}:{echoes[number]}:".ljust(SIZE, "x")
            await session.send(message)
            if await session.recv() != message:
                wrong += 1
            echoes[number] += 1
            # A pause that ends with the session: when it was told is part of what is shown.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(session.wait_closed(), PAUSE)
    except ConnectionClosed:
        first_lost = first_lost or time.monotonic()
        say("lost", code=session.close_code, reason=session.close_reason, after=time.monotonic() - first_lost)


def answer() -> None:
    global before
    silent = sum(now == then for now, then in zip(echoes, before, strict=True))
    say("heard", echoes=sum(echoes) - sum(before), silent=silent, wrong=wrong)
    before = echoes.copy()


asyncio.run(main())
