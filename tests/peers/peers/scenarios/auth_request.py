"""A service that says who may come, asked by longwire and by nginx (`auth_request`) about the same requests."""

import json
from dataclasses import dataclass

from ..bench import Bench, Program, free_port, wait_until
from ..proxy import Proxy
from .curl import Answer, curl
from .proxy_protocol import nginx, nginx_head

FORGED = {"X-Auth-Request-User": "root", "X-Original-URI": "/forged", "X-Forwarded-Uri": "/forged"}


@dataclass(frozen=True)
class Visitor:
    """Who comes, and the statuses that a plain request then gets of longwire and of nginx."""

    what: str
    fields: dict
    longwire: int
    nginx: int
    user: str | None = None


VISITORS = [
    Visitor("a cookie", {"Cookie": "a=1; session=ann"}, 200, 200, "ann"),
    Visitor("a token", {"Authorization": "Bearer bob"}, 200, 200, "bob"),
    Visitor("nothing", {}, 401, 401),
    Visitor("a cookie of somebody who is banned", {"Cookie": "session=banned"}, 403, 403),
    # nginx takes a redirect for a failure of its own, and has the same status for a service that fails.
    Visitor("a browser without a cookie", {"Accept": "text/html"}, 302, 500),
    Visitor("a cookie that breaks the service", {"Cookie": "session=broken"}, 503, 500),
]


def run(bench: Bench) -> None:
    service, http, ws = (
        bench.python("auth_service.py"),
        bench.node("http_server.mjs"),
        bench.python("websockets_server.py"),
    )
    asks = f'auth_request: {{ url: "http://127.0.0.1:{service.port()}/oauth2/auth?by=longwire", pass: [X-Auth-Request-User] }}'
    routes = f"- {{ upstream: backends, {asks} }}"
    proxies = {
        "longwire": tuple(Proxy(bench, [actor.port()], routes=routes, more="workers: 1") for actor in (http, ws)),
        "nginx": tuple(nginx_asking(bench, actor.port(), service.port()) for actor in (http, ws)),
    }
    for number, visitor in enumerate(VISITORS):
        for name, (plain, session) in proxies.items():
            status = visitor.longwire if name == "longwire" else visitor.nginx
            port = plain.port if name == "longwire" else plain
            target = f"/headers?visitor={number}&by={name}"
            browse(bench, service, (name, port, target), visitor, status)
            port = session.port if name == "longwire" else session
            upgrade(bench, name, port, visitor, status)
    plain, session = proxies["longwire"]
    ends(bench, session)
    records(bench, plain)
    connections = {asked["connection"] for asked in service.events("asked") if "by=longwire" in asked["path"]}
    questions = sum("by=longwire" in asked["path"] for asked in service.events("asked"))
    bench.check(
        len(connections) < questions / 2, f"{questions} questions of longwire over {len(connections)} connections"
    )
    for proxy in (plain, session):
        bench.equal(proxy.stop(), 0, "longwire's exit code")


def browse(bench: Bench, service: Program, proxy: tuple[str, int, str], visitor: Visitor, status: int) -> None:
    """curl, with a body of which the service gets nothing."""
    name, port, target = proxy
    fields = [part for field in (FORGED | visitor.fields).items() for part in ("-H", ": ".join(field))]
    got: Answer = curl(*fields, "-d", "a body", f"http://127.0.0.1:{port}{target}")
    bench.equal(got.status, status, f"{name}, curl with {visitor.what}")
    asked = wait_until(lambda: question(service, target), 10, f"the question about {target}")
    bench.equal(asked.get("content-length", "0"), "0", f"{name}: the body does not go to the service")
    if name == "longwire":
        told = (asked["x-forwarded-method"], asked["x-forwarded-uri"])
        bench.equal(told, ("POST", target), "longwire: which request it asks about")
    if visitor.user:
        seen = json.loads(got.body)
        bench.equal(seen.get("x-auth-request-user"), visitor.user, f"{name}: the user at the backend")
    if status == 401:
        bench.equal(got.header("www-authenticate"), 'Bearer realm="longwire"', f"{name}: how to sign in")
    if name == "longwire" and status in (401, 403):
        bench.equal(
            got.body, b"who are you?\n" if status == 401 else b"not you\n", "longwire: the words of the service"
        )
    if status == 302:
        bench.equal(got.header("location"), f"/oauth2/start?rd={target}", f"{name}: the login page")


def question(service: Program, target: str) -> dict | None:
    """The fields with which the service was asked about a target."""
    asked = (event["fields"] for event in service.events("asked"))
    return next((fields for fields in asked if fields["x-original-uri"] == target), None)


def upgrade(bench: Bench, name: str, port: int, visitor: Visitor, status: int) -> None:
    client = bench.node("asked.mjs", f"ws://127.0.0.1:{port}/room", json.dumps(FORGED | visitor.fields))
    if visitor.user:
        told = client.event("told")
        bench.equal(
            told["headers"].get("x-auth-request-user"), visitor.user, f"{name}, Node ws: the user at the backend"
        )
        bench.equal(client.event("closed")["code"], 1000, f"{name}, Node ws: the session's end")
    else:
        refused = client.event("refused")
        bench.equal(refused["status"], status, f"{name}, Node ws with {visitor.what}")
        if status == 401:
            bench.equal(refused["headers"]["www-authenticate"], 'Bearer realm="longwire"', f"{name}: how to sign in")
    bench.equal(client.wait(10), 0, "the client's exit code")


def ends(bench: Bench, proxy: Proxy) -> None:
    """A session that the service lets in for four seconds."""
    client = bench.node("asked.mjs", proxy.url("/room"), json.dumps({"Cookie": "session=brief"}), "--stay")
    client.event("told")
    closed = client.event("closed", 30)
    bench.equal((closed["code"], closed["reason"]), (1008, "expired"), "the Close at the end that the service set")
    wait_until(lambda: any(r["cause"] == "expired" for r in proxy.records()), 10, "the record of that session")


def records(bench: Bench, proxy: Proxy) -> None:
    causes = [record["cause"] for record in proxy.wait_records(len(VISITORS), kind="request")]
    wanted = ["ok", "ok", "auth_denied", "auth_denied", "auth_denied", "auth_unavailable"]
    bench.equal(causes, wanted, "the causes in longwire's records")


def nginx_asking(bench: Bench, backend: int, service: int) -> int:
    port = free_port()
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{kind}_temp_path {bench.folder}/{kind}-{port};" for kind in kinds)
    text = f"""{nginx_head(bench, port)}
http {{
  {temporary}
  access_log off;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      auth_request /asked;
      auth_request_set $user $upstream_http_x_auth_request_user;
      proxy_pass http://127.0.0.1:{backend};
      proxy_http_version 1.1;
      proxy_set_header X-Auth-Request-User $user;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
    }}
    location = /asked {{
      internal;
      proxy_pass http://127.0.0.1:{service}/oauth2/auth?by=nginx;
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
      proxy_set_header X-Original-URI $request_uri;
    }}
  }}
}}
"""
    return nginx(bench, port, text)
