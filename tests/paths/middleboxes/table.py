"""The table: each middlebox with each limit, in front of a proxy and behind it. See `ROLES`."""

import asyncio
import contextlib
from dataclasses import dataclass, field

from peers.bench import Bench

from . import kernel, proxies
from .clock import Clock
from .ends import PATIENCE, Backend, Client
from .proxies import PONG_TIMEOUT, Longwire
from .relay import Relay
from .rows import LIFE, Row

# The sessions of a row.
ROLES = {
    "pings": "longwire pings, and the session says nothing for 30 limits",
    "none": "longwire does not ping: the session ends as the box ends sessions",
    "dead": "longwire pings, and what is behind the box goes: it is found",
    "nginx": "the session goes by nginx",
    "haproxy": "the session goes by HAProxy",
}
# How long after its limit a box that says nothing is asked, in limits and seconds.
LATER = 1.25, 0.5
# An answer that has not come in this time does not come.
NO_ANSWER = 5
# How much later than it should a thing may happen on a busy machine, in seconds.
LATE = 3
# The silences that a record tells.
SILENCES = tuple(f"silence_{way}_{side}_ms" for way in ("from", "to") for side in ("client", "backend"))
# Handshakes at once.
ABREAST = 24


@dataclass
class Found:
    """What became of one session."""

    # How its end beside the box heard of the end, and after how much silence.
    heard: str = ""
    silence: float = 0.0
    # Whether an echo came when the client spoke at last; if not, how the client's own session had ended.
    echoed: bool = False
    client_heard: str = ""
    lived: float = 0.0
    clean: bool = False
    record: dict | None = None
    faults: list[str] = field(default_factory=list)

    def must(self, holds: bool, what: str) -> None:
        if not holds:
            self.faults.append(what)

    @property
    def is_lost(self) -> bool:
        return not self.echoed


class Table:
    """All rows at once: sessions that say nothing cost nothing."""

    def __init__(self, bench: Bench, rows: list[Row], chosen: dict[str, str]):
        self.bench, self.rows, self.roles = bench, rows, tuple(chosen)
        self.clock = Clock()
        self.backend = Backend(self.clock)
        self.relays: list[Relay] = []
        # By row, and for a box in front of a proxy by proxy too: where to connect to.
        self.behind: proxies.Targets = {}
        self.front: dict[tuple[int, str], tuple[str, int]] = {}
        self.relay_of: dict[tuple[int, str], Relay] = {}
        self.abreast = asyncio.Semaphore(ABREAST)
        self.done = 0

    async def run(self) -> dict[int, dict[str, Found]]:
        ticking = asyncio.ensure_future(self.clock.run(self.look))
        try:
            await self.build()
            print(f"== {len(self.rows)} rows, {len(self.rows) * len(self.roles)} sessions at once")
            longest = max(row.life for row in self.rows)
            found = await asyncio.wait_for(
                asyncio.gather(*(self.session(row, role) for row in self.rows for role in self.roles)), longest + 120
            )
        finally:
            ticking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await ticking
        pairs = [(row, role) for row in self.rows for role in self.roles]
        table: dict[int, dict[str, Found]] = {row.number: {} for row in self.rows}
        for (row, role), outcome in zip(pairs, found, strict=True):
            table[row.number][role] = outcome
        return table

    def look(self) -> None:
        for relay in self.relays:
            relay.look()

    async def build(self) -> None:
        backend = await self.backend.listen()
        kernel_rows = [row for row in self.rows if row.kind.is_kernel]
        if kernel_rows:
            kernel.install(kernel_rows)
        for row in self.rows:
            if row.place == "front":
                self.behind[row.number] = ("127.0.0.1", backend)
            elif row.kind.is_kernel:
                self.behind[row.number] = (kernel.address(row), backend)
            else:
                self.behind[row.number] = await self.relay(row, "", ("127.0.0.1", backend))
        self.longwire = await asyncio.to_thread(Longwire, self.bench, self.rows, self.behind)
        ports = {
            "longwire": self.longwire.port,
            "nginx": await asyncio.to_thread(proxies.nginx, self.bench, self.rows, self.behind),
            "haproxy": await asyncio.to_thread(proxies.haproxy, self.bench, self.rows, self.behind),
        }
        for row in self.rows:
            for proxy, port in ports.items():
                if row.place == "behind":
                    self.front[row.number, proxy] = ("127.0.0.1", port)
                elif row.kind.is_kernel:
                    self.front[row.number, proxy] = (kernel.address(row), port)
                else:
                    self.front[row.number, proxy] = await self.relay(row, proxy, ("127.0.0.1", port))

    async def relay(self, row: Row, proxy: str, target: tuple[str, int]) -> tuple[str, int]:
        relay = Relay(row.kind, row.limit, target, self.clock)
        self.relays.append(relay)
        self.relay_of[row.number, proxy] = relay
        return "127.0.0.1", await relay.listen()

    async def session(self, row: Row, role: str) -> Found:
        found = Found()
        proxy = role if role in ("nginx", "haproxy") else "longwire"
        path = f"/r{row.number}/{'on' if role in ('pings', 'dead') else 'off'}/{role}"
        try:
            async with self.abreast:
                client = await Client.open(self.clock, self.front[row.number, proxy], path)
            if role == "dead":
                await self.die(row, client, found)
            elif role == "pings" and row.kind.is_held_by_pings:
                await self.live(row, client, found)
            else:
                await self.lapse(row, role, client, found)
        except (OSError, TimeoutError, asyncio.TimeoutError) as error:
            found.faults.append(f"{role}: {error or type(error).__name__}")
        self.done += 1
        return found

    async def live(self, row: Row, client: Client, found: Found) -> None:
        """A session that must live for `LIFE` limits."""
        began = self.clock.now
        await self.clock.until(began + row.life, client.ended)
        found.heard, found.lived = client.heard, self.clock.now - began
        found.echoed = not client.heard and await client.is_echoed(PATIENCE)
        found.clean = found.echoed and await client.close()
        found.must(
            found.echoed, f"pings: lost after {found.lived:.1f} s of {row.life:.0f} ({found.heard or 'silence'})"
        )
        found.must(found.clean or not found.echoed, "pings: the other end did not answer the Close")
        found.record = await self.longwire.wait_record(client.path, PATIENCE)
        cause = found.record and found.record["cause"]
        found.must(cause == "client_close" or not found.echoed, f"pings: the record says {cause}")

    async def lapse(self, row: Row, role: str, client: Client, found: Found) -> None:
        """A session that nothing holds."""
        began = self.clock.now
        kind, end = row.kind, self.own_end(row, client)
        if told := kind.hears(row.own_side):
            await self.clock.until(began + row.limit + LATE + PATIENCE, end.ended)
            found.heard, found.silence = end.heard, end.ended_at - began
            found.must(found.heard == told, f"{role}: the {row.own_side} heard {found.heard or 'nothing'}, not {told}")
            if found.heard:
                on_time = self.is_on_time(row, found.silence)
                found.must(on_time, f"{role}: ended after {found.silence:.2f} s of silence")
        else:
            await self.clock.until(began + LATER[0] * row.limit + LATER[1], end.ended)
            found.must(not end.heard, f"{role}: the {row.own_side} heard {end.heard} before it spoke")
        if row.place == "behind" and kind.hears(row.proxy_side):
            # The proxy was told and tells the client. A word of the client's before that would be no silence.
            await self.clock.until(self.clock.now + PATIENCE, client.ended)
        found.echoed = not client.heard and await client.is_echoed(NO_ANSWER)
        found.must(found.is_lost, f"{role}: the session still lives after {self.clock.now - began:.1f} s")
        found.client_heard = f"{client.heard} {client.code or ''}".strip()
        if not told:
            found.heard = end.heard
            found.silence = self.clock.now - began
            expected = kind.answers() if row.place == "front" else ""
            found.must(
                found.heard == expected,
                f"{role}: the {row.own_side} then heard {found.heard or 'nothing'}, not {expected or 'nothing'}",
            )
        if role in ("none", "pings"):
            await self.judge_record(row, role, client, found)
        client.transport.abort()

    @staticmethod
    def is_on_time(row: Row, silence: float) -> bool:
        """Whether it is the limit, on a busy machine too."""
        return 0.95 * row.limit - 0.05 <= silence <= row.limit + LATE

    def own_end(self, row: Row, client: Client):
        return client if row.place == "front" else self.backend.sessions[client.path]

    async def judge_record(self, row: Row, role: str, client: Client, found: Found) -> None:
        """What longwire knows of the end: what it was told, or what it heard when the client spoke."""
        side = "client" if row.place == "front" else "backend"
        how = row.kind.hears(row.proxy_side) or (row.kind.answers() if row.place == "behind" else "")
        if not how:
            record = self.longwire.record(client.path)
            found.must(record is None, f"{role}: longwire heard of the end: {record and record['cause']}")
            return
        record = found.record = await self.longwire.wait_record(client.path, PATIENCE)
        cause = f"{side}_{'close' if how == 'close' else 'lost'}"
        said = record and (record["cause"], record["how"])
        found.must(said == (cause, how), f"{role}: the record says {said}, not {(cause, how)}")
        if record and role == "none" and row.kind.hears(row.proxy_side):
            silences = {name: record[name] / 1000 for name in SILENCES}
            on_time = all(self.is_on_time(row, silence) for silence in silences.values())
            found.must(on_time, f"{role}: the record says {silences}")

    async def die(self, row: Row, client: Client, found: Found) -> None:
        """What is behind the box goes without a word: neither longwire nor the box hears of it."""
        side = "client" if row.place == "front" else "backend"
        await self.clock.until(self.clock.now + row.interval, client.ended)
        found.must(not client.heard, f"dead: lost before anybody died ({client.heard})")
        if row.kind.is_kernel:
            end = self.own_end(row, client)
            name = "sockname" if row.place == "front" else "peername"
            await asyncio.to_thread(kernel.unplug, row, end.transport.get_extra_info(name)[1])
        else:
            self.relay_of[row.number, "longwire" if row.place == "front" else ""].swallow(client.path)
        died = self.clock.now
        bound = row.interval + PONG_TIMEOUT
        record = found.record = await self.longwire.wait_record(client.path, bound + LATE + PATIENCE)
        found.lived = self.clock.now - died
        said = record and (record["cause"], record["how"])
        found.must(said == (f"{side}_dead", "silent"), f"dead: the record says {said}")
        found.must(found.lived <= bound + LATE, f"dead: found after {found.lived:.1f} s")
        if record:
            # Since the last byte: a little before that end was gone.
            silence = record[f"silence_from_{side}_ms"] / 1000
            found.must(PONG_TIMEOUT <= silence <= bound + LATE, f"dead: the record says {silence} s of silence")
        client.transport.abort()


def shown(table: dict[int, dict[str, Found]], rows: list[Row]) -> int:
    """Prints the table; how many rows failed."""
    names = ("middlebox", "limit", "place", "ping", f"lives {LIFE} limits", "without pings", "dead", "nginx", "HAProxy")
    lines = [(*names, "presets")]
    failed = 0
    for row in rows:
        found = table[row.number]
        faults = [fault for outcome in found.values() for fault in outcome.faults]
        failed += bool(faults)
        lines.append(
            (
                str(row.kind),
                f"{row.limit:g} s ({row.real}/{row.real / row.limit:.0f})",
                row.place,
                f"{row.interval:.2f} s",
                held(row, found["pings"]),
                lapsed(found["none"]),
                f"{found['dead'].lived:.1f} of {row.interval + PONG_TIMEOUT:.1f} s",
                lapsed(found["nginx"]),
                lapsed(found["haproxy"]),
                " ".join(row.presets),
            )
        )
        if faults:
            lines.append(("  FAILED: " + "; ".join(faults),))
    print_table(lines)
    return failed


def held(row: Row, found: Found) -> str:
    if not row.kind.is_held_by_pings:
        return f"no: {lapsed(found)}"
    pings = (found.record or {}).get("pings_client" if row.place == "front" else "pings_backend", 0)
    return f"{found.lived:.0f} s, {pings} pings" if found.echoed else "LOST"


def lapsed(found: Found) -> str:
    if found.echoed:
        return "LIVES"
    return f"{found.heard or found.client_heard or 'no answer'} {found.silence:.1f} s"


def print_table(lines: list[tuple[str, ...]]) -> None:
    """Columns as wide as their words. A line of one word has no columns."""
    columns = zip(*(line for line in lines if len(line) > 1), strict=True)
    widths = [max(len(word) for word in column) for column in columns]
    for line in lines:
        words = [word.ljust(width) for word, width in zip(line, widths, strict=True)] if len(line) > 1 else line
        print("  ".join(words).rstrip())
