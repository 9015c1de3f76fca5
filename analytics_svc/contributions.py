"""What one resource adds to the figures, computed from its state alone.

An event brings a resource's new state. The figures change by the new contribution less the old one, so that it does
not matter how many events lie between, nor in which order two of them arrive: the higher version holds.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

State = Mapping[str, Any]
REVENUE_STATUSES = ("confirmed", "shipped", "delivered")
_NOUGHT = Decimal(0)


@dataclass(slots=True)
class Contribution:
    """Amounts by figure, by figure and day, and by product (pieces sold, revenue)."""

    figures: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    daily: dict[tuple[str, date], Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    sold: dict[int, tuple[int, Decimal]] = field(default_factory=dict)

    def add(self, other: "Contribution", sign: int) -> None:
        for name, value in other.figures.items():
            self.figures[name] += sign * value
        for key, value in other.daily.items():
            self.daily[key] += sign * value
        for product_id, (units, revenue) in other.sold.items():
            self.sell(product_id, sign * units, sign * revenue)

    def sell(self, product_id: int, units: int, revenue: Decimal) -> None:
        so_far = self.sold.get(product_id, (0, _NOUGHT))
        self.sold[product_id] = (so_far[0] + units, so_far[1] + revenue)


def _user(state: State, into: Contribution) -> None:
    into.daily["users.new", _day(state)] += 1
    if not state.get("deleted"):
        into.figures["users.total"] += 1


def _product(state: State, into: Contribution) -> None:
    if state.get("deleted"):
        return
    stock = Decimal(state["stock"])
    into.figures["products.total"] += 1
    into.figures["products.outOfStock"] += stock == 0
    into.figures["products.stockUnits"] += stock
    into.figures["products.stockValue"] += stock * Decimal(state["price"])


def _order(state: State, into: Contribution) -> None:
    into.figures["orders.total"] += 1
    into.figures[f"orders.status.{state['status']}"] += 1
    into.daily["orders.placed", _day(state)] += 1
    if state["status"] not in REVENUE_STATUSES:
        return
    total = Decimal(state["total"])
    into.figures["orders.paid"] += 1
    into.figures["orders.revenue"] += total
    into.daily["orders.revenue", _day(state)] += total
    for item in state["items"]:
        into.sell(int(item["productId"]), int(item["quantity"]), Decimal(item["subtotal"]))


def _notification(state: State, into: Contribution) -> None:
    into.figures["notifications.total"] += 1
    into.figures[f"notifications.status.{state['status']}"] += 1
    into.daily[f"notifications.{state['status']}", _day(state)] += 1


KINDS: Mapping[str, Callable[[State, Contribution], None]] = {
    "user": _user,
    "product": _product,
    "order": _order,
    "notification": _notification,
}


def contribution(kind: str, state: State | None) -> Contribution:
    """Nothing for a resource that is not known yet."""
    result = Contribution()
    if state is not None:
        KINDS[kind](state, result)
    return result


def _day(state: State) -> date:
    """The day in UTC on which the resource was made."""
    return datetime.fromisoformat(state["createdAt"]).astimezone(UTC).date()
