"""`python -m attacks [--list] [--binary FILE] [--table FILE] [ATTACK...]`: see `run`."""

import argparse
import re
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from peers.bench import Bench, Failed, wait_until

from . import frames, heads, machine, proxy_headers, slow, smuggling, wire
from .attack import ATTACKS, Attack, Scene
from .target import Gauge, Target, Witness, start_backend

ROOT = Path(__file__).resolve().parents[3]
assert frames and heads and machine and proxy_headers and slow and smuggling  # what they declare is in ATTACKS

# What may stay behind an attack: the allocator's and the runtime's own, KiB, and the idle connections to the backend
# that longwire keeps (32 per worker).
STAYS_KIB = 6 * 1024
STAYS_FILES = 2 * 32 + 6
WITNESS_PATIENCE = 5
# As many connections as `net/worker/memory` takes for a burst, and a few.
BURST = 300


@dataclass
class Row:
    attack: Attack
    back: str
    before: int
    highest: int
    after: int
    witness: str
    wrong: str


def main() -> int:
    options = arguments()
    if options.list:
        for attack in ATTACKS:
            print(f"{attack.name:24} {attack.sent}")
        return 0
    chosen = [attack for attack in ATTACKS if not options.attacks or attack.name in options.attacks]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    with Bench(ROOT, options.binary.resolve(), False, 0) as bench:
        try:
            rows = run(bench, chosen)
        except Failed as failure:
            print(f"FAILED: {failure}")
            bench.print_logs("attacks")
            print("0 passed, 1 failed")
            return 1
        wrong = [row for row in rows if row.wrong]
        table = markdown(rows)
        print("\n" + table)
        if wrong:
            bench.print_logs("attacks")
    if options.table:
        options.table.write_text(table)
    for row in wrong:
        print(f"FAILED {row.attack.name}: {row.wrong}")
    print(f"\n{len(rows) - len(wrong)} passed, {len(wrong)} failed, {time.monotonic() - began:.0f} s")
    return 1 if wrong or not rows else 0


def run(bench: Bench, chosen: list[Attack]) -> list[Row]:
    backend = start_backend(bench)
    target = Target(bench, backend.port())
    witness, gauge = Witness(target.port), Gauge(target)
    wait_until(lambda: witness.echoes > 10 or witness.hurt, 10, "the witness echoes")
    files = target.files()
    scene = Scene(bench, target, backend, backend.port())
    rows = []
    for attack in chosen:
        row = run_one(scene, attack, witness, gauge, files)
        rows.append(row)
        print(f"{'FAILED' if row.wrong else 'ok':6} {attack.name}: {row.back} {row.wrong}")
    if not witness.hurt and target.stop() != 0:
        raise Failed("longwire's exit code is not 0")
    return rows


def run_one(scene: Scene, attack: Attack, witness: Witness, gauge: Gauge, files: int) -> Row:
    target, wrong = scene.target, []
    before = target.memory()
    gauge.highest, witness.slowest, echoes = before, 0.0, witness.echoes
    try:
        back = attack.run(scene)
    except (Failed, OSError, AssertionError) as failure:
        back = f"{type(failure).__name__}: {failure}"
        wrong.append("not what is promised")
    highest = gauge.highest

    def settled():
        if target.memory() > before + STAYS_KIB:
            burst(target)
        return target.files() <= files + STAYS_FILES and target.memory() <= before + STAYS_KIB

    try:
        wait_until(settled, 8, "memory and files go back")
    except (Failed, OSError):
        wrong.append(f"left behind: {target.memory() - before} KiB, {target.files() - files} files")
    after = target.memory()
    bound = attack.connections * attack.each_kib + STAYS_KIB
    if highest - before > bound:
        wrong.append(f"memory grew by {highest - before} KiB, bound {bound} KiB")
    heard = witness.echoes
    try:
        wait_until(lambda: witness.hurt or witness.echoes > heard, WITNESS_PATIENCE, "another echo of the witness")
    except Failed as failure:
        wrong.append(str(failure))
    if witness.hurt:
        wrong.append(f"the witness was hurt: {witness.hurt}")
    if "panicked" in target.program.stderr():
        wrong.append("something panicked")
    if not test_exists(attack.test):
        wrong.append(f"no test {attack.test}")
    fine = witness.hurt or f"{witness.echoes - echoes} echoes, slowest {witness.slowest * 1000:.0f} ms"
    return Row(attack, back, before, highest, after, fine, "; ".join(wrong))


def burst(target: Target) -> None:
    """Connections come, as they do at any site: what lies free since the last burst is given back behind the next
    one."""
    for _ in range(BURST):
        wire.connect(target.port).close()
    time.sleep(1)


def test_exists(name: str) -> bool:
    """Whether the test in this process that plays the same attack is there."""
    file, _, function = name.rpartition("::")
    path = ROOT / "tests/it" / f"{file}.rs"
    return path.exists() and bool(re.search(rf"\bfn {function}\(", path.read_text()))


def markdown(rows: list[Row]) -> str:
    head = (
        "attack",
        "sent",
        "came back",
        "memory before → highest → after, KiB",
        "the other session",
        "test in tests/it",
    )
    lines = [head, ("---",) * len(head)]
    for row in rows:
        memory = f"{row.before} → {row.highest} → {row.after}"
        name = f"**{row.attack.name} FAILED**" if row.wrong else row.attack.name
        lines.append((name, row.attack.sent, row.back, memory, row.witness, f"`{row.attack.test}`"))
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/attacks/run", description="Attack longwire and say what came back.")
    parser.add_argument("attacks", nargs="*", metavar="ATTACK", help="run only these (all by default)")
    parser.add_argument("--list", action="store_true", help="name the attacks and stop")
    parser.add_argument("--table", type=Path, help="write the table to this file too")
    parser.add_argument("--binary", type=Path, default=ROOT / "target/release/longwire", help="the longwire to attack")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
