"""Compares the results of several rounds: medians, spreads, ratios, and targets."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.footprint import Platform
from benchmarks.measuring import Figure, Measured

THIS, LIMIT, STOCK, FASTAPI, EXPRESS = "this", "limit", "stock", "fastapi", "express"
THROUGHPUT, CPU, P50 = "per_second", "cpu_ms", "p50_ms"


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, minimum and maximum of the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread | None":
        return cls(median(values), min(values), max(values)) if values else None

    def text(self, digits: int) -> str:
        return f"{self.median:,.{digits}f} ({self.low:,.{digits}f}–{self.high:,.{digits}f})"


class Comparison:
    """The measurements by contender and work. Missing ones are None."""

    def __init__(self, measured: Measured, platform: Platform | None = None) -> None:
        self.platform = platform
        self.measured = measured
        self.rounds: dict[tuple[str, str], dict[int, Figure]] = {}
        for figure in measured.figures:
            self.rounds.setdefault((figure.contender, figure.work), {})[figure.round] = figure

    @property
    def contenders(self) -> list[str]:
        """The contenders, with this project first and the bare limit last."""
        known = (THIS, "this-tokens", FASTAPI, EXPRESS, STOCK)
        found = dict.fromkeys(figure.contender for figure in self.measured.figures)
        return sorted(found, key=lambda name: known.index(name) if name in known else len(known))

    @property
    def works(self) -> list[str]:
        return list(dict.fromkeys(figure.work for figure in self.measured.figures))

    def spread(self, contender: str, work: str, what: str) -> Spread | None:
        return Spread.of([getattr(figure, what) for figure in self.rounds.get((contender, work), {}).values()])

    def ratio(self, over: tuple[str, str], under: tuple[str, str], what: str) -> Spread | None:
        """The ratio of two results. ``over`` and ``under`` are contender and work.

        Only results of the same round are divided, because they were measured under the same conditions.
        """
        above, below = self.rounds.get(over, {}), self.rounds.get(under, {})
        pairs = [(getattr(above[n], what), getattr(below[n], what)) for n in above if n in below]
        return Spread.of([one / other for one, other in pairs if other])

    def memory(self, contender: str, database: str) -> Spread | None:
        held = self.measured.memory
        return Spread.of([each.pss_mib for each in held if (each.contender, each.database) == (contender, database)])


@dataclass(frozen=True, slots=True)
class Target:
    """A target. ``limit`` is the minimum, or with ``at_most`` the maximum."""

    title: str
    limit: float
    value: Callable[[Comparison], Spread | None]
    at_most: bool = False
    unit: str = "×"

    def is_met(self, found: Spread) -> bool:
        return found.median <= self.limit if self.at_most else found.median >= self.limit

    @property
    def wanted(self) -> str:
        return f"{'at most' if self.at_most else 'at least'} {self.limit:g} {self.unit}"


def _throughput(work: str, limit: float, other: str = FASTAPI) -> Target:
    title = f"{work}: throughput of {other}"
    return Target(title, limit, lambda c: c.ratio((THIS, work), (other, work), THROUGHPUT))


def _cpu(work: str, limit: float) -> Target:
    title = f"{work}: CPU of the bare limit"
    return Target(title, limit, lambda c: c.ratio((THIS, work), (LIMIT, work), CPU), at_most=True)


def _flat(large: str, small: str) -> Target:
    title = f"{large}: median latency of {small}"
    return Target(title, 1.2, lambda c: c.ratio((THIS, large), (THIS, small), P50), at_most=True)


def _worst_beside_stock(comparison: Comparison) -> Spread | None:
    ratios = [comparison.ratio((THIS, work), (STOCK, work), THROUGHPUT) for work in comparison.works]
    return min((ratio for ratio in ratios if ratio), key=lambda ratio: ratio.median, default=None)


def _of_platform(what: str) -> Callable[[Comparison], Spread | None]:
    return lambda c: Spread.of([getattr(c.platform, what)]) if c.platform else None


TARGETS = (
    _throughput("read_one", 1.0),
    _cpu("read_one", 2.2),
    _throughput("list_50", 1.5),
    _throughput("create", 1.5),
    _throughput("order_1", 1.5),
    _throughput("order_1", 1.0, EXPRESS),
    _cpu("order_1", 2.0),
    Target(
        "order_hot: throughput of order_1", 0.7, lambda c: c.ratio((THIS, "order_hot"), (THIS, "order_1"), THROUGHPUT)
    ),
    _flat("summary_large", "summary_small"),
    _flat("page_10000", "page_1"),
    Target("the worst of all: throughput of stock Django", 2.0, _worst_beside_stock),
    Target("the whole platform's memory", 500, _of_platform("busy_pss_mib"), at_most=True, unit="MiB"),
    Target("a warm start of the platform", 8, _of_platform("warm_start_seconds"), at_most=True, unit="s"),
)
