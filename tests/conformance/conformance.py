"""Runs Autobahn's fuzzing client directly and through longwire, and compares case by case: see `run`."""

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path

from peers.bench import Bench, Failed, Program
from peers.proxy import Proxy

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RESULTS = HERE / "results.json"

QUICK = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"]
COMPRESSION = ["12.*", "13.*"]

# How the suite reaches the backend. It counts every Ping that reaches it as an event that its case did not ask for,
# and while it dawdles inside a frame of its own (6.4.3, 6.4.4) it answers one right there. So its own side is pinged
# after 5 s only, where no case is silent for so long; the backend's side is pinged as often as a file may ask, and
# its Pongs must vanish.
DIRECT = "direct"
ROUTES = {
    "longwire": "ping_interval: 5s",
    "longwire, backend pinged every 50 ms": "ping_interval: 50ms, sides: [backend]",
}
HOURS = 3


def main() -> int:
    options = arguments()
    cases = options.cases or (QUICK if options.quick else QUICK + COMPRESSION)
    with Bench(ROOT, options.binary.resolve(), False, 0) as bench:
        try:
            found = run(bench, options, cases)
        except Failed as failure:
            print(f"FAILED: {failure}")
            bench.print_logs("conformance")
            print("0 passed, 1 failed")
            return 1
    return judge(found, options)


def run(bench: Bench, options, cases: list[str]) -> dict:
    """Case → way → [behaviour, behaviour of the close]."""
    backend = bench.node("ws_server.mjs")
    routes = "\n".join(
        f"- {{ path: /{number}/, upstream: backends, keepalive: {{ {keepalive} }} }}"
        for number, keepalive in enumerate(ROUTES.values())
    )
    proxy = Proxy(bench, [backend.port()], routes=routes, upstream="max_fails: 0")
    urls = {DIRECT: f"ws://127.0.0.1:{backend.port()}/"}
    urls |= {way: proxy.url(f"/{number}/") for number, way in enumerate(ROUTES)}
    began = time.monotonic()
    clients = {way: start(bench, options, cases, number, way, url) for number, (way, url) in enumerate(urls.items())}
    for way, client in clients.items():
        if client.wait(HOURS * 3600) != 0:
            raise Failed(f"Autobahn's client ({way}) ended with {client.process.returncode}")
        print(f"{way}: done after {time.monotonic() - began:.0f} s")
    if proxy.stop() != 0:
        raise Failed("longwire's exit code is not 0")
    pings = Counter()
    for record in proxy.records():
        for side in ("client", "backend"):
            pings[side] += record.get(f"pings_{side}", 0)
    print(
        f"longwire: {len(proxy.records())} sessions, "
        f"pings: {pings['client']} to clients, {pings['backend']} to backends"
    )
    if not pings["backend"]:
        raise Failed("no ping was injected")
    found: dict = {}
    for number, way in enumerate(urls):
        (report,) = json.loads((bench.folder / f"reports-{number}/index.json").read_text()).values()
        for case, result in report.items():
            found.setdefault(case, {})[way] = [result["behavior"], result["behaviorClose"]]
    return found


def start(bench: Bench, options, cases: list[str], number: int, way: str, url: str) -> Program:
    """The suite's client, one process for each way, side by side."""
    spec = bench.folder / f"spec-{number}.json"
    spec.write_text(
        json.dumps(
            {
                "outdir": str(bench.folder / f"reports-{number}"),
                "servers": [{"agent": way, "url": url}],
                "cases": cases,
                "exclude-cases": [],
                "exclude-agent-cases": {},
            }
        )
    )
    code = "from autobahntestsuite import wstest; wstest.run()"
    environment = {"PYTHONPATH": str(options.suite)}
    command = ["env", *(f"{name}={value}" for name, value in environment.items()), options.python2, "-c", code]
    return bench.start(f"autobahn-{number}", *command, "-m", "fuzzingclient", "-s", spec, cwd=bench.folder)


def judge(found: dict, options) -> int:
    found = dict(sorted(found.items(), key=lambda item: [int(part) for part in item[0].split(".")]))
    if options.keep:
        RESULTS.write_text("{\n" + ",\n".join(f"{json.dumps(c)}: {json.dumps(w)}" for c, w in found.items()) + "\n}\n")
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    wrong = 0
    for case, ways in found.items():
        differing = [way for way in ROUTES if ways.get(way) != ways.get(DIRECT)]
        if differing or ways != kept.get(case):
            wrong += 1
            print(f"DIFFERS {case}: {ways}, kept: {kept.get(case)}")
    for way in (DIRECT, *ROUTES):
        scores = Counter(" / ".join(ways.get(way, ["MISSING"])) for ways in found.values())
        print(f"{way}: " + ", ".join(f"{count} {score}" for score, count in scores.most_common()))
    groups = sorted({int(case.split(".")[0]) for case in found})
    print(f"groups {', '.join(map(str, groups))}: {len(found)} cases, each {1 + len(ROUTES)} ways")
    # The suite skips groups that it cannot play: then nothing was shown.
    complete = options.cases or options.quick or set(found) == set(kept)
    if not complete:
        print(f"MISSING: {', '.join(sorted(set(kept) - set(found))) or 'results.json has fewer cases'}")
    print(f"\n{len(found) - wrong} passed, {wrong + (not complete)} failed")
    return 0 if found and complete and not wrong else 1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tests/conformance/run", description="Autobahn, directly and through longwire."
    )
    parser.add_argument("--quick", action="store_true", help="all groups but compression (12 and 13)")
    parser.add_argument("--cases", action="append", help="only these, as Autobahn writes them: 6.4.*")
    parser.add_argument("--keep", action="store_true", help="write what was found into results.json")
    parser.add_argument("--binary", type=Path, default=ROOT / "target/release/longwire", help="the longwire to drive")
    parser.add_argument("--python2", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--suite", required=True, type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
