"""Cleaners that every worker runs: expired idempotency keys and old events."""

import threading
from datetime import timedelta

from django.conf import settings
from django.utils.timezone import now

from platform_core.events.retention import trim_feed
from platform_core.models import IdempotencyKey
from platform_core.worker.duties import Duty

BATCH = 1000


def expire_keys(stopping: threading.Event) -> bool:
    """Delete one batch of expired idempotency keys, oldest first. True if there may be more."""
    limit = now() - timedelta(hours=settings.IDEMPOTENCY_HOURS)
    overdue = IdempotencyKey.objects.filter(created_at__lt=limit).order_by("created_at")[:BATCH]
    deleted, _ = IdempotencyKey.objects.filter(pk__in=list(overdue.values_list("pk", flat=True))).delete()
    return deleted == BATCH


def keep_house(stopping: threading.Event) -> bool:
    """Run one batch of each cleaner, so that neither has to wait until the other has finished."""
    more_keys = expire_keys(stopping)
    return trim_feed() or more_keys


HOUSEKEEPING = Duty("housekeeping", keep_house, pause=60.0)
