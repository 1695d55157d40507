"""The figures of a run: samples, medians, and whether they reach the bounds."""

from statistics import median

from .bounds import Bound, Kind

REACHED, SHORT, INVALID, NOT_MEASURED = "reached", "SHORT", "invalid", "not measured"


class Figures:
    """The samples of a run by row and proxy, one dict for each round. `broken` in a dict says why the sample is void."""

    def __init__(self, raw: dict):
        self.raw = raw
        self.rows = raw["rows"]
        # The proxies that could not be measured at all, and why.
        self.absent: dict[str, str] = raw.get("absent", {})

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
        """The values of a key. Empty: not measured, or invalid."""
        if self.invalid(row, proxy):
            return []
        return [sample[key] for sample in self.samples(row, proxy) if key in sample]

    def median(self, row: str, proxy: str, key: str = "value") -> float | None:
        return median(values) if (values := self.values(row, proxy, key)) else None


def measured(figures: Figures, bound: Bound) -> tuple[float, float, float] | None:
    """The figure that a bound limits: that of the medians, and the least and the most of single rounds."""
    own = figures.values(bound.row, bound.proxy, bound.key)
    peers = [figures.values(*reference, bound.key) for reference in bound.references]
    if not own or not all(peers):
        return None
    if not bound.references:
        return median(own), min(own), max(own)
    stands = (lambda mine, theirs: mine - theirs) if bound.kind is Kind.PLUS else (lambda mine, theirs: mine / theirs)
    rounds = [stands(mine, min(theirs)) for mine, *theirs in zip(own, *peers)]
    return stands(median(own), min(median(values) for values in peers)), min(rounds), max(rounds)


def verdict(figures: Figures, bound: Bound) -> str:
    """Whether a bound falls short. A bound whose proxies could not be measured falls short, because nothing was reached."""
    found = measured(figures, bound)
    if found is None:
        sides = [(bound.row, bound.proxy), *bound.references]
        if any(proxy in figures.absent for _, proxy in sides):
            return SHORT
        return INVALID if any(figures.invalid(*side) for side in sides) else NOT_MEASURED
    reached = found[0] >= bound.limit if bound.kind is Kind.NOT_BELOW else found[0] <= bound.limit
    return REACHED if reached else SHORT
