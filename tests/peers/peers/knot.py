"""Knot DNS, an authoritative server, with a zone whose records change while it runs."""

import contextlib
import re
import shutil
import signal
import socket
import subprocess
from dataclasses import dataclass

from .bench import Bench, Failed, Program, free_port, wait_until

ZONE = "peers.test"
TTL = 1


@dataclass(frozen=True)
class Answer:
    """What kdig reads. `records`: the data of each, in the order of the answer."""

    status: str
    flags: list[str]
    records: list[str]


class Knot:
    """Serves `ZONE`. By UDP it sends 1220 bytes at most (its least), and each answer in another order."""

    def __init__(self, bench: Bench):
        for tool, package in {
            "knotd": "knot",
            "knotc": "knot",
            "kdig": "knot-dnsutils",
            "knsupdate": "knot-dnsutils",
        }.items():
            if not shutil.which(tool):
                raise Failed(f"MISSING: {tool} (apt-get install {package})")
        self.bench, self.port = bench, free_port()
        self.folder = bench.folder / f"knot-{self.port}"
        self.folder.mkdir()
        self.file = self.folder / "knot.conf"
        self.file.write_text(config(self))
        (self.folder / "zone").write_text(
            f"$ORIGIN {ZONE}.\n$TTL {TTL}\n@ SOA ns hostmaster 1 3600 600 86400 {TTL}\n@ NS ns\nns A 127.0.0.1\n"
        )
        self.program: Program
        self.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """With the records that it had when it was killed, if it was."""
        self.program = self.bench.start("knotd", "knotd", "-c", self.file)
        wait_until(self._answers, 15, "knotd answers")

    def _answers(self) -> bool:
        if self.program.process.poll() is not None:
            raise Failed(f"knotd ended with {self.program.process.returncode} instead of starting")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return self.ask("@", "SOA").status == "NOERROR"
        return False

    def kill(self) -> None:
        self.program.signal(signal.SIGKILL)
        self.program.wait(10)

    def put(self, records: dict[str, list[str]]) -> None:
        """Names get these records in the place of all that they had, in one step."""
        lines = [f"server 127.0.0.1 {self.port}", f"zone {ZONE}."]
        for name, data in records.items():
            lines += [f"update delete {whole(name)}", *(f"update add {whole(name)} {TTL} {one}" for one in data)]
        self._run("knsupdate", "-v", given="\n".join([*lines, "send\n"]))

    def fail(self) -> None:
        """SERVFAIL for the whole zone, as if it had expired, until `mend`."""
        self._control("-f", "zone-purge", f"{ZONE}.", "+expire")

    def mend(self) -> None:
        # An expired zone takes no order of its own.
        self._control("reload")
        wait_until(self._answers, 10, "knotd serves its zone again")

    def ask(self, name: str, kind: str, *options: str) -> Answer:
        server = "@127.0.0.1", "-p", self.port
        text = self._run("kdig", *server, "+retry=0", "+timeout=5", *options, whole(name), kind)
        status = re.search(r"status: (\w+)", text)
        flags = re.search(r"^;; Flags: ([a-z ]+);", text, re.MULTILINE)
        if not (status and flags):
            raise Failed(f"kdig {name} {kind}: {text[-300:]}")
        answers = text.partition(";; ANSWER SECTION:\n")[2].partition("\n\n")[0]
        fields = (line.split(None, 4) for line in answers.splitlines())
        return Answer(status[1], flags[1].split(), [field[4] for field in fields if field[3] == kind])

    def _control(self, *order: str) -> None:
        self._run("knotc", "-s", self.folder / "knot.sock", *order)

    def _run(self, *command, given: str | None = None) -> str:
        words = [str(word) for word in command]
        done = subprocess.run(words, input=given, capture_output=True, text=True, timeout=20, check=False)
        if done.returncode:
            raise Failed(f"{words[0]} ended with {done.returncode}: {(done.stderr + done.stdout)[-300:]}")
        return done.stdout


def whole(name: str) -> str:
    return f"{ZONE}." if name == "@" else f"{name}.{ZONE}."


def config(knot: Knot) -> str:
    return f"""\
server:
    rundir: {knot.folder}
    listen: 127.0.0.1@{knot.port}
    udp-max-payload: 1220
    answer-rotation: on
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: {knot.folder}
control:
    listen: {knot.folder}/knot.sock
log:
  - target: stderr
    any: warning
acl:
  - id: local
    address: 127.0.0.1
    action: update
zone:
  - domain: {ZONE}
    file: {knot.folder}/zone
    acl: local
    zonefile-sync: 0
    zonefile-load: whole
    journal-content: none
"""
