"""The plot: SVG written by hand, so that it needs nothing but a browser."""

from html import escape

from .bounds import BOUNDS
from .configs import FLOOR, HAPROXY, HAPROXY_SPLICE, LONGWIRE, NGINX, NGINX_64K
from .figures import Figures
from .report import COLUMNS
from .rows import ROWS

COLOURS = {
    LONGWIRE: "#c2410c",
    NGINX: "#15803d",
    NGINX_64K: "#86c99b",
    HAPROXY: "#1d4ed8",
    HAPROXY_SPLICE: "#93b4f5",
    FLOOR: "#9ca3af",
}
MARK = "#111"  # where longwire must end
WIDTH = 980
LABELS = 290  # left of the bars
BAR = 11  # height of one
MOST = 2.0  # bars end here, in units of nginx

STYLE = "text { font: 12px system-ui, sans-serif; fill: #222 } .small { font-size: 10px; fill: #555 }"
BARS = ["echo-64", "echo-1k", "fixed-64", "pipelined", "bulk-64k", "bulk-1m", "handshake", "http", "tls-echo", "tls-full",
        "tls-resumed", "idle", "idle-tls"]


def svg(raw: dict) -> str:
    figures = Figures(raw)
    parts = [text(20, 28, "CPU and memory, nginx = 1 (4k buffers); shorter is cheaper", size=16), legend()]
    bars, bottom = ratio_bars(figures, top=70)
    parts += bars
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


def ratio_bars(figures: Figures, top: int) -> tuple[list[str], int]:
    """A group of bars per row, with a mark where longwire must end; returns them and where they end."""
    parts, y = [], top
    titles = {row.name: row.title for row in ROWS}
    scale = (WIDTH - LABELS - 80) / MOST
    for row in BARS:
        unit = figures.median(row, NGINX)
        if not unit:
            continue
        first = y
        for proxy, colour in COLOURS.items():
            value = figures.median(row, proxy)
            if value is None:
                continue
            ratio = value / unit
            length = max(1.0, min(ratio, MOST) * scale)
            parts.append(rect(LABELS, y, length, BAR - 2, colour))
            parts.append(text(LABELS + length + 4, y + BAR - 3, f"{ratio:.2f}", kind="small"))
            y += BAR
        parts.append(text(LABELS - 10, (first + y) / 2 + 3, titles[row], anchor="end"))
        limit = strictest(figures, row, unit)
        if limit is not None and limit <= MOST:
            x = LABELS + limit * scale
            parts.append(rect(x - 1, first - 3, 2, BAR + 4, MARK))
        y += 10
    parts.append(line(LABELS + scale, top - 6, LABELS + scale, y - 6, "#555", dashed=True))
    return parts, y


def strictest(figures: Figures, row: str, unit: float) -> float | None:
    """The lowest of the row's bounds, in units of nginx."""
    limits = []
    for bound in BOUNDS:
        if bound.row == row and bound.references:
            peers = [figures.median(*reference) for reference in bound.references]
            if None not in peers:
                limits.append(bound.limit * min(peers) / unit)
    return min(limits, default=None)


def line_chart(figures: Figures, title: str, rows: list[str], left: int, top: int) -> list[str]:
    """Points at even distances: the counts of sessions differ by factors."""
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
        x += 40 + 8 * len(COLUMNS[proxy])
    parts += [rect(x + 5, 41, 2, 14, MARK), text(x + 14, 52, "where longwire must end")]
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
