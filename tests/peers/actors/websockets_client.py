"""A client by Python websockets that goes through everything a session can carry. Argument: the URL of ws_server.mjs or
websockets_server.py, perhaps behind longwire."""

import asyncio
import json
import os
import ssl
import sys
from urllib.parse import urlsplit

from say import check, equal, say
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

URL = sys.argv[1]
BIG = os.urandom(512 * 1024) + b"longwire" * 64 * 1024


def open_session(path: str, **options):
    if URL.startswith("wss:"):
        options["ssl"] = ssl._create_unverified_context()
    return connect(URL + path, max_size=2**22, ping_interval=None, **options)


async def ask(socket, message):
    await socket.send(message)
    return await socket.recv()


def has_deflate(socket) -> bool:
    return any(extension.name == "permessage-deflate" for extension in socket.protocol.extensions)


async def main() -> None:
    async with open_session("/chat?room=1", subprotocols=["chat.v2", "chat.v1"]) as chat:
        equal(chat.subprotocol, "chat.v1", "subprotocol chosen by the backend")
        check(has_deflate(chat), "permessage-deflate negotiated at the client")
        told = json.loads(await ask(chat, "do tell"))
        check(told["deflate"], "permessage-deflate negotiated at the backend")
        equal(told["subprotocol"], "chat.v1", "subprotocol at the backend")
        equal(told["path"], "/chat?room=1", "path and query at the backend")
        equal(told["headers"]["host"], urlsplit(URL).netloc, "Host kept")
        equal(await ask(chat, "grüße, 世界"), "grüße, 世界", "text echoed")
        equal(await ask(chat, ""), "", "empty text echoed")
        equal(await ask(chat, b"\x00\xff\x01\xfe"), b"\x00\xff\x01\xfe", "binary echoed")
        check(await ask(chat, BIG) == BIG, "1 MiB compressed message echoed, every byte")
        equal(await ask(chat, ["one ", "two ", "three"]), "one two three", "message sent in fragments")
        await chat.send("do fragments a b c d")
        parts = [part async for part in chat.recv_streaming()]
        # The author may add an empty last fragment.
        equal([part for part in parts if part], list("abcd"), "message received in the same fragments")
        await asyncio.wait_for(await chat.ping("are you there"), 10)
        check(True, "own ping answered with own payload")
        await chat.close(4321, "client says bye")
        equal(
            (chat.close_code, chat.close_reason), (4321, "client says bye"), "client's close code and reason came back"
        )

    async with open_session("/plain", compression=None) as plain:
        check(not has_deflate(plain), "no extension offered, none negotiated")
        check(await ask(plain, BIG) == BIG, "1 MiB uncompressed message echoed, every byte")
        try:
            await ask(plain, "do close 4567 backend says bye")
        except ConnectionClosed as end:
            equal(
                (end.rcvd.code, end.rcvd.reason),
                (4567, "backend says bye"),
                "backend's close code and reason at the client",
            )
            check(end.rcvd_then_sent, "the backend closed first")
    say("done")


asyncio.run(asyncio.wait_for(main(), 60))
