"""The plot, as SVG that needs only a browser."""

from html import escape
from math import log10

from .bounds import BOUNDS
from .configs import COALESCE_1MS, COALESCE_500US, FLOOR, HAPROXY, HAPROXY_SPLICE, LONGWIRE, NGINX, NGINX_64K
from .figures import Figures
from .others import CADDY, ENVOY
from .report import COLUMNS
from .rows import MEDIAN, ROWS

COLOURS = {
    LONGWIRE: "#c2410c",
    COALESCE_500US: "#f59e0b",
    COALESCE_1MS: "#fcd34d",
    NGINX: "#15803d",
    NGINX_64K: "#86c99b",
    HAPROXY: "#1d4ed8",
    HAPROXY_SPLICE: "#93b4f5",
    FLOOR: "#9ca3af",
    CADDY: "#0e7490",
    ENVOY: "#a21caf",
}
MARK = "#111"  # where longwire must end
WIDTH = 1180
LABELS = 290  # left of the bars
BARS_END = 650
BAR = 11  # height of one
MOST = 2.0  # bars end here, in units of nginx
# The scale of the delays, in powers of ten of a millisecond.
DELAYS, DELAYS_END = 720, 1150
LEAST_POWER, MOST_POWER = -2, 3

STYLE = "text { font: 12px system-ui, sans-serif; fill: #222 } .small { font-size: 10px; fill: #555 }"
SHOWN = [
    "handshake-1",
    "handshake-16",
    "handshake-16-log",
    "chat-handshake",
    "bulk-handshake",
    "two-handshake-1",
    "http",
    "http-1",
    "rate-100",
    "rate-1000",
    "fixed-64",
    "rate-16000",
    "echo-64",
    "echo-1k",
    "pipelined",
    "bulk-64k",
    "bulk-1m",
    "tls-echo",
    "tls-full",
    "tls-resumed",
    "idle",
    "idle-tls",
]


def svg(raw: dict) -> str:
    figures = Figures(raw)
    parts = [
        text(20, 28, "Cost: CPU or memory, nginx = 1 (4k buffers)", size=16),
        text(DELAYS, 28, "Delay: from p50 (dot) to p99 (line's end), ms", size=16),
        legend(),
    ]
    groups, bottom = by_row(figures, top=96)
    parts += groups
    charts = [
        ("CPU per 64 B message, µs, by open sessions", ["growth-10", "growth-1000", "growth-9000"]),
        ("memory per idle session, KiB, by open sessions", ["idle-1000", "idle"]),
    ]
    for i, (title, rows) in enumerate(charts):
        parts += line_chart(figures, title, rows, left=20 + i * 490, top=bottom + 30)
    height = bottom + 300
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">\n'
        f"<style>{STYLE}</style>\n"
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>\n{body}\n</svg>\n'
    )


def by_row(figures: Figures, top: int) -> tuple[list[str], int]:
    """A line for each row and proxy: its cost as a bar, with a mark where longwire must end, and its delay beside it.
    Returns the lines, and the height at which they end."""
    parts, y = [], top
    scale = (BARS_END - LABELS) / MOST
    for row in (row for name in SHOWN for row in ROWS if row.name == name):
        unit = figures.median(row.name, NGINX)
        if not unit:
            continue
        first = y
        for proxy, colour in COLOURS.items():
            value = figures.median(row.name, proxy)
            if value is None:
                continue
            # Some rows have only a delay.
            if row.unit != MEDIAN:
                length = max(1.0, min(value / unit, MOST) * scale)
                parts.append(rect(LABELS, y, length, BAR - 2, colour))
                parts.append(text(LABELS + length + 4, y + BAR - 3, f"{value / unit:.2f}", kind="small"))
            parts += delay(figures, row.name, proxy, y + (BAR - 2) / 2)
            y += BAR
        parts.append(text(LABELS - 10, (first + y) / 2 + 3, row.title, anchor="end"))
        limit = strictest(figures, row.name, unit)
        if limit is not None and limit <= MOST:
            parts.append(rect(LABELS + limit * scale - 1, first - 3, 2, BAR + 4, MARK))
        y += 10
    return [*axes(scale, top, y), *parts], y


def axes(scale: float, top: int, bottom: int) -> list[str]:
    parts = [line(LABELS + scale, top - 6, LABELS + scale, bottom - 6, "#555", dashed=True)]
    for power in range(LEAST_POWER, MOST_POWER + 1):
        x = delay_x(10.0**power)
        parts.append(line(x, top - 6, x, bottom - 6, "#ddd"))
        parts.append(text(x, top - 10, f"{10.0**power:g}", "small", "middle"))
    return parts


def delay(figures: Figures, row: str, proxy: str, y: float) -> list[str]:
    p50, p99 = (figures.median(row, proxy, key) for key in ("p50", "p99"))
    if p50 is None or p99 is None:
        return []
    start, end, colour = delay_x(p50), delay_x(p99), COLOURS[proxy]
    dot = f'<circle cx="{start:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>'
    return [rect(start, y - 1, max(1.0, end - start), 2, colour), rect(end - 1, y - 4, 2, 8, colour), dot]


def delay_x(milliseconds: float) -> float:
    share = (log10(max(milliseconds, 1e-6)) - LEAST_POWER) / (MOST_POWER - LEAST_POWER)
    return DELAYS + (DELAYS_END - DELAYS) * min(max(share, 0.0), 1.0)


def strictest(figures: Figures, row: str, unit: float) -> float | None:
    """The lowest of the bounds on longwire's cost, in units of nginx."""
    limits = []
    for bound in BOUNDS:
        if bound.row == row and bound.references and (bound.key, bound.proxy) == ("value", LONGWIRE):
            peers = [figures.median(*reference) for reference in bound.references]
            if None not in peers:
                limits.append(bound.limit * min(peers) / unit)
    return min(limits, default=None)


def line_chart(figures: Figures, title: str, rows: list[str], left: int, top: int) -> list[str]:
    """A chart with points at even distances, because the counts of sessions differ by factors."""
    width, height = 400, 190
    series = {}
    for proxy in COLOURS:
        points = [(i, figures.median(row, proxy)) for i, row in enumerate(rows)]
        series[proxy] = [(i, value) for i, value in points if value is not None]
    most = max((value for points in series.values() for _, value in points), default=0) * 1.1
    parts = [text(left, top, title)]
    if most <= 0:
        return parts
    memory = rows[0].startswith("idle")
    base, step = top + 20 + height, width / max(1, len(rows) - 1)
    for i in range(5):
        y = base - height * i / 4
        shown = most * i / 4 / (1024 if memory else 1)
        parts.append(line(left + 34, y, left + 34 + width, y, "#ddd"))
        parts.append(text(left + 30, y + 3, f"{shown:.1f}", "small", "end"))
    for i, row in enumerate(rows):
        sample = next((s for proxy in COLOURS for s in figures.samples(row, proxy) if "sessions" in s), None)
        if sample:
            parts.append(text(left + 34 + i * step, base + 14, f"{sample['sessions']:,}", "small", "middle"))
    for proxy, points in series.items():
        placed = [(left + 34 + i * step, base - height * value / most) for i, value in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{COLOURS[proxy]}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{COLOURS[proxy]}"/>' for x, y in placed]
    return parts


def legend() -> str:
    parts, x = [], 20
    for proxy, colour in COLOURS.items():
        parts += [rect(x, 42, 12, 12, colour), text(x + 17, 52, COLUMNS[proxy])]
        x += 32 + 7 * len(COLUMNS[proxy])
    parts += [rect(x + 5, 41, 2, 14, MARK), text(x + 14, 52, "longwire's bound")]
    return "\n".join(parts)


def rect(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'


def line(x1: float, y1: float, x2: float, y2: float, colour: str, dashed: bool = False) -> str:
    dash = ' stroke-dasharray="4 3"' if dashed else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"{dash}/>'


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start", size: int = 0) -> str:
    style = f' style="font-size: {size}px"' if size else ""
    css = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{css}{style}>{escape(words)}</text>'
