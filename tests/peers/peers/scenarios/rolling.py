"""Rolling updates: of backends under sessions that are held, of a longwire behind a layer-4 balancer, and of that balancer."""

import signal
import time
from collections import Counter

from ..bench import Bench, Failed, Program, free_port, wait_until
from ..instances import Balancer, Instance, answer
from ..proxy import Proxy
from .deploy import ROUTES, drain, ended, judge, opened, sessions, start

HELD, CLIENTS = 200, 150
RESUME = "- { upstream: backends, resume: { for: 12s, replay: 64KiB, beat: 2s } }"
SETTINGS = "timeouts: { drain: 15s }\ndrain: { wait: 1s, spread: 2s }"
PATIENCE = 60


def run(bench: Bench) -> None:
    of_backends(bench)
    of_longwires(bench)
    if bench.minutes >= 2:
        of_the_balancer(bench)


def of_backends(bench: Bench) -> None:
    """Each is drained, ended when it has no session, and replaced by a process at the same address."""
    ports = [free_port() for _ in range(3)]
    backends = {port: start(bench, port) for port in ports}
    admin = free_port()
    more = f"admin: {{ bind: 127.0.0.1:{admin} }}\ndrain: {{ spread: 1s }}"
    proxy = Proxy(bench, ports, upstream="balance: least_conn\nfail_timeout: 1s", routes=ROUTES, more=more)
    clients = opened(bench, proxy, HELD)
    for port, backend in backends.items():
        drain(bench, proxy, port)
        wait_until(lambda port=port: sessions(admin)[port] == 0, 20, "the drained backend has no session")
        backend.signal(signal.SIGTERM)
        backend.wait(10)
        backends[port] = start(bench, port)
        drain(bench, proxy, port, "--undo")
    totals = ended(clients)
    records = proxy.wait_records(HELD, 20)
    bench.equal(totals["missing"], 0, f"messages that the update of three backends lost, of {totals['sent']}")
    bench.equal({record["cause"] for record in records}, {"client_close"}, "how the sessions ended")
    bench.check(all(record["resumes"] for record in records), "each was moved")
    judge(bench, totals, HELD)
    bench.equal(proxy.stop(), 0, "longwire's exit code")


def of_longwires(bench: Bench) -> None:
    """A fourth begins, and the first is drained; later another one is killed. Nobody who comes back is refused."""
    first, second, third, fourth = instances = longwires(bench, "abcd")
    # It comes later: so far the balancer finds nobody there.
    fourth.kill()
    clients = come(bench, Balancer(bench, instances))
    before = seen(clients)
    shares = Counter(client["places"][-1] for client in before)
    bench.equal(set(shares), {0, 1, 2}, f"longwires that have {CLIENTS} clients, {dict(shares)}")

    fourth.begin()
    first.program.signal(signal.SIGTERM)
    bench.equal(first.program.wait(20), 0, "one is drained: its exit code")
    drained = moved(bench, clients, before, 0, "one is drained")
    bench.equal(ends(drained, before), {(1012, "drain")}, "one is drained: what its clients read")

    second.kill()
    killed = moved(bench, clients, drained, 1, "one is killed")
    bench.equal({code for code, _ in ends(killed, drained)}, {1006}, "one is killed: what its clients read")
    judge_all(bench, killed)
    for instance in (third, fourth):
        bench.equal(instance.proxy.records(), [], f"sessions that ended at {instance.name}")
        bench.equal(instance.proxy.records("request"), [], f"handshakes that {instance.name} refused")
        instance.kill()
    clients.kill()


def of_the_balancer(bench: Bench) -> None:
    """Who comes back to the same longwire goes on, who comes to another one begins anew."""
    instances = longwires(bench, "abc")
    for balance in ("source", "roundrobin"):
        balancer = Balancer(bench, instances, balance)
        clients = come(bench, balancer)
        before = seen(clients)
        balancer.kill()
        balancer.start()

        def are_back(clients=clients) -> bool:
            return all(len(client["opens"]) > 1 for client in seen(clients))

        what = f"the balancer is replaced, balance {balance}"
        wait_until(are_back, PATIENCE, f"{what}: all are back")
        now = wait_heard(clients)
        shares = Counter(client["places"][0] for client in before)
        told = Counter(opening["resumed"] for client in now for opening in client["opens"][1:])
        bench.equal(told.total(), CLIENTS, f"{what}: those who came back, of {dict(shares)}; resumed: {dict(told)}")
        # The backend says which longwire it is once for each session.
        odd = [client for client in now if client["opens"][-1]["resumed"] == (len(client["places"]) > 1)]
        bench.equal(odd, [], f"{what}: clients that were told otherwise than it is")
        if balance == "source":
            bench.equal(dict(told), {True: CLIENTS}, f"{what}: the library says: resumed")
        else:
            moved = [client["places"] for client in now if len(client["places"]) > 1]
            bench.check(all(one != other for one, other in moved), f"{what}: {len(moved)} are at another longwire")
        judge_all(bench, now)
        clients.kill()
    for instance in instances:
        bench.equal(instance.proxy.stop(20), 0, f"exit code of {instance.name}")


def longwires(bench: Bench, names: str) -> list[Instance]:
    ports = [free_port() for _ in names]
    bench.node("rolling_server.mjs", *ports).event("listening")
    return [Instance(bench, name, port, SETTINGS, RESUME) for name, port in zip(names, ports, strict=True)]


def come(bench: Bench, balancer: Balancer) -> Program:
    library = bench.root / "clients/js/dist/esm"
    bench.check((library / "resume.js").exists(), "the library is built (clients/js/test --build)")
    clients = bench.node("rolling_clients.mjs", library, f"ws://127.0.0.1:{balancer.port}/", CLIENTS)
    clients.event("opened", PATIENCE)
    return clients


def ends(now: list[dict], before: list[dict]) -> set[tuple[int, str]]:
    """What was told of the connections that were lost between."""
    downs = (client["downs"][len(old["downs"]) :] for client, old in zip(now, before, strict=True))
    return {(down["code"], down["reason"]) for told in downs for down in told}


def judge_all(bench: Bench, clients: list[dict]) -> None:
    bench.equal(sum(client["wrong"] for client in clients), 0, "numbers that came twice or out of order")
    bench.equal(sum(client["missed"] for client in clients), 0, "numbers that are missing in a session")
    bench.equal([client["closes"] for client in clients if client["closes"]], [], "clients that gave up")


def moved(bench: Bench, clients: Program, before: list[dict], gone: int, what: str) -> list[dict]:
    """All that were at the one that is gone are at others, by new sessions; the others have noticed nothing."""
    theirs = [number for number, client in enumerate(before) if client["places"][-1] == gone]

    def are_back() -> bool:
        now = seen(clients)
        return all(now[number]["places"][-1] != gone for number in theirs)

    wait_until(are_back, PATIENCE, f"{what}: its clients are back")
    now = wait_heard(clients)
    untouched = [
        number
        for number, (client, old) in enumerate(zip(now, before, strict=True))
        if number not in theirs and (client["opens"], client["downs"]) != (old["opens"], old["downs"])
    ]
    bench.equal(untouched, [], f"{what}: clients of the others that have lost a connection")
    fresh = [now[number]["opens"][len(before[number]["opens"]) :] for number in theirs]
    bench.equal({len(opens) for opens in fresh}, {1}, f"{what}: connections of each of its {len(theirs)} clients since")
    told = {opening["resumed"] for opens in fresh for opening in opens}
    bench.equal(told, {False}, f"{what}: of each the library says: resumed")
    lost = sum(opening.get("lost", 0) for opens in fresh for opening in opens)
    bench.say(f"{what}: of {lost} numbers the library says that they may be lost")
    arrivals = Counter(now[number]["places"][-1] for number in theirs)
    even = len(theirs) / len(arrivals)
    bench.check(
        len(arrivals) >= 2 and min(arrivals.values()) > even / 3, f"{what}: where they came back: {dict(arrivals)}"
    )
    return now


def seen(clients: Program) -> list[dict]:
    return answer(clients, signal.SIGUSR2, "seen")["clients"]


def wait_heard(clients: Program) -> list[dict]:
    """All have heard something since this call."""
    before = [client["heard"] for client in seen(clients)]
    deadline = time.monotonic() + 30
    while True:
        now = seen(clients)
        silent = [number for number, client in enumerate(now) if client["heard"] == before[number]]
        if not silent:
            return now
        if time.monotonic() > deadline:
            raise Failed(f"clients that hear nothing: {silent}")
        time.sleep(0.2)
