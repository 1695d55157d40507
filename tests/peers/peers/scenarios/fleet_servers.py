"""Two longwires that share their counts on servers of each kind: by TLS, with the rights of the page alone, a cluster, one that fails over."""

import contextlib
import json
import os
import re
import urllib.request
from unittest.mock import patch

from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from ..bench import Bench, Failed, free_port, wait_until
from ..proxy import Proxy
from ..valkey import Authority, Cluster, Valkey

MOST = 5
# In a URL each of these means something else, if it is not written as %XX.
PASSWORD, WRITTEN = "p@ss:w/rd?#%", "p%40ss%3Aw%2Frd%3F%23%25"


def run(bench: Bench) -> None:
    authority = Authority(bench.folder, "ours")
    secure = Valkey(bench, redis=True, tls=authority)
    rights(bench, secure, f", ca: {authority.authority}")
    asked(bench, authority)
    failover(bench)
    if bench.minutes >= 2:
        rights(bench, Valkey(bench))
        stranger(bench, authority)
        plain(bench)
        cluster(bench)


class Pair:
    """Two longwires before one backend."""

    def __init__(self, bench: Bench, valkey: str, more: str = "", limit: str = "sessions_per_client"):
        self.bench, self.sessions = bench, []
        # What a session beyond the limit is answered.
        self.beyond = 503 if limit == "sessions" else 429
        backend = bench.python("websockets_server.py").port()
        self.admins = [free_port(), free_port()]
        terms = f"lease: 9s, on_loss: deny, timeout: 3s{more}"
        self.proxies = [
            Proxy(
                bench,
                [backend],
                more=f"limits: {{ {limit}: {MOST} }}\nadmin: {{ bind: 127.0.0.1:{admin} }}\n"
                f"fleet: {{ valkey: {valkey}, instance: {name}, {terms} }}",
            )
            for name, admin in zip("ab", self.admins, strict=True)
        ]

    def status(self, index: int) -> dict:
        return get(self.admins[index], "/api/status")["fleet"]

    def wait_connected(self) -> None:
        for index in (0, 1):
            wait_until(lambda index=index: self.status(index)["connected"], 20, "longwire is connected")

    def open(self, index: int) -> "ClientConnection | int":
        """A session by this one, or the status that refuses it."""
        try:
            session = connect(self.proxies[index].url(), compression=None, open_timeout=20)
        except InvalidStatus as refusal:
            return refusal.response.status_code
        self.sessions.append(session)
        return session

    def fill(self, what: str) -> None:
        """As many as there may be, over both."""
        self.wait_connected()
        opened = [self.open(number % 2) for number in range(MOST)]
        self.bench.check(not any(isinstance(one, int) for one in opened), f"{what}: {MOST} sessions by two longwires")
        self.check_full(what)

    def check_full(self, what: str) -> None:
        self.bench.equal([self.open(0), self.open(1)], [self.beyond] * 2, f"{what}: one more, by each of them")

    def check_frees(self, what: str) -> None:
        """What ends at one is free at the other, once, and no session was lost."""
        self.sessions.pop(0).close()
        wait_until(lambda: not isinstance(self.open(1), int), 20, f"{what}: a session in the place of one that ended")
        self.check_full(f"{what}: one ended, one came")
        for number, session in enumerate(self.sessions):
            session.send(f"{number}")
            if session.recv(20) != f"{number}":
                raise Failed(f"{what}: session {number} hears something else")
        self.bench.equal(len(self.sessions), MOST, f"{what}: sessions that are answered")

    def stop(self) -> None:
        for session in self.sessions:
            session.close()
        for proxy in self.proxies:
            self.bench.equal(proxy.stop(), 0, "longwire's exit code")


def shares(bench: Bench, what: str, valkey: str, more: str = "", limit: str = "sessions_per_client") -> None:
    pair = Pair(bench, f'"{valkey}"', more, limit)
    pair.fill(what)
    pair.check_frees(what)
    pair.stop()


def plain(bench: Bench) -> None:
    """By a Unix socket, and in another database."""
    socket = bench.folder / "valkey.sock"
    valkey = Valkey(bench, "--unixsocket", socket)
    shares(bench, "a Unix socket", f"redis+unix://{socket}")
    shares(bench, "another database", f"{valkey.url}/3")
    shares(bench, "a limit on all sessions", valkey.url, limit="sessions")
    bench.equal(valkey.client().dbsize(), 0, "what is left in the first database")


def rights(bench: Bench, valkey: Valkey, more: str = "") -> None:
    """A user with the rights that docs/fleet.md names, and no others."""
    line = re.search(r"^ *(ACL SETUSER longwire .*)$", (bench.root / "docs/fleet.md").read_text(), re.MULTILINE)
    if not line:
        raise Failed("docs/fleet.md has no line that begins with ACL SETUSER longwire")
    words = [word if not word.startswith(">") else f">{PASSWORD}" for word in line[1].split()]
    valkey.order(*words)
    # Nobody else, but for us.
    valkey.order("ACL", "SETUSER", "default", "resetpass", ">control")
    valkey.password = "control"
    valkey.order("ACL", "LOG", "RESET")
    what = f"{valkey.name}, the rights of the page"
    with patch.dict(os.environ, VALKEY_PASSWORD=WRITTEN):
        url = valkey.url.replace("://", "://longwire:${VALKEY_PASSWORD}@")
        pair = Pair(bench, f'"{url}"', more)
        pair.fill(what)
        pair.check_frees(what)
        with contextlib.closing(valkey.client()) as client:
            denied = [(entry["reason"], entry["object"]) for entry in client.acl_log()]
            bench.equal(denied, [], f"{what}: what was denied")
        said = "".join(proxy.program.stderr() + "".join(proxy.program.lines) for proxy in pair.proxies)
        said += str([get(admin, path) for admin in pair.admins for path in ("/api/status", "/api/config")])
        bench.check(not any(word in said for word in (PASSWORD, WRITTEN)), f"{what}: nobody tells the password")
        pair.stop()


def stranger(bench: Bench, authority: Authority) -> None:
    """Whom another authority signed is not believed."""
    valkey = Valkey(bench, redis=True, tls=authority)
    shares(bench, "Redis by TLS", valkey.url, f", ca: {authority.authority}")
    other = Authority(bench.folder, "other")
    pair = Pair(bench, f'"{valkey.url}"', f", ca: {other.authority}")
    bench.equal([pair.open(0), pair.open(1)], [503, 503], "a server that another authority signed, deny")
    bench.equal(pair.status(0)["connected"], False, "and longwire is not connected")
    pair.stop()


def asked(bench: Bench, authority: Authority) -> None:
    """A server that asks for a certificate lets in who has one of its authority, and nobody else."""
    valkey = Valkey(bench, redis=True, tls=authority, asks=True)
    what, terms = "a server that asks for a certificate", f", ca: {authority.authority}"
    other = Authority(bench.folder, "of others")
    pairs = {"none": ("", "CertificateRequired"), "another": (f", cert: {other.cert}, key: {other.key}", "UnknownCA")}
    for whose, (more, why) in pairs.items():
        pair = Pair(bench, f'"{valkey.url}"', terms + more)
        bench.equal([pair.open(0), pair.open(1)], [503, 503], f"{what}, and gets {whose}, deny")
        # A reset may overtake the alert.
        wait_until(lambda pair=pair, why=why: why in told_failure(pair), 30, f"{what}, and gets {whose}: told {why}")
        bench.check(True, f"and longwire tells why: {why}")
        pair.stop()
    shares(bench, f"{what}, and gets it", valkey.url, f"{terms}, cert: {authority.cert}, key: {authority.key}")


def told_failure(pair: Pair) -> str:
    """Why the first one is not connected; empty where it is."""
    return pair.status(0).get("failure", "")


def cluster(bench: Bench) -> None:
    for count in (1, 3):
        nodes = Cluster(bench, count)
        owner = nodes.owner("{longwire}:members")
        for number, node in enumerate(nodes.nodes):
            what = (
                "its only node" if count == 1 else "the node that has the slot" if number == owner else "another node"
            )
            # One of those that say where the slot is will do.
            if number == owner or number == (owner + 1) % count:
                shares(bench, f"a cluster of {count}, by {what}", node.url)
        if count > 1:
            slot_moves(bench, nodes, owner)
        for node in nodes.nodes:
            node.stop()


def slot_moves(bench: Bench, nodes: Cluster, owner: int) -> None:
    """Another node has the slot from now on, and none of the counts."""
    pair = Pair(bench, f'"{nodes.nodes[owner].url}"')
    pair.fill("a cluster of 3")
    nodes.move("{longwire}:members", owner, (owner + 1) % 3)
    settled(pair, "another node has the slot")
    pair.check_frees("another node has the slot")
    pair.stop()


def failover(bench: Bench) -> None:
    """A replica takes over, by order and after a death; what is counted, and all sessions, stay."""
    first, second = Valkey(bench), Valkey(bench)
    second.follow(first)
    pair = Pair(bench, f'["{first.url}", "{second.url}"]')
    pair.fill("the first of two servers")
    first.order("FAILOVER")
    wait_until(second.is_primary, 20, "the replica is the primary")
    settled(pair, "a fail-over by order")
    pair.check_frees("a fail-over by order")
    second.kill()
    first.order("REPLICAOF", "NO", "ONE")
    settled(pair, "a fail-over after a death")
    pair.check_frees("a fail-over after a death")
    second.start()
    second.follow(first)
    first.stop()
    second.order("REPLICAOF", "NO", "ONE")
    settled(pair, "and back")
    pair.check_frees("and back")
    pair.stop()


def settled(pair: Pair, what: str) -> None:
    """Each of the two is answered by a server that takes writes. Meanwhile nobody is let in."""

    def is_settled() -> bool:
        found = [pair.open(0), pair.open(1)]
        if not set(found) <= {429, 503}:
            raise Failed(f"{what}: beyond the limit there is a session")
        return found == [429, 429]

    wait_until(is_settled, 40, f"{what}: both are answered again")
    pair.bench.check(True, f"{what}: one more is refused all the while, and both are answered again")


def get(admin: int, path: str) -> dict:
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}{path}", timeout=10) as answer:
        return json.load(answer)
