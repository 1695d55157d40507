"""longwire, and beside it nginx and HAProxy, each with a way for every row.

The paths of a row are `/rN/on…`, where longwire pings, and `/rN/off…`, where it does not. nginx and HAProxy never ping."""

import asyncio
import time

from peers.bench import Bench, Failed, free_port, parsed
from peers.differential.proxies import start

from .rows import Row

# What a side may be silent for after a ping. Longer than any wait of a busy machine.
PONG_TIMEOUT = 5
# By rows: the address and the port of the box, or of the backend, that a proxy connects to.
Targets = dict[int, tuple[str, int]]


class Longwire:
    """A longwire and its records."""

    def __init__(self, bench: Bench, rows: list[Row], targets: Targets):
        self.port = free_port()
        file = bench.folder / "longwire.yaml"
        file.write_text(longwire_yaml(self.port, rows, targets))
        self.program = start(bench, "longwire", self.port, bench.binary, "run", "-c", file)
        self.read = 0
        self.by_path: dict[str, dict] = {}

    def record(self, path: str) -> dict | None:
        with self.program.news:
            lines = self.program.lines[self.read :]
        self.read += len(lines)
        for line in lines:
            if (record := parsed(line)) and record.get("kind") == "session":
                self.by_path[record["path"]] = record
        return self.by_path.get(path)

    async def wait_record(self, path: str, seconds: float) -> dict | None:
        """The record of a session; None if it does not come in time."""
        deadline = time.monotonic() + seconds
        while (record := self.record(path)) is None and time.monotonic() < deadline:
            if self.program.process.poll() is not None:
                raise Failed(f"longwire ended with {self.program.process.returncode}")
            await asyncio.sleep(0.05)
        return record


def longwire_yaml(port: int, rows: list[Row], targets: Targets) -> str:
    upstreams = [
        f'  row{row.number}: {{ max_fails: 0, backends: [ {{ address: "{host}:{target}" }} ] }}'
        for row in rows
        for host, target in [targets[row.number]]
    ]
    routes = [
        f"  - {{ path: /r{row.number}/{name}, upstream: row{row.number}, keepalive: {{ ping_interval: {interval}ms }} }}"
        for row in rows
        for name, interval in (("on", int(row.interval * 1000)), ("off", 0))
    ]
    return "\n".join(
        [
            "workers: 1",
            f"listeners: [ {{ bind: 0.0.0.0:{port} }} ]",
            "upstreams:",
            *upstreams,
            "routes:",
            *routes,
            f"keepalive: {{ pong_timeout: {PONG_TIMEOUT}s }}",
            "timeouts: { drain: 1s }",
            "log: { format: json }",
            "",
        ]
    )


def nginx(bench: Bench, rows: list[Row], targets: Targets) -> int:
    """Its port."""
    port = free_port()
    locations = [
        f"location /r{row.number}/ {{ proxy_pass http://{host}:{target}; }}"
        for row in rows
        for host, target in [targets[row.number]]
    ]
    file = bench.folder / "nginx.conf"
    file.write_text(nginx_conf(bench, port, locations, "1h"))
    start(bench, "nginx", port, "nginx", "-c", file, "-e", "stderr")
    return port


def nginx_conf(bench: Bench, port: int, locations: list[str], read_timeout: str) -> str:
    temporary = [f"{name}_temp_path {bench.folder}/{name};" for name in ("proxy", "fastcgi", "uwsgi", "scgi")]
    return "\n".join(
        [
            # A namespace's root may not become another user.
            "user root;",
            "master_process off;",
            "daemon off;",
            f"pid {bench.folder}/nginx-{port}.pid;",
            "error_log stderr crit;",
            "events { worker_connections 4096; }",
            "http {",
            "access_log off;",
            f"client_body_temp_path {bench.folder}/body;",
            *temporary,
            "map $http_upgrade $connection_upgrade { default upgrade; '' close; }",
            "proxy_http_version 1.1;",
            "proxy_set_header Host $http_host;",
            "proxy_set_header Upgrade $http_upgrade;",
            "proxy_set_header Connection $connection_upgrade;",
            f"proxy_read_timeout {read_timeout};",
            "proxy_send_timeout 1h;",
            "server {",
            f"listen 0.0.0.0:{port};",
            *locations,
            "}",
            "}",
            "",
        ]
    )


def haproxy(bench: Bench, rows: list[Row], targets: Targets) -> int:
    """Its port."""
    port = free_port()
    uses = [f"  use_backend row{row.number} if {{ path_beg /r{row.number}/ }}" for row in rows]
    backends = [
        f"backend row{row.number}\n  server only {host}:{target}"
        for row in rows
        for host, target in [targets[row.number]]
    ]
    file = bench.folder / "haproxy.cfg"
    file.write_text(haproxy_cfg(port, uses, backends, "1h"))
    start(bench, "haproxy", port, "haproxy", "-q", "-db", "-f", file)
    return port


def haproxy_cfg(port: int, uses: list[str], backends: list[str], tunnel: str) -> str:
    return "\n".join(
        [
            "global",
            "  nbthread 1",
            "  maxconn 2000",
            "defaults",
            "  mode http",
            "  timeout connect 5s",
            "  timeout client 1h",
            "  timeout server 1h",
            f"  timeout tunnel {tunnel}",
            "frontend web",
            f"  bind 0.0.0.0:{port}",
            *uses,
            *backends,
            "",
        ]
    )
