"""Retention: deletes, in batches, old events that lie below the horizon and were read by all known consumers."""

import logging
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Now

from platform_core.events.log import EPOCH, Position
from platform_core.events.models import Event, FeedConsumer, FeedStart
from platform_core.observability import metrics

BATCH = 1000
FORGOTTEN_AFTER = 3
"""A consumer that was not seen for this many retention periods is removed."""
log = logging.getLogger("platform.feed")

_OLDEST = f"""
    SELECT epoch, txid, id, time, time < now() - %s FROM events_event
    WHERE (epoch, txid, id) <= (%s, %s, %s)
      AND (epoch, txid) < ({EPOCH}, pg_snapshot_xmin(pg_current_snapshot())::text::bigint)
    ORDER BY epoch, txid, id LIMIT %s
"""
_DELETE = "DELETE FROM events_event WHERE (epoch, txid, id) <= (%s, %s, %s)"
_EVERYTHING = Position(2**31 - 1, 2**63 - 1, 2**63 - 1)


class _Old(NamedTuple):
    position: Position
    time: datetime


def trim_feed() -> bool:
    """Delete the oldest expired events, at most BATCH. True if there may be more.

    The first event that must stay ends the batch, so events are deleted only from the beginning of the feed. Does
    nothing while another worker trims the same feed.
    """
    forget_consumers()
    with transaction.atomic():
        FeedStart.objects.get_or_create(pk=1, defaults={**_columns(Position()), "time": _long_ago()})
        if not FeedStart.objects.select_for_update(skip_locked=True).exists():
            return False
        overdue = _overdue()
        if overdue:
            _trim(overdue[-1])
    metrics.feed_trimmed.inc(len(overdue))
    return len(overdue) == BATCH


def forget_consumers() -> None:
    """Remove consumers that were not seen for FORGOTTEN_AFTER retention periods."""
    limit = timedelta(days=settings.EVENT_RETENTION_DAYS * FORGOTTEN_AFTER)
    for consumer in FeedConsumer.objects.filter(seen_at__lt=Now() - limit):
        consumer.delete()
        log.warning("feed.consumer_forgotten", extra={"data": {"consumer": consumer.name}})


def _overdue() -> list[_Old]:
    limit: Any = timedelta(days=settings.EVENT_RETENTION_DAYS)
    with connection.cursor() as cursor:
        cursor.execute(_OLDEST, [limit, *_slowest(), BATCH])
        rows = list(takewhile(lambda row: row[4], cursor.fetchall()))
    return [_Old(Position(*row[:3]), row[3]) for row in rows]


def _slowest() -> Position:
    """The position of the known consumer that has read the least."""
    positions = FeedConsumer.objects.values_list("epoch", "txid", "sequence")
    return min((Position(*position) for position in positions), default=_EVERYTHING)


def _trim(last: _Old) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_DELETE, list(last.position))
    FeedStart.objects.update(**_columns(last.position), time=last.time)


def _columns(position: Position) -> dict[str, int]:
    return {"epoch": position.epoch, "txid": position.txid, "sequence": position.sequence}


def _long_ago() -> datetime:
    return datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def waiting_since(consumer: FeedConsumer) -> datetime | None:
    """The time of the oldest event that the consumer has not acknowledged; None if it has read all of them."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT time FROM {Event._meta.db_table} WHERE (epoch, txid, id) > (%s, %s, %s) "
            "ORDER BY epoch, txid, id LIMIT 1",
            [consumer.epoch, consumer.txid, consumer.sequence],
        )
        row = cursor.fetchone()
    return row[0] if row else None
