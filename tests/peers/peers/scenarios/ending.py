"""How longwire ends: SIGTERM with sessions open, a second one, and the exit codes of the commands."""

import re
import signal
import subprocess

from ..bench import Bench, Program, wait_until
from ..proxy import Proxy, config, free_port

SESSIONS = 50


def run(bench: Bench) -> None:
    backend = bench.node("ws_server.mjs").port()
    drain(bench, backend)
    second_signal(bench, backend)
    commands(bench, backend)


def drain(bench: Bench, backend: int) -> None:
    for number, name in ((signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "SIGINT")):
        proxy = Proxy(bench, [backend])
        client = bench.python("sessions.py", proxy.url(), SESSIONS)
        client.event("opened")
        proxy.program.signal(number)
        bench.equal(proxy.program.wait(15), 0, f"exit code after {name} with {SESSIONS} sessions open")
        client.event("done")
        ends = [event["code"] for event in client.events("lost")]
        bench.equal(
            (set(ends), len(ends)), ({1012}, SESSIONS), f"{name}: the codes that the clients read, and how many"
        )
        records = proxy.records()
        bench.equal(len(records), SESSIONS, "records")


def second_signal(bench: Bench, backend: int) -> None:
    proxy = Proxy(bench, [backend], more="timeouts: { drain: 60s }")
    client = bench.python("sessions.py", proxy.url(), SESSIONS)
    client.event("opened")
    proxy.program.signal(signal.SIGTERM)
    wait_until(lambda: client.events("lost"), 30, "the drain has begun")
    proxy.program.signal(signal.SIGTERM)
    bench.equal(proxy.program.wait(3), 1, "exit code after a second SIGTERM during the drain")


def commands(bench: Bench, backend: int) -> None:
    good = bench.folder / "good.yaml"
    good.write_text(
        config(
            f"bind: 127.0.0.1:{free_port()}",
            [backend],
            bench,
            False,
            "",
            "balance: ip_hash",
            "ping_interval: 25s",
            "- { upstream: backends }",
            "",
        )
    )
    done = longwire(bench, "check", "-c", good)
    bench.equal(done.returncode, 0, "check of a good file: exit code")

    bad = bench.folder / "bad.yaml"
    bad.write_text(
        good.read_text()
        .replace("ping_interval: 25s", "ping_intervall: 25")
        .replace("balance: ip_hash", "balance: ip_hsah")
    )
    done = longwire(bench, "check", "-c", bad)
    bench.equal(done.returncode, 1, "check of a file with two mistakes: exit code")
    said = done.stderr + done.stdout
    for word in ("ping_intervall", "ip_hsah"):
        line = next(n for n, text in enumerate(bad.read_text().splitlines(), 1) if word in text)
        bench.check(re.search(rf"bad\.yaml:{line}:\d+", said), f"{word} is named with file, line and column")
    for word in ("ping_interval", "ip_hash"):
        bench.check(re.search(rf"\b{word}\b", said), f"{word} is suggested")
    bench.equal(longwire(bench, "run", "-c", bad).returncode, 1, "run with that file: exit code")
    bench.equal(
        longwire(bench, "check", "-c", bench.folder / "absent.yaml").returncode, 1, "check of no file: exit code"
    )
    bench.equal(longwire(bench, "chekc").returncode, 2, "a word that is no command: exit code")
    bench.equal(longwire(bench, "run", "--listen").returncode, 2, "an option without its value: exit code")
    bench.equal(longwire(bench, "--help").returncode, 0, "--help: exit code")

    port = free_port()
    program: Program = bench.start(
        "run --to",
        bench.binary,
        "run",
        "--listen",
        f"127.0.0.1:{port}",
        "--to",
        f"127.0.0.1:{backend}",
        cwd=bench.folder,
    )
    wait_until(lambda: opens(bench, f"ws://127.0.0.1:{port}/"), 15, "a session by run --listen --to")
    bench.check(True, "run --listen --to needs no file")
    program.signal(signal.SIGTERM)
    bench.equal(program.wait(10), 0, "its exit code")


def opens(bench: Bench, url: str) -> bool:
    client = bench.python("sessions.py", url, 1)
    wait_until(
        lambda: client.events("opened") or client.process.poll() is not None, 10, "a session opens or is refused"
    )
    opened = bool(client.events("opened"))
    client.kill()
    return opened


def longwire(bench: Bench, *words) -> subprocess.CompletedProcess:
    return subprocess.run(
        [bench.binary, *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=20,
        cwd=bench.folder,
        stdin=subprocess.DEVNULL,
    )
