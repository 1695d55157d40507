"""The longwire under attack, the backend behind it, and the session that must not notice."""

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path

from peers.bench import Bench, Failed, Program, free_port, wait_until
from peers.proxy import status_kib

from . import wire
from .backend import read_frame

HERE = Path(__file__).resolve().parent
# Short, so that every deadline is met within seconds; the bounds on memory are the shipped ones.
SETTINGS = """
keepalive: { ping_interval: 1s, pong_timeout: 2s }
timeouts:
  tls_handshake: 1s
  request_header: 1s
  request_body: 1s
  keep_alive: 2s
  connect: 1s
  upgrade: 1s
  response: 2s
  close: 1s
  drain: 3s
"""


class Target:
    """A running longwire in front of the misbehaving backend, with a plain listener, one for TLS, and one for PROXY headers
    from 127.0.0.1."""

    def __init__(self, bench: Bench, backend: int, prefix=(), shell: str = ""):
        self.port, self.tls_port, self.told_port = free_port(), free_port(), free_port()
        file = bench.folder / f"proxy-{self.port}.yaml"
        tls = f"cert: {bench.folder}/dev.crt, key: {bench.folder}/dev.key, self_signed: true"
        file.write_text(
            f"workers: 2\nlisteners:\n- bind: 127.0.0.1:{self.port}\n"
            f"- bind: 127.0.0.1:{self.tls_port}\n  tls: {{ {tls} }}\n"
            f"- bind: 127.0.0.1:{self.told_port}\n  proxy_protocol: {{ from: [127.0.0.1], timeout: 1s }}\n"
            f'upstreams: {{ target: {{ max_fails: 0, backends: [ {{ address: "127.0.0.1:{backend}" }} ] }} }}\n'
            f"routes: [ {{ upstream: target }} ]\n{SETTINGS}"
        )
        command = [*prefix, bench.binary, "run", "-c", file]
        if shell:
            command = ["sh", "-c", f'exec "$@" {shell}', "sh", *command]
        self.program: Program = bench.start("longwire", *command, cwd=bench.folder)
        wait_until(self._accepts, 15, "longwire accepts connections")

    def _accepts(self) -> bool:
        if self.program.process.poll() is not None:
            raise Failed(f"longwire ended with {self.program.process.returncode}: {self.program.stderr()[-500:]}")
        with contextlib.suppress(OSError), wire.connect(self.port):
            return True
        return False

    def memory(self) -> int:
        """Resident memory, KiB."""
        return status_kib(self.program.pid, "VmRSS")

    def files(self) -> int:
        return len(os.listdir(f"/proc/{self.program.pid}/fd"))

    def stop(self) -> int:
        self.program.signal(signal.SIGTERM)
        return self.program.wait(15)


class Gauge(threading.Thread):
    """The highest memory since it was last asked."""

    def __init__(self, target: Target):
        super().__init__(daemon=True)
        self.target, self.highest = target, 0
        self.start()

    def run(self) -> None:
        with contextlib.suppress(OSError, Failed):
            while True:
                self.highest = max(self.highest, self.target.memory())
                time.sleep(0.01)


class Witness(threading.Thread):
    """A session that echoes through every attack. It answers Pings, as every good client does."""

    def __init__(self, port: int):
        super().__init__(daemon=True)
        self.wire = wire.session(port)
        self.echoes, self.slowest, self.hurt = 0, 0.0, ""
        self.start()

    def run(self) -> None:
        try:
            number, unread = 0, b""
            while True:
                number += 1
                message = b"witness %d" % number
                self.wire.sendall(wire.masked(0x82, message))
                began, echoed = time.monotonic(), False
                while not echoed:
                    part = self.wire.recv(65536)
                    if not part:
                        raise ConnectionError("its session ended")
                    unread += part
                    while (frame := read_frame(unread, 0)) is not None:
                        first, payload, end = frame
                        unread = unread[end:]
                        if first == 0x89:
                            self.wire.sendall(wire.masked(0x8A, payload))
                        elif (first, payload) == (0x82, message):
                            echoed = True
                        else:
                            raise ConnectionError(f"it got {first:#x} {payload[:60]!r}")
                self.echoes += 1
                self.slowest = max(self.slowest, time.monotonic() - began)
                time.sleep(0.02)
        except OSError as error:
            self.hurt = f"{error or type(error).__name__}"


def start_backend(bench: Bench) -> Program:
    return bench.start("backend", sys.executable, "-m", "attacks.backend", cwd=HERE.parent)
