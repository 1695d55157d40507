"""Plain HTTP through longwire, as curl speaks it."""

import hashlib
import json
import os
import re
import subprocess

from ..bench import Bench, Failed
from ..proxy import Proxy

LARGE = 64 * 1024 * 1024


def run(bench: Bench) -> None:
    backend = bench.node("http_server.mjs")
    proxy = Proxy(bench, [backend.port()], routes="- { path: /, host: 127.0.0.1, upstream: backends }")
    methods(bench, proxy)
    bodies(bench, proxy)
    connections(bench, proxy)
    if not bench.direct:
        refusals(bench, proxy)
        bench.equal(proxy.stop(), 0, "longwire's exit code")


def methods(bench: Bench, proxy: Proxy) -> None:
    got = curl(proxy.http("/hello"))
    bench.equal((got.status, got.body), (200, b"hello from the backend\n"), "GET")
    got = curl("-I", proxy.http("/large/1000"))
    bench.equal(
        (got.status, got.header("content-length"), got.body), (200, "1000", b""), "HEAD: length told, no body sent"
    )
    got = curl("-X", "OPTIONS", proxy.http("/status/204"))
    bench.equal((got.status, got.body), (204, b""), "204 without a body")
    got = curl("-X", "DELETE", proxy.http("/echo"))
    bench.equal((got.status, got.header("x-method")), (200, "DELETE"), "DELETE")
    got = curl(proxy.http("/status/503"))
    bench.equal((got.status, got.body), (503, b"as asked\n"), "a backend's own 503 is passed on")
    got = curl("--http1.0", proxy.http("/chunks"))
    bench.equal((got.status, got.body), (200, b"one two three\n"), "HTTP/1.0 reads an answer without a length")
    bench.equal(got.header("transfer-encoding"), None, "HTTP/1.0 gets no chunks")
    got = curl("-H", "X-Secret: 1", "-H", "Connection: X-Secret", "-H", "X-Kept: 2", proxy.http("/headers"))
    seen = json.loads(got.body)
    bench.equal(seen.get("x-kept"), "2", "an end-to-end header reaches the backend")
    if not bench.direct:
        bench.check("x-secret" not in seen, "a header named by Connection does not")
        bench.equal(seen.get("x-forwarded-for"), "127.0.0.1", "X-Forwarded-For")


def bodies(bench: Bench, proxy: Proxy) -> None:
    body = bench.folder / "body"
    body.write_bytes(os.urandom(3_000_000))
    digest = hashlib.sha256(body.read_bytes()).hexdigest()
    got = curl("--data-binary", f"@{body}", proxy.http("/echo"))
    bench.equal((got.status, got.header("x-sha256")), (200, digest), "POST of 3 MB arrives")
    bench.check(hashlib.sha256(got.body).hexdigest() == digest, "and comes back")
    got = curl("-T", body, "-H", "Transfer-Encoding: chunked", proxy.http("/echo"))
    bench.equal(
        (got.status, got.header("x-sha256"), got.header("x-method")),
        (200, digest, "PUT"),
        "chunked PUT of 3 MB arrives",
    )
    got = curl("-H", "Expect: 100-continue", "--data-binary", f"@{body}", proxy.http("/echo"))
    bench.equal((got.status, got.header("x-sha256")), (200, digest), "POST that waits for 100 Continue")
    got = curl(proxy.http("/chunks"))
    bench.equal(got.body, b"one two three\n", "answer in chunks")

    block = hashlib.sha512(b"longwire").digest()
    wanted = hashlib.sha256()
    for _ in range(LARGE // 65536):
        wanted.update(block * 1024)
    got = curl(proxy.http(f"/large/{LARGE}"))
    bench.equal((len(got.body), hashlib.sha256(got.body).hexdigest()), (LARGE, wanted.hexdigest()), "64 MiB download")


def connections(bench: Bench, proxy: Proxy) -> None:
    urls = [proxy.http(f"/hello?{n}") for n in range(10)]
    done = subprocess.run(
        ["curl", "-sS", "--max-time", "20", "-w", "%{num_connects} %{http_code}\n", "-o", "/dev/null"]
        + [part for url in urls for part in (url, "-o", "/dev/null")][:-2],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    figures = [line.split() for line in done.stdout.splitlines()]
    bench.equal([status for _, status in figures], ["200"] * 10, "10 requests of one curl")
    bench.equal(sum(int(connects) for connects, _ in figures), 1, "connections they took")


def refusals(bench: Bench, proxy: Proxy) -> None:
    got = curl("-H", "Host: elsewhere.example", proxy.http("/hello"))
    bench.equal(got.status, 404, "no route for this host")
    bench.check(got.body.count(b"\n") <= 1 and len(got.body) > 5, f"one line says why: {got.body!r}")
    got = curl("-H", "Connection: Upgrade", "-H", "Upgrade: websocket", proxy.http("/hello"))
    bench.equal(got.status, 400, "half a WebSocket handshake")
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    got = curl(
        "-H",
        "Connection: Upgrade",
        "-H",
        "Upgrade: websocket",
        "-H",
        key,
        "-H",
        "Sec-WebSocket-Version: 8",
        proxy.http("/"),
    )
    bench.equal((got.status, got.header("sec-websocket-version")), (426, "13"), "a WebSocket of another version")
    requests = proxy.wait_records(20, kind="request")
    bench.check(
        all(record["path"].find("?") < 0 for record in requests),
        f"{len(requests)} records of requests, none with a query",
    )


class Answer:
    """What curl read: the last head and the body."""

    def __init__(self, output: bytes):
        head, self.body = b"", output
        # 100 Continue is a head of its own before the real one.
        while re.match(rb"HTTP/1\.[01] \d\d\d", self.body):
            head, _, self.body = self.body.partition(b"\r\n\r\n")
        self.lines = head.decode("latin-1").split("\r\n")
        self.status = int(self.lines[0].split()[1])

    def header(self, name: str) -> str | None:
        for line in self.lines[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name:
                return value.strip()
        return None


def curl(*args) -> Answer:
    done = subprocess.run(
        ["curl", "-sS", "-i", "--max-time", "30", *map(str, args)],
        check=False,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=40,
    )
    if done.returncode:
        raise Failed(f"curl {' '.join(map(str, args))}: exit {done.returncode}, {done.stderr.decode()}")
    return Answer(done.stdout)
