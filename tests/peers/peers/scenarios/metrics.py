"""The metrics as Prometheus' own tools read them: lint, a scrape by a real Prometheus, the alerts and their tests."""

import json
import subprocess
import urllib.request

from ..bench import Bench, Failed, free_port, wait_until
from ..proxy import Proxy

SESSIONS = 50
CLASSIC = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
# A file of JSON has words where Grafana's types have enums.
GRAFANA = """
import type { Dashboard } from "@grafana/schema";
type Written<T> =
  T extends string ? `${T}` : T extends object ? { [K in keyof T]: Written<T[K]> } : T;
const dashboard: Written<Dashboard> = DASHBOARD;
export default dashboard;
"""


def run(bench: Bench) -> None:
    backend = bench.python("websockets_server.py").port()
    admin = free_port()
    proxy = Proxy(bench, [backend], tls=True, more=f"admin: {{ bind: 127.0.0.1:{admin} }}")
    # The one over TLS has the end of a certificate among its metrics, the other one the sessions.
    plain_admin = free_port()
    plain = Proxy(bench, [backend], keepalive="ping_interval: 50ms", more=f"admin: {{ bind: 127.0.0.1:{plain_admin} }}")
    talkers = bench.python("talkers.py", plain.url(), SESSIONS, 0.1, 64)
    talkers.event("opened")
    wait_until(lambda: sample(plain_admin, "websocket_messages_sent_total") > SESSIONS, 20, "live sessions are counted")

    for port in (admin, plain_admin):
        kind, text = fetch(port, "text/plain")
        bench.equal(kind, CLASSIC, "the classic format")
        promtool(bench, "check", "metrics", given=text)
    kind, text = fetch(plain_admin, "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    bench.equal((kind, text.endswith("# EOF\n")), (OPEN_METRICS, True), "OpenMetrics for who asks for it")

    rules = bench.root / "deploy/prometheus"
    promtool(bench, "check", "rules", rules / "alerts.yml")
    promtool(bench, "test", "rules", rules / "alerts.test.yml")
    promtool(bench, "check", "config", rules / "prometheus.yml")
    scraped(bench, plain_admin)
    check_dashboard(bench)

    for found in (proxy, plain):
        bench.equal(found.stop(), 0, "longwire's exit code")


def scraped(bench: Bench, admin: int) -> None:
    """A Prometheus with the shipped alerts sees the target up and what its sessions do."""
    port = free_port()
    file = bench.folder / "prometheus.yml"
    shipped = (bench.root / "deploy/prometheus/prometheus.yml").read_text()
    file.write_text(
        shipped.replace("127.0.0.1:9900", f"127.0.0.1:{admin}")
        .replace("15s", "500ms")
        .replace("alerts.yml", str(bench.root / "deploy/prometheus/alerts.yml"))
    )
    bench.start(
        "prometheus",
        "prometheus",
        f"--config.file={file}",
        f"--web.listen-address=127.0.0.1:{port}",
        f"--storage.tsdb.path={bench.folder / 'tsdb'}",
    )

    def target() -> dict | None:
        found = ask(port, "targets")["activeTargets"]
        return found[0] if found and found[0]["health"] != "unknown" else None

    def query(expression: str) -> float:
        found = ask(port, f"query?query={expression}")["result"]
        return float(found[0]["value"][1]) if found else 0.0

    found = wait_until(lambda: quietly(target), 30, "Prometheus has scraped")
    bench.equal((found["health"], found["lastError"]), ("up", ""), "Prometheus' target")
    bench.equal(query("sum(websocket_connections_active)"), float(SESSIONS), "sessions, as Prometheus has them")
    wait_until(lambda: query("sum(rate(websocket_messages_received_total[5s]))") > SESSIONS, 20, "a rate of messages")
    bench.check(True, "live sessions have a rate of messages")
    bench.equal(query("min(longwire_backend_up)"), 1.0, "the backend is up")
    wait_until(lambda: query("sum(websocket_ping_round_trip_seconds_count)") > 0, 20, "round trips are measured")
    groups = ask(port, "rules")["groups"]
    wrong = [rule["name"] for group in groups for rule in group["rules"] if rule["health"] == "err"]
    bench.equal((len(groups), wrong), (1, []), "the shipped alerts run in it")


def check_dashboard(bench: Bench) -> None:
    """The dashboard is what Grafana's own types say it is. No registry has a Grafana that could show it: see
    `dashboard_and_alerts_ask_for_metrics_that_there_are_by_labels_that_they_have` in tests/it for what it asks for."""
    (bench.folder / "node_modules").symlink_to(bench.root / "tests/peers/node_modules")
    file = bench.folder / "dashboard.mts"
    file.write_text(GRAFANA.replace("DASHBOARD", (bench.root / "deploy/grafana/dashboard.json").read_text()))
    command = ["node_modules/.bin/tsc", "--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", file.name]
    done = subprocess.run(command, cwd=bench.folder, capture_output=True, text=True, timeout=120, check=False)
    bench.equal((done.stdout, done.returncode), ("", 0), "what tsc has against the dashboard by @grafana/schema")


def promtool(bench: Bench, *arguments, given: str | None = None) -> None:
    command = ["promtool", *map(str, arguments)]
    done = subprocess.run(command, check=False, input=given, capture_output=True, text=True, timeout=60)
    if done.returncode != 0 or (given is not None and done.stderr):
        raise Failed(f"promtool {' '.join(map(str, arguments[:2]))}: {done.stdout}{done.stderr}")
    bench.check(True, f"promtool {' '.join(map(str, arguments[:2]))}")


def fetch(port: int, accept: str) -> tuple[str, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def sample(port: int, name: str) -> float:
    """The sum over all labels."""
    _, text = fetch(port, "text/plain")
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(f"{name}{{"))


def ask(port: int, what: str) -> dict:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/{what}", timeout=10) as answer:
        return json.load(answer)["data"]


def quietly(ask_it):
    """What it says; nothing while Prometheus does not listen yet."""
    try:
        return ask_it()
    except OSError:
        return None
