"""`/metrics`: the sums of the counters of all processes of a service, and figures from its database.

The processes share their counters in files if PROMETHEUS_MULTIPROC_DIR is set. The database is queried at each scrape,
so its figures appear once for any number of processes, and also when no worker runs.
"""

import hmac
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from django.apps import apps
from django.conf import settings
from django.db import Error, connection
from django.http import HttpRequest, HttpResponse
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from platform_core.http.errors import NotAuthenticated, PlatformError
from platform_core.http.problems import problem_response

_STATES = ("active", "idle", "idle in transaction")
_CONNECTIONS = """
    SELECT coalesce(state, 'other'), count(*), current_setting('max_connections')::int
    FROM pg_stat_activity WHERE usename = current_user AND datname = current_database() GROUP BY 1
"""


def metrics(request: HttpRequest) -> HttpResponse:
    """``GET /metrics``: Prometheus text. In production it needs the scrape token or a local client."""
    if not (is_allowed(request.headers.get("Authorization", "")) or _is_local(request)):
        return problem_response(NotAuthenticated("This needs the scrape token as `Authorization: Bearer …`."))
    return HttpResponse(counted() + generate_latest(_looked_up), content_type=CONTENT_TYPE_LATEST)


def counted() -> bytes:
    """The counters of this process, or of all processes that share the folder."""
    registry = REGISTRY
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def is_allowed(authorization: str) -> bool:
    """Whether the value of the Authorization header allows reading the metrics."""
    if settings.PLATFORM_ENV != "production":
        return True
    given = authorization.removeprefix("Bearer ").encode()
    return bool(settings.METRICS_TOKEN) and hmac.compare_digest(given, settings.METRICS_TOKEN.encode())


def _is_local(request: HttpRequest) -> bool:
    """Whether the request comes from this machine, not through a proxy that runs on it."""
    through_proxy = settings.NUM_PROXIES or "X-Forwarded-For" in request.headers or "Forwarded" in request.headers
    return not through_proxy and request.META.get("REMOTE_ADDR", "") in ("127.0.0.1", "::1")


_own: list[Callable[[], Iterable[Metric]]] = []


def at_each_scrape(look: Callable[[], Iterable[Metric]]) -> None:
    """Add figures that a service looks up in its database at each scrape. Call it when the service's app is ready."""
    _own.append(look)


class _Database(Collector):
    """Queries the database at each scrape. The cost does not depend on the number of messages."""

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("database_up", "Whether the database answers.", value=1)
        try:
            found = [
                *_connections(),
                *_outbox(),
                *_jobs(),
                *_duties(),
                *_history(),
                *(each for look in _own for each in look()),
            ]
        except (Error, PlatformError):
            up.samples[0] = up.samples[0]._replace(value=0)
            found = []
        yield from [up, *found]


def _connections() -> Iterator[Metric]:
    with connection.cursor() as cursor:
        cursor.execute(_CONNECTIONS)
        rows = cursor.fetchall()
    used = GaugeMetricFamily("database_connections", "Connections of this service to Postgres.", labels=["state"])
    for state, number in {**dict.fromkeys(_STATES, 0), **{state: number for state, number, _ in rows}}.items():
        used.add_metric([state], number)
    yield used
    limit = rows[0][2]  # our own connection is among them
    yield GaugeMetricFamily(
        "database_connections_limit", "The limit of connections of the Postgres server (max_connections).", limit
    )


def _outbox() -> Iterator[Metric]:
    if not apps.is_installed("platform_core.outbox"):
        return
    from platform_core.outbox.depth import DEPTH_BOUND, depth

    found = depth()
    bound = f"counted up to {DEPTH_BOUND}."
    yield GaugeMetricFamily("outbox_pending_messages", f"Messages that wait for delivery, {bound}", found.pending)
    yield GaugeMetricFamily("outbox_dead_messages", f"Messages that were given up (dead letters), {bound}", found.dead)
    age = found.oldest_seconds or 0
    yield GaugeMetricFamily("outbox_oldest_message_age_seconds", "Age of the oldest message that waits.", age)


def _jobs() -> Iterator[Metric]:
    if not apps.is_installed("platform_core.jobs"):
        return
    from platform_core.jobs.depth import unfinished

    found = unfinished()
    yield GaugeMetricFamily("jobs_unfinished", "Jobs that wait, run or are being stopped.", found.number)
    age = found.oldest_seconds or 0
    yield GaugeMetricFamily("job_oldest_age_seconds", "Age of the oldest job that has not finished.", age)


def _duties() -> Iterator[Metric]:
    from platform_core.db.isolation import COUNT_BOUND, counted

    failed = counted()
    bound = f"counted up to {COUNT_BOUND}."
    yield GaugeMetricFamily("duty_items_parked", f"Items that background duties have given up, {bound}", failed.parked)
    yield GaugeMetricFamily("duty_items_retried", f"Failed items that are retried, {bound}", failed.retried)


def _history() -> Iterator[Metric]:
    if not settings.SERVICE.has_feed:
        return
    from platform_core.events.history import stored_loss

    lost = 1 if stored_loss() else 0
    yield GaugeMetricFamily("database_history_lost", "Whether the database has lost committed transactions.", lost)


_looked_up = CollectorRegistry()
_looked_up.register(_Database())


def serve(host: str, port: int) -> None:
    """Serve ``GET /metrics`` and ``GET /health/live`` from a daemon thread, for workers.

    The metrics are the counters of this process; the web serves the figures from the database. `/health/live` needs no
    token. It is answered while the process runs and its threads get their turn.
    """
    server = make_server(host, port, _answer, server_class=_Server, handler_class=_Handler)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    timeout = 5.0

    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes are not logged."""


def _answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    status, body, content_type = "200 OK", b"", CONTENT_TYPE_LATEST
    path = environ["PATH_INFO"].rstrip("/")
    if path not in ("/metrics", "/health/live") or environ["REQUEST_METHOD"] != "GET":
        status = "404 Not Found"
    elif path == "/health/live":
        body, content_type = b'{"status": "ok"}', "application/json"
    elif not is_allowed(environ.get("HTTP_AUTHORIZATION", "")):
        status = "401 Unauthorized"
    else:
        body = counted()
    headers = [("Content-Type", content_type), ("Content-Length", str(len(body)))]
    start_response(status, [*headers, *([("WWW-Authenticate", "Bearer")] if status[:3] == "401" else [])])
    return [body]
