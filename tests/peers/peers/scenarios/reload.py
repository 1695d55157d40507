"""Reload, drain and hand-over, each with many sessions that talk: nothing is lost, and each end is announced."""

import os
import signal
import socket
import time
import urllib.request

from ..bench import Bench, Program, wait_until
from ..proxy import Proxy, activated, config, free_port

SESSIONS = 1000
RELOADS = 100
EVERY = 5
BROKEN = "upstreams: [ this is no configuration\n"
SPREAD = 5.0


def reload(bench: Bench) -> None:
    backends = [bench.node("ws_server.mjs").port() for _ in range(2)]
    proxy = Proxy(bench, backends, upstream="balance: least_conn")
    talkers = open_talkers(bench, proxy, SESSIONS)
    good = proxy.file.read_text()
    # What the first reloads set up once is no leak.
    reloads(proxy, good, 10, 0)
    before, descriptors = proxy.memory(), len(os.listdir(f"/proc/{proxy.program.pid}/fd"))
    ask(talkers)
    started = time.monotonic()
    count = RELOADS * 10 if bench.minutes > 1 else RELOADS
    reloads(proxy, good, count, EVERY)
    took = time.monotonic() - started
    heard = ask(talkers, 1.5)
    said = proxy.program.stderr()
    bench.equal(said.count('"message":"reloaded"'), 10 + count - count // EVERY, "reloads that were done")
    bench.equal(said.count("not reloaded"), count // EVERY, "broken files that were refused")
    bench.check(
        (heard["wrong"], heard["silent"]) == (0, 0),
        f"{count} reloads in {took:.1f} s: {heard['echoes']} echoes meanwhile, {heard['wrong']} wrong, "
        f"{heard['silent']} sessions silent",
    )
    bench.equal(len(talkers.events("lost")), 0, f"sessions lost of {SESSIONS}")
    grown = (proxy.memory() - before) / 1024
    bench.check(grown < 1024, f"memory: {before / 2**20:.1f} MiB, grown by {grown:.0f} KiB")
    bench.equal(len(os.listdir(f"/proc/{proxy.program.pid}/fd")), descriptors, "descriptors")
    # least_conn still counts the thousand: weights turned round in the file decide where a thousand more go.
    heavy = good.replace(f'"127.0.0.1:{backends[0]}"', f'"127.0.0.1:{backends[0]}", weight: 3')
    reloads(proxy, heavy, 1, 0)
    more = bench.python("sessions.py", proxy.url(), 600)
    names = more.event("opened", 60)["backends"]
    bench.equal(
        max(names.values()), 600, "600 more with weight 3 to 1 all go where 500 of 1000 are, if those are counted"
    )
    more.kill()
    proxy.program.signal(signal.SIGTERM)
    bench.equal(proxy.program.wait(15), 0, "exit code")


def drain(bench: Bench) -> None:
    backend = bench.node("ws_server.mjs").port()
    timing = f"timeouts: {{ drain: 15s }}\ndrain: {{ wait: 1s, spread: {SPREAD:.0f}s }}"
    proxy = Proxy(bench, [backend], more=timing)
    talkers = open_talkers(bench, proxy, SESSIONS, size=20_000)
    ask(talkers)
    started = time.monotonic()
    proxy.program.signal(signal.SIGTERM)
    time.sleep(0.6)
    heard = ask(talkers)
    bench.equal(len(talkers.events("lost")), 0, "sessions told while the drain is only announced")
    bench.check(heard["echoes"] > 0, f"echoes meanwhile: {heard['echoes']}")
    bench.equal(proxy.program.wait(16), 0, "exit code")
    took = time.monotonic() - started
    bench.check(took < 15, f"it took {took:.1f} s, the deadline is 15 s")
    done = talkers.event("done")
    lost = talkers.events("lost")
    ends = {(event["code"], event["reason"]) for event in lost}
    bench.equal((ends, len(lost)), ({(1012, "drain")}, SESSIONS), "what the clients read, and how many")
    bench.equal(done["wrong"], 0, f"messages torn or wrong, of {done['echoes']}")
    fifths = [0] * 5
    for event in lost:
        fifths[min(4, int(event["after"] / SPREAD * 5))] += 1
    bench.check(min(fifths) > SESSIONS / 5 * 0.7, f"told in each fifth of the spread of {SPREAD:.0f} s: {fifths}")
    records = proxy.records()
    bench.equal({(record["cause"], record["close_code"]) for record in records}, {("drain", 1012)}, "the records")
    bench.equal(len(records), SESSIONS, "how many")


def takeover(bench: Bench) -> None:
    backend = bench.node("ws_server.mjs").port()
    admin = free_port()
    settings = (
        f"handover: {bench.folder}/longwire.sock\nadmin: {{ bind: 127.0.0.1:{admin} }}\n"
        "timeouts: { drain: 8s }\ndrain: { spread: 2s }"
    )
    proxy = Proxy(bench, [backend], more=settings)
    talkers = open_talkers(bench, proxy, 200)
    visitors = bench.python("visitors.py", proxy.url())
    wait_until(lambda: visitors.events("visits"), 20, "visitors come")
    old = proxy.program
    for generation in range(3):
        successor = bench.start(f"successor {generation}", bench.binary, "run", "-c", proxy.file, cwd=bench.folder)
        bench.equal(old.wait(15), 0, f"hand-over {generation + 1}: the old process drains and exits")
        old = successor
        with urllib.request.urlopen(f"http://127.0.0.1:{admin}/readyz", timeout=5) as answer:
            bench.equal(answer.status, 200, "/readyz of the new one")
        before = len(visitors.events("visits"))
        wait_until(lambda before=before: len(visitors.events("visits")) > before + 1, 20, "visitors still come")
    visitors.signal(signal.SIGUSR1)
    done = visitors.event("done")
    bench.equal(done["refused"], 0, f"refused of {done['visits']} sessions that came over 3 hand-overs")
    talked = talkers.event("done")
    ends = {(event["code"], event["reason"]) for event in talkers.events("lost")}
    bench.equal(
        (ends, talked["wrong"]), ({(1012, "drain")}, 0), "200 sessions of the first process read, and wrong echoes"
    )
    old.signal(signal.SIGTERM)
    bench.equal(old.wait(15), 0, "the last one's exit code")
    activation(bench, backend)


def activation(bench: Bench, backend: int) -> None:
    """A service manager's socket: it stays open while the process restarts, and who comes meanwhile waits."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        file = bench.folder / "activated.yaml"
        listener, routes = f"bind: 127.0.0.1:{port}", "- { upstream: backends }"
        file.write_text(config(listener, [backend], bench, False, "", "", "ping_interval: 25s", routes, ""))
        for start in ("first", "second"):
            # Nobody serves it yet: this one waits in the kernel.
            early = bench.python("sessions.py", f"ws://127.0.0.1:{port}/", 1)
            process = activated(bench, file, listening, start)
            early.event("opened")
            bench.check(True, f"a socket of the service manager, {start} process: who came before it is served")
            process.signal(signal.SIGTERM)
            bench.equal(process.wait(15), 0, "its exit code")
            bench.equal(early.event("lost")["code"], 1012, "what the client read")


def open_talkers(bench: Bench, proxy: Proxy, count: int, size: int = 200) -> Program:
    talkers = bench.python("talkers.py", proxy.url(), count, 1.0, size)
    talkers.event("opened", 60)
    return talkers


def ask(talkers: Program, wait: float = 0.0) -> dict:
    time.sleep(wait)
    before = len(talkers.events("heard"))
    talkers.signal(signal.SIGUSR1)
    wait_until(lambda: len(talkers.events("heard")) > before, 10, "the talkers answer")
    return talkers.events("heard")[-1]


def reloads(proxy: Proxy, good: str, count: int, broken_every: int) -> None:
    """One after the other: each is seen in the log before the next."""
    for number in range(1, count + 1):
        is_broken = broken_every and number % broken_every == 0
        proxy.file.write_text(BROKEN if is_broken else good)
        word = "not reloaded" if is_broken else '"message":"reloaded"'
        before = proxy.program.stderr().count(word)
        proxy.program.signal(signal.SIGHUP)
        wait_until(lambda word=word, before=before: proxy.program.stderr().count(word) > before, 10, word)
    proxy.file.write_text(good)
