"""longwire under a scenario: its file, its process, its records."""

import contextlib
import os
import signal
import socket
from pathlib import Path

from .bench import Bench, Failed, Program, free_port, parsed, wait_until

DRAIN = "5s"


class Proxy:
    """A running longwire with one listener, one upstream and (unless `routes` says more) one route.

    A backend is a port of 127.0.0.1, or an entry of the file as it stands there."""

    def __init__(
        self,
        bench: Bench,
        backends: list[int | str],
        *,
        tls: bool = False,
        client_auth: str = "",
        upstream: str = "balance: round_robin",
        keepalive: str = "ping_interval: 25s",
        routes: str = "- { upstream: backends }",
        more: str = "",
        listener: str = "",
        listeners: str = "",
        binary: Path | None = None,
    ):
        self.bench = bench
        self.tls = tls
        self.backends = backends
        if bench.direct:
            self.port, self.tls = backends[0], False
            return
        self.port = free_port()
        self.file = bench.folder / f"proxy-{self.port}.yaml"
        listener = f"bind: 127.0.0.1:{self.port}\n{listener}".strip()
        self.file.write_text(
            config(listener, backends, bench, tls, client_auth, upstream, keepalive, routes, more, listeners)
        )
        self.program: Program = bench.start(
            "longwire", binary or bench.binary, "run", "-c", self.file, cwd=bench.folder
        )
        wait_until(self._accepts, 15, "longwire accepts connections")

    def url(self, path: str = "/") -> str:
        return f"{'wss' if self.tls else 'ws'}://127.0.0.1:{self.port}{path}"

    def http(self, path: str = "/") -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}{path}"

    def _accepts(self) -> bool:
        if self.program.process.poll() is not None:
            raise Failed(f"longwire ended with {self.program.process.returncode} instead of starting")
        return accepts(self.port)

    def records(self, kind: str = "session") -> list[dict]:
        """The records written so far: one per ended session (or plain request)."""
        with self.program.news:
            lines = list(self.program.lines)
        return [record for line in lines if (record := parsed(line)) and record.get("kind") == kind]

    def wait_records(self, count: int, seconds: float = 10, kind: str = "session") -> list[dict]:
        wait_until(lambda: len(self.records(kind)) >= count, seconds, f"{count} records of kind {kind}")
        return self.records(kind)

    def stop(self, seconds: float = 15) -> int:
        """SIGTERM, then the exit code."""
        self.program.signal(signal.SIGTERM)
        return self.program.wait(seconds)

    def memory(self) -> int:
        """Bytes of user memory (RssAnon) of the process."""
        return status_kib(self.program.pid, "RssAnon") * 1024

    def threads(self) -> int:
        return status_kib(self.program.pid, "Threads")


def accepts(port: int) -> bool:
    """Whether anybody accepts connections there."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def half_a_handshake(proxy: Proxy) -> None:
    """Has a request refused: nothing comes of it but a record."""
    fields = f"Host: 127.0.0.1:{proxy.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    request = f"GET /rooms/half HTTP/1.1\r\n{fields}\r\n"
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as wire:
        wire.sendall(request.encode())
        while wire.recv(1024):
            pass


def config(listener, backends, bench, tls, client_auth, upstream, keepalive, routes, more, listeners="") -> str:
    if tls:
        asked = f", client_auth: {client_auth}" if client_auth else ""
        pair = f"cert: {bench.folder}/dev.crt, key: {bench.folder}/dev.key, self_signed: true"
        listener += f"\ntls: {{ {pair}{asked} }}"
    listener = listener.replace("\n", "\n    ")
    lines = [
        "listeners:",
        f"  - {listener}",
        *listeners.splitlines(),
        "upstreams:",
        "  backends:",
        *(f"    {line}" for line in upstream.splitlines()),
        "    backends:",
        *(f"      - {entry(backend)}" for backend in backends),
        "routes:",
        *(f"  {line}" for line in routes.splitlines()),
        "keepalive:",
        *(f"  {line}" for line in keepalive.splitlines()),
        "log:",
        "  format: json",
        *(() if "timeouts:" in more else ("timeouts:", f"  drain: {DRAIN}")),
        more,
    ]
    return "\n".join(lines) + "\n"


def activated(bench: Bench, file: Path, listening: socket.socket, start: str) -> Program:
    """A longwire with a socket of the service manager."""
    # As systemd passes it, but for the number, which a child of Python cannot choose.
    passed = {"LISTEN_FDS": "1", "LISTEN_FDS_FIRST_FD": str(listening.fileno())}
    return bench.start(
        f"activated {start}",
        bench.binary,
        "run",
        "-c",
        file,
        cwd=bench.folder,
        pass_fds=[listening.fileno()],
        env={**os.environ, **passed},
    )


def entry(backend: int | str) -> str:
    return backend if isinstance(backend, str) else f'{{ address: "127.0.0.1:{backend}" }}'


def status_kib(pid: int, field: str) -> int:
    """A number of /proc/PID/status (KiB where it has a unit)."""
    with open(f"/proc/{pid}/status") as status:
        for line in status:
            if line.startswith(field + ":"):
                return int(line.split()[1])
    raise Failed(f"/proc/{pid}/status has no {field}")
