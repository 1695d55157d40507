"""How sessions end: clients by others, plain and over TLS, count every end that is not in order."""

import collections

from ..bench import Bench, Program
from ..proxy import Proxy

# Sessions of each client, for each of `--minutes`: ten of them make 100,000 sessions.
EACH = 1_600
# Those that break the RFC.
BABBLING = 400
# A Close that is lost to bytes behind the client's own: they came between our last look and the end of the connection.
UNLUCKY = 0.001


def run(bench: Bench) -> None:
    backends = [bench.node("ws_server.mjs", "--plain"), bench.python("websockets_server.py")]
    for tls in (False, True):
        proxy = Proxy(bench, [backend.port() for backend in backends], tls=tls)
        each, babbling = round(EACH * bench.minutes), round(BABBLING * bench.minutes)
        for kind in ("websockets", "ws", "raw"):
            bench.equal(wrong(bench, start(bench, proxy, kind, each)), {}, f"{name(kind, tls)}: wrong of {each} ends")
        lost = wrong(bench, start(bench, proxy, "babbling", babbling))
        bench.check(
            sum(lost.values()) <= UNLUCKY * babbling,
            f"{name('babbling', tls)}: Closes lost of {babbling}: {lost}",
        )
        bench.equal(proxy.stop(), 0, "exit code")
        ends = collections.Counter((record["cause"], record["clean"]) for record in proxy.records())
        bench.equal(
            ends,
            {
                ("client_close", True): (each // 2) * 3 + babbling,
                ("backend_close", True): (each - each // 2) * 3,
            },
            "the records: causes, and whether the end was clean",
        )
    told = collections.Counter(event["code"] for backend in backends for event in backend.events("closed"))
    bench.equal(set(told), {4000}, "the codes that the backends read")


def start(bench: Bench, proxy: Proxy, kind: str, count: int) -> Program:
    if kind == "ws":
        return bench.node("closing.mjs", proxy.url(), count)
    return bench.python("closing.py", proxy.url(), kind, count)


def wrong(bench: Bench, client: Program) -> dict[str, int]:
    return client.event("done", 120 * max(bench.minutes, 1))["wrong"]


def name(kind: str, tls: bool) -> str:
    return f"{kind} over TLS" if tls else kind
