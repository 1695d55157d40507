"""OpenSSL resumes its TLS sessions over reloads and hand-overs."""

import signal
import subprocess
from pathlib import Path

from ..bench import Bench, wait_until
from ..proxy import Proxy


def run(bench: Bench) -> None:
    backend = bench.node("http_server.mjs").port()
    proxy = Proxy(bench, [backend], tls=True, more=f"handover: {bench.folder}/longwire.sock")
    process = proxy.program
    for version in ("tls1_2", "tls1_3"):
        ticket = bench.folder / f"{version}.pem"
        bench.equal(visit(proxy, version, ticket, None), "New", f"{version}: the first visit")
        bench.equal(visit(proxy, version, ticket, ticket), "Reused", f"{version}: the second")
        done = process.stderr().count('"message":"reloaded"')
        process.signal(signal.SIGHUP)
        wait_until(
            lambda process=process, before=done: process.stderr().count('"message":"reloaded"') > before,
            10,
            "the reload",
        )
        bench.equal(visit(proxy, version, ticket, ticket), "Reused", f"{version}: after a reload")
        successor = bench.start(f"after {version}", bench.binary, "run", "-c", proxy.file, cwd=bench.folder)
        bench.equal(process.wait(15), 0, "hand-over: the old process drains and exits")
        process = successor
        bench.equal(visit(proxy, version, ticket, ticket), "Reused", f"{version}: at the successor")
        bench.equal(visit(proxy, version, ticket, ticket), "Reused", f"{version}: with the successor's own ticket")
    process.signal(signal.SIGTERM)
    bench.equal(process.wait(15), 0, "the last one's exit code")
    # A process that nobody handed anything over to.
    process = bench.start("another", bench.binary, "run", "-c", proxy.file, cwd=bench.folder)
    wait_until(lambda: '"message":"ready"' in process.stderr(), 15, "another process serves")
    bench.equal(visit(proxy, version, ticket, ticket), "New", "after a restart without a hand-over")
    process.signal(signal.SIGTERM)
    bench.equal(process.wait(15), 0, "its exit code")


def visit(proxy: Proxy, version: str, keep: Path, resume: Path | None, *more: str) -> str:
    """One request by openssl s_client, which keeps its last ticket in a file. What it says of the handshake: New or Reused."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{proxy.port}", f"-{version}", "-ign_eof"]
    command += [*more, "-sess_out", str(keep)] + (["-sess_in", str(resume)] if resume else [])
    request = b"GET /hello HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    ended = subprocess.run(command, input=request, capture_output=True, timeout=20, check=False)
    said = ended.stdout.decode(errors="replace")
    if "hello from the backend" not in said:
        return f"no answer: {said}"
    return next(line.split(",")[0] for line in said.splitlines() if line.startswith(("New,", "Reused,")))
