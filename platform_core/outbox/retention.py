"""Retention: deletes the rows of messages that were delivered long ago."""

from django.conf import settings
from django.db import connection

from platform_core.observability import metrics

BATCH = 1000

# SKIP LOCKED, so that two workers do not wait for each other.
_DELETE = """
    DELETE FROM outbox_outboxmessage WHERE id IN (
        SELECT id FROM outbox_outboxmessage
        WHERE state = 'delivered' AND delivered_at < now() - make_interval(days => %s)
        ORDER BY delivered_at LIMIT %s FOR UPDATE SKIP LOCKED
    )
"""


def trim_outbox() -> bool:
    """Delete the oldest messages delivered more than ``OUTBOX_RETENTION_DAYS`` ago, at most BATCH.

    True if there may be more. Dead letters stay until an operator redrives them.
    """
    with connection.cursor() as cursor:
        cursor.execute(_DELETE, [settings.OUTBOX_RETENTION_DAYS, BATCH])
        deleted: int = cursor.rowcount
    metrics.outbox_trimmed.inc(deleted)
    return deleted == BATCH
