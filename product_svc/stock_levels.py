"""The level of a stock: a coarse measure that an index can hold without being written at every change of the stock.

See docs/decisions/0022.
"""

from collections.abc import Iterator

from django.db.models import Func, SmallIntegerField

MAX_STOCK = 2**31 - 1


def _bounds() -> Iterator[int]:
    """The least stock of each level from 1 on. Steps are of five pieces up to 50, then of a tenth."""
    yield 1
    bound = 5
    while bound <= MAX_STOCK:
        yield bound
        bound += max(5, bound // 10)


BOUNDS = tuple(_bounds())
SOLD_OUT = 0
"""The level of an empty stock, and of no other."""


class StockLevel(Func):
    """The level of a stock in SQL. A greater stock never has a lower level."""

    function = "width_bucket"
    template = f"%(function)s(%(expressions)s, '{{{','.join(map(str, BOUNDS))}}}'::bigint[])"
    arity = 1
    output_field = SmallIntegerField()


def level_of(stock: int) -> int:
    """The level of a stock, as the database computes it."""
    return sum(bound <= stock for bound in BOUNDS)
