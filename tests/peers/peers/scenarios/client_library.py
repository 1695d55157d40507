"""A page that uses longwire-client: its network goes and comes back, a path of it falls silent, and its longwire goes."""

import signal

from ..bench import Bench, run_checks
from ..proxy import Proxy


def run(bench: Bench) -> None:
    proxy = Proxy(bench, [bench.node("ws_server.mjs").port()])
    module = bench.root / "clients/js/dist/esm/index.js"
    bench.check(module.exists(), "the library is built (clients/js/test --build)")
    browser = bench.node("client_library.mjs", proxy.url(), module, bench.folder / "chromium")
    browser.event("kill", 60)
    proxy.program.kill()
    successor = bench.start("successor", bench.binary, "run", "-c", proxy.file, cwd=bench.folder)
    browser.event("drain", 60)
    successor.signal(signal.SIGTERM)
    bench.equal(successor.wait(15), 0, "the exit code of the one that drained")
    bench.start("last", bench.binary, "run", "-c", proxy.file, cwd=bench.folder)
    run_checks(bench, browser, 60)
