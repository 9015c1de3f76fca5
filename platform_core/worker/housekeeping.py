"""Cleaners that every worker runs: expired idempotency keys, old events, delivered messages of the outbox, old jobs.

It also makes the partitions for new events.
"""

import threading
from collections.abc import Callable

from django.apps import apps
from django.conf import settings

from platform_core.api.idempotency import expired_keys
from platform_core.db.isolation import attempt_items, due_items, forget_settled, is_outage
from platform_core.events.history import look
from platform_core.events.partitions import Busy, make_ahead
from platform_core.events.retention import trim_feed
from platform_core.models import IdempotencyKey
from platform_core.worker.duties import Duty, report

BATCH = 1000


def expire_keys(stopping: threading.Event) -> bool:
    """Delete one batch of expired idempotency keys, oldest first. True if there may be more."""
    overdue = due_items("keys", IdempotencyKey.objects.filter(expired_keys())).order_by("created_at")
    ids = list(overdue.values_list("pk", flat=True)[:BATCH])
    attempt_items("keys", ids, lambda some: IdempotencyKey.objects.filter(pk__in=some).delete())
    return len(ids) == BATCH


def keep_house(stopping: threading.Event) -> bool:
    """Run one batch of each cleaner. None has to wait until another has finished, or stops because another fails."""
    cleaners: dict[str, Callable[[], bool]] = {
        "keys": lambda: expire_keys(stopping),
        "partitions": _make_partitions,
        "events": trim_feed,
        "outbox": _trim_outbox,
        "jobs": _trim_jobs,
        "failures": _forget_settled,
        "history": _watch,
    }
    results = [_has_more(name, clean) for name, clean in cleaners.items()]
    return any(results)


def _make_partitions() -> bool:
    try:
        return make_ahead()
    except Busy:
        return False


def _trim_outbox() -> bool:
    if not apps.is_installed("platform_core.outbox"):
        return False
    from platform_core.outbox.retention import trim_outbox

    return trim_outbox()


def _trim_jobs() -> bool:
    if not apps.is_installed("platform_core.jobs"):
        return False
    from platform_core.jobs.retention import trim_jobs

    return trim_jobs()


def _forget_settled() -> bool:
    forget_settled()
    return False


def _watch() -> bool:
    """Notice that the database has become another one, also while no request does."""
    if settings.SERVICE.has_feed:
        look()
    return False


def _has_more(name: str, clean: Callable[[], bool]) -> bool:
    try:
        return clean()
    except Exception as error:
        if is_outage(error):
            raise
        report(f"housekeeping:{name}", error)
        return False


HOUSEKEEPING = Duty("housekeeping", keep_house, pause=60.0)
