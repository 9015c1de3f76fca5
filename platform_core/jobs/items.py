"""Jobs over many rows, each in a transaction of its own."""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.db import transaction
from django.db.models import F, Model, Q
from django.db.models.functions import Now

from platform_core.conf.failpoints import reached
from platform_core.db.isolation import is_outage
from platform_core.http.errors import PlatformError
from platform_core.jobs.models import Job, JobItem
from platform_core.jobs.queue import MAX_ATTEMPTS, LeaseLost, StopRequested, waiting_items
from platform_core.jobs.running import Run, Yielded, backoff
from platform_core.observability import metrics

BATCH = 50
MAX_REASON = 500
"""The most characters that are kept of a reason."""
_KILLED = "The worker ended while it worked on this row."
log = logging.getLogger("platform.jobs")


def each_item(process: Callable[[Job, int], bool]) -> Callable[[Run], None]:
    """The ``run`` of a kind that calls ``process(job, key)`` for each row.

    ``process`` returns whether it changed the row. Its changes are committed together with the job's progress, so it
    may change nothing but this database. A PlatformError with a status below 500 refuses the row and is its reason.
    After any other error the row is tried again, at most `MAX_ATTEMPTS` times, while the other rows go on.
    """

    def run(run: Run) -> None:
        if run.job.lease_expired:
            _charge_first(run)
        while items := list(_due(run.job)[:BATCH]):
            for item in items:
                run.check_turn()
                _attempt(run, item, process)
        if (delay := _delay(run.job)) is not None:
            raise Yielded(delay)

    return run


def log_change(job: Job, row: Model, message: str) -> None:
    """Record a change in the history of ``row`` in the admin, under the name of who started the job."""
    if job.user_id is not None:
        LogEntry.objects.log_actions(job.user_id, [row], CHANGE, f"{message} (job {job.pk})", single_object=True)


def _due(job: Job) -> Any:
    return waiting_items(job).filter(Q(retry_at=None) | Q(retry_at__lte=Now()))


def _delay(job: Job) -> timedelta | None:
    """The time until the next row is tried again; None if no row is left."""
    delays = waiting_items(job).order_by("retry_at").values_list(F("retry_at") - Now(), flat=True)
    return next((max(delay, timedelta()) for delay in delays[:1]), None)


def _attempt(run: Run, item: JobItem, process: Callable[[Job, int], bool]) -> None:
    try:
        with transaction.atomic():
            changed = process(run.job, item.key)
            _settle(run, item, JobItem.State.CHANGED if changed else JobItem.State.UNCHANGED)
            reached("job.item")
    except (LeaseLost, StopRequested):
        raise
    except Exception as error:
        if is_outage(error):
            raise
        _fail(run, item, error)
    else:
        reached("job.item_done")


def _fail(run: Run, item: JobItem, error: Exception) -> None:
    is_rule = isinstance(error, PlatformError) and error.status < 500
    reason = error.detail if isinstance(error, PlatformError) else f"{type(error).__name__}: {error}".strip()
    if not is_rule:
        log.error("job.row_failed", extra={"data": _data(run.job, item)}, exc_info=error)
    with transaction.atomic():
        if is_rule or item.attempts + 1 >= MAX_ATTEMPTS:
            _settle(run, item, JobItem.State.REFUSED, reason)
        else:
            _retry_later(item, reason)
            run.commit()


def _settle(run: Run, item: JobItem, state: str, reason: str = "") -> None:
    """Settle the row and count it. Raises LeaseLost, which rolls back, if another worker has settled it."""
    values = {"state": state, "reason": reason[:MAX_REASON], "attempts": item.attempts + 1}
    if not JobItem.objects.filter(pk=item.pk, state=JobItem.State.WAITING).update(**values):
        raise LeaseLost
    changed, refused = int(state == JobItem.State.CHANGED), int(state == JobItem.State.REFUSED)
    run.commit(1, changed, refused)
    transaction.on_commit(lambda: metrics.job_rows.labels(run.job.kind, state).inc())


def _retry_later(item: JobItem, reason: str) -> None:
    rows = JobItem.objects.filter(pk=item.pk, state=JobItem.State.WAITING)
    attempts = item.attempts + 1
    rows.update(attempts=attempts, reason=reason[:MAX_REASON], retry_at=Now() + backoff(item.attempts))


def _charge_first(run: Run) -> None:
    """Count an attempt for the row that a dead worker was working on, which was the first that was due."""
    item = _due(run.job).first()
    with transaction.atomic():
        if item is None:
            run.commit()
        elif item.attempts + 1 >= MAX_ATTEMPTS:
            _settle(run, item, JobItem.State.REFUSED, _KILLED)
        else:
            _retry_later(item, _KILLED)
            run.commit()


def _data(job: Job, item: JobItem) -> dict[str, Any]:
    return {"jobId": str(job.pk), "kind": job.kind, "key": str(item.key)}
