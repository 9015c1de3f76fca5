"""Retention: deletes old events that lie below the horizon and were read by all known consumers.

A partition to which no event is added any more is dropped as a whole. In the partition that is still written to, events
are deleted in batches. So an event may be kept for up to twice the retention, and the more events there are, the less.
"""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import takewhile
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Now

from platform_core.db.isolation import attempt_item, attempt_items, due_again, due_items, is_outage
from platform_core.events import partitions
from platform_core.events.log import EPOCH, POSITION, Position
from platform_core.events.models import Event, FeedConsumer, FeedStart
from platform_core.events.partitions import Partition
from platform_core.observability import metrics

BATCH = 1000
SCANNED = 100_000
"""How many ids of a partition one statement looks at."""
FORGOTTEN_AFTER = 3
"""A consumer that was not seen for this many retention periods is removed."""
log = logging.getLogger("platform.feed")

_DUTY = "events"
_MAY_GO = f"time < now() - %s AND (epoch, txid) < ({EPOCH}, pg_snapshot_xmin(pg_current_snapshot())::text::bigint)"
_OLDEST = f"""
    SELECT epoch, txid, id, time, {_MAY_GO} FROM events_event WHERE (epoch, txid, id) > {POSITION}
    ORDER BY epoch, txid, id LIMIT %s
"""
_GREATEST = f"""
    SELECT epoch, txid, id, time, {_MAY_GO} FROM "{{partition}}" ORDER BY epoch DESC, txid DESC, id DESC LIMIT 1
"""
_YOUNG = 'SELECT count(*), bool_or(time >= now() - %s) FROM "{partition}" WHERE id >= %s AND id < %s'
# Only what retention could not delete stays behind the start for longer.
_PASSED = f"""
    SELECT epoch, txid, id FROM events_event e
    WHERE (epoch, txid, id) <= {POSITION} AND NOT EXISTS (
        SELECT FROM platform_core_faileditem WHERE duty = %s AND item = concat_ws('-', e.epoch, e.txid, e.id)
    )
    ORDER BY epoch, txid, id LIMIT %s
"""
_DELETE_PASSED = "DELETE FROM events_event WHERE id = ANY(%s)"
_DELETE = "DELETE FROM events_event WHERE (epoch, txid, id) > (%s, %s, %s) AND (epoch, txid, id) <= (%s, %s, %s)"
_DELETE_ONE = "DELETE FROM events_event WHERE (epoch, txid, id) = (%s, %s, %s)"
_EVERYTHING = Position(2**31 - 1, 2**63 - 1, 2**63 - 1)


class _Event(NamedTuple):
    """``may_go``: it has expired, and lies below the horizon."""

    position: Position
    time: datetime
    may_go: bool


def trim_feed() -> bool:
    """Drop the oldest partition, or delete the oldest expired events, at most BATCH. True if there may be more.

    The first event that must stay ends the batch, so events are deleted only from the beginning of the feed. An event
    that cannot be deleted stays behind, is retried, and holds back no other. Does nothing while another worker trims
    the same feed.
    """
    forget_consumers()
    for position in due_again(_DUTY):
        attempt_item(_DUTY, position, partial(_delete_one, Position.parse(position)))
    full = partitions.full_partitions()
    if full and _drop(full[0]):
        return True
    passed = _delete_passed()
    with transaction.atomic():
        start = _lock_start()
        if start is None:
            return False
        after = Position(start.epoch, start.txid, start.sequence)
        overdue = _overdue(after, full)
        if overdue:
            _trim(after, overdue)
    metrics.feed_trimmed.inc(len(overdue))
    return passed == BATCH or len(overdue) == BATCH


def _drop(partition: Partition) -> bool:
    """Drop a partition if all of its events may be deleted; returns whether it did.

    The place of its last event becomes the start of the feed, in the same transaction. Events of other partitions
    before that place count as deleted, too. They were acknowledged with it, and are as old: they are of transactions
    that were open at the same time.
    """
    last = _greatest(partition)
    if last and not (last.may_go and last.position <= _slowest()):
        return False
    count = _expired(partition)
    if count is None:
        return False
    try:
        with transaction.atomic():
            start = _lock_start()
            if start is None:
                return False
            with partitions.changing("ACCESS EXCLUSIVE"):
                # Nobody can add events now. Until now a transaction might have had ids of this partition.
                if _greatest(partition) != last or (last and last.position > _slowest()):
                    return False
                if last and last.position > Position(start.epoch, start.txid, start.sequence):
                    FeedStart.objects.update(**_columns(last.position), time=last.time)
                partitions.drop(partition)
    except partitions.Busy:
        log.info("feed.partition_in_use", extra={"data": {"partition": partition.name}})
        return False
    metrics.feed_trimmed.inc(count)
    return True


def _greatest(partition: Partition) -> _Event | None:
    """The last event of a partition in the order of the feed; None if it is empty."""
    with connection.cursor() as cursor:
        cursor.execute(_GREATEST.format(partition=partition.name), [_retention()])
        row = cursor.fetchone()
    return _event(row) if row else None


def _expired(partition: Partition) -> int | None:
    """The number of events of a partition; None if one of them is not old enough, which a wrong clock may cause.

    Reads all of them, in short statements and outside of a transaction, which would hold back the feeds.
    """
    limit, total = _retention(), 0
    with connection.cursor() as cursor:
        cursor.execute(f'SELECT min(id), max(id) FROM "{partition.name}"')
        first, last = cursor.fetchone()
        for begin in range(first, last + 1, SCANNED) if first is not None else ():
            cursor.execute(_YOUNG.format(partition=partition.name), [limit, begin, begin + SCANNED])
            count, has_young = cursor.fetchone()
            if has_young:
                return None
            total += count
    return total


def _delete_passed() -> int:
    """Delete events before the start of the feed that lie in other partitions than the dropped one, at most BATCH."""
    start = FeedStart.objects.first()
    if start is None:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(_PASSED, [start.epoch, start.txid, start.sequence, _DUTY, BATCH])
        passed = [Position(*row) for row in cursor.fetchall()]
    if passed:
        attempt_items(_DUTY, passed, _delete_all)
        metrics.feed_trimmed.inc(len(passed))
    return len(passed)


def _delete_all(positions: Sequence[Position]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_DELETE_PASSED, [[position.sequence for position in positions]])


def _lock_start() -> FeedStart | None:
    """Lock the start of the feed until the transaction ends. None if another worker has locked it."""
    FeedStart.objects.get_or_create(pk=1, defaults={**_columns(Position()), "time": _long_ago()})
    return FeedStart.objects.select_for_update(skip_locked=True).first()


def forget_consumers() -> None:
    """Remove consumers that were not seen for FORGOTTEN_AFTER retention periods."""
    limit = timedelta(days=settings.EVENT_RETENTION_DAYS * FORGOTTEN_AFTER)
    for consumer in due_items("consumers", FeedConsumer.objects.filter(seen_at__lt=Now() - limit)):
        if attempt_item("consumers", consumer.name, consumer.delete):
            log.warning("feed.consumer_forgotten", extra={"data": {"consumer": consumer.name}})


def _overdue(after: Position, full: Sequence[Partition]) -> list[_Event]:
    """The events at the beginning of the feed that may be deleted, up to the first of a partition to be dropped."""
    slowest, limit = _slowest(), _retention()
    with connection.cursor() as cursor:
        cursor.execute(_OLDEST, [limit, *after, BATCH])
        events = [_event(row) for row in cursor.fetchall()]
    return list(takewhile(lambda e: e.may_go and e.position <= slowest and not _is_in(e, full), events))


def _is_in(event: _Event, full: Sequence[Partition]) -> bool:
    return any(each.lower <= event.position.sequence < each.upper for each in full)


def _event(row: tuple[Any, ...]) -> _Event:
    return _Event(Position(*row[:3]), *row[3:])


def _retention() -> Any:
    return timedelta(days=settings.EVENT_RETENTION_DAYS)


def _slowest() -> Position:
    """The position of the known consumer that has read the least."""
    positions = FeedConsumer.objects.values_list("epoch", "txid", "sequence")
    return min((Position(*position) for position in positions), default=_EVERYTHING)


def _trim(after: Position, overdue: list[_Event]) -> None:
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
            f"SELECT time FROM {Event._meta.db_table} WHERE (epoch, txid, id) > {POSITION} "
            "ORDER BY epoch, txid, id LIMIT 1",
            [consumer.epoch, consumer.txid, consumer.sequence],
        )
        row = cursor.fetchone()
    return row[0] if row else None
