"""What a session can be sent: floods, endless frames, breaches, resets."""

import contextlib
import time

from . import wire
from .attack import attack, promise

ENDLESS = (1 << 63) - 1


@attack(
    "never-ending frame",
    "one frame of 2⁶³−1 bytes, 64 MiB of it",
    "known_bugs::a_length_that_a_peer_announces_takes_no_memory",
    1,
    512,
)
def endless_frame(scene):
    connection = wire.session(scene.port)
    connection.sendall(wire.masked(0x82, announced=ENDLESS))
    chunk = bytes(1 << 16)
    for _ in range(1024):
        connection.sendall(chunk)
    wire.reset(connection)
    return "64 MiB taken as they came, none held"


@attack(
    "never-ending frame of a backend",
    "one frame of 2⁶³−1 bytes, 64 MiB of it",
    "known_bugs::a_length_that_a_peer_announces_takes_no_memory",
    1,
    512,
)
def endless_frame_of_backend(scene):
    connection = wire.session(scene.port, "/endless-frame")
    got, end = len(read_through(connection)), "end"
    return promise(got == (1 << 26) + 10, f"{got >> 20} MiB passed, then the {end}")


def read_through(connection) -> bytes:
    got = bytearray()
    with contextlib.suppress(OSError):
        while part := connection.recv(1 << 20):
            got += part
    return bytes(got)


@attack(
    "announced lengths",
    "500 sessions, each a header of 2⁶³−1 bytes and no more",
    "known_bugs::a_length_that_a_peer_announces_takes_no_memory",
    500,
    32,
)
def announced_lengths(scene):
    held = [wire.session(scene.port) for _ in range(500)]
    for connection in held:
        connection.sendall(wire.masked(0x82, announced=ENDLESS))
    # Inside their own frame no Ping of ours can be answered, and none reaches the backend.
    ends = wire.await_ends(held, word=wire.close_of)
    return promise(set(ends) == {"Close 1001 'no answer to pings'"}, wire.words(ends))


@attack(
    "half a control frame",
    "500 sessions, each 130 bytes of a Ping of 131",
    "framing::frames_cut_after_every_byte_pass_like_whole_ones",
    500,
    32,
)
def half_control_frames(scene):
    held = [wire.session(scene.port) for _ in range(500)]
    for connection in held:
        connection.sendall(wire.masked(0x89, bytes(125))[:-1])
    ends = wire.await_ends(held, word=wire.close_of)
    return promise(set(ends) == {"Close 1001 'no answer to pings'"}, wire.words(ends))


@attack(
    "tiny frames", "100,000 messages of one byte", "hostile::a_flood_of_tiny_frames_passes_whole_and_in_order", 1, 1024
)
def tiny_frames(scene):
    return echoed(scene, wire.masked(0x82, b"t"), (0x82, b"t"), 100_000)


@attack(
    "empty fragments",
    "100,000 fragments without a byte",
    "hostile::a_message_of_endless_empty_fragments_passes_and_takes_no_memory",
    1,
    1024,
)
def empty_fragments(scene):
    return echoed(scene, wire.masked(0x00), (0x00, b""), 100_000, first=wire.masked(0x02))


@attack("ping flood", "100,000 Pings", "hostile::a_flood_of_pings_is_answered_by_the_backend_in_order", 1, 1024)
def ping_flood(scene):
    return echoed(scene, wire.masked(0x89, b"flood"), (0x8A, b"flood"), 100_000)


@attack(
    "pong flood",
    "100,000 unasked Pongs, then a message",
    "hostile::a_flood_of_pongs_passes_and_settles_no_ping_of_ours",
    1,
    1024,
)
def pong_flood(scene):
    connection = wire.session(scene.port)
    connection.sendall(wire.masked(0x8A, b"unasked") * 100_000 + wire.masked(0x81, b"behind"))
    frames = take_frames(connection, lambda found: (0x81, b"behind") in found)
    connection.close()
    return promise((0x81, b"behind") in frames, "passed; the message behind them is echoed")


def echoed(scene, frame: bytes, answer: tuple, count: int, first: bytes = b"") -> str:
    connection = wire.session(scene.port)
    flood = first + frame * count
    sent, found, unread = 0, 0, b""
    connection.setblocking(False)
    deadline = time.monotonic() + 40
    while found < count and time.monotonic() < deadline:
        with contextlib.suppress(BlockingIOError):
            sent += connection.send(flood[sent : sent + 65536])
        with contextlib.suppress(BlockingIOError):
            part = connection.recv(1 << 18)
            if not part:
                break
            unread += part
            frames = wire.frames(unread)
            found += frames.count(answer)
            unread = unread[sum(map(size, frames)) :]
    connection.close()
    return promise(found == count, f"{found} answered, in order")


def size(frame: tuple[int, bytes]) -> int:
    length = len(frame[1])
    return length + (2 if length < 126 else 4 if length < 65536 else 10)


def take_frames(connection, enough) -> list:
    got, deadline = b"", time.monotonic() + wire.PATIENCE
    while not enough(found := wire.frames(got)) and time.monotonic() < deadline:
        part = connection.recv(65536)
        if not part:
            break
        got += part
    return found


BREACHES = {
    "unmasked frame": b"\x81\x02hi",
    "reserved opcode": wire.masked(0x83),
    "reserved control opcode": wire.masked(0x8F),
    "reserved bits": wire.masked(0xC1, b"rsv"),
    "fragmented Ping": wire.masked(0x09),
    "Ping of 126 bytes": wire.masked(0x89, bytes(126)),
    "Ping of 2⁶³−1 bytes": wire.masked(0x89, announced=ENDLESS),
    "length of 2⁶³": b"\x82\xff\x80" + bytes(11),
    "stray continuation": wire.masked(0x80, b"stray"),
    "new message in a fragmented one": wire.masked(0x01, b"a") + wire.masked(0x81, b"b"),
}


@attack(
    "breaches",
    f"{len(BREACHES)} kinds of frames that no client may send",
    "breach::a_breach_by_the_client_ends_with_1002_for_it_and_1001_for_the_backend",
)
def breaches(scene):
    for name, bytes_ in BREACHES.items():
        connection = wire.session(scene.port)
        connection.sendall(bytes_ + wire.masked(0x81, b"behind the breach"))
        got, end = wire.read_all(connection)
        said = wire.close_of(got)
        promise(said.startswith("Close 1002 ") and end == "FIN", f"{name}: {said}, {end}")
    return "each: Close 1002 with its reason, FIN"


BACKEND_BREACHES = {
    "masked frame": wire.masked(0x81, b"hi"),
    "reserved opcode": b"\x83\x00",
    "reserved bits": b"\xc1\x01r",
}


@attack(
    "breaches of a backend",
    f"{len(BACKEND_BREACHES)} kinds of frames that no backend may send",
    "breach::a_breach_by_the_backend_ends_with_1002_for_it_and_1011_for_the_client",
)
def backend_breaches(scene):
    for name, bytes_ in BACKEND_BREACHES.items():
        connection = wire.session(scene.port, f"/send/{bytes_.hex()}")
        got, end = wire.read_all(connection)
        said = wire.close_of(got)
        promise(said.startswith("Close 1011 ") and end == "FIN", f"{name}: {said}, {end}")
    return "each: Close 1011 with its reason, FIN"


@attack(
    "resets of clients",
    "a reset after each byte of handshake, frames and Close",
    "hostile::a_client_reset_after_any_byte_ends_its_session_only",
    1,
    64,
)
def client_resets(scene):
    opening = wire.handshake("/")
    script = (
        opening
        + wire.masked(0x81, b"hello")
        + wire.masked(0x89, b"p")
        + wire.masked(0x82, bytes(200))
        + wire.masked(0x88)
    )
    for cut in range(len(script) + 1):
        connection = wire.connect(scene.port)
        connection.sendall(script[: min(cut, len(opening))])
        if cut > len(opening):
            connection.recv(1)
            connection.sendall(script[len(opening) : cut])
        wire.reset(connection)
    return f"{len(script) + 1} resets, each ended its own session"


@attack(
    "resets of backends",
    "a reset after each byte of a 101 and frames",
    "hostile::a_backend_reset_after_any_byte_ends_its_session_only",
    1,
    64,
)
def backend_resets(scene):
    length = len(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {'A' * 28}\r\n\r\n"
    )
    seen = {}
    for cut in range(length + 7 + 260):
        answer, end = wire.ask(scene.port, wire.handshake(f"/cut/{cut}"))
        found = wire.status(answer)
        wanted = "502" if cut < length else "101"
        # A reset may overtake the bytes before it: then the backend was lost before its answer.
        promise(found == wanted or (cut >= length and found == "502"), f"cut after {cut}: {found}, {end}")
        seen[found] = seen.get(found, 0) + 1
    return ", ".join(f"{count} × {found}" for found, count in seen.items()) + ", each then ended"
