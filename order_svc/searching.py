"""Finds orders by what staff know of them. Each way reads a bounded number of rows, by an index.

Names are looked up where they are kept: those of customers at user-service, those of products at product-service.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db.models import QuerySet, Value
from django.db.models.functions import Lower

from order_svc.models import Order, OrderLine
from platform_core.clients import Named, begin_all, products_named, users_named
from platform_core.topology import PRODUCT, USER

NEWEST = 1000
"""The most orders that a product or a name leads to."""
MOST_NAMED = 20
"""The most customers, and the most products, that a name stands for."""
MAX_NAME = 200
SECONDS = 1.0
"""The time in which the services must answer for names."""

CUSTOMERS, PRODUCTS = USER.name, PRODUCT.name
_ASKS = {CUSTOMERS: users_named, PRODUCTS: products_named}


def with_email(rows: QuerySet[Order], email: str) -> QuerySet[Order]:
    """The orders with this address of the customer; capitals do not matter."""
    return rows.alias(email_in_lower_case=Lower("customer_email")).filter(email_in_lower_case=Lower(Value(email)))


def with_products(rows: QuerySet[Order], ids: Sequence[int]) -> QuerySet[Order]:
    """The newest `NEWEST` orders with a line of these products, as far as they are among ``rows``."""
    return rows.filter(pk__in=_newest(OrderLine, "product_id", "order_id", ids))


@dataclass(frozen=True, slots=True)
class Names:
    """What a name stands for: customers and products. ``unanswered`` are the services that did not say."""

    customers: Sequence[Named] = ()
    products: Sequence[Named] = ()
    unanswered: Sequence[str] = ()

    def among(self, rows: QuerySet[Order]) -> QuerySet[Order]:
        """The newest orders of these customers or products, as far as they are among ``rows``."""
        found = _newest(Order, "user_id", "pk", [int(each.id) for each in self.customers])
        found |= _newest(OrderLine, "product_id", "order_id", [int(each.id) for each in self.products])
        return rows.filter(pk__in=found)

    @property
    def text(self) -> str:
        """How many customers and products it stands for; empty if none. Names no person."""
        kinds = (("customer", self.customers), ("product", self.products))
        return " and ".join(_counted(noun, named) for noun, named in kinds if named)


def look_up(text: str, *services: str) -> Names:
    """What a name stands for at these ``services`` (`CUSTOMERS`, `PRODUCTS`). Raises nothing for a silent service."""
    if not text or len(text) > MAX_NAME or "\0" in text:
        return Names()
    answers = begin_all({name: partial(_ASKS[name], text, MOST_NAMED, timeout=SECONDS) for name in services}, SECONDS)()
    found: dict[str, Sequence[Named]] = {
        name: answer for name, answer in answers.items() if not isinstance(answer, Exception)
    }
    silent = [name for name in services if name not in found]
    return Names(found.get(CUSTOMERS, ()), found.get(PRODUCTS, ()), silent)


def _newest(model: Any, column: str, order: str, ids: Sequence[int]) -> set[int]:
    """The ids of the newest orders in rows that have one of ``ids``: the same number for each, `NEWEST` at most."""
    if not ids:
        return set()
    rows = (model.objects.filter(**{column: each}).order_by(f"-{order}").values_list(order, flat=True) for each in ids)
    first, *others = (each[: NEWEST // len(ids)] for each in rows)
    return set(first.union(*others, all=True) if others else first)


def _counted(noun: str, named: Sequence[Named]) -> str:
    first = "the first " if len(named) >= MOST_NAMED else ""
    return f"{first}{len(named)} {noun}{'' if len(named) == 1 else 's'}"
