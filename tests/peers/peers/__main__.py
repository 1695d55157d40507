"""`python -m peers [--list] [--direct] [--binary FILE] [--minutes N] [SCENARIO...]`: runs scenarios.

One runs after the other. Those that mostly wait run beside the rest, one after the other too, in two processes of their own.
"""

import argparse
import contextlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

from .bench import NOT_OF_SCENARIOS, Bench, Failed
from .scenarios import SCENARIOS

ROOT = Path(__file__).resolve().parents[3]


def main() -> int:
    options = arguments()
    if options.list:
        for scenario in SCENARIOS:
            print(f"{scenario.name:18} {scenario.purpose}")
        return 0
    chosen = [s for s in SCENARIOS if s.name in options.scenarios or not (options.scenarios or s.only_by_name)]
    unknown = set(options.scenarios) - {s.name for s in SCENARIOS}
    if unknown:
        print(f"no such scenario: {', '.join(sorted(unknown))} (see --list)", file=sys.stderr)
        return 2
    options.binary = options.binary.resolve()
    if not options.direct and not options.binary.is_file():
        print(f"MISSING: {options.binary} (the program under test)", file=sys.stderr)
        print(f"0 passed, {len(chosen)} failed")
        return 1
    # A terminated runner unwinds like an interrupted one, so that it leaves no process behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    return run(chosen, options)


def run(chosen, options) -> int:
    waiting = [s for s in chosen if s.mostly_waits]
    busy = [s for s in chosen if not s.mostly_waits]
    outcomes = {"passed": [], "failed": [], "skipped": []}
    if waiting and busy:
        with contextlib.ExitStack() as stack:
            shares = [share for share in (waiting[::2], waiting[1::2]) if share]
            besides = [stack.enter_context(Beside(share, options)) for share in shares]
            for scenario in busy:
                outcomes[run_one(scenario, options)].append(scenario.name)
            for beside in besides:
                beside.finish(outcomes)
    else:
        for scenario in chosen:
            outcomes[run_one(scenario, options)].append(scenario.name)
    if outcomes["failed"]:
        print(f"\nfailed: {', '.join(outcomes['failed'])}")
    skipped = f", {len(outcomes['skipped'])} skipped" if outcomes["skipped"] else ""
    print(f"\n{len(outcomes['passed'])} passed, {len(outcomes['failed'])} failed{skipped}")
    return 1 if outcomes["failed"] or not outcomes["passed"] else 0


class Beside:
    """A second run, of these scenarios, with the options of this one. What it says is shown when it is over."""

    def __init__(self, scenarios, options):
        self.scenarios = scenarios
        self.seconds = sum(s.limit(options.minutes) + 60 for s in scenarios)
        self.said = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 __exit__ closes it
        names = [s.name for s in scenarios]
        print(f"\nbeside the others, told at the end: {', '.join(names)}")
        command = [sys.executable, "-m", "peers", f"--binary={options.binary}", f"--minutes={options.minutes}", *names]
        if options.direct:
            command.append("--direct")
        self.process = subprocess.Popen(command, stdout=self.said, stderr=subprocess.STDOUT)
        NOT_OF_SCENARIOS.add(self.process.pid)

    def __enter__(self):
        return self

    def finish(self, outcomes: dict[str, list[str]]) -> None:
        """Adds its outcomes to these. A scenario of which it says nothing has failed."""
        try:
            self.process.wait(self.seconds)
        except subprocess.TimeoutExpired:
            print(f"the scenarios beside these are not done within {self.seconds:.0f} s")
        self.said.seek(0)
        text = self.said.read()
        print(text)
        told = dict(re.findall(r"^=== (\S+) (passed|failed|skipped)\b", text, re.MULTILINE))
        for scenario in self.scenarios:
            outcomes[told.get(scenario.name, "failed")].append(scenario.name)

    def __exit__(self, *_):
        # A terminated runner unwinds and leaves no process behind.
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)
        self.said.close()


def run_one(scenario, options) -> str:
    print(f"\n=== {scenario.name}: {scenario.purpose}")
    if options.direct and not scenario.works_directly:
        print(f"=== {scenario.name} skipped: it needs the proxy")
        return "skipped"
    limit = scenario.limit(options.minutes)
    started = time.monotonic()
    with Bench(ROOT, options.binary, options.direct, options.minutes) as bench:
        try:
            set_alarm(limit)
            scenario.run(bench)
            outcome = "passed"
        except Failed as failure:
            print(f"    FAILED: {failure}")
            outcome = "failed"
        except Exception:  # noqa: BLE001 a scenario's own bug fails that scenario, not the whole run
            traceback.print_exc(file=sys.stdout)
            outcome = "failed"
        finally:
            signal.alarm(0)
        if outcome == "failed":
            bench.print_logs(scenario.name)
    print(f"=== {scenario.name} {outcome} in {time.monotonic() - started:.1f} s, {bench.checks} checks")
    return outcome


def set_alarm(seconds: float) -> None:
    """Interrupts whatever the scenario waits for, in this thread."""

    def ring(*_):
        raise Failed(f"not done within {seconds:.0f} s")

    signal.signal(signal.SIGALRM, ring)
    signal.alarm(int(seconds))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/peers/run", description="Drive longwire with software by others.")
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="run only these (all by default)")
    parser.add_argument("--list", action="store_true", help="name the scenarios and stop")
    parser.add_argument("--direct", action="store_true", help="without the proxy, to try the scenarios themselves")
    parser.add_argument("--binary", type=Path, default=ROOT / "target/release/longwire", help="the longwire to drive")
    parser.add_argument("--minutes", type=float, default=1.0, help="length of the measured part of idle-memory")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
