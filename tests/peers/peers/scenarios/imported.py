"""The files of nginx and HAProxy that the differential test and the comparison use, made into files of longwire by
`longwire import`: clients see no difference between the two."""

import http.client
import importlib
import json
import socket
import subprocess
import sys
from pathlib import Path

from ..bench import Bench, Failed, free_port, wait_until
from ..differential import proxies
from ..proxy import accepts

HOST = "chat.example.com"
# That one look at a proxy opens.
SESSIONS = 4
FIELDS = {"Host": HOST, "X-Mark": "mark", "Cookie": "a=1", "Origin": "https://chat.example.com"}


def run(bench: Bench) -> None:
    for name, text, is_short in originals(bench):
        backend = bench.node("telling_server.mjs")
        port = free_port()
        file = bench.folder / name
        file.write_text(text(port, backend.port()))
        command = (
            ["haproxy", "-q", "-db", "-f"]
            if name.endswith(".cfg")
            else ["nginx", "-p", bench.folder, "-e", "stderr", "-c"]
        )
        proxies.start(bench, name, port, *command, file)
        theirs = seen(port, is_short)
        own = free_port()
        program = bench.start("longwire", bench.binary, "run", "-c", imported(bench, file, port, own))
        wait_until(lambda own=own: accepts(own), 15, "longwire accepts connections")
        ours = seen(own, is_short)
        for what, found in ours.items():
            bench.equal(found, theirs[what], f"{name}: {what}")
        program.kill()
        wait_until(
            lambda backend=backend: len(backend.events("closed")) >= 2 * SESSIONS, 15, "the ends of all sessions"
        )
        ends = [(event["code"], event["reason"]) for event in backend.events("closed")]
        bench.equal(ends[: len(ends) // 2], ends[len(ends) // 2 :], f"{name}: the ends that the backend read")


def originals(bench: Bench):
    """The name of each file, how it is made for a port and a backend, and whether it has a short deadline for answers."""
    sys.path.insert(0, str(bench.root / "benches/compare"))
    configs = importlib.import_module("compare.configs")

    def setup(port: int, backend: int):
        return configs.Setup(port, backend, 1, bench.folder, tls=False, probed=0, pings="", log=False)

    yield "differential.conf", lambda port, backend: proxies.nginx_conf(bench.folder, port, backend), True
    yield "differential.cfg", proxies.haproxy_cfg, True
    yield "compare.conf", lambda port, backend: configs.nginx_conf(setup(port, backend), "4k"), False
    yield "compare.cfg", lambda port, backend: configs.haproxy_cfg(setup(port, backend), splice=False), False


def imported(bench: Bench, file: Path, port: int, own: int) -> Path:
    """The file for longwire, with a port of its own."""
    made = file.with_suffix(file.suffix + ".yaml")
    command = [bench.binary, "import", file, "-o", made]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    bench.equal(done.returncode, 0, f"the exit code of import for {file.name}")
    if " error: " in done.stderr:
        raise Failed(f"{file.name} works, but import says: {done.stderr}")
    made.write_text(made.read_text().replace(f"127.0.0.1:{port}", f"127.0.0.1:{own}"))
    return made


def seen(port: int, is_short: bool) -> dict[str, object]:
    """What a client sees of a proxy, and what the backend has told it of its requests."""
    found = {
        "a GET": plain(port, "GET", "/page?x=%20y"),
        "a POST": plain(port, "POST", "/form", "hello"),
        "a path that is encoded": plain(port, "GET", "/a%2Fb/%C3%A9"),
        "404 of the backend": plain(port, "GET", "/status/404"),
        "503 of the backend": plain(port, "PUT", "/status/503", "x"),
        "a handshake and its session": session(port),
        "a Close of the client": closed(port, None),
        "a Close of the backend": closed(port, "do close 4001 go away"),
        "a Close of the backend without a reason": closed(port, "do close 1000"),
        "a handshake that is refused": refused(port, "/refused"),
    }
    if is_short:
        found["a backend that does not answer"] = plain(port, "GET", "/never")[0]
    return found


def plain(port: int, method: str, path: str, body: str | None = None) -> tuple:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, body, FIELDS)
    answer = connection.getresponse()
    text = answer.read()
    own = answer.getheader("X-Own")
    connection.close()
    return answer.status, own, told(text) if own else None


def told(text: bytes | str) -> tuple:
    """What the backend read of a request, but for what proxies add."""
    request = json.loads(text)
    fields = request["headers"]
    kept = {name: fields.get(name.lower()) for name in (*FIELDS, "Upgrade", "Sec-WebSocket-Protocol")}
    return request["method"], request["url"], request["body"], kept


def open_session(port: int, path: str = "/ws?room=1"):
    from websockets.sync.client import connect

    fields = {name: value for name, value in FIELDS.items() if name not in ("Host", "Origin")}
    return connect(
        f"ws://{HOST}{path}",
        sock=socket.create_connection(("127.0.0.1", port), 20),
        origin=FIELDS["Origin"],
        additional_headers=fields,
        subprotocols=["chat.v2", "chat.v1"],
        open_timeout=20,
        proxy=None,
        max_size=None,
    )


def session(port: int) -> tuple:
    messages = ["text", "é" * 10_000, b"\0\xff", b"b" * 1_000_000, ["in ", "several ", "pieces"]]
    with open_session(port) as client:
        echoes = []
        for message in messages:
            client.send(message)
            wanted = "".join(message) if isinstance(message, list) else message
            echoes.append(client.recv(20) == wanted)
        client.send("do tell")
        return client.response.status_code, client.subprotocol, echoes, told(client.recv(20))


def closed(port: int, order: str | None) -> tuple:
    from websockets.exceptions import ConnectionClosed

    with open_session(port) as client:
        if order is None:
            client.close(4000, "bye")
        else:
            client.send(order)
            try:
                client.recv(20)
            except ConnectionClosed as end:
                return end.rcvd.code, end.rcvd.reason
        return client.close_code, client.close_reason


def refused(port: int, path: str) -> int:
    from websockets.exceptions import InvalidStatus

    try:
        with open_session(port, path):
            return 101
    except InvalidStatus as refusal:
        return refusal.response.status_code
