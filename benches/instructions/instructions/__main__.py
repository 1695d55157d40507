"""`python -m instructions [OPTIONS]`: takes each row twice, prints the counts, writes the report."""

import argparse
import datetime
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from compare import machine
from compare.__main__ import BUILT, ROOT, make_certificate
from compare.configs import LONGWIRE
from compare.programs import Broken, Stand

from . import callgrind, report
from .report import Count, Counts
from .rows import ROWS, Bench, Row

PROGRAMS = ROOT / "target/instructions"


def main() -> int:
    options = arguments()
    if options.list:
        for row in ROWS:
            print(f"{row.name:17} {row.title} (per {row.unit})")
        return 0
    chosen = [row for row in ROWS if not options.rows or row.name.startswith(tuple(options.rows))]
    # A run that is terminated unwinds like one that is interrupted, so it leaves no process behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    counts = measure(chosen, options)
    for (name, program), count in counts.items():
        if program == LONGWIRE and isinstance(count, Count):
            print(f"\n{report.functions(name, count, options.functions)}")
    text = report.markdown(chosen, counts, about(options))
    print(f"\n{text}")
    if any(isinstance(count, str) for count in counts.values()):
        return 1
    if len(chosen) == len(ROWS):
        (ROOT / "benches/INSTRUCTIONS.md").write_text(text)
        print("written: benches/INSTRUCTIONS.md")
    return 0


def measure(chosen: list[Row], options: argparse.Namespace) -> Counts:
    """The counts by row and program. A text instead of a count says why there is none."""
    counts = {}
    with tempfile.TemporaryDirectory(prefix="longwire-instructions-") as name:
        folder = Path(name)
        make_certificate(folder)
        # The counts do not depend on whether there is one core or two.
        usable = sorted(os.sched_getaffinity(0))
        cores = machine.Cores(usable[0], usable[-1], usable[-1])
        stand = Stand(folder, PROGRAMS, options.binary, cores, callgrind.under(folder), patience=30.0)
        for row in chosen:
            for program in row.programs:
                started = time.monotonic()
                counts[row.name, program] = count = take(row, program, Bench(stand, options.steps))
                shown = count
                if isinstance(count, Count):
                    shown = f"{report.number(count.value)}, twice within {count.difference:.2%}"
                print(f"{row.name:17} {program:9} {shown}  [{time.monotonic() - started:.1f} s]")
    return counts


def take(row: Row, program: str, bench: Bench) -> Count | str:
    """The two differences between three runs, each longer than the one before. So neither the start nor the end of the
    program counts."""
    log = bench.stand.folder / "log"
    log.write_text("")
    try:
        short, middle, long = (row.run(bench, program, times * row.steps) for times in (1, 2, 3))
    except (Broken, OSError, subprocess.SubprocessError) as why:
        return f"BROKEN: {why}: {' / '.join(log.read_text().splitlines()[-3:])}"
    return Count(per_step(middle, short).total(), per_step(long, middle).total(), per_step(long, short))


def per_step(longer: tuple[Counter, int], shorter: tuple[Counter, int]) -> Counter:
    (many, many_steps), (few, few_steps) = longer, shorter
    steps = many_steps - few_steps
    return Counter({name: (count - few[name]) / steps for name, count in many.items()})


def about(options: argparse.Namespace) -> dict:
    return machine.description(options.binary, built_here=options.binary == BUILT) | {
        "date": options.date,
        "valgrind": machine.version(["valgrind", "--version"], r"valgrind-(\S+)"),
        "rustc": machine.version(["rustc", "--version"], r"rustc (\S+)"),
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benches/instructions/run", description="Count longwire's instructions beside its peers'."
    )
    parser.add_argument("--list", action="store_true", help="name the rows and stop")
    parser.add_argument(
        "--rows", type=lambda text: text.split(","), default=[], metavar="A,B", help="only those that begin so"
    )
    parser.add_argument(
        "--functions", type=int, default=15, metavar="N", help="how many functions to name (default: 15)"
    )
    parser.add_argument("--binary", type=Path, default=BUILT, help="the longwire to count")
    parser.add_argument("--steps", type=Path, help=argparse.SUPPRESS)
    parser.add_argument(
        "--date", default=datetime.date.today().isoformat(), help="what the report says (default: today)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
