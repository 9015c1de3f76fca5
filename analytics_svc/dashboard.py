"""The dashboard: one page for the staff. It shows the figures of the moment; its script renews them by the API."""

from typing import Any

from django.conf import settings
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated
from rest_framework.request import Request
from rest_framework.views import APIView

from analytics_svc import platform_status, reports
from analytics_svc.serializers import DaysQuery
from platform_core.api.problems import problem_response, translated
from platform_core.api.queries import read_query
from platform_core.auth.access import is_open
from platform_core.http import context
from platform_core.topology import ORDER, PRODUCT, USER
from platform_core.vocabulary import HOLDING_STOCK, PLACED

RANGES = (7, 30, 90, 365)
PATIENCE = 2.0
"""Seconds. The page does not wait longer for the feeds; its script asks again, and says what is missing."""


class Dashboard(APIView):
    """A page, whatever is asked for; programs are told errors as problems, and browsers are shown the way in."""

    schema = None

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        return super().perform_content_negotiation(request, force=True)

    def get(self, request: Request) -> HttpResponse:
        days = read_query(request, DaysQuery)["days"]
        response = render(request, "analytics_svc/dashboard.html", _page(days))
        response["Cache-Control"] = "no-store"
        return response

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return HttpResponse(status=204, headers={"Allow": "GET, HEAD, OPTIONS"})

    def handle_exception(self, exc: Exception) -> Any:
        if isinstance(exc, NotAuthenticated) and "text/html" in self.request.headers.get("Accept", ""):
            return HttpResponseRedirect(f"{reverse('admin:login')}?next={self.request.path}")
        if isinstance(exc, NotAuthenticated | AuthenticationFailed):
            exc.auth_header = self.get_authenticate_header(self.request)  # type: ignore[union-attr]
        error = translated(exc)
        if error.status == 500:
            raise exc
        return problem_response(error, self.request)


def _page(days: int) -> dict[str, Any]:
    with context.within(PATIENCE):
        freshness, figures = reports.overview(days)
    by_day = figures["orders"]["byDay"]
    return {
        "service_name": settings.SERVICE_NAME,
        "ranges": RANGES,
        "days": days,
        "freshness": freshness,
        **figures,
        "today": by_day[-1],
        "newest_first": by_day[::-1],
        "best": {name: max(by_day, key=lambda each: each[name]) for name in ("revenue", "orders")},
        "platform": platform_status.platform()["services"],
        "low_stock": settings.LOW_STOCK,
        "revenue_of": _listed([status.value for status in HOLDING_STOCK]),
        "no_revenue_of": _listed([status.value for status in PLACED if status not in HOLDING_STOCK]),
        "urls": {each.stem: settings.PEER_URLS[each.name] for each in (USER, PRODUCT, ORDER)} if is_open() else None,
    }


def _listed(words: list[str]) -> str:
    """``a, b and c``"""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
