"""`keepalive.learn` on paths that cut below the interval of the file, in real seconds: see `../run`.

Clients of many networks come all the time. Most sessions that begin before something is learned are lost, and none that begins
afterwards."""

import asyncio
import json
import urllib.request
from dataclasses import dataclass, field

from peers.bench import Bench, Failed, free_port
from peers.differential.proxies import start

from .clock import Clock
from .ends import PATIENCE, Backend, Client
from .relay import Relay
from .rows import Kind

INTERVAL = 25
PONG_TIMEOUT = 5
# New sessions come so many seconds one after the other, from so many networks by turns.
PACE = 0.5
NETWORKS = 16
# Sessions of the path in front say something for so many different times before they are silent.
BUSY = 13
# When the last thing must be learned, and when the run ends.
LEARNED_BY, ENDS = 120, 165
# How many limits a session that begins afterwards must live at least.
FEWEST_LIMITS = 4

# Prints what the page has become once its scripts have run for four seconds.
BROWSER = ("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=4000", "--dump-dom")
BROWSER_PATIENCE = 60


@dataclass(frozen=True)
class Path:
    """A path with a limit, and what must be learned of it."""

    name: str
    kind: Kind
    place: str
    limit: float
    # Whether sessions are busy at first, so that their ages differ.
    is_busy: bool
    # The intervals in milliseconds that are learned, one after the other.
    learned: tuple[int, ...]

    @property
    def side(self) -> str:
        return "client" if self.place == "front" else "backend"


PATHS = (
    # Two fifths of 12 s, and no less than 5 s.
    Path("fin", Kind("fin", "bytes"), "front", 12, True, (5000,)),
    # Only "below the interval" is known, so it is halved, and again for the sessions that began with the half.
    Path("silent", Kind("silent", "bytes"), "behind", 9, False, (12500, 6250)),
)


@dataclass
class Life:
    """One session."""

    path: str
    began: float
    # When it was lost, and how; 0: it was not.
    lost_at: float = 0.0
    heard: str = ""
    echoed: bool = False


@dataclass
class Course:
    """What came of a path."""

    path: Path
    lives: list[Life] = field(default_factory=list)
    # The intervals that `/api/status` said, with the moments at which they were seen first.
    learned: dict[int, float] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    @property
    def learned_at(self) -> float | None:
        return self.learned.get(self.path.learned[-1])


class Learning:
    def __init__(self, bench: Bench):
        self.bench = bench
        self.clock = Clock()
        self.relays: list[Relay] = []
        self.port, self.admin = free_port(), free_port()
        self.status_text, self.page_text = "", ""

    async def run(self) -> list[Course]:
        ticking = asyncio.ensure_future(self.clock.run(self.look))
        try:
            courses, addresses = await self.build()
            print(f"== {len(courses)} paths, a new session each {PACE} s on each, for {ENDS} s")
            await asyncio.gather(
                self.watch(courses), *(self.fill(course, addresses[course.path.name]) for course in courses)
            )
            status = str(self.bench.binary), "status", "--admin", f"127.0.0.1:{self.admin}"
            self.status_text = await said_by(*status)
            self.page_text = await said_by(*BROWSER, f"--user-data-dir={self.bench.folder}", self.page)
        finally:
            ticking.cancel()
        for course in courses:
            self.judge(course)
        return courses

    @property
    def page(self) -> str:
        return f"http://127.0.0.1:{self.admin}/"

    def look(self) -> None:
        for relay in self.relays:
            relay.look()

    async def build(self) -> tuple[list[Course], dict[str, tuple[str, int]]]:
        backend = await Backend(self.clock).listen()
        behind, front = {}, {}
        for path in PATHS:
            target = ("127.0.0.1", backend if path.place == "behind" else self.port)
            relay = Relay(path.kind, path.limit, target, self.clock)
            self.relays.append(relay)
            address = "127.0.0.1", await relay.listen()
            behind[path.name] = address[1] if path.place == "behind" else backend
            front[path.name] = address if path.place == "front" else ("127.0.0.1", self.port)
        file = self.bench.folder / "learning.yaml"
        file.write_text(longwire_yaml(self.port, self.admin, behind))
        self.program = await asyncio.to_thread(
            start, self.bench, "longwire", self.port, self.bench.binary, "run", "-c", file
        )
        return [Course(path) for path in PATHS], front

    async def fill(self, course: Course, address: tuple[str, int]) -> None:
        """Begins sessions until half of the time that a session must live is left."""
        number, lives = 0, []
        last = ENDS - FEWEST_LIMITS * course.path.limit
        while self.clock.now < last:
            lives.append(asyncio.ensure_future(self.live(course, address, number)))
            number += 1
            await self.clock.until(number * PACE)
        await asyncio.gather(*lives)

    async def live(self, course: Course, address: tuple[str, int], number: int) -> None:
        """A session that is silent until the end of the run, or until it is lost."""
        life = Life(f"/{course.path.name}/{number}", self.clock.now)
        try:
            from_network = f"X-Forwarded-For: 198.18.{number % NETWORKS}.{number % 200 + 1}\r\n"
            client = await Client.open(self.clock, address, life.path, from_network)
        except (OSError, TimeoutError, asyncio.TimeoutError) as error:
            course.faults.append(f"{life.path}: {error or type(error).__name__}")
            return
        course.lives.append(life)
        busy = number * 7 % BUSY if course.path.is_busy else 0
        for _ in range(busy):
            await self.clock.until(self.clock.now + 1, client.ended)
            await client.is_echoed(PATIENCE)
        if not await self.clock.until(ENDS, client.ended):
            life.echoed = await client.is_echoed(PATIENCE)
        life.heard = client.heard
        life.lost_at = 0.0 if life.echoed else client.ended_at or self.clock.now
        if life.echoed:
            await client.close()

    async def watch(self, courses: list[Course]) -> None:
        """Notes what `/api/status` says."""
        while self.clock.now < ENDS:
            for learned in (await asyncio.to_thread(self.status))["learned"]:
                for course in courses:
                    if (learned["route"], learned["side"]) == (f"*/{course.path.name}/", course.path.side):
                        course.learned.setdefault(learned["ping_interval_ms"], self.clock.now)
            await self.clock.until(self.clock.now + 0.5)

    def status(self) -> dict:
        with urllib.request.urlopen(f"{self.page}api/status", timeout=10) as answer:
            return json.load(answer)

    def judge(self, course: Course) -> None:
        path, faults = course.path, course.faults
        if tuple(course.learned) != path.learned:
            faults.append(f"learned {list(course.learned)} ms, not {list(path.learned)}")
        at = course.learned_at
        if at is None or at > LEARNED_BY:
            faults.append(f"learned at {at} s, not before {LEARNED_BY} s")
            return
        before, after = split(course.lives, at)
        if not any(life.lost_at for life in before):
            faults.append("no session was lost before")
        if lost := [life for life in after if life.lost_at]:
            faults.append(f"{len(lost)} of {len(after)} sessions that began afterwards were lost: {lost[0]}")
        if len(after) < NETWORKS:
            faults.append(f"only {len(after)} sessions began afterwards")
        shown = f"ping after {path.learned[-1] / 1000:g}s"
        if not any(f"*/{path.name}/" in line and shown in line for line in self.status_text.splitlines()):
            faults.append(f"`longwire status` does not say {shown}: {self.status_text}")
        shown = (
            f"*/{path.name}/: the {path.side} of a new session is pinged after {path.learned[-1] / 1000:g} s of silence"
        )
        if shown not in self.page_text:
            faults.append(f"the page does not say: {shown}")
        told = [line for line in self.program.stderr().splitlines() if "new sessions are pinged more often" in line]
        if sum(f"*/{path.name}/" in line and f'"{path.side}"' in line for line in told) != len(path.learned):
            faults.append(f"the log tells {told}")


async def said_by(*command: str) -> str:
    """What a program prints that ends by itself."""
    pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.DEVNULL}
    process = await asyncio.create_subprocess_exec(*command, **pipes)
    try:
        said, _ = await asyncio.wait_for(process.communicate(), BROWSER_PATIENCE)
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        raise Failed(f"{command[0]} ended with {process.returncode}")
    return said.decode()


def split(lives: list[Life], at: float) -> tuple[list[Life], list[Life]]:
    """The sessions that began before this moment, and those that began afterwards."""
    return [life for life in lives if life.began < at], [life for life in lives if life.began >= at]


def longwire_yaml(port: int, admin: int, behind: dict[str, int]) -> str:
    upstreams = [
        f'  {name}: {{ max_fails: 0, backends: [ {{ address: "127.0.0.1:{target}" }} ] }}'
        for name, target in behind.items()
    ]
    return "\n".join(
        [
            "workers: 1",
            f"listeners: [ {{ bind: 127.0.0.1:{port} }} ]",
            f"admin: {{ bind: 127.0.0.1:{admin} }}",
            "trusted_proxies: [ 127.0.0.0/8 ]",
            "upstreams:",
            *upstreams,
            "routes:",
            *(f"  - {{ path: /{name}/, upstream: {name} }}" for name in behind),
            f"keepalive: {{ ping_interval: {INTERVAL}s, pong_timeout: {PONG_TIMEOUT}s, learn: true }}",
            "timeouts: { drain: 1s }",
            "log: { format: json }",
            "",
        ]
    )


def shown(courses: list[Course]) -> list[tuple[str, ...]]:
    """The lines of a table."""
    lines = [("path", "limit", "interval", "learned", "began before", "lost", "began after", "lost", "lived")]
    for course in courses:
        path, at = course.path, course.learned_at
        before, after = split(course.lives, at if at is not None else ENDS)
        lived = min((ENDS - life.began for life in after), default=0.0)
        lines.append(
            (
                f"{path.kind}, {path.place}",
                f"{path.limit:g} s",
                f"{INTERVAL} s",
                ", ".join(f"{interval / 1000:g} s at {seen:.0f} s" for interval, seen in course.learned.items()) or "-",
                str(len(before)),
                str(sum(bool(life.lost_at) for life in before)),
                str(len(after)),
                str(sum(bool(life.lost_at) for life in after)),
                f"{lived:.0f} s or more",
            )
        )
        if course.faults:
            lines.append(("  FAILED: " + "; ".join(course.faults),))
    return lines
