"""A backend by Python websockets, with the same answers as ws_server.mjs. Arguments: [--port N] [--name NAME] [--ping SECONDS]
[--tick SECONDS]: how often it pings, and sends a message, of its own accord."""

import argparse
import asyncio
import contextlib
import json

from say import say
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed


async def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--port", type=int, default=0)
    options.add_argument("--name", default="websockets")
    options.add_argument("--ping", type=float)
    options.add_argument("--tick", type=float)
    options = options.parse_args()

    async def tick(socket) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await socket.send("tick")
                await asyncio.sleep(options.tick)

    async def session(socket) -> None:
        say("opened", path=socket.request.path)
        ticking = asyncio.create_task(tick(socket)) if options.tick else None
        try:
            async for message in socket:
                if isinstance(message, str) and message.startswith("do "):
                    await obey(socket, options.name, *message.split(" ")[1:])
                else:
                    await socket.send(message)
        except ConnectionClosed:
            pass
        finally:
            await socket.wait_closed()
            if ticking:
                ticking.cancel()
            say("closed", code=socket.close_code, reason=socket.close_reason, path=socket.request.path)

    def choose(_socket, offered):
        return "chat.v1" if "chat.v1" in offered else None

    # Its own keepalive is off by default: every Ping that a client sees here is not this backend's. It judges nobody.
    async with serve(
        session,
        "127.0.0.1",
        options.port,
        select_subprotocol=choose,
        max_size=2**22,
        ping_interval=options.ping,
        ping_timeout=None,
    ) as server:
        say("listening", port=server.sockets[0].getsockname()[1])
        await server.serve_forever()


async def obey(socket, name: str, verb: str, *words: str) -> None:
    if verb == "close":
        await socket.close(int(words[0]), " ".join(words[1:]))
    if verb == "fragments":
        await socket.send(words)
    if verb == "tell":
        deflate = any(extension.name == "permessage-deflate" for extension in socket.protocol.extensions)
        headers = {name.lower(): value for name, value in socket.request.headers.raw_items()}
        told = {
            "name": name,
            "deflate": deflate,
            "subprotocol": socket.subprotocol,
            "path": socket.request.path,
            "headers": headers,
        }
        await socket.send(json.dumps(told))


asyncio.run(main())
