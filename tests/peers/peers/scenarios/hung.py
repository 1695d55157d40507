"""A program that hangs and one that is only busy, while the other end goes on."""

import signal
import threading
import time

from ..bench import Bench, Failed
from ..proxy import Proxy

INTERVAL, TIMEOUT = 1, 2
# Longer than any wait of ours for a verdict, on a busy machine too.
PATIENCE = 20


def blocked(bench: Bench) -> None:
    """A program that computes and reads nothing: its host acknowledges all the while."""
    # The long form takes the defaults, and the 70 s of a callback that somebody had.
    is_long = bench.minutes >= 2
    keepalive = "ping_interval: 25s" if is_long else "ping_interval: 1s\npong_timeout: { client: 2s, backend: 60s }"
    seconds = 70 if is_long else 8
    backend = bench.python("websockets_server.py")
    proxy = Proxy(bench, [backend.port()], keepalive=keepalive)

    from websockets.sync.client import connect

    # Uncompressed: what is sent has to fill the path.
    options = {"ping_interval": None, "max_size": None, "compression": None}
    with connect(proxy.url("/quiet"), **options) as quiet, connect(proxy.url("/sends"), **options) as sends:
        for client in (quiet, sends):
            client.send("before")
            bench.equal(client.recv(PATIENCE), "before", "an echo before")
        backend.signal(signal.SIGSTOP)
        began = time.monotonic()
        # As much as closes the window. In the long form only a little later than the kernel would give it up.
        time.sleep(seconds - 20 if is_long else 0)
        message = bytes(range(256)) * 4096
        sender = Sender(sends, message)
        while time.monotonic() - began < seconds:
            time.sleep(0.5)
            lives(proxy)
        bench.check(sender.is_alive(), f"the window of the backend is closed: {sender.sent} MiB were taken")
        # While this client sends, it reads nothing. A backend that echoes would wait for that if more came.
        sender.has_enough = True
        backend.signal(signal.SIGCONT)
        sender.join(60)
        for number in range(sender.sent):
            if sends.recv(60) != message:
                raise Failed(f"message {number} came back wrong")
        quiet.send("after")
        bench.equal(quiet.recv(PATIENCE), "after", f"an echo after {seconds} s in which the backend was blocked")
        bench.equal(proxy.records(), [], "sessions that ended")
    bench.equal(proxy.stop(), 0, "longwire's exit code")


class Sender(threading.Thread):
    """Sends until it is told to stop. The kernel lets the buffers of the path grow to 72 MiB by default."""

    MOST = 96

    def __init__(self, client, message: bytes):
        super().__init__(daemon=True)
        self.client, self.message, self.sent, self.has_enough = client, message, 0, False
        self.start()

    def run(self) -> None:
        while self.sent < self.MOST and not self.has_enough:
            self.client.send(self.message)
            self.sent += 1


def lives(proxy: Proxy) -> None:
    if records := proxy.records():
        raise Failed(f"a session ended: {records[0]['cause']}")


def hung(bench: Bench) -> None:
    """A program that is stopped, while the other end is busy: it pings, or sends data."""
    keepalive = f"ping_interval: {INTERVAL}s\npong_timeout: {TIMEOUT}s"
    for busy, option in (("pings", "--ping"), ("data", "--tick")):
        backend = bench.python("websockets_server.py", option, 0.2)
        proxy = Proxy(bench, [backend.port()], keepalive=keepalive)
        client = bench.python("listening_client.py", proxy.url())
        client.event("opened", PATIENCE)
        time.sleep(2 * TIMEOUT)
        bench.equal(proxy.records(), [], f"the backend sends {busy}, the client answers: sessions that ended")
        client.signal(signal.SIGSTOP)
        stopped = time.monotonic()
        record = proxy.wait_records(1, PATIENCE)[0]
        found = time.monotonic() - stopped
        bench.equal(
            (record["cause"], record["close_reason"]), ("client_dead", "no answer to pings"), "the client hangs"
        )
        bench.check(found < INTERVAL + TIMEOUT + 3, f"found after {found:.1f} s")
        closed = backend.event("closed")
        bench.equal((closed["code"], closed["reason"]), (1001, "no answer to pings"), "the backend reads")
        client.kill()
        bench.equal(proxy.stop(), 0, "longwire's exit code")
