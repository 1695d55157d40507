"""Clients in processes of Node, and what a run needs beside them: shared by benches/reconnect/run and benches/fleet/real."""

import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import threading
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent


class Crowd:
    """One process of clients. With `first` they have addresses of their own, from that number on."""

    def __init__(self, url: str, count: int, way: str, first: int | None = None):
        own = [] if first is None else [first]
        command = ["node", "--max-old-space-size=512", HERE / "clients.mjs", url, count, way, *own]
        self.process = start(command, nice=5, stdout=subprocess.PIPE, text=True)
        self.said: dict[str, dict] = {}
        self.news = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            event = json.loads(line)
            with self.news:
                self.said[event["event"]] = event
                self.news.notify_all()

    def wait_for(self, event: str, seconds: float) -> dict | None:
        """None where it did not come in time."""
        with self.news:
            self.news.wait_for(lambda: event in self.said or "broken" in self.said, seconds)
            return self.said.get(event)

    def summary(self) -> dict:
        self.process.send_signal(signal.SIGTERM)
        if (found := self.wait_for("summary", 20)) is None:
            raise SystemExit(f"a process of clients says nothing: {self.said}")
        return found


def start(command, nice: int = 0, **options) -> subprocess.Popen:
    options = {"stdout": subprocess.DEVNULL, **options}
    return subprocess.Popen([str(part) for part in command], preexec_fn=lambda: os.nice(nice), **options)  # noqa: PLW1509


def free_ports(count: int) -> list[int]:
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(15_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def ask(port: int, path: str) -> dict:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return json.load(answer)
