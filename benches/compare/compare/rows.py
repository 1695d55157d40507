"""The rows: each is one measurement."""

from collections.abc import Callable
from dataclasses import dataclass

from .configs import COALESCE, FLOOR, HAPROXY, HAPROXY_SPLICE, LONGWIRE, NGINX, NGINX_64K, OUTLIVING
from .measures import SOURCES, Settings, beside, calls, cycles, echo, even, growth, handshakes, idle, pings
from .others import OTHERS
from .programs import BULK, CHAT, Stand

SMALL = (LONGWIRE, NGINX, HAPROXY, FLOOR)
ALL = (LONGWIRE, NGINX, NGINX_64K, HAPROXY, HAPROXY_SPLICE, FLOOR)
# The floor has no TLS.
TLS = (LONGWIRE, NGINX, HAPROXY)
PROBED = (LONGWIRE, NGINX, NGINX_64K, HAPROXY)
# The floor has one worker and no log.
PLAIN = TLS
WAITING = (*SMALL, *COALESCE)
# The other proxies are only in the rows that say most.
OFTEN = (*SMALL, *OTHERS)
OFTEN_TLS = (*TLS, *OTHERS)
# Sessions that outlive an end, beside those that do not, in the same rounds.
LASTING = (LONGWIRE, *OUTLIVING)


@dataclass(frozen=True)
class Row:
    """`measure` returns a sample: `value` in `unit`; `errors`; `p50` and `p99` in milliseconds if something is timed;
    `per_second` if each waits for the one before; and other figures worth keeping."""

    name: str
    title: str
    unit: str
    proxies: tuple[str, ...]
    measure: Callable[[Stand, str, Settings], dict]
    most_rounds: int = 99


PER_MESSAGE = "µs per message"
PER_GB = "s per GB"
EACH = "µs each"
MEDIAN = "ms, median"

# Rounds of rows without a bound on their cost, and of the other peers. A few rounds say enough about them.
FEW = 3

ROWS = [
    Row("echo-64", "64 B echo, saturated", PER_MESSAGE, (*WAITING, *OTHERS), echo(connections=200)),
    Row("echo-1k", "1 KiB echo, saturated", PER_MESSAGE, SMALL, echo(connections=200, size=1024), FEW),
    Row("rate-100", "64 B echo, 100/s", PER_MESSAGE, SMALL, echo(connections=100, rate=100, stretch=3), FEW),
    Row("rate-1000", "64 B echo, 1,000/s", PER_MESSAGE, SMALL, echo(connections=200, rate=1000), FEW),
    Row("fixed-64", "64 B echo, 4,000/s", PER_MESSAGE, (*WAITING, *OTHERS), echo(connections=200, rate=4000)),
    Row("rate-16000", "64 B echo, 16,000/s", PER_MESSAGE, WAITING, echo(connections=200, rate=16000)),
    Row("pipelined", "64 B, 16 deep", PER_MESSAGE, SMALL, echo(connections=200, depth=16)),
    Row("bulk-64k", "64 KiB frames each way", PER_GB, ALL, echo("GB", connections=8, size=65536)),
    Row("bulk-1m", "1 MiB frames each way", PER_GB, ALL, echo("GB", connections=8, size=1048576)),
    Row("bulk-handshake", "a handshake while bulk flows", MEDIAN, PROBED, beside(BULK, "handshake")),
    Row("bulk-echo", "a 64 B echo while bulk flows", MEDIAN, PROBED, beside(BULK, "echo")),
    Row("bulk-ping", "a Ping while bulk flows", MEDIAN, PROBED, beside(BULK, "ping")),
    Row("chat-handshake", "a handshake while 1,000 sessions chat", MEDIAN, PLAIN, beside(CHAT, "handshake"), FEW),
    Row("handshake-1", "handshake and close, one at a time", EACH, SMALL, handshakes(1)),
    Row("handshake-16", "handshake and close, 16 at a time", EACH, OFTEN, handshakes(16)),
    Row("handshake", "handshake and close, 64 at a time", EACH, SMALL, handshakes(64)),
    Row("handshake-1-log", "one at a time, log on", EACH, PLAIN, handshakes(1, log=True), FEW),
    Row("handshake-16-log", "16 at a time, log on", EACH, PLAIN, handshakes(16, log=True)),
    Row("http", "plain GET, kept alive, 16 connections", EACH, OFTEN, cycles("http", connections=16)),
    Row("http-1", "plain GET, kept alive, one connection", EACH, SMALL, cycles("http", connections=1)),
    Row("http-log", "plain GET, 16 connections, log on", EACH, PLAIN, cycles("http", log=True, connections=16), FEW),
    Row("tls-echo", "64 B echo over TLS, saturated", PER_MESSAGE, OFTEN_TLS, echo(tls=True, connections=200)),
    Row("tls-full", "TLS handshake (full), upgrade, close", EACH, OFTEN_TLS, handshakes(64, tls=True)),
    Row(
        "tls-resumed", "TLS handshake (resumed), upgrade, close", EACH, TLS, handshakes(64, tls=True, resume=True), FEW
    ),
    Row("idle", "idle session, plain", "B of RSS", (LONGWIRE, NGINX, NGINX_64K, HAPROXY, FLOOR, *OTHERS), idle(), FEW),
    Row("idle-1000", "the same, of 1,000", "B of RSS", SMALL, idle(1000), FEW),
    Row("idle-tls", "idle session, TLS", "B of RSS", OFTEN_TLS, idle(tls=True), FEW),
    Row("idle-tls-both", "idle session, TLS on both sides", "B of RSS", TLS, idle(tls=True, backend_tls=True), FEW),
    Row(
        "backend-tls-echo",
        "64 B echo, TLS to the backend",
        PER_MESSAGE,
        TLS,
        echo(backend_tls=True, connections=200),
    ),
    Row(
        "backend-tls-16",
        "handshake and close, 16 at a time, TLS to the backend (resumed)",
        EACH,
        TLS,
        handshakes(16, backend_tls=True),
        FEW,
    ),
    Row("pings", "pinging idle clients", "% of a core", (LONGWIRE,), pings, 2),
    Row("calls", "receive and send calls", "per message", SMALL, calls, 1),
    Row("growth-10", "64 B, 10 on their way, 10 sessions", PER_MESSAGE, SMALL, growth(10), FEW),
    Row("growth-1000", "the same, 1,000 sessions", PER_MESSAGE, SMALL, growth(1000), FEW),
    Row("growth-9000", "the same, most sessions", PER_MESSAGE, SMALL, growth(None), FEW),
    Row(
        "one-worker",
        "64 B echo, 4,000/s, one worker, two cores",
        PER_MESSAGE,
        PLAIN,
        echo(cores=2, connections=200, rate=4000),
    ),
    Row("two-workers", "the same, two workers", PER_MESSAGE, PLAIN, echo(workers=2, connections=200, rate=4000)),
    Row(
        "two-100",
        "64 B echo, 100/s, two workers",
        PER_MESSAGE,
        PLAIN,
        echo(workers=2, connections=100, rate=100, stretch=3),
        FEW,
    ),
    Row(
        "two-1000",
        "64 B echo, 1,000/s, two workers",
        PER_MESSAGE,
        PLAIN,
        echo(workers=2, connections=200, rate=1000),
        FEW,
    ),
    Row(
        "two-16000",
        "64 B echo, 16,000/s, two workers",
        PER_MESSAGE,
        PLAIN,
        echo(workers=2, connections=200, rate=16000),
        FEW,
    ),
    Row("two-handshake-1", "handshakes one at a time, two workers", EACH, PLAIN, handshakes(1, workers=2), FEW),
    Row("two-handshake-16", "handshakes 16 at a time, two workers", EACH, PLAIN, handshakes(16, workers=2), FEW),
    Row(
        "two-bulk-handshake",
        "a handshake while bulk flows, two workers",
        MEDIAN,
        PLAIN,
        beside(BULK, "handshake", workers=2),
        FEW,
    ),
    Row(
        "two-chat-handshake",
        "a handshake while 1,000 chat, two workers",
        MEDIAN,
        PLAIN,
        beside(CHAT, "handshake", workers=2),
        FEW,
    ),
    Row("even", "two workers, clients of 8 addresses", "% off half", PLAIN, even(SOURCES), FEW),
    Row("even-one", "two workers, clients of one address", "% off half", PLAIN, even(1), FEW),
    Row("lasting-echo", "64 B echo, saturated", PER_MESSAGE, LASTING, echo(connections=200)),
    Row("lasting-4000", "64 B echo, 4,000/s", PER_MESSAGE, LASTING, echo(connections=200, rate=4000)),
    Row("lasting-handshake", "handshake and close, 16 at a time", EACH, LASTING, handshakes(16)),
    Row("lasting-idle", "idle session", "B of RSS", LASTING, idle(), FEW),
    Row("lasting-used", "idle session that has had an echo", "B of RSS", LASTING, idle(used=True), FEW),
]
