"""Isolates the items of a background duty: one that cannot be processed does not stop the others.

A failed item is logged, stored in `FailedItem`, and retried with growing delays. After `MAX_ATTEMPTS` it is parked
until an operator retries it. `/health`, `/metrics` and `manage.py verify` report what is parked. Delays are measured
by Postgres' clock.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

from django.db import Error, InterfaceError, OperationalError, connection, transaction
from django.db.models import Exists, Model, OuterRef, Q, QuerySet, TextField
from django.db.models.functions import Cast, Now

from platform_core.db.silence import watch
from platform_core.db.waiting import Unanswered
from platform_core.models import FailedItem
from platform_core.observability import metrics

MAX_ATTEMPTS = 10
FIRST_DELAY, LONGEST_DELAY = 2.0, 600.0
"""Seconds until the second attempt, and the limit of what the delays double to."""
COUNT_BOUND = 1000
M = TypeVar("M", bound=Model)
K = TypeVar("K")
log = logging.getLogger("platform.worker")

_STORE = """
    INSERT INTO platform_core_faileditem AS f (duty, item, attempts, error, failed_at, retry_at, parked_at)
    VALUES (%(duty)s, %(item)s, 1, %(error)s, clock_timestamp(),
            clock_timestamp() + %(first)s * interval '1 second', NULL)
    ON CONFLICT (duty, item) DO UPDATE SET
        attempts = f.attempts + 1, error = excluded.error,
        retry_at = clock_timestamp() + least(%(longest)s, %(first)s * 2.0 ^ f.attempts) * interval '1 second',
        parked_at = CASE WHEN f.attempts + 1 >= %(most)s THEN clock_timestamp() ELSE f.parked_at END
    RETURNING attempts, parked_at IS NOT NULL
"""
_COUNT = """
    SELECT count(*) FILTER (WHERE parked), count(*) FILTER (WHERE NOT parked)
    FROM (SELECT parked_at IS NOT NULL AS parked FROM platform_core_faileditem LIMIT %s) AS failed
"""
_OF_THE_SERVER = ("08", "25", "53", "57", "58", "XX")
"""SQLSTATE classes: connection, resources, read-only server, shutdown, system, internal."""
_CANCELLED = "57014"
"""A statement that has run into a limit of the server, usually because of its own rows."""
_THAW_SECONDS = 10.0
"""After a silence, Postgres cancels what had run out of time meanwhile, whichever statement that is."""


class Counted(NamedTuple):
    """Failed items of all duties: ``parked`` ones, and those that are still retried. Counted up to `COUNT_BOUND`."""

    parked: int
    retried: int


def attempt_item(duty: str, item: object, process: Callable[[], object]) -> bool:
    """Process one item in a transaction of its own. An error is logged and stored, with ``item``, the item's id.

    Returns whether it succeeded. Raises only if the database is unavailable, because then the item is not the cause.
    """
    try:
        with transaction.atomic():
            process()
            forget_failure(duty, item)
    except Exception as error:
        if is_outage(error):
            raise
        _store(duty, str(item), error)
        return False
    return True


def attempt_items(duty: str, items: Sequence[K], process: Callable[[Sequence[K]], object]) -> None:
    """Process items together, in one transaction; if that fails, each by itself.

    Raises if the database is unavailable.
    """
    try:
        with transaction.atomic():
            process(items)
            FailedItem.objects.filter(duty=duty, item__in=[str(item) for item in items]).delete()
    except Exception as error:
        if is_outage(error):
            raise
        for item in items:
            attempt_item(duty, item, lambda item=item: process([item]))  # type: ignore[misc]


def due_items(duty: str, rows: QuerySet[M]) -> QuerySet[M]:
    """``rows`` without those that are parked or whose delay is not over. An item's id is the primary key."""
    failed = FailedItem.objects.filter(duty=duty, item=Cast(OuterRef("pk"), TextField()))
    return rows.exclude(Exists(failed.filter(Q(parked_at__isnull=False) | Q(retry_at__gt=Now()))))


def due_again(duty: str) -> list[str]:
    """The ids of failed items whose delay is over, for a duty that does not find them by its own query."""
    failed = FailedItem.objects.filter(duty=duty, parked_at=None, retry_at__lte=Now())
    return list(failed.order_by("retry_at").values_list("item", flat=True)[:COUNT_BOUND])


def retry_parked(rows: QuerySet[FailedItem]) -> int:
    """Give parked items another series of attempts. Returns how many there were."""
    return rows.filter(parked_at__isnull=False).update(parked_at=None, attempts=0, retry_at=Now())


def forget_failure(duty: str, item: object) -> None:
    """Forget the failures of an item that was settled by other means."""
    FailedItem.objects.filter(duty=duty, item=str(item)).delete()


def forget_settled() -> None:
    """Forget items that are not parked, and that nobody has tried for a day: their duty does not find them any more."""
    FailedItem.objects.filter(parked_at=None, retry_at__lt=Now() - timedelta(days=1)).delete()


def counted() -> Counted:
    """How many items have failed. The table has rows of failed items only, so counting is cheap."""
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, [COUNT_BOUND])
        return Counted(*cursor.fetchone())


def is_outage(error: BaseException) -> bool:
    """Whether the database is unavailable. A violated constraint or a deadlock is no outage.

    A statement that took too long is one only if Postgres has just been silent: otherwise its rows are the cause.
    """
    if not isinstance(error, Error):
        return False
    if isinstance(error.__cause__, Unanswered):
        return watch.was_silent(_THAW_SECONDS)
    raw: Any = connection.connection
    if raw is None or raw.closed:
        return True
    state = getattr(error.__cause__, "sqlstate", None)
    if state is None:
        return isinstance(error, OperationalError | InterfaceError)
    if state == _CANCELLED:
        return watch.was_silent(_THAW_SECONDS)
    return state[:2] in _OF_THE_SERVER


def _store(duty: str, item: str, error: Exception) -> None:
    text = f"{type(error).__name__}: {error}".strip()[:2000]
    values = {"duty": duty, "item": item[:100], "error": text}
    limits = {"first": FIRST_DELAY, "longest": LONGEST_DELAY, "most": MAX_ATTEMPTS}
    with connection.cursor() as cursor:
        cursor.execute(_STORE, {**values, **limits})
        attempts, is_parked = cursor.fetchone()
    metrics.duty_failures.labels(duty).inc()
    log.error(
        "worker.item_parked" if is_parked else "worker.item_failed",
        extra={"data": {**values, "attempts": attempts}},
        exc_info=error,
    )
