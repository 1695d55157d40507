"""Slow readers and unplugged hosts, in a network namespace of its own whose lo takes what Ethernet takes: see `PARTS`."""

import argparse
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

from attacks import wire
from peers.bench import Bench, Failed
from peers.proxy import Proxy

ROOT = Path(__file__).resolve().parents[2]
INTERVAL, TIMEOUT = 1, 2
PORTION, PAUSE = 4096, 0.3
# Long enough for the end of a session that is called dead at once: its backend reads no Close, and has 5 s for that.
READS = 40
USER_TIMEOUT = 3
# Longer than any wait of ours for a verdict, on a busy machine too.
PATIENCE = 20


class Reader(threading.Thread):
    """A client that takes so little at a time that megabytes wait for it, and then nothing."""

    def __init__(self, name: str, proxy: Proxy, buffer: int | None):
        super().__init__(daemon=True)
        self.name, self.proxy, self.buffer = name, proxy, buffer
        self.stopped = threading.Event()

    def run(self) -> None:
        self.wire = self.open()
        for _ in range(READS):
            # Of the socket itself: TLS in between would take whole records.
            if not socket.socket.recv(self.wire, PORTION):
                break
            time.sleep(PAUSE)
        self.stopped.set()

    def open(self) -> socket.socket:
        opened = socket.socket()
        opened.settimeout(PATIENCE)
        if self.buffer:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.buffer)
        opened.connect(("127.0.0.1", self.proxy.port))
        if self.proxy.tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            opened = context.wrap_socket(opened)
        opened.sendall(wire.handshake(f"/{self.name}"))
        return opened


def slow_readers(bench: Bench, _) -> None:
    """who reads 4 KiB each 0.3 s is slow and not dead; who then reads nothing is dead"""
    backend = bench.start("backend", sys.executable, ROOT / "tests/faults/flood_backend.py").port()
    keepalive = f"ping_interval: {INTERVAL}s\npong_timeout: {TIMEOUT}s\nsides: [client]"
    proxies = {kind: Proxy(bench, [backend], tls=kind == "tls", keepalive=keepalive) for kind in ("plain", "tls")}
    readers = [
        Reader(f"{kind}-{buffers}", proxy, 8192 if buffers == "small" else None)
        for kind, proxy in proxies.items()
        for buffers in ("small", "default")
    ]
    for reader in readers:
        reader.start()
    for reader in readers:
        bench.check(reader.stopped.wait(READS * PAUSE + PATIENCE), f"{reader.name} has read for {READS * PAUSE:.0f} s")
    ended = {record["path"][1:]: record["cause"] for proxy in proxies.values() for record in proxy.records()}
    bench.equal(ended, {}, "sessions that ended meanwhile")

    for kind, proxy in proxies.items():
        causes = {record["cause"] for record in proxy.wait_records(2, PATIENCE)}
        bench.equal(causes, {"client_dead"}, f"{kind}: who takes nothing any more")
        bench.equal(proxy.stop(), 0, "longwire's exit code")


def unplugged(bench: Bench, options) -> None:
    """a host that is gone is found by TCP within ping_interval and user_timeout, long before pong_timeout"""
    unreachable = ["REJECT", "--reject-with", "icmp-host-unreachable"]
    for side, target, how in (
        ("backend", ["DROP"], "timed_out"),
        ("client", ["DROP"], "timed_out"),
        ("backend", unreachable, "unreachable"),
    ):
        backend = bench.start("backend", sys.executable, "-m", "attacks.backend", 0, cwd=ROOT / "tests/attacks")
        proxy = Proxy(
            bench,
            [backend.port()],
            keepalive=f"ping_interval: {INTERVAL}s\npong_timeout: {{ client: 60s, backend: 5m }}\nsides: [{side}]",
            # The record comes when the other side, which answers no Close, has had its time.
            more=f"tcp: {{ user_timeout: {USER_TIMEOUT}s }}\ntimeouts: {{ close: 100ms, drain: 5s }}",
        )
        client = wire.connect(proxy.port)
        client.sendall(wire.handshake("/echo"))
        bench.check(client.recv(4096).startswith(b"HTTP/1.1 101"), "a session")
        # longwire sets its options on the backend's socket when the session is a second old.
        time.sleep(1.5)
        port = backend.port() if side == "backend" else client.getsockname()[1]
        for direction in ("--sport", "--dport"):
            rule = [options.iptables, "-w", "-I", "INPUT", "-p", "tcp", direction, str(port), "-j", *target]
            subprocess.run(rule, check=True)
        unplugged_at = time.monotonic()
        record = proxy.wait_records(1, INTERVAL + USER_TIMEOUT + PATIENCE)[0]
        found = time.monotonic() - unplugged_at
        bench.equal((record["cause"], record["how"]), (f"{side}_lost", how), f"the {side}'s host is unplugged")
        bench.check(found < INTERVAL + USER_TIMEOUT + 3, f"found after {found:.1f} s")
        bench.equal(proxy.stop(), 0, "longwire's exit code")


PARTS = (slow_readers, unplugged)


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests/faults/run --paths", description=__doc__)
    parser.add_argument("--binary", type=Path, default=ROOT / "target/release/longwire", help="the longwire to drive")
    parser.add_argument("--lossy", help=argparse.SUPPRESS)
    parser.add_argument("--iptables", required=True, help=argparse.SUPPRESS)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # Without batches of segments either, as they go over a wire: of a batch in its buffer a reader's kernel acknowledges all or
    # nothing.
    for change in (["mtu", "1500", "up"], ["gso_max_segs", "1", "gro_max_size", "1500"]):
        subprocess.run(["ip", "link", "set", "lo", *change], check=True)
    failed = 0
    for part in PARTS:
        print(f"\n=== {part.__name__}: {part.__doc__}")
        with Bench(ROOT, options.binary.resolve(), False, 0) as bench:
            try:
                part(bench, options)
            except Exception as error:  # noqa: BLE001 one part's failure is not the others'
                failed += 1
                if isinstance(error, Failed):
                    print(f"    FAILED: {error}")
                else:
                    traceback.print_exc(file=sys.stdout)
                bench.print_logs(f"paths-{part.__name__}")
    print(f"\n{len(PARTS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
