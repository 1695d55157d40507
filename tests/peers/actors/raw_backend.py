"""A backend that answers a WebSocket handshake with something else, by the path, and tells every byte it reads.

After a head it reads on and answers nothing more; after each false 101 it sends a frame that must reach nobody."""

import asyncio
import base64
import hashlib

from say import say

LEAK = b"\x82\x04LEAK"
UPGRADE = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def answer(path: str, key: bytes) -> bytes:
    accept = b"Sec-WebSocket-Accept: " + base64.b64encode(hashlib.sha1(key + GUID).digest()) + b"\r\n"
    return {
        # `close`: nobody may use this connection for another request, so whatever comes on it was smuggled.
        "/200": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nplain",
        "/200-with-upgrade": b"HTTP/1.1 200 OK\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n"
        + accept
        + b"Content-Length: 5\r\n\r\nplain",
        "/302": b"HTTP/1.1 302 Found\r\nConnection: close\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
        "/400": b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 3\r\n\r\nno\n",
        "/426": b"HTTP/1.1 426 Upgrade Required\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        "/101-wrong-accept": UPGRADE + b"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n" + LEAK,
        "/101-without-accept": UPGRADE + b"\r\n" + LEAK,
        "/101-without-upgrade": b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
        + accept
        + b"\r\n"
        + LEAK,
        "/101-without-connection": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
        + accept
        + b"\r\n"
        + LEAK,
        "/101-of-another-protocol": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n"
        + accept
        + b"\r\n"
        + LEAK,
        "/101-unasked-subprotocol": UPGRADE + accept + b"Sec-WebSocket-Protocol: soap\r\n\r\n" + LEAK,
        "/101-unasked-extension": UPGRADE + accept + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n" + LEAK,
        "/not-http": b"SSH-2.0-OpenSSH_9.2\r\n",
        # The control: a right one. What the client sends arrives here, and the frame arrives there.
        "/101": UPGRADE + accept + b"\r\n" + LEAK,
    }[path]


async def serve(reader, writer) -> None:
    path = "?"
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        path = head.split(b" ")[1].decode()
        fields = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
        }
        say("request", path=path, upgrade=fields.get(b"upgrade", b"").decode())
        writer.write(answer(path, fields.get(b"sec-websocket-key", b"")))
        while data := await reader.read(65536):
            say("bytes", path=path, bytes=data.decode("latin-1"))
    except (OSError, asyncio.IncompleteReadError):
        pass
    except KeyError:
        say("unknown", path=path)
    finally:
        writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    say("listening", port=server.sockets[0].getsockname()[1])
    await server.serve_forever()


asyncio.run(main())
