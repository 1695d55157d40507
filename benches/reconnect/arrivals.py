"""What came of a storm, and how it is told: a table, a plot of text, and a plot as SVG that needs only a browser."""

from bisect import bisect_left
from dataclasses import dataclass
from html import escape
from statistics import quantiles
from typing import Self

# Of the plots, seconds.
STEP = 0.25
BARS = " ▁▂▃▄▅▆▇█"
COLOURS = {"library": "#c2410c", "at-once": "#1d4ed8", "fixed": "#15803d"}
WIDTH, PANEL, LEFT, RIGHT = 940, 210, 70, 920
STYLE = "text { font: 12px system-ui, sans-serif; fill: #222 } .small { font-size: 10px; fill: #555 }"
# An attempt that finds nobody has not arrived.
NOBODY = "ECONNREFUSED"


@dataclass
class Storm:
    """One end of longwire, and one way of coming back. Times in seconds since the end."""

    end: str
    way: str
    clients: int
    # When each attempt that found somebody began, in order.
    arrivals: list[float]
    # How long those handshakes took that succeeded, ms.
    took: list[float]
    # Attempts that found nobody.
    in_vain: int
    # Handshakes that somebody had and that came to nothing, by what the client read; and those the successor itself counts.
    refused: dict[str, int]
    # Clients that are not open at the end.
    missing: int
    all_back: float
    closes: dict[str, int]

    @classmethod
    def of(
        cls, end: str, way: str, clients: int, since: tuple[float, float], summaries: list[dict], refusals: int
    ) -> Self:
        """`since`: when longwire ended, and when its successor was started."""
        began, successor = since
        noted = [attempt for summary in summaries for attempt in summary["notedAttempts"]]
        # A listener that dies may still take a connection, and resets it.
        there = [
            (at, took, what) for at, took, what in noted if what == "open" or (what != NOBODY and at > successor * 1000)
        ]
        refused: dict[str, int] = {"counted by the successor": refusals} if refusals else {}
        for _, _, outcome in there:
            if outcome != "open":
                refused[outcome] = refused.get(outcome, 0) + 1
        closes: dict[str, int] = {}
        for summary in summaries:
            for code, count in summary["closes"].items():
                closes[code] = closes.get(code, 0) + count
        succeeded = [attempt for attempt in there if attempt[2] == "open"]
        return cls(
            end,
            way,
            clients,
            sorted(at / 1000 - began for at, _, _ in there),
            sorted(took for _, took, _ in succeeded),
            sum(summary["attempts"] for summary in summaries) - len(there),
            refused,
            clients - sum(summary["open"] for summary in summaries),
            max(((at + took) / 1000 - began for at, took, _ in succeeded), default=0.0),
            closes,
        )

    def busiest(self, width: float) -> int:
        """The most arrivals within this time."""
        return max((bisect_left(self.arrivals, at + width) - i for i, at in enumerate(self.arrivals)), default=0)

    def rates(self) -> list[float]:
        """Arrivals per second, by steps."""
        counts = [0] * (int(max(self.arrivals, default=0.0) / STEP) + 1)
        for at in self.arrivals:
            counts[max(0, int(at / STEP))] += 1
        return [count / STEP for count in counts]

    def delay(self) -> str:
        if len(self.took) < 2:
            return "-"
        cuts = quantiles(self.took, n=100)
        return f"{cuts[49]:,.0f} · {cuts[98]:,.0f}"

    def line(self) -> str:
        return (
            f"{len(self.arrivals)} arrivals, at most {self.busiest(1.0)} in a second; all back after {self.all_back:.1f} s; "
            f"in vain {self.in_vain}; refused {self.refused or 'none'}; missing {self.missing}; closes {self.closes}"
        )


def report(
    storms: list[Storm], ends: dict[str, str], ways: dict[str, str], clients: int, where: str
) -> tuple[str, str]:
    """The page and the picture. `where`: the program, the machine and the day."""
    shown = [end for end in ends if any(storm.end == end for storm in storms)]
    lines = [
        "# How clients come back",
        "",
        f"What `benches/reconnect/run` printed. Written by it, not by hand. {where}",
        "",
        f"{clients:,} sessions (Node, the package `ws`, four processes) lose their longwire and come back to its successor, on the same",
        "machine. They come back by `longwire-client` with its defaults, by a plain client that connects again at once when it reads",
        "the end, or by one that waits a second before each attempt. An arrival is an attempt that finds somebody who listens, at the",
        "moment when it begins. The curve of `at once` is as steep as this machine lets the clients be.",
        "",
        "![Arrivals per second](reconnect/arrivals.svg)",
        "",
        "| end | clients come back | busiest 100 ms | busiest second | handshake p50 · p99, ms | all back after | found nobody | handshakes refused |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for storm in storms:
        lines.append(
            f"| {ends[storm.end]} | {ways[storm.way]} | {storm.busiest(0.1):,} | {storm.busiest(1.0):,} | {storm.delay()} "
            f"| {storm.all_back:.1f} s | {storm.in_vain:,} | {told(storm)} |"
        )
    for end in shown:
        lines += ["", f"## {ends[end][0].upper()}{ends[end][1:]}", "", *text_plot(end, storms, ways)]
    return "\n".join(lines) + "\n", svg(storms, shown, ends, ways)


def told(storm: Storm) -> str:
    words = [f"{count:,} ({escape(what)})" for what, count in storm.refused.items()]
    return ", ".join(words + ([f"{storm.missing:,} did not come back"] if storm.missing else [])) or "none"


def text_plot(end: str, storms: list[Storm], ways: dict[str, str]) -> list[str]:
    """A line for each way, all by one scale."""
    lines = [f"Arrivals per second, a character for {STEP:g} s:", "", "```text"]
    rates = {storm.way: storm.rates() for storm in storms if storm.end == end}
    most = max(1, *(int(max(each)) for each in rates.values()))
    for way, each in rates.items():
        bars = "".join(BARS[-(-int(rate * 8) // most)] for rate in each)
        lines.append(f"{ways[way]:16} {max(each):7,.0f}/s at most  |{bars}|")
    return [*lines, "```"]


def svg(storms: list[Storm], shown: list[str], ends: dict[str, str], ways: dict[str, str]) -> str:
    parts, x = [text(20, 24, "Clients that come back: arrivals per second", size=16)], LEFT
    for way, name in ways.items():
        parts += [f'<rect x="{x}" y="36" width="12" height="12" fill="{COLOURS[way]}"/>', text(x + 17, 46, name)]
        x += 140
    for i, end in enumerate(shown):
        parts += panel(
            [storm for storm in storms if storm.end == end], ends[end].replace("`", ""), 70 + i * (PANEL + 60)
        )
    height = 70 + len(shown) * (PANEL + 60)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">\n'
        f'<style>{STYLE}</style>\n<rect width="{WIDTH}" height="{height}" fill="#fff"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def panel(storms: list[Storm], title: str, top: int) -> list[str]:
    base = top + PANEL
    rates = {storm.way: storm.rates() for storm in storms}
    most = max((max(each) for each in rates.values()), default=0.0) * 1.05 or 1.0
    seconds = max(len(each) for each in rates.values()) * STEP
    parts = [text(LEFT, top + 8, title)]
    for i in range(5):
        y = base - (PANEL - 20) * i / 4
        parts += [line(LEFT, y, RIGHT, y), text(LEFT - 6, y + 3, f"{most * i / 4:,.0f}", "small", "end")]
    every = 1 if seconds <= 12 else 2
    for second in range(0, int(seconds) + 1, every):
        parts.append(text(LEFT + (RIGHT - LEFT) * second / seconds, base + 14, f"{second} s", "small", "middle"))
    for way, each in rates.items():
        points = []
        for i, rate in enumerate([*each, 0.0]):
            y = base - (PANEL - 20) * rate / most
            points += [(i * STEP, points[-1][1] if points else base), (i * STEP, y)]
        placed = " ".join(f"{LEFT + (RIGHT - LEFT) * at / seconds:.1f},{y:.1f}" for at, y in points)
        parts.append(f'<polyline points="{placed}" fill="none" stroke="{COLOURS[way]}" stroke-width="1.8"/>')
    return parts


def line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#ddd"/>'


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start", size: int = 0) -> str:
    style = f' style="font-size: {size}px"' if size else ""
    css = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{css}{style}>{escape(words)}</text>'
