"""A browser's page beyond a limit: what it reads of a refusal by a Close, and of one by a status."""

from ..bench import Bench, run_checks
from ..proxy import Proxy

ROUTES = """\
- { path: /mine, upstream: backends, origins: [https://example.com] }
- { path: /blank, upstream: backends, origins: [https://example.com, "null"] }
- { upstream: backends }"""


def run(bench: Bench) -> None:
    backend = bench.node("ws_server.mjs").port()
    by_close, by_status = (
        Proxy(bench, [backend], routes=ROUTES, more=f"limits: {{ sessions_per_client: 1, refuse: {refuse} }}")
        for refuse in ("close", "http")
    )
    browser = bench.node("refused.mjs", by_close.url(), by_status.url(), bench.folder / "chromium")
    run_checks(bench, browser, 50)
    refused = [record for record in by_close.wait_records(3, kind="request")]
    told = [(record["status"], record["cause"], record.get("close_code")) for record in refused]
    bench.equal(told, [(101, "sessions_per_client", 1013)] * 3, "the records of the refusals by a Close")
    told = [(record["status"], record["cause"]) for record in by_status.wait_records(2, kind="request")]
    bench.equal(told, [(429, "sessions_per_client"), (403, "origin")], "the records of the refusals by status")
