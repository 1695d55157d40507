"""What `longwire probe` finds out about each middlebox, and about nginx and HAProxy: see `../run`."""

import asyncio
import json
import time
from dataclasses import dataclass

from peers.bench import Bench, free_port
from peers.differential.proxies import start

from . import kernel, proxies
from .clock import Clock
from .ends import Backend
from .relay import Relay
from .rows import Kind, Row

# Limits in seconds, ten times as fast as the world: those of nginx, of Heroku, one that nobody has, and two others.
LIMITS = (6, 5.5, 4.7, 10, 3)
SCALE = 0.1
# Parts of the limit that are asked about as intervals: one that holds and one that does not.
ASKED = (0.3, 1.5)
# A probe that takes no minute: of these kinds and these silences, with a limit in seconds.
SHORT_KINDS = (("fin", "bytes_from_backend"), ("forgotten", "packets"))
SHORT_TIMES = "700ms,1400ms,2200ms,3s"
SHORT_LIMIT = 2.0
# How far from the limit the middle of the answer may be; a short run is among the scenarios of others.
SHARE, SHARE_OF_SHORT = 0.05, 0.1
PATH = "/.well-known/longwire-probe"
TOKEN = "the-token-of-this-test"
# Probes at once. Each opens dozens of sockets and sends megabytes: more of them would measure this machine.
ABREAST = 5
# How long one probe may take: its ten minutes, ten times as fast, and a busy machine.
PATIENCE = 150


@dataclass(frozen=True)
class Subject:
    """Something on a path, and what the probe must say of it."""

    name: str
    kind: Kind
    limit: float
    port: int
    host: str = "127.0.0.1"
    # Whether the other end of the path obeys orders, so that the directions are told apart.
    obeys: bool = True
    # An interval of pings to judge: a part of the limit.
    asked: float = 0.3

    @property
    def dies(self) -> str:
        """As the client's end sees it."""
        return self.kind.hears("client") or {"one_sided": "silent"}.get(self.kind.dies, self.kind.dies)

    @property
    def kept_by(self) -> dict:
        by_pings = self.kind.is_held_by_pings
        # An end that obeys answers no Ping then: what comes is from one direction only.
        is_deaf = self.obeys and self.kind.counts == "bytes_from_backend"
        return {
            "client_ping": by_pings and not is_deaf,
            "server_ping": by_pings if self.obeys else None,
            "tcp_keepalive": self.kind.counts == "packets",
        }


@dataclass
class Answer:
    subject: Subject
    seconds: float
    code: int
    said: dict
    faults: list[str]


class Probing:
    def __init__(self, bench: Bench, kinds: tuple[Kind, ...], is_short: bool):
        self.bench = bench
        self.kinds = tuple(kind for kind in kinds if not is_short or (kind.dies, kind.counts) in SHORT_KINDS)
        self.limits = (SHORT_LIMIT,) if is_short else LIMITS
        self.is_short = is_short
        self.more = ["--idle-times", SHORT_TIMES] if is_short else []
        self.clock = Clock()
        self.abreast = asyncio.Semaphore(ABREAST)
        self.relays: list[Relay] = []
        self.token = bench.folder / "token"
        self.token.write_text(TOKEN + "\n")

    async def run(self) -> list[Answer]:
        ticking = asyncio.ensure_future(self.clock.run(self.look))
        try:
            subjects = await self.build()
            print(f"== {len(subjects)} probes, {min(len(subjects), ABREAST)} at once")
            return await asyncio.gather(*(self.probe(subject) for subject in subjects))
        finally:
            ticking.cancel()

    def look(self) -> None:
        for relay in self.relays:
            relay.look()

    async def build(self) -> list[Subject]:
        rows = [
            Row(number, kind, "front", 0, float(round(limit)) if kind.is_kernel else limit, 0, ())
            for number, kind in enumerate(self.kinds)
            for limit in [self.limits[number % len(self.limits)]]
        ]
        kernel_rows = [row for row in rows if row.kind.is_kernel]
        if kernel_rows:
            kernel.install(kernel_rows)
        subjects = []
        for row in rows:
            end = await asyncio.to_thread(self.obeying_end)
            if row.kind.is_kernel:
                host, port = kernel.address(row), end
            else:
                relay = Relay(row.kind, row.limit, ("127.0.0.1", end), self.clock)
                self.relays.append(relay)
                host, port = "127.0.0.1", await relay.listen()
            asked = ASKED[row.number % 2]
            subjects.append(Subject(str(row.kind), row.kind, row.limit, port, host, asked=asked))
        echo = await Backend(self.clock).listen()
        nginx, haproxy = self.limits[0], self.limits[-1]
        ends = [("", await asyncio.to_thread(self.obeying_end), True, ASKED[0]), (", any echo", echo, False, ASKED[1])]
        for far, target, obeys, asked in ends[: 1 if self.is_short else 2]:
            port = await asyncio.to_thread(self.nginx, target, nginx)
            what = f"nginx, proxy_read_timeout{far}"
            # It promises to count what comes from the backend. What goes to it counts too, by what it does.
            kind = Kind("fin", "bytes")
            subjects.append(Subject(what, kind, nginx, port, obeys=obeys, asked=asked))
            port = await asyncio.to_thread(self.haproxy, target, haproxy)
            what = f"HAProxy, timeout tunnel{far}"
            subjects.append(Subject(what, Kind("fin", "bytes"), haproxy, port, obeys=obeys, asked=asked))
        return subjects

    def obeying_end(self) -> int:
        """Its port. Each probe has its own, for it takes 128 sockets at most."""
        port = free_port()
        file = self.bench.folder / f"end-{port}.yaml"
        file.write_text(
            f"workers: 1\nlisteners: [ {{ bind: 0.0.0.0:{port} }} ]\n"
            "upstreams: { none: { backends: [ { address: 127.0.0.1:1 } ] } }\nroutes: [ { upstream: none } ]\n"
            f"probe: {{ path: {PATH}, token_file: {self.token} }}\ntimeouts: {{ drain: 1s }}\n"
        )
        start(self.bench, "the other end", port, self.bench.binary, "run", "-c", file)
        return port

    def nginx(self, target: int, limit: float) -> int:
        port = free_port()
        file = self.bench.folder / f"nginx-{port}.conf"
        location = f"location / {{ proxy_pass http://127.0.0.1:{target}; }}"
        file.write_text(proxies.nginx_conf(self.bench, port, [location], f"{int(limit * 1000)}ms"))
        start(self.bench, "nginx", port, "nginx", "-c", file, "-e", "stderr")
        return port

    def haproxy(self, target: int, limit: float) -> int:
        port = free_port()
        file = self.bench.folder / f"haproxy-{port}.cfg"
        backend = f"backend only\n  server only 127.0.0.1:{target}"
        file.write_text(proxies.haproxy_cfg(port, ["  default_backend only"], [backend], f"{int(limit * 1000)}ms"))
        start(self.bench, "haproxy", port, "haproxy", "-q", "-db", "-f", file)
        return port

    async def probe(self, subject: Subject) -> Answer:
        async with self.abreast:
            return await self.probe_now(subject)

    async def probe_now(self, subject: Subject) -> Answer:
        began = time.monotonic()
        url = f"ws://{subject.host}:{subject.port}{PATH}"
        more = ["--interval", f"{int(subject.asked * subject.limit * 1000)}ms", *self.more]
        if subject.obeys:
            more += ["--token-file", str(self.token)]
        process = await asyncio.create_subprocess_exec(
            *(str(self.bench.binary), "probe", url, "--json", "--scale", str(SCALE), *more),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, errors = await asyncio.wait_for(process.communicate(), PATIENCE)
        except (TimeoutError, asyncio.TimeoutError):
            process.kill()
            out, errors = await process.communicate()
        try:
            said = json.loads(out)
        except ValueError:
            said = {}
        answer = Answer(subject, time.monotonic() - began, process.returncode, said, [])
        if said:
            judge(answer, SHARE_OF_SHORT if self.is_short else SHARE)
        else:
            answer.faults.append(f"no answer: {errors.decode(errors='replace').strip()[-300:]}")
        return answer


def judge(answer: Answer, share: float) -> None:
    subject, faults = answer.subject, answer.faults
    idle = answer.said.get("idle") or {}
    between = idle.get("between")
    if not between or abs(sum(between) / 2 - subject.limit) > share * subject.limit:
        faults.append(f"between {between}, not {subject.limit} s")
    if idle.get("dies") != subject.dies:
        faults.append(f"dies by {idle.get('dies')}, not {subject.dies}")
    if subject.dies == "close" and idle.get("close_code") != 1001:
        faults.append(f"Close {idle.get('close_code')}, not 1001")
    if idle.get("kept_by") != subject.kept_by:
        faults.append(f"kept by {idle.get('kept_by')}, not {subject.kept_by}")
    verdict = ("holds", 0) if subject.asked < 1 and subject.kind.is_held_by_pings else ("fails", 1)
    if (answer.said.get("verdict"), answer.code) != verdict:
        faults.append(f"verdict {answer.said.get('verdict')}, exit code {answer.code}, not {verdict}")


def shown(answers: list[Answer]) -> list[tuple[str, ...]]:
    """The lines of a table."""
    lines = [("on the path", "limit", "found between", "dies", "kept by", "tries", "ping_interval", "took")]
    for answer in answers:
        idle = answer.said.get("idle") or {}
        kept = [name for name, holds in (idle.get("kept_by") or {}).items() if holds]
        between = [f"{edge:.2f}" for edge in idle.get("between") or ()]
        lines.append(
            (
                answer.subject.name,
                f"{answer.subject.limit:g} s",
                " and ".join(between) or "-",
                str(idle.get("dies")),
                ", ".join(kept) or "nothing",
                f"{idle.get('agree')} of {idle.get('tries')}",
                str(answer.said.get("ping_interval")),
                f"{answer.seconds:.0f} s",
            )
        )
        if answer.faults:
            lines.append(("  FAILED: " + "; ".join(answer.faults),))
    return lines
