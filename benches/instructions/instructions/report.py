"""The counts, as Markdown and as a table of functions."""

import os
from collections import Counter
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from compare.configs import HAPROXY, HOLD, LONGWIRE, NGINX, OUTLIVING, RESUME

from .rows import CORE, Row

# Bounds on longwire's instructions, by row.
MOST = {"handshake-16": 76_000}
PEERS = {NGINX: "nginx", HAPROXY: "HAProxy"}
OURS = (CORE, LONGWIRE, *OUTLIVING)


@dataclass(frozen=True)
class Count:
    """Instructions per step, counted twice."""

    first: float
    second: float
    functions: Counter  # of both, by function and file

    @property
    def value(self) -> float:
        return (self.first + self.second) / 2

    @property
    def difference(self) -> float:
        """The difference between the two counts, as a share of their mean."""
        return abs(self.first - self.second) / self.value


Counts = dict[tuple[str, str], Count | str]


def markdown(rows: list[Row], counts: Counts, about: dict) -> str:
    return f"""\
# Instructions of a session

What `benches/instructions/run` printed on {about["date"]}. Written by it, not by hand.

longwire {about["longwire"]} ({about["commit"]}) by rustc {about["rustc"]}, nginx {about["nginx"]}, HAProxy {about["haproxy"]}, \
OpenSSL {about["openssl"]}, valgrind {about["valgrind"]}. {about["cpu"]}, Linux {about["kernel"]}.

## The pure core

{core_table(rows, counts)}

## The whole proxy

{proxy_table(rows, counts)}

{bounds(counts)}

## Sessions that outlive an end

On a route with `hold`, and on one with `resume` and clients that speak its protocol, with the defaults.

{lasting_table(rows, counts)}

## How

- Instructions in user space by callgrind; those of the kernel, which does most of a proxy's work, are not in it. Not
  every instruction takes as long as another: CPU time beside nginx and HAProxy is in [RESULTS.md](RESULTS.md).
- Each program runs three times, with so many steps, twice and three times as many; what a run takes more than the one
  before is divided by its further steps, so that neither its start nor its end is counted. In the core the loop around a
  step is, about five instructions.
- Each figure is so taken twice, and is the mean. Those of longwire and its core differ by at most
  {difference(counts, OURS):.2%}, those of the others by at most {difference(counts, PEERS):.2%}.
- The configs are those of `benches/compare/run`: one worker each, and an access log, in a file, only where the row says
  so. A message is one frame in one direction; each echo is compared with what was sent, byte by byte.
- With `resume`, the control texts of both ends are counted with the messages: one each for a quarter of `replay`, and one each
  second. Under callgrind a second has few messages, so `echo-100` has more control texts than it would have without.
- valgrind shows programs a processor with AVX2 but without AVX-512 and instructions for SHA: TLS takes other ways through
  its library than it does without valgrind.
"""


def bounds(counts: Counts) -> str:
    lines = []
    for row, most in MOST.items():
        count = counts.get((row, LONGWIRE))
        if isinstance(count, Count):
            said = "reached" if count.value <= most else "**SHORT**"
            lines.append(f"`{row}`: at most {most:,}: {said}.")
    return "\n".join(lines)


def difference(counts: Counts, programs: Container[str]) -> float:
    """The greatest difference among these programs."""
    return max(
        (
            count.difference
            for (_, program), count in counts.items()
            if program in programs and isinstance(count, Count)
        ),
        default=0.0,
    )


def core_table(rows: list[Row], counts: Counts) -> str:
    lines = ["| row | what | instructions per | |", "| --- | --- | --- | ---: |"]
    for row in rows:
        if CORE in row.programs:
            lines.append(f"| `{row.name}` | {row.title} | {row.unit} | {cell(counts, row, CORE)} |")
    return "\n".join(lines)


def proxy_table(rows: list[Row], counts: Counts) -> str:
    columns = {LONGWIRE: "longwire", **PEERS}
    lines = [
        "| row | what | instructions per | " + " | ".join(columns.values()) + " | to nginx | to HAProxy |",
        "| --- | --- | --- |" + " ---: |" * (len(columns) + len(PEERS)),
    ]
    for row in rows:
        if LONGWIRE in row.programs:
            cells = [cell(counts, row, program) for program in columns] + [ratio(counts, row, peer) for peer in PEERS]
            lines.append(f"| `{row.name}` | {row.title} | {row.unit} | {' | '.join(cells)} |")
    return "\n".join(lines)


def lasting_table(rows: list[Row], counts: Counts) -> str:
    lines = [
        "| row | what | instructions per | without | `hold` | `resume` | `hold` to without | `resume` to without |",
        "| --- | --- | --- |" + " ---: |" * 5,
    ]
    for row in rows:
        if HOLD in row.programs:
            cells = [cell(counts, row, program) for program in (LONGWIRE, HOLD, RESUME)]
            cells += [ratio(counts, row, LONGWIRE, program) for program in (HOLD, RESUME)]
            lines.append(f"| `{row.name}` | {row.title} | {row.unit} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(counts: Counts, row: Row, program: str) -> str:
    count = counts[row.name, program]
    return number(count.value) if isinstance(count, Count) else "invalid"


def ratio(counts: Counts, row: Row, peer: str, program: str = LONGWIRE) -> str:
    pair = counts[row.name, program], counts[row.name, peer]
    return f"{pair[0].value / pair[1].value:.2f}" if all(isinstance(each, Count) for each in pair) else "invalid"


def functions(name: str, count: Count, most: int) -> str:
    """The functions that have most of longwire's instructions. The instructions of their callees are not included."""
    lines = [f"longwire, `{name}`: {number(count.value)} instructions a step, most of them in"]
    for (function, file), instructions in count.functions.most_common(most):
        place = f"  [{short(file)}]" if file not in ("", "???") else ""
        lines.append(f"{number(instructions):>10} {instructions / count.value:6.1%}  {function}{place}")
    return "\n".join(lines)


def short(file: str) -> str:
    """The last three parts of a path: crate, folder, file."""
    return os.path.join(*Path(file).parts[-3:])


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
