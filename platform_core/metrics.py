"""Prometheus metrics, summed over a service's worker processes when PROMETHEUS_MULTIPROC_DIR is set."""

import hmac
import os

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from platform_core.api.problems import problem_response
from platform_core.errors import NotAuthenticated

_requests = Counter("http_requests_total", "Requests answered.", ["method", "route", "status"])
_seconds = Histogram(
    "http_request_duration_seconds",
    "Time to answer a request.",
    ["method", "route"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
peer_calls = Counter("peer_calls_total", "Calls to other services.", ["peer", "outcome"])
peer_retries = Counter("peer_retries_total", "Calls to other services that were repeated.", ["peer"])
peer_breakers_open = Gauge(
    "peer_breakers_open", "Processes whose breaker for a peer is not closed.", ["peer"], multiprocess_mode="livesum"
)
feed_hidden_seconds = Gauge(
    "feed_hidden_seconds",
    "Age of the oldest committed event that an open transaction hides from the feed; as of its last reading.",
    multiprocess_mode="mostrecent",
)
feed_refused = Counter("feed_refused_total", "Consumers that came too late for what retention has deleted.")
feed_trimmed = Counter("feed_trimmed_total", "Events that retention has deleted.")
outbox_deliveries = Counter("outbox_deliveries_total", "Attempts to deliver outbox messages.", ["kind", "outcome"])


_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


def observe_request(method: str, route: str, status: int, seconds: float) -> None:
    """``route`` is the URL's template, so that ids make no new series; unheard-of methods share one."""
    method = method if method in _METHODS else "OTHER"
    _requests.labels(method, route, status).inc()
    _seconds.labels(method, route).observe(seconds)


def metrics(request: HttpRequest) -> HttpResponse:
    """``GET /metrics``: Prometheus text. In production for the scrape token, or from the machine itself."""
    if settings.PLATFORM_ENV == "production" and not (_has_token(request) or _is_local(request)):
        return problem_response(NotAuthenticated("This needs the scrape token as `Authorization: Bearer …`."))
    registry = REGISTRY
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _has_token(request: HttpRequest) -> bool:
    given = request.headers.get("Authorization", "").removeprefix("Bearer ").encode()
    return bool(settings.METRICS_TOKEN) and hmac.compare_digest(given, settings.METRICS_TOKEN.encode())


def _is_local(request: HttpRequest) -> bool:
    """Not by way of a proxy, which may stand on the same machine."""
    through_proxy = settings.NUM_PROXIES or "X-Forwarded-For" in request.headers or "Forwarded" in request.headers
    return not through_proxy and request.META.get("REMOTE_ADDR", "") in ("127.0.0.1", "::1")
