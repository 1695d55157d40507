"""A browser at the live page of the admin interface, with real sessions that live and end."""

import secrets
import signal

from ..bench import Bench, run_checks
from ..proxy import Proxy, free_port, half_a_handshake

MANY = 1000
LARGEST_PICTURE = 300_000


def run(bench: Bench) -> None:
    locked(bench)
    backends = [bench.node("ws_server.mjs") for _ in range(2)]
    admin = free_port()
    proxy = Proxy(
        bench,
        [backend.port() for backend in backends],
        upstream="balance: least_conn",
        keepalive="ping_interval: 1s\npong_timeout: 5s",
        more=f"admin: {{ bind: 127.0.0.1:{admin} }}",
    )
    kept = bench.python("sessions.py", proxy.url("/rooms/many"), MANY)
    kept.event("opened", 60)
    few = bench.python("sessions.py", proxy.url("/rooms/few"), 3)
    few.event("opened", 20)
    half_a_handshake(proxy)
    browser = visit(bench, admin, backends[0].port())
    browser.event("killed", 60)
    end = few.event("lost")
    bench.equal((end["code"], end["reason"]), (1008, "by hand"), "what the client of the killed session read")
    record = next(record for record in proxy.wait_records(1) if record["cause"] == "killed")
    bench.equal(record["close_reason"], "by hand", "its record")
    browser.event("ready-for-a-crash", 60)
    backends[0].kill()
    browser.event("ready-for-a-drain", 60)
    proxy.program.signal(signal.SIGTERM)
    run_checks(bench, browser, 60)
    bench.equal(proxy.program.wait(15), 0, "longwire's exit code")
    for picture in ("page-light.png", "page-dark.png", "page-phone.png"):
        size = (bench.kept / picture).stat().st_size
        bench.check(5000 < size < LARGEST_PICTURE, f"{picture} has {size} bytes")


def locked(bench: Bench) -> None:
    """With a token the page asks for it."""
    token = secrets.token_hex(16)
    (bench.folder / "token").write_text(token)
    backend, admin = bench.node("ws_server.mjs").port(), free_port()
    Proxy(bench, [backend], more=f"admin: {{ bind: 127.0.0.1:{admin}, token_file: token }}")
    profile = bench.folder / "chromium-locked"
    run_checks(bench, bench.node("page_locked.mjs", f"http://127.0.0.1:{admin}/", token, profile), 60)


def visit(bench: Bench, admin: int, backend: int):
    page = f"http://127.0.0.1:{admin}/"
    return bench.node("page.mjs", page, MANY, f"127.0.0.1:{backend}", bench.kept, bench.folder / "chromium")
