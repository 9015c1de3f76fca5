"""Common parts of the services' demo data: the requested amounts, the calendar, and the batches between steps.

Each service has steps in its ``demo`` module (``STEPS``). A step gets a `Spec` and the batches of the step before it.
For each batch it commits its own part in one transaction and passes the batch on. `platform_core.tools.demo` connects
the steps by pipes.
"""

import random
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Final, TypeVar

import msgspec
from msgspec import Raw, Struct

DEMO: Final = "demo"
"""The caller and the request id in all rows that the demo writes."""
SIZE: Final = 1000
"""The number of users, products or orders in a batch. Its transaction writes at most 10,000 rows, in under a second."""
DAYS: Final = 70
"""The length of the demo's past. Users sign up during all of it."""
OPENING: Final = 0.4
"""The share of that time after which the shop opens: the catalog is complete, and orders begin."""
_NOW_MARGIN = timedelta(minutes=5)
_WEEK = (0.95, 0.9, 0.9, 1.0, 1.1, 1.35, 1.25)
_HOURS = (2, 1, 1, 1, 1, 2, 4, 6, 8, 9, 10, 11, 12, 11, 10, 10, 11, 12, 14, 16, 17, 14, 9, 5)
_GROWTH = 0.6

T = TypeVar("T")


class Spec(Struct, frozen=True):
    """The requested demo data. ``now`` is the start of the run; all demo data lies before it."""

    seed: int
    users: int
    products: int
    orders: int
    now: datetime


class Batch(Struct):
    """A batch that steps pass on. ``count`` of ``of`` items are done after it; ``written`` counts new rows by table."""

    of: str
    count: int
    rows: list[Raw] = []
    written: dict[str, int] = {}


Step = Callable[[Spec, Iterator[Batch]], Iterator[Batch]]

encoded = msgspec.json.Encoder().encode


def raw(row: object) -> Raw:
    """A row as encoded JSON."""
    return Raw(encoded(row))


def read_batches(lines: Iterable[bytes]) -> Iterator[Batch]:
    """Decode batches, one per line."""
    return map(msgspec.json.Decoder(Batch).decode, lines)


def draw(spec: Spec, what: str, number: int) -> random.Random:
    """A random generator for one item. It depends only on the seed, ``what`` and ``number``."""
    return random.Random(f"{spec.seed}/{what}/{number}")  # noqa: S311


def batches_of(total: int, start: int = 0) -> Iterator[range]:
    """Ranges of at most SIZE items that cover ``start`` to ``total``."""
    return (range(first, min(first + SIZE, total)) for first in range(start, total, SIZE))


class Calendar:
    """Distributes the demo's past (UTC) like the activity of a shop: quiet nights, busy weekends, some growth."""

    def __init__(self, spec: Spec) -> None:
        self.end = spec.now.astimezone(UTC) - _NOW_MARGIN
        self.start = self.end - timedelta(days=DAYS)
        luck = [random.Random(f"{spec.seed}/day/{day}").uniform(0.85, 1.15) for day in range(DAYS + 1)]  # noqa: S311
        weights = (self._weight(hour, luck) for hour in range(DAYS * 24))
        self._until = [0.0, *accumulate(weights)]

    def _weight(self, hour: int, luck: list[float]) -> float:
        at = self.start + timedelta(hours=hour)
        grown = 1 + _GROWTH * hour / (DAYS * 24)
        return _WEEK[at.weekday()] * _HOURS[at.hour] * grown * luck[hour // 24]

    def moment(self, part: float) -> datetime:
        """The time at which the share ``part`` (0 to 1) of all activity has happened."""
        reached = part * self._until[-1]
        hour = min(bisect_right(self._until, reached), DAYS * 24) - 1
        inside = (reached - self._until[hour]) / (self._until[hour + 1] - self._until[hour])
        return self.start + timedelta(hours=hour + min(inside, 1.0))
