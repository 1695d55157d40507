"""The corpus past longwire, nginx and HAProxy, each in front of the recording backend: every difference is decided."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from ..bench import Bench
from ..differential import proxies
from ..differential.backend import Backend
from ..differential.decisions import DECISIONS, decide
from ..differential.grammar import Case, corpus
from ..differential.outcome import Outcome, ask
from ..proxy import Proxy

LONGWIRE = "longwire"
# Undecided ones that are printed.
SHOWN = 40


def run(bench: Bench) -> None:
    cases = corpus()
    backends = {name: Backend() for name in (LONGWIRE, "nginx", "HAProxy")}
    proxy = Proxy(
        bench,
        [backends[LONGWIRE].port],
        upstream="balance: round_robin\nmax_fails: 0\ntries: 1",
        more="timeouts: { drain: 1s, response: 2s, upgrade: 2s }",
    )
    ports = {
        LONGWIRE: proxy.port,
        "nginx": proxies.nginx(bench, backends["nginx"].port),
        "HAProxy": proxies.haproxy(bench, backends["HAProxy"].port),
    }

    def all_of(name: str) -> list[Outcome]:
        return [ask(ports[name], backends[name], case) for case in cases]

    with ThreadPoolExecutor(len(ports)) as pool:
        outcomes = dict(zip(ports, pool.map(all_of, ports), strict=True))
    report(bench, cases, outcomes)
    bench.equal(proxy.stop(), 0, "longwire's exit code")


def report(bench: Bench, cases: list[Case], outcomes: dict[str, list[Outcome]]) -> None:
    """How many differ, by decision; fails at the first difference that none is about."""
    undecided, counts, differing = [], Counter(), Counter()
    for place, case in enumerate(cases):
        own = outcomes[LONGWIRE][place]
        others = {name: found[place] for name, found in outcomes.items() if name != LONGWIRE}
        different = {name: other for name, other in others.items() if not own.equals(other)}
        if not different:
            continue
        differing.update(different.keys())
        differing["any"] += 1
        decision = decide(case, own, different)
        counts[decision] += 1
        if decision is None:
            undecided.append((case, own, others))
    bench.say(
        f"{len(cases)} cases; {differing['any']} differ: from nginx {differing['nginx']}, from HAProxy {differing['HAProxy']}"
    )
    for decision in DECISIONS:
        bench.say(f"{counts[decision]:5} {decision.name}: {decision.reason}")
    for case, own, others in undecided[:SHOWN]:
        bench.say(f"undecided: {case.name}")
        for name, outcome in {LONGWIRE: own, **others}.items():
            bench.say(f"    {name:8} {outcome}")
    bench.check(not undecided, f"each of {differing['any']} differences is decided ({len(undecided)} are not)")
    idle = [decision.name for decision in DECISIONS if not counts[decision]]
    bench.equal(idle, [], "decisions about nothing that happens")
