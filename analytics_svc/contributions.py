"""The states of resources, and their contributions to the figures.

An event carries a resource's new state. The figures change by the new contribution minus the old one. So missing
intermediate events do no harm, and neither does the order of arrival: the higher version wins.
"""

from collections import defaultdict
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Annotated, Any, Self

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from platform_core.vocabulary import (
    COUNTED,
    HOLDING_STOCK,
    PLACED,
    SETTLED,
    WITHOUT_STOCK,
    NotificationStatus,
    OrderStatus,
)

BIGINT = 2**63 - 1
_NOUGHT = Decimal(0)
REASONS = ("insufficient_stock", "unknown_product", "unavailable", "abandoned")
"""Why order-service rejects orders. Reports list the reasons in this sequence."""
OTHER_REASON = "other"
REJECTED_FOR = "orders.rejected."
"""Prefix of the daily figures with the rejected orders of one reason."""

_OUTERMOST = (timezone(-timedelta(hours=16)), timezone(timedelta(hours=16)))
"""No time zone has been farther from UTC."""
Moment = Annotated[datetime, Meta(tz=True)]
Count = Annotated[int, Meta(ge=0, le=10**12)]


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


class State(Struct, frozen=True, kw_only=True, rename="camel"):
    """The state of a resource in an event, reduced to what the figures need.

    A row of a service's list has version 0. It is newer than all events that were applied before it, and older than all
    events that are applied later.
    """

    version: Annotated[int, Meta(ge=0, le=BIGINT)]
    created_at: Moment
    deleted: bool = False

    def following(self, known: Self | None) -> Self:
        """The state that results if this one arrives after ``known``.

        The higher version wins, but a deletion is final in any order: the stock of a deleted product still changes when
        one of its orders is cancelled.
        """
        if known is None:
            return self
        newer = self if self.version > known.version or self.version == 0 else known
        version = max(self.version, known.version)
        return msgspec.structs.replace(newer, version=version, deleted=self.deleted or known.deleted)

    def as_deleted(self) -> Self:
        return msgspec.structs.replace(self, deleted=True)

    def contribution(self, zone: tzinfo) -> Contribution:
        """What the resource adds to the figures. ``zone`` is where days begin and end."""
        raise NotImplementedError

    def day(self, zone: tzinfo) -> date:
        """The day on which the resource was created."""
        return self.created_at.astimezone(zone).date()


class User(State, frozen=True):
    def contribution(self, zone: tzinfo) -> Contribution:
        found = Contribution()
        found.daily["users.new", self.day(zone)] += 1
        if not self.deleted:
            found.figures["users.total"] += 1
        return found


class Product(State, frozen=True):
    """A product. ``low_stock_threshold`` is unset in events of versions that did not know it, and then stays."""

    name: Annotated[str, Meta(max_length=200)]
    price: Decimal
    stock: Count
    low_stock_threshold: Count | UnsetType | None = UNSET

    def __post_init__(self) -> None:
        _check_amount(self.price)
        if "\0" in self.name:
            raise ValueError("a name with a NUL")

    @property
    def own_threshold(self) -> int | None:
        """The product's own number of pieces at which its stock is low, if it has one."""
        return None if self.low_stock_threshold is UNSET else self.low_stock_threshold

    def following(self, known: Self | None) -> Self:
        """As for every state. A threshold that the newer state does not name is taken from the older one."""
        newest = super().following(known)
        if known is None or newest.low_stock_threshold is not UNSET:
            return newest
        older = known.low_stock_threshold if self.low_stock_threshold is UNSET else self.low_stock_threshold
        return msgspec.structs.replace(newest, low_stock_threshold=older)

    def contribution(self, zone: tzinfo) -> Contribution:
        found = Contribution()
        if not self.deleted:
            found.figures["products.total"] += 1
            found.figures["products.outOfStock"] += self.stock == 0
            found.figures["products.stockUnits"] += self.stock
            found.figures["products.stockValue"] += self.stock * self.price
        return found


def bounded_reason(reason: str) -> str:
    """The reason if it is a known one, otherwise OTHER_REASON, so that the number of figures has a bound."""
    return reason if reason in REASONS else OTHER_REASON


class Line(Struct, frozen=True, rename="camel"):
    product_id: Annotated[str, Meta(pattern="^[0-9]{1,18}$")]
    quantity: Count
    subtotal: Decimal | None

    def __post_init__(self) -> None:
        if self.subtotal is not None:
            _check_amount(self.subtotal)


class Order(State, frozen=True):
    """An order. One that was never confirmed has no amounts. ``reason`` is why it was rejected, an error's code."""

    status: OrderStatus
    total: Decimal | None
    items: list[Line]
    reason: str = ""

    def __post_init__(self) -> None:
        _check_status(self.status, COUNTED)
        if self.total is not None:
            _check_amount(self.total)
        if self.status in PLACED and None in (self.total, *(line.subtotal for line in self.items)):
            raise ValueError(f"an order that is {self.status} without amounts")

    def contribution(self, zone: tzinfo) -> Contribution:
        found = Contribution()
        found.figures[f"orders.status.{self.status}"] += 1
        if self.status in WITHOUT_STOCK:
            found.daily[f"orders.{self.status}", self.day(zone)] += 1
        if self.status not in PLACED:
            if self.reason:
                found.daily[f"{REJECTED_FOR}{bounded_reason(self.reason)}", self.day(zone)] += 1
            return found
        found.figures["orders.total"] += 1
        found.daily["orders.placed", self.day(zone)] += 1
        if self.status in HOLDING_STOCK:
            total = self.total or _NOUGHT
            found.figures["orders.paid"] += 1
            found.figures["orders.revenue"] += total
            found.daily["orders.revenue", self.day(zone)] += total
            for line in self.items:
                found.sell(int(line.product_id), line.quantity, line.subtotal or _NOUGHT)
        return found


class Notification(State, frozen=True):
    status: NotificationStatus

    def __post_init__(self) -> None:
        _check_status(self.status, SETTLED)

    def contribution(self, zone: tzinfo) -> Contribution:
        found = Contribution()
        found.figures["notifications.total"] += 1
        found.figures[f"notifications.status.{self.status}"] += 1
        found.daily[f"notifications.{self.status}", self.day(zone)] += 1
        return found


KINDS: Mapping[str, type[State]] = {"user": User, "product": Product, "order": Order, "notification": Notification}


def state_of(kind: str, data: Any) -> State:
    """Reads a state from the data of an event. Raises ValueError or OverflowError if the data is invalid."""
    state = msgspec.convert(data, KINDS[kind])
    for zone in _OUTERMOST:
        _ = state.day(zone)  # a time at the end of the calendar has no day in some zones
    return state


def _check_status(status: str, known: Container[str]) -> None:
    if status not in known:
        raise ValueError(f"no event tells of the status {status}")


def _check_amount(amount: Decimal) -> None:
    """Refuses NaN, infinity and huge amounts. A NaN would make a sum invalid for ever."""
    if not amount.is_finite() or abs(amount) >= 10**18:
        raise ValueError("an amount out of range")
