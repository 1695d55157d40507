"""What a run found, as Markdown: from its raw figures alone, so that it can be written again at any time."""

from statistics import median

from .configs import FLOOR, HAPROXY, HAPROXY_SPLICE, LONGWIRE, NGINX, NGINX_64K
from .rows import BOUNDS, MEDIAN, ROWS, Bound

COLUMNS = {
    LONGWIRE: "longwire",
    NGINX: "nginx",
    NGINX_64K: "nginx 64k",
    HAPROXY: "HAProxy",
    HAPROXY_SPLICE: "HAProxy, splicing",
    FLOOR: "floor",
}


class Figures:
    """The samples of a run: row, proxy, one dict a round, in which `broken` says why a sample is void."""

    def __init__(self, raw: dict):
        self.raw = raw
        self.rows = raw["rows"]

    def has(self, row: str, proxy: str) -> bool:
        return bool(self.rows.get(row, {}).get(proxy))

    def samples(self, row: str, proxy: str) -> list[dict]:
        return self.rows.get(row, {}).get(proxy, [])

    def invalid(self, row: str, proxy: str) -> str | None:
        """Why the figures cannot be used."""
        for sample in self.samples(row, proxy):
            if "broken" in sample:
                return sample["broken"]
            if sample["errors"]:
                return f"{sample['errors']} errors"
        return None

    def values(self, row: str, proxy: str, key: str = "value") -> list[float]:
        return [sample[key] for sample in self.samples(row, proxy)]

    def median(self, row: str, proxy: str, key: str = "value") -> float | None:
        """None: not measured, or invalid."""
        if not self.has(row, proxy) or self.invalid(row, proxy):
            return None
        return median(self.values(row, proxy, key))


def measured(figures: Figures, bound: Bound) -> tuple[float, float, float] | None:
    """What a bound bounds: of the medians, and the least and most of single rounds."""
    own = figures.median(bound.row, LONGWIRE, bound.key)
    if own is None:
        return None
    values = figures.values(bound.row, LONGWIRE, bound.key)
    if not bound.references:
        return own, min(values), max(values)
    peers = [figures.median(*reference, bound.key) for reference in bound.references]
    if None in peers:
        return None
    rounds = zip(values, *(figures.values(*reference, bound.key) for reference in bound.references))
    ratios = [mine / min(theirs) for mine, *theirs in rounds]
    return own / min(peers), min(ratios), max(ratios)


def verdict(figures: Figures, bound: Bound) -> str:
    found = measured(figures, bound)
    if found is None:
        return "invalid" if bound.row in figures.rows else "not measured"
    return "reached" if found[0] <= bound.at_most else "SHORT"


def markdown(raw: dict, plot: str, reasons: str) -> str:
    """`plot` is its path as seen from the report; `reasons`, which may be empty, tell why rows fall short."""
    figures = Figures(raw)
    parts = [
        "# What a session costs",
        introduction(raw),
        f"![CPU and memory of all proxies]({plot})",
        "## What must be reached",
        bounds_table(figures),
        reasons.strip(),
        "## Figures",
        "Median (least to most) of the rounds. CPU is the proxy's own, of all its threads, by the kernel's scheduler; a\n"
        "message is one frame in one direction; memory is what a session adds to the resident memory (user space).",
        figures_table(figures),
        invalid_list(figures),
        calls_table(figures),
        growth_table(figures),
        pings_line(figures),
        "## How",
        method(raw),
        busy_table(figures),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def introduction(raw: dict) -> str:
    machine, settings = raw["machine"], raw["settings"]
    quick = " A quick run: it shows that the rows work, its figures mean nothing." if settings["quick"] else ""
    shared = "shared with other work meanwhile " if raw["load_before"] > 0.5 else ""
    rows = [row for row in ROWS if row.name in raw["rows"] and row.most_rounds < settings["rounds"]]
    fewer = f" (fewer: {', '.join(f'`{row.name}` {row.most_rounds}' for row in rows)})" if rows else ""
    return f"""\
What `benches/compare/run` printed on {raw["date"]}. Written by it, not by hand.{quick}

longwire {machine["longwire"]} ({machine["commit"]}), nginx {machine["nginx"]}, HAProxy {machine["haproxy"]}, OpenSSL \
{machine["openssl"]}. {machine["cores"]} cores of {machine["cpu"]}, {machine["memory_gib"]} GiB, Linux {machine["kernel"]}, \
{shared}(load average {raw["load_before"]:.1f} before, {raw["load_after"]:.1f} after). {settings["rounds"]} rounds{fewer} of \
{settings["seconds"]:g} s a sample, priority {raw["priority"]}."""


def bounds_table(figures: Figures) -> str:
    lines = ["| work | against | at most | measured | single rounds | |", "| --- | --- | ---: | ---: | ---: | --- |"]
    verdicts = []
    for bound in BOUNDS:
        if bound.row not in figures.rows:
            continue
        verdicts.append((bound, verdict(figures, bound)))
        found = measured(figures, bound)
        cells = ["–", "–"]
        if found:
            cells = [f"{found[0]:.3f}{bound.unit}", f"{found[1]:.2f} to {found[2]:.2f}"]
        shown = verdicts[-1][1]
        shown = shown if shown == "reached" else f"**{shown}**"
        limit = f"{bound.at_most:g}{bound.unit}"
        lines.append(f"| {bound.work} | {bound.against} | {limit} | {' | '.join(cells)} | {shown} |")
    reached = sum(1 for _, each in verdicts if each == "reached")
    summary = f"{reached} of {len(verdicts)} reached."
    short = [f"{bound.work} / {bound.against}" for bound, each in verdicts if each != "reached"]
    if short:
        summary += " Short or invalid: " + "; ".join(short) + "."
    return "\n".join(lines) + "\n\n" + summary


def figures_table(figures: Figures) -> str:
    lines = [
        "| row | what | unit | " + " | ".join(COLUMNS.values()) + " |",
        "| --- | --- | --- |" + " ---: |" * len(COLUMNS),
    ]
    for row in ROWS:
        if row.name in figures.rows:
            cells = [cell(figures, row.name, proxy) for proxy in COLUMNS]
            lines.append(f"| `{row.name}` | {row.title} | {row.unit} | " + " | ".join(cells) + " |")
            for unit, key in MORE.get(row.unit, {}).items():
                cells = [cell(figures, row.name, proxy, key) for proxy in COLUMNS]
                lines.append(f"| | | {unit} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cell(figures: Figures, row: str, proxy: str, key: str = "value") -> str:
    if not figures.has(row, proxy):
        return ""
    if figures.invalid(row, proxy):
        return "invalid"
    values = [sample[key] for sample in figures.samples(row, proxy)]
    spread = f" ({number(min(values))} to {number(max(values))})" if len(values) > 1 else ""
    return number(median(values)) + spread


def number(value: float) -> str:
    """Three digits that count."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def invalid_list(figures: Figures) -> str:
    lines = []
    for row, proxies in figures.rows.items():
        for proxy in proxies:
            reason = figures.invalid(row, proxy)
            if reason:
                lines.append(f"- `{row}`, {COLUMNS[proxy]}: {reason}")
    return "Invalid, with the reason:\n\n" + "\n".join(lines) if lines else ""


def calls_table(figures: Figures) -> str:
    """Of one traced sample each."""
    samples = {proxy: figures.samples("calls", proxy) for proxy in COLUMNS}
    kinds = ("receive", "send", "splice", "wait", "other")
    lines = []
    for proxy, rounds in samples.items():
        if rounds and not figures.invalid("calls", proxy):
            sample = rounds[-1]
            most = sorted(sample["others"].items(), key=lambda item: -item[1])[:3]
            names = ", ".join(f"{name} {count / (2 * sample['done']):.2f}" for name, count in most)
            cells = " | ".join(f"{sample[kind]:.2f}" for kind in kinds)
            lines.append(f"| {COLUMNS[proxy]} | {cells} | {names} |")
    if not lines:
        return ""
    head = "| calls per relayed message | " + " | ".join(kinds) + " | most of the others |"
    return "\n".join([head, "| --- |" + " ---: |" * len(kinds) + " --- |", *lines])


def growth_table(figures: Figures) -> str:
    """How much more a message, and a session, costs when there are many."""
    series = [
        ("CPU per message", "growth-10", "growth-9000"),
        ("CPU per message", "growth-1000", "growth-9000"),
        ("memory per session", "idle-1000", "idle"),
    ]
    lines = []
    for what, few, many in series:
        cells = []
        for proxy in COLUMNS:
            pair = figures.median(few, proxy), figures.median(many, proxy)
            cells.append(f"{pair[1] / pair[0]:.2f}" if None not in pair and pair[0] > 0 else "")
        if any(cells):
            lines.append(f"| {what} | `{many}` / `{few}` | " + " | ".join(cells) + " |")
    if not lines:
        return ""
    head = "| growth | rows | " + " | ".join(COLUMNS.values()) + " |"
    return "\n".join([head, "| --- | --- |" + " ---: |" * len(COLUMNS), *lines])


def pings_line(figures: Figures) -> str:
    if figures.median("pings", LONGWIRE) is None:
        return ""
    sample = figures.samples("pings", LONGWIRE)[-1]
    return (
        f"Pings: {sample['pings']:,} to {sample['sessions']:,} clients in {sample['wall_ns'] / 1e9:.0f} s, each answered; "
        f"{sample['us_per_ping']:.1f} µs per ping with its Pong; resident memory grew by "
        f"{sample['rss_growth'] / 1024:.0f} KiB."
    )


def method(raw: dict) -> str:
    """What a reader must know to doubt the figures rightly."""
    return f"""\
- One run. Each sample has a fresh backend and a fresh proxy; in each round all proxies take their turn, each round begins
  with another one. One worker on a core of its own, load and backend on another, {raw["priority"]}.
- Every echo is compared with what was sent, byte by byte, and each sample ends by waiting for what is on its way; a
  single error or loss makes the row invalid.
- A ratio is that of medians; "single rounds" are the least and most of the ratios within a round.
- The floor is `programs/floor.c`: a bare TCP relay, edge-triggered, one receive and one send per chunk, no HTTP, no
  WebSocket, no time, no log. It stands for what the kernel takes.
- While bulk flows: 200 of one kind a second, on a fixed schedule, each timed from the moment at which it was due, so that
  whoever is held up counts with all the time it waited. The probe and its backend run before load and bulk's backend on
  their core: what is timed is the proxy.
- TLS: 1.3, X25519, AES-128-GCM, ECDSA P-256 for all. A client's half of a full handshake costs about as much as the other
  half, so there the load is the limit, not the proxy.
- At a fixed rate a proxy sleeps between messages, and most of what is measured is how the kernel wakes it.
- Two workers: on two cores the second one shares its core with load and backend, in both rows of the ratio.

How busy each proxy was during the window, then load and backend, in percent of a core:"""


def busy_table(figures: Figures) -> str:
    """Shows whether the proxy was the limit, and that load and backend cost less than it."""
    lines = []
    for row in ROWS:
        cells = []
        for proxy in COLUMNS:
            samples = [sample for sample in figures.samples(row.name, proxy) if "cpu_ns" in sample]
            shares = [median(100 * sample[key] / sample["wall_ns"] for sample in samples) for key in CPU_OF if samples]
            cells.append("{:.0f} ({:.0f}, {:.0f})".format(*shares) if shares else "")
        if any(cells):
            lines.append(f"| `{row.name}` | " + " | ".join(cells) + " |")
    head = "| row | " + " | ".join(COLUMNS.values()) + " |"
    return "\n".join([head, "| --- |" + " ---: |" * len(COLUMNS), *lines])


# What else a sample of a row with this unit says: unit, key.
MORE = {
    "B of RSS": {"B of PSS": "pss"},
    MEDIAN: {"ms, p99": "p99", "GB/s to clients": "to_clients_gb_per_s", "% of a core": "busy"},
}
CPU_OF = ("cpu_ns", "load_cpu_ns", "backend_cpu_ns")
