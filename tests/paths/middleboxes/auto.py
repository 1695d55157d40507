"""What `ping_interval: auto` is on a path: longwire says so itself."""

import re
import subprocess
import tempfile
from pathlib import Path

from peers.bench import Failed

SENTENCE = re.compile(r"clients are pinged after (\d+)s[:,].* of (\w+)(?: is [^:]*)?$", re.MULTILINE)


def by_hand(limit: int) -> str:
    """The name here of a limit that no preset has."""
    return f"limit_{limit}"


def intervals(binary: Path, limits: list[int], presets: list[str]) -> dict[str, int]:
    """The seconds between pings, by the name of a preset or of a limit that is given by hand."""
    parts = presets + [f"{{ name: {by_hand(limit)}, idle: {limit}s }}" for limit in limits]
    routes = [f"  - {{ path: /{number}, upstream: app, via: [ {part} ] }}" for number, part in enumerate(parts)]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        lines = [
            "listeners: [ { bind: 127.0.0.1:8080 } ]",
            "upstreams: { app: { backends: [ { address: 127.0.0.1:9 } ] } }",
        ]
        file.write("\n".join([*lines, "keepalive: { ping_interval: auto }", "routes:", *routes, ""]))
        file.flush()
        checked = subprocess.run(
            [binary, "check", "-c", file.name], check=False, capture_output=True, text=True, timeout=20
        )
    if checked.returncode:
        raise Failed(f"longwire check: {checked.stderr.strip()}")
    found = {name: int(seconds) for seconds, name in SENTENCE.findall(checked.stdout)}
    if missing := {*presets, *map(by_hand, limits)} - found.keys():
        raise Failed(f"longwire check says no interval of {', '.join(sorted(missing))}: {checked.stdout}")
    return found
