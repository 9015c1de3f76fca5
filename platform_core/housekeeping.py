"""What every service with a worker does now and then: forget what nobody will ask for again."""

import threading
from datetime import timedelta

from django.conf import settings
from django.utils.timezone import now

from platform_core.models import IdempotencyKey
from platform_core.worker import Duty

BATCH = 1000


def expire_keys(stopping: threading.Event) -> bool:
    """Delete keys whose time is over, oldest first; True when there may be more."""
    limit = now() - timedelta(hours=settings.IDEMPOTENCY_HOURS)
    overdue = IdempotencyKey.objects.filter(created_at__lt=limit).order_by("created_at")[:BATCH]
    deleted, _ = IdempotencyKey.objects.filter(pk__in=list(overdue.values_list("pk", flat=True))).delete()
    return deleted == BATCH


HOUSEKEEPING = Duty("housekeeping", expire_keys, pause=60.0)
