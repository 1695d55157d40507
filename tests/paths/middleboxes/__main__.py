"""`tests/paths/run`: see there."""

import argparse
import asyncio
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

from peers.bench import Bench, Failed

from . import auto, kernel, learning, probing, rows, table
from .clock import Clock

ROOT = Path(__file__).resolve().parents[3]


def main() -> int:
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    began = time.monotonic()
    try:
        failed, of = {"table": run_table, "probe": run_probes, "learn": run_learning}[options.what](options)
    except Failed as failure:
        print(f"FAILED: {failure}")
        failed, of = 1, 1
    print(f"\n{of - failed} passed, {failed} failed in {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


def run_table(options) -> tuple[int, int]:
    presets = presets_of(options.binary)
    if not presets:
        raise Failed("longwire paths --json: no preset")
    if unknown := rows.strangers(presets):
        raise Failed(f"no middlebox here is like the presets {', '.join(unknown)}")
    limits = (rows.SHORTEST_LIMIT,) if options.quick else rows.LIMITS
    if options.quick:
        presets = []
    here = kinds()
    names = [name for kind in here for group in rows.named(kind, presets).values() for name in group]
    chosen = rows.rows(here, limits, presets, auto.intervals(options.binary, list(limits), sorted(set(names))))
    with Bench(ROOT, options.binary.resolve(), False, 0) as bench:
        run = table.Table(bench, chosen, table.ROLES)
        found = run_in(bench, run.run())
        failed = table.shown(found, chosen)
        if failed:
            bench.print_logs("middleboxes")
        say_held_up(run.clock)
    return failed, len(chosen)


def run_probes(options) -> tuple[int, int]:
    with Bench(ROOT, options.binary.resolve(), False, 0) as bench:
        run = probing.Probing(bench, kinds(), options.quick)
        answers = run_in(bench, run.run())
        table.print_table(probing.shown(answers))
        failed = sum(bool(answer.faults) for answer in answers)
        if failed:
            bench.print_logs("middleboxes-probe")
        say_held_up(run.clock)
    return failed, len(answers)


def run_learning(options) -> tuple[int, int]:
    with Bench(ROOT, options.binary.resolve(), False, 0) as bench:
        run = learning.Learning(bench)
        courses = run_in(bench, run.run())
        table.print_table(learning.shown(courses))
        failed = sum(bool(course.faults) for course in courses)
        if failed:
            bench.print_logs("middleboxes-learn")
        say_held_up(run.clock)
    return failed, len(courses)


def kinds() -> tuple[rows.Kind, ...]:
    """All of them, as far as this machine has what they need."""
    if lack := kernel.why_not():
        print(f"NOT HERE: connection tracking by nftables in a namespace ({lack})")
        print(
            "NOT HERE: what conntrack would do is done by relays, which count the segments that the kernel tells them of"
        )
        return rows.without_kernel(rows.KINDS)
    return rows.KINDS


def run_in(bench: Bench, work):
    try:
        return asyncio.run(work)
    except (Failed, TimeoutError, asyncio.TimeoutError) as failure:
        bench.print_logs("middleboxes")
        raise Failed(str(failure) or "not done in time") from failure


def say_held_up(clock: Clock) -> None:
    if clock.held_up > 1:
        print(f"this process was held up for {clock.held_up:.1f} s, which count as no silence")


def presets_of(binary: Path) -> list[dict]:
    told = subprocess.run([binary, "paths", "--json"], check=False, capture_output=True, text=True, timeout=20)
    if told.returncode:
        raise Failed(f"longwire paths --json: {told.stderr.strip()}")
    return json.loads(told.stdout)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/paths/run", description="Who outlives which middlebox.")
    parser.add_argument(
        "what", nargs="?", choices=("table", "probe", "learn"), default="table", help="what to run (table)"
    )
    parser.add_argument("--quick", action="store_true", help="the shortest limit alone: under a minute")
    parser.add_argument("--binary", type=Path, default=ROOT / "target/release/longwire", help="the longwire to drive")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
