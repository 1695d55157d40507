"""docs/resume.md, spoken by Python websockets: nothing of our library is between."""

from ..bench import Bench, free_port, run_checks
from ..proxy import Proxy

TERMS = "replay: 64KiB, beat: 1s"
ROUTES = f"""
- {{ path: /off, upstream: backends }}
- {{ path: /short, upstream: backends, resume: {{ for: 1s, {TERMS} }} }}
- {{ upstream: backends, resume: {{ for: 60s, {TERMS} }} }}
""".strip()


def run(bench: Bench) -> None:
    for tls in (False, True):
        backend = free_port()
        proxy = Proxy(bench, [backend], routes=ROUTES, tls=tls)
        run_checks(bench, bench.python("resume_by_hand.py", backend, proxy.url("")), 130)
        bench.equal(proxy.stop(), 0, "longwire's exit code")
