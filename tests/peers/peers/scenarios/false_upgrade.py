"""Backends that do not upgrade, or only pretend to: what the client sends next must reach nobody."""

import contextlib
import socket

from ..bench import Bench, Failed, wait_until
from ..proxy import Proxy

HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
# A masked text frame (mask 0) and the classic: a request hidden behind a false upgrade.
FRAME = b"\x81\x88\0\0\0\0SMUGGLED"
REQUEST = b"GET /private/SMUGGLED HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

PASSED_ON = {"/200": 200, "/200-with-upgrade": 200, "/302": 302, "/400": 400, "/426": 426}
REFUSED = [
    "/101-wrong-accept",
    "/101-without-accept",
    "/101-without-upgrade",
    "/101-without-connection",
    "/101-of-another-protocol",
    "/101-unasked-subprotocol",
    "/101-unasked-extension",
    "/not-http",
]


def run(bench: Bench) -> None:
    backend = bench.python("raw_backend.py")
    routes = "\n".join(f"- {{ path: {path}, upstream: backends }}" for path in [*PASSED_ON, *REFUSED, "/101"])
    proxy = Proxy(bench, [backend.port()], routes=routes, upstream="balance: round_robin\nmax_fails: 0")

    right = speak(proxy.port, "/101", FRAME, at_once=False)
    bench.check(right.startswith(b"HTTP/1.1 101") and b"LEAK" in right, "the control: a right 101 opens a session")
    wait_until(lambda: smuggled(backend), 5, "the backend reads the client's frame")
    backend.lines.clear()

    for path, status in [*PASSED_ON.items(), *((path, 502) for path in REFUSED)]:
        for following in (FRAME, REQUEST):
            for at_once in (True, False):
                got = speak(proxy.port, path, following, at_once)
                kind = "frame" if following is FRAME else "request"
                when = "with the handshake" if at_once else "after the answer"
                if not got.startswith(b"HTTP/1.1 %d " % status):
                    raise Failed(f"{path}, {kind} {when}: {got[:80]!r}, wanted {status}")
                if b"LEAK" in got or b" 101 " in got.split(b"\r\n")[0]:
                    raise Failed(f"{path}, {kind} {when}: bytes behind the false 101 reached the client: {got!r}")
        bench.check(
            not smuggled(backend),
            f"{path}: answered {status}; what follows (frame or request, at once or later) is not relayed",
        )
    requests = {event["path"] for event in backend.events("request")}
    bench.equal(requests, {*PASSED_ON, *REFUSED}, "the backend saw each handshake")
    bench.check(not backend.events("unknown"), "and no other request")
    records = [record for record in proxy.records("session") if record["path"] != "/101"]
    bench.equal(records, [], "records of sessions for what was none")
    bench.equal(proxy.stop(), 0, "longwire's exit code")


def speak(port: int, path: str, following: bytes, at_once: bool) -> bytes:
    """Everything that comes back for a handshake and bytes behind it, up to EOF or half a second of silence."""
    handshake = HANDSHAKE.format(path=path).encode()
    got = b""
    with (
        socket.create_connection(("127.0.0.1", port), 5) as connection,
        contextlib.suppress(TimeoutError, ConnectionError),
    ):
        connection.sendall(handshake + (following if at_once else b""))
        connection.settimeout(10)
        while b"\r\n\r\n" not in got and (part := connection.recv(65536)):
            got += part
        if not at_once:
            connection.sendall(following)
        connection.settimeout(0.5)
        while part := connection.recv(65536):
            got += part
    return got


def smuggled(backend) -> bool:
    return any(
        "SMUGGLED" in event.get("bytes", "") + event["path"]
        for name in ("bytes", "request", "unknown")
        for event in backend.events(name)
    )
