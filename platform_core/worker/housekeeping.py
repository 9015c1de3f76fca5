"""Cleaners that every worker runs: expired idempotency keys, old events, and delivered messages of the outbox."""

import threading

from django.apps import apps

from platform_core.api.idempotency import expired_keys
from platform_core.events.retention import trim_feed
from platform_core.models import IdempotencyKey
from platform_core.worker.duties import Duty

BATCH = 1000


def expire_keys(stopping: threading.Event) -> bool:
    """Delete one batch of expired idempotency keys, oldest first. True if there may be more."""
    overdue = IdempotencyKey.objects.filter(expired_keys()).order_by("created_at")[:BATCH]
    deleted, _ = IdempotencyKey.objects.filter(pk__in=list(overdue.values_list("pk", flat=True))).delete()
    return deleted == BATCH


def keep_house(stopping: threading.Event) -> bool:
    """Run one batch of each cleaner, so that none has to wait until another has finished."""
    more = [expire_keys(stopping), trim_feed()]
    if apps.is_installed("platform_core.outbox"):
        from platform_core.outbox.retention import trim_outbox

        more.append(trim_outbox())
    return any(more)


HOUSEKEEPING = Duty("housekeeping", keep_house, pause=60.0)
