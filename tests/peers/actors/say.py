"""How an actor talks to the runner: one JSON object a line on standard output."""

import json
import sys


def say(event: str, **fields) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


def check(ok, what: str) -> None:
    """A fact that must hold; the runner counts it, and this process ends at one that does not."""
    say("check", ok=bool(ok), what=what)
    if not ok:
        sys.exit(1)


def equal(found, wanted, what: str) -> None:
    same = found == wanted
    check(same, f"{what}: {found!r:.120}" if same else f"{what}: {found!r:.120}, wanted {wanted!r:.120}")
