"""A backend that sends to each session without an end, as fast as it is taken, and reads nothing."""

import asyncio
import base64
import hashlib
import json

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
LENGTH = 64 * 1024
MESSAGE = b"\x82\x7f" + LENGTH.to_bytes(8, "big") + bytes(LENGTH)


async def serve(reader, writer) -> None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        fields = (line.partition(b":") for line in head.split(b"\r\n"))
        key = next(value.strip() for name, _, value in fields if name.lower() == b"sec-websocket-key")
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        while True:
            writer.write(MESSAGE)
            await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(json.dumps({"event": "listening", "port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


asyncio.run(main())
