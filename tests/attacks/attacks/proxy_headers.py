"""Attacks on the PROXY header: from who may send none, and from who takes its time."""

import struct

from . import wire
from .attack import attack, promise

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 5000 8443\r\n"
V2 = SIGNATURE + b"\x21\x11\0\x0c" + bytes([192, 0, 2, 7, 198, 51, 100, 1]) + struct.pack(">HH", 5000, 8443)
REQUEST = b"GET / HTTP/1.1\r\nHost: chat\r\n\r\n"
# More than may be incomplete at once.
MANY = 1100


@attack(
    "forged PROXY headers",
    "v1 and v2 from an address that may send none",
    "proxy_protocol::a_forged_header_from_elsewhere_is_never_believed",
)
def forged(scene):
    answers = [wire.ask(scene.target.told_port, header + REQUEST, source="127.0.0.66") for header in (V1, V2)]
    right, _ = wire.ask(scene.target.told_port, V1 + REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    nothing = all(not answer and end != "silence" for answer, end in answers)
    return promise(nothing and wire.status(right) == "200", "2 × closed, no answer")


@attack(
    "slow PROXY headers",
    f"{MANY} headers, a byte every 100 ms",
    "proxy_protocol/limits::further_bytes_give_a_header_no_further_time",
    MANY,
    32,
)
def slow(scene):
    held = [wire.connect(scene.target.told_port) for _ in range(MANY)]
    for connection in held:
        # So long that only its deadline ends it.
        connection.sendall(SIGNATURE + b"\x21\x11\x0f\xf0")
    ends = wire.await_ends(held, dribble=b"s")
    return promise(set(ends) <= {"closed", "reset"}, wire.words(ends))


@attack(
    "endless PROXY headers",
    "v1 without an end, v2 of 64 KiB, both twice",
    "proxy_protocol::a_connection_that_begins_otherwise_is_closed_without_an_answer_and_counted_by_cause",
)
def endless(scene):
    headers = (b"PROXY UNKNOWN " + b"f" * 65536, SIGNATURE + b"\x21\x11\xff\xff" + bytes(65535))
    answers = [wire.ask(scene.target.told_port, header + REQUEST) for header in headers for _ in range(2)]
    return promise(all(not answer and end != "silence" for answer, end in answers), "4 × closed, no answer")
