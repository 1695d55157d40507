"""All scenarios, in the order they run."""

from collections.abc import Callable
from dataclasses import dataclass

from ..bench import Bench
from . import (
    auth_request,
    backend_tls,
    chat,
    client_certificates,
    client_library,
    closes,
    curl,
    demo,
    deploy,
    description,
    differential,
    discovery,
    early_answer,
    ending,
    failover,
    false_upgrade,
    fleet,
    fleet_memory,
    fleet_rebalance,
    fleet_servers,
    hung,
    idle_memory,
    imported,
    last_clients,
    metrics,
    middleboxes,
    page,
    proxy_protocol,
    readme,
    recipes,
    refused,
    reload,
    resume,
    resume_by_hand,
    roaming,
    rolling,
    silence,
    socketio,
    status,
    sticky,
    storm,
    traces,
    unix,
)


@dataclass(frozen=True)
class Scenario:
    """One thing to show. `seconds` bounds it; `and_minutes` adds `--minutes` to the bound."""

    name: str
    purpose: str
    run: Callable[[Bench], None]
    seconds: int
    works_directly: bool = False
    and_minutes: bool = False
    # Too heavy for a run of all: only where it is named.
    only_by_name: bool = False
    # Waits most of the time, so that it runs beside the others.
    mostly_waits: bool = False

    def limit(self, minutes: float) -> float:
        return self.seconds + (minutes * 60 if self.and_minutes else 0)


SCENARIOS = [
    Scenario(
        "chat-python", "Python websockets as client, Python websockets and Node ws as backends", chat.python, 90, True
    ),
    Scenario("chat-node", "Node ws as client, Python websockets and Node ws as backends", chat.node, 90, True),
    Scenario("socketio", "socket.io over two backends: polling, upgrade, WebSocket only", socketio.run, 60, True),
    Scenario("socketio-prefix", "socket.io below a prefix of which it knows nothing", socketio.below_a_prefix, 60),
    Scenario(
        "sticky",
        "a sticky cookie over two backends: curl, socket.io and ws in Node, headless Chromium; HAProxy beside",
        sticky.run,
        150,
    ),
    Scenario(
        "readme",
        "the README's minute with a real backend, typed as it stands there",
        readme.run,
        120,
        mostly_waits=True,
    ),
    Scenario(
        "unix",
        "Unix sockets on both sides: Node ws, curl, nginx; 1,000 sessions and a hand-over",
        unix.run,
        240,
    ),
    Scenario("curl", "plain HTTP by curl: bodies, chunks, keep-alive, HEAD, HTTP/1.0, 404", curl.run, 60, True),
    Scenario("early-answer", "nginx, Python and Node refuse uploads they do not read: 413", early_answer.run, 300),
    Scenario(
        "demo-page",
        "headless Chromium clicks, types and idles on the demo page",
        demo.run,
        120,
        mostly_waits=True,
    ),
    Scenario(
        "page", "headless Chromium at the live page: a kill, a crash, keys, a phone, 1,000 sessions", page.run, 150
    ),
    Scenario(
        "status",
        "status --watch on a real terminal (tmux): 1,000 sessions, a drain, Ctrl-C, q, a smaller window",
        status.run,
        120,
    ),
    Scenario(
        "client-library",
        "headless Chromium with longwire-client: offline and back, a silent path, a longwire that is killed, one that drains",
        client_library.run,
        120,
        mostly_waits=True,
    ),
    Scenario(
        "roaming",
        "longwire-client on a network that cuts every connection, with resume: each message once (--minutes 3: 203 clients)",
        roaming.resumed,
        150,
        False,
        True,
        mostly_waits=True,
    ),
    Scenario(
        "roaming-plain",
        "longwire-client on a network that cuts every connection, without resume and without longwire (--minutes 3: 203 clients)",
        roaming.plain,
        120,
        False,
        True,
        mostly_waits=True,
    ),
    Scenario("refused", "headless Chromium beyond a limit reads why, and of which origin it may be", refused.run, 60),
    Scenario("storm", "1,000 sessions over TLS to Node ws, pings every 50 ms, every byte right", storm.run, 260, True),
    Scenario(
        "silence",
        "a middlebox cuts after 3 s of silence, before and behind the proxy, for 60 s",
        silence.run,
        120,
        mostly_waits=True,
    ),
    Scenario(
        "middleboxes",
        "fifteen kinds of middleboxes: who lives for 30 limits, who is told how, what longwire probe finds out; peers beside",
        middleboxes.run,
        250,
        mostly_waits=True,
    ),
    Scenario(
        "blocked",
        "a backend that computes and reads nothing keeps its sessions (--minutes 2: 70 s, the defaults)",
        hung.blocked,
        120,
        False,
        True,
    ),
    Scenario("hung", "a stopped client is found while the backend pings or sends", hung.hung, 120, mostly_waits=True),
    Scenario("failover", "one of two backends killed and back", failover.run, 60),
    Scenario(
        "deploy",
        "two Node ws backends drained and killed, back and forth, under held sessions (--minutes 2: 1,000 sessions, 20 times)",
        deploy.run,
        300,
        mostly_waits=True,
    ),
    Scenario("false-upgrade", "answers that are no upgrade never open a tunnel", false_upgrade.run, 60),
    Scenario(
        "idle-memory",
        "5,000 idle sessions: memory per session, no growth under pings",
        idle_memory.run,
        150,
        False,
        True,
        mostly_waits=True,
    ),
    Scenario(
        "reload",
        "1,000 sessions over 100 reloads, 20 of them of broken files (--minutes 2: ten times as many)",
        reload.reload,
        150,
        False,
        True,
    ),
    Scenario("drain", "SIGTERM with 1,000 sessions: announced, spread, in time, no message torn", reload.drain, 90),
    Scenario("takeover", "new processes take the listeners over while sessions come", reload.takeover, 90),
    Scenario(
        "last-clients",
        "who connects while a listener closes is answered: longwire beside nginx and HAProxy",
        last_clients.run,
        180,
    ),
    Scenario(
        "differential",
        "requests and answers past longwire, nginx and HAProxy: each difference is decided",
        differential.run,
        560,
    ),
    Scenario(
        "import",
        "files of nginx and HAProxy, imported: clients see no difference between the proxies",
        imported.run,
        120,
    ),
    Scenario(
        "auth-request",
        "a Python service like oauth2-proxy denies and lets in curl and Node ws, asked by longwire and by nginx",
        auth_request.run,
        120,
    ),
    Scenario(
        "backend-tls",
        "nginx with client certificates and Node ws as TLS backends: resumed, says nginx's log; who is not believed",
        backend_tls.run,
        120,
    ),
    Scenario(
        "proxy-protocol-in",
        "HAProxy (v1, v2, v2 with TLVs) and nginx's stream before longwire say who the client is",
        proxy_protocol.senders,
        90,
    ),
    Scenario(
        "proxy-protocol-out",
        "HAProxy and nginx behind longwire read who the client is, and the checks pass",
        proxy_protocol.receivers,
        120,
    ),
    Scenario(
        "discovery",
        "500 sessions while Knot DNS has a name go from 1 to 20 to 3 addresses, and fail in each way; SRV; a ConfigMap",
        discovery.run,
        150,
        mostly_waits=True,
    ),
    Scenario("resume", "openssl s_client resumes its TLS sessions over reloads and hand-overs", resume.run, 60),
    Scenario(
        "resume-by-hand",
        "docs/resume.md, spoken by Python websockets: counts, replays, attempts, silence, lies, a backend that closes meanwhile",
        resume_by_hand.run,
        150,
        mostly_waits=True,
    ),
    Scenario(
        "fleet",
        "three longwires share limits on Valkey, behind HAProxy: kills, hand-overs, Valkey away (--minutes 2: 40,000 tries, all losses)",
        fleet.run,
        420,
        False,
        True,
        mostly_waits=True,
    ),
    Scenario(
        "rolling",
        "three backends, and one of three longwires behind HAProxy, are replaced under their sessions (--minutes 2: HAProxy too)",
        rolling.run,
        200,
        mostly_waits=True,
    ),
    Scenario(
        "fleet-rebalance",
        "three longwires behind HAProxy, of which one has all sessions: rebalance --fleet lets the surplus leave, counts from Valkey",
        fleet_rebalance.run,
        90,
        mostly_waits=True,
    ),
    Scenario(
        "fleet-servers",
        "limits shared on Valkey and Redis: TLS, the rights of the page alone, a replica that takes over (--minutes 2: a cluster too)",
        fleet_servers.run,
        300,
        mostly_waits=True,
    ),
    Scenario(
        "fleet-memory",
        "what 3,000 idle sessions cost where their clients are counted, by longwire alone and by a fleet (by name only)",
        fleet_memory.run,
        600,
        only_by_name=True,
    ),
    Scenario(
        "client-certificates",
        "openssl s_client, curl and Node ws with certificates, over TLS 1.2 and 1.3; revoked, resumed, told",
        client_certificates.run,
        120,
    ),
    Scenario("schemathesis", "the admin interface does what its OpenAPI description says", description.run, 420),
    Scenario("metrics", "promtool and a real Prometheus read /metrics and the alerts", metrics.run, 120),
    Scenario("traces", "OpenTelemetry's own protobuf reads the spans, a backend by others its parent", traces.run, 60),
    Scenario(
        "recipes",
        "JupyterLab, Streamlit, Node-RED, Vite, socket.io, graphql-ws, MQTT and Channels by docs/recipes.md (1 GB, by name only)",
        recipes.run,
        900,
        only_by_name=True,
    ),
    Scenario(
        "closes",
        "Python, Node and raw sockets end sessions, plain and over TLS: none by a reset (--minutes 10: 100,000)",
        closes.run,
        1200,
        False,
        True,
    ),
    Scenario("ending", "SIGTERM tells every client 1012; exit codes; check's messages", ending.run, 60),
]
