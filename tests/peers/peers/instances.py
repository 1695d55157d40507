"""Several longwires behind one layer-4 balancer."""

import json
import signal
import subprocess
import time
import urllib.request

from .bench import Bench, Failed, Program, free_port, wait_until
from .differential.proxies import start
from .proxy import Proxy

# What the balancer must notice before it sends nobody to a longwire any more, seconds.
CHECKED_EACH = 0.1


class Instance:
    """One of them: a longwire with a port of the backend for itself."""

    def __init__(self, bench: Bench, name: str, backend: int, settings: str, routes: str = "- { upstream: backends }"):
        self.bench, self.name, self.admin, self.settings = bench, name, free_port(), settings
        self.socket = bench.folder / f"{name}.sock"
        listener = "proxy_protocol: { from: [127.0.0.1] }"
        self.proxy = Proxy(bench, [backend], listener=listener, routes=routes, more=self._more(settings))

    def _more(self, settings: str) -> str:
        admin = f"admin: {{ bind: 127.0.0.1:{self.admin} }}\nhandover: {self.socket}"
        return f"{admin}\n{settings.replace('NAME', self.name)}"

    @property
    def program(self) -> Program:
        return self.proxy.program

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=10) as answer:
            return answer.read().decode()

    def status(self) -> dict:
        return json.loads(self.get("/api/status"))

    def samples(self, metric: str, label: str) -> dict[str, int]:
        """A metric by one of its labels."""
        found = {}
        for line in self.get("/metrics").splitlines():
            name, _, rest = line.partition("{")
            if name == metric and f'{label}="' in rest:
                found[rest.partition(f'{label}="')[2].partition('"')[0]] = int(float(line.rpartition(" ")[2]))
        return found

    def reload(self, settings: str) -> None:
        """With other settings in the place of those it had."""
        before, after = self._more(self.settings), self._more(settings)
        text = self.proxy.file.read_text()
        self.settings = settings
        self.proxy.file.write_text(text.replace(before, after))
        program = self.program
        done = program.stderr().count('"message":"reloaded"')
        program.signal(signal.SIGHUP)
        wait_until(lambda: program.stderr().count('"message":"reloaded"') > done, 15, f"{self.name} reloads")

    def kill(self) -> None:
        self.program.signal(signal.SIGKILL)
        self.program.wait(10)

    def begin(self) -> None:
        """Another process: after a kill, or as the successor of the one that runs."""
        binary, file, folder = self.bench.binary, self.proxy.file, self.bench.folder
        self.proxy.program = self.bench.start(f"longwire {self.name}", binary, "run", "-c", file, cwd=folder)
        wait_until(lambda: '"message":"ready"' in self.program.stderr(), 15, f"{self.name} is ready")

    def command(self, *words: str) -> str:
        """What a command for an operator prints."""
        words = [str(self.bench.binary), *words, "--admin", f"127.0.0.1:{self.admin}"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
        if done.returncode:
            raise Failed(f"{' '.join(words[1:])} ended with {done.returncode}: {done.stderr[-300:]}")
        return done.stdout


class Balancer:
    """HAProxy in TCP mode, which tells each longwire the client's address by PROXY v2, and asks it whether it is ready."""

    def __init__(self, bench: Bench, instances: list[Instance], balance: str = "roundrobin"):
        self.bench, self.port = bench, free_port()
        self.file = bench.folder / f"balancer-{self.port}.cfg"
        check = f"check inter {CHECKED_EACH * 1000:.0f}ms fall 1 rise 1"
        servers = "\n".join(
            f"  server {one.name} 127.0.0.1:{one.proxy.port} send-proxy-v2 {check} port {one.admin}"
            for one in instances
        )
        self.file.write_text(f"""\
global
  nbthread 1
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  retries 3
  option redispatch 1
listen front
  bind 127.0.0.1:{self.port}
  balance {balance}
  hash-type consistent
  option httpchk
  http-check send meth GET uri /readyz ver HTTP/1.1 hdr Host localhost
{servers}
""")
        self.program: Program
        self.start()

    def start(self) -> None:
        self.program = start(self.bench, "haproxy", self.port, "haproxy", "-q", "-db", "-f", self.file)

    def kill(self) -> None:
        """Every connection through it ends."""
        self.program.signal(signal.SIGKILL)
        self.program.wait(10)


def answer(program: Program, question: int, event: str) -> dict:
    before = len(program.events(event))
    program.signal(question)
    deadline = time.monotonic() + 30
    while len(told := program.events(event)) == before:
        if time.monotonic() > deadline:
            raise Failed(f"{program.name}: no {event} within 30 s")
        time.sleep(0.01)
    return told[-1]
