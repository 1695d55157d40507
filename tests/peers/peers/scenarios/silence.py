"""A middlebox that cuts what is silent for 3 s, and sessions that say nothing for 60 s."""

from ..bench import Bench, Program, wait_until
from ..proxy import Proxy

SILENT = 60
CUT = 3


def run(bench: Bench) -> None:
    backend = bench.python("websockets_server.py").port()
    keepalive = "ping_interval: 1s\npong_timeout: 10s"

    bare = bench.python("middlebox.py", backend, CUT)
    before_proxy = Proxy(bench, [backend], keepalive=keepalive)
    before = bench.python("middlebox.py", before_proxy.port, CUT)
    behind = bench.python("middlebox.py", backend, CUT)
    behind_proxy = Proxy(bench, [behind.port()], keepalive=keepalive)

    sessions = {"bare": bare.port(), "before": before.port(), "behind": behind_proxy.port}
    client = bench.python(
        "silent_client.py", SILENT, *(f"{name}=ws://127.0.0.1:{port}/" for name, port in sessions.items())
    )
    bench.say(f"three sessions say nothing for {SILENT} s")

    lost = wait_until(lambda: named(client, "lost").get("bare"), 15, "the session without longwire is lost")
    bench.equal(lost["code"], 1006, f"without longwire the session is lost after {lost['seconds']} s")
    bench.check(CUT <= lost["seconds"] < 2 * CUT, "by the middlebox's limit")

    client.event("done", SILENT + 30)
    survived = named(client, "survived")
    for name, proxy, side in (("before", before_proxy, "pings_client"), ("behind", behind_proxy, "pings_backend")):
        bench.check(name in survived, f"the session with the middlebox {name} longwire lives after {SILENT} s")
        bench.equal(
            (survived[name]["echo"], survived[name]["code"]), ("still here", 1000), "it echoes, and closes with 1000"
        )
        record = proxy.wait_records(1)[-1]
        # Silence makes a ping every second or, by jitter, every 1.1 s; the load of the machine may lose a few.
        bench.check(record[side] >= SILENT * 0.7, f"pings toward that side: {record[side]}")
    cuts = {"before": len(before.events("cut")), "behind": len(behind.events("cut"))}
    bench.equal(cuts, {"before": 0, "behind": 0}, "cuts by the middleboxes in longwire's path")
    for proxy in (before_proxy, behind_proxy):
        bench.equal(proxy.stop(), 0, "longwire's exit code")


def named(client: Program, event: str) -> dict[str, dict]:
    """The client's events of this kind, by the name of their session."""
    return {found["name"]: found for found in client.events(event)}
