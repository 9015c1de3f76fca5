"""The dashboard, a page for the staff. It shows the current figures; its script refreshes them from the API."""

from functools import cached_property
from typing import Any

from django.conf import settings
from rest_framework.request import Request
from rest_framework.response import Response

from analytics_svc import platform_status, reports
from analytics_svc.serializers import DaysQuery
from platform_core.api import PageViewSet, read_query
from platform_core.auth import is_open
from platform_core.conf import decimals
from platform_core.http import context
from platform_core.topology import ORDER, PRODUCT, USER
from platform_core.vocabulary import HOLDING_STOCK, PLACED

RANGES = (7, 30, 90, 365)
FEED_TIMEOUT = 2.0
"""Maximum time in seconds that the page waits for the feeds. Its script asks again and shows what is missing."""


class Dashboard(PageViewSet):
    """Returns the page to browsers and its figures as JSON to programs."""

    template_name = "analytics_svc/dashboard.html"
    figures: dict[str, Any]

    def show(self, request: Request) -> Response:
        with context.within(FEED_TIMEOUT):
            freshness, figures = reports.overview(self.days)
        services = platform_status.platform()["services"]
        self.figures = {**reports.head(freshness), **figures, "services": services}
        return Response(self.figures, headers={"Cache-Control": "no-store"})

    @cached_property
    def days(self) -> int:
        days: int = read_query(self.request, DaysQuery)["days"]
        return days

    def page_context(self, request: Request) -> dict[str, Any]:
        by_day = self.figures["orders"]["byDay"]
        urls = {each.stem: settings.PEER_URLS[each.name] for each in (USER, PRODUCT, ORDER)}
        return {
            **self.figures,
            "service_name": settings.SERVICE_NAME,
            "ranges": RANGES,
            "days": self.days,
            "decimals": decimals(),
            "today": by_day[-1],
            "newest_first": by_day[::-1],
            "best": {name: max(by_day, key=lambda each: each[name]) for name in ("revenue", "orders")},
            "low_stock": settings.LOW_STOCK,
            "revenue_of": _listed([status.value for status in HOLDING_STOCK]),
            "no_revenue_of": _listed([status.value for status in PLACED if status not in HOLDING_STOCK]),
            "urls": urls if is_open() else None,
        }


def _listed(words: list[str]) -> str:
    """Joins words as in ``a, b and c``."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
