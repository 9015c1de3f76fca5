"""Appends events to the log and reads them in the order of the feed."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from django.conf import settings
from django.db import connection

from platform_core.api.json import encode
from platform_core.db.connections import prepared
from platform_core.http import context
from platform_core.http.errors import InvalidInput

EPOCH = "COALESCE((SELECT max(value) FROM events_feedepoch), 1)"

POSITION = "((SELECT %s::bigint), (SELECT %s::bigint), (SELECT %s::bigint))"
"""A position as a parameter, to compare with (epoch, txid, id).

The subqueries hide the values from the planner. It estimates such a comparison by the epoch alone, so it would expect
no rows, and would read and sort the rows of all partitions instead of merging them.
"""


def appending(rows: str) -> str:
    """The SQL that appends events, to be run alone or as a CTE of another statement.

    ``rows`` is a query that selects type, subject and data in the order of the events. The statement's parameters are
    those of `context.origin` and those of ``rows``.
    """
    return f"""
        INSERT INTO events_event (epoch, txid, type, subject, data, time, request_id, traceparent)
        SELECT {EPOCH}, pg_current_xact_id()::text::bigint, type, subject, data, clock_timestamp(),
               %(request_id)s, %(traceparent)s
        FROM ({rows}) AS e (type, subject, data)
    """


_APPEND = appending("""
    SELECT type, subject, data::jsonb
    FROM unnest(%(types)s::text[], %(subjects)s::text[], %(data)s::text[]) WITH ORDINALITY AS e (type, subject, data, n)
    ORDER BY n
""")

_READ = f"""
    WITH horizon AS (SELECT {EPOCH} AS epoch, pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS xmin)
    SELECT h.epoch, h.xmin, h.hidden, s.epoch, s.txid, s.sequence,
           c.epoch, c.txid, c.sequence, extract(epoch FROM clock_timestamp() - c.seen_at)::float8, e.*
    FROM (
        SELECT epoch, xmin, (
            SELECT extract(epoch FROM clock_timestamp() - a.time)::float8 FROM events_event a
            WHERE a.epoch = horizon.epoch AND a.txid >= horizon.xmin ORDER BY a.epoch, a.txid, a.id LIMIT 1
        ) AS hidden
        FROM horizon
    ) AS h
    LEFT JOIN events_feedstart s ON true
    LEFT JOIN events_feedconsumer c ON c.name = %(consumer)s
    CROSS JOIN LATERAL (
        SELECT CASE WHEN is_later THEN s.epoch ELSE %(epoch)s END AS epoch,
               CASE WHEN is_later THEN s.txid ELSE %(txid)s END AS txid,
               CASE WHEN is_later THEN s.sequence ELSE %(sequence)s END AS sequence
        FROM (SELECT (s.epoch, s.txid, s.sequence) > (%(epoch)s, %(txid)s, %(sequence)s) AS is_later) AS start
    ) AS a
    LEFT JOIN LATERAL (
        SELECT epoch, txid, id, type, subject, data::text, time
        FROM events_event
        WHERE (epoch, txid, id) > (a.epoch, a.txid, a.sequence) AND (epoch, txid) < (h.epoch, h.xmin)
        ORDER BY epoch, txid, id LIMIT %(limit)s
    ) AS e ON true ORDER BY e.epoch, e.txid, e.id
"""


LAST_SEQUENCE = 10**18 - 1


class NewEvent(NamedTuple):
    """An event to append. ``subject`` is the id of the resource."""

    type: str
    subject: int
    data: Mapping[str, Any]


class Position(NamedTuple):
    """The place of an event in a feed. Its text is the event's id. A horizon is no event: it has `LAST_SEQUENCE`."""

    epoch: int = 0
    txid: int = 0
    sequence: int = 0

    def __str__(self) -> str:
        return f"{self.epoch}-{self.txid}-{self.sequence}"

    @classmethod
    def parse(cls, text: str) -> "Position":
        """The position of an event id. Raises InvalidInput if ``text`` is not one."""
        if not re.fullmatch(r"[0-9]{1,9}-[0-9]{1,18}-[0-9]{1,18}", text, re.ASCII):
            raise InvalidInput.field("lastEventId", "Expected the id of an event of this feed.")
        return cls(*(int(part) for part in text.split("-")))


@dataclass(frozen=True, slots=True)
class Batch:
    """Events that were read together, and the state of the feed at that moment.

    ``hidden``: age in seconds of the oldest committed event that lies above the horizon; None if there is none.
    ``start``: the last event that was deleted. ``horizon``: all transactions up to there have ended.
    ``acknowledged``: the stored position of the consumer and its age in seconds; None for an unknown consumer.
    """

    events: list[dict[str, Any]]
    hidden: float | None
    start: Position
    horizon: Position
    acknowledged: tuple[Position, float] | None


def append(*events: NewEvent) -> None:
    """Append events in the surrounding transaction, with one statement for all."""
    values = {
        "types": [event.type for event in events],
        "subjects": [str(event.subject) for event in events],
        "data": [encode(event.data).decode() for event in events],
    }
    prepared(_APPEND, {**context.origin(), **values})


def place() -> tuple[int, int]:
    """The epoch and transaction id of the surrounding transaction, for code that appends events by COPY."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {EPOCH}, pg_current_xact_id()::text::bigint")
        epoch, txid = cursor.fetchone()
    return epoch, txid


def read(after: Position, limit: int, consumer: str = "") -> Batch:
    """At most ``limit`` events after ``after``, oldest first, as CloudEvents 1.0. One query.

    Events before the start of the feed count as deleted, also if they are still in the table.
    """
    rows = prepared(_READ, {"consumer": consumer, "limit": limit, **after._asdict()})
    epoch, xmin, hidden, *places = rows[0][:10]
    return Batch(
        [_cloud_event(*row[10:]) for row in rows if row[10] is not None],
        hidden=hidden,
        start=_position(places[:3]),
        horizon=Position(epoch, xmin - 1, LAST_SEQUENCE),
        acknowledged=None if places[3] is None else (_position(places[3:6]), places[6]),
    )


def _position(columns: Sequence[int | None]) -> Position:
    return Position(*(column or 0 for column in columns))


def _cloud_event(
    epoch: int, txid: int, sequence: int, type: str, subject: str, data: str, time: datetime
) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": str(Position(epoch, txid, sequence)),
        "type": type,
        "source": settings.SERVICE.name,
        "subject": subject,
        "time": time,
        "datacontenttype": "application/json",
        "data": msgspec.Raw(data.encode()),
    }
