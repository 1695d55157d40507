"""Three longwires share limits on Valkey, and one has all the sessions: `longwire rebalance --fleet` lets the surplus leave, and no more."""

import json
from collections import Counter

from ..bench import Bench, wait_until
from ..counting import Counts, Crowd
from ..instances import Balancer, Instance
from ..valkey import Valkey
from .fleet import LEASE, told

NAMES = "abc"
SESSIONS, ADDRESSES = 30, 10
EVEN = SESSIONS // len(NAMES)
# The surplus leaves one by one over this time.
OVER = "2s"
SETTINGS = "limits: {{ sessions: 100, sessions_per_client: 10 }}\nfleet: {{ {} }}"


def run(bench: Bench) -> None:
    valkey, counts = Valkey(bench), Counts(bench, len(NAMES))
    settings = SETTINGS.format(f'valkey: "{valkey.url}", instance: NAME, lease: {LEASE}s, timeout: 3s')
    pairs = zip(NAMES, counts.ports, strict=True)
    instances = [Instance(bench, name, port, settings) for name, port in pairs]
    full, *others = instances
    # A client that comes back goes where the fewest are.
    balancer = Balancer(bench, instances, "leastconn")
    for other in others:
        bench.equal(other.proxy.stop(), 0, f"{other.name} is not there yet: exit code")
    crowd = Crowd(bench, balancer.port, 1, SESSIONS, ADDRESSES, pause=300)
    wait_until(lambda: counts.by_place() == [SESSIONS, 0, 0], 20, f"{full.name} has all {SESSIONS} sessions")

    for other in others:
        other.begin()
    know(instances, [SESSIONS, 0, 0])
    crowd.look()
    planned = order(full, "--dry-run")
    wanted = {"state": "planned", "counted": SESSIONS, "fleet_mean": EVEN, "sessions": SESSIONS - EVEN}
    bench.equal({key: planned[key] for key in wanted}, wanted, f"what {full.name} plans")
    for other in others:
        bench.equal(order(other)["sessions"], 0, f"sessions that {other.name} lets leave, which has none")

    order(full, "--over", OVER)
    wait_until(lambda: status(full)["state"] == "over", 20, "all of the surplus have left")
    outcome = {key: status(full)[key] for key in ("sessions", "waiting", "moved", "ended")}
    bench.equal(
        outcome, {"sessions": SESSIONS - EVEN, "waiting": 0, "moved": 0, "ended": SESSIONS - EVEN}, "what has left"
    )
    know(instances, [EVEN] * len(NAMES))
    bench.equal(counts.by_place(), [EVEN] * len(NAMES), "sessions of each, once all have come back")
    seen = crowd.look()
    bench.equal(seen["ended"], {"1012 rebalance": SESSIONS - EVEN}, "sessions that ended, and what their clients read")
    bench.equal((seen["opened"], seen["refused"], seen["failed"]), (SESSIONS - EVEN, {}, {}), "those who came back")
    causes = Counter(record["cause"] for record in full.proxy.records())
    bench.equal(dict(causes), {"rebalanced": SESSIONS - EVEN}, f"the records of {full.name}")

    for instance in instances:
        bench.equal(
            order(instance, "--over", OVER)["sessions"], 0, f"all are even: sessions that {instance.name} lets leave"
        )
    bench.equal(crowd.leave()["ended"], {"1000 done": SESSIONS}, "how the sessions ended")
    for instance in instances:
        bench.equal(instance.proxy.stop(), 0, f"exit code of {instance.name}")
    bench.equal(valkey.order("DBSIZE"), 0, "keys that they left at Valkey")


def order(instance: Instance, *words: str) -> dict:
    return json.loads(instance.command("rebalance", "--fleet", "--json", *words))


def status(instance: Instance) -> dict:
    return json.loads(instance.command("rebalance", "--status", "--json"))


def know(instances: list[Instance], sessions: list[int]) -> None:
    """Each has heard of Valkey how many sessions all have."""
    truth = dict(zip(NAMES, sessions, strict=True))
    for instance in instances:
        wait_until(lambda instance=instance: told(instance.status()) == truth, 20, f"{instance.name} says {truth}")
