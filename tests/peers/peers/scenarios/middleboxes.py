"""The short form of `tests/paths/run`, which has a network of its own."""

from ..bench import Bench

SECONDS = 150


def run(bench: Bench) -> None:
    table = bench.start("tests/paths/run", bench.root / "tests/paths/run", "--quick", "--binary", bench.binary)
    code = table.wait(SECONDS)
    for line in table.lines:
        bench.say(line)
    bench.equal(code, 0, "tests/paths/run --quick: exit code")
