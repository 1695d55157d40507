"""Backends at addresses of this machine, a longwire that finds them, and the sessions between."""

import contextlib
import json
import signal
import socket
import time
import urllib.error
import urllib.request
from collections import Counter

from .bench import Bench, Failed, Program, free_port, wait_until
from .proxy import Proxy
from .rendezvous import chosen

# New sessions through a longwire, each time that its backends are others.
NEW = 200


class Hosts:
    """`most` backends on one port of 127.0.0.1 and on, and one of ::1 where there is IPv6."""

    def __init__(self, bench: Bench, most: int):
        self.bench, self.port = bench, free_port()
        self.ipv6 = ["::1"] if has_ipv6() else []
        self.start([*ipv4s(1, most), *self.ipv6])

    def start(self, addresses: list[str]) -> Program:
        program = self.bench.python("found_backend.py", self.port, *addresses)
        program.port()
        return program

    def backend(self, address: str) -> str:
        """As longwire writes it."""
        return f"[{address}]:{self.port}" if ":" in address else f"{address}:{self.port}"

    def backends(self, *addresses: str) -> dict[str, int]:
        """Backends of equal weight."""
        return {self.backend(address): 1 for address in addresses}


class Finder:
    """A longwire that finds its backends, and what it says of them."""

    def __init__(self, bench: Bench, hosts: Hosts, entry: str, upstream: str = "balance: ip_hash"):
        self.bench, self.hosts, self.admin = bench, hosts, free_port()
        more = f"admin: {{ bind: 127.0.0.1:{self.admin} }}\ntrusted_proxies: [127.0.0.1]"
        self.proxy = Proxy(bench, [entry], upstream=upstream, more=more)

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.read().decode()

    def upstream(self) -> dict:
        return json.loads(self.get("/api/upstreams")[1])["upstreams"][0]

    def weights(self) -> dict[str, int]:
        return {backend["address"]: backend["weight"] for backend in self.upstream()["backends"]}

    def check_stays(self, weights: dict[str, int], seconds: float, what: str) -> None:
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            if self.weights() != weights:
                raise Failed(f"{what}: after {time.monotonic() - began:.1f} s the backends are {self.weights()}")
            time.sleep(0.05)
        self.bench.check(True, f"{what}: the backends stay for {seconds} s")

    def failure(self) -> str:
        """Why the last look into its one place failed, if it did."""
        return self.upstream()["places"][0].get("failure", "")

    def sample(self, series: str) -> float:
        """A metric."""
        lines = self.get("/metrics")[1].splitlines()
        return float(next(line for line in lines if line.startswith(f"{series} ")).rpartition(" ")[2])

    def visit(self) -> Program:
        """New sessions, which soon leave."""
        return self.bench.python("found_clients.py", self.proxy.port, NEW, "--leave")

    def check_refusals(self, what: str) -> None:
        before = len(self.proxy.records("request"))
        opened = told(self.visit())
        statuses = Counter(opened["refused"].values())
        self.bench.equal(dict(statuses), {503: NEW}, f"{what}: new sessions, by status")
        records = self.proxy.wait_records(before + NEW, kind="request")[before:]
        causes = Counter(record["cause"] for record in records)
        self.bench.equal(dict(causes), {"no_backend": NEW}, f"{what}: their records, by cause")
        self.bench.equal(self.get("/readyz?upstream=backends")[0], 503, f"{what}: /readyz of the upstream")

    def stop(self) -> None:
        """Every session was ended by its client."""
        self.bench.equal(self.proxy.stop(), 0, "longwire's exit code")
        ends = Counter(record["cause"] for record in self.proxy.records())
        self.bench.equal(set(ends), {"client_close"}, f"how {ends.total()} sessions ended")


class Crowd:
    """Sessions that live through everything."""

    def __init__(self, bench: Bench, finder: Finder, count: int):
        self.bench, self.count = bench, count
        self.clients = bench.python("found_clients.py", finder.proxy.port, count)
        opened = self.clients.event("opened", 60)
        self.served: dict[str, str] = opened["served"]
        bench.equal((len(self.served), opened["refused"]), (count, {}), "sessions that are open, and refused")

    def check_lives(self, when: str) -> None:
        """Each is answered by the backend that it has had from the start."""
        before = len(self.clients.events("heard"))
        self.clients.signal(signal.SIGUSR1)
        wait_until(lambda: len(self.clients.events("heard")) > before, 30, "the sessions are asked")
        right, lost = self.clients.events("heard")[-1]["right"], self.clients.events("lost")
        self.bench.equal((right, lost), (self.count, []), f"{when}: old sessions that are answered, and lost ones")

    def leave(self) -> None:
        self.clients.signal(signal.SIGTERM)
        self.bench.equal(self.clients.wait(20), 0, "all sessions leave: exit code")


def check_spread(bench: Bench, finders: list[Finder], weights: dict[str, int], what: str) -> None:
    """Each knows exactly these backends, and shares new sessions among them."""
    for finder in finders:
        wait_until(lambda finder=finder: finder.weights() == weights, 15, f"{what}: the backends are these")
    check_shares(bench, finders, weights, what)


def check_shares(bench: Bench, finders: list[Finder], weights: dict[str, int], what: str) -> None:
    """Each gives each new client the one of these backends that the hash says."""
    # All at once: they start faster than one after the other.
    for finder, visitors in [(finder, finder.visit()) for finder in finders]:
        opened = told(visitors)
        served = {client: finder.hosts.backend(address) for client, address in opened["served"].items()}
        astray = {client: backend for client, backend in served.items() if backend != chosen(client, weights)}
        shares = Counter(served.values()).values()
        spread = f"{len(shares)} backends have {min(shares)} to {max(shares)}"
        found = (len(served), opened["refused"], astray)
        bench.equal(
            found, (NEW, {}, {}), f"{what}: new sessions ({spread}), refused ones, and those astray by the hash"
        )


def told(visitors: Program) -> dict:
    opened = visitors.event("opened", 30)
    if code := visitors.wait(15):
        raise Failed(f"visitors ended with {code}")
    return opened


def ipv4(last: int) -> str:
    return f"127.0.0.{last}"


def ipv4s(first: int, last: int) -> list[str]:
    return [ipv4(number) for number in range(first, last + 1)]


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False
