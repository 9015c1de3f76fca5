"""The reports of analytics-service. Each reads its read model with a fixed number of queries."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from django.conf import settings

from analytics_svc.catching_up import Freshness, catch_up
from analytics_svc.models import DailyFigure, Figure, ProductFigure
from platform_core.topology import NOTIFICATION, ORDER, PRODUCT, USER
from platform_core.vocabulary import PLACED, SETTLED

LISTED = 10
CENT = Decimal("0.01")

Report = dict[str, Any]
Figures = Mapping[str, Decimal]


def summary() -> Report:
    """The headlines of the four reports. Queries: positions, figures, today's figures."""
    freshness = catch_up([USER.name, PRODUCT.name, ORDER.name, NOTIFICATION.name])
    figures = _figures(freshness.generation)
    return {
        **_head(freshness),
        "users": _users(freshness.generation, figures),
        "products": _products(figures),
        "orders": _orders(figures),
        "notifications": _notifications(figures),
    }


def overview(days: int) -> tuple[Freshness, Mapping[str, Report]]:
    """The reports for the dashboard, by name. They catch up with the feeds once."""
    freshness = catch_up([USER.name, PRODUCT.name, ORDER.name, NOTIFICATION.name])
    generation = freshness.generation
    figures = _figures(generation)
    return freshness, {
        "users": _users(generation, figures),
        "products": {**_products(figures), **_product_lists(generation)},
        "orders": {**_orders(figures), "byDay": _orders_by_day(generation, days)},
        "notifications": _notifications(figures),
    }


def users(days: int) -> Report:
    freshness = catch_up([USER.name])
    generation = freshness.generation
    new = _series(generation, ["users.new"], days)
    by_day = [{"date": day, "count": int(values["users.new"])} for day, values in new]
    return {**_head(freshness), **_users(generation, _figures(generation, "users.")), "byDay": by_day}


def products(days: int) -> Report:
    """The report on products. ``days`` has no effect; it exists so that all four reports have the same parameter."""
    freshness = catch_up([PRODUCT.name, ORDER.name])
    generation = freshness.generation
    found = {**_products(_figures(generation, "products.")), **_product_lists(generation)}
    return {**_head(freshness), **found}


def orders(days: int) -> Report:
    freshness = catch_up([ORDER.name])
    generation = freshness.generation
    by_day = _orders_by_day(generation, days)
    return {**_head(freshness), **_orders(_figures(generation, "orders.")), "byDay": by_day}


def notifications(days: int) -> Report:
    freshness = catch_up([NOTIFICATION.name])
    names = {status.value: f"notifications.{status}" for status in SETTLED}
    by_day = [
        {"date": day, **{status: int(values[name]) for status, name in names.items()}}
        for day, values in _series(freshness.generation, list(names.values()), days)
    ]
    return {**_head(freshness), **_notifications(_figures(freshness.generation, "notifications.")), "byDay": by_day}


def _head(freshness: Freshness) -> Report:
    return {"asOf": freshness.as_of, "stale": freshness.stale}


def _figures(generation: int, prefix: str = "") -> Figures:
    rows = Figure.objects.filter(generation=generation)
    return _Figures((rows.filter(name__startswith=prefix) if prefix else rows).values_list("name", "value"))


class _Figures(dict[str, Decimal]):
    def __missing__(self, name: str) -> Decimal:
        return Decimal(0)


def _users(generation: int, figures: Figures) -> Report:
    rows = DailyFigure.objects.filter(generation=generation, name="users.new", date=_today())
    today = rows.values_list("value", flat=True).first()
    return {"total": int(figures["users.total"]), "newToday": int(today or 0)}


def _products(figures: Figures) -> Report:
    return {
        "total": int(figures["products.total"]),
        "outOfStock": int(figures["products.outOfStock"]),
        "stockUnits": int(figures["products.stockUnits"]),
        "stockValue": figures["products.stockValue"],
    }


def _product_lists(generation: int) -> Report:
    """The products with low stock, and the top sellers."""
    rows = ProductFigure.objects.filter(generation=generation)
    low = rows.filter(listed=True, stock__lte=settings.LOW_STOCK).order_by("stock", "product_id")
    top = rows.filter(units__gt=0).order_by("-units", "product_id")
    return {
        "lowStock": [
            {"productId": str(product_id), "name": name, "stock": stock}
            for product_id, name, stock in low.values_list("product_id", "name", "stock")[:LISTED]
        ],
        "topSellers": [
            {"productId": str(product_id), "name": name, "units": units, "revenue": revenue}
            for product_id, name, units, revenue in top.values_list("product_id", "name", "units", "revenue")[:LISTED]
        ],
    }


def _orders_by_day(generation: int, days: int) -> list[Report]:
    return [
        {"date": day, "orders": int(values["orders.placed"]), "revenue": values["orders.revenue"]}
        for day, values in _series(generation, ["orders.placed", "orders.revenue"], days)
    ]


def _orders(figures: Figures) -> Report:
    paid, revenue = figures["orders.paid"], figures["orders.revenue"]
    average = (revenue / paid).quantize(CENT, ROUND_HALF_UP) if paid else Decimal(0)
    return {
        "total": int(figures["orders.total"]),
        "byStatus": {status.value: int(figures[f"orders.status.{status}"]) for status in PLACED},
        "revenue": revenue,
        "averageOrderValue": average,
    }


def _notifications(figures: Figures) -> Report:
    by_status = {status.value: int(figures[f"notifications.status.{status}"]) for status in SETTLED}
    return {"total": int(figures["notifications.total"]), "byStatus": by_status}


def _series(generation: int, names: Sequence[str], days: int) -> list[tuple[date, dict[str, Decimal]]]:
    """The values of each of the last ``days`` days including today, oldest first. Missing values are 0."""
    first = _today() - timedelta(days=days - 1)
    rows = DailyFigure.objects.filter(generation=generation, name__in=names, date__gte=first).values_list(
        "name", "date", "value"
    )
    found = {(name, day): value for name, day, value in rows}
    return [
        (day, {name: found.get((name, day), Decimal(0)) for name in names})
        for day in (first + timedelta(days=n) for n in range(days))
    ]


def _today() -> date:
    return datetime.now(UTC).date()
