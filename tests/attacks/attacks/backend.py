"""The backend behind the attacked longwire. It takes no request of which the end could be read in two ways, tells of
each that came (one JSON object a line), echoes WebSocket messages, and misbehaves where the path says so. Argument:
[PORT]"""

import asyncio
import base64
import hashlib
import json
import socket
import struct
import sys

PORT = int(sys.argv[1]) if len(sys.argv) > 1 and __name__ == "__main__" else 0
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CHUNK = 64 * 1024
FLOOD = 1024
ANSWER = "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n"


def say(event: str, **fields) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


async def main() -> None:
    server = await asyncio.start_server(connection, "127.0.0.1", PORT, backlog=1024, limit=1 << 20)
    say("listening", port=server.sockets[0].getsockname()[1])
    await server.serve_forever()


async def connection(reader, writer) -> None:
    try:
        while await exchange(reader, writer):
            pass
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def exchange(reader, writer) -> bool:
    """One request; whether another may follow."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *fields = head[:-4].split("\r\n")
    headers: dict[str, list[str]] = {}
    for field in fields:
        name, _, value = field.partition(":")
        headers.setdefault(name.lower(), []).append(value.strip())
    say("request", line=line)
    path = line.split(" ")[1].partition("?")[0]
    if "websocket" in headers.get("upgrade", []):
        await session(reader, writer, path, headers)
        return False
    doubt = doubtful(head, headers)
    if doubt:
        say("doubt", line=line, doubt=doubt)
        return False
    await body(reader, headers)
    return await plain(writer, path, headers)


def doubtful(head: str, headers: dict) -> str | None:
    """Why two readers could disagree on where this request ends."""
    lengths, codings = headers.get("content-length", []), headers.get("transfer-encoding", [])
    if len(lengths) + len(codings) > 1:
        return "more than one length"
    if lengths and not (lengths[0].isascii() and lengths[0].isdigit()):
        return "a length that is no number"
    if codings and codings[0] != "chunked":
        return "another coding than chunked"
    if head.count("\n") != head.count("\r\n") or head.count("\r") != head.count("\r\n") or "\0" in head:
        return "a bare CR, LF or NUL"
    if any(line[:1] in " \t" or " " in line.partition(":")[0] for line in head[:-4].split("\r\n")[1:]):
        return "a folded line or a space in a name"
    return None


async def body(reader, headers) -> None:
    if "transfer-encoding" in headers:
        while size := int((await reader.readuntil(b"\r\n"))[:-2], 16):
            await reader.readexactly(size + 2)
        await reader.readuntil(b"\r\n")
    else:
        await reader.readexactly(int(headers.get("content-length", ["0"])[0]))


async def plain(writer, path: str, headers: dict) -> bool:
    if path == "/big":
        await pour(writer, ANSWER.format(status="200 OK", length=CHUNK * FLOOD).encode(), bytes(CHUNK))
        return False
    if path == "/64k":
        writer.write(ANSWER.format(status="200 OK", length=CHUNK).encode() + bytes(CHUNK))
        await writer.drain()
        return True
    if path.startswith("/answer/"):
        writer.write(bytes.fromhex(path.removeprefix("/answer/")))
        await writer.drain()
        return False
    told = json.dumps(headers).encode()
    writer.write(ANSWER.format(status="200 OK", length=len(told)).encode() + told)
    await writer.drain()
    return True


async def session(reader, writer, path: str, headers: dict) -> None:
    key = headers["sec-websocket-key"][0].encode()
    accept = base64.b64encode(hashlib.sha1(key + GUID).digest()).decode()
    right = (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
    match path.split("/")[1:]:
        case ["stall"]:
            await reader.read()
        case ["200"]:
            writer.write(ANSWER.format(status="200 OK", length=2).encode() + b"ok\x81\x04LEAK")
            say("behind", bytes=(await reader.read()).decode("latin-1"))
        case ["101-wrong"]:
            writer.write(right.replace(accept, "A" * 27 + "=").encode() + b"\x81\x04LEAK")
            say("behind", bytes=(await reader.read()).decode("latin-1"))
        case ["endless-head"]:
            await pour(writer, right[:-2].encode(), b"X-More: " + b"m" * (CHUNK - 10) + b"\r\n")
        case ["cut", length]:
            whole = right.encode() + b"\x81\x05hello\x82\x7e\x01\x00" + bytes(256)
            writer.write(whole[: int(length)])
            await writer.drain()
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        case ["flood"]:
            await pour(writer, right.encode(), b"\x82\x7f" + (CHUNK - 10).to_bytes(8, "big") + bytes(CHUNK - 10))
        case ["endless-frame"]:
            await pour(writer, right.encode() + b"\x82\x7f\x7f" + b"\xff" * 7, bytes(CHUNK))
        case ["send", frames]:
            writer.write(right.encode() + bytes.fromhex(frames))
            await writer.drain()
            await reader.read()
        case _:
            writer.write(right.encode())
            await echo(reader, writer)


async def pour(writer, head: bytes, chunk: bytes) -> None:
    """As much as is taken of FLOOD chunks; tells how much that was when no more is taken for a while."""
    sent, told = 0, False
    writer.transport.set_write_buffer_limits(high=0)
    try:
        writer.write(head)
        for _ in range(FLOOD):
            writer.write(chunk)
            taken = asyncio.ensure_future(writer.drain())
            done, _ = await asyncio.wait([taken], timeout=0.5)
            if not done and not told:
                say("held", bytes=sent)
                told = True
            await taken
            sent += len(chunk)
    finally:
        say("poured", bytes=sent)


async def echo(reader, writer) -> None:
    unread = b""
    while part := await reader.read(CHUNK):
        unread += part
        answers, at = [], 0
        while (frame := read_frame(unread, at)) is not None:
            first, payload, at = frame
            match first & 0x0F:
                case 0x8:
                    answers.append(unmasked(0x88, payload))
                case 0x9:
                    answers.append(unmasked(0x8A, payload))
                case 0xA:
                    pass
                case _:
                    answers.append(unmasked(first, payload))
        unread = unread[at:]
        writer.write(b"".join(answers))
        await writer.drain()
        if len(unread) > 16 * CHUNK:
            unread = b""  # a frame without an end: nothing to echo, and no memory to waste on it
            while await reader.read(CHUNK):
                pass


def read_frame(data: bytes, at: int):
    """First byte, unmasked payload and end of the frame at `at`; None if it is not whole."""
    if len(data) < at + 2:
        return None
    first, length, start = data[at], data[at + 1] & 0x7F, at + 2
    if length > 125:
        size = 2 if length == 126 else 8
        if len(data) < start + size:
            return None
        length, start = int.from_bytes(data[start : start + size], "big"), start + size
    mask = b""
    if data[at + 1] & 0x80:
        mask, start = data[start : start + 4], start + 4
    if len(data) < start + length:
        return None
    payload = data[start : start + length]
    if any(mask):
        key = (mask * (length // 4 + 1))[:length]
        payload = (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(length, "big")
    return first, payload, start + length


def unmasked(first: int, payload: bytes) -> bytes:
    if len(payload) < 126:
        return bytes((first, len(payload))) + payload
    if len(payload) < 65536:
        return struct.pack(">BBH", first, 126, len(payload)) + payload
    return struct.pack(">BBQ", first, 127, len(payload)) + payload


if __name__ == "__main__":
    asyncio.run(main())
