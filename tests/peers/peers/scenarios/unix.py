"""Unix sockets on both sides: Node ws, Python websockets, curl and nginx, 1,000 sessions, a hand-over, a service manager."""

import os
import shutil
import signal
import socket
import stat

from ..bench import Bench, run_checks, wait_until
from ..proxy import Proxy, activated, config
from .curl import curl

SESSIONS = 1000
SIZE = 4 * 1024 * 1024

NGINX = """
{user} daemon off; pid {folder}/nginx.pid; error_log stderr crit;
events {{}}
http {{
  access_log off; client_max_body_size 16m;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen unix:{folder}/nginx.sock;
    location / {{ root {folder}/site; add_header X-Host $http_host; add_header X-For "$http_x_forwarded_for."; }}
  }}
}}
"""


def run(bench: Bench) -> None:
    chat(bench)
    plain(bench)
    many(bench)
    activation(bench)


def chat(bench: Bench) -> None:
    """Node ws as client and as backend."""
    backend = bench.node("ws_server.mjs", "--path", bench.folder / "node.sock")
    backend.event("listening")
    listener = bench.folder / "chat.sock"
    proxy = Proxy(
        bench,
        [f'{{ address: "unix:{bench.folder}/node.sock" }}'],
        listeners=f'  - {{ bind: "unix:{listener}", mode: "0600" }}',
    )
    run_checks(bench, bench.node("ws_client.mjs", f"ws+unix:{listener}:"), 60)
    wait_until(lambda: len(proxy.records()) >= 3, 10, "a record of each session")
    records = proxy.records()
    bench.check(
        all(record["client"] == "unix:" and record["clean"] for record in records), "records: clean, client unix:"
    )
    bench.equal({record["peer_uid"] for record in records}, {os.getuid()}, "records: the user at the other end")
    found = listener.stat()
    bench.check(stat.S_ISSOCK(found.st_mode), "stat: a socket")
    bench.equal((oct(stat.S_IMODE(found.st_mode)), found.st_uid), ("0o600", os.getuid()), "stat: mode and owner")
    bench.equal(proxy.stop(), 0, "longwire's exit code")
    bench.check(not listener.exists(), "the file went with its listener")


def plain(bench: Bench) -> None:
    """curl to nginx."""
    site = bench.folder / "site"
    site.mkdir()
    large = os.urandom(SIZE)
    (site / "large").write_bytes(large)
    (site / "index.html").write_text("hello\n")
    file = bench.folder / "nginx.conf"
    # As root, nginx would look for the files as another user, who may not enter the folder.
    user = "user root;" if os.getuid() == 0 else ""
    file.write_text(NGINX.format(folder=bench.folder, user=user))
    bench.start("nginx", shutil.which("nginx", path="/usr/sbin:/usr/bin"), "-c", file)
    wait_until((bench.folder / "nginx.sock").exists, 15, "nginx has its socket")
    listener, name = bench.folder / "plain.sock", f"longwire-peers-{os.getpid()}"
    proxy = Proxy(
        bench,
        [f'{{ address: "unix:{bench.folder}/nginx.sock" }}'],
        listeners=f'  - {{ bind: "unix:{listener}" }}\n  - {{ bind: "unix:@{name}" }}',
        upstream="balance: round_robin\nhealth_check: { kind: http, interval: 1s }",
    )
    for how, place in (("--unix-socket", listener), ("--abstract-unix-socket", name)):
        got = curl(how, place, "http://app.example/")
        bench.equal((got.status, got.body), (200, b"hello\n"), f"curl {how}")
        bench.equal(got.header("x-host"), "app.example", "nginx read the client's Host")
        bench.equal(got.header("x-for"), ".", "nginx read no X-Forwarded-For")
        got = curl(how, place, "http://app.example/large")
        bench.check(got.body == large, f"curl {how}: {SIZE >> 20} MiB, every byte")
    records = proxy.wait_records(4, kind="request")
    bench.equal({record["client"] for record in records}, {"unix:"}, "records: the clients")
    bench.equal(proxy.stop(), 0, "longwire's exit code")


def many(bench: Bench) -> None:
    """1,000 sessions over a Unix listener and a Unix backend, and a hand-over beneath them."""
    backend = bench.node("ws_server.mjs", "--path", bench.folder / "many.sock", "--plain")
    backend.event("listening")
    listener = bench.folder / "listener.sock"
    more = f"timeouts: {{ drain: 60s }}\ndrain: {{ spread: 2s }}\nhandover: {bench.folder}/handover.sock"
    old = Proxy(
        bench,
        [f'{{ address: "unix:{bench.folder}/many.sock" }}'],
        listeners=f'  - {{ bind: "unix:{listener}" }}',
        more=more,
    )
    clients = bench.python("unix_sessions.py", listener, SESSIONS)
    opened = clients.event("opened", 60)
    bench.equal(opened["open"], SESSIONS, f"sessions open after {opened['seconds']} s")
    clients.signal(signal.SIGUSR1)
    bench.equal(clients.event("echoed", 30)["open"], SESSIONS, "sessions that echo")
    inode = listener.stat().st_ino
    new = bench.start("longwire", bench.binary, "run", "-c", old.file, cwd=bench.folder)
    bench.equal(old.program.wait(60), 0, "the old process ends after the hand-over")
    bench.equal(clients.event("ended", 30)["codes"], {"1012": SESSIONS}, "the codes that the clients read")
    bench.equal(listener.stat().st_ino, inode, "the hand-over kept the file")
    run_checks(bench, bench.node("ws_client.mjs", f"ws+unix:{listener}:", "--plain"), 60)
    new.signal(signal.SIGTERM)
    bench.equal(new.wait(20), 0, "the new process ends")
    bench.check(not listener.exists(), "the last process removed the file")


def activation(bench: Bench) -> None:
    """A socket of the service manager: its file stays while processes come and go, with the rights that it had."""
    path = bench.folder / "activated.sock"
    backend = f'{{ address: "unix:{bench.folder}/nginx.sock" }}'
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        path.chmod(0o640)
        listening.listen()
        before = path.stat()
        file = bench.folder / "activated.yaml"
        routes = "- { upstream: backends }"
        file.write_text(
            config(f'bind: "unix:{path}"', [backend], bench, False, "", "", "ping_interval: 25s", routes, "")
        )
        for start in ("first", "second"):
            process = activated(bench, file, listening, start)
            # Nobody may serve the socket yet: then curl waits in the kernel.
            got = curl("--unix-socket", path, "http://app.example/")
            bench.equal(
                (got.status, got.body), (200, b"hello\n"), f"curl by the socket of the service manager, {start} process"
            )
            process.signal(signal.SIGTERM)
            bench.equal(process.wait(15), 0, "its exit code")
            now = path.stat()
            bench.equal((now.st_ino, now.st_mode), (before.st_ino, before.st_mode), "the file and its mode stay")
