"""The dashboard, a page for the staff. Its script reloads it every few seconds and replaces what has changed."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from django.conf import settings
from rest_framework.request import Request
from rest_framework.response import Response

from analytics_svc import platform_status, reports
from analytics_svc.platform_status import OVERDUE_BOUND
from analytics_svc.serializers import DaysQuery
from analytics_svc.templatetags import figures as formats
from platform_core.api import PageViewSet, read_query
from platform_core.auth import is_open
from platform_core.conf import amount_text
from platform_core.http import context, link
from platform_core.topology import ANALYTICS, NOTIFICATION, ORDER, PRODUCT, SERVICES, USER
from platform_core.vocabulary import HOLDING_STOCK, PLACED, OrderStatus

RANGES = (7, 30, 90, 366)
FIRST_FEED_TIMEOUT = 1.0
"""Maximum time in seconds that a person waits for the feeds. The page names the services that are missing."""
FEED_TIMEOUT = 2.0
"""The same for the script's requests, which nobody waits for."""
_ADMIN = "/admin/"
_LISTS = {
    "products": (PRODUCT, "product_svc/product/"),
    "orders": (ORDER, "order_svc/order/"),
    "users": (USER, "user_svc/user/"),
    "notifications": (NOTIFICATION, "notification_svc/notification/"),
    "positions": (ANALYTICS, "analytics_svc/feedposition/"),
}
"""The lists that figures lead to, in the admins of their services."""


class Dashboard(PageViewSet):
    """Returns the page to browsers and its figures as JSON to programs."""

    template_name = "analytics_svc/dashboard.html"
    may_be_polled = True
    figures: dict[str, Any]

    def show(self, request: Request) -> Response:
        with context.within(FEED_TIMEOUT if context.current().is_poll else FIRST_FEED_TIMEOUT):
            freshness, figures = reports.overview(self.days)
        platform = platform_status.platform()
        found = {"services": platform["services"], "overdueOrders": platform["overdueOrders"]}
        self.figures = {**reports.head(freshness), **figures, **found}
        return Response(self.figures, headers={"Cache-Control": "no-store"})

    @cached_property
    def days(self) -> int:
        days: int = read_query(self.request, DaysQuery)["days"]
        return days

    def page_context(self, request: Request) -> dict[str, Any]:
        by_day = self.figures["orders"]["byDay"]
        urls = {each.stem: settings.PEER_URLS[each.name] for each in (USER, PRODUCT, ORDER)}
        services = [{**each, "dead": (each["outbox"] or {}).get("dead") or 0} for each in self.figures["services"]]
        return {
            **self.figures,
            "services": [{**each, **_links_of(each["service"], request)} for each in services],
            "service_name": settings.SERVICE_NAME,
            "ranges": RANGES,
            "days": self.days,
            "today": by_day[-1],
            "newest_first": by_day[::-1],
            "bars": [_bar(each, self.figures["currency"]) for each in by_day],
            "best": {name: max(by_day, key=lambda each: each[name]) for name in ("revenue", "orders")},
            "low_stock": settings.LOW_STOCK,
            "overdue_bound": OVERDUE_BOUND,
            "overdue_seconds": settings.PENDING_SECONDS,
            "to_ship": self.figures["orders"]["byStatus"][OrderStatus.CONFIRMED.value],
            "dead": sum(each["dead"] for each in services),
            "revenue_of": _listed([status.value for status in HOLDING_STOCK]),
            "no_revenue_of": _listed([status.value for status in PLACED if status not in HOLDING_STOCK]),
            "urls": urls if is_open() else None,
            "lists": {name: link(service, _ADMIN + path, request) for name, (service, path) in _LISTS.items()},
        }


def _links_of(name: str, request: Request) -> dict[str, str]:
    """The addresses of a service's admin, and of its dead messages."""
    service = next(each for each in SERVICES if each.name == name)
    admin = link(service, _ADMIN, request)
    return {"admin": admin, "dead_messages": f"{admin}outbox/outboxmessage/?state=dead"}


def _bar(each: Mapping[str, Any], currency: str) -> dict[str, Any]:
    """A day for the charts: its numbers, and the texts that they show."""
    date, orders = each["date"], each["orders"]
    return {
        "label": f"{date.day} {date:%b}",
        "title": formats.day(date),
        "orders": orders,
        "ordersText": f"{orders:,} {'order' if orders == 1 else 'orders'}",
        "revenue": float(each["revenue"]),
        "revenueText": f"{amount_text(each['revenue'], currency, grouped=True)} {currency}",
    }


def _listed(words: list[str]) -> str:
    """Joins words as in ``a, b and c``."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
