"""What a scenario works with: it starts programs, checks facts, and ends everything it started."""

import contextlib
import ctypes
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from typing_extensions import Self

ACTORS = Path(__file__).resolve().parents[1] / "actors"
LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
# Children of this process that belong to no scenario.
NOT_OF_SCENARIOS: set[int] = set()


class Failed(Exception):
    """A check did not hold, or something took too long."""


class Bench:
    """One scenario's programs, checks and figures. Leaving it kills what is left."""

    def __init__(self, root: Path, binary: Path, direct: bool, minutes: float):
        self.root = root
        self.binary = binary
        self.direct = direct
        self.minutes = minutes
        self.checks = 0
        self.programs: list[Program] = []
        self.stack = contextlib.ExitStack()
        self.folder = Path(
            self.stack.enter_context(tempfile.TemporaryDirectory(prefix="longwire-peers-", ignore_cleanup_errors=True))
        )
        self.kept = root / "target/peers"
        # What a killed program leaves behind (Chromium, in a group of its own) becomes our child; `__exit__` ends it.
        LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        for program in self.programs:
            program.kill()
        self.programs.clear()
        kill_orphans()
        self.stack.close()

    def say(self, text: str) -> None:
        print(f"    {text}")

    def check(self, holds: bool, what: str) -> None:
        """Counts a fact that holds; ends the scenario at one that does not."""
        if not holds:
            raise Failed(what)
        self.checks += 1
        print(f"    ok  {what}")

    def equal(self, found, wanted, what: str) -> None:
        if found != wanted:
            raise Failed(f"{what}: {found!r}, wanted {wanted!r}")
        self.checks += 1
        print(f"    ok  {what}: {found!r}")

    def start(self, name: str, *command, **options) -> "Program":
        program = Program(name, [str(part) for part in command], self.folder, **options)
        self.programs.append(program)
        return program

    def python(self, script: str, *args) -> "Program":
        return self.start(script, sys.executable, ACTORS / script, *args)

    def node(self, script: str, *args) -> "Program":
        return self.start(script, "node", ACTORS / script, *args)

    def print_logs(self, scenario: str) -> None:
        """The end of what each program said; the whole is kept under target/peers/failed/."""
        folder = self.kept / "failed" / scenario
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for number, program in enumerate(self.programs):
            program.print_tail()
            program.keep(folder / f"{number}-{program.name.replace(' ', '-')}.log")
        self.say(f"the whole is in {folder.relative_to(self.root)}/")


class Program:
    """A started program. Its standard output is read line by line; actors write one JSON object a line."""

    def __init__(self, name: str, command: list[str], folder: Path, cwd: Path | None = None, **options):
        self.name = name
        self.lines: list[str] = []
        self.news = threading.Condition()
        self.ended = False
        errors, self.errors = tempfile.mkstemp(dir=folder, suffix=".stderr")
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            errors="replace",
            cwd=cwd,
            start_new_session=True,
            **options,
            # Dies with the runner even when the runner gets no chance to clean up.
            preexec_fn=lambda: LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL),  # noqa: PLW1509 takes no lock
        )
        os.close(errors)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    def _read(self) -> None:
        for line in self.process.stdout:
            with self.news:
                self.lines.append(line.rstrip("\n"))
                self.news.notify_all()
        with self.news:
            self.ended = True
            self.news.notify_all()

    def wait_for(self, fits, seconds: float, what: str):
        """The first line for which `fits` returns something; the lines before it count too."""
        deadline = time.monotonic() + seconds
        seen = 0
        while True:
            with self.news:
                fresh = self.lines[seen:]
                if not fresh:
                    if self.ended:
                        raise Failed(f"{self.name} ended ({self.process.poll()}) before {what}")
                    if time.monotonic() >= deadline:
                        raise Failed(f"{self.name}: no {what} within {seconds:.0f} s")
                    # Short waits: a condition's wait is not interrupted by the runner's alarm.
                    self.news.wait(timeout=0.2)
                    continue
            for line in fresh:
                found = fits(line)
                if found is not None:
                    return found
            seen += len(fresh)

    def event(self, name: str, seconds: float = 20) -> dict:
        """The first JSON line with this `event`."""
        return self.wait_for(lambda line: (e := parsed(line)) and e.get("event") == name and e or None, seconds, name)

    def events(self, name: str) -> list[dict]:
        """Every JSON line with this `event` so far."""
        with self.news:
            lines = list(self.lines)
        return [e for line in lines if (e := parsed(line)) and e.get("event") == name]

    def port(self) -> int:
        return self.event("listening")["port"]

    def wait(self, seconds: float) -> int:
        """The exit code; killed by signal N is -N."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None:
            if time.monotonic() >= deadline:
                raise Failed(f"{self.name} still runs after {seconds:.0f} s")
            time.sleep(0.02)
        self.reader.join(5)
        return self.process.returncode

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()
        self.reader.join(5)

    def stderr(self) -> str:
        return Path(self.errors).read_text(errors="replace")

    def keep(self, file: Path) -> None:
        with self.news:
            file.write_text("\n".join([*self.lines, "", "standard error:", self.stderr()]))

    def print_tail(self, lines: int = 15) -> None:
        with self.news:
            tail = self.lines[-lines:]
        for title, text in (("stdout", tail), ("stderr", self.stderr().splitlines()[-lines:])):
            for line in text:
                print(f"      | {self.name} {title}: {line[:400]}")


def parsed(line: str) -> dict | None:
    """The JSON object on this line, if it is one."""
    if not line.startswith("{"):
        return None
    try:
        return json.loads(line)
    except ValueError:
        return None


def run_checks(bench: Bench, client: Program, seconds: float) -> None:
    """Waits for an actor that makes checks of its own (`{"event": "check", "ok", "what"}`) and counts them."""
    code = client.wait(seconds)
    for found in client.events("check"):
        bench.check(found["ok"], f"{client.name}: {found['what']}")
    bench.equal(code, 0, f"{client.name}: exit code")
    bench.check(bool(client.events("done")), f"{client.name}: went through all its steps")


def kill_orphans() -> None:
    """Kills this process's remaining children, and theirs as they become ours."""
    while (
        children := {
            int(stat.parent.name) for stat in Path("/proc").glob("[0-9]*/stat") if parent_of(stat) == os.getpid()
        }
        - NOT_OF_SCENARIOS
    ):
        for child in children:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)


def parent_of(stat: Path) -> int:
    """The parent in a `/proc/PID/stat`; the name before it, in brackets, may hold anything. 0 for one just gone."""
    with contextlib.suppress(OSError):
        return int(stat.read_text().rpartition(")")[2].split()[1])
    return 0


def free_port() -> int:
    """A free port below the ephemeral range, so that no outgoing connection takes it before we do."""
    for _ in range(200):
        port = random.randrange(15_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise Failed("no free port on 127.0.0.1")


def wait_until(holds, seconds: float, what: str):
    """What `holds` returns once that is true."""
    deadline = time.monotonic() + seconds
    while True:
        found = holds()
        if found:
            return found
        if time.monotonic() >= deadline:
            raise Failed(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.05)
