"""Two Node ws backends are drained and killed, back and forth, under sessions that outlive them: no client is closed."""

import json
import signal
import time
import urllib.request

from ..bench import Bench, Program, free_port, wait_until
from ..proxy import Proxy

ROUTES = "- { upstream: backends, compression: off, hold: { for: 20s, per_second: 2000 } }"


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
        order(admin, port, "drain")
        wait_until(lambda port=port: sessions(admin)[port] == 0, 20, "the drained backend has no session")
        order(admin, port, "up")
    totals = ended(clients)
    bench.equal(totals["missing"], 0, f"messages that {times} drains lost, of {totals['sent']}")
    records = proxy.wait_records(count, 20)
    bench.equal(sum(record.get("maybe_lost_bytes", 0) for record in records), 0, "bytes that may be lost")
    bench.check(sum(record["resumes"] for record in records) >= count * (times // 2), "each drain moved its sessions")
    judge(bench, totals, count)

    clients = opened(bench, proxy, count)
    for turn in range(times):
        backends[turn % 2].signal(signal.SIGKILL)
        backends[turn % 2].wait(5)
        wait_until(lambda turn=turn: sessions(admin)[ports[turn % 2]] == 0, 20, "the killed backend has no session")
        backends[turn % 2] = start(bench, ports[turn % 2])
        # Its failures are over, so that it takes sessions again.
        time.sleep(1.5)
    totals = ended(clients)
    records = proxy.wait_records(2 * count, 20)[count:]
    lost = sum(record.get("maybe_lost_bytes", 0) for record in records)
    bench.say(f"{times} kills lost {totals['missing']} of {totals['sent']} messages; {lost} bytes may be lost")
    judge(bench, totals, count)
    bench.equal(proxy.stop(), 0, "longwire's exit code")


def judge(bench: Bench, totals: dict, count: int) -> None:
    bench.equal(totals["closed_early"], 0, f"of {count} clients, those that were closed")
    bench.equal(totals["wrong"], 0, "messages that came twice or out of order")
    bench.say(f"{totals['backends']} backends in all, the longest time without an ack {totals['slowest_ms']} ms")


def start(bench: Bench, port: int) -> Program:
    program = bench.node("deploy_server.mjs", port, port)
    program.port()
    return program


def opened(bench: Bench, proxy: Proxy, count: int) -> Program:
    clients = bench.node("deploy_clients.mjs", proxy.url(), count)
    clients.event("opened", 60)
    # Some messages pass before anything happens.
    time.sleep(2)
    return clients


def ended(clients: Program) -> dict:
    time.sleep(2)
    clients.signal(signal.SIGTERM)
    return clients.event("summary", 30)


def order(admin: int, port: int, duty: str) -> None:
    url = f"http://127.0.0.1:{admin}/api/upstreams/backends/backends/127.0.0.1:{port}/{duty}"
    request = urllib.request.Request(url, method="POST", data=b"{}", headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        answer.read()


def sessions(admin: int) -> dict[int, int]:
    """How many sessions each backend has, by its port."""
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/api/upstreams", timeout=10) as answer:
        upstreams = json.load(answer)["upstreams"]
    return {int(one["address"].rsplit(":", 1)[1]): one["sessions"] for one in upstreams[0]["backends"]}
