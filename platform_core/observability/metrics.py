"""Prometheus metrics. `deploy/monitoring` refers to their names.

All labels are bounded: routes are templates, outcomes and reasons come from short lists, no label has an id.
"""

from functools import cache

from prometheus_client import Counter, Gauge, Histogram

from platform_core.observability import metrics_files

metrics_files.share()  # before the first series is declared

_requests = Counter("http_requests_total", "Requests answered.", ["method", "route", "status"])
_seconds = Histogram(
    "http_request_duration_seconds",
    "Time to answer a request.",
    ["method", "route"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
_calls = Counter("peer_calls_total", "Calls to other services.", ["peer", "outcome"])
_call_seconds = Histogram(
    "peer_call_duration_seconds",
    "Time of a call to another service, including retries and the wait in the bulkhead.",
    ["peer"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
peer_retries = Counter("peer_retries_total", "Retries of calls to other services.", ["peer"])
peer_breakers_open = Gauge(
    "peer_breakers_open", "Processes whose breaker for a peer is not closed.", ["peer"], multiprocess_mode="livesum"
)
peer_places = Gauge(
    "peer_places", "How many requests may be in calls to other services at once.", multiprocess_mode="livesum"
)
peer_places_used = Gauge(
    "peer_places_used", "Requests that are in calls to other services.", multiprocess_mode="livesum"
)
feed_hidden_seconds = Gauge(
    "feed_hidden_seconds",
    "Age of the oldest committed event that an open transaction hides from the feed; as of its last reading.",
    multiprocess_mode="mostrecent",
)
feed_refused = Counter("feed_refused_total", "Feed requests for events that retention has deleted.")
feed_trimmed = Counter("feed_trimmed_total", "Events that retention has deleted.")
ignored_members = Counter(
    "body_members_ignored_total",
    "Members of bodies from other services that this version does not know, and ignores.",
    ["route"],
)
duty_failures = Counter("duty_failures_total", "Failed attempts to process an item of a background duty.", ["duty"])
outbox_deliveries = Counter("outbox_deliveries_total", "Attempts to deliver outbox messages.", ["kind", "outcome"])
jobs_finished = Counter("jobs_finished_total", "Jobs that have ended, by their state.", ["kind", "state"])
job_rows = Counter("job_rows_total", "Rows that jobs have settled, by outcome.", ["kind", "outcome"])
outbox_trimmed = Counter("outbox_trimmed_total", "Delivered outbox messages that retention has deleted.")


_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


def observe_request(method: str | None, route: str, status: int, seconds: float) -> None:
    """Count a request and its duration. ``route`` is the URL's template, so that ids create no new series."""
    count, duration = _series(known(method), route, status)
    count.inc()
    duration.observe(seconds)


@cache
def _series(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    return _requests.labels(method, route, status), _seconds.labels(method, route)


def observe_call(peer: str, outcome: str, seconds: float) -> None:
    """Count a call to a peer and its duration. ``outcome`` is `ok` or the name of the exception's class."""
    count, duration = _call_series(peer, outcome)
    count.inc()
    duration.observe(seconds)


@cache
def _call_series(peer: str, outcome: str) -> tuple[Counter, Histogram]:
    return _calls.labels(peer, outcome), _call_seconds.labels(peer)


def known(method: str | None) -> str:
    """The method, or one common label for unknown methods."""
    return method if method in _METHODS else "OTHER"
