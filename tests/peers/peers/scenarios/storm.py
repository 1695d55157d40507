"""1,000 sessions over TLS to Node ws: messages of 64 B to 1 MiB both ways, pings in every gap, every byte checked."""

from ..bench import Bench, Failed, Program, wait_until
from ..proxy import Proxy

SESSIONS = 1000
SECONDS = 30


def run(bench: Bench) -> None:
    backend = bench.node("storm_server.mjs", SESSIONS)
    # The backend may be slow to answer while a thousand sessions open on a busy machine: that is not what is tested here.
    proxy = Proxy(
        bench,
        [backend.port()],
        tls=True,
        keepalive="ping_interval: 50ms\npong_timeout: 60s",
        more="timeouts: { connect: 60s, upgrade: 60s, drain: 5s }",
    )
    client = bench.node("storm_client.mjs", proxy.url(""), SESSIONS, SECONDS)
    opened = client.event("opened", 100)
    bench.say(f"{SESSIONS} sessions opened in {opened['seconds']} s; they talk for {SECONDS} s more")

    at_client = summary(client, "the clients' summary", [client, backend])
    at_backend = summary(backend, "the backend's summary", [client, backend])
    for name, figures in (
        ("clients", at_client["sent"]),
        ("backend, echoes", at_backend["echoed"]),
        ("backend, own", at_backend["own"]),
    ):
        bench.say(
            f"{name}: {figures['messages']} messages, {figures['bytes'] / 2**20:.0f} MiB; "
            f"{figures['fragmented']} in fragments, {figures['compressed']} compressed, "
            f"{figures['mebibyte']} of exactly 1 MiB"
        )
    bench.say(
        f"fewest messages of a session {at_client['fewest_messages']}, slowest echo {at_client['slowest_echo_ms']} ms"
    )
    bench.equal(
        (at_client["closed"], at_backend["closed"]),
        (SESSIONS, SESSIONS),
        "sessions closed with their own code and reason",
    )
    bench.equal(
        at_backend["echoed"]["messages"],
        at_client["sent"]["messages"],
        "messages of the clients, all right at the backend and back",
    )
    bench.equal(
        at_client["streamed"], at_backend["own"]["messages"], "messages of the backend, all right at the clients"
    )
    bench.check(
        at_client["fewest_messages"] > 0 and at_client["sent"]["mebibyte"] > 0,
        "every session spoke, some of them 1 MiB at once",
    )
    bench.equal(
        at_backend["own_pongs"],
        at_backend["own_pings"],
        "backend's Pings, each answered by its own Pong and no other Pong seen",
    )
    bench.equal(
        at_client["own_pongs"],
        at_client["own_pings"],
        "clients' Pings, each answered by its own Pong and no other Pong seen",
    )
    bench.equal(at_client["backend_pings"], at_backend["own_pings"], "Pings of the backend that reached the clients")
    bench.equal(at_backend["client_pings"], at_client["own_pings"], "Pings of the clients that reached the backend")
    if bench.direct:
        bench.equal((at_client["foreign_pings"], at_backend["foreign_pings"]), (0, 0), "Pings by anyone else")
        return

    injected = at_client["foreign_pings"], at_backend["foreign_pings"]
    bench.check(
        min(injected) > SESSIONS,
        f"Pings by longwire that arrived: {injected[0]} at the clients, {injected[1]} at the backend",
    )
    records = proxy.wait_records(SESSIONS, 20)
    bench.equal(len(records), SESSIONS, "records")
    bench.check(
        all(record["clean"] and record["initiator"] == "client" for record in records),
        "every record: clean, the client closed first",
    )
    counted = tuple(sum(record[field] for record in records) for field in ("pings_client", "pings_backend"))
    bench.check(
        counted[0] >= injected[0] and counted[1] >= injected[1],
        f"records count {counted[0]} and {counted[1]} Pings sent",
    )
    bench.equal(proxy.stop(), 0, "longwire's exit code")


def summary(program: Program, what: str, actors: list[Program]) -> dict:
    """An actor's figures; fails with an actor's own words as soon as one says that something is wrong."""

    def told():
        for actor in actors:
            for broken in actor.events("broken"):
                raise Failed(broken["what"])
        return program.events("summary")

    return wait_until(told, SECONDS + 100, what)[0]
