"""How each proxy is started: with equivalent configs, each tuned for WebSockets as the manual of the proxy advises.
All have an access log in a file, or none has one. No limit is too low for 9,000 sessions."""

import os
import resource
from dataclasses import dataclass
from pathlib import Path

# What can be measured. The first is the one that the comparison is about.
LONGWIRE = "longwire"
NGINX = "nginx"
NGINX_64K = "nginx-64k"
HAPROXY = "haproxy"
HAPROXY_SPLICE = "haproxy-splice"
FLOOR = "floor"
# longwire built before a change, and with a `coalesce` other than 0us.
BEFORE = "longwire-before"
COALESCE_500US = "longwire-500us"
COALESCE_1MS = "longwire-1ms"
COALESCE = {COALESCE_500US: "500us", COALESCE_1MS: "1ms"}
# longwire with sessions that outlive their backend, or their client's connection.
HOLD = "longwire-hold"
RESUME = "longwire-resume"
OUTLIVING = {HOLD: "hold: {}", RESUME: "resume: {}"}


@dataclass(frozen=True)
class Setup:
    port: int
    backend: int
    workers: int
    folder: Path
    tls: bool
    probed: int  # the port of another backend, for requests of /probe; 0: there is none
    pings: str  # longwire's `keepalive`, in one line; empty: the default, pings to both sides every 25 s
    log: bool  # whether each session and request is logged, into `access_log`
    backend_tls: bool = False  # whether the backend speaks TLS; each proxy verifies its certificate and resumes

    @property
    def certificate(self) -> Path:
        return self.folder / "certificate.pem"

    @property
    def key(self) -> Path:
        return self.folder / "key.pem"

    @property
    def both(self) -> Path:
        """Certificate and key in one file, as HAProxy wants them."""
        return self.folder / "both.pem"

    @property
    def access_log(self) -> Path:
        return self.folder / "access.log"


def command(name: str, setup: Setup, longwire: Path, programs: Path) -> list:
    """Writes the config into the folder of the run and returns what to start. Every program stays in the foreground."""
    if name == FLOOR:
        return [programs / "floor", setup.port, setup.backend]
    path = setup.folder / f"{name}.conf"
    path.write_text(text(name, setup))
    if name in (NGINX, NGINX_64K):
        return ["nginx", "-p", setup.folder, "-e", "stderr", "-c", path]
    if name in (HAPROXY, HAPROXY_SPLICE):
        return ["haproxy", "-db", "-f", path]
    return [longwire, "run", "-c", path]


def text(name: str, setup: Setup) -> str:
    """The config itself."""
    if name in (NGINX, NGINX_64K):
        return nginx_conf(setup, "64k" if name == NGINX_64K else "4k")
    if name in (HAPROXY, HAPROXY_SPLICE):
        return haproxy_cfg(setup, splice=name == HAPROXY_SPLICE)
    return longwire_yaml(setup, COALESCE.get(name, ""), OUTLIVING.get(name, ""))


def longwire_yaml(setup: Setup, coalesce: str, outliving: str) -> str:
    """Leaves out what is not asked for, so that a longwire without these keys takes the file too."""
    tls = f"\n    tls: {{ cert: {setup.certificate}, key: {setup.key} }}" if setup.tls else ""
    pings = f"keepalive: {setup.pings}" if setup.pings else ""
    upstream = f"\n  probed:\n    backends:\n      - address: 127.0.0.1:{setup.probed}" if setup.probed else ""
    route = "\n  - path: /probe\n    upstream: probed" if setup.probed else ""
    file = f"file: {setup.access_log}" if setup.log else ""
    waits = f"coalesce: {coalesce}" if coalesce else ""
    secure = f"\n    tls: {{ ca: {setup.certificate}, server_name: localhost }}" if setup.backend_tls else ""
    return f"""\
workers: {setup.workers}
{waits}
listeners:
  - bind: 127.0.0.1:{setup.port}{tls}
upstreams:
  echo:{secure}
    backends:
      - address: 127.0.0.1:{setup.backend}{upstream}
routes:{route}
  - upstream: echo
    {outliving}
{pings}
timeouts:
  drain: 1s
log:
  level: warn
  access: {str(setup.log).lower()}
  {file}
"""


def nginx_conf(setup: Setup, buffer: str) -> str:
    """A tunnel reads into a buffer of `proxy_buffer_size`. `keepalive` and HTTP/1.1 save a connection for each plain
    request. The session cache is on as the manual advises, tickets are on by default."""
    user = "user root;" if os.geteuid() == 0 else ""
    listen = f"127.0.0.1:{setup.port}" + (" ssl" if setup.tls else "")
    tls = (
        f"""
    ssl_certificate {setup.certificate};
    ssl_certificate_key {setup.key};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:sessions:10m;"""
        if setup.tls
        else ""
    )
    scheme = "https" if setup.backend_tls else "http"
    secure = (
        f"""
    proxy_ssl_verify on;
    proxy_ssl_trusted_certificate {setup.certificate};
    proxy_ssl_name localhost;
    proxy_ssl_server_name on;
    proxy_ssl_protocols TLSv1.2 TLSv1.3;"""
        if setup.backend_tls
        else ""
    )
    probed = (
        f"""
    location /probe {{
      proxy_pass http://127.0.0.1:{setup.probed};
    }}"""
        if setup.probed
        else ""
    )
    return f"""\
{user}
worker_processes {setup.workers};
worker_rlimit_nofile {open_files()};
daemon off;
pid {setup.folder}/nginx.pid;
error_log stderr crit;
events {{
  worker_connections {open_files()};
}}
http {{
  access_log {setup.access_log if setup.log else "off"};
  client_body_temp_path {setup.folder}/body;
  proxy_temp_path {setup.folder}/proxy;
  fastcgi_temp_path {setup.folder}/fastcgi;
  uwsgi_temp_path {setup.folder}/uwsgi;
  scgi_temp_path {setup.folder}/scgi;
  keepalive_requests 100000000;
  keepalive_timeout 1h;
  map $http_upgrade $connection_upgrade {{
    default upgrade;
    '' '';
  }}
  upstream echo {{
    server 127.0.0.1:{setup.backend};
    keepalive 64;
    keepalive_requests 100000000;
  }}
  server {{
    listen {listen} backlog=4096;{tls}
    proxy_http_version 1.1;
    proxy_set_header Host $host;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $connection_upgrade;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_buffering off;
    proxy_buffer_size {buffer};
    proxy_buffers 8 {buffer};
    proxy_busy_buffers_size {buffer};
    proxy_read_timeout 1h;
    proxy_send_timeout 1h;{secure}
    location / {{
      proxy_pass {scheme}://echo;
    }}{probed}
  }}
}}
"""


def haproxy_cfg(setup: Setup, splice: bool) -> str:
    """`maxconn` counts sessions, which need two files each, and the pipes need files too. `http-reuse always` saves a
    connection for each plain request. HAProxy writes no files, so its standard output is the log."""
    tls = f" ssl crt {setup.both}" if setup.tls else ""
    log = "log stdout format raw local0" if setup.log else ""
    logged = "log global\n  option httplog" if setup.log else ""
    secure = f" ssl verify required ca-file {setup.certificate} sni str(localhost)" if setup.backend_tls else ""
    splicing = "option splice-auto" if splice else ""
    rule = "\n  use_backend probed if { path /probe }" if setup.probed else ""
    probed = f"\nbackend probed\n  server probed 127.0.0.1:{setup.probed}" if setup.probed else ""
    return f"""\
global
  nbthread {setup.workers}
  maxconn {(open_files() - 600) // 2}
  maxpipes 64
  {log}
defaults
  mode http
  {logged}
  {splicing}
  option http-keep-alive
  option forwardfor
  http-reuse always
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout tunnel 1h
frontend clients
  bind 127.0.0.1:{setup.port}{tls} backlog 4096{rule}
  default_backend echo
backend echo
  server echo 127.0.0.1:{setup.backend}{secure}{probed}
"""


def open_files() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]
