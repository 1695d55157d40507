"""The README's minute with a real backend, typed as it stands there, in a network of its own."""

import json
import os
import re
import sys
from pathlib import Path

from ..bench import Bench, Failed, parsed

# What differs from run to run.
VARYING = re.compile(r"time|request_id|.*_ms")


def run(bench: Bench) -> None:
    readme = (bench.root / "README.md").read_text()
    for name in ("echo.py", "quiet.py"):
        (bench.folder / name).write_text(block(readme, f"file: {name}"))
    commands = block(readme, "run in terminals").splitlines()
    (bench.folder / "bin").mkdir()
    (bench.folder / "bin/longwire").symlink_to(bench.binary)
    path = f"{bench.folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin"
    # The ports of the README may be in use here, so it runs beside no other network.
    program = bench.start(
        "the README's terminals",
        "unshare", "-rn", "bash", "-ec", script(commands),
        cwd=bench.folder,
        env={**os.environ, "PATH": path},
    )  # fmt: skip
    bench.equal(program.wait(100), 0, "the last command's exit code")
    bench.check("hello" in program.lines, "the client reads its word")
    printed = json.loads(block(readme, "prints"))
    records = [record for line in program.lines if (record := parsed(line))]
    bench.equal(len(records), 1, "records on standard output")
    bench.equal(list(records[0]), list(printed), "the fields of the record, in their order")
    bench.equal(settled(records[0]), settled(printed), "what the record says, times and ids aside")


def script(commands: list[str]) -> str:
    """All but the last in the background, each when the one before it accepts connections; longwire is told to end at last."""
    lines = ["ip link set lo up", "trap 'kill $(jobs -p); wait' EXIT"]
    for command in commands[:-1]:
        port = re.search(r"\b\d{4}\b", command)
        if not port:
            raise Failed(f"no port in {command!r}")
        lines.append(f"{command} &")
        lines.append(f"until (: </dev/tcp/127.0.0.1/{port[0]}) 2>/dev/null; do sleep 0.1; done")
    return "\n".join([*lines, commands[-1]])


def block(page: str, marker: str) -> str:
    """The block below this comment."""
    found = re.search(rf"<!-- {re.escape(marker)} -->\n```\w+\n(.*?)```\n", page, re.DOTALL)
    if not found:
        raise Failed(f"the README has no block marked {marker!r}")
    return found[1]


def settled(record: dict) -> dict:
    return {key: value for key, value in record.items() if not VARYING.fullmatch(key)}
