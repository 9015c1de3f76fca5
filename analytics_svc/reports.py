"""The reports of analytics-service. Each reads its read model with a fixed number of queries."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db.models import F, Q, Sum
from django.utils.timezone import now

from analytics_svc.catching_up import Freshness, catch_up
from analytics_svc.contributions import OTHER_REASON, REASONS, REJECTED_FOR
from analytics_svc.models import DailyFigure, Figure, ProductFigure
from platform_core.conf import decimals, rounded
from platform_core.topology import NOTIFICATION, ORDER, PRODUCT, USER
from platform_core.vocabulary import COUNTED, SETTLED

LISTED = 10

Report = dict[str, Any]
Figures = Mapping[str, Decimal]


def summary() -> Report:
    """The headlines of the four reports. Queries: positions, figures, today's figures."""
    freshness = catch_up([USER.name, PRODUCT.name, ORDER.name, NOTIFICATION.name])
    figures = _figures(freshness.generation)
    return {
        **head(freshness),
        "users": _users(freshness, figures),
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
        "users": _users(freshness, figures),
        "products": {**_products(figures), **_product_lists(generation)},
        "orders": {**_orders(figures), "byDay": _orders_by_day(freshness, days)},
        "notifications": _notifications(figures),
        "period": _period(freshness, days),
    }


_REJECTIONS = {f"{REJECTED_FOR}{reason}": reason for reason in (*REASONS, OTHER_REASON)}
_SUMMED = (
    *("orders.placed", "orders.revenue", "orders.cancelled", "orders.rejected", *_REJECTIONS),
    *("users.new", "notifications.sent", "notifications.failed"),
)


def _period(freshness: Freshness, days: int) -> Report:
    """The sums of the last ``days`` days, including today, and of as many days before. One query.

    ``rejections`` are the rejected orders by reason; "unknown" for those of versions that did not tell it.
    """
    first = _today(freshness) - timedelta(days=days - 1)
    rows = DailyFigure.objects.filter(
        generation=freshness.generation, name__in=_SUMMED, date__gte=first - timedelta(days=days)
    )
    recent = Q(date__gte=first)
    sums = (
        rows.order_by()
        .values_list("name")
        .annotate(recent=Sum("value", filter=recent), earlier=Sum("value", filter=~recent))
    )
    now_, before = _Figures(), _Figures()
    for name, value, earlier in sums:
        now_[name], before[name] = value or Decimal(0), earlier or Decimal(0)
    rejections = {reason: int(now_[name]) for name, reason in _REJECTIONS.items() if now_[name]}
    if (unknown := int(now_["orders.rejected"]) - sum(rejections.values())) > 0:
        rejections["unknown"] = unknown
    return {"days": days, "now": _sums(now_), "before": _sums(before), "rejections": rejections}


def _sums(figures: Figures) -> Report:
    paid = figures["orders.placed"] - figures["orders.cancelled"]
    revenue = figures["orders.revenue"]
    return {
        "orders": int(figures["orders.placed"]),
        "revenue": rounded(revenue),
        "averageOrderValue": _average(revenue, paid),
        "rejected": int(figures["orders.rejected"]),
        "newUsers": int(figures["users.new"]),
        "sent": int(figures["notifications.sent"]),
        "failed": int(figures["notifications.failed"]),
    }


def _average(revenue: Decimal, orders: Decimal) -> Decimal:
    return (revenue / orders).quantize(Decimal(1).scaleb(-decimals()), ROUND_HALF_UP) if orders > 0 else Decimal(0)


def users(days: int) -> Report:
    freshness = catch_up([USER.name])
    new = _series(freshness, ["users.new"], days)
    by_day = [{"date": day, "count": int(values["users.new"])} for day, values in new]
    return {**head(freshness), **_users(freshness, _figures(freshness.generation, "users.")), "byDay": by_day}


def products(days: int) -> Report:
    """The report on products. ``days`` has no effect; it exists so that all four reports have the same parameter."""
    freshness = catch_up([PRODUCT.name, ORDER.name])
    generation = freshness.generation
    found = {**_products(_figures(generation, "products.")), **_product_lists(generation)}
    return {**head(freshness), **found}


def orders(days: int) -> Report:
    freshness = catch_up([ORDER.name])
    by_day = _orders_by_day(freshness, days)
    return {**head(freshness), **_orders(_figures(freshness.generation, "orders.")), "byDay": by_day}


def notifications(days: int) -> Report:
    freshness = catch_up([NOTIFICATION.name])
    names = {status.value: f"notifications.{status}" for status in SETTLED}
    by_day = [
        {"date": day, **{status: int(values[name]) for status, name in names.items()}}
        for day, values in _series(freshness, list(names.values()), days)
    ]
    return {**head(freshness), **_notifications(_figures(freshness.generation, "notifications.")), "byDay": by_day}


def head(freshness: Freshness) -> Report:
    return {
        "asOf": freshness.as_of,
        "stale": freshness.stale,
        "currency": settings.CURRENCY,
        "timeZone": freshness.time_zone,
    }


def _figures(generation: int, prefix: str = "") -> Figures:
    rows = Figure.objects.filter(generation=generation)
    return _Figures((rows.filter(name__startswith=prefix) if prefix else rows).values_list("name", "value"))


class _Figures(dict[str, Decimal]):
    def __missing__(self, name: str) -> Decimal:
        return Decimal(0)


def _users(freshness: Freshness, figures: Figures) -> Report:
    rows = DailyFigure.objects.filter(generation=freshness.generation, name="users.new", date=_today(freshness))
    today = rows.values_list("value", flat=True).first()
    return {"total": int(figures["users.total"]), "newToday": int(today or 0)}


def _products(figures: Figures) -> Report:
    return {
        "total": int(figures["products.total"]),
        "outOfStock": int(figures["products.outOfStock"]),
        "stockUnits": int(figures["products.stockUnits"]),
        "stockValue": rounded(figures["products.stockValue"]),
    }


def _product_lists(generation: int) -> Report:
    """The products with low stock, and the top sellers."""
    rows = ProductFigure.objects.filter(generation=generation)
    listed = rows.filter(listed=True).order_by("stock", "product_id").values_list("product_id", "name", "stock")
    by_shop = listed.filter(low_stock_threshold=None, stock__lte=settings.LOW_STOCK)[:LISTED]
    by_product = listed.filter(stock__lte=F("low_stock_threshold"))[:LISTED]
    low = by_shop.union(by_product, all=True).order_by("stock", "product_id")[:LISTED]
    top = rows.filter(units__gt=0).order_by("-units", "product_id")
    return {
        "lowStock": [{"productId": str(product_id), "name": name, "stock": stock} for product_id, name, stock in low],
        "topSellers": [
            {"productId": str(product_id), "name": name, "units": units, "revenue": rounded(revenue)}
            for product_id, name, units, revenue in top.values_list("product_id", "name", "units", "revenue")[:LISTED]
        ],
    }


def _orders_by_day(freshness: Freshness, days: int) -> list[Report]:
    return [
        {"date": day, "orders": int(values["orders.placed"]), "revenue": rounded(values["orders.revenue"])}
        for day, values in _series(freshness, ["orders.placed", "orders.revenue"], days)
    ]


def _orders(figures: Figures) -> Report:
    paid, revenue = figures["orders.paid"], figures["orders.revenue"]
    return {
        "total": int(figures["orders.total"]),
        "byStatus": {status.value: int(figures[f"orders.status.{status}"]) for status in COUNTED},
        "revenue": rounded(revenue),
        "averageOrderValue": _average(revenue, paid),
    }


def _notifications(figures: Figures) -> Report:
    by_status = {status.value: int(figures[f"notifications.status.{status}"]) for status in SETTLED}
    return {"total": int(figures["notifications.total"]), "byStatus": by_status}


def _series(freshness: Freshness, names: Sequence[str], days: int) -> list[tuple[date, dict[str, Decimal]]]:
    """The values of each of the last ``days`` days including today, oldest first. Missing values are 0."""
    first = _today(freshness) - timedelta(days=days - 1)
    rows = DailyFigure.objects.filter(generation=freshness.generation, name__in=names, date__gte=first).values_list(
        "name", "date", "value"
    )
    found = {(name, day): value for name, day, value in rows}
    return [
        (day, {name: found.get((name, day), Decimal(0)) for name in names})
        for day in (first + timedelta(days=n) for n in range(days))
    ]


def _today(freshness: Freshness) -> date:
    return now().astimezone(ZoneInfo(freshness.time_zone)).date()
