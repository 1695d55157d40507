"""Two Node ws backends are drained and killed, back and forth, under sessions that outlive them: no client is closed."""

import json
import signal
import subprocess
import time
import urllib.request

from ..bench import Bench, Failed, Program, free_port, wait_until
from ..proxy import Proxy

ROUTES = "- { upstream: backends, compression: off, hold: { for: 20s, per_second: 2000 } }"
# The longest frame of a client whose messages are numbers.
FRAME = 6 + 5
# So many clients send messages so large to a frozen backend that they do not all fit into its kernel.
HEAVY, LARGE = 20, 12 << 10


def run(bench: Bench) -> None:
    count, times = (1000, 20) if bench.minutes >= 2 else (200, 4)
    ports = [free_port(), free_port()]
    backends = [start(bench, port) for port in ports]
    admin = free_port()
    more = f"admin: {{ bind: 127.0.0.1:{admin} }}\ndrain: {{ spread: 1s }}"
    upstream = "balance: round_robin\nfail_timeout: 1s"
    proxy = Proxy(bench, list(ports), upstream=upstream, routes=ROUTES, more=more)

    clients = opened(bench, proxy, count)
    for turn in range(times):
        port = ports[turn % 2]
        drain(bench, proxy, port)
        wait_until(lambda port=port: sessions(admin)[port] == 0, 20, "the drained backend has no session")
        drain(bench, proxy, port, "--undo")
    totals = ended(clients)
    bench.equal(totals["missing"], 0, f"messages that {times} drains lost, of {totals['sent']}")
    records = proxy.wait_records(count, 20)
    bench.equal(maybe_lost(records), 0, "bytes that may be lost")
    bench.check(sum(record["resumes"] for record in records) >= count * (times // 2), "each drain moved its sessions")
    judge(bench, totals, count)

    clients = opened(bench, proxy, count)
    for turn in range(times):
        backends[turn % 2] = killed(bench, backends[turn % 2], admin, ports[turn % 2])
    totals = ended(clients)
    records = proxy.wait_records(2 * count, 20)[count:]
    lost = maybe_lost(records)
    bench.say(f"{times} kills lost {totals['missing']} of {totals['sent']} messages; {lost} bytes may be lost")
    bench.check(lost <= totals["missing"] * FRAME, "no byte counts as maybe lost of a message that came")
    judge(bench, totals, count)

    clients = opened(bench, proxy, HEAVY, LARGE)
    for turn in range(2):
        backends[turn].signal(signal.SIGSTOP)
        time.sleep(6)
        backends[turn] = killed(bench, backends[turn], admin, ports[turn])
    totals = ended(clients)
    lost = maybe_lost(proxy.wait_records(2 * count + HEAVY, 20)[2 * count :])
    bench.say(f"two frozen backends lost {totals['missing']} of {totals['sent']} messages; {lost} bytes may be lost")
    bench.check(totals["missing"] > HEAVY, "each client lost messages")
    bench.check(LARGE < lost <= totals["missing"] * (LARGE + 8), "the records tell of them, and of no others")
    judge(bench, totals, HEAVY)
    bench.equal(proxy.stop(), 0, "longwire's exit code")


def judge(bench: Bench, totals: dict, count: int) -> None:
    bench.equal(totals["closed_early"], 0, f"of {count} clients, those that were closed")
    bench.equal(totals["wrong"], 0, "messages that came twice or out of order")
    bench.say(f"{totals['backends']} backends in all, the longest time without an ack {totals['slowest_ms']} ms")


def start(bench: Bench, port: int) -> Program:
    program = bench.node("deploy_server.mjs", port, port)
    program.port()
    return program


def killed(bench: Bench, backend: Program, admin: int, port: int) -> Program:
    """Kills a backend, waits until its sessions have left, and starts the next one."""
    backend.signal(signal.SIGKILL)
    backend.wait(5)
    wait_until(lambda: sessions(admin)[port] == 0, 20, "the killed backend has no session")
    program = start(bench, port)
    # Its failures are over, so that it takes sessions again.
    time.sleep(1.5)
    return program


def maybe_lost(records: list[dict]) -> int:
    return sum(record.get("maybe_lost_bytes", 0) for record in records)


def opened(bench: Bench, proxy: Proxy, count: int, size: int = 0) -> Program:
    """So many clients, whose messages are filled up to `size` bytes."""
    clients = bench.node("deploy_clients.mjs", proxy.url(), count, size)
    clients.event("opened", 60)
    # Some messages pass before anything happens.
    time.sleep(2)
    return clients


def ended(clients: Program) -> dict:
    time.sleep(2)
    clients.signal(signal.SIGTERM)
    return clients.event("summary", 30)


def drain(bench: Bench, proxy: Proxy, port: int, *more: str) -> None:
    words = ["drain", "-c", proxy.file, "--backend", f"backends/127.0.0.1:{port}", *more]
    done = subprocess.run([bench.binary, *words], capture_output=True, text=True, timeout=20, check=False)
    if done.returncode:
        raise Failed(f"longwire drain ended with {done.returncode}: {done.stderr[-300:]}")


def sessions(admin: int) -> dict[int, int]:
    """How many sessions each backend has, by its port."""
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/api/upstreams", timeout=10) as answer:
        upstreams = json.load(answer)["upstreams"]
    return {int(one["address"].rsplit(":", 1)[1]): one["sessions"] for one in upstreams[0]["backends"]}
