"""5,000 silent sessions under pings: what each costs in user memory, and that nothing grows."""

import signal
import time

from ..bench import Bench
from ..proxy import Proxy

SESSIONS = 5000
PING_INTERVAL = 5
# Each side is pinged some times before the level is taken: buffers and timers have their size by then.
SETTLE = 6 * PING_INTERVAL
GROWTH_MAX = 2 * 2**20
PER_SESSION_MAX = 32 * 2**10


def run(bench: Bench) -> None:
    backend = bench.python("idle_backend.py")
    proxy = Proxy(
        bench,
        [backend.port()],
        keepalive=f"ping_interval: {PING_INTERVAL}s\npong_timeout: 20s",
        more="timeouts: { drain: 20s }",
    )
    empty = proxy.memory()
    clients = bench.python("idle_clients.py", proxy.port, SESSIONS)
    opened = clients.event("opened", 60)
    bench.equal(opened["open"], SESSIONS, f"sessions open after {opened['seconds']} s")

    time.sleep(SETTLE)
    level = proxy.memory()
    per_session = (level - empty) / SESSIONS
    bench.say(
        f"user memory: {empty / 2**20:.1f} MiB empty, {level / 2**20:.1f} MiB with {SESSIONS} sessions, "
        f"{proxy.threads()} threads"
    )
    bench.check(
        per_session < PER_SESSION_MAX, f"user memory per session: {per_session:.0f} B (at most {PER_SESSION_MAX})"
    )

    end = time.monotonic() + bench.minutes * 60
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, 60))
        bench.say(
            f"{bench.minutes * 60 - max(0, end - time.monotonic()):5.0f} s: {(proxy.memory() - level) / 1024:+.0f} KiB"
        )
    grown = proxy.memory() - level
    bench.check(
        grown < GROWTH_MAX,
        f"growth over {bench.minutes:g} min of pings: {grown / 1024:.0f} KiB (at most {GROWTH_MAX // 1024})",
    )

    clients.signal(signal.SIGUSR1)
    answered = clients.event("answered", 30)
    bench.equal(
        (answered["open"], answered["answered"]),
        (SESSIONS, SESSIONS),
        "sessions still open, and answered by the backend",
    )
    backend.signal(signal.SIGUSR1)
    at_backend = backend.event("status")
    bench.equal(at_backend["open"], SESSIONS, "sessions still open at the backend")
    # By jitter of up to 10 % and the load of the machine a few fewer than one each interval.
    least = int(SESSIONS * (SETTLE + bench.minutes * 60) / PING_INTERVAL * 0.7)
    pings = answered["pings"], at_backend["pings"]
    bench.check(
        min(pings) >= least,
        f"pings that arrived: {pings[0]} at the clients, {pings[1]} at the backend (at least {least})",
    )

    bench.equal(proxy.stop(25), 0, f"exit code after SIGTERM with {SESSIONS} sessions open")
    bench.equal(clients.event("all closed")["codes"], {"1012": SESSIONS}, "the codes that the clients read")
