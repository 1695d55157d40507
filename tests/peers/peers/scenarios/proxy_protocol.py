"""The PROXY protocol with nginx and HAProxy: both as senders before longwire, both as receivers behind it."""

import contextlib
import os
import signal
import socket
import subprocess
from pathlib import Path

from ..bench import Bench, Failed, free_port, wait_until
from ..differential.proxies import start
from ..proxy import Proxy

SOURCE, OTHER, ATTACKER = "127.0.0.9", "127.0.0.10", "127.0.0.66"
FROM_HERE = "proxy_protocol: { from: [127.0.0.1] }"
STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
ALL_TLVS = "tlvs: [authority, unique_id, ssl, alpn, crc32c]"


def senders(bench: Bench) -> None:
    backend = bench.python("websockets_server.py")
    limits = "limits: { sessions_per_client: 1 }"
    proxy = Proxy(bench, [backend.port()], listener=FROM_HERE, upstream="balance: ip_hash", more=limits)
    options = "ssl,cert-cn,authority,crc32c,unique-id"
    fronts = {
        "HAProxy, send-proxy": (haproxy_in_front(bench, proxy.port, "send-proxy"), []),
        "HAProxy, send-proxy-v2": (haproxy_in_front(bench, proxy.port, "send-proxy-v2"), []),
        "HAProxy, TLS, send-proxy-v2 with TLVs": (
            haproxy_in_front(bench, proxy.port, f"send-proxy-v2 proxy-v2-options {options}", tls=True),
            ["--tls", "sni.example.com"],
        ),
        "nginx, proxy_protocol on": (nginx_in_front(bench, proxy.port), []),
    }
    for count, (name, (port, arguments)) in enumerate(fronts.items(), 1):
        client = bench.python("told_client.py", port, SOURCE, *arguments)
        told = client.event("told")
        bench.equal(told["headers"]["x-forwarded-for"], SOURCE, f"{name}: the client at the backend")
        bench.equal(told["echo"], "echo", f"{name}: a message there and back")
        record = proxy.wait_records(count)[-1]
        bench.equal(record["client"], SOURCE, f"{name}: the client in the record")
        if arguments:
            bench.equal(record.get("proxy_authority"), "sni.example.com", f"{name}: the name in the record")
            bench.check(record.get("proxy_tls", "").startswith("TLSv1."), f"{name}: the TLS version in the record")
            bench.check(bool(record.get("proxy_unique_id")), f"{name}: an id in the record")
        client.wait(10)

    port = fronts["HAProxy, send-proxy-v2"][0]
    held = bench.python("told_client.py", port, SOURCE, "--hold")
    held.event("told")
    refused = bench.python("told_client.py", port, SOURCE).event("refused")
    bench.equal(refused["status"], 429, "a second session of the same client, though all come from HAProxy")
    bench.python("told_client.py", port, OTHER).event("told")
    held.signal(signal.SIGTERM)
    bench.equal(held.wait(10), 0, "the first client's exit code")

    for header in (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"):
        bench.equal(forge(proxy.port, header), b"", f"what an attacker gets for {header!r}")
    bench.equal(proxy.stop(), 0, "longwire's exit code")


def receivers(bench: Bench) -> None:
    backend = bench.python("websockets_server.py")
    haproxy, (nginx, log) = haproxy_behind(bench, backend.port()), nginx_behind(bench, backend.port())

    def checks() -> int:
        return sum(event["path"] == "/" for event in backend.events("opened"))

    for version in ("proxy_protocol: v1", "proxy_protocol: v2", f"proxy_protocol: v2\n{ALL_TLVS}"):
        words = version.replace("\n", ", ")
        check = "health_check: { kind: websocket, interval: 300ms, jitter: 0s, rise: 1, fall: 1 }"
        for name, port in (("HAProxy", haproxy), ("nginx", nginx)):
            before = checks()
            proxy = Proxy(bench, [port], upstream=f"balance: round_robin\n{check}\n{version}")
            wait_until(lambda before=before: checks() > before + 1, 10, "two checks at the backend")
            client = bench.python("told_client.py", proxy.port, SOURCE)
            told = client.event("told")
            bench.equal(told["echo"], "echo", f"{name}, {words}: a message there and back")
            record = proxy.wait_records(1)[0]
            if name == "HAProxy":
                # Of several fields, the last: HAProxy's own, by the header.
                bench.equal(told["headers"]["x-forwarded-for"], SOURCE, f"{name}, {words}: the client's address")
                bench.equal(told["headers"]["x-source"], f"{SOURCE}:{told['port']}", f"{name}, {words}: its port too")
            else:
                line = f"{SOURCE} {told['port']} 127.0.0.1 {proxy.port}"
                wait_until(lambda line=line: line in log.read_text(), 10, f"{line!r} in nginx's log")
                bench.check(True, f"{name}, {words}: its log has {line!r}")
            if name == "HAProxy" and "tlvs" in version:
                bench.equal(told["headers"].get("x-authority"), "chat.example.com", f"{name}, {words}: the name")
                bench.equal(told["headers"].get("x-unique-id"), record["request_id"], f"{name}, {words}: the id")
            bench.check("backend is out" not in proxy.program.stderr(), f"{name}, {words}: the checks pass")
            bench.equal(proxy.stop(), 0, "longwire's exit code")


def forge(port: int, header: bytes) -> bytes:
    """What comes back for a header from an address that may send none."""
    got = b""
    with (
        socket.create_connection(("127.0.0.1", port), 10, source_address=(ATTACKER, 0)) as wire,
        contextlib.suppress(ConnectionError),
    ):
        wire.sendall(header + b"GET / HTTP/1.1\r\nHost: chat\r\n\r\n")
        while part := wire.recv(4096):
            got += part
    return got


def haproxy_in_front(bench: Bench, longwire: int, server: str, tls: bool = False) -> int:
    port = free_port()
    bind = f"bind 127.0.0.1:{port}"
    if tls:
        bind += f" ssl crt {certificate(bench)}"
    text = f"""\
global
  nbthread 1
defaults
  mode tcp
  timeout connect 5s
  timeout client 30s
  timeout server 30s
listen front
  {bind}
  unique-id-format %[uuid]
  server longwire 127.0.0.1:{longwire} {server} check inter 200ms fall 1 rise 1
"""
    return haproxy(bench, port, text)


def haproxy_behind(bench: Bench, backend: int) -> int:
    port = free_port()
    text = f"""\
global
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  timeout tunnel 1h
listen behind
  bind 127.0.0.1:{port} accept-proxy
  option forwardfor
  http-request set-header X-Source %[src]:%[src_port]
  http-request set-header X-Authority %[fc_pp_authority]
  http-request set-header X-Unique-Id %[fc_pp_unique_id]
  server backend 127.0.0.1:{backend}
"""
    return haproxy(bench, port, text)


def haproxy(bench: Bench, port: int, text: str) -> int:
    file = bench.folder / f"haproxy-{port}.cfg"
    file.write_text(text)
    start(bench, "haproxy", port, "haproxy", "-q", "-db", "-f", file)
    return port


def nginx_in_front(bench: Bench, longwire: int) -> int:
    if not STREAM_MODULE.exists():
        raise Failed(f"{STREAM_MODULE} is missing: apt-get install libnginx-mod-stream")
    port = free_port()
    listen = f"listen 127.0.0.1:{port}; proxy_pass 127.0.0.1:{longwire}; proxy_protocol on;"
    text = f"load_module {STREAM_MODULE};\n{nginx_head(bench, port)}stream {{ server {{ {listen} }} }}\n"
    return nginx(bench, port, text)


def nginx_behind(bench: Bench, backend: int) -> tuple[int, Path]:
    port, log = free_port(), bench.folder / "proxy_protocol.log"
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{kind}_temp_path {bench.folder}/{kind};" for kind in kinds)
    ends = "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr $proxy_protocol_server_port"
    text = f"""{nginx_head(bench, port)}
http {{
  {temporary}
  log_format ends '{ends}';
  access_log {log} ends;
  server {{
    listen 127.0.0.1:{port} proxy_protocol;
    location / {{
      proxy_pass http://127.0.0.1:{backend};
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection "upgrade";
    }}
  }}
}}
"""
    return nginx(bench, port, text), log


def nginx_head(bench: Bench, port: int) -> str:
    user = "user root;" if os.geteuid() == 0 else ""
    pid = f"pid {bench.folder}/nginx-{port}.pid;"
    return (
        f"{user} worker_processes 1; daemon off; {pid} error_log stderr crit;\nevents {{ worker_connections 512; }}\n"
    )


def nginx(bench: Bench, port: int, text: str) -> int:
    file = bench.folder / f"nginx-{port}.conf"
    file.write_text(text)
    start(bench, "nginx", port, "nginx", "-c", file, "-e", "stderr")
    return port


def certificate(bench: Bench) -> Path:
    """A key and its certificate in one file, as HAProxy reads them."""
    both, key, cert = (bench.folder / name for name in ("front.pem", "front.key", "front.crt"))
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subject = ["-subj", "/CN=sni.example.com", "-days", "2", "-keyout", key, "-out", cert]
    subprocess.run([*command, *subject], check=True, capture_output=True, timeout=30)
    both.write_text(cert.read_text() + key.read_text())
    return both
