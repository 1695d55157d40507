"""`longwire status --watch` on a real terminal, with 1,000 sessions over two backends."""

import subprocess

from ..bench import Bench, free_port, run_checks, wait_until
from ..proxy import Proxy
from ..terminal import COLUMNS, ROWS, Terminal

SESSIONS = 1000
UPSTREAM = "balance: least_conn\nhealth_check: { kind: websocket, interval: 500ms, jitter: 0s, fall: 1 }"


def run(bench: Bench) -> None:
    backends = [bench.node("ws_server.mjs") for _ in range(2)]
    ports = [backend.port() for backend in backends]
    admin = f"127.0.0.1:{free_port()}"
    proxy = Proxy(bench, ports, upstream=UPSTREAM, more=f"admin: {{ bind: {admin} }}\ndrain: {{ spread: 0s }}")
    proxy.file.rename(bench.folder / "proxy.yaml")
    bench.python("sessions.py", proxy.url("/rooms/many"), SESSIONS).event("opened", 60)

    programs = bench.folder / "programs"
    programs.mkdir()
    (programs / "longwire").symlink_to(bench.binary)
    terminal = Terminal(bench, programs)
    terminal.type("echo what was there before")
    wait_until(lambda: terminal.screen().count("what was there before") == 2, 10, "the shell's answer")
    before = terminal.screen()
    command = "longwire status --watch"
    terminal.type(command)

    def shows(what: str, *words: str) -> None:
        """Some line of the screen has all of these words."""
        lines = lambda: [line.split() for line in terminal.screen().splitlines()]
        wait_until(lambda: any(all(w in line for w in words) for line in lines()), 15, f"{what} on the screen")
        bench.check(True, f"the screen shows {what}: {' '.join(words)}")

    first, second = (f"127.0.0.1:{port}" for port in ports)
    shows("all sessions", "ready", "1,000", "sessions")
    for address in (first, second):
        shows("a backend's share", "backends", address, "up", "500", "passed")
    bench.equal(terminal.modes(), {"alternate_on": "1", "cursor_flag": "0", "wrap_flag": "0"}, "the terminal is lent")

    order(bench, "drain", "--backend", f"backends/{second}", "--keep-sessions")
    shows("a backend that gets nothing new", second, "down", "up", "500")
    shows("that its sessions stay", "1,000", "sessions")
    take_picture(bench, terminal)

    order(bench, "drain", "--backend", f"backends/{second}")
    shows("a drained backend", second, "drain", "0")
    shows("the sessions that are left", "500", "sessions")
    backends[0].kill()
    shows("a dead backend", first, "failing", "0")
    shows("that none is left", "0", "sessions")

    terminal.interrupt()
    wait_until(lambda: terminal.modes()["alternate_on"] == "0", 10, "the end of the command")
    wait_until(lambda: terminal.screen().endswith("$"), 10, "the shell's prompt")
    bench.equal(terminal.modes()["cursor_flag"] + terminal.modes()["wrap_flag"], "11", "the cursor is back, lines wrap")
    bench.equal(terminal.screen(), f"{before} {command}\n$", "after Ctrl-C the screen is as it was, and")

    terminal.type(command)
    shows("the status again", "longwire", "ready")
    terminal.resize(COLUMNS, 7)
    shows("in fewer lines how many backends are not there", "2", "more")
    bench.check(len(terminal.screen().splitlines()) <= 7, "and the head is still there")
    terminal.resize(COLUMNS, ROWS)
    shows("all of them in a larger window", second, "drain")
    terminal.press("x")
    terminal.press("q")
    wait_until(lambda: terminal.modes()["alternate_on"] == "0", 10, "the end by q")
    terminal.type("echo typed")
    wait_until(lambda: terminal.screen().count("typed") >= 2, 10, "what is typed is shown again")
    bench.check("$ echo typed" in terminal.screen(), "after q the shell echoes again, and x was for the watch")

    for more in ([], ["--watch"]):
        watch = bench.start("status", bench.binary, "status", *more, "--admin", admin)
        watch.wait_for(lambda line: "127.0.0.1" in line, 10, "a look")
        watch.kill()
        said = "\n".join(watch.lines)
        bench.check("\x1b" not in said and "BACKEND" in said, f"status {' '.join(more)} into a pipe has no colours")


def order(bench: Bench, *command: str) -> None:
    subprocess.run([bench.binary, *command], cwd=bench.folder, check=True, capture_output=True, timeout=20)


def take_picture(bench: Bench, terminal: Terminal) -> None:
    page, picture = bench.folder / "status.html", bench.kept / "status-watch.png"
    page.write_text(terminal.picture())
    run_checks(bench, bench.node("picture.mjs", f"file://{page}", picture, bench.folder / "chromium"), 60)
    size = picture.stat().st_size
    bench.check(5000 < size < 200_000, f"{picture.name} has {size} bytes")
