"""A client that reads whatever comes and says nothing. Arguments: URL"""

import asyncio
import sys

from say import say
from websockets.asyncio.client import connect


async def main() -> None:
    async with connect(sys.argv[1], ping_interval=None) as socket:
        say("opened")
        async for _ in socket:
            pass
        say("closed", code=socket.close_code, reason=socket.close_reason)


asyncio.run(main())
