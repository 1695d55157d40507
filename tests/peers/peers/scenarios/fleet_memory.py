"""What an idle session costs in user memory where its client is counted, by this longwire alone or by a fleet. It measures, and asserts
nothing of that."""

import statistics
import time

from ..bench import Bench, Program
from ..proxy import Proxy
from ..valkey import Valkey

SESSIONS, ROUNDS = 3000, 3
# Those that are there before. What the first ones bring, and what their handshakes took for a moment, is no cost of a further one.
EARLIER = 1000
LIMITS = f"limits: {{ sessions_per_client: {EARLIER + SESSIONS} }}"


def run(bench: Bench) -> None:
    valkey, backend = Valkey(bench), bench.python("idle_backend.py").port()
    fleet = f'fleet: {{ valkey: "{valkey.url}", timeout: 3s }}'
    kinds = {"not counted": "", "sessions_per_client": LIMITS, "with fleet too": f"{LIMITS}\n{fleet}"}
    for addresses in (1, SESSIONS):
        found: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(ROUNDS):
            for kind, settings in kinds.items():
                found[kind].append(cost(bench, backend, settings, addresses))
        for kind, costs in found.items():
            least, most = min(costs), max(costs)
            bench.say(
                f"{SESSIONS} sessions of {addresses} addresses, {kind}: {statistics.median(costs):.0f} B each ({least:.0f} to {most:.0f})"
            )
    proxy = start(bench, backend, kinds["with fleet too"])
    clients = come(bench, proxy, SESSIONS, SESSIONS)
    at_valkey = valkey.client()
    counted = [int(at_valkey.hget(key, "*")) for key in at_valkey.scan_iter() if at_valkey.type(key) == b"hash"]
    bench.equal(counted, [SESSIONS], "sessions that Valkey counts")
    end(bench, proxy, [clients])
    bench.equal(valkey.order("DBSIZE"), 0, "keys that are left at Valkey")


def cost(bench: Bench, backend: int, settings: str, addresses: int) -> float:
    """Bytes of a session."""
    proxy = start(bench, backend, settings)
    earlier = come(bench, proxy, EARLIER, min(addresses, EARLIER), SESSIONS)
    before = settled(proxy)
    clients = come(bench, proxy, SESSIONS, addresses)
    after = settled(proxy)
    end(bench, proxy, [earlier, clients])
    return (after - before) / SESSIONS


def start(bench: Bench, backend: int, settings: str) -> Proxy:
    return Proxy(bench, [backend], more=f"workers: 1\ntimeouts: {{ drain: 30s }}\n{settings}")


def come(bench: Bench, proxy: Proxy, sessions: int, addresses: int, first: int = 0) -> Program:
    clients = bench.python("idle_clients.py", proxy.port, sessions, addresses, first)
    if clients.event("opened", 60)["open"] != sessions:
        bench.check(False, "all sessions are open")
    return clients


def settled(proxy: Proxy) -> int:
    """The memory once it has not changed for a second; that of ten seconds otherwise."""
    last = proxy.memory()
    for _ in range(10):
        time.sleep(1)
        now = proxy.memory()
        if abs(now - last) <= 64 * 1024:
            return now
        last = now
    return last


def end(bench: Bench, proxy: Proxy, crowds: list[Program]) -> None:
    for clients in crowds:
        clients.kill()
    if (code := proxy.stop(40)) != 0:
        bench.equal(code, 0, "longwire's exit code")
