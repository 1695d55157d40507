"""nginx and HAProxy as their manuals set them up for WebSockets."""

import contextlib
import os
import socket
from pathlib import Path

from ..bench import Bench, Failed, Program, free_port, wait_until


def nginx(bench: Bench, backend: int) -> int:
    port = free_port()
    file = bench.folder / "nginx.conf"
    file.write_text(nginx_conf(bench.folder, port, backend))
    start(bench, "nginx", port, "nginx", "-c", file, "-e", "stderr")
    return port


def haproxy(bench: Bench, backend: int) -> int:
    port = free_port()
    file = bench.folder / "haproxy.cfg"
    file.write_text(haproxy_cfg(port, backend))
    start(bench, "haproxy", port, "haproxy", "-q", "-db", "-f", file)
    return port


def start(bench: Bench, name: str, port: int, *command) -> Program:
    """A program, once it accepts connections."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    program = bench.start(name, *command, env=os.environ | {"PATH": path})

    def accepts() -> bool:
        if program.process.poll() is not None:
            raise Failed(f"{name} ended with {program.process.returncode}: {program.stderr()[-300:]}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    wait_until(accepts, 15, f"{name} accepts connections")
    return program


def nginx_conf(folder: Path, port: int, backend: int) -> str:
    user = "user root;" if os.geteuid() == 0 else ""
    return f"""\
{user}
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://127.0.0.1:{backend};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_next_upstream off;
      proxy_read_timeout 2s;
    }}
  }}
}}
"""


def haproxy_cfg(port: int, backend: int) -> str:
    return f"""\
global
  nbthread 1
  maxconn 512
defaults
  mode http
  option http-keep-alive
  option forwardfor
  retries 0
  timeout connect 5s
  timeout client 10s
  timeout server 2s
  timeout tunnel 1h
  timeout http-request 5s
frontend web
  bind 127.0.0.1:{port}
  default_backend record
backend record
  server record 127.0.0.1:{backend}
"""
