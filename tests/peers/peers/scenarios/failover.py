"""One of two Node ws backends is killed while sessions are open, and comes back."""

import signal
import time

from ..bench import Bench, Program, free_port, wait_until
from ..proxy import Proxy

FAIL_TIMEOUT = 3


def run(bench: Bench) -> None:
    port = free_port()
    one = start_one(bench, port)
    two = bench.node("ws_server.mjs", "--name", "two")
    upstream = f"balance: round_robin\nmax_fails: 1\nfail_timeout: {FAIL_TIMEOUT}s"
    proxy = Proxy(bench, [port, two.port()], upstream=upstream)

    first, opened = sessions(bench, proxy, 20)
    bench.equal(opened["backends"], {"one": 10, "two": 10}, "20 sessions in turns")

    one.signal(signal.SIGKILL)
    _, opened = sessions(bench, proxy, 20)
    # The failure that took it out lies before this moment.
    out = time.monotonic()
    bench.equal(opened["backends"], {"two": 20}, "20 new sessions right after the kill, none refused")
    bench.check(opened["slowest"] < 2, f"the slowest of them took {opened['slowest']} s to its first answer")

    wait_until(lambda: len(first.events("lost")) >= 10, 10, "clients of the killed backend hear of it")
    ends = {(event["code"], event["reason"]) for event in first.events("lost")}
    bench.equal(ends, {(1011, "backend lost")}, "how the 10 sessions of the killed backend ended")
    records = [record for record in proxy.wait_records(10) if record.get("close_code") == 1011]
    bench.equal(len(records), 10, "records of them")

    start_one(bench, port)
    time.sleep(max(0, out + FAIL_TIMEOUT - time.monotonic()))
    _, opened = sessions(bench, proxy, 20)
    bench.say(f"{FAIL_TIMEOUT} s after the failure: {opened['backends']}")
    bench.check(opened["backends"].get("one", 0) >= 9, "after its return and fail_timeout it gets its turns again")
    bench.equal(proxy.stop(), 0, "longwire's exit code")


def start_one(bench: Bench, port: int) -> Program:
    program = bench.node("ws_server.mjs", "--port", str(port), "--name", "one")
    program.port()
    return program


def sessions(bench: Bench, proxy: Proxy, count: int) -> tuple[Program, dict]:
    client = bench.python("sessions.py", proxy.url(), count)
    return client, client.event("opened", 20)
