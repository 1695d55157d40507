"""What is measured, one row each, and what must be reached."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from . import readings
from .configs import FLOOR, HAPROXY, HAPROXY_SPLICE, LONGWIRE, NGINX, NGINX_64K
from .programs import Broken, Load, Proxy, Stand

SMALL = (LONGWIRE, NGINX, HAPROXY, FLOOR)
ALL = (LONGWIRE, NGINX, NGINX_64K, HAPROXY, HAPROXY_SPLICE, FLOOR)
# The floor knows no TLS.
TLS = (LONGWIRE, NGINX, HAPROXY)
PROBED = (LONGWIRE, NGINX, NGINX_64K, HAPROXY)

# Source addresses of the load; with one, the 28,000 ports of the kernel's default range would be the limit.
SOURCES = 8
WARM_UP = 0.5  # seconds


@dataclass(frozen=True)
class Settings:
    """What the command line decides."""

    seconds: float  # one window
    sessions: int  # the most that are held open
    ping_interval: int  # seconds
    ping_periods: int


@dataclass(frozen=True)
class Row:
    """`measure` returns a sample: `value` in `unit`, `errors`, and what else is worth keeping."""

    name: str
    title: str
    unit: str
    proxies: tuple[str, ...]
    measure: Callable[[Stand, str, Settings], dict]
    most_rounds: int = 99


@dataclass(frozen=True)
class Bound:
    """longwire's median of `row` must be at most `at_most` times the least of the references' medians, or, without
    references, at most `at_most` itself. A reference is (row, proxy)."""

    row: str
    work: str
    against: str
    at_most: float
    references: list[tuple[str, str]] = field(default_factory=list)
    unit: str = ""
    key: str = "value"  # of a sample


def echo(per: str = "message", workers: int = 1, cores: int = 1, tls: bool = False, **load) -> Callable:
    """CPU per relayed message (one frame in one direction), or per GB of payload."""

    def measure(stand: Stand, name: str, settings: Settings) -> dict:
        with stand.proxy(name, workers, cores, tls) as proxy:
            with stand.load(proxy, "echo", tls=tls, **load) as clients:
                sample = window(proxy, clients, settings.seconds)
        relayed = 2 * sample["done"]
        if per == "GB":
            return sample | {"value": sample["cpu_ns"] / (relayed * load["size"])}
        return sample | {"value": sample["cpu_ns"] / 1000 / relayed}

    return measure


def cycles(mode: str, tls: bool = False, resume: bool = False, **load) -> Callable:
    """CPU per handshake and close, or per plain request."""

    def measure(stand: Stand, name: str, settings: Settings) -> dict:
        with stand.proxy(name, tls=tls) as proxy, stand.load(proxy, mode, tls=tls, resume=resume, **load) as clients:
            clients.tell("go")
            # Each connection's first handshake brings the ticket for the next.
            wait_until_done(clients, 10 * load["connections"])
            sample = window(proxy, clients, settings.seconds, begun=True)
        was_resumed = sample["resumed"] > 0.99 * sample["done"]
        if was_resumed != resume:
            raise Broken(f"{sample['resumed']} of {sample['done']} TLS sessions were resumed")
        return sample | {"value": sample["cpu_ns"] / 1000 / sample["done"]}

    return measure


def idle(sessions: int | None = None, tls: bool = False) -> Callable:
    """User memory per open session, beyond what the proxy has once it has served a few."""

    def measure(stand: Stand, name: str, settings: Settings) -> dict:
        count = min(sessions or settings.sessions, settings.sessions)
        with stand.proxy(name, tls=tls) as proxy:
            # Code and caches that come with the first sessions are no cost of a further one.
            with stand.load(proxy, "echo", connections=20, tls=tls) as few:
                few.tell("go")
                time.sleep(WARM_UP)
                few.pause()
            before = settle(proxy)
            with stand.load(proxy, "echo", connections=count, tls=tls, sources=SOURCES) as clients:
                settled = settle(proxy)
                counts = clients.count()
        if counts["open"] != count:
            raise Broken(f"{counts['open']} of {count} sessions are open")
        each = {key: (settled[key] - before[key]) / count for key in before}
        return {"value": each["rss"], "pss": each["pss"], "sessions": count, "errors": counts["errors"]}

    return measure


def settle(proxy: Proxy) -> dict[str, int]:
    """The memory once it has stood still for a second, or after ten."""
    last = readings.memory(proxy.pid)
    for _ in range(10):
        time.sleep(1)
        now = readings.memory(proxy.pid)
        if abs(now["rss"] - last["rss"]) <= 64 * 1024:
            return now
        last = now
    return last


def growth(sessions: int | None) -> Callable:
    """CPU per message with ten messages on their way at any time, each session's turn after the other: only the number of
    sessions differs. Before, each session has had its turn once."""

    def measure(stand: Stand, name: str, settings: Settings) -> dict:
        count = min(sessions or settings.sessions, settings.sessions)
        with stand.proxy(name) as proxy:
            with stand.load(proxy, "echo", connections=count, in_turn=10, sources=SOURCES) as clients:
                clients.tell("go")
                wait_until_done(clients, count)
                sample = window(proxy, clients, settings.seconds, begun=True)
        return sample | {"value": sample["cpu_ns"] / 1000 / (2 * sample["done"]), "sessions": count}

    return measure


def pings(stand: Stand, name: str, settings: Settings) -> dict:
    """Share of a core that it takes to ping quiet clients, from one period after the last was opened."""
    interval = settings.ping_interval
    with stand.proxy(name, pings=f"{{ ping_interval: {interval}s, sides: [client] }}") as proxy:
        with stand.load(proxy, "echo", connections=settings.sessions, sources=SOURCES) as clients:
            before = readings.memory(proxy.pid)
            time.sleep(interval)
            sample = window(proxy, clients, interval * settings.ping_periods, begun=True)
            after = readings.memory(proxy.pid)
    least = 0.95 * settings.sessions * settings.ping_periods
    if sample["pings"] < least:
        raise Broken(f"{sample['pings']} pings, {least:.0f} or more were due")
    return sample | {
        "value": 100 * sample["cpu_ns"] / sample["wall_ns"],
        "us_per_ping": sample["cpu_ns"] / 1000 / sample["pings"],
        "sessions": settings.sessions,
        "rss_growth": after["rss"] - before["rss"],
    }


def beside_bulk(kind: str) -> Callable:
    """How long one handshake, echo or Ping takes while 32 sessions carry as many frames of 1 MiB both ways as they can."""

    def measure(stand: Stand, name: str, settings: Settings) -> dict:
        with (
            stand.proxy(name, probed=True) as proxy,
            stand.flood(proxy) as bulk,
            stand.probe(proxy, kind) as probe,
        ):
            bulk.tell("go")
            time.sleep(WARM_UP)
            first, began, cpu_ns = bulk.count(), time.monotonic_ns(), readings.cpu_ns(proxy.pid)
            probe.tell("go")
            time.sleep(settings.seconds)
            last, ended = bulk.count(), time.monotonic_ns()
            cpu_ns = readings.cpu_ns(proxy.pid) - cpu_ns
            timed = probe.pause(patience=20)
            arrived = bulk.count()
        if last["bytes"] == first["bytes"]:
            raise Broken("no bulk came through")
        return {
            "value": timed["p50_ns"] / 1e6,
            "p99": timed["p99_ns"] / 1e6,
            "timed": timed["done"],
            "to_clients_gb_per_s": (last["bytes"] - first["bytes"]) / (ended - began),
            "busy": 100 * cpu_ns / (ended - began),
            "errors": timed["errors"] + arrived["errors"],
        }

    return measure


def calls(stand: Stand, name: str, settings: Settings) -> dict:
    """Receive and send calls per relayed message. Each connection has one on its way at a time: at a fixed rate a traced
    proxy would fall behind, and two messages in one call would look like thrift."""
    with stand.proxy(name) as proxy, stand.load(proxy, "echo", connections=50) as clients:
        with readings.calls_counted(proxy.pid, stand.folder) as counts:
            clients.tell("go")
            time.sleep(settings.seconds)
            result = clients.pause()
    relayed = 2 * result["done"]
    each = {kind: counts[kind] / relayed for kind in ("receive", "send", "splice", "wait", "other")}
    value = each["receive"] + each["send"] + each["splice"]
    return {"value": value, **each, "others": counts["others"], "done": result["done"], "errors": result["errors"]}


def even(sources: int) -> Callable:
    """How far the fullest or emptiest of two workers is from half of the sessions, in percent."""

    def measure(stand: Stand, name: str, settings: Settings) -> dict:
        count = min(2000, settings.sessions)
        with stand.proxy(name, workers=2, cores=2) as proxy:
            with stand.load(proxy, "echo", connections=count, sources=sources) as clients:
                sockets = readings.sockets_by_worker(proxy.pid, 2)
                counts = clients.count()
        # Each session is two sockets in one worker's set.
        if len(sockets) < 2 or not 2 * count <= sum(sockets) <= 2 * count + 50:
            raise Broken(f"epoll sets of {sockets} do not hold {count} sessions")
        mean = sum(sockets) / 2
        worst = max(abs(each - mean) for each in sockets)
        return {"value": 100 * worst / mean, "sockets": sockets, "errors": counts["errors"]}

    return measure


def wait_until_done(clients: Load, count: int) -> None:
    deadline = time.monotonic() + 30
    while clients.count()["done"] < count:
        if time.monotonic() > deadline:
            raise Broken(f"fewer than {count} came through in 30 s")
        time.sleep(0.1)


def window(proxy: Proxy, clients: Load, seconds: float, begun: bool = False) -> dict:
    """What the proxy used and what the load got through in a stretch of time, after a warm-up."""
    if not begun:
        clients.tell("go")
        time.sleep(WARM_UP)
    pids = {"cpu_ns": proxy.pid, "load_cpu_ns": clients.process.pid, "backend_cpu_ns": proxy.backend_pid}
    first, began = clients.count(), time.monotonic_ns()
    used = {key: readings.cpu_ns(pid) for key, pid in pids.items()}
    time.sleep(seconds)
    last, ended = clients.count(), time.monotonic_ns()
    used = {key: readings.cpu_ns(pid) - used[key] for key, pid in pids.items()}
    arrived = clients.pause()
    passed = {key: last[key] - first[key] for key in ("done", "pings", "resumed")}
    if passed["done"] == 0 and passed["pings"] == 0:
        raise Broken("nothing came through")
    return {**passed, **used, "wall_ns": ended - began, "errors": arrived["errors"]}


PER_MESSAGE = "µs per message"
PER_GB = "s per GB"
MEDIAN = "ms, median"

ROWS = [
    Row("echo-64", "64 B echo, saturated", PER_MESSAGE, SMALL, echo(connections=200)),
    Row("echo-1k", "1 KiB echo, saturated", PER_MESSAGE, SMALL, echo(connections=200, size=1024)),
    Row("fixed-64", "64 B echo, 4,000/s", PER_MESSAGE, SMALL, echo(connections=200, rate=4000)),
    Row("pipelined", "64 B, 16 deep", PER_MESSAGE, SMALL, echo(connections=200, depth=16)),
    Row("bulk-64k", "64 KiB frames each way", PER_GB, ALL, echo("GB", connections=8, size=65536)),
    Row("bulk-1m", "1 MiB frames each way", PER_GB, ALL, echo("GB", connections=8, size=1048576)),
    Row("bulk-handshake", "a handshake while bulk flows", MEDIAN, PROBED, beside_bulk("handshake")),
    Row("bulk-echo", "a 64 B echo while bulk flows", MEDIAN, PROBED, beside_bulk("echo")),
    Row("bulk-ping", "a Ping while bulk flows", MEDIAN, PROBED, beside_bulk("ping")),
    Row("handshake", "handshake and close", "µs each", SMALL, cycles("handshake", connections=64, sources=SOURCES)),
    Row("http", "plain requests, kept alive", "µs each", SMALL, cycles("http", connections=32)),
    Row("tls-echo", "64 B echo over TLS, saturated", PER_MESSAGE, TLS, echo(tls=True, connections=200)),
    Row("tls-full", "TLS handshake (full), upgrade, close", "µs each", TLS,
        cycles("handshake", tls=True, connections=64, sources=SOURCES)),
    Row("tls-resumed", "TLS handshake (resumed), upgrade, close", "µs each", TLS,
        cycles("handshake", tls=True, resume=True, connections=64, sources=SOURCES)),
    Row("idle", "idle session, plain", "B of RSS", (LONGWIRE, NGINX, NGINX_64K, HAPROXY, FLOOR), idle(), 3),
    Row("idle-1000", "the same, of 1,000", "B of RSS", SMALL, idle(1000), 3),
    Row("idle-tls", "idle session, TLS", "B of RSS", TLS, idle(tls=True), 3),
    Row("pings", "pinging idle clients", "% of a core", (LONGWIRE,), pings, 2),
    Row("calls", "receive and send calls", "per message", SMALL, calls, 1),
    Row("growth-10", "64 B, 10 on their way, 10 sessions", PER_MESSAGE, SMALL, growth(10), 3),
    Row("growth-1000", "the same, 1,000 sessions", PER_MESSAGE, SMALL, growth(1000), 3),
    Row("growth-9000", "the same, most sessions", PER_MESSAGE, SMALL, growth(None), 3),
    Row("one-worker", "64 B echo, 4,000/s, one worker, two cores", PER_MESSAGE, TLS,
        echo(cores=2, connections=200, rate=4000)),
    Row("two-workers", "the same, two workers", PER_MESSAGE, TLS,
        echo(workers=2, cores=2, connections=200, rate=4000)),
    Row("even", "two workers, clients of 8 addresses", "% off half", TLS, even(SOURCES), 3),
    Row("even-one", "two workers, clients of one address", "% off half", TLS, even(1), 3),
]


def undisturbed(row: str, work: str) -> list[Bound]:
    """What bulk may do to others: half of what it does to them in nginx, and no more than in HAProxy."""
    return [
        Bound(row, f"{work} while bulk flows, {words}", against, most, references, key=key)
        for words, key in (("p50", "value"), ("p99", "p99"))
        for against, most, references in (
            ("nginx", 0.5, [(row, NGINX), (row, NGINX_64K)]),
            ("HAProxy", 1.0, [(row, HAPROXY)]),
        )
    ]


def versus(row: str, work: str, *limits: tuple[str, float, list[str]]) -> list[Bound]:
    return [Bound(row, work, against, most, [(row, proxy) for proxy in proxies]) for against, most, proxies in limits]


BOUNDS = [
    *versus("echo-64", "CPU per 64 B echo, saturated", ("nginx", 0.93, [NGINX]), ("HAProxy", 0.75, [HAPROXY])),
    *versus("fixed-64", "CPU per 64 B echo, fixed 4,000/s", ("nginx", 1.0, [NGINX]), ("HAProxy", 0.90, [HAPROXY])),
    *versus("pipelined", "CPU per 16-deep pipelined 64 B", ("the better of both", 1.05, [NGINX, HAPROXY])),
    *versus("bulk-64k", "CPU per GB, 64 KiB frames, each way", ("nginx 4k", 0.25, [NGINX]),
            ("nginx 64k", 0.80, [NGINX_64K]), ("HAProxy", 0.45, [HAPROXY]),
            ("HAProxy, splicing", 0.45, [HAPROXY_SPLICE])),
    *versus("bulk-1m", "CPU per GB, 1 MiB frames, each way", ("nginx 64k", 0.60, [NGINX_64K]),
            ("HAProxy", 0.40, [HAPROXY]), ("HAProxy, splicing", 0.40, [HAPROXY_SPLICE])),
    *undisturbed("bulk-handshake", "handshake"),
    *undisturbed("bulk-echo", "64 B echo"),
    *undisturbed("bulk-ping", "Ping"),
    *versus("handshake", "CPU per handshake and close", ("nginx", 1.0, [NGINX]), ("HAProxy", 1.0, [HAPROXY])),
    *versus("idle", "user memory per idle session, plain", ("nginx", 0.03, [NGINX]), ("HAProxy", 0.12, [HAPROXY])),
    *versus("idle-tls", "user memory per idle session, TLS", ("nginx", 0.20, [NGINX]), ("HAProxy", 0.45, [HAPROXY])),
    *versus("tls-echo", "TLS echo, CPU", ("nginx", 0.95, [NGINX]), ("HAProxy", 0.90, [HAPROXY])),
    *versus("tls-full", "TLS handshake (full) with upgrade and close", ("nginx", 0.70, [NGINX]),
            ("HAProxy", 0.60, [HAPROXY])),
    Bound("pings", "CPU of pinging 9,000 idle clients every 25 s", "one core", 0.25, unit="%"),
    # "Equal", but for what starts and stops with the tracing.
    *versus("calls", "receive and send calls per relayed message", ("the floor", 1.01, [FLOOR])),
    Bound("two-workers", "CPU per message, two workers", "one worker", 1.1, [("one-worker", LONGWIRE)]),
    Bound("even", "live sessions of a worker, off even", "half", 10, unit="%"),
    Bound("even-one", "the same, all from one address", "half", 10, unit="%"),
]
