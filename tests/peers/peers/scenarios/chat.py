"""Two clients and two backends, each by another hand, in all four pairs; once more over TLS."""

from ..bench import Bench, run_checks, wait_until
from ..proxy import Proxy

SERVERS = {"Python websockets": ("websockets_server.py", Bench.python), "Node ws": ("ws_server.mjs", Bench.node)}


def python(bench: Bench) -> None:
    for server in SERVERS:
        for tls in (False,) if bench.direct else (False, True):
            chat(bench, "websockets_client.py", Bench.python, server, tls)


def node(bench: Bench) -> None:
    for server in SERVERS:
        for tls in (False,) if bench.direct else (False, True):
            chat(bench, "ws_client.mjs", Bench.node, server, tls)


def chat(bench: Bench, client: str, start, server: str, tls: bool) -> None:
    script, start_server = SERVERS[server]
    bench.say(f"{client} to {server}{' over TLS' if tls else ''}")
    backend = start_server(bench, script)
    proxy = Proxy(bench, [backend.port()], tls=tls)
    run_checks(bench, start(bench, client, proxy.url("")), 40)

    wait_until(lambda: len(backend.events("closed")) >= 2, 10, "the backend saw both sessions end")
    ends = {event["path"]: (event["code"], event["reason"]) for event in backend.events("closed")}
    bench.equal(ends["/chat?room=1"], (4321, "client says bye"), "client's close code and reason at the backend")
    bench.equal(ends["/plain"], (4567, "backend says bye"), "backend's close code and reason came back")
    if bench.direct:
        return

    wait_until(
        lambda: {"/chat", "/plain"} <= {record["path"] for record in proxy.records()}, 10, "a record of each session"
    )
    records = {record["path"]: record for record in proxy.records()}
    bench.equal(
        (records["/chat"]["close_code"], records["/chat"]["initiator"]),
        (4321, "client"),
        "record: who closed the first",
    )
    bench.equal(
        (records["/plain"]["close_code"], records["/plain"]["initiator"]),
        (4567, "backend"),
        "record: who closed the second",
    )
    bench.check(all(record["clean"] for record in records.values()), "record: every end was clean")
    bench.equal(proxy.stop(), 0, "longwire's exit code")
