"""Backends by a name and a service of a real DNS server, and by a list that is swapped as Kubernetes does it."""

import contextlib
import json
import signal
import time
from pathlib import Path

from ..bench import Bench, wait_until
from ..finders import Crowd, Finder, Hosts, check_shares, check_spread, ipv4, ipv4s
from ..knot import Knot, whole

SESSIONS = 500
EMPTY_AFTER = 5
# More A records than 1220 bytes hold.
MANY = 100
THREE = [ipv4(last) for last in (3, 9, 20)]


def run(bench: Bench) -> None:
    hosts, knot = Hosts(bench, MANY), Knot(bench)
    by_name(bench, hosts, knot)
    by_service(bench, hosts, knot)
    by_file(bench, hosts)


def by_name(bench: Bench, hosts: Hosts, knot: Knot) -> None:
    bench.say(f"a name: 1, 20, 3 and {MANY} addresses, and both families")
    entry = f'{{ dns: "{whole("chat")[:-1]}:{hosts.port}" }}'

    def settings(*resolvers: str) -> str:
        return f"balance: ip_hash\ndiscovery: {{ resolver: {json.dumps(resolvers)}, empty_after: {EMPTY_AFTER}s }}"

    put(knot, [ipv4(1)])
    first = Finder(bench, hosts, entry, settings(knot.address))
    crowd = Crowd(bench, first, SESSIONS)
    bench.equal(set(crowd.served.values()), {ipv4(1)}, "all are at the one address")

    def others(addresses: list[str], finders: list[Finder], what: str) -> None:
        put(knot, addresses)
        check_spread(bench, finders, hosts.backends(*addresses), what)
        crowd.check_lives(what)

    twenty = ipv4s(1, 20)
    others(twenty, [first], "20 addresses")
    orders = {tuple(knot.ask("chat", "A").records) for _ in range(20)}
    bench.check(len(orders) > 1, f"the order of the answers says nothing: 20 of them came in {len(orders)}")
    # This one has seen no others, and asks a server first that knows nothing.
    broken = Knot(bench)
    broken.fail()
    both = [first, Finder(bench, hosts, entry, settings(broken.address, knot.address))]
    check_spread(bench, both, hosts.backends(*twenty), "20 addresses, another longwire")
    others(THREE, both, "3 addresses")
    gone = hosts.backend(ipv4(5))
    bench.check(gone not in first.get("/metrics")[1], f"{gone}, which is gone, has no metrics any more")

    others(ipv4s(1, MANY), both, f"{MANY} addresses")
    cut = knot.ask("chat", "A", "+ignore", "+bufsize=1232")
    bench.check("tc" in cut.flags, f"UDP cuts them: flags {cut.flags}, {len(cut.records)} records")
    back = next(one for one in first.upstream()["backends"] if one["address"] == hosts.backend(ipv4(1)))
    bench.check(back["sessions"] >= SESSIONS, f"{ipv4(1)} is back, with its {back['sessions']} sessions")
    if hosts.ipv6:
        others([*THREE, *hosts.ipv6], both, "both families")
    others(THREE, both, "one family")

    failures(bench, hosts, knot, both, crowd)
    crowd.leave()
    for finder in both:
        finder.stop()


def failures(bench: Bench, hosts: Hosts, knot: Knot, both: list[Finder], crowd: Crowd) -> None:
    three = hosts.backends(*THREE)

    def fails(what: str) -> None:
        for finder in both:
            failure = wait_until(finder.failure, 20, f"{what}: a failure is shown")
        check_spread(bench, both, three, f"{what} ({failure})")
        crowd.check_lives(what)

    def is_over(what: str) -> None:
        for finder in both:
            wait_until(lambda finder=finder: not finder.failure(), 30, f"{what}: it is over")
        bench.check(True, f"{what}: it is over")

    bench.say("each kind of failure")
    knot.fail()
    bench.equal(knot.ask("chat", "A").status, "SERVFAIL", "knotd answers")
    fails("SERVFAIL")
    staleness = f'longwire_discovery_stale_seconds{{kind="dns",name="{whole("chat")[:-1]}:{hosts.port}"}}'
    for finder in both:
        wait_until(lambda finder=finder: finder.sample(staleness) > 0, 10, "the metrics say how stale it is")
    bench.check(True, f"SERVFAIL: {staleness} {finder.sample(staleness)}")
    knot.mend()
    is_over("SERVFAIL")

    for status, records in (("NXDOMAIN", []), ("NOERROR", ['TXT "no address"'])):
        what = f"{status} without an address"
        began = time.monotonic()
        knot.put({"chat": records})
        answer = knot.ask("chat", "A")
        bench.equal((answer.status, answer.records), (status, []), "knotd answers")
        check_spread(bench, both, three, f"{what}, at first")
        for finder in both:
            wait_until(lambda finder=finder: not finder.weights(), 30, f"{what}: the backends go")
        took = time.monotonic() - began
        bench.check(
            took >= EMPTY_AFTER, f"{what}: the backends are gone after {took:.1f} s, and not before {EMPTY_AFTER} s"
        )
        for finder in both:
            finder.check_refusals(what)
        crowd.check_lives(what)
        put(knot, THREE)
        check_spread(bench, both, three, f"after {what}")

    knot.program.signal(signal.SIGSTOP)
    fails("a server that says nothing")
    knot.program.signal(signal.SIGCONT)
    is_over("a server that says nothing")
    knot.kill()
    fails("a server that is away")
    knot.start()
    others = ipv4s(4, 10)
    put(knot, others)
    is_over("a server that is away")
    check_spread(bench, both, hosts.backends(*others), "other addresses then")
    crowd.check_lives("other addresses then")


def by_service(bench: Bench, hosts: Hosts, knot: Knot) -> None:
    bench.say("a service: priorities and weights")
    homes = {"a": ipv4(201), "b": ipv4(202), "c": ipv4(1), "d": ipv4(2)}
    a, b, c, d = map(hosts.backend, homes.values())
    preferred = hosts.start([homes["a"], homes["b"]])
    knot.put({name: [f"A {address}"] for name, address in homes.items()})

    def announce(*targets: tuple[int, int, str]) -> None:
        records = [f"SRV {priority} {weight} {hosts.port} {whole(name)}" for priority, weight, name in targets]
        knot.put({"_ws._tcp": records})

    def knows(weights: dict[str, int], what: str) -> None:
        wait_until(lambda: finder.weights() == weights, 15, what)

    def serve(weights: dict[str, int], what: str) -> None:
        check_shares(bench, [finder], weights, what)

    announce((10, 3, "a"), (10, 1, "b"), (20, 1, "c"), (20, 0, "d"))
    settings = f'balance: ip_hash\nmax_fails: 1\nfail_timeout: 2s\ndiscovery: {{ resolver: "{knot.address}" }}'
    finder = Finder(bench, hosts, f"{{ srv: {whole('_ws._tcp')[:-1]} }}", settings)
    last = {c: 1, d: 1}
    knows({a: 3, b: 1} | last, "the targets")
    names = {one["address"]: one["found"]["name"] for one in finder.upstream()["backends"]}
    bench.check(whole("a")[:-1] in names[a], f"the target behind {a}: {names[a]}")
    serve({a: 3, b: 1}, "weights 3 and 1")
    announce((10, 1, "a"), (10, 3, "b"), (20, 1, "c"), (20, 0, "d"))
    knows({a: 1, b: 3} | last, "other weights")
    serve({a: 1, b: 3}, "weights 1 and 3")
    preferred.kill()
    serve(last, "nobody of the first priority is there")
    hosts.start([homes["a"], homes["b"]])
    # Once `fail_timeout` is over, a client tries each of them.
    wait_until(lambda: tried(finder, {a, b}), 15, "the first priority is up")
    serve({a: 1, b: 3}, "the first priority is back")
    announce((10, 1, "a"), (5, 1, "d"))
    knows({a: 1, d: 1}, "another first priority")
    serve({d: 1}, "another first priority")
    # Three questions, which all say that there is no such name.
    announce((5, 1, "e"))
    finder.check_stays({a: 1, d: 1}, 3, "a new target without an address")
    serve({d: 1}, "a new target without an address")
    knot.put({"e": [f"A {ipv4(3)}"]})
    alone = {hosts.backend(ipv4(3)): 1}
    knows(alone, "the new target's address")
    serve(alone, "the new target has an address")
    finder.stop()


def tried(finder: Finder, backends: set[str]) -> bool:
    """Whether all of these are up, after some clients more."""
    finder.visit().wait(15)
    return {one["health"] for one in finder.upstream()["backends"] if one["address"] in backends} == {"up"}


def by_file(bench: Bench, hosts: Hosts) -> None:
    bench.say("a list in a ConfigMap")
    folder = ConfigMap(bench.folder / "config-map")
    folder.put(listed(hosts, [ipv4(1)]))
    finder = Finder(bench, hosts, f"{{ file: {folder.path}/backends.yaml }}")
    crowd = Crowd(bench, finder, SESSIONS // 5)
    three = hosts.backends(*THREE)
    for addresses in (ipv4s(1, 20), THREE):
        folder.put(listed(hosts, addresses))
        wanted = hosts.backends(*addresses)
        # Sooner than the next look, which comes even if nothing is seen.
        wait_until(lambda wanted=wanted: finder.weights() == wanted, 5, "the swap is seen")
        check_spread(bench, [finder], wanted, f"a list of {len(addresses)}")
    folder.put(f"{listed(hosts, [ipv4(1)])}  wieght: 2\n")
    failure = wait_until(finder.failure, 15, "the mistake is shown")
    bench.check("backends.yaml:2:" in failure and "wieght" in failure, f"a mistake has its place: {failure}")
    check_spread(bench, [finder], three, "a list with a mistake changes nothing")
    folder.put("[]\n")
    wait_until(lambda: not finder.weights(), 15, "an empty list")
    finder.check_refusals("an empty list")
    crowd.check_lives("an empty list")
    folder.put(listed(hosts, THREE))
    check_spread(bench, [finder], three, "a list again")
    crowd.leave()
    finder.stop()


class ConfigMap:
    """A folder as the kubelet fills it: the file is a link through `..data`, which leads to a folder that is replaced."""

    def __init__(self, path: Path):
        self.path, self.version = path, 0
        path.mkdir()
        (path / "backends.yaml").symlink_to("..data/backends.yaml")

    def put(self, text: str) -> None:
        before, self.version = self.path / f"..{self.version}", self.version + 1
        now = self.path / f"..{self.version}"
        now.mkdir()
        (now / "backends.yaml").write_text(text)
        (self.path / "..data_tmp").symlink_to(now.name)
        (self.path / "..data_tmp").rename(self.path / "..data")
        with contextlib.suppress(FileNotFoundError):
            (before / "backends.yaml").unlink()
            before.rmdir()


def put(knot: Knot, addresses: list[str]) -> None:
    """The name has these addresses."""
    knot.put({"chat": [f"{'AAAA' if ':' in address else 'A'} {address}" for address in addresses]})


def listed(hosts: Hosts, addresses: list[str]) -> str:
    return "".join(f'- address: "{backend}"\n' for backend in hosts.backends(*addresses))
