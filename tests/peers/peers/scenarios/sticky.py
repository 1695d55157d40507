"""A sticky cookie over two backends: curl with a jar, Node and a browser come back to theirs, as behind HAProxy's `cookie insert`."""

import json
import signal
from pathlib import Path

from ..bench import Bench, free_port, run_checks, wait_until
from ..differential.proxies import start
from ..proxy import Proxy
from .curl import curl

ROUTE = "- { upstream: backends, sticky_cookie: { } }"


def run(bench: Bench) -> None:
    backends = {name: bench.node("sticky_server.mjs", name) for name in ("one", "two")}
    ports = [backend.port() for backend in backends.values()]
    proxy = Proxy(bench, ports, routes=ROUTE)
    haproxy = haproxy_before(bench, ports)
    for name, url in (("longwire", proxy.http("")), ("HAProxy, cookie insert", f"http://127.0.0.1:{haproxy}")):
        jars = [bench.folder / f"{name[:7]}-{number}.jar" for number in range(2)]
        served = [{who(url, jar) for _ in range(10)} for jar in jars]
        bench.equal([len(names) for names in served], [1, 1], f"{name}: backends of ten requests, for each of two jars")
        bench.equal(set.union(*served), {"one", "two"}, f"{name}: the backends of both")
        bench.equal({who(url) for _ in range(4)}, {"one", "two"}, f"{name}: backends of four requests without a jar")
    run_checks(bench, bench.node("sticky_client.mjs", proxy.http("")), 40)
    run_checks(bench, bench.node("sticky_browser.mjs", proxy.http(""), bench.folder / "chromium"), 60)
    upgraded = sum(len(backend.events("upgraded")) for backend in backends.values())
    bench.equal(upgraded, 10, "socket.io sessions that began by polling and upgraded")
    cookies = {event["cookie"] for backend in backends.values() for event in backend.events("cookie")}
    bench.equal(cookies, {"theme=dark"}, "cookies that the backends have read")
    move(bench, proxy, backends)


def move(bench: Bench, proxy: Proxy, backends: dict) -> None:
    """The backend of a jar dies: its client moves, and stays where it is when the backend is back."""
    jar = bench.folder / "moved.jar"
    url = proxy.http("")
    first = who(url, jar)
    cookie = value(jar)
    backends[first].signal(signal.SIGKILL)
    other = ({"one", "two"} - {first}).pop()
    wait_until(lambda: backends[first].process.poll() is not None, 10, "the end of a backend")
    bench.equal([who(url, jar) for _ in range(5)], [other] * 5, f"five requests after the end of {first}")
    bench.check(value(jar) != cookie, "the jar has another cookie")
    bench.equal(proxy.stop(), 0, "longwire's exit code")


def who(url: str, jar: Path | None = None) -> str:
    """The backend that answers curl, with a jar of cookies or without."""
    cookies = ["-b", jar, "-c", jar] if jar else []
    return json.loads(curl(*cookies, f"{url}/who").body)["name"]


def value(jar: Path) -> str:
    """The value of the only cookie in curl's jar."""
    lines = [line for line in jar.read_text().splitlines() if "\tlongwire\t" in line]
    return lines[0].split("\t")[-1]


def haproxy_before(bench: Bench, ports: list[int]) -> int:
    port = free_port()
    file = bench.folder / "haproxy-sticky.cfg"
    servers = "\n".join(f"  server s{backend} 127.0.0.1:{backend} cookie s{backend}" for backend in ports)
    file.write_text(
        f"""\
global
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 10s
  timeout server 10s
listen sticky
  bind 127.0.0.1:{port}
  balance roundrobin
  cookie SERVERID insert indirect nocache httponly attr SameSite=Lax
{servers}
"""
    )
    start(bench, "haproxy", port, "haproxy", "-q", "-db", "-f", file)
    return port
