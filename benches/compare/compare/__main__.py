"""`python -m compare [OPTIONS]`: takes samples of every row and proxy in rounds, then writes the report."""

import argparse
import datetime
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from . import equal, machine, plot, report
from .bounds import BOUNDS
from .configs import BEFORE, LONGWIRE
from .figures import Figures
from .others import OTHERS, install
from .programs import Broken, Stand
from .rows import FEW, ROWS, Row, Settings

ROOT = Path(__file__).resolve().parents[3]
KEPT = ROOT / "target/compare"
BUILT = ROOT / "target/release/longwire"
RECORDED = ROOT / "benches/compare/results.json"


def main() -> int:
    options = arguments()
    if options.list:
        for row in ROWS:
            print(f"{row.name:18} {row.title} ({row.unit})")
        return 0
    if options.report:
        write(json.loads(options.report.read_text()), whole=True)
        return 0
    if options.again and not options.rows:
        print("--again goes with --rows: a run of all rows replaces the recorded one anyway", file=sys.stderr)
        return 2
    if options.peers is None:
        options.peers = [] if options.rows and not options.again else list(OTHERS)
    chosen = [row for row in ROWS if not options.rows or row.name in options.rows]
    unknown = set(options.rows) - {row.name for row in ROWS}
    if unknown:
        print(f"no such row: {', '.join(sorted(unknown))} (see --list)", file=sys.stderr)
        return 2
    # A run that is terminated unwinds like one that is interrupted, so it leaves no process behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        raw = measure(chosen, options)
    except equal.Unequal as why:
        print(f"REFUSED: {why}", file=sys.stderr)
        return 1
    if options.check:
        return 0
    if options.again:
        raw = renewed(json.loads(RECORDED.read_text()), raw)
    figures = write(raw, whole=options.again or (len(chosen) == len(ROWS) and not options.quick))
    invalid = any(figures.invalid(row, proxy) for row, proxies in figures.rows.items() for proxy in proxies)
    return 1 if invalid else 0


def measure(chosen: list[Row], options: argparse.Namespace) -> dict:
    """Measures, and returns the raw figures of the run. The report needs nothing else."""
    rounds = options.rounds or (1 if options.quick else 7)
    settings = Settings(
        seconds=options.seconds or (1.0 if options.quick else 2.0),
        sessions=machine.idle_sessions(1000 if options.quick else 9000),
        ping_interval=5 if options.quick else 25,
        ping_periods=2,
    )
    absent = what_is_absent(chosen, options)
    raw = {
        "date": options.date,
        "machine": machine.description(options.binary, built_here=options.binary == BUILT),
        "settings": vars(settings) | {"rounds": rounds, "quick": options.quick},
        "priority": machine.raise_priority(),
        "load_before": os.getloadavg()[2],
        "absent": absent,
        "rows": {row.name: {proxy: [] for proxy in measurable(row, absent, options)} for row in chosen},
    }
    began = time.monotonic()
    cores = machine.Cores.shared_out()
    with tempfile.TemporaryDirectory(prefix="longwire-compare-") as folder:
        stand = Stand(Path(folder), KEPT, options.binary, cores, before=options.before)
        make_certificate(stand.folder)
        raw["equal"] = equal.checked(stand, distinct(raw["rows"]), shown=len(chosen) == len(ROWS) or options.check)
        if options.check:
            return raw
        # This process wakes up rarely, but must not do so on the core of the proxy.
        os.sched_setaffinity(0, {cores.load, cores.backend})
        for number in range(rounds):
            for row in chosen:
                if number < row.most_rounds:
                    take_samples(stand, row, number, settings, raw["rows"][row.name])
            taken, minutes = number + 1, (time.monotonic() - began) / 60
            raw["settings"]["rounds"] = taken
            if options.minutes and minutes * (taken + 1) / taken > options.minutes:
                print(f"{taken} of {rounds} rounds took {minutes:.0f} minutes: the next one would end too late")
                break
    raw["load_after"] = os.getloadavg()[2]
    raw["minutes"] = (time.monotonic() - began) / 60
    return raw


def renewed(recorded: dict, raw: dict) -> dict:
    """The recorded run with the rows of a later run in the place of its own. The report says which rows these are."""
    kept = ("date", "machine", "load_before", "load_after")
    later = {key: raw[key] for key in kept} | {"rounds": raw["settings"]["rounds"], "rows": list(raw["rows"])}
    earlier = [
        run | {"rows": [row for row in run["rows"] if row not in raw["rows"]]} for run in recorded.get("again", [])
    ]
    again = [run for run in [*earlier, later] if run["rows"]]
    return recorded | {"rows": recorded["rows"] | raw["rows"], "again": again}


def what_is_absent(chosen: list[Row], options: argparse.Namespace) -> dict[str, str]:
    """The proxies that these rows and their bounds need but that cannot be measured, each with the reason. Prints them."""
    names = {row.name for row in chosen}
    asked = {proxy for row in chosen for proxy in row.proxies}
    asked |= {proxy for bound in BOUNDS for row, proxy in bound.references if row in names}
    absent = machine.absent(options.binary, options.before)
    for other in options.peers:
        if other in asked and (why := install(other, KEPT)):
            absent[other] = why
    for proxy, reason in absent.items():
        if proxy in asked:
            print(f"NOT MEASURED: {proxy}: {reason}")
    return absent


def measurable(row: Row, absent: dict[str, str], options: argparse.Namespace) -> list[str]:
    """The proxies of a row that are there and wanted. An earlier longwire stands beside each longwire."""
    wanted = [*row.proxies, BEFORE] if LONGWIRE in row.proxies else row.proxies
    left_out = {*absent, *OTHERS} - (set(options.peers) - absent.keys())
    return [proxy for proxy in wanted if proxy not in left_out]


def distinct(rows: dict[str, dict]) -> list[str]:
    return list(dict.fromkeys(proxy for proxies in rows.values() for proxy in proxies))


def take_samples(stand: Stand, row: Row, number: int, settings: Settings, into: dict) -> None:
    """One round of a row: each proxy once. The round begins with another proxy than the round before."""
    order = [proxy for proxy in into if number < FEW or proxy not in OTHERS]
    first = number % len(order)
    for proxy in order[first:] + order[:first]:
        started = time.monotonic()
        (stand.folder / "log").write_text("")
        try:
            sample = row.measure(stand, proxy, settings)
            shown = f"{report.number(sample['value'])} {row.unit}{report.delay_of(sample)}"
            if sample["errors"]:
                shown += f", {sample['errors']} ERRORS: {last_words(stand)}"
        except (Broken, OSError, RuntimeError) as why:
            sample = {"broken": str(why)}
            shown = f"BROKEN: {why}: {last_words(stand)}"
        into[proxy].append(sample)
        print(f"round {number + 1}  {row.name:18} {proxy:15} {shown}  [{time.monotonic() - started:.1f} s]")


def last_words(stand: Stand) -> str:
    """The last words of the programs of this sample on standard error."""
    lines = (stand.folder / "log").read_text().splitlines()
    return " / ".join(lines[-3:]) or "no word"


def make_certificate(folder: Path) -> None:
    """Makes a self-signed certificate (ECDSA P-256) that is valid for a day. It is no authority's, so that a proxy which
    trusts it can also get it from a backend."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command += ["-addext", "basicConstraints=critical,CA:FALSE"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    (folder / "both.pem").write_text(certificate.read_text() + key.read_text())


def write(raw: dict, whole: bool) -> Figures:
    """Writes a whole run into the repository, any other run beside the build. Written by hand are reasons.md (why rows fall
    short, by profiles and call counts) and outliving.md (what `hold` and `resume` cost, by counts of instructions)."""
    results = ROOT / "benches/RESULTS.md" if whole else KEPT / "RESULTS.md"
    beside = RECORDED.parent if whole else KEPT
    (beside / "results.svg").write_text(plot.svg(raw))
    (beside / "results.json").write_text(json.dumps(raw, indent=1) + "\n")
    by_hand = {name: (Path(__file__).parents[1] / f"{name}.md").read_text() for name in ("reasons", "outliving")}
    text = report.markdown(
        raw,
        plot=os.path.relpath(beside / "results.svg", results.parent),
        **(by_hand if whole else dict.fromkeys(by_hand, "")),
    )
    results.write_text(text)
    print(f"\n{text}\nwritten: {results}, {beside}/results.svg, {beside}/results.json")
    return Figures(raw)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benches/compare/run", description="Measure longwire beside its peers.")
    parser.add_argument("--list", action="store_true", help="name the rows and stop")
    parser.add_argument("--rows", type=lambda text: text.split(","), default=[], metavar="A,B", help="only these")
    parser.add_argument("--rounds", type=int, metavar="N", help="samples of each row and proxy (default: 7)")
    parser.add_argument("--minutes", type=float, metavar="M", help="no round begins that would end later than this")
    parser.add_argument("--seconds", type=float, metavar="S", help="length of a sample (default: 2)")
    parser.add_argument("--check", action="store_true", help="show how all are set and what they log, and stop")
    parser.add_argument("--quick", action="store_true", help="one round, 1 s, 1,000 sessions: does everything work?")
    parser.add_argument("--binary", type=Path, default=BUILT, help="the longwire to measure")
    parser.add_argument(
        "--peers",
        type=lambda text: [name for name in text.split(",") if name],
        metavar="A,B",
        help=f"others to measure, and to install before (default: {','.join(OTHERS)} in a whole run)",
    )
    parser.add_argument("--before", type=Path, metavar="FILE", help="a longwire to measure beside it in every row")
    parser.add_argument(
        "--date", default=datetime.date.today().isoformat(), help="what the report says (default: today)"
    )
    parser.add_argument(
        "--again", action="store_true", help="with --rows: put these rows in the place of those of the recorded run"
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the report again from this results.json")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
