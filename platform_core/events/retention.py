"""Retention: deletes, in batches, old events that lie below the horizon and were read by all known consumers."""

import logging
from datetime import datetime, timedelta
from functools import partial
from itertools import takewhile
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Now

from platform_core.db.isolation import attempt_item, due_again, due_items, is_outage
from platform_core.events.log import EPOCH, Position
from platform_core.events.models import Event, FeedConsumer, FeedStart
from platform_core.observability import metrics

BATCH = 1000
FORGOTTEN_AFTER = 3
"""A consumer that was not seen for this many retention periods is removed."""
log = logging.getLogger("platform.feed")

_DUTY = "events"
_OLDEST = f"""
    SELECT epoch, txid, id, time, time < now() - %s FROM events_event
    WHERE (epoch, txid, id) > (%s, %s, %s) AND (epoch, txid, id) <= (%s, %s, %s)
      AND (epoch, txid) < ({EPOCH}, pg_snapshot_xmin(pg_current_snapshot())::text::bigint)
    ORDER BY epoch, txid, id LIMIT %s
"""
_DELETE = "DELETE FROM events_event WHERE (epoch, txid, id) > (%s, %s, %s) AND (epoch, txid, id) <= (%s, %s, %s)"
_DELETE_ONE = "DELETE FROM events_event WHERE (epoch, txid, id) = (%s, %s, %s)"
_EVERYTHING = Position(2**31 - 1, 2**63 - 1, 2**63 - 1)


class _Old(NamedTuple):
    position: Position
    time: datetime


def trim_feed() -> bool:
    """Delete the oldest expired events, at most BATCH. True if there may be more.

    The first event that must stay ends the batch, so events are deleted only from the beginning of the feed. An event
    that cannot be deleted stays behind, is retried, and holds back no other. Does nothing while another worker trims
    the same feed.
    """
    forget_consumers()
    for position in due_again(_DUTY):
        attempt_item(_DUTY, position, partial(_delete_one, Position.parse(position)))
    with transaction.atomic():
        FeedStart.objects.get_or_create(pk=1, defaults={**_columns(Position()), "time": _long_ago()})
        start = FeedStart.objects.select_for_update(skip_locked=True).first()
        if start is None:
            return False
        after = Position(start.epoch, start.txid, start.sequence)
        overdue = _overdue(after)
        if overdue:
            _trim(after, overdue)
    metrics.feed_trimmed.inc(len(overdue))
    return len(overdue) == BATCH


def forget_consumers() -> None:
    """Remove consumers that were not seen for FORGOTTEN_AFTER retention periods."""
    limit = timedelta(days=settings.EVENT_RETENTION_DAYS * FORGOTTEN_AFTER)
    for consumer in due_items("consumers", FeedConsumer.objects.filter(seen_at__lt=Now() - limit)):
        if attempt_item("consumers", consumer.name, consumer.delete):
            log.warning("feed.consumer_forgotten", extra={"data": {"consumer": consumer.name}})


def _overdue(after: Position) -> list[_Old]:
    limit: Any = timedelta(days=settings.EVENT_RETENTION_DAYS)
    with connection.cursor() as cursor:
        cursor.execute(_OLDEST, [limit, *after, *_slowest(), BATCH])
        rows = list(takewhile(lambda row: row[4], cursor.fetchall()))
    return [_Old(Position(*row[:3]), row[3]) for row in rows]


def _slowest() -> Position:
    """The position of the known consumer that has read the least."""
    positions = FeedConsumer.objects.values_list("epoch", "txid", "sequence")
    return min((Position(*position) for position in positions), default=_EVERYTHING)


def _trim(after: Position, overdue: list[_Old]) -> None:
    """Delete the events together, or one by one if that fails."""
    last = overdue[-1]
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_DELETE, [*after, *last.position])
    except Exception as error:
        if is_outage(error):
            raise
        for old in overdue:
            attempt_item(_DUTY, old.position, partial(_delete_one, old.position))
    FeedStart.objects.update(**_columns(last.position), time=last.time)


def _delete_one(position: Position) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_DELETE_ONE, list(position))


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
