"""How a row is measured. Each of these functions takes one sample of one proxy."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from . import readings
from .programs import BULK, Broken, Load, Proxy, Stand

# Source addresses of the load. With only one, the 28,000 ports of the kernel's default range would be the limit.
SOURCES = 8
WARM_UP = 0.5  # seconds


@dataclass(frozen=True)
class Settings:
    """The settings from the command line."""

    seconds: float  # one window
    sessions: int  # the most that are held open
    ping_interval: int  # seconds
    ping_periods: int


def echo(
    per: str = "message",
    workers: int = 1,
    cores: int = 0,
    tls: bool = False,
    backend_tls: bool = False,
    stretch: int = 1,
    **load,
) -> Callable:
    """CPU per relayed message (one frame in one direction), or per GB of payload. If few messages come, the row takes
    `stretch` times as long as others."""

    def measure(stand: Stand, name: str, settings: Settings) -> dict:
        with stand.proxy(name, workers, cores or workers, tls, backend_tls=backend_tls) as proxy:
            with stand.load(proxy, "echo", tls=tls, **load) as clients:
                sample = window(proxy, clients, stretch * settings.seconds)
        relayed = 2 * sample["done"]
        if per == "GB":
            return sample | {"value": sample["cpu_ns"] / (relayed * load["size"])}
        return sample | {"value": sample["cpu_ns"] / 1000 / relayed}

    return measure


def cycles(
    mode: str,
    tls: bool = False,
    resume: bool = False,
    workers: int = 1,
    log: bool = False,
    backend_tls: bool = False,
    **load,
) -> Callable:
    """CPU per handshake and close, or per plain request."""

    def measure(stand: Stand, name: str, settings: Settings) -> dict:
        with (
            stand.proxy(name, workers, workers, tls, log=log, backend_tls=backend_tls) as proxy,
            stand.load(proxy, mode, tls=tls, resume=resume, **load) as clients,
        ):
            clients.tell("go")
            # The first handshake of each connection brings the ticket for the next one.
            wait_until_done(clients, 10 * load["connections"])
            sample = window(proxy, clients, settings.seconds, begun=True)
        was_resumed = sample["resumed"] > 0.99 * sample["done"]
        if was_resumed != resume:
            raise Broken(f"{sample['resumed']} of {sample['done']} TLS sessions were resumed")
        each = {"value": sample["cpu_ns"] / 1000 / sample["done"]}
        return sample | each | {"per_second": 1e9 * sample["done"] / sample["wall_ns"]}

    return measure


def handshakes(connections: int, **options) -> Callable:
    return cycles("handshake", connections=connections, sources=SOURCES, **options)


def idle(sessions: int | None = None, tls: bool = False, backend_tls: bool = False, used: bool = False) -> Callable:
    """User memory per open session, beyond the memory that the proxy has after it has served a few. With `used`, each
    session has had an echo before."""

    def measure(stand: Stand, name: str, settings: Settings) -> dict:
        count = min(sessions or settings.sessions, settings.sessions)
        with stand.proxy(name, tls=tls, backend_tls=backend_tls) as proxy:
            # The first sessions bring code and caches, which are no cost of a further session.
            with stand.load(proxy, "echo", connections=20, tls=tls) as few:
                few.tell("go")
                time.sleep(WARM_UP)
                few.pause()
            before = settle(proxy)
            turns = {"in_turn": 10} if used else {}
            with stand.load(proxy, "echo", connections=count, tls=tls, sources=SOURCES, **turns) as clients:
                if used:
                    clients.tell("go")
                    wait_until_done(clients, count)
                    clients.pause()
                settled = settle(proxy)
                counts = clients.count()
        if counts["open"] != count:
            raise Broken(f"{counts['open']} of {count} sessions are open")
        each = {key: (settled[key] - before[key]) / count for key in before}
        return {"value": each["rss"], "pss": each["pss"], "sessions": count, "errors": counts["errors"]}

    return measure


def settle(proxy: Proxy) -> dict[str, int]:
    """The memory after it has not changed for a second, or after ten seconds."""
    last = readings.memory(proxy.pid)
    for _ in range(10):
        time.sleep(1)
        now = readings.memory(proxy.pid)
        if abs(now["rss"] - last["rss"]) <= 64 * 1024:
            return now
        last = now
    return last


def growth(sessions: int | None) -> Callable:
    """CPU per message with ten messages on their way at any time. The sessions take turns, and only their number differs.
    Before the measurement, each session has had one turn."""

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
    """The share of a core that pings to quiet clients take. The measurement begins one period after the last was opened."""
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


def beside(load: str, kind: str, workers: int = 1) -> Callable:
    """How long one handshake, echo or Ping takes while 32 sessions carry frames of 1 MiB both ways, as many as they can
    (BULK), or while 1,000 sessions chat."""

    def measure(stand: Stand, name: str, settings: Settings) -> dict:
        with ExitStack() as stack:
            proxy = stack.enter_context(stand.proxy(name, workers, workers, beside=load))
            others = stack.enter_context(stand.flood(proxy) if load == BULK else stand.chat(proxy))
            probe = stack.enter_context(stand.probe(proxy, kind))
            others.tell("go")
            time.sleep(WARM_UP)
            first, began, cpu_ns = others.count(), time.monotonic_ns(), readings.cpu_ns(proxy.pid)
            probe.tell("go")
            time.sleep(settings.seconds)
            last, ended = others.count(), time.monotonic_ns()
            cpu_ns = readings.cpu_ns(proxy.pid) - cpu_ns
            timed = probe.pause(patience=20)
            arrived = others.pause()
        passed = "bytes" if load == BULK else "done"
        if last[passed] == first[passed]:
            raise Broken(f"no {load} came through")
        each_ns = (last[passed] - first[passed]) / (ended - began)
        return {
            "value": timed["p50_ns"] / 1e6,
            "p50": timed["p50_ns"] / 1e6,
            "p99": timed["p99_ns"] / 1e6,
            "timed": timed["done"],
            **({"to_clients_gb_per_s": each_ns} if load == BULK else {"echoes_per_s": 1e9 * each_ns}),
            "busy": 100 * cpu_ns / (ended - began),
            "errors": timed["errors"] + arrived["errors"],
        }

    return measure


def calls(stand: Stand, name: str, settings: Settings) -> dict:
    """Receive and send calls per relayed message. Each connection has one message on its way at a time. At a fixed rate, a
    traced proxy would fall behind, and two messages in one call would look like a saving."""
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
        # Each session has two sockets in the set of one worker.
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
    """What the proxy used, and what the load got done, in a stretch of time after a warm-up."""
    if not begun:
        clients.tell("go")
        time.sleep(WARM_UP)
    clients.tell("mark")
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
    delay = {key: last[f"{key}_ns"] / 1e6 for key in ("p50", "p99") if last["timed"]}
    return {**passed, **used, **delay, "wall_ns": ended - began, "errors": arrived["errors"]}
