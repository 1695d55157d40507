"""nginx and Node speak TLS as backends: client certificates, resumption as nginx logs it, and who is not believed."""

import json
import os
import subprocess
from pathlib import Path

from ..bench import Bench, free_port, run_checks, wait_until
from ..differential.proxies import start
from ..proxy import Proxy, half_a_handshake

ADDRESS = "subjectAltName=IP:127.0.0.1"


def run(bench: Bench) -> None:
    make_certificates(bench.folder)
    websocket = bench.node("ws_server.mjs").port()
    versions = {"TLSv1.2": free_port(), "TLSv1.3": free_port()}
    log = bench.folder / "nginx.log"
    start_nginx(bench, versions, websocket, log)
    for version, port in versions.items():
        behind_nginx(bench, version, port, log)
    to_node(bench)
    not_believed(bench, versions["TLSv1.3"])


def behind_nginx(bench: Bench, version: str, port: int, log: Path) -> None:
    """Sessions, checks and plain requests through nginx, which wants a certificate of longwire."""
    bench.say(f"nginx, {version}")
    log.write_text("")
    own = f"cert: {bench.folder}/longwire.crt, key: {bench.folder}/longwire.key"
    proxy = Proxy(bench, [port], upstream=f"tls: {{ ca: {bench.folder}/ca.crt, {own} }}\nreuse: never")
    run_checks(bench, bench.node("ws_client.mjs", proxy.url("")), 40)
    for _ in range(3):
        bench.equal(status(proxy.http("/plain")), "426", "a plain request reaches Node behind nginx")
    handshakes = wait_for_lines(log, 6)
    reused = "".join(line["reused"] for line in handshakes)
    bench.equal(reused, "." + "r" * (len(reused) - 1), f"{version}: resumed from the second connection on, says nginx")
    bench.equal({line["verified"] for line in handshakes}, {"SUCCESS"}, f"{version}: nginx believes longwire")
    bench.equal({line["version"] for line in handshakes}, {version}, "the version that nginx spoke")
    bench.check(all(record["clean"] for record in proxy.wait_records(3)), "record: every end was clean")
    bench.equal(proxy.stop(), 0, "longwire's exit code")


def to_node(bench: Bench) -> None:
    """Node ws over TLS, checked by a whole session of longwire's own."""
    bench.say("Node ws over TLS")
    pair = "--cert", bench.folder / "server.crt", "--key", bench.folder / "server.key"
    backend = bench.node("ws_server.mjs", *pair)
    check = "health_check: { kind: websocket, interval: 200ms, jitter: 0s }"
    proxy = Proxy(bench, [backend.port()], tls=True, upstream=f"tls: {{ ca: {bench.folder}/ca.crt }}\n{check}")
    run_checks(bench, bench.node("ws_client.mjs", proxy.url("")), 40)
    bench.check(all(record["clean"] for record in proxy.wait_records(3)), "record: every end was clean")
    wait_until(lambda: len(backend.events("closed")) >= 6, 20, "checks, beside the three sessions")
    bench.equal(proxy.stop(), 0, "longwire's exit code")


def not_believed(bench: Bench, port: int) -> None:
    """Failures read 502, with the reason in the record. nginx itself answers where only our certificate is missing."""
    for keys, reason in {
        f"ca: {bench.folder}/other.crt": "UnknownIssuer",
        f"ca: {bench.folder}/ca.crt, server_name: elsewhere.example": "not valid for name",
    }.items():
        proxy = Proxy(bench, [port], upstream=f"tls: {{ {keys} }}")
        bench.equal(status(proxy.http("/")), "502", f"{reason}: the status")
        record = proxy.wait_records(1, kind="request")[0]
        bench.equal(record["cause"], "backend_tls", f"{reason}: the cause")
        bench.check(reason in record["error"], f"the reason is in the record: {record['error']}")
        bench.equal(proxy.stop(), 0, "longwire's exit code")
    proxy = Proxy(bench, [port], upstream=f"tls: {{ ca: {bench.folder}/ca.crt }}")
    bench.equal(status(proxy.http("/")), "400", "without a certificate of ours nginx answers 400 by HTTP")
    half_a_handshake(proxy)
    bench.equal(proxy.stop(), 0, "longwire's exit code")


def status(url: str) -> str:
    command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-m", "10", url]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout


def wait_for_lines(log: Path, count: int) -> list[dict]:
    """What nginx logged of its connections, in their order: it logs a connection's request at its end."""
    wait_until(lambda: len(log.read_text().splitlines()) >= count, 10, f"{count} lines of nginx's log")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return sorted(lines, key=lambda line: int(line["connection"]))


def make_certificates(folder: Path) -> None:
    """An authority with a certificate for the backends and one for longwire, and an authority that signed nothing."""
    for name in ("ca", "other"):
        openssl(folder, "req", "-x509", *new_key(name), "-days", "2", "-subj", f"/CN={name}")
    for name in ("server", "longwire"):
        signed_by = ("-CA", "ca.crt", "-CAkey", "ca.key")
        openssl(
            folder, "req", "-x509", *new_key(name), *signed_by, "-days", "2", "-subj", f"/CN={name}",
            "-addext", ADDRESS, "-addext", "basicConstraints=critical,CA:FALSE",
        )  # fmt: skip


def new_key(name: str) -> tuple[str, ...]:
    return (
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-keyout",
        f"{name}.key",
        "-out",
        f"{name}.crt",
    )


def openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, capture_output=True, timeout=20, check=True)


def start_nginx(bench: Bench, versions: dict[str, int], websocket: int, log: Path) -> None:
    file = bench.folder / "nginx.conf"
    file.write_text(nginx_conf(bench.folder, versions, websocket, log))
    start(bench, "nginx", next(iter(versions.values())), "nginx", "-c", file, "-e", "stderr")


def nginx_conf(folder: Path, versions: dict[str, int], websocket: int, log: Path) -> str:
    user = "user root;" if os.geteuid() == 0 else ""
    fields = {
        "connection": "$connection",
        "reused": "$ssl_session_reused",
        "verified": "$ssl_client_verify",
        "version": "$ssl_protocol",
    }
    servers = "".join(
        f"""
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_protocols {version};
    ssl_certificate {folder}/server.crt;
    ssl_certificate_key {folder}/server.key;
    ssl_client_certificate {folder}/ca.crt;
    ssl_verify_client on;
    ssl_session_cache shared:sessions:1m;
    location / {{
      proxy_pass http://127.0.0.1:{websocket};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
    }}
  }}"""
        for version, port in versions.items()
    )
    return f"""\
{user}
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 512; }}
http {{
  log_format handshakes '{json.dumps(fields)}';
  access_log {log} handshakes;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}{servers}
}}
"""
