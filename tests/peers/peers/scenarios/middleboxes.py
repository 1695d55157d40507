"""The short forms of `tests/paths/run`, which has a network of its own."""

from ..bench import Bench

SECONDS = 120


def run(bench: Bench) -> None:
    for what in ("table", "probe"):
        command = (bench.root / "tests/paths/run", what, "--quick", "--binary", bench.binary)
        program = bench.start(f"tests/paths/run {what}", *command)
        code = program.wait(SECONDS)
        for line in program.lines:
            bench.say(line)
        bench.equal(code, 0, f"tests/paths/run {what} --quick: exit code")
