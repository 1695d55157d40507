"""Kinds of middleboxes, their limits, and what must come of each. The words are those of `longwire paths`."""

from dataclasses import dataclass, replace

from .auto import by_hand

# How many limits a session must live that says nothing.
LIFE = 30
# Limits in seconds, as they are in the world. Those of the presets come beside them.
LIMITS = (10, 30, 100, 350)
SHORTEST_LIMIT, LONGEST_LIMIT = 10, 350
# Up to this limit the row is ten times as fast as the world, above it fifty times, so that 30 limits end in time.
LONG = 70
SCALE, SCALE_OF_LONG = 10, 50


@dataclass(frozen=True)
class Kind:
    """What a middlebox takes for activity, and how it ends a session without any."""

    dies: str
    counts: str
    # Of an end that only one side is told: which one.
    told: str = ""
    # By the kernel's connection tracking, or by a relay.
    is_kernel: bool = False

    def __str__(self) -> str:
        words = [self.dies, f"to the {self.told}" if self.told else "", f"by {self.counts}"]
        return " ".join(filter(None, words)) + (" (conntrack)" if self.is_kernel else "")

    def hears(self, side: str) -> str:
        """What the end on this side of the box hears at the limit, in the words of a record's `how`; empty: nothing."""
        if self.dies == "one_sided":
            return "reset" if side == self.told else ""
        return self.dies if self.dies in ("close", "fin", "reset") else ""

    def answers(self) -> str:
        """What an end that heard nothing hears when it speaks; empty: nothing either."""
        return "reset" if self.dies == "forgotten" else ""

    @property
    def is_held_by_pings(self) -> bool:
        return self.counts != "messages"


KINDS = (
    Kind("close", "bytes"),
    Kind("fin", "frames"),
    Kind("close", "messages"),
    Kind("close", "bytes_from_backend"),
    Kind("fin", "bytes"),
    Kind("fin", "bytes_from_backend"),
    Kind("reset", "bytes"),
    Kind("reset", "bytes_from_backend"),
    Kind("reset", "packets"),
    Kind("one_sided", "bytes", told="client"),
    Kind("one_sided", "packets", told="backend"),
    Kind("silent", "bytes"),
    Kind("silent", "packets", is_kernel=True),
    Kind("forgotten", "bytes"),
    Kind("forgotten", "packets", is_kernel=True),
)


@dataclass(frozen=True)
class Row:
    """A kind of middlebox with a limit, at one place of the path."""

    number: int
    kind: Kind
    # `front`: between the client and the proxy; `behind`: between the proxy and the backend.
    place: str
    # Its limit in the world, in whole seconds, and here.
    real: int
    limit: float
    # What `ping_interval: auto` would be, as much faster as the limit.
    interval: float
    presets: tuple[str, ...]

    @property
    def own_side(self) -> str:
        """The side of the box on which the end is that this program plays."""
        return "client" if self.place == "front" else "backend"

    @property
    def proxy_side(self) -> str:
        return "backend" if self.place == "front" else "client"

    @property
    def life(self) -> float:
        return LIFE * self.limit


def named(kind: Kind, presets: list[dict]) -> dict[int, list[str]]:
    """The presets of this kind, by their limits."""
    found: dict[int, list[str]] = {}
    for preset in presets:
        idle = preset["idle_s"]
        is_alike = (preset["dies"], preset["counts"]) == (kind.dies, kind.counts)
        if is_alike and idle is not None and SHORTEST_LIMIT <= idle <= LONGEST_LIMIT:
            found.setdefault(idle, []).append(preset["name"])
    return found


def rows(kinds: tuple[Kind, ...], limits: tuple[int, ...], presets: list[dict], auto: dict[str, int]) -> list[Row]:
    """Every kind with every limit, and with those of the presets of its kind; each in front of the proxy and behind it.

    `auto`: the interval by the name of a preset or of a limit."""
    found = []
    for kind in kinds:
        by_limit = named(kind, presets)
        for real in sorted({*limits, *by_limit}):
            names = by_limit.get(real, [])
            # The presets of one limit have one interval.
            [interval] = {auto[name] for name in names or [by_hand(real)]}
            for place in ("front", "behind"):
                limit = scaled(kind, real)
                found.append(Row(len(found), kind, place, real, limit, interval * limit / real, tuple(names)))
    return found


def scaled(kind: Kind, real: int) -> float:
    """The limit of a row here. The kernel has whole seconds."""
    limit = real / (SCALE if real <= LONG else SCALE_OF_LONG)
    return float(max(1, round(limit))) if kind.is_kernel else limit


def without_kernel(kinds: tuple[Kind, ...]) -> tuple[Kind, ...]:
    """The same kinds, all by relays."""
    return tuple(replace(kind, is_kernel=False) for kind in kinds)


def strangers(presets: list[dict]) -> list[str]:
    """Presets with a limit of silence whose kind is not among [`KINDS`]."""
    known = {(kind.dies, kind.counts) for kind in KINDS}
    with_limit = [preset for preset in presets if preset["idle_s"] is not None]
    return [preset["name"] for preset in with_limit if (preset["dies"], preset["counts"]) not in known]
