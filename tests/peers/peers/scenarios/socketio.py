"""socket.io: a session starts as several requests (polling) that must all reach one backend, then upgrades."""

from ..bench import Bench, run_checks, wait_until
from ..proxy import Proxy


def run(bench: Bench) -> None:
    converse(bench, "- { upstream: backends }", "/socket.io/")


def below_a_prefix(bench: Bench) -> None:
    """The servers know nothing of the prefix below which their clients find them."""
    records = converse(bench, "- { path: /chat/, upstream: backends, strip_prefix: /chat }", "/chat/socket.io/")
    bench.equal({record["path"] for record in records}, {"/chat/socket.io/"}, "records name the clients' path")


def converse(bench: Bench, routes: str, path: str) -> list[dict]:
    """Twelve clients find socket.io at this path. Returns the records of their sessions."""
    backends = {name: bench.node("socketio_server.mjs", name) for name in ("one", "two")}
    proxy = Proxy(
        bench,
        [backend.port() for backend in backends.values()],
        upstream="balance: ip_hash",
        routes=routes,
        more="trusted_proxies: [127.0.0.0/8]",
    )
    client = bench.node("socketio_client.mjs", proxy.http(""), path)
    run_checks(bench, client, 40)
    wait_until(lambda: count(backends, "disconnected") >= 12, 10, "the backends saw all 12 sessions end")
    bench.equal(count(backends, "upgraded"), 8, "sessions that began by polling and upgraded")
    if bench.direct:
        return []

    shares = {name: len(backend.events("connected")) for name, backend in backends.items()}
    bench.check(min(shares.values()) > 0, f"ip_hash spread 12 addresses over both backends: {shares}")
    records = proxy.wait_records(12)
    bench.equal(len({record["client"] for record in records}), 12, "records name the client's own addresses")
    bench.equal(proxy.stop(), 0, "longwire's exit code")
    return records


def count(backends, event: str) -> int:
    return sum(len(backend.events(event)) for backend in backends.values())
