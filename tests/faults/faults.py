"""The soak: see `run`. Two backends suffer, a third is left alone: who is with that one, and is not killed, must not
lose a session. In a network namespace of its own, where lo is all there is."""

import argparse
import asyncio
import contextlib
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from attacks import wire
from attacks.backend import read_frame
from peers.bench import Bench, Failed, Program, free_port, parsed, wait_until
from peers.proxy import status_kib

ROOT = Path(__file__).resolve().parents[2]
STEADY, SUFFERING = 40, 60
# From one fault to the next, seconds.
PAUSE = 0.5
# A message that does not come back for so long is lost: far beyond what TCP needs to repair 2 % of loss.
PATIENCE = 60
MEMORY_KIB = 4 * 1024
# longwire keeps up to 32 idle connections per backend and worker; handshakes use none of them.
FILES = 16


class Lost(Exception):
    """The session ended though its client did not end it."""


class Client:
    """A session whose messages must come back byte by byte. It answers Pings."""

    def __init__(self, soak: "Soak", path: str):
        self.soak, self.path, self.numbers = soak, path, random.Random(soak.numbers.random())
        self.unread, self.messages = b"", 0
        self.writer = None

    async def run(self) -> None:
        """One session after another, until the soak is over."""
        while not self.soak.over:
            try:
                if await self.open():
                    await self.talk()
            except (Lost, OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                self.soak.heard_loss(self.path, error)
            finally:
                if self.writer is not None:
                    self.writer.close()
                    self.writer = None

    async def open(self) -> bool:
        self.unread = b""
        self.reader, self.writer = await asyncio.wait_for(
            asyncio.open_connection("127.0.0.1", self.soak.port), PATIENCE
        )
        self.writer.write(wire.handshake(self.path))
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE)
        status = wire.status(head)
        self.soak.answers[self.path, status] += 1
        if status != "101":
            await asyncio.sleep(0.2)
            return False
        return True

    async def talk(self) -> None:
        for number in range(self.numbers.randrange(20, 400)):
            length = self.numbers.choice((5, 60, 700, 20_000, 100_000))
            message = self.numbers.randbytes(length)
            await self.say(wire.masked(0x82, message))
            await self.hear(0x82, message, f"message {number} of {length} bytes")
            self.soak.messages += 1
            self.soak.bytes += length
            if self.soak.over:
                break
            await asyncio.sleep(self.numbers.random() * 0.5)
        await self.say(wire.masked(0x88, b"\x03\xe8"))
        await self.hear(0x88, b"\x03\xe8", "the Close")
        self.soak.ends["closed"] += 1

    async def say(self, frame: bytes) -> None:
        self.writer.write(frame)
        await asyncio.wait_for(self.writer.drain(), PATIENCE)

    async def hear(self, first: int, payload: bytes, what: str) -> None:
        while True:
            while (frame := read_frame(self.unread, 0)) is not None:
                kind, found, end = frame
                self.unread = self.unread[end:]
                if kind == 0x89:
                    await self.say(wire.masked(0x8A, found))
                elif (kind, found) == (first, payload):
                    return
                elif kind == 0x88:
                    raise Lost(f"Close {int.from_bytes(found[:2], 'big')} {found[2:].decode(errors='replace')}")
                else:
                    self.soak.wrong.append(f"{what}: got {kind:#x} of {len(found)} bytes instead")
                    raise Lost("wrong bytes")
            part = await asyncio.wait_for(self.reader.read(1 << 16), PATIENCE)
            if not part:
                if self.unread and not self.may_be_begin(first, payload):
                    self.soak.wrong.append(f"{what}: cut, and what came before differs")
                raise Lost("no word")
            self.unread += part

    def may_be_begin(self, first: int, payload: bytes) -> bool:
        """Whether what was cut is the begin of the awaited frame, or of a Ping or Close."""
        whole = wire.masked(first, payload)
        length = 10 if len(payload) > 65535 else 4 if len(payload) > 125 else 2
        unmasked = bytes((whole[0], whole[1] & 0x7F)) + whole[2:length] + payload
        return unmasked.startswith(self.unread) or self.unread[0] in (0x88, 0x89)


class Soak:
    def __init__(self, bench: Bench, options):
        self.bench, self.options = bench, options
        self.numbers = random.Random(options.seed)
        self.over, self.messages, self.bytes = False, 0, 0
        self.answers, self.ends, self.faults = Counter(), Counter(), Counter()
        self.wrong: list[str] = []
        self.killed: set[Client] = set()
        self.ports = [free_port() for _ in range(3)]
        self.backends = [self.start_backend(port) for port in self.ports]
        self.port = free_port()
        file = bench.folder / "proxy.yaml"
        address = [f'{{ address: "127.0.0.1:{port}" }}' for port in self.ports]
        file.write_text(
            f"workers: 2\nlisteners: [ {{ bind: 127.0.0.1:{self.port} }} ]\nupstreams:\n"
            f"  steady: {{ max_fails: 0, backends: [ {address[0]} ] }}\n"
            "  suffering: { balance: round_robin, max_fails: 2, fail_timeout: 2s, "
            f"backends: [ {address[1]}, {address[2]} ] }}\n"
            "routes: [ { path: /steady, upstream: steady }, { path: /suffering, upstream: suffering } ]\n"
            "keepalive: { ping_interval: 1s, pong_timeout: 8s }\n"
            "timeouts: { connect: 4s, upgrade: 8s, close: 2s, drain: 10s }\n"
        )
        self.proxy: Program = bench.start("longwire", bench.binary, "run", "-c", file, cwd=bench.folder)
        wait_until(self.accepts, 20, "longwire accepts connections")

    def start_backend(self, port: int) -> Program:
        command = [sys.executable, "-m", "attacks.backend", port]
        backend = self.bench.start(f"backend {port}", *command, cwd=ROOT / "tests/attacks")
        backend.port()
        return backend

    def accepts(self) -> bool:
        with contextlib.suppress(OSError), wire.connect(self.port):
            return True
        return False

    def heard_loss(self, path: str, error: Exception) -> None:
        self.ends[f"{path[1:]}: {error or type(error).__name__}"] += 1
        if path == "/steady":
            self.wrong.append(f"a session beside the faults was lost: {error or type(error).__name__}")

    def memory(self) -> int:
        return status_kib(self.proxy.pid, "RssAnon")

    def files(self) -> int:
        return len(list(Path(f"/proc/{self.proxy.pid}/fd").iterdir()))

    async def run(self) -> None:
        files = self.files()
        self.clients = [Client(self, "/steady") for _ in range(STEADY)] + [
            Client(self, "/suffering") for _ in range(SUFFERING)
        ]
        tasks = [asyncio.create_task(client.run()) for client in self.clients]
        began = time.monotonic()
        warm = None
        faults = asyncio.create_task(self.hurt())
        shown = 0.0
        while (passed := time.monotonic() - began) < self.options.seconds:
            await asyncio.sleep(0.5)
            if warm is None and passed >= self.options.seconds / 4:
                warm = self.memory()
            if passed - shown >= 30:
                shown = passed
                print(
                    f"{passed:5.0f} s: {self.messages} messages, {sum(self.faults.values())} faults, "
                    f"{self.memory()} KiB, {self.files()} files, {len(self.wrong)} wrong"
                )
            if self.proxy.process.poll() is not None:
                raise Failed(f"longwire ended with {self.proxy.process.returncode}")
        # The same load as when it was warm: what it takes on top of that, it would take again and again.
        hot = self.memory()
        faults.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await faults
        self.restore()
        self.over = True
        await asyncio.wait_for(asyncio.gather(*tasks), 3 * PATIENCE)
        await self.settle(files)
        self.report(warm, hot, files)

    async def settle(self, files: int) -> None:
        """Sessions of vanished clients end after `pong_timeout` and retransmissions."""
        deadline = time.monotonic() + 45
        while self.files() > files + FILES and time.monotonic() < deadline:
            await asyncio.sleep(0.5)

    async def hurt(self) -> None:
        """One fault after another; those that take their time run beside the next ones."""
        kinds = (self.reset, self.reset, self.vanish, self.kill, self.stop, self.black_hole)
        running = set()
        try:
            while True:
                await asyncio.sleep(PAUSE)
                kind = self.numbers.choice(kinds)
                task = asyncio.create_task(kind())
                running.add(task)
                task.add_done_callback(running.discard)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def victim(self) -> Client | None:
        living = [
            c for c in self.clients if c.path == "/suffering" and c.writer is not None and not c.writer.is_closing()
        ]
        return self.numbers.choice(living) if living else None

    async def reset(self) -> None:
        if client := self.victim():
            self.faults["clients reset"] += 1
            client.writer.transport.abort()

    async def vanish(self) -> None:
        """Its packets are dropped both ways, and only then its socket closes: longwire hears nothing, not even a
        FIN."""
        if not (client := self.victim()):
            return
        writer = client.writer  # the client takes another one when it finds out
        port = writer.get_extra_info("sockname")[1]
        self.faults["clients vanished"] += 1
        # Both ports: longwire may have a connection to a backend from the same one.
        ports = str(port), str(self.port)
        rules = [["-p", "tcp", "--sport", one, "--dport", other] for one, other in (ports, ports[::-1])]
        for rule in rules:
            await self.iptables("-I", *rule)
        writer.transport.abort()
        try:
            await asyncio.sleep(15)
        finally:
            for rule in rules:
                await asyncio.shield(self.iptables("-D", *rule))

    async def kill(self) -> None:
        which = self.numbers.choice((1, 2))
        if self.backends[which] is None:
            return
        backend, self.backends[which] = self.backends[which], None
        self.faults["backends killed"] += 1
        backend.kill()
        self.bench.programs.remove(backend)
        try:
            await asyncio.sleep(self.numbers.random() * 4)
        finally:
            starting = asyncio.create_task(asyncio.to_thread(self.start_backend, self.ports[which]))
            try:
                await asyncio.shield(starting)
            finally:
                # Also where the end of the soak comes meanwhile: a second start would find the port taken.
                self.backends[which] = await starting

    async def stop(self) -> None:
        which = self.numbers.choice((1, 2))
        if backend := self.backends[which]:
            self.faults["backends stopped for a while"] += 1
            with contextlib.suppress(ProcessLookupError):
                backend.signal(signal.SIGSTOP)
                try:
                    await asyncio.sleep(self.numbers.random() * 6)
                finally:
                    backend.signal(signal.SIGCONT)

    async def black_hole(self) -> None:
        port = self.numbers.choice(self.ports[1:])
        self.faults["backends black-holed for a while"] += 1
        rule = ["-p", "tcp", "--dport", str(port)]
        await self.iptables("-I", *rule)
        try:
            await asyncio.sleep(self.numbers.random() * 10)
        finally:
            await asyncio.shield(self.iptables("-D", *rule))

    async def iptables(self, verb: str, *rule: str) -> None:
        process = await asyncio.create_subprocess_exec(self.options.iptables, "-w", verb, "INPUT", *rule, "-j", "DROP")
        await process.wait()

    def restore(self) -> None:
        for which, backend in enumerate(self.backends):
            if backend is None:
                self.backends[which] = self.start_backend(self.ports[which])

    def report(self, warm: int, hot: int, files: int) -> None:
        left = self.files()
        self.proxy.signal(signal.SIGTERM)
        code = self.proxy.wait(30)
        records = [record for line in self.proxy.lines if (record := parsed(line)) and record.get("kind") == "session"]
        causes = Counter(record["cause"] for record in records)
        opened = sum(count for (_, status), count in self.answers.items() if status == "101")
        print(f"faults: {sum(self.faults.values())}: " + listed(self.faults))
        print(
            "handshakes: "
            + ", ".join(f"{count} × {status} ({path[1:]})" for (path, status), count in self.answers.most_common())
        )
        print(f"messages: {self.messages} came back byte by byte, {self.bytes >> 20} MiB")
        print("ends that clients saw: " + listed(self.ends))
        print(f"records: {len(records)} of sessions, {opened} were opened: " + listed(causes))
        print(
            f"memory under load: {warm} KiB after a quarter, {hot} KiB at the end; "
            f"open files: {files} before, {left} after"
        )
        for wrong in self.wrong[:10]:
            print(f"WRONG: {wrong}")
        lines = self.proxy.lines
        held = {
            "every byte was right and no session beside the faults was lost": not self.wrong,
            "every kind of fault happened": len(self.faults) == 5,
            "memory is flat": hot <= warm + MEMORY_KIB,
            "open files are back": left <= files + FILES,
            # A 101 may be lost with the client that waited for it: then there is a record and no answer.
            "a record for each session": opened
            <= len(records)
            <= opened + self.faults["clients vanished"] + self.faults["clients reset"],
            "each record is one line of JSON": all(parsed(line) for line in lines),
            "exit code 0": code == 0,
            "nothing panicked": "panicked" not in self.proxy.stderr(),
        }
        for what, holds in held.items():
            print(f"{'ok    ' if holds else 'FAILED'} {what}")
        self.failed = sum(not holds for holds in held.values())
        print(f"\n{len(held) - self.failed} passed, {self.failed} failed")


def listed(counter: Counter) -> str:
    return ", ".join(f"{count} {what}" for what, count in counter.most_common())


def lose_packets(options) -> None:
    """On lo, in this namespace."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    if options.lossy == "netem":
        command = ["tc", "qdisc", "add", "dev", "lo", "root", "netem", "loss", f"{options.loss}%"]
    else:
        match = ["-m", "statistic", "--mode", "random", "--probability", str(options.loss / 100)]
        command = [options.iptables, "-A", "INPUT", "-i", "lo", "-p", "tcp", *match, "-j", "DROP"]
    subprocess.run(command, check=True)


def seconds(text: str) -> float:
    units = {"s": 1, "m": 60, "h": 3600}
    return float(text[:-1]) * units[text[-1]] if text[-1] in units else float(text)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="tests/faults/run", description="Soak longwire in a network that loses packets."
    )
    parser.add_argument("--for", type=seconds, default=600, dest="seconds", help="how long, such as 60s or 10m (10m)")
    parser.add_argument("--loss", type=float, default=2, help="percent of packets lost (2)")
    parser.add_argument("--seed", type=int, default=None, help="of the faults, to repeat them")
    parser.add_argument("--binary", type=Path, default=ROOT / "target/release/longwire", help="the longwire to soak")
    parser.add_argument("--lossy", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--iptables", required=True, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.seed is None:
        options.seed = random.randrange(1 << 30)
    print(
        f"== {options.seconds:.0f} s, {options.loss} % of packets lost, "
        f"{STEADY} + {SUFFERING} sessions, seed {options.seed}"
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    lose_packets(options)
    with Bench(ROOT, options.binary.resolve(), False, 0) as bench:
        soak = Soak(bench, options)
        try:
            asyncio.run(soak.run())
        except Failed as failure:
            print(f"FAILED: {failure}")
            bench.print_logs("faults")
            print("0 passed, 1 failed")
            return 1
        if soak.failed:
            bench.print_logs("faults")
        return 1 if soak.failed else 0


if __name__ == "__main__":
    sys.exit(main())
