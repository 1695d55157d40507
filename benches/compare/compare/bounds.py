"""The bounds that must be reached, cost and delay side by side."""

from dataclasses import dataclass, field
from enum import Enum

from .configs import (
    BEFORE,
    COALESCE_1MS,
    COALESCE_500US,
    FLOOR,
    HAPROXY,
    HAPROXY_SPLICE,
    LONGWIRE,
    NGINX,
    NGINX_64K,
)

# The most that a proxy's delay may be, as a multiple of the delay of the proxy with which its cost is compared.
MOST_P50, MOST_P99 = 1.1, 1.2


class Kind(Enum):
    TIMES = "at most so many times"
    NOT_BELOW = "at least so many times"
    PLUS = "at most so much more"


@dataclass(frozen=True)
class Bound:
    """The median of `proxy` in `row` must be at most `limit` times the least median of the references, or what `kind`
    says. Without references, it must be at most `limit` itself. A reference is (row, proxy)."""

    row: str
    work: str
    against: str
    limit: float
    references: list[tuple[str, str]] = field(default_factory=list)
    unit: str = ""
    key: str = "value"  # of a sample
    kind: Kind = Kind.TIMES
    proxy: str = LONGWIRE


def cost(row: str, work: str, *limits: tuple[str, float, list[str]], proxy: str = LONGWIRE) -> list[Bound]:
    return [
        Bound(row, work, against, limit, [(row, peer) for peer in peers], proxy=proxy)
        for against, limit, peers in limits
    ]


def delay(row: str, work: str, *peers: tuple[str, list[str]]) -> list[Bound]:
    """Bounds on the delay, against `peers`, or against nginx and HAProxy without them."""
    return [
        Bound(row, work, against, limit, [(row, peer) for peer in those], key=key)
        for against, those in peers or (("nginx", [NGINX]), ("HAProxy", [HAPROXY]))
        for key, limit in (("p50", MOST_P50), ("p99", MOST_P99))
    ]


def both(row: str, work: str, *limits: tuple[str, float, list[str]]) -> list[Bound]:
    """Bounds on a cost, and on the delay beside it against the same peers."""
    return cost(row, work, *limits) + delay(row, work, *((against, peers) for against, _, peers in limits))


def undisturbed(row: str, work: str) -> list[Bound]:
    """Bounds on how much bulk may delay others: half as much as in nginx, and no more than in HAProxy."""
    return [
        Bound(row, f"{work} while bulk flows", against, limit, references, key=key)
        for against, limit, references in (
            ("nginx", 0.5, [(row, NGINX), (row, NGINX_64K)]),
            ("HAProxy", 1.0, [(row, HAPROXY)]),
        )
        for key in ("p50", "p99")
    ]


def coalesced(row: str, work: str, proxy: str, limit: float) -> list[Bound]:
    return cost(row, work, ("nginx", limit, [NGINX]), proxy=proxy)


TWO = "two workers"
BOUNDS = [
    *both("handshake-1", "handshake and close, one at a time", ("nginx", 1.05, [NGINX]), ("HAProxy", 1.05, [HAPROXY])),
    Bound(
        "handshake-1",
        "handshakes a second, one at a time",
        "nginx",
        0.95,
        [("handshake-1", NGINX)],
        key="per_second",
        kind=Kind.NOT_BELOW,
    ),
    *both("handshake-16", "handshake and close, 16 at a time", ("nginx", 1.05, [NGINX]), ("HAProxy", 1.05, [HAPROXY])),
    *both("handshake-16-log", "the same, log on for all", ("nginx", 1.05, [NGINX]), ("HAProxy", 1.05, [HAPROXY])),
    *delay("handshake-1-log", "handshake, one at a time, log on"),
    *both("handshake", "handshake and close, 64 at a time", ("nginx", 1.0, [NGINX]), ("HAProxy", 1.0, [HAPROXY])),
    *undisturbed("bulk-handshake", "handshake"),
    *undisturbed("bulk-echo", "64 B echo"),
    *undisturbed("bulk-ping", "Ping"),
    *delay("chat-handshake", "handshake while 1,000 sessions chat"),
    *both(
        "tls-full",
        "TLS handshake (full) with upgrade and close",
        ("nginx", 0.65, [NGINX]),
        ("HAProxy", 0.55, [HAPROXY]),
    ),
    *both("http", "plain GET, kept alive, 16 connections", ("nginx", 1.20, [NGINX])),
    *delay("http", "plain GET, kept alive, 16 connections", ("HAProxy", [HAPROXY])),
    *both("http-1", "plain GET, kept alive, one connection", ("nginx", 1.15, [NGINX])),
    *delay("http-1", "plain GET, kept alive, one connection", ("HAProxy", [HAPROXY])),
    *delay("http-log", "plain GET, 16 connections, log on"),
    *both("echo-64", "64 B echo, saturated", ("nginx", 1.03, [NGINX]), ("HAProxy", 0.90, [HAPROXY])),
    *delay("rate-100", "64 B echo, 100/s"),
    *delay("rate-1000", "64 B echo, 1,000/s"),
    *both("fixed-64", "64 B echo, 4,000/s", ("nginx", 1.0, [NGINX]), ("HAProxy", 0.90, [HAPROXY])),
    *delay("rate-16000", "64 B echo, 16,000/s"),
    *coalesced("fixed-64", "64 B echo, 4,000/s, coalesce: 500us", COALESCE_500US, 0.60),
    Bound(
        "fixed-64",
        "64 B echo, 4,000/s, coalesce: 500us",
        "nginx",
        1.4,
        [("fixed-64", NGINX)],
        " ms",
        "p50",
        Kind.PLUS,
        COALESCE_500US,
    ),
    *coalesced("rate-16000", "64 B echo, 16,000/s, coalesce: 500us", COALESCE_500US, 0.60),
    *coalesced("echo-64", "64 B echo, saturated, coalesce: 500us", COALESCE_500US, 1.05),
    *coalesced("fixed-64", "64 B echo, 4,000/s, coalesce: 1ms", COALESCE_1MS, 0.45),
    *cost("echo-64", "64 B echo, saturated, coalesce: 0us", ("longwire before", 1.01, [BEFORE])),
    *cost("fixed-64", "64 B echo, 4,000/s, coalesce: 0us", ("longwire before", 1.01, [BEFORE])),
    *both("pipelined", "16-deep pipelined 64 B", ("the better of both", 1.05, [NGINX, HAPROXY])),
    *both(
        "bulk-64k",
        "64 KiB frames, each way",
        ("nginx 4k", 0.25, [NGINX]),
        ("nginx 64k", 0.80, [NGINX_64K]),
        ("HAProxy", 0.45, [HAPROXY]),
        ("HAProxy, splicing", 0.45, [HAPROXY_SPLICE]),
    ),
    *both(
        "bulk-1m",
        "1 MiB frames, each way",
        ("nginx 64k", 0.60, [NGINX_64K]),
        ("HAProxy", 0.40, [HAPROXY]),
        ("HAProxy, splicing", 0.40, [HAPROXY_SPLICE]),
    ),
    *both("tls-echo", "64 B echo over TLS, saturated", ("nginx", 0.95, [NGINX]), ("HAProxy", 0.90, [HAPROXY])),
    *cost("idle", "user memory per idle session, plain", ("nginx", 0.04, [NGINX]), ("HAProxy", 0.15, [HAPROXY])),
    Bound("idle", "user memory per idle session, plain", "itself", 848, unit=" B"),
    *cost("idle-tls", "user memory per idle session, TLS", ("nginx", 0.20, [NGINX]), ("HAProxy", 0.45, [HAPROXY])),
    Bound("idle-tls", "user memory per idle session, TLS", "itself", 8121, unit=" B"),
    Bound("pings", "pinging 9,000 idle clients every 25 s", "one core", 0.25, unit="%"),
    # "Equal", except for calls that only the start and the stop of the tracing cause.
    *cost("calls", "receive and send calls per relayed message", ("the floor", 1.01, [FLOOR])),
    Bound("two-workers", "CPU per message, two workers", "one worker", 1.1, [("one-worker", LONGWIRE)]),
    *delay("two-workers", f"64 B echo, 4,000/s, {TWO}"),
    *delay("two-100", f"64 B echo, 100/s, {TWO}"),
    *delay("two-1000", f"64 B echo, 1,000/s, {TWO}"),
    *delay("two-16000", f"64 B echo, 16,000/s, {TWO}"),
    *delay("two-handshake-1", f"handshake, one at a time, {TWO}"),
    *delay("two-handshake-16", f"handshake, 16 at a time, {TWO}"),
    *delay("two-bulk-handshake", f"handshake while bulk flows, {TWO}"),
    *delay("two-chat-handshake", f"handshake while 1,000 sessions chat, {TWO}"),
    Bound("even", "live sessions of a worker, off even", "half", 10, unit="%"),
    Bound("even-one", "the same, all from one address", "half", 10, unit="%"),
]
