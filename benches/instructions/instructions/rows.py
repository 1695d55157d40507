"""The rows: each is one count."""

import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from compare.configs import HAPROXY, LONGWIRE, NGINX, OUTLIVING
from compare.programs import Broken, Load, Stand

from . import callgrind

CORE = "core"
PROXIES = (LONGWIRE, NGINX, HAPROXY)
# With sessions that outlive an end.
ALL = (*PROXIES, *OUTLIVING)
LIMIT = 120  # seconds that a program may take under callgrind


@dataclass(frozen=True)
class Row:
    """`run` takes about the given number of steps. It returns the profile of the whole program, and the exact number."""

    name: str
    title: str
    unit: str
    programs: tuple[str, ...]
    steps: int  # of the shortest of three runs; the others take twice and three times as many
    run: Callable[["Bench", str, int], tuple[Counter, int]]


@dataclass(frozen=True)
class Bench:
    stand: Stand
    steps: Path  # the program with the steps of the core


def core(name: str) -> Callable:
    def run(bench: Bench, program: str, steps: int) -> tuple[Counter, int]:
        folder = bench.stand.folder
        command = [*callgrind.under(folder), bench.steps, name, str(steps)]
        subprocess.run(command, check=True, capture_output=True, timeout=LIMIT)
        return callgrind.profile(folder), steps

    return run


def proxy(mode: str, per: int, log: bool = False, **load) -> Callable:
    """`per` is how many steps the load counts as one."""

    def run(bench: Bench, program: str, steps: int) -> tuple[Counter, int]:
        tls = bool(load.get("tls"))
        with (
            bench.stand.proxy(program, tls=tls, log=log) as watched,
            bench.stand.load(watched, mode, **load) as clients,
        ):
            clients.tell("go")
            wait_until_done(clients, steps // per)
            counts = clients.pause()
        if counts["errors"]:
            raise Broken(f"{counts['errors']} errors")
        if mode == "handshake" and bool(counts["resumed"]) != bool(load.get("resume")):
            raise Broken(f"{counts['resumed']} of {counts['done']} TLS sessions were resumed")
        return callgrind.profile(bench.stand.folder), per * counts["done"]

    return run


def wait_until_done(clients: Load, count: int) -> None:
    deadline = time.monotonic() + LIMIT
    while clients.count()["done"] < count:
        if time.monotonic() > deadline:
            raise Broken(f"fewer than {count} in {LIMIT} s")
        time.sleep(0.002)


def core_row(name: str, title: str, unit: str) -> Row:
    return Row(name, title, unit, (CORE,), 3200, core(name))


ROWS = [
    core_row("header-64", "the header of a 64 B frame", "frame"),
    core_row("header-65536", "the header of a 64 KiB frame", "frame"),
    core_row("tracker-64", "the tracker on a 64 B frame", "frame"),
    core_row("message-64", "the session on a 64 B message", "message"),
    core_row("message-64-of-16", "the session on a 64 B message, 16 in one read", "message"),
    core_row("message-64-hold", "the same, the session may outlive its backend", "message"),
    core_row("message-64-resume", "the same, the session may outlive its client's connection", "message"),
    core_row("relayed-ping", "the session on a Ping and its Pong, relayed", "Ping"),
    core_row("our-ping", "the session on a Ping of ours and its Pong", "Ping"),
    Row("echo", "64 B, one on its way", "message", ALL, 4000, proxy("echo", 2)),
    Row("echo-100", "64 B, 100 sessions at once", "message", ALL, 8000, proxy("echo", 2, connections=100)),
    Row("handshake", "handshake and close, one at a time", "session", PROXIES, 600, proxy("handshake", 1)),
    Row(
        "handshake-16",
        "handshake and close, 16 at a time",
        "session",
        ALL,
        800,
        proxy("handshake", 1, connections=16),
    ),
    Row(
        "handshake-16-log",
        "the same, each in the log",
        "session",
        PROXIES,
        800,
        proxy("handshake", 1, log=True, connections=16),
    ),
    Row("http", "a plain GET, kept alive", "request", PROXIES, 1000, proxy("http", 1)),
    Row("http-16", "a plain GET, 16 connections", "request", PROXIES, 1600, proxy("http", 1, connections=16)),
    Row("tls-echo", "64 B over TLS, one on its way", "message", PROXIES, 2000, proxy("echo", 2, tls=True)),
    Row("tls-full", "TLS handshake (full), upgrade, close", "session", PROXIES, 40, proxy("handshake", 1, tls=True)),
]
