"""Starts and ends the programs of one measurement: a backend, a proxy in front of it, the load."""

import os
import socket
import subprocess
import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from . import configs, others
from .machine import Cores

# The traffic that a proxy carries while something else is timed, by the program of its backend.
BULK = "flood"
CHAT = "echo"
# How many sessions chat, and how many messages a second they send together.
CHATTING = {"connections": 1000, "rate": 4000}


class Broken(Exception):
    """A program did not do what the measurement needs. The sample is void."""


@dataclass
class Proxy:
    name: str
    pid: int
    port: int
    backend_pid: int


class Load:
    """The running load program, or the running probe. It obeys lines and answers with figures."""

    def __init__(self, process: subprocess.Popen):
        self.process = process

    def tell(self, command: str) -> None:
        self.process.stdin.write(command + "\n")

    def count(self) -> dict[str, int]:
        """The figures since the start of the program."""
        self.tell("count")
        line = self.process.stdout.readline()
        if not line:
            raise Broken("load ended")
        return {key: int(value) for key, value in (field.split("=") for field in line.split())}

    def pause(self, patience: float = 5.0) -> dict[str, int]:
        """Waits for the messages that are on their way, then returns the figures. The proxy has lost a message that never
        arrives."""
        self.tell("pause")
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            counts = self.count()
            if counts["on_their_way"] == 0 or counts["errors"]:
                return counts
            time.sleep(0.02)
        raise Broken(f"{counts['on_their_way']} messages never came back")


@dataclass
class Stand:
    """The place of everything in a run: programs, certificate, cores."""

    folder: Path  # of this run: configs, certificate, logs
    programs: Path  # compiled from programs/
    longwire: Path
    cores: Cores
    under: tuple = ()  # a program that watches the proxy run: the begin of a command line
    patience: float = 10.0  # seconds that a program has to listen, and to end
    before: Path | None = None  # a longwire to measure beside the first

    @contextmanager
    def proxy(
        self,
        name: str,
        workers: int = 1,
        cores: int = 1,
        tls: bool = False,
        pings: str = "",
        beside: str = "",
        log: bool = False,
        backend_tls: bool = False,
    ):
        """A fresh proxy with a fresh backend, so that no sample inherits anything from another. With `beside`, BULK or CHAT,
        that traffic has its own backend and the probe has another: so the probe times the proxy, and not a backend that
        others load."""
        backend_port, port, probed_port = free_ports(3)
        backend = [self.programs / "flood", "backend"] if beside == BULK else [self.programs / "echo"]
        pair = [self.folder / "certificate.pem", self.folder / "key.pem"] if backend_tls else []
        command = [*backend, backend_port, *pair]
        with self.started(command, {self.cores.backend}, backend_port, yields=bool(beside)) as echo:
            with self.probed_backend(probed_port) if beside else nullcontext():
                probed = probed_port if beside else 0
                setup = configs.Setup(port, backend_port, workers, self.folder, tls, probed, pings, log, backend_tls)
                with (
                    open(setup.access_log, "w") as output,
                    self.started(self.command(name, setup), self.cores.first(cores), port, stdout=output) as process,
                ):
                    yield Proxy(name, process.pid, port, echo.pid)

    def command(self, name: str, setup: configs.Setup) -> list:
        if name in others.OTHERS:
            return [*self.under, *others.command(name, setup, self.programs)]
        longwire = self.before if name == configs.BEFORE else self.longwire
        return [*self.under, *configs.command(name, setup, longwire, self.programs)]

    @contextmanager
    def probed_backend(self, port: int):
        """A backend that serves only the probe."""
        with self.started([self.programs / "echo", port], {self.cores.backend}, port):
            yield

    def chat(self, proxy: Proxy):
        """Many sessions, each with a message now and then. A program that times something has priority over them."""
        return self.load(proxy, "echo", yields=True, **CHATTING)

    @contextmanager
    def flood(self, proxy: Proxy):
        """Bulk both ways through a proxy. A program that times something has priority over it."""
        command = [self.programs / "flood", "clients", proxy.port]
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with self.running(command, {self.cores.load}, yields=True, **streams) as process:
            if process.stdout.readline() != "ready\n":
                raise Broken("the flood could not begin")
            yield Load(process)

    @contextmanager
    def probe(self, proxy: Proxy, kind: str):
        """The program that times one kind of thing through a proxy, beside the load of the proxy."""
        command = [self.programs / "probe", kind, "--port", proxy.port]
        with self.running(command, {self.cores.load}, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            if process.stdout.readline() != "ready\n":
                raise Broken("the probe could not begin")
            yield Load(process)

    @contextmanager
    def load(self, proxy: Proxy, mode: str, yields: bool = False, **options):
        """The load on a proxy, with all sessions open and nothing sent yet. The options are those of the program."""
        command = [self.programs / "load", mode, "--port", proxy.port]
        if proxy.name == configs.RESUME:
            command.append("--library")
        for key, value in options.items():
            if value is not False:
                command += [f"--{key.replace('_', '-')}", *([] if value is True else [value])]
        with self.running(command, {self.cores.load}, yields, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            if process.stdout.readline() != "ready\n":
                raise Broken("load could not begin")
            yield Load(process)

    @contextmanager
    def started(self, command: list, cores: set[int], port: int, yields: bool = False, stdout=subprocess.DEVNULL):
        """A program that listens."""
        with self.running(command, cores, yields, stdin=subprocess.DEVNULL, stdout=stdout) as process:
            wait_for_port(process, port, self.patience)
            yield process

    @contextmanager
    def running(self, command: list, cores: set[int], yields: bool = False, **streams):
        """With `yields`, others on its cores have priority, so that a program which times something does not wait."""

        def prepare() -> None:
            os.sched_setaffinity(0, cores)
            if yields:
                os.nice(15)

        command = [str(part) for part in command]
        with open(self.folder / "log", "a") as log:
            # This program has no threads, so that the child may run Python before its exec.
            process = subprocess.Popen(command, text=True, bufsize=1, stderr=log, preexec_fn=prepare, **streams)  # noqa: PLW1509
        try:
            yield process
        finally:
            end(process, self.patience)


def end(process: subprocess.Popen, patience: float) -> None:
    """Ends a program by SIGTERM, and by SIGKILL if it takes longer than `patience`."""
    process.terminate()
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for stream in (process.stdin, process.stdout):
        if stream:
            stream.close()


def free_ports(count: int) -> list[int]:
    """Free ports below the range from which the kernel takes the ports of outgoing connections, because there will be
    thousands of those. Another run at the same time begins at another port."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = []
    for port in range(first - 1 - 8 * (os.getpid() % 1000), 1024, -1):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        ports.append(port)
        if len(ports) == count:
            return ports
    raise Broken("no free ports")


def wait_for_port(process: subprocess.Popen, port: int, patience: float) -> None:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Broken(f"{process.args[0]} ended with {process.returncode} at its start")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise Broken(f"{process.args[0]} does not listen")
