"""What came of a real run, beside what the simulation gives."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Self

# The figures that are compared: of the simulation, each has its least, its median and its most.
KEYS = {
    "peak": "arrivals in the busiest second",
    "p99": "arrivals in the second that 99 of 100 do not surpass",
    "back": "all back after, s",
    "ended": "sessions ended",
    "nobody": "attempts that found nobody",
    "refused": "handshakes refused or given up",
    "first0": "sessions of the first instance before",
    "first1": "of the second",
    "first2": "of the third",
    "last0": "sessions of the first instance afterwards",
    "last1": "of the second",
    "last2": "of the third",
}
TITLES = {
    "rolling": "A rolling update, one instance after another",
    "lost": "An instance is killed and stays away",
}
# A figure of a rolling update may be off by so much from the median of the simulation.
OFF = 0.25
# An attempt that reached an instance, beside those that were let in, begins so.
ANSWERED = "Unexpected server response"


@dataclass
class Run:
    """The figures by the keys above, and what must be."""

    figures: dict[str, float]
    closes: Counter
    missing: int
    outcomes: Counter = field(default_factory=Counter)

    @classmethod
    def of(cls, clients: int, began: float, first: list[int], last: list[int], summaries: list[dict]) -> Self:
        attempts = [attempt for summary in summaries for attempt in summary["notedAttempts"]]
        outcomes = Counter(outcome for _, _, outcome in attempts)
        there = [at / 1000 - began for at, _, outcome in attempts if outcome == "open" or outcome.startswith(ANSWERED)]
        back = max(((at + took) / 1000 - began for at, took, outcome in attempts if outcome == "open"), default=0.0)
        by_second = Counter(int(at) for at in there)
        counts = sorted(by_second[second] for second in range(int(back) + 1))
        closes: Counter = Counter()
        for summary in summaries:
            closes.update(summary["closes"])
        figures = {
            "peak": counts[-1],
            "p99": counts[(len(counts) - 1) * 99 // 100],
            "back": back,
            "ended": sum(summary["lost"] for summary in summaries),
            "nobody": sum(summary["attempts"] for summary in summaries) - len(there),
            "refused": len(there) - outcomes["open"],
            **{f"first{place}": count for place, count in enumerate(first)},
            **{f"last{place}": count for place, count in enumerate(last)},
        }
        return cls(figures, closes, clients - sum(summary["open"] for summary in summaries), outcomes)

    def __str__(self) -> str:
        told = ", ".join(f"{key} {value:.1f}" for key, value in self.figures.items())
        return f"{told}; missing {self.missing}; closes {dict(self.closes)}; attempts {dict(self.outcomes)}"

    def wrong(self, name: str, simulated: dict) -> list[str]:
        found = [f"{name}: {self.missing} clients did not come back"] if self.missing else []
        if self.figures["refused"]:
            found.append(f"{name}: {self.figures['refused']} handshakes refused")
        for place in range(3):
            real, model = self.figures[f"first{place}"], simulated[f"first{place}"][1]
            if real != model:
                found.append(f"{name}: instance {place} begins with {real} sessions, in the simulation with {model}")
        # Of a lost instance, chance decides too much.
        for key in ("peak", "back", "ended") if name == "rolling" else ():
            value, median = self.figures[key], simulated[key][1]
            if abs(value - median) > OFF * median:
                found.append(f"{name}: {KEYS[key]}: {value:.1f}, in the simulation {median:.1f}")
        return found


def report(runs: dict[str, Run], simulated: dict, memory, clients: int, where: str) -> str:
    lines = [
        "# Three processes beside the simulation",
        "",
        f"What `benches/fleet/real` printed. Written by it, not by hand. {where}",
        "",
        f"{clients:,} clients (`longwire-client` in Node, four processes), each with an address of its own, behind a layer-4 balancer that hashes",
        "the address by Maglev; three longwire processes; an echo. All on one machine. The simulation ([FLEET.md](FLEET.md)) has the same addresses,",
        "the same table and the same times; what chance decides, it has 100 times: least · median · most of these runs. An arrival is an",
        "attempt that found an instance, at the moment when it began.",
    ]
    for name, run in runs.items():
        lines += ["", f"## {TITLES[name]}", "", "| | measured | simulated | |", "| --- | ---: | ---: | --- |"]
        for key, title in KEYS.items():
            least, median, most = simulated[name][key]
            value = run.figures[key]
            places = 1 if key == "back" else 0
            told = (
                " · ".join(f"{each:,.{places}f}" for each in (least, median, most))
                if least < most
                else f"{median:,.{places}f}"
            )
            lines.append(f"| {title} | {value:,.{places}f} | {told} | {verdict(value, least, median, most)} |")
        closes = ", ".join(f"{code}: {count:,}" for code, count in sorted(run.closes.items()))
        lines += ["", f"What clients read at the end of a session: {closes}."]
    lines += [
        "",
        "## Memory",
        "",
        "What the process has resident, in user space: without a session, and what a handshake adds whose backend does not answer.",
        "",
        "| | |",
        "| --- | ---: |",
        f"| the process | {memory.process / 1e6:.1f} MB |",
        f"| a handshake in flight, plain | {memory.plain:,.0f} B |",
        f"| a handshake in flight, with TLS | {memory.tls:,.0f} B |",
    ]
    return "\n".join(lines) + "\n"


def verdict(value: float, least: float, median: float, most: float) -> str:
    if least <= value <= most:
        return "as simulated"
    return f"{(value - median) / median:+.0%} to the median" if median else "not as simulated"
