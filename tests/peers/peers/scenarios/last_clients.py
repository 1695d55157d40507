"""Who comes last: clients that the kernel had accepted when a server closes its listener read an answer and no reset."""

import signal
from pathlib import Path

from ..bench import Bench, Program, wait_until
from ..proxy import Proxy, accepts, free_port

ROUNDS = 8
# One may come between the kernel's last word and the close.
UNLUCKY = 2
# Each answers by itself, so that nothing slows the clients down.
NOBODY = "- { host: nobody.example, upstream: backends }"


def run(bench: Bench) -> None:
    for name, start, stop in (
        ("nginx", start_nginx, signal.SIGQUIT),
        ("HAProxy", start_haproxy, signal.SIGUSR1),
        ("longwire", start_longwire, signal.SIGTERM),
    ):
        lost = sum(end(bench, *start(bench), stop) for _ in range(ROUNDS))
        judge(bench, name, lost, f"of those who came while it ended, in {ROUNDS} rounds")
    judge(bench, "longwire", take_away(bench), f"of those who came while {ROUNDS} reloads took the listener away")


def judge(bench: Bench, name: str, lost: int, of_whom: str) -> None:
    text = f"{name}: {lost} unanswered {of_whom}"
    if name == "longwire":
        bench.check(lost <= UNLUCKY, text)
    else:
        bench.say(text)


def end(bench: Bench, program: Program, port: int, stop: int) -> int:
    """How many are lost when the server is told to end."""
    clients = bench.python("last_clients.py", port)
    clients.event("begun")
    program.signal(stop)
    program.wait(30)
    return clients.event("done", 30)["unanswered"]


def take_away(bench: Bench) -> int:
    """How many are lost when a reload has the listener no more."""
    proxy = Proxy(bench, [free_port()], routes=NOBODY)
    without, lost = proxy.file.read_text(), 0
    for _ in range(ROUNDS):
        port = free_port()
        listener = f"  - bind: 127.0.0.1:{proxy.port}\n"
        proxy.file.write_text(without.replace(listener, f"{listener}  - bind: 127.0.0.1:{port}\n"))
        proxy.program.signal(signal.SIGHUP)
        wait_until(lambda port=port: accepts(port), 15, "the listener that a reload added")
        clients = bench.python("last_clients.py", port)
        clients.event("begun")
        proxy.file.write_text(without)
        proxy.program.signal(signal.SIGHUP)
        lost += clients.event("done", 30)["unanswered"]
    bench.equal(proxy.stop(), 0, "exit code")
    return lost


def start_longwire(bench: Bench) -> tuple[Program, int]:
    proxy = Proxy(bench, [free_port()], routes=NOBODY)
    return proxy.program, proxy.port


def start_nginx(bench: Bench) -> tuple[Program, int]:
    port, folder = free_port(), bench.folder
    temporary = " ".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    file = write(
        folder / "nginx.conf",
        f"""daemon off; worker_processes 2; pid {folder}/nginx.pid; error_log {folder}/nginx.errors;
        events {{ worker_connections 1024; }}
        http {{ access_log off; {temporary}
          server {{ listen 127.0.0.1:{port}; location / {{ return 404; }} }} }}""",
    )
    return serving(bench.start("nginx", "nginx", "-c", file, "-p", folder), port)


def start_haproxy(bench: Bench) -> tuple[Program, int]:
    port = free_port()
    file = write(
        bench.folder / "haproxy.cfg",
        f"""global
  nbthread 2
defaults
  mode http
  timeout connect 5s
  timeout client 5s
  timeout server 5s
listen all
  bind 127.0.0.1:{port}
  http-request return status 404
""",
    )
    return serving(bench.start("haproxy", "haproxy", "-f", file), port)


def write(file: Path, text: str) -> Path:
    file.write_text(text)
    return file


def serving(program: Program, port: int) -> tuple[Program, int]:
    wait_until(lambda: accepts(port), 15, f"{program.name} accepts connections")
    return program, port
