"""Prometheus metrics, summed over a service's worker processes when PROMETHEUS_MULTIPROC_DIR is set."""

import os

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
outbox_deliveries = Counter("outbox_deliveries_total", "Attempts to deliver outbox messages.", ["kind", "outcome"])


_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


def observe_request(method: str, route: str, status: int, seconds: float) -> None:
    """``route`` is the URL's template, so that ids make no new series; unheard-of methods share one."""
    method = method if method in _METHODS else "OTHER"
    _requests.labels(method, route, status).inc()
    _seconds.labels(method, route).observe(seconds)


def metrics(request: HttpRequest) -> HttpResponse:
    """``GET /metrics``: Prometheus text."""
    registry = REGISTRY
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
