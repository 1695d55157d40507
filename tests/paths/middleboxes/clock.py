"""The time of the middleboxes and of the ends."""

import asyncio
import time

TICK = 0.01
# What a tick may take at most. On a busy machine a tick may come later; that time was no silence of anybody's.
LONGEST_TICK = 0.2


class Clock:
    """Seconds since the start, without those for which this process was held up.

    So a session is not called silent because its Ping waits in a socket that nobody reads."""

    def __init__(self):
        self.now = 0.0
        self.held_up = 0.0

    async def run(self, each_tick) -> None:
        """Goes on until it is cancelled. What has come to sockets is taken before a tick, by asyncio."""
        last = time.monotonic()
        while True:
            await asyncio.sleep(TICK)
            now = time.monotonic()
            passed = min(now - last, LONGEST_TICK)
            self.held_up += now - last - passed
            self.now += passed
            last = now
            each_tick()

    async def until(self, moment: float, event: asyncio.Event | None = None) -> bool:
        """Waits for a moment of this clock, or for an event before it; whether the event has come."""
        while (left := moment - self.now) > 0:
            if event is None:
                await asyncio.sleep(left)
                continue
            try:
                await asyncio.wait_for(event.wait(), left)
                return True
            except (TimeoutError, asyncio.TimeoutError):
                pass
        return event is not None and event.is_set()
