"""A machine that runs out: of file descriptors, of disk under the log. Each against a longwire of its own."""

import contextlib
import time

from peers.bench import wait_until

from . import wire
from .attack import attack, promise
from .target import Target, Witness

FILES = 60


@attack(
    "out of file descriptors",
    f"100 connections where {FILES} files may be open",
    "hostile::accept_recovers_when_descriptors_are_free_again",
)
def out_of_files(scene):
    target = Target(scene.bench, scene.backend_port, ["prlimit", f"--nofile={FILES}:{FILES}"])
    witness = Witness(target.port)
    wait_until(lambda: witness.echoes > 5 or witness.hurt, 10, "the witness echoes")
    held = []
    with contextlib.suppress(OSError):
        for _ in range(100):
            held.append(wire.connect(target.port))
            held[-1].sendall(b"GET /files HTTP/1.1\r\nHost: chat\r\nX-Held: ")
    wait_until(lambda: "accept failed" in target.program.stderr(), 10, "the log says that accept failed")
    before = witness.echoes
    wait_until(lambda: witness.echoes > before or witness.hurt, 5, "its session goes on meanwhile")
    for connection in held:
        connection.close()
    deadline = time.monotonic() + 10
    while True:
        with contextlib.suppress(OSError):
            wire.session(target.port).close()
            break
        promise(time.monotonic() < deadline, "no new session after the flood")
    promise(not witness.hurt, f"its session: {witness.hurt}")
    failures = target.program.stderr().count("accept failed")
    promise(failures < 50, f"accept failed {failures} times: it does not back off")
    promise(target.stop() == 0 and "panicked" not in target.program.stderr(), "its exit code is 0")
    return f"accept backed off ({failures} failures), its session went on, new ones after"


@attack(
    "full disk under the log",
    "standard output and standard error are /dev/full",
    "hostile::a_log_that_cannot_be_written_costs_records_and_no_session",
)
def full_disk(scene):
    target = Target(scene.bench, scene.backend_port, shell=">/dev/full 2>/dev/full")
    witness = Witness(target.port)
    for _ in range(200):
        wire.session(target.port).close()
    answer, _ = wire.ask(target.port, b"GET / HTTP/1.1\r\nHost: chat\r\nConnection: close\r\n\r\n")
    before = witness.echoes
    wait_until(lambda: witness.echoes > before + 10 or witness.hurt, 5, "its session goes on")
    promise(not witness.hurt and wire.status(answer) == "200", f"{witness.hurt} {wire.status(answer)}")
    code = target.stop()
    return promise(code == 0, f"200 sessions and a request served, no record of them, exit code {code}")
