"""The partitions of the event table: made before they are needed, and dropped as a whole.

The table is partitioned by ranges of `id`. Ids come from a sequence, so events fill one partition after the other, but
an event's place in the feed is (epoch, txid, id): partitions may overlap in the order of the feed. Ids for which there
is no partition go to the default partition, so an insert never fails. See docs/decisions/0021.
"""

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from django.db import OperationalError, connection, transaction
from psycopg.errors import LockNotAvailable

TABLE = "events_event"
SIZE = 1_000_000
"""The least number of ids of a partition."""
AHEAD = 2
"""How many empty partitions are kept ready."""
KEPT = 16
"""A new partition has at least this part of the ids that are kept, so that there are never many partitions."""
ROOM = 10_000
"""The least distance of a new partition from the newest id, if the default partition is in use."""
LOCK_MILLISECONDS = 200
"""How long a change of the partitions waits for its locks. Others queue behind it for as long."""
log = logging.getLogger("platform.feed")

_ALL = """
    SELECT c.relname, pg_get_expr(c.relpartbound, c.oid)
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = %s::regclass
"""
_LAST_ID = "SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence(%s, 'id')::regclass), 0)"
_RANGE = re.compile(r"FOR VALUES FROM \((?:MINVALUE|'(-?\d+)')\) TO \('(\d+)'\)")
_LOWEST = -(2**63)


class Busy(Exception):
    """A lock was not free in time. Nothing was changed; try again later."""


class Partition(NamedTuple):
    """A partition of the ids from ``lower`` up to, but without, ``upper``."""

    name: str
    lower: int
    upper: int


def partitions() -> list[Partition]:
    """All partitions but the default one, in the order of their ids."""
    with connection.cursor() as cursor:
        cursor.execute(_ALL, [TABLE])
        found = ((name, _RANGE.fullmatch(bound)) for name, bound in cursor.fetchall())
    ranges = [Partition(name, _LOWEST if m[1] is None else int(m[1]), int(m[2])) for name, m in found if m]
    return sorted(ranges, key=lambda each: each.lower)


def full_partitions() -> list[Partition]:
    """The partitions to which no event is added any more, because their ids have been assigned."""
    last = _last_id()
    return [each for each in partitions() if each.upper <= last]


def make_ahead() -> bool:
    """Make one partition if fewer than `AHEAD` are ready. True if more are missing.

    Until there is a partition, events go to the default one. Raises Busy.
    """
    if _missing() <= 0:
        return False
    with changing("SHARE UPDATE EXCLUSIVE"):  # only one worker at a time
        missing = _missing()
        if missing > 0:
            _make()
    return missing > 1


def drop(partition: Partition) -> None:
    """Drop a partition with its events, within `changing("ACCESS EXCLUSIVE")`."""
    with connection.cursor() as cursor:
        cursor.execute(f'DROP TABLE "{partition.name}"')
    log.info("feed.partition_dropped", extra={"data": {"partition": partition.name}})


@contextmanager
def changing(mode: str) -> Iterator[None]:
    """A transaction that holds a lock on the partitioned table. ACCESS EXCLUSIVE waits for all who use the table.

    Raises Busy if a lock is not free within `LOCK_MILLISECONDS`.
    """
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_MILLISECONDS}ms'")
                cursor.execute(f"LOCK TABLE ONLY {TABLE} IN {mode} MODE")
            yield
    except OperationalError as error:
        if not isinstance(error.__cause__, LockNotAvailable):
            raise
        raise Busy("The event table is in use.") from error


def _missing() -> int:
    newest = _newest_id()
    return AHEAD - sum(each.lower > newest for each in partitions())


def _make() -> None:
    newest, present = _newest_id(), partitions()
    top = present[-1].upper if present else 0
    if top <= newest:  # ids have gone to the default partition; a partition begins where it has none
        top = _rounded_up(newest + ROOM)
    size = max(SIZE, _rounded_up((newest - _oldest_id(newest)) // KEPT))
    name = f"{TABLE}_from_{top}"
    with connection.cursor() as cursor:
        # ATTACH lets others write meanwhile, unlike CREATE TABLE … PARTITION OF. It makes the indexes.
        cursor.execute(f'CREATE TABLE "{name}" (LIKE {TABLE} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)')
        cursor.execute(f'ALTER TABLE {TABLE} ATTACH PARTITION "{name}" FOR VALUES FROM ({top}) TO ({top + size})')
    log.info("feed.partition_made", extra={"data": {"partition": name, "size": size}})


def _rounded_up(number: int) -> int:
    return -(-number // SIZE) * SIZE


def _last_id() -> int:
    """The last id that the sequence has assigned."""
    return int(_one(_LAST_ID, [TABLE]))


def _newest_id() -> int:
    """The greatest id that is known. It is above the last one if the sequence was set back."""
    return max(_last_id(), int(_one(f"SELECT coalesce(max(id), 0) FROM {TABLE}")))


def _oldest_id(newest: int) -> int:
    found = _one(f"SELECT min(id) FROM {TABLE}")
    return newest if found is None else int(found)


def _one(statement: str, values: Sequence[str] = ()) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)
        return cursor.fetchone()[0]
