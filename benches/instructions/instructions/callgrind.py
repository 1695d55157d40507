"""The counts of callgrind: instructions in user space, by function."""

import re
from collections import Counter
from pathlib import Path

# A line that names a function, or the file from which the lines after it were inlined. A name is written only the first
# time; later its number stands for it.
NAMED = re.compile(r"(fn|fl|fi|fe|ob)=\((\d+)\)(?: (.*))?$")
# A callee, in the same numbering.
CALLED = re.compile(r"c(fn|fi|fl|ob)=\((\d+)\)(?: (.*))?$")
COST = re.compile(r"[+\-*\d]\S* (\d+)$")
# The hash that Rust appends to a name, so that two names of one crate differ.
HASH = re.compile(r"::h[0-9a-f]{16}$")


def under(folder: Path) -> tuple:
    """The begin of a command line: the process and its forks each leave a file in the folder when they end."""
    return ("valgrind", "--tool=callgrind", "--quiet", f"--callgrind-out-file={folder}/callgrind.%p")


def profile(folder: Path) -> Counter:
    """The instructions by function, of all processes that left a file here. Removes the files."""
    counts = Counter()
    for file in folder.glob("callgrind.*"):
        read(file.read_text(errors="replace"), counts)
        file.unlink()
    return counts


def read(text: str, counts: Counter) -> None:
    names = {"fn": {}, "file": {}, "ob": {}}
    function = inlined = thing = ""
    call_follows = False
    for line in text.splitlines():
        if line.startswith("calls="):
            # The cost in the next line is that of the callee, which has lines of its own.
            call_follows = True
        elif cost := COST.match(line):
            if not call_follows:
                counts[function or thing, inlined] += int(cost[1])
            call_follows = False
        elif named := NAMED.match(line) or CALLED.match(line):
            kind, number, name = named.groups()
            known = names[kind if kind in ("fn", "ob") else "file"]
            if name is not None:
                known[number] = name
            if line.startswith("c"):
                continue
            if kind == "fn":
                function = HASH.sub("", known[number])
            elif kind == "ob":
                thing = known[number]
            else:
                inlined = known[number]
