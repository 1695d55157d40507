"""The report of a run as Markdown. It needs only the raw figures, so it can be written again at any time."""

from statistics import median

from .bounds import BOUNDS, Bound, Kind
from .configs import (
    BEFORE,
    COALESCE_1MS,
    COALESCE_500US,
    FLOOR,
    HAPROXY,
    HAPROXY_SPLICE,
    HOLD,
    LONGWIRE,
    NGINX,
    NGINX_64K,
    OUTLIVING,
    RESUME,
)
from .figures import REACHED, SHORT, Figures, measured, verdict
from .others import CADDY, ENVOY, OTHERS
from .programs import CHATTING
from .rows import FEW, LASTING, MEDIAN, ROWS, Row

COLUMNS = {
    LONGWIRE: "longwire",
    BEFORE: "longwire before",
    COALESCE_500US: "longwire, 500us",
    COALESCE_1MS: "longwire, 1ms",
    HOLD: "longwire, hold",
    RESUME: "longwire, resume",
    NGINX: "nginx",
    NGINX_64K: "nginx 64k",
    HAPROXY: "HAProxy",
    HAPROXY_SPLICE: "HAProxy, splicing",
    FLOOR: "floor",
    CADDY: "Caddy",
    ENVOY: "Envoy",
}
# The proxies of each table of figures.
USUAL = (LONGWIRE, BEFORE, NGINX, NGINX_64K, HAPROXY, HAPROXY_SPLICE, FLOOR)
BESIDE_OTHERS = (LONGWIRE, NGINX, HAPROXY, *OTHERS)
WAITING = (LONGWIRE, COALESCE_500US, COALESCE_1MS, NGINX, HAPROXY, FLOOR)


def markdown(raw: dict, plot: str, reasons: str, outliving: str) -> str:
    """`plot` is the path of the plot as seen from the report. `reasons` say why rows fall short, and `outliving` what it costs
    to outlive an end. Both may be empty."""
    figures = Figures(raw)
    parts = [
        "# What a session costs",
        introduction(raw),
        f"![Cost and delay of all proxies]({plot})",
        "## What must be reached",
        (
            "Ratios of medians (least to most of single rounds): longwire's to the peer's. Cost is CPU, or memory where the\n"
            "work says so; p50 and p99 are those of the delay that a client sees."
        ),
        bounds_table(figures),
        absent_list(figures),
        reasons.strip(),
        "## Figures",
        (
            "Median (least to most) of the rounds. CPU is the proxy's own, of all its threads, by the kernel's scheduler; a\n"
            "message is one frame in one direction; memory is what a session adds to the resident memory (user space). Below\n"
            "each: p50 and p99 of the delay, the medians of the rounds."
        ),
        figures_table(figures, [row for row in ROWS if row.proxies is not LASTING], USUAL),
        before_table(figures),
        waiting_table(figures),
        outliving.strip(),
        lasting_table(figures),
        others_table(figures),
        invalid_list(figures),
        calls_table(figures),
        growth_table(figures),
        pings_line(figures),
        "## How",
        method(raw),
        busy_table(figures),
        equal_table(figures),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def introduction(raw: dict) -> str:
    machine, settings = raw["machine"], raw["settings"]
    quick = " A quick run: it shows that the rows work, its figures mean nothing." if settings["quick"] else ""
    shared = "shared with other work meanwhile " if raw["load_before"] > 0.5 else ""
    took = f"; {raw['minutes']:.0f} minutes in all" if "minutes" in raw else ""
    counts: dict[int, list[str]] = {}
    for row in ROWS:
        if row.name in raw["rows"] and row.most_rounds < settings["rounds"]:
            counts.setdefault(row.most_rounds, []).append(f"`{row.name}`")
    others = [f"{COLUMNS[name]} {found['version']}" for name, found in raw.get("equal", {}).items() if name in OTHERS]
    if others and settings["rounds"] > FEW:
        counts.setdefault(FEW, []).append("what else one might put there")
    also = "".join(f"{other}, " for other in others)
    groups = [f"{count} of {', '.join(names)}" for count, names in counts.items()]
    fewer = f" ({'; '.join(groups)})" if groups else ""
    again = "".join(f"\n\n{measured_again(run)}" for run in raw.get("again", []))
    return f"""\
What `benches/compare/run` printed on {raw["date"]}. Written by it, not by hand.{quick}

longwire {machine["longwire"]} ({machine["commit"]}), nginx {machine["nginx"]}, HAProxy {machine["haproxy"]}, \
{also}OpenSSL {machine["openssl"]}. \
{machine["cores"]} cores of {machine["cpu"]}, {machine["memory_gib"]} GiB, Linux {machine["kernel"]}, {shared}\
(load average {raw["load_before"]:.1f} before, {raw["load_after"]:.1f} after). {settings["rounds"]} rounds{fewer} \
of {settings["seconds"]:g} s a sample, priority {raw["priority"]}{took}.{again}"""


def measured_again(run: dict) -> str:
    rows = ", ".join(f"`{row}`" for row in run["rows"])
    return f"""\
Measured again on {run["date"]} with longwire {run["machine"]["longwire"]} ({run["machine"]["commit"]}), {run["rounds"]} rounds \
(load average {run["load_before"]:.1f} before, {run["load_after"]:.1f} after): {rows}."""


def bounds_table(figures: Figures) -> str:
    """A line for each kind of work and each peer, with the bounds side by side."""
    lines = [
        "| work | against | cost at most | measured | p50 at most | measured | p99 at most | measured | |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    grouped: dict[tuple, list[Bound]] = {}
    for bound in BOUNDS:
        if bound.row in figures.rows:
            grouped.setdefault((bound.row, bound.work, bound.against), []).append(bound)
    verdicts, short = [], []
    for (_, work, against), bounds in grouped.items():
        cells = {column: ["", ""] for column in ("cost", "p50", "p99")}
        found = []
        for bound in bounds:
            column = bound.key if bound.key in cells else "cost"
            cells[column] = bound_cells(figures, bound)
            found.append((column, verdict(figures, bound)))
        wrong = [f"{column} {each}" if len(bounds) > 1 else each for column, each in found if each != REACHED]
        shown = f"**{', '.join(wrong)}**" if wrong else REACHED
        flat = [text for pair in cells.values() for text in pair]
        lines.append(f"| {work} | {against} | {' | '.join(flat)} | {shown} |")
        verdicts += [each for _, each in found]
        if wrong:
            short.append(f"{work} / {against} ({', '.join(wrong)})")
    summary = f"{verdicts.count(REACHED)} of {len(verdicts)} reached."
    if short:
        summary += " The others: " + "; ".join(short) + "."
    return "\n".join(lines) + "\n\n" + summary


def bound_cells(figures: Figures, bound: Bound) -> list[str]:
    signs = {Kind.TIMES: "", Kind.NOT_BELOW: "at least ", Kind.PLUS: "+ "}
    limit = f"{signs[bound.kind]}{bound.limit:g}{bound.unit}"
    found = measured(figures, bound)
    if not found:
        return [limit, "–"]
    middle, least, most = (number(each) if bound.unit else f"{each:.2f}" for each in found)
    middle = middle if bound.unit else f"{found[0]:.3f}"
    middle = f"**{middle}{bound.unit}**" if verdict(figures, bound) == SHORT else middle + bound.unit
    return [limit, f"{middle} ({least} to {most})"]


def absent_list(figures: Figures) -> str:
    asked = {proxy for row in ROWS if row.name in figures.rows for proxy in row.proxies}
    asked |= {proxy for bound in BOUNDS if bound.row in figures.rows for _, proxy in bound.references}
    lines = [f"- **{COLUMNS[proxy]}**: {reason}" for proxy, reason in figures.absent.items() if proxy in asked]
    return "**NOT MEASURED**, and so counted as short where there is a bound:\n\n" + "\n".join(lines) if lines else ""


def figures_table(figures: Figures, rows: list[Row], proxies: tuple[str, ...]) -> str:
    rows = [row for row in rows if row.name in figures.rows]
    if not rows:
        return ""
    columns = [proxy for proxy in proxies if any(figures.has(row.name, proxy) for row in rows)]
    lines = [
        "| row | what | unit | " + " | ".join(COLUMNS[proxy] for proxy in columns) + " |",
        "| --- | --- | --- |" + " ---: |" * len(columns),
    ]
    for row in rows:
        cells = [cell(figures, row.name, proxy) for proxy in columns]
        # A row whose value is the delay stands below, with its p99.
        if row.unit != MEDIAN:
            lines.append(f"| `{row.name}` | {row.title} | {row.unit} | " + " | ".join(cells) + " |")
        named = ("", "") if row.unit != MEDIAN else (f"`{row.name}`", row.title)
        delays = [delay_cell(figures, row.name, proxy) for proxy in columns]
        if any(delays):
            lines.append(f"| {named[0]} | {named[1]} | p50 · p99, ms | " + " | ".join(delays) + " |")
        for key, unit in MORE.items():
            if any(figures.values(row.name, proxy, key) for proxy in columns):
                cells = [cell(figures, row.name, proxy, key) for proxy in columns]
                lines.append(f"| | | {unit} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def before_table(figures: Figures) -> str:
    """The effect of a change: the ratios to the earlier longwire."""
    lines = []
    for row in ROWS:
        cells = []
        for key in ("value", "p50", "p99"):
            now, then = figures.median(row.name, LONGWIRE, key), figures.median(row.name, BEFORE, key)
            cells.append(f"{now / then:.3f}" if now and then else "")
        if any(cells):
            cells[0] = "" if row.unit == MEDIAN else cells[0]
            lines.append(f"| `{row.name}` | {row.title} | {' | '.join(cells)} |")
    if not lines:
        return ""
    head = ["| longwire in units of longwire before | | cost | p50 | p99 |", "| --- | --- | ---: | ---: | ---: |"]
    return "\n".join([*head, *lines])


def waiting_table(figures: Figures) -> str:
    rows = [row for row in ROWS if any(figures.has(row.name, proxy) for proxy in (COALESCE_500US, COALESCE_1MS))]
    return "With `coalesce`:\n\n" + figures_table(figures, rows, WAITING) if rows else ""


def lasting_table(figures: Figures) -> str:
    """Sessions that outlive an end, beside those of the same run that do not."""
    rows = [row for row in ROWS if row.proxies is LASTING and row.name in figures.rows]
    if not rows:
        return ""
    lines = ["| in units of sessions without | | hold: cost | p50 | p99 | resume: cost | p50 | p99 |"]
    lines += ["| --- | --- |" + " ---: |" * 6]
    for row in rows:
        cells = []
        for proxy in OUTLIVING:
            for key in ("value", "p50", "p99"):
                pair = figures.median(row.name, proxy, key), figures.median(row.name, LONGWIRE, key)
                cells.append(f"{pair[0] / pair[1]:.3f}" if all(pair) else "")
        lines.append(f"| `{row.name}` | {row.title} | {' | '.join(cells)} |")
    return (
        "With `hold`, and with `resume` and clients that speak its protocol:\n\n"
        + figures_table(figures, rows, (LONGWIRE, BEFORE, *OUTLIVING))
        + "\n\n"
        + "\n".join(lines)
    )


def others_table(figures: Figures) -> str:
    rows = [row for row in ROWS if any(figures.has(row.name, other) for other in OTHERS)]
    return "What else one might put there:\n\n" + figures_table(figures, rows, BESIDE_OTHERS) if rows else ""


def equal_table(figures: Figures) -> str:
    """The settings of each proxy, and what it was seen to do before the run."""
    found = figures.raw.get("equal", {})
    lines = [
        f"| {COLUMNS[name]} | {facts['workers']} | {facts['buffer']} | {facts['tls']} | {facts['lines_off']} | "
        f"{facts['lines_on']} | `{facts['line'].replace('|', ' ')}` |"
        for name, facts in found.items()
    ]
    if not lines:
        return ""
    head = "| set equal | workers | buffer | TLS | lines, log off | lines, log on, of 2 | one of them |"
    return "\n".join([head, "| --- | ---: | --- | --- | ---: | ---: | --- |", *lines])


def delay_cell(figures: Figures, row: str, proxy: str) -> str:
    both = [figures.median(row, proxy, key) for key in ("p50", "p99")]
    if None in both:
        return "invalid" if figures.invalid(row, proxy) else ""
    return " · ".join(number(each) for each in both)


def cell(figures: Figures, row: str, proxy: str, key: str = "value") -> str:
    if not figures.has(row, proxy):
        return ""
    if figures.invalid(row, proxy):
        return "invalid"
    values = figures.values(row, proxy, key)
    if not values:
        return ""
    spread = f" ({number(min(values))} to {number(max(values))})" if len(values) > 1 else ""
    return number(median(values)) + spread


def delay_of(sample: dict) -> str:
    """The other figures of a sample, for the output during a run."""
    words = f", p50 {number(sample['p50'])} p99 {number(sample['p99'])} ms" if "p50" in sample else ""
    return words + (f", {number(sample['per_second'])} a second" if "per_second" in sample else "")


def number(value: float) -> str:
    """The number with at least three significant digits."""
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
    """The system calls of one traced sample of each proxy."""
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
    columns = [proxy for proxy in COLUMNS if any(figures.has(few, proxy) for _, few, _ in series)]
    lines = []
    for what, few, many in series:
        cells = []
        for proxy in columns:
            pair = figures.median(few, proxy), figures.median(many, proxy)
            cells.append(f"{pair[1] / pair[0]:.2f}" if None not in pair and pair[0] > 0 else "")
        if any(cells):
            lines.append(f"| {what} | `{many}` / `{few}` | " + " | ".join(cells) + " |")
    if not lines:
        return ""
    head = "| growth | rows | " + " | ".join(COLUMNS[proxy] for proxy in columns) + " |"
    return "\n".join([head, "| --- | --- |" + " ---: |" * len(columns), *lines])


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
    """What a reader must know to judge the figures."""
    return f"""\
- One run. Each sample has a fresh backend and a fresh proxy; in each round all proxies take their turn, each round begins
  with another one. One worker on a core of its own, load and backend on another, {raw["priority"]}.
- Every echo is compared with what was sent, byte by byte, and each sample ends by waiting for what is on its way; a
  single error or loss makes the row invalid.
- A ratio is that of medians; "single rounds" are the least and most of the ratios within a round.
- The floor is `programs/floor.c`: a bare TCP relay, edge-triggered, one receive and one send per chunk, no HTTP, no
  WebSocket, no time, no log. It stands for what the kernel takes.
- A delay is what a client sees: of an echo or an answer from when it was sent, at a fixed rate from when it was due, of a
  handshake from its connect to its 101. Saturated, with so many on their way, it follows from the throughput.
- While bulk flows, or {CHATTING["connections"]:,} sessions chat ({CHATTING["rate"]:,} messages a second in all): 200 of one kind a
  second, on a fixed schedule, each timed from the moment at which it was due, so that whoever is held up counts with
  all the time it waited. The probe and its backend run before load and backend of the others on their core: what is timed
  is the proxy.
- TLS: 1.3, X25519, AES-128-GCM, ECDSA P-256 for all. A client's half of a full handshake costs about as much as the other
  half, so there the load is the limit, not the proxy.
- At a fixed rate a proxy sleeps between messages, and most of what is measured is how the kernel wakes it.
- Two workers: on two cores the second one shares its core with load and backend, in both rows of the ratio.
- With `resume` the load speaks the protocol of docs/resume.md: a handshake ends with its hello, control texts are checked, and
  echoes acknowledged: each quarter of `replay`, and at the first echo after a second. Control texts are not counted as messages.
- Log on: a line for each session or request, in a file on the same disk. nginx and HAProxy write each by itself, as they
  do by default.

How busy each proxy was during the window, then load and backend, in percent of a core:"""


def busy_table(figures: Figures) -> str:
    """Shows whether the proxy was the limit, and that load and backend cost less than the proxy."""
    columns = [proxy for proxy in COLUMNS if any(proxy in proxies for proxies in figures.rows.values())]
    lines = []
    for row in ROWS:
        cells = []
        for proxy in columns:
            samples = [sample for sample in figures.samples(row.name, proxy) if "cpu_ns" in sample]
            shares = [median(100 * sample[key] / sample["wall_ns"] for sample in samples) for key in CPU_OF if samples]
            cells.append("{:.0f} ({:.0f}, {:.0f})".format(*shares) if shares else "")
        if any(cells):
            lines.append(f"| `{row.name}` | " + " | ".join(cells) + " |")
    head = "| row | " + " | ".join(COLUMNS[proxy] for proxy in columns) + " |"
    return "\n".join([head, "| --- |" + " ---: |" * len(columns), *lines])


# Further keys of a sample, with their units.
MORE = {
    "per_second": "a second",
    "pss": "B of PSS",
    "to_clients_gb_per_s": "GB/s to clients",
    "echoes_per_s": "echoes a second",
    "busy": "% of a core",
}
CPU_OF = ("cpu_ns", "load_cpu_ns", "backend_cpu_ns")
