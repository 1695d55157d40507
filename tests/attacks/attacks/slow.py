"""Those who take their time: heads, bodies, readers, handshakes of TLS and of backends."""

import contextlib
import socket

from peers.bench import wait_until

from . import wire
from .attack import attack, promise

MANY = 300


@attack(
    "slow heads",
    f"{MANY} heads, a byte every 100 ms",
    "timeouts::a_head_that_does_not_end_ends_the_connection",
    MANY,
    32,
)
def slow_heads(scene):
    held = [wire.connect(scene.port) for _ in range(MANY)]
    for connection in held:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: chat\r\nX-Slow: ")
    ends = wire.await_ends(held, dribble=b"s")
    return promise(set(ends) <= {"408", "closed", "reset"}, wire.words(ends))


@attack(
    "silent connections",
    f"{MANY} connections, no byte",
    "timeouts::a_connection_that_never_sends_a_byte_is_closed",
    MANY,
    32,
)
def silent_connections(scene):
    ends = wire.await_ends([wire.connect(scene.port) for _ in range(MANY)])
    return promise(set(ends) <= {"408", "closed"}, wire.words(ends))


@attack(
    "slow bodies",
    f"{MANY} bodies that stall after 10 of 1,000 bytes",
    "timeouts::a_request_body_that_stalls_ends_with_408",
    MANY,
    48,
)
def slow_bodies(scene):
    held = [wire.connect(scene.port) for _ in range(MANY)]
    for connection in held:
        connection.sendall(b"POST /slow HTTP/1.1\r\nHost: chat\r\nContent-Length: 1000\r\n\r\n0123456789")
    ends = wire.await_ends(held)
    return promise(set(ends) <= {"408", "closed"}, wire.words(ends))


@attack(
    "stalled TLS",
    f"{MANY} half ClientHellos",
    "timeouts::a_tls_handshake_that_stalls_ends_the_connection_and_no_other",
    MANY,
    48,
)
def stalled_tls(scene):
    held = [wire.connect(scene.target.tls_port) for _ in range(MANY)]
    for connection in held:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32))
    ends = wire.await_ends(held)
    return promise(set(ends) <= {"closed", "reset"}, wire.words(ends))


@attack(
    "no TLS on a TLS port",
    "a request in plain text",
    "tls::plain_http_on_a_tls_port_is_told_so_and_ends_that_connection_only",
)
def plain_on_tls(scene):
    answer, end = wire.ask(scene.target.tls_port, b"GET / HTTP/1.1\r\nHost: chat\r\n\r\n")
    return promise(wire.status(answer) == "400" and b"this port speaks TLS" in answer, f"400 with words, {end}")


@attack(
    "slow HTTP reader",
    "GET of 64 MiB × 20, nothing read",
    "hostile::a_client_that_never_reads_its_answer_holds_the_backend_back_and_is_cut",
    20,
    512,
)
def slow_http_reader(scene):
    scene.backend.lines.clear()
    held = []
    for _ in range(20):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", scene.port))
        connection.sendall(b"GET /big HTTP/1.1\r\nHost: chat\r\n\r\n")
        held.append(connection)
    return poured(scene, held)


@attack(
    "slow WebSocket reader",
    "20 sessions, 64 MiB of messages to each, nothing read",
    "relay::a_client_that_does_not_read_stops_the_backend_and_nothing_else",
    20,
    512,
)
def slow_websocket_reader(scene):
    scene.backend.lines.clear()
    held = [wire.connect(scene.port) for _ in range(20)]
    for connection in held:
        connection.sendall(wire.handshake("/flood"))
    return poured(scene, held)


def poured(scene, held) -> str:
    """Waits until the backend could send no more to each, tells how much that was (what the kernel's buffers take),
    and waits for the end of each."""
    wait_until(
        lambda: len(scene.backend.events("held")) >= len(held), wire.PATIENCE, "the backend is held back for each"
    )
    most = max(event["bytes"] for event in scene.backend.events("held"))
    wait_until(lambda: len(scene.backend.events("poured")) >= len(held), wire.PATIENCE, "each is cut")
    for connection in held:
        connection.close()
    return promise(
        most < 32 << 20, f"the backend was held back after {most / (1 << 20):.1f} of 64 MiB, then {len(held)} × cut"
    )


@attack(
    "unread answers",
    "5,000 pipelined requests, no answer read",
    "hostile::pipelined_requests_whose_answers_nobody_reads_stop_being_served",
    1,
    512,
)
def unread_answers(scene):
    scene.backend.lines.clear()
    files = scene.target.files()
    connection = wire.connect(scene.port)
    connection.settimeout(1)
    with contextlib.suppress(OSError):
        connection.sendall(b"GET /64k HTTP/1.1\r\nHost: chat\r\n\r\n" * 5000)
    wait_until(lambda: scene.backend.events("request"), wire.PATIENCE, "the first request is served")
    # Its end cannot be seen from here: our own kernel takes no more, not even a FIN.
    wait_until(lambda: scene.target.files() <= files + 1, wire.PATIENCE, "longwire lets go of the connection")
    connection.close()
    served = len(scene.backend.events("request"))
    return promise(0 < served < 2500, f"{served} served until the kernel's buffers were full, then cut")


@attack(
    "backends that never answer",
    "200 handshakes, no answer of the backend",
    "refusals::a_backend_that_never_answers_is_504",
    200,
    64,
)
def stalled_handshakes(scene):
    return all_end(scene, 200, "/stall", "504")


@attack(
    "endless head of a backend",
    "10 × a 101 whose head goes on for 64 MiB",
    "hostile::a_101_whose_head_does_not_end_is_502",
    10,
    256,
)
def endless_head(scene):
    return all_end(scene, 10, "/endless-head", "502")


@attack(
    "half-open sockets",
    "200 sessions that never answer a Ping",
    "keepalive::a_client_that_answers_nothing_is_dead",
    200,
    48,
)
def half_open(scene):
    held = [wire.session(scene.port) for _ in range(200)]
    ends = wire.await_ends(held, word=wire.close_of)
    return promise(set(ends) == {"Close 1001 'no answer to pings'"}, wire.words(ends))


def all_end(scene, count, path, status):
    held = [wire.connect(scene.port) for _ in range(count)]
    for connection in held:
        connection.sendall(wire.handshake(path))
    ends = wire.await_ends(held)
    return promise(set(ends) == {status}, wire.words(ends))
